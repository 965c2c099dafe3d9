"""What ``import pynet`` does to a process: little."""

import os
import subprocess
import sys
import sysconfig

import pytest


def run(script, **environment):
    """Run a script in a process of its own; return its output."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules(script):
    return set(run(f"{script}\nimport sys\nprint(*sys.modules)").split())


def test_only_numpy_is_imported():
    more = modules("import pynet") - modules("import numpy")
    ours = {name for name in more if name.split(".")[0] == "pynet"}
    assert {"pynet", "pynet._core", "pynet.trainer"} <= ours
    foreign = {name for name in more - ours if name.split(".")[0] not in sys.stdlib_module_names}
    assert not {name for name in foreign if not name.startswith(("numpy", "_cython", "cython_runtime"))}
    heavy = {
        "argparse", "csv", "dataclasses", "json", "multiprocessing", "shutil", "tempfile", "tqdm", "difflib", "zipfile",
        "pynet.cli", "pynet.reference", "pynet.files", "pynet.datasets", "pynet.tabular", "asyncio", "unittest",
    }  # fmt: skip
    assert not heavy & more


def test_what_is_imported_late_is_there_all_the_same():
    run("import pynet as pn\nassert pn.datasets.load_digits and pn.tabular and pn.load")
    run("""
import pynet as pn
for name in pn.__all__:
    assert getattr(pn, name) is not None and name in dir(pn)
try:
    pn.Dens
except AttributeError as error:
    assert "did you mean 'Dense'" in str(error), error
""")


def test_import_prints_and_warns_nothing():
    done = subprocess.run([sys.executable, "-W", "error", "-c", "import pynet"], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_import_time_is_shown():
    script = """
import sys, time
import numpy
begun = time.perf_counter()
import pynet
print(f"import pynet: {1e3 * (time.perf_counter() - begun):.1f} ms beyond numpy")
"""
    times = [run(script).strip() for _ in range(3)]
    print(min(times, key=lambda text: float(text.split()[2])))


@pytest.mark.parametrize(
    "name", ["nonsense", "avx", "AVX2", " ", "neon" if "86" in sysconfig.get_platform() else "avx2"]
)
def test_an_isa_that_is_not_there_is_an_error_that_names_it(name):
    script = """
import pynet as pn
model = pn.Sequential([pn.Input(2), pn.Dense(2)])
X = [[1.0, 2.0]]
trainer = pn.Trainer(model, "mse")
for call in (pn.cpu_info, lambda: model.predict(X), lambda: model.predict_one(X[0]), lambda: trainer.fit(X, X)):
    try:
        call()
    except ValueError as error:
        print(error)
    else:
        print("no error")
print(model.predict(X, backend="numpy").shape)
"""
    lines = run(script, PYNET_ISA=name).splitlines()
    assert len(lines) == 5
    for line in lines[:4]:
        assert f"PYNET_ISA={name!r} is not available here (usable: " in line
        assert "scalar" in line
    assert lines[4] == "(1, 2)"


def test_the_isa_asked_for_is_the_one_that_runs():
    import pynet

    usable = [name for name, ok in pynet.cpu_info()["isas"].items() if ok]
    assert "scalar" in usable
    for name in usable:
        script = """
import numpy as np, pynet as pn
from pynet import _core
model = pn.Sequential([pn.Input(2), pn.Dense(2)])
print(pn.cpu_info()["isa"], _core.Machine(model.plan, model.arena, rows=1).isa)
"""
        assert run(script, PYNET_ISA=name).split() == [name, name]
    assert run("import pynet; print(pynet.cpu_info()['isa'])", PYNET_ISA="").split() == [usable[-1]]


def test_denormal_numbers_survive():
    run("""
import numpy as np
def check():
    tiny = np.full(64, 1e-40, np.float32)
    assert (tiny * np.float32(0.5) > 0).all() and (tiny + tiny > tiny).all()
    assert 5e-324 > 0 and 1e-310 / 2 > 0
check()
import pynet as pn
check()
for dtype in ("float32", "float64"):
    model = pn.Sequential([pn.Input(64), pn.Dense(64, "gelu"), pn.Dense(3, "softmax")], dtype=dtype)
    trainer = pn.Trainer(model, "cross_entropy", n_threads=2)
    X = np.random.default_rng(0).normal(size=(300, 64))
    trainer.fit(X, np.arange(300) % 3, epochs=2, verbose=0)
    model.predict(X)
    check()
import threading
worker = threading.Thread(target=check)
worker.start(); worker.join()
""")


def test_the_number_of_threads_comes_from_the_environment():
    script = "import pynet; print(pynet.get_num_threads()); pynet.set_num_threads(2); print(pynet.get_num_threads())"
    assert run(script, PYNET_NUM_THREADS="3", OMP_NUM_THREADS="5").split() == ["3", "2"]
    assert run(script, PYNET_NUM_THREADS="", OMP_NUM_THREADS="5").split() == ["5", "2"]
    for nonsense in ("x", "-1", "0", "99999999999"):
        count = int(run(script, PYNET_NUM_THREADS=nonsense, OMP_NUM_THREADS="").split()[0])
        assert 1 <= count <= 255
