"""One fit: epochs of batches, run by a machine in slices of about 50 ms.

Between two slices Python lives: progress, callbacks, Ctrl-C.  Everything that decides a result is a function of
(random_state, epoch, step), so a fit that stops anywhere continues with the same bits from its checkpoint.
"""

from __future__ import annotations

import threading
import time
import zlib

import numpy as np

from . import _check, _core, philox
from .arrays import read_at_random, rows_ahead
from .parallel import check_parts, exchanged
from .progress import Progress

__all__ = ["Fit", "begin", "check_batches", "listed", "prepare"]

SLICE_SECONDS = 0.05
MOST_ROWS = 1 << 30  # of a batch
HOOKS = ("on_fit_begin", "on_epoch_begin", "on_slice_end", "on_epoch_end", "on_fit_end")


def begin(trainer, epochs, batch_size, shuffle, shards=None) -> dict:
    """Return the record of a run: a new one, or the one that a resumed trainer has to finish.

    It holds what a checkpoint must know of a fit: "epochs" (number of the last one), "first", "batch_size", "shuffle",
    "shards", "batch" (done in this epoch), "sums" of this epoch, "print" of the data, "stopped".
    """
    run = trainer._pending
    if shuffle is not None and not isinstance(shuffle, (bool, np.bool_)):
        raise TypeError(f"shuffle must be True or False, got {shuffle!r}")
    if run is None:
        shuffle = True if shuffle is None else shuffle
        epochs = _check.integer("epochs", 10 if epochs is None else epochs, 0)
        usual = MOST_ROWS if trainer.optimizer.full_batch else 32
        size = _check.integer("batch_size", usual if batch_size is None else batch_size, 1, MOST_ROWS)
        return {"epochs": trainer.epoch + epochs, "first": trainer.epoch, "batch_size": size, "shuffle": bool(shuffle),
                "shards": shards, "batch": 0, "sums": None, "print": None, "stopped": False}  # fmt: skip
    for name, given, saved in (
        ("epochs", epochs, run["epochs"] - run["first"]),
        ("batch_size", batch_size, run["batch_size"]),
        ("shuffle", shuffle, run["shuffle"]),
        ("shards", shards, run["shards"]),
    ):
        if given is not None and given != saved:
            raise ValueError(f"{name}={given!r}, but the fit that is resumed here had {name}={saved!r}")
    return dict(run)


def prepare(trainer, X, y, validation_data, validation_split, sample_weight, class_weight, run: dict) -> dict:
    """Check all data of a fit; return inputs, targets, weight, the rows to train on, and the validation data."""
    inputs, targets, weight, n = trainer._prepare(X, y, sample_weight, class_weight)
    rows = np.arange(n, dtype=np.int64)
    split = _check.fraction("validation_split", validation_split)
    validation = None
    if validation_data is not None:
        if split:
            raise ValueError("give validation_data or validation_split, not both")
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            raise TypeError("validation_data must be (X, y) or (X, y, sample_weight)")
        validation = (*trainer._prepare(*validation_data, names=("validation X", "validation y")), None)
    elif split:
        drawn = philox.permutation(trainer.random_state, 0, n, philox.SPLIT)
        cut = n - max(1, round(n * split))
        if cut < 1:
            raise ValueError(f"validation_split={split} leaves no rows to train on (N = {n})")
        rows, held = np.sort(drawn[:cut]), np.sort(drawn[cut:])
        validation = inputs, targets, weight, len(held), held
    mark = _fingerprint([*inputs, *targets, weight])
    if validation_data is not None and validation is not None:
        mark += " and " + _fingerprint([*validation[0], *validation[1], validation[2]])
    if run["print"] not in (None, mark):
        raise ValueError("X, y, the weights or the validation data are not those of the fit that is resumed here")
    run["print"] = mark
    return {"inputs": inputs, "targets": targets, "weight": weight, "rows": rows, "validation": validation}


class Fit:
    """A fit under way.

    Attributes
    ----------
    run : dict
        See `begin`; always describes the last finished slice.
    callbacks : list
    torn : bool
        Whether the model is already beyond what `run` says of it, as in the middle of a slice.
    thread : int
        The thread of the fit.
    """

    def __init__(self, trainer, run: dict, data: dict, callbacks, verbose: int) -> None:
        self.trainer, self.run, self.data = trainer, run, data
        self.torn, self.thread = False, threading.get_ident()
        self.callbacks = sorted(listed(callbacks), key=lambda c: getattr(c, "order", 0))
        self.ranks = trainer._ranks
        self.progress = Progress(verbose if self.ranks.rank == 0 else 0)
        heads = trainer.heads.resolve(data["targets"])
        names = trainer.heads.log_names(heads)
        self.rows, self.size = data["rows"], min(run["batch_size"], len(data["rows"]))
        self.batches = -(-len(self.rows) // self.size)
        trainer.fit_info = {
            "epochs": run["epochs"], "batches": self.batches, "rows": len(self.rows), "batch_size": self.size,
            "metrics": names + ([f"val_{n}" for n in names] if data["validation"] else []),
        }  # fmt: skip
        self.heads = heads
        self._make_machine()
        check_batches(self.plan, len(self.rows), self.size)
        if self.ranks.parts:
            check_parts(self.plan, trainer.heads.external)
        self.job = trainer._job(
            self.plan, data["inputs"], data["targets"], data["weight"], len(self.rows), self.size, 0
        )
        self.n_sums, length = self.plan.n_sums, self.ranks.length(self.plan.n_sums)
        self._no_sums = [0.0] * length
        self._memory: np.ndarray | None = None  # of the order of an epoch
        if run["batch"] > self.batches or len(run["sums"] or self._no_sums) != length:
            raise ValueError(f"the checkpoint's state is damaged: batch={run['batch']}, sums={run['sums']}")
        self._guess = 64  # batches of a slice; the machine stops by the clock, this bounds the list of rates
        for callback, (kind, values, arrays) in zip(self.callbacks, run.pop("callbacks", ()), strict=False):
            if type(callback).__name__ == kind and hasattr(callback, "set_state"):
                try:  # what it remembered when the checkpoint was written
                    callback.set_state(values, arrays)
                except (KeyError, TypeError) as error:
                    raise ValueError(f"the checkpoint's state of {kind} is damaged: {error}") from error

    def meet(self) -> None:
        """Have the gradient where ranks exchange it, once they agree that they train the same; all of them do this."""
        trainer, ranks, job = self.trainer, self.ranks, self.job
        if not ranks.parts:
            return
        if ranks.size > 1:
            n, dtype = len(trainer._exchanged), trainer.model.dtype
            shared = ranks.share(n, dtype, trainer._shared, clipped=bool(trainer._clips))
            if shared and shared is not trainer._shared:
                trainer._exchange_in(shared.own, shared)
            elif not shared and not trainer._exchanges:
                trainer._exchange_in(exchanged(n, dtype))
            self._make_machine()
        ranks.bind(trainer._exchanged)
        job.parts, job.reduce, job.updated = ranks.parts, ranks.reduce, ranks.updated
        job.terms = ranks.terms

    def _make_machine(self) -> None:
        self.masks = self.trainer.model.weights.mask_version
        self.plan, self.machine = self.trainer._machine("train", self.heads, -(-self.size // self.ranks.n_parts))

    def order(self, epoch: int) -> np.ndarray | None:
        """Return the rows in the order in which an epoch visits them; None: all, as they lie."""
        whole = len(self.rows) == len(self.data["inputs"][0])
        if not self.run["shuffle"]:
            return None if whole else self.rows
        key, n = self.trainer.random_state, len(self.rows)
        if self._memory is None:  # for all epochs: to get it from the system takes as long as to sort
            self._memory = np.empty((2, n), np.int64)
        if self.trainer.backend == "numpy":  # the same numbers
            order = philox.permutation(key, epoch, n)
        else:
            order = _core.permutation(key, epoch, n, memory=self._memory)
        return order if whole else np.take(self.rows, order, out=self._memory[1], mode="clip")  # else by way of a copy

    def logs(self) -> dict[str, float]:
        """Return what is known of the epoch under way."""
        return self.trainer.heads.logs(self.plan, self.ranks.total(self.run["sums"], self.n_sums))

    def ended(self) -> bool:
        """Return whether the optimizer has come to an end by itself."""
        return False

    def call(self, hook: str, *arguments) -> list:
        """Call one method of every callback that has it; return what they return."""
        methods = [getattr(callback, hook, None) for callback in self.callbacks]
        with self.ranks.hook(hook):
            return [method(self.trainer, *arguments) for method in methods if method]

    def go(self) -> None:
        """Run all epochs, or until somebody stops."""
        trainer, run = self.trainer, self.run
        self.ranks.learn_hooks({hook for hook in HOOKS if any(hasattr(c, hook) for c in self.callbacks)})
        self.call("on_fit_begin")
        self.stop = self.ranks.stops("on_fit_begin", trainer.stop_training, False)
        while trainer.epoch < run["epochs"] and not self.stop and not run["stopped"]:
            if not self._epoch(trainer.epoch):
                return

    def _epoch(self, epoch: int) -> bool:
        """Run one epoch, or what is left of it; False if it was stopped on the way."""
        trainer, run, job = self.trainer, self.run, self.job
        if run["sums"] is None:
            self.call("on_epoch_begin", epoch)
        self.progress.epoch_begin(epoch, run["epochs"], len(self.rows))
        job.order = self.order(epoch)
        in_order = job.order is None or job.order is self.rows
        job.ahead = 0 if in_order else rows_ahead(job.inputs)
        job.sums = self.ranks.own_sums(run["sums"] or self._no_sums, self.n_sums)
        with read_at_random(job.inputs, not in_order):
            while run["batch"] < self.batches:
                self.torn = True
                self._slice()
                self.torn = False
                logs = self.logs()
                self.progress.update(min(run["batch"] * self.size, len(self.rows)), logs)
                self.call("on_slice_end", logs)
                self.stop = self.ranks.stops("on_slice_end", trainer.stop_training, self.stop)
                if self.stop and run["batch"] < self.batches:
                    return False
        logs = self.logs()
        if self.data["validation"]:
            scores = trainer._score(*self.data["validation"], batch=max(self.size, 256), ranks=self.ranks)
            logs |= {f"val_{name}": value for name, value in scores.items()}
        self.torn = True
        trainer.history.append(logs)
        trainer.epoch += 1
        if self.ended():
            trainer.stop_training = self.stop = True
        run["batch"], run["sums"], run["stopped"] = 0, None, self.stop
        self.torn = False
        self.progress.epoch_end(logs)
        with self.ranks.hook("on_epoch_end"):
            for callback in self.callbacks:  # all of them hear of the epoch, whichever wants to stop
                hook = getattr(callback, "on_epoch_end", None)
                answer = hook and hook(trainer, epoch, logs)
                if isinstance(answer, (bool, np.bool_)) and answer:
                    trainer.stop_training = True
                run["stopped"] = run["stopped"] or bool(trainer.stop_training)  # for checkpoints of later callbacks
        self.stop = self.ranks.stops("on_epoch_end", trainer.stop_training, self.stop)
        self.ranks.check_weights(trainer.model.arena)
        return True

    def things(self) -> dict[str, object]:
        """Return what must be the same on all ranks."""
        trainer, plan, run = self.trainer, self.plan, self.run
        weights, optimizer = trainer.model.weights, trainer.optimizer
        return {
            "the model": [plan.dtype.name, *(t.tolist() for t in (plan.values, plan.params, plan.ops, plan.outputs))],
            "the weights": [zlib.crc32(weights.arena), weights.keep is not None and zlib.crc32(weights.keep)],
            "the optimizer": [optimizer.kind, list(optimizer.hyper), optimizer.rates(trainer.step, 3).tolist(),
                              trainer._clips, [zlib.crc32(slot) for slot in trainer._slots]],
            "random_state, epoch or step of the trainer": [trainer.random_state, trainer.epoch, trainer.step],
            "epochs, batch_size, shuffle or shards": [run[k] for k in ("epochs", "batch_size", "shuffle", "shards")],
            "the data": [run["print"], len(self.rows), bool(self.data["validation"])],
            "the version of pynet": _core.version,
        }  # fmt: skip

    def _slice(self) -> None:
        """Run the batches of some 50 ms."""
        if self.masks != self.trainer.model.weights.mask_version:  # a callback has pruned
            self._make_machine()
        begun, k = time.perf_counter(), self.run["batch"]
        self.ranks.until = begun + SLICE_SECONDS
        try:
            done = self.trainer._advance(
                self.plan, self.machine, self.job, k, min(self.batches - k, self._guess), SLICE_SECONDS
            )
        except Exception as error:
            if self.ranks.failed:
                self.ranks.agree(error)
            raise
        guess = max(1, int(1.5 * done * SLICE_SECONDS / max(time.perf_counter() - begun, 1e-6)))
        sums, stop, self._guess = self.ranks.after_slice(self.job.sums, self.trainer.stop_training, guess)
        self.run["batch"], self.run["sums"], self.stop = k + done, sums, stop
        self.ranks.check_interrupt()


def check_batches(plan, rows: int, size: int) -> None:
    """Refuse batches of one row where a batch norm takes its statistics from the batch."""
    norms = np.flatnonzero(plan.ops["kind"] == _core.OPS["batch_norm"])
    if len(norms) and (size == 1 or rows % size == 1):
        which = "a batch has" if size == 1 else f"the last batch of {rows} rows in batches of {size} has"
        raise ValueError(
            f"batch norm {plan.op_names[norms[0]]!r} takes mean and variance over the batch, but {which} one row; "
            "choose another batch_size or number of rows, set trainable=False on that layer, or use pn.LayerNorm"
        )


def listed(callbacks) -> list:
    """Return the callbacks that a fit is given as a list, checked."""
    if callbacks is None:
        return []
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"callbacks must be a list, got {type(callbacks).__name__}")
    for callback in callbacks:
        if isinstance(callback, type) or not any(
            hasattr(callback, hook)
            for hook in ("on_fit_begin", "on_epoch_begin", "on_slice_end", "on_epoch_end", "on_fit_end")
        ):
            raise TypeError(f"callbacks: {callback!r} has none of the methods of pn.Callback")
    return list(callbacks)


def _fingerprint(arrays: list) -> str:
    """Return a mark of the data: shapes, dtypes, and a checksum of some hundred rows of each array."""
    marks = []
    for array in arrays:
        if array is None:
            marks.append("none")
            continue
        rows = np.ascontiguousarray(array[:: max(1, len(array) // 256)])
        content = b"" if array.dtype.hasobject else rows.data  # of objects these would be addresses
        marks.append(f"{array.shape}{array.dtype}{zlib.crc32(content):08x}")
    return " ".join(marks)
