"""`pynet export`: a saved model for another world."""

from __future__ import annotations

import os

import pynet as pn

from .cli_train import describe, show
from .progress import quantity

__all__ = ["export"]


def export(options) -> None:
    """Write the forms of a model that were asked for."""
    if not options.c:
        raise ValueError("nothing to write: --c FILE.c says what")
    model = pn.load(options.model)
    show("model", f"{options.model}: {describe(model)}")
    _export_c(model, options)


def _export_c(model, options) -> None:
    scratch = "static" if options.static else "caller"
    form = {"math": not options.no_math, "wide": not options.narrow, "stream": options.stream}
    pn.export.to_c(model, options.c, prefix=options.prefix, scratch=scratch, **form)
    need = model.footprint(stream=options.stream)
    show("saved", f"{options.c} and {os.path.splitext(options.c)[0]}.h")
    show("flash", f"{quantity(need.flash)}B of constants, besides the code")
    show("memory", f"{quantity(need.ram)}B to work in, {quantity(need.ends)}B for a row of inputs and outputs")
    show("work", f"{quantity(need.macs)} multiply-accumulates a row")
