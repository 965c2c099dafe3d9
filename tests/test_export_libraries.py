"""pn.export needs other libraries only for what they are used for, and says which are missing."""

import sys

import pytest
from test_import import modules

import pynet as pn

CALLS = {
    "onnx": (lambda model: pn.export.to_onnx(model, "net.onnx"), 'pip install "pynet[onnx]"'),
    "onnx ": (lambda model: pn.export.from_onnx(b""), 'pip install "pynet[onnx]"'),
    "torch": (pn.export.to_torch, "pip install torch"),
    "sklearn": (pn.export.to_sklearn, "pip install scikit-learn"),
}


def test_nothing_is_imported_before_it_is_used():
    there = modules("import pynet as pn\nassert pn.export.to_onnx")
    assert not {"onnx", "onnxruntime", "torch", "sklearn", "keras"} & there


@pytest.mark.parametrize("name", CALLS)
def test_a_missing_library_is_named(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    name, (call, hint) = name.strip(), CALLS[name]
    for loaded in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as caught:
        call(pn.Sequential([pn.Input(2), pn.Dense(1)]))
    assert f"this needs {name} (" in str(caught.value)
    assert hint in str(caught.value)
    assert not list(tmp_path.iterdir())
