"""Multi-layer perceptrons of scikit-learn, and back."""

from __future__ import annotations

import numpy as np

from .. import _check, layers
from ..files import TABLE
from ..layers import Activation, Dense
from ..model import Model
from ..tables.model import TableModel
from .chains import chain_of, folded
from .libraries import library
from .wiring import Wiring

__all__ = ["from_sklearn", "to_sklearn"]


def from_sklearn(estimator, *, dtype=None) -> Model:
    """Make a model of a fitted MLPClassifier or MLPRegressor of scikit-learn.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, or Pipeline
        Of a pipeline, which ends with one of these, every other step must be a StandardScaler or "passthrough": they
        become `shift` and `scale` of Input.
    dtype : "float32" or "float64", optional
        Default: that of the estimator's weights.

    Returns
    -------
    Model
        ``predict`` returns what ``predict_proba`` does, of a regressor what ``predict`` does, [N, outputs]; of two
        classes no more than the probability of the second, [N, 1].  ``metadata["classes"]`` lists the classes,
        ``metadata["features"]`` the columns, if the estimator knows them.

    Raises
    ------
    TypeError, ValueError
        It is none of these, not fitted, or a step of the pipeline has no counterpart.
    """
    steps = [step for _, step in estimator.steps] if _kind(estimator) == "Pipeline" else [estimator]
    net = steps[-1]
    if _kind(net) not in ("MLPClassifier", "MLPRegressor"):
        raise TypeError(f"estimator must be an MLPClassifier, MLPRegressor or Pipeline of one, got {_shown(net)}")
    if not hasattr(net, "coefs_"):
        raise ValueError(f"{type(net).__name__} must be fitted")
    if net.out_activation_ not in LAST.values():
        raise ValueError(
            f"the output of {type(net).__name__} is {net.out_activation_!r} of a sum, which is no activation of pynet's"
        )
    wiring, width = Wiring(), len(net.coefs_[0])
    shift, scale = np.zeros(width), np.ones(width)
    for step in steps[:-1]:
        if step is None or (isinstance(step, str) and step == "passthrough"):
            continue
        if _kind(step) != "StandardScaler":
            raise ValueError(f"the step {_shown(step)} has no counterpart, expected a StandardScaler")
        if not hasattr(step, "n_features_in_"):
            raise ValueError("StandardScaler must be fitted")
        mean = step.mean_ if step.with_mean else 0.0
        shift, scale = shift + mean / scale, scale / (step.scale_ if step.with_std else 1.0)
    plain = not shift.any(), (scale == 1).all()
    x = layers.Input(width, None, None if plain[1] else scale, None if plain[0] else shift).output
    value = x
    for k, (w, b) in enumerate(zip(net.coefs_, net.intercepts_, strict=True)):
        activation = net.activation if k < len(net.coefs_) - 1 else net.out_activation_
        value = wiring.call(Dense(w.shape[1], activation), value, kernel=w, bias=b)
    model = wiring.model(x, value, net.coefs_[0].dtype.name if dtype is None else _check.float_dtype(dtype))
    if _kind(net) == "MLPClassifier":
        model.metadata["classes"] = np.asarray(net.classes_).tolist()
    if hasattr(steps[0], "feature_names_in_"):
        model.metadata["features"] = [str(name) for name in steps[0].feature_names_in_]
    return model


def _kind(thing) -> str:
    """Return the name of a class of scikit-learn."""
    return type(thing).__name__ if type(thing).__module__.partition(".")[0] == "sklearn" else ""


def _shown(thing) -> str:
    return type(thing).__name__


HIDDEN = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
LAST = {"softmax": "softmax", "sigmoid": "logistic", "identity": "identity"}


def to_sklearn(model):
    """Make a fitted MLPClassifier or MLPRegressor of scikit-learn that predicts the same.

    A softmax or a sigmoid at the end makes a classifier, of ``metadata["classes"]`` (default: 0, 1, ...), of several
    sigmoids one of several labels; nothing at the end a regressor.  Classes of a TableModel's network are what they are
    in its target (fractions are texts, for there are no such classes in scikit-learn).  The scaling of Input is
    multiplied into the first layer; what does nothing in prediction (Dropout) is left out; pruned weights are 0.

    Parameters
    ----------
    model : Model
        Dense layers one behind the other, the hidden ones with the same activation of identity, sigmoid, tanh, relu.

    Returns
    -------
    MLPClassifier or MLPRegressor, of scikit-learn

    Raises
    ------
    ImportError
        scikit-learn is not there.
    TypeError, ValueError
        The model is another one, or its classes are not as many as it has outputs.
    """
    chain_of(model, "to_sklearn")
    network = library("sklearn.neural_network")
    classes = model.metadata.get("classes")
    if TABLE in model.metadata and model.metadata.get("class_kind") != "number":
        classes = TableModel.of(model).classes
    model, arrays = folded(model, "to_sklearn")
    names, dense = [], []
    for layer in chain_of(model, "to_sklearn"):
        if isinstance(layer, Dense):
            dense.append(layer)
            names.append(layer.activation.name)
        elif isinstance(layer, Activation) and names and names[-1] == "identity":
            names[-1] = layer.activation.name
        elif not layer.hands_on:
            raise ValueError(f"layer {model.names[layer]!r} ({layer!r}) has no counterpart in scikit-learn")
    hidden = set(names[:-1]) or {"identity"}
    if not dense or len(hidden) > 1 or not hidden <= HIDDEN.keys() or names[-1] not in LAST:
        raise ValueError(
            f"the activations must be one of {', '.join(HIDDEN)} in all hidden layers, and one of {', '.join(LAST)} at "
            f"the end, got {names}"
        )
    coefs = [arrays[layer, "kernel"] for layer in dense]
    intercepts = [arrays.get((layer, "bias"), np.zeros(layer.units)) for layer in dense]
    last = LAST[names[-1]]
    classes = _classes(classes, last, len(intercepts[-1]))
    ends = [coefs[-1], intercepts[-1]]
    if last == "softmax":
        ends = [array[..., np.argsort(classes)] for array in ends]
        if len(classes) == 2:  # of which scikit-learn has one output, the probability of the second
            ends, last = [array[..., 1:] - array[..., :1] for array in ends], "logistic"
    elif len(classes) == 2 and classes[1] < classes[0]:
        ends = [-array for array in ends]
    coefs[-1], intercepts[-1] = ends
    options = {"hidden_layer_sizes": [len(b) for b in intercepts[:-1]], "activation": HIDDEN[hidden.pop()]}
    net = network.MLPRegressor(**options) if last == "identity" else network.MLPClassifier(**options)
    net.coefs_ = [w.astype(model.dtype) for w in coefs]
    net.intercepts_ = [b.astype(model.dtype) for b in intercepts]
    net.n_layers_, net.n_outputs_, net.out_activation_ = len(coefs) + 1, len(intercepts[-1]), last
    net.n_features_in_ = len(coefs[0])
    net.n_iter_ = net.t_ = 0
    if last != "identity":
        net._label_binarizer = library("sklearn.preprocessing").LabelBinarizer()
        net._label_binarizer.fit(classes if len(classes) else np.eye(net.n_outputs_, dtype=int))
        net.classes_ = net._label_binarizer.classes_
    return net


def _classes(names, last: str, outputs: int) -> np.ndarray:
    """Return the classes of a classifier in the order of its outputs; none where each output is a label of its own."""
    if last == "identity" or (last == "logistic" and outputs > 1):
        return np.zeros(0)
    count = max(outputs, 2)
    classes = np.arange(count) if names is None else np.array(names)
    if classes.shape != (count,) or len(np.unique(classes)) != count:
        raise ValueError(f"metadata['classes'] must be {count} different numbers or texts, got {names}")
    return classes
