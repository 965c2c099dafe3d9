"""`pynet train`: from a table to a saved model."""

from __future__ import annotations

import os
import time
import warnings

import numpy as np

import pynet as pn

from . import datasets, progress, tabular
from ._check import unknown
from .cli_show import (
    check_apart,
    describe,
    describe_training,
    kept,
    report,
    show,
    show_columns,
    show_data,
    what_next,
    write_page,
)
from .tables.columns import Frame
from .tables.files import PARQUET_ENDINGS, TEXT_ENDINGS, read_frame
from .tables.model import TableModel
from .tables.network import HEADS, LOSSES, check_task, head_layer, hidden_layers
from .tables.table import Table, fold_target_scaling, scaled_target, target_scaling

__all__ = ["LOSSES", "data_for", "fingerprint", "is_frame_file", "split_parts", "train"]

# What is taken where an option is not given: for arrays; for tables TableModel knows better.
ARRAYS = {
    "activation": "relu", "dropout": 0.0, "epochs": 200, "patience": 15, "batch_size": 32, "optimizer": "adam",
}  # fmt: skip
HIDDEN = {"classes": [256], "numbers": [64, 64]}
# Options that decide what is computed: a resumed run must repeat them.
SETTINGS = ("data", "target", "task", "test", "validation", "seed", "hidden", "activation", "l2", "dtype", "patience",
            "batch_size", "optimizer", "learning_rate", "loss", "epochs", "dropout", "scaling", "embed",
            "category")  # fmt: skip
MIN_ROWS = 10


def train(options) -> None:
    """Run the command with the options of cli.py."""
    kinds = dict.fromkeys(options.category or (), "category")
    table = data_for(options.data, options.target, kinds=kinds)
    _check_options(len(table.X), options)
    parts = split_parts(len(table.X), options.test, options.validation, options.seed)
    maker = _maker(options, table, len(parts["train"]))
    settings = _settings(options, table)
    output = options.output or os.path.splitext(os.path.basename(options.data))[0] + ".safetensors"
    checkpoint = os.path.splitext(output)[0] + ".checkpoint.safetensors"
    _try_to_write(output)
    check_apart(output, data=options.data)
    page = _page(options, table, output)
    classes = table.labels()[1] if settings["task"] == "classes" else None
    show_data(options, table, classes, parts)

    if options.resume:
        trainer = _resume(options, checkpoint, settings)
        maker = maker.resumed(trainer.model)
    else:
        trainer = maker.begin(table, parts["train"], settings)
    show_columns(maker)
    show("model", describe(maker))
    show("training", describe_training(options, settings, trainer))
    if not options.quiet:
        print(flush=True)

    best = pn.EarlyStopping(patience=options.patience or options.epochs, restore_best_weights=True)
    saver = pn.ModelCheckpoint(_escaped(checkpoint), every_seconds=options.checkpoint_every)
    learned, chosen = (table.rows(parts[name]) for name in ("train", "validation"))
    validation = (maker.encode(chosen.X), maker.targets(chosen)) if len(chosen.X) else None
    began = time.monotonic()
    callbacks = [best, saver] if validation else [saver]
    _fit(trainer, maker.encode(learned.X), maker.targets(learned), validation, options, callbacks)
    seconds = time.monotonic() - began
    if trainer.history.interrupted:
        there = os.path.exists(checkpoint)
        raise KeyboardInterrupt("the same command with --resume continues" if there else "nothing was saved")

    maker.finish()
    maker.save(output)
    if os.path.exists(checkpoint):
        os.unlink(checkpoint)
    if not options.quiet:
        print()
    show("trained", f"{len(trainer.history.history['loss'])} epochs in {progress.seconds_text(seconds)}{kept(best)}")
    if len(parts["test"]):
        report("test", maker, table.X[parts["test"]], table, parts["test"])
    show("saved", f"{output} ({progress.quantity(os.path.getsize(output))}B)")
    if page is not None:
        held = next(name for name in ("test", "validation", "train") if len(parts[name]))
        write_page(page, maker, trainer, table.rows(parts[held]), held, settings)
    what_next(output, options.data, table, classes)


# ---- before ------------------------------------------------------------------------------------


def is_frame_file(data: str) -> bool:
    """Whether the columns of a file may be of any kind."""
    return os.path.splitext(data)[1].lower() in (*TEXT_ENDINGS, *PARQUET_ENDINGS)


def data_for(
    data: str, target: str | None = None, features: list[str] | None = None, need_target: bool = True, kinds=None
) -> Table:
    """Return the table that DATA of the command line names; kinds: columns may be of any kind, and these are known."""
    if kinds and not is_frame_file(data):
        raise ValueError(f"{data}: its columns are numbers, --category is for CSV and Parquet files")
    if data == "digits":
        if target not in (None, "digit"):
            raise ValueError(f"the target of digits is called 'digit', got {target!r}")
        X, y = datasets.load_digits()
        return Table(X, [f"pixel_{k}" for k in range(64)], y, "digit")
    if not os.path.splitext(data)[1] and not os.path.exists(data):
        raise unknown("data", data, ["digits", "FILE.csv", "FILE.parquet", "FILE.npz"])
    if kinds is None or not is_frame_file(data):
        return tabular.read_table(data, target, features, need_target)
    frame = read_frame(data, kinds, needed=target if need_target else None).as_kinds(kinds)
    if target is None and need_target:
        target = frame.names[-1]
    there = target in frame.columns or need_target
    return Table.of_frame(frame, target if there else None, features)


def _check_options(n: int, options) -> None:
    for name in ("test", "validation"):
        if not 0.0 <= getattr(options, name) < 1.0:
            raise ValueError(f"--{name} must be a share >= 0 and < 1, got {getattr(options, name)}")
    for name, low in (("epochs", 1), ("patience", 0), ("batch_size", 1), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and value < low:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {low}, got {value}")
    if n < MIN_ROWS:
        raise ValueError(f"the data has {n} rows, expected at least {MIN_ROWS}")


def split_parts(n: int, test: float, validation: float, seed: int) -> dict[str, np.ndarray]:
    """Return the row numbers of the parts "train", "validation" and "test"."""
    rest, held = datasets.split_rows(n, test, seed) if test else (np.arange(n), np.arange(0))
    chosen = np.arange(0)
    if validation:
        kept, chosen = datasets.split_rows(len(rest), validation, seed + 1)
        rest, chosen = rest[kept], rest[chosen]
    return {"train": rest, "validation": chosen, "test": held}


def _maker(options, table, n: int):
    """Return what makes the model; options that were not given get their values."""
    if options.task == "auto":
        options.task = "classes" if table.looks_like_classes() else "numbers"
        options.task_was_guessed = True
    full_batch = options.optimizer is not None and pn.optimizers.get(options.optimizer).full_batch
    if full_batch and options.learning_rate is not None:
        raise ValueError(f"--learning-rate: {options.optimizer} has none")
    if isinstance(table.X, Frame):
        names = ("task", "activation", "dropout", "scaling", "embed", "optimizer", "learning_rate")
        given = {name: value for name in names if (value := getattr(options, name)) is not None}
        maker = TableModel(
            hidden=options.hidden, l2=options.l2, loss=options.loss, batch_size=options.batch_size,
            epochs=options.epochs, patience=options.patience or None, dtype=options.dtype, random_state=options.seed,
            backend=options.backend, n_threads=options.threads, **given,
        )  # fmt: skip
        options.batch_size, options.epochs, patience = maker.sizes(n)
        options.patience = patience if options.patience is None else options.patience
        for name in ("hidden", *names):
            setattr(options, name, getattr(maker, name))
        return maker
    for name in ("scaling", "embed"):
        if getattr(options, name) is not None:
            raise ValueError(f"{options.data}: --{name} is for CSV and Parquet files")
    for name, value in ARRAYS.items():
        if getattr(options, name) is None:
            setattr(options, name, n if name == "batch_size" and full_batch else value)
    options.hidden = HIDDEN[options.task] if options.hidden is None else options.hidden
    return _Arrays(options)


def _settings(options, table) -> dict:
    check_task(options.task, table)
    loss = options.loss or LOSSES[options.task][0]
    if loss not in LOSSES[options.task]:
        raise unknown(f"loss for {options.task}", loss, LOSSES[options.task])
    settings = {key: getattr(options, key) for key in SETTINGS}
    return {**settings, "loss": loss, "fingerprint": fingerprint(table)}


def fingerprint(table) -> str:
    """Return eight hex digits that tell this data from other data."""
    import binascii

    arrays = [table.y] if isinstance(table.X, Frame) else [table.X, table.y]
    crc = table.X.fingerprint() if isinstance(table.X, Frame) else 0
    for array in arrays:
        crc = binascii.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def _try_to_write(output: str, option: str = "--output") -> None:
    """Find out now, not after the training, that a file cannot be written."""
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder):
        raise FileNotFoundError(2, f"the directory of {option} does not exist", folder)
    if os.path.isdir(output):
        raise IsADirectoryError(21, f"{option} is a directory, expected a file", output)
    if not os.access(folder, os.W_OK):
        raise PermissionError(13, f"the directory of {option} cannot be written", folder)


def _page(options, table, output: str) -> str | None:
    """Return where the report goes: where --report says, for tables beside the model."""
    if options.report == "none" or (options.report is None and not isinstance(table.X, Frame)):
        return None
    page = os.path.splitext(output)[0] + ".html" if options.report is None else options.report
    _try_to_write(page, "--report")
    check_apart(page, data=options.data, model=output)
    return page


# ---- the model and its training ----------------------------------------------------------------


class _Arrays:
    """Makes models of arrays; does for them what TableModel does for tables."""

    def __init__(self, options, network=None) -> None:
        self.options, self.network = options, network

    def resumed(self, network) -> _Arrays:
        return _Arrays(self.options, network)

    @property
    def metadata(self) -> dict:
        return self.network.metadata

    def begin(self, table, rows, settings: dict):
        options = self.options
        shift, scale = tabular.standardisation(table.X[rows])
        classes = table.labels()[1] if options.task == "classes" else None
        width = len(classes) if classes else table.y[:1].size
        layers = [
            pn.Input(table.X.shape[1], shift=shift, scale=scale),
            *hidden_layers(options.hidden, options.activation, options.dropout, options.l2),
            head_layer(options.task, width, options.l2),
        ]
        model = pn.Sequential(layers, dtype=options.dtype, random_state=options.seed)
        names = table.feature_names if sum(map(len, table.feature_names)) < 100_000 else None
        model.metadata = {"target": table.target_name, "features": names, "classes": classes, "training": settings}
        if not classes:
            model.metadata["target_scaling"] = target_scaling(table.y[rows], options.dtype)
        self.network = model
        optimizer = pn.optimizers.get(options.optimizer)
        if options.learning_rate is not None:
            optimizer.learning_rate = options.learning_rate
        return pn.Trainer(
            model,
            loss=settings["loss"],
            optimizer=optimizer,
            metrics=["accuracy" if classes else "r2"],
            backend=options.backend,
            n_threads=options.threads,
            random_state=options.seed,
        )

    def encode(self, X):
        return X

    def targets(self, table):
        """Return labels, or numbers of mean 0 and deviation 1 (on the rows trained on)."""
        classes = self.metadata["classes"]
        return table.labels(classes)[0] if classes else scaled_target(table.y, self.metadata["target_scaling"])

    def finish(self) -> None:
        scaling = self.metadata.pop("target_scaling", None)
        if scaling is not None:
            fold_target_scaling(self.network, HEADS["numbers"], scaling)

    def outputs(self, X):
        return self.network.predict(X)

    def save(self, path: str) -> None:
        self.network.save(path)


def _resume(options, checkpoint: str, settings: dict):
    if not os.path.exists(checkpoint):
        raise FileNotFoundError(2, "no checkpoint to resume from: start without --resume", checkpoint)
    trainer = pn.Trainer.resume(checkpoint, backend=options.backend, n_threads=options.threads)
    before = trainer.model.metadata.get("training")
    if not isinstance(before, dict):
        raise ValueError(f"{checkpoint}: not a checkpoint of `pynet train`")
    for key, value in settings.items():
        if before.get(key) != value:
            name = "the content of the data" if key == "fingerprint" else f"--{key.replace('_', '-')}"
            raise ValueError(
                f"{checkpoint}: {name} was {before.get(key)!r} then and is {value!r} now; repeat the command"
            )
    return trainer


def _fit(trainer, X, y, validation, options, callbacks) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fit interrupted")  # told in other words
        trainer.fit(
            X,
            y,
            epochs=options.epochs,
            batch_size=options.batch_size,
            validation_data=validation,
            callbacks=callbacks,
            verbose=0 if options.quiet else 1,
        )


def _escaped(path: str) -> str:
    return path.replace("{", "{{").replace("}", "}}")
