"""Measure what one core of this machine can do: FMA peak, and bandwidth as an optimizer step uses it.

python benchmarks/calibrate.py
"""

from __future__ import annotations

import ctypes
import os
import shutil
import statistics
import subprocess
import tempfile
from itertools import pairwise

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def library() -> ctypes.CDLL:
    """Compile calibrate.c for this CPU and load it."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise SystemExit("calibrate: a C compiler is needed (cc, gcc or clang)")
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "calibrate.so")
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-fPIC", "-shared"]
        subprocess.run([compiler, *flags, os.path.join(HERE, "calibrate.c"), "-o", target], check=True)
        lib = ctypes.CDLL(target)
    lib.fma_peak.restype = lib.update_bandwidth.restype = ctypes.c_double
    lib.fma_peak.argtypes = [ctypes.c_int64]
    lib.update_bandwidth.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 2
    return lib


class Limits:
    """FMA peak (GFLOP/s) and update bandwidth (GB/s) by number of parameters; medians of several runs."""

    def __init__(self, repeats: int = 7):
        self.lib, self.repeats = library(), repeats
        self.known: dict[int, float] = {}
        self.peak = self.measure_peak()

    def measure_peak(self) -> float:
        """Return the FMA peak now: clocks change, so measure beside what is compared."""
        return statistics.median(self.lib.fma_peak(3_000_000) for _ in range(self.repeats))

    def bandwidth(self, params: int) -> float:
        """Return the bandwidth of an update of `params` parameters, from wherever they fit."""
        if params not in self.known:
            arrays = [np.zeros(params, np.float32) for _ in range(4)]
            rounds = max(3, int(3e7 / params))
            pointers = [a.ctypes.data for a in arrays]
            self.lib.update_bandwidth(*pointers, params, 1)
            runs = [self.lib.update_bandwidth(*pointers, params, rounds) for _ in range(self.repeats)]
            self.known[params] = statistics.median(runs)
        return self.known[params]

    def step_seconds(self, sizes: list[int], batch: int) -> float:
        """Return the limit of one Adam step of a dense float32 net: FLOPs / peak + Adam bytes / bandwidth."""
        weights = [a * b for a, b in pairwise(sizes)]
        flops = 6 * batch * sum(weights) - 2 * batch * weights[0]  # the first layer hands no gradient down
        params = sum(weights) + sum(sizes[1:])
        return flops / (self.peak * 1e9) + 28 * params / (self.bandwidth(params) * 1e9)


if __name__ == "__main__":
    limits = Limits()
    print(f"FMA peak              {limits.peak:8.1f} GFLOP/s (one core, float32)")
    for n in (10_000, 100_000, 500_000, 2_000_000, 20_000_000):
        print(f"update of {n:>10,d}   {limits.bandwidth(n):8.1f} GB/s")
