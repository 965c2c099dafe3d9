"""`to_c`: a network as one C file and its header."""

from __future__ import annotations

import contextlib
import os
import re
import textwrap

import numpy as np

from .. import _check
from .._safetensors import write_atomically
from ..layer_base import flag
from .c_fragments import linked, renamed
from .c_parts import Constant, Value
from .c_program import Program
from .c_text import WIDTH, array, check_prefix, comment, number, string
from .c_vectors import Vectors, check_rows

__all__ = ["to_c"]

SCRATCH = ("caller", "static")
USE = {"scratch": "numbers to work with", "state": "numbers that a sequence begins with as 0"}


def to_c(
    model,
    path,
    *,
    prefix: str | None = None,
    scratch: str = "caller",
    math: bool = True,
    wide: bool = True,
    stream: bool = False,
    tests: int = 4,
    samples=None,
) -> None:
    """Write a model as one C99 file and its header, for any C or C++ compiler.

    The file holds the frozen network, its scaling and the names of its classes as constants, and functions that need
    no memory but what they are given.  Compiled on a machine with IEEE arithmetic it agrees with `model.predict` as
    far as the tolerance goes that stands in the header; `net_selftest` tells whether it does.

    Parameters
    ----------
    model : Model
        float32, or float64 (then all numbers are double).
    path : str or os.PathLike
        The C file, named .c; the header stands beside it, named .h.  Both are replaced if they exist.
    prefix : str, optional
        What all names begin with, in capitals those of macros: letters, digits and single underscores.  Default: the
        name of the file without .c.
    scratch : "caller" or "static"
        Where the working memory is.  "caller": the last argument of net_predict, NET_SCRATCH numbers; the function has
        no state.  "static": an array in the file; one call at a time.
    math : bool
        Whether math.h may be used.  False: the file has functions of its own and needs no library at all; their errors
        are some units in the last place (docs/c-export.md).
    wide : bool
        Whether layers of 32 outputs and more are laid out for compilers that make vectors of loops.  False: for small
        processors without vectors.
    stream : bool
        Of a network with LSTM layers.  True: instead of net_predict there is net_step, which takes one step of each
        sequence and gives what the network makes of the sequence so far; the states stand in an array of the caller's,
        NET_STATE numbers, zeros at the beginning of a sequence.  In front of the last LSTM all layers must work step by
        step.
    tests : int
        Rows that net_selftest computes, besides zeros and large numbers, 0 to 1000; 0: no self-test.  Default 4.
    samples : array-like as of `predict`, optional
        Rows of data to take them from.  Default: random rows of mean 0 and deviation 1, behind the scaling of the
        inputs.

    Raises
    ------
    TypeError, ValueError
        A layer is written in Python, or needs a whole sequence where there is a stream; a parameter is
        not finite, a name of a class is no text, no row can be a test row, or an argument is impossible; nothing was
        written.
    OSError
        A file cannot be written; both are as they were.

    Examples
    --------
    >>> pn.export.to_c(model, "net.c")  # and: cc -std=c99 -O2 main.c net.c -lm
    """
    path = os.fsdecode(path)
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    if suffix != ".c":
        raise ValueError(f"path must end in .c, got {path!r}")
    if scratch not in SCRATCH:
        raise _check.unknown("scratch", scratch, SCRATCH)
    tests = _check.integer("tests", tests, 0, 1000)
    math, wide, stream = flag("math", math), flag("wide", wide), flag("stream", stream)
    rows = None if samples is None else check_rows(model, samples)
    writer = _Writer(
        model, stem, check_prefix(stem if prefix is None else prefix), scratch == "static", math, wide, stream
    )
    vectors = Vectors(model, tests, rows) if tests else None
    header, source = writer.header(vectors), writer.source(vectors)
    _write_both(os.path.join(folder, f"{stem}.h"), header.encode("ascii"), path, source.encode("ascii"))


def _write_both(header: str, head: bytes, source: str, body: bytes) -> None:
    """Write both files, or leave both as they were."""
    before = None
    with contextlib.suppress(FileNotFoundError, IsADirectoryError), open(header, "rb") as file:
        before = file.read()
    write_atomically(header, [head])
    try:
        write_atomically(source, [body])
    except BaseException:
        if before is None:
            os.unlink(header)
        else:
            write_atomically(header, [before])
        raise


class _Writer:
    """The text of both files.  All names begin with net_ and NET_ until the end."""

    def __init__(self, model, stem: str, prefix: str, static: bool, math: bool, wide: bool, stream: bool):
        self.model, self.stem, self.prefix, self.static, self.math = model, stem, prefix, static, math
        self.program = Program(model, wide, stream)
        self.real = "float" if model.dtype == np.float32 else "double"
        self.classes = class_names(model)
        self.names_x = _numbered("x", len(self.program.inputs))
        self.names_y = _numbered("y", len(self.program.outputs))

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
            *([f"#define NET_CLASSES {len(self.classes)}U"] if self.classes else []),
        ]
        for name, stated in zip(_numbered("", len(self.names_y)), vectors.stated if vectors else [], strict=False):
            macro = f"NET_TOLERANCE{'_Y' + name if name else ''}"
            lines.append(f"#define {macro} {number(stated, self.model.dtype)} /* of rows like those of training */")
        lines += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
        if self.classes:
            lines += [f"extern const char *const net_classes[{len(self.classes)}];", ""]
        what = "the next step of a sequence, y of all steps so far" if self.program.stream else "one row"
        how = (
            "Uses a static array: one call at a time." if self.static else "Several at a time, if no array is the same."
        )
        lines.append(f"/* Computes {what}.  {how} */")
        lines.append(_wrapped(f"{self._signature()};"))
        if vectors:
            lines += ["", "/* Returns 0, or how many numbers of the test rows are not what they should be. */"]
            lines.append("int net_selftest(void);")
        lines += ["", "#ifdef __cplusplus", "}", "#endif", "#endif", ""]
        return renamed("\n".join(lines), self.prefix)

    def source(self, vectors) -> str:
        """Return the text of the C file."""
        program = self.program
        used = [call.function for call in program.calls] + (
            ["net_wrong", *["net_clear"] * program.stream] if vectors else []
        )
        functions = linked(used, self.model.dtype.name, self.math, program.wide)
        parts = [
            f"/* {self.stem}.c: see {self.stem}.h. */",
            "\n".join([f'#include "{self.stem}.h"', *self._includes(functions)]),
            functions,
            *(_constant(c, self.real) for c in program.constants),
        ]
        if self.classes:
            names = ",\n".join(f"    {string(name)}" for name in self.classes)
            parts.append(f"const char *const net_classes[{len(self.classes)}] = {{\n{names}\n}};")
        parts.append(self._predict())
        if vectors:
            parts += self._selftest(vectors)
        return renamed("\n\n".join(parts) + "\n", self.prefix)

    def _includes(self, functions: str) -> list[str]:
        text = functions + "".join("NULL" for call in self.program.calls if None in call.arguments)
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
            parts.append(_table(f"net_test_{name}", x))
            given.append(self._row(f"net_test_{name}", value))
        outputs = zip(self.names_y, program.plan.outputs.tolist(), vectors.outputs, vectors.tolerances, strict=True)
        for name, value, y, t in outputs:
            parts += [_table(f"net_test_{name}", y), _table(f"net_test_{name}_tolerance", t)]
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
        lines = [
            "int net_selftest(void)",
            "{",
            *declared,
            "    int wrong = 0;",
            "    uint32_t row;",
            f"    for (row = 0U; row < {rows}U; row++) {{",
            *body,
            "    }",
            "    return wrong;",
            "}",
        ]
        return [*parts, "\n".join(map(_wrapped, lines))]

    def _row(self, table: str, value: int) -> str:
        """Return the place of a test row of a value; in a stream, of step t of it."""
        if value in self.program.sequences:
            return f"&{table}[row][t * {self.program.widths[value]}U]"
        return f"{table}[row]"


def class_names(model) -> list[str]:
    """Return the names of the classes in the metadata of a model, [] if there are none."""
    names = model.metadata.get("classes")
    if names is None:
        return []
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) and "\0" not in n for n in names):
        raise ValueError(f"the metadata entry 'classes' must be a list of texts, got {names!r:.80}")
    return list(names)


def _numbered(name: str, n: int) -> list[str]:
    return [name] if n == 1 else [f"{name}{k + 1}" for k in range(n)]


def _wrapped(line: str) -> str:
    """Return a call or signature in lines of the usual length."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(line.lstrip(), WIDTH, initial_indent=indent, subsequent_indent=indent + "    ")


def _words(call: str) -> list[str]:
    return re.findall(r"\w+", call.partition("/*")[0])


def _constant(constant: Constant, real: str) -> str:
    kinds = {"u1": "uint8_t", "u4": "uint32_t"}
    kind = kinds.get(constant.array.dtype.str[1:], "net_real")
    head = f"/* {comment(constant.what)} */\nstatic const {kind} {constant.name}[{len(constant.array)}]"
    return f"{head} = {{\n{array(constant.array)}\n}};"


def _table(name: str, rows: np.ndarray) -> str:
    size = "".join(f"[{n}]" for n in rows.shape)
    return f"static const net_real {name}{size} = {{\n{array(rows)}\n}};"
