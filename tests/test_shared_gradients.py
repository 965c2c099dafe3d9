"""Gradients in memory that ranks share.  The ranks are threads: each opens that memory as another process would."""

import faulthandler
import os
import signal
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from ranks import BATCH, assert_close, assert_same_bits, data, fail_in_a_layer, fit, lose_the_loss, on_ranks, trainer

import pynet as pn
from pynet import _core, parallel, shared_gradients
from pynet.plan import Job

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="only Linux opens the memory of another process; elsewhere: test_ranks.py"
)


@pytest.fixture(autouse=True)
def every_thread_is_a_process(monkeypatch):
    monkeypatch.setattr(shared_gradients, "_process", lambda: f"/proc/{os.getpid()}/task/{threading.get_native_id()}")
    monkeypatch.setattr(_core, "available_cpus", lambda: 8)
    faulthandler.dump_traceback_later(100, exit=True)  # ranks that wait for each other for ever
    yield
    faulthandler.cancel_dump_traceback_later()


def shared(made) -> bool:
    return made._shared is not None and np.shares_memory(made._grads, made._shared.own)


# ---- what is computed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize(
    "options",
    [
        {}, {"backend": "numpy"}, {"dtype": "float64"}, {"pruned": True}, {"optimizer": "rprop"},
        {"optimizer": pn.AdamW(1e-2, weight_decay=0.1)}, {"n_threads": 2},
    ],
    ids=["c", "numpy", "float64", "pruned", "rprop", "adamw", "threads"],
)  # fmt: skip
def test_ranks_compute_what_one_process_does(options, size):
    alone = trainer(clip=None, **options)
    fit(alone)

    def train(comm):
        made = trainer(clip=None, **options)
        fit(made, comm=comm)
        assert shared(made)
        assert "Allreduce" not in comm.calls
        return made

    ranks = on_ranks(size, train)
    for made in ranks:
        assert_close(made, alone)
        assert_same_bits(made, ranks[0])


def test_two_ranks_have_the_bits_of_an_allreduce(monkeypatch):
    def train(comm):
        made = trainer(clip=None)
        fit(made, comm=comm)
        return made

    ours = on_ranks(2, train)
    monkeypatch.setattr(shared_gradients, "MOST_RANKS", 1)
    for made, theirs in zip(ours, on_ranks(2, train), strict=True):
        assert shared(made)
        assert not shared(theirs)
        assert_same_bits(made, theirs)  # of two numbers the sum has one order


def test_a_net_with_layers_that_do_not_train_and_rates_of_their_own():
    def make():
        model = pn.Sequential([pn.Input(6), pn.Dense(9, "relu"), pn.Dense(7, "tanh"), pn.Dense(3, "softmax")])
        model.layers[1].trainable = False
        return pn.Trainer(model, "cross_entropy", pn.Adam(1e-2))

    X, y, _ = data()
    alone = make()
    alone.fit(X, y, epochs=3, batch_size=BATCH, verbose=0)

    def train(comm):
        made = make()
        made.fit(X, y, epochs=3, batch_size=BATCH, verbose=0, comm=comm)
        assert shared(made)
        return made

    for made in on_ranks(2, train):
        assert_close(made, alone)


def test_pruning_on_the_way():
    class Prune(pn.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            if epoch == 1:
                pn.prune.magnitude(trainer.model, 0.5)

    alone = trainer(clip=None)
    fit(alone, 4, callbacks=[Prune()])

    def train(comm):
        made = trainer(clip=None)
        fit(made, 4, comm=comm, callbacks=[Prune()])
        return made

    for made in on_ranks(2, train):
        assert shared(made)
        assert_close(made, alone)


@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize("slow", [0, 1])
def test_nobody_overwrites_what_a_slow_rank_still_has_to_read(slow, backend, monkeypatch):
    reduce = parallel.Ranks.reduce

    def dawdle(ranks, *arguments):
        answer = reduce(ranks, *arguments)
        if ranks.rank == slow:
            time.sleep(0.01)
        return answer

    monkeypatch.setattr(parallel.Ranks, "reduce", dawdle)
    alone = trainer(clip=None)
    fit(alone, 1)

    def train(comm):
        made = trainer(backend, clip=None)
        fit(made, 1, comm=comm)
        return made

    for made in on_ranks(2, train):
        assert_close(made, alone)


# ---- whose memory ----------------------------------------------------------------------------------------------------


def test_memory_is_made_once_and_again_for_other_ranks():
    made = [trainer(clip=None) for _ in range(3)]

    def train(comm):
        fit(made[comm.rank], 1, comm=comm)
        return made[comm.rank]._shared

    first = on_ranks(2, train)
    assert first[0].mark == first[1].mark
    assert on_ranks(2, train) == first
    fit(made[0], 1), fit(made[1], 1)  # by itself, in the same memory
    assert on_ranks(2, train) == first
    for _ in range(2):
        fit(made[2], 1)
    made[2].model.arena[:] = made[0].model.arena
    for mine, its in zip(made[2]._slots, made[0]._slots, strict=True):
        mine[:] = its
    made[2].epoch, made[2].step = made[0].epoch, made[0].step
    three = on_ranks(3, train)
    assert len({memory.mark for memory in three}) == 1
    assert three[0].mark != first[0].mark
    assert [len(memory.terms) for memory in three] == [3] * 3
    assert_same_bits(made[0], made[1])
    assert np.array_equal(made[0].model.arena, made[2].model.arena)


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("why", ["clip", "shards", "no memfd", "other machine", "same process", "few CPUs"])
def test_an_allreduce_where_memory_cannot_be_shared(why, size, monkeypatch):
    options = {} if why == "clip" else {"clip": None}
    if why == "no memfd":
        monkeypatch.delattr(os, "memfd_create")
    elif why == "other machine":  # the second rank does not find what the first has open
        monkeypatch.setattr(shared_gradients, "_process", lambda: f"/nowhere/{threading.get_native_id()}")
    elif why == "same process":
        monkeypatch.setattr(shared_gradients, "_process", lambda: "/proc/self")
    elif why == "few CPUs":
        monkeypatch.setattr(_core, "available_cpus", lambda: size - 1)
    alone = trainer(**options)
    fit(alone, shards=5 if why == "shards" else None)

    def train(comm):
        made = trainer(**options)
        fit(made, comm=comm, shards=5 if why == "shards" else None)
        assert made._shared is None
        assert ("Allreduce" in comm.calls) == (why != "shards")
        return made

    for made in on_ranks(size, train):
        assert_close(made, alone)


@pytest.mark.parametrize("other", ["file", "pipe", "memory"])
def test_what_has_the_same_name_is_not_taken_for_the_memory(other, tmp_path, monkeypatch):
    """Another machine may have a process of that number, with something open under that number."""
    here = threading.local()
    real = shared_gradients._opened

    def opened(name, mark, size):
        if here.rank == 0:
            return real(name, mark, size)
        if other == "pipe":  # to open one waits for its other end
            os.mkfifo(tmp_path / "other")
            fd = os.open(tmp_path / "other", os.O_RDWR)
        else:
            fd = (
                os.memfd_create(shared_gradients.NAME)
                if other == "memory"
                else os.open(tmp_path, os.O_TMPFILE | os.O_RDWR)
            )
            os.truncate(fd, size)
        try:
            return real(f"/proc/{os.getpid()}/fd/{fd}", mark, size)
        finally:
            os.close(fd)

    monkeypatch.setattr(shared_gradients, "_opened", opened)

    def train(comm):
        here.rank = comm.rank
        made = trainer(clip=None)
        fit(made, comm=comm)
        return made._shared

    assert on_ranks(2, train) == [None, None]


def test_nothing_stays_open():
    def train(comm):
        made = trainer(clip=None)
        fit(made, 1, comm=comm)
        assert shared(made)

    on_ranks(2, train)
    names = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    before = len(names)
    for _ in range(3):
        on_ranks(2, train)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_ranks_that_did_not_meet_equally_often_take_other_memory():
    made = [trainer(clip=None) for _ in range(2)]

    def train(comm):
        fit(made[comm.rank], 1, comm=comm)
        return made[comm.rank]._shared

    first, second = on_ranks(2, train)
    assert first.meeting.count == second.meeting.count > 0
    with pytest.raises(ZeroDivisionError):
        _core.Meeting(first.seats, 0, lambda: 1 / 0).wait()  # as in a fit that broke off
    assert all(memory not in (first, second) for memory in on_ranks(2, train))
    assert_same_bits(*made)


def test_a_fork_trains_in_memory_of_its_own():
    def train(comm):
        made = trainer(clip=None)
        fit(made, 1, comm=comm)
        return made

    made, _ = on_ranks(2, train)
    alone = trainer(clip=None)
    fit(alone, 1), fit(alone, 1)
    before = made._shared.own.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there were threads
        child = os.fork()
    if not child:
        try:
            fit(made, 1)
            assert_close(made, alone)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(made._shared.own, before)
    assert shared(made)


# ---- stops and errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_a_loss_that_is_not_finite_ends_the_fit_everywhere_before_the_step(backend):
    ranks = lose_the_loss(backend)
    assert all(shared(made) for made in ranks)
    X, y, _ = data()

    def go_on(comm):  # they still count alike
        ranks[comm.rank].fit(X, y, epochs=1, batch_size=BATCH, verbose=0, comm=comm)

    on_ranks(2, go_on)
    assert_same_bits(*ranks)


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_a_python_layer_that_fails_on_one_rank_ends_the_fit_everywhere(backend):
    assert all(shared(made) for made in fail_in_a_layer(backend))


def test_whoever_stops_stops_all():
    class Stop(pn.Callback):
        def on_slice_end(self, trainer, logs):
            trainer.stop_training = True

    def train(comm):
        made = trainer(clip=None)
        fit(made, comm=comm, epochs=50, callbacks=[Stop()] if comm.rank else [])
        return made

    assert_same_bits(*on_ranks(2, train))


# ---- meetings and terms ----------------------------------------------------------------------------------------------


def test_nobody_leaves_before_all_have_come():
    seats = _core.aligned(3 * _core.SEAT, np.uint8)
    counts, wrong = np.zeros(3, int), []

    def come(rank):
        meeting = _core.Meeting(seats, rank)
        for k in range(1, 300):
            counts[rank] = k
            meeting.wait()
            wrong.extend(c for c in counts.tolist() if c not in (k, k + 1))

    threads = [threading.Thread(target=come, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert counts.tolist() == [299] * 3


def test_who_waits_does_something_meanwhile():
    seats, calls = _core.aligned(2 * _core.SEAT, np.uint8), []
    first, second = _core.Meeting(seats, 0, lambda: calls.append(time.monotonic())), _core.Meeting(seats, 1)
    late = threading.Timer(0.3, second.wait)
    late.start()
    first.wait()
    late.join()
    assert len(calls) > 1
    assert (first.count, second.count) == (1, 1)


def test_a_wait_in_vain_hears_ctrl_c():
    meeting = _core.Meeting(_core.aligned(2 * _core.SEAT, np.uint8), 0)
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        meeting.wait()
    timer.join()


@pytest.mark.parametrize(
    ("seats", "own"), [(np.zeros(128), 0), (_core.aligned(100, np.uint8), 0), (_core.aligned(128, np.uint8), 2)]
)
def test_seats_that_are_none_are_refused(seats, own):
    with pytest.raises(ValueError, match="seats: expected aligned memory of n \\* 64 bytes"):
        _core.Meeting(seats, own)


def test_terms_that_do_not_fit_are_refused():
    made = trainer(clip=None)
    X, y, _ = data()
    inputs, targets, _, rows = made._prepare(X, y)
    plan, machine = made._machine("train", made.heads.resolve(targets), BATCH)
    job = made._job(plan, inputs, targets, None, rows, BATCH, 0)
    assert isinstance(job, Job)
    job.parts, job.reduce, job.updated = (2, 0, 1), lambda part, status: (status, False), lambda: None
    job.rate = np.zeros(1)
    job.stages = _core.FORWARD | _core.LOSS | _core.BACKWARD | _core.UPDATE
    job.sums = np.zeros(plan.n_sums)
    for terms, what in (
        ([made._grads] * 9, "job.terms: expected at most 8 arrays"),
        ([made._grads, made._grads[:-16]], "term 1: expected an aligned vector"),
        ([made._grads, made._grads.astype("f8")], "term 1: expected an aligned vector"),
    ):
        job.terms = terms
        with pytest.raises(ValueError, match=what):
            machine.run(job, 0, 1)
    job.terms = [made._grads] * 2
    assert machine.run(job, 0, 1) == (1, "ok")
    job.updated = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        machine.run(job, 0, 1)
    job.updated = None
    with pytest.raises(ValueError, match=r"and job\.updated"):
        machine.run(job, 0, 1)
