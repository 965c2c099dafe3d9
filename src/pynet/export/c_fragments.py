"""The C functions that exported networks are made of: those of runtime/*.h that one uses, under its prefix.

The files are C as it is compiled.  In them blocks stand apart by blank lines, a function or several that belong
together; no blank line stands inside of one.  All names begin with net_ or NET_, in whose place the prefix of the
network comes.
"""

from __future__ import annotations

import re
from importlib import resources

__all__ = ["linked", "needed", "renamed"]

INTEGERS = ("dots", "integers")  # files of integer networks; of the others:
COMMON = ("dense", "sparse", "basic", "activations", "lstm", "table", "selftest")
NOT_OURS = re.compile(r'"(?:\\.|[^"\\])*"|/\*.*?\*/|\b(?:net|NET)_', re.DOTALL)
NAME = re.compile(r"\bnet_\w+")  # of functions, and types
DEFINED = re.compile(r"^static (?:const )?\w+ (net_\w+)\(", re.MULTILINE)


def blocks(name: str) -> list[str]:
    """Return what stands between blank lines in one of the files, without the comment at its head."""
    text = resources.files(__package__).joinpath("runtime", f"{name}.h").read_text(encoding="utf-8")
    return text[text.index("*/\n") + 3 :].strip().split("\n\n")


def linked(used, dtype: str, math: bool, wide: bool) -> str:
    """Return the declarations of a dtype, and the functions that a network of floating-point numbers needs, with the
    names that they have in the files.

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
    body = "\n\n".join(needed(used, ("libm" if math else "own_math", "wide" if wide else "narrow", *COMMON)))
    constants = [line for line in types.splitlines() if _is_used(line, body)]
    return "\n".join(constants) + "\n\n" + body


def needed(used, files, known=()) -> list[str]:
    """Return the blocks of the functions `used` in some files and of all that they use, each after those it uses, but
    those in `known`."""
    functions = {function: block for name in files for block in blocks(name) for function in DEFINED.findall(block)}
    chosen: dict[str, None] = {}
    seen = set(known)

    def add(name: str) -> None:
        block = functions.get(name)
        if block is not None and block not in seen:
            seen.add(block)
            for other in NAME.findall(block):
                add(other)
            chosen[block] = None

    for name in used:
        add(name)
    return list(chosen)


def _is_used(line: str, body: str) -> bool:
    """Return whether a line of declarations is the type, or defines what the functions use."""
    found = re.match(r"#define (\w+)", line)
    return not found or re.search(rf"\b{found[1]}\b", body) is not None


def renamed(text: str, prefix: str) -> str:
    """Return C text with the prefix of a network instead of net; strings stay as they are, and comments, which may hold
    names of the user's."""
    prefixes = {"net_": f"{prefix}_", "NET_": f"{prefix.upper()}_"}
    return NOT_OURS.sub(lambda found: prefixes.get(found[0], found[0]), text)
