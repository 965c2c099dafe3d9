"""Every activation and its derivative, on every instruction set and in both dtypes, against 50 digits (truth.py).

An error is allowed so many units of the last place (ULP) of the true value, plus so many eps of absolute error where
a formula cancels, plus the least normal number: what is smaller may become 0.
"""

import functools

import cases
import helpers
import numpy as np
import pytest
import truth
from helpers import FMA_ISAS, ISAS, NUMPY, Executor

import pynet as pn
from pynet import _core, activations
from pynet.heads import Head
from pynet.losses import LossSpec
from pynet.plan import Job, build

WIDTH = 7  # of a row: odd, so that vectors have tails
BIG = {"float32": 80.0, "float64": 700.0}  # exp stays finite

# name: (ULP, eps) of the value; unless named, (1, 0)
FORWARD = {
    "sigmoid": (3, 0), "tanh": (3, 0), "lecun_tanh": (3, 1), "scaled_tanh": (4, 0), "elu": (2, 0), "selu": (3, 0),
    "gelu": (2, 1), "silu": (3, 0), "mish": (4, 0), "softplus": (3, 0), "softsign": (2, 0), "arctan": (3, 0),
    "bent_identity": (1, 1), "hard_sigmoid": (1, 0.5), "hard_swish": (3, 0), "sinusoid": (2, 0.01), "sinc": (2, 0.01),
    "isru": (2, 0), "epanechnikov": (1, 0.5), "quartic": (2, 1), "tricube": (2, 1.5),
}  # fmt: skip
# name: eps of the derivative, as a share of max(1, |derivative|); unless named, 2
DERIVATIVE = {
    "identity": 0, "step": 0, "relu": 0, "triangular": 0, "rectangular": 0, "hard_tanh": 0, "tanh": 3,
    "lecun_tanh": 3, "scaled_tanh": 4, "silu": 16, "sinc": 3, "tricube": 3,
}  # fmt: skip
EXACT = ("identity", "step", "relu", "hard_tanh", "rectangular")
NAMES = [name for name in activations.TABLE if name != "softmax"]
PARAMETERS = [
    activations.LeakyReLU(0.3), activations.ELU(0.5), activations.LeCunTanh(-0.2), activations.ISRU(2.5)
]  # fmt: skip
ALL = [activations.get(name) for name in NAMES] + PARAMETERS


def apply(executor: Executor, activation, x, dtype):
    """act(x) and act'(x), as a stand-alone layer of a machine computes them."""
    source = pn.Input(WIDTH)
    model = pn.Model(source, pn.Activation(activation)(source), dtype=dtype)
    plan = build(model, [Head(LossSpec("external"), 1.0, [])], input_gradients=True)
    rows = -(-len(x) // WIDTH)
    X = np.zeros((rows, WIDTH), dtype)
    X.reshape(-1)[: len(x)] = x
    grads = _core.aligned(plan.param_elems, plan.dtype)
    machine = helpers.make_machine(executor, plan, model.arena, rows=rows, grads=grads)
    job = Job(inputs=[X], targets=[X], rows=rows, batch=rows, sums=np.zeros(plan.n_sums))
    job.stages = _core.FORWARD | _core.LOSS
    assert machine.run(job, 0, 1) == (1, "ok")
    head = plan.head_values[0]
    machine.set_gradient(head, np.ones_like(X))
    job.stages = _core.BACKWARD
    assert machine.run(job, 0, 1) == (1, "ok")
    gradient = machine.value(plan.input_gradients[0], gradient=True)
    return machine.value(head).reshape(-1)[: len(x)], gradient.reshape(-1)[: len(x)]


@functools.cache
def points(dtype: str) -> np.ndarray:
    """Numbers of every size, and around the kinks."""
    rng = np.random.default_rng(0)
    x = [
        rng.normal(size=150) * 2, rng.uniform(-8, 8, 150), rng.uniform(-30, 30, 60),
        rng.uniform(-BIG[dtype], BIG[dtype], 40),
        rng.normal(size=40) * 10.0 ** -rng.integers(1, 12, 40),
        rng.choice([-3, -1, 1, 3], 40) * rng.uniform(0.98, 1.02, 40), [-3, -1, 0, 1, 3],
    ]  # fmt: skip
    return np.concatenate(x).astype(dtype).astype(np.float64)


@functools.cache
def exact(activation, dtype: str, which: int):
    parameters = np.array(activation.parameters, dtype)  # as the machine has them
    return truth.nearest(truth.TABLE[activation.name][which], points(dtype), *parameters)


def error(actual, true):
    return np.abs((actual.astype(np.float64) - true[0]) - true[1])


def unit(true, dtype):
    """A unit of the last place of the true values."""
    least = np.finfo(dtype).tiny
    return np.spacing(np.maximum(np.abs(true[0]).astype(dtype), least)).astype(np.float64)


def assert_near(actual, true, x, ulp, eps=0.0, what=""):
    dtype = actual.dtype
    bound = ulp * unit(true, dtype) + eps * np.finfo(dtype).eps + np.finfo(dtype).tiny * (np.max(ulp) > 0)
    bad = ~(error(actual, true) <= bound)
    at = int(np.argmax(bad))
    assert not bad.any(), f"{what} at {x[at]!r}: {actual[at]!r}, true {true[0][at]!r}, {bad.sum()} of {bad.size} off"


def test_every_activation_has_a_truth():
    assert set(truth.TABLE) == set(NAMES)
    assert {a.name for a in PARAMETERS} == {name for name in NAMES if activations.TABLE[name].fields}


@pytest.mark.parametrize("activation", ALL, ids=repr)
def test_value(activation, executor, dtype):
    x = points(dtype.name)
    y, _ = apply(executor, activation, x, dtype)
    assert y.dtype == dtype
    ulp, eps = (0, 0) if activation.name in EXACT else FORWARD.get(activation.name, (1, 0))
    if activation.name == "gaussian":
        ulp = 2 + x * x  # the rounding of x^2, magnified by exp
    if executor == NUMPY:
        ulp = 2 * ulp  # its libraries are not ours
    assert_near(y, exact(activation, dtype.name, 0), x, ulp, eps, activation.name)


@pytest.mark.parametrize("activation", ALL, ids=repr)
def test_derivative(activation, executor, dtype):
    x = points(dtype.name)
    _, slope = apply(executor, activation, x, dtype)
    true = exact(activation, dtype.name, 1)
    kinks = np.isin(x, [kink for kink in cases.KINKS.get(activation.name, ()) if kink])  # there it may be either side's
    slope, true, x = slope[~kinks], (true[0][~kinks], true[1][~kinks]), x[~kinks]
    eps = DERIVATIVE.get(activation.name, 2) * (8 if executor == NUMPY else 1)
    bound = eps * np.maximum(1, np.abs(true[0]))
    if activation.name in ("leaky_relu", "lecun_tanh"):
        bound = np.maximum(bound, 1)  # their parameter is not rounded in NumPy
    assert_near(slope, true, x, 0, bound, f"derivative of {activation.name}")


@pytest.mark.parametrize("activation", ALL, ids=repr)
def test_fma_instruction_sets_agree_bit_by_bit(activation, dtype):
    rng = np.random.default_rng(1)
    x = np.concatenate([points(dtype.name), rng.normal(size=2000) * 3, special(dtype)[:FINITE]]).astype(dtype)
    results = [apply(Executor(isa, 1), activation, x, dtype) for isa in FMA_ISAS]
    for isa, (y, slope) in zip(FMA_ISAS[1:], results[1:], strict=True):
        helpers.assert_same_bits(y, results[0][0], f"{isa}: {activation.name}")
        helpers.assert_same_bits(slope, results[0][1], f"{isa}: derivative of {activation.name}")


# ---- what csrc/kernels/vmath.h promises, on many points ----------------------------------------------------------


def few_bits(dtype, rng):
    """Numbers whose square is exact."""
    bits = 11 if dtype == "float32" else 25
    x = rng.integers(1, 2**bits, 2000) * 2.0 ** -rng.integers(bits - 5, bits + 6, 2000)
    return x[x * x < (87 if dtype == "float32" else 708)]


def wide(rng, scale, low, high):
    return np.concatenate([rng.normal(size=1000) * scale, rng.choice([-1, 1], 500) * 10 ** rng.uniform(low, high, 500)])


ELEMENTARY = {  # name: (activation that shows it, 0 value or 1 derivative, points, truth, ULP, eps)
    "exp": ("gaussian", 0, few_bits, lambda x: (-x * x).exp(), 2, 0),
    "expm1": ("elu", 0, lambda _, rng: -np.abs(wide(rng, 3, -12, 1.6)), truth.expm1, 2, 0),
    "tanh": ("tanh", 0, lambda _, rng: wide(rng, 2, -12, 1.3), truth.tanh, 3, 0),
    "sigmoid": ("sigmoid", 0, lambda d, rng: wide(rng, 4, 0, np.log10(BIG[d])), truth.sigmoid, 3, 0),
    "atan": ("arctan", 0, lambda _, rng: wide(rng, 2, -6, 6), truth.atan, 3, 0),
    "sin": ("sinusoid", 0, lambda _, rng: rng.uniform(-1e4, 1e4, 1500), truth.sin, 3, 0.01),
    "cos": ("sinusoid", 1, lambda _, rng: rng.uniform(-1e4, 1e4, 1500), truth.cos, 3, 0.01),
}


@functools.cache
def elementary(name: str, dtype: str):
    _, _, choose, f, _, _ = ELEMENTARY[name]
    x = choose(dtype, np.random.default_rng(2)).astype(dtype).astype(np.float64)
    return x, truth.nearest(f, x)


@pytest.mark.parametrize("name", ELEMENTARY)
def test_promise(name, isa, dtype):
    activation, which, _, _, ulp, eps = ELEMENTARY[name]
    x, true = elementary(name, dtype.name)
    assert len(x) > 1000
    assert np.std(true[0]) > 0.1
    assert_near(apply(Executor(isa, 1), activation, x, dtype)[which], true, x, ulp, eps, name)


def test_promise_of_log1p(isa, dtype):
    """softplus(-u) is log1p(exp(-u)), and gaussian shows the very exp(-u) that goes into it."""
    x = few_bits(dtype.name, np.random.default_rng(3))[:1200]
    e, _ = apply(Executor(isa, 1), "gaussian", x, dtype)
    y, _ = apply(Executor(isa, 1), "softplus", -x * x, dtype)
    assert_near(y, truth.nearest(truth.log1p, e), x, 3, 0, "log1p")


def test_promise_of_normcdf(isa, dtype):
    x = np.random.default_rng(4).uniform(-12, 8, 1000).astype(dtype).astype(np.float64)
    x = x[np.abs(x) > 0.01]
    y, _ = apply(Executor(isa, 1), "gelu", x, dtype)  # x Phi(x)
    true = truth.nearest(truth.normal_cdf, x)
    bound = (1e-7 if dtype == np.float32 else 1e-15) + np.finfo(dtype).eps / 2 * true[0]  # and that of the product
    helpers.assert_within(y.astype(np.float64) / x, true[0], bound, "normcdf")
    if isa in FMA_ISAS:  # far to the left too, where without fma the rounding of x^2 shows
        helpers.assert_within(y.astype(np.float64) / x, true[0], 8 * np.finfo(dtype).eps * true[0], "its tail")


# ---- special values ----------------------------------------------------------------------------------------------


FINITE = 13  # so many of the special values


def special(dtype) -> np.ndarray:
    info = np.finfo(dtype)
    huge = np.sqrt(info.max) / 4  # its square is finite
    least = info.smallest_subnormal
    x = [0.0, -0.0, least, -least, info.tiny / 3, -info.tiny / 3, info.tiny, 1e6, -1e6, huge, -huge]
    return np.array([*x, info.max / 8, -info.max / 8, np.inf, -np.inf, np.nan]).astype(dtype)


# What they tend to, left and right; None: not a number in formula and twin alike (inf - inf, 0 * inf, inf / inf).
AT_INFINITY = {
    "identity": (-np.inf, np.inf), "step": (0, 1), "sigmoid": (0, 1), "tanh": (-1, 1), "lecun_tanh": (-np.inf, np.inf),
    "scaled_tanh": (-1.7159, 1.7159), "relu": (0, np.inf), "leaky_relu": (-np.inf, np.inf), "elu": (-1, np.inf),
    "selu": (-1.7580993, np.inf), "gelu": (None, np.inf), "silu": (None, np.inf), "mish": (None, np.inf),
    "softplus": (0, np.inf), "softsign": (None, None), "arctan": (-np.pi / 2, np.pi / 2),
    "bent_identity": (None, np.inf), "hard_sigmoid": (0, 1), "hard_tanh": (-1, 1), "hard_swish": (None, np.inf),
    "sinusoid": (None, None), "sinc": (None, None), "gaussian": (0, 0), "isru": (None, None), "epanechnikov": (0, 0),
    "triangular": (0, 0), "quartic": (0, 0), "tricube": (0, 0), "rectangular": (0, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_special_values(name, executor, dtype):
    activation = activations.get(name)
    x = special(dtype)
    y, slope = apply(executor, activation, x, dtype)
    assert np.isnan(y[-1]), "NaN must come out as NaN"
    for got, limit in zip(y[[-2, -3]], AT_INFINITY[name], strict=True):
        assert np.isnan(got) if limit is None else np.isclose(got, limit, rtol=1e-6, atol=0), (name, got, limit)
    if name in ("sinusoid", "sinc"):  # at 1e6 the argument begins to lose its meaning, but they stay bounded
        assert (np.abs(y[:FINITE]) <= 1).all()
        assert (np.abs(slope[:FINITE]) <= 1).all()
    finite = slice(0, 7 if name in ("sinusoid", "sinc") else FINITE - 2 * (name in ("bent_identity", "isru")))
    within = x[finite].astype(np.float64)
    parameters = np.array(activation.parameters, dtype)
    true = truth.nearest(truth.TABLE[name][0], within, *parameters)
    ulp, eps = FORWARD.get(name, (1, 0))
    assert_near(y[finite], true, within, 2 * ulp, 2 * eps, name)
    true = truth.nearest(truth.TABLE[name][1], within, *parameters)
    on_kink = (within == 0) & (name in ("relu", "leaky_relu", "triangular"))
    bound = 16 * np.finfo(dtype).eps * np.maximum(1, np.abs(true[0])) + 2 * on_kink
    helpers.assert_within(slope[finite], true[0], bound, f"derivative of {name}")


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "step", "elu", "selu"])
def test_derivative_on_the_kink_is_the_twins(name, isa, dtype):
    x = np.array([0.0, -0.0] * 4, dtype)
    expected = apply(NUMPY, name, x, dtype)
    for got, want in zip(apply(Executor(isa, 1), name, x, dtype), expected, strict=True):
        np.testing.assert_array_equal(got, want)


# ---- kinships and softmax ----------------------------------------------------------------------------------------


def test_kinships(executor, dtype):
    x, eps = points(dtype.name), np.finfo(dtype).eps

    def f(name, at=x):
        return apply(executor, name, at, dtype)

    away = x[x != 0]
    np.testing.assert_array_equal(f("relu", away)[1], f("step", away)[0])  # step is the derivative of relu
    helpers.assert_within(f("softplus")[1], f("sigmoid")[0], 4 * eps, "sigmoid is the derivative of softplus")
    helpers.assert_within(f("tanh")[0], 2 * f("sigmoid", 2 * x)[0].astype(np.float64) - 1, 4 * eps, "tanh is a sigmoid")
    helpers.assert_within(f("sinusoid")[1] ** 2 + f("sinusoid")[0] ** 2, 1.0, 4 * eps, "sin^2 + cos^2")
    sigmoid = f("sigmoid")[0].astype(np.float64)
    helpers.assert_within(f("silu")[0], x * sigmoid, 8 * eps * np.abs(x), "silu is x sigmoid")


@pytest.mark.parametrize("width", [1, 2, 7, 15, 16, 17, 33])
@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_softmax(width, shift, executor, dtype):
    rng = np.random.default_rng(width)
    z = (rng.normal(size=(5, width)) * 4 + shift).astype(dtype)
    z[1] = -np.inf
    z[1, width // 2] = 0
    source = pn.Input(width)
    model = pn.Model(source, pn.Activation("softmax")(source), dtype=dtype)
    out = np.empty_like(z)
    machine = helpers.make_machine(executor, build(model), model.arena, rows=5)
    machine.run(Job(inputs=[z], outputs=[out], rows=5, batch=5, stages=_core.FORWARD | _core.OUTPUT), 0, 1)
    e = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
    true = e / e.sum(axis=1, keepdims=True)
    helpers.assert_within(out, true, 8 * np.finfo(dtype).eps * true + np.finfo(dtype).tiny, "softmax")
    z[2, 0] = np.nan
    machine.run(Job(inputs=[z], outputs=[out], rows=5, batch=5, stages=_core.FORWARD | _core.OUTPUT), 0, 1)
    assert np.isnan(out[2]).all()
    assert not np.isnan(out[[0, 1, 3, 4]]).any()


def test_sets_are_all_here():
    assert {"scalar"} <= set(ISAS)
    assert set(AT_INFINITY) == set(NAMES)
    assert set(FORWARD) | set(DERIVATIVE) | set(EXACT) <= set(NAMES)
