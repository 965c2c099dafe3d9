"""Gradients against central differences of the loss, in float64, through both machines: for every activation and loss,
of every parameter and every input.  Wirings: test_gradients_wiring.py."""

import cases
import helpers
import numpy as np
import pytest
from differences import B, Differences, check, difference, of, one_head, random_inputs

import pynet as pn
from pynet import activations

PARAMETERS = [activations.LeakyReLU(0.3), activations.ELU(0.5), activations.LeCunTanh(-0.2), activations.ISRU(2.5)]
ALL = [activations.get(name) for name in cases.ACTIVATIONS] + PARAMETERS


# ---- activations -------------------------------------------------------------------------------------------------


def fused(activation):
    return lambda x: cases.dense(2)(cases.dense(4, activation)(x))


def stand_alone(activation):
    return lambda x: cases.dense(2)(pn.Activation(activation)(cases.dense(4)(x)))


def on_inputs(activation):
    return lambda x: cases.dense(2)(pn.Activation(activation)(x))


def last(activation):
    return lambda x: cases.dense(2, activation)(x)


def last_alone(activation):
    return lambda x: pn.Activation(activation)(cases.dense(2)(x))


@pytest.mark.parametrize("place", [fused, stand_alone, on_inputs, last, last_alone])
@pytest.mark.parametrize("activation", ALL, ids=repr)
def test_activation(activation, place, executor):
    flat = activation.name in cases.FLAT
    found = check(one_head(place(activation)), [cases.head("mse")], of("mse", 2), executor, flat=flat)
    assert len(found.gradient) >= 3
    if flat and place in (last, last_alone):
        assert not any(g.any() for g in found.gradient.values())


@pytest.mark.parametrize("width", [1, 2, 15, 17])
def test_softmax_of_every_width(width, executor):
    def make(seed):
        x = pn.Input(2)
        h = pn.Concat()([cases.dense(width, "softmax")(x), pn.Activation("softmax")(cases.dense(width)(x))])
        return pn.Model(x, cases.dense(2)(h), dtype="float64", random_state=seed)

    check(make, [cases.head("mse")], of("mse", 2), executor, flat=width == 1)


# ---- losses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, [0.5, 0.0, 2.0]], ids=["plain", "weighted"])
@pytest.mark.parametrize("width", [2, 17])
@pytest.mark.parametrize("absorbs", [True, False], ids=["absorbed", "not absorbed"])
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_loss(loss, width, absorbs, weight, executor):
    activation = cases.LOSSES[loss][0] if absorbs or loss == "poisson" else "identity"  # logits, then
    head = cases.head(loss, absorbs=absorbs)
    weight = None if weight is None else np.array(weight)
    make = one_head(lambda x: cases.dense(width, activation)(x), 2)
    found = check(make, [head], of(loss, width), executor, weight)
    if weight is not None:
        assert not found.gradient["input 0"].reshape(B, -1)[1].any()


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "log_cosh", "quantile"])
def test_loss_of_a_head_with_an_activation(loss, executor):
    check(one_head(lambda x: cases.dense(3, "tanh")(x)), [cases.head(loss)], of(loss, 3), executor)


def test_loss_of_one_output(executor):
    for loss in ("mse", "mae", "huber", "log_cosh", "quantile", "binary_cross_entropy"):
        make = one_head(lambda x, loss=loss: cases.dense(1, cases.LOSSES[loss][0])(x))
        check(make, [cases.head(loss)], of(loss, 1), executor)


def test_every_loss_and_activation_is_here():
    assert set(cases.LOSSES) | {"external"} == set(pn._core.LOSSES)
    assert {a.name for a in ALL} == set(pn._core.ACTIVATIONS)


# ---- penalties ---------------------------------------------------------------------------------------------------


PENALTIES = [{"l1": 0.3}, {"l2": 0.2}, {"l1": 0.1, "l2": 0.4}]


def penalised(penalty):
    def make(seed):
        x = pn.Input(3)
        shared = cases.dense(3, "tanh", name="shared", **penalty)
        model = pn.Model(x, cases.dense(2, **penalty)(shared(shared(x))), dtype="float64", random_state=seed)
        model.set_weights([np.where(np.abs(w) < 0.05, 0.05, w) for w in model.get_weights()])  # |w| has a kink at 0
        return model

    return make


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_penalties(penalty, executor):
    check(penalised(penalty), [cases.head("mse")], of("mse", 2), executor)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_penalties_alone(penalty, executor):
    """No row counts: what is left is the penalty, worked out by hand."""
    model, rng = penalised(penalty)(0), np.random.default_rng(0)
    inputs, targets = random_inputs(model, rng), of("mse", 2)(rng)
    found = Differences(model, [cases.head("mse")], inputs, targets, executor, np.zeros(B))
    l1, l2 = penalty.get("l1", 0), penalty.get("l2", 0)
    kernels = {name: w for name, w in model.parameters().items() if name.endswith("kernel")}
    assert len(kernels) == 2
    for name, w in kernels.items():
        expected = l1 * np.sign(w) + 2 * l2 * w
        helpers.assert_within(found.gradient[name], expected.reshape(-1), 1e-15, name)
    value = sum(l1 * np.abs(w).sum() + l2 * (w * w).sum() for w in kernels.values())
    assert found.value == pytest.approx(value, rel=1e-14)
    found.check(flat=True)


# ---- what the trainer hands out ----------------------------------------------------------------------------------


class Cubed:
    """A loss of one's own: the mean of |d|^3."""

    def value_and_gradient(self, prediction, target):
        d = prediction - target
        return float(np.mean(np.abs(d) ** 3)), 3 * d * np.abs(d) / d.size


@pytest.mark.parametrize("loss", ["huber", Cubed()], ids=["built in", "own"])
@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_trainer_gradients(loss, backend):
    a, b = pn.Input(2, name="a", scale=[0.3, -2.0], shift=1.0), pn.Input(3, name="b")
    y = cases.dense(2)(cases.dense(4, "tanh", l2=0.1)(pn.Concat()([a, b])))
    model, rng = pn.Model([a, b], y, dtype="float64"), np.random.default_rng(0)
    X, t = {"a": rng.normal(size=(B, 2)), "b": rng.normal(size=(B, 3))}, rng.normal(size=(B, 2))
    trainer = pn.Trainer(model, loss, backend=backend)
    gradients = trainer.gradients(X, t)
    places = model.parameters() | X
    assert gradients.keys() == {name for name in places if name not in ("a.scale", "a.shift")}
    before = model.arena.copy()
    for name, gradient in gradients.items():
        direction = rng.normal(size=gradient.shape)

        def moved(step, name=name, direction=direction):
            array = places[name] + step * direction
            if name in X:
                return trainer.evaluate(X | {name: array}, t)["loss"]
            model.load_state_dict({**model.parameters(), name: array})
            return trainer.evaluate(X, t)["loss"]

        estimate = difference(moved, 3e-4)
        model.arena[:] = before
        assert abs(estimate) > 1e-4
        assert np.sum(gradient * direction) == pytest.approx(estimate, rel=1e-9, abs=1e-10)


# ---- kinships ----------------------------------------------------------------------------------------------------


def test_a_tanh_net_is_a_sigmoid_net(executor):
    """tanh(z) = 2 sigmoid(2z) - 1, so one net is the other with weights doubled and biases moved."""
    rng = np.random.default_rng(0)
    nets = []
    for activation in ("tanh", "sigmoid"):
        x = pn.Input(3)
        nets.append(pn.Model(x, cases.dense(2)(cases.dense(4, activation)(x)), dtype="float64"))
    w1, b1, w2, b2 = nets[0].get_weights()
    nets[1].set_weights([2 * w1, 2 * b1, 2 * w2, b2 - w2.sum(axis=0)])
    X, t = rng.normal(size=(B, 3)), rng.normal(size=(B, 2))
    one, other = (Differences(net, [cases.head("mse")], [X], [t], executor, probe=False) for net in nets)
    assert one.value == pytest.approx(other.value, rel=1e-13)
    first, second = one.gradient, other.gradient
    helpers.assert_close(first["input 0"], second["input 0"], 1e-13)
    helpers.assert_close(first["dense_1.kernel"], 2 * second["dense_1.kernel"], 1e-13)
    helpers.assert_close(first["dense_1.bias"], 2 * second["dense_1.bias"], 1e-13)
    through = 2 * second["dense_2.kernel"].reshape(4, 2) - second["dense_2.bias"]  # w2 moves the other's bias as well
    helpers.assert_close(first["dense_2.kernel"].reshape(4, 2), through, 1e-13)


@pytest.mark.parametrize(("activation", "slope"), [("relu", "step"), ("softplus", "sigmoid"), ("sinusoid", None)])
def test_the_gradient_of_a_unit_is_another_activation(activation, slope, executor):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, 5)) * 3
    source = pn.Input(5)
    model = pn.Model(source, pn.Activation(activation)(source), dtype="float64")
    zeros = np.zeros((B, 5))  # mse against 0: dl/dx = 2 y y' / (5 B)
    found = Differences(model, [cases.head("mse")], [x], [zeros], executor, probe=False)
    y = activations.evaluate(activation, x)
    derivative = np.cos(x) if slope is None else activations.evaluate(slope, x)
    assert np.std(derivative) > 0.1
    helpers.assert_close(found.gradient["input 0"].reshape(B, 5), 2 * y * derivative / (5 * B), 1e-14)
