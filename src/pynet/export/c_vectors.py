"""Test vectors of an exported network: rows, what it makes of them, and how far rounding may take a result from that.

The truth is the network in float64, computed by the NumPy machine.  The tolerance is measured: the same once more, with
weights that are off as rounding would have it.  A sum of products in floating point is the exact sum of products whose
weights are off by (1 + d_1) (1 + d_2) ..., one |d| <= u for each addition that a product goes through (Higham 2002,
Accuracy and Stability of Numerical Algorithms, section 3.1); so each weight is multiplied by a random walk of that
kind.  The largest distance in some draws, times a factor, holds for other orders of the sums, with or without fused
multiply-add.
"""

from __future__ import annotations

import numpy as np

from .. import _core
from ..compact import form_of
from ..plan import Job, Plan, pack, unpack
from ..reference import Machine
from ..reference_ops import OP

__all__ = ["Vectors", "check_rows", "random_rows", "tolerances"]

DRAWS = 24
FACTOR = 4.0  # of the largest distance among the draws
ULPS = 16.0  # of the largest result of a row: elementary functions, the last rounding
USELESS = 0.01  # of the largest result of a row: a tolerance that large says nothing; the row stands at a jump
LARGE = 1000.0  # times the scale of the training data


class Vectors:
    """Rows with results and tolerances.

    Parameters
    ----------
    model : Model
    n : int
        How many rows; and two more: zeros, and large numbers.
    samples : list of arrays [N, I], or None
        Rows to take them from, one array for each input; None: random ones.  Rows whose results rounding takes
        elsewhere (they stand at a jump of an activation) or beyond the dtype are left out.

    Raises
    ------
    ValueError
        No row is left.

    Attributes
    ----------
    inputs, outputs : list of arrays [rows, width]
        In the model's dtype.
    tolerances : list of arrays [rows]
        For each output.
    stated : list of float
        For each output the largest tolerance of the rows that are no edge.
    """

    def __init__(self, model, n: int, samples=None):
        if samples is None:
            candidates = random_rows(model, 4 * n + 8, 0)
        else:
            order = np.random.default_rng(0).permutation(len(samples[0]))[: 4 * n + 8]
            candidates = [X[order] for X in samples]
        masks = _masks(model)
        edges = [
            np.ones_like(x[:2]) if k in masks else np.stack([np.zeros_like(x[0]), LARGE * x[-1]])
            for k, x in enumerate(candidates)
        ]
        rows = [np.concatenate(pair) for pair in zip(edges, candidates, strict=True)]
        expected, tolerance = tolerances(model, rows)
        size = [np.abs(y).max(axis=1) for y in expected]
        tiny = 2 * np.finfo(model.dtype).tiny
        sound = np.all([t <= USELESS * s + tiny for t, s in zip(tolerance, size, strict=True)], axis=0)
        kept = np.flatnonzero(sound)
        if not len(kept):
            raise ValueError(
                f"none of {len(sound)} rows can be a test row: rounding takes their results elsewhere, or beyond "
                f"{model.dtype.name}; other samples may do, or tests=0"
            )
        kept = np.concatenate([kept[kept >= 2][:n], kept[kept < 2]])
        self.inputs = [x[kept] for x in rows]
        self.outputs = [y[kept].astype(model.dtype) for y in expected]
        self.tolerances = [t[kept].astype(model.dtype) for t in tolerance]
        usual = kept >= 2
        self.stated = [float(t[usual].max(initial=0.0)) for t in self.tolerances]


def random_rows(model, n: int, seed: int) -> list[np.ndarray]:
    """Return rows like those the model was trained on, as far as the scaling of its inputs tells: normal numbers, as
    raw values; an array [n, width] of the model's dtype for each input.  Masks have 1 in four of five places."""
    rng = np.random.default_rng(seed)
    inputs, masks = [], _masks(model)
    for op in model.plan.ops[model.plan.ops["kind"] == OP["input"]]:
        rows = rng.standard_normal((n, int(model.plan.values[op["y"]]["width"])))
        if op["w"] != _core.NONE:
            scale = unpack(model.arena, model.plan.params[op["w"]]).astype(np.float64)
            rows = rows / np.where(scale == 0, 1, scale)
        if op["b"] != _core.NONE:
            rows = rows + unpack(model.arena, model.plan.params[op["b"]])
        if int(op["slot"]) in masks:
            rows = np.where(rng.random(rows.shape) < 0.8, 1.0, 0.0)
        inputs.append((int(op["slot"]), rows.astype(model.dtype)))
    return [rows for _, rows in sorted(inputs, key=lambda pair: pair[0])]


def _masks(model) -> set[int]:
    """Return the numbers of the inputs that say which steps an LSTM takes."""
    read = set(model.plan.ops["x2"][model.plan.ops["kind"] == OP["lstm"]].tolist())
    return {slot for slot, value in enumerate(model.plan.input_values) if value in read}


def check_rows(model, samples) -> list[np.ndarray]:
    """Return what was given as `samples`, one array [N, width] of the model's dtype for each input."""
    from ..arrays import as_inputs

    try:
        inputs, n = as_inputs(model, samples)
    except (TypeError, ValueError) as error:
        raise type(error)(f"samples: {error}") from None
    if n == 0:
        raise ValueError("samples must have at least one row, got none")
    rows = [np.asarray(x).reshape(n, -1).astype(model.dtype) for x in inputs]
    if not all(np.isfinite(x).all() for x in rows):
        raise ValueError("samples must be finite, got NaN or infinite values")
    return rows


def tolerances(model, rows) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the results in float64, and for each output how far each row's may be off, [N]."""
    plan = Plan(**{name: getattr(model.plan, name) for name in Plan.__slots__} | {"dtype": np.dtype(np.float64)})
    exact = model.arena.astype(np.float64)
    # rounding is so small that results move in proportion; of float64 it is made larger than that of the machine itself
    u, shrink = 2.0**-24, 1.0 if model.dtype == np.float32 else 2.0**-29
    shifted = {int(op["slot"]) for op in plan.ops if op["kind"] == OP["input"] and op["b"] != _core.NONE}
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        expected = _run(plan, exact, rows)
        pairs = zip(rows, model.inputs, strict=True)
        own = model.predict({model.names[v.layer]: row.reshape(-1, *v.shape) for row, v in pairs})
        own = [y.reshape(len(y), -1).astype(np.float64) for y in (own if isinstance(own, list) else [own])]
        distance = [np.abs(z - y).max(axis=1) / shrink for z, y in zip(own, expected, strict=True)]
        for _ in range(DRAWS):  # the difference to a shift is exact where it matters: such rows stay as they are
            moved = [x if k in shifted else x * (1 + rng.uniform(-u, u, x.shape)) for k, x in enumerate(rows)]
            for far, y, z in zip(distance, expected, _run(plan, _off(plan, exact, u, rng), moved), strict=True):
                np.maximum(far, np.abs(z - y).max(axis=1), out=far)
        tiny = float(np.finfo(model.dtype).tiny)
        return expected, [
            shrink * (FACTOR * far + ULPS * u * np.abs(y).max(axis=1)) + tiny
            for far, y in zip(distance, expected, strict=True)
        ]


def _off(plan: Plan, exact: np.ndarray, u: float, rng) -> np.ndarray:
    """Return the parameters off by rounding errors: of a matrix [I, O] those of sums over I."""
    arena = exact.copy()
    shifts = {int(op["b"]) for op in plan.ops if op["kind"] == OP["input"]}
    terms = {int(op["w"]): _most_terms(plan, op) for op in plan.ops if op["kind"] == OP["sparse"]}
    for p, record in enumerate(plan.params):
        if p in shifts:
            continue
        array = unpack(exact, record)
        walk = rng.uniform(-u, u, array.shape)
        if len(array) > 1:
            walk = np.cumsum(walk, axis=0)[::-1]
        pack(arena, record, array * (1 + walk * terms.get(p, 1.0) + rng.uniform(-u, u, array.shape)))
    return arena


def _most_terms(plan: Plan, op) -> float:
    """Return the square root of the most products that one output of a sparse op adds: how far a walk goes."""
    shape = int(plan.values[op["x"]]["width"]), int(plan.values[op["y"]]["width"])
    form = form_of(plan, int(op["slot"]), int(op["at"]), op["p"][2], shape, plan.dtype)
    return float(np.sqrt(form.longest_sum()))


def _run(plan: Plan, arena: np.ndarray, rows) -> list[np.ndarray]:
    """Return the outputs of a plan, computed by the NumPy machine."""
    n = len(rows[0])
    outputs = [np.empty((n, int(plan.values[v]["width"]))) for v in plan.outputs]
    job = Job(inputs=list(rows), outputs=outputs, rows=n, batch=n, stages=_core.FORWARD | _core.OUTPUT)
    Machine(plan, arena, rows=n).run(job, 0, 1)
    return outputs
