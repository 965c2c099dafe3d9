"""Integer networks in files: given back as they were, or refused; and what has no integer form."""

import copy
import json
import re

import integers
import nets
import numpy as np
import pytest
from helpers import assert_same_bits

import pynet as pn
from pynet import _safetensors, cli, files, quantize_files
from pynet.quantized_model import QuantizedModel


@pytest.fixture(scope="module")
def digits():
    return integers.digits_net()


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["compact", "prelu_everywhere", "dropout_of_a_merge", "batch_norm_of_input", "flatten"]
)
def test_a_file_gives_the_same_network(name, tmp_path):
    for kind in ("int8", "int16"):
        model, X, quantized = integers.quantized(name, kind)
        quantized.metadata["note"] = "x"
        quantized.save(tmp_path / "q.safetensors")
        loaded = pn.load(tmp_path / "q.safetensors")
        assert isinstance(loaded, QuantizedModel)
        assert loaded.metadata == {"note": "x"}
        pairs = zip(*(integers.as_list(m.predict(integers.as_X(X))) for m in (quantized, loaded)), strict=True)
        for a, b in pairs:
            assert_same_bits(a, b)
        for m, file in ((quantized, "a.c"), (loaded, "b.c")):
            pn.export.to_c(m, tmp_path / file, prefix="net")
        assert re.sub(r"\ba\.", "b.", (tmp_path / "a.c").read_text()) == (tmp_path / "b.c").read_text()
        assert str(loaded.report(integers.as_X(X), model=model)) == str(quantized.report(integers.as_X(X)))
        with pytest.raises(TypeError, match="it was loaded from a file"):
            loaded.report(integers.as_X(X))


def test_files_are_told_apart(digits, tmp_path, capsys):
    model, (X, _, _, _) = digits
    path = tmp_path / "q.safetensors"
    model.quantize(X).save(path)
    for read in (files.load_model, files.load_checkpoint, model.load_weights):
        with pytest.raises(ValueError, match=r"q\.safetensors: it holds an integer network, expected a model"):
            read(path)
    assert cli.main(["info", str(path)]) in (0, None)
    shown = capsys.readouterr().out
    assert "quantized, written by pynet" in shown
    assert "softmax" in shown
    assert cli.main(["predict", str(path), "digits"]) not in (0, None)
    assert "it holds an integer network" in capsys.readouterr().err


def leaves(node, path=()):
    """Yield the paths of all leaves and inner nodes of JSON data."""
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from leaves(child, (*path, key))


@pytest.mark.parametrize("name", ["prelu_everywhere", "lstm_masked", "instance_norm"])
def test_no_damaged_file_is_believed(name, tmp_path):
    """Every number and every entry of the document changed in several ways: an error, or a network that passed all
    checks and computes without a fault; every array missing, of another type or shape: an error."""
    _, X, quantized = integers.quantized(name, "int8")
    quantized.save(tmp_path / "whole.safetensors")
    tensors, metadata = _safetensors.read(tmp_path / "whole.safetensors")
    document = json.loads(metadata["pynet"])
    refused = accepted = 0
    for place in list(leaves(document["network"]))[1:]:
        for wrong in (None, -1, 1 << 40, 0.5, "x", [], True):
            changed = copy.deepcopy(document)
            node = changed["network"]
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = wrong
            try:
                loaded = quantize_files.restore(changed, tensors)
            except ValueError:
                refused += 1
            else:
                loaded.predict(integers.as_X(X))
                accepted += 1
    assert refused > 5 * accepted
    for name, array in tensors.items():
        infinite = [np.full_like(array, np.nan)] if array.dtype == np.float32 else []
        for wrong in (array.reshape(1, 1, -1), array.astype(np.float64), *infinite, None):
            changed = {k: v for k, v in tensors.items() if k != name} | ({} if wrong is None else {name: wrong})
            with pytest.raises(ValueError, match=r"op|input|examples|tensor"):
                quantize_files.restore(document, changed)
    with pytest.raises(ValueError, match="tensor 'more' belongs to nothing"):
        quantize_files.restore(document, tensors | {"more": np.ones(2)})


def test_a_damaged_file_is_named(tmp_path):
    quantized = integers.quantized("flatten", "int8")[2]
    path = tmp_path / "damaged.safetensors"
    quantized.save(path)
    tensors, metadata = _safetensors.read(path)
    document = json.loads(metadata["pynet"])
    for key, message in (("network", "entry 'network' is list, expected an object"), ("metadata", "entry 'metadata'")):
        changed = json.dumps(document | {key: []})
        _safetensors.write(path, tensors, {"format": "pynet", "pynet": changed})
        with pytest.raises(ValueError, match=rf"damaged\.safetensors: {message}"):
            pn.load(path)
    del tensors["op1.w"]
    _safetensors.write(path, tensors, metadata)
    with pytest.raises(ValueError, match=r"damaged\.safetensors: tensor 'op1\.w' is missing"):
        pn.load(path)


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", integers.REFUSED)
def test_layers_without_an_integer_form_are_named(name):
    model = nets.NETS[name]("float32")
    kinds, names = model.plan.ops["kind"].tolist(), model.plan.op_names
    first = next(n for kind, n in zip(kinds, names, strict=True) if kind in integers.WITHOUT)
    with pytest.raises(ValueError, match=f"layer '{first}' cannot be quantised: there is no integer form of its op"):
        model.quantize(integers.as_X(integers.rows_for(model, 5)))


def test_most_nets_have_an_integer_form():
    assert len(integers.NETS) > 30


def test_arguments_are_checked(digits):
    model, (X, _, _, _) = digits
    for wrong, message in (
        ({"activations": "int4"}, "unknown activations 'int4', did you mean 'int"),
        ({"activations": 8}, "unknown activations 8"),
        ({"ranges": "max"}, "unknown ranges 'max'"),
        ({"ranges": None}, "unknown ranges None"),
        ({"X": X[:0]}, "X must hold at least one row, got none"),
        ({"X": X[:, :5]}, r"X must have shape \[N, 64\]"),
        ({"X": np.full((3, 64), np.nan)}, "X must be finite, got nan in row 0, column 0"),
    ):
        with pytest.raises(ValueError, match=message):
            model.quantize(**({"X": X} | wrong))


def test_parts_that_do_not_fit(digits):
    model, (X, _, _, _) = digits
    q = model.quantize(X)
    parts = {"values": q.values, "ops": q.ops, "inputs": q.inputs, "outputs": q.outputs, "examples": q.examples}
    QuantizedModel(**parts)
    for wrong, message in (
        ({"ops": q.ops[1:]}, "dense op reads value 1, which is not complete"),
        ({"ops": [q.ops[0], *q.ops]}, "dense op writes value 1 from another place"),
        ({"ops": q.ops[:-1]}, "a value is not made completely"),
        ({"inputs": q.inputs * 2, "examples": q.examples * 2}, "two inputs write value 0"),
        ({"examples": []}, "each input needs as many examples"),
        ({"examples": [q.examples[0].astype(np.int16)]}, "the examples must be int8"),
    ):
        with pytest.raises(ValueError, match=message):
            QuantizedModel(**(parts | wrong))


def test_an_lstm_has_states_of_its_own():
    _, _, q = integers.quantized("lstm_stacked", "int8")
    first, second = (op for op in q.ops if op.kind == "lstm")
    parts = (q.values, q.ops, q.inputs, q.outputs, q.examples)
    for field in ("cell", "hidden"):
        own = getattr(second, field)
        for other in (getattr(first, field), second.x, q.inputs[0].value):
            setattr(second, field, other)
            with pytest.raises(ValueError, match="lstm op works in a value that is another's"):
                QuantizedModel(*parts)
        setattr(second, field, own)
    QuantizedModel(*parts)
