"""What the training of a TableModel begins with: the encoding, the network, and what trains it."""

from __future__ import annotations

import numpy as np

from .. import _check, optimizers, schedules
from ..files import TABLE
from ..trainer import Trainer
from .encoder import Encoder
from .network import LOSSES, check_task, head_layer, hidden_layers, wired
from .table import Table, class_kind, target_scaling

__all__ = ["begun"]


def begun(model, data: Table, rows: np.ndarray, settings: dict) -> tuple[Trainer, Encoder, dict | None]:
    """Return what trains a new network, the encoding in front of it, and the scaling of a target that is a number.

    `model`: the TableModel that it is for; further arguments and errors as of its `begin`.
    """
    task = model.task
    if task == "auto":
        task = "classes" if data.looks_like_classes() else "numbers"
    check_task(task, data)
    loss = model.loss or LOSSES[task][0]
    if loss not in LOSSES[task]:
        raise _check.unknown(f"loss for {task}", loss, LOSSES[task])
    encoder = Encoder.learn(data.X[rows], model.scaling, model.missing, model.embed, model.knots)
    classes = data.labels()[1] if task == "classes" else None
    layers = hidden_layers(model.hidden, model.activation, model.dropout, model.l2)
    head = head_layer(task, len(classes) if classes else 1, model.l2)
    network = wired(encoder, [*layers, head], model.dtype, model.random_state)
    network.metadata = {
        "target": data.target_name, "features": data.feature_names, "classes": classes, TABLE: encoder.config(),
        "training": settings,
    }  # fmt: skip
    if classes:
        network.metadata["class_kind"] = class_kind(np.asarray(data.y))
    scaling = None
    if task == "numbers":
        scaling = network.metadata["target_scaling"] = target_scaling(np.asarray(data.y)[rows], model.dtype)
    trainer = Trainer(
        network, loss=loss, optimizer=_optimizer(model, len(rows)), metrics=["accuracy" if classes else "r2"],
        backend=model.backend, n_threads=model.n_threads, random_state=model.random_state,
    )  # fmt: skip
    return trainer, encoder, scaling


def _optimizer(model, n: int):
    """Return the optimizer for n rows: one that is given by name learns less and less."""
    optimizer = optimizers.get(model.optimizer)
    if isinstance(model.optimizer, str) and not optimizer.full_batch:
        batch, epochs, _ = model.sizes(n)
        rate = optimizer.learning_rate if model.learning_rate is None else model.learning_rate
        optimizer.learning_rate = _check.number("learning_rate", rate, 0.0)
        optimizer.learning_rate = schedules.Cosine(rate, epochs * -(-n // batch))
    return optimizer
