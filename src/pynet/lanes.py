"""The compact form of a pruned matrix for few rows: outputs side by side.  The same in files, in memory, for kernels.

The outputs of a matrix [I, O] stand in panels of 16, the last one filled up.  A panel is a row of steps, a multiple of
four; every two steps see the same 32 inputs, from a multiple of 8 on, and a step takes of each output the next weight
that is left, if it is among those.  With S steps in all,

    values   float [16 S]       of each step, one of each output
    lanes    uint8 [17 S]       of every four steps, of each output, four bytes j < 32: the value belongs to input
                                8 k + j; or 32, and the value is 0.  Then of every two steps k, in two bytes, the lower
                                first
    counts   uint32 [O / 16]    steps of each panel

That is 5.1 bytes a value, and as not all places are taken, some 6.5, 8 and 11 a weight with 80, 90 and 95 % pruned.  A
processor picks 16 of 32 inputs at once (csrc/kernels/lanes.h).
"""

from __future__ import annotations

import numpy as np

from .compact_form import Form

__all__ = ["BYTES", "PANEL", "Lanes"]

PANEL, SIGHT, NOWHERE, UNIT, BLOCK, BYTES = 16, 32, 32, 8, 4, 17


class Lanes(Form):
    """A pruned matrix [I, O] in lanes."""

    __slots__ = ()
    part, code = "lanes", 16.0

    @staticmethod
    def fits(shape: tuple[int, int]) -> bool:
        """Return whether a matrix is wide enough to be seen through 32 inputs, and not too wide."""
        return SIGHT - PANEL < shape[0] <= UNIT << 16

    @classmethod
    def of(cls, matrix: np.ndarray, mask: np.ndarray) -> Lanes:
        rows, cols = matrix.shape
        panels = -(-cols // PANEL)
        wide = np.zeros((panels * PANEL, rows), bool)
        wide[:cols] = mask.T
        o, i = np.nonzero(wide)
        left = matrix.T[o, i]
        ends = np.cumsum(wide.sum(axis=1))
        at, ends = np.append(0, ends[:-1]).reshape(panels, PANEL), ends.reshape(panels, PANEL)
        i, far = np.append(i, 0), rows + SIGHT  # what stands behind the last is not looked at
        last = (-(-rows // PANEL) * PANEL - SIGHT) // UNIT  # the last sight that is there as a whole
        blocks: list = []
        while (going := (at < ends).any(axis=1)).any() or not blocks:  # a block of all panels; if nothing is left, one
            sights, places, sources = [], [], []
            for step in range(BLOCK):
                following = np.where(at < ends, i[at], far)
                if step % 2 == 0:
                    sights.append(np.minimum(following.min(axis=1) // UNIT, last))
                place = following - sights[-1][:, None] * UNIT
                taken = place < SIGHT
                places.append(np.where(taken, place, NOWHERE))
                sources.append(np.where(taken, at, len(left)))
                at = at + taken
            blocks.append((going, np.stack(sights, 1), np.stack(places, 2), np.stack(sources, 1)))
        going, sight, place, source = (np.stack(part, axis=1) for part in zip(*blocks, strict=True))
        if not len(left):
            going[0, 0] = True
        values = np.append(left, np.zeros(1, matrix.dtype))[source[going]]  # going: [panels, blocks]
        lanes = [
            part.reshape(-1).view(np.uint8) for part in (place[going].astype(np.uint8), sight[going].astype("<u2"))
        ]
        counts = BLOCK * going.sum(axis=1)
        return cls((rows, cols), values.reshape(-1), np.concatenate(lanes), counts.astype(np.uint32))

    @property
    def n(self) -> int:
        return PANEL * int(self.counts.sum(dtype=np.int64))

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Return of each step the first input that it sees [S], and the place of each output [S, 16]."""
        places, sights = np.split(self.places, [self.n])
        by_step = places.reshape(-1, PANEL, BLOCK).transpose(0, 2, 1).reshape(-1, PANEL)
        return np.repeat(UNIT * sights.view("<u2").astype(np.int64), 2), by_step

    def left(self) -> np.ndarray:
        return self._places()[1].reshape(-1) < SIGHT

    there = left

    def where(self) -> tuple[np.ndarray, np.ndarray]:
        first, place = self._places()
        i = first[:, None] + place % SIGHT
        panel = np.repeat(np.arange(len(self.counts)), self.counts)
        o = PANEL * panel[:, None] + np.arange(PANEL)
        return i.reshape(-1), np.minimum(o, self.shape[1] - 1).reshape(-1)

    def check(self, name: str) -> None:
        rows, cols = self.shape
        panels = -(-cols // PANEL)
        if self.counts.shape != (panels,) or self.counts.dtype != np.uint32:
            got = f"{self.counts.dtype.name} {list(self.counts.shape)}"
            raise ValueError(f"tensor '{name}.counts' must be uint32 [{panels}] beside lanes, got {got}")
        steps = int(self.counts.sum(dtype=np.int64))
        if (self.counts % BLOCK).any():
            raise ValueError(f"tensor '{name}.counts' must have multiples of {BLOCK} beside lanes")
        for what, array, kind, size in (("values", self.values, "f", PANEL), ("lanes", self.places, "u", BYTES)):
            wrong = array.dtype.kind != kind or (kind == "u" and array.dtype != np.uint8)
            n, got = size * steps, f"{array.dtype.name} {list(array.shape)}"
            if wrong or array.shape != (n,):
                raise ValueError(f"tensor '{name}.{what}' must have {n} elements, as its counts say, got {got}")
        i, o = self.where()
        place = self._places()[1].reshape(-1)
        there = place < SIGHT
        first = i - place % SIGHT
        beyond = np.tile(np.arange(PANEL), steps) + PANEL * np.repeat(np.arange(panels), PANEL * self.counts) >= cols
        outside = first + SIGHT > -(-rows // PANEL) * PANEL
        if (outside | (place > NOWHERE) | (there & ((i >= rows) | beyond))).any():
            raise ValueError(f"tensor '{name}.lanes' leads outside of the {rows} inputs and {cols} outputs")
        if self.values[~there].any():
            raise ValueError(f"tensor '{name}.values' has values other than 0 that belong nowhere")
        order = np.lexsort((np.arange(len(i))[there], o[there]))
        if (np.diff(i[there][order]) <= 0)[np.diff(o[there][order]) == 0].any():
            raise ValueError(f"tensor '{name}.lanes' has inputs of an output that do not ascend")
