"""Models made of foreign networks: layers are called, and their parameters are kept until the model is there."""

from __future__ import annotations

import numpy as np

from ..graph import Value
from ..layers import Layer
from ..model import Model

__all__ = ["Wiring", "layer_name"]


class Wiring:
    """Collects what a model is made of.

    Attributes
    ----------
    arrays : dict of Layer -> {suffix: array}
        Parameters that are not the first values of their layers.
    left : int or None
        Bytes that parameters may still take, if there is a limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.left = limit
        self.arrays: dict[Layer, dict[str, np.ndarray]] = {}
        self.names: set[str] = set()

    def call(self, layer: Layer, inputs, **arrays) -> Value:
        """Call a layer, whose parameters are `arrays` (None: it has no such); return its value."""
        if layer not in self.arrays:
            self.take(*arrays.values())
        value = layer(inputs)
        self.arrays[layer] = {suffix: array for suffix, array in arrays.items() if array is not None}
        return value

    def take(self, *arrays) -> None:
        """Count the bytes of parameters; ValueError if they are more than the limit."""
        nbytes = sum(array.nbytes for array in arrays if array is not None)
        if self.left is not None:
            if nbytes > self.left:
                raise ValueError("with it the weights would take more memory than their file allows")
            self.left -= nbytes

    def name(self, wanted: str) -> str | None:
        """Return `wanted` if a layer may be called so and none is, else None."""
        name = layer_name(wanted)
        if name is None or name in self.names:
            return None
        self.names.add(name)
        return name

    def model(self, inputs, outputs, dtype) -> Model:
        """Return the model with all parameters in it.

        Raises
        ------
        ValueError
            A parameter has another shape than its layer says, or is NaN or infinite.
        """
        model = Model(inputs, outputs, dtype=dtype)
        state = {
            f"{model.names[layer]}.{suffix}": array
            for layer, arrays in self.arrays.items()
            for suffix, array in arrays.items()
            if layer in model.names
        }
        model.load_state_dict(model.state_dict() | state)
        return model


def layer_name(wanted: str) -> str | None:
    """Return `wanted` if it may be the name of a layer and begins with a letter, else None."""
    plain = wanted.replace("_", "0").replace("-", "0")
    return wanted if len(wanted) <= 100 and plain.isascii() and plain.isalnum() and wanted[0].isalpha() else None
