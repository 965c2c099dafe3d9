"""Instructions of eleven calls, counted by valgrind's callgrind: alike on a busy machine and on a quiet one.

python benchmarks/instructions.py                      count, and compare with results/instructions.json
python benchmarks/instructions.py --record             write that file
python benchmarks/instructions.py --against REVISION   count another revision too, built here by the same compiler

A change of more than 2 % is marked, and ends the program with status 1.  Counts depend on the compiler and on NumPy and
Python, so the file is compared only where these are the same; --against always is.  valgrind knows no AVX-512: what
runs is the AVX2 path.  Needs valgrind with its headers, and a C compiler.
"""

from __future__ import annotations

import argparse
import ctypes
import glob
import json
import os
import platform
import subprocess
import sys
import tempfile

import numpy as np
from calibrate import HERE, compiler

RECORD = os.path.join(HERE, "results", "instructions.json")
TOLERANCE = 0.02
CLIENT = """
#include <valgrind/callgrind.h>
void zero(void) { CALLGRIND_ZERO_STATS; CALLGRIND_START_INSTRUMENTATION; }
void dump(const char *name) { CALLGRIND_DUMP_STATS_AT(name); CALLGRIND_STOP_INSTRUMENTATION; }
"""


def calls():
    """Return {name: (function, times)}: what is counted."""
    import pynet as pn

    rng = np.random.default_rng(0)

    def steps(sizes, batch, loss="cross_entropy", optimizer=None, layers=None, shape=None, n=20, share=1.0):
        hidden = layers or [pn.Dense(k, "relu") for k in sizes[1:-1]]
        head = pn.Dense(sizes[-1], "softmax" if loss == "cross_entropy" else None)
        trainer = pn.Trainer(
            pn.Sequential([pn.Input(shape or sizes[0]), *hidden, head]), loss, optimizer or pn.Adam(), n_threads=1
        )
        X = rng.standard_normal((n * batch, *(shape or sizes[:1])), np.float32)
        if share < 1:
            X[rng.random(X.shape) >= share] = 0
        y = rng.integers(0, sizes[-1], n * batch) if loss == "cross_entropy" else X[:, : sizes[-1]].copy()
        return lambda: trainer.fit(X, y, epochs=1, batch_size=batch, verbose=0, shuffle=True), n

    def predict(sizes, rows, one=False, n=1):
        hidden = [pn.Dense(k, "relu") for k in sizes[1:-1]]
        model = pn.Sequential([pn.Input(sizes[0]), *hidden, pn.Dense(sizes[-1], "softmax")])
        X = rng.standard_normal((rows, sizes[0]), np.float32)
        if one:
            x, out = X[0].copy(), np.empty(sizes[-1], np.float32)
            return lambda: [model.predict_one(x, out) for _ in range(n)], n
        return lambda: model.predict(X), 1

    normed = [pn.Dense(64, "relu"), pn.BatchNorm(), pn.Dropout(0.5), pn.Dense(64, "tanh"), pn.LayerNorm()]
    return {
        "fit 4-32-32-1 @1": steps((4, 32, 32, 1), 1, "mse", n=500),
        "fit 64-64-64-10 @32": steps((64, 64, 64, 10), 32, n=50),
        "fit 784-128-10 @128": steps((784, 128, 10), 128, n=4),
        "fit 784-128-10 @128, 90 % zeros": steps((784, 128, 10), 128, n=4, share=0.1),
        "fit 784-128-10 @1, SGD": steps((784, 128, 10), 1, optimizer=pn.SGD(0.01, 0.9), n=50),
        "fit 256-256-256-256 @64": steps((256, 256, 256, 256), 64, "mse", n=4),
        "fit with norms and dropout @64": steps((64, 64, 64, 10), 64, layers=normed, n=20),
        "fit 8 steps of an LSTM @16": steps((64, 32, 10), 16, layers=[pn.LSTM(32)], shape=(8, 8), n=20),
        "predict 784-128-10 @1000": predict((784, 128, 10), 1000),
        "predict_one 4-32-32-1": predict((4, 32, 32, 1), 1, one=True, n=200),
        "predict_one 784-128-10": predict((784, 128, 10), 1, one=True, n=50),
    }


def child(client: str) -> None:
    """Under callgrind: call each once to warm up, then once counted."""
    from pynet import fit

    fit.SLICE_SECONDS = 1e6  # else as many slices as the clock allows: 388 000 to 450 000 for 64-64-64-10 @32
    lib = ctypes.CDLL(client)
    for k, (name, (call, times)) in enumerate(calls().items()):
        call(), call()
        lib.zero()
        call()
        lib.dump(json.dumps([k, name, times]).encode())


def count(python: str) -> dict[str, float]:
    """Return {name: instructions of one step or prediction} of the pynet that `python` imports."""
    with tempfile.TemporaryDirectory() as folder:
        source, client = os.path.join(folder, "client.c"), os.path.join(folder, "client.so")
        with open(source, "w") as file:
            file.write(CLIENT)
        subprocess.run([compiler(), "-O2", "-shared", "-fPIC", source, "-o", client], check=True)
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        env = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command += [python, os.path.abspath(__file__), "--child", client]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        found = {}
        for path in glob.glob(f"{folder}/out.*"):
            with open(path) as file:
                lines = file.read().splitlines()
            trigger = [line for line in lines if line.startswith("desc: Trigger:") and "Client Request" in line]
            totals = [line for line in lines if line.startswith(("totals:", "summary:"))]
            if trigger and totals:
                k, name, times = json.loads(trigger[0].split("Client Request:", 1)[1])
                found[k] = (name, int(totals[-1].split()[1]) / times)
        return {name: round(value, 1) for _, (name, value) in sorted(found.items())}


def revision(name: str, folder: str) -> str:
    """Build another revision in an environment of its own; return its Python."""
    root = os.path.dirname(HERE)
    tree, env = os.path.join(folder, "tree"), os.path.join(folder, "env")
    subprocess.run(["git", "-C", root, "worktree", "add", "--detach", tree, name], check=True, capture_output=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", env], check=True)
        python = os.path.join(env, "bin", "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"numpy=={np.__version__}", tree], check=True)
    finally:
        subprocess.run(["git", "-C", root, "worktree", "remove", "--force", tree], check=True)
    return python


def compare(now: dict[str, float], before: dict[str, float], label: str) -> bool:
    """Print both; return whether one grew by more than the tolerance."""
    print(f"{'instructions of one':34s} {'now':>14s} {label:>14s}")
    worse = False
    for name, n in now.items():
        old = before.get(name)
        change = f"{100 * (n / old - 1):+7.2f} %" if old else "    new"
        grown = bool(old) and n > old * (1 + TOLERANCE)
        worse |= grown
        print(f"{name:34s} {n:14,.0f} {old or 0:14,.0f} {change}{'   <-- more than 2 %' if grown else ''}")
    return worse


def main() -> None:
    if "--child" in sys.argv:
        return child(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--against", metavar="REVISION")
    chosen = parser.parse_args()
    version = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[
        0
    ]
    made_by = {"compiler": version, "python": platform.python_version(), "numpy": np.__version__}
    now = count(sys.executable)
    if chosen.record:
        with open(RECORD, "w") as file:
            json.dump({"made by": made_by, "isa": "avx2", "instructions": now}, file, indent=1)
    if chosen.against:
        with tempfile.TemporaryDirectory() as folder:
            before = count(revision(chosen.against, folder))
        raise SystemExit(compare(now, before, chosen.against[:14]))
    with open(RECORD) as file:
        record = json.load(file)
    worse = compare(now, record["instructions"], "recorded")
    if record["made by"] != made_by:
        print(f"recorded by {record['made by']}, here {made_by}: not comparable; use --against REVISION")
        worse = False
    raise SystemExit(worse)


if __name__ == "__main__":
    main()
