"""pynet: steps inside `fit`, as its users take them; one-row predictions with `predict_one`."""

from __future__ import annotations

import numpy as np
from cases import BETA1, BETA2, EPSILON, RATE, Net

import pynet as pn


def model(net: Net) -> pn.Model:
    hidden = [pn.Dense(n, "relu") for n in net.sizes[1:-1]]
    head = pn.Dense(net.sizes[-1], "softmax" if net.loss == "cross_entropy" else None)
    made = pn.Sequential([pn.Input(net.sizes[0]), *hidden, head])
    made.set_weights([a for pair in net.first_weights() for a in pair])
    return made


class Fit:
    """`Trainer.fit` over rows in memory, in their order."""

    def __init__(self, net: Net, X, y, threads: int):
        self.net, self.X, self.y = net, X, y
        self.trainer = pn.Trainer(model(net), net.loss, pn.Adam(RATE, BETA1, BETA2, EPSILON), n_threads=threads)

    def losses(self, n: int) -> list[float]:
        """Take n steps and return the loss of each."""
        B, found = self.net.batch, []
        for k in range(n):
            self.fit(self.X[k * B : (k + 1) * B], self.y[k * B : (k + 1) * B])
            found.append(self.trainer.history.history["loss"][-1])
        return found

    def fit(self, X, y, epochs=1):
        self.trainer.fit(X, y, epochs=epochs, batch_size=self.net.batch, shuffle=False, verbose=0)

    def steps(self, n: int) -> None:
        """Take n steps: epochs of as many as there are data for, and a few that are left."""
        B, epochs = self.net.batch, -(-n // (len(self.X) // self.net.batch))
        each, left = divmod(n, epochs)
        self.fit(self.X[: each * B], self.y[: each * B], epochs)
        if left:
            self.fit(self.X[: left * B], self.y[: left * B])


def predict_one(net: Net, threads: int):
    """Return a function x (I,) -> (O,)."""
    made = model(net)
    made.predict_one(np.zeros(net.sizes[0], np.float32))
    return made.predict_one


def predict_into(net: Net, threads: int):
    """Return a function x (I,) -> (O,), into an array that is there."""
    predict, out = predict_one(net, threads), np.empty(net.sizes[-1], np.float32)
    return lambda x: predict(x, out)


class Epochs:
    """`Trainer.fit` as its users call it: shuffled, validated, with a history."""

    def __init__(self, net: Net, X, y, X_val, y_val, threads: int):
        self.data = {"X": X, "y": y, "batch_size": net.batch, "validation_data": (X_val, y_val), "verbose": 0}
        adam = pn.Adam(RATE, BETA1, BETA2, EPSILON)
        self.trainer = pn.Trainer(model(net), net.loss, adam, ["accuracy"], n_threads=threads)

    def epochs(self, n: int) -> float:
        return self.trainer.fit(epochs=n, **self.data).history["val_loss"][-1]


TRAINING = {"pynet": Fit}
EPOCH = {"pynet": Epochs}
PREDICTION = {"pynet": predict_one, "pynet out=": predict_into}
