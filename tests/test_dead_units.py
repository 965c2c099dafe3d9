"""pn.analysis.dead_units, against shares counted by hand."""

import numpy as np
import pytest
from analysed import RNG, X, chain

import pynet as pn
from pynet import activations, analysis


def test_units_that_never_are_active_are_dead():
    model = chain("relu", 2, width=8)
    state = model.state_dict()
    state["dense_1.bias"][[1, 4]] = -100
    state["dense_2.bias"][6] = -100
    model.load_state_dict(state)
    many = RNG.normal(size=(2500, 5))
    found = analysis.dead_units(model, many)
    assert (found.layers, found.activations) == (["dense_1", "dense_2"], ["relu", "relu"])
    hidden = [pn.Model(model.inputs, node, dtype="float64").predict(many) for node in model.nodes[1:3]]
    for share, h, dead in zip(found.blocked, hidden, found.dead, strict=True):
        np.testing.assert_array_equal(share, (h <= 0).mean(axis=0))
        np.testing.assert_array_equal(dead, np.flatnonzero((h <= 0).all(axis=0)))
    assert {1, 4} <= set(found.dead[0])
    assert 6 in found.dead[1]
    assert found.n_dead.tolist() == [len(units) for units in found.dead]
    np.testing.assert_allclose(found.saturated, [(h <= 0).mean() for h in hidden])


@pytest.mark.parametrize(
    ("activation", "blocked"),
    [("sigmoid", lambda z: np.abs(z) > 4.3549), ("tanh", lambda z: np.abs(z) > 2.17826),
     ("hard_tanh", lambda z: np.abs(z) >= 1), ("leaky_relu", lambda z: z <= 0), ("elu", lambda z: z < np.log(0.05)),
     ("arctan", lambda z: z * z > 19)],
)  # fmt: skip
def test_saturated_units(activation, blocked):
    x = pn.Input(5)
    z = pn.Dense(40, kernel_initializer="normal")(x)
    model = pn.Model(x, pn.Dense(2)(pn.Activation(activation, name="act")(z)), dtype="float64")
    state = model.state_dict()
    state["dense_1.kernel"] *= 20 / np.abs(state["dense_1.kernel"]).max()
    model.load_state_dict(state)
    expected = blocked(pn.Model(x, z, dtype="float64").predict(X))
    found = analysis.dead_units(model, X)
    assert (found.layers, found.activations) == (["act"], [activation])
    np.testing.assert_array_equal(found.blocked[0], expected.mean(axis=0))
    assert 0 < found.saturated[0] < 1


def test_the_share_of_slope_can_be_chosen():
    model = chain("leaky_relu", 1)
    assert analysis.dead_units(model, X).saturated[0] > 0.1
    assert analysis.dead_units(model, X, slope=0).saturated[0] == 0
    model = chain("relu", 1)
    assert analysis.dead_units(model, X, slope=0).saturated[0] == analysis.dead_units(model, X).saturated[0] > 0


def test_activations_that_block_nothing_or_everything_are_left_out():
    for activation in ("identity", "softmax", "step", "rectangular"):
        found = analysis.dead_units(chain(activation, 1), X)
        assert (found.layers, found.n_dead.tolist(), found.saturated.tolist()) == ([], [], [])


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_units_behind_a_batch_norm_that_prediction_folds_away(activation):
    x = pn.Input(5)
    h = pn.BatchNorm()(pn.Dense(8)(x))
    model = pn.Model(x, pn.Dense(2)(pn.Activation(activation)(h)), dtype="float64")
    state = model.state_dict()
    for name in ("gamma", "beta", "mean", "variance"):
        state[f"batch_norm_1.{name}"] = RNG.uniform(0.2, 2, 8)
    model.load_state_dict(state)
    z = pn.Model(x, h, dtype="float64").predict(X)
    slope = np.abs(activations.derivative(activation, z))
    steepest = np.abs(activations.derivative(activation, np.linspace(-9, 9, 100_000))).max()
    found = analysis.dead_units(model, X)
    np.testing.assert_array_equal(found.blocked[0], (slope <= 0.05 * steepest).mean(axis=0))
