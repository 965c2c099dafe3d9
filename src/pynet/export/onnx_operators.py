"""The operators of ONNX that become layers: reader(r, node), with r the Reader of onnx_read.py.

What is not here, in onnx_activations.py or in onnx_constants.py is not read.
"""

from __future__ import annotations

import numpy as np

from ..elementwise import Flatten, PReLU
from ..layers import Add, Concat
from ..normalization import BatchNorm, InstanceNorm, LayerNorm
from ..stochastic import Dropout
from . import onnx_sequences
from .onnx_constants import axes_of
from .onnx_file import FLOAT_TYPES
from .onnx_values import ROWS, STACK, Data, Unsupported

__all__ = ["OPERATORS"]


# ---- products ------------------------------------------------------------------------------------------------------


def _gemm(r, node) -> None:
    """alpha x w' + beta c"""
    a = node.attributes
    if a.get("transA", 0):
        raise Unsupported("transA turns the batch")
    w = r.constant(node.inputs[1], "matrix B").astype(np.float64)
    if w.ndim != 2:
        raise Unsupported(f"its matrix B has shape {w.shape}, expected two axes")
    w = a.get("alpha", 1.0) * (w.T if a.get("transB", 0) else w)
    b = None
    if len(node.inputs) > 2:
        b = a.get("beta", 1.0) * r.vector(node.inputs[2], "bias C", w.shape[1]).astype(np.float64)
    made_of = ("Gemm", *node.inputs[1:], str(sorted(a.items())))
    r.dense(r.read(node.inputs[0]), w, b, made_of, node.outputs[0])


def _matmul(r, node) -> None:
    """x w, and the constant that is added to it"""
    data, w = r.read(node.inputs[0]), r.constant(node.inputs[1], "right matrix")
    if w.ndim != 2:
        raise Unsupported(f"its right matrix has shape {w.shape}, expected two axes")
    k, behind = r.sole_reader(node.outputs[0])
    if behind is not None and behind.op == "Add" and k not in r.matches and k not in r.inner:
        found = r.affine(behind, node.outputs[0], (w.shape[1],))
        if found is not None:
            r.done.add(k)
            b = np.broadcast_to(found[1], (w.shape[1],))
            r.dense(data, w, b, ("MatMul", node.inputs[1], *sorted(behind.inputs)), behind.outputs[0])
            return
    r.dense(data, w, None, ("MatMul", node.inputs[1]), node.outputs[0])


# ---- sums, differences and what they may be -------------------------------------------------------------------------


def _add(r, node) -> None:
    """x + y + ..., or x + constant"""
    if len(node.inputs) == 1:
        _same(r, node)
        return
    if any(map(r.constants.has, node.inputs)):
        _affine(r, node)
        return
    parts = [r.read(name) for name in node.inputs]
    if any((part.order, part.sizes) != (parts[0].order, parts[0].sizes) for part in parts):
        raise Unsupported(f"it adds {' and '.join(part.shown for part in parts)}, expected equal shapes")
    value = r.wiring.call(Add(r.wiring.name(node.outputs[0])), [part.value for part in parts])
    r.data[node.outputs[0]] = Data(value, parts[0].sizes, parts[0].order)


def _affine(r, node) -> None:
    """A factor and an addend of each unit: a BatchNorm whose statistics are fixed."""
    names = [name for name in node.inputs if not r.constants.has(name)]
    if len(names) != 1:
        raise Unsupported("it is no sum, difference, product or quotient of a value and a constant")
    data = r.read(names[0]).flat()
    found = r.affine(node, names[0], data.sizes)
    if found is None:
        raise Unsupported(f"it is not a constant factor or addend of each of {data.width} units")
    gamma, beta = (np.broadcast_to(part, data.sizes) for part in found)
    zero, one = (np.broadcast_to(np.float64(n), data.sizes) for n in (0, 1))

    def make(name):
        return BatchNorm(epsilon=1e-30, name=name, trainable=False)

    r.data[node.outputs[0]] = r.layer(
        (node.op, *node.inputs, object()), make, data, node.outputs[0], gamma=gamma, beta=beta, mean=zero, variance=one
    )


def _concat(r, node) -> None:
    """Features side by side; or what pynet keeps apart, along an axis that it does not have."""
    parts = [r.read(name) for name in node.inputs]
    axis = parts[0].axis(node.attributes.get("axis", 1))
    if parts[0].order[axis] is None and all(part.order == parts[0].order for part in parts):
        order = [STACK if k == axis else a for k, a in enumerate(parts[0].order)]
        r.data[node.outputs[0]] = Data(parts[0].value, parts[0].sizes, order, parts=parts)
        return
    values = [part.flat().value for part in parts]
    if axis != 1:
        raise Unsupported("it joins rows, not features")
    value = r.wiring.call(Concat(r.wiring.name(node.outputs[0])), values) if len(values) > 1 else values[0]
    r.data[node.outputs[0]] = Data(value, value.shape)


# ---- norms, slopes, softmax -----------------------------------------------------------------------------------------


def _batch_norm(r, node) -> None:
    a = node.attributes
    if a.get("training_mode", 0) or any(node.outputs[1:]):
        raise Unsupported("it is in training mode")
    data = r.read(node.inputs[0]).flat()
    names = ("gamma", "beta", "mean", "variance")
    vectors = {n: r.vector(i, n, data.width) for n, i in zip(names, node.inputs[1:], strict=True)}
    made_of = ("BatchNormalization", *node.inputs[1:], str(sorted(a.items())))

    def make(name):
        return BatchNorm(_rounded(a.get("momentum", 0.9)), _rounded(a.get("epsilon", 1e-5)), name=name)

    r.data[node.outputs[0]] = r.layer(made_of, make, data, node.outputs[0], **vectors)


def _layer_norm(r, node) -> None:
    if any(node.outputs[1:]):
        raise Unsupported("its mean and deviation are read")
    data = r.read(node.inputs[0]).flat()
    if data.axis(node.attributes.get("axis", -1)) != 1:
        raise Unsupported("it normalises over the batch")
    gamma = r.vector(node.inputs[1], "scale", data.width)
    beta = r.vector(node.inputs[2], "bias", data.width) if len(node.inputs) > 2 else None
    epsilon = _rounded(node.attributes.get("epsilon", 1e-5))
    plain = beta is None and np.all(gamma == 1)

    def make(name):
        return InstanceNorm(epsilon, name) if plain else LayerNorm(epsilon, beta is not None, name=name)

    vectors = {} if plain else {"gamma": gamma, "beta": beta}
    made_of = ("LayerNormalization", *node.inputs[1:], epsilon)
    r.data[node.outputs[0]] = r.layer(made_of, make, data, node.outputs[0], **vectors)


def _rounded(value: float) -> float:
    """Return the number that was meant by one in float32: 1e-5, not 9.99999974e-06."""
    return float(str(np.float32(value)))


def _prelu(r, node) -> None:
    data = r.read(node.inputs[0])
    slope = r.constant(node.inputs[1], "slope")
    shared = slope.size == 1
    if shared:
        alpha = slope.reshape(1)
    else:
        alpha = np.broadcast_to(r.of_a_row(slope, data.rows_first().sizes), data.sizes).reshape(-1)
    name = r.wiring.name(node.outputs[0])
    key = ("PRelu", node.inputs[1], None if shared else data.sizes)
    layer = r.made.setdefault(key, PReLU(shared=shared, name=name))
    r.data[node.outputs[0]] = Data(r.wiring.call(layer, data.value, alpha=alpha), data.sizes, data.order)


def _softmax(r, node) -> None:
    data = r.read(node.inputs[0]).flat()
    if data.axis(node.attributes.get("axis", -1 if r.file.opset >= 13 else 1)) != 1:
        raise Unsupported("it is over the batch")
    r.activate("softmax", node.inputs[0], node.outputs[0])


def _clip(r, node) -> None:
    """Bounds that no pattern of onnx_match.py has: attributes before opset 11, or one that is missing."""
    bounds = [node.attributes.get(key) for key in ("min", "max")]
    for k, name in enumerate(node.inputs[1:]):
        bounds[k] = r.constant(name, "bound").item() if name else None
    low, high = (None if bound is None or abs(bound) > 1e30 else bound for bound in bounds)
    if (low, high) not in ((-1, 1), (0, None)):
        raise Unsupported(f"bounds {low} and {high} make no activation of pynet's (-1 and 1 make hard_tanh)")
    r.activate("relu" if high is None else "hard_tanh", node.inputs[0], node.outputs[0])


# ---- shapes ----------------------------------------------------------------------------------------------------------


def _same(r, node) -> None:
    """y = x"""
    r.data[node.outputs[0]] = r.read(node.inputs[0])


def _cast(r, node) -> None:
    if node.attributes.get("to") not in FLOAT_TYPES:
        raise Unsupported("it casts a value to another type than a float")
    _same(r, node)


def _dropout(r, node) -> None:
    if any(name in r.readers for name in node.outputs[1:]):
        raise Unsupported("its mask is read")
    if len(node.inputs) > 2 and np.any(r.constant(node.inputs[2], "training_mode")):
        raise Unsupported("it is in training mode")
    given = len(node.inputs) > 1 and node.inputs[1]
    rate = r.constant(node.inputs[1], "ratio").item() if given else node.attributes.get("ratio", 0.5)
    data = r.read(node.inputs[0])
    value = r.wiring.call(Dropout(_rounded(rate), r.wiring.name(node.outputs[0])), data.value)
    r.data[node.outputs[0]] = Data(value, data.sizes, data.order)


def _flat(r, node, data: Data) -> None:
    """[B, all the rest]"""
    data = data.rows_first()
    value = data.value
    if len(value.shape) > 1:
        value = r.wiring.call(Flatten(r.wiring.name(node.outputs[0])), value)
    r.data[node.outputs[0]] = Data(value, value.shape)


def _flatten(r, node) -> None:
    data = r.read(node.inputs[0])
    if data.axis(node.attributes.get("axis", 1)) != 1:
        raise Unsupported("its axis must be 1")
    _flat(r, node, data)


def _reshape(r, node) -> None:
    data = r.read(node.inputs[0])
    shape = [int(n) for n in r.constant(node.inputs[1], "shape").reshape(-1)]
    sizes = list(data.rows_first().sizes)
    if not node.attributes.get("allowzero", 0):
        shape = [sizes[k - 1] if n == 0 and 0 < k <= len(sizes) else n for k, n in enumerate(shape)]
    rows = shape[:1] in ([-1], [0]) or shape[:1] == [r.fixed_rows]
    if not rows:
        raise Unsupported(f"it makes {shape} of {data.shown}, expected [batch, ...]")
    if len(shape) == 2 and shape[1] in (-1, data.width):
        return _flat(r, node, data)
    known = [n for n in shape[1:] if n != -1]
    if (
        len(shape) - 1 == len(sizes)
        and len(known) >= len(sizes) - 1
        and shape[1:] == [n if m != -1 else -1 for n, m in zip(sizes, shape[1:], strict=True)]
    ):
        return _same(r, node)
    raise Unsupported(f"it makes {shape} of {data.shown}; only [batch, {data.width}] is possible")


def _transpose(r, node) -> None:
    data = r.read(node.inputs[0])
    perm = node.attributes.get("perm", list(reversed(range(len(data.order)))))
    if sorted(perm) != list(range(len(data.order))):
        raise Unsupported(f"perm {perm} is none of {len(data.order)} axes")
    r.data[node.outputs[0]] = data.seen(data.order[k] for k in perm)


def _more(r, node) -> list[np.ndarray]:
    return [r.constant(name, "axes") for name in node.inputs[1:]]


def _squeeze(r, node) -> None:
    data = r.read(node.inputs[0])
    axes = axes_of(node, *_more(r, node))
    gone = [k for k, axis in enumerate(data.order) if axis is None] if axes is None else list(map(data.axis, axes))
    if any(data.order[k] is not None for k in gone):
        raise Unsupported(f"it removes axes {gone} of {data.shown}, which are not of size 1")
    r.data[node.outputs[0]] = data.seen(axis for k, axis in enumerate(data.order) if k not in gone)


def _unsqueeze(r, node) -> None:
    data = r.read(node.inputs[0])
    axes = axes_of(node, *_more(r, node)) or []
    rank = len(data.order) + len(axes)
    new, old = {axis % rank for axis in axes}, iter(data.order)
    if len(new) < len(axes) or any(not -rank <= axis < rank for axis in axes):
        raise Unsupported(f"axes {axes} of {rank} axes")
    r.data[node.outputs[0]] = data.seen([None if k in new else next(old) for k in range(rank)])


def _shape(r, node) -> None:
    data = r.read(node.inputs[0])
    sizes = [-1 if axis == ROWS else 1 if axis is None else data.sizes[axis] for axis in data.order]
    chosen = sizes[slice(node.attributes.get("start", 0), node.attributes.get("end"))]
    r.constants.arrays[node.outputs[0]] = np.array(chosen, np.int64)


def _gather(r, node) -> None:
    """Of all states of an LSTM the last; of an axis of size 1 its only element."""
    data = r.read(node.inputs[0])
    axis = data.axis(node.attributes.get("axis", 0))
    index = r.constant(node.inputs[1], "index")
    if index.ndim:
        raise Unsupported(f"its index has shape {index.shape}, expected a number")
    others = [a for k, a in enumerate(data.order) if k != axis]
    if data.order[axis] == STACK and -len(data.parts) <= int(index) < len(data.parts):
        r.data[node.outputs[0]] = data.parts[int(index)].seen(others)
    elif data.order[axis] is None and int(index) in (0, -1):
        r.data[node.outputs[0]] = data.seen(others)
    elif data.last is not None and data.order[axis] == 0 and int(index) in (-1, data.sizes[0] - 1):
        r.data[node.outputs[0]] = data.last.seen(0 if a == 1 else a for a in others)
    else:
        raise Unsupported(f"it takes number {int(index)} along axis {axis} of {data.shown}")


def _beyond(reason: str):
    def refuse(r, node):
        raise Unsupported(reason)

    return refuse


OPERATORS = {
    "Gemm": _gemm, "MatMul": _matmul, "Add": _add, "Sum": _add, "Sub": _affine, "Mul": _affine, "Div": _affine,
    "Concat": _concat, "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm, "PRelu": _prelu,
    "Softmax": _softmax, "Identity": _same, "Cast": _cast, "Dropout": _dropout, "Flatten": _flatten,
    "Reshape": _reshape, "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Shape": _shape,
    "Gather": _gather, "LSTM": onnx_sequences.lstm, "Scan": onnx_sequences.scan,
    "Clip": _clip,
    "HardSigmoid": _beyond("only alpha = 1/6 and beta = 1/2 are pynet's"),
    "Gelu": _beyond("only the exact form, not the one by tanh"),
}  # fmt: skip
