"""Models: wiring, names, weights in and out, cutting.  What machines compute is tested elsewhere."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import pynet as pn
from pynet.plan import unpack


def small(**options):
    return pn.Sequential([pn.Input(4), pn.Dense(5, activation="relu"), pn.Dense(3, activation="softmax")], **options)


def assert_same(left, right):
    assert list(left) == list(right)
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


# ---- wiring ---------------------------------------------------------------------------------------------------------


def test_shapes_along_a_graph():
    x = pn.Input(4)
    h = pn.Dense(6)(x)
    assert (h.width, h.shape, h.layer.units) == (6, (6,), 6)
    assert pn.Activation("tanh")(h).width == 6
    assert pn.Add()([h, h, h]).width == 6
    assert pn.Concat()([h, x]).width == 10
    assert pn.Input((7,)).output.width == 7


def test_layers_stand_in_the_order_of_their_calls():
    x = pn.Input(4, name="pixels")
    b = pn.Dense(2)(x)
    a = pn.Dense(3)(x)
    model = pn.Model(x, [a, b])
    assert [layer.name for layer in model.layers] == ["pixels", "dense_1", "dense_2"]
    assert model.get_layer("dense_1") is b.layer
    assert [v.width for v in model.outputs] == [3, 2]


def test_names_are_given_or_automatic():
    model = pn.Sequential(
        [pn.Input(4), pn.Dense(4, name="dense_1"), pn.Dense(4), pn.Residual([pn.Dense(4)]), pn.Activation("relu")]
    )
    assert list(model.names.values()) == ["input_1", "dense_1", "dense_2", "dense_3", "add_1", "activation_1"]


def test_two_layers_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two layers are named 'a'"):
        pn.Sequential([pn.Input(4), pn.Dense(4, name="a"), pn.Dense(4, name="a")])


@pytest.mark.parametrize("name", ["", "a.b", "a b", "é", "a" * 101, "\x1b[31m"])
def test_names_that_no_file_could_hold_are_refused(name):
    with pytest.raises(ValueError, match="name must be 1 to 100 ASCII"):
        pn.Dense(4, name=name)
    with pytest.raises(TypeError, match="name must be a string"):
        pn.Dense(4, name=3)


def test_automatic_names_give_way_when_two_models_meet():
    left, right = small(), small()
    joined = pn.Concat()([left.outputs[0], right.outputs[0]])
    both = pn.Model([*left.inputs, *right.inputs], pn.Dense(2)(joined))
    assert len(set(both.names.values())) == 8
    assert [both.names[layer] for layer in left.layers] == ["input_1", "dense_1", "dense_2"]
    assert both.parameters().keys() >= left.parameters().keys()
    for model in (left, right):  # names of the older models stay theirs
        assert list(model.names.values()) == ["input_1", "dense_1", "dense_2"]


def test_a_shared_layer_has_one_set_of_parameters():
    a, b, shared = pn.Input(4), pn.Input(4), pn.Dense(3)
    model = pn.Model([a, b], pn.Add()([shared(a), shared(b)]))
    assert model.count_params() == 15
    with pytest.raises(ValueError, match=r"Dense\(3, dense_1\) was built for 4 inputs, got 5"):
        shared(pn.Input(5))


def test_graphs_that_cannot_be():
    x, y = pn.Input(4, name="x"), pn.Input(4, name="y")
    h = pn.Dense(3)(x)
    with pytest.raises(ValueError, match=r"Input\(4, y\) is not used"):
        pn.Model([x, y], h)
    with pytest.raises(ValueError, match=r"depend on Input\(4, y\), which is not among the inputs"):
        pn.Model(x, pn.Add()([x, y]))
    with pytest.raises(ValueError, match=r"inputs\[0\] is the value of .*expected that of pn.Input"):
        pn.Model(h, pn.Dense(2)(h))
    with pytest.raises(ValueError, match="listed twice"):
        pn.Model([x, x], h)
    with pytest.raises(ValueError, match="outputs must name at least one value"):
        pn.Model(x, [])
    with pytest.raises(TypeError, match=r"pass its \.output"):
        pn.Model(x, h.layer)
    with pytest.raises(TypeError, match=r"must be pn.Input or what a layer returned, got ndarray of shape \(2, 4\)"):
        pn.Dense(3)(np.zeros((2, 4)))
    with pytest.raises(TypeError, match="begins a graph"):
        x(h)
    with pytest.raises(ValueError, match="at most 16 outputs"):
        pn.Model(x, [pn.Dense(1)(x) for _ in range(17)])
    with pytest.raises(ValueError, match="has not been called"):
        pn.Dense(3).output  # noqa: B018


def test_merging_layers_check_their_inputs():
    x = pn.Input(4)
    with pytest.raises(ValueError, match="values of one width expected, got 4, 3"):
        pn.Add()([x, pn.Dense(3)(x)])
    with pytest.raises(ValueError, match="two or more values, got 1"):
        pn.Concat()([x])
    with pytest.raises(ValueError, match="width 4 into 3, but both are added"):
        pn.Residual([pn.Dense(3)])(x)


def test_sequential_needs_an_input_first():
    with pytest.raises(ValueError, match=r"put pn.Input\(features\) first \(got Dense\(3\) first\)"):
        pn.Sequential([pn.Dense(3)])
    with pytest.raises(ValueError, match="an empty list"):
        pn.Sequential([])
    with pytest.raises(ValueError, match="layer 1 is Input"):
        pn.Sequential([pn.Input(3), pn.Dense(2), pn.Input(3)])
    with pytest.raises(TypeError, match="layer 0 must be a layer, got str"):
        pn.Sequential([pn.Input(3), "relu"])
    with pytest.raises(TypeError, match=r"already called belongs into pn\.Model"):
        pn.Sequential([pn.Input(3), pn.Dense(3)(pn.Input(3))])


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: pn.Dense(0), ValueError, r"units of Dense must be in 1\.\.16777216, got 0"),
        (lambda: pn.Dense(2.5), TypeError, "units of Dense must be an integer"),
        (lambda: pn.Dense(3, activation="rleu"), ValueError, "did you mean 'relu'"),
        (lambda: pn.Dense(3, kernel_initializer="xavier_unifrm"), ValueError, "did you mean 'xavier_uniform'"),
        (lambda: pn.Dense(3, l2=-1), ValueError, "l2 must be finite and >= 0"),
        (lambda: pn.Dense(3, use_bias="no"), TypeError, "use_bias must be True or False"),
        (lambda: pn.Input((3, 4, 5)), ValueError, "must be the number of features"),
        (lambda: pn.Input(3, scale=[1, 2]), ValueError, r"must be a number or have shape \(3,\)"),
        (lambda: pn.Input(3, shift=np.nan), ValueError, "shift of Input must be finite"),
        (lambda: small(dtype="float16"), ValueError, "dtype must be 'float32' or 'float64', got 'float16'"),
        (lambda: small(dtype=None), ValueError, "dtype must be"),
        (lambda: small(random_state=-1), ValueError, "random_state"),
        (
            lambda: pn.Sequential([pn.Input(3), pn.Dense(2, kernel_initializer="zeros")]),
            ValueError,
            "parameter 'dense_1.kernel': .* stay equal for ever",
        ),
        (lambda: pn.Sequential([pn.Input(1 << 24), pn.Dense(1 << 24)]), ValueError, "the model is too large"),
    ],
)
def test_impossible_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_a_model_is_freed_with_its_last_reference():
    gc.disable()
    try:
        model = small()
        watch = weakref.ref(model), weakref.ref(model.outputs[0]), weakref.ref(model.arena)
        layer = model.layers[1]
        del model
        assert watch[0]() is None
        assert watch[1]() is None
        assert watch[2]() is not None  # the layer keeps its trained values
        del layer
        assert watch[2]() is None
    finally:
        gc.enable()


# ---- weights --------------------------------------------------------------------------------------------------------


def test_parameters_are_plain_copies():
    model = small()
    parameters = model.parameters()
    assert {k: v.shape for k, v in parameters.items()} == {
        "dense_1.kernel": (4, 5),
        "dense_1.bias": (5,),
        "dense_2.kernel": (5, 3),
        "dense_2.bias": (3,),
    }
    assert all(v.dtype == np.float32 for v in parameters.values())
    before = model.arena.copy()
    for array in parameters.values():
        array[...] = 7
    np.testing.assert_array_equal(model.arena, before)
    assert model.count_params() == 4 * 5 + 5 + 5 * 3 + 3


def test_one_input_feature_keeps_a_matrix():
    model = pn.Sequential([pn.Input(1), pn.Dense(3)])
    assert model.parameters()["dense_1.kernel"].shape == (1, 3)


def test_initial_weights_depend_on_the_seed_only():
    assert_same(small(random_state=3).parameters(), small(random_state=3).parameters())
    a, b = small(random_state=3), small(random_state=4)
    assert (a.parameters()["dense_1.kernel"] != b.parameters()["dense_1.kernel"]).all()
    assert not a.parameters()["dense_1.bias"].any()
    b.initialize(3)
    assert_same(a.parameters(), b.parameters())
    wide = small(dtype="float64", random_state=3).parameters()
    np.testing.assert_array_equal(wide["dense_1.kernel"].astype("f4"), a.parameters()["dense_1.kernel"])


def test_constants_of_an_input_are_parameters_that_nobody_draws():
    model = pn.Sequential([pn.Input(3, scale=0.5, shift=[1, 2, 3]), pn.Dense(2)])
    model.initialize(1)
    parameters = model.parameters()
    np.testing.assert_array_equal(parameters["input_1.scale"], [0.5] * 3)
    np.testing.assert_array_equal(parameters["input_1.shift"], [1, 2, 3])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_round_trip(dtype):
    a, b = small(dtype=dtype, random_state=1), small(dtype=dtype, random_state=2)
    b.set_weights(a.get_weights())
    np.testing.assert_array_equal(a.arena, b.arena)
    b = small(dtype=dtype, random_state=2)
    b.load_state_dict(a.state_dict())
    np.testing.assert_array_equal(a.arena, b.arena)


def test_weights_convert_to_the_dtype_of_the_model():
    model = small()
    state = {name: np.ones(v.shape, int).tolist() for name, v in model.state_dict().items()}
    model.load_state_dict(state)
    assert (model.parameters()["dense_2.kernel"] == 1).all()


def _without(state, name):
    return {k: v for k, v in state.items() if k != name}


@pytest.mark.parametrize(
    ("spoil", "error", "text"),
    [
        (lambda s: _without(s, "dense_2.bias"), ValueError, "parameters are missing: 'dense_2.bias'"),
        (lambda s: s | {"dense_2.bais": 0}, ValueError, "no parameter 'dense_2.bais', did you mean 'dense_2.bias'"),
        (lambda s: s | {"dense_2.bias": np.zeros(4)}, ValueError, r"'dense_2.bias' has shape \(3,\), got \(4,\)"),
        (lambda s: s | {"dense_2.kernel": np.zeros((3, 5))}, ValueError, r"has shape \(5, 3\), got \(3, 5\)"),
        (lambda s: s | {"dense_2.bias": [1, np.nan, 2]}, ValueError, "'dense_2.bias' must be finite"),
        (lambda s: s | {"dense_2.bias": [1, 1e300, 2]}, ValueError, "beyond float32"),
        (lambda s: s | {"dense_2.bias": ["a", "b", "c"]}, TypeError, "real numbers, got dtype <U1"),
        (lambda s: s | {"dense_2.bias": np.zeros(3, complex)}, TypeError, "real numbers, got dtype complex128"),
        (lambda s: list(s.values()), TypeError, "a dict of name -> array is expected, got list"),
    ],
)
def test_load_state_dict_writes_nothing_unless_all_is_right(spoil, error, text):
    model = small(random_state=1)
    before = model.arena.copy()
    state = spoil(small(random_state=2).state_dict())
    with pytest.raises(error, match=text):
        model.load_state_dict(state)
    np.testing.assert_array_equal(model.arena, before)


def test_set_weights_counts():
    model = small()
    with pytest.raises(ValueError, match="has 4 parameters, got 3 arrays"):
        model.set_weights(model.get_weights()[:3])
    with pytest.raises(TypeError, match="takes a list of arrays, got dict"):
        model.set_weights(model.state_dict())


def test_freeze_and_unfreeze():
    model = small()
    model.freeze(up_to="dense_1")
    assert [layer.trainable for layer in model.layers[1:]] == [False, True]
    model.freeze()
    assert not any(layer.trainable for layer in model.layers)
    model.unfreeze()
    assert all(layer.trainable for layer in model.layers)
    with pytest.raises(ValueError, match="unknown layer 'dens_1', did you mean 'dense_1'"):
        model.freeze(up_to="dens_1")


# ---- cutting, copying -----------------------------------------------------------------------------------------------


def test_cutting_a_graph_copies_weights():
    model = pn.Sequential([pn.Input(4, scale=2.0), pn.Dense(5, name="features"), pn.Dense(3)], random_state=5)
    values = {name: np.random.default_rng(0).normal(size=v.shape) for name, v in model.parameters().items()}
    model.load_state_dict(values)
    cut = pn.Model(inputs=model.inputs, outputs=model.get_layer("features").output)
    assert list(cut.parameters()) == ["input_1.scale", "features.kernel", "features.bias"]
    assert_same(cut.parameters(), {name: model.parameters()[name] for name in cut.parameters()})
    assert not np.shares_memory(cut.arena, model.arena)
    cut.set_weights([2 * w for w in cut.get_weights()])
    np.testing.assert_array_equal(model.parameters()["features.kernel"], values["features.kernel"].astype("f4"))


def test_a_new_head_keeps_the_trained_body():
    model = small(random_state=5)
    head = pn.Dense(2, name="head")(model.get_layer("dense_1").output)
    tuned = pn.Model(model.inputs, head, random_state=6)
    assert list(tuned.parameters()) == ["dense_1.kernel", "dense_1.bias", "head.kernel", "head.bias"]
    assert_same(
        {k: v for k, v in tuned.parameters().items() if k.startswith("dense_1")},
        {k: v for k, v in model.parameters().items() if k.startswith("dense_1")},
    )
    assert pn.Model(model.inputs, model.outputs, dtype="float64").parameters()["dense_1.kernel"].dtype == np.float64


def test_a_layer_reused_in_another_graph_knows_its_value_there():
    first = small()
    second = pn.Sequential([pn.Input(4), first.layers[1]])
    assert second.layers[1].output is second.outputs[0]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_independent(duplicate):
    model = small(dtype="float64", name="net")
    model.metadata["note"] = "x"
    model.layers[1].trainable = False
    twin = duplicate(model)
    assert_same(model.parameters(), twin.parameters())
    assert (twin.dtype, twin.name, twin.metadata) == (model.dtype, "net", {"note": "x"})
    assert [layer.trainable for layer in twin.layers] == [layer.trainable for layer in model.layers]
    twin.arena[:] = 0
    assert model.arena.any()


# ---- text -----------------------------------------------------------------------------------------------------------


def test_summary():
    x = pn.Input(4, scale=1.0)
    h = pn.Dense(5, activation="relu", trainable=False)(x)
    model = pn.Model(x, pn.Concat(name="all")([h, x]), name="net")
    lines: list[str] = []
    assert model.summary(print_fn=lines.append) is None
    rows = [line.split() for line in lines[0].splitlines()]
    assert rows[0] == ["Model", "'net',", "float32"]
    assert rows[4:7] == [
        ["input_1", "Input", "4", "4"],
        ["dense_1", "Dense", "relu", "5", "25", "frozen", "input_1"],
        ["all", "Concat", "9", "0", "dense_1,", "input_1"],
    ]
    assert lines[0].splitlines()[-1] == "29 parameters (116 bytes): 0 trainable, 29 not"
    assert repr(model) == "<Model 'net' 4 -> 9, 29 parameters>"


def test_summary_prints(capsys):
    small().summary()
    assert "43 parameters" in capsys.readouterr().out


# ---- arguments of predict -------------------------------------------------------------------------------------------


def test_out_must_fit():
    model = small()
    X = np.zeros((2, 4))
    for out, error, text in [
        (np.zeros((2, 3)), ValueError, r"shape \(2, 3\) and dtype float32, got \(2, 3\) of float64"),
        (np.zeros((3, 3), "f4"), ValueError, r"got \(3, 3\)"),
        (np.zeros((3, 2), "f4").T, ValueError, "C-contiguous"),
        ([np.zeros((2, 3), "f4")] * 2, ValueError, "out must be 1 arrays"),
        ("y", TypeError, "must be a NumPy array, got str"),
    ]:
        with pytest.raises(error, match=text):
            model.predict(X, out=out)
    with pytest.raises(ValueError, match="batch_size must be >= 1"):
        model.predict(X, batch_size=0)
    with pytest.raises(ValueError, match="unknown backend 'nmpy', did you mean 'numpy'"):
        model.predict(X, backend="nmpy")


def test_the_arena_is_aligned_and_padded_with_zeros():
    model = small()
    assert model.arena.ctypes.data % 64 == 0
    total = sum(float(np.abs(unpack(model.arena, w.record)).sum()) for w in model.weights)
    assert np.abs(model.arena).sum() == pytest.approx(total)
