"""A model as an ONNX file."""

from __future__ import annotations

import itertools

import numpy as np

from .._safetensors import write_atomically
from ..compact_dense import CompactDense, compact_names
from ..kinds import KINDS
from ..layer_base import Layer
from ..layers import Dense
from ..opened import check_model
from ..tables.model import TableModel
from . import onnx_activations, onnx_lstm
from .libraries import library
from .onnx_graph import Graph
from .onnx_metadata import to_text
from .onnx_table import ML_OPSET, TableInputs

__all__ = ["to_onnx"]

OPSET, IR = 17, 8  # of ONNX 1.12 (June 2022), the first that knows LayerNormalization: what is older runs less
MAX_BYTES = (1 << 31) - (1 << 20)  # of a file without external data: protobuf ends at 2 GiB


def to_onnx(model, path) -> None:
    """Write a model as an ONNX file (opset 17, IR version 8), for prediction.

    The scaling of Input is included, random layers and gradient clips are not: they do nothing in prediction.  Pruned
    and compact layers are written as dense matrices.  Inputs and outputs have the names of their layers and the model's
    dtype; their first dimension is called "batch" and is free.  The entries of `model.metadata` (`classes`, `features`)
    stand in the metadata of the file, texts as they are, all else as JSON.

    Parameters
    ----------
    model : Model or TableModel
        Of a TableModel each column is an input, [batch, 1]: double for numbers and for dates (days since 1970-01-01,
        UTC), where NaN and infinite values are missing ones; string for categories, without blanks around the texts (no
        operator of ONNX would take them away).
    path : str or os.PathLike
        Written atomically, after onnx.checker has agreed.

    Raises
    ------
    ImportError
        onnx is not there:  pip install "pynet[onnx]".
    TypeError, ValueError
        `model` is no Model; a layer or an activation is written in Python (the error names the layer); a parameter is
        NaN or infinite; the metadata is not JSON; the file would be larger than 2 GiB.  Nothing was written.
    OSError
        The file cannot be written.

    Notes
    -----
    The same functions as pynet's, within rounding.  Of float64 models gelu and arctan are exact to float32 only, for
    ONNX Runtime has no Erf and Atan in float64.  An LSTM with a mask, or in float64, is a Scan.
    """
    write_atomically(path, [proto(model).SerializeToString()])


def proto(model):
    """Return the model as a ModelProto that the checker has passed."""
    encoder = None
    if isinstance(model, TableModel):
        model, encoder = model.network, model.encoder
    check_model("model", model)
    for layer in model.layers:
        _refuse_python(model.names[layer], layer)
    if compact_names(model):
        dense = model.expand()
        dense.metadata = model.metadata
        model = dense
    made = _Writer(model, encoder).made()
    library("onnx.checker").check_model(made)
    return made


def _refuse_python(name: str, layer: Layer) -> None:
    if type(layer) not in LAYERS or layer.applied_activation().function:
        raise ValueError(f"layer {name!r} ({layer!r}) has no form in ONNX: it, or its activation, is written in Python")


class _Writer:
    """One graph being written."""

    def __init__(self, model, encoder=None):
        self.model, self.g = model, Graph(model.dtype)
        self.table = None if encoder is None else TableInputs(self.g, encoder)
        self.parameters: dict[Layer, dict[str, np.ndarray]] = {layer: {} for layer in model.layers}
        state = model.parameters()
        for weight in model.weights:
            array = state[weight.name]
            if not np.isfinite(array).all():
                raise ValueError(f"parameter {weight.name!r} has NaN or infinite values; nothing was written")
            self.parameters[weight.layer][weight.suffix] = array
        if sum(array.nbytes for array in state.values()) > MAX_BYTES:
            raise ValueError(f"the parameters take more than {MAX_BYTES} bytes, the most of an ONNX file")
        self.node = model.nodes[0]  # what is written now
        self.values: dict = {}  # node of the model: name of its value
        self.names: set[str] = set(encoder.names if encoder else ())  # of inputs and of what nodes of the model wrote

    @property
    def layer(self):
        return self.node.layer

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.model.names[self.node.layer]

    def has(self, suffix: str) -> bool:
        """Return whether the layer has such a parameter."""
        return suffix in self.parameters[self.layer]

    def tensor(self, suffix: str, shape: tuple[int, ...] | None = None) -> str:
        """Return the name of a parameter of the layer; `shape`: of the tensor, if it shall be another."""
        array, name = self.parameters[self.layer][suffix], f"{self.name}.{suffix}"
        if shape is None or shape == array.shape:
            return self.g.tensor(name, array)
        return self.g.tensor(f"{name}:{'x'.join(map(str, shape))}", array.reshape(shape))

    def made(self):
        """Write all; return the ModelProto."""
        g = self.g
        for node in self.model.nodes:
            self.node = node
            g.scope = name = self._free_name()
            reads = [self._entry(name)] if self.layer.is_input else [self.values[v] for v in self.node.inputs]
            before = len(g.nodes)
            y = LAYERS[type(self.layer)](self, *reads)
            if self.layer.is_input or len(g.nodes) > before:
                self.names.add(name)
            self.values[self.node] = y if self.layer.is_input or len(g.nodes) == before else g.rename(name)
        ends: list[str] = []
        for node in self.model.outputs:
            self.node = node
            ends.append(self._output(self.values[self.node], ends))
        return self._proto(ends)

    def _entry(self, name: str) -> str:
        """Return what goes into an Input: the input of the graph that has its name, or what a table makes."""
        return name if self.table is None else self.table.values[self.model.inputs.index(self.node)]

    def _output(self, value: str, taken: list[str]) -> str:
        """Return a name that is this output's alone: not an input's, nor one that a layer handed on."""
        if value in taken or value.partition(":")[0] != self.name or self.layer.is_input:
            self.g.scope = name = self._free_name()
            self.g.node("Identity", value)
            self.names.add(name)
            return self.g.rename(name)
        return value

    def _free_name(self) -> str:
        """Return the name of a value of the layer: its name, or at another call "name:2"."""
        names = (self.name if k == 1 else f"{self.name}:{k}" for k in itertools.count(1))
        return next(name for name in names if name not in self.names)

    def _proto(self, outputs: list[str]):
        g, model = self.g, self.model

        def info(name, value):
            return g.helper.make_tensor_value_info(name, g.element_type, ["batch", *value.shape])

        graph = g.helper.make_graph(
            g.nodes,
            model.name or "pynet",
            self.table.infos if self.table else [info(model.names[value.layer], value) for value in model.inputs],
            [info(name, value) for name, value in zip(outputs, model.outputs, strict=True)],
            g.initializers,
        )
        from .. import __version__

        opsets = [g.helper.make_opsetid("", OPSET)]
        if self.table:
            opsets.append(g.helper.make_opsetid("ai.onnx.ml", ML_OPSET))
        made = g.helper.make_model(
            graph, opset_imports=opsets, ir_version=IR, producer_name="pynet", producer_version=__version__
        )
        g.helper.set_model_props(made, {str(key): to_text(key, value) for key, value in model.metadata.items()})
        return made


# ---- layers: writer(w, *names of what it reads) -> name of what it writes ------------------------------------------


def _input(w, name):
    shape, x = w.layer.shape, name
    if w.has("shift"):
        x = w.g.node("Sub", x, w.tensor("shift", shape))
    return w.g.node("Mul", x, w.tensor("scale", shape)) if w.has("scale") else x


def _activated(w, x):
    activation = w.layer.activation
    activation = activation.frozen if activation.random else activation
    if activation.name == "identity" and isinstance(w.layer, Dense):
        return x
    return onnx_activations.WRITERS[activation.name](w.g, x, *activation.parameters)


def _dense(w, x):
    if w.has("bias"):
        return _activated(w, w.g.node("Gemm", x, w.tensor("kernel"), w.tensor("bias")))
    return _activated(w, w.g.node("MatMul", x, w.tensor("kernel")))


def _add(w, x, *others):
    for other in others:
        x = w.g.node("Add", x, other)
    return x


def _concat(w, *parts):
    return w.g.node("Concat", *parts, axis=1)


def _batch_norm(w, x):
    vectors = [w.tensor(suffix) for suffix in ("gamma", "beta", "mean", "variance")]
    return w.g.node("BatchNormalization", x, *vectors, epsilon=w.layer.epsilon, momentum=w.layer.momentum)


def _layer_norm(w, x):
    gamma = w.tensor("gamma") if w.has("gamma") else None
    if gamma is None:
        gamma = w.g.tensor(f"{w.name}.ones", np.ones(w.layer.width, w.g.dtype))
    vectors = [gamma, w.tensor("beta")] if w.has("beta") else [gamma]
    return w.g.node("LayerNormalization", x, *vectors, axis=-1, epsilon=w.layer.epsilon, stash_type=w.g.element_type)


def _prelu(w, x):
    shape = (1,) if w.layer.shared else w.node.shape
    return w.g.node("PRelu", x, w.tensor("alpha", shape))


def _lstm(w, x, mask=None):
    if mask is None and not w.g.double:
        return onnx_lstm.write_lstm(w.g, w.name, x, w.layer, w.parameters[w.layer])
    return onnx_lstm.write_scan(w.g, w.name, x, mask, w.layer, w.parameters[w.layer])


def _flatten(w, x):
    return w.g.node("Flatten", x, axis=1)


def _nothing(w, x):
    return x


WRITERS = {
    "Input": _input, "Dense": _dense, "Activation": _activated, "Add": _add, "Concat": _concat,
    "BatchNorm": _batch_norm, "LayerNorm": _layer_norm, "InstanceNorm": _layer_norm, "Dropout": _nothing,
    "GaussianNoise": _nothing, "GradientClip": _nothing, "PReLU": _prelu, "Flatten": _flatten, "LSTM": _lstm,
}  # fmt: skip
LAYERS = {KINDS[name]: write for name, write in WRITERS.items()} | {CompactDense: _dense}
