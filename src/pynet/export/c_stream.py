"""A recurrent network step by step: which of its values are sequences."""

from __future__ import annotations

from ..reference_ops import OP

__all__ = ["sequences"]

STEPWISE = {OP[name] for name in ("input", "activation", "add", "prelu")}


def sequences(program, model) -> tuple[int, set[int]]:
    """Return the steps of the sequences of a program, and which of its values are sequences.

    Raises
    ------
    ValueError
        There is no LSTM, or several over different numbers of steps; a layer needs a whole sequence.
    """
    recurrent = [op for op in program.ops if op.kind == OP["lstm"]]
    if len({op.at for op in recurrent}) != 1:
        raise ValueError("stream: the model must have LSTM layers, all of them over the same number of steps")
    steps = recurrent[0].at
    found: set[int] = set()
    if steps == 1:  # all is of one step
        return 1, found
    masks = {op.x2 for op in recurrent}
    for value, end in zip(program.plan.input_values, model.inputs, strict=True):
        if value in masks or (len(end.shape) == 2 and end.shape[0] == steps):
            found.add(value)
    for op, name in zip(program.ops, program.plan.op_names, strict=True):
        read = [value in found for value in (op.x, op.x2) if value is not None]
        if op.kind == OP["lstm"]:
            fits, makes = all(read), program.widths[op.y] == steps * int(program.plan.params[op.w2]["rows"])
        else:
            makes = any(read) or op.y in found
            fits = not makes or (all(read) and op.kind in STEPWISE and getattr(op.activation, "name", "") != "softmax")
        if not fits:
            raise ValueError(f"stream: layer {name!r} needs all steps of a sequence at once")
        if makes:
            found.add(op.y)
    return steps, found
