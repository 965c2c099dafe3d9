# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
# cython: auto_pickle=False, freethreading_compatible=True
"""The binding: records as NumPy dtypes, the roll-calls, and the C machine.

Nothing is decided here.  Arrays enter as buffers (no NumPy C-API, so one abi3 wheel serves every Python from
3.11 on); a status becomes an exception.
"""

cimport cython as _cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.buffer cimport (PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer)
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

import mmap as _mmap
import time as _time
import weakref as _weakref
from threading import Lock as _Lock, get_ident as _get_ident

import numpy as _np

cdef object _empty = _np.empty   # found once: a name in a module costs 40 ns
cdef object _ndarray = _np.ndarray

# ---- records and roll-calls ------------------------------------------------------------------------------


cdef object _record(names, formats, offsets, size):
    return _np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


cdef object _records():
    cdef pn_value v
    cdef pn_param p
    cdef pn_op o
    cdef char *base = <char *>&v
    value = _record(["width", "ld", "column", "flags"], ["u4"] * 4,
                    [<char *>&v.width - base, <char *>&v.ld - base, <char *>&v.column - base, <char *>&v.flags - base],
                    sizeof(pn_value))
    base = <char *>&p
    param = _record(["offset", "rows", "cols", "flags", "l1", "l2", "max_norm", "rate"],
                    ["u8", "u4", "u4", "u4", "f8", "f8", "f8", "f8"],
                    [<char *>&p.offset - base, <char *>&p.rows - base, <char *>&p.cols - base,
                     <char *>&p.flags - base, <char *>&p.l1 - base, <char *>&p.l2 - base,
                     <char *>&p.max_norm - base, <char *>&p.rate - base], sizeof(pn_param))
    base = <char *>&o
    op = _record(["kind", "act", "flags", "x", "x2", "y", "z", "w", "b", "w2", "slot", "at", "p"],
                 ["u1", "u1", "u2", "u4", "u4", "u4", "u4", "u4", "u4", "u4", "u4", "u4", ("f8", (3,))],
                 [<char *>&o.kind - base, <char *>&o.act - base, <char *>&o.flags - base, <char *>&o.x - base,
                  <char *>&o.x2 - base, <char *>&o.y - base, <char *>&o.z - base, <char *>&o.w - base,
                  <char *>&o.b - base, <char *>&o.w2 - base, <char *>&o.slot - base, <char *>&o.at - base,
                  <char *>&o.p - base], sizeof(pn_op))
    return value, param, op


VALUE, PARAM, OP = _records()
NONE = 0xffffffff
PANEL = 16
FORWARD, LOSS, METRIC, BACKWARD, UPDATE, OUTPUT = PN_FORWARD, PN_LOSS, PN_METRIC, PN_BACKWARD, PN_UPDATE, PN_OUTPUT
BARE = PN_BARE
ADD_X, ADD_X2, STOP_X, STOP_X2 = PN_ADD_X, PN_ADD_X2, PN_STOP_X, PN_STOP_X2
NO_BACKWARD, ADD_W, TRAINABLE, MASKED = PN_NO_BACKWARD, PN_ADD_W, PN_TRAINABLE, PN_MASKED
TURNED, MOST_TURNED = PN_TURNED, PN_MOST_TURNED

OPS, LOSSES, METRICS, OPTIMIZERS, CLIPS, ACTIVATIONS, RANDOM = {}, {}, {}, {}, {}, {}, {}


cdef void _fill_rolls():
    cdef int i = 0
    lists = {"op": OPS, "loss": LOSSES, "metric": METRICS, "clip": CLIPS, "random": RANDOM}
    while pn_roll[i].list[0]:
        kind, name = pn_roll[i].list.decode(), pn_roll[i].name.decode()
        if kind == "optimizer":
            OPTIMIZERS[name] = (pn_roll[i].id, pn_roll[i].extra)
        elif kind == "activation":
            ACTIVATIONS[name] = (pn_roll[i].id, chr(pn_roll[i].extra))
        else:
            lists[kind][name] = pn_roll[i].id
        i += 1


_fill_rolls()
version = pn_version().decode()

# ---- instruction sets and threads --------------------------------------------------------------------------


def isas():
    """Return {name: usable on this CPU} of the instruction sets that were built."""
    cdef int i = 0
    cdef const char *name
    found = {}
    while True:
        name = pn_isa_name(i)
        if name == NULL:
            return found
        found[name.decode()] = bool(pn_isa_usable(name))
        i += 1


def _usable():
    return ", ".join(name for name, usable in isas().items() if usable)


def default_isa():
    """Return the name of the instruction set in use: the best of this CPU, or what PYNET_ISA names."""
    cdef const char *name = NULL
    if pn_isa_default(&name) != PN_OK:
        import os
        raise ValueError(f"PYNET_ISA={os.environ.get('PYNET_ISA')!r} is not available here (usable: {_usable()})")
    return name.decode()


def set_num_threads(int n):
    pn_set_num_threads(n)


def get_num_threads():
    return pn_get_num_threads()


def available_cpus():
    return pn_available_cpus()


# ---- arenas ----------------------------------------------------------------------------------------------------

HUGE = 2 << 20          # bytes of a huge page
_IN_HUGE_PAGES = range(1 << 18, 1 << 22)   # bytes of an array; for larger ones NumPy asks the system itself
_turn = 0
_pages = type(None)     # the huge pages that were begun last, as long as an array lies in them, and how many of their
_taken = 0              # bytes are taken
_lock = _Lock()


def huge_pages(size):
    """Return `size` zeroed bytes or more, uint8, that begin with a huge page; None where the system has none."""
    if not hasattr(_mmap, "MADV_HUGEPAGE"):
        return None
    whole = -(-int(size) // HUGE) * HUGE
    try:
        region = _mmap.mmap(-1, HUGE + whole, _mmap.MAP_PRIVATE | _mmap.MAP_ANONYMOUS)
        region.madvise(_mmap.MADV_HUGEPAGE)
    except OSError:   # a kernel without them, or no memory
        return None
    return _np.frombuffer(region, _np.uint8, whole, -_np.frombuffer(region, _np.uint8).ctypes.data % HUGE)


def aligned(n, dtype):
    """Return a zeroed 1-D array of `n` elements that begins at a multiple of 64 bytes.

    Successive arrays begin at different lines of a page.  An optimizer walks parameters, gradients and its own arrays
    side by side: where all began alike (as large allocations do) they could fall into the same few places of the
    first-level cache, which made steps of 240-240-240 @2 25 % slower than steps of 239-239-239 (Zen 4).

    Arrays of 256 kB to 4 MB lie in huge pages, several in one.  Which places of a cache a hundred common pages share is
    chance, another in each process: a step of 784-128-10 @1 took 42 to 53 us (median 45), and takes 40.  Steps of
    784-512-256-10, 512-512-512-10 and 784-300-100-10 on 1 to 128 rows take 0.96 to 0.99 of the time.
    """
    global _turn, _pages, _taken
    dtype = _np.dtype(dtype)
    size = int(n) * dtype.itemsize
    first = _turn * 576   # 9 lines
    _turn = (_turn + 1) % 7
    if size in _IN_HUGE_PAGES and _lock.acquire(False):   # who would have to wait takes common pages
        try:
            pages = _pages()
            if pages is None or _taken + first + size > pages.nbytes:
                pages = huge_pages(first + size)
                if pages is not None:
                    _pages, _taken = _weakref.ref(pages), 0
            if pages is not None:
                first += _taken
                _taken = -(-(first + size) // 4096) * 4096
                return pages[first:first + size].view(dtype)
        finally:
            _lock.release()
    raw = _np.zeros(size + 7 * 576, _np.uint8)
    first += -raw.ctypes.data % 64
    return raw[first:first + size].view(dtype)


include "_buffers.pxi"
include "_plan.pxi"
include "_prune.pxi"
include "_meeting.pxi"
include "_machine.pxi"
include "_calls.pxi"
include "_search.pxi"
