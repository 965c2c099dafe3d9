"""What the tests of second order share: small nets, their data, and the loss as a function of all that trains."""

import numpy as np

import pynet as pn
from pynet import _core
from pynet.plan import build
from pynet.second_order import searched

BACKENDS = ("c", "numpy")
rng = np.random.default_rng(3)
X = rng.uniform(-1, 1, (60, 2))
Y = np.column_stack([np.sin(3 * X[:, 0]) * X[:, 1], X[:, 0] - X[:, 1] ** 2])
WEIGHT = rng.uniform(0.2, 2, 60)
WEIGHT[::7] = 0


def surrogate(dtype="float64", outputs=2, l2=1e-4, units=5, head_l2=0.0):
    """A net of two layers."""
    layers = [pn.Input(2, scale=1.5), pn.Dense(units, "tanh", l2=l2), pn.Dense(outputs, l2=head_l2)]
    return pn.Sequential(layers, dtype=dtype, random_state=4)


def fitted(model, optimizer, epochs, X=X, y=Y, loss="mse", backend="c", **options):
    """The trainer after a fit."""
    trainer = pn.Trainer(model, loss, optimizer, backend=backend)
    trainer.fit(X, y, epochs=epochs, verbose=0, **options)
    return trainer


def places(model, loss="mse"):
    """Where the weights that are searched stand in the arena."""
    trainer = pn.Trainer(model, loss)
    targets = [np.zeros(1, np.int64) if made.name == "cross_entropy" else None for made in trainer.heads.losses]
    return searched(build(model, trainer.heads.resolve(targets)), model.weights)


class Function:
    """Loss and gradient of a model over data, by vectors of what is searched; computed by evaluate and gradients."""

    def __init__(self, model, loss, X, y, weight=None):
        self.model, self.data = model, (X, y)
        self.trainer, self.places = pn.Trainer(model, loss), places(model, loss)
        self.weight, self.start = weight, model.arena[places(model, loss)].copy()

    def __call__(self, x):
        self.model.arena[self.places] = x
        gradients = self.trainer.gradients(*self.data, sample_weight=self.weight)
        arena = _core.aligned(self.model.weights.elems, self.model.dtype)
        for weight, record in zip(self.model.weights, self.model.weights.records, strict=True):
            if weight.name in gradients:
                pn.plan.pack(arena, record, gradients[weight.name])
        return self.trainer.evaluate(*self.data, sample_weight=self.weight)["loss"], arena[self.places].astype(float)

    def predict(self, x):
        self.model.arena[self.places] = x
        return self.model.predict(self.data[0])


def jacobian(function: Function, x, h=1e-6):
    """The derivatives [rows * outputs, n] of all predictions, by central differences."""
    columns = [function.predict(x + h * e) - function.predict(x - h * e) for e in np.eye(len(x))]
    function.model.arena[function.places] = x
    return np.stack([column.reshape(-1) for column in columns], axis=1) / (2 * h)
