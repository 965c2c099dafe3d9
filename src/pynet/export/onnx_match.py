"""Which nodes of an ONNX graph are together an activation: those that onnx_activations.py would have written.

Its writers are run on a graph that only remembers; what it remembers is a pattern, compared with the nodes from the
last one back to the one value that they read.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from .. import activations
from .libraries import library
from .onnx_activations import FOREIGN, WRITERS
from .onnx_file import schema

__all__ = ["Match", "find"]

COMMUTATIVE = ("Add", "Mul", "Max", "Min")
RELATIVE = 1e-5  # of constants: 1/6 or sqrt(2) in float32, or as somebody has rounded them
ELEMENT_TYPES = (1, 11)  # float32, float64


class Unknown(NamedTuple):
    """A parameter of an activation in a pattern."""

    field: str


class Step(NamedTuple):
    """A node in a pattern: its operator, what it reads (X, Steps, numbers), its attributes."""

    op: str
    reads: tuple
    attributes: dict[str, Any]


X = "x"


class _Memory:
    """What writers take for a Graph."""

    def __init__(self, double: bool):
        self.double, self.element_type = double, ELEMENT_TYPES[double]

    def node(self, op: str, *reads, **attributes) -> Step:
        return Step(op, reads, attributes)

    def cast(self, x, dtype) -> Step:
        return Step("Cast", (x,), {"to": ELEMENT_TYPES[dtype == "float64"]})

    def number(self, value):
        return value


class Match(NamedTuple):
    """An activation in a graph: it, the name of what it reads, the numbers of its nodes, the last one's first."""

    activation: activations.Activation
    x: str
    nodes: list[int]


@functools.cache
def _patterns() -> dict[str, list[tuple[type, Step]]]:
    """Return {operator of the last node: [(class of the activation, pattern), the longest ones first]}."""
    found: dict[str, list] = {}
    own = [(name, write, activations.TABLE[name].fields) for name, write in WRITERS.items()]
    for name, write, fields in [*own, *((name, write, ()) for name, write in FOREIGN)]:
        made = activations.TABLE[name]
        if name in ("identity", "softmax"):  # not activations of elements: see onnx_read.py
            continue
        for double in (False, True):
            pattern = write(_Memory(double), X, *(Unknown(field) for field in fields))
            if (made, pattern) not in found.setdefault(pattern.op, []):
                found[pattern.op].append((made, pattern))
    for patterns in found.values():
        patterns.sort(key=lambda pair: -_size(pair[1]))
    return found


def _size(pattern) -> int:
    return 1 + sum(map(_size, pattern.reads)) if isinstance(pattern, Step) else 0


class _Matcher:
    """The nodes of a file, and one pattern at a time beside them."""

    def __init__(self, file, constants: dict[str, np.ndarray]):
        self.file, self.constants = file, constants
        self.makers = {name: k for k, node in enumerate(file.nodes) for name in node.outputs[:1]}

    def same(self, pattern, name: str, bound: dict) -> dict | None:
        """Return `bound` with more in it if the value `name` is what the pattern says, else None."""
        if pattern is X:
            known = bound.setdefault(X, name) if name not in self.constants else None
            return bound if known == name else None
        if not isinstance(pattern, Step):
            array = self.constants.get(name)
            if array is None or array.size != 1 or array.dtype.kind not in "iuf":
                return None
            return _equal(pattern, array.reshape(()), bound)
        k = self.makers.get(name)
        if k is None or self.file.nodes[k].op != pattern.op:
            return None
        node = self.file.nodes[k]
        if len(node.inputs) != len(pattern.reads):
            return None
        held = self._attributes(pattern, node, bound | {"nodes": [*bound["nodes"], k]})
        orders = itertools.permutations(node.inputs) if pattern.op in COMMUTATIVE else [node.inputs]
        return next((b for b in (self._reads(pattern, order, held) for order in orders) if b is not None), None)

    def _reads(self, pattern: Step, names, bound: dict | None) -> dict | None:
        bound = None if bound is None else dict(bound)
        for inner, name in zip(pattern.reads, names, strict=True):
            bound = None if bound is None else self.same(inner, name, bound)
        return bound

    def _attributes(self, pattern: Step, node, bound: dict | None) -> dict | None:
        """Compare attributes; those that are not there have their default."""
        values = _defaults(node.op, self.file.opset) | node.attributes
        for key, value in values.items():
            if bound is not None and key in pattern.attributes:
                bound = _equal(pattern.attributes[key], value, bound)
            elif value != _defaults(node.op, self.file.opset).get(key):
                return None
        return bound if pattern.attributes.keys() <= values.keys() else None


def _equal(expected, value, bound: dict) -> dict | None:
    """Compare a number with one of a pattern, or keep it as the parameter that it is."""
    if not isinstance(value, (int, float, np.ndarray)):
        return None
    if isinstance(expected, Unknown):
        exact = isinstance(value, np.ndarray) and value.dtype == np.float64
        number = float(value) if exact else float(str(np.float32(value)))  # 0.1 is meant, not 0.10000000149
        return bound | {expected.field: number} if bound.get(expected.field, number) == number else None
    return bound if math.isclose(float(value), expected, rel_tol=RELATIVE) else None


@functools.cache
def _defaults(op: str, opset: int) -> dict[str, Any]:
    """Return the attributes of an operator that have a default."""
    known = schema(op, opset)
    found = {name: attribute.default_value for name, attribute in known.attributes.items()} if known else {}
    values = {n: library("onnx").helper.get_attribute_value(v) for n, v in found.items() if v.type}
    return {name: v.decode() if isinstance(v, bytes) else v for name, v in values.items()}


def find(file, constants: dict[str, np.ndarray]) -> dict[int, Match]:
    """Return {number of the last node: Match} of all activations in a file.

    Parameters
    ----------
    file : File of onnx_file.py
    constants : dict of name -> array
        Initializers, and what else is known to be constant.
    """
    matcher = _Matcher(file, constants)
    readers: dict[str, set[int]] = {name: {-1} for name in file.outputs}
    for k, node in enumerate(file.nodes):
        for name in node.inputs:
            readers.setdefault(name, set()).add(k)
    found: dict[int, Match] = {}
    taken: set[int] = set()
    for k in reversed(range(len(file.nodes))):
        node = file.nodes[k]
        for made, pattern in _patterns().get(node.op, []) if k not in taken and len(node.outputs) == 1 else []:
            bound = matcher.same(pattern, node.outputs[0], {"nodes": []})
            if bound is None:
                continue
            nodes, x = bound.pop("nodes"), bound.pop(X)
            inner = {name for n in nodes if n != k for name in file.nodes[n].outputs}
            if not taken.isdisjoint(nodes) or any(readers.get(name, set()) - set(nodes) for name in inner):
                continue
            try:
                found[k] = Match(made(**bound), x, list(dict.fromkeys(nodes)))
            except ValueError:  # a parameter that pynet's may not have
                continue
            taken.update(nodes)
            break
    return found
