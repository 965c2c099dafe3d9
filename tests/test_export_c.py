"""Python and the exported C agree: every kind of layer, every activation, dense and sparse, every compiler."""

import copy
import re
import shutil

import c_cases
import nets
import numpy as np
import pytest
import table_cases
from c_programs import COMPILERS, CXX, C

import pynet as pn
from pynet import _core, activations
from pynet.export import c_emit, c_fragments


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return c_cases.Case(tmp_path_factory, "float32")


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("flags", [(*C, "-O0"), (*C, "-O3"), CXX], ids=" ".join)
def test_agreement(case, compiler, flags):
    c_cases.check_agreement(case, {}, compiler, flags)


def test_the_tolerance_is_no_wide_gate(case):
    """Of rows like those of training it is some hundred units in the last place of the largest result, not more, where
    a net does not magnify rounding; a wrong formula is far outside."""
    shares = []
    for expected, tolerance in case.truth.values():
        for y, bound in zip(expected, tolerance, strict=True):
            size = np.abs(y).max(axis=1)
            usual = (size > 0) & (np.arange(len(y)) < c_cases.ROWS)
            shares.append(np.median(bound[usual] / size[usual]) * 2**24)
    assert np.median(shares) < 100
    assert np.max(shares) < 10_000


def test_the_self_test_notices_a_changed_weight(case, tmp_path):
    """The first number of the last table of weights or biases is another one."""
    made = copy.copy(case.program())
    made.folder = shutil.copytree(made.folder, tmp_path / "changed")
    for k in range(len(case.models)):
        path = made.folder / f"n{k}.c"
        text = path.read_text()
        tables = rf"n{k}_(?:kernel|values|alpha|bias|gamma|shift)_\d+\[\d+\] = {{\n    ([^,\n]+)"
        match = list(re.finditer(tables, text))[-1]
        number = f"{float(match[1].rstrip('F')) * 1.1 + 0.1!r}F"
        path.write_text(text[: match.start(1)] + number + text[match.end(1) :])
    results = made.selftests(made.binary("cc", *C, "-O0"))
    assert [name for name, wrong in results.items() if wrong == 0] == []


# ---- nobody is forgotten -------------------------------------------------------------------------------------------


def test_every_op_and_activation_has_a_c_form():
    kinds = {kind for make in nets.NETS.values() for kind in make("float32").plan.ops["kind"].tolist()}
    named = {name for name, ident in _core.OPS.items() if ident in kinds}
    assert named == set(c_emit.EMIT) | set(c_emit.CANNOT)
    functions = {name for block in c_fragments.blocks("activations") for name in c_fragments.DEFINED.findall(block)}
    assert {f"net_act_{name}" for name in activations.TABLE} - functions == {"net_act_identity"}


def test_every_function_of_the_runtime_is_used(tmp_path):
    """By one net, another form of it, a stream, and two tables; and each file of the runtime is read."""
    model = c_cases.kitchen_sink()
    for name, form in (("net", {}), ("other", {"math": False, "wide": False})):
        pn.export.to_c(model, tmp_path / f"{name}.c", prefix="net", **form)
    pn.export.to_c(pn.Sequential([pn.Input((2, 1)), pn.LSTM(1)]), tmp_path / "step.c", prefix="net", stream=True)
    for k, name in enumerate(("classes", "quantiles and vectors")):
        pn.export.to_c(table_cases.model(name), tmp_path / f"table{k}.c", prefix="net")
    used = "".join(path.read_text() for path in tmp_path.glob("*.c"))
    for file in ("libm", "own_math", "narrow", "wide", *c_fragments.COMMON):
        for block in c_fragments.blocks(file):
            (name,) = c_fragments.DEFINED.findall(block)
            assert re.search(rf"\b{name}\(", used), name


@pytest.mark.parametrize("name", [name for name, make in nets.NETS.items() if c_cases.is_python(make("float32"))])
def test_what_is_written_in_python_is_refused(name, tmp_path):
    model = nets.NETS[name]("float32")
    for call in (lambda: pn.export.to_c(model, tmp_path / "net.c"), model.footprint):
        with pytest.raises(ValueError, match=r"layer '\w+': what is written in Python cannot be written in C"):
            call()
    assert list(tmp_path.iterdir()) == []
