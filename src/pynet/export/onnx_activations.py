"""Activations in the words of ONNX: an operator where there is one, else composed of primitive ones.

Each writer puts nodes behind `x` into a graph `g` (Graph of onnx_graph.py) and returns the name of the last output.
onnx_match.py runs the same writers to recognise what they write: no second list says what stands for what.

All are the same function as pynet's; what differs is rounding. Of float64 models gelu and arctan are exact to float32
only: Erf and Atan are cast around, for ONNX Runtime has no float64 form of them. Other operators that it lacks in
float64 (Elu, Selu, Softplus, Softsign, HardSigmoid, HardSwish) are composed there; so is LeakyRelu.
"""

from __future__ import annotations

import math

from ..formulas import SELU_ALPHA, SELU_SCALE

__all__ = ["FOREIGN", "WRITERS"]


def _operator(op: str, **attributes):
    return lambda g, x: g.node(op, x, **attributes)


def _single(g, op: str, x: str) -> str:
    """An operator that is computed in float32 at best."""
    return g.cast(g.node(op, g.cast(x, "float32")), "float64") if g.double else g.node(op, x)


def _times(g, factor: float, x: str) -> str:
    return g.node("Mul", x, g.number(factor))


def _step(g, x):
    return g.node("Cast", g.node("Greater", x, g.number(0.0)), to=g.element_type)


def _lecun_tanh(g, x, a):
    return g.node("Add", g.node("Tanh", x), _times(g, a, x))


def _scaled_tanh(g, x):
    return _times(g, 1.7159, g.node("Tanh", _times(g, 2 / 3, x)))


def _leaky_relu(g, x, alpha):
    if g.double:  # the attribute is float32
        return g.node("Where", g.node("Less", x, g.number(0.0)), _times(g, alpha, x), x)
    return g.node("LeakyRelu", x, alpha=alpha)


def _below_zero(g, x, factor, above):
    """`factor` (exp(x) - 1) where x < 0, else `above`."""
    drop = g.node("Sub", g.node("Exp", g.node("Min", x, g.number(0.0))), g.number(1.0))
    return g.node("Where", g.node("Less", x, g.number(0.0)), _times(g, factor, drop), above)


def _elu(g, x, alpha):
    return _below_zero(g, x, alpha, x) if g.double else g.node("Elu", x, alpha=alpha)


def _selu(g, x):
    if g.double:
        return _times(g, SELU_SCALE, _below_zero(g, x, SELU_ALPHA, x))
    return g.node("Selu", x, alpha=SELU_ALPHA, gamma=SELU_SCALE)


def _gelu(g, x):
    erf = _single(g, "Erf", _times(g, math.sqrt(0.5), x))
    return _times(g, 0.5, g.node("Mul", x, g.node("Add", erf, g.number(1.0))))


def _silu(g, x):
    if g.double:  # ONNX Runtime 1.20 makes an operator of x sigmoid(x) that it does not have in float64
        return g.node("Div", x, g.node("Add", g.node("Exp", g.node("Neg", x)), g.number(1.0)))
    return g.node("Mul", x, g.node("Sigmoid", x))


def _softplus(g, x):
    if not g.double:
        return g.node("Softplus", x)
    tail = g.node("Log", g.node("Add", g.node("Exp", g.node("Neg", g.node("Abs", x))), g.number(1.0)))
    return g.node("Add", g.node("Max", x, g.number(0.0)), tail)


def _mish(g, x):
    return g.node("Mul", x, g.node("Tanh", _softplus(g, x)))


def _softsign(g, x):
    return g.node("Div", x, g.node("Add", g.node("Abs", x), g.number(1.0))) if g.double else g.node("Softsign", x)


def _bent_identity(g, x):
    root = g.node("Sqrt", g.node("Add", g.node("Mul", x, x), g.number(1.0)))
    return g.node("Add", _times(g, 0.5, g.node("Sub", root, g.number(1.0))), x)


def _clip(g, x, low: float, high: float) -> str:
    return g.node("Clip", x, g.number(low), g.number(high))


def _hard_sigmoid(g, x):
    if g.double:
        return _clip(g, g.node("Add", _times(g, 1 / 6, x), g.number(0.5)), 0.0, 1.0)
    return g.node("HardSigmoid", x, alpha=1 / 6, beta=0.5)


def _hard_tanh(g, x):
    return _clip(g, x, -1.0, 1.0)


def _hard_swish(g, x):
    if not g.double:
        return g.node("HardSwish", x)
    return _times(g, 1 / 6, g.node("Mul", x, _clip(g, g.node("Add", x, g.number(3.0)), 0.0, 6.0)))


def _sinc(g, x):
    zero, one = g.node("Equal", x, g.number(0.0)), g.number(1.0)
    return g.node("Where", zero, one, g.node("Div", g.node("Sin", x), g.node("Where", zero, one, x)))


def _gaussian(g, x):
    return g.node("Exp", g.node("Neg", g.node("Mul", x, x)))


def _isru(g, x, alpha):
    square = _times(g, alpha, g.node("Mul", x, x))
    return g.node("Div", x, g.node("Sqrt", g.node("Add", square, g.number(1.0))))


def _inside(g, x, value: str) -> str:
    """`value` where |x| <= 1, else 0."""
    return g.node("Where", g.node("Greater", g.node("Abs", x), g.number(1.0)), g.number(0.0), value)


def _bell(g, x, factor: float, power: float, shape: float) -> str:
    """`factor` (1 - |x|^power)^shape where |x| <= 1, else 0."""
    rest = g.node("Sub", g.number(1.0), g.node("Pow", g.node("Abs", x), g.number(power)))
    return _inside(g, x, _times(g, factor, g.node("Pow", rest, g.number(shape))))


def _epanechnikov(g, x):
    return _bell(g, x, 0.75, 2.0, 1.0)


def _triangular(g, x):
    return _inside(g, x, g.node("Sub", g.number(1.0), g.node("Abs", x)))


def _quartic(g, x):
    return _bell(g, x, 0.9375, 2.0, 2.0)


def _tricube(g, x):
    return _bell(g, x, 70 / 81, 3.0, 3.0)


def _rectangular(g, x):
    return _inside(g, x, g.number(0.5))


WRITERS = {  # name of the activation: writer(g, x, *its parameters)
    "identity": _operator("Identity"), "step": _step, "sigmoid": _operator("Sigmoid"), "tanh": _operator("Tanh"),
    "lecun_tanh": _lecun_tanh, "scaled_tanh": _scaled_tanh, "relu": _operator("Relu"), "leaky_relu": _leaky_relu,
    "elu": _elu, "selu": _selu, "gelu": _gelu, "silu": _silu, "mish": _mish, "softplus": _softplus,
    "softsign": _softsign, "arctan": lambda g, x: _single(g, "Atan", x), "bent_identity": _bent_identity,
    "hard_sigmoid": _hard_sigmoid, "hard_tanh": _hard_tanh, "hard_swish": _hard_swish, "sinusoid": _operator("Sin"),
    "sinc": _sinc, "gaussian": _gaussian, "isru": _isru, "epanechnikov": _epanechnikov, "triangular": _triangular,
    "quartic": _quartic, "tricube": _tricube, "rectangular": _rectangular,
    "softmax": _operator("Softmax", axis=-1),
}  # fmt: skip


# ---- what others write, and the reader knows -----------------------------------------------------------------------


def _gelu_divided(g, x):
    """PyTorch: (x (erf(x / sqrt 2) + 1)) 1/2"""
    erf = g.node("Erf", g.node("Div", x, g.number(math.sqrt(2))))
    return _times(g, 0.5, g.node("Mul", x, g.node("Add", erf, g.number(1.0))))


def _gelu_halved(g, x):
    """(x / 2) (erf(x / sqrt 2) + 1)"""
    erf = g.node("Erf", g.node("Div", x, g.number(math.sqrt(2))))
    return g.node("Mul", _times(g, 0.5, x), g.node("Add", erf, g.number(1.0)))


def _gelu_halved_times(g, x):
    erf = g.node("Erf", _times(g, math.sqrt(0.5), x))
    return g.node("Mul", _times(g, 0.5, x), g.node("Add", erf, g.number(1.0)))


def _hard_swish_of_parts(g, x):
    return g.node("Mul", x, g.node("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def _hard_swish_divided(g, x):
    """x clip(x + 3, 0, 6) / 6"""
    return g.node("Div", g.node("Mul", x, _clip(g, g.node("Add", x, g.number(3.0)), 0.0, 6.0)), g.number(6.0))


def _hard_sigmoid_divided(g, x):
    return g.node("Div", _clip(g, g.node("Add", x, g.number(3.0)), 0.0, 6.0), g.number(6.0))


FOREIGN = (
    ("gelu", _gelu_divided), ("gelu", _gelu_halved), ("gelu", _gelu_halved_times), ("gelu", _operator("Gelu")),
    ("hard_swish", _hard_swish_of_parts), ("hard_swish", _hard_swish_divided), ("hard_sigmoid", _hard_sigmoid_divided),
    ("mish", _operator("Mish")), ("silu", _operator("Swish")), ("relu", lambda g, x: g.node("Max", x, g.number(0.0))),
    ("elu", _operator("Celu", alpha=1.0)),
)  # fmt: skip
