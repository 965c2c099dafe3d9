"""JAX: one jitted step with donated state, called from Python; and all steps in one jitted lax.scan."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from cases import BETA1, BETA2, EPSILON, RATE, Net


def apply(params, x):
    for W, b in params[:-1]:
        x = jax.nn.relu(x @ W + b)
    W, b = params[-1]
    return x @ W + b


def make_step(net: Net):
    """Return step(state, (X, y)) -> state, loss."""

    def loss(params, X, y):
        z = apply(params, X)
        if net.loss == "mse":
            return jnp.mean((z - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))

    def step(state, batch):
        params, m, v, t = state
        value, g = jax.value_and_grad(loss)(params, *batch)
        t = t + 1
        m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
        v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
        a, c = RATE / (1 - BETA1**t), 1 / jnp.sqrt(1 - BETA2**t)
        params = jax.tree.map(lambda p, m, v: p - a * m / (jnp.sqrt(v) * c + EPSILON), params, m, v)
        return (params, m, v, t), value

    return step


class Jit:
    """One call a step."""

    def __init__(self, net: Net, X, y, threads: int):
        self.setup(net)
        B = net.batch
        self.batches = [(jnp.asarray(X[i : i + B]), jnp.asarray(y[i : i + B])) for i in range(0, len(X), B)]
        self.step, self.at = jax.jit(make_step(net), donate_argnums=0), 0

    def setup(self, net: Net):
        params = [(jnp.asarray(W), jnp.asarray(b)) for W, b in net.first_weights()]
        zeros = jax.tree.map(jnp.zeros_like, params)
        self.state = (params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.float32(0))

    def losses(self, n: int) -> list[float]:
        return [float(self.one()) for _ in range(n)]

    def one(self):
        batch = self.batches[self.at]
        self.at = (self.at + 1) % len(self.batches)
        self.state, loss = self.step(self.state, batch)
        return loss

    def steps(self, n: int) -> None:
        for _ in range(n):
            loss = self.one()
        loss.block_until_ready()


class Scan(Jit):
    """One call for all batches there are."""

    def __init__(self, net: Net, X, y, threads: int):
        self.setup(net)
        B, self.at = net.batch, 0
        self.n = len(X) // B
        self.data = jnp.asarray(X.reshape(self.n, B, -1)), jnp.asarray(y.reshape(self.n, B, *y.shape[1:]))
        step = make_step(net)
        self.epoch = jax.jit(lambda state, data: jax.lax.scan(step, state, data), donate_argnums=0)

    def losses(self, n: int) -> list[float]:
        X, y = self.data
        self.state, losses = self.epoch(self.state, (X[:n], y[:n]))
        return [float(loss) for loss in losses]

    def steps(self, n: int) -> None:
        while n > 0:
            k = min(n, self.n)
            data = self.data if k == self.n else tuple(a[:k] for a in self.data)
            self.state, losses = self.epoch(self.state, data)
            n -= k
        losses.block_until_ready()


def predict_one(net: Net, threads: int):
    params = [(jnp.asarray(W), jnp.asarray(b)) for W, b in net.first_weights()]
    head = jax.nn.softmax if net.loss == "cross_entropy" else lambda z: z
    run = jax.jit(lambda x: head(apply(params, x)))
    return lambda x: np.asarray(run(x))


class Epochs(Scan):
    """Everything in one jitted function: the order, the gather, the steps of all whole batches (the last rows, fewer
    than a batch, are left out), the validation."""

    def __init__(self, net: Net, X, y, X_val, y_val, threads: int):
        self.setup(net)
        self.data = tuple(jnp.asarray(a) for a in (X, y, X_val, y_val))
        self.key, step, whole = jax.random.key(0), make_step(net), len(X) // net.batch

        def epoch(state, key, X, y, X_val, y_val):
            rows = jax.random.permutation(key, len(X))[: whole * net.batch].reshape(whole, net.batch)
            state, losses = jax.lax.scan(lambda s, r: step(s, (X[r], y[r])), state, rows)
            z = apply(state[0], X_val)
            loss = -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y_val[:, None], 1))
            return state, (losses.mean(), loss, (z.argmax(1) == y_val).mean())

        self.epoch = jax.jit(epoch, donate_argnums=0)

    def epochs(self, n: int) -> float:
        for _ in range(n):
            self.key, key = jax.random.split(self.key)
            self.state, logs = self.epoch(self.state, key, *self.data)
            logs = [float(value) for value in logs]
        return logs[1]


TRAINING = {"JAX jit": Jit, "JAX scan": Scan}
EPOCH = {"JAX scan": Epochs}
PREDICTION = {"JAX jit": predict_one}
