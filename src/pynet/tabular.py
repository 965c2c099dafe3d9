"""Tables: CSV and NPZ files with one number a cell, and the scaling that makes them fit for a network."""

from __future__ import annotations

import os

import numpy as np

from ._check import suggest

__all__ = ["Table", "read_csv", "read_npz", "read_table", "standardisation"]

MAX_CLASSES = 20  # whole numbers with more different values than this are a quantity, not classes


class Table:
    """Columns of numbers, and what they are called.

    Attributes
    ----------
    X : ndarray [N, I]
    feature_names : list of str
        One name a column of X.
    y : ndarray [N] or [N, O], or None
        The target as it stands in the file: numbers, or texts (classes).
    target_name : str or None
    """

    __slots__ = ("X", "feature_names", "target_name", "y")

    def __init__(self, X: np.ndarray, feature_names: list[str], y: np.ndarray | None, target_name: str | None) -> None:
        self.X, self.feature_names, self.y, self.target_name = X, feature_names, y, target_name

    def looks_like_classes(self) -> bool:
        """Return whether the target is classes: texts, or whole numbers with at most 20 different values."""
        y = self.y
        if y is None or y.ndim != 1:
            return False
        if y.dtype.kind not in "fiub":
            return True
        return bool(np.all(y == np.round(y))) and len(np.unique(y)) <= MAX_CLASSES

    def labels(self, classes: list[str] | None = None) -> tuple[np.ndarray, list[str]]:
        """Return the target as labels 0..C-1 (int64) and the names of the classes, sorted.

        Parameters
        ----------
        classes : list of str, optional
            Known names, label 0 first.

        Raises
        ------
        ValueError
            There is no target of one column, or a target is none of the known names.
        """
        y = self.y
        if y is None or y.ndim != 1:
            raise ValueError(f"classes need a target of one column, got {'none' if y is None else y.shape}")
        values, labels = np.unique(y, return_inverse=True)
        names = [class_name(value) for value in values]
        if classes is None:
            return labels.reshape(-1).astype(np.int64), names
        place = {name: label for label, name in enumerate(classes)}
        for name in names:
            if name not in place:
                raise ValueError(
                    f"target {self.target_name!r} has the class {name!r}{suggest(name, classes)}, which the model does "
                    f"not know (its classes: {', '.join(classes[:20])}{' ...' if len(classes) > 20 else ''})"
                )
        return np.array([place[name] for name in names], np.int64)[labels.reshape(-1)], list(classes)


def class_name(value) -> str:
    """Return the name of a class: the text itself, whole numbers without a point."""
    if isinstance(value, (float, np.floating)) and value == int(value):
        return str(int(value))
    return str(value)


def standardisation(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `shift` and `scale` for ``pn.Input(..., shift=shift, scale=scale)``: mean 0, deviation 1.

    Parameters
    ----------
    X : array [N, I]
        The rows trained on, no others.  Bytes (uint8) are pixels: all columns get the same shift and scale.

    Returns
    -------
    shift, scale : float64 [I]
        The mean, and 1 / standard deviation; the scale of a constant column is 1.
    """
    X = np.asarray(X)
    values = X.astype(np.float64, copy=False)
    axis = None if X.dtype == np.uint8 else 0
    shift = np.broadcast_to(values.mean(axis=axis), X.shape[1]).copy()
    deviation = np.broadcast_to(values.std(axis=axis), X.shape[1])
    constant = deviation <= 1e-12 * np.maximum(np.abs(shift), 1e-300)
    return shift, 1.0 / np.where(constant, 1.0, deviation)


def read_table(path, target: str | None = None, features: list[str] | None = None, need_target: bool = True) -> Table:
    """Read a .csv or .npz file, by the end of its name.

    Parameters
    ----------
    path : str or os.PathLike
        .csv, .tsv, .txt or .npz.
    target, features, need_target
        As in `read_csv` and `read_npz`.

    Returns
    -------
    Table

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or its name has another end; both name it.
    """
    path = os.fspath(path)
    ending = os.path.splitext(path)[1].lower()
    if ending == ".npz":
        return read_npz(path, target, features, need_target)
    if ending in (".csv", ".tsv", ".txt"):
        return read_csv(path, target, features, need_target)
    raise ValueError(f"{path}: cannot tell the format from {ending!r}, expected a file .csv, .tsv, .txt or .npz")


def read_csv(path, target: str | None = None, features: list[str] | None = None, need_target: bool = True) -> Table:
    """Read a table of text.

    Parameters
    ----------
    path : str or os.PathLike
        UTF-8, cells separated by comma, semicolon or tab.  The first line names the columns; if it is all numbers,
        the columns are called column_1, column_2 ...
    target : str, optional
        Column to predict; default: the last one.  Its cells may be texts (classes).
    features : list of str, optional
        Columns to read as X, in this order; default: all but the target.
    need_target : bool, default True
        If False, a missing target is no error (`y` is None), and without `target` there is none.

    Returns
    -------
    Table
        X is float64.

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        The message names file, line and column: a cell that is no finite number, a line of another length,
        a column that is not there.
    """
    import csv

    path = os.fspath(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            lines = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True, skipinitialspace=True)
            return _read_lines(path, lines, target, features, need_target)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text in UTF-8 (byte {error.start}): {error.reason}") from None
    except csv.Error as error:
        raise ValueError(f"{path}, line {lines.line_num}: {error}") from None


def _read_lines(path: str, lines, target, features, need_target: bool) -> Table:
    from array import array

    names, waiting = [], None
    for cells in lines:
        if cells:
            names = [cell.strip() for cell in cells]
            break
    if not names:
        raise ValueError(f"{path}: the file is empty, expected a line of column names and lines of numbers")
    if all(parse_number(cell) is not None for cell in names):
        waiting = (lines.line_num, cells)
        names = [f"column_{k + 1}" for k in range(len(names))]
    if len(set(names)) != len(names):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise ValueError(f"{path}: two columns are called {twice!r}")

    if target is None and need_target:
        target = names[-1]
    there = target in names or need_target
    target_at = _column(path, names, target) if target is not None and there else None
    columns = [k for k in range(len(names)) if k != target_at]
    if features is not None:
        columns = [_column(path, names, name) for name in features]
    if not columns:
        raise ValueError(f"{path}: no column is left to predict {target!r} from")

    numbers, targets = array("d"), []
    n_rows = 0
    for line, cells in _data_lines(lines, waiting):
        if len(cells) != len(names):
            raise ValueError(f"{path}, line {line}: {len(cells)} cells, expected {len(names)} ({', '.join(names[:6])})")
        row = [parse_number(cells[k]) for k in columns]
        if None in row:
            k = columns[row.index(None)]
            raise ValueError(f"{path}, line {line}, column {names[k]!r}: {_fault(cells[k])}")
        numbers.extend(row)  # type: ignore[arg-type]
        if target_at is not None:
            cell = cells[target_at].strip()
            if not cell:
                raise ValueError(f"{path}, line {line}, column {names[target_at]!r}: the target is empty")
            targets.append(cell)
        n_rows += 1
    if not n_rows:
        raise ValueError(f"{path}: no lines of numbers below the column names {', '.join(names[:6])}")
    X = np.frombuffer(numbers, np.float64).reshape(n_rows, len(columns)).copy()
    y = None if target_at is None else _target(targets)
    return Table(X, [names[k] for k in columns], y, None if target_at is None else names[target_at])


def _data_lines(lines, waiting):
    if waiting is not None:
        yield waiting
    for cells in lines:
        if cells:
            yield lines.line_num, cells


def parse_number(cell: str) -> float | None:
    """Return the finite number in a cell, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if value - value == 0.0 and "_" not in cell else None  # Python reads "1_0" as 10


def _fault(cell: str) -> str:
    if not cell.strip():
        return "the cell is empty, expected a number (fill in missing values or leave these lines out)"
    return f"{cell.strip()[:40]!r} is not a finite number (code texts as numbers, or leave the column out)"


def _target(cells: list[str]) -> np.ndarray:
    numbers = [parse_number(cell) for cell in cells]
    return np.array(cells) if None in numbers else np.array(numbers, np.float64)


def _column(path: str, names: list[str], name: str) -> int:
    if name in names:
        return names.index(name)
    shown = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
    raise ValueError(f"{path}: there is no column {name!r}{suggest(name, names)} (columns: {shown})")


def read_npz(path, target: str | None = None, features: list[str] | None = None, need_target: bool = True) -> Table:
    """Read a NumPy archive.

    Parameters
    ----------
    path : str or os.PathLike
        Either an array X [N, ...] (further axes are flattened) with the target in y (or the array that `target`
        names), or one array [N] for each column.  Nothing is unpickled.
    target, features, need_target
        As in `read_csv`; one array a column: there is no default target.

    Returns
    -------
    Table
        X keeps its type (uint8 stays uint8), or is float64 if read from columns.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or is no such archive; both name it.
    """
    import zipfile
    import zlib

    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"PK":
                raise ValueError("not a NumPy archive (.npz)")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name} is no array")
        return _from_arrays(path, arrays, target, features, need_target)
    except (ValueError, TypeError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        text = str(error)
        raise ValueError(text if text.startswith(path) else f"{path}: {text or 'not a NumPy archive'}") from None


def _from_arrays(path: str, arrays: dict, target, features, need_target: bool) -> Table:
    if "X" in arrays:
        X = arrays["X"]
        if X.ndim < 1 or X.size == 0:
            raise ValueError(f"X has shape {X.shape}, expected [N, features]")
        X = X.reshape(len(X), -1)
        names = [f"x{k}" for k in range(X.shape[1])]
        if "feature_names" in arrays and arrays["feature_names"].shape == (X.shape[1],):
            names = [str(name) for name in arrays["feature_names"]]
        target = target or "y"
        if features is not None and len(features) != len(names):
            raise ValueError(f"X has {len(names)} columns, expected {len(features)}: {', '.join(features[:6])}")
        names = list(features or names)
    else:
        columns = {name: array for name, array in arrays.items() if array.ndim == 1}
        if target is None and need_target:
            known = ", ".join(list(arrays)[:20])
            raise ValueError(f"no array X, so name the column to predict with a target (arrays: {known})")
        names = features or [name for name in columns if name != target]
        for name in names:
            _column(path, list(columns), name)
        if not names or len({len(columns[name]) for name in names}) != 1:
            raise ValueError("expected an array X [N, features], or one array [N] for each column, all of one length")
        for name in names:
            if columns[name].dtype.kind not in "fiub":
                raise ValueError(f"column {name!r} has dtype {columns[name].dtype}, expected numbers")
        X = np.stack([columns[name].astype(np.float64) for name in names], axis=1)
    if X.dtype.kind not in "fiub":
        raise ValueError(f"X has dtype {X.dtype}, expected numbers")
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        row, column = np.argwhere(~np.isfinite(X))[0]
        raise ValueError(f"row {row}, column {names[column]!r}: {X[row, column]} is not a finite number")

    if target not in arrays:
        if need_target:
            _column(path, list(arrays), target)
        return Table(X, names, None, None)
    y = arrays[target]
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim not in (1, 2) or len(y) != len(X):
        raise ValueError(f"target {target!r} has shape {y.shape}, expected {len(X)} rows as X")
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8")
    if y.dtype.kind not in "fiubU":
        raise ValueError(f"target {target!r} has dtype {y.dtype}, expected numbers or texts")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(f"target {target!r} has NaN or infinite values")
    return Table(X, names, y, target)
