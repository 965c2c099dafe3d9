"""He's initial weights train ReLU nets of 22 and of 30 layers; Xavier's train 22 layers later, and 30 not at all.

python benchmarks/experiments/initialization.py --data FOLDER

He, Zhang, Ren, Sun 2015 (arXiv:1502.01852, figures 2 and 3): in a ReLU net weights of variance 1/I ("Xavier", as that
paper writes it) halve the variance of the signal at every layer, weights of variance 2/I keep it.  Their nets are
convolutional; at 22 layers both converge, He's earlier; at 30 layers Xavier's stall completely.
Here: 784-128-...-128-10 without biases, SGD with momentum 0.9 as there.  At this rate the gradient is clipped, which
does nothing to the tiny one of a net that stalls.  Two things that were tried first blur the effect: biases carry the
signal past the small weights (30 layers then learn a little after 3 to 6 epochs: 31 % error after 8), and a weight
decay of 5e-4 shrinks the weights faster than a stalling net can grow them (22 layers then stall as well).
"""

from __future__ import annotations

import common
import numpy as np

import pynet as pn

DEPTHS, UNITS, BATCH, RATE, MOMENTUM, CLIP, EPOCHS = (22, 30), 128, 128, 0.02, 0.9, 1.0, 12
STARTS = {"he_normal": "He, variance 2/I", "lecun_normal": "Xavier, variance 1/I"}
LEARNED = 50.0  # test error in %, below which a net counts as learning


def curve(start: str, depth: int, data, seed: int, epochs: int) -> list[float]:
    """Return the test error in % after each epoch."""
    X, y, X_test, y_test = data
    how = {"kernel_initializer": start, "use_bias": False}
    hidden = [pn.Dense(UNITS, "relu", **how) for _ in range(depth - 1)]
    source = pn.Input(X.shape[1], scale=float(1 / X.std()), shift=float(X.mean()))
    model = pn.Sequential([source, *hidden, pn.Dense(10, "softmax", **how)], random_state=seed)
    trainer = pn.Trainer(
        model, "cross_entropy", pn.SGD(RATE, MOMENTUM), ["accuracy"], clip=pn.ClipNorm(CLIP), n_threads=1,
        random_state=seed,
    )  # fmt: skip
    history = trainer.fit(X, y, epochs=epochs, batch_size=BATCH, validation_data=(X_test, y_test), verbose=0).history
    return [100 * (1 - a) for a in history["val_accuracy"]]


def measure(chosen, data, depths, epochs: int) -> dict:
    """Return {depth: {start: {"curves", "final", "learned_at"}}}."""
    results: dict = {}
    for depth in depths:
        results[depth] = {}
        for start, words in STARTS.items():
            curves = common.over_seeds(
                chosen, f"{depth} layers, {words}",
                lambda seed, start=start, depth=depth: curve(start, depth, data, seed, epochs),
            )  # fmt: skip
            learned = [next((e + 1 for e, error in enumerate(c) if error < LEARNED), None) for c in curves]
            results[depth][start] = {
                "curves": curves, "final": common.spread([c[-1] for c in curves]), "learned_at": learned,
            }  # fmt: skip
    return results


def report(results: dict) -> str:
    """Return the table."""
    rows = []
    for depth, nets in results.items():
        for start, words in STARTS.items():
            r = nets[start]
            epochs = ", ".join("never" if e is None else str(e) for e in r["learned_at"])
            rows.append([depth, words, common.mean_sd(r["final"]), epochs])
    return common.table(
        ["layers", "initial weights", "test error %, last epoch", "first epoch below 50 %, by seed"], rows
    )


def draw(results: dict):
    """Return the figure."""
    figure, places = common.axes(len(results), 4.8)
    for ax, (depth, nets) in zip(places, results.items(), strict=True):
        for k, (start, words) in enumerate(STARTS.items()):
            curves = np.array(nets[start]["curves"])
            epochs = np.arange(1, curves.shape[1] + 1)
            common.band(ax, epochs, curves, k, words, marker=False)
            ax.plot(epochs, curves.T, color=common.COLOURS[k], linewidth=0.6, alpha=0.6)
        ax.set(xlabel="epoch", ylabel="test error, %", title=f"{depth} layers", ylim=(0, 100))
        ax.legend(frameon=False, loc="center right")
    return figure


def main(argv=None) -> None:
    chosen = common.arguments(__doc__, argv)
    data = common.mnist(chosen)
    depths, epochs = ((4, 6), 2) if chosen.quick else (DEPTHS, EPOCHS)
    results = measure(chosen, data, depths, epochs)
    print(report(results))
    settings = {
        "units": UNITS, "optimizer": f"SGD({RATE}, momentum={MOMENTUM})", "clip": f"ClipNorm({CLIP})", "batch": BATCH,
        "epochs": epochs, "rows": len(data[0]), "test_rows": len(data[2]),
    }  # fmt: skip
    common.save(chosen, "initialization", settings, {"nets": results}, lambda: draw(results))


if __name__ == "__main__":
    main()
