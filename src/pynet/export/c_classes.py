"""The names of the classes in an exported file."""

from __future__ import annotations

from ..tables.table import class_name
from .c_text import string

__all__ = ["class_names", "declared", "defined", "macros"]


def class_names(model) -> list[str]:
    """Return the names of the classes in the metadata of a model, [] if there are none; numbers, which models that come
    from scikit-learn may have, as texts."""
    names = model.metadata.get("classes")
    if names is None:
        return []
    known = isinstance(names, (list, tuple)) and all(isinstance(name, (str, int, float)) for name in names)
    texts = [class_name(name) for name in names] if known else []
    if not known or any("\0" in text for text in texts):
        raise ValueError(f"the metadata entry 'classes' must be a list of texts or numbers, got {names!r:.80}")
    return texts


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
