"""A recurrent network step by step: `to_c(..., stream=True)`."""

import c_programs
import helpers
import nets
import numpy as np
import pytest
from c_cases import is_python
from c_programs import CXX, C, run

import pynet as pn
from pynet import _core
from pynet.export import c_vectors

ROWS = 8
WHOLE = {  # nets that cannot be a stream, and why
    "lstm_stacked": "layer 'dense_1' needs all steps of a sequence at once",
    "lstm_shared": "layer 'dense_1' needs all steps of a sequence at once",
    "sequences_beside_wide_layers": "layer 'dense_1' needs all steps of a sequence at once",
    "sequences": "the numbers of layer 'prelu_1' are not the same for all steps",
}


@nets.net_of((4, 3), mask=True)
def scaled(x, mask):
    """Slopes and an add of steps, several readers of a state, a row beside the sequence."""
    h = pn.PReLU(shared=True)(pn.LSTM(3, return_sequences=True)([pn.Activation("tanh")(x), mask]))
    h = pn.Add()([pn.LSTM(3, return_sequences=True)([h, mask]), h])
    last = pn.LSTM(2)([h, mask])
    return [h, pn.Concat()([last, pn.Dense(35, "relu")(last), last]), last, last]


def recurrent(dtype) -> dict:
    """All nets with an LSTM."""
    made = {name: make(dtype) for name, make in nets.NETS.items()}
    return {
        name: model
        for name, model in made.items()
        if _core.OPS["lstm"] in model.plan.ops["kind"] and not is_python(model)
    } | {"scaled": scaled(dtype)}


@pytest.mark.parametrize(
    ("dtype", "options", "flags"),
    [("float32", {}, (*C, "-O2")), ("float64", {"math": False, "wide": False, "scratch": "static"}, (*CXX, "-O0"))],
)
def test_agreement(dtype, options, flags, tmp_path):
    """After the last step the results are those of the whole sequence; a sequence comes out step by step."""
    models = {name: model for name, model in recurrent(dtype).items() if name not in WHOLE}
    assert len(models) >= 7
    made = c_programs.Program(tmp_path, models, stream=True, tests=2, **options)
    binary = made.binary("cc", *flags)
    assert made.selftests(binary) == dict.fromkeys(models, 0)
    rows = {name: c_vectors.random_rows(model, ROWS, 3) for name, model in models.items()}
    for name, outputs in made.follow(binary, rows).items():
        expected, tolerance = c_vectors.tolerances(models[name], rows[name])
        for y, truth, bound in zip(outputs, expected, tolerance, strict=True):
            whole = y.reshape(ROWS, -1) if truth.shape[1] > y.shape[2] else y[:, -1]
            helpers.assert_within(whole, truth, bound[:, None], name)


def test_results_are_those_of_the_sequence_so_far(tmp_path):
    """After t steps they are what the network of t steps makes of the first t."""
    models = {}
    cells, last = pn.LSTM(4, return_sequences=True), pn.LSTM(3)
    head = pn.Dense(2, "softmax")
    for steps in (5, 1, 2, 3, 4):
        x = pn.Input((steps, 2), scale=[0.5, 2.0])
        models[steps] = pn.Model(x, head(last(cells(x))))
    made = c_programs.Program(tmp_path, {"net": models[5]}, stream=True, tests=1)
    X = np.random.default_rng(0).normal(size=(6, 5, 2)).astype(np.float32)
    (y,) = made.follow(made.binary("cc", *C, "-O1"), {"net": [X.reshape(6, 10)]})["net"]
    for steps, model in models.items():
        model.load_state_dict(models[5].state_dict() | {k: v for k, v in model.state_dict().items() if "input" in k})
        np.testing.assert_allclose(y[:, steps - 1], model.predict(X[:, :steps]), atol=1e-6)


@pytest.mark.parametrize("name", WHOLE)
def test_what_needs_all_steps(name, tmp_path):
    model = nets.NETS[name]("float32")
    for call in (lambda: pn.export.to_c(model, tmp_path / "n.c", stream=True), lambda: model.footprint(stream=True)):
        with pytest.raises(ValueError, match=f"stream: {WHOLE[name]}"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_no_stream(tmp_path):
    x, z = pn.Input((3, 2)), pn.Input((4, 2))
    varied = pn.Sequential([pn.Input((2, 2), scale=[[1.0, 2.0], [3.0, 4.0]], name="x"), pn.LSTM(1)])
    for model, text in (
        (pn.Sequential([pn.Input(2), pn.Dense(1)]), "must have LSTM layers, all of them over the same number of steps"),
        (pn.Model([x, z], [pn.LSTM(1)(x), pn.LSTM(1)(z)]), "must have LSTM layers"),
        (varied, "the numbers of layer 'x' are not the same for all steps"),
    ):
        with pytest.raises(ValueError, match=f"stream: .*{text}"):
            pn.export.to_c(model, tmp_path / "net.c", stream=True)
    assert list(tmp_path.iterdir()) == []


def test_footprint_of_a_stream():
    """Of one step: states and gates, no sequence."""
    need = pn.Sequential([pn.Input((50, 3)), pn.LSTM(4)]).footprint(stream=True)
    assert need.macs == (3 + 4) * 16
    assert need.ram == 4 * (4 * 4 + 2 * 4)
    assert need.ends == 4 * (3 + 4)


def test_the_command(tmp_path, monkeypatch):
    from pynet import cli

    monkeypatch.chdir(tmp_path)
    pn.Sequential([pn.Input((4, 2)), pn.LSTM(3), pn.Dense(1)]).save("m.safetensors")
    assert cli.main(["export", "m.safetensors", "--c", "net.c", "--stream"]) == 0
    assert "void net_step(const float *x, float *y, float *state, float *scratch);" in (tmp_path / "net.h").read_text()
    run("cc", *C, "-c", "net.c")
