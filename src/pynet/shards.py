"""The sum over a fixed number of shards in a fixed order: the same bits on any number of ranks.

The shards' vectors are the leaves of one binary tree, whose node j of level l is the sum of nodes 2j and 2j+1 of the
level below (or node 2j, where there is no other).  A node is held by the rank that has its first leaf.
"""

from __future__ import annotations

import numpy as np

__all__ = ["ShardSum"]


class ShardSum:
    """Adds up vectors of which each rank has neighbouring ones.

    Parameters
    ----------
    comm : communicator, or None for one rank
    rank, size : int
    shards : int >= size
        Rank r has shards * r // size and those that follow, up to the next rank's first.
    """

    def __init__(self, comm, rank: int, size: int, shards: int) -> None:
        self.comm, self.rank, self.size, self.shards = comm, rank, size, shards
        self._last = shards * (rank + 1) // size - 1
        self._nodes: dict[tuple[int, int], np.ndarray] = {}  # (level, j)
        self._spare: list[np.ndarray] = []

    def _holder(self, shard: int) -> int:
        return ((shard + 1) * self.size - 1) // self.shards

    def _vector(self, like: np.ndarray) -> np.ndarray:
        return self._spare.pop() if self._spare else np.empty_like(like)

    def add(self, shard: int, vector: np.ndarray) -> bool:
        """Take the vector of one shard, in ascending order; after the rank's last one write the sum of all shards' to
        `vector` and return True."""
        node, left = (0, shard), (0, shard - 1)
        if shard % 2 and left in self._nodes:
            self._nodes[left] += vector
            node = self._lift(left)
        else:
            self._nodes[node] = self._vector(vector)
            self._nodes[node][:] = vector
        while node[1] % 2 and (left := (node[0], node[1] - 1)) in self._nodes:
            node = self._merge(left, self._nodes.pop(node))
        if shard < self._last:
            return False
        for level in range((self.shards - 1).bit_length()):
            for j in sorted(j for at, j in self._nodes if at == level):
                if (level, j) in self._nodes:  # it is not if it was added to the one before
                    self._climb(level, j)
        if self.rank == 0:
            ((_, root),) = self._nodes.items()
            vector[:] = root
            self._spare.append(root)
        self._nodes.clear()
        if self.size > 1:
            self.comm.Bcast(vector, root=0)
        return True

    def _lift(self, node: tuple[int, int]) -> tuple[int, int]:
        """Make a node that has no other to be added to it, or has had it, one of the next level."""
        up = node[0] + 1, node[1] // 2
        self._nodes[up] = self._nodes.pop(node)
        return up

    def _merge(self, left: tuple[int, int], right: np.ndarray) -> tuple[int, int]:
        self._nodes[left] += right
        self._spare.append(right)
        return self._lift(left)

    def _climb(self, level: int, j: int) -> None:
        """Bring one node a level up, or to the rank where it goes up."""
        if j % 2:
            mine = self._nodes.pop((level, j))
            self.comm.Send(mine, dest=self._holder((j - 1) << level), tag=level)
            self._spare.append(mine)
            return
        first = (j + 1) << level  # leaf of the right one
        if first >= self.shards:
            self._lift((level, j))
            return
        if self._holder(first) == self.rank:
            right = self._nodes.pop((level, j + 1))
        else:
            right = self._vector(self._nodes[level, j])
            self.comm.Recv(right, source=self._holder(first), tag=level)
        self._merge((level, j), right)
