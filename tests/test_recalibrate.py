"""Model.recalibrate: running statistics of a whole data set, against two passes of NumPy; failures change nothing."""

import fillings
import helpers
import numpy as np
import pytest

import pynet as pn

N = 333
X = np.random.default_rng(0).normal(size=(N, 4)) * [1, 2, 3, 4] + [0, 1, 0, -5]


def deep(dtype="float64"):
    """Two norms one behind the other, with what is random between them."""
    layers = [
        pn.Dense(6), pn.BatchNorm(name="first"), pn.Activation("tanh"), pn.GaussianNoise(0.5),
        pn.Dense(5, "noisy_relu"), pn.LayerNorm(),
        pn.BatchNorm(name="second", trainable=False), pn.Dropout(0.5), pn.Dense(2),
    ]  # fmt: skip
    return fillings.scrambled(pn.Sequential([pn.Input(4, scale=0.5), *layers], dtype=dtype))


def read_by(model, name):
    """What a norm reads, by a model that ends in front of it."""
    node = next(node for node in model.nodes if model.names[node.layer] == name)
    return pn.Model(model.inputs, node.inputs[0], dtype=model.dtype).predict(X).astype(np.float64)


def statistics(model, name):
    p = model.parameters()
    return p[f"{name}.mean"], p[f"{name}.variance"]


def assert_statistics(model, name, x, tolerance):
    for found, expected in zip(statistics(model, name), (x.mean(axis=0), x.var(axis=0, ddof=1)), strict=True):
        helpers.assert_close(found, expected, tolerance, name)


@pytest.mark.parametrize("batch_size", [None, 1, 7, 100, 332, 333, 1000])
def test_statistics_of_a_whole_set(batch_size, dtype):
    model = deep(dtype)
    before = model.parameters()
    model.recalibrate(X, batch_size)
    tolerance = 1e-13 if dtype == "float64" else 1e-6
    for name in ("first", "second"):  # of the second: with the first one's new values
        assert_statistics(model, name, read_by(model, name), tolerance)
    for name, array in model.parameters().items():
        changed = array.tobytes() != before[name].tobytes()
        assert changed == name.endswith(("mean", "variance")), name


def test_training_goes_on_from_them():
    model = deep()
    for layer in model.layers:
        if isinstance(layer, pn.BatchNorm):
            layer.momentum = 1.0
    model.recalibrate(X)
    expected = model.parameters()
    pn.Trainer(model, "mse").fit(X, X[:, :2], epochs=1, verbose=0)
    for name, array in statistics_of(model.parameters()).items():
        helpers.assert_same_bits(array, expected[name], name)


def test_models_made_of_its_layers_later_have_them():
    """Also where another model trained the layers in between."""
    model = deep()
    other = pn.Model(model.inputs, model.outputs, dtype="float64")
    pn.Trainer(other, "mse").train_on_batch(X, X[:, :2])
    model.recalibrate(X)
    third = pn.Model(model.inputs, model.outputs, dtype="float64")
    helpers.assert_same_bits(third.arena, model.arena)
    assert helpers.distance(other.arena, model.arena) > 1e-3


def statistics_of(parameters):
    return {name: array for name, array in parameters.items() if name.endswith(("mean", "variance"))}


def test_a_norm_of_the_input_and_far_means():
    model = pn.Sequential([pn.Input(4), pn.BatchNorm(name="norm")])
    far = (X + 1e4).astype("f4")
    model.recalibrate(far, 50)
    assert_statistics(model, "norm", far.astype("f8"), 1e-6)
    y = model.predict(far).astype("f8")
    assert np.abs(y.mean(axis=0)).max() < 1e-3
    assert np.abs(y.var(axis=0, ddof=1) - 1).max() < 1e-3


def test_a_shared_norm_gets_the_rows_of_all_its_calls():
    x, norm = pn.Input(4), pn.BatchNorm(name="norm")
    twice = pn.PythonLayer(lambda x: 2 * x, lambda x, y, dy: 2 * dy, 4)
    model = pn.Model(x, pn.Add()([norm(x), norm(twice(x))]), dtype="float64")
    model.recalibrate(X, 40)
    assert_statistics(model, "norm", np.concatenate([X, 2 * X]), 1e-13)


def test_two_inputs_and_sequences():
    a, b = pn.Input((3, 2), name="a"), pn.Input(3, name="b")
    h = pn.Concat()([pn.Flatten()(pn.LSTM(2, return_sequences=True)(a)), b])
    model = pn.Model([a, b], pn.BatchNorm(name="norm")(h), dtype="float64")
    rng = np.random.default_rng(0)
    data = {"a": rng.normal(size=(20, 3, 2)), "b": rng.normal(size=(20, 3))}
    model.recalibrate(data, 6)
    assert_statistics(model, "norm", pn.Model([a, b], h, dtype="float64").predict(data), 1e-13)


# ---- failures ------------------------------------------------------------------------------------------------------


def overflowing():
    """The second norm reads infinity on some rows; the first is sound."""
    x = pn.Input(4)
    h = pn.BatchNorm(name="first")(x)
    bad = pn.PythonLayer(lambda x: np.where(x > 2, np.inf, x), lambda x, y, dy: dy, 4)
    return pn.Model(x, pn.BatchNorm(name="second")(bad(h)))


class Interrupted(pn.PythonLayer):
    """Ctrl-C in the second norm's turn."""

    def __init__(self, error):
        self.calls, self.error = 0, error
        super().__init__(self.up, lambda x, y, dy: dy, 4)

    def up(self, x):
        self.calls += 1
        if self.calls == 3:
            raise self.error
        return x


def interrupted(error):
    x = pn.Input(4)
    return pn.Model(x, pn.BatchNorm()(Interrupted(error)(pn.BatchNorm()(x))))


FAILURES = {
    "no norm": (lambda: pn.Sequential([pn.Input(4), pn.LayerNorm()]), X, ValueError, "recalibrate: .* no BatchNorm"),
    "one row": (deep, X[:1], ValueError, "X must have at least 2 rows to take a variance over, got 1"),
    "no rows": (deep, X[:0], ValueError, "X must have at least 2 rows"),
    "width": (deep, X[:, :3], ValueError, r"X must have shape \[N, 4\], got \(333, 3\)"),
    "NaN": (deep, np.where(np.arange(N)[:, None] == 7, np.nan, X), ValueError, "X must be finite, got nan in row 7"),
    "text": (deep, X.astype(str), TypeError, "X must be real numbers"),
    "overflow": (
        overflowing,
        X,
        ValueError,
        r"recalibrate: what BatchNorm\(second\) reads is not finite for some rows",
    ),
    "KeyboardInterrupt": (lambda: interrupted(KeyboardInterrupt()), X, KeyboardInterrupt, "^$"),
    "an error of the user's": (lambda: interrupted(KeyError("mine")), X, KeyError, "mine"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_leaves_the_model_as_it_was(case):
    make, data, error, text = FAILURES[case]
    model = make()
    before = model.arena.copy()
    with pytest.raises(error, match=text):
        model.recalibrate(data, 100)
    helpers.assert_same_bits(model.arena, before)
    if case not in ("no norm", "overflow"):
        model.recalibrate(X, 100)
        assert helpers.distance(model.arena, before) > 1e-3


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True])
def test_wrong_batch_sizes(batch_size):
    model = deep()
    before = model.arena.copy()
    with pytest.raises((TypeError, ValueError), match="batch_size must be"):
        model.recalibrate(X, batch_size)
    helpers.assert_same_bits(model.arena, before)
