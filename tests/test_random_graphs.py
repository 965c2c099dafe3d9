"""Random small graphs, seeded: every layer behind every other, shared, read twice, at the end, several ends, several
losses.  A second evaluation, written from the definitions of the layers (definitions.py), says what both machines must
find in every mode: what a planner folds, hands on or drops may not show.
"""

import numpy as np
import pytest
from definitions import MIX, ROWS, Truth, true_loss

import pynet as pn

N_GRAPHS = 200

# ---- graphs ------------------------------------------------------------------------------------------------------

ACTIVATIONS = [None, None, "relu", "relu", "tanh", "sigmoid", "softmax", "gelu"]


def wave():
    return pn.activations.Function(lambda x: np.sin(2 * x) / 2, lambda x: np.cos(2 * x))


def python_layer(width, out):
    mix = MIX[:width, :out]
    return pn.PythonLayer(lambda x: np.sin(x) @ mix, lambda x, y, dy: (dy @ mix.T) * np.cos(x), out)


def activation(rng):
    kind = rng.integers(0, 10)
    if kind == 0:
        return pn.activations.NoisyReLU(0.5 if rng.random() < 0.5 else None)
    if kind == 1:
        return pn.activations.RReLU(0.1, 0.4)
    return wave() if kind == 2 else ACTIVATIONS[rng.integers(len(ACTIVATIONS))]


def flat_layer(rng, width):
    """A layer for a row of features."""
    out = int(rng.integers(1, 9))
    makers = [
        lambda: pn.Dense(out, activation=activation(rng), use_bias=rng.random() < 0.8, l2=0.01 * (rng.random() < 0.2)),
        lambda: pn.Dense(out, trainable=False),
        lambda: pn.Activation(activation(rng)),
        lambda: pn.BatchNorm(momentum=0.7, center=rng.random() < 0.8, trainable=rng.random() < 0.8),
        lambda: pn.LayerNorm(scale=rng.random() < 0.7),
        lambda: pn.InstanceNorm(),
        lambda: pn.Dropout(0.0),
        lambda: pn.GaussianNoise(0.2),
        lambda: pn.PReLU(shared=rng.random() < 0.5),
        lambda: pn.GradientClip(pn.ClipNorm(1e9)),
        lambda: pn.Flatten(),
        lambda: python_layer(width, out),
    ]
    return makers[rng.integers(len(makers))]()


def folding_layer(rng):
    """A layer that a planner may make a part of the Dense in front of it."""
    makers = [
        lambda: pn.BatchNorm(),
        lambda: pn.Dropout(0.4),
        lambda: pn.Activation(["relu", "softmax"][rng.integers(2)]),
    ]
    return makers[rng.integers(len(makers))]()


def sequence_layer(rng):
    """A layer for a sequence."""
    makers = [
        lambda: pn.LSTM(int(rng.integers(1, 5)), return_sequences=rng.random() < 0.5),
        lambda: pn.Flatten(),
        lambda: pn.Dropout(0.4),
        lambda: pn.GaussianNoise(0.2),
        lambda: pn.Activation("tanh"),
        lambda: pn.PReLU(),
        lambda: pn.GradientClip(pn.ClipNorm(1e9)),
    ]
    return makers[rng.integers(len(makers))]()


def grow(rng):
    """A random graph: (inputs, values), every input being read."""
    inputs = [pn.Input(int(rng.integers(2, 7)), scale=0.5 if rng.random() < 0.3 else None).output]
    if rng.random() < 0.35:
        inputs.append(pn.Input((3, int(rng.integers(1, 4)))).output)
    values, made = list(inputs), []
    for step in range(int(rng.integers(3, 9))):
        x = (
            inputs[step]
            if step < len(inputs)
            else values[rng.integers(-min(len(values), 4), 0) if rng.random() < 0.4 else -1]
        )
        alike = [v for v in values if v.shape == x.shape]
        flat = [v for v in values if len(v.shape) == 1]
        masks = [v for v in flat if v.width == x.shape[0]]
        chance = rng.random()
        if chance > 0.75 and len(x.shape) == 1:
            values.append(pn.Dense(int(rng.integers(2, 9)), activation=["relu", None][rng.integers(2)])(x))
            for _ in range(rng.integers(1, 5)):
                values.append(folding_layer(rng)(values[-1]))
        elif chance < 0.15 and step >= len(inputs):
            values.append(pn.Add()([x, *(alike[rng.integers(len(alike))] for _ in range(rng.integers(1, 3)))]))
        elif chance < 0.25 and len(x.shape) == 1:
            values.append(pn.Concat()([x, flat[rng.integers(len(flat))]]))
        elif chance < 0.4 and len(x.shape) == 2 and masks:
            values.append(pn.LSTM(3, return_sequences=rng.random() < 0.5)([x, masks[rng.integers(len(masks))]]))
        else:
            again = [layer for layer, shape in made if shape == x.shape]
            layer = flat_layer(rng, x.width) if len(x.shape) == 1 else sequence_layer(rng)
            if again and rng.random() < 0.2:
                layer = again[rng.integers(len(again))]
            if isinstance(layer, pn.PythonLayer) and x.width > len(MIX):
                layer = pn.Flatten()
            made.append((layer, x.shape))
            values.append(layer(x))
    return inputs, values


def model_of(rng):
    inputs, values = grow(rng)
    read = {v for value in values for v in value.inputs}
    ends = [v for v in values if v not in read]
    extra = [v for v in values if v in read]
    ends += [extra[rng.integers(len(extra))] for _ in range(rng.integers(0, 3))]  # read, and an end as well; twice
    ends = [ends[i] for i in rng.permutation(len(ends))][:16]
    model = pn.Model(inputs, ends, dtype="float64", random_state=int(rng.integers(1000)))
    state = {name: array + 0.3 * rng.standard_normal(array.shape) for name, array in model.state_dict().items()}
    model.load_state_dict({n: np.abs(a) + 0.1 if n.endswith((".variance", ".scale")) else a for n, a in state.items()})
    return model


# ---- heads -----------------------------------------------------------------------------------------------------------


class Halved:
    """A loss of the user's own: half of the mean over the batch of the sum of squares."""

    def value_and_gradient(self, prediction, target):
        return float(((prediction - target) ** 2).sum()) / 2 / len(target), (prediction - target) / len(target)


def losses_of(rng, model, external):
    """For each output a loss and targets, or (None, None); the first of them has a loss."""
    chosen = []
    for k, value in enumerate(model.outputs):
        name, width = value.activation.name, value.width
        target = rng.standard_normal((ROWS, width))
        if k and rng.random() < 0.25:
            chosen.append((None, None))
        elif name == "softmax" and width > 1 and rng.random() < 0.8:
            chosen.append(("cross_entropy", rng.integers(0, width, ROWS)))
        elif name == "sigmoid" and rng.random() < 0.8:
            chosen.append(("binary_cross_entropy", rng.integers(0, 2, (ROWS, width)).astype(float)))
        else:
            chosen.append((Halved() if external and rng.random() < 0.5 else "mse", target))
    return chosen


# ---- the tests -------------------------------------------------------------------------------------------------------

CLOSE = {"rtol": 1e-9, "atol": 1e-10}


def case(seed):
    rng = np.random.default_rng(seed)
    model = model_of(rng)
    X = [rng.standard_normal((ROWS, *value.shape)) for value in model.inputs]
    return rng, model, X, (X if len(X) > 1 else X[0])


def listed(result):
    return result if isinstance(result, list) else [result]


@pytest.mark.filterwarnings("ignore:dropout:UserWarning")
@pytest.mark.parametrize("seed", range(N_GRAPHS))
def test_predictions_are_those_of_the_definitions(seed):
    _, model, X, given = case(seed)
    expected = Truth(model, model.parameters()).values(X)
    for backend in ("c", "numpy"):
        for y, value in zip(listed(model.predict(given, batch_size=4, backend=backend)), model.outputs, strict=True):
            np.testing.assert_allclose(y, expected[value], **CLOSE)
    if any(is_random(value.layer) for value in model.nodes):
        drawn = Truth(model, model.parameters(), random=True, seed=7).values(X)
        for backend in ("c", "numpy"):
            answer = model.predict(given, mc_samples=1, random_state=7, batch_size=4, backend=backend)
            for y, value in zip(listed(answer), model.outputs, strict=True):
                np.testing.assert_allclose(y, drawn[value], **CLOSE)


def is_random(layer):
    return (
        getattr(layer, "rate", 0) > 0
        or isinstance(layer, pn.GaussianNoise)
        or bool(layer.activation and layer.activation.random)
    )


def slope(f, params, X, along, epsilon=1e-6):
    """Derivative of f(params, X) in a direction of both, by central differences."""

    def at(t):
        return f(
            {n: a + t * along.get(n, 0) for n, a in params.items()},
            [x + t * d for x, d in zip(X, along["X"], strict=True)],
        )

    return (at(epsilon) - at(-epsilon)) / (2 * epsilon)


@pytest.mark.filterwarnings("ignore:dropout:UserWarning")
@pytest.mark.parametrize("seed", range(N_GRAPHS))
def test_losses_gradients_and_steps_are_those_of_the_definitions(seed):
    rng, model, X, given = case(seed + 10_000)
    external = rng.random() < 0.2
    weight = None if external or rng.random() < 0.6 else rng.integers(1, 4, ROWS).astype(float)
    chosen = losses_of(rng, model, external)
    targets = [t for loss, t in chosen if loss]
    y = targets if len(targets) > 1 else targets[0]
    params = model.parameters()
    along = {n: rng.standard_normal(a.shape) for n, a in params.items() if trains(model, n)}
    along["X"] = [rng.standard_normal(x.shape) for x in X]
    found = {}
    for backend in ("c", "numpy"):
        model.load_state_dict(params)
        trainer = pn.Trainer(
            model, [loss for loss, _ in chosen] if len(chosen) > 1 else chosen[0][0], pn.SGD(0.01), backend=backend,
            random_state=3,
        )  # fmt: skip
        assert trainer.evaluate(given, y, batch_size=4, sample_weight=weight)["loss"] == pytest.approx(
            true_loss(model, params, X, chosen, weight=weight)[0], rel=1e-9
        )
        for training in (False, True):
            how = {"weight": weight, "random": training, "batch": training, "seed": 3}
            gradients = trainer.gradients(given, y, sample_weight=weight, training=training)
            expected = slope(lambda p, x, how=how: true_loss(model, p, x, chosen, **how)[0], params, X, along)
            scale = sum(np.abs(g).sum() for g in gradients.values())
            assert dot(model, gradients, along) == pytest.approx(expected, rel=1e-5, abs=1e-6 * (1 + scale))
        loss, running = true_loss(model, params, X, chosen, **how)
        assert trainer.train_on_batch(given, y, sample_weight=weight)["loss"] == pytest.approx(loss, rel=1e-9)
        after = model.parameters()
        for name, old in params.items():
            if name in running:
                np.testing.assert_allclose(after[name], running[name], **CLOSE)
            else:
                np.testing.assert_allclose(after[name], old - 0.01 * gradients.get(name, np.zeros(old.shape)), **CLOSE)
        for _ in range(2):
            trainer.train_on_batch(given, y, sample_weight=weight)
        found[backend] = model.parameters()
    for name in params:
        np.testing.assert_allclose(found["c"][name], found["numpy"][name], rtol=1e-8, atol=1e-9)


def trains(model, name):
    layer, _, suffix = name.rpartition(".")
    layer = model.get_layer(layer)
    fixed = {"mean", "variance", "scale", "shift"} if isinstance(layer, (pn.BatchNorm, pn.Input)) else set()
    if isinstance(layer, pn.BatchNorm):
        fixed |= ({"beta"} if not layer.center else set()) | ({"gamma"} if not layer.scale else set())
    return layer.trainable and suffix not in fixed


def dot(model, gradients, along):
    total = sum((gradients[n] * d).sum() for n, d in along.items() if n in gradients)
    for value, d in zip(model.inputs, along["X"], strict=True):
        name = model.names[value.layer]
        total += (gradients[name].reshape(d.shape) * d).sum() if name in gradients else 0
    return total
