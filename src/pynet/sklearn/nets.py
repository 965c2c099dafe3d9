"""The model inside an estimator, made from its parameters."""

from __future__ import annotations

import copy

import numpy as np

from .. import _check, activations
from ..layer_base import Layer
from ..layers import Activation, Dense, Input, Residual
from ..model import Sequential
from ..normalization import BatchNorm
from ..stochastic import Dropout

__all__ = ["build", "hidden_sizes", "kernels", "own_layers", "set_penalty"]


def hidden_sizes(net) -> list[int]:
    """Return the widths of the hidden layers."""
    sizes = net.hidden_layer_sizes
    sizes = [*sizes] if hasattr(sizes, "__iter__") else [sizes]
    for size in sizes:
        _check.integer("hidden_layer_sizes", size)
    if any(size <= 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return [int(size) for size in sizes]


def own_layers(net) -> list | None:
    """Return the hidden layers that the user has made; None where hidden_layer_sizes says what they are."""
    if net.layers is None:
        return None
    if isinstance(net.layers, str) or not hasattr(net.layers, "__iter__"):
        raise TypeError(f"layers must be a list of layers, or of activations, got {net.layers!r}")
    given = list(net.layers)
    if given and all(isinstance(item, (Layer, Residual)) for item in given):
        if net.batch_norm or np.any(net.dropout):
            raise ValueError("layers holds the hidden layers: put Dropout and BatchNorm among them")
        return given
    for item in given:
        if isinstance(item, (Layer, Residual)):
            raise TypeError("layers must be a list of layers, or of activations, not of both")
    return None


def _activations(net, n: int) -> list:
    """Return the activation of each of `n` hidden layers."""
    if net.layers is None:
        return [activations.get(net.activation)] * n
    found = [activations.get(item) for item in net.layers]
    if len(found) != n:
        raise ValueError(f"layers must have one activation for each of the {n} hidden layers, got {len(found)}")
    return found


def _rates(net, n: int) -> list[float]:
    """Return the dropout rate behind each of `n` hidden layers."""
    if hasattr(net.dropout, "__iter__"):
        rates = [*net.dropout]
    elif net.batch_norm and n:
        rates = [0.0] * (n - 1) + [net.dropout]  # Li et al. 2019: none in front of a batch norm
    else:
        rates = [net.dropout] * n
    if len(rates) != n:
        raise ValueError(f"dropout must be a number, or one for each of the {n} hidden layers, got {len(rates)}")
    return [_check.fraction("dropout", rate) for rate in rates]


def build(net, features: int, outputs: int, activation, dtype, rng):
    """Return the model of an estimator.

    Parameters
    ----------
    net : estimator
    features, outputs : int
    activation : Activation
        Of the last layer.
    dtype : float32 or float64
    rng : RandomState
        The initial weights are drawn as scikit-learn does it (Glorot, Bengio 2010; biases as well); those of layers
        that the user has made, by their initializers.

    Returns
    -------
    model : Sequential
    penalised : list of str
        The kernels that alpha keeps small: all but those with a penalty of their own.
    """
    given = own_layers(net)
    if given is not None:
        layers = copy.deepcopy(given)  # the parameter of the estimator stays as it is: never wired
        layers = [Input(features), *layers, Dense(outputs, activation)]
        model = Sequential(layers, dtype, int(rng.randint(2**31 - 1)))
    else:
        sizes = hidden_sizes(net)
        found = _activations(net, len(sizes))
        layers = [Input(features)]
        for size, act, rate in zip(sizes, found, _rates(net, len(sizes)), strict=True):
            layers += [Dense(size), BatchNorm(), Activation(act)] if net.batch_norm else [Dense(size, act)]
            layers += [Dropout(rate)] if rate else []
        model = Sequential([*layers, Dense(outputs, activation)], dtype)
        _draw(model, [*found, found[-1] if found else activations.get(net.activation)], rng)
    own = {f"{model.names[d]}.kernel" for d in model.layers if isinstance(d, Dense) and (d.l1 or d.l2)}
    return model, [name for name in kernels(model) if name not in own]


def _draw(model, found: list, rng) -> None:
    """Set the initial weights, in the order in which scikit-learn draws them."""
    state = model.state_dict()
    for name, act in zip(kernels(model), found, strict=True):
        bias = name.removesuffix("kernel") + "bias"
        shape = state[name].shape
        bound = np.sqrt((2.0 if act.name == "sigmoid" else 6.0) / sum(shape))
        state[name] = rng.uniform(-bound, bound, shape)
        state[bias] = rng.uniform(-bound, bound, shape[1])
    model.load_state_dict(state)


def kernels(model) -> list[str]:
    """Return the names of the kernels of all Dense layers, in order."""
    return [f"{model.names[layer]}.kernel" for layer in model.layers if isinstance(layer, Dense)]


def set_penalty(model, names, l2: float) -> None:
    """Set the penalty of the kernels `names`, l2 sum W^2."""
    for weight in model.weights:
        if weight.name in names:
            weight.layer.l2 = l2
