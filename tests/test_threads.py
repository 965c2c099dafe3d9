"""Who decides on the number of threads: arguments, environment, affinity, threadpoolctl."""

import os
import subprocess
import sys

import pytest

import pynet as pn


def told(script, **environment):
    """Run Python and return what it prints."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYNET_NUM_THREADS", "OMP_NUM_THREADS")}
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.run(command, env=env | environment, capture_output=True, text=True, check=True).stdout.strip()


COUNT = "import pynet as pn; print(pn.get_num_threads())"


def test_the_environment_is_asked():
    assert told(COUNT, OMP_NUM_THREADS="3") == "3"
    assert told(COUNT, OMP_NUM_THREADS="3", PYNET_NUM_THREADS="5") == "5"
    assert told("import pynet as pn; pn.set_num_threads(7); print(pn.get_num_threads())", OMP_NUM_THREADS="3") == "7"
    assert int(told(COUNT, OMP_NUM_THREADS="nonsense")) >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity of processes")
def test_affinity_is_respected():
    one = f"import os; os.sched_setaffinity(0, [{min(os.sched_getaffinity(0))}])\n"
    assert told(one + COUNT) == "1"
    assert int(told(COUNT)) <= len(os.sched_getaffinity(0))


FIT = """
import numpy as np, threading
X = np.random.default_rng(0).normal(size=(4096, 512)).astype("f4")
trainer = pn.Trainer(pn.Sequential([pn.Input(512), pn.Dense(512, "relu"), pn.Dense(512)]), "mse")
def tasks():
    trainer.fit(X, X, epochs=1, batch_size=1024, verbose=0)
    import os
    return len(os.listdir("/proc/self/task"))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="the system does not list a process's threads")
@pytest.mark.parametrize("order", ["threadpoolctl, pynet as pn", "pynet as pn, pynet.threadpool, threadpoolctl"])
def test_threadpoolctl_sets_the_limit(order):
    pytest.importorskip("threadpoolctl")
    script = f"import {order}{FIT}"
    script += """
pn.set_num_threads(3)
info = [lib for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "pynet"]
assert len(info) == 1 and info[0]["num_threads"] == 3 and info[0]["version"] == pn.__version__, info
before = len(__import__("os").listdir("/proc/self/task"))
with threadpoolctl.threadpool_limits(1):
    assert pn.get_num_threads() == 1
    assert tasks() == before       # nobody was hired
assert pn.get_num_threads() == 3
assert tasks() == before + 2
"""
    told(script, OPENBLAS_NUM_THREADS="1")


def test_importing_pynet_does_not_import_threadpoolctl():
    assert told("import pynet, sys; print('threadpoolctl' in sys.modules)") == "False"


def test_an_old_threadpoolctl_does_no_harm():
    told("import sys, types; sys.modules['threadpoolctl'] = types.ModuleType('threadpoolctl'); import pynet")


def test_the_number_of_threads_is_checked():
    for wrong in (0, 256, -1):
        with pytest.raises(ValueError, match="n must be"):
            pn.set_num_threads(wrong)
    with pytest.raises(TypeError):
        pn.set_num_threads("two")
