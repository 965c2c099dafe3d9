"""The data inside the package, and the split that repeats."""

import hashlib
import os

import numpy as np
import pytest

from pynet import datasets


def test_digits_are_the_original_numbers():
    X, y = datasets.load_digits()
    assert (X.shape, X.dtype, y.shape, y.dtype) == ((1797, 64), np.uint8, (1797,), np.int64)
    assert (X.min(), X.max()) == (0, 16)
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    digest = hashlib.sha256(X.tobytes() + y.astype(np.uint8).tobytes()).hexdigest()
    assert digest == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
    assert y[:10].tolist() == list(range(10))
    assert X[0, :8].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_digits_are_small_and_credited():
    folder = os.path.join(os.path.dirname(datasets.__file__), "data")
    assert os.path.getsize(os.path.join(folder, "digits.npz")) < 60_000
    with open(os.path.join(folder, "LICENSE.digits"), encoding="utf-8") as file:
        text = file.read()
    for word in ("Alpaydin", "Kaynak", "CC BY 4.0", "10.24432/C50P49"):
        assert word in text


def test_every_call_returns_arrays_of_its_own():
    X, y = datasets.load_digits()
    X[:], y[:] = 99, 99
    assert datasets.load_digits()[0].max() == 16
    assert datasets.load_digits()[1].max() == 9


def test_split_is_a_partition_that_repeats():
    X, y = np.arange(100).reshape(50, 2), np.arange(50)
    parts = datasets.split(X, y, test=0.3, random_state=7)
    first, test, y_first, y_test = parts
    assert (len(first), len(test), len(y_first), len(y_test)) == (35, 15, 35, 15)
    assert sorted([*y_first, *y_test]) == list(range(50))
    assert np.array_equal(first, X[y_first])
    assert np.array_equal(test, X[y_test])
    assert list(y_test) != sorted(y_test)
    for again, part in zip(datasets.split(X, y, test=0.3, random_state=7), parts, strict=True):
        assert np.array_equal(again, part)
    assert not np.array_equal(datasets.split(X, y, test=0.3, random_state=8)[3], y_test)


def test_each_part_gets_a_row():
    X = np.zeros((2, 1))
    for share in (0.001, 0.5, 0.999):
        assert [len(part) for part in datasets.split(X, X, test=share)] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((np.zeros((3, 1)), np.zeros(4)), ValueError, r"same number of rows, got shapes \(3, 1\) and \(4,\)"),
        ((np.float64(3), np.float64(4)), ValueError, "same number of rows"),
        ((np.zeros((1, 1)), np.zeros(1)), ValueError, "at least two rows, got 1"),
        ((np.zeros((3, 1)), np.zeros(3), 0.0), ValueError, "between 0 and 1, got 0.0"),
        ((np.zeros((3, 1)), np.zeros(3), 1), ValueError, "between 0 and 1, got 1"),
        ((np.zeros((3, 1)), np.zeros(3), -0.1), ValueError, "between 0 and 1, got -0.1"),
        ((np.zeros((3, 1)), np.zeros(3), float("nan")), ValueError, "test must be finite"),
        ((np.zeros((3, 1)), np.zeros(3), "a"), TypeError, "test must be a number"),
    ],
)
def test_bad_splits(arguments, error, text):
    with pytest.raises(error, match=text):
        datasets.split(*arguments)
