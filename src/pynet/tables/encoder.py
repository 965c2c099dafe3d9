"""From the raw columns of a table to what enters a network: learned from the rows trained on, kept as JSON."""

from __future__ import annotations

import numpy as np

from ..config import expect_keys, expect_list
from ..files import TABLE
from .codes import CODES, CategoryCode, Code, learn
from .columns import Frame
from .table import CLASS_KINDS, class_name

__all__ = ["Encoder", "encoder_of"]

VERSION = 1
MAX_COLUMNS = 4096
MAX_EMBEDDED = 15  # a network has 16 inputs, and one is for all other columns


class Encoder:
    """What each column becomes.

    Parameters
    ----------
    codes : list of Code
        One for each column, in the order of the table.

    Attributes
    ----------
    names : list of str
        The columns that are read.
    plain, embedded : lists of Code
        Those that stand side by side in one array, and categories that have an array of their own each.
    widths : list of int
        Numbers a row of these arrays: of all plain columns together, if there are any, then of each embedded one.
    left_out : dict of str -> str
        Columns that tell nothing, and why; known after `learn` only.
    """

    def __init__(self, codes: list[Code], left_out: dict[str, str] | None = None) -> None:
        self.codes, self.left_out = codes, left_out or {}
        self.names = [code.name for code in codes]
        self.embedded: list[CategoryCode] = [c for c in codes if isinstance(c, CategoryCode) and c.dimensions]
        self.plain = [code for code in codes if code not in self.embedded]
        self.width = sum(code.width for code in self.plain)
        self.widths = [self.width] * bool(self.plain) + [code.width for code in self.embedded]

    @classmethod
    def learn(cls, frame: Frame, scaling: str, missing: str, embed: int, knots: int | None) -> Encoder:
        """Return an encoder for the columns of the rows trained on; the arguments as of TableModel."""
        codes: list[Code] = []
        left_out: dict[str, str] = {}
        for column in frame.columns.values():
            code = learn(column, scaling, missing, embed, knots)
            if isinstance(code, str):
                left_out[column.name] = code
            else:
                codes.append(code)
        if not codes:
            told = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:6])
            raise ValueError(f"{frame.where}no column is left to predict from ({told or 'there is none'})")
        if len(codes) > MAX_COLUMNS:
            raise ValueError(f"{frame.where}{len(codes)} columns, expected at most {MAX_COLUMNS}")
        many = sorted((c for c in codes if isinstance(c, CategoryCode) and c.dimensions), key=lambda c: -c.width)
        for code in many[MAX_EMBEDDED:]:  # the others are one-hot
            code.dimensions = 0
        return cls(codes, left_out)

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each column, for `read_frame`."""
        return {code.name: code.kind for code in self.codes}

    def encode(self, frame: Frame, dtype="float32") -> list[np.ndarray]:
        """Return the arrays of the inputs, [N, width] each.

        Raises
        ------
        ValueError
            A column is missing, or holds what is not of its kind; further columns do no harm.
        """
        n, plain, embedded = len(frame), [], []
        if self.plain:
            plain = [np.zeros((n, self.width), dtype)]
        at = 0
        for code in self.codes:
            column = frame.column(code.name).as_kind(code.kind, frame.where)
            if code in self.embedded:
                embedded.append(np.zeros((n, code.width), np.uint8))
                code.encode(column, embedded[-1])
            else:
                with np.errstate(over="ignore"):
                    code.encode(column, plain[0][:, at : at + code.width])
                at += code.width
        if plain and not np.isfinite(plain[0]).all():
            row, place = (int(k) for k in np.argwhere(~np.isfinite(plain[0]))[0])
            ends = np.cumsum([code.width for code in self.plain])
            name = self.plain[int(np.searchsorted(ends, place, "right"))].name
            raise ValueError(
                f"{frame.where}row {row}, column {name!r}: the number is too large for {np.dtype(dtype).name}"
            )
        return plain + embedded

    # ---- in a file --------------------------------------------------------------------------------------------------

    def config(self) -> dict:
        """Return the encoder as JSON."""
        return {"version": VERSION, "columns": [{"kind": code.kind, **code.config()} for code in self.codes]}

    @classmethod
    def from_config(cls, config) -> Encoder:
        """Return the encoder that `config` was made from; ValueError where anything is not as `config` makes it."""
        what = "the encoder of the table"
        expect_keys(what, config, ("version", "columns"), ("version", "columns"))
        if config["version"] != VERSION or isinstance(config["version"], bool):
            raise ValueError(f"{what} has version {str(config['version'])[:20]}, expected {VERSION}")
        codes = []
        for k, entry in enumerate(expect_list(f"columns of {what}", config["columns"], 1, MAX_COLUMNS)):
            where = f"columns[{k}] of {what}"
            kind = entry.get("kind") if isinstance(entry, dict) else None
            if not isinstance(kind, str) or kind not in CODES:
                raise ValueError(f"{where} has the kind {str(kind)[:40]!r}, expected {', '.join(CODES)}")
            codes.append(CODES[kind].from_config(where, {key: v for key, v in entry.items() if key != "kind"}))
        made = cls(codes)
        if len(set(made.names)) != len(codes):
            raise ValueError(f"{what} has two columns of one name")
        if len(made.embedded) > MAX_EMBEDDED:
            raise ValueError(f"{what} has {len(made.embedded)} embedded columns, expected at most {MAX_EMBEDDED}")
        return made


# ---- of a network ----------------------------------------------------------------------------------------------------


def encoder_of(network) -> tuple[Encoder, dict | None]:
    """Return the encoder in the metadata of a network, and the scaling of the target, if its training goes on.

    Raises
    ------
    ValueError
        There is none, it is damaged or of another network, or names of target, columns or classes do not fit.
    """
    known = network.metadata
    if TABLE not in known:
        raise ValueError(f"the metadata have no entry {TABLE!r}: this is no model of a table")
    encoder = Encoder.from_config(known[TABLE])
    widths = [value.width for value in network.inputs]
    if widths != encoder.widths or len(network.outputs) != 1:
        shown = f"{widths} and {len(network.outputs)} outputs"
        raise ValueError(f"the encoder of the table makes inputs of {encoder.widths}, the network has {shown}")
    if not isinstance(known.get("target"), str):
        raise ValueError("the metadata entry 'target' is not a name")
    names = known.get("features")
    if not (isinstance(names, list) and all(isinstance(n, str) for n in names) and {*encoder.names} <= {*names}):
        raise ValueError("the metadata entry 'features' is not the list of the columns")
    classes, width = known.get("classes"), network.outputs[0].width
    wrong = width != 1 if classes is None else not _are_names(classes, width)
    if wrong:
        raise ValueError(f"the metadata entry 'classes' is not a list of {width} different names")
    if classes is not None:
        _check_kind(known.get("class_kind", "text"), classes)
    return encoder, _checked_scaling(known.get("target_scaling"))


def _are_names(classes, width: int) -> bool:
    texts = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    return texts and len(set(classes)) == len(classes) == width


def _check_kind(kind, names: list[str]) -> None:
    """Raise ValueError unless classes of the kind have these names."""
    if not isinstance(kind, str) or kind not in CLASS_KINDS:
        raise ValueError(f"the metadata entry 'class_kind' is {str(kind)[:40]!r}, expected {', '.join(CLASS_KINDS)}")
    try:
        values = [CLASS_KINDS[kind](name) for name in names]
        right = [class_name(value) for value in values] == names
        right = right and (kind != "integer" or max(map(abs, values)) < 2**53)
    except ValueError:
        right = False
    if not right:
        raise ValueError(f"the metadata entry 'classes' has names that are none of the kind {kind!r}")


def _checked_scaling(scaling) -> dict | None:
    """Return the scaling of the target that a checkpoint has."""
    if scaling is None:
        return None
    shape = isinstance(scaling, dict) and scaling.keys() == {"shift", "scale"}
    if not shape or not all(isinstance(v, list) and len(v) == 1 and isinstance(v[0], float) for v in scaling.values()):
        raise ValueError("the metadata entry 'target_scaling' is not one shift and one scale")
    return scaling
