"""Permutation symmetry on MNIST: the loss on straight paths that swap two hidden units, or shuffle all.

python benchmarks/experiments/permutation.py [FOLDER]

FOLDER holds the four original files (train-images-idx3-ubyte.gz, ...); default: the environment variable PYNET_DATA.
Any order of hidden units is the same function, so both ends of the path have the same loss; between them it is higher
(pn.analysis.interpolate_units, docs/symmetry.md).  Writes permutation.json and, with matplotlib, permutation.png into
benchmarks/results/experiments.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

import numpy as np

import pynet as pn

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import mnist_files  # noqa: E402  of the folder above

RESULTS = os.path.join(os.path.dirname(HERE), "results", "experiments")
SEEDS, UNITS, EPOCHS, PAIRS, STEPS = (0, 1, 2), 32, 5, 10, 21


def train(X, y, seed: int) -> pn.Model:
    """Return a trained net 784-UNITS-10."""
    layers = [pn.Input(784, scale=1 / 255), pn.Dense(UNITS, "relu", name="hidden"), pn.Dense(10, "softmax")]
    model = pn.Sequential(layers, random_state=seed)
    trainer = pn.Trainer(model, "cross_entropy", pn.Adam(1e-3), random_state=seed)
    trainer.fit(X, y, epochs=EPOCHS, batch_size=128, verbose=0)
    return model


def measure(model, X, y, seed: int) -> dict:
    """Return the losses on PAIRS paths that swap two units, on PAIRS that shuffle all, and how far predictions move."""
    rng = np.random.default_rng(seed)
    swaps, shuffles, moved = [], [], 0.0
    expected = model.predict(X)
    for _ in range(PAIRS):
        i, j = rng.choice(UNITS, 2, replace=False)
        paths = [pn.analysis.interpolate_units(model, "hidden", i, j, STEPS)]
        shuffled = pn.analysis.permute_units(model, "hidden", rng.permutation(UNITS))
        paths.append(pn.analysis.straight_path(model, shuffled, STEPS))
        for path, losses in zip(paths, (swaps, shuffles), strict=True):
            losses.append(pn.analysis.loss_along_path(path, X, y, "cross_entropy").loss)
            moved = max(moved, float(np.abs(path.end.predict(X) - expected).max()))
    return {"a": path.a, "swap": np.array(swaps), "shuffle": np.array(shuffles), "moved": moved}


def spread(values) -> dict:
    """Return mean and standard deviation over the seeds."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)), "seeds": [float(v) for v in values]}


def summary(found: list[dict]) -> dict:
    """Return what the json holds of the runs of all seeds."""
    result = {
        "net": f"784-{UNITS}-10, ReLU, {EPOCHS} epochs of Adam, loss on the 10000 test images",
        "seeds": list(SEEDS),
        "paths_a_seed": PAIRS,
        "largest_change_of_a_prediction": max(run["moved"] for run in found),
        "a": found[0]["a"].tolist(),
    }
    for kind in ("swap", "shuffle"):
        runs = [run[kind] for run in found]
        rises = [(loss - loss[:, :1]).mean(axis=0) for loss in runs]
        between = [loss[:, 1:-1].max(axis=1) > loss[:, [0, -1]].max(axis=1) for loss in runs]
        result[kind] = {
            "loss_at_start": spread([loss[:, 0].mean() for loss in runs]),
            "largest_difference_of_ends": max(float(np.abs(loss[:, 0] - loss[:, -1]).max()) for loss in runs),
            "loss_in_the_middle": spread([loss[:, STEPS // 2].mean() for loss in runs]),
            "barrier": spread([(loss.max(axis=1) - loss[:, 0]).mean() for loss in runs]),
            "paths_higher_between": f"{sum(int(b.sum()) for b in between)} of {sum(b.size for b in between)}",
            "mean_rise": np.mean(rises, axis=0).tolist(),
            "std_rise": np.std(rises, axis=0, ddof=1).tolist(),
        }
    return result


def draw(found: list[dict], result: dict, path: str) -> None:
    """Draw every path and the mean of the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.9), layout="constrained")
    titles = {"swap": "Two units change places", "shuffle": f"All {UNITS} units are shuffled"}
    for ax, (kind, title) in zip(axes, titles.items(), strict=True):
        a, mean, std = (np.array(x) for x in (result["a"], result[kind]["mean_rise"], result[kind]["std_rise"]))
        for run in found:
            ax.plot(a, (run[kind] - run[kind][:, :1]).T, color="#5A5A5A", linewidth=0.5, alpha=0.4)
        ax.fill_between(a, mean - std, mean + std, color="#0072B2", alpha=0.25, label="± standard deviation")
        ax.plot(a, mean, color="#0072B2", marker="o", markersize=3, label=f"mean of {len(SEEDS)} seeds")
        ax.plot([], [], color="#5A5A5A", linewidth=0.5, label=f"{PAIRS} single paths a seed")
        ax.set(xlabel="a: 1 as trained, 0 permuted", xlim=(1, 0), ylim=(0, None), title=title)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(True, alpha=0.25, linewidth=0.6)
    start = result["swap"]["loss_at_start"]["mean"]
    axes[0].set_ylabel(f"rise of the loss on test images\n(cross-entropy; {start:.3f} at the ends)")
    axes[0].legend(frameon=False, fontsize="small", loc="upper left")
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", default=os.environ.get("PYNET_DATA"))
    folder = parser.parse_args().folder
    if folder is None:
        parser.error("give the FOLDER of the four MNIST files, or set PYNET_DATA")
    begun = time.perf_counter()
    X, y, X_test, y_test = mnist_files.load(folder)
    found = [measure(train(X, y, seed), X_test, y_test, seed) for seed in SEEDS]
    result = summary(found)
    os.makedirs(RESULTS, exist_ok=True)
    with open(os.path.join(RESULTS, "permutation.json"), "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    for kind in ("swap", "shuffle"):
        part = result[kind]
        print(f"{kind}: {part['paths_higher_between']} paths are higher between their ends")
        for key in ("loss_at_start", "loss_in_the_middle", "barrier"):
            print(f"  {key:19s} {part[key]['mean']:.4f} +- {part[key]['std']:.4f}")
        print(f"  the losses of the ends differ by at most {part['largest_difference_of_ends']:.1e}")
    print(f"a prediction changes by at most {result['largest_change_of_a_prediction']:.1e}")
    try:
        draw(found, result, os.path.join(RESULTS, "permutation.png"))
    except ImportError:
        print('no picture: pip install "pynet[plot]"')
    print(f"{time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()
