"""Memory of integer networks: constants, each of them once, and places of values, given on when their life is over."""

from __future__ import annotations

from collections import Counter

import numpy as np

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


def places(model) -> tuple[dict[int, int], int]:
    """Return the place, in bytes, of each value that lies in memory, and how many bytes there are.

    Inputs and outputs lie where the caller says.  Largest first, each at the lowest place that no value of its time
    overlaps; an elementwise op may write over what it reads for the last time, element by element.
    """
    outside = {end.value for end in (*model.inputs, *model.outputs)}
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for t, op in enumerate(model.ops):
        for v in (op.y, *op.scratch):
            first.setdefault(v, t)
        for v in (op.y, *op.reads, *op.scratch):
            last[v] = t
    inside = [v for v in first if v not in outside]
    size = {v: 2 * -(-model.values[v].width * model.values[v].q.dtype.itemsize // 2) for v in inside}
    heirs = _heirs(model, first, last)
    placed: dict[int, int] = {}

    def fits(v: int, at: int) -> bool:
        for u, there in placed.items():
            apart = last[u] < first[v] or last[v] < first[u] or at + size[v] <= there or there + size[u] <= at
            if not apart and not (at == there and ((u, v) in heirs or (v, u) in heirs)):
                return False
        return True

    for v in sorted(inside, key=lambda v: (-size[v], first[v])):
        candidates = {0, *placed.values(), *(at + size[u] for u, at in placed.items())}
        placed[v] = min(at for at in candidates if fits(v, at))
    return placed, max((placed[v] + size[v] for v in inside), default=0)


def _heirs(model, first, last) -> set[tuple[int, int]]:
    """Return the pairs (x, y) of which y may take the place of x."""
    result = set()
    for t, op in enumerate(model.ops):
        y = model.values[op.y]
        for v in op.reads:
            x = model.values[v]
            if op.elementwise and (x.width, x.q.bits) == (y.width, y.q.bits) and last[v] == t == first[op.y]:
                result.add((v, op.y))
    return result


def footprint(model) -> dict:
    """Return what `QuantizedModel.footprint` says."""
    parts: Counter = Counter(dict.fromkeys(("weights", "biases", "factors", "tables"), 0))
    for name, array in constants(model)[0].items():
        parts[PARTS.get(name.rstrip("0123456789"), "tables")] += array.nbytes
    ends = [sum(_nbytes(model.values[end.value]) for end in ends) for ends in (model.inputs, model.outputs)]
    return {
        "flash": sum(parts.values()),
        **parts,
        "wrapper": sum(array.nbytes for array in wrapper_constants(model).values()),
        "ram": places(model)[1],
        "input": ends[0],
        "output": ends[1],
        "macs": sum(op.macs(model.values) for op in model.ops),
    }


def _nbytes(value) -> int:
    return value.width * value.q.dtype.itemsize
