"""Penalties, clips and optimizers of the NumPy machine, by formula.

One parameter p, its gradient g and its state s0, s1 have one shape; all but g change in place. lr is the learning
rate, t counts updates from 1, h are the constants of the rule: see optimizers.py.
"""

from __future__ import annotations

import math

import numpy as np

from . import _core

# ---- penalties: loss += l1 sum|w| + l2 sum w^2 -------------------------------------------------------------------


def penalty(l1: float, l2: float, w) -> float:
    w = w.astype(np.float64)
    return l1 * float(np.abs(w).sum()) + l2 * float((w * w).sum())


def penalty_gradient(l1: float, l2: float, w):
    return l1 * np.sign(w) + 2 * l2 * w


# ---- clips: gradients change in place ----------------------------------------------------------------------------


def clip_norm(gradients: list, c: float) -> bool:
    norm = math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients))
    if norm > c:
        for g in gradients:
            g *= c / norm
    return math.isfinite(norm)


def clip_value(gradients: list, c: float) -> bool:
    for g in gradients:
        np.clip(g, -c, c, out=g)
    return True


def clip_sign(gradients: list, _: float) -> bool:
    for g in gradients:
        np.sign(g, out=g)
    return True


CLIPS = {_core.CLIPS["norm"]: clip_norm, _core.CLIPS["value"]: clip_value, _core.CLIPS["sign"]: clip_sign}


def clip(gradients: list, clips) -> bool:
    """Apply [(kind id, c), ...] in order to all trainable gradients; False if a norm is not finite."""
    return all(CLIPS[int(kind)](gradients, float(c)) for kind, c in clips)


# ---- optimizers: one step of one parameter -----------------------------------------------------------------------


def flush(a):
    """Return `a` with denormal numbers replaced by 0: they make a processor a hundred times slower."""
    return np.where(np.abs(a) < np.finfo(a.dtype).tiny, a.dtype.type(0), a)


def sgd(p, g, lr, t, h):
    p -= lr * g


def momentum(p, g, lr, t, h, v):
    mu = h[0]
    v[...] = flush(mu * v + g)
    p -= lr * v


def nesterov(p, g, lr, t, h, v):
    mu = h[0]
    v[...] = flush(mu * v + g)
    p -= lr * (g + mu * v)


def adam(p, g, lr, t, h, m, v):
    beta_1, beta_2, epsilon = h[:3]
    m[...] = flush(beta_1 * m + (1 - beta_1) * g)
    v[...] = flush(beta_2 * v + (1 - beta_2) * (g * g))
    p -= lr / (1 - beta_1**t) * (m / (np.sqrt(v) / math.sqrt(1 - beta_2**t) + epsilon))


def adamw(p, g, lr, t, h, m, v):
    p -= lr * h[7] * p
    adam(p, g, lr, t, h, m, v)


def rmsprop(p, g, lr, t, h, v):
    rho, _, epsilon = h[:3]
    v[...] = flush(rho * v + (1 - rho) * (g * g))
    p -= lr * (g / (np.sqrt(v) + epsilon))


def adagrad(p, g, lr, t, h, v):
    epsilon = h[2]
    v[...] = flush(v + g * g)
    p -= lr * (g / (np.sqrt(v) + epsilon))


def rprop(p, g, lr, t, h, previous, size):
    eta_minus, eta_plus, step_min, step_max = h[:4]
    size[size == 0] = lr  # first step
    same = np.sign(g) * np.sign(previous)
    grown, shrunk = np.minimum(size * eta_plus, step_max), np.maximum(size * eta_minus, step_min)
    size[...] = np.where(same > 0, grown, np.where(same < 0, shrunk, size))
    previous[...] = np.where(same < 0, 0, g)
    p -= np.sign(previous) * size


RULES = (sgd, momentum, nesterov, adam, adamw, rmsprop, adagrad, rprop)
BY_ID = {_core.OPTIMIZERS[rule.__name__][0]: rule for rule in RULES}


def step(optimizer: int, hyper, rate: float, t: int, p, g, slots: list) -> None:
    """Update parameter `p` and its state `slots` with the gradient `g`, by optimizer number `optimizer`.

    Weight decay, hyper[7], adds to the gradient; adamw has a use of its own for it.
    """
    rule, h, lr = BY_ID[int(optimizer)], [float(x) for x in hyper], float(rate)
    g = flush(g)
    if h[7] and rule is not adamw:
        g = g + h[7] * p
    rule(p, g, lr, t, h, *slots)


# ---- constraints -------------------------------------------------------------------------------------------------


def bound_norms(w_io, c: float) -> None:
    """w[:, o] *= min(1, c / |w[:, o]|), in place: no unit's incoming weights are longer than c"""
    norms = np.sqrt(np.sum(w_io * w_io, axis=0, dtype=w_io.dtype))
    w_io *= np.where(norms > c, c / np.maximum(norms, np.finfo(w_io.dtype).tiny), 1).astype(w_io.dtype)
