"""The NumPy machine: executes a plan step by step, and thereby defines what it means.

Forward walks the table of ops up, backward walks it down; values are plain arrays [B, width], parameters plain
matrices, in the dtype of the plan. The ops stand in reference_ops.py, losses and metrics in reference_losses.py,
penalties, clips and optimizers in reference_updates.py. The C machine of ``_core`` has the same interface.
"""

from __future__ import annotations

import functools
import math
import time

import numpy as np

from . import _core, reference_norm, reference_ops, reference_updates
from .compact import form_of
from .compact_form import Form
from .plan import Job, bits_of, pack, unpack
from .reference_ops import DOWN, LABELLED, OP, UP, Op

__all__ = ["Machine"]


class Machine:
    """Executes `plan` with NumPy.

    Parameters
    ----------
    plan : Plan
    params : array [plan.param_elems] of plan.dtype
        The arena of the parameters, in panels; written in place by updates.
    rows : int
        Most rows that a batch may have.
    grads : array like `params`, optional
        Arena of their gradients; None: this machine only goes forward.
    slots : sequence of arrays like `params`
        State of the optimizer.
    keep : uint16 array [plan.param_elems / 16], optional
        Bits of the elements of `params` that are not pruned.
    n_threads, isa
        For the interface of the C machine: NumPy has neither.

    Attributes
    ----------
    isa : "numpy"
    n_threads : 1
    """

    isa = "numpy"
    n_threads = 1

    def __init__(self, plan, params, *, rows: int, grads=None, slots=(), keep=None, n_threads: int = 0, isa=None):
        if isa not in (None, "numpy"):
            raise ValueError(f"isa of the NumPy machine is 'numpy', got {isa!r}")
        self.plan, self.rows, self.dtype = plan, rows, np.dtype(plan.dtype)
        self._arena, self._grad_arena, self._slot_arenas = params, grads, list(slots)
        self.widths = plan.values["width"].tolist()
        self.trainable = [bool(flags & _core.TRAINABLE) for flags in plan.params["flags"].tolist()]
        masked = np.flatnonzero(plan.params["flags"] & _core.MASKED).tolist() if grads is not None else []
        self.pruned = {p: unpack(bits_of(keep), plan.params[p]) == 0 for p in masked if self.trainable[p]}
        ops = [Op(record, plan.functions.get(i)) for i, record in enumerate(plan.ops)]
        self.ops = [op for op in ops if op.kind in UP]
        self.forms = {op.at: self._form(op) for op in ops if op.kind == OP["sparse"]}  # by the place of their steps
        self.losses = [op for op in ops if op.kind == OP["loss"]]
        self.metrics = [op for op in ops if op.kind == OP["metric"]]
        self.classes: dict[int, int] = {}  # of each target slot with class numbers: width of its narrowest head
        for op in ops:
            if (op.kind, op.act) in LABELLED:
                self.classes[op.slot] = min(self.widths[op.x], self.classes.get(op.slot, self.widths[op.x]))
        self.values: list = [None] * len(self.widths)  # of the last batch
        self.gradients: list = [None] * len(self.widths)
        self.params: list = []  # plain matrices, while `run` runs
        self.param_gradients: list = []
        self.slots: list = []
        self.targets: list = []  # of the last batch
        self.weights = np.ones(0)  # of its rows, float64
        self.weight_sum = 0.0  # of all rows of the batch of which these are a part, or all
        self.first_part = True  # the one that has the penalties
        self.batch_rows = 0
        self.first_row = self.step = 0  # of the last batch
        self.kept: dict = {}  # what ops keep of the last batch: a batch norm (mean, variance), an LSTM its states
        self.tracked = [op for op in self.ops if op.kind == OP["batch_norm"]]
        self.job: Job | None = None

    def _form(self, op: Op) -> Form:
        """Return the form of a sparse op, read from the plan's tables."""
        shape = (self.widths[op.x], self.widths[op.y])
        return form_of(self.plan, op.slot, op.at, op.p[2], shape, self.dtype)

    # ---- used by the ops -----------------------------------------------------------------------------------------

    def gather(self, array: np.ndarray) -> np.ndarray:
        """Return the rows of this batch."""
        return array[self._rows]

    def add_up(self, op: Op, p: int | None, gradient) -> None:
        """dp = gradient(), or dp += gradient() where the op's layer is called more than once."""
        if p is not None and self.trainable[p]:
            add = op.flags & _core.ADD_W
            self.param_gradients[p] = self.param_gradients[p] + gradient() if add else gradient()

    def pass_down(self, value: int, gradient: np.ndarray, add: int) -> None:
        """dx = gradient, or dx += gradient where an op above has already written it."""
        self.gradients[value] = self.gradients[value] + gradient if add else gradient

    # ---- one batch -----------------------------------------------------------------------------------------------

    def _weights(self, job, first: int, stop: int) -> np.ndarray:
        rows = slice(first, stop) if job.order is None else np.asarray(job.order[first:stop])
        weights = np.ones(stop - first) if job.weight is None else job.weight[rows]
        return weights.astype(self.dtype).astype(np.float64)

    def _forward(self, job, first_row: int, stop: int, whole: tuple[int, int], scored: bool) -> bool:
        """Load rows of the batch `whole` and walk up; False if a class number is impossible."""
        self._rows = slice(first_row, stop) if job.order is None else np.asarray(job.order[first_row:stop])
        self.first_row, self.batch_rows = first_row, stop - first_row
        weights = self._weights(job, *whole)  # the loss of a part is a share of that of the batch
        self.weights, self.weight_sum = weights[first_row - whole[0] : stop - whole[0]], float(weights.sum())
        if scored and not self._load_targets(job):
            return False
        for op in self.ops if self.batch_rows else ():
            UP[op.kind](self, op)
        return True

    def _load_targets(self, job) -> bool:
        self.targets = []
        for slot in range(self.plan.n_targets):
            target = self.gather(job.targets[slot])
            if slot in self.classes:
                target = target.reshape(-1)
                if not ((target >= 0) & (target < self.classes[slot])).all():
                    return False
                self.targets.append(target.astype(np.int64))
            else:
                self.targets.append(target.reshape(self.batch_rows, math.prod(target.shape[1:])).astype(self.dtype))
        return True

    def _score(self, job, sums: np.ndarray) -> bool:
        """Fill the sums of a batch and the gradients of the predictions; False if the loss is not finite."""
        total = 0.0
        if job.stages & _core.LOSS:
            if self.first_part:
                total = sum(reference_updates.penalty(l1, l2, self.params[p]) for p, l1, l2 in self._penalized())
                sums[:2] += total, 1
            for op in self.losses if self.batch_rows else ():
                total += reference_ops.loss_head(self, op, sums)
        if job.stages & _core.METRIC and self.batch_rows:
            for op in self.metrics:
                reference_ops.metric_head(self, op, sums)
        return bool(np.isfinite(total))

    def _penalized(self):
        rows = enumerate(zip(self.plan.params["l1"].tolist(), self.plan.params["l2"].tolist(), strict=True))
        return [(p, l1, l2) for p, (l1, l2) in rows if self.trainable[p] and (l1 or l2)]

    def _backward(self, job) -> None:
        for op in reversed(self.ops) if self.batch_rows else ():
            if not op.flags & _core.NO_BACKWARD:
                DOWN[op.kind](self, op)
        if not self.batch_rows:  # of a batch that has fewer rows than parts
            self.param_gradients = [np.zeros_like(w) for w in self.params]
        for p, l1, l2 in self._penalized() if self.first_part and not job.stages & _core.BARE else ():
            extra = reference_updates.penalty_gradient(l1, l2, self.params[p])
            self.param_gradients[p] = self.param_gradients[p] + extra
        for p, pruned in self.pruned.items():
            self.param_gradients[p] = np.where(pruned, self.dtype.type(0), self.param_gradients[p])

    def _update(self, job, step: int, rate: float) -> bool:
        """Clip and step; False, and nothing is changed, if the gradient's norm is not finite."""
        trained = [p for p, trainable in enumerate(self.trainable) if trainable]
        if not reference_updates.clip([self.param_gradients[p] for p in trained], job.clips):
            return False
        for p in trained:
            slots = [slot[p] for slot in self.slots]
            gradient, own = self.param_gradients[p], float(self.plan.params["rate"][p])
            if own:  # 0: no step at all; Rprop would find one of its own
                reference_updates.step(job.optimizer, job.hyper, rate * own, step + 1, self.params[p], gradient, slots)
            if self.plan.params["max_norm"][p]:
                reference_updates.bound_norms(self.params[p], float(self.plan.params["max_norm"][p]))
        for op in self.tracked:
            reference_norm.track(self, op)
        return True

    # ---- interface -----------------------------------------------------------------------------------------------

    def run(self, job, first: int, count: int, seconds: float = float("inf")) -> tuple[int, str]:
        """Run batches first .. first+count-1 of `job`, stop early after `seconds`.

        Returns
        -------
        done : int
            Batches that are complete.
        status : "ok", "not_finite" or "bad_label"
            Why it stopped; parameters are those before the batch at fault.
        """
        if self.job is not None:
            raise RuntimeError(
                "the functions of Python layers and activations may not use the model or trainer that is computing them"
            )
        end = time.perf_counter() + seconds
        together = job.parts and job.stages & _core.UPDATE  # others have to stop after the same batch
        self._unpack()
        self.job = job
        done, status = 0, "ok"
        total = np.array(job.sums, np.float64)
        try:
            with np.errstate(all="ignore"):
                while done < count and status == "ok":
                    status, last = self._batch(job, first + done, done, total)
                    done += status == "ok"
                    if last or (time.perf_counter() >= end and not together):
                        break
        except Exception:  # of a function of the user's, before the update: the batches done count
            self._finish(job, done, total)
            raise
        finally:
            self.job = None
        self._finish(job, done, total)  # Ctrl-C on the way leaves arenas and sums as they were
        return done, status

    def _finish(self, job, done: int, total: np.ndarray) -> None:
        self._pack(job.stages)
        if done and job.sums is not None:
            job.sums[:] = total

    def _batch(self, job, number: int, k: int, total: np.ndarray) -> tuple[str, bool]:
        """Run the stages of batch `number`, the k-th of this run; `total` += its sums."""
        first, stop = number * job.batch, min((number + 1) * job.batch, job.rows)
        self.step = job.step + (k if job.stages & _core.UPDATE else 0)  # a prediction draws once, however it is cut
        parts, part0, part1 = job.parts or (1, 0, 1)
        sums = np.zeros((part1 - part0, self.plan.n_sums))
        status, last = "ok", False
        for part in range(part0, part1):
            start, end = (first + (stop - first) * p // parts for p in (part, part + 1))
            self.first_part = part == 0
            try:
                if status == "ok":
                    status = self._stages(job, start, end, (first, stop), sums[part - part0])
            except Exception:
                for missing in range(part, part1 if job.parts and job.stages & _core.UPDATE else part):
                    job.reduce(missing, "failed")  # the others wait for it
                raise
            if job.parts and job.stages & _core.UPDATE:
                status, last = self._reduce(job, part, status)
        if status == "ok" and job.stages & _core.UPDATE and not self._update(job, job.step + k, job.rate[k]):
            status = "not_finite"
        if status == "ok" and job.stages & _core.UPDATE and job.terms:
            job.updated()
        if status == "ok" and job.stages & (_core.LOSS | _core.METRIC):
            total += sums.reshape(-1)
        return status, last

    def _reduce(self, job, part: int, status: str) -> tuple[str, bool]:
        """Let job.reduce make the gradient of all parts out of this one's."""
        for record, gradient, trainable in zip(self.plan.params, self.param_gradients, self.trainable, strict=True):
            if trainable:
                pack(self._grad_arena, record, gradient)
        status, last = job.reduce(part, status)
        if status == "failed":
            raise RuntimeError("a function of a Python layer or activation failed in another process")
        gradient = functools.reduce(np.add, job.terms) if job.terms else self._grad_arena
        self.param_gradients = [unpack(gradient, record) for record in self.plan.params]
        return status, last

    def _stages(self, job, first: int, stop: int, whole: tuple[int, int], sums: np.ndarray) -> str:
        """Run all stages but the update on rows of the batch `whole`."""
        scored = bool(job.stages & (_core.LOSS | _core.METRIC))
        if not 0 <= stop - first <= self.rows or whole[0] >= whole[1]:
            raise ValueError(f"a batch would have {stop - first} rows, expected 1 to {self.rows}")
        if job.stages & _core.FORWARD:
            if not self._forward(job, first, stop, whole, scored):
                return "bad_label"
        elif self.batch_rows != stop - first:
            raise ValueError(f"the machine holds a batch of {self.batch_rows} rows, asked for one of {stop - first}")
        if scored and not self._score(job, sums):
            return "not_finite"
        if job.stages & _core.OUTPUT:
            for output, value in zip(job.outputs, self.plan.outputs, strict=True):
                if output is not None:
                    output[first:stop] = self.values[value]
        if job.stages & _core.BACKWARD:
            self._backward(job)
        return "ok"

    def value(self, index: int, gradient: bool = False) -> np.ndarray:
        """Return a copy of a value, or of its gradient, as the last batch left it, [B, width]."""
        array = (self.gradients if gradient else self.values)[index]
        if array is None:
            raise ValueError(f"value {index} has no {'gradient' if gradient else 'content'}: run a batch first")
        return array.copy()

    def set_gradient(self, index: int, array) -> None:
        """Set the gradient of a value: what a loss of the user's own found, between LOSS and BACKWARD."""
        expected = (self.batch_rows, self.widths[index])
        if np.shape(array) != expected:
            raise ValueError(f"gradient of value {index} must have shape {expected}, got {np.shape(array)}")
        self.gradients[index] = np.array(array, self.dtype)

    def predict_one(self, x, out=None) -> np.ndarray:
        """Return all outputs, one after the other, of one row [I] (several inputs: one after the other)."""
        x = np.asarray(x).reshape(1, -1)
        widths = {op.slot: self.widths[op.y] for op in self.ops if op.kind == OP["input"]}
        if x.shape[1] != sum(widths.values()):
            raise ValueError(f"x must have {sum(widths.values())} elements, got {x.shape[1]}")
        ends = np.cumsum([widths[slot] for slot in sorted(widths)])[:-1]
        job = Job(inputs=np.split(x, ends, axis=1), rows=1, stages=_core.FORWARD)
        self.run(job, 0, 1)
        row = np.concatenate([self.values[v][0] for v in self.plan.outputs])
        if out is None:
            return row
        out[...] = row
        return out

    # ---- arenas --------------------------------------------------------------------------------------------------

    def _unpack(self) -> None:
        def matrices(arena):
            return [unpack(arena, record) for record in self.plan.params]

        self.params = matrices(self._arena)
        if self._grad_arena is not None:
            self.param_gradients = matrices(self._grad_arena)
            self.slots = [matrices(arena) for arena in self._slot_arenas]

    def _pack(self, stages: int) -> None:
        """Write back what these stages changed."""
        updated = bool(stages & _core.UPDATE)
        pairs = [(self._grad_arena, self.param_gradients)] if stages & (_core.BACKWARD | _core.UPDATE) else []
        if updated:
            pairs += [(self._arena, self.params), *zip(self._slot_arenas, self.slots, strict=True)]
        for arena, matrices in pairs:
            for record, matrix, trainable in zip(self.plan.params, matrices, self.trainable, strict=True):
                if trainable:
                    pack(arena, record, matrix)
        if updated:
            for op in self.tracked:
                for p in (op.w2 + 2, op.w2 + 3):
                    pack(self._arena, self.plan.params[p], self.params[p])
