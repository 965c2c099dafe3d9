"""What every op of a plan becomes: constants and calls.  They mean what reference_ops.py says."""

from __future__ import annotations

import numpy as np

from ..compact import Compact, form_of
from ..reference_ops import OP, Op
from .c_parts import Value

__all__ = ["CANNOT", "ELEMENTWISE", "EMIT"]


def _input(program, op: Op) -> None:
    """y = (raw - shift) scale"""
    if op.w is None and op.b is None:
        return
    x = len(program.memory.widths)
    program.memory.widths.append(program.widths[op.y])
    program.memory.give(x, f"x{op.slot}")
    for p, function, role in ((op.b, "net_shift", "shift"), (op.w, "net_scale", "scale")):
        if p is not None:
            constant, step = program.vector(role, program.of_a_step(op.y, program.param(p)))
            program.call(function, Value(x), constant, Value(op.y), program.widths[op.y], step)
            x = op.y


def _dense(program, op: Op) -> None:
    """y = act(x w + b), a batch norm folded into w and b"""
    w, b = program.param(op.w), program.bias(op, program.widths[op.y])
    if op.w2 is not None:
        _, factor, mean, beta = _norm(program, op, op.p[2])
        w, b = w * factor, (b - mean) * factor + beta
    inputs, outputs = w.shape
    program.macs += inputs * outputs
    kernel, bias = program.kernel(w), program.constant("bias", str(outputs), b)
    program.call("net_dense", Value(op.x), kernel, bias, Value(op.y), inputs, outputs)
    program.activate(op, op.y)


def _sparse(program, op: Op) -> None:
    """y = act(x w + b), of w what pruning has left"""
    inputs, outputs = program.widths[op.x], program.widths[op.y]
    values = program.param(op.w)[0]
    form = form_of(program.plan, op.slot, op.at, op.p[2], (inputs, outputs), values.dtype)
    form.values = values
    if not isinstance(form, Compact):  # in lanes: they pay where a processor has wide vectors
        form = Compact.of(form.matrix(), form.mask())
    program.macs += form.n
    what = "two steps in a byte" if form.nibbles else "a step in a byte"
    arguments = [
        program.constant("values", f"{form.n} values of {inputs} x {outputs}", form.values),
        program.constant("steps", what, form.places),
        program.constant("counts", "values of each output", form.counts),
        program.constant("bias", str(outputs), program.bias(op, outputs)),
    ]
    program.call(f"net_sparse_{'nibbles' if form.nibbles else 'bytes'}", Value(op.x), *arguments, Value(op.y), outputs)
    program.activate(op, op.y)


def _activation(program, op: Op) -> None:
    program.activate(op, op.x)


def _add(program, op: Op) -> None:
    program.call("net_add", Value(op.x), Value(op.x2), Value(op.y), program.widths[op.y])


def _concat(program, op: Op) -> None:
    """y[at : at + width(x)] = x, if x was not written there"""
    if program.memory.inside.get(op.x) != (op.y, op.at):
        piece = len(program.memory.widths)
        program.memory.widths.append(program.widths[op.x])
        program.memory.put_inside(piece, op.y, op.at)
        program.call("net_copy", Value(op.x), Value(piece), program.widths[op.x])


def _norm(program, op: Op, epsilon: float):
    """Return gamma, gamma / deviation, mean and beta, in float64."""
    gamma, beta, mean, variance = (program.param(op.w2 + k)[0].astype(np.float64) for k in range(4))
    return gamma, gamma / np.sqrt(variance + epsilon), mean, beta


def _running_norm(program, op: Op) -> None:
    """y = (x - mean) gamma / deviation + beta"""
    n = program.widths[op.y]
    _, factor, mean, beta = _norm(program, op, op.p[0])
    named = (("mean", mean), ("factor", factor), ("beta", beta))
    constants = [program.constant(role, str(n), array) for role, array in named]
    program.call("net_running_norm", Value(op.x), *constants, Value(op.y), n)


def _row_norm(program, op: Op) -> None:
    """y = (x - mean) / deviation gamma + beta"""
    n = program.widths[op.y]
    program.call("net_row_norm", Value(op.x), Value(op.y), n, float(op.p[0]))
    if op.w is not None:
        gamma, step = program.vector("gamma", program.param(op.w))
        program.call("net_scale", Value(op.y), gamma, Value(op.y), n, step)
    if op.b is not None:
        beta = program.constant("beta", str(n), program.param(op.b))
        program.call("net_add", Value(op.y), beta, Value(op.y), n)


def _prelu(program, op: Op) -> None:
    alpha, step = program.vector("alpha", program.of_a_step(op.y, program.param(op.w)))
    program.call("net_prelu", Value(op.x), alpha, Value(op.y), program.widths[op.y], step)


def _lstm(program, op: Op) -> None:
    w, r, b = program.param(op.w), program.param(op.w2), program.param(op.b)
    (features, gates), units, steps = w.shape, len(r), 1 if program.stream else op.at
    program.macs += steps * (features + units) * gates
    mask = None if op.x2 is None else Value(op.x2)
    constants = [program.kernel(w), program.kernel(r, "recurrent"), program.constant("bias", str(gates), b)]
    if program.stream:
        program.call("net_lstm_step", Value(op.x), mask, *constants, Value(op.y), Value(op.z), features, units)
        return
    sequence = int(program.widths[op.y] != units)
    sizes = (steps, features, units, sequence)
    program.call("net_lstm", Value(op.x), mask, *constants, Value(op.y), Value(op.z), *sizes)


EMIT = {
    "input": _input, "dense": _dense, "sparse": _sparse, "activation": _activation, "add": _add, "concat": _concat,
    "running_norm": _running_norm, "row_norm": _row_norm, "prelu": _prelu, "lstm": _lstm,
}  # fmt: skip
ELEMENTWISE = {OP[name] for name in ("activation", "add", "running_norm", "row_norm", "prelu")}
CANNOT = {"python": "what is written in Python"}
