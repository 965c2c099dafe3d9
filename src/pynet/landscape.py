"""The loss as a landscape over the parameters: along a path, and on a plane.

Reached as ``pn.analysis.loss_along_path`` and ``loss_surface``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _check, philox
from .opened import check_model, clone
from .symmetry import Path
from .trainer import Trainer

__all__ = ["LossPath", "LossSurface", "loss_along_path", "loss_surface"]


@dataclass(frozen=True, eq=False)
class LossPath:
    """The loss along a path.

    Attributes
    ----------
    a : float array [S]
        Positions, 1 at the start and 0 at the end of the path.
    loss : float array [S]
        Mean over the rows, penalties included.
    """

    a: np.ndarray
    loss: np.ndarray

    @property
    def barrier(self) -> float:
        """How far the loss rises above the straight line between its ends, at most; 0 if it does not."""
        line = self.a * self.loss[0] + (1 - self.a) * self.loss[-1]
        return float((self.loss - line).max())

    def plot(self, ax=None):
        """Return the Axes on which it is drawn; see `analysis_plots.plot_loss_path`."""
        from .analysis_plots import plot_loss_path

        return plot_loss_path(self, ax)


@dataclass(frozen=True, eq=False)
class LossSurface:
    """The loss on a plane through the parameters of a model.

    Attributes
    ----------
    alpha, beta : float arrays [R]
        Multiples of the first and of the second direction; the model stands at 0, 0.
    loss : float array [R, R]
        loss[i, j] at (alpha[i], beta[j]): mean over the rows, penalties included; nan where it is not finite.
    """

    alpha: np.ndarray
    beta: np.ndarray
    loss: np.ndarray

    def plot(self, ax=None):
        """Return the Axes on which it is drawn; see `analysis_plots.plot_loss_surface`."""
        from .analysis_plots import plot_loss_surface

        return plot_loss_surface(self, ax)


def loss_along_path(path, X, y, loss, *, loss_weights=None) -> LossPath:
    """Evaluate the loss at every position of a path.

    Parameters
    ----------
    path : Path
        From interpolate_units or straight_path.
    X, y, loss, loss_weights
        As of Trainer and its `evaluate`.

    Returns
    -------
    LossPath

    Raises
    ------
    TypeError, ValueError
        `path` is no Path; otherwise as Trainer and its `evaluate`.
    """
    if not isinstance(path, Path):
        raise TypeError(f"path must come from interpolate_units or straight_path, got {type(path).__name__}")
    at = _evaluator(path.start, X, y, loss, loss_weights)
    return LossPath(path.a.copy(), np.array([at(path.state(a)) for a in path.a]))


def loss_surface(
    model,
    X,
    y,
    loss,
    *,
    directions=None,
    span: float = 1.0,
    resolution: int = 25,
    random_state: int = 0,
    loss_weights=None,
) -> LossSurface:
    """Evaluate the loss on a plane through the model's parameters.

    Parameters
    ----------
    model : Model
    X, y, loss, loss_weights
        As of Trainer and its `evaluate`.
    directions : pair of dicts {parameter name: array}, optional
        What spans the plane, taken as they are; parameters that are not named stay.  Default: two random directions,
        normalised by filter.
    span : float > 0
        The plane reaches from -span to span, in multiples of the directions.
    resolution : int >= 2
        Points along each direction; odd, so that the model itself is one of them, is best.
    random_state : int
        Seed of the random directions, 0 to 2^64-1.

    Returns
    -------
    LossSurface

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of range; a direction names no parameter, or has another shape.

    Notes
    -----
    Li et al. 2018 (arXiv:1712.09913), section 4: the weights of a direction that lead into one unit (a column of a
    kernel) are drawn from a normal distribution and scaled to the norm of the model's own, so that surfaces of nets
    whose weights have different scales can be compared.  Vectors (biases, statistics, constants) stay as they are.
    """
    check_model("model", model)
    span = _check.number("span", span, 0.0, low_open=True)
    axis = np.linspace(-span, span, _check.integer("resolution", resolution, 2))
    key = philox.key_of(random_state)
    base = model.state_dict()
    if directions is None:
        first, second = (_random_direction(base, key, number) for number in range(2))
    else:
        first, second = _checked_directions(base, directions)
    at = _evaluator(model, X, y, loss, loss_weights)
    values = np.empty((len(axis), len(axis)))
    for i, alpha in enumerate(axis):
        for j, beta in enumerate(axis):
            moved = {name: alpha * d for name, d in first.items()}
            for name, d in second.items():
                moved[name] = moved[name] + beta * d if name in moved else beta * d
            values[i, j] = at(base | {name: base[name] + step for name, step in moved.items()})
    return LossSurface(axis, axis.copy(), values)


def _evaluator(model, X, y, loss, loss_weights):
    """Return a function from a state dict to the loss; it computes on a copy of the model."""
    work = clone(model)
    trainer = Trainer(work, loss, "sgd", loss_weights=loss_weights)

    def at(state: dict) -> float:
        work.load_state_dict(state)
        return trainer.evaluate(X, y)["loss"]

    return at


def _random_direction(base: dict, key: int, number: int) -> dict[str, np.ndarray]:
    """Return normal numbers for every matrix, each column as long as the model's."""
    result = {}
    for index, (name, w) in enumerate(base.items()):
        if w.ndim == 2:
            d = philox.normal(key, (0, number, index), w.size).reshape(w.shape)
            result[name] = d * (np.linalg.norm(w, axis=0) / np.linalg.norm(d, axis=0))
    return result


def _checked_directions(base: dict, directions) -> list[dict[str, np.ndarray]]:
    if not isinstance(directions, (tuple, list)) or len(directions) != 2:
        raise TypeError("directions must be a pair of dicts {parameter name: array}")
    result = []
    for k, direction in enumerate(directions):
        if not isinstance(direction, dict):
            raise TypeError(f"directions[{k}] must be a dict of name -> array, got {type(direction).__name__}")
        for name, array in direction.items():
            if name not in base:
                raise ValueError(f"directions[{k}]: the model has no parameter {name!r}{_check.suggest(name, base)}")
            if np.shape(array) != base[name].shape:
                raise ValueError(
                    f"directions[{k}]: parameter {name!r} has shape {base[name].shape}, got {np.shape(array)}"
                )
        result.append({name: np.asarray(array, np.float64) for name, array in direction.items()})
    return result
