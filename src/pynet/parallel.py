"""One fit on several processes: the ranks of an MPI communicator, each with its rows of every batch.

Every rank has the whole model, optimizer and data set, and draws the same orders.  Of every batch it computes the
gradient of its own rows; the sum over ranks is what one process would have computed but for the order of additions; and
every rank makes the same update with it.  Whatever the ranks have to know of each other in a step (whose loss was not
finite, that a slice ends, Ctrl-C) travels in a few elements behind the gradient.

mpi4py is not imported here: a communicator is any object with these methods of mpi4py's ``Comm``: Get_rank, Get_size,
allgather, Abort, Allreduce (of a memoryview, with None for "in place"), and for `shards` Send, Recv, Bcast of arrays.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import threading
import traceback
import zlib
from collections.abc import Callable
from functools import reduce
from time import perf_counter, sleep
from typing import Any

import numpy as np

from . import _core
from ._check import integer
from .plan import PANEL
from .shards import ShardSum
from .shared_gradients import PLACE, SharedGradients, shared_gradients

__all__ = ["ALONE", "TAIL", "Ranks", "check_parts", "exchanged"]

TAIL = PANEL  # elements behind the gradient: how many ranks say ...
FLAGS = {"not_finite": 0, "bad_label": 1, "failed": 2}  # ... why they have no gradient,
LAST, INTERRUPTED = 3, 4  # ... that this batch is the last of the slice, that they were sent Ctrl-C
SAID = 5  # elements that may say something
COMM = ("Get_rank", "Get_size", "allgather", "Abort", "Allreduce", "Send", "Recv", "Bcast")


class Ranks:
    """The processes of a fit; without a communicator, this one alone.

    Attributes
    ----------
    rank, size : int
    threads : int
        Of this rank: its part of the CPUs that it shares with others; 0: it has no others.
    parts : (parts, first, stop), or None
        Into how many parts batches are cut, and which are this rank's; None: whole batches.
    until : float
        When the slice under way should end, on rank 0's time.perf_counter.
    failed : bool
        Whether the ranks found out together, in a step, that one of them has no gradient.
    """

    def __init__(self, comm=None) -> None:
        for name in COMM if comm is not None else ():
            if not callable(getattr(comm, name, None)):
                raise TypeError(
                    f"comm must be a communicator of mpi4py, such as MPI.COMM_WORLD, got {type(comm).__name__} "
                    f"without {name}"
                )
        self.comm: Any = comm
        self.rank: int = 0 if comm is None else comm.Get_rank()
        self.size: int = 1 if comm is None else comm.Get_size()
        self._crowded = False  # more ranks than CPUs
        self.threads = self._share_of_cpus() if self.size > 1 else 0
        self.parts: tuple[int, int, int] | None = None
        self.until = 0.0
        self.failed = False
        self._shards: ShardSum | None = None
        self._shared: SharedGradients | None = None
        self._buffer = np.empty(0)
        self._bare: Any = None  # the same, which mpi4py reads faster than an array: 0.3 us a step
        self._tail: Any = None  # what this rank says
        self._tails: list = []  # what stands where something may be said, when all are there
        self._quiet = b""  # what stands there when nobody says anything
        self._hooks: set[str] = set()
        self._ctrl_c = self._heard = self._broken = False  # here; on some rank; the communicator does not work
        self._agreed: BaseException | None = None  # raised on all ranks

    def _share_of_cpus(self) -> int:
        here = platform.node(), sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        sharing = self.comm.allgather(here).count(here)
        self._crowded = sharing > _core.available_cpus()
        return max(1, min(_core.get_num_threads(), _core.available_cpus() // sharing))

    # ---- parts ------------------------------------------------------------------------------------------------------

    def cut(self, shards: int | None) -> None:
        """Decide the parts: `shards` of them, or one for each rank."""
        if shards is not None and integer("shards", shards, 1, 1 << 20) < self.size:
            raise ValueError(f"shards={shards} is less than the {self.size} ranks: some would have nothing to do")
        n = shards or self.size
        if n == 1:
            return
        self.parts = n, n * self.rank // self.size, n * (self.rank + 1) // self.size
        self._shards = ShardSum(self.comm, self.rank, self.size, n) if shards else None

    @property
    def own(self) -> int:
        """How many parts this rank has."""
        return self.parts[2] - self.parts[1] if self.parts else 1

    @property
    def n_parts(self) -> int:
        """Into how many parts batches are cut."""
        return self.parts[0] if self.parts else 1

    # ---- one gradient out of those of all parts ---------------------------------------------------------------------

    def share(self, n: int, dtype, known: SharedGradients | None, clipped: bool) -> SharedGradients | None:
        """Return memory that the ranks share, `known` if it will do, where that is the way to exchange gradients.

        What clips looks at a whole gradient before the update.  Where ranks have to take turns on a CPU, an allreduce
        waits better: 64-16-16-10 with 32 rows on each of 4 ranks on 2 CPUs, 420 us a step instead of 800 to 2100.
        """
        wanted = self._shards is None and not clipped and not self._crowded
        self._shared = shared_gradients(self.comm, n, dtype, known, wanted)
        return self._shared

    @property
    def terms(self) -> list | None:
        """The gradients of all ranks, where they share them; see plan.Job."""
        return [term[:-TAIL] for term in self._shared.terms] if self._shared else None

    def bind(self, buffer: np.ndarray) -> None:
        """Say where the gradient stands, with TAIL elements behind it."""
        self._buffer = buffer
        buffer[-TAIL:] = 0
        self._bare = memoryview(buffer)  # type: ignore[arg-type]
        self._tail = self._bare[-TAIL:][:SAID]
        every: list[Any] = self._shared.terms if self._shared else [buffer]
        self._tails = [memoryview(term)[-TAIL:][:SAID] for term in every]
        self._quiet = bytes(self._tail)

    def reduce(self, part: int, status: str) -> tuple[str, bool]:
        """Be the `reduce` of a job: see plan.Job.  It takes a microsecond beside the exchange itself, every step.

        One exchange, after all of the way down: overlap, pieces and more than that were slower; see docs/mpi.md.
        """
        try:
            if status != "ok":
                self._tail[FLAGS[status]] = 1.0
            if self.rank == 0 and perf_counter() >= self.until:
                self._tail[LAST] = 1.0
            if self._ctrl_c:
                self._tail[INTERRUPTED] = 1.0
            if self._shared:
                self._shared.meeting.wait()
            elif self._shards is None:
                self.comm.Allreduce(None, self._bare)
            elif not self._shards.add(part, self._buffer):
                return status, False
        except BaseException:
            self._broken = True
            raise
        for tail in self._tails:
            if tail.tobytes() != self._quiet:
                break
        else:
            return "ok", False
        said = np.sum(self._tails, axis=0).tolist()
        self.updated()  # all have heard it
        self._buffer[-TAIL:] = 0
        self._heard = said[INTERRUPTED] > 0
        status = next((name for name, flag in FLAGS.items() if said[flag]), "ok")
        self.failed = status != "ok"
        return status, True

    def updated(self) -> None:
        """Be the `updated` of a job: wait until no rank reads this one's gradient any more."""
        if self._shared:
            try:
                self._shared.meeting.wait()
            except BaseException:
                self._broken = True
                raise

    # ---- sums of losses and metrics ---------------------------------------------------------------------------------

    def length(self, n_sums: int) -> int:
        """Return how many sums a checkpoint has of an epoch under way: those of each shard, or of all ranks."""
        return n_sums * (self.n_parts if self._shards else 1)

    def own_sums(self, sums, n_sums: int) -> np.ndarray:
        """Return what the sums of this rank's parts begin with, after a checkpoint had `sums`."""
        if self._shards and self.parts:
            return np.reshape(sums, (-1, n_sums))[self.parts[1] : self.parts[2]].reshape(-1)
        return np.array(sums) if self.rank == 0 else np.zeros(n_sums)

    def _all_sums(self, every: list) -> np.ndarray:
        return np.concatenate(every) if self._shards else reduce(np.add, every)

    def total(self, sums, n_sums: int) -> np.ndarray:
        """Return the sums over all shards of what `after_slice` returned, added in their order."""
        return reduce(np.add, np.reshape(sums, (-1, n_sums)))

    def score(self, sums: np.ndarray, n_sums: int) -> np.ndarray:
        """Return the sums over all ranks."""
        every = [sums] if self.size == 1 else self.comm.allgather(sums)
        return self.total(self._all_sums(every), n_sums)

    def after_slice(self, sums: np.ndarray, stop: bool, guess: int) -> tuple[list, bool, int]:
        """Return the sums of all, whether anybody wants to stop, and rank 0's `guess`."""
        every = [(sums, stop, guess)] if self.size == 1 else self.comm.allgather((sums, bool(stop), guess))
        return self._all_sums([s for s, _, _ in every]).tolist(), any(s for _, s, _ in every), every[0][2]

    # ---- agreement --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def together(self):
        """What an error in here on one rank becomes on all of them, instead of a wait without end."""
        error = None
        try:
            yield
        except Exception as caught:
            error = caught
        if self.size > 1:
            texts = self.comm.allgather(None if error is None else f"{type(error).__name__}: {error}")
            failed = [f"rank {rank}: {text}" for rank, text in enumerate(texts) if text]
            if failed and error is None:
                error = RuntimeError(f"another rank failed: {failed[0]}")
        if error is not None:
            self.agree(error)
            raise error

    def agree(self, error: BaseException) -> None:
        """Say that every rank is about to raise, this one `error`."""
        if not self._broken:
            self._agreed = error

    def all_raise(self, error: BaseException) -> bool:
        """Return whether every rank raises together with this one, as one rank by itself always does."""
        return self.size == 1 or error is self._agreed

    def learn_hooks(self, hooks: set[str]) -> None:
        """Find out which hooks some rank has callbacks for."""
        self._hooks = hooks if self.size == 1 else set().union(*self.comm.allgather(hooks))

    def hook(self, name: str):
        """Return the context in which callbacks run: what one of them raises reaches all ranks."""
        return self.together() if name in self._hooks else contextlib.nullcontext()

    def stops(self, hook: str, stop: bool, agreed: bool) -> bool:
        """Return whether some rank wants to stop after that hook's callbacks; before them, `agreed` was known."""
        if self.size == 1:
            return stop
        return agreed or (hook in self._hooks and any(self.comm.allgather(stop)))

    def check_interrupt(self) -> None:
        """Raise KeyboardInterrupt if some rank was sent Ctrl-C."""
        if self._heard:
            error = KeyboardInterrupt()
            self.agree(error)
            raise error

    def check_same(self, things: Callable[[], dict[str, object]]) -> None:
        """Raise ValueError, on every rank, unless all of them have the same things."""
        if self.size == 1:
            return
        marks = {name: zlib.crc32(repr(value).encode()) for name, value in things().items()}
        every = self.comm.allgather(marks)
        wrong = {
            name: [str(rank) for rank, theirs in enumerate(every) if theirs[name] != every[0][name]] for name in marks
        }
        texts = [
            f"{name} (rank{'s' if len(ranks) > 1 else ''} {', '.join(ranks)})" for name, ranks in wrong.items() if ranks
        ]
        if texts:
            error = ValueError(f"every rank must pass the same to fit; different from rank 0: {'; '.join(texts)}")
            self.agree(error)
            raise error

    def check_weights(self, arena: Any) -> None:
        """Raise ValueError if the ranks no longer hold the same weights."""
        self.check_same(lambda: {"the weights, after this epoch": zlib.crc32(memoryview(arena))})

    @contextlib.contextmanager
    def guard(self):
        """What a whole fit runs in: an error of one rank alone ends all of them, and Ctrl-C waits for a batch."""
        if self.size == 1:
            yield
            return
        ours = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGINT) if ours else None
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_ctrl_c)
        try:
            yield
        except BaseException as error:
            if not self.all_raise(error):
                head = f"pynet: rank {self.rank} of {self.size} failed, and with it all ranks end\n"
                print(head + "".join(traceback.format_exception(error)), end="", file=sys.stderr, flush=True)
                sleep(0.2)  # some launchers drop what they have not passed on yet
                self.comm.Abort(1)
            raise
        finally:
            if before is signal.default_int_handler:
                signal.signal(signal.SIGINT, before)

    def _on_ctrl_c(self, number, frame) -> None:
        if self._ctrl_c:  # the second time: at once
            raise KeyboardInterrupt
        self._ctrl_c = True


ALONE = Ranks()


def exchanged(n: int, dtype) -> np.ndarray:
    """Return a zeroed 1-D array of `n` elements for an allreduce: in huge pages, where the system has them.

    Processes of one machine copy from each other page by page.  In huge pages an allreduce took 0.6 to 0.9 of the time
    (Open MPI 4.1, MPICH 5.0; 0.04 to 2 MB).
    """
    size = n * np.dtype(dtype).itemsize
    pages = _core.huge_pages(PLACE + size)
    return _core.aligned(n, dtype) if pages is None else pages[PLACE : PLACE + size].view(dtype)


def check_parts(plan, external: bool) -> None:
    """Refuse what has to see whole batches, where batches are computed in parts."""
    if external:
        raise ValueError(
            "a loss object of your own sees whole batches, so it cannot be trained with comm or shards: use a built-in "
            "loss"
        )
    ops = plan.ops
    norms = np.flatnonzero(ops["kind"] == _core.OPS["batch_norm"])
    if len(norms):
        raise ValueError(
            f"batch norm {plan.op_names[norms[0]]!r} takes mean and variance over whole batches, so it cannot be "
            "trained with comm or shards: use pn.LayerNorm, or set trainable=False on that layer"
        )
    clips = np.flatnonzero((ops["kind"] == _core.OPS["gradient_clip"]) & (ops["act"] == _core.CLIPS["norm"]))
    if len(clips):
        raise ValueError(
            f"layer {plan.op_names[clips[0]]!r} clips by the norm over whole batches, so it cannot be trained with "
            "comm or shards: clip by value there, or give the trainer clip=pn.ClipNorm(...)"
        )
