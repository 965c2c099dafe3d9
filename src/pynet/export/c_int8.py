"""Integer networks as C99: one source and one header, constants in flash, not one float between input and output.

The functions that the ops call stand in runtime/integers.h and runtime/dots.h; of them a file gets those that it uses.
"""

from __future__ import annotations

import numpy as np

from ..quantize_memory import constants, places, wrapper_constants
from ..quantized_model import QuantizedModel
from .c_classes import class_names, declared, defined, macros
from .c_fragments import INTEGERS, NAME, needed
from .c_int8_ops import EMIT, loop
from .c_text import comment, definition, number

__all__ = ["Writer"]

RANDOM_ROWS = 2  # of a self-test, besides real rows and the two of its ends


class Writer:
    """The text of both files, whose names begin with net_ and NET_; stem: of the names of the files."""

    def __init__(self, model: QuantizedModel, stem: str):
        self.model, self.stem = model, stem
        self.classes = class_names(model)
        self.arrays, self.names = constants(model)
        self.memory = places(model)
        self.ram = self.memory.size
        self.inputs, self.outputs = _numbered(model.inputs), _numbered(model.outputs)
        self.pointers = [self._pointer(v) for v in range(len(model.values))]

    def _pointer(self, v: int) -> str:
        array, at = self.memory.place(v)
        if array != "scratch":
            ends = self.inputs if array[0] == "x" else self.outputs
            return f"{array[0]}{ends[int(array[1:])][1]}"
        return f"(int8_t *)memory + {at}" if self.model.values[v].q.bits == 8 else f"memory + {at // 2}"

    def type(self, v: int) -> str:
        return f"int{self.model.values[v].q.bits}_t"

    def width(self, v: int) -> int:
        return self.model.values[v].width

    # ---- the header -------------------------------------------------------------------------------------------------

    def header(self) -> str:
        """Return the text of the header."""
        from .. import __version__

        return "\n".join([
            f"/* {self.stem}.h: an integer network, written by pynet {__version__}. */",
            "#ifndef NET_H", "#define NET_H", "", "#include <stdint.h>", "",
            *self._sizes(), *macros(self.classes), "",
            "#ifdef __cplusplus", 'extern "C" {', "#endif", "",
            *declared(self.classes),
            "/* The outputs of one row, integers alone.  What is in the memory does not matter; each thread needs",
            "   its own.  x and y must not overlap. */",
            f"void net_predict_q({self._parameters()}, int16_t *memory);", "",
            "/* The number of the largest of n outputs, the first of equal ones: the class. */",
            "int32_t net_argmax(const int16_t *y, int32_t n);", "",
            *self._integer_inputs(),
            "#ifndef NET_NO_SELFTEST",
            "/* 0 if rows that are built in give the bits that they must, else the number of the first that does not;",
            "   its memory lies on the stack. */",
            "int net_selftest(void);", "#endif", "",
            "#ifndef NET_NO_FLOAT",
            "/* The same for floats; a NaN becomes the integer of 0. */",
            f"void net_predict({self._parameters('float', 'float')}, int16_t *memory);",
            *(f"void net_quantize{suffix}(const float *x, {self.type(i.value)} *q);" for i, suffix in self.inputs),
            *(f"void net_dequantize{suffix}(const int16_t *q, float *y);" for _, suffix in self.outputs),
            "#endif", "",
            "#ifdef __cplusplus", "}", "#endif", "#endif", "",
        ])  # fmt: skip

    def _sizes(self) -> list[str]:
        """Return the macros: elements of int16_t memory, and of rows."""
        lines = [
            f"#define NET_MEMORY {max(self.ram // 2, 1)} /* int16_t that it works in */",
            f"#define NET_FLOAT_MEMORY {self._float_memory()} /* the same, for floats */",
        ]
        for what, ends in (("INPUT", self.inputs), ("OUTPUT", self.outputs)):
            for end, suffix in ends:
                lines.append(f"#define NET_{what}{suffix} {self.width(end.value)} /* {comment(end.name)} */")
        return lines

    def _integer_inputs(self) -> list[str]:
        """Return what the header says of inputs that need no floats."""
        lines = []
        for i, suffix in self.inputs:
            if i.offset == -128:
                lines.append(f"/* Whole numbers 0..255 of input {i.name}: q = x - 128. */")
                lines.append(f"void net_quantize_u8{suffix}(const uint8_t *x, int8_t *q);")
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

    def source(self) -> str:
        """Return the text of the C file."""
        integers = [self._predict(), self._argmax(), *self._quantize_integers()]
        functions = self._used_in(integers)
        floats = self._floats()
        parts = [
            f'/* {self.stem}.c: see {self.stem}.h. */\n#include "{self.stem}.h"',
            *(self._definition(name, values) for name, values in self.arrays.items()),
            *functions,
            *defined(self.classes),
            *integers,
            "#ifndef NET_NO_SELFTEST",
            *self._selftest(),
            "#endif",
            "#ifndef NET_NO_FLOAT",
            *(self._definition(name, values) for name, values in wrapper_constants(self.model).items()),
            *self._used_in(floats, functions),
            *floats,
            "#endif",
        ]
        return "\n\n".join(parts) + "\n"

    @staticmethod
    def _used_in(parts: list[str], known=()) -> list[str]:
        return needed([name for part in parts for name in NAME.findall(part)], INTEGERS, known)

    @staticmethod
    def _definition(name: str, values: np.ndarray) -> str:
        return definition(f"net_{name}", values.reshape(-1), "float")

    def _predict(self) -> str:
        lines = [f"void net_predict_q({self._parameters()}, int16_t *memory) {{"]
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
        return "\n".join([*lines, "}"])

    def _argmax(self) -> str:
        return function(
            "int32_t net_argmax(const int16_t *y, int32_t n)",
            "int32_t o;", "int32_t best = 0;",
            "for (o = 1; o < n; ++o) {", "    best = y[o] > y[best] ? o : best;", "}", "return best;",
        )  # fmt: skip

    def _quantize_integers(self) -> list[str]:
        result = []
        for i, suffix in self.inputs:
            if i.offset == -128:
                body = loop(self.width(i.value), "q[o] = (int8_t)((int32_t)x[o] - 128);")
                result.append(function(f"void net_quantize_u8{suffix}(const uint8_t *x, int8_t *q)", *body))
        return result

    def _floats(self) -> list[str]:
        model, parts = self.model, []
        for k, (i, suffix) in enumerate(self.inputs):
            q = model.values[i.value].q
            shift, factor = (
                number(a[0], a.dtype) if a.size == 1 else f"net_{name}_in{k}[o]"
                for name, a in (("shift", i.shift), ("factor", i.factor))
            )
            t = f"(x[o] - {shift}) * {factor}"
            line = f"q[o] = ({self.type(i.value)})net_nearest({t}, {q.zero}, {q.lo}, {q.hi});"
            head = f"void net_quantize{suffix}(const float *x, {self.type(i.value)} *q)"
            parts.append(function(head, *loop(self.width(i.value), line)))
        for out, suffix in self.outputs:
            q = model.values[out.value].q
            line = f"y[o] = (float)((int32_t)q[o] - {q.zero}) * {number(q.scale, np.float32)};".replace("- -", "+ ")
            head = f"void net_dequantize{suffix}(const int16_t *q, float *y)"
            parts.append(function(head, *loop(self.width(out.value), line)))
        return [*parts, self._float_predict()]

    def _float_predict(self) -> str:
        at, pointers = self.ram // 2, []
        for end, _ in (*self.inputs, *self.outputs):
            pointers.append(f"({self.type(end.value)} *)(memory + {at})")
            at += self._words(end.value)
        reads, writes = pointers[: len(self.inputs)], pointers[len(self.inputs) :]
        quantize = zip(self.inputs, reads, strict=True)
        dequantize = zip(self.outputs, writes, strict=True)
        return function(
            f"void net_predict({self._parameters('float', 'float')}, int16_t *memory)",
            *(f"net_quantize{k}(x{k}, {there});" for (_, k), there in quantize),
            f"net_predict_q({', '.join(pointers)}, memory);",
            *(f"net_dequantize{k}({there}, y{k});" for (_, k), there in dequantize),
        )

    def _selftest(self) -> list[str]:
        rows = self._test_rows()
        data = self.model.run(rows)
        arrays, lines, arguments, checks = [], [], [], []
        for (_, k), x in zip(self.inputs, rows, strict=True):
            arrays.append(definition(f"net_test_x{k}", x))
            arguments.append(f"net_test_x{k}[row]")
        for out, k in self.outputs:
            arrays.append(definition(f"net_test_y{k}", data[out.value].astype(np.int16)))
            lines.append(f"int16_t y{k}[NET_OUTPUT{k}];")
            arguments.append(f"y{k}")
            checks += [
                f"for (o = 0; o < NET_OUTPUT{k}; ++o) {{",
                f"    if (y{k}[o] != net_test_y{k}[row][o]) {{",
                "        return (int)row + 1;",
                "    }",
                "}",
            ]
        body = [
            "int16_t memory[NET_MEMORY];",
            *lines,
            "int32_t row;",
            "int32_t o;",
            f"for (row = 0; row < {len(rows[0])}; ++row) {{",
            f"    net_predict_q({', '.join(arguments)}, memory);",
            *(f"    {line}" for line in checks),
            "}",
            "return 0;",
        ]
        return [*arrays, function("int net_selftest(void)", *body)]

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


def function(head: str, *lines: str) -> str:
    """Return the definition of a function."""
    return "\n".join([f"{head} {{", *(f"    {line}" for line in lines), "}"])
