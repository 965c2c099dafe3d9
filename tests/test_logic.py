"""pn.logic: every network is exact, is what its formula says, and bad input is refused by name."""

import re
import subprocess
import sys

import numpy as np
import pytest
from boolean import FORMS, answers, rows, table
from helpers import ISAS, forced_isa

import pynet as pn
from pynet import logic

# ---- the networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_function_is_exact(form, n):
    for number in range(2**2**n):
        for minimize in (True, False):
            model = logic.from_truth_table(table(number, n), form, minimize)
            for backend in ("c", "numpy"):
                assert answers(model, backend=backend) == table(number, n), (number, minimize, backend)


@pytest.mark.parametrize("form", FORMS)
def test_wide_functions_are_exact_on_every_kernel_set(form):
    rng = np.random.default_rng(0)
    for n, share in ((4, 0.5), (5, 0.3), (7, 0.5), (8, 0.5)):
        outputs = rng.random(2**n) < share
        for dtype, minimize in (("float32", True), ("float64", False)):
            for isa in ISAS:
                with forced_isa(isa):
                    model = logic.from_truth_table(outputs, form, minimize, dtype=dtype)
                    assert answers(model) == outputs.tolist(), (n, isa)
            assert model.dtype == dtype
            assert answers(model, backend="numpy") == outputs.tolist()


@pytest.mark.parametrize("form", FORMS)
def test_no_row_lies_near_an_edge(form):
    """Every sum is a half off a whole number, so at least 1/2 from the threshold."""
    for number in range(256):
        model = logic.from_truth_table(table(number, 3), form)
        x = np.array(rows(3))
        weights = model.get_weights()
        for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
            assert set(np.unique(kernel)) <= {-1, 0, 1}
            sums = x @ kernel + bias
            assert (sums % 1 == 0.5).all()
            x = sums > 0


def test_the_network_of_xor_by_hand():
    model = logic.from_truth_table([0, 1, 1, 0])
    kernel, bias, output, edge = (array.tolist() for array in model.get_weights())
    assert kernel == [[1, -1], [-1, 1]]  # x1 & ~x2, ~x1 & x2
    assert bias == [-0.5, -0.5]
    assert output == [[1], [1]]
    assert edge == [-0.5]
    kernel, bias, output, edge = (array.tolist() for array in logic.from_truth_table([0, 1, 1, 0], "cnf").get_weights())
    assert kernel == [[1, -1], [1, -1]]  # x1 | x2, ~x1 | ~x2
    assert bias == [-0.5, 1.5]
    assert output == [[1], [1]]
    assert edge == [-1.5]
    assert [layer.activation and layer.activation.name for layer in model.layers] == [None, "step", "step"]


def test_the_first_input_is_the_most_significant_digit():
    assert logic.assignments(3).tolist() == [list(row) for row in rows(3)]
    model = logic.from_truth_table([0, 0, 0, 1, 1, 1, 1, 1], names=["high", "b", "c"])
    assert logic.formula(model) == "high | b & c"
    assert model.predict_one([1, 0, 0]) == 1
    assert model.predict_one([0, 0, 1]) == 0


@pytest.mark.parametrize(
    ("outputs", "form", "text", "hidden"),
    [
        ([0, 0], "dnf", "0", 0),
        ([1, 1], "dnf", "1", 0),
        ([0, 0, 0, 0], "cnf", "0", 0),
        ([1, 1, 1, 1], "cnf", "1", 0),
        ([0, 1], "cnf", "x1", 0),
        ([1, 0], "dnf", "~x1", 0),
        ([0, 0, 1, 1], "dnf", "x1", 0),
        ([1, 0, 1, 1], "dnf", "x1 | ~x2", 0),
        ([1, 0, 1, 1], "cnf", "x1 | ~x2", 0),
        ([0, 0, 1, 0], "dnf", "x1 & ~x2", 0),
        ([0, 0, 1, 0], "cnf", "x1 & ~x2", 0),
        ([1, 0, 0, 1], "dnf", "x1 & x2 | ~x1 & ~x2", 2),
        ([1, 0, 0, 1], "cnf", "(x1 | ~x2) & (~x1 | x2)", 2),
        ([0, 1, 1, None], "dnf", "x1 | x2", 0),
        ([None, None, None, 0, 1, None, None, None], "cnf", "x1", 0),
        ([1, 0, 0, None], "dnf", "~x1 & ~x2", 0),
        ([1, 0, 0, None], "cnf", "~x1 & ~x2", 0),
        ([None, None], "dnf", "0", 0),
    ],
)
def test_formulas_by_hand(outputs, form, text, hidden):
    model = logic.from_truth_table(outputs, form)
    assert (logic.formula(model), logic.hidden_units(model)) == (text, hidden)
    assert len(model.layers) == (3 if hidden else 2)
    assert all(b in (a, None) for a, b in zip(answers(model), outputs, strict=True))
    assert model.metadata["logic"]["form"] == form
    assert model.metadata["logic"]["minimal"]


@pytest.mark.parametrize("minimize", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_a_formula_reads_back_and_counts_the_units(form, minimize):
    names = ["a", "b", "c"]
    for number in range(256):
        model = logic.from_truth_table(table(number, 3), form, minimize, names)
        text = logic.formula(model)
        assert answers(logic.from_expression(text, names=names)) == table(number, 3)
        assert logic.hidden_units(model) == sum(layer.units for layer in model.layers[1:-1])
        if not minimize:
            ones = sum(table(number, 3))
            used = ones if form == "dnf" else 8 - ones
            assert logic.hidden_units(model) == (used if used > 1 else 0)
            assert not model.metadata["logic"]["minimal"]
            assert len(re.findall("[abc]", text)) == 3 * used


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_ready_made_gates(n):
    counts = np.array(rows(n)).sum(axis=1)
    assert answers(logic.AND(n)) == (counts == n).tolist()
    assert answers(logic.OR(n)) == (counts > 0).tolist()
    for form in FORMS:
        model = logic.XOR(n, form)
        assert answers(model) == (counts % 2).tolist()
        assert logic.hidden_units(model) == (2 ** (n - 1) if n > 1 else 0)
        assert logic.formula(model) == logic.formula(
            logic.from_truth_table(counts % 2, form)
        )  # the search finds no less
    assert answers(logic.NOT()) == [1, 0]
    assert logic.formula(logic.AND()) == "x1 & x2"
    assert answers(logic.XOR()) == [0, 1, 1, 0]


def test_wide_gates_need_no_table():
    X = np.ones((3, 1000))
    X[1, 7], X[2] = 0, 0
    assert logic.AND(1000).predict(X)[:, 0].tolist() == [1, 0, 0]
    assert logic.OR(1000).predict(X)[:, 0].tolist() == [1, 1, 0]


@pytest.mark.parametrize("form", FORMS)
def test_files_keep_network_and_formula(form, tmp_path):
    model = logic.from_expression("(alpha ^ b) & ~c | c & 0 | Ω", form)
    model.save(tmp_path / "m")
    again = pn.load(tmp_path / "m")
    assert answers(again) == answers(model)
    assert again.metadata == model.metadata
    assert (logic.formula(again), logic.hidden_units(again)) == (logic.formula(model), logic.hidden_units(model))


def test_batches_of_any_size_give_the_same():
    model = logic.XOR(5)
    X = np.random.default_rng(0).integers(0, 2, (1000, 5))
    for size in (None, 1, 7, 1000):
        assert model.predict(X, batch_size=size)[:, 0].tolist() == (X.sum(axis=1) % 2).tolist()


# ---- training on -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_softened_networks_are_exact_when_rounded(form):
    for n, numbers in ((3, range(256)), (7, [None])):
        for number in numbers:
            outputs = table(number, n) if number is not None else [sum(row) % 2 for row in rows(n)]
            soft = logic.soften(logic.from_truth_table(outputs, form))
            for backend in ("c", "numpy"):
                said = np.array(answers(soft, backend=backend))
                assert (said > 0.5).tolist() == outputs
                assert (np.abs(said - 0.5) > 0.2).all()  # the last sum is at least 1 from its threshold


def test_softened_weights_by_hand(tmp_path):
    exact = logic.XOR(2)
    exact.metadata["note"] = "mine"
    soft = logic.soften(exact, gain=10)
    for left, right in zip(soft.get_weights(), exact.get_weights(), strict=True):
        assert (left == 10 * right).all()
    assert soft.metadata == exact.metadata
    assert list(soft.names.values()) == list(exact.names.values())
    assert logic.soften(logic.AND()).get_weights()[0].tolist() == [[4], [4]]
    gain = np.abs(logic.soften(logic.XOR(7)).get_weights()[0]).max()
    assert gain == pytest.approx(2 * np.log(4 * 64))
    exact.save(tmp_path / "m")
    assert answers(logic.soften(pn.load(tmp_path / "m"), gain=10)) == answers(soft)
    assert logic.soften(logic.from_truth_table([0, 1, 1, 0], dtype="float64")).dtype == "float64"


def test_exact_networks_do_not_learn_and_softened_ones_do():
    rule = logic.from_expression("a & b | c", names=["a", "b", "c", "d"])
    X = np.array(rows(4))
    y = X[:, 0] & X[:, 1] | X[:, 2] & X[:, 3]
    assert (np.array(answers(rule)) != y).sum() == 3
    start = rule.get_weights()
    pn.Trainer(rule, "mse", pn.SGD(0.1)).fit(X, y, epochs=3, verbose=0)
    assert all((left == right).all() for left, right in zip(start, rule.get_weights(), strict=True))
    soft = logic.soften(rule)
    pn.Trainer(soft, "binary_cross_entropy", pn.Adam(0.05)).fit(X, y, epochs=500, batch_size=16, verbose=0)
    assert ((np.array(answers(soft)) > 0.5) == y).all()


# ---- what is refused -------------------------------------------------------------------------------------------------

XOR = [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: logic.from_truth_table([0, 1, 1]), ValueError, r"outputs must hold 2\^n entries, n = 1 to 12, got 3"),
        (lambda: logic.from_truth_table([1]), ValueError, r"2\^n entries.*got 1"),
        (lambda: logic.from_truth_table([]), ValueError, r"2\^n entries.*got 0"),
        (lambda: logic.from_truth_table([0] * 8192), ValueError, r"2\^n entries.*got 8192"),
        (lambda: logic.from_truth_table([0, 1, 2, 0]), ValueError, r"must be 0, 1 or None, got 2 in row 2"),
        (lambda: logic.from_truth_table([0, "1"]), ValueError, r"must be 0, 1 or None, got '1' in row 1"),
        (lambda: logic.from_truth_table([0.0, np.nan]), ValueError, r"must be 0, 1 or None, got .*nan.* in row 1"),
        (lambda: logic.from_truth_table([[0, 1], [1, 0]]), ValueError, r"must be 0, 1 or None, got \[0, 1\] in row 0"),
        (lambda: logic.from_truth_table(np.eye(2)), ValueError, r"must be 0, 1 or None, got array.* in row 0"),
        (lambda: logic.from_truth_table("0110"), TypeError, r"outputs must be a list or an array.*got str"),
        (lambda: logic.from_truth_table(6), TypeError, r"outputs must be a list.*got int"),
        (lambda: logic.from_truth_table(XOR, "dnv"), ValueError, r"unknown form 'dnv', did you mean 'dnf'"),
        (lambda: logic.from_truth_table(XOR, minimize="yes"), TypeError, r"minimize must be True or False, got 'yes'"),
        (lambda: logic.from_truth_table(XOR, names=["a"]), ValueError, r"names must be 2, one for each input, got 1"),
        (lambda: logic.from_truth_table(XOR, names=["a", "a"]), ValueError, r"names must differ, got 'a' twice"),
        (lambda: logic.from_truth_table(XOR, names=["a", "b c"]), ValueError, r"names must be letters.*got 'b c'"),
        (lambda: logic.from_truth_table(XOR, names=["a", "or"]), ValueError, r"names must be letters.*got 'or'"),
        (lambda: logic.from_truth_table(XOR, names=["a", 1]), TypeError, r"names must be a list of str, got int 1"),
        (lambda: logic.from_truth_table(XOR, names="ab"), TypeError, r"names must be a list of str, got str 'ab'"),
        (lambda: logic.from_truth_table(XOR, dtype="int8"), ValueError, r"dtype must be 'float32' or 'float64'"),
        (lambda: logic.from_expression(5), TypeError, r"expression must be a str, got int"),
        (lambda: logic.from_expression("a", "xnf"), ValueError, r"unknown form 'xnf'"),
        (lambda: logic.from_expression("aplha", names=["alpha"]), ValueError, r"'aplha', did you mean 'alpha'\?"),
        (lambda: logic.from_expression("a", names=[]), ValueError, r"names must be 1 to 12, got 0"),
        (lambda: logic.from_expression("|".join("abcdefghijklm")), ValueError, r"has 13 names, the most is 12"),
        (lambda: logic.from_expression("(" * 9000 + "a" + ")" * 9000), ValueError, r"too many parentheses"),
        (lambda: logic.AND(0), ValueError, r"n must be in 1..10000, got 0"),
        (lambda: logic.OR(2.5), TypeError, r"n must be an integer, got float 2.5"),
        (lambda: logic.XOR(13), ValueError, r"n must be in 1..12, got 13"),
        (lambda: logic.XOR(2, "nf"), ValueError, r"unknown form 'nf'"),
        (lambda: logic.assignments(0), ValueError, r"n must be in 1..12, got 0"),
        (lambda: logic.is_linearly_separable([0, 1, 3, 1]), ValueError, r"got 3 in row 2"),
        (lambda: logic.formula(5), TypeError, r"model must be a pynet Model, got int"),
        (lambda: logic.hidden_units(pn.Sequential([pn.Input(2), pn.Dense(1)])), ValueError, r"not made by pynet.logic"),
        (lambda: logic.soften(logic.OR(), gain=0), ValueError, r"gain must be finite and > 0, got 0"),
        (lambda: logic.soften(logic.soften(logic.OR())), ValueError, r"no step units to soften: was it"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_it_is_imported_late():
    script = (
        "import sys, pynet\nassert 'pynet.logic' not in sys.modules\nassert pynet.logic.XOR and 'logic' in dir(pynet)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
