"""What an epoch of fit costs beside its steps: shuffling, scores of the validation data, history.

python benchmarks/epoch.py [--mnist FOLDER] [--threads 1] [--rounds 11] [--json FILE]

784-128-10 with Adam, 60 000 rows in batches of 128, 10 000 rows to validate: random numbers, and MNIST where its four
files are.  A round is three fits of three epochs each, in turns: with validation, without it, and in order without it.
What an epoch's steps take is the time inside the machine, slice by slice; figures are medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

import mnist_files
import numpy as np
from calibrate import cpu_name

import pynet as pn

EPOCHS = 3


class Timed(pn.Trainer):
    """A trainer that adds up the seconds that its steps take."""

    seconds = 0.0

    def _advance(self, *arguments):
        begun = time.perf_counter()
        done = super()._advance(*arguments)
        self.seconds += time.perf_counter() - begun
        return done


class Epochs(pn.Callback):
    """The seconds of all epochs, without what a fit does once before them."""

    seconds = 0.0

    def on_epoch_begin(self, trainer, epoch):
        self.begun = time.perf_counter()

    def on_epoch_end(self, trainer, epoch, logs):
        self.seconds += time.perf_counter() - self.begun


def seconds(trainer: Timed, X, y, **options) -> tuple[float, float]:
    """Return the seconds of an epoch, and of its steps."""
    epochs, trainer.seconds = Epochs(), 0.0
    trainer.fit(X, y, epochs=EPOCHS, batch_size=128, verbose=0, callbacks=[epochs], **options)
    return epochs.seconds / EPOCHS, trainer.seconds / EPOCHS


def compare(X, y, X_val, y_val, threads: int, rounds: int) -> dict[str, float]:
    """Return medians in milliseconds."""
    model = pn.Sequential([pn.Input(784), pn.Dense(128, "relu"), pn.Dense(10, "softmax")])
    trainer = Timed(model, "cross_entropy", pn.Adam(1e-3), ["accuracy"], n_threads=threads)
    found = []
    for _ in range(rounds + 1):  # the first one warms up
        epoch, steps = seconds(trainer, X, y, validation_data=(X_val, y_val))
        unvalidated, _ = seconds(trainer, X, y)
        _, in_order = seconds(trainer, X, y, shuffle=False)
        found.append((epoch, steps, unvalidated, in_order))
    names = "epoch", "its_steps", "without_validation", "steps_in_order"
    medians = [statistics.median(values) * 1e3 for values in zip(*found[1:], strict=True)]
    return dict(zip(names, medians, strict=True))


def data(folder: str | None):
    """Yield what there is: a name, and X, y, X_val, y_val."""
    random = np.random.default_rng(0)
    X, y = random.normal(size=(70000, 784)).astype(np.float32), random.integers(0, 10, 70000)
    yield "random numbers", X[:60000], y[:60000], X[60000:], y[60000:]
    if folder:
        X, y, X_val, y_val = mnist_files.load(folder)
        scale = np.float32(255)
        yield "MNIST", X / scale, y.astype(int), X_val / scale, y_val.astype(int)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mnist", metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json")
    chosen = parser.parse_args()
    if chosen.mnist and not os.path.isdir(chosen.mnist):
        parser.error(f"--mnist: there is no folder {chosen.mnist}")
    print(f"{cpu_name()}, {chosen.threads} thread(s); ms an epoch\n")
    print(f"{'':16s}{'epoch':>9s}{'its steps':>14s}{'not validated':>18s}{'steps in order':>18s}")
    cells = []
    for name, *arrays in data(chosen.mnist):
        ms = compare(*arrays, chosen.threads, chosen.rounds)
        epoch, *others = ms.values()
        of = "".join(f"{value:10.1f} ({epoch / value:.3f})" for value in others)
        print(f"{name:16s}{epoch:9.1f}{of}", flush=True)
        cells.append({"data": name, **ms})
    print("\nIn brackets: the epoch over what stands there.")
    if chosen.json:
        with open(chosen.json, "w") as file:
            json.dump({"cpu": cpu_name(), "threads": chosen.threads, "cells": cells}, file, indent=1)


if __name__ == "__main__":
    main()
