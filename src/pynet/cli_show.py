"""What the commands print of data, models and results, and the page that `pynet train` writes."""

from __future__ import annotations

import os

import numpy as np

import pynet as pn

from .summary import printable
from .tables.columns import Frame
from .tables.model import TableModel
from .tables.table import judged

__all__ = [
    "answers",
    "check_apart",
    "describe",
    "describe_training",
    "kept",
    "network_of",
    "report",
    "show",
    "show_columns",
    "show_data",
    "what_next",
    "write_page",
]


def show(title: str, text: str) -> None:
    """Print one aligned line; names that come from data neither break it nor tell a terminal what to do."""
    print(f"{title:<10}{printable(text)}", flush=True)


def check_apart(path: str | None, **files: str | None) -> None:
    """Raise ValueError if writing `path` would overwrite one of these files, named by what they are."""
    for what, other in files.items():
        if path is None or other is None:
            continue
        linked = os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)
        if linked or os.path.realpath(path) == os.path.realpath(other):
            raise ValueError(f"{path}: the {what} itself would be lost, choose another name")


def show_data(options, table, classes, parts) -> None:
    """Print how many rows there are, what the target is, and which rows are for what."""
    rows, features = table.X.shape
    guessed = getattr(options, "task_was_guessed", False)
    if classes:
        shown = " ".join(classes[:12]) + (" ..." if len(classes) > 12 else "")
        kind = f"{len(classes)} classes ({shown})"
    else:
        kind = f"numbers from {float(table.y.min()):.4g} to {float(table.y.max()):.4g}"
    if guessed and table.y.dtype.kind in "fiu" and np.all(table.y == np.round(table.y)):
        kind += ", taken as quantities (or --task classes)" if not classes else ""
    show("data", f"{options.data}: {rows} rows, {features} feature{'s' * (features != 1)}")
    show("target", f"{table.target_name}: {kind}")
    show(
        "split",
        ", ".join(f"{len(part)} {name}" for name, part in parts.items() if len(part)) + f" (seed {options.seed})",
    )


def show_columns(maker) -> None:
    """Print what kinds of columns a table has, and which of them tell nothing."""
    if not isinstance(maker, TableModel):
        return
    codes = maker.encoder.codes
    for kind, what in (("number", "numbers"), ("category", "texts"), ("date", "dates")):
        names = [_name_of(code) for code in codes if code.kind == kind]
        if names:
            show(what, ", ".join(names[:16]) + (f" and {len(names) - 16} more" if len(names) > 16 else ""))
    for name, why in maker.encoder.left_out.items():
        show("left out", f"{name}: {why}")


def _name_of(code) -> str:
    return f"{code.name} ({len(code.levels)})" if code.kind == "category" else code.name


def network_of(model):
    """Return the network of a model of a table, or of what `train` makes; any other model as it is."""
    return getattr(model, "network", model)


def answers(model, X) -> np.ndarray:
    """Return what a model of any kind makes of the features of a table."""
    return model.outputs(X) if hasattr(model, "network") else model.predict(X)


def describe(model) -> str:
    """Return "64 - 256 relu - 10 softmax, 19210 weights, float32" for a chain of layers."""
    chain = []
    network = network_of(model)
    for layer in network.layers:
        if isinstance(layer, pn.Dense) and not network.names[layer].startswith("vectors_"):
            name = getattr(layer.activation, "name", None) or "identity"
            chain.append(f"{layer.units}" if name == "identity" else f"{layer.units} {name}")
    width = str(sum(value.width for value in network.inputs))
    if isinstance(model, TableModel):
        width = f"{len(model.encoder.codes)} columns - {width} numbers"
    return f"{' - '.join([width, *chain])}, {network.count_params()} parameters, {np.dtype(network.dtype).name}"


def describe_training(options, settings, trainer) -> str:
    """Return optimizer, rate, loss, batch size and epochs in words."""
    rate = trainer.optimizer.learning_rate
    if rate is not None:
        rate = f"learning rate {rate.initial:g} falling to 0" if hasattr(rate, "initial") else f"learning rate {rate:g}"
    stop = f", stops after {options.patience} without improvement" if options.patience and options.validation else ""
    begun = f", continued after epoch {trainer.epoch}" if options.resume else ""
    return (
        f"{', '.join(filter(None, [options.optimizer, rate, settings['loss']]))}, batch {options.batch_size}, "
        f"at most {options.epochs} epochs{stop}{begun}"
    )


def kept(best) -> str:
    """Return which epoch was the best, in words; "" where nothing tells."""
    return "" if best.best_epoch is None else f", epoch {best.best_epoch + 1} was the best and is kept"


def report(title: str, model, X, table, rows: np.ndarray) -> None:
    """Print how well `model` does on these rows of `table`."""
    classes = network_of(model).metadata.get("classes")
    found = judged(answers(model, X), table.rows(rows), classes)
    if classes:
        show(title, f"accuracy {found['accuracy']:.2%} ({found['right']} of {len(rows)} right)")
        return
    r2 = f", R2 {found['r2']:.4f}" if found["r2"] == found["r2"] else ""
    show(title, f"RMSE {found['rmse']:.4g}, MAE {found['mae']:.4g}{r2} ({len(rows)} rows)")


def what_next(output: str, data: str, table, classes) -> None:
    """Print commands and lines of Python for the model that was saved."""
    import shlex

    model, path = shlex.quote(output), shlex.quote(data)
    width = len(classes) if classes else table.y[:1].size
    call = f"model.predict(X)    # X [rows, {table.X.shape[1]}] as in the table -> [rows, {width}] "
    call += "probabilities" if classes else "numbers"
    if isinstance(table.X, Frame):
        call = f"model.predict({data!r})    # or a DataFrame -> [rows] {'classes' if classes else 'numbers'}"
    print(
        f"\nwhat next\n"
        f"  pynet evaluate {model} {path}\n"
        f"  pynet predict {model} {path}\n"
        f"  pynet info {model}\n"
        f"or in Python\n"
        f"  import pynet as pn\n"
        f"  model = pn.load({output!r})\n"
        f"  {call}"
    )


# ---- the page --------------------------------------------------------------------------------------------------------


def write_page(path: str, maker, trainer, held, part: str, settings: dict) -> None:
    """Write the report of a training, or say how to get one."""
    try:
        from .plot.style import module
        from .report import write_html

        module("matplotlib")  # before what takes a while
        classes = maker.metadata["classes"]
        ranked = isinstance(held.X, Frame) and len(held.X) > 1
        importance = maker.permutation_importance(held) if ranked else None
        y = held.labels(classes)[0] if classes else held.y
        answer = maker.outputs(held.X)
        write_html(
            path,
            title=f"{held.target_name}: {os.path.basename(settings['data'])}",
            model=maker.network,
            history=trainer.history,
            task=settings["task"],
            y_true=y,
            prediction=answer if classes or held.y.ndim == 2 else answer[:, 0],
            classes=classes,
            importance=importance,
            settings={"rows looked at": f"{len(y)} ({part})", **_shown(settings), **_kinds_of_columns(maker)},
        )
    except ImportError as error:
        show("report", f"none: {error}")
        return
    show("report", path)


def _shown(settings: dict) -> dict:
    """Return what a reader wants to know of the settings."""
    return {key: value for key, value in settings.items() if value is not None and key != "fingerprint"}


def _kinds_of_columns(maker) -> dict:
    """Return what becomes of each column of a table."""
    if not isinstance(maker, TableModel):
        return {}
    return {f"column {code.name}": code.told() for code in maker.encoder.codes[:30]}
