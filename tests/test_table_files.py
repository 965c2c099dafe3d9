"""TableModel: what a file holds of it, and which files it refuses."""

import copy
import json
import pickle

import numpy as np
import polars as pl
import pytest
import table_cases

import pynet as pn
from pynet import _safetensors
from pynet.tables.codes import CategoryCode, DateCode, NumberCode
from pynet.tables.columns import Frame
from pynet.tables.encoder import Encoder
from pynet.tables.model import ENTRY
from pynet.tabular import TableModel


@pytest.mark.parametrize("name", table_cases.SETTINGS)
def test_a_file_holds_all_of_it(name, tmp_path):
    model = table_cases.model(name)
    model.save(tmp_path / "m.safetensors")
    loaded = pn.load(tmp_path / "m.safetensors")
    assert isinstance(loaded, TableModel)
    fresh = table_cases.table(50, seed=2)
    for other in (loaded, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(other.outputs(fresh), model.outputs(fresh))
        assert (other.target, other.features, other.classes) == (model.target, model.features, model.classes)
    assert repr(loaded) == repr(model)
    lines = []
    loaded.summary(lines.append)
    for text in ("net_worth", "city-of birth", "7 columns become"):
        assert text in lines[0]
    assert "<td" in loaded._repr_html_()
    assert "net_worth" in loaded._repr_html_()
    assert TableModel()._repr_html_() is None


def test_a_csv_file_is_read_as_the_columns_were_learned(tmp_path):
    model = table_cases.model("classes")
    fresh = table_cases.table(30, seed=2)
    fresh["age"] = [None] * 30  # of which nobody could tell what they are
    fresh["city-of birth"] = ["1"] * 30
    pl.DataFrame(fresh).write_csv(tmp_path / "t.csv")
    pl.DataFrame(fresh).write_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        assert np.array_equal(model.predict_proba(tmp_path / name), model.predict_proba(fresh))
        assert model.score(tmp_path / name) == model.score(fresh)
    text = (tmp_path / "t.csv").read_text().replace("2023-", "a day of 2023-", 1)
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=r"t\.csv, line \d+, column 'day': 'a day of"):
        model.predict(tmp_path / "t.csv")


def hostile(tmp_path, change):
    """A file of a model whose encoder was changed."""
    path = tmp_path / "m.safetensors"
    table_cases.model("classes").save(path)
    tensors, texts = _safetensors.read(path)
    document = json.loads(texts["pynet"])
    change(document["metadata"])
    _safetensors.write(path, tensors, texts | {"pynet": json.dumps(document)})
    return path


def entry(**changes):
    """Change the first column of the kind that `kind` names."""
    kind = changes.pop("kind", "number")

    def change(metadata):
        for column in metadata[ENTRY]["columns"]:
            if column["kind"] == kind:
                column.update(changes)
                return

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update({ENTRY: 3}), "the encoder of the table must be an object"),
        (lambda m: m[ENTRY].update(version=2), "has version 2, expected 1"),
        (lambda m: m[ENTRY].update(more=2), "unknown entry 'more'"),
        (lambda m: m[ENTRY].update(columns=[]), "must have 1 to 4096 entries, got 0"),
        (lambda m: m[ENTRY]["columns"].pop(), "the encoder of the table makes inputs of"),
        (lambda m: m[ENTRY]["columns"].append(m[ENTRY]["columns"][0]), "two columns of one name"),
        (lambda m: m[ENTRY]["columns"].append("x"), "has the kind 'None', expected number"),
        (entry(name=3), "name of .* must be a text"),
        (entry(fill="x"), "fill of .* must be a number"),
        (entry(fill=True), "fill of .* must be a number"),
        (entry(indicator=1), "must be true or false"),
        (entry(x=[1.0, 0.0]), "must be finite and strictly rising"),
        (entry(x=[1.0]), "has 1 numbers x and 0 numbers z"),
        (entry(x=[0.0, 1e-320]), "must be finite and strictly rising"),
        (entry(x=["a", "b"]), "must be numbers"),
        (entry(x=[float(k) for k in range(2000)]), "must have 0 to 1024 entries"),
        (entry(z=[1.0]), "numbers x and 1 numbers z"),
        (entry(scale=10**400), "the number 1000.* is too large"),
        (entry(kind="date", time=None), "must be true or false"),
        (entry(kind="date", shift=[]), "must be a number"),
        (entry(kind="category", levels=[]), "must have 1 to 4096 entries"),
        (entry(kind="category", levels=["b", "a"]), "different texts in rising order"),
        (entry(kind="category", levels=["a", 1]), "different texts in rising order"),
        (entry(kind="category", dimensions=-1), "must be in 0..1000"),
        (entry(kind="category", dimensions=2), "makes inputs of"),
        (lambda m: m.update(target=None), "'target' is not a name"),
        (lambda m: m.update(features=["age"]), "'features' is not the list"),
        (lambda m: m.update(classes=["a"]), "'classes' is not a list of 2 different names"),
        (lambda m: m.update(classes=["a", "a"]), "'classes' is not a list of 2 different names"),
        (lambda m: m.update(classes=None), "'classes' is not a list of 2"),
        (lambda m: m.update(class_kind=["text"]), "'class_kind' is .*, expected text, integer, number, boolean"),
        (lambda m: m.update(class_kind="integer"), "'classes' has names that are none of the kind 'integer'"),
        (lambda m: m.update(class_kind="integer", classes=["1", str(2**64)]), "none of the kind 'integer'"),
        (lambda m: m.update(class_kind="number", classes=["1", "2.0"]), "none of the kind 'number'"),
        (lambda m: m.update(class_kind="boolean", classes=["True", "no"]), "none of the kind 'boolean'"),
        (lambda m: m.update(target_scaling={"shift": 1}), "'target_scaling' is not"),
    ],
)
def test_hostile_files(change, message, tmp_path):
    path = hostile(tmp_path, change)
    with pytest.raises(ValueError, match=message) as caught:
        pn.load(path)
    assert str(caught.value).startswith(str(path))


def test_an_unchanged_file_of_that_kind_is_read(tmp_path):
    assert isinstance(pn.load(hostile(tmp_path, lambda metadata: None)), TableModel)


def test_the_encoder_reads_what_it_writes():
    for name in table_cases.SETTINGS:
        encoder = table_cases.model(name).encoder
        again = Encoder.from_config(json.loads(json.dumps(encoder.config())))
        assert again.config() == encoder.config()
        frame = Frame.of(table_cases.edges())
        for a, b in zip(again.encode(frame), encoder.encode(frame), strict=True):
            assert np.array_equal(a, b)
        kinds = {type(code) for code in again.codes}
        assert kinds == {NumberCode, DateCode, CategoryCode}


def test_a_model_of_no_table_is_none():
    model = pn.Sequential([pn.Input(2), pn.Dense(1)])
    with pytest.raises(ValueError, match="no model of a table"):
        TableModel.of(model)


def test_what_is_done_with_networks_keeps_the_table(tmp_path):
    """Pruned and compact, it is still the model of a table."""
    model = table_cases.model("classes")
    network = copy.deepcopy(model.network)
    pn.prune.magnitude(network, 0.5)
    network.compact().save(tmp_path / "p.safetensors")
    pruned = pn.load(tmp_path / "p.safetensors")
    assert isinstance(pruned, TableModel)
    assert pruned.predict_proba(table_cases.table(5)).shape == (5, 2)
