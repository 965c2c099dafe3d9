"""Models whose layers stand one behind the other, on their way to libraries that know no others."""

from __future__ import annotations

import numpy as np

from ..compact_dense import compact_names
from ..layers import Dense
from ..opened import check_model

__all__ = ["chain_of", "folded"]


def chain_of(model, where: str) -> list:
    """Return the layers of a model behind its Input, in order.

    Raises
    ------
    TypeError, ValueError
        It is no Model, or no chain: it has branches, several inputs or outputs.
    """
    check_model("model", model)
    reads = [node.inputs for node in model.nodes[1:]]
    straight = all(len(values) == 1 and values[0] is before for values, before in zip(reads, model.nodes, strict=False))
    if len(model.inputs) != 1 or len(model.outputs) != 1 or not straight or model.outputs[0] is not model.nodes[-1]:
        raise ValueError(f"{where} takes layers one behind the other, with one input and one output, got {model!r}")
    return [node.layer for node in model.nodes[1:]]


def folded(model, where: str):
    """Return a dense model (no layer in compact form) and its parameters, the scaling of the Input multiplied into the
    first layer, which must be a Dense, and gone.

    Returns
    -------
    Model, and {(layer, suffix): float64 array}
    """
    layers = chain_of(model, where)
    if compact_names(model):
        model = model.expand()
        layers = chain_of(model, where)
    state = model.parameters()
    arrays = {(weight.layer, weight.suffix): state[weight.name].astype(np.float64) for weight in model.weights}
    source, first = model.nodes[0].layer, layers[0] if layers else None
    scale, shift = arrays.pop((source, "scale"), None), arrays.pop((source, "shift"), None)
    if scale is None and shift is None:
        return model, arrays
    if not isinstance(first, Dense) or (not first.use_bias and shift is not None):
        raise ValueError(f"{where}: the scaling of {source!r} needs a Dense with a bias behind it, got {first!r}")
    kernel = arrays[first, "kernel"]
    kernel = kernel if scale is None else scale[:, None] * kernel
    arrays[first, "kernel"] = kernel
    if shift is not None:
        arrays[first, "bias"] = arrays[first, "bias"] - shift @ kernel
    return model, arrays
