"""from_onnx: graphs in the styles of others compute what ONNX Runtime says they do."""

import numpy as np
import pytest
from onnx_graphs import FOREIGN, Foreign, computed, rows

import pynet as pn

assert len(FOREIGN) >= 30


def predictions(model, arrays):
    made = model.predict(arrays if len(arrays) > 1 else arrays[0])
    return made if isinstance(made, list) else [made]


def flat_where_images(model, arrays):
    return [a.reshape(len(a), *value.shape) for a, value in zip(arrays, model.inputs, strict=True)]


def assert_equal(ours, theirs, bound=1e-5):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=bound, atol=bound)


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_graphs(name):
    proto = FOREIGN[name]()
    model = pn.export.from_onnx(proto.SerializeToString())
    for n in (1, 7) if proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param else (1,):
        arrays = rows(proto, n, np.random.default_rng(n))
        theirs = computed(proto, arrays)
        assert n == 1 or all(np.ptp(t) > 1e-3 for t in theirs), "nothing to compare"
        assert_equal(predictions(model, flat_where_images(model, arrays)), theirs)


def kinds(name):
    return [type(layer).__name__ for layer in pn.export.from_onnx(FOREIGN[name]()).layers]


def test_what_becomes_of_the_nodes():
    """Biases, activations and scaling do not stand for themselves."""
    assert kinds("matmul_and_add") == ["Input", "Dense", "Dense"]
    assert kinds("gelu_of_pytorch") == ["Input", "Dense", "Activation"]
    assert kinds("scaling_by_division") == kinds("scaling_of_bytes") == ["Input", "Dense"]
    assert kinds("weights_shared") == ["Input", "Dense"]  # one layer, called twice
    assert kinds("lstm_last_state") == ["Input", "LSTM", "Dense"]
    assert kinds("dropout_of_opset_7") == ["Input", "Dense", "Dropout", "Dense"]
    assert kinds("scaling_in_the_middle")[2:] == ["BatchNorm"] * 3


def test_numbers_of_activations():
    found = [pn.export.from_onnx(FOREIGN[name]()).layers[1].activation for name in ("Elu of 0.3", "LeakyRelu of 0.2")]
    assert found == [pn.activations.ELU(0.3), pn.activations.LeakyReLU(0.2)]


def test_sources_and_dtypes(tmp_path):
    """A path, bytes and a ModelProto; the dtype is the file's, or the one asked for."""
    proto = FOREIGN["float64"]()
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    sources = [tmp_path / "net.onnx", str(tmp_path / "net.onnx"), proto, bytearray(proto.SerializeToString())]
    models = [pn.export.from_onnx(source) for source in sources]
    X = np.random.default_rng(0).normal(size=(5, 4))
    for model in models:
        assert model.dtype == np.float64
        np.testing.assert_array_equal(model.predict(X), models[0].predict(X))
    small = pn.export.from_onnx(proto, dtype="float32")
    assert small.dtype == np.float32
    np.testing.assert_allclose(small.predict(X), models[0].predict(X), atol=1e-5)
    assert pn.export.from_onnx(FOREIGN["Relu"]()).dtype == np.float32


def test_what_is_read_can_be_trained():
    """A softmax at the end is part of its layer, as the loss wants it."""
    g = Foreign()
    proto = g.model(g.node("Softmax", g.dense(g.node("Relu", g.dense(g.input("x", 4), 4, 8)), 8, 3), axis=1))
    model = pn.export.from_onnx(proto)
    assert [layer.activation.name for layer in model.layers[1:]] == ["relu", "softmax"]
    X = np.random.default_rng(0).normal(size=(64, 4))
    trainer = pn.Trainer(model, "cross_entropy", pn.Adam(0.02))
    losses = trainer.fit(X, np.argmax(X[:, :3], axis=1), epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]


def test_unused_inputs_are_left_out():
    g = Foreign()
    x, _ = g.input("x", 4), g.input("nobody", 7)
    assert [v.layer.name for v in pn.export.from_onnx(g.model(g.node("Relu", x))).inputs] == ["x"]
