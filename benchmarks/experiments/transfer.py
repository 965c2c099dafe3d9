"""What a net learned of the digits 0-4 helps with the digits 5-9, if there are few examples of them.

python benchmarks/experiments/transfer.py --data FOLDER

A net 784-512-512-5 with dropout learns the digits 0-4.  Its front part gets a new head and 10 or 100 examples a class
of the digits 5-9: with one or both hidden layers frozen; then fine-tuned, the front at a lower rate; and the same net
from scratch, with as many steps.  The first layer serves other digits as well, the second is made for its own
(Yosinski et al. 2014, arXiv:1411.1792: features go from general to specific; rates by part: Howard, Ruder 2018,
arXiv:1801.06146).
"""

from __future__ import annotations

import common
import numpy as np

import pynet as pn

UNITS, BASE_EPOCHS, STEPS, FRONT_RATE = 512, 10, 600, 0.3
EXAMPLES = (10, 100)
WAYS = {
    "scratch": "from scratch",
    "features": "both layers frozen",
    "features, tuned": "then fine-tuned",
    "first": "first layer frozen",
    "first, tuned": "then fine-tuned",
}


def front(X):
    """Return an Input and the value of the layer "features"."""
    x = common.pixels(X)
    h = pn.Dropout(0.5)(pn.Dense(UNITS, "relu", name="first")(pn.Dropout(0.2)(x)))
    return x, pn.Dropout(0.5)(pn.Dense(UNITS, "relu", name="features")(h))


def head(name: str):
    return pn.Dense(5, "softmax", name=name)


def learn(model, X, y, steps: int, seed: int) -> None:
    size = min(32, len(X))
    trainer = pn.Trainer(model, "cross_entropy", pn.Adam(1e-3), n_threads=1, random_state=seed)
    trainer.fit(X, y, epochs=max(1, round(steps * size / len(X))), batch_size=size, verbose=0)


def run(data, seed: int, base_epochs: int, steps: int) -> dict:
    """Return {"base": error on the digits 0-4, "N": {way: error on the digits 5-9 after N examples a class}}."""
    X, y, X_test, y_test = data
    low, low_test = y < 5, y_test < 5
    x, features = front(X)
    base = pn.Model(x, head("low")(features), random_state=seed)
    trainer = pn.Trainer(base, "cross_entropy", pn.Adam(1e-3), n_threads=1, random_state=seed)
    trainer.fit(X[low], y[low], epochs=base_epochs, batch_size=128, verbose=0)
    result = {"base": common.error(base, X_test[low_test], y_test[low_test])}
    new = (X_test[~low_test], y_test[~low_test] - 5)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(~low))
    for n in EXAMPLES:
        few = np.concatenate([order[y[order] == c][:n] for c in range(5, 10)])
        shown = X[few], y[few] - 5
        errors = {}
        scratch_x, scratch_features = front(X)
        scratch = pn.Model(scratch_x, head("high")(scratch_features), random_state=seed)
        learn(scratch, *shown, 2 * steps, seed)
        errors["scratch"] = common.error(scratch, *new)
        for frozen in ("features", "first"):
            model = pn.Model(x, head(f"high_{n}_{frozen}")(features), random_state=seed)
            model.load_weights(base)  # the front as it was on the digits 0-4
            model.freeze(up_to=frozen)
            learn(model, *shown, steps, seed)
            errors[frozen] = common.error(model, *new)
            model.unfreeze()
            model.set_rate_factors({"first": FRONT_RATE, "features": FRONT_RATE})
            learn(model, *shown, steps, seed)
            errors[f"{frozen}, tuned"] = common.error(model, *new)
            model.set_rate_factors({"*": 1})
        result[str(n)] = errors
    return result


def measure(chosen, data, base_epochs: int, steps: int) -> dict:
    runs = common.over_seeds(chosen, "transfer", lambda seed: run(data, seed, base_epochs, steps))
    return {
        "base": common.spread([r["base"] for r in runs]),
        "new": {str(n): {way: common.spread([r[str(n)][way] for r in runs]) for way in WAYS} for n in EXAMPLES},
    }


def report(results: dict) -> str:
    """Return the table."""
    rows = [[words, *(common.mean_sd(results["new"][str(n)][way]) for n in EXAMPLES)] for way, words in WAYS.items()]
    return common.table(["digits 5-9, test error %", *(f"{n} examples a class" for n in EXAMPLES)], rows)


def draw(results: dict):
    """Return the figure."""
    figure, (ax,) = common.axes(1, 5.6)
    place = np.arange(len(EXAMPLES))
    for k, (way, words) in enumerate(WAYS.items()):
        found = [results["new"][str(n)][way] for n in EXAMPLES]
        bars = ax.bar(
            place + 0.17 * (k - 2), [e["mean"] for e in found], 0.15, yerr=[e["sd"] for e in found], capsize=3,
            color=common.COLOURS[k], label=f"{words} ({way.split(',')[0]})" if "tuned" in way else words,
        )  # fmt: skip
        ax.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    ax.set_xticks(place, [f"{n} examples a class" for n in EXAMPLES])
    ax.set(ylabel="test error on the digits 5-9, %", title="mean and standard deviation of the seeds")
    ax.legend(frameon=False)
    return figure


def main(argv=None) -> None:
    chosen = common.arguments(__doc__, argv)
    data = common.mnist(chosen)
    base_epochs, steps = (2, 30) if chosen.quick else (BASE_EPOCHS, STEPS)
    results = measure(chosen, data, base_epochs, steps)
    print(f"digits 0-4, test error {common.mean_sd(results['base'])} %\n")
    print(report(results))
    settings = {
        "net": [784, UNITS, UNITS, 5], "dropout": [0.2, 0.5, 0.5],
        "optimizer": "Adam 1e-3", "batch": "128, of few examples 32",
        "base_epochs": base_epochs,
        "steps": f"{steps} frozen, then {steps} fine-tuned; from scratch {2 * steps}", "front_rate": FRONT_RATE,
    }  # fmt: skip
    common.save(chosen, "transfer", settings, results, lambda: draw(results))


if __name__ == "__main__":
    main()
