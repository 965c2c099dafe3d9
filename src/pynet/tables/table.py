"""A table ready to learn from: features and a target; what is a class and what a quantity; the scaling of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import scores
from .._check import suggest
from .columns import Column, Frame, number_text

__all__ = [
    "CLASS_KINDS",
    "Table",
    "class_kind",
    "class_name",
    "fold_target_scaling",
    "judged",
    "moments",
    "scaled_target",
    "standardisation",
    "target_scaling",
    "target_values",
]

CLASS_KINDS: dict[str, Callable[[str], Any]] = {  # what makes classes of their names
    "text": str, "integer": int, "number": float, "boolean": "True".__eq__,
}  # fmt: skip
MAX_CLASSES = 20  # whole numbers with more different values than this are a quantity, not classes


class Table:
    """Features and a target, and what they are called.

    Attributes
    ----------
    X : ndarray [N, I], or Frame
        Numbers; or columns of any kind.
    feature_names : list of str
        One name a column of X.
    y : ndarray [N] or [N, O], or None
        The target as it stands in the file: numbers, or classes: texts or booleans.
    target_name : str or None
    """

    __slots__ = ("X", "feature_names", "target_name", "y")

    def __init__(self, X, feature_names: list[str], y: np.ndarray | None, target_name: str | None) -> None:
        self.X, self.feature_names, self.y, self.target_name = X, feature_names, y, target_name

    def looks_like_classes(self) -> bool:
        """Return whether the target is classes: texts, or whole numbers with at most 20 different values."""
        y = self.y
        if y is None or y.ndim != 1:
            return False
        if y.dtype.kind not in "fiub":
            return True
        return bool(np.all(y == np.round(y))) and len(np.unique(y)) <= MAX_CLASSES

    def labels(self, classes: list[str] | None = None) -> tuple[np.ndarray, list[str]]:
        """Return the target as labels 0..C-1 (int64) and the names of the classes, sorted.

        Parameters
        ----------
        classes : list, optional
            Known classes or their names, label 0 first.

        Raises
        ------
        ValueError
            There is no target of one column, or a target is none of the known names.
        """
        y = self.y
        if y is None or y.ndim != 1:
            raise ValueError(f"classes need a target of one column, got {'none' if y is None else y.shape}")
        values, labels = np.unique(y, return_inverse=True)
        names = [class_name(value) for value in values]
        if classes is None:
            return labels.reshape(-1).astype(np.int64), names
        known = [class_name(value) for value in classes]
        place = {name: label for label, name in enumerate(known)}
        for name in names:
            if name not in place:
                raise ValueError(
                    f"target {self.target_name!r} has the class {name!r}{suggest(name, known)}, which the model does "
                    f"not know (its classes: {', '.join(known[:20])}{' ...' if len(known) > 20 else ''})"
                )
        return np.array([place[name] for name in names], np.int64)[labels.reshape(-1)], known

    def rows(self, rows) -> Table:
        """Return some of the rows."""
        return Table(self.X[rows], self.feature_names, None if self.y is None else self.y[rows], self.target_name)

    @classmethod
    def of_frame(cls, frame: Frame, target: str | None, features: list[str] | None = None) -> Table:
        """Return the columns `features` (default: all others) of a frame, and the target, if there is one.

        Raises
        ------
        ValueError
            A column is not there, the target misses a value or holds dates, or no other column is left.
        """
        y = None if target is None else target_values(frame.column(target), frame.where)
        names = [name for name in frame.names if name != target] if features is None else features
        if not names:
            raise ValueError(f"{frame.where}no column is left to predict {target!r} from")
        return cls(frame.select(names), names, y, target)


def target_values(column: Column, where: str = "") -> np.ndarray:
    """Return a column as a target: numbers, booleans, or texts."""
    if column.kind == "date":
        raise ValueError(f"{where}the target {column.name!r} holds dates, expected numbers or texts")
    if column.missing.any():
        row = int(np.flatnonzero(column.missing)[0])
        what = f"the target {column.name!r} is missing (empty, ?, NA, None ...), expected a value"
        raise ValueError(f"{where}row {row}: {what}")
    if column.kind == "category":
        return column.texts().astype(str)
    return column.values.astype(bool) if column.boolean else column.values


def class_name(value) -> str:
    """Return the name of a class: the text itself, whole numbers without a point."""
    return number_text(float(value)) if isinstance(value, (float, np.floating)) else str(value)


def class_kind(y: np.ndarray) -> str:
    """Return what the classes of a target are, a key of CLASS_KINDS, which makes them of their names again."""
    if y.dtype.kind not in "fiub":
        return "text"
    if y.dtype.kind == "b":
        return "boolean"
    values = y.astype(np.float64)
    return "integer" if (np.abs(values) < 2.0**53).all() and (values == np.round(values)).all() else "number"


def standardisation(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `shift` and `scale` for ``pn.Input(..., shift=shift, scale=scale)``: mean 0, deviation 1.

    Parameters
    ----------
    X : array [N, I]
        The rows trained on, no others.  Bytes (uint8) are pixels: all columns get the same shift and scale.

    Returns
    -------
    shift, scale : float64 [I]
        The mean, and 1 / standard deviation; the scale of a constant column is 1.

    Raises
    ------
    ValueError
        X has no rows, or is no matrix.
    """
    X = np.asarray(X)
    if X.ndim != 2 or not len(X):
        raise ValueError(f"X must have shape [N, I] with at least one row, got {X.shape}")
    pixels = X.dtype == np.uint8
    shift, deviation = (np.broadcast_to(v, X.shape[1]).copy() for v in moments(X.reshape(-1, 1) if pixels else X))
    constant = deviation <= np.maximum(1e-12 * np.abs(shift), 1e-300)
    return shift, 1.0 / np.where(constant, 1.0, deviation)


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each column [N, C], [C] each; of numbers of any size that float64 holds."""
    values = np.asarray(values, np.float64)
    power = _power(values, 0)
    small = np.ldexp(values, -power)
    return np.ldexp(small.mean(axis=0), power), np.ldexp(small.std(axis=0), power)


def _power(values: np.ndarray, axis: int | None = None):
    """Return the power of two of the largest value: squares of numbers of its size could overflow, or vanish."""
    return np.frexp(np.abs(values).max(axis=axis))[1]


# ---- targets that are quantities -------------------------------------------------------------------------------------


def target_scaling(y: np.ndarray, dtype) -> dict[str, list[float]]:
    """Return mean and deviation of each column of a target [N] or [N, O], as {"shift": [O], "scale": [O]}.

    Raises
    ------
    ValueError
        A network of this dtype cannot answer with such numbers.
    """
    y = y.reshape(len(y), -1).astype(np.float64)
    limits, largest = np.finfo(dtype), np.abs(y).max()
    shift, deviation = moments(y)
    if largest > limits.max / 4:  # answers go beyond
        raise ValueError(f"the target holds {largest:.4g}, too large a number for {limits.dtype}")
    small = deviation[(deviation > 0) & (deviation < limits.tiny)]
    if len(small):
        raise ValueError(f"the target has a deviation of {small[0]:.4g}, too small a number for {limits.dtype}")
    return {"shift": shift.tolist(), "scale": np.where(deviation > 0.0, deviation, 1.0).tolist()}


def scaled_target(y: np.ndarray, scaling: dict[str, list[float]]) -> np.ndarray:
    """Return (y - shift) / scale [N, O]."""
    return (y.reshape(len(y), -1).astype(np.float64) - np.array(scaling["shift"])) / np.array(scaling["scale"])


def fold_target_scaling(model, layer: str, scaling: dict[str, list[float]]) -> None:
    """Let the last layer of a model, which is linear, answer in the target's own units."""
    shift, scale = np.array(scaling["shift"]), np.array(scaling["scale"])
    weights = model.state_dict()
    weights[f"{layer}.kernel"] = weights[f"{layer}.kernel"].astype(np.float64) * scale
    weights[f"{layer}.bias"] = weights[f"{layer}.bias"].astype(np.float64) * scale + shift
    model.load_state_dict(weights)


def judged(answer: np.ndarray, table: Table, classes: list[str] | None) -> dict[str, float]:
    """Return how good answers are: of classes [N, C] probabilities, else [N, O] numbers in the target's units.

    Returns
    -------
    dict
        accuracy, loss (mean cross-entropy) and right (how many are); or rmse, mae and r2 (of a constant target 1 if all
        answers are exact, else 0).
    """
    if classes:
        y = table.labels(classes)[0]
        right = int((answer.argmax(axis=1) == y).sum())
        return {"accuracy": right / len(y), "loss": scores.cross_entropy(y, answer.astype(np.float64)), "right": right}
    y, p = scores.check_numbers(table.y, answer)
    power = _power(np.stack([y, p]))
    mse, mae, r2 = (scores.metric(name, np.ldexp(y, -power), np.ldexp(p, -power)) for name in ("mse", "mae", "r2"))
    return {"rmse": float(np.ldexp(np.sqrt(mse), power)), "mae": float(np.ldexp(mae, power)), "r2": r2}
