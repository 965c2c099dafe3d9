"""NumPy as one writes it by hand: float32, BLAS products, Adam in place on one array of all parameters."""

from __future__ import annotations

import numpy as np
from cases import BETA1, BETA2, EPSILON, RATE, Net


class Steps:
    """Forward, backward, Adam."""

    def __init__(self, net: Net, X, y, threads: int):
        B, first = net.batch, net.first_weights()
        self.loss_kind, self.t, self.at = net.loss, 0, 0
        self.batches = [(X[i : i + B], y[i : i + B]) for i in range(0, len(X), B)]
        self.p = np.concatenate([a.ravel() for pair in first for a in pair])
        self.g, self.m, self.v, self.room = (np.zeros_like(self.p) for _ in range(4))
        self.layers, self.grads = self.views(self.p, first), self.views(self.g, first)
        self.rows = np.arange(B)

    @staticmethod
    def views(flat, shapes):
        views, at = [], 0
        for W, b in shapes:
            views.append((flat[at : at + W.size].reshape(W.shape), flat[at + W.size : at + W.size + b.size]))
            at += W.size + b.size
        return views

    def step(self) -> float:
        X, y = self.batches[self.at]
        self.at = (self.at + 1) % len(self.batches)
        inputs = [X]
        for W, b in self.layers[:-1]:
            h = inputs[-1] @ W
            h += b
            inputs.append(np.maximum(h, 0, out=h))
        W, b = self.layers[-1]
        d = inputs[-1] @ W
        d += b
        if self.loss_kind == "mse":
            d -= y
            loss = float(np.vdot(d, d)) / d.size
            d *= 2 / d.size
        else:
            d -= d.max(1, keepdims=True)
            np.exp(d, out=d)
            d /= d.sum(1, keepdims=True)
            loss = -float(np.log(d[self.rows, y]).mean())
            d[self.rows, y] -= 1
            d *= 1 / len(d)
        for k in range(len(self.layers) - 1, -1, -1):
            np.matmul(inputs[k].T, d, out=self.grads[k][0])
            d.sum(0, out=self.grads[k][1])
            if k:
                d = d @ self.layers[k][0].T
                d *= inputs[k] > 0
        self.adam()
        return loss

    def adam(self) -> None:
        self.t += 1
        g, m, v, room = self.g, self.m, self.v, self.room
        m *= BETA1
        m += np.multiply(g, 1 - BETA1, out=room)
        v *= BETA2
        np.multiply(g, g, out=room)
        room *= 1 - BETA2
        v += room
        np.sqrt(v, out=room)
        room *= 1 / np.sqrt(1 - BETA2**self.t)
        room += EPSILON
        np.divide(m, room, out=room)
        room *= RATE / (1 - BETA1**self.t)
        self.p -= room

    def losses(self, n: int) -> list[float]:
        return [self.step() for _ in range(n)]

    def steps(self, n: int) -> None:
        for _ in range(n):
            self.step()


def predict_one(net: Net, threads: int):
    *hidden, (W_last, b_last) = net.first_weights()

    def predict(x):
        for W, b in hidden:
            x = np.maximum(x @ W + b, 0)
        x = x @ W_last + b_last
        if net.loss == "mse":
            return x
        e = np.exp(x - x.max())
        return e / e.sum()

    return predict


TRAINING = {"NumPy": Steps}
PREDICTION = {"NumPy": predict_one}
