"""An ONNX file taken apart, and nothing believed: its nodes, constants, inputs and outputs as plain records."""

from __future__ import annotations

import functools
import os
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from .libraries import library
from .onnx_metadata import from_text

__all__ = ["FLOATS", "FLOAT_TYPES", "File", "Node", "Port", "read", "schema"]

OPSETS = range(7, 27)  # of which the operators that are read mean the same, or are told apart
FLOATS = ("float16", "bfloat16", "float32", "float64")
FLOAT_TYPES = (10, 16, 1, 11)  # the same as ONNX numbers them


class Node(NamedTuple):
    """One node: its operator (with the domain, if that is not ONNX's own), name, inputs, outputs, attributes."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]

    @property
    def shown(self) -> str:
        return f"{self.op} {self.name or '-> ' + ', '.join(self.outputs)!r}"


class Port(NamedTuple):
    """An input: its name, its dimensions (None where one is free) and its dtype."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: np.dtype


class File(NamedTuple):
    """What a file holds."""

    nodes: list[Node]
    constants: dict[str, np.ndarray]
    inputs: list[Port]
    outputs: list[str]
    metadata: dict[str, Any]
    opset: int
    nbytes: int


def read(source) -> File:
    """Return what is in an ONNX file.

    Parameters
    ----------
    source : str or os.PathLike, bytes, or onnx.ModelProto

    Raises
    ------
    TypeError, ValueError, OSError
        It is none of these; it is no ONNX file, or a damaged one; tensors stand in other files.
    """
    onnx = library("onnx")
    if isinstance(source, onnx.ModelProto):
        proto = source
    elif isinstance(source, (bytes, bytearray, memoryview)):
        proto = _parsed(onnx, bytes(source), "the bytes")
    elif isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            proto = _parsed(onnx, file.read(), os.fspath(source))
    else:
        raise TypeError(f"source must be a path, bytes or an onnx.ModelProto, got {type(source).__name__}")
    graph = proto.graph
    _check_texts(proto)
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset not in OPSETS:
        raise ValueError(f"the ONNX opset must be {OPSETS[0]} to {OPSETS[-1]}, got {opset or 'none'}")
    if graph.sparse_initializer:
        raise ValueError("sparse initializers are not supported; write them as dense tensors")
    constants = {tensor.name: _array(onnx, tensor, f"initializer {tensor.name!r}") for tensor in graph.initializer}
    inputs = [_port(onnx, info) for info in graph.input if info.name not in constants]
    nodes = [_node(onnx, node) for node in graph.node]
    made = [tensor.name for tensor in graph.initializer] + [port.name for port in inputs]
    made += [name for node in nodes for name in node.outputs if name]
    twice = [name for name, count in Counter(made).items() if count > 1]
    if twice:
        raise ValueError(f"the value {twice[0]!r} is made twice")
    return File(
        nodes=nodes,
        constants=constants,
        inputs=inputs,
        outputs=[info.name for info in graph.output],
        metadata={entry.key: from_text(entry.value) for entry in proto.metadata_props},
        opset=opset,
        nbytes=proto.ByteSize(),
    )


@functools.cache
def schema(op: str, opset: int):
    """Return what ONNX says of an operator, None if it does not know it."""
    onnx = library("onnx")
    try:
        return onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return None


def _parsed(onnx, content: bytes, what: str):
    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # of protobuf, whose errors have no common base but this
        raise ValueError(f"{what}: not an ONNX file, or a damaged one ({error})") from None


def _check_texts(proto) -> None:
    """Refuse texts that are not UTF-8, which protobuf hands on as bytes."""
    graph = proto.graph
    texts = [info.name for infos in (graph.input, graph.output, graph.initializer) for info in infos]
    texts += [text for entry in proto.metadata_props for text in (entry.key, entry.value)]
    for node in graph.node:
        texts += [node.op_type, node.domain, node.name, *node.input, *node.output]
        texts += [attribute.name for attribute in node.attribute]
    strange = next((text for text in texts if not isinstance(text, str)), None)
    if strange is not None:
        raise ValueError(f"the name or text {strange!r} is not UTF-8")


def _array(onnx, tensor, what: str) -> np.ndarray:
    """Return a tensor as an array: real numbers as float32 or float64, all else as it is."""
    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError(f"{what} stands in another file, which is never read; save the model with its data inside")
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except Exception as error:  # whatever a damaged tensor provokes
        raise ValueError(f"{what} is damaged: {error}") from None
    return array.astype(np.float32) if array.dtype.name in FLOATS[:2] else array


def _port(onnx, info) -> Port:
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ValueError(f"input {info.name!r} is no tensor")
    tensor = info.type.tensor_type
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    except (KeyError, ValueError, TypeError):
        raise ValueError(f"input {info.name!r} has an unknown type, {tensor.elem_type}") from None
    if not tensor.HasField("shape"):
        return Port(info.name, None, dtype)
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    return Port(info.name, shape, dtype)


def _node(onnx, node) -> Node:
    attributes = {}
    for attribute in node.attribute:
        where = f"attribute {attribute.name!r} of {node.op_type} {node.name!r}"
        try:
            value = onnx.helper.get_attribute_value(attribute)
        except ValueError as error:
            raise ValueError(f"{where} is damaged: {error}") from None
        if isinstance(value, onnx.TensorProto):
            value = _array(onnx, value, where)
        attributes[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    inputs, outputs = list(node.input), list(node.output)
    if not any(outputs):
        raise ValueError(f"{node.op_type} {node.name!r} has no output")
    while inputs and not inputs[-1]:  # optional ones that are not there
        inputs.pop()
    op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    return Node(op, node.name, inputs, outputs, attributes)
