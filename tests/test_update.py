"""Clips and update rules alone: both machines are given the same gradients, so nothing but the rule can differ.

A step is exact but for rounding: within 16 eps of the parameter and of ten learning rates, in either dtype.
"""

import cases
import helpers
import numpy as np
import pytest
from helpers import EVERYWHERE, FMA_ISAS, NUMPY, Guarded

import pynet as pn
from pynet import _core
from pynet.plan import Job, build

DENORMAL = {"float32": 1e-40, "float64": 1e-310}


class Bench:
    """A machine that only updates: a kernel and bias that train, and a frozen layer between them."""

    def __init__(self, executor, dtype, optimizer, clips=()):
        x = pn.Input(3)
        h = cases.dense(19)(x)
        h = cases.dense(5, trainable=False, name="frozen")(h)
        model = pn.Model(x, cases.dense(7, name="last")(h), dtype=dtype)
        self.plan, self.optimizer, self.clips = build(model, [cases.head("mse")]), optimizer, list(clips)
        arenas = [Guarded(self.plan.param_elems, dtype) for _ in range(2 + optimizer.n_slots)]
        self.guards, (self.params, self.grads, *self.slots) = arenas, (arena.inner for arena in arenas)
        self.params[:] = model.arena
        self.machine = helpers.make_machine(
            executor, self.plan, self.params, rows=1, grads=self.grads, slots=self.slots
        )
        self.inputs = [np.zeros((1, 3))]
        self.machine.run(Job(inputs=self.inputs, rows=1, stages=_core.FORWARD), 0, 1)
        trained = ~helpers.padding(self.plan)
        frozen = self.plan.params[self.plan.params["flags"] == 0]
        for record in frozen:
            trained[int(record["offset"]) : int(record["offset"]) + int(record["rows"]) * 16] = False
        self.trained = np.flatnonzero(trained)
        assert len(frozen) == 2

    def step(self, k, gradient, rate=0.1):
        """Update number k with these gradients of the trained parameters."""
        self.grads[:] = 0
        self.grads[self.trained] = gradient
        job = Job(
            inputs=self.inputs, rows=1, stages=_core.UPDATE, optimizer=self.optimizer.kind, step=k, clips=self.clips,
            hyper=self.optimizer.hyper, rate=np.array([rate]),
        )  # fmt: skip
        assert self.machine.run(job, 0, 1) == (1, "ok")
        for guard in self.guards:
            guard.check()


def gradients(n, k):
    return np.random.default_rng([n, k]).normal(size=n) * 10.0 ** np.random.default_rng(n).integers(-3, 2, n)


@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("rule", cases.RULES)
def test_five_steps(rule, decay, dtype):
    optimizer, eps = cases.RULES[rule], np.finfo(dtype).eps
    if decay and rule != "rprop":
        optimizer = pn.optimizers.get(optimizer.config() | {"weight_decay": decay})
    benches = {executor: Bench(executor, dtype, optimizer) for executor in EVERYWHERE}
    start = benches[NUMPY].params.copy()
    first = next(b for e, b in benches.items() if e.isa in (FMA_ISAS or ["scalar"]))
    for k in range(5):
        for bench in benches.values():
            bench.step(k, gradients(len(bench.trained), k))
        twin = benches[NUMPY]
        for executor, bench in benches.items():
            bound = 16 * eps * (k + 1) * (np.abs(twin.params) + (1.0 if rule in cases.SIGNED else 30.0))
            helpers.assert_within(bench.params, twin.params, bound, f"{executor} step {k}")
            for slot, expected in zip(bench.slots, twin.slots, strict=True):
                where = bench.trained
                scale = np.abs(expected[where]).max()
                helpers.assert_within(slot[where], expected[where], 16 * eps * scale, f"{executor} slot, step {k}")
            if executor.isa in FMA_ISAS:
                helpers.assert_same_bits(bench.params, first.params)
    for bench in benches.values():
        moved = bench.params != start
        assert moved[bench.trained].all()
        assert not np.delete(moved, bench.trained).any(), "a frozen parameter or padding has moved"


@pytest.mark.parametrize("rule", cases.RULES)
def test_zeros_and_denormals(rule, executor, dtype):
    """A gradient of 0 moves nothing; a denormal one counts as 0; state that decays to denormals becomes 0."""
    bench = Bench(executor, dtype, cases.RULES[rule] if rule != "adamw" else pn.AdamW(0.01, weight_decay=0.0))
    least = np.finfo(dtype).tiny
    start = bench.params.copy()
    gradient = np.zeros(len(bench.trained))
    gradient[::2] = DENORMAL[dtype.name]
    gradient[::4] *= -1
    for k in range(3):
        bench.step(k, gradient)
    helpers.assert_same_bits(bench.params, start)
    for slot in bench.slots:
        slot[bench.trained] = 1.5 * least
    for k in range(3, 100):
        bench.step(k, gradient)
        for slot in bench.slots:
            small = np.abs(slot[bench.trained])
            assert not ((small > 0) & (small < least)).any(), f"a denormal number in the state, step {k}"


CLIPS = {
    "norm": ([pn.ClipNorm(0.5)], lambda g: g * min(1, 0.5 / np.sqrt((g * g).sum()))),
    "small norm": ([pn.ClipNorm(1e6)], lambda g: g),
    "value": ([pn.ClipValue(0.5)], lambda g: np.clip(g, -0.5, 0.5)),
    "sign": ([pn.SignGradient()], np.sign),
    "value, norm": ([pn.ClipValue(0.5), pn.ClipNorm(0.1)], lambda g: CLIPS["value"][1](g) * 0.1 / norm_of(g)),
}


def norm_of(g):
    return np.sqrt((np.clip(g, -0.5, 0.5) ** 2).sum())


@pytest.mark.parametrize("clip", CLIPS)
def test_clips(clip, executor, dtype):
    """By formula: the gradients that sgd has subtracted."""
    chain, formula = CLIPS[clip]
    bench = Bench(executor, dtype, pn.SGD(1.0), pn.clip.get(chain))
    start, g = bench.params.astype(np.float64), gradients(len(bench.trained), 0).astype(dtype).astype(np.float64)
    g[:2] = 0
    assert 0.5 < np.abs(g).max() < 1e3
    bench.step(0, g, 1.0)
    expected = start[bench.trained] - formula(g)
    bound = 8 * np.finfo(dtype).eps * (np.abs(start[bench.trained]) + np.abs(formula(g)))
    helpers.assert_within(bench.params[bench.trained], expected, bound, clip)
    np.testing.assert_array_equal(bench.grads[bench.trained] == 0, g == 0)


def test_norm_of_large_gradients_does_not_overflow(executor, dtype):
    bench = Bench(executor, dtype, pn.SGD(1.0), pn.clip.get(pn.ClipNorm(1.0)))
    big = 1e30 if dtype == np.float32 else 1e150
    start = bench.params[bench.trained].astype(np.float64)
    bench.step(0, np.full(len(bench.trained), big), 1.0)
    expected = start - 1 / np.sqrt(len(start))
    helpers.assert_within(bench.params[bench.trained], expected, 4 * np.finfo(dtype).eps, "clipped")
