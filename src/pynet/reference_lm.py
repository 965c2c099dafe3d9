"""Levenberg-Marquardt on the NumPy machine, by formula; its C twin csrc/lm.c states the formulas and their sources."""

from __future__ import annotations

import numpy as np

from . import _core
from .reference_search import NotFinite, Search

__all__ = ["LevenbergMarquardt"]


class LevenbergMarquardt(Search):
    """The search."""

    def iteration(self):
        if not self["started"]:
            loss, _, sums = yield from self.evaluate(self.x, False)
            if not np.isfinite(loss):
                raise NotFinite
            self.sums[:], self["loss"], self["started"] = sums, loss, 1
        A, g = yield from self.linearise()
        if self["gradient"] <= self.settings["gradient_tolerance"]:
            self.end("gradient")
            return
        low, high = self.settings["damping_min"], self.settings["damping_max"]
        first = self.settings["damping"] * (A.diagonal().max() or 1.0)
        damping, growth = min(max(self["damping"] or first, low), high), 2.0
        while not (yield from self._try(A, g, damping)):
            self["step"] = damping
            damping, growth = damping * growth, growth * 2
            if damping > high or self["evaluations"] >= self.settings["most_evaluations"]:
                self.end("damping")
                return

    def linearise(self):
        """Yield between rows; return A [n, n] and half the gradient g at the point in the arena."""
        machine, n = self.machine, len(self.x)
        A, g, weight = np.zeros((n, n)), np.zeros(n), 0.0
        for b in range(self.job.rows):
            if b and b % 16 == 0:
                yield
            for root, error, row in self.jacobian(b):
                row = root * row
                A += np.outer(row, row)
                g += root * error * row
            weight += machine.weights.sum()
        A, g = (A / weight, g / weight) if weight > 0 else (A, g)
        l2 = self._penalties()
        A[np.diag_indices(n)] += l2
        g += l2 * self.x
        self.gradient[:] = 2 * g
        self["gradient"] = np.abs(self.gradient).max()
        return A, g

    def jacobian(self, b: int):
        """Yield (root of the weight, error, its gradient) of every output of row b."""
        machine = self.machine
        self.batch(1, b, _core.FORWARD | _core.LOSS, np.zeros(machine.plan.n_sums))
        weight = machine.weights.sum()
        for op in machine.losses if weight > 0 else ():
            errors = machine.values[op.x][0].astype(np.float64) - machine.targets[op.slot][0]
            for o in range(len(errors) if op.p[1] else 0):
                for head in machine.losses:
                    machine.set_gradient(head.x, np.zeros((1, machine.widths[head.x])))
                machine.gradients[op.x][0, o] = 1
                self.batch(1, b, _core.BACKWARD | _core.BARE, None)
                row = machine._grad_arena[self.places].astype(np.float64)
                yield np.sqrt(weight * op.p[1] / len(errors)), errors[o], row

    def _penalties(self) -> np.ndarray:
        params = self.machine.plan.params
        return params["l2"][np.searchsorted(params["offset"], self.places, side="right") - 1]

    def _try(self, A, g, damping: float):
        """Try a damping; take the step and return True if it lowers the loss."""
        before = self["loss"]
        try:
            L = np.linalg.cholesky(A + damping * np.eye(len(g)))
        except np.linalg.LinAlgError:
            return False
        h = -np.linalg.solve(L.T, np.linalg.solve(L, g))
        predicted = h @ (damping * h - g)
        point = self.rounded(self.x + h)
        yield
        loss, _, sums = yield from self.evaluate(point, False)
        self["evaluations"] += 1
        if not (loss < before and predicted > 0):
            return False
        gain = (before - loss) / predicted
        self.x[:], self.sums[:], self["loss"], self["step"] = point, sums, loss, damping
        damping *= max(1 / 3, 1 - (2 * gain - 1) ** 3)
        self["damping"] = min(max(damping, self.settings["damping_min"]), self.settings["damping_max"])
        self.end("loss" if before - loss <= self.settings["loss_tolerance"] * before else "")
        return True
