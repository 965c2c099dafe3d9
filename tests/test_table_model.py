"""TableModel: what it learns from a table, what it answers, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
import table_cases

import pynet as pn
from pynet.tables.table import class_kind
from pynet.tabular import TableModel

FAST = {"hidden": [8], "epochs": 2}


def test_classes():
    columns = table_cases.table(1500)
    columns.pop("price")
    model = TableModel(epochs=20, hidden=[32]).fit(columns, "income", verbose=0)
    assert model.classes == ["<=50K", ">50K"]
    fresh = table_cases.table(500, seed=3)
    assert model.score(fresh) > 0.85
    names = model.predict(fresh)
    assert (names == np.array(fresh["income"])).mean() == model.score(fresh)
    p = model.predict_proba(fresh)
    assert p.shape == (500, 2)
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)
    found = model.evaluate(fresh)
    assert found["right"] == round(found["accuracy"] * 500)
    expected = -np.log([row[model.classes.index(name)] for row, name in zip(p, fresh["income"], strict=True)]).mean()
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert set(model.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    ranked = model.permutation_importance(fresh)
    assert {name for name, *_ in ranked[:3]} == {"age", "net_worth", "city-of birth"}
    assert [mean for _, mean, _ in ranked] == sorted((mean for _, mean, _ in ranked), reverse=True)
    assert abs({name: mean for name, mean, _ in ranked}["int"]) < 0.05


def test_numbers_in_the_units_of_the_target():
    columns = table_cases.table(1500)
    columns.pop("income")
    model = TableModel(epochs=30, hidden=[32]).fit(columns, "price", verbose=0)
    fresh = table_cases.table(500, seed=3)
    found = model.evaluate(fresh)
    answer = model.predict(fresh)
    error = answer - np.array(fresh["price"])
    assert found["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
    assert found["r2"] == pytest.approx(1 - (error**2).sum() / ((fresh["price"] - np.mean(fresh["price"])) ** 2).sum())
    assert model.score(fresh) > 0.85
    with pytest.raises(ValueError, match="target 'price' is a number"):
        model.predict_proba(fresh)
    outputs = model.network.predict(model.encode(fresh))  # the network alone answers in these units
    assert np.array_equal(outputs[:, 0], answer)
    base = model.permutation_importance(fresh, max_rows=200, n_repeats=1)
    assert base[0][2] == 0.0


def test_the_defaults_of_sizes():
    model = TableModel()
    assert [model.sizes(n)[0] for n in (10, 300, 3_000, 13_000, 30_000, 10**6)] == [32, 32, 32, 128, 256, 256]
    assert [model.sizes(n)[1] for n in (10, 300, 13_000, 30_000, 10**6)] == [200, 200, 39, 34, 20]
    assert TableModel(batch_size=7, epochs=3, patience=2).sizes(1000) == (7, 3, 2)


def test_a_target_beside_the_table_and_arrays():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    X[:, 2] = 7.0  # tells nothing, and is left out
    y = np.where(X[:, 0] > 0, "up", "down")
    model = TableModel(hidden=[8], epochs=30, learning_rate=0.02).fit(X, y, verbose=0)
    assert model.features == ["column_1", "column_2", "column_3"]
    assert model.encoder.names == ["column_1", "column_2"]
    assert model.target == "target"
    assert model.score(X, y) > 0.9
    assert (model.predict(X) == model.predict(X.tolist())).all()
    with pytest.raises(ValueError, match=r"table must have 3 columns \(column_1"):
        model.predict(X[:, :2])
    both = pn.tabular.Table(X, model.features, y, "target")
    assert TableModel(hidden=[8], epochs=30, learning_rate=0.02).fit(both, verbose=0).score(both) == model.score(both)
    assert (model.predict(both) == model.predict(X)).all()
    with pytest.raises(ValueError, match="target has 299 values, expected 300"):
        model.fit(X, y[1:], verbose=0)


def test_the_last_column_is_the_default_target_and_validation_data_is_used():
    frame = pd.DataFrame({"a": np.arange(60.0), "b": np.arange(60.0) * 2})
    model = TableModel(**FAST).fit(frame, validation_data=frame[:10], verbose=0)
    assert model.target == "b"
    assert len(model.history["val_loss"]) == 2
    assert "val_loss" not in TableModel(validation=0, **FAST).fit(frame, verbose=0).history


def test_kinds_can_be_told():
    columns = {"zip": [8001.0, 3000.0] * 20, "day": ["2024-01-01", "2024-01-02"] * 20, "y": [1.5, 2.5] * 20}
    guessed = TableModel(**FAST).fit(columns, "y", verbose=0)
    assert guessed.encoder.kinds == {"zip": "number", "day": "date"}
    told = TableModel(**FAST).fit(columns, "y", kinds={"zip": "category", "day": "category"}, verbose=0)
    assert told.encoder.kinds == {"zip": "category", "day": "category"}
    assert told.encoder.codes[0].levels == ["3000", "8001"]
    assert told.predict({"zip": [3000], "day": ["2024-01-01"]}).shape == (1,)
    with pytest.raises(ValueError, match="unknown kind of column 'zip': 'text'"):
        TableModel(**FAST).fit(columns, "y", kinds={"zip": "text"}, verbose=0)
    with pytest.raises(ValueError, match="no column 'zap', did you mean 'zip'"):
        TableModel(**FAST).fit(columns, "y", kinds={"zap": "category"}, verbose=0)


@pytest.mark.parametrize(
    ("y", "classes", "dtype"),
    [
        (np.arange(40) < 20, [False, True], bool),
        (np.arange(40) // 14 - 1, [-1, 0, 1], np.int64),
        (np.arange(40) // 20 * 2.0, [0, 2], np.int64),
        (np.arange(40) // 20 / 2, [0.0, 0.5], np.float64),
        ((np.arange(40) // 20 + 8).astype(str), ["8", "9"], "<U1"),
    ],
)
def test_classes_are_what_they_are_in_the_target(y, classes, dtype, tmp_path):
    columns = {"a": np.arange(40.0), "y": y}
    model = TableModel("classes", **FAST).fit(columns, "y", verbose=0)
    model.save(tmp_path / "net.safetensors")
    for one in (model, pn.load(tmp_path / "net.safetensors")):
        answer = one.predict(columns)
        assert (one.classes, [type(value) for value in one.classes]) == (classes, [type(value) for value in classes])
        assert answer.dtype == dtype
        assert np.array_equal(answer, np.array(classes)[one.predict_proba(columns).argmax(axis=1)])
        assert one.score(columns) == np.mean(answer == y)
        assert len(one.permutation_importance(columns, n_repeats=1)) == 1


def test_whole_numbers_beyond_the_exact_ones_are_no_integers():
    for y in (np.array([np.iinfo(np.int64).min, 0]), np.array([0, 2**53]), np.array([1e300, 0.0])):
        assert class_kind(y) == "number"
    assert class_kind(np.array([-(2**53) + 1, 2**53 - 1])) == "integer"


def test_a_file_that_does_not_say_what_its_classes_are_has_texts(tmp_path):
    columns = {"a": np.arange(40.0), "y": np.arange(40) % 3}
    model = TableModel(**FAST).fit(columns, "y", verbose=0)
    assert model.network.metadata.pop("class_kind") == "integer"
    model.save(tmp_path / "net.safetensors")
    old = pn.load(tmp_path / "net.safetensors")
    assert old.classes == ["0", "1", "2"]
    assert set(old.predict(columns)) <= {"0", "1", "2"}


@pytest.mark.parametrize("y", [np.arange(40) % 3, np.arange(40) < 20])
def test_classes_may_be_taken_as_numbers(y):
    model = TableModel("numbers", **FAST).fit({"a": np.arange(40.0), "y": y}, "y", verbose=0)
    assert model.classes is None
    assert model.predict({"a": [1.0]}).dtype == np.float32


def test_the_same_seed_gives_the_same_model():
    columns = {name: values for name, values in table_cases.table().items() if name != "price"}
    a, b, c = (TableModel(random_state=seed, **FAST).fit(columns, "income", verbose=0) for seed in (0, 0, 1))
    assert np.array_equal(a.predict_proba(columns), b.predict_proba(columns))
    assert not np.array_equal(a.predict_proba(columns), c.predict_proba(columns))


def test_many_rows_are_encoded_in_parts(monkeypatch):
    model = table_cases.model("quantiles and vectors")
    whole = model.predict_proba(table_cases.table(100))
    monkeypatch.setattr("pynet.tables.model.ROWS_AT_ONCE", 7)
    assert np.array_equal(model.predict_proba(table_cases.table(100)), whole)
    assert model.predict_proba({name: values[:0] for name, values in table_cases.table(3).items()}).shape == (0, 2)


@pytest.mark.parametrize("name", table_cases.SETTINGS)
def test_strange_rows_have_answers(name):
    assert np.isfinite(table_cases.model(name).outputs(table_cases.edges())).all()


def test_columns_at_predict():
    model = table_cases.model("classes")
    columns = table_cases.table(20, seed=7)
    expected = model.predict_proba(columns)
    shuffled = {name: columns[name] for name in reversed(columns)} | {"more": [None] * 20}
    assert np.array_equal(model.predict_proba(pd.DataFrame(shuffled)), expected)
    texts = columns | {"net_worth": [str(value) for value in columns["net_worth"]]}
    assert np.array_equal(model.predict_proba(texts), expected)
    for change, message in (
        ({"age": ["old"] * 20}, "row 0, column 'age': 'old' is no finite number"),
        ({"day": np.arange(20)}, "column 'day' holds numbers, expected dates"),
        ({"age": [1e300] * 20}, r"row 0, column 'age': the number is too large for float32"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(columns | change)
    del columns["colour"]
    with pytest.raises(ValueError, match=r"there is no column 'colour' \(columns: age"):
        model.predict(columns)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"a": [1.0, 2.0], "y": ["u", None]}, {}, "row 1: the target 'y' is missing"),
        ({"a": [1.0, 2.0], "y": ["u", "u"]}, {}, "target 'y' has the same class in all rows"),
        ({"a": [1.0, 2.0], "y": ["u", "v"]}, {"task": "numbers"}, "target 'y' holds texts such as 'u'"),
        ({"a": [1.0, 1.0], "y": ["u", "v"]}, {}, r"no column is left to predict from \(a: all rows have the value 1\)"),
        ({"y": ["u", "v"]}, {}, "no column is left to predict 'y' from"),
        ({"a": [1.0, 2.0], "z": ["u", "v"]}, {}, "there is no column 'y'"),
        ({"a": [], "y": []}, {}, "the table has no rows"),
        ({"a": [1.0, 2.0], "y": [0.5, 1e38]}, {}, "the target holds 1e.38, too large a number for float32"),
        ({"a": [1.0, 2.0], "y": [0.5e-200, 1e-200]}, {}, "the target has a deviation of 2.*e-201, too small a number"),
        ({"a": [1.0, 2.0], "y": [0.5, 1.5]}, {"loss": "cross_entropy"}, "unknown loss for numbers 'cross_entropy'"),
    ],
)
def test_what_cannot_be_learned(columns, options, message):
    model = TableModel(**options)
    columns = {name: values * 20 for name, values in columns.items()}
    with pytest.raises(ValueError, match=message):
        model.fit(columns, "y", verbose=0)
    with pytest.raises(RuntimeError, match="has learned nothing yet"):
        model.predict(columns)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "class"}, ValueError, "unknown task 'class'"),
        ({"scaling": "normal"}, ValueError, "unknown scaling 'normal'"),
        ({"missing": "zero"}, ValueError, "unknown missing 'zero'"),
        ({"hidden": [0]}, ValueError, r"hidden\[0\] must be"),
        ({"hidden": 64}, TypeError, "hidden must be a list of widths, got int 64"),
        ({"hidden": "64"}, TypeError, "hidden must be a list of widths, got str '64'"),
        ({"dropout": 1}, ValueError, "dropout"),
        ({"knots": 1}, ValueError, "knots"),
        ({"embed": -1}, ValueError, "embed"),
        ({"validation": 1.0}, ValueError, "validation"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"random_state": None}, TypeError, "random_state must be an integer"),
    ],
)
def test_impossible_arguments(options, error, message):
    with pytest.raises(error, match=message):
        TableModel(**options)


@pytest.mark.parametrize("size", [1e-200, 1e100])
def test_targets_of_any_size_that_float64_holds(size):
    a = np.arange(40.0)
    usual, far = (
        TableModel("numbers", dtype="float64", **FAST).fit({"a": a, "y": y}, "y", verbose=0).predict({"a": a})
        for y in (a % 7 + 0.5, (a % 7 + 0.5) * size)
    )
    assert far / size == pytest.approx(usual, rel=1e-9)


def test_r2_of_numbers_far_from_0():
    """Seconds since 1970, within a minute."""
    a = np.arange(40.0)
    y = 1.7e9 + a * 1.25
    model = TableModel(dtype="float64", epochs=60, hidden=[8], learning_rate=0.02).fit({"a": a, "y": y}, "y", verbose=0)
    expected = 1 - ((model.predict({"a": a}) - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert expected > 0.9
    assert model.score({"a": a, "y": y}) == pytest.approx(expected, rel=1e-6)
    assert model.score({"a": a, "y": np.full(40, 1.7e9)}) == 0


def test_texts_that_are_numbers_are_too_many_classes_too():
    columns = {"a": np.arange(40.0), "y": [str(k) for k in range(40)]}
    with pytest.raises(ValueError, match=r"has 40 different values in 40 rows, too many for classes$"):
        TableModel("classes").fit(columns, "y", verbose=0)


def test_callbacks_are_those_of_a_trainer():
    columns = {"a": np.arange(40.0), "y": np.arange(40.0) + 0.5}
    assert TableModel(**FAST).fit(columns, "y", callbacks=None, verbose=0).target == "y"
    with pytest.raises(TypeError, match="callbacks must be a list, got Callback"):
        TableModel(**FAST).fit(columns, "y", callbacks=pn.Callback(), verbose=0)


def test_importance_where_the_target_is_constant():
    a = np.arange(40.0)
    model = TableModel(epochs=20, hidden=[8], learning_rate=0.02).fit({"a": a, "y": a + 0.5}, "y", verbose=0)
    ((name, mean, deviation),) = model.permutation_importance({"a": a[:10], "y": [4.5] * 10})
    assert name == "a"
    assert np.isfinite([mean, deviation]).all()


def test_a_fit_that_fails_leaves_the_model_as_it_was():
    columns = {"a": np.arange(40.0), "y": np.arange(40) < 20}
    model = TableModel(**FAST).fit(columns, "y", verbose=0)
    before = model.predict_proba(columns)
    model.learning_rate = 1e30
    with pytest.raises(FloatingPointError):
        model.fit(columns | {"a": np.arange(40.0) ** 3}, "y", verbose=0)
    assert np.array_equal(model.predict_proba(columns), before)
