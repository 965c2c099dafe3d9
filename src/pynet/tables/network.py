"""The network behind the columns of a table, and what a target must be like."""

from __future__ import annotations

import math

import numpy as np

from ..layers import Concat, Dense, Input
from ..model import Model
from ..stochastic import Dropout
from .columns import finite_number
from .encoder import Encoder
from .table import Table

__all__ = ["HEADS", "LOSSES", "TASKS", "check_task", "head_layer", "hidden_layers", "usual_sizes", "wired"]

TASKS = ("auto", "classes", "numbers")
LOSSES = {"classes": ("cross_entropy",), "numbers": ("mse", "mae", "huber", "log_cosh")}
HEADS = {"classes": "classes", "numbers": "numbers"}  # names of the last layer
MAX_TEXT_CLASSES = 1000
STEPS = 4000  # of a training, about


def usual_sizes(n: int, batch: int | None = None) -> tuple[int, int]:
    """Return the batch size, if none is given, and the number of epochs for n rows."""
    if batch is None:
        batch = 2 ** int(math.log2(n / 100)) if n > 100 else 1
        batch = min(max(batch, 32), 256)
    return batch, min(max(round(STEPS / max(-(-n // batch), 1)), 20), 200)


def hidden_layers(widths, activation, dropout: float, l2: float) -> list:
    """Return the hidden layers, one behind the other."""
    layers: list = []
    for width in widths:
        layers.append(Dense(width, activation=activation, l2=l2))
        layers += [Dropout(dropout)] if dropout else []
    return layers


def head_layer(task: str, width: int, l2: float) -> Dense:
    """Return the last layer."""
    return Dense(width, activation="softmax" if task == "classes" else None, l2=l2, name=HEADS[task])


def wired(encoder: Encoder, layers: list, dtype: str, random_state: int) -> Model:
    """Return the network: vectors of the embedded columns beside all others, then the layers."""
    inputs, parts = [], []
    if encoder.plain:
        inputs.append(Input(encoder.width, name="columns"))
        parts.append(inputs[0].output)
    for k, code in enumerate(encoder.embedded):
        inputs.append(Input(code.width, name=f"category_{k + 1}"))
        parts.append(Dense(code.dimensions, use_bias=False, name=f"vectors_{k + 1}")(inputs[-1]))
    value = Concat()(parts) if len(parts) > 1 else parts[0]
    for layer in layers:
        value = layer(value)
    return Model(inputs, value, dtype=dtype, random_state=random_state)


def check_task(task: str, data: Table) -> None:
    """Raise ValueError if the target of a table is not fit for "classes" or "numbers"."""
    y, name = np.asarray(data.y), data.target_name
    texts = y.dtype.kind not in "fiub"
    if task == "numbers" and texts:
        raise ValueError(f"target {name!r} holds texts such as {str(y[0])!r}, expected numbers")
    if task == "classes":
        n = len(data.labels()[1])
        if n < 2:
            raise ValueError(f"target {name!r} has the same class in all rows: nothing to learn")
        if n > MAX_TEXT_CLASSES or (texts and n > max(2, len(y) // 2)):
            raise ValueError(
                f"target {name!r} has {n} different values in {len(y)} rows, too many for classes"
                + (f" ({odd!r} is no number)" if (odd := _odd_one(y) if texts else None) is not None else "")
            )


def _odd_one(texts: np.ndarray) -> str | None:
    return next((str(text) for text in texts if finite_number(str(text)) is None), None)
