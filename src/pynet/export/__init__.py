"""From pynet to elsewhere, and back: C files, ONNX, the networks of other libraries."""

from __future__ import annotations

from .c_source import to_c

__all__: list[str] = ["to_c"]
