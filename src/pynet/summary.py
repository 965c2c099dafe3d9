"""A model as a table for people."""

from __future__ import annotations

import math

from .compact_dense import CompactDense

__all__ = ["printable", "summary_rows", "summary_text"]


def printable(text) -> str:
    """Return a text, which may come from a file, in one line and without what a terminal obeys or no file can hold."""
    return "".join(c if c.isprintable() else " " for c in str(text))  # surrogates and controls are not printable


def summary_rows(model) -> tuple[str, list[tuple], str]:
    """Return the title, a row of texts for each layer (name, kind, width, parameters, what it reads) behind a row of
    headings, and the totals."""
    numbers, pruned = dict.fromkeys(model.layers, 0), dict.fromkeys(model.layers, 0)
    masks = model.weights.masks()
    frozen = 0
    for weight in model.weights:
        size = weight.size
        numbers[weight.layer] += size
        if weight.name in masks and not isinstance(weight.layer, CompactDense):
            pruned[weight.layer] += int((~masks[weight.name]).sum())
        frozen += 0 if weight.trainable and weight.layer.trainable else size
    rows = [("layer", "kind", "width", "parameters", "reads")]
    for layer in model.layers:
        calls = [node for node in model.nodes if node.layer is layer]
        kind = type(layer).__name__
        if layer.activation is not None:
            kind += f" {layer.activation.name}"
        count = str(numbers[layer])
        if numbers[layer] and not layer.is_input:
            if isinstance(layer, CompactDense):
                count += f" of {math.prod(layer.form.shape) + layer.use_bias * layer.units} compact"
            elif pruned[layer]:
                count += f" less {pruned[layer]} pruned"
            count += "" if layer.trainable else " frozen"
            count += "" if layer.rate_factor == 1 else f" rate x {layer.rate_factor:g}"
        reads = "; ".join(", ".join(model.names[v.layer] for v in node.inputs) for node in calls)
        rows.append((model.names[layer], kind, "x".join(map(str, calls[0].shape)), count, reads))
    total = model.count_params()
    title = f"{type(model).__name__}{f' {model.name!r}' if model.name else ''}, {model.dtype.name}"
    size = total * model.dtype.itemsize + model.nbytes - model.arena.nbytes  # with places and masks
    gone = sum(pruned.values())
    less = f", {gone} of them pruned" if gone else ""
    totals = f"{total} parameters ({_bytes(size)}): {total - frozen} trainable{less}, {frozen} not"
    return title, rows, totals


def summary_text(model) -> str:
    """Return `summary_rows` as aligned lines."""
    title, rows, totals = summary_rows(model)
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    aligned = [(str.ljust, str.ljust, str.rjust, str.rjust, str.ljust)] * len(rows)
    lines = [
        "  ".join(align(cell, w) for align, cell, w in zip(how, row, widths, strict=True)).rstrip()
        for how, row in zip(aligned, rows, strict=True)
    ]
    rule = "-" * max(len(line) for line in lines)
    return "\n".join([title, rule, lines[0], rule, *lines[1:], rule, totals])


def _bytes(n: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} GiB"
