"""pn.analysis.permute_units: which weights move, which nets are refused, what a copy keeps."""

import numpy as np
import pytest
from analysed import RNG, X, biased, model_of, plain, through_activations
from helpers import assert_same_bits

import pynet as pn
from pynet import analysis
from pynet.layers import Layer

ORDER = [3, 0, 5, 1, 4, 2]


def several_readers(x, h):
    return pn.Add()([biased(3)(h), biased(3)(pn.Activation("relu")(h))])


def concatenated(x, h):
    h = pn.Activation("gelu")(pn.Concat()([biased(2)(x), h, pn.Activation("relu")(h), h]))
    return biased(3)(h)


def residual(x, h):
    h = pn.Residual([biased(4, "relu"), biased(6)])(h)
    return biased(3)(pn.Residual([biased(6, "tanh"), pn.Activation("relu")])(h))


def end_of_residuals(x, h):
    """'hidden' is added to a sum of sums, all of whose makers have to follow."""
    y = biased(6)(x)
    for _ in range(3):
        y = pn.Residual([biased(4, "relu"), pn.Activation("relu"), biased(6, "tanh")])(y)
    return biased(3)(pn.Activation("relu")(pn.Add()([y, h])))


def added_to_another(x, h):
    return biased(3)(pn.Add()([pn.Activation("relu")(biased(6, name="other")(x)), h]))


def shared_reader(x, h):
    reader = biased(3)
    return pn.Add()([reader(h), reader(pn.Activation("relu")(h))])


def shared_maker(x, h):
    maker = biased(6, "tanh", name="maker")
    return biased(3)(pn.Concat()([maker(h), maker(pn.Activation("relu")(h))]))


GRAPHS = [
    plain, through_activations, several_readers, concatenated, residual, end_of_residuals, added_to_another,
    shared_reader, shared_maker
]  # fmt: skip

# ---- permutations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("build", GRAPHS)
def test_the_function_stays_and_the_weights_move(build, dtype):
    model = model_of(build, dtype)
    before = model.arena.copy()
    permuted = analysis.permute_units(model, "hidden", ORDER)
    expected, eps = model.predict(X), np.finfo(dtype).eps
    assert np.abs(permuted.predict(X) - expected).max() <= 100 * eps * np.abs(expected).max()
    changed = [not np.array_equal(a, b) for a, b in zip(model.get_weights(), permuted.get_weights(), strict=True)]
    assert sum(changed) >= 3
    assert_same_bits(model.arena, before)
    inverse = np.argsort(ORDER)
    assert_same_bits(analysis.permute_units(permuted, permuted.get_layer("hidden"), inverse).arena, before)
    assert_same_bits(analysis.permute_units(model, model.get_layer("hidden"), range(6)).arena, before)


def test_unit_k_of_the_result_is_unit_order_k():
    model = model_of(plain)
    permuted = analysis.permute_units(model, "hidden", ORDER)
    hidden = [pn.Model(m.inputs, m.get_layer("hidden").output, dtype="float64").predict(X) for m in (model, permuted)]
    assert_same_bits(hidden[1], np.ascontiguousarray(hidden[0][:, ORDER]))
    old, new = model.parameters(), permuted.parameters()
    assert_same_bits(new["hidden.kernel"], old["hidden.kernel"][:, ORDER])
    assert_same_bits(new["hidden.bias"], old["hidden.bias"][ORDER])
    assert_same_bits(new["dense_1.kernel"], old["dense_1.kernel"][ORDER])
    for name in ("x.scale", "dense_2.kernel", "dense_2.bias"):
        assert_same_bits(new[name], old[name])


def test_a_residual_takes_its_other_units_along():
    model = model_of(residual)
    permuted = analysis.permute_units(model, "hidden", ORDER)
    old, new = model.parameters(), permuted.parameters()
    assert_same_bits(new["dense_2.kernel"], old["dense_2.kernel"][:, ORDER])  # last of the first Residual
    assert_same_bits(new["dense_1.kernel"], old["dense_1.kernel"][ORDER])  # first of it: only reads
    assert_same_bits(new["dense_3.kernel"], old["dense_3.kernel"][ORDER][:, ORDER])  # reads and is added
    inner = analysis.permute_units(model, "dense_1", [2, 0, 3, 1])  # inside a Residual nobody else is touched
    moved = [name for name, w in inner.parameters().items() if not np.array_equal(w, old[name])]
    assert moved == ["dense_1.kernel", "dense_1.bias", "dense_2.kernel"]


@pytest.mark.parametrize(
    "make",
    [
        pn.BatchNorm, pn.LayerNorm, pn.InstanceNorm, pn.PReLU, lambda: pn.PReLU(shared=True), pn.Flatten,
        lambda: pn.Dropout(0.5), lambda: pn.GaussianNoise(0.1), lambda: pn.GradientClip(pn.ClipNorm(1)),
        lambda: pn.Activation(pn.activations.Function(np.square, lambda x: 2 * x)),
    ],
)  # fmt: skip
def test_what_a_layer_keeps_for_each_unit_moves_with_the_units(make):
    layer = make()
    model = model_of(lambda x, h: biased(3)(layer(h)))
    state = model.state_dict()
    own = [name for name in state if name.startswith(model.names[layer])]
    for name in own:
        state[name] = RNG.uniform(0.5, 1.5, state[name].shape)
    model.load_state_dict(state)
    permuted = analysis.permute_units(model, "hidden", ORDER)
    np.testing.assert_allclose(permuted.predict(X), model.predict(X), rtol=1e-12, atol=1e-13)
    for name in own:
        expected = state[name] if state[name].shape == (1,) else state[name][ORDER]
        assert_same_bits(permuted.parameters()[name], expected)
    kinds = {"batch_norm": 4, "layer_norm": 2, "prelu": 1}
    assert len(own) == kinds.get(layer.kind, 0)


def test_a_norm_called_twice_needs_one_order():
    norm = pn.LayerNorm(name="norm")
    model = model_of(lambda x, h: biased(3)(pn.Concat()([norm(h), norm(biased(6)(x))])))
    with pytest.raises(ValueError, match=r"LayerNorm\(norm\) is shared and would need two orders at once"):
        analysis.permute_units(model, "hidden", ORDER)


@pytest.mark.parametrize(
    "make", [lambda: pn.PythonLayer(lambda x: x, lambda x, y, dy: dy, 6, name="own"), lambda: Twist("relu", name="own")]
)
def test_layers_of_which_nothing_is_known_are_refused(make):
    model = model_of(lambda x, h: biased(3)(make()(h)))
    with pytest.raises(ValueError, match=r"\(.*own\) reads them in a way that cannot be permuted"):
        analysis.permute_units(model, "hidden", ORDER)


class Twist(Layer):
    """A stand-in for a kind of layer that comes later."""

    kind = "twist"

    def __init__(self, activation, name):
        super().__init__(name)

    def connect(self, shapes):
        return shapes[0]

    def emit(self, planner, x):
        return x[0]


def test_the_copy_keeps_what_a_file_would_not():
    x = pn.Input(5)
    h = biased(6, "tanh", name="hidden", trainable=False)(x)
    double = pn.PythonLayer(lambda x: 2 * x, lambda x, y, dy: 2 * dy, 4, name="double")
    model = pn.Model(x, biased(3, name="out")(double(biased(4, pn.activations.Function(np.sin, np.cos))(h))), name="m")
    model.get_layer("out").rate_factor = 0.1
    model.metadata["classes"] = ["a", "b"]
    permuted = analysis.permute_units(model, "hidden", ORDER)
    np.testing.assert_allclose(permuted.predict(X), model.predict(X), rtol=1e-4, atol=1e-6)
    assert (permuted.name, permuted.metadata) == ("m", model.metadata)
    assert list(permuted.names.values()) == list(model.names.values())
    assert permuted.get_layer("out").rate_factor == 0.1
    assert not permuted.get_layer("hidden").trainable
    assert not set(permuted.layers) & set(model.layers)
    permuted.metadata["classes"].append("c")
    assert model.metadata["classes"] == ["a", "b"]


def test_a_copy_has_the_names_of_its_model_not_of_the_layers_latest():
    x = pn.Input(4)
    first = pn.Dense(4)
    last = pn.Dense(4)
    model = pn.Model(x, last(first(x)))
    assert list(model.names.values()) == ["input_1", "dense_1", "dense_2"]
    pn.Model(x, first(pn.Dense(4, name="dense_1")(x)))  # here it is called dense_2
    assert first.name == "dense_2"
    permuted = analysis.permute_units(model, "dense_1", [1, 0, 2, 3])
    assert permuted.parameters().keys() == model.parameters().keys()
    np.testing.assert_allclose(permuted.predict(X[:, :4]), model.predict(X[:, :4]), rtol=1e-4, atol=1e-6)


def test_a_copy_has_the_numbers_of_its_model_not_of_the_layers_latest():
    model = model_of(plain)
    other = pn.Model(model.inputs, model.get_layer("dense_1").output, dtype="float64")
    other.initialize(9)  # the layers are shared: their newest numbers are here
    path = analysis.interpolate_units(model, "hidden", 0, 1)
    assert_same_bits(path.start.arena, model.arena)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x, h: h, "they are seen at the output 'hidden'"),
        (lambda x, h: pn.Activation("relu", name="end")(h), "they are seen at the output 'end'"),
        (lambda x, h: [biased(3)(h), pn.Activation("relu", name="peep")(h)], "they are seen at the output 'peep'"),
        (
            lambda x, h: biased(3)(pn.Add()([h, pn.Concat()([x, biased(1)(x)])])),
            "they are added to what Concat.* passes on",
        ),
    ],
)
def test_units_that_can_be_seen_are_not_permuted(build, message):
    with pytest.raises(ValueError, match=f"units of layer 'hidden' cannot be permuted: {message}"):
        analysis.permute_units(model_of(build), "hidden", ORDER)


def test_units_added_to_an_input_or_in_two_orders_are_not_permuted():
    x = pn.Input(5, name="x")
    model = pn.Model(x, pn.Dense(2)(pn.Residual([pn.Dense(5, name="inside")])(x)))
    with pytest.raises(
        ValueError, match=r"'inside' cannot be permuted: they are added to what Input\(5, x\) passes on"
    ):
        analysis.permute_units(model, "inside", [1, 0, 2, 3, 4])
    x = pn.Input(4)
    shared = pn.Dense(4, name="shared")
    model = pn.Model(x, pn.Dense(2)(shared(shared(x))))  # its units are read by itself, and so is the input
    with pytest.raises(ValueError, match=r"'shared' cannot be permuted: .*shared.* would need two orders at once"):
        analysis.permute_units(model, "shared", [1, 0, 2, 3])
    x = pn.Input(4)
    h, twisted = pn.Dense(4, name="h")(x), pn.Dense(2, name="half")(x)
    both = pn.Concat()([twisted, pn.Dense(2)(x)])
    model = pn.Model(x, pn.Dense(2)(pn.Add()([h, both])))
    swapped = analysis.permute_units(model, "half", [1, 0])  # h is given the order of the Concat
    assert_same_bits(swapped.parameters()["h.kernel"], model.parameters()["h.kernel"][:, [1, 0, 2, 3]])
    np.testing.assert_allclose(swapped.predict(X[:, :4]), model.predict(X[:, :4]), atol=1e-5)
    x = pn.Input(4)
    h = pn.Dense(4, name="h")(x)
    model = pn.Model(x, pn.Dense(2)(pn.Add()([pn.Concat()([h, h]), pn.Concat()([h, pn.Dense(4)(x)])])))
    with pytest.raises(ValueError, match=r"'h' cannot be permuted: Add.* adds units of different orders"):
        analysis.permute_units(model, "h", [1, 0, 2, 3])


def test_wrong_layers_and_orders():
    model = model_of(through_activations)
    with pytest.raises(TypeError, match="model must be a pynet Model, got list"):
        analysis.permute_units([], "hidden", ORDER)
    with pytest.raises(ValueError, match="unknown layer 'hiden', did you mean 'hidden'"):
        analysis.permute_units(model, "hiden", ORDER)
    with pytest.raises(ValueError, match="layer must be a layer of the model or its name, got Dense"):
        analysis.permute_units(model, pn.Dense(6), ORDER)
    with pytest.raises(TypeError, match=r"layer must be a Dense, .*got Activation"):
        analysis.permute_units(model, "activation_1", ORDER)
    with pytest.raises(ValueError, match=r"order must be 6 integers, got shape \(5,\) of dtype int64"):
        analysis.permute_units(model, "hidden", ORDER[:5])
    with pytest.raises(ValueError, match=r"order must be 6 integers, .*dtype float64"):
        analysis.permute_units(model, "hidden", np.array(ORDER, float))
    for wrong in ([0, 1, 2, 3, 4, 4], [0, 1, 2, 3, 4, 6], [-1, 0, 1, 2, 3, 4]):
        with pytest.raises(ValueError, match=r"order must be a permutation of 0\.\.5"):
            analysis.permute_units(model, "hidden", wrong)
