"""What exported C is tested with: a collection of nets, rows, and the truth about them."""

import c_programs
import helpers
import nets
import numpy as np

import pynet as pn
from pynet import _core, activations
from pynet.export import c_vectors

ROWS = 12  # of each net that are like those of training; edges come behind them


def activated(name, dtype):
    """An activation behind a wide layer, a narrow one, by itself on the input, and alone at the end."""
    x = pn.Input(5, shift=np.arange(5.0), scale=[2.0, 1.0, 0.5, 1.0, 1.0])
    wide = pn.Dense(37, name, bias_initializer="uniform")(pn.Dense(6, name, bias_initializer="uniform")(x))
    alone = pn.Activation(name)(pn.Activation(name)(x))
    return pn.Model(x, [pn.Dense(3)(pn.Concat()([wide, alone])), pn.Activation(name)(wide)], dtype=dtype)


def placed(dtype):
    """Outputs that are inputs, one value twice an output, pieces that others read, one piece twice."""
    x, z = pn.Input(3, name="a"), pn.Input(4, name="b", scale=0.5)
    h = pn.Dense(5, "tanh")(x)
    inner = pn.Concat()([h, x, h])
    both = pn.Concat()([inner, z, pn.Activation("silu")(inner)])
    act = pn.Activation("relu")(inner)
    total = pn.Add()([act, inner, act])
    last = pn.Dense(3)(pn.Concat()([both, total]))
    return pn.Model([x, z], [x.output, last, last, pn.Activation("softmax")(last), inner, z.output], dtype=dtype)


def kitchen_sink(dtype="float32"):
    """Every function of the runtime in one net."""
    x, mask = pn.Input((4, 3), name="x", shift=0.5, scale=2.0), pn.Input(4, name="mask")
    steps = pn.LSTM(3, return_sequences=True)([x, mask])
    h = pn.Concat()([pn.Flatten()(steps), pn.Flatten()(x), pn.LSTM(2)([steps, mask])])
    h = pn.BatchNorm()(pn.PReLU()(pn.LayerNorm()(pn.Dense(36)(h))))
    acts = [pn.Dense(3, name)(h) for name in activations.TABLE]
    h = pn.Concat()([*acts, pn.Dense(40, name="few")(h), pn.Dense(40, name="many")(h)])
    model = pn.Model([x, mask], [h, x.output, pn.Dense(3, "softmax")(h)], dtype=dtype)
    rng = np.random.default_rng(0)
    pn.prune.set_masks(model, {"few.kernel": rng.random((36, 40)) < 0.02, "many.kernel": rng.random((36, 40)) < 0.5})
    return model.compact(["few", "many"])


def is_python(model) -> bool:
    return _core.OPS["python"] in model.plan.ops["kind"]


def collection(dtype) -> dict:
    """Everything that there is a C form of."""
    made = {name: make(dtype) for name, make in nets.NETS.items()}
    made = {name: model for name, model in made.items() if not is_python(model)}
    made |= {f"act {name}": activated(name, dtype) for name in activations.TABLE}
    return made | {"placed": placed(dtype)}


class Case:
    """A collection, or other models, with the truth about some rows, and its programs by the options of `to_c`."""

    def __init__(self, factory, dtype, models: dict | None = None):
        self.factory, self.models, self.programs = factory, models or collection(dtype), {}
        tiny = np.finfo(dtype).tiny
        self.rows, self.truth = {}, {}
        for name, model in self.models.items():
            usual = c_vectors.random_rows(model, ROWS, 7)
            edges = [np.stack([0 * x[0], 1000 * x[1], -1000 * x[2], tiny * x[3], tiny * x[4] / 64]) for x in usual]
            self.rows[name] = [np.concatenate(pair) for pair in zip(usual, edges, strict=True)]
            self.truth[name] = c_vectors.tolerances(model, self.rows[name])

    def program(self, **options):
        key = tuple(sorted(options.items()))
        if key not in self.programs:
            folder = self.factory.mktemp("c")
            self.programs[key] = c_programs.Program(folder, self.models, tests=3, **options)
        return self.programs[key]


def check_agreement(case: Case, options: dict, compiler: str, flags) -> None:
    """On random rows and edges, within the tolerance; and the self-tests pass."""
    made = case.program(**options)
    check_program(case, made, made.binary(compiler, *flags))


def check_program(case: Case, made: c_programs.Program, binary) -> None:
    """The same of what a binary is."""
    assert made.selftests(binary) == dict.fromkeys(case.models, 0)
    for name, outputs in made.predict(binary, case.rows).items():
        expected, tolerance = case.truth[name]
        for y, truth, bound in zip(outputs, expected, tolerance, strict=True):
            with np.errstate(over="ignore"):
                finite = np.isfinite(truth.astype(y.dtype)).all(axis=1) & np.isfinite(bound)
            assert finite[:ROWS].all(), name
            helpers.assert_within(y[finite], truth[finite], bound[finite, None], f"{name} {binary.name}")
