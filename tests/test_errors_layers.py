"""The table of bad arguments of layers: each is refused by name, with what came and what was expected."""

import numpy as np
import pytest

import pynet as pn
from pynet import activations

X3, SEQUENCE = pn.Input(3), pn.Input((4, 2))
MASK = pn.Input(4)
A = np.zeros((12, 3))
NAN = float("nan")


def rows(*layers):
    return lambda: pn.Sequential([pn.Input(3), *layers])


def steps(*layers):
    return lambda: pn.Sequential([pn.Input((4, 2)), *layers])


def called_twice(layer, first, second):
    def call():
        layer(first)
        layer(second)

    return call


def changed(layer, **attributes):
    def call():
        for name, value in attributes.items():
            setattr(layer, name, value)

    return call


MUST = "must be a number, got"
FLAT = r"takes rows of features, got shape \(4, 2\); put an LSTM or pn.Flatten\(\) before it"
ROWS = [
    ("rate text", lambda: pn.Dropout("0.5"), TypeError, rf"rate of Dropout {MUST} str '0.5'"),
    ("rate None", lambda: pn.Dropout(None), TypeError, rf"rate of Dropout {MUST} NoneType None"),
    ("rate bool", lambda: pn.Dropout(True), TypeError, rf"rate of Dropout {MUST} bool True"),
    ("rate 1", lambda: pn.Dropout(1.0), ValueError, r"rate of Dropout must be >= 0 and < 1, got 1.0"),
    ("rate 50", lambda: pn.Dropout(50), ValueError, r"rate of Dropout must be >= 0 and < 1, got 50"),
    ("rate negative", lambda: pn.Dropout(-0.1), ValueError, r"rate of Dropout must be finite and >= 0, got -0.1"),
    ("rate NaN", lambda: pn.Dropout(NAN), ValueError, r"rate of Dropout must be finite and >= 0, got nan"),
    ("stddev negative", lambda: pn.GaussianNoise(-1), ValueError, r"stddev of GaussianNoise .* >= 0, got -1"),
    ("stddev infinite", lambda: pn.GaussianNoise(float("inf")), ValueError, r"stddev of GaussianNoise must be finite"),
    ("stddev list", lambda: pn.GaussianNoise([1.0]), TypeError, rf"stddev of GaussianNoise {MUST} list \[1.0\]"),
    ("noisy_relu 0", lambda: activations.NoisyReLU(0.0), ValueError, r"noisy_relu scale must be finite and > 0, got"),
    ("noisy_relu text", lambda: activations.NoisyReLU("a"), TypeError, rf"noisy_relu scale {MUST} str 'a'"),
    ("noisy_relu name", lambda: pn.Dense(3, "noisy_rellu"), ValueError, r"'noisy_rellu', did you mean 'noisy_relu'\?"),
    ("rrelu bounds", lambda: activations.RReLU(0.5, 0.2), ValueError, r"rrelu upper must be .*>= 0.5, got 0.2"),
    ("rrelu lower", lambda: activations.RReLU(-0.5), ValueError, r"rrelu lower must be .*>= 0, got -0.5"),
    ("rrelu option", lambda: pn.Dense(3, {"name": "rrelu", "low": 1}), ValueError, r"no parameter 'low', did you"),
    ("function f", lambda: activations.Function(3, np.cos), TypeError, r"f of Function must be callable, got int 3"),
    ("function df", lambda: activations.Function(np.sin, None), TypeError, r"df of Function must be callable, got No"),
    ("momentum 1.5", lambda: pn.BatchNorm(1.5), ValueError, r"momentum of BatchNorm must be .*<= 1, got 1.5"),
    ("momentum text", lambda: pn.BatchNorm("0.9"), TypeError, rf"momentum of BatchNorm {MUST} str '0.9'"),
    ("epsilon 0", lambda: pn.BatchNorm(epsilon=0), ValueError, r"epsilon of BatchNorm must be finite and > 0, got 0"),
    ("center 1", lambda: pn.BatchNorm(center=1), TypeError, r"center must be True or False, got int 1"),
    ("scale None", lambda: pn.BatchNorm(scale=None), TypeError, r"scale must be True or False, got NoneType None"),
    ("trainable", lambda: pn.BatchNorm(trainable="no"), TypeError, r"trainable must be True or False, got str 'no'"),
    ("epsilon too small", rows(pn.LayerNorm(1e-50)), ValueError, r"layer 'layer_norm_1': epsilon 1e-50 is 0 in fl"),
    ("epsilon of layer norm", lambda: pn.LayerNorm(-1e-5), ValueError, r"epsilon of LayerNorm .*> 0, got -1e-05"),
    ("scale of layer norm", lambda: pn.LayerNorm(scale="x"), TypeError, r"scale must be True or False, got str 'x'"),
    ("epsilon of instance norm", lambda: pn.InstanceNorm(NAN), ValueError, r"epsilon of InstanceNorm .*got nan"),
    ("instance norm learns nothing", lambda: pn.InstanceNorm(center=True), TypeError, r"center"),
    ("norm of sequences", steps(pn.BatchNorm()), ValueError, FLAT),
    ("norm of sequences 2", steps(pn.LayerNorm()), ValueError, r"LayerNorm\(\) takes rows of features, got shape"),
    ("norm of other widths", called_twice(pn.BatchNorm(), X3, MASK), ValueError, r"was built for width 3, got 4"),
    ("norm of two values", lambda: pn.BatchNorm()([X3, X3]), TypeError, r"the input of BatchNorm\(\) must be pn.Input"),
    ("norm of an array", lambda: pn.BatchNorm()(A), TypeError, r"the input of BatchNorm\(\) .*ndarray of shape"),
    ("alpha", lambda: pn.PReLU("0.25"), TypeError, rf"initial of PReLU {MUST} str '0.25'"),
    ("alpha NaN", lambda: pn.PReLU(NAN), ValueError, r"initial of PReLU must be finite, got nan"),
    ("shared", lambda: pn.PReLU(shared=1), TypeError, r"shared must be True or False, got int 1"),
    ("slopes of other widths", called_twice(pn.PReLU(), X3, MASK), ValueError, r"was built for width 3, got 4"),
    ("clip None", lambda: pn.GradientClip(None), TypeError, r"clip of GradientClip must be one of pn.ClipNorm, .*None"),
    ("clip number", lambda: pn.GradientClip(1.0), TypeError, r"clip must be a name or an object of .*got float 1.0"),
    ("two clips", lambda: pn.GradientClip([pn.ClipNorm(1), pn.SignGradient()]), TypeError, r"must be one of pn.Cl"),
    ("clip name", lambda: pn.GradientClip("clipnorm"), ValueError, r"clip 'clipnorm', did you mean 'clip_norm'"),
    ("clip without c", lambda: pn.GradientClip("clip_norm"), ValueError, r"clip_norm"),
    ("units 0", lambda: pn.LSTM(0), ValueError, r"units of LSTM must be in 1..1048576, got 0"),
    ("units huge", lambda: pn.LSTM(2**20 + 1), ValueError, r"units of LSTM must be in 1..1048576, got 1048577"),
    ("units fraction", lambda: pn.LSTM(2.0), TypeError, r"units of LSTM must be an integer, got float 2.0"),
    ("return_sequences", lambda: pn.LSTM(2, return_sequences=1), TypeError, r"return_sequences must be True or False"),
    ("initializer", lambda: pn.LSTM(2, kernel_initializer="xavier"), ValueError, r"unknown initializer 'xavier'"),
    ("recurrent", lambda: pn.LSTM(2, recurrent_initializer=3), TypeError, r"initializer must be a name or an object"),
    ("forget_bias", lambda: pn.LSTM(2, forget_bias="1"), TypeError, rf"forget_bias {MUST} str '1'"),
    ("l2 of LSTM", lambda: pn.LSTM(2, l2=-1), ValueError, r"l2 must be finite and >= 0, got -1"),
    ("rows into LSTM", rows(pn.LSTM(2)), ValueError, r"a sequence of shape \(steps, features\), got shape \(3,\)"),
    ("LSTM, then LSTM", steps(pn.LSTM(3), pn.LSTM(2)), ValueError, r"takes a sequence of shape .*got shape \(3,\)"),
    ("mask of other steps", lambda: pn.LSTM(2)([SEQUENCE, X3]), ValueError,
        r"the mask of LSTM\(2\) must have shape \(4,\), one number for each step, got \(3,\)"),
    ("mask of features", lambda: pn.LSTM(2)([SEQUENCE, SEQUENCE]), ValueError, r"the mask .*\(4,\).* got \(4, 2\)"),
    ("mask first", lambda: pn.LSTM(2)([MASK, SEQUENCE]), ValueError, r"takes a sequence of shape .*got shape \(4,\)"),
    ("three values", lambda: pn.LSTM(2)([SEQUENCE, MASK, MASK]), ValueError, r"or a list \[sequence, mask\], got 3"),
    ("no values", lambda: pn.LSTM(2)([]), ValueError, r"the inputs of LSTM\(2\) must name at least one value"),
    ("mask is an array", lambda: pn.LSTM(2)([SEQUENCE, A]), TypeError, r"inputs of LSTM\(2\)\[1\] .*ndarray of shape"),
    ("other features", called_twice(pn.LSTM(2), SEQUENCE, pn.Input((4, 3))), ValueError, r"for 2 features, got 3"),
    ("constant kernel", steps(pn.LSTM(2, kernel_initializer="zeros")), ValueError, r"'lstm_1.kernel': .*constant|fill"),
    ("dense on sequences", steps(pn.Dense(2)), ValueError, FLAT),
    ("forward", lambda: pn.PythonLayer(3, abs, 2), TypeError, r"forward of PythonLayer must be callable, got int 3"),
    ("backward", lambda: pn.PythonLayer(abs, "x", 2), TypeError, r"backward of PythonLayer must be callable, got str"),
    ("output_size", lambda: pn.PythonLayer(abs, abs, 0), ValueError, r"output_size of PythonLayer must be in 1..16777"),
    ("output_size text", lambda: pn.PythonLayer(abs, abs, "2"), TypeError, r"output_size .* an integer, got str '2'"),
    ("python on sequences", steps(pn.PythonLayer(abs, abs, 2)), ValueError, FLAT),
    ("max_norm 0", lambda: pn.Dense(3, max_norm=0), ValueError, r"max_norm must be finite and > 0, got 0"),
    ("max_norm text", lambda: pn.Dense(3, max_norm="1"), TypeError, rf"max_norm {MUST} str '1'"),
    ("block max_norm", lambda: pn.Residual([pn.Dense(3)], max_norm=-1), ValueError, r"max_norm must be .*> 0, got -1"),
    ("block l1", lambda: pn.Residual([pn.Dense(3)], l1="a"), TypeError, rf"l1 {MUST} str 'a'"),
    ("projection", lambda: pn.Residual([pn.Dense(3)], projection=1), TypeError, r"projection must be True or False"),
    ("block empty", lambda: pn.Residual([]), TypeError, r"layers of Residual must be a list of at least one layer"),
    ("block of a class", lambda: pn.Residual([pn.Dense])(X3), TypeError, r"Residual: layer 0 must be a layer, got t"),
    ("block widths", lambda: pn.Residual([pn.Dense(5)])(X3), ValueError, r"width 3 into 5.*projection=True\) fits"),
    ("block on sequences", lambda: pn.Residual([pn.LSTM(3, True)])(SEQUENCE), ValueError, r"\(4, 2\) into \(4, 3\)"),
    ("shape of three", lambda: pn.Input((2, 3, 4)), ValueError, r"shape of Input must be the number of features"),
    ("steps 0", lambda: pn.Input((0, 3)), ValueError, r"shape of Input must be in 1..16777216, got 0"),
    ("steps text", lambda: pn.Input(("a", 3)), TypeError, r"shape of Input must be an integer, got str 'a'"),
    ("shape huge", lambda: pn.Input((1 << 13, 1 << 13)), ValueError, r"shape of Input must have at most 16777216 elem"),
    ("scale of a sequence", lambda: pn.Input((4, 2), scale=[1, 2, 3, 4]), ValueError, r"scale of Input .*shape \(4,\)"),
    ("concat of sequences", lambda: pn.Concat()([SEQUENCE, SEQUENCE]), ValueError, FLAT),
    ("add of sequences", lambda: pn.Add()([SEQUENCE, pn.Input((2, 4))]), ValueError, r"one width expected, got \(4, 2"),
    ("softmax of sequences", steps(pn.Activation("softmax")), ValueError, FLAT),
    ("rate_factor negative", changed(pn.Dense(2), rate_factor=-1), ValueError, r"rate_factor must be .*>= 0, got -1"),
    ("trainable set to 0", changed(pn.Dense(2), trainable=0), TypeError, r"trainable must be True or False, got int 0"),
    ("max_norm set to 0", changed(pn.Dense(2), max_norm=0), ValueError, r"max_norm must be finite and > 0, got 0"),
    ("l1 set to text", changed(pn.Dense(2), l1="1"), TypeError, rf"l1 {MUST} str '1'"),
    ("l2 of LSTM set to NaN", changed(pn.LSTM(2), l2=NAN), ValueError, r"l2 must be finite and >= 0, got nan"),
    ("rate set to 1", changed(pn.Dropout(0.5), rate=1), ValueError, r"rate of Dropout must be >= 0 and < 1, got 1"),
    ("stddev set to -1", changed(pn.GaussianNoise(1), stddev=-1), ValueError, r"stddev of GaussianNoise must be"),
    ("momentum set to 2", changed(pn.BatchNorm(), momentum=2), ValueError, r"momentum of BatchNorm must be .*<= 1"),
    ("rate_factor text", changed(pn.Dense(2), rate_factor="1"), TypeError, rf"rate_factor {MUST} str '1'"),
    ("training", lambda: pn.Trainer(pn.Sequential([X3, pn.Dense(2)]), "mse").gradients(A, A[:, :2], training=1),
        TypeError, r"training must be True or False, got int 1"),
    ("steps of X", lambda: steps(pn.LSTM(2))().predict(np.zeros((5, 2, 4))), ValueError,
        r"X must have shape \[N, 4, 2\], got \(5, 2, 4\)"),
    ("rows of X", lambda: steps(pn.LSTM(2))().predict(np.zeros((5, 7))), ValueError,
        r"X must have shape \[N, 4, 2\], got \(5, 7\)"),
    ("one row of X", lambda: steps(pn.LSTM(2))().predict_one(np.zeros((2, 4))), ValueError,
        r"X must have shape \[N, 4, 2\], got \(1, 2, 4\)"),
    ("y of a sequence", lambda: pn.Trainer(steps(pn.LSTM(2, True))(), "mse").fit(np.zeros((5, 4, 2)), A, verbose=0),
        ValueError, r"y must have shape \[N, 8\], as wide as the head, got shape \(12, 3\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_errors(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    assert type(caught.value) is error


def test_the_table_names_every_layer():
    assert len({row[0] for row in ROWS}) == len(ROWS) >= 85


def test_a_refused_call_leaves_a_layer_as_it_was():
    cell, norm, slopes = pn.LSTM(2), pn.BatchNorm(), pn.PReLU()
    for layer, wrong, right in (
        (cell, X3, SEQUENCE), (cell, [SEQUENCE, X3], [SEQUENCE, MASK]), (norm, SEQUENCE, X3), (slopes, A, X3)
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            layer(wrong)
        layer(right)
