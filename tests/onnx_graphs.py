"""ONNX graphs as others write them, and ONNX Runtime, which says what they compute."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='ONNX needs onnx, which comes with pip install ".[test]"')
ort = pytest.importorskip("onnxruntime", reason='these tests need onnxruntime, which comes with pip install ".[test]"')

FOREIGN = {}  # name: make() -> ModelProto


class Foreign:
    """A graph in the making: initializers with random numbers, nodes as they come."""

    def __init__(self, opset=17, ir_version=8, dtype="float32", seed=0):
        self.rng = np.random.default_rng(seed)
        self.opset, self.ir_version, self.dtype = opset, ir_version, np.dtype(dtype)
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []

    def input(self, name="x", *sizes, batch="N", dtype=None):
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype or self.dtype))
        self.inputs.append(onnx.helper.make_tensor_value_info(name, kind, [batch, *sizes]))
        return name

    def weights(self, *shape, low=None):
        """An initializer of normal numbers, or of uniform ones from `low` up."""
        array = self.rng.normal(size=shape) if low is None else self.rng.uniform(low, low + 1, shape)
        return self.array(array)

    def array(self, array, dtype=None):
        name = f"w{len(self.initializers)}"
        array = np.asarray(array, dtype or (self.dtype if np.asarray(array).dtype.kind == "f" else None))
        self.initializers.append(onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, op, *inputs, outputs=1, domain="", **attributes):
        names = [f"{op}_{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(
            onnx.helper.make_node(op, inputs, names, name=f"/{op}_{len(self.nodes)}", domain=domain, **attributes)
        )
        return names[0] if outputs == 1 else names

    def constant(self, array, dtype=None):
        value = onnx.numpy_helper.from_array(np.asarray(array, dtype or self.dtype))
        return self.node("Constant", value=value)

    def dense(self, x, inputs, units):
        return self.node("Gemm", x, self.weights(units, inputs), self.weights(units), transB=1)

    def model(self, *outputs, weights_are_inputs=False):
        inputs = list(self.inputs)
        if weights_are_inputs:
            inputs += [onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in self.initializers]
        kind = onnx.helper.np_dtype_to_tensor_dtype(self.dtype)
        ends = [onnx.helper.make_tensor_value_info(name, kind, None) for name in outputs]
        graph = onnx.helper.make_graph(self.nodes, "foreign", inputs, ends, self.initializers)
        opset = [onnx.helper.make_opsetid("", self.opset)]
        return onnx.helper.make_model(graph, opset_imports=opset, ir_version=self.ir_version)


def foreign(build):
    """Enter a graph into the table."""
    FOREIGN[build.__name__] = build
    return build


def session(proto):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def computed(proto, arrays):
    """What ONNX Runtime makes of arrays, one for each input, in the dtypes that it wants."""
    run = session(proto)
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(uint8)": np.uint8}
    return run.run(None, {i.name: a.astype(kinds[i.type]) for i, a in zip(run.get_inputs(), arrays, strict=True)})


def rows(proto, n, rng):
    """Arrays for the inputs of a graph."""
    made = []
    for info in proto.graph.input:
        if info.name in {tensor.name for tensor in proto.graph.initializer}:
            continue
        tensor = info.type.tensor_type
        sizes = [dim.dim_value for dim in tensor.shape.dim[1:]]
        integers = tensor.elem_type == onnx.TensorProto.UINT8
        made.append(rng.integers(0, 200, (n, *sizes)) if integers else rng.normal(size=(n, *sizes)))
    return made


# ---- products ------------------------------------------------------------------------------------------------------


@foreign
def gemm_transposed():
    g = Foreign()
    return g.model(g.node("Gemm", g.input("x", 4), g.weights(3, 4), g.weights(3), transB=1))


@foreign
def gemm_alpha_beta():
    g = Foreign()
    return g.model(g.node("Gemm", g.input("x", 4), g.weights(4, 3), g.weights(1, 3), alpha=0.3, beta=-2.0))


@foreign
def gemm_without_bias():
    g = Foreign()
    return g.model(g.node("Gemm", g.input("x", 4), g.weights(4, 3)))


@foreign
def gemm_of_one_bias():
    g = Foreign()
    return g.model(g.node("Gemm", g.input("x", 4), g.weights(4, 3), g.array(0.7)))


@foreign
def matmul_and_add():
    g = Foreign()
    h = g.node("Add", g.node("MatMul", g.input("x", 4), g.weights(4, 5)), g.weights(5))
    h = g.node("Add", g.weights(1, 3), g.node("MatMul", g.node("Relu", h), g.weights(5, 3)))  # the bias in front
    return g.model(h)


@foreign
def matmul_read_twice():
    """The sum behind it is no bias of its own: something else reads the product."""
    g = Foreign()
    z = g.node("MatMul", g.input("x", 4), g.weights(4, 3))
    return g.model(g.node("Add", g.node("Add", z, g.weights(3)), z))


@foreign
def weights_of_nodes():
    """Constants and what nodes make of them."""
    g = Foreign()
    w = g.node("Transpose", g.node("Identity", g.constant(g.rng.normal(size=(3, 4)))), perm=[1, 0])
    b = g.node("Reshape", g.constant(g.rng.normal(size=(3, 1))), g.constant([-1], np.int64))
    return g.model(g.node("Add", g.node("MatMul", g.input("x", 4), w), b))


@foreign
def weights_of_half_precision():
    g = Foreign()
    w = g.node("Cast", g.array(g.rng.normal(size=(4, 3)), np.float16), to=onnx.TensorProto.FLOAT)
    return g.model(g.node("MatMul", g.input("x", 4), w))


@foreign
def weights_shared():
    g = Foreign()
    w, b = g.weights(4, 4), g.weights(4)
    h = g.node("Tanh", g.node("Gemm", g.input("x", 4), w, b))
    return g.model(g.node("Tanh", g.node("Gemm", h, w, b)))


@foreign
def weights_listed_as_inputs():
    """As before IR version 4."""
    g = Foreign(opset=8, ir_version=3)
    return g.model(g.node("Relu", g.dense(g.input("x", 4), 4, 3)), weights_are_inputs=True)


@foreign
def float64():
    g = Foreign(dtype="float64")
    return g.model(g.node("Softmax", g.dense(g.node("Tanh", g.dense(g.input("x", 4), 4, 5)), 5, 3)))


# ---- activations ---------------------------------------------------------------------------------------------------


def behind_dense(activation, opset=17):
    """A graph with an activation behind a Gemm, and once more alone."""

    def make():
        g = Foreign(opset=opset)
        return g.model(activation(g, g.node("Identity", activation(g, g.dense(g.input("x", 4), 4, 6)))))

    return make


def single(op, opset=17, **attributes):
    return behind_dense(lambda g, x: g.node(op, x, **attributes), opset)


for _op in ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSwish", "Elu", "LeakyRelu", "Selu", "Sin", "Atan"):
    FOREIGN[_op] = single(_op)
FOREIGN["Elu of 0.3"] = single("Elu", alpha=0.3)
FOREIGN["LeakyRelu of 0.2"] = single("LeakyRelu", alpha=0.2)
FOREIGN["Celu"] = single("Celu")
FOREIGN["Gelu of opset 20"] = single("Gelu", 20)
FOREIGN["HardSigmoid"] = single("HardSigmoid", alpha=1 / 6, beta=0.5)
FOREIGN["Softmax of opset 11"] = single("Softmax", 11)
FOREIGN["Softmax over axis 1"] = single("Softmax", axis=1)
FOREIGN["Clip of opset 6"] = single("Clip", 7, min=-1.0, max=1.0)
FOREIGN["Clip of one bound"] = behind_dense(lambda g, x: g.node("Clip", x, g.array(0.0)))
FOREIGN["Clip"] = behind_dense(lambda g, x: g.node("Clip", x, g.constant(-1.0), g.constant(1.0)))
FOREIGN["silu"] = behind_dense(lambda g, x: g.node("Mul", g.node("Sigmoid", x), x))
FOREIGN["mish"] = behind_dense(lambda g, x: g.node("Mul", x, g.node("Tanh", g.node("Softplus", x))))
FOREIGN["Max"] = behind_dense(lambda g, x: g.node("Max", g.array(0.0), x))


@foreign
def gelu_of_pytorch():
    def gelu(g, x):
        erf = g.node("Erf", g.node("Div", x, g.constant(1.4142135381698608)))
        return g.node("Mul", g.node("Mul", x, g.node("Add", erf, g.constant(1.0))), g.constant(0.5))

    return behind_dense(gelu)()


@foreign
def gelu_of_keras():
    def gelu(g, x):
        erf = g.node("Erf", g.node("Mul", x, g.array(0.70710677)))
        return g.node("Mul", g.node("Mul", g.array(0.5), x), g.node("Add", g.array(1.0), erf))

    return behind_dense(gelu)()


@foreign
def hard_swish_of_parts():
    def divided(g, x):
        clipped = g.node("Clip", g.node("Add", x, g.array(3.0)), g.array(0.0), g.array(6.0))
        return g.node("Div", g.node("Mul", x, clipped), g.array(6.0))

    return behind_dense(divided)()


@foreign
def part_of_silu_read_elsewhere():
    """Both sigmoid and product are needed: nothing may be taken for a silu alone."""
    g = Foreign()
    x = g.dense(g.input("x", 4), 4, 3)
    s = g.node("Sigmoid", x)
    return g.model(g.node("Concat", s, g.node("Tanh", x), axis=-1))


@foreign
def prelu():
    g = Foreign()
    h = g.node("PRelu", g.dense(g.input("x", 4), 4, 5), g.weights(5))
    h = g.node("PRelu", g.dense(h, 5, 3), g.weights(1))
    return g.model(g.node("PRelu", h, g.weights(1, 3)))


# ---- norms, sums, scaling --------------------------------------------------------------------------------------------


@foreign
def batch_norm():
    g = Foreign()
    h = g.node("BatchNormalization", g.input("x", 4), *(g.weights(4, low=0.5) for _ in range(4)), epsilon=0.1)
    h = g.node("BatchNormalization", g.dense(h, 4, 3), *(g.weights(3, low=0.5) for _ in range(4)))
    return g.model(g.node("Relu", h))


@foreign
def layer_norm():
    g = Foreign()
    h = g.node("LayerNormalization", g.input("x", 4), g.weights(4), g.weights(4), axis=1, epsilon=0.01)
    return g.model(g.node("LayerNormalization", g.dense(h, 4, 3), g.array(np.ones(3))))


@foreign
def residual():
    g = Foreign()
    x = g.input("x", 4)
    h = g.dense(g.node("Relu", g.dense(x, 4, 6)), 6, 4)
    return g.model(g.node("Sum", g.node("Add", h, x), x, h))


@foreign
def several_ends():
    g = Foreign()
    a, b = g.input("a", 3), g.input("b", 2)
    h = g.node("Relu", g.dense(g.node("Concat", a, b, a, axis=1), 8, 5))
    return g.model(g.node("Softmax", g.dense(h, 5, 3)), h, g.dense(h, 5, 1))


@foreign
def scaling_by_division():
    g = Foreign()
    x = g.node("Div", g.node("Sub", g.input("x", 4), g.weights(4)), g.weights(1, 4, low=0.5))
    return g.model(g.dense(x, 4, 3))


@foreign
def scaling_by_numbers():
    g = Foreign()
    x = g.node("Add", g.node("Mul", g.input("x", 4), g.array(0.25)), g.array([3.0]))
    return g.model(g.dense(g.node("Sub", g.array(1.0), x), 4, 3))


@foreign
def scaling_of_bytes():
    g = Foreign()
    x = g.node("Cast", g.input("x", 4, dtype=np.uint8), to=onnx.TensorProto.FLOAT)
    return g.model(g.dense(g.node("Div", x, g.array(255.0)), 4, 3))


@foreign
def scaling_in_the_middle():
    g = Foreign()
    h = g.node("Mul", g.node("Tanh", g.dense(g.input("x", 4), 4, 3)), g.weights(3))
    return g.model(g.node("Div", g.node("Sub", g.weights(3), h), g.array(0.5)))


@foreign
def dropout_of_opset_7():
    g = Foreign(opset=7)
    return g.model(g.dense(g.node("Dropout", g.node("Relu", g.dense(g.input("x", 4), 4, 5)), ratio=0.3), 5, 2))


@foreign
def dropout_of_opset_13():
    g = Foreign(opset=13)
    h = g.node("Dropout", g.dense(g.input("x", 4), 4, 5), g.array(0.3), g.array(np.array(False)))
    return g.model(g.node("Identity", h))


# ---- shapes ----------------------------------------------------------------------------------------------------------


@foreign
def image():
    g = Foreign()
    return g.model(g.dense(g.node("Flatten", g.input("x", 1, 3, 4)), 12, 3))


@foreign
def image_scaled():
    g = Foreign()
    x = g.node("Mul", g.node("Sub", g.input("x", 2, 3, 4), g.weights(2, 1, 1)), g.array(0.5))
    return g.model(g.dense(g.node("Reshape", x, g.array(np.array([0, -1]))), 24, 3))


@foreign
def reshaped():
    g = Foreign(opset=13)
    h = g.node("Reshape", g.input("x", 3, 4), g.array(np.array([-1, 12])))
    h = g.node("Unsqueeze", g.dense(h, 12, 3), g.array(np.array([1])))
    return g.model(g.node("Squeeze", h, g.array(np.array([1]))))


@foreign
def reshaped_by_its_own_shape():
    """As view(x.size(0), -1) of PyTorch's."""
    g = Foreign()
    x = g.input("x", 3, 4)
    n = g.node("Gather", g.node("Shape", x), g.constant(0, np.int64), axis=0)
    n = g.node("Unsqueeze", n, g.constant([0], np.int64))
    return g.model(g.dense(g.node("Reshape", x, g.node("Concat", n, g.constant([-1], np.int64), axis=0)), 12, 3))


@foreign
def squeezed_before_opset_13():
    g = Foreign(opset=11)
    h = g.node("Unsqueeze", g.dense(g.input("x", 4), 4, 3), axes=[0])
    return g.model(g.node("Squeeze", h, axes=[0]))


@foreign
def one_row():
    """A file that knows no other batch than one row."""
    g = Foreign()
    h = g.node("Reshape", g.input("x", 2, 3, batch=1), g.array(np.array([1, 6])))
    return g.model(g.dense(h, 6, 2))


# ---- sequences -------------------------------------------------------------------------------------------------------


def recurrent(g, x, features, units, biased=True, outputs=2):
    w, r = g.weights(1, 4 * units, features), g.weights(1, 4 * units, units)
    more = [g.weights(1, 8 * units)] if biased else []
    return g.node("LSTM", x, w, r, *more, outputs=outputs, hidden_size=units)


@foreign
def lstm_last_state():
    g = Foreign()
    _, last = recurrent(g, g.node("Transpose", g.input("x", 5, 3), perm=[1, 0, 2]), 3, 4)
    return g.model(g.dense(g.node("Squeeze", last, g.array(np.array([0]))), 4, 2))


@foreign
def lstm_stacked():
    """Two, the second without a bias; of the first all states, of the second the last step."""
    g = Foreign()
    every, _ = recurrent(g, g.node("Transpose", g.input("x", 5, 3), perm=[1, 0, 2]), 3, 4)
    every, _ = recurrent(g, g.node("Squeeze", every, g.array(np.array([1]))), 4, 2, biased=False)
    every = g.node("Transpose", g.node("Squeeze", every, g.array(np.array([1]))), perm=[1, 0, 2])
    return g.model(g.node("Gather", every, g.array(np.array(-1)), axis=1), every)


@foreign
def lstm_of_zero_states():
    g = Foreign()
    x = g.input("x", 5, 3)
    n = g.node("Gather", g.node("Shape", x), g.array(np.array([0])), axis=0)
    size = g.node("Concat", g.array(np.array([1])), n, g.array(np.array([4])), axis=0)
    zero = g.node("ConstantOfShape", size)
    steps = g.node("Transpose", x, perm=[1, 0, 2])
    tensors = [g.weights(1, 16, 3), g.weights(1, 16, 4), g.weights(1, 32)]
    _, last = g.node("LSTM", steps, *tensors, "", zero, zero, outputs=2, hidden_size=4)
    return g.model(g.node("Gather", last, g.array(np.array(0)), axis=0))
