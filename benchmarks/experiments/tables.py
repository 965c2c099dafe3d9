"""Tables with no setting at all: adult and California housing as CSV files, against published multilayer perceptrons.

`--data FOLDER` holds tabular/adult.npz and tabular/california_housing.npz (or those files themselves).  Adult has the
official split: its 16 281 test rows are a file that training never sees.  Of California housing 20 % of the rows are
test rows and 16 % validation rows, drawn by the seed, as in Gorishniy et al. 2021 ("Revisiting Deep Learning Models for
Tabular Data", arXiv:2106.11959), whose table 2 has the numbers for tuned networks.  `--csv FOLDER` writes the files
there and trains nothing.  `--validation` scores the validation part instead of the test part: that is what the defaults
of TableModel were chosen by.
"""

from __future__ import annotations

import csv
import os
import tempfile
import time

import common
import numpy as np

from pynet.tabular import TableModel

PUBLISHED = {"adult": ("accuracy", 0.852), "california": ("rmse", 0.499)}  # of a tuned multilayer perceptron
VARIANTS = {
    "defaults": {},
    "standard scaling": {"scaling": "standard"},
    "quantile scaling": {"scaling": "quantile"},
    "16 pieces": {"knots": 16},
    "no dropout": {"dropout": 0.0},
    "dropout 0.2": {"dropout": 0.2},
    "relu": {"activation": "relu"},
    "one layer": {"hidden": [256]},
    "three layers": {"hidden": [256, 256, 256]},
    "width 128": {"hidden": [128, 128]},
    "embedding": {"embed": 4},
}


def write_csv(path: str, names: list[str], columns: list) -> str:
    """Write columns as a CSV file; return its path."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(zip(*(column.tolist() for column in columns), strict=True))
    return path


def adult(folder: str, out: str) -> tuple[str, str]:
    """Write adult.csv, adult_train.csv and adult_test.csv; return the paths of the last two."""
    with np.load(os.path.join(folder, "adult.npz")) as data:
        names = [*data["num_names"].tolist(), *data["cat_names"].tolist(), "income"]
        columns = [data["X_num"][:, k] for k in range(data["X_num"].shape[1])]
        for k, name in enumerate(data["cat_names"].tolist()):
            columns.append(data[f"levels_{name}"][data["X_cat"][:, k]])
        columns.append(data["class_names"][data["y"]])
        n = int(data["n_train"])
    write_csv(os.path.join(out, "adult.csv"), names, columns)
    parts = (("adult_train.csv", slice(n)), ("adult_test.csv", slice(n, None)))
    train, test = (write_csv(os.path.join(out, name), names, [c[rows] for c in columns]) for name, rows in parts)
    return train, test


def california(folder: str, out: str) -> str:
    """Write california_housing.csv; return its path."""
    with np.load(os.path.join(folder, "california_housing.npz")) as data:
        names = [*data["feature_names"].tolist(), "MedHouseVal"]
        columns = [*np.asarray(data["X"], np.float64).T, np.asarray(data["y"], np.float64).reshape(-1)]
    return write_csv(os.path.join(out, "california_housing.csv"), names, columns)


def parts_of(path: str, share: float, seed: int) -> tuple[dict, dict]:
    """Return a table as dicts of columns: a share of the rows, drawn by the seed, and the rest."""
    with open(path, newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    drawn = np.random.default_rng(seed).permutation(len(rows))
    cut = round(share * len(rows))

    def table(which) -> dict:
        columns = {name: [rows[r][k] for r in which] for k, name in enumerate(names)}
        return {name: _numbers(column) for name, column in columns.items()}

    return table(drawn[:cut]), table(drawn[cut:])


def _numbers(column: list[str]):
    try:
        return np.array(column, np.float64)
    except ValueError:
        return column


def run(name: str, files, seed: int, options: dict, on_validation: bool) -> dict:
    """Return the score and the seconds of one training; a fifth of the rows trained with is for validation."""
    if name == "adult":
        learn, test = files
        if on_validation:
            test, learn = parts_of(learn, 0.2, seed)
        target = "income"
    else:
        test, learn = parts_of(files, 0.2, seed)
        if on_validation:
            test, learn = parts_of_table(learn, 0.2, seed)
        target = "MedHouseVal"
    begun = time.perf_counter()
    model = TableModel(validation=0.2, random_state=seed, **options).fit(learn, target, verbose=0)
    seconds = time.perf_counter() - begun
    return {"score": model.evaluate(test, target)[PUBLISHED[name][0]], "seconds": seconds}


def parts_of_table(table: dict, share: float, seed: int) -> tuple[dict, dict]:
    """The same as `parts_of`, of a dict of columns."""
    n = len(next(iter(table.values())))
    drawn = np.random.default_rng(seed).permutation(n)
    cut = round(share * n)
    first, rest = ({k: np.asarray(v)[rows] for k, v in table.items()} for rows in (drawn[:cut], drawn[cut:]))
    return first, rest


def main(argv=None) -> dict:
    """Run the experiment; return what was measured."""
    more = {
        "csv": {"metavar": "FOLDER", "help": "write the CSV files there, and no more"},
        "validation": {"action": "store_true", "help": "score the validation part, for choosing settings"},
        "variants": {"action": "store_true", "help": "also with other settings than the defaults"},
        "only": {"choices": list(PUBLISHED), "help": "one of the two tables"},
    }
    chosen = common.arguments(__doc__, argv, **more)
    if chosen.data is None:
        raise SystemExit("give --data FOLDER or set PYNET_DATA: a folder that holds tabular/adult.npz")
    inner = os.path.join(chosen.data, "tabular")
    folder = inner if os.path.isdir(inner) else chosen.data
    with tempfile.TemporaryDirectory() as temporary:
        out = chosen.csv or temporary
        os.makedirs(out, exist_ok=True)
        files = {"adult": adult(folder, out), "california": california(folder, out)}
        if chosen.csv:
            print(f"adult.csv, adult_train.csv, adult_test.csv and california_housing.csv are in {out}")
            return {}
        results: dict = {}
        rows = []
        for name in [chosen.only] if chosen.only else PUBLISHED:
            metric, published = PUBLISHED[name]
            for variant, options in VARIANTS.items() if chosen.variants else [("defaults", {})]:
                options = options | ({"epochs": 2} if chosen.quick else {})
                made = common.over_seeds(
                    chosen,
                    f"{name}, {variant}",
                    lambda seed, o=options, n=name: run(n, files[n], seed, o, chosen.validation),
                )
                results.setdefault(name, {})[variant] = {
                    metric: common.spread(one["score"] for one in made),
                    "seconds": common.spread(one["seconds"] for one in made),
                }
                score = common.mean_sd([one["score"] for one in made], 4)
                rows.append(
                    [name, variant, metric, score, f"{published}", f"{np.mean([one['seconds'] for one in made]):.1f} s"]
                )
                print(" | ".join(rows[-1]), flush=True)
    print("\n" + common.table(["table", "settings", "score", "pynet", "published", "a training"], rows))
    name = "tables-validation" if chosen.validation else "tables"
    common.save(
        chosen, name, {"published": PUBLISHED, "variants": VARIANTS}, {"results": results}, lambda: draw(results)
    )
    return results


def draw(results: dict):
    """Return a figure with the scores of all seeds, and the published one."""
    figure, found = common.axes(len(results), height=1.2 + 0.3 * max(map(len, results.values())))
    for ax, (name, variants) in zip(found, results.items(), strict=True):
        metric, published = PUBLISHED[name]
        for k, scores in enumerate(variants.values()):
            values = scores[metric]["seeds"]
            ax.plot(values, [k] * len(values), "o", ms=4, color=common.COLOURS[0])
        ax.axvline(published, color=common.COLOURS[1], lw=1, ls="--", label=f"published, {published}")
        ax.set(title=name, xlabel=metric, yticks=range(len(variants)), yticklabels=list(variants))
        ax.invert_yaxis()
        ax.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
