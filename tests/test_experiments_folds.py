"""benchmarks/experiments/folds.py: its main path on the digits of the package, and that no test row is seen early."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks" / "experiments"
OURS = ["pynet", "scikit-learn"]
LIMITS = {"epochs": 9, "patience": 3, "widths": ((4,), (8,))}


@pytest.fixture
def folds(monkeypatch):
    """The program, imported as if it were started in its folder."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delenv("PYNET_DATA", raising=False)
    return importlib.import_module("folds")


def table(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]


def test_the_program_prints_its_table_and_keeps_what_is_done(folds, tmp_path, capsys, monkeypatch):
    file = tmp_path / "folds.json"
    arguments = ["--quick", "--json", str(file), "--systems", *OURS]
    folds.main([*arguments, "--folds", "3"])
    first = json.loads(file.read_text())
    assert set(first["runs"]) == {"digits/0/3", "digit_values/0/3"}
    folds.main([*arguments, "--folds", "0", "3", "--seeds", "0", "1"])
    record, printed = json.loads(file.read_text()), table(capsys)
    assert len(record["runs"]) == 8
    assert record["settings"]["sets"]["digits"]["epochs"] == 4
    for key, run in first["runs"].items():
        assert record["runs"][key] == run  # seconds and all: it was not run again
    assert [line.split(" | ")[:3] for line in printed[-4:]] == [
        [f"| {name}", system, "4"] for name in ("digits", "digit_values") for system in OURS
    ]
    assert "nan" not in "".join(printed)
    for results in record["runs"].values():
        for run in results.values():
            assert len(run["validation"]) == 2
            assert 0.2 < run["score"] <= 1
            assert run["seconds"] > 0
            assert run["processor_seconds"] > 0
    monkeypatch.setattr(folds, "run", None)  # nothing is left to be run
    folds.main([*arguments, "--folds", "0", "3", "--seeds", "0", "1"])
    assert table(capsys) == printed[-6:]


@pytest.mark.oracle
def test_pytorch_takes_part(folds, tmp_path, capsys):
    folds.main(["--quick", "--json", str(tmp_path / "folds.json"), "--folds", "0"])
    assert [line.split(" | ")[1] for line in table(capsys)[2:6]] == list(folds.SYSTEMS)


class Spy:
    """Remembers what it is given."""

    name, rates = "spy", (0.1, 0.2)

    def __init__(self):
        self.searches, self.refits = [], []

    def draw(self, rng):
        return {"own": rng.uniform()}

    def search(self, config, job, X, y, X_val, y_val):
        self.searches.append((config, job, X, y, X_val, y_val))
        return -abs(config["own"] - 0.5), len(self.searches)

    def refit(self, config, job, X, y):
        self.refits.append((config, job, X, y))
        return lambda X_test: np.full(len(X_test), 7.0)


def rows_of(folds, n=40):
    rng = np.random.default_rng(0)
    numbers = np.column_stack([np.arange(n), rng.normal(size=n)]).astype(float)
    return folds.Table(numbers, np.arange(n)[:, None] % 3, rng.normal(size=n))


def test_the_test_rows_are_not_seen(folds):
    data, spy = rows_of(folds), Spy()
    train, test = folds.folds(data, 5)[2]
    changed = data.numbers.copy(), data.categories.copy(), data.y.copy()
    for array in changed:
        array[test] = 1000
    other = Spy()
    folds.run(data, [spy], LIMITS, 5, 2, 3)
    folds.run(data._replace(numbers=changed[0], categories=changed[1], y=changed[2]), [other], LIMITS, 5, 2, 3)
    for one, two in zip([*spy.searches, *spy.refits], [*other.searches, *other.refits], strict=True):
        for a, b in zip(one[2:], two[2:], strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(spy.searches) == 3
    assert len(spy.searches[0][3]) + len(spy.searches[0][5]) == len(spy.refits[0][3]) == len(train) == 32
    assert len(spy.searches[0][5]) == 7
    X_fitted = spy.searches[0][2]
    np.testing.assert_allclose(X_fitted[:, 0].mean(), 0, atol=1e-6)  # scaled by the rows that are fitted
    np.testing.assert_allclose(spy.refits[0][2][:, :2].std(axis=0), 1, rtol=1e-6)
    np.testing.assert_array_equal(X_fitted[:, 2:].sum(axis=1), 1)


def test_the_best_configuration_is_fitted_again(folds):
    data, spy = rows_of(folds), Spy()
    results = folds.run(data, [spy], LIMITS, 1, 0, 5)["spy"]
    best = int(np.argmax(results["validation"]))
    config, job, _, _ = spy.refits[0]
    assert config == spy.searches[best][0] == results["chosen"]
    assert job.epochs == results["epochs"] == best + 1
    assert spy.searches[0][1] == (True, 9, 3, 1000)
    assert len(spy.refits) == 1
    _, test = folds.folds(data, 1)[0]
    train, _ = folds.folds(data, 1)[0]
    y = (data.y[test] - data.y[train].mean()) / data.y[train].std()
    expected = 1 - ((y - 7) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert results["score"] == pytest.approx(expected)


def test_folds_and_draws_are_the_same_for_all(folds):
    data = rows_of(folds)
    tests = np.concatenate([test for _, test in folds.folds(data, 0)])
    assert sorted(tests) == list(range(40))
    systems = folds.made(OURS)
    one, two = (folds.draws(system, folds.WIDE, 3, 1, 6) for system in systems)
    for a, b in zip(one, two, strict=True):
        assert a["widths"] == b["widths"]
        places = [
            np.log(config["rate"] / system.rates[0]) / np.log(system.rates[1] / system.rates[0])
            for config, system in zip((a, b), systems, strict=True)
        ]
        assert 0 < places[0] < 1
        assert places[1] == pytest.approx(places[0])
    assert len({a["rate"] for a in one}) == 6
    assert folds.draws(systems[0], folds.WIDE, 3, 1, 6) == one
    assert folds.draws(systems[0], folds.WIDE, 3, 2, 6) != one


def test_a_table_of_scores(folds):
    runs = {
        f"letter/0/{fold}": {
            "pynet": {"score": ours, "seconds": 2.0 + fold, "processor_seconds": 2.0},
            "PyTorch": {"score": theirs, "seconds": 12.0 + 6 * fold, "processor_seconds": 10.0},
        }
        for fold, (ours, theirs) in enumerate([(0.9, 0.8), (0.8, 0.9), (0.9, 0.6)])
    }
    last = folds.report(runs, ["letter", "adult"]).splitlines()[-1]
    assert last == "| letter | PyTorch | 3 | 0.7667 ± 0.1528 | +0.1000 ± 0.1155 | 2 of 3 | 18.0 | 6.0 | 5.0 |"


def test_results_of_other_settings_are_not_mixed_in(folds, tmp_path, monkeypatch):
    arguments = ["--quick", "--json", str(tmp_path / "folds.json"), "--systems", "pynet", "--folds", "0"]
    folds.main(arguments)
    monkeypatch.setitem(folds.SETTINGS["digits"], "epochs", 5)
    with pytest.raises(SystemExit, match="made with other settings"):
        folds.main(arguments)


def test_it_says_what_it_needs(folds):
    with pytest.raises(SystemExit, match="give --data FOLDER"):
        folds.main([])
