"""L-BFGS and Levenberg-Marquardt against SciPy, textbook formulas, central differences, and steps worked by hand."""

import numpy as np
import pytest
from scipy.optimize import least_squares, minimize
from scipy.optimize._dcsrch import DCSRCH
from searches import BACKENDS, WEIGHT, Function, X, Y, fitted, jacobian, places, surrogate

import pynet as pn
from pynet import reference_lbfgs

# ---- L-BFGS ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("loss", "activation"), [("cross_entropy", "softmax"), ("mse", None), ("log_cosh", None)])
def test_the_minimum_of_a_convex_loss_is_that_of_scipy(backend, loss, activation):
    """One layer with l2: there is one minimum only."""
    model = pn.Sequential([pn.Input(2), pn.Dense(3, activation, l2=1e-2)], dtype="float64")
    y = np.argmax(X @ [[1, -1, 0], [0, 1, -2]], axis=1) if loss == "cross_entropy" else Y @ [[1, 0, 2], [0, 1, 1]]
    function = Function(model, loss, X, y, WEIGHT)
    other = minimize(function, function.start, jac=True, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-10})
    model.arena[function.places] = function.start
    trainer = fitted(model, pn.LBFGS(gradient_tolerance=1e-10), 200, X, y, loss, backend, sample_weight=WEIGHT)
    assert trainer.history.stopped in ("gradient", "loss", "line search")
    found = model.arena[function.places]
    np.testing.assert_allclose(found, other.x, atol=1e-6)
    value, slope = function(found)
    assert value <= other.fun + 1e-13
    assert np.abs(slope).max() < 1e-8
    assert trainer.history.history["loss"][-1] == pytest.approx(value, rel=1e-12)
    assert trainer.history.history["gradient"][-1] == pytest.approx(np.abs(slope).max(), rel=1e-3, abs=1e-13)


def test_the_minimum_of_a_net_is_that_of_scipy():
    """From the same weights both come down in the same valley, all the way."""
    model = surrogate(l2=3e-3, head_l2=3e-3)
    function = Function(model, "mse", X, Y)
    options = {"maxiter": 1000, "ftol": 1e-15, "gtol": 1e-9}
    other = minimize(function, function.start, jac=True, method="L-BFGS-B", options=options)
    model.arena[function.places] = function.start
    trainer = fitted(model, pn.LBFGS(loss_tolerance=0), 1000)
    assert trainer.history.stopped in ("gradient", "line search")
    assert trainer.history.history["loss"][-1] == pytest.approx(other.fun, rel=1e-9)


def test_the_direction_is_that_of_bfgs_with_the_whole_matrix():
    """The two loops against H+ = (1 - s y'/s'y) H (1 - y s'/s'y) + s s'/s'y (Nocedal, Wright 2006, equation 6.17)."""
    rng = np.random.default_rng(0)
    n, memory, kept = 7, 4, 4
    S, root = rng.normal(size=(6, n)), rng.normal(size=(n, n))
    Y_ = S @ (root @ root.T + np.eye(n))
    arrays = {"numbers": np.zeros(10), "x": np.zeros(n), "gradient": rng.normal(size=n), "sums": np.zeros(2)}
    arrays["pairs"] = np.zeros((memory, 2 * n + 1))
    for k, (s, y) in enumerate(zip(S, Y_, strict=True)):  # the last four remain, the oldest in the middle
        arrays["pairs"][k % memory] = [*s, *y, s @ y]
    search = reference_lbfgs.LBFGS(None, np.arange(n), arrays, {"memory": memory})
    search["pairs"], search["next"] = kept, 6 % memory
    s, y = S[-1], Y_[-1]
    H = np.eye(n) * (s @ y) / (y @ y)
    for s, y in zip(S[-kept:], Y_[-kept:], strict=True):
        V = np.eye(n) - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    np.testing.assert_allclose(search.direction(), -H @ arrays["gradient"], rtol=1e-10)


LINES = {  # of Moré and Thuente 1994, section 5, and others: loss and slope at t
    "5.1": lambda t, b=2.0: (-t / (t * t + b), (t * t - b) / (t * t + b) ** 2),
    "5.2": lambda t, b=0.004: ((t + b) ** 5 - 2 * (t + b) ** 4, 5 * (t + b) ** 4 - 8 * (t + b) ** 3),
    "5.4": lambda t: (
        (1 + 1e-6) ** 0.5 * np.hypot(1 - t, 1e-3) + np.hypot(t, 1e-3) * 1e-3,
        (1 + 1e-6) ** 0.5 * (t - 1) / np.hypot(1 - t, 1e-3) + t / np.hypot(t, 1e-3) * 1e-3,
    ),
    "a wall": lambda t: (-t + t**9 / 9, -1 + t**8),
    "waves": lambda t: (-t + np.sin(8 * t) / 9 + t**3 / 40, -1 + np.cos(8 * t) * 8 / 9 + 3 * t * t / 40),
    "a kink": lambda t: (abs(t - 0.3) * 3 + t * 0.1, 3 * np.sign(t - 0.3) + 0.1),
}


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize("name", LINES)
def test_the_line_search_tries_the_steps_of_minpack(name, first):
    """Step by step those of dcsrch, as SciPy has it."""
    function, most = LINES[name], 1e10
    other = DCSRCH(None, None, reference_lbfgs.DECREASE, reference_lbfgs.CURVATURE, reference_lbfgs.NARROW, 0, most)
    loss, slope = function(0.0)
    line = reference_lbfgs.Line(loss, slope, first, most)
    step, *_ = other._iterate(first, loss, slope, b"START")
    answer, mine, seen = "", first, []
    for _ in range(40):
        assert mine == pytest.approx(step, rel=1e-9)
        seen.append(mine)
        here = function(mine)
        step, _, _, task = other._iterate(step, *function(step), task=b"FG")
        answer, mine = line.next(*here, mine)
        assert {"": b"FG", "done": b"CONV", "stuck": b"WARN"}[answer] == task[:4]
        if answer:
            break
    assert answer or name == "a kink"
    if answer == "done":
        value, there = function(mine)
        assert value <= loss + 1e-4 * mine * slope
        assert abs(there) <= 0.9 * abs(slope)


def exp(x):
    with np.errstate(over="ignore"):
        return np.exp(x)


def test_losses_that_are_not_finite_make_steps_shorter():
    """y = exp(200 w), wanted 2 from w = 0: the first step is of length 1, and exp(200) no number of float32."""
    for backend in BACKENDS:
        model = pn.Sequential(
            [pn.Input(1), pn.Dense(1, pn.activations.Function(exp, exp), use_bias=False)], dtype="float32"
        )
        model.set_weights([[[0.0]]])
        trainer = fitted(model, "lbfgs", 30, np.full((3, 1), 200.0), np.full(3, 2.0), backend=backend)
        assert trainer.history.history["evaluations"][0] > 1
        assert model.get_weights()[0][0, 0] == pytest.approx(np.log(2) / 200, rel=1e-4)


def test_where_every_step_is_too_long():
    """exp(1e30 w) is infinite at every step that is tried: the weights stay, and the search says so."""
    for backend in BACKENDS:
        model = pn.Sequential([pn.Input(1), pn.Dense(1, pn.activations.Function(exp, exp))], dtype="float64")
        model.set_weights([[[0.0]], [0.0]])
        optimizer = pn.LBFGS(max_evaluations=13)
        trainer = fitted(model, optimizer, 30, np.full((3, 1), 1e30), np.full(3, 2.0), backend=backend)
        assert trainer.history.stopped == "line search"
        assert trainer.history.history["evaluations"] == [13]
        assert not model.arena.any()


# ---- Levenberg-Marquardt ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_step_on_a_linear_model_is_linear_least_squares(backend, dtype):
    model = pn.Sequential([pn.Input(2), pn.Dense(2)], dtype=dtype)
    trainer = fitted(model, pn.LevenbergMarquardt(damping=1e-15), 1, backend=backend, sample_weight=WEIGHT)
    root = np.sqrt(WEIGHT)[:, None]
    exact = np.linalg.lstsq(root * np.column_stack([X, np.ones(len(X))]), root * Y, rcond=None)[0]
    tolerance = 1e-6 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(np.vstack(model.get_weights()), exact, rtol=0, atol=tolerance)
    assert trainer.history.history["evaluations"] == [1]


def test_one_step_by_hand():
    """y = w x, rows (1, 2) and (2, 1), w = 0: A = (1 + 4) / 2, g = -(2 + 2) / 2, damping A / 10: 2 / (2.5 + 0.25)."""
    for backend in BACKENDS:
        model = pn.Sequential([pn.Input(1), pn.Dense(1, use_bias=False)], dtype="float64")
        model.set_weights([[[0.0]]])
        trainer = pn.Trainer(model, "mse", pn.LevenbergMarquardt(damping=0.1), backend=backend)
        history = trainer.fit([[1.0], [2.0]], [2.0, 1.0], epochs=2, verbose=0).history
        first = 2 / 2.75
        loss, gradient = ((2 - first) ** 2 + (1 - 2 * first) ** 2) / 2, 2.5 * first - 2
        assert history["loss"][0] == pytest.approx(loss, rel=1e-14)
        assert history["gradient"] == pytest.approx([2 * 2, 2 * abs(gradient)], rel=1e-12)
        # gain = (2.5 - loss) / (h (damping h - g)), near 1: the damping falls by max(1/3, 1 - (2 gain - 1)^3)
        gain = (2.5 - loss) / (first * (0.25 * first + 2))
        assert gain == pytest.approx(1, rel=1e-12)  # r is linear
        assert history["damping"] == pytest.approx([0.25, 0.25 * max(1 / 3, 1 - (2 * gain - 1) ** 3)], rel=1e-12)
        second = first - gradient / (2.5 + history["damping"][1])
        assert model.get_weights()[0][0, 0] == pytest.approx(second, rel=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_step_is_that_of_a_jacobian_by_central_differences(backend):
    """Two heads of different weight, outputs of one behind an activation, l2, weights of the rows."""
    inner = pn.Input(2)
    h = pn.Dense(4, "tanh", l2=0.01)(inner)
    outputs = [pn.Dense(2, "sigmoid", name="a")(h), pn.Dense(1, name="b", l2=0.02)(h)]
    model = pn.Model(inner, outputs, dtype="float64", random_state=2)
    targets, loss = {"a": Y, "b": Y[:, :1]}, {"a": "mse", "b": "mse"}
    trainer = pn.Trainer(model, loss, "levenberg_marquardt", loss_weights={"a": 2.0, "b": 0.5}, backend=backend)
    where = places(model, loss)
    x, l2 = model.arena[where].copy(), np.zeros(len(model.arena))
    for weight, record in zip(model.weights, model.weights.records, strict=True):
        l2_of_kernel = getattr(weight.layer, "l2", 0.0) if weight.suffix == "kernel" else 0.0
        pn.plan.pack(l2, record, np.full(weight.shape, l2_of_kernel))
    l2 = l2[where]
    assert set(l2) == {0, 0.01, 0.02}

    def predictions(x):
        model.arena[where] = x
        a, b = model.predict(X)
        return np.column_stack([a, b])

    J = np.stack([(predictions(x + e) - predictions(x - e)) / 2e-6 for e in 1e-6 * np.eye(len(x))], axis=-1)
    c = WEIGHT[:, None] / WEIGHT.sum() * [2 / 2, 2 / 2, 0.5 / 1]
    r = predictions(x) - np.column_stack([Y, Y[:, 0]])
    A = np.einsum("bo,bom,bon->mn", c, J, J) + np.diag(l2)
    g = np.einsum("bo,bo,bom->m", c, r, J) + l2 * x
    model.arena[where] = x
    trainer.fit(X, targets, epochs=1, verbose=0, sample_weight=WEIGHT)
    history = {name: values[0] for name, values in trainer.history.history.items()}
    assert history["evaluations"] == 1
    assert history["damping"] == pytest.approx(1e-3 * A.diagonal().max(), rel=1e-7)
    assert history["gradient"] == pytest.approx(2 * np.abs(g).max(), rel=1e-7)
    step = -np.linalg.solve(A + history["damping"] * np.eye(len(x)), g)
    np.testing.assert_allclose(model.arena[where] - x, step, rtol=0, atol=1e-7 * np.abs(step).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_least_squares_of_a_net_are_those_of_scipy(backend):
    """MINPACK's lm from the same weights; the rows count what they weigh."""
    model = surrogate(outputs=1, l2=0, units=3)
    y = Y[:, :1]
    function = Function(model, "mse", X, y)
    root = np.sqrt(WEIGHT / WEIGHT.sum())

    def errors(x):
        return root * (function.predict(x) - y)[:, 0]

    def slopes(x):
        return root[:, None] * jacobian(function, x)

    other = least_squares(errors, function.start, slopes, method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    model.arena[function.places] = function.start
    epochs = 60 if backend == "numpy" else 400
    trainer = fitted(model, pn.LevenbergMarquardt(), epochs, X, y, backend=backend, sample_weight=WEIGHT)
    losses = trainer.history.history["loss"]
    assert losses[-1] == pytest.approx(2 * other.cost, rel=1e-4 if backend == "numpy" else 1e-8)
    assert (np.diff(losses) < 0).all() or trainer.history.stopped


def test_the_twin_finds_the_jacobian():
    from pynet.second_order import FullBatchFit

    model = surrogate()
    trainer = pn.Trainer(model, "mse", "levenberg_marquardt", backend="numpy")
    found = []

    class Look(pn.Callback):
        def on_fit_begin(self, trainer):
            assert isinstance(trainer._fit, FullBatchFit)
            search = trainer._fit.search
            search.job = trainer._fit.job
            found.extend(row for b in range(3) for _, _, row in search.jacobian(b))

    trainer.fit(X, Y, epochs=0, verbose=0, callbacks=[Look()])
    function = Function(model, "mse", X[:3], Y[:3])
    np.testing.assert_allclose(np.array(found), jacobian(function, function.start), atol=1e-8)


def test_a_wide_net_uses_several_blocks_and_threads():
    """More weights than a block has columns, more rows than a block has; the bits do not depend on threads."""
    results, data = [], (np.tile(X, (3, 1)), np.tile(Y, (3, 1)))
    for threads in (1, 3):
        model = surrogate(units=60)
        trainer = pn.Trainer(model, "mse", "levenberg_marquardt", n_threads=threads)
        trainer.fit(*data, epochs=3, verbose=0)
        results.append((model.arena.tobytes(), trainer.history.history["loss"]))
    assert results[0] == results[1]
    twin = fitted(surrogate(units=60), "levenberg_marquardt", 3, *data, backend="numpy")
    assert results[0][1] == pytest.approx(twin.history.history["loss"], rel=1e-8)
