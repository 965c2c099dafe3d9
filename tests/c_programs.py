"""Exported networks, compiled and run: many of them in one program."""

import functools
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

import pynet as pn
from pynet import export

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion"]
C, CXX = ("-std=c99",), ("-x", "c++", "-std=c++11")
COMPILERS = [name for name in ("cc", "clang") if shutil.which(name)]

MAIN = """
int main(int argc, char **argv) {
    const long rows = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
    size_t k;
    for (k = 0; k < sizeof runs / sizeof runs[0]; k++) {
        long row;
        if (rows == 0) printf("%d ", selftests[k]());
        for (row = 0; row < rows * (long)sizes[k][3]; row++) {
            if (fread(in, sizes[k][0], sizes[k][1], stdin) != sizes[k][1]) return 3;
            runs[k]();
            fwrite(out, sizes[k][0], sizes[k][2], stdout);
        }
    }
    return 0;
}
"""


@functools.cache
def has_cxx(compiler: str) -> bool:
    """Say whether a C compiler knows C++ too: not where gcc came without g++."""
    command = [compiler, "-x", "c++", "-fsyntax-only", "-"]
    return subprocess.run(command, input=b"int x;", capture_output=True).returncode == 0


def run(*command, **options) -> bytes:
    """Run a program, which must succeed, and return what it printed."""
    if "c++" in command and not has_cxx(str(command[0])):
        pytest.skip(f"{command[0]} has no C++: pynet needs C alone; the same files are compiled as C")
    result = subprocess.run([str(c) for c in command], capture_output=True, **options)
    shown = (result.stdout[-2000:].decode(errors="replace"), result.stderr[-4000:].decode(errors="replace"))
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{shown[0]}\n{shown[1]}"
    return result.stdout


class Program:
    """Exports of models {name: model}, with a main, as one source; each export has a prefix of its own.  Of streams
    the main begins each sequence with a state of 0.

    Parameters
    ----------
    folder : path
    models : dict of str -> Model
    options
        Of `to_c`.

    Attributes
    ----------
    order : str
        In which the bytes of numbers stand where the program runs: "=", or "<" or ">" of another processor.
    """

    order = "="

    def __init__(self, folder, models: dict, **options):
        self.folder, self.models = pathlib.Path(folder), models
        text, wrappers, sizes, widest = ["#include <stdio.h>", "#include <stdlib.h>"], [], [], [1, 1]
        for k, model in enumerate(models.values()):
            pn.export.to_c(model, self.folder / f"n{k}.c", **options)
            text.append(f'#include "n{k}.c"')
            form = export.c_program.Program(model, stream=options.get("stream", False))
            widths = [form.inputs, form.outputs]
            widest = [max(a, sum(w)) for a, w in zip(widest, widths, strict=True)]
            wrappers.append(self._wrapper(k, model, form, options.get("scratch") == "static"))
            sizes.append(f"{{{model.dtype.itemsize}, {sum(widths[0])}, {sum(widths[1])}, {form.steps}}}")
        n = len(models)
        text += [f"static double in[{widest[0]}], out[{widest[1]}];", *wrappers]
        text.append(f"static void (*const runs[{n}])(void) = {{{', '.join(f'run{k}' for k in range(n))}}};")
        names = ", ".join(f"n{k}_selftest" for k in range(n))
        text.append(f"static int (*const selftests[{n}])(void) = {{{names}}};")
        text.append(f"static const size_t sizes[{n}][4] = {{{', '.join(sizes)}}};")
        (self.folder / "all.c").write_text("\n".join(text) + MAIN)

    @staticmethod
    def _wrapper(k: int, model, form, static: bool) -> str:
        real = "float" if model.dtype == np.float32 else "double"
        given = []
        for array, sizes, const in (("in", form.inputs, "const "), ("out", form.outputs, "")):
            starts = np.cumsum([0, *sizes[:-1]])
            given += [f"({const}{real} *){array} + {at}" for at in starts]
        body = "" if static else f"static {real} scratch[N{k}_SCRATCH]; "
        if form.stream:
            body += f"static {real} state[N{k}_STATE]; static unsigned t; unsigned i; "
            body += f"for (i = 0; t % {form.steps}U == 0 && i < N{k}_STATE; i++) state[i] = 0; t++; "
        given += ["state"] * form.stream + ["scratch"] * (not static)
        return f"static void run{k}(void) {{ {body}n{k}_{'step' if form.stream else 'predict'}({', '.join(given)}); }}"

    @functools.cache  # noqa: B019  a program lives as long as the tests of its module
    def binary(self, compiler: str, *flags: str) -> pathlib.Path:
        """Compile, with warnings as errors."""
        made = self.folder / f"{compiler}{''.join(flags)}"
        run(compiler, *flags, *WARNINGS, "-o", made, self.folder / "all.c", "-lm")
        return made

    def predict(self, binary, rows: dict) -> dict[str, list[np.ndarray]]:
        """What a binary makes of {name: rows [N, width] of each input}, N the same for all."""
        given = [
            np.concatenate(rows[name], axis=1).astype(model.dtype.newbyteorder(self.order))
            for name, model in self.models.items()
        ]
        answer = run(binary, len(given[0]), input=b"".join(x.tobytes() for x in given))
        results, at = {}, 0
        for name, model in self.models.items():
            widths = [v.width for v in model.outputs]
            count = len(given[0]) * sum(widths)
            dtype = model.dtype.newbyteorder(self.order)
            outputs = np.frombuffer(answer, dtype, count, at).reshape(-1, sum(widths)).astype(model.dtype)
            results[name] = np.split(outputs, np.cumsum(widths)[:-1], axis=1)
            at += outputs.nbytes
        assert at == len(answer)
        return results

    def follow(self, binary, rows: dict) -> dict[str, list[np.ndarray]]:
        """What a binary of streams makes of sequences, step by step: of each output [N, steps, width of a step]."""
        given, forms, n = [], {}, 0
        for name, model in self.models.items():
            forms[name] = form = export.c_program.Program(model, stream=True)
            n = len(rows[name][0])
            by_step = [
                np.broadcast_to(x.reshape(n, -1, width), (n, form.steps, width))
                for x, width in zip(rows[name], form.inputs, strict=True)
            ]
            given.append(np.concatenate(by_step, axis=2).astype(model.dtype).tobytes())
        answer, results, at = run(binary, n, input=b"".join(given)), {}, 0
        for name, model in self.models.items():
            form, width = forms[name], sum(forms[name].outputs)
            outputs = np.frombuffer(answer, model.dtype, n * form.steps * width, at).reshape(n, form.steps, width)
            results[name] = np.split(outputs, np.cumsum(form.outputs)[:-1], axis=2)
            at += outputs.nbytes
        assert at == len(answer)
        return results

    def selftests(self, binary) -> dict[str, int]:
        """What the self-test of each network returns."""
        return dict(zip(self.models, map(int, run(binary).split()), strict=True))
