"""The ops of integer networks: what each computes, and the proof that it cannot overflow.

Letters: B rows of a batch, I inputs, O outputs; x, y are integers [B, width], z_x the integer that stands for 0 in x.
`run` is NumPy in int64, `check` shows that int32 (where C has it) and int64 hold whatever the data is.
The norms of rows and the LSTM stand in files of their own, the same ops in C in export/c_int8_ops.py and
export/runtime/integers.h.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from .quantize_numbers import LIMIT, MAX_FACTOR, MAX_SHIFT, Quantization, half, shift_right

__all__ = ["Add", "Dense", "IntegerOp", "PReLU", "Scale", "Softmax", "Table", "Value", "look_up", "magnitude"]

INT32_LIMIT = 1 << 31
EXACT = 1 << 53  # below it float64 holds every integer: sums of products in a matrix product are exact in any order
SEGMENTS = 512  # of a table that is interpolated
POWERS = np.rint(2.0 ** (15 - np.arange(65) / 64)).astype(np.uint16)  # 2^-f, f in 64ths, times 2^15
SOFTMAX_ONE = 32767  # what stands for 1
FRACTION_BITS = 21  # of the exponents of a softmax


@dataclass(frozen=True)
class Value:
    """One value: how wide its rows are, what its integers stand for, the name of its layer; of: the value of the float
    network's plan that it stands for, -1 if that has none."""

    width: int
    q: Quantization
    name: str
    of: int = -1


def largest(q: Quantization) -> int:
    """Return the largest |x - z_x| of a value."""
    return max(q.hi - q.zero, q.zero - q.lo)


@dataclass(eq=False)
class IntegerOp:
    """One op: reads value x, writes value y.

    `arrays` gives dtype (None: that of y) and rank of the fields that are arrays; the others are int.
    """

    x: int
    y: int
    kind: ClassVar[str]
    arrays: ClassVar[dict[str, tuple[str | None, int]]] = {}
    elementwise: ClassVar[bool] = False  # element o of y depends on element o of what is read alone

    @property
    def reads(self) -> list[int]:
        return [self.x]

    @property
    def scratch(self) -> list[int]:
        """Values that nobody else uses."""
        return []

    def constants(self) -> dict[str, np.ndarray]:
        """Return the arrays that stand in flash."""
        return {name: a for name in self.arrays if (a := getattr(self, name)).size}

    def macs(self, values: list[Value]) -> int:
        """Return the multiplications of one row."""
        return values[self.x].width

    def run(self, values: list[Value], data: list) -> None:
        """Compute data[y] from data[x]."""
        raise NotImplementedError

    def check(self, values: list[Value]) -> None:
        """Raise ValueError unless the fields fit the values and nothing can overflow."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in self.arrays:
                self._require(type(value) is int, f"{field.name} is no integer")
                continue
            spec, rank = self.arrays[field.name]
            dtype = np.dtype(spec or values[self.y].q.dtype)
            fits = isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == rank
            self._require(fits, f"{field.name} is no array of {dtype} with {rank} dimensions")

    def _require(self, truth, fault: str) -> None:
        if not truth:
            raise ValueError(f"{self.kind} op that makes value {self.y}: {fault}")

    def check_shift(self, s: int, *factors) -> None:
        """Raise ValueError unless a shift and the factors that belong to it are in range."""
        self._require(0 <= s <= MAX_SHIFT, "the shift is out of range")
        for m in factors:
            self._require(magnitude(m) <= MAX_FACTOR, "a factor is out of range")

    def _check_ends(self, q: Quantization) -> None:
        lo, hi = self.lo, self.hi  # type: ignore[attr-defined]
        self._require(q.lo <= lo <= hi <= q.hi, "the ends are out of range")


def magnitude(a) -> int:
    """Return the largest |a| as a Python int."""
    a = np.asarray(a)
    return max(abs(int(a.max())), abs(int(a.min()))) if a.size else 0


def look_up(table: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return what a table says of integers: 256 entries for 8 bits, 513 with lines between them for 16 bits."""
    t = table.astype(np.int64)
    if len(table) == 256:
        return t[q + 128]
    u = q + 32768
    i = u >> 7
    return t[i] + shift_right((t[i + 1] - t[i]) * (u & 127) + 64, 7)


@dataclass(eq=False)
class Dense(IntegerOp):
    """acc_o = b_o + sum_i w_oi x_i;  y_o = clip(zero + floor((acc_o m_o + 2^(s-1)) / 2^s), lo, hi), looked up in
    `table` if there is one (else it is empty).

    b holds -z_x sum_i w_oi as well.  The accumulator is int32 where its bound is below 2^31, else int64.
    """

    w: np.ndarray
    b: np.ndarray
    m: np.ndarray
    s: int
    zero: int
    lo: int
    hi: int
    table: np.ndarray

    kind = "dense"
    arrays: ClassVar = {"w": ("int8", 2), "b": ("int32", 1), "m": ("int32", 1), "table": (None, 1)}

    def bounds(self, q: Quantization) -> np.ndarray:
        """Return the largest magnitude that an accumulator, or a part of its sum, can have, for each output."""
        return np.abs(self.b.astype(np.int64)) + np.abs(self.w.astype(np.int64)).sum(axis=1) * -q.lo

    def is_wide(self, values: list[Value]) -> bool:
        """Whether the accumulator needs int64."""
        return bool((self.bounds(values[self.x].q) >= INT32_LIMIT).any())

    def macs(self, values):
        return self.w.size

    def check(self, values):
        super().check(values)
        x, y = values[self.x], values[self.y]
        self._require(self.w.shape == (y.width, x.width), f"w has shape {self.w.shape}")
        self._require(self.b.shape == self.m.shape == (y.width,), "b and m need an element for each output")
        self.check_shift(self.s, self.m)
        self._check_ends(_check_table(self, y.q))
        self._require(abs(self.zero) < 1 << 31, "zero is out of range")
        bounds = self.bounds(x.q)
        self._require(bounds.max() < EXACT, "a sum could pass 2^53")
        products = [int(a) * abs(int(m)) for a, m in zip(bounds, self.m, strict=True)]
        self._require(max(products) <= LIMIT, "a product could pass 2^62")

    def run(self, values, data):
        acc = (data[self.x].astype(np.float64) @ self.w.T.astype(np.float64)).astype(np.int64)  # exact: see EXACT
        acc += self.b
        q = np.clip(self.zero + shift_right(acc * self.m.astype(np.int64) + half(self.s), self.s), self.lo, self.hi)
        data[self.y] = look_up(self.table, q) if self.table.size else q


def _check_table(op, y: Quantization) -> Quantization:
    """Return the range that the ends of an op must lie in; check its table, if it has one."""
    if not op.table.size:
        return y
    op._require(len(op.table) in (256, SEGMENTS + 1), f"a table of {len(op.table)} entries")
    return Quantization(1.0, 0, 8 if len(op.table) == 256 else 16)


@dataclass(eq=False)
class Scale(IntegerOp):
    """y_(at+o) = clip(floor(((x_o - z_x) m_o + c_o) / 2^s), lo, hi), m and c of one element or one for each o."""

    at: int
    m: np.ndarray
    c: np.ndarray
    s: int
    lo: int
    hi: int

    kind = "scale"
    arrays: ClassVar = {"m": ("int32", 1), "c": ("int64", 1)}
    elementwise = True

    def constants(self):
        return {} if self.m.size == 1 else super().constants()

    def check(self, values):
        super().check(values)
        x, y = values[self.x], values[self.y]
        self._require(len(self.m) == len(self.c) and len(self.m) in (1, x.width), "m and c have the wrong lengths")
        self._require(0 <= self.at <= y.width - x.width, "it writes beyond its value")
        self.check_shift(self.s, self.m)
        self._check_ends(y.q)
        self._require(magnitude(self.m) * largest(x.q) + magnitude(self.c) <= 2 * LIMIT - 1, "it could overflow")

    def run(self, values, data):
        x, y = data[self.x], values[self.y]
        if self.at == 0:
            data[self.y] = np.zeros((len(x), y.width), np.int64)
        product = (x - values[self.x].q.zero) * self.m.astype(np.int64) + self.c
        data[self.y][:, self.at : self.at + x.shape[1]] = np.clip(shift_right(product, self.s), self.lo, self.hi)


@dataclass(eq=False)
class PReLU(IntegerOp):
    """y_o = clip(floor(((x_o - z_x) (x_o > z_x ? m : n_o) + c) / 2^s), lo, hi), n of one element or one for each o."""

    m: int
    n: np.ndarray
    c: int
    s: int
    lo: int
    hi: int

    kind = "prelu"
    arrays: ClassVar = {"n": ("int32", 1)}
    elementwise = True

    def constants(self):
        return {} if self.n.size == 1 else super().constants()

    def check(self, values):
        super().check(values)
        x, y = values[self.x], values[self.y]
        self._require(x.width == y.width and len(self.n) in (1, x.width), "widths differ")
        self.check_shift(self.s, self.m, self.n)
        self._check_ends(y.q)
        most = max(abs(self.m), magnitude(self.n))
        self._require(most * largest(x.q) + abs(self.c) <= 2 * LIMIT - 1, "it could overflow")

    def run(self, values, data):
        x = data[self.x] - values[self.x].q.zero
        product = x * np.where(x > 0, self.m, self.n.astype(np.int64)) + self.c
        data[self.y] = np.clip(shift_right(product, self.s), self.lo, self.hi)


@dataclass(eq=False)
class Add(IntegerOp):
    """y = clip(floor(((x - z_x) m + (x2 - z_x2) m2 + c) / 2^s), lo, hi)"""

    x2: int
    m: int
    m2: int
    c: int
    s: int
    lo: int
    hi: int

    kind = "add"
    elementwise = True

    @property
    def reads(self):
        return [self.x, self.x2]

    def macs(self, values):
        return 2 * values[self.x].width

    def check(self, values):
        super().check(values)
        x, x2, y = values[self.x], values[self.x2], values[self.y]
        self._require(x.width == x2.width == y.width, "widths differ")
        self.check_shift(self.s, self.m, self.m2)
        self._check_ends(y.q)
        most = abs(self.m) * largest(x.q) + abs(self.m2) * largest(x2.q) + abs(self.c)
        self._require(most <= 2 * LIMIT - 1, "it could overflow")

    def run(self, values, data):
        a, b = data[self.x] - values[self.x].q.zero, data[self.x2] - values[self.x2].q.zero
        data[self.y] = np.clip(shift_right(a * self.m + b * self.m2 + self.c, self.s), self.lo, self.hi)


@dataclass(eq=False)
class Table(IntegerOp):
    """y_o = what the table says of x_o"""

    table: np.ndarray

    kind = "table"
    arrays: ClassVar = {"table": (None, 1)}
    elementwise = True

    def macs(self, values):
        return values[self.x].width if len(self.table) > 256 else 0

    def check(self, values):
        super().check(values)
        x, y = values[self.x], values[self.y]
        self._require(x.width == y.width, "widths differ")
        self._require(self.table.size, "it has no table")
        self._require(_check_table(self, y.q).bits == x.q.bits, f"{len(self.table)} entries for {x.q.bits} bits")

    def run(self, values, data):
        data[self.y] = look_up(self.table, data[self.x])


@dataclass(eq=False)
class Softmax(IntegerOp):
    """y_o = round(32767 e_o / sum e),  e_o = 2^(30 - v_o),  v_o = (max x - x_o) m / 2^s, 21 bits behind the point.

    2^-f is a line between 64ths; e_o has 30 bits for the largest x, and is 0 from v_o = 31 on.
    """

    m: int
    s: int

    kind = "softmax"
    elementwise = True  # its last pass; the others only read

    def constants(self):
        return {"powers": POWERS}

    def check(self, values):
        super().check(values)
        x, y = values[self.x], values[self.y]
        self._require(x.width == y.width, "widths differ")
        self._require(y.q.bits == 16 and x.q.bits == 16, "softmax reads and writes 16 bits")
        self.check_shift(self.s, self.m)
        self._require(self.m >= 0 and x.width < 1 << 24, "it could overflow")  # v < 2^47, sum e < 2^54

    def run(self, values, data):
        x, t = data[self.x], POWERS.astype(np.int64)
        v = ((x.max(axis=1, keepdims=True) - x) * self.m) >> self.s
        i, f = (v >> 15) & 63, v & 32767
        e = ((t[i] << 15) - (t[i] - t[i + 1]) * f) >> np.minimum(v >> FRACTION_BITS, 31)
        total = e.sum(axis=1, keepdims=True)
        data[self.y] = (e * SOFTMAX_ONE + total // 2) // total


SOFTMAX_Q = Quantization(float(np.float32(1 / SOFTMAX_ONE)), 0, 16)
SOFTMAX_RATE = (1 << FRACTION_BITS) / math.log(2)  # exponents of a softmax per unit of its input
