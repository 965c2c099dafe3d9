"""Exported networks, compiled and run: many of them in one program."""

import functools
import pathlib
import shutil
import subprocess

import numpy as np

import pynet as pn

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow", "-Wdouble-promotion"]
C, CXX = ["-std=c99"], ["-x", "c++", "-std=c++11"]
COMPILERS = [name for name in ("cc", "clang") if shutil.which(name)]

MAIN = """
int main(int argc, char **argv) {
    const long k = strtol(argv[1], NULL, 10);
    long rows = strtol(argv[2], NULL, 10);
    if (argc != 3) return 2;
    if (rows == 0) return selftests[k]();
    while (rows-- > 0) {
        if (fread(in, sizes[k][0], sizes[k][1], stdin) != sizes[k][1]) return 3;
        runs[k]();
        fwrite(out, sizes[k][0], sizes[k][2], stdout);
    }
    return 0;
}
"""


def run(*command, check=True, **options):
    """Run a program and return what it did; by default it must succeed."""
    result = subprocess.run([str(c) for c in command], capture_output=True, **options)
    if check:
        shown = (result.stdout[-2000:], result.stderr[-4000:])
        assert result.returncode == 0, f"{' '.join(map(str, command))}\n{shown}"
    return result


class Program:
    """Exports of models {name: model}, as one source file with a main; each has its own prefix."""

    def __init__(self, folder, models: dict, **options):
        self.folder, self.models = pathlib.Path(folder), models
        self.numbers = {name: k for k, name in enumerate(models)}
        text = ["#include <stdio.h>", "#include <stdlib.h>"]
        widest = [1, 1]
        table: dict[str, list[str]] = {"run": [], "selftest": [], "size": []}
        for k, (_name, model) in enumerate(models.items()):
            pn.export.to_c(model, self.folder / f"n{k}.c", **options)
            text.append(f'#include "n{k}.c"')
            widths = [[v.width for v in values] for values in (model.inputs, model.outputs)]
            widest = [max(a, sum(w)) for a, w in zip(widest, widths, strict=True)]
            table["run"].append(self._wrapper(k, model, widths, options))
            table["selftest"].append(f"n{k}_selftest")
            table["size"].append(f"{{{model.dtype.itemsize}, {sum(widths[0])}, {sum(widths[1])}}}")
        n = len(models)
        text += [f"static double in[{widest[0]}], out[{widest[1]}];", *table["run"]]
        text.append(f"static void (*const runs[{n}])(void) = {{{', '.join(f'run{k}' for k in range(n))}}};")
        text.append(f"static int (*const selftests[{n}])(void) = {{{', '.join(table['selftest'])}}};")
        text.append(f"static const size_t sizes[{n}][3] = {{{', '.join(table['size'])}}};")
        (self.folder / "all.c").write_text("\n".join(text) + MAIN)

    @staticmethod
    def _wrapper(k, model, widths, options) -> str:
        real = "float" if model.dtype == np.float32 else "double"
        static = options.get("scratch") == "static"
        given = []
        for array, sizes, const in (("in", widths[0], "const "), ("out", widths[1], "")):
            at = 0
            for size in sizes:
                given.append(f"({const}{real} *){array} + {at}")
                at += size
        scratch = "" if static else f"static {real} scratch[N{k}_SCRATCH]; "
        given += [] if static else ["scratch"]
        return f"static void run{k}(void) {{ {scratch}n{k}_predict({', '.join(given)}); }}"

    @functools.cache  # noqa: B019  a program lives as long as its module
    def binary(self, compiler: str, *flags: str) -> pathlib.Path:
        """Compile with all warnings as errors."""
        made = self.folder / f"{compiler}{''.join(flags).replace('/', '_')}"
        run(compiler, *flags, *WARNINGS, "-o", made, self.folder / "all.c", "-lm")
        return made

    def predict(self, binary, name: str, rows: list) -> list[np.ndarray]:
        """What a binary makes of rows, [N, width] for each input."""
        model = self.models[name]
        rows = np.concatenate(rows, axis=1).astype(model.dtype)
        result = run(binary, self.numbers[name], len(rows), input=rows.tobytes())
        outputs = np.frombuffer(result.stdout, model.dtype).reshape(len(rows), -1)
        return np.split(outputs, np.cumsum([v.width for v in model.outputs])[:-1], axis=1)

    def selftest(self, binary, name: str) -> int:
        """What the self-test of a network returns."""
        return run(binary, self.numbers[name], 0, check=False).returncode
