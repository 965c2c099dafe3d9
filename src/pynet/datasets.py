"""Data to begin with: one real set inside the package, a split that repeats, sequences padded to one length."""

from __future__ import annotations

import os

import numpy as np

from ._check import float_dtype, integer, number

__all__ = ["load_digits", "pad_sequences", "split"]


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 1797 handwritten digits, 8x8 pixels each.

    Returns
    -------
    X : ndarray of uint8 [1797, 64]
        Row by row, 0 (paper) to 16 (ink).
    y : ndarray of int64 [1797]
        The digit, 0 to 9.

    Notes
    -----
    The test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI Machine
    Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0; see pynet/data/LICENSE.digits.
    """
    with np.load(os.path.join(os.path.dirname(__file__), "data", "digits.npz"), allow_pickle=False) as data:
        return data["X"], data["y"].astype(np.int64)


def split(X, y, test: float = 0.25, random_state: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Split rows at random; the same arguments give the same rows on every machine.

    Parameters
    ----------
    X, y : array, N rows each
    test : float, default 0.25
        Share of the rows that the second part gets, between 0 and 1; rounded to whole rows, each part gets at least
        one.
    random_state : int, default 0

    Returns
    -------
    X_first, X_test, y_first, y_test : ndarrays
        Copies, in random order.

    Raises
    ------
    ValueError
        Different numbers of rows, fewer than two rows, or `test` not between 0 and 1.
    """
    X, y = np.asarray(X), np.asarray(y)
    if not X.ndim or not y.ndim or len(X) != len(y):
        raise ValueError(f"X and y must have the same number of rows, got shapes {X.shape} and {y.shape}")
    first, second = split_rows(len(X), test, random_state)
    return X[first], X[second], y[first], y[second]


def split_rows(n: int, test: float, random_state: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the row numbers of both parts of `split`."""
    from .philox import permutation

    if not 0.0 < number("test", test) < 1.0:
        raise ValueError(f"test must be a share between 0 and 1, got {test!r}")
    if n < 2:
        raise ValueError(f"a split needs at least two rows, got {n}")
    order = permutation(random_state, 0, n)
    n_test = min(max(round(n * test), 1), n - 1)
    return order[n_test:], order[:n_test]


def pad_sequences(sequences, length: int | None = None, dtype="float32") -> tuple[np.ndarray, np.ndarray]:
    """Make one array of sequences of different lengths, and the mask that tells steps from padding.

    Parameters
    ----------
    sequences : list of N array-likes [T_n, F], or [T_n] of one feature
        Real, finite numbers; T_n >= 1, and the same F for all.
    length : int, optional
        T, the steps that all get.  Default: those of the longest.  A longer sequence is an error: cut it yourself where
        that is meant, ``[s[:length] for s in sequences]``.
    dtype : "float32" or "float64"
        Of both arrays.  Default "float32".

    Returns
    -------
    X : ndarray [N, T, F]
        Sequence n in X[n, :T_n], then zeros.
    mask : ndarray [N, T]
        1 at the steps of a sequence, 0 at its padding: the second input of an LSTM, ``pn.LSTM(32)([x, mask])``.

    Raises
    ------
    TypeError
        `sequences` is no list of arrays of real numbers.
    ValueError
        There are none; one is empty, longer than `length`, of another number of features, or not finite; dtype is
        neither of the two.
    """
    dtype = float_dtype(dtype)
    arrays = _sequences(sequences)
    lengths = np.array([len(s) for s in arrays])
    steps = int(lengths.max()) if length is None else integer("length", length, 1)
    if steps < lengths.max():
        n = int(np.argmax(lengths > steps))
        raise ValueError(f"sequences[{n}] has {lengths[n]} steps, more than length={steps}; cut it before: s[:{steps}]")
    X = np.zeros((len(arrays), steps, arrays[0].shape[1]), dtype)
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        for row, sequence in zip(X, arrays, strict=True):
            row[: len(sequence)] = sequence
    finite = np.isfinite(X).all(axis=(1, 2))
    if not finite.all():
        raise ValueError(f"sequences[{int(np.argmin(finite))}] holds a number that is not finite in {dtype.name}")
    return X, (np.arange(steps) < lengths[:, None]).astype(dtype)


def _sequences(sequences) -> list[np.ndarray]:
    """Return them as arrays [T_n, F]."""
    if isinstance(sequences, (str, bytes, dict)) or not hasattr(sequences, "__iter__"):
        raise TypeError(f"sequences must be a list of arrays [steps, features], got {type(sequences).__name__}")
    result: list[np.ndarray] = []
    for n, sequence in enumerate(sequences):
        try:
            array = np.asarray(sequence)
        except ValueError:  # rows of different lengths inside one sequence
            array = np.empty(0, object)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"sequences[{n}] must be an array of real numbers, got dtype {array.dtype}")
        if array.ndim not in (1, 2) or not array.size:
            raise ValueError(
                f"sequences[{n}] must have shape (steps, features), at least (1, 1), or (steps,), got {array.shape}"
            )
        array = array.reshape(len(array), -1)
        if result and array.shape[1] != result[0].shape[1]:
            raise ValueError(f"sequences[{n}] has {array.shape[1]} features, but sequences[0] {result[0].shape[1]}")
        result.append(array)
    if not result:
        raise ValueError("sequences must hold at least one sequence, got none")
    return result
