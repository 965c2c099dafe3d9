"""The code blocks of a Markdown page, run one after the other in one folder, as one program.

What the words behind ``` say:

python        is run, in the namespace of the blocks above it
sh            is run by bash, which stops at the first error
c NAME        a whole program, put into the file NAME, for a block of sh to compile
c             declarations or statements: must be C where the header that they name is there
LANG from F   stands like this in the file F of the repository: each piece between empty lines, but for white space
LANG not-run  is not run; the test names it, and says why
output        what the block above it prints: a line ... stands for any lines; times and speeds may differ
text          no code
"""

import contextlib
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pynet import _core

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```([^`\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MEASURED = re.compile(r"\d[\d.]*(?= ?(?:us|ms|s|min|k rows/s|M rows/s)\b)(?: ?(?:us|ms|s|min|k rows/s|M rows/s))")
EXACT = _core.default_isa() != "scalar"  # the numbers of pages are those of machines with fused multiply-add
CODE = ("python", "sh", "c")
PLAIN = ("output", "text")


@dataclass
class Block:
    """A fenced block: its words, its text, and the line of the page on which the text begins."""

    words: list[str]
    text: str
    line: int

    @property
    def language(self) -> str:
        return self.words[0] if self.words else ""


def blocks(page: str) -> list[Block]:
    return [Block(m[1].split(), m[2], page.count("\n", 0, m.start(2)) + 1) for m in FENCE.finditer(page)]


def alike(printed: str, expected: str) -> bool:
    """Say whether a program printed what a page says, up to times; where not EXACT, up to any digits."""
    lines = []
    for text in (printed, expected):
        text = MEASURED.sub("<measured>", text)
        text = text if EXACT else re.sub(r"\d+(\.\d+)?", "#", text)
        lines.append([line.rstrip() for line in text.splitlines()])
    pattern = "".join("(?:.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in lines[1])
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines[0])) is not None


def environment() -> dict[str, str]:
    """Return the variables of a shell that has this Python, and its pynet, in front."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return os.environ | {"PATH": path}


class Page:
    """A page that is run in a folder.

    Parameters
    ----------
    name : str
        For messages.
    folder : Path
        Where its programs write; where it is run.
    """

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder
        self.namespace: dict = {"__name__": "__main__"}

    def run(self, text: str) -> int:
        """Run all blocks; return how many were run or compared."""
        done, printed = 0, None
        for block in blocks(text):
            if block.language == "output":
                assert printed is not None, f"{self.name}, line {block.line}: no block above it was run"
                same = alike(printed, block.text)
                assert same, f"{self.name}, line {block.line}, prints something else:\n{printed}"
                printed = None
            elif block.language in CODE:
                skipped = "not-run" in block.words
                printed = None if skipped else self._run(block)
                done += not skipped
        return done

    def _run(self, block: Block) -> str:
        if block.words[1:2] == ["from"]:
            source = (ROOT / block.words[2]).read_text(encoding="utf-8")
            for piece in block.text.split("\n\n"):
                assert "".join(piece.split()) in "".join(source.split()), f"{self.name}, line {block.line}: {piece}"
            return ""
        return getattr(self, f"_{block.language}")(block)

    def _python(self, block: Block) -> str:
        code = compile(
            "\n" * (block.line - 1) + block.text, self.name, "exec"
        )  # a traceback names the line of the page
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, self.namespace)
        return printed.getvalue()

    def _sh(self, block: Block) -> str:
        command = ["bash", "-euo", "pipefail", "-c", block.text]
        return self._program(block, command)

    def _c(self, block: Block) -> str:
        if len(block.words) > 1:
            (self.folder / block.words[1]).write_text(block.text, encoding="utf-8")
            return ""
        source = self.folder / "snippet.c"
        source.write_text(block.text, encoding="utf-8")
        return self._program(block, ["cc", "-std=c99", "-fsyntax-only", f"-I{ROOT / 'csrc'}", str(source)])

    def _program(self, block: Block, command: list[str]) -> str:
        done = subprocess.run(command, cwd=self.folder, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"{self.name}, line {block.line}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout
