"""The LSTM of the NumPy machine (Hochreiter, Schmidhuber 1997; forget gate: Gers, Schmidhuber, Cummins 2000).

x [B, T, F], w [F, 4U], recurrent r [U, 4U], b [4U]: input, forget, cell and output gate side by side.
A row whose mask is not above 1/2 at a step skips it: its states stay as they are.
"""

from __future__ import annotations

import numpy as np

from . import _core
from .formulas import sigmoid


def _steps(m, op):
    """Return x [B, T, F], and whether each row takes each step, bool [B, T, 1]."""
    x_btf = m.values[op.x].reshape(m.batch_rows, op.at, -1)
    takes = np.ones(x_btf.shape[:2], bool) if op.x2 is None else m.values[op.x2] > 0.5
    return x_btf, takes[:, :, None]


def lstm_forward(m, op) -> None:
    """i, f, q = sigmoid, a = tanh of x_t w + h r + b;  c = f c + i a,  h = q tanh c"""
    x_btf, takes = _steps(m, op)
    w, r, b = m.params[op.w], m.params[op.w2], m.params[op.b]
    h = c = np.zeros((m.batch_rows, r.shape[0]), m.dtype)
    states = []  # of each step: the gates, c before and now, h before and after
    for t in range(op.at):
        z = x_btf[:, t] @ w + h @ r + b
        i, f, a, q = np.split(z, 4, axis=1)
        i, f, a, q = sigmoid(i), sigmoid(f), np.tanh(a), sigmoid(q)
        now, c_before, h_before = f * c + i * a, c, h
        c, h = np.where(takes[:, t], now, c), np.where(takes[:, t], q * np.tanh(now), h)
        states.append((i, f, a, q, c_before, now, h_before, h))
    m.kept[op] = states
    every = np.stack([state[-1] for state in states], axis=1)
    m.values[op.y] = h if m.widths[op.y] == h.shape[1] else every.reshape(m.batch_rows, -1)


def lstm_backward(m, op) -> None:
    """From the last step to the first: dc += dh q (1 - tanh^2 c), the gates' gradients, then dh = dz r^T"""
    x_btf, takes = _steps(m, op)
    w, r = m.params[op.w], m.params[op.w2]
    states = m.kept[op]
    dy = m.gradients[op.y].reshape(m.batch_rows, -1, r.shape[0])
    dh = dc = np.zeros((m.batch_rows, r.shape[0]), m.dtype)
    dw, dr, db = np.zeros_like(w), np.zeros_like(r), np.zeros((1, w.shape[1]), m.dtype)
    dx_btf = np.zeros_like(x_btf)
    for t in reversed(range(op.at)):
        if dy.shape[1] == op.at:
            dh = dh + dy[:, t]
        elif t == op.at - 1:
            dh = dh + dy[:, 0]
        i, f, a, q, before, now, h_before, _ = states[t]
        tanh = np.tanh(now)
        s = dc + dh * q * (1 - tanh * tanh)
        parts = (s * a * i * (1 - i), s * before * f * (1 - f), s * i * (1 - a * a), dh * tanh * q * (1 - q))
        dz = np.where(takes[:, t], np.concatenate(parts, axis=1), 0)
        dw += x_btf[:, t].T @ dz
        dr += h_before.T @ dz
        db += dz.sum(axis=0, keepdims=True)
        dx_btf[:, t] = dz @ w.T
        dc = np.where(takes[:, t], s * f, dc)
        dh = np.where(takes[:, t], 0, dh) + dz @ r.T
    for p, gradient in ((op.w, dw), (op.w2, dr), (op.b, db)):
        m.add_up(op, p, lambda gradient=gradient: gradient)
    if not op.flags & _core.STOP_X:
        m.pass_down(op.x, dx_btf.reshape(m.batch_rows, -1), op.flags & _core.ADD_X)


UP = {_core.OPS["lstm"]: lstm_forward}
DOWN = {_core.OPS["lstm"]: lstm_backward}
