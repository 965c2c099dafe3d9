"""Layers where it hurts: blocks of layers, files that claim impossible widths, rates of 0, layers no file can carry."""

import tracemalloc

import numpy as np
import pytest

import pynet as pn
from pynet.restore import model_from_config

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 4)).astype(np.float32)
Y = RNG.standard_normal((12, 3)).astype(np.float32)


# ---- Residual ----------------------------------------------------------------------------------------------------


def test_a_projection_is_not_left_out_because_the_value_is_a_sequence():
    block = pn.Residual([pn.LSTM(3, return_sequences=True)], projection=True)
    with pytest.raises(ValueError, match=r"a projection takes rows of features .* got \(2, 3\) and \(2, 3\)"):
        block(pn.Input((2, 3)))


def test_penalties_of_a_block_reach_the_blocks_inside_it():
    own, inner, outer = pn.Dense(4, l2=0.5), pn.Dense(4), pn.Dense(4)
    x = pn.Input(4)
    nested = pn.Residual([own, inner], projection=True, l1=0.25)
    value = pn.Residual([nested, outer], l1=0.125, l2=0.1, max_norm=2.0)(x)
    shortcut = next(v.layer for v in value.inputs[1].inputs[0].inputs if isinstance(v.layer, pn.Dense))
    assert shortcut is nested.shortcut
    for layer, expected in ((own, (0.25, 0.5)), (inner, (0.25, 0.1)), (shortcut, (0.25, 0.1)), (outer, (0.125, 0.1))):
        assert (layer.l1, layer.l2, layer.max_norm) == (*expected, 2.0)
