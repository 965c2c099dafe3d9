"""Data to begin with: one real set inside the package, and a split that repeats."""

from __future__ import annotations

import os

import numpy as np

from ._check import number

__all__ = ["load_digits", "split"]


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
