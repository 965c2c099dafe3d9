"""Gradients over the depth of a model."""

from __future__ import annotations

__all__ = ["gradient_flow"]


def gradient_flow(model, X, y, loss, ax=None, *, loss_weights=None, training: bool = True):
    """Draw how much gradient reaches each layer: `pn.analysis.gradient_flow`, and the plot of its result.

    Parameters
    ----------
    model, X, y, loss, loss_weights, training
        As of `pn.analysis.gradient_flow`.
    ax : matplotlib Axes, optional
        Default: a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        As `pn.analysis.gradient_flow`.
    """
    from ..analysis import gradient_flow as measure

    return measure(model, X, y, loss, loss_weights=loss_weights, training=training).plot(ax)
