"""Integer networks: what they lose, what goes in, what they take, what they report."""

import itertools
import math

import integers
import numpy as np
import pytest
from helpers import assert_same_bits, assert_within

import pynet as pn
from pynet import activations
from pynet.quantize_memory import places
from pynet.quantize_row_norm import square_root


@pytest.fixture(scope="module")
def digits():
    return integers.digits_net()


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


@pytest.mark.parametrize("method", ["mse", "minmax", "percentile"])
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_padding_says_nothing_about_ranges(dtype, method):
    x, mask = pn.Input((6, 3), name="x"), pn.Input(6)
    model = pn.Model([x, mask], pn.LSTM(4)([x, mask]))
    rng = np.random.default_rng(0)
    steps = np.clip(np.round(50 * rng.standard_t(3, (1000, 6, 3))), -3000, 3000).astype(dtype)  # a few are far out
    M = np.zeros((1000, 6))
    M[:100], M[100:, 2] = 1.0, 1.0
    padded = np.where(M[:, :, None] > 0, steps, -9999).astype(dtype)
    packed = padded[M > 0].reshape(-1, 6, 3)  # the same steps, and no padding
    alone = model.quantize([packed, np.ones((len(packed), 6))], ranges=method).values[0].q
    got = model.quantize([padded, M], ranges=method)
    assert got.values[0].q.bits == alone.bits
    assert got.values[0].q.scale == pytest.approx(alone.scale, rel=0.1)
    assert got.values[0].q.zero == pytest.approx(alone.zero, abs=10)
    assert (padded[100:, 3:] == -9999).all()
    never = model.quantize([padded, 0 * M])  # nothing to take instead
    assert not never.predict([padded, 0 * M]).any()
    other = pn.Model([x, mask], [pn.LSTM(4)([x, mask]), pn.Dense(2)(pn.Flatten()(x))])  # here the padding counts
    ranges = [m.quantize([padded, M]).values[0].q.scale for m in (model, other)]
    assert ranges[1] > 4 * ranges[0]


def test_more_than_one_method(digits):
    model, (X, X_test, _, _) = digits
    rms = {r: model.quantize(X, ranges=r).report(X_test).outputs[0].rms_error for r in ("mse", "minmax", "percentile")}
    assert len(set(rms.values())) == 3
    assert max(rms.values()) < 0.01


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
