"""What both estimators share: how they fit, and what they remember.

Inside are the parts of pynet that everybody uses: a Sequential, a Trainer, a callback that watches the epochs
(watch.py). The C core runs whole epochs; only a CSR matrix goes through Python batch by batch (sparse.py).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import optimizers
from ..arrays import as_inputs
from ..elementwise import GradientClip
from ..layers import Dense
from ..normalization import BatchNorm
from ..plan import Job, build
from ..restore import model_from_config
from ..stochastic import Dropout, GaussianNoise
from . import nets
from .lbfgs import fit_lbfgs
from .parameters import check_parameters
from .saved import from_bytes, to_bytes
from .sparse import RowTrainer, rows_at_a_time
from .watch import Watch, rate_after

__all__ = ["Perceptron", "stochastic"]

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)
CHANGING = (BatchNorm, Dropout, GaussianNoise, GradientClip)
SAVED = "_saved"  # in a pickle, in place of the model and its trainer: bytes of a safetensors file


def stochastic(net) -> bool:
    """Say whether an estimator has partial_fit."""
    if net.solver not in ("sgd", "adam"):
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {net.solver} is not stochastic."
        )
    return True


class Perceptron(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base of MLPClassifier and MLPRegressor.

    They say how targets are read (`_read`), what is minimised (`_objective`), in which terms (`_encode`) and how good a
    prediction is (`_quality`).
    """

    _trainer: Any  # None after lbfgs
    loss_curve_: list[float]
    validation_scores_: list[float] | None

    # ---- parameters, attributes -------------------------------------------------------------------------------------

    def _take(self, arguments: dict) -> None:
        """Store the arguments of the constructor, as they are."""
        for name in self._get_param_names():
            setattr(self, name, arguments[name])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def coefs_(self) -> list[np.ndarray]:
        """Copies of the kernels of all Dense layers, [I, O] each."""
        return self._parameters("kernel")

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """Copies of the biases of all Dense layers, [O] each."""
        return self._parameters("bias")

    def _parameters(self, suffix: str) -> list[np.ndarray]:
        model = self.__dict__.get("model_")
        if model is None:
            raise AttributeError(f"this {type(self).__name__} is not fitted yet: it has no weights")
        state = model.parameters()
        names = [name.removesuffix("kernel") + suffix for name in nets.kernels(model)]
        return [state[name] for name in names if name in state]

    @property
    def _n_features_out(self) -> int:
        return self.model_.outputs[0].inputs[0].width

    @property
    def _optimizer(self):
        return self._trainer.optimizer

    # ---- data -------------------------------------------------------------------------------------------------------

    def _validate(self, X, y, reset: bool, **more):
        """Return X as float32 or float64, dense or CSR, and y."""
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, dtype=(np.float64, np.float32), reset=reset, **more
        )
        return X, y

    @staticmethod
    def _weights(sample_weight, n: int, name: str = "sample_weight"):
        """Return the weights of the rows, float64 [N], or None."""
        if sample_weight is None:
            return None
        weight = np.asarray(sample_weight, dtype=np.float64)
        weight = np.full(n, float(weight)) if weight.ndim == 0 else weight
        if weight.shape != (n,):
            raise ValueError(f"{name}.shape == {weight.shape}, expected {(n,)}!")
        if not (np.isfinite(weight) & (weight >= 0)).all():
            raise ValueError(f"{name} must be finite and >= 0")
        if not weight.any():
            raise ValueError(f"{name} is zero in every row")
        return weight

    def _targets(self, y, weight):
        """Return targets as the trainer takes them, and the weights it is given beside them."""
        targets = self._encode(y)
        if not self._goal.carries_weights:
            return targets, weight
        column = np.ones(len(targets)) if weight is None else weight
        return np.column_stack([targets, column]), None

    # ---- fit --------------------------------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight=None, validation=(None, None, None), incremental: bool = False):
        check_parameters(self)
        fresh = not hasattr(self, "model_") or not (self.warm_start or incremental)
        X, y = self._read(X, y, incremental, fresh)
        weight = self._weighted(self._weights(sample_weight, X.shape[0]), y, incremental)
        outputs = self._width(y)
        rng = check_random_state(self.random_state)
        if fresh:
            self._initialize(X, outputs, rng)
        elif outputs != self.n_outputs_:
            raise ValueError(f"y has {outputs} outputs, but the network was fitted with {self.n_outputs_}")
        if self.solver == "lbfgs":
            self._solve(X, y, weight, validation)
        else:
            self._descend(X, y, weight, validation, incremental, rng)
        if not np.isfinite(self.model_.arena).all():
            raise ValueError(NOT_FINITE)
        return self

    def _initialize(self, X, outputs: int, rng) -> None:
        """Make the model and forget everything that an earlier fit has found."""
        self.n_outputs_ = outputs
        self._goal = self._objective(outputs)
        self.out_activation_ = self._goal.name
        self.model_, self._penalised = nets.build(self, X.shape[1], outputs, self._goal.activation, X.dtype, rng)
        self.model_.metadata = self._metadata()
        self._trainer = None
        self.n_layers_ = sum(isinstance(layer, Dense) for layer in self.model_.layers) + 1
        self.n_iter_ = self.t_ = 0
        for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
            self.__dict__.pop(name, None)
        self.validation_loss_curve_ = None

    def _begin_curves(self) -> None:
        """Set the attributes that a network trained in epochs has, as they are before the first."""
        watched = self.early_stopping
        self.loss_curve_ = []
        self._no_improvement_count = 0
        self.validation_scores_ = [] if watched else None
        self.best_validation_score_ = -np.inf if watched else None
        self.best_loss_ = None if watched else np.inf

    def _metadata(self) -> dict:
        names = getattr(self, "feature_names_in_", None)
        return {} if names is None else {"features": [str(name) for name in names]}

    def _new_trainer(self, model, optimizer, seed: int = 0) -> RowTrainer:
        goal = self._goal
        return RowTrainer(model, goal.loss, optimizer, self._metrics(), loss_weights=[goal.weight], random_state=seed)

    # ---- sgd, adam --------------------------------------------------------------------------------------------------

    def _descend(self, X, y, weight, validation, incremental: bool, rng) -> None:
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.learning_rate == "cosine" and incremental:
            raise ValueError("partial_fit does not support learning_rate='cosine': it does not know the last epoch")
        held = self._held_out(*validation)
        if held is None and self.early_stopping:
            X, y, weight, held = self._split(X, y, weight, rng)
        if not hasattr(self, "loss_curve_"):
            self._begin_curves()
        self.n_iter_ = 0
        self._prepare_trainer(incremental, rng)
        n = X.shape[0]
        batch = self._batch_rows(n)
        targets, beside = self._targets(y, weight)
        mean = 1.0 if weight is None else weight.mean()
        nets.set_penalty(self._trainer.model, self._penalised, self.alpha / 2 / (batch * mean))
        score = (lambda: self._quality(self._predict(held[0]), *held[1:])) if self.early_stopping else None
        watch = Watch(self, score, incremental)
        data = None
        if held is not None:
            held_targets, held_weight = self._targets(held[1], held[2])
            data = (held[0], held_targets) if held_weight is None else (held[0], held_targets, held_weight)
        trainer = self._trainer
        try:
            trainer.fit(
                X, targets, epochs=1 if incremental else self.max_iter, batch_size=batch, shuffle=bool(self.shuffle),
                sample_weight=beside, validation_data=data, callbacks=[watch, *(self.callbacks or ())], verbose=0,
            )  # fmt: skip
        except FloatingPointError as error:
            self._trainer = None  # its momenta are worth nothing
            if watch.best_arena is None:
                raise ValueError(NOT_FINITE) from error
            watch.note(n, np.nan, np.nan)
            self.validation_scores_ = [*(self.validation_scores_ or ()), np.nan]
            complaint = f"{error}. The weights of the best epoch are kept"
        else:
            planned = incremental or self.learning_rate == "cosine"  # no other end was meant
            ended = planned or trainer.stop_training or trainer.history.interrupted
            complaint = "" if ended else (
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                "converged yet."
            )  # fmt: skip
        if watch.best_arena is not None:
            self.model_.arena[:] = watch.best_arena
        if complaint:
            warnings.warn(complaint, ConvergenceWarning, stacklevel=4)

    def _prepare_trainer(self, incremental: bool, rng) -> None:
        """Make a trainer, or let that of the last fit go on: its momenta, its steps, its shuffles."""
        trainer = self._trainer
        if trainer is not None and incremental:
            return
        rate = rate_after(self)
        if self.solver == "adam":
            optimizer: optimizers.Optimizer = optimizers.Adam(rate, self.beta_1, self.beta_2, self.epsilon)
        else:
            ahead = bool(self.nesterovs_momentum and self.momentum > 0)
            optimizer = optimizers.SGD(rate, self.momentum, ahead)
        if trainer is not None and trainer.optimizer.rule == optimizer.rule:
            trainer.optimizer = optimizer
            return
        self._trainer = self._new_trainer(self.model_, optimizer, int(rng.randint(2**31 - 1)))

    def _metrics(self) -> list[str]:
        """Return what the trainer computes beside the loss."""
        return ["mse"] if self._goal.is_sum else []

    def _reported(self, logs: dict) -> float:
        """Return the loss of an epoch as scikit-learn states it."""
        return logs["loss"] - (self.n_outputs_ - 1) / 2 * logs["mse"] if self._goal.is_sum else logs["loss"]

    def _batch_rows(self, n: int) -> int:
        """Return the rows of a batch."""
        if self.batch_size != "auto":
            if self.batch_size > n:
                warnings.warn(
                    "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=5
                )
            return min(self.batch_size, n)
        batch = min(200, n)
        if any(isinstance(layer, BatchNorm) for layer in self.model_.layers):
            while batch > 2 and n % batch == 1:  # one row has no variance
                batch -= 1
        return batch

    def _split(self, X, y, weight, rng):
        """Keep some rows for validation; return X, y, weight of the others, and (X, y, weight) of these."""
        arrays = [X, y] if weight is None else [X, y, weight]
        parts = train_test_split(
            *arrays, random_state=rng, test_size=self.validation_fraction, stratify=self._strata(y)
        )
        train, held = parts[::2], parts[1::2]
        if held[0].shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        train, held = ([*part, None][:3] for part in (train, held))
        return (*train, tuple(held))

    def _held_out(self, X_val, y_val, weight_val):
        """Return the user's validation set as (X, y, weight), or None."""
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val belong together: give both, or none of them")
        if X_val is None:
            if weight_val is not None:
                raise ValueError("sample_weight_val needs X_val and y_val")
            return None
        X, y = self._read_more(X_val, y_val)
        return X, y, self._weights(weight_val, X.shape[0], "sample_weight_val")

    # ---- lbfgs ------------------------------------------------------------------------------------------------------

    def _solve(self, X, y, weight, validation) -> None:
        if any(part is not None for part in validation) or self.callbacks:
            raise ValueError("solver='lbfgs' has no epochs: X_val, y_val and callbacks need solver 'sgd' or 'adam'")
        changing = [layer for layer in self.model_.layers if isinstance(layer, CHANGING)]
        if changing:
            raise ValueError(f"solver='lbfgs' needs a loss that is always the same, but {changing[0]!r} changes it")
        model = model_from_config(self.model_.config() | {"dtype": "float64"}, self.model_.state_dict())
        trainer = self._new_trainer(model, "sgd")
        n = X.shape[0]
        nets.set_penalty(model, self._penalised, self.alpha / 2 / (n if weight is None else weight.sum()))
        targets, beside = self._targets(y, weight)
        try:
            self.n_iter_, self.loss_ = fit_lbfgs(
                trainer, X, targets, beside, weight, rows=rows_at_a_time(max(X.shape[1], model.plan.row_elems)),
                max_iter=self.max_iter, max_fun=self.max_fun, tol=self.tol,
            )  # fmt: skip
        except FloatingPointError as error:
            raise ValueError(NOT_FINITE) from error
        if self._goal.is_sum:
            self.loss_ = self._reported(trainer.evaluate(X, targets, sample_weight=beside))
        if self.verbose:
            print(f"L-BFGS: {self.n_iter_} iterations, loss = {self.loss_:.8f}")
        self.model_.load_state_dict(model.state_dict())

    # ---- predictions ------------------------------------------------------------------------------------------------

    def _pieces(self, X):
        """Give X in pieces: as it is, of a CSR matrix some rows at a time, dense."""
        if not issparse(X):
            yield X
            return
        rows = rows_at_a_time(X.shape[1])
        for start in range(0, X.shape[0], rows):
            yield X[start : start + rows].toarray()

    def _predict(self, X, samples: int | None = None):
        """Return the model's predictions [N, O]; of so many samples a pair: mean and standard deviation."""
        link = self._goal.link or (lambda y: y)
        if samples is None:
            with np.errstate(over="ignore"):
                return np.concatenate([link(self.model_.predict(x)) for x in self._pieces(X)])
        if self._goal.link:
            raise ValueError("return_std needs a loss other than 'poisson', whose model predicts the log of the rate")
        seed = self._trainer.random_state if self._trainer is not None else 0
        pairs = [
            self.model_.predict(x, mc_samples=samples, return_std=True, random_state=seed + i)
            for i, x in enumerate(self._pieces(X))
        ]
        return tuple(np.concatenate(arrays) for arrays in zip(*pairs, strict=True))

    def _checked(self, X):
        check_is_fitted(self)
        return validate_data(self, X, accept_sparse="csr", reset=False)

    def transform(self, X):
        """Return what the last hidden layer computes.

        Parameters
        ----------
        X : array-like or sparse matrix [N, I]

        Returns
        -------
        array [N, width of the last hidden layer]
            Without hidden layers, X itself.
        """
        X, model = self._checked(X), self.model_
        value = model.outputs[0].inputs[0]
        dtype, results = model.dtype, []
        plan = None if value is model.inputs[0] else build(model, mode="predict", outputs=[value])
        for x in self._pieces(X):
            if plan is None:
                results.append(np.asarray(x, dtype))
                continue
            batch = min(rows_at_a_time(plan.row_elems), len(x))
            made = np.empty((len(x), value.width), dtype)
            machine = model._machine("c", batch, plan)
            model.run_batches(machine, Job(inputs=as_inputs(model, x)[0], outputs=[made], rows=len(x), batch=batch))
            results.append(made)
        return np.concatenate(results)

    # ---- as bytes ---------------------------------------------------------------------------------------------------

    def __getstate__(self):
        state = dict(super().__getstate__())
        model, trainer = state.pop("model_", None), state.pop("_trainer", None)
        state.pop("_goal", None)
        return state if model is None else state | {SAVED: to_bytes(model, trainer)}

    def __setstate__(self, state):
        state = dict(state)
        saved = state.pop(SAVED, None)
        super().__setstate__(state)
        if saved is not None:
            self._goal = self._objective(self.n_outputs_)
            self.model_, self._trainer = from_bytes(saved, self._goal.loss)
