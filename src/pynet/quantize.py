"""From a trained network to integers: post-training quantisation of the frozen plan.

Weights become int8, symmetric, with a scale for each output; activations int8 with a zero point or int16 without;
outputs, and what a softmax reads, are int16 in both cases.  Ops of a plan become integer ops one by one; a batch norm
behind a dense layer is folded into its weights (Jacob et al. 2018, arXiv:1712.05877).
"""

from __future__ import annotations

import math

import numpy as np

from . import _core, activations, quantize_ops
from .heads import output_names
from .quantize_calibrate import check_method, choose, float_machine, some_rows, symmetric, without_padding
from .quantize_lstm import GATE_ONE, LSTM
from .quantize_numbers import Quantization, factor, half, offset_limit
from .quantize_ops import SOFTMAX_Q, SOFTMAX_RATE, Value, largest
from .quantize_row_norm import MAX_EPSILON, MAX_NORM, RowNorm, fraction_bits
from .quantized_input import QuantizedInput
from .quantized_model import QuantizedModel, QuantizedOutput, check_bits
from .reference_ops import OP, Op

__all__ = ["quantize"]

KIND_NAMES = {ident: name for name, ident in _core.OPS.items()}
MAX_BIAS = 1 << 29  # of a bias in units of its accumulator
EXAMPLES = 4  # rows that a C file tests itself with


def quantize(model, X, activations: str = "int8", ranges: str = "mse") -> QuantizedModel:
    """Make an integer network of a trained one; see `Model.quantize`."""
    bits, method = check_bits(activations), check_method(ranges)
    data = some_rows(model, X)
    return _Lowering(model, data, bits, method).network()


class _Lowering:
    """Walks up a plan and makes integer ops of its ops."""

    def __init__(self, model, data: list[np.ndarray], bits: int, method: str):
        self.model, self.plan, self.bits, self.method = model, model.plan, bits, method
        for kind, name in zip(self.plan.ops["kind"].tolist(), self.plan.op_names, strict=True):
            if kind not in LOWER:
                what = KIND_NAMES[kind]
                raise ValueError(f"layer {name!r} cannot be quantised: there is no integer form of its op {what!r}")
        self.machine = float_machine(self.plan, model.arena, data)
        self.data = without_padding(self.machine, data)
        self.ops = self.machine.ops
        self.sample = self.machine.values
        self.params = [p.astype(np.float64) for p in self.machine.params]
        softmaxes = (op.x for op in self.ops if op.kind == OP["activation"] and op.activation.name == "softmax")
        self.fine = {*self.plan.outputs.tolist(), *softmaxes}  # of 16 bits whatever `bits` is
        self.values: list[Value] = []
        self.made: list = []  # integer ops
        self.at: dict[int, int] = {}  # value of the plan -> value here
        self.inputs: dict[int, QuantizedInput] = {}  # by slot
        self.name = ""  # of the layer whose op is being made

    def network(self) -> QuantizedModel:
        for op, name in zip(self.ops, self.plan.op_names, strict=True):
            self.name = name
            LOWER[op.kind](self, op)
        inputs = [self.inputs[slot] for slot in range(len(self.model.inputs))]
        names = zip(output_names(self.model), self.plan.outputs.tolist(), self.model.outputs, strict=True)
        outputs = [QuantizedOutput(name, self.at[v], node.shape) for name, v, node in names]
        examples = []
        for i, x in zip(inputs, self.data, strict=True):
            q = self.values[i.value].q
            examples.append(i.integers(x[:: max(1, len(x) // EXAMPLES)][:EXAMPLES], q).astype(q.dtype))
        metadata = dict(self.model.metadata)
        return QuantizedModel(self.values, self.made, inputs, outputs, examples, self.model, metadata)

    # ---- values -----------------------------------------------------------------------------------------------------

    def bits_of(self, v: int) -> int:
        return 16 if v in self.fine else self.bits

    def add_value(self, width: int, q: Quantization, name: str, of: int = -1) -> int:
        self.values.append(Value(width, q, name, of))
        return len(self.values) - 1

    def value(self, v: int, q: Quantization | None = None) -> int:
        """Return the value that stands for one of the plan, made now if it is new."""
        if v not in self.at:
            q = q or choose(f"the output of {self.name!r}", self.sample[v], self.bits_of(v), self.method)
            self.at[v] = self.add_value(self.machine.widths[v], q, self.name, v)
        return self.at[v]

    def q(self, value: int) -> Quantization:
        return self.values[value].q

    # ---- ops --------------------------------------------------------------------------------------------------------

    def input(self, op: Op) -> None:
        shift = np.zeros(1) if op.b is None else _short(self.params[op.b][0])
        scale = np.ones(1) if op.w is None else _short(self.params[op.w][0])
        bits, offset = self.bits, None
        raw = self.data[op.slot]
        alike = shift.size == scale.size == 1 and shift[0] == np.rint(shift[0]) and scale[0] > 0
        if alike and raw.dtype.kind in "iu" and op.y not in self.fine:
            offset, bits = _offset(int(raw.min()), int(raw.max()), bits)
        if offset is None:
            value = self.value(op.y)
        else:
            scale = scale.astype(np.float32).astype(np.float64)
            value = self.value(op.y, Quantization(float(scale[0]), int(shift[0]) + offset, bits))
        rate = (2 * scale / self.q(value).scale).astype(np.float32)
        node = self.model.inputs[op.slot]
        name = self.model.names[node.layer]
        self.inputs[op.slot] = QuantizedInput(name, value, node.shape, shift.astype(np.float32), rate, offset)

    def dense(self, op: Op) -> None:
        self.connect(op, self.params[op.w])

    def sparse(self, op: Op) -> None:
        self.connect(op, self.machine.forms[op.at].matrix(self.params[op.w][0]))

    def connect(self, op: Op, w: np.ndarray) -> None:
        """Make y = act(x w + b), a batch norm folded into w and b."""
        b = np.zeros(w.shape[1]) if op.b is None else self.params[op.b][0]
        if op.w2 is not None:
            slope, b = self.norm(op, op.p[2], b)
            w = w * slope
        act = op.activation
        z = self.sample[op.x].astype(np.float64) @ w + b
        x, what = self.at[op.x], f"the sums of {self.name!r}"
        if act.name == "softmax":
            q = choose(what, z, 16, self.method)
            logits = self.add_value(w.shape[1], q, f"{self.name} (logits)")
            self.made.append(self.affine(x, logits, q, w, b, "identity"))
            self.softmax(logits, op.y)
            return
        y = self.value(op.y)
        if act.name in CUTS:
            self.made.append(self.affine(x, y, self.q(y), w, b, act.name))
        else:
            q = choose(what, z, self.bits_of(op.y), self.method, act)
            self.made.append(self.affine(x, y, q, w, b, "identity", table=_table(act, q, self.q(y))))

    def norm(self, op: Op, epsilon: float, b: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Return slope and offset of the norm of (x + b)."""
        gamma, beta, mean, variance = (p[0] for p in self.params[op.w2 : op.w2 + 4])
        slope = gamma / np.sqrt(variance + epsilon)
        return slope, (b - mean) * slope + beta

    def affine(self, x: int, y: int, z: Quantization, w, b, cut: str, table=None) -> quantize_ops.Dense:
        """Return the dense op; z: what its sums become before the table, else y itself."""
        q = self.q(x)
        w_oi, b_o, scale = self.weights(w, b, q)
        lo, hi = _cut(cut, z)
        nothing = np.zeros(0, self.q(y).dtype)
        op = quantize_ops.Dense(
            x, y, w_oi, b_o, np.zeros(len(b_o), np.int32), 0, z.zero, lo, hi,
            nothing if table is None else table,
        )  # fmt: skip
        bound = int(op.bounds(q).max())
        if cut == "step":
            m, op.s = np.full(len(b_o), 1 << 20), 1  # any sum above 0 passes the upper end
        else:
            m, op.s = factor(q.scale * scale / z.scale, bound, f"layer {self.name!r}")
        op.m = m.astype(np.int32)
        return op

    def weights(self, w: np.ndarray, b: np.ndarray, q: Quantization) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the integers of w [I, O] as [O, I], those of b, and the scale of each output's weights; q: of x."""
        scale = np.maximum(np.abs(w).max(axis=0) / 127, np.abs(b) / (q.scale * MAX_BIAS))
        scale[scale == 0] = 1.0
        w_oi = np.rint(w / scale).astype(np.int64).T
        b_o = np.rint(b / (q.scale * scale)).astype(np.int64) - q.zero * w_oi.sum(axis=1)
        if np.abs(b_o).max() >= 1 << 31:
            raise ValueError(f"layer {self.name!r}: a bias of {np.abs(b_o).max()} units does not fit 32 bits")
        return np.ascontiguousarray(w_oi, np.int8), b_o.astype(np.int32), scale

    def activation(self, op: Op) -> None:
        act, x = op.activation, self.at[op.x]
        if act.name == "softmax":
            self.softmax(x, op.y)
        elif act.name in CUTS:
            y = self.value(op.y)
            lo, hi = _cut(act.name, self.q(y))
            self.scaled(x, y, [1.0], [0.0], lo, hi)
            if act.name == "step":
                step = self.made[-1]
                step.m[:], step.c[:], step.s = 1 << 16, self.q(y).zero, 0
        else:
            y = self.value(op.y)
            self.made.append(quantize_ops.Table(x, y, _table(act, self.q(x), self.q(y))))

    def softmax(self, x: int, v: int) -> None:
        m, s = factor(self.q(x).scale * SOFTMAX_RATE, 1 << 16, f"softmax of {self.name!r}")
        self.made.append(quantize_ops.Softmax(x, self.value(v, SOFTMAX_Q), int(m), s))

    def scaled(self, x: int, y: int, slope, offset, lo=None, hi=None, at: int = 0) -> None:
        """Make y = slope x + offset, at place `at` of y."""
        a, b = self.q(x), self.q(y)
        places = np.asarray(offset) / b.scale + b.zero
        ratios = np.asarray(slope) * a.scale / b.scale
        m, s = factor(ratios, largest(a), f"layer {self.name!r}", min(60, offset_limit(places)))
        c = np.rint(np.ldexp(places, s)).astype(np.int64) + half(s)
        lo, hi = (b.lo if lo is None else lo), (b.hi if hi is None else hi)
        self.made.append(quantize_ops.Scale(x, y, at, m.astype(np.int32), c, s, lo, hi))

    def running_norm(self, op: Op) -> None:
        self.scaled(self.at[op.x], self.value(op.y), *self.norm(op, op.p[0], 0.0))

    def row_norm(self, op: Op) -> None:
        x, y = self.at[op.x], self.value(op.y)
        a, b = self.q(x), self.q(y)
        epsilon = round(max(op.p[0] / a.scale**2 * 4.0 ** fraction_bits(a.bits), 1.0))
        if epsilon > MAX_EPSILON:
            raise ValueError(f"layer {self.name!r}: its epsilon {op.p[0]:g} is too large for values of {a.scale:g}")
        gamma, beta = (np.full(1, x) if p is None else self.params[p][0] for p, x in ((op.w, 1.0), (op.b, 0.0)))
        gamma, beta = np.broadcast_arrays(gamma, beta)
        places = beta / b.scale + b.zero
        m, s = factor(gamma / (b.scale * 65536), MAX_NORM, f"layer {self.name!r}", min(60, offset_limit(places)))
        c = np.rint(np.ldexp(places, s)).astype(np.int64) + half(s)
        self.made.append(RowNorm(x, y, epsilon, m.astype(np.int32), c, s, b.lo, b.hi))

    def lstm(self, op: Op) -> None:
        w, r, b = self.params[op.w], self.params[op.w2], self.params[op.b][0]
        x, n, steps, states = self.at[op.x], len(r), op.at, self.machine.kept[op]
        x_btf = self.sample[op.x].astype(np.float64).reshape(len(self.sample[op.x]), steps, -1)
        above = np.stack([x_btf[:, t] @ w + states[t][6] @ r + b for t in range(steps)])
        if op.x2 is not None and (taken := self.sample[op.x2].T > 0.5).any():
            above = above[taken]
        i, f, a, q = np.split(above, 4, axis=-1)
        what, sigmoid, tanh = f"a gate of {self.name!r}", activations.get("sigmoid"), activations.get("tanh")
        gate = choose(what, [i, f, q], 16, self.method, sigmoid)
        content = choose(what, a, 16, self.method, tanh)
        cell = choose(f"the cell of {self.name!r}", [state[5] for state in states], 16, self.method)
        bits = self.bits_of(op.y)
        largest_h = max(float(np.abs(state[7]).max()) for state in states)
        hidden = symmetric(largest_h if bits == 8 else min(1.0, 2 * largest_h), bits)
        w_gi, b_g, w_scale = self.weights(w, b, self.q(x))
        r_gu, _, r_scale = self.weights(r, np.zeros(4 * n), hidden)
        z_scale = np.repeat([gate.scale, gate.scale, content.scale, gate.scale], n)
        threshold = 0
        if op.x2 is not None:
            mask = self.q(self.at[op.x2])
            threshold = math.floor(mask.zero + 0.5 / mask.scale)
        one = Quantization(1 / GATE_ONE, 0, 16)
        (m_f, m_i), s_c = factor([1 / GATE_ONE, 1 / GATE_ONE**2 / cell.scale], 1 << 31, what)
        m_h, s_h = factor(1 / GATE_ONE**2 / hidden.scale, 1 << 30, what)
        made = LSTM(
            x, self.value(op.y, hidden), -1 if op.x2 is None else self.at[op.x2],
            self.add_value(n, cell, f"{self.name} (cell)"), self.add_value(n, hidden, f"{self.name} (hidden)"),
            steps, threshold, w_gi, r_gu, b_g, np.zeros(4 * n, np.int32), np.zeros(4 * n, np.int32), 0,
            int(m_f), int(m_i), s_c, int(m_h), s_h,
            _table(sigmoid, gate, one), _table(tanh, content, one), _table(tanh, cell, one),
        )  # fmt: skip
        bound = 2 * max(int(bounds.max()) for bounds in made.bounds(self.q(x), hidden))
        ratios = np.concatenate([self.q(x).scale * w_scale / z_scale, hidden.scale * r_scale / z_scale])
        factors, made.s = factor(ratios, bound, f"layer {self.name!r}")
        made.m, made.n = np.split(factors.astype(np.int32), 2)
        self.made.append(made)

    def concat(self, op: Op) -> None:
        self.scaled(self.at[op.x], self.value(op.y), [1.0], [0.0], at=op.at)

    def add(self, op: Op) -> None:
        x, x2, y = self.at[op.x], self.at[op.x2], self.value(op.y)
        a, a2, b = self.q(x), self.q(x2), self.q(y)
        ratios = np.array([a.scale, a2.scale]) / b.scale
        bound = max(largest(a), largest(a2))
        (m, m2), s = factor(ratios, bound, f"layer {self.name!r}", min(60, offset_limit(b.zero)))
        c = (b.zero << s) + half(s)
        self.made.append(quantize_ops.Add(x, y, x2, int(m), int(m2), c, s, b.lo, b.hi))

    def prelu(self, op: Op) -> None:
        x, y = self.at[op.x], self.value(op.y)
        a, b = self.q(x), self.q(y)
        ratios = np.append(1.0, self.params[op.w][0]) * a.scale / b.scale
        m, s = factor(ratios, largest(a), f"layer {self.name!r}", min(60, offset_limit(b.zero)))
        c = (b.zero << s) + half(s)
        self.made.append(quantize_ops.PReLU(x, y, int(m[0]), m[1:].astype(np.int32), c, s, b.lo, b.hi))


LOWER = {
    OP["input"]: _Lowering.input,
    OP["dense"]: _Lowering.dense,
    OP["sparse"]: _Lowering.sparse,
    OP["activation"]: _Lowering.activation,
    OP["add"]: _Lowering.add,
    OP["concat"]: _Lowering.concat,
    OP["running_norm"]: _Lowering.running_norm,
    OP["prelu"]: _Lowering.prelu,
    OP["row_norm"]: _Lowering.row_norm,
    OP["lstm"]: _Lowering.lstm,
}
CUTS = ("identity", "relu", "step")  # activations that need no table


def _cut(activation: str, q: Quantization) -> tuple[int, int]:
    """Return the ends between which a scaled sum is its activation."""
    if activation == "identity":
        return q.lo, q.hi
    lo = min(max(q.lo, q.zero), q.hi)
    return (lo, q.hi) if activation == "relu" else (lo, int(q.nearest(1.0)))


def _table(activation, x: Quantization, y: Quantization) -> np.ndarray:
    """Return what `look_up` reads: an activation of all integers of 8 bits, or of every 128th of 16."""
    step = 1 if x.bits == 8 else (x.hi - x.lo + 1) // quantize_ops.SEGMENTS
    integers = np.arange(x.lo, x.hi + 1 if x.bits == 8 else x.hi + 2, step)
    with np.errstate(all="ignore"):
        return y.nearest(np.nan_to_num(activation((integers - x.zero) * x.scale))).astype(y.dtype)


def _short(vector: np.ndarray) -> np.ndarray:
    """Return one element if all are the same."""
    return vector[:1] if (vector == vector[0]).all() else vector


def _offset(lo: int, hi: int, bits: int) -> tuple[int | None, int]:
    """Return what to add to whole numbers lo..hi so that they are integers of 8 or `bits` bits, and how many."""
    for offset, least, most, width in ((-128, 0, 255, 8), (0, -128, 127, 8), (0, -32768, 32767, 16)):
        if width <= bits and least <= lo and hi <= most:
            return offset, width
    return None, bits
