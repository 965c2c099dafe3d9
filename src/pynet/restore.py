"""Models made again: from the graph and the tensors of a file, from a pickle."""

from __future__ import annotations

import numpy as np

from .compact import decode
from .config import graph_from_config
from .model import Model

__all__ = ["model_from_config", "restore"]


def model_from_config(config: dict, tensors: dict | None = None) -> Model:
    """Make a model from what `Model.config` returned.  Safe with data from anybody.

    Parameters
    ----------
    config : dict
    tensors : dict of name -> array, optional
        The values of the parameters; further entries are ignored.  They are compared with the graph before anything
        of its size is allocated.  None: initial values.

    Raises
    ------
    ValueError
        The configuration is not one that this version writes, or a tensor is missing or has another shape.
    """
    model = _wired(config)
    if tensors is None:
        model.weights.start(0)
        model._adopt()
        return model
    state, masks = {}, {}
    for weight in model.weights:
        pruned = decode(weight.name, weight.shape, tensors)
        if pruned:
            state[weight.name], masks[weight.name] = pruned
        elif weight.name in tensors:
            state[weight.name] = tensors[weight.name]
    model.weights.check_names(state)
    model.weights.allocate()
    model.load_state_dict(state)
    if masks:
        model.weights.set_masks(masks)
    model._adopt()
    return model


def _wired(config: dict) -> Model:
    model = Model.__new__(Model)
    model._wire(**graph_from_config(config))
    return model


def restore(config: dict, arena: np.ndarray, metadata: dict, masks: dict | None = None, names=()) -> Model:
    """Unpickle or copy a model."""
    model = _wired(config)
    model.weights.allocate()
    model.arena[:] = arena
    if masks:
        model.weights.set_masks(masks)
    model.metadata = metadata
    model._adopt()
    return model.compact(names) if names else model
