"""Pruning: which weights of a trained network go, and what the others make of it.

The criteria prune the model they are given, in place, and return a Report.  A pruned weight is 0 and stays 0, bit for
bit, through all further training (`masks`, `set_masks`).  `units` and `residual_blocks` return smaller networks that
stay dense; `Gradual` and `until` say when and how much.  What a criterion costs and when to use it: docs/pruning.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from . import _check
from .arrays import as_inputs, check_finite
from .layers import Dense
from .model import Model
from .opened import check_model, clone
from .prune_schedule import Gradual, until
from .prune_structure import Smaller, residual_blocks, units

__all__ = [
    "Gradual", "Report", "Smaller", "magnitude", "masks", "obd", "obs", "residual_blocks", "set_masks", "units", "until"
]  # fmt: skip

SCOPES = ("global", "layer")
EXACT = 4e12  # multiply-adds of the exact surgeon on one layer; beyond that it goes column by column


@dataclass(frozen=True, eq=False)
class Report:
    """What a pruning did.  Print it.

    Attributes
    ----------
    names : list of str
        Of the parameters that could be pruned.
    sizes, kept : lists of int
        Weights of each, and those that are left.
    errors : dict of str -> (before, after)
        Of layers whose weights were fitted anew: the mean squared error of their outputs, as a share of the outputs'
        variance, when the weights had gone, and after the fit.
    """

    names: list[str]
    sizes: list[int]
    kept: list[int]
    errors: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def sparsity(self) -> float:
        """Share of these weights that is pruned."""
        return 1 - sum(self.kept) / sum(self.sizes)

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [
            ("parameter", "weights", "kept", "sparsity", "error of its outputs: pruned", "fitted")
        ]
        for name, size, kept in zip(self.names, self.sizes, self.kept, strict=True):
            errors = [f"{e:.4f}" for e in self.errors.get(name, ())] or ["", ""]
            rows.append((name, str(size), str(kept), f"{1 - kept / size:.1%}", *errors))
        rows.append(("all", str(sum(self.sizes)), str(sum(self.kept)), f"{self.sparsity:.1%}", "", ""))
        columns = len(rows[0]) if self.errors else 4
        widths = [max(len(row[k]) for row in rows) for k in range(columns)]
        return "\n".join(
            "  ".join(
                c.rjust(w) if k else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths, strict=False))
            ).rstrip()
            for row in rows
        )


# ---- masks ----------------------------------------------------------------------------------------------------------


def masks(model) -> dict[str, np.ndarray]:
    """Return {parameter name: boolean array, True where a weight is kept} of the parameters that were pruned.

    Parameters
    ----------
    model : Model
    """
    check_model("model", model)
    return model.weights.masks()


def set_masks(model, masks: dict) -> Report:
    """Prune by masks of your own.

    Parameters
    ----------
    model : Model
    masks : dict of str -> array like the parameter, or None
        By the name of a parameter: False or 0 where a weight is pruned.  None: all its weights are free again (those
        that were pruned begin at 0).

    Returns
    -------
    Report

    Raises
    ------
    TypeError, ValueError
        A name is unknown or that of no weight (a scale of Input, statistics of BatchNorm), a shape differs; nothing was
        pruned.
    """
    check_model("model", model)
    if not hasattr(masks, "items"):
        raise TypeError(f"masks must be a dict of name -> array, got {type(masks).__name__}")
    known = {weight.name: weight for weight in model.weights}
    for name, mask in masks.items():
        if name not in known:
            raise _check.unknown("parameter", name, known)
        if mask is not None and not known[name].trainable:
            raise ValueError(f"{name!r} cannot be pruned: it is a constant or a statistic, no weight that is trained")
        if mask is not None and np.shape(mask) != known[name].shape:
            raise ValueError(f"mask of {name!r} must have shape {known[name].shape}, got {np.shape(mask)}")
    model.weights.set_masks({name: None if mask is None else np.asarray(mask) != 0 for name, mask in masks.items()})
    return _report(model, list(masks))


# ---- criteria -------------------------------------------------------------------------------------------------------


def magnitude(model, sparsity=0.9, scope: str = "global", layers=None) -> Report:
    """Prune the weights of least magnitude (Han et al. 2015, arXiv:1506.02626).

    Parameters
    ----------
    model : Model
    sparsity : float in [0, 1), or dict of str -> float
        Share of the weights that shall be 0, those pruned before included; biases do not count.  A dict: of each
        layer it names, by the layer's name; no other layer is pruned.
    scope : "global" or "layer"
        Whether the share is that of all weights together, so that layers compete, or of each layer.
    layers : list of str, optional
        Names of the layers to prune.  Default: all that have matrices (Dense, LSTM) and are trainable.

    Returns
    -------
    Report

    Raises
    ------
    TypeError, ValueError
        An argument is out of range or names no layer with weights; the model stays as it was.
    """
    targets = _targets(model, layers, sparsity)
    own = model.parameters()
    saliency = {name: np.abs(own[name]) for name in targets}
    _cut(model, saliency, sparsity, scope)
    return _report(model, targets)


def obd(
    model, X, y=None, sparsity=0.9, scope: str = "global", layers=None, *, curvature: str = "gauss_newton", loss=None,
    probes: int | None = None, random_state: int = 0,
) -> Report:  # fmt: skip
    """Prune by optimal brain damage: the weights of least ``h_qq w_q^2 / 2`` (LeCun, Denker, Solla 1990).

    Parameters
    ----------
    model : Model
    X : array-like [N, I]
        A thousand rows are enough.
    y : targets, optional
        For the curvature "hessian".
    sparsity, scope, layers
        As of `magnitude`; layers: of kind Dense, with "gauss_newton".
    curvature : "gauss_newton" or "hessian"
        Where h comes from.  "gauss_newton": the diagonal of the Gauss-Newton matrix, never negative, as in the paper:
        E[x_i^2 g_o^2], with gradients g of losses whose targets are drawn from the predictions.  "hessian": the
        diagonal of the true Hessian on (X, y), which may be negative.
    loss : str or loss object, optional
        For "hessian".  Default: what fits the last activation (softmax: cross_entropy; sigmoid: binary_cross_entropy;
        else mse).
    probes : int, or None
        For "hessian": estimate it by so many products with random signs (Hutchinson 1990), two gradients each, in
        float64.  None: exactly, by as many products as there are weights.
    random_state : int
        Seed of what is drawn.

    Returns
    -------
    Report

    Raises
    ------
    TypeError, ValueError
        As `magnitude`; X or y do not fit the model.
    """
    from .prune_hessian import Curvature

    if curvature not in ("gauss_newton", "hessian"):
        raise _check.unknown("curvature", curvature, ("gauss_newton", "hessian"))
    targets = _targets(model, layers, sparsity, Dense if curvature == "gauss_newton" else None)
    if curvature == "gauss_newton":
        problems = _problems(model, X, targets, random_state)
        saliency = {problem.name: problem.diagonal * problem.W**2 / 2 for problem in problems}
    else:
        if y is None:
            raise ValueError("obd(curvature='hessian') needs y, the targets of X")
        if probes is not None:
            probes = _check.integer("probes", probes, 1)
        whole = Curvature(model, X, y, loss, targets)
        saliency = whole.split(whole.diagonal(probes, random_state) * whole.values**2 / 2)
    _cut(model, saliency, sparsity, scope)
    return _report(model, targets)


def obs(
    model, X, sparsity=0.9, scope: str = "global", layers=None, *, y=None, method: str = "layers", loss=None,
    damping: float = 0.01, random_state: int = 0,
) -> Report:  # fmt: skip
    """Prune by the optimal brain surgeon (Hassibi, Stork 1993): the others make up for each weight that goes.

    Parameters
    ----------
    model : Model
    X : array-like [N, I]
        Data like those the model is for, N some 1000 to 100 000: the more, the better.
    sparsity, scope, layers
        As of `magnitude`; layers: of kind Dense.
    y : targets, optional
        For method "network".
    method : "layers", "fisher" or "network"
        "layers": each Dense layer for itself, on its inputs (L-OBS: Dong, Chen, Pan 2017; exactly, as Frantar, Singh,
        Alistarh 2022, arXiv:2208.11580), costs weighed by the curvature of the loss; then the weights left are fitted
        to the outputs that the layer had, in order, so that a layer makes up for what those before it lost.  Layers so
        wide that this would take minutes (more than 4e12 multiply-adds) are done column by column (Frantar, Alistarh
        2023, arXiv:2301.00774).
        "fisher": like that, but each unit with a Hessian of its own, the Fisher information of its weights (WoodFisher:
        Singh, Alistarh 2020, arXiv:2004.14340, with blocks of one unit), and those left follow it instead of being
        fitted to outputs.  N some 1000: it takes as many times longer as a layer has units.
        "network": the classic, with the Hessian of the whole network, for up to 4000 parameters.  The model should be
        at a minimum of its loss on (X, y): by how much its least eigenvalue is below 0, the diagonal is raised.
    loss
        As of `obd`, for method "network".
    damping : float > 0
        What is added to the diagonal of the Hessian, as a share of its mean.
    random_state : int
        Seed of the targets that are drawn from the model's predictions to measure the curvature.

    Returns
    -------
    Report

    Raises
    ------
    TypeError, ValueError
        As `magnitude`; X or y do not fit the model, or it is too large for "network".  The model stays as it was.
    """
    if method not in ("layers", "fisher", "network"):
        raise _check.unknown("method", method, ("layers", "fisher", "network"))
    damping = _check.number("damping", damping, 0.0, low_open=True)
    targets = _targets(model, layers, sparsity, None if method == "network" else Dense)
    if method == "network":
        from .prune_hessian import Curvature

        if y is None:
            raise ValueError("obs(method='network') needs y, the targets of X")
        curvature = Curvature(model, X, y, loss, targets)
        cost = curvature.surgeon_costs(damping)
        with model.weights.all_or_nothing():
            _cut(model, curvature.split(cost), sparsity, scope)
            model.weights.put(curvature.compensated(model.weights.masks()))
        return _report(model, targets)
    if method == "fisher":
        from .prune_fisher import collect

        units = collect(model, *_calibration(model, X, targets, random_state))
        chosen = {u.name: u.choose(damping) for u in units}
        with model.weights.all_or_nothing():
            _cut(model, chosen, sparsity, scope)
            masks = model.weights.masks()
            for u in units:
                model.weights.put(u.compensated(masks.get(u.name, np.ones(u.W.shape, bool)), damping))
        return _report(model, targets)
    return _obs_by_layers(model, X, targets, sparsity, scope, damping, random_state)


def _obs_by_layers(model, X, targets: list, sparsity, scope, damping, random_state) -> Report:
    from . import prune_layers

    dense = clone(model)
    problems = _problems(model, X, targets, random_state)
    costs = {}
    for problem in problems:
        inputs, outputs = problem.W.shape
        exact = outputs * inputs**3 / 6 <= EXACT
        choose = prune_layers.choose if exact else prune_layers.choose_by_columns
        share = sparsity[problem.layer] if isinstance(sparsity, dict) else sparsity
        costs[problem.name] = choose(problem, damping, share)
    with model.weights.all_or_nothing():
        _cut(model, costs, sparsity, scope)
        errors = {problem.name: prune_layers.reconstruct(model, dense, problem, X, damping) for problem in problems}
    return _report(model, targets, errors)


def _problems(model, X, targets: list, random_state) -> list:
    """Return what the data say of the layers whose kernels are the targets."""
    from . import prune_layers

    return prune_layers.collect(model, *_calibration(model, X, targets, random_state))


def _calibration(model, X, targets: list, random_state) -> tuple[list, list, int]:
    """Return the layers whose kernels are the targets, the inputs, and the seed, checked."""
    inputs, rows = as_inputs(model, X)
    if not rows:
        raise ValueError("X has no rows")
    for array in inputs:
        check_finite("X", array)
    layers = [layer for layer in model.layers if f"{model.names[layer]}.kernel" in targets]
    return layers, inputs, _check.integer("random_state", random_state, 0)


# ---- shared ---------------------------------------------------------------------------------------------------------


def _targets(model, layers, sparsity, kind=None) -> list[str]:
    """Return the names of the parameters to prune, arguments checked."""
    check_model("model", model)
    wanted = sparsity if isinstance(sparsity, dict) else layers
    if isinstance(sparsity, dict) and layers is not None:
        raise ValueError("give the layers' sparsities as a dict, or `layers`, not both")
    if not isinstance(sparsity, dict):
        _check.fraction("sparsity", sparsity)
    elif not sparsity:
        raise ValueError("sparsity names no layer")
    known = {
        layer: [w.name for w in model.weights if w.layer is layer and len(w.shape) == 2 and w.trainable]
        for layer in model.layers
    }
    usable = {model.names[layer]: names for layer, names in known.items()
              if names and (kind is None or isinstance(layer, kind))}  # fmt: skip
    if wanted is None:
        result = [
            name for layer, names in known.items() if layer.trainable for name in usable.get(model.names[layer], [])
        ]
    else:
        if isinstance(wanted, str):
            raise TypeError(f"layers must be a list of names, got {wanted!r}")
        for name in wanted:
            if name not in usable:
                raise _check.unknown("layer to prune", name, usable)
        for name, share in sparsity.items() if isinstance(sparsity, dict) else ():
            _check.fraction(f"sparsity of {name!r}", share)
        result = [name for layer in usable if layer in set(wanted) for name in usable[layer]]
    if not result:
        from .compact_dense import compact_names

        hint = "; prune model.expand(), where no layer is in compact form" if compact_names(model) else ""
        raise ValueError(f"the model has no layer to prune: none with a trainable matrix of weights{hint}")
    return result


def _cut(model, saliency: dict, sparsity, scope: str) -> None:
    """Prune the weights of least saliency, those pruned before first."""
    if scope not in SCOPES:
        raise _check.unknown("scope", scope, SCOPES)
    for name, mask in model.weights.masks().items():
        if name in saliency:
            saliency[name] = np.where(mask, saliency[name], -np.inf)
    groups = [list(saliency)] if scope == "global" and not isinstance(sparsity, dict) else [[n] for n in saliency]
    chosen: dict[str, np.ndarray | None] = {}
    for group in groups:
        share = sparsity[group[0].rpartition(".")[0]] if isinstance(sparsity, dict) else sparsity
        flat = np.concatenate([saliency[name].reshape(-1) for name in group])
        kept = np.ones(flat.size, bool)
        kept[np.argsort(flat, kind="stable")[: round(share * flat.size)]] = False
        kept &= flat > -np.inf
        for name, mask in zip(group, np.split(kept, np.cumsum([saliency[n].size for n in group])[:-1]), strict=True):
            chosen[name] = None if mask.all() else mask.reshape(saliency[name].shape)
    model.weights.set_masks(chosen)


def _report(model: Model, names: list[str], errors: dict | None = None) -> Report:
    masks = model.weights.masks()
    sizes = {weight.name: weight.size for weight in model.weights}
    kept = [int(masks[name].sum()) if name in masks else sizes[name] for name in names]
    return Report(names, [sizes[name] for name in names], kept, errors or {})
