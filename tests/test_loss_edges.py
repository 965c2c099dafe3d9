"""Losses where it hurts, on every machine: exact hits, huge logits, odd widths, and NaN, which no loss may hide."""

import cases
import helpers
import numpy as np
import pytest
from helpers import EVERYWHERE, NUMPY

import pynet as pn
from pynet import _core
from pynet.plan import Job, build


def score(executor, kind, X, target, dtype, weight=None):
    """(status, mean loss, gradient by X) of a loss that reads its inputs."""
    source = pn.Input(X.shape[1])
    absorbed = cases.LOSSES[kind][2]
    layer = pn.Activation(cases.LOSSES[kind][0] if absorbed else "identity")
    model = pn.Model(source, layer(source), dtype=dtype)
    plan = build(model, [cases.head(kind)], input_gradients=True)
    grads = _core.aligned(plan.param_elems, plan.dtype)
    machine = helpers.make_machine(executor, plan, model.arena, rows=len(X), grads=grads)
    job = Job(inputs=[X], targets=[target], rows=len(X), batch=len(X), weight=weight, sums=np.zeros(plan.n_sums))
    job.stages = _core.FORWARD | _core.LOSS | _core.BACKWARD
    done, status = machine.run(job, 0, 1)
    assert done == (status == "ok")
    if status != "ok":
        assert not job.sums.any(), "a batch that failed was counted"
        return status, None, None
    return status, helpers.total_loss(plan, job.sums), machine.value(plan.input_gradients[0], gradient=True)


def agree(kind, X, target, dtype, weight=None):
    X, eps = X.astype(dtype), float(np.finfo(dtype).eps)
    status, loss, gradient = score(NUMPY, kind, X, target, dtype, weight)
    assert status == "ok"
    for executor in EVERYWHERE[1:]:
        status, other, slope = score(executor, kind, X, target, dtype, weight)
        assert status == "ok"
        assert other == pytest.approx(loss, rel=16 * eps, abs=16 * eps), executor
        assert np.isfinite(slope).all()
        helpers.assert_within(
            slope, gradient, 16 * eps * np.maximum(np.abs(gradient), 1 / gradient.size), str(executor)
        )
    return loss, gradient


@pytest.mark.parametrize("rows", [6, 37])  # 37: several times all lanes of a vector, and some rows more
@pytest.mark.parametrize("width", [1, 2, 7, 15, 16, 17, 31, 32, 33, 100])
@pytest.mark.parametrize("kind", cases.LOSSES)
def test_every_width(kind, width, rows, dtype):
    rng = np.random.default_rng(width)
    X = np.abs(rng.normal(size=(rows, width)) * 3) if kind == "poisson" else rng.normal(size=(rows, width)) * 3
    target = cases.target(kind, rows, width, rng)
    loss, gradient = agree(kind, X, target, dtype, rng.random(rows))
    if width > 1 or "cross_entropy_" not in kind:
        assert loss > 0.01
        assert np.abs(gradient).max() > 6e-3 / rows


@pytest.mark.parametrize("width", [2, 15, 17, 33])
def test_rows_of_weights_that_do_not_sum_to_one(width, dtype):
    """l = (sum t) log sum exp z - sum t z, whatever the sum."""
    rng = np.random.default_rng(width)
    X, target = rng.normal(size=(6, width)), cases.target("cross_entropy_dense", 6, width, rng)
    target *= np.array([0, 0.1, 0.5, 1, 1.5, 2])[:, None]
    loss, gradient = agree("cross_entropy_dense", X, target, dtype)
    e = np.exp(X)
    rows = target.sum(axis=1) * np.log(e.sum(axis=1)) - (target * X).sum(axis=1)
    assert loss == pytest.approx(rows.mean(), rel=1e-5)
    expected = (target.sum(axis=1, keepdims=True) * e / e.sum(axis=1, keepdims=True) - target) / 6
    helpers.assert_close(gradient, expected, 1e-5)
    assert np.ptp(target.sum(axis=1)) > 1


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("kind", ["cross_entropy_index", "cross_entropy_dense", "binary_cross_entropy"])
def test_huge_logits(kind, size, dtype):
    X = np.array([[size, -size, 0.0], [-size, size, size], [0.0, 0.0, 0.0], [size, size, size]])
    target = {"cross_entropy_index": np.array([0, 0, 1, 2]), "binary_cross_entropy": np.eye(3)[[0, 0, 1, 2]]}
    agree(kind, X, target.get(kind, np.eye(3)[[0, 0, 1, 2]]), dtype)
    loss, gradient = agree(kind, X[:1], target.get(kind, np.eye(3)[:1])[:1], dtype)  # right, and sure of it
    if size == 1e4:
        assert loss == pytest.approx(np.log(2) / 3 if kind == "binary_cross_entropy" else 0, abs=1e-6)
        assert np.abs(gradient[0, :2]).max() < 1e-6
    loss, _ = agree(kind, X[:1], np.array([1]) if kind.endswith("index") else np.eye(3)[1:2], dtype)  # wrong
    if size == 1e4:
        assert loss == pytest.approx((2e4 + np.log(2)) / 3 if kind == "binary_cross_entropy" else 2e4, rel=1e-6)


@pytest.mark.parametrize("kind", ["mse", "mae", "huber", "log_cosh", "quantile"])
def test_far_misses_and_exact_hits(kind, dtype):
    d = np.array([[0.0, -0.0, 1e-30, -1e-30], [0.7, -0.7, 1e3, -1e3], [1e6, -1e6, 20.0, -20.0]])
    target = np.zeros((3, 4))
    loss, gradient = agree(kind, d, target, dtype)
    assert loss > 100
    assert not gradient[0, :2].any(), "the gradient of an exact hit is 0"
    assert (np.sign(gradient[1:]) == np.sign(d[1:])).all()


@pytest.mark.parametrize("width", [2, 10, 16, 17, 33])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_a_row_has_the_bits_that_it_has_alone(size, width, executor, dtype):
    """However many rows share a vector: weights of 1, 18 and 18 make the factor of a row that of 37 equal ones."""
    rng = np.random.default_rng(width)
    X, labels = rng.normal(size=(37, width)) * size, rng.integers(0, width, 37)
    X[5], X[6, 1:], labels[6] = 0, -np.inf, 0
    status, _, together = score(executor, "cross_entropy_index", X.astype(dtype), labels, dtype, np.ones(37))
    assert status == "ok"
    for row in range(37):
        few = np.array([row, 0, 1])
        x = X[few].astype(dtype)
        status, _, alone = score(executor, "cross_entropy_index", x, labels[few], dtype, np.array([1.0, 18, 18]))
        assert status == "ok"
        assert (alone[0] == together[row]).all(), row


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("column", [0, 1, 2, -1])
@pytest.mark.parametrize(("row", "rows", "width"), [(2, 4, 19), (2, 40, 11), (39, 40, 11)])
@pytest.mark.parametrize("kind", cases.LOSSES)
def test_no_loss_hides_what_is_not_finite(kind, row, rows, width, column, bad, executor, dtype):
    X, target = np.ones((rows, width)), cases.target(kind, rows, width, np.random.default_rng(0))
    if kind == "cross_entropy_index":
        target[:] = 1
    assert score(executor, kind, X, target, dtype)[0] == "ok"
    X[row, column] = bad
    assert score(executor, kind, X, target, dtype)[0] == "not_finite"


@pytest.mark.parametrize("label", [-1, 3, 1 << 40])
def test_impossible_labels_stop_the_batch(label, executor, dtype):
    labels = np.array([0, 1, 2, 1])
    assert score(executor, "cross_entropy_index", np.ones((4, 3)), labels, dtype)[0] == "ok"
    labels[2] = label
    assert score(executor, "cross_entropy_index", np.ones((4, 3)), labels, dtype)[0] == "bad_label"


@pytest.mark.parametrize(
    "behind",
    [
        lambda: [pn.Dropout(0.5)],
        lambda: [pn.GaussianNoise(0.1)],
        lambda: [pn.GradientClip(pn.ClipNorm(1.0)), pn.Flatten()],
    ],
)
@pytest.mark.parametrize(("loss", "activation"), [("cross_entropy", "softmax"), ("binary_cross_entropy", "sigmoid")])
def test_probabilities_are_not_taken_for_logits_because_a_layer_stands_behind_the_head(loss, activation, behind):
    layers = [pn.Input(4), pn.Dense(3, activation=activation), *behind()]
    with pytest.raises(ValueError, match=f"has made {activation} of them already"):
        pn.Trainer(pn.Sequential(layers), loss)
    pn.Trainer(pn.Sequential([pn.Input(4), *behind(), pn.Dense(3, activation=activation)]), loss)
    pn.Trainer(pn.Sequential([pn.Input(4), pn.Dense(3), *behind()]), loss)  # logits, whatever stands behind
    pn.Trainer(pn.Sequential([pn.Input(4), pn.Dense(3, activation=activation), *behind()]), "mse")
