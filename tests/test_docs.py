"""The code of README.md and of the pages of docs/ runs as it stands, and prints what the pages say it prints.

tests/pages.py tells how, and what the words behind ``` mean.
"""

import json
import os
import pathlib
import re
import shutil

import libpynet
import pages
import pytest

import pynet as pn

DOCS = pages.ROOT / "docs"
FOUND = [path for path in sorted(DOCS.rglob("*.md")) if path.parent.name != "api"]  # those that Sphinx is given
TEXTS = {
    str(path.relative_to(pages.ROOT)): path.read_text(encoding="utf-8") for path in (pages.ROOT / "README.md", *FOUND)
}
WITH_CODE = [name for name, text in TEXTS.items() if any(block.language in pages.CODE for block in pages.blocks(text))]

NOT_RUN = {  # (page, first line of the block): why
    ("README.md", 'python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/pynet train digits'):
        "installs from an index; below its last command is run, and .ci/run runs all of it",
    ("README.md", 'python3 -m venv .venv-test && .venv-test/bin/pip install ".[test]" && '
                  ".venv-test/bin/pytest -n auto"):
        "these tests; .ci/run runs it",
    ("README.md", 'pip install ".[docs]" && sphinx-build -W docs build/docs'):
        "installs from an index; test_docs_build.py runs the second half",
    ("docs/tutorial.md", "python3 -m venv .venv && . .venv/bin/activate"): "installs from an index; .ci/run does",
    ("docs/contributing.md", "python3 -m venv .venv && . .venv/bin/activate"): "installs from an index",
    ("docs/contributing.md", "cmake -B build-c -DPYNET_PYTHON=OFF"): "test_c_library.py does this",
    ("docs/contributing.md", "ruff check && ruff format --check && mypy && stubtest pynet._core && cython-lint src"):
        "needs the lint requirements, which the tests do not",
    ("docs/contributing.md", 'pip install ".[docs]" && sphinx-build -W docs build/docs'): "as in README.md",
    ("docs/libpynet.md", "cmake -B build -DPYNET_PYTHON=OFF"):
        "writes to /usr/local; test_c_library.py does so elsewhere, and so does the fixture `library`",
    ("docs/experiments.md", 'pip install ".[plot]"'): "needs MNIST; test_experiments.py runs the scripts with --quick",
    ("docs/mpi.md", "# train.py"): "a program for several processes; tests/ranks.py is one, and test_mpi.py starts it",
    ("docs/mpi.md", "mpiexec -n 4 python -m mpi4py train.py"): "needs a launcher; test_mpi.py starts one",
    ("docs/tables.md", "pynet train adult.csv --target income"):
        "needs that file; test_cli_tables.py and howto/own-table.md train on others",
    ("docs/logic.md", "python benchmarks/experiments/logic.py"): "15 s; test_experiments.py runs it with --quick",
}  # fmt: skip


PEERS = ("NumPy", "PyTorch", "torch.compile", "JAX jit")


@pytest.fixture
def library(libpynet_build, tmp_path_factory, monkeypatch):
    """libpynet, installed where a program finds it."""
    prefix = tmp_path_factory.mktemp("prefix")
    libpynet.run(libpynet.tool("cmake"), "--install", libpynet_build, "--prefix", prefix)
    if not shutil.which("pkg-config"):  # test_c_library.py reads its file without it, too
        stand_in = prefix / "pkg-config"
        stand_in.write_text(f"#!/bin/sh\necho -I{prefix}/include -L{prefix}/lib -lpynet\n")
        stand_in.chmod(0o755)
        monkeypatch.setenv("PATH", str(prefix), prepend=os.pathsep)
    monkeypatch.setenv("PKG_CONFIG_PATH", str(prefix / "lib/pkgconfig"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(prefix / "lib"))
    monkeypatch.setenv("DYLD_LIBRARY_PATH", str(prefix / "lib"))


@pytest.fixture
def threads():
    """Pages may set the number of threads of this process."""
    before = pn.get_num_threads()
    yield
    pn.set_num_threads(before)


@pytest.mark.parametrize("name", WITH_CODE)
def test_the_code_of_a_page_runs(name, tmp_path, monkeypatch, request, threads):
    text = TEXTS[name]
    if "pkg-config" in text:
        request.getfixturevalue("library")
    monkeypatch.chdir(tmp_path)
    left_out = sum(page == name for page, _ in NOT_RUN)
    code = [block for block in pages.blocks(text) if block.language in pages.CODE]
    assert pages.Page(name, tmp_path).run(text) == len(code) - left_out


def test_what_is_not_run_is_listed_with_its_reason():
    marked = set()
    for name, text in TEXTS.items():
        for block in pages.blocks(text):
            if "not-run" in block.words:
                marked.add((name, block.text.splitlines()[0]))
    assert marked == set(NOT_RUN)


def test_no_block_is_of_an_unknown_kind():
    """A word that nobody knows would let code pass that is never run."""
    known = {*pages.CODE, *pages.PLAIN, "{toctree}"}
    assert sorted((n, b.line) for n, t in TEXTS.items() for b in pages.blocks(t) if b.language not in known) == []
    fences = {name: sum(line.lstrip().startswith("```") for line in text.splitlines()) for name, text in TEXTS.items()}
    assert {n: k for n, k in fences.items() if k != 2 * len(pages.blocks(TEXTS[n]))} == {}


def test_the_first_command_ends_like_the_readme_says(tmp_path):
    """What is behind `pip install`, and the block that shows its end."""
    text = TEXTS["README.md"]
    (shown,) = (block.text for block in pages.blocks(text) if block.text.startswith("data      digits"))
    page = f"```sh\npynet train digits 2>&1\n```\n\n```output\n{shown}...\n```\n"
    assert pages.Page("README.md", tmp_path).run(page) == 1
    with pytest.raises(AssertionError, match="prints something else"):
        pages.Page("README.md", tmp_path).run(page.replace("target    digit", "target    letter"))


def test_the_c_page_has_every_function_of_the_header():
    """Declarations on the page are quotations (`from`), so one that is there is there as it stands."""
    header = (pages.ROOT / "csrc/pynet.h").read_text(encoding="utf-8")
    functions = set(re.findall(r"^PN_API [^;]*?\b(pn_\w+)\(", header, re.MULTILINE))
    quoted = "".join(b.text for b in pages.blocks(TEXTS["docs/c-api.md"]) if b.words == ["c", "from", "csrc/pynet.h"])
    assert len(functions) > 25
    assert sorted(name for name in functions if f"{name}(" not in quoted) == []


def test_the_comparison_states_the_committed_measurements():
    race = json.loads((pages.ROOT / "benchmarks/results/race-zen4-1.json").read_text(encoding="utf-8"))
    step = {(row["net"], row["batch"]): row["us"] for row in race["steps"]}
    small, one = step["64-64-64-10", 32], {row["net"]: row["us"] for row in race["predict"]}["64-64-64-10"]
    scan = [us["JAX scan"] / us["pynet"] for us in step.values()]
    shares = {key: [us[peer] / us["pynet"] for peer in PEERS] for key, us in step.items()}
    wide, square = shares["784-512-256-10", 1024], shares["4096-4096-4096", 512]
    phrases = [
        f"on 32 rows in {small['pynet']:.0f} us against {small['PyTorch']:.0f} (eager;",
        f"; {small['torch.compile']:.0f} compiled)",
        f"one row in {one['pynet']:.2f} us against {one['PyTorch']:.0f};",
        f"one row of 64-64-64-10 in {one['pynet']:.2f} us against {one['ONNX Runtime']:.1f}.",
        f"{min(scan):.2f} to {max(scan):.2f} times its time on one thread",
        f"{min(shares['64-64-64-10', 32]):.0f} to {max(shares['64-64-64-10', 32]):.0f} times as fast",
        f"{min(wide):.2f} to {max(wide):.2f}; at 4096-4096-4096 {min(square):.2f} to {max(square):.2f}.",
    ]
    page = " ".join(TEXTS["docs/comparison.md"].split())
    assert [phrase for phrase in phrases if phrase not in page] == []


# ---- the judge, judged ---------------------------------------------------------------------------------------------

PAGE = """# Title

```python
x = 1
```

Text.

```python
print(x + 1)
```

```output
2
```

```c main.c
#include <stdio.h>
int main(void) { puts("three"); return 0; }
```

```sh
cc main.c -o main && ./main
```

```output
three
```

```c
int four(void);
```

```python from tests/pages.py
class   Page:
```
"""


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("", "", None),
        ("\n2\n", "\n3\n", "page, line 14, prints something else"),
        ("x = 1", "y = 1", "name 'x' is not defined"),
        ("\nthree\n", "\nfour\n", "page, line 27, prints something else"),
        ("./main", "./main && false", "page, line 23:"),
        ("cc main.c -o main", "cc main.c -o main; false", "page, line 23:"),
        ("return 0", "return 1", "page, line 23:"),
        ("int four", "integer four", "page, line 31:"),
        ("class   Page", "class Pages", "page, line 35"),
    ],
)
def test_a_wrong_page_is_noticed(tmp_path, monkeypatch, old, new, error):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pages, "EXACT", True)
    page = pages.Page("page", pathlib.Path(tmp_path))
    if error is None:
        assert page.run(PAGE) == 6
    else:
        with pytest.raises((AssertionError, NameError), match=error):
            page.run(PAGE.replace(old, new, 1))


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("epoch 1  12 ms\n", "epoch 1  3.5 us\n", True),
        ("a\nb\nc\nd\n", "a\n...\nd\n", True),
        ("a\nb\nc\n", "a\n...\n", True),
        ("a\nb\nc\nd\n", "a\n...\nc\n", False),
        ("a \n", "a\n", True),
        ("a 1\n", "a  1\n", False),
        ("a\n", "b\n", False),
        ("a\nb\n", "a\n", False),
        ("3.5 M rows/s", "12 k rows/s", True),
        ("12 rows", "13 rows\n...", False),
    ],
)
def test_what_is_alike(monkeypatch, printed, expected, same):
    monkeypatch.setattr(pages, "EXACT", True)
    assert pages.alike(printed, expected) is same


def test_digits_count_only_where_they_are_exact(monkeypatch):
    monkeypatch.setattr(pages, "EXACT", False)
    assert pages.alike("loss 0.25, 3 epochs\n", "loss 0.3, 12 epochs\n")
    assert not pages.alike("loss 0.25\n", "accuracy 0.25\n")
