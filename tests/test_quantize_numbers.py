"""Integers that stand for real numbers, and the proofs that no sum of them overflows."""

from fractions import Fraction

import integers
import numpy as np
import pytest

import pynet as pn
from pynet import activations, quantize_ops
from pynet.quantize_calibrate import choose
from pynet.quantize_numbers import Quantization, factor, half, offset_limit, shift_right
from pynet.quantize_ops import Value

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
