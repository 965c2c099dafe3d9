"""Activations and their derivatives to 50 digits, with the decimal numbers of the standard library.

An independent truth: it shares no line, no series and no library with either machine. Slow; for some hundred points.
"""

from decimal import Decimal as D
from decimal import localcontext

import numpy as np

DIGITS = 50
PI = D("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
ZERO, ONE, TWO, HALF = D(0), D(1), D(2), D("0.5")

# ---- elementary functions that decimal lacks ---------------------------------------------------------------------


def series(term, step):
    """Sum of terms, each made from the one before by step(term, k), until they no longer count."""
    total, k = term, 1
    while term and term.adjusted() > total.adjusted() - DIGITS - 5:
        term = step(term, k)
        total += term
        k += 1
    return total


def sin(x):
    x = x.remainder_near(TWO * PI)
    return x and series(x, lambda t, k: -t * x * x / (2 * k * (2 * k + 1)))


def cos(x):
    return sin(PI / 2 - x) if abs(x) > 1 else series(ONE, lambda t, k: -t * x * x / (2 * k * (2 * k - 1)))


def atan(x):
    if x == 0:
        return x
    for _ in range(5):
        x = x / (1 + (1 + x * x).sqrt())  # half the angle
    power = [x]

    def step(t, k):
        power[0] *= -x * x
        return power[0] / (2 * k + 1)

    return 32 * series(x, step)


def expm1(x):
    return x.exp() - 1 if abs(x) > HALF else x and series(x, lambda t, k: t * x / (k + 1))


def log1p(x):
    if x > D("1e-10"):
        return (1 + x).ln()
    return x - x * x / 2 + x**3 / 3 - x**4 / 4 + x**5 / 5 - x**6 / 6


def normal_cdf(x):
    z = abs(x) / TWO.sqrt()
    if z < 3:  # erf by a series whose terms are all positive
        erf = z and 2 / PI.sqrt() * (-z * z).exp() * series(z, lambda t, k: t * 2 * z * z / (2 * k + 1))
        tail = (1 - erf) / 2
    else:  # erfc by its continued fraction
        f = z
        for k in range(300, 0, -1):
            f = z + D(k) / 2 / f
        tail = (-z * z).exp() / PI.sqrt() / f / 2
    return tail if x < 0 else 1 - tail


def tanh(x):
    e = expm1(-2 * abs(x))
    return (-e / (2 + e)).copy_sign(x)


def sigmoid(x):
    e = (-abs(x)).exp()
    return (e if x < 0 else ONE) / (1 + e)


def softplus(x):
    return max(x, ZERO) + log1p((-abs(x)).exp())


# ---- the table: name -> (f, derivative), both of x and of the parameter, if there is one -------------------------

SCALE, ALPHA = D("1.0507009873554804934193349852946"), D("1.6732632423543772848170429916717")


def inside(x, value):
    return value if abs(x) <= 1 else ZERO


def sign(x):
    return ONE.copy_sign(x) if x else ZERO


def d_mish(x):
    t = tanh(softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


def d_sinc(x):
    if abs(x) > D("1e-15"):
        return (cos(x) - sin(x) / x) / x
    return -x / 3


TABLE = {
    "identity": (lambda x: x, lambda x: ONE),
    "step": (lambda x: ONE if x > 0 else ZERO, lambda x: ZERO),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "tanh": (tanh, lambda x: 1 - tanh(x) ** 2),
    "lecun_tanh": (lambda x, a: tanh(x) + a * x, lambda x, a: 1 - tanh(x) ** 2 + a),
    "scaled_tanh": (
        lambda x: D("1.7159") * tanh(2 * x / 3),
        lambda x: D("1.7159") * 2 / 3 * (1 - tanh(2 * x / 3) ** 2),
    ),
    "relu": (lambda x: max(x, ZERO), lambda x: ONE if x > 0 else ZERO),
    "leaky_relu": (lambda x, a: x if x >= 0 else a * x, lambda x, a: ONE if x > 0 else a),
    "elu": (lambda x, a: x if x >= 0 else a * expm1(x), lambda x, a: ONE if x >= 0 else a * x.exp()),
    "selu": (
        lambda x: SCALE * (x if x >= 0 else ALPHA * expm1(x)),
        lambda x: SCALE * (ONE if x >= 0 else ALPHA * x.exp()),
    ),
    "gelu": (
        lambda x: x * normal_cdf(x),
        lambda x: normal_cdf(x) + x * (-x * x / 2).exp() / (2 * PI).sqrt(),
    ),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    "mish": (lambda x: x * tanh(softplus(x)), d_mish),
    "softplus": (softplus, sigmoid),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
    "arctan": (atan, lambda x: 1 / (1 + x * x)),
    "bent_identity": (lambda x: ((x * x + 1).sqrt() - 1) / 2 + x, lambda x: x / (x * x + 1).sqrt() / 2 + 1),
    "hard_sigmoid": (lambda x: min(ONE, max(ZERO, x / 6 + HALF)), lambda x: ONE / 6 if abs(x) < 3 else ZERO),
    "hard_tanh": (lambda x: min(ONE, max(-ONE, x)), lambda x: ONE if abs(x) < 1 else ZERO),
    "hard_swish": (
        lambda x: x * min(D(6), max(ZERO, x + 3)) / 6,
        lambda x: ZERO if x <= -3 else ONE if x >= 3 else x / 3 + HALF,
    ),
    "sinusoid": (sin, cos),
    "sinc": (lambda x: sin(x) / x if x else ONE, d_sinc),
    "gaussian": (lambda x: (-x * x).exp(), lambda x: -2 * x * (-x * x).exp()),
    "isru": (lambda x, a: x / (1 + a * x * x).sqrt(), lambda x, a: 1 / (1 + a * x * x).sqrt() ** 3),
    "epanechnikov": (lambda x: inside(x, (1 - x * x) * 3 / 4), lambda x: inside(x, -3 * x / 2)),
    "triangular": (lambda x: inside(x, 1 - abs(x)), lambda x: inside(x, -sign(x))),
    "quartic": (
        lambda x: inside(x, 15 * (1 - x * x) ** 2 / 16),
        lambda x: inside(x, -15 * x * (1 - x * x) / 4),
    ),
    "tricube": (
        lambda x: inside(x, 70 * (1 - abs(x) ** 3) ** 3 / 81),
        lambda x: inside(x, -70 * x * abs(x) * (1 - abs(x) ** 3) ** 2 / 9),
    ),
    "rectangular": (lambda x: inside(x, HALF), lambda x: ZERO),
}


def nearest(f, x: np.ndarray, *parameters: float) -> tuple[np.ndarray, np.ndarray]:
    """f at every x, as a float64 array and the rest that it rounds away: f = first + rest, to 100 bits."""
    with localcontext() as context:
        context.prec = DIGITS
        exact = [f(D(float(v)), *(D(float(p)) for p in parameters)) for v in x]
        first = np.array([float(v) for v in exact])
        rest = np.array([float(v - D(float(a))) for v, a in zip(exact, first, strict=True)])
    return first, rest
