"""What runs other plans than the model's own: predictions with the random layers at work, batch norms recalibrated."""

from __future__ import annotations

import numpy as np

from . import _check, _core
from .arrays import as_inputs, check_finite
from .layer_base import flag
from .normalization import BatchNorm
from .philox import key_of
from .plan import NONE, Job, build, pack

__all__ = ["predict_samples", "recalibrate"]


def _rows(batch_size, n: int) -> int:
    return min(256 if batch_size is None else _check.integer("batch_size", batch_size, 1), max(n, 1))


# ---- Monte Carlo dropout ---------------------------------------------------------------------------------------------


def predict_samples(model, X, mc_samples, return_std, random_state, batch_size, out, backend):
    """See Model.predict.  Mean and variance are summed up in float64 (Welford 1962)."""
    if mc_samples is None:
        raise ValueError("return_std needs mc_samples, the number of predictions whose deviation it is")
    samples, key = _check.integer("mc_samples", mc_samples, 1), key_of(random_state)
    both = flag("return_std", return_std)
    plan = build(model, mode="sample")
    if not _is_random(plan):
        raise ValueError("mc_samples: nothing in the model is random (no Dropout, GaussianNoise, NoisyReLU or RReLU)")
    inputs, n = as_inputs(model, X)
    results = model._destinations(out, n)
    batch = _rows(batch_size, n)
    drawn = [np.empty((n, value.width), model.dtype) for value in model.outputs]
    means, squares = ([np.zeros(y.shape) for y in drawn] for _ in range(2))
    machine = model._machine(backend, batch, plan)
    for sample in range(samples if n else 0):
        model.run_batches(machine, Job(inputs=inputs, outputs=drawn, rows=n, batch=batch, seed=key, step=sample))
        for y, mean, square in zip(drawn, means, squares, strict=True):
            away = y - mean
            mean += away / (sample + 1)
            square += away * (y - mean)
    for result, mean in zip(results, means, strict=True):
        result[...] = mean.reshape(result.shape)
    spread = [np.sqrt(s / samples).astype(model.dtype).reshape(r.shape) for s, r in zip(squares, results, strict=True)]
    answers = [results, spread] if both else [results]
    answers = [arrays if len(arrays) > 1 else arrays[0] for arrays in answers]
    return tuple(answers) if both else answers[0]


def _is_random(plan) -> bool:
    ops = plan.ops
    fused = (ops["kind"] == _core.OPS["dense"]) & (ops["w2"] == NONE) & (ops["p"][:, 2] > 0)
    return bool((fused | (ops["kind"] == _core.OPS["random"])).any())


# ---- statistics of batch norms ---------------------------------------------------------------------------------------


def recalibrate(model, X, batch_size) -> None:
    """See Model.recalibrate."""
    norms = [layer for layer in model.layers if isinstance(layer, BatchNorm)]
    if not norms:
        raise ValueError("recalibrate: the model has no BatchNorm")
    inputs, n = as_inputs(model, X)
    if n < 2:
        raise ValueError(f"X must have at least 2 rows to take a variance over, got {n}")
    for array in inputs:
        check_finite("X", array)
    before = model.arena.copy()
    try:
        for layer in norms:  # in the order of the graph: what a norm reads depends on those before it
            mean, variance = _statistics(model, layer, inputs, n, _rows(batch_size, n))
            for suffix, values in (("mean", mean), ("variance", variance)):
                pack(model.arena, model.weights.records[model.weights.index[layer, suffix]], values)
    except BaseException:
        model.arena[:] = before
        raise
    model.weights.claim()


def _statistics(model, layer, inputs: list, n: int, batch: int):
    """Return mean and unbiased variance of what `layer` reads, over all rows and calls, merged in float64 (Chan, Golub,
    LeVeque 1979)."""
    read = list(dict.fromkeys(node.inputs[0] for node in model.nodes if node.layer is layer))
    plan = build(model, mode="predict", outputs=read)
    machine = model._machine("c", batch, plan)
    count, mean, square = 0, np.zeros(read[0].width), np.zeros(read[0].width)
    for first in range(0, n, batch):
        rows = [x[first : first + batch] for x in inputs]
        values = [np.empty((len(rows[0]), v.width), model.dtype) for v in read]
        model.run_batches(machine, Job(inputs=rows, outputs=values, rows=len(rows[0]), batch=len(rows[0])))
        with np.errstate(all="ignore"):  # what is not finite is refused below
            for x in values:
                own = x.mean(axis=0, dtype=np.float64)
                away, total = own - mean, count + len(x)
                square += ((x - own) ** 2).sum(axis=0) + away**2 * (count * len(x) / total)
                mean += away * (len(x) / total)
                count = total
    if not (np.isfinite(mean).all() and np.isfinite(square).all()):
        raise ValueError(f"recalibrate: what {layer!r} reads is not finite for some rows of X")
    return mean, square / (count - 1)
