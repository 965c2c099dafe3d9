"""Tables: models of tables of any columns; CSV and NPZ files with one number a cell, and their scaling."""

from __future__ import annotations

import os

import numpy as np

from .tables.columns import finite_number
from .tables.files import column_at, csv_lines
from .tables.model import TableModel
from .tables.table import Table, standardisation

__all__ = ["Table", "TableModel", "read_csv", "read_npz", "read_table", "standardisation"]


def read_table(path, target: str | None = None, features: list[str] | None = None, need_target: bool = True) -> Table:
    """Read a file of one number a cell, as the end of its name says.

    Parameters
    ----------
    path : str or os.PathLike
        .csv, .tsv, .txt: as `read_csv`; .npz: as `read_npz`.
    target, features, need_target
        As in `read_csv`.

    Returns
    -------
    Table

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        The name ends otherwise, or as of `read_csv` and `read_npz`.
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
        UTF-8, cells separated by comma, semicolon or tab.  The first line names the columns; those without a name, all
        of them if the line is all numbers, are called column_1, column_2 ... by their place.
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
    from array import array

    path = os.fspath(path)
    with csv_lines(path) as (names, rows):
        if target is None and need_target:
            target = names[-1]
        there = target in names or need_target
        target_at = column_at(path, names, target) if target is not None and there else None
        columns = [k for k in range(len(names)) if k != target_at]
        if features is not None:
            columns = [column_at(path, names, name) for name in features]
        if not columns:
            raise ValueError(f"{path}: no column is left to predict {target!r} from")
        numbers, targets = array("d"), []
        n_rows = 0
        for line, cells in rows:
            row = [finite_number(cells[k]) for k in columns]
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


def _fault(cell: str) -> str:
    if not cell.strip():
        return "the cell is empty, expected a number (fill in missing values or leave these lines out)"
    return f"{cell.strip()[:40]!r} is not a finite number (code texts as numbers, or leave the column out)"


def _target(cells: list[str]) -> np.ndarray:
    numbers = [finite_number(cell) for cell in cells]
    return np.array(cells) if None in numbers else np.array(numbers, np.float64)


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
    OSError
        The file cannot be opened.
    ValueError
        The message names the file: it is no archive, an array is not there, has another length, or holds something else
        than finite numbers (of the target: or texts).
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
            column_at(path, list(columns), name)
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
            column_at(path, list(arrays), target)
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
