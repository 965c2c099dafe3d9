"""C as text: numbers, arrays, functions, loops, and the runtime of integer networks."""

from __future__ import annotations

import re
from importlib.resources import files as resources

import numpy as np

__all__ = ["Runtime", "array", "comment", "function", "literal", "loop"]

LINE = 110  # characters


class Runtime:
    """The functions of runtime_int8.inc, each handed out once, where it is first used."""

    def __init__(self, prefix: str):
        text = resources(__package__).joinpath("runtime_int8.inc").read_text(encoding="utf-8")
        blocks = re.sub(r"\bnet_", f"{prefix}_", text).split("\n\n")
        self.functions = {re.search(r"^static \w+ (\w+)\(", block, re.MULTILINE)[1]: block for block in blocks}  # type: ignore[index]
        self.given: set[str] = set()

    def used_in(self, text: str) -> list[str]:
        """Return the functions that `text` calls, and those that they call, in the order of the file."""
        wanted: set[str] = set()
        todo = [text]
        while todo:
            words = set(re.findall(r"\w+", todo.pop()))
            new = (words & self.functions.keys()) - wanted - self.given
            wanted |= new
            todo += [self.functions[name] for name in new]
        self.given |= wanted
        return [block.rstrip() + "\n" for name, block in self.functions.items() if name in wanted]


def function(head: str, *lines: str) -> str:
    """Return the definition of a function."""
    return "\n".join([f"{head} {{", *(f"    {line}" for line in lines), "}", ""])


def loop(n: int, *lines: str) -> list[str]:
    """Return the lines of a loop over o = 0 .. n-1."""
    return ["int32_t o;", f"for (o = 0; o < {n}; ++o) {{", *(f"    {line}" for line in lines), "}"]


def literal(number) -> str:
    """Return a number of NumPy as C writes it."""
    if number.dtype.kind == "f":
        text = f"{number:.9g}"
        return f"{text if {'.', 'e'} & set(text) else text + '.0'}F"
    if number.dtype.itemsize == 8:
        return f"INT64_C({number})"
    return str(number)


def comment(text: str) -> str:
    """Return a text that can stand in a comment."""
    return re.sub(r"[^A-Za-z0-9_ ().-]", "_", text)


def array(name: str, values: np.ndarray) -> str:
    """Return the definition of a constant array."""
    kind = "float" if values.dtype.kind == "f" else f"{values.dtype.name}_t"
    lines, line = [], "   "
    for text in map(literal, values.reshape(-1)):
        if len(line) + len(text) > LINE:
            lines.append(line)
            line = "   "
        line += f" {text},"
    return "\n".join([f"static const {kind} {name}[{values.size}] = {{", *lines, line, "};", ""])
