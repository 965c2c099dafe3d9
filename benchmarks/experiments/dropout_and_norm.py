"""Dropout before and behind batch norm on MNIST: the variance shift (Li et al. 2019, arXiv:1801.05134).

python benchmarks/experiments/dropout_and_norm.py --data FOLDER

In training a norm divides by the variance of what it reads; with a dropout in front of it that includes the noise of
the dropout.  In prediction the noise is gone, but the norm still divides by the variance of training.  Li et al. call
that variance shift, measure it as variance in training / variance in prediction, find up to 2 and more in DenseNets and
ResNets on CIFAR, and advise to put dropout behind the last norm only.

Here: three hidden layers Dense - norm - ReLU, dropout 0.5 in four places.  "Variance in training" is the running
variance of the norm after the last step (the rate has fallen to 0 by then), "variance in prediction" that of what the
norm reads for the same images when nothing is random; of their ratio, the median over the units is shown.
`model.recalibrate(X)` then replaces the running statistics by those of prediction.

pynet warns, once, of a model with dropout in front of a norm; here that is the experiment, so the warning is silenced.
"""

from __future__ import annotations

import warnings
from itertools import pairwise

import common
import numpy as np

import pynet as pn

BATCH, EPOCHS, UNITS, RATE, HIDDEN = 128, 10, 256, 0.5, 3
SHORT = ("none", "behind the\nlast norm", "behind\nevery norm", "in front of\nevery norm")  # PLACES on the axes
STATES = ("trained", "recalibrated")  # whose statistics the norms use
PLACES = {
    "none": "no dropout",
    "after": "behind the last norm only",
    "between": "behind every norm, so in front of the next",
    "before": "directly in front of every norm",
}


def network(place: str, X, units: int, seed: int) -> pn.Sequential:
    """Return the net for images like X with dropout in one of PLACES."""
    layers: list = [common.pixels(X)]
    for i in range(HIDDEN):
        layers.append(pn.Dense(units))
        if place == "before":
            layers.append(pn.Dropout(RATE))
        layers += [pn.BatchNorm(), pn.Activation("relu")]
        if place == "between" or (place == "after" and i == HIDDEN - 1):
            layers.append(pn.Dropout(RATE))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "dropout .* in front of batch norm", UserWarning)
        return pn.Sequential([*layers, pn.Dense(10, activation="softmax")], random_state=seed)


def shift(model: pn.Model, X: np.ndarray) -> list[float]:
    """Return, for each norm, the median over its units of variance in training / variance in prediction."""
    trained, ratios = model.parameters(), []
    for before, norm in pairwise(model.layers):
        if isinstance(norm, pn.BatchNorm):
            read = pn.Model(inputs=model.inputs, outputs=before.output).predict(X)
            ratios.append(float(np.median(trained[f"{norm.name}.variance"] / read.var(axis=0))))
    return ratios


def score(trainer: pn.Trainer, X, y) -> dict[str, float]:
    """Return error in % and loss."""
    scores = trainer.evaluate(X, y)
    return {"error": 100 * (1 - scores["accuracy"]), "loss": scores["loss"]}


def run(place: str, data, epochs: int, units: int, seed: int) -> dict:
    """Train one net; return its scores, and its shifts, before and after `recalibrate`."""
    X, y, X_test, y_test = data
    model = network(place, X, units, seed)
    rate = pn.schedules.Cosine(2e-3, epochs * -(-len(X) // BATCH))
    trainer = pn.Trainer(model, "cross_entropy", pn.Adam(rate), ["accuracy"], n_threads=1, random_state=seed)
    trainer.fit(X, y, epochs=epochs, batch_size=BATCH, verbose=0)
    record = {"trained": {**score(trainer, X_test, y_test), "shift": shift(model, X)}}
    model.recalibrate(X)
    return record | {"recalibrated": {**score(trainer, X_test, y_test), "shift": shift(model, X)}}


def measure(chosen, data, epochs: int, units: int) -> dict:
    """Return {place: {state: {"error", "loss": spreads over the seeds, "shift": [seeds, norms]}}}."""
    results: dict = {}
    for place, words in PLACES.items():
        runs = common.over_seeds(chosen, words, lambda s, place=place: run(place, data, epochs, units, s))
        results[place] = {
            state: {
                "error": common.spread([r[state]["error"] for r in runs]),
                "loss": common.spread([r[state]["loss"] for r in runs]),
                "shift": [r[state]["shift"] for r in runs],
            }
            for state in STATES
        }
    return results


def report(results: dict) -> str:
    """Return the table."""
    rows = []
    for place, words in PLACES.items():
        for state in STATES:
            r = results[place][state]
            shifts = " ".join(f"{s:.2f}" for s in np.mean(r["shift"], axis=0))
            rows.append([words, state, common.mean_sd(r["error"]), common.mean_sd(r["loss"], 3), shifts])
    head = ["dropout", "statistics", "test error %", "test loss", "variance in training / in prediction, norms 1 to 3"]
    return common.table(head, rows)


def draw(results: dict):
    """Return a figure: the shift of each norm as it was trained, and the errors in both states."""
    figure, (shifts, errors) = common.axes(2, 5.4)
    at = np.arange(len(PLACES))
    for k in range(HIDDEN):
        found = np.array([results[place]["trained"]["shift"] for place in PLACES])[:, :, k]  # [places, seeds]
        shifts.bar(at + 0.25 * (k - 1), found.mean(axis=1), 0.23, color=common.COLOURS[k], label=f"norm {k + 1}")
    shifts.axhline(1.0, color="0.3", lw=1, ls="--")
    shifts.set(ylabel="variance in training / in prediction", title="the statistics of training")
    for k, state in enumerate(STATES):
        found = [results[place][state]["error"] for place in PLACES]
        errors.errorbar(
            at + 0.16 * (k - 0.5), [e["mean"] for e in found], [e["sd"] for e in found], ls="", capsize=3, label=state,
            **{**common.style(k), "markersize": 6},
        )  # fmt: skip
    errors.set(ylabel="test error, %", title="mean and sd of the seeds", ylim=(0, None))
    for ax in (shifts, errors):
        ax.set_xticks(at, labels=SHORT, fontsize=9)
        ax.set_xlim(-0.6, len(PLACES) - 0.4)
        ax.legend(frameon=False, loc="upper left")
    return figure


def main(argv=None) -> None:
    chosen = common.arguments(__doc__, argv)
    data = common.mnist(chosen)
    epochs, units = (1, 32) if chosen.quick else (EPOCHS, UNITS)
    results = measure(chosen, data, epochs, units)
    print(report(results))
    settings = {
        "net": [data[0].shape[1], *[units] * HIDDEN, 10], "optimizer": "Adam(2e-3, falling to 0 along half a cosine)",
        "epochs": epochs, "batch": BATCH, "rate": RATE, "rows": len(data[0]), "test_rows": len(data[2]),
        "places": PLACES,
    }  # fmt: skip
    common.save(chosen, "dropout_and_norm", settings, {"places": results}, lambda: draw(results))


if __name__ == "__main__":
    main()
