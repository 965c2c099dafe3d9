"""The C library without Python: it builds, passes its own tests, installs, and serves a program by pkg-config."""

import os
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


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Configure and build the library with warnings as errors; return its build directory."""
    folder = tmp_path_factory.mktemp("libpynet")
    options = ["-DPYNET_PYTHON=OFF", "-DPYNET_DEVELOPER=ON", f"-DCMAKE_INSTALL_PREFIX={folder / 'installed'}"]
    run(tool("cmake"), "-S", ROOT, "-B", folder, *options, "-DCMAKE_INSTALL_LIBDIR=lib")
    run(tool("cmake"), "--build", folder, "--parallel", "2")
    return folder


def test_c_tests_pass(build):
    output = run(tool("ctest"), "--test-dir", build, "--output-on-failure")
    assert "100% tests passed" in output
    assert "0 tests failed out of 0" not in output


def test_installed_library_serves_a_program(build, tmp_path):
    run(tool("cmake"), "--install", build)
    prefix = build / "installed"
    pc = (prefix / "lib/pkgconfig/pynet.pc").read_text()
    assert "-lpynet" in pc
    program = tmp_path / "example"
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    run(compiler, "-std=c11", ROOT / "csrc/example.c", f"-I{prefix / 'include'}", prefix / "lib/libpynet.a",
        "-lm", "-lpthread", "-o", program)  # fmt: skip
    assert run(program)
    shared = [p for p in (prefix / "lib").iterdir() if p.suffix in (".so", ".dylib")]
    assert shared


def test_only_the_public_names_are_exported(build):
    """The shared library shows pn_ functions of pynet.h and nothing of the kernels."""
    nm = shutil.which("nm")
    library = build / "libpynet.so"
    if nm is None or not library.exists():  # macOS has other flags and another suffix; the build above was checked
        return
    names = {line.split()[-1] for line in run(nm, "-D", "--defined-only", library).splitlines()}
    public = {n for n in names if n.startswith("pn_")}
    assert {"pn_run", "pn_machine_open", "pn_plan_check", "pn_predict_one"} <= public
    header = (ROOT / "csrc/pynet.h").read_text()
    assert [n for n in public if f"{n}(" not in header] == []
