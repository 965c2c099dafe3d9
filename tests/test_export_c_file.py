"""The exported C file itself: names, symbols, numbers, texts, memory, the program of docs/c-export.md, and errors."""

import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import c_cases
import c_programs
import nets
import numpy as np
import pytest
from c_programs import COMPILERS, CXX, WARNINGS, C, run

import pynet as pn
from pynet import export
from pynet.export import c_fragments, c_text, c_vectors
from pynet.export.c_program import KINDS, Program

DOCS = Path(__file__).resolve().parent.parent / "docs" / "c-export.md"
LIBM = {"exp", "expm1", "log1p", "tanh", "sin", "atan", "sqrt", "erfc"}


def small(**options):
    return pn.Sequential([pn.Input(3), pn.Dense(4, activation="tanh"), pn.Dense(2)], **options)


# ---- symbols --------------------------------------------------------------------------------------------------------


def symbols(nm: str, path) -> dict[str, set]:
    """The global symbols of an object file by kind, "U": undefined."""
    found: dict[str, set] = {}
    for line in run(nm, "-g", path).decode().splitlines():
        *_, kind, name = line.split()
        found.setdefault("U" if kind == "U" else "defined", set()).add(name)
    return found


@pytest.mark.parametrize("flags", [(*C, "-O0"), (*C, "-O3"), (*CXX, "-O2")], ids=" ".join)
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("math", [True, False])
def test_no_symbol_but_its_own(compiler, flags, math, tmp_path):
    """What is defined carries the prefix; what is missing are functions of math.h, or nothing: no memcpy either."""
    nm = shutil.which("nm")
    assert nm, "nm comes with every compiler that these tests know"
    model = c_cases.kitchen_sink()
    model.metadata["classes"] = ["a", "b"]
    pn.export.to_c(model, tmp_path / "net.c", prefix="my_2nd", math=math)
    run(compiler, *flags, *WARNINGS, "-fno-stack-protector", "-c", "-o", tmp_path / "net.o", tmp_path / "net.c")
    found = symbols(nm, tmp_path / "net.o")
    assert found["defined"] == {"my_2nd_predict", "my_2nd_selftest", "my_2nd_classes"}
    missing = found.get("U", set()) - {"_GLOBAL_OFFSET_TABLE_"}
    assert missing == ({f"{name}f" for name in LIBM} if math else set())


def test_two_exports_in_one_program(tmp_path):
    """Of one model and another, by their headers alone."""
    one, two = small(random_state=1), small(dtype="float64", random_state=2)
    pn.export.to_c(one, tmp_path / "one.c")
    pn.export.to_c(two, tmp_path / "two.c", prefix="second", scratch="static")
    (tmp_path / "main.c").write_text(
        '#include "one.h"\n#include "two.h"\n#include <stdio.h>\nint main(void) {\n'
        "float x[ONE_X_SIZE] = {1, 2, 3}, y[ONE_Y_SIZE], scratch[ONE_SCRATCH];\n"
        "double u[SECOND_X_SIZE] = {1, 2, 3}, v[SECOND_Y_SIZE];\n"
        "one_predict(x, y, scratch); second_predict(u, v);\n"
        'printf("%.9g %.9g %.17g %.17g %d", y[0], y[1], v[0], v[1], one_selftest() + second_selftest());\n'
        "return 0; }\n"
    )
    run("cc", *C, "-o", tmp_path / "a", *(tmp_path / name for name in ("main.c", "one.c", "two.c")), "-lm")
    found = [float(text) for text in run(tmp_path / "a").split()]
    np.testing.assert_allclose(found[:2], one.predict_one(np.array([1, 2, 3.0])), rtol=1e-5)
    np.testing.assert_allclose(found[2:4], two.predict_one(np.array([1, 2, 3.0])), rtol=1e-13)
    assert found[4] == 0


# ---- the program of the page ----------------------------------------------------------------------------------------


def test_the_digits_by_the_program_of_the_page(tmp_path, monkeypatch):
    """The model, the C program and the command as docs/c-export.md shows them: as many right as in Python."""
    monkeypatch.chdir(tmp_path)
    page = DOCS.read_text(encoding="utf-8")
    namespace: dict = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], namespace)
    program = re.search(r"```c main.c\n(.*?)```", page, re.DOTALL)[1]
    assert len(program.splitlines()) <= 20
    Path("main.c").write_text(program)
    run("cc", *C, *WARNINGS, "main.c", "digits.c", "-lm")
    labels = namespace["model"].predict(namespace["X_test"]).argmax(axis=1)
    rows, right = len(labels), int((labels == namespace["y_test"]).sum())
    assert right > 0.9 * rows
    printed = run("./a.out", input=Path("test.txt").read_bytes()).decode()
    assert printed == f"{right} of {rows} right, wrong in the self-test: 0\n"


# ---- 32 bits --------------------------------------------------------------------------------------------------------


def targets_of_32_bits(folder) -> list[tuple[str, ...]]:
    """Commands of compilers found here that make code of 32 bits without a C library."""
    (folder / "empty.c").write_text("int empty;\n")
    board = ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
    known = [board, *((compiler, "-m32") for compiler in COMPILERS)]
    empty = ("-c", str(folder / "empty.c"), "-o", str(folder / "empty.o"))
    found = [target for target in known if shutil.which(target[0])]
    return [target for target in found if subprocess.run([*target, *empty], capture_output=True).returncode == 0]


@pytest.mark.parametrize("wide", [True, False])
def test_compilers_of_32_bits_have_nothing_to_warn_of(wide, tmp_path):
    """Loops whose ends a compiler knows when it has inlined them: none may look as if it ran beyond the memory."""
    targets = targets_of_32_bits(tmp_path)
    for widths in ((64, 64, 64, 10), (4, 32, 32, 1), (64, 64), (7, 5, 3, 2)):
        layers = [pn.Dense(units, activation="relu") for units in widths[1:]]
        pn.export.to_c(pn.Sequential([pn.Input(widths[0]), *layers]), tmp_path / "net.c", wide=wide, math=False)
        for target in targets:
            for level in ("-O1", "-O2", "-O3"):
                flags = (*C, *WARNINGS, "-ffreestanding", level, "-c", "-o", tmp_path / "net.o")
                run(*target, *flags, tmp_path / "net.c")


# ---- numbers and texts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_read_back_to_the_bit(dtype):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 63, 5000, np.uint64).view(np.float64 if dtype == np.float64 else np.float32)
    info = np.finfo(dtype)
    edges = np.array([0, -0.0, 1, 2**40, info.tiny, info.smallest_subnormal, info.max, -0.1], dtype)
    values = np.concatenate([bits[np.isfinite(bits)], edges])
    texts = [c_text.number(v, dtype) for v in values]
    assert all(re.fullmatch(r"-?\d+(\.\d+)?(e[-+]\d+)?F?", text) and re.search("[.e]", text) for text in texts)
    assert all(text.endswith("F") == (dtype == np.float32) for text in texts)
    back = np.array([dtype(text.rstrip("F")) for text in texts])
    assert np.array_equal(back.view(f"u{back.itemsize}"), values.view(f"u{back.itemsize}"))
    assert c_text.number(1, np.float32) == "1.0F"


@pytest.mark.parametrize("flags", [C, CXX], ids=" ".join)
def test_class_names(flags, tmp_path):
    """Quotes, backslashes, trigraphs, other scripts, a digit behind an escape."""
    names = ['say "no"', "back\\slash", "what??/now", "été1", "日本", "new\nline", "", "*/ /*"]
    model = small()
    model.metadata["classes"] = names
    pn.export.to_c(model, tmp_path / "net.c")
    (tmp_path / "main.c").write_text(
        '#include "net.h"\n#include <stdio.h>\nint main(void) { unsigned k;\n'
        'for (k = 0; k < NET_CLASSES; k++) printf("%s|", net_classes[k]);\nreturn 0; }\n'
    )
    run("cc", *flags, *WARNINGS, "-o", tmp_path / "a", tmp_path / "main.c", tmp_path / "net.c", "-lm")
    assert run(tmp_path / "a").decode().split("|")[:-1] == names


def test_the_prefix_reaches_names_and_nothing_else(tmp_path):
    """Texts, names of files and layers that look like names of ours stay as they are."""
    model = pn.Sequential([pn.Input(2, name="net_in"), pn.Dense(1, name="NET_out")])
    model.metadata["classes"] = ["net_profit", "/* net_loss", 'a "NET_" b']
    pn.export.to_c(model, tmp_path / "net_a.c", prefix="other")
    source, header = (tmp_path / "net_a.c").read_text(), (tmp_path / "net_a.h").read_text()
    assert '#include "net_a.h"' in source
    assert [text for text in model.metadata["classes"] if c_text.string(text) not in source] == []
    assert "#define OTHER_X_SIZE 2U /* net_in */" in header
    assert "/* NET_out */" in source
    left = re.findall(r"\bnet_\w+", re.sub(r'"(?:\\.|[^"\\])*"|/\*.*?\*/', "", source + header, flags=re.DOTALL), re.I)
    assert left == []


def test_a_denormal_weight(tmp_path):
    model = pn.Sequential([pn.Input(1), pn.Dense(1, use_bias=False)])
    model.set_weights([np.array([[1e-42]], np.float32)])
    made = c_programs.Program(tmp_path, {"net": model}, tests=1)
    rows = {"net": [np.full((1, 1), 1e10, np.float32)]}
    (y,) = made.predict(made.binary("cc", *C, "-O1"), rows)["net"]
    assert y[0, 0] == np.float32(1e-42) * np.float32(1e10) > 0


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_a_chain_needs_two_layers_of_memory():
    layers = [pn.Input(8), *(pn.Dense(64, activation="relu") for _ in range(6)), pn.Dense(2)]
    assert Program(pn.Sequential(layers)).memory.size == 128
    assert Program(pn.Sequential([pn.Input(8), pn.Dense(5)])).memory.size == 0


def test_pieces_of_a_concat_are_written_in_place():
    x = pn.Input(4)
    model = pn.Model(x, pn.Dense(2)(pn.Concat()([pn.Dense(8, "tanh")(x), pn.Dense(8, "tanh")(x)])))
    made = Program(model)
    assert made.memory.size == 16
    assert "net_copy" not in [call.function for call in made.calls]


def test_values_that_live_at_the_same_time_do_not_overlap():
    """In all nets: where a value is read, nobody has written but its own op and those of its pieces."""
    for name, model in c_cases.collection("float32").items():
        made = Program(model)
        owner: dict = {}
        for op in made.ops:
            for value in (op.x, op.x2):
                if value is None:
                    continue
                array, at = made.memory.place(value)
                if array[0] != "x":
                    cells = {owner[array, k] for k in range(at, at + made.widths[value])}
                    pieces = {v for v in range(len(made.widths)) if _stands_in(made, v, value)}
                    assert cells <= pieces, f"{name}: {value} is read, found are {cells}"
            array, at = made.memory.place(op.y)
            if array[0] == "x":
                continue
            concat = KINDS[op.kind] == "concat"
            if concat and made.memory.inside.get(op.x) == (op.y, op.at):
                continue  # it was written there
            width, at = (made.widths[op.x], at + op.at) if concat else (made.widths[op.y], at)
            owner |= {(array, at + k): op.y for k in range(width)}


def _stands_in(made, value, whole) -> bool:
    """Whether a value is `whole`, or a piece that a concat has put there."""
    while value != whole and value in made.memory.inside:
        value = made.memory.inside[value][0]
    return value == whole


# ---- rows of the self-test ------------------------------------------------------------------------------------------


def test_rows_from_data(tmp_path):
    """Rows of the samples are in the file, and no others but the two edges."""
    X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) + 100
    found = c_vectors.Vectors(small(), 5, [X])
    assert len(found.inputs[0]) == 7
    assert all((row == X).all(axis=1).any() for row in found.inputs[0][:5])
    assert not found.inputs[0][5].any()
    pn.export.to_c(small(), tmp_path / "net.c", tests=5, samples=X)
    assert "net_test_x[7][3]" in (tmp_path / "net.c").read_text()


def test_rows_of_masks():
    """Are 0 and 1; at the edges all steps count."""
    model = nets.NETS["lstm_masked"]("float32")
    found = c_vectors.Vectors(model, 6)
    assert set(found.inputs[1].reshape(-1).tolist()) == {0.0, 1.0}
    assert (found.inputs[1][6:] == 1).all()
    assert all(y.any() for y in found.outputs)


def test_lines_are_no_longer_than_usual(tmp_path):
    pn.export.to_c(c_cases.placed("float32"), tmp_path / "net.c")
    for path in tmp_path.iterdir():
        assert max(map(len, path.read_text().splitlines())) <= 120


def test_without_a_self_test(tmp_path):
    pn.export.to_c(small(), tmp_path / "net.c", tests=0)
    text = (tmp_path / "net.c").read_text() + (tmp_path / "net.h").read_text()
    assert "test" not in text
    assert "TOLERANCE" not in text


def test_a_row_at_a_jump_is_no_test_row():
    """At 0 the step of 3 x - x - 2 x says nothing; away from it everything is exact."""
    x = pn.Input(2)
    h = pn.Dense(1, use_bias=False)(x)
    model = pn.Model(x, pn.Activation("step")(h))
    model.set_weights([np.array([[0.1], [-0.1]], np.float32)])
    X = np.array([[0.3, 0.3], [0.5, 0.1]], np.float32)
    found = c_vectors.Vectors(model, 2, [X])
    assert (found.inputs[0] == X[1]).all(axis=1).any()
    assert not (found.inputs[0] == X[0]).all(axis=1).any()


def test_no_row_can_be_a_test_row(tmp_path):
    """All results are beyond float32."""
    model = pn.Sequential([pn.Input(1), pn.Dense(1), pn.Dense(1)])
    model.set_weights([np.full(shape, 3e38, np.float32) for shape in ((1, 1), (1,), (1, 1), (1,))])
    with pytest.raises(ValueError, match=r"none of \d+ rows can be a test row.*tests=0"):
        pn.export.to_c(model, tmp_path / "net.c")
    assert list(tmp_path.iterdir()) == []


# ---- the package ----------------------------------------------------------------------------------------------------


def test_the_runtime_is_installed_with_the_package():
    """README.md has these tests run on what pip installed from the wheel."""
    names = {path.name for path in resources.files(export).joinpath("runtime").iterdir()}
    used = {"float", "double", "libm", "own_math", "wide", "narrow", *c_fragments.COMMON, *c_fragments.INTEGERS}
    assert names == {f"{name}.h" for name in used}


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"prefix": "int"}, ValueError, "prefix must be no keyword of C or C\\+\\+, got 'int'"),
        ({"prefix": "template"}, ValueError, "keyword"),
        ({"prefix": "2nd"}, ValueError, "prefix must be a C identifier .* got '2nd'"),
        ({"prefix": "a-b"}, ValueError, "C identifier"),
        ({"prefix": "_a"}, ValueError, "C identifier"),
        ({"prefix": "a__b"}, ValueError, "single underscores"),
        ({"prefix": "a_"}, ValueError, "C identifier"),
        ({"prefix": ""}, ValueError, "C identifier"),
        ({"prefix": "é"}, ValueError, "C identifier"),
        ({"prefix": "a" * 41}, ValueError, "1 to 40"),
        ({"prefix": 3}, TypeError, "prefix must be a string, got int"),
        ({"scratch": "heap"}, ValueError, "unknown scratch 'heap'"),
        ({"math": "no"}, TypeError, "math must be True or False"),
        ({"wide": 1}, TypeError, "wide must be True or False"),
        ({"stream": None}, TypeError, "stream must be True or False"),
        ({"tests": -1}, ValueError, "tests must be in 0..1000, got -1"),
        ({"tests": 1.5}, TypeError, "tests must be an integer"),
        ({"samples": np.zeros((2, 4))}, ValueError, "samples: X must have shape"),
        ({"samples": np.zeros((0, 3))}, ValueError, "samples must have at least one row"),
        ({"samples": np.full((1, 3), np.inf)}, ValueError, "samples must be finite"),
    ],
)
def test_impossible_arguments(options, error, text, tmp_path):
    with pytest.raises(error, match=text):
        pn.export.to_c(small(), tmp_path / "net.c", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["net", "net.h", "net.cpp", "net.C", "a b.c", "int.c", ".c"])
def test_impossible_file_names(name, tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.c|prefix must be"):
        pn.export.to_c(small(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_parameter_that_is_not_finite(tmp_path):
    model = small()
    model.arena[0] = np.nan
    with pytest.raises(ValueError, match=r"parameter 'dense_1\.kernel' has NaN or infinite values"):
        pn.export.to_c(model, tmp_path / "net.c")
    assert list(tmp_path.iterdir()) == []


def test_a_fold_that_overflows(tmp_path):
    model = pn.Sequential([pn.Input(2), pn.Dense(2, name="d"), pn.BatchNorm(epsilon=1e-30, name="n")])
    state = model.state_dict()
    state["n.gamma"][:], state["n.variance"][:] = 1e30, 0
    model.load_state_dict(state)
    with pytest.raises(ValueError, match="layer 'd': its kernel exceeds float32 when norms are folded in"):
        pn.export.to_c(model, tmp_path / "net.c")


def test_classes_that_are_numbers_are_texts_in_c(tmp_path):
    model = small()
    model.metadata["classes"] = [3, 2.0, 0.5, True]
    pn.export.to_c(model, tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()
    assert re.findall(r'^    "(.*)",?$', text, re.MULTILINE) == ["3", "2", "0.5", "True"]


@pytest.mark.parametrize("classes", ["abc", [1, None], [b"a", b"b"], ["a\0b"], {"a": 1}])
def test_impossible_class_names(classes, tmp_path):
    model = small()
    model.metadata["classes"] = classes
    with pytest.raises(ValueError, match="metadata entry 'classes' must be a list of texts or numbers"):
        pn.export.to_c(model, tmp_path / "net.c")
    assert list(tmp_path.iterdir()) == []


def test_both_files_or_none(tmp_path):
    """A C file that cannot be written leaves the old header, or none."""
    (tmp_path / "net.c").mkdir()
    with pytest.raises(OSError, match="cannot write the file"):
        pn.export.to_c(small(), tmp_path / "net.c")
    assert os.listdir(tmp_path) == ["net.c"]
    (tmp_path / "net.h").write_text("old")
    with pytest.raises(OSError, match="cannot write the file"):
        pn.export.to_c(small(), tmp_path / "net.c")
    assert sorted(os.listdir(tmp_path)) == ["net.c", "net.h"]
    assert (tmp_path / "net.h").read_text() == "old"


def test_a_header_that_cannot_be_written(tmp_path):
    (tmp_path / "net.h").mkdir()
    with pytest.raises(OSError, match="cannot write the file"):
        pn.export.to_c(small(), tmp_path / "net.c")
    assert os.listdir(tmp_path) == ["net.h"]
    with pytest.raises(OSError, match="nowhere"):
        pn.export.to_c(small(), tmp_path / "nowhere" / "net.c")


def test_existing_files_are_replaced(tmp_path):
    for seed in (1, 2):
        pn.export.to_c(small(random_state=seed), tmp_path / "net.c")
        texts = [(tmp_path / name).read_text() for name in ("net.c", "net.h")]
    pn.export.to_c(small(random_state=2), tmp_path / "again.c", prefix="net")
    assert texts[0] == (tmp_path / "again.c").read_text().replace("again", "net")
    assert sorted(os.listdir(tmp_path)) == ["again.c", "again.h", "net.c", "net.h"]
