"""A surrogate of an expensive simulation that says how far it may be off.

The simulation is the Ishigami function of three inputs.  Eight networks learn it from 600 runs, each from other
weights.  Their mean is the surrogate; where they disagree it is uncertain.  How many of their standard deviations cover
90 % of the errors is measured on 200 runs kept apart (split conformal prediction: Lei et al. 2018, arXiv:1604.04173),
so the intervals hold without any assumption about the errors, for inputs of the same kind.  For others they do not: a
net knows nothing of places where it has never been, and the last line shows how little its doubts tell there.

    python examples/surrogate_with_uncertainty.py

prints (the numbers may differ a little on another machine)

    error          0.337 root mean square, of a deviation of 3.59
    half width     2.24 standard deviations of the networks, 0.452 in the mean
    coverage       90.4% of 2000 new runs; 90 % were asked for
    where sure     0.183 root mean square error in the half it is surer of
    elsewhere      0.440 in the other half
    never seen     5 times as wide outside of the training range, covers 20% there
"""

import numpy as np

import pynet as pn

rng = np.random.default_rng(0)


def simulate(X: np.ndarray) -> np.ndarray:
    """The Ishigami function, X [N, 3] -> y [N, 1]."""
    x1, x2, x3 = X.T
    return (np.sin(x1) + 7 * np.sin(x2) ** 2 + 0.1 * x3**4 * np.sin(x1))[:, None]


def inputs(rows: int, reach: float = np.pi) -> np.ndarray:
    return rng.uniform(-reach, reach, (rows, 3))


X, X_calibration, X_test = inputs(600), inputs(200), inputs(2000)
y, y_calibration, y_test = simulate(X), simulate(X_calibration), simulate(X_test)


def member(seed: int) -> pn.Model:
    """Train one network, from weights and in an order of the rows of its own."""
    layers = [pn.Input(3, scale=1 / 2), pn.Dense(48, "tanh"), pn.Dense(48, "tanh"), pn.Dense(1)]
    model = pn.Sequential(layers, random_state=seed)
    optimizer = pn.Adam(pn.schedules.Cosine(0.01, 400 * 19))
    pn.Trainer(model, "mse", optimizer, random_state=seed).fit(X, y, epochs=400, verbose=0)
    return model


ensemble = [member(seed) for seed in range(8)]


def predict(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation over the networks, [N, 1] each."""
    each = np.stack([model.predict(X) for model in ensemble])
    return each.mean(axis=0), each.std(axis=0)


mean, deviation = predict(X_calibration)
ratios = np.sort((np.abs(y_calibration - mean) / deviation).ravel())
factor = ratios[int(np.ceil(0.9 * (len(ratios) + 1))) - 1]  # the rank that makes 90 % of new rows lie inside

mean, deviation = predict(X_test)
error = np.abs(y_test - mean)
print(f"error          {np.sqrt(np.mean(error**2)):.3f} root mean square, of a deviation of {y_test.std():.2f}")
print(f"half width     {factor:.2f} standard deviations of the networks, {np.mean(factor * deviation):.3f} in the mean")
print(f"coverage       {np.mean(error <= factor * deviation):.1%} of {len(y_test)} new runs; 90 % were asked for")
sure = deviation <= np.median(deviation)
print(f"where sure     {np.sqrt(np.mean(error[sure] ** 2)):.3f} root mean square error in the half it is surer of")
print(f"elsewhere      {np.sqrt(np.mean(error[~sure] ** 2)):.3f} in the other half")
far = inputs(2000, 2 * np.pi)
far = far[(np.abs(far) > np.pi).any(axis=1)]
mean, wide = predict(far)
covered = np.mean(np.abs(simulate(far) - mean) <= factor * wide)
width = wide.mean() / deviation.mean()
print(f"never seen     {width:.0f} times as wide outside of the training range, covers {covered:.0%} there")
