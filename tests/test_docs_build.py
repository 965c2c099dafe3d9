"""The documentation is built without a warning, and its reference has every public name, with a docstring that is true.

tests/docstrings.py tells what a docstring must say.
"""

import importlib
import inspect
import re
import runpy
import subprocess
import sys
import types
from pathlib import Path

import docstrings
import pytest

import pynet as pn

pytest.importorskip("sphinx", reason='these tests need Sphinx, which comes with pip install ".[test]"')
from sphinx.util.inventory import InventoryFile

DOCS = Path(__file__).resolve().parent.parent / "docs"
PUBLIC = [name for name in runpy.run_path(str(DOCS / "conf.py"))["PUBLIC"] if importlib.util.find_spec(name)]


def public():
    """Yield (module, name, thing) of every name in an ``__all__``, without modules: those have pages of their own."""
    for module in map(importlib.import_module, PUBLIC):
        for name in module.__all__:
            thing = getattr(module, name)
            if not isinstance(thing, types.ModuleType):
                yield module.__name__, name, thing


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a build by the command of the README, which must have nothing to say."""
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said == ""
    return folder


def test_every_page_is_built(built):
    pages = {str(p.relative_to(DOCS).with_suffix(".html")) for p in DOCS.rglob("*.md")}
    assert len(pages) > 40
    assert pages <= {str(p.relative_to(built)) for p in built.rglob("*.html")}


def test_the_index_names_no_page_that_there_is_not():
    """Sphinx is told to bear those that are expected."""
    trees = re.findall(
        r"^```{toctree}\n(.*?)^```", (DOCS / "index.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    entries = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    assert len(entries) > 30
    assert {entry for entry in entries if "*" not in entry and not (DOCS / f"{entry}.md").exists()} == set()


def test_every_public_name_is_in_the_reference(built):
    inventory = InventoryFile.loads((built / "objects.inv").read_bytes(), uri="").data
    documented = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    names = {f"{module}.{name}" for module, name, _ in public()}
    assert len(names) > 150
    assert sorted(names - documented) == []
    methods = {"pynet.Trainer.fit", "pynet.Model.predict", "pynet.sklearn.MLPClassifier.predict_proba"}
    assert sorted(methods - documented) == []


def test_every_public_module_has_a_page():
    modules = {f"pynet.{name}" for name in pn.__all__ if isinstance(getattr(pn, name), types.ModuleType)}
    assert sorted((modules | {f"pynet.{name}" for name in pn.LATER}) - set(PUBLIC)) == []


def test_docstrings_are_true():
    found = {f"{module}.{name}": docstrings.faults(thing) for module, name, thing in public() if callable(thing)}
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_docstrings_of_methods_are_true():
    """Those that a class has of its own.  Without a section of Parameters the summary tells of them; not of the two
    classes that everybody uses."""
    found = {}
    for module, name, thing in public():
        for method in vars(thing).values() if isinstance(thing, type) else ():
            function = getattr(method, "__func__", method)
            private = not inspect.isfunction(function) or function.__name__.startswith(("_", "<"))
            if private or function.__doc__ is None or function.__module__ != thing.__module__:
                continue
            faults = docstrings.faults(function)
            if thing not in (pn.Model, pn.Trainer) and "Parameters" not in docstrings.sections(function.__doc__):
                faults = [fault for fault in faults if "not documented" not in fault]
            found[f"{module}.{name}.{function.__name__}"] = faults
    assert len(found) > 50
    assert {name: faults for name, faults in found.items() if faults} == {}


# ---- the judge, judged ---------------------------------------------------------------------------------------------


def good(a, b=1, *rest, **others):
    """Add.

    Parameters
    ----------
    a, b : int
        Two of them.
    *rest, **others
        Not used.

    Returns
    -------
    int

    Raises
    ------
    TypeError, ValueError
        Always.
    """
    if a > b:
        raise ValueError("a")
    return a + b


def untold(a):
    """Do it."""
    return a


def invented(a):
    """Return it.

    Parameters
    ----------
    a : int
    b : int
    """
    raise KeyError(a)


class Made:
    """A class.

    Parameters
    ----------
    x : int
    """

    def __init__(self, x, y):
        if x:
            raise OSError


class Kept:
    """A result.

    Attributes
    ----------
    x : int
    sum : int
        More than the parameters.
    """

    def __init__(self, x):
        self.x, self.sum = x, x


@pytest.mark.parametrize(
    ("thing", "faults"),
    [
        (good, []),
        (Kept, []),
        (untold, ["parameter 'a' is not documented", "something is returned: no Returns"]),
        (invented, ["'b' is documented and is no parameter", "raises KeyError, which is not under Raises"]),
        (Made, ["parameter 'y' is not documented", "raises OSError, which is not under Raises"]),
        (lambda: None, ["no docstring"]),
    ],
)
def test_the_judge_of_docstrings(thing, faults):
    assert docstrings.faults(thing) == faults


def test_a_promise_of_a_result_that_never_comes():
    def nothing():
        """Return the sum."""

    assert docstrings.faults(nothing) == ["Returns, but nothing is returned"]
