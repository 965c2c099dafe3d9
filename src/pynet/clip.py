"""Clips: what is done to the gradients before an update, in the order in which they are listed."""

from __future__ import annotations

from . import _core
from ._check import number
from ._record import Record, lookup

__all__ = ["TABLE", "Clip", "ClipNorm", "ClipValue", "SignGradient", "config", "get", "listed"]


class Clip(Record):
    """Base of all clips."""

    rule: str
    c = 0.0

    @property
    def kind(self) -> int:
        """Id in ``_core.CLIPS``."""
        return _core.CLIPS[self.rule]


class ClipNorm(Clip):
    """Scale all gradients together so that their common norm is at most `c` (Pascanu, Mikolov, Bengio 2013).

    Parameters
    ----------
    c : float > 0
    """

    name, rule = "clip_norm", "norm"
    fields = required = ("c",)

    def __init__(self, c: float) -> None:
        self.c = number("c", c, 0.0, low_open=True)


class ClipValue(Clip):
    """Cut every element of every gradient to -c..c.

    Parameters
    ----------
    c : float > 0
    """

    name, rule = "clip_value", "value"
    fields = required = ("c",)

    def __init__(self, c: float) -> None:
        self.c = number("c", c, 0.0, low_open=True)


class SignGradient(Clip):
    """Replace every element of every gradient by its sign (signSGD, Bernstein et al. 2018)."""

    name, rule = "sign_gradient", "sign"


TABLE = {made.name: made for made in (ClipNorm, ClipValue, SignGradient)}


def listed(spec) -> list[Clip]:
    """Return the clips that `spec` means: a Clip, a config dict, a list of these in order, or None for nothing."""
    several = list(spec) if isinstance(spec, (list, tuple)) else [] if spec is None else [spec]
    return [lookup("clip", each, Clip, TABLE) for each in several]


def get(spec) -> list[tuple[int, float]]:
    """Return [(kind id, c), ...] of `spec`: a Clip, a config dict, a list of these in order, or None for nothing.

    Raises
    ------
    ValueError, TypeError
        If one is unknown, or its parameter is missing or impossible.
    """
    return [(clip.kind, clip.c) for clip in listed(spec)]


def config(spec) -> list[dict]:
    """Return a JSON-able list from which `get` makes the same."""
    return [clip.config() for clip in listed(spec)]
