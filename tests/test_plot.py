"""pynet.plot: what the plots show of models, fits and predictions.  What they look like a person has to judge."""

import sys

import matplotlib
import numpy as np
import pytest

import pynet as pn
from pynet import analysis, plot, scores

matplotlib.use("Agg")
rng = np.random.default_rng(0)
X2 = rng.normal(size=(60, 2))
LABELS = (X2[:, 0] > 0).astype(int) + (X2[:, 1] > 1)
CURVES = {
    "loss": [2.0, 1.0, 0.04],
    "accuracy": [0.1, 0.5, 0.9],
    "val_loss": [2.0, 1.5, 1.6],
    "val_accuracy": [0.1, np.nan, 0.6],
}


@pytest.fixture(autouse=True)
def closed():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def net(*layers, inputs=2, **more):
    return pn.Sequential([pn.Input(inputs), *layers], **more)


def probabilities(n, classes=3):
    p = rng.random((n, classes))
    return p / p.sum(axis=1, keepdims=True)


def axes_of(made):
    return made if hasattr(made, "get_xlabel") else made.axes[0]


P, Y = probabilities(60), rng.integers(0, 3, 60)
CALLS = {  # every function that draws on one Axes
    "history": lambda ax: plot.history(CURVES, ax),
    "decision_boundary": lambda ax: plot.decision_boundary(net(pn.Dense(3, "softmax")), X2, LABELS, ax, resolution=20),
    "gradient_flow": lambda ax: plot.gradient_flow(net(pn.Dense(3, "softmax")), X2, LABELS, "cross_entropy", ax),
    "confusion_matrix": lambda ax: plot.confusion_matrix(Y, P, ax=ax),
    "reliability": lambda ax: plot.reliability(Y, P, ax=ax),
    "predicted": lambda ax: plot.predicted(P, P + 0.1, ax=ax),
    "residuals": lambda ax: plot.residuals(P, P + rng.normal(size=P.shape), ax=ax),
    "importance": lambda ax: plot.importance([("a", 1.0, 0.1), ("b", -0.1, 0.2)], ax=ax),
}
FIGURES = {
    "graph": lambda: plot.graph(net(pn.Dense(3))),
    "weights": lambda: plot.weights(net(pn.Dense(3))),
    "activations": lambda: plot.activations(net(pn.Dense(3)), X2),
}


def test_every_plot_is_called_here():
    assert set(CALLS) | set(FIGURES) == set(plot.__all__)


@pytest.mark.parametrize("name", CALLS)
def test_plots_are_labelled_and_draw_where_they_are_told(name, tmp_path):
    import matplotlib.pyplot as plt

    made = CALLS[name](None)
    ax = axes_of(made)
    assert ax.get_title(loc="left")
    assert ax.get_ylabel() or name == "importance"  # whose rows are named
    assert ax.get_xlabel() or name == "gradient_flow"  # whose layers are
    ax.figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
    figure, (mine, other) = plt.subplots(1, 2)
    plt.sca(other)
    before = plt.get_fignums()
    assert CALLS[name](mine) is (figure if name == "history" else mine)
    assert (plt.gca(), plt.get_fignums()) == (other, before)  # what pyplot takes for the current Axes is not touched
    assert not other.has_data()
    with pytest.raises(TypeError, match="ax must be an Axes of matplotlib, got"):
        CALLS[name]("here")


@pytest.mark.parametrize("name", [*CALLS, *FIGURES])
def test_plots_change_no_setting_and_show_nothing(name, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("shown"))
    before = dict(matplotlib.rcParams)
    CALLS[name](None) if name in CALLS else FIGURES[name]()
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_the_error_tells_what_to_install(monkeypatch):
    for module in ("matplotlib", "matplotlib.pyplot", "matplotlib.axes"):
        monkeypatch.setitem(sys.modules, module, None)
    for call in [lambda: plot.history(CURVES), *FIGURES.values()]:
        with pytest.raises(ImportError, match=r'pip install "pynet\[plot\]"'):
            call()


# ---- history --------------------------------------------------------------------------------------------------------


def drawn(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_history_draws_both_curves_of_each_quantity():
    loss, accuracy = plot.history(CURVES).axes
    for ax, name in ((loss, "loss"), (accuracy, "accuracy")):
        for label, key in (("training", name), ("validation", f"val_{name}")):
            np.testing.assert_array_equal(drawn(ax)[label].get_ydata(), CURVES[key])
            assert drawn(ax)[label].get_xdata().tolist() == [1, 2, 3]
    assert drawn(loss)["lowest: epoch 2"].get_xdata() == [2, 2]
    assert (loss.get_yscale(), accuracy.get_yscale()) == ("log", "linear")
    assert len(plot.history(CURVES, quantities="accuracy").axes) == 1


def test_history_of_a_fit():
    made = pn.Trainer(net(pn.Dense(1)), "mse")
    history = made.fit(X2, X2.sum(1), epochs=3, verbose=0)
    for form in (history, history.history, made):
        (ax,) = plot.history(form).axes
        np.testing.assert_array_equal(drawn(ax)["training"].get_ydata(), history.history["loss"])
    assert ax.get_legend() is None  # one curve needs none


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: plot.history([1, 2]), TypeError, "history must be a History or a dict of lists, got list"),
        (lambda: plot.history(pn.Trainer(net(pn.Dense(1)), "mse")), ValueError, "holds no epoch"),
        (lambda: plot.history({"loss": [1], "mae": []}), ValueError, "as many numbers"),
        (lambda: plot.history(CURVES, quantities="los"), ValueError, "unknown quantity 'los', did you mean 'loss'"),
        (lambda: plot.history(CURVES, quantities=[]), ValueError, "at least one"),
        (lambda: plot.history(CURVES, plot.history(CURVES).axes[:1], quantities=["loss", "accuracy"]), ValueError,
         "ax must be 2 Axes"),
    ],
)  # fmt: skip
def test_bad_histories(call, error, text):
    with pytest.raises(error, match=text):
        call()


# ---- histograms -----------------------------------------------------------------------------------------------------


def heights(ax):
    (patch,) = ax.patches
    return patch.get_data()


def notes(ax):
    return ax.texts[0].get_text()


def test_weights_are_counted():
    model = net(pn.Dense(40, "relu"), pn.BatchNorm(), pn.Dense(3), inputs=50)
    pn.prune.magnitude(model, 0.5)
    figure = plot.weights(model)
    parameters = model.parameters()
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(parameters)
    kernel = parameters["dense_1.kernel"]
    data = heights(figure.axes[0])
    kernel = kernel.astype(np.float64)
    counts, edges = np.histogram(kernel[kernel != 0], len(data.values), (kernel.min(), kernel.max()))
    np.testing.assert_array_equal(data.values, counts)
    np.testing.assert_allclose(data.edges, edges)
    pruned = int((kernel == 0).sum())
    assert f"{pruned} of 2000 pruned" in notes(figure.axes[0])
    assert f"{pruned / 2000:.1%} exactly 0" in notes(figure.axes[0])
    assert f"mean {kernel.mean():.2g}, deviation {kernel.std():.2g}" in notes(figure.axes[0])
    assert len(plot.weights(model, "dense_2.kernel").axes) == 1


def test_constants_of_an_input_are_drawn_only_when_named():
    model = pn.Sequential([pn.Input(2, scale=[1.0, 2.0]), pn.Dense(1)])
    assert len(plot.weights(model).axes) == 2
    assert len(plot.weights(model, ["input_1.scale"]).axes) == 1
    with pytest.raises(ValueError, match=r"unknown parameter 'dense_1.kernl', did you mean 'dense_1.kernel'"):
        plot.weights(model, ["dense_1.kernl"])
    with pytest.raises(ValueError, match="model has no parameters"):
        plot.weights(net(pn.Activation("relu")))
    with pytest.raises(TypeError, match="model must be a pynet Model, got int"):
        plot.weights(3)


def test_activations_are_those_of_a_prediction():
    """Of every call, behind its activation; more rows than one batch."""
    X = rng.normal(size=(2500, 2))
    x = pn.Input(2)
    shared = pn.Dense(2, "tanh", name="shared")
    h = pn.Dense(7, "relu")(pn.Dropout(0.5)(shared(shared(x))))
    model = pn.Model(x, [pn.Dense(3, "softmax")(h), h], dtype="float64")
    figure = plot.activations(model, X)
    names = [ax.get_title(loc="left") for ax in figure.axes]
    assert names == ["shared, tanh, call 1", "shared, tanh, call 2", "dropout_1", "dense_1, relu", "dense_2, softmax"]
    answer, hidden = model.predict(X)
    for ax, values in ((figure.axes[3], hidden), (figure.axes[4], answer)):
        data = heights(ax)
        counts, _ = np.histogram(values[values != 0], len(data.values), (values.min(), values.max()))
        np.testing.assert_array_equal(data.values, counts)
    assert f"{(hidden == 0).mean():.1%} exactly 0, not drawn" in notes(figure.axes[3])
    for bad, error, text in (
        (X[:0], ValueError, "X has no rows"),
        (X[:, :1], ValueError, "X"),
        (X * np.inf, ValueError, "X"),
    ):
        with pytest.raises(error, match=text), np.errstate(invalid="ignore"):
            plot.activations(model, bad)


# ---- the plane of two features --------------------------------------------------------------------------------------


def step(direction):
    """A model of two classes with a boundary at x_direction = 0.5."""
    model = net(pn.Dense(2, "softmax"))
    kernel = np.zeros((2, 2))
    kernel[direction] = [-8, 8]
    model.load_state_dict({"dense_1.kernel": kernel, "dense_1.bias": np.array([4.0, -4.0])})
    return model


@pytest.mark.parametrize("direction", [0, 1])
def test_the_boundary_is_where_the_model_changes_its_mind(direction):
    X = np.array([[-1, -2], [3, 2], [2, 1.0], [1, -1]])
    ax = plot.decision_boundary(step(direction), X, [0, 1, 1, 0], classes=["no", "yes"], features=["a", "b"])
    line = next(c for c in ax.collections if isinstance(c, matplotlib.contour.ContourSet)).get_paths()[0].vertices
    np.testing.assert_allclose(line[:, direction], 0.5, atol=0.02)
    (image,) = ax.get_images()
    left, right, bottom, top = image.get_extent()
    assert (left, right) == pytest.approx((-1.32, 3.32))
    assert (bottom, top) == pytest.approx((-2.32, 2.32))
    assert image.origin == "lower"
    pixels = image.get_array()
    low, high = (pixels[10, 10], pixels[-10, 10] if direction else pixels[10, -10])
    assert low[2] > low[0]  # class 0 is blue
    assert high[0] > high[2]  # class 1 orange
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["no", "yes"]
    points = [c.get_offsets() for c in ax.collections if len(c.get_offsets()) == 2]
    np.testing.assert_array_equal(points[0], X[[0, 3]])


def test_a_sigmoid_has_two_classes_and_a_quantity_levels():
    model = net(pn.Dense(1, "sigmoid"))
    model.load_state_dict({"dense_1.kernel": np.array([[9.0], [0]]), "dense_1.bias": np.zeros(1)})
    ax = plot.decision_boundary(model, X2, X2[:, 0] > 0, resolution=30)
    pixels = ax.get_images()[0].get_array()
    assert pixels[0, 0, 2] > pixels[0, 0, 0]  # blue, class 0, on the left
    assert pixels[0, -1, 0] > pixels[0, -1, 2]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1"]
    model = net(pn.Dense(1))
    ax = plot.decision_boundary(model, X2, X2.sum(1), resolution=30)
    filled, points = ax.collections
    np.testing.assert_array_equal(points.get_array(), X2.sum(1))
    assert filled.norm is points.norm or filled.norm.vmax == points.norm.vmax
    flat = np.zeros((2, 1))
    model.load_state_dict({"dense_1.kernel": flat, "dense_1.bias": flat[0]})
    plot.decision_boundary(model, X2, np.zeros(60), resolution=3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: plot.decision_boundary(net(pn.Dense(3), inputs=3), X2, LABELS), "one input of 2 features"),
        (lambda: plot.decision_boundary(net(pn.Dense(9)), X2, LABELS), "9 classes, more than the 8"),
        (lambda: plot.decision_boundary(net(pn.Dense(2)), X2, LABELS), r"class numbers 0\.\.1, got 2"),
        (lambda: plot.decision_boundary(net(pn.Dense(3)), X2, LABELS[:9]), r"y must be class numbers \[60\]"),
        (lambda: plot.decision_boundary(net(pn.Dense(3)), X2, LABELS, classes="abc"), "classes must be a list"),
        (lambda: plot.decision_boundary(net(pn.Dense(3)), X2, LABELS, classes=["a"]), "classes must be 3 names"),
        (lambda: plot.decision_boundary(net(pn.Dense(3)), X2, LABELS, features=["a"]), "features must be 2 names"),
        (lambda: plot.decision_boundary(net(pn.Dense(3)), X2, LABELS, resolution=1), "resolution must be in 2"),
        (lambda: plot.decision_boundary(net(pn.Dense(1)), X2, LABELS, classes=["a"]), "classes must be left out"),
        (lambda: plot.decision_boundary(net(pn.Dense(1)), X2, X2), "y must have the shape of the prediction"),
        (lambda: plot.decision_boundary(net(pn.Dense(3)), X2[:0], []), "X has no rows"),
    ],
)
def test_bad_planes(call, text):
    with pytest.raises((TypeError, ValueError), match=text):
        call()


def test_gradient_flow_is_that_of_analysis():
    model = net(pn.Dense(5, "tanh"), pn.Dense(3, "softmax"))
    ax = plot.gradient_flow(model, X2, LABELS, "cross_entropy")
    flow = analysis.gradient_flow(model, X2, LABELS, "cross_entropy")
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), flow.value_norms)


# ---- predictions ----------------------------------------------------------------------------------------------------


def test_the_confusion_matrix_has_the_true_class_in_rows():
    p = np.eye(3)[[0, 0, 1, 2, 2, 2]]
    ax = plot.confusion_matrix([0, 1, 1, 2, 2, 0], p, ["a", "b", "c"])
    assert [[t.get_text() for t in ax.texts][k : k + 3] for k in (0, 3, 6)] == [list("101"), list("110"), list("002")]
    (mesh,) = ax.collections
    np.testing.assert_allclose(mesh.get_array(), [[0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0, 1]])
    low, high = ax.get_ylim()
    assert low > high  # the first class on top
    assert (
        [t.get_text() for t in ax.get_xticklabels()] == [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c"]
    )


@pytest.mark.parametrize("n", [2, 20, 100])
def test_confusion_of_few_and_many_classes(n, tmp_path):
    ax = plot.confusion_matrix(rng.integers(0, n, 500), probabilities(500, n), [f"class number {k}" for k in range(n)])
    assert len(ax.texts) == (4 if n == 2 else 0)
    ax.figure.savefig(tmp_path / "plot.png")


def test_reliability_shows_the_bins():
    ax = plot.reliability(Y, P, bins=5)
    found = scores.calibration(Y, P, 5)
    full = found.counts > 0
    line = drawn(ax)["share that is right"]
    np.testing.assert_array_equal(line.get_xdata(), found.confidence[full])
    np.testing.assert_array_equal(line.get_ydata(), found.accuracy[full])
    assert [t.get_text() for t in ax.texts] == [str(n) for n in found.counts[full]]
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], found.counts / 60)
    assert f"{found.ece:.3f}" in ax.get_title(loc="left")


def test_predictions_and_residuals():
    y = rng.normal(size=40)
    ax = plot.predicted(y, y + 1)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), np.stack([y, y + 1], axis=1))
    ax = plot.residuals(y, y + 1, kind="points")
    np.testing.assert_allclose(ax.collections[0].get_offsets(), np.stack([y + 1, np.ones(40)], axis=1))
    assert "mean 1, deviation" in plot.residuals(y, y + 1).get_title(loc="left")
    two = plot.predicted(np.stack([y, y], 1), np.stack([y, y + 1], 1), ["width", "height"])
    assert [t.get_text() for t in two.get_legend().get_texts()] == ["as it should be", "width", "height"]
    with pytest.raises(ValueError, match="unknown kind 'bars'"):
        plot.residuals(y, y, kind="bars")
    with pytest.raises(ValueError, match="names must be 1 names"):
        plot.predicted(y, y, ["a", "b"])


def test_importance_is_sorted_and_cut():
    ax = plot.importance([("little", 0.1, 0.0), ("much", 2.0, 0.5), ("none", -0.1, 0.1)], most=2)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["much", "little"]
    assert [bar.get_width() for bar in ax.patches] == [2.0, 0.1]
    assert "first 2 of 3" in ax.get_title(loc="left")


@pytest.mark.parametrize(
    ("importance", "text"),
    [
        ([], "got an empty one"), ("abc", "got str"), ([("a", 1.0)], r"importance\[0\] must be"),
        ([("a", 1.0, 0.1), ("b", "x", 0)], r"importance\[1\]"), ([("a", np.nan, 0.1)], "finite"),
        ([("a", 1.0, -0.1)], "deviation >= 0"),
    ],
)  # fmt: skip
def test_bad_importance(importance, text):
    with pytest.raises((TypeError, ValueError), match=text):
        plot.importance(importance)


def test_names_are_shown_as_they_are(tmp_path):
    """Dollars are no mathematics, a line stays one line, and a long name does not push the plot away."""
    names = [r"$\frac{$", "$a$ and $b$", "two\nlines\x00\ud800", "x" * 500]
    ax = plot.importance([(name, 1.0, 0.1) for name in names])
    ax.figure.savefig(tmp_path / "plot.png")
    shown = [t.get_text() for t in ax.get_yticklabels()]
    assert shown[1] == r"\$a\$ and \$b\$"
    assert shown[2] == "two lines  "
    assert len(shown[3]) == 24
    plot.confusion_matrix([0, 1, 2, 3], np.eye(4), names).figure.savefig(tmp_path / "plot.png")
