"""How Sphinx builds the documentation: ``sphinx-build -W docs build/docs``.

The pages are plain Markdown.  Those of the API reference are written here, one for each public module, from what its
``__all__`` names, so that a new name appears by itself.
"""

import importlib.util
import inspect
import pathlib
import re

import pynet

HERE = pathlib.Path(__file__).parent

# ---- the reference: public modules, and what each is about ---------------------------------------------------------

PUBLIC = {
    "pynet": "Models, layers, training",
    "pynet.activations": "Activations",
    "pynet.initializers": "Initial weights",
    "pynet.losses": "Losses",
    "pynet.metrics": "Metrics",
    "pynet.optimizers": "Optimizers",
    "pynet.schedules": "Learning rates over time",
    "pynet.callbacks": "Callbacks",
    "pynet.loggers": "Loggers",
    "pynet.history": "What fit returns",
    "pynet.datasets": "Data sets",
    "pynet.tabular": "Tables",
    "pynet.report": "Reports",
    "pynet.plot": "Plots",
    "pynet.sklearn": "Estimators for scikit-learn",
    "pynet.prune": "Pruning",
    "pynet.analysis": "Analysis",
    "pynet.logic": "Boolean functions",
    "pynet.export": "To and from elsewhere",
    "pynet.quantized_model": "Integer networks",
    "pynet.footprint": "What a network takes",
    "pynet.distributed": "More than one machine",
}

PAGE = """# {title}: `{module}`

```{{eval-rst}}
.. automodule:: {module}
```
"""


def write_reference() -> None:
    """Write api/<module>.md for every public module that there is, and take away pages of others."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    present = [module for module in PUBLIC if importlib.util.find_spec(module)]
    for module in present:
        page, text = folder / f"{module}.md", PAGE.format(title=PUBLIC[module], module=module)
        if not page.exists() or page.read_text(encoding="utf-8") != text:  # else Sphinx would read it again
            page.write_text(text, encoding="utf-8")
    for page in folder.glob("*.md"):
        if page.stem not in present:
            page.unlink()


write_reference()

# ---- Sphinx --------------------------------------------------------------------------------------------------------

project = "pynet"
version = release = pynet.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"pynet {release}"
html_copy_source = False
default_role = "literal"  # `x` in docstrings is what it is in the pages
myst_heading_anchors = 3
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
autodoc_default_options = {"members": True, "show-inheritance": True, "member-order": "bysource"}
# nitpicky stays off: types in docstrings are prose ("array [N, I]"), no references; links of pages are checked anyway
suppress_warnings = [
    "ref.python",  # a word of that prose is the name of several things, and is linked to one of them
]


def skip(app, what, name, member, skip, options):
    """Leave out what is not ours (methods that scikit-learn gives its estimators), and derivatives."""
    foreign = inspect.isroutine(member) and not str(getattr(member, "__module__", "pynet")).startswith("pynet")
    return True if foreign or name == "df" else None


def split_attributes(app, what, name, obj, options, lines):
    """Attributes that share an entry, ``a, b : float``, become entries of their own, as napoleon does of Parameters."""
    section = re.compile(r"(?<=^Attributes\n----------\n)(?:.*\S.*\n)*", re.MULTILINE)
    entry = re.compile(r"^(\w+(?:, \w+)+)( : .*)?\n((?:    .*\n)*)", re.MULTILINE)

    def apart(shared):
        return "".join(f"{name}{shared[2] or ''}\n{shared[3]}" for name in shared[1].split(", "))

    text = "".join(f"{line}\n" for line in lines)
    lines[:] = section.sub(lambda m: entry.sub(apart, m[0]), text).split("\n")


def escape_bars(app, what, name, obj, options, lines):
    """|x| is a magnitude, and no substitution of reStructuredText."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            pieces = re.split(r"(``.*?``)", line)
            lines[i] = "".join(p if p.startswith("``") else p.replace("|", r"\|") for p in pieces)


def setup(app):
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", split_attributes, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", escape_bars)
