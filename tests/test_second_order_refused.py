"""Optimizers of second order: what they refuse, their configs, and the command line."""

import numpy as np
import pytest
from searches import X, Y, fitted, surrogate

import pynet as pn
from pynet import cli, optimizers

NAMES = ("lbfgs", "levenberg_marquardt")


class Own:
    def value_and_gradient(self, prediction, target):
        return 0.0, prediction * 0


REFUSED = {  # name: (layers between, loss, trainer's options, fit's options, message)
    "batch": ([], "mse", {}, {"batch_size": 59}, "takes all 60 rows at once, got batch_size=59"),
    "dropout": ([pn.Dropout(0.1)], "mse", {}, {}, "the same each time, but layer 'dropout_1' draws random numbers"),
    "dropout behind relu": (
        [pn.Dense(4, "relu", name="d"), pn.Dropout(0.1)], "mse", {}, {}, "layer 'd' has a Dropout behind it",
    ),
    "noise": ([pn.GaussianNoise(0.1)], "mse", {}, {}, "'gaussian_noise_1' draws random numbers"),
    "noisy relu": ([pn.Dense(4, "noisy_relu", name="n")], "mse", {}, {}, "'n' draws random numbers"),
    "batch norm": ([pn.BatchNorm(name="n")], "mse", {}, {}, "'n' takes the statistics of its batch; set trainable=F"),
    "clip layer": ([pn.GradientClip(pn.ClipNorm(1.0), name="c")], "mse", {}, {}, "'c' changes the gradient"),
    "l1": ([pn.Dense(4, l1=0.1, name="k")], "mse", {}, {}, "needs a smooth loss, but 'k.kernel' has l1=0.1"),
    "max_norm": ([pn.Dense(4, max_norm=2.0, name="k")], "mse", {}, {}, "does not keep bounds, but 'k.kernel' has max_"),
    "clip": ([], "mse", {"clip": pn.ClipNorm(1.0)}, {}, "does not go with clip"),
    "a loss of one's own": ([], Own(), {}, {}, "needs a loss of pynet's own"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_search_cannot_do_is_refused(name, case):
    layers, loss, options, more, message = REFUSED[case]
    try:
        model = pn.Sequential([pn.Input(2), *layers, pn.Dense(2)])
    except TypeError:
        pytest.fail("the test's own net is wrong")
    before = model.arena.tobytes()
    trainer = pn.Trainer(model, loss, name, **options)
    with pytest.raises(ValueError, match=message):
        trainer.fit(X, Y, epochs=2, verbose=0, **more)
    assert (model.arena.tobytes(), trainer.epoch, trainer.step) == (before, 0, 0)


def test_more_that_is_refused():
    trainer = pn.Trainer(surrogate(), "huber", "levenberg_marquardt")
    with pytest.raises(ValueError, match="the loss must be 'mse', got 'huber'"):
        trainer.fit(X, Y, epochs=1)
    trainer = pn.Trainer(surrogate(), "mse", pn.LevenbergMarquardt(max_weights=26))
    with pytest.raises(ValueError, match=r"has 27 weights to train, max_weights=26; they would take 0.0 GB"):
        trainer.fit(X, Y, epochs=1)
    for name in NAMES:
        model = surrogate()
        with pytest.raises(ValueError, match="works on all rows at once, by fit; it does no single steps"):
            pn.Trainer(model, "mse", name).train_on_batch(X, Y)
        model.layers[1].rate_factor = 0.5
        with pytest.raises(ValueError, match=r"the rate_factor of 'dense_1.kernel' is 0.5; possible are 0 \(frozen\)"):
            fitted(model, name, 1)
        model.layers[1].rate_factor = 1.0
        model.freeze()
        with pytest.raises(ValueError, match="no weight is left to train"):
            fitted(model, name, 1)
        for field in optimizers.TABLE[name].fields:
            with pytest.raises((TypeError, ValueError), match=field):
                optimizers.get({"name": name, field: -1})
        with pytest.raises(ValueError, match="has no learning rate"):
            optimizers.get(name).learning_rate = 0.1
        with pytest.raises(ValueError, match="no parameter 'learning_rate'"):
            optimizers.get({"name": name, "learning_rate": 0.1})
    with pytest.raises(ValueError, match="damping_max"):
        pn.LevenbergMarquardt(damping_min=2.0, damping_max=1.0)


def test_strings_and_configs():
    for name in NAMES:
        made = optimizers.get(name)
        assert optimizers.get(made.config()) == made
        assert made.full_batch
        assert getattr(pn, type(made).__name__) is type(made)
    assert not any(optimizers.get(other).full_batch for other in ("sgd", "adam", "rprop"))


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savetxt("t.csv", np.column_stack([X, Y[:, 0]]), delimiter=",", header="a,b,y", comments="")
    command = ["train", "t.csv", "--hidden", "6", "--epochs", "40", "--output", "m.safetensors", "--quiet"]
    assert cli.main([*command, "--optimizer", "levenberg_marquardt"]) == 0
    shown = capsys.readouterr().out
    assert "levenberg_marquardt, mse, batch 43, at most 40 epochs" in shown  # all rows to train on
    assert pn.load("m.safetensors").metadata["training"]["batch_size"] == 43
    assert cli.main([*command, "--optimizer", "lbfgs", "--learning-rate", "0.1"]) != 0
    assert "--learning-rate: lbfgs has none" in capsys.readouterr().err
    assert cli.main([*command, "--optimizer", "lbfgs", "--batch-size", "8"]) != 0
    assert "takes all 43 rows at once, got batch_size=8" in capsys.readouterr().err
