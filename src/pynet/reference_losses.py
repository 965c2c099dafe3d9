"""Losses and metrics of the NumPy machine, by formula.

Letters: x_bo what the head computed (y, or logits z), t_bo real targets, label_b class numbers, d = y - t.
A loss returns (l_b, dx_bo): the loss of each row, in float64, and its gradient in the dtype of x.
A metric returns one float64 number per row, m_b.
"""

from __future__ import annotations

import math

import numpy as np

from . import _core

EPSILON = 1e-7  # inside the logarithm of poisson

# ---- losses that are a mean over the outputs of a row: elementwise l_bo and its derivative -----------------------


def mse(y_bo, t_bo, _):
    d = y_bo - t_bo
    return d * d, 2 * d


def mae(y_bo, t_bo, _):
    d = y_bo - t_bo
    return np.abs(d), np.sign(d)


def huber(y_bo, t_bo, delta):
    d = y_bo - t_bo
    near = np.abs(d) <= delta
    return np.where(near, d * d / 2, delta * (np.abs(d) - delta / 2)), np.where(near, d, delta * np.sign(d))


def log_cosh(y_bo, t_bo, _):
    d = y_bo - t_bo
    return np.abs(d) + (np.log1p(np.exp(-2 * np.abs(d))) - math.log(2)), np.tanh(d)


def poisson(y_bo, t_bo, _):
    return y_bo - t_bo * np.log(y_bo + EPSILON), 1 - t_bo / (y_bo + EPSILON)


def quantile(y_bo, t_bo, tau):
    e = t_bo - y_bo
    return np.maximum(tau * e, (tau - 1) * e), (e < 0) * (1 - tau) - (e > 0) * tau


def binary_cross_entropy(z_bo, t_bo, _):
    e = np.exp(-np.abs(z_bo))
    sigmoid = np.where(z_bo >= 0, 1, e) / (1 + e)
    return np.maximum(z_bo, 0) - z_bo * t_bo + np.log1p(e), sigmoid - t_bo


MEANS = (mse, mae, huber, log_cosh, poisson, quantile, binary_cross_entropy)

# ---- cross-entropy: a sum over the outputs of a row --------------------------------------------------------------


def _log_sum_exp(z_bo):
    """Return log sum_o exp(z_bo) as [B, 1], and p = softmax(z)."""
    top_b1 = z_bo.max(axis=1, keepdims=True)
    e_bo = np.exp(z_bo - top_b1)
    s_b1 = e_bo.sum(axis=1, keepdims=True)
    return top_b1 + np.log(s_b1), e_bo / s_b1


def cross_entropy_index(z_bo, label_b, _):
    """l = lse(z) - z[label];  dl/dz = p - onehot(label)"""
    rows = np.arange(len(z_bo))
    lse_b1, dz_bo = _log_sum_exp(z_bo)
    dz_bo[rows, label_b] -= 1
    return (lse_b1[:, 0] - z_bo[rows, label_b]).astype(np.float64), dz_bo


def cross_entropy_dense(z_bo, t_bo, _):
    """l = sum_o t (lse(z) - z);  dl/dz = (sum_o t) p - t"""
    lse_b1, p_bo = _log_sum_exp(z_bo)
    l_b = (t_bo * (lse_b1 - z_bo)).sum(axis=1, dtype=np.float64)
    return l_b, t_bo.sum(axis=1, keepdims=True) * p_bo - t_bo


SUMS = (cross_entropy_index, cross_entropy_dense)

BY_ID = {_core.LOSSES[function.__name__]: function for function in MEANS + SUMS}


def loss(kind: int, parameter: float, x_bo, target):
    """Return (l_b, dx_bo) of loss number `kind`; dx is the gradient of each row's own loss."""
    function = BY_ID[kind]
    if function in SUMS:
        return function(x_bo, target, parameter)
    l_bo, dx_bo = function(x_bo, target, parameter)
    return l_bo.mean(axis=1, dtype=np.float64), (dx_bo / x_bo.shape[1]).astype(x_bo.dtype, copy=False)


# ---- metrics -----------------------------------------------------------------------------------------------------


def accuracy_index(x_bo, label_b, _):
    return x_bo.argmax(axis=1) == label_b  # the first of equals


def accuracy_dense(x_bo, t_bo, _):
    return x_bo.argmax(axis=1) == t_bo.argmax(axis=1)


def accuracy_binary(x_bo, t_bo, threshold):
    return ((x_bo > threshold) == (t_bo > 0.5)).mean(axis=1)


def top_k_index(x_bo, label_b, k):
    x_b1 = x_bo[np.arange(len(x_bo)), label_b][:, None]
    before_bo = np.arange(x_bo.shape[1]) < label_b[:, None]
    rank_b = ((x_bo > x_b1) | ((x_bo == x_b1) & before_bo)).sum(axis=1)
    return rank_b < k


def top_k_dense(x_bo, t_bo, k):
    return top_k_index(x_bo, t_bo.argmax(axis=1), k)


def _difference(y_bo, t_bo):
    return y_bo.astype(np.float64) - t_bo


def metric_mae(y_bo, t_bo, _):
    return np.abs(_difference(y_bo, t_bo)).mean(axis=1)


def metric_mse(y_bo, t_bo, _):
    return (_difference(y_bo, t_bo) ** 2).mean(axis=1)


METRICS = {
    _core.METRICS["accuracy_index"]: accuracy_index,
    _core.METRICS["accuracy_dense"]: accuracy_dense,
    _core.METRICS["accuracy_binary"]: accuracy_binary,
    _core.METRICS["top_k_index"]: top_k_index,
    _core.METRICS["top_k_dense"]: top_k_dense,
    _core.METRICS["mae"]: metric_mae,
    _core.METRICS["mse"]: metric_mse,
}


def metric_sums(kind: int, parameter: float, x_bo, target, w_b) -> np.ndarray:
    """Return what metric number `kind` adds to its sums, float64: [sum w m, sum w]; r2 has 1 + 3 O of them."""
    if kind == _core.METRICS["r2"]:  # sum w; then for each output: sum w t, sum w t^2, sum w (y - t)^2
        t_bo = target.astype(np.float64)
        per_output = np.stack([w_b @ t_bo, w_b @ t_bo**2, w_b @ _difference(x_bo, t_bo) ** 2], axis=1)
        return np.concatenate([[w_b.sum()], per_output.reshape(-1)])
    m_b = METRICS[kind](x_bo, target, parameter)
    return np.array([w_b @ m_b, w_b.sum()])
