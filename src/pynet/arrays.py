"""What users pass as X, made ready for a machine: [N, width] arrays of a dtype it reads, never a silent reshape."""

from __future__ import annotations

import contextlib

import numpy as np

from . import _check

__all__ = ["as_array", "as_inputs", "as_rows", "check_finite", "read_at_random", "rows_ahead"]

READABLE = {np.dtype(t) for t in ("f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")}


def as_array(name: str, X) -> np.ndarray:
    """Return np.asarray(X); its ValueError (rows of different lengths) says `name`.  Masked values are refused."""
    if isinstance(X, np.ndarray) and type(X) is not np.ndarray and np.ma.is_masked(X):
        raise ValueError(f"{name} has masked values, which have no numbers: fill them in, e.g. X.filled(0)")
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(f"{name} cannot be made an array: {error}") from None


def as_rows(name: str, X, width: int, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Return `X` as an array [N, width] that a machine reads, without a copy wherever possible.

    Parameters
    ----------
    name : str
        What to call it in an error.
    X : array-like [N, width], or [N] where width is 1
        Of bool, integers, or floats of 16, 32 or 64 bits; whatever np.asarray takes.
    width : int
    shape : (steps, features), optional
        Of a row that is a sequence: then [N, steps, features] is taken as well.

    Raises
    ------
    TypeError
        Another dtype.
    ValueError
        Another shape.
    """
    array = as_array(name, X)
    if array.dtype not in READABLE or not array.dtype.isnative:
        array = _readable(name, array)
    if array.ndim == 1 and width == 1:
        array = array[:, None]
    if len(shape) == 2 and array.ndim == 3 and array.shape[1:] == shape:
        array = array.reshape(len(array), width)
    if array.ndim != 2 or array.shape[1] != width:
        expected = ", ".join(map(str, shape)) if len(shape) == 2 else width
        raise ValueError(f"{name} must have shape [N, {expected}], got {array.shape}{_hint(array, width)}")
    return array if array.flags.aligned else array.copy()


def _readable(name: str, array: np.ndarray) -> np.ndarray:
    """Convert the dtypes that no machine reads but that are real numbers all the same."""
    native = array.dtype.newbyteorder("=")
    if native in READABLE:
        return array.astype(native)
    if native == np.bool_:
        return array.view(np.uint8)
    hint = "; convert it, e.g. X.astype(float)" if array.dtype.kind in "OSU" else ""
    raise TypeError(f"{name} must be real numbers of at most 64 bits, got dtype {array.dtype}{hint}")


def _hint(array: np.ndarray, width: int) -> str:
    if array.shape == (width,):
        return "; one row: use predict_one(x), or X[None]"
    if array.ndim > 2 and array.size == len(array) * width:
        return f"; use X.reshape(-1, {width})"
    return ""


def as_inputs(model, X) -> tuple[list[np.ndarray], int]:
    """Return the arrays of a model's inputs, in order, and their number of rows.

    Parameters
    ----------
    model : Model
    X : array-like; for several inputs a list or tuple of them, or a dict by input name

    Raises
    ------
    TypeError, ValueError
        As `as_rows`; too many or too few arrays; unknown names; different numbers of rows.
    """
    arrays = _columns(model, X)
    names = ["X"] if len(arrays) == 1 else [f"X[{model.names[v.layer]!r}]" for v in model.inputs]
    arrays = [as_rows(name, x, v.width, v.shape) for name, x, v in zip(names, arrays, model.inputs, strict=True)]
    for name, x in zip(names, arrays, strict=True):
        if len(x) != len(arrays[0]):
            raise ValueError(f"{name} has {len(x)} rows, but {names[0]} has {len(arrays[0])}")
    return arrays, len(arrays[0])


def _columns(model, X) -> list:
    """Return what belongs to each input, in order."""
    names = [model.names[v.layer] for v in model.inputs]
    if isinstance(X, dict):
        for key in X:
            if key not in names:
                raise _check.unknown("input", key, names)
        for name in names:
            if name not in X:
                raise ValueError(f"X has no array for input {name!r}")
        return [X[name] for name in names]
    if len(names) == 1:
        return [X]
    if not isinstance(X, (list, tuple)):
        raise TypeError(f"X must be a list of {len(names)} arrays or a dict of {names}, got {type(X).__name__}")
    if len(X) != len(names):
        raise ValueError(f"X must hold {len(names)} arrays, one for each of {names}, got {len(X)}")
    return list(X)


def check_finite(name: str, array: np.ndarray, dtype=None) -> None:
    """Raise ValueError, naming the place, if an array [N, width] of floats holds NaN or infinity.

    `dtype`: it is converted to that one, in which it must be finite as well.
    """
    if array.dtype.kind != "f":
        return
    narrows = dtype is not None and np.dtype(dtype).itemsize < array.dtype.itemsize
    most = np.finfo(dtype).max if narrows else np.inf
    if array.dtype.itemsize > 2 and not narrows:
        # A sum is finite only if all are: half the time of asking each, and einsum takes 0.3 to 0.9 of that of np.sum.
        with np.errstate(all="ignore"):
            if np.isfinite(np.einsum("ij->", array)):
                return
    for start in range(0, len(array), 65536):  # pieces: no mask as large as the data
        piece = array[start : start + 65536]
        if narrows and -most <= piece.min(initial=0) and piece.max(initial=0) <= most:  # not so where there is a NaN
            continue
        good = np.isfinite(piece) & (np.abs(piece) <= most)
        if not good.all():
            row, column = (int(i) for i in np.argwhere(~good)[0])
            value = array[start + row, column]
            where = f" in {np.dtype(dtype).name}" if np.isfinite(value) else ""
            raise ValueError(f"{name} must be finite{where}, got {value} in row {start + row}, column {column}")


# ---- data in mapped files ------------------------------------------------------------------------------------------


def rows_ahead(arrays: list[np.ndarray]) -> int:
    """Return how many rows of a mapped file the system should be asked for in advance: 32 MB, at most 1024 rows; 0 if
    no array lies in a mapped file."""
    widest = max((abs(array.strides[0]) for array in arrays if _mapping(array) is not None), default=0)
    return max(1, min(1024, (32 << 20) // widest)) if widest > 0 else 0


@contextlib.contextmanager
def read_at_random(arrays: list[np.ndarray], really: bool = True):
    """Tell the system that rows of mapped files are read in no order: it reads no neighbours with them meanwhile."""
    mappings = [m for m in map(_mapping, arrays) if really and hasattr(m, "madvise")]
    _advise(mappings, "MADV_RANDOM")
    try:
        yield
    finally:
        _advise(mappings, "MADV_NORMAL")


def _advise(mappings: list, what: str) -> None:
    if mappings:
        import mmap

        for mapping in mappings:
            with contextlib.suppress(OSError, ValueError):  # it is only advice; ValueError: closed
                mapping.madvise(getattr(mmap, what))


def _mapping(array):
    """Return the mmap object in which an array lies, or None."""
    while array is not None and type(array).__name__ != "mmap":
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return array
