"""Random numbers by position: Philox4x32-10 of Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
1, 2, 3", SC 2011.

A block of four 32-bit words is a pure function of a key (the seed) and a counter. The counter is the position:

    word 0      number of the block
    words 1..3  the stream: what the numbers are for (INITIALIZE, SHUFFLE, SPLIT), then which parameter, which epoch

So the same numbers come out on any machine, in any order, in C and in NumPy. Normal numbers need a logarithm and a
cosine: these are polynomials of our own, for the bits of a library's depend on the processor.
"""

from __future__ import annotations

import math

import numpy as np

from ._check import integer

__all__ = ["INITIALIZE", "SHUFFLE", "SPLIT", "block", "key_of", "normal", "permutation", "uniform", "words"]

INITIALIZE, SHUFFLE, SPLIT = 1, 2, 3  # first word of a stream; 0 is free for the user

_CHUNK = 1 << 13  # blocks at a time: the temporaries stay in cache
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def key_of(random_state, name: str = "random_state") -> int:
    """Return `random_state` as a key, an int in 0..2^64-1; anything else is an error that holds `name`."""
    return integer(name, random_state, 0, 2**64 - 1)


def block(counter: np.ndarray, key: int) -> np.ndarray:
    """Return Philox4x32-10 of each column of `counter`.

    Parameters
    ----------
    counter : uint64 [4, n]
        Four words below 2^32 per block.
    key : int
        64 bits; the low half is the first word of the key.

    Returns
    -------
    uint64 [4, n], every word below 2^32
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * c0
        p1 = np.uint64(0xCD9E8D57) * c2
        c0, c2 = (p1 >> _HALF) ^ c1 ^ np.uint64(k0), (p0 >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


def words(key: int, stream: tuple[int, ...], n: int) -> np.ndarray:
    """Return the first `n` words of a stream, uint32 [n].

    Parameters
    ----------
    key : int
        Seed, 0..2^64-1.
    stream : tuple of up to three ints, each 0..2^32-1
        Which stream; missing numbers are 0.
    n : int
        At most 2^34.
    """
    if len(stream) > 3 or any(not 0 <= int(s) < 2**32 for s in stream):
        raise ValueError(f"stream must be up to three integers in 0..2^32-1, got {stream!r}")
    if not 0 <= n <= 2**34:
        raise ValueError(f"n must be in 0..2^34, got {n}")
    result = np.empty((-(-n // 4), 4), dtype=np.uint32)
    for first in range(0, len(result), _CHUNK):
        rows = result[first : first + _CHUNK]
        counter = np.zeros((4, len(rows)), dtype=np.uint64)
        counter[0] = np.arange(first, first + len(rows), dtype=np.uint64)
        for place, number in enumerate(stream, start=1):
            counter[place] = int(number)
        rows[...] = block(counter, int(key)).T
    return result.reshape(-1)[:n]


def _integers(key: int, stream: tuple[int, ...], n: int) -> np.ndarray:
    """Return `n` 64-bit integers, each from two words, the first word on top."""
    pairs = words(key, stream, 2 * n).astype(np.uint64).reshape(n, 2)
    return pairs[:, 0] << _HALF | pairs[:, 1]


def uniform(key: int, stream: tuple[int, ...], n: int) -> np.ndarray:
    """Return `n` doubles inside the open interval (0, 1): odd multiples of 2^-53, neither end is ever hit."""
    return (_integers(key, stream, n) >> np.uint64(11) | np.uint64(1)).astype(np.float64) * 2.0**-53


def normal(key: int, stream: tuple[int, ...], n: int) -> np.ndarray:
    """Return `n` standard normal doubles, untruncated (Box, Muller 1958): block k gives numbers 2k and 2k+1."""
    pairs = uniform(key, stream, n + n % 2).reshape(-1, 2)
    radius = np.sqrt(-2.0 * _log(pairs[:, 0]))
    cos, sin = _cos_sin_turns(pairs[:, 1])
    return np.stack([radius * cos, radius * sin], axis=1).reshape(-1)[:n]


def permutation(seed: int, epoch: int, n: int, purpose: int = SHUFFLE) -> np.ndarray:
    """Return a random order of 0..n-1, int64 [n]: the stable sort of `n` random 64-bit numbers."""
    return np.argsort(_integers(seed, (purpose, epoch), n), kind="stable").astype(np.int64, copy=False)


def _polynomial(x: np.ndarray, coefficients) -> np.ndarray:
    """Horner, the constant first."""
    result = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        result = result * x + c
    return result


def _log(u: np.ndarray) -> np.ndarray:
    """log u = e log 2 + 2 artanh s, with u = m 2^e, m in sqrt(1/2)..sqrt(2), s = (m-1)/(m+1)."""
    m, e = np.frexp(u)
    small = m < math.sqrt(0.5)
    m, e = np.where(small, 2 * m, m), e - small
    s = (m - 1) / (m + 1)
    return e * math.log(2.0) + 2 * s * _polynomial(s * s, [1 / (2 * k + 1) for k in range(12)])


def _cos_sin_turns(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of u turns: Taylor series in the nearest quarter, |a| <= pi/4."""
    quarter = np.floor(4 * u + 0.5)
    a = 2 * math.pi * (u - quarter / 4)
    cos = _polynomial(a * a, [(-1) ** k / math.factorial(2 * k) for k in range(10)])
    sin = a * _polynomial(a * a, [(-1) ** k / math.factorial(2 * k + 1) for k in range(10)])
    q = quarter.astype(np.int64) & 3
    return np.choose(q, [cos, -sin, -cos, sin]), np.choose(q, [sin, cos, -sin, -cos])
