"""Where the values of an exported network stand: in what the caller gives, or in one scratch array.

Of floats and of integers: export/c_program.py, quantize_memory.py.

A value may be part of another (a piece of a concatenation, written in place) or stand where another stood (y = f(x),
element by element).  What is left stands for itself in the scratch array, as long as somebody will read it; values
whose lives do not overlap share places.
"""

from __future__ import annotations

__all__ = ["Memory"]


class Memory:
    """Places of the values 0, 1, ... of a network; `time` is the number of a call.

    Parameters
    ----------
    widths : list of int
        Elements (of integers: bytes) of each value.
    """

    def __init__(self, widths: list[int]):
        self.widths = list(widths)
        self.born: dict[int, int] = {}
        self.dies: dict[int, int] = {}
        self.inside: dict[int, tuple[int, int]] = {}  # value: the one it is part of, its place there
        self.given: dict[int, tuple[str, int]] = {}  # value: the caller's array that holds it, its place there
        self.offsets: dict[int, int] = {}  # value: its place in the scratch array
        self.size = 0  # of the scratch array

    def written(self, value: int, time: int) -> None:
        """Note that a call writes a value, or part of it."""
        self.born[value] = min(time, self.born.get(value, time))
        self.dies[value] = max(time, self.dies.get(value, time))

    def read(self, value: int, time: int) -> None:
        """Note that a call reads a value."""
        self.dies[value] = max(time, self.dies.get(value, time))

    def is_free(self, value: int) -> bool:
        """Return whether nothing is said yet of where a value stands."""
        return value not in self.inside and value not in self.given

    def give(self, value: int, array: str, at: int = 0) -> None:
        """Let a value stand in an array of the caller's."""
        self.given[value] = array, at

    def put_inside(self, value: int, whole: int, at: int = 0) -> None:
        """Let a value stand inside of another."""
        self.inside[value] = whole, at

    def last_read(self, value: int) -> int:
        """Return the last call that reads a value or anything that stands inside of it."""
        return max([self.dies[value], *(self.last_read(v) for v, (whole, _) in self.inside.items() if whole == value)])

    def _first_written(self, value: int) -> int:
        inner = (self._first_written(v) for v, (whole, _) in self.inside.items() if whole == value)
        return min([self.born[value], *inner])

    def arrange(self) -> None:
        """Give each value that stands for itself the lowest place that is free all its life, large ones first."""
        alone = [v for v in self.born if self.is_free(v)]
        lives = {v: (self._first_written(v), self.last_read(v)) for v in alone}
        for value in sorted(alone, key=lambda v: (-self.widths[v], v)):
            born, dies = lives[value]
            others = sorted(
                (at, at + self.widths[v])
                for v, at in self.offsets.items()
                if lives[v][0] <= dies and born <= lives[v][1]
            )
            place = 0
            for begin, end in others:
                if begin - place >= self.widths[value]:
                    break
                place = max(place, end)
            self.offsets[value] = place
            self.size = max(self.size, place + self.widths[value])

    def place(self, value: int) -> tuple[str, int]:
        """Return the array that holds a value, "scratch" or one of the caller's, and where it begins there."""
        at = 0
        while value in self.inside:
            value, offset = self.inside[value]
            at += offset
        array, offset = self.given.get(value) or ("scratch", self.offsets[value])
        return array, at + offset
