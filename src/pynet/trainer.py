"""The trainer: what trains, evaluates and differentiates a model.  The epochs of a fit stand in fit.py."""

from __future__ import annotations

import os
import time
import warnings
from typing import Any

import numpy as np

from . import _check, _core, optimizers, philox
from . import clip as clips
from .arrays import as_inputs, check_finite
from .external import SCORE, external_batch
from .fit import Fit, begin, check_batches, prepare
from .heads import Heads, check_weights
from .history import History
from .parallel import ALONE, TAIL, Ranks
from .plan import Job, build
from .scoring import gradients, score_sums
from .shared_gradients import SharedGradients

__all__ = ["Trainer"]


class Trainer:
    """Trains and evaluates a model.

    Parameters
    ----------
    model : Model
    loss : str, loss object, or an object with ``value_and_gradient(prediction, target)``
        For several outputs a list, or a dict by output name.  See `pynet.losses`.
    optimizer : str or Optimizer, default Adam(1e-3)
    metrics : list of str or Metric
        "accuracy", "top_k", "r2", "mae", "mse"; or a dict of lists by output name.
    clip : Clip or list of them, optional
        Applied in order to the gradient of every step.
    loss_weights : list or dict of float, optional
        For several outputs; default 1 each.
    backend : {"c", "numpy"}
        The machine.  "numpy" is the readable twin: the same numbers, slowly.
    n_threads : int, optional
        Default: `pn.get_num_threads()`.  The result does not depend on it, not by a bit.
    random_state : int, default 0
        Decides shuffles and the validation split.  (Initial weights are the model's.)

    Attributes
    ----------
    history : History
    epoch, step : int
        Epochs and updates done.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or unknown; a loss and its head do not fit.
    """

    def __init__(
        self,
        model,
        loss,
        optimizer="adam",
        metrics=(),
        clip=None,
        *,
        loss_weights=None,
        backend: str = "c",
        n_threads: int | None = None,
        random_state: int = 0,
    ) -> None:
        if not hasattr(model, "arena"):
            raise TypeError(f"model must be a pynet Model, got {type(model).__name__}")
        if backend not in ("c", "numpy"):
            raise _check.unknown("backend", backend, ("c", "numpy"))
        self.model = model
        self.heads = Heads(model, loss, metrics, loss_weights)
        self.optimizer = optimizers.get(optimizer)
        epsilon = getattr(self.optimizer, "epsilon", 1.0)
        if model.dtype.type(epsilon) == 0:  # then 0 / 0 where a gradient has always been 0
            raise ValueError(f"the optimizer's epsilon={epsilon:g} is 0 in {model.dtype}; take a larger one or float64")
        self.clip = clip
        self._clips = clips.get(clip)
        self.backend = backend
        self.n_threads = 0 if n_threads is None else _check.integer("n_threads", n_threads, 1, 255)
        self.random_state = philox.key_of(random_state)
        for head, out in zip(self.heads.losses, model.outputs, strict=True):
            if head is not None:
                head.resolve(out.activation, out.width)  # says at once that a loss and a head do not fit
        self.history = History()
        self.epoch = self.step = 0
        self.stop_training = False
        self.fit_info: dict = {}
        self._exchange_nothing()
        self._scratch: Any = None  # gradients of machines that do not train
        self._slots = self._arenas(self.optimizer.n_slots)
        self._rule = self.optimizer.rule
        self._fit: Fit | None = None  # the fit under way
        self._ranks = ALONE  # the processes that do it
        self._pending: dict | None = None  # the run that a resumed trainer has to finish
        self._search: dict | None = None  # what an optimizer of second order remembers: second_order.py

    # ---- machines ---------------------------------------------------------------------------------------------------

    def _arenas(self, n: int) -> list:
        return [_core.aligned(self.model.weights.elems, self.model.dtype) for _ in range(n)]

    def _exchange_nothing(self) -> None:
        """Have the gradient in memory like any other."""
        self._exchange_in(_core.aligned(self.model.weights.elems + TAIL, self.model.dtype))
        self._exchanges = False

    def _exchange_in(self, buffer: np.ndarray, shared: SharedGradients | None = None) -> None:
        """Have the gradient in `buffer`, with a message between ranks, of TAIL elements, behind it."""
        self._exchanged, self._shared = buffer, shared
        self._grads = buffer[:-TAIL]
        self._exchanges = True
        self._cache: dict = {}  # of machines: purpose -> (key, plan, machine, rows)

    def _machine(self, purpose: str, heads: list, rows: int, input_gradients: bool = False, mode: str = ""):
        """Return (plan, machine) for batches of up to `rows`, made anew only when something has changed.

        `purpose`, also the plan's mode where none is given: "train", "score" or "gradients".
        """
        mode = mode or purpose
        if self._shared and self._shared.process != os.getpid():  # a fork: the memory stays the parent's
            self._exchange_nothing()
        if self.optimizer.rule != self._rule and self._fit is None:  # a momentum more or less: another rule and state
            self._rule, self._slots = self.optimizer.rule, self._arenas(self.optimizer.n_slots)
        layers = tuple(getattr(layer, name) for layer in self.model.layers for name in layer.live)
        masks = self.model.weights.mask_version
        threads = self.n_threads or self._ranks.threads
        key = (tuple(h and h.key() for h in heads), input_gradients, self._rule, layers, mode, masks, threads)
        known = self._cache.get(purpose)
        if known and known[0] == key and known[3] >= rows:
            return known[1], known[2]
        plan = build(self.model, heads, input_gradients=input_gradients, mode=mode)
        if self.backend == "c":
            make: Any = _core.Machine
        else:
            from .reference import Machine

            make = Machine
        if purpose != "train" and self._scratch is None:
            (self._scratch,) = self._arenas(1)  # so that looking at a net never touches the gradients it trains with
        grads = self._grads if purpose == "train" else self._scratch
        grads[:] = 0  # ClipNorm must not see what was left for parameters that are now frozen
        for slot in self._slots:  # of weights that are pruned by now
            self.model.weights.clear_pruned(slot)
        arenas = {"grads": grads, "slots": self._slots, "keep": self.model.weights.keep}
        machine = make(plan, self.model.arena, rows=rows, n_threads=threads, **arenas)
        self._cache[purpose] = (key, plan, machine, rows)
        return plan, machine

    def _job(self, plan, inputs: list, targets: list, weight, rows: int, batch: int, stages: int) -> Job:
        used = [t for t in targets if t is not None]
        return Job(
            inputs=inputs, targets=used, weight=weight, rows=rows, batch=batch, stages=stages, step=self.step,
            optimizer=self.optimizer.kind, hyper=self.optimizer.hyper, clips=self._clips, sums=np.zeros(plan.n_sums),
            seed=self.random_state,
        )  # fmt: skip

    def _inputs(self, X, name: str) -> tuple[list, int]:
        """Return the checked arrays of the inputs and their number of rows."""
        inputs, rows = as_inputs(self.model, X)
        for array in inputs:
            check_finite(name, array, self.model.dtype)
        return inputs, rows

    def _prepare(self, X, y, sample_weight=None, class_weight=None, names=("X", "y")):
        """Check everything that enters; return (inputs, targets, weight, rows)."""
        inputs, rows = self._inputs(X, names[0])
        if rows == 0:
            raise ValueError(f"{names[0]} has no rows")
        targets = self.heads.targets(y, rows, names[1])
        weight = check_weights(sample_weight, class_weight, targets, rows, self.heads)
        if weight is not None and self.heads.external:
            raise ValueError("sample_weight and class_weight do not reach a loss object of your own: weigh inside it")
        return inputs, targets, weight, rows

    # ---- running batches --------------------------------------------------------------------------------------------

    def _advance(self, plan, machine, job: Job, first: int, count: int, seconds: float) -> int:
        """Run up to `count` training batches; return how many were done."""
        self.model.weights.claim()
        job.step = self.step
        job.rate = self.optimizer.rates(self.step, count)
        if self.heads.external:
            done = 0
            begun = time.perf_counter()
            while done < count and (done == 0 or time.perf_counter() - begun < seconds):
                job.rate = job.rate[1:] if done else job.rate
                job.step = self.step
                external_batch(self, plan, machine, job, first + done, _core.BACKWARD | _core.UPDATE)
                done += 1
                self.step += 1
            return done
        job.stages = SCORE | _core.BACKWARD | _core.UPDATE
        if job.parts:
            done, status = machine.run(job, first, count, seconds)
            self.step += done
            if status != "ok":
                self._ranks.failed = True  # all have the same status, and where the update gave it, the same gradient
                self._fail(status, first + done)
            return done
        before = job.sums[1]
        try:
            _, status = machine.run(job, first, count, seconds)
        finally:  # Ctrl-C strikes as the machine returns, before its answer arrives; the sums count batches, too
            done = int(job.sums[1] - before)
            self.step += done
        if status != "ok":
            self._fail(status, first + done)
        return done

    def _fail(self, status: str, batch: int) -> None:
        place = f"epoch {self.epoch}, batch {batch} (step {self.step})"
        if status == "bad_label":
            raise ValueError(f"y holds a class number outside the head's outputs, in {place}")
        lost = "" if np.isfinite(self.model.arena).all() else (
            ", and not finite themselves: the loss of an earlier batch was, but not its gradient"
        )  # fmt: skip
        raise FloatingPointError(
            f"the loss became NaN or infinite in {place}; the weights are those before that batch{lost}. Lower the "
            "learning rate, clip gradients (clip=pn.ClipNorm(1.0)), or look at the scale of the inputs"
        )

    def _score(
        self, inputs: list, targets: list, weight, rows: int, order=None, *, batch: int, ranks: Ranks = ALONE
    ) -> dict[str, float]:
        with ranks.together():
            plan, sums = score_sums(self, inputs, targets, weight, rows, order, batch, ranks)
        return self.heads.logs(plan, ranks.score(sums, plan.n_sums))

    # ---- the public calls -------------------------------------------------------------------------------------------

    def evaluate(self, X, y, *, batch_size: int = 256, sample_weight=None) -> dict[str, float]:
        """Return {"loss": ..., metrics ...} over all rows: weighted means, penalties included in the loss.

        Parameters
        ----------
        X : array-like [N, I], or a list or dict of them
        y : targets as the loss takes them
        batch_size : int
            Rows at a time; the result does not depend on it beyond rounding.
        sample_weight : array-like [N], optional
        """
        inputs, targets, weight, rows = self._prepare(X, y, sample_weight)
        return self._score(inputs, targets, weight, rows, batch=_check.integer("batch_size", batch_size, 1))

    def train_on_batch(self, X, y, *, sample_weight=None, class_weight=None) -> dict[str, float]:
        """Do one step on all rows given.

        Parameters
        ----------
        X, y, sample_weight, class_weight
            As of `fit`.

        Returns
        -------
        dict
            {"loss": ..., metrics ...} of that batch before the step.

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            As of `fit`.
        RuntimeError
            The trainer is fitting, in another thread or in a callback.
        """
        if self._fit is not None:
            raise RuntimeError("this trainer is fitting: train_on_batch has to wait")
        inputs, targets, weight, rows = self._prepare(X, y, sample_weight, class_weight)
        plan, machine = self._machine("train", self.heads.resolve(targets), rows)
        check_batches(plan, rows, rows)
        job = self._job(plan, inputs, targets, weight, rows, rows, 0)
        self._advance(plan, machine, job, 0, 1, np.inf)
        return self.heads.logs(plan, job.sums)

    def gradients(
        self, X, y, *, sample_weight=None, class_weight=None, training: bool = False
    ) -> dict[str, np.ndarray]:
        """Return the gradient of the loss over all rows, penalties included, before clipping.

        Parameters
        ----------
        X, y, sample_weight, class_weight
            As of `train_on_batch`.
        training : bool
            False: of the loss that `evaluate` returns.  True: of the next step's, with the statistics of this batch in
            batch norms and the random numbers of that step.  (Running statistics stay as they are.)

        Returns
        -------
        dict
            {parameter name: array (I, O) or (O,)} of the trainable parameters, {input name: array [N, I]}.
        """
        return gradients(self, X, y, sample_weight, class_weight, training)

    def fit(
        self,
        X,
        y,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        validation_data=None,
        validation_split: float = 0.0,
        shuffle: bool | None = None,
        sample_weight=None,
        class_weight=None,
        callbacks=(),
        verbose: int = 1,
        comm=None,
        shards: int | None = None,
    ) -> History:
        """Train for some epochs.

        Parameters
        ----------
        X : array-like [N, I], or a list or dict of them
            Any integer or float dtype and any strides; converted batch by batch, never as a whole.
        y : targets as the loss takes them
        epochs : int, default 10
            More of them, after those that an earlier fit has done.  On a resumed trainer: the number that the
            interrupted fit was asked for (the default), of which the rest is done.
        batch_size : int, default 32
            Of an optimizer of second order all rows; fewer are refused.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Evaluated after every epoch: "val_loss" ...
        validation_split : float in [0, 1)
            Instead: this share of the rows, drawn by `random_state`, is kept for validation.
        shuffle : bool, default True
            A new order for every epoch, a function of (random_state, epoch).
        sample_weight, class_weight
            Weights of the rows: array [N]; {class: weight} or "balanced".
        callbacks : list
        verbose : {0, 1, 2}
            Silent, a progress bar, or one line an epoch.
        comm : mpi4py communicator, optional
            Train on all its ranks, each of which makes this same call with the same model and data: a rank computes
            the gradient of its rows of every batch.  See docs/mpi.md.
        shards : int, optional
            Compute every batch in so many parts whose gradients are added in a fixed order: the same bits for any
            number of ranks up to `shards`, and without `comm`.  Default: one part for each rank, added in any order.

        Returns
        -------
        History
            Of this trainer; also ``trainer.history``.  Ctrl-C ends the fit early and in order: a warning, the weights
            of the last finished batch, ``history.interrupted``.

        Raises
        ------
        ValueError, TypeError
            Before anything is changed, naming the argument.  With `comm`, on every rank, also where ranks do not pass
            the same.
        FloatingPointError
            The loss became NaN or infinite; the weights are those before that batch.  Where it was finite and its
            gradient was not, the weights are lost one batch earlier, as the message says then; ModelCheckpoint keeps
            older ones, and clip=pn.ClipNorm(...) finds it out in time.
        RuntimeError
            The trainer is fitting already, in another thread or in a callback; or another rank failed.
        """
        if self._fit is not None:
            raise RuntimeError("this trainer is fitting already, in another thread or in a callback")
        ranks = Ranks(comm)
        try:
            with ranks.guard():
                with ranks.together():
                    run = begin(self, epochs, batch_size, shuffle, shards)
                    ranks.cut(run["shards"])
                    self._ranks = ranks
                    data = prepare(self, X, y, validation_data, validation_split, sample_weight, class_weight, run)
                    fit = self._fit_class()(self, run, data, callbacks, verbose)
                ranks.check_same(fit.things)
                fit.meet()
                self._fit, self._pending = fit, None
                self.stop_training = self.history.interrupted = False
                self.history.stopped = ""
                try:
                    fit.go()
                except KeyboardInterrupt as interrupt:
                    if not ranks.all_raise(interrupt):
                        raise
                    self.history.interrupted = True
                    fit.progress.close()
                    if ranks.rank == 0:
                        warnings.warn(
                            f"fit interrupted by Ctrl-C in epoch {self.epoch + 1} of {run['epochs']}, after step "
                            f"{self.step}: the model keeps its present weights",
                            stacklevel=2,
                        )
                finally:
                    fit.progress.close()
                    self._fit = None
                fit.call("on_fit_end")
        finally:
            self._ranks = ALONE
        return self.history

    def _fit_class(self) -> type[Fit]:
        if not self.optimizer.full_batch:
            return Fit
        from .second_order import FullBatchFit

        return FullBatchFit

    # ---- checkpoints ------------------------------------------------------------------------------------------------

    def __reduce__(self):
        raise TypeError("a Trainer cannot be copied or pickled: use save_checkpoint(path) and Trainer.resume(path)")

    def save_checkpoint(self, path) -> None:
        """Write everything that is needed to continue bit for bit; atomic.  See `resume`.

        Within a fit it is for callbacks.  On several ranks, rank 0 writes, and the others return at once.

        Parameters
        ----------
        path : str or os.PathLike

        Raises
        ------
        OSError, TypeError, ValueError
            As Model.save.
        RuntimeError
            A fit is under way, and this is another thread, or a signal handler or function that interrupts its
            computation.
        """
        if self._ranks.rank:
            return
        from .checkpoint import save

        save(self, path)

    @staticmethod
    def resume(path, *, loss=None, learning_rate=None, backend: str | None = None, n_threads: int | None = None):
        """Return the trainer that `save_checkpoint` (or `ModelCheckpoint`) wrote, with its model.

        If the checkpoint was written within a fit, the next call of `fit` with the same data finishes that fit, and
        ends with the same bits as if it had never stopped.

        Parameters
        ----------
        path : str or os.PathLike
        loss : object, optional
            The loss, where it was an object of your own.
        learning_rate : callable, optional
            The learning rate, where it was a function of yours.
        backend, n_threads : optional
            Instead of the saved ones.
        """
        from .checkpoint import load

        return load(path, loss, learning_rate, backend, n_threads)
