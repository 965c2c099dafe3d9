"""Masks of pruned weights, through training and all else; shares, layers and refusals."""

import numpy as np
import pytest
from pruned_nets import correlated, linear

import pynet as pn

BACKENDS = ("c", "numpy")


# ---- masks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [pn.Adam(1e-2, weight_decay=0.1), pn.AdamW(1e-2, weight_decay=0.1),
                                       pn.SGD(0.05, momentum=0.9, weight_decay=0.1), pn.Rprop()])  # fmt: skip
@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_hold_through_a_thousand_steps(backend, optimizer):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(64, 7)), rng.normal(size=(64, 5))
    layers = [pn.Input(7), pn.Dense(33, "tanh", l1=1e-4, name="a"), pn.Dense(5, l2=1e-4, max_norm=2.0, name="b")]
    model = pn.Sequential(layers, dtype="float32")
    trainer = pn.Trainer(model, "mse", optimizer, clip=pn.ClipNorm(1.0), backend=backend)
    trainer.fit(X, y, epochs=2, batch_size=16, verbose=0)  # moments and velocities everywhere
    pn.prune.magnitude(model, 0.8)
    masks = pn.prune.masks(model)
    start = model.parameters()
    trainer.fit(X, y, epochs=250, batch_size=16, verbose=0)
    assert trainer.step == 1008
    for name, mask in masks.items():
        now = model.parameters()[name]
        assert (now[~mask].view("u4") == 0).all()  # not even -0
        assert (now[mask] != start[name][mask]).mean() > 0.9
    assert set(masks) == {"a.kernel", "b.kernel"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_callback_may_prune(backend):
    """Gradually, in the middle of a fit; what has gone stays away at once."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 7)), rng.normal(size=(200, 3))
    model = pn.Sequential([pn.Input(7), pn.Dense(20, "relu", name="a"), pn.Dense(3, name="b")])
    shares = []

    class Gradually(pn.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            kernel = model.parameters()["a.kernel"]
            shares.append(float((kernel == 0).mean()))
            pn.prune.magnitude(model, {"a": 0.1 * (epoch + 1)})

    pn.Trainer(model, "mse", pn.Adam(0.01), backend=backend).fit(X, y, epochs=6, verbose=0, callbacks=[Gradually()])
    np.testing.assert_allclose(shares, [0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_gradients_of_what_is_pruned_are_0():
    model = linear(6, 4)
    pn.prune.magnitude(model, 0.5)
    X = correlated(20, 6)
    gradient = pn.Trainer(model, "mse").gradients(X, np.ones((20, 4)))["d.kernel"]
    mask = pn.prune.masks(model)["d.kernel"]
    assert not gradient[~mask].any()
    assert gradient[mask].all()


def test_values_written_to_pruned_places_are_0():
    model = linear(6, 4)
    before = model.get_weights()
    pn.prune.magnitude(model, 0.5)
    mask = pn.prune.masks(model)["d.kernel"]
    model.set_weights(before)
    np.testing.assert_array_equal(model.parameters()["d.kernel"], np.where(mask, before[0], 0))
    model.initialize(5)
    assert not model.parameters()["d.kernel"][~mask].any()
    assert model.parameters()["d.kernel"][mask].all()


def test_masks_of_ones_own_and_their_end():
    model = linear(3, 2)
    mask = np.array([[1, 0], [0, 1], [1, 1]])
    report = pn.prune.set_masks(model, {"d.kernel": mask})
    assert (report.kept, report.sparsity) == ([4], pytest.approx(1 / 3))
    np.testing.assert_array_equal(pn.prune.masks(model)["d.kernel"], mask == 1)
    pn.prune.set_masks(model, {"d.kernel": None})
    assert pn.prune.masks(model) == {}
    pn.Trainer(model, "mse", pn.SGD(0.1)).train_on_batch(correlated(9, 3), np.ones((9, 2)))
    assert model.parameters()["d.kernel"].all()


def test_a_cut_model_keeps_its_masks():
    x = pn.Input(5)
    h = pn.Dense(6, "tanh", name="a")(x)
    model = pn.Model(x, pn.Dense(2, name="b")(h))
    pn.prune.magnitude(model, 0.5)
    front = pn.Model(x, pn.Dense(3, name="new")(model.get_layer("a").output))
    np.testing.assert_array_equal(pn.prune.masks(front)["a.kernel"], pn.prune.masks(model)["a.kernel"])
    assert set(pn.prune.masks(front)) == {"a.kernel"}
    assert pn.Trainer(front, "mse").train_on_batch(correlated(9, 5), np.ones((9, 3)))["loss"] > 0


# ---- shares, scopes, layers ----------------------------------------------------------------------------------------


def three_layers():
    layers = [pn.Dense(8, "relu", name="a"), pn.Dense(6, name="b", trainable=False), pn.Dense(4, name="c")]
    return pn.Sequential([pn.Input(10), *layers])


def kept(model):
    return {name: int(mask.sum()) for name, mask in pn.prune.masks(model).items()}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_the_share_is_exact(share):
    model = three_layers()
    report = pn.prune.magnitude(model, share)
    assert report.names == ["a.kernel", "c.kernel"]  # b is frozen
    assert sum(report.kept) == 104 - round(share * 104)
    assert bool(pn.prune.masks(model)) == (share > 0)
    own = {name: np.abs(w) for name, w in model.parameters().items()}
    start = {name: np.abs(w) for name, w in three_layers().parameters().items()}
    gone = np.concatenate([start[name][own[name] == 0] for name in report.names])
    left = np.concatenate([own[name][own[name] > 0] for name in report.names])
    assert gone.size == 0 or gone.max() <= left.min()


def test_scopes_and_layers():
    model = three_layers()
    pn.prune.magnitude(model, 0.5, scope="layer")
    assert kept(model) == {"a.kernel": 40, "c.kernel": 12}
    model = three_layers()
    pn.prune.magnitude(model, 0.5, layers=["b"])
    assert kept(model) == {"b.kernel": 24}
    model = three_layers()
    pn.prune.magnitude(model, {"a": 0.9, "b": 0.25})
    assert kept(model) == {"a.kernel": 8, "b.kernel": 36}


def test_the_report_is_a_table():
    model = three_layers()
    text = str(pn.prune.magnitude(model, 0.5, scope="layer"))
    assert text.splitlines()[0].split() == ["parameter", "weights", "kept", "sparsity"]
    assert text.splitlines()[-1].split() == ["all", "104", "52", "50.0%"]
    text = str(pn.prune.obs(model, correlated(50, 10), 0.6))
    assert "fitted" in text.splitlines()[0]


# ---- refusals -------------------------------------------------------------------------------------------------------

DATA = correlated(20, 10)


def normed():
    return pn.Sequential([pn.Input(1, name="x", scale=2.0), pn.BatchNorm(name="norm")])


REFUSED = [
    ("no model", lambda m: pn.prune.magnitude(3, 0.5), TypeError, "model must be a pynet Model, got int"),
    ("share 1", lambda m: pn.prune.magnitude(m, 1.0), ValueError, "sparsity must be >= 0 and < 1, got 1.0"),
    ("share text", lambda m: pn.prune.magnitude(m, "0.5"), TypeError, "sparsity must be a number"),
    ("scope", lambda m: pn.prune.magnitude(m, 0.5, "globl"), ValueError, "unknown scope 'globl', did you mean"),
    ("layer", lambda m: pn.prune.magnitude(m, 0.5, layers=["aa"]), ValueError, "unknown layer to prune 'aa'"),
    ("layers text", lambda m: pn.prune.magnitude(m, 0.5, layers="a"), TypeError, "layers must be a list of names"),
    ("both", lambda m: pn.prune.magnitude(m, {"a": 0.5}, layers=["a"]), ValueError, "not both"),
    ("empty", lambda m: pn.prune.magnitude(m, {}), ValueError, "names no layer"),
    ("a share of a layer", lambda m: pn.prune.magnitude(m, {"a": 2}), ValueError, "sparsity of 'a' must be"),
    ("mask name", lambda m: pn.prune.set_masks(m, {"a": 1}), ValueError, "unknown parameter 'a'"),
    ("mask shape", lambda m: pn.prune.set_masks(m, {"a.kernel": [1]}), ValueError, r"shape \(10, 8\), got \(1,\)"),
    ("mask of a constant", lambda m: pn.prune.set_masks(normed(), {"norm.mean": [0]}), ValueError, "it is a constant"),
    ("mask of a scale", lambda m: pn.prune.set_masks(normed(), {"x.scale": [0]}), ValueError, "'x.scale' cannot be"),
    ("masks", lambda m: pn.prune.set_masks(m, [1]), TypeError, "masks must be a dict"),
    ("obs method", lambda m: pn.prune.obs(m, DATA, method="layer"), ValueError, "unknown method 'layer'"),
    ("obs X", lambda m: pn.prune.obs(m, DATA[:, :3]), ValueError, r"X must have shape \[N, 10\], got \(20, 3\)"),
    ("obs no rows", lambda m: pn.prune.obs(m, DATA[:0]), ValueError, "X has no rows"),
    ("obs NaN", lambda m: pn.prune.obs(m, DATA * np.nan), ValueError, "X must be finite"),
    ("obs damping", lambda m: pn.prune.obs(m, DATA, damping=0), ValueError, "damping must be finite and > 0"),
    ("obs needs y", lambda m: pn.prune.obs(m, DATA, method="network"), ValueError, "needs y"),
    ("obd needs y", lambda m: pn.prune.obd(m, DATA, curvature="hessian"), ValueError, "needs y"),
    ("obd curvature", lambda m: pn.prune.obd(m, DATA, curvature="hesse"), ValueError, "unknown curvature 'hesse'"),
    ("obd probes", lambda m: pn.prune.obd(m, DATA, 1, curvature="hessian", probes=0), ValueError, "probes must be"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refusals(call, kind, text):
    model = three_layers()
    before = model.arena.copy()
    with pytest.raises(kind, match=text):
        call(model)
    assert (model.arena == before).all()
    assert pn.prune.masks(model) == {}


def test_an_interrupted_surgeon_leaves_the_model_as_it_was(monkeypatch):
    from pynet import prune_layers

    model = three_layers()
    pn.prune.magnitude(model, 0.2)
    before, masks = model.arena.copy(), pn.prune.masks(model)
    original, calls = prune_layers.reconstruct, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(prune_layers, "reconstruct", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pn.prune.obs(model, DATA, 0.7)
    assert len(calls) == 2
    assert (model.arena == before).all()
    assert {name: mask.tolist() for name, mask in pn.prune.masks(model).items()} == {
        name: mask.tolist() for name, mask in masks.items()
    }


def test_too_many_parameters_for_the_whole_hessian():
    model = pn.Sequential([pn.Input(100), pn.Dense(50)])
    with pytest.raises(ValueError, match="at most 4000 parameters, the model has 5050"):
        pn.prune.obs(model, np.ones((3, 100)), y=np.ones((3, 50)), method="network")
