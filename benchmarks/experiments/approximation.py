"""How close one hidden layer comes to a rough continuous function, by its width; a deeper net with as many weights.

python benchmarks/experiments/approximation.py

The function, after Weierstrass, of two variables in [0, 1], cut off after 5 of its waves:

    f(u) = sum over k = 1..5 of 2^(-k/2) cos(2^k pi a_k.u),   a_k = (cos k, sin k)

Cybenko 1989 and Hornik, Stinchcombe, White 1989: one hidden layer comes as close as wanted.  How many units that takes,
and whether gradient descent finds their weights, they leave open: so the first layer begins in two ways, with Xavier's
weights, and with normal weights and biases of deviation 8, whose units are steep and lie all over the square.
Every net learns 16384 points by Adam, the rate falling to zero, and is judged on 4096 others.
"""

from __future__ import annotations

import common
import numpy as np

import pynet as pn

WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
DEEP = 3  # hidden layers of the deeper net
STARTS = {
    "xavier": {},
    "steep": {
        "kernel_initializer": pn.initializers.Normal(std=8.0),
        "bias_initializer": pn.initializers.Normal(std=8.0),
    },
}
WAVES, POINTS, TEST, EPOCHS, BATCH, RATE = 5, 16384, 4096, 150, 128, 3e-3


def rough(U: np.ndarray) -> np.ndarray:
    """Return f of the rows of U [N, 2]."""
    k = np.arange(1, WAVES + 1)
    directions = np.stack([np.cos(k), np.sin(k)])
    return (2.0 ** (-k / 2) * np.cos(2.0**k * np.pi * (U @ directions))).sum(axis=1)


def deep_width(wide: int) -> int:
    """Return the width of DEEP hidden layers that have at most as many weights as one of `wide` units."""

    def weights(h: int) -> int:
        return 3 * h + (DEEP - 1) * h * (h + 1) + h + 1

    h = 1
    while weights(h + 1) <= 4 * wide + 1:
        h += 1
    return h


def relative_error(hidden: list[int], start: str, seed: int, points: int, epochs: int) -> tuple[float, int]:
    """Return the root mean square error on new points over the deviation of f, and the number of weights."""
    rng = np.random.default_rng(seed)
    U, V = rng.random((points, 2)), rng.random((TEST, 2))
    first = pn.Dense(hidden[0], "tanh", **STARTS[start])
    more = [pn.Dense(units, "tanh") for units in hidden[1:]]
    model = pn.Sequential([pn.Input(2, shift=0.5, scale=12**0.5), first, *more, pn.Dense(1)], random_state=seed)
    steps = epochs * -(-points // BATCH)
    adam = pn.Adam(lambda step: RATE * max(0.0, 1 - step / steps))
    trainer = pn.Trainer(model, "mse", adam, n_threads=1, random_state=seed)
    trainer.fit(U, rough(U), epochs=epochs, batch_size=BATCH, verbose=0)
    error = np.sqrt(np.mean((model.predict(V)[:, 0] - rough(V)) ** 2))
    return float(error / rough(V).std()), model.count_params() - 4  # without the constants of Input


def measure(chosen, widths, points: int, epochs: int) -> list[dict]:
    """Return a row for each width: {"width", "deep_width", "shallow" and "deep": {start: errors, "weights"}}."""
    rows = []
    for wide in widths:
        row: dict = {"width": wide, "deep_width": deep_width(wide), "shallow": {}, "deep": {}}
        for name, hidden in (("shallow", [wide]), ("deep", [deep_width(wide)] * DEEP)):
            for start in STARTS:
                runs = common.over_seeds(
                    chosen, f"{name} {hidden} {start}",
                    lambda seed, hidden=hidden, start=start: relative_error(hidden, start, seed, points, epochs),
                )  # fmt: skip
                row[name][start] = common.spread([e for e, _ in runs])
                row[name]["weights"] = runs[0][1]
        rows.append(row)
    return rows


def report(rows: list[dict]) -> str:
    """Return the table."""
    head = []
    for words in ("one hidden layer of", f"{DEEP} hidden layers of"):
        head += [words, "weights", *(f"error, {start}" for start in STARTS)]
    cells = []
    for r in rows:
        line = []
        for name, width in (("shallow", r["width"]), ("deep", r["deep_width"])):
            line += [width, r[name]["weights"], *(common.mean_sd(r[name][start], 3) for start in STARTS)]
        cells.append(line)
    return common.table(head, cells) + "\n\nerror: root mean square on new points / standard deviation of f"


def draw(rows: list[dict]):
    """Return the figure: f, and the errors."""
    figure, (image, ax) = common.axes(2, 5.0)
    grid = np.linspace(0, 1, 200)
    U = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    shown = image.imshow(rough(U).reshape(200, 200), origin="lower", extent=(0, 1, 0, 1), cmap="viridis")
    figure.colorbar(shown, ax=image, label="f(u)")
    image.set(xlabel="u1", ylabel="u2", title=f"the function: {WAVES} waves")
    image.grid(False)
    k = 0
    for name, words in (("shallow", "one hidden layer"), ("deep", f"{DEEP} hidden layers")):
        for start in STARTS:
            runs = np.array([r[name][start]["seeds"] for r in rows]).T
            common.band(ax, [r[name]["weights"] for r in rows], runs, k, f"{words}, {start} start")
            k += 1
    ax.set(xscale="log", yscale="log", xlabel="weights", ylabel="error on new points / deviation of f")
    ax.set_title("mean of the seeds, band: least to greatest")
    ax.legend(frameon=False)
    return figure


def main(argv=None) -> None:
    chosen = common.arguments(__doc__, argv)
    widths, points, epochs = (WIDTHS[:2], 512, 3) if chosen.quick else (WIDTHS, POINTS, EPOCHS)
    rows = measure(chosen, widths, points, epochs)
    print(report(rows))
    settings = {
        "function": "sum 2^(-k/2) cos(2^k pi (u1 cos k + u2 sin k)), k = 1..5, u in [0, 1]^2", "activation": "tanh",
        "start": "xavier: the default; steep: kernel and bias of the first layer normal, deviation 8",
        "points": points, "test_points": TEST, "epochs": epochs, "batch": BATCH,
        "optimizer": f"Adam, rate {RATE:g} falling linearly to 0",
    }  # fmt: skip
    common.save(chosen, "approximation", settings, {"rows": rows}, lambda: draw(rows))


if __name__ == "__main__":
    main()
