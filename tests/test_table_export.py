"""Models of tables as C files and as ONNX files: both take the raw row, and answer as Python does."""

import math
import re
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
import table_cases
from c_programs import COMPILERS, CXX, WARNINGS, C, run

import pynet as pn
from pynet.export.c_table import members
from pynet.export.c_text import string
from pynet.tables.columns import Frame

O0, CPP = (*C, "-O0"), (*CXX, "-O1")
FORMS = [(name, {}, [O0, CPP]) for name in table_cases.SETTINGS]
FORMS += [(name, {"scratch": "static"}, [(*C, "-O3")]) for name in ("classes", "quantiles and vectors")]
FORMS += [("classes", {"math": False, "wide": False, "tests": 2}, [O0])]


def rows(model) -> Frame:
    """Rows like those of training, and strange ones."""
    usual, edges = table_cases.table(40, seed=5), table_cases.edges()
    return Frame.of({name: usual[name] + edges[name] for name in usual}).select(model.encoder.names)


def assert_near(found, expected, model) -> None:
    """Within some rounding errors of the largest number."""
    scale = 1 if model.classes else np.abs(expected).max()
    assert np.abs(found - expected).max() < (2e-5 if model.dtype == "float32" else 1e-12) * scale


def literal(column, row: int) -> str:
    if column.kind == "category":
        text = column.texts()[row]
        return "NULL" if text is None else string(["", " ", "\t \n"][row % 3] + text + ["\r", " ", ""][row % 3])
    value = column.values[row]
    return "NOTHING" if math.isnan(value) else repr(float(value))


def program(model, frame, folder, **form):
    """Write net.c, and a main that prints the outputs of all rows and what the self-test returns."""
    pn.export.to_c(model, folder / "net.c", **form)
    real = "float" if model.network.dtype == np.float32 else "double"
    columns = [
        frame.column(name).as_kind(code.kind)
        for name, code in zip(model.encoder.names, model.encoder.codes, strict=True)
    ]
    cells = [f"{{{', '.join(literal(column, r) for column in columns)}}}" for r in range(len(frame))]
    scratch = "" if form.get("scratch") == "static" else ", scratch"
    (folder / "main.c").write_text(
        "#include <math.h>\n#include <stdio.h>\n#include <stddef.h>\n"
        f'#include "net.h"\nint main(void) {{ const double NOTHING = (double)NAN;\n'
        f"  const struct net_row rows[{len(cells)}] = {{ {', '.join(cells)} }};\n"
        f"  {real} y[NET_Y_SIZE]; unsigned r, o;\n"
        + (f"  static {real} scratch[NET_ROW_SCRATCH];\n" if scratch else "")
        + f'  printf("%d", net_selftest());\n  for (r = 0; r < {len(cells)}; r++) {{\n'
        f"    net_predict_row(&rows[r], y{scratch});\n"
        '    for (o = 0; o < NET_Y_SIZE; o++) printf(" %.17g", (double)y[o]); }\n  return 0; }\n'
    )


@pytest.mark.parametrize(("name", "form", "builds"), FORMS)
def test_c_takes_the_raw_row(name, form, builds, tmp_path):
    model = table_cases.model(name)
    frame = rows(model)
    program(model, frame, tmp_path, **form)
    expected = model.outputs(frame)
    for compiler in COMPILERS:
        for flags in builds:
            run(compiler, *flags, *WARNINGS, "-o", tmp_path / "a.out", tmp_path / "main.c", tmp_path / "net.c", "-lm")
            wrong, *numbers = run(tmp_path / "a.out").split()
            assert int(wrong) == 0
            found = np.array([float(n) for n in numbers]).reshape(expected.shape)
            assert_near(found, expected, model)


def test_the_self_test_notices_another_encoding(tmp_path):
    """A level, knots, a shift or a fill that are others."""
    model = table_cases.model("classes")
    program(model, rows(model), tmp_path)
    text = (tmp_path / "net.c").read_text()
    knots = re.search(r"net_knots_0\[\d+\] = \{([^}]+)\}", text)
    moved = re.sub(r"[\d.]+", lambda number: f"{float(number[0]) + 3}", knots[1])
    fill = re.search(r"value = missing \? ([\d.]+) : row->age", text)
    shift = re.search(r"\(\(value - ([\d.]+)\)", text)
    changes = {
        "level": text.replace('"green",', '"grean",', 1),
        "knots": text[: knots.start(1)] + moved + text[knots.end(1) :],
        "fill": text[: fill.start(1)] + "99.5" + text[fill.end(1) :],
        "shift": text[: shift.start(1)] + "0.25" + text[shift.end(1) :],
    }
    for what, changed in changes.items():
        assert changed != text, what
        (tmp_path / "net.c").write_text(changed)
        run("cc", *C, "-o", tmp_path / "a.out", tmp_path / "main.c", tmp_path / "net.c", "-lm")
        assert int(run(tmp_path / "a.out").split()[0]) > 0, what


def test_infinite_numbers_and_texts_that_mean_nothing_are_missing_in_c(tmp_path):
    model = table_cases.model("classes")
    pn.export.to_c(model, tmp_path / "net.c", scratch="static")
    kinds = [code.kind for code in model.encoder.codes]
    made = [
        [text if kind == "category" else number for kind in kinds]
        for number, text in (("NAN", "NULL"), ("INFINITY", '" NA"'), ("-INFINITY", '" "'), ("NAN", '"<NA>"'))
    ]
    rows = ", ".join(f"{{{', '.join(row)}}}" for row in made)
    (tmp_path / "main.c").write_text(
        '#include <math.h>\n#include <stddef.h>\n#include <stdio.h>\n#include "net.h"\nint main(void) {\n'
        f"  struct net_row rows[4] = {{ {rows} }}; float y[2]; int r;\n"
        '  for (r = 0; r < 4; r++) { net_predict_row(&rows[r], y); printf("%.9g ", y[0]); }\n  return 0; }\n'
    )
    run("cc", *C, "-o", tmp_path / "a.out", tmp_path / "main.c", tmp_path / "net.c", "-lm")
    found = run(tmp_path / "a.out").split()
    nothing = model.outputs({code.name: [None] for code in model.encoder.codes})[0, 0]
    assert len(set(found)) == 1
    assert float(found[0]) == pytest.approx(float(nothing), abs=1e-6)


def test_members_are_identifiers():
    names = ["a", "hours-per-week", "int", "NULL", "2nd", "net_x", "ä", "a ", "", "a!"]
    assert members(names) == [
        "a",
        "hours_per_week",
        "int_",
        "NULL_",
        "column_2nd",
        "net_x",
        "column",
        "a_2",
        "column_2",
        "a_3",
    ]
    assert len(set(members([*names, *names]))) == 2 * len(names)


def test_member_names_keep_their_own_prefix(tmp_path):
    """A column called net_worth is no name of the network's."""
    pn.export.to_c(table_cases.model("classes"), tmp_path / "adult.c")
    header = (tmp_path / "adult.h").read_text()
    assert "double net_worth;" in header
    assert "struct adult_row" in header
    assert "const char *city_of_birth;" in header


def test_what_c_cannot_hold(tmp_path):
    columns = {"a\0b": ["x", "y"] * 20, "y": ["u", "v"] * 20}
    model = pn.tabular.TableModel(hidden=[2], epochs=1).fit(columns, "y", verbose=0)
    with pytest.raises(ValueError, match="zero byte"):
        pn.export.to_c(model, tmp_path / "net.c")
    with pytest.raises(ValueError, match="no sequences"):
        pn.export.to_c(table_cases.model("classes"), tmp_path / "net.c", stream=True)
    assert list(tmp_path.iterdir()) == []


def test_samples_are_a_table(tmp_path):
    model = table_cases.model("classes")
    pn.export.to_c(model, tmp_path / "net.c", samples=table_cases.table(30), tests=3)
    (tmp_path / "main.c").write_text('#include "net.h"\nint main(void) { return net_selftest(); }\n')
    run("cc", *C, "-o", tmp_path / "a.out", tmp_path / "main.c", tmp_path / "net.c", "-lm")
    assert subprocess.run([tmp_path / "a.out"]).returncode == 0


# ---- ONNX ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", table_cases.SETTINGS)
def test_onnx_takes_the_raw_row(name, tmp_path):
    model = table_cases.model(name)
    frame = rows(model)
    pn.export.to_onnx(model, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    kinds = {"category": "tensor(string)", "number": "tensor(double)", "date": "tensor(double)"}
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        (code.name, kinds[code.kind], ["batch", 1]) for code in model.encoder.codes
    ]
    feed = {}
    for code in model.encoder.codes:
        column = frame.column(code.name).as_kind(code.kind)
        if code.kind == "category":
            feed[code.name] = np.array([[text or ""] for text in column.texts()], object)
        else:
            feed[code.name] = column.values[:, None]
    expected = model.outputs(frame)
    (found,) = session.run(None, feed)
    assert found.dtype == model.network.dtype
    assert_near(found, expected, model)
    known = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert known["target"] == model.target


def test_onnx_missing_texts_and_infinite_numbers(tmp_path):
    """Each of the texts that mean nothing, and infinity, is as nothing."""
    model = table_cases.model("classes")
    pn.export.to_onnx(model, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    from pynet.tables.columns import MISSING

    n = len(MISSING) + 2
    feed = {}
    for code in model.encoder.codes:
        if code.kind == "category":
            feed[code.name] = np.array([*MISSING, "", ""], object)[:, None]
        else:
            feed[code.name] = np.array([*[np.nan] * len(MISSING), np.inf, -np.inf])[:, None]
    (found,) = session.run(None, feed)
    nothing = model.outputs({code.name: [None] for code in model.encoder.codes})
    assert np.abs(found - nothing).max() < 1e-6
    assert found.shape == (n, 2)


def test_names_of_columns_may_be_those_of_layers_and_constants(tmp_path):
    names = ("columns", "dense_1", "numbers", "columns.fill", "dense_1.shift", "column numbers/Sub", "number/0.0")
    columns = {name: [1.0, 2.0, 3.0, 4.0] * 10 for name in names} | {"y": [1.5, 2.5, 3, 4] * 10}
    model = pn.tabular.TableModel(hidden=[3], epochs=1).fit(columns, "y", verbose=0)
    pn.export.to_onnx(model, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    feed = {name: np.array(columns[name])[:, None] for name in model.features}
    assert np.allclose(session.run(None, feed)[0], model.outputs(columns), atol=1e-5)


def test_onnx_needs_names(tmp_path):
    columns = {"": [1.0, 2.0, 3.0, 4.0] * 10, "y": [1.5, 2.5, 3, 4] * 10}
    model = pn.tabular.TableModel(hidden=[3], epochs=1).fit(columns, "y", verbose=0)
    with pytest.raises(ValueError, match="a column has the name ''"):
        pn.export.to_onnx(model, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scaling", ["standard", "quantile", "piecewise"])
def test_the_self_test_has_finite_rows_of_numbers_of_any_size(scaling, tmp_path):
    ramp = np.linspace(-1.0, 1.0, 60)
    columns = {"a": ramp * 1.6e308, "b": ramp * 1e-300, "c": (ramp - 0.7) * 1e308, "y": ramp < 0}
    model = pn.tabular.TableModel(hidden=[2], epochs=1, scaling=scaling).fit(columns, "y", verbose=0)
    pn.export.to_c(model, tmp_path / "net.c")
    (tmp_path / "main.c").write_text('#include "net.h"\nint main(void) { return net_selftest(); }\n')
    run("cc", *C, *WARNINGS, "-o", tmp_path / "a.out", tmp_path / "main.c", tmp_path / "net.c", "-lm")
    run(tmp_path / "a.out")
