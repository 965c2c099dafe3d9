"""What every op of a plan means: forward, and below it its way back.

Letters: B rows of a batch, I inputs, O outputs; x, y, z are values [B, width], w_io and b_1o parameters, in the dtype
of the plan; d in front of a name is the gradient of the loss by it. Norms, random ops and the LSTM stand in files of
their own (reference_norm.py, ...), losses in reference_losses.py, activations in activations.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core, activations, reference_losses, reference_lstm, reference_norm, reference_random, reference_updates

OP = _core.OPS
ACTIVATED = (OP["dense"], OP["sparse"], OP["activation"])


class Op:
    """One record of the plan's table, with None instead of _core.NONE, and its activation."""

    __slots__ = (
        "act", "activation", "at", "b", "flags", "function", "kind", "p", "slot", "w", "w2", "x", "x2", "y", "z"
    )  # fmt: skip
    activation: Any  # an Activation, of the ops that have one
    x: Any  # index, or None; likewise the others
    x2: Any
    y: Any
    z: Any
    w: Any
    b: Any
    w2: Any

    def __init__(self, record, function=None) -> None:
        self.function = function
        self.kind, self.act, self.flags = int(record["kind"]), int(record["act"]), int(record["flags"])
        self.slot, self.at, self.p = int(record["slot"]), int(record["at"]), record["p"].tolist()
        for field in ("x", "x2", "y", "z", "w", "b", "w2"):
            index = int(record[field])
            setattr(self, field, None if index == _core.NONE else index)
        self.activation = activations.from_op(self.act, self.p) if self.kind in ACTIVATED else None


# ---- forward: from values to a value -----------------------------------------------------------------------------


def input_forward(m, op: Op) -> None:
    """y = (raw - shift) * scale"""
    y_bi = m.gather(m.job.inputs[op.slot]).astype(m.dtype)
    if op.b is not None:
        y_bi = y_bi - m.params[op.b]
    if op.w is not None:
        y_bi = y_bi * m.params[op.w]
    m.values[op.y] = y_bi


def dense_forward(m, op: Op) -> None:
    """y = act(x w + b); z keeps x w + b where the derivative needs it; a norm or a dropout may be folded in"""
    z_bo = m.values[op.x] @ m.params[op.w]
    if op.b is not None:
        z_bo += m.params[op.b]
    if op.z is not None:
        m.values[op.z] = z_bo
    if op.w2 is not None:
        z_bo = reference_norm.normalise(z_bo, m.params[op.w2 : op.w2 + 4], op.p[2])
    y_bo = op.activation(z_bo)
    if op.w2 is None and op.p[2]:
        y_bo = y_bo * reference_random.dropout_factor(m, op, y_bo.shape, op.p[2])
    m.values[op.y] = y_bo


def sparse_matrix(m, op: Op) -> np.ndarray:
    """Return w [I, O] of a sparse op: its values where its places say, 0 elsewhere."""
    return m.forms[op.at].matrix(m.params[op.w][0])


def sparse_forward(m, op: Op) -> None:
    """y = act(x w + b)"""
    y_bo = m.values[op.x] @ sparse_matrix(m, op)
    if op.b is not None:
        y_bo += m.params[op.b]
    m.values[op.y] = op.activation(y_bo)


def activation_forward(m, op: Op) -> None:
    """y = act(x)"""
    m.values[op.y] = op.activation(m.values[op.x])


def add_forward(m, op: Op) -> None:
    """y = x + x2"""
    m.values[op.y] = m.values[op.x] + m.values[op.x2]


def concat_forward(m, op: Op) -> None:
    """y[:, at : at + width(x)] = x; the pieces of one y follow each other"""
    x_bi = m.values[op.x]
    if op.at == 0:
        m.values[op.y] = np.empty((len(x_bi), m.widths[op.y]), m.dtype)
    m.values[op.y][:, op.at : op.at + x_bi.shape[1]] = x_bi


def gradient_clip_forward(m, op: Op) -> None:
    """y = x"""
    m.values[op.y] = m.values[op.x]


def python_forward(m, op: Op) -> None:
    """y = what the user's function makes of x"""
    m.values[op.y] = op.function.forward(m.values[op.x].copy(), m.widths[op.y]).astype(m.dtype)


def prelu_forward(m, op: Op) -> None:
    """y = x > 0 ? x : w x"""
    x_bi = m.values[op.x]
    m.values[op.y] = np.where(x_bi > 0, x_bi, m.params[op.w] * x_bi)


UP = {
    OP["input"]: input_forward,
    OP["dense"]: dense_forward,
    OP["sparse"]: sparse_forward,
    OP["activation"]: activation_forward,
    OP["add"]: add_forward,
    OP["concat"]: concat_forward,
    OP["gradient_clip"]: gradient_clip_forward,
    OP["python"]: python_forward,
    OP["prelu"]: prelu_forward,
    **reference_norm.UP,
    **reference_random.UP,
    **reference_lstm.UP,
}


# ---- backward: from the gradient of y to those of x and of the parameters ----------------------------------------


def input_backward(m, op: Op) -> None:
    """Nothing is below an input."""


def dense_backward(m, op: Op) -> None:
    """dz = dy act'(z);  dw = x^T dz,  db = sum_b dz,  dx = dz w^T"""
    v_bo = m.values[op.y if op.activation.needs == "Y" else op.z]
    dz_bo = op.activation.pull_back(v_bo, m.gradients[op.y])
    if op.p[2]:  # relu, then dropout: where y > 0, the factor was the scale
        dz_bo = dz_bo * m.dtype.type(reference_random.dropout_scale(op.p[2]))
    m.add_up(op, op.w, lambda: m.values[op.x].T @ dz_bo)
    m.add_up(op, op.b, lambda: dz_bo.sum(axis=0, keepdims=True))
    if not op.flags & _core.STOP_X:
        m.pass_down(op.x, dz_bo @ m.params[op.w].T, op.flags & _core.ADD_X)


def sparse_backward(m, op: Op) -> None:
    """dz = dy act'(z);  dv = (x^T dz) where there are values,  db = sum_b dz,  dx = dz w^T"""
    dz_bo = op.activation.pull_back(m.values[op.y], m.gradients[op.y])
    m.add_up(op, op.w, lambda: (m.values[op.x].T @ dz_bo)[m.forms[op.at].where()][None])
    m.add_up(op, op.b, lambda: dz_bo.sum(axis=0, keepdims=True))
    if not op.flags & _core.STOP_X:
        m.pass_down(op.x, dz_bo @ sparse_matrix(m, op).T, op.flags & _core.ADD_X)


def activation_backward(m, op: Op) -> None:
    """dx = dy act'(x)"""
    if not op.flags & _core.STOP_X:
        v_bo = m.values[op.y if op.activation.needs == "Y" else op.x]
        m.pass_down(op.x, op.activation.pull_back(v_bo, m.gradients[op.y]), op.flags & _core.ADD_X)


def add_backward(m, op: Op) -> None:
    """dx = dy,  dx2 = dy"""
    if not op.flags & _core.STOP_X:
        m.pass_down(op.x, m.gradients[op.y], op.flags & _core.ADD_X)
    if not op.flags & _core.STOP_X2:
        m.pass_down(op.x2, m.gradients[op.y], op.flags & _core.ADD_X2)


def concat_backward(m, op: Op) -> None:
    """dx = dy[:, at : at + width(x)]"""
    if not op.flags & _core.STOP_X:
        m.pass_down(op.x, m.gradients[op.y][:, op.at : op.at + m.widths[op.x]], op.flags & _core.ADD_X)


def gradient_clip_backward(m, op: Op) -> None:
    """dx = clip(dy), "norm": of the whole batch"""
    if not op.flags & _core.STOP_X:
        dy_bo = m.gradients[op.y].copy()
        reference_updates.CLIPS[op.act]([dy_bo], op.p[0])
        m.pass_down(op.x, dy_bo, op.flags & _core.ADD_X)


def python_backward(m, op: Op) -> None:
    """dx = what the user's function makes of x, y, dy"""
    if not op.flags & _core.STOP_X:
        x, y, dy = m.values[op.x].copy(), m.values[op.y].copy(), m.gradients[op.y].copy()
        m.pass_down(op.x, op.function.backward(x, y, dy).astype(m.dtype), op.flags & _core.ADD_X)


def prelu_backward(m, op: Op) -> None:
    """dx = dy (x > 0 ? 1 : w);  dw = sum_b dy x where x <= 0, over all units if they share one slope"""
    x_bi, dy_bi, w = m.values[op.x], m.gradients[op.y], m.params[op.w]
    axes = 0 if w.size == x_bi.shape[1] else None
    m.add_up(op, op.w, lambda: (dy_bi * np.minimum(x_bi, 0)).sum(axis=axes).reshape(w.shape))
    if not op.flags & _core.STOP_X:
        m.pass_down(op.x, dy_bi * np.where(x_bi > 0, m.dtype.type(1), w), op.flags & _core.ADD_X)


DOWN = {
    OP["input"]: input_backward,
    OP["dense"]: dense_backward,
    OP["sparse"]: sparse_backward,
    OP["activation"]: activation_backward,
    OP["add"]: add_backward,
    OP["concat"]: concat_backward,
    OP["gradient_clip"]: gradient_clip_backward,
    OP["python"]: python_backward,
    OP["prelu"]: prelu_backward,
    **reference_norm.DOWN,
    **reference_random.DOWN,
    **reference_lstm.DOWN,
}


# ---- heads -------------------------------------------------------------------------------------------------------


def loss_head(m, op: Op, sums: np.ndarray) -> float:
    """sums += [sum w l, sum w];  dx = (head weight) w_b / W dl_b/dx, W = sum w of the whole batch.

    Returns the head's share of the loss.
    """
    if op.act == _core.LOSSES["external"]:  # the caller computes it, and calls set_gradient
        return 0.0
    parameter, head_weight = op.p[:2]
    l_b, dx_bo = reference_losses.loss(op.act, parameter, m.values[op.x], m.targets[op.slot])
    loss_sum, weight_sum = float(m.weights @ l_b), float(m.weights.sum())
    sums[op.at : op.at + 2] += loss_sum, weight_sum
    if not op.flags & _core.STOP_X:
        factor_b = head_weight * m.weights / m.weight_sum if m.weight_sum > 0 else 0 * m.weights
        m.gradients[op.x] = factor_b.astype(m.dtype)[:, None] * dx_bo
    return head_weight * loss_sum / weight_sum if weight_sum > 0 else 0.0


def metric_head(m, op: Op, sums: np.ndarray) -> None:
    """sums += what the metric counts"""
    more = reference_losses.metric_sums(op.act, op.p[0], m.values[op.x], m.targets[op.slot], m.weights)
    sums[op.at : op.at + len(more)] += more


LABELLED = {(OP["loss"], _core.LOSSES["cross_entropy_index"])} | {
    (OP["metric"], _core.METRICS[name]) for name in ("accuracy_index", "top_k_index")
}
