"""Files of every kind of layer: the same bits come back; files of the first version; and descriptions from anybody."""

import copy
import pickle
import tracemalloc
from pathlib import Path

import fillings
import helpers
import nets
import numpy as np
import pytest
from tensors import assert_same

import pynet as pn
from pynet.compact_dense import compact_names
from pynet.restore import model_from_config

KEPT = [name for name in nets.NETS if name not in ("escapes", "everything")]  # these hold Python functions


def trained(name, dtype="float32"):
    """A model and its trainer after a few steps, and data."""
    model, rng = nets.NETS[name](dtype), np.random.default_rng(0)
    X, y = fillings.arrays(model, 20, rng), fillings.targets(model, 20, rng)
    X, y = (arrays if len(arrays) > 1 else arrays[0] for arrays in (X, y))
    trainer = pn.Trainer(model, "mse", pn.Adam(0.01), random_state=5)
    trainer.fit(X, y, epochs=2, batch_size=8, verbose=0)
    return trainer, X, y


def outputs(model, X, **options):
    found = model.predict(X, **options)
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("name", KEPT)
def test_the_same_bits_come_back(name, tmp_path, dtype):
    trainer, X, y = trained(name, dtype)
    model = trainer.model
    model.save(tmp_path / "m")
    loaded, compact = pn.load(tmp_path / "m"), compact_names(model)
    others = [loaded.compact(compact) if compact else loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    for other in others:
        assert_same(other.state_dict(), model.state_dict())
        assert other.config() == model.config()
        helpers.assert_same_bits(other.arena, model.arena)
        for field in ("ops", "values", "params"):
            np.testing.assert_array_equal(getattr(other.plan, field), getattr(model.plan, field))
        for backend in ("c", "numpy"):
            pairs = zip(outputs(other, X, backend=backend), outputs(model, X, backend=backend), strict=True)
            for one, two in pairs:
                helpers.assert_same_bits(one, two)
    others[0].save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()
    steps = [pn.Trainer(m, "mse", pn.SGD(0.01), random_state=1) for m in (model, *others)]
    for t in steps:  # trained on, all draw the same numbers, move and keep the same parameters
        t.fit(X, y, epochs=1, batch_size=8, verbose=0)
        helpers.assert_same_bits(t.model.arena, model.arena)


@pytest.mark.parametrize(
    "name",
    [
        "batch_norm_half_frozen",
        "dropout_twice",
        "lstm_masked",
        "frozen_rows",
        "bounded",
        "rates",
        "pruned",
        "compact",
        "compact_in_lanes",
    ],
)
def test_checkpoints(name, tmp_path):
    trainer, X, y = trained(name)
    trainer.save_checkpoint(tmp_path / "c")
    resumed = pn.Trainer.resume(tmp_path / "c")
    for t in (trainer, resumed):
        t.fit(X, y, epochs=2, batch_size=8, verbose=0)
    helpers.assert_same_bits(resumed.model.arena, trainer.model.arena)
    assert resumed.history.history == trainer.history.history


def test_a_file_names_layers_and_their_options_only():
    """Nothing of a file is code: its texts are names of layers, activations, initializers, clips."""

    def texts(entry):
        if isinstance(entry, dict):
            return [t for value in entry.values() for t in texts(value)]
        if isinstance(entry, list):
            return [t for value in entry for t in texts(value)]
        return [entry] if isinstance(entry, str) else []

    found = {t for name in KEPT for layer in nets.NETS[name]().config()["layers"] for t in texts(layer["params"])}
    tables = (pn.activations.TABLE, pn.activations.RANDOM, pn.initializers.TABLE, pn.clip.TABLE)
    assert found <= {name for table in tables for name in table} | {"fan_in", "fan_avg"}
    assert {"noisy_relu", "rrelu", "clip_norm", "orthogonal"} <= found


# ---- the first version ---------------------------------------------------------------------------------------------

OLD = Path(__file__).parent / "data" / "first_version.model"  # a checkpoint, written before there were norms
X_OLD = np.arange(6.0).reshape(2, 3) / 4 - 0.5
SAID = [[0.5961173176765442, 0.4038826823234558], [0.21385695040225983, 0.7861430644989014]]
SAID_NEXT = [[0.6506668329238892, 0.34933310747146606], [0.17972910404205322, 0.8202708959579468]]


def test_files_of_the_first_version():
    """They predict and train on as they did then."""
    model = pn.load(OLD)
    assert model.metadata == {"note": "written before there were norms"}
    helpers.assert_close(model.predict(X_OLD)[0], np.array(SAID), 1e-6)
    assert [layer.trainable for layer in model.layers].count(False) == 2  # the input, and a layer that was frozen
    assert {layer.rate_factor for layer in model.layers} == {1.0}
    assert model.get_layer("hidden").max_norm is None
    trainer = pn.Trainer.resume(OLD)
    trainer.fit(np.tile(X_OLD, (8, 1)), np.arange(16) % 2, epochs=1, batch_size=5, verbose=0)
    helpers.assert_close(trainer.model.predict(X_OLD)[0], np.array(SAID_NEXT), 1e-5)


# ---- from anybody --------------------------------------------------------------------------------------------------


def graph(kind, shape=3, masked=False, **params):
    """The description of an input, a layer of a kind, and perhaps a mask."""
    layers = [
        {"class": "Input", "name": "x", "params": {"shape": shape}},
        {"class": kind, "name": "it", "params": params},
    ]
    calls = [{"layer": 0, "inputs": []}, {"layer": 1, "inputs": [0]}]
    inputs = [0]
    if masked:
        layers.append({"class": "Input", "name": "mask", "params": {"shape": masked}})
        calls = [calls[0], {"layer": 2, "inputs": []}, {"layer": 1, "inputs": [0, 1]}]
        inputs = [0, 1]
    return {
        "format_version": 1, "name": None, "dtype": "float32", "layers": layers, "calls": calls, "inputs": inputs,
        "outputs": [len(calls) - 1],
    }  # fmt: skip


HUGE = 1 << 24
SEQ = [4, 2]
HOSTILE = [
    (graph("Dropout"), "rate|argument"),
    (graph("Dropout", rate="0.5"), "rate of Dropout must be a number, got str"),
    (graph("Dropout", rate=1), "rate of Dropout must be >= 0 and < 1"),
    (graph("Dropout", rate=[0.5]), "rate of Dropout must be a number, got list"),
    (graph("Dropout", rate=float("nan")), "rate of Dropout must be finite"),
    (graph("Dropout", rate=10**400), "too large"),
    (graph("Dropout", rate=0.5, seed=1), "unknown entry 'seed'"),
    (graph("GaussianNoise", stddev=-1), "stddev"),
    (graph("GaussianNoise", stddev=None), "stddev of GaussianNoise must be a number, got NoneType"),
    (graph("BatchNorm", momentum=2), "momentum of BatchNorm"),
    (graph("BatchNorm", epsilon=0), "epsilon of BatchNorm"),
    (graph("BatchNorm", center="yes"), "center must be True or False"),
    (graph("BatchNorm", width=7), "unknown entry 'width'"),
    (graph("BatchNorm", SEQ), "takes rows of features"),
    (graph("BatchNorm", HUGE), "missing"),
    (graph("LayerNorm", HUGE), "missing"),
    (graph("PReLU", HUGE), "missing"),
    (graph("LSTM", [2, 16], units=1 << 14), "too large|missing"),
    (graph("LayerNorm", epsilon={}), "epsilon of LayerNorm must be a number, got dict"),
    (graph("InstanceNorm", center=True), "unknown entry 'center'"),
    (graph("PReLU", initial="x"), "initial of PReLU"),
    (graph("PReLU", shared=0), "shared must be True or False"),
    (graph("GradientClip"), "clip|argument"),
    (graph("GradientClip", clip=None), "must be one of pn.ClipNorm"),
    (graph("GradientClip", clip={"name": "clip_norm", "c": -1}), "c must be"),
    (graph("GradientClip", clip={"name": "__class__"}), "unknown clip '__class__'"),
    (graph("GradientClip", clip=[{"name": "clip_norm", "c": 1}] * 2), "must be one of"),
    (graph("Flatten", shape=3, steps=2), "unknown entry 'steps'"),
    (graph("LSTM", SEQ), "units|argument"),
    (graph("LSTM", SEQ, units=0), "units of LSTM"),
    (graph("LSTM", SEQ, units=2.0), "units of LSTM must be an integer"),
    (graph("LSTM", SEQ, units=1 << 21), "units of LSTM must be in 1..1048576"),
    (graph("LSTM", SEQ, units=1 << 20), "too large|missing|keeps"),
    (graph("LSTM", [HUGE, 1], units=1000), "too large|keeps"),
    (graph("LSTM", [HUGE, 1], units=1, return_sequences=True), "too large|keeps"),
    (graph("LSTM", [1, HUGE], units=64), "too large|missing"),
    (graph("LSTM", SEQ, units=2, return_sequences="x"), "return_sequences must be True or False"),
    (graph("LSTM", SEQ, units=2, kernel_initializer="eval"), "unknown initializer 'eval'"),
    (graph("LSTM", SEQ, units=2, kernel_initializer={"name": "he_normal", "x": 1}), "no parameter 'x'"),
    (graph("LSTM", SEQ, units=2, forget_bias=[1]), "forget_bias must be a number"),
    (graph("LSTM", SEQ, units=2, l2=-1), "l2 must be finite"),
    (graph("LSTM", 8, units=2), "takes a sequence of shape"),
    (graph("LSTM", SEQ, masked=3, units=2), r"the mask of LSTM\(2, it\) must have shape \(4,\), .* got \(3,\)"),
    (graph("LSTM", SEQ, masked=[4, 1], units=2), r"the mask .* got \(4, 1\)"),
    (graph("BatchNorm", 3, masked=3), "layer 'it' takes one input, got 2"),
    (graph("Dropout", 3, masked=3, rate=0.5), "layer 'it' takes one input, got 2"),
    (graph("Dense", units=2, max_norm=0), "max_norm must be finite and > 0"),
    (graph("Dense", units=2, max_norm="x"), "max_norm must be a number"),
    (graph("Dense", units=2, activation={"name": "rrelu", "lower": 2, "upper": 1}), "rrelu upper"),
    (graph("Dense", units=2, activation={"name": "noisy_relu", "scale": 0}), "noisy_relu scale"),
    (graph("Input", shape=3, steps=1), "unknown entry 'steps'"),
    (graph("Dropout", [1, 2, 3], rate=0.5), "shape of Input must be the number of features"),
    (graph("Dropout", [HUGE, 2], rate=0.5), "shape of Input must have at most"),
    (graph("Residual", layers=[]), "unknown class"),
    (graph("PythonLayer", output_size=3), "unknown class"),
    (graph("Layer"), "unknown class"),
    (graph("_Norm"), "unknown class"),
]


@pytest.mark.parametrize(("config", "text"), HOSTILE, ids=lambda value: str(value)[-40:])
def test_hostile_descriptions(config, text):
    """A ValueError, whatever is wrong, before memory of the size that is claimed is taken."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=text):
            model_from_config(config, {})
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_good_descriptions_are_taken():
    """Else the tables above would prove nothing."""
    good = [
        graph("Dropout", rate=0.5), graph("GaussianNoise", stddev=1), graph("BatchNorm", momentum=1, epsilon=1e-3),
        graph("LayerNorm", center=False), graph("InstanceNorm", epsilon=0.1), graph("PReLU", shared=True),
        graph("GradientClip", clip={"name": "clip_norm", "c": 1}), graph("Flatten", SEQ), graph("LSTM", SEQ, units=2),
        graph("LSTM", SEQ, masked=4, units=2), graph("Dense", units=2, max_norm=1.5),
        graph("Dense", units=2, activation={"name": "noisy_relu", "scale": None}),
    ]  # fmt: skip
    for config in good:
        model = model_from_config(config)
        assert model_from_config(model.config(), model.state_dict()).config() == model.config()
