"""What quantisation lost: an integer network compared with the float network it was made of, on data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .arrays import as_array, as_inputs
from .model import Model
from .progress import change_text
from .quantize_calibrate import float_machine

__all__ = ["QuantizationReport", "report"]

ROWS = 1024  # at a time


@dataclass(frozen=True)
class OutputReport:
    """One output.

    Attributes
    ----------
    name : str
    max_error, rms_error : float
        Of the numbers of the output.
    agreement : float
        Share of rows in which the largest column is the same.
    accuracy, float_accuracy : float, or None where no y was given
    """

    name: str
    max_error: float
    rms_error: float
    agreement: float
    accuracy: float | None
    float_accuracy: float | None


@dataclass(frozen=True)
class QuantizationReport:
    """What `QuantizedModel.report` found.

    Attributes
    ----------
    outputs : list of OutputReport
    layers : dict of str -> float
        Signal-to-noise ratio of each layer's values in dB, 10 log10(sum x^2 / sum (q - x)^2), errors of the layers
        before it included; inf: no error.
    flash, float_bytes : int
        Bytes of constants of the C file, and of the parameters of the float network.
    """

    outputs: list[OutputReport]
    layers: dict[str, float]
    flash: int
    float_bytes: int

    def __str__(self) -> str:
        lines = []
        for o in self.outputs:
            lines.append(f"{o.name}: error at most {o.max_error:.3g}, rms {o.rms_error:.3g}")
            lines.append(f"  the same class in {o.agreement:.2%} of the rows")
            if o.accuracy is not None:
                lines.append(f"  accuracy {o.accuracy:.2%}, of the float network {o.float_accuracy:.2%}")
        width = max(map(len, self.layers), default=0)
        lines += [f"{name.ljust(width)}  {snr:6.1f} dB" for name, snr in self.layers.items()]
        change = change_text(max(self.flash, 1), self.float_bytes)
        lines.append(f"{self.flash} bytes of constants, {change} than {self.float_bytes}")
        return "\n".join(lines)


def report(quantized, X, y=None, model=None) -> QuantizationReport:
    """Compare `quantized` with `model`; see `QuantizedModel.report`."""
    model = quantized.source if model is None else model
    if not isinstance(model, Model):
        got = "it was loaded from a file" if model is None else f"got {type(model).__name__}"
        raise TypeError(f"model must be the float network that was quantised, {got}")
    plan, values = model.plan, quantized.values
    widths = plan.values["width"].tolist()
    if any(v.of >= len(widths) or widths[v.of] != v.width for v in values if v.of >= 0):
        raise ValueError("model is not the network that was quantised: its values have other widths")
    arrays, n = as_inputs(model, X)
    if not n:
        raise ValueError("X must hold at least one row, got none")
    labels = None if y is None else _labels(y, n, len(quantized.outputs))
    signal, noise = np.zeros(len(values)), np.zeros(len(values))
    scores = [_Score() for _ in quantized.outputs]
    for first in range(0, n, ROWS):
        rows = [x[first : first + ROWS] for x in arrays]
        exact = float_machine(plan, model.arena, rows).values
        ours = zip(quantized.inputs, rows, strict=True)
        data = quantized.run([i.integers(x, values[i.value].q) for i, x in ours])
        for k, value in enumerate(values):
            if value.of >= 0:
                x = exact[value.of].astype(np.float64)
                signal[k] += np.square(x).sum()
                noise[k] += np.square(value.q.real(data[k]) - x).sum()
        for out, score in zip(quantized.outputs, scores, strict=True):
            value, q = values[out.value], data[out.value]
            score.add(value.q.real(q), q, exact[value.of], None if labels is None else labels[first : first + ROWS])
    layers: dict[str, float] = {}
    for value, s, e in zip(values, signal.tolist(), noise.tolist(), strict=True):
        if value.of >= 0:  # of a layer that is called more than once, the last call
            layers[value.name] = math.inf if e == 0 else 10 * math.log10(s / e) if s else -math.inf
    outputs = [score.result(o.name) for o, score in zip(quantized.outputs, scores, strict=True)]
    size = model.count_params() * model.dtype.itemsize
    return QuantizationReport(outputs, layers, quantized.footprint().flash, size)


def _labels(y, n: int, outputs: int) -> np.ndarray:
    labels = as_array("y", y)
    if outputs != 1:
        raise ValueError(f"y can be compared with one output, the model has {outputs}")
    if labels.dtype.kind not in "iu" or labels.shape != (n,):
        raise ValueError(f"y must be {n} class numbers, got {labels.dtype} of shape {labels.shape}")
    return labels


class _Score:
    """Adds up what is said of one output."""

    def __init__(self):
        self.largest, self.squares, self.size, self.rows = 0.0, 0.0, 0, 0
        self.same = self.right = self.float_right = 0
        self.labelled = False

    def add(self, real, integers, exact, labels) -> None:
        error = np.abs(real.astype(np.float64) - exact)
        self.largest = max(self.largest, float(error.max()))
        self.squares += float(np.square(error).sum())
        self.size += error.size
        self.rows += len(error)
        ours, theirs = integers.argmax(axis=1), exact.argmax(axis=1)
        self.same += int((ours == theirs).sum())
        if labels is not None:
            self.labelled = True
            self.right += int((ours == labels).sum())
            self.float_right += int((theirs == labels).sum())

    def result(self, name: str) -> OutputReport:
        rms = math.sqrt(self.squares / self.size)
        shares = (self.right / self.rows, self.float_right / self.rows) if self.labelled else (None, None)
        return OutputReport(name, self.largest, rms, self.same / self.rows, *shares)
