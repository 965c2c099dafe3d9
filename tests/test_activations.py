"""The NumPy rows of the activation table: derivatives by differences, kinships, boundaries, names."""

import numpy as np
import pytest

from pynet import _core, activations

ROWS = [name for name in activations.TABLE if name != "softmax"]
WITH_PARAMETERS = [
    activations.LeakyReLU(0.3),
    activations.ELU(alpha=0.5),
    activations.LeCunTanh(a=-0.2),
    activations.ISRU(alpha=2.5),
]
ALL = [activations.get(name) for name in ROWS] + WITH_PARAMETERS
KINKS = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])


def points():
    x = np.linspace(-4.53, 4.57, 201)
    return x[np.abs(x[:, None] - KINKS).min(axis=1) > 0.01]


def difference(f, x, h=1e-3):
    """Central difference of fourth order."""
    return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h)


def test_table_is_the_roll_call():
    assert {name: (row.id, row.needs) for name, row in activations.TABLE.items()} == dict(_core.ACTIVATIONS)
    assert len(ROWS) >= 29


@pytest.mark.parametrize("name", ROWS)
def test_derivative_is_written_in_what_it_needs(name):
    row = activations.TABLE[name]
    argument = row.df.__code__.co_varnames[0]
    assert argument == row.needs.lower()
    assert row.df.__code__.co_varnames[1 : row.df.__code__.co_argcount] == row.fields


@pytest.mark.parametrize("act", ALL, ids=repr)
def test_derivative_equals_difference(act):
    x = points()
    slope = activations.derivative(act, x)
    np.testing.assert_allclose(slope, difference(lambda v: activations.evaluate(act, v), x), rtol=0, atol=2e-9)
    np.testing.assert_array_equal(slope, activations.derivative(act, x, activations.evaluate(act, x)))


def test_a_wrong_derivative_would_be_seen():
    x = points()
    wrong = activations.derivative("tanh", x) * (1 + 1e-6)
    assert np.abs(wrong - difference(np.tanh, x)).max() > 2e-9


@pytest.mark.parametrize("name", [n for n in ROWS if n not in ("step", "rectangular")])
def test_row_varies(name):
    x = points()
    assert np.std(activations.evaluate(name, x)) > 0.01
    assert np.abs(activations.derivative(name, x)).max() > 0.1


def test_softmax_rows_and_gradient():
    rng = np.random.default_rng(0)
    softmax = activations.get("softmax")
    x, dy = rng.normal(size=(3, 5)) * 3, rng.normal(size=(3, 5))
    y = activations.evaluate(softmax, x)
    np.testing.assert_allclose(y, np.exp(x) / np.exp(x).sum(1, keepdims=True), rtol=1e-14)
    dx = softmax.pull_back(y, dy)
    for o in range(5):
        step = np.zeros(5)
        step[o] = 1e-3
        moved = difference(lambda h, step=step: activations.evaluate(softmax, x + h * step / 1e-3), 0.0)
        np.testing.assert_allclose(dx[:, o], (moved * dy).sum(1), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="mixes the columns"):
        activations.derivative("softmax", x)


def test_softmax_of_huge_logits():
    y = activations.evaluate("softmax", np.array([[1e4, -1e4, 1e4], [-1e4, -1e4, -1e4]]))
    np.testing.assert_allclose(y, [[0.5, 0, 0.5], [1 / 3, 1 / 3, 1 / 3]])


# ---- kinships ----------------------------------------------------------------------------------------------------


def test_step_is_the_derivative_of_relu():
    x = np.array([-2.0, -1e-300, -0.0, 0.0, 1e-300, 2.0])
    np.testing.assert_array_equal(activations.derivative("relu", x), activations.evaluate("step", x))


def test_sigmoid_is_the_derivative_of_softplus():
    x = np.linspace(-40, 40, 401)
    np.testing.assert_allclose(
        activations.derivative("softplus", x), activations.evaluate("sigmoid", x), rtol=1e-14, atol=0
    )


def test_tanh_is_a_stretched_sigmoid():
    x = np.linspace(-20, 20, 401)
    twin = 2 * activations.evaluate("sigmoid", 2 * x) - 1
    np.testing.assert_allclose(activations.evaluate("tanh", x), twin, rtol=0, atol=4e-16)


def test_other_kinships():
    x = points()
    f = activations.evaluate
    np.testing.assert_allclose(f("mish", x), x * np.tanh(f("softplus", x)))
    np.testing.assert_allclose(f("silu", x), x * f("sigmoid", x))
    np.testing.assert_allclose(f("lecun_tanh", x), np.tanh(x) + 0.1 * x)
    np.testing.assert_allclose(f("hard_swish", x), x * f("hard_sigmoid", x), atol=1e-15)
    np.testing.assert_allclose(f("isru", x), np.sin(np.arctan(x)))
    np.testing.assert_allclose(activations.derivative("arctan", x), np.cos(f("arctan", x)) ** 2)
    np.testing.assert_allclose(f("gelu", x) - f("gelu", -x), x)


@pytest.mark.parametrize("name", ["epanechnikov", "triangular", "quartic", "tricube", "rectangular"])
def test_kernel_functions_have_area_one(name):
    x = (np.arange(200_000) + 0.5) / 100_000 - 1
    assert activations.evaluate(name, x).mean() * 2 == pytest.approx(1, abs=1e-9)


# ---- single values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "x", "value", "slope"),
    [
        ("step", 0.0, 0, 0),
        ("relu", 0.0, 0, 0),
        ("leaky_relu", 0.0, 0, 0.01),
        ("elu", 0.0, 0, 1),
        ("selu", 0.0, 0, 1.0507009873554805),
        ("hard_sigmoid", -3.0, 0, 0),
        ("hard_sigmoid", 3.0, 1, 0),
        ("hard_sigmoid", 0.0, 0.5, 1 / 6),
        ("hard_tanh", -1.0, -1, 0),
        ("hard_tanh", 1.0, 1, 0),
        ("hard_swish", -3.0, 0, 0),
        ("hard_swish", 3.0, 3, 1),
        ("sinc", 0.0, 1, 0),
        ("softsign", 0.0, 0, 1),
        ("gelu", 0.0, 0, 0.5),
        ("gaussian", 0.0, 1, 0),
        ("epanechnikov", -1.0, 0, 1.5),
        ("epanechnikov", 1.0, 0, -1.5),
        ("epanechnikov", np.nextafter(1, 2), 0, 0),
        ("triangular", 0.0, 1, 0),
        ("triangular", -1.0, 0, 1),
        ("triangular", 1.0, 0, -1),
        ("quartic", 1.0, 0, 0),
        ("tricube", 0.0, 70 / 81, 0),
        ("tricube", 1.0, 0, 0),
        ("rectangular", 1.0, 0.5, 0),
        ("rectangular", -1.0, 0.5, 0),
        ("rectangular", np.nextafter(1, 2), 0, 0),
    ],
)
def test_boundary(name, x, value, slope):
    x = np.array([x])
    assert activations.evaluate(name, x)[0] == value
    assert activations.derivative(name, x)[0] == slope


@pytest.mark.parametrize(
    ("name", "x", "value"),
    [
        ("sigmoid", 2.0, 0.8807970779778823),
        ("scaled_tanh", 1.0, 1.7159 * 0.5827829453479101),
        ("selu", -1.0, -1.1113307378125625),
        ("gelu", 1.0, 0.8413447460685429),
        ("gelu", -10.0, -10 * 7.619853024160527e-24),
        ("silu", -1.0, -0.2689414213699951),
        ("mish", 1.0, 0.8650983882673103),
        ("softplus", 0.0, 0.6931471805599453),
        ("bent_identity", 0.75, 0.875),
        ("sinc", 1e-5, 1 - 1e-10 / 6),
        ("tricube", 0.5, 70 / 81 * 0.875**3),
        ("quartic", 0.5, 0.52734375),
    ],
)
def test_known_value(name, x, value):
    assert activations.evaluate(name, np.array([x]))[0] == pytest.approx(value, rel=1e-14)


def test_sinc_derivative_is_smooth_where_its_two_formulas_meet():
    x = np.array([1e-8, 1e-3, np.nextafter(1, 0), 1.0])
    expected = [-1e-8 / 3, -1e-3 / 3 + 1e-9 / 30, np.cos(1) - np.sin(1), np.cos(1) - np.sin(1)]
    np.testing.assert_allclose(activations.derivative("sinc", x), expected, rtol=2e-14)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept_and_far_values_are_sane(name, dtype):
    x = np.array([-1e4, -50, -1, 0, 1, 50, 1e4], dtype=dtype)
    y, slope = activations.evaluate(name, x), activations.derivative(name, x)
    assert y.dtype == slope.dtype == dtype
    assert np.isfinite(y).all()
    assert np.isfinite(slope).all()
    assert not activations.TABLE[name].nonnegative or (y >= 0).all()


def test_nonnegative_is_said_of_every_row_that_is():
    x = np.linspace(-9, 9, 1000)
    seen = {name for name in ROWS if (activations.evaluate(name, x) >= 0).all()}
    assert seen == {name for name in ROWS if activations.TABLE[name].nonnegative}


@pytest.mark.parametrize("name", [n for n in ROWS if n != "step" and not n.startswith(("epan", "tri", "qua", "rect"))])
def test_nan_does_not_vanish(name):
    assert np.isnan(activations.evaluate(name, np.array([np.nan, 1.0]))[0])


def test_integers_become_float64():
    assert activations.evaluate("relu", [-1, 2]).dtype == np.float64


# ---- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ALL, ids=repr)
def test_config_goes_there_and_back(act):
    back = activations.from_config(act.config())
    assert back == act
    assert hash(back) == hash(act)
    assert back.parameters == act.parameters
    from_op = activations.from_op(act.id, [*act.parameters, 0.0, 0.0])
    assert from_op == act


def test_names_and_aliases():
    assert activations.get(None) == activations.Identity() == activations.get("linear")
    assert activations.get("logistic") == activations.Sigmoid()
    assert activations.get("swish") == activations.SiLU()
    assert activations.get(activations.ReLU) == activations.ReLU()
    assert activations.get("leaky_relu").parameters == (0.01,)
    assert repr(activations.LeakyReLU(0.2)) == "LeakyReLU(alpha=0.2)"
    assert activations.LeakyReLU(0.2).config() == {"name": "leaky_relu", "alpha": 0.2}
    assert activations.LeakyReLU(0.2) != activations.LeakyReLU(0.3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: activations.get("rellu"), ValueError, "unknown activation 'rellu', did you mean 'relu'"),
        (
            lambda: activations.get(3),
            TypeError,
            "activation must be a name or an object of pynet.activations, got int 3",
        ),
        (lambda: activations.get({"name": "relu", "alpha": 1}), ValueError, "no parameter 'alpha'"),
        (lambda: activations.get({"alpha": 1}), TypeError, "activation must be a name"),
        (lambda: activations.get({"name": "elu", "alpha": "x"}), TypeError, "elu alpha must be a number"),
        (lambda: activations.LeakyReLU(-0.1), ValueError, "leaky_relu alpha must be finite and >= 0, got -0.1"),
        (lambda: activations.ELU(alpha=0), ValueError, "elu alpha must be finite and > 0"),
        (lambda: activations.ISRU(float("nan")), ValueError, "isru alpha"),
        (lambda: activations.LeakyReLU(0.1, 0.2), TypeError, "it takes: alpha"),
        (lambda: activations.ReLU(alpha=0.2), TypeError, "it takes: none"),
        (lambda: activations.LeakyReLU(0.1, alpha=0.2), TypeError, "it takes: alpha"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
