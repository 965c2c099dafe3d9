"""Integer networks in Python: what they lose, that nothing overflows, reports, files, and what is refused."""

import copy
import itertools
import json
import math
import re
from fractions import Fraction

import integers
import nets
import numpy as np
import pytest
from helpers import assert_same_bits, assert_within

import pynet as pn
from pynet import _safetensors, activations, cli, files, quantize_files, quantize_ops
from pynet.quantize_calibrate import choose
from pynet.quantize_memory import places
from pynet.quantize_numbers import Quantization, factor, half, offset_limit, shift_right
from pynet.quantize_ops import Value
from pynet.quantize_row_norm import square_root
from pynet.quantized_model import QuantizedModel


@pytest.fixture(scope="module")
def digits():
    return integers.digits_net()


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_shift_right_is_floor():
    v = np.array([-(2**62), -129, -128, -127, -1, 0, 1, 127, 128, 2**62], np.int64)
    for s in (0, 1, 7, 40, 62):
        assert shift_right(v, s).tolist() == [Fraction(int(x), 2**s).__floor__() for x in v]
        assert half(s) == (Fraction(2**s, 2) if s else 0)


@pytest.mark.parametrize("bound", [1, 255, 2**31 - 1, 2**40])
def test_a_factor_is_close_and_cannot_overflow(bound):
    for ratio in (1e-12, 3.7e-9, 0.001, 0.49999999, 0.5, 1.0, 77.7):
        (m,), s = factor([ratio], bound, "x")
        assert 0 <= s <= 62
        assert m < 2**31
        assert int(m) * bound <= 2**62
        bits = min(31, 62 - bound.bit_length())
        assert abs(Fraction(int(m), 2**s) / Fraction(ratio) - 1) <= max(2.0 ** (1 - bits), 2.0**-62 / ratio)


def test_factors_that_no_shift_can_bring_in():
    with pytest.raises(ValueError, match=r"layer 'a': a factor of 1e\+12 between its integers"):
        factor([1.0, 1e12], 255, "layer 'a'")
    with pytest.raises(ValueError, match="layer 'a': a factor of inf"):
        factor([np.inf], 255, "layer 'a'")
    assert factor([0.0], 255, "x")[0].tolist() == [0]
    for offset in (0.3, 1.0, 127.0, 128.0, 1e6, 2.0**40):
        assert 2**58 < offset * 2.0 ** offset_limit([offset]) < 2**61


@pytest.mark.parametrize("bits", [8, 16])
def test_integers_stand_for_real_numbers(bits):
    q = Quantization(0.25, -3, bits)
    assert q.nearest([0.0, 0.25, 0.374, 0.375, -0.125, 1e30, -1e30]).tolist() == [-3, -2, -2, -1, -3, q.hi, q.lo]
    assert q.real(q.nearest([1.5])).tolist() == [1.5]
    assert (q.dtype.itemsize * 8, q.hi - q.lo + 1) == (bits, 2**bits)


def test_ranges():
    sample = np.append(np.linspace(-1, 3, 100_000), 1000.0)
    whole, most, best = (choose("x", sample, 8, method) for method in ("minmax", "percentile", "mse"))
    assert whole.real([-128, 127]) == pytest.approx([-1, 1000], abs=4)
    assert most.real([-128, 127]) == pytest.approx([-1, 3], abs=0.03)

    def loss(q):
        return np.square(q.real(q.nearest(sample)) - sample).mean()

    assert loss(best) <= loss(whole)
    assert choose("x", np.linspace(0, 5, 100), 8, "mse").zero == -128  # behind a relu no integer is wasted
    assert choose("x", np.full(5, 2.0), 8, "mse").real([-128]) == [0.0]  # 0 is always in the range
    assert choose("x", np.zeros(5), 8, "mse").scale == 1.0
    wide = choose("x", np.array([-2.0, 1.0]), 16, "mse")
    assert (wide.zero, wide.real([32767])[0]) == (0, pytest.approx(4.0))
    tanh = choose("x", np.linspace(-20, 20, 1000), 8, "minmax", activations.get("tanh"))
    narrow = choose("x", np.linspace(-20, 20, 1000), 8, "mse", activations.get("tanh"))
    assert narrow.scale < tanh.scale / 3  # what saturates needs no integers
    with pytest.raises(ValueError, match="x takes values that are not finite on X"):
        choose("x", np.array([0.0, np.inf]), 8, "mse")


# ---- what is lost ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_digits_lose_little_and_become_small(digits, kind):
    model, (X, X_test, _, y_test) = digits
    quantized = model.quantize(X, kind)
    report = quantized.report(X_test, y_test)
    found = report.outputs[0]
    assert found.float_accuracy > 0.96
    assert found.accuracy >= found.float_accuracy - 0.003
    assert (
        report.float_bytes - 64 * 4 >= 3.5 * report.flash
    )  # without the scale of the inputs, which costs nothing here
    assert quantized.inputs[0].offset == -128
    assert report.layers["input_1"] == np.inf
    expected = (model.predict(X_test).argmax(axis=1) == y_test).mean()
    assert found.float_accuracy == pytest.approx(expected)
    assert found.accuracy == pytest.approx((quantized.predict(X_test).argmax(axis=1) == y_test).mean())


@pytest.mark.parametrize(("kind", "least"), [("int8", 24.0), ("int16", 38.0)])
@pytest.mark.parametrize("name", integers.NETS)
def test_every_net_stays_close(name, kind, least):
    model, X, quantized = integers.quantized(name, kind)
    report = quantized.report(integers.as_X(X))
    assert min(report.layers.values()) > least
    Y, exact = (integers.as_list(m.predict(integers.as_X(X))) for m in (quantized, model))
    for y, expected, output in zip(Y, exact, report.outputs, strict=True):
        assert y.shape == expected.shape
        assert output.max_error == pytest.approx(np.abs(y - expected).max(), rel=1e-3, abs=1e-6)
        assert output.rms_error == pytest.approx(np.sqrt(np.square(y - expected).mean()), rel=1e-3)


DISCONTINUOUS = ("step", "rectangular")
PARAMETERS = {name: made() for name, made in activations.TABLE.items() if name != "softmax"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_activation(name):
    """8 bits: the entry of the integer, which is the nearest.  16 bits: lines between 513 points."""
    x = pn.Input(1)
    model = pn.Model(x, pn.Activation(name)(x))
    X = np.linspace(-4, 4, 3001, dtype=np.float32)[:, None]
    f = PARAMETERS[name]
    for kind in ("int8", "int16"):
        quantized = model.quantize(X, kind)
        at, q_in, q_out = quantized.inputs[0], quantized.values[0].q, quantized.values[-1].q
        exact = f(q_in.real(at.integers(X, q_in)).astype(np.float64))
        error = np.abs(quantized.predict(X) - exact)
        if kind == "int8" or name == "step":
            assert error.max() <= 0.51 * q_out.scale + 1e-6
        elif name not in DISCONTINUOUS:
            assert error.max() <= 4e-3
        else:
            assert (error > 1e-3).mean() < 2 / 256


def test_an_activation_behind_a_sum():
    """Fused into a dense op: step decides by the sign of the whole sum, tables read 8 or 16 bits of it."""
    for name in ("step", "relu", "tanh", "gelu"):
        x = pn.Input(3)
        model = pn.Model(x, pn.Dense(4)(pn.Dense(50, activation=name)(x)), random_state=3)
        X = integers.rows_for(model, 400)[0]
        for kind, least in (("int8", 30 if name != "step" else 20), ("int16", 40 if name != "step" else 25)):
            assert min(model.quantize(X, kind).report(X).layers.values()) > least, (name, kind)


def test_a_step_decides_by_the_sign_of_the_whole_sum():
    x = pn.Input(1)
    model = pn.Model(x, pn.Dense(1, activation="step")(x))
    model.load_state_dict({"dense_1.kernel": [[1.0]], "dense_1.bias": [0.0]})
    X = np.arange(-100, 101)[:, None]
    for kind in ("int8", "int16"):
        assert model.quantize(X, kind).predict(X) == pytest.approx((X > 0) * 1.0, abs=1e-4)


def test_softmax_of_integers():
    rng = np.random.default_rng(0)
    x = pn.Input(300)
    model = pn.Model(x, pn.Activation("softmax")(x))
    X = (rng.normal(size=(200, 300)) * rng.uniform(0.01, 30, (200, 1))).astype(np.float32)
    quantized = model.quantize(X)
    real = quantized.values[0].q.real(quantized.inputs[0].integers(X, quantized.values[0].q)).astype(np.float64)
    exact = activations.get("softmax")(real)
    assert_within(quantized.predict(X), exact, 0.51 / 32767 + 3e-5 * exact)
    assert (quantized.predict_integers(X).argmax(axis=1) == quantized.predict(X).argmax(axis=1)).all()


def test_square_roots_are_exact():
    roots = np.array([0, 1, 2, 3, 1000, 2**20 + 1, 2**26 + 5, 2**30 + 7, 2**31 - 1], np.int64)
    for v in (roots**2, roots**2 + 2 * roots, np.maximum(roots**2 - 1, 0)):
        assert square_root(v).tolist() == [math.isqrt(int(x)) for x in v]


def test_norms_of_rows():
    """Of rows of any size, also those without variance and those where epsilon counts."""
    rng = np.random.default_rng(0)
    for width, epsilon in ((3, 1e-5), (300, 1e-5), (40, 4.0)):
        x = pn.Input(width)
        model = pn.Model(x, pn.LayerNorm(epsilon=epsilon)(x))
        X = rng.normal(size=(200, width)) * rng.uniform(0.2, 2.0, (200, 1)) + rng.normal(size=(200, 1))
        X[0] = 0.5
        for kind, least in (("int8", 25), ("int16", 60)):
            quantized = model.quantize(X, kind)
            assert min(quantized.report(X).layers.values()) > least, (width, kind)
            assert np.abs(quantized.predict(X[:1])).max() < 1e-3
    with pytest.raises(ValueError, match="layer 'layer_norm_1': its epsilon 4 is too large for values of"):
        model.quantize(X * 1e-8)


def test_an_lstm_skips_what_its_mask_says():
    x, mask = pn.Input((6, 3)), pn.Input(6)
    model = pn.Model([x, mask], [pn.LSTM(4)([x, mask]), pn.LSTM(4, return_sequences=True)([x, mask])])
    X, M = integers.rows_for(model, 100)[0], np.ones((100, 6))
    M[50:, 3:] = 0.0
    quantized = model.quantize([X, M])
    X2 = X.copy()
    X2[50:, 3:] = 7.0
    for a, b in zip(quantized.predict([X, M]), quantized.predict([X2, M]), strict=True):
        assert_same_bits(a, b)
    for kind in ("int8", "int16"):  # a step is taken where its mask is above 1/2
        one = model.quantize([X, M], kind)
        for a, b in zip(one.predict([X, M]), one.predict([X, 0.3 + 0.4 * M]), strict=True):
            assert_same_bits(a, b)
    last, every = quantized.predict([X, M])
    assert (every[50:, 5] == every[50:, 2]).all()
    assert np.abs(last - model.predict([X, M])[0]).max() < 0.02
    nothing = quantized.predict([X, 0 * M])
    assert not nothing[0].any()
    assert not nothing[1].any()


def test_more_than_one_method(digits):
    model, (X, X_test, _, _) = digits
    rms = {r: model.quantize(X, ranges=r).report(X_test).outputs[0].rms_error for r in ("mse", "minmax", "percentile")}
    assert len(set(rms.values())) == 3
    assert max(rms.values()) < 0.01


# ---- nothing overflows -----------------------------------------------------------------------------------------------


def dense_op(w, b, m, s, q, **more):
    n = len(b)
    fields = {"zero": 0, "lo": -32768, "hi": 32767, "table": np.zeros(0, np.int16)} | more
    op = quantize_ops.Dense(0, 1, np.array(w, np.int8), np.array(b, np.int32), np.array(m, np.int32), s, **fields)
    return op, [Value(op.w.shape[1], q, "x"), Value(n, Quantization(1.0, 0, 16), "y")]


@pytest.mark.parametrize(
    ("bits", "width", "wide"), [(8, 1000, False), (16, 490, False), (16, 600, True), (8, 140_000, True)]
)
def test_sums_at_their_ends_are_exact(bits, width, wide):
    """Against Python's integers, at the largest sums that there can be."""
    q = Quantization(1.0, 0, bits)
    w = np.full((3, width), 127)
    w[1] = -127
    w[2, ::2] = -127
    op, values = dense_op(w, [2**26, -(2**26), 5], [2**20 + 1, 2**20 - 1, 12345], 40, q)
    op.check(values)
    assert op.is_wide(values) == wide
    x = np.stack([np.full(width, q.lo), np.full(width, q.hi), np.where(np.arange(width) % 2, q.lo, q.hi)])
    data = [x.astype(np.int64), None]
    op.run(values, data)
    for row, found in zip(x.tolist(), data[1].tolist(), strict=True):
        for o in range(3):
            acc = int(op.b[o]) + sum(a * int(b) for a, b in zip(row, op.w[o].tolist(), strict=True))
            exact = (acc * int(op.m[o]) + 2**39) // 2**40
            assert found[o] == min(max(exact, -32768), 32767)


def test_what_could_overflow_is_refused():
    q = Quantization(1.0, 0, 16)
    for faulty, message in (
        (dense_op(np.full((1, 2000), 127), [0], [2**31 - 1], 40, q), "a product could pass 2\\^62"),
        (dense_op([[1]], [0], [1], 63, q), "the shift is out of range"),
        (dense_op([[1]], [0], [1], 40, q, lo=-32769), "the ends are out of range"),
        (dense_op([[1]], [0], [1], 40, q, zero=2**40), "zero is out of range"),
        (dense_op([[1, 2]], [0, 0], [1], 40, q), "w has shape"),
    ):
        with pytest.raises(ValueError, match=message):
            faulty[0].check(faulty[1])
    values = [Value(1, q, "x"), Value(1, q, "y")]
    for op in (
        quantize_ops.Scale(0, 1, 0, np.array([1], np.int32), np.array([2**63 - 1], np.int64), 40, -1, 1),
        quantize_ops.Add(0, 1, 0, 2**30, 2**30, 2**63 - 2**45, 40, -1, 1),
        quantize_ops.PReLU(0, 1, 2**30, np.array([-(2**31)], np.int32), 0, 40, -1, 1),
    ):
        with pytest.raises(ValueError, match=r"could overflow|a factor is out of range"):
            op.check(values)


def test_weights_of_any_size():
    """A bias that dwarfs its weights, a column of zeros, weights of 1e-30 and 1e30."""
    x = pn.Input(4)
    model = pn.Model(x, pn.Dense(3)(pn.Dense(6, activation="relu")(x)), random_state=2)
    state = model.parameters()
    kernel, bias = state["dense_1.kernel"], state["dense_1.bias"]
    kernel[:, 0], bias[0] = 1e-12, 3.0
    kernel[:, 1], bias[1] = 0.0, 0.0
    kernel[:, 2], bias[2] = 0.0, 2.0
    kernel[:, 3] *= 1e-30
    model.load_state_dict(state)
    X = integers.rows_for(model, 200)[0]
    for kind in ("int8", "int16"):
        assert min(model.quantize(X, kind).report(X).layers.values()) > 35
    state["dense_1.kernel"] = state["dense_1.kernel"] * 1e30
    state["dense_2.kernel"] = state["dense_2.kernel"] * 1e-30
    model.load_state_dict(state)
    assert min(model.quantize(X).report(X).layers.values()) > 30


# ---- inputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high", "kind", "offset"), [
    (0, 255, "int8", -128), (-128, 127, "int8", 0), (0, 256, "int8", None), (-129, 5, "int8", None),
    (0, 255, "int16", -128), (-20000, 256, "int16", 0), (0, 40000, "int16", None),
])  # fmt: skip
def test_whole_numbers_lose_nothing(low, high, kind, offset):
    x = pn.Input(3, scale=0.01, shift=7)
    model = pn.Model(x, pn.Dense(2)(x))
    X = np.linspace(low, high, 300).astype(np.int32)[:, None].repeat(3, axis=1)
    found = model.quantize(X, kind).inputs[0]
    assert found.offset == offset
    quantized = model.quantize(X, kind)
    q = quantized.values[found.value].q
    integers_of_x = found.integers(X, q)
    if offset is None:
        assert np.abs(q.real(integers_of_x) - (X - 7) * 0.01).max() <= 1.01 * q.scale  # an end may be cut by one
    else:
        assert (integers_of_x == X + offset).all()
        assert q.real(integers_of_x) == pytest.approx((X - 7) * 0.01, rel=1e-6, abs=1e-6)
    assert model.quantize(X.astype(np.float32), kind).inputs[0].offset is None  # they need not stay whole


def test_numbers_that_are_none_and_those_out_of_range():
    x = pn.Input(2, shift=[1.0, 2.0], scale=[3.0, 0.5])
    model = pn.Model(x, pn.Dense(2)(x))
    quantized = model.quantize(np.array([[0.0, 1.0], [2.0, 5.0]]))
    q = quantized.values[quantized.inputs[0].value].q
    rows = np.array([[np.nan, np.inf], [-np.inf, 3e38], [1.0, 2.0]])
    assert quantized.inputs[0].integers(rows, q).tolist() == [[q.zero, q.hi], [q.lo, q.hi], [q.zero, q.zero]]
    assert np.isfinite(quantized.predict(rows)).all()


def test_halves_go_away_from_zero():
    x = pn.Input(1)
    quantized = pn.Model(x, pn.Dense(1)(x)).quantize(np.arange(-100, 101)[:, None], "int8")
    found = quantized.inputs[0].integers(
        np.array([[0.5], [-0.5], [1.5], [-1.5], [0.49], [-0.49]]), quantized.values[0].q
    )
    assert found.reshape(-1).tolist() == [1, -1, 2, -2, 0, 0]


def test_ways_to_give_rows():
    x, z = pn.Input(2, name="x"), pn.Input(3, name="z")
    model = pn.Model([x, z], [pn.Dense(2)(pn.Concat()([x, z])), pn.Dense(1, activation="tanh")(z)])
    X = integers.rows_for(model, 2500)
    quantized = model.quantize({"z": X[1], "x": X[0]})
    Y = quantized.predict(X)
    assert [y.shape for y in Y] == [(2500, 2), (2500, 1)]
    for other in (quantized(X), quantized.predict({"z": X[1].tolist(), "x": X[0]})):
        for a, b in zip(Y, other, strict=True):
            assert_same_bits(a, b)
    for a, b in zip(Y, quantized.predict_one([X[0][5], X[1][5]]), strict=True):
        assert_same_bits(a[5], b)
    assert [y.dtype for y in quantized.predict_integers(X)] == [np.int16, np.int16]
    with pytest.raises(ValueError, match=r"X\['z'\] must have shape \[N, 3\], got \(2500, 2\)"):
        quantized.predict([X[0], X[0]])
    one = pn.Sequential([pn.Input(2), pn.Dense(1)]).quantize(X[0])
    assert_same_bits(one.predict_one(X[0][7]), one.predict(X[0])[7])
    assert one.predict(X[0][:0]).shape == (0, 1)


def test_the_model_stays_as_it_was(digits):
    model, (X, X_test, _, _) = digits
    before, arena = model.predict(X_test), model.arena.copy()
    model.quantize(X)
    assert_same_bits(model.arena, arena)
    assert_same_bits(model.predict(X_test), before)


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_values_give_their_place_to_others(digits):
    model, (X, _, _, _) = digits
    assert model.quantize(X).footprint().ram == 128  # two rows of 64, never three
    x = pn.Input(10)
    h = pn.Dense(40, activation="tanh")(x)
    for name in ("tanh", "silu", "gelu"):
        h = pn.Activation(name)(h)
    chain = pn.Model(x, pn.Dense(2)(h))
    assert chain.quantize(integers.rows_for(chain, 50)[0]).footprint().ram == 40  # one place for all of them


def test_nobody_stands_in_a_place_that_is_taken():
    """Values that live at the same time lie apart, or one is written over the other element by element."""
    shared = 0
    for model, X in integers.random_nets(60):
        quantized = model.quantize(integers.as_X(X))
        memory = places(quantized)
        total, found = memory.size, {v: memory.place(v) for v in range(len(quantized.values))}
        place = {v: at for v, (array, at) in found.items() if array == "scratch"}
        span = {
            v: range(at, at + quantized.values[v].width * quantized.values[v].q.bits // 8) for v, at in place.items()
        }
        life: dict = {}
        for t, op in enumerate(quantized.ops):
            for v in (op.y, *op.reads, *op.scratch):
                life.setdefault(v, []).append(t)
        assert all(at % 2 == 0 and span[v].stop <= total for v, at in place.items())
        for u, v in itertools.permutations(place, 2):
            apart = span[u].stop <= span[v].start or span[v].stop <= span[u].start
            if apart or max(life[u]) < min(life[v]) or max(life[v]) < min(life[u]):
                continue
            older, younger = sorted((u, v), key=lambda w: life[w][0])
            t = min(life[younger])
            assert t == max(life[older])
            assert older in quantized.ops[t].reads
            assert quantized.ops[t].kind != "dense"
            assert span[u] == span[v]
            shared += 1
    assert shared > 10


def test_equal_constants_stand_once():
    x = pn.Input(8)
    layer = pn.Dense(8, activation="relu", use_bias=False)
    model = pn.Model(x, pn.Dense(2)(layer(layer(x))))
    footprint = model.quantize(integers.rows_for(model, 50)[0]).footprint()
    assert footprint.parts["weights"] == 8 * 8 + 8 * 2
    assert footprint.macs == 2 * 8 * 8 + 8 * 2


# ---- report ----------------------------------------------------------------------------------------------------------


def test_report(digits):
    model, (X, X_test, _, y_test) = digits
    quantized = model.quantize(X)
    report = quantized.report(X_test, y_test)
    output = report.outputs[0]
    ours, exact = quantized.predict(X_test), model.predict(X_test)
    assert output.max_error == pytest.approx(np.abs(ours - exact).max(), rel=1e-3)
    assert output.agreement == (ours.argmax(axis=1) == exact.argmax(axis=1)).mean()
    assert report.flash == quantized.footprint().flash
    noise = np.square(ours - exact).sum(dtype=np.float64)
    assert report.layers["dense_3"] == pytest.approx(10 * np.log10(np.square(exact).sum() / noise), abs=0.01)
    text = str(report)
    assert f"accuracy {output.accuracy:.2%}, of the float network {output.float_accuracy:.2%}" in text
    assert "dB" in text
    assert quantized.report(X_test).outputs[0].accuracy is None
    other = pn.Sequential([pn.Input(64), pn.Dense(3), pn.Dense(10)])
    for wrong, error, message in (
        ({"y": y_test[:5]}, ValueError, r"y must be 359 class numbers, got int64 of shape \(5,\)"),
        ({"y": y_test * 1.0}, ValueError, "y must be 359 class numbers, got float64"),
        ({"model": other}, ValueError, "model is not the network that was quantised"),
        ({"model": 3}, TypeError, "model must be the float network that was quantised, got int"),
    ):
        with pytest.raises(error, match=message):
            quantized.report(X_test, **wrong)
    with pytest.raises(ValueError, match="X must hold at least one row"):
        quantized.report(X_test[:0])


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["compact", "prelu_everywhere", "dropout_of_a_merge", "batch_norm_of_input", "flatten"]
)
def test_a_file_gives_the_same_network(name, tmp_path):
    for kind in ("int8", "int16"):
        model, X, quantized = integers.quantized(name, kind)
        quantized.metadata["note"] = "x"
        quantized.save(tmp_path / "q.safetensors")
        loaded = pn.load(tmp_path / "q.safetensors")
        assert isinstance(loaded, QuantizedModel)
        assert loaded.metadata == {"note": "x"}
        pairs = zip(*(integers.as_list(m.predict(integers.as_X(X))) for m in (quantized, loaded)), strict=True)
        for a, b in pairs:
            assert_same_bits(a, b)
        for m, file in ((quantized, "a.c"), (loaded, "b.c")):
            pn.export.to_c(m, tmp_path / file, prefix="net")
        assert re.sub(r"\ba\.", "b.", (tmp_path / "a.c").read_text()) == (tmp_path / "b.c").read_text()
        assert str(loaded.report(integers.as_X(X), model=model)) == str(quantized.report(integers.as_X(X)))
        with pytest.raises(TypeError, match="it was loaded from a file"):
            loaded.report(integers.as_X(X))


def test_files_are_told_apart(digits, tmp_path, capsys):
    model, (X, _, _, _) = digits
    path = tmp_path / "q.safetensors"
    model.quantize(X).save(path)
    for read in (files.load_model, files.load_checkpoint, model.load_weights):
        with pytest.raises(ValueError, match=r"q\.safetensors: it holds an integer network, expected a model"):
            read(path)
    assert cli.main(["info", str(path)]) in (0, None)
    shown = capsys.readouterr().out
    assert "quantized, written by pynet" in shown
    assert "softmax" in shown
    assert cli.main(["predict", str(path), "digits"]) not in (0, None)
    assert "it holds an integer network" in capsys.readouterr().err


def leaves(node, path=()):
    """Yield the paths of all leaves and inner nodes of JSON data."""
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from leaves(child, (*path, key))


@pytest.mark.parametrize("name", ["prelu_everywhere", "lstm_masked", "instance_norm"])
def test_no_damaged_file_is_believed(name, tmp_path):
    """Every number and every entry of the document changed in several ways: an error, or a network that passed all
    checks and computes without a fault; every array missing, of another type or shape: an error."""
    _, X, quantized = integers.quantized(name, "int8")
    quantized.save(tmp_path / "whole.safetensors")
    tensors, metadata = _safetensors.read(tmp_path / "whole.safetensors")
    document = json.loads(metadata["pynet"])
    refused = accepted = 0
    for place in list(leaves(document["network"]))[1:]:
        for wrong in (None, -1, 1 << 40, 0.5, "x", [], True):
            changed = copy.deepcopy(document)
            node = changed["network"]
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = wrong
            try:
                loaded = quantize_files.restore(changed, tensors)
            except ValueError:
                refused += 1
            else:
                loaded.predict(integers.as_X(X))
                accepted += 1
    assert refused > 5 * accepted
    for name, array in tensors.items():
        infinite = [np.full_like(array, np.nan)] if array.dtype == np.float32 else []
        for wrong in (array.reshape(1, 1, -1), array.astype(np.float64), *infinite, None):
            changed = {k: v for k, v in tensors.items() if k != name} | ({} if wrong is None else {name: wrong})
            with pytest.raises(ValueError, match=r"op|input|examples|tensor"):
                quantize_files.restore(document, changed)
    with pytest.raises(ValueError, match="tensor 'more' belongs to nothing"):
        quantize_files.restore(document, tensors | {"more": np.ones(2)})


def test_a_damaged_file_is_named(tmp_path):
    quantized = integers.quantized("flatten", "int8")[2]
    path = tmp_path / "damaged.safetensors"
    quantized.save(path)
    tensors, metadata = _safetensors.read(path)
    document = json.loads(metadata["pynet"])
    for key, message in (("network", "entry 'network' is list, expected an object"), ("metadata", "entry 'metadata'")):
        changed = json.dumps(document | {key: []})
        _safetensors.write(path, tensors, {"format": "pynet", "pynet": changed})
        with pytest.raises(ValueError, match=rf"damaged\.safetensors: {message}"):
            pn.load(path)
    del tensors["op1.w"]
    _safetensors.write(path, tensors, metadata)
    with pytest.raises(ValueError, match=r"damaged\.safetensors: tensor 'op1\.w' is missing"):
        pn.load(path)


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", integers.REFUSED)
def test_layers_without_an_integer_form_are_named(name):
    model = nets.NETS[name]("float32")
    kinds, names = model.plan.ops["kind"].tolist(), model.plan.op_names
    first = next(n for kind, n in zip(kinds, names, strict=True) if kind in integers.WITHOUT)
    with pytest.raises(ValueError, match=f"layer '{first}' cannot be quantised: there is no integer form of its op"):
        model.quantize(integers.as_X(integers.rows_for(model, 5)))


def test_most_nets_have_an_integer_form():
    assert len(integers.NETS) > 30


def test_arguments_are_checked(digits):
    model, (X, _, _, _) = digits
    for wrong, message in (
        ({"activations": "int4"}, "unknown activations 'int4', did you mean 'int"),
        ({"activations": 8}, "unknown activations 8"),
        ({"ranges": "max"}, "unknown ranges 'max'"),
        ({"ranges": None}, "unknown ranges None"),
        ({"X": X[:0]}, "X must hold at least one row, got none"),
        ({"X": X[:, :5]}, r"X must have shape \[N, 64\]"),
        ({"X": np.full((3, 64), np.nan)}, "X must be finite, got nan in row 0, column 0"),
    ):
        with pytest.raises(ValueError, match=message):
            model.quantize(**({"X": X} | wrong))


def test_parts_that_do_not_fit(digits):
    model, (X, _, _, _) = digits
    q = model.quantize(X)
    parts = {"values": q.values, "ops": q.ops, "inputs": q.inputs, "outputs": q.outputs, "examples": q.examples}
    QuantizedModel(**parts)
    for wrong, message in (
        ({"ops": q.ops[1:]}, "dense op reads value 1, which is not complete"),
        ({"ops": [q.ops[0], *q.ops]}, "dense op writes value 1 from another place"),
        ({"ops": q.ops[:-1]}, "a value is not made completely"),
        ({"inputs": q.inputs * 2, "examples": q.examples * 2}, "two inputs write value 0"),
        ({"examples": []}, "each input needs as many examples"),
        ({"examples": [q.examples[0].astype(np.int16)]}, "the examples must be int8"),
    ):
        with pytest.raises(ValueError, match=message):
            QuantizedModel(**(parts | wrong))


def test_an_lstm_has_states_of_its_own():
    _, _, q = integers.quantized("lstm_stacked", "int8")
    first, second = (op for op in q.ops if op.kind == "lstm")
    parts = (q.values, q.ops, q.inputs, q.outputs, q.examples)
    for field in ("cell", "hidden"):
        own = getattr(second, field)
        for other in (getattr(first, field), second.x, q.inputs[0].value):
            setattr(second, field, other)
            with pytest.raises(ValueError, match="lstm op works in a value that is another's"):
                QuantizedModel(*parts)
        setattr(second, field, own)
    QuantizedModel(*parts)
