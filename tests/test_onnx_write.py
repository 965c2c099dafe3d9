"""to_onnx: ONNX Runtime computes what pynet does, and from_onnx reads back what was written."""

import fillings
import nets
import numpy as np
import pytest
from cases import ACTIVATIONS, branching, dense
from onnx_graphs import computed, onnx, session
from test_onnx_read import assert_equal, predictions

import pynet as pn
from pynet.export import onnx_write

GRAPHS = [name for name, make in nets.NETS.items() if name not in ("escapes", "everything")]  # those step into Python
assert len(GRAPHS) >= 30


def shaped(model, n, seed=1):
    arrays = fillings.arrays(model, n, np.random.default_rng(seed))
    return [a.reshape(n, *value.shape) for a, value in zip(arrays, model.inputs, strict=True)]


def check(model):
    """ONNX Runtime with one row, some and none; what is read back again; types and shapes as the file says."""
    proto = onnx_write.proto(model)
    onnx.checker.check_model(proto, full_check=True)
    back = pn.export.from_onnx(proto)
    assert back.dtype == model.dtype
    steps = any(node.op_type in ("LSTM", "Scan") for node in proto.graph.node)
    for n in (1, 7) if steps else (1, 7, 0):  # of no rows ONNX Runtime 1.32 ends the process in its LSTM and Scan
        arrays = shaped(model, n)
        ours, theirs = predictions(model, arrays), computed(proto, arrays)
        assert [t.dtype for t in theirs] == [model.dtype] * len(ours)
        assert_equal(ours, theirs)
        assert_equal(ours, predictions(back, arrays))
    return proto


@pytest.mark.parametrize("name", GRAPHS)
def test_every_kind_of_layer(name, dtype):
    check(nets.NETS[name](dtype.name))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name, dtype):
    """Fused, alone, in a layer called twice, far out; read back as the same activation."""
    inner, last = ("tanh", "softmax") if name == "softmax" else (name, "identity")
    model = branching(inner, last, dtype.name)
    check(model)
    back = pn.export.from_onnx(onnx_write.proto(model))
    count = {m: sum(layer.applied_activation().name == name for layer in m.layers) for m in (model, back)}
    assert count[back] == count[model] > 0 or name == "identity"
    alone = pn.Sequential([pn.Input(9), pn.Activation(name)], dtype=dtype)
    x = np.array([[-100, -20, -1, -0.5, 0, 1e-4, 1, 30, 100]])
    tolerance = 1e-5 if dtype == np.float32 or name in ("gelu", "arctan") else 1e-12
    np.testing.assert_allclose(
        computed(onnx_write.proto(alone), [x])[0], alone.predict(x), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize(
    "activation",
    [pn.activations.LeCunTanh(0.3), pn.activations.LeakyReLU(0.2), pn.activations.ELU(0.7), pn.activations.ISRU(2.5)],
)
def test_parameters_of_activations_come_back(activation, dtype):
    model = branching(activation, dtype=dtype.name)
    check(model)
    back = pn.export.from_onnx(onnx_write.proto(model))
    assert {layer.activation for layer in back.layers if layer.activation} >= {activation}


def test_scaling_is_inside():
    x = pn.Input(3, name="x", scale=[0.5, 2.0, -1.0], shift=[1.0, -3.0, 0.0])
    model = pn.Model(x, dense(2)(x))
    check(model)
    back = pn.export.from_onnx(onnx_write.proto(model))
    np.testing.assert_allclose(back.parameters()["x.scale"], [0.5, 2, -1])
    np.testing.assert_allclose(back.parameters()["x.shift"], [1, -3, 0])
    check(pn.Sequential([pn.Input((4, 2), shift=[1.0, 2.0]), pn.LSTM(3)]))
    model.load_state_dict(model.state_dict() | {"x.scale": np.ones(3)})  # the numbers are the model's, not the layer's
    check(model)


def test_names_and_free_rows():
    """Inputs, outputs and weights have their names in pynet; the batch is free; opset and IR version are pinned."""
    x = pn.Input(3, name="left")
    h = pn.Dense(4, "relu", name="hidden")(x)
    model = pn.Model(x, [pn.Dense(2, name="answer")(h), pn.Dropout(0.5, name="drop")(h), h, x.output, h])
    proto = check(model)
    assert [(i.name, i.type.tensor_type.shape.dim[0].dim_param) for i in proto.graph.input] == [("left", "batch")]
    assert [o.name for o in proto.graph.output] == ["answer", "drop", "hidden", "left:2", "hidden:2"]
    assert {"hidden.kernel", "answer.bias"} <= {tensor.name for tensor in proto.graph.initializer}
    assert (proto.ir_version, [(o.domain, o.version) for o in proto.opset_import]) == (8, [("", 17)])
    assert [v.shape for v in session(proto).get_outputs()][:2] == [["batch", 2], ["batch", 4]]


def test_a_layer_called_twice_has_its_weights_once():
    shared = pn.Dense(3, "tanh", name="shared")
    x = pn.Input(3)
    proto = check(pn.Model(x, shared(shared(x))))
    assert len(proto.graph.initializer) == 2
    assert len(pn.export.from_onnx(proto).layers) == 2


def test_metadata_travels():
    model = pn.Sequential([pn.Input(2), pn.Dense(2, "softmax")])
    model.metadata = {
        "classes": ["no", "yes"], "note": "of May", "number": "5", "quoted": '"5"', "empty": "", "rate": 0.1,
        "nothing": None, "deep": {"a": [1, True]}, "umlaut": "Über", "tricky": '1, "a": 2', "nan": "NaN",
    }  # fmt: skip
    proto = check(model)
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    assert (texts["classes"], texts["note"], texts["umlaut"]) == ('["no", "yes"]', "of May", "Über")
    assert pn.export.from_onnx(proto).metadata == model.metadata


def test_the_file(tmp_path):
    """Written whole, or not at all."""
    model = pn.Sequential([pn.Input(2), pn.Dense(2)])
    path = tmp_path / "net.onnx"
    pn.export.to_onnx(model, path)
    before = path.read_bytes()
    assert before == onnx_write.proto(model).SerializeToString()
    model.arena[0] = np.nan
    with pytest.raises(ValueError, match=r"'dense_1.kernel' has NaN or infinite values; nothing was written"):
        pn.export.to_onnx(model, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    with pytest.raises(OSError, match="nowhere"):
        pn.export.to_onnx(pn.Sequential([pn.Input(2), pn.Dense(2)]), tmp_path / "nowhere" / "net.onnx")


def test_what_is_written_in_python_is_refused():
    cube = pn.activations.Function(lambda x: x**3, lambda x: 3 * x**2)
    layer = pn.PythonLayer(lambda x: x, lambda x, y, dy: dy, 3, name="mine")
    for odd, name in ((layer, "mine"), (pn.Dense(2, cube, name="cubed"), "cubed")):
        model = pn.Sequential([pn.Input(3), odd, pn.Dense(2)])
        with pytest.raises(ValueError, match=f"layer '{name}' .* has no form in ONNX"):
            onnx_write.proto(model)


def test_other_faults(tmp_path):
    with pytest.raises(TypeError, match="model must be a pynet Model, got int"):
        pn.export.to_onnx(3, tmp_path / "x")
    model = pn.Sequential([pn.Input(2), pn.Dense(2)])
    model.metadata = {"when": object()}
    with pytest.raises(ValueError, match=r"model.metadata\['when'\] is not JSON"):
        pn.export.to_onnx(model, tmp_path / "x")
    assert not list(tmp_path.iterdir())
