"""What zeros of the input save: Adam steps inside fit on rows of which some numbers are 0, over those on full rows.

python benchmarks/zeros.py [--threads 1] [--mnist FOLDER] [--rounds 9] [--json FILE]

Every number is 0 or not by itself (in pixels and in codes zeros come together, which is easier), or, with the four
files of MNIST, the rows are its pixels.  The shares of a net take turns of 0.1 s; figures are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from dataclasses import dataclass

import mnist_files
import numpy as np
from calibrate import HERE, cpu_name
from threads import Contestant

sys.path.insert(0, os.path.join(HERE, "peers"))
from cases import MNIST, Net

SHARES = 1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.03, 0.01
SIZES = (784, 32, 10), (784, 300, 100, 10), (784, 1024, 10), (100, 64, 10), (5000, 64, 2)
NETS = [(MNIST, 16), (MNIST, 32), (MNIST, 128), *((sizes, 64) for sizes in SIZES)]


@dataclass(frozen=True)
class Thinned(Net):
    """A net whose inputs are mostly 0."""

    share: float | None = 1.0  # of the numbers that are not; None: MNIST's pixels
    folder: str | None = None

    def data(self, batches: int) -> tuple[np.ndarray, np.ndarray]:
        if self.share is None:
            pixels, y = mnist_files.load(self.folder)[:2]
            rows = np.arange(batches * self.batch) % len(pixels)
            return pixels[rows] / np.float32(255), y[rows].astype(int)
        X, y = super().data(batches)
        return X * (np.random.default_rng(3).random(X.shape, np.float32) < self.share), y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mnist", metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json")
    chosen = parser.parse_args()
    if chosen.mnist and not os.path.isdir(chosen.mnist):
        parser.error(f"--mnist: there is no folder {chosen.mnist}")
    print(f"{cpu_name()}, {chosen.threads} thread(s); of a step on full rows\n")
    print(f"{'':24s}{'full, us':>9s}" + "".join(f"{share:7.0%}" for share in SHARES[1:]) + "  MNIST")
    cells = []
    for sizes, batch in NETS:
        shares = [*SHARES, None] if chosen.mnist and sizes[0] == 784 else [*SHARES]
        nets = [Thinned(sizes, batch, share=share, folder=chosen.mnist) for share in shares]
        contestants = [Contestant(net, chosen.threads) for net in nets]
        for k in range(chosen.rounds):
            for contestant in contestants[:: 1 - 2 * (k % 2)]:
                contestant.found.append(contestant.turn(contestant.steps))
        full = contestants[0].found
        of_full = [statistics.median(a / b for a, b in zip(c.found, full, strict=True)) for c in contestants[1:]]
        us = statistics.median(full) * 1e6
        print(f"{nets[0].name:18s}@{batch:<5d}{us:9.1f}" + "".join(f"{ratio:7.2f}" for ratio in of_full), flush=True)
        cells.append({"net": nets[0].name, "batch": batch, "us": us, "shares": shares[1:], "of_full": of_full})
    if chosen.json:
        with open(chosen.json, "w") as file:
            json.dump({"cpu": cpu_name(), "threads": chosen.threads, "cells": cells}, file, indent=1)


if __name__ == "__main__":
    main()
