"""Corners where two features meet; each of these once gave a wrong answer without a word."""

import os
import re
import threading

import numpy as np
import pytest

import pynet as pn

RNG = np.random.default_rng(5)
X = RNG.normal(size=(64, 6)).astype(np.float32)


def net(head=3, activation="softmax", **options):
    return pn.Sequential([pn.Input(6), pn.Dense(8, "tanh", name="features"), pn.Dense(head, activation)], **options)


@pytest.mark.parametrize("order", [1, -1])
def test_two_outputs_of_one_layer_keep_their_targets_apart(order, tmp_path):
    a, b = pn.Input(6, name="a"), pn.Input(6, name="b")
    shared = pn.Dense(1, name="d")
    model = pn.Model([a, b], [shared(a), shared(b)])
    P = model.predict([X, X])[0]
    trainer = pn.Trainer(model, ["mse", "mae"], loss_weights=[1, 3])
    targets = [P, P + 10][::order]
    truth = 3 * 10 if order == 1 else 100
    scores = trainer.evaluate([X, X], targets)
    assert scores["loss"] == pytest.approx(truth, rel=1e-5)
    assert {"d_loss", "d_2_loss"} <= scores.keys()
    trainer.save_checkpoint(tmp_path / "c")
    assert pn.Trainer.resume(tmp_path / "c").evaluate([X, X], targets) == scores


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_outputs_that_are_one_value(backend):
    """Layers that do nothing in prediction hand on what they read: three outputs, and a plan of one value."""
    x = pn.Input(6)
    model = pn.Model(x, [pn.Dropout(0.5)(x), pn.Flatten()(x), pn.Dropout(0.2)(x)])
    for output in model.predict(X, backend=backend):
        assert np.array_equal(output, X)
    a, _, b = model.predict(X, mc_samples=1, backend=backend)
    assert 0.3 < (a == 0).mean() < 0.7
    assert 0.1 < (b == 0).mean() < 0.3


def test_a_cut_takes_the_weights_that_were_trained_last():
    whole = net()
    first = pn.Model(whole.inputs, whole.get_layer("features").output)
    trainer = pn.Trainer(whole, "cross_entropy", pn.Adam(0.05))
    trainer.fit(X, RNG.integers(0, 3, 64), epochs=2, verbose=0)
    second = pn.Model(whole.inputs, whole.get_layer("features").output)
    name = "features.kernel"
    assert np.array_equal(second.parameters()[name], whole.parameters()[name])
    assert not np.array_equal(first.parameters()[name], whole.parameters()[name])


@pytest.mark.parametrize("call", ["gradients", "evaluate"])
def test_looking_at_a_net_while_it_trains_changes_nothing(call):
    y = RNG.integers(0, 3, 64)

    def train(disturbed):
        trainer = pn.Trainer(net(), "cross_entropy", pn.Adam(0.01), clip=pn.ClipNorm(0.1))
        stop = threading.Event()

        def look():
            while not stop.is_set():
                getattr(trainer, call)(X, y)

        thread = threading.Thread(target=look)
        if disturbed:
            thread.start()
        trainer.fit(X, y, epochs=300, batch_size=8, verbose=0)
        stop.set()
        if disturbed:
            thread.join()
        return trainer.model.arena.tobytes()

    assert train(True) == train(False)


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_an_infinite_gradient_stops_before_the_weights_are_spoilt(backend):
    model = pn.Sequential([pn.Input(6, scale=1e30), pn.Dense(1, kernel_initializer="normal")])
    trainer = pn.Trainer(model, "mse", pn.SGD(1e-3), clip=pn.ClipNorm(1.0), backend=backend)
    model.load_state_dict(model.state_dict() | {"dense_1.kernel": np.zeros((6, 1), np.float32)})
    before = model.arena.tobytes()
    with pytest.raises(FloatingPointError, match="those before that batch"):
        trainer.fit(np.ones_like(X), np.full(64, 1e10), epochs=1, verbose=0)
    assert model.arena.tobytes() == before


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_weights_that_an_infinite_gradient_has_spoilt_are_told(backend):
    """The loss of the first batch is finite; without clipping nobody looks at its gradient."""
    model = pn.Sequential([pn.Input(6, scale=1e30), pn.Dense(1)])
    model.load_state_dict(model.state_dict() | {"dense_1.kernel": np.zeros((6, 1))})
    trainer = pn.Trainer(model, "mse", pn.SGD(1e-3), backend=backend)
    with pytest.raises(FloatingPointError, match=r"batch 1 .* that batch, and not finite themselves: the loss of an"):
        trainer.fit(np.ones_like(X), np.full(64, 1e10), epochs=1, verbose=0)
    with pytest.raises(FloatingPointError, match=r"that batch\. Lower"):
        pn.Trainer(net(), "mse").fit(X, np.full((64, 3), 1e30), verbose=0)


@pytest.mark.parametrize(
    ("element", "weight", "error"),
    [
        (np.float32(np.nan), 1.0, FloatingPointError),
        (1e300, 1.0, FloatingPointError),  # float32 cannot hold it
        (1e30, 1e30, FloatingPointError),
        (1j, 1.0, TypeError),
    ],
)
@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_an_own_loss_with_an_impossible_gradient_stops(backend, element, weight, error):
    class Bad:
        def value_and_gradient(self, prediction, target):
            return 1.0, np.full(prediction.shape, element)

    trainer = pn.Trainer(net(), Bad(), backend=backend, loss_weights=[weight])
    before = trainer.model.arena.tobytes()
    with pytest.raises(error):
        trainer.fit(X, np.zeros((64, 3)), epochs=1, batch_size=64, verbose=0)
    assert trainer.model.arena.tobytes() == before


def test_class_weight_needs_classes():
    for head, activation, loss, y in (
        (3, None, "mse", np.zeros((64, 3))),
        (1, None, "mse", np.zeros(64)),
        (3, "sigmoid", "binary_cross_entropy", np.zeros((64, 3))),
    ):
        with pytest.raises(ValueError, match="class_weight needs a single head with 'cross_entropy'"):
            pn.Trainer(net(head, activation), loss).fit(X, y, class_weight="balanced", verbose=0)
    trainer = pn.Trainer(net(), "cross_entropy")
    with pytest.raises(ValueError, match="is 0 in every row"):
        trainer.fit(X, np.zeros(64, int), class_weight={0: 0.0}, verbose=0)
    with pytest.raises(ValueError, match="there is no class 3"):
        trainer.fit(X, np.zeros(64, int), class_weight={3: 1.0}, verbose=0)


def test_a_metric_without_a_loss_is_refused():
    x = pn.Input(6)
    model = pn.Model(x, [pn.Dense(2, name="a")(x), pn.Dense(2, name="b")(x)])
    with pytest.raises(ValueError, match="output 'b', which has no loss"):
        pn.Trainer(model, {"a": "mse"}, metrics={"b": ["mae"]})


def test_the_mode_of_a_loss_is_min_whatever_its_name():
    assert pn.EarlyStopping("val_acceleration_loss")._sign == -1.0
    assert pn.EarlyStopping("val_accuracy")._sign == 1.0


def test_out_must_not_overlap_the_input():
    model = pn.Sequential([pn.Input(4), pn.Dense(4)])
    room = np.ones((9, 4), np.float32)
    with pytest.raises(ValueError, match="out must not overlap X"):
        model.predict(room[:8], out=room[1:])


@pytest.mark.parametrize("shift", [0, 3, 5])
def test_the_arrays_of_out_must_not_overlap(shift):
    x = pn.Input(6)
    model = pn.Model(x, [pn.Dense(3)(x), pn.Dense(3)(x)])
    room = np.ones((70, 3), np.float32)
    with pytest.raises(ValueError, match="the arrays of out must not overlap each other"):
        model.predict(X, out=[room[:64], room[shift : 64 + shift]])
    apart = np.ones((128, 3), np.float32)
    for found, expected in zip(model.predict(X, out=[apart[:64], apart[64:]]), model.predict(X), strict=True):
        assert np.array_equal(found, expected)


def test_predict_one_of_a_subclass_stays_its_own():
    class Halved(pn.Sequential):
        def predict_one(self, x, out=None):
            return super().predict_one(np.asarray(x) / 2, out)

    model = Halved([pn.Input(6), pn.Dense(3)])
    for _ in range(3):
        assert np.array_equal(model.predict_one(X[0]), model.predict(X[:1] / 2)[0])


@pytest.mark.parametrize("argument", ["X", "y", "sample_weight"])
def test_masked_values_are_no_numbers(argument):
    arguments = {"X": X, "y": RNG.integers(0, 3, 64), "sample_weight": np.ones(64)}
    masked = np.ma.array(arguments[argument], mask=np.zeros(arguments[argument].shape, bool))
    trainer = pn.Trainer(net(), "cross_entropy")
    trainer.fit(**arguments | {argument: masked}, epochs=1, verbose=0)
    masked[3] = np.ma.masked
    with pytest.raises(ValueError, match=f"{argument} has masked values, which have no numbers: fill them in"):
        trainer.fit(**arguments | {argument: masked}, epochs=1, verbose=0)


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (1e-46, "sample_weight is 0 in every row in float32"),
        (1e39, "sample_weight must be finite in float32 and >= 0, got 1e.39 in row 0"),
    ],
)
def test_weights_that_the_dtype_cannot_hold(weight, text):
    y, weights = RNG.integers(0, 3, 64), np.full(64, weight)
    with pytest.raises(ValueError, match=text):
        pn.Trainer(net(), "cross_entropy").fit(X, y, sample_weight=weights, verbose=0)
    with pytest.raises(ValueError, match=r"class_weight \(times sample_weight\) (is 0 in every row|must be finite)"):
        pn.Trainer(net(), "cross_entropy").fit(X, y, class_weight=dict.fromkeys(range(3), weight), verbose=0)
    wide = pn.Trainer(net(dtype="float64"), "cross_entropy")
    assert np.isfinite(wide.evaluate(X, y, sample_weight=weights)["loss"])


@pytest.mark.parametrize("value", [1e300, -1.7976931348623157e308, 3.5e38, np.nan, -np.inf])
def test_inputs_that_the_dtype_cannot_hold(value):
    """As infinite ones, behind units that are saturated, they would spoil the weights in the first step."""
    rows, y = X.astype(np.float64), RNG.integers(0, 3, 64)
    rows[5, 2] = value
    text = f"X must be finite{' in float32' if np.isfinite(value) else ''}, got {value} in row 5, column 2"
    trainer = pn.Trainer(net(), "cross_entropy")
    for call in (trainer.fit, trainer.evaluate, trainer.train_on_batch, trainer.gradients):
        with pytest.raises(ValueError, match=re.escape(text)):
            call(rows, y)
    rows[5, 2] = 3.4e38
    trainer.evaluate(rows, y)
    if np.isfinite(value):
        rows[5, 2] = value
        pn.Trainer(net(dtype="float64"), "cross_entropy").evaluate(rows, y)


def test_constants_that_the_dtype_cannot_hold():
    for layers in ([pn.Input(4, name="x", scale=1e50)], [pn.Input(4), pn.PReLU(1e50, name="x")]):
        with pytest.raises(ValueError, match=r"parameter 'x\.\w+': its first values must be finite in float32"):
            pn.Sequential([*layers, pn.Dense(2)])
        pn.Sequential([*layers, pn.Dense(2)], dtype="float64")


def test_predict_one_takes_unaligned_rows():
    model = net()
    packed = np.zeros(3, np.dtype([("tag", "u1"), ("x", "f4", (6,))]))
    packed["x"] = X[:3]
    assert not packed["x"][1].flags.aligned
    assert np.array_equal(model.predict_one(packed["x"][1]), model.predict_one(X[1]))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_saving_does_not_replace_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="Not a regular file"):
        net().save(tmp_path / "pipe")
    assert not os.path.isfile(tmp_path / "pipe")


def test_a_tiny_hostile_file_takes_little_memory():
    import tracemalloc

    from pynet.restore import model_from_config

    config = pn.Sequential([pn.Input(8, scale=1.0, shift=0.0), pn.Dense(2)]).config()
    text = repr(config).replace("'shape': [8]", f"'shape': [{1 << 24}]")
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"missing|shape"):
        model_from_config(eval(text), {})
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_negative_variance_is_refused():
    model = pn.Sequential([pn.Input(3), pn.BatchNorm()])
    before = model.arena.copy()
    state = model.state_dict() | {"batch_norm_1.variance": np.array([1.0, -0.25, 1.0])}
    with pytest.raises(ValueError, match=r"'batch_norm_1.variance' must be at least 0, got -0.25"):
        model.load_state_dict(state)
    assert np.array_equal(model.arena, before)
