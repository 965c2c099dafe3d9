"""The random op of the NumPy machine: y = f(x, numbers by position), one row for each f; the same bits as in
csrc/kernels/random.h decide.  Nothing is kept for the way down: the numbers are drawn again.

A block of Philox (philox.py) serves one column and 8 rows (16 bits each) or 4 (32 bits); its counter is
(column, row // 8 or 4, step, stream with its highest bit set), where rows are counted in the order of the job.
"""

from __future__ import annotations

import numpy as np

from . import _core, philox
from .formulas import sigmoid


def _words(m, op, shape, rows: int) -> np.ndarray:
    """Return the words of the blocks that cover a value, uint64 [groups, 4, O]."""
    groups = np.arange(m.first_row // rows, (m.first_row + shape[0] - 1) // rows + 1, dtype=np.uint64)
    counter = np.zeros((4, len(groups), shape[1]), np.uint64)
    counter[0] = np.arange(shape[1], dtype=np.uint64)
    counter[1] = groups[:, None] & np.uint64(0xFFFFFFFF)
    counter[2:] = np.array([m.step & 0xFFFFFFFF, op.slot | 1 << 31], np.uint64)[:, None, None]
    return philox.block(counter.reshape(4, -1), m.job.seed).reshape(counter.shape).transpose(1, 0, 2)


def _of_batch(m, numbers, shape) -> np.ndarray:
    """Return the rows of this batch of numbers [groups, rows of a group, O]."""
    skip = m.first_row % numbers.shape[1]
    return numbers.reshape(-1, shape[1])[skip : skip + shape[0]]


def sixteen_bits(m, op, shape) -> np.ndarray:
    """Integers 0..65535"""
    words = _words(m, op, shape, 8)
    halves = np.stack([words & np.uint64(0xFFFF), words >> np.uint64(16)], axis=2)
    return _of_batch(m, halves.reshape(len(words), 8, -1), shape)


def uniforms(m, op, shape) -> np.ndarray:
    """Odd multiples of 2^-24 in (0, 1), float64"""
    top = (_words(m, op, shape, 4) >> np.uint64(9)).astype(np.float64)
    return _of_batch(m, (2 * top + 1) * 2.0**-24, shape)


def normals(m, op, shape) -> np.ndarray:
    """Standard normal numbers, float64: words 0 and 1 make two of them, words 2 and 3 two more (Box, Muller 1958)"""
    top = (_words(m, op, shape, 4) >> np.uint64(9)).astype(np.float64)
    u = (2 * top + 1) * 2.0**-24
    radius, angle = np.sqrt(-2 * np.log(u[:, ::2])), 2 * np.pi * u[:, 1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)
    return _of_batch(m, pairs.reshape(u.shape), shape)


# ---- the functions: value and slope from x and the numbers n -------------------------------------------------------


def dropped_share(rate: float) -> int:
    """Of 65536: the multiple of 2^-16 nearest to the rate"""
    return min(int(np.floor(rate * 65536 + 0.5)), 65535)


def dropout_scale(rate: float) -> float:
    return 65536 / (65536 - dropped_share(rate))


def dropout_factor(m, op, shape, rate: float) -> np.ndarray:
    """0 with probability `rate`, else 1 / (1 - rate)"""
    kept = sixteen_bits(m, op, shape) >= dropped_share(rate)
    return (kept * dropout_scale(rate)).astype(m.dtype)


def dropout(m, op, x):
    factor = dropout_factor(m, op, x.shape, op.p[0])
    return x * factor, factor


def gaussian_noise(m, op, x):
    return x + op.p[0] * normals(m, op, x.shape), np.ones_like(x)


def noisy_relu(m, op, x):
    z = x + op.p[0] * normals(m, op, x.shape)
    return np.maximum(z, 0), z > 0


def noisy_relu_sigmoid(m, op, x):
    """s = sqrt(sigmoid x), ds/dx = s (1 - s^2) / 2"""
    n, q = normals(m, op, x.shape), sigmoid(x)
    z = x + np.sqrt(q) * n
    return np.maximum(z, 0), (z > 0) * (1 + n * np.sqrt(q) * (1 - q) / 2)


def rrelu(m, op, x):
    a = op.p[0] + (op.p[1] - op.p[0]) * uniforms(m, op, x.shape)
    return np.where(x < 0, a * x, x), np.where(x < 0, a, 1)


FUNCTIONS = {_core.RANDOM[f.__name__]: f for f in (dropout, gaussian_noise, noisy_relu, noisy_relu_sigmoid, rrelu)}


def random_forward(m, op) -> None:
    m.values[op.y] = FUNCTIONS[op.act](m, op, m.values[op.x])[0].astype(m.dtype)


def random_backward(m, op) -> None:
    """dx = dy f'(x)"""
    if not op.flags & _core.STOP_X:
        slope = FUNCTIONS[op.act](m, op, m.values[op.x])[1]
        m.pass_down(op.x, (m.gradients[op.y] * slope).astype(m.dtype), op.flags & _core.ADD_X)


UP = {_core.OPS["random"]: random_forward}
DOWN = {_core.OPS["random"]: random_backward}
