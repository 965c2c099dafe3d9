"""The sum over shards: one tree for any number of ranks; and parts of batches in both machines."""

import numpy as np
import pytest
from ranks import assert_close, assert_same_bits, fit, on_ranks, trainer

import pynet as pn
from pynet.shards import ShardSum


def tree_sum(vectors):
    """The definition: neighbours are added, level by level."""
    while len(vectors) > 1:
        pairs = [vectors[i : i + 2] for i in range(0, len(vectors), 2)]
        vectors = [pair[0] + pair[1] if len(pair) == 2 else pair[0] for pair in pairs]
    return vectors[0]


@pytest.mark.parametrize("shards", [2, 3, 4, 5, 7, 8, 13])
def test_the_sum_has_the_bits_of_the_tree_on_any_number_of_ranks(shards):
    rng = np.random.default_rng(shards)
    twice = [[rng.normal(size=50).astype("f4") * 10.0**k for k in range(shards)] for _ in range(2)]
    for size in range(1, shards + 1):

        def add_up(comm, size=size):
            sums = ShardSum(comm, comm.rank, size, shards)
            found = []
            for vectors in twice:
                first, stop = shards * comm.rank // size, shards * (comm.rank + 1) // size
                buffer = np.empty(50, "f4")
                for shard in range(first, stop):
                    buffer[:] = vectors[shard]
                    assert sums.add(shard, buffer) == (shard == stop - 1)
                found.append(buffer)
            return found

        for found in on_ranks(size, add_up):
            for got, vectors in zip(found, twice, strict=True):
                assert np.array_equal(got, tree_sum(vectors))


@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shards", [2, 5, 30])  # 30 of batches of 20 rows: some shards have none
def test_shards_compute_what_whole_batches_do(backend, dtype, shards):
    whole, cut = trainer(backend, dtype), trainer(backend, dtype)
    fit(whole)
    fit(cut, shards=shards)
    assert_close(cut, whole)
    assert not np.array_equal(cut.model.arena, whole.model.arena)  # it is another order of additions


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_shards_without_rows_of_targets_that_are_numbers(backend):
    X = np.random.default_rng(0).normal(size=(23, 4))

    def train(**options):  # the last batch has three rows
        model = pn.Sequential([pn.Input(4), pn.Dense(5, "tanh"), pn.Dense(2)], dtype="float64", random_state=1)
        made = pn.Trainer(model, "mse", metrics=["mae"], backend=backend)
        made.fit(X, X[:, :2], epochs=2, batch_size=20, verbose=0, **options)
        return made

    assert_close(train(shards=4), train())


def test_both_machines_compute_the_same_parts():
    c, numpy = (trainer(backend, "float64") for backend in ("c", "numpy"))
    fit(c, shards=7)
    fit(numpy, shards=7)
    assert_close(c, numpy)


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_pruned_weights_stay_away(backend):
    whole, cut = trainer(backend, pruned=True), trainer(backend, pruned=True)
    away = cut.model.arena == 0
    fit(whole)
    fit(cut, shards=3)
    assert_close(cut, whole)
    assert (cut.model.arena[away] == 0).sum() > 100


def test_one_shard_is_the_whole_batch():
    one, whole = trainer(), trainer()
    fit(one, shards=1)
    fit(whole)
    assert_same_bits(one, whole)


def test_mapped_files_are_read_as_arrays_are(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 6)).astype("f4"), rng.integers(0, 3, 500)
    np.save(tmp_path / "X.npy", X)
    mapped, memory = trainer(), trainer()
    mapped.fit(np.load(tmp_path / "X.npy", mmap_mode="r"), y, epochs=2, shards=3, verbose=0)
    memory.fit(X, y, epochs=2, shards=3, verbose=0)
    assert_same_bits(mapped, memory)


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_a_fit_stopped_in_an_epoch_ends_in_the_same_bits(backend, tmp_path):
    class Stop(pn.Callback):
        def on_slice_end(self, trainer, logs):
            if not trainer.stop_training:
                trainer.save_checkpoint(tmp_path / "half")
                trainer.stop_training = True

    rng, rows = np.random.default_rng(0), {"c": 30_000, "numpy": 600}[backend]
    X, y = rng.normal(size=(rows, 6)).astype("f4"), rng.integers(0, 3, rows)
    options = {"epochs": 1, "batch_size": 8, "verbose": 0}
    straight, halted = trainer(backend), trainer(backend)
    straight.fit(X, y, shards=4, **options)
    halted.fit(X, y, shards=4, callbacks=[Stop()], **options)
    resumed = pn.Trainer.resume(tmp_path / "half")
    assert resumed._pending["batch"] > 0
    with pytest.raises(ValueError, match="shards=2, but the fit that is resumed here had shards=4"):
        resumed.fit(X, y, shards=2, verbose=0)
    resumed.fit(X, y, verbose=0)
    assert_same_bits(resumed, straight)


class Squares:
    def value_and_gradient(self, prediction, target):
        return float(((prediction - target) ** 2).mean()), 2 * (prediction - target) / prediction.size


def refused(layers, loss="mse"):
    made = pn.Trainer(pn.Sequential([pn.Input(6), *layers, pn.Dense(1)]), loss)
    X = np.zeros((20, 6))
    with pytest.raises(ValueError) as caught:
        made.fit(X, X[:, :1], batch_size=10, epochs=1, shards=2, verbose=0)
    before = made.model.arena.copy()
    made.fit(X, X[:, :1], batch_size=10, epochs=0, verbose=0)
    assert np.array_equal(made.model.arena, before)
    return str(caught.value)


def test_what_looks_at_whole_batches_is_refused():
    assert "batch norm 'batch_norm_1' takes mean and variance over whole batches" in refused([pn.BatchNorm()])
    assert "clips by the norm over whole batches" in refused([pn.GradientClip(pn.ClipNorm(1.0))])
    assert "a loss object of your own sees whole batches" in refused([], Squares())


def test_a_frozen_batch_norm_is_none():
    made = pn.Trainer(pn.Sequential([pn.Input(6), pn.BatchNorm(trainable=False), pn.Dense(1)]), "mse")
    made.fit(np.ones((20, 6)), np.ones((20, 1)), batch_size=10, epochs=1, shards=2, verbose=0)
    assert made.step == 2


@pytest.mark.parametrize(("shards", "kind"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("4", TypeError)])
def test_a_wrong_number_of_shards_is_refused(shards, kind):
    with pytest.raises(kind, match="shards"):
        fit(trainer(), shards=shards)
