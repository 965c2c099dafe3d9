"""Checkpoints of a trainer: a model file with the optimizer's state and the place in the run added to it."""

from __future__ import annotations

import numpy as np

from . import clip, files, optimizers
from .losses import External
from .plan import pack, unpack

__all__ = ["load", "save"]


def save(trainer, path) -> None:
    """Write `trainer` to `path`; see `Trainer.save_checkpoint`."""
    weights = trainer.model.weights
    tensors = {}
    for i, slot in enumerate(trainer._slots):
        for weight, record in zip(weights, weights.records, strict=True):
            tensors[f"optimizer.{i}.{weight.name}"] = unpack(slot, record)
    for name, values in trainer.history.history.items():
        tensors[f"history.{name}"] = np.array(values, np.float64)
    run = trainer._fit.run if trainer._fit else trainer._pending
    remembered = []
    if trainer._fit:
        for i, callback in enumerate(trainer._fit.callbacks):
            values, arrays = callback.state() if hasattr(callback, "state") else ({}, {})
            remembered.append({"kind": type(callback).__name__, "values": values, "arrays": sorted(arrays)})
            tensors.update({f"callback.{i}.{name}": np.asarray(array) for name, array in arrays.items()})
    heads = trainer.heads
    state = {
        "loss": [_config(loss) for loss in heads.losses],
        "loss_weights": heads.weights,
        "metrics": [[m.config() for m in wanted] for wanted in heads.metrics],
        "optimizer": trainer.optimizer.config(),
        "rule": trainer._rule,
        "clip": clip.config(trainer.clip),
        "backend": trainer.backend,
        "n_threads": trainer.n_threads,
        "random_state": trainer.random_state,
        "trainable": [layer.trainable for layer in trainer.model.layers],
        "epoch": trainer.epoch,
        "step": trainer.step,
        "history": list(trainer.history.history),
        "run": {k: v for k, v in run.items() if k != "callbacks"} if run else None,
        "callbacks": remembered,
    }
    files.save_checkpoint(path, trainer.model, state, tensors)


def _config(loss):
    if loss is None:
        return None
    return {"name": "external"} if isinstance(loss, External) else loss.config()


def load(path, loss=None, learning_rate=None, backend=None, n_threads=None):
    """Return the trainer written to `path`; see `Trainer.resume`."""
    from .trainer import Trainer

    model, state, tensors = files.load_checkpoint(path)
    try:
        return _trainer(Trainer, model, state, tensors, loss, learning_rate, backend, n_threads)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{path}: the checkpoint's state is damaged ({type(error).__name__}: {error})") from error


def _trainer(Trainer, model, state, tensors, loss, learning_rate, backend, n_threads):
    names = [model.names[v.layer] for v in model.outputs]
    saved = dict(zip(names, state["loss"], strict=True))
    if loss is None:
        lost = [name for name, config in saved.items() if config == {"name": "external"}]
        if lost:
            raise ValueError(f"the loss of {lost[0]!r} was an object of yours: give it again, resume(path, loss=...)")
        loss = saved
    for layer, trainable in zip(model.layers, state["trainable"], strict=True):
        layer.trainable = bool(trainable)
    trainer = Trainer(
        model,
        loss,
        optimizers.from_config(state["optimizer"], learning_rate),
        dict(zip(names, state["metrics"], strict=True)),
        state["clip"] or None,
        loss_weights=dict(zip(names, state["loss_weights"], strict=True)),
        backend=backend or state["backend"],
        n_threads=n_threads or state["n_threads"] or None,
        random_state=state["random_state"],
    )
    trainer.epoch, trainer.step = int(state["epoch"]), int(state["step"])
    trainer.history.history = {name: tensors[f"history.{name}"].tolist() for name in state["history"]}
    if state["rule"] == trainer._rule:
        for i, slot in enumerate(trainer._slots):
            for weight, record in zip(model.weights, model.weights.records, strict=True):
                pack(slot, record, tensors[f"optimizer.{i}.{weight.name}"])
    run = state["run"]
    if run is not None:
        if not {"epochs", "first", "batch_size", "shuffle", "batch", "sums", "print", "stopped"} <= run.keys():
            raise ValueError("the checkpoint's state is damaged: the run is incomplete")
        run["callbacks"] = [
            (c["kind"], c["values"], {name: tensors[f"callback.{i}.{name}"] for name in c["arrays"]})
            for i, c in enumerate(state["callbacks"])
        ]
        trainer._pending = run
    return trainer
