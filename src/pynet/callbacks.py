"""Callbacks: what happens between the slices and epochs of a fit.

A callback is any object with some of these methods; `Callback` has them all, doing nothing::

    on_fit_begin(trainer)
    on_epoch_begin(trainer, epoch)         epoch counts from 0
    on_slice_end(trainer, logs)            about every 50 ms; logs hold the running means of this epoch
    on_epoch_end(trainer, epoch, logs)     return True to stop the fit
    on_fit_end(trainer)
    state() / set_state(values, arrays)    what a checkpoint has to remember

During a fit they may use ``trainer.model``, ``trainer.epoch`` and ``trainer.step`` (done so far), ``trainer.history``,
``trainer.fit_info`` and ``trainer.save_checkpoint(path)``, and set ``trainer.stop_training = True``.
"""

from __future__ import annotations

import os
import time

import numpy as np

from ._check import integer, number, suggest, unknown

__all__ = ["Callback", "EarlyStopping", "ModelCheckpoint"]


class Callback:
    """Does nothing at every occasion; override what you need.

    `order`: callbacks run in the order of the list, those with a higher `order` after the others.
    """

    order = 0

    def on_fit_begin(self, trainer) -> None:
        """Called once, before the first epoch."""

    def on_epoch_begin(self, trainer, epoch: int) -> None:
        """Called before the rows of an epoch are visited."""

    def on_slice_end(self, trainer, logs: dict) -> None:
        """Called about every 50 ms within an epoch."""

    def on_epoch_end(self, trainer, epoch: int, logs: dict) -> bool | None:
        """Called after an epoch and its validation; returning True ends the fit."""

    def on_fit_end(self, trainer) -> None:
        """Called once, after the last epoch, stopped early or not."""

    def state(self) -> tuple[dict, dict[str, np.ndarray]]:
        """Return what a checkpoint must remember: JSON values, and named arrays of rank 1 or 2."""
        return {}, {}

    def set_state(self, values: dict, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `state` returned, before the fit that continues."""


class _Monitor(Callback):
    """Remembers the best value of one entry of the logs."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise unknown("mode", mode, ("auto", "min", "max"))
        self.monitor = check_monitor(monitor)
        self.mode = mode
        self.min_delta = number("min_delta", min_delta, 0.0)
        higher = not monitor.endswith("loss") and any(word in monitor for word in ("acc", "top_", "r2", "auc"))
        self._sign = 1.0 if mode == "max" or (mode == "auto" and higher) else -1.0
        self._continued = False
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None

    def on_fit_begin(self, trainer) -> None:
        if not self._continued:
            self._forget()
        self._continued = False
        check_monitored(self, trainer)

    def _improved(self, epoch: int, logs: dict) -> bool:
        """Compare with the best so far and remember; NaN is never better."""
        check_monitored(self, None, logs)
        value = float(logs[self.monitor])
        better = value == value and (self.best is None or self._sign * (value - self.best) > self.min_delta)
        if better:
            self.best, self.best_epoch = value, epoch
        return better

    def state(self):
        best = None if self.best is None else repr(self.best)  # a text, so that an infinite value survives JSON
        return {"best": best, "best_epoch": self.best_epoch}, {}

    def set_state(self, values, arrays):
        best = values["best"]
        self.best = None if best is None else float(best)
        self.best_epoch = _epoch("best_epoch", values["best_epoch"])
        self._continued = True


class EarlyStopping(_Monitor):
    """Stop when a value has not improved for a while (Prechelt 1998, "Early stopping - but when?").

    Parameters
    ----------
    monitor : str, default "val_loss"
        An entry of the history: "loss", "val_loss", "val_accuracy" ...
    patience : int, default 0
        Stop after this many epochs in a row without improvement (0 and 1: at the first).
    min_delta : float, default 0
        A smaller change is no improvement.
    mode : {"auto", "min", "max"}
        "auto": "max" for accuracy, top_k and r2, otherwise "min".
    restore_best_weights : bool, default False
        At the end of the fit, stopped early or not, the model gets the weights of its best epoch.
    start_from_epoch : int, default 0
        Ignore the epochs before this one.

    Attributes
    ----------
    best, best_epoch, stopped_epoch
        The best value, its epoch and the epoch that was the last one (counted from 0); None until known.

    Raises
    ------
    ValueError
        In fit: nothing of that name is computed; the message says what is.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 0,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        self.patience = integer("patience", patience, 0)
        self.start_from_epoch = integer("start_from_epoch", start_from_epoch, 0)
        self.restore_best_weights = bool(restore_best_weights)
        super().__init__(monitor, mode, min_delta)

    def _forget(self) -> None:
        super()._forget()
        self.stopped_epoch: int | None = None
        self._waited = 0
        self._weights: dict[str, np.ndarray] = {}

    def on_epoch_end(self, trainer, epoch, logs):
        if epoch < self.start_from_epoch:
            return False
        if self._improved(epoch, logs):
            self._waited = 0
            if self.restore_best_weights:
                self._weights = trainer.model.state_dict()
            return False
        self._waited += 1
        if self._waited < self.patience:
            return False
        self.stopped_epoch = epoch
        return True

    def on_fit_end(self, trainer) -> None:
        if self._weights:
            trainer.model.load_state_dict(self._weights)

    def state(self):
        values, _ = super().state()
        return {**values, "waited": self._waited, "stopped_epoch": self.stopped_epoch}, dict(self._weights)

    def set_state(self, values, arrays):
        super().set_state(values, arrays)
        self._waited = integer("waited", values["waited"], 0)
        self.stopped_epoch = _epoch("stopped_epoch", values["stopped_epoch"])
        self._weights = dict(arrays)


class ModelCheckpoint(_Monitor):
    """Save checkpoints, from which ``pn.Trainer.resume(path)`` continues bit for bit.

    Parameters
    ----------
    path : str or os.PathLike
        May contain {epoch} (counted from 1) and, for checkpoints at the end of an epoch, the names of the logs with
        the usual formats: "net-{epoch:03d}-{val_loss:.4f}.safetensors".  Written atomically.
    monitor : str, default "val_loss"
        Only for `save_best_only`.
    mode : {"auto", "min", "max"}
        As in EarlyStopping.
    save_best_only : bool, default False
        Save only after epochs in which `monitor` was better than ever.
    every_seconds : float, optional
        Instead of after every epoch, save about 50 ms after the start and then at most this often, also in the
        middle of an epoch.

    Raises
    ------
    ValueError
        `path` names something that is not logged; `every_seconds` together with `save_best_only`.
        In fit, before it begins: the model holds Python functions, which no file can carry.
    OSError
        In fit: the file cannot be written.
    """

    order = 1  # after the others, so that the checkpoint holds what they remember of this epoch

    def __init__(
        self,
        path,
        monitor: str = "val_loss",
        mode: str = "auto",
        save_best_only: bool = False,
        every_seconds: float | None = None,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be a path or a text, got {type(path).__name__}")
        self.path = os.fsdecode(path)
        self.save_best_only = bool(save_best_only)
        self.every_seconds = None if every_seconds is None else number("every_seconds", every_seconds, 0.0)
        if self.save_best_only and every_seconds is not None:
            raise ValueError("save_best_only looks at whole epochs, every_seconds at the clock: give one of them")
        super().__init__(monitor, mode)

    def on_fit_begin(self, trainer) -> None:
        if self.save_best_only:
            super().on_fit_begin(trainer)
        known = () if self.every_seconds is not None else _log_names(trainer)
        if known is not None:
            self._file(0, dict.fromkeys(known, 0.0))
        if hasattr(getattr(trainer, "model", None), "config"):
            trainer.model.config()  # what no file can carry is said now, not after an epoch
        self._saved_at: float | None = None

    def _file(self, epoch: int, logs: dict) -> str:
        try:
            return self.path.format(**{**logs, "epoch": epoch + 1})
        except (KeyError, IndexError, AttributeError, ValueError) as error:
            raise ValueError(
                f"ModelCheckpoint path {self.path!r} cannot be filled in ({type(error).__name__}: {error}); "
                f"known names: {', '.join(['epoch', *logs])}"
            ) from None

    def _due(self) -> bool:
        if self.every_seconds is None:
            return False
        return self._saved_at is None or time.monotonic() - self._saved_at >= self.every_seconds

    def _save(self, trainer, epoch: int, logs: dict) -> None:
        trainer.save_checkpoint(self._file(epoch, logs))
        self._saved_at = time.monotonic()

    def on_slice_end(self, trainer, logs) -> None:
        if self._due():
            self._save(trainer, trainer.epoch, {})

    def on_epoch_end(self, trainer, epoch, logs):
        if self.every_seconds is not None:
            if self._due():
                self._save(trainer, epoch, {})
        elif not self.save_best_only or self._improved(epoch, logs):
            self._save(trainer, epoch, logs)


def check_monitor(monitor) -> str:
    """Return the name of what a callback watches."""
    if not isinstance(monitor, str):
        raise TypeError(f"monitor must be the name of a loss or metric, got {type(monitor).__name__}")
    return monitor


def check_monitored(callback, trainer, logs=None) -> None:
    """Raise ValueError if `callback.monitor` is not in the logs, or, without these, not in what a fit will compute."""
    known = _log_names(trainer) if logs is None else list(logs)
    if known is None or callback.monitor in known:
        return
    hint = "; give fit validation_data or validation_split" if callback.monitor.startswith("val_") else ""
    raise ValueError(
        f"{type(callback).__name__} watches {callback.monitor!r}, which this fit does not compute"
        f"{suggest(callback.monitor, known)} (it computes: {', '.join(known)}){hint}"
    )


def _log_names(trainer) -> list[str] | None:
    """Return what the logs of this fit will hold, where the trainer tells."""
    names = (getattr(trainer, "fit_info", None) or {}).get("metrics")
    return None if names is None else list(names)


def _epoch(name: str, value) -> int | None:
    return None if value is None else integer(name, value, 0)
