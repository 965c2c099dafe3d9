"""MLPRegressor: scikit-learn's, with more to choose from."""

from __future__ import annotations

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from .. import _check
from ..metrics import R2
from .base import Perceptron, stochastic
from .objective import regression

__all__ = ["MLPRegressor"]


class MLPRegressor(RegressorMixin, Perceptron):
    """Multi-layer perceptron that predicts numbers; drop-in for scikit-learn's MLPRegressor.

    Parameters
    ----------
    loss : str or loss of pynet's, default "squared_error"
        "squared_error": half of it.  "poisson": half the Poisson deviance, with an exponential as the last activation;
        `model_` then predicts the logarithm.  Or any loss of `pynet.losses` by name ("mae", "huber", "log_cosh",
        "quantile" ...), a loss of pynet's like pn.losses.Quantile(0.9), or an object with ``value_and_gradient``, which
        takes no sample_weight.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, \
shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, \
beta_1, beta_2, epsilon, n_iter_no_change, max_fun, layers, dropout, batch_norm, out_activation, callbacks
        As of MLPClassifier.  The score that early_stopping watches is R2.

    Attributes
    ----------
    model_ : pn.Sequential
        The network.
    loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_, validation_loss_curve_, t_, coefs_, \
intercepts_, n_features_in_, feature_names_in_, n_iter_, n_layers_, n_outputs_, out_activation_
        As of MLPClassifier.

    Examples
    --------
    >>> net = MLPRegressor(hidden_layer_sizes=(64, 64), dropout=0.1).fit(X, y)
    >>> mean, deviation = net.predict(X_test, return_std=True)
    """

    def __init__(
        self,
        loss="squared_error",
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
        layers=None,
        dropout=0.0,
        batch_norm=False,
        out_activation=None,
        callbacks=None,
    ):
        self._take(locals())

    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None, sample_weight_val=None):
        """Train the network.

        Parameters
        ----------
        X : array-like or sparse matrix [N, I]
            float32 makes a network of float32, anything else one of float64.
        y : array-like [N] or [N, O]
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
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch, from where the last call ended; arguments as of `fit`."""
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X, return_std=False, mc_samples=100):
        """Predict.

        Parameters
        ----------
        X : array-like or sparse matrix [N, I]
        return_std : bool, default False
            Of a network with dropout: return (mean, standard deviation) of `mc_samples` predictions with dropout at
            work (Gal, Ghahramani 2016, arXiv:1506.02142).
        mc_samples : int, default 100

        Returns
        -------
        array [N], or [N, O] of several outputs; with return_std a pair of them

        Raises
        ------
        ValueError
            X does not fit; return_std where nothing in the network is random.
        """
        X = self._checked(X)
        if return_std:
            mean, deviation = self._predict(X, _check.integer("mc_samples", mc_samples, 1))
            return _flat(mean), _flat(deviation)
        return _flat(self._predict(X))

    # ---- what Perceptron asks ---------------------------------------------------------------------------------------

    def _read(self, X, y, incremental: bool, fresh: bool):
        X, y = self._validate(X, y, fresh, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if isinstance(self.loss, str) and self.loss == "poisson" and (y < 0).any():
            raise ValueError("loss='poisson' needs targets y >= 0")
        return X, y

    def _read_more(self, X, y):
        return self._read(X, y, False, False)

    def _weighted(self, weight, y, incremental: bool):
        return weight

    def _width(self, y) -> int:
        return 1 if y.ndim == 1 else y.shape[1]

    def _objective(self, outputs: int):
        return regression(self.loss, self.out_activation, outputs)

    def _encode(self, y):
        return y.reshape(len(y), -1)

    def _strata(self, y):
        return None

    def _quality(self, predicted, y, weight) -> float:
        """Return R2: in every epoch of a fit, so without the many checks of sklearn.metrics.r2_score."""
        if not np.isfinite(predicted).all():
            return float("nan")
        y_no = y.reshape(len(y), -1).astype(np.float64)
        w_n1 = np.ones((len(y), 1)) if weight is None else weight[:, None]
        with np.errstate(over="ignore", invalid="ignore"):  # of a fit that is about to fail, which is told then
            error_o = (w_n1 * (y_no - predicted) ** 2).sum(axis=0)
            y_no -= np.average(y_no, axis=0, weights=weight)
            sums = [(w_n1 * y_no).sum(axis=0), (w_n1 * y_no**2).sum(axis=0), error_o]
            return R2().value([w_n1.sum(), *np.transpose(sums).ravel()])


def _flat(y):
    return y.ravel() if y.shape[1] == 1 else y
