"""`pynet train`: from a table to a saved model."""

from __future__ import annotations

import os
import time
import warnings

import numpy as np

import pynet as pn

from . import datasets, progress, tabular
from ._check import unknown

__all__ = ["LOSSES", "data_for", "fingerprint", "report", "show", "train"]

LOSSES = {"classes": ("cross_entropy",), "numbers": ("mse", "mae", "huber", "log_cosh")}
HIDDEN = {"classes": [256], "numbers": [64, 64]}
MAX_TEXT_CLASSES = 1000
# Options that decide what is computed: a resumed run must repeat them.
SETTINGS = ("data", "target", "task", "test", "validation", "seed", "hidden", "activation", "l2", "dtype", "patience",
            "batch_size", "optimizer", "learning_rate", "loss", "epochs")  # fmt: skip


def train(options) -> None:
    """Run the command with the options of cli.py."""
    table = data_for(options.data, options.target)
    parts = _split(len(table.X), options)
    settings = _settings(options, table)
    output = options.output or os.path.splitext(os.path.basename(options.data))[0] + ".safetensors"
    checkpoint = os.path.splitext(output)[0] + ".checkpoint.safetensors"
    _try_to_write(output)
    classes = table.labels()[1] if settings["task"] == "classes" else None
    _show_data(options, table, classes, parts)

    if options.resume:
        trainer = _resume(options, checkpoint, settings)
    else:
        trainer = _begin(options, table, classes, parts, settings)
    model = trainer.model
    show("model", describe(model))
    show("training", _describe_training(options, settings, trainer))
    if not options.quiet:
        print(flush=True)

    X, y = table.X, _targets(table, classes, model.metadata)
    best = pn.EarlyStopping(patience=options.patience or options.epochs, restore_best_weights=True)
    saver = pn.ModelCheckpoint(_escaped(checkpoint), every_seconds=options.checkpoint_every)
    validation = (X[parts["validation"]], y[parts["validation"]]) if len(parts["validation"]) else None
    began = time.monotonic()
    _fit(trainer, X[parts["train"]], y[parts["train"]], validation, options, [best, saver] if validation else [saver])
    seconds = time.monotonic() - began
    if trainer.history.interrupted:
        there = os.path.exists(checkpoint)
        raise KeyboardInterrupt("the same command with --resume continues" if there else "nothing was saved")

    _undo_target_scaling(model)
    model.save(output)
    if os.path.exists(checkpoint):
        os.unlink(checkpoint)
    if not options.quiet:
        print()
    show("trained", f"{len(trainer.history.history['loss'])} epochs in {progress.seconds_text(seconds)}{_kept(best)}")
    if len(parts["test"]):
        report("test", model, table.X[parts["test"]], table, parts["test"])
    show("saved", f"{output} ({progress.quantity(os.path.getsize(output))}B)")
    _what_next(output, options.data, table, classes)


# ---- before ------------------------------------------------------------------------------------


def data_for(data: str, target: str | None = None, features: list[str] | None = None, need_target: bool = True):
    """Return the table that DATA of the command line names."""
    if data == "digits":
        if target not in (None, "digit"):
            raise ValueError(f"the target of digits is called 'digit', got {target!r}")
        X, y = datasets.load_digits()
        return tabular.Table(X, [f"pixel_{k}" for k in range(64)], y, "digit")
    if not os.path.splitext(data)[1] and not os.path.exists(data):
        raise unknown("data", data, ["digits", "FILE.csv", "FILE.npz"])
    return tabular.read_table(data, target, features, need_target)


def _settings(options, table) -> dict:
    task = options.task
    if task == "auto":
        task = "classes" if table.looks_like_classes() else "numbers"
    if task == "numbers" and table.y.dtype.kind not in "fiub":
        raise ValueError(f"target {table.target_name!r} holds texts such as {str(table.y[0])!r}, expected numbers")
    if task == "classes":
        n = len(table.labels()[1])
        if n < 2:
            raise ValueError(f"target {table.target_name!r} has the same class in all rows: nothing to learn")
        if n > MAX_TEXT_CLASSES or (table.y.dtype.kind not in "fiub" and n > max(2, len(table.y) // 2)):
            raise ValueError(
                f"target {table.target_name!r} has {n} different values in {len(table.y)} rows, too many for classes"
                + (f" ({_odd_one(table.y)!r} is no number)" if table.y.dtype.kind not in "fiub" else "")
            )
    loss = options.loss or LOSSES[task][0]
    if loss not in LOSSES[task]:
        raise unknown(f"loss for {task}", loss, LOSSES[task])
    settings = {key: getattr(options, key) for key in SETTINGS}
    hidden = HIDDEN[task] if options.hidden is None else options.hidden
    return {**settings, "task": task, "loss": loss, "hidden": hidden, "fingerprint": fingerprint(table)}


def _odd_one(texts: np.ndarray) -> str:
    return next(str(text) for text in texts if tabular.parse_number(str(text)) is None)


def fingerprint(table) -> str:
    """Return eight hex digits that tell this data from other data."""
    import binascii

    crc = 0
    for array in (table.X, table.y):
        crc = binascii.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def split_parts(n: int, test: float, validation: float, seed: int) -> dict[str, np.ndarray]:
    """Return the row numbers of the parts "train", "validation" and "test"."""
    rest, held = datasets.split_rows(n, test, seed) if test else (np.arange(n), np.arange(0))
    chosen = np.arange(0)
    if validation:
        kept, chosen = datasets.split_rows(len(rest), validation, seed + 1)
        rest, chosen = rest[kept], rest[chosen]
    return {"train": rest, "validation": chosen, "test": held}


def _split(n: int, options) -> dict[str, np.ndarray]:
    for name in ("test", "validation"):
        if not 0.0 <= getattr(options, name) < 1.0:
            raise ValueError(f"--{name} must be a share >= 0 and < 1, got {getattr(options, name)}")
    for name, low in (("epochs", 1), ("patience", 0), ("batch_size", 1), ("seed", 0)):
        if getattr(options, name) is not None and getattr(options, name) < low:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {low}, got {getattr(options, name)}")
    if n < 10:
        raise ValueError(f"the data has {n} rows, expected at least 10")
    parts = split_parts(n, options.test, options.validation, options.seed)
    if options.batch_size is None:
        options.batch_size = len(parts["train"]) if pn.optimizers.get(options.optimizer).full_batch else 32
    return parts


def _try_to_write(output: str) -> None:
    """Find out now, not after the training, that the model cannot be saved."""
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder):
        raise FileNotFoundError(2, "the directory of --output does not exist", folder)
    if os.path.isdir(output):
        raise IsADirectoryError(21, "--output is a directory, expected a file", output)
    if not os.access(folder, os.W_OK):
        raise PermissionError(13, "the directory of --output cannot be written", folder)


# ---- the model and its training ----------------------------------------------------------------


def _begin(options, table, classes, parts, settings):
    shift, scale = tabular.standardisation(table.X[parts["train"]])
    hidden = [pn.Dense(width, activation=options.activation, l2=options.l2) for width in settings["hidden"]]
    if classes:
        head = pn.Dense(len(classes), activation="softmax", l2=options.l2, name="classes")
    else:
        head = pn.Dense(1 if table.y.ndim == 1 else table.y.shape[1], l2=options.l2, name="numbers")
    model = pn.Sequential(
        [pn.Input(table.X.shape[1], shift=shift, scale=scale), *hidden, head],
        dtype=options.dtype,
        random_state=options.seed,
    )
    names = table.feature_names if sum(map(len, table.feature_names)) < 100_000 else None
    model.metadata = {"target": table.target_name, "features": names, "classes": classes, "training": settings}
    if not classes:
        y = table.y[parts["train"]].astype(np.float64)
        deviation = np.atleast_1d(y.std(axis=0))
        model.metadata["target_scaling"] = {
            "shift": np.atleast_1d(y.mean(axis=0)).tolist(),
            "scale": np.where(deviation > 0.0, deviation, 1.0).tolist(),
        }
    return pn.Trainer(
        model,
        loss=settings["loss"],
        optimizer=_optimizer(options),
        metrics=["accuracy" if classes else "r2"],
        backend=options.backend,
        n_threads=options.threads,
        random_state=options.seed,
    )


def _optimizer(options):
    optimizer = pn.optimizers.get(options.optimizer)
    if options.learning_rate is not None and optimizer.full_batch:
        raise ValueError(f"--learning-rate: {options.optimizer} has none")
    if options.learning_rate is not None:
        optimizer.learning_rate = options.learning_rate
    return optimizer


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


def _targets(table, classes, metadata: dict) -> np.ndarray:
    """Return labels, or numbers of mean 0 and deviation 1 (on the rows trained on)."""
    if classes:
        return table.labels(classes)[0]
    scaling = metadata["target_scaling"]
    y = table.y.reshape(len(table.y), -1).astype(np.float64)
    return (y - np.array(scaling["shift"])) / np.array(scaling["scale"])


def _undo_target_scaling(model) -> None:
    """Let the last layer, which is linear, answer in the target's own units."""
    scaling = model.metadata.pop("target_scaling", None)
    if scaling is None:
        return
    shift, scale = np.array(scaling["shift"]), np.array(scaling["scale"])
    weights = model.state_dict()
    weights["numbers.kernel"] = weights["numbers.kernel"].astype(np.float64) * scale
    weights["numbers.bias"] = weights["numbers.bias"].astype(np.float64) * scale + shift
    model.load_state_dict(weights)


def _escaped(path: str) -> str:
    return path.replace("{", "{{").replace("}", "}}")


# ---- what is shown -----------------------------------------------------------------------------


def show(title: str, text: str) -> None:
    """Print one aligned line."""
    print(f"{title:<10}{text}", flush=True)


def _show_data(options, table, classes, parts) -> None:
    rows, features = table.X.shape
    if classes:
        shown = " ".join(classes[:12]) + (" ..." if len(classes) > 12 else "")
        kind = f"{len(classes)} classes ({shown})"
    else:
        kind = f"numbers from {table.y.min():.4g} to {table.y.max():.4g}"
    if options.task == "auto" and table.y.dtype.kind in "fiu" and np.all(table.y == np.round(table.y)):
        kind += ", taken as quantities (or --task classes)" if not classes else ""
    show("data", f"{options.data}: {rows} rows, {features} feature{'s' * (features != 1)}")
    show("target", f"{table.target_name}: {kind}")
    show(
        "split",
        ", ".join(f"{len(part)} {name}" for name, part in parts.items() if len(part)) + f" (seed {options.seed})",
    )


def describe(model) -> str:
    """Return "64 - 256 relu - 10 softmax, 19210 weights, float32" for a chain of layers."""
    chain = []
    for layer in model.layers:
        if isinstance(layer, pn.Dense):
            name = getattr(layer.activation, "name", None) or "identity"
            chain.append(f"{layer.units}" if name == "identity" else f"{layer.units} {name}")
    width = model.inputs[0].width
    return f"{' - '.join([str(width), *chain])}, {model.count_params()} parameters, {np.dtype(model.dtype).name}"


def _describe_training(options, settings, trainer) -> str:
    rate = "" if trainer.optimizer.full_batch else f", learning rate {trainer.optimizer.learning_rate:g}"
    stop = f", stops after {options.patience} without improvement" if options.patience and options.validation else ""
    begun = f", continued after epoch {trainer.epoch}" if options.resume else ""
    return (
        f"{options.optimizer}{rate}, {settings['loss']}, batch {options.batch_size}, "
        f"at most {options.epochs} epochs{stop}{begun}"
    )


def _kept(best) -> str:
    return "" if best.best_epoch is None else f", epoch {best.best_epoch + 1} was the best and is kept"


def report(title: str, model, X: np.ndarray, table, rows: np.ndarray) -> None:
    """Print how well `model` does on these rows of `table`."""
    answer = model.predict(X)
    classes = model.metadata.get("classes")
    if classes:
        labels = table.labels(classes)[0][rows]
        right = int((answer.argmax(axis=1) == labels).sum())
        show(title, f"accuracy {right / len(labels):.2%} ({right} of {len(labels)} right)")
        return
    y = table.y[rows].reshape(len(rows), -1).astype(np.float64)
    error = answer.astype(np.float64) - y
    spread = ((y - y.mean(axis=0)) ** 2).sum()
    r2 = f", R2 {1.0 - (error**2).sum() / spread:.4f}" if spread > 0.0 else ""
    show(title, f"RMSE {np.sqrt((error**2).mean()):.4g}, MAE {np.abs(error).mean():.4g}{r2} ({len(rows)} rows)")


def _what_next(output: str, data: str, table, classes) -> None:
    import shlex

    model, data = shlex.quote(output), shlex.quote(data)
    width = len(classes) if classes else table.y[:1].size
    shapes = (
        f"X [rows, {table.X.shape[1]}] as in the table -> [rows, {width}] {'probabilities' if classes else 'numbers'}"
    )
    print(
        f"\nwhat next\n"
        f"  pynet evaluate {model} {data}\n"
        f"  pynet predict {model} {data}\n"
        f"  pynet info {model}\n"
        f"or in Python\n"
        f"  import pynet as pn\n"
        f"  model = pn.load({output!r})\n"
        f"  model.predict(X)    # {shapes}"
    )
