"""A fit as seen from outside: callbacks, stopping, what it prints, and what a failed one leaves behind."""

import io

import numpy as np
import pytest

import pynet as pn

pytestmark = pytest.mark.parametrize("backend", ["c", "numpy"])
X = np.random.default_rng(0).normal(size=(60, 4))
y = np.argmax(X[:, :3], axis=1)


def make(backend, optimizer="adam", loss="cross_entropy", **options):
    model = pn.Sequential([pn.Input(4), pn.Dense(8, "relu"), pn.Dense(3, "softmax")], dtype="float64")
    return pn.Trainer(model, loss, optimizer, backend=backend, **options)


class Log(pn.Callback):
    """Writes down what it hears."""

    def __init__(self, book, name, order=0, stop_after=None):
        self.book, self.name, self.order, self.stop_after = book, name, order, stop_after

    def note(self, occasion, *rest):
        self.book.append((self.name, occasion, *rest))

    def on_fit_begin(self, trainer):
        self.note("fit_begin", trainer.epoch, trainer.step, trainer.fit_info["epochs"], trainer.fit_info["metrics"])

    def on_epoch_begin(self, trainer, epoch):
        self.note("epoch_begin", epoch)

    def on_slice_end(self, trainer, logs):
        assert np.isfinite(logs["loss"])
        if self.book[-1][:2] != (self.name, "slice"):
            self.note("slice")

    def on_epoch_end(self, trainer, epoch, logs):
        assert logs == {name: trainer.history.history[name][-1] for name in logs}
        assert trainer.epoch == epoch + 1
        self.note("epoch_end", epoch, trainer.step)
        return epoch == self.stop_after

    def on_fit_end(self, trainer):
        self.note("fit_end", trainer.epoch)


def test_occasions_in_order(backend):
    book = []
    trainer = make(backend, metrics=["accuracy"])
    trainer.fit(X, y, epochs=5, validation_split=0.5, callbacks=[Log(book, "a", stop_after=1)], verbose=0)
    metrics = ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert book == [
        ("a", "fit_begin", 0, 0, 5, metrics),
        ("a", "epoch_begin", 0), ("a", "slice"), ("a", "epoch_end", 0, 1),
        ("a", "epoch_begin", 1), ("a", "slice"), ("a", "epoch_end", 1, 2),
        ("a", "fit_end", 2),
    ]  # fmt: skip
    book.clear()
    trainer.fit(X, y, epochs=2, callbacks=[Log(book, "a")], verbose=0)
    assert book[0] == ("a", "fit_begin", 2, 2, 4, ["loss", "accuracy"])
    assert [entry[2] for entry in book if entry[1] == "epoch_begin"] == [2, 3]


def test_callbacks_run_in_the_order_of_the_list_then_of_their_order(backend):
    book = []
    callbacks = [Log(book, "late", order=1), Log(book, "a", stop_after=0), Log(book, "b")]
    make(backend).fit(X, y, epochs=3, callbacks=callbacks, verbose=0)
    assert [name for name, occasion, *_ in book if occasion == "epoch_end"] == ["a", "b", "late"]


def test_any_object_with_one_of_the_methods_will_do(backend):
    class Duck:
        seen = 0

        def on_epoch_end(self, trainer, epoch, logs):
            self.seen += 1
            return 1  # only True stops

    duck = Duck()
    make(backend).fit(X, y, epochs=3, callbacks=[duck], verbose=0)
    assert duck.seen == 3


def test_the_true_of_numpy_stops_as_well(backend):
    class Stop(pn.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            return np.float64(epoch) > 0

    trainer = make(backend)
    trainer.fit(X, y, epochs=5, callbacks=[Stop()], verbose=0)
    assert trainer.epoch == 2


def test_stop_training_holds_at_the_next_slice_and_only_for_this_fit(backend):
    class Stop(pn.Callback):
        def on_slice_end(self, trainer, logs):
            trainer.stop_training = True

    trainer = make(backend)
    many = np.tile(X, (4000, 1))
    history = trainer.fit(many, np.tile(y, 4000), epochs=2, batch_size=2, callbacks=[Stop()], verbose=0)
    assert 0 < trainer.step < 120_000
    assert (trainer.epoch, history.history) == (0, {})
    trainer.fit(X, y, epochs=2, verbose=0)
    assert trainer.epoch == 2


def test_early_stopping_restores_the_best_weights(backend):
    class Spoil(pn.Callback):
        """Throws the weights about after epoch 2, and keeps copies."""

        def __init__(self):
            self.kept = []

        def on_epoch_end(self, trainer, epoch, logs):
            self.kept.append(trainer.model.arena.copy())
            if epoch == 2:
                trainer.optimizer.learning_rate = 5.0

    for restore in (True, False):
        spoil = Spoil()
        stopping = pn.EarlyStopping(patience=3, restore_best_weights=restore)
        trainer = make(backend, pn.SGD(0.05))
        history = trainer.fit(X, y, epochs=50, validation_data=(X, y), callbacks=[spoil, stopping], verbose=0).history
        values = history["val_loss"]
        best = int(np.argmin(values))
        assert stopping.best == min(values)
        assert (stopping.best_epoch, stopping.stopped_epoch) == (best, best + 3)
        assert len(values) == best + 4 < 50
        assert np.array_equal(trainer.model.arena, spoil.kept[best if restore else -1])
        assert not np.array_equal(spoil.kept[best], spoil.kept[-1])


def test_early_stopping_needs_what_it_watches(backend):
    trainer = make(backend)
    before = trainer.model.arena.tobytes()
    with pytest.raises(ValueError, match=r"'val_loss', which this fit does not compute.*validation_data"):
        trainer.fit(X, y, epochs=1, callbacks=[pn.EarlyStopping()], verbose=0)
    assert trainer.model.arena.tobytes() == before


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_what_is_printed(backend, verbose, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    texts = []
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setattr("pynet.progress._tqdm", lambda notebook: None)
        make(backend, metrics=["accuracy"]).fit(X, y, epochs=3, validation_split=0.1, verbose=verbose)
        texts.append(stream.getvalue())
    for text in texts[:1] if verbose == 1 else texts:
        lines = text.splitlines()
        assert len(lines) == (0, 3, 3)[verbose]
        for k, line in enumerate(lines):
            assert line.startswith(f"epoch {k + 1}/3  loss 1.")
            for word in ("accuracy 0.", "val_loss ", "val_accuracy ", " rows/s"):
                assert word in line
    assert ("\r" in texts[1]) == (verbose == 1)
    assert verbose == 0 or texts[1].endswith("\n") or texts[1].endswith("\r")


def test_a_loss_of_ones_own_may_take_class_numbers(backend):
    class CrossEntropy:
        def value_and_gradient(self, prediction, target):
            at = np.arange(len(target)), target
            gradient = np.zeros_like(prediction)
            gradient[at] = -1 / (prediction[at] * len(target))
            return float(-np.log(prediction[at]).mean()), gradient

    ends = []
    for loss in ("cross_entropy", CrossEntropy()):
        trainer = make(backend, loss=loss, metrics=["accuracy"])
        ends.append(trainer.fit(X, y, epochs=3, verbose=0).history)
    for name, values in ends[0].items():
        assert ends[1][name] == pytest.approx(values, rel=1e-10)


# ---- when it goes wrong -------------------------------------------------------------------------------------------


def test_a_loss_that_explodes_stops_before_the_weights_are_spoilt(backend):
    model = pn.Sequential([pn.Input(4), pn.Dense(8, "relu"), pn.Dense(3)], dtype="float64")
    trainer = pn.Trainer(model, "mse", pn.SGD(1e9), backend=backend)
    text = r"became NaN or infinite in epoch \d+, batch \d+ \(step \d+\).*Lower the learning rate, clip"
    with pytest.raises(FloatingPointError, match=text):
        trainer.fit(X, np.eye(3)[y], epochs=50, batch_size=7, verbose=0)
    assert trainer.step > 1
    assert np.isfinite(model.arena).all()
    trainer.optimizer.learning_rate = 1e-3
    model.initialize()
    trainer.fit(X, np.eye(3)[y], epochs=2, verbose=0)
    assert np.isfinite(trainer.history.history["loss"]).all()


def test_the_weights_are_those_before_the_batch_at_fault(backend):
    bad = X.copy()
    bad[40] = 1e308  # finite, but its square sum is not
    layers = [pn.Input(4), pn.Dense(3)]
    ends = []
    for rows, inputs in ((60, bad), (40, X)):
        trainer = pn.Trainer(pn.Sequential(layers, dtype="float64"), "mse", pn.SGD(1e-3), backend=backend)
        trainer.model.initialize(0)
        if rows == 60:
            with pytest.raises(FloatingPointError, match=r"epoch 0, batch 4 \(step 4\)"):
                trainer.fit(inputs, np.eye(3)[y], epochs=1, batch_size=10, shuffle=False, verbose=0)
        else:
            trainer.fit(inputs[:40], np.eye(3)[y[:40]], epochs=1, batch_size=10, shuffle=False, verbose=0)
        ends.append(trainer.model.arena.tobytes())
    assert ends[0] == ends[1]


@pytest.mark.parametrize("hook", ["on_fit_begin", "on_epoch_begin", "on_slice_end", "on_epoch_end", "on_fit_end"])
def test_an_error_in_a_callback_ends_the_fit_and_nothing_else(backend, hook):
    def fail(*arguments):
        raise RuntimeError("of my own")

    callback = pn.Callback()
    setattr(callback, hook, fail)
    trainer = make(backend)
    with pytest.raises(RuntimeError, match="of my own"):
        trainer.fit(X, y, epochs=1, callbacks=[callback], verbose=0)
    trainer.fit(X, y, epochs=2, verbose=0)
    assert np.isfinite(trainer.model.arena).all()


def test_a_fit_within_a_fit_is_refused_but_evaluating_is_not(backend):
    def nested(trainer, epoch, logs):
        assert trainer.evaluate(X, y)["loss"] > 0
        trainer.gradients(X, y)
        with pytest.raises(RuntimeError, match="fitting already"):
            trainer.fit(X, y, verbose=0)

    ends = []
    for hook in (nested, lambda *_: None):
        callback = pn.Callback()
        callback.on_epoch_end = hook
        trainer = make(backend, clip=pn.ClipNorm(0.5))
        trainer.fit(X, y, epochs=3, callbacks=[callback], verbose=0)
        ends.append(trainer.model.arena.tobytes())
    assert ends[0] == ends[1]
