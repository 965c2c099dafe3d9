"""The live line: what a terminal, a log file and a silent run get to see."""

import io
import re
import sys

import pytest

from pynet import progress
from pynet.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def lines(self):
        """What stands on the screen in the end."""
        screen = []
        for line in self.getvalue().split("\n"):
            cells = []
            for part in line.split("\r"):
                cells[: len(part)] = part
            screen.append("".join(cells).rstrip())
        return screen


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress, "time", self)

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def no_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)


def run(bar, clock, epochs=3, seconds=1.0, slices=4, rows=1000):
    for epoch in range(epochs):
        bar.epoch_begin(epoch, epochs, rows)
        for k in range(1, slices + 1):
            clock.now += seconds / slices
            bar.update(rows * k // slices, {"loss": 1.0 / (epoch + 1)})
        bar.epoch_end({"loss": 1.0 / (epoch + 1), "val_accuracy": 0.5})
    bar.close()
    bar.close()


def test_silent(clock):
    stream = Terminal()
    run(Progress(0, stream), clock)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("verbose", "kind"), [(1, io.StringIO), (2, io.StringIO), (2, Terminal)])
def test_plain_lines(clock, verbose, kind):
    stream = kind()
    run(Progress(verbose, stream), clock, epochs=10)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert "\r" not in stream.getvalue()
    assert lines[1] == "epoch  2/10  loss 0.5000  val_accuracy 0.5000  1.0 s  1 k rows/s"


def test_every_quick_epoch_has_its_line_in_a_log_file(clock):
    stream = io.StringIO()
    run(Progress(1, stream), clock, epochs=100, seconds=0.001)
    assert len(stream.getvalue().splitlines()) == 100


@pytest.mark.usefixtures("no_tqdm")
def test_live_line(clock):
    stream = Terminal()
    run(Progress(1, stream), clock)
    assert "epoch 1/3 [##########..........]  50%  loss 1.0000  1 k rows/s  0:02 left" in stream.getvalue()
    assert "epoch 3/3 [#####...............]  25%  loss 0.3333  1 k rows/s  0:01 left" in stream.getvalue()
    assert stream.lines() == [
        "epoch 1/3  loss 1.0000  val_accuracy 0.5000  1.0 s  1 k rows/s",
        "epoch 2/3  loss 0.5000  val_accuracy 0.5000  1.0 s  1 k rows/s",
        "epoch 3/3  loss 0.3333  val_accuracy 0.5000  1.0 s  1 k rows/s",
        "",
    ]


@pytest.mark.usefixtures("no_tqdm")
def test_quick_epochs_do_not_flood_the_terminal_and_the_last_one_stays(clock):
    stream = Terminal()
    run(Progress(1, stream), clock, epochs=201, seconds=0.01)
    lines = stream.lines()
    landmarks = [f"epoch {k:3d}/201" for k in (1, 2, 5, 10, 20, 50, 100, 200)]
    assert set(landmarks) <= {line[:13] for line in lines}
    assert len(lines) <= len(landmarks) + 6
    assert lines[-2].startswith("epoch 201/201")
    assert lines[-1] == ""


@pytest.mark.usefixtures("no_tqdm")
def test_the_live_line_fits_the_terminal(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    bar = Progress(1, stream)
    bar.epoch_begin(0, 1, 100)
    clock.now += 1
    bar.update(50, {f"metric_{k}": 0.5 for k in range(20)})
    assert max(len(part) for part in re.split("[\r\n]", stream.getvalue())) == 39


@pytest.mark.usefixtures("no_tqdm")
def test_an_interrupted_epoch_leaves_no_half_line(clock):
    stream = Terminal()
    bar = Progress(1, stream)
    bar.epoch_begin(0, 5, 100)
    clock.now += 1
    bar.update(50, {"loss": 1.0})
    bar.close()
    assert stream.lines() == [""]


@pytest.mark.usefixtures("no_tqdm")
def test_a_fit_that_continues_counts_on(clock):
    stream = Terminal()
    bar = Progress(1, stream)
    bar.epoch_begin(7, 10, 100)
    clock.now += 1
    bar.update(50, {"loss": 1.0})
    assert "epoch  8/10 [##########..........]  50%  loss 1.0000  50 rows/s  0:05 left" in stream.getvalue()


def test_no_slices_and_no_rows(clock):
    stream = io.StringIO()
    run(Progress(2, stream), clock, epochs=1, slices=0)
    run(Progress(2, stream), clock, epochs=1, rows=0)
    assert len(stream.getvalue().splitlines()) == 2


def test_tqdm_in_a_terminal(clock):
    pytest.importorskip("tqdm")
    stream = Terminal()
    run(Progress(1, stream), clock)
    text = stream.getvalue()
    assert re.search(r"epoch 2/3: +\d+%\|", text)
    assert [line for line in stream.lines() if line] == [
        f"epoch {k}/3  loss {1 / k:.4f}  val_accuracy 0.5000  1.0 s  1 k rows/s" for k in (1, 2, 3)
    ]


def test_a_broken_stream_does_not_end_the_fit(clock):
    class Broken(Terminal):
        def write(self, text):
            raise BrokenPipeError

    run(Progress(2, Broken()), clock)
    stream = io.StringIO()
    bar = Progress(2, stream)
    stream.close()
    run(bar, clock)


@pytest.mark.parametrize("verbose", [-1, 3, "1", None, 0.5])
def test_bad_verbose(verbose):
    with pytest.raises(ValueError, match="verbose must be 0"):
        Progress(verbose)


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (progress.value_text, 0.0, "0.0000"),
        (progress.value_text, 0.12345, "0.1235"),
        (progress.value_text, 1e-7, "1.00e-07"),
        (progress.value_text, -123456.0, "-1.23e+05"),
        (progress.value_text, float("nan"), "nan"),
        (lambda after: progress.change_text(after, 90), 25, "3.60 times smaller"),
        (lambda after: progress.change_text(after, 90), 180, "2.00 times larger"),
        (progress.quantity, 12.34, "12.3"),
        (progress.quantity, 999.9, "1 k"),
        (progress.quantity, 1234567, "1.23 M"),
        (progress.quantity, 5e9, "5 G"),
        (progress.seconds_text, 0.0021, "2.1 ms"),
        (progress.seconds_text, 3.44, "3.4 s"),
        (progress.seconds_text, 125, "2:05"),
        (progress.clock, 3723, "1:02:03"),
        (progress.clock, 59.6, "1:00"),
    ],
)
def test_numbers_as_texts(function, value, text):
    assert function(value) == text
