"""The C of benchmarks/, which is compiled only where somebody measures, calls kernels as csrc/core.h declares them."""

import c_programs
import pages
import pytest

FOLDER = pages.ROOT / "benchmarks"
GENERATED = {"integers.c"}  # includes files that integers.py makes
SOURCES = sorted(path.name for path in FOLDER.glob("*.c"))


@pytest.mark.parametrize("compiler", c_programs.COMPILERS)
@pytest.mark.parametrize("name", [name for name in SOURCES if name not in GENERATED])
def test_a_benchmark_compiles(name, compiler):
    flags = ["-std=gnu11", "-fsyntax-only", "-Wall", "-Werror", f"-I{pages.ROOT / 'csrc'}"]
    c_programs.run(compiler, *flags, FOLDER / name)


def test_there_are_benchmarks_to_compile():
    assert set(SOURCES) > GENERATED
    assert {"gemm.c", "sparse.c"} <= set(SOURCES) - GENERATED
