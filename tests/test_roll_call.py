"""Nobody is forgotten: every kind of op, of random number and of layer stands in a net of nets.py, which all tests of
parity, gradients, bits, plans and files walk."""

import inspect

import fillings
import nets
import numpy as np
import pytest

import pynet as pn
from pynet import _core, activations, kinds, reference_ops, reference_random
from pynet.layer_base import Layer
from pynet.plan import build

MODELS = {name: make() for name, make in nets.NETS.items()}


def ops_of(mode, name):
    model = MODELS[name]
    heads = fillings.heads(model) if mode in ("score", "gradients", "train") else None
    return build(model, heads, mode=mode).ops


def found(mode, kind=None):
    """The kinds of op in the plans of all nets; or, of one kind, what stands in `act`."""
    ops = np.concatenate([ops_of(mode, name) for name in nets.NETS])
    return set((ops["kind"] if kind is None else ops["act"][ops["kind"] == _core.OPS[kind]]).tolist())


def numbers(roll, *names):
    return {roll[name] for name in names}


def test_every_kind_of_op():
    """In training; metrics do not train, and their tests stand elsewhere (test_metrics.py)."""
    assert found("train") == set(_core.OPS.values()) - numbers(_core.OPS, "metric")
    frozen = set(_core.OPS.values()) - numbers(_core.OPS, "metric", "batch_norm", "random")
    assert found("gradients") == frozen
    assert found("score") == frozen - numbers(_core.OPS, "gradient_clip")
    assert found("predict") == frozen - numbers(_core.OPS, "gradient_clip", "loss")
    assert found("sample") == found("predict") | numbers(_core.OPS, "random")


def test_every_random_number():
    assert found("train", "random") == found("sample", "random") == set(_core.RANDOM.values())


def test_every_clip_of_gradients():
    assert found("train", "gradient_clip") == set(_core.CLIPS.values())


def test_both_machines_know_every_op():
    heads = numbers(_core.OPS, "loss", "metric")
    assert set(reference_ops.UP) == set(reference_ops.DOWN) == set(_core.OPS.values()) - heads
    assert set(reference_random.FUNCTIONS) == set(_core.RANDOM.values())


def test_every_kind_of_layer():
    used = {type(layer).__name__ for model in MODELS.values() for layer in model.layers}
    assert used == set(kinds.KINDS) | {"PythonLayer", "CompactDense"}  # which no file may name
    public = {name for name, thing in vars(pn).items() if inspect.isclass(thing) and issubclass(thing, Layer)}
    assert public == used - {"CompactDense"}  # which Model.compact makes


def test_every_activation_that_is_not_in_the_table():
    """Those of the table have tests of their own (test_activations.py)."""
    used = {layer.activation.name for model in MODELS.values() for layer in model.layers if layer.activation}
    assert used >= set(activations.RANDOM) | {activations.Function.name}
    fused = {layer.activation.name for m in MODELS.values() for layer in m.layers if type(layer) is pn.Dense}
    assert fused >= set(activations.RANDOM) | {activations.Function.name}


@pytest.mark.parametrize("kind", kinds.KINDS.values())
def test_every_option_of_every_layer(kind):
    """Some net has it, and not always with its default."""
    parameters = inspect.signature(kind).parameters
    layers = [layer for model in MODELS.values() for layer in model.layers if type(layer) is kind]
    elsewhere = {"Input": {"scale", "shift"}, "Dense": {"kernel_initializer", "l1"}}  # test_parity_options.py ...
    for option in set(kind.options) - elsewhere.get(kind.__name__, set()):
        default = parameters[option].default
        if default is not inspect.Parameter.empty:
            assert any(getattr(layer, option) != default for layer in layers), option
