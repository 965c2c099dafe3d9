"""The graph: symbolic values, the order they stand in, and the names of their layers.

A value is one call of a layer.  It keeps its layer and the values it was made from, so a graph needs no other
bookkeeping and cannot have a cycle.  A layer knows its value only weakly: a model is freed with its last reference.
"""

from __future__ import annotations

import itertools

from . import _check

__all__ = ["Value", "as_list", "as_value", "check_name", "name_layers", "walk"]

MAX_NAME = 100
_serial = itertools.count()  # values are numbered as they are made: inputs always before what reads them


class Value:
    """What one call of a layer stands for: an array [B, width] that exists when a machine runs.

    Attributes
    ----------
    layer : Layer
        The layer that was called.
    inputs : tuple of Value
        The values it was called with.
    shape : tuple of int
        Shape of one row.
    """

    __slots__ = ("__weakref__", "inputs", "layer", "serial", "shape")

    def __init__(self, layer, inputs: tuple[Value, ...], shape: tuple[int, ...]):
        self.layer, self.inputs, self.shape = layer, inputs, shape
        self.serial = next(_serial)

    @property
    def width(self) -> int:
        """Elements of one row."""
        width = 1
        for n in self.shape:
            width *= n
        return width

    @property
    def activation(self):
        """The activation that made this value (identity where its layer has none)."""
        return self.layer.applied_activation()

    def __repr__(self) -> str:
        return f"<value of {self.layer!r}, {self.width} wide>"


def as_value(x, what: str) -> Value:
    """Return `x` as a Value; an Input layer stands for its own value."""
    if isinstance(x, Value):
        return x
    if getattr(x, "is_input", False):
        return x.output
    hint = "; pass its .output, or call it" if hasattr(x, "output") else ""
    raise TypeError(f"{what} must be pn.Input or what a layer returned, got {_check_type(x)}{hint}")


def _check_type(x) -> str:
    return f"{type(x).__name__} of shape {x.shape}" if hasattr(x, "shape") else type(x).__name__


def as_list(values, what: str) -> list[Value]:
    """Return one value or a sequence of values as a list that is not empty."""
    if not isinstance(values, (list, tuple)):
        return [as_value(values, what)]
    if not values:
        raise ValueError(f"{what} must name at least one value, got an empty {type(values).__name__}")
    return [as_value(v, f"{what}[{i}]") for i, v in enumerate(values)]


def walk(inputs: list[Value], outputs: list[Value]) -> list[Value]:
    """Return every value that `outputs` need, each after those it is made from (the order of the calls)."""
    for i, value in enumerate(inputs):
        if not value.layer.is_input:
            raise ValueError(f"inputs[{i}] is the value of {value.layer!r}, expected that of pn.Input")
        if value in inputs[:i]:
            raise ValueError(f"inputs[{i}]: {value.layer!r} is listed twice")
    found, waiting = set(outputs), list(outputs)
    while waiting:
        for value in waiting.pop().inputs:
            if value not in found:
                found.add(value)
                waiting.append(value)
    for value in inputs:
        if value not in found:
            raise ValueError(f"{value.layer!r} is not used: no output depends on it")
    order = sorted(found, key=lambda value: value.serial)
    for value in order:
        if value.layer.is_input and value not in inputs:
            raise ValueError(f"the outputs depend on {value.layer!r}, which is not among the inputs")
    return order


def check_name(name: str | None, what: str = "name") -> str | None:
    """Return `name` if it may name a layer or a model: letters, digits, _ and -, or None."""
    if name is None:
        return None
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a string, got {type(name).__name__}")
    if len(name) > MAX_NAME or not (name.isascii() and name.replace("_", "0").replace("-", "0").isalnum()):
        shown = name if len(name) <= MAX_NAME else name[:MAX_NAME] + "..."
        raise ValueError(f"{what} must be 1 to {MAX_NAME} ASCII letters, digits, _ or -, got {shown!r}")
    return name


def name_layers(layers: list) -> dict:
    """Return {layer: name}.  Given names hold; automatic ones (dense_1, dense_2, ...) give way and fill up."""
    names: dict = {}
    owner: dict = {}
    for layer in layers:
        if layer.name is not None and not layer.name_is_automatic:
            if layer.name in owner:
                raise ValueError(f"two layers are named {layer.name!r}: {owner[layer.name]!r} and {layer!r}")
            names[layer], owner[layer.name] = layer.name, layer
    for layer in layers:  # a layer keeps the name that an earlier model gave it, if it can
        if layer not in names and layer.name is not None and layer.name not in owner:
            names[layer], owner[layer.name] = layer.name, layer
    counts: dict = {}
    for layer in layers:
        while layer not in names:
            counts[layer.kind] = counts.get(layer.kind, 0) + 1
            name = f"{layer.kind}_{counts[layer.kind]}"
            if name not in owner:
                names[layer], owner[name] = name, layer
    return {layer: names[layer] for layer in layers}


def find_layer(names: dict, name: str):
    """Return the layer called `name` in {layer: name}."""
    for layer, its_name in names.items():
        if its_name == name:
            return layer
    raise _check.unknown("layer", name, names.values())
