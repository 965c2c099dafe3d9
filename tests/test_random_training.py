"""Which random numbers a training draws: those of (seed, step, layer, row, column), whatever else happens."""

import draws
import fillings
import helpers
import nets
import numpy as np
import pytest

import pynet as pn
import pynet.fit

BACKENDS = ("c", "numpy")
WIDTH, ROWS = 6, 20
X = np.random.default_rng(0).normal(size=(ROWS, WIDTH))


class Spy:
    """A layer that keeps what it sees in training: x, and what comes down."""

    def __init__(self):
        self.up, self.down = [], []
        self.layer = pn.PythonLayer(self.forward, self.backward, WIDTH)

    def forward(self, x):
        self.up.append(x.copy())
        return x

    def backward(self, x, y, dy):
        self.down.append(dy.copy())
        return dy


def spied(backend, random_state=11):
    """A trainer that adds noise to its rows, and the spy behind it."""
    spy = Spy()
    layers = [pn.Input(WIDTH), pn.GaussianNoise(1.0), spy.layer, pn.Dense(2)]
    model = pn.Sequential(layers, dtype="float64")
    return pn.Trainer(model, "mse", pn.SGD(0.01), backend=backend, random_state=random_state), spy


def noise(rows, step, seed=11, first=0):
    """What is added to rows first .. of a batch at a step."""
    return draws.normals(first + rows, WIDTH, seed=seed, step=step)[first:]


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_step_draws_anew(backend):
    """From the seed of the trainer and the number of the step; a row's number is its place in the epoch."""
    trainer, spy = spied(backend)
    trainer.fit(X, X[:, :2], epochs=2, batch_size=8, shuffle=False, verbose=0)
    assert [len(x) for x in spy.up] == [8, 8, 4] * 2
    for step, x in enumerate(spy.up):
        first = step % 3 * 8
        expected = X[first : first + len(x)] + noise(len(x), step, first=first)
        helpers.assert_close(x, expected, 1e-14, f"step {step}")
    other, its_spy = spied(backend, random_state=12)
    other.fit(X, X[:, :2], epochs=1, batch_size=8, shuffle=False, verbose=0)
    helpers.assert_close(its_spy.up[0], X[:8] + noise(8, 0, seed=12), 1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_looking_draws_nothing(backend):
    """predict, evaluate and validation see the net without noise; gradients(training=True) that of the next step."""
    trainer, spy = spied(backend)
    y = X[:, :2]
    for step in range(2):
        trainer.train_on_batch(X, y)
        trainer.evaluate(X, y)
        trainer.model.predict(X, backend=backend)
        trainer.gradients(X, y)
        for x in spy.up[-3:]:
            helpers.assert_same_bits(x, X)
        trainer.gradients(X, y, training=True)
        helpers.assert_close(spy.up[-1], X + noise(ROWS, step + 1), 1e-14)
        assert trainer.step == step + 1
    trainer.train_on_batch(X, y)
    helpers.assert_close(spy.up[-1], X + noise(ROWS, 2), 1e-14)
    trainer.fit(X, y, epochs=1, batch_size=ROWS, shuffle=False, verbose=0, validation_data=(X, y))
    helpers.assert_close(spy.up[-2], X + noise(ROWS, 3), 1e-14)
    helpers.assert_same_bits(spy.up[-1], X)


@pytest.mark.parametrize(
    "name", ["everything", "dropout_twice", "noisy_relu_of_the_paper", "batch_norm", "lstm_masked"]
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_in_training_are_those_of_the_next_step(name, backend):
    """With plain SGD the next step is -rate times them; the step itself and its losses are not disturbed."""
    model = nets.NETS[name]("float64")
    rng = np.random.default_rng(0)
    X, y = fillings.arrays(model, 9, rng), fillings.targets(model, 9, rng)
    X, y = (a if len(a) > 1 else a[0] for a in (X, y))
    for layer in model.layers:
        layer.max_norm = None  # would bound the step
    model = pn.Model(model.inputs, model.outputs, dtype="float64")
    trainer = pn.Trainer(model, "mse", pn.SGD(0.25), backend=backend, random_state=5)
    for _ in range(2):
        frozen, before = trainer.gradients(X, y), model.parameters()
        gradients = trainer.gradients(X, y, training=True)
        helpers.assert_same_bits(pack(model.parameters()), pack(before))  # running statistics, too
        trainer.train_on_batch(X, y)
        after = model.parameters()
        moved = [name for name in before if name in gradients]
        assert len(moved) > 2
        for each in moved:
            helpers.assert_close(before[each] - 0.25 * gradients[each], after[each], 1e-14, each)
        differ = max(helpers.distance(frozen[each], gradients[each]) for each in moved)
        assert differ > 0.1 if name != "lstm_masked" else differ == 0


def pack(arrays):
    return np.concatenate([a.reshape(-1) for a in arrays.values()])


class OwnMSE:
    def value_and_gradient(self, prediction, target):
        d = prediction - target
        return float(np.mean(d * d)), 2 * d / d.size


@pytest.mark.parametrize("name", ["dropout_fused", "dropout_twice", "noisy_relu", "rrelu", "batch_norm", "lstm"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loss_of_ones_own_sees_the_same_numbers(name, backend):
    """Its batch stops on the way, between up and down."""
    weights = []
    for loss in ("mse", OwnMSE()):
        model, rng = nets.NETS[name]("float64"), np.random.default_rng(0)
        X, y = fillings.arrays(model, 20, rng)[0], fillings.targets(model, 20, rng)[0]
        trainer = pn.Trainer(model, loss, pn.SGD(0.1), backend=backend, random_state=2)
        trainer.fit(X, y, epochs=3, batch_size=6, verbose=0)
        assert trainer.step == 12
        weights.append(model.arena)
    helpers.assert_close(weights[1], weights[0], 1e-13)


# ---- resume --------------------------------------------------------------------------------------------------------


class Cut(pn.Callback):
    """Saves a checkpoint after so many slices and stops the fit, as a crash would."""

    def __init__(self, path, slices):
        self.path, self.left = path, slices

    def on_slice_end(self, trainer, logs):
        self.left -= 1
        if not self.left:
            trainer.save_checkpoint(self.path)
            raise InterruptedError


def random_net(dtype):
    layers = [
        pn.Input(WIDTH, scale=2.0), pn.GaussianNoise(0.2), pn.Dense(9, use_bias=False), pn.BatchNorm(),
        pn.Activation("noisy_relu"), pn.Residual([pn.Dense(7, "rrelu", max_norm=1.0), pn.PReLU(), pn.Dense(9)]),
        pn.LayerNorm(), pn.Dense(8, "relu"), pn.Dropout(0.3), pn.Dense(3, "softmax", name="head"),
    ]  # fmt: skip
    return pn.Sequential(layers, dtype=dtype)


@pytest.mark.parametrize("slices", [1, 3, 4, 5, 11])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_resumed_fit_draws_what_it_would_have_drawn(tmp_path, monkeypatch, backend, slices, dtype):
    monkeypatch.setattr(pynet.fit, "SLICE_SECONDS", 0.0)  # a batch is a slice
    y = np.arange(ROWS) % 3

    def trainer():
        model = random_net(dtype)
        model.get_layer("head").rate_factor = 0.5
        return pn.Trainer(model, "cross_entropy", pn.Adam(0.01), ["accuracy"], backend=backend, random_state=9)

    whole = trainer()
    whole.fit(X, y, epochs=4, batch_size=6, verbose=0)  # four batches an epoch
    with pytest.raises(InterruptedError):
        trainer().fit(X, y, epochs=4, batch_size=6, callbacks=[Cut(tmp_path / "c", slices)], verbose=0)
    resumed = pn.Trainer.resume(tmp_path / "c")
    assert resumed.step == slices
    assert resumed.model.get_layer("head").rate_factor == 0.5
    resumed.fit(X, y, verbose=0)
    assert resumed.history.history == whole.history.history
    helpers.assert_same_bits(resumed.model.arena, whole.model.arena)
    for one, other in zip(resumed._slots, whole._slots, strict=True):
        helpers.assert_same_bits(one, other)
