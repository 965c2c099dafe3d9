"""The other forms of exported C: without math.h, for small processors, in double precision; numbers that are none."""

from decimal import Decimal, localcontext

import c_cases
import c_programs
import numpy as np
import pytest
import truth
from c_programs import CXX, C, run

import pynet as pn
from pynet import activations
from pynet.export import c_fragments

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


# ---- elementary functions without math.h ----------------------------------------------------------------------------

FUNCTIONS = {  # name: lowest and highest argument, the truth, units in the last place (normal_cdf: of 1/2)
    "exp": (-87.0, 0.0, lambda x: x.exp(), 2), "expm1": (-20.0, 0.0, truth.expm1, 2),
    "log1p": (0.0, 1.0, truth.log1p, 2), "tanh": (-10.0, 10.0, truth.tanh, 3), "sin": (-1e4, 1e4, truth.sin, 2),
    "atan": (-50.0, 50.0, truth.atan, 2), "sqrt": (0.0, 1e6, lambda x: x.sqrt(), 2),
    "normal_cdf": (-6.0, 6.0, truth.normal_cdf, 5),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_elementary_functions(dtype, tmp_path):
    """As exact as docs/c-export.md says, against 50 digits; a sine near its zeros to a part of its argument."""
    rng, real = np.random.default_rng(0), np.dtype(dtype).type
    points = {
        name: np.concatenate([rng.uniform(low, high, 150), rng.uniform(low, high, 50) * 1e-3]).astype(dtype)
        for name, (low, high, _, _) in FUNCTIONS.items()
    }
    body = c_fragments.linked([f"net_{name}" for name in FUNCTIONS], dtype, False, False)
    each = (
        "for (k = 0; k < 200; k++) {{ fread(&x, sizeof x, 1, stdin); x = net_{}(x); fwrite(&x, sizeof x, 1, stdout); }}"
    )
    calls = " ".join(each.format(name) for name in FUNCTIONS)
    source = (
        f"#include <stdint.h>\n#include <stdio.h>\n{body}\nint main(void) {{ net_real x; int k; {calls} return 0; }}"
    )
    (tmp_path / "main.c").write_text(source)
    run("cc", *C, "-O1", "-o", tmp_path / "a", tmp_path / "main.c")
    answer = np.frombuffer(run(tmp_path / "a", input=b"".join(x.tobytes() for x in points.values())), dtype)
    for (name, (_, _, function, bound)), y in zip(FUNCTIONS.items(), np.split(answer, len(FUNCTIONS)), strict=True):
        worst = 0.0
        with localcontext() as context:
            context.prec = truth.DIGITS
            for x, value in zip(points[name].tolist(), y.tolist(), strict=True):
                expected = function(Decimal(x))
                unit = Decimal(float(np.spacing(real(0.5 if name == "normal_cdf" else abs(float(expected))))))
                if name == "sin":
                    unit = max(unit, Decimal(float(np.spacing(real(1)))) * Decimal(abs(x)) / 10_000)
                worst = max(worst, float(abs(Decimal(value) - expected) / unit))
        assert worst <= bound, f"{name}: {worst:.2f} units"


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
