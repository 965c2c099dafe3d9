"""Callbacks that write down what a fit computes: as lines of JSON, or into the tools that others have.

The tools are not imported: a logger calls the methods of the object that it is given, and any object with such methods
will do.  Every logger numbers the epochs as `History.epoch` and the callbacks do, from 0.  They remember nothing that a
checkpoint would have to hold: the number of an epoch says where a line or a point belongs.  So a fit that is resumed
goes on in the same file, run or study.
"""

from __future__ import annotations

import os
import time

from ._safetensors import write_atomically
from .callbacks import Callback, check_monitor, check_monitored

__all__ = ["JSONLines", "MLflow", "OptunaPruning", "TensorBoard"]

NOT_JSON = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}  # as texts, as in the JSON of Protocol Buffers


class JSONLines(Callback):
    """Write one JSON object a line after every epoch: epoch, step, seconds, and everything of the logs.

    Parameters
    ----------
    path : str or os.PathLike
        A fit that begins with epoch 0 begins the file anew.  One that goes on with a later epoch, resumed or a second
        fit of the same trainer, keeps the lines of the epochs before and goes on behind them: lines of epochs that a
        killed run had done after its last checkpoint are dropped, for they are done again.

    Notes
    -----
    ``{"epoch": 0, "step": 40, "seconds": 0.0123, "loss": 0.93, "val_loss": 0.71}``: `step` counts the updates so far,
    `seconds` are those of the epoch with its validation.  A number that JSON has not is a text: "NaN", "Infinity",
    "-Infinity"; `read` and Python's float make numbers of them.

    The file is opened for each line, which is written by one call of the system, so that it is there, for everybody,
    as soon as the epoch is over.  A killed run leaves whole lines, and at the worst a torn one at the end, which `read`
    drops.  (What a power cut leaves depends on the file system: lines are not synced to the disk.)

    Raises
    ------
    TypeError
        `path` is no path.
    OSError
        In fit: the file cannot be written.
    ValueError
        In a fit that goes on: the file is none that this logger wrote.
    """

    def __init__(self, path) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be a path or a text, got {type(path).__name__}")
        self.path = os.path.abspath(os.fsdecode(path))  # a program that changes its directory goes on in the same file
        self._begun = 0.0

    def on_fit_begin(self, trainer) -> None:
        kept = []
        if trainer.epoch and os.path.exists(self.path):
            before = self.read(self.path)
            if not all(isinstance(line.get("epoch"), int) and _are_numbers(line.values()) for line in before):
                raise ValueError(f"{self.path}: these are no lines that this logger wrote, choose another file")
            kept = [line for line in before if line["epoch"] < trainer.epoch]
        write_atomically(self.path, [_line(line) for line in kept])
        self._begun = time.perf_counter()

    def on_epoch_begin(self, trainer, epoch) -> None:
        self._begun = time.perf_counter()

    def on_epoch_end(self, trainer, epoch, logs) -> None:
        seconds = round(time.perf_counter() - self._begun, 6)
        line = _line({"epoch": epoch, "step": int(trainer.step), "seconds": seconds, **logs})
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            if os.write(handle, line) != len(line):
                raise OSError(28, "No space left on device", self.path)
        finally:
            os.close(handle)

    @staticmethod
    def read(path) -> list[dict]:
        """Return the lines of a file as dicts, with "NaN", "Infinity" and "-Infinity" as numbers again.

        Parameters
        ----------
        path : str or os.PathLike

        Raises
        ------
        OSError
            The file cannot be read.
        ValueError
            A line is no JSON object; only what stands behind the last end of a line may be torn, and is dropped.
        """
        import json

        with open(path, "rb") as file:
            *lines, _ = file.read().split(b"\n")
        back = {text: float(text) for text in NOT_JSON.values()}
        result = []
        for k, line in enumerate(lines, 1):
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{os.fsdecode(path)}, line {k}, is not JSON: {error}") from None
            if not isinstance(found, dict):
                raise ValueError(f"{os.fsdecode(path)}, line {k}, is no JSON object but {type(found).__name__}")
            result.append({key: back.get(x, x) if isinstance(x, str) else x for key, x in found.items()})
        return result


def _are_numbers(values) -> bool:
    return all(isinstance(value, (int, float)) for value in values)


def _line(values: dict) -> bytes:
    import json

    plain = {}
    for key, value in values.items():
        number = value if isinstance(value, int) else float(value)
        plain[key] = NOT_JSON.get(str(number), number)
    return (json.dumps(plain, allow_nan=False) + "\n").encode()


class TensorBoard(Callback):
    """Draw losses and metrics in TensorBoard, those of training and of validation rows side by side.

    Parameters
    ----------
    writer : object with ``add_scalar(tag, value, step)``
        ``torch.utils.tensorboard.SummaryWriter``, or tensorboardX's.  It stays open: it is yours.

    Notes
    -----
    Tags are "loss/train" and "loss/validation"; the step is the epoch, from 0.

    Raises
    ------
    TypeError
        `writer` has no such method.
    """

    def __init__(self, writer) -> None:
        self.writer = _with_method("writer", writer, "add_scalar")

    def on_epoch_end(self, trainer, epoch, logs) -> None:
        for name, value in logs.items():
            part = "validation" if name.startswith("val_") else "train"
            self.writer.add_scalar(f"{name.removeprefix('val_')}/{part}", float(value), epoch)

    def on_fit_end(self, trainer) -> None:
        if hasattr(self.writer, "flush"):
            self.writer.flush()


class MLflow(Callback):
    """Log losses and metrics of every epoch to MLflow.

    Parameters
    ----------
    run : module or object with ``log_metrics(dict, step=...)``, or ``log_metric(name, value, step=...)``
        The module mlflow, which logs to the run that is active; or another tracker with these methods.

    Notes
    -----
    The step is the epoch, from 0.

    Raises
    ------
    TypeError
        `run` has neither method.
    """

    def __init__(self, run) -> None:
        if not callable(getattr(run, "log_metrics", None)):
            _with_method("run", run, "log_metric", "log_metrics")
        self.run = run

    def on_epoch_end(self, trainer, epoch, logs) -> None:
        values = {name: float(value) for name, value in logs.items()}
        if callable(getattr(self.run, "log_metrics", None)):
            self.run.log_metrics(values, step=epoch)
            return
        for name, value in values.items():
            self.run.log_metric(name, value, step=epoch)


class OptunaPruning(Callback):
    """Report a value to a trial of Optuna after every epoch, and end the trial where its pruner says so.

    Parameters
    ----------
    trial : optuna.trial.Trial, or object with ``report(value, step)`` and ``should_prune()``
    monitor : str, default "val_loss"
        An entry of the history.  The study's direction has to fit it: "minimize" for a loss.

    Raises
    ------
    TypeError
        `trial` has no such methods; `monitor` is no text.
    ValueError
        In fit: nothing of that name is computed; the message says what is.
    optuna.TrialPruned
        Out of fit, for the study to catch.  The model keeps the weights of that epoch; on_fit_end is called of no
        callback.
    ImportError
        A trial is to be pruned, but there is no optuna.
    """

    order = 2  # after all others, which would not hear of the epoch that ends the trial

    def __init__(self, trial, monitor: str = "val_loss") -> None:
        for method in ("report", "should_prune"):
            _with_method("trial", trial, method)
        self.trial, self.monitor = trial, check_monitor(monitor)

    def on_fit_begin(self, trainer) -> None:
        check_monitored(self, trainer)

    def on_epoch_end(self, trainer, epoch, logs) -> None:
        check_monitored(self, None, logs)
        value = float(logs[self.monitor])
        self.trial.report(value, epoch)
        if self.trial.should_prune():
            try:
                from optuna import TrialPruned
            except ImportError as error:
                raise ImportError(f"pruning a trial needs optuna ({error}): pip install optuna") from error
            raise TrialPruned(f"pruned after epoch {epoch} with {self.monitor} = {value:g}")


def _with_method(argument: str, thing, method: str, instead: str = ""):
    """Return an object, or say which method it lacks."""
    if isinstance(thing, type) or not callable(getattr(thing, method, None)):
        names = f"{method} or {instead}" if instead else method
        what = f"the class {thing.__name__}" if isinstance(thing, type) else type(thing).__name__
        raise TypeError(f"{argument} must have a method {names}, got {what}")
    return thing
