"""Make the model files of test_model.c and of the fuzzer: small nets in which every way of storing something occurs.

    python tests/c/models/make.py

They are checkpoints: beside the parameters stand rows "rows.x" of the inputs and "rows.y" of the outputs.
"""

import pathlib

import numpy as np

import pynet as pn
from pynet.files import save_checkpoint

HERE = pathlib.Path(__file__).parent


def plain():
    """A scaled input and two layers, of float64."""
    x = pn.Input(5, scale=0.5, shift=1.0)
    return pn.Model(x, pn.Dense(3, activation="softmax")(pn.Dense(18, activation="gelu")(x)), dtype="float64")


def rich():
    """Three inputs, one a sequence with a mask, every kind of norm, a skip, two outputs."""
    steps, mask, x = pn.Input((3, 2), name="steps"), pn.Input(3, name="mask"), pn.Input(4, name="x")
    h = pn.LSTM(3)([steps, mask])
    g = pn.PReLU()(pn.BatchNorm()(pn.Dense(3, use_bias=False)(x)))
    both = pn.Concat()([pn.LayerNorm()(h), pn.BatchNorm()(pn.Add()([h, g]))])
    return pn.Model([steps, mask, x], [pn.Dense(2, activation="tanh")(both), pn.Activation("mish")(g)])


def pruned():
    """Dense kernels of which bits or steps tell the places, and ops with steps of eight and of four bits."""
    x = pn.Input(300)
    left = {"ops_nibbles": 0.15, "ops_steps": 0.01, "nibbles": 0.15, "steps": 0.01}
    branches = [
        pn.Dense(units, activation="tanh", name=name)(x) for name, units in zip(left, (9, 3, 4, 3), strict=True)
    ]
    model = pn.Model(x, pn.Dense(4, name="bits")(pn.Concat()(branches)))
    rng = np.random.default_rng(0)
    left["bits"] = 0.6
    shapes = {name: model.get_layer(name).parameters()[0].shape for name in left}
    masks = {f"{name}.kernel": rng.random(shapes[name]) < share for name, share in left.items()}
    masks["nibbles.kernel"] = np.add.outer(np.arange(300), np.arange(4)) % 6 == 0  # even gaps: bits would be longer
    pn.prune.set_masks(model, masks)
    return model.compact(["ops_nibbles", "ops_steps"])


def lanes():
    """Two panels of outputs in lanes, which see three places of 40 inputs."""
    model = pn.Sequential([pn.Input(40), pn.Dense(20, activation="tanh", name="lanes"), pn.Dense(3)])
    rng = np.random.default_rng(2)
    pn.prune.set_masks(model, {"lanes.kernel": rng.random((40, 20)) < 0.15})
    return model.compact({"lanes": "lanes"})


def filled(model, seed=0):
    """Vectors begin at 0 and 1, where much would cancel."""
    rng = np.random.default_rng(seed)
    state = model.state_dict()
    for name, array in state.items():
        if array.ndim == 1 and not name.endswith("values"):
            state[name] = array + rng.uniform(0.1, 0.5, array.shape).astype(array.dtype)
    model.load_state_dict(state)
    return model


def rows_of(model, n=3):
    rng = np.random.default_rng(1)
    X = [rng.standard_normal((n, *value.shape)).astype(model.dtype) for value in model.inputs]
    if len(X) == 3:
        X[1] = (rng.random(X[1].shape) < 0.7).astype(model.dtype)
    Y = model.predict(X if len(X) > 1 else X[0])
    flat = [
        np.concatenate([a.reshape(n, -1) for a in arrays], axis=1) for arrays in (X, Y if isinstance(Y, list) else [Y])
    ]
    return dict(zip(("rows.x", "rows.y"), flat, strict=True))


MODELS = {"plain": plain, "rich": rich, "pruned": pruned, "lanes": lanes}

if __name__ == "__main__":
    for name, make in MODELS.items():
        model = filled(make())
        save_checkpoint(HERE / f"{name}.safetensors", model, {}, rows_of(model))
