"""From the plan of a model to a program: constants, and a sequence of calls of the functions of runtime/*.h.

What `to_c` writes and `footprint` counts.
"""

from __future__ import annotations

import numpy as np

from .. import _core, activations
from ..plan import unpack
from ..reference_ops import OP, Op
from .memory import Memory

__all__ = ["Call", "Constant", "Program", "Value"]

WIDE = 32  # outputs of a panel of runtime/wide.h
KINDS = {ident: name for name, ident in OP.items()}


class Constant:
    """An array of a network.

    Attributes
    ----------
    name : str
        "net_kernel_1", ...
    what : str
        For the reader: whose it is, how it is laid out.
    array : one-dimensional array
    """

    __slots__ = ("array", "name", "what")

    def __init__(self, name: str, what: str, array: np.ndarray):
        self.name, self.what, self.array = name, what, array


class Value:
    """An argument of a call: a value of the plan."""

    __slots__ = ("number",)

    def __init__(self, number: int):
        self.number = number


class Call:
    """A call of a function.

    Attributes
    ----------
    function : str
        Name in runtime/*.h.
    arguments : list
        Value; Constant; int: a uint32_t; float: a number of the network's dtype; None: NULL.
    layer : str
        Whose work it does.
    """

    __slots__ = ("arguments", "function", "layer")

    def __init__(self, function: str, arguments: list, layer: str):
        self.function, self.arguments, self.layer = function, arguments, layer


class Program:
    """What a model computes of one row.

    Parameters
    ----------
    model : Model
    wide : bool
        Whether dense layers of 32 outputs and more stand in panels of 32.

    Attributes
    ----------
    calls : list of Call
    constants : list of Constant
    memory : Memory
        Where the values stand.
    inputs, outputs : list of int
        Widths.
    macs : int
        Multiply-accumulates of all matrix products.
    wide : bool
        Whether any layer has panels of 32.

    Raises
    ------
    ValueError
        A layer cannot be written in C, or a parameter is not finite; the message names it.
    """

    def __init__(self, model, wide: bool = True):
        self.plan, self.arena, self.dtype = model.plan, model.arena, model.dtype
        self.panels, self.wide = wide, False
        self.calls: list[Call] = []
        self.constants: list[Constant] = []
        self._known: dict = {}  # bytes of a constant: the constant
        self._counts: dict[str, int] = {}
        self.macs = 0
        self.widths = self.plan.values["width"].tolist()
        self.ops = [Op(record) for record in self.plan.ops]
        for op, name in zip(self.ops, self.plan.op_names, strict=True):
            if KINDS[op.kind] not in EMIT:
                raise ValueError(f"layer {name!r}: {CANNOT.get(KINDS[op.kind], KINDS[op.kind])} cannot be written in C")
        self.inputs = [self.widths[v] for v in self.plan.input_values]
        self.outputs = [self.widths[v] for v in self.plan.outputs]
        self.memory = Memory(self.widths)
        self._place()
        for op, name in zip(self.ops, self.plan.op_names, strict=True):
            self.layer = name
            EMIT[KINDS[op.kind]](self, op)
        self._copy_outputs()

    # ---- where values stand -----------------------------------------------------------------------------------------

    def _place(self) -> None:
        memory = self.memory
        for time, op in enumerate(self.ops):
            for value in (op.x, op.x2):
                if value is not None:
                    memory.read(value, time)
            memory.written(op.y, time)
            if op.kind == OP["input"] and op.w is None and op.b is None:  # the caller's numbers as they are
                memory.given[op.y] = f"x{op.slot}"
            if op.kind == OP["lstm"]:
                memory.widths[op.z] = 5 * int(self.plan.params[op.w2]["rows"])
                memory.written(op.z, time)
        self._results = {}  # number of an output: the value that stands there
        for k, value in enumerate(self.plan.outputs.tolist()):
            memory.read(value, len(self.ops))
            if memory.is_free(value):
                memory.given[value] = f"y{k}"
                self._results[k] = value
        for op in self.ops:
            if op.kind == OP["concat"] and memory.is_free(op.x):
                memory.put_inside(op.x, op.y, op.at)
        for time, op in enumerate(self.ops):
            if op.kind not in ELEMENTWISE:
                continue
            for value in dict.fromkeys((op.x, op.x2)):
                if value is not None and memory.is_free(value) and memory.last_read(value) == time:
                    memory.put_inside(value, op.y)
                    break
        memory.arrange()

    def _copy_outputs(self) -> None:
        """Copy to the outputs that hold what stands elsewhere: an input, or another output."""
        for k, value in enumerate(self.plan.outputs.tolist()):
            if k not in self._results:
                target = len(self.memory.widths)
                self.memory.widths.append(self.widths[value])
                self.memory.given[target] = f"y{k}"
                self.layer = f"output {k + 1}"
                self.call("net_copy", Value(value), Value(target), self.widths[value])

    @property
    def scratch(self) -> int:
        """Numbers of the scratch array; one at least, for C knows no array of none."""
        return max(self.memory.size, 1)

    # ---- what the ops use -------------------------------------------------------------------------------------------

    def call(self, function: str, *arguments) -> None:
        """Add a call."""
        self.calls.append(Call(function, list(arguments), self.layer))

    def param(self, p: int) -> np.ndarray:
        """Return a parameter as a matrix [I, O] (a vector: [1, O])."""
        array = unpack(self.arena, self.plan.params[p])
        if not np.isfinite(array).all():
            raise ValueError(f"parameter {self.plan.param_names[p]!r} has NaN or infinite values, expected finite ones")
        return array

    def constant(self, role: str, what: str, array) -> Constant:
        """Return the constant with these numbers, a new one if there is none yet."""
        array = np.ascontiguousarray(array).reshape(-1)
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                array = array.astype(self.dtype)
            if not np.isfinite(array).all():
                raise ValueError(f"layer {self.layer!r}: its {role} exceeds {self.dtype.name} when norms are folded in")
        key = role, array.dtype.str, array.tobytes()
        if key not in self._known:
            self._counts[role] = number = self._counts.get(role, 0) + 1
            self._known[key] = constant = Constant(f"net_{role}_{number}", f"{self.layer}: {what}", array)
            self.constants.append(constant)
        return self._known[key]

    def vector(self, role: str, array) -> tuple[Constant, int]:
        """Return a constant of one number for each element, or one for all if they are alike; and the step, 1 or 0."""
        array = np.asarray(array).reshape(-1)
        if len(array) and (array == array[0]).all():
            return self.constant(role, "one for all", array[:1]), 0
        return self.constant(role, str(len(array)), array), 1

    def kernel(self, matrix: np.ndarray, role: str = "kernel") -> Constant:
        """Return the constant of a matrix [I, O]: panels of 32, 4 and 1 outputs, each row by row."""
        rows, cols = matrix.shape
        parts, o, used = [], 0, {}
        for size in (WIDE, 4, 1) if self.panels else (4, 1):
            while cols - o >= size:
                parts.append(matrix[:, o : o + size].reshape(-1))
                o += size
                used[str(size)] = True
        self.wide |= str(WIDE) in used
        what = f"{rows} x {cols}, panels of {' and '.join(used)} outputs"
        return self.constant(role, what, np.concatenate(parts))

    def bias(self, op: Op, width: int) -> np.ndarray:
        return np.zeros(width, self.dtype) if op.b is None else self.param(op.b)[0]

    def activate(self, op: Op, x: int) -> None:
        """y = act(x), by the activation of an op."""
        act = activations.from_op(op.act, op.p)
        if act.name != "identity":
            self.call(f"net_act_{act.name}", Value(x), Value(op.y), self.widths[op.y], *act.parameters)
        elif x != op.y:
            self.move(x, op.y)

    def move(self, x: int, y: int) -> None:
        """y = x, if it does not stand there already."""
        if self.memory.place(x) != self.memory.place(y):
            self.call("net_copy", Value(x), Value(y), self.widths[x])


# ---- the ops ---------------------------------------------------------------------------------------------------------


def _input(program: Program, op: Op) -> None:
    """y = (raw - shift) scale"""
    if op.w is None and op.b is None:
        return
    x = len(program.memory.widths)
    program.memory.widths.append(program.widths[op.y])
    program.memory.given[x] = f"x{op.slot}"
    for p, function, role in ((op.b, "net_shift", "shift"), (op.w, "net_scale", "scale")):
        if p is not None:
            constant, step = program.vector(role, program.param(p))
            program.call(function, Value(x), constant, Value(op.y), program.widths[op.y], step)
            x = op.y


def _dense(program: Program, op: Op) -> None:
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


def _sparse(program: Program, op: Op) -> None:
    """y = act(x w + b), of w what pruning has left"""
    outputs, plan = program.widths[op.y], program.plan
    values, nibbles = program.param(op.w)[0], op.p[2] == 4
    n = len(values)
    counts = np.diff(plan.ends[op.slot : op.slot + outputs], prepend=np.uint32(0)).astype(np.uint32)
    places = plan.places[op.at : op.at + (-(-n // 2) if nibbles else n)]
    program.macs += n
    what = "two steps in a byte" if nibbles else "a step in a byte"
    arguments = [
        program.constant("values", f"{n} values of {program.widths[op.x]} x {outputs}", values),
        program.constant("steps", what, places),
        program.constant("counts", "values of each output", counts),
        program.constant("bias", str(outputs), program.bias(op, outputs)),
    ]
    program.call(f"net_sparse_{'nibbles' if nibbles else 'bytes'}", Value(op.x), *arguments, Value(op.y), outputs)
    program.activate(op, op.y)


def _activation(program: Program, op: Op) -> None:
    program.activate(op, op.x)


def _add(program: Program, op: Op) -> None:
    program.call("net_add", Value(op.x), Value(op.x2), Value(op.y), program.widths[op.y])


def _concat(program: Program, op: Op) -> None:
    """y[at : at + width(x)] = x, if x was not written there"""
    if program.memory.inside.get(op.x) != (op.y, op.at):
        piece = len(program.memory.widths)
        program.memory.widths.append(program.widths[op.x])
        program.memory.put_inside(piece, op.y, op.at)
        program.call("net_copy", Value(op.x), Value(piece), program.widths[op.x])


def _norm(program: Program, op: Op, epsilon: float):
    """Return gamma, gamma / deviation, mean and beta, in float64."""
    gamma, beta, mean, variance = (program.param(op.w2 + k)[0].astype(np.float64) for k in range(4))
    return gamma, gamma / np.sqrt(variance + epsilon), mean, beta


def _running_norm(program: Program, op: Op) -> None:
    """y = (x - mean) gamma / deviation + beta"""
    n = program.widths[op.y]
    _, factor, mean, beta = _norm(program, op, op.p[0])
    named = (("mean", mean), ("factor", factor), ("beta", beta))
    constants = [program.constant(role, str(n), array) for role, array in named]
    program.call("net_running_norm", Value(op.x), *constants, Value(op.y), n)


def _row_norm(program: Program, op: Op) -> None:
    """y = (x - mean) / deviation gamma + beta"""
    n = program.widths[op.y]
    program.call("net_row_norm", Value(op.x), Value(op.y), n, float(op.p[0]))
    if op.w is not None:
        gamma, step = program.vector("gamma", program.param(op.w))
        program.call("net_scale", Value(op.y), gamma, Value(op.y), n, step)
    if op.b is not None:
        beta = program.constant("beta", str(n), program.param(op.b))
        program.call("net_add", Value(op.y), beta, Value(op.y), n)


def _prelu(program: Program, op: Op) -> None:
    alpha, step = program.vector("alpha", program.param(op.w))
    program.call("net_prelu", Value(op.x), alpha, Value(op.y), program.widths[op.y], step)


def _lstm(program: Program, op: Op) -> None:
    w, r, b = program.param(op.w), program.param(op.w2), program.param(op.b)
    (features, gates), units, steps = w.shape, len(r), op.at
    program.macs += steps * (features + units) * gates
    mask = None if op.x2 is None else Value(op.x2)
    constants = [program.kernel(w), program.kernel(r, "recurrent"), program.constant("bias", str(gates), b)]
    sequence = int(program.widths[op.y] != units)
    sizes = (steps, features, units, sequence)
    program.call("net_lstm", Value(op.x), mask, *constants, Value(op.y), Value(op.z), *sizes)


EMIT = {
    "input": _input, "dense": _dense, "sparse": _sparse, "activation": _activation, "add": _add, "concat": _concat,
    "running_norm": _running_norm, "row_norm": _row_norm, "prelu": _prelu, "lstm": _lstm,
}  # fmt: skip
ELEMENTWISE = {OP[name] for name in ("activation", "add", "running_norm", "row_norm", "prelu")}
CANNOT = {"python": "what is written in Python"}
assert set(EMIT) <= set(_core.OPS)
