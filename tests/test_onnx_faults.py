"""from_onnx on what it cannot or must not read: a ValueError that says what is wrong, and nothing else."""

import tracemalloc

import numpy as np
import pytest
from onnx_graphs import FOREIGN, Foreign, computed, onnx, rows
from test_onnx_read import assert_equal, predictions

import pynet as pn


def refused(proto, *texts):
    with pytest.raises(ValueError) as caught:
        pn.export.from_onnx(proto)
    for text in texts:
        assert text in str(caught.value)
    return str(caught.value)


def test_every_unsupported_node_is_named_once():
    """Operator, name and reason of all of them in one error; what only depends on them is not told."""
    g = Foreign()
    h = g.node("Erf", g.dense(g.input("x", 4), 4, 4))
    h = g.node("Relu", g.node("Clip", g.node("Tanh", h), g.array(0.0), g.array(6.0)))
    h = g.node("Gemm", h, g.weights(4, 4), transA=1)
    y = g.node("TopK", g.node("Scaler", h, domain="ai.onnx.ml"), g.constant([2], np.int64), outputs=2)[0]
    text = refused(
        g.model(y),
        "cannot be read, 3 faults",
        "\n  Erf '/Erf_1': this operator is not supported",
        "\n  ai.onnx.ml.Scaler '/Scaler_",
        "\n  TopK '/TopK_",
    )
    assert len(text.splitlines()) == 4


BAD_NODES = {
    "bounds": (lambda g, x: g.node("Clip", x, g.array(0.0), g.array(6.0)), "bounds 0.0 and 6.0 make no activation"),
    "gelu": (lambda g, x: g.node("Gelu", x, approximate="tanh"), "only the exact form"),
    "hard sigmoid": (lambda g, x: g.node("HardSigmoid", x), "only alpha = 1/6"),
    "celu": (lambda g, x: g.node("Celu", x, alpha=2.0), "Celu"),
    "batch turned": (lambda g, x: g.node("Gemm", x, g.weights(4, 4), transA=1), "transA turns the batch"),
    "learned product": (lambda g, x: g.node("MatMul", x, g.node("Tanh", x)), "is no constant"),
    "product of values": (lambda g, x: g.node("Mul", x, g.node("Tanh", x)), "and a constant"),
    "wrong widths": (lambda g, x: g.node("MatMul", x, g.weights(5, 2)), "[batch, 4] by a matrix of (5, 2)"),
    "a matrix of three axes": (lambda g, x: g.node("MatMul", x, g.weights(1, 4, 4)), "shape (1, 4, 4)"),
    "a bias too long": (lambda g, x: g.node("Gemm", x, g.weights(4, 2), g.weights(3)), "shape (3,), expected (2,)"),
    "a bias for rows": (lambda g, x: g.node("Gemm", x, g.weights(4, 1), g.weights(7, 1)), "shape (7, 1)"),
    "rows joined": (lambda g, x: g.node("Concat", x, x, axis=0), "joins rows"),
    "softmax of rows": (lambda g, x: g.node("Softmax", x, axis=0), "over the batch"),
    "norm of rows": (lambda g, x: g.node("LayerNormalization", x, g.weights(4), axis=0), "over the batch"),
    "training": (
        lambda g, x: g.node(
            "BatchNormalization", x, *(g.weights(4, low=1.0) for _ in range(4)), training_mode=1, outputs=3
        )[0],
        "in training mode",
    ),
    "a mask is read": (lambda g, x: g.node("Identity", g.node("Dropout", x, outputs=2)[1]), "its mask is read"),
    "reshaped": (lambda g, x: g.node("Reshape", x, g.array(np.array([-1, 2, 2]))), "only [batch, 4] is possible"),
    "rows fixed": (lambda g, x: g.node("Reshape", x, g.array(np.array([3, 4]))), "expected [batch, ...]"),
    "turned": (lambda g, x: g.node("Transpose", x), "not in the order"),
    "axes": (lambda g, x: g.node("Squeeze", x, g.array(np.array([1]))), "not of size 1"),
    "axes twice": (lambda g, x: g.node("Unsqueeze", x, g.array(np.array([1, 1]))), "axes [1, 1] of 4 axes"),
    "gathered": (lambda g, x: g.node("Gather", x, g.array(np.array(0)), axis=1), "takes number 0 along axis 1"),
    "to integers": (lambda g, x: g.node("Cast", g.node("Tanh", x), to=7), "another type than a float"),
    "another shape added": (lambda g, x: g.node("Add", x, g.dense(x, 4, 1)), "expected equal shapes"),
    "a constant for rows": (lambda g, x: g.node("Add", g.node("Tanh", x), g.weights(7, 4)), "each of 4 units"),
    "nothing there": (lambda g, x: g.node("Relu", "nobody"), "reads 'nobody', which nothing before it makes"),
    "too few inputs": (lambda g, x: g.node("Gemm", x), "1 inputs and 1 outputs, which are too few"),
    "no matrix": (lambda g, x: g.node("Gemm", x, ""), "which are too few"),
    "a text as axis": (lambda g, x: g.node("Flatten", x, axis="one"), "Flatten"),
    "no sequence": (
        lambda g, x: g.node("LSTM", x, g.weights(1, 8, 4), g.weights(1, 8, 2), hidden_size=2),
        "expected [steps, batch, features]",
    ),
    "negative variance": (
        lambda g, x: g.node("BatchNormalization", x, g.weights(4), g.weights(4), g.weights(4), g.array([-1.0] * 4)),
        "must be at least 0",
    ),
}


@pytest.mark.parametrize("name", BAD_NODES)
def test_nodes_that_are_not_supported(name):
    make, text = BAD_NODES[name]
    g = Foreign(opset=20 if name == "gelu" else 17)
    refused(g.model(make(g, g.input("x", 4))), text)


BAD_LSTMS = {
    "bidirectional": ({"direction": "reverse"}, (), "direction"),
    "activations": ({"activations": ["Relu", "Tanh", "Tanh"]}, (), "activations"),
    "clip": ({"clip": 1.0}, (), "clip"),
    "lengths": ({}, ("", "lengths"), "sequence_lens"),
    "a first state": ({}, ("", "", "state", "state"), "is not 0"),
    "a first state filled in": ({}, ("", "", "filled", "filled"), "only zeros are filled in"),
}


@pytest.mark.parametrize("name", BAD_LSTMS)
def test_lstms_that_are_not_supported(name):
    attributes, more, text = BAD_LSTMS[name]
    g = Foreign()
    x = g.node("Transpose", g.input("x", 5, 3), perm=[1, 0, 2])
    one = onnx.numpy_helper.from_array(np.ones(1, np.float32))
    filled = g.node("ConstantOfShape", g.array(np.array([1, 1, 2])), value=one)
    known = {
        "": "",
        "filled": filled,
        "lengths": g.array(np.array([5], np.int32)),
        "state": g.array(np.ones((1, 1, 2))),
    }
    tensors = [g.weights(1, 8, 3), g.weights(1, 8, 2), *(known[key] for key in more)]
    _, last = g.node("LSTM", x, *tensors, outputs=2, hidden_size=2, **attributes)
    refused(g.model(g.node("Squeeze", last, g.array(np.array([0])))), text)


def test_an_lstm_of_wrong_matrices():
    g = Foreign()
    x = g.node("Transpose", g.input("x", 5, 3), perm=[1, 0, 2])
    y, _ = g.node("LSTM", x, g.weights(1, 8, 4), g.weights(1, 8, 2), outputs=2, hidden_size=2)
    refused(g.model(y), "its W has shape (1, 8, 4), expected (1, 8, 3)")


def test_inputs_that_are_not_rows():
    for sizes, text in (((), "['N']"), (("width",), "['N', '?']"), ((0,), "['N', 0]")):
        g = Foreign()
        sizes = [None if isinstance(n, str) else n for n in sizes]
        text = text.replace("'N'", "'?'")
        refused(g.model(g.node("Relu", g.input("x", *sizes))), f"input 'x' has {text}, expected [batch, features]")
    g = Foreign()
    refused(g.model(g.node("Relu", g.input("x", 4, dtype=np.int64))), "its numbers are int64, which nothing casts")


def test_outputs_that_are_nothing():
    g = Foreign()
    x = g.input("x", 4)
    refused(g.model(g.node("Relu", x), "nobody"), "output 'nobody' is made by no node")
    refused(g.model(g.constant([1.0])), "is a constant")
    refused(g.model(), "no outputs")
    g = Foreign()
    refused(g.model(g.node("Relu", g.input("x", 2, 3, 4))), "it is [batch, 2, 3, 4], expected [batch, features]")


def test_a_value_made_twice():
    proto = FOREIGN["residual"]()
    proto.graph.node[1].output[0] = proto.graph.node[0].output[0]
    refused(proto, "is made twice")
    proto = FOREIGN["residual"]()
    proto.graph.initializer[1].name = proto.graph.initializer[0].name
    refused(proto, "is made twice")


def test_external_data_are_refused(tmp_path):
    """In an initializer and in a Constant; the other file is not even looked for."""
    for make in ("gemm_transposed", "weights_of_nodes"):
        proto = FOREIGN[make]()
        tensors = [*proto.graph.initializer, *(a.t for n in proto.graph.node for a in n.attribute if a.name == "value")]
        tensor = tensors[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "/etc/passwd"
        refused(proto, "stands in another file, which is never read")
        (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
        refused(tmp_path / "net.onnx", "stands in another file")


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(number):
    g = Foreign()
    proto = g.model(g.node("MatMul", g.input("x", 2), g.array([[1.0], [number]])))
    refused(proto, "must be finite")
    g = Foreign()
    refused(g.model(g.node("Tanh", g.node("Mul", g.input("x", 2), g.array(number)))), "finite")


def test_no_onnx_at_all(tmp_path):
    for content in (b"", b"\xff" * 40, b"not a file of this kind", b'{"json": 1}'):
        with pytest.raises(ValueError, match=r"not an ONNX file|ONNX opset must be"):
            pn.export.from_onnx(content)
    for source in (3, None, ["x"]):
        with pytest.raises(TypeError, match=r"source must be a path, bytes or an onnx.ModelProto"):
            pn.export.from_onnx(source)
    with pytest.raises(OSError, match=r"nothing.onnx"):
        pn.export.from_onnx(tmp_path / "nothing.onnx")
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64'"):
        pn.export.from_onnx(FOREIGN["Relu"](), dtype="float16")


@pytest.mark.parametrize("opset", [6, 27, 99])
def test_opsets(opset):
    refused(Foreign(opset=opset).model(), f"the ONNX opset must be 7 to 26, got {opset}")


def test_names_that_are_no_texts():
    content = FOREIGN["Relu"]().SerializeToString()
    assert content.count(b"Relu_1_0") > 1
    refused(content.replace(b"Relu_1_0", b"Relu\xff1_0"), "not UTF-8")


def test_nodes_without_outputs():
    proto = FOREIGN["scaling_by_numbers"]()
    del proto.graph.node[0].output[:]
    refused(proto, "Mul '/Mul_0' has no output")


def test_attributes_of_no_kind():
    proto = FOREIGN["Elu of 0.3"]()
    proto.graph.node[1].attribute[0].type = 0
    assert "Elu" in refused(proto)


def test_sparse_initializers_are_refused():
    proto = FOREIGN["Relu"]()
    proto.graph.sparse_initializer.add().dims.append(3)
    refused(proto, "sparse initializers")


SMALL = ("matmul_and_add", "lstm_last_state", "gelu_of_pytorch", "image_scaled")


def outcome(content):
    """What from_onnx does: a model or a ValueError, anything else is an error of ours."""
    try:
        return pn.export.from_onnx(content)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("name", SMALL)
def test_every_truncation(name):
    content = FOREIGN[name]().SerializeToString()
    found = [outcome(content[:n]) for n in range(len(content))]
    assert sum(isinstance(f, str) for f in found) > 0.95 * len(found)


@pytest.mark.parametrize("name", SMALL)
def test_damaged_bytes(name):
    content = FOREIGN[name]().SerializeToString()
    rng = np.random.default_rng(0)
    for at in range(len(content)):
        outcome(content[:at] + bytes([content[at] ^ int(rng.integers(1, 256))]) + content[at + 1 :])


def peak(content):
    tracemalloc.start()
    try:
        return outcome(content), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_small_files_stay_small():
    """A file cannot ask for memory that is not in it: wide inputs, one matrix in many layers, constants that grow."""
    wide = Foreign()
    h = wide.node("Mul", wide.input("x", 1 << 24), wide.array(2.0))
    wide = wide.model(wide.node("MatMul", h, wide.weights(2, 1 << 10)))
    image = Foreign()
    h = image.node("Mul", image.input("x", 1 << 11, 1 << 11, 4), image.array(2.0))
    image = image.model(image.node("Flatten", h))
    many = Foreign()
    x, w = many.input("x", 300), many.weights(300, 300)
    many = many.model(*(many.node("Gemm", x, w, many.weights(300)) for _ in range(100)))
    grown = Foreign()
    zero = grown.node("ConstantOfShape", grown.array(np.array([1 << 40])))
    grown = grown.model(grown.node("Add", grown.input("x", 4), grown.node("Concat", zero, zero, axis=0)))
    copied = Foreign()
    w = copied.array(np.zeros((300, 300), np.int8), np.int8)
    for _ in range(300):
        copied.node("Cast", w, to=onnx.TensorProto.DOUBLE)
    copied = copied.model(copied.node("Relu", copied.input("x", 4)))
    for proto, text in ((wide, "memory"), (image, "memory"), (many, "memory"), (grown, "zeros"), (copied, "grow")):
        content = proto.SerializeToString()
        found, most = peak(content)
        assert isinstance(found, str), proto.graph.node[0].op_type
        assert text in found
        assert most < 64 * len(content) + (8 << 20)


def test_patterns_of_which_a_part_is_used_elsewhere():
    """A silu whose sigmoid is an output is no silu, but a product that there is not."""
    g = Foreign()
    x = g.dense(g.input("x", 4), 4, 3)
    s = g.node("Sigmoid", x)
    refused(g.model(g.node("Mul", x, s), s), "Mul '/Mul_2'")


def test_nearly_an_activation():
    """Constants a little off are not taken for those of gelu or of hard_tanh."""
    g = Foreign()
    x = g.input("x", 4)
    erf = g.node("Erf", g.node("Mul", x, g.array(0.708)))
    refused(g.model(g.node("Mul", g.node("Mul", g.array(0.5), x), g.node("Add", g.array(1.0), erf))), "Erf")
    g = Foreign()
    refused(g.model(g.node("Clip", g.input("x", 4), g.array(-1.0), g.array(1.01))), "bounds")


def test_a_scan_that_is_not_ours():
    x, mask = pn.Input((4, 3), name="x"), pn.Input(4, name="mask")
    model = pn.Model([x, mask], pn.LSTM(2)([x, mask]))
    from pynet.export import onnx_write

    proto = onnx_write.proto(model)
    arrays = [np.ones((2, 4, 3)), np.ones((2, 4))]
    assert_equal(predictions(pn.export.from_onnx(proto), arrays), computed(proto, arrays))
    scan = next(node for node in proto.graph.node if node.op_type == "Scan")
    body = next(a.g for a in scan.attribute if a.name == "body")
    gate = next(node for node in body.node if node.op_type == "Sigmoid")
    gate.op_type = "Tanh"
    refused(proto, "only the Scan of an LSTM as pynet writes it")


def test_rows_helper_gives_different_rows():
    (x,) = rows(FOREIGN["Relu"](), 7, np.random.default_rng(0))
    assert len(np.unique(x)) == x.size
