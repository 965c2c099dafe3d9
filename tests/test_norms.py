"""Norms by hand: statistics of batches and running ones, weights of rows, far means, and who may change what."""

import cases
import helpers
import numpy as np
import pytest
from helpers import EVERYWHERE

import pynet as pn
from pynet import _core
from pynet.plan import Job, build

BACKENDS = ("c", "numpy")
NORM = "batch_norm_1"
X = np.random.default_rng(0).normal(size=(12, 4))
Y = np.random.default_rng(1).normal(size=(12, 2))


def one_norm(width=1, dtype="float64", **options):
    return pn.Sequential([pn.Input(width), pn.BatchNorm(**options)], dtype=dtype)


def net(**options):
    layers = [pn.Dense(5, use_bias=False), pn.BatchNorm(), pn.Activation("tanh"), pn.Dense(2)]
    return pn.Sequential([pn.Input(4), *layers], **options)


def still(model, backend="c", **options):
    """A trainer whose steps move nothing but running statistics."""
    return pn.Trainer(model, "mse", pn.SGD(0.0), backend=backend, **options)


def statistics(model, norm=NORM):
    p = model.parameters()
    return np.stack([p[f"{norm}.mean"], p[f"{norm}.variance"]])


def in_training(model, X, weight=None, executor=helpers.NUMPY, target=0.0):
    """Output of the model in a training step, and the gradient by its input; the loss is mse against `target`."""
    plan = build(model, [cases.head("mse")], input_gradients=True)
    params, grads = (_core.aligned(plan.param_elems, plan.dtype) for _ in range(2))
    params[:] = model.arena
    machine = helpers.make_machine(executor, plan, params, rows=len(X), grads=grads)
    targets = [np.broadcast_to(np.float64(target), (len(X), model.outputs[0].width))]
    job = Job(
        inputs=[X], targets=targets, weight=weight, rows=len(X), batch=len(X), sums=np.zeros(plan.n_sums),
        stages=_core.FORWARD | _core.LOSS | _core.BACKWARD,
    )  # fmt: skip
    assert machine.run(job, 0, 1) == (1, "ok")
    return machine.value(plan.head_values[0]), machine.value(plan.input_gradients[0], gradient=True)


# ---- running statistics --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_three_steps_by_hand(backend, dtype):
    model = one_norm(dtype=dtype, momentum=0.5)
    trainer = still(model, backend)
    for batch, mean, variance in (
        ([1, 3, 5], 1.5, 2.5),  # mean 3, variance of the whole 8 / 2 = 4:  0 + 3/2,  1/2 + 4/2
        ([0, 2], 1.25, 2.25),  # mean 1, variance 2 / 1
        ([4, 4, 4, 4], 2.625, 1.125),
    ):
        x = np.array(batch, float)[:, None]
        trainer.train_on_batch(x, 0 * x)
        helpers.assert_close(statistics(model), np.array([[mean], [variance]]), 2 * np.finfo(dtype).eps)
    y = model.predict([[2.625], [4.625]], backend=backend)
    helpers.assert_close(y, np.array([[0], [2 / np.sqrt(1.125 + 1e-5)]]), 4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("momentum", "expected"), [(0.0, [3, 4]), (1.0, [0, 1])])
def test_momentum_at_its_ends(momentum, expected, backend):
    model = one_norm(momentum=momentum)
    still(model, backend).train_on_batch([[1.0], [3], [5]], [[0.0]] * 3)
    assert statistics(model).reshape(-1).tolist() == pytest.approx(expected, rel=1e-15)


WEIGHTS = {
    "by hand": ([0, 4], [1, 3], [3, 8]),  # mean 12/4; variance (9 + 3)/4 = 3, n = 16/10, 3 * 1.6/0.6 = 8
    "equal weights do not matter": ([1, 3, 5], [0.2, 0.2, 0.2], [3, 4]),
    "rows of weight 0 are not there": ([1, 100, 3, 5], [2, 0, 2, 2], [3, 4]),
    "a single row has no variance": ([7, 1, 2], [3, 0, 0], [0, 1]),  # both stay as they were
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_of_rows(case, backend, dtype):
    batch, weight, expected = WEIGHTS[case]
    model, x = one_norm(dtype=dtype, momentum=0.0), np.array(batch, float)[:, None]
    still(model, backend).train_on_batch(x, 0 * x, sample_weight=weight)
    helpers.assert_close(statistics(model).reshape(-1), np.array(expected, float), 4 * np.finfo(dtype).eps)


def test_a_row_of_weight_2_is_two_rows(executor):
    """In everything that a batch decides: outputs, gradients."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(6, 3)), np.array([1.0, 2, 1, 3, 0, 1])
    rows = np.repeat(np.arange(6), w.astype(int))
    model = one_norm(3, epsilon=0.1)
    target = rng.normal(size=x.shape)
    y, dx = in_training(model, x, w, executor, target)
    y2, dx2 = in_training(model, x[rows], None, executor, target[rows])
    helpers.assert_close(y[rows], y2, 1e-14)
    for i in range(6):
        if i != 4:
            helpers.assert_close(dx[i], dx2[rows == i].sum(axis=0), 1e-12)
    assert np.isfinite(y).all()
    assert not dx[4].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_without_weight_moves_no_statistics(backend):
    model = net()
    weight = (np.arange(12) >= 6).astype(float)
    trainer = still(model, backend)
    trainer.fit(X[::-1], Y, epochs=1, batch_size=6, sample_weight=weight, shuffle=False, verbose=0)
    other = net()
    still(other, backend).train_on_batch(X[::-1][6:], Y[6:])
    helpers.assert_same_bits(statistics(model), statistics(other))


def test_a_shared_norm_follows_both_calls_in_turn():
    x, norm = pn.Input(1), pn.BatchNorm(momentum=0.5)
    wide = pn.PythonLayer(lambda x: 2 * x + 1, lambda x, y, dy: 2 * dy, 1)
    for backend in BACKENDS:
        model = pn.Model(x, pn.Add()([norm(x), norm(wide(x))]), dtype="float64")
        model.initialize()
        still(model, backend).train_on_batch([[1.0], [3]], [[0.0]] * 2)  # means 2 and 5, variances 2 and 8
        assert statistics(model).reshape(-1).tolist() == pytest.approx([0.5 + 2.5, 0.25 + 0.5 + 4], rel=1e-14)


# ---- who changes them ----------------------------------------------------------------------------------------------


LOOKS = {
    "predict": lambda t: t.model.predict(X, backend=t.backend),
    "samples": lambda t: pn.Model(t.model.inputs, pn.Dropout(0.5)(t.model.outputs[0])).predict(X, mc_samples=2),
    "evaluate": lambda t: t.evaluate(X, Y),
    "gradients": lambda t: t.gradients(X, Y),
    "gradients in training": lambda t: t.gradients(X, Y, training=True),
    "a step with NaN": lambda t: t.train_on_batch(np.full((12, 4), 1e200), Y),
    "a loss that overflows": lambda t: t.train_on_batch(X, np.full((12, 2), 1e200)),
    "a fit of no epochs": lambda t: t.fit(X, Y, epochs=0, verbose=0),
    "a fit with wrong data": lambda t: t.fit(X, Y[:3], epochs=1, verbose=0),
    "one row": lambda t: t.train_on_batch(X[:1], Y[:1]),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("look", LOOKS)
def test_who_only_looks_changes_no_statistics(look, backend):
    trainer = pn.Trainer(net(), "mse", backend=backend, clip=pn.ClipNorm(1.0))
    trainer.fit(X, Y, epochs=2, batch_size=6, verbose=0)
    before, step = trainer.model.arena.copy(), trainer.step
    fails = look.startswith(("a step", "a loss", "a fit with", "one row"))
    if fails:
        with pytest.raises((FloatingPointError, ValueError)):
            LOOKS[look](trainer)
    else:
        LOOKS[look](trainer)
    helpers.assert_same_bits(trainer.model.arena, before)
    assert trainer.step == step
    trainer.train_on_batch(X, Y)
    assert helpers.distance(trainer.model.arena, before) > 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_frozen_norm_keeps_everything(backend):
    trainer = pn.Trainer(net(), "mse", pn.SGD(0.1), backend=backend)
    trainer.fit(X, Y, epochs=2, batch_size=6, verbose=0)
    norm = trainer.model.get_layer(NORM)
    norm.trainable = False
    before = trainer.model.parameters()
    trainer.fit(X, Y, epochs=2, batch_size=6, verbose=0)
    for name, array in trainer.model.parameters().items():
        assert (array.tobytes() == before[name].tobytes()) == name.startswith(NORM), name
    loss, scored = trainer.evaluate(X, Y)["loss"], trainer.train_on_batch(X, Y)["loss"]
    assert loss == pytest.approx(scored, rel=1e-5)  # the same net in training and out of it
    norm.trainable = True
    trainer.fit(X, Y, epochs=1, batch_size=6, verbose=0)
    assert helpers.distance(statistics(trainer.model)[0], before[f"{NORM}.mean"]) > 1e-3


# ---- batches of one row --------------------------------------------------------------------------------------------

ONE = r"batch norm 'batch_norm_1' takes mean and variance over the batch, but {}; choose another batch_size or number "
ONE += r"of rows, set trainable=False on that layer, or use pn.LayerNorm"
REFUSED = {
    "batch_size 1": (lambda t: t.fit(X, Y, batch_size=1, verbose=0), "a batch has one row"),
    "one row": (lambda t: t.fit(X[:1], Y[:1], verbose=0), "a batch has one row"),
    "train_on_batch": (lambda t: t.train_on_batch(X[:1], Y[:1]), "a batch has one row"),
    "gradients": (lambda t: t.gradients(X[:1], Y[:1], training=True), "a batch has one row"),
    "ragged": (
        lambda t: t.fit(X[:9], Y[:9], batch_size=4, verbose=0), "the last batch of 9 rows in batches of 4 has one row",
    ),
    "ragged by validation": (
        lambda t: t.fit(X[:10], Y[:10], batch_size=4, validation_split=0.1, verbose=0),
        "the last batch of 9 rows in batches of 4 has one row",
    ),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", REFUSED)
def test_batches_of_one_row_are_refused(case, backend):
    trainer = pn.Trainer(net(), "mse", backend=backend)
    call, text = REFUSED[case]
    before = trainer.model.arena.copy()
    with pytest.raises(ValueError, match=ONE.format(text)):
        call(trainer)
    helpers.assert_same_bits(trainer.model.arena, before)
    assert (trainer.step, trainer.epoch) == (0, 0)
    trainer.fit(X, Y, epochs=1, batch_size=5, verbose=0)  # the last batch has two
    assert trainer.step == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_row_is_enough_where_no_statistics_are_taken(backend):
    trainer = pn.Trainer(net(), "mse", backend=backend)
    assert np.isfinite(trainer.evaluate(X[:1], Y[:1])["loss"])
    assert trainer.model.predict(X[:1]).shape == (1, 2)
    assert trainer.gradients(X[:1], Y[:1])
    trainer.model.get_layer(NORM).trainable = False
    trainer.fit(X[:5], Y[:5], epochs=1, batch_size=1, verbose=0)
    assert trainer.step == 5


# ---- far from zero -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", EVERYWHERE, ids=lambda e: e.isa)
@pytest.mark.parametrize("layer", [pn.BatchNorm, pn.LayerNorm, pn.InstanceNorm])
def test_means_far_from_zero(layer, executor):
    """Mean 1e4, deviation 1 in float32: E[x^2] - E[x]^2 would know nothing of the variance."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(64, 32)) + rng.choice([-1e4, 1e4], size=32 if layer is pn.BatchNorm else (64, 1))).astype(
        "f4"
    )
    target = rng.normal(size=x.shape)
    y, dx = in_training(pn.Sequential([pn.Input(32), layer()]), x, None, executor, target)
    axis, x = 0 if layer is pn.BatchNorm else 1, x.astype(np.float64)
    expected = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    helpers.assert_within(y, expected, 2 * np.spacing(np.float32(1e4)))  # the mean itself is rounded
    _, expected_dx = in_training(pn.Sequential([pn.Input(32), layer()], dtype="float64"), x, target=target)
    helpers.assert_close(dx, expected_dx, 2e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_running_statistics_far_from_zero(backend):
    x = (np.random.default_rng(0).normal(size=(64, 20)) * 0.5 + 1e4).astype("f4")
    model = one_norm(20, "float32", momentum=0.0)
    still(model, backend).train_on_batch(x, 0 * x)
    mean, variance = statistics(model)
    helpers.assert_close(mean, x.mean(axis=0, dtype="f8"), 1e-7)
    helpers.assert_close(variance, x.var(axis=0, ddof=1, dtype="f8"), 1e-5)


@pytest.mark.parametrize("executor", EVERYWHERE, ids=lambda e: e.isa)
@pytest.mark.parametrize("layer", [pn.BatchNorm, pn.LayerNorm, pn.InstanceNorm])
def test_what_does_not_vary_becomes_zero(layer, executor):
    x = np.full((6, 5), 3.7)
    target = np.random.default_rng(0).normal(size=x.shape)
    y, dx = in_training(pn.Sequential([pn.Input(5), layer()], dtype="float64"), x, None, executor, target)
    assert np.abs(y).max() < 1e-10
    axis, dy = 0 if layer is pn.BatchNorm else 1, -2 * target / target.size
    expected = (dy - dy.mean(axis, keepdims=True)) / np.sqrt(1e-5)
    helpers.assert_close(dx, expected, 1e-9)  # however large 1/deviation is
    width_one = pn.Sequential([pn.Input(1), layer()], dtype="float64")
    y, dx = in_training(width_one, np.arange(4.0)[:, None], None, executor)
    assert np.abs(y).max() > 1 if layer is pn.BatchNorm else not y.any()


# ---- norms of rows -------------------------------------------------------------------------------------------------


def test_layer_norm_by_hand(executor):
    model = pn.Sequential([pn.Input(4), pn.LayerNorm(epsilon=0.75)], dtype="float64")
    model.set_weights([[1.0, 2, 3, 4], [0.0, 0, 10, 20]])
    y, _ = in_training(model, np.array([[1.0, 2, 3, 4], [5, 5, 5, 9]]), None, executor)
    first = np.array([-1.5 * 1, -0.5 * 2, 0.5 * 3, 1.5 * 4]) / np.sqrt(1.25 + 0.75) + [0, 0, 10, 20]
    second = np.array([-1 * 1, -1 * 2, -1 * 3, 3 * 4]) / np.sqrt(3 + 0.75) + [0, 0, 10, 20]
    helpers.assert_close(y, np.stack([first, second]), 1e-15)


@pytest.mark.parametrize("width", [2, 7, 16, 17, 33])
def test_instance_norm_forgets_offset_and_scale(width, executor):
    model = pn.Sequential([pn.Input(width), pn.InstanceNorm(epsilon=1e-20)], dtype="float64")
    x = np.random.default_rng(0).normal(size=(9, width))
    y, _ = in_training(model, x, None, executor)
    moved, _ = in_training(model, 40 * x - 7, None, executor)
    helpers.assert_close(moved, y, 1e-11)
    assert np.abs(y.mean(axis=1)).max() < 1e-14
    assert np.abs(y.var(axis=1) - 1).max() < 1e-10
    assert model.count_params() == 0


# ---- folding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["identity", "relu", "leaky_relu", "softmax", "gelu"])
def test_a_folded_norm_is_the_norm(activation, executor, dtype):
    """Prediction folds it into the dense op; where the dense layer is an output, too, it cannot."""
    x = pn.Input(4)
    h = pn.Dense(19, bias_initializer="uniform")(x)
    y = pn.Activation(activation)(pn.BatchNorm()(h))
    folded, plain = pn.Model(x, y, dtype=dtype), pn.Model(x, [y, h], dtype=dtype)
    assert len(plain.plan.ops) - len(folded.plan.ops) == 2
    rng = np.random.default_rng(0)
    state = folded.state_dict()
    for name in ("gamma", "beta", "mean", "variance"):
        state[f"{NORM}.{name}"] = rng.uniform(0.5, 2, 19)
    for model in (folded, plain):
        model.load_state_dict(state)
    machines = [helpers.make_machine(executor, m.plan, m.arena, rows=12) for m in (folded, plain)]
    results = []
    for model, machine in zip((folded, plain), machines, strict=True):
        outputs = [np.empty((12, 19), dtype) for _ in model.outputs]
        model.run_batches(machine, Job(inputs=[X], outputs=outputs, rows=12, batch=12))
        results.append(outputs[0])
    helpers.assert_close(results[0], results[1], 8 * np.finfo(dtype).eps)
    if activation == "identity":
        z = X @ state["dense_1.kernel"] + state["dense_1.bias"] - state[f"{NORM}.mean"]
        z = z / np.sqrt(state[f"{NORM}.variance"] + 1e-5) * state[f"{NORM}.gamma"] + state[f"{NORM}.beta"]
        helpers.assert_close(results[0], z, 16 * np.finfo(dtype).eps)
