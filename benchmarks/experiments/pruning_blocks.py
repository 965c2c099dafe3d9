"""A residual net of 12 blocks on MNIST, half of which are taken out: those that add least.

python benchmarks/experiments/pruning_blocks.py --data FOLDER

784-128, then twelve blocks y = x + W2 relu(W1 x) with 128 units outside and 2048 within, W2 beginning at 0, 10 outputs;
Adam, 5 epochs, the rate falling from 3e-4 along half a cosine.  The blocks are ranked on 5000 training images that the
net was not trained on, and taken out one by one; then one more epoch, whose targets are half the labels and half what
the whole net says of the training images, at a temperature of 2.  What stays, the first layer and the last, is 1.6 % of
the work.
(Veit, Wilber, Belongie 2016, arXiv:1605.06431: blocks of a trained residual net can be taken out.  Hinton, Vinyals,
Dean 2015, arXiv:1503.02531: what a net says of all classes teaches another more than labels do.)
"""

from __future__ import annotations

import statistics
import time

import common
import numpy as np

import pynet as pn

BLOCKS, UNITS, WITHIN, EPOCHS, BATCH, HELD, TEMPERATURE = 12, 128, 2048, 5, 128, 5000, 2
RATE = 3e-4  # at 1e-3 these wide blocks err more, and need each other more: 2.7 %, 33 %, 3.0 %
ZEROS = pn.initializers.Constant(0, allow_symmetric=True)  # a block begins as nothing and grows as far as it is needed


def train(model, X, y, epochs: int, rate: float, seed: int) -> None:
    schedule = pn.schedules.Cosine(rate, epochs * -(-len(X) // BATCH), rate / 100)
    trainer = pn.Trainer(model, "cross_entropy", pn.Adam(schedule), random_state=seed)
    trainer.fit(X, y, epochs=epochs, batch_size=BATCH, verbose=0)


def taught(model, X, y) -> np.ndarray:
    """Return targets: the labels [N, 10] and the softened outputs of a model, by halves."""
    logits = np.log(np.maximum(model.predict(X), 1e-12))
    soft = np.exp(logits / TEMPERATURE)
    return ((np.eye(10)[y] + soft / soft.sum(axis=1, keepdims=True)) / 2).astype(np.float32)


def network(X, seed: int) -> pn.Sequential:
    layers = [common.pixels(X), pn.Dense(UNITS, "relu")]
    for k in range(BLOCKS):
        inner = [pn.Dense(WITHIN, "relu"), pn.Dense(UNITS, kernel_initializer=ZEROS)]
        layers.append(pn.Residual(inner, name=f"block_{k + 1}"))
    return pn.Sequential([*layers, pn.Dense(10, "softmax")], random_state=seed)


def times(models: list, X, repeats: int) -> list[float]:
    """Return the median seconds of a prediction of these rows by each, by turns."""
    took: list[list[float]] = [[] for _ in models]
    for _ in range(repeats):
        for model, own in zip(models, took, strict=True):
            begun = time.perf_counter()
            model.predict(X)
            own.append(time.perf_counter() - begun)
    return [statistics.median(own) for own in took]


def run(data, seed: int, epochs: int) -> dict:
    X, y, X_test, y_test = data
    held = min(HELD, len(X) // 4)
    X, y, X_val, y_val = X[:-held], y[:-held], X[-held:], y[-held:]
    model = network(X, seed)
    train(model, X, y, epochs, RATE, seed)
    smaller = pn.prune.residual_blocks(model, X_val, y_val, remove=BLOCKS // 2)
    cut = common.error(smaller.model, X_test, y_test)
    train(smaller.model, X, taught(model, X, y), 1, RATE, seed)
    before, after = times([model, smaller.model], X_test, 20)
    one_before, one_after = times([model, smaller.model], X_test[:1], 500)
    return {"whole": common.error(model, X_test, y_test), "cut": cut, "removed": smaller.removed,
            "tuned": common.error(smaller.model, X_test, y_test), "times_as_fast": before / after,
            "one_row": one_before / one_after}  # fmt: skip


def draw(runs: list):
    """Return a figure: which blocks went, and the errors."""
    figure, (left, right) = common.axes(2, 4.8)
    for k, r in enumerate(runs):
        gone = [int(name.rpartition("_")[2]) for name in r["removed"]]
        left.scatter(gone, [k] * len(gone), s=80, color=common.COLOURS[1])
        left.scatter([b for b in range(1, BLOCKS + 1) if b not in gone], [k] * (BLOCKS - len(gone)), s=80,
                     facecolors="none", edgecolors=common.COLOURS[0])  # fmt: skip
        right.plot([0, 1, 2], [r[key] for key in ("whole", "cut", "tuned")], "o-", color=common.COLOURS[k % 7])
    left.set(xlabel="block (filled: taken out)", ylabel="seed", yticks=range(len(runs)), xticks=range(1, BLOCKS + 1))
    right.set(ylabel="test error, %", ylim=(0, None))
    right.set_xticks([0, 1, 2], ["12 blocks", "6 taken out", "one epoch more"])
    return figure


def main(argv=None) -> None:
    chosen = common.arguments(__doc__, argv)
    data = common.mnist(chosen)
    runs = common.over_seeds(chosen, "blocks", lambda seed: run(data, seed, 2 if chosen.quick else EPOCHS))
    rows = [
        ["12 blocks", common.mean_sd([r["whole"] for r in runs]), "1", "1"],
        ["6 taken out", common.mean_sd([r["cut"] for r in runs]), "", ""],
        [
            "and one epoch",
            common.mean_sd([r["tuned"] for r in runs]),
            common.mean_sd([r["times_as_fast"] for r in runs]),
            common.mean_sd([r["one_row"] for r in runs]),
        ],
    ]
    print(common.table(["net", "test error %", "10 000 predictions times as fast", "one"], rows))
    settings = {
        "blocks": BLOCKS,
        "units": UNITS,
        "within": WITHIN,
        "epochs": EPOCHS,
        "batch": BATCH,
        "held_out": HELD,
        "temperature": TEMPERATURE,
    }
    common.save(chosen, "pruning_blocks", settings, {"runs": runs}, lambda: draw(runs))


if __name__ == "__main__":
    main()
