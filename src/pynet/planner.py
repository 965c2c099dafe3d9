"""From a graph to a plan.

Four passes: every layer emits its ops; heads add losses and metrics; ops nobody needs are dropped; and one walk down
the table sets the flags of the backward pass.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from . import _core
from .compact_form import Form
from .plan import NONE, Plan, leading_dimension

__all__ = ["Planner"]


class Op:
    """One op while the plan is being made; the fields are those of pn_op."""

    __slots__ = (
        "act", "at", "b", "flags", "form", "function", "kind", "name", "p", "slot", "w", "w2", "x", "x2", "y", "z"
    )  # fmt: skip

    def __init__(self, name: str, kind: str, **fields):
        self.name, self.kind = name, _core.OPS[kind]
        self.act = self.flags = self.slot = self.at = 0
        self.x = self.x2 = self.y = self.z = self.w = self.b = self.w2 = NONE
        self.p: tuple[float, ...] = ()
        self.function = None  # of a python op
        self.form: Form | None = None  # of a sparse op
        for field, value in fields.items():
            setattr(self, field, value)

    @property
    def reads(self) -> list[int]:
        return [v for v in (self.x, self.x2) if v != NONE]

    @property
    def pulls(self) -> list[int]:
        """What gradients go down to: all it reads, but the mask of an LSTM."""
        return [self.x] if self.kind == _core.OPS["lstm"] else self.reads

    @property
    def weights(self) -> list[int]:
        """The parameters it can train."""
        recurrent = [self.w2] if self.kind == _core.OPS["lstm"] else []
        return [p for p in (self.w, self.b, *recurrent) if p != NONE]

    def record(self) -> tuple:
        p = (*self.p, 0.0, 0.0, 0.0)[:3]
        return tuple(p if field == "p" else getattr(self, field) for field in _core.OP.names or ())


class Planner:
    """The hand of a layer's `emit`: numbers values, collects ops.

    Layers use `op`, `dense`, `activate`, `random`, `batch_norm`, `python`, `parameter`, `value`, `width`, and the
    questions `is_random`, `has_batch_statistics` and `goes_down`.
    """

    def __init__(self, model, heads=None, input_gradients=False, keep_outputs=False, mode=None, outputs=None):
        mode = mode or ("predict" if heads is None else "train")
        self.model = model
        self.goes_down = mode in ("gradients", "train")  # there is a backward pass
        self.is_random = mode in ("sample", "train")
        self.has_batch_statistics = mode == "train"
        self.ends = model.outputs if outputs is None else list(outputs)
        self.heads = [None] * len(self.ends) if heads is None else list(heads)
        self.input_gradients = input_gradients and self.goes_down
        self.keep_outputs = keep_outputs or heads is None
        self.params = model.weights.records.copy()
        self.ops: list[Op] = []
        self.widths: list[int] = []  # of each value
        self.made: dict = {}  # graph value -> value index
        self.logits: dict = {}  # graph value whose activation a loss absorbs -> index of what the activation reads
        self.node = model.nodes[0]  # graph value whose layer emits now
        self.absorbed = self._absorbed()
        self.readers: dict = {}  # value index -> how many read it
        self.folded: set = set()  # values whose activation may still be folded into the dense op that made them

    # ---- what layers use --------------------------------------------------------------------------------------------

    def width(self, value: int) -> int:
        """Return the width of a value."""
        return self.widths[value]

    def value(self, width: int) -> int:
        """Return a new value."""
        self.widths.append(width)
        return len(self.widths) - 1

    def parameter(self, layer, suffix: str) -> int:
        """Return the index of a layer's parameter, NONE if it has no such parameter."""
        return self.model.weights.index.get((layer, suffix), NONE)

    def op(self, kind: str, width: int | None = None, **fields) -> int:
        """Add an op; returns the value it writes, a new one of `width` unless y is given."""
        if width is not None:
            fields["y"] = self.value(width)
        self.ops.append(Op(self.model.names[self.node.layer], kind, **fields))
        return self.ops[-1].y

    def dense(self, x: int, w: int, b: int, width: int, activation) -> int:
        """Add y = activation(x w + b)."""
        if self.node in self.absorbed or not activation.fusable:
            return self.activate(self.op("dense", width, x=x, w=w, b=b), activation)
        z = self.value(width) if self.goes_down and activation.needs == "X" else NONE
        return self.op("dense", width, x=x, w=w, b=b, z=z, act=activation.id, p=activation.parameters)

    def sparse(self, x: int, w: int, b: int, width: int, activation, form) -> int:
        """Add y = activation(x w + b), of w the values of a compact form."""
        fields = {"x": x, "w": w, "b": b, "form": form}
        apart = not activation.fusable or (self.goes_down and activation.needs == "X")
        if self.node in self.absorbed or apart:
            return self.activate(self.op("sparse", width, p=(0.0, 0.0), **fields), activation)
        return self.op("sparse", width, act=activation.id, p=(*activation.parameters, 0.0, 0.0)[:2], **fields)

    def activate(self, x: int, activation) -> int:
        """Add y = activation(x)."""
        if self.node in self.absorbed:
            self.logits[self.node] = x
        if activation.random:
            if self.is_random:
                return self.random(x, activation.kind, activation.parameters)
            activation = activation.frozen
        if activation.function:
            return self.python(x, self.widths[x], activation)
        if x in self.folded and self.node not in self.absorbed:
            op = self._folding(x)
            if op:
                op.act, op.p = activation.id, (*activation.parameters, 0.0, 0.0)[:2] + op.p[2:]
                self.folded.discard(x)
                return x
        return self.op("activation", self.widths[x], x=x, act=activation.id, p=activation.parameters)

    def random(self, x: int, kind: str, p: tuple[float, ...]) -> int:
        """Add y = f(x, random numbers); a dropout behind relu becomes part of its dense op."""
        stream = self.model.nodes.index(self.node)
        op = self._folding(x) if kind == "dropout" else None
        if op and op.act == _core.ACTIVATIONS["relu"][0] and op.w2 == NONE and not op.p:
            op.p, op.slot = (0.0, 0.0, p[0]), stream
            return x
        return self.op("random", self.widths[x], x=x, act=_core.RANDOM[kind], p=p, slot=stream)

    def batch_norm(self, x: int, first: int, epsilon: float, momentum: float, trainable: bool) -> int:
        """Add a batch norm whose gamma, beta, mean and variance are the parameters from `first` on."""
        fields = {"x": x, "w": first, "b": first + 1, "w2": first}
        if self.has_batch_statistics and trainable:
            return self.op("batch_norm", self.widths[x], p=(epsilon, momentum), **fields)
        op = None if self.goes_down else self._folding(x)
        if op and op.act == _core.ACTIVATIONS["identity"][0] and op.w2 == NONE and not op.p:
            op.w2, op.p = first, (0.0, 0.0, epsilon)
            self.folded.add(x)
            return x
        return self.op("running_norm", self.widths[x], p=(epsilon,), **fields)

    def python(self, x: int, width: int, function) -> int:
        """Add y = function.forward(x), computed in Python."""
        return self.op("python", width, x=x, function=function)

    def _folding(self, x: int) -> Op | None:
        """Return the dense op that makes `x`, if nobody but the layer that emits now reads it."""
        op = next((op for op in reversed(self.ops) if op.y == x), None)
        return op if op and op.kind == _core.OPS["dense"] and self.readers.get(x) == 1 else None

    # ---- the passes -------------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Run the passes and return the tables."""
        self._emit_layers()
        sum_slots, n_targets = self._emit_heads()
        self._drop_dead_ops()
        input_gradients = self._set_backward_flags()
        return self._tables(sum_slots, n_targets, input_gradients)

    def _absorbed(self) -> set:
        """Return the outputs whose activation stands inside their loss."""
        result = set()
        for output, head in zip(self.ends, self.heads, strict=True):
            loss = head and head.loss
            if loss and loss.absorbs:
                if output.activation.name != loss.absorbs:
                    raise ValueError(
                        f"the loss of {self.model.names[output.layer]!r} absorbs {loss.absorbs!r}, "
                        f"but its activation is {output.activation.name!r}"
                    )
                result.add(output)
        return result

    def _emit_layers(self) -> None:
        reading = Counter(v for node in self.model.nodes for v in node.inputs) + Counter(self.ends)
        for node in sorted(self.model.nodes, key=lambda node: not node.layer.is_input):  # inputs first
            self.node = node
            x = [self.made[v] for v in node.inputs]
            self.made[node] = y = node.layer.emit(self, x)
            # a layer that does nothing hands on what it read: its readers stand in its place
            self.readers[y] = self.readers.get(y, 0) - x.count(y) + reading[node]

    def _emit_heads(self) -> tuple[list, int]:
        """Add losses, then metrics.  A head's target slot is its number among the outputs that have either."""
        losses, metrics, slots, taken = [], [], [], set()
        n_targets, n_sums = 0, 2  # sums: penalties, batches
        self.head_values = []
        for i, (node, head) in enumerate(zip(self.ends, self.heads, strict=True)):
            self.node, output, name = node, self.made[node], self.model.names[node.layer]
            absorbs = head and head.loss and head.loss.absorbs
            x = self.logits[node] if absorbs else output
            if head and head.loss:
                if x in taken:  # a loss stores its gradient: a second one reads a copy
                    x = self.op("activation", self.widths[x], x=x, act=_core.ACTIVATIONS["identity"][0])
                taken.add(x)
                loss, p = head.loss, (head.loss.parameter, head.weight)
                losses.append(Op(name, "loss", act=_core.LOSSES[loss.kind], x=x, slot=n_targets, at=n_sums, p=p))
                slots.append(("loss", i, loss.kind, n_sums, 2))
                n_sums += 2
            self.head_values.append(x)
            for kind, shown, p0, reads in head.metrics if head else ():
                value = output if reads == "output" else x
                n = 1 + 3 * self.widths[value] if kind == "r2" else 2
                ident = _core.METRICS[kind]
                metrics.append(Op(name, "metric", act=ident, x=value, slot=n_targets, at=n_sums, p=(p0,)))
                slots.append(("metric", i, shown, n_sums, n))
                n_sums += n
            n_targets += bool(head and (head.loss or head.metrics))
        self.n_sums = n_sums
        self.ops += losses + metrics
        return slots, n_targets

    def _drop_dead_ops(self) -> None:
        """Keep inputs, losses, metrics, and what they or the wanted outputs need."""
        made = [self.made[output] for output in self.ends]
        live = set(made) if self.keep_outputs else set()
        kept = []
        for op in reversed(self.ops):
            if op.y in live or op.y == NONE or op.kind == _core.OPS["input"]:
                live.update(op.reads)
                kept.append(op)
        self.ops = kept[::-1]
        there = {op.y for op in self.ops}
        made = [y if y in there else x for y, x in zip(made, self.head_values, strict=True)]
        self.outputs = [y for y in made if y in there]

    def _set_backward_flags(self) -> list[int]:
        """Set the flags of all ops, mark the parameters that get a gradient; return the inputs' gradients."""
        needs = self._need_gradients()
        has_gradient: set = set()  # values whose gradient has been written, going down
        trained: set = set()
        is_loss, is_input = _core.OPS["loss"], _core.OPS["input"]
        for op in reversed(self.ops):
            op.flags = 0
            if op.kind == is_loss:
                active = True
            else:
                weights = [p for p in op.weights if self._trainable[p]] if op.kind != is_input else []
                active = op.y in has_gradient and (bool(weights) or any(x in needs for x in op.pulls))
                if active:
                    op.flags |= _core.ADD_W if any(p in trained for p in weights) else 0
                    trained.update(weights)
            if not active:
                op.flags |= _core.NO_BACKWARD
                op.z = NONE if op.kind == _core.OPS["dense"] else op.z
            for x, add, stop in ((op.x, _core.ADD_X, _core.STOP_X), (op.x2, _core.ADD_X2, _core.STOP_X2)):
                if x == NONE:
                    continue
                if not active or x not in needs or x not in op.pulls:
                    op.flags |= stop
                else:
                    op.flags |= add if x in has_gradient else 0
                    has_gradient.add(x)
        self.params["flags"] &= _core.MASKED | _core.TURNED
        self.params["flags"][list(trained)] |= _core.TRAINABLE
        parameters = [parameter for layer in self.model.layers for parameter in layer.parameters()]
        for record, weight, parameter in zip(self.params, self.model.weights, parameters, strict=True):
            record["rate"] = weight.layer.rate_factor
            for name in ("l1", "l2", "max_norm"):  # as they are now: they may have been changed
                record[name] = getattr(parameter, name)
        if not self.goes_down:
            for op in self.ops:
                stops = [stop for x, stop in ((op.x, _core.STOP_X), (op.x2, _core.STOP_X2)) if x != NONE]
                op.flags = _core.NO_BACKWARD | sum(stops)
        inputs = [self.made[node] for node in self.model.inputs]
        return [y if y in has_gradient else NONE for y in inputs]

    def _need_gradients(self) -> set:
        """Return the values that depend on a trainable parameter, or on an input whose gradient is asked for."""
        scored = any(self.heads)
        self._trainable = [scored and w.trainable and w.layer.trainable for w in self.model.weights]
        needs: set = set()
        for op in self.ops:
            if op.kind == _core.OPS["input"]:
                wanted = self.input_gradients
            else:
                wanted = any(x in needs for x in op.pulls) or any(self._trainable[p] for p in op.weights)
            if wanted and op.y != NONE:
                needs.add(op.y)
        return needs

    def _structures(self) -> tuple[np.ndarray, np.ndarray]:
        """Return places and ends of the sparse ops, one behind the other; all plans of a model share the places."""
        forms = list(dict.fromkeys(op.form for op in self.ops if op.form is not None))
        at = np.cumsum([0, *(_lines(form.places) for form in forms)]).tolist()
        slot = np.cumsum([0, *(len(form.counts) for form in forms)]).tolist()
        if at[-1] >= NONE:
            raise ValueError(f"the model is too large: {at[-1]} bytes of places of pruned layers")
        for op in self.ops:
            if op.form is not None:
                k = forms.index(op.form)
                op.at, op.slot, op.p = at[k], slot[k], (*op.p, op.form.code)
        ends = _joined([np.cumsum(form.counts, dtype=np.uint32) for form in forms], np.uint32)
        places = _shared([form.places for form in forms])
        if not forms:
            places = np.zeros(0, np.uint8)
        elif places is None:
            places = _core.aligned(at[-2] + len(forms[-1].places), np.uint8)
            for form, first in zip(forms, at, strict=False):
                own = places[first : first + len(form.places)]
                own[:] = form.places
                if form.places.base is None:  # from now on it stands in this table, once
                    form.places = own
        return places, ends

    def _tables(self, sum_slots: list, n_targets: int, input_gradients: list[int]) -> Plan:
        """Number what is left, lay out the values and make records of everything."""
        places, value_ends = self._structures()
        used = sorted({v for op in self.ops for v in (*op.reads, op.y, op.z)} - {NONE})
        number = {v: i for i, v in enumerate(used)} | {NONE: NONE}
        for op in self.ops:
            op.x, op.x2, op.y, op.z = (number[v] for v in (op.x, op.x2, op.y, op.z))
        values = np.zeros(len(used), _core.VALUE)
        values["width"] = [self.widths[v] for v in used]
        values["ld"] = [leading_dimension(self.widths[v]) for v in used]
        ends = np.cumsum(values["ld"], dtype=np.uint64)
        if ends[-1] >= 1 << 32:
            raise ValueError(f"the model is too large: {ends[-1]} elements a row, the most is {(1 << 32) - 1}")
        values["column"] = ends - values["ld"]
        plan = Plan(
            values=values,
            params=self.params,
            ops=np.array([op.record() for op in self.ops], _core.OP),
            outputs=np.array([number[v] for v in self.outputs], np.uint32),
            head_values=[number.get(v, NONE) for v in self.head_values],
            input_values=[number[self.made[node]] for node in self.model.inputs],
            input_gradients=[number[v] for v in input_gradients],
            n_inputs=len(self.model.inputs),
            n_targets=n_targets,
            n_sums=self.n_sums,
            row_elems=int(ends[-1]),
            param_elems=self.model.weights.elems,
            dtype=self.model.dtype,
            param_names=[w.name for w in self.model.weights],
            op_names=[op.name for op in self.ops],
            sum_slots=sum_slots,
            node_values=[number.get(self.made[node], NONE) for node in self.model.nodes],
            places=places,
            ends=value_ends,
            functions={i: op.function for i, op in enumerate(self.ops) if op.function},
        )
        _core.check_plan(plan)
        return plan


def _joined(arrays: list, dtype) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.zeros(0, dtype), *arrays])


def _lines(places: np.ndarray) -> int:
    """Return their bytes in whole lines of the cache: kernels read lanes fastest from there."""
    return -(-len(places) // 64) * 64


def _shared(places: list) -> np.ndarray | None:
    """Return the table, of bytes, of which these arrays are parts, each from a line on in their order, or None."""
    base = places[0].base if places else None
    if not isinstance(base, np.ndarray) or base.dtype != np.uint8 or base.ndim != 1:
        return None
    at = begin = places[0].ctypes.data
    for part in places:
        if part.base is not base or part.ctypes.data != at:
            return None
        end, at = at + len(part), at + _lines(part)
    return base[begin - base.ctypes.data : end - base.ctypes.data] if begin % 64 == 0 else None
