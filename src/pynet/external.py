"""Losses that are objects of the user: one batch at a time, with Python between the ways up and down."""

from __future__ import annotations

import numpy as np

from . import _core
from .plan import Job

__all__ = ["SCORE", "external_batch"]

SCORE = _core.FORWARD | _core.LOSS | _core.METRIC


def external_batch(trainer, plan, machine, job: Job, k: int, stages: int) -> None:
    """One batch whose loss, or one of whose losses, is computed in Python."""
    before = job.sums.copy()
    job.stages = SCORE
    _, status = machine.run(job, k, 1)
    if status != "ok":
        trainer._fail(status, k)
    rows = slice(k * job.batch, min((k + 1) * job.batch, job.rows))
    picked = rows if job.order is None else job.order[rows]
    slot = 0
    for i, loss in enumerate(trainer.heads.losses):
        if loss is None:
            continue
        if hasattr(loss, "user"):
            index = plan.head_values[i]
            prediction = machine.value(index)
            value, gradient = _call_loss(loss, prediction, job.targets[slot][picked])
            first = next(f for kind, head, _, f, _ in plan.sum_slots if kind == "loss" and head == i)
            job.sums[first : first + 2] += value * len(prediction), len(prediction)
            with np.errstate(over="ignore"):  # what the dtype cannot hold is no gradient
                gradient = (gradient * trainer.heads.weights[i]).astype(prediction.dtype)
            if not (np.isfinite(value) and np.isfinite(gradient).all()):
                job.sums[:] = before
                trainer._fail("not_finite", k)
            machine.set_gradient(index, gradient)
        slot += 1
    if stages:
        job.stages = stages
        machine.run(job, k, 1)


def _call_loss(loss, prediction: np.ndarray, target) -> tuple[float, np.ndarray]:
    """Call a loss object of the user's and check what it returns."""
    result = loss.user.value_and_gradient(prediction, target)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{loss.name}.value_and_gradient must return (value, gradient), got {type(result).__name__}")
    gradient = np.asarray(result[1])
    if gradient.dtype.kind not in "biuf":
        raise TypeError(f"{loss.name}: the gradient must be real numbers, got dtype {gradient.dtype}")
    if gradient.shape != prediction.shape:
        raise ValueError(f"{loss.name}: the gradient must have shape {prediction.shape}, got {gradient.shape}")
    return float(result[0]), gradient
