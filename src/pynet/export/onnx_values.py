"""What names in an ONNX graph stand for while it is read: values of a pynet graph under a view of their axes.

ONNX moves axes about: steps in front of rows, directions of an LSTM, images.  pynet's value is always [B, features] or
[B, steps, features]; a Data remembers how ONNX sees it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..graph import Value

__all__ = ["ROWS", "STACK", "Data", "Unsupported"]

ROWS = "rows"  # the axis of the batch
STACK = "stack"  # an axis along which values stand that pynet keeps apart


class Unsupported(Exception):
    """What a node does has no counterpart; the text says why."""


class Data:
    """A value under a view.

    Attributes
    ----------
    sizes : tuple of int
        The axes of a row.
    order : tuple of ROWS, int, STACK or None
        The axes as ONNX has them: that of the rows, the k-th of a row, or one of size 1 that pynet does not have.
    last : Data, or None
        Of all states of an LSTM the last one.
    parts : list of Data
        What stands along STACK: the last states of several LSTMs.
    """

    def __init__(self, make: Callable[[], Value] | Value, sizes: tuple[int, ...], order=None, last=None, parts=()):
        self._make = make
        self.sizes, self.last, self.parts = sizes, last, parts
        self.order = (ROWS, *range(len(sizes))) if order is None else tuple(order)

    @property
    def value(self) -> Value:
        """The value in the graph of pynet, which is made when it is needed first."""
        if not isinstance(self._make, Value):
            self._make = self._make()
        return self._make

    def seen(self, order) -> Data:
        """Return the same under another order of its axes."""
        return Data(lambda: self.value, self.sizes, order, self.last, self.parts)

    def axis(self, index: int) -> int:
        """Return an axis that counts from the front."""
        if not -len(self.order) <= index < len(self.order):
            raise Unsupported(f"axis {index} of {len(self.order)} axes")
        return index % len(self.order)

    @property
    def natural(self) -> bool:
        """Whether ONNX sees rows first, then their axes in order, and no others."""
        return self.order == (ROWS, *range(len(self.sizes)))

    @property
    def width(self) -> int:
        return math.prod(self.sizes)

    def rows_first(self) -> Data:
        """Return self if it is natural."""
        if not self.natural:
            raise Unsupported(
                "the axes of its input are not in the order (batch, features) or (batch, steps, features)"
            )
        return self

    def flat(self) -> Data:
        """Return self if its rows have one axis."""
        if len(self.rows_first().sizes) != 1:
            raise Unsupported(f"its input is {self.shown}, expected rows of features, [batch, n]")
        return self

    @property
    def shown(self) -> str:
        names = {ROWS: "batch", None: "1", STACK: str(len(self.parts))}
        return "[" + ", ".join(str(names.get(a, self.sizes[a] if isinstance(a, int) else a)) for a in self.order) + "]"
