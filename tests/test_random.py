"""Random numbers of layers: their distributions, that they are independent, and that they depend on their place alone.

Nothing here is left to chance: seeds are fixed, and bounds (draws.py) are such that a sound generator would break one
in a million tests.
"""

import math

import draws
import helpers
import numpy as np
import pytest
from helpers import EVERYWHERE, ISAS

import pynet as pn

ROWS, WIDTH = 1024, 512

# ---- dropout -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.5, 0.1, 1 / 3, 0.75, 0.9, 0.999, 2**-10])
def test_share_that_is_dropped(rate, dtype):
    n, x = ROWS * WIDTH, np.full((ROWS, WIDTH), 3.0)
    y = draws.draw(draws.net(pn.Dropout(rate), WIDTH, dtype), x, seed=1)
    share = round(rate * 65536) / 65536  # a rate is the nearest multiple of 2^-16
    assert abs(share - rate) <= 2**-17
    off = (y == 0).sum() - n * share
    assert abs(off) < draws.quantile() * math.sqrt(n * share * (1 - share))
    kept = np.unique(y[y != 0])
    assert len(kept) == 1  # all are scaled alike, so that the mean stays
    assert kept[0] == dtype.type(3) * dtype.type(1 / (1 - share))


@pytest.mark.parametrize(("rate", "kept"), [(2**-18, 1.0), (1 - 2**-20, 2**-16)])
def test_rates_at_the_ends(rate, kept):
    """The smallest drop nothing, the largest keep one in 65536."""
    y = draws.draw(draws.net(pn.Dropout(rate), WIDTH), np.ones((2 * ROWS, WIDTH), "f4"))
    n = y.size
    assert abs((y != 0).sum() - n * kept) <= draws.quantile() * math.sqrt(n * kept * (1 - kept))
    assert (y[y != 0] == 1 / kept).all()


def test_fused_or_not_it_is_the_same_mask():
    """relu and then dropout in one op draws what two ops draw."""
    x = pn.Input(WIDTH)
    h = pn.Dense(40, "relu")(x)
    fused = pn.Model(x, pn.Dropout(0.4)(h))
    both = pn.Model(x, [fused.outputs[0], h])  # h is read twice: nothing is fused
    kinds = [len(pn.plan.build(model, mode="sample").ops) for model in (fused, both)]
    assert kinds == [2, 3]
    X = np.random.default_rng(0).normal(size=(50, WIDTH))
    one, (other, _) = (model.predict(X, mc_samples=1, random_state=4) for model in (fused, both))
    assert 0 < (one == 0).mean() < 1
    helpers.assert_same_bits(one, other)


# ---- normal and uniform numbers ------------------------------------------------------------------------------------


def test_normal_numbers(dtype):
    z = draws.normals(ROWS, WIDTH, seed=2, dtype=dtype).astype(np.float64)
    n, bound = z.size, draws.quantile(6)
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10395 - 225)):
        assert abs((z**power).mean() - moment) < bound * math.sqrt(spread / n), power
    assert draws.distance(z, draws.normal_cdf) < draws.distance_bound(n)
    assert 4.5 < np.abs(z).max() < math.sqrt(48 * math.log(2))  # -2 log of the smallest uniform number, 2^-24
    tail = 2 * draws.NORMAL.cdf(-3)
    assert abs((np.abs(z) > 3).sum() - n * tail) < bound * math.sqrt(n * tail)


def test_the_deviation_is_that_of_the_layer():
    x = np.random.default_rng(0).normal(size=(40, 30))
    y = draws.draw(draws.net(pn.GaussianNoise(0.25), 30, "float64"), x, seed=5)
    helpers.assert_close(y - x, 0.25 * draws.normals(40, 30, seed=5), 1e-14)


def test_uniform_numbers(dtype):
    u = draws.slopes(ROWS, WIDTH, seed=3, dtype=dtype).astype(np.float64)
    n = u.size
    assert 0 < u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    assert draws.distance(u, lambda x: x) < draws.distance_bound(n)
    counts = np.bincount((u * 256).astype(int).reshape(-1), minlength=256)
    assert ((counts - n / 256) ** 2).sum() / (n / 256) < draws.chi_square_bound(255)


def test_rrelu_draws_between_its_bounds():
    u = draws.slopes(50, 40, seed=3)
    a = draws.slopes(50, 40, seed=3, lower=0.2, upper=0.7)
    helpers.assert_close(a, 0.2 + 0.5 * u, 1e-15)
    x = np.abs(np.random.default_rng(0).normal(size=(9, 5)))
    x[0, 0] = 0
    y = draws.draw(draws.net(pn.Activation("rrelu"), 5, "float64"), x)
    helpers.assert_same_bits(y, x, "where x >= 0")
    model = draws.net(pn.Activation("rrelu"), 5, "float64")
    helpers.assert_close(model.predict(-x), -x * (1 / 8 + 1 / 3) / 2, 1e-15)  # in prediction the mean of the bounds


@pytest.mark.parametrize("x", [-2.0, -0.3, 0.0, 0.7, 3.0])
@pytest.mark.parametrize("scale", [None, 0.5])
def test_noisy_relu(x, scale):
    """y = max(0, x + s n): P(y = 0) = Phi(-x/s), mean = x Phi(x/s) + s phi(x/s); s^2 = sigmoid(x) in the paper."""
    layer = pn.Activation(pn.activations.NoisyReLU(scale))
    y = draws.draw(draws.net(layer, WIDTH, "float64"), np.full((ROWS, WIDTH), x), seed=9)
    s = scale or math.sqrt(1 / (1 + math.exp(-x)))
    n, p, t = y.size, draws.NORMAL.cdf(-x / s), draws.NORMAL.pdf(x / s)
    mean, square = x * (1 - p) + s * t, (x * x + s * s) * (1 - p) + x * s * t
    bound = draws.quantile(3)
    assert abs((y == 0).sum() - n * p) < bound * math.sqrt(n * p * (1 - p)) + 1
    assert abs(y.mean() - mean) < bound * math.sqrt((square - mean**2) / n)
    assert y.min() >= 0
    helpers.assert_same_bits(draws.net(layer, 1, "float64").predict([[x]]), np.array([[max(x, 0.0)]]))


# ---- independence --------------------------------------------------------------------------------------------------

MASK = draws.dropped(ROWS, WIDTH, seed=7)
LAGS = [1, 2, 3, 4, 7, 8, 9, 16, 17, 32, 64, 128]


def test_rows_and_columns_are_independent():
    tests = 2 * len(LAGS)
    for lag in LAGS:
        draws.assert_uncorrelated(MASK[lag:], MASK[:-lag], tests, f"rows {lag} apart")
        draws.assert_uncorrelated(MASK[:, lag:], MASK[:, :-lag], tests, f"columns {lag} apart")


@pytest.mark.parametrize("axis", [0, 1])
def test_patterns_of_eight(axis):
    """Eight rows come from one block of Philox, eight columns from one vector: all 256 patterns are as frequent."""
    eights = np.moveaxis(MASK, axis, -1).reshape(-1, 8)
    counts = np.bincount(np.packbits(eights, axis=1).reshape(-1), minlength=256)
    expected = len(eights) / 256
    assert ((counts - expected) ** 2).sum() / expected < draws.chi_square_bound(255)


@pytest.mark.parametrize("axis", [0, 1])
def test_no_row_and_no_column_is_special(axis):
    n, counts = MASK.shape[axis], MASK.sum(axis=axis)
    assert ((counts - n / 2) ** 2).sum() / (n / 4) < draws.chi_square_bound(len(counts))
    assert np.abs(counts - n / 2).max() < draws.quantile(len(counts)) * math.sqrt(n / 4)


STEPS_AND_SEEDS = [(7, 1), (7, 2), (7, 255), (7, 2**16), (7, 2**32 - 1), (6, 0), (8, 0), (7 + 2**32, 0), (2**64 - 8, 0)]


def test_steps_and_seeds_are_independent():
    masks = [MASK] + [draws.dropped(ROWS, WIDTH, seed=seed, step=step) for seed, step in STEPS_AND_SEEDS]
    tests = len(masks) * (len(masks) - 1) // 2
    for i, one in enumerate(masks):
        for other in masks[:i]:
            draws.assert_uncorrelated(one, other, tests, "two steps or seeds")
    draws.assert_uncorrelated(masks[1][1:], MASK[:-1], what="the next row of the next step")
    draws.assert_uncorrelated(masks[1][:, 1:], MASK[:, :-1], what="the next column of the next step")


def test_layers_and_calls_are_independent():
    x, shared = pn.Input(WIDTH), pn.Dropout(0.5)
    model = pn.Model(x, pn.Concat()([shared(x), shared(x), pn.Dropout(0.5)(x)]))
    masks = np.split(draws.draw(model, np.ones((ROWS, WIDTH), "f4")) == 0, 3, axis=1)
    for i, one in enumerate(masks):
        for other in masks[:i]:
            draws.assert_uncorrelated(one, other, 3, "two calls")
    shift = [(masks[0][1:], masks[1][:-1]), (masks[0][:, 1:], masks[1][:, :-1])]
    for one, other in shift:
        draws.assert_uncorrelated(one, other, 2, "two calls, moved by one")


@pytest.mark.parametrize("kind", [draws.normals, draws.slopes])
def test_real_numbers_are_independent(kind):
    z = kind(ROWS, WIDTH, seed=11)
    z -= z.mean()
    others = [(z[lag:], z[:-lag]) for lag in LAGS[:8]] + [(z[:, lag:], z[:, :-lag]) for lag in LAGS[:8]]
    others += [(z, kind(ROWS, WIDTH, seed=11, step=1)), (z, kind(ROWS, WIDTH, seed=12))]
    for one, other in others:
        draws.assert_uncorrelated(one, other, 2 * len(others))
        draws.assert_uncorrelated(one**2, other**2, 2 * len(others))  # the two numbers of a pair share a radius


# ---- places --------------------------------------------------------------------------------------------------------

RANDOM = {
    "dropout": pn.Dropout(0.3), "noise": pn.GaussianNoise(0.7), "rrelu": pn.Activation("rrelu"),
    "noisy_relu": pn.Activation(pn.activations.NoisyReLU(0.4)), "of the paper": pn.Activation("noisy_relu"),
}  # fmt: skip
PLACES = {"seed": 2**63 + 12345, "step": 2**31 + 9}


@pytest.mark.parametrize("kind", RANDOM)
def test_both_machines_draw_the_same(kind, dtype):
    x = np.random.default_rng(0).normal(size=(37, 41)).astype(dtype)
    model = draws.net(RANDOM[kind], 41, dtype)
    first, *others = (draws.draw(model, x, **PLACES, executor=executor) for executor in EVERYWHERE)
    for other in others:
        if kind == "dropout":
            np.testing.assert_array_equal(other, first)
        helpers.assert_close(other, first, 8 * np.finfo(dtype).eps, kind)
    assert len(others) == len(ISAS)


@pytest.mark.parametrize("kind", RANDOM)
def test_numbers_depend_on_their_place_alone(kind, dtype, executor):
    """Not on the batches, nor on other rows and columns."""
    x = np.random.default_rng(0).normal(size=(37, 41)).astype(dtype)
    model = draws.net(RANDOM[kind], 41, dtype)
    y = draws.draw(model, x, **PLACES, executor=executor)
    assert helpers.distance(y, model.predict(x)) > 0.01
    for batch in (1, 2, 3, 5, 8, 13, 36):
        helpers.assert_same_bits(draws.draw(model, x, **PLACES, executor=executor, batch=batch), y, f"batch {batch}")
    few = draws.draw(model, x[:11], **PLACES, executor=executor)
    helpers.assert_same_bits(few, y[:11], "fewer rows")
    narrow = draws.net(RANDOM[kind], 19, dtype)
    helpers.assert_same_bits(draws.draw(narrow, x[:, :19], **PLACES, executor=executor), y[:, :19], "fewer columns")
    for other in ({"seed": 1}, {"step": 1}):
        assert helpers.distance(draws.draw(model, x, **PLACES | other, executor=executor), y) > 0.01


def test_numbers_are_for_ever():
    """Results that people publish depend on them: they must not change from one release to the next."""
    assert np.packbits(draws.dropped(3, 8, seed=1)).tolist() == [215, 119, 151]
    normal = [[1.223980926393149, 0.8305368264218151], [-0.08653227141594443, -0.9538057630461974]]
    helpers.assert_close(draws.normals(2, 2, seed=1, step=3), np.array(normal), 1e-14)
    uniform = [[7902769, 7540235], [16588755, 14495891]]
    helpers.assert_close(draws.slopes(2, 2, seed=1, step=3), np.array(uniform) / 2**24, 1e-15)
