"""Callbacks, driven by a trainer that only pretends."""

import json

import numpy as np
import pytest

from pynet import callbacks
from pynet.callbacks import Callback, EarlyStopping, ModelCheckpoint


class FakeModel:
    def __init__(self):
        self.weights = {"dense_1.kernel": np.zeros((2, 3)), "dense_1.bias": np.zeros(3)}

    def state_dict(self):
        return {name: array.copy() for name, array in self.weights.items()}

    def load_state_dict(self, weights):
        assert weights.keys() == self.weights.keys()
        self.weights = {name: array.copy() for name, array in weights.items()}


class FakeTrainer:
    """Epoch k sets every weight to k; the logs come from a table."""

    def __init__(self, metrics=("loss", "val_loss", "val_accuracy")):
        self.model = FakeModel()
        self.fit_info = {"metrics": list(metrics)}
        self.epoch = self.step = 0
        self.saved = []

    def save_checkpoint(self, path):
        self.saved.append((path, self.epoch))

    def fit(self, callback, table, slices=1):
        """Run the epochs of `table` (dicts of logs); return the number of epochs that ran."""
        callback.on_fit_begin(self)
        first = self.epoch
        for logs in table:
            callback.on_epoch_begin(self, self.epoch)
            for _ in range(slices):
                callback.on_slice_end(self, {"loss": 0.0})
            for array in self.model.weights.values():
                array[...] = self.epoch
            self.epoch += 1
            if callback.on_epoch_end(self, self.epoch - 1, logs):
                break
        callback.on_fit_end(self)
        return self.epoch - first


def losses(*values):
    return [{"loss": 1.0, "val_loss": value, "val_accuracy": 1.0 - value} for value in values]


def test_the_base_class_does_nothing():
    assert FakeTrainer().fit(Callback(), losses(1, 2, 3)) == 3
    assert Callback().state() == ({}, {})
    Callback().set_state({}, {})


@pytest.mark.parametrize(("patience", "epochs"), [(0, 4), (1, 4), (2, 7), (3, 8), (4, 9), (5, 9)])
def test_patience(patience, epochs):
    stopping = EarlyStopping(patience=patience)
    assert FakeTrainer().fit(stopping, losses(5, 4, 3, 3.5, 2.5, 2.6, 2.7, 2.8, 2.9)) == epochs
    assert stopping.stopped_epoch == (epochs - 1 if patience < 5 else None)


def test_what_is_remembered():
    stopping = EarlyStopping(patience=2)
    assert FakeTrainer().fit(stopping, losses(5, 3, 4, 4, 1)) == 4
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (3, 1, 3)
    assert FakeTrainer().fit(stopping, losses(9, 8)) == 2  # a new fit begins anew
    assert (stopping.best, stopping.best_epoch, stopping.stopped_epoch) == (8, 1, None)


def test_modes():
    rising = [{"val_loss": 0.0, "val_accuracy": value, "x": value} for value in (0.1, 0.2, 0.3, 0.3, 0.2)]
    names = ("val_accuracy", "x")
    assert FakeTrainer(names).fit(EarlyStopping("val_accuracy"), rising) == 4
    assert FakeTrainer(names).fit(EarlyStopping("x"), rising) == 2
    assert FakeTrainer(names).fit(EarlyStopping("x", mode="max"), rising) == 4
    assert FakeTrainer(names).fit(EarlyStopping("val_accuracy", mode="min"), rising) == 2


def test_min_delta_and_start():
    assert FakeTrainer().fit(EarlyStopping(min_delta=0.5), losses(5, 4.6, 4.4)) == 2
    assert FakeTrainer().fit(EarlyStopping(min_delta=0.5), losses(5, 4.4, 3.8, 3.7)) == 4
    stopping = EarlyStopping(start_from_epoch=2)
    assert FakeTrainer().fit(stopping, losses(1, 2, 5, 4, 6)) == 5
    assert stopping.best_epoch == 3


def test_nan_is_never_better():
    stopping = EarlyStopping(patience=2)
    assert FakeTrainer().fit(stopping, losses(np.nan, np.nan)) == 2
    assert stopping.best is None
    stopping = EarlyStopping(patience=2)
    assert FakeTrainer().fit(stopping, losses(3, np.nan, 2, np.nan, np.nan, 1)) == 5
    assert stopping.best == 2


@pytest.mark.parametrize("values", [(5, 3, 4, 4, 1), (5, 3, 4)], ids=["stopped", "ran out"])
def test_best_weights_come_back(values):
    trainer = FakeTrainer()
    trainer.fit(EarlyStopping(patience=2, restore_best_weights=True), losses(*values))
    assert (trainer.model.weights["dense_1.kernel"] == 1).all()
    trainer = FakeTrainer()
    ran = trainer.fit(EarlyStopping(patience=2), losses(*values))
    assert (trainer.model.weights["dense_1.kernel"] == ran - 1).all()


def test_no_epoch_counted_leaves_the_weights_alone():
    trainer = FakeTrainer()
    trainer.fit(EarlyStopping(restore_best_weights=True, start_from_epoch=9), losses(5, 3))
    assert (trainer.model.weights["dense_1.kernel"] == 1).all()


@pytest.mark.parametrize("cut", range(1, 6))
def test_state_continues_where_it_was(cut):
    table = losses(5, np.inf, 4, 4.5, 3, 3.1, 3.2, 3.3, 9)

    def make():
        return EarlyStopping(patience=3, restore_best_weights=True)

    whole, trainer = make(), FakeTrainer()
    assert trainer.fit(whole, table) == 8

    first, other = make(), FakeTrainer()
    other.fit(first, table[:cut])
    values, arrays = first.state()
    values = json.loads(json.dumps(values, allow_nan=False))
    second = make()
    second.set_state(values, {name: array.copy() for name, array in arrays.items()})
    assert cut + other.fit(second, table[cut:]) == 8
    assert (second.best, second.best_epoch, second.stopped_epoch) == (3, 4, 7)
    for name, array in trainer.model.weights.items():
        assert np.array_equal(array, other.model.weights[name])


def test_an_infinite_best_survives_the_file():
    stopping = EarlyStopping()
    FakeTrainer().fit(stopping, losses(np.inf))
    other = EarlyStopping()
    other.set_state(json.loads(json.dumps(stopping.state()[0], allow_nan=False)), {})
    assert other.best == np.inf


def test_a_monitor_that_is_not_computed():
    with pytest.raises(ValueError, match=r"watches 'val_loss'.*computes: loss, accuracy\); give fit validation_data"):
        FakeTrainer(("loss", "accuracy")).fit(EarlyStopping(), losses(1))
    with pytest.raises(ValueError, match=r"watches 'acuracy'.*did you mean 'accuracy'"):
        FakeTrainer(("loss", "accuracy")).fit(EarlyStopping("acuracy"), losses(1))
    trainer = FakeTrainer()
    trainer.fit_info = None  # a trainer that does not tell: noticed at the end of the epoch
    with pytest.raises(ValueError, match=r"watches 'x'.*computes: loss, val_loss, val_accuracy"):
        trainer.fit(EarlyStopping("x"), losses(1))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: EarlyStopping(patience=-1), ValueError, "patience must be >= 0"),
        (lambda: EarlyStopping(patience=1.5), TypeError, "patience must be an integer"),
        (lambda: EarlyStopping(min_delta=-1), ValueError, "min_delta"),
        (lambda: EarlyStopping(min_delta=float("nan")), ValueError, "min_delta"),
        (lambda: EarlyStopping(mode="maximum"), ValueError, "unknown mode 'maximum'"),
        (lambda: EarlyStopping(monitor=3), TypeError, "monitor must be the name"),
        (lambda: EarlyStopping(start_from_epoch="1"), TypeError, "start_from_epoch"),
        (lambda: ModelCheckpoint(3), TypeError, "path"),
        (lambda: ModelCheckpoint("a", every_seconds=-1), ValueError, "every_seconds"),
        (lambda: ModelCheckpoint("a", save_best_only=True, every_seconds=1), ValueError, "give one of them"),
        (lambda: EarlyStopping().set_state({"best": "x", "best_epoch": 0}, {}), ValueError, "float"),
        (lambda: EarlyStopping().set_state({"best": None, "best_epoch": -1}, {}), ValueError, "best_epoch"),
    ],
)
def test_bad_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_checkpoint_after_every_epoch(tmp_path):
    trainer = FakeTrainer()
    trainer.fit(ModelCheckpoint(tmp_path / "a"), losses(3, 2))
    assert trainer.saved == [(str(tmp_path / "a"), 1), (str(tmp_path / "a"), 2)]


def test_checkpoint_names():
    trainer = FakeTrainer()
    trainer.fit(ModelCheckpoint("net-{epoch:03d}-{val_loss:.2f}"), losses(3, 2.125))
    assert trainer.saved == [("net-001-3.00", 1), ("net-002-2.12", 2)]


@pytest.mark.parametrize("path", ["{lost}", "{}", "{epoch:q}", "{epoch", "{epoch.x}"])
def test_checkpoint_names_that_cannot_be(path):
    trainer = FakeTrainer()
    with pytest.raises(ValueError, match=r"cannot be filled in.*known names: epoch, loss"):
        trainer.fit(ModelCheckpoint(path), losses(3))
    assert trainer.epoch == 0  # before the first epoch


def test_checkpoint_of_the_best_only():
    trainer = FakeTrainer()
    trainer.fit(ModelCheckpoint("a", save_best_only=True), losses(3, 4, 2, 2))
    assert [epoch for _, epoch in trainer.saved] == [1, 3]
    trainer = FakeTrainer()
    trainer.fit(ModelCheckpoint("a", "val_accuracy", save_best_only=True), losses(3, 4, 2, 2))
    assert [epoch for _, epoch in trainer.saved] == [1, 3]
    with pytest.raises(ValueError, match="watches 'val_loss'"):
        FakeTrainer(("loss",)).fit(ModelCheckpoint("a", save_best_only=True), losses(3))


def test_checkpoint_by_the_clock(monkeypatch):
    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls):
            cls.now += 0.25
            return cls.now

    monkeypatch.setattr(callbacks, "time", Clock)
    trainer = FakeTrainer()
    trainer.fit(ModelCheckpoint("at-{epoch}", every_seconds=1.0), losses(3, 2), slices=10)
    assert [path for path, _ in trainer.saved] == ["at-1"] * 3 + ["at-2"] * 3
    with pytest.raises(ValueError, match="known names: epoch"):
        FakeTrainer().fit(ModelCheckpoint("{val_loss}", every_seconds=1.0), losses(3))


def test_checkpoints_run_after_the_others():
    assert ModelCheckpoint("a").order > EarlyStopping().order == Callback().order
