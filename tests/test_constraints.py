"""Max-norm, rates by layer, and the penalties of residual blocks."""

import cases
import helpers
import numpy as np
import pytest
from helpers import EVERYWHERE

import pynet as pn
from pynet.plan import unpack

BACKENDS = ("c", "numpy")
X = np.random.default_rng(0).normal(size=(24, 5))
Y = np.random.default_rng(1).normal(size=(24, 3))


def lengths(kernel):
    return np.sqrt((kernel.astype(np.float64) ** 2).sum(axis=0))


# ---- max-norm ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", cases.RULES)
def test_the_bound_holds_after_every_update(rule, dtype):
    """In both machines, on every instruction set, whatever the rule; and it is reached."""
    x = pn.Input(5)
    h = pn.Dense(19, "tanh", max_norm=0.3, name="short")(x)
    model = pn.Model(x, pn.Dense(3, max_norm=0.5, name="top")(h), dtype=dtype)
    task = helpers.Task(model, [cases.head("mse")], [X], [10 * Y], cases.RULES[rule], batch=4)
    bounds = dict(zip(task.plan.param_names, task.plan.params["max_norm"].tolist(), strict=True))
    assert bounds == {"short.kernel": 0.3, "short.bias": 0, "top.kernel": 0.5, "top.bias": 0}
    for executor in EVERYWHERE:
        seen = []

        def look(machine, params, grads, seen=seen):
            seen.append({name: unpack(params, r) for name, r in zip(bounds, task.plan.params, strict=True)})

        task.on(executor, 6, look)
        for name, bound in bounds.items():
            if bound:
                assert lengths(seen[0][name]).max() > bound  # the first values may be longer
                longest = [lengths(step[name]).max() for step in seen[1:]]
                assert max(longest) <= bound * (1 + 4 * np.finfo(dtype).eps), executor
                assert max(longest) > 0.999 * bound
        assert np.abs(seen[-1]["top.bias"]).max() > 0


@pytest.mark.parametrize("inputs", [1, 3, 4, 5, 17])
@pytest.mark.parametrize("units", [1, 15, 16, 17, 33])
def test_columns_by_hand(inputs, units, executor, dtype):
    """Longer ones keep their direction, the others their bits; nothing else is touched."""
    x = pn.Input(inputs)
    model = pn.Model(x, pn.Dense(units, max_norm=1.5, name="d")(x), dtype=dtype)
    rng = np.random.default_rng(0)
    w = rng.normal(size=(inputs, units)).astype(dtype)
    w *= (rng.permutation(units) + 1) / 4 / np.maximum(lengths(w), 1e-3)  # lengths 1/4, 1/2, ...
    w[:, 0] = 0
    model.set_weights([w, np.full(units, 9.0)])
    data = [rng.normal(size=(4, inputs))]
    task = helpers.Task(model, [cases.head("mse")], data, [np.zeros((4, units))], pn.SGD(0.0), batch=4)
    found, bias = (unpack(task.on(executor, 1).params, record) for record in task.plan.params)
    w = model.parameters()["d.kernel"]
    short = lengths(w) < 1.5 * (1 - 1e-6)
    helpers.assert_same_bits(found[:, short], w[:, short])
    long = lengths(w) > 1.5 * (1 + 1e-6)
    assert long.any() == (units > 6)
    expected = w[:, long].astype(np.float64) * (1.5 / lengths(w[:, long]))
    helpers.assert_within(found[:, long], expected, 8 * np.finfo(dtype).eps)
    assert (bias == 9).all()
    assert not found[:, 0].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_frozen_layer_is_not_bounded(backend):
    layers = [pn.Dense(6, max_norm=0.01, trainable=False, name="still"), pn.Dense(3, max_norm=0.01, name="top")]
    model = pn.Sequential([pn.Input(5), *layers])
    before = model.parameters()
    pn.Trainer(model, "mse", pn.SGD(0.1), backend=backend).train_on_batch(X, Y)
    helpers.assert_same_bits(model.parameters()["still.kernel"], before["still.kernel"])
    assert lengths(model.parameters()["top.kernel"]).max() < 0.0101


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_shared_layer_is_bounded_once(backend):
    x, shared = pn.Input(5), pn.Dense(5, "tanh", max_norm=0.2, name="shared")
    model = pn.Model(x, shared(shared(x)))
    pn.Trainer(model, "mse", pn.SGD(0.1), backend=backend).fit(X, X, epochs=2, verbose=0)
    assert lengths(model.parameters()["shared.kernel"]).max() == pytest.approx(0.2, rel=1e-6)


# ---- rates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.0, 0.25, 0.5, 2.0, 8.0])
def test_the_step_is_exactly_so_many_times_as_large(factor, executor, dtype):
    """From weights 0 the step is all that is there; powers of two round nothing."""
    steps = {}
    for f in (1.0, factor):
        x = pn.Input(5)
        layers = [pn.Dense(7, name="changed"), pn.Dense(3, name="other")]
        model = pn.Model(x, [layer(x) for layer in layers], dtype=dtype)
        model.set_weights([0 * w for w in model.get_weights()])
        layers[0].rate_factor = f
        heads, targets = [cases.head("mse")] * 2, [np.ones((24, 7)), Y]
        run = helpers.Task(model, heads, [X], targets, pn.SGD(0.1), batch=24).on(executor, 1)
        steps[f] = dict(zip(run.plan.param_names, run._matrices(run.params), strict=True))
    for name, step in steps[1.0].items():
        expected = step * dtype.type(factor) if name.startswith("changed") else step
        assert np.abs(step).max() > 1e-3
        np.testing.assert_array_equal(steps[factor][name], expected)  # of 0 the sign may differ


@pytest.mark.parametrize("rule", ["momentum", "adam", "adamw", "rmsprop", "adagrad"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_factor_everywhere_is_another_rate(rule, backend):
    """Of the layers of all kinds, for rules that multiply by the rate."""
    weights = []
    for factor, share in ((0.5, 1.0), (1.0, 0.5)):
        layers = [
            pn.LayerNorm(), pn.Dense(6), pn.BatchNorm(), pn.PReLU(), pn.Residual([pn.Dense(6, "tanh")]), pn.Dense(3)
        ]  # fmt: skip
        model = pn.Sequential([pn.Input(5), *layers], dtype="float64")
        for layer in model.layers:
            layer.rate_factor = factor
        config = cases.RULES[rule].config()
        optimizer = pn.optimizers.get(config | {"learning_rate": config["learning_rate"] * share})
        pn.Trainer(model, "mse", optimizer, backend=backend).fit(X, Y, epochs=3, batch_size=8, verbose=0)
        weights.append(model.arena)
    helpers.assert_same_bits(*weights)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_factor_may_change_between_two_steps(backend):
    model = pn.Sequential([pn.Input(5), pn.Dense(6, "tanh"), pn.Dense(3)], dtype="float64")
    trainer = pn.Trainer(model, "mse", pn.SGD(0.1), backend=backend)
    for factor in (0.0, 1.0, 0.0, 0.5):
        model.layers[1].rate_factor = factor
        before, gradients = model.parameters(), trainer.gradients(X, Y)
        trainer.train_on_batch(X, Y)
        for name, array in model.parameters().items():
            rate = 0.1 * (factor if name.startswith("dense_1") else 1)
            helpers.assert_close(before[name] - rate * gradients[name], array, 1e-15, name)
            assert (array.tobytes() == before[name].tobytes()) == (rate == 0)


# ---- residual blocks -----------------------------------------------------------------------------------------------


def block(**options):
    inner = [pn.Dense(4, "tanh", l2=0.5, name="own"), pn.LayerNorm(name="norm"), pn.Dense(3, name="given")]
    return pn.Residual(inner, name="sum", **options)


def test_a_projection_by_hand(executor):
    x = pn.Input(5)
    made = block(projection=True)
    model = pn.Model(x, made(x), dtype="float64")
    assert made.output is model.outputs[0]
    p = model.parameters()
    assert {n: a.shape for n, a in p.items() if n.startswith("dense")} == {"dense_1.kernel": (5, 3)}
    h = np.tanh(X @ p["own.kernel"] + p["own.bias"])
    h = (h - h.mean(axis=1, keepdims=True)) / np.sqrt(h.var(axis=1, keepdims=True) + 1e-5)
    expected = X @ p["dense_1.kernel"] + h @ p["given.kernel"] + p["given.bias"]
    with helpers.forced_isa(executor.isa if executor != helpers.NUMPY else "scalar"):
        y = model.predict(X, backend="numpy" if executor == helpers.NUMPY else "c")
    helpers.assert_close(y, expected, 1e-14)


def test_penalties_of_a_block():
    """They reach the kernels of its Dense layers that have none of their own, and the projection."""
    x = pn.Input(5)
    model = pn.Model(x, block(projection=True, l1=0.01, l2=0.02, max_norm=0.7)(x))
    found = {
        name: (row["l1"], row["l2"], row["max_norm"])
        for name, row in zip(model.plan.param_names, model.plan.params, strict=True)
    }
    none = (0, 0, 0)
    assert found == {
        "own.kernel": (0.01, 0.5, 0.7), "given.kernel": (0.01, 0.02, 0.7), "dense_1.kernel": (0.01, 0.02, 0.7),
        "own.bias": none, "given.bias": none, "norm.gamma": none, "norm.beta": none,
    }  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_penalties_of_a_block_are_in_its_loss(backend):
    x = pn.Input(5)
    plain = pn.Model(x, block(projection=True)(x), dtype="float64")
    penalised = pn.Model(x, block(projection=True, l1=0.01, l2=0.02)(x), dtype="float64")
    penalised.set_weights(plain.get_weights())
    p = plain.parameters()
    added = 0.01 * sum(np.abs(p[f"{n}.kernel"]).sum() for n in ("own", "given", "dense_1"))
    added += 0.02 * sum((p[f"{n}.kernel"] ** 2).sum() for n in ("given", "dense_1"))
    losses = [pn.Trainer(m, "mse", backend=backend).evaluate(X, Y)["loss"] for m in (plain, penalised)]
    assert losses[1] - losses[0] == pytest.approx(added, rel=1e-12)


def test_a_block_called_twice_shares_its_projection(tmp_path):
    x, made = pn.Input(3), block(projection=True, max_norm=0.7)
    model = pn.Model(x, made(made(x)))
    assert sum(type(layer) is pn.Dense for layer in model.layers) == 3
    X3 = X[:, :3]
    trainer = pn.Trainer(model, "mse", pn.SGD(0.1))
    trainer.fit(X3, Y, epochs=2, verbose=0)
    model.save(tmp_path / "m")
    again = pn.load(tmp_path / "m")
    helpers.assert_same_bits(again.predict(X3), model.predict(X3))
    pn.Trainer(again, "mse", pn.SGD(0.1)).fit(X3, Y, epochs=1, verbose=0)
    longest = max(lengths(again.parameters()[f"{n}.kernel"]).max() for n in ("own", "given", "dense_1"))
    assert longest < 0.7001  # the bound is in the file, too


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("attribute", [("l1", 0.01), ("l2", 0.01), ("max_norm", 0.2)])
def test_penalties_and_bounds_may_change_between_two_steps(attribute, backend, tmp_path):
    """As if a new trainer had gone on with a model that always had them; a file has those of now."""
    name, value = attribute

    def model(**options):
        return pn.Sequential([pn.Input(5), pn.Dense(6, "tanh", **options), pn.Dense(3)], dtype="float64")

    changed, other = model(), model(**{name: value})
    trainer = pn.Trainer(changed, "mse", pn.SGD(0.1), backend=backend)
    trainer.train_on_batch(X, Y)
    other.load_state_dict(changed.state_dict())
    setattr(changed.layers[1], name, value)
    expected = pn.Trainer(other, "mse", pn.SGD(0.1), backend=backend)
    assert trainer.train_on_batch(X, Y) == expected.train_on_batch(X, Y)
    helpers.assert_same_bits(changed.arena, other.arena)
    trainer.train_on_batch(X, Y)
    setattr(changed.layers[1], name, None if name == "max_norm" else 0.0)
    free = pn.Trainer(changed, "mse", backend=backend)
    assert trainer.evaluate(X, Y) == free.evaluate(X, Y)
    with pytest.raises(ValueError, match=rf"{name} must be finite and >"):
        setattr(changed.layers[1], name, -1.0)
    assert trainer.evaluate(X, Y) == free.evaluate(X, Y)
    setattr(changed.layers[1], name, np.float32(value))  # which JSON does not know
    changed.save(tmp_path / "m")
    assert getattr(pn.load(tmp_path / "m").layers[1], name) == np.float32(value)


def test_penalties_of_an_lstm_may_change():
    model = pn.Sequential([pn.Input((4, 5)), pn.LSTM(3)], dtype="float64")
    trainer = pn.Trainer(model, "mse")
    sequences = np.random.default_rng(2).normal(size=(6, 4, 5))
    before = trainer.evaluate(sequences, Y[:6])["loss"]
    model.layers[1].l2 = 0.5
    squares = sum((model.parameters()[f"lstm_1.{name}"] ** 2).sum() for name in ("kernel", "recurrent_kernel"))
    assert trainer.evaluate(sequences, Y[:6])["loss"] == pytest.approx(before + 0.5 * squares, rel=1e-12)
