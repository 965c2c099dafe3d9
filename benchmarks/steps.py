"""Training steps and one-row predictions against the physical limit and against the NumPy twin.

python benchmarks/steps.py [--json FILE] [--threads 1] [--quick]

The limit is that of calibrate.py.  pynet, twin and peak are measured in turns in one process; the figures are medians,
and the twin is first checked to compute the same losses.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time

THREADS = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv else "1"
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[name] = THREADS  # before NumPy loads its BLAS: the twin gets as many threads as pynet

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers"))

import numpy as np  # noqa: E402
from calibrate import Limits, cpu_name  # noqa: E402
from cases import PREDICTIONS, STEPS, Net  # noqa: E402
from with_pynet import model  # noqa: E402

import pynet as pn  # noqa: E402


class Race:
    """One case: trainers of both backends over the same data."""

    def __init__(self, net: Net, threads: int):
        self.steps, self.batch = int(min(max(3e9 / (6 * net.batch * net.weights), 8), 3000)), net.batch
        self.X, self.y = net.data(self.steps)
        adam = {"optimizer": pn.Adam(1e-4), "random_state": 1}
        self.c = pn.Trainer(model(net), net.loss, n_threads=threads, **adam)
        self.twin = pn.Trainer(model(net), net.loss, backend="numpy", **adam)
        self.twin_rows = min(len(self.X), net.batch * max(3, self.steps // 40))
        self.check()

    def check(self) -> None:
        """Both machines take the same steps."""
        n = 3 * self.batch
        losses = [t.fit(self.X[:n], self.y[:n], **self.how).history["loss"][-1] for t in (self.c, self.twin)]
        if not np.isclose(losses[0], losses[1], rtol=1e-4):
            raise SystemExit(f"the machines disagree: losses {losses}")

    @property
    def how(self) -> dict:
        return {"epochs": 1, "batch_size": self.batch, "shuffle": False, "verbose": 0}

    def seconds(self, trainer: pn.Trainer, rows: int) -> float:
        """Return the time of one step inside fit, over `rows` rows."""
        begun = time.perf_counter()
        trainer.fit(self.X[:rows], self.y[:rows], **self.how)
        return (time.perf_counter() - begun) / (rows / self.batch)


def race_steps(limits: Limits, threads: int, repeats: int) -> list[dict]:
    """Race every case; print a line each."""
    print(f"{'step':24s} {'batch':>5s} {'pynet':>10s} {'twin':>10s} {'x':>6s} {'limit':>10s} {'of limit':>9s}")
    rows = []
    for net in STEPS:
        case = Race(net, threads)
        ours, twins, bounds = [], [], []
        for _ in range(repeats):  # in turns: a slow moment hits all
            ours.append(case.seconds(case.c, len(case.X)))
            twins.append(case.seconds(case.twin, case.twin_rows))
            limits.peak = limits.measure_peak()
            bounds.append(limits.step_seconds(list(net.sizes), net.batch, threads))
        ours_s, twin_s, limit = (statistics.median(v) for v in (ours, twins, bounds))
        name, batch = net.name, net.batch
        rows.append({"net": name, "batch": batch, "pynet_us": ours_s * 1e6, "twin_us": twin_s * 1e6,
                     "limit_us": limit * 1e6})  # fmt: skip
        print(
            f"{name:24s} {batch:5d} {ours_s * 1e6:8.1f}us {twin_s * 1e6:8.1f}us {twin_s / ours_s:6.1f} "
            f"{limit * 1e6:8.1f}us {ours_s / limit:8.2f}x"
        )
    return rows


def race_predict(repeats: int) -> list[dict]:
    """Time one-row predictions from Python."""
    print(f"\n{'predict_one':24s} {'new array':>10s} {'out=':>10s}")
    rows = []
    for net in PREDICTIONS:
        sizes, one = net.sizes, model(net)
        x, out, n = np.ones(sizes[0], np.float32), np.empty(sizes[-1], np.float32), 20_000
        one.predict_one(x)
        predict = one.predict_one
        fresh, filled = [], []
        for _ in range(repeats):
            begun = time.perf_counter()
            for _ in range(n):
                predict(x)
            fresh.append((time.perf_counter() - begun) / n)
            begun = time.perf_counter()
            for _ in range(n):
                predict(x, out)
            filled.append((time.perf_counter() - begun) / n)
        a, b = statistics.median(fresh) * 1e6, statistics.median(filled) * 1e6
        name = net.name
        rows.append({"net": name, "new_us": a, "out_us": b})
        print(f"{name:24s} {a:8.2f}us {b:8.2f}us")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 9")
    arguments = parser.parse_args()
    repeats = 3 if arguments.quick else 9
    limits = Limits()
    info = pn.cpu_info()
    print(f"{cpu_name()}, {info['isa']}, {arguments.threads} thread(s), FMA peak {limits.peak:.0f} GFLOP/s a core\n")
    steps = race_steps(limits, arguments.threads, repeats)
    result = {"cpu": cpu_name(), "isa": info["isa"], "threads": arguments.threads, "peak_gflops": limits.peak,
              "steps": steps, "predict_one": race_predict(repeats)}  # fmt: skip
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
