"""One row predicted in C by libpynet, without Python; what pruned networks take in memory and time; the library's size.

python benchmarks/predict.py [--json FILE] [--rounds 15]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import tempfile
import time

import numpy as np
from calibrate import HERE, cpu_name
from gemm import built

import pynet as pn

NETS = {"64-64": (64, 64), "4-32-32-1": (4, 32, 32, 1), "64-64-64-10": (64, 64, 64, 10), "784-128-10": (784, 128, 10)}
SHARES = (0.8, 0.9, 0.95)  # pruned
BUILDS = {
    "default": [],
    "float64 trains too": ["-DPYNET_TRAINED=f32;f64"],
    "float32": ["-DPYNET_DTYPES=f32"],
    "predict only": ["-DPYNET_PREDICT_ONLY=ON"],
    "predict only, float32, AVX2": ["-DPYNET_PREDICT_ONLY=ON", "-DPYNET_DTYPES=f32", "-DPYNET_ISAS=avx2"],
}


def saved(widths, folder: str) -> bytes:
    """Return the path of a file with a network of these widths, relu inside."""
    layers = [pn.Dense(units, activation="relu") for units in widths[1:]]
    if len(widths) > 2:
        layers[-1] = pn.Dense(widths[-1])
    path = os.path.join(folder, "net.safetensors")
    pn.Sequential([pn.Input(widths[0]), *layers]).save(path)
    return path.encode()


def lenet() -> pn.Sequential:
    hidden = [pn.Dense(300, activation="relu"), pn.Dense(100, activation="relu")]
    return pn.Sequential([pn.Input(784), *hidden, pn.Dense(10, activation="softmax")])


def pruned(lib, folder: str) -> dict[str, list[int]]:
    """Print and return bytes of LeNet-300-100, dense and pruned by magnitude: its file, open in C, with a machine."""
    sizes, path, model = {}, os.path.join(folder, "pruned.safetensors"), lenet()
    print("784-300-100-10, bytes: file, open in C, with a machine for one row; dense over pruned")
    for share in (0.0, *SHARES):
        if share:
            pn.prune.magnitude(model, sparsity=share)
        (model.compact() if share else model).save(path)
        machine = ctypes.c_longlong()
        open_in_c = lib.model_bytes(path.encode(), ctypes.byref(machine))
        sizes[f"{share:.0%}"] = row = [os.path.getsize(path), open_in_c, open_in_c + machine.value]
        ratios = "  ".join(f"{n:9d} {dense / n:5.2f}" for n, dense in zip(row, sizes["0%"], strict=True))
        print(f"{share:>12.0%} {ratios}")
    return sizes


def pruned_times(lib, folder: str, rounds: int) -> dict[str, list[float]]:
    """Print and return how many times as fast as dense the same network predicts pruned, in one thread."""
    result, X = {}, np.random.default_rng(0).random((256, 784), np.float32)

    def one_row(name: str) -> float:
        seconds = lib.predict_seconds(os.path.join(folder, name).encode(), 2000)
        if seconds < 0:
            raise SystemExit(f"libpynet does not open the pruned network, {name}")
        return seconds

    def many_rows(model) -> float:
        model.predict(X)
        begun = time.perf_counter()
        for _ in range(20):
            model.predict(X)
        return time.perf_counter() - begun

    print("784-300-100-10, times as fast as dense: one row in C, in lanes, in steps; 256 rows from Python, in steps")
    for share in SHARES:
        model = lenet()
        pn.prune.magnitude(model, sparsity=share)
        steps = model.compact()
        for name, own in (("dense", model), ("lanes", model.compact(batch_sizes=[1])), ("steps", steps)):
            own.save(os.path.join(folder, name))
        ratios = []
        for _ in range(rounds):
            dense = one_row("dense")
            ratios.append((dense / one_row("lanes"), dense / one_row("steps"), many_rows(model) / many_rows(steps)))
        result[f"{share:.0%}"] = medians = [statistics.median(column) for column in zip(*ratios, strict=True)]
        print(f"{share:>12.0%} " + "  ".join(f"{ratio:5.2f}" for ratio in medians))
    return result


def library_bytes(options, folder: str) -> int:
    """Return the bytes of the shared library, stripped."""
    root, target = os.path.dirname(HERE), os.path.join(folder, "stripped")
    configure = ["cmake", "-S", root, "-B", folder, "-DPYNET_PYTHON=OFF", *options]
    build = ["cmake", "--build", folder, "--target", "pynet_shared", "--parallel", "2"]
    for command in (configure, build, ["strip", "-o", target, os.path.join(folder, "libpynet.so")]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return os.path.getsize(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json")
    chosen = parser.parse_args()
    pn.set_num_threads(1)
    result: dict = {"cpu": cpu_name(), "isa": pn.cpu_info()["isa"], "seconds": {}, "bytes": {}}
    with tempfile.TemporaryDirectory() as folder:
        lib = built("predict", folder)
        lib.predict_seconds.restype = ctypes.c_double
        lib.predict_seconds.argtypes = [ctypes.c_char_p, ctypes.c_long]
        print(f"{result['cpu']}, {result['isa']}: one row in C, median of {chosen.rounds} rounds")
        for name, widths in NETS.items():
            path = saved(widths, folder)
            seconds = statistics.median(lib.predict_seconds(path, 20000) for _ in range(chosen.rounds))
            if seconds < 0:
                raise SystemExit(f"libpynet does not open the network {name}")
            result["seconds"][name] = seconds
            print(f"{name:>12s} {seconds * 1e6:7.3f} us")
        lib.model_bytes.restype = ctypes.c_longlong
        lib.model_bytes.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_longlong)]
        result["pruned"] = pruned(lib, folder)
        result["pruned_times"] = pruned_times(lib, folder, chosen.rounds)
    print("libpynet.so, stripped")
    for name, options in BUILDS.items():
        with tempfile.TemporaryDirectory() as folder:
            result["bytes"][name] = library_bytes(options, folder)
        print(f"{name:>28s} {result['bytes'][name] / 1000:6.0f} kB")
    if chosen.json:
        with open(chosen.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
