"""One broken row of 60 000 makes gradients explode and ruins a net; with clipped gradients it learns.

python benchmarks/experiments/exploding.py --data FOLDER

The net 784-64-64-10, ReLU, learns the ten indicators of the digits by mean squared error and plain SGD.  In one
training row either the pixels or the target are FACTOR times too large.  Pascanu, Mikolov, Bengio 2013
(arXiv:1211.5063) clip the norm of the gradient (there: of recurrent nets); sign: Bernstein et al. 2018
(arXiv:1802.04434).

Clips of the trainer limit what reaches the weights.  `pn.GradientClip`, here above the last layer, limits the gradient
on its way down; the gradient of a kernel is that times the layer's input, so it cures a broken target, but not broken
pixels.
"""

from __future__ import annotations

import common
import numpy as np

import pynet as pn

UNITS, EPOCHS, BATCH, RATE, FACTOR = 64, 3, 32, 0.3, 1000.0
BEFORE, AFTER = 8, 8  # steps around the broken row that the plot shows, and
MEET = 300  # the step at which it meets it
WAYS = {  # words, clip of the trainer, clip between layers, learning rate
    "none": ("no clip", None, None, RATE),
    "norm": ("ClipNorm(1)", pn.ClipNorm(1.0), None, RATE),
    "value": ("ClipValue(0.01)", pn.ClipValue(0.01), None, RATE),
    "sign": ("SignGradient()", pn.SignGradient(), None, 5e-4),
    "layer": ("GradientClip(ClipNorm(0.1))", None, pn.ClipNorm(0.1), RATE),
}
FAULTS = {"clean": "no broken row", "target": "a broken target", "pixels": "broken pixels"}


def trainer_of(way: str, X, seed: int) -> pn.Trainer:
    """Return the trainer of a new net."""
    _, clip, between, rate = WAYS[way]
    x = common.pixels(X)
    layers = [x, pn.Dense(UNITS, "relu"), pn.Dense(UNITS, "relu"), pn.Dense(10)]
    layers += [pn.GradientClip(between)] if between else []
    model = pn.Sequential(layers, random_state=seed)
    return pn.Trainer(model, "mse", pn.SGD(rate), clip=clip, n_threads=1, random_state=seed)


def broken(fault: str, X, y, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels as float32 and targets [N, 10], in one row FACTOR times too large."""
    X, T = X.astype(np.float32), np.eye(10, dtype=np.float32)[y]
    if fault == "pixels":
        X[row] *= FACTOR
    if fault == "target":
        T[row] *= FACTOR
    return X, T


def train(way: str, fault: str, data, seed: int, epochs: int) -> tuple[float, int | None]:
    """Return the test error in %, and the step at which the loss was no number any more, or None."""
    X, y, X_test, y_test = data
    trainer = trainer_of(way, X, seed)
    broken_row = int(np.random.default_rng(seed).integers(len(X)))
    end = None
    try:
        trainer.fit(*broken(fault, X, y, broken_row), epochs=epochs, batch_size=BATCH, verbose=0)
    except FloatingPointError:
        end = trainer.step
    return common.error(trainer.model, X_test, y_test), end


def norms_around(way: str, data, seed: int, meet: int) -> list[float]:
    """Return norms of the whole gradient before clipping, in the steps around that with broken pixels."""
    X, y = data[:2]
    order = np.random.default_rng(seed).permutation(len(X))
    X, T = broken("pixels", X[order], y[order], meet * BATCH)
    trainer = trainer_of(way, data[0], seed)
    begin = meet - BEFORE
    trainer.fit(X[: begin * BATCH], T[: begin * BATCH], epochs=1, batch_size=BATCH, shuffle=False, verbose=0)
    norms = []
    for k in range(begin, meet + AFTER + 1):
        batch = X[k * BATCH : (k + 1) * BATCH], T[k * BATCH : (k + 1) * BATCH]
        try:
            found = trainer.gradients(*batch)
            trainer.train_on_batch(*batch)
        except FloatingPointError:
            break
        parts = [np.linalg.norm(found[name].astype(float)) for name in trainer.model.parameters() if name in found]
        norms.append(float(np.linalg.norm(parts)))
    return norms


def measure(chosen, data, epochs: int, meet: int) -> dict:
    """Return {"faults": {fault: {way: error, steps}}, "norms": {way: norms}}."""
    faults: dict = {}
    for fault in FAULTS:
        faults[fault] = {}
        for way in WAYS:
            runs = common.over_seeds(chosen, f"{fault}, {way}", lambda s, f=fault, w=way: train(w, f, data, s, epochs))
            faults[fault][way] = {
                "error": common.spread([error for error, _ in runs]),
                "diverged_at_step": [step for _, step in runs],
            }
    norms = {way: norms_around(way, data, chosen.seeds[0], meet) for way in ("none", "norm")}
    return {"faults": faults, "norms": norms}


def report(results: dict) -> str:
    """Return the table."""
    rows = []
    for way, (words, _, _, rate) in WAYS.items():
        row = [words, f"{rate:g}"]
        for fault in FAULTS:
            r = results["faults"][fault][way]
            steps = [step for step in r["diverged_at_step"] if step is not None]
            seeds = len(r["diverged_at_step"])
            row.append(common.mean_sd(r["error"]) + (f" (NaN in {len(steps)} of {seeds})" if steps else ""))
        rows.append(row)
    return common.table(["clip", "learning rate", *(f"test error %, {words}" for words in FAULTS.values())], rows)


def draw(results: dict, meet: int):
    """Return the figure: gradients around the broken row, and test errors."""
    figure, (norms, errors) = common.axes(2, 5.6)
    for k, (way, values) in enumerate(results["norms"].items()):
        steps = np.arange(meet - BEFORE, meet - BEFORE + len(values))
        norms.plot(steps, values, label=WAYS[way][0], **common.style(k))
        if len(values) < BEFORE + AFTER + 1:
            norms.annotate("then NaN", (steps[-1], values[-1]), (6, -3), textcoords="offset points", fontsize=9)
    norms.axvline(meet, color="0.5", lw=1, ls=":")
    norms.set(
        yscale="log", xlabel="step (dotted: broken pixels in the batch)", ylabel="norm of the gradient, unclipped"
    )
    norms.set_title("broken pixels, seed 0")
    norms.legend(frameon=False, loc="center left")
    place = np.arange(len(WAYS))
    for k, (fault, words) in enumerate(FAULTS.items()):
        found = [results["faults"][fault][way]["error"] for way in WAYS]
        x = place + 0.2 * (k - 1)
        errors.errorbar(
            x, [e["mean"] for e in found], [e["sd"] for e in found], ls="", capsize=3, label=words,
            **{**common.style(k), "markersize": 6},
        )  # fmt: skip
    errors.set(yscale="log", ylim=(3, 130), ylabel="test error, % (chance: 90)", title="mean and sd of the seeds")
    errors.set_yticks([4, 6, 10, 20, 50, 90], labels=["4", "6", "10", "20", "50", "90"])
    errors.minorticks_off()
    errors.set_xticks(place, [words.replace("(C", "\n(C") for words, *_ in WAYS.values()], fontsize=8)
    errors.legend(frameon=False, loc="upper center", fontsize=8)
    return figure


def main(argv=None) -> None:
    chosen = common.arguments(__doc__, argv)
    data = common.mnist(chosen)
    epochs, meet = (1, 20) if chosen.quick else (EPOCHS, MEET)
    results = measure(chosen, data, epochs, meet)
    print(report(results))
    settings = {
        "net": [data[0].shape[1], UNITS, UNITS, 10], "loss": "mse", "batch": BATCH, "epochs": epochs,
        "factor": FACTOR, "rows": len(data[0]), "test_rows": len(data[2]),
        "ways": {way: {"clip": words, "optimizer": f"SGD({rate:g})"} for way, (words, _, _, rate) in WAYS.items()},
        "norms": {"from_step": meet - BEFORE, "broken_at_step": meet, "fault": "pixels"},
    }  # fmt: skip
    common.save(chosen, "exploding", settings, results, lambda: draw(results, meet))


if __name__ == "__main__":
    main()
