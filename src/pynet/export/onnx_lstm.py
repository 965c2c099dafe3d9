"""The LSTM in the words of ONNX.

Without a mask it is the operator LSTM.  That knows of masks only lengths, and ONNX Runtime has none in float64: there
it is a Scan, whose body is one step.
"""

from __future__ import annotations

import numpy as np

__all__ = ["body", "from_onnx_gates", "write_lstm", "write_scan"]

TO_ONNX = (0, 3, 1, 2)  # ONNX has input, output, forget, cell gate; pynet input, forget, cell, output
TO_PYNET = (0, 2, 3, 1)


def _turned(matrix: np.ndarray, order) -> np.ndarray:
    """Return a matrix [I, 4U] with its gates in another order."""
    return np.concatenate([np.split(matrix, 4, axis=-1)[k] for k in order], axis=-1)


def from_onnx_gates(w, r, b) -> dict[str, np.ndarray]:
    """Return the parameters of a layer from ONNX's W [4U, F], R [4U, U] and B [8U]."""
    bias = b.reshape(2, -1).sum(axis=0)
    kernels = {"kernel": w.T, "recurrent_kernel": r.T, "bias": bias}
    return {name: _turned(array, TO_PYNET) for name, array in kernels.items()}


def write_lstm(g, name: str, x: str, layer, parameters: dict) -> str:
    """Add the operator LSTM; `name`: of the layer, the first part of its tensors' names."""
    w, r = (_turned(parameters[key], TO_ONNX).T[None] for key in ("kernel", "recurrent_kernel"))
    b = _turned(parameters["bias"], TO_ONNX)
    tensors = [
        g.tensor(f"{name}.{key}", array)
        for key, array in (("W", w), ("R", r), ("B", np.append(b, np.zeros_like(b))[None]))
    ]
    steps = g.node("Transpose", x, perm=[1, 0, 2])
    every, last, _ = g.node("LSTM", steps, *tensors, outputs=3, hidden_size=layer.units)
    if not layer.return_sequences:
        return g.node("Squeeze", last, g.integers(0))
    return g.node("Transpose", g.node("Squeeze", every, g.integers(1)), perm=[1, 0, 2])


def write_scan(g, name: str, x: str, mask: str | None, layer, parameters: dict) -> str:
    """Add a Scan over the steps."""
    tensors = [g.tensor(f"{name}.{key}", parameters[key]) for key in ("kernel", "recurrent_kernel", "bias")]
    size = g.node("Concat", g.node("Shape", x, start=0, end=1), g.integers(layer.units), axis=0)
    zero = g.helper.make_tensor("zero", g.element_type, [1], [0.0])
    states = g.node("ConstantOfShape", size, value=zero)
    scanned = [x] if mask is None else [x, g.node("Unsqueeze", mask, g.integers(2))]
    last, _, every = g.node(
        "Scan", states, states, *scanned, outputs=3, body=body(type(g), g.dtype, tensors, len(scanned) == 2),
        num_scan_inputs=len(scanned), scan_input_axes=[1] * len(scanned), scan_output_axes=[1],
    )  # fmt: skip
    return g.node("Identity", every if layer.return_sequences else last)


def body(make, dtype, tensors: list[str], masked: bool):
    """Return one step as a GraphProto: h, c, x and a mask [B, 1] to h, c and h; where the mask is not above 1/2 both
    stay.

    Parameters
    ----------
    make : Graph of onnx_graph.py
    dtype : np.dtype
    tensors : names of kernel, recurrent kernel and bias in the graph around it
    masked : bool
    """
    g = make(dtype, ":step")
    kernel, recurrent, bias = tensors
    z = g.node("Add", g.node("MatMul", ":x", kernel), g.node("MatMul", ":h", recurrent))
    i, f, a, q = g.node("Split", g.node("Add", z, bias), outputs=4, axis=1)
    kept, new = g.node("Mul", g.node("Sigmoid", f), ":c"), g.node("Mul", g.node("Sigmoid", i), g.node("Tanh", a))
    c = g.node("Add", kept, new)
    h = g.node("Mul", g.node("Sigmoid", q), g.node("Tanh", c))
    names = [":h", ":c", ":x"]
    if masked:
        names.append(":mask")
        takes = g.node("Greater", ":mask", g.number(0.5))
        c, h = g.node("Where", takes, c, ":c"), g.node("Where", takes, h, ":h")
    outputs = [g.node("Identity", value) for value in (h, c, h)]
    infos = [[g.helper.make_tensor_value_info(n, g.element_type, None) for n in each] for each in (names, outputs)]
    return g.helper.make_graph(g.nodes, "step", *infos, g.initializers)
