"""The Python examples of docs/*.md run as they stand, and print what the pages say they print.

The ```python blocks of a page are run one after the other, as one program; a ```output block right behind one of them
is what it prints.
"""

import contextlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = [page.name for page in sorted(DOCS.glob("*.md")) if "```python\n" in page.read_text(encoding="utf-8")]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\s*^```output\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def run(name: str, text: str) -> int:
    """Run the blocks of a page; return how many there were."""
    namespace = {"__name__": "__main__"}
    blocks = list(BLOCK.finditer(text))
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        code = compile("\n" * line + block[1], name, "exec")  # so that a traceback names the line of the page
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        if block[2] is not None:
            assert printed.getvalue() == block[2], f"{name}, line {line + 1}, prints something else"
    return len(blocks)


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_of_a_page_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples write files
    text = (DOCS / name).read_text(encoding="utf-8")
    assert run(name, text) == text.count("```python\n") > 0


def test_a_wrong_page_is_noticed():
    page = "# Title\n\n```python\nx = 1\n```\n\nText.\n\n```python\nprint(x + 1)\n```\n\n```output\n2\n```\n"
    assert run("page", page) == 2
    with pytest.raises(AssertionError, match="page, line 10, prints something else"):
        run("page", page.replace("\n2\n", "\n3\n"))
    with pytest.raises(NameError):
        run("page", page.replace("x = 1", "y = 1"))
