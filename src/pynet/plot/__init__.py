"""Plots of models, fits and predictions.  They need matplotlib:  pip install "pynet[plot]".

Every function draws on the Axes you give it as `ax`, or makes a new figure (by pyplot, so that plt.show() shows it and
plt.close() frees it).  One with a single panel returns its Axes, one with several the Figure.  None of them shows
anything, or changes a setting.  Plots of `pn.analysis` are methods of its results.
"""

from .boundary import decision_boundary
from .curves import history
from .flow import gradient_flow
from .judged import confusion_matrix, importance, predicted, reliability, residuals
from .network import graph
from .spread import activations, weights

__all__ = [
    "activations", "confusion_matrix", "decision_boundary", "gradient_flow", "graph", "history", "importance",
    "predicted", "reliability", "residuals", "weights",
]  # fmt: skip
