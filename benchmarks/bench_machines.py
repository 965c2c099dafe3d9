"""pytest-benchmark: the C machine beside the NumPy machine, in groups.

pytest benchmarks/bench_machines.py                             (pip install .[bench])
pytest benchmarks/bench_machines.py --benchmark-autosave        then, later, --benchmark-compare
"""

from __future__ import annotations

import numpy as np
import pytest

import pynet as pn

NETS = {"64-64-64-10": (64, 64, 64, 10), "784-128-10": (784, 128, 10), "784-512-256-10": (784, 512, 256, 10)}


def trainer(sizes, backend: str) -> pn.Trainer:
    hidden = [pn.Dense(n, activation="relu") for n in sizes[1:-1]]
    model = pn.Sequential([pn.Input(sizes[0]), *hidden, pn.Dense(sizes[-1], activation="softmax")])
    return pn.Trainer(model, "cross_entropy", pn.Adam(1e-4), backend=backend, n_threads=1)


def data(sizes, rows: int):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, sizes[0])).astype(np.float32), rng.integers(0, sizes[-1], rows)


@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize("batch", [32, 256])
@pytest.mark.parametrize("net", NETS)
def test_ten_steps(benchmark, net, batch, backend):
    benchmark.group = f"10 steps {net} @{batch}"
    X, y = data(NETS[net], 10 * batch)
    t = trainer(NETS[net], backend)
    benchmark(t.fit, X, y, epochs=1, batch_size=batch, verbose=0)
    assert np.isfinite(t.history.history["loss"][-1])


@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize("rows", [1, 32, 1024])
@pytest.mark.parametrize("net", NETS)
def test_predict(benchmark, net, rows, backend):
    benchmark.group = f"predict {net} @{rows}"
    X, _ = data(NETS[net], rows)
    model = trainer(NETS[net], backend).model
    assert benchmark(model.predict, X, backend=backend).shape == (rows, 10)
