"""solver="lbfgs": the loss over all rows, minimised by L-BFGS-B of SciPy (Byrd, Lu, Nocedal, Zhu 1995)."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

from .. import _core
from ..external import SCORE
from ..plan import pack

__all__ = ["fit_lbfgs"]


def fit_lbfgs(trainer, X, targets, weight, shares, *, rows: int, max_iter: int, max_fun: int, tol: float):
    """Train the model of `trainer`; return (iterations, loss).

    The vector that is searched holds the trainable parameters, in the order of the model's arena.

    Parameters
    ----------
    trainer : RowTrainer
        Of a model in float64.
    X, targets, weight
        As of Trainer.fit.
    shares : array [N] or None
        What each row counts in the mean over the rows; None: the same.
    rows : int
        Computed at a time.
    max_iter, max_fun : int
        Most iterations, and evaluations of loss and gradient.
    tol : float
        It ends where no element of the gradient is larger.

    Raises
    ------
    FloatingPointError
        The loss is NaN or infinite where the search begins.
    """
    inputs, targets, weight, n = trainer._prepare(X, targets, weight)
    heads, batch = trainer.heads.resolve(targets), min(rows, n)
    plan, machine = trainer._machine("gradients", heads, batch)
    job = trainer._job(plan, inputs, targets, weight, n, batch, SCORE | _core.BACKWARD)
    parts = np.ones(1)
    if batch < n:
        starts = np.arange(0, n, batch)
        sums = np.add.reduceat(np.ones(n) if shares is None else shares, starts)
        parts = sums / sums.sum()
    arena, gradient = trainer.model.arena, trainer._scratch
    places = _places(trainer.model)

    def objective(theta):
        arena[places] = theta
        loss, slope = 0.0, np.zeros(len(theta))
        for k, part in enumerate(parts):
            if part == 0:
                continue
            job.sums[:] = 0
            try:
                status = trainer.run_batch(plan, machine, job, k, _core.BACKWARD)
            except FloatingPointError:
                status = "not_finite"
            if status != "ok":
                return np.inf, np.zeros(len(theta))
            loss += part * trainer.heads.logs(plan, job.sums)["loss"]
            slope += part * gradient[places]
        return loss, slope

    start = arena[places]
    if not np.isfinite(objective(start)[0]):
        raise FloatingPointError("the loss is NaN or infinite with the initial weights")
    options = {"maxfun": max_fun, "maxiter": max_iter, "gtol": tol}
    with _blas().limit(limits=1, user_api="blas"):
        result = minimize(objective, start, method="L-BFGS-B", jac=True, options=options)
    arena[places] = result.x
    iterations = min(result.nit, max_iter)
    if result.status != 0:
        message = result.message.decode("latin1") if isinstance(result.message, bytes) else result.message
        warnings.warn(
            f"lbfgs failed to converge after {iterations} iterations (status={result.status}): {message}. Raise "
            "max_iter, scale the data, or both",
            ConvergenceWarning,
            stacklevel=5,
        )
    return iterations, float(result.fun)


@cache
def _blas() -> ThreadpoolController:
    """Return what sets the threads of BLAS: those of SciPy's wait for each other longer than they compute."""
    return ThreadpoolController()


def _places(model) -> np.ndarray:
    """Return where in the arena trainable parameters stand, pruned ones excepted."""
    marks = np.zeros(len(model.arena))
    for weight, record in zip(model.weights, model.weights.records, strict=True):
        if weight.trainable and weight.layer.trainable:
            pack(marks, record, np.ones(weight.shape))
    model.weights.clear_pruned(marks)
    return np.flatnonzero(marks)
