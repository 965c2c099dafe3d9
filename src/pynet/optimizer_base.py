"""What all optimizers have in common."""

from __future__ import annotations

import numpy as np

from . import _core, schedules
from ._check import number
from ._record import Record

__all__ = ["CALLABLE", "Optimizer"]

CALLABLE = "callable"  # stands in a config for a function that cannot be written


class Optimizer(Record):
    """Base of all optimizers.

    Parameters
    ----------
    learning_rate : float >= 0, schedule, or callable step -> rate
    weight_decay : float >= 0, default 0

    Attributes
    ----------
    learning_rate
        May be set between calls of fit.
    kind, n_slots : int
        Id and number of state arrays, of ``_core.OPTIMIZERS``.
    hyper : float64 array [8]
        The constants of the rule, as in ``csrc/kernels/update.h``.
    full_batch : bool
        Whether it is a search over all rows at once, see `SecondOrder`.
    """

    full_batch = False

    def __init__(self, learning_rate, weight_decay: float = 0.0) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = number("weight_decay", weight_decay, 0.0)

    @property
    def learning_rate(self):
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value) -> None:
        if isinstance(value, dict):
            value = schedules.get(value)
        if isinstance(value, str) and value == CALLABLE:
            raise ValueError(f"{self.name}: the learning rate was a function of yours: give that function again")
        if isinstance(value, type) or not callable(value):
            value = number("learning_rate", value, 0.0)
        self._learning_rate = value

    @property
    def rule(self) -> str:
        """Name of the update rule in ``_core.OPTIMIZERS``."""
        return self.name

    @property
    def kind(self) -> int:
        return _core.OPTIMIZERS[self.rule][0]

    @property
    def n_slots(self) -> int:
        return _core.OPTIMIZERS[self.rule][1]

    def constants(self) -> tuple[float, ...]:
        """Return hyper[0], hyper[1], ..."""
        return ()

    @property
    def hyper(self) -> np.ndarray:
        result = np.zeros(8)
        result[: len(self.constants())] = self.constants()
        result[7] = self.weight_decay
        return result

    def rates(self, step: int, count: int) -> np.ndarray:
        """Return the learning rates of updates step .. step+count-1, float64 [count].

        Raises
        ------
        ValueError
            If one of them is negative or not finite.
        """
        lr = self.learning_rate
        if isinstance(lr, schedules.Schedule):
            result = lr(np.arange(step, step + count))
        elif callable(lr):
            result = np.array([float(lr(s)) for s in range(step, step + count)], dtype=np.float64)
        else:
            return np.full(count, lr)
        bad = ~(np.isfinite(result) & (result >= 0))
        if bad.any():
            first = int(np.argmax(bad))
            raise ValueError(f"learning_rate must be finite and >= 0, got {result[first]} at step {step + first}")
        return result

    def config(self) -> dict:
        """Return a JSON-able dict; a plain callable learning rate is only mentioned in it."""
        config = super().config()
        return config | {"learning_rate": CALLABLE} if callable(config.get("learning_rate")) else config
