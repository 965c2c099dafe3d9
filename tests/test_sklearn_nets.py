"""Multi-layer perceptrons of scikit-learn as models of pynet's, and back."""

import warnings

import numpy as np
import pytest

import pynet as pn

pytest.importorskip("sklearn", reason='these tests need scikit-learn, which comes with pip install ".[test]"')
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

X = np.random.default_rng(0).normal(size=(90, 4)) * [1, 3, 0.2, 10] + [0, 5, 1, -2]
CLASSES = {
    "two": np.array([0, 1] * 45),
    "two by name": np.array(["no", "yes"] * 45),
    "three": np.array([5, 7, 9] * 30),
    "three by name": np.array(["a", "b", "c"] * 30),
    "labels": np.array([[0, 1, 1], [1, 0, 1]] * 45),
}


def fitted(estimator, y, X=X):
    """After a few epochs, whether it has converged or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X, y)


def probabilities(answers):
    """Two classes have one output in pynet."""
    one = answers.shape[1] == 1
    return np.concatenate([1 - answers, answers], axis=1) if one else answers


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_classifiers(name, activation):
    """Probabilities there, probabilities and classes back; with and without a scaler before it."""
    y = CLASSES[name]
    for scaler in ([], [StandardScaler()], [StandardScaler(), "passthrough", StandardScaler(with_mean=False)]):
        net = MLPClassifier((6, 5), activation=activation, max_iter=8, random_state=0)
        theirs = fitted(make_pipeline(*scaler, net) if scaler else net, y)
        model = pn.export.from_sklearn(theirs)
        expected = theirs.predict_proba(X)
        assert np.ptp(expected) > 0.05
        np.testing.assert_allclose(probabilities(model.predict(X)), expected, atol=1e-6)
        assert model.metadata["classes"] == net.classes_.tolist()
        back = pn.export.to_sklearn(model)
        np.testing.assert_allclose(back.predict_proba(X), expected, atol=1e-6)
        np.testing.assert_array_equal(back.predict(X), theirs.predict(X))
        assert back.predict(X).dtype == theirs.predict(X).dtype
        assert back.score(X, y) == theirs.score(X, y)


@pytest.mark.parametrize("columns", [1, 2])
def test_regressors(columns):
    y = X[:, 0] * 3 + 100 if columns == 1 else X[:, :2]
    net = MLPRegressor(hidden_layer_sizes=[7], max_iter=20, random_state=0)
    theirs = fitted(make_pipeline(StandardScaler(with_std=False), net), y)
    model = pn.export.from_sklearn(theirs)
    expected = theirs.predict(X)
    np.testing.assert_allclose(model.predict(X).reshape(expected.shape), expected, rtol=1e-6, atol=1e-6)
    back = pn.export.to_sklearn(model)
    np.testing.assert_allclose(back.predict(X), expected, rtol=1e-6, atol=1e-6)
    assert isinstance(back, MLPRegressor)


def test_dtypes():
    theirs = fitted(MLPClassifier([5], max_iter=3), CLASSES["three"], X.astype(np.float32))
    assert pn.export.from_sklearn(theirs).dtype == np.float32
    assert pn.export.from_sklearn(theirs, dtype="float64").dtype == np.float64
    assert pn.export.from_sklearn(fitted(MLPClassifier([5], max_iter=3), CLASSES["three"])).dtype == np.float64


def test_models_of_pynet():
    """A softmax of two classes, which scikit-learn does not have; layers that do nothing; a scaling; compact layers."""
    layers = [pn.Input(4, scale=0.1, shift=[1.0, 2, 3, 4]), pn.Dense(9), pn.Activation("relu"), pn.Dropout(0.5)]
    model = pn.Sequential([*layers, pn.Dense(2, "softmax")], dtype="float64")
    model.metadata["classes"] = ["bad", "good"]
    net = pn.export.to_sklearn(model)
    np.testing.assert_allclose(net.predict_proba(X), model.predict(X), atol=1e-9)
    np.testing.assert_array_equal(net.predict(X), np.array(["bad", "good"])[model.predict(X).argmax(axis=1)])
    pn.prune.magnitude(model, 0.7)
    small = model.compact(["dense_1"])
    small.metadata = model.metadata
    np.testing.assert_allclose(pn.export.to_sklearn(small).predict_proba(X), model.predict(X), atol=1e-9)
    plain = pn.Sequential([pn.Input(4), pn.Dense(1, "sigmoid", use_bias=False)])
    np.testing.assert_array_equal(pn.export.to_sklearn(plain).predict(X), plain.predict(X)[:, 0] > 0.5)


@pytest.mark.parametrize(("width", "last"), [(3, "softmax"), (2, "softmax"), (1, "sigmoid")])
def test_classes_in_any_order(width, last):
    """scikit-learn has its classes in ascending order; so the outputs change places."""
    model = pn.Sequential([pn.Input(4), pn.Dense(width, last, kernel_initializer="normal")], random_state=3)
    classes = np.array(["red", "green", "blue"][: max(width, 2)])
    model.metadata["classes"] = classes.tolist()
    net, answers = pn.export.to_sklearn(model), probabilities(model.predict(X))
    assert len(np.unique(answers.argmax(axis=1))) == len(classes)
    assert net.classes_.tolist() == sorted(classes)
    np.testing.assert_array_equal(net.predict(X), classes[answers.argmax(axis=1)])
    np.testing.assert_allclose(net.predict_proba(X), answers[:, np.argsort(classes)], atol=1e-6)


def test_faults():
    with pytest.raises(TypeError, match="MLPClassifier, MLPRegressor or Pipeline of one, got StandardScaler"):
        pn.export.from_sklearn(StandardScaler())
    with pytest.raises(TypeError, match="got int"):
        pn.export.from_sklearn(3)
    with pytest.raises(ValueError, match="MLPClassifier must be fitted"):
        pn.export.from_sklearn(MLPClassifier())
    theirs = fitted(make_pipeline(MinMaxScaler(), MLPClassifier([3], max_iter=2)), CLASSES["two"])
    with pytest.raises(ValueError, match="the step MinMaxScaler has no counterpart"):
        pn.export.from_sklearn(theirs)
    for layers, text in (
        ([pn.Dense(2, "gelu"), pn.Dense(2)], "the activations must be one of identity, sigmoid, tanh, relu"),
        ([pn.Dense(2, "relu"), pn.Dense(2, "tanh"), pn.Dense(2)], "the activations must be one of"),
        ([pn.Dense(2, "relu"), pn.LayerNorm(), pn.Dense(2)], "layer 'layer_norm_1' .* has no counterpart"),
        ([pn.Dense(2, "relu"), pn.Dense(2, "relu")], "and one of softmax, sigmoid, identity at the end"),
    ):
        with pytest.raises(ValueError, match=text):
            pn.export.to_sklearn(pn.Sequential([pn.Input(4), *layers]))
    model = pn.Sequential([pn.Input(4), pn.Dense(3, "softmax")])
    for classes in (["a", "b"], ["a", "a", "b"], "abc"):
        model.metadata["classes"] = classes
        with pytest.raises(ValueError, match=r"metadata\['classes'\] must be 3 different numbers or texts"):
            pn.export.to_sklearn(model)
    with pytest.raises(TypeError, match="model must be a pynet Model"):
        pn.export.to_sklearn(3)


@pytest.mark.parametrize("values", [[5, 6], [False, True], ["1.5", "2.5"], ["a", "b"], [1.5, 2.5]])
def test_classes_of_a_table_are_those_of_its_target(values):
    columns = {"x": np.arange(40.0), "y": np.array(values)[np.arange(40) // 20]}
    options = {"activation": "tanh", "scaling": "standard", "hidden": [3], "epochs": 2}
    model = pn.tabular.TableModel("classes", **options).fit(columns, "y", verbose=0)
    net = pn.export.to_sklearn(model.network)
    expected = model.predict(columns)
    if values[0] == 1.5:  # scikit-learn knows no classes that are fractions
        values, expected = list(map(str, values)), expected.astype(str)
    assert net.classes_.tolist() == values
    assert net.classes_.dtype.kind == np.array(values).dtype.kind
    np.testing.assert_array_equal(net.predict(model.encode(columns)), expected)
