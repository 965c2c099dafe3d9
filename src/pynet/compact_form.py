"""What the compact forms of a pruned matrix have in common."""

from __future__ import annotations

import numpy as np

__all__ = ["Form"]


class Form:
    """A pruned matrix [I, O], of which only what is left is stored.

    Attributes
    ----------
    shape : (I, O)
    values : array [n]
    counts : uint32 array
        Of each output, or of each panel of outputs, how many values or steps it has.
    places : uint8 array
        Where the values belong.
    part : str
        The name of the tensor of the places.
    code : float
        What an op calls the form, in p[2].
    n : int
        Values, those of 0 included that are no weights.
    """

    __slots__ = ("counts", "places", "shape", "values")
    part: str
    code: float

    def __init__(self, shape: tuple[int, int], values: np.ndarray, places: np.ndarray, counts: np.ndarray):
        self.shape, self.values, self.places, self.counts = shape, values, places, counts

    @staticmethod
    def fits(shape: tuple[int, int]) -> bool:
        """Return whether a matrix of this shape can have the form."""
        return True

    @classmethod
    def of(cls, matrix: np.ndarray, mask: np.ndarray) -> Form:
        """Return the form of a matrix [I, O], True in the mask where a weight is left."""
        raise NotImplementedError

    @property
    def n(self) -> int:
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.places.nbytes + self.counts.nbytes

    def where(self) -> tuple[np.ndarray, np.ndarray]:
        """Return input and output of each value; of one that has no place, some."""
        raise NotImplementedError

    def there(self) -> np.ndarray:
        """Return which values have a place."""
        raise NotImplementedError

    def left(self) -> np.ndarray:
        """Return which values are weights that are left."""
        raise NotImplementedError

    def matrix(self, values=None) -> np.ndarray:
        """Return the matrix [I, O]; of other values, if given."""
        values = self.values if values is None else values
        result = np.zeros(self.shape, values.dtype)
        i, o = self.where()
        there = self.there()
        result[i[there], o[there]] = values[there]
        return result

    def mask(self) -> np.ndarray:
        """Return the mask, True where a weight is left."""
        return self.matrix(self.left())

    def longest_sum(self) -> int:
        """Return the most products that one output adds."""
        return int(self.counts.max(initial=1))

    def check(self, name: str) -> None:
        """Raise ValueError if the parts do not fit each other; then nothing reaches outside of the matrix."""
        raise NotImplementedError
