"""What a small net of the tests is filled with: vectors drawn at random, arrays for its inputs and outputs, heads."""

import cases
import numpy as np


def scrambled(model, seed=0):
    """The model, its vectors drawn at random."""
    rng = np.random.default_rng(seed)
    draws = {
        "gamma": lambda n: rng.uniform(0.5, 1.5, n), "beta": lambda n: rng.normal(size=n) * 0.3,
        "mean": lambda n: rng.normal(size=n) * 0.3, "variance": lambda n: rng.uniform(0.5, 2, n),
        "alpha": lambda n: rng.uniform(0.1, 0.6, n),
    }  # fmt: skip
    state = model.state_dict()
    for name, array in state.items():
        if draw := draws.get(name.rpartition(".")[2]):
            state[name] = draw(array.shape)
    model.load_state_dict(state)
    return model


def arrays(model, n, rng):
    """One array for each input: normal numbers, or a mask."""
    return [
        masks(n, value.width) if value.layer.name == "mask" else rng.normal(size=(n, value.width))
        for value in model.inputs
    ]


def masks(n, steps):
    """Rows by turns padded on the left, empty, with a hole, whole, padded on the right."""
    mask = np.ones((n, steps))
    mask[0::5, : steps // 2] = 0
    mask[1::5] = 0
    mask[2::5, 1] = 0
    mask[4::5, steps // 2 :] = 0
    return mask


def targets(model, n, rng):
    return [rng.normal(size=(n, value.width)) for value in model.outputs]


def heads(model):
    return [cases.head("mse", 1 / (1 + i)) for i in range(len(model.outputs))]
