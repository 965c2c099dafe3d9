"""Layers where it hurts: blocks of layers, files that claim impossible widths, rates of 0, layers no file can carry."""

import tracemalloc

import numpy as np
import pytest

import pynet as pn
from pynet.restore import model_from_config

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 4)).astype(np.float32)
Y = RNG.standard_normal((12, 3)).astype(np.float32)


# ---- Residual ----------------------------------------------------------------------------------------------------


def test_a_projection_is_not_left_out_because_the_value_is_a_sequence():
    block = pn.Residual([pn.LSTM(3, return_sequences=True)], projection=True)
    with pytest.raises(ValueError, match=r"a projection takes rows of features .* got \(2, 3\) and \(2, 3\)"):
        block(pn.Input((2, 3)))


def test_penalties_of_a_block_reach_the_blocks_inside_it():
    own, inner, outer = pn.Dense(4, l2=0.5), pn.Dense(4), pn.Dense(4)
    x = pn.Input(4)
    nested = pn.Residual([own, inner], projection=True, l1=0.25)
    value = pn.Residual([nested, outer], l1=0.125, l2=0.1, max_norm=2.0)(x)
    shortcut = next(v.layer for v in value.inputs[1].inputs[0].inputs if isinstance(v.layer, pn.Dense))
    assert shortcut is nested.shortcut
    for layer, expected in ((own, (0.25, 0.5)), (inner, (0.25, 0.1)), (shortcut, (0.25, 0.1)), (outer, (0.125, 0.1))):
        assert (layer.l1, layer.l2, layer.max_norm) == (*expected, 2.0)


# ---- what a file may claim ---------------------------------------------------------------------------------------

HUGE = 1 << 24


@pytest.mark.parametrize(
    ("layer", "width"),
    [
        ({"class": "BatchNorm", "params": {}}, HUGE),
        ({"class": "LayerNorm", "params": {}}, HUGE),
        ({"class": "PReLU", "params": {}}, HUGE),
    ],
)
def test_a_file_that_claims_a_huge_layer_costs_no_memory(layer, width):
    layers = [{"class": "Input", "name": "x", "params": {"shape": width}}, {**layer, "name": "huge"}]
    calls = [{"layer": 0, "inputs": []}, {"layer": 1, "inputs": [0]}]
    config = {"format_version": 1, "name": None, "dtype": "float32", "layers": layers, "calls": calls}
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="parameters are missing"):
            model_from_config(config | {"inputs": [0], "outputs": [1]}, {})
        assert tracemalloc.get_traced_memory()[1] < 1 << 22  # one vector of 2^24 numbers would take 2^26
    finally:
        tracemalloc.stop()


def test_first_values_are_what_the_layers_say():
    x = pn.Input((3, 2))
    model = pn.Model(x, pn.PReLU(0.5)(pn.BatchNorm()(pn.LSTM(2, forget_bias=3.0)(x))))
    found = model.parameters()
    np.testing.assert_array_equal(found["lstm_1.bias"], [0, 0, 3, 3, 0, 0, 0, 0])
    expected = {"gamma": 1, "beta": 0, "mean": 0, "variance": 1}
    assert {name: found[f"batch_norm_1.{name}"].tolist() for name in expected} == {
        k: [v] * 2 for k, v in expected.items()
    }
    np.testing.assert_array_equal(found["prelu_1.alpha"], [0.5, 0.5])


def test_an_lstm_too_large_for_a_plan_says_so():
    with pytest.raises(ValueError, match=r"LSTM\(1024\) over 5000 steps keeps 30722064 numbers a row, the most is 167"):
        pn.Sequential([pn.Input((5000, 4)), pn.LSTM(1024)])


# ---- training ----------------------------------------------------------------------------------------------------

OPTIMIZERS = ["sgd", "adam", pn.AdamW(0.1), "rmsprop", "adagrad", "rprop"]


@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_rate_factor_of_0_is_no_step_with_any_optimizer(optimizer, backend):
    model = pn.Sequential([pn.Input(4), pn.Dense(5, activation="tanh"), pn.Dense(3)])
    model.layers[1].rate_factor = 0.0
    before = model.parameters()
    trainer = pn.Trainer(model, "mse", optimizer, backend=backend)
    for k in range(8):
        trainer.train_on_batch(X[k : k + 4], Y[k : k + 4])
    moved = {name: bool((array != before[name]).any()) for name, array in model.parameters().items()}
    assert moved == {name: name.startswith("dense_2") for name in before}


def test_a_checkpoint_that_no_file_can_carry_is_refused_before_the_first_step(tmp_path):
    layer = pn.PythonLayer(np.sin, lambda x, y, dy: dy * np.cos(x), 3)
    trainer = pn.Trainer(pn.Sequential([pn.Input(4), pn.Dense(3), layer]), "mse")
    with pytest.raises(ValueError, match="which no file can carry"):
        trainer.fit(X, Y, epochs=2, verbose=0, callbacks=[pn.ModelCheckpoint(tmp_path / "net.safetensors")])
    assert trainer.step == 0


def test_samples_need_a_backend_that_there_is():
    model = pn.Sequential([pn.Input(4), pn.Dropout(0.5), pn.Dense(3)])
    with pytest.raises(ValueError, match="unknown backend 'cuda'"):
        model.predict(X, mc_samples=2, backend="cuda")


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_a_rate_that_changes_between_two_fits_counts(backend):
    def losses(change):
        layers = [pn.Input(4), pn.Dropout(0.5), pn.GaussianNoise(1.0), pn.BatchNorm(momentum=1.0), pn.Dense(3)]
        model = pn.Sequential(layers)
        trainer = pn.Trainer(model, "mse", pn.SGD(0.0), backend=backend)
        trainer.train_on_batch(X, Y)
        change(layers)
        trainer.step = 0  # the numbers of the first step again
        loss = trainer.train_on_batch(X, Y)["loss"]
        return loss, trainer.gradients(X, Y)["dense_1.kernel"].sum()

    def quiet(layers):
        layers[1].rate = 0.0

    def silent(layers):
        quiet(layers)
        layers[2].stddev = 0.0

    def moving(layers):
        layers[3].momentum = 0.0

    same, (no_dropout, _), (no_noise, _), moved = (losses(f) for f in (lambda layers: None, quiet, silent, moving))
    assert len({same[0], no_dropout, no_noise}) == 3
    assert moved[0] == same[0]
    assert moved[1] != same[1]  # other running statistics
