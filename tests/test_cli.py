"""The command line, from end to end, as a stranger uses it."""

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import pynet as pn
from pynet import cli, files

SMALL = ["--hidden", "16", "--epochs", "5", "--learning-rate", "0.01", "--quiet"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Every test in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    return cli.main(list(arguments))


def process(*arguments: str, **options):
    return subprocess.Popen([sys.executable, "-m", "pynet", *arguments], stderr=subprocess.PIPE, text=True, **options)


def houses(path="houses.csv", rows=300, seed=0):
    """A table whose price is nearly linear in two of three columns."""
    rng = np.random.default_rng(seed)
    X = rng.normal([100, 5, 0], [30, 2, 1e-3], (rows, 3))
    price = 2000 * X[:, 0] - 9000 * X[:, 1] + 50_000 + rng.normal(0, 500, rows)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["area", "age", "noise", "price"])
        writer.writerows(np.column_stack([X, price]).tolist())
    return X, price


def animals(path="animals.csv", rows=120):
    rng = np.random.default_rng(1)
    kinds = rng.choice(["cat", "dog", "horse"], rows)
    weights = np.select([kinds == "cat", kinds == "dog"], [4.0, 20.0], 500.0) * rng.normal(1, 0.1, rows)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "weight", "legs"])
        writer.writerows(zip(kinds, weights, [4] * rows, strict=True))
    return kinds


def value_after(text: str, word: str) -> float:
    return float(text.split(word, 1)[1].split()[0].rstrip("%,"))


# ---- the way of a stranger ---------------------------------------------------------------------


def test_digits(capsys):
    assert run("train", "digits") == 0
    out, err = capsys.readouterr()
    assert value_after(out, "accuracy") >= 97.5
    assert "epoch" in err
    assert "val_loss" in err
    for step in (
        "pynet evaluate digits.safetensors digits",
        "pynet predict",
        "pynet info",
        "pn.load('digits.safetensors')",
    ):
        assert step in out
    assert os.listdir() == ["digits.safetensors"]
    test_line = next(line for line in out.splitlines() if line.startswith("test"))

    assert run("evaluate", "digits.safetensors", "digits") == 0
    out = capsys.readouterr().out
    assert "held out" in out
    assert test_line.split(None, 1)[1] in out  # the same rows, the same number

    assert run("evaluate", "digits.safetensors", "digits", "--all") == 0
    assert "of 1797 right" in capsys.readouterr().out

    assert run("predict", "digits.safetensors", "digits", "--output", "answers.csv") == 0
    with open("answers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    y = pn.datasets.load_digits()[1]
    assert np.mean([int(row["digit"]) == label for row, label in zip(rows, y, strict=True)]) > 0.98

    capsys.readouterr()
    assert run("info", "digits.safetensors") == 0
    out = capsys.readouterr().out
    for text in ("10 classes", "pixel_0", "Dense", "parameters"):
        assert text in out


def test_python_can_use_what_was_trained():
    assert run("train", "digits", *SMALL) == 0
    X, y = pn.datasets.load_digits()
    model = pn.load("digits.safetensors")
    assert (model.predict(X).argmax(axis=1) == y).mean() > 0.8
    assert model.metadata["classes"] == [str(k) for k in range(10)]


def test_numbers(capsys):
    X, price = houses()
    assert (
        run("train", "houses.csv", "--target", "price", "--hidden", "none", "--learning-rate", "0.01", "--quiet") == 0
    )
    out = capsys.readouterr().out
    assert value_after(out, "RMSE") < 1000
    assert value_after(out, "R2") > 0.99
    answer = pn.load("houses.safetensors").predict(X)  # raw values in, the target's own units out
    assert np.sqrt(np.mean((answer - price) ** 2)) < 1000

    assert run("evaluate", "houses.safetensors", "houses.csv") == 0
    assert "held out" in capsys.readouterr().out
    _, price = houses("more.csv", 50, seed=9)
    assert run("evaluate", "houses.safetensors", "more.csv") == 0
    out = capsys.readouterr().out
    assert "all rows" in out
    assert "(50 rows)" in out
    assert run("predict", "houses.safetensors", "more.csv") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert list(rows[0]) == ["row", "price"]
    assert np.corrcoef([float(row["price"]) for row in rows], price)[0, 1] > 0.99


def test_columns_are_found_by_name(capsys):
    houses()
    assert run("train", "houses.csv", *SMALL) == 0
    assert run("predict", "houses.safetensors", "houses.csv", "--output", "a.csv") == 0
    with open("houses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open("shuffled.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["remark", "noise", "area", "age"])
        writer.writeheader()
        writer.writerows({**{k: row[k] for k in ("noise", "area", "age")}, "remark": "none"} for row in rows)
    assert run("predict", "houses.safetensors", "shuffled.csv", "--output", "b.csv") == 0
    with open("a.csv") as a, open("b.csv") as b:
        assert a.read() == b.read()


def test_texts_are_classes(capsys):
    kinds = animals()
    assert run("train", "animals.csv", "--target", "kind", "--hidden", "8", "--learning-rate", "0.03", "--quiet") == 0
    out = capsys.readouterr().out
    assert "3 classes (cat dog horse)" in out
    assert value_after(out, "accuracy") > 90
    assert run("predict", "animals.safetensors", "animals.csv", "--probabilities") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert list(rows[0]) == ["row", "kind", "cat", "dog", "horse"]
    assert np.mean([row["kind"] == kind for row, kind in zip(rows, kinds, strict=True)]) > 0.9
    assert sum(float(rows[0][kind]) for kind in ("cat", "dog", "horse")) == pytest.approx(1.0, abs=1e-4)


def test_archives(capsys):
    X, y = pn.datasets.load_digits()
    np.savez("d.npz", X=X.reshape(-1, 8, 8), y=y)
    np.savez("two.npz", X=X[:200], y=X[:200, 10:12].astype(float))
    assert run("train", "d.npz", *SMALL) == 0
    assert run("evaluate", "d.safetensors", "d.npz") == 0
    assert "held out" in capsys.readouterr().out
    assert run("train", "two.npz", *SMALL) == 0
    assert run("predict", "two.safetensors", "two.npz") == 0
    assert capsys.readouterr().out.splitlines()[-200].startswith("1,")
    assert pn.load("two.safetensors").outputs[0].width == 2


def test_task_can_be_chosen(capsys):
    np.savez("d.npz", X=np.arange(100.0).reshape(50, 2), y=np.arange(50) % 5)
    assert run("train", "d.npz", *SMALL, "--task", "numbers") == 0
    assert "RMSE" in capsys.readouterr().out
    assert run("train", "d.npz", *SMALL) == 0
    assert "accuracy" in capsys.readouterr().out


def test_without_test_or_validation_rows(capsys):
    assert run("train", "digits", *SMALL, "--test", "0", "--validation", "0") == 0
    out = capsys.readouterr().out
    assert "1797 train (seed 0)" in out
    assert not any(line.startswith("test") for line in out.splitlines())


@pytest.mark.parametrize(
    "options", [["--dtype", "float64"], ["--backend", "numpy"], ["--optimizer", "adamw"], ["--l2", "1e-3"]]
)
def test_options_reach_the_training(options, capsys):
    assert run("train", "digits", *SMALL, *options) == 0
    assert value_after(capsys.readouterr().out, "accuracy") > 50


def test_the_same_seed_gives_the_same_file():
    for name in "ab":
        assert (
            run("train", "digits", *SMALL, "--output", f"{name}.safetensors", "--threads", "1" if name == "a" else "2")
            == 0
        )
    assert run("train", "digits", *SMALL, "--output", "c.safetensors", "--seed", "1") == 0
    a, b, c = (files.read(f"{name}.safetensors")[0] for name in "abc")
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not np.array_equal(a["dense_1.kernel"], c["dense_1.kernel"])


def test_cpu(capsys):
    assert run("cpu") == 0
    out = capsys.readouterr().out
    assert pn.cpu_info()["isa"] in out
    assert "threads" in out


def test_info_of_other_files(capsys):
    files.write("a.safetensors", {"weight": np.zeros((2, 3), np.float32)}, {"note": "x"})
    assert run("info", "a.safetensors") == 0
    out = capsys.readouterr().out
    assert "not a model of pynet" in out
    assert "weight" in out


@pytest.mark.parametrize(
    "metadata",
    [
        {"features": 3},
        {"features": ["a"]},
        {"features": [None] * 64},
        {"classes": {"a": 1}},
        {"classes": ["a"] * 9},
        {"target": ["digit"]},
    ],
)
def test_hostile_metadata(metadata, capsys):
    model = pn.Sequential([pn.Input(64), pn.Dense(10, activation="softmax")])
    model.metadata = {**metadata, "training": {}}
    model.save("m.safetensors")
    for command in (
        ["evaluate", "m.safetensors", "digits"],
        ["predict", "m.safetensors", "digits"],
        ["info", "m.safetensors"],
    ):
        assert run(*command) == 2
        assert "m.safetensors: the metadata entry" in capsys.readouterr().err


# ---- help --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["predict"], ["info"], ["cpu"]])
def test_help(command, capsys):
    assert run(*command, "--help") == 0
    out = capsys.readouterr().out
    assert len(out) > 150
    if command == ["train"]:
        for word in ("relu", "adamw", "huber", "examples:", "--resume", "digits"):
            assert word in out


def test_no_command_and_version(capsys):
    assert run() == 0
    assert "pynet train digits" in capsys.readouterr().out
    assert run("--version") == 0
    assert pn.__version__ in capsys.readouterr().out


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["trian"], "invalid choice: 'trian'"),
        (["train"], "required: DATA"),
        (["train", "digts"], "did you mean 'digits'?"),
        (["train", "nowhere.csv"], "nowhere.csv: No such file"),
        (["train", "houses.csv", "--target", "pryce"], "did you mean 'price'?"),
        (["train", "digits", "--target", "x"], "called 'digit'"),
        (["train", "digits", "--activation", "rleu"], "did you mean 'relu'?"),
        (["train", "digits", "--optimizer", "adm"], "did you mean 'adam'?"),
        (["train", "digits", "--loss", "mse"], "unknown loss for classes 'mse'"),
        (["train", "houses.csv", "--loss", "hubber"], "did you mean 'huber'?"),
        (["train", "digits", "--hidden", "a,b"], "no list of widths"),
        (["train", "digits", "--hidden", "0,3"], "no list of widths"),
        (["train", "digits", "--test", "1"], "--test must be a share"),
        (["train", "digits", "--validation", "-0.1"], "--validation must be a share"),
        (["train", "digits", "--epochs", "0"], "--epochs must be at least 1"),
        (["train", "digits", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["train", "digits", "--seed", "-1"], "--seed must be at least 0"),
        (["train", "digits", "--learning-rate", "nan"], "learning_rate"),
        (["train", "digits", "--learning-rate", "1e30", "--quiet"], "NaN or infinite"),
        (["train", "digits", "--l2", "-1"], "l2"),
        (["train", "digits", "--output", "missing/a.safetensors"], "directory of --output does not exist"),
        (["train", "digits", "--output", "folder"], "folder: --output is a directory"),
        (["train", "digits", "--resume"], "no checkpoint to resume from"),
        (["train", "digits", "--threads", "0"], "n_threads"),
        (["train", "tiny.csv"], "1 rows, expected at least 10"),
        (["train", "same.csv"], "same class in all rows"),
        (["train", "names.csv"], "too many for classes ('n0' is no number)"),
        (["train", "names.csv", "--task", "numbers"], "holds texts such as 'n0'"),
        (["evaluate", "nowhere.safetensors", "digits"], "nowhere.safetensors: No such file"),
        (["evaluate", "broken.safetensors", "digits"], "not a safetensors file"),
        (["evaluate", "good.safetensors", "houses.csv"], "there is no column"),
        (["evaluate", "good.safetensors", "digits", "--target", "x"], "called 'digit'"),
        (["predict", "good.safetensors", "houses.csv"], "there is no column"),
        (["predict", "good.safetensors", "nowhere.npz"], "nowhere.npz: No such file"),
        (["predict", "good.safetensors", "digits", "--output", "missing/a.csv"], "missing/a.csv: cannot write"),
        (["info", "broken.safetensors"], "not a safetensors file"),
        (["info", "folder"], "folder: "),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_errors_take_one_line(arguments, text, capsys):
    houses()
    os.mkdir("folder")
    texts = {
        "tiny.csv": "a,b\n1,2\n",
        "same.csv": "a,b\n" + "1,2\n" * 30,
        "names.csv": "a,b\n" + "".join(f"{k},n{k}\n" for k in range(30)),
        "broken.safetensors": "hello",
    }
    for name, content in texts.items():
        with open(name, "w") as file:
            file.write(content)
    pn.Sequential([pn.Input(64), pn.Dense(10, activation="softmax")]).save("good.safetensors")
    model = pn.load("good.safetensors")
    model.metadata = {"features": [f"pixel_{k}" for k in range(64)], "target": "digit"}
    model.save("good.safetensors")
    before = sorted(os.listdir())
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("pynet: error: ")
    assert text in err
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == before  # a checkpoint of a run that failed is no run to resume


# ---- interruptions -----------------------------------------------------------------------------

LONG = ["--hidden", "32", "--epochs", "4000", "--patience", "0", "--validation", "0.1", "--quiet"]
LONG += ["--checkpoint-every", "0.1", "--threads", "1"]


def wait_for(path, child) -> None:
    for _ in range(3000):
        if os.path.exists(path):
            return
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.01)
    pytest.fail(f"{path} did not come")


def check_resume(number, data, options, other, message, capsys, look=lambda checkpoint: None) -> None:
    """Train, and train again with a signal in the middle: resumed it ends in the same bits, but not with other options,
    which the message tells; `look` sees the checkpoint."""
    assert run("train", data, *options, "--output", "whole.safetensors") == 0
    with process("train", data, *options, "--output", "cut.safetensors", stdout=subprocess.DEVNULL) as child:
        wait_for("cut.checkpoint.safetensors", child)
        time.sleep(0.2)
        child.send_signal(number)
        err = child.communicate()[1]
    assert child.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), err
    if number == signal.SIGINT:
        assert "--resume continues" in err
        assert "Traceback" not in err
    assert not os.path.exists("cut.safetensors")
    look("cut.checkpoint.safetensors")

    capsys.readouterr()
    assert run("train", data, *options, "--output", "cut.safetensors", "--resume", *other) == 2
    assert message in capsys.readouterr().err

    assert run("train", data, *options, "--output", "cut.safetensors", "--resume") == 0
    assert "continued after epoch" in capsys.readouterr().out
    whole, cut = files.read("whole.safetensors")[0], files.read("cut.safetensors")[0]
    assert whole.keys() == cut.keys()
    for name in whole:
        assert whole[name].tobytes() == cut[name].tobytes(), name
    assert not os.path.exists("cut.checkpoint.safetensors")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_resume_ends_in_the_same_bits(number, capsys):
    check_resume(number, "digits", LONG, ["--seed", "1"], "--seed was 0 then and is 1 now", capsys)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_closed_pipe_is_no_error():
    assert run("train", "digits", *SMALL) == 0
    with process("predict", "digits.safetensors", "digits", "--probabilities", stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 0
