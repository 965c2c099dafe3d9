"""Small nets with every kind of layer in every place: what parity, gradients, bits, plans and files are tested with.

Vectors start at random, for at their usual 0 and 1 much would cancel.  A bias in front of a batch norm has gradient 0:
rules that divide by its size would follow its rounding, so there is none.
"""

import functools

import fillings
import numpy as np
import pruned_nets
from cases import dense

import pynet as pn

NETS = dict(pruned_nets.NETS)  # name: make(dtype, seed) -> model
LARGE = []  # names of those that have too many parameters for differences, and for gradients none of which is tiny


def net_of(shape=3, mask=False):
    """Make of a function of the input (and a mask) that returns outputs one of (dtype, seed) that returns a model."""

    def wrap(build):
        @functools.wraps(build)
        def make(dtype="float64", seed=0):
            x = pn.Input(shape, name="x")
            inputs = [x, pn.Input(shape[0], name="mask")] if mask else [x]
            return fillings.scrambled(pn.Model(inputs, build(*inputs), dtype=dtype, random_state=seed), seed)

        return make

    return wrap


def net(shape=3, mask=False, large=False):
    """The same, entered into the table."""

    def enter(build):
        NETS[build.__name__] = make = net_of(shape, mask)(build)
        LARGE.extend([build.__name__] if large else [])
        return make

    return enter


# ---- dropout and noise ---------------------------------------------------------------------------------------------


@net()
def dropout_fused(x):
    return dense(2)(pn.Dropout(0.3)(dense(7, "relu")(x)))


@net()
def dropout_alone(x):
    return dense(2)(pn.Dropout(0.5)(dense(7, "tanh")(x)))


@net()
def dropout_of_input(x):
    return dense(2, "tanh")(pn.Dropout(0.2)(x))


@net()
def dropout_at_the_end(x):
    return pn.Dropout(0.25)(dense(6)(dense(4, "tanh")(x)))


@net()
def dropout_fused_at_the_end(x):
    return pn.Dropout(0.25)(dense(6, "relu")(x))


@net()
def dropout_with_two_readers(x):
    """The relu is read by others: nothing may be fused."""
    h = dense(5, "relu")(x)
    return dense(2)(pn.Concat()([pn.Dropout(0.4)(h), h, pn.Dropout(0.4)(h)]))


@net()
def dropout_of_an_output(x):
    h = dense(5, "relu")(x)
    return [h, dense(2)(pn.Dropout(0.4)(h))]


@net()
def dropout_twice(x):
    """One layer called twice draws twice; behind another dropout, too."""
    drop = pn.Dropout(0.3)
    h = drop(pn.Dropout(0.1)(dense(6, "relu")(x)))
    return dense(2)(drop(pn.Add()([h, dense(6, "relu")(h)])))


@net()
def dropout_of_a_merge(x):
    a, b = dense(4, "relu")(x), dense(4, "tanh")(x)
    return dense(2)(pn.Concat()([pn.Dropout(0.3)(pn.Add()([a, b])), pn.Dropout(0.3)(pn.Concat()([a, x, b]))]))


@net()
def noise(x):
    h = pn.GaussianNoise(0.3)(dense(5, "tanh")(pn.GaussianNoise(0.1)(x)))
    return pn.GaussianNoise(0.2)(dense(2)(h))


@net()
def noise_called_twice(x):
    shared, h = pn.GaussianNoise(0.3), dense(4)(x)
    return dense(2)(pn.Activation("tanh")(pn.Add()([shared(h), shared(h)])))


@net()
def noisy_relu(x):
    h = dense(5, pn.activations.NoisyReLU(0.5))(x)
    return dense(2)(pn.Activation(pn.activations.NoisyReLU(0.2))(dense(4)(h)))


@net()
def noisy_relu_of_the_paper(x):
    return dense(2)(pn.Activation("noisy_relu")(dense(5)(dense(5, "noisy_relu")(x))))


@net()
def rrelu(x):
    return dense(2)(pn.Activation(pn.activations.RReLU(0.1, 0.9))(dense(5)(dense(5, "rrelu")(x))))


@net()
def random_at_the_end(x):
    return [dense(3, "rrelu")(x), dense(3, pn.activations.NoisyReLU(0.3))(x)]


# ---- norms ---------------------------------------------------------------------------------------------------------


def bare(units, activation=None, **more):
    return dense(units, activation, use_bias=False, **more)


@net()
def batch_norm(x):
    """Folded into the dense op in prediction, with the activation behind it."""
    return dense(2)(pn.Activation("tanh")(pn.BatchNorm()(bare(5)(x))))


@net()
def batch_norm_and_relu_and_dropout(x):
    return dense(2)(pn.Dropout(0.3)(pn.Activation("relu")(pn.BatchNorm(momentum=0.5)(bare(7)(x)))))


@net()
def batch_norm_of_input(x):
    return dense(2, "tanh")(pn.BatchNorm(epsilon=0.1)(x))


@net()
def batch_norm_at_the_end(x):
    return pn.BatchNorm()(bare(3)(dense(4, "tanh")(x)))


@net()
def batch_norm_behind_an_activation(x):
    return dense(2)(pn.BatchNorm()(dense(5, "tanh")(x)))


@net()
def batch_norm_of_a_merge(x):
    a, b = dense(4, "tanh")(x), dense(4, "silu")(x)
    return dense(2)(pn.Concat()([pn.BatchNorm()(pn.Add()([a, b])), pn.BatchNorm()(pn.Concat()([a, x]))]))


@net()
def batch_norm_with_two_readers(x):
    """The dense op is read by others: nothing may be folded into it."""
    h = bare(4)(x)
    return dense(2)(pn.Activation("tanh")(pn.Concat()([pn.BatchNorm()(h), h])))


@net()
def batch_norm_of_an_output(x):
    h = bare(3)(x)
    return [h, dense(2)(pn.Activation("tanh")(pn.BatchNorm()(h)))]


@net()
def batch_norm_shared(x):
    norm, h = pn.BatchNorm(), bare(4, "tanh")(x)
    return dense(2)(pn.Activation("tanh")(norm(bare(4)(norm(h)))))


@net()
def batch_norm_without_gamma_or_beta(x):
    h = pn.Activation("tanh")(pn.BatchNorm(scale=False)(bare(5)(x)))
    return dense(2)(pn.BatchNorm(center=False)(h))


@net()
def batch_norm_frozen(x):
    return dense(2)(pn.Activation("tanh")(pn.BatchNorm(trainable=False)(dense(5)(x))))


@net()
def batch_norm_half_frozen(x):
    """A frozen one between two that are not, and a frozen dense layer."""
    h = pn.BatchNorm(trainable=False, name="still")(dense(4, "tanh")(pn.BatchNorm()(x)))
    return dense(2)(pn.Activation("tanh")(pn.BatchNorm()(bare(4, trainable=False)(h))))


@net()
def layer_norm(x):
    return dense(2)(pn.Activation("tanh")(pn.LayerNorm()(dense(5)(x))))


@net()
def layer_norm_everywhere(x):
    """Of the input, of merges, shared, at the end."""
    a, b = dense(4, "tanh")(pn.LayerNorm(epsilon=0.1)(x)), dense(4)(x)
    shared = pn.LayerNorm(epsilon=0.01)
    h = pn.Concat()([shared(pn.Add()([a, b])), shared(b), a])
    return pn.LayerNorm(epsilon=0.1)(dense(3)(pn.LayerNorm()(h)))


@net()
def layer_norm_without_gamma_or_beta(x):
    h = pn.LayerNorm(scale=False)(dense(17)(x))
    return dense(2)(pn.LayerNorm(center=False)(dense(4, "tanh")(pn.LayerNorm(scale=False, center=False)(h))))


@net()
def instance_norm(x):
    shared = pn.InstanceNorm()
    h = shared(dense(5, "tanh")(x))
    return dense(2)(pn.Concat()([h, shared(dense(5)(h)), pn.InstanceNorm()(x)]))


# ---- slopes, clips, shapes -----------------------------------------------------------------------------------------


@net()
def prelu(x):
    h = pn.PReLU()(dense(5)(x))
    return dense(2)(pn.PReLU(shared=True)(dense(4)(h)))


@net()
def prelu_everywhere(x):
    """Of the input, shared by calls, of a merge, at the end."""
    slopes, one = pn.PReLU(), pn.PReLU(shared=True)
    a, b = slopes(dense(3)(pn.PReLU()(x))), slopes(x)
    h = pn.Concat()([one(pn.Add()([a, b])), one(dense(17)(x))])  # one slope serves two widths
    return pn.PReLU()(dense(2)(h))


@net()
def gradient_clip(x):
    """On three ways side by side, one of them read twice."""
    h = dense(4, "tanh")(x)
    clips = [pn.ClipNorm(0.02), pn.ClipValue(0.004), pn.SignGradient()]
    ways = [pn.Activation("tanh")(dense(3)(pn.GradientClip(clip)(h))) for clip in clips]
    return dense(2)(pn.Concat()([*ways, pn.GradientClip(pn.ClipNorm(0.1))(x)]))


@net((2, 3))
def flatten(x):
    return dense(2)(pn.Flatten()(pn.Activation("tanh")(x)))


def times(x, matrix):
    """Return x @ matrix, a row as if it were alone: what a BLAS makes of it depends on the others with some CPUs."""
    return sum(x[:, i : i + 1] * row for i, row in enumerate(matrix.astype(x.dtype)))


@net()
def escapes(x):
    """Steps into Python: two layers of other widths, a function fused nowhere."""
    mix = np.array([[0.5, -1.0], [2.0, 0.3], [-0.7, 0.9]])
    layer = pn.PythonLayer(lambda x: times(np.sin(x), mix), lambda x, y, dy: np.cos(x) * times(dy, mix.T), 2)
    square = pn.PythonLayer(lambda x: x * x, lambda x, y, dy: 2 * x * dy, 4)
    h = dense(4, pn.activations.Function(lambda x: x / (1 + x * x), lambda x: (1 - x * x) / (1 + x * x) ** 2))(x)
    h = pn.Concat()([square(h), layer(x), layer(dense(3)(h)), h])  # h and x have other readers, too
    return pn.Activation(pn.activations.Function(np.sin, np.cos))(dense(2)(h))


# ---- sequences -----------------------------------------------------------------------------------------------------


@net((4, 3))
def lstm(x):
    return dense(2)(pn.LSTM(3)(x))


@net((3, 2))
def lstm_stacked(x):
    h = pn.Activation("sinusoid")(pn.LSTM(3, return_sequences=True)(x))
    return [pn.LSTM(2, return_sequences=True)(h), dense(2)(pn.Flatten()(h))]


@net((4, 2), mask=True)
def lstm_masked(x, mask):
    h = pn.LSTM(3, return_sequences=True)([x, mask])
    return [pn.LSTM(2)([h, mask]), pn.Flatten()(h)]


@net((3, 2))
def lstm_shared(x):
    """Called twice: on the sequence, and on what it made of it."""
    cell = pn.LSTM(2, return_sequences=True)
    return dense(2)(pn.Flatten()(cell(pn.Add()([cell(x), x]))))


@net((1, 2))
def lstm_of_one_step(x):
    return dense(2)(pn.Concat()([pn.LSTM(3)(x), pn.Flatten()(pn.LSTM(2, return_sequences=True)(x))]))


@net((3, 2))
def sequences(x):
    """Layers that take sequences as well."""
    h = pn.Dropout(0.2)(pn.LSTM(2, return_sequences=True)(pn.GaussianNoise(0.1)(pn.PReLU()(x))))
    h = pn.Residual([pn.LSTM(2, return_sequences=True)])(h)
    return dense(2)(pn.LSTM(2)(pn.Activation("silu")(h)))


@net((3, 2))
def gradient_clip_of_a_sequence(x):
    h = pn.GradientClip(pn.ClipNorm(0.05))(pn.LSTM(3, return_sequences=True)(x))
    return pn.LSTM(2, return_sequences=True)(pn.GradientClip(pn.ClipValue(0.01))(h))


# ---- more than one panel -------------------------------------------------------------------------------------------


@net(19, large=True)
def wide_rows(x):
    h = pn.LayerNorm()(pn.PReLU()(dense(33, "rrelu")(pn.BatchNorm(epsilon=0.1)(x))))
    h = pn.GradientClip(pn.ClipNorm(0.1))(pn.InstanceNorm()(pn.GaussianNoise(0.1)(h)))
    h = pn.PReLU(shared=True)(pn.BatchNorm(epsilon=0.1)(bare(35, max_norm=1.0)(h)))
    h = pn.Dropout(0.3)(pn.Concat()([pn.Dropout(0.3)(dense(47, "relu")(h)), h]))
    return [dense(2)(h), dense(18, "noisy_relu")(h)]


@net((3, 18), mask=True, large=True)
def wide_sequences(x, mask):
    h = pn.LSTM(19, return_sequences=True)([x, mask])
    return dense(2)(pn.LSTM(16)([pn.Dropout(0.2)(h), mask]))


@net((3, 7), large=True)
def sequences_beside_wide_layers(x):
    """The norm of a gradient would see what other layers leave where an LSTM has padding."""
    h = pn.LSTM(5, return_sequences=True)(pn.GradientClip(pn.ClipNorm(0.02))(pn.LSTM(7, return_sequences=True)(x)))
    wide = dense(64, "tanh")(pn.Flatten()(x))
    return dense(2)(pn.Concat()([pn.Flatten()(h), dense(48, "tanh")(wide)]))


# ---- constraints, frozen layers -------------------------------------------------------------------------------------


@net()
def frozen_rows(x):
    h = pn.PReLU(0.4, trainable=False)(pn.LayerNorm(trainable=False)(dense(5)(x)))
    return dense(2)(pn.InstanceNorm(epsilon=0.1)(h))


@net((3, 2))
def frozen_sequences(x):
    names = {"kernel_initializer": "he_normal", "recurrent_initializer": "xavier_normal"}
    h = pn.LSTM(3, return_sequences=True)(x)
    h = pn.LSTM(3, return_sequences=True, forget_bias=0.5, trainable=False, **names)(h)
    return dense(2)(pn.LSTM(2, l1=0.01, l2=0.02)(h))


@net()
def bounded(x):
    """Columns that are longer than they may be from the first update on, and one that never is."""
    h = dense(5, "tanh", max_norm=0.4)(x)
    return dense(2, max_norm=100.0)(
        pn.Residual([dense(4, "tanh"), dense(4)], projection=True, l2=0.01, max_norm=0.3)(h)
    )


@net()
def rates(x):
    layers = [dense(4, "tanh"), pn.LayerNorm(), dense(3, "tanh"), dense(2)]
    for layer, factor in zip(layers, (0.3, 2.0, 1.0, 0.0), strict=True):
        layer.rate_factor = factor
        x = layer(x)
    return x


@net((4, 3), mask=True, large=True)
def everything(x, mask):
    steps = pn.LSTM(4, return_sequences=True)([pn.GaussianNoise(0.05)(x), mask])
    h = pn.Concat()([pn.Flatten()(steps), pn.LSTM(3)([steps, mask])])
    h = pn.Activation("relu")(pn.BatchNorm()(bare(6, max_norm=0.9)(h)))
    h = pn.LayerNorm()(pn.Residual([dense(5, "rrelu"), pn.PReLU(), dense(6)], projection=True)(h))
    h = pn.GradientClip(pn.ClipNorm(0.5))(pn.Dropout(0.2)(dense(6, "relu")(h)))
    wave = pn.PythonLayer(lambda x: np.sin(x), lambda x, y, dy: np.cos(x) * dy, 6)
    return [dense(2)(pn.InstanceNorm()(h)), dense(3, "noisy_relu")(wave(pn.Dropout(0.1)(h)))]
