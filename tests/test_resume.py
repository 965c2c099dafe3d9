"""Stop anywhere, even by kill -9, resume from the checkpoint, and end with the same bits."""

import copy
import hashlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import pynet as pn
from pynet import files

# What the child process trains; `setting` picks the rest.
SCRIPT = """
import hashlib, json, sys
import numpy as np
import pynet as pn
import pynet.fit
from pynet.plan import unpack

pynet.fit.SLICE_SECONDS = 0.0005  # many checkpoints an epoch
path, setting, mode = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
rng = np.random.default_rng(0)
X = rng.normal(size=(setting["rows"], 32)).astype("f4")
y = np.argmax(X[:, :5] + rng.normal(size=(setting["rows"], 5)), axis=1)
more = eval(setting["more"], {"pn": pn})
layers = [pn.Input(32), pn.Dense(setting["hidden"], "tanh", l2=1e-4), *more, pn.Dense(5, "softmax")]

def trainer():
    model = pn.Sequential(layers, dtype=setting["dtype"])
    optimizer = eval(setting["optimizer"], {"pn": pn})
    options = {"metrics": ["accuracy"], "clip": [pn.ClipNorm(1.0)], "random_state": 11}
    return pn.Trainer(model, "cross_entropy", optimizer, backend=setting["backend"], **options)

class Say(pn.Callback):
    order = 2  # after the checkpoint

    def on_slice_end(self, trainer, logs):
        print("step", trainer.step, flush=True)

    on_epoch_end = lambda self, trainer, epoch, logs: self.on_slice_end(trainer, logs)

callbacks = [
    pn.EarlyStopping(patience=setting["patience"], restore_best_weights=True),
    pn.ModelCheckpoint(path, every_seconds=setting["every_seconds"]),
    Say(),
]
t = trainer() if mode == "start" else pn.Trainer.resume(path)
begun = {"epoch": t.epoch, "step": t.step, "batch": (t._pending or {}).get("batch")}
more = {"epochs": setting["epochs"], "batch_size": setting["batch"]} if mode == "start" else {}
t.fit(X, y, validation_split=0.2, callbacks=callbacks, verbose=0, **more)
# of the slots what stands beside weights: padding, where Rprop's first step makes sizes, is in no file
slots = [[unpack(slot, record).tobytes() for record in t.model.weights.records] for slot in t._slots]
print(json.dumps({
    "weights": hashlib.sha256(t.model.arena.tobytes()).hexdigest(), "history": t.history.history, "step": t.step,
    "epoch": t.epoch, "begun": begun, "stopped": callbacks[0].stopped_epoch, "best": callbacks[0].best_epoch,
    "slots": [hashlib.sha256(b"".join(of)).hexdigest() for of in slots],
}))
"""

BASE = {
    "rows": 20001, "hidden": 128, "batch": 16, "epochs": 6, "dtype": "float32", "optimizer": "'adam'",
    "patience": 1000, "every_seconds": 0.0, "backend": "c", "more": "[]",
}  # fmt: skip
SETTINGS = {
    "adam": {},
    "momentum, schedule": {"optimizer": "pn.SGD(pn.schedules.Cosine(0.05, 10000), momentum=0.9)", "batch": 7},
    "rprop, float64": {"optimizer": "pn.Rprop()", "dtype": "float64", "batch": 301, "epochs": 6},
    "early stopping, every epoch": {"rows": 1001, "hidden": 64, "epochs": 1000, "patience": 40, "every_seconds": None},
    "the twin": {"backend": "numpy", "rows": 1001, "epochs": 4},
    "random layers and running statistics": {
        "rows": 5003,
        "hidden": 64,
        "epochs": 4,
        "more": "[pn.BatchNorm(), pn.GaussianNoise(0.1), pn.Dense(48, 'noisy_relu'), pn.Dense(48, 'relu'), "
        "pn.Dropout(0.3)]",
    },
}


def start(path, setting, mode):
    command = [sys.executable, "-c", SCRIPT, str(path), json.dumps(setting), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(child):
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
@pytest.mark.parametrize("name", SETTINGS)
def test_kill_9_and_resume_ends_in_the_same_bits(tmp_path, name):
    setting = BASE | SETTINGS[name]
    whole = finish(start(tmp_path / "whole", setting, "start"))
    killed = inside = 0
    for seed in range(4):
        rng, path, mode = random.Random(seed), tmp_path / f"{seed}", "start"
        for share in (rng.uniform(0.02, 0.33), rng.uniform(0.34, 0.66)):  # killed, resumed, killed again, resumed
            child = start(path, setting, mode)
            next(line for line in child.stdout if int(line.split()[1]) >= share * whole["step"])
            time.sleep(rng.uniform(0, 0.004))
            child.send_signal(signal.SIGKILL)
            child.communicate()
            killed += child.returncode == -signal.SIGKILL
            mode = "resume"
        found = finish(start(path, setting, "resume"))
        place = found.pop("begun")
        assert place["step"] > 0
        inside += 0 < (place["batch"] or 0) < 0.8 * setting["rows"] // setting["batch"]
        assert found == {k: v for k, v in whole.items() if k != "begun"}, place
    print(f"killed {killed} times of 8, the last resumption inside an epoch {inside} times of 4")
    assert killed >= 5  # the test did what it says
    assert inside > 0 or setting["every_seconds"] is None
    assert (whole["stopped"] is not None) == ("early" in name) == (whole["epoch"] < setting["epochs"])


# ---- in one process -------------------------------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(50, 4))
y = np.argmax(X[:, :3], axis=1)


class Interrupt(pn.Callback):
    """Saves a checkpoint after some epoch or slice and stops the fit, as a crash would."""

    order = 2

    def __init__(self, path, epoch):
        self.path, self.epoch = path, epoch

    def on_epoch_end(self, trainer, epoch, logs):
        if epoch == self.epoch:
            trainer.save_checkpoint(self.path)
            raise InterruptedError


def make(optimizer="adam", loss="cross_entropy", head="softmax", backend="c", **options):
    layers = [pn.Input(4, shift=0.1, scale=2.0), pn.Dense(8, "tanh", name="body"), pn.Dense(3, head, name="head")]
    return pn.Trainer(pn.Sequential(layers), loss, optimizer, backend=backend, **options)


def cut(path, trainer, target=y, epochs=6, **options):
    with pytest.raises(InterruptedError):
        trainer.fit(X, target, epochs=epochs, batch_size=8, callbacks=[Interrupt(path, 2)], verbose=0, **options)
    return path


@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize(
    "optimizer",
    ["sgd", pn.SGD(0.1, 0.9), pn.SGD(0.1, 0.9, nesterov=True), "adam", "adamw", "rmsprop", "adagrad", "rprop"],
    ids=str,
)
def test_every_optimizer(tmp_path, optimizer, backend):
    def one():
        trainer = make(optimizer, backend=backend, clip=[pn.ClipValue(0.5), pn.SignGradient()], metrics=["accuracy"])
        trainer.model.freeze("body")
        return trainer

    whole = one()
    whole.fit(X, y, epochs=6, batch_size=8, verbose=0)
    resumed = pn.Trainer.resume(cut(tmp_path / "c", one()))
    assert (resumed.epoch, resumed.step, resumed.backend) == (3, 21, backend)
    resumed.fit(X, y, verbose=0)
    assert resumed.history.history == whole.history.history
    assert resumed.model.arena.tobytes() == whole.model.arena.tobytes() != one().model.arena.tobytes()
    assert not resumed.model.get_layer("body").trainable
    for a, b in ((whole, 1), (resumed, 1)):  # and both go on alike
        a.fit(X, y, epochs=b, verbose=0)
    assert resumed.model.arena.tobytes() == whole.model.arena.tobytes()


def test_a_checkpoint_is_a_model_too(tmp_path):
    trainer = make()
    trainer.fit(X, y, epochs=1, verbose=0)
    trainer.save_checkpoint(tmp_path / "c")
    model = pn.load(tmp_path / "c")
    assert model.predict(X).tobytes() == trainer.model.predict(X).tobytes()
    resumed = pn.Trainer.resume(tmp_path / "c")  # saved between two fits: epochs are those of a new one
    resumed.fit(X, y, epochs=2, batch_size=16, verbose=0)
    trainer.fit(X, y, epochs=2, batch_size=16, verbose=0)
    assert resumed.model.arena.tobytes() == trainer.model.arena.tobytes()
    assert resumed.epoch == 3
    model.save(tmp_path / "m")
    with pytest.raises(ValueError, match=r"m: it holds a model only, expected a checkpoint"):
        pn.Trainer.resume(tmp_path / "m")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"X": X + 1}, "are not those of the fit that is resumed"),
        ({"X": X[:49], "y": y[:49]}, "are not those"),
        ({"y": (y + 1) % 3}, "are not those"),
        ({"X": X.astype("f4")}, "are not those"),
        ({"sample_weight": np.ones(len(X))}, "are not those"),
        ({"validation_data": (X, y)}, "are not those"),
        ({"batch_size": 16}, "batch_size=16, but the fit that is resumed here had batch_size=8"),
        ({"epochs": 7}, "epochs=7, but the fit that is resumed here had epochs=6"),
        ({"shuffle": False}, "shuffle=False, but the fit that is resumed here had shuffle=True"),
    ],
)
def test_resume_refuses_another_run(tmp_path, change, text):
    whole = make()
    whole.fit(X, y, epochs=6, batch_size=8, verbose=0)
    resumed = pn.Trainer.resume(cut(tmp_path / "c", make()))
    before = resumed.model.arena.tobytes()
    with pytest.raises(ValueError, match=text):
        resumed.fit(**{"X": X, "y": y, "verbose": 0} | change)
    assert resumed.model.arena.tobytes() == before
    resumed.fit(X, y, epochs=6, batch_size=8, verbose=0)  # after the refusal all is as it was
    assert resumed.model.arena.tobytes() == whole.model.arena.tobytes()


class OwnMSE:
    def value_and_gradient(self, prediction, target):
        d = prediction - target
        return float(np.mean(d * d)), 2 * d / d.size


def test_functions_of_the_user_must_be_given_again(tmp_path):
    t = np.eye(3)[y]
    for pieces, missing in (
        ({"loss": OwnMSE()}, r"the loss of 'head' was an object of yours: give it again, resume\(path, loss=...\)"),
        ({"learning_rate": lambda step: 0.1 / (1 + step)}, "the learning rate was a function of yours: give that"),
    ):
        options = {"loss": pieces.get("loss", "mse"), "optimizer": pn.SGD(pieces.get("learning_rate", 0.1))}
        whole = make(head=None, **options)
        whole.fit(X, t, epochs=6, batch_size=8, verbose=0)
        path = cut(tmp_path / "c", make(head=None, **options), t)
        with pytest.raises(ValueError, match=missing):
            pn.Trainer.resume(path)
        resumed = pn.Trainer.resume(path, **pieces)
        resumed.fit(X, t, verbose=0)
        assert resumed.model.arena.tobytes() == whole.model.arena.tobytes()
        assert resumed.history.history == whole.history.history


def test_the_other_machine_may_continue(tmp_path):
    path = cut(tmp_path / "c", make())
    resumed = pn.Trainer.resume(path, backend="numpy", n_threads=2)
    assert (resumed.backend, resumed.n_threads) == ("numpy", 2)
    whole = make()
    whole.fit(X, y, epochs=6, batch_size=8, verbose=0)
    resumed.fit(X, y, verbose=0)
    np.testing.assert_allclose(resumed.model.arena, whole.model.arena, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ["returns", "sets"])
def test_a_fit_that_was_stopped_is_not_gone_on_with(tmp_path, way):
    class Stop(pn.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            trainer.stop_training = way == "sets" and epoch == 2
            return way == "returns" and epoch == 2

    whole = make()
    callbacks = [pn.ModelCheckpoint(tmp_path / "c"), Stop()]
    whole.fit(X, y, epochs=6, batch_size=8, callbacks=callbacks, verbose=0)
    resumed = pn.Trainer.resume(tmp_path / "c")
    resumed.fit(X, y, verbose=0)
    assert resumed.epoch == whole.epoch == 3
    assert resumed.model.arena.tobytes() == whole.model.arena.tobytes()


def test_no_checkpoint_of_a_state_in_pieces(tmp_path):
    """Within a slice the weights are ahead of what the fit says of them; resumed, they would go another way."""

    class SavesWithinAStep(OwnMSE):
        calls = 0

        def value_and_gradient(self, prediction, target):
            self.calls += 1
            if self.calls == 3:
                trainer.save_checkpoint(tmp_path / "c")
            return super().value_and_gradient(prediction, target)

    trainer = make(head=None, loss=SavesWithinAStep())
    with pytest.raises(RuntimeError, match="in the midst of a fit"):
        trainer.fit(X, np.eye(3)[y], epochs=2, batch_size=8, verbose=0)
    assert not (tmp_path / "c").exists()
    trainer.save_checkpoint(tmp_path / "c")  # afterwards there is none under way


def test_no_checkpoint_from_another_thread(tmp_path):
    class SavesElsewhere(pn.Callback):
        errors = ()

        def save(self, trainer):
            try:
                trainer.save_checkpoint(tmp_path / "c")
            except RuntimeError as error:
                self.errors += (str(error),)

        def on_slice_end(self, trainer, logs):
            thread = threading.Thread(target=self.save, args=(trainer,))
            thread.start()
            thread.join()

    saves = SavesElsewhere()
    make().fit(X, y, epochs=2, callbacks=[saves], verbose=0)
    assert len(saves.errors) == 2
    assert "set a flag that a callback" in saves.errors[0]
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_trainer_is_duplicated_by_its_checkpoint_alone(duplicate, fitted):
    trainer = make()
    trainer.fit(X, y, epochs=int(fitted), verbose=0)
    with pytest.raises(TypeError, match=r"a Trainer cannot be copied or pickled: use save_checkpoint\(path\) and Tr"):
        duplicate(trainer)


def damage(*keys, value):
    def edit(state):
        for key in keys[:-1]:
            state = state[key]
        if value is KeyError:
            del state[keys[-1]]
        else:
            state[keys[-1]] = value

    return edit


@pytest.mark.parametrize(
    "edit",
    [damage(key, value=KeyError) for key in ("loss", "optimizer", "step", "epoch", "history", "trainable", "rule")]
    + [damage(key, value=v) for key in ("loss", "optimizer", "metrics", "trainable", "run") for v in (7, [1], "x")]
    + [damage("optimizer", "learning_rate", value=-1.0), damage("optimizer", "name", value="adamm")]
    + [damage("run", key, value="x") for key in ("epochs", "first", "batch_size", "batch")]
    + [damage("run", key, value=-5) for key in ("epochs", "first", "batch_size", "batch")]
    + [damage("run", "batch", value=10**9), damage("run", "batch", value=3)]
    + [damage("run", "batch_size", value=2**64), damage("run", "shuffle", value=2), damage("run", "print", value=3)]
    + [damage("step", value=v) for v in (-1, "x", 1.5, 2**64)] + [damage("epoch", value=v) for v in (-1, None, 2**64)]
    + [damage("history", value=["nonsense"]), damage("random_state", value=-1), damage("backend", value="cuda")]
    + [damage("n_threads", value=10**6), damage("callbacks", value=[{}]), damage("clip", value=[{"name": "x"}])],
)  # fmt: skip
def test_a_damaged_state_is_refused(tmp_path, edit):
    path = cut(tmp_path / "c", make())
    document, tensors = files.read_document(path)
    model, state, extra = files.load_checkpoint(path)
    assert set(extra) < set(tensors)
    edit(state)
    files.save_checkpoint(path, model, state, extra)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=r"\w{4}"):
        pn.Trainer.resume(path).fit(X, y, verbose=0)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert document["kind"] == "checkpoint"


@pytest.mark.parametrize("tensor", ["optimizer.0.head.kernel", "optimizer.1.body.bias", "history.loss"])
def test_a_missing_or_misshapen_tensor_is_refused(tmp_path, tensor):
    path = cut(tmp_path / "c", make())
    for shape in (None, (1, 1), (24,)):
        model, state, extra = files.load_checkpoint(path)
        del extra[tensor]
        if shape:
            extra[tensor] = np.ones(shape, "f4")
        files.save_checkpoint(tmp_path / "d", model, state, extra)
        with pytest.raises(ValueError, match=tensor.replace(".", r"\.")):
            pn.Trainer.resume(tmp_path / "d")


class WithinAnEpoch(pn.Callback):
    """Writes a checkpoint as after the first batch of the first epoch."""

    def __init__(self, path):
        self.path = path

    def on_slice_end(self, trainer, logs):
        trainer._fit.run["batch"] = 1
        trainer.save_checkpoint(self.path)
        raise InterruptedError


@pytest.mark.parametrize("sums", [None, np.ones(1), np.ones((2, 3))], ids=["missing", "short", "matrix"])
def test_damaged_sums_are_refused(tmp_path, sums):
    with pytest.raises(InterruptedError):
        make().fit(X, y, epochs=6, batch_size=8, callbacks=[WithinAnEpoch(tmp_path / "c")], verbose=0)
    model, state, extra = files.load_checkpoint(tmp_path / "c")
    assert extra.pop("run.sums").ndim == 1
    files.save_checkpoint(tmp_path / "c", model, state, extra | ({} if sums is None else {"run.sums": sums}))
    with pytest.raises(ValueError, match="sums"):
        pn.Trainer.resume(tmp_path / "c").fit(X, y, verbose=0)
