"""`pynet export`, as a stranger uses it."""

import shutil

import pytest
from c_programs import run as run_program
from test_cli import (  # noqa: F401  (place: every test in a directory of its own)
    SMALL,
    animals,
    houses,
    place,
    run,
    value_after,
)

import pynet as pn


@pytest.fixture
def model():
    animals()
    assert run("train", "animals.csv", "--target", "kind", *SMALL) == 0
    return pn.load("animals.safetensors")


def test_export_c(model, capsys, tmp_path):
    """The files, what they need; names of the classes; a program that links."""
    assert run("export", "animals.safetensors", "--c", "animals.c") == 0
    out = capsys.readouterr().out
    assert "saved     animals.c and animals.h" in out
    assert "B of constants" in out
    assert '"horse"' in (tmp_path / "animals.c").read_text()
    assert "#define ANIMALS_CLASSES 3U" in (tmp_path / "animals.h").read_text()
    (tmp_path / "main.c").write_text('#include "animals.h"\nint main(void) { return animals_selftest(); }\n')
    run_program("cc", "-std=c99", "main.c", "animals.c", "-lm")
    run_program("./a.out")


def test_options(model, tmp_path):
    assert (
        run("export", "animals.safetensors", "--c", "a.c", "--prefix", "zoo", "--static", "--no-math", "--narrow") == 0
    )
    text = (tmp_path / "a.c").read_text()
    assert "void zoo_predict(const float *x, float *y)\n" in text
    assert "math.h" not in text


def test_errors(model, capsys, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    for arguments, text in (
        ([], "nothing to write"),
        (["--c", "net.cc"], "path must end in .c"),
        (["--c", "net.c", "--prefix", "if"], "no keyword"),
        (["--c", "nowhere/net.c"], "nowhere"),
    ):
        assert run("export", "animals.safetensors", *arguments) == 2
        assert text in capsys.readouterr().err
    assert run("export", "missing", "--c", "net.c") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_export_int8(capsys, tmp_path):
    """Quantised with the rows that it was trained on: accuracies of those held out, sizes, a program that links; from
    a file of the integer network the same."""
    assert run("train", "digits", "--hidden", "32", "--epochs", "20", "--quiet") == 0
    capsys.readouterr()
    assert run("export", "digits.safetensors", "--int8", "net.c", "--data", "digits") == 0
    out = capsys.readouterr().out
    assert "1438 rows to quantise, 359 to measure" in out
    before, after = (value_after(out, f"{title.ljust(10)}accuracy ") for title in ("before", "after"))
    assert before > 93
    assert abs(after - before) < 1
    assert "the same class in " in out
    assert "saved     net.c and net.h" in out
    assert "B of constants" in out
    body = "return NET_CLASSES != 10U || net_selftest();"
    (tmp_path / "main.c").write_text(f'#include "net.h"\nint main(void) {{ {body} }}\n')
    run_program("cc", "-std=c99", "main.c", "net.c")
    run_program("./a.out")

    X = pn.datasets.load_digits()[0]
    pn.load("digits.safetensors").quantize(X).save("small.safetensors")
    assert run("export", "small.safetensors", "--c", "small.c") == 0
    assert "QuantizedModel 64 -> 10" in capsys.readouterr().out
    (tmp_path / "main.c").write_text('#include "small.h"\nint main(void) { return small_selftest(); }\n')
    run_program("cc", "-std=c99", "main.c", "small.c")
    run_program("./a.out")

    shutil.copy("digits.safetensors", "digits.h")
    files = sorted(path.name for path in tmp_path.iterdir())
    for arguments, text in (
        (["digits.safetensors", "--int8", "x.c"], "--int8 needs --data DATA"),
        (["digits.safetensors", "--int8", "x.c", "--data", "missing.csv"], "missing.csv"),
        (
            ["digits.safetensors", "--int8", "x.c", "--c", "x.c", "--data", "digits"],
            "two forms cannot have one file: x.c",
        ),
        (
            ["digits.safetensors", "--int8", "x.c", "--c", "./x.c", "--data", "digits"],
            "two forms cannot have one file: ./x.c, x.c",
        ),
        (["digits.safetensors", "--c", "x.c", "--onnx", "x.h"], "two forms cannot have one file: x.c, x.h"),
        (["digits.h", "--c", "digits.c"], "digits.h: the model itself would be lost"),
        (["small.safetensors", "--int8", "x.c", "--data", "digits"], "it holds an integer network, expected a model"),
        (["small.safetensors", "--c", "x.c", "--narrow"], "wide has no meaning for an integer network"),
        (["small.safetensors", "--c", "x.c", "--stream"], "stream has no meaning for an integer network"),
        (["small.safetensors", "--onnx", "x.onnx"], "model must be a pynet Model, got QuantizedModel"),
        (["digits.safetensors", "--int8", "x.c", "--data", "digits", "--static"], "scratch has no meaning"),
    ):
        assert run("export", *arguments) == 2
        assert text in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_export_int8_of_numbers(capsys):
    houses()
    assert run("train", "houses.csv", *SMALL) == 0
    assert run("export", "houses.safetensors", "--int8", "net.c", "--data", "houses.csv") == 0
    out = capsys.readouterr().out
    assert "before    RMSE " in out
    assert "after     RMSE " in out
