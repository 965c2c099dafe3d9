"""L-BFGS on the NumPy machine, by formula (Nocedal 1980; Nocedal, Wright 2006, section 7.2).

The line search is that of Moré and Thuente (ACM TOMS 20, 1994), as in MINPACK-2's dcsrch and dcstep. The C twin is
csrc/lbfgs.c with csrc/line_search.c.
"""

from __future__ import annotations

import math

import numpy as np

from .reference_search import NotFinite, Search

__all__ = ["LBFGS", "Line"]

DECREASE, CURVATURE = 1e-4, 0.9  # of the strong Wolfe conditions
NARROW, MOST_STEP = 1e-14, 1e10


class LBFGS(Search):
    """The search; arrays["pairs"] [memory, 2 n + 1] holds s = x' - x, y = g' - g and s'y of the last iterations."""

    anew = False  # whether the search of this iteration has begun anew along the gradient: the pairs are of no use then

    def _count(self) -> int:
        return 0 if self.anew else int(self["pairs"])

    def _pairs(self) -> list:
        """Return (s, y, s'y) of the pairs that are there, newest first."""
        n, memory = len(self.x), self.settings["memory"]
        rows = [int(self["next"] - 1 - i) % memory for i in range(self._count())]
        return [(row[:n], row[n : 2 * n], row[2 * n]) for row in self.arrays["pairs"][rows]]

    def direction(self) -> np.ndarray:
        """Return -H g by the two-loop recursion."""
        d, pairs = -self.gradient, self._pairs()
        alphas = []
        for s, y, sy in pairs:
            alphas.append(s @ d / sy)
            d -= alphas[-1] * y
        if pairs:
            _, y, sy = pairs[0]
            d *= sy / (y @ y)
        for (s, y, sy), alpha in zip(pairs[::-1], alphas[::-1], strict=True):
            d += (alpha - y @ d / sy) * s
        return d

    def iteration(self):
        if not self["started"]:
            loss, gradient, sums = yield from self.evaluate(self.x, True)
            if not (np.isfinite(loss) and np.isfinite(gradient).all()):
                raise NotFinite
            self.gradient[:], self.sums[:], self["loss"], self["started"] = gradient, sums, loss, 1
            self["gradient"] = np.abs(gradient).max()
        if self["gradient"] <= self.settings["gradient_tolerance"]:
            self.end("gradient")
            return
        self.anew = False
        while True:
            d = self.direction()
            slope = self.gradient @ d
            if not slope < 0 or not np.isfinite(slope):  # rounding has spoilt the pairs
                self.anew = True
                d = -self.gradient
                slope = self.gradient @ d
            found = yield from self._along(d, slope)
            if found or not self._count():
                break
            self.anew = True  # once more, along the gradient itself
        if not found:
            self.end("line search")

    def _along(self, d: np.ndarray, slope: float):
        """Search along a line; take the step that is found."""
        step, start = 1.0 if self._count() else min(1.0, 1 / math.sqrt(-slope)), self["loss"]
        line = Line(start, slope, step, MOST_STEP)
        for _ in range(self.settings["most_evaluations"]):
            point = self.rounded(self.x + step * d)
            loss, gradient, sums = yield from self.evaluate(point, True)
            self["evaluations"] += 1
            here = gradient @ d
            if not (np.isfinite(loss) and np.isfinite(here)):  # much too far
                line = Line(start, slope, step / 10, step / 2)
                step /= 10
                lower, answer, following = False, "", step
            else:
                lower = loss < start
                answer, following = line.next(loss, here, step)
            if answer == "done" or (answer == "stuck" and lower):
                break
            if answer == "stuck":
                return False
            last, step = step, following
            yield
        else:
            step = last
            if not lower:
                return False
        self._accept(point, loss, gradient, sums, step)
        return True

    def _accept(self, point, loss, gradient, sums, step) -> None:
        s, y = point - self.x, gradient - self.gradient
        k = int(self["next"])
        self.arrays["pairs"][k] = [*s, *y, s @ y]
        self["pairs"] = self._count()
        if s @ y > np.finfo(float).eps * (y @ y):
            memory = self.settings["memory"]
            self["pairs"], self["next"] = min(self["pairs"] + 1, memory), (k + 1) % memory
        before = self["loss"]
        self.x[:], self.gradient[:], self.sums[:] = point, gradient, sums
        self["loss"], self["gradient"], self["step"] = loss, np.abs(gradient).max(), step
        flat = self["gradient"] <= self.settings["gradient_tolerance"]
        slow = before - loss <= self.settings["loss_tolerance"] * abs(before)
        self.end("gradient" if flat else "loss" if slow else "")


class Line:
    """A step t with loss(t) <= loss(0) + DECREASE t slope(0) and |slope(t)| <= CURVATURE |slope(0)|.

    x is the best step so far, y the other end of the interval that holds such a step once it is bracketed; each is
    (step, loss, slope).
    """

    def __init__(self, loss: float, slope: float, step: float, most: float):
        self.loss, self.slope, self.most = loss, slope, most
        self.x = self.y = (0.0, loss, slope)
        self.low, self.high = 0.0, 5 * step
        self.width, self.width_before = most, 2 * most
        self.bracketed = self.sufficient = False

    def next(self, loss: float, slope: float, t: float) -> tuple[str, float]:
        """Return ("", the next step), ("done", t) or ("stuck", t) from loss and slope at step t."""
        gain = DECREASE * self.slope
        wanted = self.loss + t * gain
        self.sufficient = self.sufficient or (loss <= wanted and slope >= 0)
        if loss <= wanted and abs(slope) <= CURVATURE * -self.slope:
            return "done", t
        if self._narrow(t) or (t >= self.most and loss <= wanted and slope <= gain):
            return "stuck", t
        if not self.sufficient and loss <= self.x[1] and loss > wanted:
            # look at loss(t) - t gain until that is negative

            def tilted(end, sign):
                return end[0], end[1] - sign * end[0] * gain, end[2] - sign * gain

            self.x, self.y = tilted(self.x, 1), tilted(self.y, 1)
            step = self._safeguarded(t, loss - t * gain, slope - gain)
            self.x, self.y = tilted(self.x, -1), tilted(self.y, -1)
        else:
            step = self._safeguarded(t, loss, slope)
        if self.bracketed:
            width = abs(self.y[0] - self.x[0])
            if width >= 0.66 * self.width_before:
                step = self.x[0] + (self.y[0] - self.x[0]) / 2
            self.width_before, self.width = self.width, width
            self.low, self.high = sorted((self.x[0], self.y[0]))
        else:
            self.low, self.high = step + 1.1 * (step - self.x[0]), step + 4 * (step - self.x[0])
        if math.isnan(step):
            return "stuck", t
        step = min(max(step, 0.0), self.most)
        return "", self.x[0] if self._narrow(step) else step

    def _narrow(self, t: float) -> bool:
        return self.bracketed and (t <= self.low or t >= self.high or self.high - self.low <= NARROW * self.high)

    def _safeguarded(self, t: float, f: float, d: float) -> float:
        """Return the next step; x and y become the ends of the new interval."""
        (x, fx, dx), new = self.x, (t, f, d)
        turned = d * (-1 if dx < 0 else 1)
        if f > fx:  # higher: a minimum lies between
            c = _cubic(self.x, new)
            q = x + dx / ((fx - f) / (t - x) + dx) / 2 * (t - x)
            step = c if abs(c - x) <= abs(q - x) else c + (q - c) / 2
            self.bracketed = True
        else:
            q = t + d / (d - dx) * (x - t) if d != dx else math.inf
            if turned < 0:  # lower, but uphill now: a minimum lies between
                c = _cubic(new, self.x)
                step = c if abs(c - t) > abs(q - t) else q
                self.bracketed = True
            elif abs(d) < abs(dx):  # lower, and less steep
                c = _cubic(new, self.x, beyond=True)
                if math.isinf(c):
                    c = self.high if t > x else self.low
                if self.bracketed:
                    step, limit = c if abs(c - t) < abs(q - t) else q, t + 0.66 * (self.y[0] - t)
                    step = min(limit, step) if t > x else max(limit, step)
                else:
                    step = max(self.low, min(self.high, c if abs(c - t) > abs(q - t) else q))
            elif self.bracketed:  # lower, and as steep
                step = _cubic(new, self.y)
            else:
                step = self.high if t > x else self.low
        if f > fx:
            self.y = new
        else:
            self.x, self.y = new, self.x if turned < 0 else self.y
        return step


def _cubic(a: tuple, b: tuple, beyond: bool = False) -> float:
    """Return the minimum of the cubic through two (step, loss, slope), as seen from a; `beyond`: on the side of a where
    b is not, infinite where there is none."""
    (ta, fa, da), (tb, fb, db) = a, b
    theta = 3 * (fa - fb) / (tb - ta) + da + db
    s = max(abs(theta), abs(da), abs(db))
    gamma = s * math.sqrt(max(0.0, theta / s * (theta / s) - da / s * (db / s))) * (-1 if tb < ta else 1)
    below = gamma + (db - da) + gamma if beyond else gamma - da + gamma + db
    r = (gamma - da + theta) / below if below else math.nan
    if beyond and not (r < 0 and gamma != 0):
        return math.inf
    return ta + r * (tb - ta)
