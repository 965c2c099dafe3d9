"""The data inside the package, the split that repeats, sequences padded to one length."""

import hashlib
import os

import numpy as np
import pytest

import pynet as pn
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


# ---- sequences -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_padded_sequences(dtype):
    X, mask = datasets.pad_sequences([[[1, 2], [3, 4], [5, 6]], np.array([[7, 8]], np.uint8)], dtype=dtype)
    assert X.dtype == mask.dtype == dtype
    assert X.tolist() == [[[1, 2], [3, 4], [5, 6]], [[7, 8], [0, 0], [0, 0]]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert datasets.pad_sequences([[[1, 2]]])[0].dtype == np.float32


def test_padded_to_a_given_length():
    X, mask = datasets.pad_sequences([[[1], [2]], [[3]]], length=4)
    assert X[..., 0].tolist() == [[1, 2, 0, 0], [3, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
    assert datasets.pad_sequences([[[1], [2]]], length=2)[0].shape == (1, 2, 1)


def test_plain_numbers_are_sequences_of_one_feature():
    X, mask = datasets.pad_sequences(iter([[1.5, 2.5], (3.5,), np.array([[4.5], [5.5], [6.5]])]))
    assert X.shape == (3, 3, 1)
    assert X[..., 0].tolist() == [[1.5, 2.5, 0], [3.5, 0, 0], [4.5, 5.5, 6.5]]
    assert mask.sum(axis=1).tolist() == [2, 1, 3]


def test_an_lstm_sees_of_a_padded_sequence_what_it_sees_of_it_alone():
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(steps, 3)) for steps in (4, 7, 1, 5)]
    lstm = pn.LSTM(5)

    def net(steps):
        x, mask = pn.Input((steps, 3)), pn.Input(steps)
        return pn.Model([x, mask], lstm([x, mask]), dtype="float64")

    model = net(9)
    together = model.predict(list(datasets.pad_sequences(sequences, length=9, dtype="float64")))
    for sequence, row in zip(sequences, together, strict=True):
        alone = net(len(sequence))
        alone.set_weights(model.get_weights())
        assert np.allclose(alone.predict([sequence[None], np.ones((1, len(sequence)))])[0], row, rtol=1e-12, atol=0)


NAN, INF = [[1.0], [np.nan]], [[1.0], [np.inf]]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("abc",), TypeError, "sequences must be a list of arrays .steps, features., got str"),
        (({"a": [1]},), TypeError, "sequences must be a list .*, got dict"),
        ((3,), TypeError, "sequences must be a list .*, got int"),
        (([],), ValueError, "sequences must hold at least one sequence, got none"),
        (([[1.0], ["a"]],), TypeError, r"sequences\[1\] must be an array of real numbers, got dtype <U1"),
        (([[[1, 2], [3]]],), TypeError, r"sequences\[0\] must be an array of real numbers, got dtype object"),
        (([[1j]],), TypeError, r"sequences\[0\] must be an array of real numbers, got dtype complex128"),
        (([1.0, 2.0],), ValueError, r"sequences\[0\] must have shape \(steps, features\), .*, got \(\)"),
        (([np.ones((2, 3, 4))],), ValueError, r"sequences\[0\] must have shape .*, got \(2, 3, 4\)"),
        (([[1.0], []],), ValueError, r"sequences\[1\] must have shape .*, got \(0,\)"),
        (([np.ones((0, 3))],), ValueError, r"sequences\[0\] must have shape .*, got \(0, 3\)"),
        (([np.ones((2, 3)), np.ones((2, 4))],), ValueError, r"sequences\[1\] has 4 features, but sequences\[0\] 3"),
        (
            ([[1.0], [1.0, 2.0]], 1),
            ValueError,
            r"sequences\[1\] has 2 steps, more than length=1; cut it before: s\[:1\]",
        ),
        (([[1.0]], 0), ValueError, "length must be >= 1, got 0"),
        (([[1.0]], 2.5), TypeError, "length must be an integer, got float 2.5"),
        (([[1.0], NAN],), ValueError, r"sequences\[1\] holds a number that is not finite in float32"),
        (([INF, [1.0]], None, "float64"), ValueError, r"sequences\[0\] .* not finite in float64"),
        (([[1e39]],), ValueError, r"sequences\[0\] .* not finite in float32"),
        (([[1.0]], None, "int32"), ValueError, "dtype must be 'float32' or 'float64', got 'int32'"),
        (([[1.0]], None, None), ValueError, "dtype must be 'float32' or 'float64', got None"),
    ],
)
def test_bad_sequences(arguments, error, text):
    with pytest.raises(error, match=text):
        datasets.pad_sequences(*arguments)
