"""Dense layers of exported integer networks by vectors: whatever the compiler uses, the bits of NumPy."""

import ctypes
import itertools
import re
import shutil

import integers
import numpy as np
import pytest
from helpers import assert_same_bits

import pynet as pn
from pynet.export.c_fragments import INTEGERS, needed

LENGTHS = [*range(1, 71), 127, 128, 129, 200]
STRIDE, ROWS = 271, 5


def variants() -> list[tuple[str, ...]]:
    """Compiler and flags of all forms of dots.h that this processor can run."""
    flags = [("-DNET_NO_SIMD",), ("-march=native",), ("-march=native", "-DNET_NO_SIMD")]
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            known = set(re.findall(r"\w+", file.read()))
    except OSError:
        known = set()
    flags += [("-mavx2",)] if "avx2" in known else []
    flags += [("-march=armv8.2-a+dotprod",)] if "asimddp" in known else []
    return [(compiler, *f) for compiler in integers.COMPILERS for f in flags]


VARIANTS = variants()


def form(compiler: str, *flags: str) -> str:
    """Which form of dots.h a compiler takes."""
    defined = integers.run(compiler, *flags, "-dM", "-E", "-x", "c", "/dev/null")
    words = set(re.findall(r"#define (\w+)", defined))
    forms = (
        ("plain", "NET_NO_SIMD"), ("vnni", "__AVX512VNNI__"), ("avx2", "__AVX2__"), ("dot", "__ARM_FEATURE_DOTPROD"),
        ("neon", "__ARM_NEON"),
    )  # fmt: skip
    return next((name for name, macro in forms if macro in words), "plain")


def rows(rng, kind: str) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Weights [5, STRIDE] and rows of 8 and 16 bits: random, or at the ends of their ranges in all combinations."""
    if kind == "random":
        w = rng.integers(-127, 128, (ROWS, STRIDE))
        x = {bits: rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), STRIDE) for bits in (8, 16)}
    else:
        low, high = (kind[0] == "-"), (kind[1] == "-")
        w = np.full((ROWS, STRIDE), -127 if low else 127)
        w[1] = -w[1]
        w[2, ::2] = 0
        x = {bits: np.full(STRIDE, -(1 << (bits - 1)) if high else (1 << (bits - 1)) - 1) for bits in (8, 16)}
    return w.astype(np.int8), {bits: a.astype(f"i{bits // 8}") for bits, a in x.items()}


@pytest.mark.parametrize("level", ["-O0", "-O3"])
@pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)
def test_dots(variant, level, tmp_path):
    """Every length around those of vectors, 1 to 4 rows, all extremes; nothing is written behind the sums."""
    compiler, *flags = variant
    body = "\n\n".join(needed(["net_dots8", "net_dots16"], INTEGERS)).replace("static void net_dots", "void net_dots")
    head = "void net_dots{0}(const int8_t *, int32_t, int32_t, const int{0}_t *, int32_t, int32_t *);"
    heads = [head.format(bits) for bits in (8, 16)]
    (tmp_path / "dots.c").write_text("\n".join(["#include <stdint.h>", *heads, body]) + "\n")
    options = ("-std=c99", *integers.STRICT, "-Wshadow", level, *flags, "-shared", "-fPIC")
    integers.run(compiler, *options, tmp_path / "dots.c", "-o", tmp_path / "dots.so")
    library, rng = ctypes.CDLL(str(tmp_path / "dots.so")), np.random.default_rng(0)
    for kind in ("random", "--", "-+", "+-", "++"):
        w, x = rows(rng, kind)
        for n, count, bits in itertools.product(LENGTHS, (1, 2, 3, 4), (8, 16)):
            y = np.full(6, 77, np.int32)
            pointers = [ctypes.c_void_p(a.ctypes.data) for a in (w[:, 3:], x[bits][1:], y)]  # others stand behind them
            getattr(library, f"net_dots{bits}")(pointers[0], STRIDE, count, pointers[1], n, pointers[2])
            expected = w[:count, 3 : n + 3].astype(np.int64) @ x[bits][1 : n + 1].astype(np.int64)
            assert (kind, n, count, bits, y[:count].tolist()) == (kind, n, count, bits, expected.tolist())
            assert y[4:].tolist() == [77, 77]


def chain(widths, extreme: bool):
    """A network of these widths; extreme: all weights of a row at its largest."""
    layers = [pn.Dense(n, activation="relu") for n in widths[1:-1]]
    model = pn.Sequential([pn.Input(widths[0]), *layers, pn.Dense(widths[-1])], random_state=0)
    if extreme:
        rng = np.random.default_rng(1)
        signs = {name: np.sign(rng.random(a.shape) - 0.5) for name, a in model.state_dict().items()}
        model.load_state_dict(signs)
    return model


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)
def test_networks(variant, activations, tmp_path):
    """Whole networks of widths beside those of vectors, and an LSTM: the integers of the NumPy machine."""
    compiler, *flags = variant
    models = [chain((5, 3, 1), True), chain((63, 65, 33, 7), True)]
    models.append(pn.Sequential([pn.Input((3, 19)), pn.LSTM(35, return_sequences=True), pn.LSTM(6)], random_state=0))
    for k, model in enumerate(models):
        X = integers.rows_for(model, 40)[0]
        quantized = model.quantize(X, activations)
        own = [flag.replace("NET", f"N{k}") for flag in flags]
        compiled = integers.Compiled(quantized, tmp_path, f"n{k}", compiler, ("-O2", *own))
        assert compiled.selftest() == 0
        x = np.concatenate([X, 100 * X])
        assert_same_bits(compiled.predict([x])[0], quantized.predict(x))


@pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)
def test_every_variant_is_cpp_too(variant, tmp_path):
    compiler, *flags = variant
    found = shutil.which({"gcc": "g++", "cc": "c++", "clang": "clang++"}[compiler])
    assert found
    for activations in ("int8", "int16"):
        model = chain((5, 3, 1), False)
        pn.export.to_c(model.quantize(integers.rows_for(model, 20)[0], activations), tmp_path / "net.c")
        options = ("-x", "c++", *integers.STRICT, *flags, "-c")
        integers.run(found, *options, tmp_path / "net.c", "-o", tmp_path / "net.o")


def test_the_vectors_are_used():
    """Of an x86-64 processor with AVX2 the forms differ: the tests above test what they say."""
    forms = {variant: form(*variant) for variant in VARIANTS}
    for compiler in integers.COMPILERS:
        assert forms[compiler, "-DNET_NO_SIMD"] == forms[compiler, "-march=native", "-DNET_NO_SIMD"] == "plain"
        if (compiler, "-mavx2") in forms:
            assert forms[compiler, "-mavx2"] == "avx2"
            assert forms[compiler, "-march=native"] in ("avx2", "vnni")
