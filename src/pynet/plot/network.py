"""A model as boxes and arrows."""

from __future__ import annotations

from collections import Counter

from ..opened import check_model
from ..summary import summary_rows
from .layout import Place, lay_out, levels_of
from .style import BLUE, GREEN, GREY, ORANGE, module, plain

__all__ = ["graph"]

LINE, PAD, GAP, STEP = 0.155, 0.09, 0.34, 0.42  # inches: of text, inside a box, between boxes, between levels
FONTS = ({"size": 8.5, "weight": "bold"}, {"size": 7.5})  # of the first line and of the others
MOST = 120  # levels, and boxes on one level, that make a picture
TINTS = {BLUE: "#E4F0F8", GREEN: "#E2F4EE", ORANGE: "#FCEBDF", GREY: "#F1F1F1"}


def graph(model):
    """Draw the layers of a model as boxes, from the inputs down, with arrows from what each reads.

    Parameters
    ----------
    model : Model

    Returns
    -------
    Figure
        As large as it has to be.  Each call of a layer has a box with the layer's name, its kind and activation, the
        shape of a row and the number of parameters.  Inputs are green, outputs orange, layers without parameters grey;
        a layer that is called more than once has dashed boxes, each saying which call it is.

    Raises
    ------
    TypeError
        `model` is none.
    ValueError
        The model is too large for a picture: more than 120 levels, or boxes on one.
    """
    check_model("model", model)
    sizes = Counter(levels_of(model.nodes).values())
    widest = max(sizes.values())
    if max(len(sizes), widest) > MOST:
        raise ValueError(f"model has {len(sizes)} levels of up to {widest} calls; a picture takes {MOST} of both")
    texts = _texts(model)
    lines = max(len(text) for text in texts.values())
    width = _widest(texts) + 2 * PAD
    height = lines * LINE + 2 * PAD
    levels, ways = lay_out(model.nodes, width / 2, GAP)
    places = [place for level in levels for place in level]
    left, right = min(p.x - p.half for p in places) - PAD, max(p.x + p.half for p in places) + PAD
    bottom, top = -(len(levels) - 1) * (height + STEP) - height / 2 - PAD, height / 2 + PAD + 2 * LINE
    figure = module("matplotlib.pyplot").figure(figsize=(max(right - left, 3.4), top - bottom))
    ax = figure.add_axes((0, 0, 1, 1))
    spare = max(3.4 - (right - left), 0) / 2
    ax.set(xlim=(left - spare, right + spare), ylim=(bottom, top))
    ax.set_axis_off()
    title = f"{type(model).__name__}{f' {model.name}' if model.name else ''}, {model.count_params()} parameters"
    ax.text((left + right) / 2, top - PAD, plain(title, 60), ha="center", va="top", fontsize=10)
    _arrows(ax, model, ways, height)
    for place in places:
        if not place.passing:
            _box(ax, model, place, texts[place.node], width, height)
    return figure


def _texts(model) -> dict:
    """Return the lines of text of every call."""
    known = {row[0]: row for row in summary_rows(model)[1][1:]}
    texts = {}
    for node in model.nodes:
        name = model.names[node.layer]
        calls = [other for other in model.nodes if other.layer is node.layer]
        _, kind, _, count, _ = known[name]
        shape = " x ".join(map(str, node.shape))
        size = f"{shape} wide" + (f", {count} parameters" if count != "0" else "")
        text = [plain(name, 30), plain(kind, 34), plain(size, 40)]
        if len(calls) > 1:
            text.append(f"call {calls.index(node) + 1} of {len(calls)}")
        texts[node] = text
    return texts


def _widest(texts: dict) -> float:
    """Return the width of the widest line in inches."""
    font = module("matplotlib.font_manager").FontProperties
    shape = module("matplotlib.textpath").TextPath
    lines = {(line, k > 0) for text in texts.values() for k, line in enumerate(text)}
    return max(shape((0, 0), line, prop=font(**FONTS[k])).get_extents().width for line, k in lines) / 72


def _y(place: Place, height: float) -> float:
    return -place.level * (height + STEP)


def _box(ax, model, place: Place, text: list[str], width: float, height: float) -> None:
    node = place.node
    own = any(weight.layer is node.layer for weight in model.weights)
    color = GREEN if node.layer.is_input else ORANGE if node in model.outputs else BLUE if own else GREY
    dashed = sum(other.layer is node.layer for other in model.nodes) > 1
    y = _y(place, height)
    box = module("matplotlib.patches").FancyBboxPatch(
        (place.x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=TINTS[color], edgecolor=color, linewidth=1.3, linestyle="--" if dashed else "-", zorder=2,
    )  # fmt: skip
    ax.add_patch(box)
    for k, line in enumerate(text):
        at = y + ((len(text) - 1) / 2 - k) * LINE
        ax.text(place.x, at, line, ha="center", va="center", zorder=3, color="black", **FONTS[k > 0])


def _arrows(ax, model, ways: dict, height: float) -> None:
    """Draw an arrow for each value that a call reads: curves between the levels, straight down where it passes one."""
    Path = module("matplotlib.path").Path
    patches = module("matplotlib.patches")
    for reader in model.nodes:
        came = sorted(reader.inputs, key=lambda node: ways[node, reader][-2].x)  # in the order in which they arrive
        for k, node in enumerate(came):
            way = ways[node, reader]
            apart = min(0.16, 1.6 * way[-1].half / len(came))
            end = way[-1].x + (k - (len(came) - 1) / 2) * apart
            points, codes = [(way[0].x, _y(way[0], height) - height / 2)], [Path.MOVETO]
            for place in way[1:]:
                x = end if place is way[-1] else place.x
                (x0, y0), y1 = points[-1], _y(place, height) + height / 2
                bend = (y0 - y1) / 2
                points += [(x0, y0 - bend), (x, y1 + bend), (x, y1)]
                codes += [Path.CURVE4] * 3
                if place is not way[-1]:
                    points.append((x, y1 - height))
                    codes.append(Path.LINETO)
            arrow = patches.FancyArrowPatch(
                path=Path(points, codes), arrowstyle="-|>", mutation_scale=9, color=GREY, linewidth=1, zorder=1,
                shrinkA=0, shrinkB=0,
            )  # fmt: skip
            ax.add_patch(arrow)
