"""Integer networks as C99: one source and one header, constants in flash, not one float between input and output.

The functions that the ops call stand in runtime_int8.inc; of them a file gets those that it uses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from importlib.resources import files as resources

import numpy as np

from ..files import write_atomically
from ..quantize_memory import constants, places, wrapper_constants
from ..quantized_model import QuantizedModel

__all__ = ["write_int8"]

LINE = 110  # characters
RANDOM_ROWS = 2  # of a self-test, besides real rows and the two of its ends
C_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")


def write_int8(quantized, path, prefix: str = "net") -> None:
    """Write an integer network to the C99 source `path` (ending in .c) and the header beside it (.h).

    Parameters
    ----------
    quantized : QuantizedModel
    path : str or os.PathLike
    prefix : str
        With which all names begin, in lower case those of functions, in upper case those of macros.

    Raises
    ------
    OSError
        A file cannot be written.
    TypeError, ValueError
        `quantized` is no QuantizedModel, `path` does not end in .c, or `prefix` is no C name.
    """
    if not isinstance(quantized, QuantizedModel):
        raise TypeError(f"quantized must be a QuantizedModel, got {type(quantized).__name__}")
    path = os.fsdecode(path)
    if not path.endswith(".c"):
        raise ValueError(f"path must end in .c, got {path!r}")
    if not isinstance(prefix, str) or not C_NAME.fullmatch(prefix):
        raise ValueError(f"prefix must be a C name of at most 41 characters, got {prefix!r}")
    writer = _Writer(quantized, prefix)
    header = path[:-2] + ".h"
    texts = {header: writer.header(), path: writer.source(os.path.basename(header))}
    for name, text in texts.items():
        write_atomically(name, [text.encode()])


class _Writer:
    """Writes the parts of the two files."""

    def __init__(self, model: QuantizedModel, prefix: str):
        self.model, self.prefix, self.upper = model, prefix, prefix.upper()
        self.arrays, self.names = constants(model)
        self.places, self.ram = places(model)
        self.pointers = {v: self._in_memory(v, at) for v, at in self.places.items()}
        self.inputs = self._ends("x", model.inputs)
        self.outputs = self._ends("y", model.outputs)
        for end, name in reversed([*self.outputs, *self.inputs]):  # of a value that is several ends the first counts
            self.pointers[end.value] = name

    def _in_memory(self, v: int, at: int) -> str:
        if self.model.values[v].q.bits == 8:
            return f"(int8_t *)memory + {at}"
        return f"memory + {at // 2}"

    @staticmethod
    def _ends(letter: str, ends) -> list:
        return [(end, letter if len(ends) == 1 else f"{letter}{k}") for k, end in enumerate(ends)]

    def type(self, v: int) -> str:
        return f"int{self.model.values[v].q.bits}_t"

    def width(self, v: int) -> int:
        return self.model.values[v].width

    # ---- the header -------------------------------------------------------------------------------------------------

    def header(self) -> str:
        p, P = self.prefix, self.upper
        quantize, floats = [], []
        for (i, name), suffix in zip(self.inputs, self._suffixes(self.inputs), strict=True):
            if i.offset == -128:
                quantize.append(f"/* Whole numbers 0..255 of input {i.name!r}: q = x - 128. */")
                quantize.append(f"void {p}_quantize_u8{suffix}(const uint8_t *x, int8_t *q);")
            elif i.offset == 0:
                quantize.append(f"/* Whole numbers are the integers of input {i.name!r}: give them as they are. */")
            floats.append(f"void {p}_quantize{suffix}(const float *x, {self.type(i.value)} *q);")
        for (out, _), suffix in zip(self.outputs, self._suffixes(self.outputs), strict=True):
            floats.append(f"void {p}_dequantize{suffix}(const int16_t *q, float *y);")
        sizes = [f"#define {P}_MEMORY {max(self.ram // 2, 1)}", f"#define {P}_FLOAT_MEMORY {self._float_memory()}"]
        for ends in (self.inputs, self.outputs):
            for (end, name), suffix in zip(ends, self._suffixes(ends), strict=True):
                sizes.append(f"#define {P}_{'INPUT' if name[0] == 'x' else 'OUTPUT'}{suffix.upper()} {self.width(end.value)}")
        return "\n".join([
            "/* An integer network, written by pynet. */",
            f"#ifndef {P}_H", f"#define {P}_H", "", "#include <stdint.h>", "",
            "#ifdef __cplusplus", 'extern "C" {', "#endif", "",
            "/* Elements: of int16_t memory, of rows. */", *sizes, "",
            f"/* The outputs of one row, integers alone. memory: {P}_MEMORY elements whose content does not matter,",
            "   of which every thread needs its own. x and y must not overlap. */",
            f"void {p}_predict_q({self._parameters()}, int16_t *memory);", "",
            "/* The number of the largest of n outputs, the first of equal ones: the class. */",
            f"int32_t {p}_argmax(const int16_t *y, int32_t n);", "",
            *quantize, *([""] if quantize else []),
            f"#ifndef {P}_NO_SELFTEST",
            "/* 0 if rows that are built in give the bits that they must, else the number of the first that does not. */",
            f"int {p}_selftest(void);", "#endif", "",
            f"#ifndef {P}_NO_FLOAT",
            f"/* The same for floats; a NaN becomes the integer of 0. memory: {P}_FLOAT_MEMORY elements. */",
            f"void {p}_predict({self._parameters('float', 'float')}, int16_t *memory);",
            *floats, "#endif", "",
            "#ifdef __cplusplus", "}", "#endif", "", "#endif", "",
        ])  # fmt: skip

    @staticmethod
    def _suffixes(ends) -> list[str]:
        return [""] if len(ends) == 1 else [f"_{k}" for k in range(len(ends))]

    def _parameters(self, x: str = "", y: str = "") -> str:
        reads = [f"const {x or self.type(i.value)} *{name}" for i, name in self.inputs]
        return ", ".join([*reads, *(f"{y or self.type(out.value)} *{name}" for out, name in self.outputs)])

    def _float_memory(self) -> int:
        return self.ram // 2 + sum(self._words(end.value) for end, _ in (*self.inputs, *self.outputs))

    def _words(self, v: int) -> int:
        """Return the int16_t that hold a value."""
        return -(-self.width(v) * self.model.values[v].q.bits // 16)

    # ---- the source -------------------------------------------------------------------------------------------------

    def source(self, header: str) -> str:
        predict = self._predict()
        runtime = _Runtime(self.prefix)
        integers = "\n".join([predict, self._argmax(), *self._quantize_integers()])
        floats = self._floats()
        parts = [
            f'/* An integer network, written by pynet; see {header}. */\n#include "{header}"\n',
            *(self._array(name, array) for name, array in self.arrays.items()),
            *runtime.used_in(integers),
            integers,
            f"#ifndef {self.upper}_NO_SELFTEST\n",
            self._selftest(),
            f"#endif\n\n#ifndef {self.upper}_NO_FLOAT\n",
            *(self._array(name, array) for name, array in wrapper_constants(self.model).items()),
            *runtime.used_in(floats),
            floats,
            "#endif\n",
        ]
        return "\n".join(parts)

    def _array(self, name: str, array: np.ndarray) -> str:
        kind = "float" if array.dtype.kind == "f" else f"{array.dtype.name}_t"
        lines, line = [], "   "
        for text in map(_literal, array.reshape(-1)):
            if len(line) + len(text) > LINE:
                lines.append(line)
                line = "   "
            line += f" {text},"
        return "\n".join([f"static const {kind} {self.prefix}_{name}[{array.size}] = {{", *lines, line, "};", ""])

    def _predict(self) -> str:
        lines = [f"void {self.prefix}_predict_q({self._parameters()}, int16_t *memory)", "{"]
        for i, op in enumerate(self.model.ops):
            lines.append(f"    {{ /* {_comment(self.model.values[op.y].name)}: {op.kind} */")
            for v, name in zip(op.reads, ("in", "in2"), strict=False):
                lines.append(f"        const {self.type(v)} *{name} = {self.pointers[v]};")
            lines.append(f"        {self.type(op.y)} *out = {self.pointers[op.y]};")
            lines += [f"        {line}" for line in EMIT[op.kind](self, i, op)]
            lines.append("    }")
        for out, name in self.outputs:
            there = self.pointers[out.value]
            if there != name:  # an input, or an output that had its name before
                lines += ["    {", *(f"        {x}" for x in _loop(self.width(out.value), f"{name}[o] = {there}[o];")), "    }"]
        if not self.ram:
            lines.append("    (void)memory;")
        return "\n".join([*lines, "}", ""])

    def _argmax(self) -> str:
        return _function(
            f"int32_t {self.prefix}_argmax(const int16_t *y, int32_t n)",
            "int32_t o;", "int32_t best = 0;",
            "for (o = 1; o < n; ++o) {", "    best = y[o] > y[best] ? o : best;", "}", "return best;",
        )  # fmt: skip

    def _quantize_integers(self) -> list[str]:
        result = []
        for (i, _), suffix in zip(self.inputs, self._suffixes(self.inputs), strict=True):
            if i.offset == -128:
                body = _loop(self.width(i.value), "q[o] = (int8_t)((int32_t)x[o] - 128);")
                result.append(_function(f"void {self.prefix}_quantize_u8{suffix}(const uint8_t *x, int8_t *q)", *body))
        return result

    def _floats(self) -> str:
        p, model = self.prefix, self.model
        parts = []
        for k, ((i, _), suffix) in enumerate(zip(self.inputs, self._suffixes(self.inputs), strict=True)):
            q = model.values[i.value].q
            shift, factor = (
                _literal(a[0]) if a.size == 1 else f"{p}_{name}_in{k}[o]"
                for name, a in (("shift", i.shift), ("factor", i.factor))
            )
            t = f"(x[o] - {shift}) * {factor}"
            line = f"q[o] = ({self.type(i.value)}){p}_nearest({t}, {q.zero}, {q.lo}, {q.hi});"
            head = f"void {p}_quantize{suffix}(const float *x, {self.type(i.value)} *q)"
            parts.append(_function(head, *_loop(self.width(i.value), line)))
        for (out, _), suffix in zip(self.outputs, self._suffixes(self.outputs), strict=True):
            q = model.values[out.value].q
            line = f"y[o] = (float)((int32_t)q[o] - {q.zero}) * {_literal(np.float32(q.scale))};".replace("- -", "+ ")
            head = f"void {p}_dequantize{suffix}(const int16_t *q, float *y)"
            parts.append(_function(head, *_loop(self.width(out.value), line)))
        return "\n".join([*parts, self._float_predict()])

    def _float_predict(self) -> str:
        p = self.prefix
        at, pointers = self.ram // 2, []
        for end, _ in (*self.inputs, *self.outputs):
            pointers.append(f"({self.type(end.value)} *)(memory + {at})")
            at += self._words(end.value)
        n = len(self.inputs)
        before = [
            f"{p}_quantize{suffix}({name}, {there});"
            for (_, name), suffix, there in zip(self.inputs, self._suffixes(self.inputs), pointers[:n], strict=True)
        ]
        behind = [
            f"{p}_dequantize{suffix}({there}, {name});"
            for (_, name), suffix, there in zip(self.outputs, self._suffixes(self.outputs), pointers[n:], strict=True)
        ]
        return _function(
            f"void {p}_predict({self._parameters('float', 'float')}, int16_t *memory)",
            *before, f"{p}_predict_q({', '.join(pointers)}, memory);", *behind,
        )  # fmt: skip

    def _selftest(self) -> str:
        p = self.prefix
        rows = self._test_rows()
        n = len(rows[0])
        data = self.model.run(rows)
        arrays, lines, arguments, checks = [], [], [], []
        for k, ((i, _), x) in enumerate(zip(self.inputs, rows, strict=True)):
            arrays.append(self._array(f"test_x{k}", x))
            arguments.append(f"{p}_test_x{k} + row * {self.width(i.value)}")
        for k, (out, _) in enumerate(self.outputs):
            width = self.width(out.value)
            arrays.append(self._array(f"test_y{k}", data[out.value].astype(np.int16)))
            lines.append(f"int16_t y{k}[{width}];")
            arguments.append(f"y{k}")
            checks += [f"for (o = 0; o < {width}; ++o) {{", f"    if (y{k}[o] != {p}_test_y{k}[row * {width} + o]) {{"]
            checks += ["        return (int)row + 1;", "    }", "}"]
        body = [
            f"int16_t memory[{self.upper}_MEMORY];", *lines, "int32_t row;", "int32_t o;", f"for (row = 0; row < {n}; ++row) {{",
            f"    {p}_predict_q({', '.join(arguments)}, memory);", *(f"    {line}" for line in checks), "}", "return 0;",
        ]  # fmt: skip
        return "\n".join([*arrays, _function(f"int {p}_selftest(void)", *body)])

    def _test_rows(self) -> list[np.ndarray]:
        """Return the integers of rows for each input: real ones, both ends of the range, random ones."""
        rng = np.random.default_rng(0)
        result = []
        for i, example in zip(self.model.inputs, self.model.examples, strict=True):
            value = self.model.values[i.value]
            ends = np.array([[value.q.lo], [value.q.hi]]).repeat(value.width, axis=1)
            noise = rng.integers(value.q.lo, value.q.hi + 1, (RANDOM_ROWS, value.width))
            result.append(np.concatenate([example, ends, noise]).astype(value.q.dtype))
        return result


# ---- ops -------------------------------------------------------------------------------------------------------------


def _dense(w: _Writer, i: int, op) -> list[str]:
    p, x = w.prefix, w.model.values[op.x]
    name = {field: f"{p}_{w.names[i, field]}" for field in op.constants()}
    wide = op.is_wide(w.model.values)
    dot = f"{p}_{'wide_' if wide else ''}dot{x.q.bits}({name['w']} + o * {x.width}, in, {x.width}, {name['b']}[o])"
    scaled = f"{p}_rescale(acc, {name['m']}[o], {op.s}, {op.zero}, {op.lo}, {op.hi})"
    acc = f"const int{64 if wide else 32}_t acc = {dot};"
    if not op.table.size:
        return _loop(w.width(op.y), acc, f"out[o] = ({w.type(op.y)}){scaled};")
    return _loop(w.width(op.y), acc, f"const int32_t q = {scaled};", *_look_up(w, op, name["table"]))


def _look_up(w: _Writer, op, table: str) -> list[str]:
    """Return the lines that set out[o] to what the table says of q."""
    if len(op.table) == 256:
        return [f"out[o] = {table}[q + 128];"]
    ends = f"{table}[(q + 32768) >> 7], {table}[((q + 32768) >> 7) + 1]"
    return [f"out[o] = ({w.type(op.y)}){w.prefix}_between({ends}, (q + 32768) & 127);"]


def _table(w: _Writer, i: int, op) -> list[str]:
    return _loop(w.width(op.y), "const int32_t q = in[o];", *_look_up(w, op, f"{w.prefix}_{w.names[i, 'table']}"))


def _each(w: _Writer, i: int, op, field: str) -> str:
    """Return the element of an array that belongs to o."""
    array = getattr(op, field)
    return _literal(array[0]) if array.size == 1 else f"{w.prefix}_{w.names[i, field]}[o]"


def _minus_zero(w: _Writer, v: int, name: str) -> str:
    zero = w.model.values[v].q.zero
    return f"(int64_t)({name}[o] {'-' if zero >= 0 else '+'} {_literal(np.int32(abs(zero)))})"


def _shifted(w: _Writer, op, total: str) -> str:
    return f"({w.type(op.y)}){w.prefix}_clip({w.prefix}_shift({total}, {op.s}), {op.lo}, {op.hi});"


def _scale(w: _Writer, i: int, op) -> list[str]:
    total = f"{_minus_zero(w, op.x, 'in')} * {_each(w, i, op, 'm')} + {_each(w, i, op, 'c')}"
    at = f"{op.at} + o" if op.at else "o"
    return _loop(w.width(op.x), f"out[{at}] = {_shifted(w, op, total)}")


def _prelu(w: _Writer, i: int, op) -> list[str]:
    x = f"const int64_t d = {_minus_zero(w, op.x, 'in')};"
    total = f"d * (d > 0 ? {_literal(np.int32(op.m))} : {_each(w, i, op, 'n')}) + {_literal(np.int64(op.c))}"
    return _loop(w.width(op.x), x, f"out[o] = {_shifted(w, op, total)}")


def _add(w: _Writer, i: int, op) -> list[str]:
    a = f"{_minus_zero(w, op.x, 'in')} * {_literal(np.int32(op.m))}"
    b = f"{_minus_zero(w, op.x2, 'in2')} * {_literal(np.int32(op.m2))}"
    return _loop(w.width(op.x), f"out[o] = {_shifted(w, op, f'{a} + {b} + {_literal(np.int64(op.c))}')}")


def _softmax(w: _Writer, i: int, op) -> list[str]:
    p = w.prefix
    return [f"{p}_softmax(in, out, {w.width(op.x)}, {op.m}, {op.s}, {p}_{w.names[i, 'powers']});"]


EMIT: dict[str, Callable[[_Writer, int, object], list[str]]] = {
    "dense": _dense, "scale": _scale, "prelu": _prelu, "add": _add, "table": _table, "softmax": _softmax,
}  # fmt: skip


# ---- text ------------------------------------------------------------------------------------------------------------


class _Runtime:
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


def _function(head: str, *lines: str) -> str:
    return "\n".join([head, "{", *(f"    {line}" for line in lines), "}", ""])


def _loop(n: int, *lines: str) -> list[str]:
    return ["int32_t o;", f"for (o = 0; o < {n}; ++o) {{", *(f"    {line}" for line in lines), "}"]


def _literal(number) -> str:
    """Return a number of NumPy as C writes it."""
    if number.dtype.kind == "f":
        text = f"{number:.9g}"
        return f"{text if {'.', 'e'} & set(text) else text + '.0'}F"
    if number.dtype.itemsize == 8:
        return f"INT64_C({number})"
    return str(number)


def _comment(text: str) -> str:
    """Return a text that can stand in a comment."""
    return re.sub(r"[^A-Za-z0-9_ ().-]", "?", text)
