"""From a graph to the tables: layout, op order and backward flags of graphs worked out by hand."""

import types

import numpy as np
import pytest

import pynet as pn
from pynet import _core
from pynet.losses import LossSpec
from pynet.plan import NONE, build, leading_dimension, pack, padded, param_size, unpack

FLAGS = ("ADD_X", "ADD_X2", "STOP_X", "STOP_X2", "NO_BACKWARD", "ADD_W")
SOFTMAX_LOSS = LossSpec("cross_entropy_index", 0.0, "softmax")
MSE = LossSpec("mse")


def head(loss=MSE, weight=1.0, metrics=()):
    return types.SimpleNamespace(loss=loss, weight=weight, metrics=list(metrics))


def kinds(plan):
    names = {ident: name for name, ident in _core.OPS.items()}
    return [names[kind] for kind in plan.ops["kind"].tolist()]


def flags(plan):
    """The flags of every op, as a set of words."""
    return [{name for name in FLAGS if op["flags"] & getattr(_core, name)} for op in plan.ops]


def trainable(plan):
    return [n for n, row in zip(plan.param_names, plan.params, strict=True) if row["flags"] & _core.TRAINABLE]


def chain_model(last="softmax", **options):
    return pn.Sequential([pn.Input(4), pn.Dense(20, activation="relu"), pn.Dense(3, activation=last)], **options)


# ---- layout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "ld"), [(1, 16), (15, 16), (16, 16), (17, 32), (496, 496), (500, 528), (512, 528), (1024, 1040)]
)
def test_leading_dimension(width, ld):
    assert leading_dimension(width) == ld
    assert ld % 16 == 0
    assert ld % 512


def test_values_stand_side_by_side_and_parameters_one_after_the_other():
    model = pn.Sequential([pn.Input(7), pn.Dense(512), pn.Dense(3, use_bias=False)])
    plan = build(model)
    assert plan.values["width"].tolist() == [7, 512, 3]
    assert plan.values["ld"].tolist() == [16, 528, 16]
    assert plan.values["column"].tolist() == [0, 16, 544]
    assert plan.row_elems == 560
    assert plan.param_names == ["dense_1.kernel", "dense_1.bias", "dense_2.kernel"]
    assert plan.params["rows"].tolist() == [7, 1, 512]
    assert plan.params["cols"].tolist() == [512, 512, 3]
    assert plan.params["offset"].tolist() == [0, 7 * 512, 8 * 512]
    assert plan.param_elems == 8 * 512 + 512 * 3 == model.arena.size  # the last kernel is kept turned


def test_parameters_stand_at_the_same_place_in_every_plan():
    model = chain_model()
    a, b = build(model), build(model, [head(SOFTMAX_LOSS)])
    for field in ("offset", "rows", "cols"):
        np.testing.assert_array_equal(a.params[field], b.params[field])
    assert a.param_elems == b.param_elems


def test_penalties_reach_the_kernel_only():
    model = pn.Sequential([pn.Input(2), pn.Dense(3, l1=0.25, l2=0.5)])
    plan = build(model, [head()])
    assert plan.params["l1"].tolist() == [0.25, 0]
    assert plan.params["l2"].tolist() == [0.5, 0]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 16), (3, 15), (5, 16), (2, 17), (7, 40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pack_and_unpack(shape, dtype, turned):
    record = np.zeros(1, _core.PARAM)[0]
    if turned:  # the same places for the transpose
        record["flags"], record["rows"], record["cols"] = _core.TURNED, *shape[::-1]
    else:
        record["rows"], record["cols"] = shape
    record["offset"] = 32
    size = param_size(record)
    assert size == shape[0] * padded(shape[1])
    arena = np.full(32 + size + 16, 7, dtype)
    matrix = np.random.default_rng(0).normal(size=shape).astype(dtype)
    pack(arena, record, matrix.T if turned else matrix)
    np.testing.assert_array_equal(unpack(arena, record), matrix.T if turned else matrix)
    assert (arena[:32] == 7).all()
    assert (arena[32 + size :] == 7).all()
    panels = arena[32 : 32 + size].reshape(-1, shape[0], 16)
    for o in range(panels.shape[0] * 16):
        expected = matrix[:, o] if o < shape[1] else np.zeros(shape[0])
        np.testing.assert_array_equal(panels[o // 16, :, o % 16], expected)


def test_unpack_returns_a_copy_and_pack_takes_vectors():
    record = np.zeros(1, _core.PARAM)[0]
    record["rows"], record["cols"] = 1, 3
    arena = np.zeros(16)
    pack(arena, record, np.array([1.0, 2, 3]))
    copy = unpack(arena, record)
    copy[:] = 9
    np.testing.assert_array_equal(arena[:4], [1, 2, 3, 0])


# ---- plans that predict ---------------------------------------------------------------------------------------------


def test_a_plan_that_predicts_has_no_way_back():
    plan = build(pn.Sequential([pn.Input(4), pn.Dense(5, activation="gelu"), pn.Dense(3, activation="softmax")]))
    assert kinds(plan) == ["input", "dense", "dense"]
    assert (plan.n_inputs, plan.n_targets, plan.n_sums) == (1, 0, 2)
    assert plan.ops["z"].tolist() == [NONE] * 3
    assert plan.ops["act"].tolist()[1:] == [_core.ACTIVATIONS["gelu"][0], _core.ACTIVATIONS["softmax"][0]]
    assert flags(plan) == [{"NO_BACKWARD"}, {"NO_BACKWARD", "STOP_X"}, {"NO_BACKWARD", "STOP_X"}]
    assert trainable(plan) == []
    assert plan.outputs.tolist() == [2]
    assert plan.input_values == [0]
    assert plan.input_gradients == [NONE]


def test_activation_parameters_reach_the_op():
    plan = build(pn.Sequential([pn.Input(2), pn.Dense(3, activation=pn.activations.LeakyReLU(0.25))]))
    assert plan.ops[1]["p"].tolist() == [0.25, 0, 0]


def test_input_constants():
    plan = build(pn.Sequential([pn.Input(3, scale=[1, 2, 3]), pn.Dense(2)]))
    assert plan.ops[0]["w"] == 0
    assert plan.ops[0]["b"] == NONE
    assert plan.param_names[0] == "input_1.scale"
    assert trainable(build(pn.Sequential([pn.Input(3, shift=1.0), pn.Dense(2)]), [head()])) == [
        "dense_1.kernel",
        "dense_1.bias",
    ]


def test_add_of_three_and_concat_of_three():
    x = pn.Input(4)
    a, b, c = (pn.Dense(n)(x) for n in (6, 6, 6))
    plan = build(pn.Model(x, [pn.Add()([a, b, c]), pn.Concat()([a, b, c])]))
    assert kinds(plan) == ["input", "dense", "dense", "dense", "add", "add", "concat", "concat", "concat"]
    first, second = plan.ops[4], plan.ops[5]
    assert (first["x"], first["x2"]) == (1, 2)
    assert (second["x"], second["x2"]) == (first["y"], 3)
    assert plan.outputs[0] == second["y"]
    concat = plan.ops[6:9]
    assert concat["x"].tolist() == [1, 2, 3]
    assert concat["at"].tolist() == [0, 6, 12]
    assert set(concat["y"].tolist()) == {plan.outputs[1]}
    assert plan.values[plan.outputs[1]]["width"] == 18


def test_inputs_come_first():
    a = pn.Input(2)
    h = pn.Dense(3)(a)
    b = pn.Input(4)
    plan = build(pn.Model([b, a], pn.Concat()([h, b])))
    assert kinds(plan) == ["input", "input", "dense", "concat", "concat"]
    assert [plan.values[v]["width"] for v in plan.input_values] == [4, 2]
    assert sorted(plan.ops["slot"][:2].tolist()) == [0, 1]


# ---- flags ----------------------------------------------------------------------------------------------------------


def test_flags_of_a_chain():
    plan = build(chain_model("identity"), [head()])
    assert kinds(plan) == ["input", "dense", "dense", "loss"]
    assert flags(plan) == [{"NO_BACKWARD"}, {"STOP_X"}, set(), set()]
    assert trainable(plan) == plan.param_names


def test_flags_of_a_diamond():
    x = pn.Input(4)
    h = pn.Dense(5)(x)
    y = pn.Add()([pn.Dense(5)(h), pn.Dense(5)(h)])
    plan = build(pn.Model(x, y), [head()])
    assert kinds(plan) == ["input", "dense", "dense", "dense", "add", "loss"]
    # going down: the loss stores dy, add stores both, the second dense stores dh, the first adds to it
    assert flags(plan) == [{"NO_BACKWARD"}, {"STOP_X"}, {"ADD_X"}, set(), set(), set()]


def test_flags_of_a_shortcut():
    x = pn.Input(4)
    h = pn.Dense(4)(x)
    plan = build(pn.Model(x, pn.Add()([h, pn.Dense(4)(h)])), [head()])
    assert flags(plan) == [{"NO_BACKWARD"}, {"STOP_X"}, {"ADD_X"}, set(), set()]


def test_flags_of_a_value_added_to_itself():
    x = pn.Input(4)
    h = pn.Dense(4)(x)
    plan = build(pn.Model(x, pn.Add()([h, h])), [head()])
    assert flags(plan)[2] == {"ADD_X2"}


def test_flags_of_an_input_that_joins_late():
    x = pn.Input(4)
    plan = build(pn.Model(x, pn.Add()([x, pn.Dense(4)(x)])), [head()])
    assert flags(plan) == [{"NO_BACKWARD"}, {"STOP_X"}, {"STOP_X"}, set()]
    x = pn.Input(4)
    plan = build(pn.Model(x, pn.Add()([pn.Dense(4)(x), x])), [head()])
    assert flags(plan)[2] == {"STOP_X2"}


def test_flags_of_concat():
    x = pn.Input(4)
    h = pn.Dense(3)(x)
    plan = build(pn.Model(x, pn.Dense(1)(pn.Concat()([h, x, h]))), [head()])
    assert kinds(plan) == ["input", "dense", "concat", "concat", "concat", "dense", "loss"]
    assert flags(plan)[2:5] == [{"ADD_X"}, {"STOP_X", "NO_BACKWARD"}, set()]


def test_flags_of_a_shared_layer():
    x, shared = pn.Input(4), pn.Dense(4)
    plan = build(pn.Model(x, shared(shared(x))), [head()])
    assert plan.param_names == ["dense_1.kernel", "dense_1.bias"]
    assert plan.ops["w"].tolist()[1:3] == [0, 0]
    # going down, the second call comes first and stores dw, the first call adds to it
    assert flags(plan) == [{"NO_BACKWARD"}, {"STOP_X", "ADD_W"}, set(), set()]


def test_flags_of_a_shared_layer_with_one_call_beside_the_loss():
    x, shared = pn.Input(4), pn.Dense(4)
    a = shared(x)
    plan = build(pn.Model(x, [a, shared(a)]), [head(), None])
    assert kinds(plan) == ["input", "dense", "loss"]
    assert flags(plan)[1] == {"STOP_X"}


def test_flags_of_two_heads():
    x = pn.Input(4)
    h = pn.Dense(5, activation="relu")(x)
    model = pn.Model(x, [pn.Dense(2, name="a")(h), pn.Dense(3, name="b")(h)])
    plan = build(model, [head(weight=0.5), head(LossSpec("huber", 2.0))])
    assert kinds(plan) == ["input", "dense", "dense", "dense", "loss", "loss"]
    assert flags(plan) == [{"NO_BACKWARD"}, {"STOP_X"}, {"ADD_X"}, set(), set(), set()]
    losses = plan.ops[4:]
    assert losses["slot"].tolist() == [0, 1]
    assert losses["at"].tolist() == [2, 4]
    assert losses["p"].tolist() == [[0, 0.5, 0], [2, 1, 0]]
    assert losses["act"].tolist() == [_core.LOSSES["mse"], _core.LOSSES["huber"]]
    assert (plan.n_targets, plan.n_sums) == (2, 6)
    assert plan.sum_slots == [("loss", 0, "mse", 2, 2), ("loss", 1, "huber", 4, 2)]


def test_a_head_without_loss_is_not_computed():
    x = pn.Input(4)
    h = pn.Dense(5)(x)
    model = pn.Model(x, [pn.Dense(2, name="a")(h), pn.Dense(3, name="b")(h)])
    plan = build(model, [None, head()])
    assert plan.op_names == ["input_1", "dense_1", "b", "b"]
    assert trainable(plan) == ["dense_1.kernel", "dense_1.bias", "b.kernel", "b.bias"]
    assert plan.ops[-1]["slot"] == 0
    kept = build(model, [None, head()], keep_outputs=True)
    assert kept.op_names == ["input_1", "dense_1", "a", "b", "b"]
    assert flags(kept)[2] == {"NO_BACKWARD", "STOP_X"}
    assert len(kept.outputs) == 2
    assert trainable(kept) == trainable(plan)


def test_a_head_with_metrics_only_is_computed_and_not_trained():
    x = pn.Input(4)
    model = pn.Model(x, [pn.Dense(2, name="a")(x), pn.Dense(3, name="b")(x)])
    plan = build(
        model, [head(None, metrics=[("r2", "r2", 0.0, "output")]), head(metrics=[("mae", "mae", 0, "output")])]
    )
    assert kinds(plan) == ["input", "dense", "dense", "loss", "metric", "metric"]
    assert flags(plan)[1:3] == [{"NO_BACKWARD", "STOP_X"}, {"STOP_X"}]
    assert plan.sum_slots == [("metric", 0, "r2", 2, 7), ("loss", 1, "mse", 9, 2), ("metric", 1, "mae", 11, 2)]
    assert plan.n_sums == 13
    assert plan.ops["slot"].tolist()[3:] == [1, 0, 1]
    assert trainable(plan) == ["b.kernel", "b.bias"]


def test_frozen_layers_end_the_way_down():
    model = pn.Sequential([pn.Input(4), pn.Dense(5, "gelu"), pn.Dense(6, "gelu", trainable=False), pn.Dense(3)])
    plan = build(model, [head()])
    # a frozen layer between trainable ones passes its gradient on
    assert flags(plan) == [{"NO_BACKWARD"}, {"STOP_X"}, set(), set(), set()]
    assert trainable(plan) == ["dense_1.kernel", "dense_1.bias", "dense_3.kernel", "dense_3.bias"]
    model.freeze(up_to="dense_2")
    plan = build(model, [head()])
    assert flags(plan) == [{"NO_BACKWARD"}, {"NO_BACKWARD", "STOP_X"}, {"NO_BACKWARD", "STOP_X"}, {"STOP_X"}, set()]
    assert plan.ops["z"].tolist() == [NONE] * 5  # pre-activations are kept for nobody
    assert trainable(plan) == ["dense_3.kernel", "dense_3.bias"]
    model.freeze()
    plan = build(model, [head()])
    assert flags(plan)[-2:] == [{"NO_BACKWARD", "STOP_X"}, {"STOP_X"}]
    assert trainable(plan) == []
    model.unfreeze()
    assert trainable(build(model, [head()])) == plan.param_names


def test_input_gradients():
    a, b, unread = pn.Input(4, name="a"), pn.Input(2, name="b"), pn.Input(3, name="unread")
    h = pn.Concat()([pn.Dense(5)(a), b])
    model = pn.Model([a, b, unread], [pn.Dense(2)(h), pn.Dense(1)(unread)])
    model.freeze()
    plan = build(model, [head(), None], input_gradients=True)
    assert kinds(plan) == ["input"] * 3 + ["dense", "concat", "concat", "dense", "loss"]
    assert flags(plan) == [{"NO_BACKWARD"}] * 3 + [set()] * 5
    assert plan.input_gradients == [plan.input_values[0], plan.input_values[1], NONE]
    assert build(model, [head(), None]).input_gradients == [NONE] * 3


def test_z_is_kept_where_the_activation_needs_its_input():
    model = pn.Sequential([pn.Input(4), pn.Dense(20, "gelu"), pn.Dense(20, "tanh"), pn.Dense(3)])
    plan = build(model, [head()])
    z = plan.ops["z"].tolist()
    assert z[1] not in (NONE, plan.ops[1]["y"])
    assert plan.values[z[1]]["width"] == 20
    assert z[2:] == [NONE] * 3
    assert sorted({*plan.ops["y"][:4].tolist(), z[1]}) == list(range(len(plan.values)))


# ---- activations inside the loss ------------------------------------------------------------------------------------


def test_softmax_goes_into_the_loss():
    plan = build(chain_model(), [head(SOFTMAX_LOSS, metrics=[("accuracy_index", "accuracy", 0.0, "logits")])])
    assert kinds(plan) == ["input", "dense", "dense", "loss", "metric"]
    assert plan.ops[2]["act"] == _core.ACTIVATIONS["identity"][0]
    logits = plan.ops[2]["y"]
    assert plan.ops["x"].tolist()[3:] == [logits, logits]
    assert plan.head_values == [logits]
    assert flags(plan)[2:] == [set(), set(), {"NO_BACKWARD", "STOP_X"}]


def test_softmax_stays_where_somebody_reads_it():
    by_metric = build(chain_model(), [head(SOFTMAX_LOSS, metrics=[("mse", "mse", 0.0, "output")])])
    assert kinds(by_metric) == ["input", "dense", "dense", "activation", "loss", "metric"]
    assert flags(by_metric)[3] == {"NO_BACKWARD", "STOP_X"}
    assert by_metric.ops[5]["x"] == by_metric.ops[3]["y"]
    kept = build(chain_model(), [head(SOFTMAX_LOSS)], keep_outputs=True)
    assert kinds(kept) == ["input", "dense", "dense", "activation", "loss"]
    assert kept.outputs.tolist() == [kept.ops[3]["y"]]
    assert kept.head_values == [kept.ops[3]["x"]]


def test_softmax_read_by_another_layer_gets_gradients_from_both_sides():
    x = pn.Input(4)
    p = pn.Dense(3, activation="softmax", name="p")(x)
    model = pn.Model(x, [p, pn.Dense(1)(p)])
    plan = build(model, [head(SOFTMAX_LOSS), head()])
    assert kinds(plan) == ["input", "dense", "activation", "dense", "loss", "loss"]
    assert plan.ops[2]["x"] == plan.ops[4]["x"] == plan.ops[1]["y"]
    # going down: the loss stored d logits, so the activation adds to it
    assert flags(plan) == [{"NO_BACKWARD"}, {"STOP_X"}, {"ADD_X"}, set(), set(), set()]


def test_an_activation_layer_goes_into_the_loss_too():
    model = pn.Sequential([pn.Input(4), pn.Dense(1), pn.Activation("sigmoid")])
    plan = build(model, [head(LossSpec("binary_cross_entropy", 0.0, "sigmoid"))])
    assert kinds(plan) == ["input", "dense", "loss"]
    assert plan.ops[2]["x"] == plan.ops[1]["y"]


def test_a_loss_that_absorbs_another_activation_is_refused():
    with pytest.raises(ValueError, match=r"'dense_2' absorbs 'softmax', but its activation is 'tanh'"):
        build(chain_model("tanh"), [head(SOFTMAX_LOSS)])


def test_two_losses_on_one_value():
    x = pn.Input(4)
    y = pn.Dense(3, name="y")(x)
    model = pn.Model(x, [y, y, pn.Activation("softmax")(y)])
    plan = build(model, [head(), head(LossSpec("mae")), head(SOFTMAX_LOSS)])
    read = plan.ops["x"][plan.ops["kind"] == _core.OPS["loss"]].tolist()
    assert len(set(read)) == 3
    assert plan.head_values == read
    copies = [f for f, kind in zip(flags(plan), kinds(plan), strict=True) if kind == "activation"]
    assert copies == [{"ADD_X"}] * 2


# ---- text -----------------------------------------------------------------------------------------------------------


def test_text_names_everything():
    text = build(chain_model(), [head(SOFTMAX_LOSS)]).text()
    for word in ("plan float32", "dense_1.kernel", "relu", "cross_entropy_index", "NO_BACKWARD", "STOP_X", "outputs: "):
        assert word in text
    assert len(text.splitlines()) == 2 + 4 + 1


def test_a_row_too_wide_for_the_tables_is_refused():
    x = pn.Input(1 << 24)
    with pytest.raises(ValueError, match="too large"):
        pn.Model(x, _tower(x, 260))


def _tower(value, height):
    for _ in range(height):
        value = pn.Activation("relu")(value)
    return value
