"""A pruned layer against its dense form, against SciPy's CSR and PyTorch's, over widths, batches and shares pruned.

python benchmarks/sparse.py [--isa avx2] [--json FILE] [--rounds 7]

One thread, float32, square layers, bias and ReLU in all of pynet's; weights are left at random.  The pruned layer is in
each of its forms: in steps of a byte, of four bits ("nibbles"), and in lanes.  Dense and pruned run
by turns, and the figure is the median of the rounds' ratios: how many times as fast as dense.  SciPy and PyTorch
multiply the weights (CSR, outputs in rows) with inputs laid out as they like them, without bias and ReLU; they
are left out where they are not installed.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import os
import statistics
import tempfile
import time

import numpy as np
from calibrate import cpu_name
from gemm import FLAGS, built

WIDTHS, BATCHES, SHARES = (256, 512, 1024, 2048, 4096), (1, 2, 4, 8, 16, 32, 64, 256), (0.8, 0.9, 0.95)
DENSE, ROWS, COLUMNS, LANES = range(4)


def library(folder: str) -> ctypes.CDLL:
    lib = built("sparse", folder)
    lib.sparse_seconds.restype = ctypes.c_double
    lib.sparse_seconds.argtypes = [
        ctypes.c_char_p, ctypes.c_int, *[ctypes.c_int64] * 3, ctypes.c_double, ctypes.c_int, ctypes.c_int64
    ]  # fmt: skip
    return lib


def others(width: int, batch: int, share: float) -> dict[str, float]:
    """Return the seconds of a product with SciPy and with PyTorch, as far as they are installed."""
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((width, width)) < 1 - share, rng.normal(size=(width, width)), 0).astype(np.float32)
    x = rng.normal(size=(width, batch)).astype(np.float32)
    calls = {}
    if importlib.util.find_spec("scipy"):
        import scipy.sparse

        csr = scipy.sparse.csr_array(dense)
        calls["scipy"] = lambda: csr @ x
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        there, values = torch.from_numpy(dense).to_sparse_csr(), torch.from_numpy(x)
        calls["torch"] = lambda: there @ values
    return {name: min(timed(call) for _ in range(5)) for name, call in calls.items()}


def timed(call) -> float:
    begun, n = time.perf_counter(), 0
    while time.perf_counter() - begun < 0.03 or not n:
        call()
        n += 1
    return (time.perf_counter() - begun) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--isa", choices=FLAGS, default="avx512" if os.uname().machine == "x86_64" else "neon")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--json")
    chosen = parser.parse_args()
    isa = chosen.isa.encode()
    with tempfile.TemporaryDirectory() as folder:
        lib = library(folder)
    print(f"{cpu_name()}, {chosen.isa}, one thread: times as fast as dense; n: steps of four bits, l: lanes")
    heads = [f"{share:8.0%}" for share in SHARES] + [f"{'80% n':>8s}"] + [f"{share:6.0%} l" for share in SHARES]
    more = "  90 %: the faster over SciPy, PyTorch"
    print(f"{'width':>6s} {'batch':>6s} {'dense':>10s}" + "".join(heads) + more)
    cells = []
    for width in chosen.widths:
        for batch in chosen.batches:
            n = max(1, int(1e8 / (batch * width * width)))
            kinds = [(share, "") for share in SHARES] + [(0.8, " nibbles")] + [(share, " lanes") for share in SHARES]
            ratios: dict[tuple, list[float]] = {kind: [] for kind in kinds}
            took: dict[tuple, list[float]] = {kind: [] for kind in [*kinds, "dense"]}
            for _ in range(chosen.rounds):
                for share, form in kinds:
                    way = LANES if form == " lanes" else ROWS if batch == 1 else COLUMNS
                    nibbles = form == " nibbles"
                    dense = lib.sparse_seconds(isa, DENSE, batch, width, width, 1.0, 0, n)
                    pruned = lib.sparse_seconds(isa, way, batch, width, width, 1 - share, nibbles, n)
                    if dense < 0:
                        raise SystemExit(f"this CPU or build has no {chosen.isa}")
                    ratios[share, form].append(dense / pruned)
                    took[share, form].append(pruned)
                    took["dense"].append(dense)
            medians = [statistics.median(ratios[kind]) for kind in kinds]
            peers = others(width, batch, 0.9)
            own = min(statistics.median(took[0.9, form]) for form in ("", " lanes"))
            peers = {name: seconds / own for name, seconds in peers.items()}
            dense = statistics.median(took["dense"])
            names = [f"{int(100 * share)}{form}" for share, form in kinds]
            cells.append({"width": width, "batch": batch, "dense_us": dense * 1e6,
                          "speedup": dict(zip(names, medians, strict=True)), "over_at_90": peers})  # fmt: skip
            shown = "".join(f"{m:8.2f}" for m in medians)
            more = ", ".join(f"{peers[name]:.1f}" for name in peers)
            print(f"{width:6d} {batch:6d} {dense * 1e6:8.2f}us{shown}  {more}", flush=True)
    if chosen.json:
        with open(chosen.json, "w") as file:
            json.dump({"cpu": cpu_name(), "isa": chosen.isa, "threads": 1, "cells": cells}, file, indent=1)


if __name__ == "__main__":
    main()
