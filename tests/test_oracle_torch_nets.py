"""Networks of PyTorch as models of pynet's, and back; and what torch.onnx writes.

Run with  pytest -m oracle  (pip install .[oracle]).
"""

import io
import warnings

import numpy as np
import pytest
from onnx_graphs import onnx

import pynet as pn

pytestmark = pytest.mark.oracle

ACTIVATIONS = (
    "Sigmoid", "Tanh", "ReLU", "LeakyReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Softplus", "Softsign",
    "Hardsigmoid", "Hardtanh", "Hardswish", "RReLU",
)  # fmt: skip
ONNX_ACTIVATIONS = [name for name in ACTIVATIONS if name != "RReLU"]


def mlp(torch, *middle, inputs=4, outputs=3):
    nn = torch.nn
    return nn.Sequential(nn.Linear(inputs, 6), *middle, nn.Linear(6, outputs))


def stirred(torch, module, seed=0):
    """The module with all its numbers moved, for prediction."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor += 0.3 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        for name, tensor in module.named_buffers():
            if name.endswith("running_var"):
                tensor.abs_().add_(0.1)
    return module.eval()


def of_torch(torch, module, X):
    with torch.no_grad():
        return module(torch.as_tensor(X)).numpy()


def check(torch, module, X, bound=1e-6, **options):
    model = pn.export.from_torch(module, **options)
    theirs = of_torch(torch, module, X)
    assert np.ptp(theirs) > 1e-3
    np.testing.assert_allclose(model.predict(X), theirs, rtol=bound, atol=bound)
    return model


def numbers(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def nested(nn):
    inner = nn.Sequential(nn.BatchNorm1d(6, eps=0.1, momentum=0.2), nn.Tanh(), nn.Dropout(0.3))
    return nn.Sequential(nn.Sequential(nn.Linear(4, 6, bias=False), inner), nn.Identity(), nn.Linear(6, 2))


NETS = {
    "nested": nested,
    "norms": lambda nn: nn.Sequential(
        nn.LayerNorm(4), nn.Linear(4, 5), nn.BatchNorm1d(5, affine=False), nn.PReLU(5), nn.LayerNorm(5, bias=False)
    ),
    "plain norms": lambda nn: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5, elementwise_affine=False), nn.PReLU()),
    "softmax": lambda nn: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), nn.Softmax(-1)),
    "activations first": lambda nn: nn.Sequential(nn.BatchNorm1d(4), nn.ELU(0.5), nn.SiLU(), nn.Linear(4, 2)),
    "one layer": lambda nn: nn.Linear(4, 2),
}


@pytest.mark.parametrize("name", NETS)
def test_nets(torch, name, dtype):
    module = stirred(torch, NETS[name](torch.nn).to(getattr(torch, dtype.name)))
    model = check(torch, module, numbers(9, 4, dtype=dtype.name))
    assert model.dtype == dtype
    for layer in model.layers:  # what counts in training
        if isinstance(layer, pn.BatchNorm):
            assert layer.momentum == pytest.approx(0.8 if name == "nested" else 0.9)
        if isinstance(layer, pn.Dropout):
            assert layer.rate == 0.3
    back = pn.export.to_torch(model)
    np.testing.assert_allclose(
        of_torch(torch, back, numbers(9, 4, dtype=dtype.name)),
        of_torch(torch, module, numbers(9, 4, dtype=dtype.name)),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(torch, name):
    """Behind a Linear and alone; there and back."""
    make = getattr(torch.nn, name)
    module = stirred(torch, mlp(torch, make(), make()).double())
    model = check(torch, module, 3 * numbers(9, 4), bound=1e-6 if name in ("Softplus", "Mish") else 1e-12)
    np.testing.assert_allclose(of_torch(torch, pn.export.to_torch(model), numbers(9, 4)), model.predict(numbers(9, 4)))


def test_a_module_used_twice_is_one_layer(torch):
    linear = torch.nn.Linear(4, 4)
    module = torch.nn.Sequential(linear, torch.nn.Tanh(), linear, torch.nn.Tanh())
    assert len(check(torch, module, numbers(5, 4, dtype="float32")).layers) == 2


@pytest.mark.parametrize("layers", [1, 2])
def test_lstm(torch, layers):
    module = stirred(torch, torch.nn.LSTM(3, 4, num_layers=layers, batch_first=True, dtype=torch.float64))
    X = numbers(6, 5, 3)
    model = pn.export.from_torch(module, input_shape=(5, 3))
    with torch.no_grad():
        theirs, _ = module(torch.as_tensor(X))
    np.testing.assert_allclose(model.predict(X), theirs.numpy(), rtol=1e-9, atol=1e-9)


def test_flatten(torch):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)).double()
    model = check(torch, module, numbers(5, 3, 4), input_shape=(3, 4))
    np.testing.assert_allclose(
        of_torch(torch, pn.export.to_torch(model), numbers(5, 3, 4)), model.predict(numbers(5, 3, 4))
    )


def test_state_dict(torch):
    module = mlp(torch, torch.nn.Tanh())
    state, X = module.state_dict(), numbers(5, 4, dtype="float32")
    theirs = of_torch(torch, module, X)
    for activations in ("tanh", ["tanh", None], [pn.activations.Tanh(), "identity"]):
        for given in (state, {name: tensor.numpy() for name, tensor in state.items()}):
            model = pn.export.from_torch(given, activations=activations)
            np.testing.assert_allclose(model.predict(X), theirs, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match=r"activations are needed: a state_dict does not say them .it has 2 layers"):
        pn.export.from_torch(state)
    with pytest.raises(ValueError, match="activations must be one for each of 2 layers, got 3"):
        pn.export.from_torch(state, activations=["tanh"] * 3)
    with pytest.raises(ValueError, match=r"Linear layers, got 'norm.running_mean'"):
        pn.export.from_torch(state | {"norm.running_mean": X}, activations="tanh")
    with pytest.raises(ValueError, match=r"2.weight has shape \(3, 5\), but what it reads has shape \(6,\)"):
        pn.export.from_torch(state | {"2.weight": X[:3, :1] + np.zeros((3, 5))}, activations="tanh")
    with pytest.raises(ValueError, match=r"2.bias has shape \(1,\), expected \(3,\)"):
        pn.export.from_torch(state | {"2.bias": X[0, :1]}, activations="tanh")


def test_scaling_and_pruning_go_back(torch):
    """The scaling is multiplied into the first layer; compact layers become dense ones."""
    scaled = pn.Input(4, scale=[1.0, 2, -3, 0.5], shift=[0.1, 0, 1, -2])
    model = pn.Sequential([scaled, pn.Dense(9, "tanh"), pn.GaussianNoise(0.1), pn.Dense(2)])
    pn.prune.magnitude(model, 0.6)
    X = numbers(5, 4, dtype="float32")
    for each in (model, model.compact(["dense_1", "dense_2"])):
        np.testing.assert_allclose(of_torch(torch, pn.export.to_torch(each), X), each.predict(X), rtol=1e-5, atol=1e-5)


UNKNOWN = {
    "ReLU6": lambda nn: nn.Sequential(nn.Linear(4, 3), nn.ReLU6()),
    "GELU": lambda nn: nn.Sequential(nn.Linear(4, 3), nn.GELU(approximate="tanh")),
    "Conv1d": lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Conv1d(1, 1, 1)),
    "LSTM": lambda nn: nn.Sequential(nn.Linear(4, 3), nn.LSTM(3, 2, batch_first=True), nn.Linear(2, 2)),
    "BatchNorm1d": lambda nn: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)),
    "Softmax": lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=0)),
    "Flatten": lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Flatten(0)),
    "LayerNorm": lambda nn: nn.Sequential(nn.Linear(4, 3), nn.LayerNorm((1, 3))),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_modules_without_counterpart_are_named(torch, name):
    with pytest.raises(ValueError, match=f"module '1' .{name}"):
        pn.export.from_torch(UNKNOWN[name](torch.nn))


def test_other_faults(torch):
    nn = torch.nn
    with pytest.raises(TypeError, match=r"source must be a torch.nn.Module or a state_dict, got int"):
        pn.export.from_torch(3)
    with pytest.raises(ValueError, match="input_shape is needed"):
        pn.export.from_torch(nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match="input_shape is needed"):
        pn.export.from_torch(nn.LSTM(3, 4, batch_first=True))
    with pytest.raises(ValueError, match="no modules"):
        pn.export.from_torch(nn.Sequential())
    with pytest.raises(ValueError, match=r"module '1' .*it takes rows of 4 features, got shape \(3,\)"):
        pn.export.from_torch(nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 3)))

    class Mine(nn.Module):
        pass

    with pytest.raises(ValueError, match=r"module 'Mine' .*there is no such layer"):
        pn.export.from_torch(Mine(), input_shape=3)
    x = pn.Input(3)
    for model, text in (
        (pn.Model(x, pn.Add()([pn.Dense(3)(x), x])), "layers one behind the other"),
        (pn.Sequential([pn.Input(3), pn.Dense(2, "sinc", name="waves")]), "layer 'waves' .* activation 'sinc'"),
        (pn.Sequential([pn.Input((2, 3)), pn.LSTM(2)]), "layer 'lstm_1' .*no module for it"),
        (pn.Sequential([pn.Input(3, shift=1.0), pn.LayerNorm()]), "needs a Dense"),
    ):
        with pytest.raises(ValueError, match=text):
            pn.export.to_torch(model)
    with pytest.raises(TypeError, match="model must be a pynet Model"):
        pn.export.to_torch(3)


# ---- what torch.onnx writes ------------------------------------------------------------------------------------------


def exported(torch, module, *sizes, opset=17):
    """The ModelProto that PyTorch makes of a module."""
    file = io.BytesIO()
    with warnings.catch_warnings():  # its exporter of today warns that there will be another
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.zeros(2, *sizes),), file, input_names=["x"], dynamic_axes={"x": {0: "n"}},
            opset_version=opset, dynamo=False,
        )  # fmt: skip
    return onnx.load_model_from_string(file.getvalue())


def check_exported(torch, module, *sizes, opset=17):
    model = pn.export.from_onnx(exported(torch, module, *sizes, opset=opset))
    X = numbers(7, *sizes, dtype="float32")
    theirs = of_torch(torch, module, X)
    assert np.ptp(theirs) > 1e-3
    np.testing.assert_allclose(model.predict(X.reshape(7, *model.inputs[0].shape)), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_nets_by_onnx(torch, name):
    check_exported(torch, stirred(torch, NETS[name](torch.nn)), 4)


@pytest.mark.parametrize("name", ONNX_ACTIVATIONS)
def test_activations_by_onnx(torch, name):
    make = getattr(torch.nn, name)
    check_exported(torch, stirred(torch, mlp(torch, make(), make())), 4, opset=12 if name == "Hardtanh" else 17)


def residual(torch):
    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (torch.nn.Linear(*n) for n in ((4, 5), (5, 4), (8, 2)))

        def forward(self, x):
            h = torch.nn.functional.gelu(self.a((x - 0.5) / 2))
            return torch.softmax(self.c(torch.cat([x + self.b(h), x], dim=1)), dim=1)

    return Residual(), (4,)


def image(torch):
    nn = torch.nn
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2)), (1, 3, 4)


def viewed(torch):
    class Viewed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Linear(12, 2)

        def forward(self, x):
            return self.a(x.view(x.size(0), -1))

    return Viewed(), (3, 4)


def recurrent(torch, how):
    class Recurrent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = torch.nn.LSTM(3, 4, num_layers=2, batch_first=True), torch.nn.Linear(4, 2)

        def forward(self, x):
            y, (h, _) = self.lstm(x)
            return y if how == "all" else self.head(y[:, -1] if how == "last" else h[-1])

    return Recurrent(), (5, 3)


MODULES = {
    "residual": residual, "image": image, "viewed": viewed, "lstm, all": lambda t: recurrent(t, "all"),
    "lstm, last": lambda t: recurrent(t, "last"), "lstm, state": lambda t: recurrent(t, "state"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_modules_by_onnx(torch, name):
    module, sizes = MODULES[name](torch)
    check_exported(torch, stirred(torch, module), *sizes)
