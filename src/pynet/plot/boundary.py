"""What a model of two features answers everywhere in their plane."""

from __future__ import annotations

import numpy as np

from .._check import integer
from ..arrays import as_rows, check_finite
from ..opened import check_model
from ..scores import check_classes, check_numbers
from .style import COLOURS, MARKS, axes_for, check_names, module, plain

__all__ = ["decision_boundary"]

MARGIN = 0.08  # of the span of the data, on every side
MOST = 8  # classes that have a colour


def decision_boundary(model, X, y, ax=None, *, classes=None, features=None, resolution: int = 200):
    """Draw what a model answers over the plane of its two features, and the rows of data.

    Parameters
    ----------
    model : Model
        With one input of two features and one output.  Several numbers there are classes: each place has the colour of
        the largest, the fainter the less probable it is if they are probabilities (softmax).  One number behind a
        sigmoid is the probability of the second of two classes; any other is a quantity, drawn by its levels.
    X : array-like [N, 2]
    y : array [N]
        Class numbers; or the quantity.
    ax : matplotlib Axes, optional
        Default: a new figure.
    classes, features : lists of str, optional
        Names of the classes, and of the two features.
    resolution : int
        Points along each axis at which the model is asked, 2 to 2000.  Default 200.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        The model has another number of features or outputs, or more than 8 classes; X, y or names do not fit it.
    """
    check_model("model", model)
    shapes = [[value.shape for value in values] for values in (model.inputs, model.outputs)]
    if shapes[0] != [(2,)] or len(shapes[1]) != 1 or len(shapes[1][0]) != 1:
        raise ValueError(f"model must have one input of 2 features and one output, got {shapes[0]} and {shapes[1]}")
    resolution = integer("resolution", resolution, 2, 2000)
    X = as_rows("X", X, 2).astype(np.float64)
    if not len(X):
        raise ValueError("X has no rows")
    check_finite("X", X)
    width, activation = model.outputs[0].width, model.outputs[0].activation.name
    if width > MOST:
        raise ValueError(f"model has {width} classes, more than the {MOST} that have a colour")
    features = check_names("features", features if features is not None else ["x₁", "x₂"], 2, "feature")
    quantity = width == 1 and activation != "sigmoid"
    if quantity:
        y = check_numbers(y, np.zeros(len(X)), "y")[0][:, 0]
    else:
        y = check_classes(y, np.zeros((len(X), max(width, 2))), "y")[0]
    low, high = X.min(axis=0), X.max(axis=0)
    margin = MARGIN * np.where(high > low, high - low, 1)
    across, up = (np.linspace(*ends, resolution) for ends in zip(low - margin, high + margin, strict=True))
    answer = model.predict(np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2))
    answer = np.asarray(answer, np.float64).reshape(resolution, resolution, width)
    ax = axes_for(ax, (5.6, 4.4))
    if quantity:
        if classes is not None:
            raise ValueError("classes must be left out where the model answers with a quantity")
        _levels(ax, across, up, answer[..., 0], X, y)
    else:
        names = check_names("classes", classes, max(width, 2), "class")
        if width == 1:
            answer = np.concatenate([1 - answer, answer], axis=2)
        _regions(ax, across, up, answer, activation in ("softmax", "sigmoid"))
        for k, name in enumerate(names):
            ax.scatter(
                *X[y == k].T, s=22, color=COLOURS[k], marker=MARKS[k], edgecolors="white", linewidths=0.5,
                label=plain(name), zorder=3,
            )  # fmt: skip
        ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, title="class")
    ax.set(xlabel=plain(features[0]), ylabel=plain(features[1]))
    ax.set(xlim=(across[0], across[-1]), ylim=(up[0], up[-1]))
    ax.set_title("What the model answers" if quantity else "Decision boundary", loc="left")
    return ax


def _regions(ax, across, up, answer, probable: bool) -> None:
    """Colour each place by its class, and draw the lines between the classes."""
    colours = np.array([module("matplotlib.colors").to_rgb(c) for c in COLOURS[: answer.shape[2]]])
    winner = answer.argmax(axis=2)
    strength = np.full(winner.shape, 0.3)
    if probable:
        least = 1 / answer.shape[2]
        strength = 0.04 + 0.36 * (answer.max(axis=2) - least) / (1 - least)
    image = 1 - strength[..., None] * (1 - colours[winner])
    extent = (across[0], across[-1], up[0], up[-1])
    ax.imshow(image, extent=extent, origin="lower", aspect="auto", interpolation="bilinear", zorder=0)
    for k in range(answer.shape[2]):
        others = np.delete(answer, k, axis=2).max(axis=2)
        lead = answer[..., k] - others
        if lead.min() < 0 < lead.max():
            ax.contour(across, up, lead, [0], colors="#303030", linewidths=1, zorder=1)


def _levels(ax, across, up, answer, X, y) -> None:
    """Draw the levels of a quantity, and the rows in the same colours."""
    low, high = min(answer.min(), y.min()), max(answer.max(), y.max())
    levels = module("matplotlib.ticker").MaxNLocator(14).tick_values(low, high if high > low else low + 1)
    norm = module("matplotlib.colors").Normalize(levels[0], levels[-1])
    filled = ax.contourf(across, up, answer, levels, cmap="viridis", norm=norm)
    ax.scatter(*X.T, c=y, s=22, cmap="viridis", norm=norm, edgecolors="white", linewidths=0.6, zorder=3)
    ax.figure.colorbar(filled, ax=ax, label="answer; of the points the true value")
