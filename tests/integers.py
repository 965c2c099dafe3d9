"""What the tests of integer networks share: data for any net, integers as C computes them, and which nets there are."""

import ctypes
import shutil
import warnings

import nets
import numpy as np
from libpynet import run
from test_random_graphs import model_of

import pynet as pn
from pynet import _core

WITHOUT = {_core.OPS["python"]}  # ops that have no integer form
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion")
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)] or ["cc"]


def has_form(model) -> bool:
    return not WITHOUT & set(model.plan.ops["kind"].tolist())


NETS = [name for name, make in nets.NETS.items() if has_form(make("float32"))]
REFUSED = [name for name in nets.NETS if name not in NETS]


def rows_for(model, n: int, seed: int = 0, size: float = 1.0) -> list[np.ndarray]:
    """Random rows for each input; of one called mask 0 and 1."""
    rng = np.random.default_rng(seed)
    rows = [(size * rng.normal(size=(n, *v.shape))).astype(np.float32) for v in model.inputs]
    names = [model.names[v.layer] for v in model.inputs]
    return [(x > 0).astype(np.float32) if name == "mask" else x for name, x in zip(names, rows, strict=True)]


def edge_rows(model) -> list[np.ndarray]:
    """Rows of zeros, NaN, infinities, huge numbers, and one of which a single element is huge."""
    rows = []
    for v in model.inputs:
        x = np.zeros((7, *v.shape), np.float32)
        for k, number in enumerate((np.nan, np.inf, -np.inf, 3e38, -3e38)):
            x[k + 1] = number
        x[6].reshape(-1)[0] = 1e9
        rows.append(x)
    return rows


def random_nets(n: int) -> list:
    """So many random graphs that have an integer form: (model, rows for its inputs)."""
    made, seed = [], 0
    while len(made) < n:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of dropout in front of a batch norm: it is only looked at frozen
            model = model_of(np.random.default_rng(seed))
        if has_form(model):
            made.append((model, rows_for(model, 100, seed)))
        seed += 1
    return made


def as_X(arrays: list):
    return arrays if len(arrays) > 1 else arrays[0]


def as_list(outputs) -> list:
    return outputs if isinstance(outputs, list) else [outputs]


def quantized(name: str, activations: str, seed: int = 1):
    """A net of the table, its data, and its integer form."""
    model = nets.NETS[name]("float32", seed)
    X = rows_for(model, 300)
    return model, X, model.quantize(as_X(X), activations)


def digits_net():
    """The digits net of the README's race, trained; its data as split returned it."""
    data = pn.datasets.split(*pn.datasets.load_digits(), test=0.2)
    hidden = [pn.Dense(64, activation="relu") for _ in range(2)]
    model = pn.Sequential([pn.Input(64, scale=1 / 16), *hidden, pn.Dense(10, activation="softmax")])
    pn.Trainer(model, "cross_entropy", pn.Adam(2e-3)).fit(data[0], data[2], epochs=30, verbose=0)
    return model, data


class Compiled:
    """An integer network written as C, compiled, and called."""

    GUARD = 12345

    def __init__(self, model, folder, prefix="net", compiler=COMPILERS[0], flags=("-O0",)):
        source, library = folder / f"{prefix}.c", folder / f"{prefix}-{compiler}{''.join(flags)}.so"
        pn.export.to_c(model, source, prefix=prefix)
        run(compiler, "-std=c99", *STRICT, *flags, "-shared", "-fPIC", source, "-o", library)
        self.model, self.prefix, self.library = model, prefix, ctypes.CDLL(str(library))
        lines = [line.split() for line in source.with_suffix(".h").read_text().splitlines()]
        self.sizes = {line[1]: line[2] for line in lines if line[:1] == ["#define"] and len(line) > 2}

    def selftest(self) -> int:
        return getattr(self.library, f"{self.prefix}_selftest")()

    def predict(self, arrays: list, integers: bool = False) -> list[np.ndarray]:
        """Rows of floats, or of integers, one call each."""
        name = "predict_q" if integers else "predict"
        function = getattr(self.library, f"{self.prefix}_{name}")
        size = int(self.sizes[f"{self.prefix.upper()}_{'MEMORY' if integers else 'FLOAT_MEMORY'}"])
        memory = np.full(size + 8, self.GUARD, np.int16)
        widths = [self.model.values[out.value].width for out in self.model.outputs]
        n = len(arrays[0])
        results = [np.full((n, width + 1), self.GUARD, np.int16 if integers else np.float32) for width in widths]
        rows = [np.ascontiguousarray(x.reshape(n, -1)) for x in arrays]
        for k in range(n):
            function(
                *(ctypes.c_void_p(a[k].ctypes.data) for a in (*rows, *results)), ctypes.c_void_p(memory.ctypes.data)
            )
        assert (memory[size:] == self.GUARD).all(), "memory behind the memory was written to"
        for result in results:
            assert (result[:, -1] == self.GUARD).all(), "an element behind an output was written to"
        return [np.ascontiguousarray(result[:, :-1]) for result in results]
