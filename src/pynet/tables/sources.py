"""What users give to a TableModel, as columns and a target."""

from __future__ import annotations

import os

import numpy as np

from .columns import Frame
from .files import read_frame
from .table import Table

__all__ = ["features_of", "labelled", "table_to_learn"]


def table_to_learn(table, target=None, kinds: dict[str, str] | None = None) -> Table:
    """Return columns and target of a table to learn from; the arguments as of TableModel.fit."""
    kinds = dict(kinds or {})
    name = target if isinstance(target, str) else None
    if isinstance(table, Table):
        frame = Frame.of(table.X, table.feature_names)
    elif _is_path(table):
        frame = read_frame(table, kinds, needed=name)
    else:
        frame = Frame.of(table).guessed(kinds)
    frame = frame.as_kinds(kinds)
    if not len(frame):
        raise ValueError(f"{frame.where}the table has no rows" if frame.names else "the table has no columns")
    if isinstance(table, Table):
        return Table(frame, frame.names, table.y, table.target_name)
    if target is not None and name is None:
        return _beside(frame, target)
    return Table.of_frame(frame, frame.names[-1] if name is None else name)


def features_of(table, model) -> Frame:
    """Return the columns that a model can predict from."""
    if _is_path(table):
        return read_frame(table, model.encoder.kinds, model.encoder.names)
    if isinstance(table, Table):
        return Frame.of(table.X, table.feature_names)
    return Frame.of(table, None if _names_columns(table) else model.features)


def labelled(table, target, model) -> Table:
    """Return columns and target as a model has learned them; target: the name of the column, its values, or None."""
    names = model.encoder.names
    if isinstance(table, Table):
        return Table(Frame.of(table.X, table.feature_names).select(names), names, table.y, table.target_name)
    name = target if isinstance(target, str) else model.target if target is None else None
    frame = read_frame(table, model.encoder.kinds, needed=name) if _is_path(table) else features_of(table, model)
    if name is not None:
        return Table.of_frame(frame, name, names)
    made = _beside(frame, target)
    return Table(made.X.select(names), names, made.y, model.target)


def _beside(frame: Frame, values) -> Table:
    """Return a table whose target stands beside the columns."""
    name = next(n for n in ("target", *(f"target_{k}" for k in range(2, 10**6))) if n not in frame.columns)
    column = Frame.of({name: values}).columns[name]
    if len(column) != len(frame):
        raise ValueError(f"target has {len(column)} values, expected {len(frame)}, one for each row")
    return Table.of_frame(Frame([*frame.columns.values(), column]), name)


def _is_path(table) -> bool:
    return isinstance(table, (str, os.PathLike))


def _names_columns(table) -> bool:
    """Whether a table names its columns, as all do but lists of rows and plain arrays."""
    if isinstance(table, np.ndarray):
        return bool(table.dtype.names)
    return not isinstance(table, (list, tuple))
