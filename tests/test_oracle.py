"""PyTorch in float64 as oracle: update rules, losses, activations.

Run with  pytest -m oracle  (pip install .[oracle]).
"""

import cases
import helpers
import numpy as np
import pytest
from torch_net import ACTIVATIONS

import pynet as pn

pytestmark = pytest.mark.oracle


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
