"""Networks of PyTorch, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _check, activations, layers
from ..elementwise import Flatten, PReLU
from ..model import Model
from ..normalization import BatchNorm, LayerNorm
from ..recurrent import LSTM
from ..stochastic import Dropout
from .chains import chain_of, folded
from .libraries import library
from .wiring import Wiring

__all__ = ["from_torch", "to_torch"]


def from_torch(source, *, activations=None, input_shape=None, dtype=None) -> Model:
    """Make a model of a network of PyTorch, for prediction and further training.

    Parameters
    ----------
    source : torch.nn.Module, or dict of str -> tensor or array
        A module: nn.Sequential (nested ones as well) of Linear, activations, BatchNorm1d, LayerNorm, PReLU, Dropout,
        Flatten, Identity; or one of these alone; an nn.LSTM (batch_first, one direction) alone or at the end, whose
        states of all steps are the output.  A dict: the state of Linear layers one behind the other, "name.weight" and
        "name.bias" in their order.
    activations : str, or list of str or Activation
        Of a dict, which does not say them: one for each layer, or one for all but the last, which has none then.
    input_shape : int or (steps, features), optional
        Shape of a row.  Needed where the first layer does not say it, and of sequences.
    dtype : "float32" or "float64", optional
        Default: that of the first tensor, if it is one of these, else float32.

    Returns
    -------
    Model

    Raises
    ------
    TypeError, ValueError
        A module has no counterpart (the error names its place and says why), a shape does not fit, the activations are
        missing.

    Notes
    -----
    It predicts as the module does after ``eval()``.  PyTorch's Softplus is linear above 20, pynet's is not: 2e-9.
    """
    if isinstance(source, dict) or (hasattr(source, "keys") and not hasattr(source, "forward")):
        return _from_state(dict(source), activations, input_shape, dtype)
    if not hasattr(source, "named_children") or not hasattr(source, "state_dict"):
        raise TypeError(f"source must be a torch.nn.Module or a state_dict, got {type(source).__name__}")
    if activations is not None:
        raise ValueError("activations belong to a state_dict; a module has its own")
    places = list(_flat(source, ""))
    if not places:
        raise ValueError("source has no modules")
    shape = input_shape if input_shape is not None else next(filter(None, (_width(m) for _, m in places)), None)
    if shape is None or (_kind(places[0][1]) == "LSTM" and input_shape is None):
        raise ValueError("input_shape is needed: the width of a row, or (steps, features) of a sequence")
    wiring = Wiring()
    made: dict = {}
    x = layers.Input(shape).output
    k = 0
    while k < len(places):
        place, module = places[k]
        try:
            if _kind(module) == "Linear":
                behind = _fusable(places[k + 1][1]) if k + 1 < len(places) else None
                x = _linear(wiring, made, module, behind, x)
                k += behind is not None
            else:
                x = _module(wiring, made, module, x, last=k == len(places) - 1)
        except (TypeError, ValueError) as error:
            raise ValueError(f"module {place or type(module).__name__!r} ({module!r}): {error}") from None
        k += 1
    tensors = list(source.state_dict().values())
    return wiring.model(_input_of(x), x, _dtype(tensors, dtype))


def _input_of(x):
    """Return the input that a value of a chain comes from."""
    while x.inputs:
        x = x.inputs[0]
    return x


def _kind(module) -> str:
    """Return the name of a module's class, if that is one of PyTorch's own."""
    return type(module).__name__ if type(module).__module__.startswith("torch.nn.") else ""


def _flat(module, place: str):
    """Yield (place, module) of all in a Sequential."""
    if _kind(module) != "Sequential":
        yield place, module
        return
    for name, child in module._modules.items():  # named_children leaves out what stands there twice
        yield from _flat(child, f"{place}.{name}" if place else name)


def _width(module) -> int | None:
    """Return the width of the rows that a module takes, if it says so."""
    kind = _kind(module)
    if kind == "LayerNorm":
        return module.normalized_shape[0] if len(module.normalized_shape) == 1 else None
    name = {"Linear": "in_features", "BatchNorm1d": "num_features"}.get(kind)
    return getattr(module, name) if name else None


def _array(tensor) -> np.ndarray:
    """Return a tensor as an array; types that NumPy does not know as float32."""
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    tensor = tensor.detach().cpu()
    return (tensor if str(tensor.dtype) in ("torch.float32", "torch.float64") else tensor.float()).numpy()


def _dtype(tensors, dtype):
    if dtype is not None:
        return _check.float_dtype(dtype)
    floats = [str(getattr(tensor, "dtype", "")).rpartition(".")[2] for tensor in tensors]
    return next((name for name in floats if name in ("float32", "float64")), "float32")


def _linear(wiring, made, module, activation, x):
    if x.shape != (module.in_features,):
        raise ValueError(f"it takes rows of {module.in_features} features, got shape {x.shape}")
    key = (module, activation)
    bias = module.bias is not None
    layer = made.setdefault(key, layers.Dense(module.out_features, activation, use_bias=bias))
    kernel = _array(module.weight).T
    return wiring.call(layer, x, kernel=kernel, bias=_array(module.bias) if bias else None)


def _activation(module):
    """Return the activation that a module is, None if it is none; ValueError if pynet has none like it."""
    kind = _kind(module)
    if kind in ACTIVATIONS:
        return activations.get(ACTIVATIONS[kind])
    if kind in PARAMETRIC:
        return PARAMETRIC[kind](module)
    return None


def _fusable(module):
    """Return the same for a module behind a Linear, whose own turn tells what is wrong with it."""
    try:
        return _activation(module)
    except ValueError:
        return None


def _only(activation: str, **expected):
    """Return what takes a module for an activation if its options are the usual ones."""

    def check(module):
        odd = {key: getattr(module, key) for key, value in expected.items() if getattr(module, key) != value}
        if odd:
            raise ValueError(f"{odd}: only {expected} is an activation of pynet's")
        return activations.get(activation)

    return check


def _softmax(module):
    if module.dim not in (1, -1):
        raise ValueError(f"dim must be 1 or -1, got {module.dim}")
    return activations.get("softmax")


ACTIVATIONS = {
    "Sigmoid": "sigmoid", "Tanh": "tanh", "ReLU": "relu", "SELU": "selu", "SiLU": "silu", "Mish": "mish",
    "Softsign": "softsign", "Hardsigmoid": "hard_sigmoid", "Hardswish": "hard_swish",
}  # fmt: skip
PARAMETRIC = {
    "LeakyReLU": lambda m: activations.LeakyReLU(m.negative_slope),
    "ELU": lambda m: activations.ELU(m.alpha),
    "CELU": _only("elu", alpha=1.0),
    "GELU": _only("gelu", approximate="none"),
    "Softplus": _only("softplus", beta=1.0),
    "Hardtanh": _only("hard_tanh", min_val=-1.0, max_val=1.0),
    "RReLU": lambda m: activations.RReLU(m.lower, m.upper),
    "Softmax": _softmax,
}


def _module(wiring, made, module, x, last: bool):
    """Call what a module is, unless it is a Linear."""
    kind = _kind(module)
    activation = _activation(module)
    if activation is not None:
        return layers.Activation(activation)(x)
    if kind == "Identity":
        return x
    if kind not in MODULES:
        raise ValueError("there is no such layer here")
    if kind == "LSTM":
        return _lstm(wiring, module, x, last)
    make, arrays = MODULES[kind](module)
    return wiring.call(made.setdefault(module, make), x, **arrays)


def _batch_norm(module):
    if module.running_mean is None or module.momentum is None:
        raise ValueError("it keeps no running statistics of exponential weights")
    affine = module.affine
    layer = BatchNorm(1 - module.momentum, module.eps, center=affine, scale=affine)
    arrays = {"mean": _array(module.running_mean), "variance": _array(module.running_var)}
    return layer, arrays | ({"gamma": _array(module.weight), "beta": _array(module.bias)} if affine else {})


def _layer_norm(module):
    if len(module.normalized_shape) != 1:
        raise ValueError("it normalises over several axes")
    gamma, beta = module.weight, module.bias
    layer = LayerNorm(module.eps, center=beta is not None, scale=gamma is not None)
    return layer, {name: _array(t) for name, t in (("gamma", gamma), ("beta", beta)) if t is not None}


def _prelu(module):
    return PReLU(shared=module.num_parameters == 1), {"alpha": _array(module.weight)}


def _flatten(module):
    if (module.start_dim, module.end_dim) != (1, -1):
        raise ValueError("it flattens other axes than all of a row")
    return Flatten(), {}


def _lstm(wiring, module, x, last: bool):
    if not last or not module.batch_first or module.bidirectional or module.proj_size:
        raise ValueError("an LSTM must be the last module, batch_first, of one direction, without projection")
    if len(x.shape) != 2 or x.shape[1] != module.input_size:
        raise ValueError(f"it takes sequences of {module.input_size} features, got rows of shape {x.shape}")
    for k in range(module.num_layers):
        tensors = {name: getattr(module, f"{name}_l{k}", None) for name in ("weight_ih", "weight_hh")}
        biases = [_array(getattr(module, f"bias_{name}_l{k}")) for name in ("ih", "hh")] if module.bias else [0, 0]
        bias = biases[0] + biases[1] + np.zeros(4 * module.hidden_size)
        layer = LSTM(module.hidden_size, return_sequences=True)  # PyTorch's gates stand as pynet's: i, f, g, o
        w, r = (_array(tensor).T for tensor in tensors.values())
        x = wiring.call(layer, x, kernel=w, recurrent_kernel=r, bias=bias)
        if module.dropout and k < module.num_layers - 1:
            x = Dropout(module.dropout)(x)
    return x


MODULES: dict[str, Any] = {
    "BatchNorm1d": _batch_norm, "LayerNorm": _layer_norm, "PReLU": _prelu, "Flatten": _flatten,
    "Dropout": lambda module: (Dropout(module.p), {}), "LSTM": None,
}  # fmt: skip


# ---- a state dict --------------------------------------------------------------------------------


def _from_state(state: dict, given, input_shape, dtype) -> Model:
    kernels = {name.rpartition(".")[0]: _array(t) for name, t in state.items() if name.rpartition(".")[2] == "weight"}
    biases = {name.rpartition(".")[0]: _array(t) for name, t in state.items() if name.rpartition(".")[2] == "bias"}
    strange = [name for name in state if name.rpartition(".")[2] not in ("weight", "bias")]
    strange += [f"{name}.weight" for name, array in kernels.items() if array.ndim != 2]
    strange += [f"{name}.bias" for name in biases if name not in kernels]
    if strange or not kernels:
        shown = ", ".join(map(repr, strange)) or "nothing"
        raise ValueError(f"a state_dict must hold weight [O, I] and bias [O] of Linear layers, got {shown}")
    if given is None:
        raise ValueError(f"activations are needed: a state_dict does not say them (it has {len(kernels)} layers)")
    several = not isinstance(given, str) and hasattr(given, "__len__")
    chosen = list(given) if several else [given] * (len(kernels) - 1) + [None]
    if len(chosen) != len(kernels):
        raise ValueError(f"activations must be one for each of {len(kernels)} layers, got {len(chosen)}")
    wiring = Wiring()
    x = layers.Input(next(iter(kernels.values())).shape[1] if input_shape is None else input_shape).output
    for (name, w), activation in zip(kernels.items(), chosen, strict=True):
        if x.shape != w.shape[1:]:
            raise ValueError(f"{name}.weight has shape {w.shape}, but what it reads has shape {x.shape}")
        b = biases.get(name)
        if b is not None and b.shape != w.shape[:1]:
            raise ValueError(f"{name}.bias has shape {b.shape}, expected {w.shape[:1]}")
        x = wiring.call(layers.Dense(len(w), activation, use_bias=b is not None), x, kernel=w.T, bias=b)
    return wiring.model(_input_of(x), x, _dtype(state.values(), dtype))


# ---- back ----------------------------------------------------------------------------------------


def to_torch(model):
    """Make a torch.nn.Sequential of a model whose layers stand one behind the other.

    The scaling of Input is multiplied into the first layer.  GaussianNoise and GradientClip are left out; pruned
    weights are 0.

    Parameters
    ----------
    model : Model
        Of Dense, Activation, PReLU, BatchNorm, LayerNorm, InstanceNorm, Dropout, Flatten; activations that PyTorch has.

    Returns
    -------
    torch.nn.Sequential
        Of the model's dtype, in ``eval()`` mode, on the CPU.

    Raises
    ------
    ImportError
        PyTorch is not there.
    TypeError, ValueError
        The model has branches, or a layer or activation that PyTorch has not (the error names it).
    """
    chain_of(model, "to_torch")
    torch = library("torch")
    model, arrays = folded(model, "to_torch")
    modules = []
    for layer in chain_of(model, "to_torch"):
        own = {suffix: array for (owner, suffix), array in arrays.items() if owner is layer}
        try:
            modules += _modules(torch.nn, layer, own)
        except ValueError as error:
            raise ValueError(f"layer {model.names[layer]!r} ({layer!r}): {error}") from None
    return torch.nn.Sequential(*modules).to(getattr(torch, model.dtype.name)).eval()


def _modules(nn, layer, arrays) -> list:
    """Return the modules of a layer."""
    kind = type(layer).__name__
    if kind in ("GaussianNoise", "GradientClip"):
        return []
    if kind == "Activation":
        return _torch_activation(nn, layer.activation)
    if kind == "Dense":
        w = arrays["kernel"]
        module = nn.Linear(*w.shape, bias=layer.use_bias)
        _fill(module, weight=w.T, bias=arrays.get("bias"))
        return [module, *_torch_activation(nn, layer.activation)]
    if kind not in BACK:
        raise ValueError("PyTorch has no module for it that takes one value and returns one")
    module = BACK[kind](nn, layer)
    theirs = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var", "alpha": "weight"}
    _fill(module, **{theirs[suffix]: array for suffix, array in arrays.items()})
    return [module]


def _fill(module, **arrays) -> None:
    """Replace tensors of a module, in float64."""
    torch = library("torch")
    for name, array in arrays.items():
        if array is not None:
            old = getattr(module, name)
            old.data = torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float64)


def _torch_activation(nn, activation) -> list:
    if activation.name == "identity":
        return []
    known = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    if activation.name in known:
        return [getattr(nn, known[activation.name])()]
    if activation.name not in PARAMETRIC_BACK:
        raise ValueError(f"PyTorch has no module for the activation {activation.name!r}")
    return [PARAMETRIC_BACK[activation.name](nn, activation)]


PARAMETRIC_BACK = {
    "leaky_relu": lambda nn, a: nn.LeakyReLU(a.alpha), "elu": lambda nn, a: nn.ELU(a.alpha),
    "gelu": lambda nn, a: nn.GELU(), "softplus": lambda nn, a: nn.Softplus(), "hard_tanh": lambda nn, a: nn.Hardtanh(),
    "rrelu": lambda nn, a: nn.RReLU(a.lower, a.upper), "softmax": lambda nn, a: nn.Softmax(dim=1),
}  # fmt: skip
BACK = {
    "BatchNorm": lambda nn, x: nn.BatchNorm1d(x.width, x.epsilon, 1 - x.momentum),
    "LayerNorm": lambda nn, x: nn.LayerNorm(x.width, x.epsilon, elementwise_affine=x.scale or x.center, bias=x.center),
    "InstanceNorm": lambda nn, x: nn.LayerNorm(x.width, x.epsilon, elementwise_affine=False),
    "PReLU": lambda nn, x: nn.PReLU(1 if x.shared else x.width),
    "Dropout": lambda nn, x: nn.Dropout(x.rate),
    "Flatten": lambda nn, x: nn.Flatten(),
}
