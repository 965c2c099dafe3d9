"""Units and residual blocks that are taken out, gradual pruning, and pruning until a goal is reached."""

import helpers
import numpy as np
import pytest

import pynet as pn
from pynet.prune_schedule import file_size

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 6))
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1)


def widths(model):
    return [layer.units for layer in model.layers if isinstance(layer, pn.Dense)]


def net(activation="tanh", bias=True, dtype="float64"):
    layers = [
        pn.Input(6), pn.Dense(20, activation, name="a"), pn.Dropout(0.2), pn.Dense(12, "relu", use_bias=bias, name="b"),
        pn.Dense(2, name="c"),
    ]  # fmt: skip
    return pn.Sequential(layers, dtype=dtype, random_state=1)


def changed(model, **changes):
    state = model.state_dict()
    for name, change in changes.items():
        array = state[name.replace("__", ".")]
        change(array)
    model.load_state_dict(state)
    return model


# ---- units ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "gelu"])
def test_units_that_nobody_reads_or_that_read_nothing_go(activation):
    """What the second kind adds, act(bias), goes into the biases behind, through the dropout."""

    def drop(array):
        array[[3, 7]] = 0

    def cut(array):
        array[:, [0, 7, 11]] = 0

    model = net(activation)
    model.load_state_dict(model.state_dict() | {"a.bias": RNG.normal(size=20)})
    changed(model, b__kernel=drop, a__kernel=cut)
    smaller = pn.prune.units(model)
    assert widths(smaller.model) == [16, 12, 2]
    assert smaller.removed == ["a: 4 of 20 units"]
    helpers.assert_close(smaller.model.predict(X), model.predict(X), 1e-13)
    assert widths(model) == [20, 12, 2]  # as it was
    pn.Trainer(smaller.model, "mse").fit(X, Y, epochs=1, verbose=0)


def test_one_removal_leads_to_the_next():
    """Without the units of b that read them, units of a are read by nobody."""

    def silent(array):  # units 0..5 of b are read by nobody
        array[:6] = 0

    def only(array):  # units 0..9 of a are read by those alone
        array[:10, 6:] = 0

    model = changed(net(), c__kernel=silent, b__kernel=only)
    smaller = pn.prune.units(model)
    assert widths(smaller.model) == [10, 6, 2]
    assert str(smaller) == "b: 6 of 12 units\na: 10 of 20 units"
    helpers.assert_close(smaller.model.predict(X), model.predict(X), 1e-13)


def test_dead_units_need_data():
    def dead(array):
        array[[1, 2]] = -100

    model = changed(net(), b__bias=dead)
    assert pn.prune.units(model).removed == []
    assert str(pn.prune.units(model)) == "nothing was removed"
    smaller = pn.prune.units(model, X)
    assert widths(smaller.model) == [20, 10, 2]
    helpers.assert_close(smaller.model.predict(X), model.predict(X), 1e-13)
    much = pn.prune.units(model, X, tolerance=0.5)
    assert sum(widths(much.model)) < 32


def test_masks_and_files_come_along(tmp_path):
    model = net(dtype="float32")
    pn.prune.magnitude(model, 0.93)
    smaller = pn.prune.units(model).model
    assert sum(widths(smaller)) < sum(widths(model))
    masks = pn.prune.masks(smaller)
    for name, mask in masks.items():
        assert mask.shape == smaller.parameters()[name].shape
        assert not smaller.parameters()[name][~mask].any()
    helpers.assert_close(smaller.predict(X), model.predict(X), 1e-5)
    smaller.save(tmp_path / "m")
    helpers.assert_same_bits(pn.load(tmp_path / "m").predict(X), smaller.predict(X))
    pn.Trainer(smaller, "mse").fit(X, Y, epochs=2, verbose=0)
    assert {name: mask.sum() for name, mask in pn.prune.masks(smaller).items()} == {
        name: mask.sum() for name, mask in masks.items()
    }


def test_without_a_bias_behind_only_zeros_go():
    """What a tanh unit without inputs adds has no place there; where it adds 0 it may go."""

    def cut(array):
        array[:, [0, 1]] = 0

    model = net(bias=False)
    bias = np.zeros(20)
    bias[0] = 1
    model.load_state_dict(model.state_dict() | {"a.bias": bias})
    changed(model, a__kernel=cut)
    assert widths(pn.prune.units(model).model) == [19, 12, 2]


def test_what_others_read_is_left_alone():
    x = pn.Input(6)
    h = pn.Dense(8, "relu", name="a")(x)
    top = pn.Dense(2, name="b")
    model = pn.Model(x, [top(h), pn.Activation("tanh")(h)])

    def cut(array):
        array[:, :4] = 0

    changed(model, a__kernel=cut)
    assert pn.prune.units(model).removed == []
    shared = pn.Dense(6, "relu", name="s")
    model = pn.Model(x, pn.Dense(2)(shared(shared(x))))
    changed(model, s__kernel=cut)
    assert pn.prune.units(model).removed == []


def test_a_layer_keeps_one_unit():
    model = changed(net(), c__kernel=lambda w: w.fill(0))
    smaller = pn.prune.units(model).model
    assert widths(smaller)[1] == 1
    helpers.assert_close(smaller.predict(X), model.predict(X), 1e-13)


# ---- residual blocks -----------------------------------------------------------------------------------------------


def blocks(sizes, seed=0):
    """A net of residual blocks whose last layers are scaled by these."""
    layers = [pn.Input(6), pn.Dense(8, name="in")]
    for k, _ in enumerate(sizes):
        layers.append(
            pn.Residual([pn.Dense(8, "tanh", name=f"up_{k}"), pn.Dense(8, name=f"down_{k}")], name=f"block_{k}")
        )
    model = pn.Sequential([*layers, pn.Dense(2, name="out")], dtype="float64", random_state=seed)
    state = model.state_dict()
    for k, size in enumerate(sizes):
        state[f"down_{k}.kernel"] *= size
    model.load_state_dict(state)
    return model


def test_the_smallest_blocks_go_first():
    model = blocks([1.0, 0.01, 0.5, 0.001, 0.1])
    smaller = pn.prune.residual_blocks(model, X, Y, remove=3)
    assert smaller.removed == ["block_3", "block_1", "block_4"]
    assert [layer.name for layer in smaller.model.layers if type(layer) is pn.Add] == ["block_0", "block_2"]
    assert smaller.model.count_params() < model.count_params()
    assert len(smaller.losses) == 3
    without = blocks([1.0, 0.0, 0.5, 0.0, 0.0])
    helpers.assert_close(smaller.model.predict(X), without.predict(X), 1e-13)
    assert smaller.losses[-1] == pytest.approx(pn.Trainer(without, "mse").evaluate(X, Y)["loss"])
    pn.Trainer(smaller.model, "mse").fit(X, Y, epochs=1, verbose=0)
    assert str(smaller).startswith("block_3  loss ")


def test_many_blocks():
    """More values to measure than a machine has outputs."""
    sizes = [0.5] * 12
    sizes[7] = 0.01
    assert pn.prune.residual_blocks(blocks(sizes), X, Y, remove=1).removed == ["block_7"]


def test_they_go_until_the_loss_is_too_large():
    model = blocks([1.0, 1e-6, 0.5, 1e-7])
    y = model.predict(X)  # what it is now is best
    smaller = pn.prune.residual_blocks(model, X, y, max_loss=1e-6)
    assert smaller.removed == ["block_3", "block_1"]
    assert 0 < smaller.losses[0] < smaller.losses[1] <= 1e-6
    assert pn.prune.residual_blocks(model, X, y, max_loss=0.0).removed == []
    assert len(pn.prune.residual_blocks(model, X, y, max_loss=1e9).removed) == 4


def test_a_projection_is_no_block():
    x = pn.Input(6)
    h = pn.Residual([pn.Dense(9, "relu"), pn.Dense(6)], name="plain")(x)
    h = pn.Residual([pn.Dense(4)], projection=True, name="projected")(h)
    model = pn.Model(x, pn.Dense(2)(h))
    assert pn.prune.residual_blocks(model, X, Y, remove=1).removed == ["plain"]
    with pytest.raises(ValueError, match="remove=2, but the model has 1 residual blocks"):
        pn.prune.residual_blocks(model, X, Y, remove=2)


# ---- when and how much ---------------------------------------------------------------------------------------------


def test_gradual_follows_the_cubic():
    model, shares = net(), []

    class Look(pn.Callback):
        order = 1

        def on_epoch_end(self, trainer, epoch, logs):
            kernels = [w for name, w in model.parameters().items() if name.endswith("kernel")]
            shares.append(sum((k == 0).sum() for k in kernels) / sum(k.size for k in kernels))

    gradual = pn.prune.Gradual(0.8, end=6, begin=2)
    trainer = pn.Trainer(model, "mse")
    trainer.fit(X, Y, epochs=8, verbose=0, callbacks=[gradual, Look()])
    expected = [0, 0] + [0.8 * (1 - (1 - k / 4) ** 3) for k in (1, 2, 3, 4)] + [0.8, 0.8]
    np.testing.assert_allclose(shares, expected, atol=0.002)


def test_gradual_with_a_criterion_of_ones_own():
    model, asked = net(), []
    gradual = pn.prune.Gradual(0.5, 2, prune=lambda m, share: asked.append((m is model, share)))
    pn.Trainer(model, "mse").fit(X, Y, epochs=4, verbose=0, callbacks=[gradual])
    assert asked == [(True, pytest.approx(0.4375)), (True, pytest.approx(0.5))]


def test_until_a_file_is_small(tmp_path):
    model = pn.Sequential([pn.Input(100), pn.Dense(100, name="a")])
    whole = file_size(model)
    model.save(tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").stat().st_size == whole
    share = pn.prune.until(model, pn.prune.magnitude, max_bytes=whole // 3)
    assert file_size(model) <= whole // 3
    again = pn.Sequential([pn.Input(100), pn.Dense(100, name="a")])
    pn.prune.magnitude(again, share - 0.02)
    assert file_size(again) > whole // 3


def test_until_a_loss_is_reached():
    model = net()
    trainer = pn.Trainer(model, "mse", pn.Adam(0.01))
    trainer.fit(X, Y, epochs=60, verbose=0)

    def score(m):
        return pn.Trainer(m, "mse").evaluate(X, Y)["loss"]

    limit = 1.5 * score(model)
    share = pn.prune.until(model, lambda m, s: pn.prune.obs(m, X, s), score=score, max_score=limit)
    assert 0.1 < share < 0.99
    assert score(model) <= limit


def test_until_with_nothing_to_do():
    model = net()
    assert pn.prune.until(model, pn.prune.magnitude, max_bytes=10**9) == 0.0


REFUSED = [
    ("units X", lambda m: pn.prune.units(m, X[:, :2]), ValueError, r"X must have shape \[N, 6\], got \(200, 2\)"),
    ("units tolerance", lambda m: pn.prune.units(m, X, tolerance=-1), ValueError, "tolerance must be"),
    ("blocks of none", lambda m: pn.prune.residual_blocks(m, X, Y, remove=1), ValueError, "has no residual block"),
    ("blocks no goal", lambda m: pn.prune.residual_blocks(m, X, Y), ValueError, "how many blocks"),
    ("until no goal", lambda m: pn.prune.until(m, pn.prune.magnitude), ValueError, "give max_bytes, or score"),
    ("until both", lambda m: pn.prune.until(m, pn.prune.obs, max_bytes=1, score=len, max_score=1), ValueError, "give"),
    ("until too small", lambda m: pn.prune.until(m, pn.prune.magnitude, max_bytes=10), ValueError, "out of reach"),
    ("until too good", lambda m: pn.prune.until(m, pn.prune.magnitude, score=lambda m: 2.0, max_score=1), ValueError,
     "out of reach: the model as it is scores 2"),
    ("until what", lambda m: pn.prune.until(m, 0.5, max_bytes=10), TypeError, "must be a function"),
    ("gradual share", lambda m: pn.prune.Gradual(1.0, 5), ValueError, "sparsity must be"),
    ("gradual end", lambda m: pn.prune.Gradual(0.5, 3, begin=3), ValueError, "end must be >= 4, got 3"),
    ("gradual what", lambda m: pn.prune.Gradual(0.5, 3, prune="obs"), TypeError, "prune must be a function"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refusals(call, kind, text):
    model = net()
    before = model.arena.copy()
    with pytest.raises(kind, match=text):
        call(model)
    assert (model.arena == before).all()
    assert pn.prune.masks(model) == {}
