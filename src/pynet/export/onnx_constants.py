"""What is constant in an ONNX graph: initializers, and what nodes make of them.

Shapes count as constants, too: that of a value begins with -1, which stands for the rows of a batch and is only ever
moved about here, never calculated with.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .libraries import library
from .onnx_values import Unsupported

__all__ = ["FOLDS", "Constants", "axes_of"]

GROWTH, SPARE = 16, 1 << 20  # what nodes make takes at most so many times the bytes of the file, and so many more


class Constants:
    """The constants of one file.

    Attributes
    ----------
    arrays : dict of name -> array
    zeros : set of str
        Names of arrays of any size that are all 0: first states of an LSTM.
    folded : set of int
        Numbers of the nodes that are computed already.
    """

    def __init__(self, file):
        self.file = file
        self.arrays: dict[str, np.ndarray] = dict(file.constants)
        self.zeros: set[str] = set()
        self.folded: set[int] = set()
        self.left = GROWTH * file.nbytes + SPARE
        for k, node in enumerate(file.nodes):
            if node.op in FOLDS and all(map(self.has, filter(None, node.inputs))):
                try:
                    self.fold(node)
                    self.folded.add(k)
                except (Unsupported, ValueError, TypeError, LookupError, ArithmeticError, AttributeError):
                    continue  # told where the node is read

    def has(self, name: str) -> bool:
        """Return whether a name is that of a constant."""
        return name in self.arrays or name in self.zeros

    def fold(self, node) -> None:
        """Compute a node that reads constants only."""
        if node.op not in FOLDS:
            raise Unsupported("all that it reads is constant, and it is not computed in advance")
        if len(node.outputs) != 1:
            raise Unsupported(f"it has {len(node.outputs)} outputs, expected one")
        if node.op in ("ConstantOfShape", "Expand"):
            filling = self.arrays[node.inputs[0]] if node.op == "Expand" else node.attributes.get("value", np.zeros(1))
            if np.any(filling):
                raise Unsupported("only zeros are filled in")
            self.zeros.add(node.outputs[0])
            return
        if any(name in self.zeros for name in node.inputs):
            if node.op == "Concat" or any(name in self.zeros for name in node.inputs[1:]):
                raise Unsupported("it reads zeros of any size")
            self.zeros.add(node.outputs[0])  # a part or another view of zeros
            return
        array = np.asarray(FOLDS[node.op](node, *(self.arrays[name] for name in node.inputs)))
        self.left -= array.nbytes
        if self.left < 0:
            raise Unsupported("the constants of the graph grow beyond what its file may need")
        self.arrays[node.outputs[0]] = array


def axes_of(node, *more: np.ndarray) -> list[int] | None:
    """Return the axes of a Squeeze or Unsqueeze: its second input, or an attribute as before opset 13."""
    axes = more[0] if more else node.attributes.get("axes")
    return None if axes is None else [int(axis) for axis in np.reshape(axes, -1)]


def _constant(node):
    for key in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if key in node.attributes:
            value = node.attributes[key]
            dtype = np.float32 if "float" in key else np.int64
            return value if isinstance(value, np.ndarray) else np.array(value, dtype)
    raise Unsupported("it holds no numbers")


def _cast(node, x):
    if x.dtype.kind not in "iufb":
        raise Unsupported(f"it casts {x.dtype}")
    dtype = library("onnx").helper.tensor_dtype_to_np_dtype(node.attributes["to"])
    dtype = np.dtype(np.float32) if dtype.name in ("float16", "bfloat16") else dtype
    if dtype.kind not in "iufb":
        raise Unsupported(f"it casts to {dtype}")
    return x.astype(dtype)


def _reshape(node, x, shape):
    shape = [int(n) for n in shape]
    if not node.attributes.get("allowzero", 0):
        shape = [x.shape[k] if n == 0 else n for k, n in enumerate(shape)]
    return x.reshape(shape)


def _transpose(node, x):
    return x.transpose(node.attributes.get("perm"))


def _squeeze(node, x, *more):
    axes = axes_of(node, *more)
    return x.squeeze(None if axes is None else tuple(axes))


def _unsqueeze(node, x, *more):
    return np.expand_dims(x, tuple(axes_of(node, *more)))


def _concat(node, *parts):
    return np.concatenate(parts, axis=node.attributes["axis"])


def _gather(node, x, index):
    return x.take(index, axis=node.attributes.get("axis", 0))


def _slice(node, x, starts, ends, axes=None, steps=None):
    axes = range(len(starts)) if axes is None else axes
    steps = np.ones_like(starts) if steps is None else steps
    where = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        where[int(axis)] = slice(int(start), int(end), int(step))
    return x[tuple(where)]


FOLDS: dict[str, Any] = {
    "Constant": _constant, "Identity": lambda node, x: x, "Cast": _cast, "Reshape": _reshape, "Transpose": _transpose,
    "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Concat": _concat, "Gather": _gather, "Slice": _slice,
    "ConstantOfShape": None, "Expand": None,
}  # fmt: skip
