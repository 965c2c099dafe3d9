"""What happened in the epochs of a trainer."""

from __future__ import annotations

__all__ = ["History"]


class History:
    """What happened in the epochs of one trainer.

    Attributes
    ----------
    history : dict of lists
        "loss", metrics, and with validation data "val_loss" ...: one entry an epoch.
    interrupted : bool
        Whether Ctrl-C ended the last fit.
    stopped : str
        Why a search of second order ended the last fit by itself: "gradient", "loss" (see `pynet.optimizers`), "line
        search" (no lower point along the gradient), "damping" (none with most damping); else "".
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.interrupted = False
        self.stopped = ""

    def append(self, logs: dict) -> None:
        """Add the results of one epoch."""
        done = len(self.epoch)
        for name in {**self.history, **logs}:  # what this or an earlier epoch did not measure is NaN in it
            self.history.setdefault(name, [float("nan")] * done).append(float(logs.get(name, "nan")))

    @property
    def epoch(self) -> list[int]:
        """Numbers of the epochs, from 0."""
        return list(range(len(self.history.get("loss", ()))))

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self.history.items() if values)
        return f"History({len(self.epoch)} epochs{': ' + last if last else ''})"

    def _repr_html_(self) -> str:
        from .rich import history_html

        return history_html(self)
