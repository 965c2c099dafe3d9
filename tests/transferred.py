"""The net, the data and the training with which transfer and the loading of weights are tested."""

import numpy as np

import pynet as pn


def data(n=48, width=6, classes=3):
    rng = np.random.default_rng(3)
    return rng.normal(size=(n, width)), rng.integers(0, classes, n)


def net(dtype="float32", head=3, seed=1):
    """A body in whose way stands everything that moves weights or statistics, and a head."""
    x = pn.Input(6, scale=0.5)
    h = pn.Dense(16, "relu", l1=1e-3, l2=1e-2, max_norm=1.0, name="low")(x)
    h = pn.BatchNorm(name="norm")(h)
    h = pn.PReLU(name="features")(pn.Dense(8, name="middle")(h))
    return pn.Model(x, pn.Dense(head, "softmax", name="head")(h), dtype=dtype, random_state=seed)


def train(model, backend, optimizer=None, epochs=2, **options):
    trainer = pn.Trainer(model, "cross_entropy", optimizer or pn.SGD(0.05), backend=backend, **options)
    trainer.fit(*data(), epochs=epochs, batch_size=16, verbose=0)
    return trainer


def bits(model) -> dict:
    return {name: array.tobytes() for name, array in model.parameters().items()}
