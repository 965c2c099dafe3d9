"""Fits with optimizers of second order: both machines, what stays as it was, why they end, stopping and resuming."""

import signal

import numpy as np
import pytest
from helpers import forced_isa
from searches import BACKENDS, WEIGHT, X, Y, fitted, places, surrogate

import pynet as pn
import pynet.fit
import pynet.second_order
from pynet import _core, _safetensors, reference_search
from pynet.reference_search import NUMBERS

NAMES = ("lbfgs", "levenberg_marquardt")
LABELS = (Y[:, 0] > 0).astype(int)


def bits(trainer):
    """All that a fit leaves behind."""
    return trainer.model.arena.tobytes(), trainer.history.history, trainer.step, trainer.epoch, trainer.history.stopped


# ---- both machines ---------------------------------------------------------------------------------------------------


def many_layers(dtype):
    """Layers of every kind that may be searched."""
    x = pn.Input((3, 2))
    h = pn.LSTM(4)(x)
    h = pn.Dense(6, "gelu", l2=1e-3)(h)
    h = pn.PReLU()(pn.LayerNorm()(h))
    norm = pn.BatchNorm()
    norm.trainable = False
    h = pn.Add()([h, pn.Dense(6, "softplus")(norm(h))])
    a = pn.Dense(2, "tanh", name="a")(pn.Concat()([h, pn.Dense(3, "silu")(h)]))
    return pn.Model(x, [a, pn.Dense(1, name="b")(h)], dtype=dtype, random_state=1)


@pytest.mark.parametrize("rows", [7, 1024])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-8), ("float32", 2e-3)])
@pytest.mark.parametrize("name", NAMES)
def test_both_machines_agree(name, dtype, tolerance, rows, monkeypatch):
    """In batches of 7 rows, or all at once: that is a matter of memory."""
    monkeypatch.setattr(pynet.second_order, "ROWS", rows)
    sequences = np.random.default_rng(0).normal(size=(40, 3, 2))
    targets = {"a": Y[:40], "b": Y[:40, :1]}
    found = {}
    for backend in BACKENDS:
        trainer = pn.Trainer(
            many_layers(dtype), {"a": "mse", "b": "mse"}, name, {"a": ["r2"]}, loss_weights={"a": 1.0, "b": 0.3},
            backend=backend,
        )  # fmt: skip
        trainer.fit(sequences, targets, epochs=5, sample_weight=WEIGHT[:40], verbose=0)
        score = trainer.evaluate(sequences, targets, sample_weight=WEIGHT[:40])
        history = trainer.history.history
        assert history["loss"][-1] == pytest.approx(score["loss"], rel=tolerance)
        assert history["a_r2"][-1] == pytest.approx(score["a_r2"], rel=tolerance)
        assert history["loss"][-1] < history["loss"][0]
        found[backend] = history, np.array(trainer.model.arena)
    assert found["c"][0].keys() == found["numpy"][0].keys()
    for key, values in found["c"][0].items():
        assert values == pytest.approx(found["numpy"][0][key], rel=tolerance, abs=tolerance / 10), key
    assert np.abs(found["c"][1] - found["numpy"][1]).max() < tolerance * 10


@pytest.mark.parametrize("name", NAMES)
def test_the_bits_are_those_of_every_instruction_set_and_number_of_threads(name):
    results = {}
    for isa in (isa for isa, usable in _core.isas().items() if usable and isa != "scalar"):
        for threads in (1, 2):
            with forced_isa(isa):
                model = surrogate("float32")
                trainer = pn.Trainer(model, "mse", name, n_threads=threads)
                trainer.fit(X, Y, epochs=10, verbose=0, sample_weight=WEIGHT)
                results[isa, threads] = bits(trainer)
    assert len(set(map(repr, results.values()))) <= 1


def test_the_twin_counts_what_the_header_names():
    assert len(reference_search.NUMBERS) == _core.SEARCH_NUMBERS


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_losses(backend):
    """L-BFGS minimises any smooth loss, of classes too."""
    model = pn.Sequential([pn.Input(2), pn.Dense(8, "tanh"), pn.Dense(2, "softmax", l2=1e-3)])
    trainer = pn.Trainer(model, "cross_entropy", "lbfgs", ["accuracy"], backend=backend)
    history = trainer.fit(X, LABELS, epochs=60, verbose=0).history
    assert history["accuracy"][-1] > 0.95
    assert history["loss"][-1] == pytest.approx(trainer.evaluate(X, LABELS)["loss"], rel=1e-5)


# ---- what stays as it was --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_frozen_and_pruned_weights_keep_their_bits(name, backend):
    first, frozen, slow = pn.Dense(6, "tanh", name="first"), pn.Dense(5, "tanh"), pn.Dense(4, "tanh")
    frozen.trainable, slow.rate_factor = False, 0.0
    model = pn.Sequential([pn.Input(2), first, frozen, slow, pn.Dense(2)], dtype="float32")
    mask = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 1, 0, 1, 1]], bool)
    model.weights.set_masks({"first.kernel": mask})
    assert len(places(model)) == mask.sum() + 6 + 4 * 2 + 2
    before = {key: value.copy() for key, value in model.parameters().items()}
    padding = np.ones(len(model.arena), bool)
    for weight, record in zip(model.weights, model.weights.records, strict=True):
        marks = np.zeros(len(model.arena))
        pn.plan.pack(marks, record, np.ones(weight.shape))
        padding &= marks == 0
    trainer = fitted(model, name, 8, backend=backend)
    for key, value in model.parameters().items():
        kept = ~mask if key == "first.kernel" else key.startswith(("dense_1.", "dense_2."))
        same = value.view("u4") == before[key].view("u4")
        assert (same == kept).all(), key
    assert not model.arena[padding].any()
    assert trainer.history.history["loss"][-1] < trainer.history.history["loss"][0]


# ---- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_why_it_ends(backend):
    """And the epoch that ends it is the last; the next fit ends at once."""
    line = {"X": X, "y": X @ [[1.0], [2.0]]}  # which a line fits

    def ends(optimizer, net=surrogate, epochs=200, **data):
        trainer = fitted(net(), optimizer, epochs, backend=backend, **data)
        losses = trainer.history.history["loss"]
        assert trainer.epoch == len(losses) == trainer.step < epochs
        assert (np.diff(losses) <= 0).all()
        return trainer

    def linear(dtype="float64"):
        return pn.Sequential([pn.Input(2), pn.Dense(1)], dtype=dtype)

    for make in (pn.LBFGS, pn.LevenbergMarquardt):
        trainer = ends(make(gradient_tolerance=1e-3), **line, net=linear)
        assert trainer.history.stopped == "gradient"
        assert trainer.history.history["gradient"][-1] <= 1e-3 < trainer.history.history["gradient"][0]
        trainer.fit(**line, epochs=5, verbose=0)
        assert trainer.epoch == len(trainer.history.history["loss"]) == trainer.step
        assert trainer.history.history["loss"][-1] == trainer.history.history["loss"][-2]
        trainer = ends(make(loss_tolerance=0.05, gradient_tolerance=0))
        a, b = trainer.history.history["loss"][-2:]
        assert trainer.history.stopped == "loss"
        assert a - b <= 0.05 * a
    noise = {"X": X, "y": Y[:, :1] + np.random.default_rng(0).normal(size=(60, 1))}
    exact = {"gradient_tolerance": 0, "loss_tolerance": 0}  # only rounding ends it
    assert ends(pn.LBFGS(**exact), lambda: linear("float32"), **noise).history.stopped == "line search"
    assert ends(pn.LevenbergMarquardt(**exact), linear, **noise).history.stopped == "damping"


@pytest.mark.parametrize("backend", BACKENDS)
def test_damping_stays_inside_its_bounds(backend):
    trainer = fitted(surrogate(), pn.LevenbergMarquardt(damping_min=0.2, damping_max=0.7), 20, backend=backend)
    damping = np.array(trainer.history.history["damping"])
    assert damping.min() == 0.2
    assert damping.max() <= 0.7
    trainer = fitted(surrogate(), pn.LevenbergMarquardt(damping=1e-9, max_evaluations=1), 50, backend=backend)
    assert trainer.history.stopped == "damping"
    assert set(trainer.history.history["evaluations"]) == {1}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_singular_matrix_is_damped_until_it_is_not(backend):
    """Two inputs that are the same, and a unit that is dead: J'J has no inverse."""
    model = pn.Sequential([pn.Input(2), pn.Dense(3, "relu"), pn.Dense(1)], dtype="float64", random_state=0)
    weights = model.get_weights()
    weights[1][:] = [-100, 1, 1]
    model.set_weights(weights)
    optimizer = pn.LevenbergMarquardt(damping=1e-300, damping_min=1e-300)
    twice = np.repeat(X[:, :1], 2, axis=1)
    trainer = fitted(model, optimizer, 10, twice, np.abs(twice[:, :1]), backend=backend)
    history = trainer.history.history
    assert np.isfinite(model.arena).all()
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert history["damping"][0] > 1e-300


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_is_not_finite_at_the_start(name, backend):
    model = surrogate("float32")
    model.set_weights([np.full_like(w, 1e25) for w in model.get_weights()])
    before = model.arena.tobytes()
    with pytest.raises(FloatingPointError, match="where the search begins"):
        fitted(model, name, 3, backend=backend)
    assert model.arena.tobytes() == before


# ---- the life of a fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_validation_callbacks_and_progress(name, backend, capsys):
    seen = []

    class Look(pn.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            seen.append(logs)

    trainer = pn.Trainer(surrogate(), "mse", name, ["r2"], backend=backend)
    stop = pn.EarlyStopping("val_loss", patience=2, restore_best_weights=True)
    trainer.fit(X, Y, epochs=300, validation_split=0.4, callbacks=[stop, Look()], verbose=2)
    assert stop.stopped_epoch == trainer.epoch - 1 < 299
    best = trainer.history.history["val_loss"][stop.best_epoch]
    assert best == min(trainer.history.history["val_loss"])
    assert set(seen[-1]) == set(trainer.fit_info["metrics"]) == set(trainer.history.history)
    assert {"gradient", "evaluations"} < set(seen[-1])
    assert trainer.fit_info["batches"] == 1
    assert trainer.fit_info["rows"] == trainer.fit_info["batch_size"] == 36
    assert f"epoch {trainer.epoch:>3}/300  loss " in capsys.readouterr().err


def small_slices(monkeypatch):
    monkeypatch.setattr(pynet.second_order, "SLICE_SECONDS", 0.0)  # one batch, or 16 rows of a Jacobian
    monkeypatch.setattr(pynet.second_order, "ROWS", 17)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_slices_and_fits_do_not_show(name, backend, monkeypatch):
    """Between two slices the model holds the point of the last epoch; ten fits of one epoch are one of ten."""
    monkeypatch.setattr(pynet.second_order, "ROWS", 17)
    whole = bits(fitted(surrogate(), name, 10, backend=backend))
    small_slices(monkeypatch)
    points = []

    class Look(pn.Callback):
        def on_slice_end(self, trainer, logs):
            points.append((trainer.step, trainer.model.arena.tobytes()))

    assert bits(fitted(surrogate(), name, 10, backend=backend, callbacks=[Look()])) == whole
    assert len(points) > 40
    assert len(set(points)) == len({step for step, _ in points}) == 11
    trainer = pn.Trainer(surrogate(), "mse", name, backend=backend)
    for _ in range(10):
        trainer.fit(X, Y, epochs=1, verbose=0)
    assert bits(trainer) == whole


@pytest.mark.parametrize("name", NAMES)
def test_a_search_begins_anew_where_it_is_not_the_same(name):
    """Other data, or weights that somebody has changed."""
    trainer = fitted(surrogate(), name, 6)
    other = pn.Trainer(surrogate(), "mse", name)
    other.model.load_state_dict(trainer.model.state_dict())
    assert trainer._search["arrays"]["numbers"][1] == 6
    trainer.fit(X[::-1], Y[::-1], epochs=4, verbose=0)
    other.fit(X[::-1], Y[::-1], epochs=4, verbose=0)
    assert trainer._search["arrays"]["numbers"][1] == 4
    assert trainer.model.arena.tobytes() == other.model.arena.tobytes()
    trainer.model.set_weights([w * 1.01 for w in trainer.model.get_weights()])
    trainer.fit(X[::-1], Y[::-1], epochs=1, verbose=0)
    assert trainer._search["arrays"]["numbers"][1] == 1
    trainer.fit(X[::-1], Y[::-1], epochs=1, verbose=0)
    assert trainer._search["arrays"]["numbers"][1] == 2
    scale = trainer.model.layers[0]  # no weight that is searched, but the loss depends on it
    weights = trainer.model.state_dict()
    weights[f"{scale.name}.scale"] = weights[f"{scale.name}.scale"] * 1.01
    trainer.model.load_state_dict(weights)
    trainer.fit(X[::-1], Y[::-1], epochs=1, verbose=0)
    assert trainer._search["arrays"]["numbers"][1] == 1
    loss = trainer.evaluate(X[::-1], Y[::-1])["loss"]
    assert trainer.history.history["loss"][-1] == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_fit_ends_with_the_same_bits(name, backend, monkeypatch, tmp_path):
    """From a checkpoint written after any slice, in the middle of an epoch, too; up to the end, where tries fail."""
    small_slices(monkeypatch)
    options = {"validation_split": 0.2, "verbose": 0}
    optimizer = {"name": name, "gradient_tolerance": 0, "loss_tolerance": 0}

    class Leave(pn.Callback):
        slices, wanted = 0, ()

        def on_slice_end(self, trainer, logs):
            if self.slices in self.wanted:
                trainer.save_checkpoint(tmp_path / f"{self.slices}.safetensors")
            self.slices += 1

    def fit(leave):
        trainer = pn.Trainer(surrogate("float32", l2=0.02, head_l2=0.02), "mse", optimizer, backend=backend)
        epochs = 6 if (backend, name) == ("numpy", "levenberg_marquardt") else 300
        trainer.fit(X, Y, epochs=epochs, callbacks=[leave], **options)
        return trainer

    count, leave = Leave(), Leave()
    fit(count)
    many = 12 if backend == "c" else 3
    leave.wanted = {0, *range(1, count.slices, count.slices // many), *range(count.slices - many // 2, count.slices)}
    trainer = fit(leave)
    assert trainer.epoch == 6 or trainer.history.stopped == {"lbfgs": "line search"}.get(name, "damping")
    assert max(trainer.history.history["evaluations"]) > 1
    for k in leave.wanted:
        resumed = pn.Trainer.resume(tmp_path / f"{k}.safetensors")
        assert resumed.optimizer == trainer.optimizer
        resumed.fit(X, Y, **options)
        assert bits(resumed) == bits(trainer), k
    with pytest.raises(ValueError, match="learning_rate"):
        pn.Trainer.resume(tmp_path / "0.safetensors", learning_rate=0.1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "value"), [("pairs", 1e6), ("next", 1e9), ("next", -1.0), ("next", np.nan), ("iterations", np.inf)]
)
def test_numbers_of_a_file_that_no_search_has_written_begin_a_new_one(name, value, backend, tmp_path):
    """They would lead outside of memory."""
    trainer = pn.Trainer(surrogate(), "mse", "lbfgs", backend=backend)

    class Leave(pn.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            if epoch == 3:
                trainer.save_checkpoint(tmp_path / "whole.safetensors")

    trainer.fit(X, Y, epochs=6, callbacks=[Leave()], verbose=0)
    tensors, texts = _safetensors.read(tmp_path / "whole.safetensors", check_finite=False)
    numbers = tensors["search.numbers"].copy()
    numbers[NUMBERS.index(name)] = value
    _safetensors.write(tmp_path / "odd.safetensors", {**tensors, "search.numbers": numbers}, texts)
    for file, iterations in (("whole", 6), ("odd", 2)):
        resumed = pn.Trainer.resume(tmp_path / f"{file}.safetensors")
        resumed.fit(X, Y, verbose=0)
        assert resumed.epoch == 6
        assert resumed._search["arrays"]["numbers"][NUMBERS.index("iterations")] == iterations


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_ctrl_c_leaves_the_point_of_the_last_epoch(name, backend, monkeypatch):
    small_slices(monkeypatch)

    class Interrupt(pn.Callback):
        slices = 0

        def on_slice_end(self, trainer, logs):
            self.slices += 1
            if self.slices == 33:
                signal.raise_signal(signal.SIGINT)

    trainer = pn.Trainer(surrogate(), "mse", name, backend=backend)
    with pytest.warns(UserWarning, match="interrupted by Ctrl-C"):
        trainer.fit(X, Y, epochs=100, verbose=0, callbacks=[Interrupt()])
    assert trainer.history.interrupted
    assert trainer.step == trainer.epoch == len(trainer.history.history["loss"]) < 30
    shorter = fitted(surrogate(), name, trainer.epoch, backend=backend)
    assert trainer.model.arena.tobytes() == shorter.model.arena.tobytes()
    trainer.fit(X, Y, epochs=3, verbose=0)  # and goes on from there
    assert bits(trainer)[0] == bits(fitted(surrogate(), name, trainer.epoch, backend=backend))[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_adam_first_then_second_order_then_adam(backend, tmp_path):
    """The optimizer of a trainer may be changed between fits."""
    trainer, losses = pn.Trainer(surrogate(), "mse", pn.Adam(1e-2), backend=backend), []
    for optimizer in (pn.Adam(1e-2), pn.LBFGS(), pn.LevenbergMarquardt(), pn.Adam(1e-4)):
        trainer.optimizer = optimizer
        trainer.fit(X, Y, epochs=6, verbose=0)
        losses.append(trainer.evaluate(X, Y)["loss"])
        trainer.save_checkpoint(tmp_path / "c.safetensors")
        assert pn.Trainer.resume(tmp_path / "c.safetensors").optimizer == optimizer
    assert losses[0] > losses[1] > losses[2]
    assert losses[3] == pytest.approx(losses[2], rel=0.05)
    history = trainer.history.history
    assert np.isfinite(history["damping"]).sum() == 6
    assert np.isfinite(history["step"]).sum() == 6


def test_a_callback_may_prune():
    """The search begins anew with what is left."""

    class Prune(pn.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            if epoch == 3:
                pn.prune.magnitude(trainer.model, 0.5)

    for name in NAMES:
        trainer = pn.Trainer(surrogate(), "mse", name)
        trainer.fit(X, Y, epochs=8, verbose=0, callbacks=[Prune()])
        mask = trainer.model.weights.masks()["dense_1.kernel"]
        assert (trainer.model.parameters()["dense_1.kernel"] != 0).tolist() == mask.tolist()
        losses = trainer.history.history["loss"]
        assert len(losses) == 8 or trainer.history.stopped
        assert losses[-1] < losses[4]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_an_error_in_a_python_layer_leaves_the_model_in_order(name, backend):
    calls = []

    def forward(x):
        calls.append(1)
        if len(calls) > limit:
            raise RuntimeError("no more")
        return x

    model = pn.Sequential(
        [pn.Input(2), pn.Dense(3, "tanh"), pn.PythonLayer(forward, lambda x, y, dy: dy, 3), pn.Dense(2)],
        dtype="float64", random_state=0,
    )  # fmt: skip
    limit = 10**9
    trainer = fitted(model, name, 3, backend=backend)
    before, limit = model.arena.tobytes(), len(calls) + (0 if name == "lbfgs" else 30)
    with pytest.raises(RuntimeError, match="no more"):
        trainer.fit(X, Y, epochs=1, verbose=0)
    assert (model.arena.tobytes(), trainer.step) == (before, 3)
    limit = 10**9
    trainer.fit(X, Y, epochs=2, verbose=0)
    assert np.isfinite(trainer.history.history["loss"]).all()
