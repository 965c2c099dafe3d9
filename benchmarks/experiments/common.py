"""What the experiments share: arguments, MNIST, seeds, records, tables, plots.

`--data FOLDER`, or the environment variable PYNET_DATA: a folder that holds mnist/ with the four original files (or
those files themselves).  `--quick` runs in seconds, on few rows; then the digits that come with pynet stand in where
no folder is given, and nothing is written unless `--out FOLDER` says where.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time

import numpy as np

import pynet as pn

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import mnist_files  # noqa: E402  of the folder above
from calibrate import cpu_name  # noqa: E402

RESULTS = os.path.join(os.path.dirname(HERE), "results", "experiments")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe, Ito 2008
MARKERS = "osD^vP*"


# ---- arguments and data ---------------------------------------------------------------------------------------------


def arguments(doc: str, argv=None, **more) -> argparse.Namespace:
    """Parse the command line.

    Parameters
    ----------
    doc : str
        The docstring of the script; its first line is shown.
    argv : list of str, optional
        Default: that of the process.
    **more
        Further options: {name: keywords of add_argument}.

    Returns
    -------
    Namespace
        data (folder or None), seeds (list of int), quick, out (folder or None: nothing is written), begun (the
        processor's time now), command; and those of `more`.
    """
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--data", metavar="FOLDER", default=os.environ.get("PYNET_DATA"), help="holds mnist/")
    parser.add_argument("--seeds", type=int, default=3, help="how many, default 3")
    parser.add_argument("--quick", action="store_true", help="a few rows, seconds: shows only that it runs")
    parser.add_argument("--out", metavar="FOLDER", help="for JSON and PNG, default benchmarks/results/experiments")
    for name, keywords in more.items():
        parser.add_argument(f"--{name}", **keywords)
    chosen = parser.parse_args(argv)
    if chosen.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {chosen.seeds}")
    chosen.seeds = list(range(chosen.seeds))
    chosen.out = chosen.out or (None if chosen.quick else RESULTS)
    chosen.begun = time.process_time()
    script = os.path.basename(sys.argv[0])
    chosen.command = f"python benchmarks/experiments/{script} --data FOLDER --seeds {len(chosen.seeds)}"
    chosen.command += " --quick" if chosen.quick else ""
    return chosen


def mnist(chosen: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return X, y, X_test, y_test: uint8 [N, 784] and class numbers; with --quick some 1300 and 500 rows."""
    if chosen.data is None and not chosen.quick:
        raise SystemExit(
            "give --data FOLDER or set PYNET_DATA: a folder that holds mnist/ with the four original files"
        )
    if chosen.data is None:
        X, y = pn.datasets.load_digits()
        return X[:-500], y[:-500], X[-500:], y[-500:]
    inner = os.path.join(chosen.data, "mnist")
    X, y, X_test, y_test = mnist_files.load(inner if os.path.isdir(inner) else chosen.data)
    return (X[:1300], y[:1300], X_test[:500], y_test[:500]) if chosen.quick else (X, y, X_test, y_test)


def pixels(X: np.ndarray) -> pn.Input:
    """Return an Input for images like `X`, scaled to 0..1."""
    return pn.Input(X.shape[1], scale=1 / float(X.max()))


# ---- numbers --------------------------------------------------------------------------------------------------------


def over_seeds(chosen: argparse.Namespace, what: str, run) -> list:
    """Return [run(seed) for all seeds]; on a terminal, say what is being run."""
    results = []
    for seed in chosen.seeds:
        if sys.stderr.isatty():
            print(f"\r{what}, seed {seed} \x1b[K", end="", file=sys.stderr, flush=True)
        results.append(run(seed))
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return results


def spread(values) -> dict:
    """Return {"mean", "sd", "seeds"} of one number of each seed; sd is the standard deviation of the sample."""
    values = [float(v) for v in values]
    return {"mean": float(np.mean(values)), "sd": deviation(values), "seeds": values}


def deviation(values) -> float:
    """Return the standard deviation of a sample; of one value 0."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def mean_sd(values, digits: int = 2) -> str:
    """Return "mean ± standard deviation" of a few values, one of each seed, or of what `spread` made of them."""
    values = values["seeds"] if isinstance(values, dict) else values
    return f"{np.mean(values):.{digits}f} ± {deviation(values):.{digits}f}"


def error(model: pn.Model, X: np.ndarray, y: np.ndarray) -> float:
    """Return the share of wrong classes in %, by the last output of the model."""
    predicted = model.predict(X)
    predicted = predicted[-1] if isinstance(predicted, list) else predicted
    return 100 * float(np.mean(predicted.argmax(axis=1) != y))


def table(head: list[str], rows: list[list]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def save(chosen: argparse.Namespace, name: str, settings: dict, results: dict, draw) -> None:
    """Write `settings` and `results` to name.json, and what `draw()` returns to name.png; or nothing, see `arguments`.

    The JSON also holds the command, the machine, the versions, the seeds and the seconds of the processor.
    """
    seconds = time.process_time() - chosen.begun
    print(f"\n{seconds:.0f} s of one core")
    if chosen.out is None:
        return
    machine = {"cpu": cpu_name(), "isa": pn.cpu_info()["isa"], "threads": 1}
    record = {
        "experiment": name, "command": chosen.command, "pynet": pn.__version__, "numpy": np.__version__,
        "machine": machine, "cpu_seconds": round(seconds, 1), "seeds": chosen.seeds, "settings": settings, **results,
    }  # fmt: skip
    os.makedirs(chosen.out, exist_ok=True)
    path = os.path.join(chosen.out, f"{name}.json")
    with open(path, "w", encoding="utf-8") as file:
        file.write(as_json(plain(record)) + "\n")
    figure = draw()
    figure.savefig(os.path.splitext(path)[0] + ".png", dpi=100)
    print(f"wrote {name}.json and {name}.png")


def plain(x):
    """Return `x` for JSON: floats with six digits, None for NaN and infinity."""
    if isinstance(x, dict):
        return {str(key): plain(value) for key, value in x.items()}
    if isinstance(x, (list, tuple, np.ndarray)):
        return [plain(value) for value in x]
    if isinstance(x, (float, np.floating)):
        return float(f"{x:.6g}") if math.isfinite(x) else None
    return int(x) if isinstance(x, np.integer) else x


def as_json(x, indent: str = "\n") -> str:
    """Return JSON with every list of plain values on one line."""
    if isinstance(x, dict) and x:
        inner = indent + " "
        pairs = (f"{json.dumps(key)}: {as_json(value, inner)}" for key, value in x.items())
        return "{" + inner + ("," + inner).join(pairs) + indent + "}"
    if isinstance(x, list) and any(isinstance(value, (dict, list)) for value in x):
        inner = indent + " "
        return "[" + inner + ("," + inner).join(as_json(value, inner) for value in x) + indent + "]"
    return json.dumps(x, allow_nan=False, ensure_ascii=False)


# ---- plots ----------------------------------------------------------------------------------------------------------


def axes(n: int, width: float = 4.8, height: float = 3.8, **options):
    """Return a figure and its `n` axes side by side."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit('the plots need matplotlib: pip install "pynet[plot]"') from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, found = pyplot.subplots(1, n, figsize=(width * n, height), squeeze=False, layout="constrained", **options)
    for ax in found[0]:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    return figure, list(found[0])


def style(k: int, marker: bool = True) -> dict:
    """Return colour and marker of the k-th line of a plot: to be told apart without colours, too."""
    look = {"color": COLOURS[k % len(COLOURS)], "linewidth": 1.6}
    return look | ({"marker": MARKERS[k % len(MARKERS)], "markersize": 4} if marker else {})


def band(ax, x, runs, k: int, label: str | None = None, marker: bool = True) -> None:
    """Draw the mean of `runs` [seeds, len(x)] over `x`, and from the least to the greatest of the seeds a band."""
    runs = np.asarray(runs, float)
    ax.plot(x, runs.mean(axis=0), label=label, **style(k, marker))
    ax.fill_between(x, runs.min(axis=0), runs.max(axis=0), color=COLOURS[k % len(COLOURS)], alpha=0.2, linewidth=0)
