"""The LSTM of integer networks (as reference_lstm.py): int8 weights, gates and cell state of 16 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .quantize_numbers import LIMIT, Quantization, half, shift_right
from .quantize_ops import EXACT, INT32_LIMIT, SEGMENTS, IntegerOp, Value, look_up

__all__ = ["GATE_ONE", "LSTM"]

GATE_ONE = 32767  # what stands for 1 in a gate


@dataclass(eq=False)
class LSTM(IntegerOp):
    """Of every step t that the mask does not skip, with 16 bits in z, i, f, a, q, c and 8 or 16 in h:

    z_g = clip(floor(((b_g + sum w_gi x_ti) m_g + (sum r_gu h_u) n_g + 2^(s-1)) / 2^s)), g the gates of all units,
    i, f, q = sigmoid[z], a = tanh[z],  c = clip(floor((f c m_f + i a m_i + 2^(s_c-1)) / 2^s_c)),
    h = clip(floor((q tanh_c[c] m_h + 2^(s_h-1)) / 2^s_h)).

    `cell` and `hidden` are values that hold c and h between steps; `mask` is a value or -1, a step is taken where it
    is above `threshold`; 0 stands for 0 in h.
    """

    mask: int
    cell: int
    hidden: int
    steps: int
    threshold: int
    w: np.ndarray
    r: np.ndarray
    b: np.ndarray
    m: np.ndarray
    n: np.ndarray
    s: int
    m_f: int
    m_i: int
    s_c: int
    m_h: int
    s_h: int
    sigmoid: np.ndarray
    tanh: np.ndarray
    tanh_c: np.ndarray

    kind = "lstm"
    arrays: ClassVar = {
        "w": ("int8", 2), "r": ("int8", 2), "b": ("int32", 1), "m": ("int32", 1), "n": ("int32", 1),
        "sigmoid": ("int16", 1), "tanh": ("int16", 1), "tanh_c": ("int16", 1),
    }  # fmt: skip

    @property
    def reads(self):
        return [self.x] if self.mask < 0 else [self.x, self.mask]

    @property
    def scratch(self):
        return [self.cell, self.hidden]

    @property
    def units(self) -> int:
        return self.r.shape[1]

    def macs(self, values):
        return self.steps * (self.w.size + self.r.size)

    def bounds(self, x: Quantization, h: Quantization) -> tuple[np.ndarray, np.ndarray]:
        """Return the largest magnitudes of both sums of each gate."""
        w, r = (np.abs(a.astype(np.int64)).sum(axis=1) for a in (self.w, self.r))
        return np.abs(self.b.astype(np.int64)) + w * -x.lo, r * -h.lo

    def is_wide(self, values: list[Value]) -> tuple[bool, bool]:
        """Whether the sums need int64."""
        a, b = (bool((x >= INT32_LIMIT).any()) for x in self.bounds(values[self.x].q, values[self.y].q))
        return a, b

    def check(self, values):
        super().check(values)
        x, y, n = values[self.x], values[self.y], self.units
        cell, hidden = values[self.cell], values[self.hidden]
        self._require(self.steps >= 1 and x.width % self.steps == 0, "the steps do not divide its input")
        self._require(self.w.shape == (4 * n, x.width // self.steps) and len(self.r) == 4 * n, "w or r do not fit")
        self._require(len(self.b) == len(self.m) == len(self.n) == 4 * n, "b, m and n need an element for each gate")
        self._require(y.width in (n, self.steps * n) and cell.width == hidden.width == n, "widths differ")
        self._require(cell.q.bits == 16 and hidden.q == y.q and y.q.zero == 0, "the states are of the wrong kind")
        self._require(self.mask < 0 or values[self.mask].width == self.steps, "the mask has another number of steps")
        self._require(abs(self.threshold) < 1 << 31, "the threshold is out of range")
        for s, factors in ((self.s, (self.m, self.n)), (self.s_c, (self.m_f, self.m_i)), (self.s_h, (self.m_h,))):
            self.check_shift(s, *factors)
        for table in (self.sigmoid, self.tanh, self.tanh_c):
            self._require(len(table) == SEGMENTS + 1, "a table has the wrong length")
        for bounds, m in zip(self.bounds(x.q, y.q), (self.m, self.n), strict=True):
            self._require(bounds.max() < EXACT, "a sum could pass 2^53")
            products = [int(a) * abs(int(b)) for a, b in zip(bounds, m, strict=True)]
            self._require(max(products) <= LIMIT // 2, "a product could pass 2^61")
        self._require(max(abs(self.m_f), abs(self.m_i)) <= 1 << 30, "a factor of the cell is out of range")

    def run(self, values, data):
        n, q = self.units, values[self.y].q
        x = data[self.x].reshape(len(data[self.x]), self.steps, -1)
        takes = np.ones(x.shape[:2], bool) if self.mask < 0 else data[self.mask] > self.threshold
        h = c = np.zeros((len(x), n), np.int64)
        every = []
        for t in range(self.steps):
            above = (_product(x[:, t], self.w) + self.b) * self.m + _product(h, self.r) * self.n
            z = np.clip(shift_right(above + half(self.s), self.s), -32768, 32767)
            i, f, q_gate = (look_up(self.sigmoid, z[:, k * n : (k + 1) * n]) for k in (0, 1, 3))
            a = look_up(self.tanh, z[:, 2 * n : 3 * n])
            above = f * c * self.m_f + i * a * self.m_i + half(self.s_c)
            now = np.clip(shift_right(above, self.s_c), -32768, 32767)
            above = q_gate * look_up(self.tanh_c, now) * self.m_h + half(self.s_h)
            out = np.clip(shift_right(above, self.s_h), q.lo, q.hi)
            c, h = (np.where(takes[:, t, None], new, old) for new, old in ((now, c), (out, h)))
            every.append(h)
        data[self.y] = h if values[self.y].width == n else np.concatenate(every, axis=1)


def _product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return x w^T of integers, exactly: see EXACT."""
    return (x.astype(np.float64) @ w.T.astype(np.float64)).astype(np.int64)
