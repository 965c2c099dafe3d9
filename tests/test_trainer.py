"""The trainer: what it reports is what NumPy computes from the predictions, what it learns is right."""

import numpy as np
import pytest

import pynet as pn
from pynet import philox

BACKENDS = ("c", "numpy")
pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def net(head="softmax", outputs=3, dtype="float64", inputs=4, hidden=8, **options):
    layers = [pn.Input(inputs), pn.Dense(hidden, "tanh", **options), pn.Dense(outputs, head, **options)]
    return pn.Sequential(layers, dtype=dtype, random_state=3)


def data(rows=50, inputs=4, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, inputs))
    y = np.argmax(X[:, :classes] + 0.3 * rng.normal(size=(rows, classes)), axis=1)
    assert len(np.unique(y)) == classes
    return X, y


def softmax_loss(p, y, w=None):
    return np.average(-np.log(p[np.arange(len(y)), y]), weights=w)


def joined(batches):
    return [row for batch in batches for row in batch]


def bits(model):
    return model.arena.tobytes()


# ---- what is reported -----------------------------------------------------------------------------------------------


def test_evaluate_against_formulas(backend):
    X, y = data()
    model = net()
    p = model.predict(X)
    rank = np.argsort(np.argsort(-p, axis=1), axis=1)[np.arange(len(y)), y]
    trainer = pn.Trainer(model, "cross_entropy", metrics=["accuracy", pn.metrics.TopK(2)], backend=backend)
    expected = {"loss": softmax_loss(p, y), "accuracy": np.mean(p.argmax(1) == y), "top_2": np.mean(rank < 2)}
    assert 0 < expected["accuracy"] < expected["top_2"] < 1
    for batch_size in (1, 7, 50, 1000):
        assert trainer.evaluate(X, y, batch_size=batch_size) == pytest.approx(expected, rel=1e-12)
    one_hot = np.eye(3)[y]
    assert trainer.evaluate(X, one_hot) == pytest.approx(expected, rel=1e-12)

    t = np.random.default_rng(1).normal([0, 5, -5], size=(50, 3))
    trainer = pn.Trainer(net("identity"), "mae", metrics=["r2", "mae", "mse"], backend=backend)
    d = trainer.model.predict(X) - t
    w = np.arange(50) % 4 / 2
    for weight in (None, w):
        mean = np.average(t, axis=0, weights=weight)
        u = np.ones(50) if weight is None else weight
        r2 = np.mean(1 - (u @ d**2) / (u @ (t - mean) ** 2))
        mae, mse = (np.average(e.mean(axis=1), weights=weight) for e in (np.abs(d), d * d))
        found = trainer.evaluate(X, t, sample_weight=weight, batch_size=16)
        assert found == pytest.approx({"loss": mae, "r2": r2, "mae": mae, "mse": mse}, rel=1e-10)


def test_binary_accuracy_and_penalties(backend):
    X, y = data()
    model = net("sigmoid", outputs=1, l1=1e-3, l2=1e-2)
    trainer = pn.Trainer(model, "binary_cross_entropy", metrics=["accuracy"], backend=backend)
    p, t = model.predict(X)[:, 0], y == 1
    loss = -np.mean(np.log(np.where(t, p, 1 - p)))
    kernels = [w for name, w in model.parameters().items() if name.endswith("kernel")]
    loss += sum(1e-3 * np.abs(w).sum() + 1e-2 * (w * w).sum() for w in kernels)
    expected = {"loss": loss, "accuracy": np.mean((p > 0.5) == t)}
    assert trainer.evaluate(X, t.astype(float)) == pytest.approx(expected, rel=1e-12)


def test_train_on_batch_reports_the_state_before_its_step(backend):
    X, y = data()
    trainer = pn.Trainer(net(), "cross_entropy", pn.SGD(0.5), metrics=["accuracy"], backend=backend)
    before, gradient = trainer.evaluate(X, y), trainer.gradients(X, y)
    start = trainer.model.parameters()
    assert trainer.train_on_batch(X, y) == pytest.approx(before, rel=1e-12)
    assert trainer.step == 1
    for name, weight in trainer.model.parameters().items():
        np.testing.assert_allclose(weight, start[name] - 0.5 * gradient[name], rtol=1e-12, atol=1e-15)
        assert np.any(weight != start[name])


def test_gradients_against_differences(backend):
    X, y = data(rows=9)
    model = net(l2=0.01)
    weight = np.arange(9.0)
    trainer = pn.Trainer(model, "cross_entropy", backend=backend)
    found = trainer.gradients(X, y, sample_weight=weight)
    assert set(found) == {*model.parameters(), "input_1"}
    saved, h = model.state_dict(), 1e-5
    for name, array in saved.items():
        for place in ((0,) * array.ndim, (-1,) * array.ndim):
            values = []
            for sign in (1, -1):
                moved = {k: v.copy() for k, v in saved.items()}
                moved[name][place] += sign * h
                model.load_state_dict(moved)
                values.append(trainer.evaluate(X, y, sample_weight=weight)["loss"])
            assert found[name][place] == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-6, abs=1e-10)
    model.load_state_dict(saved)
    moved = np.array([X, X])
    moved[:, 5, 2] += h, -h
    up, down = (trainer.evaluate(x, y, sample_weight=weight)["loss"] for x in moved)
    assert found["input_1"][5, 2] == pytest.approx((up - down) / (2 * h), rel=1e-6)


def test_history_and_validation(backend):
    X, y = data(80)
    Xv, yv = data(30, seed=1)
    trainer = pn.Trainer(net(), "cross_entropy", metrics=["accuracy"], backend=backend)
    history = trainer.fit(X, y, epochs=3, validation_data=(Xv, yv), verbose=0)
    assert history is trainer.history
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history.epoch == [0, 1, 2]
    assert history.history["loss"][2] < history.history["loss"][0]
    last = {name[4:]: values[-1] for name, values in history.history.items() if name.startswith("val_")}
    assert trainer.evaluate(Xv, yv) == pytest.approx(last, rel=1e-12)
    trainer.fit(X, y, epochs=2, validation_data=(Xv, yv, np.ones(30)), verbose=0)
    assert history.epoch == [0, 1, 2, 3, 4]
    assert (trainer.epoch, trainer.step) == (5, 15)


def test_validation_split_holds_rows_out(backend):
    X, y = data(100)
    held = np.sort(philox.permutation(5, 0, 100, philox.SPLIT)[80:])
    runs = []
    for shift in (0, 2):
        X[held] += shift
        trainer = pn.Trainer(net(), "cross_entropy", backend=backend, random_state=5)
        history = trainer.fit(X, y, epochs=2, batch_size=16, validation_split=0.2, verbose=0).history
        assert trainer.fit_info["rows"] == 80
        assert trainer.evaluate(X[held], y[held])["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-12)
        runs.append((history["val_loss"], history["loss"], bits(trainer.model)))
    assert runs[0][0] != runs[1][0]
    assert runs[0][1:] == runs[1][1:]


# ---- order and weights of rows ------------------------------------------------------------------------------------


class Recorder:
    """A loss that only looks: which rows come, in which order."""

    def __init__(self):
        self.rows = []

    def value_and_gradient(self, prediction, target):
        self.rows.append(target[:, 0].astype(int).tolist())
        return 0.0, np.zeros_like(prediction)


def test_every_epoch_visits_each_row_once_in_its_own_order(backend):
    X, t = np.zeros((23, 4)), np.arange(23.0)[:, None]
    orders = []
    for state in (0, 0, 1):
        loss = Recorder()
        trainer = pn.Trainer(net("identity", 1), loss, backend=backend, random_state=state)
        trainer.fit(X, t, epochs=2, batch_size=5, verbose=0)
        assert [len(batch) for batch in loss.rows] == [5, 5, 5, 5, 3] * 2
        orders.append([joined(loss.rows[:5]), joined(loss.rows[5:])])
    for first, second in orders:
        assert sorted(first) == sorted(second) == list(range(23))
        assert first != second
    assert orders[0] == orders[1] != orders[2]
    loss = Recorder()
    pn.Trainer(net("identity", 1), loss, backend=backend).fit(X, t, epochs=1, batch_size=5, shuffle=False, verbose=0)
    assert joined(loss.rows) == list(range(23))


def test_weight_two_is_a_row_twice(backend):
    X, y = data(20)
    weight = np.ones(20)
    weight[[3, 7]] = 2, 0
    twice = np.r_[np.delete(np.arange(20), 7), 3]
    ends = []
    for args, w in (((X, y), weight), ((X[twice], y[twice]), None), ((X, y), 10 * weight)):
        trainer = pn.Trainer(net(l2=0.1), "cross_entropy", pn.SGD(0.1), backend=backend)
        trainer.fit(*args, epochs=10, batch_size=64, sample_weight=w, verbose=0)
        ends.append(trainer.model.parameters())
    start = net().parameters()
    for name, array in ends[0].items():
        np.testing.assert_allclose(array, ends[1][name], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(array, ends[2][name], rtol=1e-10, atol=1e-14)
        assert np.any(array != start[name])


def test_class_weight_is_a_sample_weight(backend):
    X, y = data()
    counts = np.bincount(y)
    pairs = [({0: 3.0, 2: 0.5}, np.array([3, 1, 0.5])[y]), ("balanced", (50 / (3 * counts))[y])]
    for target in (y, np.eye(3)[y]):
        for class_weight, weight in pairs:
            models = []
            for options in ({"class_weight": class_weight}, {"sample_weight": weight}):
                trainer = pn.Trainer(net(), "cross_entropy", backend=backend)
                trainer.fit(X, target, epochs=2, verbose=0, **options)
                models.append(bits(trainer.model))
            assert models[0] == models[1]


# ---- several inputs and outputs -----------------------------------------------------------------------------------


def test_lists_and_dicts(backend):
    X, y = data()
    t = np.random.default_rng(2).normal(size=(50, 2))
    runs = []
    for kind in (list, dict):
        a, b = pn.Input(3, name="left"), pn.Input(1, name="right")
        h = pn.Dense(6, "tanh")(pn.Concat()([a, b]))
        outputs = [pn.Dense(3, "softmax", name="kind")(h), pn.Dense(2, name="size")(h), pn.Dense(1, name="idle")(h)]
        model = pn.Model([a, b], outputs, dtype="float64")
        names = {"left": X[:, :3], "right": X[:, 3:]}, {"kind": y, "size": t}
        rows, targets = ([*names[0].values()], [*names[1].values()]) if kind is list else names
        losses = {"kind": "cross_entropy", "size": "mse"}
        trainer = pn.Trainer(
            model, losses if kind is dict else ["cross_entropy", "mse", None], metrics={"kind": ["accuracy"]},
            loss_weights={"size": 0.25}, backend=backend,
        )  # fmt: skip
        trainer.fit(rows, targets, epochs=2, verbose=0)
        score = trainer.evaluate(rows, targets)
        p, q, _ = model.predict(rows)
        parts = {"kind_loss": softmax_loss(p, y), "size_loss": np.mean((q - t) ** 2)}
        parts |= {"loss": parts["kind_loss"] + 0.25 * parts["size_loss"], "kind_accuracy": np.mean(p.argmax(1) == y)}
        assert score == pytest.approx(parts, rel=1e-12)
        assert set(trainer.gradients(rows, targets)) >= {"left", "right", "kind.kernel", "size.bias"}
        runs.append(bits(model))
    assert runs[0] == runs[1]


class OwnMSE:
    def value_and_gradient(self, prediction, target):
        d = prediction - target
        return float(np.mean(d * d)), 2 * d / d.size


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loss_of_ones_own_is_as_good_as_a_built_in_one(backend, dtype):
    X = data()[0]
    t = np.random.default_rng(2).normal(size=(50, 2)).astype(dtype)
    ends = []
    for loss in ("mse", OwnMSE()):
        model = net("tanh", 2, dtype, l2=0.01)
        trainer = pn.Trainer(model, loss, clip=pn.ClipNorm(0.1), metrics=["mse"], backend=backend)
        history = trainer.fit(X, t, epochs=3, batch_size=16, validation_split=0.2, verbose=0).history
        gradients = trainer.gradients(X, t)
        ends.append((history, trainer.evaluate(X, t), gradients, model.parameters(), trainer.step))
    tolerance = 1e-5 if dtype == "float32" else 1e-10
    (history, score, gradients, weights, step), own = ends
    assert own[1] == pytest.approx(score, rel=tolerance)
    assert own[4] == step == 9
    for name in history:
        assert own[0][name] == pytest.approx(history[name], rel=tolerance)
    for known, found in ((gradients, own[2]), (weights, own[3])):
        for name, array in known.items():
            np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance)


# ---- learning -----------------------------------------------------------------------------------------------------


def test_learns_xor(backend):
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    y = X[:, :1] ^ X[:, 1:]
    trainer = pn.Trainer(net("sigmoid", 1, "float32", 2), "binary_cross_entropy", pn.Adam(0.05), backend=backend)
    trainer.fit(X, y, epochs=400, batch_size=4, verbose=0)
    assert np.abs(trainer.model.predict(X) - y).max() < 0.1


def test_learns_two_spirals(backend):
    angle = np.linspace(0.5, 10, 150)
    arm = np.c_[np.cos(angle), np.sin(angle)] * angle[:, None] * 0.3
    X, y = np.r_[arm, -arm], np.repeat([0, 1], 150)
    layers = [pn.Input(2), pn.Dense(32, "tanh"), pn.Dense(32, "tanh"), pn.Dense(2, "softmax")]
    trainer = pn.Trainer(pn.Sequential(layers), "cross_entropy", pn.Adam(0.01), metrics=["accuracy"], backend=backend)
    trainer.fit(X[::2], y[::2], epochs=500, verbose=0)
    assert trainer.evaluate(X[::2], y[::2])["accuracy"] == 1
    assert trainer.evaluate(X[1::2], y[1::2])["accuracy"] >= 0.97


def test_inputs_of_every_kind_give_the_same_bits(backend, tmp_path):
    base = np.random.default_rng(0).integers(0, 200, (40, 4))
    y = base.argmax(axis=1) % 3
    wide = np.zeros((80, 9), np.int16)
    wide[::2, 1:9:2] = base
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(40, 4))
    mapped[:] = base
    mapped_columns = np.memmap(tmp_path / "columns", np.float32, "w+", shape=(40, 4), order="F")
    mapped_columns[:] = base
    mapped_backwards = np.memmap(tmp_path / "backwards", np.uint8, "w+", shape=(40, 4))
    mapped_backwards[:] = base[::-1]
    locked = base.astype("f8")
    locked.flags.writeable = False
    kinds = [base.astype(t) for t in ("u1", "i2", "i4", "u4", "i8", "u8", "f4", "f8", ">f8", ">i4", "f2")]
    kinds += [wide[::2, 1:9:2], np.asfortranarray(base), base[::-1].astype("u1")[::-1], mapped, locked, base.tolist()]
    kinds += [mapped_columns, mapped_backwards[::-1]]
    ends = set()
    for X in kinds:
        trainer = pn.Trainer(net(dtype="float32"), "cross_entropy", backend=backend)
        trainer.fit(X, y, epochs=2, batch_size=16, verbose=0)
        ends.add(bits(trainer.model) + trainer.model.predict(X, backend=backend).tobytes())
    assert len(ends) == 1
    assert bits(net(dtype="float32")) not in {e[: len(bits(net(dtype="float32")))] for e in ends}


# ---- between fits -------------------------------------------------------------------------------------------------


def test_the_learning_rate_may_change_between_fits(backend):
    X, y = data()
    trainer = pn.Trainer(net(), "cross_entropy", pn.SGD(0.1), backend=backend)
    trainer.fit(X, y, epochs=1, verbose=0)
    before = bits(trainer.model)
    trainer.optimizer.learning_rate = 0.0
    trainer.fit(X, y, epochs=1, verbose=0)
    assert bits(trainer.model) == before
    steps = []
    trainer.optimizer.learning_rate = lambda step: steps.append(step) or 0.1
    trainer.fit(X, y, epochs=1, verbose=0)
    assert bits(trainer.model) != before
    assert sorted(set(steps)) == [4, 5]


def test_frozen_layers_stay_and_do_not_count(backend):
    X, y = data()
    ends = []
    for detour in (False, True):
        model = net(l2=0.5)
        trainer = pn.Trainer(model, "cross_entropy", pn.Adam(), clip=pn.ClipNorm(0.01), backend=backend)
        trainer.fit(X, y, epochs=1, verbose=0)
        model.freeze("dense_1")
        trainer.fit(X, y, epochs=1, verbose=0)
        assert not any(name.startswith("dense_1") for name in trainer.gradients(X, y))
        before = model.parameters()
        if detour:  # gradients of what was free for a moment must not reach the norm that clips the rest
            model.unfreeze()
            trainer.gradients(X, y)
            model.freeze("dense_1")
        trainer.fit(X, y, epochs=1, verbose=0)
        for name, array in model.parameters().items():
            assert (name.startswith("dense_1")) == np.array_equal(array, before[name])
        ends.append(bits(model))
        model.unfreeze()
        trainer.fit(X, y, epochs=1, verbose=0)
        assert np.any(model.parameters()["dense_1.kernel"] != before["dense_1.kernel"])
    assert ends[0] == ends[1]
