"""Graphs as JSON: exact round trips, and configurations from anybody."""

import copy
import json

import numpy as np
import pytest

import pynet as pn
from pynet.restore import model_from_config


def rich():
    a, b = pn.Input(4, name="a", scale=2.0), pn.Input(3)
    shared = pn.Dense(5, activation=pn.activations.LeakyReLU(0.2), l2=0.5, trainable=False)
    h = pn.Add()([shared(a), pn.Dense(5, use_bias=False, kernel_initializer="orthogonal")(b)])
    h = pn.Residual([pn.Dense(5, activation="gelu")], name="block")(h)
    joined = pn.Concat()([h, pn.Dense(4)(h), b])
    outputs = [pn.Dense(2, activation="softmax", name="main")(joined), pn.Activation("tanh")(shared(pn.Dense(4)(h)))]
    return pn.Model([b, a], outputs, dtype="float64", random_state=7, name="rich")


def test_round_trip():
    model = rich()
    config = json.loads(json.dumps(model.config()))
    again = model_from_config(config, model.state_dict())
    assert again.config() == config
    assert list(again.names.values()) == list(model.names.values())
    assert [v.width for v in again.inputs] == [3, 4]
    assert again.name == "rich"
    for field in ("ops", "values", "params"):
        np.testing.assert_array_equal(getattr(again.plan, field), getattr(model.plan, field))
    np.testing.assert_array_equal(again.arena, model.arena)
    assert [layer.trainable for layer in again.layers] == [layer.trainable for layer in model.layers]


def test_initial_weights_without_tensors():
    model = pn.Sequential([pn.Input(4), pn.Dense(3)])
    np.testing.assert_array_equal(model_from_config(model.config()).arena, model.arena)


def test_automatic_names_stay_automatic():
    model = pn.Sequential([pn.Input(4), pn.Dense(3, name="mine"), pn.Dense(3)])
    again = model_from_config(model.config())
    assert [layer.name_is_automatic for layer in again.layers] == [True, False, True]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.pop("dense_1.bias"), "parameters are missing: 'dense_1.bias'"),
        (lambda t: t.update({"dense_1.bias": np.zeros(4)}), r"has shape \(3,\), got \(4,\)"),
        (lambda t: t.update({"dense_1.bias": np.full(3, np.inf)}), "must be finite"),
    ],
)
def test_tensors_are_compared_with_the_graph(change, text):
    model = pn.Sequential([pn.Input(4), pn.Dense(3)])
    tensors = {**model.state_dict(), "optimizer.0.dense_1.bias": np.zeros(99)}
    model_from_config(model.config(), tensors)
    change(tensors)
    with pytest.raises(ValueError, match=text):
        model_from_config(model.config(), tensors)


def test_tensors_are_compared_before_anything_large_is_allocated():
    config = pn.Sequential([pn.Input(4), pn.Dense(3)]).config()
    config["layers"][1]["params"]["units"] = 1 << 24  # would be a gigabyte
    with pytest.raises(ValueError, match="has shape"):
        model_from_config(config, pn.Sequential([pn.Input(4), pn.Dense(3)]).state_dict())


def _set(*path):
    """A change: the entry at path[:-1] becomes path[-1]."""

    def change(config):
        *way, key, value = path
        for step in way:
            config = config[step]
        config[key] = value

    return change


def _drop(*path):
    def change(config):
        *way, key = path
        for step in way:
            config = config[step]
        del config[key]

    return change


HOSTILE = [
    (_drop("calls"), "has no entry 'calls'"),
    (_set("clals", 3), "unknown entry 'clals', did you mean 'calls'"),
    (_set("format_version", 2), "format_version 2, expected 1"),
    (_set("format_version", True), "format_version True"),
    (_set("dtype", "float16"), "dtype of the graph"),
    (_set("dtype", ["float32"]), "dtype of the graph"),
    (_set("name", 3), "name of the model must be a string"),
    (_set("name", "a/../b"), "name of the model must be 1 to 100"),
    (_set("layers", {}), "layers must be a list"),
    (_set("layers", []), "layers must have 1 to 1024 entries"),
    (_set("layers", [{}] * 1025), "layers must have 1 to 1024 entries, got 1025"),
    (_set("layers", 0, None), r"layers\[0\] must be an object, got NoneType"),
    (_set("layers", 1, "class", "Dens"), "unknown class .*'Dens', did you mean 'Dense'"),
    (_set("layers", 1, "class", "__import__"), "unknown class"),
    (_set("layers", 1, "class", ["Dense"]), "unknown class"),
    (_set("layers", 1, "class", "Merge"), "unknown class"),
    (_set("layers", 1, "name", None), r"layers\[1\] has no name"),
    (_set("layers", 1, "name", "x.y"), r"layers\[1\]: name must be"),
    (_set("layers", 1, "name", "input_1"), "two layers are named 'input_1'"),
    (_set("layers", 1, "params", []), r"params of layers\[1\] must be an object"),
    (_set("layers", 1, "params", "uints", 3), "unknown entry 'uints', did you mean 'units'"),
    (_set("layers", 1, "params", "name", "x"), "unknown entry 'name'"),
    (_drop("layers", 1, "params", "units"), r"layers\[1\]: .*units"),
    (_set("layers", 1, "params", "units", 0), "units of Dense must be in"),
    (_set("layers", 1, "params", "units", (1 << 24) + 1), "units of Dense must be in"),
    (_set("layers", 1, "params", "units", 10**30), "units of Dense must be in"),
    (_set("layers", 1, "params", "units", True), "must be an integer"),
    (_set("layers", 1, "params", "l1", 10**400), r"layers\[1\]"),
    (_set("layers", 1, "params", "activation", "rleu"), "did you mean 'relu'"),
    (_set("layers", 1, "params", "activation", {"name": "relu", "f": "os.system"}), "no parameter 'f'"),
    (_set("layers", 1, "params", "activation", {"name": ["relu"]}), r"layers\[1\]"),
    (_set("layers", 1, "params", "activation", 3), r"layers\[1\]"),
    (_set("layers", 1, "params", "kernel_initializer", {"name": "constant", "value": [1]}), r"layers\[1\]"),
    (_set("layers", 1, "params", "trainable", "yes"), "trainable must be True or False"),
    (_drop("layers", 0, "params", "shape"), r"layers\[0\]: shape of Input"),
    (_set("layers", 0, "params", "shape", [4, 4, 4]), "must be the number of features"),
    (_set("layers", 0, "params", "shape", [-1]), "shape of Input must be in"),
    (_set("layers", 0, "params", "scale", [1, 2]), "scale must be True or False"),
    (_set("calls", 1, "layer", 9), r"layer of calls\[1\] must be a number in 0\.\.2, got 9"),
    (_set("calls", 1, "layer", -1), "got -1"),
    (_set("calls", 1, "layer", True), "got True"),
    (_set("calls", 1, "layer", 1.0), "got 1.0"),
    (_set("calls", 1, "inputs", [1]), r"inputs of calls\[1\] must be a number in 0\.\.0, got 1"),
    (_set("calls", 1, "inputs", []), "takes one input, got 0"),
    (_set("calls", 1, "inputs", [0, 0]), "takes one input, got 2"),
    (_set("calls", 0, "inputs", [0]), "nothing stands before it"),
    (_set("calls", 1, "layer", 0), "takes no inputs and is called once"),
    (_set("calls", 2, "layer", 1), "was built for 4 inputs, got 5"),
    (lambda c: c["layers"].append(dict(c["layers"][1], name="extra")), "layer 'extra' is never called"),
    (lambda c: c["calls"].append({"layer": 2, "inputs": [1]}), "nothing reads the value of layer 'dense_2'"),
    (_set("calls", [{"layer": 0, "inputs": []}] * 4097), "calls must have 1 to 4096 entries"),
    (_set("inputs", [1]), r"inputs\[0\] is the value of"),
    (_set("inputs", [0, 0]), "listed twice"),
    (_set("outputs", []), "outputs must have 1 to"),
    (_set("outputs", [3]), r"outputs\[0\] must be a number in 0\.\.2, got 3"),
    (_set("outputs", [2] * 17), "at most 16 outputs"),
    (
        lambda c: c["layers"][0]["params"].update(shape=[1 << 24]) or c["layers"][1]["params"].update(units=1 << 24),
        "large",
    ),
]


@pytest.mark.parametrize(("change", "text"), HOSTILE)
def test_hostile_configurations(change, text):
    config = pn.Sequential([pn.Input(4), pn.Dense(5), pn.Dense(3, activation="relu")]).config()
    config = copy.deepcopy(config)
    change(config)
    with pytest.raises(ValueError, match=text):
        model_from_config(config)


def test_a_model_too_large_is_refused_before_it_is_allocated():
    config = pn.Sequential([pn.Input(4), pn.Dense(5)]).config()
    config["layers"][0]["params"]["shape"] = [1 << 24]
    config["layers"][1]["params"]["units"] = 1 << 24
    with pytest.raises(ValueError, match="the model is too large"):
        model_from_config(config)


def deep(layers):
    return pn.Sequential([pn.Input(2), *(pn.Activation("tanh") for _ in range(layers - 1))])


def long(calls):
    x = pn.Input(2)
    value, layer = x.output, pn.Activation("tanh")
    for _ in range(calls - 1):
        value = layer(value)
    return pn.Model(x, value)


def wide(inputs):
    x = pn.Input(2)
    return pn.Model(x, pn.Add()([x] * inputs))


@pytest.mark.parametrize(
    ("make", "most", "text"),
    [(deep, 1024, "1025 layers"), (long, 4096, "4097 calls of layers"), (wide, 4096, "4097 inputs of one call")],
)
def test_what_is_written_can_be_read(make, most, text, tmp_path):
    model = make(most)
    model.save(tmp_path / "m")
    X = np.ones((1, 2))
    assert np.array_equal(pn.load(tmp_path / "m").predict(X), model.predict(X))
    with pytest.raises(ValueError, match=f"the model has {text}, at most {most} can be written"):
        make(most + 1).save(tmp_path / "n")
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize("config", [None, [], 3, "x", {}])
def test_what_is_no_configuration(config):
    with pytest.raises(ValueError, match="the graph"):
        model_from_config(config)


def test_many_random_changes_raise_nothing_but_value_errors():
    rng = np.random.default_rng(0)
    junk = [None, True, -1, 0, 3, 1 << 20, 0.5, "", "relu", "Dense", [], [0], {}, {"name": "relu"}]
    base = json.dumps(rich().config())
    refused = 0
    for _ in range(600):
        config = json.loads(base)
        node = config
        while True:  # walk down to a random entry, and spoil it
            keys = list(node) if isinstance(node, dict) else range(len(node))
            key = keys[rng.integers(len(keys))]
            child = node[key]
            if isinstance(child, (dict, list)) and child and rng.random() < 0.8:
                node = child
                continue
            node[key] = junk[rng.integers(len(junk))]
            break
        try:
            model_from_config(config)
        except ValueError:
            refused += 1
    assert 300 < refused < 600
