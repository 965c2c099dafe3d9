"""The norms of the NumPy machine: y = (x - mean) gamma / sqrt(variance + epsilon) + beta.

Letters as in reference_ops.py; n stands for the normalised (x - mean) / deviation, r for the weights of the rows.
"""

from __future__ import annotations

import numpy as np

from . import _core

OP = _core.OPS


def normalise(x_bo, factors, epsilon: float):
    """Return y; `factors` are gamma, beta, mean and variance, [1, O]."""
    gamma, beta, mean, variance = factors
    return (x_bo - mean) * (gamma / np.sqrt(variance + x_bo.dtype.type(epsilon))) + beta


# ---- batch_norm: mean and variance of the batch (Ioffe, Szegedy 2015) ----------------------------------------------


def batch_norm_forward(m, op) -> None:
    """mean = sum_b r_b x_b / R,  variance = sum_b r_b (x_b - mean)^2 / R,  R = sum_b r_b"""
    x_bo, r_b1 = m.values[op.x], m.weights[:, None]
    total = m.weights.sum() or 1.0
    mean = (r_b1 * x_bo).sum(axis=0, keepdims=True) / total
    variance = (r_b1 * (x_bo - mean) ** 2).sum(axis=0, keepdims=True) / total
    m.kept[op] = mean.astype(m.dtype), variance.astype(m.dtype)
    m.values[op.y] = normalise(x_bo, (m.params[op.w], m.params[op.b], *m.kept[op]), op.p[0])


def batch_norm_backward(m, op) -> None:
    """dbeta = sum_b dy,  dgamma = sum_b dy n,  dx = gamma / deviation (dy - r_b / R (dbeta + n dgamma))"""
    mean, variance = m.kept[op]
    dy_bo, r_b1 = m.gradients[op.y], (m.weights / (m.weights.sum() or 1.0)).astype(m.dtype)[:, None]
    inverse = 1 / np.sqrt(variance + m.dtype.type(op.p[0]))
    n_bo = (m.values[op.x] - mean) * inverse
    dbeta, dgamma = dy_bo.sum(axis=0, keepdims=True), (dy_bo * n_bo).sum(axis=0, keepdims=True)
    m.add_up(op, op.w, lambda: dgamma)
    m.add_up(op, op.b, lambda: dbeta)
    if not op.flags & _core.STOP_X:
        dx_bo = m.params[op.w] * inverse * (dy_bo - r_b1 * (dbeta + n_bo * dgamma))
        m.pass_down(op.x, dx_bo, op.flags & _core.ADD_X)


def track(m, op) -> None:
    """running = momentum running + (1 - momentum) batch; the variance n/(n-1) times, n = R^2 / sum_b r_b^2"""
    squares, momentum = (m.weights**2).sum(), op.p[1]
    n = m.weights.sum() ** 2 / squares if squares > 0 else 0.0
    if n > 1:
        for p, now, factor in zip((op.w2 + 2, op.w2 + 3), m.kept[op], (1.0, n / (n - 1)), strict=True):
            m.params[p] = (momentum * m.params[p] + (1 - momentum) * factor * now).astype(m.dtype)


# ---- running_norm: mean and variance are constants -----------------------------------------------------------------


def running_norm_forward(m, op) -> None:
    m.values[op.y] = normalise(m.values[op.x], m.params[op.w2 : op.w2 + 4], op.p[0])


def running_norm_backward(m, op) -> None:
    """dbeta = sum_b dy,  dgamma = sum_b dy n,  dx = dy gamma / deviation"""
    gamma, _, mean, variance = m.params[op.w2 : op.w2 + 4]
    dy_bo, inverse = m.gradients[op.y], 1 / np.sqrt(variance + m.dtype.type(op.p[0]))
    m.add_up(op, op.w, lambda: (dy_bo * ((m.values[op.x] - mean) * inverse)).sum(axis=0, keepdims=True))
    m.add_up(op, op.b, lambda: dy_bo.sum(axis=0, keepdims=True))
    if not op.flags & _core.STOP_X:
        m.pass_down(op.x, dy_bo * (gamma * inverse), op.flags & _core.ADD_X)


# ---- row_norm: mean and variance of each row (Ba, Kiros, Hinton 2016) ----------------------------------------------


def row_norm_forward(m, op) -> None:
    """y = n gamma + beta; z keeps mean and 1 / deviation"""
    x_bo = m.values[op.x]
    mean, variance = x_bo.mean(axis=1, keepdims=True), x_bo.var(axis=1, keepdims=True)
    inverse = 1 / np.sqrt(variance + m.dtype.type(op.p[0]))
    m.values[op.z] = np.concatenate([mean, inverse], axis=1)
    y_bo = (x_bo - mean) * inverse
    y_bo = y_bo if op.w is None else y_bo * m.params[op.w]
    m.values[op.y] = y_bo if op.b is None else y_bo + m.params[op.b]


def row_norm_backward(m, op) -> None:
    """dx = (g - mean_o g - n mean_o(g n)) / deviation,  g = dy gamma;  dbeta = sum_b dy,  dgamma = sum_b dy n"""
    mean, inverse = m.values[op.z][:, :1], m.values[op.z][:, 1:]
    dy_bo, n_bo = m.gradients[op.y], (m.values[op.x] - mean) * inverse
    m.add_up(op, op.w, lambda: (dy_bo * n_bo).sum(axis=0, keepdims=True))
    m.add_up(op, op.b, lambda: dy_bo.sum(axis=0, keepdims=True))
    if not op.flags & _core.STOP_X:
        g_bo = dy_bo if op.w is None else dy_bo * m.params[op.w]
        pull = g_bo.mean(axis=1, keepdims=True) + n_bo * (g_bo * n_bo).mean(axis=1, keepdims=True)
        m.pass_down(op.x, (g_bo - pull) * inverse, op.flags & _core.ADD_X)


UP = {
    OP["batch_norm"]: batch_norm_forward,
    OP["running_norm"]: running_norm_forward,
    OP["row_norm"]: row_norm_forward,
}
DOWN = {
    OP["batch_norm"]: batch_norm_backward,
    OP["running_norm"]: running_norm_backward,
    OP["row_norm"]: row_norm_backward,
}
