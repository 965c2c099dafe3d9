"""`pynet evaluate`, `predict`, `info` and `cpu`: what one does with a saved model."""

from __future__ import annotations

import os
import sys

import numpy as np

import pynet as pn

from . import files, progress
from .cli_show import answers, check_apart, describe, network_of, report, show
from .cli_train import data_for, fingerprint, is_frame_file, split_parts
from .tables.columns import Frame
from .tables.model import ENTRY, TableModel
from .tables.table import Table

__all__ = ["as_arrays", "cpu", "data_of", "evaluate", "info", "load", "predict", "rows_held_out", "training_rows"]

ROWS_ON_SCREEN = 20


def data_of(model, options, need_target: bool):
    """Return the table with the columns that the model wants."""
    known = network_of(model).metadata
    is_digits = options.data == "digits"  # which models of other names may be used with
    target = getattr(options, "target", None) or (None if is_digits else known.get("target"))
    if isinstance(model, TableModel):
        return _columns_of(model, options, target, need_target)
    features = known.get("features")
    if not is_digits and features is None:
        features = None if target else [f"column_{k + 1}" for k in range(model.inputs[0].width)]
    table = data_for(options.data, target, features, need_target)
    width = model.inputs[0].width
    if table.X.shape[1] != width:
        raise ValueError(f"{options.data}: {table.X.shape[1]} features, expected {width} for {options.model}")
    return table


def _columns_of(model: TableModel, options, target: str | None, need_target: bool):
    """Return the table with columns of the kinds that a model of a table has learned from."""
    kinds = model.encoder.kinds if is_frame_file(options.data) else None
    table = data_for(options.data, target, None, need_target, kinds)
    if not isinstance(table.X, Frame):  # of numbers, from other files than the model's own kind
        table.X = Frame.of(table.X, table.feature_names)
    there = set(table.X.columns)
    # those that told nothing may have gone by now, and belong to the fingerprint where they have not
    table.feature_names = model.features if there >= set(model.features) else model.encoder.names
    table.X = table.X.select(table.feature_names)
    return table


def load(options):
    """Return the model, its metadata as far as these commands rely on it checked."""
    model = files.load_model(options.model)
    if ENTRY in model.metadata:
        return pn.load(options.model)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        n = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise ValueError(f"{options.model}: {n}, expected one of each")
    known = model.metadata
    for key, width in (("features", model.inputs[0].width), ("classes", model.outputs[0].width)):
        names = known.get(key)
        if names is not None and not (isinstance(names, list) and len(names) == width and all(map(_is_text, names))):
            raise ValueError(f"{options.model}: the metadata entry {key!r} is not a list of {width} names")
    if not _is_text(known.get("target", "")):
        raise ValueError(f"{options.model}: the metadata entry 'target' is not a name")
    return model


def _is_text(value) -> bool:
    return isinstance(value, str)


def as_arrays(model, table):
    """Return the network of a model of a table, and the table with what goes into it; others as they are."""
    if not isinstance(model, TableModel):
        return model, table
    X = model.encode(table.X)
    if isinstance(X, list):
        raise ValueError(f"a network with {len(X)} inputs: this is for tables without learned vectors (--embed)")
    return model.network, Table(X, table.feature_names, table.y, table.target_name)


def rows_held_out(settings, table) -> np.ndarray | None:
    """Return the rows that `train` with these settings did not train on, if this is the data it had."""
    if not isinstance(settings, dict) or settings.get("fingerprint") != fingerprint(table) or not settings.get("test"):
        return None
    return split_parts(len(table.X), settings["test"], settings.get("validation", 0.0), settings.get("seed", 0))["test"]


def training_rows(model, table) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return rows to work with, rows to measure with, and whether these are apart: the ones held out in training."""
    rows = np.arange(len(table.X))
    held_out = rows_held_out(network_of(model).metadata.get("training"), table)
    return (rows, rows, False) if held_out is None else (np.setdiff1d(rows, held_out), held_out, True)


def evaluate(options) -> None:
    """Print how well a model does."""
    model = load(options)
    table = data_of(model, options, True)
    held_out = rows_held_out(network_of(model).metadata.get("training"), table)
    rows, which = np.arange(len(table.X)), "all rows"
    if held_out is not None and options.all:
        which = "all rows, most of which the model was trained on"
    elif held_out is not None:
        rows, which = held_out, "the rows held out in training"
    show("model", f"{options.model}: {describe(model)}")
    show("data", f"{options.data}: {which}")
    report("result", model, table.X[rows], table, rows)


def predict(options) -> None:
    """Write the answers of a model as CSV."""
    import csv
    import io

    check_apart(options.output, model=options.model, data=options.data)
    model = load(options)
    table = data_of(model, options, False)
    answer = answers(model, table.X)
    classes = network_of(model).metadata.get("classes")
    target = network_of(model).metadata.get("target") or "prediction"
    if classes:
        names = ["row", target, "probability"]
        best = answer.argmax(axis=1)
        columns = [[classes[k] for k in best], [f"{p:.4f}" for p in answer.max(axis=1)]]
        if options.probabilities:
            names = ["row", target, *classes]
            columns = [columns[0], *([f"{p:.6g}" for p in column] for column in answer.T)]
    else:
        width = answer.shape[1]
        names = ["row", target] if width == 1 else ["row", *(f"{target}_{k + 1}" for k in range(width))]
        columns = [[f"{value:.9g}" for value in column] for column in answer.T]

    on_screen = options.output is None and sys.stdout.isatty()
    count = min(len(answer), ROWS_ON_SCREEN) if on_screen else len(answer)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([k + 1, *(column[k] for column in columns)] for k in range(count))
    if options.output is None:
        sys.stdout.write(text.getvalue())
        if count < len(answer):
            sys.stdout.flush()
            print(f"... {len(answer) - count} more rows; --output FILE.csv writes all of them", file=sys.stderr)
    else:
        files.write_atomically(options.output, [text.getvalue().encode()])
        show("saved", f"{options.output} ({len(answer)} rows)")


def info(options) -> None:
    """Print what is in a file."""
    size = f"{progress.quantity(os.path.getsize(options.model))}B"
    tensors, metadata = files.read(options.model, check_finite=False)
    if "pynet" not in metadata:
        show("file", f"{options.model}: {size}, safetensors, not a model of pynet")
        for name, array in tensors.items():
            print(f"  {name:<40} {array.dtype.name:<8} {list(array.shape)}")
        return
    document, _ = files.read_document(options.model)
    trained = "training" in document["metadata"] and document["kind"] != "quantized"
    model = load(options) if trained else pn.load(options.model)
    is_table = isinstance(model, TableModel)
    kind = f"{document['kind']}{' of a table' * is_table}"
    show("file", f"{options.model}: {size}, {kind}, written by pynet {document.get('library')}")
    known = model.metadata if "training" in model.metadata else {}
    if known.get("target"):
        classes = known.get("classes")
        kind = f"{len(classes)} classes: {_some(classes)}" if classes else "numbers"
        show("target", f"{known['target']} ({kind})")
    if known.get("features") and not is_table:  # the summary of a table tells more
        show("features", f"{len(known['features'])}: {_some(known['features'])}")
    if isinstance(known.get("training"), dict):
        keys = ("data", "loss", "optimizer", "batch_size", "seed")
        show("trained", ", ".join(f"{key} {known['training'].get(key)}" for key in keys))
    print()
    model.summary()


def _some(names: list[str]) -> str:
    return ", ".join(str(name) for name in names[:10]) + (" ..." if len(names) > 10 else "")


def cpu(options) -> None:
    """Print what pynet found on this machine."""
    found = pn.cpu_info()
    isas = found.get("isas", {})
    show("in use", str(found.get("isa")))
    show("usable", ", ".join(name for name, usable in isas.items() if usable))
    missing = [name for name, usable in isas.items() if not usable]
    if missing:
        show("not here", ", ".join(missing))
    show("CPUs", str(found.get("cpus")))
    show("threads", str(found.get("threads")))
