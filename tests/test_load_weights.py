"""Weights by name into another net, with a report; files of other programs."""

import json

import helpers
import numpy as np
import pytest
from tensors import assert_same
from transferred import bits, data, net, train

import pynet as pn

# ---- weights by name ------------------------------------------------------------------------------------------------


def sources(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    trainer = pn.Trainer(model, "cross_entropy", "adam")
    trainer.save_checkpoint(tmp_path / "checkpoint.safetensors")
    named = {name: array.astype(np.float64).tolist() for name, array in model.parameters().items()}
    return [tmp_path / "model.safetensors", str(tmp_path / "checkpoint.safetensors"), named, model]


def test_everything_from_everywhere(tmp_path):
    model = net()
    for source in sources(model, tmp_path):
        other = net(seed=2)
        report = other.load_weights(source, strict=True)
        assert bits(other) == bits(model)
        assert report
        assert report.loaded == list(model.parameters())
        assert (report.missing, report.unexpected, report.mismatched) == ([], [], [])
        assert str(report) == "loaded      12 of 12 parameters"
        assert repr(report) == "<Report: 12 loaded, 0 missing, 0 unexpected, 0 mismatched>"


def test_the_report_says_what_did_not_match(tmp_path):
    body = ["input_1.scale", "low.kernel", "low.bias", "norm.gamma", "norm.beta", "norm.mean", "norm.variance"]
    old = net()
    for source in sources(old, tmp_path):
        x = pn.Input(6, scale=2.0)
        h = pn.BatchNorm(name="norm")(pn.Dense(16, "relu", name="low")(x))
        fresh = pn.Dense(4, name="fresh")(h)
        model = pn.Model(x, [fresh, pn.Dense(3, name="head")(h)], random_state=5)
        before = bits(model)
        report = model.load_weights(source)
        assert not report
        assert report.loaded == [*body, "head.bias"]
        assert report.missing == ["fresh.kernel", "fresh.bias"]
        assert report.unexpected == ["middle.kernel", "middle.bias", "features.alpha"]
        assert report.mismatched == [("head.kernel", (16, 3), (8, 3))]
        for name, value in bits(model).items():
            assert value == (bits(old) if name in report.loaded else before)[name]
        assert str(report).splitlines() == [
            "loaded      8 of 11 parameters",
            "missing     2: fresh.kernel, fresh.bias",
            "mismatched  1: head.kernel has shape (16, 3), got (8, 3)",
            "unexpected  3: middle.kernel, middle.bias, features.alpha",
        ]


def test_a_long_report_is_cut():
    model = pn.Sequential([pn.Input(2), *(pn.Dense(2) for _ in range(6))])
    text = str(model.load_weights({"dense_1.bias": np.ones(2)}))
    assert text.splitlines()[1].startswith("missing     11: dense_1.kernel, dense_2.kernel, dense_2.bias")
    assert text.endswith("dense_5.kernel and 3 more")


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"x": [1]}, "unexpected 1: x$"),
        ({"low.bias": np.ones(3)}, r"mismatched 1: low.bias has shape \(16,\), got \(3,\)$"),
        ({}, "missing 1: low.bias$"),
    ],
)
def test_strict(extra, text):
    model = net()
    before = bits(model)
    state = net(seed=2).parameters() | extra
    if not extra:
        del state["low.bias"]
    with pytest.raises(ValueError, match=r"strict=True\), nothing was loaded: " + text):
        model.load_weights(state, strict=True)
    assert bits(model) == before
    assert not model.load_weights(state)


def spoiled(name, value):
    return net(seed=2).parameters() | {name: value}


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        (spoiled("head.bias", [1, np.nan, 2]), ValueError, "'head.bias' must be finite, got NaN"),
        (spoiled("head.bias", [1, 1e300, 2]), ValueError, "'head.bias' must be finite, .* beyond float32"),
        (spoiled("head.bias", [1j, 1, 2]), TypeError, "'head.bias' must be real numbers, got dtype complex128"),
        (spoiled("head.bias", [True, False, True]), TypeError, "'head.bias' must be real numbers, got dtype bool"),
        (spoiled("head.bias", ["a", "b", "c"]), TypeError, "'head.bias' must be real numbers, got dtype <U1"),
        (spoiled("head.bias", [[1], [2, 3]]), ValueError, "tensor 'head.bias' cannot be made an array"),
        (spoiled(3, [1]), TypeError, "the names of tensors must be strings, got int 3"),
        ({"head.wight": [1]}, ValueError, r"nothing in the source fits the model.*unexpected 1: head.wight"),
        ({"head.bias": [1]}, ValueError, r"nothing in the source fits the model.*shape \(3,\), got \(1,\)"),
        (7, TypeError, "source must be the path of a safetensors file, a dict of arrays or a Model, got int"),
        ([("head.bias", [1, 2, 3])], TypeError, "source must be .* got list"),
        ("/nowhere/at/all", FileNotFoundError, "nowhere"),
    ],
)
def test_an_error_leaves_all_weights_as_they_were(source, error, text):
    model = net()
    before = bits(model)
    with pytest.raises(error, match=text):
        model.load_weights(source)
    assert bits(model) == before


def test_what_does_not_fit_need_not_be_sound():
    model = net()
    report = model.load_weights({"head.bias": [1, 2, 3], "other": [np.nan], "low.bias": [np.inf], "text": "?"})
    assert (report.loaded, report.unexpected) == (["head.bias"], ["other", "text"])
    assert report.mismatched == [("low.bias", (16,), (1,))]
    assert model.parameters()["head.bias"].tolist() == [1, 2, 3]


def test_rename():
    model = pn.Sequential([pn.Input(6), pn.Dense(16, name="first"), pn.Dense(3, name="last")])
    old = net()
    expected = {f"first.{k}": old.parameters()[f"low.{k}"] for k in ("kernel", "bias")}
    report = model.load_weights(old, rename={"low.kernel": "first.kernel", "low.bias": "first.bias", "head.bias": None})
    assert report.loaded == ["first.kernel", "first.bias"]
    assert "head.bias" not in report.unexpected
    assert "head.kernel" in report.unexpected
    assert_same({name: model.parameters()[name] for name in expected}, expected)
    other = pn.Sequential([pn.Input(6), pn.Dense(16, name="first")])
    report = other.load_weights(old, rename=lambda n: n.replace("low", "first") if n.startswith("low") else None)
    assert report
    assert_same(other.parameters(), expected)


@pytest.mark.parametrize(
    ("rename", "error", "text"),
    [
        ({"low.kernl": "low.kernel"}, ValueError, "the source has no tensor 'low.kernl', did you mean 'low.kernel'"),
        ({"low.kernel": "low.kernl"}, ValueError, "the model has no parameter 'low.kernl', did you mean 'low.kernel'"),
        ({"norm.beta": "norm.gamma"}, ValueError, "'norm.gamma' and 'norm.beta' would both be 'norm.gamma'"),
        (lambda name: "same", ValueError, "'input_1.scale' and 'low.kernel' would both be 'same'"),
        (lambda name: 3, TypeError, "rename must give a string or None for 'input_1.scale', got int 3"),
        ("low", TypeError, "rename must be a dict or a function of a name, got str"),
        (lambda name: None, None, ""),
    ],
)
def test_wrong_renames(rename, error, text):
    model = net()
    before = bits(model)
    if error is None:  # everything left out on purpose
        assert not model.load_weights(net(seed=2), rename=rename)
    else:
        with pytest.raises(error, match=text):
            model.load_weights(net(seed=2), rename=rename)
    assert bits(model) == before


def test_training_goes_on_from_loaded_weights(backend):
    model, other = net(), net(seed=2)
    trainer = train(model, backend, pn.SGD(0.05))
    model.load_weights(other)
    fresh = pn.Trainer(other, "cross_entropy", pn.SGD(0.05), backend=backend)
    for one in (trainer, fresh):
        one.train_on_batch(*data())
        one.train_on_batch(*data())
    assert bits(model) == bits(other)


def test_models_made_of_its_layers_start_from_loaded_weights():
    model = net()
    later = pn.Model(model.inputs, model.get_layer("features").output)
    train(model, "c")  # the newest values are those of `model` now
    later.load_weights({"low.bias": np.arange(16)})
    assert pn.Model(model.inputs, model.outputs).parameters()["low.bias"].tolist() == list(range(16))


# ---- files of other programs ----------------------------------------------------------------------------------------


def foreign(path, tensors: dict, metadata=None):
    """Write a safetensors file by hand from {name: (code, shape, bytes)}."""
    header, content = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (code, shape, value) in tensors.items():
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [len(content), len(content) + len(value)]}
        content += value
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


def stored(code, values):
    return code, np.shape(values), np.asarray(values, {"F32": "<f4", "F64": "<f8", "F16": "<f2", "I8": "i1"}[code])


STRANGE = {
    "conv/weight:0": ("F32", (2, 2, 1, 3), bytes(48)),
    "encoder block.empty": ("F32", (0, 4), b""),
    "quantized": ("F8_E4M3", (3,), b"abc"),
    "steps": ("I64", (), bytes(8)),
    "spoiled": ("F32", (1,), np.float32(np.nan).tobytes()),
}


def test_files_of_other_programs(tmp_path):
    model = pn.Sequential([pn.Input(2), pn.Dense(3), pn.BatchNorm()], dtype="float64")
    given = {
        "dense_1.kernel": stored("F64", [[1.5, 2, 3], [4, 5, 1e-300]]),
        "dense_1.bias": ("BF16", (3,), bytes.fromhex("803f00c0a040")),  # 1, -2, 5
        "batch_norm_1.gamma": stored("F16", [0.5, 2, 3]),
        "batch_norm_1.beta": stored("I8", [-1, 0, 1]),
        "batch_norm_1.mean": stored("F32", [1, 2, 0.1]),
    }
    given = {name: (code, shape, bytes(np.asarray(value))) for name, (code, shape, value) in given.items()}
    report = model.load_weights(foreign(tmp_path / "a", STRANGE | given, {"format": "pt"}))
    assert report.loaded == list(given)
    assert report.missing == ["batch_norm_1.variance"]
    assert sorted(report.unexpected) == sorted(STRANGE)
    p = model.parameters()
    assert p["dense_1.kernel"].tolist() == [[1.5, 2, 3], [4, 5, 1e-300]]
    assert p["dense_1.bias"].tolist() == [1, -2, 5]
    assert p["batch_norm_1.gamma"].tolist() == [0.5, 2, 3]
    assert p["batch_norm_1.beta"].tolist() == [-1, 0, 1]
    assert p["batch_norm_1.mean"].tolist() == [1, 2, np.float32(0.1)]


@pytest.mark.parametrize(
    ("bias", "error", "text"),
    [
        (("F8_E5M2", (3,), b"abc"), TypeError, "'dense_1.bias' must be real numbers, got dtype"),
        (("BOOL", (3,), b"\0\1\1"), TypeError, "'dense_1.bias' must be real numbers, got dtype bool"),
        (("BF16", (3,), bytes.fromhex("803f807fa040")), ValueError, "'dense_1.bias' must be finite"),
        (("F4", (3,), b"ab"), ValueError, "dtype 'F4', expected one of .*BF16"),
        (("F32", (3,), bytes(11)), ValueError, "hold 11 bytes, expected 12"),
        (("F32", (3,) + (1,) * 8, bytes(12)), ValueError, "expected up to 8 of 0..16777216"),
        (("F32", (-3,), bytes(12)), ValueError, "expected up to 8 of 0..16777216"),
    ],
)
def test_foreign_files_are_read_with_suspicion(tmp_path, bias, error, text):
    model = pn.Sequential([pn.Input(2), pn.Dense(3)])
    before = bits(model)
    path = foreign(tmp_path / "a", {"dense_1.kernel": ("F32", (2, 3), bytes(24)), "dense_1.bias": bias})
    with pytest.raises(error, match=text):
        model.load_weights(path)
    assert bits(model) == before


def test_every_truncation_of_a_foreign_file_is_an_error(tmp_path):
    model = pn.Sequential([pn.Input(2), pn.Dense(3)])
    path = foreign(tmp_path / "a", STRANGE | {"dense_1.bias": ("BF16", (3,), bytes(6))})
    content = path.read_bytes()
    for n in range(len(content)):
        path.write_bytes(content[:n])
        with pytest.raises(ValueError, match="a: "):
            model.load_weights(path)


def test_a_damaged_file_of_pynet_is_noticed(tmp_path):
    model = net()
    model.save(tmp_path / "a")
    content = bytearray((tmp_path / "a").read_bytes())
    content[-3] ^= 1
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match="crc32"):
        net(seed=2).load_weights(tmp_path / "a")


def test_a_file_of_the_safetensors_package(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    theirs = {"0.weight": rng.normal(size=(3, 2)).astype("f4"), "0.bias": rng.normal(size=3).astype("f4")}
    package.save_file(theirs, tmp_path / "a")
    model = pn.Sequential([pn.Input(2), pn.Dense(3)])
    report = model.load_weights(tmp_path / "a", rename={"0.weight": "dense_1.kernel", "0.bias": "dense_1.bias"})
    assert report.mismatched == [("dense_1.kernel", (2, 3), (3, 2))]
    assert model.load_weights({"dense_1.kernel": theirs["0.weight"].T, "dense_1.bias": theirs["0.bias"]}, strict=True)
    x = rng.normal(size=(4, 2))
    helpers.assert_close(model.predict(x), x @ theirs["0.weight"].T + theirs["0.bias"], 1e-6)
