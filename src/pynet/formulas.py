"""Functions and derivatives of activations that need more than a line, in NumPy."""

from __future__ import annotations

import math

import numpy as np


def sigmoid(x):
    e = np.exp(-np.abs(x))  # in 0..1: neither branch overflows
    return np.where(x >= 0, 1, e) / (1 + e)


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


_erfc = np.frompyfunc(math.erfc, 1, 1)  # exact to the last bits and slow: about 0.1 us an element


def normal_cdf(x):
    return np.asarray(_erfc(-math.sqrt(0.5) * x.astype(np.float64)), dtype=np.float64) / 2


def normal_pdf(x):
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def d_silu(x):
    s = sigmoid(x)
    return s * (1 + x * sigmoid(-x))


def d_mish(x):
    t = np.tanh(softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


def sinc(x):
    zero = x == 0
    return np.where(zero, 1, np.sin(x) / np.where(zero, 1, x))


def d_sinc(x):
    """(cos x - sin(x)/x) / x, by its power series where |x| < 1 and the difference cancels."""
    z = x * x
    series = 0 * z
    for k in range(8, 0, -1):  # sum of (-1)^k 2k x^(2k-1) / (2k+1)!
        series = series * z + (-1) ** k * 2 * k / math.factorial(2 * k + 1)
    near = np.abs(x) < 1
    safe = np.where(near, 1, x)
    return np.where(near, series * x, (np.cos(safe) - np.sin(safe) / safe) / safe)


def d_hard_swish(x):
    return np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5))


def inside(x, value):
    """`value` where |x| <= 1, else 0: kernel functions have bounded support."""
    return np.where(np.abs(x) > 1, 0, value)


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
