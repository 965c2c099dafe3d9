"""What scikit-learn's MLP does between two epochs, as a callback: curves, learning rate, the end."""

from __future__ import annotations

import math

from ..callbacks import Callback
from ..schedules import Cosine

__all__ = ["Watch", "rate_after"]


def rate_after(net) -> float:
    """Return the learning rate of an estimator after `n_iter_` epochs of this fit and `t_` rows of all."""
    if net.learning_rate == "cosine":
        return Cosine(net.learning_rate_init, net.max_iter)(net.n_iter_)
    if net.solver == "sgd" and net.learning_rate == "invscaling" and net.t_:
        return net.learning_rate_init / (net.t_ + 1) ** net.power_t
    return float(net.learning_rate_init)


class Watch(Callback):
    """Writes the attributes of an estimator, and ends its fit.

    Parameters
    ----------
    net : estimator
    score : callable, optional
        Returns the score on the validation rows; given, it decides (early_stopping), else the loss does.
    incremental : bool
        Whether this is partial_fit.
    """

    def __init__(self, net, score, incremental: bool) -> None:
        self.net, self.score, self.incremental = net, score, incremental
        self.best_arena = None

    def on_fit_begin(self, trainer) -> None:
        """Let the weights at hand be the best, where an earlier fit has found them to be so."""
        if self.score is not None and self.net.best_validation_score_ not in (None, -math.inf):
            self.best_arena = trainer.model.arena.copy()

    def on_epoch_end(self, trainer, epoch: int, logs: dict) -> bool:
        """Take note of an epoch; return whether it was the last."""
        net = self.net
        self.note(trainer.fit_info["rows"], net._reported(logs), logs.get("val_loss"))
        if self.score is not None:
            self._watch_score(trainer, logs.get("val_accuracy"))
        else:
            self._watch_loss()
        if net.learning_rate == "cosine" or (net.solver == "sgd" and net.learning_rate == "invscaling"):
            trainer.optimizer.learning_rate = rate_after(net)
        return net._no_improvement_count > net.n_iter_no_change and self._out_of_patience(trainer)

    def note(self, rows: int, loss: float, val_loss: float | None) -> None:
        """Count an epoch and write its losses down."""
        net = self.net
        net.n_iter_ += 1
        net.t_ += rows
        net.loss_ = loss
        net.loss_curve_.append(loss)
        if val_loss is not None:
            net.validation_loss_curve_ = [*(net.validation_loss_curve_ or ()), val_loss]
        if net.verbose:
            print(f"Iteration {net.n_iter_}, loss = {loss:.8f}")

    def _watch_loss(self) -> None:
        net = self.net
        best = math.inf if net.best_loss_ is None else net.best_loss_
        net._no_improvement_count = net._no_improvement_count + 1 if net.loss_ > best - net.tol else 0
        net.best_loss_ = min(best, net.loss_)

    def _watch_score(self, trainer, known: float | None) -> None:
        net = self.net
        value = self.score() if known is None else known
        net.validation_scores_ = [*(net.validation_scores_ or ()), value]
        if net.verbose:
            print(f"Validation score: {value:f}")
        best = -math.inf if net.best_validation_score_ is None else net.best_validation_score_
        net._no_improvement_count = net._no_improvement_count + 1 if value < best + net.tol else 0
        if value > best:
            net.best_validation_score_ = value
            self.best_arena = trainer.model.arena.copy()

    def _out_of_patience(self, trainer) -> bool:
        """End the fit; or, with an adaptive rate, divide that by 5 until it is 1e-6."""
        net, optimizer = self.net, trainer.optimizer
        what = "Validation score" if self.score is not None else "Training loss"
        text = f"{what} did not improve more than tol={net.tol:f} for {net.n_iter_no_change} consecutive epochs."
        adaptive = net.solver == "sgd" and net.learning_rate == "adaptive"
        if adaptive and optimizer.learning_rate > 1e-6:
            optimizer.learning_rate /= 5.0
            net._no_improvement_count = 0
            if net.verbose:
                print(f"{text} Setting learning rate to {optimizer.learning_rate:f}")
            return False
        if net.verbose:
            print(f"{text} {'Learning rate too small. ' if adaptive else ''}Stopping.")
        return True
