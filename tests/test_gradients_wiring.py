"""Gradients against central differences, in float64, through both machines: for every way to wire layers, of every
parameter and every input."""

import cases
import numpy as np
import pytest
from differences import B, check, of, one_head

import pynet as pn


def chain(x):
    for width in (5, 17, 4, 3):
        x = cases.dense(width, "tanh")(x)
    return cases.dense(2, use_bias=False)(x)


def add_of_three(x):
    return cases.dense(2)(pn.Add()([cases.dense(4, "tanh")(x), cases.dense(4)(x), cases.dense(4, "silu")(x)]))


def add_of_one_twice(x):
    h = cases.dense(4, "tanh")(x)
    return cases.dense(2)(pn.Add()([h, h]))


def concat(x):
    return cases.dense(2)(pn.Concat()([cases.dense(5, "tanh")(x), x, cases.dense(15)(x), cases.dense(1, "silu")(x)]))


def concat_of_one_twice(x):
    h = cases.dense(4, "tanh")(x)
    return cases.dense(2)(pn.Concat()([h, h, pn.Activation("silu")(h)]))


def shared_three_times(x):
    shared = cases.dense(3, "tanh", name="shared")
    return cases.dense(2)(shared(shared(shared(x))))


def shared_side_by_side(x):
    shared = cases.dense(4, "silu", name="shared")
    return cases.dense(2)(pn.Concat()([shared(cases.dense(3, "tanh")(x)), shared(x)]))


def diamond(x):
    h = cases.dense(4, "tanh")(x)
    a, b = cases.dense(4, "silu")(h), pn.Activation("sinusoid")(h)
    return cases.dense(2)(pn.Add()([pn.Add()([a, b]), pn.Add()([a, h])]))


def residual(x):
    h = cases.dense(4)(x)
    for _ in range(2):
        h = pn.Residual([cases.dense(6, "tanh"), cases.dense(4)])(h)
    return cases.dense(2)(h)


def dense_net(x):  # every layer reads all before it
    for _ in range(3):
        x = pn.Concat()([x, cases.dense(3, "tanh")(x)])
    return cases.dense(2)(x)


def activations_in_a_row(x):
    return pn.Activation("sinusoid")(pn.Activation("tanh")(pn.Activation("silu")(cases.dense(2)(x))))


WIRINGS = [
    chain, add_of_three, add_of_one_twice, concat, concat_of_one_twice, shared_three_times, shared_side_by_side,
    diamond, residual, dense_net, activations_in_a_row,
]  # fmt: skip


@pytest.mark.parametrize("wiring", WIRINGS)
def test_wiring(wiring, executor):
    check(one_head(wiring), [cases.head("mse")], of("mse", 2), executor)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 0.2)])
def test_two_heads(weights, executor):
    heads = [cases.head("cross_entropy_index", weights[0]), cases.head("huber", weights[1])]

    def make(seed):
        x = pn.Input(3)
        h = cases.dense(4, "tanh")(x)
        return pn.Model(x, [cases.dense(3, "softmax")(h), cases.dense(2)(h)], dtype="float64", random_state=seed)

    def targets(rng):
        return [cases.target("cross_entropy_index", B, 3, rng), cases.target("mse", B, 2, rng)]

    check(make, heads, targets, executor, np.array([1.0, 3.0, 0.5]))


def test_a_head_in_the_middle_and_one_without_loss(executor):
    def make(seed):
        x = pn.Input(3)
        middle = cases.dense(4, "tanh", name="middle")(x)
        top = cases.dense(2, name="top")(middle)
        return pn.Model(x, [top, middle, cases.dense(5, name="idle")(middle)], dtype="float64", random_state=seed)

    found = check(make, [cases.head("mse"), cases.head("mae", 0.3), None], of("mse", 2, 4), executor)
    assert "idle.kernel" not in found.gradient


def test_two_losses_on_one_value(executor):
    def make(seed):
        x = pn.Input(3)
        y = cases.dense(2, "tanh")(x)
        return pn.Model(x, [y, y], dtype="float64", random_state=seed)

    check(make, [cases.head("mse"), cases.head("log_cosh", 0.4)], of("mse", 2, 2), executor)


def test_several_inputs_with_scale_and_shift(executor):
    def make(seed):
        a, b = pn.Input(2, name="a", scale=[0.3, -2.0], shift=[1.0, 0.1]), pn.Input(3, name="b", shift=0.5)
        c = pn.Input(1, name="c", scale=4.0)
        h = cases.dense(4, "tanh")(pn.Concat()([a, b]))
        y = cases.dense(2)(pn.Concat()([h, c, a]))
        return pn.Model([a, b, c], y, dtype="float64", random_state=seed)

    found = check(make, [cases.head("mse")], of("mse", 2), executor)
    assert {"input 0", "input 1", "input 2"} <= found.gradient.keys()
    assert not {"a.scale", "a.shift", "b.shift", "c.scale"} & found.gradient.keys()


@pytest.mark.parametrize("frozen", [["a"], ["b"], ["a", "b"], ["b", "c"]], ids=str)
def test_frozen_layers_pass_gradients_on(frozen, executor):
    def make(seed):
        x = pn.Input(3)
        h = x
        for name in "abc":
            h = cases.dense(3, "tanh", name=name, trainable=name not in frozen)(h)
        return pn.Model(x, h, dtype="float64", random_state=seed)

    found = check(make, [cases.head("mse")], of("mse", 3), executor)
    assert {name.split(".")[0] for name in found.gradient} == set("abc") - set(frozen) | {"input 0"}
