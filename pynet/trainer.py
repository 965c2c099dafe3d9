"""The trainer: epochs of batches, run by a machine in slices of about 50 ms.

Between two slices Python lives: progress, callbacks, Ctrl-C.  Everything that decides a result is a function of
(random_state, epoch, step), so a run that stops anywhere continues with the same bits from its checkpoint.
"""

from __future__ import annotations

import time
import warnings

import numpy as np

from . import _check, _core, clip as clips, optimizers, philox
from .arrays import as_inputs
from .heads import Heads, check_weights
from .plan import Job, build, unpack

__all__ = ["History", "Trainer"]

SLICE_SECONDS = 0.05
SCORE = _core.FORWARD | _core.LOSS | _core.METRIC
SPLIT = 1  # purpose of the permutation that cuts off validation rows; 0 is the shuffle


class History:
    """What happened in the epochs of one trainer.

    Attributes
    ----------
    history : dict of lists
        "loss", metrics, and with validation data "val_loss" ...: one entry an epoch.
    interrupted : bool
        Whether Ctrl-C ended the last fit.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.interrupted = False

    def append(self, logs: dict) -> None:
        """Add the results of one epoch."""
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))

    @property
    def epoch(self) -> list[int]:
        """Numbers of the epochs, from 0."""
        return list(range(len(self.history.get("loss", ()))))

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self.history.items() if values)
        return f"History({len(self.epoch)} epochs{': ' + last if last else ''})"


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
        self._grads = _core.aligned(model.weights.elems, model.dtype)
        self._slots = [_core.aligned(model.weights.elems, model.dtype) for _ in range(self.optimizer.n_slots)]
        self._rule = self.optimizer.rule
        self._cache: dict = {}  # purpose -> (key, plan, machine)
        self._run: dict | None = None  # a fit under way, as far as a checkpoint must know it
        self._pending: dict | None = None  # the run that a resumed trainer has to finish
        self._callbacks: list = []
        self._fitting = False

    # ---- machines ---------------------------------------------------------------------------------------------------

    def _machine(self, purpose: str, heads: list, rows: int, input_gradients: bool = False):
        """Return (plan, machine) for batches of up to `rows`, made anew only when something has changed."""
        key = (tuple(h and h.key() for h in heads), input_gradients, self.backend, self.n_threads, self._rule,
               tuple((layer.trainable, layer.l1, layer.l2) if hasattr(layer, "l1") else layer.trainable
                     for layer in self.model.layers))  # fmt: skip
        known = self._cache.get(purpose)
        if known and known[0] == key and known[3] >= rows:
            return known[1], known[2]
        plan = build(self.model, heads, input_gradients=input_gradients)
        if self.backend == "c":
            make = _core.Machine
        else:
            from .reference import Machine as make
        machine = make(plan, self.model.arena, rows=rows, grads=self._grads, slots=self._slots, n_threads=self.n_threads)
        self._cache[purpose] = (key, plan, machine, rows)
        return plan, machine

    def _job(self, plan, inputs: list, targets: list, weight, rows: int, batch: int, stages: int) -> Job:
        if self.optimizer.rule != self._rule:  # another momentum may mean another rule, with other state
            self._rule = self.optimizer.rule
            self._slots = [_core.aligned(plan.param_elems, plan.dtype) for _ in range(self.optimizer.n_slots)]
        used = [t for t in targets if t is not None]
        return Job(
            inputs=inputs, targets=used, weight=weight, rows=rows, batch=batch, stages=stages, step=self.step,
            optimizer=self.optimizer.kind, hyper=self.optimizer.hyper, clips=self._clips, sums=np.zeros(plan.n_sums),
        )  # fmt: skip

    def _prepare(self, X, y, sample_weight=None, class_weight=None, names=("X", "y")):
        """Check everything that enters; return (inputs, targets, weight, rows)."""
        inputs, rows = as_inputs(self.model, X)
        if rows == 0:
            raise ValueError(f"{names[0]} has no rows")
        for array in inputs:
            _check_finite(names[0], array)
        targets = self.heads.targets(y, rows, names[1])
        weight = check_weights(sample_weight, class_weight, targets, rows)
        if weight is not None and self.heads.external:
            raise ValueError("sample_weight and class_weight do not reach a loss object of your own: weigh inside it")
        return inputs, targets, weight, rows

    # ---- running batches --------------------------------------------------------------------------------------------

    def _advance(self, plan, machine, job: Job, first: int, count: int, seconds: float) -> int:
        """Run up to `count` training batches; return how many were done."""
        job.step = self.step
        job.rate = self.optimizer.rates(self.step, count)
        if self.heads.external:
            done = 0
            begun = time.perf_counter()
            while done < count and (done == 0 or time.perf_counter() - begun < seconds):
                job.rate = job.rate[1:] if done else job.rate
                job.step = self.step
                self._external_batch(plan, machine, job, first + done, _core.BACKWARD | _core.UPDATE)
                done += 1
                self.step += 1
            return done
        job.stages = SCORE | _core.BACKWARD | _core.UPDATE
        done, status = machine.run(job, first, count, seconds)
        self.step += done
        if status != "ok":
            self._fail(status, first + done)
        return done

    def _external_batch(self, plan, machine, job: Job, k: int, stages: int) -> None:
        """One batch whose loss, or one of whose losses, is computed in Python."""
        before = job.sums.copy()
        job.stages = SCORE
        _, status = machine.run(job, k, 1)
        if status != "ok":
            self._fail(status, k)
        rows = slice(k * job.batch, min((k + 1) * job.batch, job.rows))
        picked = rows if job.order is None else job.order[rows]
        slot = 0
        for i, loss in enumerate(self.heads.losses):
            if loss is None:
                continue
            if hasattr(loss, "user"):
                index = plan.head_values[i]
                prediction = machine.value(index)
                value, gradient = _call_loss(loss, prediction, job.targets[slot][picked])
                first = next(f for kind, head, _, f, _ in plan.sum_slots if kind == "loss" and head == i)
                job.sums[first : first + 2] += value * len(prediction), len(prediction)
                if not np.isfinite(value):
                    job.sums[:] = before
                    self._fail("not_finite", k)
                machine.set_gradient(index, gradient * self.heads.weights[i])
            slot += 1
        if stages:
            job.stages = stages
            machine.run(job, k, 1)

    def _fail(self, status: str, batch: int) -> None:
        place = f"epoch {self.epoch}, batch {batch} (step {self.step})"
        if status == "bad_label":
            raise ValueError(f"y holds a class number outside the head's outputs, in {place}")
        raise FloatingPointError(
            f"the loss became NaN or infinite in {place}; the weights are those before that batch. Lower the learning "
            "rate, clip gradients (clip=pn.ClipNorm(1.0)), or look at the scale of the inputs"
        )

    def _score(self, inputs: list, targets: list, weight, rows: int, batch: int) -> dict[str, float]:
        plan, machine = self._machine("score", self.heads.resolve(targets), min(batch, rows))
        job = self._job(plan, inputs, targets, weight, rows, min(batch, rows), SCORE)
        n = -(-rows // job.batch)
        if self.heads.external:
            for k in range(n):
                self._external_batch(plan, machine, job, k, 0)
        else:
            _, status = machine.run(job, 0, n)
            if status == "bad_label":
                self._fail(status, 0)
            if status != "ok":  # a model that diverged has a score all the same
                job.sums[:] = np.nan
        return self.heads.logs(plan, job.sums)

    # ---- the public calls ---------------------------------------------------------------------------------------------

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
        return self._score(inputs, targets, weight, rows, _check.integer("batch_size", batch_size, 1))

    def train_on_batch(self, X, y, *, sample_weight=None, class_weight=None) -> dict[str, float]:
        """Do one step on all rows given; return loss and metrics of that batch before the step."""
        inputs, targets, weight, rows = self._prepare(X, y, sample_weight, class_weight)
        plan, machine = self._machine("train", self.heads.resolve(targets), rows)
        job = self._job(plan, inputs, targets, weight, rows, rows, 0)
        self._advance(plan, machine, job, 0, 1, np.inf)
        return self.heads.logs(plan, job.sums)

    def gradients(self, X, y, *, sample_weight=None, class_weight=None) -> dict[str, np.ndarray]:
        """Return the gradient of the loss over all rows, penalties included, before clipping.

        Returns
        -------
        dict
            {parameter name: array (I, O) or (O,)} of the trainable parameters, {input name: array [N, I]}.
        """
        inputs, targets, weight, rows = self._prepare(X, y, sample_weight, class_weight)
        plan, machine = self._machine("gradients", self.heads.resolve(targets), rows, input_gradients=True)
        job = self._job(plan, inputs, targets, weight, rows, rows, SCORE | _core.BACKWARD)
        if self.heads.external:
            self._external_batch(plan, machine, job, 0, _core.BACKWARD)
        else:
            _, status = machine.run(job, 0, 1)
            if status != "ok":
                self._fail(status, 0)
        result = {}
        for name, record, own in zip(plan.param_names, plan.params, self.model.weights, strict=True):
            if record["flags"] & _core.TRAINABLE:
                result[name] = unpack(self._grads, record).reshape(own.shape)
        for value, index in zip(self.model.inputs, plan.input_gradients, strict=True):
            if index != _core.NONE:
                gradient = machine.value(index, gradient=True)
                scale = self.model.parameters().get(f"{self.model.names[value.layer]}.scale")
                result[self.model.names[value.layer]] = gradient if scale is None else gradient * scale
        return result

    def fit(
        self,
        X,
        y,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        validation_data=None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        sample_weight=None,
        class_weight=None,
        callbacks=(),
        verbose: int = 1,
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
        validation_data : (X, y) or (X, y, sample_weight), optional
            Evaluated after every epoch: "val_loss" ...
        validation_split : float in [0, 1)
            Instead: this share of the rows, drawn by `random_state`, is kept for validation.
        shuffle : bool
            A new order for every epoch, a function of (random_state, epoch).
        sample_weight, class_weight
            Weights of the rows: array [N]; {class: weight} or "balanced".
        callbacks : list
        verbose : {0, 1, 2}
            Silent, a progress bar, or one line an epoch.

        Returns
        -------
        History
            Of this trainer; also ``trainer.history``.  Ctrl-C ends the fit early and in order: a warning, the weights
            of the last finished batch, ``history.interrupted``.

        Raises
        ------
        ValueError, TypeError
            Before anything is changed, naming the argument.
        FloatingPointError
            The loss became NaN or infinite; the weights are those before that batch.
        """
        if self._fitting:
            raise RuntimeError("this trainer is fitting already, in another thread or in a callback")
        run = self._begin(epochs, batch_size, shuffle)
        data = self._data(X, y, validation_data, validation_split, sample_weight, class_weight, run)
        callbacks = sorted(_listed(callbacks), key=lambda c: getattr(c, "order", 0))
        from .progress import Progress

        progress = Progress(verbose)
        self._restore_callbacks(callbacks)
        heads = self.heads.resolve(data["targets"])
        names = self.heads.log_names(heads)
        self.fit_info = {
            "epochs": run["epochs"], "batches": -(-len(data["rows"]) // run["batch_size"]), "rows": len(data["rows"]),
            "batch_size": run["batch_size"],
            "metrics": names + ([f"val_{n}" for n in names] if data["validation"] else []),
        }  # fmt: skip
        plan, machine = self._machine("train", heads, min(run["batch_size"], len(data["rows"])))
        self._run, self._pending, self._callbacks = run, None, callbacks
        self._fitting, self.stop_training, self.history.interrupted = True, False, False
        try:
            _call(callbacks, "on_fit_begin", self)
            self._epochs(plan, machine, data, callbacks, progress)
        except KeyboardInterrupt:
            self.history.interrupted = True
            progress.close()
            warnings.warn(
                f"fit interrupted by Ctrl-C in epoch {self.epoch + 1} of {run['epochs']}, after step {self.step}: "
                "the model keeps its present weights",
                stacklevel=2,
            )
        finally:
            progress.close()
            self._fitting, self._run = False, None
        _call(callbacks, "on_fit_end", self)
        return self.history

    # ---- the parts of fit ---------------------------------------------------------------------------------------------

    def _begin(self, epochs, batch_size, shuffle) -> dict:
        """Return the record of this run: a new one, or the one to be continued."""
        run = self._pending
        if run is None:
            epochs = _check.integer("epochs", 10 if epochs is None else epochs, 0)
            size = _check.integer("batch_size", 32 if batch_size is None else batch_size, 1, 1 << 30)
            return {"epochs": self.epoch + epochs, "first": self.epoch, "batch_size": size, "shuffle": bool(shuffle),
                    "batch": 0, "sums": None, "print": None}  # fmt: skip
        for name, given, saved in (
            ("epochs", epochs, run["epochs"] - run["first"]),
            ("batch_size", batch_size, run["batch_size"]),
            ("shuffle", bool(shuffle), run["shuffle"]),
        ):
            if given is not None and given != saved:
                raise ValueError(f"{name}={given!r}, but the fit that is resumed here had {name}={saved!r}")
        return dict(run)

    def _data(self, X, y, validation_data, validation_split, sample_weight, class_weight, run) -> dict:
        inputs, targets, weight, n = self._prepare(X, y, sample_weight, class_weight)
        rows = np.arange(n, dtype=np.int64)
        split = _check.fraction("validation_split", validation_split)
        validation = None
        if validation_data is not None:
            if split:
                raise ValueError("give validation_data or validation_split, not both")
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
                raise TypeError("validation_data must be (X, y) or (X, y, sample_weight)")
            validation = self._prepare(*validation_data, names=("validation X", "validation y"))
        elif split:
            drawn = philox.permutation(self.random_state, 0, n, SPLIT)
            cut = n - max(1, round(n * split))
            if cut < 1:
                raise ValueError(f"validation_split={split} leaves no rows to train on (N = {n})")
            rows, held = np.sort(drawn[:cut]), np.sort(drawn[cut:])
            validation = (
                [a[held] for a in inputs], [t if t is None else t[held] for t in targets],
                None if weight is None else weight[held], len(held),
            )  # fmt: skip
        mark = _fingerprint(inputs, targets)
        if run["print"] not in (None, mark):
            raise ValueError("X and y are not those of the fit that is resumed here")
        run["print"] = mark
        return {"inputs": inputs, "targets": targets, "weight": weight, "rows": rows, "validation": validation}

    def _epochs(self, plan, machine, data: dict, callbacks: list, progress) -> None:
        run = self._run
        rows, size = data["rows"], min(run["batch_size"], len(data["rows"]))
        n_batches = -(-len(rows) // size)
        job = self._job(plan, data["inputs"], data["targets"], data["weight"], len(rows), size, 0)
        guess = 64  # batches of a slice; the machine stops by the clock, this only bounds the list of rates
        while self.epoch < run["epochs"] and not self.stop_training and not run.get("stopped"):
            epoch = self.epoch
            if run["sums"] is None:
                _call(callbacks, "on_epoch_begin", self, epoch)
            progress.epoch_begin(epoch, run["epochs"], len(rows))
            order = philox.permutation(self.random_state, epoch, len(rows)) if run["shuffle"] else None
            job.order = rows if order is None else rows[order]
            job.sums[:] = 0 if run["sums"] is None else run["sums"]
            k = run["batch"]
            while k < n_batches:
                begun = time.perf_counter()
                done = self._advance(plan, machine, job, k, min(n_batches - k, guess), SLICE_SECONDS)
                k += done
                run["batch"], run["sums"] = k, job.sums.tolist()
                guess = max(1, int(1.5 * done * SLICE_SECONDS / max(time.perf_counter() - begun, 1e-6)))
                logs = self.heads.logs(plan, job.sums)
                progress.update(min(k * size, len(rows)), logs)
                _call(callbacks, "on_slice_end", self, logs)
                if self.stop_training and k < n_batches:
                    return
            logs = self.heads.logs(plan, job.sums)
            if data["validation"]:
                scores = self._score(*data["validation"], max(size, 256))
                logs |= {f"val_{name}": value for name, value in scores.items()}
            self.history.append(logs)
            self.epoch += 1
            run["batch"], run["sums"] = 0, None
            progress.epoch_end(logs)
            # every callback hears of the epoch, whichever of them wants to stop
            run["stopped"] = self.stop_training
            for callback in callbacks:
                hook = getattr(callback, "on_epoch_end", None)
                if hook and hook(self, epoch, logs) is True:
                    self.stop_training = run["stopped"] = True
            if run["stopped"]:
                return

    def _restore_callbacks(self, callbacks: list) -> None:
        """Give each callback what it remembered when the checkpoint was written."""
        for callback, (kind, values, arrays) in zip(callbacks, (self._pending or {}).pop("callbacks", ()), strict=False):
            if type(callback).__name__ == kind and hasattr(callback, "set_state"):
                callback.set_state(values, arrays)

    # ---- checkpoints ----------------------------------------------------------------------------------------------------

    def save_checkpoint(self, path) -> None:
        """Write everything that is needed to continue bit for bit; atomic.  See `resume`."""
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


# ---- helpers ----------------------------------------------------------------------------------------------------------


def _listed(callbacks) -> list:
    if callbacks is None:
        return []
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"callbacks must be a list, got {type(callbacks).__name__}")
    for callback in callbacks:
        if isinstance(callback, type) or not any(
            hasattr(callback, hook) for hook in ("on_fit_begin", "on_epoch_begin", "on_slice_end", "on_epoch_end", "on_fit_end")
        ):
            raise TypeError(f"callbacks: {callback!r} has none of the methods of pn.Callback")
    return list(callbacks)


def _call(callbacks: list, hook: str, *arguments) -> None:
    for callback in callbacks:
        method = getattr(callback, hook, None)
        if method:
            method(*arguments)


def _call_loss(loss, prediction: np.ndarray, target) -> tuple[float, np.ndarray]:
    """Call a loss object of the user's and check what it returns."""
    result = loss.user.value_and_gradient(prediction, target)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{loss.name}.value_and_gradient must return (value, gradient), got {type(result).__name__}")
    gradient = np.asarray(result[1])
    if gradient.shape != prediction.shape:
        raise ValueError(f"{loss.name}: the gradient must have shape {prediction.shape}, got {gradient.shape}")
    return float(result[0]), gradient


def _check_finite(name: str, array: np.ndarray) -> None:
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), 65536):  # pieces: no mask as large as the data
        good = np.isfinite(array[start : start + 65536])
        if not good.all():
            row, column = (int(i) for i in np.argwhere(~good)[0])
            raise ValueError(
                f"{name} must be finite, got {array[start + row, column]} in row {start + row}, column {column}"
            )


def _fingerprint(inputs: list, targets: list) -> str:
    """Return a mark of the data: shapes, dtypes, and a checksum of up to 256 rows of each array."""
    import zlib

    marks = []
    for array in (*inputs, *(t for t in targets if t is not None)):
        rows = np.ascontiguousarray(array[:: max(1, len(array) // 256)])
        marks.append(f"{array.shape}{array.dtype}{zlib.crc32(rows.tobytes()):08x}")
    return " ".join(marks)
