"""What is trained in the tests: graphs, losses with targets, update rules; and where functions have kinks."""

import types

import numpy as np
from helpers import SEED

import pynet as pn
from pynet import _core, activations, reference_random
from pynet.heads import Head
from pynet.losses import LossSpec
from pynet.plan import unpack

ACTIVATIONS = list(activations.TABLE)
FLAT = ("step", "rectangular")  # derivative 0: what is below does not learn

# ---- losses: kind -> (activation of the head, parameter, whether the loss absorbs it) ------------------------------

LOSSES = {
    "mse": ("identity", 0.0, False),
    "mae": ("identity", 0.0, False),
    "huber": ("identity", 0.7, False),
    "log_cosh": ("identity", 0.0, False),
    "poisson": ("softplus", 0.0, False),
    "quantile": ("identity", 0.3, False),
    "cross_entropy_index": ("softmax", 0.0, True),
    "cross_entropy_dense": ("softmax", 0.0, True),
    "binary_cross_entropy": ("sigmoid", 0.0, True),
}


def head(kind: str, weight: float = 1.0, metrics=(), absorbs: bool = True) -> Head:
    activation, parameter, absorbed = LOSSES[kind]
    return Head(LossSpec(kind, parameter, activation if absorbed and absorbs else None), weight, list(metrics))


def target(kind: str, n: int, width: int, rng) -> np.ndarray:
    """Targets that suit a loss."""
    if kind == "cross_entropy_index":
        return rng.integers(0, width, n)
    if kind == "poisson":
        return rng.poisson(2.0, (n, width)).astype(np.float64)
    if kind == "binary_cross_entropy":
        return rng.random((n, width))
    if kind == "cross_entropy_dense":
        weights = rng.random((n, width))
        return weights / weights.sum(axis=1, keepdims=True)
    return rng.normal(size=(n, width))


# ---- update rules, by name in the roll-call ----------------------------------------------------------------------

RULES = {
    "sgd": pn.SGD(0.05),
    "momentum": pn.SGD(0.05, momentum=0.9),
    "nesterov": pn.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": pn.Adam(0.01),
    "adamw": pn.AdamW(0.01, weight_decay=0.05),
    "rmsprop": pn.RMSProp(0.01),
    "adagrad": pn.Adagrad(0.05),
    "rprop": pn.Rprop(0.01),
}

SIGNED = ("adam", "adamw", "rmsprop", "adagrad", "rprop")  # the first step is lr * sign(g), however small g is

# ---- graphs ------------------------------------------------------------------------------------------------------


def dense(units, activation=None, **more) -> pn.Dense:
    """A layer whose biases start at random: at 0 a unit without inputs would stand on the kink of relu."""
    return pn.Dense(units, activation, bias_initializer="uniform", **more)


def branching(activation, last="identity", dtype="float64", seed: int = 0) -> pn.Model:
    """Two branches, one with the activation fused and one stand-alone, Add, Concat, a layer called twice, two heads."""
    x = pn.Input(3)
    a = dense(5, activation, name="fused")(x)
    b = pn.Activation(activation)(dense(5, name="plain")(x))
    s = pn.Add()([a, b])
    shared = dense(4, activation, name="shared")
    c = pn.Concat()([shared(a), s, shared(b)])
    outputs = [dense(3, last, name="main")(c), dense(2, name="aux")(s)]
    return pn.Model(x, outputs, dtype=dtype, random_state=seed)


# ---- kinks -------------------------------------------------------------------------------------------------------

KINKS = {  # where an activation or one of its first derivatives jumps
    "step": (0,), "relu": (0,), "leaky_relu": (0,), "elu": (0,), "selu": (0,), "softsign": (0,),
    "hard_sigmoid": (-3, 3), "hard_tanh": (-1, 1), "hard_swish": (-3, 3),
    "epanechnikov": (-1, 1), "triangular": (-1, 0, 1), "quartic": (-1, 1), "tricube": (-1, 0, 1),
    "rectangular": (-1, 1),
}  # fmt: skip


def arguments(plan, machine, params):
    """Yield (name of the activation, its argument [B, O]) for every op of the last batch of a NumPy machine that may
    have a kink; of those with noise, the argument after it."""
    for op in machine.ops:
        if op.kind in (_core.OPS["random"], _core.OPS["prelu"]):
            yield "relu", random_argument(machine, op)
        if op.activation is None:
            continue
        x = machine.values[op.x]
        if op.kind == _core.OPS["dense"]:
            x = x @ unpack(params, plan.params[op.w])
        if op.kind == _core.OPS["sparse"]:
            x = x @ machine.forms[op.at].matrix(unpack(params, plan.params[op.w])[0])
        if op.kind in (_core.OPS["dense"], _core.OPS["sparse"]):
            x = x if op.b is None else x + unpack(params, plan.params[op.b])
        yield op.activation.name, x


def random_argument(machine, op):
    """What a random op or a PReLU compares with 0."""
    x = machine.values[op.x]
    scale = {_core.RANDOM["noisy_relu"]: op.p[0], _core.RANDOM["noisy_relu_sigmoid"]: np.sqrt(activations.sigmoid(x))}
    if op.kind == _core.OPS["prelu"] or op.act not in scale:
        return x if op.kind == _core.OPS["prelu"] or op.act == _core.RANDOM["rrelu"] else np.ones(1)
    machine.job = types.SimpleNamespace(seed=SEED)
    noise = reference_random.normals(machine, op, x.shape)
    machine.job = None
    return x + scale[op.act] * noise


def kink_margin(plan, machine, params) -> float:
    """The distance of the last batch of a NumPy machine from the nearest kink of an activation or loss."""
    margin = np.inf
    for name, x in arguments(plan, machine, params):
        for kink in KINKS.get(name, ()):
            margin = min(margin, np.abs(x - kink).min())
    for op in machine.losses:
        reach = {_core.LOSSES["mae"]: 0.0, _core.LOSSES["quantile"]: 0.0, _core.LOSSES["huber"]: op.p[0]}.get(op.act)
        if reach is not None:
            away = np.abs(machine.values[op.x] - machine.targets[op.slot])
            margin = min(margin, np.abs(away - reach).min())
    return float(margin)


def sign_margin(plan, grads) -> float:
    """The smallest |gradient| that is not 0, as a share of the largest of its parameter: rules that divide by |g|, or
    only look at its sign, turn rounding into a step where it is tiny."""
    margin = np.inf
    for record in plan.params[plan.params["flags"] != 0]:
        g = np.abs(unpack(grads, record))
        if g.any():
            margin = min(margin, g[g > 0].min() / g.max())
    return float(margin)
