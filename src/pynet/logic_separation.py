"""Linear separability of a boolean function, with a proof either way.

A unit step(w.x + b) computes a function if w.x + b > 0 on the rows where it is 1 and <= 0 where it is 0.  By Farkas's
lemma (1902) either such w and b exist, or there are multipliers y >= 0 of these inequalities whose sum reads 0 > 0.
One exact simplex finds whichever of them exists.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from .logic_table import as_table, assignments

__all__ = ["Separation", "is_linearly_separable"]


class Separation:
    """The answer of `is_linearly_separable`, true or false like a bool, and its proof.  ``print`` shows it.

    Parameters
    ----------
    on : bool array [2^n]
        The truth table.
    weights, bias, multipliers
        The attributes.

    Attributes
    ----------
    weights : array of int [n], or None
        Of a unit step(weights . x + bias) that computes the function; None if there is none.
    bias : float, or None
        A whole number and a half: no row lies on the edge.
    multipliers : dict of int -> int, or None
        {row: y}, all y > 0: the inequalities of these rows, y times each, add up to 0 > 0.  None if separable.
    """

    __slots__ = ("_on", "bias", "multipliers", "weights")

    def __init__(self, on: np.ndarray, weights=None, bias: float | None = None, multipliers: dict | None = None):
        self._on, self.weights, self.bias, self.multipliers = on, weights, bias, multipliers

    def __bool__(self) -> bool:
        return self.multipliers is None

    def __str__(self) -> str:
        n = len(self._on).bit_length() - 1
        if self.multipliers is None:
            return f"separable: step({_sum(self.weights, self.bias)})"
        lines = []
        for row, times in self.multipliers.items():
            values = assignments(n)[row]
            sign = ">" if self._on[row] else "<="
            lines.append(f"  {times} x  row {row:0{n}b}:  {_sum(values, None)} {sign} 0")
        return "\n".join(["not separable: these inequalities, added up, give 0 > 0", *lines])

    def __repr__(self) -> str:
        return f"<Separation {str(self).splitlines()[0]}>"


def _sum(factors, bias) -> str:
    """Return "w1 + w3 + b" of a row of truth values, or "2 x1 - x3 + 0.5" of weights and a bias."""
    if bias is None:
        return " + ".join([f"w{i + 1}" for i, factor in enumerate(factors) if factor] + ["b"])
    parts = [(f, f"x{i + 1}" if abs(f) == 1 else f"{abs(f)} x{i + 1}") for i, f in enumerate(factors) if f]
    parts.append((bias, f"{abs(bias):g}"))
    text = "".join(f" {'-' if factor < 0 else '+'} {part}" for factor, part in parts)
    return text.removeprefix(" + ") if text[1] == "+" else f"-{text[3:]}"


def is_linearly_separable(outputs) -> Separation:
    """Tell whether one threshold unit computes a function, and prove it.

    Parameters
    ----------
    outputs : sequence of 0, 1 and None
        The truth table, 2^n entries, n = 1 to 12, in the order of `assignments`; None: does not matter.

    Returns
    -------
    Separation
        True or false as a condition; holds the weights of a unit, or the multipliers that show that there is none.
        All arithmetic is in integers: the answer is exact.

    Raises
    ------
    TypeError, ValueError
        `outputs` is no truth table.

    Examples
    --------
    >>> print(pn.logic.is_linearly_separable([0, 1, 1, 0]))
    not separable: these inequalities, added up, give 0 > 0
      1 x  row 00:  b <= 0
      1 x  row 01:  w2 + b > 0
      1 x  row 10:  w1 + b > 0
      1 x  row 11:  w1 + w2 + b <= 0
    """
    on, care = as_table(outputs)
    rows = np.flatnonzero(care)
    X = assignments(len(on).bit_length() - 1)[rows].astype(np.int64)
    signs = np.where(on[rows], 1, -1)
    y, normal = _farkas(signs[:, None] * np.column_stack([X, np.ones_like(rows)]))
    if y is not None:
        return Separation(on, multipliers={int(row): int(times) for row, times in zip(rows, y, strict=True) if times})
    weights = normal[:-1] // max(1, int(np.gcd.reduce(normal[:-1])))
    if len(set(signs)) < 2:
        weights = np.zeros_like(weights)  # a constant
    sums = X @ weights
    below, above = sums[~on[rows]], sums[on[rows]]  # all of the first are smaller: the edge goes between
    edge = below.max() + 0.5 if len(below) else above.min() - 0.5 if len(above) else 0.5
    return Separation(on, weights=weights, bias=-float(edge))


def _farkas(Z: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Return y >= 0, not all zero, with y Z = 0; or, if there is none, None and v with Z v > 0.

    Phase one of the simplex method: y Z = 0 and sum y = 1, from artificial variables whose sum is minimised; at the
    end they are gone, or the multipliers of the constraints are v.  Bland's rule (1977), so that it ends; integer
    pivots (Edmonds 1967), so that it is exact: every entry is a minor of the first table, and for 12 inputs, by
    Hadamard's inequality, products of two of them stay below 2^58.
    """
    n, width = Z.shape
    table = np.zeros((width + 2, n + width + 2), np.int64)  # constraints and, last, reduced costs
    table[:width, :n], table[width, :n] = Z.T, 1
    table[:-1, n:-1] = np.eye(width + 1, dtype=np.int64)
    table[width, -1] = 1
    table[-1, :n], table[-1, -1] = -table[:-1, :n].sum(axis=0), -1
    basis, pivot = np.arange(n, n + width + 1), 1
    while (entering := np.flatnonzero(table[-1, :n] < 0)).size:
        column = entering[0]
        candidates = np.flatnonzero(table[:-1, column] > 0)
        ratios = [(Fraction(int(table[i, -1]), int(table[i, column])), basis[i], i) for i in candidates]
        row = min(ratios)[2]
        basis[row], old, pivot = column, pivot, table[row, column]
        kept = table[row].copy()
        table = (table * pivot - np.outer(table[:, column], kept)) // old
        table[row] = kept
    if table[-1, -1] == 0:
        y = np.zeros(n, np.int64)
        inside = basis < n
        y[basis[inside]] = table[:-1, -1][inside]
        return y // np.gcd.reduce(y), np.zeros(width, np.int64)
    return None, table[-1, n : n + width] - pivot
