"""Bits: training gives the same ones for any number of threads and on every FMA instruction set, prediction for any
batch size; and what pads the panels stays zero."""

import os
import subprocess
import sys

import cases
import helpers
import numpy as np
import pytest
from helpers import EVERYWHERE, FMA_ISAS, ISAS, NUMPY, Executor

import pynet as pn
from pynet import _core

STEPS = 200
THREADS = (1, 2, 3, 7)
GATE = 1 << 19  # multiply-adds for one more thread, csrc/run.c


def branching(dtype):
    """Odd widths, all kinds of ops, and work for seven threads in its layers."""
    x = pn.Input(97)
    a = pn.Dense(211, "tanh", l2=1e-4)(x)
    b = pn.Activation("gelu")(pn.Dense(163, use_bias=False)(a))
    shared = pn.Dense(163, "silu", l1=1e-5)
    c = pn.Concat()([pn.Add()([shared(a), b]), x, pn.Dense(17, "softmax")(b)])
    outputs = [pn.Dense(10, "softmax", name="main")(c), pn.Dense(3, name="aux")(shared(a))]
    return pn.Model(x, outputs, dtype=dtype)


def wide(dtype):
    """One large layer: its update and its norm are shared out as well."""
    x = pn.Input(513)
    return pn.Model(x, pn.Dense(10, "softmax", name="main")(pn.Dense(517, "relu")(x)), dtype=dtype)


NETS = {branching: (129, 387 - 6), wide: (33, 33 * 4 - 1)}  # rows of a batch, rows: the last batch is short


def train(net, dtype, isa, n_threads):
    """The model after 200 steps and the history."""
    batch, n = NETS[net]
    model, rng = net(dtype), np.random.default_rng(0)
    X = rng.normal(size=(n, model.inputs[0].width))
    y = {"main": rng.integers(0, 10, n), "aux": rng.normal(size=(n, 3))}
    y = {v.layer.name: y[v.layer.name] for v in model.outputs}
    losses = {"main": "cross_entropy", "aux": "log_cosh"}
    with helpers.forced_isa(isa):
        trainer = pn.Trainer(
            model, {name: losses[name] for name in y}, pn.Adam(1e-3), {"main": ["accuracy"]}, pn.ClipNorm(0.5),
            n_threads=n_threads,
        )  # fmt: skip
        options = {"batch_size": batch, "sample_weight": rng.random(n), "verbose": 0}
        trainer.fit(X, y, epochs=-(-STEPS * batch // n), **options)
        machine = trainer._cache["train"][2]
        assert (machine.isa, machine.n_threads) == (isa, n_threads)
    assert trainer.step >= STEPS
    return model, trainer.history.history


@pytest.mark.parametrize("net", NETS)
def test_training_does_not_depend_on_threads_or_instruction_set(net, dtype):
    first = None
    best = ISAS[-1]
    runs = [(best, n) for n in THREADS] + [(isa, n) for isa in FMA_ISAS if isa != best for n in (1, 7)]
    assert len(runs) == 4 + 2 * max(0, len(FMA_ISAS) - 1)
    for isa, n_threads in runs:
        model, history = train(net, dtype, isa, n_threads)
        if first is None:
            first = model, history
            assert history["loss"][-1] < 0.9 * history["loss"][0]
            for name, start in net(dtype).parameters().items():
                assert helpers.distance(model.parameters()[name], start) > 1e-3
        helpers.assert_same_bits(model.arena, first[0].arena, f"{isa}, {n_threads} threads")
        assert history == first[1]


def test_scalar_does_not_depend_on_threads(dtype):
    def short(n_threads):
        model, rng = wide(dtype), np.random.default_rng(0)
        with helpers.forced_isa("scalar"):
            trainer = pn.Trainer(model, "cross_entropy", pn.Adam(1e-3), clip=pn.ClipNorm(0.1), n_threads=n_threads)
            for _ in range(3):
                trainer.train_on_batch(rng.normal(size=(33, 513)), rng.integers(0, 10, 33))
        return model.arena

    first = short(1)
    assert helpers.distance(first, wide(dtype).arena) > 1e-3
    for n_threads in THREADS[1:]:
        helpers.assert_same_bits(short(n_threads), first, f"{n_threads} threads")


def test_the_nets_have_work_for_seven_threads():
    for net, (batch, _) in NETS.items():
        plan = net("float32").plan
        dense = plan.ops[plan.ops["kind"] == _core.OPS["dense"]]
        widths = plan.values["width"].astype(int)
        assert max(batch * widths[op["x"]] * widths[op["y"]] for op in dense) >= 6 * GATE
    assert wide("float32").plan.param_elems * 4 > GATE


COUNT = """
import os, sys
sys.path.insert(0, {tests!r})
import test_bits
from pynet import _core
before = len(os.listdir("/proc/self/task"))
test_bits.NETS[test_bits.wide] = (33, 33)
test_bits.STEPS = 2
test_bits.train(test_bits.wide, "float32", _core.default_isa(), 7)
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux shows them")
def test_seven_threads_are_at_work():
    """Equal bits would mean nothing if all of it ran in one thread."""
    source = COUNT.format(tests=os.path.dirname(__file__))
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 6


LIMIT = """
import os, resource, sys
sys.path.insert(0, {tests!r})
import test_bits
test_bits.NETS[test_bits.wide] = (33, 33)
test_bits.STEPS = 5
isa = test_bits.ISAS[-1]
one = test_bits.train(test_bits.wide, "float64", isa, 1)[0].arena
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (160 << 20),) * 2)
before = len(os.listdir("/proc/self/task"))
seven = test_bits.train(test_bits.wide, "float64", isa, 7)[0].arena
assert len(os.listdir("/proc/self/task")) == before, "threads could be made after all"
test_bits.helpers.assert_same_bits(seven, one)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux shows them")
def test_threads_that_cannot_be_made_do_not_show():
    """Their share of the work is done all the same: here each would need a stack larger than the memory left."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    done = subprocess.run(
        [sys.executable, "-c", LIMIT.format(tests=os.path.dirname(__file__))],
        capture_output=True, text=True, check=False,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (256 << 20, hard)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# ---- prediction ----------------------------------------------------------------------------------------------------


def some_net(dtype):
    x = pn.Input(19)
    h = pn.Dense(47, "gelu")(x)
    h = pn.Concat()([h, pn.Dense(31, "tanh")(h), x])
    return pn.Model(x, pn.Dense(13, "softmax")(pn.Add()([pn.Dense(33, "mish")(h), pn.Dense(33)(h)])), dtype=dtype)


def test_prediction_does_not_depend_on_the_batch(isa, dtype):
    X = np.random.default_rng(0).normal(size=(150, 19)).astype(dtype)
    with helpers.forced_isa(isa):
        model = some_net(dtype)
        expected = model.predict(X)
        assert np.std(expected) > 0.01
        for batch_size in (1, 2, 3, 7, 14, 15, 16, 17, 31, 33, 64, 149, 150, 1000):
            helpers.assert_same_bits(model.predict(X, batch_size=batch_size), expected, f"batch_size {batch_size}")
        for rows in (slice(0, 1), slice(3, 20), slice(149, 150), slice(None, None, 3), slice(None, None, -1)):
            helpers.assert_same_bits(model(X[rows]), expected[rows], f"rows {rows}")
        for i in (0, 1, 77, 149):
            helpers.assert_same_bits(model.predict_one(X[i]), expected[i], f"row {i} alone")
        for other in (np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X.astype(np.float64)):
            helpers.assert_same_bits(model.predict(other), expected, "another layout")


def test_prediction_is_that_of_the_twin(isa, dtype):
    X = np.random.default_rng(0).normal(size=(40, 19)).astype(dtype)
    with helpers.forced_isa(isa):
        model = some_net(dtype)
        helpers.assert_close(model.predict(X), model.predict(X, backend="numpy"), 100 * np.finfo(dtype).eps)


def test_prediction_does_not_depend_on_threads_or_instruction_set(dtype):
    X = np.random.default_rng(0).normal(size=(300, 97)).astype(dtype)
    before = pn.get_num_threads()
    results = []
    try:
        for isa in FMA_ISAS or ISAS:
            for n in THREADS:
                pn.set_num_threads(n)
                with helpers.forced_isa(isa):
                    results.append(branching(dtype).predict(X))
    finally:
        pn.set_num_threads(before)
    assert len(results) >= 4
    for main, aux in results[1:]:
        helpers.assert_same_bits(main, results[0][0])
        helpers.assert_same_bits(aux, results[0][1])


# ---- padding -------------------------------------------------------------------------------------------------------


def padded_net(activation, dtype):
    x = pn.Input(17)
    h = cases.dense(1, activation, l1=0.01, l2=0.01)(cases.dense(33, activation, l1=0.01)(x))
    h = pn.Concat()([h, pn.Activation(activation)(cases.dense(15)(x))])
    return pn.Model(x, [cases.dense(7, "softmax", name="main")(h), cases.dense(2, activation)(h)], dtype=dtype)


@pytest.mark.parametrize("activation", cases.ACTIVATIONS)
def test_padding_stays_zero(activation, dtype):
    """For 100 steps with penalties, decay and clips, though act(0), which fills the padding of rows, may be 1."""
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(500, 17))]
    targets = [cases.target("cross_entropy_dense", 500, 7, rng), rng.normal(size=(500, 2))]
    heads = [cases.head("cross_entropy_dense"), cases.head("mse")]
    clips = pn.clip.get([pn.ClipNorm(2.0), pn.ClipValue(0.5)])
    model = padded_net(activation, dtype)
    for rule, optimizer in cases.RULES.items():
        if hasattr(optimizer, "weight_decay") and rule != "rprop":
            optimizer = pn.optimizers.get(optimizer.config() | {"weight_decay": 0.1})
        task = helpers.Task(model, heads, X, targets, optimizer, batch=5, clips=clips)
        for executor in EVERYWHERE if rule == "adam" else EVERYWHERE[-1:]:
            if executor == NUMPY and activation != "gaussian":
                continue  # knows no padding but its own copies
            run = task.on(executor, 100)
            still = [name for name in run.plan.param_names if not name.startswith("main")]
            helpers.assert_moved(run, task.start, still if activation in (*cases.FLAT, "softmax") else ())
            for name, arena in (("params", run.params), ("grads", run.grads)):
                helpers.assert_padding_is_zero(run.plan, arena, f"{rule} {executor}: {name}")
            for i, arena in enumerate(run.slots):
                if (rule, i) != ("rprop", 1):  # the sizes of its steps start everywhere
                    helpers.assert_padding_is_zero(run.plan, arena, f"{rule} {executor}: slot {i}")


def test_padding_of_a_model_starts_zero(dtype):
    model = padded_net("tanh", dtype)
    helpers.assert_padding_is_zero(model.plan, model.arena)
    assert Executor("numpy", 1) == NUMPY
