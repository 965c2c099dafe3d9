"""What an exported program is made of: constants, values, calls."""

from __future__ import annotations

import numpy as np

__all__ = ["Call", "Constant", "Value"]


class Constant:
    """An array of a network.

    Attributes
    ----------
    name : str
        "net_kernel_1", ...
    what : str
        For the reader: whose it is, how it is laid out.
    array : one-dimensional array
    """

    __slots__ = ("array", "name", "what")

    def __init__(self, name: str, what: str, array: np.ndarray):
        self.name, self.what, self.array = name, what, array


class Value:
    """An argument of a call: a value of the plan."""

    __slots__ = ("number",)

    def __init__(self, number: int):
        self.number = number


class Call:
    """A call of a function.

    Attributes
    ----------
    function : str
        Name in runtime/*.h.
    arguments : list
        Value; Constant; int: a uint32_t; float: a number of the network's dtype; None: NULL.
    layer : str
        Whose work it does.
    """

    __slots__ = ("arguments", "function", "layer")

    def __init__(self, function: str, arguments: list, layer: str):
        self.function, self.arguments, self.layer = function, arguments, layer
