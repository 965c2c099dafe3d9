"""The compact form of a pruned matrix: what is left of it, and where.  The same in files, in memory, for kernels.

Of a matrix [I, O] it holds, output by output, inputs ascending,

    values   float [n]      the weights that are left
    steps    uint8 [n]      distance from the input of a value to that of the next; the first counts from input -1
    counts   uint32 [O]     values of each output

so each weight takes 5 bytes.  Where the steps are short they have four bits each, two in a byte, the first in the
lower half ("nibbles", uint8 [n / 2], instead of "steps"): 4.5 bytes.  A distance longer than 255 or 15 is made of
several steps with values 0 in between, and a step of 0 with a value 0 makes the number of nibbles of an output even.  A
weight that is left and is 0 is written as -0, to tell it from those.

In a file the pruned parameter "dense_1.kernel" stands in the shorter of two ways (that of a layer which is compact in
memory, in the first, which libpynet takes as it is), as the tensors
"dense_1.kernel.values" and "dense_1.kernel.counts" with "dense_1.kernel.steps" or "dense_1.kernel.nibbles"; or as
"dense_1.kernel.values" (no others than those that are left) with "dense_1.kernel.bits", uint8 [ceil(I O / 8)]: bit
k % 8 of byte k / 8 is 1 where weight k is left, k = o I + i.  A layer which is in lanes in memory (lanes.py) has
"dense_1.kernel.lanes" with values and counts of its own.
"""

from __future__ import annotations

import numpy as np

from .compact_form import Form
from .lanes import BYTES, PANEL, Lanes

__all__ = ["SUFFIXES", "Compact", "decode", "encode", "form_of", "tensors"]

SUFFIXES = ("values", "counts", "steps", "nibbles", "bits", "lanes")
LONGEST = {"steps": 255, "nibbles": 15}


class Compact(Form):
    """A pruned matrix [I, O] in compact form.

    Attributes
    ----------
    nibbles : bool
        Two steps in a byte.
    """

    __slots__ = ("nibbles",)

    def __init__(self, shape, values, places, counts, nibbles: bool):
        super().__init__(shape, values, places, counts)
        self.nibbles = nibbles

    @classmethod
    def of(cls, matrix: np.ndarray, mask: np.ndarray) -> Compact:
        """Return the shorter of the two forms of a matrix [I, O], True in the mask where a weight is left."""
        forms = [cls._made(matrix, mask, nibbles) for nibbles in (False, True)]
        return min(forms, key=lambda form: form.nbytes)

    @classmethod
    def _made(cls, matrix, mask, nibbles: bool) -> Compact:
        longest = LONGEST["nibbles" if nibbles else "steps"]
        rows, cols = matrix.shape
        o, i = np.nonzero(mask.T)
        distance = np.diff(i, prepend=-1)
        first = np.diff(o, prepend=-1) > 0
        distance[first] = i[first] + 1
        between = (distance - 1) // longest
        at = np.cumsum(between + 1) - 1  # where the weights that are left stand among the values
        n = int(at[-1]) + 1 if len(at) else 0
        if n == 0:  # of a matrix of which nothing is left, a 0
            counts = np.zeros(cols, np.uint32)
            counts[0] = 1 + nibbles
            return cls((rows, cols), np.zeros(counts[0], matrix.dtype), np.ones(1, np.uint8), counts, nibbles)
        values, steps = np.zeros(n, matrix.dtype), np.full(n, longest, np.uint8)
        left = matrix.T[o, i]
        values[at] = np.where(left == 0, -left.dtype.type(0), left)
        steps[at] = distance - longest * between
        counts = np.bincount(o, weights=between + 1, minlength=cols).astype(np.uint32)
        if nibbles:
            odd = np.cumsum(counts, dtype=np.int64)[counts % 2 == 1]  # ends of outputs that are filled up
            values, steps, counts = np.insert(values, odd, 0), np.insert(steps, odd, 0), counts + counts % 2
            steps = (steps[::2] | steps[1::2] << 4).astype(np.uint8)
        return cls((rows, cols), values, steps, counts, nibbles)

    @property
    def part(self) -> str:  # type: ignore[override]
        return "nibbles" if self.nibbles else "steps"

    @property
    def code(self) -> float:  # type: ignore[override]
        return 4.0 if self.nibbles else 8.0

    @property
    def n(self) -> int:
        return int(self.counts.sum(dtype=np.int64))

    def left(self) -> np.ndarray:
        return (self.values != 0) | np.signbit(self.values)

    @property
    def steps(self) -> np.ndarray:
        """The steps, one each."""
        if not self.nibbles:
            return self.places
        return np.stack([self.places & 15, self.places >> 4], axis=1).reshape(-1)[: int(self.counts.sum())]

    def where(self) -> tuple[np.ndarray, np.ndarray]:
        ends = np.cumsum(self.counts, dtype=np.int64)
        total = np.cumsum(self.steps, dtype=np.int64)
        before = np.append(0, total)[ends - self.counts]
        return total - np.repeat(before, self.counts) - 1, np.repeat(np.arange(len(self.counts)), self.counts)

    def there(self) -> np.ndarray:
        return self.steps > 0

    def check(self, name: str) -> None:
        rows, cols = self.shape
        n = int(self.counts.sum(dtype=np.int64)) if self.counts.shape == (cols,) else -1
        place = self.part
        length = n // 2 if self.nibbles else n
        if self.counts.dtype != np.uint32 or n < 0:
            got = f"{self.counts.dtype.name} {list(self.counts.shape)}"
            raise ValueError(f"tensor '{name}.counts' must be uint32 [{cols}], got {got}")
        for what, array, kinds, size in (("values", self.values, "f", n), (place, self.places, "u", length)):
            if array.shape != (size,) or array.dtype.kind not in kinds or (kinds == "u" and array.dtype != np.uint8):
                got = f"{array.dtype.name} {list(array.shape)}"
                raise ValueError(f"tensor '{name}.{what}' must have {size} elements, as its counts say, got {got}")
        if self.nibbles and (self.counts % 2).any():
            raise ValueError(f"tensor '{name}.counts' has odd counts of nibbles")
        if n:
            i, _ = self.where()
            if i.min() < 0 or i.max() >= rows or (self.steps.min() == 0 and not self.nibbles):
                raise ValueError(f"tensor '{name}.{place}' leads outside of the {rows} inputs")


def form_of(plan, slot: int, at: int, code: float, shape: tuple[int, int], dtype) -> Form:
    """Return the form of a sparse op with a matrix [I, O], read from a plan's tables; its values are 0."""
    ends = plan.ends[slot : slot + (-(-shape[1] // PANEL) if code == Lanes.code else shape[1])]
    counts, n = np.diff(ends, prepend=np.uint32(0)), int(ends[-1])
    if code == Lanes.code:
        return Lanes(shape, np.zeros(n * PANEL, dtype), plan.places[at : at + n * BYTES], counts)
    nibbles = code == 4
    return Compact(shape, np.zeros(n, dtype), plan.places[at : at + (-(-n // 2) if nibbles else n)], counts, nibbles)


# ---- tensors of a file ----------------------------------------------------------------------------------------------


def encode(name: str, array: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Return the tensors of a pruned parameter (I, O) or (O,), True in its mask where a weight is left."""
    form = tensors(name, Compact.of(np.atleast_2d(array), np.atleast_2d(mask)))
    by_output = np.atleast_2d(mask).T
    if not by_output.any():  # no tensor is empty
        return form
    bits = np.packbits(by_output, bitorder="little")
    other = {f"{name}.values": np.atleast_2d(array).T[by_output], f"{name}.bits": bits}
    return min(form, other, key=lambda tensors: sum(tensor.nbytes for tensor in tensors.values()))


def tensors(name: str, form: Form, values=None) -> dict[str, np.ndarray]:
    """Return the tensors of a compact form; with other values, if given."""
    values = form.values if values is None else values
    return {f"{name}.values": values, f"{name}.counts": form.counts, f"{name}.{form.part}": form.places}


def decode(name: str, shape: tuple[int, ...], tensors: dict) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (array, mask) of a parameter of `shape`, or None if it is not pruned.  Safe with data from anybody.

    Raises
    ------
    ValueError
        The tensors contradict each other or the shape.
    """
    found = {kind: tensors[f"{name}.{kind}"] for kind in SUFFIXES if f"{name}.{kind}" in tensors}
    if not found:
        return None
    if name in tensors or set(found) not in (
        {"values", "counts", "steps"},
        {"values", "counts", "nibbles"},
        {"values", "counts", "lanes"},
        {"values", "bits"},
    ):
        there = ", ".join([repr(f"{name}.{kind}") for kind in found] + [repr(name)] * (name in tensors))
        raise ValueError(
            f"pruned parameter {name!r} stands as {there}, expected values, counts and steps or nibbles or lanes, or "
            "values and bits"
        )
    rows, cols = whole = (shape[0], shape[1]) if len(shape) == 2 else (1, shape[0])
    if "bits" in found:
        by_output = _from_bits(name, found["bits"], rows, cols)
        values, n = found["values"], int(by_output.sum())
        if values.shape != (n,) or values.dtype.kind != "f":
            got = f"{values.dtype.name} {list(values.shape)}"
            raise ValueError(f"tensor '{name}.values' must be {n} floats, as its bits say, got {got}")
        wide = np.zeros((cols, rows), values.dtype)
        wide[by_output] = values
        return wide.T.reshape(shape), by_output.T.reshape(shape)
    form: Form
    if "lanes" in found:
        form = Lanes(whole, found["values"], found["lanes"], found["counts"])
    else:
        places = found.get("steps", found.get("nibbles"))
        form = Compact(whole, found["values"], places, found["counts"], "nibbles" in found)
    form.check(name)
    return form.matrix().reshape(shape), form.mask().reshape(shape)


def _from_bits(name: str, bits: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Return the mask [O, I]."""
    size = rows * cols
    if bits.dtype != np.uint8 or bits.shape != (-(-size // 8),):
        got = f"{bits.dtype.name} {list(bits.shape)}"
        raise ValueError(f"tensor '{name}.bits' must be uint8 [{-(-size // 8)}], got {got}")
    return np.unpackbits(bits, bitorder="little")[:size].reshape(cols, rows).astype(bool)
