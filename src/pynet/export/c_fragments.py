"""The C functions that exported networks are made of: those of runtime/*.h that one uses, under its prefix.

The files are C as it is compiled.  In them functions stand apart by blank lines, none stands inside of one, and all
names begin with net_ or NET_, in whose place the prefix of the network comes.
"""

from __future__ import annotations

import re
from importlib import resources

__all__ = ["linked", "renamed"]

COMMON = ("dense", "sparse", "basic", "activations", "lstm", "selftest")
NOT_OURS = re.compile(r'"(?:\\.|[^"\\])*"|/\*.*?\*/|\b(?:net|NET)_', re.DOTALL)
NAME = re.compile(r"\bnet_\w+")
DEFINED = re.compile(r"^static (?:const )?\w+ (net_\w+)\(", re.MULTILINE)


def blocks(name: str) -> list[str]:
    """Return what stands between blank lines in one of the files, without the comment at its head."""
    text = resources.files(__package__).joinpath("runtime", f"{name}.h").read_text(encoding="utf-8")
    return text[text.index("*/\n") + 3 :].strip().split("\n\n")


def linked(used, dtype: str, math: bool, wide: bool) -> str:
    """Return the declarations of a dtype, and the functions `used` with all that they use, each after those it uses;
    with the names that they have in the files.

    Parameters
    ----------
    used : iterable of str
        Names of functions, net_...
    dtype : "float32" or "float64"
    math : bool
        Whether elementary functions come from math.h.
    wide : bool
        Whether the dense layers have panels of 32 outputs.
    """
    types = "\n\n".join(blocks("float" if dtype == "float32" else "double"))
    files = ("libm" if math else "own_math", "wide" if wide else "narrow", *COMMON)
    functions = {DEFINED.findall(block)[0]: block for name in files for block in blocks(name)}
    chosen: dict[str, str] = {}

    def add(name: str) -> None:
        if name not in chosen and name in functions:
            for other in NAME.findall(functions[name]):
                if other != name:
                    add(other)
            chosen[name] = functions[name]

    for name in used:
        add(name)
    body = "\n\n".join(chosen.values())
    constants = [line for line in types.splitlines() if _needed(line, body)]
    return "\n".join(constants) + "\n\n" + body


def _needed(line: str, body: str) -> bool:
    """Return whether a line of declarations is the type, or defines what the functions use."""
    found = re.match(r"#define (\w+)", line)
    return not found or re.search(rf"\b{found[1]}\b", body) is not None


def renamed(text: str, prefix: str) -> str:
    """Return C text with the prefix of a network instead of net; strings stay as they are, and comments, which may hold
    names of the user's."""
    prefixes = {"net_": f"{prefix}_", "NET_": f"{prefix.upper()}_"}
    return NOT_OURS.sub(lambda found: prefixes.get(found[0], found[0]), text)
