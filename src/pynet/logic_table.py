"""Truth tables: from a list of outputs, or from an expression as text.

A function of n truth values is a column of 2^n outputs.  Row r belongs to the binary digits of r, the first input
being the most significant: (0, 0), (0, 1), (1, 0), (1, 1), as ``itertools.product((0, 1), repeat=n)`` counts.
"""

from __future__ import annotations

import re

import numpy as np

from . import _check

__all__ = ["MAX_INPUTS", "as_table", "assignments", "check_names", "read_expression"]

MAX_INPUTS = 12  # 4096 rows, 3^12 cubes: seconds, and integers of 64 bits suffice for every proof


def assignments(n: int) -> np.ndarray:
    """Return all rows of n truth values, in the order of every truth table here.

    Parameters
    ----------
    n : int
        Number of inputs, 1 to 12.

    Returns
    -------
    array of uint8 [2^n, n]
        Row r holds the binary digits of r, most significant first.

    Raises
    ------
    TypeError, ValueError
        n is no integer, or out of range.
    """
    n = _check.integer("n", n, 1, MAX_INPUTS)
    return (np.arange(2**n)[:, None] >> np.arange(n)[::-1] & 1).astype(np.uint8)


def as_table(outputs) -> tuple[np.ndarray, np.ndarray]:
    """Return a truth table as two bool arrays [2^n]: where the output is 1, and where it matters.

    Parameters
    ----------
    outputs : sequence of 0, 1 (or False, True) and None
        2^n of them, n = 1 to 12; None where the output does not matter.

    Raises
    ------
    TypeError
        `outputs` is no sequence.
    ValueError
        Its length is not 2^n, or an entry is none of 0, 1, None.
    """
    if isinstance(outputs, (str, bytes, dict, set)) or not hasattr(outputs, "__len__"):
        raise TypeError(f"outputs must be a list or an array of 0, 1 and None, got {type(outputs).__name__}")
    values = list(outputs)
    if len(values) not in [2**n for n in range(1, MAX_INPUTS + 1)]:
        raise ValueError(f"outputs must hold 2^n entries, n = 1 to {MAX_INPUTS}, got {len(values)}")
    for row, value in enumerate(values):
        if value is not None and (np.ndim(value) or value not in (0, 1)):
            raise ValueError(f"outputs must be 0, 1 or None, got {value!r} in row {row}")
    on = np.array([value is not None and bool(value) for value in values])
    return on, np.array([value is not None for value in values])


def check_names(names, n: int | None = None) -> list[str]:
    """Return the names of the inputs as a list; None: "x1", "x2", ...

    Raises
    ------
    TypeError, ValueError
        There are not n of them (None: 1 to 12), or one is no identifier, reserved, or there twice.
    """
    if names is None:
        return [f"x{i + 1}" for i in range(n or 0)]
    if isinstance(names, (str, bytes)) or not hasattr(names, "__iter__"):
        raise TypeError(f"names must be a list of str, got {type(names).__name__} {names!r}")
    names = list(names)
    if n is None and not 1 <= len(names) <= MAX_INPUTS:
        raise ValueError(f"names must be 1 to {MAX_INPUTS}, got {len(names)}")
    if n is not None and len(names) != n:
        raise ValueError(f"names must be {n}, one for each input, got {len(names)}")
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(f"names must be a list of str, got {type(name).__name__} {name!r}")
        if not _is_name(name):
            raise ValueError(f"names must be letters, digits and underscores, as of a variable, got {name!r}")
        if name in names[:i]:
            raise ValueError(f"names must differ, got {name!r} twice")
    return names


# ---- expressions ------------------------------------------------------------------------------------------------

NAME = re.compile(r"[^\W\d]\w*")
TOKEN = re.compile(r" *(?:([^\W\d]\w*|[01](?!\w)|[~&^|()])|$)")
LEVELS = (("|", np.logical_or), ("^", np.logical_xor), ("&", np.logical_and))  # the loosest first, as in Python
CONSTANTS = {"0": False, "1": True, "False": False, "True": True}
FOREIGN = {"and": "&", "or": "|", "not": "~", "xor": "^", "!": "~", "+": "|", "*": "&", "∧": "&", "∨": "|", "¬": "~"}


def read_expression(text: str, names=None) -> tuple[list[str], np.ndarray]:
    """Return the inputs of an expression and its truth table.

    Parameters
    ----------
    text : str
        Names, 0, 1 and, in falling precedence, ~ & ^ | with parentheses.
    names : list of str, optional
        The inputs, in order; further ones than the expression has are allowed.  None: in order of appearance.

    Returns
    -------
    names : list of str
    outputs : bool array [2^n]

    Raises
    ------
    TypeError, ValueError
        `text` is no str, or not an expression: the message points at the place.
    """
    if not isinstance(text, str):
        raise TypeError(f"expression must be a str, got {type(text).__name__}")
    reader = _Reader(re.sub(r"\s", " ", text))
    used = list(dict.fromkeys(token for token, _ in reader.tokens if _is_name(token)))
    if names is None and not used:
        reader.expression()  # something else may be wrong with it
        raise reader.error("a name was expected: a constant has inputs only if names=[...] says which", 0)
    if names is None and len(used) > MAX_INPUTS:
        raise ValueError(f"expression has {len(used)} names, the most is {MAX_INPUTS}")
    names = check_names(used if names is None else names)
    rows = assignments(len(names)).astype(bool)
    reader.columns = dict(zip(names, rows.T, strict=True))
    try:
        return names, np.broadcast_to(reader.expression(), len(rows)).copy()
    except RecursionError:
        raise ValueError("expression has too many parentheses inside each other") from None


def _is_name(token: str) -> bool:
    return bool(NAME.fullmatch(token)) and token not in CONSTANTS and token not in FOREIGN


class _Reader:
    """Reads by recursive descent, one call a level of precedence; every call returns a column of the truth table."""

    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.columns: dict[str, np.ndarray] = {}
        self.tokens: list[tuple[str, int]] = []  # with their positions; the last one is empty
        end = 0
        while not self.tokens or self.tokens[-1][0]:
            match = TOKEN.match(text, end)
            if not match:
                place = len(text) - len(text[end:].lstrip())
                raise self.error(f"{text[place]!r} is unknown here", place, text[place])
            end, token = match.end(), match[1] or ""
            self.tokens.append((token, end - len(token)))

    def error(self, fault: str, place: int, token: str = "") -> ValueError:
        """Return the error that shows the expression with a mark under `place`."""
        hint = f"; write {FOREIGN[token]}" if token in FOREIGN else ""
        first = max(0, place - 60)
        shown = self.text[first : first + 100]
        return ValueError(f"expression, position {place}: {fault}{hint}\n  {shown}\n  {' ' * (place - first)}^")

    def expression(self) -> np.ndarray:
        value = self._operation(0)
        token, place = self.tokens[self.at]
        if token == ")":
            raise self.error("this ')' closes nothing", place)
        if token:
            raise self.error(f"an operator (& ^ |) was expected, got {token!r}", place, token)
        return value

    def _operation(self, level: int) -> np.ndarray:
        if level == len(LEVELS):
            return self._operand()
        sign, compute = LEVELS[level]
        value = self._operation(level + 1)
        while self.tokens[self.at][0] == sign:
            self.at += 1
            value = compute(value, self._operation(level + 1))
        return value

    def _operand(self) -> np.ndarray:
        negated = False
        while self.tokens[self.at][0] == "~":
            negated, self.at = not negated, self.at + 1
        token, place = self.tokens[self.at]
        self.at += 1
        if token == "(":
            value = self._operation(0)
            self._close(place)
        elif token in CONSTANTS:
            value = np.array(CONSTANTS[token])
        elif token in self.columns:
            value = self.columns[token]
        elif _is_name(token):
            raise self.error(f"unknown name {token!r}{_check.suggest(token, self.columns)}", place)
        else:
            got = f"got {token!r}" if token else "but here it ends"
            raise self.error(f"a name, 0, 1, ~ or '(' was expected, {got}", place, token)
        return ~value if negated else value

    def _close(self, opened: int) -> None:
        token, place = self.tokens[self.at]
        if not token:
            raise self.error("this '(' is never closed", opened)
        if token != ")":
            raise self.error(f"an operator (& ^ |) or ')' was expected, got {token!r}", place, token)
        self.at += 1
