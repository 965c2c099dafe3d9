"""Fixtures: the instruction sets of this CPU (fewer than it has is a failure, never a skip), executors, dtypes."""

import helpers
import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def _every_instruction_set_is_here():
    """A build without the kernels of this CPU would make half of the suite pass by not running."""
    missing = helpers.expected_isas() - set(helpers.ISAS)
    assert not missing, f"this CPU has {sorted(missing)}, but pynet can only use {helpers.ISAS}"


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
