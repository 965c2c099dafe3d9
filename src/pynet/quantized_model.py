"""Integer networks: a table of integer ops, and their NumPy machine."""

from __future__ import annotations

import numpy as np

from . import _check
from .arrays import as_inputs
from .quantize_ops import IntegerOp, Value
from .quantized_input import QuantizedInput

__all__ = ["QuantizedModel", "QuantizedOutput"]

MAX_ZERO = 1 << 22  # so that 2 (x - z_x) is an int32, and a float32
ROWS = 1024  # computed at a time


class QuantizedOutput:
    """One output.

    Parameters
    ----------
    name : str
    value : int
        Which of the values it is.
    shape : tuple of int
        Of its rows.
    """

    def __init__(self, name: str, value: int, shape: tuple[int, ...]):
        self.name, self.value, self.shape = name, value, shape


class QuantizedModel:
    """An integer network, as `Model.quantize` makes it.

    `predict` computes with integers alone what the C file of `pynet.export.to_c` computes, to the bit.

    Parameters
    ----------
    values : list of Value
    ops : list of IntegerOp
        In the order in which they run.
    inputs : list of QuantizedInput
    outputs : list of QuantizedOutput
    examples : list of arrays [n, I], one for each input
        Integers of a few rows: what a C file tests itself with.
    source : Model, optional
        What it was made of, for `report`.
    metadata : dict
        That of the model.

    Raises
    ------
    ValueError
        The parts do not fit each other, or an op could overflow.
    """

    def __init__(self, values, ops, inputs, outputs, examples, source=None, metadata=None):
        self.values: list[Value] = values
        self.ops: list[IntegerOp] = ops
        self.inputs: list[QuantizedInput] = inputs
        self.outputs: list[QuantizedOutput] = outputs
        self.examples: list[np.ndarray] = examples
        self.source = source
        self.metadata: dict = metadata or {}
        self._check()

    # ---- prediction -------------------------------------------------------------------------------------------------

    def predict(self, X):
        """Compute the outputs for rows of data, with integers.

        Parameters
        ----------
        X : array-like [N, I]; for several inputs a list of them, or a dict by input name
            Real numbers, converted to float32 first.  A NaN becomes the integer that stands for 0.

        Returns
        -------
        float32 array [N, O], or a list of them for several outputs
            What the integers of `predict_integers` stand for.

        Raises
        ------
        TypeError, ValueError
            X does not fit the model.
        """
        found = self.predict_integers(X)
        many = isinstance(found, list)
        real = [
            self.values[out.value].q.real(q) for out, q in zip(self.outputs, found if many else [found], strict=True)
        ]
        return real if many else real[0]

    __call__ = predict

    def predict_one(self, x):
        """Return the outputs for one row: x [I], or a list of them, or a dict; as `predict`."""
        if len(self.inputs) == 1 and not isinstance(x, dict):
            x = [x]
        rows = {key: np.asarray(row)[None] for key, row in (x.items() if isinstance(x, dict) else enumerate(x))}
        arrays = list(rows.values())
        Y = self.predict(rows if isinstance(x, dict) else arrays if len(arrays) > 1 else arrays[0])
        return [y[0] for y in Y] if isinstance(Y, list) else Y[0]

    def predict_integers(self, X):
        """Return the integers of the outputs: int8 or int16 [N, O], or a list of them.  The largest of a row of
        probabilities or logits is its class: no float is needed.  Parameters and errors as `predict`."""
        arrays, n = as_inputs(_Inputs(self.inputs, self.values), X)
        integers = [i.integers(x, self.values[i.value].q) for i, x in zip(self.inputs, arrays, strict=True)]
        results = [np.empty((n, self.values[out.value].width), self.values[out.value].q.dtype) for out in self.outputs]
        for first in range(0, n, ROWS):
            data = self.run([q[first : first + ROWS] for q in integers])
            for result, out in zip(results, self.outputs, strict=True):
                result[first : first + ROWS] = data[out.value]
        results = [r.reshape(n, *out.shape) for r, out in zip(results, self.outputs, strict=True)]
        return results if len(results) > 1 else results[0]

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Return all values, int64 [B, width], for the integers of the inputs."""
        data: list = [None] * len(self.values)
        for i, q in zip(self.inputs, inputs, strict=True):
            data[i.value] = q.astype(np.int64)
        for op in self.ops:
            op.run(self.values, data)
        return data

    # ---- what it costs ----------------------------------------------------------------------------------------------

    def footprint(self):
        """Return the memory that the C file takes, and its work.

        Returns
        -------
        footprint.Footprint
            With flash and its parts, ram, ends and wrapper, all to the byte, an estimate of the stack, and macs.
        """
        from .quantize_memory import footprint

        return footprint(self)

    def report(self, X, y=None, model=None):
        """Compare with the float network.

        Parameters
        ----------
        X : array-like, as of `predict`
        y : array [N], optional
            Class numbers, of a model with one output: the accuracies are reported as well.
        model : Model, optional
            The float network.  Default: the one it was made of, as it is now.

        Returns
        -------
        QuantizationReport
            `print` shows it as a table.

        Raises
        ------
        TypeError, ValueError
            X or y does not fit; there is no float network to compare with.
        """
        from .quantize_report import report

        return report(self, X, y, model)

    def save(self, path) -> None:
        """Write the model to a safetensors file, atomically; ``pn.load`` reads it.

        Raises
        ------
        OSError, TypeError, ValueError
            As Model.save.
        """
        from .quantize_files import save

        save(self, path)

    def summary(self, print_fn=print) -> None:
        """Print the ops, what their values' integers stand for, and the bytes; `print_fn` receives the text."""
        rows = [("op", "layer", "width", "bits", "scale", "zero")]
        named = [("input", i.value) for i in self.inputs] + [(op.kind, op.y) for op in self.ops]
        for kind, v in named:
            value = self.values[v]
            q = value.q
            rows.append((kind, value.name, str(value.width), str(q.bits), f"{q.scale:.4g}", str(q.zero)))
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        need = self.footprint()
        sizes = {"flash": need.flash, **need.parts, "wrapper": need.wrapper, "ram": need.ram, "ends": need.ends}
        print_fn("\n".join([*lines, ", ".join(f"{name} {n}" for name, n in (sizes | {"macs": need.macs}).items())]))

    def __repr__(self) -> str:
        widths = [",".join(str(self.values[end.value].width) for end in ends) for ends in (self.inputs, self.outputs)]
        return f"<QuantizedModel {' -> '.join(widths)}, {self.footprint().flash} bytes of constants>"

    # ---- checks -----------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Raise ValueError unless every value is made once, before it is read, and no op can overflow."""
        made = [0] * len(self.values)  # elements that have been written
        if not self.inputs or not self.outputs:
            raise ValueError("a network needs inputs and outputs")
        if len({len(example) for example in self.examples}) != 1 or len(self.examples) != len(self.inputs):
            raise ValueError("each input needs as many examples as the others")
        if any(self.values[out.value].q.bits != 16 for out in self.outputs):
            raise ValueError("outputs must have 16 bits")
        for value in self.values:
            if abs(value.q.zero) > MAX_ZERO:
                raise ValueError(f"{value.name}: its range is too far from 0 for its width")
        for i, example in zip(self.inputs, self.examples, strict=True):
            width, q = self.values[i.value].width, self.values[i.value].q
            if i.offset == -128 and q.bits != 8:
                raise ValueError(f"input {i.name!r}: an offset of -128 needs 8 bits")
            if made[i.value]:
                raise ValueError(f"two inputs write value {i.value}")
            made[i.value] = width
            for array in (i.shift, i.factor):
                if array.dtype != np.float32 or array.shape not in ((1,), (width,)) or not np.isfinite(array).all():
                    raise ValueError(f"input {i.name!r}: shift and factor must be finite float32 [1] or [{width}]")
            if example.dtype != q.dtype or example.ndim != 2 or example.shape[1] != width:
                raise ValueError(f"input {i.name!r}: the examples must be {q.dtype} [n, {width}]")
        for op in self.ops:
            for v in op.reads:
                if made[v] != self.values[v].width:
                    raise ValueError(f"{op.kind} op reads value {v}, which is not complete")
            if any(made[v] for v in op.scratch) or len(set(op.scratch)) < len(op.scratch):
                raise ValueError(f"{op.kind} op works in a value that is another's")
            op.check(self.values)
            for v in op.scratch:
                made[v] = self.values[v].width
            if made[op.y] != getattr(op, "at", 0):
                raise ValueError(f"{op.kind} op writes value {op.y} from another place than the one to go on from")
            made[op.y] += self.values[op.x].width if op.kind == "scale" else self.values[op.y].width
        if made != [value.width for value in self.values]:
            raise ValueError("a value is not made completely")


class _Inputs:
    """What `as_inputs` asks a model."""

    def __init__(self, inputs, values):
        self.names = {i: i.name for i in inputs}
        self.inputs = [_Column(i, i.shape, values[i.value].width) for i in inputs]


class _Column:
    def __init__(self, layer, shape, width):
        self.layer, self.shape, self.width = layer, shape, width


def check_bits(activations) -> int:
    """Return the bits that `activations` of Model.quantize means."""
    if activations not in ("int8", "int16"):
        raise _check.unknown("activations", activations, ("int8", "int16"))
    return int(activations[3:])
