"""The plan: what both machines execute.  Three tables of records, and where parameters stand in their arena.

`build` (planner.py) makes one from a model; `print(plan.text())` shows it.  The records are those of csrc/pynet.h.
"""

from __future__ import annotations

import numpy as np

from . import _core

__all__ = ["Job", "Plan", "bits_of", "build", "pack", "padded", "param_size", "unpack", "words_of"]

PANEL = _core.PANEL
NONE = _core.NONE


# ---- layout ---------------------------------------------------------------------------------------------------------


def padded(width: int) -> int:
    """Return `width` rounded up to whole panels of 16 columns."""
    return -(-width // PANEL) * PANEL


def leading_dimension(width: int) -> int:
    """Return the elements between two rows of a value: whole panels, and never a multiple of 512."""
    ld = padded(width)
    return ld + PANEL if ld % 512 == 0 else ld


def param_size(record) -> int:
    """Return the elements that a parameter takes in an arena."""
    rows, cols = _stored(record)
    return padded(cols) * rows


def _stored(record) -> tuple[int, int]:
    """Return the rows and columns of a parameter as it is kept: turned, those of its transpose."""
    rows, cols = int(record["rows"]), int(record["cols"])
    return (cols, rows) if record["flags"] & _core.TURNED else (rows, cols)


def _panels(arena: np.ndarray, record) -> np.ndarray:
    """Return the view [ceil(O/16), I, 16] of a parameter in its arena, turned [ceil(I/16), O, 16]."""
    offset = int(record["offset"])
    return arena[offset : offset + param_size(record)].reshape(-1, _stored(record)[0], PANEL)


def unpack(arena: np.ndarray, record) -> np.ndarray:
    """Return a copy of one parameter as a plain matrix [I, O] (a vector: [1, O])."""
    rows, cols = _stored(record)
    matrix = _panels(arena, record).transpose(1, 0, 2).reshape(rows, -1)[:, :cols]
    return (matrix.T if record["flags"] & _core.TURNED else matrix).copy()


def pack(arena: np.ndarray, record, array) -> None:
    """Write a plain matrix [I, O] (a vector: [O]) into its place in `arena`, padded with zeros."""
    rows, cols = _stored(record)
    matrix = np.reshape(array, (int(record["rows"]), int(record["cols"])))
    wide = np.zeros((rows, padded(cols)), arena.dtype)
    wide[:, :cols] = matrix.T if record["flags"] & _core.TURNED else matrix
    _panels(arena, record)[...] = wide.reshape(rows, -1, PANEL).transpose(1, 0, 2)


def bits_of(words: np.ndarray) -> np.ndarray:
    """Return the bits of uint16 words, lowest first, as an arena of 0 and 1: how masks of pruned weights are kept."""
    return np.unpackbits(words.astype("<u2").view(np.uint8), bitorder="little")


def words_of(bits: np.ndarray) -> np.ndarray:
    """Return the words of which `bits_of` makes these bits."""
    return np.packbits(bits, bitorder="little").view("<u2").astype(np.uint16)


# ---- the tables -----------------------------------------------------------------------------------------------------


class Plan:
    """The tables of one network, for one purpose (predicting, or training with given heads).

    Attributes
    ----------
    values, params, ops : record arrays
        Of _core.VALUE, _core.PARAM, _core.OP.  A parameter is TRAINABLE here if a loss of this plan reaches it.
    outputs : uint32 array
        Values that are the network's outputs (of a head whose output nobody asked for: its logits).
    head_values : list of int
        For each output the value its loss reads.
    input_values : list of int
        For each input slot the value that INPUT writes.
    input_gradients : list of int
        The same where a gradient was asked for and a loss depends on it, else NONE.
        It is the gradient of (raw - shift) * scale; that of the raw input is `scale` times as large.
    n_inputs, n_targets, n_sums, row_elems, param_elems : int
        As in csrc/pynet.h.
    dtype : np.dtype
        float32 or float64.
    param_names, op_names : list of str
        Parallel to params and ops: "dense_1.kernel", "dense_1".
    sum_slots : list of (kind, head, name, first, count)
        What stands in sums[first : first + count]: kind "loss" or "metric" of output number `head`.
        sums[0] is the penalties' total, sums[1] the number of batches.
    node_values : list of int
        For each value of the graph (model.nodes) the value of this plan that holds it, NONE if none does.  What a
        layer was folded into is there no more: its value is the one behind the fold.
    places, ends : uint8 and uint32 arrays
        Where the values of sparse ops belong: see csrc/pynet.h.
    functions : dict of int -> object with forward(x, width) and backward(x, y, dy)
        What computes the python op of that number.
    """

    __slots__ = (
        "dtype", "ends", "functions", "head_values", "input_gradients", "input_values", "n_inputs", "n_sums",
        "n_targets", "node_values", "op_names", "ops", "outputs", "param_elems", "param_names", "params", "places",
        "row_elems", "sum_slots", "values"
    )  # fmt: skip

    values: np.ndarray
    params: np.ndarray
    ops: np.ndarray
    outputs: np.ndarray
    head_values: list[int]
    input_values: list[int]
    input_gradients: list[int]
    n_inputs: int
    n_targets: int
    n_sums: int
    row_elems: int
    param_elems: int
    dtype: np.dtype
    param_names: list[str]
    op_names: list[str]
    sum_slots: list[tuple]
    node_values: list[int]
    places: np.ndarray
    ends: np.ndarray
    functions: dict

    def __init__(self, **tables):
        for name in Plan.__slots__:
            setattr(self, name, tables[name])

    def text(self) -> str:
        """Return the plan as a table, one op a line."""
        head = (
            f"plan {self.dtype.name}: {self.n_inputs} inputs, {self.n_targets} targets, {len(self.ops)} ops, "
            f"{len(self.values)} values ({self.row_elems} elements a row), "
            f"{len(self.params)} params ({self.param_elems} elements)"
        )
        columns = ("op", "layer", "kind", "act", "x", "x2", "y", "z", "w", "b", "w2", "slot", "at", "p", "flags")
        rows = [columns, *(self._row(i) for i in range(len(self.ops)))]
        widths = [max(len(row[k]) for row in rows) for k in range(len(columns))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([head, *lines, "outputs: " + " ".join(self._value(v) for v in self.outputs)])

    def _value(self, v) -> str:
        return "" if v == NONE else f"v{v}:{self.values[v]['width']}"

    def _param(self, p) -> str:
        return "" if p == NONE else self.param_names[p]

    def _row(self, i: int) -> tuple[str, ...]:
        op = self.ops[i]
        kind = _name(_core.OPS, op["kind"])
        targeted = kind in ("loss", "metric")
        slotted = targeted or kind in ("input", "random") or (kind == "dense" and op["p"][2] and op["w2"] == NONE)
        return (
            str(i),
            self.op_names[i],
            kind,
            _name(ROLLS[kind], op["act"]) if kind in ROLLS else "",
            *(self._value(op[k]) for k in ("x", "x2", "y", "z")),
            *(self._param(op[k]) for k in ("w", "b", "w2")),
            str(op["slot"]) if slotted else "",
            str(op["at"]) if targeted or kind in ("concat", "lstm") else "",
            " ".join(f"{p:g}" for p in op["p"]) if op["p"].any() else "",
            " ".join(name for name in FLAGS if op["flags"] & getattr(_core, name)),
        )


ROLLS: dict[str, dict] = {  # what `act` means, by kind
    "dense": _core.ACTIVATIONS, "sparse": _core.ACTIVATIONS, "activation": _core.ACTIVATIONS, "loss": _core.LOSSES,
    "metric": _core.METRICS, "random": _core.RANDOM, "gradient_clip": _core.CLIPS,
}  # fmt: skip
FLAGS = ("ADD_X", "ADD_X2", "STOP_X", "STOP_X2", "NO_BACKWARD", "ADD_W")


def _name(roll: dict, ident: int) -> str:
    for name, row in roll.items():
        if (row[0] if isinstance(row, tuple) else row) == ident:
            return name
    return f"?{ident}"


class Job:
    """What a machine runs over which rows.

    Attributes
    ----------
    inputs : list of arrays [N, width]
        One for each input slot; any strides, any integer or float dtype of csrc/pynet.h.
    targets : list of arrays
        [N] integers where the loss takes class numbers, else [N, width].
    outputs : list of C-contiguous arrays [rows, width] of the plan's dtype, or None
        What the OUTPUT stage writes.
    weight : float64 array [N] or None
        Weights of the rows; None: 1.
    order : int64 array [rows] or None
        Which rows, in which order; None: 0, 1, 2 ...
    rows : int
        Length of `order`, or of the arrays.
    batch : int
        Rows of one batch; the last may have fewer.
    ahead : int
        Rows of `order` that the system is asked to read early, of inputs in mapped files; 0: none.
    stages : int
        Sum of _core.FORWARD, LOSS, METRIC, BACKWARD, UPDATE, OUTPUT, BARE.
    optimizer : int
        Id in _core.OPTIMIZERS; `hyper` (float64 [8]) are its constants.
    rate : float64 array
        Learning rate of each batch, counted from the `first` of Machine.run.
    clips : list of (kind id, c)
        Applied in order before the update.
    step : int
        Updates done before batch `first`; of random numbers without updates: which of several draws.
    seed : int
        Key of all random numbers, 0 to 2^64-1.
    sums : float64 array [n_sums]
        Added to: see Plan.sum_slots.
    parts : (parts, first, stop), or None
        Whole batches, or of each batch, cut into `parts` of them, those from `first` to `stop` - 1, which add to sums
        of their own, [(stop - first) * n_sums].  See pn_job in csrc/pynet.h.
    reduce : callable, or None
        With `parts`, of jobs that update: reduce(part, status) -> (status, whether this batch is the last of the run),
        called after the way down of each part.  Status: "ok", "not_finite", "bad_label" or "failed".
    terms : list of arrays [param_elems], or None
        With `reduce`, without `clips`: the gradients, the machine's own among them, whose sum in this order an update
        follows; reduce then leaves the machine's as it is.
    updated : callable, or None
        Called after each update that read `terms`; the next step overwrites them.
    """

    __slots__ = (
        "ahead", "batch", "clips", "hyper", "inputs", "optimizer", "order", "outputs", "parts", "rate", "reduce",
        "rows", "seed", "stages", "step", "sums", "targets", "terms", "updated", "weight"
    )  # fmt: skip

    def __init__(self, **fields):
        self.inputs: list = []
        self.targets: list = []
        self.outputs = self.weight = self.order = self.rate = self.sums = self.parts = self.reduce = None
        self.terms = self.updated = None
        self.rows = self.ahead = self.stages = self.optimizer = self.step = self.seed = 0
        self.batch = 1
        self.hyper = np.zeros(8)
        self.clips: list = []
        for name, value in fields.items():
            setattr(self, name, value)


MODES = ("predict", "sample", "score", "gradients", "train")


def build(
    model, heads=None, input_gradients: bool = False, keep_outputs: bool = False, mode: str | None = None, outputs=None
) -> Plan:
    """Return the plan of `model`.

    Parameters
    ----------
    model : Model
    heads : list, optional
        None: a plan that only predicts.  Else parallel to model.outputs; each is None (nothing is computed for that
        output) or has the attributes `loss` (None, or with .kind, .parameter, .absorbs), `weight` and
        `metrics`, a list of (metric kind, display name, p0, reads) where reads is "logits" or "output".
    input_gradients : bool
        Whether gradients of the inputs are computed as well.
    keep_outputs : bool
        Whether a plan with heads computes all outputs, even those only their loss would have needed.
    mode : str, optional
        "predict": frozen (nothing random, batch norms with their running statistics), only upwards; the default
        without heads.  "sample": the same with random layers at work.  "score": frozen, with heads, only upwards.
        "gradients": frozen, with heads, up and down.  "train": random layers and batch statistics at work, up and
        down; the default with heads.
    outputs : list of Value, optional
        Instead of the model's own, for "predict" and "sample": any values of its graph.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        The network is too large for the tables, or a loss absorbs another activation than the head has.
    """
    from .planner import Planner

    return Planner(model, heads, input_gradients, keep_outputs, mode, outputs).plan()
