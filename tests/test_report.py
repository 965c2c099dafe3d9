"""The HTML page of pynet.report and the HTML of notebooks: right numbers, nothing that does not belong there, one file.

What the page looks like a person has to judge.
"""

import html
import html.parser
import re
import sys
from collections import Counter

import numpy as np
import pytest
from sklearn import metrics

import pynet as pn
from pynet import report, rich, scores
from pynet.history import History

rng = np.random.default_rng(0)
N, C = 300, 4
Y = rng.integers(0, C, N)
P = rng.random((N, C)) + 0.4 * np.eye(C)[Y]
P /= P.sum(axis=1, keepdims=True)
T = rng.normal(size=(N, 2)) * [1, 10]
Q = T + rng.normal(size=(N, 2))
CURVES = {"loss": [2.0, 1.0, 0.5], "val_loss": [2.0, 1.5, 1.6], "accuracy": [0.1, 0.5, 0.9]}


class Page(html.parser.HTMLParser):
    """Every tag with its attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.values, self.text, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.values += [(name, value) for name, value in attrs]
        if tag not in ("meta", "path", "use", "image", "rect", "line", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def model():
    return pn.Sequential([pn.Input(3), pn.Dense(5, "relu"), pn.Dense(C, "softmax")], name="net")


def write(path, **other):
    given = {
        "title": "A title", "model": model(), "history": CURVES, "task": "classes", "y_true": Y, "prediction": P,
        "importance": [("one", 1.0, 0.1), ("two", 0.5, 0.1)], "settings": {"seed": 0, "hidden": [5], "rate": 1e-3},
    }  # fmt: skip
    report.write_html(path, **(given | other))
    return path.read_text(encoding="utf-8")


def tiles(text):
    return {label: value for value, label in re.findall(r'"tile"><b>(.*?)</b><span>(.*?)</span>', text)}


def cells(text):
    return [html.unescape(cell) for cell in re.findall(r"<t[dh](?: [^>]*)?>(.*?)</t[dh]>", text)]


def rows(text, title):
    """The cells of the table below a heading."""
    part = text.split(f"<h2>{title}")[1].split("</table>")[0]
    return [
        [html.unescape(c) for c in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)] for row in part.split("</tr>")[:-1]
    ]


# ---- the numbers ----------------------------------------------------------------------------------------------------


def test_scores_of_classes(tmp_path):
    text = write(tmp_path / "page.html", classes=list("abcd"))
    right = int((P.argmax(1) == Y).sum())
    found = tiles(text)
    assert found[f"accuracy ({right} of {N} right)"] == f"{right / N:.2%}"
    assert found["accuracy of the commonest class alone"] == f"{np.bincount(Y).max() / N:.2%}"
    assert found["cross-entropy, nats"] == f"{metrics.log_loss(Y, P):.4g}"
    assert found["expected calibration error"] == f"{scores.calibration(Y, P).ece:.3f}"
    assert len(found) == 4  # of four classes the five likeliest are all
    recall = metrics.recall_score(Y, P.argmax(1), average=None)
    precision = metrics.precision_score(Y, P.argmax(1), average=None)
    expected = [[n, str((k == Y).sum()), f"{recall[k]:.1%}", f"{precision[k]:.1%}"] for k, n in enumerate("abcd")]
    assert rows(text, "Classes")[1:] == expected
    assert report.SOURCE in html.unescape(text)  # says where the calibration error is from
    assert f"{N} rows, {model().count_params()} parameters" in text


def test_scores_of_numbers(tmp_path):
    text = write(tmp_path / "page.html", task="numbers", y_true=T, prediction=Q, classes=["width", "height"])
    found = tiles(text)
    assert found["R², all outputs"] == f"{metrics.r2_score(T, Q):.4f}"
    assert found["root mean squared error, all outputs"] == f"{np.sqrt(metrics.mean_squared_error(T, Q)):.4g}"
    assert found["mean absolute error, all outputs"] == f"{metrics.mean_absolute_error(T, Q):.4g}"
    assert found["error of the mean alone"] == f"{np.sqrt(((T - T.mean(0)) ** 2).mean()):.4g}"
    for k, name in enumerate(("width", "height")):
        row = rows(text, "Outputs")[k + 1]
        assert row[:2] == [name, f"{metrics.r2_score(T[:, k], Q[:, k]):.4f}"]
    assert text.count("<figure>") == 2 + 3 * 2 + 1  # curves, three of each output, importance
    single = write(tmp_path / "page.html", task="numbers", y_true=T[:, 0], prediction=Q[:, :1])
    assert "R²" in tiles(single)
    assert "<h2>Outputs" not in single


def test_two_classes_by_the_probability_of_the_second(tmp_path):
    y, p = Y % 2, P[:, 0]
    both = write(tmp_path / "a.html", y_true=y, prediction=np.stack([1 - p, p], axis=1))
    assert write(tmp_path / "b.html", y_true=y > 0, prediction=p[:, None]) == both


def test_sections_that_have_nothing_are_left_out(tmp_path):
    text = write(tmp_path / "page.html", history=None, importance=None, settings=None)
    assert text.count("<figure>") == 2
    assert "<h2>Settings" not in text
    assert "<h2>Model" in text


def test_the_summary_and_the_settings_are_there(tmp_path):
    text = write(tmp_path / "page.html")
    assert rows(text, "Model")[2] == ["dense_1", "Dense relu", "5", "20", "input_1"]
    assert rows(text, "Settings") == [["seed", "0"], ["hidden", "5"], ["rate", "0.001"]]


@pytest.mark.parametrize("n", [40, 1000])
def test_many_classes(n, tmp_path):
    y = rng.integers(0, n, 3000)
    p = rng.random((3000, n))
    text = write(tmp_path / "page.html", y_true=y, prediction=p / p.sum(1, keepdims=True))
    assert "the class is among the 5 likeliest" in tiles(text)
    assert len(rows(text, "Classes")) == 31
    assert len(text) < 400_000


def test_many_rows_and_outputs_make_no_large_file(tmp_path):
    t = rng.normal(size=(20_000, 5))
    text = write(tmp_path / "page.html", task="numbers", y_true=t, prediction=t + 1)
    assert len(text) < 2_000_000
    assert "(the pictures are of the first 4)" in text
    assert len(rows(text, "Outputs")) == 6


# ---- the file -------------------------------------------------------------------------------------------------------

EVIL = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style></svg><b onmouseover='x'>",
    "]]> --> &lt; & &amp;",
]  # fmt: skip
STRANGE = ["$\\frac{", "nul \x00 \x1b", "half \ud800", "世界", "two\nlines", "x" * 3000, "", "javascript:alert(1)"]


def test_names_from_files_are_text(tmp_path):
    """With evil names the page has the same tags and attributes as with harmless ones, and shows the names."""

    def page(names):
        return write(
            tmp_path / "page.html", title=names[0], classes=names[:4], importance=[(n, 1.0, 0.1) for n in names],
            settings={n: n for n in names}, history={"loss": [1, 2], names[0]: [1, 2], f"val_{names[1]}": [1, 2]},
        )  # fmt: skip

    harmless = Page(page([f"name {k}" for k in range(12)]))
    for names in (EVIL + STRANGE, STRANGE[::-1] + EVIL[::-1]):
        found = Page(page(names))
        assert set(found.tags) == set(harmless.tags)
        assert found.open == []
        varied = ("g", "use", "path", "rect", "text")  # as many as the axes have ticks
        counts = [Counter(tag for tag, _ in one.tags if tag not in varied) for one in (found, harmless)]
        assert counts[0] == counts[1]
        text = "".join(found.text)
        for name in names:
            shown = "".join(c if c.isprintable() else " " for c in name)
            assert shown in text


def test_the_page_needs_nothing_else(tmp_path):
    for task, y, p in (("classes", Y, P), ("numbers", np.tile(T, (9, 1)), np.tile(Q, (9, 1)))):
        found = Page(write(tmp_path / "page.html", task=task, y_true=y, prediction=p))
        assert not {tag for tag, _ in found.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
        for name, value in found.values:
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("#", "data:image/png;base64,"))
            assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?(.)", value or ""))
    names = [value for name, value in found.values if name == "id"]
    assert len(names) == len(set(names))  # pictures do not take each other's marks
    references = [v[1:] for n, v in found.values if n == "xlink:href" and v.startswith("#")]
    references += [m for _, v in found.values for m in re.findall(r"url\(#([^)]*)\)", v or "")]
    assert references
    assert set(references) <= set(names)


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    import matplotlib.pyplot
    import matplotlib.style

    first = write(tmp_path / "a.html")
    with matplotlib.rc_context(), matplotlib.style.context("dark_background"):
        before = dict(matplotlib.rcParams)
        assert write(tmp_path / "b.html") == first  # nor does it matter what a program has set
        assert dict(matplotlib.rcParams) == before
    assert matplotlib.pyplot.get_fignums() == []


def test_pictures_take_the_colours_of_the_page(tmp_path):
    text = write(tmp_path / "page.html")
    svg = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    for colour, shown in report.COLOURS.items():
        assert colour.lower() not in svg
        assert shown in svg
        assert shown == "currentColor" or f"{shown[4:-1]}:" in text  # the variable has a value
    assert "prefers-color-scheme: dark" in text


BAD = {
    "model": (3, TypeError, "model must be a pynet Model"),
    "title": (None, TypeError, "title must be a text"),
    "task": ("class", ValueError, "unknown task 'class', did you mean 'classes'"),
    "history": ([1.0], TypeError, "history must be a History"),
    "y_true": (Y + 1, ValueError, r"y_true must hold class numbers 0\.\.3, got 4"),
    "prediction": (P * 2, ValueError, r"prediction must be probabilities in \[0, 1\]"),
    "classes": (["a"], ValueError, "classes must be 4 names, one for each class, got 1"),
    "importance": ([("a", np.nan, 0.1)], ValueError, r"importance\[0\] must have finite numbers"),
    "settings": ([1], TypeError, "settings must be a dict"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_leave_no_file(name, tmp_path):
    value, error, text = BAD[name]
    with pytest.raises(error, match=text):
        write(tmp_path / "page.html", **{name: value})
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    old = write(tmp_path / "page.html")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(5, "no")))
    with pytest.raises(OSError, match="cannot write the file"):
        write(tmp_path / "page.html", title="Another")
    assert (tmp_path / "page.html").read_text() == old
    assert len(list(tmp_path.iterdir())) == 1


def test_without_matplotlib_the_error_tells_what_to_install(tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "pynet\[plot\]"'):
        write(tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


# ---- scores ---------------------------------------------------------------------------------------------------------


def test_confusion_is_that_of_scikit_learn():
    np.testing.assert_array_equal(scores.confusion(Y, P), metrics.confusion_matrix(Y, P.argmax(1)))


def test_calibration_by_the_formula():
    """Guo et al. 2017: bins ((m-1)/M, m/M], ECE = sum |B_m|/N |acc(B_m) - conf(B_m)|."""
    sure, right = P.max(axis=1), P.argmax(axis=1) == Y
    found, error = scores.calibration(Y, P, 15), 0.0
    for m in range(15):
        bin = (sure > m / 15) & (sure <= (m + 1) / 15)
        assert found.counts[m] == bin.sum()
        if bin.any():
            assert found.confidence[m] == pytest.approx(sure[bin].mean())
            assert found.accuracy[m] == pytest.approx(right[bin].mean())
            error += bin.sum() / N * abs(right[bin].mean() - sure[bin].mean())
    assert found.ece == pytest.approx(error)
    assert scores.calibration(np.array([0, 1]), np.eye(2)).ece == 0
    assert scores.calibration(np.array([1, 0]), np.eye(2)).ece == 1
    edge = scores.calibration(np.array([0]), np.array([[0.5, 0.5]]), 2)
    assert edge.counts.tolist() == [1, 0]  # a bin has its upper edge


def test_metrics_are_those_of_a_trainer():
    net = pn.Sequential([pn.Input(3), pn.Dense(6, "softmax")])
    X, y = rng.normal(size=(80, 3)), rng.integers(0, 6, 80)
    trainer = pn.Trainer(net, "cross_entropy", metrics=["accuracy", "top_k"])
    expected, p = trainer.evaluate(X, y), net.predict(X).astype(float)
    assert scores.metric("accuracy", y, p) == expected["accuracy"]
    assert scores.metric("top_k", y, p) == expected["top_5"]
    assert scores.cross_entropy(y, p) == pytest.approx(expected["loss"], rel=1e-5)
    assert scores.cross_entropy(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(87.3, abs=0.1)


@pytest.mark.parametrize(
    ("y", "p", "text"),
    [
        ([0, 1.5], P[:2], r"class numbers 0\.\.3, got 1.5"), ([0, -1], P[:2], "got -1"),
        ([0], P[:2], r"y_true must be class numbers \[2\]"), (["a", "b"], P[:2], "y_true must be real numbers"),
        ([0, 1], P[:2, :, None], r"prediction must be probabilities \[B, C\]"), ([], P[:0], "has no rows"),
        ([0, 1], [[np.nan, 1], [0, 1]], "prediction"),
    ],
)  # fmt: skip
def test_bad_classes(y, p, text):
    with pytest.raises((TypeError, ValueError), match=text):
        scores.check_classes(y, p)


@pytest.mark.parametrize(
    ("y", "p", "text"),
    [
        ([1, 2], [1], r"shape of the prediction, \(1, 1\), got \(2, 1\)"),
        (np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), r"y_true must have shape \[B\] or \[B, O\]"),
        ([np.inf], [1], "y_true"), ([1], [np.nan], "prediction"), ([], [], "no rows"),
    ],
)  # fmt: skip
def test_bad_numbers(y, p, text):
    with pytest.raises((TypeError, ValueError), match=text):
        scores.check_numbers(y, p)


# ---- what notebooks show --------------------------------------------------------------------------------------------


def test_a_model_is_a_table():
    made = model()
    text = made._repr_html_()
    page = Page(text)
    assert cells(text)[:5] == ["layer", "kind", "width", "parameters", "reads"]
    assert cells(text)[10:15] == ["dense_1", "Dense relu", "5", "20", "input_1"]
    assert {tag for tag, _ in page.tags} == {"p", "b", "table", "thead", "tbody", "tr", "td", "th"}
    assert page.open == []
    lines = []
    made.summary(lines.append)
    assert all(cell in lines[0] for cell in cells(text))


def test_a_long_table_is_cut():
    deep = pn.Sequential([pn.Input(2), *[pn.Dense(2) for _ in range(100)]])
    text = deep._repr_html_()
    assert text.count("<tr>") == 62
    assert "… 41 more" in text
    assert ">dense_100<" in text


def test_a_history_is_a_table_with_curves():
    history = History()
    assert history._repr_html_() == "<p><b>History</b>, 0 epochs</p>"
    for k in range(3):
        history.append({name: values[k] for name, values in CURVES.items()})
    text = history._repr_html_()
    assert "3 epochs" in text
    assert re.findall(r"<td[^>]*>([\d.]*)</td>", text) == ["0.5", "1.6", "0.9", ""]
    assert text.count("<path") == 3
    assert Page(text).open == []


def test_a_sparkline_is_the_curve():
    text = rich.sparkline([[0.0, 1.0, 0.5], [1.0, np.nan, 1.0, np.inf]])
    first, second = re.findall(r'd="([^"]*)"', text)
    points = [tuple(map(float, pair.split())) for pair in re.split("[ML]", first)[1:]]
    assert [x for x, _ in points] == [3, 110, 217]
    low, high = rich.HEIGHT - 4, 4
    assert [y for _, y in points] == [low, high, (low + high) / 2]
    assert second.count("M") == 2  # a number that is none leaves a gap
    assert rich.sparkline([[np.nan], []]) == ""
    assert "NaN" not in rich.sparkline([[1.0], [1.0]]) + text


def test_names_in_a_history_are_text():
    history = History()
    history.append({"loss": 1.0, **dict.fromkeys(EVIL + STRANGE, 2.0)})
    page = Page(history._repr_html_())
    assert {tag for tag, _ in page.tags} == {"p", "b", "table", "thead", "tbody", "tr", "td", "th", "svg", "path"}
