"""A pruned Dense layer that holds only what is left of its weights, and the models made of such layers."""

from __future__ import annotations

import time

import numpy as np

from . import _check
from .compact import Compact, tensors
from .layer_base import Parameter
from .layers import Dense

__all__ = ["CompactDense", "compact", "compact_names", "expanded"]

ROUNDS, SECONDS = 5, 0.002  # of a measurement: how often, how long


class CompactDense(Dense):
    """What `Model.compact` makes of a pruned Dense: y = activation(x W + b), of W only the weights that are left.

    Its parameter is "<name>.kernel.values"; what is pruned does not exist, in prediction or in training.

    Attributes
    ----------
    form : Compact
        Where the values belong; its own values are those the layer began with, gone as soon as a model holds them.
    """

    written_as = "Dense"  # in files, with the tensors of its form

    def __init__(self, layer: Dense, name: str, matrix: np.ndarray, mask: np.ndarray, bias: np.ndarray | None):
        self.__dict__.update(layer.__dict__)
        self.name, self.home, self._output = name, None, None
        self.form = Compact.of(matrix, mask)
        self.bias = bias

    def parameters(self):
        n = int(self.form.counts.sum())
        values = Parameter("kernel.values", (n,), self._draw_values, self.l1, self.l2)
        bias = Parameter("bias", (self.units,), self._draw_bias)
        return [values, bias] if self.use_bias else [values]

    def _draw_values(self, dtype, key, stream):
        return self._first(self.form.values).astype(dtype)

    def _draw_bias(self, dtype, key, stream):
        return self._first(self.bias).astype(dtype)

    @staticmethod
    def _first(array):
        if array is None:
            raise ValueError("a layer in compact form has no initial values to draw: expand() the model first")
        return array

    def left(self) -> np.ndarray:
        """Return which of the first values are weights that are left; the others stand in long distances."""
        return (self.form.values != 0) | np.signbit(self.form.values)

    def settle(self) -> None:
        """Forget the first values: a model holds them now, and which of them are left, as a mask."""
        self.form.values = self.bias = None

    def emit(self, planner, x):
        values, bias = planner.parameter(self, "kernel.values"), planner.parameter(self, "bias")
        return planner.sparse(x[0], values, bias, self.units, self.activation, self.form)

    def matrix_of(self, values: np.ndarray, left: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrix [I, O] of values, and its mask; `left`: the mask of the values, None: all of them."""
        return self.form.matrix(values), self.form.matrix(np.ones(len(values), bool) if left is None else left)

    def tensors(self, name: str, values: np.ndarray, left: np.ndarray | None) -> dict[str, np.ndarray]:
        """Return what a file holds of a kernel called `name`: this form, which libpynet uses as it is."""
        zero = (values == 0) & (True if left is None else left)
        values = np.where(zero, -values.dtype.type(0), values)
        return tensors(name, Compact(self.form.shape, values, self.form.places, self.form.counts, self.form.nibbles))


def compact_names(model) -> list[str]:
    """Return the names of the layers in compact form."""
    return [model.names[layer] for layer in model.layers if isinstance(layer, CompactDense)]


def compact(model, names=None, batch_sizes=None):
    """See Model.compact."""
    from .opened import wired_again

    sizes = [_check.integer("batch_sizes", n, 1) for n in batch_sizes or ()]

    own, masks = model.parameters(), model.weights.masks()
    pruned = {
        model.names[layer]: layer
        for layer in model.layers
        if isinstance(layer, Dense) and f"{model.names[layer]}.kernel" in masks and not layer.max_norm
    }
    if isinstance(names, str):
        raise TypeError(f"layers must be a list of names, got {names!r}")
    for name in names or ():
        if name not in pruned:
            raise _check.unknown("pruned Dense layer (without max_norm)", name, pruned)
    twins = {}
    for name in pruned if names is None else dict.fromkeys(names):
        kernel = f"{name}.kernel"
        twin = CompactDense(pruned[name], name, own[kernel], masks[kernel], own.get(f"{name}.bias"))
        smaller = names is not None or twin.form.nbytes < own[kernel].nbytes
        if smaller and all(_no_slower(pruned[name], own[kernel], masks[kernel], n) for n in sizes):
            twins[pruned[name]] = twin
    result, _ = wired_again(model, {}, twins=twins)
    between = {f"{twin.name}.kernel.values": twin.left() for twin in twins.values() if not twin.left().all()}
    if between:
        result.weights.set_masks(between)
    for twin in twins.values():
        twin.settle()
    return result


def _no_slower(layer: Dense, matrix: np.ndarray, mask: np.ndarray, rows: int) -> bool:
    """Return whether a layer predicts so many rows in compact form at least as fast as in dense form."""
    from .layers import Input
    from .model import Sequential

    alone = Dense(layer.units, layer.activation, use_bias=layer.use_bias, name="layer")
    dense = Sequential([Input(len(matrix)), alone], dtype=matrix.dtype)
    dense.weights.put({"layer.kernel": matrix})
    dense.weights.set_masks({"layer.kernel": mask})
    X = np.random.default_rng(0).standard_normal((rows, len(matrix))).astype(matrix.dtype)
    calls, best = [], [np.inf, np.inf]
    for model in (dense, compact(dense, ["layer"])):
        calls.append((lambda m=model: m.predict_one(X[0])) if rows == 1 else (lambda m=model: m.predict(X)))
        calls[-1]()
    for _ in range(ROUNDS):
        for k, call in enumerate(calls):
            begun, n = time.perf_counter(), 0
            while time.perf_counter() - begun < SECONDS or not n:
                call()
                n += 1
            best[k] = min(best[k], (time.perf_counter() - begun) / n)
    return best[1] <= best[0]


def expanded(model):
    """Return a copy of `model` in which nothing is in compact form: what is pruned is 0 under a mask."""
    from .opened import wired_again

    own, known = model.parameters(), model.weights.masks()
    twins, state, masks = {}, {}, {}
    for layer in model.layers:
        if not isinstance(layer, CompactDense):
            continue
        name = model.names[layer]
        kernel = f"{name}.kernel"
        twins[layer] = twin = Dense.__new__(Dense)
        twin.__dict__.update({key: value for key, value in layer.__dict__.items() if key not in ("form", "bias")})
        twin.name, twin.home, twin._output = name, None, None
        state[kernel], masks[kernel] = layer.matrix_of(own[f"{kernel}.values"], known.get(f"{kernel}.values"))
        if layer.use_bias:
            state[f"{name}.bias"] = own[f"{name}.bias"]
    result, _ = wired_again(model, {}, twins=twins)
    result.weights.put(state)
    result.weights.set_masks(masks)
    return result
