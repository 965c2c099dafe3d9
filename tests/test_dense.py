"""Matrix products at shapes that hurt: forward, dx, dw and db of a layer on every instruction set, against NumPy in
float64, each within  terms * eps * (sum of the magnitudes of its terms)."""

import helpers
import numpy as np
import pytest
from helpers import EVERYWHERE, FMA_ISAS, Executor, Guarded

import pynet as pn
from pynet import _core
from pynet.heads import Head
from pynet.losses import LossSpec
from pynet.plan import Job, build, pack, unpack

SIZES = (1, 2, 7, 15, 16, 17, 31, 32, 33, 47, 48, 49, 96, 500, 511, 512, 513)
EXTERNAL = Head(LossSpec("external"), 1.0, [])


def shapes():
    """(B, I, O): every size in every place, next to small ones, to one another and to two large ones."""
    result = [(b, 5, 3) for b in SIZES] + [(4, i, 19) for i in SIZES] + [(6, 18, o) for o in SIZES]
    result += [(n, n, n) for n in SIZES if n < 100] + [(1, 1, 1), (1, 513, 513), (513, 1, 513), (513, 513, 1)]
    result += [(b, i, o) for b in (1, 6, 7, 13, 14, 15, 29) for i in (16, 17) for o in (15, 16, 17, 33)]
    result += [(257, 225, 81), (129, 97, 80), (300, 233, 97), (513, 449, 81)]  # beyond the blocks of dw, one and more
    return sorted({*result, (33, 500, 47), (47, 512, 33), (128, 784, 10), (29, 1025, 17), (14, 16, 1040)})


class Layer:
    """A layer y = x w + b, the gradient dy put in from outside, and what a machine makes of them.

    `again`: it is called twice, on the same x, so that dw, db and dx are added to what the other call has written.
    """

    def __init__(self, executor, shape, dtype, bias=True, again=False):
        B, I, O = shape
        rng = np.random.default_rng([B, I, O])
        self.x, self.dy, self.w, self.b = (
            rng.normal(size=s).astype(dtype).astype(np.float64) for s in ((B, I), (B, O), (I, O), (O,))
        )
        layer = pn.Dense(O, use_bias=bias, name="layer")
        source = pn.Input(I)
        outputs = [layer(source)]
        if again:
            outputs.append(layer(pn.Activation("identity")(source)))
        model = pn.Model(source, pn.Concat()(outputs) if again else outputs, dtype=dtype)
        plan = build(model, [EXTERNAL], input_gradients=True)
        params, grads = Guarded(plan.param_elems, plan.dtype), Guarded(plan.param_elems, plan.dtype)
        for record, array in zip(plan.params, (self.w, self.b), strict=False):
            pack(params.inner, record, array)
        machine = helpers.make_machine(executor, plan, params.inner, rows=B, grads=grads.inner)
        out = np.full((B + 2, O * len(outputs)), np.nan, dtype)
        job = Job(inputs=[self.x], outputs=[out[1:-1]], rows=B, batch=B, sums=np.zeros(plan.n_sums))
        job.targets = [np.zeros((B, out.shape[1]))]
        job.stages = _core.FORWARD | _core.LOSS | _core.OUTPUT
        assert machine.run(job, 0, 1) == (1, "ok")
        machine.set_gradient(plan.head_values[0], np.tile(self.dy, len(outputs)))
        job.stages = _core.BACKWARD
        assert machine.run(job, 0, 1) == (1, "ok")
        params.check()
        grads.check()
        assert np.isnan(out[[0, -1]]).all(), "rows beside the output were written to"
        helpers.assert_same_bits(machine.value(plan.outputs[0]), out[1:-1])
        self.y = out[1:-1]
        self.dx = machine.value(plan.input_gradients[0], gradient=True)
        self.dw, *rest = (unpack(grads.inner, record) for record in plan.params)
        self.db = rest[0] if bias else None

    def bits(self):
        return [a for a in (self.y, self.dx, self.dw, self.db) if a is not None]


def product_bound(a, b, extra=0.0):
    """terms * eps * (|a| @ |b| + extra), with eps to be multiplied."""
    return (a.shape[1] + 2) * (np.abs(a) @ np.abs(b) + extra)


@pytest.mark.parametrize("shape", shapes(), ids=lambda s: "x".join(map(str, s)))
def test_shapes(shape, dtype):
    eps, first = np.finfo(dtype).eps, None
    for executor in EVERYWHERE:
        k = Layer(executor, shape, dtype)
        what = str(executor.isa)
        assert k.y.dtype == k.dw.dtype == k.dx.dtype == dtype
        helpers.assert_within(k.y, k.x @ k.w + k.b, eps * product_bound(k.x, k.w, np.abs(k.b)), f"{what} y")
        helpers.assert_within(k.dx, k.dy @ k.w.T, eps * product_bound(k.dy, k.w.T), f"{what} dx")
        helpers.assert_within(k.dw, k.x.T @ k.dy, eps * product_bound(k.x.T, k.dy), f"{what} dw")
        ones = np.ones((1, len(k.dy)))
        helpers.assert_within(k.db, ones @ k.dy, eps * product_bound(ones, k.dy), f"{what} db")
        if executor.isa in FMA_ISAS:
            first = first or k
            for one, other in zip(k.bits(), first.bits(), strict=True):
                helpers.assert_same_bits(one, other, what)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (5, 7, 3), (14, 16, 17), (33, 47, 15), (31, 513, 33), (300, 233, 97)], ids=str
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_called_twice_adds_up(shape, bias, dtype):
    eps = np.finfo(dtype).eps
    for executor in EVERYWHERE:
        k = Layer(executor, shape, dtype, bias, again=True)
        y = k.x @ k.w + (k.b if bias else 0)
        helpers.assert_within(k.y, np.tile(y, 2), eps * np.tile(product_bound(k.x, k.w, np.abs(k.b)), 2), "y")
        helpers.assert_within(k.dx, 2 * k.dy @ k.w.T, 4 * eps * product_bound(k.dy, k.w.T), "dx")
        helpers.assert_within(k.dw, 2 * k.x.T @ k.dy, 4 * eps * product_bound(k.x.T, k.dy), "dw")
        if bias:
            ones = np.ones((1, len(k.dy)))
            helpers.assert_within(k.db, 2 * ones @ k.dy, 4 * eps * product_bound(ones, k.dy), "db")


@pytest.mark.parametrize(
    "shape", [(131, 211, 163), (33, 513, 517), (517, 97, 129), (1031, 33, 97), (300, 500, 200)], ids=str
)
@pytest.mark.parametrize("isa", [FMA_ISAS[-1] if FMA_ISAS else "scalar"])
def test_threads_do_not_show(shape, isa, dtype):
    """By panels and by rows, with remainders."""
    one = Layer(Executor(isa, 1), shape, dtype)
    for n in (2, 3, 7, 40):
        many = Layer(Executor(isa, n), shape, dtype)
        for a, b in zip(many.bits(), one.bits(), strict=True):
            helpers.assert_same_bits(a, b, f"{n} threads")


@pytest.mark.parametrize("activation", ["tanh", "gelu", "softmax", "relu"])
@pytest.mark.parametrize("width", [1, 15, 16, 17, 33, 47, 513])
def test_the_epilogue_is_the_stand_alone_activation(activation, width, isa, dtype):
    X = np.random.default_rng(width).normal(size=(31, 9)).astype(dtype)
    x = pn.Input(9)
    layer = pn.Dense(width)
    apart = pn.Model(x, pn.Activation(activation)(layer(x)), dtype=dtype)
    fused = pn.Model(x, pn.Dense(width, activation)(x), dtype=dtype)
    fused.set_weights(apart.get_weights())
    with helpers.forced_isa(isa):
        one, other = fused.predict(X), apart.predict(X)
    assert np.isfinite(one).all()
    helpers.assert_same_bits(one, other)
    assert width == 1 or np.std(one) > 0


def test_sizes_are_around_panels_tiles_and_pages():
    for edge in (16, 32, 48, 512):
        assert {edge - 1, edge, edge + 1} <= set(SIZES)
    assert len(shapes()) > 90
