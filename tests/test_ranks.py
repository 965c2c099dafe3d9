"""Training on several ranks, which are threads here: what they compute, agree on, refuse and tell each other."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest
from ranks import (
    BATCH,
    Comm,
    assert_close,
    assert_same_bits,
    data,
    fail_in_a_layer,
    fit,
    lose_the_loss,
    on_ranks,
    trainer,
)

import pynet as pn
from pynet._core import HUGE
from pynet.parallel import exchanged


@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_compute_what_one_process_does(backend, size):
    alone = trainer(backend)
    fit(alone)

    def train(comm):
        made = trainer(backend)
        fit(made, comm=comm)
        return made

    ranks = on_ranks(size, train)
    for made in ranks:
        assert_close(made, alone)
        assert_same_bits(made, ranks[0])


def test_shards_have_the_same_bits_on_any_number_of_ranks():
    alone = trainer()
    fit(alone, shards=4)

    def train(comm):
        made = trainer()
        fit(made, comm=comm, shards=4)
        return made

    for size in (1, 2, 3, 4):
        for made in on_ranks(size, train):
            assert_same_bits(made, alone)


def test_a_step_exchanges_the_gradient_once_and_nothing_else():
    X, y, _ = data()

    def train(comm):
        made = trainer()
        counts = []

        class Count(pn.Callback):
            def on_epoch_begin(self, trainer, epoch):
                counts.append(comm.calls.count("Allreduce"))

            def on_fit_end(self, trainer):
                counts.append(comm.calls.count("Allreduce"))

        made.fit(X, y, epochs=2, batch_size=BATCH, callbacks=[Count()], verbose=0, comm=comm)
        return counts

    batches = -(-len(X) // BATCH)
    assert on_ranks(2, train) == [[0, batches, 2 * batches]] * 2


def test_a_communicator_of_one_rank_changes_nothing():
    alone, one = trainer(), trainer()
    fit(alone)
    fit(one, comm=on_ranks(1, lambda comm: comm)[0])
    assert_same_bits(one, alone)


def test_what_is_no_communicator_is_refused():
    with pytest.raises(TypeError, match=r"comm must be a communicator of mpi4py, such as MPI\.COMM_WORLD, got str"):
        fit(trainer(), comm="world")


# ---- agreement before the fit ----------------------------------------------------------------------------------------


def failures(change, size=2, **more):
    """The errors on ranks of which the last has something else."""

    def train(comm):
        made = trainer(optimizer=pn.Adam(2e-2) if change == "optimizer" and comm.rank else "adam")
        if comm.rank == size - 1 and callable(change):
            change(made)
        X, y, _ = data()
        options = {"epochs": 1, "batch_size": 20, "verbose": 0, "comm": comm} | more
        if comm.rank == size - 1 and isinstance(change, dict):
            options |= change
            X, y = options.pop("X", X), options.pop("y", y)
        before = made.model.arena.copy()
        try:
            made.fit(X, y, **options)
        except Exception as error:
            assert np.array_equal(made.model.arena, before)
            assert not any("Abort" in call for call in comm.calls)
            fit(made)  # it can still be used
            return error

    return on_ranks(size, train)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"X": data()[0] + 1}, "the data"),
        ({"X": data()[0][:100], "y": data()[1][:100]}, "the data"),
        ({"batch_size": 21}, "epochs, batch_size, shuffle or shards"),
        ({"sample_weight": data()[2]}, "the data"),
        (lambda made: made.model.set_weights([w + 1 for w in made.model.get_weights()]), "the weights"),
        (lambda made: setattr(made, "random_state", 1), "random_state, epoch or step of the trainer"),
        ("optimizer", "the optimizer"),
    ],
)
def test_ranks_with_different_arguments_say_so(change, what):
    for error in failures(change, size=3 if isinstance(change, dict) else 2):
        assert isinstance(error, ValueError)
        assert what in str(error)
        assert "(rank 2" in str(error) if isinstance(change, dict) else "(rank 1)" in str(error)


def test_an_error_of_one_rank_reaches_all():
    wrong = np.zeros((203, 5))
    first, second = failures({"X": wrong})
    assert isinstance(first, RuntimeError)
    assert "another rank failed: rank 1: ValueError: X must have shape [N, 6]" in str(first)
    assert isinstance(second, ValueError)


def test_fewer_shards_than_ranks_are_refused():
    for error in failures({}, size=3, shards=2):
        assert "shards=2 is less than the 3 ranks" in str(error)


# ---- errors and stops on the way -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [None, 5])
@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_a_loss_that_is_not_finite_ends_the_fit_everywhere_before_the_step(backend, shards):
    assert not any(made._shared for made in lose_the_loss(backend, shards=shards))


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_a_python_layer_that_fails_on_one_rank_ends_the_fit_everywhere(backend):
    assert not any(made._shared for made in fail_in_a_layer(backend))


@pytest.mark.parametrize("hook", ["on_fit_begin", "on_epoch_begin", "on_slice_end", "on_epoch_end", "on_fit_end"])
def test_a_callback_that_fails_on_one_rank_ends_the_fit_everywhere(hook):
    def fail(*arguments):
        raise OSError("disk full")

    def train(comm):
        callback = pn.Callback()
        if comm.rank == 0:
            setattr(callback, hook, fail)
        with pytest.raises((OSError, RuntimeError)) as caught:
            fit(trainer(), comm=comm, callbacks=[callback] if comm.rank == 0 else [])
        assert not any("Abort" in call for call in comm.calls)
        return caught.value

    first, second = on_ranks(2, train)
    assert isinstance(first, OSError)
    assert str(second) == "another rank failed: rank 0: OSError: disk full"


def test_what_fails_elsewhere_aborts_all_ranks(capsys):
    def train(comm):
        made = trainer(optimizer=pn.SGD(lambda step: 1 / 0 if comm.rank and step > 12 else 0.1))
        try:
            fit(made, comm=comm)
        except Exception as error:
            return error, comm.calls[-1]

    (_, said), (error, aborted) = on_ranks(2, train)
    assert isinstance(error, ZeroDivisionError)
    assert (said, aborted) == ("Abort(1)", "Abort(1)")  # the other's wait was broken off
    assert "pynet: rank 1 of 2 failed, and with it all ranks end" in capsys.readouterr().err


def test_weights_that_drift_apart_are_noticed():
    class Nudge(pn.Callback):
        def on_slice_end(self, trainer, logs):
            trainer.model.arena[0] += 1

    def train(comm):
        with pytest.raises(ValueError, match=r"the weights, after this epoch \(rank 1\)"):
            fit(trainer(), comm=comm, callbacks=[Nudge()] if comm.rank else [])

    assert on_ranks(2, train) == [None, None]


@pytest.mark.parametrize("way", ["returns", "sets"])
def test_whoever_stops_stops_all(way):
    class Stop(pn.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            trainer.stop_training = way == "sets"
            return way == "returns"

    def train(comm):
        made = trainer()
        fit(made, comm=comm, epochs=50, callbacks=[Stop()] if comm.rank else [])
        return made.epoch

    assert on_ranks(3, train) == [1, 1, 1]


def test_early_stopping_is_that_of_one_process():
    def make():
        return pn.EarlyStopping(patience=2, restore_best_weights=True, min_delta=0.01)

    alone, early = trainer(), make()
    fit(alone, epochs=60, callbacks=[early])

    def train(comm):
        made, stopping = trainer(), make()
        fit(made, epochs=60, callbacks=[stopping], comm=comm)
        return made, stopping

    for made, stopping in on_ranks(2, train):
        assert (stopping.best_epoch, stopping.stopped_epoch) == (early.best_epoch, early.stopped_epoch)
        assert_close(made, alone)
    assert early.stopped_epoch < 59


# ---- what only rank 0 does -------------------------------------------------------------------------------------------


def test_rank_0_prints_and_writes(tmp_path, capsys):
    alone = trainer()
    fit(alone)

    def train(comm):
        made = trainer()
        fit(made, comm=comm, verbose=2, callbacks=[pn.ModelCheckpoint(tmp_path / f"{comm.rank}-{{epoch}}")])
        return made

    on_ranks(3, train)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-1", "0-2", "0-3"]
    assert capsys.readouterr().err.count("val_loss") == 3
    assert_close(pn.Trainer.resume(tmp_path / "0-3"), alone)


@pytest.mark.parametrize("shards", [None, 4])
@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 1), (1, 2)])
def test_a_checkpoint_continues_on_another_number_of_ranks(before, after, shards, tmp_path):
    class Halt(pn.Callback):
        def on_slice_end(self, trainer, logs):
            if not trainer.stop_training:  # the first slice: at most 64 of 200 batches
                trainer.save_checkpoint(tmp_path / "half")
                trainer.stop_training = True

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20_000, 6)).astype("f4"), rng.integers(0, 3, 20_000)
    straight = trainer()
    straight.fit(X, y, epochs=1, batch_size=100, shards=shards, verbose=0)

    def begin(comm):
        trainer().fit(X, y, epochs=1, batch_size=100, shards=shards, callbacks=[Halt()], comm=comm, verbose=0)

    def go_on(comm):
        made = pn.Trainer.resume(tmp_path / "half")
        assert 0 < made._pending["batch"] < 200
        made.fit(X, y, comm=comm, verbose=0)
        return made

    on_ranks(before, begin)
    for made in on_ranks(after, go_on):
        if shards:
            assert_same_bits(made, straight)
        else:
            assert_close(made, straight)


def test_a_rank_takes_its_share_of_the_cpus(monkeypatch):
    from pynet import _core, parallel

    monkeypatch.setattr(_core, "available_cpus", lambda: 8)
    monkeypatch.setattr(_core, "get_num_threads", lambda: 6)
    assert on_ranks(4, lambda comm: parallel.Ranks(comm).threads) == [2, 2, 2, 2]
    assert on_ranks(1, lambda comm: parallel.Ranks(comm).threads) == [0]
    monkeypatch.setattr(parallel.platform, "node", lambda: threading.current_thread().name)  # every rank its own host
    assert on_ranks(2, lambda comm: parallel.Ranks(comm).threads) == [6, 6]


def test_the_interface_of_the_threads_is_that_of_mpi4py():
    MPI = pytest.importorskip("mpi4py.MPI", exc_type=ImportError)
    for name in ("Get_rank", "Get_size", "allgather", "Abort", "Allreduce", "Send", "Recv", "Bcast"):
        assert hasattr(MPI.Comm, name)
        assert hasattr(Comm, name)


# ---- where the gradient stands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [16, 9376, 524288 - 1008, 700_000])
def test_what_is_exchanged_is_zeroed_aligned_and_whole(n, dtype):
    array = exchanged(n, dtype)
    assert (array.shape, array.dtype) == ((n,), np.dtype(dtype))
    assert array.ctypes.data % 64 == 0
    assert not array.any()
    array[:] = np.arange(n)  # all of it can be written
    assert np.array_equal(array, np.arange(n))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux says how memory is mapped")
def test_what_is_exchanged_may_lie_in_huge_pages_from_the_first_to_the_last_byte():
    array = exchanged(700_000, "float32")
    first, last = array.ctypes.data, array.ctypes.data + array.nbytes - 1
    flags = []
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            low, high = (int(end, 16) for end in line.split()[0].split("-"))
        elif line.startswith("VmFlags:") and low <= first < high:
            flags = line.split()
            break
    assert "hg" in flags  # the system was asked for huge pages
    assert low <= first // HUGE * HUGE  # and they are whole
    assert -(-last // HUGE) * HUGE <= high


def test_a_fit_on_ranks_moves_the_gradient_once_and_goes_on():
    def train(comm):
        made = trainer(n_threads=1)
        fit(made, 1, shards=2)  # now a machine is known that would do, but its gradient stands elsewhere
        fit(made, 1, comm=comm)
        first = made._exchanged
        fit(made, 1, comm=comm)
        assert made._exchanged is first
        fit(made, 1)
        return made

    alone = trainer()
    for _ in range(4):
        fit(alone, 1)
    for made in on_ranks(2, train):
        assert_close(made, alone)
