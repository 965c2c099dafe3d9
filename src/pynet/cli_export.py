"""`pynet export`: a saved model as a file for other programs."""

from __future__ import annotations

import os

import pynet as pn

from .cli_train import describe, show
from .progress import quantity

__all__ = ["export"]

WRITERS = {"onnx": pn.export.to_onnx}  # option: write(model, path)


def export(options) -> None:
    """Write a model in each form that an option asks for."""
    wanted = {name: path for name in WRITERS if (path := getattr(options, name)) is not None}
    if not wanted:
        raise ValueError(f"nothing to write: give {' or '.join(f'--{name} FILE' for name in WRITERS)}")
    model = pn.load(options.model)
    for path in wanted.values():
        if os.path.exists(path) and os.path.samefile(path, options.model):
            raise ValueError(f"{path}: the model itself would be lost, choose another name")
    show("model", f"{options.model}: {describe(model)}")
    for name, path in wanted.items():
        WRITERS[name](model, path)
        show("saved", f"{path} ({quantity(os.path.getsize(path))}B)")
