"""Model files and checkpoints: the same model comes back, or the fault is named."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from tensors import assert_same

import pynet as pn
from pynet import files


def network(dtype="float32", random_state=0):
    x = pn.Input(5, name="x", shift=np.arange(5.0), scale=0.5)
    h = pn.Dense(7, activation=pn.activations.LeakyReLU(0.2), l2=0.1)(x)
    h = pn.Add()([h, pn.Dense(7, activation="tanh", use_bias=False)(h)])
    main, aux = pn.Dense(3, activation="softmax", name="main")(h), pn.Dense(1, name="aux")(pn.Concat()([h, x]))
    return pn.Model(inputs=x, outputs=[main, aux], dtype=dtype, random_state=random_state)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_comes_back_bit_for_bit(tmp_path, dtype):
    model, path = network(dtype), tmp_path / "m.safetensors"
    model.metadata = {"classes": ["a", "ä"], "seed": 2**64 - 1, "nested": {"x": [1.5, None, True]}}
    model.save(path)
    again = pn.load(path)
    assert_same(again.state_dict(), model.state_dict())
    assert again.config() == model.config()
    assert again.metadata == model.metadata
    X = np.random.default_rng(0).normal(size=(9, 5))
    for left, right in zip(model.predict(X), again.predict(X), strict=True):
        assert left.tobytes() == right.tobytes()
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_weights_are_plain_matrices_for_other_programs(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    model = network()
    model.save(tmp_path / "m")
    assert_same(package.load_file(tmp_path / "m"), model.parameters())
    assert package.load_file(tmp_path / "m")["main.kernel"].shape == (7, 3)


def test_checkpoints_hold_more_and_are_models_too(tmp_path):
    model, path = network(), tmp_path / "c"
    state = {"epoch": 3, "rate": 0.1, "name": "x", "list": [1, 2]}
    tensors = {"optimizer.0.main.kernel": np.full((7, 3), np.inf), "callback.0.best": np.arange(4.0)}
    files.save_checkpoint(path, model, state, tensors)
    again, found, extra = files.load_checkpoint(path)
    assert found == state
    assert_same(extra, tensors)
    assert_same(again.state_dict(), model.state_dict())
    assert_same(pn.load(path).state_dict(), model.state_dict())
    model.save(path)
    with pytest.raises(ValueError, match="holds a model only, expected a checkpoint"):
        files.load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda model: model.arena.__setitem__(slice(None), np.nan), ValueError, "has NaN or infinite values"),
        (lambda model: setattr(model, "metadata", {"a": {1, 2}}), TypeError, "cannot be written as JSON"),
        (lambda model: setattr(model, "metadata", {"a": float("nan")}), ValueError, "cannot be written as JSON"),
        (lambda model: setattr(model, "metadata", {"a": 10**30}), ValueError, "too large"),
        (lambda model: setattr(model, "metadata", {"a": "x" * (1 << 22)}), ValueError, "header takes"),
        (lambda model: setattr(model, "metadata", ["a"]), TypeError, "metadata must be a dict, got list"),
        (lambda model: setattr(model, "metadata", ""), TypeError, "metadata must be a dict, got str"),
    ],
)
def test_models_that_cannot_be_saved(tmp_path, change, error, text):
    model, path = network(), tmp_path / "m"
    path.write_bytes(b"old")
    change(model)
    with pytest.raises(error, match=text):
        model.save(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m"]


def test_extra_tensors_must_not_hide_parameters(tmp_path):
    with pytest.raises(ValueError, match="has the name of a parameter"):
        files.save_model(network(), tmp_path / "m", {"main.bias": np.zeros(3)})


def change_document(path, edit, tensors=None) -> None:
    """Rewrite a model file with another JSON text, its checksum valid."""
    found, metadata = files.read(path)
    document = json.loads(metadata["pynet"])
    document = edit(document) or document
    text = document if isinstance(document, str) else json.dumps(document)
    files.write(path, {**found, **(tensors or {})}, {**metadata, "pynet": text})


def at(*keys, value):
    """An edit that sets one entry."""

    def edit(document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda document: "{", "not valid"),
        (lambda document: "[]", "expected an object"),
        (lambda document: "[" * 5000, "not valid"),
        (lambda document: "{}", "format_version None, expected 1"),
        (at("format_version", value=2), "format_version 2, expected 1..1"),
        (at("format_version", value=True), "format_version True"),
        (at("format_version", value="1"), "format_version '1'"),
        (at("kind", value="picture"), "kind 'picture'"),
        (at("kind", value=[]), "kind"),
        (at("metadata", value=[]), "'metadata' is list"),
        (at("model", value=None), "'model' is NoneType"),
        (at("model", value={}), "no entry"),
        (at("model", "format_version", value=9), "format_version 9"),
        (at("model", "dtype", value="float16"), "float16"),
        (at("model", "layers", value={}), "must be a list"),
        (at("model", "layers", 1, "class", value="Dence"), "did you mean 'Dense'"),
        (at("model", "layers", 1, "class", value="__import__"), "unknown class"),
        (at("model", "layers", 1, "params", "units", value=8), "values of one width"),
        (at("model", "layers", 1, "params", "units", value=0), "units"),
        (at("model", "layers", 1, "params", "units", value=-7), "units"),
        (at("model", "layers", 4, "params", "units", value=1 << 24), "'main.kernel' has shape"),
        (at("model", "layers", 1, "params", "units", value=1e3), "units"),
        (at("model", "layers", 1, "params", "unit", value=7), "unknown entry 'unit'"),
        (at("model", "layers", 1, "params", "activation", value="os.system"), "unknown activation"),
        (at("model", "layers", 1, "params", "activation", value={"name": "leaky_relu", "alpha": -1}), "alpha"),
        (at("model", "layers", 1, "name", value="../x"), "name"),
        (at("model", "layers", 1, "name", value="main"), "two layers are named 'main'"),
        (at("model", "layers", 1, "name", value="other"), "other.kernel"),
        (at("model", "calls", 1, "inputs", value=[5]), "inputs of calls"),
        (at("model", "calls", 1, "inputs", value=[-1]), "inputs of calls"),
        (at("model", "calls", 1, "layer", value=99), "layer of calls"),
        (at("model", "outputs", value=[]), "outputs"),
        (at("model", "inputs", value=[1]), "inputs"),
    ],
)
def test_hostile_descriptions(tmp_path, edit, text):
    path = tmp_path / "m"
    network().save(path)
    change_document(path, edit)
    with pytest.raises(ValueError, match=text) as caught:
        pn.load(path)
    assert str(caught.value).startswith(str(path))


def test_unknown_additions_are_left_alone(tmp_path):
    path = tmp_path / "m"
    network().save(path)
    change_document(path, at("future", value={"x": 1}))
    assert_same(pn.load(path).state_dict(), network().state_dict())


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({"main.bias": np.zeros(4, np.float32)}, r"'main.bias' has shape \(3,\), got \(4,\)"),
        ({"main.bias": np.zeros((1, 3), np.float32)}, "'main.bias' has shape"),
        ({"main.bias": np.full(3, np.nan, np.float32)}, "'main.bias' must be finite"),
        ({"main.bias": np.full(3, 1e300)}, "'main.bias' must be finite"),
        ({"main.bias": np.zeros(3, bool)}, "'main.bias' must be real numbers"),
        ({"more": np.zeros(3)}, "'more' is no parameter"),
    ],
)
def test_hostile_tensors(tmp_path, tensors, text):
    path = tmp_path / "m"
    network().save(path)
    change_document(path, lambda document: None, tensors)
    with pytest.raises(ValueError, match=text):
        pn.load(path)


def test_files_of_other_programs_are_not_models(tmp_path):
    files.write(tmp_path / "m", {"a": np.zeros(3)}, {"format": "pt"})
    with pytest.raises(ValueError, match="not of pynet"):
        pn.load(tmp_path / "m")


def test_a_description_alone_allocates_nothing(tmp_path):
    """A file of a few hundred bytes cannot claim gigabytes."""
    path = tmp_path / "m"
    pn.Sequential([pn.Input(3), pn.Dense(2)]).save(path)

    def widen(document):
        for layer in document["model"]["layers"]:
            key = "shape" if layer["class"] == "Input" else "units"
            layer["params"][key] = [30_000] if key == "shape" else 60_000

    change_document(path, widen)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="has shape"):
            pn.load(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
