"""What users pass as X: taken without a copy, converted without loss, or refused by name."""

import mmap
import sys

import numpy as np
import pytest

import pynet as pn
from pynet import arrays
from pynet.arrays import as_inputs, as_rows, check_finite, read_at_random, rows_ahead


def small():
    return pn.Sequential([pn.Input(4), pn.Dense(3)])


def test_rows_are_taken_without_a_copy():
    model = small()
    for X in (np.zeros((6, 4)), np.zeros((4, 6), "f4").T, np.zeros((12, 8), np.uint8)[::-2, ::2], np.zeros((0, 4))):
        (array,), n = as_inputs(model, X)
        assert n == len(X)
        assert np.shares_memory(array, X) or X.size == 0
        assert array.strides == X.strides


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_finite_is_not_the_same_as_a_finite_sum(dtype):
    X = np.full((9, 4), np.finfo(dtype).max, dtype)
    check_finite("X", X)
    X[2, 1], X[7, 3] = np.inf, -np.inf
    with pytest.raises(ValueError, match=r"X must be finite, got inf in row 2, column 1"):
        check_finite("X", X)


@pytest.mark.parametrize("dtype", ["?", "e", ">f4", ">i8", "i1", "u2", "f8"])
def test_every_real_dtype_keeps_its_values(dtype):
    X = np.array([[0, 1, 1, 0]] * 3).astype(dtype)
    (array,), _ = as_inputs(small(), X)
    np.testing.assert_array_equal(array, X)
    assert array.dtype.isnative
    assert array.dtype.kind in "iuf"


def test_a_misaligned_array_is_copied():
    X = np.frombuffer(b"\0" + np.arange(8.0).tobytes(), np.uint8)[1:].view(np.float64).reshape(2, 4)
    (array,), _ = as_inputs(small(), X)
    assert array.flags.aligned
    np.testing.assert_array_equal(array, X)


@pytest.mark.parametrize(
    ("X", "error", "text"),
    [
        (np.zeros((2, 5)), ValueError, r"X must have shape \[N, 4\], got \(2, 5\)"),
        (np.zeros(4), ValueError, r"one row: use predict_one\(x\), or X\[None\]"),
        (np.zeros((3, 2, 2)), ValueError, r"use X.reshape\(-1, 4\)"),
        (np.zeros((2, 4), complex), TypeError, "dtype complex128"),
        (np.full((2, 4), "a"), TypeError, r"dtype <U1; convert it"),
        (np.zeros((2, 4), object), TypeError, "dtype object"),
        (np.zeros((2, 4), "M8[s]"), TypeError, "dtype datetime64"),
        (None, TypeError, "dtype object"),
        ({"input": np.zeros((2, 4))}, ValueError, "unknown input 'input', did you mean 'input_1'"),
    ],
)
def test_data_that_is_refused(X, error, text):
    with pytest.raises(error, match=text):
        as_inputs(small(), X)


def test_a_single_feature_may_come_as_a_vector():
    model = pn.Sequential([pn.Input(1), pn.Dense(2)])
    (array,), n = as_inputs(model, np.arange(5))
    assert array.shape == (5, 1)
    assert n == 5


def test_several_inputs():
    a, b = pn.Input(2, name="a"), pn.Input(3, name="b")
    model = pn.Model([a, b], pn.Concat()([a, b]))
    A, B = np.zeros((5, 2)), np.ones((5, 3))
    for X in ([A, B], (A, B), {"b": B, "a": A}):
        arrays, n = as_inputs(model, X)
        assert n == 5
        assert [x.shape[1] for x in arrays] == [2, 3]
    for X, error, text in [
        (A, TypeError, "a list of 2 arrays or a dict of"),
        ([A], ValueError, r"must hold 2 arrays.*got 1"),
        ({"a": A}, ValueError, "no array for input 'b'"),
        ([A, B[:4]], ValueError, r"X\['b'\] has 4 rows, but X\['a'\] has 5"),
        ([B, A], ValueError, r"X\['a'\] must have shape \[N, 2\], got \(5, 3\)"),
    ]:
        with pytest.raises(error, match=text):
            as_inputs(model, X)


@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_half_precision_number_is_read_exactly(backend, dtype):
    model = pn.Sequential([pn.Input(64), pn.Activation("identity")], dtype=dtype)
    X = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(-1, 64)
    expected = X.astype(dtype)
    found = model.predict(X, backend=backend)
    assert np.array_equal(found, expected, equal_nan=True)
    assert np.array_equal(np.signbit(found), np.signbit(expected))
    strange = np.asfortranarray(X[::-1])  # not contiguous
    assert np.array_equal(model.predict(strange, backend=backend), expected[::-1], equal_nan=True)


def test_half_precision_is_not_copied():
    X = np.zeros((5, 3), np.float16)
    assert as_rows("X", X, 3) is X


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much of a process's memory is not a file's")
def test_memory_mapped_data_stay_in_their_file(tmp_path):
    """A data set of 64 MB takes no memory of the process but indices (16 bytes a row) and the batches."""

    def private():
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.uint8, (81920, 800))
    X[:, ::97] = np.arange(81920)[:, None] % 251
    X.flush()
    X, y = np.load(tmp_path / "X.npy", mmap_mode="r"), np.arange(81920) % 4
    trainer = pn.Trainer(pn.Sequential([pn.Input(800, scale=1 / 251), pn.Dense(4, "softmax")]), "cross_entropy")
    trainer.fit(X[:2048], y[:2048], epochs=1, batch_size=1024, verbose=0)  # makes the machine
    before = private()
    trainer.fit(X, y, epochs=2, batch_size=1024, verbose=0)
    trainer.evaluate(X, y)
    assert private() - before < 16


def test_rows_of_mapped_files_are_asked_for_in_advance(tmp_path):
    """At most 1024 of them and 32 MB."""
    narrow = np.memmap(tmp_path / "narrow", np.uint8, "w+", shape=(5, 10))
    wide = np.memmap(tmp_path / "wide", np.uint8, "w+", shape=(4, 16 << 20))
    assert rows_ahead([np.zeros((3, 4))]) == 0
    assert rows_ahead([np.zeros((3, 4)), np.asarray(narrow)[1:, ::2]]) == rows_ahead([narrow[::-1]]) == 1024
    assert rows_ahead([narrow, wide]) == 2
    with open(tmp_path / "narrow", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        held = np.frombuffer(mapping, np.uint8).reshape(5, 10)
        assert rows_ahead([held]) == 1024
        del held


def test_advice_is_taken_back(tmp_path, monkeypatch):
    X = np.memmap(tmp_path / "x", np.float32, "w+", shape=(40, 4))
    y = np.arange(40) % 3
    one = int(hasattr(mmap.mmap, "madvise"))  # not on Windows
    given = []
    monkeypatch.setattr(arrays, "_advise", lambda mappings, what: given.append((len(mappings), what)))
    with pytest.raises(ZeroDivisionError), read_at_random([X, np.zeros((40, 4))]):
        1 / 0  # noqa: B018
    assert given == [(one, "MADV_RANDOM"), (one, "MADV_NORMAL")]
    given.clear()
    trainer = pn.Trainer(pn.Sequential([pn.Input(4), pn.Dense(3, "softmax")]), "cross_entropy")
    for data, shuffle, mappings in ((X, True, one), (X, False, 0), (np.asarray(X).copy(), True, 0)):
        trainer.fit(data, y, epochs=1, shuffle=shuffle, verbose=0)
        assert given == [(mappings, "MADV_RANDOM"), (mappings, "MADV_NORMAL")]
        given.clear()
