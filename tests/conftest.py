"""Fixtures: instruction sets of this CPU (fewer than it has is a failure, never a skip), executors, dtypes, PyTorch."""

import signal
import sys

import helpers
import libpynet
import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def _every_instruction_set_is_here():
    """A build without the kernels of this CPU would make half of the suite pass by not running."""
    missing = helpers.expected_isas() - set(helpers.ISAS)
    assert not missing, f"this CPU has {sorted(missing)}, but pynet can only use {helpers.ISAS}"


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard():
    """Jobs in the background (nohup, `&` of a script) ignore Ctrl-C, and so would the children of these tests."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    """Those of pages and experiments: matplotlib warns of too many."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(params=helpers.ISAS)
def isa(request):
    """Every usable instruction set, by name."""
    return request.param


@pytest.fixture(params=["numpy", *helpers.ISAS])
def executor(request):
    """The NumPy machine, and the C machine with every usable instruction set."""
    return helpers.Executor(request.param, 1)


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return np.dtype(request.param)


# ---- for the tests marked oracle -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def torch():
    """Without PyTorch these tests fail: who asks for an oracle must have one."""
    import torch

    torch.set_num_threads(1)
    return torch


@pytest.fixture(params=["numpy", *helpers.ISAS])
def backend(request):
    """The argument of Trainer and predict, with the instruction set forced for the test."""
    if request.param == "numpy":
        yield "numpy"
    else:
        with helpers.forced_isa(request.param):
            yield "c"


@pytest.fixture(scope="session")
def libpynet_build(tmp_path_factory):
    """The directory of a build of the C library and its programs."""
    folder = tmp_path_factory.mktemp("libpynet")
    libpynet.build(folder)
    return folder
