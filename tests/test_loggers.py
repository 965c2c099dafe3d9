"""Loggers: what they write or call, in a fit that runs through, is resumed or killed; and searches that end trials."""

import inspect
import json
import math
import pickle
import signal
import subprocess
import sys

import numpy as np
import optuna
import pytest
from sklearn.model_selection import GridSearchCV

import pynet as pn
from pynet import loggers
from pynet.sklearn import MLPClassifier

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 4))
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 1)


def trainer(rate=1e-2, **more):
    model = pn.Sequential([pn.Input(4), pn.Dense(6, "relu"), pn.Dense(3, "softmax")])
    return pn.Trainer(model, "cross_entropy", pn.Adam(rate), metrics=["accuracy"], **more)


def fit(made, *callbacks, epochs=6):
    return made.fit(X, Y, epochs=epochs, validation_split=0.25, callbacks=list(callbacks), verbose=0).history


class Torn(Exception):
    """Ends a fit as if the process were gone."""


class Tear(pn.Callback):
    order = 3

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, trainer, epoch, logs):
        if epoch == self.epoch:
            raise Torn


# ---- lines of JSON --------------------------------------------------------------------------------------------------


def test_a_line_an_epoch(tmp_path):
    path = tmp_path / "log.jsonl"
    seen = []

    class Look(pn.Callback):
        order = 1

        def on_epoch_end(self, trainer, epoch, logs):
            seen.append(len(path.read_bytes().splitlines()))  # the line is there as soon as the epoch is over

    history = fit(trainer(), loggers.JSONLines(path), Look())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert seen == [1, 2, 3, 4, 5, 6]
    assert [line["epoch"] for line in lines] == list(range(6))
    assert [line["step"] for line in lines] == [3 * k for k in range(1, 7)]  # 90 rows by 32
    assert all(0 < line["seconds"] < 60 for line in lines)
    for name, values in history.items():
        assert [line[name] for line in lines] == values
    assert set(lines[0]) == {"epoch", "step", "seconds", *history}
    assert loggers.JSONLines.read(path) == lines


def strict(line):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(line, parse_constant=refuse)


def test_numbers_that_json_has_not(tmp_path):
    path = tmp_path / "log.jsonl"
    logger = loggers.JSONLines(path)
    made = trainer()
    logger.on_fit_begin(made)
    logger.on_epoch_end(made, 0, {"loss": math.nan, "a": math.inf, "b": -math.inf, "c": np.float32(0.5)})
    (line,) = path.read_text().splitlines()
    found = strict(line)
    assert (found["loss"], found["a"], found["b"], found["c"]) == ("NaN", "Infinity", "-Infinity", 0.5)
    (back,) = logger.read(path)
    assert math.isnan(back["loss"])
    assert (back["a"], back["b"]) == (math.inf, -math.inf)


def test_a_resumed_fit_goes_on_in_the_same_file(tmp_path):
    """Killed after epoch 4, with the last checkpoint after epoch 2 and a torn line: every epoch has one line, and it
    says what that of a fit that was never killed says."""
    path, whole, saved = tmp_path / "log.jsonl", tmp_path / "whole.jsonl", tmp_path / "saved"
    fit(trainer(), loggers.JSONLines(whole), epochs=8)

    class Early(pn.ModelCheckpoint):
        def on_epoch_end(self, trainer, epoch, logs):
            if epoch <= 2:
                super().on_epoch_end(trainer, epoch, logs)

    with pytest.raises(Torn):
        fit(trainer(), loggers.JSONLines(path), Early(saved), Tear(4), epochs=8)
    with open(path, "ab") as file:
        file.write(b'{"epoch": 5, "step": 18, "lo')
    assert [line["epoch"] for line in loggers.JSONLines.read(path)] == [0, 1, 2, 3, 4]
    fit(pn.Trainer.resume(saved), loggers.JSONLines(path), epochs=8)
    pair = [loggers.JSONLines.read(file) for file in (path, whole)]
    for lines in pair:
        for line in lines:
            del line["seconds"]
    assert pair[0] == pair[1]
    assert len(pair[0]) == 8


def test_a_second_fit_goes_on_and_a_new_trainer_begins_anew(tmp_path):
    path = tmp_path / "log.jsonl"
    made, logger = trainer(), loggers.JSONLines(path)
    fit(made, logger, epochs=2)
    fit(made, pickle.loads(pickle.dumps(logger)), epochs=3)
    assert [line["epoch"] for line in logger.read(path)] == [0, 1, 2, 3, 4]
    for text in (path.read_text(), "not JSON\n"):
        path.write_text(text)
        fit(trainer(), logger, epochs=1)
        assert [line["epoch"] for line in logger.read(path)] == [0]


def test_a_file_of_somebody_else_is_not_taken_for_a_log(tmp_path):
    path = tmp_path / "notes"
    made = trainer()
    fit(made, epochs=1)
    for text, found in (
        ("not JSON\n", "line 1, is not JSON"),
        ('{"epoch": 0}\n[1]\n', "line 2, is no JSON object"),
        ('{"a":' + "[" * 100_000 + "\n", "line 1, is not JSON"),
        ("{}\n", "no lines that this logger wrote"),
        ('{"epoch": "a"}\n', "no lines that this logger wrote"),
        ('{"epoch": 0, "loss": null}\n', "no lines that this logger wrote"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=found):
            fit(made, loggers.JSONLines(path), epochs=1)
        assert path.read_text() == text


def test_a_file_that_cannot_be_written_is_said_before_the_fit(tmp_path):
    made = trainer()
    with pytest.raises(OSError, match="cannot write the file"):
        fit(made, loggers.JSONLines(tmp_path / "nowhere" / "log"))
    assert made.step == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs kill -9")
def test_a_killed_process_leaves_whole_lines(tmp_path):
    script = f"""
import os, signal
import numpy as np
import pynet as pn

class Kill(pn.Callback):
    def on_slice_end(self, trainer, logs):
        if trainer.epoch == 3:
            os.kill(os.getpid(), signal.SIGKILL)

model = pn.Sequential([pn.Input(2), pn.Dense(1)])
callbacks = [pn.loggers.JSONLines({str(tmp_path / "log")!r}), Kill()]
pn.Trainer(model, "mse").fit(np.ones((9, 2)), np.ones(9), epochs=9, callbacks=callbacks, verbose=0)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [line["epoch"] for line in loggers.JSONLines.read(tmp_path / "log")] == [0, 1, 2]


def test_the_path_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger = loggers.JSONLines("log.jsonl")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    fit(trainer(), logger, epochs=1)
    assert (tmp_path / "log.jsonl").exists()


# ---- TensorBoard and MLflow -----------------------------------------------------------------------------------------


class Writer:
    """The signature of torch.utils.tensorboard.SummaryWriter (PyTorch 2.13)."""

    def __init__(self):
        self.calls, self.flushed = [], 0

    def add_scalar(self, tag, scalar_value, global_step=None, walltime=None, new_style=False, double_precision=False):
        self.calls.append((tag, scalar_value, global_step))

    def flush(self):
        self.flushed += 1


def test_tensorboard_gets_pairs_of_curves():
    writer = Writer()
    history = fit(trainer(), loggers.TensorBoard(writer), epochs=3)
    tags = {"loss/train": "loss", "loss/validation": "val_loss"}
    tags |= {"accuracy/train": "accuracy", "accuracy/validation": "val_accuracy"}
    assert {tag for tag, _, _ in writer.calls} == set(tags)
    for tag, name in tags.items():
        assert [(k, v) for t, v, k in writer.calls if t == tag] == list(enumerate(history[name]))
    assert all(type(value) is float for _, value, _ in writer.calls)
    assert writer.flushed == 1


@pytest.mark.oracle
def test_tensorboard_itself(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    signatures = [inspect.signature(writer.add_scalar) for writer in (SummaryWriter, Writer)]
    assert signatures[0].parameters == signatures[1].parameters
    with SummaryWriter(str(tmp_path)) as writer:
        history = fit(trainer(), loggers.TensorBoard(writer), epochs=3)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("loss/validation")]
    assert found == [(k, np.float32(value)) for k, value in enumerate(history["val_loss"])]


class Run:
    """The signature of mlflow.log_metrics (MLflow 3.17)."""

    def __init__(self):
        self.calls = []

    def log_metrics(
        self, metrics, step=None, synchronous=None, run_id=None, timestamp=None, model_id=None, dataset=None
    ):
        self.calls.append((metrics, step))


class OneByOne:
    def __init__(self):
        self.calls = []

    def log_metric(self, key, value, step=None):
        self.calls.append((key, value, step))


def test_mlflow_gets_all_logs_of_an_epoch():
    run = Run()
    history = fit(trainer(), loggers.MLflow(run), epochs=3)
    assert run.calls == [({name: values[k] for name, values in history.items()}, k) for k in range(3)]
    run = OneByOne()
    fit(trainer(), loggers.MLflow(run), epochs=3)
    assert run.calls == [(name, values[k], k) for k in range(3) for name, values in history.items()]


def test_a_resumed_fit_goes_on_with_its_epochs(tmp_path):
    writer = Writer()
    with pytest.raises(Torn):
        fit(trainer(), loggers.TensorBoard(Writer()), pn.ModelCheckpoint(tmp_path / "saved"), Tear(2))
    fit(pn.Trainer.resume(tmp_path / "saved"), loggers.TensorBoard(writer), pn.ModelCheckpoint(tmp_path / "saved"))
    assert [step for tag, _, step in writer.calls if tag == "loss/train"] == [3, 4, 5]


# ---- Optuna ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def test_a_study_ends_bad_trials(quiet):
    """The first trial is good; the two that follow, with hardly any learning rate, are ended as soon as they may be."""
    rates = [0.05, 1e-7, 1e-7]
    histories = []

    def objective(trial):
        made = trainer(rate=rates[trial.number])
        heard = loggers.TensorBoard(Writer())
        histories.append((made.history.history, heard.writer.calls))
        return fit(made, loggers.OptunaPruning(trial), heard, epochs=10)["val_loss"][-1]

    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=2))
    study.optimize(objective, n_trials=3)
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "PRUNED", "PRUNED"]
    for trial, (history, calls), epochs in zip(study.trials, histories, (10, 3, 3), strict=True):
        assert trial.intermediate_values == dict(enumerate(history["val_loss"]))
        assert len(history["loss"]) == epochs
        assert sum(tag == "loss/train" for tag, _, _ in calls) == epochs  # heard of the last epoch before the end
    assert study.best_value == histories[0][0]["val_loss"][-1]


def test_a_trainer_can_be_used_after_a_pruned_trial(quiet):
    trial = optuna.create_study().ask()
    trial.should_prune = lambda: True
    made = trainer()
    with pytest.raises(optuna.TrialPruned, match="after epoch 0 with val_accuracy = "):
        fit(made, loggers.OptunaPruning(trial, "val_accuracy"))
    assert len(fit(made, epochs=2)["loss"]) == 3


def test_what_is_watched_is_named_before_the_fit():
    trial = optuna.create_study().ask()
    made = trainer()
    with pytest.raises(ValueError, match=r"OptunaPruning watches 'val_los'.*did you mean 'val_loss'"):
        fit(made, loggers.OptunaPruning(trial, "val_los"))
    with pytest.raises(ValueError, match=r"watches 'val_loss'.*give fit validation_data"):
        made.fit(X, Y, epochs=1, callbacks=[loggers.OptunaPruning(trial)], verbose=0)
    assert made.step == 0


def test_pruning_without_optuna(monkeypatch):
    class Trial:
        def report(self, value, step):
            pass

        def should_prune(self):
            return True

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match="pip install optuna"):
        fit(trainer(), loggers.OptunaPruning(Trial()))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_grid_search_over_processes(tmp_path):
    """Callbacks travel to other processes; what each fit logs stands in a file of its own."""
    grid = [
        {"learning_rate_init": [rate], "callbacks": [[loggers.JSONLines(tmp_path / f"{rate}.jsonl")]]}
        for rate in (1e-5, 0.05)
    ]
    net = MLPClassifier((6,), max_iter=4, n_iter_no_change=9, tol=0, random_state=0)
    search = GridSearchCV(net, grid, cv=[(np.arange(80), np.arange(80, 120))], n_jobs=2, refit=False)
    search.fit(X, Y)
    assert search.best_params_["learning_rate_init"] == 0.05
    logs = [loggers.JSONLines.read(tmp_path / f"{rate}.jsonl") for rate in (1e-5, 0.05)]
    assert [[line["epoch"] for line in lines] for lines in logs] == [[0, 1, 2, 3]] * 2
    assert logs[1][-1]["loss"] < logs[0][-1]["loss"]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: loggers.JSONLines(3), TypeError, "path must be a path"),
        (lambda: loggers.TensorBoard("runs"), TypeError, "writer must have a method add_scalar, got str"),
        (lambda: loggers.TensorBoard(Writer), TypeError, "got the class Writer"),
        (lambda: loggers.MLflow(3), TypeError, "run must have a method log_metric or log_metrics, got int"),
        (lambda: loggers.OptunaPruning(3), TypeError, "trial must have a method report, got int"),
        (lambda: loggers.OptunaPruning(optuna.create_study().ask(), 3), TypeError, "monitor must be the name"),
    ],
)
def test_bad_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make()
