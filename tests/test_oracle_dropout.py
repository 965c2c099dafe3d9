"""PyTorch in float64 as oracle: what dropout and noise draw, and what training makes of it.

Run with  pytest -m oracle  (pip install .[oracle]).
"""

from itertools import pairwise

import helpers
import numpy as np
import pytest
from torch_net import RULES, Pair, bare, chain, data, given, sequence, stirred

import pynet as pn

pytestmark = pytest.mark.oracle


# ---- what they draw --------------------------------------------------------------------------------------------------

SHAPE = (600, 500)
MANY = SHAPE[0] * SHAPE[1]
SIGMAS = 4.5  # one true null in 150 000 is further away; the numbers are the same in every run


def draws(layer_of, backend, sample=0, random_state=0, rows=SHAPE[0], x=1.0):
    """What two layers of one net make of x, as they stand behind one another's back, in one sample."""
    value = pn.Input(SHAPE[1])
    model = pn.Model(value, [layer_of()(value), layer_of()(value)], dtype="float64")
    X = np.full((rows, SHAPE[1]), x)
    mean = {
        k: model.predict(X, mc_samples=k, random_state=random_state, backend=backend)
        for k in {1, sample + 1, sample or 1}
    }
    if not sample:
        return mean[1]
    return [(sample + 1) * a - sample * b for a, b in zip(mean[sample + 1], mean[sample], strict=True)]


def sigmas_of_share(kept, share):
    """How far the number of kept elements is from n share, in deviations of the binomial distribution."""
    return (kept.sum() - kept.size * share) / np.sqrt(kept.size * share * (1 - share))


def sigmas_of_counts(kept, share, axis):
    """The same for the spread of the counts of rows or columns: their chi-square against its mean."""
    n, counts = kept.shape[axis], kept.sum(axis=axis)
    chi_square = ((counts - n * share) ** 2 / (n * share * (1 - share))).sum()
    return (chi_square - counts.size) / np.sqrt(2 * counts.size)


def sigmas_of_correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1] * np.sqrt(a.size)


def pairs_of_one(a):
    """Elements of one array that might know of each other: rows and columns near by, as blocks of random bits lie."""
    pairs = {f"rows {k} apart": (a[:-k], a[k:]) for k in (1, 2, 3, 4, 7, 8, 16, 17)}
    pairs |= {f"columns {k} apart": (a[:, :-k], a[:, k:]) for k in (1, 2, 4, 8, 15, 16, 32)}
    return pairs | {"diagonals": (a[:-1, :-1], a[1:, 1:]), "transposed": (a[:400, :400], a[:400, :400].T)}


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_as_many_as_torch_does(torch, backend, rate):
    """Both against the binomial distribution: in all, by row, by column.  And moments of the output, x = 2."""
    torch.manual_seed(0)
    theirs = torch.nn.functional.dropout(torch.full(SHAPE, 2.0, dtype=torch.float64), rate).numpy()
    ours, _ = draws(lambda: pn.Dropout(rate), backend, x=2.0)
    for y in (ours, theirs):
        kept = y != 0
        helpers.assert_close(np.unique(y), np.array([0, 2 / (1 - rate)]), 2e-5)  # rates are multiples of 2^-16
        assert abs(sigmas_of_share(kept, 1 - rate)) < SIGMAS
        assert abs(sigmas_of_counts(kept, 1 - rate, 0)) < SIGMAS
        assert abs(sigmas_of_counts(kept, 1 - rate, 1)) < SIGMAS
    variance = 4 * rate / (1 - rate)
    assert abs(ours.mean() - theirs.mean()) < SIGMAS * np.sqrt(2 * variance / MANY)
    assert ours.var() == pytest.approx(theirs.var(), rel=0.02)
    assert ours.var() == pytest.approx(variance, rel=0.02)


def test_dropped_elements_do_not_know_of_each_other(torch, backend):
    """Between rows, columns, layers, samples, seeds: no correlation; PyTorch's masks pass the same test."""
    torch.manual_seed(0)
    theirs = torch.nn.functional.dropout(torch.ones(2, *SHAPE), 0.3).numpy()
    (a, other_layer), (next_sample, _) = (draws(lambda: pn.Dropout(0.3), backend, sample) for sample in (0, 1))
    other_seed, _ = draws(lambda: pn.Dropout(0.3), backend, random_state=1)
    pairs = pairs_of_one(a) | {"layers": (a, other_layer), "samples": (a, next_sample), "seeds": (a, other_seed)}
    pairs |= {f"torch, {name}": pair for name, pair in pairs_of_one(theirs[0]).items()}
    for name, pair in (pairs | {"torch": theirs}).items():
        assert abs(sigmas_of_correlation(*pair)) < SIGMAS, name


def test_these_measures_see_what_is_wrong():
    rng = np.random.default_rng(0)
    kept = rng.random(SHAPE) < 0.7
    assert abs(sigmas_of_share(kept, 0.71)) > 2 * SIGMAS
    assert abs(sigmas_of_counts(np.repeat(kept[::2], 2, axis=0), 0.7, 0)) > 2 * SIGMAS  # every row twice
    assert abs(sigmas_of_counts(np.sort(kept, axis=0), 0.7, 1)) > 2 * SIGMAS
    echo = np.where(rng.random(SHAPE) < 0.03, np.roll(kept, 3, axis=0), kept)  # one in thirty copied
    assert abs(sigmas_of_correlation(echo[:-3], echo[3:])) > 2 * SIGMAS


def test_gaussian_noise_is_distributed_as_torchs(torch, backend):
    """Moments, and the largest distance of the two distribution functions (Kolmogorov, Smirnov)."""
    torch.manual_seed(0)
    theirs = 1 + 0.5 * torch.randn(SHAPE, dtype=torch.float64).numpy()
    (a, other_layer), (next_sample, _) = (draws(lambda: pn.GaussianNoise(0.5), backend, sample) for sample in (0, 1))
    for y in (a, theirs):
        z = (y - 1) / 0.5
        moments = {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}  # of a normal number: mean and variance of z^k
        for k, (mean, variance) in moments.items():
            assert abs((z**k).mean() - mean) < SIGMAS * np.sqrt(variance / MANY), f"moment {k}"
    both = np.concatenate([a.ravel(), theirs.ravel()])
    steps = np.where(np.argsort(both, kind="stable") < MANY, 1, -1).cumsum()
    assert np.abs(steps).max() / MANY < 2.5 * np.sqrt(2 / MANY)  # of equal distributions one in 130 000 is further
    pairs = pairs_of_one(a) | {"layers": (a, other_layer), "samples": (a, next_sample)}
    for name, pair in pairs.items():
        assert abs(sigmas_of_correlation(*pair)) < SIGMAS, name


# ---- what training makes of it ---------------------------------------------------------------------------------------


def dropped():
    """Behind relu (a part of the dense op), behind other things, behind another dropout."""
    return chain(
        bare(17), pn.BatchNorm(), pn.PReLU(), pn.Dropout(0.2), pn.Dense(19, "relu"), pn.Dropout(0.25), pn.Dropout(0.1),
        pn.Dense(18), pn.LayerNorm(), pn.Activation("tanh"), pn.Dropout(0.5),
    )  # fmt: skip


def dropped_sequences():
    drops = [pn.Dropout(0.25), pn.LSTM(8, return_sequences=True), pn.Dropout(0.5)]
    return sequence(*drops, pn.LSTM(7), pn.Dropout(0.1), pn.Dense(6, "relu"), pn.Dropout(0.2))


def noisy():
    return chain(
        pn.GaussianNoise(0.3), pn.Dense(9, "tanh"), pn.GaussianNoise(0.1), pn.Dense(8, "relu"), pn.Dropout(0.5)
    )


def drawn(trainer):
    """Return {layer: what it multiplied with, or added} in the last step, from the values that the machine holds."""
    _, plan, machine, _ = trainer._cache["train"]
    values = dict(zip(trainer.model.nodes, plan.node_values, strict=True))
    result = {}
    for node in values:
        if node.layer.kind in ("dropout", "gaussian_noise"):
            y = machine.value(values[node]).reshape(-1, *node.shape)
            if node.layer.kind == "dropout":
                result[node.layer] = (y != 0) / (1 - round(node.layer.rate * 65536) / 65536)
            else:
                result[node.layer] = y - machine.value(values[node.inputs[0]]).reshape(y.shape)
    return result


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("make", [dropped, dropped_sequences, noisy])
def test_fifty_steps_with_the_same_masks(torch, backend, make, rule):
    pair = Pair(torch, stirred(make()), backend, rule, random_state=3)
    start = pair.model.parameters()
    inputs, y = data(pair.model, 90)
    seen = []
    for k in range(50):
        rows = np.arange(17 * k, 17 * k + 17) % 90
        batch = [x[rows] for x in inputs]
        ours = pair.trainer.train_on_batch(given(batch), y[rows])["loss"]
        seen.append(drawn(pair.trainer))
        assert ours == pytest.approx(pair.step(batch, y[rows], seen[-1]), rel=1e-9), f"step {k}"
    pair.net.assert_equal(1e-9)
    pair.assert_learned(start)
    for layer in seen[0]:  # every step draws anew
        assert not any((a[layer] == b[layer]).all() for a, b in pairwise(seen))
    expected = pair.net.eval()(inputs)[0].detach().numpy()  # without them
    helpers.assert_close(pair.model.predict(given(inputs), backend=pair.trainer.backend), expected, 1e-9)
