"""Transfer: weights that come from elsewhere by name, parts that stand still, and parts that learn more slowly."""

from __future__ import annotations

import os

from . import _check
from .arrays import as_array
from .compact_dense import compact_names

__all__ = ["Report", "freeze", "load_weights", "set_rate_factors"]

SHOWN = 8  # names on a line of a report


# ---- weights by name ------------------------------------------------------------------------------------------------


class Report:
    """What became of the parameters and tensors of a `load_weights`.  ``bool(report)``: everything matched.

    Attributes
    ----------
    loaded : list of str
        Parameters that were set.
    missing : list of str
        Parameters that nothing came for; they kept their values.
    unexpected : list of str
        Tensors that went nowhere, by the names they had after `rename`.
    mismatched : list of (str, tuple, tuple)
        Parameters that kept their values because the tensor of their name has another shape: name, shape of the
        parameter, shape of the tensor.
    """

    def __init__(self, loaded: list, missing: list, unexpected: list, mismatched: list):
        self.loaded, self.missing, self.unexpected, self.mismatched = loaded, missing, unexpected, mismatched

    def __bool__(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.mismatched)
        rows = [("loaded", f"{len(self.loaded)} of {total} parameters"), *self.faults()]
        return "\n".join(f"{kind:<12}{text}" for kind, text in rows)

    def faults(self) -> list[tuple[str, str]]:
        """Return (kind, text) of what did not match."""
        shapes = [f"{name} has shape {own}, got {shape}" for name, own, shape in self.mismatched]
        rows = (("missing", self.missing), ("mismatched", shapes), ("unexpected", self.unexpected))
        return [(kind, f"{len(names)}: {_listed(names)}") for kind, names in rows if names]

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(getattr(self, k))} {k}" for k in ("loaded", "missing", "unexpected", "mismatched"))
        return f"<Report: {counts}>"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def load_weights(model, source, *, rename=None, strict: bool = False) -> Report:
    """Set those parameters of `model` that have a namesake of their shape in `source`; the others keep their values.

    Either all of them are set or, after an exception, none.

    Parameters
    ----------
    model : Model
    source : path, dict of name -> array, or Model
        A path: any safetensors file, of pynet (of a checkpoint: its model) or of another program.
    rename : dict, or callable, optional
        Dict: {name of a tensor: name of the parameter it is for, or None}.  Callable: name -> name or None.
        None leaves the tensor out.  Tensors that a dict does not mention keep their names.
    strict : bool
        True: everything must match, or ValueError.  Default False.

    Returns
    -------
    Report
        Truthy only if everything matched; print it to read what did not.  What `rename` leaves out is not in it.

    Raises
    ------
    OSError
        The file cannot be read.
    TypeError
        `source` or `rename` is of another kind; a tensor that would be loaded does not hold real numbers.
    ValueError
        The file is damaged; nothing in `source` fits; `rename` names what is not there, or two tensors alike; a tensor
        that would be loaded is not finite in the dtype of the model; with `strict`, something does not match.

    Notes
    -----
    Pynet keeps a kernel as (I, O).  Programs that keep (O, I), as PyTorch does, need a transposed copy, in a dict.
    Masks of pruned weights do not come along; where the model has some of its own, they hold.
    State that an optimizer has gathered for the old weights stays in its trainer: train with a new one.
    """
    tensors = _renamed(model, _tensors(source), rename)
    own = {weight.name: weight.shape for weight in model.weights}
    matched, mismatched = {}, []
    for name in own:
        if name in tensors:
            array = as_array(f"tensor {name!r}", tensors[name])
            if array.shape == own[name]:
                matched[name] = array
            else:
                mismatched.append((name, own[name], array.shape))
    report = Report(
        loaded=list(matched),
        missing=[name for name in own if name not in tensors],
        unexpected=[name for name in tensors if name not in own],
        mismatched=mismatched,
    )
    faults = "; ".join(f"{kind} {text}" for kind, text in report.faults())
    if strict and faults:
        raise ValueError(f"load_weights(strict=True), nothing was loaded: {faults}")
    if own and tensors and not matched:
        raise ValueError(f"load_weights: nothing in the source fits the model (see rename=): {faults}")
    model.weights.put(matched)
    return report


def _tensors(source) -> dict:
    if hasattr(source, "arena"):
        return (source.expand() if compact_names(source) else source).parameters()
    if hasattr(source, "keys"):
        for name in source:
            if not isinstance(name, str):
                raise TypeError(f"source: the names of tensors must be strings, got {type(name).__name__} {name!r}")
        return dict(source)
    if not isinstance(source, (str, bytes, os.PathLike)):
        raise TypeError(
            f"source must be the path of a safetensors file, a dict of arrays or a Model, got {type(source).__name__}"
        )
    from . import files

    tensors, metadata = files.read(source, check_finite=False, foreign=True)
    if "pynet" in metadata:  # a checkpoint holds much that is no weight
        return files.load_model(source).parameters()
    return tensors


def _renamed(model, tensors: dict, rename) -> dict:
    """Return {new name: array}."""
    if rename is None:
        return tensors
    if hasattr(rename, "keys"):
        own = [weight.name for weight in model.weights]
        for old, new in rename.items():
            if old not in tensors:
                raise ValueError(f"rename: the source has no tensor {old!r}{_check.suggest(old, tensors)}")
            if new is not None and new not in own:
                raise ValueError(f"rename: the model has no parameter {new!r}{_check.suggest(new, own)}")
        pairs = [(old, rename.get(old, old)) for old in tensors]
    elif callable(rename):
        pairs = [(old, rename(old)) for old in tensors]
    else:
        raise TypeError(f"rename must be a dict or a function of a name, got {type(rename).__name__}")
    taken: dict = {}
    for old, new in pairs:
        if new is None:
            continue
        if not isinstance(new, str):
            raise TypeError(f"rename must give a string or None for {old!r}, got {type(new).__name__} {new!r}")
        if new in taken:
            raise ValueError(f"rename: {taken[new]!r} and {old!r} would both be {new!r}")
        taken[new] = old
    return {new: tensors[old] for new, old in taken.items()}


# ---- parts of a model -----------------------------------------------------------------------------------------------


def freeze(model, up_to: str | None) -> None:
    """See Model.freeze."""
    layers = model.layers if up_to is None else _needed_by(model, model.get_layer(up_to))
    for layer in layers:
        layer.trainable = False


def _needed_by(model, layer) -> set:
    """Return the layers that the values of `layer` depend on, itself among them."""
    found = {node for node in model.nodes if node.layer is layer}
    for node in reversed(model.nodes):  # readers come before what they read
        if node in found:
            found.update(node.inputs)
    return {node.layer for node in found}


def set_rate_factors(model, factors: dict) -> None:
    """See Model.set_rate_factors."""
    if not hasattr(factors, "keys"):
        raise TypeError(f"factors must be a dict of layer name -> factor, got {type(factors).__name__}")
    staged: dict = {}
    for name, factor in factors.items():
        if not isinstance(name, str):
            raise TypeError(f"factors: the name of a layer must be a string, got {type(name).__name__} {name!r}")
        layers = _matching(model, name)
        staged.update(dict.fromkeys(layers, _check.number(f"rate factor of {name!r}", factor, 0.0)))
    for layer, factor in staged.items():
        layer.rate_factor = factor


def _matching(model, name: str) -> list:
    """Return the layer called `name`, or those whose names begin with what stands before its final star."""
    if not name.endswith("*"):
        return [model.get_layer(name)]
    layers = [layer for layer, own in model.names.items() if own.startswith(name[:-1])]
    if not layers:
        raise _check.unknown("layer", name, model.names.values())
    return layers
