"""Tables with every kind of column, and models of them, that the tests of tables share."""

import datetime
import functools

import numpy as np

from pynet.tabular import TableModel

CITIES = ["Zürich", "Bern", 'Quote"d', "Rio\\", "a?b", "é", "z", "New York"]
DAY = datetime.date(2023, 1, 1)


def table(rows: int = 400, seed: int = 0) -> dict:
    """Columns as lists: numbers with and without missing ones, categories with rare and missing ones, dates, times."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, rows).astype(float)
    gain = np.where(rng.random(rows) < 0.7, 0.0, rng.lognormal(8, 1, rows))
    city = rng.choice(CITIES, rows).tolist()
    colour = rng.choice(["red", "green"], rows).tolist()
    days = rng.integers(0, 700, rows)
    minutes = rng.integers(0, 400_000, rows)
    score = (age - 50) / 10 + 2 * (gain > 0) + np.array([len(c) for c in city]) - 4 + (colour.count("red") > 0)
    score = score + np.sin(2 * np.pi * days / 365.25)
    columns = {
        "age": _with_gaps(age.tolist(), rng, 0.1),
        "net_worth": gain.tolist(),
        "int": rng.integers(0, 2, rows).astype(bool).tolist(),
        "city-of birth": _with_gaps(city, rng, 0.1),
        "colour": colour,
        "day": _with_gaps([DAY + datetime.timedelta(days=int(d)) for d in days], rng, 0.05),
        "moment": [datetime.datetime(2024, 2, 28) + datetime.timedelta(minutes=int(m)) for m in minutes],
        "price": (1e4 * score + 5e4).tolist(),
        "income": np.where(score > np.median(score), ">50K", "<=50K").tolist(),
    }
    columns["city-of birth"][:2] = ["Nowhere", "Somewhere"]  # one row each: too rare for levels
    return columns


def _with_gaps(values: list, rng, share: float) -> list:
    return [None if gone else value for value, gone in zip(values, rng.random(len(values)) < share, strict=True)]


def edges() -> dict:
    """Rows of which nothing is known, or that are unlike all of training."""
    some = table(6, seed=9)
    for name, values in some.items():
        values[0] = None
        some[name] = values
    some["age"][1:4] = [-1e6, 1e6, 18.0]
    some["net_worth"][1:4] = [None, 1e9, -5.0]
    some["city-of birth"][1:4] = ["not seen", "", "New York"]
    some["colour"][1:4] = ["blue", "Red", "NA"]
    some["day"][1:4] = [datetime.date(1931, 5, 7), datetime.date(2100, 12, 31), None]
    some["moment"][1:3] = [datetime.datetime(1969, 12, 31, 23, 59, 59), None]
    return some


SETTINGS = {
    "classes": ("income", {}),
    "numbers": ("price", {"scaling": "standard", "missing": "mean"}),
    "quantiles and vectors": ("income", {"scaling": "quantile", "embed": 3, "hidden": [8]}),
    "float64": ("price", {"dtype": "float64", "hidden": [8]}),
}


@functools.cache
def model(name: str) -> TableModel:
    """A small model, trained for a moment."""
    target, options = SETTINGS[name]
    columns = table()
    columns.pop("price" if target == "income" else "income")
    options = {"hidden": [12, 12], "epochs": 3, "learning_rate": 0.01, **options}
    return TableModel(**options).fit(columns, target, verbose=0)
