"""What `Model.footprint` says is what the compiler finds in the exported file."""

import re
import shutil

import c_cases
import c_programs
import integers
import nets
import numpy as np
import pruned_nets
import pytest
from c_programs import C, run

import pynet as pn

CHAINS = [  # functions that are on the stack at the same time
    ("predict", "lstm", "dense", "panel_32"),
    ("predict", "lstm", "dense", "panels_4_1", "panel_4"),
    ("predict", "lstm", "dense", "panels_4_1", "dot"),
    ("predict", "lstm", "lstm_cells", "tanh", "expm1", "exp_tail", "power_of_2"),
    ("predict", "act_mish", "softplus", "exp", "exp_tail", "power_of_2"),
    ("predict", "act_gelu", "normal_cdf", "exp", "exp_tail", "power_of_2"),
    ("predict", "act_softmax", "exp", "exp_tail", "power_of_2"),
    ("predict", "sparse_bytes"),
    ("predict", "row_norm", "sqrt"),
]


@pytest.fixture(scope="module", params=["float32", "float64"])
def exported(request, tmp_path_factory):
    """All nets as C files in a folder, those of float64 without math.h."""
    folder, models = tmp_path_factory.mktemp("c"), c_cases.collection(request.param)
    c_programs.Program(folder, models, math=request.param == "float32", tests=1)
    return request.param, models, folder


def test_the_compiler_agrees(exported, tmp_path):
    """Of all nets: the sizes of the constants in the object file, and NET_SCRATCH, to the byte."""
    nm = shutil.which("nm")
    assert nm, "nm comes with every compiler that these tests know"
    dtype, models, folder = exported
    run("cc", *C, "-O0", "-c", "-o", tmp_path / "all.o", folder / "all.c")
    found = dict.fromkeys(range(len(models)), 0)
    for line in run(nm, "-S", tmp_path / "all.o").decode().splitlines():
        if match := re.fullmatch(r"\w+ (\w+) [rR] n(\d+)_(?!test_)\w+", line):
            found[int(match[2])] += int(match[1], 16)
    assert all(found.values())
    size = np.dtype(dtype).itemsize
    for k, (name, model) in enumerate(models.items()):
        need = model.footprint(dtype)
        assert (name, need.flash) == (name, found[k])
        scratch = re.search(r"_SCRATCH (\d+)U", (folder / f"n{k}.h").read_text())
        assert (name, need.ram) == (name, size * int(scratch[1]))
        assert need.ends == size * sum(v.width for v in (*model.inputs, *model.outputs))


@pytest.mark.parametrize("flag", ["-O0", "-O3"])
def test_the_stack_is_no_larger(exported, flag, tmp_path):
    """By gcc's report of each function; other compilers write none."""
    if b"Free Software Foundation" not in run("cc", "--version"):
        return
    dtype, models, folder = exported
    run("cc", *C, flag, "-fstack-usage", "-c", "-o", tmp_path / "all.o", folder / "all.c")
    sizes: dict = {}
    for line in (tmp_path / "all.su").read_text().splitlines():
        if match := re.search(r":n(\d+)_(\w+?)(?:\.\w+)*\t(\d+)\t", line):
            key = int(match[1]), match[2]
            sizes[key] = max(sizes.get(key, 0), int(match[3]))
    for k, (name, model) in enumerate(models.items()):
        assert (k, "predict") in sizes
        worst = max(sum(sizes.get((k, function), 0) for function in chain) for chain in CHAINS)
        assert worst <= model.footprint(dtype).stack, name


def test_numbers_of_a_small_net():
    """Counted by hand: 8 x 5 and 5 x 3 weights, biases; hidden values are all of the memory."""
    model = pn.Sequential([pn.Input(8, scale=2.0), pn.Dense(5, activation="tanh"), pn.Dense(3)])
    need = model.footprint()
    assert (need.flash, need.ram, need.ends) == (4 * (1 + 40 + 5 + 15 + 3), 4 * (8 + 5), 4 * (8 + 3))
    assert need.macs == 40 + 15
    assert need.dtype == "float32"
    double = model.footprint("float64")
    assert (double.flash, double.ram, double.macs) == (2 * need.flash, 2 * need.ram, need.macs)
    assert "flash 256, ram 52 and 44 for a row" in repr(need)


def test_an_lstm_multiplies_at_each_step():
    need = pn.Sequential([pn.Input((5, 3)), pn.LSTM(4)]).footprint()
    assert need.macs == 5 * (3 + 4) * 16
    assert need.ram == 4 * 5 * 4  # gates and cells of one step


def test_compact_layers():
    """As it is, compact, expanded."""
    model = pruned_nets.linear(60, 40, dtype="float32")
    pn.prune.magnitude(model, 0.9)
    left = int(pn.prune.masks(model)["d.kernel"].sum())
    dense, compact = model.footprint(), model.footprint(sparse=True)
    assert dense.flash == model.footprint(sparse=False).flash == 4 * (60 * 40 + 40)
    assert dense.macs == 60 * 40
    assert left <= compact.macs <= 1.2 * left
    assert 4 * left < compact.flash < 6 * left + 4 * 2 * 40
    assert model.compact().footprint().flash == compact.flash
    assert model.compact().footprint(sparse=False).flash == dense.flash


@pytest.mark.parametrize("dtype", ["int32", "float16", np.int32])
def test_an_unknown_dtype(dtype):
    model = pn.Sequential([pn.Input(2), pn.Dense(1)])
    with pytest.raises(ValueError, match=r"unknown dtype of a footprint '\w+'.*known: float32, float64, int16, int8"):
        model.footprint(dtype)
    assert model.footprint(np.float64).dtype == "float64"
    assert pn.Sequential([pn.Input(2), pn.Dense(1)], dtype="float64").footprint().flash == 8 * 3


# ---- integers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", integers.NETS)
def test_integers_before_anything_is_trained(name):
    """The sizes that the integer network will have, whatever it is quantised with."""
    for activations in ("int8", "int16"):
        model, _, quantized = integers.quantized(name, activations)
        made, need = quantized.footprint(), model.footprint(activations)
        for attribute in ("flash", "ram", "ends", "stack", "macs", "parts", "wrapper"):
            assert (attribute, getattr(need, attribute)) == (attribute, getattr(made, attribute))
        assert need.dtype == activations
        assert need.flash == sum(need.parts.values())


def test_integers_of_a_small_net():
    """Counted by hand: a byte a weight, bias and factor of 4 bytes an output, a table of 256; hidden values in ram."""
    model = pn.Sequential([pn.Input(8), pn.Dense(5, activation="tanh"), pn.Dense(3)])
    need = model.footprint("int8")
    assert need.parts == {"weights": 40 + 15, "biases": 4 * (5 + 3), "factors": 4 * (5 + 3), "tables": 256}
    assert (need.ram, need.ends, need.wrapper, need.macs) == (6, 8 + 2 * 3, 0, 40 + 15)
    assert "<Footprint int8: flash 375, ram 6 and 14 for a row" in repr(need)
    scaled = pn.Sequential([pn.Input(8, scale=np.arange(1.0, 9.0)), pn.Dense(3)]).footprint("int8")
    assert scaled.wrapper == 4 * 8


def test_integers_have_no_streams():
    model = pn.Sequential([pn.Input((5, 3)), pn.LSTM(4)])
    with pytest.raises(ValueError, match="stream: integer networks take sequences at once"):
        model.footprint("int8", stream=True)
    with pytest.raises(ValueError, match="cannot be quantised"):
        nets.NETS[integers.REFUSED[0]]("float32").footprint("int8")
