"""Boolean functions as exact networks, and what one linear unit cannot do.

python benchmarks/experiments/logic.py

1. Each of the 256 functions of 3 inputs as a network in DNF and in CNF, on both machines: rows right, hidden units.
2. How many functions of 2 and 3 inputs one unit computes, each with its proof, against the published numbers.
3. XOR: learned by a net with hidden units, not by one unit, from many seeds; and the proof that no unit can.

Prints the tables, writes the numbers to benchmarks/results/experiments/logic.json and a plot beside it (--json).
The plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import os
import time

import numpy as np

import pynet as pn
from pynet import logic

PUBLISHED = {2: 14, 3: 104}  # threshold functions of n variables: Muroga 1971, OEIS A000609
FORMS = ("dnf", "cnf")
LABELS = {"dnf": "DNF", "cnf": "CNF", "better_form": "the better of both"}
CODINGS = {  # of the truth values 0 and 1, and the head and loss that suit it
    "-1, 1": {"input": {"shift": 0.5, "scale": 2.0}, "head": "tanh", "loss": "mse", "low": -1.0},
    "0, 1": {"input": {}, "head": "sigmoid", "loss": "binary_cross_entropy", "low": 0.0},
}
NETS = (("2-1", 0, "-1, 1"), ("2-1", 0, "0, 1"), ("2-2-1", 2, "-1, 1"), ("2-2-1", 2, "0, 1"), ("2-4-1", 4, "0, 1"))
EPOCHS, LEARNING_RATE = 1000, 0.03
XOR = np.array([0, 1, 1, 0])


def tables(n: int) -> np.ndarray:
    """Return the truth tables of all functions of n inputs, [2^(2^n), 2^n]."""
    rows = 2**n
    return np.arange(2**rows)[:, None] >> np.arange(rows)[::-1] & 1


def all_functions(n: int = 3) -> dict:
    """Build every function in both forms and run it on both machines."""
    X = logic.assignments(n)
    result: dict = {"inputs": n, "functions": 2**2**n}
    hidden = {form: [] for form in FORMS}
    for form in FORMS:
        exact = dict.fromkeys(("c", "numpy"), 0)
        for outputs in tables(n):
            model = logic.from_truth_table(outputs, form)
            for backend in exact:
                exact[backend] += bool((model.predict(X, backend=backend)[:, 0] == outputs).all())
            hidden[form].append(logic.hidden_units(model))
        result[form] = {"exact": exact} | histogram(hidden[form])
    result["better_form"] = histogram(np.minimum(hidden["dnf"], hidden["cnf"]))
    return result


def histogram(hidden) -> dict:
    """Return how many functions have 0, 1, 2 ... hidden units."""
    return {"functions_by_hidden_units": np.bincount(hidden).tolist(), "mean_hidden_units": float(np.mean(hidden))}


def separable_functions(n: int) -> int:
    """Count the functions that one unit computes; look at every proof."""
    X = np.column_stack([logic.assignments(n), np.ones(2**n)]).astype(int)
    count = 0
    for outputs in tables(n):
        found = logic.is_linearly_separable(outputs)
        if found:
            count += 1
            sums = X @ [*found.weights, found.bias]
            assert ((sums > 0) == outputs).all(), outputs
        else:
            rows, times = list(found.multipliers), np.array(list(found.multipliers.values()))
            signed = times * np.where(outputs[rows], 1, -1)
            assert (times > 0).all(), outputs
            assert outputs[rows].any(), outputs
            assert not (signed @ X[rows]).any(), outputs
    return count


class Watch(pn.Callback):
    """The rows right after every epoch."""

    def __init__(self, X: np.ndarray, middle: float):
        self.X, self.middle, self.right = X, middle, []

    def on_epoch_end(self, trainer, epoch, logs):
        said = trainer.model.predict(self.X)[:, 0] > self.middle
        self.right.append(int((said == XOR).sum()))


def learn_xor(hidden: int, coding: str, seed: int) -> dict:
    """Train one net on the four rows; return the rows right at the end and at best, and the losses."""
    code = CODINGS[coding]
    layers = [pn.Input(2, **code["input"])]
    if hidden:
        layers.append(pn.Dense(hidden, activation="tanh"))
    model = pn.Sequential([*layers, pn.Dense(1, activation=code["head"])], random_state=seed)
    trainer = pn.Trainer(model, code["loss"], pn.Adam(LEARNING_RATE), random_state=seed)
    X, y = logic.assignments(2), np.where(XOR, 1.0, code["low"])
    watch = Watch(X, (1 + code["low"]) / 2)
    history = trainer.fit(X, y, epochs=EPOCHS, batch_size=4, callbacks=[watch], verbose=0)
    return {"seed": seed, "right": watch.right[-1], "best": max(watch.right), "losses": history.history["loss"]}


def xor(seeds: int) -> list[dict]:
    """Train every net from every seed."""
    rows = []
    for net, hidden, coding in NETS:
        runs = [learn_xor(hidden, coding, seed) for seed in range(seeds)]
        rows.append({
            "net": net, "coding": coding, "loss": CODINGS[coding]["loss"], "head": CODINGS[coding]["head"],
            "seeds": seeds, "solved": sum(run["right"] == 4 for run in runs), "rows_right": [r["right"] for r in runs],
            "rows_right_at_best": [r["best"] for r in runs], "final_losses": [r["losses"][-1] for r in runs],
            "losses": [run.pop("losses") for run in runs],
        })  # fmt: skip
    return rows


def best_of_one_unit() -> int:
    """Return how many rows of XOR any single unit gets right: the nearest of all separable functions."""
    return max(int((outputs == XOR).sum()) for outputs in tables(2) if logic.is_linearly_separable(outputs))


def cells(values) -> str:
    return f"| {' | '.join(map(str, values))} |"


def report(result: dict) -> str:
    """Return the numbers as tables."""
    functions, nets = result["functions"], result["xor"]["nets"]
    most = len(functions["dnf"]["functions_by_hidden_units"])
    head = [f"{functions['functions']} functions of {functions['inputs']} inputs", "exact, C", "exact, NumPy"]
    lines = [cells([*head, *(f"{k} hidden" for k in range(most)), "mean"]), "|---" * (most + 4) + "|"]
    for form in (*FORMS, "better_form"):
        row = functions[form]
        counts = row["functions_by_hidden_units"]
        exact = row.get("exact", {"c": "", "numpy": ""})
        counts = [*counts, *[0] * (most - len(counts)), f"{row['mean_hidden_units']:.2f}"]
        lines.append(cells([LABELS[form], exact["c"], exact["numpy"], *counts]))
    lines += ["", "| inputs | functions | one unit computes | published |", "|---|---|---|---|"]
    lines += [f"| {n} | {2**2 ** int(n)} | {k} | {PUBLISHED[int(n)]} |" for n, k in result["separable"].items()]
    lines += ["", "| XOR learned by | truth values, head, loss | solved | rows right, best of all | proven limit |"]
    lines.append("|---|---|---|---|---|")
    for row in nets:
        how = f"{row['coding']}, {row['head']}, {row['loss']}"
        limit = result["xor"]["best_of_one_unit"] if row["net"] == "2-1" else 4
        best = max(row["rows_right_at_best"])
        solved = f"{row['solved']} of {row['seeds']} seeds"
        lines.append(cells([row["net"], how, solved, f"{best} of 4", f"{limit} of 4"]))
    return "\n".join([*lines, "", "XOR is " + result["xor"]["proof"]])


def plot(result: dict, nets: list[dict], path: str) -> None:
    """Draw the hidden units of all functions, and XOR's losses."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("the plot needs matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for k, (form, color) in enumerate(zip(LABELS, ("#3572a5", "#e08a2e", "#8a8a8a"), strict=True)):
        counts = result["functions"][form]["functions_by_hidden_units"]
        bars = left.bar(np.arange(len(counts)) + 0.27 * (k - 1), counts, 0.25, label=LABELS[form], color=color)
        left.bar_label(bars, fontsize=8)
    left.set(xlabel="hidden units (minimised)", ylabel="functions", title="All 256 functions of 3 inputs, each exact")
    left.legend(frameon=False)
    shown = {"2-1": "#b03030", "2-2-1": "#3572a5"}
    for row in nets:
        if row["coding"] != "-1, 1":
            continue
        what = "one unit (2-1)" if row["net"] == "2-1" else row["net"]
        label = f"{what}: {row['solved']} of {row['seeds']} seeds solve it"
        for losses in row["losses"]:
            right.plot(range(1, len(losses) + 1), losses, color=shown[row["net"]], lw=1, alpha=0.6, label=label)
            label = None
    right.set(
        xlabel="epoch", ylabel="mean squared error", yscale="log", title="XOR, truth values -1 and 1", ylim=(3e-5, 3)
    )
    right.legend(frameon=False, loc="lower left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    here = os.path.dirname(os.path.abspath(__file__))
    default = os.path.join(here, "..", "results", "experiments", "logic.json")
    parser.add_argument("--json", default=os.path.normpath(default), help="where to write; the plot goes beside it")
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()

    begun = time.perf_counter()
    nets = xor(arguments.seeds)
    result = {
        "settings": {
            "command": "python benchmarks/experiments/logic.py", "pynet": pn.__version__, "isa": pn.cpu_info()["isa"],
            "seeds": arguments.seeds, "epochs": EPOCHS, "optimizer": f"Adam({LEARNING_RATE})", "batch": 4,
            "hidden_activation": "tanh", "codings": CODINGS,
        },
        "functions": all_functions(),
        "separable": {str(n): separable_functions(n) for n in PUBLISHED},
        "separable_published": PUBLISHED,
        "xor": {
            "nets": [{key: value for key, value in row.items() if key != "losses"} for row in nets],
            "best_of_one_unit": best_of_one_unit(),
            "proof": str(logic.is_linearly_separable(XOR)),
        },
    }  # fmt: skip
    result["settings"]["seconds"] = round(time.perf_counter() - begun, 1)
    print(report(result))
    path = os.path.abspath(arguments.json)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    picture = os.path.splitext(path)[0] + ".png"
    plot(result, nets, picture)
    print(f"\n{result['settings']['seconds']} s; wrote {path} and {picture}")


if __name__ == "__main__":
    main()
