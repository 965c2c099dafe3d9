"""Exact networks for boolean functions, from a truth table or an expression.

A unit step(w.x + b) with weights 1 and -1 computes the AND, or the OR, of literals (McCulloch, Pitts 1943):

    AND of the p inputs and q negated inputs:  step(x.. - x.. - p + 1/2)
    OR of the same:                            step(x.. - x.. + q - 1/2)

and an OR of ANDs (disjunctive normal form) or an AND of ORs (conjunctive normal form) computes every function, so two
layers do.  All sums are whole numbers and all thresholds halves between: no row lies on an edge, nothing is rounded.

>>> model = pn.logic.from_expression("a & ~b | ~a & b")
>>> model.predict([[0, 0], [0, 1], [1, 0], [1, 1]])[:, 0]
array([0., 1., 1., 0.], dtype=float32)
"""

from __future__ import annotations

import math

import numpy as np

from . import _check
from .layers import Dense, Input
from .logic_minimize import minimal_terms
from .logic_separation import Separation, is_linearly_separable
from .logic_table import as_table, assignments, check_names, read_expression
from .model import Sequential

__all__ = [
    "AND", "NOT", "OR", "XOR", "Separation", "assignments", "formula", "from_expression", "from_truth_table",
    "hidden_units", "is_linearly_separable", "soften"
]  # fmt: skip

FORMS = ("cnf", "dnf")


def from_truth_table(outputs, form: str = "dnf", minimize: bool = True, names=None, dtype="float32") -> Sequential:
    """Return a network that computes a truth table.

    Parameters
    ----------
    outputs : sequence of 0, 1 and None
        The output of each of the 2^n rows, n = 1 to 12: row r has the binary digits of r as its inputs, the first
        input being the most significant, as `assignments` returns them.  None: the output does not matter.
    form : "dnf" or "cnf"
        An OR of ANDs, or an AND of ORs.
    minimize : bool
        True: as few hidden units as the form allows, and of such forms one with the fewest literals (nonzero weights).
        False: a hidden unit for every row that is 1 (cnf: 0), each reading all inputs.
    names : list of str, optional
        What the formula calls the inputs.  Default "x1", "x2", ...
    dtype : "float32" or "float64"

    Returns
    -------
    Sequential
        n inputs, the layer "terms" (of a cnf "clauses") and the layer "output" of one unit, all Dense with activation
        "step".  A single term or clause, and a term or clause of single literals, need no hidden layer and get none.
        ``metadata["logic"]`` holds form, names, formula, hidden_units and minimal: whether it is proven that the form
        has no smaller one.  (That can fail above 7 inputs, where the search for a proof stops after some seconds.)

    Raises
    ------
    TypeError, ValueError
        `outputs` is no truth table, the form is unknown, or the names do not fit.

    Notes
    -----
    Minimisation after Quine 1952 and McCluskey 1956, exact; see `pynet.logic_minimize`.

    Examples
    --------
    >>> model = pn.logic.from_truth_table([0, 1, 1, None], names=["a", "b"])
    >>> pn.logic.formula(model)
    'a | b'
    """
    on, care = as_table(outputs)
    names = check_names(names, len(on).bit_length() - 1)
    _check_form(form)
    if not isinstance(minimize, (bool, np.bool_)):
        raise TypeError(f"minimize must be True or False, got {minimize!r}")
    goal = on if form == "dnf" else care & ~on  # a cnf is the negation of a dnf of the negation
    terms, exact = minimal_terms(goal, care) if minimize else (_rows_as_terms(goal), False)
    return _network(terms if form == "dnf" else -terms, form, names, dtype, exact)


def from_expression(expression: str, form="dnf", minimize: bool = True, names=None, dtype="float32") -> Sequential:
    """Return a network that computes a boolean expression.

    Parameters
    ----------
    expression : str
        Names, 0 and 1 with ~ (not), & (and), ^ (exclusive or), | (or), in this order of precedence, which is
        Python's, and parentheses.  At most 12 names.
    form, minimize, dtype
        As of `from_truth_table`: what the network is made of is the function, not the way it is written.
    names : list of str, optional
        The inputs, in order; may contain more than the expression does.  Default: the names in order of appearance.

    Returns
    -------
    Sequential
        As `from_truth_table`.

    Raises
    ------
    TypeError, ValueError
        Not an expression (the message points at the place), or as `from_truth_table`.

    Examples
    --------
    >>> pn.logic.formula(pn.logic.from_expression("(a | b) & (a | ~b | c)"))
    'a | b & c'
    """
    names, outputs = read_expression(expression, names)
    return from_truth_table(outputs, form, minimize, names, dtype)


def AND(n: int = 2) -> Sequential:
    """Return one unit that is 1 if all of n inputs are: step(x1 + ... + xn - n + 1/2).

    Parameters
    ----------
    n : int, 1 to 10000
    """
    return _network(np.ones((1, _width(n)), int), "dnf", check_names(None, n), exact=True)


def OR(n: int = 2) -> Sequential:
    """Return one unit that is 1 if any of n inputs is: step(x1 + ... + xn - 1/2).

    Parameters
    ----------
    n : int, 1 to 10000
    """
    return _network(np.ones((1, _width(n)), int), "cnf", check_names(None, n), exact=True)


def NOT() -> Sequential:
    """Return one unit that is 1 if its input is 0: step(1/2 - x1)."""
    return _network(-np.ones((1, 1), int), "dnf", ["x1"], exact=True)


def XOR(n: int = 2, form: str = "dnf") -> Sequential:
    """Return a network that is 1 if an odd number of n inputs is.

    Its 2^(n-1) hidden units are the fewest of both forms: rows of equal parity differ in two inputs or more, so that
    no term covers two of them.

    Parameters
    ----------
    n : int, 1 to 12
    form : "dnf" or "cnf", default "dnf"
    """
    odd = assignments(n).sum(axis=1) % 2 == 1
    _check_form(form)
    terms = _rows_as_terms(odd if form == "dnf" else ~odd)
    return _network(terms if form == "dnf" else -terms, form, check_names(None, n), exact=True)


# ---- looking at a network, and training it on -------------------------------------------------------------------


def formula(model) -> str:
    """Return what a network of this module computes, as `from_expression` reads it; constants are "0" and "1".

    Parameters
    ----------
    model : Model

    Raises
    ------
    ValueError
        The model was not made here.  (A model that was saved and loaded was.)
    """
    return _logic(model)["formula"]


def hidden_units(model) -> int:
    """Return the number of hidden units of a network of this module; 0 if it is a single unit.

    Parameters
    ----------
    model : Model

    Raises
    ------
    ValueError
        The model was not made here.
    """
    return _logic(model)["hidden_units"]


def soften(model, gain: float | None = None) -> Sequential:
    """Return a copy of a network that can be trained further: sigmoid units, weights `gain` times as large.

    The derivative of step is 0, so nothing in an exact network learns.  Its softened copy starts as the same function,
    once its output is rounded, and learns from data: knowledge as initial weights, after Towell and Shavlik 1994
    ("Knowledge-based artificial neural networks", Artificial Intelligence 70).

    Parameters
    ----------
    model : Model
        Of this module.
    gain : float, optional
        > 0.  Default: the larger of 4 (as in that paper) and 2 ln(4 K) with K hidden units.  A hidden unit is then
        within exp(-gain/2) <= 1/(4K) of 0 or 1, so that they all together cannot move the last sum over its threshold:
        the rounded output is exact.  Less may not be.

    Returns
    -------
    Sequential
        Of the same dtype, with the names of layers and the metadata of `model`.

    Raises
    ------
    TypeError, ValueError
        The model is not of this module, or gain is no positive number.
    """
    _logic(model)
    if gain is None:
        gain = max(4.0, 2 * math.log(4 * max(1, hidden_units(model))))
    gain = _check.number("gain", gain, 0.0, low_open=True)
    dense = [layer for layer in model.layers if not layer.is_input]
    if any(layer.activation.name != "step" for layer in dense):
        raise ValueError(f"{model!r} has no step units to soften: was it softened before?")
    layers: list = [Input(model.inputs[0].width, name=model.names[model.layers[0]])]
    layers += [Dense(layer.units, activation="sigmoid", name=model.names[layer]) for layer in dense]
    soft = Sequential(layers, dtype=model.dtype)
    soft.set_weights([gain * array.astype(np.float64) for array in model.get_weights()])
    soft.metadata = {**model.metadata}
    return soft


def _logic(model) -> dict:
    if not hasattr(model, "metadata"):
        raise TypeError(f"model must be a pynet Model, got {type(model).__name__}")
    if not isinstance(model.metadata.get("logic"), dict):
        raise ValueError(f"{model!r} was not made by pynet.logic: its metadata has no entry 'logic'")
    return model.metadata["logic"]


# ---- from literals to layers ------------------------------------------------------------------------------------


def _network(groups: np.ndarray, form: str, names: list[str], dtype="float32", exact: bool = False) -> Sequential:
    """Return the network of a form.

    Parameters
    ----------
    groups : int array [K, n]
        The literals of each term or clause: 1 the input, -1 its negation, 0 neither.
    """
    groups = _in_order(groups)
    inner, outer = (_all, _any) if form == "dnf" else (_any, _all)
    sizes = np.abs(groups)
    if len(groups) == 1:
        gates = [inner(groups)]
    elif (sizes.sum(axis=1) == 1).all() and (sizes.sum(axis=0) <= 1).all():  # also no groups at all: a constant
        gates = [outer(groups.sum(axis=0, keepdims=True))]
    else:
        gates = [inner(groups), outer(np.ones((1, len(groups)), int))]
    hidden = len(groups) if len(gates) == 2 else 0
    layer_names = ["terms" if form == "dnf" else "clauses", "output"][-len(gates) :]
    layers = [
        Dense(len(bias), activation="step", name=name) for (_, bias), name in zip(gates, layer_names, strict=True)
    ]
    model = Sequential([Input(len(names), name="x"), *layers], dtype=dtype)
    model.set_weights([array for gate in gates for array in gate])
    text = _text(groups, form, names)
    model.metadata["logic"] = {
        "form": form, "names": names, "formula": text, "hidden_units": hidden, "minimal": bool(exact)
    }  # fmt: skip
    return model


def _all(literals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel [n, K] and bias [K] of units that AND the literals in each row of [K, n]."""
    return literals.T, 0.5 - (literals > 0).sum(axis=1)


def _any(literals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same for OR."""
    return literals.T, (literals < 0).sum(axis=1) - 0.5


def _text(groups: np.ndarray, form: str, names: list[str]) -> str:
    """Return the formula; an empty AND is 1, an empty OR is 0."""
    (inner, none_inside), (outer, none_outside) = (
        ((" & ", "1"), (" | ", "0")) if form == "dnf" else ((" | ", "0"), (" & ", "1"))
    )
    parts = []
    for group in groups:
        literals = [("~" if sign < 0 else "") + name for sign, name in zip(group, names, strict=True) if sign]
        text = inner.join(literals) or none_inside
        parts.append(f"({text})" if form == "cnf" and len(literals) > 1 and len(groups) > 1 else text)
    return outer.join(parts) or none_outside


def _in_order(groups: np.ndarray) -> np.ndarray:
    """Return terms or clauses in the order in which people write them: with a before with ~a before without."""
    rank = np.array([2, 0, 1])[groups]  # of 0, 1, -1
    return groups[np.lexsort(rank.T[::-1])]


def _rows_as_terms(on: np.ndarray) -> np.ndarray:
    """Return a term of all inputs for each row that is 1."""
    return 2 * assignments(len(on).bit_length() - 1)[on].astype(int) - 1


def _check_form(form: str) -> None:
    if form not in FORMS:
        raise _check.unknown("form", form, FORMS)


def _width(n: int) -> int:
    return _check.integer("n", n, 1, 10_000)
