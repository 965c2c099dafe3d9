"""Scores of predictions that are there already, as arrays: what a report shows.

Accuracy, R2 and the like are those of metrics.py, summed by the NumPy machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _core, metrics
from ._check import integer
from .arrays import as_array
from .reference_losses import metric_sums

__all__ = ["Calibration", "calibration", "check_classes", "check_numbers", "confusion", "cross_entropy", "metric"]


@dataclass(frozen=True, eq=False)
class Calibration:
    """How often predictions are right beside how sure they are, by bins of equal width over [0, 1].

    Attributes
    ----------
    edges : float array [M + 1]
        Bin m holds the rows whose confidence, the largest probability, lies in (edges[m], edges[m+1]].
    counts : int array [M]
        Rows in each bin.
    confidence, accuracy : float arrays [M]
        Mean confidence of the rows of a bin, and the share of them that is right; nan in an empty bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error, sum_m n_m / N |accuracy_m - confidence_m|: Naeini, Cooper, Hauskrecht 2015
        (AAAI); Guo et al. 2017 (arXiv:1706.04599), eq. 3."""
        gap = np.abs(np.nan_to_num(self.accuracy - self.confidence))
        return float(self.counts @ gap / self.counts.sum())


def check_classes(y_true, prediction, name: str = "y_true") -> tuple[np.ndarray, np.ndarray]:
    """Return class numbers [B] and probabilities [B, C] in float64; C = 2 where one column of them came.

    `name`: what an error calls the class numbers.

    Raises
    ------
    TypeError, ValueError
        They are no numbers, not finite, of shapes that do not fit; a class number is not in 0..C-1, a probability not
        in [0, 1]; there are no rows.
    """
    p = _numbers("prediction", prediction)
    if p.ndim == 1 or (p.ndim == 2 and p.shape[1] == 1):
        p = np.stack([1 - p.reshape(-1), p.reshape(-1)], axis=1)
    if p.ndim != 2:
        raise ValueError(f"prediction must be probabilities [B, C], got shape {p.shape}")
    if p.min() < -1e-6 or p.max() > 1 + 1e-6:
        raise ValueError(f"prediction must be probabilities in [0, 1], got {p.min():.4g} to {p.max():.4g}")
    y = _numbers(name, y_true)
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.shape != (len(p),):
        raise ValueError(f"{name} must be class numbers [{len(p)}], one for each row, got shape {y.shape}")
    bad = (y != np.rint(y)) | (y < 0) | (y >= p.shape[1])
    if bad.any():
        raise ValueError(f"{name} must hold class numbers 0..{p.shape[1] - 1}, got {y[bad][0]:g}")
    return y.astype(np.int64), p


def check_numbers(y_true, prediction, name: str = "y_true") -> tuple[np.ndarray, np.ndarray]:
    """Return targets and predictions [B, O] in float64; `name`: what an error calls the targets.

    Raises
    ------
    TypeError, ValueError
        They are no numbers, not finite, of other shapes than [B] or [B, O], not of the same; there are no rows.
    """
    pair = []
    for what, given in ((name, y_true), ("prediction", prediction)):
        array = _numbers(what, given)
        if array.ndim not in (1, 2):
            raise ValueError(f"{what} must have shape [B] or [B, O], got {array.shape}")
        pair.append(array.reshape(len(array), -1))
    y, p = pair
    if y.shape != p.shape:
        raise ValueError(f"{name} must have the shape of the prediction, {p.shape}, got {y.shape}")
    return y, p


def _numbers(name: str, given) -> np.ndarray:
    array = as_array(name, given)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
    if not array.size:
        raise ValueError(f"{name} has no rows")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    return array.astype(np.float64)


def metric(spec, y: np.ndarray, prediction: np.ndarray) -> float:
    """Return a metric of `pynet.metrics` over all rows: targets [B] or [B, O], predictions [B, O]."""
    found = metrics.get(spec)
    if isinstance(found, metrics.R2):  # of numbers far from 0, such as dates, squares would hide the variance
        middle = y.mean(axis=0)
        y, prediction = y - middle, prediction - middle
    kind, _, p0, _ = found.resolve(None, "identity", prediction.shape[1], y)
    return found.value(metric_sums(_core.METRICS[kind], p0, prediction, y, np.ones(len(y))))


def cross_entropy(y: np.ndarray, p: np.ndarray) -> float:
    """Return the mean of -log p[row, class]; a probability of 0 counts as the smallest positive number of float32."""
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float32).tiny)).mean())


def confusion(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return how many rows of each class (axis 0) were taken for each class (axis 1), int [C, C]."""
    n = p.shape[1]
    return np.bincount(y * n + p.argmax(axis=1), minlength=n * n).reshape(n, n)


def calibration(y: np.ndarray, p: np.ndarray, bins: int = 10) -> Calibration:
    """Return the calibration of the largest probability of each row."""
    bins = integer("bins", bins, 1, 1000)
    edges = np.linspace(0, 1, bins + 1)
    sure = p.max(axis=1)
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, sure, bins) / counts
        accuracy = np.bincount(place, p.argmax(axis=1) == y, bins) / counts
    return Calibration(edges, counts, confidence, accuracy)
