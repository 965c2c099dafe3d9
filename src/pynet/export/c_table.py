"""The rows of a table in an exported network: a struct of raw values, and what makes the network's inputs of it."""

from __future__ import annotations

import re
import textwrap

import numpy as np

from ..tables.codes import CategoryCode, Code, DateCode, NumberCode
from ..tables.columns import MISSING, Column, Frame
from ..tables.encoder import Encoder
from .c_text import KEYWORDS, WIDTH, comment, definition, number, string

__all__ = ["TablePart"]

UNKNOWN = "(a text that was not there)"
TOLERANCE = 1e-5  # of the inputs that a test row gives: all are of the size of 1
LARGEST = np.finfo(np.float64).max
PLACEHOLDER = "\x01{}\x01"  # for the name of a member, until all else has its prefix; in no text and comment of C
MACROS = "NULL NAN INFINITY EOF BUFSIZ HUGE_VAL errno stdin stdout stderr linux unix"  # of headers and compilers


class TablePart:
    """What the files of a network get for the table in front of it.

    Parameters
    ----------
    encoder : Encoder
    real : "float" or "double"
    dtype : np.dtype
        The same.
    static : bool
        Whether the working memory stands in the file.
    outputs : list of str
        The names of the outputs.
    tests : int
        Rows of the self-test.
    """

    def __init__(self, encoder: Encoder, real: str, dtype, static: bool, outputs: list[str], tests: int):
        for name in [
            *encoder.names,
            *(text for c in encoder.codes if isinstance(c, CategoryCode) for text in c.levels),
        ]:
            if "\0" in name:
                raise ValueError(f"no text of C can hold the zero byte of {name[:40]!r}")
        self.encoder, self.real, self.dtype, self.static, self.outputs = encoder, real, dtype, static, outputs
        self.members = members(encoder.names)
        widths = encoder.widths
        self.inputs = ["x"] if len(widths) == 1 else [f"x{k + 1}" for k in range(len(widths))]
        self.frame = test_rows(encoder, tests) if tests else None

    # ---- the header -------------------------------------------------------------------------------------------------

    def sizes(self) -> list[str]:
        """Return the macros."""
        if self.static:
            return []
        inputs = " + ".join(f"NET_{name.upper()}_SIZE" for name in self.inputs)
        return [f"#define NET_ROW_SCRATCH ({inputs} + NET_SCRATCH) /* numbers to work with, of a row of the table */"]

    def declared(self) -> list[str]:
        """Return the struct and the functions."""
        lines = ["/* A row of the table, its values as they are. */", "struct net_row {"]
        for k, code in enumerate(self.encoder.codes):
            lines.append(f"    {TYPES[code.kind]}{PLACEHOLDER.format(k)}; /* {self._told(code)} */")
        lines += ["};", ""]
        lines.append(
            "/* Computes what goes into the network from a row of the table: missing values are NaN and NULL. */"
        )
        lines += [_wrapped(f"{self._encode_signature()};"), ""]
        lines.append("/* Computes one row of the table. */")
        return [*lines, _wrapped(f"{self._predict_signature()};"), ""]

    def _told(self, code: Code) -> str:
        shown = comment(code.name)
        if isinstance(code, DateCode):
            return f"{shown}: days since 1970-01-01 (UTC), 0.5 is noon"
        return f"{shown}: {len(code.levels)} texts are known, in UTF-8" if isinstance(code, CategoryCode) else shown

    def _encode_signature(self) -> str:
        return (
            f"void net_encode(const struct net_row *row, {', '.join(f'{self.real} *{name}' for name in self.inputs)})"
        )

    def _predict_signature(self) -> str:
        arguments = [f"{self.real} *{name}" for name in (*self.outputs, *["scratch"] * (not self.static))]
        return f"void net_predict_row(const struct net_row *row, {', '.join(arguments)})"

    # ---- the source -------------------------------------------------------------------------------------------------

    def used(self) -> list[str]:
        """Return the functions of runtime/table.h that are called."""
        return sorted(set(re.findall(r"\bnet_\w+(?=\()", "\n".join(self._body()))))

    def types(self) -> str:
        """Return what stands before the functions."""
        if not any(isinstance(code, CategoryCode) for code in self.encoder.codes):
            return ""
        texts = ", ".join(string(text) for text in sorted(MISSING))
        return (
            f"#define NET_NO_TEXTS {len(MISSING)}U\nstatic const char *const net_no_texts[NET_NO_TEXTS] = {{{texts}}};"
        )

    def defined(self) -> list[str]:
        """Return constants and functions."""
        parts = []
        for k, code in enumerate(self.encoder.codes):
            if isinstance(code, CategoryCode):
                lines = ",\n".join(f"    {string(text)}" for text in code.levels)
                parts.append(f"static const char *const net_levels_{k}[{len(code.levels)}] = {{\n{lines}\n}};")
            elif isinstance(code, NumberCode):
                for role, values in (("knots", code.x), ("deviates", code.z)):
                    if len(values):
                        parts.append(definition(f"net_{role}_{k}", values, "double"))
        parts.append("\n".join([_wrapped(self._encode_signature()), "{", *self._body(), "}"]))
        return [*parts, self._predict_row()]

    def _body(self) -> list[str]:
        lines, at = [], 0
        if any(not isinstance(code, CategoryCode) for code in self.encoder.codes):
            lines += ["    double value;", "    int missing;"]
        embedded = iter(self.inputs[bool(self.encoder.plain) :])
        for k, code in enumerate(self.encoder.codes):
            member = f"row->{PLACEHOLDER.format(k)}"
            if isinstance(code, CategoryCode):
                if code.dimensions:
                    out = next(embedded)
                else:
                    out, at = _element(self.inputs[0], at), at + code.width
                missing, unknown = (
                    f"{code.width if place is None else place}U"
                    for place in (code.place_of_missing, code.place_of_other)
                )
                call = f"net_one_hot({member}, net_levels_{k}, {len(code.levels)}U, {missing}, {unknown}, "
                lines.append(_wrapped(f"    {call}{out}, {code.width}U);"))
                continue
            assert isinstance(code, (NumberCode, DateCode))
            lines += [
                f"    missing = net_is_missing({member});",
                f"    value = missing ? {_double(code.fill)} : {member};",
                *self._of_number(k, code, at),
            ]
            if code.indicator:
                lines.append(
                    f"    {self.inputs[0]}[{at + code.width - 1}] = missing ? {self._real(1)} : {self._real(0)};"
                )
            at += code.width
        return lines

    def _of_number(self, k: int, code, at: int) -> list[str]:
        x = self.inputs[0]
        shift = f"((value - {_double(code.shift)}) * {_double(code.scale)})".replace("- -", "+ ")
        scaled = f"    {x}[{at}] = {f'(float){shift}' if self.real == 'float' else shift[1:-1]};"
        if isinstance(code, DateCode):
            turns = [
                f"    net_turn(value, {_double(period)}, {_element(x, at + 1 + 2 * i)});"
                for i, period in enumerate(code.periods)
            ]
            return [scaled, *turns]
        if len(code.z):
            return [f"    {x}[{at}] = net_interpolated(value, net_knots_{k}, net_deviates_{k}, {len(code.x)}U);"]
        pieces = f"    net_pieces(value, net_knots_{k}, {_element(x, at + 1)}, {len(code.slopes)}U);"
        return [scaled, pieces] if len(code.slopes) else [scaled]

    def _real(self, value: float) -> str:
        return number(value, self.dtype)

    def _predict_row(self) -> str:
        lines = [_wrapped(self._predict_signature()), "{"]
        places: list[str] = []
        at: list[str] = []
        for name in self.inputs:
            size = f"NET_{name.upper()}_SIZE"
            if self.static:
                lines.append(f"    static net_real {name}[{size}];")
                places.append(name)
            else:
                places.append(f"&scratch[{' + '.join(at)}]" if at else "scratch")
                at.append(size)
        rest = [] if self.static else [f"&scratch[{' + '.join(at)}]"]
        lines.append(_wrapped(f"    net_encode(row, {', '.join(places)});"))
        lines.append(_wrapped(f"    net_predict({', '.join([*places, *self.outputs, *rest])});"))
        return "\n".join([*lines, "}"])

    # ---- the self-test ----------------------------------------------------------------------------------------------

    def tests(self) -> list[str]:
        """Return the tables of test rows."""
        if self.frame is None:
            return []
        rows = []
        for row in range(len(self.frame)):
            cells = []
            for code in self.encoder.codes:
                column = self.frame.columns[code.name]
                if isinstance(code, CategoryCode):
                    text = column.texts()[row]
                    cells.append("NULL" if text is None else string(text))
                else:
                    value = column.values[row]
                    cells.append("NET_NOT_A_NUMBER" if np.isnan(value) else _double(value))
            rows.append(_in_lines(cells))
        body = ",\n".join(rows)
        parts = [f"static const struct net_row net_test_rows[{len(rows)}] = {{\n{body}\n}};"]
        if "NET_NOT_A_NUMBER" in body:
            parts.insert(0, "#define NET_NOT_A_NUMBER (1e300 * 1e300 - 1e300 * 1e300)")
        for name, values in zip(self.inputs, self.encoder.encode(self.frame, self.dtype), strict=True):
            parts.append(definition(f"net_test_row_{name}", values.astype(self.dtype)))
        return parts

    def tested(self) -> tuple[list[str], list[str]]:
        """Return declarations and statements of net_selftest."""
        if self.frame is None:
            return [], []
        declared = [f"    static net_real row_{name}[NET_{name.upper()}_SIZE];" for name in self.inputs]
        lines = [
            f"    for (row = 0U; row < {len(self.frame)}U; row++) {{",
            f"        net_encode(&net_test_rows[row], {', '.join(f'row_{name}' for name in self.inputs)});",
        ]
        for name in self.inputs:
            given = f"row_{name}, net_test_row_{name}[row], {self._real(TOLERANCE)}, NET_{name.upper()}_SIZE"
            lines.append(f"        wrong += net_wrong({given});")
        return declared, [*lines, "    }"]

    def named(self, text: str) -> str:
        """Put the names of the members into a text whose other names have their prefix."""
        for k, name in enumerate(self.members):
            text = text.replace(PLACEHOLDER.format(k), name)
        return text


TYPES = {"number": "double ", "date": "double ", "category": "const char *"}


def members(names: list[str]) -> list[str]:
    """Return different C identifiers that look like the names of columns."""
    made: list[str] = []
    taken = {*KEYWORDS.split(), *MACROS.split()}
    for name in names:
        plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "column"
        plain = f"column_{plain}" if plain[0].isdigit() else f"{plain}_" if plain in taken else plain
        again = 2
        unique = plain[:60]
        while unique in made:
            unique, again = f"{plain[:60]}_{again}", again + 1
        made.append(unique)
    return made


def test_rows(encoder: Encoder, n: int) -> Frame:
    """Return n rows like those of training, one without any value, and one with unknown texts and far numbers."""
    rng = np.random.default_rng(0)
    columns = []
    for code in encoder.codes:
        if isinstance(code, CategoryCode):
            places = [*rng.integers(0, len(code.levels), n).tolist(), -1, len(code.levels)]
            columns.append(Column(code.name, "category", np.array(places, np.int32), [*code.levels, UNKNOWN]))
            continue
        assert isinstance(code, (NumberCode, DateCode))
        drawn = np.array([*rng.standard_normal(n), np.nan, 10.0])
        with np.errstate(over="ignore"):  # neither a value nor its distance from the shift may be infinite
            away = np.clip(drawn / code.scale, -LARGEST / 2, LARGEST / 2)
            values = np.clip(code.shift + away, -LARGEST, LARGEST)
        if isinstance(code, NumberCode) and len(code.x):
            k, part = rng.integers(0, len(code.x) - 1, n), rng.random(n)
            values[:n] = code.x[k] * (1 - part) + code.x[k + 1] * part
        columns.append(Column(code.name, code.kind, values))
    return Frame(columns)


def _in_lines(cells: list[str]) -> str:
    """Return an initializer in lines of the usual length, broken between cells only."""
    lines = ["    {"]
    for k, cell in enumerate(cells):
        text = cell + (", " if k + 1 < len(cells) else "}")
        if len(lines[-1]) + len(text) > WIDTH and lines[-1].strip() != "{":
            lines.append("     ")
        lines[-1] += text
    return "\n".join(line.rstrip() for line in lines)


def _element(array: str, at: int) -> str:
    return f"&{array}[{at}]" if at else array


def _double(value: float) -> str:
    return number(value, np.float64)


def _wrapped(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(line.lstrip(), WIDTH, initial_indent=indent, subsequent_indent=indent + "    ")
