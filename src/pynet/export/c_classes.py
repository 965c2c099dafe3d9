"""The names of the classes in an exported file."""

from __future__ import annotations

from .c_text import string

__all__ = ["class_names", "declared", "defined", "macros"]


def class_names(model) -> list[str]:
    """Return the names of the classes in the metadata of a model, [] if there are none."""
    names = model.metadata.get("classes")
    if names is None:
        return []
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) and "\0" not in n for n in names):
        raise ValueError(f"the metadata entry 'classes' must be a list of texts, got {names!r:.80}")
    return list(names)


def macros(names: list[str]) -> list[str]:
    """Return the lines of a header that tell how many there are."""
    return [f"#define NET_CLASSES {len(names)}U"] if names else []


def declared(names: list[str]) -> list[str]:
    """Return the lines of a header that declare them."""
    return [f"extern const char *const net_classes[{len(names)}];", ""] if names else []


def defined(names: list[str]) -> list[str]:
    """Return the parts of a source that define them."""
    if not names:
        return []
    texts = ",\n".join(f"    {string(name)}" for name in names)
    return [f"const char *const net_classes[{len(names)}] = {{\n{texts}\n}};"]
