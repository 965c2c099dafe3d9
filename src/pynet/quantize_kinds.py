"""The roll-call of integer ops: what a file may name."""

from __future__ import annotations

from .quantize_lstm import LSTM
from .quantize_ops import Add, Dense, IntegerOp, PReLU, Scale, Softmax, Table
from .quantize_row_norm import RowNorm

__all__ = ["KINDS"]

KINDS: dict[str, type[IntegerOp]] = {cls.kind: cls for cls in (Dense, Scale, PReLU, Add, Table, Softmax, RowNorm, LSTM)}
