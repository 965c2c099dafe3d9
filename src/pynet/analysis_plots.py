"""Plots of what pynet.analysis returns.  They need matplotlib:  pip install "pynet[plot]".

Each function takes a result and, if you want it inside a figure of your own, the Axes to draw on; it returns the Axes.
Colours and what all plots share stand in plot/style.py.
"""

from __future__ import annotations

import numpy as np

from .plot.style import BLUE, GREY, ORANGE, axes_for, finished, module

__all__ = [
    "plot_dead_units", "plot_gradient_flow", "plot_loss_path", "plot_loss_surface", "plot_variance_flow"
]  # fmt: skip

NAMED = 16  # up to so many layers, the axis names them


def plot_gradient_flow(flow, ax=None):
    """Draw the norms of the gradients over the depth, on a logarithmic scale, and the bound that activations set.

    Parameters
    ----------
    flow : GradientFlow
    ax : matplotlib Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes
    """
    ax = axes_for(ax, (7.0, 4.2))
    _curve(ax, flow.depth, flow.value_norms, color=BLUE, marker="o", label="gradient by the layer's value, |dl/dz|")
    _curve(ax, flow.depth, flow.weight_norms, color=ORANGE, marker="s", label="gradient by its weights, |dL/dW|")
    label = "bound of |dl/dz| for kernels of norm 1"
    if set(flow.activations[:-1]) == {"sigmoid"}:
        label += ": $0.25^d$, $d$ sigmoids above"
    _theory(ax, flow.depth, flow.bound, color=BLUE, label=label)
    ax.set_ylabel("norm of the gradient")
    return _finish_depth(ax, flow, "Gradient flow")


def plot_variance_flow(flow, ax=None):
    """Draw measured variances over the depth, on a logarithmic scale, and what theory predicts.

    Parameters
    ----------
    flow : VarianceFlow
    ax : matplotlib Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes
    """
    ax = axes_for(ax, (7.0, 4.2))
    for name, color, marker in (("forward", BLUE, "o"), ("backward", ORANGE, "s")):
        of = {"forward": "forward, Var[z]", "backward": "backward, E[(dl/dz)²]"}[name]
        _curve(ax, flow.depth, getattr(flow, name), color=color, marker=marker, label=of)
        _theory(ax, flow.depth, getattr(flow, f"{name}_theory"), color=color, label=f"{name}, predicted")
    ax.set_ylabel("variance over rows and units")
    return _finish_depth(ax, flow, "Variance flow")


def plot_dead_units(units, ax=None):
    """Draw each layer as a strip of its units, sorted, coloured by the share of rows on which a unit is active.

    Parameters
    ----------
    units : DeadUnits
    ax : matplotlib Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes
    """
    n = len(units.layers)
    ax = axes_for(ax, (7.0, 1.4 + 0.32 * max(n, 2)))
    image = None
    for k, share in enumerate(units.blocked):
        active = np.sort(1 - share)[None, :]
        image = ax.imshow(
            np.ma.masked_equal(active, 0), cmap=_colours("cividis"), vmin=0, vmax=1, aspect="auto",
            interpolation="nearest", extent=(0, 1, k + 0.38, k - 0.38)
        )  # fmt: skip
        text = f"{units.n_dead[k]} of {len(share)} dead"
        ax.text(1.015, k, text, va="center", fontsize="small", color=ORANGE if units.n_dead[k] else GREY)
    if image is not None:
        label = "share of the rows on which the unit is active"
        ax.figure.colorbar(image, ax=ax, location="bottom", aspect=40, label=label)
    ax.set(xlim=(0, 1), ylim=(max(n, 1) - 0.5, -0.5), xlabel="share of the layer's units, the idlest first")
    ax.set_yticks(range(n), [f"{a}: {b}" for a, b in zip(units.layers, units.activations, strict=True)])
    ax.set_title("Dead units", loc="left")
    return ax


def plot_loss_path(path, ax=None):
    """Draw the loss along a path.

    Parameters
    ----------
    path : LossPath
    ax : matplotlib Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes
    """
    ax = axes_for(ax, (6.0, 3.8))
    ax.plot(path.a, path.loss, color=BLUE, marker="o", markersize=3, linewidth=1.2, label="loss")
    ends = [0, -1]
    ax.plot(path.a[ends], path.loss[ends], color=GREY, linestyle="--", linewidth=1, label="straight between the ends")
    ax.invert_xaxis()  # the path begins at a = 1
    across = "position a on the path: from the start (1) to the end (0)"
    return finished(ax, f"Loss along the path, barrier {path.barrier:.3g}", across, "loss")


def plot_loss_surface(surface, ax=None):
    """Draw the loss on the plane as filled contours, evenly spaced in its logarithm where it spans more than a decade.

    Parameters
    ----------
    surface : LossSurface
    ax : matplotlib Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes
    """
    ax = axes_for(ax, (5.6, 4.6))
    loss = np.ma.masked_invalid(surface.loss.T)
    low, high = float(loss.min()), float(loss.max())
    wide = low > 0 and high > 10 * low
    levels = np.geomspace(low, high, 21) if wide else np.linspace(low, max(high, low + 1e-12), 21)
    norm = module("matplotlib.colors").LogNorm(low, high) if wide else None
    filled = ax.contourf(surface.alpha, surface.beta, loss, levels, cmap="viridis", norm=norm)
    ax.contour(surface.alpha, surface.beta, loss, levels, colors="white", linewidths=0.4, alpha=0.6)
    ax.plot(0, 0, marker="x", color="white", markersize=8, markeredgewidth=2)
    ticker = module("matplotlib.ticker")
    bar = ax.figure.colorbar(filled, ax=ax, label="loss", format="%.3g", ticks=None if wide else ticker.MaxNLocator(8))
    if wide:
        bar.set_ticks(_round_levels(low, high))
        bar.ax.yaxis.set_minor_locator(ticker.NullLocator())
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(ticker.MaxNLocator(4))
    ax.set(xlabel="first direction, α", ylabel="second direction, β", aspect="equal")
    ax.set_title("Loss surface (× is the model)", loc="left")
    return ax


# ---- parts ----------------------------------------------------------------------------------------------------------


def _colours(name: str):
    """Return a colour map that shows masked elements in a colour of its own."""
    return module("matplotlib").colormaps[name].with_extremes(bad=ORANGE)


def _curve(ax, depth, y, **style) -> None:
    """Draw measured numbers, joined where each depth has one layer; exact zeros, without a logarithm, at the foot."""
    there = np.isfinite(y)
    depth, y = depth[there], y[there]
    line = "-" if len(set(depth.tolist())) == len(depth) else ""
    ax.plot(depth, np.where(y > 0, y, np.nan), linestyle=line, linewidth=0.8, markersize=5, **style)
    zeros = depth[y == 0]
    if len(zeros):
        height = np.full(len(zeros), 0.02 if style["marker"] == "o" else 0.055)
        name = f"{style['label'].split(',')[0]}: exactly 0"
        style |= {"linestyle": "", "marker": "v", "label": name}
        ax.plot(zeros, height, transform=ax.get_xaxis_transform(), **style)


def _theory(ax, depth, y, color, label) -> None:
    """Draw predicted numbers: a dashed line, or dashes where a depth has several layers."""
    there = np.isfinite(y) & (y > 0)
    depth, y = depth[there], y[there]
    chain = len(set(depth.tolist())) == len(depth)
    style = {"linestyle": "--", "linewidth": 1.4} if chain else {"linestyle": "", "marker": "_", "markersize": 16}
    ax.plot(depth, y, color=color, alpha=0.7, label=label, **style)


def _finish_depth(ax, flow, title: str):
    """Name the layers, or number them where there are many; scale, legend, title."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if high < 100 * low:  # at least two decades, so that the ticks are powers of ten
        middle = np.sqrt(low * high)
        ax.set_ylim(middle / 10, middle * 10)
    if len(flow.layers) <= NAMED and len(set(flow.depth.tolist())) == len(flow.depth):
        ax.set_xticks(flow.depth, flow.layers, rotation=40, ha="right", rotation_mode="anchor")
    else:
        ax.xaxis.set_major_locator(module("matplotlib.ticker").MaxNLocator(integer=True))
        ax.set_xlabel("depth (calls of layers from the input)")
    return finished(ax, title)


def _round_levels(low: float, high: float) -> list[float]:
    """Return numbers 1, 2 or 5 times a power of ten between two numbers."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d <= high]
