"""What layers cost: steps of 784-512-256-10 at batch 128 with each of them behind both hidden layers, against without.

python benchmarks/layers.py [--json FILE] [--threads 1] [--rounds 25]

All nets run in turns in one process, some 40 steps each; the cost of a round is the ratio to the plain net (with the
same activation) of that round, and the figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
from calibrate import cpu_name

import pynet as pn

STEPS, BATCH = 40, 128


def around(*make, activation: str | None = "relu", **options):
    """Return a function that makes the hidden layers: Dense(units, activation), then what `make` makes, twice."""

    def layers():
        return [
            layer
            for units in (512, 256)
            for layer in (pn.Dense(units, activation, **options), *(each() for each in make))
        ]

    return layers


def relu():
    return pn.Activation("relu")


CASES = {  # name: (hidden layers, what it is compared with)
    "relu": (around(), None),
    "tanh": (around(activation="tanh"), None),
    "dropout behind relu": (around(lambda: pn.Dropout(0.5)), "relu"),
    "dropout behind tanh": (around(lambda: pn.Dropout(0.5), activation="tanh"), "tanh"),
    "batch norm in front of relu": (around(pn.BatchNorm, relu, activation=None, use_bias=False), "relu"),
    "batch norm behind relu": (around(pn.BatchNorm), "relu"),
    "layer norm in front of relu": (around(pn.LayerNorm, relu, activation=None), "relu"),
    "max-norm": (around(max_norm=2.0), "relu"),
    "dropout and max-norm": (around(lambda: pn.Dropout(0.5), max_norm=2.0), "relu"),
    "prelu": (around(pn.PReLU, activation=None), "relu"),
    "noisy relu": (around(activation=pn.activations.NoisyReLU()), "relu"),
    "gaussian noise": (around(lambda: pn.GaussianNoise(0.1)), "relu"),
    "gradient clip": (around(lambda: pn.GradientClip(pn.ClipNorm(1.0))), "relu"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    X = rng.normal(size=(BATCH * STEPS, 784)).astype(np.float32)
    y = rng.integers(0, 10, len(X))
    trainers = {}
    for name, (layers, _) in CASES.items():
        model = pn.Sequential([pn.Input(784), *layers(), pn.Dense(10, "softmax")])
        trainers[name] = pn.Trainer(model, "cross_entropy", pn.Adam(1e-4), n_threads=arguments.threads)
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(arguments.rounds):
        for name, trainer in trainers.items():
            begun = time.perf_counter()
            trainer.fit(X, y, epochs=1, batch_size=BATCH, shuffle=False, verbose=0)
            seconds[name].append((time.perf_counter() - begun) / STEPS)
    print(f"{cpu_name()}, {pn.cpu_info()['isa']}, {arguments.threads} thread(s), 784-512-256-10, batch {BATCH}, Adam\n")
    print(f"{'hidden layers':28s} {'step':>9s} {'cost':>8s}")
    rows = []
    for name, (_, plain) in CASES.items():
        step = statistics.median(seconds[name])
        cost = statistics.median(a / b for a, b in zip(seconds[name], seconds[plain or name], strict=True)) - 1
        rows.append({"layers": name, "against": plain, "step_us": step * 1e6, "cost": cost})
        print(f"{name:28s} {step * 1e6:7.0f}us {f'{cost:+7.1%}' if plain else '':>8s}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"cpu": cpu_name(), "isa": pn.cpu_info()["isa"], "threads": arguments.threads, "rows": rows},
                      file, indent=1)  # fmt: skip


if __name__ == "__main__":
    main()
