"""Schedules: the learning rate as a function of the step, counted in updates from 0.

>>> pn.Adam(learning_rate=pn.schedules.WarmUp(500, then=pn.schedules.Cosine(1e-3, steps=10_000)))

Any callable ``step -> rate`` will do; these can also be written into a checkpoint.
"""

from __future__ import annotations

import math

import numpy as np

from ._check import fraction, integer, number
from ._record import Record, lookup

__all__ = ["TABLE", "Cosine", "Exponential", "OneCycle", "Schedule", "Step", "WarmUp", "from_config", "get"]


class Schedule(Record):
    """Base of all schedules."""

    def __call__(self, step):
        """Return the rate at `step`: a float for an int, an array for an array."""
        rates = self.at(np.atleast_1d(np.asarray(step, dtype=np.float64)))
        return rates if np.ndim(step) else float(rates[0])

    def at(self, step: np.ndarray) -> np.ndarray:
        """Return the rates at an array of steps, float64."""
        raise NotImplementedError


def _cosine(start, end, share):
    """From `start` to `end` along half a cosine, share in 0..1."""
    return end + (start - end) * (1 + np.cos(math.pi * share)) / 2


class Step(Schedule):
    """``initial * drop ** floor(step / every)``.

    Parameters
    ----------
    initial : float, rate at step 0
    drop : float > 0, factor at each drop
    every : int, updates between drops
    """

    name = "step"
    fields = required = ("initial", "drop", "every")

    def __init__(self, initial: float, drop: float, every: int) -> None:
        self.initial = number("initial", initial, 0.0)
        self.drop = number("drop", drop, 0.0, low_open=True)
        self.every = integer("every", every, 1)

    def at(self, step):
        return self.initial * self.drop ** (step // self.every)


class Exponential(Schedule):
    """``initial * decay ** (step / steps)``.

    Parameters
    ----------
    initial : float, rate at step 0
    decay : float > 0, factor after `steps` updates
    steps : int
    """

    name = "exponential"
    fields = required = ("initial", "decay", "steps")

    def __init__(self, initial: float, decay: float, steps: int) -> None:
        self.initial = number("initial", initial, 0.0)
        self.decay = number("decay", decay, 0.0, low_open=True)
        self.steps = integer("steps", steps, 1)

    def at(self, step):
        return self.initial * self.decay ** (step / self.steps)


class Cosine(Schedule):
    """From `initial` to `final` along half a cosine in `steps` updates, then constant (Loshchilov, Hutter 2017).

    Parameters
    ----------
    initial : float, rate at step 0
    steps : int
    final : float, default 0
    """

    name = "cosine"
    fields, required = ("initial", "steps", "final"), ("initial", "steps")

    def __init__(self, initial: float, steps: int, final: float = 0.0) -> None:
        self.initial = number("initial", initial, 0.0)
        self.steps = integer("steps", steps, 1)
        self.final = number("final", final, 0.0)

    def at(self, step):
        return _cosine(self.initial, self.final, np.minimum(step / self.steps, 1.0))


class OneCycle(Schedule):
    """Up to `peak` and down to almost nothing within `steps` updates, both along half a cosine (Smith, Topin 2017).

    Parameters
    ----------
    peak : float, the largest rate
    steps : int, updates of the whole cycle; constant afterwards
    warmup : float inside [0, 1), default 0.3: share of the cycle that goes up
    start : float, default 1/25: rate at step 0, as a share of `peak`
    end : float, default 4e-6: rate at the end, as a share of `peak`
    """

    name = "one_cycle"
    fields, required = ("peak", "steps", "warmup", "start", "end"), ("peak", "steps")

    def __init__(self, peak: float, steps: int, warmup: float = 0.3, start: float = 0.04, end: float = 4e-6) -> None:
        self.peak = number("peak", peak, 0.0)
        self.steps = integer("steps", steps, 1)
        self.warmup = fraction("warmup", warmup)
        self.start = number("start", start, 0.0, 1.0)
        self.end = number("end", end, 0.0, 1.0)

    def at(self, step):
        top = self.warmup * self.steps
        up = _cosine(self.start, 1.0, step / top) if top else 1.0
        down = _cosine(1.0, self.end, np.minimum((step - top) / (self.steps - top), 1.0))
        return self.peak * np.where(step < top, up, down)


class WarmUp(Schedule):
    """A straight line up to the first rate of `then` in `steps` updates, then `then`, which counts from there.

    The rate of step s < `steps` is ``then(0) * (s + 1) / steps``: never 0 (Goyal et al. 2017).

    Parameters
    ----------
    steps : int
    then : Schedule or float, default 1e-3
    """

    name = "warm_up"
    fields, required = ("steps", "then"), ("steps",)

    def __init__(self, steps: int, then=1e-3) -> None:
        self.steps = integer("steps", steps, 1)
        is_schedule = isinstance(then, (Schedule, dict))
        self.then: float | Schedule = get(then) if is_schedule else number("then", then, 0.0)

    def at(self, step):
        later = np.maximum(step - self.steps, 0.0)
        then = self.then.at(later) if isinstance(self.then, Schedule) else self.then
        return then * np.minimum((step + 1) / self.steps, 1.0)


#: All schedules, by name.
TABLE = {made.name: made for made in (Step, Exponential, Cosine, OneCycle, WarmUp)}


def get(spec) -> Schedule:
    """Return the schedule that `spec` means.

    Parameters
    ----------
    spec : Schedule or dict
        The thing itself, or its config dict.

    Raises
    ------
    ValueError, TypeError
        If it is unknown, or a parameter is missing or impossible.
    """
    return lookup("schedule", spec, Schedule, TABLE)


from_config = get
