"""The helpers fail when they are fed a wrong answer."""

import copy

import cases
import differences
import helpers
import numpy as np
import pytest
import truth
from helpers import EVERYWHERE, FMA_ISAS, ISAS, NUMPY, Executor, Guarded

import pynet as pn
from pynet import _core, activations

fails = pytest.raises(AssertionError)


# ---- instruction sets ----------------------------------------------------------------------------------------------

AVX2 = {"avx2", "fma", "sse4_2"}
AVX512 = AVX2 | {"avx512f", "avx512dq", "avx512bw", "avx512vl"}


@pytest.mark.parametrize(
    ("architecture", "flags", "expected"),
    [
        ("x86_64", {"sse2"}, {"scalar"}),
        ("x86_64", AVX2, {"scalar", "avx2"}),
        ("x86_64", AVX2 - {"fma"}, {"scalar"}),
        ("AMD64", AVX512, {"scalar", "avx2", "avx512"}),
        ("x86_64", AVX512 - {"avx512dq"}, {"scalar", "avx2"}),
        ("aarch64", set(), {"scalar", "neon"}),
        ("arm64", set(), {"scalar", "neon"}),
        ("riscv64", set(), {"scalar"}),
    ],
)
def test_expected_isas(architecture, flags, expected):
    assert helpers.expected_isas(architecture, flags) == expected


def test_this_cpu_has_what_it_says():
    assert helpers.expected_isas() <= set(ISAS)
    assert helpers.expected_isas() >= {"scalar"}


def test_every_isa_is_an_executor():
    assert [e.isa for e in EVERYWHERE] == ["numpy", *ISAS]
    assert set(FMA_ISAS) == set(ISAS) - {"scalar"}


def test_forced_isa(monkeypatch):
    monkeypatch.setenv("PYNET_ISA", "scalar")
    for isa in ISAS:
        with helpers.forced_isa(isa):
            assert _core.default_isa() == isa
        assert _core.default_isa() == "scalar"
    monkeypatch.delenv("PYNET_ISA")
    with helpers.forced_isa("avx1024"), pytest.raises(ValueError, match="avx1024"):
        _core.default_isa()
    assert _core.default_isa() == ISAS[-1]


def test_make_machine_looks_at_what_it_made(executor, dtype):
    model = cases.branching("tanh", dtype=dtype)
    machine = helpers.make_machine(executor, model.plan, model.arena, rows=4)
    assert machine.isa == executor.isa
    with pytest.raises(ValueError, match="avx1024"):
        helpers.make_machine(Executor("avx1024", 1), model.plan, model.arena, rows=4)
    with fails:  # the NumPy machine has one thread
        helpers.make_machine(Executor("numpy", 2), model.plan, model.arena, rows=4)


# ---- arenas --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [-1, -16, 40, 55])
def test_guard_bands(place, dtype):
    arena = Guarded(40, dtype)
    assert arena.inner.ctypes.data % 64 == 0
    assert not arena.inner.any()
    arena.inner[:] = 1
    arena.check()
    arena._whole[helpers.GUARD + place] = 0
    with fails:
        arena.check()


def test_padding():
    model = cases.branching("tanh")
    mask = helpers.padding(model.plan)
    assert (~mask).sum() == model.count_params()
    model.set_weights([np.full_like(w, 7.0) for w in model.get_weights()])
    np.testing.assert_array_equal(mask, model.arena == 0)
    helpers.assert_padding_is_zero(model.plan, model.arena)
    model.arena[np.flatnonzero(mask)[-1]] = 1e-30
    with fails:
        helpers.assert_padding_is_zero(model.plan, model.arena)
    full = pn.Sequential([pn.Input(2), pn.Dense(16)])
    with fails:  # nothing to look at
        helpers.assert_padding_is_zero(full.plan, full.arena)


# ---- comparisons ---------------------------------------------------------------------------------------------------


def test_assert_close():
    x = np.array([1.0, -200.0, 0.0])
    helpers.assert_close(x, x, 0.0)
    helpers.assert_close(x + 2e-10, x, 1.1e-12)
    for wrong in (x + 2e-9, x[:2], np.array([1.0, -200.0, np.nan]), x[None], np.zeros(3), x + np.inf):
        with fails:
            helpers.assert_close(wrong, x, 1e-12)
    with fails:
        helpers.assert_close(np.array([np.nan]), np.array([np.nan]), 1e-12)
    with fails:
        helpers.assert_close(np.array([1e-300]), np.array([0.0]), 1e-12)


def test_assert_within():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    bound = np.array([[0.0, 0.1], [0.1, 0.1]])
    helpers.assert_within(x + np.array([[0, 0.05], [0, 0]]), x, bound)
    for wrong in (x + np.array([[1e-12, 0], [0, 0]]), x + 0.2, x * np.nan, x[:1]):
        with fails:
            helpers.assert_within(wrong, x, bound)


def test_assert_same_bits():
    x = np.array([0.0, 1.0, np.nan])
    helpers.assert_same_bits(x, x.copy())
    helpers.assert_same_bits(x[::-1], x[::-1].copy())
    for wrong in (np.array([-0.0, 1.0, np.nan]), np.nextafter(x, 2), x.astype("f4"), x[:2], -x):
        with fails:
            helpers.assert_same_bits(wrong, x)


def task(optimizer=None, rows=50):
    rng = np.random.default_rng(0)
    targets = [rng.normal(size=(rows, 3)), rng.normal(size=(rows, 2))]
    heads = [cases.head("mse"), cases.head("mse", 0.5)]
    optimizer = optimizer or cases.RULES["adam"]
    return helpers.Task(cases.branching("tanh"), heads, [rng.normal(size=(rows, 3))], targets, optimizer, batch=5)


@pytest.mark.parametrize("part", ["params", "grads", "slots", "losses"])
@pytest.mark.parametrize("wrong", EVERYWHERE)
def test_assert_agree(part, wrong):
    runs = {executor: task().on(executor, 2) for executor in EVERYWHERE}
    helpers.assert_agree(runs, 1e-12)
    run = runs[wrong]
    array = run.slots[1] if part == "slots" else getattr(run, part)
    array[np.argmax(np.abs(array))] *= 1 + 1e-11
    with fails:
        helpers.assert_agree(runs, 1e-12)


@pytest.mark.skipif(len(FMA_ISAS) < 2, reason="this CPU has one FMA instruction set")
def test_assert_agree_looks_at_bits():
    runs = {executor: task().on(executor, 2) for executor in EVERYWHERE}
    params = runs[Executor(FMA_ISAS[-1], 1)].params
    place = np.argmax(np.abs(params))
    params[place] = np.nextafter(params[place], 0)
    with fails:
        helpers.assert_agree(runs, 1e-12)
    with fails:
        helpers.assert_agree({NUMPY: runs[NUMPY]}, 1e-12)  # nothing to compare with


def test_a_wrong_machine_is_seen(monkeypatch):
    """One derivative that is off by 1e-9 in the NumPy machine."""
    runs = {e: task().on(e, 10) for e in EVERYWHERE[1:]}
    slope = activations.Tanh.df
    monkeypatch.setattr(activations.Tanh, "df", staticmethod(lambda y: slope(y) * (1 + 1e-9)))
    with fails:
        helpers.assert_agree(runs | {NUMPY: task().on(NUMPY, 10)}, 1e-12)


def test_assert_moved():
    start = task().start
    run = task().on(NUMPY, 3)
    helpers.assert_moved(run, start)
    with fails:
        helpers.assert_moved(run, run.params)
    with fails:  # nothing was to move
        helpers.assert_moved(run, start, run.plan.param_names)
    record = run.plan.params[run.plan.param_names.index("main.bias")]
    place = slice(int(record["offset"]), int(record["offset"]) + 16)
    run.params[place] = start[place]
    with fails:
        helpers.assert_moved(run, start)
    helpers.assert_moved(run, start, ["main.bias"])


def test_a_run_sees_each_loss_before_its_step():
    """Split by `look`, or whole: the same run."""
    looked = []
    whole, split = task().on(NUMPY, 2), task().on(NUMPY, 2, look=lambda *_: looked.append(1))
    assert len(looked) == 2
    for name, array in whole.arrays().items():
        helpers.assert_same_bits(split.arrays()[name], array, name)
    still = task(pn.SGD(0.0)).on(NUMPY, 2)
    assert still.losses[0] == whole.losses[0]
    assert still.losses[1] != whole.losses[1]


# ---- kinks, differences, truth -------------------------------------------------------------------------------------


def margin(activation, X, shift=0.0):
    source = pn.Input(2)
    model = pn.Model(source, pn.Activation(activation)(pn.Dense(2)(source)), dtype="float64")
    model.set_weights([np.eye(2), np.full(2, shift)])
    found = differences.Differences(model, [cases.head("mae")], [X], [X + 100], NUMPY, probe=False)
    return cases.kink_margin(found.plan, found.machine, found.params), found


def test_kink_margin():
    X = np.array([[0.5, -0.25], [4.0, 0.125]])
    assert margin("relu", X)[0] == 0.125
    assert margin("relu", X, 0.5)[0] == 0.25
    assert margin("hard_tanh", X)[0] == 0.5
    assert margin("tanh", X)[0] > 90  # only the loss has a kink, far away
    found = margin("tanh", X)[1]
    found.machine.targets[0][1, 1] = found.machine.values[found.plan.head_values[0]][1, 1] + 1e-3
    assert cases.kink_margin(found.plan, found.machine, found.params) == pytest.approx(1e-3)
    assert {name for name, kinks in cases.KINKS.items() if kinks} <= set(cases.ACTIVATIONS)


def test_sign_margin():
    run = task().on(NUMPY, 1)
    before = cases.sign_margin(run.plan, run.grads)
    assert before > 1e-6
    run.grads[0] = 0
    assert cases.sign_margin(run.plan, run.grads) >= before
    run.grads[0] = 1e-9
    assert cases.sign_margin(run.plan, run.grads) < 1e-7


def test_difference():
    assert differences.difference(lambda h: np.exp(2 * h), 1e-3) == pytest.approx(2, rel=1e-11)


def test_differences_see_a_wrong_gradient(executor):
    make = differences.one_head(lambda x: cases.dense(2)(cases.dense(4, "tanh")(x)))
    found = differences.check(make, [cases.head("mse")], differences.of("mse", 2), executor)
    assert set(found.gradient) == {"dense_1.kernel", "dense_1.bias", "dense_2.kernel", "dense_2.bias", "input 0"}
    for name, gradient in found.gradient.items():
        wrong = copy.copy(found)
        wrong.gradient = found.gradient | {name: gradient + 1e-8 * (np.arange(gradient.size) == 0)}
        with fails:
            wrong.check()
        wrong.gradient = found.gradient | {name: gradient * np.nan}
        with fails:
            wrong.check()
    with fails:  # nothing below learns
        make = differences.one_head(lambda x: cases.dense(2)(cases.dense(4, "step")(x)))
        differences.check(make, [cases.head("mse")], differences.of("mse", 2), executor)


def test_truth():
    """Values that everybody knows, to more digits than float64 has."""
    first, rest = truth.nearest(truth.atan, np.array([1.0]))
    assert first[0] == np.pi / 4
    assert rest[0] == pytest.approx(6.123233995736766e-17 / 2, rel=1e-12)
    assert truth.nearest(truth.tanh, np.array([0.5]))[0][0] == 0.46211715726000974
    assert truth.nearest(truth.normal_cdf, np.array([-1.0, 5.0, -10.0]))[0].tolist() == [
        0.15865525393145705, 0.9999997133484281, 7.619853024160525e-24
    ]  # fmt: skip
    assert truth.nearest(truth.sin, np.array([3.0, 1e4]))[0].tolist() == [0.1411200080598672, -0.30561438888825215]
    assert truth.nearest(truth.log1p, np.array([1.0, 1e-20]))[0].tolist() == [0.6931471805599453, 1e-20]


@pytest.mark.parametrize("name", truth.TABLE)
def test_derivatives_of_the_truth(name):
    """By central differences with 50 digits, away from the kinks."""
    f, slope = truth.TABLE[name]
    parameters = [truth.D(p) for p in activations.get(name).parameters]
    with truth.localcontext() as context:
        context.prec = truth.DIGITS
        h = truth.D("1e-12")
        for text in ("-5.3", "-1.7", "-0.6", "0.4", "0.9", "2.2", "7.1"):
            x = truth.D(text)
            estimate = (f(x + h, *parameters) - f(x - h, *parameters)) / (2 * h)
            assert abs(slope(x, *parameters) - estimate) < truth.D("1e-20")
