"""Random numbers as layers draw them, and bounds that chance breaks once in a million tests."""

from statistics import NormalDist

import helpers
import numpy as np

import pynet as pn
from pynet.plan import Job, build

ALPHA = 1e-6
NORMAL = NormalDist()


def quantile(tests: int = 1) -> float:
    """Deviations that one of `tests` normal numbers exceeds with probability ALPHA."""
    return NORMAL.inv_cdf(1 - ALPHA / tests / 2)


def chi_square_bound(freedom: int, tests: int = 1) -> float:
    """What a chi-square of so many degrees of freedom exceeds with probability ALPHA (Wilson, Hilferty 1931)."""
    h = 2 / (9 * freedom)
    return freedom * (1 - h + NORMAL.inv_cdf(1 - ALPHA / tests) * h**0.5) ** 3


def distance_bound(n: int) -> float:
    """What the Kolmogorov-Smirnov distance of n numbers exceeds with probability below ALPHA (Massart 1990)."""
    return (np.log(2 / ALPHA) / (2 * n)) ** 0.5


def distance(numbers, cdf) -> float:
    """The Kolmogorov-Smirnov distance of numbers from a distribution."""
    at = cdf(np.sort(numbers, axis=None))
    steps = np.arange(len(at) + 1) / len(at)
    return max(np.max(steps[1:] - at), np.max(at - steps[:-1]))


def normal_cdf(x):
    """Phi, by interpolation in a table of the standard library's."""
    grid = np.linspace(-8, 8, 16001)
    return np.interp(x, grid, [NORMAL.cdf(float(g)) for g in grid])


def assert_uncorrelated(a, b, tests: int = 1, what: str = "") -> None:
    """Two arrays of independent numbers: the correlation of n pairs is about normal, with deviation 1/sqrt(n)."""
    a, b = (np.asarray(x, np.float64).reshape(-1) for x in (a, b))
    r = np.corrcoef(a, b)[0, 1]
    assert abs(r) < quantile(tests) / len(a) ** 0.5, f"{what}: correlation {r:.4f} of {len(a)} pairs"


def net(layers, width, dtype="float32"):
    """The layers one behind the other."""
    layers = layers if isinstance(layers, list) else [layers]
    return pn.Sequential([pn.Input(width), *layers], dtype=dtype)


def draw(model, x, seed=0, step=0, executor=None, batch=None):
    """What the model makes of x with its random layers at work, on any machine."""
    return draw_all(model, [x], seed, step, executor, batch)[0]


def draw_all(model, arrays, seed=0, step=0, executor=None, batch=None) -> list:
    """The same for any number of inputs and outputs."""
    executor = executor or helpers.Executor(helpers.ISAS[-1], 1)
    plan, rows = build(model, mode="sample"), len(arrays[0])
    machine = helpers.make_machine(executor, plan, model.arena, rows=batch or rows)
    outputs = [np.empty((rows, value.width), model.dtype) for value in model.outputs]
    job = Job(inputs=arrays, outputs=outputs, rows=rows, batch=batch or rows, seed=seed, step=step)
    model.run_batches(machine, job)
    return outputs


def dropped(rows, width, rate=0.5, seed=0, step=0):
    """A mask of dropout: True where nothing is left."""
    return draw(net(pn.Dropout(rate), width), np.ones((rows, width), "f4"), seed, step) == 0


def normals(rows, width, seed=0, step=0, dtype="float64"):
    return draw(net(pn.GaussianNoise(1.0), width, dtype), np.zeros((rows, width)), seed, step)


def slopes(rows, width, seed=0, step=0, lower=0.0, upper=1.0, dtype="float64"):
    """The uniform numbers of RReLU, stretched to lower..upper."""
    layer = pn.Activation(pn.activations.RReLU(lower, upper))
    return -draw(net(layer, width, dtype), -np.ones((rows, width)), seed, step)
