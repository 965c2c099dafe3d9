"""Dropout and max-norm on MNIST: 784-1024-1024-1024-10, ReLU (Srivastava et al. 2014, JMLR 15, table 2).

python benchmarks/experiments/dropout.py --data FOLDER [--nets plain] [--threads 2]

Published: 1.60 % without dropout (Simard 2003, as quoted there), 1.25 % with, 1.06 % with dropout and max-norm, after a
million steps.  Goal: about 1.6 % and at most 1.2 %.

Here: all 60 000 training images, no augmentation, batch 128.  Without dropout: Adam, 5 epochs at a rate of 1e-3 and 5
in which it falls along half a cosine.  With it: SGD with momentum 0.95, 60 epochs at 0.02 and 140 in which the rate
falls; a fifth of the inputs and half of each hidden layer are dropped, no unit's incoming weights are longer than 2.
The error is that after the last epoch.  `--validate` trains without the last 10 000 training images and scores on them
instead of on the test images, to choose settings.

This takes about two hours on one core.  Every epoch is written to dropout-epochs.jsonl at once, and a net of a seed
that stands there complete is not trained again.
"""

from __future__ import annotations

import json
import os
import tempfile
import time

import common
import numpy as np

import pynet as pn

BATCH, UNITS = 128, 1024
NETS = {  # epochs: at the first of the rates, and on the way to the second
    "plain": {
        "optimizer": "adam", "rates": (1e-3, 1e-5), "epochs": (5, 5), "inputs": 0.0, "hidden": 0.0, "max_norm": None
    },
    "dropout": {
        "optimizer": "momentum", "rates": (0.02, 1e-5), "epochs": (60, 140), "inputs": 0.2, "hidden": 0.5,
        "max_norm": 2.0
    },
}  # fmt: skip
WORDS = {"plain": "none", "dropout": "dropout and max-norm"}
PUBLISHED = {"plain": 1.60, "dropout": 1.06}  # test error, %


def network(X, units: int, inputs: float, hidden: float, max_norm: float | None, seed: int) -> pn.Sequential:
    """Return the net for images like X; `inputs` and `hidden` are the shares that are dropped."""
    layers: list = [common.pixels(X)]
    layers += [pn.Dropout(inputs)] if inputs else []
    for _ in range(3):
        layers.append(pn.Dense(units, activation="relu", max_norm=max_norm))
        layers += [pn.Dropout(hidden)] if hidden else []
    return pn.Sequential([*layers, pn.Dense(10, activation="softmax", max_norm=max_norm)], random_state=seed)


def optimizer(name: str, rates: tuple[float, float], high_steps: int, falling_steps: int):
    """Return the optimizer, its rate the first, then down to the second along half a cosine."""
    high, low = rates

    def rate(step: int) -> float:
        share = min(max(step - high_steps, 0) / falling_steps, 1.0)
        return low + (high - low) * (1 + np.cos(np.pi * share)) / 2

    return pn.Adam(rate) if name == "adam" else pn.SGD(rate, momentum=0.95)


class Log(pn.Callback):
    """Append a line of JSON to `path` after every epoch."""

    def __init__(self, path: str, who: dict):
        self.path, self.who, self.begun = path, who, time.perf_counter()

    def on_epoch_end(self, trainer, epoch, logs):
        now = time.perf_counter()
        line = {
            **self.who, "epoch": epoch + 1, "loss": logs["loss"], "accuracy": logs["accuracy"],
            "test_loss": logs["val_loss"], "error": 100 * (1 - logs["val_accuracy"]),
            "seconds": round(now - self.begun, 1),
        }  # fmt: skip
        self.begun = now
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)


def read_log(path: str, net: str, seed: int) -> list[dict]:
    """Return the lines of a net and a seed, one for each epoch; of a repeated run the last."""
    if not os.path.exists(path):
        return []
    with open(path) as file:
        lines = [json.loads(line) for line in file]
    found = {line["epoch"]: line for line in lines if line["net"] == net and line["seed"] == seed}
    return [found[epoch] for epoch in sorted(found)]


def train(net: str, seed: int, data, units: int, epochs: tuple[int, int], threads: int | None, path: str) -> None:
    """Train one net with one seed; its results are in the log at `path`."""
    X, y, X_test, y_test = data
    how = {key: NETS[net][key] for key in ("inputs", "hidden", "max_norm")}
    steps = [n * -(-len(X) // BATCH) for n in epochs]
    trainer = pn.Trainer(
        network(X, units, seed=seed, **how), "cross_entropy",
        optimizer(NETS[net]["optimizer"], NETS[net]["rates"], *steps), ["accuracy"], n_threads=threads,
        random_state=seed,
    )  # fmt: skip
    log = Log(path, {"net": net, "seed": seed})
    test = (X_test, y_test)
    trainer.fit(X, y, epochs=sum(epochs), batch_size=BATCH, validation_data=test, callbacks=[log], verbose=0)


def report(results: dict) -> str:
    """Return the table."""
    rows = [
        [
            WORDS[net],
            r["epochs"],
            f"{PUBLISHED[net]:.2f}",
            common.mean_sd(r["error"]),
            common.mean_sd(r["test_loss"], 3),
        ]
        for net, r in results.items()
    ]
    return common.table(["regularisation", "epochs", "published test error %", "reached", "test loss"], rows)


def summary(logs: list[list[dict]]) -> dict:
    """Return what the logs of the seeds say of a net."""
    last = [log[-1] for log in logs]
    return {
        "epochs": last[0]["epoch"],
        "error": common.spread([line["error"] for line in last]),
        "test_loss": common.spread([line["test_loss"] for line in last]),
        "error_by_epoch": [[line["error"] for line in log] for log in logs],
    }


def draw(results: dict):
    """Return a figure: test error over epochs, mean and range of the seeds."""
    figure, (ax,) = common.axes(1, 6.4)
    for k, (net, r) in enumerate(results.items()):
        common.band(ax, np.arange(1, r["epochs"] + 1), r["error_by_epoch"], k, WORDS[net], marker=False)
        ax.axhline(PUBLISHED[net], ls=":", lw=1.2, color=common.COLOURS[k])
        high = NETS[net]["epochs"][0]
        if high < r["epochs"]:
            at = np.mean(r["error_by_epoch"], axis=0)[high - 1]
            ax.plot(high, at, "v", color=common.COLOURS[k], ms=7, zorder=3)
    ax.plot([], [], "v", color="0.3", ls="", label="from here on the learning rate falls")
    ax.plot([], [], ":", color="0.3", label="published")
    ax.set(ylim=(0.9, 3.0), xlabel="epoch", ylabel="test error, %")
    ax.legend(frameon=False)
    return figure


def main(argv=None) -> None:
    chosen = common.arguments(
        __doc__, argv,
        nets={"nargs": "+", "choices": list(NETS), "default": list(NETS)},
        threads={"type": int, "default": None},
        validate={"action": "store_true", "help": "score on held out training images"},
    )  # fmt: skip
    data = common.mnist(chosen)
    if chosen.validate:
        X, y, *_ = data
        cut = len(X) * 5 // 6
        data = (X[:cut], y[:cut], X[cut:], y[cut:])
    name = "dropout"
    if chosen.validate:
        name, chosen.command = f"{name}-validation", f"{chosen.command} --validate"
    folder = chosen.out or tempfile.mkdtemp()
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{name}-epochs.jsonl")
    units = 32 if chosen.quick else UNITS
    results = {}
    for net in chosen.nets:
        epochs = (1, 1) if chosen.quick else NETS[net]["epochs"]
        for seed in chosen.seeds:
            if len(read_log(path, net, seed)) < sum(epochs):
                train(net, seed, data, units, epochs, chosen.threads, path)
        results[net] = summary([read_log(path, net, seed) for seed in chosen.seeds])
    print(report(results))
    settings = {
        "net": [data[0].shape[1], *[units] * 3, 10], "activation": "relu", "loss": "cross_entropy", "batch": BATCH,
        "rows": len(data[0]), "test_rows": len(data[2]), "nets": {net: NETS[net] for net in chosen.nets},
    }  # fmt: skip
    common.save(chosen, name, settings, {"cpu_seconds": None, "nets": results}, lambda: draw(results))


if __name__ == "__main__":
    main()
