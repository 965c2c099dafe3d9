"""Initial values: their variances, the refusal of constants, and their independence of everything but the place."""

import math

import numpy as np
import pytest

from pynet import activations, initializers, philox

SHAPE = (300, 200)
FANS = {"fan_in": 300, "fan_out": 200, "fan_avg": 250}
NAMED = {
    "xavier_uniform": ("uniform", 1.0, "fan_avg"),
    "xavier_normal": ("normal", 1.0, "fan_avg"),
    "he_uniform": ("uniform", 2.0, "fan_in"),
    "he_normal": ("normal", 2.0, "fan_in"),
    "lecun_uniform": ("uniform", 1.0, "fan_in"),
    "lecun_normal": ("normal", 1.0, "fan_in"),
}


def assert_distribution(w, distribution, variance):
    n, kurtosis = w.size, {"uniform": 1.8, "normal": 3.0}[distribution]
    assert abs(w.mean()) < 5 * math.sqrt(variance / n)
    assert abs(w.var() / variance - 1) < 5 * math.sqrt((kurtosis - 1) / n)
    assert abs((w**4).mean() / variance**2 - kurtosis) < 5 * math.sqrt(96 / n)
    if distribution == "uniform":
        limit = math.sqrt(3 * variance)
        assert 0.999 * limit < np.abs(w).max() < limit


@pytest.mark.parametrize("name", NAMED)
def test_named(name):
    distribution, scale, mode = NAMED[name]
    w = initializers.get(name).init(SHAPE, np.float64, 1, (0,))
    assert w.shape == SHAPE
    assert_distribution(w, distribution, scale / FANS[mode])


@pytest.mark.parametrize("mode", FANS)
@pytest.mark.parametrize("made", [initializers.XavierNormal, initializers.HeUniform])
def test_mode_and_gain(made, mode):
    distribution, scale, _ = NAMED[made.name]
    w = made(mode=mode, gain=3.0).init(SHAPE, np.float64, 2, (0,))
    assert_distribution(w, distribution, 9 * scale / FANS[mode])


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_variance_scaling(distribution):
    w = initializers.VarianceScaling(0.3, "fan_out", distribution).init(SHAPE, np.float64, 3, (0,))
    assert_distribution(w, distribution, 0.3 / 200)


def test_uniform_and_normal():
    w = initializers.Uniform(2.0, 3.0).init(SHAPE, np.float64, 4, (0,))
    assert_distribution(w - 2.5, "uniform", 1 / 12)
    w = initializers.Normal(mean=1.0, std=0.2).init(SHAPE, np.float64, 4, (0,))
    assert_distribution(w - 1.0, "normal", 0.04)
    assert np.abs((w - 1.0) / 0.2).max() > 3.5  # untruncated


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (1, 6), (6, 1)])
def test_orthogonal(shape):
    w = initializers.Orthogonal(gain=2.0).init(shape, np.float64, 5, (0,))
    assert w.shape == shape
    gram = w @ w.T if shape[0] <= shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(min(shape)), atol=1e-13)


def test_orthogonal_of_a_vector_is_refused():
    with pytest.raises(ValueError, match="need a matrix"):
        initializers.get("orthogonal").init((3,), np.float64)


def test_numbers_come_from_philox_by_place():
    w = initializers.Normal(std=1.0).init((3, 5), np.float64, 7, (4,))
    np.testing.assert_array_equal(w.ravel(), philox.normal(7, (philox.INITIALIZE, 4), 15))
    single = initializers.Normal(std=1.0).init((3, 5), np.float32, 7, (4,))
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, w.astype(np.float32))
    for key, stream in ((8, (4,)), (7, (5,))):
        assert (initializers.Normal(std=1.0).init((3, 5), np.float64, key, stream) != w).all()


# ---- constants ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["zeros", "ones", "constant", initializers.Constant(0.5)])
def test_constant_matrix_is_refused_with_a_reason(spec):
    with pytest.raises(ValueError, match=r"stay equal for ever.*allow_symmetric=True"):
        initializers.get(spec).init((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"\(2, 1\)"):
        initializers.get(spec).init((2, 1), np.float32)


def test_constant_where_it_is_harmless_or_asked_for():
    assert initializers.get("zeros").init((4,), np.float32).tolist() == [0, 0, 0, 0]
    assert initializers.get("ones").init((2,), np.float64).tolist() == [1, 1]
    assert initializers.Constant(0.5).init((1, 1), np.float32).tolist() == [[0.5]]
    w = initializers.Constant(0.5, allow_symmetric=True).init((2, 3), np.float32)
    np.testing.assert_array_equal(w, np.full((2, 3), 0.5))


# ---- names -------------------------------------------------------------------------------------------------------


def test_auto_follows_the_activation():
    def auto(name):
        return initializers.get("auto", activations.get(name)).name

    he = {name for name in activations.TABLE if auto(name) == "he_uniform"}
    assert he == {"relu", "leaky_relu", "elu", "gelu", "silu", "mish", "hard_swish"}
    assert auto("tanh") == auto(None) == "xavier_uniform"


def test_aliases():
    assert initializers.get("glorot_uniform") == initializers.XavierUniform()
    assert initializers.get("glorot_normal") == initializers.XavierNormal()


@pytest.mark.parametrize(
    "made",
    [made() for made in initializers.TABLE.values()]
    + [initializers.HeNormal(mode="fan_out", gain=0.5), initializers.Constant(2.0, allow_symmetric=True)],
    ids=repr,
)
def test_config_goes_there_and_back(made):
    back = initializers.get(made.config())
    assert back == made
    shape = (4,) if made.name in ("zeros", "ones", "constant") else (4, 3)
    np.testing.assert_array_equal(back.init(shape, np.float64, 3), made.init(shape, np.float64, 3))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: initializers.get("he_unifrom"), ValueError, "unknown initializer 'he_unifrom', did you mean 'he_unif"),
        (lambda: initializers.get(1.0), TypeError, "initializer must be a name or an object of"),
        (lambda: initializers.get({"name": "normal", "sdt": 1}), ValueError, "no parameter 'sdt', did you mean 'std'"),
        (lambda: initializers.HeNormal(mode="fan"), ValueError, "unknown mode 'fan', did you mean 'fan_"),
        (lambda: initializers.HeNormal(gain=0), ValueError, "gain must be finite and > 0"),
        (lambda: initializers.VarianceScaling(-1), ValueError, "scale must be"),
        (lambda: initializers.VarianceScaling(1, "fan_in", "gauss"), ValueError, "unknown distribution 'gauss'"),
        (lambda: initializers.Uniform(1.0, 1.0), ValueError, "high must be finite and > 1"),
        (lambda: initializers.Normal(std=float("inf")), ValueError, "std must be"),
        (lambda: initializers.Constant("a"), TypeError, "value must be a number"),
        (lambda: initializers.get("normal").init((2, 0), np.float32), ValueError, r"shape must be .* got \(2, 0\)"),
        (lambda: initializers.get("normal").init((2, 3, 4), np.float32), ValueError, "shape must be"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
