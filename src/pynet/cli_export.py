"""`pynet export`: a saved model as a file for other programs."""

from __future__ import annotations

import os

import pynet as pn

from .cli_train import describe, show
from .progress import quantity

__all__ = ["export"]


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
        WRITERS[name](model, path, options)


def _onnx(model, path: str, options) -> None:
    pn.export.to_onnx(model, path)
    show("saved", f"{path} ({quantity(os.path.getsize(path))}B)")


def _c(model, path: str, options) -> None:
    scratch = "static" if options.static else "caller"
    form = {"math": not options.no_math, "wide": not options.narrow, "stream": options.stream}
    pn.export.to_c(model, path, prefix=options.prefix, scratch=scratch, **form)
    need = model.footprint(stream=options.stream)
    show("saved", f"{path} and {os.path.splitext(path)[0]}.h")
    show("flash", f"{quantity(need.flash)}B of constants, besides the code")
    show("memory", f"{quantity(need.ram)}B to work in, {quantity(need.ends)}B for a row of inputs and outputs")
    show("work", f"{quantity(need.macs)} multiply-accumulates a row")


WRITERS = {"c": _c, "onnx": _onnx}  # option: write(model, path, options)
