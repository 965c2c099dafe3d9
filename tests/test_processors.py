"""Other processors, emulated: saved models, exported C and integer networks give there what Python gives here.

Where Debian's cross compilers and qemu-user are installed; tests/c/run.sh runs the C tests there."""

import dataclasses
import shutil
import sys

import c_cases
import c_programs
import integers
import libpynet
import pytest
from test_c_library import SAVABLE, USABLE

import pynet as pn


@dataclasses.dataclass
class Processor:
    """What runs here and computes there."""

    compiler: str
    emulator: str
    isa: str  # the best of libpynet
    order: str  # of the bytes of a number
    flags: tuple[str, ...] = ()

    def script(self, binary):
        """A program of this machine that runs one of the processor's."""
        script = binary.with_name(f"{binary.name}.sh")
        script.write_text(f'#!/bin/sh\nexec {self.emulator} "{binary}" "$@"\n')
        script.chmod(0o755)
        return script


# gcc for s390x computes floats in double where -std=c99 asks for the letter of C, and then warns that it does
PROCESSORS = {
    "aarch64": Processor("aarch64-linux-gnu-gcc", "qemu-aarch64", "neon", "<"),
    "arm": Processor("arm-linux-gnueabihf-gcc", "qemu-arm", "scalar", "<"),
    "s390x": Processor("s390x-linux-gnu-gcc", "qemu-s390x", "scalar", ">", ("-Wno-error=double-promotion",)),
}


@pytest.fixture(scope="module", params=PROCESSORS)
def processor(request):
    found = PROCESSORS[request.param]
    for program in (found.compiler, found.emulator):
        if not shutil.which(program):
            pytest.skip(f"there is no {program}: for developers who have Debian's cross compilers and qemu-user")
    return found


@pytest.fixture(scope="module")
def example(processor, tmp_path_factory):
    """example_predict, with a library that only predicts."""
    folder = tmp_path_factory.mktemp("library")
    system = ["-DCMAKE_SYSTEM_NAME=Linux", f"-DCMAKE_SYSTEM_PROCESSOR={processor.compiler.split('-')[0]}"]
    small = ["-DPYNET_PREDICT_ONLY=ON", "-DPYNET_DTYPES=f32", f"-DPYNET_ISAS={processor.isa}"]
    compiler = [f"-DCMAKE_C_COMPILER={processor.compiler}", "-DCMAKE_EXE_LINKER_FLAGS=-static"]
    libpynet.build(folder, *system, *small, *compiler, target="example_predict")
    return processor.script(folder / "example_predict")


def test_a_saved_net_predicts_the_same_bits(processor, example, tmp_path):
    """With fused multiply-add those of any such instruction set here; without, those of scalar kernels."""
    here = [isa for isa in USABLE if (isa == "scalar") == (processor.isa == "scalar")]
    if not here:
        pytest.skip("this CPU has no fused multiply-add: NEON has, and so has bits of its own")
    for name in ("every_activation", "everything at once", "lstm_stacked", "compact_and_shared", "wide_rows", "table"):
        model = c_cases.kitchen_sink() if name == "everything at once" else SAVABLE[name]("float32", 1)
        libpynet.check_bits(model, tmp_path, here[0], example, its=processor.isa)


def test_exported_c_agrees(processor, tmp_path_factory):
    models = {"everything": c_cases.kitchen_sink(), "placed": c_cases.placed("float32")}
    case = c_cases.Case(tmp_path_factory, "float32", models)
    made = case.program()
    made.order = processor.order
    binary = made.binary(processor.compiler, *c_programs.C, "-O2", "-static", *processor.flags)
    c_cases.check_program(case, made, processor.script(binary))


def test_integer_networks_have_the_same_bits(processor, tmp_path):
    """Their self-tests compare bits."""
    text = []
    nets = [(name, kind) for name in ("lstm_masked", "compact_with_gaps", "prelu") for kind in ("int8", "int16")]
    for k, (name, kind) in enumerate(nets):
        _, _, quantized = integers.quantized(name, kind)
        pn.export.to_c(quantized, tmp_path / f"n{k}.c")
        text.append(f'#include "n{k}.c"')
    calls = " + ".join(f"(n{k}_selftest() != 0)" for k in range(len(nets)))
    (tmp_path / "all.c").write_text("\n".join(text) + f"\nint main(void) {{ return {calls}; }}\n")
    flags = [*c_programs.C, *c_programs.WARNINGS, "-O2", "-static"]
    c_programs.run(processor.compiler, *flags, "-o", tmp_path / "all", tmp_path / "all.c", "-lm")
    c_programs.run(processor.script(tmp_path / "all"))


def test_a_bare_board_gives_the_same_answers_in_the_memory_that_was_said():
    for program in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if not shutil.which(program):
            pytest.skip(f"there is no {program}: for developers who have Debian's compiler and emulator of boards")
    printed = libpynet.run(sys.executable, libpynet.ROOT / "tests/cortex_m/run.py")
    assert printed.count("rows right") == 2
    assert printed.count("1.000 of what footprint() said") == 4
