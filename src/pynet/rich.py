"""Models and histories as HTML: what notebooks show of them, and the tables of a report.  No matplotlib, no scripts."""

from __future__ import annotations

import html
import math

from .summary import printable, summary_rows

__all__ = ["escape", "history_html", "model_html", "table"]

MOST = 60  # rows of a table; of a longer one the first and the last
COLOURS = ("#0072B2", "#D55E00")  # training, validation: readable on white and on black
WIDTH, HEIGHT = 220, 44  # of a sparkline


def escape(text) -> str:
    """Return a text as HTML that shows it: no character of it is markup."""
    return html.escape(printable(text), quote=True)


def table(head, rows, numbers=()) -> str:
    """Return an HTML table of texts.

    Parameters
    ----------
    head : sequence of texts, or None for a table without
    rows : list of sequences of texts
        Of more than 60 the first and the last are shown.
    numbers : set of int
        Columns that stand to the right.
    """

    def row(cells, tag: str) -> str:
        style = (
            ' style="text-align: right"' if k in numbers else ' style="text-align: left"' for k in range(len(cells))
        )
        return "<tr>" + "".join(f"<{tag}{s}>{escape(c)}</{tag}>" for s, c in zip(style, cells, strict=True)) + "</tr>"

    shown = [row(cells, "td") for cells in rows]
    if len(shown) > MOST:
        gap = [f"… {len(shown) - MOST} more", *[""] * (len(rows[0]) - 1)]
        shown = [*shown[: MOST // 2], row(gap, "td"), *shown[-MOST // 2 :]]
    top = f"<thead>{row(head, 'th')}</thead>" if head else ""
    return f"<table>{top}<tbody>{''.join(shown)}</tbody></table>"


def model_html(model) -> str:
    """Return the summary of a model as an HTML table."""
    title, rows, totals = summary_rows(model)
    return f"<p><b>{escape(title)}</b></p>{table(rows[0], rows[1:], {2, 3})}<p>{escape(totals)}</p>"


def history_html(history) -> str:
    """Return a table of what a History holds: for each quantity its last values and its curve."""
    curves = history.history
    names = list(dict.fromkeys(name.removeprefix("val_") for name in curves))
    epochs = len(history.epoch)
    more = ", interrupted" if history.interrupted else ""
    title = f"<p><b>History</b>, {epochs} epoch{'s' * (epochs != 1)}{more}</p>"
    if not epochs:
        return title
    rows = []
    for name in names:
        both = [curves.get(key, []) for key in (name, f"val_{name}")]
        last = [f"{values[-1]:.4g}" if values else "" for values in both]
        cells = "".join(f'<td style="text-align: right">{cell}</td>' for cell in last)
        rows.append(f'<tr><td style="text-align: left">{escape(name)}</td>{cells}<td>{sparkline(both)}</td></tr>')
    heads = [("quantity", ""), ("training", COLOURS[0]), ("validation", COLOURS[1]), ("over the epochs", "")]
    top = "".join(f'<th style="text-align: left{f"; color: {c}" if c else ""}">{text}</th>' for text, c in heads)
    return f"{title}<table><thead><tr>{top}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def sparkline(curves) -> str:
    """Return small curves without axes, in one scale, as an SVG; numbers that are not finite leave a gap."""
    shown = [value for values in curves for value in values if math.isfinite(value)]
    if not shown:
        return ""
    low, span = min(shown), max(shown) - min(shown)
    drawn = []
    for values, colour in zip(curves, COLOURS, strict=True):
        step = (WIDTH - 6) / max(len(values) - 1, 1)
        path, pen = [], "M"
        for k, value in enumerate(values):
            if not math.isfinite(value):
                pen = "M"
                continue
            height = (value - low) / span if span else 0.5
            path.append(f"{pen}{3 + k * step:.1f} {HEIGHT - 4 - height * (HEIGHT - 8):.1f}")
            pen = "L"
        if path:  # a line of length 0 shows a number between two gaps
            style = f'fill="none" stroke="{colour}" stroke-width="1.5" stroke-linecap="round"'
            drawn.append(f'<path d="{"".join(path)}{"h0" if len(path) == 1 else ""}" {style}/>')
    return f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(drawn)}</svg>'
