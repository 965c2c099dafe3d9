"""What a step on several ranks costs beyond the step of a rank's rows and the allreduce of the gradient.

mpiexec -n 2 python benchmarks/mpi.py [--json FILE] [--rounds 40] [--nets "784-128-10 @32" ...]

In turns, in the same processes: all ranks train together (step); every rank does the same with a communicator that
exchanges nothing (alone); the same buffer is reduced as often, with nothing between (allreduce).  And once, on a net of
some 1.4 us a step, what the machine and Python do around each exchange: alone - plain, a fit without ranks.

    overhead = (step - alone - allreduce) + (alone - plain)

One thread a rank.  Ranks wait for each other, so whatever else the machine does shows: the figures are of what was
hardly disturbed, the 5 % quantile of the times between the ends of two exchanges (plain: the least mean of a round).
They are rank 0's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers"))

import numpy as np
from calibrate import cpu_name
from cases import SMALL, STEPS, Net
from mpi4py import MPI
from with_pynet import model

import pynet as pn

COMM = MPI.COMM_WORLD
NETS = ("64-64-64-10 @32", "784-128-10 @32", "784-128-10 @128", "784-512-256-10 @128", "1024-1024-1024-1024 @256")


class Stamped:
    """The communicator, which notes when an allreduce ends."""

    def __init__(self):
        self.ends = []

    def __getattr__(self, name):
        return getattr(COMM, name)

    def Allreduce(self, sent, buffer):
        COMM.Allreduce(sent, buffer)
        self.ends.append(time.perf_counter())


class Idle(Stamped):
    """The same without any exchange: a rank by itself, with its part of the batches."""

    def allgather(self, thing):
        return [thing] * COMM.size

    def Allreduce(self, sent, buffer):
        self.ends.append(time.perf_counter())


class Clock(pn.Callback):
    """Seconds of the epochs."""

    def on_epoch_begin(self, trainer, epoch):
        self.begun = time.perf_counter()

    def on_epoch_end(self, trainer, epoch, logs):
        self.seconds = time.perf_counter() - self.begun


def low(stamps: list[list[float]]) -> float:
    """Return the 5 % quantile of the times between neighbours."""
    return float(np.quantile(np.concatenate([np.diff(s) for s in stamps]), 0.05))


def trainer(net: Net) -> pn.Trainer:
    return pn.Trainer(model(net), net.loss, pn.Adam(1e-4), n_threads=1)


def fit(made: pn.Trainer, X, y, batch: int, **more) -> float:
    """Return the mean time of a step, in seconds."""
    clock = Clock()
    COMM.Barrier()
    made.fit(X, y, epochs=1, batch_size=batch, shuffle=False, callbacks=[clock], verbose=0, **more)
    return clock.seconds / -(-len(X) // batch)


def around(rounds: int) -> float:
    """Return what every step has around its exchange, in seconds."""
    net = Net(SMALL, 1, "mse")
    X, y = net.data(COMM.size * 2000)
    idle, apart, alone = Idle(), trainer(net), trainer(net)
    plain = []
    for _ in range(2 * rounds):  # of 3 ms
        fit(apart, X, y, COMM.size, comm=idle)
        plain.append(fit(alone, X[:2000], y[:2000], 1))
    return low([idle.ends]) - min(plain)


def measure(net: Net, rounds: int) -> dict:
    """Return one row of the table."""
    steps = int(min(max(3e8 / (6 * net.batch * net.weights), 8), 1000))
    X, y = net.data(steps * COMM.size)
    together, apart = trainer(net), trainer(net)
    buffer = together._reduced.copy()
    step, alone, allreduce = [], [], []
    for _ in range(rounds):
        for made, comm, stamps in ((together, Stamped(), step), (apart, Idle(), alone)):
            fit(made, X, y, net.batch * COMM.size, comm=comm)
            stamps.append(comm.ends)
        comm = Stamped()
        COMM.Barrier()
        for _ in range(steps):
            comm.Allreduce(MPI.IN_PLACE, buffer)
        allreduce.append(comm.ends)
    times = {"step": low(step), "alone": low(alone), "allreduce": low(allreduce)}
    return {"net": net.name, "batch of a rank": net.batch, "bytes": buffer.nbytes, "steps": steps * rounds, **times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS)
    chosen = parser.parse_args()
    own = around(chosen.rounds)
    rows = []
    if COMM.rank == 0:
        print(f"around each exchange {own * 1e6:.2f} us", flush=True)
    for net in STEPS:
        if f"{net.name} @{net.batch}" not in chosen.nets:
            continue
        row = measure(net, chosen.rounds)
        row["overhead"] = row["step"] - row["alone"] - row["allreduce"] + own
        rows.append(row)
        if COMM.rank == 0:
            step, alone, allreduce, overhead = (row[k] * 1e6 for k in ("step", "alone", "allreduce", "overhead"))
            print(
                f"{net.name:22s} @{net.batch:<5d} {row['bytes'] / 1e6:7.3f} MB  alone {alone:9.1f} us  "
                f"allreduce {allreduce:8.1f} us  step {step:9.1f} us  "
                f"overhead {overhead:7.1f} us, {overhead / allreduce:+.1%} of the allreduce",
                flush=True,
            )
    if chosen.json and COMM.rank == 0:
        library = MPI.Get_library_version().split(",")[0].split("\n")[0].strip()
        result = {"cpu": cpu_name(), "isa": pn.cpu_info()["isa"], "mpi": library, "ranks": COMM.size,
                  "rounds": chosen.rounds, "around": own, "seconds": rows}  # fmt: skip
        with open(chosen.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
