"""LeNet-300-100 on MNIST, pruned: by magnitude and by the optimal brain surgeon, with and without training afterwards.

python benchmarks/experiments/pruning.py --data FOLDER --seeds 5

784-300-100-10, ReLU, 266 200 weights, all 60 000 training images, Adam for 20 epochs, the rate 1e-3 down to 1e-5 along
half a cosine; once plainly, once with a penalty of 5e-5 times the sum of the weights' magnitudes, which makes many of
them small.  Published: Han et al. 2015 (magnitude, trained again and again: 1.64 -> 1.59 % with 92 % pruned), Guo et
al. 2016 (98.2 % pruned: 1.99 %), Dong et al. 2017 (layer-wise surgeon, 93 % pruned, no training: 1.76 -> 3.10 %).
"""

from __future__ import annotations

import os
import tempfile
import time

import common
import numpy as np

import pynet as pn

SHARES = (0.8, 0.9, 0.95, 0.98)
NETS = {"plain": 0.0, "l1": 5e-5}
EPOCHS, BATCH = 20, 128


def train(model, X, y, epochs: int, rate: float, seed: int) -> None:
    schedule = pn.schedules.Cosine(rate, epochs * -(-len(X) // BATCH), rate / 100)
    trainer = pn.Trainer(model, "cross_entropy", pn.Adam(schedule), random_state=seed)
    trainer.fit(X, y, epochs=epochs, batch_size=BATCH, verbose=0)


def network(X, l1: float, seed: int) -> pn.Sequential:
    widths = ((300, "relu"), (100, "relu"), (10, "softmax"))
    return pn.Sequential([common.pixels(X), *(pn.Dense(n, act, l1=l1) for n, act in widths)], random_state=seed)


def without_penalty(model, X, seed: int) -> pn.Sequential:
    """Return the pruned net with no penalty: that has chosen the weights, and would keep those left too small."""
    free = network(X, 0.0, seed)
    free.load_state_dict(model.state_dict())
    pn.prune.set_masks(free, pn.prune.masks(model))
    return free


def run(data, seed: int, epochs: int) -> dict:
    """Return errors in %, file sizes and seconds of one seed."""
    X, y, X_test, y_test = data
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "net.safetensors")

    def size(model) -> int:
        model.save(path)
        return os.path.getsize(path)

    def error(model) -> float:
        return common.error(model, X_test, y_test)

    result: dict = {}
    for name, l1 in NETS.items():
        dense = network(X, l1, seed)
        train(dense, X, y, epochs, 1e-3, seed)
        dense.save(os.path.join(folder, f"{name}.safetensors"))
        found = {"dense": error(dense), "magnitude": [], "obs": [], "smaller": [], "seconds": []}
        whole = size(dense)
        for share in SHARES:
            for method in ("magnitude", "obs"):
                model = pn.load(os.path.join(folder, f"{name}.safetensors"))
                begun = time.perf_counter()
                pn.prune.magnitude(model, share) if method == "magnitude" else pn.prune.obs(model, X, share)
                if method == "obs":
                    found["seconds"].append(time.perf_counter() - begun)
                    found["smaller"].append(whole / size(model))
                found[method].append(error(model))
        result[name] = found
    model = pn.load(os.path.join(folder, "l1.safetensors"))
    pn.prune.obs(model, X, 0.92)
    result["92"] = {"pruned": error(model)}
    model = without_penalty(model, X, seed)
    train(model, X, y, 1, 3e-4, seed)
    result["92"]["one epoch"] = error(model)
    for share, more in ((0.96, 1), (0.98, 3)):
        pn.prune.obs(model, X, share)
        result["98"] = {"pruned": error(model)}
        train(model, X, y, more, 1e-3, seed)
    result["98"]["trained"] = error(model)
    return result


def column(runs: list, *keys) -> list:
    for key in keys:
        runs = [r[key] for r in runs]
    return runs


def report(runs: list) -> str:
    rows = []
    for name, title in (("plain", "trained plainly"), ("l1", "trained with an L1 penalty")):
        rows.append([title, "0", *[common.mean_sd(column(runs, name, "dense"))] * 2, "1"])
        for k, share in enumerate(SHARES):
            errors = [common.mean_sd(column(runs, name, method, k)) for method in ("magnitude", "obs")]
            rows.append([title, f"{share:.0%}", *errors, f"{np.mean(column(runs, name, 'smaller', k)):.1f}"])
    rows.append(
        ["L1, surgeon, then one epoch without penalty", "92%", "", common.mean_sd(column(runs, "92", "one epoch")), ""]
    )
    rows.append(["and, by 96%, four more", "98%", "", common.mean_sd(column(runs, "98", "trained")), ""])
    head = ["net", "pruned", "magnitude: test error %", "surgeon: test error %", "file smaller by"]
    return common.table(head, rows)


def draw(runs: list):
    """Return a figure: test error over the share that is pruned."""
    figure, found = common.axes(2, 5.2)
    for ax, (name, title) in zip(
        found, (("plain", "trained plainly"), ("l1", "trained with an L1 penalty")), strict=True
    ):
        for k, method in enumerate(("magnitude", "obs")):
            errors = np.array([[r[name]["dense"], *r[name][method]] for r in runs])
            common.band(ax, 100 * np.array([0, *SHARES]), errors, k, "surgeon" if method == "obs" else method)
        ax.set(title=title, xlabel="weights pruned, %; no training afterwards", ylabel="test error, %", yscale="log")
        ax.set_yticks([1.5, 2, 3, 5, 10, 20, 50, 90], ["1.5", "2", "3", "5", "10", "20", "50", "90"])
        ax.minorticks_off()
        ax.legend(frameon=False)
    return figure


def main(argv=None) -> None:
    chosen = common.arguments(__doc__, argv)
    data = common.mnist(chosen)
    epochs = 2 if chosen.quick else EPOCHS
    runs = common.over_seeds(chosen, "pruning", lambda seed: run(data, seed, epochs))
    print(report(runs))
    seconds = max(s for r in runs for name in NETS for s in r[name]["seconds"])
    print(f"\nThe surgeon took at most {seconds:.1f} s for the whole net.")
    settings = {"net": [784, 300, 100, 10], "shares": SHARES, "l1": NETS, "epochs": epochs, "batch": BATCH}
    common.save(chosen, "pruning", settings, {"runs": runs}, lambda: draw(runs))


if __name__ == "__main__":
    main()
