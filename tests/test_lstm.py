"""LSTM by hand, and masks: a row that is padded anywhere, with anything, is the shorter row."""

import cases
import helpers
import numpy as np
import pytest
from differences import Differences

import pynet as pn
from pynet import _core
from pynet.plan import Job, build

STEPS, FEATURES, UNITS = 5, 3, 4


def sequence_net(units=UNITS, sequences=False, masked=True, dtype="float64", steps=STEPS, **options):
    x, mask = pn.Input((steps, FEATURES), name="x"), pn.Input(steps, name="mask")
    inputs = [x, mask] if masked else [x]
    return pn.Model(inputs, pn.LSTM(units, sequences, name="cell", **options)(inputs), dtype=dtype)


def run(model, arrays, executor):
    """The output of a model by one machine."""
    machine = helpers.make_machine(executor, model.plan, model.arena, rows=len(arrays[0]))
    flat = [np.reshape(a, (len(a), -1)) for a in arrays]
    out = [np.empty((len(flat[0]), v.width), model.dtype) for v in model.outputs]
    model.run_batches(machine, Job(inputs=flat, outputs=out, rows=len(flat[0]), batch=len(flat[0])))
    return out[0].reshape(len(flat[0]), *model.outputs[0].shape)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_two_steps_by_hand(executor):
    """One unit, one feature, gates in the order input, forget, cell, output."""
    x = pn.Input((2, 1))
    model = pn.Model(x, pn.LSTM(1, return_sequences=True)(x), dtype="float64")
    w, r, b = np.array([0.5, -0.25, 1.0, 2.0]), np.array([1.0, 0.5, -1.0, 0.25]), np.array([0.1, 1.0, 0.0, -0.5])
    model.set_weights([w[None], r[None], b])
    c = h = 0.0
    expected = []
    for value in (0.8, -1.5):
        i, f, a, o = value * w + h * r + b
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(a)
        h = sigmoid(o) * np.tanh(c)
        expected.append(h)
    helpers.assert_close(run(model, [np.array([[0.8, -1.5]])], executor)[0, :, 0], np.array(expected), 1e-15)


def test_first_values():
    model = sequence_net(units=50, forget_bias=2.0)
    p = model.parameters()
    assert p["cell.bias"].reshape(4, 50).tolist() == [[0.0] * 50, [2.0] * 50, [0.0] * 50, [0.0] * 50]
    gates = np.split(p["cell.recurrent_kernel"], 4, axis=1)
    for gate in gates:  # each orthogonal by itself
        helpers.assert_close(gate.T @ gate, np.eye(50), 1e-13)
    kernels = np.split(p["cell.kernel"], 4, axis=1)
    for kernel in kernels:  # of each the fan is that of 50 outputs: Glorot's bound
        assert 0.9 * np.sqrt(6 / 53) < np.abs(kernel).max() < np.sqrt(6 / 53)
    assert len({gate.tobytes() for gate in gates + kernels}) == 8


def test_the_last_of_the_sequence(executor, dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(7, STEPS, FEATURES))
    every, last = (sequence_net(19, sequences, masked=False, dtype=dtype) for sequences in (True, False))
    last.set_weights(every.get_weights())
    helpers.assert_same_bits(run(last, [X], executor), run(every, [X], executor)[:, -1])


# ---- masks ---------------------------------------------------------------------------------------------------------

PATTERNS = {
    "whole": [1, 1, 1, 1, 1], "right": [1, 1, 0, 0, 0], "left": [0, 0, 0, 1, 1], "hole": [1, 0, 0, 1, 1],
    "one": [0, 0, 1, 0, 0], "empty": [0, 0, 0, 0, 0],
}  # fmt: skip


def data(fill, seed=0):
    """X [6, T, F] whose masked steps hold `fill`, the mask, and a target."""
    rng = np.random.default_rng(seed)
    mask = np.array(list(PATTERNS.values()), float)
    X = rng.normal(size=(len(mask), STEPS, FEATURES))
    X[mask == 0] = fill
    return X, mask, rng.normal(size=(len(mask), UNITS))


def test_a_masked_row_is_the_shorter_row(executor):
    model = sequence_net()
    X, mask, _ = data(0.5)
    y = run(model, [X, mask], executor)
    for row, pattern in enumerate(mask):
        steps = int(pattern.sum())
        if not steps:
            assert not y[row].any()
            continue
        short = sequence_net(steps=steps, masked=False)
        short.set_weights(model.get_weights())
        expected = run(short, [X[row][pattern > 0][None]], executor)[0]
        helpers.assert_close(y[row], expected, 1e-14, list(PATTERNS)[row])
        if executor != helpers.NUMPY:  # of its products the bits depend on the batch
            helpers.assert_same_bits(y[row], expected, list(PATTERNS)[row])


def test_states_stay_at_masked_steps(executor):
    model = sequence_net(sequences=True)
    X, mask, _ = data(0.5)
    y = run(model, [X, mask], executor)
    before = np.zeros(UNITS)
    for row in range(len(mask)):
        before = np.zeros(UNITS)
        for t in range(STEPS):
            if not mask[row, t]:
                helpers.assert_same_bits(y[row, t], before)
            else:
                assert np.abs(y[row, t] - before).min() > 0
            before = y[row, t]


@pytest.mark.parametrize("threshold", [0.5, 0.2, -3.0, 0.5000001, 0.7, 100.0])
def test_the_mask_counts_above_one_half(threshold, executor):
    model = sequence_net()
    X, mask, _ = data(0.5)
    given = np.where(mask > 0, threshold, 0.0)
    expected = run(model, [X, mask if threshold > 0.5 else 0 * mask], executor)
    helpers.assert_same_bits(run(model, [X, given], executor), expected)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("fill", [1e6, -1e30, 3e38])
def test_padding_may_hold_anything(fill, sequences, executor, dtype):
    """Outputs, losses and all gradients are those with zeros there; nothing flows into the padding."""
    model = sequence_net(sequences=sequences, dtype=dtype)
    results = []
    for value in (0.0, fill):
        X, mask, t = data(value)
        t = np.repeat(t[:, None], STEPS, axis=1) if sequences else t
        results.append(gradients(model, X, mask, t.reshape(6, -1), executor))
    for name, array in results[0].items():
        helpers.assert_same_bits(results[1][name], array, name)
        assert np.abs(array).max() > 1e-4, name
    dx = results[0]["x"].reshape(6, STEPS, FEATURES)
    assert not dx[mask == 0].any()
    assert np.abs(dx[mask > 0]).min() > 0 or not sequences


def test_padding_whose_sums_are_no_numbers(executor):
    """Infinity less infinity in the gates of a step that is skipped."""
    x, mask = pn.Input((2, 64), name="x"), pn.Input(2, name="mask")
    model = pn.Model([x, mask], pn.LSTM(UNITS, name="cell")([x, mask]))
    model.load_state_dict({k: v * 9 if k == "cell.kernel" else v for k, v in model.parameters().items()})
    X = np.zeros((6, 2, 64), "f4")
    X[:, 0] = np.random.default_rng(0).normal(size=(6, 64)) * 0.01
    given, results = np.tile([1.0, 0.0], (6, 1)), []
    for fill in (0.0, 3e38):
        X[:, 1] = fill * np.where(np.arange(64) % 16 < 8, 1, -1)
        results.append(gradients(model, X, given, np.ones((6, UNITS)), executor))
    for name, array in results[0].items():
        helpers.assert_same_bits(results[1][name], array, name)


def gradients(model, X, mask, target, executor):
    """Loss, output and gradients of one step."""
    plan = build(model, [cases.head("mse")], input_gradients=True)
    params, grads = (_core.aligned(plan.param_elems, plan.dtype) for _ in range(2))
    params[:] = model.arena
    machine = helpers.make_machine(executor, plan, params, rows=6, grads=grads)
    stages = _core.FORWARD | _core.LOSS | _core.BACKWARD
    job = Job(
        inputs=[X.reshape(6, -1), mask], targets=[target], rows=6, batch=6, stages=stages, sums=np.zeros(plan.n_sums)
    )
    assert machine.run(job, 0, 1) == (1, "ok")
    return {
        "sums": job.sums, "y": machine.value(plan.head_values[0]), "grads": grads,
        "x": machine.value(plan.input_gradients[0], gradient=True),
    }  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_gradients_of_every_mask(pattern, executor):
    """By differences, each pattern alone beside a whole row."""
    model, rng = sequence_net(units=2, sequences=True, steps=STEPS), np.random.default_rng(1)
    mask = np.array([PATTERNS[pattern], PATTERNS["whole"]], float)
    X, t = rng.normal(size=(2, STEPS * FEATURES)), rng.normal(size=(2, STEPS * 2))
    found = Differences(model, [cases.head("mse")], [X, mask], [t], executor)
    found.check()
    dx = found.gradient["input 0"].reshape(2, STEPS, FEATURES)[0]
    assert not dx[mask[0] == 0].any()
    assert dx[mask[0] == 1].all()


def test_a_mask_that_is_computed(executor):
    """It may come from anywhere in the graph; no gradient goes there."""
    x = pn.Input((3, 2), name="x")
    mask = pn.Dense(3, "sigmoid", name="mask")(pn.Flatten()(x))
    model = pn.Model(x, pn.LSTM(2, name="cell")([x, mask]), dtype="float64")
    rng = np.random.default_rng(3)
    X = rng.normal(size=(5, 6))
    m = pn.Model(x, mask, dtype="float64").predict(X)
    assert 0 < (m > 0.5).mean() < 1
    assert np.abs(m - 0.5).min() > 0.01
    found = Differences(model, [cases.head("mse")], [X], [rng.normal(size=(5, 2))], executor)
    found.check()
    assert not {"mask.kernel", "mask.bias"} & found.gradient.keys()
    two = pn.Input(3, name="given")
    other = pn.Model([x, two], model.get_layer("cell")([x, two]), dtype="float64")
    helpers.assert_same_bits(run(other, [X, m], executor), run(model, [X], executor))


# ---- shapes of the arrays ------------------------------------------------------------------------------------------


def test_sequences_may_come_flat_or_not():
    model = sequence_net(sequences=True, masked=False, dtype="float32")
    X = np.random.default_rng(0).normal(size=(9, STEPS, FEATURES))
    y = model.predict(X)
    assert y.shape == (9, STEPS, UNITS)
    for other in (X.reshape(9, -1), np.asfortranarray(X), X.astype("f4"), np.repeat(X, 2, axis=0)[::2]):
        helpers.assert_same_bits(model.predict(other), y)
    for i in (0, 8):
        helpers.assert_same_bits(model.predict_one(X[i]), y[i])
    out = np.empty_like(y)
    assert model.predict(X, out=out) is out
    helpers.assert_same_bits(out, y)
    trainer = pn.Trainer(model, "mse", pn.SGD(0.1))
    losses = [trainer.evaluate(X, t)["loss"] for t in (y + 1, (y + 1).reshape(9, -1))]
    assert losses == pytest.approx([1, 1], rel=1e-5)
    assert trainer.gradients(X, y + 1)["x"].size == X.size


def test_a_scaled_input_of_sequences():
    scaled, plain = (pn.Input((STEPS, FEATURES), **options) for options in ({"scale": [1, 2, 3], "shift": 0.5}, {}))
    cell = pn.LSTM(UNITS)
    one, other = pn.Model(scaled, cell(scaled), dtype="float64"), pn.Model(plain, cell(plain), dtype="float64")
    X = np.random.default_rng(0).normal(size=(4, STEPS, FEATURES))
    helpers.assert_close(one.predict(X), other.predict((X - 0.5) * [1, 2, 3]), 1e-14)


def test_an_lstm_learns_to_remember():
    """The answer is the sign of the first step, which only the states can carry to the end."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 8, 1))
    y = (X[:, 0, 0] > 0).astype(int)
    for backend in ("c", "numpy"):
        model = pn.Sequential([pn.Input((8, 1)), pn.LSTM(8), pn.Dense(2, "softmax")])
        trainer = pn.Trainer(model, "cross_entropy", pn.Adam(0.02), ["accuracy"], backend=backend)
        trainer.fit(X[:300], y[:300], epochs=15, verbose=0)
        assert trainer.evaluate(X[300:], y[300:])["accuracy"] >= 0.9
