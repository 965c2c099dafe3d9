"""The columns of a table in an ONNX graph: an input for each, and what makes the network's inputs of them."""

from __future__ import annotations

import numpy as np

from ..tables.codes import CategoryCode, DateCode, NumberCode
from ..tables.columns import MISSING
from ..tables.encoder import Encoder

__all__ = ["ML_OPSET", "TableInputs"]

ML_OPSET = 3  # of the domain ai.onnx.ml, whose LabelEncoder reads texts


class TableInputs:
    """Writes what stands in front of a network.

    Parameters
    ----------
    g : Graph
    encoder : Encoder

    Raises
    ------
    ValueError
        A column has no name, which an input of a graph needs.

    Attributes
    ----------
    infos : list of ValueInfoProto
        The inputs of the graph, [batch, 1] each: double for numbers and for dates (days since 1970-01-01), string for
        categories.
    values : list of str
        The names of what goes into the network, one for each of its inputs.
    """

    def __init__(self, g, encoder: Encoder):
        self.g = g
        if "" in encoder.names:
            raise ValueError("a column has the name '', but an input of an ONNX graph needs a name: rename the column")
        g.inputs |= {*encoder.names}
        onnx = g.onnx.TensorProto
        kinds = {"number": onnx.DOUBLE, "date": onnx.DOUBLE, "category": onnx.STRING}
        self.infos = [
            g.helper.make_tensor_value_info(code.name, kinds[code.kind], ["batch", 1]) for code in encoder.codes
        ]
        plain: list[str] = []
        embedded: list[str] = []
        for code in encoder.codes:
            g.scope = f"column {code.name}"
            self.name = code.name
            made = WRITERS[code.kind](self, code)
            (embedded if code in encoder.embedded else plain).extend(made)
        g.scope = "columns"
        if plain:
            plain = [g.node("Concat", *plain, axis=1) if len(plain) > 1 else plain[0]]
        self.values = plain + embedded

    def double(self, role: str, values) -> str:
        """Return the name of a constant in double precision."""
        return self.g.tensor(f"{self.name}.{role}", np.asarray(values, np.float64))

    def real(self, x: str) -> str:
        """Return a value in the network's dtype."""
        return x if self.g.double else self.g.cast(x, self.g.dtype)

    def filled(self, code) -> tuple[str, str]:
        """Return where a number is missing, or infinite; and the value, with what stands for a missing one."""
        missing = self.g.node("IsNaN", self.g.node("Sub", code.name, code.name))
        return missing, self.g.node("Where", missing, self.double("fill", [code.fill]), code.name)

    def standard(self, code, value: str) -> str:
        """Return (value - shift) scale."""
        moved = self.g.node("Sub", value, self.double("shift", [code.shift]))
        return self.real(self.g.node("Mul", moved, self.double("scale", [code.scale])))


def _shares(t: TableInputs, code: NumberCode, value: str) -> str:
    """Return how far a value is between neighbours of x, 0 to 1, [batch, pieces]."""
    far = t.g.node("Sub", value, t.double("knots", code.x[:-1]))
    far = t.g.node("Mul", far, t.double("slopes", 1.0 / np.diff(code.x)))
    return t.g.node("Clip", far, t.double("low", 0.0), t.double("high", 1.0))


def _number(t: TableInputs, code: NumberCode) -> list[str]:
    missing, value = t.filled(code)
    if len(code.z):
        rises = t.g.node("MatMul", _shares(t, code, value), t.double("rises", np.diff(code.z)[:, None]))
        parts = [t.real(t.g.node("Add", rises, t.double("first", code.z[:1])))]
    else:
        parts = [t.standard(code, value)]
        if len(code.slopes):
            parts.append(t.real(_shares(t, code, value)))
    return parts + [t.g.cast(missing, t.g.dtype)] * code.indicator


def _date(t: TableInputs, code: DateCode) -> list[str]:
    missing, value = t.filled(code)
    parts = [t.standard(code, value)]
    for k, period in enumerate(code.periods):
        turns = t.g.node("Div", value, t.double(f"period {k}", [period]))
        turns = t.g.node("Sub", turns, t.g.node("Floor", turns))
        angle = t.real(t.g.node("Mul", turns, t.double("turn", [2.0 * np.pi])))
        parts.append(t.g.node("Sin", angle))
        parts.append(t.g.node("Sin", t.g.node("Add", angle, t.g.number(np.pi / 2.0))))
    return parts + [t.g.cast(missing, t.g.dtype)] * code.indicator


def _category(t: TableInputs, code: CategoryCode) -> list[str]:
    places = {text: place for place, text in enumerate(code.levels)}
    nowhere = code.width
    unknown = nowhere if code.place_of_other is None else code.place_of_other
    absent = nowhere if code.place_of_missing is None else code.place_of_missing
    places |= dict.fromkeys(MISSING, absent)
    place = t.g.node(
        "LabelEncoder", code.name, domain="ai.onnx.ml", keys_strings=list(places),
        values_int64s=list(places.values()), default_int64=unknown,
    )  # fmt: skip
    numbers = t.g.tensor(f"places/{code.width}", np.arange(code.width, dtype=np.int64))
    return [t.g.cast(t.g.node("Equal", place, numbers), t.g.dtype)]


WRITERS: dict = {"number": _number, "date": _date, "category": _category}
