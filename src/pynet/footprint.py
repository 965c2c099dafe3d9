"""What a model takes on a device, before anything is flashed: `model.footprint()`."""

from __future__ import annotations

import numpy as np

from . import _check

__all__ = ["Footprint", "footprint"]


class Footprint:
    """What the C file of a network (`pn.export.to_c`) needs.

    Attributes
    ----------
    dtype : str
    flash : int
        Bytes of all constants: weights, tables, scales.  The code, the names of classes (pointers, whose size is the
        device's affair) and the rows of the self-test come on top.
    ram : int
        Bytes of the working memory, NET_SCRATCH numbers, and of the states of a stream, NET_STATE numbers.
    ends : int
        Bytes of one row of inputs and outputs, which the caller holds.
    stack : int
        Bytes of local variables, an upper estimate for 64-bit processors; without what math.h takes.
    macs : int
        Multiply-accumulates of the matrix products of one row.
    """

    __slots__ = ("dtype", "ends", "flash", "macs", "ram", "stack")

    def __init__(self, dtype: str, flash: int, ram: int, ends: int, stack: int, macs: int):
        self.dtype, self.flash, self.ram, self.ends, self.stack, self.macs = dtype, flash, ram, ends, stack, macs

    def __repr__(self) -> str:
        return (
            f"<Footprint {self.dtype}: flash {self.flash}, ram {self.ram} and {self.ends} for a row, "
            f"stack {self.stack} bytes, {self.macs} multiply-accumulates>"
        )


def footprint(model, dtype=None, sparse: bool | None = None, stream: bool = False) -> Footprint:
    """See Model.footprint."""
    name = dtype if isinstance(dtype, str) else np.dtype(model.dtype if dtype is None else dtype).name
    if name not in FORMS:
        raise _check.unknown("dtype of a footprint", name, FORMS)
    if sparse is not None:
        model = model.compact() if sparse else model.expand()
    return FORMS[name](model, np.dtype(name), stream)


def _floating(model, dtype: np.dtype, stream: bool) -> Footprint:
    """Of the C file with floating-point numbers."""
    from .export.c_program import Program

    program = Program(model, stream=stream)
    size = dtype.itemsize
    flash = sum(len(c.array) * (size if c.array.dtype.kind == "f" else c.array.itemsize) for c in program.constants)
    ends = size * sum(program.inputs + program.outputs)
    recurrent = any(call.function.startswith("net_lstm") for call in program.calls)
    stack = 512 + 64 * size * program.wide + 256 * recurrent  # above what compilers report: tests/test_footprint.py
    return Footprint(dtype.name, flash, size * (program.scratch + program.state), ends, stack, program.macs)


FORMS = {"float32": _floating, "float64": _floating}  # by dtype; int8 belongs here
