"""The C library without Python: how tests build it (the fixture libpynet_build), run programs, and compare bits."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pynet import _core
from pynet.plan import Job

ROOT = pathlib.Path(__file__).resolve().parents[1]


def tool(name: str) -> str:
    """Return a program that came with the test requirements, or of the system."""
    beside = pathlib.Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"{name} comes with the test requirements: pip install .[test]")
    return found


def run(*command, **options) -> str:
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    assert result.returncode == 0, f"{command}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return result.stdout + result.stderr


def build(folder, *more, target: str = "all") -> None:
    """Configure and build the library with warnings as errors."""
    options = ["-DPYNET_PYTHON=OFF", "-DPYNET_DEVELOPER=ON", f"-DCMAKE_INSTALL_PREFIX={folder / 'installed'}", *more]
    run(tool("cmake"), "-S", ROOT, "-B", folder, *options, "-DCMAKE_INSTALL_LIBDIR=lib")
    run(tool("cmake"), "--build", folder, "--parallel", "2", "--target", target)


def flat(arrays) -> np.ndarray:
    return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)


def check_bits(model, folder, isa: str, *example, its: str | None = None) -> None:
    """Of a saved model the program csrc/example_predict.c, which a command runs, makes what Python makes of it with an
    instruction set, to the bit: of ordinary rows and of zeros, huge, tiny, infinite and missing numbers.  `its`: the
    instruction set of the command, where that is another."""
    model.save(folder / "net.safetensors")
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((10, *value.shape)).astype(model.dtype) for value in model.inputs]
    for x in inputs:
        for row, value in enumerate((0.0, -0.0, 1e30, 1e-40, np.inf, np.nan), 3):
            x[row].reshape(-1)[: row - 1] = value
    text = "\n".join(" ".join(repr(float(v)) for v in row) for row in flat(inputs))
    outputs = [np.empty((10, value.width), model.dtype) for value in model.outputs]
    job = Job(inputs=[x.reshape(10, -1) for x in inputs], outputs=outputs, rows=10, batch=10)
    job.stages = _core.FORWARD | _core.OUTPUT
    _core.Machine(model.plan, model.arena, rows=10, isa=isa).run(job, 0, 1)
    printed = run(*example, folder / "net.safetensors", input=text, env={**os.environ, "PYNET_ISA": its or isa})
    got = np.array([line.split() for line in printed.splitlines()], model.dtype)
    np.testing.assert_array_equal(got, flat(outputs), err_msg=isa)
    assert (np.signbit(got) == np.signbit(flat(outputs)))[np.isfinite(got)].all()
