"""scikit-learn's own tests of its MLP, from the installed version, with the estimators of pynet in place of theirs.

Those that look into their implementation are listed in BOUND, with the reason; docs/sklearn.md shows the same table.
They are run all the same: one that passes is an error here, and so is a name that is no test of theirs.
"""

import re
import types
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason='these tests need scikit-learn, which comes with pip install ".[test]"')
import sklearn.neural_network

BOUND = {
    "test_fit": "sets `coefs_` and a dozen private attributes by hand instead of fitting; here they are in `model_`",
    "test_gradient": "calls the private method `_loss_grad_lbfgs` with arrays in which it shall work",
}

SOURCE = Path(sklearn.neural_network.__file__).parent / "tests" / "test_mlp.py"
IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"


def their_module():
    """Return their module of tests, made to import our estimators."""
    text = SOURCE.read_text(encoding="utf-8")
    assert text.count(IMPORT) == 1
    text = text.replace(IMPORT, "from pynet.sklearn import MLPClassifier, MLPRegressor\n")
    assert "sklearn.neural_network" not in re.sub(r"\(sklearn\.neural_network\)", "", text)
    module = types.ModuleType("their_test_mlp")
    exec(compile(text, str(SOURCE), "exec"), module.__dict__)
    return module


THEIRS = {name: value for name, value in vars(their_module()).items() if name.startswith("test_")}

for name, test in THEIRS.items():
    test = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")(test)
    if name in BOUND:
        test = pytest.mark.xfail(strict=True, reason=BOUND[name])(test)
    globals()[name] = test


def test_the_list_names_tests_of_theirs_and_stands_in_the_docs():
    page = (Path(__file__).resolve().parent.parent / "docs" / "sklearn.md").read_text(encoding="utf-8")
    assert len(THEIRS) > 30
    assert set(BOUND) <= set(THEIRS)
    rows = dict(re.findall(r"^\| `(test_\w+)` \| (.*) \|$", page, re.MULTILINE))
    assert rows == BOUND


@pytest.fixture
def global_random_seed():
    """Of their conftest.py, whose default it is."""
    return 42
