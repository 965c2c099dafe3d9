"""The matrix products of a dense layer (forward, dx, dw) as a share of the FMA peak, over widths and batches.

python benchmarks/gemm.py [--isa avx2] [--json FILE] [--rounds 5]

One thread, float32, square layers, bias and ReLU fused into the forward product.  The peak, with instructions of the
same set, is measured beside every cell; the figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import tempfile

from calibrate import HERE, compiler, cpu_name, library

WIDTHS, BATCHES, KINDS = (128, 256, 512, 1024, 2048, 4096), (32, 64, 128, 256, 512, 1024), ("forward", "dx", "dw")
FLAGS = {"avx2": ["-mavx2", "-mfma"], "avx512": ["-march=native"], "neon": ["-march=native"]}


def built(name: str, folder: str) -> ctypes.CDLL:
    """Build libpynet and NAME.c of this folder, and load them."""
    root = os.path.dirname(HERE)
    build = ["cmake", "-S", root, "-B", folder, "-DPYNET_PYTHON=OFF", "-DPYNET_LARGE=ON"]  # as in Python
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", folder, "--target", "pynet_static"], check=True, stdout=subprocess.DEVNULL)
    target = os.path.join(folder, f"{name}.so")
    source = [os.path.join(HERE, f"{name}.c"), os.path.join(folder, "libpynet.a"), "-lm", "-lpthread"]
    include = "-I" + os.path.join(root, "csrc")
    subprocess.run([compiler(), "-O2", "-fPIC", "-shared", include, *source, "-o", target], check=True)
    return ctypes.CDLL(target)


def products(folder: str) -> ctypes.CDLL:
    """Return the library of gemm.c."""
    lib = built("gemm", folder)
    lib.gemm_seconds.restype = ctypes.c_double
    lib.gemm_seconds.argtypes = [ctypes.c_char_p, ctypes.c_int, *[ctypes.c_int64] * 4]
    return lib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--isa", choices=FLAGS, default="avx512" if os.uname().machine == "x86_64" else "neon")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--json")
    chosen = parser.parse_args()
    peaks = library(FLAGS[chosen.isa])
    with tempfile.TemporaryDirectory() as folder:
        lib = products(folder)
    cells, peak_all = [], []
    print(f"{cpu_name()}, {chosen.isa}, one thread: % of the FMA peak")
    print(f"{'width':>6s} {'batch':>6s}" + "".join(f"{kind:>9s}" for kind in KINDS))
    for width in chosen.widths:
        for batch in chosen.batches:
            flops = 2 * batch * width * width
            n = max(1, int(4e9 / flops / 2))
            shares: dict[str, list[float]] = {kind: [] for kind in KINDS}
            for _ in range(chosen.rounds):
                for i, kind in enumerate(KINDS):
                    peak = peaks.fma_peak(1_000_000)
                    seconds = lib.gemm_seconds(chosen.isa.encode(), i, batch, width, width, n)
                    peak = (peak + peaks.fma_peak(1_000_000)) / 2
                    if seconds < 0:
                        raise SystemExit(f"this CPU or build has no {chosen.isa}")
                    shares[kind].append(100 * flops / seconds / (peak * 1e9))
                    peak_all.append(peak)
            cell = {kind: statistics.median(values) for kind, values in shares.items()}
            cells.append({"width": width, "batch": batch, **cell})
            print(f"{width:6d} {batch:6d}" + "".join(f"{cell[kind]:9.1f}" for kind in KINDS), flush=True)
    summary = {kind: statistics.median(cell[kind] for cell in cells) for kind in KINDS}
    least = min(cell[kind] for cell in cells for kind in KINDS)
    whole = statistics.median(cell[kind] for cell in cells for kind in KINDS)
    print(
        "median " + ", ".join(f"{k} {v:.1f}" for k, v in summary.items()) + f"; all {whole:.1f} %, least {least:.1f} %"
    )
    print(f"FMA peak {statistics.median(peak_all):.0f} GFLOP/s")
    if chosen.json:
        result = {"cpu": cpu_name(), "isa": chosen.isa, "peak_gflops": statistics.median(peak_all), "cells": cells,
                  "median": whole, "least": least}  # fmt: skip
        with open(chosen.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
