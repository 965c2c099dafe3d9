"""Memory of integer networks: constants, each of them once, and the places of values."""

from __future__ import annotations

from collections import Counter

import numpy as np

from .footprint import Footprint
from .memory import Memory

__all__ = ["constants", "footprint", "places", "wrapper_constants"]

PARTS = {
    "w": "weights",
    "r": "weights",
    "b": "biases",
    "c": "biases",
    "m": "factors",
    "n": "factors",
}  # others are tables


def constants(model) -> tuple[dict[str, np.ndarray], dict[tuple[int, str], str]]:
    """Return the arrays in flash by name, equal ones once, and the name of each (op, field)."""
    arrays: dict[str, np.ndarray] = {}
    names: dict[tuple[int, str], str] = {}
    known: dict[tuple, str] = {}
    for i, op in enumerate(model.ops):
        for field, array in op.constants().items():
            key = (array.dtype, array.tobytes())
            if key not in known:
                known[key] = f"{field}{i}"
                arrays[known[key]] = array
            names[i, field] = known[key]
    return arrays, names


def wrapper_constants(model) -> dict[str, np.ndarray]:
    """Return the arrays of the float wrapper by name: shifts and factors that differ between features."""
    named = ((f"{what}_in{k}", getattr(i, what)) for k, i in enumerate(model.inputs) for what in ("shift", "factor"))
    return {name: array for name, array in named if array.size > 1}


def places(model) -> Memory:
    """Return where values stand, in bytes: in the arrays of the caller, "x0", "x1", ..., "y0", ..., or in "scratch".

    An elementwise op may write over what it reads for the last time.
    """
    memory = Memory([2 * -(-_nbytes(value) // 2) for value in model.values])
    for letter, ends in (("x", model.inputs), ("y", model.outputs)):
        for k, end in enumerate(ends):
            if memory.is_free(end.value):  # of a value that is several ends the first counts
                memory.give(end.value, f"{letter}{k}")
    for t, op in enumerate(model.ops):
        for v in op.reads:
            memory.read(v, t)
        for v in (op.y, *op.scratch):
            memory.written(v, t)
    for t, op in enumerate(model.ops):
        y = model.values[op.y]
        for v in dict.fromkeys(op.reads if op.elementwise else ()):
            x = model.values[v]
            alike = (x.width, x.q.bits) == (y.width, y.q.bits) and memory.born[op.y] == t
            if alike and memory.is_free(v) and memory.last_read(v) == t:
                memory.put_inside(v, op.y)
                break
    memory.arrange()
    return memory


def footprint(model) -> Footprint:
    """Return what `QuantizedModel.footprint` says."""
    parts: Counter = Counter(dict.fromkeys(("weights", "biases", "factors", "tables"), 0))
    for name, array in constants(model)[0].items():
        parts[PARTS.get(name.rstrip("0123456789"), "tables")] += array.nbytes
    wrapper = sum(array.nbytes for array in wrapper_constants(model).values())
    ends = sum(_nbytes(model.values[end.value]) for end in (*model.inputs, *model.outputs))
    macs = sum(op.macs(model.values) for op in model.ops)
    dtype = "int8" if any(value.q.bits == 8 for value in model.values) else "int16"
    recurrent = any(op.kind == "lstm" for op in model.ops)
    stack = 256 + 64 * len(model.ops) + 256 * recurrent  # above what compilers report: tests/test_quantize_c.py
    return Footprint(dtype, sum(parts.values()), places(model).size, ends, stack, macs, dict(parts), wrapper)


def _nbytes(value) -> int:
    return value.width * value.q.dtype.itemsize
