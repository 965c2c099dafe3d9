"""Warnings about nets that are known to work badly."""

from __future__ import annotations

import sys
import warnings

from .layers import Activation, Dense
from .normalization import BatchNorm
from .stochastic import Dropout

__all__ = ["warn_of_variance_shift"]

_warned = False


def warn_of_variance_shift(nodes) -> None:
    """Warn, once in the life of the process, of a batch norm that reads what a dropout made.

    Behind a dropout the variance in training is larger than in prediction, where the norm still divides by the former.
    """
    global _warned
    for node in nodes:
        if _warned or not isinstance(node.layer, BatchNorm):
            continue
        source = node.inputs[0]
        while isinstance(source.layer, (Dense, Activation)):
            source = source.inputs[0]
        if isinstance(source.layer, Dropout) and source.layer.rate:
            _warned = True
            warnings.warn(
                f"dropout {source.layer!r} in front of batch norm {node.layer!r}: the variance that the norm sees in "
                "training is not that of prediction; put the dropout behind the last batch norm (Li, Chen, Hu, Yang "
                '2019, "Understanding the disharmony between dropout and batch normalization by variance shift", '
                "arXiv:1801.05134)",
                UserWarning,
                stacklevel=_level_of_user(),
            )


def _level_of_user() -> int:
    """Return the stack level, seen from the caller, of the first line that is not pynet's."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    return level
