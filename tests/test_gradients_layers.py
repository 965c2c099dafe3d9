"""Gradients against central differences, in float64, through both machines: for every kind of layer in every place
(nets.py), of every parameter and every input; in training, and of the frozen net."""

import functools

import cases
import fillings
import helpers
import nets
import numpy as np
import pytest
from differences import B, Differences, away_from_kinks, of, one_head

import pynet as pn
from pynet import _core
from pynet.plan import build

CLIPPED = (
    "gradient_clip",
    "gradient_clip_of_a_sequence",
)  # hold layers whose way down is not the derivative, on purpose
SMOOTH = [name for name in nets.NETS if name not in (*CLIPPED, *nets.LARGE)]
WEIGHT = np.array([1.5, 0.5, 1.0])
FLAT = {  # what no loss depends on
    "lstm_of_one_step": ("lstm_1.recurrent_kernel", "lstm_2.recurrent_kernel"),
}


@functools.cache
def point(name, mode):
    def make_targets(rng):
        return fillings.targets(nets.NETS[name](), B, rng)

    make = functools.partial(nets.NETS[name], "float64")
    return away_from_kinks(make, fillings.heads(make()), make_targets, WEIGHT, mode)


@pytest.mark.parametrize("mode", ["train", "gradients"])
@pytest.mark.parametrize("name", SMOOTH)
def test_layer(name, mode, executor):
    model, inputs, targets = point(name, mode)
    found = Differences(model, fillings.heads(model), inputs, targets, executor, WEIGHT, mode=mode)
    for flat in FLAT.get(name, ()):
        assert not found.estimate.pop(flat).any()
        assert not found.gradient[flat].any()
    found.check()
    assert "input 0" in found.gradient
    assert "input 1" not in found.gradient  # a mask is no number
    assert not any(name.endswith((".mean", ".variance")) for name in found.gradient)


def test_all_modes_are_looked_at():
    """The plans differ where they should: else one of the two would be tested twice."""
    kinds = {"train": set(), "gradients": set()}
    for name in SMOOTH:
        model = nets.NETS[name]()
        for mode, found in kinds.items():
            found.update(build(model, fillings.heads(model), mode=mode).ops["kind"].tolist())
    random, batch, running = (_core.OPS[kind] for kind in ("random", "batch_norm", "running_norm"))
    assert not kinds["gradients"] & {random, batch}
    assert kinds["train"] >= {random, batch, running}
    assert set(nets.NETS) == {*SMOOTH, *CLIPPED, *nets.LARGE}


# ---- layers that clip gradients: by their definition -----------------------------------------------------------------


CLIPS = {
    "norm": (pn.ClipNorm(0.05), lambda g: g * min(1, 0.05 / np.sqrt((g * g).sum()))),
    "norm, not reached": (pn.ClipNorm(100.0), lambda g: g),
    "value": (pn.ClipValue(0.03), lambda g: np.clip(g, -0.03, 0.03)),
    "sign": (pn.SignGradient(), np.sign),
}


@pytest.mark.parametrize("mode", ["train", "gradients"])
@pytest.mark.parametrize("clip", CLIPS)
def test_gradient_clip(clip, mode, executor):
    """h = x v + a; y = clip(h) w + b and h u side by side, worked out with matrices.  Values are those without it."""
    layer, rule = CLIPS[clip]
    x = pn.Input(3)
    h = cases.dense(4, name="below")(x)
    y = pn.Add()([cases.dense(2, name="above")(pn.GradientClip(layer)(h)), cases.dense(2, name="beside")(h)])
    model, rng = pn.Model(x, y, dtype="float64"), np.random.default_rng(0)
    X, t = rng.normal(size=(B, 3)), rng.normal(size=(B, 2))
    found = Differences(model, [cases.head("mse")], [X], [t], executor, probe=False, mode=mode)
    p = model.parameters()
    h = X @ p["below.kernel"] + p["below.bias"]
    y = h @ p["above.kernel"] + p["above.bias"] + h @ p["beside.kernel"] + p["beside.bias"]
    dy = 2 * (y - t) / t.size
    coming = dy @ p["above.kernel"].T
    dh = rule(coming) + dy @ p["beside.kernel"].T
    assert found.value == pytest.approx(np.mean((y - t) ** 2), rel=1e-14)
    assert (helpers.distance(rule(coming), coming) > 0.1) == (clip != "norm, not reached")
    if clip == "value":
        assert 0 < (np.abs(coming) > 0.03).sum() < coming.size
    for name, expected in {
        "below.kernel": X.T @ dh, "below.bias": dh.sum(axis=0), "input 0": dh @ p["below.kernel"].T,
        "above.kernel": h.T @ dy, "above.bias": dy.sum(axis=0), "beside.kernel": h.T @ dy,
    }.items():  # fmt: skip
        helpers.assert_close(found.gradient[name], expected.reshape(-1), 1e-14, name)


def test_the_norm_of_a_gradient_clip_is_that_of_the_whole_batch(executor):
    """Of the rows together, whatever else flows: two clips side by side do not see each other."""
    x = pn.Input(2)
    y = pn.Add()([pn.GradientClip(pn.ClipNorm(c), name=f"c{c}")(x) for c in (1, 2)])
    model = pn.Model(x, y, dtype="float64")
    X = np.array([[3.0, 0], [0, 4]])  # mse of 2 x against 0, of 4 numbers: dy = x, norm 5
    found = Differences(model, [cases.head("mse")], [X], [np.zeros((2, 2))], executor, probe=False)
    helpers.assert_close(found.gradient["input 0"], (X / 5 * 1 + X / 5 * 2).reshape(-1), 1e-15)


# ---- what is not the derivative passes as it is ------------------------------------------------------------------


def test_a_gradient_of_the_users_is_believed(executor):
    """Straight through: the rounding of the way up is not seen on the way down."""
    straight = pn.PythonLayer(np.round, lambda x, y, dy: 10 * dy + x - y, 3)
    make = one_head(lambda x: straight(cases.dense(3, name="below")(x)))
    model, rng = make(0), np.random.default_rng(0)
    X, t = rng.normal(size=(B, 3)), of("mse", 3)(rng)
    found = Differences(model, [cases.head("mse")], [X], t, executor, probe=False)
    h = X @ model.parameters()["below.kernel"] + model.parameters()["below.bias"]
    dh = 10 * 2 * (np.round(h) - t[0]) / t[0].size + h - np.round(h)
    helpers.assert_close(found.gradient["below.kernel"], (X.T @ dh).reshape(-1), 1e-13)
