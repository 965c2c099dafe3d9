"""Layers that draw random numbers in training and do nothing in prediction.

The numbers are a function of their place: (seed, step, layer, row, column), the same on every instruction set, for any
number of threads, and in both machines.
"""

from __future__ import annotations

from . import _check
from .layer_base import Layer, Live, not_negative

__all__ = ["Dropout", "GaussianNoise"]


class _Noise(Layer):
    """A layer as wide as its input."""

    hands_on = True

    def connect(self, shapes):
        return shapes[0]


class Dropout(_Noise):
    """Each element becomes 0 with probability `rate`, else x / (1 - rate): the mean stays (Srivastava et al. 2014, JMLR
    15, "Dropout: a simple way to prevent neural networks from overfitting"; scaled in training, "inverted").

    Parameters
    ----------
    rate : float in [0, 1)
        Taken as the nearest multiple of 2^-16.  0 does nothing.  May be changed; holds from the next fit.
    name
        See Layer.

    Raises
    ------
    TypeError, ValueError
        `rate` is no number in [0, 1).

    Notes
    -----
    Behind ``Dense(activation="relu")`` it costs no op of its own: it is part of the dense op, and no mask is kept.
    ``model.predict(X, mc_samples=100)`` keeps it at work in prediction (Gal, Ghahramani 2016, arXiv:1506.02142).
    """

    kind = "dropout"
    options = ("rate",)
    rate = Live(_check.fraction, "rate of Dropout")

    def __init__(self, rate: float, name: str | None = None):
        super().__init__(name)
        self.rate = rate

    def emit(self, planner, x):
        return planner.random(x[0], "dropout", (self.rate,)) if planner.is_random and self.rate else x[0]

    def _repr(self):
        return f"{self.rate}{', ' if self.name else ''}"


class GaussianNoise(_Noise):
    """x + e, e normal with mean 0 (Bishop 1995, "Training with noise is equivalent to Tikhonov regularization").

    Parameters
    ----------
    stddev : float >= 0
        Standard deviation of e.  May be changed; holds from the next fit.
    name
        See Layer.
    """

    kind = "gaussian_noise"
    options = ("stddev",)
    stddev = Live(not_negative, "stddev of GaussianNoise")

    def __init__(self, stddev: float, name: str | None = None):
        super().__init__(name)
        self.stddev = stddev

    def emit(self, planner, x):
        return planner.random(x[0], "gaussian_noise", (self.stddev,)) if planner.is_random and self.stddev else x[0]

    def _repr(self):
        return f"{self.stddev}{', ' if self.name else ''}"
