"""pynet.plot.graph: every call has a box, every value that is read an arrow, and no arrow runs through a box."""

import matplotlib
import nets
import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import pynet as pn
from pynet import plot
from pynet.plot import layout

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def crowded():
    """Two inputs and outputs, a shared layer, values that are read several levels further down."""
    x, late = pn.Input(8, name="sensors"), pn.Input(3, name="settings")
    shared = pn.Dense(8, "relu", name="WideMaximumWidthName")
    a = shared(x)
    b = shared(pn.Dense(8, "tanh")(a))
    c = pn.Dense(8)(pn.Concat()([a, b, x, late]))
    d = pn.Activation("relu")(pn.Add()([c, a, pn.Dense(8)(x)]))
    ends = [
        pn.Dense(4, "softmax", name="kind")(pn.Dropout(0.1)(d)),
        pn.Dense(1, name="size")(pn.Concat()([d, late, x])),
    ]
    return pn.Model([x, late], ends)


def parts(figure):
    (ax,) = figure.axes
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    return ax, boxes, arrows


def bounds(box):
    return box.get_x(), box.get_y(), box.get_x() + box.get_width(), box.get_y() + box.get_height()


def points(arrow):
    """Return points all along the path of an arrow."""
    found: list = []
    for points, code in arrow._path_original.iter_segments():
        ends = points.reshape(-1, 2)
        if code == arrow._path_original.MOVETO:
            found.append(ends)
            continue
        a, b, c, d = [found[-1][-1], *ends] if len(ends) == 3 else np.linspace(found[-1][-1], ends[-1], 4)
        t = np.linspace(0, 1, 40)[:, None]
        found.append((1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d)
    return np.concatenate(found)


MODELS = {name: nets.NETS[name] for name in list(nets.NETS)[:: max(1, len(nets.NETS) // 12)]} | {"crowded": crowded}


@pytest.mark.parametrize("name", MODELS)
def test_boxes_and_arrows(name):
    model = MODELS[name]()
    figure = plot.graph(model)
    ax, boxes, arrows = parts(figure)
    assert len(boxes) == len(model.nodes)
    assert len(arrows) == sum(len(node.inputs) for node in model.nodes)
    corners = np.array([bounds(box) for box in boxes])
    left, right, bottom, top = *ax.get_xlim(), *ax.get_ylim()
    assert corners[:, 0].min() >= left
    assert corners[:, 2].max() <= right
    assert corners[:, 1].min() >= bottom
    assert corners[:, 3].max() <= top
    for k, (x0, y0, x1, y1) in enumerate(corners):
        others = np.delete(corners, k, axis=0)
        apart = (others[:, 0] >= x1) | (others[:, 2] <= x0) | (others[:, 1] >= y1) | (others[:, 3] <= y0)
        assert apart.all(), "two boxes overlap"
    for arrow in arrows:
        way = points(arrow)
        inside = (way[:, :1] > corners[:, 0]) & (way[:, :1] < corners[:, 2])
        inside &= (way[:, 1:] > corners[:, 1] + 1e-6) & (way[:, 1:] < corners[:, 3] - 1e-6)
        assert not inside.any(), "an arrow runs through a box"
        assert (way[:, 0] > left).all()
        assert (way[:, 0] < right).all()


def test_every_text_fits_its_box():
    figure = plot.graph(crowded())
    ax, boxes, _ = parts(figure)
    renderer = figure.canvas.get_renderer()
    corners = [box.get_window_extent(renderer) for box in boxes]
    texts = [text.get_window_extent(renderer) for text in ax.texts if text.get_va() == "center"]
    assert len(texts) > 3 * len(boxes)
    for text in texts:
        assert any(b.x0 < text.x0 and text.x1 < b.x1 and b.y0 < text.y0 and text.y1 < b.y1 for b in corners)


def test_what_the_boxes_say():
    ax, boxes, _ = parts(plot.graph(crowded()))
    texts = [text.get_text() for text in ax.texts]
    assert texts.count("WideMaximumWidthName") == 2
    assert {"call 1 of 2", "call 2 of 2", "Dense relu", "8 wide, 72 parameters", "3 wide", "Dropout"} <= set(texts)
    assert f"Model, {crowded().count_params()} parameters" in texts
    assert sum(box.get_linestyle() == "--" for box in boxes) == 2
    colours = [matplotlib.colors.to_hex(box.get_edgecolor()).upper() for box in boxes]
    assert [colours.count(c) for c in ("#009E73", "#D55E00")] == [2, 2]


def test_arrows_begin_and_end_at_their_boxes():
    x = pn.Input(2, name="x")
    model = pn.Model(x, pn.Dense(3, name="y")(x))
    _, boxes, (arrow,) = parts(plot.graph(model))
    upper, lower = sorted((bounds(box) for box in boxes), key=lambda corner: -corner[1])
    way = points(arrow)
    assert way[0] == pytest.approx([(upper[0] + upper[2]) / 2, upper[1]])
    assert way[-1] == pytest.approx([(lower[0] + lower[2]) / 2, lower[3]])


def test_an_input_stands_right_above_what_reads_it():
    model = crowded()
    level = layout.levels_of(model.nodes)
    names = {model.names[node.layer]: level[node] for node in model.nodes}
    assert names["settings"] == names["concat_1"] - 1 > names["sensors"] == 0
    for node in model.nodes:
        assert all(level[v] < level[node] for v in node.inputs)


def test_crossings_are_undone():
    x, z = pn.Input(2), pn.Input(2)
    a, b, c = (pn.Dense(2)(v) for v in (x, x, z))
    model = pn.Model([x, z], [pn.Dense(1)(c), pn.Dense(1)(b), pn.Dense(1)(a)])
    levels, _ = layout.lay_out(model.nodes, 1.0, 0.3)
    assert layout.crossings(levels) == 0
    first = [sorted(level, key=lambda place: place.node.serial) for level in levels]
    assert layout.crossings(first) == 3


def test_distances_are_kept_and_wishes_met():
    level = [layout.Place(None, 0, half, False) for half in (1.0, 0.5, 1.0)]
    layout._apart(level, [0.0, 10.0, 10.5], 0.5)
    assert [place.x for place in level] == pytest.approx([0.0, 9.25, 11.25])  # the two that are too near part evenly


def test_a_model_beyond_a_picture():
    x = pn.Input(2)
    with pytest.raises(ValueError, match=r"model has 3 levels of up to 130 calls; a picture takes 120"):
        plot.graph(pn.Model(x, pn.Concat()([pn.Dense(1)(x) for _ in range(130)])))
    with pytest.raises(TypeError, match="model must be a pynet Model"):
        plot.graph("model")
