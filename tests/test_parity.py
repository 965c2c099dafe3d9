"""The two machines agree: ten training steps of a branching net, for every activation, loss and update rule.

Tolerances are shares of the largest magnitude of an array (the ten losses, a parameter, its gradient, its slots):
float64 1e-12, as promised (measured: 6e-15); float32 5e-5 (measured: 7e-6), which is what ten steps make of rounding.
Piecewise functions and rules that look at signs would turn rounding into a jump where they stand on an edge, so the
seed is the first with which the float64 run keeps away from all edges, by more than float32 can err.
"""

import copy
import functools

import cases
import helpers
import numpy as np
import pytest
from helpers import EVERYWHERE, ISAS, NUMPY, Executor

import pynet as pn

STEPS, BATCH = 10, 5
TOLERANCE = {"float64": 1e-12, "float32": 5e-5}
MARGIN = 1e-5


@functools.lru_cache(maxsize=8)
def first_task(activation, loss, dtype, seed):
    model = cases.branching(activation, cases.LOSSES[loss][0], dtype, seed)
    rng = np.random.default_rng(seed)
    n = STEPS * BATCH
    heads = [cases.head(loss), cases.head("mse", 0.5)]
    targets = [cases.target(loss, n, 3, rng), cases.target("mse", n, 2, rng)]
    return helpers.Task(model, heads, [rng.normal(size=(n, 3))], targets, cases.RULES["sgd"], batch=BATCH)


def make_task(activation, loss, rule, dtype, seed):
    task = copy.copy(first_task(activation, loss, dtype, seed))
    task.optimizer = cases.RULES[rule]
    return task


def on_numpy_away_from_edges(activation, loss, rule):
    """The float64 run of the NumPy machine, and the first seed with which it keeps its distance from all edges."""
    for seed in range(100):
        task = make_task(activation, loss, rule, "float64", seed)
        margins = []

        def look(machine, params, grads, plan=task.plan, margins=margins):
            margins.append(cases.kink_margin(plan, machine, params))
            margins.append(cases.sign_margin(plan, grads) if rule in cases.SIGNED else 1.0)

        run = task.on(NUMPY, STEPS, look)
        if min(margins) > MARGIN:
            return run, seed
    raise AssertionError("no seed keeps its distance")


@pytest.mark.parametrize("loss", cases.LOSSES)
@pytest.mark.parametrize("activation", cases.ACTIVATIONS)
def test_ten_steps(activation, loss):
    for rule in cases.RULES:
        run, seed = on_numpy_away_from_edges(activation, loss, rule)
        for dtype, tolerance in TOLERANCE.items():
            task = make_task(activation, loss, rule, dtype, seed)
            runs = {e: run if (e, dtype) == (NUMPY, "float64") else task.on(e, STEPS) for e in EVERYWHERE}
            helpers.assert_agree(runs, tolerance, f"{rule} {dtype} seed {seed}")
            still = ("fused.kernel", "fused.bias", "plain.kernel", "plain.bias", "shared.kernel", "shared.bias")
            helpers.assert_moved(run, task.start, still if activation in cases.FLAT else ())
            assert np.ptp(run.losses) > 1e-3 * abs(run.losses).max()


def test_nothing_is_left_out():
    assert set(cases.RULES) == set(pn._core.OPTIMIZERS)
    assert {name: rule.rule for name, rule in cases.RULES.items()} == {name: name for name in cases.RULES}
    assert set(cases.LOSSES) | {"external"} == set(pn._core.LOSSES)
    assert set(cases.ACTIVATIONS) == set(pn._core.ACTIVATIONS)
    assert len(cases.ACTIVATIONS) == 30
    assert [NUMPY, *(Executor(isa, 1) for isa in ISAS)] == EVERYWHERE
