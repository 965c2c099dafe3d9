"""The plan of a network as a text in its file, for libpynet: its reader is csrc/plan_text.c, which tells the format."""

from __future__ import annotations

import binascii
import struct

import numpy as np

from .compact import SUFFIXES
from .plan import NONE

__all__ = ["plan_text"]

VERSION = 1
INDICES = ("x", "x2", "y", "z", "w", "b", "w2")


def plan_text(plan, tensors: dict[str, np.ndarray]) -> str | None:
    """Return the text of a frozen plan whose parameters stand among the `tensors` of a file; None: C cannot run it."""
    if plan.functions:
        return None
    words = [VERSION, plan.dtype, plan.n_inputs, len(plan.values), *plan.values["width"], len(plan.params)]
    for name, param in zip(plan.param_names, plan.params, strict=True):
        words += [name, param["rows"], param["cols"], f"{_crc(name, tensors):08x}"]
    words.append(len(plan.ops))
    for op in plan.ops:
        words += [op["kind"], op["act"], op["flags"], *("-" if op[k] == NONE else op[k] for k in INDICES)]
        words += [op["slot"], op["at"], *(_bits(p) for p in op["p"].tolist())]
    words += [len(plan.outputs), *plan.outputs]
    text = " ".join(str(word) for word in words) + " "
    return f"{text}{binascii.crc32(text.encode()):08x}"


def _bits(p: float) -> str:
    """Return the bits of a double, in hexadecimal."""
    return f"{struct.unpack('<Q', struct.pack('<d', p))[0]:x}"


def _crc(name: str, tensors: dict[str, np.ndarray]) -> int:
    """Return the checksum of all tensors of a parameter, one after the other; of "x.values" those of x."""
    crc, name = 0, name.removesuffix(".values")
    for part in (name, *(f"{name}.{suffix}" for suffix in SUFFIXES)):
        if part in tensors:
            crc = binascii.crc32(tensors[part].astype(tensors[part].dtype.newbyteorder("<")).tobytes(), crc)
    return crc
