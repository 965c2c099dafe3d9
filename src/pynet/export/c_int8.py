"""Integer networks as C99: one source and one header, constants in flash, not one float between input and output.

The functions that the ops call stand in runtime_int8.inc; of them a file gets those that it uses.
"""

from __future__ import annotations

import os
import re

import numpy as np

from ..files import write_atomically
from ..quantize_memory import constants, places, wrapper_constants
from ..quantized_model import QuantizedModel
from .c_int8_ops import EMIT
from .c_int8_text import Runtime, array, comment, function, literal, loop

__all__ = ["write_int8"]

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
        self.inputs, self.outputs = _numbered(model.inputs), _numbered(model.outputs)
        ends = [(end, f"x{k}") for end, k in self.inputs] + [(end, f"y{k}") for end, k in self.outputs]
        for end, name in reversed(ends):  # of a value that is several ends the first counts
            self.pointers[end.value] = name

    def _in_memory(self, v: int, at: int) -> str:
        if self.model.values[v].q.bits == 8:
            return f"(int8_t *)memory + {at}"
        return f"memory + {at // 2}"

    def type(self, v: int) -> str:
        return f"int{self.model.values[v].q.bits}_t"

    def width(self, v: int) -> int:
        return self.model.values[v].width

    # ---- the header -------------------------------------------------------------------------------------------------

    def header(self) -> str:
        p, P = self.prefix, self.upper
        return "\n".join([
            "/* An integer network, written by pynet. */",
            f"#ifndef {P}_H", f"#define {P}_H", "", "#include <stdint.h>", "",
            "#ifdef __cplusplus", 'extern "C" {', "#endif", "",
            *self._sizes(), "",
            f"/* The outputs of one row, integers alone. memory: {P}_MEMORY elements whose content does not matter,",
            "   of which every thread needs its own. x and y must not overlap. */",
            f"void {p}_predict_q({self._parameters()}, int16_t *memory);", "",
            "/* The number of the largest of n outputs, the first of equal ones: the class. */",
            f"int32_t {p}_argmax(const int16_t *y, int32_t n);", "",
            *self._integer_inputs(),
            f"#ifndef {P}_NO_SELFTEST",
            "/* 0 if rows that are built in give the bits that they must, else the number of the first that does not;",
            "   its memory lies on the stack. */",
            f"int {p}_selftest(void);", "#endif", "",
            f"#ifndef {P}_NO_FLOAT",
            f"/* The same for floats; a NaN becomes the integer of 0. memory: {P}_FLOAT_MEMORY elements. */",
            f"void {p}_predict({self._parameters('float', 'float')}, int16_t *memory);",
            *(f"void {p}_quantize{suffix}(const float *x, {self.type(i.value)} *q);" for i, suffix in self.inputs),
            *(f"void {p}_dequantize{suffix}(const int16_t *q, float *y);" for _, suffix in self.outputs),
            "#endif", "",
            "#ifdef __cplusplus", "}", "#endif", "", "#endif", "",
        ])  # fmt: skip

    def _sizes(self) -> list[str]:
        """Return the macros: elements of int16_t memory, and of rows."""
        sizes = [("MEMORY", max(self.ram // 2, 1)), ("FLOAT_MEMORY", self._float_memory())]
        for what, ends in (("INPUT", self.inputs), ("OUTPUT", self.outputs)):
            sizes += [(f"{what}{suffix}", self.width(end.value)) for end, suffix in ends]
        return [f"#define {self.upper}_{name} {size}" for name, size in sizes]

    def _integer_inputs(self) -> list[str]:
        """Return what the header says of inputs that need no floats."""
        lines = []
        for i, suffix in self.inputs:
            if i.offset == -128:
                lines.append(f"/* Whole numbers 0..255 of input {i.name}: q = x - 128. */")
                lines.append(f"void {self.prefix}_quantize_u8{suffix}(const uint8_t *x, int8_t *q);")
            elif i.offset == 0:
                lines.append(f"/* Whole numbers are the integers of input {i.name}: give them as they are. */")
        return [*lines, ""] if lines else []

    def _parameters(self, x: str = "", y: str = "") -> str:
        reads = [f"const {x or self.type(i.value)} *x{k}" for i, k in self.inputs]
        return ", ".join([*reads, *(f"{y or 'int16_t'} *y{k}" for _, k in self.outputs)])

    def _float_memory(self) -> int:
        return self.ram // 2 + sum(self._words(end.value) for end, _ in (*self.inputs, *self.outputs))

    def _words(self, v: int) -> int:
        """Return the int16_t that hold a value."""
        return -(-self.width(v) * self.model.values[v].q.bits // 16)

    # ---- the source -------------------------------------------------------------------------------------------------

    def source(self, header: str) -> str:
        predict = self._predict()
        runtime = Runtime(self.prefix)
        integers = "\n".join([predict, self._argmax(), *self._quantize_integers()])
        floats = self._floats()
        parts = [
            f'/* An integer network, written by pynet; see {header}. */\n#include "{header}"\n',
            *(array(f"{self.prefix}_{name}", values) for name, values in self.arrays.items()),
            *runtime.used_in(integers),
            integers,
            f"#ifndef {self.upper}_NO_SELFTEST\n",
            self._selftest(),
            f"#endif\n\n#ifndef {self.upper}_NO_FLOAT\n",
            *(array(f"{self.prefix}_{name}", values) for name, values in wrapper_constants(self.model).items()),
            *runtime.used_in(floats),
            floats,
            "#endif\n",
        ]
        return "\n".join(parts)

    def _predict(self) -> str:
        lines = [f"void {self.prefix}_predict_q({self._parameters()}, int16_t *memory) {{"]
        for i, op in enumerate(self.model.ops):
            lines.append(f"    {{ /* {comment(self.model.values[op.y].name)}: {op.kind} */")
            for v, name in zip(op.reads, ("in", "in2"), strict=False):
                lines.append(f"        const {self.type(v)} *{name} = {self.pointers[v]};")
            lines.append(f"        {self.type(op.y)} *out = {self.pointers[op.y]};")
            lines += [f"        {line}" for line in EMIT[op.kind](self, i, op)]
            lines.append("    }")
        for out, k in self.outputs:
            name, there = f"y{k}", self.pointers[out.value]
            if there != name:  # an input, or an output that had its name before
                lines += [
                    "    {",
                    *(f"        {x}" for x in loop(self.width(out.value), f"{name}[o] = {there}[o];")),
                    "    }",
                ]
        if not self.ram:
            lines.append("    (void)memory;")
        return "\n".join([*lines, "}", ""])

    def _argmax(self) -> str:
        return function(
            f"int32_t {self.prefix}_argmax(const int16_t *y, int32_t n)",
            "int32_t o;", "int32_t best = 0;",
            "for (o = 1; o < n; ++o) {", "    best = y[o] > y[best] ? o : best;", "}", "return best;",
        )  # fmt: skip

    def _quantize_integers(self) -> list[str]:
        result = []
        for i, suffix in self.inputs:
            if i.offset == -128:
                body = loop(self.width(i.value), "q[o] = (int8_t)((int32_t)x[o] - 128);")
                result.append(function(f"void {self.prefix}_quantize_u8{suffix}(const uint8_t *x, int8_t *q)", *body))
        return result

    def _floats(self) -> str:
        p, model = self.prefix, self.model
        parts = []
        for k, (i, suffix) in enumerate(self.inputs):
            q = model.values[i.value].q
            shift, factor = (
                literal(a[0]) if a.size == 1 else f"{p}_{name}_in{k}[o]"
                for name, a in (("shift", i.shift), ("factor", i.factor))
            )
            t = f"(x[o] - {shift}) * {factor}"
            line = f"q[o] = ({self.type(i.value)}){p}_nearest({t}, {q.zero}, {q.lo}, {q.hi});"
            head = f"void {p}_quantize{suffix}(const float *x, {self.type(i.value)} *q)"
            parts.append(function(head, *loop(self.width(i.value), line)))
        for out, suffix in self.outputs:
            q = model.values[out.value].q
            line = f"y[o] = (float)((int32_t)q[o] - {q.zero}) * {literal(np.float32(q.scale))};".replace("- -", "+ ")
            head = f"void {p}_dequantize{suffix}(const int16_t *q, float *y)"
            parts.append(function(head, *loop(self.width(out.value), line)))
        return "\n".join([*parts, self._float_predict()])

    def _float_predict(self) -> str:
        p = self.prefix
        at, pointers = self.ram // 2, []
        for end, _ in (*self.inputs, *self.outputs):
            pointers.append(f"({self.type(end.value)} *)(memory + {at})")
            at += self._words(end.value)
        reads, writes = pointers[: len(self.inputs)], pointers[len(self.inputs) :]
        quantize = zip(self.inputs, reads, strict=True)
        dequantize = zip(self.outputs, writes, strict=True)
        return function(
            f"void {p}_predict({self._parameters('float', 'float')}, int16_t *memory)",
            *(f"{p}_quantize{k}(x{k}, {there});" for (_, k), there in quantize),
            f"{p}_predict_q({', '.join(pointers)}, memory);",
            *(f"{p}_dequantize{k}({there}, y{k});" for (_, k), there in dequantize),
        )

    def _selftest(self) -> str:
        p = self.prefix
        rows = self._test_rows()
        data = self.model.run(rows)
        arrays, lines, arguments, checks = [], [], [], []
        for (i, k), x in zip(self.inputs, rows, strict=True):
            arrays.append(array(f"{p}_test_x{k}", x))
            arguments.append(f"{p}_test_x{k} + row * {self.width(i.value)}")
        for out, k in self.outputs:
            width = self.width(out.value)
            arrays.append(array(f"{p}_test_y{k}", data[out.value].astype(np.int16)))
            lines.append(f"int16_t y{k}[{width}];")
            arguments.append(f"y{k}")
            checks += [
                f"for (o = 0; o < {width}; ++o) {{",
                f"    if (y{k}[o] != {p}_test_y{k}[row * {width} + o]) {{",
                "        return (int)row + 1;",
                "    }",
                "}",
            ]
        body = [
            f"int16_t memory[{self.upper}_MEMORY];",
            *lines,
            "int32_t row;",
            "int32_t o;",
            f"for (row = 0; row < {len(rows[0])}; ++row) {{",
            f"    {p}_predict_q({', '.join(arguments)}, memory);",
            *(f"    {line}" for line in checks),
            "}",
            "return 0;",
        ]
        return "\n".join([*arrays, function(f"int {p}_selftest(void)", *body)])

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


def _numbered(ends: list) -> list[tuple]:
    """Return pairs (end, what its names end in): nothing if it is the only one, else _0, _1 ..."""
    return [(end, "" if len(ends) == 1 else f"_{k}") for k, end in enumerate(ends)]
