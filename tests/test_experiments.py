"""The experiments run: each in its smoke mode, on the digits that come with the package.

Those on batch norm and dropout: test_experiments_regularisation.py.
"""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks" / "experiments"
ON_DIGITS = [
    "depth", "initialization", "exploding", "transfer", "approximation", "pruning", "pruning_blocks", "second_order",
]  # fmt: skip


@pytest.fixture
def experiment(monkeypatch):
    """Import an experiment by name, as if it were started in its folder."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delenv("PYNET_DATA", raising=False)
    return importlib.import_module


@pytest.mark.parametrize("name", ON_DIGITS)
def test_an_experiment_prints_its_table_and_writes_its_files(name, experiment, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    experiment(name).main(["--out", str(tmp_path), "--quick", "--seeds", "2"])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) > 3
    assert "±" in table[-1]
    assert "nan" not in "".join(table)
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert record["experiment"] == name
    assert len(record["seeds"]) == 2
    assert record["settings"]
    assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_sequences_for_the_lstm(experiment, tmp_path, capsys):
    """On two made-up sets of the right names: classes are directions in which the features drift."""
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    folder = tmp_path / "sequence"
    folder.mkdir()

    def sequences(n, features, longest, sort):
        y = np.sort(np.arange(n) % 9) if sort else rng.integers(0, 9, n)
        lengths = rng.integers(7, longest, n)
        X = [
            np.outer(np.arange(k), np.cos(c + np.arange(features))) / k + rng.normal(size=(k, features)) / 9
            for k, c in zip(lengths, y, strict=True)
        ]
        return X, y, lengths

    arrays = {}
    for part, n in (("train", 270), ("test", 370)):
        X, y, lengths = sequences(n, 12, 29, True)
        padded = np.zeros((n, 29, 12), np.float32)
        for i, x in enumerate(X):
            padded[i, : len(x)] = x
        arrays |= {f"X_{part}": padded, f"y_{part}": y, f"len_{part}": lengths}
    np.savez(folder / "japanese_vowels.npz", **arrays)
    X, y, lengths = sequences(3000, 13, 40, False)
    np.savez(folder / "spoken_digits_mfcc.npz", X=np.concatenate(X).astype(np.float32), lengths=lengths, y=y)
    experiment("lstm").main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--quick", "--seeds", "1"])
    assert "LSTM" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "lstm.json").read_text())["sets"]


def test_an_experiment_says_what_it_needs(experiment):
    for name in ("depth", "lstm"):
        with pytest.raises(SystemExit, match="give --data FOLDER"):
            experiment(name).main([])


def test_tables(experiment, tmp_path, capsys):
    """On two made-up sets of the right names: the files, and the scores."""
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 8))
    names = np.array([f"x{k}" for k in range(8)])
    np.savez(tmp_path / "california_housing.npz", X=X, y=X[:, 0] * 2 + X[:, 1], feature_names=names)
    numbers, codes = rng.integers(0, 9, (400, 2)), rng.integers(0, 3, (400, 1)).astype(np.int8)
    np.savez(
        tmp_path / "adult.npz", X_num=numbers, X_cat=codes, y=(numbers[:, 0] > 4).astype(np.uint8), n_train=300,
        num_names=np.array(["age", "hours"]), cat_names=np.array(["work"]), class_names=np.array(["<=50K", ">50K"]),
        levels_work=np.array(["?", "a, b", "c"]),
    )  # fmt: skip
    tables = experiment("tables")
    tables.main(["--data", str(tmp_path), "--csv", str(tmp_path / "csv")])
    lines = (tmp_path / "csv/adult_train.csv").read_text().splitlines()
    assert lines[0] == "age,hours,work,income"
    assert len(lines) == 301
    assert any('"a, b"' in line for line in lines)
    results = tables.main(["--data", str(tmp_path), "--out", str(tmp_path), "--quick", "--seeds", "2"])
    assert results["adult"]["defaults"]["accuracy"]["mean"] > 0.5
    assert results["california"]["defaults"]["rmse"]["mean"] > 0
    tables.main(["--data", str(tmp_path), "--out", str(tmp_path), "--quick", "--seeds", "1", "--validation"])
    assert (tmp_path / "tables-validation.json").exists()
    assert json.loads((tmp_path / "tables.json").read_text())["settings"]["published"]["adult"] == ["accuracy", 0.852]
