"""Symmetries of the weights: the order of hidden units is arbitrary, and paths lead from one order to another.

Reached as ``pn.analysis.permute_units``, ``interpolate_units`` and ``straight_path``.
"""

from __future__ import annotations

import numpy as np

from . import _check
from .elementwise import Flatten, GradientClip, PReLU
from .layers import Activation, Add, Concat, Dense
from .model import Model
from .normalization import BatchNorm, InstanceNorm, LayerNorm
from .opened import check_model, clone
from .stochastic import Dropout, GaussianNoise

__all__ = ["Path", "interpolate_units", "permute_units", "straight_path"]

KEEP_UNITS = (  # layers that do the same to every unit, but for parameters [O] of which each unit has one
    Activation, PReLU, BatchNorm, LayerNorm, InstanceNorm, Dropout, GaussianNoise, GradientClip, Flatten
)  # fmt: skip


def permute_units(model, layer, order) -> Model:
    """Return a copy of the model with the hidden units of a Dense layer in another order: the same function.

    Parameters
    ----------
    model : Model
    layer : str or Dense
        The layer, or its name; not one whose units are outputs of the model.
    order : sequence of int [O]
        Unit k of the result is unit order[k] of the model; a permutation of 0..O-1.

    Returns
    -------
    Model
        Its outputs differ from the model's by the rounding of sums whose terms now stand in another order.

    Raises
    ------
    TypeError, ValueError
        There is no such layer, or it is no Dense; `order` is no permutation; the units can be seen from outside, at an
        output of the model or added to an Input; a layer behind them is of a kind that cannot be permuted.

    Notes
    -----
    Columns of the layer's kernel and its bias are permuted, and the rows of every kernel that reads them; in between,
    what layers keep for each unit.  Where units are added to those of another Dense (Residual), these are permuted
    as well.  The O! orders of one layer are a symmetry of every loss: Hecht-Nielsen 1990.
    """
    layer, order = _layer(model, layer), np.asarray(order)
    if order.dtype.kind not in "iu" or order.shape != (layer.units,):
        raise ValueError(f"order must be {layer.units} integers, got shape {order.shape} of dtype {order.dtype}")
    if not np.array_equal(np.sort(order), np.arange(layer.units)):
        raise ValueError(f"order must be a permutation of 0..{layer.units - 1}, each number once")
    result = clone(model)
    state = result.state_dict()
    for (owner, suffix), orders in _moves(model, layer, order).items():
        name = f"{model.names[owner]}.{suffix}"
        for axis, its_order in orders.items():
            state[name] = np.take(state[name], its_order, axis=axis)
    result.load_state_dict(state)
    return result


class Path:
    """The straight line between two models of one architecture, in the space of their parameters.

    Parameters
    ----------
    start, end : Model
    steps : int >= 2, default 41
        S, positions on it.

    Attributes
    ----------
    a : float array [S]
        The positions, from 1 (`start`) to 0 (`end`).
    start, end : Model
    """

    __slots__ = ("a", "end", "start")

    def __init__(self, start: Model, end: Model, steps: int = 41):
        self.start, self.end = start, end
        self.a = np.linspace(1.0, 0.0, _check.integer("steps", steps, 2))

    def state(self, a: float) -> dict[str, np.ndarray]:
        """Return the parameters a * start + (1 - a) * end, by name; at 1 and 0 these are the bits of the ends."""
        end = self.end.state_dict()
        return {name: a * w + (1 - a) * end[name] for name, w in self.start.state_dict().items()}

    def model(self, a: float) -> Model:
        """Return a new model with the parameters at `a`."""
        result = clone(self.start)
        result.load_state_dict(self.state(a))
        return result

    def __repr__(self) -> str:
        return f"<Path of {len(self.a)} steps between {self.start!r} and {self.end!r}>"


def interpolate_units(model, layer, i: int, j: int, steps: int = 41) -> Path:
    """Return the straight path on which two hidden units change places.

    Parameters
    ----------
    model : Model
    layer : str or Dense
        As of permute_units.
    i, j : int
        Two different units of the layer.
    steps : int >= 2
        Positions on the path.

    Returns
    -------
    Path
        From the model, as it is now (a = 1), to its copy with the units swapped (a = 0).  With w the incoming or the
        outgoing weights of a unit:  w_i(a) = a w_i + (1-a) w_j  and  w_j(a) = a w_j + (1-a) w_i.  At a = 1/2 both
        units are alike, and the network works as one with a unit less.

    Raises
    ------
    TypeError, ValueError
        As permute_units; i or j is no unit of the layer, or they are the same; steps < 2.
    """
    units = _layer(model, layer).units
    i, j = _check.integer("i", i, 0, units - 1), _check.integer("j", j, 0, units - 1)
    if i == j:
        raise ValueError(f"i and j must be different units, got {i} twice")
    order = np.arange(units)
    order[[i, j]] = j, i
    return Path(clone(model), permute_units(model, layer, order), steps)


def straight_path(start, end, steps: int = 41) -> Path:
    """Return the straight path between two models of one architecture.

    Parameters
    ----------
    start, end : Model
        Copied as they are now.
    steps : int >= 2
        Positions on the path.

    Raises
    ------
    TypeError, ValueError
        They are no models, or their parameters have different names or shapes; steps < 2.

    Notes
    -----
    Goodfellow, Vinyals, Saxe 2015 (arXiv:1412.6544).
    """
    check_model("start", start)
    check_model("end", end)
    shapes = [{weight.name: weight.shape for weight in model.weights} for model in (start, end)]
    if shapes[0] != shapes[1]:
        odd = min(name for name in shapes[0].keys() | shapes[1].keys() if shapes[0].get(name) != shapes[1].get(name))
        raise ValueError(f"start and end differ in parameter {odd!r}: {shapes[0].get(odd)} and {shapes[1].get(odd)}")
    return Path(clone(start), clone(end), steps)


# ---- how a permutation travels through the graph --------------------------------------------------------------------


def _layer(model, layer):
    """Return the Dense layer that is meant by a name or by itself."""
    check_model("model", model)
    layer = model.get_layer(layer) if isinstance(layer, str) else layer
    if layer not in model.names:
        raise ValueError(f"layer must be a layer of the model or its name, got {layer!r}")
    if not isinstance(layer, Dense):
        raise TypeError(f"layer must be a Dense, whose units have weights of their own, got {layer!r}")
    return layer


class _Tied(Exception):
    """A value is added to permuted ones and has to take their order."""

    def __init__(self, value, order):
        self.value, self.order = value, order


def _moves(model, layer, order) -> dict:
    """Return {(layer, suffix): {axis: order}} of all parameters that are to be permuted.

    Orders run down the graph.  Where an Add finds a value whose units stay while those of another move, the layers that
    made it are given the same order, and everything is walked once more.
    """
    orders = {layer: order}
    while True:
        try:
            return _walk(model, orders)
        except _Tied as tied:
            for maker in _makers(model, layer, tied.value):
                orders[maker] = tied.order


def _makers(model, layer, value) -> list:
    """Return the Dense layers whose units stand in `value`, one for one."""
    found, waiting = [], [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value.layer, Dense):
            found.append(value.layer)
        elif isinstance(value.layer, (Add, *KEEP_UNITS)):
            waiting.extend(value.inputs)
        else:
            raise _refusal(model, layer, f"they are added to what {value.layer!r} passes on")
    return found


def _walk(model, orders: dict) -> dict:
    first = next(iter(orders))
    at: dict = {}  # node -> order of its units, None where they stay
    moves: dict = {}

    def move(layer, suffix, axis, order):
        known = moves.setdefault((layer, suffix), {})
        if not _same(known.setdefault(axis, order), order):  # called twice, with units in different orders
            raise _refusal(model, first, f"{layer!r} is shared and would need two orders at once")

    for node in model.nodes:
        layer, reads = node.layer, [at[v] for v in node.inputs]
        if isinstance(layer, Dense):
            move(layer, "kernel", 0, reads[0])
            at[node] = orders.get(layer)
            move(layer, "kernel", 1, at[node])
            if layer.use_bias:
                move(layer, "bias", 0, at[node])
        elif isinstance(layer, KEEP_UNITS):
            at[node] = reads[0]
            for parameter in layer.parameters():
                if parameter.shape != (1,):  # one number for all units
                    move(layer, parameter.suffix, 0, reads[0])
        elif all(order is None for order in reads):
            at[node] = None
        elif isinstance(layer, Add):
            at[node] = order = next(order for order in reads if order is not None)
            for value, its_order in zip(node.inputs, reads, strict=True):
                if its_order is None:
                    raise _Tied(value, order)
                if not _same(its_order, order):
                    raise _refusal(model, first, f"{layer!r} adds units of different orders")
        elif isinstance(layer, Concat):
            begins = np.cumsum([0, *(v.width for v in node.inputs)])
            parts = [np.arange(v.width) if o is None else o for v, o in zip(node.inputs, reads, strict=True)]
            at[node] = np.concatenate([begin + part for begin, part in zip(begins, parts, strict=False)])
        else:
            raise _refusal(model, first, f"{layer!r} reads them in a way that cannot be permuted")
    for output in model.outputs:
        if at[output] is not None:
            raise _refusal(model, first, f"they are seen at the output {model.names[output.layer]!r}")
    return {key: {axis: o for axis, o in axes.items() if o is not None} for key, axes in moves.items()}


def _same(a, b) -> bool:
    return (a is None) == (b is None) and (a is None or np.array_equal(a, b))


def _refusal(model, layer, why: str) -> ValueError:
    return ValueError(f"the units of layer {model.names[layer]!r} cannot be permuted: {why}")
