"""Integer ops as C: the lines of each, between the pointers `in` (`in2`) and `out`.

w is the writer of c_int8.py: its model, the names of its constants, the widths and types of values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..quantize_numbers import half
from ..quantize_row_norm import MAX_NORM, fraction_bits
from .c_text import number

__all__ = ["EMIT", "loop"]


def loop(n: int, *lines: str) -> list[str]:
    """Return the lines of a loop over o = 0 .. n-1."""
    return ["int32_t o;", f"for (o = 0; o < {n}; ++o) {{", *_deeper(lines), "}"]


def _deeper(lines) -> list[str]:
    return [f"    {line}" for line in lines]


def _dense(w, i: int, op) -> list[str]:
    x, n, inputs = w.model.values[op.x], w.width(op.y), w.width(op.x)
    name = {field: f"net_{w.names[i, field]}" for field in op.constants()}

    def finish(acc: str, o: str) -> list[str]:
        """Return the lines that make an output of a sum."""
        scaled = f"net_rescale({acc}, {name['m']}[{o}], {op.s}, {op.zero}, {op.lo}, {op.hi})"
        if not op.table.size:
            return [f"out[{o}] = ({w.type(op.y)}){scaled};"]
        return [f"const int32_t q = {scaled};", *_look_up(w, op, name["table"], o)]

    if op.is_wide(w.model.values):
        dot = f"net_wide_dot{x.q.bits}({name['w']} + o * {inputs}, in, {inputs}, {name['b']}[o])"
        return loop(n, *finish(dot, "o"))
    return [
        "int32_t o;",
        f"for (o = 0; o < {n}; o += 4) {{",
        f"    const int32_t rows = {n} - o < 4 ? {n} - o : 4;",
        "    int32_t sums[4];",
        "    int32_t k;",
        f"    net_dots{x.q.bits}({name['w']} + o * {inputs}, {inputs}, rows, in, {inputs}, sums);",
        "    for (k = 0; k < rows; ++k) {",
        *_deeper(_deeper(finish(f"sums[k] + {name['b']}[o + k]", "o + k"))),
        "    }",
        "}",
    ]


def _look_up(w, op, table: str, o: str = "o") -> list[str]:
    """Return the lines that set out[o] to what the table says of q."""
    if len(op.table) == 256:
        return [f"out[{o}] = {table}[q + 128];"]
    ends = f"{table}[(q + 32768) >> 7], {table}[((q + 32768) >> 7) + 1]"
    return [f"out[{o}] = ({w.type(op.y)})net_between({ends}, (q + 32768) & 127);"]


def _table(w, i: int, op) -> list[str]:
    return loop(w.width(op.y), "const int32_t q = in[o];", *_look_up(w, op, f"net_{w.names[i, 'table']}"))


def _each(w, i: int, op, field: str) -> str:
    """Return the element of an array that belongs to o."""
    array = getattr(op, field)
    return number(array[0], array.dtype) if array.size == 1 else f"net_{w.names[i, field]}[o]"


def _minus_zero(w, v: int, name: str) -> str:
    zero = w.model.values[v].q.zero
    return f"(int64_t)((int32_t){name}[o] {'-' if zero >= 0 else '+'} {number(abs(zero), np.int32)})"


def _shifted(w, op, total: str) -> str:
    return f"({w.type(op.y)})net_clip(net_shift({total}, {op.s}), {op.lo}, {op.hi});"


def _scale(w, i: int, op) -> list[str]:
    total = f"{_minus_zero(w, op.x, 'in')} * {_each(w, i, op, 'm')} + {_each(w, i, op, 'c')}"
    at = f"{op.at} + o" if op.at else "o"
    return loop(w.width(op.x), f"out[{at}] = {_shifted(w, op, total)}")


def _prelu(w, i: int, op) -> list[str]:
    x = f"const int64_t d = {_minus_zero(w, op.x, 'in')};"
    total = f"d * (d > 0 ? {number(op.m, np.int32)} : {_each(w, i, op, 'n')}) + {number(op.c, np.int64)}"
    return loop(w.width(op.x), x, f"out[o] = {_shifted(w, op, total)}")


def _add(w, i: int, op) -> list[str]:
    a = f"{_minus_zero(w, op.x, 'in')} * {number(op.m, np.int32)}"
    b = f"{_minus_zero(w, op.x2, 'in2')} * {number(op.m2, np.int32)}"
    return loop(w.width(op.x), f"out[o] = {_shifted(w, op, f'{a} + {b} + {number(op.c, np.int64)}')}")


def _softmax(w, i: int, op) -> list[str]:
    return [f"net_softmax(in, out, {w.width(op.x)}, {op.m}, {op.s}, net_{w.names[i, 'powers']});"]


def _row_norm(w, i: int, op) -> list[str]:
    x = w.model.values[op.x]
    unit = 1 << fraction_bits(x.q.bits)
    total = f"v * {_each(w, i, op, 'm')} + {_each(w, i, op, 'c')}"
    return [
        "int64_t mean;",
        "int64_t inverse;",
        "int32_t o;",
        f"net_moments{x.q.bits}(in, {x.width}, {number(op.epsilon, np.int64)}, &mean, &inverse);",
        *loop(
            x.width,
            f"const int64_t d = ((int64_t)in[o] + {-x.q.lo}) * {unit} - mean;",
            f"const int64_t v = net_clip(net_shift(d * inverse, 21), {-MAX_NORM}, {MAX_NORM});",
            f"out[o] = {_shifted(w, op, total)}",
        )[1:],
    ]


def _lstm(w, i: int, op) -> list[str]:
    n, features = op.units, op.w.shape[1]
    x, h = w.model.values[op.x], w.model.values[op.y]
    of = {field: f"net_{w.names[i, field]}" for field in op.constants()}
    declared, calls, sums = [], [], []
    wide = op.is_wide(w.model.values)
    for q, read, size, field, is_wide in ((x.q, "row", features, "w", wide[0]), (h.q, "hidden", n, "r", wide[1])):
        bias = f"{of['b']}[g]" if field == "w" else "0"
        if is_wide:
            sums.append(f"net_wide_dot{q.bits}({of[field]} + g * {size}, {read}, {size}, {bias})")
        else:  # the four gates of a unit
            declared.append(f"    int32_t of_{read}[4];")
            calls.append(f"    net_dots{q.bits}({of[field]} + u * {size}, {n * size}, 4, {read}, {size}, of_{read});")
            sums.append(f"(of_{read}[k] + {bias})" if field == "w" else f"of_{read}[k]")
    step = [
        f"for (u = 0; u < {n}; ++u) {{",
        "    int32_t z[4];",
        "    int32_t k;",
        "    int32_t c;",
        *declared,
        *calls,
        "    for (k = 0; k < 4; ++k) {",
        f"        const int32_t g = k * {n} + u;",
        f"        const int64_t sum = (int64_t){sums[0]} * {of['m']}[g]",
        f"            + (int64_t){sums[1]} * {of['n']}[g];",
        f"        z[k] = net_clip(net_shift(sum + {_half(op.s)}, {op.s}), -32768, 32767);",
        "    }",
        f"    c = net_clip(net_shift((int64_t)net_line({of['sigmoid']}, z[1]) * cell[u] * {op.m_f}",
        f"        + (int64_t)net_line({of['sigmoid']}, z[0]) * net_line({of['tanh']}, z[2]) * {op.m_i}",
        f"        + {_half(op.s_c)}, {op.s_c}), -32768, 32767);",
        "    cell[u] = (int16_t)c;",
        f"    now[u] = ({w.type(op.y)})net_clip(net_shift(",
        f"        (int64_t)net_line({of['sigmoid']}, z[3]) * net_line({of['tanh_c']}, c) * {op.m_h}",
        f"        + {_half(op.s_h)}, {op.s_h}), {h.q.lo}, {h.q.hi});",
        "}",
        f"for (u = 0; u < {n}; ++u) {{",
        "    hidden[u] = now[u];",
        "}",
    ]
    if op.mask >= 0:
        skip = [f"for (u = 0; u < {n}; ++u) {{", "    now[u] = hidden[u];", "}"]
        step = [f"if (in2[t] > {op.threshold}) {{", *_deeper(step), "} else {", *_deeper(skip), "}"]
    return [
        f"int16_t *cell = {w.pointers[op.cell]};",
        f"{w.type(op.y)} *hidden = {w.pointers[op.hidden]};",
        "int32_t t;",
        "int32_t u;",
        f"for (u = 0; u < {n}; ++u) {{",
        "    cell[u] = 0;",
        "    hidden[u] = 0;",
        "}",
        f"for (t = 0; t < {op.steps}; ++t) {{",
        f"    const {w.type(op.x)} *row = in + t * {features};",
        f"    {w.type(op.y)} *now = out{'' if h.width == n else f' + t * {n}'};",
        *_deeper(step),
        "}",
    ]


def _half(s: int) -> str:
    return number(half(s), np.int64)


EMIT: dict[str, Callable[[Any, int, Any], list[str]]] = {
    "dense": _dense, "scale": _scale, "prelu": _prelu, "add": _add, "table": _table, "softmax": _softmax,
    "row_norm": _row_norm, "lstm": _lstm,
}  # fmt: skip
