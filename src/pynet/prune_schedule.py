"""How much to prune, and when: in the course of a training, or until a file is small or a loss is reached."""

from __future__ import annotations

from . import _check
from .callbacks import Callback
from .files import parts_of
from .opened import check_model, clone

__all__ = ["Gradual", "until"]


class Gradual(Callback):
    """Prunes while a fit goes on: after each of some epochs a little more.

    The share that is pruned after epoch t is ``s (1 - (1 - (t - begin) / (end - begin))^3)`` (Zhu, Gupta 2017,
    arXiv:1710.01878): much at first, while there is plenty, and little at the end.

    Parameters
    ----------
    sparsity : float in [0, 1)
        Share at the end.
    begin, end : int
        Epochs of the fit, counted from 1: nothing is pruned up to `begin`, the whole share from `end` on.
    prune : callable (model, share), optional
        Default: ``pn.prune.magnitude``, all layers together.

    Raises
    ------
    TypeError, ValueError
        `sparsity` out of range, not 0 <= begin < end, `prune` not callable.
    """

    def __init__(self, sparsity: float, end: int, begin: int = 0, prune=None) -> None:
        self.sparsity = _check.fraction("sparsity", sparsity)
        self.begin = _check.integer("begin", begin, 0)
        self.end = _check.integer("end", end, self.begin + 1)
        if prune is not None and not callable(prune):
            raise TypeError(f"prune must be a function of (model, share), got {type(prune).__name__}")
        self.prune = prune
        self._start = 0

    def on_fit_begin(self, trainer) -> None:
        self._start = trainer._fit.run["first"]

    def share(self, epoch: int) -> float:
        """Return the share after so many epochs of the fit."""
        way = min(max(epoch - self.begin, 0) / (self.end - self.begin), 1.0)
        return self.sparsity * (1 - (1 - way) ** 3)

    def on_epoch_end(self, trainer, epoch, logs) -> None:
        done = epoch + 1 - self._start
        if self.begin < done <= self.end:
            from .prune import magnitude

            (self.prune or magnitude)(trainer.model, self.share(done))


def until(model, prune, *, max_bytes: int | None = None, score=None, max_score: float | None = None,
          tolerance: float = 0.005) -> float:  # fmt: skip
    """Prune just as much as is needed for a file of some size, or as a loss allows.

    Parameters
    ----------
    model : Model
    prune : callable (model, share)
        E.g. ``lambda model, share: pn.prune.obs(model, X, share)``.
    max_bytes : int, optional
        The smallest share with which the saved file is no larger.
    score, max_score : callable (model) -> float, and float, optional
        Instead: the largest share with which ``score(model)``, e.g. the loss on data held out, is at most `max_score`.
    tolerance : float > 0
        Of the share; it is found by halving.

    Returns
    -------
    float
        The share that was pruned.

    Raises
    ------
    TypeError, ValueError
        Neither or both goals are given; the goal is out of reach: the file is larger with all but 0.1 % pruned, or the
        score of the model as it is exceeds max_score.  The model stays as it was.
    """
    check_model("model", model)
    if not callable(prune):
        raise TypeError(f"prune must be a function of (model, share), got {type(prune).__name__}")
    if (max_bytes is None) == (max_score is None) or (max_score is None) != (score is None):
        raise ValueError("give max_bytes, or score and max_score")
    tolerance = _check.number("tolerance", tolerance, 0.0, low_open=True)

    def good(share: float) -> bool:
        trial = clone(model)
        prune(trial, share)
        if max_bytes is not None:
            return file_size(trial) <= max_bytes
        return score(trial) <= max_score

    low, high = 0.0, 0.999
    wants_more = max_bytes is not None
    if not good(high if wants_more else low):
        if wants_more:
            raise ValueError(f"max_bytes={max_bytes} is out of reach: even with 99.9 % pruned the file is larger")
        raise ValueError(f"max_score={max_score} is out of reach: the model as it is scores {score(model):.6g}")
    if good(low if wants_more else high):
        low = high = low if wants_more else high
    while high - low > tolerance:
        middle = (low + high) / 2
        if good(middle) == wants_more:
            high = middle
        else:
            low = middle
    share = high if wants_more else low
    with model.weights.all_or_nothing():
        prune(model, share)
    return share


def file_size(model) -> int:
    """Return the bytes of the file that `model.save` would write."""
    return sum(memoryview(part).nbytes for part in parts_of(model))
