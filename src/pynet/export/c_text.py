"""Numbers, texts and names as C writes them."""

from __future__ import annotations

import re

import numpy as np

__all__ = ["array", "check_prefix", "comment", "definition", "number", "string"]

WIDTH = 120
MAX_PREFIX = 40
KEYWORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await
    co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype default delete do
    double dynamic_cast else enum explicit export extern false float for friend goto if inline int long main mutable
    namespace new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast
    requires restrict return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename typeof union unsigned using virtual void volatile wchar_t while
    xor xor_eq
    """


def check_prefix(prefix) -> str:
    """Return `prefix` if it may begin the names of a C file, and of a C++ file."""
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a string, got {type(prefix).__name__}")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", prefix) or len(prefix) > MAX_PREFIX:
        raise ValueError(
            f"prefix must be a C identifier of 1 to {MAX_PREFIX} letters, digits and single underscores inside, "
            f"got {prefix[: MAX_PREFIX + 10]!r}"
        )
    if prefix in KEYWORDS.split():
        raise ValueError(f"prefix must be no keyword of C or C++, got {prefix!r}")
    return prefix


def number(value, dtype) -> str:
    """Return a constant that a compiler reads back to the bit; of a float32 with F behind it."""
    return _literals(np.asarray([value], dtype))[0]


def _literals(values: np.ndarray) -> list[str]:
    if values.dtype.kind in "ui":
        form = {"u": "{}U", "i": "INT64_C({})" if values.dtype.itemsize == 8 else "{}"}[values.dtype.kind]
        return [form.format(value) for value in values.tolist()]
    digits, suffix = (9, "F") if values.dtype == np.float32 else (17, "")
    texts = [f"{value:.{digits}g}" for value in values.tolist()]
    return [text + suffix if "." in text or "e" in text else f"{text}.0{suffix}" for text in texts]


def array(values: np.ndarray, indent: str = "    ") -> str:
    """Return the lines between the braces of an array: rows of numbers."""
    if values.ndim == 2:
        return ",\n".join(f"{indent}{{\n{array(row, indent + '    ')}\n{indent}}}" for row in values)
    lines, line = [], indent
    for text in _literals(values):
        if len(line) + len(text) + 2 > WIDTH:
            lines.append(line.rstrip())
            line = indent
        line += text + ", "
    return "\n".join([*lines, line.rstrip(", ")])


def definition(name: str, values: np.ndarray, real: str = "net_real") -> str:
    """Return the definition of a constant array; real: the type of floating numbers."""
    kind = real if values.dtype.kind == "f" else f"{values.dtype.name}_t"
    size = "".join(f"[{n}]" for n in values.shape)
    return f"static const {kind} {name}{size} = {{\n{array(values)}\n}};"


def string(text: str) -> str:
    """Return a string literal of a text in UTF-8; what is not plain ASCII in octal, question marks escaped."""
    plain = {ord("\\"): "\\\\", ord('"'): '\\"', ord("?"): "\\?"}
    shown = (plain.get(c, chr(c) if 32 <= c < 127 else f"\\{c:03o}") for c in text.encode())
    return f'"{"".join(shown)}"'


def comment(text: str) -> str:
    """Return a text that may stand in a comment."""
    return "".join(c if " " <= c <= "~" else "?" for c in str(text)).replace("*/", "* /").replace("/*", "/ *")
