"""MLPClassifier: scikit-learn's, with more to choose from."""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from .. import _check, losses
from .base import Perceptron, stochastic
from .objective import classification

__all__ = ["MLPClassifier"]


class MLPClassifier(ClassifierMixin, Perceptron):
    """Multi-layer perceptron that predicts classes; drop-in for scikit-learn's MLPClassifier.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (100,)
        Widths of the hidden layers; () is a linear model.
    activation : str or activation of pynet's, default "relu"
        Of the hidden layers: "identity", "logistic", "tanh", "relu" or any other of `pynet.activations`.
    solver : {"adam", "sgd", "lbfgs"}, default "adam"
        "lbfgs" (all rows at once) suits small data; it goes without dropout, batch norm, callbacks and X_val.
    alpha : float >= 0, default 1e-4
        L2 penalty of all kernels: alpha / 2 sum W^2, divided by the (weight of the) rows of a batch, as there.
    batch_size : int or "auto", default "auto"
        "auto": min(200, rows).
    learning_rate : {"constant", "invscaling", "adaptive", "cosine"}, default "constant"
        For "sgd" and "adam": "cosine", from learning_rate_init to 0 along half a cosine, epoch by epoch until max_iter
        (Loshchilov, Hutter 2017).  For "sgd": "invscaling", learning_rate_init / (rows seen + 1) ** power_t;
        "adaptive", divided by 5 whenever the fit would end for want of progress, until it is 1e-6.
    learning_rate_init : float > 0, default 1e-3
    power_t : float >= 0, default 0.5
    max_iter : int, default 200
        Most epochs; of "lbfgs" most iterations.
    shuffle : bool, default True
        A new order of the rows in every epoch.
    random_state : int, RandomState or None, default None
        Initial weights (the same numbers as scikit-learn's), validation split, shuffles, dropout.
    tol : float >= 0, default 1e-4
        Smaller changes of loss or score are no progress; of "lbfgs" the largest element of the gradient at the end.
    verbose : bool, default False
        Print the loss of every epoch.
    warm_start : bool, default False
        Let fit go on from the last fit: weights, momenta and shuffles.  Two fits are one long fit.
    momentum : float in [0, 1), default 0.9
        Of "sgd".
    nesterovs_momentum : bool, default True
    early_stopping : bool, default False
        Watch the accuracy on validation rows instead of the loss, and keep the weights of the best epoch.
    validation_fraction : float in [0, 1), default 0.1
        Share of the rows kept for that, where fit is given no X_val.
    beta_1, beta_2 : float in [0, 1), default 0.9 and 0.999
        Of "adam".
    epsilon : float > 0, default 1e-8
        Of "adam".
    n_iter_no_change : int or inf, default 10
        Epochs without progress that are borne.
    max_fun : int, default 15000
        Most evaluations of loss and gradient by "lbfgs".
    loss : str or loss of pynet's, default "log_loss"
        Others get one-hot targets: "mse" is the Brier score.
    class_weight : dict {class: weight}, "balanced" or None
        Multiplied with sample_weight.  Of several labels a list of dicts.
    layers : list, optional
        The hidden layers themselves, of pynet's, in place of hidden_layer_sizes: ``[pn.Dense(64, "gelu"),
        pn.LayerNorm(), pn.Dropout(0.2)]``; an output layer is added.  Or an activation for each of hidden_layer_sizes:
        ``["tanh", "relu"]``.  They are copied.
    dropout : float in [0, 1), or one for each hidden layer, default 0
        Behind the hidden layers; one number with batch_norm: behind the last of them only, for dropout in front of a
        batch norm does harm (Li et al. 2019, arXiv:1801.05134).
    batch_norm : bool, default False
        Between each hidden layer and its activation.
    out_activation : str or activation of pynet's, optional
        Of the output layer.  Default: by the loss.
    callbacks : list, optional
        See `pynet.Callback`.

    Attributes
    ----------
    classes_ : array [classes]
    model_ : pn.Sequential
        The network; of two classes it has one output, the probability of the second.
    loss_ : float
        Of the last epoch, penalty included.
    best_loss_ : float or None
        The smallest of them; None with early_stopping.
    loss_curve_ : list of float
        Of every epoch.
    validation_scores_, best_validation_score_ : list of float, float; or None
        With early_stopping: the score of every epoch, and the best.
    validation_loss_curve_ : list of float or None
        The loss on the validation rows, where there are any, after every epoch.
    t_ : int
        Rows seen.
    coefs_, intercepts_ : list of arrays
        Copies of the kernels [I, O] and biases [O] of all Dense layers.
    n_features_in_ : int
    feature_names_in_ : array of str
        If X had names.
    n_iter_ : int
        Epochs, or iterations, of the last fit.
    n_layers_ : int
        Dense layers, and the input.
    n_outputs_ : int
    out_activation_ : str
        "softmax", "logistic" or another.

    Examples
    --------
    >>> net = MLPClassifier((64, 32), dropout=0.2, class_weight="balanced", early_stopping=True)
    >>> net.fit(X, y, X_val=X_val, y_val=y_val).score(X_test, y_test)
    """

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        loss="log_loss",
        class_weight=None,
        layers=None,
        dropout=0.0,
        batch_norm=False,
        out_activation=None,
        callbacks=None,
    ):
        self._take(locals())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None, sample_weight_val=None):
        """Train the network.

        Parameters
        ----------
        X : array-like or sparse matrix [N, I]
            float32 makes a network of float32, anything else one of float64.
        y : array-like [N] of classes, or [N, labels] of 0 and 1
        sample_weight : array-like [N], optional
        X_val, y_val, sample_weight_val : optional
            A validation set: its loss after every epoch is `validation_loss_curve_`, and early_stopping watches its
            score instead of that of rows kept from X.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            A parameter or the data cannot be used, or the weights became NaN or infinite.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(stochastic)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train for one epoch, from where the last call ended.

        Parameters
        ----------
        X, y, sample_weight
            As of `fit`; y need not hold all classes.
        classes : array-like, optional
            All classes there will ever be: for the first call.
        """
        if not hasattr(self, "classes_"):
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            several = type_of_target(y).startswith("multilabel")
            self._know(y if several else unique_labels(classes))
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X):
        """Return the classes [N] (or labels [N, labels] of 0 and 1) of X, array-like or sparse [N, I]."""
        predicted = self._predict(self._checked(X))
        return self._label_binarizer.inverse_transform(predicted.ravel() if self.n_outputs_ == 1 else predicted)

    def predict_proba(self, X, return_std=False, mc_samples=100):
        """Return probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix [N, I]
        return_std : bool, default False
            Of a network with dropout: return (mean, standard deviation) of `mc_samples` predictions with dropout at
            work (Gal, Ghahramani 2016, arXiv:1506.02142).
        mc_samples : int, default 100

        Returns
        -------
        array [N, classes], in the order of `classes_`; with return_std a pair of them
        """
        X = self._checked(X)
        if return_std:
            mean, deviation = self._predict(X, _check.integer("mc_samples", mc_samples, 1))
            return self._both(mean), deviation if self.n_outputs_ > 1 else np.repeat(deviation, 2, axis=1)
        return self._both(self._predict(X))

    def _both(self, predicted):
        """Return the probabilities of two classes where there is the second's."""
        return np.hstack([1 - predicted, predicted]) if self.n_outputs_ == 1 else predicted

    def predict_log_proba(self, X):
        """Return the logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    # ---- what Perceptron asks ---------------------------------------------------------------------------------------

    def _know(self, y) -> None:
        self._label_binarizer = LabelBinarizer().fit(y)
        self.classes_ = self._label_binarizer.classes_

    def _read(self, X, y, incremental: bool, fresh: bool):
        X, y = self._validate(X, y, fresh)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._know(y)
        else:
            classes = unique_labels(y)
            if self.warm_start and not incremental:
                if set(classes) != set(self.classes_):
                    raise ValueError(
                        "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                        f"Previously got {self.classes_}, `y` has {classes}"
                    )
            else:
                self._refuse_unknown(classes)
        return X, y

    def _read_more(self, X, y):
        X, y = self._validate(X, y, False)
        y = column_or_1d(y) if y.ndim == 2 and y.shape[1] == 1 else y
        self._refuse_unknown(unique_labels(y))
        return X, y

    def _refuse_unknown(self, classes) -> None:
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _weighted(self, weight, y, incremental: bool):
        if self.class_weight is None:
            return weight
        if incremental and isinstance(self.class_weight, str):
            raise ValueError("class_weight='balanced' needs all rows at once: give partial_fit a dict of weights")
        more = compute_sample_weight(self.class_weight, y)
        return self._weights(more if weight is None else weight * more, len(more), "class_weight times sample_weight")

    @property
    def _exclusive(self) -> bool:
        return self._label_binarizer.y_type_ == "multiclass"

    def _width(self, y) -> int:
        if self._label_binarizer.y_type_.startswith("multilabel"):
            return y.shape[1]
        return len(self.classes_) if self._exclusive else 1

    def _objective(self, outputs: int):
        return classification(self.loss, self.out_activation, outputs, self._exclusive)

    def _encode(self, y):
        if self._exclusive and isinstance(self._goal.loss, losses.CrossEntropy):
            return np.searchsorted(self.classes_, y)
        return self._label_binarizer.transform(y).astype(np.uint8)

    def _metrics(self):
        """Return the accuracy where it is what early stopping watches: so the validation rows are predicted once."""
        return ["accuracy"] if self.early_stopping and (self._exclusive or self.n_outputs_ == 1) else []

    def _strata(self, y):
        """Two classes are split in proportion, as scikit-learn does it."""
        return None if self.n_outputs_ > 1 else self._label_binarizer.transform(y).astype(bool)

    def _quality(self, predicted, y, weight) -> float:
        if not np.isfinite(predicted).all():
            return float("nan")
        if self._exclusive:
            right = predicted.argmax(axis=1) == np.searchsorted(self.classes_, y)
        elif self.n_outputs_ == 1 and y.ndim == 1:
            right = (predicted[:, 0] > 0.5) == np.searchsorted(self.classes_, y)
        else:
            right = ((predicted > 0.5) == self._label_binarizer.transform(y)).all(axis=1)
        return float(np.average(right, weights=weight))

    def _metadata(self) -> dict:
        named = self.classes_.dtype.kind in "biufU" or all(isinstance(name, str) for name in self.classes_)
        return super()._metadata() | ({"classes": self.classes_.tolist()} if named else {})
