"""Data and helpers for the tests of pynet.sklearn."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import pynet.sklearn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 6))
TWO = np.array(["no", "yes"])[(X[:, 0] + X[:, 1] ** 2 > 1).astype(int)]
THREE = np.digitize(X[:, 0] * X[:, 1], [-0.3, 0.3]) * 2 + 5
LABELS = (X[:, :3] > [0, 0.5, -0.5]).astype(int)
REAL = X[:, 0] - np.sin(2 * X[:, 1])
REALS = np.column_stack([REAL, X[:, 2] * X[:, 3]])
WEIGHT = RNG.integers(0, 4, len(X)).astype(float)
TARGETS = {"two": TWO, "three": THREE, "labels": LABELS, "real": REAL, "reals": REALS}


def kind(target, package=pynet.sklearn):
    """Return the class of an estimator for one of TARGETS."""
    return package.MLPRegressor if target.startswith("real") else package.MLPClassifier


def fitted(net, *arguments, **named):
    """After a few epochs, whether it has converged or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return net.fit(*arguments, **named)


def predicted(net, X=X):
    """Return probabilities of a classifier, numbers of a regressor."""
    return net.predict_proba(X) if hasattr(net, "predict_proba") else net.predict(X)


@pytest.fixture(autouse=True)
def seeded():
    """Estimators without a random_state draw from NumPy's global generator."""
    np.random.seed(0)  # noqa: NPY002
