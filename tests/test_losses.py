"""Losses: known values, gradients by differences, what heads and targets they take."""

import math

import numpy as np
import pytest

from pynet import _core, losses, reference_losses
from pynet.losses import LossSpec

PARAMETERS = {"huber": [0.3, 1.0], "quantile": [0.1, 0.5, 0.9]}
CASES = [(kind, parameter) for kind in _core.LOSSES if kind != "external" for parameter in PARAMETERS.get(kind, [0.0])]


def value_and_gradient(kind, x, target, parameter=0.0):
    return reference_losses.loss(_core.LOSSES[kind], parameter, np.asarray(x), np.asarray(target))


def one(kind, y, t, parameter=0.0):
    """Return loss and slope of a single output."""
    l, g = value_and_gradient(kind, [[float(y)]], [[float(t)]], parameter)
    return l[0], g[0, 0]


def example(kind, rng):
    x, t = rng.normal(size=(6, 5)) * 2, rng.normal(size=(6, 5))
    if kind == "poisson":
        return np.abs(x) + 0.5, np.floor(np.abs(t) * 3)
    if kind == "cross_entropy_index":
        return x, rng.integers(0, 5, 6)
    if kind in ("cross_entropy_dense", "binary_cross_entropy"):
        return x, np.abs(t) / np.abs(t).sum(axis=1, keepdims=True)
    return x, t


def test_every_loss_has_a_formula():
    assert set(reference_losses.BY_ID) == {id for name, id in _core.LOSSES.items() if name != "external"}
    assert set(reference_losses.METRICS) == {id for name, id in _core.METRICS.items() if name != "r2"}


@pytest.mark.parametrize(
    ("kind", "y", "t", "parameter", "value", "slope"),
    [
        ("mse", 3, 1, 0, 4, 4),
        ("mae", 3, 1, 0, 2, 1),
        ("mae", 1, 3, 0, 2, -1),
        ("mae", 1, 1, 0, 0, 0),
        ("huber", 1.5, 1, 1.0, 0.125, 0.5),
        ("huber", 2, 1, 1.0, 0.5, 1),
        ("huber", 4, 1, 1.0, 2.5, 1),
        ("huber", -3, 1, 2.0, 6, -2),
        ("log_cosh", 2, 1, 0, math.log(math.cosh(1)), math.tanh(1)),
        ("log_cosh", 1e4, 0, 0, 1e4 - math.log(2), 1),
        ("poisson", 2, 3, 0, 2 - 3 * math.log(2 + 1e-7), 1 - 3 / (2 + 1e-7)),
        ("poisson", 0, 0, 0, 0, 1),
        ("quantile", 1, 3, 0.9, 1.8, -0.9),
        ("quantile", 3, 1, 0.9, 0.2, 0.1),
        ("quantile", 1, 1, 0.9, 0, 0),
        ("binary_cross_entropy", 0, 1, 0, math.log(2), -0.5),
        ("binary_cross_entropy", 2, 0.25, 0, math.log1p(math.exp(-2)) + 1.5, 1 / (1 + math.exp(-2)) - 0.25),
        ("binary_cross_entropy", 1e4, 0, 0, 1e4, 1),
        ("binary_cross_entropy", -1e4, 0, 0, 0, 0),
    ],
)
def test_known_value_of_one_output(kind, y, t, parameter, value, slope):
    assert one(kind, y, t, parameter) == pytest.approx((value, slope), rel=1e-12, abs=1e-15)


def test_known_value_of_cross_entropy():
    z = np.log([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]) + np.array([[5.0], [-700.0]])
    l, dz = value_and_gradient("cross_entropy_index", z, [1, 2])
    np.testing.assert_allclose(l, [-math.log(0.3), -math.log(0.8)], rtol=1e-12)
    np.testing.assert_allclose(dz, [[0.2, -0.7, 0.5], [0.1, 0.1, -0.2]], atol=1e-13)
    one_hot = np.eye(3)[[1, 2]]
    l2, dz2 = value_and_gradient("cross_entropy_dense", z, one_hot)
    np.testing.assert_allclose(l2, l, rtol=1e-12)
    np.testing.assert_allclose(dz2, dz, atol=1e-15)
    l3, dz3 = value_and_gradient("cross_entropy_dense", z, 2 * one_hot)  # weights need not sum to 1
    np.testing.assert_allclose(l3, 2 * l, rtol=1e-12)
    np.testing.assert_allclose(dz3, 2 * dz, atol=1e-15)


def test_cross_entropy_of_huge_logits():
    l, dz = value_and_gradient("cross_entropy_index", [[1e4, -1e4, 0.0]], [1])
    assert l[0] == 2e4
    assert dz.tolist() == [[1, -1, 0]]


def test_mean_over_outputs():
    l, g = value_and_gradient("mse", [[1.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(l, [2.5, 4.5])
    np.testing.assert_allclose(g, [[1, 2], [0, -3]])


@pytest.mark.parametrize(("kind", "parameter"), CASES)
def test_gradient_equals_difference(kind, parameter):
    rng = np.random.default_rng(4)
    x, t = example(kind, rng)
    _, g = value_and_gradient(kind, x, t, parameter)
    assert np.abs(g).max() > 0.01
    h = 1e-4
    for o in range(x.shape[1]):
        step = np.zeros(x.shape[1])
        step[o] = h
        up, down = (value_and_gradient(kind, x + s * step, t, parameter)[0] for s in (1, -1))
        np.testing.assert_allclose(g[:, o], (up - down) / (2 * h), rtol=0, atol=3e-7)


@pytest.mark.parametrize(("kind", "parameter"), CASES)
def test_float32_stays_float32(kind, parameter):
    rng = np.random.default_rng(5)
    x, t = example(kind, rng)
    l, g = value_and_gradient(kind, x, t, parameter)
    t32 = t if t.dtype.kind == "i" else t.astype(np.float32)
    l32, g32 = value_and_gradient(kind, x.astype(np.float32), t32, parameter)
    assert (l32.dtype, g32.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(l32, l, rtol=1e-5)
    np.testing.assert_allclose(g32, g, rtol=1e-5, atol=1e-6)


# ---- resolving ---------------------------------------------------------------------------------------------------

CLASSES, ROWS = np.array([0, 1, 2]), np.eye(3)


@pytest.mark.parametrize(
    ("loss", "act", "width", "target", "expected"),
    [
        ("mse", None, 1, None, LossSpec("mse")),
        ("mse", "softmax", 3, ROWS, LossSpec("mse")),
        (losses.Huber(0.5), "tanh", 3, ROWS, LossSpec("huber", 0.5)),
        (losses.Quantile(tau=0.9), None, 1, None, LossSpec("quantile", 0.9)),
        ("poisson", "softplus", 1, None, LossSpec("poisson")),
        ("cross_entropy", "softmax", 3, CLASSES, LossSpec("cross_entropy_index", 0.0, "softmax")),
        ("cross_entropy", "softmax", 3, ROWS, LossSpec("cross_entropy_dense", 0.0, "softmax")),
        ("cross_entropy", None, 3, CLASSES, LossSpec("cross_entropy_index")),
        ("cross_entropy", "relu", 3, ROWS, LossSpec("cross_entropy_dense")),
        ("binary_cross_entropy", "sigmoid", 1, None, LossSpec("binary_cross_entropy", 0.0, "sigmoid")),
        ("binary_cross_entropy", "identity", 4, None, LossSpec("binary_cross_entropy")),
    ],
)
def test_resolve(loss, act, width, target, expected):
    assert losses.get(loss).resolve(act, width, target) == expected


class Squares:
    """A loss of the user's own."""

    def value_and_gradient(self, prediction, target):
        d = prediction - target
        return float((d * d).sum(axis=1).mean()), 2 * d / len(d)


def test_own_loss():
    user = Squares()
    loss = losses.get(user)
    assert loss.user is user
    assert loss.resolve("relu", 3, None) == LossSpec("external")
    assert loss.name == "Squares"
    target = loss.check_target([["a", "b"]] * 4, 2, 4)  # whatever the object understands
    assert target.shape == (4, 2)
    with pytest.raises(ValueError, match="y has 4 rows, expected 5"):
        loss.check_target(target, 2, 5)
    with pytest.raises(ValueError, match="cannot be written"):
        loss.config()


@pytest.mark.parametrize("name", losses.TABLE)
def test_config_goes_there_and_back(name):
    loss = losses.get(name)
    assert losses.from_config(loss.config()) == loss
    assert losses.get(type(loss)) == loss
    assert losses.get(losses.Huber(0.25).config()).delta == 0.25


# ---- targets -----------------------------------------------------------------------------------------------------


def check(loss, target, width, n_rows=None):
    return losses.get(loss).check_target(target, width, n_rows, "y")


def test_targets_that_are_fine():
    y = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert check("mse", y, 2, 3) is y
    assert np.shares_memory(check("mse", y[::-1], 2), y)  # strides are no reason to copy
    assert check("mse", [1, 2, 3], 1, 3).shape == (3, 1)
    assert check("mse", np.array([[1, 2]], dtype=np.uint8), 2).dtype == np.uint8
    assert check("mse", np.array([[True, False]]), 2).dtype == np.uint8
    assert check("mse", np.ones((2, 2), dtype=np.float16), 2).dtype == np.float16
    y.flags.writeable = False
    assert check("mse", y, 2, 3) is y


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64, np.float32, np.float64])
def test_labels_that_are_fine(dtype):
    labels = np.array([2, 0, 1], dtype=dtype)
    for shape in ((3,), (3, 1)):
        checked = check("cross_entropy", labels.reshape(shape), 3, 3)
        assert checked.tolist() == [2, 0, 1]
        assert checked.dtype == (dtype if dtype in (np.int32, np.int64) else np.int64)


def test_rows_of_weights_that_are_fine():
    rows = np.array([[0.1, 0.9], [1, 0]])
    assert check("cross_entropy", rows, 2, 2) is rows
    assert check("cross_entropy", rows.astype(int), 2).shape == (2, 2)
    assert check("binary_cross_entropy", [True, False], 1).tolist() == [[1], [0]]


NAN = float("nan")


@pytest.mark.parametrize(
    ("loss", "target", "width", "error", "text"),
    [
        ("mse", [1.0, 2.0], 2, ValueError, r"y must have shape \[N, 2\], as wide as the head, got shape \(2,\)"),
        ("mse", [[1.0], [2.0]], 2, ValueError, r"shape \[N, 2\]"),
        ("mse", np.zeros((2, 1, 1)), 1, ValueError, "shape"),
        ("mse", 1.0, 1, ValueError, "shape"),
        ("mse", [[1.0, NAN], [0, 0]], 2, ValueError, "y: targets must be finite, got nan in row 0, column 1"),
        ("mse", [[0.0], [-np.inf]], 1, ValueError, "got -inf in row 1, column 0"),
        ("mse", [[1j], [0]], 1, TypeError, "y must be real numbers .* got dtype complex128"),
        ("mse", ["a", "b"], 1, TypeError, "y must be real numbers"),
        ("mse", [[0.0]], 1, ValueError, "y has 1 rows, expected 2, as many as X"),
        ("poisson", [1.0, -1.0], 1, ValueError, "'poisson' needs targets >= 0, got -1.0 in row 1"),
        ("binary_cross_entropy", [1.0, 1.5], 1, ValueError, "needs targets inside 0..1, got 1.5 in row 1"),
        ("cross_entropy", [0, 3], 3, ValueError, "y: class numbers must be in 0..2, got 3 in row 1"),
        ("cross_entropy", [0, -1], 3, ValueError, "got -1 in row 1"),
        ("cross_entropy", [0.0, NAN], 3, ValueError, "class numbers must be in 0..2, got nan in row 1"),
        ("cross_entropy", [0.5, 1.0], 3, ValueError, "y: class numbers must be integers, got 0.5 in row 0"),
        ("cross_entropy", ["cat", "dog"], 3, TypeError, "np.unique"),
        ("cross_entropy", [[1.0, 0, 0], [-1, 1, 1]], 3, ValueError, "rows of weights >= 0, got -1.0 in row 1"),
        (
            "cross_entropy",
            [[1.0, 0], [0, 1]],
            3,
            ValueError,
            r"class numbers \[N\] or rows \[N, 3\], got shape \(2, 2\)",
        ),
        ("cross_entropy", [0, 1, 2], 3, ValueError, "y has 3 rows, expected 2"),
        ("cross_entropy", [0, 1], 1, ValueError, "use loss 'binary_cross_entropy'"),
    ],
)
def test_targets_that_are_refused(loss, target, width, error, text):
    with pytest.raises(error, match=text):
        check(loss, target, width, 2)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: losses.get("msee"), ValueError, "unknown loss 'msee', did you mean 'mse'"),
        (lambda: losses.get("crossentropy"), ValueError, "did you mean 'cross_entropy'"),
        (lambda: losses.get(None), TypeError, "loss must be a name or an object of pynet.losses, got NoneType"),
        (lambda: losses.get(abs), TypeError, "loss must be a name"),
        (lambda: losses.Huber(0), ValueError, "delta must be finite and > 0"),
        (lambda: losses.Quantile(1.0), ValueError, "tau must be < 1"),
        (lambda: losses.Quantile(0), ValueError, "tau must be finite and > 0"),
        (lambda: losses.get("cross_entropy").resolve("softmax", 1), ValueError, "one output per class"),
        (lambda: losses.get("cross_entropy").resolve("sigmoid", 3), ValueError, "use activation 'softmax'"),
        (lambda: losses.get("binary_cross_entropy").resolve("softmax", 3), ValueError, "use loss 'cross_entropy'"),
        (lambda: losses.get("poisson").resolve("identity", 1), ValueError, "never negative.*got 'identity'"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
