"""Layers that normalise: y = (x - mean) gamma / sqrt(variance + epsilon) + beta."""

from __future__ import annotations

from functools import partial

import numpy as np

from . import _check
from .layer_base import Layer, Live, Parameter, constant_draw, flag
from .plan import NONE

__all__ = ["BatchNorm", "InstanceNorm", "LayerNorm"]


class _Norm(Layer):
    def connect(self, shapes):
        width = self.flat_width(shapes)
        if self.width not in (None, width):
            raise ValueError(f"{self!r} was built for width {self.width}, got {width}")
        self.width = width
        return (width,)

    width: int | None = None  # known from the first call on

    def _vector(self, suffix: str, value: float, trainable: bool, lowest: float = -np.inf) -> Parameter:
        first = np.broadcast_to(
            np.float64(value), (self.width or 1,)
        )  # a file may claim any width: no more than a view
        return Parameter(suffix, first.shape, constant_draw(first), trainable=trainable, lowest=lowest)


class BatchNorm(_Norm):
    """Mean and variance of each unit over the batch; in prediction, running averages of them (Ioffe, Szegedy 2015,
    arXiv:1502.03167).

    Parameters
    ----------
    momentum : float in [0, 1]
        Share of the old running value that a step keeps: running = momentum * running + (1 - momentum) * batch.
        Default 0.9.  ``model.recalibrate(X)`` replaces the running values by those over a whole data set.
    epsilon : float > 0
        Default 1e-5.
    center, scale : bool
        Whether beta and gamma are learned; else they stay 0 and 1.  Default True.
    name, trainable
        See Layer.  With trainable=False it uses its running statistics in training as well and keeps them.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of range.  A fit raises ValueError where a batch would have one row.

    Notes
    -----
    Sample and class weights count: a row of weight 2 is two rows.  A layer called twice tracks both inputs.  The
    running variance is that of the whole, n/(n-1) times the batch's, as in PyTorch; n = (sum w)^2 / sum w^2 with
    weights.  Directly behind a Dense layer without activation, prediction folds it into that layer.
    Put it before dropout, not behind: Li et al. 2019 (arXiv:1801.05134).
    """

    kind = "batch_norm"
    options = ("momentum", "epsilon", "center", "scale", "trainable")
    momentum = Live(partial(_check.number, low=0.0, high=1.0), "momentum of BatchNorm")

    def __init__(
        self,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        name: str | None = None,
        trainable: bool = True,
    ):
        super().__init__(name, trainable)
        self.momentum = momentum
        self.epsilon = _check.number("epsilon of BatchNorm", epsilon, 0.0, low_open=True)
        self.center, self.scale = flag("center", center), flag("scale", scale)

    def parameters(self):
        return [
            self._vector("gamma", 1.0, self.scale),
            self._vector("beta", 0.0, self.center),
            self._vector("mean", 0.0, False),
            self._vector("variance", 1.0, False, lowest=0.0),
        ]

    def emit(self, planner, x):
        first = planner.parameter(self, "gamma")
        return planner.batch_norm(x[0], first, self.epsilon, self.momentum, self.trainable)


class LayerNorm(_Norm):
    """Mean and variance of each row over its units (Ba, Kiros, Hinton 2016, arXiv:1607.06450).  The same in training
    and prediction, for any batch.

    Parameters
    ----------
    epsilon : float > 0
        Default 1e-5.
    center, scale : bool
        Whether there are a beta and a gamma for each unit.  Default True.
    name, trainable
        See Layer.
    """

    kind = "layer_norm"
    options: tuple[str, ...] = ("epsilon", "center", "scale", "trainable")

    def __init__(
        self,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        name: str | None = None,
        trainable: bool = True,
    ):
        super().__init__(name, trainable)
        self.epsilon = _check.number(f"epsilon of {type(self).__name__}", epsilon, 0.0, low_open=True)
        self.center, self.scale = flag("center", center), flag("scale", scale)

    def parameters(self):
        gamma = [self._vector("gamma", 1.0, True)] if self.scale else []
        return gamma + ([self._vector("beta", 0.0, True)] if self.center else [])

    def emit(self, planner, x):
        gamma, beta = (
            planner.parameter(self, name) if self.center or self.scale else NONE for name in ("gamma", "beta")
        )
        kept = planner.value(2)  # mean and 1/deviation of each row
        return planner.op("row_norm", planner.width(x[0]), x=x[0], z=kept, w=gamma, b=beta, p=(self.epsilon,))


class InstanceNorm(LayerNorm):
    """Mean and variance of each row, nothing learned (Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022, for a row
    that is one channel): a row's offset and scale do not reach the next layer.

    Parameters
    ----------
    epsilon : float > 0
        Default 1e-5.
    name
        See Layer.
    """

    kind = "instance_norm"
    options = ("epsilon",)

    def __init__(self, epsilon: float = 1e-5, name: str | None = None):
        super().__init__(epsilon, center=False, scale=False, name=name)
