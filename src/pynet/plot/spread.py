"""Histograms of weights and of what layers compute."""

from __future__ import annotations

import numpy as np

from .._check import unknown
from ..arrays import as_inputs, check_finite
from ..opened import check_model, open_up, values
from .style import BLUE, ORANGE, bin_edges, figure_for, module, plain, tidy

__all__ = ["activations", "weights"]

BINS = 40


class _Histogram:
    """How often which number comes, met piece by piece: first all pieces to `meet`, then all to `count`."""

    def __init__(self) -> None:
        self.n = self.zeros = self.strange = self.inside = 0
        self.low, self.high = np.inf, -np.inf
        self.sum = self.squares = 0.0
        self.counts: np.ndarray | int = 0
        self.note = ""

    def _finite(self, x) -> np.ndarray:
        x = np.asarray(x, np.float64).reshape(-1)
        return x[np.isfinite(x)]

    def meet(self, x) -> None:
        found = self._finite(x)
        self.n += np.size(x)
        self.strange += np.size(x) - len(found)
        self.zeros += int((found == 0).sum())
        self.inside += len(found)
        self.sum, self.squares = self.sum + found.sum(), self.squares + found @ found
        if len(found):
            self.low, self.high = min(self.low, found.min()), max(self.high, found.max())

    def count(self, x) -> None:
        found = self._finite(x)
        if self.inside:
            self.counts = self.counts + np.histogram(found[found != 0], self.edges)[0]

    @property
    def edges(self) -> np.ndarray:
        bins = int(np.clip(2 * np.sqrt(self.inside - self.zeros), 10, BINS))
        return bin_edges(self.low, self.high, bins)

    def draw(self, ax, name: str, what: str, color: str) -> None:
        if self.inside:
            ax.stairs(self.counts, self.edges, fill=True, color=color, alpha=0.75)
            mean = self.sum / self.inside
            deviation = np.sqrt(max(self.squares / self.inside - mean * mean, 0.0))
            notes = [f"mean {mean:.2g}, deviation {deviation:.2g}"]
        else:
            notes = []
        if self.zeros:
            notes.append(f"{self.zeros / self.n:.1%} exactly 0, not drawn")
        if self.strange:
            notes.append(f"{self.strange} not finite")
        notes += [self.note] if self.note else []
        ax.set_title(plain(name, 36), loc="left", fontsize="medium", pad=6 + 9 * len(notes))  # points
        ax.text(0, 1.02, "\n".join(notes), transform=ax.transAxes, va="bottom", fontsize="x-small")
        ax.set_ylabel(what, fontsize="small")
        ax.tick_params(labelsize="small")
        ax.xaxis.set_major_locator(module("matplotlib.ticker").MaxNLocator(5))
        if not np.any(self.counts):
            ax.set(xticks=[], yticks=[])
        tidy(ax)


def weights(model, names=None):
    """Draw a histogram of each parameter.

    Parameters
    ----------
    model : Model
    names : list of str, optional
        Parameters, as `model.parameters()` calls them.  Default: all but the constants of an Input.

    Returns
    -------
    Figure
        A panel for each.  Weights that are exactly 0, as pruned ones are, are counted above the panel and not drawn.

    Raises
    ------
    TypeError, ValueError
        `model` is none, or has no parameters; a name is unknown.
    """
    check_model("model", model)
    arrays = model.parameters()
    masks = model.weights.masks()
    if names is None:
        names = [weight.name for weight in model.weights if not weight.layer.is_input]
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError("model has no parameters to draw")
    found = []
    for name in names:
        if name not in arrays:
            raise unknown("parameter", name, arrays)
        one = _Histogram()
        one.meet(arrays[name])
        one.count(arrays[name])
        pruned = int((~masks[name]).sum()) if name in masks else 0
        one.note = f"{pruned} of {one.n} pruned" if pruned else ""
        found.append(one)
    return _panels(names, found, "weights", ORANGE)


def activations(model, X):
    """Draw a histogram of what each layer computes for rows of data, as in prediction.

    Parameters
    ----------
    model : Model
    X : array-like [N, I], or a list or dict of them
        Rows that stand for the data, at least one; some hundred are enough.

    Returns
    -------
    Figure
        A panel for each call of a layer, after its activation.  Numbers that are exactly 0, as of a ReLU that is not
        active, are counted above the panel and not drawn.

    Raises
    ------
    TypeError, ValueError
        `model` is none, or X does not fit it, is not finite or has no rows.
    """
    opened, calls = open_up(model)
    inputs, rows = as_inputs(opened, X)
    if not rows:
        raise ValueError("X has no rows")
    for array in inputs:
        check_finite("X", array)
    found = [_Histogram() for _ in calls]
    nodes = [call.node for call in calls]
    for step in (_Histogram.meet, _Histogram.count):
        for batch in values(opened, nodes, inputs, rows):
            for one, x in zip(found, batch, strict=True):
                step(one, x)
    names = [f"{call.name}, {call.activation.name}".removesuffix(", identity") for call in calls]
    for name, k in {name: names.count(name) for name in names}.items():
        if k > 1:  # calls of one layer
            for i, at in enumerate([j for j, other in enumerate(names) if other == name], 1):
                names[at] = f"{name}, call {i}"
    return _panels(names, found, "values", BLUE)


def _panels(names: list[str], found: list[_Histogram], what: str, color: str):
    figure, axes = figure_for(len(found), 3, (3.2, 2.4))
    for ax, name, one in zip(axes, names, found, strict=True):
        one.draw(ax, name, what, color)
    return figure
