"""Update rules, schedules and clips, by steps worked by hand."""

import math

import numpy as np
import pytest

import pynet as pn
from pynet import _core, clip, optimizers, reference_updates, schedules

FIRST_ORDER = [name for name, made in optimizers.TABLE.items() if not made.full_batch]  # others: test_second_order.py


def steps(optimizer, gradients, p=1.0, dtype=np.float64):
    """Return the parameter after each update with the given gradients."""
    p = np.array([[p]], dtype=dtype)
    slots = [np.zeros_like(p) for _ in range(optimizer.n_slots)]
    rates = optimizer.rates(0, len(gradients))
    seen = []
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        gradient = np.array([[g]], dtype=dtype)
        reference_updates.step(optimizer.kind, optimizer.hyper, rate, t, p, gradient, slots)
        assert gradient[0, 0] == dtype(g)
        assert p.dtype == dtype
        seen.append(float(p[0, 0]))
    return seen


def test_roll_call():
    rules = {rule.__name__: rule.__code__.co_argcount - 5 for rule in reference_updates.RULES}
    assert rules == {name: slots for name, (_, slots) in _core.OPTIMIZERS.items()}
    assert set(reference_updates.CLIPS) == set(_core.CLIPS.values())


# ---- one or two steps by hand ------------------------------------------------------------------------------------


def test_sgd():
    assert steps(optimizers.SGD(0.1), [2.0, -1.0]) == pytest.approx([1 - 0.1 * 2, 0.8 + 0.1 * 1], rel=1e-15)


def test_sgd_with_weight_decay():
    # g = 2 + 0.5 * 1 = 2.5
    assert steps(optimizers.SGD(0.1, weight_decay=0.5), [2.0]) == pytest.approx([1 - 0.25], rel=1e-15)


def test_momentum():
    # v = 2, then 0.9 * 2 - 1 = 0.8
    assert steps(optimizers.SGD(0.1, momentum=0.9), [2.0, -1.0]) == pytest.approx([0.8, 0.72], rel=1e-15)


def test_nesterov():
    # v = 2: p -= 0.1 (2 + 0.9 * 2) = 0.38;  v = 0.8: p -= 0.1 (-1 + 0.72)
    opt = optimizers.SGD(0.1, momentum=0.9, nesterov=True)
    assert steps(opt, [2.0, -1.0]) == pytest.approx([0.62, 0.62 + 0.028], rel=1e-15)


def test_adam():
    # t=1: m = 0.2, v = 0.004; corrected 2 and 4: p -= 0.1 * 2 / (2 + 1e-8)
    first = 1 - 0.1 * 2 / (2 + 1e-8)
    # t=2: m = 0.18 - 0.1 = 0.08, v = 0.003996 + 0.001 = 0.004996
    m, v = 0.08 / (1 - 0.81), 0.004996 / (1 - 0.998001)
    second = first - 0.1 * m / (math.sqrt(v) + 1e-8)
    assert steps(optimizers.Adam(0.1), [2.0, -1.0]) == pytest.approx([first, second], rel=1e-14)


@pytest.mark.parametrize("backend", ["c", "numpy"])
@pytest.mark.parametrize("betas", [(0.5, 0.5), (0.9, 0.5), (0.5, 0.95), (0.0, 0.0)], ids=str)
def test_adam_moves_by_its_rate_where_the_gradient_stays(backend, betas):
    # m / (1 - beta_1^t) = g and v / (1 - beta_2^t) = g^2 for every t, also where the powers become 0 beside 1
    kernel = pn.Dense(1, use_bias=False, kernel_initializer="zeros")
    model = pn.Sequential([pn.Input(1), kernel], dtype="float64")
    adam = optimizers.Adam(1.0, *betas, epsilon=1e-20)
    trainer = pn.Trainer(model, "mae", adam, backend=backend)
    for t in range(10, 1001, 10):
        trainer.fit(np.ones((1, 1)), np.full((1, 1), 1e9), epochs=10, batch_size=1, verbose=0)
        assert model.predict(np.ones((1, 1)))[0, 0] == pytest.approx(t, rel=0, abs=2e-13 * max(1, t / 100))


def test_adam_with_weight_decay_is_not_adamw():
    # the gradient becomes 2 + 0.5; its size cancels in the first step
    assert steps(optimizers.Adam(0.1, weight_decay=0.5), [2.0]) == pytest.approx([1 - 0.1 * 2.5 / (2.5 + 1e-8)])
    # p = 1 * (1 - 0.1 * 0.5) first
    assert steps(optimizers.AdamW(0.1, weight_decay=0.5), [2.0]) == pytest.approx([0.95 - 0.1 * 2 / (2 + 1e-8)])


def test_rmsprop():
    # v = 0.1 * 4 = 0.4, then 0.9 * 0.4 + 0.1 = 0.46
    first = 1 - 0.1 * 2 / (math.sqrt(0.4) + 1e-8)
    second = first + 0.1 * 1 / (math.sqrt(0.46) + 1e-8)
    assert steps(optimizers.RMSProp(0.1), [2.0, -1.0]) == pytest.approx([first, second], rel=1e-14)


def test_adagrad():
    # v = 4, then 5
    first = 1 - 0.1 * 2 / (2 + 1e-10)
    second = first + 0.1 / (math.sqrt(5) + 1e-10)
    assert steps(optimizers.Adagrad(0.1), [2.0, -1.0]) == pytest.approx([first, second], rel=1e-14)


def test_rprop():
    # steps: 0.1 first; same sign: 0.12; turned: 0.06 and no move; after that no comparison: 0.06 again
    seen = steps(optimizers.Rprop(0.1), [2.0, 3.0, -1.0, -5.0, -5.0])
    assert seen == pytest.approx([0.9, 0.78, 0.78, 0.84, 0.84 + 0.072], rel=1e-14)


def test_rprop_keeps_its_steps_inside_their_bounds():
    opt = optimizers.Rprop(0.1, step_min=0.08, step_max=0.11)
    assert steps(opt, [1.0, 1.0]) == pytest.approx([0.9, 0.79])
    assert steps(opt, [1.0, -1.0, -1.0]) == pytest.approx([0.9, 0.9, 0.98])


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_a_zero_gradient_of_a_zero_parameter_moves_nothing(name):
    assert steps(optimizers.get(name), [0.0] * 3, p=0.0) == [0.0] * 3


@pytest.mark.parametrize("opt", [optimizers.Adam(), optimizers.SGD(momentum=0.9), optimizers.RMSProp()], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_denormals_are_flushed(opt, dtype):
    tiny = np.finfo(dtype).tiny
    slots = [np.full((1, 2), tiny, dtype=dtype) for _ in range(opt.n_slots)]
    p = np.ones((1, 2), dtype=dtype)
    reference_updates.step(opt.kind, opt.hyper, 0.1, 1, p, np.full((1, 2), tiny / 4, dtype=dtype), slots)
    for slot in slots:
        assert ((slot == 0) | (slot >= tiny)).all()
    assert (slots[0] == 0).all()
    np.testing.assert_array_equal(
        reference_updates.flush(np.array([-tiny / 2, -tiny, tiny], dtype=dtype)), [0, -tiny, tiny]
    )


def test_float32_stays_float32():
    for made in map(optimizers.TABLE.get, FIRST_ORDER):
        exact, single = steps(made(0.01), [1.0, -0.5, 0.25]), steps(made(0.01), [1.0, -0.5, 0.25], dtype=np.float32)
        assert single == pytest.approx(exact, rel=1e-6)


# ---- constants, rates, configs -----------------------------------------------------------------------------------


def test_hyper_says_what_the_kernels_read():
    assert optimizers.Adam(beta_1=0.8, beta_2=0.9, epsilon=1e-6, weight_decay=0.1).hyper.tolist() == [
        *(0.8, 0.9, 1e-6),
        *(0, 0, 0, 0, 0.1),
    ]
    assert optimizers.SGD(momentum=0.5).hyper.tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0]
    assert optimizers.RMSProp(rho=0.7).hyper[:3].tolist() == [0.7, 0, 1e-8]
    assert optimizers.Adagrad().hyper[:3].tolist() == [0, 0, 1e-10]
    assert optimizers.Rprop().hyper[:4].tolist() == [0.5, 1.2, 1e-6, 50]
    assert optimizers.AdamW().hyper[7] == 0.01


def test_rule_of_sgd_follows_its_arguments():
    kinds = _core.OPTIMIZERS
    made = [optimizers.SGD(), optimizers.SGD(momentum=0.9), optimizers.SGD(momentum=0.9, nesterov=True)]
    assert [(o.kind, o.n_slots) for o in made] == [kinds["sgd"], kinds["momentum"], kinds["nesterov"]]


def test_rates():
    assert optimizers.Adam(0.5).rates(7, 3).tolist() == [0.5] * 3
    assert optimizers.Adam(lambda step: 1 / (1 + step)).rates(1, 3).tolist() == [1 / 2, 1 / 3, 1 / 4]
    cosine = schedules.Cosine(1.0, 10)
    np.testing.assert_array_equal(optimizers.Adam(cosine).rates(2, 5), [cosine(s) for s in range(2, 7)])
    assert optimizers.Adam(0.5).rates(0, 0).shape == (0,)
    with pytest.raises(ValueError, match=r"learning_rate must be finite and >= 0, got -1\.0 at step 3"):
        optimizers.Adam(lambda step: 2.0 - step).rates(0, 5)
    with pytest.raises(ValueError, match="got nan at step 4"):
        optimizers.Adam(lambda step: math.nan).rates(4, 1)


def test_learning_rate_may_be_set():
    opt = optimizers.Adam()
    opt.learning_rate = 0.25
    assert opt.rates(0, 1)[0] == 0.25
    with pytest.raises(ValueError, match="learning_rate"):
        opt.learning_rate = -1
    assert opt.learning_rate == 0.25


@pytest.mark.parametrize(
    "opt",
    [made() for made in optimizers.TABLE.values()]
    + [
        optimizers.SGD(0.2, momentum=0.5, nesterov=True, weight_decay=0.1),
        optimizers.AdamW(schedules.WarmUp(5, then=schedules.OneCycle(0.1, 50))),
    ],
    ids=repr,
)
def test_config_goes_there_and_back(opt):
    import json

    back = optimizers.from_config(json.loads(json.dumps(opt.config())))
    assert back == opt
    assert back.hyper.tolist() == opt.hyper.tolist()
    if not opt.full_batch:
        np.testing.assert_array_equal(back.rates(0, 9), opt.rates(0, 9))


def test_a_function_as_learning_rate_must_be_given_again():
    config = optimizers.Adam(lambda step: 0.5).config()
    assert config["learning_rate"] == "callable"
    with pytest.raises(ValueError, match="give that function again"):
        optimizers.from_config(config)
    assert optimizers.from_config(config, learning_rate=lambda step: 0.25).rates(0, 1)[0] == 0.25


# ---- schedules ---------------------------------------------------------------------------------------------------


def test_step_schedule():
    assert schedules.Step(1.0, 0.5, 3)(np.arange(8)).tolist() == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_exponential_schedule():
    np.testing.assert_allclose(schedules.Exponential(2.0, 0.25, 10)([0, 5, 10, 20]), [2, 1, 0.5, 0.125])


def test_cosine_schedule():
    np.testing.assert_allclose(schedules.Cosine(1.0, 8, 0.2)([0, 2, 4, 8, 99]), [1, 0.6 + 0.4 / 2**0.5, 0.6, 0.2, 0.2])


def test_one_cycle_schedule():
    cycle = schedules.OneCycle(2.0, 100, warmup=0.2, start=0.1, end=0.01)
    np.testing.assert_allclose(cycle([0, 10, 20, 60, 100, 1000]), [0.2, 1.1, 2.0, 1.01, 0.02, 0.02])
    assert cycle(np.arange(200)).argmax() == 20
    assert schedules.OneCycle(2.0, 100, warmup=0)(0) == 2.0


def test_warm_up_schedule():
    np.testing.assert_allclose(schedules.WarmUp(4, then=1.0)(np.arange(6)), [0.25, 0.5, 0.75, 1, 1, 1])
    then = schedules.Step(1.0, 0.5, 2)
    np.testing.assert_allclose(schedules.WarmUp(2, then)(np.arange(7)), [0.5, 1, 1, 1, 0.5, 0.5, 0.25])


SCHEDULES = [
    schedules.Step(1.0, 0.5, 3),
    schedules.Exponential(1.0, 0.9, 10),
    schedules.Cosine(1.0, 10),
    schedules.OneCycle(1.0, 10),
    schedules.WarmUp(3, then=schedules.Cosine(0.1, 10)),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_schedule_of_a_step_and_of_many(schedule):
    together = schedule(np.arange(40))
    assert together.dtype == np.float64
    assert isinstance(schedule(3), float)
    assert [schedule(s) for s in range(40)] == together.tolist()
    assert np.ptp(together) > 0
    assert schedules.get(schedule.config()) == schedule


def test_every_schedule_is_tested():
    assert {type(s) for s in SCHEDULES} == set(schedules.TABLE.values())


# ---- clips -------------------------------------------------------------------------------------------------------


def gradients():
    return [np.array([[3.0, 0.0]]), np.array([[0.0], [-4.0]])]  # common norm 5


def clipped(spec):
    g = gradients()
    reference_updates.clip(g, clip.get(spec))
    return [each.tolist() for each in g]


def test_clips():
    assert clipped(clip.ClipNorm(2.5)) == [[[1.5, 0]], [[0], [-2]]]
    assert clipped(clip.ClipNorm(5.0)) == [each.tolist() for each in gradients()]
    assert clipped(clip.ClipValue(2.0)) == [[[2, 0]], [[0], [-2]]]
    assert clipped(clip.SignGradient()) == [[[1, 0]], [[0], [-1]]]
    assert clipped(None) == clipped([]) == [each.tolist() for each in gradients()]


def test_clips_in_sequence():
    assert clipped([clip.ClipValue(3.0), clip.ClipNorm(math.sqrt(4.5))]) == [[[1.5, 0]], [[0], [-1.5]]]
    assert clipped([clip.SignGradient(), clip.ClipNorm(math.sqrt(0.5))]) == [[[0.5, 0]], [[0], [-0.5]]]


def test_norm_of_large_float32_gradients_does_not_overflow():
    g = [np.full((1, 4), 1e30, dtype=np.float32)]
    reference_updates.clip(g, clip.get(clip.ClipNorm(1.0)))
    np.testing.assert_allclose(g[0], 0.5, rtol=1e-6)


def test_clip_records():
    both = [clip.ClipNorm(1.5), clip.SignGradient()]
    assert clip.get(both) == [(_core.CLIPS["norm"], 1.5), (_core.CLIPS["sign"], 0.0)]
    assert clip.get(clip.config(both)) == clip.get(both)
    assert clip.get("sign_gradient") == [(_core.CLIPS["sign"], 0.0)]


# ---- penalties ---------------------------------------------------------------------------------------------------


def test_penalty():
    w = np.array([[1.0, -2.0, 0.0]])
    assert reference_updates.penalty(0.5, 0.1, w) == pytest.approx(0.5 * 3 + 0.1 * 5)
    np.testing.assert_allclose(reference_updates.penalty_gradient(0.5, 0.1, w), [[0.7, -0.9, 0]])


# ---- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: optimizers.get("adm"), ValueError, "unknown optimizer 'adm', did you mean 'adam'"),
        (lambda: optimizers.get(0.1), TypeError, "optimizer must be a name"),
        (lambda: optimizers.get({"name": "sgd", "beta_1": 1}), ValueError, "optimizer 'sgd' has no parameter 'beta_1'"),
        (lambda: optimizers.Adam(-1), ValueError, "learning_rate must be finite and >= 0, got -1"),
        (lambda: optimizers.Adam("fast"), TypeError, "learning_rate must be a number, got str 'fast'"),
        (lambda: optimizers.Adam(None), TypeError, "learning_rate must be a number"),
        (lambda: optimizers.Adam(schedules.Cosine), TypeError, "learning_rate"),
        (lambda: optimizers.Adam(beta_1=1.0), ValueError, "beta_1 must be >= 0 and < 1"),
        (lambda: optimizers.Adam(epsilon=0), ValueError, "epsilon must be finite and > 0"),
        (lambda: optimizers.Adam(weight_decay=-1), ValueError, "weight_decay"),
        (lambda: optimizers.SGD(nesterov=True), ValueError, "nesterov needs momentum > 0"),
        (lambda: optimizers.RMSProp(rho=1.5), ValueError, "rho"),
        (lambda: optimizers.Rprop(eta_minus=0.0), ValueError, "eta_minus"),
        (lambda: optimizers.Rprop(eta_plus=0.9), ValueError, "eta_plus must be finite and >= 1"),
        (lambda: optimizers.Rprop(step_min=2, step_max=1), ValueError, "step_max must be finite and >= 2"),
        (lambda: schedules.get({"name": "cosine", "steps": 3}), ValueError, "schedule 'cosine' needs its initial"),
        (lambda: schedules.get("cosine"), ValueError, "schedule 'cosine' needs its initial"),
        (lambda: schedules.Cosine(0.1, 0), ValueError, "steps must be >= 1, got 0"),
        (lambda: schedules.Cosine(0.1, 2.5), TypeError, "steps must be an integer"),
        (lambda: schedules.Step(0.1, 0, 2), ValueError, "drop must be"),
        (lambda: schedules.OneCycle(0.1, 10, warmup=1), ValueError, "warmup must be >= 0 and < 1"),
        (lambda: schedules.WarmUp(3, then="x"), TypeError, "then must be a number"),
        (lambda: clip.ClipNorm(0), ValueError, "c must be finite and > 0, got 0"),
        (lambda: clip.ClipValue(-1), ValueError, "c must be"),
        (lambda: clip.get("clip_norm"), ValueError, "clip 'clip_norm' needs its c"),
        (lambda: clip.get([1.0]), TypeError, "clip must be a name or an object of pynet.clip, got float"),
        (lambda: clip.get("clip_nrm"), ValueError, "did you mean 'clip_norm'"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
