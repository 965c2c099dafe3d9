"""Pruning against brute force: which weight goes, what the others become, and that the pruned ones stay 0."""

import copy
import itertools

import numpy as np
import pytest

import pynet as pn
from pynet import _core

BACKENDS = ("c", "numpy")


def linear(inputs, units, use_bias=True, seed=0, dtype="float64"):
    return pn.Sequential(
        [pn.Input(inputs), pn.Dense(units, use_bias=use_bias, name="d")], dtype=dtype, random_state=seed
    )


def correlated(rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns)) + rng.normal(size=columns)


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


# ---- masks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [pn.Adam(1e-2, weight_decay=0.1), pn.AdamW(1e-2, weight_decay=0.1),
                                       pn.SGD(0.05, momentum=0.9, weight_decay=0.1), pn.Rprop()])  # fmt: skip
@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_hold_through_a_thousand_steps(backend, optimizer):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(64, 7)), rng.normal(size=(64, 5))
    layers = [pn.Input(7), pn.Dense(33, "tanh", l1=1e-4, name="a"), pn.Dense(5, l2=1e-4, max_norm=2.0, name="b")]
    model = pn.Sequential(layers, dtype="float32")
    trainer = pn.Trainer(model, "mse", optimizer, clip=pn.ClipNorm(1.0), backend=backend)
    trainer.fit(X, y, epochs=2, batch_size=16, verbose=0)  # moments and velocities everywhere
    pn.prune.magnitude(model, 0.8)
    masks = pn.prune.masks(model)
    start = model.parameters()
    trainer.fit(X, y, epochs=250, batch_size=16, verbose=0)
    assert trainer.step == 1008
    for name, mask in masks.items():
        now = model.parameters()[name]
        assert (now[~mask].view("u4") == 0).all()  # not even -0
        assert (now[mask] != start[name][mask]).mean() > 0.9
    assert set(masks) == {"a.kernel", "b.kernel"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_callback_may_prune(backend):
    """Gradually, in the middle of a fit; what has gone stays away at once."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 7)), rng.normal(size=(200, 3))
    model = pn.Sequential([pn.Input(7), pn.Dense(20, "relu", name="a"), pn.Dense(3, name="b")])
    shares = []

    class Gradually(pn.Callback):
        def on_epoch_end(self, trainer, epoch, logs):
            kernel = model.parameters()["a.kernel"]
            shares.append(float((kernel == 0).mean()))
            pn.prune.magnitude(model, {"a": 0.1 * (epoch + 1)})

    pn.Trainer(model, "mse", pn.Adam(0.01), backend=backend).fit(X, y, epochs=6, verbose=0, callbacks=[Gradually()])
    np.testing.assert_allclose(shares, [0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_gradients_of_what_is_pruned_are_0():
    model = linear(6, 4)
    pn.prune.magnitude(model, 0.5)
    X = correlated(20, 6)
    gradient = pn.Trainer(model, "mse").gradients(X, np.ones((20, 4)))["d.kernel"]
    mask = pn.prune.masks(model)["d.kernel"]
    assert not gradient[~mask].any()
    assert gradient[mask].all()


def test_values_written_to_pruned_places_are_0():
    model = linear(6, 4)
    before = model.get_weights()
    pn.prune.magnitude(model, 0.5)
    mask = pn.prune.masks(model)["d.kernel"]
    model.set_weights(before)
    np.testing.assert_array_equal(model.parameters()["d.kernel"], np.where(mask, before[0], 0))
    model.initialize(5)
    assert not model.parameters()["d.kernel"][~mask].any()
    assert model.parameters()["d.kernel"][mask].all()


def test_masks_of_ones_own_and_their_end():
    model = linear(3, 2)
    mask = np.array([[1, 0], [0, 1], [1, 1]])
    report = pn.prune.set_masks(model, {"d.kernel": mask})
    assert (report.kept, report.sparsity) == ([4], pytest.approx(1 / 3))
    np.testing.assert_array_equal(pn.prune.masks(model)["d.kernel"], mask == 1)
    pn.prune.set_masks(model, {"d.kernel": None})
    assert pn.prune.masks(model) == {}
    pn.Trainer(model, "mse", pn.SGD(0.1)).train_on_batch(correlated(9, 3), np.ones((9, 2)))
    assert model.parameters()["d.kernel"].all()


def test_a_cut_model_keeps_its_masks():
    x = pn.Input(5)
    h = pn.Dense(6, "tanh", name="a")(x)
    model = pn.Model(x, pn.Dense(2, name="b")(h))
    pn.prune.magnitude(model, 0.5)
    front = pn.Model(x, pn.Dense(3, name="new")(model.get_layer("a").output))
    np.testing.assert_array_equal(pn.prune.masks(front)["a.kernel"], pn.prune.masks(model)["a.kernel"])
    assert set(pn.prune.masks(front)) == {"a.kernel"}
    assert pn.Trainer(front, "mse").train_on_batch(correlated(9, 5), np.ones((9, 3)))["loss"] > 0


# ---- shares, scopes, layers ----------------------------------------------------------------------------------------


def three_layers():
    layers = [pn.Dense(8, "relu", name="a"), pn.Dense(6, name="b", trainable=False), pn.Dense(4, name="c")]
    return pn.Sequential([pn.Input(10), *layers])


def kept(model):
    return {name: int(mask.sum()) for name, mask in pn.prune.masks(model).items()}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_the_share_is_exact(share):
    model = three_layers()
    report = pn.prune.magnitude(model, share)
    assert report.names == ["a.kernel", "c.kernel"]  # b is frozen
    assert sum(report.kept) == 104 - round(share * 104)
    assert bool(pn.prune.masks(model)) == (share > 0)
    own = {name: np.abs(w) for name, w in model.parameters().items()}
    start = {name: np.abs(w) for name, w in three_layers().parameters().items()}
    gone = np.concatenate([start[name][own[name] == 0] for name in report.names])
    left = np.concatenate([own[name][own[name] > 0] for name in report.names])
    assert gone.size == 0 or gone.max() <= left.min()


def test_scopes_and_layers():
    model = three_layers()
    pn.prune.magnitude(model, 0.5, scope="layer")
    assert kept(model) == {"a.kernel": 40, "c.kernel": 12}
    model = three_layers()
    pn.prune.magnitude(model, 0.5, layers=["b"])
    assert kept(model) == {"b.kernel": 24}
    model = three_layers()
    pn.prune.magnitude(model, {"a": 0.9, "b": 0.25})
    assert kept(model) == {"a.kernel": 8, "b.kernel": 36}


def test_the_report_is_a_table():
    model = three_layers()
    text = str(pn.prune.magnitude(model, 0.5, scope="layer"))
    assert text.splitlines()[0].split() == ["parameter", "weights", "kept", "sparsity"]
    assert text.splitlines()[-1].split() == ["all", "104", "52", "50.0%"]
    text = str(pn.prune.obs(model, correlated(50, 10), 0.6))
    assert "fitted" in text.splitlines()[0]


# ---- refusals -------------------------------------------------------------------------------------------------------

DATA = correlated(20, 10)
REFUSED = [
    ("no model", lambda m: pn.prune.magnitude(3, 0.5), TypeError, "model must be a pynet Model, got int"),
    ("share 1", lambda m: pn.prune.magnitude(m, 1.0), ValueError, "sparsity must be >= 0 and < 1, got 1.0"),
    ("share text", lambda m: pn.prune.magnitude(m, "0.5"), TypeError, "sparsity must be a number"),
    ("scope", lambda m: pn.prune.magnitude(m, 0.5, "globl"), ValueError, "unknown scope 'globl', did you mean"),
    ("layer", lambda m: pn.prune.magnitude(m, 0.5, layers=["aa"]), ValueError, "unknown layer to prune 'aa'"),
    ("layers text", lambda m: pn.prune.magnitude(m, 0.5, layers="a"), TypeError, "layers must be a list of names"),
    ("both", lambda m: pn.prune.magnitude(m, {"a": 0.5}, layers=["a"]), ValueError, "not both"),
    ("empty", lambda m: pn.prune.magnitude(m, {}), ValueError, "names no layer"),
    ("a share of a layer", lambda m: pn.prune.magnitude(m, {"a": 2}), ValueError, "sparsity of 'a' must be"),
    ("mask name", lambda m: pn.prune.set_masks(m, {"a": 1}), ValueError, "unknown parameter 'a'"),
    ("mask shape", lambda m: pn.prune.set_masks(m, {"a.kernel": [1]}), ValueError, r"shape \(10, 8\), got \(1,\)"),
    ("masks", lambda m: pn.prune.set_masks(m, [1]), TypeError, "masks must be a dict"),
    ("obs method", lambda m: pn.prune.obs(m, DATA, method="layer"), ValueError, "unknown method 'layer'"),
    ("obs X", lambda m: pn.prune.obs(m, DATA[:, :3]), ValueError, r"X must have shape \[N, 10\], got \(20, 3\)"),
    ("obs no rows", lambda m: pn.prune.obs(m, DATA[:0]), ValueError, "X has no rows"),
    ("obs NaN", lambda m: pn.prune.obs(m, DATA * np.nan), ValueError, "X must be finite"),
    ("obs damping", lambda m: pn.prune.obs(m, DATA, damping=0), ValueError, "damping must be finite and > 0"),
    ("obs needs y", lambda m: pn.prune.obs(m, DATA, method="network"), ValueError, "needs y"),
    ("obd needs y", lambda m: pn.prune.obd(m, DATA, curvature="hessian"), ValueError, "needs y"),
    ("obd curvature", lambda m: pn.prune.obd(m, DATA, curvature="hesse"), ValueError, "unknown curvature 'hesse'"),
    ("obd probes", lambda m: pn.prune.obd(m, DATA, 1, curvature="hessian", probes=0), ValueError, "probes must be"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refusals(call, kind, text):
    model = three_layers()
    before = model.arena.copy()
    with pytest.raises(kind, match=text):
        call(model)
    assert (model.arena == before).all()
    assert pn.prune.masks(model) == {}


def test_an_interrupted_surgeon_leaves_the_model_as_it_was(monkeypatch):
    from pynet import prune_layers

    model = three_layers()
    pn.prune.magnitude(model, 0.2)
    before, masks = model.arena.copy(), pn.prune.masks(model)
    original, calls = prune_layers.reconstruct, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(prune_layers, "reconstruct", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pn.prune.obs(model, DATA, 0.7)
    assert len(calls) == 2
    assert (model.arena == before).all()
    assert {name: mask.tolist() for name, mask in pn.prune.masks(model).items()} == {
        name: mask.tolist() for name, mask in masks.items()
    }


def test_too_many_parameters_for_the_whole_hessian():
    model = pn.Sequential([pn.Input(100), pn.Dense(50)])
    with pytest.raises(ValueError, match="at most 4000 parameters, the model has 5050"):
        pn.prune.obs(model, np.ones((3, 100)), y=np.ones((3, 50)), method="network")
