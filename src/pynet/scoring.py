"""What a trainer computes without a step: scores of all rows, and gradients."""

from __future__ import annotations

import numpy as np

from . import _core
from .external import SCORE, external_batch
from .fit import SLICE_SECONDS, check_batches
from .layer_base import flag
from .parallel import Ranks
from .plan import unpack

__all__ = ["gradients", "score_sums"]


def score_sums(trainer, inputs, targets, weight, rows, order, batch: int, ranks: Ranks):
    """Return the plan and the sums of this rank's parts."""
    size = min(batch * ranks.n_parts, rows)
    plan, machine = trainer._machine("score", trainer.heads.resolve(targets), -(-size // ranks.n_parts))
    job = trainer._job(plan, inputs, targets, weight, rows, size, SCORE)
    job.order, job.parts = order, ranks.parts
    job.sums = np.zeros(ranks.own * plan.n_sums)
    n = -(-rows // job.batch)
    if trainer.heads.external:
        for k in range(n):
            external_batch(trainer, plan, machine, job, k, 0)
    else:
        done, status = 0, "ok"
        while done < n and status == "ok":  # in slices, for Ctrl-C
            count, status = machine.run(job, done, n - done, SLICE_SECONDS)
            done += count
        if status == "bad_label":
            trainer._fail(status, done)
        if status != "ok":  # a model that diverged has a score all the same
            job.sums[:] = np.nan
    return plan, job.sums


def gradients(trainer, X, y, sample_weight, class_weight, training: bool) -> dict[str, np.ndarray]:
    """Return what Trainer.gradients returns."""
    inputs, targets, weight, rows = trainer._prepare(X, y, sample_weight, class_weight)
    mode = "train" if flag("training", training) else "gradients"
    plan, machine = trainer._machine("gradients", trainer.heads.resolve(targets), rows, True, mode)
    check_batches(plan, rows, rows)
    job = trainer._job(plan, inputs, targets, weight, rows, rows, SCORE | _core.BACKWARD)
    if trainer.heads.external:
        external_batch(trainer, plan, machine, job, 0, _core.BACKWARD)
    else:
        _, status = machine.run(job, 0, 1)
        if status != "ok":
            trainer._fail(status, 0)
    result = {}
    for name, record, own in zip(plan.param_names, plan.params, trainer.model.weights, strict=True):
        if record["flags"] & _core.TRAINABLE:
            result[name] = unpack(trainer._scratch, record).reshape(own.shape)
    for value, index in zip(trainer.model.inputs, plan.input_gradients, strict=True):
        if index != _core.NONE:
            gradient = machine.value(index, gradient=True)
            scale = _scale(trainer, value.layer)
            result[trainer.model.names[value.layer]] = gradient if scale is None else gradient * scale
    return result


def _scale(trainer, layer) -> np.ndarray | None:
    """Return the scale of an Input, None if it has none."""
    weights = trainer.model.weights
    index = weights.index.get((layer, "scale"))
    return None if index is None else unpack(weights.arena, weights.records[index])
