"""Transfer: frozen parts, rates by part, cut graphs."""

import copy
import pickle

import helpers
import numpy as np
import pytest
from transferred import bits, data, net, train

import pynet as pn
from pynet import _core, reference
from pynet.heads import Head
from pynet.losses import LossSpec
from pynet.plan import build
from pynet.restore import model_from_config

RULES = {
    "sgd": pn.SGD(0.05, weight_decay=0.1),
    "momentum": pn.SGD(0.05, momentum=0.9, weight_decay=0.1),
    "nesterov": pn.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": pn.Adam(0.01, weight_decay=0.1),
    "adamw": pn.AdamW(0.01, weight_decay=0.1),
    "rmsprop": pn.RMSProp(0.01, weight_decay=0.1),
    "adagrad": pn.Adagrad(0.05, weight_decay=0.1),
    "rprop": pn.Rprop(0.01),
}


@pytest.fixture(params=["c", "numpy"])
def backend(request):
    return request.param


def classifying() -> Head:
    return Head(LossSpec("cross_entropy_index", 0.0, "softmax"), 1.0, [])


def moved(before: dict, after: dict) -> set:
    return {name for name in after if before[name] != after[name]}


# ---- frozen parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_frozen_layers_keep_their_bits(rule, backend):
    model = net()
    trainer = train(model, backend, RULES[rule], clip=pn.ClipNorm(1.0))  # statistics and slots are no longer zero
    model.freeze("features")
    model.load_weights({"low.kernel": 3 * model.parameters()["low.kernel"]})  # longer than its max_norm
    before = bits(model)
    trainer.fit(*data(), epochs=2, batch_size=16, verbose=0)
    assert moved(before, bits(model)) == {"head.kernel", "head.bias"}
    model.unfreeze()
    trainer.fit(*data(), epochs=1, batch_size=16, verbose=0)
    assert moved(before, bits(model)) == set(before) - {"input_1.scale"}
    assert np.linalg.norm(model.parameters()["low.kernel"], axis=0).max() < 1.001


def test_a_frozen_body_is_a_fixed_function(backend):
    """A head on a frozen body learns what it learns alone, on what the body predicts."""
    model = net("float64")
    train(model, backend)
    body = pn.Model(model.inputs, model.get_layer("features").output, dtype="float64")
    features = body.predict(data()[0])
    whole = net("float64", seed=2)
    whole.load_weights(model, rename=lambda name: None if name.startswith("head") else name)
    alone = pn.Sequential([pn.Input(8), pn.Dense(3, "softmax", name="head")], dtype="float64")
    alone.load_weights(whole, rename=lambda name: name if name.startswith("head") else None)
    whole.freeze("features")
    trainer = pn.Trainer(alone, "cross_entropy", pn.Adam(0.01), backend=backend)
    trainer.fit(features, data()[1], epochs=2, batch_size=16, verbose=0)
    train(whole, backend, pn.Adam(0.01))
    for name, array in alone.parameters().items():
        helpers.assert_close(whole.parameters()[name], array, 1e-12, name)


def test_a_frozen_body_costs_no_backward_pass(monkeypatch):
    calls: list[int] = []

    def counted(kind, f):
        return lambda *arguments: (calls.append(kind), f(*arguments))

    down = {kind: counted(kind, f) for kind, f in reference.DOWN.items()}
    monkeypatch.setattr(reference, "DOWN", down)  # the machine is to do what the plan says
    model = net()
    found = []
    for up_to in (None, "features"):
        if up_to:
            model.freeze(up_to)
        plan = build(model, [classifying()])
        goes_down = [not flags & _core.NO_BACKWARD for flags in plan.ops["flags"].tolist()]
        calls.clear()
        train(model, "numpy", epochs=1)
        found.append(([name for name, down in zip(plan.op_names, goes_down, strict=True) if down][:-1], len(calls)))
    batches = 3
    assert found[0] == (["low", "norm", "middle", "features", "head"], 5 * batches)
    assert found[1] == (["head"], batches)  # and the loss, which both lists leave out
    assert plan.ops["kind"][2] == _core.OPS["running_norm"]


def forked():
    """Two branches, called in turns, and a layer that both share."""
    x, other = pn.Input(4, name="x"), pn.Input(3, name="other")
    shared = pn.Dense(5, name="shared")
    a = pn.Dense(4, "tanh", name="a")(x)
    b = pn.Dense(4, "tanh", name="b")(other)
    a2 = pn.Residual([pn.Dense(4, name="inner")], name="block")(a)
    b2 = shared(b)
    joined = pn.Concat(name="joined")([shared(a2), b2])
    return pn.Model([x, other], pn.Dense(2, name="head")(joined))


@pytest.mark.parametrize(
    ("up_to", "frozen"),
    [
        ("a", "a"),
        ("b", "b"),
        ("block", "a inner block"),
        ("shared", "a b inner block shared"),  # called twice: what either call needs
        ("head", "a b inner block shared joined head"),
        (None, "a b inner block shared joined head"),
    ],
)
def test_freeze_reaches_what_a_layer_depends_on(up_to, frozen):
    model = forked()
    model.freeze(up_to)
    names = {model.names[layer] for layer in model.layers if not (layer.trainable or layer.is_input)}
    assert names == set(frozen.split())


def test_training_after_unfreeze_is_that_of_a_net_never_frozen(backend):
    one, other = net(), net()
    one.freeze()
    train(one, backend, epochs=1)
    assert bits(one) == bits(other)
    one.unfreeze()
    train(one, backend)
    train(other, backend)
    assert bits(one) == bits(other)
    assert bits(one) != bits(net())


# ---- rates by part --------------------------------------------------------------------------------------------------


def test_a_rate_factor_scales_the_step(backend):
    model = net("float64")
    model.set_rate_factors({"*": 0.125, "head": 3, "middle": 0})
    trainer = pn.Trainer(model, "cross_entropy", pn.SGD(0.3), backend=backend)
    before, gradients = model.parameters(), trainer.gradients(*data(), training=True)
    trainer.train_on_batch(*data())
    after = model.parameters()
    del gradients["input_1"]
    for name, gradient in gradients.items():
        layer = name.split(".")[0]
        factor = {"head": 3, "middle": 0}.get(layer, 0.125)
        if name != "low.kernel":  # whose columns max_norm bounds afterwards
            helpers.assert_close(after[name], before[name] - 0.3 * factor * gradient, 1e-15, name)
    assert {name.split(".")[0] for name in gradients} == {"low", "norm", "middle", "features", "head"}
    helpers.assert_same_bits(after["middle.kernel"], before["middle.kernel"])


@pytest.mark.parametrize("rule", RULES)
def test_half_the_factor_everywhere_is_half_the_rate(rule, backend):
    halved, slow, fast = net(), net(), net()
    halved.set_rate_factors({"*": 0.5})
    optimizer = copy.deepcopy(RULES[rule])
    train(halved, backend, optimizer)
    train(fast, backend, optimizer)
    optimizer.learning_rate /= 2
    train(slow, backend, optimizer)
    assert bits(halved) == bits(slow) != bits(fast)


def test_names_and_beginnings_of_names():
    model = forked()
    factors = lambda: {model.names[layer]: layer.rate_factor for layer in model.layers if layer.rate_factor != 1}
    model.set_rate_factors({"b*": 0.5, "a": 2})
    assert factors() == {"b": 0.5, "block": 0.5, "a": 2}
    model.set_rate_factors({"block": 0, "b*": 0.25, "b": 3})  # the last that names a layer
    assert factors() == {"b": 3, "block": 0.25, "a": 2}
    model.set_rate_factors({"*": 1})
    assert factors() == {}


@pytest.mark.parametrize(
    ("factors", "error", "text"),
    [
        ({"head": 2, "hed": 1}, ValueError, "unknown layer 'hed', did you mean 'head'"),
        ({"head": 2, "heat*": 1}, ValueError, r"unknown layer 'heat\*', did you mean 'head'"),
        ({"head": 2, "h*d": 1}, ValueError, r"unknown layer 'h\*d'"),
        ({"head": 2, "a": -1}, ValueError, "rate factor of 'a' must be finite and >= 0, got -1"),
        ({"head": 2, "a": np.inf}, ValueError, "rate factor of 'a' must be finite"),
        ({"head": 2, "a": "1"}, TypeError, "rate factor of 'a' must be a number, got str"),
        ({"head": 2, 3: 1}, TypeError, "the name of a layer must be a string, got int 3"),
        (0.1, TypeError, "factors must be a dict of layer name -> factor, got float"),
    ],
)
def test_impossible_factors_change_nothing(factors, error, text):
    model = forked()
    with pytest.raises(error, match=text):
        model.set_rate_factors(factors)
    assert {layer.rate_factor for layer in model.layers} == {1}


def test_factors_travel_with_the_model_and_stand_in_the_summary(tmp_path):
    model = net()
    model.set_rate_factors({"low": 0.5, "input*": 0.5})
    model.get_layer("middle").rate_factor = np.float32(0.25)
    model.freeze("norm")
    model.save(tmp_path / "net")
    for other in (pn.load(tmp_path / "net"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [layer.rate_factor for layer in other.layers] == [0.5, 0.5, 1, 0.25, 1, 1]
    lines: list[str] = []
    model.summary(lines.append)
    rows = {row.split()[0]: row.split() for row in lines[0].splitlines()}
    assert rows["low"][4:] == ["112", "frozen", "rate", "x", "0.5", "input_1"]
    assert rows["middle"][4:] == ["136", "rate", "x", "0.25", "norm"]
    assert rows["head"][4:] == ["27", "features"]
    assert "rate" not in rows["input_1"]


@pytest.mark.parametrize("factor", ["fast", -1, None, True, float("nan")])
def test_a_file_with_an_impossible_factor_is_refused(factor):
    config = net().config()
    config["layers"][1]["rate_factor"] = factor
    with pytest.raises(ValueError, match=r"layers\[1\]: rate_factor must be"):
        model_from_config(config)


# ---- cut graphs -----------------------------------------------------------------------------------------------------


def test_a_cut_net_and_its_origin_train_apart(backend):
    model = net()
    train(model, backend)
    learned = bits(model)
    head = pn.Dense(3, "softmax", name="new")(model.get_layer("features").output)
    tuned = pn.Model(model.inputs, head, random_state=9)
    body = {name: value for name, value in learned.items() if not name.startswith("head")}
    assert {name: bits(tuned)[name] for name in body} == body
    train(tuned, backend)
    assert bits(model) == learned
    assert moved(body, {name: bits(tuned)[name] for name in body}) == set(body) - {"input_1.scale"}
    tuned_bits = bits(tuned)
    train(model, backend)
    assert bits(tuned) == tuned_bits
    assert moved(learned, bits(model)) == set(learned) - {"input_1.scale"}


@pytest.mark.parametrize("name", ["low", "norm", "middle", "features"])
def test_any_layer_can_be_where_the_cut_is(name, backend):
    model = net("float64")
    train(model, backend)
    front = pn.Model(model.inputs, model.get_layer(name).output, dtype="float64")
    p, x = model.parameters(), data()[0] * 0.5
    steps = {
        "low": lambda x: np.maximum(x @ p["low.kernel"] + p["low.bias"], 0),
        "norm": lambda x: (x - p["norm.mean"]) * p["norm.gamma"] / np.sqrt(p["norm.variance"] + 1e-5) + p["norm.beta"],
        "middle": lambda x: x @ p["middle.kernel"] + p["middle.bias"],
        "features": lambda x: np.where(x > 0, x, p["features.alpha"] * x),
    }
    for step, f in steps.items():
        x = f(x)
        if step == name:
            break
    helpers.assert_close(front.predict(data()[0], backend=backend), x, 1e-12)
