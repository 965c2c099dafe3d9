"""How real numbers enter an integer network: shift and scale of an Input, folded into one product and one rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .quantize_numbers import Quantization

__all__ = ["QuantizedInput"]


@dataclass(eq=False)
class QuantizedInput:
    """One input: q = zero + round((x - shift) factor / 2) in float32, halves away from 0; a NaN becomes zero.

    The factor is twice what one would expect so that C needs no sum behind the product: no compiler can make a fused
    multiply-add of it, which would round differently.

    Attributes
    ----------
    name : str
    value : int
        What it writes.
    shape : tuple of int
        Of a row.
    shift, factor : float32 [1] or [I]
    offset : int or None
        Where q = x + offset for whole numbers x: nothing is lost, and C needs no floats.
    """

    name: str
    value: int
    shape: tuple[int, ...]
    shift: np.ndarray
    factor: np.ndarray
    offset: int | None

    def integers(self, x: np.ndarray, q: Quantization) -> np.ndarray:
        """Return the integers of rows of data [N, I], int64."""
        with np.errstate(all="ignore"):
            t = (x.astype(np.float32) - self.shift) * self.factor
            lo, hi = np.float32(2 * (q.lo - q.zero)), np.float32(2 * (q.hi - q.zero))
            i = np.clip(np.where(np.isnan(t), np.float32(0), t), lo, hi).astype(np.int64)  # towards 0
        return np.clip(q.zero + np.where(i >= 0, (i + 1) >> 1, -((1 - i) >> 1)), q.lo, q.hi)
