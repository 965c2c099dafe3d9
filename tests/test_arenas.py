"""Arenas: aligned, zeroed, apart from each other, and gone when nobody needs them."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pynet import _core

SIZES = [64, 1000, (1 << 18) - 4, 1 << 18, 407_000, 1_000_000, _core.HUGE, (1 << 22) - 4, 1 << 22, 5_000_000]


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16"])
def test_arenas_are_zeroed_aligned_and_apart_from_each_other(dtype):
    size = np.dtype(dtype).itemsize
    arenas = [_core.aligned(n // size, dtype) for n in SIZES * 3]
    for k, arena in enumerate(arenas):
        assert (arena.dtype, arena.nbytes) == (np.dtype(dtype), SIZES[k % len(SIZES)] // size * size)
        assert arena.ctypes.data % 64 == 0
        assert not arena.any()
        arena[:] = k + 1
    for k, arena in enumerate(arenas):
        assert (arena == k + 1).all()


def test_threads_get_arenas_of_their_own():
    with ThreadPoolExecutor(8) as pool:
        arenas = list(pool.map(lambda k: _core.aligned(70_000 + k, np.float32), range(64)))
    starts = sorted((a.ctypes.data, a.ctypes.data + a.nbytes) for a in arenas)
    assert all(end <= start for (_, end), (start, _) in pairwise(starts))


@pytest.mark.parametrize("n", [240 * 240, 784 * 128])
def test_successive_arenas_begin_at_different_lines_of_a_page(n):
    arenas = [_core.aligned(n, np.float32) for _ in range(7)]
    lines = {a.ctypes.data % 4096 // 64 for a in arenas}
    assert len(lines) == (7 if n * 4 >= 1 << 18 else len(lines))
    assert len(lines) >= 4


def test_where_the_system_gives_no_huge_pages_arenas_are_apart_all_the_same(monkeypatch):
    before = [_core.aligned(100_000, np.float32) for _ in range(3)]
    monkeypatch.setattr(_core, "huge_pages", lambda size: None)
    arenas = [
        *before,
        _core.aligned((1 << 20) - 64, np.float32),
        *(_core.aligned(100_000, np.float32) for _ in range(9)),
    ]
    for k, arena in enumerate(arenas):
        assert arena.ctypes.data % 64 == 0
        assert not arena.any()
        arena[:] = k + 1
    assert [(arena == k + 1).all() for k, arena in enumerate(arenas)] == [True] * len(arenas)


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").is_dir(), reason="only Linux has such huge pages")
def test_huge_pages_are_shared_kept_by_what_lies_in_them_and_given_back():
    full = _core.aligned((2 * _core.HUGE - 8192) // 4, np.float32)  # leaves no room, whatever lies there already
    first = _core.aligned(_core.HUGE // 4 * 3 // 4, np.float32)  # three quarters of one
    assert first.base is not full.base
    second, third = (_core.aligned(100_000, np.float32) for _ in range(2))
    assert first.base is not third.base  # no room for both behind the first
    assert any(second.base is a.base for a in (first, third))
    gone = weakref.ref(third.base)
    third[:] = 7
    del second
    gc.collect()
    assert gone() is not None
    assert (third == 7).all()
    del third
    gc.collect()
    assert gone() is None
    assert not _core.aligned(100_000, np.float32).any()  # begins new ones, or behind `first`
