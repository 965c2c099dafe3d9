"""Networks of Keras 3 (on PyTorch) as models of pynet's.

Run with  pytest -m oracle  (pip install .[oracle]).
"""

import os
import warnings

import numpy as np
import pytest

import pynet as pn

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras 3 on PyTorch
]


@pytest.fixture(scope="session")
def keras(torch, tmp_path_factory):
    """Keras on PyTorch, its settings in a folder of the tests; the environment is as it was afterwards."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        import keras
    assert keras.backend.backend() == "torch"
    assert "KERAS_BACKEND" not in os.environ
    keras.utils.set_random_seed(0)
    return keras


@pytest.fixture
def float64(keras):
    """Layers of Keras that are made meanwhile are of float64."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def stirred(model, seed=0):
    """The model with all its numbers moved."""
    rng = np.random.default_rng(seed)
    weights = [w + 0.3 * rng.normal(size=w.shape) for w in model.get_weights()]
    names = [variable.path for variable in model.weights]
    model.set_weights([np.abs(w) + 0.1 if "variance" in n else w for n, w in zip(names, weights, strict=True)])
    return model


def check(model, *shapes, bound=1e-6, **options):
    stirred(model)
    rng = np.random.default_rng(1)
    X = [rng.normal(size=(7, *shape)).astype(model.compute_dtype) for shape in shapes]
    theirs = model.predict(X if len(X) > 1 else X[0], verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # here, nothing warns
        made = pn.export.from_keras(model, **options)
    ours = made.predict(X if len(X) > 1 else X[0])
    pairs = list(zip(ours, theirs, strict=True)) if isinstance(theirs, list) else [(ours, theirs)]
    for a, b in pairs:
        assert np.ptp(b) > 1e-3
        np.testing.assert_allclose(a, b, rtol=bound, atol=bound)
    return made


def test_sequential(keras):
    layers = keras.layers
    made = check(
        keras.Sequential(
            [
                keras.Input((4,), name="x"), layers.Dense(6, "relu", name="hidden"), layers.BatchNormalization(),
                layers.Dropout(0.3), layers.GaussianNoise(0.1), layers.LayerNormalization(), layers.PReLU(),
                layers.Dense(5, use_bias=False), layers.LeakyReLU(0.2), layers.ELU(0.5), layers.ReLU(),
                layers.Dense(3, "softmax", name="class"),
            ]
        ),
        (4,),
    )  # fmt: skip
    assert [made.names[made.layers[k]] for k in (0, 1, -1)] == ["x", "hidden", "class"]
    assert made.get_layer("dropout").rate == 0.3


def test_functional(keras, float64):
    """Branches, several inputs and outputs, a layer called twice, a model inside another that is called twice.

    In float64: of float32, sums of so many numbers are 1.2e-6 apart.
    """
    layers = keras.layers
    a, b = keras.Input((4,)), keras.Input((3,))
    shared = layers.Dense(5, "tanh")
    inner_input = keras.Input((5,))
    inner = keras.Model(inner_input, layers.Add()([layers.Dense(5)(inner_input), inner_input]))
    h = shared(layers.Concatenate()([a, b]))
    h = layers.Add()([inner(h), inner(h), h])
    h = layers.Concatenate(axis=1)([h, shared(layers.Concatenate()([b, a])), layers.Identity()(a)])
    outputs = [layers.Softmax()(layers.Dense(3)(h)), layers.Activation("silu")(layers.Dense(2)(h))]
    made = check(keras.Model([a, b], outputs), (4,), (3,))
    assert made.dtype == np.float64
    assert sum(isinstance(layer, pn.Dense) for layer in made.layers) == 4


@pytest.mark.parametrize(
    "name",
    ["linear", "sigmoid", "tanh", "relu", "elu", "selu", "gelu", "silu", "mish", "softplus", "softsign", "hard_sigmoid",
     "hard_tanh", "hard_silu", "leaky_relu"],
)  # fmt: skip
def test_activations(keras, name):
    layers = keras.layers
    check(keras.Sequential([keras.Input((4,)), layers.Dense(6, name), layers.Activation(name), layers.Dense(2)]), (4,))


def test_norms_that_learn_less(keras):
    layers = keras.layers
    norms = [layers.BatchNormalization(center=False, momentum=0.5), layers.BatchNormalization(scale=False, epsilon=0.1)]
    norms += [layers.LayerNormalization(center=False), layers.LayerNormalization(scale=False, epsilon=0.1)]
    made = check(keras.Sequential([keras.Input((4,)), *norms, layers.Dense(2)]), (4,))
    assert [(n.momentum, n.center, n.scale) for n in made.layers[1:3]] == [(0.5, False, True), (0.99, True, False)]


def test_sequences(keras):
    layers = keras.layers
    net = [layers.LSTM(4, return_sequences=True), layers.LSTM(3, use_bias=False), layers.Dense(2)]
    check(keras.Sequential([keras.Input((5, 3)), *net]), (5, 3))
    check(keras.Sequential([keras.Input((5, 3)), layers.LSTM(2, return_sequences=True)]), (5, 3))
    check(keras.Sequential([keras.Input((5, 3)), layers.Flatten(), layers.Dense(2)]), (5, 3))


def test_dtype(keras):
    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert check(net, (4,)).dtype == np.float32
    assert check(net, (4,), dtype="float64").dtype == np.float64


def test_what_has_no_counterpart_is_named(keras):
    layers = keras.layers

    class Mine(layers.Layer):
        def call(self, x):
            return x * 2

    for layer, text in (
        (layers.Conv1D(2, 1, name="odd"), "no such layer"),
        (layers.Dense(2, "exponential", name="odd"), "'exponential' is unknown"),
        (layers.Dense(2, lambda x: x, name="odd"), "is unknown here"),
        (layers.ReLU(max_value=6, name="odd"), "max_value"),
        (layers.LSTM(2, activation="relu", name="odd"), "expected tanh and sigmoid"),
        (layers.LSTM(2, go_backwards=True, name="odd"), "go_backwards"),
        (layers.Dense(2, name="odd"), "takes rows of features"),
        (Mine(name="odd"), "of somebody's own"),
    ):
        with pytest.raises(ValueError, match=f"layer 'odd' .*{text}"):
            pn.export.from_keras(keras.Sequential([keras.Input((5, 3)), layer]))
    with pytest.raises(ValueError, match=r"layer 'wide' .*of a known size"):
        pn.export.from_keras(keras.Sequential([keras.Input((None, 3), name="wide"), layers.LSTM(2)]))
    with pytest.raises(ValueError, match="must be built"):
        pn.export.from_keras(keras.Sequential([layers.Dense(2)]))
    for thing in (3, layers.Dense(2)):
        with pytest.raises(TypeError, match="model must be a Keras model"):
            pn.export.from_keras(thing)
