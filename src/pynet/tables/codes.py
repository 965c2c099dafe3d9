"""What becomes of a number, a date and a category: each a few numbers of a row."""

from __future__ import annotations

import statistics

import numpy as np

from .. import _check
from ..config import expect_keys, expect_list
from .columns import Column
from .table import moments

__all__ = ["CODES", "PERIODS", "SCALINGS", "CategoryCode", "Code", "DateCode", "NumberCode", "learn"]

SCALINGS = ("standard", "quantile", "piecewise")
FILLS = ("median", "mean")
MAX_KNOTS = 1024
MAX_LEVELS = 4096  # of a category; rarer ones are one level together
RARE = 2  # a level in fewer rows than these is no level of its own
ROWS_OF_A_KNOT = 25  # of the training rows, at least, between two knots of "piecewise"
PERIODS = {"year": 365.2425, "week": 7.0, "day": 1.0}  # in days; week: of a Thursday, 1970-01-01
Z_MAX = 4.0  # of "quantile": the largest normal deviate


def learn(column: Column, scaling: str, missing: str, embed: int, knots: int | None):
    """Return the Code of a column as the rows trained on have it, or a text: why there is nothing to learn from it."""
    there = column[~column.missing]
    if not len(there):
        return "no row has a value"
    some_missing = len(there) < len(column)
    if column.kind == "category":
        return _learn_category(there, some_missing, embed)
    if not some_missing and (there.values == there.values[0]).all():
        return f"all rows have the value {there.values[0]:.6g}"
    values = there.values
    shift, deviation = (float(v[0]) for v in moments(values[:, None]))
    fill, scale = shift if missing == "mean" else 2.0 * float(np.median(values / 2.0)), 1.0  # no sum overflows
    if deviation > 1e-12 * abs(shift) and np.isfinite(1.0 / deviation):
        scale = 1.0 / deviation
    if column.kind == "date":
        return DateCode(column.name, fill, some_missing, shift, scale, bool((values % 1.0 != 0).any()))
    x: np.ndarray = np.zeros(0)
    z: np.ndarray = np.zeros(0)
    if scaling != "standard":
        count = max(2, min(48 if scaling == "piecewise" else 256, len(values) // ROWS_OF_A_KNOT))
        shares = np.linspace(0.0, 1.0, 1 + (count if knots is None else knots))
        quantiles = np.quantile(values, shares, method="inverted_cdf")  # values that occur
        x, place = np.unique(quantiles, return_inverse=True)
        distinct = np.concatenate([[True], _is_apart(x)])
        x, place = x[distinct], (np.cumsum(distinct) - 1)[place.reshape(-1)]
        if scaling == "quantile":
            normal = statistics.NormalDist()
            edge = normal.cdf(-Z_MAX)
            deviates = np.array([normal.inv_cdf(min(max(p, edge), 1 - edge)) for p in shares.tolist()])
            z = np.bincount(place, deviates) / np.bincount(place)  # of equal quantiles the mean
        if len(x) < (3 if scaling == "piecewise" else 2):  # a ramp between two values is what "standard" says already
            x, z = np.zeros(0), np.zeros(0)
    return NumberCode(column.name, fill, some_missing, shift, scale, x, z)


def _is_apart(x: np.ndarray) -> np.ndarray:
    """Whether a knot is so far from the one before it that 1 / distance is finite."""
    return np.diff(x) > 1e-12 * np.maximum(np.abs(x[1:]), 1e-290)


def _learn_category(there: Column, some_missing: bool, embed: int):
    counts = np.bincount(there.values, minlength=len(there.levels))
    kept = [k for k in np.argsort(-counts, kind="stable").tolist() if counts[k] >= RARE][:MAX_LEVELS]
    rest = int((counts > 0).sum()) - len(kept)
    if not kept:
        return f"all {len(there)} values differ, such as {there.levels[there.values[0]][:40]!r}"
    if len(kept) == 1 and not rest and not some_missing:
        return f"all rows have the value {there.levels[kept[0]]!r}"
    levels = sorted(there.levels[k] for k in kept)
    dimensions = min(50, round(1.6 * len(levels) ** 0.56)) if embed and len(levels) > embed else 0
    return CategoryCode(there.name, levels, some_missing, rest > 0, dimensions)


class Code:
    """What a column becomes.

    Attributes
    ----------
    kind : str
        Of the column.
    name : str
    width : int
        How many numbers.
    """

    kind, name, width = "", "", 0

    def encode(self, column: Column, out: np.ndarray) -> None:
        """Write the numbers [N, width] to `out`, which holds zeros."""
        raise NotImplementedError

    def config(self) -> dict:
        """Return the code as JSON, without its kind."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, where: str, entry: dict) -> Code:
        """Return the code that `config` was made from; ValueError that begins with `where`."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self.name}: {self.told()}>"

    def told(self) -> str:
        """Return in words what becomes of the column."""
        raise NotImplementedError


class NumberCode(Code):
    """A number: standardised, or by quantiles, or standardised and in pieces; and whether it was missing.

    Parameters
    ----------
    name : str
    fill : float
        What stands for a missing number.
    indicator : bool
        Whether there is one number more, 1 where it was missing.
    shift, scale : float
        (x - shift) scale has mean 0 and deviation 1.
    x, z : float64 arrays, strictly rising
        Without x: "standard", only that number.  x alone: "piecewise", behind it one number for each piece between
        neighbours of x, 0 below, 1 above, linear inside (the piecewise linear encoding by quantiles of Gorishniy et
        al. 2022, arXiv:2203.05556).  Both: "quantile", z linear between the points (x, z), constant outside, instead
        of the standardised number.
    """

    kind = "number"

    def __init__(self, name: str, fill: float, indicator: bool, shift: float, scale: float, x, z) -> None:
        self.name, self.fill, self.indicator, self.shift, self.scale = name, fill, indicator, shift, scale
        self.x, self.z = np.asarray(x, np.float64), np.asarray(z, np.float64)
        self.slopes = 1.0 / np.diff(self.x) if len(self.x) and not len(self.z) else np.zeros(0)
        self.width = 1 + len(self.slopes) + indicator

    def encode(self, column, out):
        """See Code."""
        missing = np.isnan(column.values)
        values = np.where(missing, self.fill, column.values)
        out[:, 0] = np.interp(values, self.x, self.z) if len(self.z) else (values - self.shift) * self.scale
        for k, slope in enumerate(self.slopes.tolist()):
            out[:, 1 + k] = np.clip((values - self.x[k]) * slope, 0.0, 1.0)
        if self.indicator:
            out[:, -1] = missing

    def config(self):
        """See Code."""
        entry = {key: getattr(self, key) for key in ("name", "fill", "indicator", "shift", "scale")}
        return entry | {"x": self.x.tolist(), "z": self.z.tolist()}

    @classmethod
    def from_config(cls, where, entry):
        """See Code."""
        keys = ("name", "fill", "indicator", "shift", "scale", "x", "z")
        expect_keys(where, entry, keys, keys)
        x, z = (_rising(f"{key} of {where}", entry[key]) for key in ("x", "z"))
        if len(z) not in (0, len(x)) or len(x) == 1:
            raise ValueError(f"{where} has {len(x)} numbers x and {len(z)} numbers z")
        return cls(*_common(where, entry), *_numbers(where, entry, "shift", "scale"), x, z)

    def told(self):
        """See Code."""
        how = f"quantiles at {len(self.x)} points" if len(self.z) else "standardised"
        pieces = f", {len(self.slopes)} pieces" if len(self.slopes) else ""
        return f"number, {how}{pieces}{', or missing' if self.indicator else ''}"


class DateCode(Code):
    """A date: days since 1970-01-01 standardised; sine and cosine of its place in the year, in the week, and, where
    there were times of day, in the day; and whether it was missing.  Parameters as of NumberCode; time: of day."""

    kind = "date"

    def __init__(self, name: str, fill: float, indicator: bool, shift: float, scale: float, time: bool) -> None:
        self.name, self.fill, self.indicator, self.shift, self.scale = name, fill, indicator, shift, scale
        self.time = time
        self.periods = [days for unit, days in PERIODS.items() if time or unit != "day"]
        self.width = 1 + 2 * len(self.periods) + indicator

    def encode(self, column, out):
        """See Code."""
        missing = np.isnan(column.values)
        values = np.where(missing, self.fill, column.values)
        out[:, 0] = (values - self.shift) * self.scale
        for k, period in enumerate(self.periods):
            turns = values / period
            turns -= np.floor(turns)
            out[:, 1 + 2 * k] = np.sin(2.0 * np.pi * turns)
            out[:, 2 + 2 * k] = np.cos(2.0 * np.pi * turns)
        if self.indicator:
            out[:, -1] = missing

    def config(self):
        """See Code."""
        return {key: getattr(self, key) for key in ("name", "fill", "indicator", "shift", "scale", "time")}

    @classmethod
    def from_config(cls, where, entry):
        """See Code."""
        keys = ("name", "fill", "indicator", "shift", "scale", "time")
        expect_keys(where, entry, keys, keys)
        return cls(*_common(where, entry), *_numbers(where, entry, "shift", "scale"), _flag(where, entry, "time"))

    def told(self):
        """See Code."""
        units = ", ".join(list(PERIODS)[: len(self.periods)])
        return f"date: days, {units}{', or missing' if self.indicator else ''}"


class CategoryCode(Code):
    """A category: a 1 at the place of its level, else 0.

    Parameters
    ----------
    name : str
    levels : list of str
        In rising order.
    missing : bool
        Whether missing values have a place of their own, behind the levels.  If not, they are like unknown ones.
    other : bool
        Whether unknown texts, and those too rare in training, have one, last of all.  If not, all numbers are 0.
    dimensions : int
        Of the vectors that the network learns for the levels, 0: none.
    """

    kind = "category"

    def __init__(self, name: str, levels: list[str], missing: bool, other: bool, dimensions: int) -> None:
        self.name, self.levels, self.has_missing, self.other = name, levels, missing, other
        self.dimensions = dimensions
        self.width = len(levels) + missing + other

    @property
    def place_of_other(self) -> int | None:
        """Where unknown texts have their 1."""
        return self.width - 1 if self.other else None

    @property
    def place_of_missing(self) -> int | None:
        """Where missing values have their 1."""
        return len(self.levels) if self.has_missing else self.place_of_other

    def encode(self, column, out):
        """See Code."""
        known = {text: place for place, text in enumerate(self.levels)}
        nowhere = self.width
        other = nowhere if self.place_of_other is None else self.place_of_other
        absent = nowhere if self.place_of_missing is None else self.place_of_missing
        places = np.array([*(known.get(text, other) for text in column.levels), absent], np.int64)[column.values]
        rows = np.flatnonzero(places < nowhere)
        out[rows, places[rows]] = 1

    def config(self):
        """See Code."""
        entry = {key: getattr(self, key) for key in ("name", "levels", "other", "dimensions")}
        return entry | {"missing": self.has_missing}

    @classmethod
    def from_config(cls, where, entry):
        """See Code."""
        keys = ("name", "levels", "missing", "other", "dimensions")
        expect_keys(where, entry, keys, keys)
        levels = expect_list(f"levels of {where}", entry["levels"], 1, MAX_LEVELS)
        if not all(isinstance(text, str) for text in levels) or sorted(set(levels)) != levels:
            raise ValueError(f"levels of {where} must be different texts in rising order")
        missing, other = (_flag(where, entry, key) for key in ("missing", "other"))
        dimensions = _check.integer(f"dimensions of {where}", _plain(where, entry, "dimensions"), 0, 1000)
        return cls(_name(where, entry), levels, missing, other, dimensions)

    def told(self):
        """See Code."""
        more = ", or missing" * self.has_missing + ", or another" * self.other
        vectors = f", vectors of {self.dimensions}" if self.dimensions else ""
        return f"category, {len(self.levels)} levels{more}{vectors}"


CODES: dict[str, type[Code]] = {code.kind: code for code in (NumberCode, DateCode, CategoryCode)}


# ---- checks of JSON --------------------------------------------------------------------------------------------------


def _name(where: str, entry: dict) -> str:
    if not isinstance(entry["name"], str):
        raise ValueError(f"name of {where} must be a text, got {type(entry['name']).__name__}")
    return entry["name"]


def _common(where: str, entry: dict) -> tuple[str, float, bool]:
    return _name(where, entry), _numbers(where, entry, "fill")[0], _flag(where, entry, "indicator")


def _flag(where: str, entry: dict, key: str) -> bool:
    if not isinstance(entry[key], bool):
        raise ValueError(f"{key} of {where} must be true or false, got {str(entry[key])[:40]!r}")
    return entry[key]


def _plain(where: str, entry: dict, key: str):
    """Return a number; TypeErrors of _check are ValueErrors here."""
    if isinstance(entry[key], bool) or not isinstance(entry[key], (int, float)):
        raise ValueError(f"{key} of {where} must be a number, got {str(entry[key])[:40]!r}")
    return entry[key]


def _numbers(where: str, entry: dict, *keys: str) -> list[float]:
    return [_check.number(f"{key} of {where}", _plain(where, entry, key)) for key in keys]


def _rising(where: str, entry) -> np.ndarray:
    values = expect_list(where, entry, 0, MAX_KNOTS)
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        raise ValueError(f"{where} must be numbers")
    array = np.array([float(v) for v in values])
    with np.errstate(over="ignore"):
        if not np.isfinite(array).all() or (np.diff(array) <= 0).any() or not np.isfinite(1 / np.diff(array)).all():
            raise ValueError(f"{where} must be finite and strictly rising")
    return array
