"""Checks of arguments: every fault is named, with what came and what was expected."""

from __future__ import annotations

import math
import operator

import numpy as np

__all__ = ["float_dtype", "fraction", "integer", "number", "suggest", "unknown"]


def suggest(name: object, choices) -> str:
    """Return ``", did you mean 'x'?"`` for a close match of `name` among `choices`, else an empty string."""
    import difflib  # only on the way to an error

    close = difflib.get_close_matches(str(name).lower(), sorted(choices), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def unknown(kind: str, name: object, choices) -> ValueError:
    """Return the error for a `name` that is none of `choices`."""
    return ValueError(f"unknown {kind} {name!r}{suggest(name, choices)} (known: {', '.join(sorted(choices))})")


def number(name: str, value, low: float | None = None, high: float | None = None, *, low_open: bool = False) -> float:
    """Return `value` as a finite float inside [low, high] (or (low, high] with `low_open`)."""
    if isinstance(value, (str, bytes, bool)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {type(value).__name__} {value!r}")
    result = float(value)
    bad = not math.isfinite(result)
    bad |= low is not None and (result <= low if low_open else result < low)
    bad |= high is not None and result > high
    if bad:
        bounds = " and ".join(
            ([f"{'>' if low_open else '>='} {low:g}"] if low is not None else [])
            + ([f"<= {high:g}"] if high is not None else [])
        )
        raise ValueError(f"{name} must be finite{' and ' + bounds if bounds else ''}, got {value!r}")
    return result


def fraction(name: str, value) -> float:
    """Return `value` as a float inside [0, 1)."""
    result = number(name, value, 0.0)
    if result >= 1.0:
        raise ValueError(f"{name} must be >= 0 and < 1, got {value!r}")
    return result


def integer(name: str, value, low: int | None = None, high: int | None = None) -> int:
    """Return `value` as an int inside [low, high]."""
    try:
        result = operator.index(value)
    except TypeError:
        result = None
    if result is None or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__} {value!r}")
    if (low is not None and result < low) or (high is not None and result > high):
        span = f">= {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name} must be {span}, got {result}")
    return result


def float_dtype(dtype) -> np.dtype:
    """Return `dtype` as float32 or float64."""
    try:
        result = np.dtype(dtype)
    except TypeError:
        result = None
    if dtype is None or result not in (np.float32, np.float64):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
    return result
