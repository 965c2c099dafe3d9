"""A pruned Dense layer that holds only what is left of its weights, and the models made of such layers."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from . import _check
from .compact import Compact, tensors
from .compact_form import Form
from .lanes import Lanes
from .layer_base import Live, Parameter
from .layers import Dense

__all__ = ["CompactDense", "compact", "compact_names", "expanded"]

FORMS: dict[str, type[Form]] = {"steps": Compact, "lanes": Lanes}
ROUNDS, SECONDS = 5, 0.002  # of a measurement: how often, how long


def _no_bound(name: str, value) -> None:
    if value is not None:
        raise ValueError(f"{name}: a layer in compact form has none, expand() the model first")


class CompactDense(Dense):
    """What `Model.compact` makes of a pruned Dense: y = activation(x W + b), of W only the weights that are left.

    Its parameter is "<name>.kernel.values"; what is pruned does not exist, in prediction or in training.

    Attributes
    ----------
    form : Form
        Where the values belong; its own values are those the layer began with, gone as soon as a model holds them.
    """

    written_as = "Dense"  # in files, with the tensors of its form
    max_norm = Live(_no_bound)

    def __init__(self, layer: Dense, name: str, form: Form, bias: np.ndarray | None):
        self.__dict__.update(layer.__dict__)
        self.name, self.home, self._output = name, None, None
        self.form = form
        self.bias = bias

    def parameters(self):
        values = Parameter("kernel.values", (self.form.n,), self._draw_values, self.l1, self.l2)
        bias = Parameter("bias", (self.units,), self._draw_bias)
        return [values, bias] if self.use_bias else [values]

    def _draw_values(self, dtype, key, stream):
        return self._first(self.form.values if len(self.form.values) else None).astype(dtype)

    def _draw_bias(self, dtype, key, stream):
        return self._first(self.bias).astype(dtype)

    @staticmethod
    def _first(array):
        if array is None:
            raise ValueError("a layer in compact form has no initial values to draw: expand() the model first")
        return array

    def left(self) -> np.ndarray:
        """Return which of the first values are weights that are left; the others stand in long distances."""
        return self.form.left()

    def settle(self) -> None:
        """Forget the first values: a model holds them now, and which of them are left, as a mask."""
        self.form.values, self.bias = np.zeros(0, self.form.values.dtype), None

    def emit(self, planner, x):
        values, bias = planner.parameter(self, "kernel.values"), planner.parameter(self, "bias")
        return planner.sparse(x[0], values, bias, self.units, self.activation, self.form)

    def matrix_of(self, values: np.ndarray, left: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrix [I, O] of values, and its mask; `left`: the mask of the values, None: all of them."""
        return self.form.matrix(values), self.form.matrix(np.ones(len(values), bool) if left is None else left)

    def tensors(self, name: str, values: np.ndarray, left: np.ndarray | None) -> dict[str, np.ndarray]:
        """Return what a file holds of a kernel called `name`: this form, which libpynet uses as it is."""
        zero = (values == 0) & (True if left is None else left)
        return tensors(name, self.form, np.where(zero, -values.dtype.type(0), values))


def compact_names(model) -> dict[str, str]:
    """Return the names of the layers in compact form, and of the form: a key of FORMS."""
    found = {model.names[layer]: layer.form for layer in model.layers if isinstance(layer, CompactDense)}
    return {name: "lanes" if isinstance(form, Lanes) else "steps" for name, form in found.items()}


def compact(model, names=None, batch_sizes=None):
    """See Model.compact."""
    from .opened import wired_again

    sizes = [_check.integer("batch_sizes", n, 1) for n in _listed("batch_sizes", "integers", batch_sizes)]
    asked = names if isinstance(names, dict) else {}
    wanted = _listed("layers", "names", names)
    own, masks = model.parameters(), model.weights.masks()
    pruned = {
        model.names[layer]: layer
        for layer in model.layers
        if isinstance(layer, Dense) and f"{model.names[layer]}.kernel" in masks and layer.max_norm is None
    }
    for name in wanted:
        if name not in list(pruned):
            raise _check.unknown("pruned Dense layer (without max_norm)", name, pruned)
    for name, form in asked.items():
        if form not in list(FORMS):
            raise _check.unknown(f"form of layer {name!r}", form, FORMS)
    twins = {}
    for name in pruned if names is None else dict.fromkeys(wanted):
        matrix, mask = own[f"{name}.kernel"], masks[f"{name}.kernel"]
        if asked.get(name) == "lanes" and not Lanes.fits(matrix.shape):
            raise ValueError(f"layer {name!r} has {len(matrix)} inputs, expected 17 to 524288 for lanes")
        forms = [asked[name]] if name in asked else list(FORMS) if sizes else ["steps"]
        form = _fastest(pruned[name], matrix, mask, sizes, forms, names is not None)
        if form is not None:
            twins[pruned[name]] = CompactDense(pruned[name], name, form, own.get(f"{name}.bias"))
    result, _ = wired_again(model, {}, twins=twins)
    between = {f"{twin.name}.kernel.values": twin.left() for twin in twins.values() if not twin.left().all()}
    if between:
        result.weights.set_masks(between)
    for twin in twins.values():
        twin.settle()
    return result


def _listed(argument: str, what: str, given) -> list:
    if isinstance(given, str) or not isinstance(given, Iterable | None):
        raise TypeError(f"{argument} must be a list of {what}, got {given!r}")
    return [] if given is None else list(given)


def _fastest(layer: Dense, matrix, mask, sizes, names: list[str], even_larger: bool) -> Form | None:
    """Return the form that gains most over the dense one, of those that lose with none of the sizes; None: no such."""
    best, gain = None, -1.0
    for name in names:
        if not FORMS[name].fits(matrix.shape):
            continue
        form = FORMS[name].of(matrix, mask)
        if not even_larger and form.nbytes >= matrix.nbytes:
            continue
        gains = [_gain(layer, matrix, mask, n, name) for n in sizes]
        if min(gains, default=1.0) >= 1 and np.prod(gains) > gain:
            best, gain = form, float(np.prod(gains))
    return best


def _gain(layer: Dense, matrix: np.ndarray, mask: np.ndarray, rows: int, form: str) -> float:
    """Return how many times as fast as in dense form a layer predicts so many rows in a compact form."""
    from .layers import Input
    from .model import Sequential

    alone = Dense(layer.units, layer.activation, use_bias=layer.use_bias, name="layer")
    dense = Sequential([Input(len(matrix)), alone], dtype=matrix.dtype)
    dense.weights.put({"layer.kernel": matrix})
    dense.weights.set_masks({"layer.kernel": mask})
    X = np.random.default_rng(0).standard_normal((rows, len(matrix))).astype(matrix.dtype)
    calls, best = [], [np.inf, np.inf]
    for model in (dense, compact(dense, {"layer": form})):
        calls.append((lambda m=model: m.predict_one(X[0])) if rows == 1 else (lambda m=model: m.predict(X)))
        calls[-1]()
    for _ in range(ROUNDS):
        for k, call in enumerate(calls):
            begun, n = time.perf_counter(), 0
            while time.perf_counter() - begun < SECONDS or not n:
                call()
                n += 1
            best[k] = min(best[k], (time.perf_counter() - begun) / n)
    return best[0] / best[1]


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
