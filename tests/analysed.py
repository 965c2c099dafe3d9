"""What the tests of pn.analysis look into: data, and nets."""

import numpy as np

import pynet as pn

RNG = np.random.default_rng(7)
X = RNG.normal(size=(12, 5))
LABELS = RNG.integers(0, 3, 12)
Y = RNG.normal(size=(12, 3))


def chain(activation, depth, width=16, last="softmax", kernel="auto", dtype="float64", **more):
    hidden = [pn.Dense(width, activation, kernel_initializer=kernel, **more) for _ in range(depth)]
    return pn.Sequential([pn.Input(5), *hidden, pn.Dense(3, last)], dtype=dtype)


def biased(units, activation=None, **more):
    return pn.Dense(units, activation, bias_initializer="uniform", **more)


def graph(last="softmax"):
    """Branches that join in Add and Concat, a stand-alone activation, a Residual."""
    x = pn.Input(5)
    a = biased(6, "tanh", name="a")(x)
    b = pn.Activation("sigmoid", name="squash")(biased(6, name="b")(x))
    h = pn.Concat()([pn.Add()([a, b]), biased(4, "gelu", name="c")(a)])
    h = pn.Residual([biased(7, "softplus", name="d"), biased(10, name="e")])(h)
    return pn.Model(x, biased(3, last, name="out")(h), dtype="float64", random_state=3)


def model_of(build, dtype="float64"):
    """The model of what `build` puts behind an Input and the Dense 'hidden' of 6 units."""
    x = pn.Input(5, name="x", scale=0.7)
    return pn.Model(x, build(x, biased(6, "tanh", name="hidden")(x)), dtype=dtype, random_state=5)


def plain(x, h):
    return biased(3, "softmax")(biased(4, "relu", use_bias=False)(h))


def through_activations(x, h):
    return biased(3)(pn.Activation("softmax")(pn.Activation("sinusoid")(h)))
