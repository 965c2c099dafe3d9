"""The gradient in sigmoid nets vanishes with depth; ReLU, shortcuts and auxiliary heads keep it alive.

python benchmarks/experiments/depth.py --data FOLDER

The derivative of a sigmoid is at most 1/4, so a gradient that comes down through d of them, and through weight
matrices of spectral norm 1 (they are drawn orthogonal here), has at most 0.25^d of its norm: a theorem for every row
(Hochreiter 1991; Bengio, Simard, Frasconi 1994).  The gradient at the softmax is at most sqrt(2) long.

1. Norm of the gradient at the pre-activations of each hidden layer (for one row that is the gradient of the bias),
   mean of ROWS rows, in nets as they are drawn: sigmoid; ReLU with the initial weights of He et al. 2015
   (arXiv:1502.01852); sigmoid with a shortcut around every layer but the first (He et al. 2016, arXiv:1512.03385);
   sigmoid with a softmax head on every fifth layer, of weight 0.3 (Szegedy et al. 2015, arXiv:1409.4842).
2. Test error of the same nets after EPOCHS epochs.
"""

from __future__ import annotations

import common
import numpy as np

import pynet as pn

DEPTHS, UNITS, ROWS = (2, 5, 10, 15, 20), 64, 16
EPOCHS, BATCH, RATE = 3, 128, 1e-3
HEAD_EVERY, HEAD_WEIGHT = 5, 0.3
KINDS = {
    "sigmoid": "sigmoid",
    "relu": "ReLU, He",
    "residual": "sigmoid, residual",
    "heads": f"sigmoid, a head every {HEAD_EVERY} layers",
}


def network(kind: str, depth: int, X, seed: int) -> tuple[pn.Model, list[float]]:
    """Return a net with `depth` hidden layers, and the weights of the losses of its heads."""
    activation, drawn = ("relu", "he_normal") if kind == "relu" else ("sigmoid", pn.initializers.Orthogonal())
    h, outputs, weights = (x := common.pixels(X)), [], []
    for i in range(1, depth + 1):
        dense = pn.Dense(UNITS, activation, kernel_initializer=drawn, name=f"hidden_{i}")
        h = pn.Residual([dense])(h) if kind == "residual" and i > 1 else dense(h)
        if i == depth or (kind == "heads" and i % HEAD_EVERY == 0):
            outputs.append(pn.Dense(10, "softmax", kernel_initializer=pn.initializers.Orthogonal())(h))
            weights.append(1.0 if i == depth else HEAD_WEIGHT)
    return pn.Model(x, outputs, random_state=seed), weights


def trainer_of(kind: str, depth: int, X, seed: int) -> pn.Trainer:
    """Return a trainer of a new net."""
    model, weights = network(kind, depth, X, seed)
    return pn.Trainer(
        model, "cross_entropy", pn.Adam(RATE), loss_weights=weights, n_threads=1, random_state=seed
    )  # fmt: skip


def for_heads(trainer: pn.Trainer, y):
    """Return `y` for every output."""
    heads = len(trainer.model.outputs)
    return y if heads == 1 else [y] * heads


def gradient_norms(kind: str, depth: int, X, y, seed: int) -> np.ndarray:
    """Return norms [ROWS, depth] of the gradient at each hidden layer, of single rows."""
    trainer = trainer_of(kind, depth, X, seed)
    norms = []
    for i in range(ROWS):
        found = trainer.gradients(X[i : i + 1], for_heads(trainer, y[i : i + 1]))
        norms.append([np.linalg.norm(found[f"hidden_{k}.bias"]) for k in range(1, depth + 1)])
    return np.array(norms)


def test_error(kind: str, depth: int, data, seed: int, epochs: int) -> float:
    """Train a net; return its test error in %."""
    X, y, X_test, y_test = data
    trainer = trainer_of(kind, depth, X, seed)
    trainer.fit(X, for_heads(trainer, y), epochs=epochs, batch_size=BATCH, verbose=0)
    return common.error(trainer.model, X_test, y_test)


def bound(passed) -> np.ndarray:
    """Return the bound of a gradient that came down through `passed` sigmoids."""
    return np.sqrt(2) * 0.25 ** np.asarray(passed, float)


def measure(chosen, data, depths, epochs: int) -> dict:
    """Return {kind: {"layers", "first", "factor", "largest_factor", "error"}}."""
    X, y = data[:2]
    results: dict = {}
    for kind in KINDS:
        norms = {
            d: common.over_seeds(
                chosen, f"gradients, {kind}, {d}", lambda s, d=d, kind=kind: gradient_norms(kind, d, X, y, s)
            )
            for d in depths
        }
        deepest = np.array(norms[depths[-1]])  # [seeds, rows, depth]
        ratios = deepest[..., :-1] / deepest[..., 1:]
        results[kind] = {
            "layers": deepest.mean(axis=1),
            "first": {d: common.spread([run[:, 0].mean() for run in norms[d]]) for d in depths},
            "factor": common.spread(np.exp(np.log(ratios).mean(axis=(1, 2)))),
            "largest_factor": ratios.max(),
            "error": {
                d: common.spread(
                    common.over_seeds(
                        chosen, f"training, {kind}, {d}", lambda s, d=d, kind=kind: test_error(kind, d, data, s, epochs)
                    )
                )
                for d in depths
            },
        }
    return results


def report(results: dict, depths) -> str:
    """Return both tables."""
    deep = depths[-1]
    rows = []
    for kind, words in KINDS.items():
        r = results[kind]
        at_most = f"{bound(deep):.1e}" if kind == "sigmoid" else ""
        published = "<= 0.25" if kind == "sigmoid" else ""
        factor = f"{common.mean_sd(r['factor'], 3)} (largest {r['largest_factor']:.3f})"
        rows.append([words, published, factor, at_most, f"{r['first'][deep]['mean']:.1e}"])
    head = ["net", "published: factor a layer", "reached", f"bound at layer 1 of {deep}", "reached"]
    errors = [[words, *(common.mean_sd(results[kind]["error"][d], 1) for d in depths)] for kind, words in KINDS.items()]
    errors_head = ["test error %", *(f"{d} layers" for d in depths)]
    return f"{common.table(head, rows)}\n\n{common.table(errors_head, errors)}"


def draw(results: dict, depths, epochs: int):
    """Return the figure: gradients by layer, at the first layer by depth, and test errors."""
    figure, (layers, first, errors) = common.axes(3)
    deep = depths[-1]
    for ax, x, passed in ((layers, np.arange(1, deep + 1), np.arange(deep, 0, -1)), (first, depths, depths)):
        ax.plot(x, bound(passed), color="0.3", ls="--", lw=1.2, label=r"bound of sigmoid, $\sqrt{2}\cdot 0.25^d$")
    for k, (kind, words) in enumerate(KINDS.items()):
        r = results[kind]
        common.band(layers, np.arange(1, deep + 1), r["layers"], k, words)
        common.band(first, depths, np.transpose([r["first"][d]["seeds"] for d in depths]), k)
        common.band(errors, depths, np.transpose([r["error"][d]["seeds"] for d in depths]), k)
    layers.set(yscale="log", xlabel="hidden layer (1: next to the pixels)", ylabel="norm of the gradient")
    layers.set_title(f"{deep} hidden layers, as they are drawn")
    first.set(yscale="log", xlabel="hidden layers", ylabel="norm of the gradient", title="at the first layer")
    errors.set(xlabel="hidden layers", ylabel="test error, %", ylim=(0, 100), title=f"after {epochs} epochs of Adam")
    layers.legend(frameon=False, fontsize=8)
    for ax in (layers, first, errors):
        ax.set_xticks(depths if ax is not layers else [1, *depths[1:]])
    return figure


def main(argv=None) -> None:
    chosen = common.arguments(__doc__, argv)
    data = common.mnist(chosen)
    depths, epochs = ((2, 6), 1) if chosen.quick else (DEPTHS, EPOCHS)
    results = measure(chosen, data, depths, epochs)
    print(report(results, depths))
    settings = {
        "units": UNITS, "depths": depths, "rows_of_gradients": ROWS, "optimizer": f"Adam({RATE})", "batch": BATCH,
        "epochs": epochs, "initial_weights": {"relu": "he_normal", "others": "orthogonal"},
        "head_every": HEAD_EVERY, "head_weight": HEAD_WEIGHT, "rows": len(data[0]), "test_rows": len(data[2]),
    }  # fmt: skip
    common.save(chosen, "depth", settings, {"nets": results}, lambda: draw(results, depths, epochs))


if __name__ == "__main__":
    main()
