"""The LSTM layer."""

from __future__ import annotations

import numpy as np

from . import _check, initializers
from .graph import as_list
from .layer_base import Layer, Live, Parameter, flag, not_negative, random_draw
from .layers import MAX_WIDTH
from .plan import NONE, padded

__all__ = ["LSTM"]


class LSTM(Layer):
    """A layer of long short-term memory cells that reads a sequence step by step (Hochreiter, Schmidhuber 1997; with
    forget gates: Gers, Schmidhuber, Cummins 2000).

    i, f, a, q = parts of x_t W + h R + b;   c = sigmoid(f) c + sigmoid(i) tanh(a);   h = sigmoid(q) tanh(c)

    Called with a value of shape (steps, features), or with a list [sequence, mask]: the mask, a value [steps], says
    which steps of a row there are (above 1/2); at the others its states stay as they are.  So rows of different lengths
    are padded with anything and masked: ``pn.datasets.pad_sequences`` makes both arrays.

    Parameters
    ----------
    units : int
        U, cells.
    return_sequences : bool
        False: the output is the last hidden state, [U]; True: all of them, [steps, U].  Default False.
    kernel_initializer, recurrent_initializer : str or Initializer
        Of W, [features, 4U], and R, [U, 4U].  Default "xavier_uniform" and "orthogonal".
    forget_bias : float
        First value of the forget gate's bias; the others begin at 0.  Default 1 (Jozefowicz et al. 2015).
    l1, l2 : float
        Penalties of W and R.  Default 0; may be changed like `trainable`.
    name, trainable
        See Layer.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of range; the input is no sequence, or the mask has other steps.
    """

    kind = "lstm"
    options = (
        "units", "return_sequences", "kernel_initializer", "recurrent_initializer", "forget_bias", "l1", "l2",
        "trainable"
    )  # fmt: skip
    l1, l2 = Live(not_negative), Live(not_negative)
    n_inputs = (1, 2)  # a sequence, or a sequence and its mask

    def __init__(
        self,
        units: int,
        return_sequences: bool = False,
        kernel_initializer="xavier_uniform",
        recurrent_initializer="orthogonal",
        forget_bias: float = 1.0,
        l1: float = 0.0,
        l2: float = 0.0,
        name: str | None = None,
        trainable: bool = True,
    ):
        super().__init__(name, trainable)
        self.units = _check.integer("units of LSTM", units, 1, 1 << 20)
        self.return_sequences = flag("return_sequences", return_sequences)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.forget_bias = _check.number("forget_bias", forget_bias)
        self.l1, self.l2 = l1, l2
        self.features: int | None = None  # known from the first call on

    def _accept(self, inputs):
        values = as_list(inputs, f"the inputs of {self!r}")
        if len(values) > 2:
            raise ValueError(f"{self!r} takes a sequence, or a list [sequence, mask], got {len(values)} values")
        return values

    def connect(self, shapes):
        if len(shapes[0]) != 2:
            raise ValueError(f"{self!r} takes a sequence of shape (steps, features), got shape {shapes[0]}")
        steps, features = shapes[0]
        if self.features not in (None, features):
            raise ValueError(f"{self!r} was built for {self.features} features, got {features}")
        if shapes[1:] not in ([], [(steps,)]):
            raise ValueError(
                f"the mask of {self!r} must have shape ({steps},), one number for each step, got {shapes[1]}"
            )
        self.features = features
        return (steps, self.units) if self.return_sequences else (self.units,)

    def parameters(self):
        kernel, recurrent = (self.features, 4 * self.units), (self.units, 4 * self.units)
        return [
            Parameter("kernel", kernel, self._gates(self.kernel_initializer, kernel), self.l1, self.l2),
            Parameter(
                "recurrent_kernel", recurrent, self._gates(self.recurrent_initializer, recurrent), self.l1, self.l2
            ),
            Parameter("bias", (4 * self.units,), self._first_bias),
        ]

    def _first_bias(self, dtype, key, stream):
        return np.repeat(np.array([0, self.forget_bias, 0, 0], dtype), self.units)

    def _gates(self, initializer, shape):
        """Draw each of the four gates as a matrix of its own: its fan is that of U outputs, not of 4U."""
        rows, cols = shape
        draws = [random_draw(initializer, (rows, cols // 4)) for _ in range(4)]
        return lambda dtype, key, stream: np.concatenate(
            [draw(dtype, key, (*stream, gate + 1)) for gate, draw in enumerate(draws)], axis=1
        )

    def emit(self, planner, x):
        w, r, b = (planner.parameter(self, name) for name in ("kernel", "recurrent_kernel", "bias"))
        steps, units = planner.width(x[0]) // self.features, self.units
        # of each step gates, cell and hidden state; on the way down their gradients and those of the states and of x
        kept = steps * (padded(4 * units) + 2 * padded(units)) + 2 * padded(units) + padded(self.features)
        if kept > MAX_WIDTH:
            raise ValueError(
                f"{self!r} over {steps} steps keeps {kept} numbers a row, the most is {MAX_WIDTH}: fewer units, or "
                "shorter sequences"
            )
        width = steps * units if self.return_sequences else units
        mask = x[1] if len(x) > 1 else NONE
        return planner.op("lstm", width, x=x[0], x2=mask, z=planner.value(kept), w=w, b=b, w2=r, at=steps)

    def _repr(self):
        return f"{self.units}{', ' if self.name else ''}"
