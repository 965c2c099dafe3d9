"""Integer networks as C: the same bits as in NumPy, from every compiler, and exactly the bytes that were promised."""

import re
import shutil

import integers
import numpy as np
import pytest
from helpers import assert_same_bits, assert_within

import pynet as pn
from pynet.export import c_fragments


@pytest.fixture(scope="module")
def digits():
    model, data = integers.digits_net()
    return model.quantize(data[0]), data


def assert_same(compiled, model, arrays) -> None:
    """Both ways into the C code, floats and integers, give the bits of the NumPy machine."""
    expected = [y.reshape(len(y), -1) for y in integers.as_list(model.predict(integers.as_X(arrays)))]
    for actual, wanted in zip(compiled.predict(arrays), expected, strict=True):
        assert_same_bits(actual, wanted)
    flat = [x.reshape(len(x), -1) for x in arrays]
    ours = zip(model.inputs, flat, strict=True)
    q = [i.integers(x, model.values[i.value].q).astype(model.values[i.value].q.dtype) for i, x in ours]
    expected = [y.reshape(len(y), -1) for y in integers.as_list(model.predict_integers(integers.as_X(arrays)))]
    for actual, wanted in zip(compiled.predict(q, integers=True), expected, strict=True):
        assert_same_bits(actual, wanted)


@pytest.mark.parametrize("name", integers.NETS)
def test_every_net_gives_the_bits_of_numpy(name, tmp_path):
    for activations in ("int8", "int16"):
        model, _, quantized = integers.quantized(name, activations)
        compiled = integers.Compiled(quantized, tmp_path, f"a{activations}")
        assert compiled.selftest() == 0
        kinds = (integers.rows_for(model, 40, 1), integers.rows_for(model, 20, 2, 30.0), integers.edge_rows(model))
        assert_same(compiled, quantized, [np.concatenate(parts) for parts in zip(*kinds, strict=True)])


def wide(activations: str, width: int):
    """A net whose sums need 64 bits: all weights the largest; and rows at both ends of the range."""
    x = pn.Input(width)
    model = pn.Model(x, pn.Dense(2)(x))
    signs = np.stack([np.ones(width), np.where(np.arange(width) % 2, 1, -1)], axis=1)
    model.load_state_dict({"dense_1.kernel": signs, "dense_1.bias": [0.5, 0.25]})
    rows = np.stack([np.full(width, -1.0), np.full(width, 1.0), signs[:, 1], -signs[:, 1]]).astype(np.float32)
    return model, rows, model.quantize(rows, activations)


WIDE = [("int16", 1000), ("int8", 140_000)]


def test_every_function_of_the_runtime_is_used(tmp_path):
    names = [name for name in integers.NETS if re.search("dense|norm|lstm|prelu|merge|softmax|compact", name)]
    models = [integers.quantized(name, kind)[2] for name in names for kind in ("int8", "int16")]
    used = set()
    for model in [*models, *(wide(*arguments)[2] for arguments in WIDE)]:
        pn.export.to_c(model, tmp_path / "net.c")
        used |= set(c_fragments.NAME.findall((tmp_path / "net.c").read_text()))
    for file in c_fragments.INTEGERS:
        for block in c_fragments.blocks(file):
            assert set(c_fragments.DEFINED.findall(block)) <= used


def ends(which):
    """Nets whose outputs are inputs, or the same value twice."""
    x = pn.Input(3)
    h = pn.Dense(4, activation="relu")(x)
    return pn.Model(x, {"twice": [h, h], "an input": [x, h, x], "nothing": [x], "read on": [h, pn.Dense(2)(h)]}[which])


@pytest.mark.parametrize("which", ["twice", "an input", "nothing", "read on"])
def test_outputs_that_are_something_else_as_well(which, tmp_path):
    model = ends(which)
    quantized = model.quantize(integers.rows_for(model, 50)[0])
    compiled = integers.Compiled(quantized, tmp_path)
    assert compiled.selftest() == 0
    assert_same(compiled, quantized, integers.rows_for(model, 20, 1))
    quantized.save(tmp_path / "q.safetensors")
    assert_same(compiled, pn.load(tmp_path / "q.safetensors"), integers.rows_for(model, 20, 2))


def test_random_graphs(tmp_path):
    for k, (model, X) in enumerate(integers.random_nets(24)):
        quantized = model.quantize(integers.as_X(X), ("int8", "int16")[k % 2])
        compiled = integers.Compiled(quantized, tmp_path, f"g{k}")
        assert compiled.selftest() == 0
        assert_same(compiled, quantized, X)


@pytest.mark.parametrize("compiler", integers.COMPILERS)
@pytest.mark.parametrize("level", ["-O0", "-O3"])
def test_the_whole_test_set_of_the_digits(digits, tmp_path, compiler, level):
    model, (_, X, _, _) = digits
    compiled = integers.Compiled(model, tmp_path, compiler=compiler, flags=(level,))
    assert compiled.selftest() == 0
    assert_same(compiled, model, [X.astype(np.float32)])
    rng = np.random.default_rng(0)
    assert_same(compiled, model, [rng.uniform(-50, 300, (200, 64)).astype(np.float32)])
    classes = model.predict_integers(X).argmax(axis=1)
    rows = model.predict_integers(X)
    argmax = [compiled.library.net_argmax(np.ctypeslib.as_ctypes(row), 10) for row in rows]
    assert argmax == classes.tolist()


def test_no_fused_multiply_add_changes_the_bits(tmp_path):
    """Shift, scale and rounding of the float wrapper, where a compiler may fuse what it likes."""
    shift, scale = np.linspace(-3, 5, 7), np.linspace(0.1, 2.3, 7)
    x = pn.Input(7, shift=shift, scale=scale)
    model = pn.Model(x, pn.Dense(3)(x))
    quantized = model.quantize(integers.rows_for(model, 100, size=4.0)[0], "int16")
    native = ("-O3", "-march=native", "-ffp-contract=fast")
    compiled = integers.Compiled(quantized, tmp_path, flags=native)
    assert_same(compiled, quantized, integers.rows_for(model, 3000, 5, 4.0))


@pytest.mark.parametrize(("activations", "width"), WIDE)
def test_sums_of_more_than_32_bits(activations, width, tmp_path):
    model, ends, quantized = wide(activations, width)
    assert quantized.ops[0].is_wide(quantized.values)
    compiled = integers.Compiled(quantized, tmp_path, flags=("-O1", "-DNET_NO_SELFTEST"))
    assert_same(compiled, quantized, [np.concatenate([ends, 10 * ends])])
    assert_within(quantized.predict(ends), model.predict(ends), 0.01 * width)


def test_whole_numbers_enter_without_floats(digits, tmp_path):
    model, (_, X, _, _) = digits
    compiled = integers.Compiled(model, tmp_path)
    q = np.empty((len(X), 64), np.int8)
    for row, out in zip(np.ascontiguousarray(X), q, strict=True):
        compiled.library.net_quantize_u8(np.ctypeslib.as_ctypes(row), np.ctypeslib.as_ctypes(out))
    assert_same_bits(compiled.predict([q], integers=True)[0], model.predict_integers(X))


@pytest.mark.parametrize("name", ["digits", "dropout_of_a_merge", "prelu_everywhere", "wide_rows", "lstm_masked"])
def test_it_is_cpp_too(name, digits, tmp_path):
    model = digits[0] if name == "digits" else integers.quantized(name, "int8")[2]
    pn.export.to_c(model, tmp_path / "net.c", prefix="my_Net2")
    compilers = [found for found in map(shutil.which, ("g++", "clang++")) if found]
    if not compilers:
        pytest.skip("there is no C++ compiler")
    for compiler in compilers:
        integers.run(compiler, "-x", "c++", *integers.STRICT, "-c", tmp_path / "net.c", "-o", tmp_path / "net.o")


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", ["digits", "dropout_of_a_merge", "prelu_everywhere", "wide_rows", "wide_sequences"])
def test_nothing_is_undefined(name, activations, digits, tmp_path):
    """The self-test, whose rows reach the ends of the range, traps wherever C leaves something undefined."""
    model = digits[0] if name == "digits" else integers.quantized(name, activations)[2]
    pn.export.to_c(model, tmp_path / "net.c")
    (tmp_path / "main.c").write_text('#include "net.h"\nint main(void) { return net_selftest(); }\n')
    sanitize = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error", "-O1", "-g")
    files = (tmp_path / "main.c", tmp_path / "net.c", "-o", tmp_path / "main")
    integers.run(integers.COMPILERS[0], "-std=c99", *integers.STRICT, *sanitize, *files)
    integers.run(tmp_path / "main")


def test_integers_alone_and_nobody_to_call(digits, tmp_path):
    """Without the wrapper there is no float in the file, and never a function of another library."""
    pn.export.to_c(digits[0], tmp_path / "net.c")
    text = integers.run(integers.COMPILERS[0], "-E", "-P", "-DNET_NO_FLOAT", "-DNET_NO_SELFTEST", tmp_path / "net.c")
    words = set(re.findall(r"\w+", text))
    assert "net_predict_q" in words
    assert not words & {"float", "double", "malloc", "memcpy", "net_selftest", "net_predict"}
    object_file = tmp_path / "net.o"
    integers.run(integers.COMPILERS[0], "-O0", "-fno-stack-protector", "-c", tmp_path / "net.c", "-o", object_file)
    undefined = integers.run("nm", "-u", object_file).split()
    assert [name for name in undefined if name not in ("U", "_GLOBAL_OFFSET_TABLE_")] == []


@pytest.mark.parametrize(
    "name", ["digits", "prelu_everywhere", "pruned_and_shared", "compact", "layer_norm_everywhere", "lstm"]
)
def test_footprint_is_what_the_compiler_makes(name, digits, tmp_path):
    for activations in ("int8", "int16"):
        model = digits[0] if name == "digits" else integers.quantized(name, activations)[2]
        compiled = integers.Compiled(model, tmp_path, f"n{activations}")
        integers.run(integers.COMPILERS[0], "-O0", "-c", tmp_path / f"n{activations}.c", "-o", tmp_path / "net.o")
        sizes = {}
        for line in integers.run("nm", "-S", tmp_path / "net.o").splitlines():
            parts = line.split()
            if len(parts) == 4 and parts[2] in "rRdDbB":
                sizes[parts[3]] = int(parts[1], 16)
        test = {symbol for symbol in sizes if "_test_" in symbol}
        wrapper = {symbol for symbol in sizes if re.search(r"_(shift|factor)_in\d+$", symbol)}
        found = model.footprint()
        assert test
        assert sum(sizes[symbol] for symbol in sizes.keys() - test - wrapper) == found.flash
        assert sum(sizes[symbol] for symbol in wrapper) == found.wrapper
        assert int(compiled.sizes[f"N{activations.upper()}_MEMORY"]) == max(found.ram // 2, 1)


CHAINS = [  # functions that are on the stack at the same time
    ("predict_q", "dots8", "rest8"),
    ("predict_q", "dots16", "rest16"),
    ("predict_q", "wide_dot16"),
    ("predict_q", "rescale", "shift"),
    ("predict_q", "line", "between", "shift"),
    ("predict_q", "softmax", "power"),
    ("predict_q", "moments8", "root"),
    ("predict_q", "moments16", "root"),
]


@pytest.mark.parametrize("flags", [("-O0", "-DNET_NO_SIMD"), ("-O3", "-march=native")], ids=" ".join)
def test_the_stack_is_no_larger(flags, digits, tmp_path):
    """By gcc's report of each function; other compilers write none."""
    if "Free Software Foundation" not in integers.run(integers.COMPILERS[0], "--version"):
        return
    for k, name in enumerate(["digits", *integers.NETS[::8], "lstm", "lstm_masked"]):
        model = digits[0] if name == "digits" else integers.quantized(name, ("int8", "int16")[k % 2])[2]
        pn.export.to_c(model, tmp_path / "net.c")
        options = ("-std=c99", *flags, "-DNET_NO_SELFTEST", "-DNET_NO_FLOAT", "-fstack-usage", "-c")
        integers.run(integers.COMPILERS[0], *options, tmp_path / "net.c", "-o", tmp_path / "net.o")
        report = (tmp_path / "net.su").read_text()
        sizes = {found[1]: int(found[2]) for found in re.finditer(r":net_(\w+)[.\w]*\t(\d+)\t", report)}
        assert "predict_q" in sizes
        worst = max(sum(sizes.get(function, 0) for function in chain) for chain in CHAINS)
        assert worst <= model.footprint().stack, name


def test_square_roots_are_exact(tmp_path):
    """Of squares, of what is one less, and of the last number before the next square."""
    pn.export.to_c(integers.quantized("layer_norm", "int8")[2], tmp_path / "net.c")
    (tmp_path / "main.c").write_text("""
        #include "net.c"
        int main(void)
        {
            int64_t k;
            for (k = 1; k < (INT64_C(1) << 31) - 100000; k += k / 1000 + 1) {
                if (net_root(k * k) != k || net_root(k * k - 1) != k - 1 || net_root(k * k + 2 * k) != k) {
                    return 1;
                }
            }
            return net_root(0) != 0;
        }
    """)
    integers.run(integers.COMPILERS[0], "-O1", tmp_path / "main.c", "-o", tmp_path / "main")
    integers.run(tmp_path / "main")


def test_the_selftest_notices_a_changed_weight(digits, tmp_path):
    model, _ = digits
    pn.export.to_c(model, tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()
    begin = text.index("net_w2[640] = {") + len("net_w2[640] = {")
    first, rest = text[begin:].split(",", 1)
    changed = text[:begin] + f"\n    {(int(first) + 64) % 128}," + rest
    (tmp_path / "net.c").write_text(changed)
    (tmp_path / "main.c").write_text('#include "net.h"\nint main(void) { return net_selftest() == 0; }\n')
    integers.run(integers.COMPILERS[0], tmp_path / "main.c", tmp_path / "net.c", "-o", tmp_path / "main")
    integers.run(tmp_path / "main")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scratch": "static"}, "scratch has no meaning for an integer network"),
        ({"math": False}, "math has no meaning"),
        ({"wide": False}, "wide has no meaning"),
        ({"stream": True}, "stream has no meaning"),
        ({"tests": 0}, "tests has no meaning"),
        ({"samples": np.zeros((2, 64))}, "samples has no meaning"),
        ({"prefix": "int"}, "prefix must be no keyword"),
    ],
)
def test_what_has_no_meaning(options, text, digits, tmp_path):
    with pytest.raises(ValueError, match=text):
        pn.export.to_c(digits[0], tmp_path / "net.c", **options)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written(digits, tmp_path):
    model, _ = digits
    with pytest.raises(TypeError, match="model must be a Model, a TableModel or a QuantizedModel, got ndarray"):
        pn.export.to_c(np.zeros(3), tmp_path / "net.c")
    with pytest.raises(ValueError, match=r"path must end in \.c, got '.*net\.h'"):
        pn.export.to_c(model, tmp_path / "net.h")
    with pytest.raises(OSError, match="cannot write the file"):
        pn.export.to_c(model, tmp_path / "nowhere" / "net.c")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "net.c").mkdir()  # the second file that is written
    with pytest.raises(OSError):
        pn.export.to_c(model, tmp_path / "net.c")
    assert [path.name for path in tmp_path.iterdir()] == ["net.c"]


def test_the_names_of_the_classes(tmp_path):
    """In the metadata of the model that was quantised, as in the file of floats; the prefix is the name of the file."""
    model = pn.Sequential([pn.Input(2), pn.Dense(3)])
    model.metadata["classes"] = ["net_a", 'b"?', "é"]
    quantized = model.quantize(np.eye(2))
    pn.export.to_c(quantized, tmp_path / "zoo.c")
    (tmp_path / "main.c").write_text("""
        #include <stdio.h>
        #include "zoo.h"
        int main(void) {
            unsigned k;
            for (k = 0; k < ZOO_CLASSES; k++) puts(zoo_classes[k]);
            return zoo_selftest();
        }
    """)
    files = (tmp_path / "main.c", tmp_path / "zoo.c", "-o", tmp_path / "main")
    integers.run(integers.COMPILERS[0], "-std=c99", *integers.STRICT, *files)
    assert integers.run(tmp_path / "main").splitlines() == model.metadata["classes"]
    quantized.metadata["classes"] = [None]
    with pytest.raises(ValueError, match="'classes' must be a list of texts or numbers"):
        pn.export.to_c(quantized, tmp_path / "zoo.c")
