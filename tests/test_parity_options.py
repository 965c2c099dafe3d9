"""The two machines agree on whatever a trainer can be asked for besides loss and rule: weights of rows and classes,
penalties, clips, schedules, frozen layers, heads, metrics, a loss of one's own, inputs of every kind.

Each option is also seen to matter: without it the result is another one.
"""

import cases
import helpers
import numpy as np
import pytest
from helpers import EVERYWHERE, FMA_ISAS, NUMPY, Executor

import pynet as pn

TOLERANCE = {"float64": 1e-12, "float32": 5e-5}  # shares of the largest magnitude, as in test_parity.py
N = 24
METRICS = ["accuracy", "mae", "mse", "r2"]
THREADS = Executor(FMA_ISAS[-1] if FMA_ISAS else "scalar", 3)


def branching(dtype):
    return cases.branching("tanh", "identity", dtype)


def data():
    rng = np.random.default_rng(7)
    return rng.normal(size=(N, 3)), {"main": rng.normal(size=(N, 3)), "aux": rng.normal(size=(N, 2))}


def fit(executor, dtype, model=branching, X=None, y=None, fit_options=None, **options) -> dict:
    """Three epochs of two full batches and a short one, then gradients and an evaluation: everything by name."""
    made = model(dtype)
    X, y = data()[0] if X is None else X, data()[1] if y is None else y
    weight = {k: v for k, v in (fit_options or {}).items() if k == "sample_weight"}
    options = {"loss": "mse", "optimizer": pn.SGD(0.05, momentum=0.9), "random_state": 3} | options
    backend = "numpy" if executor.isa == "numpy" else "c"
    with helpers.forced_isa("" if backend == "numpy" else executor.isa):
        trainer = pn.Trainer(made, backend=backend, n_threads=executor.n_threads, **options)
        history = trainer.fit(X, y, epochs=3, batch_size=10, verbose=0, **(fit_options or {})).history
        gradients, scores = trainer.gradients(X, y, **weight), trainer.evaluate(X, y, **weight)
        assert trainer._cache["train"][2].isa == executor.isa
    result = made.parameters() | {name: np.array(values) for name, values in history.items()}
    result |= {f"d {name}": gradient for name, gradient in gradients.items()}
    return result | {f"final {name}": np.array(value) for name, value in scores.items()}


def fit_everywhere(dtype, **options) -> dict:
    """Fit with every executor and compare; the result of NumPy."""
    expected = fit(NUMPY, dtype, **options)
    bits = None
    for executor in [*EVERYWHERE[1:], THREADS]:
        arrays = fit(executor, dtype, **options)
        assert arrays.keys() == expected.keys()
        for name in expected:
            helpers.assert_close(arrays[name], expected[name], TOLERANCE[dtype], f"{executor}: {name}")
        if executor.isa != "scalar":
            bits = bits or arrays
            for name in bits:
                helpers.assert_same_bits(arrays[name], bits[name], f"{executor}: {name}")
    return expected


@pytest.fixture(scope="module", params=TOLERANCE)
def plain(request):
    """dtype, and what an ordinary fit gives."""
    return request.param, fit_everywhere(request.param)


def assert_matters(one, other, name="main.kernel"):
    assert helpers.distance(one[name], other[name]) > 1e-3, f"{name} is the same with and without"


def test_ordinary_fit_moves_every_parameter(plain):
    dtype, arrays = plain
    for name, first in branching(dtype).parameters().items():
        assert helpers.distance(arrays[name], first) > 1e-3
    assert len(arrays["loss"]) == 3
    assert arrays["loss"][2] < arrays["loss"][0]


# ---- weights -----------------------------------------------------------------------------------------------------


def test_sample_weight(plain):
    dtype, arrays = plain
    weight = np.random.default_rng(0).random(N) * (np.arange(N) % 3 > 0)  # some rows do not count
    assert_matters(fit_everywhere(dtype, fit_options={"sample_weight": weight}), arrays)


def test_a_batch_without_any_weight(plain):
    dtype, arrays = plain
    weight = (np.arange(N) >= 10).astype(float)  # the first of three batches
    options = {"sample_weight": weight, "shuffle": False}
    assert_matters(fit_everywhere(dtype, fit_options=options), arrays)


@pytest.mark.parametrize("weight", [{0: 0.2, 2: 3.0}, "balanced"], ids=str)
@pytest.mark.parametrize("one_hot", [False, True])
def test_class_weight(plain, weight, one_hot):
    dtype, _ = plain
    labels = np.arange(N) % 7 % 3
    options = {
        "model": lambda dtype: pn.Sequential(
            [pn.Input(3), cases.dense(6, "tanh"), cases.dense(3, "softmax", name="main")], dtype
        ),
        "y": np.eye(3)[labels] if one_hot else labels,
        "loss": "cross_entropy",
        "metrics": ["accuracy", pn.metrics.TopK(2)],
    }
    one = fit_everywhere(dtype, fit_options={"class_weight": weight}, **options)
    assert_matters(one, fit_everywhere(dtype, **options))


# ---- penalties, clips, schedules, decay, frozen layers -----------------------------------------------------------


def penalised(**penalty):
    def model(dtype):
        x = pn.Input(3)
        shared = cases.dense(3, "tanh", name="shared", **penalty)  # called twice, penalised once
        return pn.Model(x, cases.dense(3, name="main", **penalty)(shared(shared(x))), dtype)

    return model


@pytest.mark.parametrize("penalty", [{"l1": 0.02}, {"l2": 0.03}, {"l1": 0.01, "l2": 0.02}], ids=str)
def test_penalties(plain, penalty):
    dtype, _ = plain
    one = fit_everywhere(dtype, model=penalised(**penalty), y=data()[1]["main"])
    other = fit_everywhere(dtype, model=penalised(), y=data()[1]["main"])
    assert_matters(one, other)
    assert_matters(one, other, "d shared.kernel")
    weights = [one[f"{name}.kernel"].astype(np.float64) for name in ("shared", "main")]
    added = sum(penalty.get("l1", 0) * np.abs(w).sum() + penalty.get("l2", 0) * (w * w).sum() for w in weights)
    frozen = fit(NUMPY, dtype, model=penalised(), y=data()[1]["main"], optimizer=pn.SGD(0.0))
    assert one["loss"][0] > frozen["loss"][0] * 1.001
    assert added > 0.01


CLIPS = [
    pn.ClipNorm(0.1), pn.ClipValue(0.02), pn.SignGradient(),
    [pn.ClipValue(0.02), pn.ClipNorm(0.05)], [pn.ClipNorm(0.05), pn.ClipValue(0.01)],
    [pn.ClipNorm(0.3), pn.SignGradient(), pn.ClipNorm(0.3)],
]  # fmt: skip


@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_clips(plain, clip):
    dtype, arrays = plain
    one = fit_everywhere(dtype, clip=clip)
    assert_matters(one, arrays)
    if isinstance(clip, list) and len(clip) == 2:
        assert_matters(one, fit_everywhere(dtype, clip=clip[::-1]))


RATES = {
    "callable": lambda step: 0.1 / (1 + step),
    "step": pn.schedules.Step(0.1, 0.5, 2),
    "exponential": pn.schedules.Exponential(0.1, 0.5, 3),
    "cosine": pn.schedules.Cosine(0.1, 7),
    "one_cycle": pn.schedules.OneCycle(0.1, 8),
    "warm_up": pn.schedules.WarmUp(3, then=pn.schedules.Cosine(0.1, 5)),
}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("rule", [pn.SGD, pn.Adam])
def test_schedules(plain, rate, rule):
    dtype, _ = plain
    one = fit_everywhere(dtype, optimizer=rule(RATES[rate]))
    assert_matters(one, fit_everywhere(dtype, optimizer=rule(RATES[rate](0) if rate != "warm_up" else 0.1)))


def test_every_schedule_is_here():
    assert set(RATES) - {"callable"} == set(pn.schedules.TABLE)


@pytest.mark.parametrize("rule", sorted(set(cases.RULES) - {"rprop"}))  # rprop looks at signs only
def test_weight_decay(plain, rule):
    dtype, _ = plain
    with_decay, without = (
        pn.optimizers.get(cases.RULES[rule].config() | {"weight_decay": decay}) for decay in (0.3, 0.0)
    )
    one = fit_everywhere(dtype, optimizer=with_decay)
    assert_matters(one, fit_everywhere(dtype, optimizer=without))


@pytest.mark.parametrize("frozen", [["fused"], ["shared"], ["main", "plain"], ["fused", "plain", "shared"]], ids=str)
@pytest.mark.parametrize("clip", [None, pn.ClipNorm(0.1)], ids=str)
def test_frozen_layers(plain, frozen, clip):
    dtype, _ = plain

    def model(dtype):
        made = branching(dtype)
        for name in frozen:
            made.get_layer(name).trainable = False
        return made

    one = fit_everywhere(dtype, model=model, clip=clip)
    for name, first in branching(dtype).parameters().items():
        if name.split(".")[0] in frozen:
            helpers.assert_same_bits(one[name], first, name)
            assert f"d {name}" not in one
        else:
            assert helpers.distance(one[name], first) > 1e-3


# ---- heads -------------------------------------------------------------------------------------------------------


def test_metrics_only_watch(plain):
    dtype, arrays = plain
    one = fit_everywhere(dtype, metrics={"main": METRICS, "aux": METRICS})
    assert {f"main_{m}" for m in METRICS} | {f"final aux_{m}" for m in METRICS} <= one.keys()
    helpers.assert_same_bits(one["main.kernel"], arrays["main.kernel"])


@pytest.mark.parametrize("loss", ["mae", pn.losses.Huber(0.3), pn.losses.Quantile(0.8), "log_cosh"], ids=str)
def test_loss_weights(plain, loss):
    dtype, _ = plain
    losses = {"main": loss, "aux": "mse"}
    one = fit_everywhere(dtype, loss=losses, loss_weights={"main": 3.0, "aux": 0.1})
    assert_matters(one, fit_everywhere(dtype, loss=losses))


def test_one_head_of_two(plain):
    dtype, arrays = plain
    one = fit_everywhere(dtype, loss={"main": "mse"}, y=data()[1]["main"])
    helpers.assert_same_bits(one["aux.kernel"], branching(dtype).parameters()["aux.kernel"])
    assert_matters(one, arrays)


class Cubed:
    """A loss of one's own: the mean of |d|^3."""

    def value_and_gradient(self, prediction, target):
        d = prediction.astype(np.float64) - target
        return float(np.mean(np.abs(d) ** 3)), 3 * d * np.abs(d) / d.size


def test_a_loss_of_ones_own(plain):
    dtype, arrays = plain
    one = fit_everywhere(dtype, loss={"main": Cubed(), "aux": "mse"}, loss_weights={"main": 0.5})
    assert_matters(one, arrays)


# ---- inputs ------------------------------------------------------------------------------------------------------


def two_inputs(scaled):
    def model(dtype):
        a = pn.Input(3, name="a", scale=[0.5, 2.0, -1.0] if scaled else None, shift=0.7 if scaled else None)
        b = pn.Input(2, name="b", scale=0.25 if scaled else None)
        h = cases.dense(5, "tanh", name="hidden")(pn.Concat()([a, b]))
        return pn.Model([a, b], cases.dense(3, name="main")(pn.Concat()([h, b])), dtype)

    return model


def test_two_inputs_with_scale_and_shift(plain):
    dtype, _ = plain
    X = {"a": data()[0], "b": data()[1]["aux"]}
    one = fit_everywhere(dtype, model=two_inputs(True), X=X, y=data()[1]["main"])
    assert {"d a", "d b"} <= one.keys()
    assert_matters(one, fit_everywhere(dtype, model=two_inputs(False), X=X, y=data()[1]["main"]))


TYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">f4", ">i2"]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("layout", ["plain", "fortran", "strided", "reversed"])
def test_element_types_and_strides_of_inputs(dtype, kind, layout):
    values = np.random.default_rng(0).integers(0, 2 if kind == "?" else 9, (2 * N, 6))
    X = values.astype(kind)[:N, :3]
    if layout == "fortran":
        X = np.asfortranarray(X)
    elif layout == "strided":
        X = values.astype(kind)[::2, ::2]
    elif layout == "reversed":
        X = values.astype(kind)[N::-1, 2::-1][:N]
    assert X.std() > 0.1
    expected = fit(NUMPY, dtype, X=X.astype(np.float64))
    for executor in EVERYWHERE:
        for name, array in fit(executor, dtype, X=X).items():
            helpers.assert_close(array, expected[name], TOLERANCE[dtype.name], f"{executor}: {name}")


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f8"])
def test_element_types_of_labels(dtype, kind, executor):
    def model(dtype):
        return pn.Sequential([pn.Input(3), cases.dense(3, "softmax", name="main")], dtype)

    labels = np.arange(N) % 7 % 3
    expected = fit(NUMPY, dtype, model, y=labels, loss="cross_entropy")
    for name, array in fit(executor, dtype, model, y=labels.astype(kind), loss="cross_entropy").items():
        helpers.assert_close(array, expected[name], TOLERANCE[dtype.name], name)
