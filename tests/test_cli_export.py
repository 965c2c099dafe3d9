"""`pynet export`, as a stranger uses it."""

import numpy as np
import pytest
from onnx_graphs import computed, onnx
from test_cli import SMALL, houses, place, run  # noqa: F401  (place: every test in a directory of its own)

import pynet as pn


def test_export_onnx(capsys, tmp_path):
    houses()
    assert run("train", "houses.csv", *SMALL) == 0
    assert run("export", "houses.safetensors", "--onnx", "houses.onnx") == 0
    assert "saved     houses.onnx (" in capsys.readouterr().out
    model, proto = pn.load("houses.safetensors"), onnx.load("houses.onnx")
    X = np.random.default_rng(0).normal([100, 5, 0], [30, 2, 1e-3], size=(5, 3))
    answer = computed(proto, [X[:, [k]] for k in range(3)])[0][:, 0]  # each column is an input
    np.testing.assert_allclose(answer, model.predict(X), rtol=1e-5)
    pn.export.to_onnx(model.network, "network.onnx")
    assert pn.export.from_onnx("network.onnx").metadata == model.metadata


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["m"], "nothing to write: give --c FILE or --int8 FILE or --onnx FILE"),
        (["m", "--onnx", "m"], "the model itself would be lost"),
        (["m", "--onnx", "nowhere/x"], "nowhere"),
        (["nothing", "--onnx", "x"], "nothing"),
    ],
)
def test_faults(arguments, text, capsys, tmp_path):
    pn.Sequential([pn.Input(2), pn.Dense(1)]).save("m")
    before = (tmp_path / "m").read_bytes()
    assert run("export", *arguments) == 2
    assert text in capsys.readouterr().err
    assert (tmp_path / "m").read_bytes() == before


def test_without_onnx_the_error_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    pn.Sequential([pn.Input(2), pn.Dense(1)]).save("m")
    assert run("export", "m", "--onnx", "x") == 2
    assert 'pip install "pynet[onnx]"' in capsys.readouterr().err
