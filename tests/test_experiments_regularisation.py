"""The experiments on batch norm and dropout: they run on a small made-up MNIST, and their arithmetic is right."""

import gzip
import importlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import pynet as pn

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks" / "experiments"


@pytest.fixture
def experiment(monkeypatch):
    """Import an experiment by name, as if it were started in its folder."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


@pytest.fixture
def folder(tmp_path):
    """Four files in MNIST's format: 400 and 100 images of ten noisy patterns."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 200, (10, 28, 28))
    for kind, n in (("train", 400), ("t10k", 100)):
        y = np.arange(n) % 10
        images = (patterns[y] + rng.integers(0, 55, (n, 28, 28))).astype(np.uint8)
        for name, array, head in (("images-idx3", images, b"\3"), ("labels-idx1", y.astype(np.uint8), b"\1")):
            shape = np.array(array.shape, ">u4").tobytes()
            with gzip.open(tmp_path / f"{kind}-{name}-ubyte.gz", "wb") as file:
                file.write(b"\0\0\x08" + head + shape + array.tobytes())
    return tmp_path


@pytest.mark.parametrize("name", ["batch_norm", "dropout", "dropout_and_norm"])
def test_an_experiment_prints_its_table_and_writes_its_files(name, experiment, folder, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    experiment(name).main(["--data", str(folder), "--out", str(out), "--quick", "--seeds", "2"])
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert len(table) > 3
    assert {line.count("|") for line in table} == {table[0].count(" | ") + 2}
    assert table[0].count(" | ") > 3
    assert "±" in table[-1]
    assert "nan" not in table[-1]
    json.loads((out / f"{name}.json").read_text())
    assert (out / f"{name}.png").stat().st_size > 5000


def test_an_experiment_says_what_it_needs(experiment, monkeypatch):
    monkeypatch.delenv("PYNET_DATA", raising=False)
    with pytest.raises(SystemExit, match="--data FOLDER"):
        experiment("batch_norm").main([])


def test_steps_until_an_error_is_reached(experiment):
    batch_norm = experiment("batch_norm")
    errors = [9.0, 7.0, 5.0, 3.0, 5.0, 3.0, 1.0, 3.0]  # means of four: 6, 5, 4, 3, 3
    assert batch_norm.smooth(errors).tolist() == [6, 5, 4, 3, 3]
    assert batch_norm.steps_until(errors, 4.5, every=10) == 60  # the third mean ends with the sixth evaluation
    assert batch_norm.steps_until(errors, 6.0, every=10) == 40
    assert batch_norm.steps_until(errors, 2.9, every=10) == np.inf


@pytest.mark.parametrize("norm", [False, True])
def test_the_net_of_the_paper(norm, experiment):
    model = experiment("batch_norm").network(norm, np.zeros((1, 784)), 0.01, 0)
    sizes = [784, 100, 100, 100, 10]
    weights = sum(a * b for a, b in pairwise(sizes))
    assert model.count_params() == weights + (3 * 4 * 100 + 10 if norm else 310)
    assert model.parameters()["dense_1.kernel"].std() == pytest.approx(0.01, rel=0.02)


def test_the_rate_stays_and_falls(experiment):
    for name in ("adam", "momentum"):
        made = experiment("dropout").optimizer(name, (1e-3, 1e-5), 100, 40)
        assert type(made) is (pn.Adam if name == "adam" else pn.SGD)
        rates = made.rates(0, 1000)
        assert rates[0] == rates[100] == pytest.approx(1e-3)
        assert rates[120] == pytest.approx((1e-3 + 1e-5) / 2)
        assert rates[140] == rates[999] == pytest.approx(1e-5)


def test_a_finished_net_is_not_trained_again(experiment, folder, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    dropout = experiment("dropout")
    arguments = ["--data", str(folder), "--out", str(tmp_path / "out"), "--quick", "--seeds", "1", "--nets", "dropout"]
    dropout.main(arguments)
    log = tmp_path / "out" / "dropout-epochs.jsonl"
    lines, table = (
        log.read_text().splitlines(),
        [line for line in capsys.readouterr().out.splitlines() if line.startswith("| drop")],
    )
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    record = json.loads((tmp_path / "out" / "dropout.json").read_text())["nets"]["dropout"]
    assert record["error"]["seeds"] == [pytest.approx(json.loads(lines[1])["error"])]  # of the last epoch
    assert f"| {record['error']['mean']:.2f} ± 0.00 |" in table[0]
    dropout.main(arguments)
    assert log.read_text().splitlines() == lines
    assert table[0] in capsys.readouterr().out
    log.write_text(lines[0] + "\n")  # it was interrupted after an epoch
    dropout.main(arguments)
    assert len(log.read_text().splitlines()) == 3
    again = dropout.read_log(str(log), "dropout", 0)
    first = [json.loads(line) for line in lines]
    assert [r["error"] for r in again] == [r["error"] for r in first]
    assert dropout.read_log(str(log), "dropout", 1) == []


def test_validation_does_not_see_the_test_images(experiment, folder, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    dropout, seen = experiment("dropout"), []
    train = dropout.train
    monkeypatch.setattr(
        dropout, "train", lambda net, seed, data, *rest: seen.append(data) or train(net, seed, data, *rest)
    )
    dropout.main(["--data", str(folder), "--out", str(tmp_path / "out"), "--quick", "--seeds", "1", "--validate"])
    (X, y, X_held, y_held) = seen[0]
    everything, *_ = experiment("mnist_files").load(str(folder))
    np.testing.assert_array_equal(np.concatenate([X, X_held]), everything)
    assert len(X) == len(y) == 333
    assert len(X_held) == len(y_held) == 67


def test_shift_is_the_ratio_of_variances(experiment):
    module = experiment("dropout_and_norm")
    X = np.random.default_rng(0).integers(0, 256, (200, 784)).astype(np.uint8)
    X[0, 0] = 255  # the largest pixel becomes 1
    model = module.network("after", X, 8, 0)
    model.recalibrate(X)
    assert module.shift(model, X) == pytest.approx([200 / 199] * 3, rel=1e-4)  # recalibrate: n - 1, here: n
    state = model.state_dict()
    state["batch_norm_1.variance"] *= [1, 2, 3, 4, 5, 6, 7, 80]
    model.load_state_dict(state)
    after = module.shift(model, X)
    assert after[0] == pytest.approx(4.5 * 200 / 199, rel=1e-4)  # the median of the factors
    h = (X / 255) @ state["dense_1.kernel"] + state["dense_1.bias"]
    h = (h - state["batch_norm_1.mean"]) / np.sqrt(state["batch_norm_1.variance"] + 1e-5)
    h = np.maximum(h, 0) @ state["dense_2.kernel"] + state["dense_2.bias"]
    assert after[1] == pytest.approx(np.median(state["batch_norm_2.variance"] / h.var(axis=0)), rel=1e-3)


def test_recalibrated_scores_are_without_shift(experiment, folder):
    module, common = experiment("dropout_and_norm"), experiment("common")
    chosen = common.arguments("", ["--data", str(folder), "--quick"])
    record = module.run("before", common.mnist(chosen), 2, 8, 0)
    assert min(record["trained"]["shift"]) > 1.2
    assert record["recalibrated"]["shift"] == pytest.approx([400 / 399] * 3, rel=1e-3)
    assert record["recalibrated"]["loss"] != record["trained"]["loss"]


def test_where_the_dropout_stands(experiment):
    module = experiment("dropout_and_norm")
    kinds = {
        place: [type(layer) for layer in module.network(place, np.ones((1, 784)), 8, 0).layers]
        for place in module.PLACES
    }
    block = [pn.Dense, pn.BatchNorm, pn.Activation]
    before = [pn.Dense, pn.Dropout, pn.BatchNorm, pn.Activation]
    assert kinds["none"] == [pn.Input, *block * 3, pn.Dense]
    assert kinds["after"] == [pn.Input, *block * 3, pn.Dropout, pn.Dense]
    assert kinds["between"] == [pn.Input, *[*block, pn.Dropout] * 3, pn.Dense]
    assert kinds["before"] == [pn.Input, *before * 3, pn.Dense]
