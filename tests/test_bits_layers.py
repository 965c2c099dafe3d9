"""Bits of every kind of layer: the same ones for any number of threads and on every FMA instruction set, with work for
seven threads; padding stays zero, whatever the sizes of batches."""

import functools

import cases
import fillings
import helpers
import nets
import numpy as np
import pytest
from helpers import EVERYWHERE, FMA_ISAS, ISAS, NUMPY

import pynet as pn
from pynet import _core
from pynet.plan import build, unpack

THREADS = (1, 2, 3, 7)
BATCH, ROWS = 601, 2 * 601 + 300  # the last batch is short
WIDTH, STEPS, FEATURES = 1327, 5, 7  # 601 * 1327 * 4 is work for seven threads, csrc/work.h


def big(dtype):
    """All layers, each wide enough for seven threads."""
    x, mask = pn.Input((STEPS, FEATURES), name="x"), pn.Input(STEPS, name="mask")
    h = pn.LSTM(21, return_sequences=True)([pn.GaussianNoise(0.1)(x), mask])
    h = pn.Concat()([pn.LSTM(37)([h, mask]), pn.Flatten()(h)])
    shared = pn.BatchNorm(name="batch_norm")
    a = pn.Dense(WIDTH, use_bias=False, max_norm=0.8, l2=1e-4, name="wide")(h)
    a = pn.PReLU()(pn.Activation("tanh")(shared(a)))
    b = pn.Dropout(0.3)(pn.Dense(WIDTH, "relu")(h))
    b = shared(pn.LayerNorm()(b))
    b = pn.BatchNorm(trainable=False)(pn.GaussianNoise(0.05)(b))
    h = pn.InstanceNorm()(pn.GradientClip(pn.ClipNorm(0.5))(pn.Add()([a, b])))
    h = pn.Dropout(0.1)(pn.Activation(pn.activations.NoisyReLU(0.2))(pn.PReLU(shared=True)(pn.Activation("rrelu")(h))))
    h = pn.PythonLayer(np.abs, lambda x, y, dy: np.sign(x) * dy, WIDTH)(pn.Activation("noisy_relu")(h))
    h = pn.Add()([pn.Dense(WIDTH, "tanh", name=name)(h) for name in ("compact", "lanes")])
    h = pn.Dense(WIDTH, "tanh", name="pruned")(h)
    model = pn.Model([x, mask], pn.Dense(10, "softmax", name="main")(h), dtype=dtype)
    pn.prune.magnitude(model, {"pruned": 0.5, "compact": 0.97, "lanes": 0.98})
    return model.compact({"compact": "steps", "lanes": "lanes"})


def narrow(dtype):
    """All layers whose rows go their ways apart, with activations that outweigh the weights: by strips, csrc/walk.h."""
    x, mask = pn.Input((STEPS, FEATURES), name="x"), pn.Input(STEPS, name="mask")
    h = pn.LSTM(13, return_sequences=True)([pn.GaussianNoise(0.1)(x), mask])
    h = pn.Concat()([pn.LSTM(9)([h, mask]), pn.Flatten()(h)])
    first = pn.LayerNorm()(pn.Dropout(0.3)(pn.Dense(37, "relu", l2=1e-4, max_norm=0.8, name="wide")(h)))
    shared, slopes = pn.Dense(37, "gelu"), pn.PReLU(shared=True)
    h = slopes(pn.Activation("tanh")(pn.Add()([shared(first), shared(pn.Dense(37, use_bias=False)(h))])))
    h = pn.PReLU()(pn.InstanceNorm()(pn.Activation("rrelu")(slopes(h))))
    h = pn.Activation(pn.activations.NoisyReLU(0.2))(pn.Add()([h, first]))
    return pn.Model([x, mask], pn.Dense(10, "softmax", name="main")(h), dtype=dtype)


@functools.cache
def data():
    rng = np.random.default_rng(0)
    X = {"x": rng.normal(size=(ROWS, STEPS, FEATURES)), "mask": fillings.masks(ROWS, STEPS)}
    return X, rng.integers(0, 10, ROWS), rng.random(ROWS)


def train(make, dtype, isa, n_threads, rows):
    model = make(dtype)
    X, y, weight = data()
    X, y, weight = {name: array[:rows] for name, array in X.items()}, y[:rows], weight[:rows]
    with helpers.forced_isa(isa):
        trainer = pn.Trainer(
            model, "cross_entropy", pn.Adam(1e-3), ["accuracy"], pn.ClipNorm(0.5), n_threads=n_threads, random_state=3
        )
        trainer.fit(X, y, epochs=1, batch_size=BATCH, sample_weight=weight, verbose=0)
        machine = trainer._cache["train"][2]
        assert (machine.isa, machine.n_threads) == (isa, n_threads)
        gradients = trainer.gradients(X, y, sample_weight=weight, training=True)
    return {"weights": model.arena, "history": np.array(list(trainer.history.history.values())), **gradients}


@pytest.mark.parametrize("make", [big, narrow])
@pytest.mark.parametrize("isas", ["fma", "scalar"])
def test_training_does_not_depend_on_threads_or_instruction_set(isas, make, dtype):
    if isas == "scalar":
        runs = [("scalar", n, BATCH + 7) for n in (1, 3)]
    else:
        runs = [(ISAS[-1], n, ROWS) for n in THREADS] + [(isa, n, ROWS) for isa in FMA_ISAS[:-1] for n in (1, 7)]
    first, *others = ((run, train(make, dtype, *run)) for run in runs)
    start = make(dtype)
    for name, record in zip(start.plan.param_names, start.plan.params, strict=True):
        moved = helpers.distance(unpack(first[1]["weights"], record), unpack(start.arena, record)) > 1e-4
        assert moved == (not name.startswith("batch_norm_1.")), name  # the frozen one
    for run, found in others:
        for name, array in found.items():
            helpers.assert_same_bits(array, first[1][name], f"{run}: {name}")


def test_every_op_has_work_for_seven_threads():
    """Elements a batch times 4, the least that an op counts for each (csrc/op_*.h)."""
    model = big("float32")
    plan = build(model, [cases.head("cross_entropy_index")])
    most = {}
    for op in plan.ops:
        work = BATCH * int(plan.values["width"][op["y"]]) * 4 if op["y"] != _core.NONE else 0
        if op["kind"] == _core.OPS["lstm"]:
            u, f = int(plan.params[op["w2"]]["rows"]), int(plan.params[op["w"]]["rows"])
            work = BATCH * STEPS * 4 * u * (u + f)
        if op["kind"] == _core.OPS["sparse"]:
            work = BATCH * int(plan.params[op["w"]]["cols"]) * 2
        most[int(op["kind"])] = max(work, most.get(int(op["kind"]), 0))
    undivided = {_core.OPS[name] for name in ("input", "loss", "concat")}
    assert {kind for kind, work in most.items() if work < 6 << 19} <= undivided
    assert set(most) == set(_core.OPS.values()) - {_core.OPS["metric"]}


def test_strips_have_work_for_seven_threads():
    plan = build(narrow("float32"), [cases.head("cross_entropy_index")])
    together = {_core.OPS[name] for name in ("batch_norm", "running_norm", "gradient_clip", "python", "sparse")}
    kinds = {int(op["kind"]) for op in plan.ops}
    assert kinds == set(_core.OPS.values()) - together - {_core.OPS["metric"]}
    assert BATCH * plan.row_elems > plan.param_elems
    assert BATCH * plan.param_elems > 6 << 19
    assert BATCH >= 7 * 28


def test_sampling_does_not_depend_on_threads_or_instruction_set(dtype):
    X = data()[0]
    X = {name: array[:257] for name, array in X.items()}
    before, results = pn.get_num_threads(), []
    try:
        for isa in FMA_ISAS or ISAS:
            for n in THREADS:
                pn.set_num_threads(n)
                with helpers.forced_isa(isa):
                    results.append(big(dtype).predict(X, mc_samples=3, return_std=True, batch_size=97))
    finally:
        pn.set_num_threads(before)
    assert results[0][1].std() > 0
    for mean, deviation in results[1:]:
        helpers.assert_same_bits(mean, results[0][0])
        helpers.assert_same_bits(deviation, results[0][1])


# ---- prediction ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", nets.NETS)
def test_prediction_does_not_depend_on_the_batch(name, isa, dtype):
    rng = np.random.default_rng(0)
    with helpers.forced_isa(isa):
        model = nets.NETS[name](dtype)
        X = fillings.arrays(model, 40, rng)
        expected = as_list(model.predict(X if len(X) > 1 else X[0]))
        twin = as_list(model.predict(X if len(X) > 1 else X[0], backend="numpy"))
        for y, t in zip(expected, twin, strict=True):
            assert np.std(y) > 1e-3
            helpers.assert_close(y, t, 300 * np.finfo(dtype).eps, "twin")
        for batch_size in (1, 7, 16, 39):
            again = as_list(model.predict(X if len(X) > 1 else X[0], batch_size=batch_size))
            for y, e in zip(again, expected, strict=True):
                helpers.assert_same_bits(y, e, f"batch_size {batch_size}")
        rows = [x[5] for x in X]
        alone = as_list(model.predict_one(rows if len(rows) > 1 else rows[0]))
        for y, e in zip(alone, expected, strict=True):
            helpers.assert_same_bits(y, e[5], "one row")


def as_list(outputs):
    return outputs if isinstance(outputs, list) else [outputs]


# ---- padding -------------------------------------------------------------------------------------------------------


@nets.net_of(17)
def padded(x):
    """Norms read what activations leave in the padding: 1, 1/2, log 2; and each other."""
    h = pn.BatchNorm()(cases.dense(33, "gaussian")(x))
    h = pn.BatchNorm()(pn.InstanceNorm()(pn.LayerNorm()(pn.Activation("sigmoid")(h))))
    h = pn.PReLU()(pn.Concat()([pn.Dropout(0.2)(pn.Activation("softplus")(h)), pn.PReLU(shared=True)(h)]))
    return cases.dense(5, "gaussian", max_norm=0.5)(pn.LayerNorm()(pn.BatchNorm()(h)))


@nets.net_of((3, 7), mask=True)
def padded_sequences(x, mask):
    """Slopes and norms read what an LSTM leaves behind its last step, up and down."""
    h = pn.PReLU()(pn.LSTM(5, return_sequences=True)([pn.PReLU()(x), mask]))
    return cases.dense(3)(pn.BatchNorm()(pn.Flatten()(h)))


OTHERS = {"padded": padded, "padded_sequences": padded_sequences}


@pytest.mark.parametrize("rule", ["adam", "momentum", "rprop"])
@pytest.mark.parametrize(
    "name",
    [
        *OTHERS,
        "wide_rows",
        "wide_sequences",
        "everything",
        "pruned",
        "compact",
        "compact_with_gaps",
        "compact_in_lanes",
    ],
)
def test_padding_stays_zero(name, rule, dtype):
    """Batches of other sizes leave their numbers everywhere in memory."""
    model = (OTHERS | nets.NETS)[name](dtype)
    rng, n, batch = np.random.default_rng(0), 30, 8
    X, t = fillings.arrays(model, n, rng), fillings.targets(model, n, rng)
    for executor in EVERYWHERE:
        if executor == NUMPY:
            continue  # knows no padding but its own copies
        task = helpers.Task(model, fillings.heads(model), X, t, cases.RULES[rule], batch=batch)
        plan, optimizer = task.plan, task.optimizer
        arenas = [helpers.Guarded(plan.param_elems, plan.dtype) for _ in range(2 + optimizer.n_slots)]
        params, grads, *slots = (arena.inner for arena in arenas)
        params[:] = task.start
        machine = helpers.make_machine(executor, plan, params, rows=batch, grads=grads, slots=slots, keep=task.keep)
        down = _core.FORWARD | _core.LOSS | _core.BACKWARD | _core.UPDATE
        for k in range(20):
            task.batch = (8, 5, 7, 2, 3)[k % 5]
            assert machine.run(task.job(k, down), 0, 1) == (1, "ok")
        for arena in arenas:
            arena.check()
        helpers.assert_padding_is_zero(plan, params, f"{executor}: params")
        helpers.assert_padding_is_zero(plan, grads, f"{executor}: grads")
        for i, slot in enumerate(slots):
            if (rule, i) != ("rprop", 1):  # the sizes of its steps start everywhere
                helpers.assert_padding_is_zero(plan, slot, f"{executor}: slot {i}")
