"""Losses: what is minimised, which targets it accepts, and which output activation it absorbs.

With y the prediction, t the target and d = y - t, the loss of a row is the mean over its outputs, that of a batch
the (weighted) mean over its rows. Formulas and gradients stand in reference_losses.py.

A loss of your own is any object with ``value_and_gradient(prediction, target)``; it returns the mean loss of the batch
(a float) and the gradient of that mean by the prediction, [B, O].
"""

from __future__ import annotations

import numpy as np

from . import activations
from ._check import number
from ._record import Record, lookup
from .arrays import as_array, as_rows

__all__ = [
    "MAE", "MSE", "BinaryCrossEntropy", "CrossEntropy", "Huber", "LogCosh", "Loss", "LossSpec", "Poisson", "Quantile",
    "get"
]  # fmt: skip


class LossSpec:
    """A loss, resolved for one head of a network.

    Attributes
    ----------
    kind : str
        A name in ``_core.LOSSES``.
    parameter : float
        Its parameter (delta, tau), else 0.
    absorbs : "softmax", "sigmoid" or None
        The head's activation that is computed together with the loss: the loss reads the logits in front of it.
    """

    __slots__ = ("absorbs", "kind", "parameter")

    def __init__(self, kind: str, parameter: float = 0.0, absorbs: str | None = None) -> None:
        self.kind, self.parameter, self.absorbs = kind, parameter, absorbs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LossSpec) and all(getattr(self, s) == getattr(other, s) for s in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.kind, self.parameter, self.absorbs))

    def __repr__(self) -> str:
        return f"LossSpec({self.kind!r}, {self.parameter!r}, {self.absorbs!r})"


class Loss(Record):
    """Base of all losses; by itself one that reads the head's output and takes real targets [N, O]."""

    takes_logits = False  # of a head that does not end with the activation it goes with

    def resolve(self, head_activation, width: int, target=None) -> LossSpec:
        """Return the LossSpec for a head.

        Parameters
        ----------
        head_activation : Activation, name or None
            What the head's layer ends with.
        width : int
            O, outputs of the head.
        target : array, optional
            As returned by `check_target`; cross-entropy tells class numbers from rows of weights by it.

        Raises
        ------
        ValueError
            If the head cannot have this loss; the message says what to use.
        """
        return LossSpec(self.name, self.parameter)

    @property
    def parameter(self) -> float:
        """The number in the formula (delta, tau), 0 if there is none."""
        return getattr(self, self.fields[0]) if self.fields else 0.0

    def check_target(self, target, width: int, n_rows: int | None = None, name: str = "y") -> np.ndarray:
        """Return `target` as an array that a machine takes, without a copy where possible.

        Parameters
        ----------
        target : array-like [N, O], or [N] for a head with one output
            Numbers, all finite.
        width : int
            O, outputs of the head.
        n_rows : int, optional
            N, as many as there are inputs.
        name : str
            What the target is called in messages.

        Raises
        ------
        ValueError, TypeError
            If shape, dtype or a value is impossible; the message names the first such row.
        """
        return _real_rows(target, width, n_rows, name)


class MSE(Loss):
    """Mean squared error, d^2."""

    name = "mse"


class MAE(Loss):
    """Mean absolute error, |d|; gradient 0 at 0."""

    name = "mae"


class Huber(Loss):
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2) (Huber 1964).

    Parameters
    ----------
    delta : float > 0, default 1
    """

    name = "huber"
    fields = ("delta",)

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = number("delta", delta, 0.0, low_open=True)


class LogCosh(Loss):
    """log cosh d: d^2 / 2 near 0, |d| - log 2 far away."""

    name = "log_cosh"


class Quantile(Loss):
    """Pinball loss max(tau (t - y), (tau - 1) (t - y)) (Koenker, Bassett 1978).

    Parameters
    ----------
    tau : float inside (0, 1), default 0.5
        The share of targets that shall lie below the prediction.

    Raises
    ------
    ValueError
        tau is not inside (0, 1).
    """

    name = "quantile"
    fields = ("tau",)

    def __init__(self, tau: float = 0.5) -> None:
        self.tau = number("tau", tau, 0.0, 1.0, low_open=True)
        if self.tau == 1.0:
            raise ValueError("tau must be < 1, got 1.0")


class Poisson(Loss):
    """y - t log(y + 1e-7), for counts t >= 0 and a head that is never negative (exponential family, rate y)."""

    name = "poisson"

    def resolve(self, head_activation, width, target=None):
        act = activations.get(head_activation)
        if not act.nonnegative:
            raise ValueError(
                f"loss 'poisson' needs a head that is never negative, e.g. with activation 'softplus', got {act.name!r}"
            )
        return LossSpec(self.name)

    def check_target(self, target, width, n_rows=None, name="y"):
        rows = _real_rows(target, width, n_rows, name)
        _refuse(rows < 0, rows, name, "loss 'poisson' needs targets >= 0")
        return rows


class BinaryCrossEntropy(Loss):
    """-t log p - (1 - t) log(1 - p) with p = sigmoid(logit), for each output by itself; targets inside 0..1.

    A head that ends with sigmoid is fused with the loss; of any other head the outputs are taken as logits (an error
    where only a Dropout, GaussianNoise, GradientClip or Flatten stands behind the sigmoid).
    """

    name = "binary_cross_entropy"
    takes_logits = True

    def resolve(self, head_activation, width, target=None):
        act = activations.get(head_activation)
        if act.name == "softmax":
            raise ValueError(
                "loss 'binary_cross_entropy' does not go with a softmax head: use loss 'cross_entropy' if the classes "
                "exclude each other, else activation 'sigmoid'"
            )
        return LossSpec(self.name, 0.0, "sigmoid" if act.name == "sigmoid" else None)

    def check_target(self, target, width, n_rows=None, name="y"):
        rows = _real_rows(target, width, n_rows, name)
        _refuse((rows < 0) | (rows > 1), rows, name, "loss 'binary_cross_entropy' needs targets inside 0..1")
        return rows


class CrossEntropy(Loss):
    """-sum of t log p with p = softmax(logits), for classes that exclude each other.

    Targets are class numbers [N] in 0..O-1, or rows [N, O] of weights >= 0, one-hot or soft labels (their sum,
    1 as a rule, is the weight of the row; nobody checks it).
    A head that ends with softmax is fused with the loss; of any other head the outputs are taken as logits (an error
    where only a Dropout, GaussianNoise, GradientClip or Flatten stands behind the softmax).
    """

    name = "cross_entropy"
    takes_logits = True

    def resolve(self, head_activation, width, target=None):
        act = activations.get(head_activation)
        _refuse_one_class(width)
        if act.name == "sigmoid":
            raise ValueError(
                "loss 'cross_entropy' does not go with a sigmoid head: use activation 'softmax' if the classes exclude "
                "each other, else loss 'binary_cross_entropy'"
            )
        kind = "cross_entropy_index" if target is None or np.ndim(target) == 1 else "cross_entropy_dense"
        return LossSpec(kind, 0.0, "softmax" if act.name == "softmax" else None)

    def check_target(self, target, width, n_rows=None, name="y"):
        """Return class numbers [N] as int32 or int64, or rows of weights [N, O]; see `Loss.check_target`.

        Raises
        ------
        TypeError, ValueError
            The target is neither of both, or a weight is negative.
        """
        _refuse_one_class(width)
        array = as_array(name, target)
        if array.ndim == 2 and array.shape[1] == width:
            rows = _real_rows(array, width, n_rows, name)
            _refuse(rows < 0, rows, name, "loss 'cross_entropy' needs rows of weights >= 0")
            return rows
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise ValueError(f"{name} must be class numbers [N] or rows [N, {width}], got shape {array.shape}")
        return _labels(array, width, n_rows, name)


class External(Loss):
    """A loss of the user's, an object with ``value_and_gradient(prediction, target)``; see the top of this page."""

    def __init__(self, user) -> None:
        self.user = user
        self.name = getattr(user, "name", None) or type(user).__name__

    def resolve(self, head_activation, width, target=None):
        return LossSpec("external")

    def check_target(self, target, width, n_rows=None, name="y"):
        array = as_array(name, target)
        if array.ndim == 0:
            raise ValueError(f"{name} must have one row for each row of X, got a scalar")
        _check_length(array, n_rows, name)
        return array

    def config(self) -> dict:
        raise ValueError(f"the loss {self.user!r} is your own object: it cannot be written into a file")

    def __repr__(self) -> str:
        return f"External({self.user!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, External) and self.user is other.user

    def __hash__(self) -> int:
        return id(self.user)


TABLE = {m.name: m for m in (MSE, MAE, Huber, LogCosh, Poisson, Quantile, CrossEntropy, BinaryCrossEntropy)}


def get(spec) -> Loss:
    """Return the loss that `spec` means.

    Parameters
    ----------
    spec : str, Loss, dict, or an object with ``value_and_gradient``
        A name, the thing itself, its config dict, or a loss of your own.

    Raises
    ------
    ValueError
        If the name is unknown (with a close match) or a parameter is impossible.
    TypeError
        If `spec` is something else.
    """
    if not isinstance(spec, type) and callable(getattr(spec, "value_and_gradient", None)):
        return External(spec)
    return lookup("loss", spec, Loss, TABLE)


from_config = get

# ---- targets -----------------------------------------------------------------------------------------------------


def _refuse_one_class(width: int) -> None:
    if width == 1:
        raise ValueError(
            "loss 'cross_entropy' needs a head with one output per class, got 1 output; for two classes and one output "
            "use loss 'binary_cross_entropy'"
        )


def _check_length(array: np.ndarray, n_rows: int | None, name: str) -> None:
    if n_rows is not None and len(array) != n_rows:
        raise ValueError(f"{name} has {len(array)} rows, expected {n_rows}, as many as X")


def _refuse(bad: np.ndarray, array: np.ndarray, name: str, expected: str) -> None:
    """Raise for the first true element of `bad`."""
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f"row {place[0]}" + (f", column {place[1]}" if len(place) > 1 else "")
        raise ValueError(f"{name}: {expected}, got {array[place]} in {where}")


def _real_rows(target, width: int, n_rows: int | None, name: str) -> np.ndarray:
    """Return finite real targets [N, width]."""
    array = as_array(name, target)
    if not (array.ndim == 2 and array.shape[1] == width) and not (array.ndim == 1 and width == 1):
        raise ValueError(f"{name} must have shape [N, {width}], as wide as the head, got shape {array.shape}")
    rows = as_rows(name, array, width)
    _check_length(rows, n_rows, name)
    if rows.dtype.kind == "f":
        _refuse(~np.isfinite(rows), rows, name, "targets must be finite")
    return rows


def _labels(array: np.ndarray, classes: int, n_rows: int | None, name: str) -> np.ndarray:
    """Return class numbers [N] as int32 or int64."""
    if array.dtype.kind in "OSU":
        raise TypeError(
            f"{name} must be class numbers 0..{classes - 1}, got dtype {array.dtype}; for other labels use "
            "classes, y = np.unique(labels, return_inverse=True)"
        )
    labels = as_rows(name, array, 1)[:, 0]
    _check_length(labels, n_rows, name)
    if not (len(labels) and labels.min() >= 0 and labels.max() < classes):  # a NaN is neither
        _refuse(~((labels >= 0) & (labels < classes)), labels, name, f"class numbers must be in 0..{classes - 1}")
    if labels.dtype.kind == "f":
        _refuse(labels != np.floor(labels), labels, name, "class numbers must be integers")
    return labels if labels.dtype in (np.int32, np.int64) else labels.astype(np.int64)
