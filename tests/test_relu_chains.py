"""Dense layers on ReLUs, through which the gradient goes on from layer to layer (below_of in csrc/op_dense.h), and
those where it may not: against the NumPy twin, and the same bits for any number of threads."""

import functools

import helpers
import numpy as np
import pytest
from helpers import FMA_ISAS

import pynet as pn

THREADS = (1, 2, 3, 7)


def relu(width, **options):
    return pn.Dense(width, "relu", bias_initializer="normal", **options)


def chain(*widths):
    def make(dtype):
        h = x = pn.Input(20)
        for width in widths:
            h = relu(width)(h)
        return pn.Model(x, pn.Dense(7, "softmax")(h), dtype=dtype)

    return make


def twice(dtype):
    """One layer at two places: its gradients are sums of two."""
    x, shared = pn.Input(20), relu(20)
    return pn.Model(x, pn.Dense(7, "softmax")(shared(shared(shared(x)))), dtype=dtype)


def fork(dtype):
    """Two layers read one ReLU; the plan has a third behind the first."""
    x = pn.Input(20)
    h = relu(33)(relu(40)(x))
    return pn.Model(x, pn.Dense(7, "softmax")(pn.Add()([relu(18)(h), pn.Dense(18)(h)])), dtype=dtype)


def frozen(dtype):
    """A layer in the middle does not train."""
    model = chain(30, 40, 20)(dtype)
    model.layers[2].trainable = False
    return model


NETS = {
    "narrow": (chain(64, 64), 500),  # by strips, and op by op
    "long panels": (chain(40, 1500, 18), 300),  # rows are divided
    "few panels": (chain(1500, 16, 16), 900),
    "without a bias": (lambda dtype: pn.Sequential(
        [pn.Input(20), pn.Dense(30, "relu", use_bias=False), relu(30), pn.Dense(7, "softmax")], dtype=dtype), 60),
    "other activations": (lambda dtype: pn.Sequential(
        [pn.Input(20), relu(30), pn.Dense(30, "tanh"), relu(30), pn.Dropout(0.3), relu(9), pn.Dense(7, "softmax")],
        dtype=dtype), 60),
    "twice": (twice, 60), "fork": (fork, 60), "frozen": (frozen, 60),
}  # fmt: skip


@functools.cache
def train(name, dtype, isa, n_threads, rows):
    """The gradients of a step, and the weights after some, of which the second is of a short batch, and in parts."""
    make, most = NETS[name]
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(min(rows, most), 20)), rng.integers(0, 7, min(rows, most))
    model = make(dtype)
    with helpers.forced_isa(FMA_ISAS[-1] if isa == "numpy" else isa):
        backend = "numpy" if isa == "numpy" else "c"
        trainer = pn.Trainer(
            model, "cross_entropy", pn.SGD(0.1), clip=pn.ClipNorm(0.01), n_threads=n_threads, backend=backend
        )
        found = trainer.gradients(X, y, training=True)
        for shards in (None, 3):
            trainer.fit(X, y, epochs=2, batch_size=max(1, 3 * len(X) // 4), shards=shards, verbose=0)
    return {**found, "weights": model.arena}


@pytest.mark.parametrize("rows", [1, 13, 60, 5000])
@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_of_the_twin(name, rows, isa):
    want = train(name, "float64", "numpy", 1, rows)
    for n_threads in THREADS:
        found = train(name, "float64", isa, n_threads, rows)
        for what, value in want.items():
            helpers.assert_close(found[what], value, 1e-12, f"{what}, {n_threads} threads")
    assert all(np.abs(value).max() > 0 for what, value in want.items() if rows > 1)


@pytest.mark.parametrize("rows", [1, 60, 5000])
@pytest.mark.parametrize("name", NETS)
def test_bits_do_not_depend_on_threads_or_instruction_set(name, rows, dtype):
    want = train(name, dtype.name, FMA_ISAS[0], 1, rows)
    for isa in FMA_ISAS:
        for n_threads in THREADS:
            found = train(name, dtype.name, isa, n_threads, rows)
            for what, value in want.items():
                helpers.assert_same_bits(found[what], value, f"{what}, {isa}, {n_threads} threads")
