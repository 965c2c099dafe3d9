"""The C library without Python: how tests build it (the fixture libpynet_build) and run programs."""

import pathlib
import shutil
import subprocess
import sys

import pytest

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


def build(folder) -> None:
    """Configure and build the library with warnings as errors."""
    options = ["-DPYNET_PYTHON=OFF", "-DPYNET_DEVELOPER=ON", f"-DCMAKE_INSTALL_PREFIX={folder / 'installed'}"]
    run(tool("cmake"), "-S", ROOT, "-B", folder, *options, "-DCMAKE_INSTALL_LIBDIR=lib")
    run(tool("cmake"), "--build", folder, "--parallel", "2")
