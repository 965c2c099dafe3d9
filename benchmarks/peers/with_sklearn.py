"""scikit-learn's MLP, one partial_fit a batch, float32, without its L2 penalty."""

from __future__ import annotations

import warnings

import numpy as np
from cases import BETA1, BETA2, EPSILON, RATE, Net
from sklearn.neural_network import MLPClassifier, MLPRegressor

warnings.filterwarnings("ignore")  # of convergence, and of y as a column


def estimator(net: Net):
    kind = MLPRegressor if net.loss == "mse" else MLPClassifier
    return kind(
        hidden_layer_sizes=net.sizes[1:-1], solver="adam", alpha=0.0, batch_size=net.batch, learning_rate_init=RATE,
        beta_1=BETA1, beta_2=BETA2, epsilon=EPSILON, shuffle=False,
    )  # fmt: skip


class PartialFit:
    """One call a step."""

    def __init__(self, net: Net, X, y, threads: int):
        B = net.batch
        y = y.ravel() if net.sizes[-1] == 1 else y
        self.batches = [(X[i : i + B], y[i : i + B]) for i in range(0, len(X), B)]
        self.known = {} if net.loss == "mse" else {"classes": np.arange(net.sizes[-1])}
        self.scale = 2 if net.loss == "mse" else 1  # its loss is half the mean square
        self.e, self.at = estimator(net), 0
        self.e.partial_fit(*self.batches[0], **self.known)  # makes the arrays, which then start anew
        for kept, first in zip(
            (self.e.coefs_, self.e.intercepts_), zip(*net.first_weights(), strict=True), strict=True
        ):
            for a, b in zip(kept, first, strict=True):
                a[...] = b
        for a in (*self.e._optimizer.ms, *self.e._optimizer.vs):
            a[...] = 0
        self.e._optimizer.t = 0

    def one(self) -> None:
        X, y = self.batches[self.at]
        self.at = (self.at + 1) % len(self.batches)
        self.e.partial_fit(X, y, **self.known)

    def losses(self, n: int) -> list[float]:
        found = []
        for _ in range(n):
            self.one()
            found.append(self.scale * float(self.e.loss_))
        return found

    def steps(self, n: int) -> None:
        for _ in range(n):
            self.one()


def predict_one(net: Net, threads: int):
    made = PartialFit(net, *net.data(1), threads).e
    run = made.predict if net.loss == "mse" else made.predict_proba
    return lambda x: run(x[None])[0]


TRAINING = {"scikit-learn": PartialFit}
PREDICTION = {"scikit-learn": predict_one}
