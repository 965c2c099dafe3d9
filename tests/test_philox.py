"""Philox4x32-10: the published test vectors, and numbers that depend on their position only."""

import math

import numpy as np
import pytest
from helpers import ISAS, forced_isa

from pynet import _core, philox


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers_of_random123(counter, key, expected):
    low, high = (int(word, 16) for word in key.split())
    columns = np.array([[int(word, 16)] * 2 for word in counter.split()], dtype=np.uint64)
    result = philox.block(columns, low | high << 32)
    assert [[f"{word:08x}" for word in column] for column in result.T.tolist()] == [expected.split()] * 2


def test_words_are_blocks_in_order():
    words = philox.words(7 | 9 << 32, (5, 6, 8), 12)
    assert words.dtype == np.uint32
    for number in range(3):
        column = np.array([[number], [5], [6], [8]], dtype=np.uint64)
        np.testing.assert_array_equal(words[4 * number : 4 * number + 4], philox.block(column, 7 | 9 << 32)[:, 0])


def test_a_number_depends_on_its_place_only():
    long = philox.words(3, (1, 2), 100_003)  # several chunks
    assert len(long) == 100_003
    for n in (0, 1, 2, 3, 4, 5, 32767, 32768, 32769, 65537):
        np.testing.assert_array_equal(philox.words(3, (1, 2), n), long[:n])
    np.testing.assert_array_equal(philox.normal(3, (1,), 7), philox.normal(3, (1,), 10)[:7])
    np.testing.assert_array_equal(philox.uniform(3, (1,), 7), philox.uniform(3, (1,), 10)[:7])


def test_streams_and_keys_differ():
    streams = [(0, ()), (1, ()), (1 << 32, ()), (0, (1,)), (0, (0, 1)), (0, (0, 0, 1)), (0, (2,))]
    first = {tuple(philox.words(key, stream, 4).tolist()) for key, stream in streams}
    assert len(first) == len(streams)
    np.testing.assert_array_equal(philox.words(0, (1,), 4), philox.words(0, (1, 0, 0), 4))


def test_uniform_is_open_and_even():
    u = philox.uniform(11, (1,), 400_000)
    assert u.dtype == np.float64
    assert 0 < u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    counts = np.bincount((u * 16).astype(int), minlength=16)
    chi_square = ((counts - 25_000) ** 2 / 25_000).sum()
    assert chi_square < 45  # 15 degrees of freedom: once in 10^4 by chance
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.008


def test_ends_of_uniform(monkeypatch):
    for word, expected in ((0, 2.0**-53), (0xFFFFFFFF, 1 - 2.0**-53)):
        monkeypatch.setattr(philox, "words", lambda key, stream, n, word=word: np.full(n, word, dtype=np.uint32))
        assert philox.uniform(0, (), 1)[0] == expected
        assert np.isfinite(philox.normal(0, (), 2)).all()


def test_normal_has_the_moments():
    z = philox.normal(12, (1,), 400_001)
    assert abs(z.mean()) < 4 / math.sqrt(len(z))
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / len(z))
    assert abs((z**3).mean()) < 4 * math.sqrt(15 / len(z))
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / len(z))
    inside = np.mean(np.abs(z) < 1)
    assert abs(inside - math.erf(math.sqrt(0.5))) < 4 * math.sqrt(0.25 / len(z))


def test_our_logarithm_and_circle():
    u = np.concatenate([philox.uniform(1, (), 10_000), [2.0**-53, 0.25, 0.5, 0.75, 1 - 2.0**-53]])
    np.testing.assert_allclose(philox._log(u), np.log(u), rtol=1e-15, atol=0)
    cos, sin = philox._cos_sin_turns(u)
    np.testing.assert_allclose(cos, np.cos(2 * np.pi * u), rtol=0, atol=2e-15)
    np.testing.assert_allclose(sin, np.sin(2 * np.pi * u), rtol=0, atol=2e-15)
    np.testing.assert_allclose(cos**2 + sin**2, 1, rtol=0, atol=1e-15)


def test_permutation():
    order = philox.permutation(5, 0, 1000)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert (order == np.arange(1000)).sum() < 10
    np.testing.assert_array_equal(order, philox.permutation(5, 0, 1000))
    for seed, epoch in ((5, 1), (6, 0)):
        assert (order == philox.permutation(seed, epoch, 1000)).sum() < 10
    assert (order == philox.permutation(5, 0, 1000, philox.SPLIT)).sum() < 10
    assert philox.permutation(0, 0, 0).tolist() == []
    assert philox.permutation(0, 0, 1).tolist() == [0]


def test_bits_are_for_ever():
    """These numbers reach results that people publish: they must not change from one release to the next."""
    assert philox.permutation(0, 0, 10).tolist() == [9, 4, 0, 7, 8, 1, 5, 2, 6, 3]
    assert [float(x).hex() for x in philox.uniform(1, (2, 3), 2)] == ["0x1.198e8ca23cbe9p-1", "0x1.56b51dc4f1825p-1"]
    assert [float(x).hex() for x in philox.normal(1, (2, 3), 3)] == [
        "-0x1.0fbf4a5e93983p-1",
        "-0x1.e9904c7601d8dp-1",
        "0x1.4ed5b3b16fb27p-4",
    ]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: philox.key_of(-1), ValueError, "random_state must be in 0..18446744073709551615, got -1"),
        (lambda: philox.key_of(2**64), ValueError, "random_state"),
        (lambda: philox.key_of(1.5), TypeError, "random_state must be an integer, got float 1.5"),
        (lambda: philox.key_of(True), TypeError, "random_state"),
        (lambda: philox.key_of(None, "seed"), TypeError, "seed must be an integer"),
        (lambda: philox.words(0, (1, 2, 3, 4), 1), ValueError, "stream must be up to three"),
        (lambda: philox.words(0, (-1,), 1), ValueError, "stream"),
        (lambda: philox.words(0, (2**32,), 1), ValueError, "stream"),
        (lambda: philox.words(0, (), -1), ValueError, "n must be"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


SEED_OF_A_TIE = 17  # of 2^21 rows two have numbers that differ in the lowest 21 bits alone, the larger one first


@pytest.mark.parametrize(
    ("seed", "epoch", "purpose", "n"),
    [
        *(
            (*stream, n)
            for n in (0, 1, 2, 3, 31, 1797, 65_536, 300_001)
            for stream in ((0, 0, 2), (2**64 - 1, 2**32 - 1, 3), (1 << 32 | 5, 7, 1))
        ),
        (SEED_OF_A_TIE, 0, 2, 1 << 21),
    ],
)
def test_c_shuffles_as_numpy_does(seed, epoch, purpose, n):
    expected = philox.permutation(seed, epoch, n, purpose)
    for isa in ISAS:
        with forced_isa(isa):
            np.testing.assert_array_equal(_core.permutation(seed, epoch, n, purpose), expected, isa)


def test_the_memory_of_an_order_is_used_again():
    memory = np.empty((2, 1000), np.int64)
    for epoch in (0, 1):
        order = _core.permutation(5, epoch, 1000, memory=memory)
        assert np.shares_memory(order, memory)
        np.testing.assert_array_equal(order, philox.permutation(5, epoch, 1000))
    with pytest.raises(ValueError, match=r"memory: expected shape \(2, 999\), got \(2, 1000\)"):
        _core.permutation(5, 0, 999, memory=memory)
