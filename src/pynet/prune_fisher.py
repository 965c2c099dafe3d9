"""The optimal brain surgeon with a Hessian of its own for each unit: the Fisher information of its weights.

For the unit o of a Dense layer, with g_o the gradient of a row's loss by what it makes before its activation, and x
what the layer reads, a 1 for the bias included,

    F_o = mean of g_o^2 x x' + damping

(Singh, Alistarh 2020, arXiv:2004.14340, "WoodFisher", with blocks of one unit and the targets drawn from what the
model predicts; the inverse is taken directly).  Where layers.py has one factor for the inputs and one for the outputs,
this knows which inputs matter when the unit does.
"""

from __future__ import annotations

import numpy as np

from .layers import Dense
from .prune_layers import costs, damped, looks

__all__ = ["Units", "collect"]


class Units:
    """What is known of one Dense layer: rows of what it reads, X [N, I or I + 1], and gradients, G [N, O]."""

    def __init__(self, model, layer: Dense):
        own = model.parameters()
        self.layer = model.names[layer]
        self.name, self.bias = f"{self.layer}.kernel", f"{self.layer}.bias" if layer.use_bias else None
        self.W = own[self.name].astype(np.float64)
        self.b = own[self.bias].astype(np.float64) if self.bias else None
        self.parts: list = []

    def finish(self) -> None:
        self.X, self.G = (np.concatenate(arrays) for arrays in zip(*self.parts, strict=True))
        if self.bias:
            self.X = np.column_stack([self.X, np.ones(len(self.X))])
        self.parts = []

    def fisher(self, o: int, damping: float) -> np.ndarray:
        A = self.X * self.G[:, o, None]
        return damped(A.T @ A / len(A), damping)

    def choose(self, damping: float) -> np.ndarray:
        """Return the cost [I, O] at which each weight goes."""
        inputs, outputs = self.W.shape
        result = np.empty((outputs, inputs))
        for o in range(outputs):
            inverse = np.linalg.inv(self.fisher(o, damping))[:inputs, :inputs]  # the bias is free to follow
            inverse = np.ascontiguousarray((inverse + inverse.T)[None] / 2)
            result[o] = costs(inverse, np.ascontiguousarray(self.W[:, o][None]))
        return result.T

    def compensated(self, mask: np.ndarray, damping: float) -> dict[str, np.ndarray]:
        """Return kernel and bias: those left make up for those outside of the mask."""
        W = self.W if self.b is None else np.vstack([self.W, self.b])
        left = mask if self.b is None else np.vstack([mask, np.ones_like(self.b, bool)])
        W = W.copy()
        for o in range(W.shape[1]):
            kept, gone = np.flatnonzero(left[:, o]), np.flatnonzero(~left[:, o])
            F = self.fisher(o, damping)
            if len(kept) and len(gone):
                W[kept, o] += np.linalg.solve(F[np.ix_(kept, kept)], F[np.ix_(kept, gone)] @ W[gone, o])
            W[gone, o] = 0
        return {self.name: W} if self.bias is None else {self.name: W[:-1], self.bias: W[-1]}


def collect(model, layers: list, inputs: list, random_state: int) -> list[Units]:
    """Return the units of Dense layers, on these rows."""
    found = {model.names[layer]: Units(model, layer) for layer in layers}
    for name, x, g in looks(model, found, inputs, random_state):
        found[name].parts.append((x, np.zeros((len(x), found[name].W.shape[1])) if g is None else g))
    for units in found.values():
        units.finish()
    return list(found.values())
