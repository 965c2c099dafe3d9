"""pn.analysis: paths between models, the loss along a path and on a plane."""

import numpy as np
import pytest
from analysed import model_of, plain, through_activations
from helpers import assert_same_bits

import pynet as pn
from pynet import analysis, landscape

RNG = np.random.default_rng(11)
X = RNG.normal(size=(40, 5))
Y = RNG.normal(size=(40, 3))
LABELS = RNG.integers(0, 3, 40)

# ---- paths ----------------------------------------------------------------------------------------------------------


def trained(dtype="float64"):
    model = model_of(plain, dtype)
    pn.Trainer(model, "cross_entropy", pn.Adam(0.02)).fit(X, LABELS, epochs=60, batch_size=8, verbose=0)
    return model


def test_the_path_swaps_two_units():
    model = model_of(plain, "float32")
    path = analysis.interpolate_units(model, "hidden", 1, 4, steps=5)
    np.testing.assert_array_equal(path.a, [1, 0.75, 0.5, 0.25, 0])
    w, v = model.parameters()["hidden.kernel"], model.parameters()["dense_1.kernel"]
    b = model.parameters()["hidden.bias"]
    for a in path.a:
        state = path.state(a)
        for new, old in ((state["hidden.kernel"].T, w.T), (state["dense_1.kernel"], v), (state["hidden.bias"], b)):
            np.testing.assert_allclose(new[1], a * old[1] + (1 - a) * old[4], rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(new[4], a * old[4] + (1 - a) * old[1], rtol=1e-5, atol=1e-7)
            np.testing.assert_array_equal(np.delete(new, [1, 4], axis=0), np.delete(old, [1, 4], axis=0))
    assert_same_bits(path.model(1.0).arena, model.arena)
    order = [0, 4, 2, 3, 1, 5]
    assert_same_bits(path.model(0.0).arena, analysis.permute_units(model, "hidden", order).arena)
    middle = path.model(0.5).parameters()["hidden.kernel"]
    assert_same_bits(middle[:, 1].copy(), middle[:, 4].copy())


def test_a_path_keeps_the_model_as_it_was():
    model = model_of(plain)
    before = model.arena.copy()
    path = analysis.interpolate_units(model, "hidden", 0, 1)
    model.initialize(99)
    assert_same_bits(path.model(1.0).arena, before)
    assert len(path.a) == 41
    assert "41 steps" in repr(path)


def test_the_loss_is_equal_at_both_ends_and_higher_between():
    model = trained()
    loss = pn.Trainer(model, "cross_entropy").evaluate(X, LABELS)["loss"]
    rises = 0
    for i, j in [(0, 1), (2, 3), (4, 5), (0, 5)]:
        path = analysis.interpolate_units(model, "hidden", i, j, steps=11)
        found = analysis.loss_along_path(path, X, LABELS, "cross_entropy")
        assert found.loss[0] == loss
        assert found.loss[-1] == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(found.loss, found.loss[::-1], rtol=1e-9)  # by symmetry
        by_hand = pn.Trainer(path.model(0.3), "cross_entropy").evaluate(X, LABELS)["loss"]
        assert found.loss[7] == pytest.approx(by_hand, rel=1e-12)
        rises += found.loss[5] > 1.05 * loss
    assert rises == 4


def test_the_barrier_is_the_height_above_the_straight_line():
    a = np.linspace(1, 0, 5)
    assert analysis.LossPath(a, np.array([1.0, 1.0, 4.0, 3.0, 3.0])).barrier == 2.0
    assert analysis.LossPath(a, np.array([1.0, 0.5, 0.0, 0.5, 1.0])).barrier == 0.0


def test_the_straight_path_between_two_models():
    start, end = model_of(plain), model_of(plain)
    end.initialize(77)
    path = analysis.straight_path(start, end, steps=3)
    for a, b, half in zip(start.get_weights(), end.get_weights(), path.model(0.5).get_weights(), strict=True):
        np.testing.assert_allclose(half, (a + b) / 2, rtol=1e-12)
    assert_same_bits(path.state(0.0)["hidden.kernel"], end.parameters()["hidden.kernel"])
    before = path.start.arena.copy(), path.end.arena.copy()
    start.initialize(1)
    end.initialize(2)
    assert_same_bits(path.model(1.0).arena, before[0])
    assert_same_bits(path.model(0.0).arena, before[1])
    with pytest.raises(ValueError, match=r"start and end differ in parameter 'dense_1.bias': None and \(3,\)"):
        analysis.straight_path(start, model_of(through_activations))
    with pytest.raises(TypeError, match="end must be a pynet Model, got NoneType"):
        analysis.straight_path(start, None)


def test_wrong_paths():
    model = model_of(plain)
    with pytest.raises(ValueError, match="i and j must be different units, got 2 twice"):
        analysis.interpolate_units(model, "hidden", 2, 2)
    with pytest.raises(ValueError, match=r"j must be in 0\.\.5, got 6"):
        analysis.interpolate_units(model, "hidden", 2, 6)
    with pytest.raises(ValueError, match="steps must be >= 2, got 1"):
        analysis.interpolate_units(model, "hidden", 2, 3, steps=1)
    with pytest.raises(TypeError, match="path must come from interpolate_units or straight_path, got list"):
        analysis.loss_along_path([model], X, LABELS, "cross_entropy")


# ---- the plane ------------------------------------------------------------------------------------------------------


def test_the_surface_of_a_linear_model_is_its_quadratic():
    model = pn.Sequential([pn.Input(5), pn.Dense(3)], dtype="float64")
    w, b = model.get_weights()
    d, e = {"dense_1.kernel": RNG.normal(size=(5, 3))}, {"dense_1.kernel": RNG.normal(size=(5, 3))}
    e["dense_1.bias"] = RNG.normal(size=3)
    found = analysis.loss_surface(model, X, Y, "mse", directions=(d, e), span=2, resolution=5)
    np.testing.assert_array_equal(found.alpha, [-2, -1, 0, 1, 2])
    np.testing.assert_array_equal(found.beta, found.alpha)
    for i, alpha in enumerate(found.alpha):
        for j, beta in enumerate(found.beta):
            kernel = w + alpha * d["dense_1.kernel"] + beta * e["dense_1.kernel"]
            expected = np.mean((X @ kernel + b + beta * e["dense_1.bias"] - Y) ** 2)
            assert found.loss[i, j] == pytest.approx(expected, rel=1e-12)


def test_random_directions_are_normalised_by_filter():
    model = trained()
    base = model.state_dict()
    first, second = (landscape._random_direction(base, 3, number) for number in range(2))
    assert list(first) == ["hidden.kernel", "dense_1.kernel", "dense_2.kernel"]
    for name, d in first.items():
        np.testing.assert_allclose(np.linalg.norm(d, axis=0), np.linalg.norm(base[name], axis=0), rtol=1e-12)
        cosine = np.sum(d * second[name]) / np.linalg.norm(d) / np.linalg.norm(second[name])
        assert abs(cosine) < 0.7
    given = analysis.loss_surface(model, X, LABELS, "cross_entropy", directions=(first, second), resolution=3)
    drawn = analysis.loss_surface(model, X, LABELS, "cross_entropy", random_state=3, resolution=3)
    assert_same_bits(drawn.loss, given.loss)
    other = analysis.loss_surface(model, X, LABELS, "cross_entropy", random_state=4, resolution=3)
    assert not np.array_equal(other.loss, drawn.loss)
    loss = pn.Trainer(model, "cross_entropy").evaluate(X, LABELS)["loss"]
    assert drawn.loss[1, 1] == other.loss[1, 1] == loss
    assert (np.delete(drawn.loss, 4) > loss).all()


def test_a_loss_that_is_not_finite_is_nan_on_the_surface():
    model = pn.Sequential([pn.Input(5), pn.Dense(3)])
    d = {"dense_1.kernel": np.full((5, 3), 1e30)}
    found = analysis.loss_surface(model, X, Y, "mse", directions=(d, {}), resolution=3)
    assert np.isnan(found.loss).tolist() == [[True] * 3, [False] * 3, [True] * 3]


def test_wrong_surfaces():
    model = model_of(plain)

    def surface(**more):
        analysis.loss_surface(model, X, LABELS, "cross_entropy", **more)

    with pytest.raises(ValueError, match="span must be finite and > 0, got 0"):
        surface(span=0)
    with pytest.raises(ValueError, match="resolution must be >= 2, got 1"):
        surface(resolution=1)
    with pytest.raises(ValueError, match=r"random_state must be in 0\.\.18446744073709551615, got -1"):
        surface(random_state=-1)
    for wrong in (({},), {}, 3):
        with pytest.raises(TypeError, match="directions must be a pair of dicts"):
            surface(directions=wrong)
    with pytest.raises(TypeError, match=r"directions\[1\] must be a dict of name -> array, got list"):
        surface(directions=({}, []))
    with pytest.raises(ValueError, match=r"directions\[0\]: the model has no parameter 'hidden.kernl', did you mean"):
        surface(directions=({"hidden.kernl": 0}, {}))
    with pytest.raises(ValueError, match=r"directions\[1\]: parameter 'hidden.bias' has shape \(6,\), got \(5,\)"):
        surface(directions=({}, {"hidden.bias": np.zeros(5)}))
