"""pn.analysis.variance_flow: theory against formulas by hand, measurements against theory."""

import numpy as np
import pytest
from analysed import LABELS, X, Y, biased, chain

import pynet as pn
from pynet import activations, analysis


def mean_square(w):
    return np.mean(np.square(w))


def test_linear_layers_are_the_products_of_glorot_and_bengio():
    model = chain("identity", 3, last="identity")
    flow = analysis.variance_flow(model, X, Y, "mse")
    w = [array for array in model.get_weights() if array.ndim == 2]
    forward = [mean_square(X)]
    for kernel in w:
        forward.append(forward[-1] * kernel.shape[0] * mean_square(kernel))
    np.testing.assert_allclose(flow.forward_theory, forward[1:], rtol=1e-12)
    y = model.predict(X)
    backward = [mean_square(2 / 3 * (y - Y))]
    for kernel in w[:0:-1]:
        backward.append(backward[-1] * kernel.shape[1] * mean_square(kernel))
    np.testing.assert_allclose(flow.backward_theory[::-1], backward, rtol=1e-12)
    np.testing.assert_allclose(flow.fan_in_variance, [k.shape[0] * mean_square(k) for k in w])
    np.testing.assert_allclose(flow.fan_out_variance, [k.shape[1] * mean_square(k) for k in w])
    z = [X @ w[0]]
    for kernel in w[1:]:
        z.append(z[-1] @ kernel)
    np.testing.assert_allclose(flow.forward, [array.var() for array in z], rtol=1e-10)


@pytest.mark.parametrize(
    ("activation", "half"), [("relu", 1 / 2), (activations.LeakyReLU(0.5), (1 + 0.25) / 2)], ids=["relu", "leaky"]
)
def test_rectifiers_are_the_products_of_he(activation, half):
    flow = analysis.variance_flow(chain(activation, 5, kernel="he_normal"), X, LABELS, "cross_entropy")
    ratio = flow.forward_theory[1:] / flow.forward_theory[:-1]
    np.testing.assert_allclose(ratio, half * flow.fan_in_variance[1:], rtol=1e-9)  # eq. 8 and 15
    ratio = flow.backward_theory[:-1] / flow.backward_theory[1:]
    np.testing.assert_allclose(ratio, half * flow.fan_out_variance[1:], rtol=1e-9)  # eq. 13


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "gelu", "relu", "softplus"])
def test_expectations_against_random_numbers(activation):
    flow = analysis.variance_flow(chain(activation, 1), X, LABELS, "cross_entropy")
    z = np.random.default_rng(1).normal(size=200_000) * np.sqrt(flow.forward_theory[0])
    square = np.mean(activations.evaluate(activation, z) ** 2)
    assert flow.forward_theory[1] == pytest.approx(flow.fan_in_variance[1] * square, rel=0.015)
    slope = np.mean(activations.derivative(activation, z) ** 2)
    ratio = flow.backward_theory[0] / flow.backward_theory[1]
    assert ratio == pytest.approx(flow.fan_out_variance[1] * slope, rel=0.015)


def test_means_of_biases_are_followed():
    x = pn.Input(5)
    a, b = biased(4, name="a")(x), biased(4, name="b")(x)
    model = pn.Model(
        x, biased(3, name="out")(pn.Activation("sigmoid", name="squash")(pn.Add()([a, b]))), dtype="float64"
    )
    state = {name: w + 0.8 * (w.ndim == 1) for name, w in model.state_dict().items()}
    model.load_state_dict(state)
    flow = analysis.variance_flow(model, X, Y, "mse")
    theory = dict(zip(flow.layers, flow.forward_theory, strict=True))
    variance = {}
    for name in "ab":
        bias = state[f"{name}.bias"]
        variance[name] = 5 * mean_square(state[f"{name}.kernel"]) * mean_square(X) + bias.var()
        assert theory[name] == pytest.approx(variance[name], rel=1e-12)
    assert theory["add_1"] == pytest.approx(variance["a"] + variance["b"], rel=1e-12)
    mean = state["a.bias"].mean() + state["b.bias"].mean()
    z = mean + np.random.default_rng(2).normal(size=200_000) * np.sqrt(theory["add_1"])
    s = 1 / (1 + np.exp(-z))
    assert theory["squash"] == pytest.approx(s.var(), rel=0.015)
    out = 4 * mean_square(state["out.kernel"]) * mean_square(s) + state["out.bias"].var()
    assert theory["out"] == pytest.approx(out, rel=0.015)
    down = dict(zip(flow.layers, flow.backward_theory, strict=True))
    slope = np.mean((s * (1 - s)) ** 2)
    assert down["add_1"] == pytest.approx(slope * down["squash"], rel=0.015)
    assert down["a"] == down["b"] == down["add_1"]


@pytest.mark.parametrize(("activation", "kernel"), [("relu", "he_normal"), ("tanh", "xavier_normal")])
def test_wide_random_nets_behave_as_predicted(activation, kernel):
    model = chain(activation, 6, width=600, kernel=kernel, dtype="float32")
    flow = analysis.variance_flow(model, X, LABELS, "cross_entropy")
    np.testing.assert_allclose(flow.forward[:-1], flow.forward_theory[:-1], rtol=0.3)  # the last has 3 units
    np.testing.assert_allclose(flow.backward, flow.backward_theory, rtol=0.3)


def test_wide_random_graphs_behave_as_predicted():
    x = pn.Input(5)
    a, b = pn.Dense(400, "tanh", bias_initializer="normal")(x), pn.Activation("sigmoid")(pn.Dense(400)(x))
    h = pn.Concat()([pn.Add()([a, b]), pn.Dense(200, "relu")(a)])
    h = pn.Residual([pn.Dense(300, "relu"), pn.Dense(600)])(h)
    model = pn.Model(x, pn.Dense(3, "softmax")(h))
    flow = analysis.variance_flow(model, X, LABELS, "cross_entropy")
    np.testing.assert_allclose(flow.forward[:-1], flow.forward_theory[:-1], rtol=0.25)
    np.testing.assert_allclose(flow.backward, flow.backward_theory, rtol=0.25)
    assert np.isnan(flow.fan_in_variance[flow.layers.index("add_1")])


def test_theory_begins_again_behind_softmax():
    x = pn.Input(5)
    h = pn.Dense(6, "softmax", name="mix")(x)
    model = pn.Model(x, pn.Dense(3, name="out")(h), dtype="float64")
    flow = analysis.variance_flow(model, X, Y, "mse")
    p = pn.Model(x, h, dtype="float64").predict(X)
    kernel = model.parameters()["out.kernel"]
    assert flow.forward_theory[1] == pytest.approx(6 * mean_square(kernel) * mean_square(p), rel=1e-12)
    assert flow.backward_theory[0] == flow.backward[0]
