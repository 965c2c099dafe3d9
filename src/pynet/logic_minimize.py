"""Two-level minimisation: the fewest terms, and of these the fewest literals, whose OR is a given function.

Quine 1952 (The problem of simplifying truth functions), McCluskey 1956 (Minimization of Boolean functions): a minimal
form consists of prime implicants; which of them is a covering problem, here solved exactly by branch and bound.
"""

from __future__ import annotations

import numpy as np

from .logic_table import assignments

__all__ = ["minimal_terms", "minimum_cover", "prime_implicants"]

EFFORT = 10_000_000  # pairs that the search compares before it gives up: seconds


def minimal_terms(on: np.ndarray, care: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return terms whose OR is 1 where `on` and 0 where `care` and not `on`.

    Parameters
    ----------
    on, care : bool arrays [2^n]

    Returns
    -------
    terms : array of int [K, n]
        The literals of each term: 1 the input, -1 its negation, 0 neither.
    exact : bool
        Whether no smaller form exists for sure; False if the search had to give up.
    """
    primes = prime_implicants(on, care)
    inside = covers(primes, assignments(primes.shape[1])[on])
    sets = [int.from_bytes(np.packbits(row).tobytes(), "big") for row in inside]
    literals = np.abs(primes).sum(axis=1)
    big = primes.shape[1] * len(on)  # more than all literals together: terms count first
    chosen, exact = minimum_cover(sets, [big + int(k) for k in literals])
    return primes[chosen], exact


def covers(terms: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return which terms [K, n] are true on which rows [M, n] of truth values: bool [K, M]."""
    signs = 2.0 * rows.astype(np.float32) - 1  # a term is true where all its literals agree with the row
    return terms.astype(np.float32) @ signs.T == np.abs(terms).sum(axis=1)[:, None]


def prime_implicants(on: np.ndarray, care: np.ndarray) -> np.ndarray:
    """Return all terms that are never true where the function is 0, and can lose no literal; [P, n] as above.

    The table becomes a cube with three places an axis, "input is 0", "is 1" and "either": a term with "either" is
    allowed if both its halves are.
    """
    n = len(on).bit_length() - 1
    allowed, useful = (on | ~care).reshape([2] * n), on.reshape([2] * n)
    for axis in range(n):
        halves = [np.split(cube, 2, axis) for cube in (allowed, useful)]
        allowed = np.concatenate([allowed, halves[0][0] & halves[0][1]], axis)
        useful = np.concatenate([useful, halves[1][0] | halves[1][1]], axis)
    prime = allowed & useful
    for axis in range(n):
        literal = (slice(None),) * axis + (slice(0, 2),)
        prime[literal] &= ~allowed.take([2], axis)
    return np.array([-1, 1, 0])[np.argwhere(prime)]


def minimum_cover(sets: list[int], costs: list[int], effort: int = EFFORT) -> tuple[list[int], bool]:
    """Return the indices of sets of least total cost whose union is the union of all.

    Parameters
    ----------
    sets : list of int
        Each a set of rows, as the bits of an integer.
    costs : list of int
    effort : int
        How many pairs, of sets or of a set and a row, to compare before giving up.

    Returns
    -------
    chosen : list of int
    exact : bool
        Whether the cost is the least for sure.
    """
    everything = 0
    for s in sets:
        everything |= s
    best = _greedy_cover(sets, costs, everything)
    best_cost = sum(costs[j] for j in best)

    def search(rows: int, live: list[int], chosen: list[int], cost: int) -> None:
        nonlocal best, best_cost, effort
        needed: list[tuple[int, list[int]]] = []
        while rows:
            effort -= len(live) ** 2 // 4 + rows.bit_count() * len(live)
            if effort < 0:
                return
            live = _undominated_sets(sets, costs, rows, live)
            needed = _undominated_rows(sets, rows, live)
            forced = {around[0] for _, around in needed if len(around) == 1}
            before = rows
            rows = sum(row for row, _ in needed)
            for k in forced:
                rows &= ~sets[k]
            chosen, cost = [*chosen, *forced], cost + sum(costs[k] for k in forced)
            if rows == before:
                break
        if not rows:
            if cost < best_cost:
                best, best_cost = chosen, cost
            return
        if cost + _lower_bound(sets, costs, needed) >= best_cost:
            return
        for j in sorted(needed[0][1], key=lambda j: costs[j] / (sets[j] & rows).bit_count()):
            live = [k for k in live if k != j]  # once searched, all covers with j are known
            search(rows & ~sets[j], live, [*chosen, j], cost + costs[j])

    search(everything, list(range(len(sets))), [], 0)
    return sorted(best), effort >= 0


def _greedy_cover(sets: list[int], costs: list[int], rows: int) -> list[int]:
    """Return a cover: the set that adds most for its cost, again and again; then without those that became needless."""
    chosen, left = [], rows
    while left:
        j = max(range(len(sets)), key=lambda j: ((sets[j] & left).bit_count() / costs[j], -j))
        chosen.append(j)
        left &= ~sets[j]
    for j in list(chosen):
        union = 0
        for k in chosen:
            union |= sets[k] if k != j else 0
        if union == rows:
            chosen.remove(j)
    return chosen


def _undominated_sets(sets: list[int], costs: list[int], rows: int, live: list[int]) -> list[int]:
    """Return `live` without sets that cover, of `rows`, no more than another one that is not dearer."""
    order = sorted((j for j in live if sets[j] & rows), key=lambda j: (-(sets[j] & rows).bit_count(), costs[j]))
    kept: list[int] = []
    for j in order:
        mine = sets[j] & rows
        if not any(mine & ~sets[k] == 0 and costs[k] <= costs[j] for k in kept):
            kept.append(j)
    return kept


def _undominated_rows(sets: list[int], rows: int, live: list[int]) -> list[tuple[int, list[int]]]:
    """Return (row, the sets around it), fewest sets first, without rows that are covered whenever another one is."""
    around = []
    while rows:
        row = rows & -rows
        rows ^= row
        around.append((row, {j for j in live if sets[j] & row}))
    around.sort(key=lambda pair: len(pair[1]))
    kept: list[tuple[int, set[int]]] = []
    for row, mine in around:
        if not any(others <= mine for _, others in kept):
            kept.append((row, mine))
    return [(row, sorted(mine)) for row, mine in kept]


def _lower_bound(sets: list[int], costs: list[int], needed: list[tuple[int, list[int]]]) -> int:
    """Return what a cover costs at least: rows of which no two lie in one set need a set each."""
    bound = blocked = 0
    for row, around in needed:
        if not row & blocked:
            bound += min(costs[j] for j in around)
            for j in around:
                blocked |= sets[j]
    return bound
