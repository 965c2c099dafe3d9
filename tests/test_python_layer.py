"""PythonLayer and activations of the user's own: what they get and may return, and what happens where they fail."""

import copy
import pickle
import re
import threading

import helpers
import numpy as np
import pytest

import pynet as pn

BACKENDS = ("c", "numpy")
X = np.random.default_rng(0).normal(size=(12, 4))
Y = np.random.default_rng(1).normal(size=(12, 2))


def identity(x):
    return x


def pass_on(x, y, dy):
    return dy


def doubled(forward=lambda x: 2 * x, backward=lambda x, y, dy: 2 * dy, width=5):
    return pn.PythonLayer(forward, backward, width)


def make(layer, backend="c", hidden=5, **options):
    """A trainer whose net has the layer between two dense ones."""
    layers = [pn.Input(4), pn.Dense(hidden, "tanh", name="below"), layer, pn.Dense(2, name="above")]
    return pn.Trainer(pn.Sequential(layers), "mse", backend=backend, **options)


def function(f, df=lambda x: np.ones_like(x)):
    return pn.Activation(pn.activations.Function(f, df))


# ---- what they get and may return ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_arguments(backend, dtype):
    """Arrays of the batch in the dtype of the model; what is returned on the way up is what comes down as y."""
    seen = []

    def forward(x):
        seen.append(("up", x.dtype, x.shape))
        return np.concatenate([x, x[:, :1]], axis=1)

    def backward(x, y, dy):
        seen.append(("down", x.dtype, x.shape, y.shape, dy.shape))
        assert (y[:, :5] == x).all()
        assert (y[:, 5] == x[:, 0]).all()
        dx = dy[:, :5].copy()
        dx[:, 0] += dy[:, 5]
        return dx

    layers = [pn.Input(4), pn.Dense(5), pn.PythonLayer(forward, backward, 6), pn.Dense(2)]
    model = pn.Sequential(layers, dtype=dtype)
    pn.Trainer(model, "mse", backend=backend).fit(X, Y, epochs=1, batch_size=8, verbose=0)
    up, down = ([("up", dtype, (n, 5)), ("down", dtype, (n, 5), (n, 6), (n, 6))] for n in (8, 4))
    assert seen == [*up, *down]


RESULTS = {
    "a list": lambda x: (2 * x).tolist(),
    "another float": lambda x: (2 * x).astype("f8" if x.dtype == "f4" else "f4"),
    "Fortran order": lambda x: np.asfortranarray(2 * x),
    "a view backwards": lambda x: (2 * x)[:, ::-1][:, ::-1],
    "itself, changed in place": lambda x: x.__imul__(2),
    "read-only": lambda x: np.broadcast_to(2 * x, x.shape),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("result", RESULTS)
def test_what_they_may_return(result, backend):
    """The arrays are copies: to change them changes nothing else."""

    def spoil(x, y, dy):
        dx = RESULTS[result](dy)
        x[:], y[:] = 1e9, 1e9
        return dx

    one, other = make(doubled(), backend), make(doubled(RESULTS[result], spoil), backend)
    for trainer in (one, other):
        trainer.fit(X, Y, epochs=2, batch_size=8, verbose=0)
    helpers.assert_close(other.model.arena, one.model.arena, 1e-6)
    helpers.assert_close(other.model.predict(X, backend=backend), one.model.predict(X), 1e-6)
    helpers.assert_close(other.gradients(X, Y)["input_1"], one.gradients(X, Y)["input_1"], 1e-5)


@pytest.mark.parametrize("kind", [np.sign, lambda x: x > 0, lambda x: np.zeros(x.shape, int)])
def test_integers_and_booleans_are_numbers(kind):
    for backend in BACKENDS:
        model = pn.Sequential([pn.Input(4), pn.PythonLayer(kind, pass_on, 4)])
        helpers.assert_same_bits(model.predict(X, backend=backend), np.asarray(kind(X), "f4"))


def test_an_activation_of_the_users(executor):
    """As the one of the table, wherever it stands."""
    wave = pn.activations.Function(np.sin, np.cos)
    x = pn.Input(4)
    results = []
    for activation in ("sinusoid", wave):
        h = pn.Dense(7, activation, name="hidden")(x)
        model = pn.Model(x, pn.Activation(activation)(pn.Dense(3, name="top")(h)), dtype="float64")
        model.initialize()
        backend = "numpy" if executor == helpers.NUMPY else "c"
        with helpers.forced_isa(executor.isa if backend == "c" else "scalar"):
            trainer = pn.Trainer(model, "mse", pn.SGD(0.1), backend=backend)
            trainer.fit(X, X[:, :3], epochs=3, batch_size=5, verbose=0)
        results.append(model.arena)
    helpers.assert_close(results[1], results[0], 1e-14)
    assert wave == wave
    assert wave != pn.activations.Function(np.sin, np.cos)
    assert len({wave, wave}) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_how_often_they_are_called(backend):
    """Once a batch on the way up; on the way down only where something below learns."""
    counts = {"up": 0, "down": 0}

    def up(x):
        counts["up"] += 1
        return x

    def down(x, y, dy):
        counts["down"] += 1
        return dy

    trainer = make(pn.PythonLayer(up, down, 5), backend)
    trainer.fit(X, Y, epochs=2, batch_size=4, verbose=0)
    assert counts == {"up": 6, "down": 6}
    trainer.model.predict(X, backend=backend)
    trainer.model.predict(X, batch_size=5, backend=backend)
    trainer.evaluate(X, Y)
    assert counts == {"up": 11, "down": 6}
    trainer.model.freeze(up_to="below")
    trainer.train_on_batch(X, Y)
    assert counts == {"up": 12, "down": 6}
    trainer.gradients(X, Y)  # of the input as well
    assert counts == {"up": 13, "down": 7}


def test_predictions_of_one_row_and_from_threads():
    big = make(doubled(width=400), hidden=400).model
    big_one = big.predict_one(X[0])
    helpers.assert_same_bits(big_one, big.predict(X)[0])
    small = make(doubled()).model
    expected, wrong = small.predict(X), []

    def work():
        for _ in range(50):
            if small.predict(X).tobytes() != expected.tobytes() or (small.predict_one(X[3]) != expected[3]).any():
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- where they fail -----------------------------------------------------------------------------------------------


def state(trainer):
    arrays = [trainer.model.arena, *trainer._slots]
    return [a.tobytes() for a in arrays], trainer.step, trainer.epoch, repr(trainer.history.history)


CALLS = {
    "fit": lambda t: t.fit(X, Y, epochs=1, verbose=0),
    "train_on_batch": lambda t: t.train_on_batch(X, Y),
    "gradients": lambda t: t.gradients(X, Y),
    "gradients in training": lambda t: t.gradients(X, Y, training=True),
}
LOOKS = {
    "evaluate": lambda t: t.evaluate(X, Y),
    "predict": lambda t: t.model.predict(X, backend=t.backend),
    "predict_one": lambda t: t.model.predict_one(X[0]),
    "recalibrate": lambda t: pn.Model(t.model.inputs, pn.BatchNorm()(t.model.outputs[0])).recalibrate(X),
}
BAD = {
    "None": (lambda x: None, TypeError, "must return an array of real numbers, got NoneType"),
    "text": (lambda x: "x", TypeError, "must return an array of real numbers, got str"),
    "complex": (lambda x: x + 1j, TypeError, "must return an array of real numbers, got ndarray"),
    "objects": (lambda x: x.astype(object), TypeError, "must return an array of real numbers, got ndarray"),
    "a number": (lambda x: 3.0, ValueError, r"must return shape \(\d+, 5\), got \(\)"),
    "one row": (lambda x: x[0], ValueError, r"must return shape \(\d+, 5\), got \(5,\)"),
    "fewer rows": (lambda x: x[1:], ValueError, r"must return shape \((\d+), 5\), got \(\d+, 5\)"),
    "a column more": (lambda x: np.c_[x, x[:, 0]], ValueError, r"must return shape \(\d+, 5\), got \(\d+, 6\)"),
    "transposed": (lambda x: np.empty((5, 99)), ValueError, r"must return shape \(\d+, 5\), got \(5, 99\)"),
}
MAKERS = {  # what: a layer whose function returns what `bad` makes
    "forward of PythonLayer(python_layer_1)": lambda bad: pn.PythonLayer(bad, pass_on, 5),
    "backward of PythonLayer(python_layer_1)": lambda bad: pn.PythonLayer(identity, lambda x, y, dy: bad(dy), 5),
    "f of an activation Function": lambda bad: function(bad),
    "df of an activation Function": lambda bad: function(identity, bad),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("what", MAKERS)
def test_wrong_results(what, bad, backend):
    wrong, error, text = BAD[bad]
    trainer = make(MAKERS[what](wrong), backend)
    up = what.startswith(("forward", "f "))
    before = state(trainer)
    for name, call in (CALLS | LOOKS if up else CALLS).items():
        with pytest.raises(error, match=re.escape(what) + " " + text):
            call(trainer)
        assert state(trainer) == before, name


class MyError(Exception):
    pass


ERRORS = [
    MyError("mine", 7),
    ZeroDivisionError(),
    KeyboardInterrupt(),
    SystemExit(3),
    StopIteration(1),
    MemoryError("x"),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("way", ["up", "down"])
def test_exceptions_come_through_unchanged(way, error, backend):
    def fail(*arguments):
        raise error

    layer = pn.PythonLayer(fail, pass_on, 5) if way == "up" else pn.PythonLayer(identity, fail, 5)
    trainer = make(layer, backend)
    before = state(trainer)
    for name, call in (CALLS | LOOKS if way == "up" else CALLS).items():
        if name == "fit" and isinstance(error, KeyboardInterrupt):
            continue  # ends a fit in order: below
        with pytest.raises(type(error)) as caught:
            call(trainer)
        assert caught.value is error, name
        assert state(trainer) == before, name


def failing_at(batch, error, way="up"):
    """A layer that fails in the batch of this number; and what it was called with."""
    calls = []

    def count(x):
        calls.append(len(x))
        if len(calls) == batch + 1:
            raise error
        return x

    if way == "up":
        return pn.PythonLayer(count, pass_on, 5)
    return pn.PythonLayer(identity, lambda x, y, dy: count(dy), 5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("batch", [0, 1, 4, 7])
def test_a_failure_within_a_fit_leaves_the_batches_before_it(batch, way, backend):
    """Three batches an epoch; the weights, the state of Adam and the counters are those after `batch` steps."""
    trainer = make(failing_at(batch, MyError(), way), backend)
    with pytest.raises(MyError):
        trainer.fit(X, Y, epochs=4, batch_size=4, verbose=0)
    whole = make(pn.PythonLayer(identity, pass_on, 5), backend)
    order = [pn.philox.permutation(0, epoch, 12) for epoch in range(3)]
    for k in range(batch):
        rows = order[k // 3][k % 3 * 4 :][:4]
        whole.train_on_batch(X[rows], Y[rows])
    assert (trainer.step, trainer.epoch) == (batch, batch // 3)
    helpers.assert_same_bits(trainer.model.arena, whole.model.arena)
    for one, other in zip(trainer._slots, whole._slots, strict=True):
        helpers.assert_same_bits(one, other)
    trainer.fit(X, Y, epochs=1, batch_size=4, verbose=0)  # and it goes on
    assert trainer.step == batch + 3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["up", "down"])
def test_ctrl_c_within_a_function_ends_a_fit_in_order(way, backend):
    trainer = make(failing_at(4, KeyboardInterrupt(), way), backend)
    with pytest.warns(UserWarning, match=r"interrupted by Ctrl-C in epoch 2 of 5"):
        history = trainer.fit(X, Y, epochs=5, batch_size=4, verbose=0)
    assert history.interrupted
    assert len(history.history["loss"]) == trainer.epoch == 1
    whole = make(pn.PythonLayer(identity, pass_on, 5), backend)
    whole.fit(X, Y, epochs=1, batch_size=4, verbose=0)
    if trainer.step == 4:  # of the twin the slice is lost, whole
        rows = pn.philox.permutation(0, 1, 12)[:4]
        whole.train_on_batch(X[rows], Y[rows])
    assert trainer.step == whole.step >= (4 if backend == "c" else 3)
    helpers.assert_same_bits(trainer.model.arena, whole.model.arena)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_not_finite_is_noticed_by_the_loss(backend):
    for bad in (np.nan, np.inf):
        trainer = make(pn.PythonLayer(lambda x, bad=bad: x * bad, pass_on, 5), backend)
        before = state(trainer)
        with pytest.raises(FloatingPointError, match="NaN or infinite"):
            trainer.fit(X, Y, epochs=1, verbose=0)
        assert state(trainer) == before
        assert not np.isfinite(trainer.evaluate(X, Y)["loss"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failure_in_validation(backend):
    def fail_on_few(x):
        if len(x) == 5:
            raise MyError
        return x

    trainer = make(pn.PythonLayer(fail_on_few, pass_on, 5), backend)
    with pytest.raises(MyError):
        trainer.fit(X, Y, epochs=3, batch_size=12, validation_data=(X[:5], Y[:5]), verbose=0)
    assert (trainer.step, trainer.epoch) == (1, 0)
    trainer.fit(X, Y, epochs=1, verbose=0)


# ---- what no file can carry ----------------------------------------------------------------------------------------

KEEPS = {
    "save": lambda t, path: t.model.save(path),
    "checkpoint": lambda t, path: t.save_checkpoint(path),
    "config": lambda t, path: t.model.config(),
    "pickle": lambda t, path: pickle.dumps(t.model),
    "deepcopy": lambda t, path: copy.deepcopy(t.model),
}


@pytest.mark.parametrize("layer", [doubled, lambda: function(np.sin, np.cos)], ids=["layer", "activation"])
@pytest.mark.parametrize("keep", KEEPS)
def test_files_and_copies_are_refused(keep, layer, tmp_path):
    trainer, path = make(layer()), tmp_path / "m"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=r"Python.*save model.state_dict\(\) instead"):
        KEEPS[keep](trainer, path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    other = make(layer()).model
    other.initialize(5)
    other.load_state_dict(trainer.model.state_dict())  # as the message says
    helpers.assert_same_bits(other.predict(X), trainer.model.predict(X))


def test_a_file_cannot_name_one():
    config = pn.Sequential([pn.Input(4), pn.Dense(3, "tanh")]).config()
    for edit in (
        lambda c: c["layers"][1].update({"class": "PythonLayer", "params": {"output_size": 3}}),
        lambda c: c["layers"][1]["params"].update(activation={"name": "function"}),
        lambda c: c["layers"][1]["params"].update(activation="function"),
    ):
        changed = copy.deepcopy(config)
        edit(changed)
        with pytest.raises(ValueError, match=r"unknown (class of layers\[1\]: 'PythonLayer'|activation 'function')"):
            pn.restore.model_from_config(changed)
