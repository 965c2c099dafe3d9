"""Gradients by a machine and by differences, and points where differences may be trusted."""

import cases
import fillings
import numpy as np
from helpers import NUMPY, SEED, Executor, assert_within, make_machine, total_loss

import pynet as pn
from pynet import _core
from pynet.plan import Job, bits_of, build, unpack

MARGIN = 0.02  # from every kink; differences reach out for some 0.002
B = 3  # rows of a batch


def difference(f, h: float):
    """Central difference of fourth order of f(step) at 0."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


class Differences:
    """The loss of one batch as a function of all parameters and inputs, with its gradient: by a machine, and by
    central differences of that machine's loss.

    `mode` is that of the plan: "train" (batch statistics, random numbers) or "gradients" (frozen).

    Attributes
    ----------
    gradient, estimate : dict of arrays by name
        "fused.kernel" ..., and "input 0" ... (of the raw inputs).
    """

    def __init__(self, model, heads, inputs, targets, executor: Executor, weight=None, probe=True, mode="train"):
        assert model.dtype == np.float64
        self.plan = plan = build(model, heads, input_gradients=True, mode=mode)
        self.inputs = [np.array(x, np.float64) for x in inputs]
        self.params, grads = (_core.aligned(plan.param_elems, plan.dtype) for _ in range(2))
        self.params[:] = model.arena
        self.rows, self.targets, self.weight = len(inputs[0]), targets, weight
        keep = model.weights.keep
        self.machine = make_machine(executor, plan, self.params, rows=self.rows, grads=grads, keep=keep)
        self.value = self.loss(_core.BACKWARD)
        self.gradient, self.estimate = {}, {}
        places = []
        for name, record in zip(plan.param_names, plan.params, strict=True):
            if record["flags"] & _core.TRAINABLE:
                numbers = np.arange(plan.param_elems, dtype=np.float64)  # an arena that says where each element is
                where = unpack(numbers, record).astype(np.int64).reshape(-1)
                if record["flags"] & _core.MASKED:
                    left = bits_of(keep)[where] > 0
                    assert not grads[where[~left]].any(), f"{name}: what is pruned has a gradient"
                    where = where[left]
                self.gradient[name] = grads[where]
                places.append((name, self.params, where))
        for slot, (value, index) in enumerate(zip(plan.input_values, plan.input_gradients, strict=True)):
            if index != _core.NONE:
                scale = self._scale(value)
                self.gradient[f"input {slot}"] = (self.machine.value(index, gradient=True) * scale).reshape(-1)
                flat = self.inputs[slot].reshape(-1)
                places.append((f"input {slot}", flat, np.arange(flat.size)))
        for name, array, where in places:
            if probe:
                self.estimate[name] = np.array([self._difference(array, i) for i in where])

    def _scale(self, value: int):
        op = next(op for op in self.plan.ops if op["kind"] == _core.OPS["input"] and op["y"] == value)
        return 1.0 if op["w"] == _core.NONE else unpack(self.params, self.plan.params[op["w"]])

    def _difference(self, array, i: int) -> float:
        before = array[i]

        def moved(step):
            array[i] = before + step
            return self.loss()

        result = difference(moved, 3e-4)
        array[i] = before
        return result

    def loss(self, more_stages: int = 0) -> float:
        job = Job(
            inputs=self.inputs, targets=self.targets, weight=self.weight, rows=self.rows, batch=self.rows,
            stages=_core.FORWARD | _core.LOSS | more_stages, sums=np.zeros(self.plan.n_sums),
            seed=SEED, step=5,
        )  # fmt: skip
        assert self.machine.run(job, 0, 1) == (1, "ok")
        return float(total_loss(self.plan, job.sums))

    def check(self, tolerance: float = 1e-9, flat: bool = False) -> None:
        """Both agree within tolerance * (the largest gradient, or 1); and, unless `flat`, there is a slope."""
        largest = max(1.0, *(np.abs(g).max() for g in self.estimate.values()))
        for name, estimate in self.estimate.items():
            assert_within(self.gradient[name], estimate, tolerance * largest, f"gradient of {name}")
            assert flat or np.abs(estimate).max() > 1e-4, f"the loss does not depend on {name}"


def random_inputs(model, rng):
    return fillings.arrays(model, B, rng)


def away_from_kinks(make, heads, make_targets, weight=None, mode="train"):
    """(model, inputs, targets) of the first seed with which one batch keeps its distance."""
    for seed in range(2000):
        rng = np.random.default_rng(seed)
        model = make(seed)
        inputs, targets = random_inputs(model, rng), make_targets(rng)
        spy = Differences(model, heads, inputs, targets, NUMPY, weight, probe=False, mode=mode)
        if cases.kink_margin(spy.plan, spy.machine, spy.params) > MARGIN:
            return model, inputs, targets
    raise AssertionError("no seed keeps its distance")


def check(make, heads, make_targets, executor, weight=None, flat=False, mode="train"):
    model, inputs, targets = away_from_kinks(make, heads, make_targets, weight, mode)
    found = Differences(model, heads, inputs, targets, executor, weight, mode=mode)
    found.check(flat=flat)
    return found


def of(kind, *widths):
    """Targets of heads of these widths."""
    return lambda rng: [cases.target(kind, B, width, rng) for width in widths]


def one_head(build_head, inputs=3):
    def make(seed):
        x = pn.Input(inputs)
        return pn.Model(x, build_head(x), dtype="float64", random_state=seed)

    return make
