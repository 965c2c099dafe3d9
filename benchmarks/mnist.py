"""MNIST, 784-256-10, ReLU, Adam, batch 128, 10 epochs: accuracy and time; then one epoch of both machines.

python benchmarks/mnist.py FOLDER

FOLDER holds the four original files (train-images-idx3-ubyte.gz, ...).
"""

from __future__ import annotations

import argparse
import statistics
import time

from mnist_files import load

import pynet as pn


def trainer(backend: str, threads: int | None) -> pn.Trainer:
    """Return a fresh net and its trainer."""
    model = pn.Sequential(
        [pn.Input(784, scale=1 / 255), pn.Dense(256, activation="relu"), pn.Dense(10, activation="softmax")]
    )
    return pn.Trainer(model, "cross_entropy", pn.Adam(1e-3), ["accuracy"], backend=backend, n_threads=threads)


class Clock(pn.Callback):
    """Seconds of each epoch, validation included."""

    def __init__(self):
        self.seconds = []

    def on_epoch_begin(self, trainer, epoch):
        self.begun = time.perf_counter()

    def on_epoch_end(self, trainer, epoch, logs):
        self.seconds.append(time.perf_counter() - self.begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    X, y, X_test, y_test = load(arguments.folder)

    clock = Clock()
    t = trainer("c", arguments.threads)
    t.fit(X, y, epochs=10, batch_size=128, validation_data=(X_test, y_test), callbacks=[clock], verbose=2)
    accuracy = t.evaluate(X_test, y_test)["accuracy"]
    print(f"test accuracy {accuracy:.2%}, median {statistics.median(clock.seconds):.3f} s an epoch of 60000 rows")

    scores = {}
    for backend in ("c", "numpy"):
        t = trainer(backend, arguments.threads)
        t.fit(X, y, epochs=1, batch_size=128, verbose=0)
        scores[backend] = t.evaluate(X_test, y_test)
        print(
            f"one epoch, {backend:5s}  loss {scores[backend]['loss']:.6f}  accuracy {scores[backend]['accuracy']:.2%}"
        )
    points = abs(scores["c"]["accuracy"] - scores["numpy"]["accuracy"]) * 100
    print(f"difference of the machines: {points:.2f} percentage points")


if __name__ == "__main__":
    main()
