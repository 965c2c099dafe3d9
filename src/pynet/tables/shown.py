"""What a TableModel shows of itself."""

from __future__ import annotations

from ..rich import model_html
from ..rich import table as html_table
from ..summary import printable, summary_text

__all__ = ["html", "one_line", "text"]


def one_line(model) -> str:
    """Return columns, target and size."""
    n = model.network.count_params()
    return f"<TableModel {len(model.encoder.codes)} columns -> {model.target} ({_kind(model)}), {n} parameters>"


def text(model) -> str:
    """Return what becomes of each column, and the layers of the network."""
    encoder = model.encoder
    told = {code.name: code.told() for code in encoder.codes}
    told |= {name: f"left out: {why}" for name, why in encoder.left_out.items()}
    width = max(map(len, told))
    lines = [f"{printable(name):<{width}}  {what}" for name, what in told.items()]
    lines.append(
        f"{len(encoder.codes)} columns become {sum(encoder.widths)} numbers; target {model.target!r}, {_kind(model)}"
    )
    return "\n".join([*lines, "", summary_text(model.network)])


def html(model) -> str:
    """Return the same for notebooks."""
    rows = [(code.name, code.told()) for code in model.encoder.codes]
    return html_table(("column", "becomes"), rows) + model_html(model.network)


def _kind(model) -> str:
    return f"{len(model.classes)} classes" if model.classes else "a number"
