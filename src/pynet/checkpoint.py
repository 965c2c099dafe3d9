"""Checkpoints of a trainer: a model file with the optimizer's state and the place in the run added to it."""

from __future__ import annotations

import threading

import numpy as np

from . import clip, files, optimizers
from ._check import integer
from .compact_dense import compact_names
from .heads import output_names
from .losses import External
from .plan import pack, unpack

__all__ = ["load", "save"]

MAX_COUNT = 1 << 62  # epochs, steps


def save(trainer, path) -> None:
    """Write `trainer` to `path`; see `Trainer.save_checkpoint`."""
    fit = trainer._fit
    if fit and (fit.torn or fit.thread != threading.get_ident()):
        raise RuntimeError(
            "the trainer is in the midst of a fit, where its state is in pieces: save_checkpoint is for callbacks and "
            "between fits; from a signal handler or another thread set a flag that a callback's on_slice_end looks at"
        )
    weights = trainer.model.weights
    tensors = {}
    for i, slot in enumerate(trainer._slots):
        for weight, record in zip(weights, weights.records, strict=True):
            tensors[f"optimizer.{i}.{weight.name}"] = unpack(slot, record)
    for name, values in trainer.history.history.items():
        tensors[f"history.{name}"] = np.array(values, np.float64)
    run = trainer._fit.run if trainer._fit else trainer._pending
    remembered = []
    for i, (kind, values, arrays) in enumerate(_memories(trainer)):
        remembered.append({"kind": kind, "values": values, "arrays": sorted(arrays)})
        tensors.update({f"callback.{i}.{name}": np.asarray(array) for name, array in arrays.items()})
    if run and run["sums"] is not None:
        tensors["run.sums"] = np.array(run["sums"], np.float64)
    mark, arrays = search_state(trainer._search)
    tensors.update({f"search.{name}": array for name, array in arrays.items()})
    heads = trainer.heads
    state = {
        "loss": [_config(loss) for loss in heads.losses],
        "loss_weights": heads.weights,
        "metrics": [[m.config() for m in wanted] for wanted in heads.metrics],
        "optimizer": trainer.optimizer.config(),
        "rule": trainer._rule,
        "search": mark,
        "clip": clip.config(trainer.clip),
        "backend": trainer.backend,
        "n_threads": trainer.n_threads,
        "random_state": trainer.random_state,
        "trainable": [layer.trainable for layer in trainer.model.layers],
        "compact": compact_names(trainer.model),
        "rate_factors": [layer.rate_factor for layer in trainer.model.layers],
        "epoch": trainer.epoch,
        "step": trainer.step,
        "history": list(trainer.history.history),
        "run": {k: v for k, v in run.items() if k not in ("callbacks", "sums")} if run else None,
        "callbacks": remembered,
    }
    files.save_checkpoint(path, trainer.model, state, tensors)


def _memories(trainer) -> list:
    """Return (class name, values, arrays) of each callback: of the fit under way, or of the one to be finished."""
    if not trainer._fit:
        return (trainer._pending or {}).get("callbacks", [])
    states = [c.state() if hasattr(c, "state") else ({}, {}) for c in trainer._fit.callbacks]
    return [(type(c).__name__, *state) for c, state in zip(trainer._fit.callbacks, states, strict=True)]


def _config(loss):
    if loss is None:
        return None
    return {"name": "external"} if isinstance(loss, External) else loss.config()


def load(path, loss=None, learning_rate=None, backend=None, n_threads=None, kind=None):
    """Return the trainer written to `path`; see `Trainer.resume`.  `kind`: its class, default Trainer."""
    from .trainer import Trainer

    model, state, tensors = files.load_checkpoint(path)
    try:
        return _trainer(kind or Trainer, model, state, tensors, loss, learning_rate, backend, n_threads)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"{path}: the checkpoint's state is damaged ({type(error).__name__}: {error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _trainer(Trainer, model, state, tensors, loss, learning_rate, backend, n_threads):
    if state.get("compact"):
        model = model.compact(state["compact"])
    names = output_names(model)
    saved = dict(zip(names, state["loss"], strict=True))
    if loss is None:
        lost = [name for name, config in saved.items() if config == {"name": "external"}]
        if lost:
            raise ValueError(f"the loss of {lost[0]!r} was an object of yours: give it again, resume(path, loss=...)")
        loss = saved
    for layer, trainable in zip(model.layers, state["trainable"], strict=True):
        layer.trainable = bool(trainable)
    for layer, factor in zip(model.layers, state.get("rate_factors") or [1.0] * len(model.layers), strict=True):
        layer.rate_factor = factor
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
    trainer.epoch, trainer.step = (integer(name, state[name], 0, MAX_COUNT) for name in ("epoch", "step"))
    for name in state["history"]:
        values = tensors[f"history.{name}"]
        if values.ndim != 1 or len(values) > trainer.epoch:
            raise ValueError(f"tensor 'history.{name}' has shape {values.shape} after {trainer.epoch} epochs")
        trainer.history.history[name] = values.tolist()
    if state["rule"] == trainer._rule:
        for i, slot in enumerate(trainer._slots):
            for weight, record in zip(model.weights, model.weights.records, strict=True):
                name, shape = f"optimizer.{i}.{weight.name}", (int(record["rows"]), int(record["cols"]))
                if tensors[name].shape != shape:
                    raise ValueError(f"tensor {name!r} must have shape {shape}, got {tensors[name].shape}")
                pack(slot, record, tensors[name])
    trainer._search = search_of(state.get("search"), tensors)
    run = state["run"]
    if run is not None:
        run["sums"] = tensors["run.sums"].tolist() if "run.sums" in tensors else None
        _check_run(run)
        run["callbacks"] = [
            (c["kind"], c["values"], {name: tensors[f"callback.{i}.{name}"] for name in c["arrays"]})
            for i, c in enumerate(state["callbacks"])
        ]
        trainer._pending = run
    return trainer


def search_state(search: dict | None) -> tuple[list | None, dict[str, np.ndarray]]:
    """Return what is kept of a search of second order: JSON, and arrays."""
    return (search["mark"], search["arrays"]) if search else (None, {})


def search_of(mark, tensors: dict) -> dict | None:
    """Return what `search_state` was given; what does not fit the model is dropped when a fit begins."""
    arrays = {name.removeprefix("search."): a for name, a in tensors.items() if name.startswith("search.")}
    return {"mark": mark, "arrays": {name: a.astype(np.float64) for name, a in arrays.items()}} if mark else None


def _check_run(run: dict) -> None:
    """Refuse a run (see fit.begin) that no fit can have written."""
    first = integer("first", run["first"], 0, MAX_COUNT)
    integer("epochs", run["epochs"], first, MAX_COUNT)
    integer("batch_size", run["batch_size"], 1, 1 << 30)
    batch, sums = integer("batch", run["batch"], 0, MAX_COUNT), run["sums"]
    if bool(batch) != (sums is not None) or (sums and not all(isinstance(s, float) for s in sums)):
        raise TypeError(f"after {batch} batches the sums are {sums!r}")
    if run.setdefault("shards", None) is not None:
        integer("shards", run["shards"], 1, 1 << 20)
    for name, kinds in (("shuffle", bool), ("stopped", bool), ("print", (str, type(None)))):
        if not isinstance(run[name], kinds):
            raise TypeError(f"{name} is {run[name]!r}")
