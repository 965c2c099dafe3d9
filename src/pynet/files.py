"""Model files and checkpoints.

Both are safetensors files.  Weights stand as plain (I, O) matrices under the names that ``model.parameters()`` shows,
pruned ones in the form of compact.py; everything else about a model is one JSON text in the header's
``__metadata__["pynet"]``::

    {"format_version": 1, "kind": "model" | "checkpoint", "library": "0.1.0",
     "model": the graph, "metadata": model.metadata, "state": of a checkpoint}

and beside it stands, as ``["pynet.plan"]``, the plan that libpynet predicts with (plan_text.py).

A checkpoint holds more tensors (optimizer slots, what callbacks remember) and is a valid model file too.
Unknown keys are kept out of the way and ignored; an unknown format version is an error.  Integer networks, kind
"quantized", have "network" in place of "model": see quantize_files.py.
"""

from __future__ import annotations

import os

import numpy as np

from . import compact
from ._safetensors import check_name, parse_json, parts, read, write, write_atomically
from .compact_dense import CompactDense
from .plan_text import plan_text

__all__ = [
    "load",
    "load_checkpoint",
    "load_model",
    "parts_of",
    "read",
    "read_document",
    "save_checkpoint",
    "save_model",
    "to_json",
    "version",
    "write",
    "write_atomically",
]

FORMAT_VERSION = 1
TABLE = "pynet.table"  # the entry of a model's metadata that makes it one of a table: tables/model.py


def save_model(model, path, extra_tensors: dict[str, np.ndarray] | None = None, extra: dict | None = None) -> None:
    """Write `model` to `path`, atomically: the old file or the new one, never half of it.

    Parameters
    ----------
    model : Model
    path : str or os.PathLike
    extra_tensors : dict of name -> array, optional
        Further tensors; their names must not be those of parameters.
    extra : dict, optional
        Further entries of the JSON text, overriding the standard ones; must be JSON.

    Raises
    ------
    OSError
        The file cannot be written (missing directory, full disk ...); the message names `path`.
    ValueError, TypeError
        A weight is NaN or infinite, or `model.metadata` is not JSON; nothing was written.
    """
    write_atomically(path, parts_of(model, extra_tensors, extra))


def parts_of(model, extra_tensors: dict[str, np.ndarray] | None = None, extra: dict | None = None) -> list:
    """Return the buffers that the file of a model consists of; parameters and errors as of `save_model`."""
    metadata = getattr(model, "metadata", None)
    if not isinstance(metadata, (dict, type(None))):
        raise TypeError(f"model.metadata must be a dict, got {type(metadata).__name__}")
    tensors = dict(model.state_dict())
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise ValueError(f"parameter {name!r} has NaN or infinite values, expected finite ones; nothing was saved")
    masks = model.weights.masks()
    for layer in model.layers:
        name = f"{model.names[layer]}.kernel"
        if isinstance(layer, CompactDense):
            values = f"{name}.values"
            tensors |= layer.tensors(name, tensors.pop(values), masks.pop(values, None))
    for name, mask in masks.items():
        tensors |= compact.encode(name, tensors.pop(name), mask)
    for name, array in (extra_tensors or {}).items():
        if name in tensors:
            raise ValueError(f"extra tensor {name!r} has the name of a parameter")
        tensors[name] = array
    for name in tensors:
        check_name(name)
    document = {
        "format_version": FORMAT_VERSION,
        "kind": "model",
        "library": version(),
        "model": model.config(),
        "metadata": metadata or {},
        **(extra or {}),
    }
    texts = {"format": "pynet", "pynet": to_json(document)}
    plan = plan_text(model.plan, tensors)
    if plan:
        texts["pynet.plan"] = plan
    return parts(tensors, texts)


def load(path):
    """Read a model, the model inside a checkpoint, a model of a table, or an integer network.  Known as ``pn.load``.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    Model, TableModel or QuantizedModel

    Raises
    ------
    OSError, ValueError
        As `load_model`.
    """
    document, tensors = read_document(path)
    if document["kind"] != "quantized":
        model = _restored(path, document, tensors)[0]
        return _of_table(path, model) if TABLE in model.metadata else model
    from .quantize_files import restore

    try:
        return restore(document, tensors)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_text(path)}: {str(error)[:500]}") from error


def _of_table(path, model):
    from .tables.model import TableModel

    try:
        return TableModel.of(model)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_text(path)}: {str(error)[:500]}") from error


def load_model(path):
    """Read a model, or the model inside a checkpoint; of a model of a table, its network.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    Model

    Raises
    ------
    OSError
        The file cannot be opened or read.
    ValueError
        The file is damaged, is no pynet file, holds an integer network, or describes an impossible model; the message
        names the file and the fault.
    """
    return _restored(path, *read_document(path))[0]


def save_checkpoint(path, model, state: dict, tensors: dict[str, np.ndarray]) -> None:
    """Write `model` together with what it takes to continue its training.

    Parameters
    ----------
    path : str or os.PathLike
    model : Model
    state : dict
        JSON: numbers (finite), texts, lists, dicts.
    tensors : dict of name -> array
        Optimizer slots, memories of callbacks ...; NaN and infinite values are allowed here.
    """
    save_model(model, path, tensors, {"kind": "checkpoint", "state": state})


def load_checkpoint(path):
    """Read a checkpoint.

    Returns
    -------
    model : Model
    state : dict
    tensors : dict of name -> ndarray
        All tensors that are not parameters of the model.

    Raises
    ------
    OSError, ValueError
        As `load_model`; ValueError also for a model file that is no checkpoint.
    """
    model, document, tensors = _restored(path, *read_document(path))
    state = document.get("state")
    if document["kind"] != "checkpoint" or not isinstance(state, dict):
        raise ValueError(f"{_text(path)}: it holds a model only, expected a checkpoint (from Trainer.save_checkpoint)")
    return model, state, tensors


def read_document(path) -> tuple[dict, dict[str, np.ndarray]]:
    """Return the JSON text (checked as far as it concerns this module) and all tensors of a pynet file."""
    tensors, metadata = read(path, check_finite=False)
    try:
        if "pynet" not in metadata:
            raise ValueError("a safetensors file, but not of pynet: its metadata has no entry 'pynet'")
        document = parse_json(metadata["pynet"], "metadata entry 'pynet'")
        number, kind = document.get("format_version"), document.get("kind")
        if type(number) is not int or not 1 <= number <= FORMAT_VERSION:
            raise ValueError(
                f"format_version {number!r}, expected 1..{FORMAT_VERSION} (written by pynet "
                f"{str(document.get('library'))[:40]}; this is {version()})"
            )
        if kind not in ("model", "checkpoint", "quantized"):
            raise ValueError(f"kind {str(kind)[:40]!r}, expected 'model', 'checkpoint' or 'quantized'")
        for key in ("network" if kind == "quantized" else "model", "metadata"):
            if not isinstance(document.get(key), dict):
                raise ValueError(f"entry {key!r} is {type(document.get(key)).__name__}, expected an object")
    except ValueError as error:
        raise ValueError(f"{_text(path)}: {error}") from None
    return document, tensors


def _restored(path, document: dict, tensors: dict):
    from .restore import model_from_config  # which imports model.py, which imports this module

    if document["kind"] == "quantized":
        raise ValueError(f"{_text(path)}: it holds an integer network, expected a model; open it with pn.load")
    try:
        model = model_from_config(document["model"], tensors)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_text(path)}: {str(error)[:500]}") from error
    names = {weight.name for weight in model.weights}
    names |= {f"{name}.{suffix}" for name in model.weights.masks() for suffix in compact.SUFFIXES}
    extra = {name: array for name, array in tensors.items() if name not in names}
    if extra and document["kind"] == "model":
        raise ValueError(f"{_text(path)}: tensor {next(iter(extra))!r} is no parameter of the model")
    model.metadata = document["metadata"]
    return model, document, extra


def to_json(document: dict) -> str:
    """Return the JSON text of a file; TypeError or ValueError if what the user put into it cannot be written."""
    import json

    try:
        text = json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        parse_json(text, "text")  # what is written can be read
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"model.metadata or the state cannot be written as JSON: {error}") from None
    return text


def version() -> str:
    """Return the version of this library."""
    from . import __version__

    return __version__


def _text(path) -> str:
    return os.fsdecode(path)
