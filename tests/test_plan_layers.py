"""Plans of random layers, norms and layers in Python: what is folded into what, what each mode leaves out, and which
layers have a way down.  Worked out by hand."""

import fillings
import nets
import numpy as np
import pytest
from test_plan import SOFTMAX_LOSS, flags, head, kinds, trainable

import pynet as pn
from pynet import _core
from pynet.plan import MODES, NONE, build

ACT = {name: row[0] for name, row in _core.ACTIVATIONS.items()}


def chain(*layers, width=3, **options):
    return pn.Sequential([pn.Input(width), *layers], **options)


def plan(model, mode="train", **options):
    return build(
        model, [head() for _ in model.outputs] if mode not in ("predict", "sample") else None, mode=mode, **options
    )


# ---- dropout -------------------------------------------------------------------------------------------------------


def test_dropout_goes_into_a_relu():
    model = chain(pn.Dense(20, "relu"), pn.Dropout(0.25), pn.Dense(2))
    for mode in ("train", "sample"):
        made = plan(model, mode)
        assert kinds(made)[:3] == ["input", "dense", "dense"]
        assert made.ops["p"][1].tolist() == [0, 0, 0.25]
        assert made.ops["slot"][1] == 2  # its stream is the number of the call of the dropout
        assert made.ops["x"][2] == made.ops["y"][1]
    assert "0.25" in plan(model).text()


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu", None, "rrelu", "softmax"])
def test_dropout_behind_others_is_an_op(activation):
    made = plan(chain(pn.Dense(20, activation), pn.Dropout(0.25), pn.Dense(2)))
    last = kinds(made).index("random", 3 if activation == "rrelu" else 0)
    assert made.ops["act"][last] == _core.RANDOM["dropout"]
    assert made.ops["p"][last].tolist() == [0.25, 0, 0]
    assert not made.ops["p"][1][2]


def test_dropout_is_not_fused_where_the_relu_has_other_readers():
    x = pn.Input(3)
    h = pn.Dense(4, "relu")(x)
    dropped = pn.Dropout(0.5)(h)
    for outputs in ([pn.Add()([dropped, h])], [dropped, h], [dropped, pn.Dense(2)(h)]):
        made = plan(pn.Model(x, outputs))
        assert kinds(made)[1:3] == ["dense", "random"]
        assert not made.ops["p"][1].any()


def test_two_dropouts_on_one_relu_are_two_ops():
    x = pn.Input(3)
    h = pn.Dense(4, "relu")(x)
    made = plan(pn.Model(x, pn.Add()([pn.Dropout(0.5)(h), pn.Dropout(0.5)(h)])))
    assert kinds(made)[1:4] == ["dense", "random", "random"]
    assert len(set(made.ops["slot"][2:4].tolist())) == 2


def test_a_second_dropout_finds_the_first_in_its_place():
    made = plan(chain(pn.Dense(4, "relu"), pn.Dropout(0.5), pn.Dropout(0.1)))
    assert kinds(made)[:3] == ["input", "dense", "random"]
    assert made.ops["p"][1].tolist() == [0, 0, 0.5]
    assert made.ops["p"][2].tolist() == [0.1, 0, 0]
    assert made.ops["slot"][1:3].tolist() == [2, 3]


def test_a_shape_between_relu_and_dropout_does_not_matter():
    made = plan(chain(pn.Dense(4, "relu"), pn.Flatten(), pn.Dropout(0.5)))
    assert kinds(made) == ["input", "dense", "loss"]


def test_every_call_has_a_stream_of_its_own():
    x, shared = pn.Input(3), pn.Dropout(0.5)
    h = pn.Dense(3, "relu")(x)
    made = plan(pn.Model(x, pn.Add()([shared(shared(h)), shared(x)])))
    streams = [int(op["slot"]) for op in made.ops if op["kind"] == _core.OPS["random"] or op["p"][2]]
    assert len(set(streams)) == len(streams) == 3


def test_rates_of_zero_are_no_ops():
    made = plan(chain(pn.Dropout(0.0), pn.GaussianNoise(0), pn.Dense(2)))
    assert kinds(made) == ["input", "dense", "loss"]


# ---- batch norm ----------------------------------------------------------------------------------------------------


def test_batch_norm_goes_into_a_dense_op_with_the_activation_behind_it():
    model = chain(pn.Dense(20), pn.BatchNorm(epsilon=0.5), pn.Activation("leaky_relu"), pn.Dense(2))
    for mode in ("predict", "sample", "score"):
        made = plan(model, mode)
        assert kinds(made)[:3] == ["input", "dense", "dense"]
        op = made.ops[1]
        assert made.param_names[op["w2"]] == "batch_norm_1.gamma"
        assert op["act"] == ACT["leaky_relu"]
        np.testing.assert_allclose(op["p"], [0.01, 0, 0.5])
    assert kinds(plan(model)) == ["input", "dense", "batch_norm", "activation", "dense", "loss"]
    assert kinds(plan(model, "gradients")) == ["input", "dense", "running_norm", "activation", "dense", "loss"]
    p = plan(model).ops["p"][2].tolist()
    assert p == [0.5, 0.9, 0]  # epsilon, momentum
    assert plan(model, "gradients").ops["p"][2].tolist() == [0.5, 0, 0]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([pn.Dense(4, "tanh"), pn.BatchNorm()], ["dense", "running_norm"]),
        ([pn.BatchNorm()], ["running_norm"]),
        ([pn.Dense(4), pn.BatchNorm(), pn.BatchNorm()], ["dense", "running_norm"]),
        ([pn.Dense(4), pn.LayerNorm(), pn.BatchNorm()], ["dense", "row_norm", "running_norm"]),
        ([pn.Dense(4), pn.Dropout(0.5), pn.BatchNorm()], ["dense"]),
        ([pn.Dense(4), pn.BatchNorm(), pn.Dropout(0.5), pn.Activation("relu")], ["dense"]),
        ([pn.Dense(4), pn.BatchNorm(), pn.PReLU()], ["dense", "prelu"]),
        ([pn.Dense(4), pn.BatchNorm(), pn.Activation("relu"), pn.Activation("tanh")], ["dense", "activation"]),
        ([pn.Dense(4), pn.BatchNorm(), pn.Activation("rrelu")], ["dense"]),
        ([pn.Dense(4, trainable=False), pn.BatchNorm(trainable=False)], ["dense"]),
    ],
    ids=lambda x: str(x)[:60],
)
def test_what_prediction_makes_of_batch_norms(layers, expected, monkeypatch):
    monkeypatch.setattr(pn.advice, "_warned", True)
    assert kinds(chain(*layers).plan)[1:] == expected


def test_batch_norm_is_not_folded_where_the_dense_layer_has_other_readers():
    x = pn.Input(3)
    h = pn.Dense(4)(x)
    n = pn.BatchNorm()(h)
    for outputs in ([pn.Add()([n, h])], [n, h], [n, pn.Dense(2)(h)], [n, pn.BatchNorm()(h)]):
        made = pn.Model(x, outputs).plan
        assert kinds(made)[1:3] == ["dense", "running_norm"]
        assert made.ops["w2"][1] == NONE


def test_an_activation_is_not_folded_where_the_norm_has_other_readers():
    x = pn.Input(3)
    n = pn.BatchNorm()(pn.Dense(4)(x))
    made = pn.Model(x, [pn.Activation("relu")(n), n]).plan
    assert kinds(made) == ["input", "dense", "activation"]
    assert made.ops["act"][1] == ACT["identity"]
    assert made.ops["w2"][1] != NONE


def test_a_shared_norm_is_folded_at_every_call():
    x, norm = pn.Input(4), pn.BatchNorm()
    model = pn.Model(x, pn.Add()([norm(pn.Dense(4)(x)), norm(pn.Dense(4)(x))]))
    assert kinds(model.plan) == ["input", "dense", "dense", "add"]
    assert len({*model.plan.ops["w2"][1:3].tolist()}) == 1
    made = plan(model)
    assert flags(made)[kinds(made).index("batch_norm")] == {"ADD_W"}  # going down it comes second


def test_a_folded_norm_with_a_softmax_that_the_loss_absorbs():
    model = chain(pn.Dense(3), pn.BatchNorm(), pn.Activation("softmax"))
    made = build(model, [head(SOFTMAX_LOSS)], mode="score")
    assert kinds(made) == ["input", "dense", "loss"]
    assert made.ops["act"][1] == ACT["identity"]
    kept = build(model, [head(SOFTMAX_LOSS)], mode="score", keep_outputs=True)
    assert kinds(kept) == ["input", "dense", "activation", "loss"]
    assert kinds(model.plan) == ["input", "dense"]
    assert model.plan.ops["act"][1] == ACT["softmax"]


def test_a_frozen_norm_is_a_running_norm_in_training():
    model = chain(pn.Dense(4), pn.BatchNorm(trainable=False), pn.Dense(2))
    made = plan(model)
    assert kinds(made) == ["input", "dense", "running_norm", "dense", "loss"]
    assert trainable(made) == [f"dense_{i}.{p}" for i in (1, 2) for p in ("kernel", "bias")]
    model.get_layer("batch_norm_1").trainable = True
    assert kinds(plan(model))[2] == "batch_norm"
    assert "batch_norm_1.gamma" in trainable(plan(model))
    assert "batch_norm_1.mean" not in trainable(plan(model))
    model.freeze()
    assert kinds(plan(model))[2] == "running_norm"
    assert all("NO_BACKWARD" in row for row in flags(plan(model))[:-1])


def test_center_and_scale_decide_what_trains():
    names = {}
    for center in (True, False):
        for scale in (True, False):
            made = plan(chain(pn.BatchNorm(center=center, scale=scale)))
            assert kinds(made) == ["input", "batch_norm", "loss"]
            names[center, scale] = trainable(made)
    beta, gamma = "batch_norm_1.beta", "batch_norm_1.gamma"
    assert names == {(True, True): [gamma, beta], (True, False): [beta], (False, True): [gamma], (False, False): []}
    made = plan(chain(pn.LayerNorm(center=False, scale=False)), input_gradients=True)
    assert (made.ops["w"][1], made.ops["b"][1], len(made.params)) == (NONE, NONE, 0)


# ---- modes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", nets.NETS)
def test_modes(name):
    """Frozen plans hold nothing random and no statistics of batches; those without a way down no gradient."""
    model = nets.NETS[name]()
    made = {mode: plan(model, mode) for mode in MODES}
    for mode, its in made.items():
        found = set(kinds(its))
        if mode not in ("train", "sample"):
            assert "random" not in found
            dense = its.ops[its.ops["kind"] == _core.OPS["dense"]]
            assert not ((dense["w2"] == NONE) & (dense["p"][:, 2] > 0)).any()
        assert ("batch_norm" in found) <= (mode == "train")
        if mode not in ("train", "gradients"):
            assert {f for row in flags(its) for f in row} <= {"NO_BACKWARD", "STOP_X", "STOP_X2"}
            assert all("NO_BACKWARD" in row for row in flags(its))
            assert "gradient_clip" not in found
        for field in ("offset", "rows", "cols"):
            np.testing.assert_array_equal(its.params[field], model.weights.records[field])
        parameters = [parameter for layer in model.layers for parameter in layer.parameters()]
        for field in ("l1", "l2", "max_norm"):
            np.testing.assert_array_equal(its.params[field], [getattr(parameter, field) for parameter in parameters])
    assert kinds(model.plan) == kinds(made["predict"])
    assert trainable(made["train"]) == trainable(made["gradients"])
    folded = set(trainable(made["train"])) - set(trainable(made["score"]))  # there it says whose penalties count
    assert {name.rpartition(".")[2] for name in folded} <= {"gamma", "beta"}
    assert not trainable(made["predict"]) + trainable(made["sample"])
    assert build(model, fillings.heads(model)).text() == build(model, fillings.heads(model), mode="train").text()


def test_layers_that_do_nothing_leave_no_trace():
    model = chain(pn.Dropout(0.5), pn.GaussianNoise(1), pn.GradientClip(pn.ClipNorm(1)), pn.Flatten(), pn.Dense(2))
    assert kinds(model.plan) == ["input", "dense"]
    assert len(model.plan.values) == 2


def test_a_random_activation_is_its_frozen_one_in_prediction():
    layers = [pn.Dense(4, "noisy_relu"), pn.Activation(pn.activations.RReLU(0.25, 0.75))]
    made = chain(*layers).plan
    acts = made.ops["act"][made.ops["kind"] == _core.OPS["activation"]].tolist()
    assert acts[-2:] == [ACT["relu"], ACT["leaky_relu"]]
    assert made.ops["p"][-1].tolist() == [0.5, 0, 0]
    ops = plan(chain(*layers)).ops
    random = ops[ops["kind"] == _core.OPS["random"]]
    assert random["act"].tolist() == [_core.RANDOM["noisy_relu_sigmoid"], _core.RANDOM["rrelu"]]
    assert random["p"][1].tolist() == [0.25, 0.75, 0]


# ---- the way down --------------------------------------------------------------------------------------------------


def test_frozen_layers_have_no_way_down():
    layers = [pn.LayerNorm(trainable=False), pn.PReLU(trainable=False), pn.LSTM(2, trainable=False)]
    for layer in layers:
        sequence = isinstance(layer, pn.LSTM)
        x = pn.Input((2, 3) if sequence else 3)
        h = layer(x)
        made = plan(pn.Model(x, pn.Dense(2, name="top")(h)))
        assert flags(made)[1] == {"NO_BACKWARD", "STOP_X"}
        assert trainable(made) == ["top.kernel", "top.bias"]
        made = plan(pn.Model(x, pn.Dense(2, name="top")(h)), input_gradients=True)
        assert flags(made)[1] == set()  # passes the gradient on
        assert trainable(made) == ["top.kernel", "top.bias"]


def test_what_is_below_all_parameters_has_no_way_down():
    made = plan(
        chain(pn.GaussianNoise(0.1), pn.InstanceNorm(), pn.Dropout(0.2), pn.PythonLayer(abs, abs, 3), pn.Dense(2))
    )
    assert kinds(made) == ["input", "random", "row_norm", "random", "python", "dense", "loss"]
    assert flags(made)[1:6] == [{"NO_BACKWARD", "STOP_X"}] * 4 + [{"STOP_X"}]


def test_lstm_and_its_mask():
    x, mask = pn.Input((4, 3)), pn.Input(4, name="mask")
    cell = pn.LSTM(5, return_sequences=True)
    made = plan(pn.Model([x, mask], pn.LSTM(2)([cell([x, mask]), mask])), input_gradients=True)
    assert kinds(made) == ["input", "input", "lstm", "lstm", "loss"]
    first, second = made.ops[2], made.ops[3]
    assert first["x2"] == second["x2"] == made.input_values[1]
    assert first["at"] == second["at"] == 4
    assert [made.param_names[first[f]] for f in ("w", "w2", "b")] == [
        f"lstm_1.{p}" for p in ("kernel", "recurrent_kernel", "bias")
    ]
    assert made.values["width"][first["y"]] == 20
    assert made.values["width"][second["y"]] == 2
    assert flags(made)[2:4] == [{"STOP_X2"}] * 2
    assert made.input_gradients == [made.input_values[0], NONE]


def test_functions_stand_at_their_ops():
    layer = pn.PythonLayer(np.sin, lambda x, y, dy: dy * np.cos(x), 4)
    function = pn.activations.Function(np.sin, np.cos)
    model = chain(pn.Dense(4, function), layer, pn.Activation(function), layer)
    for mode in MODES:
        made = plan(model, mode)
        at = [i for i, kind in enumerate(kinds(made)) if kind == "python"]
        assert list(made.functions) == at
        assert list(made.functions.values()) == [function, layer, function, layer]


def test_max_norm_and_rates_reach_the_parameters():
    model = chain(pn.Dense(4, max_norm=0.5), pn.Dense(2))
    model.get_layer("dense_2").rate_factor = 0.25
    made = plan(model)
    assert made.params["max_norm"].tolist() == [0.5, 0, 0, 0]
    assert made.params["rate"].tolist() == [1, 1, 0.25, 0.25]


def test_any_values_of_the_graph_may_be_predicted():
    """As recalibration does."""
    x = pn.Input(3)
    h = pn.Dense(4, "relu")(x)
    model = pn.Model(x, pn.Dense(2)(pn.Dropout(0.5)(h)))
    made = build(model, outputs=[h, x.output])
    assert kinds(made) == ["input", "dense"]
    assert made.values["width"][made.outputs].tolist() == [4, 3]
