"""Layer by layer: the optimal brain surgeon on the inputs and outputs of each Dense layer.

For a layer z = W' x + b the loss is taken to be, with x over the rows of the calibration data and g = dL/dz,

    L(W + D) - L(W) = 1/2 sum_o s_o D_o' H D_o,    H = cov(x) + damping,  s_o = E[g_o^2]

H is that of the squared error of z (Dong, Chen, Pan 2017, "L-OBS"), with the bias free to follow; s_o, the curvature of
the network's loss by output o (Martens, Grosse 2015, K-FAC, of its second factor the diagonal), makes the costs of rows
and layers comparable.  All outputs share H, so each is pruned for itself: see csrc/obs.c.
"""

from __future__ import annotations

import numpy as np

from . import _core
from .arrays import as_inputs
from .layers import Dense
from .opened import Flow
from .plan import Job, build

__all__ = ["Problem", "choose", "collect", "reconstruct"]

CHUNK = 1024  # rows looked at at a time
BLOCK = 32  # inputs whose weights go together, in wide layers


class Problem:
    """What is known of one Dense layer, in float64.

    Attributes
    ----------
    name : str
        Of its kernel.
    W, b : arrays [I, O], [O] or None
        As they are before pruning.
    H : array [I, I]
        Second moments of its inputs about their means (without a bias: about 0).
    s : array [O]
        Mean squares of the gradients by its outputs.
    diagonal : array [I, O]
        Of the Gauss-Newton matrix of the loss: the mean of x_i^2 g_o^2.
    """

    def __init__(self, model, layer: Dense):
        own = model.parameters()
        self.layer = model.names[layer]
        self.name, bias = f"{self.layer}.kernel", f"{self.layer}.bias"
        self.W = own[self.name].astype(np.float64)
        self.b = own[bias].astype(np.float64) if layer.use_bias else None
        self.s, self.diagonal = np.zeros(self.W.shape[1]), np.zeros(self.W.shape)
        self.moments = Moments(self.W.shape[0], 0, layer.use_bias)

    def add(self, x, g, rows: int) -> None:
        """Count what a call of the layer read and the gradients by what it made, of `rows` rows in all."""
        self.moments.add(x)
        if g is not None:
            self.s += (g * g).sum(axis=0) / rows
            self.diagonal += (x * x).T @ (g * g) / rows

    @property
    def H(self):
        return self.moments.xx()


class Moments:
    """Sums over rows of x x' and x z', about the means if `centred`."""

    def __init__(self, inputs: int, outputs: int, centred: bool):
        self.centred, self.n = centred, 0
        self.x, self.z = np.zeros(inputs), np.zeros(outputs)
        self._xx, self._xz = np.zeros((inputs, inputs)), np.zeros((inputs, outputs))

    def add(self, x, z=None) -> None:
        x = x.astype(np.float64)
        self.n += len(x)
        self.x += x.sum(axis=0)
        self._xx += x.T @ x
        if z is not None:
            self.z += z.sum(axis=0)
            self._xz += x.T @ z

    def xx(self):
        return (self._xx - (np.outer(self.x, self.x) / self.n if self.centred else 0)) / self.n

    def xz(self):
        return (self._xz - (np.outer(self.x, self.z) / self.n if self.centred else 0)) / self.n


def damped(H, damping: float):
    """Return H + damping * mean diagonal * 1: inputs that never move are no longer without consequence."""
    return H + np.eye(len(H)) * (damping * np.diag(H).mean() or 1.0)


# ---- what the data say ----------------------------------------------------------------------------------------------


def collect(model, layers: list, inputs: list, random_state: int) -> list[Problem]:
    """Return the problems of Dense layers, from rows and targets drawn from what the model predicts for them."""
    problems = {model.names[layer]: Problem(model, layer) for layer in layers}
    for name, x, g in looks(model, problems, inputs, random_state):
        problems[name].add(x, g, len(inputs[0]))
    return list(problems.values())


def looks(model, names, inputs: list, random_state: int):
    """Yield (name of a Dense layer, what it read, gradients of the rows' losses by what it made before the activation,
    or None), some rows at a time; all in float64."""
    rng = np.random.default_rng(random_state)
    for first in range(0, len(inputs[0]), CHUNK):
        part = [x[first : first + CHUNK] for x in inputs]
        part = part if len(part) > 1 else part[0]
        losses, targets = zip(*(_drawn(o, p, rng) for o, p in _outputs(model, part)), strict=True)
        loss, target = (list(losses), list(targets)) if len(losses) > 1 else (losses[0], targets[0])
        flow = Flow(model, part, target, loss, None, False)
        values, gradients = dict(flow.up()), dict(flow.down())
        for call in flow.calls:
            if call.name in names:
                yield call.name, values[call.inner.inputs[0]], gradients[call.inner]


def _outputs(model, X):
    Y = model.predict(X)
    return list(zip(model.outputs, Y if isinstance(Y, list) else [Y], strict=True))


def _drawn(output, p, rng):
    """Return a loss and targets drawn from the predictions p: then the mean of g g' is the Gauss-Newton matrix of the
    loss (Martens 2014, arXiv:1412.1193), and needs no true targets."""
    name = output.activation.name if output.activation else "identity"
    if name == "softmax":
        edges = np.cumsum(p, axis=1, dtype=np.float64)
        return "cross_entropy", (rng.random((len(p), 1)) * edges[:, -1:] > edges).sum(axis=1)
    if name == "sigmoid":
        return "binary_cross_entropy", (rng.random(p.shape) < p).astype(p.dtype)
    return "mse", p + rng.standard_normal(p.shape)


# ---- which weights --------------------------------------------------------------------------------------------------


def choose(problem: Problem, damping: float, share: float) -> np.ndarray:
    """Return the cost [I, O] at which each weight goes: pruning all weights whose cost is below a bound is what the
    surgeon would have done, output by output, until its next step costs more."""
    inverse, W = _inverse(problem, damping)[None], _weights(problem)
    result = np.empty(W.shape)
    for first in range(0, len(W), 16):  # in pieces, for Ctrl-C
        result[first : first + 16] = costs(inverse, W[first : first + 16])
    return (result * problem.s[:, None]).T


def costs(inverse: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Return the cost [N, n] of the step at which each weight goes, or that of a dearer one before it: so that a bound
    on the costs is a point in the surgeon's order."""
    order, cost = _core.obs(inverse, W, W.shape[1])
    step = np.arange(W.shape[1])  # what would cost less later goes later all the same
    cost = np.maximum.accumulate(cost, axis=1) * (1 + 1e-15 * step) + 1e-300 * step
    result = np.empty(W.shape)
    np.put_along_axis(result, np.maximum(order, 0), cost, axis=1)
    return result


def choose_by_columns(problem: Problem, damping: float, share: float) -> np.ndarray:
    """The same for wide layers, all outputs at once, inputs in order (Frantar, Alistarh 2023, arXiv:2301.00774): of
    each block of inputs `share` of the weights go, for which those of later inputs make up.  The cost of a weight is
    w^2 / (2 u^2) when its turn comes, u on the diagonal of the Cholesky factor of the inverse Hessian."""
    upper, W = np.linalg.cholesky(_inverse(problem, damping)).T, _weights(problem)
    cost = np.empty(W.shape)
    for a in range(0, W.shape[1], BLOCK):
        own, u = W[:, a : a + BLOCK], upper[a : a + BLOCK, a : a + BLOCK]
        cost[:, a : a + BLOCK] = (own / np.diag(u)) ** 2 / 2 * problem.s[:, None]
        gone = cost[:, a : a + BLOCK] < np.quantile(cost[:, a : a + BLOCK], share)
        pulls = np.empty(own.shape)
        for i in range(own.shape[1]):
            pulls[:, i] = np.where(gone[:, i], own[:, i], 0) / u[i, i]
            own[:, i:] -= pulls[:, i, None] * u[i, i:]
        W[:, a + BLOCK :] -= pulls @ upper[a : a + BLOCK, a + BLOCK :]
    return cost.T


def _inverse(problem: Problem, damping: float) -> np.ndarray:
    inverse = np.linalg.inv(damped(problem.H, damping))
    return np.ascontiguousarray((inverse + inverse.T) / 2)


def _weights(problem: Problem) -> np.ndarray:
    """Return W' [O, I]; those of inputs that never move are 0, so that they go first and cost nothing."""
    diagonal = np.diag(problem.H)
    dead = diagonal <= 1e-12 * diagonal.mean()
    return np.ascontiguousarray(np.where(dead, 0, problem.W.T))


# ---- what the weights left make of it -------------------------------------------------------------------------------


def reconstruct(model, dense, problem: Problem, X, damping: float) -> tuple[float, float]:
    """Fit the weights that are left of a layer of `model`, whose input is what the pruned layers before it make of X,
    to the outputs of that layer in `dense`, by least squares; return the mean squared error before and after, as a
    share of the variance of the outputs."""
    layer, twin, name = model.get_layer(problem.layer), dense.get_layer(problem.layer), problem.name
    mask = model.weights.masks().get(name, np.ones(problem.W.shape, bool))
    moments = Moments(problem.W.shape[0], problem.W.shape[1], layer.use_bias)
    square = np.zeros(problem.W.shape[1])
    for x, x0 in zip(_read(model, layer, X), _read(dense, twin, X), strict=True):
        z = x0.astype(np.float64) @ problem.W + (0 if problem.b is None else problem.b)
        moments.add(x, z)
        square += (z * z).sum(axis=0)
    W = model.parameters()[name].astype(np.float64)
    A, B = damped(moments.xx(), damping), moments.xz()
    B = B + (A - moments.xx()) @ problem.W  # damped towards the weights as they were
    solved = np.zeros_like(W)
    for o in range(W.shape[1]):
        kept = np.flatnonzero(mask[:, o])
        if len(kept):
            solved[kept, o] = np.linalg.solve(A[np.ix_(kept, kept)], B[kept, o])
    variance = square / moments.n - ((moments.z / moments.n) ** 2 if layer.use_bias else 0)

    def error(W):
        return float((variance - 2 * (W * moments.xz()).sum(axis=0) + (W * (moments.xx() @ W)).sum(axis=0)).sum())

    arrays = {name: solved}
    if layer.use_bias:
        arrays[f"{problem.layer}.bias"] = (moments.z - moments.x @ solved) / moments.n
    model.weights.put(arrays)
    total = max(float(variance.sum()), np.finfo(float).tiny)
    return error(W) / total, error(solved) / total


def _read(model, layer, X):
    """Yield what `layer` reads, of all its calls, some rows of X at a time."""
    inputs, rows = as_inputs(model, X)
    read = [node.inputs[0] for node in model.nodes if node.layer is layer]
    wanted = list(dict.fromkeys(read))
    plan = build(model, mode="predict", outputs=wanted)
    machine = model._machine("c", min(CHUNK, rows), plan)
    for first in range(0, rows, CHUNK):
        part = [x[first : first + CHUNK] for x in inputs]
        n = len(part[0])
        values = [np.empty((n, v.width), model.dtype) for v in wanted]
        model.run_batches(machine, Job(inputs=part, outputs=values, rows=n, batch=n))
        yield from (values[wanted.index(v)] for v in read)
