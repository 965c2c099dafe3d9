"""Training by few rows: the gradient of a large weight matrix is then made in the update, and kept nowhere.

Truth is the same batch in two calls, which leaves all gradients in memory for the second: same bits, whatever else is
asked of the weights; and the NumPy machine, which knows no such way.
"""

import cases
import helpers
import numpy as np
import pytest
from helpers import FMA_ISAS, ISAS, NUMPY, Executor

import pynet as pn

LATE = {"large.kernel", "first.kernel", "slow.kernel", "still.kernel", "bounded.kernel", "wide.kernel", "last.kernel"}
LATE_OF_ROWS = {"large.kernel", "first.kernel"}  # 8192 weights and more, padding included
STEPS = 5


def everything(dtype):
    """Layers of 2048 weights and more of every kind that may or may not go this way."""
    x = pn.Input(200)
    large = cases.dense(180, "relu", name="large")(x)
    first = cases.dense(45, "relu", name="first")(large)
    shared = cases.dense(45, "tanh", name="shared")
    h = pn.Add()([first, shared(shared(first))])
    for name, units, options in (
        ("l1", 61, {"l1": 1e-3}), ("l2", 61, {"l2": 1e-3}), ("frozen", 61, {"trainable": False}), ("slow", 61, {}),
        ("still", 61, {}), ("bounded", 61, {"max_norm": 0.5}), ("masked", 61, {}), ("small", 30, {}), ("wide", 80, {}),
    ):  # fmt: skip
        h = cases.dense(units, "silu", name=name, **options)(h)
    model = pn.Model(x, cases.dense(49, name="last")(h), dtype=dtype)
    keep = np.random.default_rng(3).random((61, 61)) < 0.5
    pn.prune.set_masks(model, {"masked.kernel": keep})
    return model


def task_of(rule, dtype, batch=1, **more):
    rng = np.random.default_rng(1)
    model, rows = everything(dtype), STEPS * batch - batch // 2  # the last batch is short
    X, t = rng.normal(size=(rows, 200)).astype(dtype), 3 * rng.normal(size=(rows, 49)).astype(dtype)
    task = helpers.Task(model, [cases.head("mse")], [X], [t], cases.RULES[rule], batch=batch, **more)
    for name, rate in (("slow.kernel", 0.25), ("still.kernel", 0)):
        task.plan.params["rate"][task.plan.param_names.index(name)] = rate
    return task


def untouched(trained) -> set:
    """The names of the weights whose gradients are all 0 in memory."""
    plan = trained.plan
    return {
        name
        for name, record in zip(plan.param_names, plan.params, strict=True)
        if not trained.grads[record["offset"] :][: record["rows"] * record["cols"]].any()
    }


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (1, 3), (2, 1), (7, 2), (8, 1), (9, 1)])
@pytest.mark.parametrize("rule", cases.RULES)
def test_bits_of_gradients_in_memory(rule, batch, threads, dtype):
    task = task_of(rule, dtype, batch)
    late = LATE if batch == 1 else LATE_OF_ROWS if batch <= 8 else set()
    steps = STEPS if batch <= 8 else STEPS - 1  # without the short one
    for isa in ISAS:
        executor = Executor(isa, threads)
        at_once, in_two = task.on(executor, steps), task.on(executor, steps, lambda *_: None)
        assert untouched(at_once) - untouched(in_two) == late, "nothing, or too much, went this way"
        helpers.assert_same_bits(at_once.params, in_two.params, f"{isa} weights")
        helpers.assert_same_bits(at_once.sums, in_two.sums, f"{isa} losses")
        for k, (slot, expected) in enumerate(zip(at_once.slots, in_two.slots, strict=True)):
            helpers.assert_same_bits(slot, expected, f"{isa} slot {k}")


@pytest.mark.parametrize(("rule", "batch"), [("momentum", 1), ("adam", 1), ("adam", 5)])
def test_the_numpy_machine_agrees(rule, batch):
    task = task_of(rule, "float64", batch)
    twin = task.on(NUMPY, STEPS).arrays()
    for isa in ISAS:
        for what, array in task.on(Executor(isa, 1), STEPS).arrays().items():
            if what != "gradients":
                helpers.assert_close(array, twin[what], 1e-10, f"{isa} {what}")


@pytest.mark.parametrize("clip", [pn.ClipValue(1e30), pn.ClipNorm(1e30)], ids=str)
def test_clipped_gradients_are_in_memory(clip, dtype):
    """An idle clip changes no bit, but it looks at all gradients."""
    free, clipped = task_of("adam", dtype), task_of("adam", dtype, clips=pn.clip.get([clip]))
    for isa in FMA_ISAS or ["scalar"]:
        a, b = free.on(Executor(isa, 2), STEPS), clipped.on(Executor(isa, 2), STEPS)
        assert not untouched(b) & LATE
        helpers.assert_same_bits(a.params, b.params, isa)


def test_rows_and_batches_by_turns():
    """The last batch of an epoch is a single row, or is not: the NumPy machine takes the same steps."""
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(9, 70)), rng.normal(size=(9, 33))
    losses = []
    for backend in ("c", "numpy"):
        layers = [pn.Input(70), pn.Dense(64, "relu"), pn.Dense(33)]
        trainer = pn.Trainer(pn.Sequential(layers, dtype="float64"), "mse", pn.Adam(0.01), backend=backend)
        losses.append(trainer.fit(X, y, epochs=5, batch_size=4, verbose=0).history["loss"])
    helpers.assert_close(losses[0], losses[1], 1e-12)
