"""Training on a data set in a mapped file, larger than the memory there is for it: shuffled rows, and in their order.

python benchmarks/mapped.py FOLDER [--rows 2000000] [--threads 1] [--json FILE]

Writes rows of 784 float32 (3136 bytes each) to FOLDER, and lets 784-128-10 take an epoch of them.  To see what happens
when the file does not fit in memory, limit that: `systemd-run --scope -p MemoryMax=1500M python benchmarks/mapped.py
...`, or a memory cgroup of your own.  Beside it stand random reads of such rows by 16 threads (pread): what the disk
gives; and the steps alone, from memory: what the processor gives.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import threading
import time

import numpy as np
from calibrate import cpu_name

import pynet as pn

WIDTH, BATCH, SECONDS = 784, 128, 4.0


def write(path: str, rows: int) -> None:
    """Make the file, in pieces."""
    X = np.lib.format.open_memmap(path, "w+", np.float32, (rows, WIDTH))
    block = np.random.default_rng(0).standard_normal((20_000, WIDTH), np.float32)
    for start in range(0, rows, len(block)):
        X[start : start + len(block)] = block[: rows - start]
    X.flush()


def forget(path: str) -> None:
    """Ask the system to drop the file from its cache."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def random_reads(path: str, rows: int, readers: int) -> float:
    """Return rows a second."""
    counts = []

    def read(seed):
        rng, done, end = np.random.default_rng(seed), 0, time.perf_counter() + SECONDS
        with open(path, "rb") as file:
            while time.perf_counter() < end:
                for row in rng.integers(0, rows, 64).tolist():
                    os.pread(file.fileno(), 4 * WIDTH, 128 + 4 * WIDTH * row)
                done += 64
        counts.append(done)

    threads = [threading.Thread(target=read, args=(k,)) for k in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


def epoch(X, y, shuffle: bool, threads: int | None) -> tuple[float, float]:
    """Return rows a second of the batches, and seconds of the check for NaN before them (it reads all)."""
    net = pn.Sequential([pn.Input(WIDTH), pn.Dense(128, "relu"), pn.Dense(10, "softmax")], random_state=0)
    trainer = pn.Trainer(net, "cross_entropy", pn.Adam(1e-3), n_threads=threads)
    begun, marks = time.perf_counter(), []

    class Clock(pn.Callback):
        def on_epoch_begin(self, trainer, epoch):
            marks.append(time.perf_counter())

    trainer.fit(X, y, epochs=1, batch_size=BATCH, shuffle=shuffle, callbacks=[Clock()], verbose=0)
    return len(X) / (time.perf_counter() - marks[0]), marks[0] - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json")
    chosen = parser.parse_args()
    path = os.path.join(chosen.folder, "pynet-mapped.npy")
    try:
        write(path, chosen.rows)
        X, y = np.load(path, mmap_mode="r"), np.arange(chosen.rows) % 10
        result = {"cpu": cpu_name(), "rows": chosen.rows, "bytes": X.nbytes, "threads": chosen.threads}
        few = np.array(X[: min(len(X), 50_000)])
        result["steps from memory, rows/s"] = epoch(few, y[: len(few)], True, chosen.threads)[0]
        del few
        for readers in (1, 16):
            forget(path)
            result[f"random reads, {readers} threads, rows/s"] = random_reads(path, chosen.rows, readers)
        for shuffle in (True, False):
            forget(path)
            rows, check = epoch(X, y, shuffle, chosen.threads)
            name = "shuffled" if shuffle else "in order"
            result[f"fit, {name}, rows/s"], result[f"fit, {name}, check, s"] = rows, check
        with open("/proc/self/status") as file:
            result["private memory, MB"] = next(int(x.split()[1]) for x in file if x.startswith("RssAnon")) / 1024
        result["peak resident, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    finally:
        os.unlink(path)
    for name, value in result.items():
        print(f"{name:35s} {value:>12,.0f}" if isinstance(value, (int, float)) else f"{name:35s} {value:>12s}")
    if chosen.json:
        with open(chosen.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
