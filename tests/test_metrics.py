"""Metrics: known values, and what each becomes at a head."""

import math

import numpy as np
import pytest

from pynet import _core, metrics, reference_losses
from pynet.losses import LossSpec

INDEX = LossSpec("cross_entropy_index", 0.0, "softmax")
DENSE = LossSpec("cross_entropy_dense")
BINARY = LossSpec("binary_cross_entropy", 0.0, "sigmoid")
MSE = LossSpec("mse")


def value(metric, kind, x, target, parameter=0.0, weights=None):
    x, target = np.asarray(x, dtype=np.float64), np.asarray(target)
    weights = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    sums = reference_losses.metric_sums(_core.METRICS[kind], parameter, x, target, weights)
    assert len(sums) == metrics.get(metric).n_sums(x.shape[1])
    assert sums.dtype == np.float64
    return metrics.get(metric).value(sums)


X = [[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.9, 0.0, 0.1]]


def test_accuracy():
    labels = [1, 1, 2, 0]  # the second is wrong: the first of equals wins
    assert value("accuracy", "accuracy_index", X, labels) == 0.75
    assert value("accuracy", "accuracy_dense", X, np.eye(3)[labels]) == 0.75
    assert value("accuracy", "accuracy_index", X, labels, weights=[1, 5, 0, 2]) == 3 / 8
    z, t = [[0.3, -0.1], [0.0, 2.0]], [[1.0, 0.0], [1.0, 0.6]]
    assert value("accuracy", "accuracy_binary", z, t) == 0.75
    assert value("accuracy", "accuracy_binary", z, t, parameter=-0.2) == 0.75
    assert value("accuracy", "accuracy_binary", z, t, parameter=0.5) == 0.5


def test_top_k():
    labels = [2, 1, 0, 1]  # ranks 1, 1 (the later of equals), 2, 2
    top = metrics.TopK(2)
    assert value(top, "top_k_index", X, labels, 2.0) == 0.5
    assert value(top, "top_k_index", X, labels, 1.0) == 0.0
    assert value(top, "top_k_index", X, labels, 3.0) == 1.0
    assert value(top, "top_k_dense", X, np.eye(3)[labels], 2.0) == 0.5


def test_mae_and_mse():
    y, t = [[1.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 3.0]]
    assert value("mae", "mae", y, t) == 1.5
    assert value("mse", "mse", y, t) == 3.5
    assert value("mse", "mse", y, t, weights=[3, 1]) == (3 * 2.5 + 4.5) / 4


def test_r2():
    rng = np.random.default_rng(0)
    t, w = rng.normal(size=(50, 3)) + np.array([0, 10, -100]), rng.random(50)
    y = t + rng.normal(size=t.shape) * 0.3
    mean = (w @ t) / w.sum()
    expected = np.mean(1 - (w @ (y - t) ** 2) / (w @ (t - mean) ** 2))
    assert value("r2", "r2", y, t, weights=w) == pytest.approx(expected, rel=1e-9)
    assert value("r2", "r2", t, t) == 1.0
    assert value("r2", "r2", np.broadcast_to(t.mean(axis=0), t.shape), t) == pytest.approx(0, abs=1e-12)


def test_r2_of_constant_targets():
    t = np.full((7, 1), 0.3)
    assert value("r2", "r2", t, t) == 1.0
    assert value("r2", "r2", t + 0.1, t) == 0.0


@pytest.mark.parametrize("name", ["accuracy", "r2"])
def test_no_weight_is_nan(name):
    assert math.isnan(metrics.get(name).value(np.zeros(4)))


@pytest.mark.parametrize(
    ("metric", "loss", "act", "width", "target", "expected"),
    [
        ("accuracy", INDEX, "softmax", 3, None, ("accuracy_index", "accuracy", 0.0, "logits")),
        ("accuracy", DENSE, None, 3, None, ("accuracy_dense", "accuracy", 0.0, "output")),
        ("accuracy", BINARY, "sigmoid", 1, None, ("accuracy_binary", "accuracy", 0.0, "logits")),
        ("accuracy", LossSpec("binary_cross_entropy"), None, 4, None, ("accuracy_binary", "accuracy", 0.0, "output")),
        ("accuracy", MSE, "sigmoid", 1, None, ("accuracy_binary", "accuracy", 0.5, "output")),
        ("accuracy", MSE, None, 3, np.eye(3), ("accuracy_dense", "accuracy", 0.0, "output")),
        ("accuracy", None, None, 3, np.arange(3), ("accuracy_index", "accuracy", 0.0, "output")),
        ("accuracy", LossSpec("external"), None, 3, np.arange(3), ("accuracy_index", "accuracy", 0.0, "output")),
        ("top_k", INDEX, "softmax", 10, None, ("top_k_index", "top_5", 5.0, "logits")),
        (metrics.TopK(2), MSE, None, 3, np.eye(3), ("top_k_dense", "top_2", 2.0, "output")),
        ("mae", BINARY, "sigmoid", 1, None, ("mae", "mae", 0.0, "output")),
        ("mse", MSE, None, 2, None, ("mse", "mse", 0.0, "output")),
        ("r2", MSE, None, 2, None, ("r2", "r2", 0.0, "output")),
    ],
)
def test_resolve(metric, loss, act, width, target, expected):
    resolved = metrics.get(metric).resolve(loss, act, width, target)
    assert resolved == expected
    assert resolved[0] in _core.METRICS


@pytest.mark.parametrize("metric", [*metrics.TABLE, metrics.TopK(3)], ids=str)
def test_config_goes_there_and_back(metric):
    metric = metrics.get(metric)
    assert metrics.from_config(metric.config()) == metric


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: metrics.get("acuracy"), ValueError, "unknown metric 'acuracy', did you mean 'accuracy'"),
        (lambda: metrics.get(5), TypeError, "metric must be a name"),
        (lambda: metrics.TopK(0), ValueError, "k must be >= 1, got 0"),
        (lambda: metrics.TopK(1.5), TypeError, "k must be an integer"),
        (lambda: metrics.get("top_k").resolve(INDEX, "softmax", 5), ValueError, "more than 5 outputs, got a head of 5"),
        (lambda: metrics.get("top_k").resolve(BINARY, "sigmoid", 9), ValueError, "exclude each other"),
        (lambda: metrics.get("r2").resolve(INDEX, "softmax", 5), ValueError, "these are class numbers"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
