"""Numbers of integer networks: what an integer stands for, and the one rounding there is.

An integer q of a value stands for the real number scale * (q - zero).  All arithmetic between integers is products,
sums and `shift_right`; a real factor r becomes m / 2^s, with integers m and s chosen here so that nothing overflows
int64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Quantization", "factor", "half", "offset_limit", "shift_right"]

MAX_SHIFT = 62
LIMIT = 1 << 62  # of a product and what is added to it; half of it again may be added by rounding
MAX_FACTOR = (1 << 31) - 1


@dataclass(frozen=True)
class Quantization:
    """What the integers of a value stand for: scale * (q - zero).

    Attributes
    ----------
    scale : float > 0
        A number that float32 holds exactly.
    zero : int
        The integer that stands for 0; it may lie outside of lo..hi.
    bits : 8 or 16
    """

    scale: float
    zero: int
    bits: int

    @property
    def lo(self) -> int:
        return -(1 << (self.bits - 1))

    @property
    def hi(self) -> int:
        return (1 << (self.bits - 1)) - 1

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(f"i{self.bits // 8}")

    def nearest(self, real) -> np.ndarray:
        """Return the integers that stand for real numbers, int64, those out of range at its ends."""
        q = np.floor(np.asarray(real, np.float64) / self.scale + self.zero + 0.5)
        return np.clip(q, self.lo, self.hi).astype(np.int64)

    def real(self, q) -> np.ndarray:
        """Return what integers stand for, float32: the difference is exact, the product is rounded once."""
        return (np.asarray(q, np.int64) - self.zero).astype(np.float32) * np.float32(self.scale)


def shift_right(v, s):
    """Return floor(v / 2^s) of int64: what C computes as v >= 0 ? v >> s : ~(~v >> s)."""
    return np.right_shift(v, s)


def half(s: int) -> int:
    """Return 2^(s-1), which added before `shift_right` rounds to the nearest, halves upwards; 0 for s = 0."""
    return (1 << s) >> 1


def factor(ratios, bound: int, what: str, most: int = MAX_SHIFT) -> tuple[np.ndarray, int]:
    """Return integers m and a shift s with m / 2^s about `ratios`, the more bits the better.

    Parameters
    ----------
    ratios : array of float
    bound : int
        The largest magnitude of what is multiplied: bound * |m| < 2^62.
    what : str
        For the error.
    most : int
        The largest shift.

    Raises
    ------
    ValueError
        A ratio is too large: the scales of a value and of what it is made from differ beyond reason.
    """
    largest = float(np.abs(ratios).max(initial=0.0))
    bits = min(31, 62 - max(bound, 1).bit_length())
    s = most if largest == 0 else min(most, bits - math.frexp(largest)[1])
    if not math.isfinite(largest) or bits < 12 or s < 0:
        raise ValueError(f"{what}: a factor of {largest:.3g} between its integers cannot be computed with 64 bits")
    m = np.rint(np.ldexp(np.asarray(ratios, np.float64), s))
    limit = min(MAX_FACTOR, LIMIT // max(bound, 1))
    return np.clip(m, -limit, limit).astype(np.int64), s


def offset_limit(offsets) -> int:
    """Return the largest shift s with |offset| 2^s < 2^61."""
    return 61 - math.ceil(float(np.abs(offsets).max(initial=0.0))).bit_length()
