"""Which weights the second derivatives choose, and what the others become: against brute force."""

import copy
import itertools

import numpy as np
import pytest
from pruned_nets import correlated, linear

import pynet as pn
from pynet import _core


def refitted(X, z, kept, use_bias):
    """Weights and error of least squares on some columns."""
    A = np.column_stack([X[:, kept], np.ones(len(X))]) if use_bias else X[:, kept]
    solution = np.linalg.lstsq(A, z, rcond=None)[0]
    w = np.zeros(X.shape[1])
    w[kept] = solution[: len(kept)]
    return w, solution[len(kept)] if use_bias else 0.0, float(((A @ solution - z) ** 2).mean())


# ---- the surgeon on a linear layer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_surgeon_takes_the_weight_of_least_error(use_bias, seed):
    """One output: of all weights, the one without which the others can do best; they become the least squares."""
    X, model = correlated(60, 6, seed), linear(6, 1, use_bias, seed)
    z, w = model.predict(X)[:, 0], model.parameters()["d.kernel"][:, 0]
    trials = {p: refitted(X, z, [i for i in range(6) if i != p], use_bias) for p in range(6)}
    best = min(trials, key=lambda p: trials[p][2])
    report = pn.prune.obs(model, X, 1 / 6, damping=1e-12)
    found = model.parameters()
    assert np.flatnonzero(found["d.kernel"] == 0).tolist() == [best]
    np.testing.assert_allclose(found["d.kernel"][:, 0], trials[best][0], atol=1e-8 * np.abs(w).max())
    if use_bias:
        assert found["d.bias"][0] == pytest.approx(trials[best][1], abs=1e-8)
    assert report.kept == [5]
    before, after = report.errors["d.kernel"]
    variance = z.var() if use_bias else (z * z).mean()
    assert after == pytest.approx(trials[best][2] / variance, rel=1e-5)
    assert before > after


@pytest.mark.parametrize("k", [2, 3])
def test_surgeon_goes_step_by_step(k):
    """Greedily, in each output by itself, and the share is of each output's own curvature (here alike)."""
    X, model = correlated(200, 5, 3), linear(5, 1, seed=4)
    z = model.predict(X)[:, 0]
    kept = list(range(5))
    for _ in range(k):
        kept.remove(min(kept, key=lambda p: refitted(X, z, [i for i in kept if i != p], True)[2]))
    pn.prune.obs(model, X, k / 5, damping=1e-12)
    found = model.parameters()["d.kernel"][:, 0]
    assert np.flatnonzero(found).tolist() == kept
    np.testing.assert_allclose(found, refitted(X, z, kept, True)[0], atol=1e-7)


def test_costs_are_those_of_the_errors():
    """csrc/obs.c: the sum of the costs up to a step is half the squared error of the best fit of what is left."""
    X = correlated(300, 7, 5)
    X -= X.mean(axis=0)
    w = np.random.default_rng(1).normal(size=(4, 7))
    H = X.T @ X / len(X)
    order, cost = _core.obs(np.ascontiguousarray(np.linalg.inv(H)[None]), w, 7)
    for row in range(4):
        for k in range(8):
            kept = [i for i in range(7) if i not in order[row, :k]]
            error = refitted(X, X @ w[row], kept, False)[2] if kept else float(((X @ w[row]) ** 2).mean())
            assert cost[row, :k].sum() == pytest.approx(error / 2, rel=1e-6, abs=1e-12)


def test_each_form_may_have_a_hessian_of_its_own():
    rng = np.random.default_rng(0)
    forms = np.stack([np.linalg.inv(np.cov(rng.normal(size=(9, 50)))) for _ in range(3)])
    w = rng.normal(size=(3, 9))
    order, cost = _core.obs(forms, w, 9)
    for k in range(3):
        alone = _core.obs(forms[k : k + 1].copy(), w[k : k + 1].copy(), 9)
        np.testing.assert_array_equal(order[k], alone[0][0])
        np.testing.assert_array_equal(cost[k], alone[1][0])


def test_a_used_up_hessian_stops_in_order():
    order, cost = _core.obs(np.zeros((1, 4, 4)), np.ones((2, 4)), 3)
    assert (order == -1).all()
    assert np.isinf(cost).all()


def test_arguments_of_the_surgeon_are_looked_at():
    with pytest.raises(ValueError, match="do not fit"):
        _core.obs(np.zeros((1, 4, 4)), np.ones((2, 5)), 3)
    with pytest.raises(ValueError, match="do not fit"):
        _core.obs(np.zeros((1, 4, 4)), np.ones((2, 4)), 5)


def test_dead_inputs_go_first():
    X, model = correlated(100, 6), linear(6, 3)
    X[:, [1, 4]] = 7.0  # never move: the bias can do it
    pn.prune.obs(model, X, 6 / 18)
    assert (model.parameters()["d.kernel"][[1, 4]] == 0).all()
    np.testing.assert_allclose(model.predict(X).mean(axis=0), linear(6, 3).predict(X).mean(axis=0), rtol=1e-6)


def test_much_damping_keeps_the_others_as_they_were():
    """It pulls towards the weights before, not towards 0."""
    X, model = correlated(100, 8), linear(8, 4)
    before = model.parameters()["d.kernel"]
    pn.prune.obs(model, X, 0.25, damping=1e9)
    after = model.parameters()["d.kernel"]
    mask = pn.prune.masks(model)["d.kernel"]
    np.testing.assert_allclose(after[mask], before[mask], rtol=1e-6)


@pytest.mark.parametrize("method", ["layers", "fisher"])
def test_a_layer_of_which_nothing_goes(method):
    layers = [pn.Dense(6, "tanh", name="a"), pn.Dense(3, name="b")]
    model = pn.Sequential([pn.Input(5), *layers], dtype="float64")
    pn.prune.obs(model, correlated(60, 5), {"a": 0.5, "b": 0.0}, method=method)
    assert set(pn.prune.masks(model)) == {"a.kernel"}


def test_what_is_pruned_already_goes_on_being_so():
    X, model = correlated(100, 8), linear(8, 4)
    pn.prune.magnitude(model, 0.25)
    first = pn.prune.masks(model)["d.kernel"]
    for share in (0.5, 0.75):
        pn.prune.obs(model, X, share)
        mask = pn.prune.masks(model)["d.kernel"]
        assert not mask[~first].any()
        assert mask.sum() == round((1 - share) * 32)


def test_wide_layers_go_column_by_column(monkeypatch):
    """Worse than the exact way, better than magnitude."""
    from pynet import prune_layers

    X, errors = correlated(400, 30, 2), {}
    for way in ("exact", "columns", "magnitude"):
        model = linear(30, 8, seed=3)
        z = model.predict(X)
        with monkeypatch.context() as patch:
            if way == "columns":
                patch.setattr(pn.prune, "EXACT", 0)
                patch.setattr(prune_layers, "BLOCK", 8)
            if way == "magnitude":
                pn.prune.magnitude(model, 0.7)
            else:
                pn.prune.obs(model, X, 0.7)
        errors[way] = float(((model.predict(X) - z) ** 2).mean())
    assert errors["exact"] < errors["columns"] < 0.8 * errors["magnitude"], errors


# ---- second derivatives of whole networks ---------------------------------------------------------------------------


def small_net(seed=1):
    model = pn.Sequential(
        [pn.Input(3), pn.Dense(4, "tanh", name="a"), pn.Dense(2, name="b")], dtype="float64", random_state=seed
    )
    rng = np.random.default_rng(seed)
    return model, rng.normal(size=(30, 3)), rng.normal(size=(30, 2))


def hessian_by_differences(model, X, y):
    """Second differences of the loss alone, over all parameters in order of `parameters`; names."""
    names = list(model.parameters())
    trainer, start = pn.Trainer(model, "mse"), model.parameters()
    flat = np.concatenate([start[name].reshape(-1) for name in names])

    def loss(v):
        at, state = 0, {}
        for name in names:
            state[name] = v[at : at + start[name].size].reshape(start[name].shape)
            at += start[name].size
        model.load_state_dict(state)
        return trainer.evaluate(X, y)["loss"]

    h, n = 1e-3, len(flat)
    H = np.zeros((n, n))
    for i, j in itertools.combinations_with_replacement(range(n), 2):
        a, b = np.eye(n)[i] * h, np.eye(n)[j] * h
        H[i, j] = H[j, i] = (loss(flat + a + b) - loss(flat + a - b) - loss(flat - a + b) + loss(flat - a - b)) / (
            4 * h * h
        )
    model.load_state_dict(start)
    return H, flat, names


def trained(model, X, y):
    pn.Trainer(model, "mse", pn.Adam(lambda step: 0.02 * 0.999**step)).fit(X, y, epochs=3000, batch_size=30, verbose=0)


def test_whole_net_surgeon_against_the_hessian_by_differences():
    model, X, y = small_net()
    trained(model, X, y)
    H, flat, names = hessian_by_differences(copy.deepcopy(model), X, y)
    is_weight = np.concatenate([np.full(model.parameters()[n].size, n.endswith("kernel")) for n in names])
    damping = 1e-3
    H = H + np.eye(len(H)) * (damping * np.abs(np.diag(H)).mean() - min(np.linalg.eigvalsh(H)[0], 0))
    left, values = list(range(len(flat))), flat.copy()
    gone = []
    for _ in range(5):  # of 20
        inverse = np.linalg.inv(H[np.ix_(left, left)])
        costs = {p: values[p] ** 2 / 2 / inverse[k, k] for k, p in enumerate(left) if is_weight[p]}
        p = min(costs, key=lambda p: costs[p])
        k = left.index(p)
        values[left] -= inverse[:, k] * values[p] / inverse[k, k]
        values[p] = 0
        gone.append(p)
        left.remove(p)
    pn.prune.obs(model, X, 5 / 20, y=y, method="network", damping=damping)
    found = np.concatenate([model.parameters()[name].reshape(-1) for name in names])
    assert sorted(gone) == np.flatnonzero(found == 0).tolist()
    np.testing.assert_allclose(found, values, atol=2e-4 * np.abs(flat).max())
    assert np.abs(values - flat).max() > 1e-3


def test_brain_damage_against_the_hessian_by_differences():
    model, X, y = small_net(2)
    H, flat, names = hessian_by_differences(copy.deepcopy(model), X, y)
    saliency, at = {}, 0
    for name in names:
        n = model.parameters()[name].size
        if name.endswith("kernel"):
            saliency.update({(name, i): H[at + i, at + i] * flat[at + i] ** 2 / 2 for i in range(n)})
        at += n
    expected = set(sorted(saliency, key=lambda key: saliency[key])[:9])
    pn.prune.obd(model, X, y, 9 / 20, curvature="hessian")
    masks = pn.prune.masks(model)
    assert {(name, int(i)) for name, mask in masks.items() for i in np.flatnonzero(~mask.reshape(-1))} == expected


def test_the_estimated_diagonal_comes_close():
    from pynet.prune_hessian import Curvature

    model, X, y = small_net(3)
    curvature = Curvature(model, X, y, None, ["a.kernel", "b.kernel"])
    exact = curvature.diagonal(None, 0)
    errors = [np.abs(curvature.diagonal(n, 0) - exact).max() / np.abs(exact).max() for n in (10, 4000)]
    assert errors[1] < 0.1 < errors[0]


@pytest.mark.parametrize("use_bias", [True, False])
def test_fisher_surgeon_against_the_formula(use_bias):
    """Unit by unit, greedily, with the Fisher matrices worked out here from the same rows and gradients."""
    from pynet.prune_layers import looks

    layers = [pn.Dense(4, "tanh", use_bias=use_bias, name="a"), pn.Dense(3, "softmax", use_bias=use_bias, name="b")]
    model = pn.Sequential([pn.Input(5), *layers], dtype="float64", random_state=3)
    X = correlated(150, 5, 1)
    start, expected, costs = model.parameters(), {}, []
    seen = {name: (x, g) for name, x, g in looks(model, {"a", "b"}, [X], 0)}
    for name, (x, g) in seen.items():
        x = np.column_stack([x, np.ones(len(x))]) if use_bias else x
        for o in range(g.shape[1]):
            F = (x * g[:, o, None] ** 2).T @ x / len(x)
            F += np.eye(len(F)) * 0.01 * np.diag(F).mean()
            w = np.append(start[f"{name}.kernel"][:, o], start[f"{name}.bias"][o] if use_bias else [])
            left, n, highest = list(range(len(w))), len(start[f"{name}.kernel"]), 0.0
            path = [w.copy()]
            for _ in range(n):
                inverse = np.linalg.inv(F[np.ix_(left, left)])
                cost = {p: w[p] ** 2 / 2 / inverse[k, k] for k, p in enumerate(left) if p < n}
                p = min(cost, key=lambda p: cost[p])
                k = left.index(p)
                w[left] -= inverse[:, k] * w[p] / inverse[k, k]
                w[p] = 0
                left.remove(p)
                highest = max(highest, cost[p])
                costs.append((highest, name, o))
                path.append(w.copy())
            expected[name, o] = path
    pn.prune.obs(model, X, 0.5, method="fisher", damping=0.01)
    gone = sorted(costs)[: round(0.5 * len(costs))]
    for (name, o), path in expected.items():
        w = path[sum((name, o) == key[1:] for key in gone)]
        found = model.parameters()
        n = len(found[f"{name}.kernel"])
        np.testing.assert_allclose(found[f"{name}.kernel"][:, o], w[:n], atol=1e-9)
        if use_bias:
            assert found[f"{name}.bias"][o] == pytest.approx(w[n], abs=1e-9)


def test_gauss_newton_diagonal_of_a_linear_net():
    """Of the squared error it is the Hessian itself: 2 / O E[x_i^2], in expectation over the targets drawn."""
    from pynet.prune_layers import collect

    X, model = np.random.default_rng(0).normal(size=(40_000, 3)) * [1, 2, 3], linear(3, 2)
    (problem,) = collect(model, model.layers[1:], [X], 0)
    expected = (X * X).mean(axis=0)[:, None] * (2 / 2) ** 2 * np.ones(2)
    np.testing.assert_allclose(problem.diagonal, expected, rtol=0.05)
