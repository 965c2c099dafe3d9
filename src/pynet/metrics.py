"""Metrics: weighted means over rows, watched but not minimised."""

from __future__ import annotations

import numpy as np

from ._check import integer
from ._record import Record, lookup

__all__ = ["MAE", "MSE", "R2", "Accuracy", "Metric", "TopK", "get"]


class Metric(Record):
    """Base of all metrics."""

    def resolve(self, loss_spec, head_activation, width: int, target=None) -> tuple[str, str, float, str]:
        """Return what the plan needs to compute it at one head.

        Parameters
        ----------
        loss_spec : LossSpec or None
            The resolved loss of that head.
        head_activation : Activation, name or None
            What the head's layer ends with.
        width : int
            O, outputs of the head.
        target : array, optional
            The checked target; [N] means class numbers where there is no cross-entropy to say so.

        Returns
        -------
        kind : str
            A name in ``_core.METRICS``.
        display_name : str
            Its key in the history.
        p0 : float
            Its parameter.
        reads : "output" or "logits"
            "logits" where the loss absorbs the head's activation and the answer is the same without it.

        Raises
        ------
        ValueError
            If the metric makes no sense at this head.
        """
        raise NotImplementedError

    def n_sums(self, width: int) -> int:
        """Return how many sums a machine keeps for it."""
        return 2

    def value(self, sums) -> float:
        """Return the metric from the sums of a machine; nan if no row had weight."""
        return float(sums[0] / sums[1]) if sums[1] else float("nan")


def _takes_labels(loss_spec, width: int, target) -> bool:
    """Whether the head's targets are class numbers [N]."""
    if loss_spec is not None and loss_spec.kind != "external":
        return loss_spec.kind == "cross_entropy_index"
    return width > 1 and target is not None and np.ndim(target) == 1


def _reads(loss_spec) -> str:
    return "logits" if loss_spec is not None and loss_spec.absorbs else "output"


class Accuracy(Metric):
    """Share of right answers: the largest output is the class (the first of equals); with one output, or binary
    cross-entropy, the share of outputs on the right side of 1/2."""

    name = "accuracy"

    def resolve(self, loss_spec, head_activation, width, target=None):
        if loss_spec is not None and loss_spec.kind == "binary_cross_entropy":
            return "accuracy_binary", self.name, 0.0, _reads(loss_spec)  # sigmoid(z) > 1/2 where z > 0
        if width == 1:
            return "accuracy_binary", self.name, 0.5, "output"
        kind = "accuracy_index" if _takes_labels(loss_spec, width, target) else "accuracy_dense"
        return kind, self.name, 0.0, _reads(loss_spec)


class TopK(Metric):
    """Share of rows whose class is among the `k` largest outputs; of equals the first rank higher.

    Shown as "top_<k>".

    Parameters
    ----------
    k : int >= 1, default 5
    """

    name = "top_k"
    fields = ("k",)

    def __init__(self, k: int = 5) -> None:
        self.k = integer("k", k, 1)

    def resolve(self, loss_spec, head_activation, width, target=None):
        if loss_spec is not None and loss_spec.kind == "binary_cross_entropy":
            raise ValueError("metric 'top_k' needs classes that exclude each other; use 'accuracy' here")
        if self.k >= width:
            raise ValueError(
                f"metric 'top_k' with k = {self.k} needs more than {self.k} outputs, got a head of {width}"
            )
        kind = "top_k_index" if _takes_labels(loss_spec, width, target) else "top_k_dense"
        return kind, f"top_{self.k}", float(self.k), _reads(loss_spec)


class _Regression(Metric):
    def resolve(self, loss_spec, head_activation, width, target=None):
        if _takes_labels(loss_spec, width, target):
            raise ValueError(f"metric {self.name!r} needs targets [N, {width}], but these are class numbers")
        return self.name, self.name, 0.0, "output"


class MAE(_Regression):
    """Mean absolute error, |y - t| averaged over outputs and rows."""

    name = "mae"


class MSE(_Regression):
    """Mean squared error, (y - t)^2 averaged over outputs and rows."""

    name = "mse"


class R2(_Regression):
    """Coefficient of determination, 1 - sum (y - t)^2 / sum (t - mean t)^2, averaged over outputs.

    An output with constant targets counts 1 if all its predictions are exact, else 0.
    """

    name = "r2"

    def n_sums(self, width):
        return 1 + 3 * width

    def value(self, sums):
        weight, (t, tt, error) = sums[0], np.reshape(sums[1:], (-1, 3)).T
        if not weight:
            return float("nan")
        total = tt - t * t / weight
        constant = total <= 1e-14 * tt  # what rounding leaves of 0
        ratio = error / np.where(constant, 1, total)
        return float(np.mean(np.where(constant, error == 0, 1 - ratio)))


TABLE = {made.name: made for made in (Accuracy, TopK, R2, MAE, MSE)}


def get(spec) -> Metric:
    """Return the metric that `spec` means.

    Parameters
    ----------
    spec : str, Metric or dict
        "accuracy", "top_k", "r2", "mae", "mse"; the thing itself; its config dict.

    Raises
    ------
    ValueError
        If the name is unknown (with a close match).
    TypeError
        If `spec` is something else.
    """
    return lookup("metric", spec, Metric, TABLE)


from_config = get
