"""Norms of rows in integer networks: mean, variance and an inverse square root, all of them integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .quantize_numbers import LIMIT, shift_right
from .quantize_ops import IntegerOp, magnitude

__all__ = ["MAX_EPSILON", "MAX_NORM", "RowNorm", "fraction_bits", "square_root"]

MAX_WIDTH = 1 << 20
MAX_EPSILON = 1 << 40
MAX_NORM = 1 << 30  # of a normalised element, with 16 bits behind the point


def fraction_bits(bits: int) -> int:
    """Return how many bits behind the point a mean has: so many that its squares add up in int64."""
    return 8 if bits == 8 else 4


def square_root(v: np.ndarray) -> np.ndarray:
    """Return floor(sqrt(v)) of int64 below 2^62."""
    r = np.sqrt(v.astype(np.float64)).astype(np.int64)  # off by one at most
    r -= r * r > v
    return r + ((r + 1) * (r + 1) <= v)


@dataclass(eq=False)
class RowNorm(IntegerOp):
    """y_o = clip(floor((n_o m_o + c_o) / 2^s), lo, hi) of the normalised x, n, with 16 bits behind the point.

    With F bits behind the point, and u = x - lo(x) >= 0: mean = round(2^F sum u / I),  d_i = 2^F u_i - mean,
    v = floor(sum d_i^2 / I) + epsilon,  r = floor(2^10 sqrt v),  n_i = floor(d_i floor(2^47 / r) / 2^21).
    """

    epsilon: int
    m: np.ndarray
    c: np.ndarray
    s: int
    lo: int
    hi: int

    kind = "row_norm"
    arrays: ClassVar = {"m": ("int32", 1), "c": ("int64", 1)}
    elementwise = True  # its last pass; the others only read

    def constants(self):
        return {} if self.m.size == 1 else super().constants()

    def macs(self, values):
        return 3 * values[self.x].width

    def check(self, values):
        super().check(values)
        x, y = values[self.x], values[self.y]
        self._require(x.width == y.width < MAX_WIDTH, "widths differ, or are too large")  # sum d^2 < 2^60
        self._require(len(self.m) == len(self.c) and len(self.m) in (1, x.width), "m and c have the wrong lengths")
        self._require(1 <= self.epsilon <= MAX_EPSILON, "epsilon is out of range")  # 2^20 v < 2^62
        self.check_shift(self.s, self.m)
        self._check_ends(y.q)
        self._require(magnitude(self.m) * MAX_NORM + magnitude(self.c) <= 2 * LIMIT - 1, "it could overflow")

    def run(self, values, data):
        x, q = data[self.x], values[self.x].q
        n, f = x.shape[1], fraction_bits(q.bits)
        u = (x - q.lo) << f
        d = u - (u.sum(axis=1, keepdims=True) + n // 2) // n
        v = (d * d).sum(axis=1, keepdims=True) // n + self.epsilon
        inverse = (1 << 47) // square_root(v << 20)
        normal = np.clip(shift_right(d * inverse, 21), -MAX_NORM, MAX_NORM)
        data[self.y] = np.clip(shift_right(normal * self.m.astype(np.int64) + self.c, self.s), self.lo, self.hi)
