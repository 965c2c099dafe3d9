"""What a NumPy docstring says of parameters, results and errors, held against the signature and the code."""

import ast
import dataclasses
import inspect
import re
import textwrap

HEADER = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)
ENTRY = re.compile(r"^(\S.*?)(?: : .*)?$", re.MULTILINE)
HELPERS = {"unknown": "ValueError"}  # pynet._check makes the exception


def sections(doc: str | None) -> dict[str, str]:
    """Return {title: text} of a docstring; what comes before the first title stands under ""."""
    parts = HEADER.split(inspect.cleandoc(doc or ""))
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(text: str) -> list[str]:
    """Return the names that the entries of a section begin with: of ``a, b : float`` both."""
    return [name.strip().lstrip("*") for entry in ENTRY.findall(text) for name in entry.split(",")]


def parameters(thing) -> list[str]:
    """Return the names of the parameters of a function, or of what makes an object of a class."""
    found = inspect.signature(thing).parameters.values()
    if isinstance(thing, type) and any(p.kind == p.VAR_POSITIONAL for p in found):  # activations: any of their fields
        return list(thing.fields)
    return [p.name for p in found if p.name not in ("self", "cls")]


def raised(tree: ast.AST) -> set[str]:
    """Return the names of the exceptions in a function's own raise statements; not NotImplementedError."""
    names = set()
    for node in _own(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            made = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = ast.unparse(made).split(".")[-1]
            names.add(HELPERS.get(name, name))
    return {name for name in names if name.endswith("Error")} - {"NotImplementedError"}


def gives(tree: ast.AST) -> bool:
    """Say whether a function returns or yields anything but None."""
    return any(
        isinstance(node, (ast.Return, ast.Yield)) and node.value is not None and ast.unparse(node.value) != "None"
        for node in _own(tree)
    )


def _own(tree: ast.AST):
    """Walk a function, without the functions inside it."""
    todo = list(ast.iter_child_nodes(tree))
    while todo:
        node = todo.pop()
        if not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            yield node
            todo += ast.iter_child_nodes(node)


def _tree(thing) -> ast.AST | None:
    """Return the syntax of a function, or of the constructor that a class has of its own; None if there is none."""
    if isinstance(thing, type):
        thing = vars(thing).get("__init__")
    if not inspect.isfunction(thing) or thing.__code__.co_filename.startswith("<"):  # a dataclass made it
        return None
    return ast.parse(textwrap.dedent(inspect.getsource(thing)))


def _other_parameters(thing, doc: dict[str, str]) -> list[str]:
    """What differs between the parameters there are and those that are told of."""
    given = parameters(thing)
    told = entries(doc.get("Parameters", ""))
    if isinstance(thing, type) and "Parameters" not in doc:  # whose parameters are its attributes: a result, a record
        told = [name for name in entries(doc.get("Attributes", "")) if name in given]
    if dataclasses.is_dataclass(thing):
        given = [field.name for field in dataclasses.fields(thing) if field.init]
    missing = [f"parameter {name!r} is not documented" for name in given if name not in told]
    return missing + [f"{name!r} is documented and is no parameter" for name in told if name not in given]


def faults(thing) -> list[str]:
    """Return what is wrong with the docstring of a public function or class; [] is good.

    There must be a summary; Parameters that are those of the signature (of a class also Attributes that are), in any
    order; Returns, or a summary that begins with "Return", if anything is returned; Raises that names the errors that
    the function raises itself.
    """
    doc = sections(thing.__doc__)
    if not doc[""].strip():
        return ["no docstring"]
    found = _other_parameters(thing, doc)
    tree = _tree(thing)
    if tree is None:
        return found
    if not isinstance(thing, type):
        says = bool({"Returns", "Yields"} & set(doc)) or doc[""].startswith("Return ")
        definition = tree.body[0]
        abstract = isinstance(definition.body[-1], ast.Raise)
        if gives(definition) and not says:
            found.append("something is returned: no Returns")
        if says and not gives(definition) and not abstract:
            found.append("Returns, but nothing is returned")
    missing = raised(tree.body[0]) - set(entries(doc.get("Raises", "")))
    return found + [f"raises {name}, which is not under Raises" for name in sorted(missing)]
