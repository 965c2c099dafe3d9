"""The C library without Python: it builds, passes its own tests, installs, and serves a program by pkg-config."""

import os
import shutil
import subprocess

import nets
import numpy as np
import pytest
import table_cases
from libpynet import ROOT, build, check_bits, flat, run, tool

import pynet as pn
from pynet import _core
from pynet.files import load_checkpoint


def test_c_tests_pass(libpynet_build):
    output = run(tool("ctest"), "--test-dir", libpynet_build, "--output-on-failure")
    assert "100% tests passed" in output
    assert "0 tests failed out of 0" not in output


@pytest.fixture(scope="module")
def installed(libpynet_build, tmp_path_factory):
    """Where the library was installed: elsewhere than its build was told."""
    prefix = tmp_path_factory.mktemp("installed")
    run(tool("cmake"), "--install", libpynet_build, "--prefix", prefix)
    return prefix


def test_installed_library_serves_a_program(installed, tmp_path):
    """By the flags of pkg-config, or of its file where there is no pkg-config."""
    assert [p for p in (installed / "lib").iterdir() if p.suffix in (".so", ".dylib")]
    folder = installed / "lib/pkgconfig"
    if shutil.which("pkg-config"):
        flags = run(
            "pkg-config", "--cflags", "--libs", "--static", "pynet", env=os.environ | {"PKG_CONFIG_PATH": folder}
        )
    else:
        lines = [line for line in (folder / "pynet.pc").read_text().splitlines() if line and line[0] != "#"]
        known = {"pcfiledir": str(folder)}
        for line in lines[:3]:
            key, _, text = line.partition("=")
            known[key] = text.replace("${pcfiledir}", known["pcfiledir"]).replace("${prefix}", known.get("prefix", ""))
        flags = f"-I{known['includedir']} -L{known['libdir']} -lpynet -lm -lpthread"
    program = tmp_path / "example"
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    run(compiler, "-std=c11", ROOT / "csrc/example.c", *flags.split(), "-lm", f"-Wl,-rpath,{installed / 'lib'}",
        "-o", program)  # fmt: skip
    assert run(program)


def test_find_package(installed, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(user LANGUAGES C)\nfind_package(pynet 0.1 REQUIRED)\n"
        f"foreach(kind static shared)\n  add_executable(with_${{kind}} {ROOT / 'csrc/example.c'})\n"
        "  target_link_libraries(with_${kind} pynet::pynet_${kind})\nendforeach()\n"
    )
    run(tool("cmake"), "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={installed}")
    run(tool("cmake"), "--build", tmp_path / "build")
    assert run(tmp_path / "build/with_static") == run(tmp_path / "build/with_shared")


def every_activation(dtype, seed):
    """A branch for each, behind a Dense layer and by itself; and what does nothing on the way up."""
    x = pn.Input(5, name="x")
    h = pn.GradientClip(pn.ClipNorm(1.0))(pn.Dense(7)(x))
    names = list(_core.ACTIVATIONS)
    branches = [pn.Dense(3, activation=name)(h) for name in names] + [pn.Activation(name)(h) for name in names]
    return pn.Model(x, pn.Concat()(branches), dtype=dtype, random_state=seed)


SAVABLE = {name: make for name, make in nets.NETS.items() if name not in ("escapes", "everything")}  # without Python's
SAVABLE["every_activation"] = every_activation
TABLES = {"float32": "quantiles and vectors", "float64": "float64"}
SAVABLE["table"] = lambda dtype, seed: table_cases.model(TABLES[dtype]).network  # whose file has an encoder
USABLE = [isa for isa, usable in _core.isas().items() if usable]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SAVABLE)
def test_a_saved_net_predicts_the_same_bits_in_c(libpynet_build, tmp_path, name, dtype):
    for isa in USABLE:
        check_bits(SAVABLE[name](dtype, 1), tmp_path, isa, libpynet_build / "example_predict")


def test_the_library_of_the_defaults_trains_float32_and_predicts_float64(tmp_path):
    """The tests of C leave out what the build leaves out; float64 predicts by kernels of its own size, to the bit."""
    build(tmp_path, "-DPYNET_TRAINED=f32")
    chosen = "kernels|machine|second_order|obs|example"
    output = run(tool("ctest"), "--test-dir", tmp_path, "-R", chosen, "--output-on-failure")
    assert "100% tests passed" in output
    assert "out of 5\n" in output
    for net in SAVABLE.values():
        for isa in USABLE:
            check_bits(net("float64", 1), tmp_path, isa, tmp_path / "example_predict")


@pytest.mark.parametrize("name", ["plain", "rich", "pruned", "lanes"])
def test_the_models_of_the_c_tests_are_what_python_predicts(name):
    model, _, tensors = load_checkpoint(ROOT / f"tests/c/models/{name}.safetensors")
    columns = np.cumsum([value.width for value in model.inputs])[:-1]
    pieces = np.split(tensors["rows.x"], columns, axis=1)
    X = [np.reshape(x, (len(x), *v.shape)) for x, v in zip(pieces, model.inputs, strict=True)]
    Y = model.predict(X if len(X) > 1 else X[0])
    np.testing.assert_allclose(flat(Y if isinstance(Y, list) else [Y]), tensors["rows.y"], rtol=0, atol=1e-6)


def test_example_predict_says_what_is_wrong(libpynet_build, tmp_path):
    model = nets.NETS["pruned"]("float32", 1)
    model.save(tmp_path / "net.safetensors")
    whole = (tmp_path / "net.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-1])
    (tmp_path / "old.safetensors").write_bytes(whole.replace(b'"pynet.plan"', b'"pynet.nalp"'))
    damaged = bytearray(whole)
    damaged[-1] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(damaged)

    def told(name, rows="0 0 0\n"):
        command = [libpynet_build / "example_predict", tmp_path / f"{name}.safetensors"]
        result = subprocess.run(command, input=rows, capture_output=True, text=True)
        assert (result.returncode == 0) == (result.stderr == "")
        return result.stderr

    assert told("net") == ""
    assert "cannot be opened" in told("nowhere")
    assert "a tensor in the header contradicts itself or the file" in told("cut")
    assert "no plan in it: save it again with pn.load(...).save(...)" in told("old")
    assert "does not match its checksum: the file is damaged" in told("damaged")
    assert "a row is too short" in told("net", "0 0")


CPP = """
#include "pynet.hpp"
#include <iostream>
int main(int, char **words) {
    try {
        pynet::Model model(words[1]);
        pynet::Predictor<float> predict(model, 2);
        for (float y : predict({1, 2, 3, 4, 5, 6, 7, 8, 9})) std::cout << y << " ";
        pynet::Predictor<double> other(model);
    } catch (const pynet::Error &error) {
        std::cout << error.status << " " << error.what();
    }
}
"""


def test_a_program_in_cpp(libpynet_build, tmp_path):
    compiler = shutil.which("c++")
    if not compiler:
        pytest.skip("there is no C++ compiler: pynet needs C alone, and pynet.hpp is tried where one is")
    (tmp_path / "main.cpp").write_text(CPP)
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{ROOT / 'csrc'}"]
    libraries = [libpynet_build / "libpynet.a", "-lm", "-lpthread"]
    run(compiler, *flags, tmp_path / "main.cpp", *libraries, "-o", tmp_path / "main")
    model = nets.NETS["pruned"]("float32", 1)
    model.save(tmp_path / "net.safetensors")
    out = run(tmp_path / "main", tmp_path / "net.safetensors").split(maxsplit=6)
    expected = model.predict(np.arange(1, 10, dtype=np.float32).reshape(3, 3)).reshape(-1)
    np.testing.assert_allclose(np.array(out[:6], np.float32), expected, rtol=1e-5)
    assert out[6] == "2 the numbers of the model are of the other type, float or double"
    missing = run(tmp_path / "main", tmp_path / "nowhere")
    assert missing == f"9 {tmp_path / 'nowhere'}: it cannot be opened"


def test_only_the_public_names_are_exported(libpynet_build):
    """The shared library shows pn_ functions of pynet.h and nothing of the kernels."""
    nm = shutil.which("nm")
    library = libpynet_build / "libpynet.so"
    if nm is None or not library.exists():  # macOS has other flags and another suffix; the build above was checked
        return
    names = {line.split()[-1] for line in run(nm, "-D", "--defined-only", library).splitlines()}
    public = {n for n in names if n.startswith("pn_")}
    assert {"pn_run", "pn_machine_open", "pn_plan_check", "pn_predict_one", "pn_model_open"} <= public
    header = (ROOT / "csrc/pynet.h").read_text()
    assert sorted(n for n in public if f"{n}(" not in header) == []
