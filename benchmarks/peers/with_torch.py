"""PyTorch, eager and torch.compile, with the fused Adam; batches are tensors before the clock starts."""

from __future__ import annotations

import torch
from cases import BETA1, BETA2, EPSILON, RATE, Net
from torch import nn


def module(net: Net) -> nn.Sequential:
    layers: list[nn.Module] = []
    for k, (W, b) in enumerate(net.first_weights()):
        layer = nn.Linear(*W.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(W.T.copy()))
            layer.bias.copy_(torch.from_numpy(b))
        layers += [layer, nn.ReLU()] if k < len(net.sizes) - 2 else [layer]
    return nn.Sequential(*layers)


class Eager:
    """zero_grad, forward, loss, backward, step."""

    def __init__(self, net: Net, X, y, threads: int):
        torch.set_num_threads(threads)
        B = net.batch
        X, y = torch.from_numpy(X), torch.from_numpy(y)
        self.batches = [(X[i : i + B], y[i : i + B]) for i in range(0, len(X), B)]
        self.at = 0
        self.module = made = module(net)
        loss = nn.MSELoss() if net.loss == "mse" else nn.CrossEntropyLoss()
        self.loss = self.wrap(lambda X, y: loss(made(X), y))
        self.adam = torch.optim.Adam(made.parameters(), RATE, (BETA1, BETA2), EPSILON, fused=True)

    def wrap(self, loss):
        return loss

    def step(self):
        X, y = self.batches[self.at]
        self.at = (self.at + 1) % len(self.batches)
        self.adam.zero_grad(set_to_none=True)
        loss = self.loss(X, y)
        loss.backward()
        self.adam.step()
        return loss

    def losses(self, n: int) -> list[float]:
        return [self.step().item() for _ in range(n)]

    def steps(self, n: int) -> None:
        for _ in range(n):
            self.step()


class Compiled(Eager):
    """Forward and backward by torch.compile (Inductor), freely tuned."""

    def wrap(self, loss):
        return torch.compile(loss, mode="max-autotune", dynamic=False)


class Epochs(Eager):
    """A loop that its author has tuned: one gather of all rows in a fresh order, then slices of that; losses are added
    up on the way and read once; the validation data go through in one piece."""

    def __init__(self, net: Net, X, y, X_val, y_val, threads: int):
        super().__init__(net, X, y, threads)
        self.X, self.y, self.B = torch.from_numpy(X), torch.from_numpy(y), net.batch
        self.X_val, self.y_val = torch.from_numpy(X_val), torch.from_numpy(y_val)

    def epochs(self, n: int) -> float:
        for _ in range(n):
            total = torch.zeros(())
            for X, y in self.shuffled():
                self.batches, self.at = [(X, y)], 0
                total += self.step().detach() * len(X)
            with torch.inference_mode():
                loss = self.validation_loss()
            total.item()
        return loss

    def validation_loss(self) -> float:
        z = self.module(self.X_val)
        (z.argmax(1) == self.y_val).float().mean().item()
        return nn.functional.cross_entropy(z, self.y_val).item()

    def shuffled(self):
        order = torch.randperm(len(self.X))
        X, y = self.X[order], self.y[order]
        return zip(X.split(self.B), y.split(self.B), strict=True)


class CompiledEpochs(Epochs, Compiled):
    pass


class LoaderEpochs(Epochs):
    """The loop of the tutorials: DataLoader over a TensorDataset, in this process."""

    def shuffled(self):
        data = torch.utils.data.TensorDataset(self.X, self.y)
        return torch.utils.data.DataLoader(data, self.B, shuffle=True)


def predict_one(net: Net, threads: int, compiled: bool = False):
    torch.set_num_threads(threads)
    made = module(net).eval()
    whole = nn.Sequential(made, nn.Softmax(-1)) if net.loss == "cross_entropy" else made
    run = torch.compile(whole, mode="max-autotune", dynamic=False) if compiled else whole

    def predict(x):
        with torch.inference_mode():
            return run(torch.from_numpy(x)).numpy()

    return predict


def predict_compiled(net: Net, threads: int):
    return predict_one(net, threads, True)


TRAINING = {"PyTorch": Eager, "torch.compile": Compiled}
EPOCH = {"PyTorch": Epochs, "torch.compile": CompiledEpochs, "PyTorch DataLoader": LoaderEpochs}
PREDICTION = {"PyTorch": predict_one, "torch.compile": predict_compiled}
