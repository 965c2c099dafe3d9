"""Plots of pn.analysis: what they show of a result.  What they look like a person has to judge."""

import sys

import numpy as np
import pytest

import pynet as pn
from pynet import analysis

X = np.random.default_rng(3).normal(size=(30, 4))
Y = np.arange(30) % 3


@pytest.fixture
def matplotlib():
    found = pytest.importorskip("matplotlib", reason='plots need matplotlib: pip install "pynet[plot]"')
    found.use("Agg")
    import matplotlib.pyplot as plt

    yield found
    plt.close("all")


def chain(activation, depth=3):
    hidden = [pn.Dense(6, activation) for _ in range(depth)]
    return pn.Sequential([pn.Input(4), *hidden, pn.Dense(3, "softmax")], dtype="float64")


def branching():
    x = pn.Input(4)
    h = pn.Add()([pn.Dense(6, "tanh")(x), pn.Dense(6, "relu")(x)])
    return pn.Model(x, pn.Dense(3, "softmax")(h), dtype="float64")


def flow_of(model):
    return analysis.gradient_flow(model, X, Y, "cross_entropy")


def surface(**more):
    return analysis.loss_surface(chain("relu"), X, Y, "cross_entropy", **more)


def path():
    return analysis.interpolate_units(chain("relu"), "dense_1", 0, 1, steps=5)


HOLES = np.array([[1, 2, np.nan], [4, 50, 6], [7, 8, 9.0]])
RESULTS = {
    "gradient_flow": lambda: flow_of(chain("relu")),
    "gradient_flow of a graph": lambda: flow_of(branching()),
    "gradient_flow with zeros": lambda: flow_of(chain("step")),
    "gradient_flow, deep": lambda: flow_of(chain("sigmoid", 30)),
    "variance_flow": lambda: analysis.variance_flow(chain("relu"), X, Y, "cross_entropy"),
    "variance_flow of a graph": lambda: analysis.variance_flow(branching(), X, Y, "cross_entropy"),
    "dead_units": lambda: analysis.dead_units(chain("relu"), X),
    "dead_units of no layer": lambda: analysis.dead_units(chain("identity"), X),
    "loss_along_path": lambda: analysis.loss_along_path(path(), X, Y, "cross_entropy"),
    "loss_surface": lambda: surface(resolution=5),
    "loss_surface, near": lambda: surface(resolution=3, span=1e-3),
    "loss_surface, flat": lambda: surface(resolution=3, directions=({}, {})),
    "loss_surface with holes": lambda: analysis.LossSurface(np.arange(3.0), np.arange(3.0), HOLES),
}


def curves(ax):
    return {line.get_label(): line for line in ax.get_lines()}


@pytest.mark.parametrize("name", RESULTS)
def test_every_plot_draws_with_labelled_axes(name, matplotlib, tmp_path):
    result = RESULTS[name]()
    ax = result.plot()
    assert ax.get_title(loc="left")
    assert ax.get_ylabel() or any(label.get_text() for label in ax.get_yticklabels()) or "no layer" in name
    assert ax.get_xlabel() or ax.get_xticklabels()[0].get_text().startswith("dense")
    ax.figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
    import matplotlib.pyplot as plt

    mine = plt.figure().add_subplot()
    assert result.plot(mine) is mine


def test_the_gradient_plot_shows_norms_and_bound(matplotlib):
    flow = flow_of(chain("sigmoid", 20))
    ax = flow.plot()
    values, weights, bound = ax.get_lines()
    np.testing.assert_array_equal(values.get_ydata(), flow.value_norms)
    np.testing.assert_array_equal(weights.get_ydata(), flow.weight_norms)
    np.testing.assert_array_equal(bound.get_ydata(), flow.bound)
    np.testing.assert_array_equal(bound.get_xdata(), flow.depth)
    assert "0.25^d" in bound.get_label()
    assert ax.get_yscale() == "log"
    assert "0.25" not in str(list(curves(flow_of(branching()).plot())))


def test_zeros_and_gaps_of_a_gradient_plot(matplotlib):
    flow = RESULTS["gradient_flow with zeros"]()
    lines = curves(flow.plot())
    zeros = next(line for label, line in lines.items() if label.startswith("gradient by the layer's value: exactly 0"))
    assert zeros.get_xdata().tolist() == [1, 2, 3]
    lines = curves(flow_of(branching()).plot())
    weights = next(line for label, line in lines.items() if "|dL/dW|" in label)
    assert weights.get_xdata().tolist() == [1, 1, 3]  # Add has none
    assert weights.get_linestyle() == "None"  # branches are not joined


def test_the_variance_plot_shows_measured_and_predicted(matplotlib):
    flow = RESULTS["variance_flow"]()
    drawn = [line.get_ydata() for line in flow.plot().get_lines()]
    for line, name in zip(drawn, ("forward", "forward_theory", "backward", "backward_theory"), strict=True):
        np.testing.assert_array_equal(line, getattr(flow, name))


def test_the_plot_of_dead_units_counts_them(matplotlib):
    found = analysis.DeadUnits(["a", "b"], ["relu", "tanh"], [np.array([1, 0.5, 1, 0]), np.array([0.25, 0.0])])
    ax = found.plot()
    assert [text.get_text() for text in ax.texts] == ["2 of 4 dead", "0 of 2 dead"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a: relu", "b: tanh"]
    strip = ax.get_images()[0].get_array()
    assert strip.mask.tolist() == [[True, True, False, False]]
    assert strip.compressed().tolist() == [0.5, 1]


def test_the_path_begins_on_the_left(matplotlib):
    ax = analysis.LossPath(np.array([1, 0.5, 0]), np.array([1.0, 3.0, 1.0])).plot()
    assert ax.get_xlim()[0] > ax.get_xlim()[1]
    assert "barrier 2" in ax.get_title(loc="left")


def test_the_first_direction_of_a_surface_runs_to_the_right(matplotlib):
    grid = np.arange(3.0)
    ax = analysis.LossSurface(grid, grid, np.add.outer(10 * grid, grid) + 1).plot()
    highest = ax.collections[0].get_paths()[-1].vertices  # outline of the highest level
    assert highest[:, 0].min() > 1.5  # the loss rises along alpha, drawn on x
    assert highest[:, 1].min() == 0


def test_without_matplotlib_the_error_tells_what_to_install(monkeypatch):
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'plots need matplotlib .*: pip install "pynet\[plot\]"'):
        RESULTS["gradient_flow"]().plot()
