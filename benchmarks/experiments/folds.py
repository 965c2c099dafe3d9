"""pynet, scikit-learn and PyTorch on tabular data: 5 folds, the same folds, configurations drawn in the same number.

python benchmarks/experiments/folds.py --data FOLDER [--sets letter adult] [--folds 0 1] [--seeds 0 1]

FOLDER holds tabular/ with letter.npz, adult.npz, california_housing.npz and uci_regression.npz, or these files
themselves.  On the four fifths of the rows that are a fold's training rows, each system draws CONFIGURATIONS
configurations, fits each to 80 % of them and scores it on the other 20 %; the best one is fitted to all of them and
scored on the fold's test rows, which nothing has seen before.  All systems get the same float32 arrays (scaled, and
one-hot, by the training rows), the same batches of 32, the same most epochs and patience, the same drawn widths and
learning rates, one thread.  A system's seconds are those of all its fits; the systems take turns after each
configuration, so that what else the machine does hits all of them.

Results are kept fold by fold in a JSON file; what stands there is not run again, so that the work can be done in
pieces.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
import sklearn
from folds_systems import BATCH, TOL, Job, Pynet, ScikitLearn, between, score, shared
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

import pynet as pn
from pynet._safetensors import write_atomically

JSON = os.path.join(os.path.dirname(common.RESULTS), "folds-zen4.json")
FOLDS, CONFIGURATIONS, HELD = 5, 6, 0.2
ROWS = 20_000  # of a larger set so many are drawn, the same for all systems
SYSTEMS = ("pynet", "scikit-learn", "PyTorch", "PyTorch, cosine")
MEASURED = ("score", "seconds", "processor_seconds")
WIDE, NARROW = ((64, 64), (128, 64), (128, 128)), ((64,), (64, 32), (64, 64))
SETTINGS = {
    "letter": {"epochs": 30, "patience": 10, "widths": WIDE},
    "adult": {"epochs": 12, "patience": 10, "widths": NARROW},
    "california_housing": {"epochs": 30, "patience": 10, "widths": WIDE},
    "protein": {"epochs": 20, "patience": 10, "widths": WIDE},
    "concrete": {"epochs": 200, "patience": 40, "widths": WIDE},
    "digits": {"epochs": 4, "patience": 2, "widths": NARROW},
    "digit_values": {"epochs": 4, "patience": 2, "widths": NARROW},
}


# ---- data -----------------------------------------------------------------------------------------------------------


class Table(NamedTuple):
    """Rows of numbers and of categories (codes), and what is to be predicted."""

    numbers: np.ndarray  # [N, I]
    categories: np.ndarray | None
    y: np.ndarray  # float64: regression; int64: classes

    @property
    def regression(self) -> bool:
        return self.y.dtype.kind == "f"

    def some(self, n: int, seed: int) -> Table:
        """Return `n` of the rows, or all if there are no more."""
        if len(self.y) <= n:
            return self
        rows = np.sort(np.random.default_rng(seed).choice(len(self.y), n, replace=False))
        return Table(*(None if array is None else array[rows] for array in self))


def opened(folder: str, name: str):
    inner = os.path.join(folder, "tabular")
    return np.load(os.path.join(inner if os.path.isdir(inner) else folder, f"{name}.npz"), allow_pickle=False)


def letter(folder) -> Table:
    data = opened(folder, "letter")
    return Table(data["X"], None, data["y"].astype(np.int64))


def adult(folder) -> Table:
    data = opened(folder, "adult")
    return Table(data["X_num"], data["X_cat"], data["y"].astype(np.int64))


def california_housing(folder) -> Table:
    data = opened(folder, "california_housing")
    return Table(data["X"], None, data["y"])


def protein(folder) -> Table:
    data = opened(folder, "uci_regression")
    return Table(data["protein_X"], None, data["protein_y"])


def concrete(folder) -> Table:
    data = opened(folder, "uci_regression")
    return Table(data["concrete_X"], None, data["concrete_y"])


def digits(folder) -> Table:
    """Return the digits that come with the package: for --quick."""
    X, y = pn.datasets.load_digits()
    return Table(X[:400], None, y[:400].astype(np.int64))


def digit_values(folder) -> Table:
    """Return the digits as numbers to be predicted: for --quick."""
    table = digits(folder)
    return table._replace(categories=table.numbers[:, 20:22] // 4, y=table.y.astype(np.float64))


SETS = {made.__name__: made for made in (letter, adult, california_housing, protein, concrete)}
QUICK = {made.__name__: made for made in (digits, digit_values)}


class Scaled:
    """Scales numbers, and targets of a regression, to mean 0 and deviation 1 by some rows; categories are one-hot."""

    def __init__(self, table: Table, rows: np.ndarray) -> None:
        self.table = table
        self.scaler = StandardScaler().fit(table.numbers[rows])
        if table.categories is not None:
            self.encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(table.categories[rows])
        self.mean, self.deviation = (table.y[rows].mean(), table.y[rows].std()) if table.regression else (0, 1)

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return X float32 and y of these rows."""
        parts = [self.scaler.transform(self.table.numbers[rows])]
        if self.table.categories is not None:
            parts.append(self.encoder.transform(self.table.categories[rows]))
        y = self.table.y[rows]
        return np.hstack(parts).astype(np.float32), (y - self.mean) / self.deviation if self.table.regression else y


# ---- one fold -------------------------------------------------------------------------------------------------------


def folds(table: Table, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (training rows, test rows) of each fold."""
    cut = (KFold if table.regression else StratifiedKFold)(FOLDS, shuffle=True, random_state=seed)
    return list(cut.split(table.numbers, table.y))


def draws(system, widths, seed: int, fold: int, n: int) -> list[dict[str, Any]]:
    """Return the configurations of a system for a fold; what systems share is the same for all of them."""
    for_all, own = np.random.default_rng([seed, fold, 0]), np.random.default_rng([seed, fold, 1])
    configs = [shared(for_all, widths) | system.draw(own) for _ in range(n)]
    return [config | {"rate": between(config["rate"], *system.rates)} for config in configs]


class Clock:
    """Adds up the seconds that are spent under it, by the clock and of the processor."""

    def __init__(self) -> None:
        self.seconds = self.processor = 0.0

    def __enter__(self) -> None:
        self.begun = time.perf_counter(), time.process_time()

    def __exit__(self, *_) -> None:
        self.seconds += time.perf_counter() - self.begun[0]
        self.processor += time.process_time() - self.begun[1]


def run(table: Table, systems, settings: dict, seed: int, fold: int, n: int) -> dict[str, dict]:
    """Return {system: {"score" on the test rows, "seconds" of the clock, ...}} of one fold."""
    train, test = folds(table, seed)[fold]
    strata = None if table.regression else table.y[train]
    fitted, held = train_test_split(train, test_size=HELD, random_state=seed, stratify=strata)
    scaled = Scaled(table, fitted)
    parts = (*scaled(fitted), *scaled(held))
    job = Job(table.regression, settings["epochs"], settings["patience"], 1000 * seed + fold)
    drawn = {s.name: draws(s, settings["widths"], seed, fold, n) for s in systems}
    clocks = {s.name: Clock() for s in systems}
    found: dict[str, list[tuple[float, int]]] = {s.name: [] for s in systems}
    for k in range(n):
        for s in systems:
            with clocks[s.name]:
                found[s.name].append(s.search(drawn[s.name][k], job, *parts))
    scaled = Scaled(table, train)
    (X, y), (X_test, y_test) = scaled(train), scaled(test)
    results = {}
    for s in systems:
        scores = [value for value, _ in found[s.name]]
        best = int(np.argmax(scores))
        config, epochs = drawn[s.name][best], found[s.name][best][1]
        with clocks[s.name]:
            predict = s.refit(config, job._replace(epochs=epochs), X, y)
        results[s.name] = {
            "score": score(job, y_test, predict(X_test)), "seconds": clocks[s.name].seconds,
            "processor_seconds": clocks[s.name].processor, "validation": scores, "chosen": config, "epochs": epochs,
        }  # fmt: skip
    return results


# ---- results --------------------------------------------------------------------------------------------------------


def read(path: str | None, settings: dict) -> dict[str, dict]:
    """Return {"set/seed/fold": {system: result}} of a file, or nothing.

    Raises
    ------
    SystemExit
        The file was made with other settings: its results are others' results.
    """
    if path is None or not os.path.exists(path):
        return {}
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    if record["settings"] != common.plain(settings):
        raise SystemExit(f"{path} was made with other settings: give another file with --json, or remove it")
    return record["runs"]


def write(path: str | None, runs: dict, settings: dict) -> None:
    """Write the results so far, and what they were made with."""
    if path is None:
        return
    machine = {"cpu": common.cpu_name(), "isa": pn.cpu_info()["isa"], "threads": 1}
    versions = {"pynet": pn.__version__, "numpy": np.__version__, "scikit-learn": sklearn.__version__}
    if "torch" in sys.modules:
        versions["torch"] = sys.modules["torch"].__version__
    record = {"experiment": "folds", "machine": machine, "versions": versions, "settings": settings}
    text = common.as_json(common.plain(record | {"runs": dict(sorted(runs.items()))})) + "\n"
    write_atomically(path, [text.encode()])


def column(runs: dict, name: str, system: str, what: str) -> dict[tuple[int, int], float]:
    """Return {(seed, fold): number} of one set and system."""
    found = {}
    for key, results in runs.items():
        of, seed, fold = key.split("/")
        if of == name and system in results:
            found[int(seed), int(fold)] = results[system][what]
    return found


def report(runs: dict, names) -> str:
    """Return the table; what is compared with pynet is compared in the folds that both have run.

    Seconds are medians over the folds, by the clock; the last ratio is that of the processor's.
    """
    rows = []
    for name in names:
        ours = {what: column(runs, name, "pynet", what) for what in MEASURED}
        for system in SYSTEMS:
            found = {what: column(runs, name, system, what) for what in MEASURED}
            scores = found["score"]
            if not scores:
                continue
            row = [name, system, len(scores), common.mean_sd(list(scores.values()), 4)]
            seconds = f"{np.median(list(found['seconds'].values())):.1f}"
            both = [key for key in scores if key in ours["score"]]
            if system == "pynet" or not both:
                rows.append([*row, "", "", seconds, "", ""])
                continue
            ahead = np.array([ours["score"][key] - scores[key] for key in both])
            error = common.deviation(ahead) / np.sqrt(len(both))
            row += [f"{ahead.mean():+.4f} ± {error:.4f}", f"{(ahead > 0).sum()} of {len(both)}", seconds]
            for what in MEASURED[1:]:
                theirs, own = (np.median([of[what][key] for key in both]) for of in (found, ours))
                row.append(f"{theirs / own:.1f}")
            rows.append(row)
    head = ["set", "system", "folds", "score", "pynet's minus it", "pynet better in", "seconds of a fold",
            "over pynet's", "of the processor"]  # fmt: skip
    return common.table(head, rows)


# ---- the program ----------------------------------------------------------------------------------------------------


def made(names) -> list:
    """Return the systems of these names, in the order of SYSTEMS."""
    systems: list = [Pynet(), ScikitLearn()]
    if any(name.startswith("PyTorch") for name in names):
        import folds_torch
        import torch

        torch.set_num_threads(1)
        systems += [folds_torch.Plain(), folds_torch.Cosine()]
    return [system for system in systems if system.name in names]


def warm_up(systems) -> None:
    """Let each fit once, so that all of it is loaded when the clocks begin."""
    X, y = np.eye(40, dtype=np.float32), np.arange(40) % 2
    for system in systems:
        system.refit(draws(system, NARROW, 0, 0, 1)[0], Job(False, 1, 1, 0), X, y)


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", metavar="FOLDER", default=os.environ.get("PYNET_DATA"), help="holds tabular/")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--folds", nargs="+", type=int, choices=range(FOLDS), default=list(range(FOLDS)))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of folds, draws and fits, default 0")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--quick", action="store_true", help="seconds, on the digits that come with the package")
    parser.add_argument("--json", metavar="FILE", help="default benchmarks/results/folds-zen4.json; with --quick none")
    chosen = parser.parse_args(argv)
    if chosen.data is None and not chosen.quick:
        raise SystemExit("give --data FOLDER or set PYNET_DATA: a folder that holds tabular/")
    path = chosen.json or (None if chosen.quick else JSON)
    tables, n = (QUICK, 2) if chosen.quick else ({name: SETS[name] for name in chosen.sets}, CONFIGURATIONS)
    settings = {"rows": ROWS, "folds": FOLDS, "configurations": n, "validation": HELD, "batch": BATCH, "tol": TOL,
                "sets": SETTINGS}  # fmt: skip
    runs = read(path, settings)
    pn.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are limited on purpose
        for name, load in tables.items():
            table = load(chosen.data)
            for seed in chosen.seeds:
                for fold in chosen.folds:
                    done = runs.setdefault(f"{name}/{seed}/{fold}", {})
                    if left := made([system for system in chosen.systems if system not in done]):
                        warm_up(left)
                        done |= run(table.some(ROWS, seed), left, SETTINGS[name], seed, fold, n)
                        write(path, runs, settings)
    print(report(runs, tables))


if __name__ == "__main__":
    main()
