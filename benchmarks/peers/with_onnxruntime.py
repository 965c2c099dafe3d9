"""ONNX Runtime: predictions only; one session for all calls."""

from __future__ import annotations

import onnx
import onnxruntime as ort
from cases import Net
from onnx import TensorProto, helper, numpy_helper


def session(net: Net, threads: int) -> ort.InferenceSession:
    nodes, constants, value = [], [], "x"
    layers = net.first_weights()
    for k, (W, b) in enumerate(layers):
        constants += [numpy_helper.from_array(W, f"W{k}"), numpy_helper.from_array(b, f"b{k}")]
        nodes.append(helper.make_node("Gemm", [value, f"W{k}", f"b{k}"], [f"z{k}"]))
        value = f"z{k}"
        if k < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [value], [f"h{k}"]))
            value = f"h{k}"
        elif net.loss == "cross_entropy":
            nodes.append(helper.make_node("Softmax", [value], ["p"], axis=1))
            value = "p"
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, net.sizes[0]])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, net.sizes[-1]])],
        constants,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def predict_one(net: Net, threads: int):
    run = session(net, threads).run
    return lambda x: run(None, {"x": x[None]})[0]


TRAINING: dict = {}
PREDICTION = {"ONNX Runtime": predict_one}
