"""Columns of tables: the same from pandas, polars, pyarrow, lists, arrays, CSV and Parquet; what is no column."""

import datetime
import decimal
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
import table_cases

from pynet.tables.columns import MISSING, Frame, days_of
from pynet.tables.files import read_frame


def same(a: Frame, b: Frame) -> None:
    assert a.names == b.names
    for x, y in zip(a.columns.values(), b.columns.values(), strict=True):
        assert (x.name, x.kind) == (y.name, y.kind)
        if x.kind == "category":
            assert x.texts().tolist() == y.texts().tolist(), x.name
        else:
            np.testing.assert_array_equal(x.values, y.values, err_msg=x.name)


@pytest.fixture(scope="module")
def lists():
    return table_cases.table(60)


def test_kinds(lists):
    frame = Frame.of(lists)
    kinds = {name: column.kind for name, column in frame.columns.items()}
    assert kinds == {
        "age": "number", "net_worth": "number", "int": "number", "city-of birth": "category", "colour": "category",
        "day": "date", "moment": "date", "price": "number", "income": "category",
    }  # fmt: skip
    assert frame.shape == (60, 9)
    assert frame.columns["int"].boolean
    assert frame.columns["age"].missing.sum() == lists["age"].count(None) > 0
    assert frame.columns["city-of birth"].missing.sum() == lists["city-of birth"].count(None) > 0


def test_all_sources_give_the_same_columns(lists, tmp_path):
    expected = Frame.of(lists)
    pandas = pd.DataFrame(lists)
    polars = pl.DataFrame(lists)
    same(Frame.of(pandas), expected)
    same(Frame.of(pandas.convert_dtypes()), expected)
    same(Frame.of(pandas.astype({"city-of birth": "category", "day": "datetime64[ns]"})), expected)
    same(Frame.of(polars), expected)
    same(Frame.of(polars.lazy()), expected)
    same(Frame.of(polars.with_columns(pl.col("city-of birth", "colour").cast(pl.Categorical))), expected)
    same(Frame.of(pa.Table.from_pylist(polars.to_dicts())), expected)
    same(Frame.of({name: pandas[name] for name in pandas}), expected)
    same(Frame.of({name: polars[name] for name in polars.columns}), expected)
    same(Frame.of({name: pandas[name].to_numpy() for name in pandas}), expected)
    pandas.to_csv(tmp_path / "t.csv", index=False)
    polars.write_csv(tmp_path / "u.csv")
    pandas.to_parquet(tmp_path / "t.parquet")
    polars.write_parquet(tmp_path / "u.parquet")
    for name in ("t.csv", "u.csv", "t.parquet", "u.parquet"):
        same(read_frame(tmp_path / name), expected)


def test_dates_beyond_those_of_python():
    """In units of a datetime64 of which microseconds would overflow, and a datetime would not exist."""
    year = 10**6 - 1970
    for unit in ("D", "h", "m", "s", "ms", "us"):
        moments = np.array([str(200_000 if unit == "us" else 10**6), "NaT"], "M8[Y]").astype(f"M8[{unit}]")
        days = Frame.of({"a": moments}).columns["a"].values
        assert abs(days[0] / 365.2425 - (198_030 if unit == "us" else year)) < 1
        assert np.isnan(days[1])
        if unit in ("s", "ms", "us"):
            arrow = pa.table({"a": pa.array(moments)}).append_column(
                "b", pa.array(moments).cast(pa.timestamp(unit, "UTC"))
            )
            for column in Frame.of(arrow).columns.values():
                np.testing.assert_array_equal(column.values, days)
    assert Frame.of({"a": np.array([3], "M8[12h]")}).columns["a"].values[0] == 1.5
    assert Frame.of({"a": np.array([86_400 * 10**9], "M8[ns]")}).columns["a"].values[0] == 1.0
    assert Frame.of(pa.table({"a": pa.array([36, None], pa.date32())})).columns["a"].values[0] == 36


def test_integers_of_128_bits():
    values = pl.Series("a", [2**100, None, -1], dtype=pl.Int128)
    np.testing.assert_array_equal(Frame.of(pl.DataFrame([values])).columns["a"].values, [2.0**100, np.nan, -1.0])


def test_dates_of_any_offset_and_absent_numbers_of_any_type():
    """Also of such as clocks had before there were time zones."""
    ahead = datetime.timezone(datetime.timedelta(minutes=17, seconds=30))
    moments = [datetime.datetime(1970, 1, 1, tzinfo=ahead), datetime.datetime(1970, 1, 1), None]
    assert Frame.of({"a": moments}).columns["a"].values[:2].tolist() == [-1050 / 86400, 0.0]
    texts = Frame.of({"a": ["x", np.float32("nan"), float("nan"), None, np.datetime64("NaT")]}).columns["a"]
    assert texts.texts().tolist() == ["x", None, None, None, None]
    with pytest.raises(ValueError, match="column 'a' holds a number that is too large"):
        Frame.of({"a": [1, 10**400]})


def test_what_numpy_masks_is_missing():
    mask, nothing = [False, True], np.ma.array([1.0, 2.0])
    made = {
        "f": np.ma.array([1.5, 2.5], mask=mask), "i": np.ma.array([3, 4], mask=mask),
        "b": np.ma.array([True, True], mask=mask), "s": np.ma.array(["x", "y"], mask=mask),
        "d": np.ma.array(np.array([1, 2], "M8[D]"), mask=mask), "n": np.ma.array(np.array([1, 2], "M8[ns]"), mask=mask),
        "whole": nothing,
    }  # fmt: skip
    frame = Frame.of(made)
    assert [column.missing.tolist() for column in frame.columns.values()] == [mask] * 6 + [[False, False]]
    assert [frame.columns[name].values[0] for name in "fibd"] == [1.5, 3, 1, 1]
    assert [frame.columns[name].kind for name in "fibsdn"] == ["number"] * 3 + ["category"] + ["date"] * 2
    assert frame.columns["b"].boolean
    rows = np.ma.array([[1.0, 2.0], [3.0, 4.0]], mask=[mask, [False, False]])
    np.testing.assert_array_equal(Frame.of(rows).columns["column_2"].values, [np.nan, 4.0])


def test_batches_of_pyarrow_may_miss_values():
    days, numbers = pa.array([datetime.date(1970, 1, 3), None]), pa.array([1, None])
    frame = Frame.of(pa.RecordBatch.from_arrays([days, numbers], ["d", "n"]))
    np.testing.assert_array_equal(frame.columns["d"].values, [2.0, np.nan])
    np.testing.assert_array_equal(frame.columns["n"].values, [1.0, np.nan])


@pytest.mark.parametrize("unit", ["s", "ns", "D"])
def test_spans_of_time_are_refused_whatever_their_unit(unit):
    with pytest.raises(TypeError, match=rf"column 'a' holds timedelta64\[{unit}\]: make it numbers"):
        Frame.of({"a": np.array([1, 2], f"m8[{unit}]")})


def test_bytes_that_are_no_text_are_named():
    with pytest.raises(ValueError, match=r"column 'a' holds bytes that are no text in UTF-8: .*0xff"):
        Frame.of({"a": np.array([b"x", b"\xff"])})


def test_texts_that_are_dates():
    texts = Frame.of({"d": ["2024-02-29", None, "1969-12-31T12:00:00Z"], "no": ["2024-02-29", "soon", "2024-13-01"]})
    frame = texts.guessed()
    assert frame.columns["d"].values[[0, 2]].tolist() == [19782.0, -0.5]
    assert frame.columns["no"].kind == "category"
    assert texts.columns["d"].kind == texts.guessed(["d"]).columns["d"].kind == "category"


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("1970-01-02", 1.0), ("1970-01-01T06:00", 0.25), ("1970-01-01 12:00:00", 0.5),
        ("1970-01-02T00:00+02:00", 1 - 1 / 12), ("1970-01-01T00:00:43.2", 0.0005), ("2023-02-29", None),
        ("20240229", None), ("2024-W01-1", None), ("24-1-1", None),
        ("2024-01-01x", None), ("", None), ("٢٠٢٤-01-01", None),
    ],
)  # fmt: skip
def test_days(text, days):
    assert days_of(text) == (None if days is None else pytest.approx(days, abs=1e-12))


def test_missing_texts():
    column = Frame.of({"a": [*MISSING, " ? ", "x", None, float("nan"), "Na"]}).columns["a"]
    assert column.texts().tolist() == [None] * (len(MISSING) + 1) + ["x", None, None, "Na"]


def test_zones_become_utc():
    times = pd.to_datetime(["2024-01-01T00:00:00", None]).tz_localize("Europe/Berlin")
    series = pd.DataFrame({"t": times})
    expected = (datetime.datetime(2023, 12, 31, 23) - datetime.datetime(1970, 1, 1)) / datetime.timedelta(days=1)
    for table in (series, pl.from_pandas(series), pa.Table.from_pandas(series)):
        values = Frame.of(table).columns["t"].values
        assert values[0] == pytest.approx(expected)
        assert np.isnan(values[1])


def test_decimals_and_integers():
    frame = Frame.of(
        {"d": [decimal.Decimal("1.5"), None], "i": np.array([1, 2], np.int8), "b": np.array([True, False])}
    )
    assert frame.columns["d"].values[0] == 1.5
    assert frame.columns["i"].values.tolist() == [1.0, 2.0]
    assert Frame.of(pl.DataFrame({"d": [decimal.Decimal("1.5")]})).columns["d"].values[0] == 1.5
    assert frame.columns["b"].boolean
    days = Frame.of({"m": [np.datetime64("1970-01-02"), None, np.datetime64("1970-01-01T12:00")]}).columns["m"].values
    np.testing.assert_array_equal(days, [1, np.nan, 0.5])


def test_arrays():
    frame = Frame.of(np.arange(6.0).reshape(3, 2))
    assert frame.names == ["column_1", "column_2"]
    assert frame.columns["column_2"].values.tolist() == [1, 3, 5]
    structured = np.array([(1, "a"), (2, "b")], [("n", int), ("t", "U1")])
    assert Frame.of(structured).columns["t"].texts().tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=r"table must have 3 columns \(a, b, c\), got \(3, 2\)"):
        Frame.of(np.zeros((3, 2)), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"a": [1, "x"]}, TypeError, "column 'a' holds int and str"),
        ({"a": [datetime.timedelta(1)]}, TypeError, "column 'a' holds timedelta, expected numbers, texts or dates"),
        ({"a": [[1], [2]]}, TypeError, "column 'a' holds list"),
        ({"a": [1j]}, TypeError, "column 'a' holds complex"),
        ({"a": [1.0, float("inf")]}, ValueError, "row 1, column 'a': inf is not a finite number"),
        ({"a": [1], "b": [1, 2]}, ValueError, "the columns have different lengths: a 1, b 2"),
        ({"a": np.zeros((2, 2))}, ValueError, r"column 'a' has shape \(2, 2\)"),
        (3, TypeError, "table must be a DataFrame of pandas or polars, .* got int"),
        ("no file", TypeError, "got str"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "two columns are called 'a'"),
    ],
)
def test_what_is_no_table(table, error, message):
    with pytest.raises(error, match=message):
        Frame.of(table)


def test_as_another_kind():
    frame = Frame.of({"zip": [8001.0, 3000.5, None], "text": ["1", " 2.5", "no"], "flag": [True, False, None]})
    assert frame.columns["zip"].as_kind("category").texts().tolist() == ["8001", "3000.5", None]
    assert frame.columns["flag"].as_kind("category").texts().tolist() == ["True", "False", None]
    assert frame.columns["text"][:2].as_kind("number").values.tolist() == [
        1.0,
        2.5,
    ]  # a level that no row has is no fault
    with pytest.raises(ValueError, match="row 2, column 'text': 'no' is no finite number"):
        frame.columns["text"].as_kind("number")
    with pytest.raises(ValueError, match="column 'zip' holds numbers, expected dates"):
        frame.columns["zip"].as_kind("date")
    nothing = Frame.of({"a": [None, None]}).columns["a"]
    assert np.isnan(nothing.as_kind("date").values).all()
    assert nothing.as_kind("category").texts().tolist() == [None, None]


# ---- files -----------------------------------------------------------------------------------------------------------


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


CSV = 'when,"what, where",n,ok\n2024-01-02,"a ""b"", c",1,true\n,"two\nlines",?,false\n2024-01-03T06:00,NA,-2e3,true\n'


@pytest.mark.parametrize("text", [CSV, CSV.replace("\n2024", "\r\n2024"), "\ufeff" + CSV, CSV.replace("?", " nan ")])
def test_csv(tmp_path, text):
    frame = read_frame(write(tmp_path, text))
    assert frame.names == ["when", "what, where", "n", "ok"]
    np.testing.assert_array_equal(frame.columns["when"].values, [19724.0, np.nan, 19725.25])
    assert frame.columns["what, where"].texts().tolist() == ['a "b", c', "two\nlines", None]
    np.testing.assert_array_equal(frame.columns["n"].values, [1, np.nan, -2000])
    assert frame.columns["ok"].values.tolist() == [1, 0, 1]
    assert frame.columns["ok"].boolean


def test_csv_delimiters_and_columns_without_names(tmp_path):
    frame = read_frame(write(tmp_path, "1;2;x\n3;;y\n", "t.txt"))
    assert frame.names == ["1", "2", "x"]
    frame = read_frame(write(tmp_path, "1\t2\n3\t4\n", "t.tsv"))
    assert frame.names == ["column_1", "column_2"]
    assert frame.columns["column_2"].values.tolist() == [2, 4]
    (tmp_path / "t.csv").write_text(",a, \n0,1,\n1,2,\n")  # an index as pandas writes it, and a comma at the end
    assert read_frame(tmp_path / "t.csv").names == ["column_1", "a", "column_3"]


@pytest.mark.parametrize("late", ["x", "2024-01-01", "?"])
def test_a_guess_that_a_late_line_refutes(tmp_path, late):
    """Numbers, or dates, for thousands of lines; then something else."""
    numbers = "a,b\n" + "1,2024-01-01\n" * 3000 + f"{late},{late}\n"
    frame = read_frame(write(tmp_path, numbers))
    kinds = [column.kind for column in frame.columns.values()]
    assert kinds == {"x": ["category", "category"], "?": ["number", "date"], "2024-01-01": ["category", "date"]}[late]
    assert len(frame) == 3001
    if late == "x":
        assert frame.columns["a"].levels == ["1", "x"]


@pytest.mark.parametrize(
    ("text", "kinds", "message"),
    [
        ("", None, "the file is empty"),
        ("a,b\n", None, "no lines of cells below the column names a, b"),
        ("a,b\n1,2\n1\n", None, r"line 3: 1 cells, expected 2 \(a, b\)"),
        ("a,b\n1,2\n\n\nx,3\n", {"a": "number"}, r"line 5, column 'a': 'x' is not a finite number"),
        ("a,b\n1,2\n1_0,3\n", {"a": "number"}, r"line 3, column 'a': '1_0' is not a finite number"),
        ("a,b\n1,2\ninf,3\n", None, r"line 3, column 'a': 'inf' is not a finite number"),
        ("a,b\n1,2\n3,3\n", {"b": "date"}, r"line 2, column 'b': '2' is not a date like"),
        ("a,a\n1,2\n", None, "two columns are called 'a'"),
        ('a,b\n1,"2\n', None, r"line \d+: unexpected end of data"),
        (b"a,b\n\xff,2\n", None, "not a text in UTF-8"),
        ("a,y\n1,2\n3,\n", None, r"line 3, column 'y': the cell is empty"),
    ],
)
def test_csv_faults(tmp_path, text, kinds, message):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        read_frame(path, kinds, needed="y")
    assert str(caught.value).startswith(str(path))


def test_columns_by_name(tmp_path):
    csv, parquet = write(tmp_path, "a,b,c\n1,2,3\n"), tmp_path / "t.parquet"
    pl.DataFrame({"a": [1], "b": [2], "c": [3]}).write_parquet(parquet)
    for path in (csv, parquet):
        assert read_frame(path, names=["c", "a"]).names == ["c", "a"]
        with pytest.raises(ValueError, match=r"there is no column 'd' \(columns: a, b, c\)"):
            read_frame(path, names=["d"])


def test_other_files(tmp_path):
    with pytest.raises(
        ValueError, match=r"cannot tell the format from '.xlsx', expected a file .csv, .tsv, .txt or .parquet"
    ):
        read_frame("a.xlsx")
    for name in ("a.csv", "a.parquet"):
        with pytest.raises(FileNotFoundError):
            read_frame(tmp_path / name)
    with pytest.raises(ValueError, match=r"t\.parquet: not a Parquet file"):
        read_frame(write(tmp_path, "hello", "t.parquet"))


def test_parquet_needs_one_of_two_libraries(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": [1, None], "t": ["x", None]}).write_parquet(path)
    expected = read_frame(path)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    same(read_frame(path), expected)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match=r'needs pyarrow or polars .*: pip install "pynet\[tables\]"'):
        read_frame(path)
