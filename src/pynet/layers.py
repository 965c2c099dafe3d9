"""Layers: records without mathematics.

A layer states its shape (`connect`), the parameters it owns (`parameters`) and the ops it puts into a plan (`emit`);
its arithmetic stands in the machines.  Calling a layer wires it into a graph, calling it again shares its parameters.
A new kind of layer is one class, here or in a file of its own, and one name in kinds.py.
"""

from __future__ import annotations

import math
import weakref

import numpy as np

from . import _check, activations, initializers
from .graph import Value, as_list, as_value
from .layer_base import Layer, Live, Parameter, constant_draw, flag, not_negative, random_draw

__all__ = ["Activation", "Add", "Concat", "Dense", "Input", "Layer", "Merge", "Residual"]

MAX_WIDTH = 1 << 24


class Input(Layer):
    """Where rows enter the graph: x = (raw - shift) * scale.

    Parameters
    ----------
    shape : int or (int,), or (int, int)
        Features of a row, 1 to 2^24; or (steps, features) of a row that is a sequence, for an LSTM.
    name : str, optional
        Also the key under which predict and fit accept its array in a dict.
    scale, shift : float, array [features] or array of `shape`, optional
        Constants of a standardisation that shall travel with the model: scale = 1/std, shift = mean.
        They stand among the model's parameters as "<name>.scale" and "<name>.shift" and are never trained.

    Raises
    ------
    TypeError, ValueError
        The shape is not one or two positive integers; scale or shift have another shape, or are not finite.
    """

    kind = "input"
    options = ("shape", "scale", "shift")
    is_input = True

    def __init__(self, shape: int | tuple[int, ...], name: str | None = None, scale=None, shift=None):
        super().__init__(name, trainable=False)
        axes = tuple(shape) if isinstance(shape, (list, tuple)) else (shape,)
        if len(axes) not in (1, 2):
            raise ValueError(
                "shape of Input must be the number of features, e.g. 784 or (784,), or (steps, features) of a "
                f"sequence, got {shape!r}"
            )
        self.shape = tuple(_check.integer("shape of Input", n, 1, MAX_WIDTH) for n in axes)
        if math.prod(self.shape) > MAX_WIDTH:
            raise ValueError(f"shape of Input must have at most {MAX_WIDTH} elements, got {shape!r}")
        self.scale = self._constant("scale", scale)
        self.shift = self._constant("shift", shift)

    def _constant(self, name: str, value):
        if value is None:
            return None
        array = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise TypeError(f"{name} of Input must be real numbers, got dtype {array.dtype}")
        if array.shape not in ((), self.shape, self.shape[-1:]):
            raise ValueError(f"{name} of Input must be a number or have shape {self.shape}, got shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} of Input must be finite")
        return np.broadcast_to(array.astype(np.float64), self.shape)  # of one number no more than a view

    def __call__(self, inputs):
        """Refuse: an Input is where a graph begins."""
        raise TypeError(f"{self!r} begins a graph and takes no input: pass it to a layer")

    @property
    def output(self) -> Value:
        """The symbolic value of the input."""
        value = self._output() if self._output else None
        if value is None:
            value = Value(self, (), self.shape)
            self._output = weakref.ref(value)
        return value

    def parameters(self) -> list[Parameter]:
        rows = (("scale", self.scale), ("shift", self.shift))
        width = (math.prod(self.shape),)
        return [Parameter(k, width, constant_draw(v.reshape(-1)), trainable=False) for k, v in rows if v is not None]

    def emit(self, planner, x):
        slot = planner.model.inputs.index(planner.node)
        scale, shift = planner.parameter(self, "scale"), planner.parameter(self, "shift")
        return planner.op("input", math.prod(self.shape), slot=slot, w=scale, b=shift)

    def config(self) -> dict:
        return {"shape": list(self.shape), "scale": self.scale is not None, "shift": self.shift is not None}

    @classmethod
    def from_config(cls, options: dict, name: str | None = None) -> Input:
        scale = 1.0 if flag("scale", options.get("scale", False)) else None
        shift = 0.0 if flag("shift", options.get("shift", False)) else None
        return cls(options.get("shape", ()), name=name, scale=scale, shift=shift)  # their numbers are among the tensors

    def _repr(self) -> str:
        shown = str(self.shape[0] if len(self.shape) == 1 else self.shape)
        return f"{shown}, " if self.name else shown


def _bound(name: str, value) -> float | None:
    return None if value is None else _check.number(name, value, 0.0, low_open=True)


class Dense(Layer):
    """A fully connected layer: y = activation(x W + b), x [B,I], W [I,O], b [O].

    Parameters
    ----------
    units : int
        O, the width of the output, 1 to 2^24.
    activation : str or Activation, optional
        Default None: identity.
    use_bias : bool
        Whether there is a b.  Default True.
    kernel_initializer : str or Initializer
        Default "auto": He et al. 2015 (arXiv:1502.01852) for the ReLU family, Glorot and Bengio 2010
        (AISTATS, "Xavier") otherwise.
    bias_initializer : str or Initializer
        Default "zeros".
    l1, l2 : float
        Penalties of the kernel: loss += l1 sum|W| + l2 sum W^2.  Default 0; may be changed like `trainable`.
    name, trainable
        See Layer.
    max_norm : float, optional
        After every update the weights into each unit are scaled down to this length where they are longer
        (Srebro, Shraibman 2005; with dropout: Srivastava et al. 2014, section 5.1).  Default None: no bound; may be
        changed like `trainable`.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind, out of range or an unknown name; the layer is called with another width
        than before.
    """

    kind = "dense"
    options = (
        "units", "activation", "use_bias", "kernel_initializer", "bias_initializer", "l1", "l2", "trainable", "max_norm"
    )  # fmt: skip
    l1, l2, max_norm = Live(not_negative), Live(not_negative), Live(_bound)

    def __init__(
        self,
        units: int,
        activation=None,
        use_bias: bool = True,
        kernel_initializer="auto",
        bias_initializer="zeros",
        l1: float = 0.0,
        l2: float = 0.0,
        name: str | None = None,
        trainable: bool = True,
        max_norm: float | None = None,
    ):
        super().__init__(name, trainable)
        self.units = _check.integer("units of Dense", units, 1, MAX_WIDTH)
        self.activation = activations.get(activation)
        self.use_bias = flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, self.activation)
        self.bias_initializer = initializers.get(bias_initializer)
        self.l1, self.l2, self.max_norm = l1, l2, max_norm
        self.input_width: int | None = None  # known from the first call on

    def connect(self, shapes):
        width = self.flat_width(shapes)
        if self.input_width not in (None, width):
            raise ValueError(f"{self!r} was built for {self.input_width} inputs, got {width}")
        self.input_width = width
        return (self.units,)

    def parameters(self):
        shape = (self.input_width, self.units)
        kernel = Parameter("kernel", shape, random_draw(self.kernel_initializer, shape), self.l1, self.l2,
                           self.max_norm or 0.0, of_dense=True)  # fmt: skip
        bias = Parameter("bias", shape[1:], random_draw(self.bias_initializer, shape[1:]))
        return [kernel, bias] if self.use_bias else [kernel]

    def emit(self, planner, x):
        kernel, bias = planner.parameter(self, "kernel"), planner.parameter(self, "bias")
        return planner.dense(x[0], kernel, bias, self.units, self.activation)

    def _repr(self):
        return f"{self.units}, " if self.name else f"{self.units}"


class Activation(Layer):
    """An activation function as a layer of its own.

    Parameters
    ----------
    activation : str or Activation
        E.g. "relu" or pn.activations.LeakyReLU(0.1).
    name
        See Layer.
    """

    kind = "activation"
    options = ("activation",)

    def __init__(self, activation, name: str | None = None):
        super().__init__(name)
        self.activation = activations.get(activation)

    def connect(self, shapes):
        return (self.flat_width(shapes),) if self.activation.name == "softmax" else shapes[0]

    def emit(self, planner, x):
        return planner.activate(x[0], self.activation)

    def _repr(self):
        return f"{self.activation.name!r}{', ' if self.name else ''}"


class Merge(Layer):
    """A layer that makes one value of two or more."""

    n_inputs = range(4097)  # as many as a file has calls; one is refused by the call

    def __init__(self, name: str | None = None):
        super().__init__(name)

    def _accept(self, inputs):
        values = as_list(inputs, f"the inputs of {self!r}")
        if len(values) < 2:
            raise ValueError(f"{self!r} takes a list of two or more values, got {len(values)}")
        return values


class Add(Merge):
    """The sum of two or more values of one width: pn.Add()([a, b, ...]).

    Parameters
    ----------
    name : str, optional
        See Layer.
    """

    kind = "add"

    def connect(self, shapes):
        if len(set(shapes)) > 1:
            shown = ", ".join(str(s[0] if len(s) == 1 else s) for s in shapes)
            raise ValueError(f"{self!r}: values of one width expected, got {shown}")
        return shapes[0]

    def emit(self, planner, x):
        y = x[0]
        for value in x[1:]:
            y = planner.op("add", planner.width(y), x=y, x2=value)
        return y


class Concat(Merge):
    """Two or more values side by side, in order: pn.Concat()([a, b, ...]).

    Parameters
    ----------
    name : str, optional
        See Layer.
    """

    kind = "concat"

    def connect(self, shapes):
        width = sum(self.flat_width([s]) for s in shapes)
        if width > MAX_WIDTH:
            raise ValueError(f"{self!r} would be {width} wide, the most is {MAX_WIDTH}")
        return (width,)

    def emit(self, planner, x):
        y, at = planner.value(sum(planner.width(value) for value in x)), 0
        for value in x:
            planner.op("concat", x=value, y=y, at=at)
            at += planner.width(value)
        return y


class Residual:
    """A shortcut around layers: y = x + layers(x) (He et al. 2016, arXiv:1512.03385).

    Wires an Add; in the model stand the inner layers and that Add.

    Parameters
    ----------
    layers : list of Layer
        At least one; the last must be as wide as the input, unless there is a projection.
    name : str, optional
        Name of the Add.
    projection : bool
        True: the shortcut is a Dense layer without bias and activation, y = x P + layers(x), so the widths may differ
        (equation 2 of the paper).  Default False.
    l1, l2, max_norm : float, optional
        For the Dense layers of the block, and of blocks inside it, that have none of their own: see Dense.  It is
        written into these layers.

    Raises
    ------
    TypeError, ValueError
        `layers` is not a list of layers; when it is wired, the widths do not fit, or a projection meets a sequence.
    """

    def __init__(
        self,
        layers: list,
        name: str | None = None,
        projection: bool = False,
        l1: float = 0.0,
        l2: float = 0.0,
        max_norm: float | None = None,
    ):
        if not isinstance(layers, (list, tuple)) or not layers:
            raise TypeError(f"layers of Residual must be a list of at least one layer, got {layers!r}")
        self.layers = list(layers)
        self.projection = flag("projection", projection)
        self.add = Add(name)
        self.shortcut: Dense | None = None
        bound = _bound("max_norm", max_norm)
        self.penalties = {"l1": not_negative("l1", l1), "l2": not_negative("l2", l2), "max_norm": bound}
        for layer in self.layers:
            self._constrain(layer)

    def _constrain(self, layer) -> None:
        if isinstance(layer, Residual):
            layer.penalties = self.penalties | {key: value for key, value in layer.penalties.items() if value}
            for inner in layer.layers:
                layer._constrain(inner)
        for key, value in self.penalties.items():
            if isinstance(layer, Dense) and not getattr(layer, key):
                setattr(layer, key, value)

    def __call__(self, x) -> Value:
        """Wire the layers and the shortcut behind the value `x`."""
        x = as_value(x, "the input of Residual")
        y = chain(x, self.layers, "Residual")
        if self.projection:
            if len(x.shape) != 1 or len(y.shape) != 1:
                raise ValueError(
                    "Residual: a projection takes rows of features to rows of features, "
                    f"got {_shown(x)} and {_shown(y)}"
                )
            if self.shortcut is None:
                self.shortcut = Dense(y.width, use_bias=False)
                self._constrain(self.shortcut)
            return self.add([self.shortcut(x), y])
        if y.shape != x.shape:
            hint = "; Residual(..., projection=True) fits them" if len(y.shape) == len(x.shape) == 1 else ""
            raise ValueError(f"Residual: its layers turn width {_shown(x)} into {_shown(y)}, but both are added{hint}")
        return self.add([x, y])

    @property
    def output(self) -> Value:
        """The symbolic value of its first call."""
        return self.add.output

    def __repr__(self) -> str:
        return f"Residual({self.layers})"


def _shown(value: Value) -> str:
    return str(value.width if len(value.shape) == 1 else value.shape)


def chain(x: Value, layers, where: str) -> Value:
    """Wire `layers` one behind the other, after `x`."""
    for i, layer in enumerate(layers):
        if getattr(layer, "is_input", False):
            raise ValueError(f"{where}: layer {i} is {layer!r}, but only the first layer of a Sequential is an Input")
        if not isinstance(layer, (Layer, Residual)):
            called = "; a layer that was already called belongs into pn.Model" if isinstance(layer, Value) else ""
            raise TypeError(f"{where}: layer {i} must be a layer, got {type(layer).__name__}{called}")
        x = layer(x)
    return x
