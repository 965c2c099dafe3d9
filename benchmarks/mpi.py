"""What a step on several ranks of one machine costs, beside the allreduce of its gradient.

mpiexec -n 2 python benchmarks/mpi.py [--json FILE] [--rounds 20] [--seconds 40] [--nets "784-128-10 @32" ...]
                                      [--allreduce]

In turns, in the same processes, one thread a rank:

step       `fit` on all ranks: by memory that they share, or with --allreduce as where they are many
alone      the same with a communicator that exchanges nothing: all ranks compute at once, each its rows
hot        the allreduce right after itself, with nothing between
barred     a loop written by hand: the same machine computes the gradient, COMM.Barrier, COMM.Allreduce, the update
by hand    that loop without the barrier
apart      that loop without the allreduce either

Both fits run in the same memory, as do the three loops: where arrays lie makes 1 or 2 % of a large step.
Every exchange is timed from when the last rank comes to it, and what the others wait for that rank by itself; the
clock is the machine's.  `place` is the allreduce of `barred`: where it stands in a step, behind a barrier, with its
buffers as warm as a computed gradient is.  And once, on a net of some 1.4 us a step, what the machine and Python do
`around` each exchange: a fit with a communicator that does nothing - a fit without ranks.  Then

    extra  = step - alone + around            what having ranks costs, all told
    own    = extra - wait - place             what of it is neither waiting nor (as much as) the allreduce
    theirs = by hand - apart - wait - place   the same of the loop: caches after an exchange, which nobody can help

Figures are the mean of the middle half of a turn's steps, of those only in which no rank lost its core to other
processes for more than 1 %; then the median over rounds, and over ranks the mean.  Rounds in which a turn has no such
steps do not count, and are made up for while `seconds` (a net) last; behind a share stands the standard error of that
median.  A tenth of a large net's allreduce is less than the noise of one of its steps: give it some 300 rounds, which
are short, so that what is compared was measured within a second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers"))

import numpy as np
from calibrate import cpu_name
from cases import SMALL, STEPS, Net
from mpi4py import MPI
from with_pynet import model

import pynet as pn
from pynet import _core, parallel, shared_gradients
from pynet.parallel import exchanged
from pynet.trainer import SCORE

COMM = MPI.COMM_WORLD
NETS = ("64-64-64-10 @32", "784-128-10 @32", "784-128-10 @128", "784-512-256-10 @128", "1024-1024-1024-1024 @256")


class Silent:
    """The communicator without any exchange in steps: a rank by itself, with its part of the batches."""

    def __getattr__(self, name):
        return getattr(COMM, name)

    def allgather(self, thing):
        return [thing] * COMM.size

    def Allreduce(self, sent, buffer):
        pass


class Stamps:
    """Of a turn: when each exchange began and ended."""

    def __init__(self):
        self.begins, self.ends, self.worked = [], [], []

    def note(self, exchange):
        """Return the same function, which is timed."""

        def noted(*arguments):
            begin = time.perf_counter()
            answer = exchange(*arguments)
            self.begins.append(begin)
            self.ends.append(time.perf_counter())
            self.worked.append(time.process_time())
            return answer

        return noted

    def steps(self) -> dict[str, float] | None:
        """Return seconds of a step: all of it, waiting, in the allreduce; None if nearly all were disturbed."""
        begins, ends, worked = (np.array(COMM.allgather(s)) for s in (self.begins, self.ends, self.worked))
        last = begins.max(0)
        table = {"total": np.diff(ends), "wait": last - begins, "allreduce": ends - last}
        means = {name: a.mean(0)[-len(ends[0]) + 1 :] for name, a in table.items()}
        calm = np.flatnonzero((np.diff(ends) - np.diff(worked) < 1e-6 + 0.01 * np.diff(ends)).all(0))
        if len(calm) < 2:
            return None
        calm = calm[np.argsort(means["total"][calm])]
        calm = calm[len(calm) // 4 : len(calm) - len(calm) // 4]
        return {name: float(a[calm].mean()) for name, a in means.items()}


class Clock(pn.Callback):
    """Seconds of the epoch."""

    def on_epoch_begin(self, trainer, epoch):
        self.begun = time.perf_counter()

    def on_epoch_end(self, trainer, epoch, logs):
        self.seconds = time.perf_counter() - self.begun


def trainer(net: Net) -> pn.Trainer:
    return pn.Trainer(model(net), net.loss, pn.Adam(1e-4), n_threads=1)


def stamped_fit(made: pn.Trainer, X, y, batch: int, comm) -> Stamps:
    stamps = Stamps()
    plain = parallel.Ranks.reduce
    parallel.Ranks.reduce = lambda ranks, *arguments: noted(ranks, *arguments)  # a method
    noted = stamps.note(plain)
    try:
        fit(made, X, y, batch, comm=comm)
    finally:
        parallel.Ranks.reduce = plain
    return stamps


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
    apart, plain = trainer(net), trainer(net)
    times = [  # of 3 ms
        (fit(apart, X, y, COMM.size, comm=Silent()), fit(plain, X[:2000], y[:2000], 1)) for _ in range(4 * rounds)
    ]
    return float(np.subtract(*np.min(times, 0)))


class ByHand:
    """The loop that whoever has the machine and mpi4py would write."""

    def __init__(self, net: Net, X, y):
        self.trainer = made = trainer(net)
        made._exchange_in(exchanged(made._grads.size + parallel.TAIL, np.float32))
        inputs, targets, _, rows = made._prepare(X, y)
        plan, self.machine = made._machine("train", made.heads.resolve(targets), net.batch)
        batch = net.batch * COMM.size
        self.steps = rows // batch
        self.gradient = made._job(plan, inputs, targets, None, rows, batch, SCORE | _core.BACKWARD)
        self.gradient.parts = COMM.size, COMM.rank, COMM.rank + 1
        self.update = made._job(plan, inputs, targets, None, net.batch, net.batch, _core.UPDATE)
        self.update.rate = np.array([1e-4])

    def run(self, comm, barrier: bool = False) -> Stamps:
        stamps = Stamps()
        allreduce = stamps.note(comm.Allreduce)
        COMM.Barrier()
        for k in range(self.steps):
            self.machine.run(self.gradient, k, 1)
            if barrier:
                COMM.Barrier()
            allreduce(MPI.IN_PLACE, self.trainer._exchanged)
            self.machine.run(self.update, 0, 1)
        return stamps


def repeat(steps: int, buffer) -> Stamps:
    stamps = Stamps()
    allreduce = stamps.note(COMM.Allreduce)
    COMM.Barrier()
    for _ in range(steps):
        allreduce(MPI.IN_PLACE, buffer)
    return stamps


def error_of_median(values: list[float], times: int = 1000) -> float:
    """Return the standard error of the median, by bootstrap (Efron 1979)."""
    drawn = np.random.default_rng(0).choice(values, (times, len(values)))
    return float(np.median(drawn, 1).std())


def measure(net: Net, rounds: int, seconds: float, around: float) -> dict:
    """Return one row of the table, in seconds."""
    steps = int(min(max(3e9 / (6 * net.batch * net.weights), 8), 500))
    X, y = net.data(steps * COMM.size)
    made, by_hand = trainer(net), ByHand(net, X, y)
    buffer = exchanged(len(by_hand.trainer._exchanged), np.float32)
    found: dict[str, list[float]] = {}
    until = time.perf_counter() + seconds
    while COMM.bcast(len(found.get("step", ())) < rounds and time.perf_counter() < until):
        step = stamped_fit(made, X, y, net.batch * COMM.size, COMM)
        assert (made._shared is not None) == (COMM.size <= shared_gradients.MOST_RANKS)
        alone = stamped_fit(made, X, y, net.batch * COMM.size, Silent())
        for arena in (made.model.arena, *made._slots):  # which the ranks changed each by itself
            COMM.Bcast(arena)
        loops = by_hand.run(COMM, barrier=True), by_hand.run(COMM), by_hand.run(Silent())
        turns = [turn.steps() for turn in (step, alone, repeat(steps, buffer), *loops)]
        if None in turns:
            continue
        step, alone, hot, barred, hand, hand_apart = turns
        extra = step["total"] - alone["total"] + around
        hand_extra = hand["total"] - hand_apart["total"]
        place = barred["allreduce"]
        row = {
            "alone": alone["total"], "step": step["total"], "hot": hot["wait"] + hot["allreduce"], "place": place,
            "wait": step["wait"], "inside": step["allreduce"], "extra": extra, "own": extra - step["wait"] - place,
            "by hand": hand["total"], "apart": hand_apart["total"], "theirs": hand_extra - hand["wait"] - place,
            "by hand, wait": hand["wait"],
            "extra / hot": extra / (hot["wait"] + hot["allreduce"]) - 1,
            "own / place": (extra - step["wait"]) / place - 1,
            "beyond by hand / place": (extra - hand_extra) / place,
        }  # fmt: skip
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    medians = {name: float(np.median(values)) for name, values in found.items()}
    errors = {name: error_of_median(values) for name, values in found.items() if " / " in name}
    calm = len(found.get("step", ()))
    return {"net": net.name, "batch of a rank": net.batch, "bytes": buffer.nbytes, "calm rounds": calm, **medians,
            "standard errors": errors}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS)
    parser.add_argument("--allreduce", action="store_true", help="let fit exchange gradients by MPI's allreduce")
    chosen = parser.parse_args()
    if chosen.allreduce:
        shared_gradients.MOST_RANKS = 0
    if len(set(COMM.allgather(platform.node()))) > 1:
        parser.error("ranks on several machines have no common clock")
    own = COMM.bcast(around(chosen.rounds))
    if COMM.rank == 0:
        print(f"around each exchange {own * 1e6:.2f} us; all in us", flush=True)
    rows = []
    for net in STEPS:
        if f"{net.name} @{net.batch}" not in chosen.nets:
            continue
        row = measure(net, chosen.rounds, chosen.seconds, own)
        rows.append(row)
        if COMM.rank > 0:
            continue
        head = f"{net.name:>20s} @{net.batch:<4d}{row['bytes'] / 1e6:7.3f} MB, {row['calm rounds']} calm rounds"
        if row["calm rounds"]:
            columns = (
                "alone",
                "step",
                "apart",
                "by hand",
                "extra",
                "hot",
                "place",
                "wait",
                "by hand, wait",
                "own",
                "theirs",
            )
            figures = "  ".join(f"{name} {row[name] * 1e6:.1f}" for name in columns)
            errors = row["standard errors"]
            shares = "  ".join(f"{name} {row[name]:+.1%} +- {errors[name]:.1%}" for name in errors)
            head += f":\n    {figures}\n    {shares}"
        print(head, flush=True)
    if chosen.json and COMM.rank == 0:
        library = MPI.Get_library_version().split(",")[0].split("\n")[0].strip()
        result = {"cpu": cpu_name(), "isa": pn.cpu_info()["isa"], "mpi": library, "ranks": COMM.size,
                  "exchange": "allreduce" if chosen.allreduce else "shared memory",
                  "rounds": chosen.rounds, "around": own, "seconds": rows}  # fmt: skip
        with open(chosen.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
