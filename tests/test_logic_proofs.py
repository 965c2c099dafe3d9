"""pn.logic: no form is larger than it must be, and every proof about single units holds."""

import itertools
import re
from fractions import Fraction

import numpy as np
import pytest
from boolean import FORMS, answers, rows, table

from pynet import logic
from pynet.logic_minimize import minimal_terms, minimum_cover, prime_implicants

# ---- minimal ---------------------------------------------------------------------------------------------------------


def cheapest_forms(n):
    """For every set of rows, as bits, the least 1000 * terms + literals of a DNF that is true there: brute force."""
    cubes = {}
    for signs in itertools.product((-1, 0, 1), repeat=n):
        inside = [all(s == 0 or (s == 1) == x for s, x in zip(signs, row, strict=True)) for row in rows(n)]
        cubes[sum(1 << r for r, true in enumerate(inside) if true)] = 1000 + sum(map(abs, signs))
    best = np.full(2**2**n, 10**9)
    best[0] = 0
    everything = np.arange(2**2**n)
    while True:
        new = best.copy()
        for cube, cost in cubes.items():
            np.minimum.at(new, everything | cube, best + cost)
        if (new == best).all():
            return best
        best = new


CHEAPEST = {n: cheapest_forms(n) for n in (1, 2, 3, 4)}


def cost_of(terms, exact):
    assert exact
    return 1000 * len(terms) + np.abs(terms).sum()


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_no_form_is_smaller(n):
    numbers = range(2**2**n) if n < 4 else np.random.default_rng(0).integers(0, 2**16, 3000).tolist()
    for number in numbers:
        on = np.array(table(number, n), bool)
        assert cost_of(*minimal_terms(on, np.ones(2**n, bool))) == CHEAPEST[n][number], number


@pytest.mark.parametrize("form", FORMS)
def test_hidden_units_are_those_of_the_smallest_form(form):
    for number in range(256):
        model = logic.from_truth_table(table(number, 3), form)
        cheapest = int(CHEAPEST[3][number if form == "dnf" else 255 - number])
        terms, literals = divmod(cheapest, 1000)
        assert len(re.findall("x", logic.formula(model))) == literals
        assert logic.hidden_units(model) == (terms if terms > 1 and literals > terms else 0)


@pytest.mark.parametrize("n", [3, 4])
def test_rows_that_do_not_matter_are_used(n):
    rng = np.random.default_rng(0)
    everything = np.arange(2**2**n)
    for _ in range(300):
        on, care = int(rng.integers(2**2**n)), int(rng.integers(2**2**n))
        allowed = (everything & care) == (on & care)
        masks = [np.array(table(number, n), bool) for number in (on & care, care)]
        assert cost_of(*minimal_terms(*masks)) == CHEAPEST[n][allowed].min()
        outputs = [a if b else None for a, b in zip(table(on, n), table(care, n), strict=True)]
        for form in FORMS:
            got = answers(logic.from_truth_table(outputs, form))
            assert all(b in (a, None) for a, b in zip(got, outputs, strict=True))


def test_a_function_that_greedy_covers_get_wrong():
    """Seven terms suffice here; sympy 1.14 SOPform gives eight."""
    ones = [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 15, 18, 22, 25, 26, 27, 28, 30, 31]
    outputs = np.isin(np.arange(32), ones)
    model = logic.from_truth_table(outputs)
    assert answers(model) == outputs.tolist()
    assert logic.hidden_units(model) == 7
    assert model.metadata["logic"]["minimal"]


def test_prime_implicants_by_hand():
    """a & b | ~a & c has a third one, b & c; of rows that do not matter alone there is none."""
    on = np.array([bool(b if a else c) for a, b, c in rows(3)])
    always = np.ones(8, bool)
    assert sorted(prime_implicants(on, always).tolist()) == [[-1, 0, 1], [0, 1, 1], [1, 1, 0]]
    only = np.arange(8) == 0
    assert prime_implicants(only, np.array([row[0] == 0 for row in rows(3)])).tolist() == [[0, -1, -1]]
    assert prime_implicants(~always, ~always).shape == (0, 3)
    assert prime_implicants(always, always).tolist() == [[0, 0, 0]]


def random_cover(rng):
    sets = [int(s) for s in rng.integers(1, 2**9, 9)]
    return sets, [int(c) for c in rng.integers(1, 6, 9)]


def test_covers_are_the_cheapest():
    rng = np.random.default_rng(0)
    for _ in range(150):
        sets, costs = random_cover(rng)
        union = np.bitwise_or.reduce(sets)
        choices = [c for k in range(10) for c in itertools.combinations(range(9), k)]
        cheapest = min(
            sum(costs[j] for j in c) for c in choices if np.bitwise_or.reduce([0, *(sets[j] for j in c)]) == union
        )
        chosen, exact = minimum_cover(sets, costs)
        assert exact
        assert np.bitwise_or.reduce([sets[j] for j in chosen]) == union
        assert sum(costs[j] for j in chosen) == cheapest
    assert minimum_cover([], []) == ([], True)


def test_a_search_that_gives_up_says_so_and_covers_all_the_same():
    rng = np.random.default_rng(1)
    gave_up = 0
    for _ in range(50):
        sets, costs = random_cover(rng)
        union = np.bitwise_or.reduce(sets)
        chosen, exact = minimum_cover(sets, costs, effort=0)
        assert not exact
        assert np.bitwise_or.reduce([sets[j] for j in chosen]) == union
        for j in chosen:  # nothing in it is needless
            assert np.bitwise_or.reduce([0, *(sets[k] for k in chosen if k != j)]) != union
        chosen, exact = minimum_cover(sets, costs, effort=150)
        gave_up += not exact
        assert np.bitwise_or.reduce([sets[j] for j in chosen]) == union
        if exact:
            assert sum(costs[j] for j in chosen) == sum(costs[j] for j in minimum_cover(sets, costs)[0])
    assert 10 < gave_up < 40


# ---- one unit --------------------------------------------------------------------------------------------------------


def check_proof(outputs):
    """Return the answer after a look at its proof, with fractions and without the code under test."""
    found = logic.is_linearly_separable(outputs)
    n = len(outputs).bit_length() - 1
    if found:
        assert found.multipliers is None
        assert found.bias % 1 == 0.5
        assert np.gcd.reduce(found.weights) in (0, 1)
        for row, output in zip(rows(n), outputs, strict=True):
            total = sum(int(w) * x for w, x in zip(found.weights, row, strict=True)) + Fraction(found.bias)
            assert output is None or (total > 0) == output
        return True
    assert found.weights is None
    assert found.bias is None
    total = [0] * (n + 1)  # of y (w.x + b): its factors of w and b
    for row, times in found.multipliers.items():
        assert times > 0
        assert outputs[row] is not None
        for i, x in enumerate((*rows(n)[row], 1)):
            total[i] += times * x * (1 if outputs[row] else -1)
    assert total == [0] * (n + 1)
    assert np.gcd.reduce(list(found.multipliers.values())) == 1
    assert any(outputs[row] for row in found.multipliers)  # one inequality is strict: the sum says 0 > 0
    return False


@pytest.mark.parametrize(("n", "published"), [(1, 4), (2, 14), (3, 104)])
def test_the_separable_functions_are_as_many_as_published(n, published):
    """A000609; every single answer is proven."""
    assert sum(check_proof(table(number, n)) for number in range(2**2**n)) == published


def test_proofs_hold_for_more_inputs_and_rows_that_do_not_matter():
    rng = np.random.default_rng(0)
    answers = {True: 0, False: 0}
    for n in (2, 3, 4, 5, 8, 12):
        X = np.array(rows(n))
        for _ in range(12):
            sums = X @ rng.integers(-9, 10, n)
            outputs = (sums > np.median(sums)).astype(object)
            flipped = rng.integers(0, 2**n, int(rng.integers(0, 3)))
            outputs[flipped] = 1 - outputs[flipped]
            outputs[rng.random(2**n) < rng.choice([0, 0.3])] = None
            answers[check_proof(outputs.tolist())] += 1
    assert min(answers.values()) > 10
    assert not check_proof((np.array(rows(12)).sum(axis=1) % 2).tolist())
    assert check_proof([None] * 4)
    assert check_proof([1] * 8)


def test_xor_is_refuted_by_its_four_inequalities():
    found = logic.is_linearly_separable([0, 1, 1, 0])
    assert found.multipliers == {0: 1, 1: 1, 2: 1, 3: 1}
    assert str(found).split("\n") == [
        "not separable: these inequalities, added up, give 0 > 0",
        "  1 x  row 00:  b <= 0",
        "  1 x  row 01:  w2 + b > 0",
        "  1 x  row 10:  w1 + b > 0",
        "  1 x  row 11:  w1 + w2 + b <= 0",
    ]


def test_separations_as_text():
    assert str(logic.is_linearly_separable([0, 0, 0, 1])) == "separable: step(x1 + x2 - 1.5)"
    assert repr(logic.is_linearly_separable([1, 0])) == "<Separation separable: step(-x1 + 0.5)>"
    assert str(logic.is_linearly_separable([1, 1])) == "separable: step(0.5)"
    assert str(logic.is_linearly_separable([0, 0])) == "separable: step(-0.5)"
    outputs = [2 * a + b + c >= 2 for a, b, c in rows(3)]
    assert str(logic.is_linearly_separable(outputs)) == "separable: step(2 x1 + x2 + x3 - 1.5)"
