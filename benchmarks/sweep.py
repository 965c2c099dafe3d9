"""Is there a cliff?  A step of width-width-width over batches 1..300 and widths 1..600, each beside its neighbours.

python benchmarks/sweep.py [--threads 1] [--json FILE] [--plot FILE] [--quick]

Cost model of a step: c0 + c1 batch V + FLOPs / peak + Adam's update (calibrate.py), widths taken in whole vectors V of
16; c1 is what the vector of a row costs at width 1, where it is gathered, activated and scored.  A cell is a cliff if
its time over the model is more than 15 % above that of its neighbour, the next smaller batch or width; cells that look
like one are measured up to forty times more, with that neighbour, over minutes and each time in other memory; the least
times count.
Adam, mean squared error, float32.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
from calibrate import Limits, cpu_name

import pynet as pn

ALLOWED = 1.15
BATCHES = (1, 2, 3, 4, 6, 8, 11, 14, 15, 16, 17, 24, 28, 29, 32, 33, 48, 64, 65, 96, 128, 129, 192, 256, 257, 300)
WIDTHS = sorted({1, 2, 4, 8, *(w + d for w in range(16, 601, 16) for d in (-1, 0, 1))})


def seconds(width: int, batch: int, threads: int, repeats: int) -> float:
    """Return the least time of one step inside fit."""
    layers = [pn.Input(width), pn.Dense(width, "relu"), pn.Dense(width)]
    trainer = pn.Trainer(pn.Sequential(layers), "mse", pn.Adam(1e-5), n_threads=threads)
    steps = int(min(max(4, 2e8 / (12 * batch * width * width + 1e5)), 2000))
    X = np.random.default_rng(0).standard_normal((steps * batch, width), np.float32)
    best = float("inf")
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        trainer.fit(X, X, epochs=1, batch_size=batch, shuffle=False, verbose=0)
        best = min(best, time.perf_counter() - begun)
    return best / steps


class Model:
    """Seconds that a step may take."""

    def __init__(self, limits: Limits, threads: int):
        self.limits, self.threads = limits, threads
        self.one = self.many = float("inf")
        self.bandwidths = {size: limits.bandwidth(size, threads) for size in {self.size(width) for width in WIDTHS}}
        self.measure()

    def measure(self, widths=()) -> None:
        """Measure c0, c1 and the bandwidth for some widths once more: least times here as well."""
        for size in {self.size(width) for width in widths}:
            self.bandwidths[size] = self.limits.bandwidth(size, self.threads, again=True)
        self.one = min(self.one, seconds(1, 1, self.threads, 9))
        self.many = min(self.many, seconds(1, 256, self.threads, 9))
        self.row = (self.many - self.one) / 255
        self.floor = self.one - self.row

    @staticmethod
    def params(width: int) -> int:
        """Return how many parameters are updated, padding included."""
        return 2 * (width + 1) * (-(-width // 16) * 16)

    def size(self, width: int) -> int:
        """Return for how many parameters the bandwidth counts: it falls from cache to cache."""
        return int(2 ** (np.ceil(4 * np.log2(self.params(width))) / 4))

    def __call__(self, width: int, batch: int) -> float:
        whole = -(-width // 16) * 16
        flops = 2 * batch * width * whole * 5  # two forward, one dx, two dw
        # no arrays have less than larger ones: their pages were an unlucky choice then, and would be to the end
        bandwidth = max(b for size, b in self.bandwidths.items() if size >= self.size(width))
        update = max(28 / bandwidth, 1 / (self.limits.roots * self.threads)) * self.params(width)
        return (
            self.floor + batch * self.row * (whole // 16) + (flops / (self.limits.peak * self.threads) + update) * 1e-9
        )


def cliffs(times: dict, model: Model) -> list[tuple]:
    """Return (batch, width, neighbour, excess) of the cells that are too dear."""
    found = []
    for (batch, width), t in times.items():
        for other in ((batch, before(WIDTHS, width)), (before(BATCHES, batch), width)):
            if other in times:
                excess = t / model(width, batch) / (times[other] / model(other[1], other[0]))
                if excess > ALLOWED:
                    found.append((batch, width, other, excess))
    return found


def before(values, value):
    """Return the next smaller one, or None."""
    smaller = [v for v in values if v < value]
    return max(smaller) if smaller else None


def draw(times: dict, model: Model, path: str, title: str) -> None:
    """Write the picture: time of each cell over the model's."""
    import matplotlib.pyplot as plt

    batches, widths = sorted({b for b, _ in times}), sorted({w for _, w in times})
    ratio = np.array([[times[b, w] / model(w, b) for w in widths] for b in batches])
    figure, ax = plt.subplots(figsize=(10, 4.5), layout="constrained")
    edges = np.arange(len(widths) + 1), np.arange(len(batches) + 1)
    image = ax.pcolormesh(*edges, ratio, vmin=1, vmax=2, cmap="viridis_r")
    ticks = [i for i, w in enumerate(widths) if w in (1, 16, 64, 128, 256, 384, 512, 592)]
    ax.set_xticks([i + 0.5 for i in ticks], [str(widths[i]) for i in ticks])
    ax.set_yticks(np.arange(len(batches)) + 0.5, [str(b) for b in batches], fontsize=7)
    ax.set(xlabel="width (steps of 1 around multiples of 16)", ylabel="batch", title=title)
    figure.colorbar(image, label="time of a step / cost model")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="every fifth width, every third batch")
    parser.add_argument("--json"), parser.add_argument("--plot")
    chosen = parser.parse_args()
    global WIDTHS, BATCHES
    if chosen.quick:
        WIDTHS, BATCHES = WIDTHS[::5], BATCHES[::3]
    limits = Limits()
    model = Model(limits, chosen.threads)
    times = {}
    for batch in BATCHES:
        for width in WIDTHS:
            times[batch, width] = seconds(width, batch, chosen.threads, 3)
        if sys.stderr.isatty():
            print(f"batch {batch}", end="\r", file=sys.stderr)
    for _ in range(40):  # what looks like a cliff, and its neighbour, once more
        suspects = cliffs(times, model)
        time.sleep(4 if suspects else 0)  # a machine can be slow for half a minute: not in all of these
        model.measure({w for _, width, other, _ in suspects for w in (width, other[1])})
        for batch, width, other, _ in suspects:
            for b, w in ((batch, width), other):
                times[b, w] = min(times[b, w], seconds(w, b, chosen.threads, 5))
    found = cliffs(times, model)
    for batch, width, other, excess in sorted(found, key=lambda c: -c[3]):
        where = f"batch {batch:3d} width {width:3d}: {times[batch, width] * 1e6:9.2f} us"
        print(f"{where}, {100 * (excess - 1):.0f} % dearer than batch {other[0]} width {other[1]} and the model allow")
    ratio = [t / model(w, b) for (b, w), t in times.items()]
    print(f"{cpu_name()}, {chosen.threads} thread(s): {len(times)} cells, {len(found)} cliffs; time over model: median "
          f"{np.median(ratio):.2f}, 95 % below {np.quantile(ratio, 0.95):.2f}")  # fmt: skip
    if chosen.json:
        cells = [{"batch": b, "width": w, "us": t * 1e6, "model_us": model(w, b) * 1e6} for (b, w), t in times.items()]
        worst = [{"batch": b, "width": w, "than": other, "excess": e} for b, w, other, e in found]
        with open(chosen.json, "w") as file:
            json.dump({"cpu": cpu_name(), "threads": chosen.threads, "cliffs": worst, "cells": cells}, file)
    if chosen.plot:
        draw(times, model, chosen.plot, f"{cpu_name()}, {chosen.threads} thread(s)")


if __name__ == "__main__":
    main()
