"""Networks of Keras 3.  Their layers are known by their names: nothing of Keras is imported."""

from __future__ import annotations

import warnings

import numpy as np

from .. import _check, activations, layers
from ..elementwise import Flatten, PReLU
from ..model import Model
from ..normalization import BatchNorm, LayerNorm
from ..recurrent import LSTM
from ..stochastic import Dropout, GaussianNoise
from .wiring import Wiring

__all__ = ["from_keras"]


def from_keras(model, *, dtype=None) -> Model:
    """Make a model of a Keras 3 model in memory, Sequential or functional, of any backend.

    Parameters
    ----------
    model : keras.Model
        Built, of InputLayer, Dense, Activation and layers that are one, PReLU, BatchNormalization, LayerNormalization,
        Dropout, GaussianNoise, Add, Concatenate, Flatten, LSTM, and of models of these.  Layers keep their names.
    dtype : "float32" or "float64", optional
        Default: float64 if the model computes in it, else float32.

    Returns
    -------
    Model

    Raises
    ------
    TypeError, ValueError
        It is no Keras model, or not built; a layer or an option of it has no counterpart (the error names the layer);
        an input has a free size, or three axes or more.

    Notes
    -----
    Regularizers, constraints and initializers are left behind.
    """
    if not _is_keras(model) or not hasattr(model, "layers"):
        raise TypeError(f"model must be a Keras model, Sequential or functional, got {type(model).__name__}")
    try:
        ends = model.inputs and model.outputs
    except (AttributeError, ValueError):  # Keras 3.5 has none, and says so by an error
        ends = None
    if not ends:
        raise ValueError("model must be built and Sequential or functional, so that its graph is known")
    reader = _Reader()
    outputs = [reader.value(tensor) for tensor in model.outputs]
    inputs = [reader.value(tensor) for tensor in model.inputs]
    if dtype is None:
        dtype = "float64" if getattr(model, "compute_dtype", "") == "float64" else "float32"
    return reader.wiring.model(inputs, outputs, _check.float_dtype(dtype))


def _is_keras(thing) -> bool:
    return type(thing).__module__.partition(".")[0] == "keras" and hasattr(thing, "get_config")


class _Reader:
    """One network: what its symbolic tensors are in pynet, and its layers."""

    def __init__(self) -> None:
        self.wiring = Wiring()
        self.values: dict[int, tuple] = {}  # by id: the tensor, so that it lives, and its value
        self.made: dict = {}  # layers, by those of Keras

    def value(self, tensor):
        """Return what a symbolic tensor is, and what it is made of before."""
        waiting = [tensor]  # not by recursion: nets may be deep
        while waiting:
            each = waiting[-1]
            inputs = [] if id(each) in self.values else self._reads(each)
            missing = [t for t in inputs if id(t) not in self.values]
            if missing:
                waiting += missing
                continue
            if id(each) not in self.values:
                self.values[id(each)] = each, self._call(each, [self.values[id(t)][1] for t in inputs])
            waiting.pop()
        return self.values[id(tensor)][1]

    @staticmethod
    def _reads(tensor) -> list:
        layer, node, _ = tensor._keras_history
        return list(layer._inbound_nodes[node].input_tensors)

    def _call(self, tensor, x: list):
        layer = tensor._keras_history[0]
        kind = type(layer).__name__
        try:
            if not _is_keras(layer):
                raise ValueError("it is a layer of somebody's own")
            if kind in ("Sequential", "Functional"):
                return self._inside(layer, tensor._keras_history[2], x)
            if kind == "InputLayer":
                return self._input(tensor, layer)
            if kind not in LAYERS:
                raise ValueError("there is no such layer here")
            if getattr(layer, "quantization_mode", None):
                raise ValueError(f"it is quantized, {layer.quantization_mode}")
            made, arrays = self.made.get(layer) or LAYERS[kind](self, layer)
            self.made[layer] = made, arrays
            return self.wiring.call(made, x if kind in MERGES else x[0], **arrays) if made is not None else x[0]
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"layer {layer.name!r} ({kind}): {error}") from None

    def _inside(self, model, k: int, x: list):
        """Return the k-th output of a model that stands in another as a layer."""
        inner = _Reader()
        inner.wiring, inner.made = self.wiring, self.made
        inner.values = {id(t): (t, value) for t, value in zip(model.inputs, x, strict=True)}
        return inner.value(model.outputs[k])

    def _input(self, tensor, layer):
        shape = tuple(tensor.shape)[1:]
        if None in shape or len(shape) not in (1, 2):
            raise ValueError(f"shape {shape}: expected (features,) or (steps, features), all of a known size")
        return layers.Input(shape, self.wiring.name(layer.name)).output

    def name(self, layer) -> str | None:
        return self.wiring.name(layer.name)


# ---- activations -----------------------------------------------------------------------------------------------------

FUNCTIONS = {  # names of functions: what they are here
    **{name: name for name in ("sigmoid", "tanh", "relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "softsign",
                               "hard_sigmoid", "hard_tanh", "softmax")},
    "linear": "identity", "hard_silu": "hard_swish", "leaky_relu": activations.LeakyReLU(0.2),
}  # fmt: skip


def _function(function) -> activations.Activation:
    """Return the activation that a function, or a layer in the place of one, is."""
    if _is_keras(function) and type(function).__name__ in ACTIVATIONS:
        return ACTIVATIONS[type(function).__name__](function)
    name = getattr(function, "__name__", type(function).__name__)
    if name not in FUNCTIONS or not getattr(function, "__module__", "").startswith("keras."):
        raise ValueError(f"the activation {name!r} is unknown here")
    return activations.get(FUNCTIONS[name])


def _relu(layer):
    if layer.max_value is not None or layer.threshold:
        raise ValueError("max_value and threshold are unknown here")
    slope = float(layer.negative_slope or 0)
    return activations.LeakyReLU(slope) if slope else activations.get("relu")


def _softmax(layer):
    if layer.axis not in (-1, 1):
        raise ValueError(f"axis must be -1, got {layer.axis}")
    return activations.get("softmax")


ACTIVATIONS = {
    "Activation": lambda layer: _function(layer.activation),
    "ReLU": _relu,
    "LeakyReLU": lambda layer: activations.LeakyReLU(float(layer.negative_slope)),
    "ELU": lambda layer: activations.ELU(float(layer.alpha)),
    "Softmax": _softmax,
}


# ---- layers: reader(r, layer) -> layer here (None: it does nothing), and its parameters ------------------------------


def _activation(r, layer):
    return layers.Activation(ACTIVATIONS[type(layer).__name__](layer), r.name(layer)), {}


def _arrays(layer, *names) -> dict[str, np.ndarray]:
    """Return the weights of a layer under our names, in its order; names may be None."""
    return dict(zip(filter(None, names), _weights(layer), strict=True))


def _weights(layer) -> list[np.ndarray]:
    with warnings.catch_warnings():  # of Keras on PyTorch, whose __array__ does not know `copy`
        warnings.simplefilter("ignore", DeprecationWarning)
        return layer.get_weights()


def _dense(r, layer):
    made = layers.Dense(layer.units, _function(layer.activation), use_bias=layer.use_bias, name=r.name(layer))
    return made, _arrays(layer, "kernel", layer.use_bias and "bias")


def _last_axis(layer) -> None:
    axis = layer.axis if isinstance(layer.axis, int) else list(layer.axis)
    if axis not in (-1, 1, [-1], [1]):
        raise ValueError(f"axis must be -1, got {axis}")


def _batch_norm(r, layer):
    _last_axis(layer)
    made = BatchNorm(layer.momentum, layer.epsilon, layer.center, layer.scale, r.name(layer))
    return made, _arrays(layer, layer.scale and "gamma", layer.center and "beta", "mean", "variance")


def _layer_norm(r, layer):
    _last_axis(layer)
    made = LayerNorm(layer.epsilon, layer.center, layer.scale, r.name(layer))
    return made, _arrays(layer, layer.scale and "gamma", layer.center and "beta")


def _prelu(r, layer):
    (alpha,) = _weights(layer)
    if layer.shared_axes:
        raise ValueError("shared_axes are unknown here")
    return PReLU(name=r.name(layer)), {"alpha": alpha.reshape(-1)}


def _concat(r, layer):
    _last_axis(layer)
    return layers.Concat(r.name(layer)), {}


def _lstm(r, layer):
    names = [getattr(f, "__name__", "") for f in (layer.activation, layer.recurrent_activation)]
    if names != ["tanh", "sigmoid"]:
        raise ValueError(f"its activations are {names}, expected tanh and sigmoid")
    if layer.go_backwards or layer.stateful or layer.return_state:
        raise ValueError("go_backwards, stateful and return_state are unknown here")
    arrays = _arrays(layer, "kernel", "recurrent_kernel", layer.use_bias and "bias")
    made = LSTM(layer.units, layer.return_sequences, name=r.name(layer))
    return made, {"bias": np.zeros(4 * layer.units)} | arrays


LAYERS = {
    **dict.fromkeys(ACTIVATIONS, _activation),
    "Dense": _dense, "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm, "PReLU": _prelu,
    "Dropout": lambda r, layer: (Dropout(float(layer.rate), r.name(layer)), {}),
    "GaussianNoise": lambda r, layer: (GaussianNoise(float(layer.stddev), r.name(layer)), {}),
    "Flatten": lambda r, layer: (Flatten(r.name(layer)), {}),
    "Add": lambda r, layer: (layers.Add(r.name(layer)), {}), "Concatenate": _concat, "LSTM": _lstm,
    "Identity": lambda r, layer: (None, {}),
}  # fmt: skip
MERGES = ("Add", "Concatenate")
