"""Fits of second order: an epoch is one iteration of a search over all rows (L-BFGS, Levenberg-Marquardt).

The search itself is the machine's: ``_core.Search``, or its twins in reference_lbfgs.py and reference_lm.py. It works
in slices like every fit. Between two slices the model holds the point of the last iteration that ended, so a fit that
stops anywhere, in whatever way, goes on from there and ends with the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from .fit import SLICE_SECONDS, Fit
from .plan import pack
from .reference_lbfgs import LBFGS
from .reference_lm import LevenbergMarquardt
from .reference_search import ENDS, NUMBERS

__all__ = ["FullBatchFit"]

ROWS = 1024  # of a batch: so much is in memory at a time
LOGGED = {  # of NUMBERS, by optimizer
    "lbfgs": {"gradient": "gradient", "step": "step", "evaluations": "evaluations"},
    "levenberg_marquardt": {"gradient": "gradient", "damping": "step", "evaluations": "evaluations"},
}


class FullBatchFit(Fit):
    """A fit under way of an optimizer of second order."""

    def __init__(self, trainer, run: dict, data: dict, callbacks, verbose: int) -> None:
        self.optimizer = trainer.optimizer
        _check_trainer(trainer)
        check_batch_size(trainer.optimizer, run["batch_size"], len(data["rows"]))
        super().__init__(trainer, run, data, callbacks, verbose)
        self.job.batch = min(ROWS, len(self.rows))
        trainer.fit_info["metrics"] += list(LOGGED[self.optimizer.name])

    def _make_machine(self) -> None:
        trainer = self.trainer
        self.masks = trainer.model.weights.mask_version
        self.plan, self.machine = trainer._machine("train", self.heads, min(ROWS, self.size))
        check_plan(self.plan, self.optimizer)
        self.places = searched(self.plan, trainer.model.weights)
        _check_size(self.optimizer, len(self.places))
        self.arrays = self._arrays()
        parts = self.machine, self.places, self.arrays, self.optimizer.settings()
        self.search: Any = None
        if trainer.backend == "c":
            self.search = _core.Search(self.optimizer.name, *parts)
        elif self.optimizer.name == "lbfgs":
            self.search = LBFGS(*parts)
        else:
            self.search = LevenbergMarquardt(*parts)

    def _arrays(self) -> dict:
        """Return the arrays of the search that goes on, if it is the same in all respects; else of a new one."""
        n, trainer = len(self.places), self.trainer
        shapes: dict[str, tuple[int, ...]] = {
            "numbers": (len(NUMBERS),),
            "x": (n,),
            "gradient": (n,),
            "sums": (self.plan.n_sums,),
        }
        if "memory" in self.optimizer.fields:
            shapes["pairs"] = (self.optimizer.memory, 2 * n + 1)
        mark = [self.run["print"], self.optimizer.config(), _mark(self.plan, trainer.model.arena, self.places)]
        known = trainer._search or {"mark": None, "arrays": {}}
        fits = known["mark"] == mark and {name: array.shape for name, array in known["arrays"].items()} == shapes
        fits = fits and _are_possible(known["arrays"]["numbers"], getattr(self.optimizer, "memory", 1))
        if fits and np.array_equal(known["arrays"]["x"], trainer.model.arena[self.places]):  # nobody has moved them
            return known["arrays"]
        arrays = {name: np.zeros(shape) for name, shape in shapes.items()}
        trainer._search = {"mark": mark, "arrays": arrays}
        return arrays

    def number(self, name: str) -> float:
        """Return a number of the search: see NUMBERS."""
        return float(self.arrays["numbers"][NUMBERS.index(name)])

    def order(self, epoch: int) -> np.ndarray:
        return self.rows

    def logs(self) -> dict:
        logs = self.trainer.heads.logs(self.plan, self.arrays["sums"])
        return logs | {shown: self.number(name) for shown, name in LOGGED[self.optimizer.name].items()}

    def _slice(self) -> None:
        trainer = self.trainer
        if self.masks != trainer.model.weights.mask_version:  # a callback has pruned: another search
            self._make_machine()
        trainer.model.weights.claim()
        before = self.number("iterations")
        try:
            done, status = self.search.run(self.job, SLICE_SECONDS)
        finally:  # Ctrl-C strikes as the machine returns, before its answer arrives
            trainer.step += int(self.number("iterations") - before)
        if status == "not_finite":
            raise FloatingPointError(
                f"the loss is NaN or infinite where the search begins, in epoch {trainer.epoch}: look at the weights "
                "and at the scale of the inputs"
            )
        if status != "ok":
            trainer._fail(status, 0)
        self.run["batch"], self.run["sums"] = int(done), self.arrays["sums"].tolist() if done else None

    def ended(self) -> bool:
        self.trainer.history.stopped = ENDS[int(self.number("end"))]
        return bool(self.trainer.history.stopped)


def _are_possible(numbers: np.ndarray, memory: int) -> bool:
    """Whether a search can have written these, which may come from a file."""
    pairs, following = (numbers[NUMBERS.index(name)] for name in ("pairs", "next"))
    return bool(np.isfinite(numbers).all() and 0 <= pairs <= memory and 0 <= following < memory)


# ---- what a search needs --------------------------------------------------------------------------------------------


def check_batch_size(optimizer, batch_size: int, rows: int) -> None:
    """Refuse batches: a search looks at all rows."""
    if batch_size < rows:
        raise ValueError(
            f"{type(optimizer).__name__} takes all {rows} rows at once, got batch_size={batch_size}; leave batch_size "
            "out (memory does not depend on it), or use a first-order optimizer"
        )


def _check_trainer(trainer) -> None:
    name = type(trainer.optimizer).__name__
    if trainer._ranks.parts:
        raise ValueError(f"{name} does not go with comm or shards: its searches run in one process, on its threads")
    if trainer._clips:
        raise ValueError(f"{name} does not go with clip: its steps are no multiples of the gradient")
    if trainer.heads.external:
        raise ValueError(f"{name} needs a loss of pynet's own: its machine asks for the loss again and again")
    others = [loss.name for loss in trainer.heads.losses if loss is not None and loss.name != "mse"]
    if trainer.optimizer.name == "levenberg_marquardt" and others:
        raise ValueError(f"{name} minimises squared errors: the loss must be 'mse', got {others[0]!r}; use pn.LBFGS")


RANDOM = {_core.OPS["random"]: "draws random numbers", _core.OPS["batch_norm"]: "takes the statistics of its batch",
          _core.OPS["gradient_clip"]: "changes the gradient"}  # fmt: skip


def check_plan(plan, optimizer) -> None:
    """Refuse a network whose loss is not the same each time, or whose gradient is not that of the loss."""
    name = type(optimizer).__name__
    for op, layer in zip(plan.ops, plan.op_names, strict=True):
        reason = RANDOM.get(int(op["kind"]))
        if op["kind"] == _core.OPS["dense"] and op["w2"] == _core.NONE and op["p"][2] > 0:
            reason = "has a Dropout behind it, which draws random numbers"
        if reason:
            advice = "; set trainable=False on it, or use pn.LayerNorm" if "statistics" in reason else ""
            raise ValueError(f"{name} needs a loss that is the same each time, but layer {layer!r} {reason}{advice}")
    for param, weight in zip(plan.params, plan.param_names, strict=True):
        if not param["flags"] & _core.TRAINABLE:
            continue
        if param["l1"]:
            raise ValueError(f"{name} needs a smooth loss, but {weight!r} has l1={param['l1']:g}, a kink at 0; use l2")
        if param["max_norm"]:
            raise ValueError(f"{name} does not keep bounds, but {weight!r} has max_norm={param['max_norm']:g}")
        if param["rate"] not in (0.0, 1.0):
            raise ValueError(
                f"{name} has no learning rate, but the rate_factor of {weight!r} is {param['rate']:g}; possible are 0 "
                "(frozen) and 1"
            )


def searched(plan, weights) -> np.ndarray:
    """Return the elements of the arena that train, int64: neither frozen nor pruned nor padding."""
    marks = np.zeros(plan.param_elems)
    for param in plan.params:
        if param["flags"] & _core.TRAINABLE and param["rate"]:
            pack(marks, param, np.ones((int(param["rows"]), int(param["cols"]))))
    weights.clear_pruned(marks)
    return np.flatnonzero(marks).astype(np.int64)


def _check_size(optimizer, n: int) -> None:
    if not n:
        raise ValueError(f"{type(optimizer).__name__}: no weight is left to train")
    if optimizer.name == "levenberg_marquardt" and n > optimizer.max_weights:
        raise ValueError(
            f"LevenbergMarquardt: the model has {n} weights to train, max_weights={optimizer.max_weights}; they would "
            f"take {16 * n * n / 1e9:.1f} GB and {n**3 / 3:.1e} multiplications an epoch. Raise max_weights, or use "
            "pn.LBFGS"
        )


def _mark(plan, arena: np.ndarray, places: np.ndarray) -> int:
    """Return a checksum of all that decides the loss, but the data and what is searched."""
    import zlib

    rest = arena.copy()
    rest[places] = 0
    columns = [table[name] for table in (plan.ops, plan.params) for name in table.dtype.names]
    result = 0
    for array in (places, rest, *columns):
        result = zlib.crc32(array.tobytes(), result)
    return result
