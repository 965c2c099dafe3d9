"""Measure what this machine can do: the FMA peak of a core, and bandwidth as an optimizer step uses it.

python benchmarks/calibrate.py
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def compiler() -> str:
    """Return the C compiler."""
    found = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not found:
        raise SystemExit("calibrate: a C compiler is needed (cc, gcc or clang)")
    return found


def library(isa=("-march=native",)) -> ctypes.CDLL:
    """Compile calibrate.c with these flags of the instruction set, and load it."""
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "calibrate.so")
        flags = ["-O3", *isa, "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-shared"]
        subprocess.run([compiler(), *flags, os.path.join(HERE, "calibrate.c"), "-o", target], check=True)
        lib = ctypes.CDLL(target)
    lib.fma_peak.restype = lib.root_and_quotient.restype = lib.update_bandwidth.restype = ctypes.c_double
    lib.fma_peak.argtypes = lib.root_and_quotient.argtypes = [ctypes.c_int64]
    lib.update_bandwidth.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 2
    return lib


class Limits:
    """FMA peak (GFLOP/s) and G square roots with divisions a second, medians of several runs; update bandwidth (GB/s)
    by number of parameters, the best of several runs."""

    def __init__(self, repeats: int = 7):
        self.lib, self.repeats = library(), repeats
        self.known: dict[tuple[int, int], float] = {}
        self.peak = self.measure_peak()
        self.roots = statistics.median(self.lib.root_and_quotient(2000) for _ in range(repeats))

    def measure_peak(self) -> float:
        """Return the FMA peak now: clocks change, so measure beside what is compared."""
        return statistics.median(self.lib.fma_peak(3_000_000) for _ in range(self.repeats))

    def bandwidth(self, params: int, threads: int = 1, again: bool = False) -> float:
        """Return the bandwidth of an update of `params` parameters by all threads, from wherever they fit."""
        if again or (params, threads) not in self.known:
            n = max(params // threads, 1)
            rounds = max(3, int(3e7 / n))
            # begun at different lines of a page, as pynet's arenas: alike they may share a few places of the cache
            shares = [[np.zeros(n + 144 * k, np.float32)[144 * k :] for k in range(4)] for _ in range(threads)]

            def run(arrays, rounds=rounds):
                return self.lib.update_bandwidth(*(a.ctypes.data for a in arrays), n, rounds)

            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda arrays: run(arrays, 1), shares))
                best = max(sum(pool.map(run, shares)) for _ in range(self.repeats))
            self.known[params, threads] = max(best, self.known.get((params, threads), 0))
        return self.known[params, threads]

    def step_seconds(self, sizes: list[int], batch: int, threads: int = 1) -> float:
        """Return the limit of one Adam step of a dense float32 net: FLOPs / peak + Adam's update, which waits either
        for its bytes or for its exact square root and division."""
        weights = [a * b for a, b in pairwise(sizes)]
        flops = 6 * batch * sum(weights) - 2 * batch * weights[0]  # the first layer hands no gradient down
        params = sum(weights) + sum(sizes[1:])
        update = max(28 / self.bandwidth(params, threads), 1 / (threads * self.roots)) * params
        return (flops / (threads * self.peak) + update) * 1e-9


def cpu_name() -> str:
    """Return the CPU's name where the system tells."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    limits = Limits()
    print(f"FMA peak              {limits.peak:8.1f} GFLOP/s (one core, float32)")
    print(f"exact sqrt and divide {limits.roots:8.2f} G/s")
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    print(f"                            1 thread {threads:6d} threads")
    for n in (10_000, 100_000, 500_000, 2_000_000, 20_000_000):
        print(f"update of {n:>10,d}   {limits.bandwidth(n):8.1f} {limits.bandwidth(n, threads):14.1f} GB/s")
