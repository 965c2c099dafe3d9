"""An ONNX graph in the making: nodes, constants, and names for both."""

from __future__ import annotations

import numpy as np

from .libraries import library

__all__ = ["Graph"]


class Graph:
    """Collects the nodes and initializers of a graph.

    Attributes
    ----------
    scope : str
        What names of nodes and of values between them begin with.
    prefix : str
        What all names begin with: those of a graph inside another must be others.
    dtype : np.dtype
        Of all numbers.
    inputs : set of str
        The names of the graph's own inputs, which nothing else may have.
    double : bool
        Whether that is float64, which ONNX Runtime does not know of every operator.
    nodes, initializers : lists of NodeProto and TensorProto
    """

    def __init__(self, dtype: np.dtype, prefix: str = ""):
        self.onnx = library("onnx")
        self.helper = self.onnx.helper
        self.dtype, self.double = dtype, dtype == np.float64
        self.scope, self.prefix = "", prefix
        self.nodes: list = []
        self.initializers: list = []
        self.inputs: set[str] = set()
        self._names: dict[str, int] = {}
        self._tensors: set[str] = set()

    @property
    def element_type(self) -> int:
        """The dtype as ONNX numbers it."""
        return self.helper.np_dtype_to_tensor_dtype(self.dtype)

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes):
        """Add a node; return the name of its output, a list of them where there are several."""
        name = self._fresh(f"{self.prefix}{self.scope}/{op}")
        made = [name, *(f"{name}:{k}" for k in range(1, outputs))]
        self.nodes.append(self.helper.make_node(op, inputs, made, name=name, **attributes))
        return made if outputs > 1 else name

    def cast(self, x: str, dtype) -> str:
        """Add a cast to `dtype`; return its name."""
        return self.node("Cast", x, to=self.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def rename(self, name: str) -> str:
        """Call the output of the last node, which nobody has read yet, `name`, and return that."""
        self.nodes[-1].output[0] = self.nodes[-1].name = name
        return name

    def tensor(self, name: str, array: np.ndarray) -> str:
        """Add an initializer, once; return its name."""
        name = self.prefix + name
        while name in self.inputs:
            name += "'"
        if name not in self._tensors:
            self._tensors.add(name)
            self.initializers.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def number(self, value: float) -> str:
        """Return the name of a constant of the graph's dtype."""
        return self.tensor(f"number/{value!r}", np.array(value, self.dtype))

    def integers(self, *values: int) -> str:
        """Return the name of a list of int64: axes, a shape."""
        return self.tensor("integers/" + "/".join(map(str, values)), np.array(values, np.int64))

    def _fresh(self, name: str) -> str:
        while True:
            count = self._names[name] = self._names.get(name, 0) + 1
            made = name if count == 1 else f"{name}_{count}"
            if made not in self.inputs:
                return made
