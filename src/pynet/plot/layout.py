"""Where the boxes of a graph stand: levels from the inputs down, as few crossings as a few sweeps find.

After Sugiyama, Tagawa, Toda 1981: an edge that spans several levels passes a place of its own in each of them, so that
no edge runs through a box; each level is ordered by the mean place of what its members are joined with.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

__all__ = ["Place", "lay_out", "levels_of"]

SWEEPS = 12
BENT = 0.1  # the pull of a passing edge on a box, a box pulls with 1: rather that edge is bent than a chain of boxes


class Place:
    """A value of the graph on its level, or where an edge of it passes a level (`passing`); x, and `half`, half the
    width that it takes."""

    __slots__ = ("above", "below", "half", "level", "node", "passing", "x")

    def __init__(self, node, level: int, half: float, passing: bool) -> None:
        self.node, self.level, self.half, self.passing = node, level, half, passing
        self.above: list[Place] = []
        self.below: list[Place] = []
        self.x = 0.0


def lay_out(nodes: list, half: float, gap: float) -> tuple[list[list[Place]], dict]:
    """Place values of a graph.

    Parameters
    ----------
    nodes : list of Value
        Each behind those it is made from.
    half : float
        Half the width of a box.
    gap : float
        Between two boxes.

    Returns
    -------
    levels : list of lists of Place
        From the top; each from the left.
    ways : dict
        (node, reader) -> the Places from the one to the other, both included.
    """
    level = levels_of(nodes)
    boxes = {node: Place(node, level[node], half, False) for node in nodes}
    levels: list[list[Place]] = [[] for _ in range(1 + max(level.values()))]
    passing: dict = {}
    ways: dict = {}
    for node in nodes:
        levels[level[node]].append(boxes[node])
    for reader in nodes:
        for node in dict.fromkeys(reader.inputs):
            way = [boxes[node]]
            for k in range(level[node] + 1, level[reader]):
                if (node, k) not in passing:  # all edges of a value pass a level at one place
                    passing[node, k] = Place(node, k, gap / 4, True)
                    levels[k].append(passing[node, k])
                way.append(passing[node, k])
            way.append(boxes[reader])
            ways[node, reader] = way
            for upper, lower in pairwise(way):
                if lower not in upper.below:
                    upper.below.append(lower)
                    lower.above.append(upper)
    _order(levels)
    _spread(levels, gap)
    return levels, ways


def levels_of(nodes: list) -> dict:
    """Return {node: calls on the longest way from an Input}; an Input itself stands right above what reads it."""
    level: dict = {}
    for node in nodes:
        level[node] = 1 + max((level[v] for v in node.inputs), default=-1)
    for node in nodes:
        if not node.inputs:
            level[node] = min((level[reader] for reader in nodes if node in reader.inputs), default=1) - 1
    return level


def crossings(levels: list[list[Place]]) -> int:
    """Return how many pairs of edges cross."""
    total = 0
    for upper, lower in pairwise(levels):
        at = {place: k for k, place in enumerate(lower)}
        ends = np.array([at[b] for place in upper for b in sorted(place.below, key=at.__getitem__)])
        if len(ends):
            total += int(np.triu(ends[:, None] > ends[None, :], 1).sum())
    return total


def _order(levels: list[list[Place]]) -> None:
    """Order every level, down and up in turns, by the mean place of the neighbours; the best order stays."""
    best, fewest = [list(level) for level in levels], crossings(levels)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        for k in range(1, len(levels)) if down else range(len(levels) - 2, -1, -1):
            at = {place: i for i, place in enumerate(levels[k - 1 if down else k + 1])}
            middle = {}
            for i, place in enumerate(levels[k]):
                near = place.above if down else place.below
                middle[place] = float(np.mean([at[n] for n in near])) if near else i
            levels[k].sort(key=middle.__getitem__)
        if (now := crossings(levels)) < fewest:
            best, fewest = [list(level) for level in levels], now
    for level, order in zip(levels, best, strict=True):
        level[:] = order


def _spread(levels: list[list[Place]], gap: float) -> None:
    """Give each place an x near the mean of its neighbours', in the order of its level and `gap` from the next."""
    for level in levels:
        _apart(level, [0.0] * len(level), gap)
    for sweep in range(4 * SWEEPS):
        for level in levels if sweep % 2 == 0 else levels[::-1]:
            wanted = []
            for place in level:
                near = place.above + place.below
                weights = [1.0 if n.passing == place.passing else BENT for n in near]
                wanted.append(float(np.average([n.x for n in near], weights=weights)) if near else place.x)
            _apart(level, wanted, gap)


def _apart(level: list[Place], wanted: list[float], gap: float) -> None:
    """Set x nearest to what is wanted, by squares, with the distances kept (pool adjacent violators)."""
    offset, ahead = [], 0.0
    for k, place in enumerate(level):
        if k:
            ahead += level[k - 1].half + place.half + gap
        offset.append(ahead)
    blocks: list[list[float]] = []  # sum and number of those who move together
    for want, off in zip(wanted, offset, strict=True):
        blocks.append([want - off, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, n = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += n
    means = [total / n for total, n in blocks for _ in range(int(n))]
    for place, mean, off in zip(level, means, offset, strict=True):
        place.x = mean + off
