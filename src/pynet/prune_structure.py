"""Smaller networks that stay dense: hidden units that do nothing are taken out, and residual blocks that add little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _check
from .arrays import as_inputs, check_finite
from .layers import Add, Dense
from .model import MAX_ENDS, Model
from .opened import check_model, wired_again
from .plan import Job, build
from .prune_hessian import default_loss
from .trainer import Trainer

__all__ = ["Smaller", "residual_blocks", "units"]

ROWS = 1024  # looked at at a time


@dataclass(frozen=True, eq=False)
class Smaller:
    """A smaller model, and what was taken out of it.

    Attributes
    ----------
    model : Model
    removed : list of str
        In the order in which they went: names of residual blocks (of their Add), or "dense_1: 12 of 300 units".
    losses : list of float
        After each removal; of units none.
    """

    model: Model
    removed: list[str]
    losses: list[float]

    def __str__(self) -> str:
        losses = [f"  loss {loss:.5g}" for loss in self.losses] or [""] * len(self.removed)
        lines = [name + loss for name, loss in zip(self.removed, losses, strict=True)]
        return "\n".join(lines or ["nothing was removed"])


def _values(model, wanted: list, X):
    """Yield the arrays [n, width] of some values of the graph, for some rows of X at a time."""
    inputs, rows = as_inputs(model, X)
    if not rows:
        raise ValueError("X has no rows")
    for array in inputs:
        check_finite("X", array)
    groups = [wanted[k : k + MAX_ENDS] for k in range(0, len(wanted), MAX_ENDS)]
    plans = [build(model, mode="predict", outputs=group) for group in groups]
    machines = [model._machine("c", min(rows, ROWS), plan) for plan in plans]
    for first in range(0, rows, ROWS):
        part = [x[first : first + ROWS] for x in inputs]
        n = len(part[0])
        found = []
        for group, machine in zip(groups, machines, strict=True):
            arrays = [np.empty((n, v.width), model.dtype) for v in group]
            model.run_batches(machine, Job(inputs=part, outputs=arrays, rows=n, batch=n))
            found += [a.astype(np.float64) for a in arrays]
        yield found


# ---- units -------------------------------------------------------------------------------------------------------


def units(model, X=None, *, tolerance: float = 0.0) -> Smaller:
    """Take hidden units out that have no effect: what they add is a constant, or nobody reads it.

    A unit of a Dense layer goes if all weights out of it are 0; if all weights into it are 0; or, with X, if its output
    is the same for all rows (a ReLU that is never active is the usual case).  The constant that it contributed goes
    into the biases behind it, so the predictions stay what they were, up to rounding: for all inputs, or, of those that
    went because of X, for rows like X.  This is done again and again until no such unit is left.

    Parameters
    ----------
    model : Model
        It stays as it is.
    X : array-like [N, I], optional
    tolerance : float >= 0
        With X: how large the standard deviation of an output may be, as a share of the largest of its layer.

    Returns
    -------
    Smaller

    Raises
    ------
    TypeError, ValueError
        X does not fit the model; a negative tolerance.

    Notes
    -----
    Only layers are looked at whose output goes into other Dense layers, directly or through Dropout and noise; those
    called twice, behind a softmax or in compact form are left alone.  A layer keeps at least one unit.
    """
    check_model("model", model)
    tolerance = _check.number("tolerance", tolerance, 0.0)
    counts: dict[str, list[int]] = {}
    while True:
        found = _idle(model, X, tolerance)
        if not found:
            removed = [f"{name}: {gone} of {all_} units" for name, (gone, all_) in counts.items()]
            return Smaller(model, removed, [])
        for layer, (kept, _) in found.items():
            name = model.names[layer]
            before = counts.get(name, [0, layer.units])
            counts[name] = [before[0] + int((~kept).sum()), before[1]]
        model = _without_units(model, found)


def _readers(model, node) -> list | None:
    """Return the Dense layers that read a value, directly or through layers that hand it on; None: others do, too."""
    if node in model.outputs:
        return None
    found = []
    for reader in model.nodes:
        if node not in reader.inputs:
            continue
        layer = reader.layer
        if type(layer) is Dense and sum(other.layer is layer for other in model.nodes) == 1:
            found.append(layer)
        elif layer.hands_on:
            behind = _readers(model, reader)
            if behind is None:
                return None
            found += behind
        else:
            return None
    return found


def _idle(model, X, tolerance: float) -> dict:
    """Return {layer: (mask of the units that are kept, what the others put out)}."""
    own = model.parameters()
    result: dict = {}
    for node in model.nodes:
        layer = node.layer
        calls = sum(other.layer is layer for other in model.nodes)
        activation = layer.applied_activation() if type(layer) is Dense else None
        readers = _readers(model, node) if activation is not None and calls == 1 and activation.fusable else None
        if not readers or activation is None or activation.name == "softmax" or activation.random:
            continue
        name = model.names[layer]
        kernel = own[f"{name}.kernel"]
        bias = own.get(f"{name}.bias", np.zeros(layer.units, model.dtype))
        constant = activation(bias[None])[0].astype(np.float64)
        unread = np.all([~own[f"{model.names[r]}.kernel"].any(axis=1) for r in readers], axis=0)
        idle = unread | ~kernel.any(axis=0)
        if X is not None:
            total = [np.stack([y.sum(axis=0), (y * y).sum(axis=0), np.full(y.shape[1], len(y))]) for (y,) in
                     _values(model, [node], X)]  # fmt: skip
            s, squares, n = np.sum(total, axis=0)
            deviation = np.sqrt(np.maximum(squares / n - (s / n) ** 2, 0))
            still = deviation <= max(tolerance, 1e-7) * deviation.max()
            constant = np.where(still & ~idle, s / n, constant)
            idle |= still
        needs = constant * ~unread
        if any(not r.use_bias for r in readers) and needs[idle].any():
            idle &= needs == 0  # there is no bias to take the constant
        if idle.all():
            idle[np.flatnonzero(idle)[0]] = False
        if idle.any():
            result[layer] = (~idle, constant)
    return result


def _without_units(model, found: dict) -> Model:
    own, masks = model.parameters(), model.weights.masks()
    dense = [layer for layer in model.layers if type(layer) is Dense]
    state, kept_masks = dict(own), dict(masks)
    for layer, (kept, constant) in found.items():
        node = next(n for n in model.nodes if n.layer is layer)
        name = model.names[layer]
        for key in (f"{name}.kernel", f"{name}.bias"):
            for arrays in (state, kept_masks):
                if key in arrays:
                    arrays[key] = arrays[key][..., kept]
        for reader in _readers(model, node) or ():
            key = f"{model.names[reader]}.kernel"
            if reader.use_bias:
                pushed = constant[~kept] @ state[key].astype(np.float64)[~kept]
                state[f"{model.names[reader]}.bias"] = state[f"{model.names[reader]}.bias"] + pushed
            for arrays in (state, kept_masks):
                if key in arrays:
                    arrays[key] = arrays[key][kept]
    twins = {}
    for layer in dense:
        twins[layer] = twin = Dense.__new__(Dense)
        twin.__dict__.update(layer.__dict__)
        twin.name, twin.home, twin._output, twin.input_width = model.names[layer], None, None, None
        if layer in found:
            twin.units = int(found[layer][0].sum())
    result, _ = wired_again(model, {}, twins=twins)
    if kept_masks:
        result.weights.set_masks(kept_masks)
    result.weights.put(state)
    return result


# ---- residual blocks -----------------------------------------------------------------------------------------------


def residual_blocks(
    model, X, y, *, remove: int | None = None, max_loss: float | None = None, loss=None
) -> Smaller:  # fmt: skip
    """Take residual blocks y = x + f(x) out, those first whose f(x) is smallest beside x.

    Parameters
    ----------
    model : Model
        It stays as it is.
    X, y : as of `Trainer.evaluate`
        Data that the model was not trained on.
    remove : int, optional
        How many blocks to take out.
    max_loss : float, optional
        Instead, or besides: stop before the loss on (X, y) is larger.
    loss : str or loss object, optional
        Default: what fits the last activation.

    Returns
    -------
    Smaller
        Train its model a little: what is left has to get used to it.

    Raises
    ------
    TypeError, ValueError
        There is no such block, or fewer than `remove`; neither `remove` nor `max_loss` is given; X or y do not fit.

    Notes
    -----
    A block is an Add of two values of which one depends on the other: the shortcut without a projection.  The size of
    a block is the root mean square of f(x) over that of x (Veit, Wilber, Belongie 2016, arXiv:1605.06431, found that
    blocks can be taken out of a trained network one by one).  It is measured anew after each removal.
    """
    check_model("model", model)
    if remove is None and max_loss is None:
        raise ValueError("say how many blocks to remove, or give max_loss")
    there = len(_blocks(model))
    count = there if remove is None else _check.integer("remove", remove, 0)
    if max_loss is not None:
        max_loss = _check.number("max_loss", max_loss)
    if not there:
        raise ValueError("the model has no residual block: no Add of two values of which one depends on the other")
    if count > there:
        raise ValueError(f"remove={count}, but the model has {there} residual blocks")
    removed: list[str] = []
    losses: list[float] = []
    while len(removed) < count:
        sizes = _sizes(model, X)
        block = min(sizes, key=lambda node: sizes[node])
        smaller, _ = wired_again(model, {}, instead={block: _blocks(model)[block][0]})
        now = _loss(smaller, X, y, loss)
        if max_loss is not None and not now <= max_loss:
            break
        removed.append(model.names[block.layer])
        losses.append(now)
        model = smaller
    return Smaller(model, removed, losses)


def _loss(model, X, y, loss) -> float:
    losses = default_loss(model) if loss is None else loss
    loss = losses[0] if isinstance(losses, list) and len(losses) == 1 else losses
    return Trainer(model, loss).evaluate(X, y)["loss"]


def _blocks(model) -> dict:
    """Return {value of the Add: (value of the shortcut, value of the block)}."""
    below: dict = {}  # what each value depends on
    for node in model.nodes:
        below[node] = {node}.union(*(below[v] for v in node.inputs))
    result = {}
    for node in model.nodes:
        if type(node.layer) is Add and len(node.inputs) == 2:
            a, b = node.inputs
            if a is not b and (a in below[b] or b in below[a]):
                result[node] = (a, b) if a in below[b] else (b, a)
    return result


def _sizes(model, X) -> dict:
    blocks = _blocks(model)
    wanted = list(dict.fromkeys(v for pair in blocks.values() for v in pair))
    squares = np.zeros(len(wanted))
    for arrays in _values(model, wanted, X):
        squares += [float((a * a).sum()) for a in arrays]
    size = dict(zip(wanted, np.sqrt(squares), strict=True))
    return {node: size[f] / max(size[x], np.finfo(float).tiny) for node, (x, f) in blocks.items()}
