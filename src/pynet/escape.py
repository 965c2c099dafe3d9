"""A layer written in Python, for what the plan has no op for."""

from __future__ import annotations

from . import _check
from .activations import returned
from .layer_base import Layer
from .layers import MAX_WIDTH

__all__ = ["PythonLayer"]


class PythonLayer(Layer):
    """A layer without parameters whose arithmetic is a pair of Python functions.

    The plan steps out of C at this layer only, in both machines: some 10 us a call, a copy of the arrays, and the GIL.

    Parameters
    ----------
    forward : callable
        forward(x) -> y: arrays [B, I] and [B, output_size] of the model's dtype.
    backward : callable
        backward(x, y, dy) -> dx: dL/dx [B, I] from dL/dy [B, output_size].
    output_size : int
        O.
    name
        See Layer.

    Raises
    ------
    TypeError, ValueError
        An argument is not callable or no width; in fit or predict, a function returns another shape.  What the
        functions raise comes through; the weights are those before that batch.

    Notes
    -----
    The functions must depend on their arguments alone: a batch may be computed more than once.  They may not train or
    evaluate with the trainer that is computing them, nor predict_one with the model: RuntimeError.  A model with such a
    layer cannot be written to a file or pickled; save `model.state_dict()` and build the graph anew.

    Examples
    --------
    >>> def place(x):  # of each element in its sorted row
    ...     return np.argsort(np.argsort(x, axis=1), axis=1)
    >>> sort = pn.PythonLayer(
    ...     lambda x: np.sort(x, axis=1), lambda x, y, dy: np.take_along_axis(dy, place(x), axis=1), output_size=8
    ... )
    """

    kind = "python_layer"

    def __init__(self, forward, backward, output_size: int, name: str | None = None):
        super().__init__(name)
        for what, given in (("forward", forward), ("backward", backward)):
            if not callable(given):
                raise TypeError(f"{what} of PythonLayer must be callable, got {type(given).__name__} {given!r}")
        self.functions = forward, backward
        self.output_size = _check.integer("output_size of PythonLayer", output_size, 1, MAX_WIDTH)

    def connect(self, shapes):
        self.flat_width(shapes)
        return (self.output_size,)

    def emit(self, planner, x):
        return planner.python(x[0], self.output_size, self)

    def forward(self, x, width: int):
        """Return y: what a machine calls on the way up."""
        return returned(f"forward of {self!r}", self.functions[0](x), (len(x), width))

    def backward(self, x, y, dy):
        """Return dL/dx: what a machine calls on the way down."""
        return returned(f"backward of {self!r}", self.functions[1](x, y, dy), x.shape)

    def config(self) -> dict:
        raise ValueError(f"{self!r} holds Python functions, which no file can carry; save model.state_dict() instead")
