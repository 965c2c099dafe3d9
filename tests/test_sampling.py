"""Monte Carlo dropout: mean and deviation of samples, and the warning about dropout in front of batch norm."""

import math
import subprocess
import sys
import warnings
from pathlib import Path

import draws
import fillings
import helpers
import nets
import numpy as np
import pytest
from helpers import Executor

import pynet as pn
from pynet import advice

BACKENDS = ("c", "numpy")
SAMPLED = ["dropout_fused", "dropout_twice", "noise", "noisy_relu_of_the_paper", "rrelu", "everything", "sequences"]
X = np.random.default_rng(0).normal(size=(30, 4))


def net(dtype="float32"):
    layers = [pn.Dense(9, use_bias=False), pn.BatchNorm(), pn.Activation("relu"), pn.Dropout(0.4), pn.Dense(3)]
    return fillings.scrambled(pn.Sequential([pn.Input(4), *layers], dtype=dtype))


def as_list(outputs):
    return outputs if isinstance(outputs, list) else [outputs]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SAMPLED)
def test_mean_and_deviation_of_single_samples(name, backend, dtype):
    """Sample k draws as step k does; the deviation is that of the samples, divided by their number."""
    model = nets.NETS[name](dtype)
    arrays = fillings.arrays(model, 11, np.random.default_rng(0))
    X = arrays if len(arrays) > 1 else arrays[0]
    before = model.arena.copy()
    options = {"mc_samples": 6, "random_state": 77, "backend": backend}
    mean, deviation = model.predict(X, return_std=True, **options)
    executor = helpers.NUMPY if backend == "numpy" else Executor(helpers.ISAS[-1], 1)
    singles = [draws.draw_all(model, arrays, 77, step, executor) for step in range(6)]
    outputs = zip(as_list(mean), as_list(deviation), zip(*singles, strict=True), strict=True)
    for m, s, each in outputs:
        each = np.stack(each).astype(np.float64).reshape(6, *m.shape)
        assert m.dtype == s.dtype == dtype
        assert np.ptp(each, axis=0).max() > 0.01  # they differ
        helpers.assert_close(m, each.mean(axis=0), 4 * np.finfo(dtype).eps)
        helpers.assert_close(s, np.sqrt(((each - each.mean(axis=0)) ** 2).mean(axis=0)), 16 * np.finfo(dtype).eps)
    helpers.assert_same_bits(model.arena, before)
    for one, other in zip(as_list(model.predict(X, **options)), as_list(mean), strict=True):
        helpers.assert_same_bits(one, other, "without return_std")


def test_dropout_by_theory():
    """y = sum_i w_i x_i d_i / (1 - p): mean w x, variance p / (1 - p) sum (w_i x_i)^2."""
    model = pn.Sequential([pn.Input(50), pn.Dropout(0.25), pn.Dense(1, use_bias=False)], dtype="float64")
    w, x = model.parameters()["dense_1.kernel"], np.random.default_rng(0).normal(size=(8, 50))
    n = 4000
    mean, deviation = model.predict(x, mc_samples=n, return_std=True)
    spread = np.sqrt(1 / 3 * ((x * w.T) ** 2).sum(axis=1, keepdims=True))
    bound = draws.quantile(16)
    helpers.assert_within(mean, x @ w, bound * spread / math.sqrt(n))
    helpers.assert_within(deviation / spread, np.ones((8, 1)), bound / math.sqrt(2 * n))
    helpers.assert_close(model.predict(x), x @ w, 1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_layers_that_are_random_are_at_work(backend):
    """Batch norms stay frozen: with all that is random taken out, a sample is the prediction."""
    x = pn.Input(4)
    norm = pn.BatchNorm()(pn.Dense(5)(x))
    model = pn.Model(x, [norm, pn.Dropout(0.5)(norm)])
    plain, sampled = model.predict(X, mc_samples=3, backend=backend)
    helpers.assert_close(plain, model.predict(X)[0], 1e-6)
    assert helpers.distance(sampled, plain) > 0.1
    _, (zero, spread) = model.predict(X, mc_samples=3, return_std=True, backend=backend)
    assert not zero.any()
    assert spread.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sample_does_not_depend_on_batches_and_threads(backend):
    model, options = net(), {"mc_samples": 4, "return_std": True, "random_state": 3, "backend": backend}
    expected = model.predict(X, **options)
    before = pn.get_num_threads()
    try:
        for batch_size, threads in ((1, 1), (3, 2), (7, 3), (8, 1), (29, 2), (1000, 1)):
            pn.set_num_threads(threads)
            for one, other in zip(model.predict(X, batch_size=batch_size, **options), expected, strict=True):
                if backend == "c":
                    helpers.assert_same_bits(one, other, f"batch_size {batch_size}")
                else:  # of NumPy's products the bits depend on the batch
                    helpers.assert_close(one, other, 1e-6)
    finally:
        pn.set_num_threads(before)
    assert helpers.distance(model.predict(X, **options | {"random_state": 4})[0], expected[0]) > 1e-3
    few = model.predict(X[:9], **options)
    helpers.assert_close(few[0], expected[0][:9], 1e-6)


def test_out_and_no_rows():
    model = net()
    expected = model.predict(X, mc_samples=3, return_std=True)
    out = np.empty((30, 3), "f4")
    mean, deviation = model.predict(X, mc_samples=3, return_std=True, out=out)
    assert mean is out
    helpers.assert_same_bits(mean, expected[0])
    helpers.assert_same_bits(deviation, expected[1])
    assert [y.shape for y in model.predict(X[:0], mc_samples=3, return_std=True)] == [(0, 3)] * 2
    assert not model.predict(X, mc_samples=1, return_std=True)[1].any()
    sequence = nets.NETS["lstm_stacked"]()
    noisy = pn.Model(sequence.inputs, pn.GaussianNoise(1.0)(sequence.outputs[0]))
    mean, deviation = noisy.predict(np.zeros((5, 3, 2)), mc_samples=2, return_std=True)
    assert mean.shape == deviation.shape == (5, 3, 2)


PLAIN = pn.Sequential([pn.Input(4), pn.Dense(3), pn.BatchNorm(), pn.Dropout(0.0), pn.GaussianNoise(0.0)])
WRONG = [
    (net, {"return_std": True}, ValueError, "return_std needs mc_samples"),
    (net, {"mc_samples": 0}, ValueError, "mc_samples must be >= 1, got 0"),
    (net, {"mc_samples": 2.5}, TypeError, "mc_samples must be an integer, got float 2.5"),
    (net, {"mc_samples": True}, TypeError, "mc_samples must be an integer, got bool"),
    (net, {"mc_samples": 2, "return_std": 1}, TypeError, "return_std must be True or False, got int 1"),
    (net, {"mc_samples": 2, "random_state": -1}, ValueError, "random_state must be in 0..18446744073709551615, got -1"),
    (net, {"mc_samples": 2, "random_state": None}, TypeError, "random_state must be an integer"),
    (net, {"mc_samples": 2, "batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
    (net, {"mc_samples": 2, "backend": "cuda"}, ValueError, "unknown backend 'cuda'"),
    (net, {"mc_samples": 2, "out": np.empty((30, 2), "f4")}, ValueError, r"out must have shape \(30, 3\)"),
    (net, {"mc_samples": 2, "X": X[:, :3]}, ValueError, r"X must have shape \[N, 4\], got \(30, 3\)"),
    (lambda: PLAIN, {"mc_samples": 2}, ValueError, "mc_samples: nothing in the model is random"),
]


@pytest.mark.parametrize(("make", "options", "error", "text"), WRONG)
def test_errors(make, options, error, text):
    model = make()
    with pytest.raises(error, match=text):
        model.predict(**{"X": X} | options)
    assert model.predict(X).shape == (30, 3)


# ---- the warning ---------------------------------------------------------------------------------------------------

BEFORE = {
    "at once": [pn.Dropout(0.5), pn.BatchNorm()],
    "a dense layer between": [pn.Dropout(0.5), pn.Dense(3), pn.BatchNorm()],
    "activations between": [pn.Dropout(0.1), pn.Dense(3, "tanh"), pn.Activation("relu"), pn.Dense(2), pn.BatchNorm()],
}
BEHIND = {
    "behind": [pn.Dense(3), pn.BatchNorm(), pn.Dropout(0.5)],
    "behind, then a dense layer": [pn.BatchNorm(), pn.Dropout(0.5), pn.Dense(3)],
    "rate 0": [pn.Dropout(0.0), pn.BatchNorm()],
    "a norm between": [pn.Dropout(0.5), pn.LayerNorm(), pn.BatchNorm()],
    "no batch norm": [pn.Dropout(0.5), pn.LayerNorm()],
    "noise": [pn.GaussianNoise(0.5), pn.BatchNorm()],
}


@pytest.mark.parametrize("case", BEFORE)
def test_dropout_in_front_of_batch_norm_is_warned_of_once(case, monkeypatch):
    monkeypatch.setattr(advice, "_warned", False)
    text = r"dropout Dropout\(0.\d\) in front of batch norm BatchNorm\(\).*arXiv:1801.05134"
    with pytest.warns(UserWarning, match=text) as caught:
        pn.Sequential([pn.Input(3), *BEFORE[case]])
    assert [Path(w.filename).name for w in caught] == [Path(__file__).name]  # the line that made the model
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pn.Sequential([pn.Input(3), *BEFORE[case]])
    assert not caught


@pytest.mark.parametrize("case", BEHIND)
def test_dropout_elsewhere_is_not(case, monkeypatch):
    monkeypatch.setattr(advice, "_warned", False)
    pn.Sequential([pn.Input(3), *BEHIND[case]])  # a warning would be an error here
    assert not advice._warned


def test_once_in_the_life_of_a_process():
    script = """
import pynet as pn
for _ in range(3):
    pn.Sequential([pn.Input(3), pn.Dropout(0.5), pn.BatchNorm()])
"""
    done = subprocess.run([sys.executable, "-W", "always", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.count("arXiv:1801.05134") == 1
