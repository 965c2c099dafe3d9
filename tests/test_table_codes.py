"""What becomes of the columns of a table: numbers, texts, dates, and what is missing."""

import statistics

import numpy as np
import pytest

from pynet.tables.codes import learn
from pynet.tables.columns import Frame


def column(values, name="a"):
    return Frame.of({name: values}).columns[name]


def encoded(code, values) -> np.ndarray:
    """What becomes of values, [N, width], by itself."""
    out = np.zeros((len(values), code.width))
    code.encode(column(values).as_kind(code.kind), out)
    return out


def test_standard():
    values = [1.0, 2.0, None, 6.0]
    code = learn(column(values), "standard", "median", 0, None)
    deviation = np.std([1, 2, 6])
    expected = [[-2 / deviation, 0], [-1 / deviation, 0], [-1 / deviation, 1], [3 / deviation, 0]]  # the median is 2
    assert np.allclose(encoded(code, values), expected)
    mean = learn(column(values), "standard", "mean", 0, None)
    assert encoded(mean, [None])[0].tolist() == [0, 1]


def test_missing_at_predict_only():
    """Without an indicator it is the median."""
    code = learn(column([1.0, 2.0, 6.0]), "standard", "median", 0, None)
    assert code.width == 1
    assert encoded(code, [None]) == encoded(code, [2.0])


def test_piecewise():
    values = np.arange(101.0) ** 2
    code = learn(column(values), "piecewise", "median", 0, 4)
    assert code.x.tolist() == [0, 625, 2500, 5625, 10000]
    pieces = encoded(code, [-1.0, 0.0, 312.5, 2500.0, 4062.5, 20000.0])[:, 1:]
    assert pieces.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0.5, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0.5, 0], [1, 1, 1, 1]]
    assert encoded(code, values)[:, 0].std() == pytest.approx(1)


def test_ties_and_two_values_have_no_needless_pieces():
    code = learn(column([0.0] * 90 + [1.0, 2.0, 3.0] * 5), "piecewise", "median", 0, 20)
    assert (np.diff(code.x) > 0).all()
    assert len(code.x) < 21
    assert learn(column([0.0, 1.0] * 50), "piecewise", "median", 0, 20).width == 1


def test_quantile():
    rng = np.random.default_rng(0)
    values = rng.lognormal(3, 2, 20_000)
    code = learn(column(values), "quantile", "median", 0, None)
    z = encoded(code, values)[:, 0]
    assert abs(z.mean()) < 0.02
    assert z.std() == pytest.approx(1, abs=0.02)
    assert abs(((z - z.mean()) ** 3).mean()) < 0.1
    normal = statistics.NormalDist()
    for share in (0.1, 0.5, 0.9):
        assert encoded(code, [np.quantile(values, share)])[0, 0] == pytest.approx(normal.inv_cdf(share), abs=0.02)
    assert encoded(code, [-1e9, 1e9])[:, 0].tolist() == [z.min(), z.max()] == pytest.approx([-4, 4])
    tied = learn(column([5.0] * 900 + list(range(100))), "quantile", "median", 0, 50)
    assert (np.diff(tied.x) > 0).all()
    assert (np.diff(tied.z) > 0).all()


@pytest.mark.parametrize("size", [1e-290, 1e300])
def test_numbers_whose_squares_are_none(size):
    """They become what others become; no sum of them overflows."""
    values = [1.7, 0.9, 0.1, -1.7, 0.5, None]
    for missing in ("median", "mean"):
        usual = learn(column(values), "standard", missing, 0, None)
        far = [None if v is None else v * size for v in values]
        code = learn(column(far), "standard", missing, 0, None)
        assert encoded(code, far) == pytest.approx(encoded(usual, values), rel=1e-12)
    code = learn(column([1.7e308, 1.6e308, 0.0]), "standard", "median", 0, None)
    assert (code.fill, np.isfinite([code.shift, code.scale]).all()) == (1.6e308, True)


def test_category():
    code = learn(column(["b", "a", "a", "b", "rare", None]), "standard", "median", 0, None)
    assert code.levels == ["a", "b"]
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
    assert encoded(code, ["a", "b", None, "rare", "new"]).tolist() == expected
    plain = learn(column(["b", "a", "a", "b"]), "standard", "median", 0, None)
    assert encoded(plain, ["a", None, "new"]).tolist() == [[1, 0], [0, 0], [0, 0]]
    no_missing = learn(column(["b", "a", "a", "b", "rare"]), "standard", "median", 0, None)
    assert encoded(no_missing, ["a", None, "new"]).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]
    no_other = learn(column(["b", "a", "a", "b", None]), "standard", "median", 0, None)
    assert encoded(no_other, [None, "new"]).tolist() == [[0, 0, 1], [0, 0, 0]]
    assert learn(column(["a", "b", "c"] * 5), "standard", "median", 2, None).dimensions == round(1.6 * 3**0.56)


def test_date():
    days = ["2024-01-01", "2024-04-01", "2024-07-01", None]
    code = learn(column(days).as_kind("date"), "standard", "median", 0, None)
    made = encoded(code, days)
    assert made.shape == (4, 1 + 4 + 1)
    number = (np.datetime64("2024-04-01") - np.datetime64("1970-01-01")).astype(int)
    assert made[1, 1] == pytest.approx(np.sin(2 * np.pi * number / 365.2425))
    assert made[1, 2] == pytest.approx(np.cos(2 * np.pi * number / 365.2425))
    assert made[:3, 3].tolist() == pytest.approx(np.sin(2 * np.pi * np.array([4, 4, 4]) / 7).tolist())  # Mondays
    assert made[3].tolist() == pytest.approx([*made[1, :5], 1])
    times = learn(column(["2024-01-01T06:00", "2024-01-01"]).as_kind("date"), "standard", "median", 0, None)
    assert encoded(times, ["2024-01-01T06:00"])[0, 5:].tolist() == pytest.approx([1, 0], abs=1e-9)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([None, None], "no row has a value"), ([2.0, 2.0], "all rows have the value 2"),
        (["x", "x"], "all rows have the value 'x'"), (["x", "y", "z"], "all 3 values differ, such as 'x'"),
    ],
)  # fmt: skip
def test_columns_that_tell_nothing(values, why):
    assert learn(column(values), "piecewise", "median", 0, None) == why


def test_a_constant_that_is_sometimes_missing_tells_something():
    assert encoded(learn(column([2.0, 2.0, None]), "piecewise", "median", 0, None), [2.0, None]).tolist() == [
        [0, 0],
        [0, 1],
    ]
    assert learn(column(["x", "x", None]), "piecewise", "median", 0, None).width == 2
