"""Batch norm on MNIST: 784-100-100-100-10, sigmoid, with and without (Ioffe, Szegedy 2015, arXiv:1502.03167, 4.1).

python benchmarks/experiments/batch_norm.py --data FOLDER

Settings of the paper: binary images, small normal initial weights, cross-entropy, SGD, 60 rows a step, 50 000 steps.
It names neither the learning rate nor the size of the weights, and shows curves, no numbers: with batch norm the net
learns faster and ends higher.  Goal: with it, the final accuracy of the net without is reached in at most a fifth of
the steps.

Here: standard deviation 0.01 of the initial weights, both nets at the same learning rate, for each of RATES.  (With
`--std 0.1` the net without batch norm leaves its plateau sooner.)  The test error is that with population statistics
in the norms, as in the paper's algorithm 2: before each evaluation `recalibrate` takes them over the first 10 000
training images.  (Training reads the batch alone, so nothing else changes.)  Figures are means of SMOOTH evaluations in
a row, which are EVERY steps apart.
"""

from __future__ import annotations

import common
import numpy as np

import pynet as pn

BATCH, STEPS, EVERY, SMOOTH = 60, 50_000, 500, 4
RATES, STD = (0.1, 0.3, 1.0), 0.01  # STD: of the initial weights
POPULATION = 10_000
NETS = ("without", "with")
GOAL = 0.2  # share of the steps after which the net with batch norm is as good as the other in the end


def network(norm: bool, X, std: float, seed: int) -> pn.Sequential:
    """Return the net for images like X; with batch norm, each hidden layer is Dense without bias, norm, sigmoid."""
    small = pn.initializers.Normal(0.0, std)
    layers: list = [pn.Input(X.shape[1])]
    for _ in range(3):
        layers.append(pn.Dense(100, use_bias=not norm, kernel_initializer=small))
        layers += [pn.BatchNorm()] if norm else []
        layers.append(pn.Activation("sigmoid"))
    return pn.Sequential([*layers, pn.Dense(10, activation="softmax", kernel_initializer=small)], random_state=seed)


def error_curve(norm: bool, rate: float, data, std: float, steps: int, every: int, seed: int) -> list[float]:
    """Train; return the test error in % after every `every` steps."""
    X, y, X_test, y_test = data
    trainer = pn.Trainer(network(norm, X, std, seed), "cross_entropy", pn.SGD(rate), ["accuracy"], n_threads=1)
    rng, order, errors = np.random.default_rng(seed), np.arange(0), []
    while len(errors) * every < steps:
        if len(order) < every * BATCH:
            order = rng.permutation(len(X))  # the next epoch
        rows, order = order[: every * BATCH], order[every * BATCH :]
        trainer.fit(X[rows], y[rows], epochs=1, batch_size=BATCH, shuffle=False, verbose=0)
        if norm:
            trainer.model.recalibrate(X[:POPULATION])
        errors.append(100 * (1 - trainer.evaluate(X_test, y_test)["accuracy"]))
    return errors


def smooth(errors) -> np.ndarray:
    """Return means over SMOOTH evaluations in a row; entry i ends with evaluation i + SMOOTH."""
    return np.convolve(errors, np.full(SMOOTH, 1 / SMOOTH), mode="valid")


def steps_until(errors, goal: float, every: int) -> float:
    """Return the step at which the smoothed error is first no more than `goal`; infinity if it never is."""
    reached = np.flatnonzero(smooth(errors) <= goal)
    return float((reached[0] + SMOOTH) * every) if len(reached) else float("inf")


def measure(chosen, data, rates, std: float, steps: int, every: int) -> list[dict]:
    """Train both nets at every rate with every seed; return a record for each rate."""
    records = []
    for rate in rates:
        curves = {
            net: common.over_seeds(
                chosen,
                f"rate {rate}, {net}",
                lambda s, net=net, rate=rate: error_curve(net == "with", rate, data, std, steps, every, s),
            )
            for net in NETS
        }
        records.append(record(rate, curves, every))
    return records


def record(rate: float, curves: dict, every: int) -> dict:
    """Return what is said of one rate: final errors, and the steps with batch norm until the final error without."""
    final = {net: [smooth(curve)[-1] for curve in curves[net]] for net in NETS}
    until = [steps_until(c, goal, every) for c, goal in zip(curves["with"], final["without"], strict=True)]
    final = {net: common.spread(values) for net, values in final.items()}
    return {"learning_rate": rate, "final_error": final, "steps_until": common.spread(until), "error": curves}


def report(records: list[dict], steps: int) -> str:
    """Return the table."""
    rows = []
    for r in records:
        shares = np.array(r["steps_until"]["seeds"]) / steps
        errors = [common.mean_sd(r["final_error"][net]) for net in NETS]
        verdict = "met" if (shares <= GOAL).all() else "missed"
        until = common.mean_sd(r["steps_until"], 0)
        rows.append([f"{r['learning_rate']:g}", *errors, until, common.mean_sd(shares), verdict])
    head = ["learning rate", "test error % without", "with", "steps with until the error without"]
    return common.table([*head, "share of all steps", f"goal: at most {GOAL:g}"], rows)


def draw(records: list[dict], steps: int, every: int):
    """Return a figure: error over steps at each rate."""
    figure, all_axes = common.axes(len(records), sharey=True)
    for ax, r in zip(all_axes, records, strict=True):
        at = np.arange(1, len(r["error"]["with"][0]) + 1) * every
        for k, net in enumerate(NETS):
            common.band(ax, at, r["error"][net], k, f"{net} batch norm", marker=False)
        goal, until = r["final_error"]["without"]["mean"], r["steps_until"]["mean"]
        ax.axhline(goal, color=common.COLOURS[0], lw=1, ls=":")
        if np.isfinite(until):
            ax.plot(until, goal, "o", color="black", ms=5, zorder=3, label=f"reached at step {until:.0f}")
        ax.set(yscale="log", ylim=(1.5, 100), xlim=(0, steps), xlabel="step")
        ax.set_title(f"learning rate {r['learning_rate']:g}")
        ax.set_yticks([2, 5, 10, 20, 50, 100], labels=["2", "5", "10", "20", "50", "100"])
        ax.minorticks_off()
        ax.legend(frameon=False)
    all_axes[0].set_ylabel("test error, %")
    return figure


def binary(data) -> tuple:
    """Return the data with images of 0 and 1: the paper's input."""
    X, y, X_test, y_test = data
    half = X.max() / 2
    return (half < X).astype(np.uint8), y, (half < X_test).astype(np.uint8), y_test


def main(argv=None) -> None:
    chosen = common.arguments(__doc__, argv, std={"type": float, "default": STD, "help": "of the initial weights"})
    data = binary(common.mnist(chosen))
    rates, steps, every = ((0.1, 1.0), 80, 10) if chosen.quick else (RATES, STEPS, EVERY)
    records = measure(chosen, data, rates, chosen.std, steps, every)
    print(report(records, steps))
    name = "batch_norm"
    if chosen.std != STD:
        name, chosen.command = f"{name}-std-{chosen.std:g}", f"{chosen.command} --std {chosen.std:g}"
    written = settings(data, chosen.std, steps, every)
    common.save(chosen, name, written, {"rates": records}, lambda: draw(records, steps, every))


def settings(data, std: float, steps: int, every: int) -> dict:
    """Return what is written about the settings."""
    return {
        "net": [data[0].shape[1], 100, 100, 100, 10], "activation": "sigmoid", "loss": "cross_entropy",
        "initial_weights": f"normal, standard deviation {std:g}", "optimizer": "SGD", "batch": BATCH, "steps": steps,
        "steps_between_evaluations": every, "evaluations_in_a_mean": SMOOTH, "rows": len(data[0]),
        "test_rows": len(data[2]), "rows_of_population_statistics": POPULATION,
    }  # fmt: skip


if __name__ == "__main__":
    main()
