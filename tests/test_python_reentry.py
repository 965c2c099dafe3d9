"""A Python layer whose function uses the model or the trainer that is computing it: an error, not a wait for itself."""

import numpy as np
import pytest

import pynet as pn

X = np.arange(12.0, dtype=np.float32).reshape(3, 4) / 12
Y = X[:, :2]


def meddling(call, backend):
    """A model whose layer makes a call, once a forward pass, and its trainer."""
    under_way = []

    def forward(x):
        if not under_way:
            under_way.append(True)
            try:
                call(model, trainer)
            finally:
                under_way.clear()
        return 2 * x

    layer = pn.PythonLayer(forward, lambda x, y, dy: 2 * dy, 2)
    model = pn.Sequential([pn.Input(4), pn.Dense(2), layer])
    trainer = pn.Trainer(model, "mse", pn.SGD(0.1), backend=backend)
    return model, trainer


CALLS = {
    "train_on_batch": lambda model, trainer: trainer.train_on_batch(X, Y),
    "evaluate": lambda model, trainer: trainer.evaluate(X, Y),
    "gradients": lambda model, trainer: trainer.gradients(X, Y),
}


@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize("name", CALLS)
def test_the_trainer_that_computes_a_function_cannot_be_used_by_it(name, backend):
    model, trainer = meddling(CALLS[name], backend)
    before = model.parameters()
    for _ in range(2):  # the machine is free again
        with pytest.raises(RuntimeError, match="may not use the model or trainer that is computing them"):
            CALLS[name](model, trainer)
    for key, array in model.parameters().items():
        np.testing.assert_array_equal(array, before[key])


def test_predict_one_cannot_be_used_by_a_function_of_its_own():
    model, _ = meddling(lambda model, trainer: model.predict_one(X[0]), "c")
    with pytest.raises(RuntimeError, match="may not use the model"):
        model.predict_one(X[0])


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_another_prediction_of_the_model_may_run_inside(backend):
    seen = []
    model, _ = meddling(lambda model, trainer: seen.append(model.predict(X, backend=backend)), backend)
    expected = 2 * (X @ model.parameters()["dense_1.kernel"])
    np.testing.assert_allclose(model.predict(X, backend=backend), expected, rtol=1e-6)
    np.testing.assert_allclose(seen[0], expected, rtol=1e-6)


@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_a_function_that_failed_leaves_a_machine_that_works(backend):
    fails = [True]

    def forward(x):
        if fails[0]:
            raise KeyError("mine")
        return x

    model = pn.Sequential([pn.Input(4), pn.Dense(2), pn.PythonLayer(forward, lambda x, y, dy: dy, 2)])
    trainer = pn.Trainer(model, "mse", pn.SGD(0.1), backend=backend)
    with pytest.raises(KeyError, match="mine"):
        trainer.train_on_batch(X, Y)
    fails[0] = False
    assert np.isfinite(trainer.train_on_batch(X, Y)["loss"])
    assert trainer.step == 1


@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_a_function_that_fails_on_the_way_leaves_the_steps_before_it(way, backend):
    def net(fails_at):
        calls = {"forward": 0, "backward": 0}

        def count(name, result):
            calls[name] += 1
            if name == way and calls[name] == fails_at:
                raise KeyError("mine")
            return result

        layer = pn.PythonLayer(lambda x: count("forward", 2 * x), lambda x, y, dy: count("backward", 2 * dy), 2)
        model = pn.Sequential([pn.Input(4), pn.Dense(2), layer])
        return pn.Trainer(model, "mse", pn.SGD(0.1), backend=backend)

    failed, whole = net(3), net(0)
    with pytest.raises(KeyError, match="mine"):
        failed.fit(X, Y, epochs=1, batch_size=1, shuffle=False, verbose=0)
    assert failed.step == 2
    whole.fit(X[:2], Y[:2], epochs=1, batch_size=1, shuffle=False, verbose=0)
    for name, array in whole.model.parameters().items():
        np.testing.assert_array_equal(failed.model.parameters()[name], array)
