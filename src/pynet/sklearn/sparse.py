"""CSR matrices as inputs of a trainer: only the rows of one batch are ever dense."""

from __future__ import annotations

import copy
import time

import numpy as np
from scipy.sparse import issparse

from .. import _core
from ..external import SCORE, external_batch
from ..parallel import ALONE
from ..trainer import Trainer

__all__ = ["RowTrainer", "batch_of", "rows_at_a_time"]

ELEMENTS = 1 << 18  # of a piece of X that is dense


def rows_at_a_time(width: int) -> int:
    """Return how many rows of `width` features are made dense at a time where no batch size says so."""
    return max(32, ELEMENTS // width)


class CSRRows:
    """A CSR matrix [N, I] where a trainer expects an array."""

    def __init__(self, matrix) -> None:
        self.matrix = matrix
        self.shape, self.dtype = matrix.shape, matrix.dtype
        self._places: tuple = (0, 0, None)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows):
        """Return the numbers stored for some rows: what tells one matrix from another."""
        return self.matrix[rows].data

    def dense(self, rows):
        """Return some rows as an array [B, I]."""
        return self.matrix[rows].toarray()

    def places(self, rows: int, batch: int):
        """Return where in its batch each of `rows` rows stands, int64 [rows]."""
        if self._places[:2] != (rows, batch):
            self._places = rows, batch, np.arange(rows, dtype=np.int64) % batch
        return self._places[2]


def batch_of(job, k: int):
    """Return a job whose batch `k` is that of `job`, its rows made dense; it adds to the sums of `job`.

    It is no job of that batch alone, for the random numbers of a row depend on its place in the job.
    """
    rows = slice(k * job.batch, min((k + 1) * job.batch, job.rows))
    picked = rows if job.order is None else job.order[rows]
    part = copy.copy(job)
    part.inputs = [x.dense(picked) for x in job.inputs]
    part.targets = [t[picked] for t in job.targets]
    part.weight = None if job.weight is None else job.weight[picked]
    part.order, part.ahead = job.inputs[0].places(job.rows, job.batch), 0
    return part


class RowTrainer(Trainer):
    """A trainer that also takes a CSR matrix as X."""

    def _inputs(self, X, name):
        if not issparse(X):
            return super()._inputs(X, name)
        width = self.model.inputs[0].width
        if X.shape[1] != width:
            raise ValueError(f"{name} must have shape [N, {width}], got {X.shape}")
        return [CSRRows(X.tocsr())], X.shape[0]

    def _advance(self, plan, machine, job, first, count, seconds):
        if not isinstance(job.inputs[0], CSRRows):
            return super()._advance(plan, machine, job, first, count, seconds)
        done, begun = 0, time.perf_counter()
        while done < count and (done == 0 or time.perf_counter() - begun < seconds):
            super()._advance(plan, machine, batch_of(job, first + done), first + done, 1, seconds)
            done += 1
        return done

    def _score(self, inputs, targets, weight, rows, order=None, *, batch, ranks=ALONE):
        if not isinstance(inputs[0], CSRRows):
            return super()._score(inputs, targets, weight, rows, order, batch=batch, ranks=ranks)
        plan, machine = self._machine("score", self.heads.resolve(targets), min(batch, rows))
        job = self._job(plan, inputs, targets, weight, rows, min(batch, rows), SCORE)
        job.order = order
        for k in range(-(-rows // job.batch)):
            if self.run_batch(plan, machine, job, k, 0) != "ok":
                job.sums[:] = float("nan")
                break
        return self.heads.logs(plan, job.sums)

    def run_batch(self, plan, machine, job, k: int, stages: int) -> str:
        """Score batch `k` of a job, and run `stages` (0, or _core.BACKWARD); return the machine's status."""
        part = batch_of(job, k) if isinstance(job.inputs[0], CSRRows) else job
        if self.heads.external:
            external_batch(self, plan, machine, part, k, stages and _core.BACKWARD)
            return "ok"
        part.stages = SCORE | stages
        return machine.run(part, k, 1)[1]
