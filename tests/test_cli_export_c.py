"""`pynet export`, as a stranger uses it."""

import pytest
from c_programs import run as run_program
from test_cli import SMALL, animals, place, run  # noqa: F401  (place: every test in a directory of its own)

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
