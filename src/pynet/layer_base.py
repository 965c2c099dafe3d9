"""The base of all layers: what a record must state to take part in graphs, plans and files."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import numpy as np

from . import _check, activations
from .graph import Value, as_value, check_name

__all__ = ["Layer", "Live", "Parameter", "constant_draw", "flag", "not_negative", "random_draw"]


class Parameter:
    """One array that a layer owns.

    Attributes
    ----------
    suffix : str
        Its name inside the layer, e.g. "kernel".
    shape : tuple of int
        (I, O), or (O,) for a vector.
    draw : callable
        draw(dtype, key, stream) -> its first value.
    l1, l2 : float
        Its penalties: loss += l1 sum|w| + l2 sum w^2.
    max_norm : float
        Longest that a column (the weights into one unit) may be after an update; 0: no bound.
    lowest : float
        Least value that may be written to it.  Default -inf.
    trainable : bool
        False for constants, which no optimizer touches whatever the layer's `trainable` says.
    of_dense : bool
        Whether it is the matrix of dense ops and of no others.
    """

    __slots__ = ("draw", "l1", "l2", "lowest", "max_norm", "of_dense", "shape", "suffix", "trainable")

    def __init__(
        self, suffix: str, shape: tuple[int, ...], draw, l1=0.0, l2=0.0, max_norm=0.0, trainable=True, lowest=-np.inf,
        of_dense=False,
    ):  # fmt: skip
        self.suffix, self.shape, self.draw = suffix, shape, draw
        self.l1, self.l2, self.max_norm, self.trainable = l1, l2, max_norm, trainable
        self.lowest, self.of_dense = lowest, of_dense


def constant_draw(array):
    """Return the `draw` of a Parameter whose first value is given."""
    return lambda dtype, key, stream: array.astype(dtype)


def random_draw(initializer, shape):
    """Return the `draw` of a Parameter whose first value an initializer draws."""
    return lambda dtype, key, stream: initializer.init(shape, dtype, key, stream)


def flag(name: str, value) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {type(value).__name__} {value!r}")
    return bool(value)


not_negative = partial(_check.number, low=0.0)


class Live:
    """An attribute of a layer that may be changed between two fits.

    Every value is checked when it is set: a fit might do with another, but a file that holds it could not be read.

    Parameters
    ----------
    check : callable
        check(label, value) -> the value, or an error that holds the label.
    label : str, optional
        Default: the name of the attribute.
    """

    def __init__(self, check, label: str | None = None):
        self.check, self.label = check, label

    def __set_name__(self, owner, name: str):
        self.name, self.label = name, self.label or name
        owner.live = (*owner.live, name)

    def __get__(self, layer, owner=None) -> Any:
        return self if layer is None else layer.__dict__[self.name]

    def __set__(self, layer, value):
        layer.__dict__[self.name] = self.check(self.label, value)


class Layer:
    """Base of all layers.

    Parameters
    ----------
    name : str, optional
        Letters, digits, underscores and hyphens.  Default: the model names it after its kind, e.g. "dense_1".
    trainable : bool
        False keeps its parameters as they are in training.  May be changed at any time; holds from the next fit.

    Attributes
    ----------
    rate_factor : float >= 0
        The layer's learning rate is this times the optimizer's.  Default 1; may be changed like `trainable`.  AdamW's
        decay is multiplied as well, for it is a part of the rate; of Rprop, which finds its own steps, only the first
        step is.  0: no step at all, with any optimizer.
    """

    kind = "layer"  # stem of automatic names
    options: tuple[str, ...] = ()  # constructor arguments that describe it, besides name
    n_inputs: range | tuple[int, ...] = (1,)  # how many values a call may read
    is_input = False
    live: tuple[str, ...] = ()  # names of the attributes that are Live
    hands_on = False  # whether its output is its input, but for noise in training
    activation: activations.Activation | None = None
    trainable = Live(flag)
    rate_factor = Live(not_negative)

    def __init__(self, name: str | None = None, trainable: bool = True):
        self.name = check_name(name)
        self.name_is_automatic = name is None
        self.trainable = trainable
        self.rate_factor = 1.0
        self.home: tuple | None = None  # (arena, {suffix: param record}, keep) of the model that last trained or set it
        self._output: weakref.ref[Value] | None = None

    def __call__(self, inputs) -> Value:
        """Wire the layer behind `inputs`.

        Parameters
        ----------
        inputs : value, or list of values for a layer that merges
            pn.Input or what other layers returned.

        Returns
        -------
        Value

        Raises
        ------
        TypeError
            `inputs` are not values of a graph (to compute, use model.predict).
        ValueError
            Their widths do not fit.
        """
        values = self._accept(inputs)
        value = Value(self, tuple(values), self.connect([v.shape for v in values]))
        if self._output is None or self._output() is None:
            self._output = weakref.ref(value)
        return value

    def _accept(self, inputs) -> list[Value]:
        return [as_value(inputs, f"the input of {self!r}")]

    @property
    def output(self) -> Value:
        """The symbolic value of its first call (in the model built last that holds it)."""
        value = self._output() if self._output else None
        if value is None:
            raise ValueError(f"{self!r} has no output: it has not been called, or its graph is gone")
        return value

    def belong(self, name: str, value: Value) -> None:
        """Take the name that a model gives, and its value there."""
        self.name, self._output = name, weakref.ref(value)

    def connect(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        """Check the shapes of the inputs and return that of the output."""
        raise NotImplementedError

    def parameters(self) -> list[Parameter]:
        """Return the parameters it owns, in the order they stand in the arena."""
        return []

    def flat_width(self, shapes) -> int:
        """Return the width of its one input, which must be a row of features, not a sequence."""
        (shape,) = shapes
        if len(shape) != 1:
            raise ValueError(
                f"{self!r} takes rows of features, got shape {shape}; put an LSTM or pn.Flatten() before it"
            )
        return shape[0]

    def emit(self, planner, x: list[int]) -> int:
        """Put its ops into a plan: `x` are the values read, returned is the value written."""
        raise NotImplementedError

    def applied_activation(self):
        """Return the activation that its output has been through."""
        return activations.get(self.activation)

    def config(self) -> dict:
        """Return its constructor arguments but the name, fit for JSON."""
        return {key: _plain(getattr(self, key)) for key in self.options}

    @classmethod
    def from_config(cls, options: dict, name: str | None = None) -> Layer:
        """Make the layer again from what `config` returned."""
        return cls(**options, name=name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._repr()}{self.name or ''})"

    def _repr(self) -> str:
        return ""


def _plain(x):
    return x.config() if hasattr(x, "config") else x
