"""pynet.sklearn: scikit-learn's checks of estimators, and its numbers."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason='these tests need scikit-learn, which comes with pip install ".[test]"')
import sklearn
import sklearn.neural_network as theirs
from estimators import REAL, REALS, TARGETS, TWO, WEIGHT, X, fitted, kind, predicted, seeded  # noqa: F401
from sklearn.utils.estimator_checks import SkipTest, estimator_checks_generator

from pynet.sklearn import MLPClassifier, MLPRegressor

# ---- scikit-learn's checks -------------------------------------------------------------------------------------------

NOT_APPLICABLE = {  # which raise SkipTest
    "check_classifiers_multilabel_output_format_decision_function": "there is no decision_function, nor in theirs",
    "check_array_api_input": "wants SCIPY_ARRAY_API to be set as SciPy is imported: the test after the next does that",
}


def _name(check) -> str:
    while hasattr(check, "func"):
        check = check.func
    return check.__name__


CHECKED = [MLPClassifier(), MLPRegressor(), MLPRegressor(solver="lbfgs")]
CHECKS = [
    pytest.param(net, check, id=f"{net}-{_name(check)}") for made in CHECKED
    for net, check in estimator_checks_generator(made)
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("net", "check"), CHECKS)
def test_check_estimator(net, check):
    if _name(check) in NOT_APPLICABLE:
        with pytest.raises(SkipTest):
            check(net)
    else:
        try:
            check(net)
        except SkipTest as reason:
            pytest.fail(f"the check was skipped: {reason}")


def test_all_checks_are_there():
    names = {_name(param.values[1]) for param in CHECKS}
    assert len(names) > 60
    assert set(NOT_APPLICABLE) <= names


def test_check_estimator_with_the_array_api():
    script = """
import warnings
warnings.simplefilter("ignore")
from sklearn.utils.estimator_checks import estimator_checks_generator
from pynet.sklearn import MLPClassifier, MLPRegressor
done = 0
for made in MLPClassifier(), MLPRegressor():
    for net, check in estimator_checks_generator(made):
        if "check_array_api_input" in str(check):
            check(net)
            done += 1
assert done == 2, done
"""
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_without_scikit_learn_the_error_says_what_to_install():
    script = """
import sys
sys.modules["sklearn"] = None
import pynet
try:
    pynet.sklearn
except ImportError as error:
    assert 'pip install "pynet[sklearn]"' in str(error), error
else:
    raise AssertionError
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


# ---- scikit-learn's numbers ------------------------------------------------------------------------------------------

SOLVERS = {
    "lbfgs": {"solver": "lbfgs", "max_iter": 15},
    "adam": {"max_iter": 12, "learning_rate_init": 0.01},
    "sgd": {"solver": "sgd", "max_iter": 12, "learning_rate_init": 0.05},
    "heavy ball": {"solver": "sgd", "max_iter": 12, "nesterovs_momentum": False, "alpha": 2.0},
    "plain": {"solver": "sgd", "max_iter": 12, "momentum": 0.0, "learning_rate": "invscaling", "batch_size": 50},
    "early": {"solver": "sgd", "max_iter": 12, "learning_rate_init": 0.2, "early_stopping": True},
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_numbers_are_theirs(solver, target, weighted):
    """From the same initial weights, without shuffles, every solver goes the same way."""
    named = {"hidden_layer_sizes": (8, 5), "activation": "tanh", "shuffle": False, "random_state": 3, **SOLVERS[solver]}
    y = TARGETS[target]
    weight = WEIGHT if weighted and solver != "plain" else None  # whose batches have penalties of their own there
    ours = fitted(kind(target)(**named), X, y, sample_weight=weight)
    other = fitted(kind(target, theirs)(**named), X, y, sample_weight=weight)
    if solver == "lbfgs" and target == "reals":  # their loss of several outputs does not go with its gradient
        assert 0.8 * other.loss_ < ours.loss_ < 1.05 * other.loss_
        return
    near = 1e-3 if solver == "adam" else 1e-5  # the epsilon of Adam stands elsewhere
    for a, b in zip(ours.coefs_ + ours.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=near, atol=near)
    np.testing.assert_allclose(predicted(ours), predicted(other), atol=1e-3)
    assert ours.loss_ == pytest.approx(other.loss_, rel=1e-3)
    np.testing.assert_array_equal(ours.predict(X), other.predict(X)) if not target.startswith("real") else None
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(other, name)
    for name in ("loss_curve_", "validation_scores_", "best_validation_score_", "best_loss_"):
        assert hasattr(ours, name) == hasattr(other, name)
        if getattr(other, name, None) is not None:
            np.testing.assert_allclose(getattr(ours, name), getattr(other, name), rtol=1e-3, atol=1e-9)
    assert ours.score(X, y) == pytest.approx(other.score(X, y), abs=1e-3)


@pytest.mark.parametrize("package", ["classifier", "regressor"])
def test_every_parameter_of_theirs_is_here(package):
    ours, other = (
        (MLPClassifier, theirs.MLPClassifier) if package == "classifier" else (MLPRegressor, theirs.MLPRegressor)
    )
    assert other().get_params().items() <= ours().get_params().items()


def test_poisson_is_theirs():
    named = {"loss": "poisson", "shuffle": False, "random_state": 0, "hidden_layer_sizes": 7, "activation": "logistic"}
    counts = np.random.default_rng(1).poisson(np.exp(REALS.clip(-2, 2)))
    for solver in ({"solver": "lbfgs", "max_iter": 10}, {"solver": "sgd", "max_iter": 5}):
        for weight in (None, WEIGHT):
            ours = fitted(MLPRegressor(**named, **solver), X, counts, weight)
            other = fitted(theirs.MLPRegressor(**named, **solver), X, counts, weight)
            np.testing.assert_allclose(ours.predict(X), other.predict(X), rtol=1e-3)
            assert ours.loss_ == pytest.approx(other.loss_, rel=1e-4)
            assert ours.out_activation_ == "exp"
    with pytest.raises(ValueError, match="y >= 0"):
        MLPRegressor(loss="poisson").fit(X, REAL)


# ---- faults ----------------------------------------------------------------------------------------------------------

FAULTS = {
    "solver": "adamw", "learning_rate": "fast", "shuffle": 1, "alpha": -1, "learning_rate_init": 0, "epsilon": 0,
    "momentum": 1.0, "beta_1": 1, "max_iter": 0, "max_fun": 1.5, "n_iter_no_change": 0, "batch_size": 0, "verbose": "x",
    "hidden_layer_sizes": (5, 0), "validation_fraction": 1.5, "tol": -1, "layers": "relu", "dropout": 2,
    "batch_norm": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named(name):
    with pytest.raises((ValueError, TypeError), match=name):
        MLPClassifier(**{name: FAULTS[name]}).fit(X, TWO)


def test_a_fit_that_diverges():
    net = MLPRegressor(solver="sgd", learning_rate_init=1e3, activation="identity")
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        net.fit(X, REAL)
    net.set_params(early_stopping=True, learning_rate_init=3.0)
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="became NaN or infinite .* best epoch are kept"):
        net.fit(X, REAL)
    assert np.isfinite(net.predict(X)).all()
    assert np.isnan(net.loss_curve_[-1])
    assert len(net.loss_curve_) == len(net.validation_scores_) == net.n_iter_ > 1
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
