"""pn.analysis: gradient flow; what all of it refuses, and leaves as it was."""

import cases
import numpy as np
import pytest
from analysed import LABELS, RNG, X, Y, biased, chain, graph
from helpers import assert_same_bits

import pynet as pn
from pynet import _core, activations, analysis
from pynet.plan import NONE, Job, build

# ---- Plan.node_values: where the calls of layers are ----------------------------------------------------------------


def test_node_values_hold_what_each_call_computes():
    model = cases.branching("gelu")
    machine = _core.Machine(model.plan, model.arena, rows=12)
    machine.run(Job(inputs=[X[:, :3]], rows=12, batch=12, stages=_core.FORWARD), 0, 1)
    assert len(model.plan.node_values) == len(model.nodes)
    assert len(set(model.plan.node_values)) == len(model.nodes)
    for node, index in zip(model.nodes[1:], model.plan.node_values[1:], strict=True):
        part = pn.Model(model.inputs, node, dtype="float64")
        np.testing.assert_array_equal(machine.value(index), part.predict(X[:, :3]))


def test_node_values_are_none_where_nobody_needs_the_value():
    model = chain("relu", 1)
    plan = build(model, [cases.head("cross_entropy_index")])
    assert plan.node_values[2] == NONE  # the loss reads the logits
    assert NONE not in plan.node_values[:2]


# ---- gradient flow --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "last", "y"), [("cross_entropy", "softmax", LABELS), ("mse", "tanh", Y)])
def test_norms_against_backpropagation_by_hand(loss, last, y):
    model = chain("tanh", 2, last=last)
    flow = analysis.gradient_flow(model, X, y, loss)
    w1, b1, w2, b2, w3, b3 = model.get_weights()
    h1 = np.tanh(X @ w1 + b1)
    h2 = np.tanh(h1 @ w2 + b2)
    z3 = h2 @ w3 + b3
    if loss == "mse":
        d3 = 2 / 3 * (np.tanh(z3) - Y) * (1 - np.tanh(z3) ** 2)
    else:
        p = np.exp(z3) / np.exp(z3).sum(axis=1, keepdims=True)
        d3 = p - np.eye(3)[LABELS]
    d2 = d3 @ w3.T * (1 - h2**2)
    d1 = d2 @ w2.T * (1 - h1**2)
    rms = [np.sqrt(np.mean((d**2).sum(axis=1))) for d in (d1, d2, d3)]
    weights = [np.linalg.norm(h.T @ d) / 12 for h, d in ((X, d1), (h1, d2), (h2, d3))]
    np.testing.assert_allclose(flow.value_norms, rms, rtol=1e-10)
    np.testing.assert_allclose(flow.weight_norms, weights, rtol=1e-10)
    assert (flow.layers, flow.depth.tolist()) == (["dense_1", "dense_2", "dense_3"], [1, 2, 3])
    assert flow.activations == ["tanh", "tanh", last]
    assert flow.parameter_norms["dense_1.bias"] == pytest.approx(np.linalg.norm(d1.sum(axis=0)) / 12, rel=1e-10)
    assert list(flow.parameter_norms) == list(model.parameters())


@pytest.mark.parametrize(("loss", "last", "y"), [("cross_entropy", "softmax", LABELS), ("mse", "sigmoid", Y)])
def test_any_graph_against_the_gradients_of_biases(loss, last, y):
    """Of one row the gradient of z is that of the bias."""
    model = graph(last)
    flow = analysis.gradient_flow(model, X[:1], y[:1], loss)
    gradients = pn.Trainer(model, loss).gradients(X[:1], y[:1])
    found = dict(zip(flow.layers, flow.value_norms, strict=True))
    for name in ("a", "b", "c", "d", "e", "out"):
        assert found[name] == pytest.approx(np.linalg.norm(gradients[f"{name}.bias"]), rel=1e-9)
    depth = dict(zip(flow.layers, flow.depth.tolist(), strict=True))
    expected = {"a": 1, "b": 1, "squash": 2, "add_1": 3, "c": 2, "concat_1": 4, "d": 5, "e": 6, "add_2": 7, "out": 8}
    assert depth == expected
    assert np.isnan(dict(zip(flow.layers, flow.weight_norms, strict=True))["add_1"])


def test_a_layer_called_twice_has_an_entry_for_each_call():
    x, shared = pn.Input(5), pn.Dense(5, "tanh", name="shared")
    model = pn.Model(x, pn.Dense(3, name="out")(shared(shared(x))), dtype="float64")
    flow = analysis.gradient_flow(model, X, Y, "mse")
    assert flow.layers == ["shared", "shared", "out"]
    assert flow.value_norms[0] < flow.value_norms[1]
    assert flow.weight_norms[0] == flow.weight_norms[1] == flow.parameter_norms["shared.kernel"]


def test_value_norms_do_not_depend_on_the_number_of_rows():
    model = graph()
    once = analysis.gradient_flow(model, X, LABELS, "cross_entropy")
    twice = analysis.gradient_flow(model, np.vstack([X, X]), np.hstack([LABELS, LABELS]), "cross_entropy")
    np.testing.assert_allclose(twice.value_norms, once.value_norms, rtol=1e-12)
    np.testing.assert_allclose(twice.weight_norms, once.weight_norms, rtol=1e-12)


def test_forty_sigmoids_stay_below_a_quarter_a_layer():
    model = chain("sigmoid", 40, kernel="orthogonal")
    flow = analysis.gradient_flow(model, X, LABELS, "cross_entropy")
    np.testing.assert_allclose(flow.bound, flow.value_norms[-1] * 0.25 ** np.arange(40, -1, -1), rtol=1e-9)
    kernel = np.linalg.norm(model.parameters()["dense_41.kernel"], 2)
    assert kernel < 1.6
    assert (flow.value_norms[:-1] <= kernel * flow.bound[:-1]).all()  # the others are orthogonal, of norm 1
    assert (flow.value_norms > 0.2 ** np.arange(41, 0, -1) * 1e-3).all()
    assert flow.value_norms[0] < 1e-22
    assert flow.weight_norms[0] < 1e-20


@pytest.mark.parametrize(
    ("activation", "slope"),
    [("relu", 1), ("tanh", 1), ("scaled_tanh", 1.7159 * 2 / 3), ("hard_sigmoid", 1 / 6), ("gaussian", 0.857763885),
     (activations.ELU(3.0), 3), ("silu", 1.0998393), ("softmax", 0.5)],
)  # fmt: skip
def test_the_bound_knows_the_largest_slope(activation, slope):
    flow = analysis.gradient_flow(chain(activation, 1), X, LABELS, "cross_entropy")
    assert flow.bound[0] / flow.bound[1] == pytest.approx(slope, rel=1e-5)


def test_the_bound_adds_the_paths_of_a_residual():
    x = pn.Input(5)
    h = pn.Residual([pn.Dense(4, "sigmoid"), pn.Dense(5)])(pn.Dense(5, name="below")(x))
    flow = analysis.gradient_flow(pn.Model(x, pn.Dense(3, name="out")(h), dtype="float64"), X, Y, "mse")
    bound = dict(zip(flow.layers, flow.bound, strict=True))
    assert bound["below"] == pytest.approx(1.25 * bound["out"])


def test_frozen_layers_and_outputs_without_a_loss():
    x = pn.Input(5)
    a = pn.Dense(4, "tanh", name="a", trainable=False)(x)
    model = pn.Model(x, [pn.Dense(3, name="left")(a), pn.Dense(2, name="right")(a)], dtype="float64")
    flow = analysis.gradient_flow(model, X, Y, {"left": "mse"})
    assert flow.layers == ["a", "left", "right"]
    assert np.isnan(flow.weight_norms).tolist() == [True, False, True]
    assert np.isnan(flow.value_norms).tolist() == [False, False, True]
    assert list(flow.parameter_norms) == ["left.kernel", "left.bias"]
    double = analysis.gradient_flow(model, X, Y, {"left": "mse"}, loss_weights={"left": 2.0})
    np.testing.assert_allclose(double.value_norms[:2], 2 * flow.value_norms[:2])


def test_penalties_are_left_out():
    plain, penalised = chain("tanh", 2), chain("tanh", 2, l2=0.5, l1=0.1)
    penalised.load_state_dict(plain.state_dict())
    flows = [analysis.gradient_flow(model, X, LABELS, "cross_entropy") for model in (plain, penalised)]
    np.testing.assert_array_equal(flows[0].weight_norms, flows[1].weight_norms)
    assert penalised.layers[1].l2 == 0.5


def test_units_that_do_not_learn_have_norms_of_zero():
    model = chain("step", 2)
    flow = analysis.gradient_flow(model, X, LABELS, "cross_entropy")
    assert flow.value_norms[:2].tolist() == flow.weight_norms[:2].tolist() == [0, 0]
    assert flow.value_norms[2] > 0


# ---- layers that differ between training and prediction, sequences, Python ------------------------------------------


def modern(dropout=0.3):
    x = pn.Input(5)
    h = pn.Dropout(dropout)(pn.Activation("relu")(pn.BatchNorm()(biased(12, name="a")(x))))
    h = pn.PReLU()(pn.LayerNorm()(biased(8, pn.activations.NoisyReLU() if dropout else "relu", name="b")(h)))
    return pn.Model(x, biased(3, "softmax", name="out")(h), dtype="float64")


@pytest.mark.parametrize("training", [True, False])
def test_batch_statistics_and_dropout_are_those_of_training(training):
    model = modern(0.3 * (not training))  # the draws of training are others
    flow = analysis.gradient_flow(model, X, LABELS, "cross_entropy", training=training)
    gradients = pn.Trainer(model, "cross_entropy").gradients(X, LABELS, training=training)
    assert list(flow.parameter_norms) == [name for name in gradients if name != "input_1"]
    for name, norm in flow.parameter_norms.items():
        assert norm == pytest.approx(np.linalg.norm(gradients[name]), rel=1e-9)
    model = modern()
    theory = analysis.variance_flow(model, X, LABELS, "cross_entropy", training=training)
    place = theory.layers.index("batch_norm_1")
    assert theory.forward_theory[place] == theory.forward[place]
    assert (theory.forward[place] == pytest.approx(1, rel=1e-3)) == training
    norm = theory.layers.index("layer_norm_1")  # behind a random activation: both begin again
    assert theory.backward_theory[norm - 1] == theory.backward[norm - 1]
    assert (abs(theory.forward[place + 2] / theory.forward[place + 1] - 1) > 0.05) == training  # dropout
    flow = analysis.gradient_flow(model, X, LABELS, "cross_entropy", training=training)
    other = analysis.gradient_flow(model, X, LABELS, "cross_entropy", training=not training)
    assert not np.allclose(other.value_norms, flow.value_norms)
    usual = analysis.gradient_flow(model, X, LABELS, "cross_entropy")
    assert np.array_equal(usual.value_norms, flow.value_norms) == training


def test_the_bound_begins_again_below_a_layer_it_knows_nothing_of():
    flow = analysis.gradient_flow(modern(), X, LABELS, "cross_entropy", training=False)
    bound, norm = (dict(zip(flow.layers, column, strict=True)) for column in (flow.bound, flow.value_norms))
    assert bound["a"] == norm["a"]  # read by a batch norm
    assert bound["batch_norm_1"] == pytest.approx(norm["activation_1"])  # read by relu, that by a dropout
    assert bound["prelu_1"] == norm["out"]


def test_sequences():
    x = pn.Input((4, 5), name="x")
    mask = pn.Input(4, name="mask")
    h = pn.LSTM(6, return_sequences=True)([x, mask])
    model = pn.Model([x, mask], pn.Dense(3, "softmax", name="out")(pn.Flatten()(h)), dtype="float64")
    data = {"x": RNG.normal(size=(12, 4, 5)), "mask": np.arange(4) < RNG.integers(1, 5, (12, 1))}
    flow = analysis.gradient_flow(model, data, LABELS, "cross_entropy")
    assert flow.layers == ["lstm_1", "flatten_1", "out"]
    gradients = pn.Trainer(model, "cross_entropy").gradients(data, LABELS)
    matrices = [np.linalg.norm(gradients[f"lstm_1.{name}"]) for name in ("kernel", "recurrent_kernel")]
    assert flow.weight_norms[0] == pytest.approx(np.hypot(*matrices), rel=1e-9)
    assert flow.value_norms[0] == flow.value_norms[1] > 0
    theory = analysis.variance_flow(model, data, LABELS, "cross_entropy")
    assert theory.forward_theory[0] == theory.forward[0]
    surface = analysis.loss_surface(model, data, LABELS, "cross_entropy", resolution=3)
    assert np.isfinite(surface.loss).all()


def test_layers_written_in_python():
    x = pn.Input(5)
    cube = activations.Function(lambda x: x**3, lambda x: 3 * x**2)
    h = pn.PythonLayer(lambda x: x[:, ::-1], lambda x, y, dy: dy[:, ::-1], 6)(biased(6, cube, name="a")(x))
    model = pn.Model(x, biased(3, name="out")(h), dtype="float64")
    flow = analysis.gradient_flow(model, X[:1], Y[:1], "mse")
    bias = pn.Trainer(model, "mse").gradients(X[:1], Y[:1])["a.bias"]
    assert flow.value_norms[0] == pytest.approx(np.linalg.norm(bias), rel=1e-9)
    assert flow.bound[0] == flow.value_norms[0]
    theory = analysis.variance_flow(model, X, Y, "mse")
    assert theory.forward_theory[1] == theory.forward[1]
    assert analysis.dead_units(model, X).layers == []


# ---- what is refused, and what stays as it was ----------------------------------------------------------------------


class Failing:
    """A loss of the user's that fails at its n-th call."""

    def __init__(self, n=1):
        self.left = n

    def value_and_gradient(self, prediction, target):
        self.left -= 1
        if not self.left:
            raise RuntimeError("on purpose")
        return float(np.mean(prediction**2)), 2 * prediction / prediction.size


def calls():
    A = analysis
    swap = A.interpolate_units(graph(), "a", 0, 1)
    return {
        "gradient_flow": lambda m, loss: A.gradient_flow(m, X, Y, loss),
        "variance_flow": lambda m, loss: A.variance_flow(m, X, Y, loss),
        "loss_surface": lambda m, loss: A.loss_surface(m, X, Y, loss, resolution=3),
        "loss_along_path": lambda m, loss: A.loss_along_path(A.Path(m, swap.end, 4), X, Y, loss),
        "dead_units": lambda m, loss: A.dead_units(m, X),
        "permute_units": lambda m, loss: A.permute_units(m, "a", [1, 0, 2, 3, 4, 5]),
        "interpolate_units": lambda m, loss: A.interpolate_units(m, "a", 0, 1).model(0.5),
    }


@pytest.mark.parametrize("name", calls())
def test_the_model_stays_as_it_was(name):
    model = graph("identity")
    model.layers[1].trainable = False
    before, config = model.arena.copy(), model.config()
    homes = [layer.home for layer in model.layers]
    call = calls()[name]
    call(model, "mse")
    if name.startswith(("gradient", "variance", "loss")):
        with pytest.raises(RuntimeError, match="on purpose"):
            call(model, Failing(1 if "flow" in name else 3))
    assert_same_bits(model.arena, before)
    assert model.config() == config
    assert all(a is b for a, b in zip((layer.home for layer in model.layers), homes, strict=True))


def test_own_losses_are_looked_at_as_well():
    own = analysis.gradient_flow(graph("identity"), X, Y, Failing(0))
    zero = analysis.gradient_flow(graph("identity"), X, 0 * Y, "mse")
    np.testing.assert_allclose(own.value_norms, zero.value_norms, rtol=1e-9)


def test_what_is_refused():
    model = graph()
    for function in (analysis.gradient_flow, analysis.variance_flow, analysis.loss_surface):
        with pytest.raises(TypeError, match="model must be a pynet Model, got str"):
            function("model", X, LABELS, "cross_entropy")
        with pytest.raises(ValueError, match="unknown loss 'cross_entorpy', did you mean 'cross_entropy'"):
            function(model, X, LABELS, "cross_entorpy")
        with pytest.raises(ValueError, match=r"X must have shape \[N, 5\]"):
            function(model, X[:, :4], LABELS, "cross_entropy")
    with pytest.raises(TypeError, match="model must be a pynet Model"):
        analysis.dead_units(None, X)
    with pytest.raises(ValueError, match="X has no rows"):
        analysis.dead_units(model, X[:0])
    with pytest.raises(ValueError, match="X must be finite, got nan in row 3, column 1"):
        analysis.dead_units(model, np.where(np.arange(60).reshape(12, 5) == 16, np.nan, X))
    with pytest.raises(ValueError, match="slope must be >= 0 and < 1, got 1"):
        analysis.dead_units(model, X, slope=1)
