"""The gradients of a few ranks on one machine, in memory that they share: nothing is copied between them.

Every rank computes its gradient where all can see it.  When all are there they meet; each then makes its update with
the sum of all gradients, which it adds up piece by piece as it reads them; and they meet again before anybody computes
the next one.  A rank reads the gradients of all others, so this is for few of them, and each needs a CPU of its own:
who waits here keeps one busy.  It takes a kernel that opens the memory of another process by name (Linux).
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Any

import numpy as np

from . import _core

__all__ = ["MOST_RANKS", "SharedGradients", "shared_gradients"]

MOST_RANKS = 4  # a rank reads n gradients, an allreduce moves two whatever n is: by that count; measured were two ranks
NAME = "pynet gradients"
UNTRACKED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
PLACE = 7 * 576  # bytes: where in a page a gradient begins, and no other arena in its own; see _core.aligned


class SharedGradients:
    """Memory that ranks share.

    Attributes
    ----------
    mark : bytes
        By which the ranks know it.
    terms : list of ndarray [n]
        The gradients of all ranks.
    seats, meeting : ndarray, _core.Meeting
    process : int
        To which it belongs.  A fork of it has the same memory, and must not write there.
    """

    def __init__(self, region, mark: bytes, n: int, dtype: np.dtype, comm: Any) -> None:
        raw = np.frombuffer(region, np.uint8)
        rank, size = comm.Get_rank(), comm.Get_size()
        self.mark, self.rank, self.process = mark, rank, os.getpid()
        self.seats = raw[len(mark) :][: size * _core.SEAT]
        # a message that was begun may need this rank's help, which any call of MPI gives
        self.meeting = _core.Meeting(self.seats, rank, getattr(comm, "Iprobe", None))
        each, start = _layout(n, dtype, size)
        self.terms = [raw[start + k * each :][: n * dtype.itemsize].view(dtype) for k in range(size)]
        self.terms[rank][:] = 0  # who touches a page first has it near

    @property
    def own(self) -> np.ndarray:
        """The gradient of this rank."""
        return self.terms[self.rank]


def _layout(n: int, dtype: np.dtype, size: int) -> tuple[int, int]:
    """Return how many bytes apart gradients begin, and where the first does."""
    pages = -(-(PLACE + n * dtype.itemsize) // mmap.PAGESIZE) + 1
    head = -(-(64 + size * _core.SEAT) // mmap.PAGESIZE)
    return pages * mmap.PAGESIZE, head * mmap.PAGESIZE + PLACE


def _process() -> str:
    """Return the folder in which others see what this process has open."""
    return f"/proc/{os.getpid()}"


def shared_gradients(comm: Any, n: int, dtype, known: SharedGradients | None, wanted: bool) -> SharedGradients | None:
    """Return memory for the gradients of all ranks, of `n` elements each; None on all of them where there is none.

    It keeps a file descriptor of this process, until it is freed (before Python 3.13).

    Parameters
    ----------
    comm : communicator of more than one rank
    n, dtype
    known : SharedGradients or None
        What these ranks, or others, had before; taken again if all of them have it.
    wanted : bool
        Whether this rank wants any.
    """
    rank, size = comm.Get_rank(), comm.Get_size()
    wanted = wanted and size <= MOST_RANKS and hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")
    fits = known is not None and [len(term) for term in known.terms] == [n] * size and known.own.dtype == dtype
    here = (known.mark, known.meeting.count) if known is not None and fits else None
    every = comm.allgather((wanted, _process(), here))
    if not all(want for want, _, _ in every) or len({process for _, process, _ in every}) < size:
        return None
    if here is not None and [there for _, _, there in every] == [here] * size:
        return known
    each, start = _layout(n, np.dtype(dtype), size)
    fd, name, mark = -1, "", b""
    try:
        if rank == 0:
            try:
                fd = os.memfd_create(NAME)
                os.truncate(fd, start + size * each)
                mark = os.urandom(64)
                os.pwrite(fd, mark, 0)
                name = f"{_process()}/fd/{fd}"
            except OSError:  # then there is no such file
                name = ""
        name, mark = comm.allgather((name, mark))[0]
        region = _opened(name, mark, start + size * each)
        if not all(comm.allgather(region is not None)):
            return None
    finally:
        if fd >= 0:
            os.close(fd)
    shared = SharedGradients(region, mark, n, np.dtype(dtype), comm)
    comm.allgather(None)  # nobody computes before all have cleared their part
    return shared


def _opened(name: str, mark: bytes, size: int) -> mmap.mmap | None:
    """Return that memory, or None if it cannot be seen from here, as from another machine."""
    try:
        if not os.readlink(name).startswith(f"/memfd:{NAME}"):  # elsewhere anything may be open under this number
            return None
        fd = os.open(name, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.fstat(fd).st_size != size:
            return None
        region = mmap.mmap(fd, size, **UNTRACKED)
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)
    return region if region[: len(mark)] == mark else None
