"""`pynet export`: a saved model as a file for other programs."""

from __future__ import annotations

import os

import pynet as pn

from .cli_show import check_apart, describe, network_of, report, show
from .cli_use import as_arrays, data_of, load, training_rows
from .progress import quantity
from .quantized_model import QuantizedModel

__all__ = ["export"]


def export(options) -> None:
    """Write a model in each form that an option asks for."""
    wanted = {name: path for name in WRITERS if (path := getattr(options, name)) is not None}
    if not wanted:
        raise ValueError(f"nothing to write: give {' or '.join(f'--{name} FILE' for name in WRITERS)}")
    written = [*wanted.values(), *(_header(path) for name, path in wanted.items() if name != "onnx")]
    if len(set(map(os.path.realpath, written))) < len(written):
        raise ValueError(f"two forms cannot have one file: {', '.join(wanted.values())}")
    model = pn.load(options.model)
    for path in written:
        check_apart(path, model=options.model, data=options.data)
    integers = isinstance(model, QuantizedModel)
    show("model", f"{options.model}: {repr(model)[1:-1] if integers else describe(model)}")
    for name, path in wanted.items():
        WRITERS[name](model, path, options)


def _header(path: str) -> str:
    """Return the file that `to_c` writes beside a .c file."""
    return f"{os.path.splitext(path)[0]}.h"


def _onnx(model, path: str, options) -> None:
    pn.export.to_onnx(model, path)
    show("saved", f"{path} ({quantity(os.path.getsize(path))}B)")


def _to_c(model, path: str, options) -> None:
    scratch = "static" if options.static else "caller"
    form = {"math": not options.no_math, "wide": not options.narrow, "stream": options.stream}
    pn.export.to_c(model, path, prefix=options.prefix, scratch=scratch, **form)


def _c(model, path: str, options) -> None:
    _to_c(model, path, options)
    network = network_of(model)
    more = " and the knots and levels of the columns" if network is not model else ""
    _show_need(path, network.footprint(stream=True) if options.stream else network.footprint(), more)


def _int8(model, path: str, options) -> None:
    if options.data is None:
        raise ValueError("--int8 needs --data DATA, the rows that say which numbers there are")
    model = load(options)
    table = data_of(model, options, True)
    rest, scored, are_apart = training_rows(model, table)
    which = f"{len(rest)} rows to quantise, {len(scored)} to measure" if are_apart else "all rows, for both"
    show("data", f"{options.data}: {which}")
    model, table = as_arrays(model, table)
    quantized = model.quantize(table.X[rest])
    _to_c(quantized, path, options)
    report("before", model, table.X[scored], table, scored)
    report("after", quantized, table.X[scored], table, scored)
    print("\n".join(f"  {line}" for line in str(quantized.report(table.X[scored])).splitlines()))
    _show_need(path, quantized.footprint())


def _show_need(path: str, need, more: str = "") -> None:
    show("saved", f"{path} and {_header(path)}")
    show("flash", f"{quantity(need.flash)}B of constants, besides the code{more}")
    show("memory", f"{quantity(need.ram)}B to work in, {quantity(need.ends)}B for a row of inputs and outputs")
    show("work", f"{quantity(need.macs)} multiply-accumulates a row")


WRITERS = {"c": _c, "int8": _int8, "onnx": _onnx}  # option: write(model, path, options)
