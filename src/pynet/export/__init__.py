"""From pynet to elsewhere, and back: C files, ONNX, the networks of other libraries."""

from __future__ import annotations

__all__: list[str] = []
