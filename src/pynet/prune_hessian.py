"""The second derivatives of a network's loss by its parameters, from gradients in float64; for small networks."""

from __future__ import annotations

import numpy as np

from . import _core
from .opened import clone
from .trainer import Trainer

__all__ = ["Curvature", "default_loss"]

MOST = 4000  # parameters whose whole Hessian is taken


def default_loss(model) -> list[str]:
    """Return the loss that fits the last activation of each output."""
    fitting = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}
    return [fitting.get(value.activation.name if value.activation else "", "mse") for value in model.outputs]


class Curvature:
    """The loss of a model over (X, y) as a function of all its trainable parameters, laid one behind the other.

    Attributes
    ----------
    values : float64 array [n]
        The weights to prune.
    """

    def __init__(self, model, X, y, loss, targets: list[str]):
        self.model = clone(model, "float64")
        losses = default_loss(model) if loss is None else loss
        loss = losses[0] if isinstance(losses, list) and len(losses) == 1 else losses
        self.trainer, self.data = Trainer(self.model, loss, "sgd"), (X, y)
        self.start = {name: array.copy() for name, array in self.model.parameters().items()}
        trained = self.trainer.gradients(X, y)
        self.names = [name for name in self.start if name in trained]
        missing = [name for name in targets if name not in self.names]
        if missing:
            raise ValueError(f"the loss does not depend on {missing[0]!r}")
        self.targets = targets
        parts = [np.full(self.start[name].size, name in targets) for name in self.names]
        self.is_target = np.concatenate(parts)
        self.all_values = self._flat(self.start)
        self.values = self.all_values[self.is_target]

    def _flat(self, arrays: dict) -> np.ndarray:
        return np.concatenate([np.asarray(arrays[name], np.float64).reshape(-1) for name in self.names])

    def _named(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        result, at = {}, 0
        for name in self.names:
            shape = self.start[name].shape
            size = int(np.prod(shape))
            result[name] = flat[at : at + size].reshape(shape)
            at += size
        return result

    def split(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Return {name: array} of numbers that belong to the weights to prune."""
        whole = np.zeros(self.is_target.size)
        whole[self.is_target] = flat
        return {name: array for name, array in self._named(whole).items() if name in self.targets}

    def gradient(self, flat: np.ndarray) -> np.ndarray:
        """Return the gradient of the loss where the parameters are `flat`."""
        self.model.weights.put(self._named(flat))
        return self._flat(self.trainer.gradients(*self.data))

    def product(self, v: np.ndarray) -> np.ndarray:
        """Return H v, by the difference of two gradients; its error is of second order in the step."""
        h = np.cbrt(np.finfo(float).eps) * max(1.0, np.abs(self.all_values).max()) / np.abs(v).max()
        return (self.gradient(self.all_values + h * v) - self.gradient(self.all_values - h * v)) / (2 * h)

    def diagonal(self, probes: int | None, random_state: int) -> np.ndarray:
        """Return the diagonal of H over the weights to prune: see prune.obd."""
        places = np.flatnonzero(self.is_target)
        result = np.zeros(self.is_target.size)
        if probes is None:
            for place in places:
                unit = np.zeros(self.is_target.size)
                unit[place] = 1
                result[place] = self.product(unit)[place]
            return result[places]
        rng = np.random.default_rng(random_state)
        for _ in range(probes):  # E[v * H v] is the diagonal where the v_q are independent signs
            v = np.where(rng.random(self.is_target.size) < 0.5, -1.0, 1.0)
            v[~self.is_target] = 0
            result += v * self.product(v) / probes
        return result[places]

    def hessian(self) -> np.ndarray:
        """Return H over all trainable parameters."""
        n = self.is_target.size
        if n > MOST:
            raise ValueError(f"the whole Hessian is for at most {MOST} parameters, the model has {n}; use 'layers'")
        H = np.stack([self.product(unit) for unit in np.eye(n)])
        return (H + H.T) / 2

    def surgeon_costs(self, damping: float) -> np.ndarray:
        """Return the cost at which each weight to prune goes; keeps what `compensated` needs."""
        H = self.hessian()
        least = min(float(np.linalg.eigvalsh(H)[0]), 0.0)  # below 0 where the model is at no minimum
        H += np.eye(len(H)) * (damping * np.abs(np.diag(H)).mean() - least or 1.0)
        self.inverse = np.linalg.inv(H)
        inverse = np.ascontiguousarray(self.inverse[np.ix_(self.is_target, self.is_target)][None])
        order, cost = _core.obs(inverse, self.values[None], self.values.size)
        result = np.empty(self.values.size)
        result[order[0]] = np.maximum.accumulate(cost[0])
        return result

    def compensated(self, masks: dict) -> dict[str, np.ndarray]:
        """Return all parameters where the weights outside of the masks are 0 and the others make up for them."""
        keeps = {name: masks.get(name, np.ones(self.start[name].shape, bool)) for name in self.names}
        gone = np.flatnonzero(~self._flat(keeps).astype(bool))
        if not len(gone):
            return self._named(self.all_values)
        pull = np.linalg.solve(self.inverse[np.ix_(gone, gone)], self.all_values[gone])
        result = self.all_values - self.inverse[:, gone] @ pull
        result[gone] = 0
        return self._named(result)
