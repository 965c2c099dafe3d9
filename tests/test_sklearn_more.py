"""pynet.sklearn: what scikit-learn's estimators do not have."""

import pickle
import warnings

import numpy as np
import pytest

import pynet as pn

pytest.importorskip("sklearn", reason='these tests need scikit-learn, which comes with pip install ".[test]"')
from estimators import (  # noqa: F401
    LABELS,
    REAL,
    REALS,
    TARGETS,
    THREE,
    TWO,
    WEIGHT,
    X,
    fitted,
    kind,
    predicted,
    seeded,
)
from scipy import sparse
from sklearn.base import clone

from pynet.sklearn import MLPClassifier, MLPRegressor

# ---- layers, dropout, batch norm, losses -----------------------------------------------------------------------------


def test_layers_with_activations_of_their_own():
    net = fitted(MLPClassifier((8, 5), layers=["gelu", pn.activations.LeakyReLU(0.2)], max_iter=3), X, THREE)
    shown = [layer.activation for layer in net.model_.layers[1:]]
    assert [(act.name, *act.parameters) for act in shown] == [("gelu",), ("leaky_relu", 0.2), ("softmax",)]
    assert fitted(MLPClassifier(8, activation="mish", max_iter=1), X, TWO).model_.layers[1].activation.name == "mish"
    with pytest.raises(ValueError, match="layers must have one activation for each of the 2 hidden layers, got 1"):
        MLPClassifier((8, 5), layers=["gelu"]).fit(X, TWO)
    with pytest.raises(ValueError, match="unknown activation 'rellu', did you mean 'relu'"):
        MLPClassifier(activation="rellu").fit(X, TWO)


def test_layers_of_the_user():
    own = [pn.Dense(12, "gelu", l2=0.5), pn.LayerNorm(), pn.Residual([pn.Dense(12, "tanh")]), pn.Dropout(0.1)]
    net = MLPRegressor(layers=own, max_iter=4, random_state=0)
    first, second = fitted(clone(net), X, REAL), fitted(net, X, REAL)
    np.testing.assert_array_equal(first.predict(X), second.predict(X))
    assert net.get_params()["layers"] is own
    assert all(layer.home is None for layer in (own[0], own[1], own[3]))  # they were copied
    layers = net.model_.layers
    assert [layer.kind for layer in layers] == ["input", "dense", "layer_norm", "dense", "add", "dropout", "dense"]
    assert layers[1].l2 == 0.5
    assert layers[3].l2 == layers[6].l2 == pytest.approx(1e-4 / 2 / 150)
    assert net.n_layers_ == 4
    assert net.transform(X).shape == (150, 12)
    with pytest.raises(TypeError, match="not of both"):
        MLPRegressor(layers=[pn.Dense(3), "relu"]).fit(X, REAL)
    with pytest.raises(ValueError, match="put Dropout and BatchNorm among them"):
        MLPRegressor(layers=own, dropout=0.5).fit(X, REAL)


def test_dropout_and_batch_norm():
    net = fitted(MLPClassifier((8, 5), dropout=0.5, batch_norm=True, max_iter=3), X, TWO)
    hidden = ["dense", "batch_norm", "activation"]
    assert [layer.kind for layer in net.model_.layers] == ["input", *hidden, *hidden, "dropout", "dense"]
    variance = net.model_.parameters()["batch_norm_1.variance"]
    assert (variance != 1).all()
    net = fitted(MLPClassifier((8, 5, 4), dropout=[0.5, 0, 0.25], max_iter=3), X, TWO)
    assert [getattr(layer, "rate", 0) for layer in net.model_.layers] == [0, 0, 0.5, 0, 0, 0.25, 0]
    for wrong in (1.0, [0.1], -0.1):
        with pytest.raises(ValueError, match="dropout must be"):
            MLPClassifier((8, 5), dropout=wrong).fit(X, TWO)
    with pytest.raises(ValueError, match="solver='lbfgs' needs a loss that is always the same"):
        MLPClassifier(dropout=0.1, solver="lbfgs").fit(X, TWO)


def test_batch_norm_never_meets_a_batch_of_one_row():
    x = np.random.default_rng(0).normal(size=(401, 3))
    net = fitted(MLPRegressor(hidden_layer_sizes=4, batch_norm=True, max_iter=2), x, x[:, 0])
    assert net.t_ == 802


def test_return_std():
    net = fitted(MLPRegressor(hidden_layer_sizes=30, dropout=0.3, max_iter=30, random_state=0), X, REALS)
    mean, deviation = net.predict(X, return_std=True)
    assert mean.shape == deviation.shape == (150, 2)
    assert (deviation > 0).all()
    assert not np.array_equal(mean, net.predict(X))
    many = net.model_.predict(X, mc_samples=4000)
    np.testing.assert_array_less(np.abs(mean - many), 5 * deviation / 10)  # of a mean of 100 samples
    np.testing.assert_array_equal(net.predict(X, return_std=True)[0], mean)
    mean, deviation = net.predict(sparse.csr_array(X), return_std=True, mc_samples=20)
    assert mean.shape == deviation.shape == (150, 2)
    with pytest.raises(ValueError, match="nothing in the model is random"):
        fitted(MLPRegressor(max_iter=1), X, REAL).predict(X, return_std=True)
    for y in (TWO, THREE):
        net = fitted(MLPClassifier(30, dropout=0.3, max_iter=5), X, y)
        mean, deviation = net.predict_proba(X, return_std=True)
        assert mean.shape == deviation.shape == net.predict_proba(X).shape
        np.testing.assert_allclose(mean.sum(axis=1), 1)


def test_losses_by_name():
    """The quantile loss leaves a tenth above it, the mean absolute error is not moved by outliers."""
    x = np.random.default_rng(0).uniform(-1, 1, (2000, 1))
    y = x[:, 0] + np.random.default_rng(1).exponential(size=2000)
    named = {"hidden_layer_sizes": (), "learning_rate_init": 0.05, "max_iter": 120, "random_state": 0, "tol": 0}
    high = fitted(MLPRegressor(pn.losses.Quantile(0.9), **named), x, y)
    assert np.mean(y > high.predict(x)) == pytest.approx(0.1, abs=0.02)
    median = fitted(MLPRegressor("mae", **named), x, y)
    assert np.mean(y > median.predict(x)) == pytest.approx(0.5, abs=0.03)
    rate = fitted(MLPRegressor(pn.losses.Poisson(), **named), x, np.floor(y.clip(0)))
    assert rate.out_activation_ == "softplus"
    brier = fitted(MLPClassifier(loss="mse", max_iter=100, learning_rate_init=0.01, tol=0), X, THREE)
    assert brier.score(X, THREE) > 0.9
    errors = brier.predict_proba(X) - (THREE[:, None] == brier.classes_)
    assert brier.loss_ == pytest.approx(np.mean(errors**2), abs=0.01)
    assert brier.out_activation_ == "softmax"
    with pytest.raises(ValueError, match="unknown loss 'huper', did you mean 'huber'"):
        MLPRegressor("huper").fit(X, REAL)


class Absolute:
    """A loss of the user's."""

    def value_and_gradient(self, prediction, target):
        difference = prediction - target
        return np.abs(difference).mean(), np.sign(difference) / difference.size


def test_a_loss_of_the_user():
    named = {"max_iter": 5, "random_state": 0}
    own, named = fitted(MLPRegressor(Absolute(), **named), X, REAL), fitted(MLPRegressor("mae", **named), X, REAL)
    np.testing.assert_allclose(own.predict(X), named.predict(X), rtol=1e-9)
    again = pickle.loads(pickle.dumps(own))
    np.testing.assert_array_equal(again.predict(X), own.predict(X))
    again.partial_fit(X, REAL)


# ---- weights of rows and classes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [{"solver": "lbfgs"}, {"solver": "sgd"}, {}, {"loss": "poisson"}])
def test_weights_are_repeated_rows(named):
    net = MLPRegressor(hidden_layer_sizes=5, max_iter=10, batch_size=500, random_state=0, shuffle=False, **named)
    y, times = np.abs(REAL), WEIGHT.astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weighted = clone(net).fit(X, y, WEIGHT)
        repeated = clone(net).fit(X.repeat(times, axis=0), y.repeat(times))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-6)
    assert weighted.loss_ == pytest.approx(repeated.loss_, rel=1e-8)


def test_class_weight():
    named = {"hidden_layer_sizes": 6, "max_iter": 20, "random_state": 0}
    given = {5: 3.0, 7: 1.0, 9: 0.5}
    ours = fitted(MLPClassifier(class_weight=given, **named), X, THREE)
    other = fitted(MLPClassifier(**named), X, THREE, [given[y] for y in THREE])
    np.testing.assert_array_equal(ours.predict_proba(X), other.predict_proba(X))
    counts = dict(zip(*np.unique(TWO, return_counts=True), strict=True))
    ours = fitted(MLPClassifier(class_weight="balanced", **named), X, TWO, WEIGHT)
    balanced = fitted(MLPClassifier(**named), X, TWO, WEIGHT * [150 / (2 * counts[y]) for y in TWO])
    np.testing.assert_array_equal(ours.predict_proba(X), balanced.predict_proba(X))
    with pytest.raises(ValueError, match="give partial_fit a dict"):
        MLPClassifier(class_weight="balanced").partial_fit(X, TWO, classes=["no", "yes"])


def test_the_penalty_is_divided_by_the_weight_of_a_batch():
    """As there; and of the batch at hand, whatever the last one was."""
    net = MLPRegressor(hidden_layer_sizes=5, alpha=300.0, solver="sgd", learning_rate_init=1e-14, random_state=0)
    for rows, weight in ((150, None), (50, None), (100, WEIGHT[:100])):
        net.partial_fit(X[:rows], REAL[:rows], weight)
        data = np.average((net.predict(X[:rows]) - REAL[:rows]) ** 2, weights=weight) / 2
        total = rows if weight is None else weight.sum()
        assert net.loss_ == pytest.approx(data + 150 * sum(np.sum(w**2) for w in net.coefs_) / total, rel=1e-6)


def test_labels_as_a_sparse_matrix():
    net = MLPClassifier(6, max_iter=5, early_stopping=True, random_state=0, class_weight=[{0: 1, 1: 2}] * 3)
    dense, other = fitted(clone(net), X, LABELS), fitted(net, X, sparse.csr_matrix(LABELS))
    np.testing.assert_array_equal(other.predict_proba(X), dense.predict_proba(X))
    np.testing.assert_array_equal(other.predict(X).toarray(), dense.predict(X))
    assert other.validation_scores_ == dense.validation_scores_


# ---- validation, callbacks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_a_validation_set_of_the_user(target):
    y = TARGETS[target]
    named = {"max_iter": 12, "random_state": 0, "early_stopping": True, "learning_rate_init": 0.03}
    net = fitted(kind(target)(**named), X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    assert net.t_ == 100 * net.n_iter_  # no row was kept back
    assert len(net.validation_loss_curve_) == len(net.validation_scores_) == len(net.loss_curve_) == net.n_iter_
    assert net.best_validation_score_ == max(net.validation_scores_)
    assert net.score(X[100:], y[100:]) == pytest.approx(net.best_validation_score_)  # the best weights are kept
    named["early_stopping"] = False
    curve = fitted(kind(target)(**named), X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    plain = fitted(kind(target)(**named), X[:100], y[:100])
    assert curve.validation_scores_ is None
    assert plain.validation_loss_curve_ is None
    np.testing.assert_array_equal(predicted(curve), predicted(plain))
    goal = curve._goal
    at_end = pn.Trainer(curve.model_, goal.loss, loss_weights=[goal.weight]).evaluate(X[100:], curve._encode(y[100:]))
    assert curve.validation_loss_curve_[-1] == pytest.approx(at_end["loss"])


def test_weights_of_a_validation_set_are_repeated_rows():
    named = {"max_iter": 8, "random_state": 0, "early_stopping": True, "learning_rate_init": 0.03}
    times = WEIGHT.astype(int)
    for target, y in TARGETS.items():
        held = X.repeat(times, axis=0), y.repeat(times, axis=0)
        one = fitted(kind(target)(**named), X, y, X_val=X, y_val=y, sample_weight_val=WEIGHT)
        two = fitted(kind(target)(**named), X, y, X_val=held[0], y_val=held[1])
        np.testing.assert_allclose(one.validation_loss_curve_, two.validation_loss_curve_)
        np.testing.assert_allclose(one.validation_scores_, two.validation_scores_, atol=1e-12)


def test_the_best_weights_of_an_earlier_fit_stay():
    net = MLPRegressor(early_stopping=True, warm_start=True, max_iter=60, random_state=0, learning_rate_init=0.01)
    fitted(net, X, REAL, X_val=X, y_val=REAL)
    best, before = net.best_validation_score_, net.predict(X)
    fitted(net.set_params(learning_rate_init=3.0, max_iter=2), X, REAL, X_val=X, y_val=REAL)
    assert max(net.validation_scores_[-2:]) < best == net.best_validation_score_
    np.testing.assert_array_equal(net.predict(X), before)


def test_faults_of_a_validation_set():
    for named in ({"X_val": X}, {"y_val": TWO}, {"sample_weight_val": WEIGHT}):
        with pytest.raises(ValueError, match="X_val and y_val"):
            MLPClassifier().fit(X, TWO, **named)
    with pytest.raises(ValueError, match="classes not in"):
        MLPClassifier().fit(X, TWO, X_val=X, y_val=THREE.astype(str))
    with pytest.raises(ValueError, match="solver='lbfgs' has no epochs"):
        MLPClassifier(solver="lbfgs").fit(X, TWO, X_val=X, y_val=TWO)


def test_callbacks():
    class Third(pn.Callback):
        epochs = ()

        def on_epoch_end(self, trainer, epoch, logs):
            self.epochs = (*self.epochs, (epoch, logs["loss"], logs["val_loss"]))
            return epoch == 2

    third = Third()
    net = MLPRegressor(callbacks=[third], random_state=0).fit(X, REAL, X_val=X, y_val=REAL)  # nor does it warn
    assert net.n_iter_ == 3
    assert third.epochs == tuple(zip(range(3), net.loss_curve_, net.validation_loss_curve_, strict=True))


def test_callbacks_of_pynet(tmp_path):
    """The best weights by the loss of the validation set; a checkpoint of every epoch."""
    stop = pn.EarlyStopping("val_loss", patience=5, restore_best_weights=True)
    save = pn.ModelCheckpoint(tmp_path / "{epoch}.safetensors")
    net = MLPRegressor(callbacks=[stop, save], random_state=0, learning_rate_init=0.05, tol=0, n_iter_no_change=200)
    net.fit(X[:100], REAL[:100], X_val=X[100:], y_val=REAL[100:])
    curve = net.validation_loss_curve_
    assert stop.best_epoch == np.argmin(curve) == net.n_iter_ - 6
    best = pn.load(tmp_path / f"{stop.best_epoch + 1}.safetensors")
    np.testing.assert_array_equal(best.predict(X)[:, 0], net.predict(X))
