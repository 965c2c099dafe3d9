"""Inputs that are mostly 0: what adds nothing is left out (csrc/kernels/zeros.h), and the numbers are the same."""

import helpers
import numpy as np
import pytest
from helpers import FMA_ISAS, ISAS

import pynet as pn

ROWS, INPUTS = 260, 150


def mostly_zeros(dtype="float64"):
    """Codes of one of 50, and 100 numbers of which one of twelve is there."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(ROWS, 100)) * (rng.random((ROWS, 100)) < 1 / 12)
    return np.hstack([np.eye(50)[rng.integers(0, 50, ROWS)], numbers]).astype(dtype)


def net(dtype):
    """Layers of 211 and 70 units beside each other, the first of them with a norm and a dropout behind it."""
    x = pn.Input(INPUTS)
    a = pn.Dropout(0.2)(pn.Activation("relu")(pn.BatchNorm()(pn.Dense(211, use_bias=False)(x))))
    return pn.Model(x, pn.Dense(7, "softmax")(pn.Concat()([a, pn.Dense(70, "tanh")(x)])), dtype=dtype)


def strips(dtype):
    """So small beside its batches that threads take rows through all layers."""
    x = pn.Input(INPUTS)
    return pn.Model(x, pn.Dense(7, "softmax")(pn.Dense(64, "tanh")(x)), dtype=dtype)


def train(dtype, isa, n_threads=1, batch_size=130, X=None, net=net):
    """The model after 20 epochs, and their losses."""
    backend = "numpy" if isa == "numpy" else "c"
    with helpers.forced_isa(ISAS[-1] if isa == "numpy" else isa):
        model = net(dtype)
        trainer = pn.Trainer(model, "cross_entropy", pn.Adam(1e-3), n_threads=n_threads, backend=backend)
        X = mostly_zeros(dtype) if X is None else X
        y = np.random.default_rng(1).integers(0, 7, ROWS)
        trainer.fit(X, y, epochs=20, batch_size=batch_size, verbose=0)
    return model, trainer.history.history["loss"]


def test_terms_are_left_out(isa, dtype):
    """A sum of nothing is its bias, -0; 150 products with 0 make it 0.  So all of this file is about something."""
    model = pn.Sequential([pn.Input(INPUTS), pn.Dense(128)], dtype=dtype)
    model.set_weights([np.ones((INPUTS, 128)), np.full(128, -0.0)])
    with helpers.forced_isa(isa):
        few, rows = model.predict(np.zeros((20, INPUTS))), model.predict(np.zeros((7, INPUTS)))
        full = model.predict(np.vstack([np.zeros((20, INPUTS)), np.ones((60, INPUTS))]))
    assert np.signbit(few).all()
    assert not np.signbit(rows).any()  # too few of them to make lists
    assert not few.any()
    assert not rows.any()
    assert not np.signbit(full).any()  # most rows are full


@pytest.mark.parametrize(("net", "batch_size"), [(net, 130), (strips, ROWS)])
def test_training_does_not_depend_on_threads_or_instruction_set(net, batch_size, dtype):
    first, losses = train(dtype, ISAS[-1], 1, batch_size, net=net)
    assert losses[-1] < 0.95 * losses[0]
    for isa in FMA_ISAS:
        for n_threads in (1, 2, 3, 7):
            model, found = train(dtype, isa, n_threads, batch_size, net=net)
            helpers.assert_same_bits(model.arena, first.arena, f"{isa}, {n_threads} threads")
            assert found == losses


@pytest.mark.parametrize("batch_size", [6, 8, 33, 260])
def test_training_is_that_of_the_twin(isa, batch_size):
    model, losses = train("float64", isa, 1, batch_size)
    twin, expected = train("float64", "numpy", 1, batch_size)
    helpers.assert_close(model.arena, twin.arena, 1e-8)
    np.testing.assert_allclose(losses, expected, rtol=1e-9)


def test_prediction_does_not_depend_on_the_batch(isa, dtype):
    """200 rows leave out what one row adds."""
    X = mostly_zeros(dtype)
    with helpers.forced_isa(isa):
        model = net(dtype)
        expected = model.predict(X)
        assert np.std(expected) > 0.01
        for batch_size in (1, 2, 7, 8, 9, 33, 200):
            helpers.assert_same_bits(model.predict(X, batch_size=batch_size), expected, f"batch_size {batch_size}")
        helpers.assert_same_bits(np.array([model.predict_one(x) for x in X]), expected)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_shows_behind_a_zero(isa, dtype, value):
    """0 times infinity is NaN, in every row and column as in a product of its own."""
    X = mostly_zeros(dtype)
    X[:, 60] = 0
    model = pn.Sequential([pn.Input(INPUTS), pn.Dense(128)], dtype=dtype)
    model.arena[model.plan.params["offset"][0] + (77 // 16 * INPUTS + 60) * 16 + 77 % 16] = value  # as a step would
    with helpers.forced_isa(isa):
        out = model.predict(X)
    assert np.isnan(out[:, 77]).all()
    assert np.isfinite(np.delete(out, 77, axis=1)).all()


def test_the_smallest_number_is_not_zero(isa, dtype):
    X = mostly_zeros(dtype)
    X[X != 0] = np.finfo(dtype).smallest_subnormal
    model = pn.Sequential([pn.Input(INPUTS), pn.Dense(128)], dtype=dtype)
    model.set_weights([np.full((INPUTS, 128), 2.0**100), np.zeros(128)])
    with helpers.forced_isa(isa):
        out = model.predict(X)
    expected = np.count_nonzero(X, axis=1) * 2.0**100 * float(np.finfo(dtype).smallest_subnormal)
    assert (out == expected[:, None].astype(dtype)).all()
    assert (out > 0).all()


@pytest.mark.parametrize("kind", ["uint8", "float16", "columns", "negative strides"])
def test_layouts(dtype, kind):
    """Meanwhile rows of any kind are asked for, or none."""
    X = np.rint(mostly_zeros() * 3).clip(0, 255)
    other = {"uint8": X.astype(np.uint8), "float16": X.astype(np.float16), "columns": np.asfortranarray(X, dtype),
             "negative strides": np.ascontiguousarray(X[::-1, ::-1]).astype(dtype)[::-1, ::-1]}[kind]  # fmt: skip
    expected, losses = train(dtype, ISAS[-1], X=X.astype(dtype))
    found = train(dtype, ISAS[-1], X=other)
    helpers.assert_same_bits(found[0].arena, expected.arena)
    assert found[1] == losses
