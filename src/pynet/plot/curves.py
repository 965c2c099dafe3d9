"""Curves over the epochs of a fit."""

from __future__ import annotations

import numpy as np

from .._check import unknown
from .style import BLUE, ORANGE, axes_for, figure_for, finished, module, plain

__all__ = ["curves_of", "history"]

FEW = 40  # up to so many epochs, each has its mark
WIDE = 20.0  # a positive quantity whose largest value is more than so many times its smallest has a logarithmic axis


def history(history, ax=None, *, quantities=None):
    """Draw losses and metrics over the epochs, those of training and of validation rows in one panel.

    Parameters
    ----------
    history : History, dict of lists, or Trainer
        What `Trainer.fit` returns.
    ax : matplotlib Axes, or list of them, optional
        One for each quantity.  Default: those of a new figure.
    quantities : str or list of str, optional
        "loss", "accuracy" ...: what to draw.  Default: everything; on one Axes of yours the loss.

    Returns
    -------
    Figure
        With a panel for each quantity.  A loss that spans more than a factor of 20 has a logarithmic axis.

    Raises
    ------
    TypeError, ValueError
        `history` is none, or holds no epoch; a quantity is not in it; there are not as many Axes as quantities.
    """
    curves = curves_of(history)
    known = list(dict.fromkeys(name.removeprefix("val_") for name in curves))
    axes = None if ax is None else list(np.ravel(ax))
    if quantities is None:
        quantities = known if axes is None or len(axes) > 1 else known[:1]
    quantities = [quantities] if isinstance(quantities, str) else list(quantities)
    for name in quantities:
        if name not in known:
            raise unknown("quantity", name, known)
    if not quantities:
        raise ValueError("quantities must name at least one")
    if axes is None:
        axes = figure_for(len(quantities), 3, (4.4, 3.2))[1]
    if len(axes) != len(quantities):
        raise ValueError(f"ax must be {len(quantities)} Axes, one for each of {quantities}, got {len(axes)}")
    for one, name in zip(axes, quantities, strict=True):
        _panel(axes_for(one, (0, 0)), name, curves)
    return axes[0].figure


def curves_of(history) -> dict[str, list[float]]:
    """Return {name: one number an epoch} of a History, a dict, or what has one of them as its `history`."""
    curves = history
    while not isinstance(curves, dict) and hasattr(curves, "history"):
        curves = curves.history
    if not isinstance(curves, dict):
        raise TypeError(f"history must be a History or a dict of lists, got {type(history).__name__}")
    lengths = {name: len(values) for name, values in curves.items()}
    if not lengths or not max(lengths.values()):
        raise ValueError("history holds no epoch: fit first")
    if len(set(lengths.values())) > 1:
        raise ValueError(f"history must hold as many numbers of each quantity, got {lengths}")
    return curves


def _panel(ax, name: str, curves: dict) -> None:
    ticker = module("matplotlib.ticker")
    drawn = []
    for key, label, color, mark in ((name, "training", BLUE, "o"), (f"val_{name}", "validation", ORANGE, "s")):
        if key in curves:
            values = np.asarray(curves[key], float)
            epochs = np.arange(1, len(values) + 1)
            style = {"marker": mark, "markersize": 3.5} if len(values) <= FEW else {}
            ax.plot(epochs, values, color=color, linewidth=1.4, label=label, **style)
            drawn.append(values[np.isfinite(values)])
    shown = np.concatenate(drawn)
    if name.endswith("loss") and len(shown) and shown.min() > 0 and shown.max() > WIDE * shown.min():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        ax.yaxis.set_minor_locator(ticker.NullLocator())
    if f"val_{name}" in curves and len(drawn[-1]) and name.endswith("loss"):
        best = int(np.nanargmin(np.asarray(curves[f"val_{name}"], float)))
        ax.axvline(best + 1, color=ORANGE, linewidth=1, linestyle=":", label=f"lowest: epoch {best + 1}")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.set_xlim(min(ax.get_xlim()[0], 0.7), max(ax.get_xlim()[1], 1.3))
    legend = "best" if len(ax.get_lines()) > 1 else None
    finished(ax, plain(name).replace("_", " "), "epoch", plain(name), legend)
