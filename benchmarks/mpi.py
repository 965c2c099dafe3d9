"""What a step on several ranks costs beyond the step of a rank's rows and the allreduce of the gradient.

mpiexec -n 2 python benchmarks/mpi.py [--json FILE] [--rounds 150] [--shards S]

In turns, in the same processes: every rank trains by itself on batches as large as its part of the shared ones (plain);
all ranks train together (step); the same buffer is reduced as often, with nothing between (allreduce).  One thread a
rank, rounds of some 10 ms.  Ranks wait for each other, so a machine with anything else to do shows that: the figures
are the least of all rounds, of rank 0's times; overhead = step - plain - allreduce.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers"))

from calibrate import cpu_name
from cases import STEPS, Net
from mpi4py import MPI
from with_pynet import model

import pynet as pn

COMM = MPI.COMM_WORLD
NETS = ("64-64-64-10 @32", "784-128-10 @32", "784-128-10 @128", "784-512-256-10 @128", "1024-1024-1024-1024 @256")


class Clock(pn.Callback):
    """Seconds of the epochs."""

    def __init__(self):
        self.seconds = []

    def on_epoch_begin(self, trainer, epoch):
        self.begun = time.perf_counter()

    def on_epoch_end(self, trainer, epoch, logs):
        self.seconds.append(time.perf_counter() - self.begun)


def epoch(trainer: pn.Trainer, X, y, batch: int, **more) -> float:
    """Return the time of a step, in seconds."""
    clock = Clock()
    COMM.Barrier()
    trainer.fit(X, y, epochs=1, batch_size=batch, shuffle=False, callbacks=[clock], verbose=0, **more)
    return clock.seconds[0] / -(-len(X) // batch)


def allreduce(buffer, times: int) -> float:
    """Return the time of one, in seconds."""
    COMM.Barrier()
    begun = time.perf_counter()
    for _ in range(times):
        COMM.Allreduce(MPI.IN_PLACE, buffer)
    return (time.perf_counter() - begun) / times


def measure(net: Net, rounds: int, shards: int | None) -> dict:
    """Return one row of the table."""
    steps = int(min(max(3e8 / (6 * net.batch * net.weights), 4), 1000))
    X, y = net.data(steps * COMM.size)
    alone, together = (pn.Trainer(model(net), net.loss, pn.Adam(1e-4), n_threads=1) for _ in range(2))
    buffer = together._reduced.copy()
    times: dict[str, list[float]] = {"plain": [], "step": [], "allreduce": []}
    for turn in range(rounds + 1):
        now = {
            "plain": epoch(alone, X[: steps * net.batch], y[: steps * net.batch], net.batch),
            "step": epoch(together, X, y, net.batch * COMM.size, comm=COMM, shards=shards),
            "allreduce": allreduce(buffer, steps),
        }
        for name, seconds in now.items() if turn else ():  # the first warms up
            times[name].append(seconds)
    row = {name: min(seconds) for name, seconds in times.items()}
    row["overhead"] = row["step"] - row["plain"] - row["allreduce"]
    return {"net": net.name, "batch of a rank": net.batch, "bytes": buffer.nbytes, "steps": steps, **row}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--shards", type=int)
    chosen = parser.parse_args()
    rows = []
    for net in STEPS:
        if f"{net.name} @{net.batch}" not in NETS:
            continue
        rows.append(measure(net, chosen.rounds, chosen.shards))
        if COMM.rank == 0:
            row = rows[-1]
            print(
                f"{net.name:22s} @{net.batch:<5d} {row['bytes'] / 1e6:7.3f} MB  plain {row['plain'] * 1e6:9.1f} us  "
                f"allreduce {row['allreduce'] * 1e6:9.1f} us  step {row['step'] * 1e6:9.1f} us  "
                f"overhead {row['overhead'] * 1e6:8.1f} us, {row['overhead'] / row['allreduce']:+.1%} of the allreduce",
                flush=True,
            )
    if chosen.json and COMM.rank == 0:
        library = MPI.Get_library_version().split(",")[0].split("\n")[0]
        result = {"cpu": cpu_name(), "isa": pn.cpu_info()["isa"], "mpi": library, "ranks": COMM.size,
                  "shards": chosen.shards, "rounds": chosen.rounds, "seconds": rows}  # fmt: skip
        with open(chosen.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
