"""What the second thread gains, and that it never costs: steps inside fit with one thread and with all, in turns.

python benchmarks/threads.py [--threads 2] [--busy] [--grid] [--rounds 9] [--json FILE]

The nets of the race (peers/cases.py) or, with --grid, width-width-width over batches and widths.  --busy: a process
that never rests runs beside them, so that one processor is not there for us half of the time or more.  Figures are
medians of turns of 0.1 s; "slower" means by more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from calibrate import HERE, cpu_name

sys.path.insert(0, os.path.join(HERE, "peers"))
from cases import STEPS, Net
from with_pynet import Fit

TURN = 0.1  # seconds
GRID = [Net((w, w, w), b, "mse") for w in (1, 8, 16, 32, 64, 100, 128, 256, 400, 600) for b in (1, 8, 32, 64, 128, 300)]


class Contestant:
    """A net with a number of threads."""

    def __init__(self, net: Net, threads: int):
        batches = int(min(max(4, 3e7 / (4 * (net.sizes[0] + net.sizes[-1]) * net.batch)), 3000))
        self.fit, self.found = Fit(net, *net.data(batches), threads), []
        self.fit.steps(3)
        self.steps = max(1, int(TURN / self.turn(2)))
        self.steps = max(1, int(TURN / self.turn(self.steps)))  # a fit costs as much as a hundred steps of a small net

    def turn(self, steps: int) -> float:
        """Return the seconds of a step."""
        begun = time.perf_counter()
        self.fit.steps(steps)
        return (time.perf_counter() - begun) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json")
    chosen = parser.parse_args()
    rival = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if chosen.busy else None
    cells = []
    try:
        for net in GRID if chosen.grid else STEPS:
            pair = [Contestant(net, 1), Contestant(net, chosen.threads)]
            for k in range(chosen.rounds):
                for contestant in pair[:: 1 - 2 * (k % 2)]:
                    contestant.found.append(contestant.turn(contestant.steps))
            one, many = (statistics.median(contestant.found) for contestant in pair)
            cells.append({"net": net.name, "batch": net.batch, "us": [one * 1e6, many * 1e6], "gain": one / many})
            print(
                f"{net.name:22s} @{net.batch:<5d} {one * 1e6:11.2f} {many * 1e6:11.2f} us  {one / many:5.2f}",
                flush=True,
            )
    finally:
        if rival:
            rival.kill()
    slower = [f"{c['net']} @{c['batch']}" for c in cells if c["gain"] < 1 / 1.05]
    print(f"{len(slower)} of {len(cells)} slower than one thread: {', '.join(slower) or 'none'}")
    if chosen.json:
        with open(chosen.json, "w") as file:
            json.dump(
                {"cpu": cpu_name(), "threads": chosen.threads, "busy": chosen.busy, "cells": cells}, file, indent=1
            )


if __name__ == "__main__":
    main()
