"""The layers of test_random_graphs.py from their definitions, evaluated one value after the other in float64: what both
machines must find in every mode.
"""

from types import SimpleNamespace

import numpy as np

import pynet as pn
from pynet import reference_random

ROWS = 6
MIX = np.cos(np.arange(200.0).reshape(20, 10))  # of python layers


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


PLAIN = {
    "identity": lambda x: x,
    "relu": lambda x: np.where(x > 0, x, 0),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "gelu": lambda x: pn.activations.evaluate("gelu", x),
    "function": lambda x: np.sin(2 * x) / 2,
}


def needs(ends, through_masks=True):
    """The values that `ends` are made of; without masks: those to which gradients flow down."""
    todo, seen = list(ends), set()
    while todo:
        value = todo.pop()
        if value not in seen:
            seen.add(value)
            todo += value.inputs if through_masks or not isinstance(value.layer, pn.LSTM) else value.inputs[:1]
    return seen


class Truth:
    """The values of a model by the definitions of its layers.

    `random`: numbers are drawn, those of (seed, step); `batch`: batch norms take the statistics of the batch, and
    leave in `running` what their running ones become.
    """

    def __init__(self, model, params, random=False, batch=False, weight=None, seed=0, step=0):
        self.model, self.params, self.random, self.batch = model, params, random, batch
        self.weight = np.ones(ROWS) if weight is None else weight
        self.seed, self.step = seed, step
        self.running = {}

    def values(self, X, ends=None):
        """Every value that `ends` (the outputs) need, [B, ...shape of a row]."""
        found, needed = {}, needs(self.model.outputs if ends is None else ends)
        for i, node in enumerate(self.model.nodes):
            if node not in needed:
                continue
            self.number, self.name = i, self.model.names[node.layer]
            if node.layer.is_input:
                x = X[self.model.inputs.index(node)]
                found[node] = x * (self.params[f"{self.name}.scale"] if node.layer.scale is not None else 1)
            else:
                y = getattr(self, type(node.layer).__name__.lower())(node.layer, *(found[v] for v in node.inputs))
                found[node] = y.reshape(ROWS, *node.shape)
        return found

    def p(self, suffix, default=None):
        return self.params.get(f"{self.name}.{suffix}", default)

    def draw(self, what, x):
        """Numbers of this layer and step, one for each element of a row."""
        place = SimpleNamespace(first_row=0, step=self.step, job=SimpleNamespace(seed=self.seed), dtype=np.float64)
        flat = (ROWS, x.size // ROWS)
        return what(place, SimpleNamespace(slot=self.number), flat).reshape(x.shape)

    def act(self, made, x):
        if made.name == "rrelu":
            a = (made.lower + made.upper) / 2
            if self.random:
                a = made.lower + (made.upper - made.lower) * self.draw(reference_random.uniforms, x)
            return np.where(x < 0, a * x, x)
        if made.name == "noisy_relu":
            s = np.sqrt(sigmoid(x)) if made.scale is None else made.scale
            return np.maximum(0, x + s * self.draw(reference_random.normals, x) * self.random)
        return PLAIN[made.name](x)

    def dense(self, layer, x):
        return self.act(layer.activation, x @ self.p("kernel") + self.p("bias", 0))

    def activation(self, layer, x):
        return self.act(layer.activation, x)

    def add(self, layer, *x):
        return sum(x)

    def concat(self, layer, *x):
        return np.concatenate(x, axis=1)

    def flatten(self, layer, x):
        return x

    gradientclip = flatten

    def dropout(self, layer, x):
        if not self.random:
            return x
        kept = self.draw(reference_random.sixteen_bits, x) >= round(layer.rate * 65536)
        return x * kept * (65536 / (65536 - round(layer.rate * 65536)))

    def gaussiannoise(self, layer, x):
        return x + layer.stddev * self.draw(reference_random.normals, x) * self.random

    def prelu(self, layer, x):
        slope = self.p("alpha") if layer.shared else self.p("alpha").reshape(x.shape[1:])
        return np.where(x > 0, x, slope * x)

    def pythonlayer(self, layer, x):
        return np.sin(x) @ MIX[: x.shape[1], : layer.output_size]

    def batchnorm(self, layer, x):
        mean, variance = self.p("mean"), self.p("variance")
        if self.batch and layer.trainable:
            share = self.weight[:, None] / self.weight.sum()
            mean = (share * x).sum(axis=0)
            variance = (share * (x - mean) ** 2).sum(axis=0)
            n = self.weight.sum() ** 2 / (self.weight**2).sum()
            for suffix, now in (("mean", mean), ("variance", variance * n / (n - 1))):
                old = self.running.get(f"{self.name}.{suffix}", self.p(suffix))
                self.running[f"{self.name}.{suffix}"] = layer.momentum * old + (1 - layer.momentum) * now
        return (x - mean) / np.sqrt(variance + layer.epsilon) * self.p("gamma") + self.p("beta")

    def layernorm(self, layer, x):
        normal = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + layer.epsilon)
        return normal * self.p("gamma", 1) + self.p("beta", 0)

    instancenorm = layernorm

    def lstm(self, layer, x, mask=None):
        h = c = np.zeros((ROWS, layer.units))
        out = []
        for t in range(x.shape[1]):
            gates = x[:, t] @ self.p("kernel") + h @ self.p("recurrent_kernel") + self.p("bias")
            i, f, a, q = (gates[:, k * layer.units : (k + 1) * layer.units] for k in range(4))
            now = sigmoid(f) * c + sigmoid(i) * np.tanh(a)
            there = np.ones((ROWS, 1), bool) if mask is None else mask[:, t : t + 1] > 0.5
            h = np.where(there, sigmoid(q) * np.tanh(now), h)
            c = np.where(there, now, c)
            out.append(h)
        return np.stack(out, axis=1) if layer.return_sequences else h


def row_losses(loss, y, target):
    y = y.reshape(ROWS, -1)
    if loss == "mse":
        return ((y - target) ** 2).mean(axis=1)
    if loss == "cross_entropy":
        return -np.log(y[np.arange(ROWS), target])
    if loss == "binary_cross_entropy":
        return -(target * np.log(y) + (1 - target) * np.log(1 - y)).mean(axis=1)
    return ((y - target) ** 2).sum(axis=1) / 2


def true_loss(model, params, X, chosen, **how):
    """The loss, and what the running statistics become."""
    truth = Truth(model, params, **how)
    ends = [v for v, (loss, _) in zip(model.outputs, chosen, strict=True) if loss]
    values, below = truth.values(X, ends), {v.layer for v in needs(ends, through_masks=False)}
    total = sum(
        layer.l2 * (params[f"{name}.kernel"] ** 2).sum()
        for layer, name in model.names.items()
        if isinstance(layer, pn.Dense) and layer.trainable and layer in below
    )
    for value, (loss, target) in zip(model.outputs, chosen, strict=True):
        if loss:
            total += (truth.weight * row_losses(loss, values[value], target)).sum() / truth.weight.sum()
    return total, truth.running
