"""pynet.sklearn and what is around it: CSR rows, fits in parts, pickles, the tools of scikit-learn."""

import pickle
import pickletools
import tracemalloc
from types import SimpleNamespace

import joblib
import numpy as np
import pytest

import pynet as pn

pytest.importorskip("sklearn", reason='these tests need scikit-learn, which comes with pip install ".[test]"')
import sklearn
from estimators import REAL, REALS, TARGETS, THREE, TWO, WEIGHT, X, fitted, kind, predicted, seeded  # noqa: F401
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pynet.sklearn import MLPClassifier, MLPRegressor

# ---- sparse input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("target", TARGETS)
def test_csr_gives_the_same_bits(target, solver):
    """Also with dropout, batch norm and validation rows."""
    thin = np.where(np.abs(X) > 0.7, X, 0)
    more = {} if solver == "lbfgs" else {"dropout": 0.3, "batch_norm": True, "early_stopping": True, "batch_size": 32}
    net = kind(target)((9, 4), solver=solver, max_iter=6, random_state=0, **more) if target[:4] != "real" else (
        MLPRegressor(hidden_layer_sizes=(9, 4), solver=solver, max_iter=6, random_state=0, **more)
    )  # fmt: skip
    dense = fitted(clone(net), thin, TARGETS[target], WEIGHT)
    for form in (sparse.csr_matrix, sparse.csr_array, sparse.csc_array):
        other = fitted(clone(net), form(thin), TARGETS[target], WEIGHT)
        for a, b in zip(dense.coefs_, other.coefs_, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(predicted(other, form(thin)), predicted(dense, thin))
        np.testing.assert_array_equal(other.transform(form(thin)), dense.transform(thin))
        assert getattr(other, "loss_curve_", None) == getattr(dense, "loss_curve_", None)
        assert other.validation_loss_curve_ == dense.validation_loss_curve_


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_csr_is_never_dense_as_a_whole(solver):
    rows, features = 3000, 5000
    wide = sparse.random(rows, features, density=1e-3, format="csr", random_state=0)
    y = np.arange(rows) % 2
    net = MLPClassifier(4, solver=solver, max_iter=2, batch_size=50, random_state=0)
    fitted(clone(net), wide[:200], y[:200])  # imports
    tracemalloc.start()
    fitted(net, wide, y)
    net.predict(wide)
    net.transform(wide)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows * features * 8 / 10  # a batch and what is around it; all of it would be 120 MB


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("target", TARGETS)
def test_lbfgs_takes_the_rows_in_pieces(target, form, monkeypatch):
    net = kind(target)(solver="lbfgs", hidden_layer_sizes=6, max_iter=10, random_state=0)
    for weight in (None, WEIGHT):
        whole = fitted(clone(net), X, TARGETS[target], weight)
        with monkeypatch.context() as patch:
            patch.setattr("pynet.sklearn.base.rows_at_a_time", lambda width: 40)
            pieces = fitted(clone(net), form(X), TARGETS[target], weight)
        np.testing.assert_allclose(predicted(pieces), predicted(whole), rtol=1e-6, atol=1e-9)
        assert pieces.loss_ == pytest.approx(whole.loss_, rel=1e-9)


# ---- in parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_warm_start_and_partial_fit_are_one_long_fit(solver):
    named = {"solver": solver, "random_state": 0, "dropout": 0.2, "batch_size": 40, "learning_rate": "invscaling"}
    long = fitted(MLPClassifier(max_iter=6, **named), X, THREE)
    warm = MLPClassifier(max_iter=3, warm_start=True, **named)
    fitted(fitted(warm, X, THREE), X, THREE)
    parts = MLPClassifier(**named)
    for _ in range(6):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, THREE, classes=[5, 7, 9])))
    for net in (warm, parts):
        np.testing.assert_array_equal(net.predict_proba(X), long.predict_proba(X))
        assert net.loss_curve_ == long.loss_curve_
        assert net.t_ == long.t_ == 900
    assert (long.n_iter_, warm.n_iter_, parts.n_iter_) == (6, 3, 1)


def test_another_solver_goes_on():
    """From the weights of lbfgs, and back to it."""
    named = {"hidden_layer_sizes": 6, "warm_start": True, "random_state": 0, "max_iter": 5}
    for y in (REAL, REALS):
        net = fitted(MLPRegressor(solver="lbfgs", **named), X, y)
        losses = [net.loss_]
        for solver in ("adam", "sgd", "lbfgs"):
            losses.append(fitted(net.set_params(solver=solver), X, y).loss_)
        assert max(losses) < 1.05 * losses[0]
        assert losses[-1] < losses[0]
        assert len(net.loss_curve_) == 10


def test_faults_of_partial_fit():
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        MLPClassifier().partial_fit(X, TWO)
    net = MLPRegressor().partial_fit(X, REAL)
    with pytest.raises(ValueError, match="y has 2 outputs, but the network was fitted with 1"):
        net.partial_fit(X, REALS)
    with pytest.raises(ValueError, match="same as on last call"):
        MLPClassifier().partial_fit(X, TWO, classes=["no", "yes"]).partial_fit(X, TWO, classes=["yes"])


def test_an_adaptive_rate_is_lowered():
    net = MLPRegressor(solver="sgd", learning_rate="adaptive", tol=0.5, n_iter_no_change=2, learning_rate_init=0.01)
    net.fit(X, REAL)
    assert net._optimizer.learning_rate < 1e-6
    assert net.n_iter_ < 200


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_rate_that_falls_along_a_cosine(solver, recwarn):
    rates: list[float] = []
    seen = SimpleNamespace(on_epoch_begin=lambda trainer, epoch: rates.append(trainer.optimizer.learning_rate))
    named = {"solver": solver, "learning_rate_init": 0.02, "max_iter": 8, "warm_start": True, "tol": 0}
    net = MLPRegressor(learning_rate="cosine", callbacks=[seen], random_state=0, **named)
    for fits in (1, 2):  # a second fit begins anew
        net.fit(X, REAL)
        np.testing.assert_allclose(rates, fits * [0.01 * (1 + np.cos(np.pi * k / 8)) for k in range(8)])
    assert not recwarn.list  # the end at max_iter is meant
    with pytest.raises(ValueError, match="partial_fit does not support learning_rate='cosine'"):
        net.partial_fit(X, REAL)


# ---- as bytes, in other tools ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [{}, {"solver": "lbfgs"}])
@pytest.mark.parametrize("target", TARGETS)
def test_pickles_hold_the_bytes_of_a_file(target, named, tmp_path):
    """Nothing of pynet but the class itself is in the pickle: the network is a safetensors file."""
    net = fitted(kind(target)(max_iter=3, random_state=0, **named), X, TARGETS[target])
    data = pickle.dumps(net)
    assert {text.split(" ")[0] for text in _globals(data) if text.startswith("pynet")} <= {
        "pynet.sklearn.classifier", "pynet.sklearn.regressor"
    }  # fmt: skip
    saved = net.__getstate__()["_saved"]
    (tmp_path / "net.safetensors").write_bytes(saved)
    model = pn.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(model.predict(X), net.model_.predict(X))
    joblib.dump(net, tmp_path / "net.joblib")
    for again in (pickle.loads(data), joblib.load(tmp_path / "net.joblib")):
        np.testing.assert_array_equal(predicted(again), predicted(net))
        np.testing.assert_array_equal(again.predict(X), net.predict(X))
        assert again.get_params() == net.get_params()
    state = net.__getstate__()
    state["_saved"] = saved[:-8] + b"\xff" * 8
    with pytest.raises(ValueError, match="checksum"):
        type(net)().__setstate__(state)


def _globals(data: bytes) -> list[str]:
    """Return what a pickle imports, "module name"."""
    found, texts = [], []
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "STACK_GLOBAL":
            found.append(" ".join(texts[-2:]))
        elif opcode.name == "GLOBAL":
            found.append(argument)
        elif isinstance(argument, str):
            texts.append(argument)
    return found


def test_clone_knows_nothing():
    net = fitted(MLPClassifier(max_iter=2, layers=[pn.Dense(3)], dropout=0.0), X, TWO)
    assert not hasattr(clone(net), "model_")
    assert not hasattr(clone(net), "coefs_")


def test_pipeline_and_grid_search():
    pipe = make_pipeline(StandardScaler(), MLPClassifier(random_state=0, max_iter=30, early_stopping=True))
    grid = {"mlpclassifier__dropout": [0.0, 0.2], "mlpclassifier__hidden_layer_sizes": [(8,), (8, 8)]}
    search = fitted(GridSearchCV(pipe, grid, n_jobs=2, cv=3), X, TWO)
    assert search.best_score_ > 0.6
    assert search.predict(X).dtype == TWO.dtype
    best = search.best_estimator_[-1]
    assert best.model_.metadata["classes"] == ["no", "yes"]


def test_metadata_routing():
    with sklearn.config_context(enable_metadata_routing=True):
        net = MLPRegressor(max_iter=3, random_state=0).set_fit_request(sample_weight=True, X_val=True, y_val=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipe = fitted(make_pipeline(scaler, net), X, REAL, sample_weight=WEIGHT, X_val=X, y_val=REAL)
    assert len(pipe[-1].validation_loss_curve_) == 3
    scaled = StandardScaler().fit_transform(X)
    direct = fitted(MLPRegressor(max_iter=3, random_state=0), scaled, REAL, WEIGHT)
    np.testing.assert_array_equal(pipe.predict(X), direct.predict(scaled))


def test_transform_and_set_output():
    pd = pytest.importorskip("pandas", reason='pandas comes with pip install ".[test]"')
    table = pd.DataFrame(X, columns=list("abcdef"))
    net = fitted(MLPClassifier((7, 4), max_iter=3, dropout=0.5), table, TWO)
    (first, second, _), (b, c, _) = net.coefs_, net.intercepts_
    by_hand = np.maximum(np.maximum(X @ first + b, 0) @ second + c, 0)
    np.testing.assert_allclose(net.transform(table), by_hand, atol=1e-12)
    shown = net.set_output(transform="pandas").transform(table)
    assert list(shown.columns) == [f"mlpclassifier{i}" for i in range(4)]
    assert net.feature_names_in_.tolist() == net.model_.metadata["features"] == list("abcdef")
    linear = fitted(MLPRegressor(hidden_layer_sizes=(), max_iter=2), X, REAL)
    np.testing.assert_array_equal(linear.transform(X), X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_dtypes(dtype, solver):
    net = fitted(MLPRegressor(solver=solver, max_iter=5, random_state=0), X.astype(dtype), REALS)
    arrays = [*net.coefs_, *net.intercepts_, net.predict(X), net.transform(X)]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}
