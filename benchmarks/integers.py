"""One row predicted by exported C files, of integers and of floats, by compiler and flags.

python benchmarks/integers.py [--json FILE] [--rounds 60]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile

import numpy as np
from calibrate import HERE, cpu_name
from predict import NETS

import pynet as pn

FLAGS = {
    "-O2": ["-O2"],
    "-O3": ["-O3"],
    "-O3 -mavx2": ["-O3", "-mavx2"],
    "-O3 -march=native": ["-O3", "-march=native"],
    "-O3 -march=native, INTS_NO_SIMD": ["-O3", "-march=native", "-DINTS_NO_SIMD"],
}
CALLS = 2000


def written(widths, activations: str, folder: str) -> None:
    """Write ints.c and reals.c: a network of these widths, relu inside."""
    layers = [pn.Dense(units, activation="relu") for units in widths[1:-1]]
    model = pn.Sequential([pn.Input(widths[0]), *layers, pn.Dense(widths[-1])], random_state=0)
    X = np.random.default_rng(0).random((200, widths[0]))
    pn.export.to_c(model.quantize(X, activations), os.path.join(folder, "ints.c"))
    pn.export.to_c(model, os.path.join(folder, "reals.c"))


def seconds(compiler: str, flags, activations: str, rounds: int, folder: str) -> list[float]:
    """Return the least seconds of a call among the rounds, each the mean of CALLS calls: integers, floats."""
    sources = [os.path.join(folder, name) for name in ("ints.c", "reals.c")]
    target = os.path.join(folder, "a")
    define = f"-DTYPE={activations}_t"
    main = os.path.join(HERE, "integers.c")
    command = [compiler, "-std=c99", *flags, define, "-I", folder, main, *sources, "-lm", "-o", target]
    subprocess.run(command, check=True)
    output = subprocess.run([target, str(rounds), str(CALLS)], check=True, capture_output=True, text=True).stdout
    return np.array([line.split() for line in output.splitlines()], float).min(axis=0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json")
    chosen = parser.parse_args()
    result: dict = {"cpu": cpu_name(), "compilers": {}, "seconds": {}}
    print(f"{result['cpu']}: one row, microseconds, the best of {chosen.rounds} rounds\n")
    print(f"| | {' | '.join(NETS)} |\n|---|{'---|' * len(NETS)}")
    for compiler in filter(shutil.which, ("gcc", "clang")):
        version = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout
        result["compilers"][compiler] = version.splitlines()[0]
        for title, flags in FLAGS.items():
            rows: dict[str, list[float]] = {"int8": [], "int16": [], "float": []}
            for widths in NETS.values():
                for activations in ("int8", "int16"):
                    with tempfile.TemporaryDirectory() as folder:
                        written(widths, activations, folder)
                        integers, floats = seconds(compiler, flags, activations, chosen.rounds, folder)
                    rows[activations].append(integers)
                rows["float"].append(floats)
            for kind, found in rows.items():
                name = f"{compiler} {title}, {kind}"
                result["seconds"][name] = dict(zip(NETS, found, strict=True))
                print(f"| {name} | {' | '.join(f'{s * 1e6:.2f}' for s in found)} |", flush=True)
    if chosen.json:
        with open(chosen.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
