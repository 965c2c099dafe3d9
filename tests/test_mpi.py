"""Training under mpiexec: what test_ranks.py sees of threads, in processes that can die."""

import json

import numpy as np
import pytest
from ranks import assert_close, exchanging, fit, mpiexec, trainer

SIZES = (1, 2, 4)


class Result:
    """What train.py left of one rank, with the looks of a trainer."""

    def __init__(self, path):
        with np.load(path) as file:
            arrays = dict(file)
        self.model, self.history, self.step = type("", (), {}), type("", (), {}), int(arrays["step"])
        self.model.arena, self.model.dtype = arrays["arena"], arrays["arena"].dtype
        self.history.history = {name[8:]: array for name, array in arrays.items() if name.startswith("history ")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """{(case, ranks, rank): Result}"""
    folder = tmp_path_factory.mktemp("train")
    for size in SIZES:
        code, out, err = mpiexec(size, "train.py", str(folder))
        assert code == 0, out + err
    return {
        (name, size, rank): Result(folder / f"{name}-{size}-{rank}.npz")
        for name in ("plain", "shards", "numpy", "float64", "shared") for size in SIZES for rank in range(size)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options"),
    [("plain", {}), ("numpy", {"backend": "numpy"}), ("float64", {"dtype": "float64"}), ("shared", {"clip": None})],
)
def test_the_weights_are_those_of_one_process(trained, name, options):
    alone = trainer(**options)
    fit(alone)
    for size in SIZES:
        for rank in range(size):
            assert_close(trained[name, size, rank], alone)
            assert np.array_equal(trained[name, size, rank].model.arena, trained[name, size, 0].model.arena)


def test_shards_have_the_same_bits_on_any_number_of_ranks(trained):
    alone = trainer()
    fit(alone, shards=4)
    for size in SIZES:
        for rank in range(size):
            result = trained["shards", size, rank]
            assert np.array_equal(result.model.arena, alone.model.arena)
            assert {name: list(v) for name, v in result.history.history.items()} == alone.history.history


@pytest.fixture(scope="module", params=["allreduce", "shared"])
def seen(request, tmp_path_factory):
    """What both ranks of behaviour.py told, and the files in their folder."""
    folder = tmp_path_factory.mktemp("behaviour")
    code, out, err = mpiexec(2, "behaviour.py", str(folder), request.param)
    assert code == 0, out + err
    files = {path.name for path in folder.glob("*.safetensors*")}
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)], files


def test_ctrl_c_on_one_rank_ends_the_fit_after_the_same_step(seen):
    first, second = (told["ctrl-c"] for told in seen[0])
    assert first[:2] == second[:2]
    assert first[0] is True
    assert first[1] > 30
    assert (len(first[2]), second[2]) == (1, [])
    assert f"after step {first[1]}" in first[2][0]
    assert seen[0][0]["weights"] == seen[0][1]["weights"]
    assert [told["handler"] for told in seen[0]] == [True, True]  # Ctrl-C is what it was


def test_errors_reach_both_ranks(seen):
    first, second = seen[0]
    assert first["callback"] == "OSError: disk full"
    assert second["callback"] == "RuntimeError: another rank failed: rank 0: OSError: disk full"
    for told in seen[0]:
        assert told["weight"] == (
            "ValueError: every rank must pass the same to fit; different from rank 0: the data (rank 1)"
        )


def test_only_rank_0_writes(seen):
    assert seen[1] == {"0.safetensors"}


@pytest.mark.parametrize("exchange", ["allreduce", "shared", "shards"])
def test_after_a_killed_rank_the_fit_goes_on_with_another_number(exchange, tmp_path):
    checkpoint, shards = tmp_path / "checkpoint", 4 if exchange == "shards" else None
    after = 4 if shards else 3
    code, out, err = mpiexec(2, "mortal.py", str(checkpoint), str(tmp_path), exchange, "kill")
    assert code not in (0, None), out + err  # all ended, and nobody waits
    code, out, err = mpiexec(after, "mortal.py", str(checkpoint), str(tmp_path), exchange, "resume")
    assert code == 0, out + err
    alone = exchanging(exchange)
    fit(alone, 5, shards=shards)
    for rank in range(after):
        with np.load(tmp_path / f"{rank}.npz") as file:
            arena, loss = file["arena"], file["loss"]
        if shards:
            assert np.array_equal(arena, alone.model.arena)
            assert loss.tolist() == alone.history.history["loss"]
        else:
            np.testing.assert_allclose(arena, alone.model.arena, rtol=0, atol=1e-5)
            np.testing.assert_allclose(loss, alone.history.history["loss"], atol=1e-6)


@pytest.mark.parametrize("exchange", ["allreduce", "shared"])
def test_an_error_that_nobody_foresaw_ends_all_ranks(exchange, tmp_path):
    code, out, err = mpiexec(2, "mortal.py", str(tmp_path / "c"), str(tmp_path), exchange, "raise")
    assert code not in (0, None), out + err
    assert "pynet: rank 1 of 2 failed, and with it all ranks end" in err
    assert "TypeError: 'NoneType' object is not callable" in err
