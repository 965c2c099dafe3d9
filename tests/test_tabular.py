"""Tables from files: what is read, and that every fault names file, line and column."""

import io
import zipfile

import numpy as np
import pytest

from pynet import scores, tabular
from pynet.tables.table import judged

TABLE = "height,weight,age,kind\n1.5,60,20,cat\n1.75,70.5,31,dog\n-1e2,+3,4.0,cat\n"


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_csv(tmp_path):
    table = tabular.read_csv(write(tmp_path, TABLE))
    assert table.feature_names == ["height", "weight", "age"]
    assert table.target_name == "kind"
    assert table.X.dtype == np.float64
    assert table.X.tolist() == [[1.5, 60, 20], [1.75, 70.5, 31], [-100, 3, 4]]
    assert table.y.tolist() == ["cat", "dog", "cat"]
    assert table.looks_like_classes()
    labels, names = table.labels()
    assert (labels.tolist(), labels.dtype, names) == ([0, 1, 0], np.int64, ["cat", "dog"])


@pytest.mark.parametrize(
    "text",
    [
        TABLE.replace(",", ";"),
        TABLE.replace(",", "\t"),
        TABLE.replace("\n", "\r\n"),
        "\ufeff" + TABLE,
        TABLE.rstrip("\n"),
        TABLE.replace("\n", "\n\n"),
        TABLE.replace(",", " , "),
        TABLE.replace("cat", '"cat"').replace("height", '"height"'),
    ],
    ids=["semicolon", "tab", "CRLF", "BOM", "no last newline", "blank lines", "spaces", "quotes"],
)
def test_csv_dialects(tmp_path, text):
    table, expected = tabular.read_csv(write(tmp_path, text)), tabular.read_csv(write(tmp_path, TABLE, "u.csv"))
    assert np.array_equal(table.X, expected.X)
    assert table.feature_names == expected.feature_names
    assert table.y.tolist() == expected.y.tolist()


def test_csv_target_and_features_by_name(tmp_path):
    path = write(tmp_path, "a,b,c\n1,2,3\n4,5,6\n")
    table = tabular.read_csv(path, target="b")
    assert (table.feature_names, table.X.tolist(), table.y.tolist()) == (["a", "c"], [[1, 3], [4, 6]], [2, 5])
    table = tabular.read_csv(path, target="a", features=["c", "b"])
    assert table.X.tolist() == [[3, 2], [6, 5]]
    table = tabular.read_csv(path, need_target=False)
    assert (table.X.shape, table.y, table.target_name) == ((2, 3), None, None)
    table = tabular.read_csv(path, target="y", features=["a"], need_target=False)
    assert (table.X.tolist(), table.y) == ([[1], [4]], None)


def test_csv_without_names(tmp_path):
    table = tabular.read_csv(write(tmp_path, "1,2,3\n4,5,6\n"))
    assert (table.feature_names, table.target_name) == (["column_1", "column_2"], "column_3")
    assert (table.X.tolist(), table.y.tolist()) == ([[1, 2], [4, 5]], [3, 6])


def test_columns_that_are_not_read_may_hold_anything(tmp_path):
    path = write(tmp_path, "id,a,y\nanna,1,2\n,3,4\n")
    assert tabular.read_csv(path, features=["a"]).X.tolist() == [[1], [3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("a,b\n", "no lines of numbers below the column names a, b"),
        ("a,b\n1,2\nx,3\n", r"line 3, column 'a': 'x' is not a finite number"),
        ("a,b\n1,2\n\n\n ,3\n", r"line 5, column 'a': the cell is empty"),
        ("a,b\n1,2\nnan,3\n", r"line 3, column 'a': 'nan' is not a finite"),
        ("a,b\ninf,2\n", r"line 2, column 'a': 'inf' is not a finite"),
        ("a,b\n1_000,2\n", r"line 2, column 'a': '1_000' is not a finite"),
        ("a;b\n1,5;2\n", r"line 2, column 'a': '1,5' is not a finite"),
        ("a,b\n1,\n", r"line 2, column 'b': the target is empty"),
        ("a,b\n1,2,3\n", r"line 2: 3 cells, expected 2 \(a, b\)"),
        ("a,b\n1\n", r"line 2: 1 cells, expected 2"),
        ("a,a,b\n1,2,3\n", "two columns are called 'a'"),
        ("a\n1\n", "no column is left to predict 'a' from"),
        ('a,b\n1,"2\n', r"line \d+: unexpected end of data"),
        (b"a,b\n\xff,2\n", "not a text in UTF-8"),
    ],
)
def test_csv_faults(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        tabular.read_csv(path)
    assert str(caught.value).startswith(str(path))


def test_unknown_columns_get_a_suggestion(tmp_path):
    path = write(tmp_path, "height,weight,price\n1,2,3\n")
    with pytest.raises(
        ValueError, match=r"no column 'pryce', did you mean 'price'\? \(columns: height, weight, price\)"
    ):
        tabular.read_table(path, target="pryce")
    with pytest.raises(ValueError, match="no column 'wait', did you mean 'weight'"):
        tabular.read_table(path, features=["height", "wait"])


def test_classes_or_quantity():
    def looks(y):
        return tabular.Table(None, [], np.asarray(y), "y").looks_like_classes()

    assert looks(["a", "b"])
    assert looks([True, False])
    assert looks([0.0, 1.0, 2.0])
    assert looks(np.arange(20))
    assert not looks(np.arange(21))
    assert not looks([0.5, 1.0])
    assert not looks([[1], [2]])


def test_labels_with_known_classes():
    table = tabular.Table(np.zeros((3, 1)), ["a"], np.array([3.0, 1.0, 3.0]), "y")
    assert table.labels()[1] == ["1", "3"]
    assert table.labels(["3", "2", "1"])[0].tolist() == [0, 2, 0]
    with pytest.raises(ValueError, match=r"target 'y' has the class '3'.*its classes: 1, 2"):
        table.labels(["1", "2"])
    with pytest.raises(ValueError, match="one column"):
        tabular.Table(None, [], np.zeros((3, 2)), "y").labels()


def test_standardisation():
    rng = np.random.default_rng(0)
    X = rng.normal(3.0, [1e-6, 1.0, 1e6], (500, 3))
    X = np.concatenate([X, np.full((500, 1), 0.1), np.zeros((500, 1)), np.full((500, 1), 1e9)], axis=1)
    shift, scale = tabular.standardisation(X)
    Z = (X - shift) * scale
    assert np.allclose(Z.mean(axis=0), 0.0, atol=1e-6)
    assert np.allclose(Z[:, :3].std(axis=0), 1.0)
    assert scale[3:].tolist() == [1.0, 1.0, 1.0]
    assert np.allclose(Z[:, 3:], 0.0, atol=1e-6)


def test_pixels_share_one_scale():
    X = np.array([[0, 10], [0, 30]], np.uint8)
    shift, scale = tabular.standardisation(X)
    assert shift.tolist() == [10, 10]
    assert np.allclose(scale, 1.0 / np.std([0, 10, 0, 30]))


def test_a_table_without_rows_teaches_nothing():
    with pytest.raises(ValueError, match="the table has no rows"):
        tabular.TableModel().fit(tabular.Table(np.zeros((0, 2)), ["a", "b"], np.zeros(0), "y"))


@pytest.mark.parametrize("X", [np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(3)])
def test_what_cannot_be_standardised_is_named(X):
    with pytest.raises(ValueError, match=r"X must have shape \[N, I\] with at least one row, got \("):
        tabular.standardisation(X)


@pytest.mark.parametrize("size", [1e-300, 1e-180, 1e-10, 1e10, 1e180, 1e300])
def test_numbers_of_any_size_are_judged_alike(size):
    """Their squares are no numbers of float64."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(50, 2))
    p = y + 0.1 * rng.normal(size=(50, 2))
    usual, found = (judged(s * p, tabular.Table(None, [], s * y, "y"), None) for s in (1.0, size))
    assert usual["rmse"] == pytest.approx(np.sqrt(((p - y) ** 2).mean()), rel=1e-12)
    expected = {"rmse": size * usual["rmse"], "mae": size * usual["mae"], "r2": usual["r2"]}
    assert found == pytest.approx(expected, rel=1e-9, abs=0)


def test_errors_of_small_numbers_beside_large_ones_count():
    y, p = np.array([[1.0], [1e17]]), np.array([[1.5], [1e17]])
    assert [scores.metric(name, y, p) for name in ("mae", "mse", "r2")] == [0.25, 0.125, 1.0]


# ---- npz ---------------------------------------------------------------------------------------


def save(tmp_path, **arrays):
    path = tmp_path / "t.npz"
    np.savez(path, **arrays)
    return path


def test_npz_of_X_and_y(tmp_path):
    X, y = np.arange(24, dtype=np.uint8).reshape(4, 2, 3), np.array([[0], [1], [1], [0]])
    table = tabular.read_table(save(tmp_path, X=X, y=y, n_train=np.int64(3)))
    assert table.X.dtype == np.uint8
    assert table.X.tolist() == X.reshape(4, 6).tolist()
    assert table.feature_names == [f"x{k}" for k in range(6)]
    assert (table.y.tolist(), table.target_name) == ([0, 1, 1, 0], "y")
    assert table.looks_like_classes()


def test_npz_of_columns(tmp_path):
    path = save(tmp_path, a=np.arange(3), b=np.arange(3.0), c=np.array(["x", "y", "x"]))
    table = tabular.read_npz(path, target="c")
    assert (table.feature_names, table.X.tolist()) == (["a", "b"], [[0, 0], [1, 1], [2, 2]])
    assert table.labels()[0].tolist() == [0, 1, 0]
    assert tabular.read_npz(path, features=["b"], need_target=False).X.tolist() == [[0], [1], [2]]


def test_npz_with_other_names(tmp_path):
    path = save(tmp_path, X=np.zeros((3, 2)), height=np.array([0.5, 1, 2]), feature_names=np.array(["p", "q"]))
    table = tabular.read_npz(path, target="height")
    assert (table.target_name, table.feature_names) == ("height", ["p", "q"])
    assert tabular.read_npz(path, need_target=False).y is None


@pytest.mark.parametrize(
    ("arrays", "target", "message"),
    [
        ({"X": np.zeros((3, 2))}, None, "no column 'y'"),
        ({"X": np.zeros((3, 2)), "y": np.zeros(4)}, None, r"target 'y' has shape \(4,\), expected 3 rows"),
        ({"X": np.zeros((3, 2)), "y": np.array(["a", None, "b"], object)}, None, "allow_pickle"),
        ({"X": np.zeros((3, 2)), "y": np.array([1j, 2, 3])}, None, "complex128"),
        ({"X": np.zeros((3, 2)), "y": np.array([1, np.nan, 3])}, None, "target 'y' has NaN"),
        ({"X": np.array([[1, 2], [3, np.inf]]), "y": np.zeros(2)}, None, "row 1, column 'x1': inf"),
        ({"X": np.zeros((0, 2)), "y": np.zeros(0)}, None, r"X has shape \(0, 2\)"),
        ({"X": np.array([["a"]]), "y": np.zeros(1)}, None, "X has dtype <U1"),
        ({"a": np.zeros(3)}, None, "name the column to predict"),
        ({"a": np.zeros(3), "b": np.zeros(4), "c": np.zeros(3)}, "c", "all of one length"),
        ({"a": np.array(["x"]), "c": np.zeros(1)}, "c", "column 'a' has dtype <U1"),
        ({"a": np.zeros(3)}, "z", "no column 'z'"),
    ],
)
def test_npz_faults(tmp_path, arrays, target, message):
    path = save(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        tabular.read_npz(path, target=target)
    assert str(caught.value).startswith(str(path))


def test_files_that_are_no_archives(tmp_path):
    array, archive = io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros(3))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("X.npy", b"nothing")
    good = save(tmp_path, X=np.arange(600.0).reshape(300, 2), y=np.zeros(300)).read_bytes()
    for content in (b"", b"PK", b"hello", b"\x80\x04.", array.getvalue(), archive.getvalue(), good[:300], good[:-30]):
        path = write(tmp_path, content, "broken.npz")
        with pytest.raises(ValueError, match=r"broken\.npz: "):
            tabular.read_npz(path)


def test_unknown_format(tmp_path):
    with pytest.raises(
        ValueError, match=r"cannot tell the format from '.xlsx', expected a file .csv, .tsv, .txt or .npz"
    ):
        tabular.read_table(tmp_path / "a.xlsx")
    with pytest.raises(FileNotFoundError):
        tabular.read_table(tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError):
        tabular.read_table(tmp_path / "a.npz")
