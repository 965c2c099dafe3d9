"""Small pruned nets for the table of nets.py: under masks, and in compact form."""

import functools

import fillings
import numpy as np
from cases import dense

import pynet as pn

NETS = {}  # name: make(dtype, seed) -> model


def net(shape=3, left=0.4, compact=None):
    """Enter into the table: of a function of the input the net in which about this share of each kernel is left."""

    def enter(build):
        @functools.wraps(build)
        def make(dtype="float64", seed=0):
            x = pn.Input(shape, name="x")
            model = fillings.scrambled(pn.Model(x, build(x), dtype=dtype, random_state=seed), seed)
            rng = np.random.default_rng(seed + 1)
            kernels = [w for w in model.weights if len(w.shape) == 2 and "kernel" in w.name]
            pn.prune.set_masks(model, {w.name: rng.random(w.shape) < left for w in kernels})
            names = [model.names[layer] for layer in model.layers if isinstance(layer, pn.Dense)]
            return model.compact(dict.fromkeys(names, compact)) if compact else model

        NETS[build.__name__] = make
        return make

    return enter


@net()
def pruned(x):
    return dense(2)(dense(9, "relu")(dense(17, "tanh", l2=0.01)(x)))


@net()
def pruned_and_shared(x):
    """One layer called twice, and others of which some weights train more slowly."""
    shared = dense(3, "tanh", l1=0.01)
    shared.rate_factor = 0.5
    return dense(2)(shared(shared(x)))


@net((4, 3))
def pruned_lstm(x):
    return dense(2)(pn.LSTM(5)(x))


@net(compact="steps")
def compact(x):
    """Activations whose slope needs their input have an op of their own; a softmax at the end, a bias or none."""
    h = dense(19, "tanh", l2=0.01)(x)
    h = dense(33, "gelu", use_bias=False)(h)
    return dense(3, "softmax")(dense(16, "relu")(h))


@net(compact="steps", left=0.08, shape=40)
def compact_with_gaps(x):
    """Distances that steps of four bits do not span, outputs of which nothing is left."""
    return dense(2)(dense(21, "tanh")(x))


@net(compact="steps")
def compact_and_shared(x):
    shared = dense(3, "tanh", l1=0.01)
    h = shared(shared(x))
    return [dense(2)(pn.Add()([h, x])), dense(2, "tanh")(h)]


@net(compact="lanes", shape=50)
def compact_in_lanes(x):
    """One layer called twice; inputs and outputs that are no multiples of 16."""
    shared = dense(33, "tanh", l2=0.01)
    h = shared(dense(33, "gelu", use_bias=False)(shared(dense(33, "relu")(x))))
    return dense(3, "softmax")(h)


@net(compact="lanes", left=0.05, shape=100)
def compact_in_lanes_with_gaps(x):
    return dense(2)(dense(40, "tanh")(x))


@net(compact="steps")
def compact_between(x):
    """Norm and dropout behind a compact layer stand for themselves."""
    h = pn.Activation("tanh")(pn.BatchNorm()(dense(7, use_bias=False)(x)))
    return dense(2)(pn.Dropout(0.3)(dense(6, "relu")(h)))


# ---- a layer to prune, and data for it ------------------------------------------------------------------------------


def linear(inputs, units, use_bias=True, seed=0, dtype="float64"):
    return pn.Sequential(
        [pn.Input(inputs), pn.Dense(units, use_bias=use_bias, name="d")], dtype=dtype, random_state=seed
    )


def correlated(rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns)) + rng.normal(size=columns)
