"""The parameters of a model: one arena, their places in it, their first values, and plain copies in and out.

The layout is a property of the graph, so all plans of a model share the arena; machines read and write it in place.
"""

from __future__ import annotations

import contextlib

import numpy as np

from . import _check, _core
from .plan import bits_of, pack, param_size, unpack, words_of

__all__ = ["Weight", "Weights"]

MAX_ELEMENTS = 1 << 31


class Weight:
    """One parameter: its name in the model, its layer, and what the layer says about it (see layers.Parameter)."""

    __slots__ = ("draw", "layer", "lowest", "name", "record", "shape", "suffix", "trainable")

    def __init__(self, name: str, layer, parameter, record):
        self.name, self.layer, self.record = name, layer, record
        self.suffix, self.shape, self.draw = parameter.suffix, parameter.shape, parameter.draw
        self.trainable, self.lowest = parameter.trainable, parameter.lowest

    @property
    def size(self) -> int:
        return int(self.record["rows"]) * int(self.record["cols"])


class Weights:
    """All parameters of a model, in the order of its layers.

    Attributes
    ----------
    records : array of _core.PARAM
        Offsets and shapes; of the flags MASKED and TURNED.  All else is a plan's business.
    index : dict
        (layer, suffix) -> number.
    elems : int
        Length of the arena.
    arena : array of `dtype`
        The numbers, in panel layout (empty until `allocate`).
    keep : uint16 array [elems / 16], or None
        Bits of the arena, 0 where a weight is pruned: it is 0 and stays so.  None: nothing was ever pruned.
    mask_version : int
        How often the masks have changed.
    """

    def __init__(self, layers: list, names: dict, dtype: np.dtype):
        owned = [(layer, parameter) for layer in layers for parameter in layer.parameters()]
        self.dtype = dtype
        self.arena: np.ndarray = np.zeros(0, dtype)
        self.keep: np.ndarray | None = None
        self.mask_version = 0
        self.records = np.zeros(len(owned), _core.PARAM)
        self.rows: list[Weight] = []
        self.index: dict = {}
        offset = 0
        for i, (layer, parameter) in enumerate(owned):
            rows, cols = parameter.shape if len(parameter.shape) == 2 else (1, *parameter.shape)
            record = self.records[i]
            flags = _core.TURNED if parameter.of_dense and cols <= _core.MOST_TURNED else 0
            for field, value in (("offset", offset), ("rows", rows), ("cols", cols), ("flags", flags)):
                record[field] = value
            offset += param_size(record)
            self.rows.append(Weight(f"{names[layer]}.{parameter.suffix}", layer, parameter, record))
            self.index[layer, parameter.suffix] = i
        if offset > MAX_ELEMENTS:
            raise ValueError(f"the model is too large: {offset} elements of parameters, the most is {MAX_ELEMENTS}")
        self.elems = offset

    def __iter__(self):
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    # ---- first values -----------------------------------------------------------------------------------------------

    def allocate(self) -> None:
        """Make the arena, all zero, and tell the layers that their parameters are here now."""
        self.arena = _core.aligned(self.elems, self.dtype)
        self.claim()

    def claim(self) -> None:
        """Tell the layers that their newest values are here: a model made of them later starts from these."""
        for weight in self.rows:
            home = weight.layer.home
            if home is None or home[0] is not self.arena or home[2] is not self.keep:
                weight.layer.home = home = (self.arena, {}, self.keep)
            home[1][weight.suffix] = weight.record

    def start(self, key: int) -> None:
        """Allocate; take values from the models that held the layers before, draw those of new layers."""
        homes = {weight.layer: weight.layer.home for weight in self.rows}
        fresh = []
        for i, weight in enumerate(self.rows):
            if homes[weight.layer] is None:
                fresh.append((weight, self._draw(i, key)))
        self.allocate()
        for weight, array in fresh:
            pack(self.arena, weight.record, array)
        masks = {}
        for weight in self.rows:
            if homes[weight.layer] is not None:
                arena, records, keep = homes[weight.layer]
                record = records[weight.suffix]
                pack(self.arena, weight.record, unpack(arena, record))
                if record["flags"] & _core.MASKED:
                    masks[weight.name] = unpack(bits_of(keep), record)
        if masks:
            self.set_masks(masks)

    def draw(self, key: int) -> None:
        """Draw all values anew."""
        arrays = [self._draw(i, key) for i in range(len(self.rows))]
        for weight, array in zip(self.rows, arrays, strict=True):
            pack(self.arena, weight.record, array)
        self.clear_pruned(self.arena)
        self.claim()

    def _draw(self, i: int, key: int) -> np.ndarray:
        weight = self.rows[i]
        try:
            with np.errstate(over="ignore"):  # what the dtype cannot hold is refused
                array = weight.draw(self.dtype, key, (i,))
            if not np.isfinite(array).all():
                raise ValueError(f"its first values must be finite in {self.dtype.name}, got values beyond")
            return array
        except ValueError as error:
            raise ValueError(f"parameter {weight.name!r}: {error}") from None

    # ---- masks of pruned weights ------------------------------------------------------------------------------------

    def masks(self) -> dict[str, np.ndarray]:
        """Return {name: boolean array, True where a weight is kept} of the pruned parameters."""
        if self.keep is None:
            return {}
        bits = bits_of(self.keep)
        pruned = [weight for weight in self.rows if weight.record["flags"] & _core.MASKED]
        return {weight.name: unpack(bits, weight.record).reshape(weight.shape).astype(bool) for weight in pruned}

    def set_masks(self, masks: dict) -> None:
        """Prune the parameters named in {name: array like them, 0 where a weight goes}; None: its mask is taken off."""
        bits = np.ones(self.elems, np.uint8) if self.keep is None else bits_of(self.keep)
        for weight in self.rows:
            if weight.name in masks:
                mask = masks[weight.name]
                pack(bits, weight.record, np.ones(weight.shape) if mask is None else mask)
                others = weight.record["flags"] & ~np.uint32(_core.MASKED)
                weight.record["flags"] = others | (_core.MASKED if mask is not None else 0)
        self.keep = words_of(bits)
        self.mask_version += 1
        self.clear_pruned(self.arena)
        self.claim()

    @contextlib.contextmanager
    def all_or_nothing(self):
        """Values and masks are as they were before if what is done meanwhile fails or is interrupted."""
        arena, keep, flags = self.arena.copy(), self.keep, self.records["flags"].copy()
        try:
            yield
        except BaseException:
            self.arena[:], self.keep, self.records["flags"] = arena, keep, flags
            self.mask_version += 1
            self.claim()
            raise

    def clear_pruned(self, arena: np.ndarray) -> None:
        """Set the places of pruned weights in an arena to 0."""
        if self.keep is not None:
            arena[bits_of(self.keep) == 0] = 0

    # ---- plain copies -----------------------------------------------------------------------------------------------

    def read(self, arena: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return {name: copy} of the parameters, or of what stands at their places in another arena."""
        arena = self.arena if arena is None else arena
        return {weight.name: unpack(arena, weight.record).reshape(weight.shape) for weight in self.rows}

    def write(self, arrays: dict) -> None:
        """Write all parameters from {name: array}; nothing is written unless all of it is right."""
        self.check_names(arrays)
        self.put(arrays)

    def put(self, arrays: dict) -> None:
        """Write the parameters named in {name: array}, whose shapes must fit; nothing unless all of it is right."""
        staged = self.arena.copy()
        for weight in self.rows:
            if weight.name in arrays:
                pack(staged, weight.record, self._checked(weight, arrays[weight.name]))
        self.clear_pruned(staged)
        self.arena[:] = staged
        self.claim()

    def check_names(self, arrays: dict) -> None:
        """Refuse {name: array} whose names are not exactly those of the parameters, or whose shapes differ."""
        if not hasattr(arrays, "keys"):
            raise TypeError(f"a dict of name -> array is expected, got {type(arrays).__name__}")
        names = {weight.name for weight in self.rows}
        for name in arrays:
            if name not in names:
                raise ValueError(f"the model has no parameter {name!r}{_check.suggest(name, names)}")
        missing = [weight.name for weight in self.rows if weight.name not in arrays]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise ValueError(f"parameters are missing: {', '.join(map(repr, missing[:5]))}{more}")
        for weight in self.rows:
            shape = np.shape(arrays[weight.name])
            if shape != weight.shape:
                raise ValueError(f"parameter {weight.name!r} has shape {weight.shape}, got {shape}")

    def _checked(self, weight: Weight, value) -> np.ndarray:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise TypeError(f"parameter {weight.name!r} must be real numbers, got dtype {array.dtype}")
        with np.errstate(over="ignore"):
            array = array.astype(self.dtype)
        if not np.isfinite(array).all():
            raise ValueError(f"parameter {weight.name!r} must be finite, got NaN or values beyond {self.dtype.name}")
        if array.size and array.min() < weight.lowest:
            raise ValueError(f"parameter {weight.name!r} must be at least {weight.lowest:g}, got {array.min():g}")
        return array
