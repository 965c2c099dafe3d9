"""What the two searches of second order have in common on the NumPy machine: reference_lbfgs.py, reference_lm.py.

A search is a generator that yields between two batches, so that it can be cut there. The C twin is csrc/search.c.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from . import _core

__all__ = ["ENDS", "NUMBERS", "NotFinite", "Search"]

NUMBERS = (  # what stands in arrays["numbers"]; csrc/pynet.h says more
    "loss", "iterations", "evaluations", "gradient", "step", "end", "started", "pairs", "next", "damping",
)  # fmt: skip
ENDS = ("", "gradient", "loss", "line search", "damping")  # by numbers["end"]


class NotFinite(Exception):
    """The loss at the first point is not finite."""


class BadLabel(Exception):
    """A class number is impossible."""


class Search:
    """Base of both: same interface as ``_core.Search``, whose parameters and arrays these are."""

    def __init__(self, machine, places, arrays: dict, settings: dict):
        self.machine, self.places, self.settings = machine, places, settings
        self.arrays = arrays
        self.x, self.gradient, self.sums = arrays["x"], arrays["gradient"], arrays["sums"]
        self._going: Any = None  # the generator of the iteration under way

    def __getitem__(self, name: str) -> float:
        return float(self.arrays["numbers"][NUMBERS.index(name)])

    def __setitem__(self, name: str, value: float) -> None:
        self.arrays["numbers"][NUMBERS.index(name)] = value

    def iteration(self) -> Any:
        """Do one iteration, yielding where it may be cut; set the numbers."""
        raise NotImplementedError

    def run(self, job, seconds: float = float("inf")) -> tuple[bool, str]:
        """Work for about `seconds`; return (whether an iteration ended, "ok" | "not_finite" | "bad_label")."""
        until = time.perf_counter() + seconds
        self.job = job
        if self._going is None:
            self.x[:] = self.machine._arena[self.places]
            self["evaluations"] = self["end"] = self["step"] = 0
            self._going = self.iteration()
        going, self._going = self._going, None
        try:
            with np.errstate(all="ignore"):
                for _ in going:
                    if time.perf_counter() >= until:
                        self._going = going
                        return False, "ok"
        except NotFinite:
            return False, "not_finite"
        except BadLabel:
            return False, "bad_label"
        finally:
            self.place(self.x)  # whatever point was looked at: the arena holds that of the last iteration
        return True, "ok"

    def end(self, reason: str = "") -> None:
        """Note that the iteration has ended, and whether that is the end of all."""
        self["end"] = ENDS.index(reason)
        self["iterations"] += 1

    def place(self, point: np.ndarray) -> None:
        self.machine._arena[self.places] = point

    def rounded(self, point: np.ndarray) -> np.ndarray:
        """Return a point as the machine's dtype rounds it."""
        return point.astype(self.machine.dtype).astype(np.float64)

    def batch(self, batch: int, k: int, stages: int, sums) -> str:
        """Run one batch of `batch` rows."""
        job = self.job
        whole = job.batch, job.stages, job.sums
        job.batch, job.stages, job.sums = batch, stages, sums
        try:
            _, status = self.machine.run(job, k, 1)
        finally:
            job.batch, job.stages, job.sums = whole
        if status == "bad_label":
            raise BadLabel
        return status

    def evaluate(self, point: np.ndarray, with_gradient: bool):
        """Yield between batches; return (loss, gradient or None, sums) at a point."""
        down = _core.BACKWARD if with_gradient else 0
        sums, gradient, weight = np.zeros(self.machine.plan.n_sums), np.zeros(len(point)), 0.0
        for k in range(-(-self.job.rows // self.job.batch)):
            if k:
                yield
            self.place(point)
            if self.batch(self.job.batch, k, _core.FORWARD | _core.LOSS | _core.METRIC | down, sums) != "ok":
                return np.inf, gradient, sums
            own = self.machine.weights.sum()
            if with_gradient:  # that of the batch's own mean: weighted by its rows they add up to that of all rows
                gradient += own * self.machine._grad_arena[self.places].astype(np.float64)
            weight += own
        loss = sums[0] / sums[1]
        for op in self.machine.losses:
            part, rows = sums[op.at : op.at + 2]
            loss += op.p[1] * part / rows if rows > 0 else 0.0
        return loss, gradient / weight if weight > 0 else gradient, sums
