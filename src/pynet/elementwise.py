"""Small layers: a learned slope, a clip of what flows back, a change of shape."""

from __future__ import annotations

import math

import numpy as np

from . import _check, _core, clip
from .layer_base import Layer, Parameter, constant_draw, flag

__all__ = ["Flatten", "GradientClip", "PReLU"]


class PReLU(Layer):
    """x where x > 0, else alpha x; alpha is learned (He et al. 2015, arXiv:1502.01852, equation 1).

    Parameters
    ----------
    initial : float
        First value of alpha.  Default 0.25, as in the paper.
    shared : bool
        True: one alpha for all units.  Default False: one for each.
    name, trainable
        See Layer.

    Notes
    -----
    The paper gives alpha no weight decay; an optimizer's `weight_decay` reaches it, `l2` of a Dense layer does not.
    """

    kind = "prelu"
    options = ("initial", "shared", "trainable")

    def __init__(self, initial: float = 0.25, shared: bool = False, name: str | None = None, trainable: bool = True):
        super().__init__(name, trainable)
        self.initial = _check.number("initial of PReLU", initial)
        self.shared = flag("shared", shared)
        self.width: int | None = None  # known from the first call on

    def connect(self, shapes):
        width = math.prod(shapes[0])
        if self.width not in (None, width) and not self.shared:
            raise ValueError(f"{self!r} was built for width {self.width}, got {width}")
        self.width = width
        return shapes[0]

    def parameters(self):
        shape = (1,) if self.shared else (self.width,)
        return [Parameter("alpha", shape, constant_draw(np.broadcast_to(self.initial, shape)))]

    def emit(self, planner, x):
        return planner.op("prelu", planner.width(x[0]), x=x[0], w=planner.parameter(self, "alpha"))


class GradientClip(Layer):
    """Nothing on the way up; on the way down it clips the gradient that passes, [B, width] of a batch.

    Parameters
    ----------
    clip : Clip
        pn.ClipNorm(c): the whole array to norm c (Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063);
        pn.ClipValue(c): every element to -c..c;  pn.SignGradient(): every element becomes its sign.
    name
        See Layer.

    Notes
    -----
    A loss is a mean over the batch, so the gradient of one of B rows is about 1/B of what that row would have alone.
    """

    kind = "gradient_clip"
    hands_on = True
    options = ("clip",)

    def __init__(self, clip, name: str | None = None):
        super().__init__(name)
        self.clip = _one(clip)

    def connect(self, shapes):
        return shapes[0]

    def emit(self, planner, x):
        if not planner.goes_down:
            return x[0]
        kind = _core.CLIPS[self.clip.rule]
        return planner.op("gradient_clip", planner.width(x[0]), x=x[0], act=kind, p=(self.clip.c,))

    def _repr(self):
        return f"{self.clip!r}{', ' if self.name else ''}"


def _one(spec) -> clip.Clip:
    made = clip.listed(spec)
    if len(made) != 1:
        raise TypeError(f"clip of GradientClip must be one of pn.ClipNorm, pn.ClipValue, pn.SignGradient, got {spec!r}")
    return made[0]


class Flatten(Layer):
    """The steps of a sequence side by side, as one row of steps * features.

    Parameters
    ----------
    name : str, optional
        See Layer.
    """

    kind = "flatten"
    hands_on = True

    def __init__(self, name: str | None = None):
        super().__init__(name)

    def connect(self, shapes):
        return (math.prod(shapes[0]),)

    def emit(self, planner, x):
        return x[0]
