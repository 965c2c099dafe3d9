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
        "float32" or "float64"; of integer networks "int8" or, if no value has 8 bits, "int16".
    flash : int
        Bytes of all constants: weights, tables, scales.  The code, the names of classes (pointers, whose size is the
        device's affair) and the rows of the self-test come on top.
    ram : int
        Bytes of the working memory, NET_SCRATCH numbers, and of the states of a stream, NET_STATE numbers; of integer
        networks what net_predict_q works in.
    ends : int
        Bytes of one row of inputs and outputs, which the caller holds.
    stack : int
        Bytes of local variables, an upper estimate for 64-bit processors; without what math.h takes.
    macs : int
        Multiply-accumulates of the matrix products of one row; of integer networks all multiplications.
    parts : dict of str -> int
        Of integer networks what flash is the sum of: bytes of "weights", "biases", "factors", "tables".  Else {}.
    wrapper : int
        Bytes of further constants of an integer network, used by the functions for floats alone: shifts and scales of
        features.
    """

    __slots__ = ("dtype", "ends", "flash", "macs", "parts", "ram", "stack", "wrapper")

    def __init__(
        self, dtype: str, flash: int, ram: int, ends: int, stack: int, macs: int, parts: dict | None = None, wrapper=0
    ):
        self.dtype, self.flash, self.ram, self.ends, self.stack, self.macs = dtype, flash, ram, ends, stack, macs
        self.parts: dict[str, int] = parts or {}
        self.wrapper: int = wrapper

    def __repr__(self) -> str:
        return (
            f"<Footprint {self.dtype}: flash {self.flash}, ram {self.ram} and {self.ends} for a row, "
            f"stack {self.stack} bytes, {self.macs} multiply-accumulates>"
        )


def footprint(model, dtype=None, sparse: bool | None = None, stream: bool = False) -> Footprint:
    """Return what the C file of a model needs, without writing it: Model.footprint.

    Parameters
    ----------
    model : Model
    dtype : "float32", "float64", "int8" or "int16", optional
        Default: the model's.  Of integers: of the network that `Model.quantize` would make.
    sparse : bool, optional
        Whether pruned layers are in compact form.  Default: as the model is.
    stream : bool, default False
        Of the file that takes sequences step by step.

    Raises
    ------
    TypeError, ValueError
        An unknown dtype; what is written in Python has no C form.
    """
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


def _integers(model, dtype: np.dtype, stream: bool) -> Footprint:
    """Of the integer network that `quantize` would make.  Sizes are a matter of structure: any rows do."""
    from .export.c_vectors import random_rows
    from .quantize import quantize

    if stream:
        raise ValueError("stream: integer networks take sequences at once")
    rows = [x.reshape(len(x), *value.shape) for x, value in zip(random_rows(model, 8, 0), model.inputs, strict=True)]
    found = quantize(model, rows if len(rows) > 1 else rows[0], dtype.name).footprint()
    found.dtype = dtype.name
    return found


FORMS = {"float32": _floating, "float64": _floating, "int8": _integers, "int16": _integers}  # by dtype
