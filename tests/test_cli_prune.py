"""`pynet prune`, as a stranger uses it."""

import pytest
from test_cli import SMALL, houses, place, run, value_after  # noqa: F401  (place: every test in a directory of its own)

import pynet as pn


def test_prune(capsys, tmp_path):
    """A smaller file, the report of what went, scores on the rows held out; the model itself is not touched."""
    assert run("train", "digits", "--hidden", "32", "--epochs", "30", "--quiet") == 0
    before = (tmp_path / "digits.safetensors").read_bytes()
    capsys.readouterr()
    assert run("prune", "digits.safetensors", "digits", "--sparsity", "0.8", "--epochs", "2") == 0
    out = capsys.readouterr().out
    assert "1438 rows to prune, 359 to measure" in out
    assert "80.0%" in out
    assert value_after(out, "tuned     accuracy ") > 93
    assert value_after(out, "before    accuracy ") >= value_after(out, "after     accuracy ") - 3
    assert (tmp_path / "digits.safetensors").read_bytes() == before
    assert len(before) / (tmp_path / "digits-pruned.safetensors").stat().st_size > 1.5
    for title in ("one row ", "256 rows"):  # which form is the fastest is the machine's affair
        line = next(line for line in out.splitlines() if line.startswith(title))
        assert value_after(line, title) > 0
        assert line.endswith(("times as fast", "us dense, and slower in any compact form"))
    pruned = pn.load("digits-pruned.safetensors")
    assert sum(int(mask.sum()) for mask in pn.prune.masks(pruned).values()) == round(0.2 * (64 * 32 + 32 * 10))
    assert run("evaluate", "digits-pruned.safetensors", "digits") == 0
    assert run("info", "digits-pruned.safetensors") == 0
    assert "of them pruned" in capsys.readouterr().out
    for arguments, text in (
        (["--sparsity", "1"], "sparsity must be >= 0 and < 1"),
        (["-o", "digits.safetensors"], "the model itself would be lost"),
        (["--method", "magic"], "invalid choice"),
        (["-o", "nowhere/x"], "nowhere"),
    ):
        assert run("prune", "digits.safetensors", "digits", *arguments) == 2
        assert text in capsys.readouterr().err
    assert (tmp_path / "digits.safetensors").read_bytes() == before


@pytest.mark.parametrize("method", ["magnitude", "obd"])
def test_prune_numbers(method, capsys):
    houses()
    assert run("train", "houses.csv", *SMALL) == 0
    assert run("prune", "houses.safetensors", "houses.csv", "--method", method, "--scope", "layer", "-o", "p") == 0
    out = capsys.readouterr().out
    assert "after     RMSE" in out
    assert 85 < value_after(out, f"pruned    {method}, ") < 92


def test_the_curve_is_drawn(capsys, tmp_path):
    pytest.importorskip("matplotlib", reason='the curve needs matplotlib, which comes with pip install ".[test]"')
    houses()
    assert run("train", "houses.csv", *SMALL) == 0
    assert run("prune", "houses.safetensors", "houses.csv", "--plot", "c.png") == 0
    assert "plot      c.png" in capsys.readouterr().out
    assert (tmp_path / "c.png").stat().st_size > 5000
