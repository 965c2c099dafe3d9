"""PyTorch in float64 as oracle: update rules, losses, activations.

Run with  pytest -m oracle  (pip install .[oracle]).
"""

import cases
import helpers
import numpy as np
import pytest
from helpers import ISAS

import pynet as pn

pytestmark = pytest.mark.oracle

BACKENDS = ["numpy", *ISAS]


@pytest.fixture(scope="module")
def torch():
    """Without PyTorch these tests fail: who asks for an oracle must have one."""
    import torch

    torch.set_num_threads(1)
    return torch


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Arguments of Trainer, with the instruction set forced for the test."""
    if request.param == "numpy":
        yield "numpy"
    else:
        with helpers.forced_isa(request.param):
            yield "c"


class Net:
    """A chain of layers, and the same numbers as tensors."""

    def __init__(self, torch, widths, activation="tanh", last="identity"):
        layers = [cases.dense(width, activation) for width in widths[1:-1]]
        self.model = pn.Sequential([pn.Input(widths[0]), *layers, cases.dense(widths[-1], last)], dtype="float64")
        self.torch, self.activation = torch, activation
        self.tensors = [torch.tensor(w, requires_grad=True) for w in self.model.get_weights()]

    def __call__(self, X):
        """What stands in front of the activation of the head."""
        h = self.torch.as_tensor(X)
        *hidden, kernel, bias = self.tensors
        for w, b in zip(hidden[::2], hidden[1::2], strict=True):
            h = ACTIVATIONS[self.activation](self.torch, h @ w + b)
        return h @ kernel + bias

    def assert_equal(self, tolerance):
        names = self.model.parameters()
        for (name, ours), theirs in zip(names.items(), self.tensors, strict=True):
            helpers.assert_close(ours, theirs.detach().numpy(), tolerance, name)


# ---- update rules ----------------------------------------------------------------------------------------------------


def test_a_hundred_steps_of_adam(torch, backend):
    """784-128-10, batch 32, softmax cross-entropy: losses and weights within 1e-9."""
    net, rng = Net(torch, (784, 128, 10), "relu", "softmax"), np.random.default_rng(0)
    start = net.model.parameters()
    X, y = rng.random((3200, 784)), rng.integers(0, 10, 3200)
    trainer = pn.Trainer(net.model, "cross_entropy", pn.Adam(1e-3), backend=backend)
    optimizer = torch.optim.Adam(net.tensors, lr=1e-3)
    for k in range(100):
        rows = slice(32 * k, 32 * (k + 1))
        loss = torch.nn.functional.cross_entropy(net(X[rows]), torch.as_tensor(y[rows]))
        ours = trainer.train_on_batch(X[rows], y[rows])["loss"]
        assert ours == pytest.approx(float(loss.detach()), rel=1e-9)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.assert_equal(1e-9)
    for name, first in start.items():
        assert helpers.distance(net.model.parameters()[name], first) > 1e-2


RULES = {
    "sgd": (pn.SGD(0.1), "SGD", {"lr": 0.1}),
    "sgd, decay": (pn.SGD(0.1, weight_decay=0.05), "SGD", {"lr": 0.1, "weight_decay": 0.05}),
    "momentum": (pn.SGD(0.1, 0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (
        pn.SGD(0.1, 0.9, nesterov=True, weight_decay=0.01), "SGD",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ),
    "adam": (
        pn.Adam(0.01, 0.8, 0.99, 1e-6, weight_decay=0.1), "Adam",
        {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1},
    ),
    "adamw": (pn.AdamW(0.01, weight_decay=0.3), "AdamW", {"lr": 0.01, "weight_decay": 0.3}),
    "rmsprop": (pn.RMSProp(0.01, rho=0.95), "RMSprop", {"lr": 0.01, "alpha": 0.95}),
    "adagrad": (pn.Adagrad(0.1), "Adagrad", {"lr": 0.1}),
    "rprop": (pn.Rprop(0.01), "Rprop", {"lr": 0.01}),
    "rprop, bounds": (
        pn.Rprop(0.01, 0.3, 1.5, 0.005, 0.03), "Rprop", {"lr": 0.01, "etas": (0.3, 1.5), "step_sizes": (0.005, 0.03)},
    ),
}  # fmt: skip


def test_every_rule_has_an_oracle():
    assert {rule.rule for rule, _, _ in RULES.values()} == set(pn._core.OPTIMIZERS)


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("rule", RULES)
def test_twenty_steps(torch, backend, rule, clip):
    ours, name, options = RULES[rule]
    net, rng = Net(torch, (5, 7, 6, 3)), np.random.default_rng(0)
    start = net.model.parameters()
    X, y = rng.normal(size=(19, 5)), rng.normal(size=(19, 3))
    trainer = pn.Trainer(net.model, "mse", ours, clip=clip and pn.ClipValue(clip), backend=backend)
    optimizer = getattr(torch.optim, name)(net.tensors, **options)
    for _ in range(20):
        loss = torch.nn.functional.mse_loss(net(X), torch.as_tensor(y))
        assert trainer.train_on_batch(X, y)["loss"] == pytest.approx(float(loss.detach()), rel=1e-11)
        optimizer.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_value_(net.tensors, clip)
        optimizer.step()
    net.assert_equal(1e-11)
    for name, first in start.items():
        assert helpers.distance(net.model.parameters()[name], first) > 1e-2


# ---- activations -----------------------------------------------------------------------------------------------------

ACTIVATIONS = {
    "identity": lambda t, x: x,
    "sigmoid": lambda t, x: t.sigmoid(x),
    "tanh": lambda t, x: t.tanh(x),
    "relu": lambda t, x: t.relu(x),
    "leaky_relu": lambda t, x: t.nn.functional.leaky_relu(x, 0.01),
    "elu": lambda t, x: t.nn.functional.elu(x),
    "selu": lambda t, x: t.nn.functional.selu(x),
    "gelu": lambda t, x: t.nn.functional.gelu(x),
    "silu": lambda t, x: t.nn.functional.silu(x),
    "mish": lambda t, x: t.nn.functional.mish(x),
    "softplus": lambda t, x: t.nn.functional.softplus(x, threshold=1e9),
    "softsign": lambda t, x: t.nn.functional.softsign(x),
    "arctan": lambda t, x: t.atan(x),
    "hard_sigmoid": lambda t, x: t.nn.functional.relu6(x + 3) / 6,  # hardsigmoid has a slope of float32(1/6)
    "hard_tanh": lambda t, x: t.nn.functional.hardtanh(x),
    "hard_swish": lambda t, x: t.nn.functional.hardswish(x),
    "sinusoid": lambda t, x: t.sin(x),
    "sinc": lambda t, x: t.sinc(x / t.pi),
    "gaussian": lambda t, x: t.exp(-x * x),
    "softmax": lambda t, x: t.softmax(x, dim=1),
    # by formula, so that at least the derivative is PyTorch's
    "lecun_tanh": lambda t, x: t.tanh(x) + 0.1 * x,
    "scaled_tanh": lambda t, x: 1.7159 * t.tanh(2 * x / 3),
    "bent_identity": lambda t, x: (t.sqrt(x * x + 1) - 1) / 2 + x,
    "isru": lambda t, x: x * t.rsqrt(1 + x * x),
    "epanechnikov": lambda t, x: t.where(x.abs() <= 1, 0.75 * (1 - x**2), 0),
    "triangular": lambda t, x: t.relu(1 - x.abs()),
    "quartic": lambda t, x: t.where(x.abs() <= 1, 15 / 16 * (1 - x**2) ** 2, 0),
    "tricube": lambda t, x: t.where(x.abs() <= 1, 70 / 81 * (1 - x.abs() ** 3) ** 3, 0),
}


def test_every_activation_that_learns_has_an_oracle():
    assert set(ACTIVATIONS) | set(cases.FLAT) == set(cases.ACTIVATIONS)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation(torch, backend, activation):
    """Inside a net: its outputs, and the gradients of weights and inputs."""
    net, rng = Net(torch, (4, 6, 5, 3), activation), np.random.default_rng(1)
    X, y = rng.normal(size=(40, 4)) * 2, rng.normal(size=(40, 3))
    x = torch.tensor(X, requires_grad=True)
    prediction = net(x)
    torch.nn.functional.mse_loss(prediction, torch.as_tensor(y)).backward()
    helpers.assert_close(net.model.predict(X, backend=backend), prediction.detach().numpy(), 1e-13)
    gradients = pn.Trainer(net.model, "mse", backend=backend).gradients(X, y)
    *ours, by_input = gradients.values()
    helpers.assert_close(by_input, x.grad.numpy(), 1e-12, "gradient of the inputs")
    for (name, _), gradient, tensor in zip(gradients.items(), ours, net.tensors, strict=False):
        helpers.assert_close(gradient, tensor.grad.numpy(), 1e-12, f"gradient of {name}")


# ---- losses ----------------------------------------------------------------------------------------------------------


def mean_of_outputs(function):
    return lambda t, z, y: function(t, z, y).mean(dim=1)


LOSSES = {  # row losses from what stands in front of the activation of the head
    "mse": mean_of_outputs(lambda t, z, y: (z - y) ** 2),
    "mae": mean_of_outputs(lambda t, z, y: t.nn.functional.l1_loss(z, y, reduction="none")),
    "huber": mean_of_outputs(lambda t, z, y: t.nn.functional.huber_loss(z, y, reduction="none", delta=0.7)),
    "log_cosh": mean_of_outputs(lambda t, z, y: t.log(t.cosh(z - y))),
    "poisson": mean_of_outputs(
        lambda t, z, y: t.nn.functional.poisson_nll_loss(
            t.nn.functional.softplus(z, threshold=1e9), y, log_input=False, eps=1e-7, reduction="none"
        )
    ),
    "quantile": mean_of_outputs(lambda t, z, y: t.maximum(0.3 * (y - z), -0.7 * (y - z))),
    "cross_entropy_index": lambda t, z, y: t.nn.functional.cross_entropy(z, y, reduction="none"),
    "cross_entropy_dense": lambda t, z, y: t.nn.functional.cross_entropy(z, y, reduction="none"),
    "binary_cross_entropy": mean_of_outputs(
        lambda t, z, y: t.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")
    ),
}
OURS = {
    "huber": pn.losses.Huber(0.7), "quantile": pn.losses.Quantile(0.3), "cross_entropy_index": "cross_entropy",
    "cross_entropy_dense": "cross_entropy",
}  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_loss(torch, backend, loss, weighted, logits):
    last = "identity" if logits and loss != "poisson" else cases.LOSSES[loss][0]
    net, rng = Net(torch, (4, 6, 5), last=last), np.random.default_rng(2)
    X, y = rng.normal(size=(30, 4)), cases.target(loss, 30, 5, rng)
    weight = rng.random(30) * (np.arange(30) % 4 > 0) if weighted else np.ones(30)
    rows, w = LOSSES[loss](torch, net(X), torch.as_tensor(y)), torch.as_tensor(weight)
    total = (rows * w).sum() / w.sum()
    total.backward()
    trainer = pn.Trainer(net.model, OURS.get(loss, loss), backend=backend)
    weight = weight if weighted else None
    assert trainer.evaluate(X, y, sample_weight=weight)["loss"] == pytest.approx(float(total.detach()), rel=1e-12)
    gradients = trainer.gradients(X, y, sample_weight=weight)
    for name, tensor in zip(net.model.parameters(), net.tensors, strict=True):
        helpers.assert_close(gradients[name], tensor.grad.numpy(), 1e-12, name)


def test_class_weight(torch, backend):
    net, rng = Net(torch, (4, 6, 3), last="softmax"), np.random.default_rng(3)
    X, y = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    weight = {0: 0.3, 1: 2.0, 2: 1.1}
    tensor = torch.tensor(list(weight.values()), dtype=torch.float64)
    torch.nn.functional.cross_entropy(net(X), torch.as_tensor(y), weight=tensor).backward()
    gradients = pn.Trainer(net.model, "cross_entropy", backend=backend).gradients(X, y, class_weight=weight)
    for name, tensor in zip(net.model.parameters(), net.tensors, strict=True):
        helpers.assert_close(gradients[name], tensor.grad.numpy(), 1e-12, name)


def test_clip_norm(torch, backend):
    """PyTorch divides by (norm + 1e-6): agreement is as good as that."""
    net, rng = Net(torch, (5, 7, 3)), np.random.default_rng(4)
    X, y = rng.normal(size=(19, 5)), rng.normal(size=(19, 3))
    trainer = pn.Trainer(net.model, "mse", pn.SGD(0.5), clip=pn.ClipNorm(0.05), backend=backend)
    trainer.train_on_batch(X, y)
    torch.nn.functional.mse_loss(net(X), torch.as_tensor(y)).backward()
    norm = torch.nn.utils.clip_grad_norm_(net.tensors, 0.05)
    assert norm > 0.1
    torch.optim.SGD(net.tensors, lr=0.5).step()
    net.assert_equal(1e-5)
