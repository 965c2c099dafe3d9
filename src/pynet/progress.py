"""Progress of a fit: one live line, in a terminal, a notebook or a log file."""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["Progress"]

REFRESH = 0.08  # seconds between two looks of the live line
KEEP = 0.5  # seconds between two epochs whose line stays; every epoch stays that takes longer
LANDMARKS = ("1", "2", "5")  # and of the quick ones numbers 1, 2, 5, 10, 20, 50 ...


class Progress:
    """Shows the epochs of a fit.

    Parameters
    ----------
    verbose : {0, 1, 2}
        0 shows nothing.  1 shows a live bar for the epoch on its way (tqdm's if it is installed) with the time left
        for the whole fit, and keeps the lines of finished epochs, of very quick ones only some; where no terminal
        is, one plain line an epoch.  2 is one plain line an epoch.
    stream : file, optional
        Default: sys.stderr.

    Raises
    ------
    ValueError
        `verbose` is none of 0, 1, 2.
    """

    def __init__(self, verbose: int = 1, stream=None) -> None:
        if verbose not in (0, 1, 2):
            raise ValueError(f"verbose must be 0 (silent), 1 (bar) or 2 (one line an epoch), got {verbose!r}")
        notebook = "ipykernel" in sys.modules
        self.stream = stream or (sys.stdout if notebook else sys.stderr)
        self._silent = verbose == 0 or self.stream is None  # pythonw has no streams
        self._live = not self._silent and verbose == 1 and (notebook or _is_terminal(self.stream))
        self._tqdm: Any = _tqdm(notebook) if self._live else None
        self._live = self._live and (self._tqdm is not None or not notebook)
        self._bar: Any = None  # of tqdm
        self._width = 0  # of the live line that stands there now
        self._pending = ""  # line of a quick epoch, shown if it was the last
        self._start = self._kept = self._shown = 0.0
        self._first: int | None = None  # epoch this fit began with

    def epoch_begin(self, epoch: int, epochs: int, rows: int) -> None:
        """Start epoch number `epoch` (from 0) of `epochs`, which visits `rows` rows."""
        if self._silent:
            return
        now = time.monotonic()
        self._epoch, self._epochs, self._rows, self._start = epoch, epochs, rows, now
        self._done = 0
        self._training_seconds = 0.0
        if self._first is None:
            self._first, self._began = epoch, now
        if self._tqdm is not None:
            if self._bar is None:
                self._bar = self._tqdm(
                    total=rows, file=self.stream, leave=False, unit="row", unit_scale=True, dynamic_ncols=True
                )
            self._bar.set_description(self._count(), refresh=False)
            self._bar.set_postfix_str("", refresh=False)
            self._bar.reset(total=rows)

    def update(self, rows_done: int, logs: dict) -> None:
        """Show that `rows_done` rows of this epoch are done, with the means so far."""
        if self._silent:
            return
        now = time.monotonic()
        self._training_seconds = now - self._start
        self._done = rows_done
        if not self._live or now - self._shown < REFRESH:
            return
        self._shown = now
        if self._bar is not None:
            self._bar.set_postfix_str(values_text(logs), refresh=False)
            self._bar.update(rows_done - self._bar.n)
            return
        part = min(rows_done / self._rows, 1.0) if self._rows else 1.0
        epochs_done = self._epoch - (self._first or 0) + part
        left = (now - self._began) / epochs_done * (self._epochs - self._epoch - part) if epochs_done else 0.0
        filled = int(part * 20)
        bar = "#" * filled + "." * (20 - filled)
        self._show(f"{self._count()} [{bar}] {part:4.0%}  {values_text(logs)}  {self._rate()}  {clock(left)} left")

    def epoch_end(self, logs: dict) -> None:
        """Finish the epoch: `logs` hold its means and those of the validation."""
        if self._silent:
            return
        now = time.monotonic()
        seconds = now - self._start
        if not self._training_seconds:
            self._training_seconds, self._done = seconds, self._rows
        line = f"{self._count()}  {values_text(logs)}  {seconds_text(seconds)}  {self._rate()}"
        landmark = str(self._epoch + 1).rstrip("0") in LANDMARKS
        if not self._live or landmark or now - self._kept >= KEEP:
            self._keep(line)
            self._kept = now
        else:
            self._pending = line
            if self._bar is None and now - self._shown >= REFRESH:
                self._shown = now
                self._show(line)

    def close(self) -> None:
        """End of the fit, also of one that was interrupted; may be called more than once."""
        if self._silent:
            return
        if self._pending:
            self._keep(self._pending)
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._erase()
        self._first = None

    def _count(self) -> str:
        total = str(self._epochs)
        return f"epoch {self._epoch + 1:>{len(total)}}/{total}"

    def _rate(self) -> str:
        return f"{quantity(self._done / max(self._training_seconds, 1e-9))} rows/s"

    def _show(self, line: str) -> None:
        """Put `line` in the place of the live line."""
        import shutil

        line = line[: max(shutil.get_terminal_size().columns - 1, 20)]
        self._write("\r" + line.ljust(self._width))
        self._width = len(line)

    def _erase(self) -> None:
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def _keep(self, line: str) -> None:
        """Print `line` for good."""
        self._pending = ""
        if self._bar is not None:
            self._tqdm.write(line, file=self.stream)
        else:
            self._erase()
            self._write(line + "\n")

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):  # a closed terminal is no reason to lose a training run
            self._silent = True


def values_text(logs: dict) -> str:
    """Return "loss 0.0312  accuracy 0.9912"."""
    return "  ".join(f"{name} {value_text(value)}" for name, value in logs.items())


def value_text(value: float) -> str:
    """Return a number in six characters or a few more."""
    value = float(value)
    return f"{value:.4f}" if value == 0.0 or 1e-3 <= abs(value) < 1e4 else f"{value:.2e}"


def quantity(value: float) -> str:
    """Return 1234567 as "1.23 M"."""
    for factor, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.3g}"


def change_text(after: float, before: float) -> str:
    """Return how many times smaller or larger than `before`."""
    return f"{before / after:.2f} times smaller" if after <= before else f"{after / before:.2f} times larger"


def seconds_text(seconds: float) -> str:
    """Return a duration: "2.1 ms", "3.4 s", "1:02:03"."""
    if seconds < 1.0:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.1f} s" if seconds < 100.0 else clock(seconds)


def clock(seconds: float) -> str:
    """Return "0:07", "12:34" or "1:02:03"."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def _is_terminal(stream) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def _tqdm(notebook: bool):
    """Return tqdm's class, or None where it is not installed."""
    try:
        if notebook:
            from tqdm.auto import tqdm
        else:
            from tqdm import tqdm
    except ImportError:
        return None
    return tqdm
