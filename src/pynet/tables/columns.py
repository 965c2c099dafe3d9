"""Columns of a table, wherever it comes from: pandas, polars, pyarrow, dicts and arrays of NumPy.

None of these libraries is imported here: what a table is shows in its methods.
"""

from __future__ import annotations

import re
from datetime import UTC

import numpy as np

from .._check import suggest, unknown

__all__ = ["KINDS", "MISSING", "Column", "Frame", "days_of", "finite_number", "number_of", "number_text"]

KINDS = ("number", "category", "date")
MISSING = ("", "?", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "NULL", "null", "None")  # texts that mean: no value
BOOLEANS = {"true": 1.0, "True": 1.0, "TRUE": 1.0, "false": 0.0, "False": 0.0, "FALSE": 0.0}
DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
DAY = 86_400.0  # seconds
UNITS = {"D": 1.0, "h": 24.0, "m": 1440.0, "s": DAY, "ms": DAY * 1e3, "us": DAY * 1e6}  # of a day, in datetime64
EPOCH = 719_163  # 1970-01-01 as datetime.date counts days


class Column:
    """One column.

    Attributes
    ----------
    name : str
    kind : "number", "category" or "date"
    values : ndarray [N]
        float64: numbers, or days since 1970-01-01 (UTC), NaN where missing; of a category int32, the place of its text
        in `levels`, -1 where missing.
    levels : list of str
        Different texts of a category; else empty.
    boolean : bool
        Whether the numbers stand for false and true.
    """

    __slots__ = ("boolean", "kind", "levels", "name", "values")

    def __init__(self, name: str, kind: str, values: np.ndarray, levels=(), boolean: bool = False) -> None:
        self.name, self.kind, self.values, self.levels, self.boolean = name, kind, values, list(levels), boolean

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows) -> Column:
        return Column(self.name, self.kind, self.values[rows], self.levels, self.boolean)

    @property
    def missing(self) -> np.ndarray:
        """Where there is no value, bool [N]."""
        return self.values < 0 if self.kind == "category" else np.isnan(self.values)

    def texts(self) -> np.ndarray:
        """Return the texts of a category, None where missing; object [N]."""
        return np.array([*self.levels, None], object)[self.values]

    def as_kind(self, kind: str, where: str = "") -> Column:
        """Return the column as another kind.

        Numbers become categories by their text, whole ones without a point; texts become numbers or dates if all of
        them are such.  ValueError names the row and what stands there; `where`: what stands in front of that.
        """
        if kind == self.kind:
            return self
        if kind == "category" and self.kind == "number":
            known, codes = np.unique(self.values, return_inverse=True)
            names = [BOOLEAN_NAMES[int(v)] if self.boolean and v == v else number_text(v) for v in known.tolist()]
            return _of_texts(self.name, codes.reshape(-1).astype(np.int32), names)
        if self.kind == "category" and kind in PARSERS:
            parse, expected = PARSERS[kind]
            found = [parse(text) for text in self.levels]
            wrong = [place for place, value in enumerate(found) if value is None]
            if wrong:
                rows = np.flatnonzero(np.isin(self.values, wrong))
                if len(rows):
                    text = self.levels[self.values[rows[0]]]
                    raise ValueError(f"{where}row {rows[0]}, column {self.name!r}: {text[:40]!r} is no {expected}")
                found = [np.nan if value is None else value for value in found]
            boolean = kind == "number" and bool(self.levels) and all(text in BOOLEANS for text in self.levels)
            return Column(self.name, kind, np.array([*found, np.nan], np.float64)[self.values], (), boolean)
        if kind == "date" and self.missing.all():
            return Column(self.name, "date", self.values)
        raise ValueError(f"{where}column {self.name!r} holds {PLURALS[self.kind]}, expected {PLURALS[kind]}")


class Frame:
    """Columns of one length.

    Parameters
    ----------
    columns : list of Column
    source : str
        What to call it in an error: the path of a file; else "".
    """

    def __init__(self, columns: list[Column], source: str = "") -> None:
        self.columns, self.source = {column.name: column for column in columns}, source
        if len(self.columns) != len(columns):
            names = [column.name for column in columns]
            twice = next(name for k, name in enumerate(names) if name in names[:k])
            raise ValueError(f"{self.where}two columns are called {twice!r}")
        if len({len(column) for column in columns}) > 1:
            shown = ", ".join(f"{column.name} {len(column)}" for column in columns[:6])
            raise ValueError(f"{self.where}the columns have different lengths: {shown}")

    @property
    def where(self) -> str:
        """What errors begin with."""
        return f"{self.source}: " if self.source else ""

    @property
    def names(self) -> list[str]:
        return list(self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), len(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, rows) -> Frame:
        """Return some of the rows, by a slice, numbers or a mask."""
        return Frame([column[rows] for column in self.columns.values()], self.source)

    def column(self, name: str) -> Column:
        """Return a column; ValueError with close matches if there is none."""
        if name not in self.columns:
            names = self.names
            shown = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
            raise ValueError(f"{self.where}there is no column {name!r}{suggest(name, names)} (columns: {shown})")
        return self.columns[name]

    def select(self, names) -> Frame:
        """Return these columns, in this order."""
        return Frame([self.column(name) for name in names], self.source)

    def as_kinds(self, kinds: dict[str, str]) -> Frame:
        """Return the frame with these columns of these kinds; ValueError where one is not there, or not such."""
        columns = dict(self.columns)
        for name, kind in kinds.items():
            column = self.column(name)
            if kind not in KINDS:
                raise unknown(f"kind of column {name!r}:", kind, KINDS)
            columns[name] = column.as_kind(kind, self.where)
        return Frame(list(columns.values()), self.source)

    def guessed(self, known=()) -> Frame:
        """Return the frame to learn from: columns of texts, but those `known`, are dates if all texts are such."""

        def guess(column: Column) -> Column:
            texts = column.levels if column.name not in known else ()
            return column.as_kind("date") if texts and all(days_of(t) is not None for t in texts) else column

        return Frame([guess(column) for column in self.columns.values()], self.source)

    def fingerprint(self, crc: int = 0) -> int:
        """Return a checksum of names and values."""
        import binascii

        for column in self.columns.values():
            texts = "\0".join([column.name, *column.levels])
            crc = binascii.crc32(
                np.ascontiguousarray(column.values).view(np.uint8).data, binascii.crc32(texts.encode(), crc)
            )
        return crc

    @classmethod
    def of(cls, table, names=None) -> Frame:
        """Return any kind of table as a Frame.

        Parameters
        ----------
        table : Frame, pandas DataFrame, polars DataFrame, pyarrow Table, dict of columns, structured array, or [N, I]
            Columns hold numbers, booleans, texts, dates, and None, NaN or a mask of numpy.ma where a value is missing.
        names : list of str, optional
            Of the columns of an array [N, I]; default column_1, column_2 ...
        """
        if isinstance(table, Frame):
            return table
        if hasattr(table, "collect") and hasattr(table, "collect_schema"):  # of polars, lazy
            table = table.collect()
        if hasattr(table, "column_names") and hasattr(table, "column"):  # pyarrow
            return cls([_of_arrow(str(name), table.column(k)) for k, name in enumerate(table.column_names)])
        if hasattr(table, "get_columns") and hasattr(table, "columns"):  # polars
            return cls([_of_polars(series.name, series) for series in table.get_columns()])
        if hasattr(table, "iloc") and hasattr(table, "columns"):  # pandas
            return cls([_of_pandas(str(name), table.iloc[:, k]) for k, name in enumerate(table.columns)])
        if isinstance(table, dict):
            return cls([_of_array(str(name), column) for name, column in table.items()])
        array = table if isinstance(table, np.ma.MaskedArray) else np.asarray(table)
        if array.dtype.names:
            return cls([_of_array(name, array[name]) for name in array.dtype.names])
        if array.ndim != 2:
            raise TypeError(
                "table must be a DataFrame of pandas or polars, a pyarrow Table, a dict of columns or an array [N, I], "
                f"got {type(table).__name__}" + (f" of shape {array.shape}" if array.dtype != object else "")
            )
        if names is None:
            names = [f"column_{k + 1}" for k in range(array.shape[1])]
        if len(names) != array.shape[1]:
            raise ValueError(f"table must have {len(names)} columns ({', '.join(names[:6])}), got {array.shape}")
        return cls([_of_array(name, array[:, k]) for k, name in enumerate(names)])


# ---- values ----------------------------------------------------------------------------------------------------------


def finite_number(text: str) -> float | None:
    """Return the finite number in a text; None if there is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value - value == 0.0 and "_" not in text else None  # Python reads "1_0" as 10


def number_of(text: str) -> float | None:
    """Return the finite number in a text, of a boolean 0 or 1; None if there is none."""
    value = finite_number(text)
    return BOOLEANS.get(text) if value is None else value


def days_of(text: str) -> float | None:
    """Return the days since 1970-01-01 (UTC) of a date as ISO 8601 has it, 2024-02-29 or 2024-02-29T12:30; or None."""
    from datetime import datetime

    if not DATE.fullmatch(text):
        return None
    try:
        return _days(datetime.fromisoformat(text))
    except ValueError:
        return None


def _days(moment) -> float:
    """Return the days since 1970-01-01 (UTC) of a date, or of a datetime, which is in UTC where it does not say."""
    from datetime import datetime

    if not isinstance(moment, datetime):
        return float(moment.toordinal() - EPOCH)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() / DAY


def number_text(value: float) -> str:
    """Return a number as text, whole ones without a point."""
    return str(int(value)) if value == value and abs(value) < 2**53 and value == int(value) else str(value)


PARSERS = {"number": (number_of, "finite number"), "date": (days_of, "date like 2024-02-29 or 2024-02-29T12:30:00")}
PLURALS = {"number": "numbers", "category": "texts", "date": "dates"}
BOOLEAN_NAMES = ("False", "True")


# ---- columns of other libraries --------------------------------------------------------------------------------------


def _of_numbers(name: str, values: np.ndarray, boolean: bool = False) -> Column:
    values = np.ascontiguousarray(values, np.float64)
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise ValueError(f"row {row}, column {name!r}: {values[row]} is not a finite number")
    return Column(name, "number", values, (), boolean)


def _of_texts(name: str, codes: np.ndarray, levels: list[str]) -> Column:
    """Return a category; blanks around texts do not count, MISSING are missing."""
    place: dict[str, int] = {}
    moved = [-1 if t in MISSING else place.setdefault(t, len(place)) for t in (text.strip() for text in levels)]
    codes = np.array([*moved, -1], np.int32)[codes]
    return Column(name, "category", codes, list(place))


def _of_days(name: str, moments: np.ndarray) -> Column:
    """Return dates from datetime64."""
    unit, count = np.datetime_data(moments.dtype)
    if count != 1 or unit not in UNITS:  # years, weeks; nanoseconds and less
        unit = "D" if unit in ("Y", "M", "W", "D") else "us"
    days = moments.astype(f"datetime64[{unit}]").astype(np.int64) / UNITS[unit]
    return Column(name, "date", np.where(np.isnat(moments), np.nan, days))


def _of_objects(name: str, values: list) -> Column:
    """Return what a list of Python objects holds: numbers, texts or dates, and None or NaN."""
    import datetime
    import decimal
    import numbers

    absent = [_is_absent(v) for v in values]
    there = [v for v, gone in zip(values, absent, strict=True) if not gone]
    kinds, kept = {type(v) for v in there}, iter(there)

    def all_are(*types) -> bool:
        return all(issubclass(kind, types) for kind in kinds)

    if all_are(bool, np.bool_, numbers.Real, decimal.Decimal):
        boolean = bool(kinds) and all_are(bool, np.bool_)
        try:
            found = [np.nan if gone else float(next(kept)) for gone in absent]
        except OverflowError:
            raise ValueError(f"column {name!r} holds a number that is too large for float64") from None
        return _of_numbers(name, np.array(found), boolean)
    if all_are(np.datetime64):
        return _of_days(name, np.array([np.datetime64("NaT") if gone else next(kept) for gone in absent]))
    if all_are(str):
        place: dict[str, int] = {}
        codes = [-1 if gone else place.setdefault(next(kept), len(place)) for gone in absent]
        return _of_texts(name, np.array(codes, np.int32), list(place))
    if all_are(datetime.date):  # datetime is one
        return Column(name, "date", np.array([np.nan if gone else _days(next(kept)) for gone in absent], np.float64))
    shown = " and ".join(sorted(kind.__name__ for kind in kinds)[:4])
    raise TypeError(f"column {name!r} holds {shown}, expected numbers, texts or dates; convert it, or leave it out")


def _is_absent(value) -> bool:
    """Is it None, NaN, NaT, or what pandas has for these?"""
    if isinstance(value, (float, np.floating, np.datetime64)):
        return bool(value != value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _of_array(name: str, column) -> Column:
    if hasattr(column, "dtype") and not isinstance(column, np.ndarray):  # a series of pandas or polars in a dict
        return _of_pandas(name, column) if hasattr(column, "iloc") else _of_polars(name, column)
    if isinstance(column, np.ma.MaskedArray):
        column = column.filled(np.datetime64("NaT")) if column.dtype.kind == "M" else column.tolist()
    if isinstance(column, (list, tuple)):
        return _of_objects(name, list(column))
    array = np.asarray(column)
    if array.ndim != 1:
        raise ValueError(f"column {name!r} has shape {array.shape}, expected [N]")
    if array.dtype.kind in "fiub":
        return _of_numbers(name, array, array.dtype.kind == "b")
    if array.dtype.kind == "M":
        return _of_days(name, array)
    if array.dtype.kind == "m":
        raise TypeError(f"column {name!r} holds {array.dtype}: make it numbers, e.g. column / np.timedelta64(1, 'D')")
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"column {name!r} holds bytes that are no text in UTF-8: {error}") from None
    if array.dtype.kind == "U":
        levels, codes = np.unique(array, return_inverse=True)
        return _of_texts(name, codes.reshape(-1), levels.tolist())
    return _of_objects(name, array.tolist())


def _of_pandas(name: str, series) -> Column:
    kind = str(series.dtype)
    if kind == "category":
        texts = [str(text) for text in series.cat.categories]
        if series.cat.categories.dtype.kind in "fiu":
            texts = [number_text(float(value)) for value in series.cat.categories]
        return _of_texts(name, series.cat.codes.to_numpy(), texts)
    if kind.startswith("datetime64"):
        if getattr(series.dtype, "tz", None) is not None:
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        return _of_days(name, series.to_numpy())
    if getattr(series.dtype, "kind", "O") in "fiub":  # also of the dtypes that know a missing value
        return _of_numbers(name, series.to_numpy(np.float64, na_value=np.nan), series.dtype.kind == "b")
    return _of_objects(name, series.tolist())


def _of_polars(name: str, series) -> Column:
    kind = str(series.dtype)
    if series.dtype.is_numeric() and not kind.startswith("Decimal"):
        return _of_numbers(name, series.cast(float).to_numpy())  # NumPy has no integers of 128 bits
    return _of_objects(name, series.to_list())


def _of_arrow(name: str, column) -> Column:
    kind = str(column.type)
    if kind.startswith(("int", "uint", "float", "double", "halffloat")):
        return _of_numbers(name, np.asarray(column))
    if kind.startswith(("timestamp", "date")):
        return _of_days(name, np.asarray(column))
    return _of_objects(name, column.to_pylist())
