"""A network of floating-point numbers as one C file and its header: their texts."""

from __future__ import annotations

import re
import textwrap

import numpy as np

from .c_classes import class_names, declared, defined, macros
from .c_fragments import linked
from .c_parts import Constant, Value
from .c_program import Program
from .c_table import TablePart
from .c_text import WIDTH, comment, definition, number

__all__ = ["Writer"]

USE = {"scratch": "numbers to work with", "state": "numbers that a sequence begins with as 0"}


class Writer:
    """The text of both files, whose names begin with net_ and NET_.  Parameters as of `to_c`; stem: of their names;
    encoder: of the table in front of the network, if there is one; tests: rows of the table in the self-test."""

    def __init__(self, model, stem: str, static: bool, math: bool, wide: bool, stream: bool, encoder=None, tests=0):
        self.model, self.stem, self.static, self.math = model, stem, static, math
        self.program = Program(model, wide, stream)
        self.real = "float" if model.dtype == np.float32 else "double"
        self.classes = class_names(model)
        self.names_x = _numbered("x", len(self.program.inputs))
        self.names_y = _numbered("y", len(self.program.outputs))
        self.table = None
        if encoder is not None:
            self.table = TablePart(encoder, self.real, model.dtype, static, self.names_y, tests)

    def _ends(self):
        """Yield (argument, macro of its size, size, layer) of inputs, then of outputs."""
        for names, widths, values in (
            (self.names_x, self.program.inputs, self.model.inputs),
            (self.names_y, self.program.outputs, self.model.outputs),
        ):
            for name, width, value in zip(names, widths, values, strict=True):
                yield name, f"NET_{name.upper()}_SIZE", width, self.model.names[value.layer]

    def _signature(self) -> str:
        arguments = [f"const {self.real} *{name}" for name in self.names_x]
        arguments += [f"{self.real} *{name}" for name in self.names_y]
        arguments += [f"{self.real} *{name}" for name in self._memories()]
        return f"void {self._function()}({', '.join(arguments)})"

    def _function(self) -> str:
        return "net_step" if self.program.stream else "net_predict"

    def _memories(self) -> list[str]:
        return ["state"] * self.program.stream + ["scratch"] * (not self.static)

    def header(self, vectors) -> str:
        """Return the text of the header."""
        from .. import __version__

        title = f" {self.model.name}" if self.model.name else ""
        lines = [
            f"/* {self.stem}.h: the network{title} of {self.model.count_params()} parameters, written by pynet "
            f"{__version__}. */",
            "#ifndef NET_H",
            "#define NET_H",
            "",
            *(f"#define {macro} {width}U /* {comment(layer)} */" for _, macro, width, layer in self._ends()),
            *(
                f"#define NET_{name.upper()} {getattr(self.program, name)}U /* {USE[name]} */"
                for name in self._memories()
            ),
            *(self.table.sizes() if self.table else []),
            *macros(self.classes),
        ]
        for name, stated in zip(_numbered("", len(self.names_y)), vectors.stated if vectors else [], strict=False):
            macro = f"NET_TOLERANCE{'_Y' + name if name else ''}"
            lines.append(f"#define {macro} {number(stated, self.model.dtype)} /* of rows like those of training */")
        lines += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
        lines += declared(self.classes)
        what = "the next step of a sequence, y of all steps so far" if self.program.stream else "one row"
        how = (
            "Uses a static array: one call at a time." if self.static else "Several at a time, if no array is the same."
        )
        lines.append(f"/* Computes {what}.  {how} */")
        lines.append(_wrapped(f"{self._signature()};"))
        if self.table:
            lines += ["", *self.table.declared()[:-1]]
        if vectors:
            lines += ["", "/* Returns 0, or how many numbers of the test rows are not what they should be. */"]
            lines.append("int net_selftest(void);")
        lines += ["", "#ifdef __cplusplus", "}", "#endif", "#endif", ""]
        return "\n".join(lines)

    def source(self, vectors) -> str:
        """Return the text of the C file."""
        program = self.program
        used = [call.function for call in program.calls] + (
            ["net_wrong", *["net_clear"] * program.stream] if vectors else []
        )
        table = self.table
        used += table.used() if table else []
        functions = linked(used, self.model.dtype.name, self.math, program.wide)
        parts = [
            f"/* {self.stem}.c: see {self.stem}.h. */",
            "\n".join([f'#include "{self.stem}.h"', *self._includes(functions)]),
            *([table.types()] if table and table.types() else []),
            functions,
            *(_constant(c) for c in program.constants),
        ]
        parts += [*defined(self.classes), self._predict(), *(table.defined() if table else [])]
        if vectors:
            parts += self._selftest(vectors)
        return "\n\n".join(parts) + "\n"

    def _includes(self, functions: str) -> list[str]:
        text = functions + "".join("NULL" for call in self.program.calls if None in call.arguments)
        text += "".join(self.table.tests()) if self.table else ""
        found = [("size_t", "stddef.h"), ("NULL", "stddef.h"), ("NET_M(", "math.h")]
        names = {file for word, file in found if word in text}
        return [f"#include <{file}>" for file in sorted({"stdint.h", *names})]

    # ---- net_predict ------------------------------------------------------------------------------------------------

    def _predict(self) -> str:
        lines = [_wrapped(self._signature()), "{"]
        calls = [f"    {self._call(call)} /* {comment(call.layer)} */" for call in self.program.calls]
        if self.static and self.program.memory.size:
            lines.append(f"    static net_real scratch[{self.program.memory.size}];")
        for name in (*self.names_x, *self.names_y, *self._memories()):
            if not any(name in _words(call) for call in calls):
                lines.append(f"    (void){name};")
        return "\n".join([*lines, *map(_wrapped, calls), "}"])

    def _call(self, call) -> str:
        return f"{call.function}({', '.join(self._argument(a) for a in call.arguments)});"

    def _argument(self, argument) -> str:
        if argument is None:
            return "NULL"
        if isinstance(argument, Constant):
            return argument.name
        if isinstance(argument, Value):
            array, at = self.program.memory.place(argument.number)
            if array[0] in "xy":
                names = self.names_x if array[0] == "x" else self.names_y
                array = names[int(array[1:])]
            return f"&{array}[{at}]" if at else array
        return number(argument, self.model.dtype) if isinstance(argument, float) else f"{argument}U"

    # ---- net_selftest -----------------------------------------------------------------------------------------------

    def _selftest(self, vectors) -> list[str]:
        program, rows = self.program, len(vectors.inputs[0])
        parts, given = [], []
        at_each_step: list[str] = []
        at_the_end: list[str] = []
        declared = [f"    static net_real {name}[NET_{name.upper()}];" for name in self._memories()]
        for name, value, x in zip(self.names_x, program.plan.input_values, vectors.inputs, strict=True):
            parts.append(definition(f"net_test_{name}", x))
            given.append(self._row(f"net_test_{name}", value))
        outputs = zip(self.names_y, program.plan.outputs.tolist(), vectors.outputs, vectors.tolerances, strict=True)
        for name, value, y, t in outputs:
            parts += [definition(f"net_test_{name}", y), definition(f"net_test_{name}_tolerance", t)]
            n = program.widths[value]
            declared.append(f"    static net_real {name}[{n}];")
            compared = f"{name}, {self._row(f'net_test_{name}', value)}, net_test_{name}_tolerance[row], {n}U"
            when = at_each_step if value in program.sequences else at_the_end
            when.append(f"        wrong += net_wrong({compared});")
        call = f"        {self._function()}({', '.join([*given, *self.names_y, *self._memories()])});"
        body = [call, *at_each_step, *at_the_end]
        if program.stream:
            declared.append("    uint32_t t;")
            steps = [f"    {line}" for line in (call, *at_each_step)]
            begin = f"        for (t = 0U; t < {program.steps}U; t++) {{"
            body = ["        net_clear(state, NET_STATE);", begin, *steps, "        }", *at_the_end]
        more: tuple[list[str], list[str]] = ([], [])
        if self.table:
            parts, more = [*parts, *self.table.tests()], self.table.tested()
        lines = [
            "int net_selftest(void)",
            "{",
            *declared,
            *more[0],
            "    int wrong = 0;",
            "    uint32_t row;",
            f"    for (row = 0U; row < {rows}U; row++) {{",
            *body,
            "    }",
            *more[1],
            "    return wrong;",
            "}",
        ]
        return [*parts, "\n".join(map(_wrapped, lines))]

    def _row(self, table: str, value: int) -> str:
        """Return the place of a test row of a value; in a stream, of step t of it."""
        if value in self.program.sequences:
            return f"&{table}[row][t * {self.program.widths[value]}U]"
        return f"{table}[row]"


def _numbered(name: str, n: int) -> list[str]:
    return [name] if n == 1 else [f"{name}{k + 1}" for k in range(n)]


def _wrapped(line: str) -> str:
    """Return a call or signature in lines of the usual length."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(line.lstrip(), WIDTH, initial_indent=indent, subsequent_indent=indent + "    ")


def _words(call: str) -> list[str]:
    return re.findall(r"\w+", call.partition("/*")[0])


def _constant(constant: Constant) -> str:
    return f"/* {comment(constant.what)} */\n{definition(constant.name, constant.array)}"
