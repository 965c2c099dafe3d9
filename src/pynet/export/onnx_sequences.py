"""LSTM and the Scan that stands for one, read from ONNX."""

from __future__ import annotations

import numpy as np

from ..recurrent import LSTM
from .onnx_graph import Graph
from .onnx_lstm import body, from_onnx_gates
from .onnx_values import ROWS, Data, Unsupported

__all__ = ["lstm", "scan"]


def lstm(r, node) -> None:
    """The operator: one direction, no peepholes, first states 0."""
    a = node.attributes
    odd = [key for key, value in {"direction": "forward", "input_forget": 0}.items() if a.get(key, value) != value]
    odd += [key for key in ("clip", "activation_alpha", "activation_beta") if a.get(key)]
    functions = [f.decode() if isinstance(f, bytes) else str(f) for f in a.get("activations", [])]
    if functions and [f.lower() for f in functions] != ["sigmoid", "tanh", "tanh"]:
        odd.append("activations")
    if odd:
        raise Unsupported(f"{', '.join(odd)}: only a forward LSTM with its usual activations")
    x, *tensors, lengths, h, c, peep = [*node.inputs, *[""] * 8][:8]
    if lengths or peep:
        raise Unsupported("sequence_lens and peepholes are not supported")
    for name in filter(None, (h, c)):
        if name not in r.constants.zeros and np.any(r.constant(name, "first state")):
            raise Unsupported(f"its first state {name!r} is not 0")
    data = r.read(x)
    rows_first = bool(a.get("layout", 0))
    if data.order != ((ROWS, 0, 1) if rows_first else (0, ROWS, 1)):
        shown = "[batch, steps, features]" if rows_first else "[steps, batch, features]"
        raise Unsupported(f"it reads {data.shown}, expected {shown} of a sequence")
    features = data.sizes[1]
    kernel, recurrent = (r.constant(name, key) for name, key in zip(tensors, "WR", strict=False))
    units = recurrent.shape[-1] if recurrent.ndim else 0
    if a.get("hidden_size", units) != units:
        raise Unsupported(f"its hidden_size is {a['hidden_size']}, but its R has shape {recurrent.shape}")
    expected = {"W": (1, 4 * units, features), "R": (1, 4 * units, units)}
    for key, array in (("W", kernel), ("R", recurrent)):
        if array.shape != expected[key]:
            raise Unsupported(f"its {key} has shape {array.shape}, expected {expected[key]}")
    bias = r.constant(tensors[2], "B") if tensors[2] else np.zeros((1, 8 * units), kernel.dtype)
    if bias.shape != (1, 8 * units):
        raise Unsupported(f"its B has shape {bias.shape}, expected {(1, 8 * units)}")
    if any(name in r.readers for name in node.outputs[2:]):
        raise Unsupported("its last cell state is read")
    arrays = from_onnx_gates(kernel[0], recurrent[0], bias[0])
    every, last = _outputs(r, [data], units, tensors, node.outputs, arrays)
    orders = [(ROWS, 0, None, 1), (ROWS, None, 0)] if rows_first else [(0, None, ROWS, 1), (None, ROWS, 0)]
    for name, made, order in zip(node.outputs, (every, last), orders, strict=False):
        r.data[name] = made.seen(order)


def _outputs(r, reads: list[Data], units: int, tensors, outputs, arrays) -> tuple[Data, Data]:
    """Return all states and the last one, of layers that are made when they are read."""

    def make(sequences: bool, name: str):
        def call():
            key = ("LSTM", *tensors, sequences)
            layer = r.made.get(key)
            if layer is None:
                layer = r.made[key] = LSTM(units, return_sequences=sequences, name=r.wiring.name(name))
            values = [data.value for data in reads]
            return r.wiring.call(layer, values if len(values) > 1 else values[0], **arrays)

        return call

    names = [*outputs, "", ""]
    last = Data(make(False, names[1]), (units,))
    return Data(make(True, names[0]), (reads[0].sizes[0], units), last=last), last


def scan(r, node) -> None:
    """A Scan whose body is the one that to_onnx writes."""
    a = node.attributes
    states, scanned = node.inputs[:2], node.inputs[2:]
    given = a.get("body")
    masked = len(scanned) == 2
    outer = _read_from_outside(given) if given is not None else []
    if len(outer) == 3 and len(scanned) in (1, 2) and len(node.outputs) == 3:
        arrays = [r.constant(name, "tensor") for name in outer]
        dtype = arrays[0].dtype
        axes = {"scan_input_axes": [1] * len(scanned), "scan_output_axes": [1], "num_scan_inputs": len(scanned)}
        rest = {key: value for key, value in a.items() if key != "body"}
        if dtype in (np.float32, np.float64) and rest == axes:
            same = body(Graph, dtype, outer, masked).SerializeToString() == given.SerializeToString()
            if same and all(name in r.constants.zeros for name in states):
                return _scanned(r, node, scanned, outer, arrays)
    raise Unsupported("only the Scan of an LSTM as pynet writes it")


def _read_from_outside(graph) -> list[str]:
    """Return the names that a graph does not make itself, in the order of what pynet writes."""
    own = {value.name for value in (*graph.input, *graph.initializer)} | {n for node in graph.node for n in node.output}
    return list(dict.fromkeys(n for node in graph.node for n in node.input if n not in own))


def _scanned(r, node, scanned, outer, arrays) -> None:
    kernel, recurrent, bias = arrays
    data = r.read(scanned[0]).rows_first()
    units = recurrent.shape[0]
    shapes = [(data.sizes[-1], 4 * units), (units, 4 * units), (4 * units,)]
    if len(data.sizes) != 2 or [array.shape for array in arrays] != shapes:
        raise Unsupported(f"it reads {data.shown}, and matrices of {[array.shape for array in arrays]}")
    reads = [data]
    if len(scanned) == 2:
        mask = r.read(scanned[1])
        if mask.order != (ROWS, 0, None):
            raise Unsupported(f"its mask is {mask.shown}, expected [batch, steps, 1]")
        reads.append(mask)
    named = {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias}
    every, last = _outputs(r, reads, units, outer, [node.outputs[2], node.outputs[0]], named)
    r.data[node.outputs[0]], r.data[node.outputs[2]] = last, every
