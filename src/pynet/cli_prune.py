"""`pynet prune`: a smaller, faster copy of a saved model, and what that costs."""

from __future__ import annotations

import os
import sys
import time
from functools import partial

import numpy as np

import pynet as pn

from .cli_show import check_apart, describe, network_of, report, show
from .cli_use import as_arrays, data_of, load, training_rows
from .compact_dense import compact_names
from .progress import change_text, quantity
from .prune_hessian import default_loss

__all__ = ["prune"]

CURVE = (0.5, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)


def prune(options) -> None:
    """Prune a model, tell what became of it, and save it."""
    output = options.output or f"{os.path.splitext(options.model)[0]}-pruned.safetensors"
    check_apart(output, model=options.model, data=options.data)
    check_apart(options.plot, model=options.model, data=options.data)
    model = load(options)
    table = data_of(model, options, True)
    rest, scored, are_apart = training_rows(model, table)
    model, table = as_arrays(model, table)
    show("model", f"{options.model}: {describe(model)}")
    which = f"{len(rest)} rows to prune, {len(scored)} to measure"
    show("data", f"{options.data}: {which if are_apart else 'all rows, to prune and to measure'}")
    report("before", model, table.X[scored], table, scored)
    dense, bytes_before = network_of(pn.load(options.model)), os.path.getsize(options.model)
    begun = time.perf_counter()
    if sys.stderr.isatty():
        print(f"{options.method}, {len(rest)} rows ...", end="\r", file=sys.stderr, flush=True)
    found = _criterion(options.method, model, table.X[rest], options.sparsity, options.scope)
    show("pruned", f"{options.method}, {found.sparsity:.1%} of the weights, {time.perf_counter() - begun:.1f} s")
    print("\n".join(f"  {line}" for line in str(found).splitlines()))
    report("after", model, table.X[scored], table, scored)
    if options.epochs:
        _tune(model, options, table, rest)
        report("tuned", model, table.X[scored], table, scored)
    model.save(output)
    size = os.path.getsize(output)
    show(
        "saved",
        f"{output}: {quantity(size)}B instead of {quantity(bytes_before)}B, {change_text(size, bytes_before)}",
    )
    compact = model.compact()
    if compact.nbytes >= dense.nbytes:
        show("memory", "nothing is saved: where more than some 85 % of the weights are left, their places cost more")
    else:
        show("memory", f"{quantity(compact.nbytes)}B instead of {quantity(dense.nbytes)}B, compact")
    _show_speed(model, dense, table.X)
    if options.plot:
        _plot(options, dense, table, rest, scored)


def _criterion(method: str, model, X, sparsity: float, scope: str):
    if method == "magnitude":
        return pn.prune.magnitude(model, sparsity, scope)
    return getattr(pn.prune, method)(model, X, sparsity=sparsity, scope=scope)


def _targets(model, table, rows):
    classes = model.metadata.get("classes")
    return table.labels(classes)[0][rows] if classes else table.y[rows]


def _tune(model, options, table, rows) -> None:
    """Train what is left for some epochs, at a rate that falls to 0."""
    steps = options.epochs * -(-len(rows) // options.batch_size)
    rate = pn.schedules.Cosine(options.learning_rate, steps)
    trainer = pn.Trainer(model, default_loss(model)[0], pn.Adam(rate))
    y = _targets(model, table, rows)
    trainer.fit(
        table.X[rows], y, epochs=options.epochs, batch_size=options.batch_size, verbose=int(sys.stderr.isatty())
    )


def _show_speed(model, dense, X) -> None:
    """Print what a prediction takes, of one row and of many, in the form that is fastest for so many."""
    for title, rows in (("one row", 1), ("256 rows", 256)):
        compact = model.compact(batch_sizes=[rows])
        forms = " and ".join(sorted(set(compact_names(compact).values())))
        some = np.ascontiguousarray(np.resize(X, (rows, X.shape[1])), dense.dtype)
        calls = [partial(m.predict, some) if rows > 1 else partial(m.predict_one, some[0]) for m in (dense, compact)]
        took = _medians(calls)
        fastest = f"{took[1] * 1e6:.3g} us compact ({forms}), {took[0] / took[1]:.2f} times as fast"
        show(title, f"{took[0] * 1e6:.3g} us dense, {fastest if forms else 'and slower in any compact form'}")


def _medians(calls) -> list[float]:
    """Return the median seconds of each call, taken by turns."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    rounds = 200
    for _ in range(rounds):
        for call, own in zip(calls, times, strict=True):
            begun = time.perf_counter()
            call()
            own.append(time.perf_counter() - begun)
    return [float(np.median(own)) for own in times]


def _plot(options, dense, table, rest, scored) -> None:
    """Draw the score over the share that is pruned, of the method and of magnitude."""
    from .opened import clone
    from .plot.style import module

    plt = module("matplotlib.pyplot")
    plt.switch_backend("agg")
    metric = "accuracy" if dense.metadata.get("classes") else "loss"
    y = _targets(dense, table, scored)

    def score(model) -> float:
        metrics = ["accuracy"] if metric == "accuracy" else []
        return pn.Trainer(model, default_loss(model)[0], metrics=metrics).evaluate(table.X[scored], y)[metric]

    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    for method in dict.fromkeys([options.method, "magnitude"]):
        scores = []
        for share in CURVE:
            model = clone(dense)
            _criterion(method, model, table.X[rest], share, options.scope)
            scores.append(score(model))
        ax.plot([100 * s for s in CURVE], scores, "o-", ms=4, label=method)
    ax.axhline(score(dense), color="0.5", lw=1, ls="--", label="not pruned")
    ax.set(xlabel="weights pruned, %, not trained afterwards", ylabel=metric, title=os.path.basename(options.model))
    ax.legend(frameon=False)
    figure.savefig(options.plot, dpi=120)
    show("plot", options.plot)
