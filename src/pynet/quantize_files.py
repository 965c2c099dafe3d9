"""Files of integer networks: safetensors like those of models, with a document of their own.

::

    {"format_version": 1, "kind": "quantized", "library": "0.1.0", "metadata": {...},
     "network": {"values":  [{"width", "scale", "zero", "bits", "name", "of"}, ...],
                 "ops":     [{"kind", its integers, "table": whether it has one}, ...],
                 "inputs":  [{"name", "value", "shape", "offset"}, ...],
                 "outputs": [{"name", "value", "shape"}, ...]}}

Arrays are tensors: "op0.w", "input0.shift", "input0.examples" ....
"""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np

from .files import FORMAT_VERSION, to_json, version, write
from .graph import check_name
from .quantize_kinds import KINDS
from .quantize_numbers import Quantization
from .quantize_ops import IntegerOp, Value
from .quantized_input import QuantizedInput
from .quantized_model import QuantizedModel, QuantizedOutput

__all__ = ["restore", "save"]

MAX_WIDTH = 1 << 24
VALUE_FIELDS = {"x": 0, "x2": 0, "y": 0, "cell": 0, "hidden": 0, "mask": -1}  # fields that name a value: the lowest


def save(model: QuantizedModel, path) -> None:
    """Write `model`; see `QuantizedModel.save`."""
    tensors: dict[str, np.ndarray] = {}
    for k, op in enumerate(model.ops):
        tensors |= {f"op{k}.{name}": getattr(op, name) for name in op.arrays if getattr(op, name).size}
    for k, (i, examples) in enumerate(zip(model.inputs, model.examples, strict=True)):
        tensors |= {f"input{k}.shift": i.shift, f"input{k}.factor": i.factor, f"input{k}.examples": examples}
    network = {
        "values": [
            {"width": v.width, "scale": v.q.scale, "zero": v.q.zero, "bits": v.q.bits, "name": v.name, "of": v.of}
            for v in model.values
        ],
        "ops": [_row(op) for op in model.ops],
        "inputs": [
            {"name": i.name, "value": i.value, "shape": list(i.shape), "offset": i.offset} for i in model.inputs
        ],
        "outputs": [{"name": o.name, "value": o.value, "shape": list(o.shape)} for o in model.outputs],
    }
    document = {
        "format_version": FORMAT_VERSION,
        "kind": "quantized",
        "library": version(),
        "metadata": model.metadata,
        "network": network,
    }
    write(path, tensors, {"format": "pynet", "pynet": to_json(document)})


def _row(op: IntegerOp) -> dict:
    """Return what the document says of an op: all but its arrays; "table" tells whether it has one."""
    row: dict = {name: getattr(op, name) for name in _integers(type(op))}
    table = {"table": bool(op.table.size)} if "table" in op.arrays else {}  # type: ignore[attr-defined]
    return {"kind": op.kind} | row | table


def _integers(kind: type[IntegerOp]) -> list[str]:
    """Return the names of an op's fields that are no arrays."""
    return [field.name for field in fields(kind) if field.name not in kind.arrays]


def restore(document: dict, tensors: dict[str, np.ndarray]) -> QuantizedModel:
    """Make a model of what `files.read_document` returned.  Safe with data from anybody.

    Raises
    ------
    ValueError
        Something is missing, of another type, or does not fit the rest.
    """
    network, left = document["network"], dict(tensors)
    values = [_value(row) for row in _rows(network, "values")]
    ops = [_op(k, row, values, left) for k, row in enumerate(_rows(network, "ops"))]
    inputs, examples = [], []
    for k, row in enumerate(_rows(network, "inputs")):
        offset = row.get("offset")
        if offset is not None:
            _integer(row, "offset", -128, 0)
        arrays = [_array(left, f"input{k}.{name}") for name in ("shift", "factor", "examples")]
        inputs.append(QuantizedInput(*_end(row, values), arrays[0], arrays[1], offset))
        examples.append(arrays[2])
    outputs = [QuantizedOutput(*_end(row, values)) for row in _rows(network, "outputs")]
    if left:
        raise ValueError(f"tensor {next(iter(left))!r} belongs to nothing")
    return QuantizedModel(values, ops, inputs, outputs, examples, metadata=document["metadata"])


def _rows(network: dict, key: str) -> list[dict]:
    rows = network.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"network: {key!r} must be a list of objects")
    return rows


def _integer(row: dict, key: str, low: int, high: int) -> int:
    value = row.get(key)
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"network: {key!r} is {str(value)[:40]}, expected an integer in {low}..{high}")
    return value


def _name(row: dict, more: tuple[str, ...] = ()) -> str:
    name = row.get("name")
    if not isinstance(name, str):
        raise ValueError(f"network: 'name' is {str(name)[:40]}, expected a text")
    plain = next((name.removesuffix(end) for end in more if name.endswith(end)), name)
    check_name(plain, "'name' in network")
    return name


def _value(row: dict) -> Value:
    scale = row.get("scale")
    if type(scale) is not float or not 0 < scale < math.inf or scale != float(np.float32(scale)):
        raise ValueError(f"network: a scale is {str(scale)[:40]}, expected a positive number of 32 bits")
    bits = _integer(row, "bits", 8, 16)
    if bits not in (8, 16):
        raise ValueError(f"network: 'bits' is {bits}, expected 8 or 16")
    q = Quantization(scale, _integer(row, "zero", -(1 << 31), 1 << 31), bits)
    return Value(
        _integer(row, "width", 1, MAX_WIDTH),
        q,
        _name(row, (" (logits)", " (cell)", " (hidden)")),
        _integer(row, "of", -1, 1 << 31),
    )


def _op(k: int, row: dict, values: list[Value], left: dict) -> IntegerOp:
    given = row.get("kind")
    if not isinstance(given, str) or given not in KINDS:
        raise ValueError(f"network: an op of kind {str(given)[:40]!r}, expected one of {', '.join(KINDS)}")
    kind = KINDS[given]
    arguments: dict = {}
    for name in _integers(kind):
        low, high = VALUE_FIELDS.get(name, -(1 << 63)), len(values) if name in VALUE_FIELDS else 1 << 63
        arguments[name] = _integer(row, name, low, high - 1)
    for name in kind.arrays:
        if name == "table" and row.get("table") is False:
            arguments[name] = np.zeros(0, values[arguments["y"]].q.dtype)
        else:
            arguments[name] = _array(left, f"op{k}.{name}")
    return kind(**arguments)


def _array(left: dict, name: str) -> np.ndarray:
    if name not in left:
        raise ValueError(f"tensor {name!r} is missing")
    return left.pop(name)


def _end(row: dict, values: list[Value]) -> tuple[str, int, tuple[int, ...]]:
    """Return name, value and shape of an input or output."""
    value = _integer(row, "value", 0, len(values) - 1)
    shape = row.get("shape")
    if not isinstance(shape, list) or not 1 <= len(shape) <= 2 or not all(type(n) is int and n > 0 for n in shape):
        raise ValueError(f"network: 'shape' is {str(shape)[:40]}, expected one or two positive integers")
    if math.prod(shape) != values[value].width:
        raise ValueError(f"network: shape {shape} of a value of width {values[value].width}")
    return _name(row), value, tuple(shape)
