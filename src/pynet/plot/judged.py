"""What predictions are worth: confusion, calibration, residuals, importance of columns."""

from __future__ import annotations

import numpy as np

from .._check import integer, unknown
from ..scores import calibration, check_classes, check_numbers, confusion, metric
from .style import BLUE, COLOURS, GREY, MARKS, ORANGE, axes_for, bin_edges, check_names, finished, plain

__all__ = ["confusion_matrix", "importance", "predicted", "reliability", "residuals"]

NUMBERED = 12  # up to so many classes, the cells of a confusion matrix show their counts
NAMED = 30  # up to so many, its axes name the classes
MANY = 400  # more points than this are drawn as pixels, not as shapes


def confusion_matrix(y_true, prediction, classes=None, ax=None):
    """Draw how many rows of each class were taken for which class; a row of the matrix is coloured by its shares.

    Parameters
    ----------
    y_true : int array [B]
        Class numbers 0..C-1.
    prediction : array [B, C]
        Probabilities; [B] or [B, 1] of the second of two classes.
    classes : list of C names, optional
    ax : matplotlib Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        The arrays or the names do not fit.
    """
    y, p = check_classes(y_true, prediction)
    n = p.shape[1]
    names = [plain(name, 16) for name in check_names("classes", classes, n, "class")]
    counts = confusion(y, p)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(3.2 + 0.3 * n, 8.0)
    ax = axes_for(ax, (side + 0.9, side))
    if n <= NAMED:
        grid = np.arange(n + 1) - 0.5
        image = ax.pcolormesh(grid, grid, share, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=0.5)
        ax.set_ylim(n - 0.5, -0.5)
        long = max(map(len, names)) * n > 40
        turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long else {}
        ax.set_xticks(range(n), names, **turned)
        ax.set_yticks(range(n), names)
    else:
        image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    for (i, j), count in np.ndenumerate(counts if n <= NUMBERED else np.zeros((0, 0))):
        color = "white" if share[i, j] > 0.55 else "black" if count else "#9A9A9A"
        ax.text(j, i, f"{count}", ha="center", va="center", fontsize="small", color=color)
    ax.figure.colorbar(image, ax=ax, label="share of the true class")
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.set_title("Confusion matrix (rows of data)" if n <= NUMBERED else "Confusion matrix", loc="left")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def reliability(y_true, prediction, bins: int = 10, ax=None):
    """Draw how often predictions are right over how sure they are (a reliability diagram), with the rows of each bin.

    Parameters
    ----------
    y_true, prediction
        As of `confusion_matrix`.
    bins : int
        Of equal width over [0, 1], 1 to 1000.  Default 10.
    ax : matplotlib Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes
        Its title has the expected calibration error (Guo et al. 2017, arXiv:1706.04599).

    Raises
    ------
    TypeError, ValueError
        The arrays do not fit, or bins is out of range.
    """
    found = calibration(*check_classes(y_true, prediction), bins)
    ax = axes_for(ax, (5.0, 4.2))
    share = found.counts / found.counts.sum()
    middle = (found.edges[1:] + found.edges[:-1]) / 2
    full = found.counts > 0
    width = np.diff(found.edges) * 0.94
    ax.bar(middle, share, width, color=GREY, alpha=0.3, linewidth=0, label="share of the rows, and how many")
    if bins <= 20:
        for x, height, n in zip(middle[full], share[full], found.counts[full], strict=True):
            ax.text(x, height + 0.01, str(n), ha="center", va="bottom", fontsize="x-small", color=GREY)
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="as sure as right")
    right = found.confidence[full], found.accuracy[full]
    ax.plot(*right, color=BLUE, marker="o", linewidth=1.4, label="share that is right")
    ax.set(xlim=(0, 1), ylim=(0, 1.07))
    names = "confidence: the largest probability", "accuracy of the rows of a bin"
    return finished(ax, f"Calibration, expected error {found.ece:.3f}", *names, "upper left")


def predicted(y_true, prediction, names=None, ax=None):
    """Draw predictions over what they should be, with the diagonal on which perfect ones lie.

    Parameters
    ----------
    y_true, prediction : arrays [B] or [B, O]
        In the same units.
    names : list of O names, optional
        Of the outputs.
    ax : matplotlib Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        The arrays or the names do not fit.
    """
    y, p, names = _named_numbers(y_true, prediction, names)
    ax = axes_for(ax, (4.6, 4.4))
    low, high = min(y.min(), p.min()), max(y.max(), p.max())
    ax.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1, label="as it should be")
    _points(ax, y, p, names)
    return finished(ax, f"Predicted and true, R² {metric('r2', y, p):.4f}", "true", "predicted", "upper left")


def residuals(y_true, prediction, names=None, ax=None, *, kind: str = "histogram"):
    """Draw the residuals, prediction - truth.

    Parameters
    ----------
    y_true, prediction, names, ax
        As of `predicted`.
    kind : "histogram" or "points"
        How often which residual comes, with the normal density of the same mean and deviation; or over the
        predictions, where a slope or a funnel would show that something is left to learn.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        The arrays or the names do not fit; another kind.
    """
    y, p, names = _named_numbers(y_true, prediction, names)
    if kind not in ("histogram", "points"):
        raise unknown("kind", kind, ("histogram", "points"))
    error = p - y
    ax = axes_for(ax, (4.8, 3.8))
    if kind == "points":
        ax.axhline(0, color=GREY, linestyle="--", linewidth=1)
        _points(ax, p, error, names)
        legend = "best" if len(names) > 1 else None
        return finished(ax, "Residuals", "predicted", "residual, predicted - true", legend)
    edges = bin_edges(error.min(), error.max(), int(np.clip(np.sqrt(len(error)) * 1.5, 10, 60)))
    for k, name in enumerate(names):
        label = plain(name) if len(names) > 1 else "residuals"
        ax.hist(error[:, k], edges, density=True, color=COLOURS[k % len(COLOURS)], alpha=0.55, label=label)
    mean, deviation = error.mean(), error.std()
    if len(names) == 1 and deviation > 0:
        x = np.linspace(edges[0], edges[-1], 200)
        density = np.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))
        ax.plot(x, density, color=ORANGE, linewidth=1.4, label="normal density")
    ax.axvline(0, color=GREY, linestyle="--", linewidth=1)
    title = f"Residuals: mean {mean:.3g}, deviation {deviation:.3g}"
    return finished(ax, title, "residual, predicted - true", "density")


def importance(importance, most: int = 20, ax=None):
    """Draw by how much the loss grows when the values of a column are shuffled.

    Parameters
    ----------
    importance : list of (name, increase, deviation)
        The mean increase of the loss over several shuffles, and its standard deviation.
    most : int
        So many columns, those with the largest increase.  Default 20.
    ax : matplotlib Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        `importance` is empty, or an entry is no name with two finite numbers, the second of them not below 0.
    """
    rows = check_importance(importance)
    most = integer("most", most, 1)
    shown = sorted(rows, key=lambda row: -row[1])[:most]
    ax = axes_for(ax, (5.4, 1.3 + 0.26 * max(len(shown), 3)))
    increase, deviation = [row[1] for row in shown], [row[2] for row in shown]
    ax.barh(range(len(shown)), increase, 0.7, color=BLUE, alpha=0.85)
    ax.errorbar(increase, range(len(shown)), xerr=deviation, fmt="none", ecolor=ORANGE, elinewidth=1.4, capsize=2.5)
    ax.set_yticks(range(len(shown)), [plain(row[0]) for row in shown])
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.axvline(0, color=GREY, linewidth=1)
    rest = f" (the first {len(shown)} of {len(rows)} columns)" if len(rows) > len(shown) else ""
    across = "increase of the loss when the column is shuffled"
    finished(ax, f"Permutation importance{rest}", across, legend=None)
    ax.grid(False, axis="y")
    return ax


def check_importance(importance) -> list[tuple[str, float, float]]:
    """Return the entries as (text, float, float)."""
    if not isinstance(importance, (list, tuple)) or not importance:
        got = type(importance).__name__ if not isinstance(importance, (list, tuple)) else "an empty one"
        raise TypeError(f"importance must be a list of (name, increase, deviation), got {got}")
    rows = []
    for k, entry in enumerate(importance):
        try:
            name, increase, deviation = entry
            row = str(name), float(increase), float(deviation)
        except (TypeError, ValueError):
            raise ValueError(f"importance[{k}] must be (name, increase, deviation), got {entry!r}") from None
        if not (np.isfinite(row[1:]).all() and row[2] >= 0):
            raise ValueError(f"importance[{k}] must have finite numbers and a deviation >= 0, got {entry!r}")
        rows.append(row)
    return rows


def _named_numbers(y_true, prediction, names) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return targets and predictions [B, O], and a name for each of the O outputs."""
    y, p = check_numbers(y_true, prediction)
    return y, p, check_names("names", names, y.shape[1], "output")


def _points(ax, x: np.ndarray, y: np.ndarray, names: list[str]) -> None:
    """Draw the points of each output in its colour and mark; fainter where there are many."""
    n = len(x)
    faint = float(np.clip(60 / np.sqrt(n), 0.12, 0.8))
    for k, name in enumerate(names):
        label = plain(name) if len(names) > 1 else None
        ax.scatter(
            x[:, k], y[:, k], s=10 if n <= MANY else 6, color=COLOURS[k % len(COLOURS)], marker=MARKS[k % len(MARKS)],
            alpha=faint, linewidths=0, label=label, rasterized=n * len(names) > MANY,
        )  # fmt: skip
