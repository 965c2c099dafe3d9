"""Models of tables: raw columns in, class names or numbers out; all that is learned of them in one file."""

from __future__ import annotations

import numpy as np

from .. import _check, datasets, optimizers
from ..callbacks import EarlyStopping
from ..files import TABLE as ENTRY
from ..fit import listed
from ..model import Model
from ..philox import key_of
from ..trainer import Trainer
from . import shown
from .codes import FILLS, MAX_KNOTS, SCALINGS
from .encoder import Encoder, encoder_of
from .network import HEADS, TASKS, usual_sizes
from .sources import features_of, labelled, table_to_learn
from .table import CLASS_KINDS, Table, fold_target_scaling, judged, scaled_target
from .training import begun

__all__ = ["ENTRY", "TableModel"]

ROWS_AT_ONCE = 16384  # that are encoded
# What the defaults were chosen by: docs/tables.md.
DEFAULTS = {
    "task": "auto", "hidden": [256, 256], "activation": "silu", "dropout": 0.1, "scaling": None, "knots": None,
    "missing": "median", "embed": 0, "l2": 0.0, "loss": None, "optimizer": "adamw", "learning_rate": 1e-3,
    "batch_size": None, "epochs": None, "patience": None, "validation": 0.1, "dtype": "float32",
}  # fmt: skip


class TableModel:
    """A network for the rows of a table: numbers, categories, dates, missing values.

    What is not given is chosen so that it needs no thought: the task by the target, the size of batches and the number
    of epochs by the number of rows.

    Parameters
    ----------
    task : "auto", "classes" or "numbers"
        What the target is.  "auto": classes if it is texts, booleans, or whole numbers of at most 20 different values.
    hidden : list of int
        Widths of the hidden layers, [] for a linear model.  Default [256, 256].
    activation : str or activation
        Of the hidden layers.  Default "silu".
    dropout : float in [0, 1), optional
        Behind each hidden layer.  Default 0.1; 0 with an optimizer of second order.
    scaling : "piecewise", "standard" or "quantile", optional
        Of numbers.  Default: "piecewise", of a linear model "standard".
        "standard": mean 0, deviation 1.  "quantile": to a normal distribution, by linear interpolation between
        quantiles, constant outside of the values seen (no value goes beyond 4 deviations).  "piecewise": standardised,
        and beside it the piecewise linear encoding by quantiles (Gorishniy et al. 2022, arXiv:2203.05556).
    knots : int, optional
        Pieces between quantiles.  Default: one for 25 rows, at most 48 ("quantile": 256).
    missing : "median" or "mean"
        What stands for a missing number or date; whether it was missing is an input of its own where that occurred in
        training.  A missing text is a level of its own where it occurred, else like an unknown one.
    embed : int
        Categories of more levels than this get vectors that are learned, of round(1.6 levels^0.56) numbers, at most
        50, those with most levels if there are more than 15 of them; all others are one-hot.  0, the default: all are
        one-hot.
    l2 : float
        Penalty on squared weights.  Default 0.
    loss : str, optional
        "cross_entropy" for classes; "mse" (the default), "mae", "huber" or "log_cosh" for numbers.
    optimizer : str or Optimizer
        Default "adamw".  Given by name, its rate falls from `learning_rate` to 0 as a cosine over all epochs.
    learning_rate : float, optional
        Default 0.001; None: the optimizer's own.
    batch_size, epochs : int, optional
        Default: 32 to 256 rows by their number; 20 to 200 epochs, some 4000 steps.
    patience : int, optional
        Epochs without improvement on the validation part before training ends.  Default: a quarter of `epochs`, at
        least 10.  The best epoch is kept.
    validation : float in [0, 1)
        Share of the rows to choose the best epoch by, 0 for none.  Default 0.1.
    dtype, random_state, backend, n_threads
        As of Model and Trainer.

    Attributes
    ----------
    network : Model
        What `encoder` feeds; ordinary, and all that a file holds (the encoder stands in its metadata).
    encoder : Encoder
        What becomes of each column.
    target : str
    features : list of str
        The columns that it was trained with.
    classes : list of str, int, float or bool, or None
        As they are in the target, in the order of the probabilities; whole numbers are int.
    history : dict of str -> list of float
        Losses and metrics of the last fit, one number an epoch.

    Raises
    ------
    TypeError, ValueError
        An argument is none of those; the message says which are.

    Examples
    --------
    >>> model = pn.tabular.TableModel().fit("adult.csv", target="income")
    >>> model.predict("new.csv")
    """

    def __init__(
        self, task=DEFAULTS["task"], *, hidden=None, activation=DEFAULTS["activation"], dropout=None,
        scaling=None, knots=None, missing=DEFAULTS["missing"], embed=DEFAULTS["embed"],
        l2=DEFAULTS["l2"], loss=None, optimizer=DEFAULTS["optimizer"], learning_rate=DEFAULTS["learning_rate"],
        batch_size=None, epochs=None, patience=None, validation=DEFAULTS["validation"], dtype=DEFAULTS["dtype"],
        random_state=0, backend="c", n_threads=None,
    ):  # fmt: skip
        for name, value, known in (("task", task, TASKS), ("scaling", scaling, SCALINGS), ("missing", missing, FILLS)):
            if value not in known and not (name == "scaling" and value is None):
                raise _check.unknown(name, value, known)
        if hidden is not None and (isinstance(hidden, str) or not hasattr(hidden, "__iter__")):
            raise TypeError(f"hidden must be a list of widths, got {type(hidden).__name__} {hidden!r}")
        self.task, self.missing = task, missing
        self.hidden = [
            _check.integer(f"hidden[{k}]", width, 1)
            for k, width in enumerate(DEFAULTS["hidden"] if hidden is None else hidden)
        ]
        self.scaling = scaling or ("piecewise" if self.hidden else "standard")
        if dropout is None:
            dropout = 0.0 if optimizers.get(optimizer).full_batch else DEFAULTS["dropout"]
        self.activation, self.dropout, self.l2 = activation, _check.fraction("dropout", dropout), l2
        self.knots = None if knots is None else _check.integer("knots", knots, 2, MAX_KNOTS - 1)
        self.embed = _check.integer("embed", embed, 0)
        self.loss, self.optimizer, self.learning_rate = loss, optimizer, learning_rate
        self.batch_size = None if batch_size is None else _check.integer("batch_size", batch_size, 1)
        self.epochs = None if epochs is None else _check.integer("epochs", epochs, 1)
        self.patience = None if patience is None else _check.integer("patience", patience, 1)
        self.validation = _check.fraction("validation", validation)
        self.dtype, self.random_state = _check.float_dtype(dtype).name, key_of(random_state)
        self.backend, self.n_threads = backend, n_threads
        self._network: Model | None = None
        self._encoder: Encoder | None = None
        self._scaling: dict | None = None
        self.history: dict[str, list[float]] = {}

    # ---- training ---------------------------------------------------------------------------------------------------

    def fit(
        self, table, target=None, *, kinds=None, validation_data=None, callbacks=(), verbose: int = 1
    ) -> TableModel:
        """Learn from a table.

        Parameters
        ----------
        table : path of a .csv, .tsv, .txt or .parquet file; DataFrame of pandas or polars, pyarrow Table, dict of
            columns, structured array, or array [N, I]
            Dates are datetimes, or texts as ISO 8601 has them; the texts "", ?, NA, nan, null ... are missing values.
        target : str, or array-like [N]
            The column to predict, or its values.  Default: the last column.
        kinds : dict of name -> "number", "category" or "date", optional
            Of columns that are something else than they look like: ``{"zip": "category"}``.
        validation_data : table with the target, optional
            To choose the best epoch by, instead of a share of the rows.
        callbacks : list, optional
            Further ones, as of Trainer.fit.
        verbose : {0, 1, 2}
            As of Trainer.fit.

        Returns
        -------
        TableModel
            Itself.

        Raises
        ------
        TypeError, ValueError, OSError
            The table cannot be read, a column holds what is no number, text or date, the target is missing somewhere,
            or has one value; the message says where.  The model stays as it was.
        FloatingPointError
            As Trainer.fit.
        """
        callbacks = listed(callbacks)
        data = table_to_learn(table, target, kinds)
        n = len(data.X)
        rows, held = np.arange(n), np.arange(0)
        if validation_data is None and self.validation and n > 1:
            rows, held = datasets.split_rows(n, self.validation, (self.random_state + 1) % 2**64)
        before = {k: v for k, v in self.__dict__.items() if k in ("_network", "_encoder", "_scaling")}
        try:
            trainer = self.begin(data, rows)
            if validation_data is not None:
                other = labelled(validation_data, None, self)
            else:
                other = data.rows(held)
            batch, epochs, patience = self.sizes(len(rows))
            validation = (self.encode(other.X), self.targets(other)) if len(other.X) else None
            best = EarlyStopping(patience=patience, restore_best_weights=True)
            chosen = data.rows(rows)
            trainer.fit(
                self.encode(chosen.X), self.targets(chosen), epochs=epochs, batch_size=batch,
                validation_data=validation, callbacks=[best, *callbacks] if validation else callbacks,
                verbose=verbose,
            )  # fmt: skip
            self.finish()
        except BaseException:
            self.__dict__.update(before)
            raise
        self.history = trainer.history.history
        return self

    def begin(self, data: Table, rows: np.ndarray, settings: dict | None = None) -> Trainer:
        """Learn the encoding from some rows of a table, and make the network.

        `encode` and `targets` give what to train it with; `finish` must follow.

        Parameters
        ----------
        data : Table
        rows : int array
            Those to learn from.
        settings : dict, optional
            What the network remembers of its training, as JSON.  Default: the arguments of this model.

        Returns
        -------
        Trainer
            What trains the network.

        Raises
        ------
        ValueError
            The target is not fit for the task, or no column tells anything.
        """
        trainer, self._encoder, self._scaling = begun(self, data, rows, settings or self._settings())
        self._network = trainer.model
        return trainer

    def finish(self) -> None:
        """Let the network answer in the target's own units."""
        network = self.network
        if self._scaling is not None:
            fold_target_scaling(network, HEADS["numbers"], self._scaling)
            network.metadata.pop("target_scaling", None)
            self._scaling = None

    def targets(self, data: Table) -> np.ndarray:
        """Return what the network is trained with: labels [N], or numbers of mean 0 and deviation 1 [N, 1]."""
        if self.classes:
            return data.labels(self.classes)[0]
        return scaled_target(np.asarray(data.y), self._scaling or {"shift": [0.0], "scale": [1.0]})

    def sizes(self, n: int) -> tuple[int, int, int]:
        """Return batch size, epochs and patience for n rows to train on."""
        full_batch = optimizers.get(self.optimizer).full_batch
        usual = (self.batch_size or n, 200) if full_batch else usual_sizes(n, self.batch_size)
        epochs = self.epochs or usual[1]
        return usual[0], epochs, self.patience or max(10, epochs // 4)

    def _settings(self) -> dict:
        """What the arguments were, as JSON."""
        known = {name: getattr(self, name) for name in DEFAULTS}
        plain = (str, int, float, list, type(None))
        return {key: value if isinstance(value, plain) else repr(value) for key, value in known.items()}

    # ---- what is inside ---------------------------------------------------------------------------------------------

    @property
    def network(self) -> Model:
        """The network; RuntimeError before fit."""
        if self._network is None:
            raise RuntimeError("this TableModel has learned nothing yet: call fit first")
        return self._network

    @property
    def encoder(self) -> Encoder:
        """What becomes of the columns; RuntimeError before fit."""
        assert self.network is not None
        assert self._encoder is not None
        return self._encoder

    @property
    def metadata(self) -> dict:
        """That of the network."""
        return self.network.metadata

    @property
    def target(self) -> str:
        """Name of the target."""
        return self.metadata["target"]

    @property
    def features(self) -> list[str]:
        """The columns that it was trained with."""
        return self.metadata["features"]

    @property
    def classes(self) -> list | None:
        """The classes, as they are in the target; None: it is a number."""
        names = self.metadata["classes"]
        return names and [CLASS_KINDS[self.metadata.get("class_kind", "text")](name) for name in names]

    @classmethod
    def of(cls, network: Model) -> TableModel:
        """Return the TableModel whose network this is, by what stands in its metadata; nothing there is believed.

        Raises
        ------
        ValueError
            The metadata holds no encoder, or a damaged one, or one of another network.
        """
        encoder, scaling = encoder_of(network)
        network.metadata.setdefault("classes", None)
        model = cls()
        model._network, model._encoder = network, encoder
        model.dtype, model._scaling = network.dtype.name, scaling
        return model

    def resumed(self, network: Model) -> TableModel:
        """Return the TableModel of a network whose training goes on."""
        return self.of(network)

    def save(self, path) -> None:
        """Write the model to a safetensors file, atomically; ``pn.load`` reads it.  Errors as of Model.save."""
        self.network.save(path)

    def summary(self, print_fn=print) -> None:
        """Print what becomes of each column, and the network; `print_fn` receives the text."""
        print_fn(shown.text(self))

    def __repr__(self) -> str:
        return "<TableModel that has learned nothing>" if self._network is None else shown.one_line(self)

    def _repr_html_(self) -> str | None:
        """What becomes of each column, and the network, for notebooks."""
        return None if self._network is None else shown.html(self)

    # ---- prediction -------------------------------------------------------------------------------------------------

    def predict(self, table) -> np.ndarray:
        """Return the class of each row, as in the target, or its number in the target's own units, [N].

        Parameters
        ----------
        table : as of `fit`
            Columns are found by name, in any order; further ones do no harm.  An array [N, I] has them in the order of
            `features`.  Missing values are allowed everywhere, unknown categories as well.

        Raises
        ------
        ValueError
            A column is not there, or holds what it did not in training: texts instead of numbers.
        """
        answer = self.outputs(table)
        return np.array(self.classes)[answer.argmax(axis=1)] if self.classes else answer[:, 0]

    def predict_proba(self, table) -> np.ndarray:
        """Return the probability of each class [N, C], in the order of `classes`; `table` as of `predict`.

        Raises
        ------
        ValueError
            The target is a number, or as of `predict`.
        """
        if not self.classes:
            raise ValueError(f"the target {self.target!r} is a number: there are no classes, use predict")
        return self.outputs(table)

    def outputs(self, table) -> np.ndarray:
        """Return what the network makes of each row, [N, O]: probabilities, or numbers in the target's own units."""
        frame = features_of(table, self)
        parts = [
            self.network.predict(_one_or_all(self.encoder.encode(frame[at : at + ROWS_AT_ONCE], self.network.dtype)))
            for at in range(0, max(len(frame), 1), ROWS_AT_ONCE)
        ]
        answer = np.concatenate(parts)
        if self._scaling is not None:  # in the middle of a training
            answer = answer * np.float64(self._scaling["scale"][0]) + np.float64(self._scaling["shift"][0])
        return answer

    def encode(self, table):
        """Return what enters the network: an array [N, I], or a list of them where there are embedded columns."""
        return _one_or_all(self.encoder.encode(features_of(table, self), self.network.dtype))

    def evaluate(self, table, target=None) -> dict[str, float]:
        """Return how good the model is on a table with the target: accuracy, loss (cross-entropy) and right (rows that
        are); or rmse, mae and r2 in the target's own units."""
        data = labelled(table, target, self)
        return judged(self.outputs(data.X), data, self.classes)

    def score(self, table, target=None) -> float:
        """Return the accuracy, or R2."""
        found = self.evaluate(table, target)
        return found["accuracy" if self.classes else "r2"]

    def permutation_importance(
        self, table, target=None, n_repeats: int = 5, random_state: int = 0, max_rows: int = 5000
    ) -> list[tuple[str, float, float]]:
        """Return how much worse the model gets when the values of a column change places (Breiman 2001).

        Parameters
        ----------
        table, target : as of `evaluate`
        n_repeats : int
            Orders tried of each column.  Default 5.
        random_state : int
            Of these orders.
        max_rows : int
            Rows at most, evenly spaced.  Default 5000.

        Returns
        -------
        list of (name, mean, deviation)
            Increase of the loss: cross-entropy, or the squared error as a share of the target's variance (what R2
            loses; of a constant target the squared error itself).  The largest first.
        """
        from .importance import permutation_importance

        return permutation_importance(self, labelled(table, target, self), n_repeats, random_state, max_rows)


def _one_or_all(arrays: list[np.ndarray]):
    return arrays[0] if len(arrays) == 1 else arrays
