"""The nets of the race: sizes, batches, losses; their first weights and their data, the same for every system."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8  # Adam's, for all


@dataclass(frozen=True)
class Net:
    """A ReLU net with a softmax head and cross-entropy, or with a linear head and mean squared error."""

    sizes: tuple[int, ...]
    batch: int
    loss: str = "cross_entropy"

    @property
    def name(self) -> str:
        return "-".join(map(str, self.sizes))

    @property
    def weights(self) -> int:
        """Return the number of weights without biases."""
        return sum(a * b for a, b in pairwise(self.sizes))

    def first_weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return [(kernel (I, O), bias (O,))], He-normal, float32."""
        rng = np.random.default_rng(1)
        return [
            (rng.normal(size=(i, o), scale=np.sqrt(2 / i)).astype(np.float32), np.zeros(o, np.float32))
            for i, o in pairwise(self.sizes)
        ]

    def data(self, batches: int) -> tuple[np.ndarray, np.ndarray]:
        """Return X (batches B, I) and y: (batches B, O) for mse, else labels (batches B,)."""
        rng = np.random.default_rng(0)
        rows = batches * self.batch
        X = rng.standard_normal((rows, self.sizes[0]), np.float32)
        if self.loss == "mse":
            return X, rng.standard_normal((rows, self.sizes[-1]), np.float32)
        return X, rng.integers(0, self.sizes[-1], rows)

    def of_an_epoch(self, folder: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return X, y, X_val, y_val: MNIST, whose pixels are mostly 0, in float32; without a folder random numbers."""
        if folder is None:
            return *self.learnable(60_000, 0), *self.learnable(10_000, 1)
        sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        import mnist_files

        X, y, X_val, y_val = mnist_files.load(folder)
        return X / np.float32(255), y.astype(int), X_val / np.float32(255), y_val.astype(int)

    def learnable(self, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return X (rows, I) and y (rows,): the largest of O fixed linear functions, a lot to learn."""
        rules = np.random.default_rng(2).standard_normal((self.sizes[0], self.sizes[-1]), np.float32)
        X = np.random.default_rng(seed).standard_normal((rows, self.sizes[0]), np.float32)
        return X, (X @ rules).argmax(1)


SMALL, MEDIUM, MNIST, LARGE = (4, 32, 32, 1), (64, 64, 64, 10), (784, 128, 10), (784, 512, 256, 10)
STEPS = [
    *(Net(SMALL, b, "mse") for b in (1, 32)),
    *(Net(MEDIUM, b) for b in (1, 32, 256)),
    *(Net(MNIST, b) for b in (1, 32, 128)),
    *(Net(LARGE, b) for b in (64, 128, 1024)),
    Net((1024,) * 4, 256, "mse"),
    Net((4096,) * 3, 512, "mse"),
]
EPOCH = Net(MNIST, 128)
PREDICTIONS = [Net(SMALL, 1, "mse"), Net(MEDIUM, 1), Net(MNIST, 1)]
