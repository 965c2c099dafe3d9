"""Ranges of integer networks: which real numbers the integers of a value shall span, found on data."""

from __future__ import annotations

import math

import numpy as np

from . import _check, _core
from .arrays import as_inputs, check_finite
from .plan import Job
from .quantize_numbers import Quantization
from .quantize_ops import SEGMENTS
from .reference import Machine
from .reference_ops import OP

__all__ = ["METHODS", "choose", "float_machine", "some_rows", "symmetric", "without_padding"]

METHODS = ("mse", "minmax", "percentile")
MAX_ROWS = 8192  # of data that ranges are found on, evenly spaced; of very wide networks fewer:
MAX_NUMBERS = 1 << 25  # of all their values
MAX_SAMPLES = 16384  # numbers of a value that a search looks at
STEPS = 24  # of a search, for each end of a range
HEADROOM = 2.0  # of 16 bits: data beyond the calibration shall not saturate
STRIDE = 1_000_003  # a prime: it meets all columns


def some_rows(model, X) -> list[np.ndarray]:
    """Return at most MAX_ROWS rows, evenly spaced, of each input; ValueError if there is none or one is not finite."""
    most = max(64, min(MAX_ROWS, MAX_NUMBERS // model.plan.row_elems))
    inputs, n = as_inputs(model, X)
    if not n:
        raise ValueError("X must hold at least one row, got none")
    rows = np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
    inputs = [x[rows] for x in inputs]
    for name, x in zip((model.names[v.layer] for v in model.inputs), inputs, strict=True):
        check_finite("X" if len(inputs) == 1 else f"X[{name!r}]", x)
    return inputs


def float_machine(plan, arena, inputs: list[np.ndarray]) -> Machine:
    """Return a NumPy machine that holds all values of a plan for rows of data."""
    n = len(inputs[0])
    machine = Machine(plan, arena, rows=n)
    machine.run(Job(inputs=inputs, rows=n, batch=n, stages=_core.FORWARD), 0, 1)
    return machine


def without_padding(machine: Machine, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Return the inputs with steps of sequences in the place of padding, which may hold any number; in values as well.

    Padding is what the mask of an LSTM skips, where nothing but LSTMs with this mask reads the sequence.
    """
    inputs = list(inputs)
    for op in machine.ops:
        if op.kind != OP["input"]:
            continue
        readers = [reader for reader in machine.ops if op.y in (reader.x, reader.x2)]
        masks = {reader.x2 if (reader.kind, reader.x) == (OP["lstm"], op.y) else None for reader in readers}
        mask = masks.pop() if len(masks) == 1 else None
        if mask is None or op.y == mask or op.y in machine.plan.outputs:
            continue
        skipped = ~(machine.values[mask] > 0.5)
        if skipped.all():
            continue
        for arrays, place in ((inputs, op.slot), (machine.values, op.y)):
            arrays[place] = arrays[place].copy()
            steps = arrays[place].reshape(*skipped.shape, -1)
            steps[skipped] = np.resize(steps[~skipped], steps[skipped].shape)
    return inputs


def choose(what: str, sample, bits: int, method: str, f=None) -> Quantization:
    """Return the quantisation of a value that takes the numbers of `sample`.

    Parameters
    ----------
    what : str
        For the error.
    sample : array
    bits : 8 or 16
        8: lo..hi of the range, which contains 0, become -128..127.  16: zero is 0, the range is symmetric.
    method : "mse", "minmax" or "percentile"
        8 bits: the ends are those of the sample, or those between which 99.8 % of it lie, or, from a grid of shares of
        the sample's ends, those with the least squared error of f(x).  16 bits without f: twice the largest magnitude;
        with f the grid, whatever the method.
    f : callable, optional
        What is computed of the value, by table.

    Raises
    ------
    ValueError
        The sample is not finite.
    """
    sample = np.asarray(sample, np.float64).reshape(-1)
    if not np.isfinite(sample).all():
        raise ValueError(f"{what} takes values that are not finite on X")
    lo, hi = min(float(sample.min()), 0.0), max(float(sample.max()), 0.0)
    if bits == 16 and f is None:
        return symmetric(HEADROOM * max(-lo, hi))
    if method == "percentile":
        lo, hi = min(float(np.quantile(sample, 0.001)), 0.0), max(float(np.quantile(sample, 0.999)), 0.0)
    if bits == 8 and method != "mse":
        return _asymmetric(lo, hi)
    if len(sample) > MAX_SAMPLES:
        sample = sample[np.arange(MAX_SAMPLES) * STRIDE % len(sample)]
    shares = np.arange(1, STEPS + 1) / STEPS
    if bits == 16:
        candidates = [symmetric(share * max(-lo, hi)) for share in shares]
    else:
        los, his = (end * shares if end else [0.0] for end in (lo, hi))
        candidates = [_asymmetric(a, b) for a in los for b in his]
    with np.errstate(all="ignore"):
        exact = sample if f is None else f(sample)
        errors = [np.square(_through(q, sample, f) - exact).mean() for q in candidates]
    return candidates[int(np.argmin(errors[::-1])) * -1 - 1]  # of equal ones the widest


def _through(q: Quantization, sample: np.ndarray, f) -> np.ndarray:
    """Return what is left of f(sample) behind the integers, without those of its own."""
    integers = q.nearest(sample)
    if f is None:
        return (integers - q.zero) * q.scale
    if q.bits == 8:
        return f((np.arange(q.lo, q.hi + 1) - q.zero) * q.scale)[integers - q.lo]
    knots = np.linspace(q.lo, q.hi + 1, SEGMENTS + 1)
    return np.interp(integers, knots, f(knots * q.scale))


def _scale(x: float) -> float:
    """Return a scale that float32 holds exactly; 1 for a value that is always 0."""
    return float(np.float32(min(x, float(np.finfo(np.float32).max)))) or 1.0


def symmetric(largest: float, bits: int = 16) -> Quantization:
    """Return the quantisation without a zero point that spans -largest..largest."""
    return Quantization(_scale(largest / ((1 << (bits - 1)) - 1)), 0, bits)


def _asymmetric(lo: float, hi: float) -> Quantization:
    scale = _scale((hi - lo) / 255)
    return Quantization(scale, math.floor(-128 - lo / scale + 0.5), 8)


def check_method(method) -> str:
    if method not in METHODS:
        raise _check.unknown("ranges", method, METHODS)
    return method
