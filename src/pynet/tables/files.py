"""Tables from files: CSV with numbers, texts, dates and missing values, and Parquet."""

from __future__ import annotations

import contextlib
import itertools
import os
from array import array
from collections.abc import Iterator

import numpy as np

from .._check import suggest
from .columns import MISSING, Column, Frame, days_of, finite_number, number_of

__all__ = ["column_at", "csv_lines", "is_parquet", "read_frame"]

CHUNK = 1024  # lines that are looked at before the kinds of columns are guessed, and taken at a time
TEXT_ENDINGS, PARQUET_ENDINGS = (".csv", ".tsv", ".txt"), (".parquet", ".pq")


def is_parquet(path) -> bool:
    """Whether a name ends as those of Parquet files do."""
    return os.path.splitext(os.fspath(path))[1].lower() in PARQUET_ENDINGS


def read_frame(path, kinds: dict[str, str] | None = None, names=None, needed: str | None = None) -> Frame:
    """Read a table from a file.

    Parameters
    ----------
    path : str or os.PathLike
        .csv, .tsv, .txt: UTF-8, cells separated by comma, semicolon or tab, texts quoted where they need it.  The first
        line names the columns; those without a name, all of them if the line is all numbers, are called column_1,
        column_2 ... by their place.
        .parquet: needs pyarrow or polars.
    kinds : dict of name -> "number", "category" or "date", optional
        Of columns that must be of this kind.  Of all others of a CSV file: numbers if all cells are finite numbers
        (true and false are 1 and 0), dates if all are dates of ISO 8601, else texts.
    names : list of str, optional
        The columns to read; default: all.
    needed : str, optional
        A column of which no cell may be missing.

    Returns
    -------
    Frame
        The cells of `MISSING` (empty, ?, NA, nan, null ...) are missing values.

    Raises
    ------
    ImportError
        Parquet, and neither pyarrow nor polars is there:  pip install "pynet[tables]".
    OSError, ValueError
        The file cannot be read; the message names file, and line and column where there is one: a line of another
        length, a cell that is not of its kind, an infinite number, a column that is not there.
    """
    path = os.fspath(path)
    ending = os.path.splitext(path)[1].lower()
    if ending in PARQUET_ENDINGS:
        frame = Frame.of(_parquet(path, names)).guessed(kinds or ())
        frame.source = path
        return frame
    if ending not in TEXT_ENDINGS:
        expected = ", ".join([*TEXT_ENDINGS[:2], ".txt or .parquet"])
        raise ValueError(f"{path}: cannot tell the format from {ending!r}, expected a file {expected}")
    known = dict(kinds or {})
    guessed: dict[str, str] = {}
    while True:  # once more where a later line shows that a guess was wrong
        try:
            return _read(path, known, guessed, names, needed)
        except _WrongGuessError as wrong:
            guessed[wrong.name] = wrong.kind


def _parquet(path: str, names):
    with open(path, "rb"):  # that it is not there is said by the system, in its words
        pass
    columns = None if names is None else list(names)
    errors = []
    for module, function in (("pyarrow.parquet", "read_table"), ("polars", "read_parquet")):
        try:
            read = getattr(__import__(module, fromlist=[function]), function)
        except ImportError as error:
            errors.append(str(error))
            continue
        try:
            table = read(path)
        except Exception as error:  # of either library, which have no common base but this
            raise ValueError(f"{path}: not a Parquet file, or a damaged one ({str(error)[:200]})") from None
        if columns is not None:
            there = [str(name) for name in getattr(table, "column_names", None) or table.columns]
            for name in columns:
                column_at(path, there, name)
            table = table.select(columns)
        return table
    raise ImportError(f'a .parquet file needs pyarrow or polars ({"; ".join(errors)}): pip install "pynet[tables]"')


# ---- CSV -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def csv_lines(path: str):
    """Open a CSV file: (names of the columns, iterator of (number of the line, cells) that passes blank lines).

    Faults inside of the block become ValueErrors that name the file."""
    import csv

    lines = None
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            lines = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True, skipinitialspace=True)
            rows: Iterator = ((lines.line_num, cells) for cells in lines if cells)
            line, cells = next(rows, (0, []))
            names = [cell.strip() for cell in cells]
            if not names:
                raise ValueError(f"{path}: the file is empty, expected a line of column names and lines of cells")
            if all(finite_number(cell) is not None for cell in names):
                rows = itertools.chain([(line, cells)], rows)
                names = [f"column_{k + 1}" for k in range(len(names))]
            names = [name or f"column_{k + 1}" for k, name in enumerate(names)]
            if len(set(names)) != len(names):
                twice = next(name for k, name in enumerate(names) if name in names[:k])
                raise ValueError(f"{path}: two columns are called {twice!r}")
            yield names, _of_one_length(path, names, rows)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text in UTF-8 (byte {error.start}): {error.reason}") from None
    except csv.Error as error:
        raise ValueError(f"{path}, line {lines.line_num if lines else 1}: {error}") from None


def _of_one_length(path: str, names: list[str], rows):
    for line, cells in rows:
        if len(cells) != len(names):
            raise ValueError(f"{path}, line {line}: {len(cells)} cells, expected {len(names)} ({', '.join(names[:6])})")
        yield line, cells


def column_at(path: str, names: list[str], name: str) -> int:
    """Return the place of a column; ValueError with close matches if there is none."""
    if name in names:
        return names.index(name)
    shown = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
    raise ValueError(f"{path}: there is no column {name!r}{suggest(name, names)} (columns: {shown})")


def _read(path: str, known: dict, guessed: dict, wanted, needed) -> Frame:
    with csv_lines(path) as (names, rows):
        places = range(len(names)) if wanted is None else [column_at(path, names, name) for name in wanted]
        builders: list = []
        while chunk := list(itertools.islice(rows, CHUNK)):
            lines = [line for line, _ in chunk]
            cells = [[cells[k].strip() for _, cells in chunk] for k in places]
            if not builders:
                for k, column in zip(places, cells, strict=True):
                    name = names[k]
                    kind = known.get(name) or guessed.get(name) or _guess(column)
                    builders.append(BUILDERS[kind](path, name, name in known))
            for builder, column in zip(builders, cells, strict=True):
                if builder.name == needed and any(cell in MISSING for cell in column):
                    line, cell = next((n, cell) for n, cell in zip(lines, column, strict=True) if cell in MISSING)
                    what = f"{cell!r} means that there is none" if cell else "the cell is empty"
                    raise ValueError(f"{path}, line {line}, column {needed!r}: {what}, expected a value")
                builder.add(lines, column)
    if not builders:
        raise ValueError(f"{path}: no lines of cells below the column names {', '.join(names[:6])}")
    return Frame([builder.column() for builder in builders], path)


def _guess(cells: list[str]) -> str:
    there = [cell for cell in cells if cell not in MISSING]
    if all(_is_number(cell) for cell in there):
        return "number"
    return "date" if all(days_of(cell) is not None for cell in there) else "category"


def _is_number(cell: str) -> bool:
    try:
        float(cell)  # infinite ones as well: they are an error, not a text
    except ValueError:
        return number_of(cell) is not None
    return "_" not in cell


class _WrongGuessError(Exception):
    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind


class _Numbers:
    """Collects the cells of a column of numbers, or of dates."""

    kind, parse, expected, instead = "number", staticmethod(number_of), "a finite number", "date"

    def __init__(self, path: str, name: str, is_known: bool) -> None:
        self.path, self.name, self.is_known = path, name, is_known
        self.values = array("d")
        self.boolean: bool | None = None

    def add(self, lines: list[int], cells: list[str]) -> None:
        for line, cell in zip(lines, cells, strict=True):
            value = self.parse(cell)
            if value is not None:
                self.values.append(value)
                if self.boolean is not False:
                    self.boolean = not cell[:1].isdigit() and cell[:1] not in "+-."
            elif cell in MISSING:
                self.values.append(np.nan)
            elif self.is_known or (self.kind == "number" and _is_number(cell)):
                raise ValueError(
                    f"{self.path}, line {line}, column {self.name!r}: {cell[:40]!r} is not {self.expected}"
                )
            else:
                raise _WrongGuessError(self.name, self.instead)

    def column(self) -> Column:
        values = np.frombuffer(self.values, np.float64).copy() if self.values else np.zeros(0)
        return Column(self.name, self.kind, values, (), self.kind == "number" and bool(self.boolean))


class _Dates(_Numbers):
    kind, parse, instead = "date", staticmethod(days_of), "category"
    expected = "a date like 2024-02-29 or 2024-02-29T12:30:00"


class _Texts:
    """Collects the cells of a column of texts."""

    def __init__(self, path: str, name: str, is_known: bool) -> None:
        self.name = name
        self.codes = array("i")
        self.place: dict[str, int] = {}

    def add(self, lines: list[int], cells: list[str]) -> None:
        place = self.place
        self.codes.extend(-1 if cell in MISSING else place.setdefault(cell, len(place)) for cell in cells)

    def column(self) -> Column:
        return Column(self.name, "category", np.frombuffer(self.codes, np.int32).copy(), list(self.place))


BUILDERS = {"number": _Numbers, "date": _Dates, "category": _Texts}
