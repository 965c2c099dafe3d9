"""Copies of a network to look into: a plain one, and one laid open, in which every intermediate value can be seen.

What analysis.py, symmetry.py and landscape.py compute, they compute on such a copy.
"""

from __future__ import annotations

import copy

import numpy as np

from . import _core, activations
from .layers import Activation, Dense
from .model import Model
from .plan import NONE, Job, build
from .trainer import Trainer

__all__ = ["Call", "Flow", "check_model", "clone", "open_up", "values", "wired_again"]


def check_model(name: str, model) -> None:
    """Raise TypeError if `model` is none."""
    if not isinstance(model, Model):
        raise TypeError(f"{name} must be a pynet Model, got {type(model).__name__}")


def clone(model, dtype=None) -> Model:
    """Return a copy of a model, with layers of its own; those written in Python, which no file can hold, as well.

    `dtype`: that of the copy, if it shall be another."""
    return wired_again(model, {}, dtype=dtype)[0]


class Call:
    """One call of a layer: its name and depth in the model; in the copy laid open `inner`, the value before the
    activation of a Dense, and `node`, the value after it (elsewhere the same); the activation."""

    __slots__ = ("activation", "depth", "inner", "name", "node")

    def __init__(self, name, depth, inner, node):
        self.name, self.depth, self.inner, self.node = name, depth, inner, node
        self.activation = node.activation


def open_up(model) -> tuple[Model, list[Call]]:
    """Return a copy whose Dense layers have their activation as a layer of its own, and its calls but the Inputs.

    So z and y are values of the graph, each with its gradient.
    """
    check_model("model", model)
    split = {}
    for layer in model.layers:
        activation = layer.applied_activation()
        if isinstance(layer, Dense) and activation.name != "identity":
            split[layer] = Activation(activation)
    opened, made = wired_again(model, split)
    depth: dict = {}
    calls = []
    for node in model.nodes:
        depth[node] = 1 + max((depth[v] for v in node.inputs), default=-1)
        if not node.layer.is_input:
            calls.append(Call(model.names[node.layer], depth[node], *made[node]))
    return opened, calls


def wired_again(model, split: dict, twins=(), dtype=None, instead=()) -> tuple[Model, dict]:
    """Return a model of copied layers, and {node: (what its layer makes now, what stands for it now)}.

    `split`: layers -> the Activation that stands behind them from now on; `twins`: layers -> others in their place,
    which bring their parameters along; `instead`: values -> values below them, which take their place.
    """
    ready = dict(twins)
    twins = {layer: ready.get(layer) or copy.copy(layer) for layer in model.layers}
    for layer, twin in twins.items():
        if layer in ready:
            continue
        twin.name, twin._output = model.names[layer], None
        records = {weight.suffix: weight.record for weight in model.weights if weight.layer is layer}
        twin.home = (
            (model.arena, records, model.weights.keep) if records else None
        )  # where the new model finds its numbers
        if layer in split:
            twin.activation = activations.get(None)
    made: dict = {}
    short = dict(instead)
    for node in model.nodes:
        if node in short:
            made[node] = made[short[node]]
            continue
        twin, reads = twins[node.layer], [made[v][1] for v in node.inputs]
        inner = twin.output if twin.is_input else twin(reads if len(reads) > 1 else reads[0])
        made[node] = inner, split[node.layer](inner) if node.layer in split else inner
    inputs, outputs = ([made[v][1] for v in values] for values in (model.inputs, model.outputs))
    result = Model(inputs, outputs, dtype=dtype or model.dtype, name=model.name)
    result.metadata = copy.deepcopy(model.metadata)
    return result, made


def values(opened, nodes: list, inputs: list, rows: int):
    """Yield, batch by batch, what `nodes` of a model laid open are in prediction: arrays [B, width], good until the
    next batch."""
    plan = build(opened, mode="gradients")  # as in prediction, but nothing folded away
    place = dict(zip(opened.nodes, plan.node_values, strict=True))
    batch = min(rows, 1024)
    machine = _core.Machine(plan, opened.arena, rows=batch)
    job = Job(inputs=inputs, rows=rows, batch=batch, stages=_core.FORWARD)
    for k in range(-(-rows // batch)):
        machine.run(job, k, 1)
        yield [machine.value(place[node]) for node in nodes]


class Flow:
    """Values and gradients of a model laid open, after one batch of all rows on the NumPy machine."""

    def __init__(self, model, X, y, loss, loss_weights, training):
        self.model, self.calls = open_up(model)
        for layer in self.model.layers:
            for penalty in {"l1", "l2"} & {*layer.live}:  # they would hide what the data says
                setattr(layer, penalty, 0.0)
        trainer = Trainer(self.model, loss, "sgd", loss_weights=loss_weights, backend="numpy")
        self.parameters = trainer.gradients(X, y, training=training)
        for value in self.model.inputs:
            self.parameters.pop(self.model.names[value.layer], None)
        _, targets, _, self.rows = trainer._prepare(X, y)
        heads = trainer.heads.resolve(targets)
        mode = "train" if training else "gradients"
        self.plan, self.machine = trainer._machine("gradients", heads, self.rows, True, mode)  # where that was computed
        self.place = dict(zip(self.model.nodes, self.plan.node_values, strict=True))
        self.weights = {name: w.astype(np.float64) for name, w in self.model.parameters().items()}

    def up(self):
        """Yield (node, its value [B, width] in float64, or None where it was not computed)."""
        for node, index in self.place.items():
            yield node, None if index == NONE else self.machine.value(index).astype(np.float64)

    def down(self):
        """Yield (node, gradients of the rows' own losses [B, width] by it, or None where no loss depends on it)."""
        for node, index in self.place.items():
            try:
                gradient = None if index == NONE else self.machine.value(index, gradient=True)
            except ValueError:  # computed, but nothing that is trained for depends on it
                gradient = None
            yield node, None if gradient is None else gradient.astype(np.float64) * self.rows

    def column(self, by_node: dict) -> np.ndarray:
        """Return the numbers of all calls, nan where there is none."""
        numbers = [by_node.get(call.inner) for call in self.calls]
        return np.array([np.nan if x is None else x for x in numbers])

    def kernel(self, layer) -> np.ndarray:
        """Return the kernel of a Dense."""
        return self.weights[f"{self.model.names[layer]}.kernel"]

    def bias(self, layer) -> np.ndarray:
        """Return the bias of a Dense, 0 if it has none."""
        return self.weights.get(f"{self.model.names[layer]}.bias", np.zeros(1))

    def walk_down(self, measured: dict, factor) -> dict:
        """Predict a number for each node from the nodes that read it: the sum of factor(reader, node) * theirs.

        What a loss reads, and what goes into a layer whose factor is None, has the number that was measured.
        """
        readers: dict = {node: [] for node in self.model.nodes}
        for node in self.model.nodes:
            for value in node.inputs:
                readers[value].append(node)
        result: dict = {}
        for node in reversed(self.model.nodes):
            ends = node in self.model.outputs or self.place[node] in self.plan.head_values
            reached = [] if ends else [r for r in readers[node] if measured[r] is not None]
            factors = [factor(reader, node) for reader in reached]
            if ends or None in factors or measured[node] is None:
                result[node] = measured[node]
            else:
                result[node] = sum(f * result[r] for f, r in zip(factors, reached, strict=True))
        return result
