"""The picture of a race: every system's time over pynet's, a row for each net and batch.

python benchmarks/peers/plot.py RESULT.json PICTURE.png
"""

from __future__ import annotations

import json
import sys

COLOURS = {
    "pynet": "#0072b2", "NumPy": "#999999", "PyTorch": "#d55e00", "torch.compile": "#e69f00", "JAX jit": "#009e73",
    "JAX scan": "#56b4e9", "scikit-learn": "#cc79a7", "ONNX Runtime": "#000000",
}  # fmt: skip


def shown(us: float) -> str:
    """Return a time with three digits and its unit."""
    text = f"{us:#.3g} us" if us < 999.5 else f"{us / 1000:#.3g} ms"
    return text.replace(". ", " ")


def draw(result: dict, path: str) -> None:
    import matplotlib.pyplot as plt

    rows = [(f"train {r['net']} @{r['batch']}", r) for r in result["steps"]]
    rows += [(f"predict_one {r['net']}", r) for r in result["predict"]]
    figure, ax = plt.subplots(figsize=(9, 0.36 * len(rows) + 1.6), layout="constrained")
    for y, (_, row) in enumerate(rows):
        ours = row["us"]["pynet"]
        others = {name: us for name, us in row["us"].items() if name in COLOURS}
        ax.plot([1, max(others.values()) / ours], [y, y], color="0.88", lw=1, zorder=0)
        for name, us in others.items():
            ax.plot(
                us / ours, y, "s" if name == "pynet" else "o", color=COLOURS[name], ms=7 if name == "pynet" else 5.5
            )
        if "limit_us" in row:
            ax.plot(row["limit_us"] / ours, y, "|", color="0.2", ms=11)
    names = [name for name in COLOURS if any(name in row["us"] for _, row in rows)]
    for name in names:
        ax.plot([], [], "s" if name == "pynet" else "o", color=COLOURS[name], label=name)
    ax.plot([], [], "|", color="0.2", ms=11, ls="", label="limit of the machine")
    ax.set_xscale("log")
    ax.set_xticks([0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.minorticks_off()
    ax.set_yticks(range(len(rows)), [f"{label}   {shown(row['us']['pynet'])}" for label, row in rows], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel(f"time, pynet = 1   ({result['cpu']}, {result['threads']} thread{'s' * (result['threads'] > 1)})")
    ax.grid(axis="x", color="0.92")
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.legend(frameon=False, fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.4, 1.0))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        draw(json.load(file), sys.argv[2])
