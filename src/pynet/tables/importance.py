"""How much each column of a table matters to a model."""

from __future__ import annotations

import numpy as np

from .. import _check
from .columns import Frame
from .table import Table, judged, moments

__all__ = ["permutation_importance"]


def permutation_importance(model, data: Table, n_repeats: int, random_state: int, max_rows: int) -> list:
    """See TableModel.permutation_importance."""
    _check.integer("n_repeats", n_repeats, 1)
    _check.integer("max_rows", max_rows, 2)
    n = len(data.X)
    if n < 2:
        raise ValueError(f"the table has {n} rows, expected at least 2 to exchange values between")
    if n > max_rows:
        data = data.rows(np.linspace(0, n - 1, max_rows).round().astype(np.int64))

    deviation = 0.0 if model.classes else float(moments(np.asarray(data.y).reshape(-1, 1))[1][0])

    def loss(frame: Frame) -> float:
        found = judged(model.outputs(frame), data, model.classes)
        return found["loss"] if model.classes else (found["rmse"] / (deviation or 1.0)) ** 2

    usual = loss(data.X)
    rng = np.random.default_rng(random_state)
    result = []
    for name in model.encoder.names:
        worse = []
        for _ in range(n_repeats):
            columns = dict(data.X.columns)
            columns[name] = columns[name][rng.permutation(len(data.X))]
            worse.append(loss(Frame(list(columns.values()), data.X.source)) - usual)
        result.append((name, float(np.mean(worse)), float(np.std(worse, ddof=1)) if n_repeats > 1 else 0.0))
    return sorted(result, key=lambda entry: -entry[1])
