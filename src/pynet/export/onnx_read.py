"""A model out of an ONNX file."""

from __future__ import annotations

import math

import numpy as np

from .. import _check, layers
from ..activations import Activation, get
from ..model import Model
from . import onnx_file, onnx_match
from .onnx_constants import FOLDS, Constants
from .onnx_operators import OPERATORS
from .onnx_values import Data, Unsupported
from .wiring import Wiring

__all__ = ["Reader", "from_onnx"]

GROWTH, SPARE = 16, 1 << 20  # weights take at most so many times the bytes of their file, and so many more


def from_onnx(source, dtype=None) -> Model:
    """Make a model of an ONNX file.

    Parameters
    ----------
    source : str or os.PathLike, bytes, or onnx.ModelProto
        Opset 7 to 26.  Data in other files are refused.
    dtype : "float32" or "float64", optional
        Of the model.  Default: float64 if the file computes in it, else float32.

    Returns
    -------
    Model
        Constants that are subtracted from an input, or that it is multiplied with, become its `shift` and `scale`.
        Names of values become names of layers where they may be; the metadata of the file becomes `model.metadata`.
        Inputs that no output depends on are left out.

    Raises
    ------
    ImportError
        onnx is not there:  pip install "pynet[onnx]".
    OSError
        The file cannot be read.
    TypeError, ValueError
        It is no ONNX file, or a damaged one; a weight is NaN or infinite; the weights would be larger than the file
        allows (one tensor used by many layers); or nodes are not supported: one error names all of them, and why.

    Notes
    -----
    docs/onnx.md lists the operators.  The first dimension of every input is the batch, whatever the file says of it.
    Reading is safe with files from anybody.
    """
    dtype = None if dtype is None else _check.float_dtype(dtype)
    with np.errstate(all="ignore"):  # numbers that are none are told as such
        return Reader(onnx_file.read(source)).model(dtype)


class Reader:
    """One file being read: what its names stand for, and what is wrong.

    Attributes
    ----------
    data : dict of name -> Data, or None for what an unsupported node computes
    constants : Constants
    wiring : Wiring
    """

    def __init__(self, file: onnx_file.File):
        self.file, self.wiring = file, Wiring(GROWTH * file.nbytes + SPARE)
        self.constants = Constants(file)
        self.data: dict[str, Data | None] = {}
        self.faults: list[str] = []
        self.done: set[int] = set()  # nodes that are part of what is made already
        self.readers: dict[str, list[int]] = {name: [-1] for name in file.outputs}
        self.fixed_rows = -1  # what the file says of the batch, if that is a number
        self.made: dict = {}  # layers by the tensors they are made of: called twice, they are one
        for k, node in enumerate(file.nodes):
            for name in node.inputs:
                self.readers.setdefault(name, []).append(k)
        self.matches = onnx_match.find(file, self.constants.arrays)
        self.inner = {n for k, match in self.matches.items() for n in match.nodes if n != k}
        self.done |= self.inner | self.constants.folded
        self.activated: dict[str, list[int]] = {}  # what activations read: their last nodes
        for k, match in self.matches.items():
            self.activated.setdefault(match.x, []).append(k)

    def model(self, dtype=None) -> Model:
        """Return the model."""
        self.inputs = [self._input(port) for port in self.file.inputs]
        for k, node in enumerate(self.file.nodes):
            self._read(k, node)
        outputs = [self._output(name) for name in self.file.outputs]
        if not self.file.outputs:
            self.faults.append("the graph has no outputs")
        if self.faults:
            listed = "\n".join(f"  {fault}" for fault in self.faults)
            raise ValueError(f"the ONNX graph cannot be read, {len(self.faults)} faults:\n{listed}")
        used = [value for value in self.inputs if value.layer in self._layers_of(outputs)]
        model = self.wiring.model(used, outputs, self._dtype() if dtype is None else dtype)
        model.metadata = dict(self.file.metadata)
        return model

    def _layers_of(self, outputs) -> set:
        """Return the layers that the outputs depend on."""
        found, waiting = set(outputs), list(outputs)
        while waiting:
            new = [value for value in waiting.pop().inputs if value not in found]
            found.update(new)
            waiting += new
        return {value.layer for value in found}

    def _dtype(self) -> str:
        dtypes = [port.dtype for port in self.file.inputs] + [a.dtype for a in self.file.constants.values()]
        return "float64" if np.float64 in dtypes else "float32"

    # ---- inputs and outputs ------------------------------------------------------------------------------------------

    def _input(self, port: onnx_file.Port):
        sizes = tuple(n or 0 for n in (port.shape or ())[1:])
        if not sizes or min(sizes) < 1:
            shown = "no shape" if port.shape is None else str(["?" if n is None else n for n in port.shape])
            return self._lost(port.name, f"input {port.name!r} has {shown}, expected [batch, features] of a known size")
        if port.shape and port.shape[0] is not None:
            self.fixed_rows = port.shape[0]
        rows = sizes if len(sizes) <= 2 else (math.prod(sizes),)  # an image is a row, and will be flattened
        try:
            *constants, name = self._scaling(port, sizes)
            shift, scale = (None if c is None else np.broadcast_to(c, sizes) for c in constants)
            self.wiring.take(shift, scale)
            shift, scale = (None if c is None else c.reshape(rows) for c in (shift, scale))
            layer = layers.Input(rows, self.wiring.name(port.name), scale, shift)
        except (Unsupported, TypeError, ValueError) as error:
            return self._lost(port.name, f"input {port.name!r}: {error}")
        self.data[name] = Data(layer.output, sizes)
        return layer.output

    def _lost(self, name: str, fault: str) -> None:
        """Note a fault; what it spoils is not told again."""
        self.faults.append(fault)
        self.data[name] = None

    def _scaling(self, port: onnx_file.Port, sizes: tuple[int, ...]):
        """Return shift and scale of what is done to an input before anything else, and the name of the result."""
        name, floating = port.name, port.dtype.name in onnx_file.FLOATS
        shift, scale = np.float64(0), np.float64(1)
        while True:
            k, node = self.sole_reader(name)
            found = self.affine(node, name, sizes) if node and k not in self.matches and k not in self.done else None
            floating = floating or (found is not None and node.op == "Cast")
            if not floating and not (found is not None and node.op == "Identity"):
                raise Unsupported(f"its numbers are {port.dtype}, which nothing casts to floats before they are used")
            if found is None or not np.all(found[0]):
                break
            factor, more = found
            shift, scale = shift - more / (scale * factor), scale * factor
            self.done.add(k)
            name = node.outputs[0]
        return (shift if np.any(shift) else None), (scale if np.any(scale != 1) else None), name

    def _output(self, name: str):
        data = self.data.get(name)
        if data is None:
            if name not in self.data:
                what = "is a constant" if name in self.constants.arrays else "is made by no node"
                self.faults.append(f"output {name!r} {what}")
            return None
        try:
            value = data.rows_first().value
            if data.sizes != value.shape:
                raise Unsupported(f"it is {data.shown}, expected [batch, features] or [batch, steps, features]")
            if value.layer.is_input:
                value = self.wiring.call(layers.Activation("identity", self.wiring.name(name)), value)
            return value
        except (Unsupported, TypeError, ValueError) as error:
            self.faults.append(f"output {name!r}: {error}")
            return None

    # ---- nodes -------------------------------------------------------------------------------------------------------

    def _read(self, k: int, node: onnx_file.Node) -> None:
        """Make of a node what it means, or note why not."""
        if k in self.done:
            return
        match = self.matches.get(k)
        try:
            self._check(node, match)
            reads = [match.x] if match else list(filter(None, node.inputs))
            if any(self.data.get(name, self) is None for name in reads):
                self.data.update(dict.fromkeys(filter(None, node.outputs)))  # what was lost is told already
            elif all(map(self.constants.has, reads)):
                self.constants.fold(node)
            elif match:
                self.activate(match.activation, match.x, node.outputs[0])
            elif node.op not in OPERATORS:
                raise Unsupported("only of constants is it supported")
            else:
                OPERATORS[node.op](self, node)
        except (Unsupported, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            self.faults.append(f"{node.shown}: {error}")
            self.data.update(dict.fromkeys(filter(None, node.outputs)))

    def _check(self, node: onnx_file.Node, match) -> None:
        """Refuse a node that is not what the rules of ONNX say, or whose operator is unknown."""
        if match is None and node.op not in OPERATORS and node.op not in FOLDS:
            raise Unsupported("this operator is not supported")
        least = onnx_file.schema(node.op, self.file.opset)
        if least is not None and (len(node.inputs) < least.min_input or len(node.outputs) < least.min_output):
            raise Unsupported(f"it has {len(node.inputs)} inputs and {len(node.outputs)} outputs, which are too few")
        for name in [match.x] if match else filter(None, node.inputs):
            if name not in self.data and not self.constants.has(name):
                raise Unsupported(f"it reads {name!r}, which nothing before it makes")

    def sole_reader(self, name: str):
        """Return number and node of the only one that reads a value, or (-1, None)."""
        reading = self.readers.get(name, [])
        k = reading[0] if len(reading) == 1 else -1
        return (k, self.file.nodes[k]) if k >= 0 else (-1, None)

    def affine(self, node: onnx_file.Node, name: str, sizes: tuple[int, ...]):
        """Return (factor, more) if a node makes `factor` x + `more` of the value `name`, else None."""
        if node.op == "Identity" or (node.op == "Cast" and node.attributes.get("to") in onnx_file.FLOAT_TYPES):
            return np.float64(1), np.float64(0)
        if node.op not in ("Add", "Sub", "Mul", "Div") or len(node.inputs) != 2:
            return None
        first = node.inputs[0] == name
        c = self.constants.arrays.get(node.inputs[1 if first else 0])
        if c is None or c.dtype.kind not in "iuf":
            return None
        try:
            c = self.of_a_row(c.astype(np.float64), sizes)
        except ValueError:
            return None
        if node.op == "Add":
            return np.float64(1), c
        if node.op == "Sub":
            return (np.float64(1), -c) if first else (np.float64(-1), c)
        if node.op == "Mul":
            return c, np.float64(0)
        return (1 / c, np.float64(0)) if first and np.all(c) else None

    @staticmethod
    def of_a_row(c: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
        """Return a constant without the axes of size 1 that stand for the batch; it must fit into a row."""
        while c.ndim > len(sizes) and c.shape[0] == 1:
            c = c[0]
        if c.size == 1:
            return c.reshape(())
        np.broadcast_to(c, sizes)  # a ValueError if it does not fit
        return np.broadcast_to(c, sizes) if c.shape not in (sizes, sizes[-1:]) else c

    def constant(self, name: str, what: str) -> np.ndarray:
        """Return a constant that an operator needs."""
        array = self.constants.arrays.get(name)
        if array is None:
            raise Unsupported(f"its {what} {name!r} is no constant" if name else f"its {what} is missing")
        if array.dtype.kind not in "iufb":
            raise Unsupported(f"its {what} {name!r} is of {array.dtype}, expected numbers")
        return array

    def vector(self, name: str, what: str, width: int) -> np.ndarray:
        """Return a constant as [width]."""
        array = self.constant(name, what)
        if array.size not in (1, width) or (array.ndim and array.shape[-1] != array.size):
            raise Unsupported(f"its {what} {name!r} has shape {array.shape}, expected ({width},)")
        return np.broadcast_to(array.reshape(-1), (width,))

    def read(self, name: str) -> Data:
        """Return the value that an operator reads."""
        data = self.data.get(name)
        if data is None:
            raise Unsupported(f"it reads {name!r}, which is a constant")
        return data

    # ---- layers ------------------------------------------------------------------------------------------------------

    def layer(self, made_of, make, data: Data, output: str, **arrays) -> Data:
        """Call a layer: the one made of the same tensors before, or that which make(name) returns."""
        layer = self.made.get(made_of)
        if layer is None:
            layer = self.made[made_of] = make(self.wiring.name(output))
        value = self.wiring.call(layer, data.value, **arrays)
        return Data(value, value.shape)

    def dense(self, data: Data, w: np.ndarray, b, made_of, output: str) -> None:
        """Make a Dense layer, with the activation behind it if nobody else reads what is in front of that."""
        if data.flat().width != len(w):
            raise Unsupported(f"it multiplies {data.shown} by a matrix of {w.shape}")
        activation, last = self.activation_behind(output)
        made = self.layer(
            (*made_of, activation),
            lambda name: layers.Dense(w.shape[1], activation, use_bias=b is not None, name=name),
            data,
            last,
            kernel=w,
            bias=b,
        )
        self.data[last] = made

    def activation_behind(self, output: str) -> tuple[Activation, str]:
        """Return the activation that alone reads a value, whose nodes are then done, and the name of its output."""
        reading = set(self.readers.get(output, [-1]))
        for k in self.activated.get(output, []):
            if reading <= set(self.matches[k].nodes):
                self.done.add(k)
                return self.matches[k].activation, self.file.nodes[k].outputs[0]
        k, node = self.sole_reader(output)
        if node and node.op == "Softmax" and node.attributes.get("axis", -1) in (-1, 1):
            self.done.add(k)
            return get("softmax"), node.outputs[0]
        return get("identity"), output

    def activate(self, activation: Activation | str, x: str, output: str) -> None:
        """Make a layer of an activation."""
        data = self.read(x)
        layer = layers.Activation(activation, self.wiring.name(output))
        made = self.wiring.call(layer, data.value)
        self.data[output] = Data(made, data.sizes, data.order)
