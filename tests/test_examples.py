"""Every program of examples/ runs and prints what its docstring says: the words, and the numbers, nearly."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from c_programs import COMPILERS, WARNINGS
from c_programs import run as run_c

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NAMES = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py"))
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
TIMES = re.compile(r"^(read, predict|deadlines) .*$", re.MULTILINE)  # of control_policy.py: the machine's affair


def blocks(path: Path) -> list[str]:
    """Return the indented blocks of a docstring, without the commands."""
    doc = path.read_text(encoding="utf-8").split('"""')[1]
    found = re.findall(r"(?:^    .*\n)+", doc, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found[1:]]


def check(printed: str, expected: str, tolerance: float = 0.05) -> None:
    """The same words, and numbers that differ by at most a share of them (accuracies and the like: by so much)."""
    printed, expected = TIMES.sub(r"\1", printed), TIMES.sub(r"\1", expected)
    assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", expected).split(), printed
    got, wanted = (np.array(NUMBER.findall(text), float) for text in (printed, expected))
    assert len(wanted)
    assert np.all(np.abs(got - wanted) <= tolerance * np.maximum(np.abs(wanted), 1)), printed


@pytest.mark.parametrize("name", NAMES)
def test_an_example_prints_what_it_says(name, tmp_path):
    path = EXAMPLES / name
    done = subprocess.run([sys.executable, "-W", "error", str(path)], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    check(done.stdout, blocks(path)[0])
    if name.startswith("sensor_net"):
        check_the_device(tmp_path, blocks(path)[1])


def check_the_device(folder: Path, expected: str) -> None:
    """The C program of sensor_net with the files that its training wrote: as the docstring says, on every compiler."""
    for compiler in COMPILERS:
        sources = [EXAMPLES / "sensor_net/main.c", folder / "net.c"]
        run_c(compiler, "-std=c99", *WARNINGS, f"-I{folder}", *sources, "-o", folder / "sensor")
        check(run_c(folder / "sensor", input=(folder / "windows.txt").read_bytes()).decode(), expected)


def test_every_example_is_in_the_readme():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert len(NAMES) == 5
    assert [name for name in NAMES if f"]({name})" not in text] == []


@pytest.mark.parametrize("printed", ["error 0.5 of 100", "error 0.5 of 10", "loss 0.337 of 10", "error 0.337", ""])
def test_another_result_is_noticed(printed):
    check("error 0.347 of 10.1\n", "error   0.337 of 10\n")
    with pytest.raises(AssertionError):
        check(printed, "error 0.337 of 10\n")
