"""One page of HTML about a trained model: scores, curves, confusion or residuals, calibration, importance, layers.

The page is one file that needs nothing else: pictures are SVG inside it, there are no scripts and nothing is fetched.
Names that come from data are escaped.  Pictures take the colours of the page, so that they are read in light, in dark
and on paper.  The same arguments give the same bytes.
"""

from __future__ import annotations

import io
import re

import numpy as np

from . import _check, scores
from ._safetensors import write_atomically
from .opened import check_model
from .plot import style
from .plot.judged import check_importance
from .plot.style import check_names
from .rich import escape, model_html, table

__all__ = ["write_html"]

INK = "#010203"  # what matplotlib draws in this colour takes the colour of the page's text
COLOURS = {INK: "currentColor", style.GREY: "var(--soft)", style.BLUE: "var(--blue)", style.ORANGE: "var(--orange)"}
PANELS = 4  # outputs that have pictures; all of them have scores
LISTED = 30  # classes that have a row in the table of scores
SOURCE = "Guo et al. 2017, arXiv:1706.04599, eq. 3"

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1b1f24; --soft: #5b6570; --line: #d5dae0; --tile: #f3f5f8;
  --blue: #0072b2; --orange: #d55e00; }
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #15181c; --ink: #e3e7eb; --soft: #9aa5b1; --line: #3a424b; --tile: #20252b;
    --blue: #3b9edb; --orange: #ee7d2b; } }
* { box-sizing: border-box; }
body { background: var(--page); color: var(--ink); font: .95rem/1.45 system-ui, sans-serif; margin: 0 auto;
  max-width: 70rem; padding: 1.2rem; }
section { min-width: 0; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
p { color: var(--soft); margin: .3rem 0; }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; margin: .9rem 0; }
.tile { background: var(--tile); border-radius: .5rem; padding: .5rem .9rem; }
.tile b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
.grid { display: grid; gap: .8rem 1.4rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); }
figure { margin: 0; break-inside: avoid; }
figure svg { display: block; height: auto; margin: 0 auto; max-width: 100%; }
figcaption { color: var(--soft); font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .15rem .8rem .15rem 0; vertical-align: top; }
footer { color: var(--soft); font-size: .8rem; margin-top: 1.5rem; }
@page { margin: 10mm; }
@media print {
  html { font-size: 9.5px; } body { max-width: none; padding: 0; }
  h1 { font-size: 16px; } h2 { font-size: 11px; margin: 4px 0 2px; } p { margin: 1px 0; } footer { margin-top: 6px; }
  .tiles { margin: 4px 0; gap: 4px; } .tile { border: 1px solid var(--line); padding: 2px 8px; }
  .tile b { font-size: 12px; } th, td { padding: 1px 8px 1px 0; }
  .grid { grid-template-columns: 1fr 1fr; gap: 3px 10px; } figure svg { max-height: 54mm; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; } }
"""


def write_html(
    path, *, title, model, history, task, y_true, prediction, classes=None, importance=None, settings=None
) -> None:
    """Write a page about a model and its predictions for rows that it has not seen.

    Parameters
    ----------
    path : str or os.PathLike
        Written atomically.
    title : str
    model : Model
        For the summary of its layers.
    history : History, dict of lists, or None
        For the curves; None leaves them out.
    task : "classes" or "numbers"
    y_true : array
        "classes": class numbers 0..C-1, [B]; "numbers": [B] or [B, O], in the target's own units.
    prediction : array
        "classes": probabilities [B, C], or [B] of the second of two classes; "numbers": as `y_true`.
    classes : list of str, optional
        Names of the C classes, or of the O outputs.  Default: their numbers.
    importance : list of (name, increase, deviation), optional
        Of each column the mean increase of the loss when its values are shuffled, and the standard deviation of that
        over several shuffles.
    settings : dict, optional
        Shown as a table: data, seed, optimizer ...

    Raises
    ------
    ImportError
        matplotlib is missing: pip install "pynet[plot]".
    TypeError, ValueError
        An argument does not fit; it is named.  No file is written.
    OSError
        The file cannot be written.
    """
    check_model("model", model)
    if not isinstance(title, str):
        raise TypeError(f"title must be a text, got {type(title).__name__}")
    if task not in ("classes", "numbers"):
        raise _check.unknown("task", task, ("classes", "numbers"))
    if settings is not None and not isinstance(settings, dict):
        raise TypeError(f"settings must be a dict, got {type(settings).__name__}")
    if importance is not None:
        importance = check_importance(importance)
    if task == "classes":
        y, p = scores.check_classes(y_true, prediction)
        names = check_names("classes", classes, p.shape[1], "class")
        tiles, listed, pictures = _classes(y, p, names)
    else:
        y, p = scores.check_numbers(y_true, prediction)
        names = check_names("classes", classes, p.shape[1], "output")
        tiles, listed, pictures = _numbers(y, p, names)
    curves = _curves(history) if history is not None else []
    columns = _importance(importance) if importance else []
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(y)} rows, {model.count_params()} parameters</p>",
        f'<div class="tiles">{"".join(tiles)}</div>',
        f'<div class="grid">{"".join([*curves, *pictures, *columns, listed])}</div>',
    ]
    last = [_section("Model", model_html(model))]
    if settings:
        rows = [(key, _text(value)) for key, value in settings.items()]
        last.append(_section("Settings", table(None, rows)))
    parts.append(f'<div class="grid">{"".join(last)}</div>')
    from . import __version__

    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<footer>Written by pynet {escape(__version__)}.</footer>\n</body>\n</html>\n"
    )
    write_atomically(path, [page.encode()])


# ---- what is on the page --------------------------------------------------------------------------------------------


def _classes(y: np.ndarray, p: np.ndarray, names: list[str]) -> tuple[list, str, list]:
    """Return the tiles of scores, the table of classes and the pictures of a classification."""
    from .plot.judged import confusion_matrix, reliability

    n = p.shape[1]
    counts = scores.confusion(y, p)
    of, taken, right = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    calibration = scores.calibration(y, p)
    tiles = [
        _tile(f"{scores.metric('accuracy', y, p):.2%}", f"accuracy ({right.sum()} of {len(y)} right)"),
        _tile(f"{of.max() / len(y):.2%}", "accuracy of the commonest class alone"),
        _tile(f"{scores.cross_entropy(y, p):.4g}", "cross-entropy, nats"),
        _tile(f"{calibration.ece:.3f}", "expected calibration error"),
    ]
    if n > 5:
        tiles.insert(1, _tile(f"{scores.metric('top_k', y, p):.2%}", "the class is among the 5 likeliest"))
    with np.errstate(invalid="ignore"):
        recall, precision = right / of, right / taken
    order = np.argsort(-of, kind="stable")[:LISTED] if n > LISTED else np.arange(n)
    rows = [(names[k], str(of[k]), _share(recall[k]), _share(precision[k])) for k in order]
    more = f" (the {LISTED} commonest of {n})" if n > LISTED else ""
    head = ("class", "rows", "found (recall)", "right where claimed (precision)")
    listed = _section(f"Classes{more}", table(head, rows, {1, 2, 3}))
    pictures = [
        _picture("confusion", (5.2, 4.4), "", lambda ax: confusion_matrix(y, p, names, ax)),
        _picture(
            "calibration", (5.2, 4.2),
            f"Rows in bins by their largest probability. Expected calibration error: {SOURCE}.",
            lambda ax: reliability(y, p, ax=ax),
        ),
    ]  # fmt: skip
    return tiles, listed, pictures


def _numbers(y: np.ndarray, p: np.ndarray, names: list[str]) -> tuple[list, str, list]:
    """Return the tiles of scores, the table of outputs and the pictures of a regression."""
    from .plot.judged import predicted, residuals

    n = y.shape[1]
    of = [f"{scores.metric('r2', y, p):.4f}", f"{np.sqrt(scores.metric('mse', y, p)):.4g}"]
    of += [f"{scores.metric('mae', y, p):.4g}", f"{np.sqrt(y.var(axis=0).mean()):.4g}"]
    mean = ", all outputs" if n > 1 else ""
    labels = (f"R²{mean}", f"root mean squared error{mean}", f"mean absolute error{mean}", "error of the mean alone")
    tiles = [_tile(value, label) for value, label in zip(of, labels, strict=True)]
    listed, pictures = "", []
    each = [(y[:, [k]], p[:, [k]]) for k in range(n)]
    if n > 1:
        r2, mse, mae = ([scores.metric(name, *pair) for pair in each] for name in ("r2", "mse", "mae"))
        rows = [(names[k], f"{r2[k]:.4f}", f"{np.sqrt(mse[k]):.4g}", f"{mae[k]:.4g}") for k in range(n)]
        shown = f" (the pictures are of the first {PANELS})" if n > PANELS else ""
        head = ("output", "R²", "root mean squared error", "mean absolute error")
        listed = _section(f"Outputs{shown}", table(head, rows, {1, 2, 3}))
    for k, (t, q) in enumerate(each[:PANELS]):
        caption = f"Output {names[k]}" if n > 1 else ""
        pictures += [
            _picture(f"predicted{k}", (4.6, 4.0), caption, lambda ax, t=t, q=q: predicted(t, q, ax=ax)),
            _picture(f"over{k}", (4.8, 3.6), caption, lambda ax, t=t, q=q: residuals(t, q, ax=ax, kind="points")),
            _picture(f"residuals{k}", (4.8, 3.6), caption, lambda ax, t=t, q=q: residuals(t, q, ax=ax)),
        ]
    return tiles, listed, pictures


def _curves(history) -> list[str]:
    """Return a picture of each quantity of a history."""
    from .plot.curves import curves_of
    from .plot.curves import history as draw

    names = dict.fromkeys(name.removeprefix("val_") for name in curves_of(history))
    return [
        _picture(f"curve{k}", (4.8, 3.4), "", lambda ax, name=name: draw(history, ax, quantities=name))
        for k, name in enumerate(names)
    ]


def _importance(importance: list) -> list[str]:
    from .plot.judged import importance as draw

    height = 1.1 + 0.22 * min(max(len(importance), 3), 15)
    caption = "Mean over several shuffles; the lines are one standard deviation to both sides."
    return [_picture("importance", (5.4, height), caption, lambda ax: draw(importance, 15, ax))]


def _tile(value: str, label: str) -> str:
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>'


def _section(title: str, content: str) -> str:
    return f'<section><h2>{escape(title)}</h2><div class="scroll">{content}</div></section>'


def _share(x: float) -> str:
    return f"{x:.1%}" if np.isfinite(x) else "-"


def _text(value) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


# ---- pictures -------------------------------------------------------------------------------------------------------


def _picture(name: str, size: tuple[float, float], caption: str, draw) -> str:
    """Return a figure of HTML with what draw(ax) draws, as an SVG in the colours of the page."""
    import warnings

    from .plot.style import module

    matplotlib = module("matplotlib")
    ink = {"text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"}
    settings = {
        **matplotlib.rcParamsDefault, **dict.fromkeys(ink, INK), "svg.fonttype": "none", "svg.hashsalt": name,
        "axes.facecolor": "none", "figure.facecolor": "none", "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    }  # fmt: skip
    settings.pop("backend", None)  # of the process, not of this picture
    text = io.StringIO()
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's fonts draw the text, not ours
        figure = module("matplotlib.figure").Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=metadata, dpi=150)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    for colour, shown in COLOURS.items():
        svg = svg.replace(f": {colour.lower()}", f": {shown}")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same in every figure
    svg = re.sub(r">\n\s*<", "><", svg)
    under = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg}{under}</figure>"
