"""The other forms of exported C: without math.h, for small processors, in double precision; numbers that are none."""

import c_cases
import c_programs
import numpy as np
import pytest
from c_programs import CXX, C

import pynet as pn
from pynet import activations

SMALL = {"math": False, "wide": False, "scratch": "static"}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return {name: c_cases.Case(tmp_path_factory, name) for name in ("float32", "float64")}


@pytest.mark.parametrize(
    ("dtype", "options", "flags"),
    [
        ("float32", SMALL, (*C, "-O1")),
        ("float32", SMALL, CXX),
        ("float64", {}, (*C, "-O0")),
        ("float64", {"math": False}, (*C, "-O0")),
    ],
)
def test_agreement(cases, dtype, options, flags):
    c_cases.check_agreement(cases[dtype], options, "cc", flags)


# ---- numbers that are none -----------------------------------------------------------------------------------------

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e-42, -1e-42, 3e38, -3e38], np.float32)


@pytest.mark.parametrize("math", [True, False])
def test_activations_of_special_values(math, tmp_path):
    """NaN stays NaN; infinity, the largest numbers and denormal ones give what NumPy gives; but a sine without math.h
    ends at 65536."""
    models = {}
    for name in activations.TABLE:
        x = pn.Input(1)
        models[name] = pn.Model(x, pn.Activation(name)(pn.Activation("identity")(x)))
    made = c_programs.Program(tmp_path, models, math=math, tests=1)
    rows = {name: [SPECIAL[:, None]] for name in models}
    outputs = made.predict(made.binary("cc", *C, "-O1"), rows)
    for name in models:
        with np.errstate(all="ignore"):
            expected = activations.evaluate(name, SPECIAL[:, None])
            y = outputs[name][0]
            off = np.abs(y.astype(np.float64) - expected)
        same = (y == expected) | (np.isnan(y) & np.isnan(expected)) | (off <= 4e-7 * np.abs(expected) + 2e-38)
        if not math and name in ("sinusoid", "sinc"):
            same |= np.abs(SPECIAL[:, None]) >= 65536
        assert same.all(), (name, SPECIAL[~same[:, 0]], y[~same], expected[~same])
