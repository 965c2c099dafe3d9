"""Activations: one row each, the NumPy twin of ``csrc/activations.def``.

Ids, and what the derivative is computed from, are read from there; the argument of a row's derivative is called ``y``
where the output is enough and ``x`` where the input is needed. To add an activation, add a row to both files.

>>> pn.Dense(64, activation="relu")
>>> pn.Dense(64, activation=pn.activations.LeakyReLU(alpha=0.2))
"""

from __future__ import annotations

import numpy as np

from . import _core
from ._check import number
from ._record import Record, lookup
from .formulas import (
    SELU_ALPHA,
    SELU_SCALE,
    d_hard_swish,
    d_mish,
    d_silu,
    d_sinc,
    inside,
    normal_cdf,
    normal_pdf,
    sigmoid,
    sinc,
    softplus,
)

TABLE: dict[str, type[Activation]] = {}  # by name
BY_ID: dict[int, type[Activation]] = {}
ALIASES = {"logistic": "sigmoid", "linear": "identity", "swish": "silu"}


class Activation(Record):
    """A function of one number, applied to every element (softmax: to every row).

    Attributes
    ----------
    name, id : str, int
        As in ``csrc/activations.def``.
    needs : "Y" or "X"
        What the derivative is computed from: the output, or the input.
    parameters : tuple of float
        Values of the parameters, in the order of `fields`.
    gain : "he" or "xavier"
        The family of initial weights that suits a layer with this activation.
    nonnegative : bool
        Whether no output is ever negative.
    random : bool
        Whether training draws numbers for it; `frozen` is what it is in prediction, `kind` its row among RANDOM.
    function : bool
        Whether it is computed in Python.

    Raises
    ------
    TypeError
        A parameter that it has not; of the constructor of every activation, as is the next.
    ValueError
        A parameter out of its range.
    """

    id: int
    needs: str
    gain = "xavier"
    nonnegative = False
    random = function = False
    frozen: Activation
    kind: str
    limits: dict[str, tuple] = {}  # noqa: RUF012  parameter: (default, lowest value or None, whether it is excluded)

    def __init__(self, *values: float, **named: float) -> None:
        given = dict(zip(self.fields, values, strict=False))
        if len(values) > len(self.fields) or any(key in given or key not in self.fields for key in named):
            takes = ", ".join(self.fields) or "none"
            raise TypeError(f"{type(self).__name__} got parameters {[*values, *named]}; it takes: {takes}")
        given |= named
        for field, (default, low, low_open) in self.limits.items():
            value = number(f"{self.name} {field}", given.get(field, default), low, low_open=low_open)
            setattr(self, field, value)
        self.parameters = tuple(getattr(self, field) for field in self.fields)

    @property
    def fusable(self) -> bool:
        """Whether it can be the last part of another op."""
        return not (self.random or self.function)

    @staticmethod
    def f(x, *parameters):
        raise NotImplementedError

    @staticmethod
    def df(v, *parameters):
        raise NotImplementedError

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return act(x) in the dtype of `x`."""
        return np.asarray(self.f(x, *self.parameters)).astype(x.dtype, copy=False)

    def slope(self, v: np.ndarray) -> np.ndarray:
        """Return the derivative from v = y or v = x, as the activation `needs`, in the dtype of `v`."""
        return np.asarray(self.df(v, *self.parameters)).astype(v.dtype, copy=False)

    def pull_back(self, v: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Return dL/dx from dL/dy, with v = y or v = x as the activation `needs`."""
        return dy * self.slope(v)


def _told(limits: dict[str, tuple]) -> str:
    """What a docstring tells of the parameters."""
    bounds = {
        field: "" if low is None else f" {'>' if out else '>='} {low:g}" for field, (_, low, out) in limits.items()
    }
    told = [f"{field} : float{bounds[field]}, default {limits[field][0]:g}" for field in limits]
    return "\n".join(["\n\nParameters", "----------", *told, ""]) if told else ""


def _row(class_name: str, name: str, f, df, doc: str, gain="xavier", nonnegative=False, **limits) -> type[Activation]:
    """Make the class of one activation and enter it into the tables."""
    id, needs = _core.ACTIVATIONS[name]
    body = {"name": name, "id": id, "needs": needs, "gain": gain, "nonnegative": nonnegative, "limits": limits}
    body |= {"f": staticmethod(f), "df": staticmethod(df), "fields": tuple(limits), "__doc__": doc + _told(limits)}
    body |= {"__module__": __name__}
    TABLE[name] = BY_ID[id] = type(class_name, (Activation,), body)
    return TABLE[name]


# ---- the rows ----------------------------------------------------------------------------------------------------
# fmt: off

Identity = _row("Identity", "identity", lambda x: x, lambda y: np.ones_like(y), "x.")
Step = _row("Step", "step", lambda x: np.heaviside(x, 0), lambda y: np.zeros_like(y),
    "1 where x > 0, else 0 (McCulloch, Pitts 1943). Its derivative is 0: nothing below it learns.", nonnegative=True)
Sigmoid = _row("Sigmoid", "sigmoid", sigmoid, lambda y: y * (1 - y), "1 / (1 + exp(-x)).", nonnegative=True)
Tanh = _row("Tanh", "tanh", lambda x: np.tanh(x), lambda y: 1 - y * y, "tanh x.")
LeCunTanh = _row("LeCunTanh", "lecun_tanh",
    lambda x, a: np.tanh(x) + a * x, lambda x, a: 1 - np.tanh(x) ** 2 + a,
    "tanh x + a x: a small linear term avoids flat spots (LeCun et al. 1998, Efficient BackProp).",
    a=(0.1, None, False))
ScaledTanh = _row("ScaledTanh", "scaled_tanh",
    lambda x: 1.7159 * np.tanh(2 / 3 * x), lambda y: 2 / 3 * (1.7159 - y * y / 1.7159),
    "1.7159 tanh(2x/3), about 1 at 1 (LeCun et al. 1998, Efficient BackProp).")
ReLU = _row("ReLU", "relu", lambda x: np.maximum(x, 0), lambda y: y > 0,
    "max(0, x) (Nair, Hinton 2010); derivative 0 at 0.", gain="he", nonnegative=True)
LeakyReLU = _row("LeakyReLU", "leaky_relu",
    lambda x, alpha: np.where(x < 0, alpha * x, x), lambda y, alpha: np.where(y > 0, 1, alpha),
    "x where x >= 0, else alpha x (Maas, Hannun, Ng 2013).",
    gain="he", alpha=(0.01, 0.0, False))
ELU = _row("ELU", "elu",
    lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
    lambda y, alpha: np.where(y < 0, y + alpha, 1),
    "x where x >= 0, else alpha (exp(x) - 1) (Clevert, Unterthiner, Hochreiter 2016).",
    gain="he", alpha=(1.0, 0.0, True))
SELU = _row("SELU", "selu",
    lambda x: SELU_SCALE * np.where(x < 0, SELU_ALPHA * np.expm1(np.minimum(x, 0)), x),
    lambda y: np.where(y < 0, y + SELU_SCALE * SELU_ALPHA, SELU_SCALE),
    "1.0507 elu(x, 1.6733): keeps mean 0 and variance 1 (Klambauer et al. 2017); use lecun_normal weights.")
GELU = _row("GELU", "gelu", lambda x: x * normal_cdf(x), lambda x: normal_cdf(x) + x * normal_pdf(x),
    "x Phi(x), exact, with the normal distribution Phi (Hendrycks, Gimpel 2016).", gain="he")
SiLU = _row("SiLU", "silu", lambda x: x * sigmoid(x), d_silu,
    "x sigmoid(x) (Elfwing, Uchibe, Doya 2018; Swish of Ramachandran, Zoph, Le 2017).", gain="he")
Mish = _row("Mish", "mish", lambda x: x * np.tanh(softplus(x)), d_mish,
    "x tanh(softplus(x)) (Misra 2019).", gain="he")
Softplus = _row("Softplus", "softplus", softplus, lambda y: -np.expm1(-y),
    "log(1 + exp(x)) (Dugas et al. 2001).", nonnegative=True)
Softsign = _row("Softsign", "softsign", lambda x: x / (1 + np.abs(x)), lambda y: (1 - np.abs(y)) ** 2,
    "x / (1 + |x|) (Bergstra et al. 2009).")
ArcTan = _row("ArcTan", "arctan", lambda x: np.arctan(x), lambda x: 1 / (1 + x * x), "arctan x.")
BentIdentity = _row("BentIdentity", "bent_identity",
    lambda x: 0.5 * (np.sqrt(x * x + 1) - 1) + x, lambda x: 0.5 * x / np.sqrt(x * x + 1) + 1,
    "(sqrt(x^2 + 1) - 1) / 2 + x.")
HardSigmoid = _row("HardSigmoid", "hard_sigmoid",
    lambda x: np.clip(x / 6 + 0.5, 0, 1), lambda y: np.where((y > 0) & (y < 1), 1 / 6, 0),
    "x/6 + 1/2, cut to 0..1 (Howard et al. 2019).", nonnegative=True)
HardTanh = _row("HardTanh", "hard_tanh", lambda x: np.clip(x, -1, 1), lambda y: np.abs(y) < 1,
    "x, cut to -1..1 (Collobert 2004).")
HardSwish = _row("HardSwish", "hard_swish", lambda x: x * np.clip(x + 3, 0, 6) / 6, d_hard_swish,
    "x relu6(x + 3) / 6 (Howard et al. 2019).", gain="he")
Sinusoid = _row("Sinusoid", "sinusoid", lambda x: np.sin(x), lambda x: np.cos(x), "sin x.")
Sinc = _row("Sinc", "sinc", sinc, d_sinc, "sin(x) / x, 1 at 0.")
Gaussian = _row("Gaussian", "gaussian", lambda x: np.exp(-x * x), lambda x: -2 * x * np.exp(-x * x),
    "exp(-x^2).", nonnegative=True)
ISRU = _row("ISRU", "isru",
    lambda x, alpha: x / np.sqrt(1 + alpha * x * x), lambda y, alpha: np.maximum(1 - alpha * y * y, 0) ** 1.5,
    "x / sqrt(1 + alpha x^2) (Carlile et al. 2017).", alpha=(1.0, 0.0, True))
Epanechnikov = _row("Epanechnikov", "epanechnikov",
    lambda x: inside(x, 0.75 * (1 - x * x)), lambda x: inside(x, -1.5 * x),
    "3/4 (1 - x^2) where |x| <= 1, else 0 (Epanechnikov 1969).", nonnegative=True)
Triangular = _row("Triangular", "triangular",
    lambda x: inside(x, 1 - np.abs(x)), lambda x: inside(x, -np.sign(x)),
    "1 - |x| where |x| <= 1, else 0.", nonnegative=True)
Quartic = _row("Quartic", "quartic",
    lambda x: inside(x, 0.9375 * (1 - x * x) ** 2), lambda x: inside(x, -3.75 * x * (1 - x * x)),
    "15/16 (1 - x^2)^2 where |x| <= 1, else 0 (the biweight kernel).", nonnegative=True)
Tricube = _row("Tricube", "tricube",
    lambda x: inside(x, 70 / 81 * (1 - np.abs(x) ** 3) ** 3),
    lambda x: inside(x, -70 / 9 * x * np.abs(x) * (1 - np.abs(x) ** 3) ** 2),
    "70/81 (1 - |x|^3)^3 where |x| <= 1, else 0 (Cleveland 1979).", nonnegative=True)
Rectangular = _row("Rectangular", "rectangular", lambda x: inside(x, 0.5 + 0 * x), lambda x: np.zeros_like(x),
    "1/2 where |x| <= 1, else 0. Its derivative is 0: nothing below it learns.", nonnegative=True)
# fmt: on


def _softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _no_slope(y):
    raise ValueError("softmax mixes the columns of a row: it has a Jacobian, not a derivative per element")


Softmax = _row("Softmax", "softmax", _softmax, _no_slope, "exp(x_o) / sum of exp(x) over the row.", nonnegative=True)
Softmax.pull_back = lambda self, y, dy: y * (dy - (dy * y).sum(axis=-1, keepdims=True))  # type: ignore[method-assign, assignment]
Identity.pull_back = lambda self, y, dy: dy  # type: ignore[method-assign, assignment]


# ---- random ones: rows of RANDOM in csrc/ops.def -----------------------------------------------------------------


class Random(Activation):
    """Base of the activations that draw numbers in training; in prediction they are their `frozen` one."""

    random, gain = True, "he"

    @property
    def needs(self):
        return self.frozen.needs

    def __call__(self, x):
        return self.frozen(x)

    def slope(self, v):
        return self.frozen.slope(v)


class NoisyReLU(Random):
    """max(0, x + e), e normal with mean 0; without e in prediction (Nair, Hinton 2010, "Rectified linear units improve
    restricted Boltzmann machines").

    Parameters
    ----------
    scale : float > 0, or None
        Standard deviation of e.  Default None: that of the paper, whose variance is sigmoid(x).
    """

    name, fields, nonnegative = "noisy_relu", ("scale",), True

    def __init__(self, scale: float | None = None) -> None:
        self.scale = None if scale is None else number("noisy_relu scale", scale, 0.0, low_open=True)
        self.kind = "noisy_relu_sigmoid" if scale is None else "noisy_relu"
        self.parameters = () if self.scale is None else (self.scale,)
        self.frozen = ReLU()


class RReLU(Random):
    """x where x >= 0, else a x, a uniform in lower..upper for every element of every step; in prediction a is their
    mean (Xu, Wang, Chen, Li 2015, arXiv:1505.00853).

    Parameters
    ----------
    lower, upper : float, 0 <= lower <= upper
        Default 1/8 and 1/3.
    """

    name, fields = "rrelu", ("lower", "upper")
    kind = "rrelu"

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3) -> None:
        self.lower = number("rrelu lower", lower, 0.0)
        self.upper = number("rrelu upper", upper, self.lower)
        self.parameters = (self.lower, self.upper)
        self.frozen = LeakyReLU((self.lower + self.upper) / 2)


RANDOM = {made.name: made for made in (NoisyReLU, RReLU)}

# ---- one of the user's own ---------------------------------------------------------------------------------------


class Function(Activation):
    """An activation written in Python.  The plan steps out of C for it: some 10 us a call and a copy of the values;
    a model with one cannot be written to a file (its parameters can: `state_dict`).

    Parameters
    ----------
    f : callable
        f(x) -> act(x), arrays [B, O] of the model's dtype, elementwise.
    df : callable
        df(x) -> its derivative at x, likewise.

    Raises
    ------
    TypeError
        One of them is not callable.

    Examples
    --------
    >>> cube = pn.activations.Function(lambda x: x**3, lambda x: 3 * x**2)
    >>> pn.Dense(64, activation=cube)
    """

    name, function, needs = "function", True, "X"

    def __init__(self, f, df) -> None:
        for name, given in (("f", f), ("df", df)):
            if not callable(given):
                raise TypeError(f"{name} of Function must be callable, got {type(given).__name__} {given!r}")
        self.f, self.df = f, df  # type: ignore[method-assign]
        self.parameters = ()

    def config(self) -> dict:
        raise ValueError("an activation written in Python cannot be put into a file; save model.state_dict() instead")

    def __eq__(self, other) -> bool:
        return self is other

    __hash__ = object.__hash__

    def forward(self, x, width: int):
        """Return y: what a machine calls on the way up."""
        return returned("f of an activation Function", self.f(x), x.shape)

    def backward(self, x, y, dy):
        """Return dL/dx: what a machine calls on the way down."""
        return dy * returned("df of an activation Function", self.df(x), x.shape)


def returned(what: str, result, shape: tuple) -> np.ndarray:
    """Return what a function of the user's returned, as an array, if it has the shape it must have."""
    array = np.asarray(result)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{what} must return an array of real numbers, got {type(result).__name__}")
    if array.shape != shape:
        raise ValueError(f"{what} must return shape {shape}, got {array.shape}")
    return array


# ---- use ---------------------------------------------------------------------------------------------------------


def get(spec) -> Activation:
    """Return the activation that `spec` means.

    Parameters
    ----------
    spec : str, Activation, dict, or None
        A name, the thing itself, its config dict; None is identity.

    Raises
    ------
    ValueError
        If the name is unknown (with a close match) or a parameter is impossible.
    TypeError
        If `spec` is something else.
    """
    return lookup("activation", "identity" if spec is None else spec, Activation, TABLE | RANDOM, ALIASES)


from_config = get


def from_op(id: int, parameters) -> Activation:
    """Return the activation of an op record: its id and its ``p``."""
    made = BY_ID[int(id)]
    return made(*(float(p) for p in parameters[: len(made.fields)]))


def evaluate(activation, x) -> np.ndarray:
    """Return act(x), in the dtype of `x` (float64 for integers).

    Parameters
    ----------
    activation : as in `get`
    x : array-like
        Of any shape; of softmax the last axis is a row.
    """
    with np.errstate(all="ignore"):
        return get(activation)(_floating(x))


def derivative(activation, x, y=None) -> np.ndarray:
    """Return the derivative of an activation, elementwise.

    Parameters
    ----------
    activation : as in `get`
    x : array-like
        Where.
    y : array-like, optional
        act(x), if it is at hand.
    """
    activation, x = get(activation), _floating(x)
    with np.errstate(all="ignore"):
        y = activation(x) if y is None else _floating(y)
        return activation.slope(y if activation.needs == "Y" else x)


def _floating(x) -> np.ndarray:
    x = np.asarray(x)
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)


__all__ = [
    *(made.__name__ for made in (*TABLE.values(), *RANDOM.values())),
    "Activation", "Function", "derivative", "evaluate", "get"
]  # fmt: skip
