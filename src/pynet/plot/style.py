"""What all plots share: matplotlib itself, axes, colours, and texts that come from files.

Colours are those of Okabe and Ito (2008), which people with any kind of colour vision tell apart; every series has its
own mark as well.
"""

from __future__ import annotations

import numpy as np

from ..summary import printable

__all__ = [
    "BLUE", "COLOURS", "GREEN", "GREY", "MARKS", "ORANGE", "axes_for", "bin_edges", "check_names", "figure_for",
    "finished", "module", "plain", "tidy",
]  # fmt: skip

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#5A5A5A"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#B8A800", "#000000")
MARKS = "osD^vPX*"


def module(name: str):
    """Return a module of matplotlib."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f'plots need matplotlib ({error}): pip install "pynet[plot]"') from error


def axes_for(ax, size: tuple[float, float]):
    """Return `ax`, or the Axes of a new figure of `size` inches."""
    if ax is None:
        return module("matplotlib.pyplot").subplots(figsize=size, layout="constrained")[1]
    if not isinstance(ax, module("matplotlib.axes").Axes):
        raise TypeError(f"ax must be an Axes of matplotlib, got {type(ax).__name__}")
    return ax


def figure_for(n: int, columns: int, panel: tuple[float, float]):
    """Return a new figure and `n` Axes in rows of up to `columns`, each `panel` inches wide and high."""
    columns = min(n, columns)
    rows = -(-n // columns)
    figure, axes = module("matplotlib.pyplot").subplots(
        rows, columns, figsize=(panel[0] * columns, panel[1] * rows), squeeze=False, layout="constrained"
    )
    for ax in axes.flat[n:]:
        ax.remove()
    return figure, list(axes.flat[:n])


def bin_edges(low: float, high: float, bins: int) -> np.ndarray:
    """Return the edges of a histogram; numbers that differ by rounding alone, or not at all, get bins around them."""
    low, high = float(low), float(high)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        around = max(abs(low), abs(high)) / 2 or 0.5
        low, high = low - around, high + around
    return np.linspace(low, high, bins + 1)


def finished(ax, title: str, across: str = "", up: str = "", legend: str | None = "best"):
    """Return `ax` with a title, names of its axes, where they are told, and a legend there, or none."""
    ax.set_title(title, loc="left")
    if across:
        ax.set_xlabel(across)
    if up:
        ax.set_ylabel(up)
    if legend:
        ax.legend(frameon=False, fontsize="small", loc=legend)
    tidy(ax)
    return ax


def tidy(ax) -> None:
    """Take away the frame but for two sides, and draw a faint grid."""
    ax.grid(True, alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def plain(text, limit: int = 24) -> str:
    """Return a name as matplotlib shows it as it is: one line, no mathematics between dollars, cut to `limit`."""
    shown = printable(text)
    shown = shown if len(shown) <= limit else shown[: limit - 1] + "…"
    return shown.replace("$", r"\$")


def check_names(argument: str, names, n: int, of: str) -> list[str]:
    """Return `n` names as texts, the numbers from 0 where `names` is None."""
    if names is None:
        return [str(k) for k in range(n)]
    if isinstance(names, (str, bytes)) or not hasattr(names, "__len__"):
        raise TypeError(f"{argument} must be a list of names, got {type(names).__name__}")
    if len(names) != n:
        raise ValueError(f"{argument} must be {n} names, one for each {of}, got {len(names)}")
    return [str(name) for name in np.asarray(names, object)]
