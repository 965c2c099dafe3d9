"""The three systems that folds.py compares: what each draws its configurations from, and how it fits one of them.

All draw widths and learning rate from the same sets, and the same ones.  A system fits a configuration to training rows
beside validation rows (`search`), then the best configuration to all of them (`refit`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import sklearn.neural_network
from sklearn.metrics import accuracy_score, r2_score

import pynet.sklearn

BATCH, TOL = 32, 1e-4  # for all
CONSTANT, FALLING = (5e-4, 5e-3), (1e-3, 1e-2)  # learning rates
ACTIVATIONS, DROPOUT = ("relu", "relu", "gelu"), (0.0, 0.0, 0.1)


class Job(NamedTuple):
    """What a fit has to know beside its rows and its configuration."""

    regression: bool
    epochs: int  # at most
    patience: int
    seed: int


def score(job: Job, y, predicted) -> float:
    """Return R2 or accuracy."""
    return float(r2_score(y, predicted) if job.regression else accuracy_score(y, predicted))


def between(share: float, low: float, high: float) -> float:
    """Return low at share 0, high at 1, on a logarithmic scale."""
    return float(low * (high / low) ** share)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return between(rng.uniform(), low, high)


def shared(rng: np.random.Generator, widths) -> dict[str, Any]:
    """Draw what every system has; the rate is a place between the lowest and the highest of a system."""
    return {"widths": choose(rng, widths), "rate": rng.uniform()}


def choose(rng: np.random.Generator, values):
    return values[rng.integers(len(values))]


def layers_drawn(rng: np.random.Generator) -> dict[str, Any]:
    """Draw what pynet and PyTorch have."""
    return {
        "activation": choose(rng, ACTIVATIONS),
        "dropout": choose(rng, DROPOUT),
        "batch_norm": bool(rng.integers(4) == 0),
    }


class ScikitLearn:
    """scikit-learn's estimators.  Early stopping is drawn: it takes rows from the training rows, as it does there."""

    name, rates = "scikit-learn", CONSTANT

    def draw(self, rng) -> dict[str, Any]:
        return {
            "activation": choose(rng, ("relu", "relu", "tanh")),
            "alpha": log_uniform(rng, 1e-5, 1e-1),
            "early_stopping": bool(rng.integers(2)),
        }

    def fitted(self, config, job: Job, X, y):
        package = sklearn.neural_network
        net = (package.MLPRegressor if job.regression else package.MLPClassifier)(
            hidden_layer_sizes=config["widths"], activation=config["activation"], alpha=config["alpha"],
            early_stopping=config["early_stopping"], learning_rate_init=config["rate"], batch_size=BATCH,
            max_iter=job.epochs, n_iter_no_change=job.patience, tol=TOL, random_state=job.seed,
        )  # fmt: skip
        return net.fit(X, y)

    def search(self, config, job: Job, X, y, X_val, y_val) -> tuple[float, int]:
        """Return the score on the validation rows, and the epochs that `refit` shall run."""
        return score(job, y_val, self.fitted(config, job, X, y).predict(X_val)), job.epochs

    def refit(self, config, job: Job, X, y):
        """Return a function that predicts."""
        return self.fitted(config, job, X, y).predict


class Pynet:
    """pynet's estimators: the rate falls along half a cosine, the epoch with the best validation score counts."""

    name, rates = "pynet", FALLING

    def draw(self, rng) -> dict[str, Any]:
        return layers_drawn(rng) | {"alpha": log_uniform(rng, 1e-5, 1e-1)}

    def net(self, config, job: Job, **more):
        package = pynet.sklearn
        return (package.MLPRegressor if job.regression else package.MLPClassifier)(
            hidden_layer_sizes=config["widths"], activation=config["activation"], alpha=config["alpha"],
            dropout=config["dropout"], batch_norm=config["batch_norm"], learning_rate="cosine",
            learning_rate_init=config["rate"], batch_size=BATCH, max_iter=job.epochs, tol=TOL, random_state=job.seed,
            **more,
        )  # fmt: skip

    def search(self, config, job: Job, X, y, X_val, y_val) -> tuple[float, int]:
        net = self.net(config, job, early_stopping=True, n_iter_no_change=job.patience)
        net.fit(X, y, X_val=X_val, y_val=y_val)
        return net.best_validation_score_, int(np.argmax(net.validation_scores_)) + 1

    def refit(self, config, job: Job, X, y):
        return self.net(config, job, n_iter_no_change=np.inf).fit(X, y).predict
