"""Models in compact form: predictions, training, copies, checkpoints, and what is refused."""

import copy

import helpers
import numpy as np
import pytest
from helpers import ISAS

import pynet as pn
from pynet.compact_dense import FORMS, compact_names


def pruned_model(share, dtype="float32", seed=0):
    layers = [pn.Input(70), pn.Dense(33, "relu", name="a"), pn.Dense(50, "gelu", use_bias=False, name="b"),
              pn.Dense(5, "softmax", name="c")]  # fmt: skip
    model = pn.Sequential(layers, dtype=dtype, random_state=seed)
    rng = np.random.default_rng(seed)
    masks = {w.name: rng.random(w.shape) < share for w in model.weights if len(w.shape) == 2}
    pn.prune.set_masks(model, masks)
    return model


@pytest.mark.parametrize("share", [0.0, 0.04, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("form", FORMS)
def test_predictions_are_those_of_the_dense_form(form, share, isa, dtype):
    """Bit for bit, whatever the batch: one row goes another way than several, and they go in tiles of 16 or 32."""
    model = pruned_model(share, dtype)
    small = model.compact(dict.fromkeys("abc", form))
    X = np.random.default_rng(1).normal(size=(100, 70)).astype(dtype)
    with helpers.forced_isa(isa):
        for n in (1, 2, 7, 15, 16, 17, 31, 33, 64, 100):
            helpers.assert_same_bits(small.predict(X[:n]), model.predict(X[:n]))
        helpers.assert_same_bits(small.predict_one(X[3]), model.predict_one(X[3]))
    twin = small.predict(X, backend="numpy")
    helpers.assert_close(model.predict(X), twin, 100 * np.finfo(dtype).eps)


def test_no_instruction_set_was_left_out():
    assert set(ISAS) >= helpers.expected_isas()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_training_is_that_of_the_dense_form(backend, form):
    """Up to the order of sums over a batch; what is pruned stays away."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 70)), rng.integers(0, 5, 90)
    found = []
    for model in (pruned_model(0.15, "float64"), pruned_model(0.15, "float64").compact(dict.fromkeys("abc", form))):
        start = model.expand().parameters()
        trainer = pn.Trainer(
            model, "cross_entropy", pn.Adam(0.01, weight_decay=0.01), clip=pn.ClipNorm(0.5), backend=backend
        )
        trainer.fit(X, y, epochs=4, batch_size=16, verbose=0)
        found.append((trainer.history.history["loss"], model.expand()))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-10)
    for name, w in found[0][1].parameters().items():
        helpers.assert_close(found[1][1].parameters()[name], w, 1e-9, name)
        assert helpers.distance(w, start[name]) > 1e-3
    for name, mask in pn.prune.masks(found[1][1]).items():
        np.testing.assert_array_equal(mask, pn.prune.masks(found[0][1])[name])
        assert not found[1][1].parameters()[name][~mask].any()


@pytest.mark.parametrize("form", FORMS)
def test_expand_undoes_compact(form):
    model = pruned_model(0.2)
    small = model.compact(dict.fromkeys("abc", form))
    assert {type(layer).__name__ for layer in small.layers} == {"Input", "CompactDense"}
    assert list(small.parameters()) == ["a.kernel.values", "a.bias", "b.kernel.values", "c.kernel.values", "c.bias"]
    again = small.expand()
    helpers.assert_same_bits(again.arena + 0, model.arena + 0)  # of a weight that is left and 0, -0
    assert pn.prune.masks(again).keys() == pn.prune.masks(model).keys()
    for name, mask in pn.prune.masks(model).items():
        np.testing.assert_array_equal(pn.prune.masks(again)[name], mask)
    assert again.config() == model.config() == small.config()
    pn.prune.magnitude(again, 0.9)  # and can be pruned further
    assert again.compact(dict.fromkeys("abc", form)).nbytes < small.nbytes < model.nbytes


def test_what_becomes_no_smaller_stays_dense():
    model = pruned_model(0.95)
    assert {type(layer).__name__ for layer in model.compact().layers} == {"Input", "Dense"}
    helpers.assert_same_bits(model.compact().arena, model.arena)


@pytest.mark.parametrize("form", FORMS)
def test_weights_for_another_model(tmp_path, form):
    """From a file, and from a model in compact form: as they are in dense form."""
    small = pruned_model(0.2, seed=1).compact(dict.fromkeys("abc", form))
    small.save(tmp_path / "m")
    for source in (tmp_path / "m", small):
        other = pruned_model(1.0, seed=2)
        pn.prune.set_masks(other, dict.fromkeys(pn.prune.masks(other)))
        assert other.load_weights(source)
        for name, w in pruned_model(0.2, seed=1).parameters().items():
            np.testing.assert_array_equal(other.parameters()[name], w)
        assert pn.prune.masks(other) == {}


@pytest.mark.parametrize("form", FORMS)
def test_copies_and_checkpoints(tmp_path, form):
    small = pruned_model(0.2).compact(dict.fromkeys("abc", form))
    other = copy.deepcopy(small)
    helpers.assert_same_bits(other.arena, small.arena)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 70)).astype(np.float32), rng.integers(0, 5, 60)
    trainer = pn.Trainer(small, "cross_entropy", pn.Adam(0.01))
    trainer.fit(X, y, epochs=2, verbose=0)
    trainer.save_checkpoint(tmp_path / "c")
    resumed = pn.Trainer.resume(tmp_path / "c")
    assert compact_names(resumed.model) == compact_names(other) == dict.fromkeys("abc", form)
    for t in (trainer, resumed):
        t.fit(X, y, epochs=2, verbose=0)
    helpers.assert_same_bits(resumed.model.arena, small.arena)
    assert helpers.distance(other.arena, small.arena) > 1e-3


def test_only_layers_that_are_no_slower(monkeypatch):
    """Which they are is measured; what follows from it is not left to the clock here."""
    from pynet import compact_dense

    model, asked = pruned_model(0.2), []
    gains = {"a": {"steps": {1: 2.0, 256: 1.1}, "lanes": {1: 1.5, 256: 1.6}},
             "b": {"steps": {1: 0.9, 256: 4.0}, "lanes": {1: 1.0, 256: 1.2}},
             "c": {"steps": {1: 0.9, 256: 1.2}, "lanes": {1: 9.0, 256: 0.9}}}  # fmt: skip

    def gain(layer, matrix, mask, rows, form):
        asked.append((layer.name, form, rows))
        return gains[layer.name][form][rows]

    for form in compact_dense.FORMS:
        arrays = [values["a.kernel"] for values in (model.parameters(), pn.prune.masks(model))]
        assert 0.001 < compact_dense._gain(model.get_layer("a"), *arrays, 3, form) < 1000
    monkeypatch.setattr(compact_dense, "_gain", gain)
    small = model.compact(batch_sizes=[1, 256])
    assert compact_dense.compact_names(small) == {"a": "lanes", "b": "lanes"}
    expected = [(layer, form, n) for layer in "abc" for form in ("steps", "lanes") for n in (1, 256)]
    assert asked == expected[:-2]  # the 5 outputs of "c" would take 16 lanes: larger than dense
    assert compact_dense.compact_names(model.compact(batch_sizes=[256])) == {"a": "lanes", "b": "steps", "c": "steps"}
    assert compact_dense.compact_names(model.compact({"a": "steps", "c": "lanes"}, [256])) == {"a": "steps"}
    assert compact_dense.compact_names(model.compact({"a": "steps", "c": "lanes"})) == {"a": "steps", "c": "lanes"}
    with pytest.raises(ValueError, match="batch_sizes must be >= 1, got 0"):
        model.compact(batch_sizes=[0])


def test_names_may_come_from_a_generator():
    assert compact_names(pruned_model(0.2).compact(name for name in "ab")) == {"a": "steps", "b": "steps"}


REFUSED = [
    ("unknown", lambda m: m.compact(["aa"]), ValueError, "unknown pruned Dense layer .* 'aa', did you mean 'a'"),
    ("text", lambda m: m.compact("a"), TypeError, "layers must be a list of names, got 'a'"),
    ("a number", lambda m: m.compact(3), TypeError, "layers must be a list of names, got 3"),
    ("no name", lambda m: m.compact([["a"]]), ValueError, r"unknown pruned Dense layer .* \['a'\]"),
    ("batch size", lambda m: m.compact(batch_sizes=16), TypeError, "batch_sizes must be a list of integers, got 16"),
    ("a form", lambda m: m.compact({"a": "lane"}), ValueError, "form of layer 'a' 'lane', did you mean 'lanes'"),
    ("no form", lambda m: m.compact({"a": []}), ValueError, "unknown form of layer 'a'"),
    ("initialize", lambda m: m.compact().initialize(1), ValueError, "expand"),
    (
        "prune",
        lambda m: pn.prune.magnitude(m.compact(), 0.5),
        ValueError,
        r"no layer to prune: .*; prune model.expand\(\)",
    ),
]


@pytest.mark.parametrize(("call", "kind", "text"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refusals(call, kind, text):
    with pytest.raises(kind, match=text):
        call(pruned_model(0.2))


def test_a_bound_on_columns_needs_the_matrix():
    model = pn.Sequential([pn.Input(40), pn.Dense(9, max_norm=1.0, name="bounded"), pn.Dense(9, name="free")])
    pn.prune.magnitude(model, 0.9)
    assert [type(layer).__name__ for layer in model.compact().layers] == ["Input", "Dense", "CompactDense"]
    with pytest.raises(ValueError, match="without max_norm"):
        model.compact(["bounded"])
    compact = model.compact().layers[2]
    with pytest.raises(ValueError, match="max_norm: a layer in compact form has none, expand"):
        compact.max_norm = 1.0  # training would not heed it, and no copy could be made
    compact.max_norm = None
