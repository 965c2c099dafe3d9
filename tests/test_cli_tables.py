"""The command line on tables with texts, dates and missing values."""

import csv
import os
import pathlib
import signal
import sys

import numpy as np
import polars as pl
import pytest
import table_cases
from c_programs import run as run_program
from test_cli import check_resume, place, run, value_after  # noqa: F401  (place: a directory for every test)

import pynet as pn

QUICK = ["--hidden", "16", "--epochs", "12", "--learning-rate", "0.01", "--quiet"]


def people(path="people.csv", rows=600, seed=0, without=("price",)) -> dict:
    columns = {name: values for name, values in table_cases.table(rows, seed).items() if name not in without}
    frame = pl.DataFrame(columns)
    frame.write_parquet(path) if path.endswith("parquet") else frame.write_csv(path)
    return columns


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_way_of_a_stranger(ending, capsys):
    """Train with no more than the target; evaluate, predict, info; a page about it."""
    name = f"people.{ending}"
    people(name)
    assert run("train", name, "--target", "income") == 0
    out, err = capsys.readouterr()
    assert "600 rows, 7 features" in out
    assert "2 classes (<=50K >50K)" in out
    assert "numbers   age, net_worth, int" in out
    assert "texts     city-of birth (8), colour (2)" in out
    assert "dates     day, moment" in out
    assert value_after(out, "test      accuracy ") > 80
    assert "val_loss" in err
    assert "report    people.html" in out
    assert "-> [rows] classes" in out
    page = pathlib.Path("people.html").read_text(encoding="utf-8")
    for text in ("Permutation importance", "Confusion matrix", "Calibration", "net_worth", "parameters", "piecewise"):
        assert text in page
    assert sorted(os.listdir()) == [name, "people.html", "people.safetensors"] or ending == "parquet"

    test_line = next(line for line in out.splitlines() if line.startswith("test"))
    assert run("evaluate", "people.safetensors", name) == 0
    out = capsys.readouterr().out
    assert "held out" in out
    assert test_line.split(None, 1)[1] in out  # the same rows, the same number

    fresh = people("fresh.csv", 50, seed=4, without=("price", "income"))
    fresh["colour"][3], fresh["city-of birth"][4] = "blue", None
    pl.DataFrame({"remark": ["x,y"] * 50, **fresh}).write_csv("fresh.csv")
    assert run("predict", "people.safetensors", "fresh.csv", "--probabilities", "-o", "answers.csv") == 0
    with open("answers.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    model = pn.load("people.safetensors")
    assert [row["income"] for row in rows] == model.predict(fresh).tolist()
    assert list(rows[0]) == ["row", "income", "<=50K", ">50K"]

    capsys.readouterr()
    assert run("info", "people.safetensors") == 0
    out = capsys.readouterr().out
    for text in ("of a table", "income (2 classes", "category, 8 levels, or missing", "Dense softmax"):
        assert text in out


def test_numbers_and_the_forms_of_export(capsys):
    people(without=("income",))
    assert run("train", "people.csv", "--target", "price", *QUICK, "--report", "none") == 0
    assert value_after(capsys.readouterr().out, "R2") > 0.5
    assert not os.path.exists("people.html")
    files_of_export = ["--c", "p.c", "--onnx", "p.onnx", "--static"]
    assert run("export", "people.safetensors", *files_of_export) == 0
    assert "besides the code and the knots and levels of the columns\n" in capsys.readouterr().out
    with open("main.c", "w") as file:
        file.write('#include "p.h"\nint main(void) { struct p_row row = {0}; float y[P_Y_SIZE];\n')
        file.write("p_predict_row(&row, y); return p_selftest(); }\n")
    run_program("cc", "-std=c99", "main.c", "p.c", "-lm")
    run_program("./a.out")
    capsys.readouterr()
    assert run("export", "people.safetensors", "--int8", "q.c", "--data", "people.csv") == 0
    out = capsys.readouterr().out
    assert "480 rows to quantise, 120 to measure" in out
    assert run("prune", "people.safetensors", "people.csv", "--sparsity", "0.5") == 0
    assert "after     RMSE" in capsys.readouterr().out
    assert run("evaluate", "people-pruned.safetensors", "people.csv") == 0
    assert "held out" in capsys.readouterr().out


def test_columns_can_be_told(capsys):
    people()
    options = ["--category", "int,age", "--scaling", "quantile", "--embed", "4", "--dropout", "0"]
    assert run("train", "people.csv", "--target", "income", *QUICK, *options, "--report", "page.html") == 0
    assert os.path.exists("page.html")
    model = pn.load("people.safetensors")
    assert model.encoder.kinds["age"] == "category"
    assert model.encoder.codes[0].dimensions > 0
    assert len(model.encoder.codes[1].z)
    assert not any(isinstance(layer, pn.Dropout) for layer in model.network.layers)
    capsys.readouterr()
    assert run("evaluate", "people.safetensors", "people.csv") == 0
    assert "held out" in capsys.readouterr().out
    assert run("prune", "people.safetensors", "people.csv") == 2
    assert "without learned vectors" in capsys.readouterr().err


def test_a_model_of_a_table_reads_other_files(capsys):
    """Numbers from an archive, a column for each array."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "y": X[:, 0] > 0}).write_csv("t.csv")
    assert run("train", "t.csv", *QUICK, "--report", "none") == 0
    np.savez("t.npz", a=X[:, 0], b=X[:, 1], y=np.where(X[:, 0] > 0, "True", "False"))
    capsys.readouterr()
    assert run("evaluate", "t.safetensors", "t.npz") == 0
    assert value_after(capsys.readouterr().out, "accuracy") > 90


def test_columns_that_tell_nothing_are_named(capsys):
    columns = people()
    pl.DataFrame({"id": [f"n{k}" for k in range(600)], "one": [1] * 600, **columns}).write_csv("people.csv")
    assert run("train", "people.csv", "--target", "income", *QUICK, "--report", "none") == 0
    out = capsys.readouterr().out
    assert "left out  id: all 432 values differ" in out
    assert "left out  one: all rows have the value 1" in out
    people()  # without them
    assert run("predict", "people.safetensors", "people.csv", "-o", "a.csv") == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train", "people.csv", "--target", "incom"], "did you mean 'income'?"),
        (["train", "people.csv", "--category", "zip"], "there is no column 'zip'"),
        (["train", "people.csv", "--category", "a,,b"], "no list of names of columns"),
        (["train", "people.csv", "--target", "age"], "people.csv, line"),
        (["train", "people.csv", "--target", "day"], "the cell is empty"),
        (["train", "people.csv", "--target", "colour"], "'None' means that there is none"),
        (["train", "people.csv", "--target", "moment"], "holds dates"),
        (["train", "people.csv", "--report", "nowhere/x.html"], "nowhere"),
        (["train", "digits", "--scaling", "standard"], "--scaling is for CSV and Parquet files"),
        (["train", "digits", "--category", "a"], "--category is for CSV and Parquet files"),
        (["train", "people.csv", "--dropout", "1"], "dropout"),
        (["train", "nothing.parquet"], "nothing.parquet: No such file"),
        (["train", "people.csv", "--target", "income", "--embed", "-1"], "embed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_take_one_line(arguments, text, capsys):
    columns = people()
    columns["colour"][7] = "None"
    pl.DataFrame(columns).write_csv("people.csv")
    before = sorted(os.listdir())
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("pynet: error: ")
    assert text in err
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("arguments", "lost"),
    [
        (["train", "people.csv", *QUICK, "-o", "people.csv"], "people.csv: the data itself"),
        (["train", "people.csv", *QUICK, "-o", "m.html"], "m.html: the model itself"),
        (["train", "people.csv", *QUICK, "--report", "linked.csv"], "linked.csv: the data itself"),
        (["predict", "m.safetensors", "people.csv", "-o", "people.csv"], "people.csv: the data itself"),
        (["predict", "m.safetensors", "people.csv", "-o", "./m.safetensors"], "m.safetensors: the model itself"),
        (["prune", "m.safetensors", "people.csv", "--plot", "people.csv"], "people.csv: the data itself"),
        (["export", "m.safetensors", "--int8", "people.csv", "--data", "people.csv"], "people.csv: the data itself"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_read_is_not_overwritten(arguments, lost, capsys):
    people()
    os.link("people.csv", "linked.csv")
    table_cases.model("classes").save("m.safetensors")
    before = {name: pathlib.Path(name).read_bytes() for name in os.listdir()}
    assert run(*arguments) == 2
    assert f"{lost} would be lost, choose another name" in capsys.readouterr().err
    assert {name: pathlib.Path(name).read_bytes() for name in os.listdir()} == before


def test_names_from_data_tell_the_terminal_nothing(capsys):
    rows = "".join(f"{k},{'no' if k % 2 else 'yes' + chr(27)}\n" for k in range(40))
    pathlib.Path("t.csv").write_text('"a\nb","\x1b]0;title\x07y"\n' + rows)
    assert run("train", "t.csv", *QUICK, "--report", "none") == 0
    assert run("info", "t.safetensors") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "numbers   a b\n" in out
    assert "\na b  number, standardised" in out
    assert " numbers; target '\\x1b]0;title\\x07y', 2 classes\n" in out
    assert run("train", "t.csv", "--target", "z") == 2
    assert capsys.readouterr().err == "pynet: error: t.csv: there is no column 'z' (columns: a b,  ]0;title y)\n"


def test_predict_tells_what_is_wrong_with_a_table(capsys):
    people()
    assert run("train", "people.csv", "--target", "income", *QUICK, "--report", "none") == 0
    capsys.readouterr()
    for change, text in (
        ({"age": "young"}, "bad.csv, line 4, column 'age': 'young' is not a finite number"),
        ({"day": "soon"}, "bad.csv, line 4, column 'day': 'soon' is not a date like"),
    ):
        with open("people.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        rows[2] |= change
        with open("bad.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        assert run("predict", "people.safetensors", "bad.csv") == 2
        assert text in capsys.readouterr().err
    pl.read_csv("people.csv").drop("colour").write_csv("less.csv")
    assert run("predict", "people.safetensors", "less.csv") == 2
    assert "less.csv: there is no column 'colour'" in capsys.readouterr().err


def test_without_matplotlib_the_page_is_missing_and_nothing_else(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    people()
    assert run("train", "people.csv", "--target", "income", *QUICK) == 0
    out = capsys.readouterr().out
    assert 'pip install "pynet[plot]"' in next(line for line in out.splitlines() if line.startswith("report"))
    assert "saved     people.safetensors" in out


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_resume_ends_in_the_same_bits(capsys):
    people(without=("income",), rows=300)
    long = ["--target", "price", "--hidden", "32", "--epochs", "3000", "--patience", "0", "--quiet", "--threads", "1"]
    long += ["--checkpoint-every", "0.1", "--report", "none"]

    def look(checkpoint):  # it answers in the units of the target, though its training goes on
        assert 1e4 < pn.load(checkpoint).predict("people.csv").mean() < 1e5

    other, message = ["--scaling", "standard"], "--scaling was 'piecewise' then and is 'standard' now"
    check_resume(signal.SIGINT, "people.csv", long, other, message, capsys, look)
