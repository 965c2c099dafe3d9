"""From the plan of a model to a program: constants, and a sequence of calls of the functions of runtime/*.h.

What `to_c` writes and `footprint` counts.
"""

from __future__ import annotations

import numpy as np

from .. import activations
from ..memory import Memory
from ..plan import unpack
from ..reference_ops import OP, Op
from .c_emit import CANNOT, ELEMENTWISE, EMIT
from .c_parts import Call, Constant, Value
from .c_stream import sequences

__all__ = ["Program"]

WIDE = 32  # outputs of a panel of runtime/wide.h
KINDS = {ident: name for name, ident in OP.items()}


class Program:
    """What a model computes of one row.

    Parameters
    ----------
    model : Model
    wide : bool
        Whether dense layers of 32 outputs and more stand in panels of 32.
    stream : bool
        Whether the program computes one step of each sequence, the states of LSTMs being kept by the caller.

    Attributes
    ----------
    calls : list of Call
    constants : list of Constant
    memory : Memory
        Where the values stand.
    inputs, outputs : list of int
        Widths; in a stream of a sequence that of a step.
    state : int
        Numbers of the states of a stream.
    steps : int
        Of the sequences of a stream; else 1.
    sequences : set of int
        The values that are sequences, of a stream.
    macs : int
        Multiply-accumulates of all matrix products.
    wide : bool
        Whether any layer has panels of 32.

    Raises
    ------
    ValueError
        A layer cannot be written in C, or not as a stream, or a parameter is not finite; the message names it.
    """

    def __init__(self, model, wide: bool = True, stream: bool = False):
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
        self.stream, self.steps, self.state = stream, 1, 0
        self.sequences: set[int] = set()
        if stream:
            self.steps, self.sequences = sequences(self, model)
            for value in self.sequences:
                self.widths[value] //= self.steps
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
                memory.give(op.y, f"x{op.slot}")
            if op.kind == OP["lstm"]:
                units = int(self.plan.params[op.w2]["rows"])
                memory.widths[op.z] = (4 if self.stream else 5) * units
                if self.stream:
                    memory.give(op.y, "state", self.state)
                    self.state += 2 * units
                memory.written(op.z, time)
        self._results = {}  # number of an output: the value that stands there
        for k, value in enumerate(self.plan.outputs.tolist()):
            memory.read(value, len(self.ops))
            if memory.is_free(value):
                memory.give(value, f"y{k}")
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
                self.memory.give(target, f"y{k}")
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

    def of_a_step(self, value: int, array: np.ndarray) -> np.ndarray:
        """Return what belongs to one step of a parameter of a value; it must be the same for all steps."""
        array = array.reshape(-1)
        if value in self.sequences and len(array) > self.widths[value]:
            rows = array.reshape(self.steps, -1)
            if not (rows == rows[0]).all():
                raise ValueError(f"stream: the numbers of layer {self.layer!r} are not the same for all steps")
            return rows[0]
        return array

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
