"""Initial values of parameters, drawn from Philox: number (i, o) of a matrix depends on the seed and its place only."""

from __future__ import annotations

import math

import numpy as np

from . import philox
from ._check import number, unknown
from ._record import Record, lookup

__all__ = [
    "Constant", "HeNormal", "HeUniform", "Initializer", "LeCunNormal", "LeCunUniform", "Normal", "Ones", "Orthogonal",
    "Uniform", "VarianceScaling", "XavierNormal", "XavierUniform", "Zeros", "get"
]  # fmt: skip

_MODES = ("fan_in", "fan_out", "fan_avg")
_DISTRIBUTIONS = ("uniform", "normal")


def _fan(shape: tuple[int, ...], mode: str) -> float:
    """Number of inputs or outputs of a unit, or their mean; of a vector, its length."""
    fan_in, fan_out = shape[0], shape[-1]
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]


class Initializer(Record):
    """Base of all initializers: `draw` the numbers, `init` an array of them."""

    def draw(self, shape: tuple[int, ...], key: int, stream: tuple[int, ...]) -> np.ndarray:
        """Return float64 values of `shape`."""
        raise NotImplementedError

    def init(self, shape, dtype, key: int = 0, stream: tuple[int, ...] = (0,)) -> np.ndarray:
        """Return initial values.

        Parameters
        ----------
        shape : (I, O) for a weight matrix, (O,) for a vector
        dtype : float32 or float64; values are drawn in float64 and rounded once
        key : int
            Seed, 0..2^64-1.
        stream : tuple of up to two ints
            Which numbers of that seed: the index of the parameter.

        Raises
        ------
        ValueError
            If a weight matrix would get one constant value.
        """
        shape = tuple(int(n) for n in shape)
        if len(shape) not in (1, 2) or min(shape) < 1:
            raise ValueError(f"shape must be (I, O) or (O,) of positive integers, got {shape}")
        return self.draw(shape, key, (philox.INITIALIZE, *stream)).astype(dtype)


# ---- variance scaled to the number of connections ----------------------------------------------------------------


class VarianceScaling(Initializer):
    """Zero mean, variance ``scale / fan``.

    Parameters
    ----------
    scale : float, default 1, > 0
    mode : "fan_in" (I), "fan_out" (O) or "fan_avg" ((I + O) / 2), default "fan_in"
    distribution : "uniform" or "normal" (untruncated), default "uniform"

    Raises
    ------
    ValueError
        An unknown name, or a number out of its range (this holds for all initializers).
    """

    name = "variance_scaling"
    fields: tuple[str, ...] = ("scale", "mode", "distribution")

    def __init__(self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "uniform") -> None:
        self.scale = number("scale", scale, 0.0, low_open=True)
        if mode not in _MODES:
            raise unknown("mode", mode, _MODES)
        if distribution not in _DISTRIBUTIONS:
            raise unknown("distribution", distribution, _DISTRIBUTIONS)
        self.mode, self.distribution = mode, distribution

    def draw(self, shape, key, stream):
        deviation = math.sqrt(self.scale / _fan(shape, self.mode))
        n = math.prod(shape)
        if self.distribution == "normal":
            return deviation * philox.normal(key, stream, n).reshape(shape)
        return deviation * math.sqrt(3.0) * (2 * philox.uniform(key, stream, n).reshape(shape) - 1)


class _Scaled(VarianceScaling):
    """A named case of VarianceScaling: `share` is its scale at gain 1."""

    fields = ("mode", "gain")
    share = 1.0
    usual_mode = "fan_in"
    shape_of = "uniform"

    def __init__(self, mode: str | None = None, gain: float = 1.0) -> None:
        self.gain = number("gain", gain, 0.0, low_open=True)
        super().__init__(self.share * self.gain**2, self.usual_mode if mode is None else mode, self.shape_of)


class XavierUniform(_Scaled):
    """Uniform, variance ``gain^2 / fan`` (Glorot, Bengio 2010).

    Parameters
    ----------
    mode : "fan_in", "fan_out" or "fan_avg", default "fan_avg"
        As of VarianceScaling.
    gain : float > 0, default 1
    """

    name, usual_mode = "xavier_uniform", "fan_avg"


class XavierNormal(_Scaled):
    """Normal, variance ``gain^2 / fan`` (Glorot, Bengio 2010).

    Parameters
    ----------
    mode : "fan_in", "fan_out" or "fan_avg", default "fan_avg"
        As of VarianceScaling.
    gain : float > 0, default 1
    """

    name, usual_mode, shape_of = "xavier_normal", "fan_avg", "normal"


class HeUniform(_Scaled):
    """Uniform, variance ``2 gain^2 / fan`` (He, Zhang, Ren, Sun 2015).

    Parameters
    ----------
    mode : "fan_in", "fan_out" or "fan_avg", default "fan_in"
        As of VarianceScaling.
    gain : float > 0, default 1
    """

    name, share = "he_uniform", 2.0


class HeNormal(_Scaled):
    """Normal, variance ``2 gain^2 / fan`` (He, Zhang, Ren, Sun 2015).

    Parameters
    ----------
    mode : "fan_in", "fan_out" or "fan_avg", default "fan_in"
        As of VarianceScaling.
    gain : float > 0, default 1
    """

    name, share, shape_of = "he_normal", 2.0, "normal"


class LeCunUniform(_Scaled):
    """Uniform, variance ``gain^2 / fan`` (LeCun, Bottou, Orr, Mueller 1998).

    Parameters
    ----------
    mode : "fan_in", "fan_out" or "fan_avg", default "fan_in"
        As of VarianceScaling.
    gain : float > 0, default 1
    """

    name = "lecun_uniform"


class LeCunNormal(_Scaled):
    """Normal, variance ``gain^2 / fan`` (LeCun et al. 1998; for SELU, Klambauer et al. 2017).

    Parameters
    ----------
    mode : "fan_in", "fan_out" or "fan_avg", default "fan_in"
        As of VarianceScaling.
    gain : float > 0, default 1
    """

    name, shape_of = "lecun_normal", "normal"


# ---- the others --------------------------------------------------------------------------------------------------


class Orthogonal(Initializer):
    """`gain` times a random matrix whose rows or columns, whichever are fewer, are orthonormal.

    Saxe, McClelland, Ganguli 2014. From the QR decomposition of a normal matrix, signs fixed by the diagonal of R.
    LAPACK computes it, so the last bits may differ between machines. Only for matrices.

    Parameters
    ----------
    gain : float > 0, default 1
    """

    name = "orthogonal"
    fields = ("gain",)

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = number("gain", gain, 0.0, low_open=True)

    def draw(self, shape, key, stream):
        if len(shape) != 2:
            raise ValueError(f"orthogonal initial values need a matrix (I, O), got a vector {shape}")
        q, r = np.linalg.qr(philox.normal(key, stream, math.prod(shape)).reshape(max(shape), min(shape)))
        q *= self.gain * np.where(np.diag(r) < 0, -1.0, 1.0)
        return q if shape[0] >= shape[1] else q.T


class Uniform(Initializer):
    """Uniform between two numbers.

    Parameters
    ----------
    low, high : float, low < high, default -0.05 and 0.05
    """

    name = "uniform"
    fields = ("low", "high")

    def __init__(self, low: float = -0.05, high: float = 0.05) -> None:
        self.low = number("low", low)
        self.high = number("high", high, self.low, low_open=True)

    def draw(self, shape, key, stream):
        return self.low + (self.high - self.low) * philox.uniform(key, stream, math.prod(shape)).reshape(shape)


class Normal(Initializer):
    """Normal, untruncated.

    Parameters
    ----------
    mean : float, default 0
    std : float > 0, default 0.05
    """

    name = "normal"
    fields = ("mean", "std")

    def __init__(self, mean: float = 0.0, std: float = 0.05) -> None:
        self.mean = number("mean", mean)
        self.std = number("std", std, 0.0, low_open=True)

    def draw(self, shape, key, stream):
        return self.mean + self.std * philox.normal(key, stream, math.prod(shape)).reshape(shape)


class Constant(Initializer):
    """The same value everywhere; for vectors such as biases.

    A weight matrix of one value is refused unless `allow_symmetric` is true: the units of such a layer compute the
    same output and receive the same gradient, so they stay equal for ever and the layer is worth a single unit.

    Parameters
    ----------
    value : float, default 0
    allow_symmetric : bool, default False
    """

    name = "constant"
    fields: tuple[str, ...] = ("value", "allow_symmetric")

    def __init__(self, value: float = 0.0, allow_symmetric: bool = False) -> None:
        self.value = number("value", value)
        self.allow_symmetric = bool(allow_symmetric)

    def draw(self, shape, key, stream):
        if len(shape) == 2 and math.prod(shape) > 1 and not self.allow_symmetric:
            raise ValueError(
                f"{self!r} would fill a weight matrix {shape} with the single value {self.value:g}: its units would "
                "compute the same output, receive the same gradient and stay equal for ever. Use random initial "
                f"values ('auto'), or Constant({self.value:g}, allow_symmetric=True) if this is what you want"
            )
        return np.full(shape, self.value)


class Zeros(Constant):
    """Zeros; refused for a weight matrix, see Constant."""

    name = "zeros"
    fields = ()

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Ones; refused for a weight matrix, see Constant."""

    name = "ones"
    fields = ()

    def __init__(self) -> None:
        super().__init__(1.0)


_SCALED = (VarianceScaling, XavierUniform, XavierNormal, HeUniform, HeNormal, LeCunUniform, LeCunNormal)
TABLE = {made.name: made for made in (*_SCALED, Orthogonal, Uniform, Normal, Constant, Zeros, Ones)}
ALIASES = {"glorot_uniform": "xavier_uniform", "glorot_normal": "xavier_normal"}


def get(spec, activation=None) -> Initializer:
    """Return the initializer that `spec` means.

    Parameters
    ----------
    spec : str, Initializer or dict
        A name, the thing itself, its config dict.  "auto" is "he_uniform" where `activation` belongs to the ReLU
        family, else "xavier_uniform".
    activation : Activation, optional
        Of the layer.

    Raises
    ------
    ValueError
        If the name is unknown (with a close match) or a parameter is impossible.
    TypeError
        If `spec` is something else.
    """
    if isinstance(spec, str) and spec == "auto":
        return HeUniform() if getattr(activation, "gain", "xavier") == "he" else XavierUniform()
    return lookup("initializer", spec, Initializer, TABLE, ALIASES)
