"""Levenberg-Marquardt and L-BFGS against Adam after equal wall time, and L-BFGS against SciPy's minimum.

python benchmarks/experiments/second_order.py --data FOLDER

Three regression sets: the borehole function of eight variables, a smooth surrogate (Harper, Gupta 1983; as in Morris,
Mitchell, Ylvisaker 1993, with logarithms of radius and influence drawn uniformly), 2000 points without noise; and of
FOLDER/tabular/uci_regression.npz the sets yacht (308 rows, 6 features) and airfoil (1503 rows, 5 features).  Inputs and
targets have mean 0 and deviation 1, so that an error is a share of the variance.  Nets have two layers of 20 tanh.

The training error of each method is taken after the same wall time on one thread.  Adam has six tries: rates 1e-3, 3e-3
and 1e-2, each constant and along half a cosine to 0 at the end of that time, batches of 32, float32, in which it is
faster; the best of the six counts, seed by seed.  The others run in float64, with their defaults.

Then the loss of one layer of 10 tanh, with l2 = 0.01 on all weights, is minimised from the same weights by L-BFGS and
by SciPy's L-BFGS-B on pynet's loss and gradient, until no element of the gradient is larger than 1e-7, or for 3000
iterations.
"""

from __future__ import annotations

import math
import os
import time

import common
import numpy as np

import pynet as pn

RATES, BATCH, UNITS, POINTS = (1e-3, 3e-3, 1e-2), 32, 20, 2000
SECONDS, SMALL, L2, TOLERANCE, MOST = 2.0, 10, 1e-2, 1e-7, 3000
NAMES = {"lm": "Levenberg-Marquardt", "lbfgs": "L-BFGS", "adam": "Adam, best of 6"}


# ---- data -----------------------------------------------------------------------------------------------------------


def borehole(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return n points of the flow of water through a borehole, m^3/year: X [n, 8], y [n]."""
    low = np.array([0.05, 100, 63070, 990, 63.1, 700, 1120, 9855])  # rw, r, Tu, Hu, Tl, Hl, L, Kw
    high = np.array([0.15, 50000, 115600, 1110, 116, 820, 1680, 12045])
    u = np.random.default_rng(seed).random((n, 8))
    X = low + u * (high - low)
    X[:, :2] = np.exp(np.log(low[:2]) + u[:, :2] * np.log(high[:2] / low[:2]))
    rw, r, Tu, Hu, Tl, Hl, L, Kw = X.T
    ratio = np.log(r / rw)
    y = 2 * np.pi * Tu * (Hu - Hl) / (ratio * (1 + 2 * L * Tu / (ratio * rw**2 * Kw) + Tu / Tl))
    return np.column_stack([np.log(X[:, :2]), X[:, 2:]]), y


def data_sets(chosen) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return {name: (X, y)}, standardised; with --quick and no folder the surrogate only."""
    sets = {"borehole": borehole(200 if chosen.quick else POINTS)}
    if chosen.data is not None:
        path = os.path.join(chosen.data, "tabular", "uci_regression.npz")
        with np.load(path if os.path.exists(path) else os.path.join(chosen.data, "uci_regression.npz")) as file:
            sets |= {name: (file[f"{name}_X"], file[f"{name}_y"]) for name in ("yacht", "airfoil")}
    elif not chosen.quick:
        raise SystemExit("give --data FOLDER or set PYNET_DATA: a folder that holds tabular/uci_regression.npz")

    def scaled(a):
        return (a - a.mean(axis=0)) / a.std(axis=0)

    return {name: (scaled(X), scaled(y)) for name, (X, y) in sets.items()}


def net(X, seed: int, dtype: str, units=(UNITS, UNITS), l2: float = 0.0) -> pn.Model:
    hidden = [pn.Dense(n, "tanh", l2=l2) for n in units]
    return pn.Sequential([pn.Input(X.shape[1]), *hidden, pn.Dense(1, l2=l2)], dtype=dtype, random_state=seed)


# ---- equal wall time ------------------------------------------------------------------------------------------------


class Until(pn.Callback):
    """Ends a fit after some seconds; `curve`: (seconds, loss) of the epochs."""

    def __init__(self, seconds: float):
        self.seconds, self.curve = seconds, []
        self.begun = time.perf_counter()

    def on_slice_end(self, trainer, logs):
        if time.perf_counter() - self.begun >= self.seconds:
            trainer.stop_training = True

    def on_epoch_end(self, trainer, epoch, logs):
        self.curve.append((time.perf_counter() - self.begun, logs["loss"]))
        return self.curve[-1][0] >= self.seconds


def run(X, y, seed: int, optimizer, seconds: float, dtype: str, batch: int | None) -> dict:
    """Return {"error": after that time, "epochs", "why": what ended it before, "curve"}."""
    trainer = pn.Trainer(net(X, seed, dtype), "mse", optimizer, n_threads=1, random_state=seed)
    until = Until(seconds)
    trainer.fit(X, y, epochs=10**7, batch_size=batch, callbacks=[until], verbose=0)
    error = trainer.evaluate(X, y, batch_size=4096)["loss"]
    return {"error": error, "epochs": trainer.epoch, "why": trainer.history.stopped, "curve": thinned(until.curve)}


def thinned(curve: list, most: int = 60) -> list:
    """Return some points of a curve, evenly over the logarithm of time."""
    if len(curve) <= most:
        return curve
    return [curve[i] for i in np.unique(np.geomspace(1, len(curve), most).astype(int) - 1)]


def best_adam(X, y, seed: int, seconds: float) -> dict:
    """Return the best of the six tries."""
    X, y = X.astype(np.float32), y.astype(np.float32)
    trial = run(X, y, seed, pn.Adam(), seconds / 10, "float32", BATCH)
    steps = max(1, int(10 * trial["epochs"] * math.ceil(len(X) / BATCH)))
    tries = []
    for rate in RATES:
        for schedule in (None, pn.schedules.Cosine(rate, steps, rate / 100)):
            found = run(X, y, seed, pn.Adam(schedule or rate), seconds, "float32", BATCH)
            tries.append(found | {"rate": rate, "schedule": "cosine" if schedule else "constant"})
    return min(tries, key=lambda found: found["error"])


def equal_time(chosen, X, y, name: str, seconds: float) -> dict:
    """Return {method: [runs of the seeds]}."""
    methods = {
        "lm": lambda seed: run(X, y, seed, pn.LevenbergMarquardt(), seconds, "float64", None),
        "lbfgs": lambda seed: run(X, y, seed, pn.LBFGS(), seconds, "float64", None),
        "adam": lambda seed: best_adam(X, y, seed, seconds),
    }
    return {method: common.over_seeds(chosen, f"{name} {method}", do) for method, do in methods.items()}


# ---- the same minimum -----------------------------------------------------------------------------------------------


def minima(X, y, seed: int, most: int) -> dict:
    """Return losses, largest elements of the gradient and seconds of L-BFGS and of SciPy's L-BFGS-B."""
    from scipy.optimize import minimize

    model = net(X, seed, "float64", (SMALL,), L2)
    start = model.get_weights()
    shapes, ends = [w.shape for w in start], np.cumsum([w.size for w in start])[:-1]
    trainer = pn.Trainer(model, "mse", pn.LBFGS(gradient_tolerance=TOLERANCE, loss_tolerance=0), n_threads=1)
    names = list(model.parameters())

    def objective(theta):
        model.set_weights([part.reshape(s) for part, s in zip(np.split(theta, ends), shapes, strict=True)])
        slopes = trainer.gradients(X, y)
        loss = trainer.evaluate(X, y, batch_size=len(X))["loss"]
        return loss, np.concatenate([slopes[name].reshape(-1) for name in names])

    begun = time.perf_counter()
    options = {"maxiter": most, "maxfun": 2 * most, "ftol": 0, "gtol": TOLERANCE}
    theta = np.concatenate([w.reshape(-1) for w in start])
    theirs = minimize(objective, theta, jac=True, method="L-BFGS-B", options=options)
    middle = time.perf_counter()
    model.set_weights(start)
    history = trainer.fit(X, y, epochs=most, verbose=0)
    end = time.perf_counter()
    ours = history.history["loss"][-1]
    return {
        "pynet": ours, "scipy": float(theirs.fun), "difference": (ours - theirs.fun) / theirs.fun,
        "pynet_iterations": trainer.epoch, "scipy_iterations": int(theirs.nit), "pynet_seconds": end - middle,
        "scipy_seconds": middle - begun, "pynet_gradient": history.history["gradient"][-1],
        "scipy_gradient": float(np.abs(theirs.jac).max()), "why": history.stopped,
    }  # fmt: skip


# ---- what is shown --------------------------------------------------------------------------------------------------


def factors(found: dict, method: str) -> list[float]:
    """Return how many times lower than Adam's the error is, seed by seed."""
    return [a["error"] / b["error"] for a, b in zip(found["adam"], found[method], strict=True)]


def report(results: dict) -> str:
    """Return both tables."""
    head = ["data", *(f"{words}: error" for words in NAMES.values()), "Adam / LM", "Adam / L-BFGS"]
    cells = []
    for name, found in results.items():
        errors = [" ".join(f"{r['error']:.2e}" for r in found[method]) for method in NAMES]
        ratios = [" ".join(f"{f:.3g}" for f in factors(found, method)) for method in ("lm", "lbfgs")]
        cells.append([name, *errors, *ratios])
    text = common.table(head, cells) + "\n\n"
    head = ["data", "loss, pynet", "loss, SciPy", "difference", "iterations", "SciPy's", "seconds, pynet ± sd"]
    cells = []
    for name, found in results.items():
        runs = found["minima"]
        cells.append([
            name, *(" ".join(f"{r[who]:.9f}" for r in runs) for who in ("pynet", "scipy")),
            " ".join(f"{r['difference']:.0e}" for r in runs), *(" ".join(str(r[f"{who}_iterations"]) for r in runs)
            for who in ("pynet", "scipy")), common.mean_sd([r["pynet_seconds"] for r in runs]),
        ])  # fmt: skip
    return text + common.table(head, cells)


def draw(results: dict):
    """Return the figure: losses over time, a curve for each seed."""
    figure, axes = common.axes(len(results))
    for ax, (name, found) in zip(axes, results.items(), strict=True):
        for k, (method, words) in enumerate(NAMES.items()):
            for i, r in enumerate(found[method]):
                seconds, losses = np.array(r["curve"]).T
                ax.plot(seconds, losses, label=None if i else words, **common.style(k, False))
        ax.set(xscale="log", yscale="log", xlabel="seconds", ylabel="training error / variance", title=name)
    axes[0].legend(frameon=False)
    return figure


def main(argv=None) -> None:
    chosen = common.arguments(__doc__, argv, seconds={"type": float, "help": f"of wall time, default {SECONDS:g}"})
    seconds = chosen.seconds or (0.05 if chosen.quick else SECONDS)
    results = {}
    for name, (X, y) in data_sets(chosen).items():
        found = equal_time(chosen, X, y, name, seconds)
        most = 50 if chosen.quick else MOST
        found["minima"] = common.over_seeds(
            chosen, f"{name} minima", lambda seed, X=X, y=y, most=most: minima(X, y, seed, most)
        )
        results[name] = found
    print(report(results))
    settings = {
        "net": f"two layers of {UNITS} tanh", "seconds": seconds, "borehole_points": POINTS, "adam_rates": RATES,
        "adam_batch": BATCH, "minima": f"one layer of {SMALL} tanh, l2 {L2}", "gradient_tolerance_of_minima": TOLERANCE,
    }  # fmt: skip
    common.save(chosen, "second_order", settings, {"sets": results}, lambda: draw(results))


if __name__ == "__main__":
    main()
