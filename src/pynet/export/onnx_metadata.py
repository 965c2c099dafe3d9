"""The entries of `model.metadata` as the texts that an ONNX file holds, and back.

A text stands for itself, unless it could be taken for JSON; all else is JSON.  So nothing is lost, and `classes` reads
like a list in every tool.
"""

from __future__ import annotations

import json

from .._safetensors import parse_json

__all__ = ["from_text", "to_text"]


def to_text(key, value) -> str:
    """Return a metadata entry as text; ValueError names its key if it is not JSON."""
    if isinstance(value, str) and from_text(value) is value:
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"model.metadata[{key!r}] is not JSON: {error}") from None


def from_text(text: str):
    """Return what a text means: what its JSON says, or the very text if it is none."""
    try:
        found = parse_json('{"": ' + text + "}", "metadata")
    except ValueError:
        return text
    return found[""] if len(found) == 1 else text
