"""Boolean expressions: they mean what Python means, and mistakes are shown where they are."""

import re

import pytest
from boolean import FORMS, answers, rows

from pynet import logic
from pynet.logic_table import read_expression


@pytest.mark.parametrize(
    "text",
    [
        "a & ~b | ~a & b",
        "a ^ b & c | d",
        "a | b ^ c & ~d",
        "~a & b ^ ~(c | d)",
        "~(a ^ b) ^ ~~c & (d | a)",
        "a ^ b ^ c ^ d",
        "((a)) & (b | (c & (d)))",
        "a&b|c^~d",
        "a & 1 | b & 0 ^ c & (True ^ False) | d",
        "  a\n & b\t| c & d ",
    ],
)
def test_expressions_mean_what_python_means(text):
    """Python's own operators on 0 and 1, with ~ as 1 - x, are the truth."""

    class Bit(int):
        def __invert__(self):
            return Bit(1 - self)

        __and__ = lambda self, other: Bit(int(self) & int(other))
        __or__ = lambda self, other: Bit(int(self) | int(other))
        __xor__ = lambda self, other: Bit(int(self) ^ int(other))
        __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    names, outputs = read_expression(text)
    assert names == list(dict.fromkeys(re.findall("[abcd]", text.replace("True", "").replace("False", ""))))
    code = re.sub(r"\bTrue\b|\bFalse\b|\b[01]\b", lambda m: f"Bit({m[0]})", " ".join(text.split()))
    for row, output in zip(rows(len(names)), outputs, strict=True):
        values = {name: Bit(value) for name, value in zip(names, row, strict=True)}
        assert eval(code, {"Bit": Bit}, values) == output, row
    for form in FORMS:
        assert answers(logic.from_expression(text, form)) == outputs.tolist()


def test_names_fix_the_inputs():
    model = logic.from_expression("b & ~a", names=["a", "unused", "b"])
    assert model.metadata["logic"]["names"] == ["a", "unused", "b"]
    assert answers(model) == [int(b and not a) for a, _, b in rows(3)]
    assert answers(logic.from_expression("0", names=["a"])) == [0, 0]
    assert logic.formula(logic.from_expression("x10 & x9 | ä_1")) == "x10 & x9 | ä_1"


@pytest.mark.parametrize(
    ("text", "place", "fault"),
    [
        ("a & ) b", 4, r"a name, 0, 1, ~ or '\(' was expected, got '\)'"),
        ("a b", 2, r"an operator \(& \^ \|\) was expected, got 'b'"),
        ("a & (b | c d)", 11, r"an operator \(& \^ \|\) or '\)' was expected, got 'd'"),
        ("a and b", 2, r"got 'and'; write &"),
        ("not a", 0, r"got 'not'; write ~"),
        ("(a & b", 0, r"this '\(' is never closed"),
        ("a & (b | (c)", 4, r"this '\(' is never closed"),
        ("a & b)", 5, r"this '\)' closes nothing"),
        ("a &", 3, r"was expected, but here it ends"),
        ("", 0, r"was expected, but here it ends"),
        ("a & $b", 4, r"'\$' is unknown here"),
        ("a\n  == b", 4, r"'=' is unknown here"),
        ("a + b", 2, r"'\+' is unknown here; write \|"),
        ("a & 2", 4, r"'2' is unknown here"),
        ("1 | 0", 0, r"a constant has inputs only if names"),
    ],
)
def test_mistakes_are_shown_where_they_are(text, place, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        logic.from_expression(text)
    first, shown, mark = str(caught.value).split("\n")
    assert f"position {place}:" in first
    assert shown[2:] == re.sub(r"\s", " ", text)
    assert mark == " " * (place + 2) + "^"


def test_long_expressions_are_shown_around_the_mistake():
    with pytest.raises(ValueError, match="position 502: an operator") as caught:
        logic.from_expression("a & " * 125 + "b c" + " & d" * 500)
    _, shown, mark = str(caught.value).split("\n")
    assert shown[mark.index("^")] == "c"
    assert len(shown) <= 110
