"""The roll-call of layers: the classes that a file may name."""

from __future__ import annotations

from .elementwise import Flatten, GradientClip, PReLU
from .layers import Activation, Add, Concat, Dense, Input
from .normalization import BatchNorm, InstanceNorm, LayerNorm
from .recurrent import LSTM
from .stochastic import Dropout, GaussianNoise

__all__ = ["KINDS"]

KINDS = {
    cls.__name__: cls
    for cls in (
        Input, Dense, Activation, Add, Concat, BatchNorm, LayerNorm, InstanceNorm, Dropout, GaussianNoise, PReLU,
        GradientClip, Flatten, LSTM,
    )
}  # fmt: skip
