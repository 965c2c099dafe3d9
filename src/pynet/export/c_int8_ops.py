"""Integer ops as C: the lines of each, between the pointers `in` (`in2`) and `out`.

w is the writer of c_int8.py: its model, its prefix, the names of its constants, the widths and types of values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..quantize_numbers import half
from ..quantize_row_norm import MAX_NORM, fraction_bits
from .c_int8_text import literal, loop

__all__ = ["EMIT"]


def _dense(w, i: int, op) -> list[str]:
    p, x = w.prefix, w.model.values[op.x]
    name = {field: f"{p}_{w.names[i, field]}" for field in op.constants()}
    wide = op.is_wide(w.model.values)
    dot = f"{p}_{'wide_' if wide else ''}dot{x.q.bits}({name['w']} + o * {x.width}, in, {x.width}, {name['b']}[o])"
    scaled = f"{p}_rescale(acc, {name['m']}[o], {op.s}, {op.zero}, {op.lo}, {op.hi})"
    acc = f"const int{64 if wide else 32}_t acc = {dot};"
    if not op.table.size:
        return loop(w.width(op.y), acc, f"out[o] = ({w.type(op.y)}){scaled};")
    return loop(w.width(op.y), acc, f"const int32_t q = {scaled};", *_look_up(w, op, name["table"]))


def _look_up(w, op, table: str) -> list[str]:
    """Return the lines that set out[o] to what the table says of q."""
    if len(op.table) == 256:
        return [f"out[o] = {table}[q + 128];"]
    ends = f"{table}[(q + 32768) >> 7], {table}[((q + 32768) >> 7) + 1]"
    return [f"out[o] = ({w.type(op.y)}){w.prefix}_between({ends}, (q + 32768) & 127);"]


def _table(w, i: int, op) -> list[str]:
    return loop(w.width(op.y), "const int32_t q = in[o];", *_look_up(w, op, f"{w.prefix}_{w.names[i, 'table']}"))


def _each(w, i: int, op, field: str) -> str:
    """Return the element of an array that belongs to o."""
    array = getattr(op, field)
    return literal(array[0]) if array.size == 1 else f"{w.prefix}_{w.names[i, field]}[o]"


def _minus_zero(w, v: int, name: str) -> str:
    zero = w.model.values[v].q.zero
    return f"(int64_t)((int32_t){name}[o] {'-' if zero >= 0 else '+'} {literal(np.int32(abs(zero)))})"


def _shifted(w, op, total: str) -> str:
    return f"({w.type(op.y)}){w.prefix}_clip({w.prefix}_shift({total}, {op.s}), {op.lo}, {op.hi});"


def _scale(w, i: int, op) -> list[str]:
    total = f"{_minus_zero(w, op.x, 'in')} * {_each(w, i, op, 'm')} + {_each(w, i, op, 'c')}"
    at = f"{op.at} + o" if op.at else "o"
    return loop(w.width(op.x), f"out[{at}] = {_shifted(w, op, total)}")


def _prelu(w, i: int, op) -> list[str]:
    x = f"const int64_t d = {_minus_zero(w, op.x, 'in')};"
    total = f"d * (d > 0 ? {literal(np.int32(op.m))} : {_each(w, i, op, 'n')}) + {literal(np.int64(op.c))}"
    return loop(w.width(op.x), x, f"out[o] = {_shifted(w, op, total)}")


def _add(w, i: int, op) -> list[str]:
    a = f"{_minus_zero(w, op.x, 'in')} * {literal(np.int32(op.m))}"
    b = f"{_minus_zero(w, op.x2, 'in2')} * {literal(np.int32(op.m2))}"
    return loop(w.width(op.x), f"out[o] = {_shifted(w, op, f'{a} + {b} + {literal(np.int64(op.c))}')}")


def _softmax(w, i: int, op) -> list[str]:
    p = w.prefix
    return [f"{p}_softmax(in, out, {w.width(op.x)}, {op.m}, {op.s}, {p}_{w.names[i, 'powers']});"]


def _row_norm(w, i: int, op) -> list[str]:
    p, x = w.prefix, w.model.values[op.x]
    unit = 1 << fraction_bits(x.q.bits)
    total = f"v * {_each(w, i, op, 'm')} + {_each(w, i, op, 'c')}"
    return [
        "int64_t mean;",
        "int64_t inverse;",
        "int32_t o;",
        f"{p}_moments{x.q.bits}(in, {x.width}, {literal(np.int64(op.epsilon))}, &mean, &inverse);",
        *loop(
            x.width,
            f"const int64_t d = ((int64_t)in[o] + {-x.q.lo}) * {unit} - mean;",
            f"const int64_t v = {p}_clip({p}_shift(d * inverse, 21), {-MAX_NORM}, {MAX_NORM});",
            f"out[o] = {_shifted(w, op, total)}",
        )[1:],
    ]


def _lstm(w, i: int, op) -> list[str]:
    p, n, features = w.prefix, op.units, op.w.shape[1]
    x, h = w.model.values[op.x], w.model.values[op.y]
    of = {field: f"{p}_{w.names[i, field]}" for field in op.constants()}
    wide, wide_h = ("wide_" if is_wide else "" for is_wide in op.is_wide(w.model.values))
    dots = (
        f"(int64_t){p}_{wide}dot{x.q.bits}({of['w']} + g * {features}, row, {features}, {of['b']}[g]) * {of['m']}[g]",
        f"(int64_t){p}_{wide_h}dot{h.q.bits}({of['r']} + g * {n}, hidden, {n}, 0) * {of['n']}[g]",
    )
    step = [
        f"for (u = 0; u < {n}; ++u) {{",
        "    int32_t z[4];",
        "    int32_t k;",
        "    int32_t c;",
        "    for (k = 0; k < 4; ++k) {",
        f"        const int32_t g = k * {n} + u;",
        f"        const int64_t sum = {dots[0]}",
        f"            + {dots[1]};",
        f"        z[k] = {p}_clip({p}_shift(sum + {_half(op.s)}, {op.s}), -32768, 32767);",
        "    }",
        f"    c = {p}_clip({p}_shift((int64_t){p}_line({of['sigmoid']}, z[1]) * cell[u] * {op.m_f}",
        f"        + (int64_t){p}_line({of['sigmoid']}, z[0]) * {p}_line({of['tanh']}, z[2]) * {op.m_i}",
        f"        + {_half(op.s_c)}, {op.s_c}), -32768, 32767);",
        "    cell[u] = (int16_t)c;",
        f"    now[u] = ({w.type(op.y)}){p}_clip({p}_shift(",
        f"        (int64_t){p}_line({of['sigmoid']}, z[3]) * {p}_line({of['tanh_c']}, c) * {op.m_h}",
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
    return literal(np.int64(half(s)))


def _deeper(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


EMIT: dict[str, Callable[[Any, int, Any], list[str]]] = {
    "dense": _dense, "scale": _scale, "prelu": _prelu, "add": _add, "table": _table, "softmax": _softmax,
    "row_norm": _row_norm, "lstm": _lstm,
}  # fmt: skip
