"""From pynet to elsewhere, and back: C files, ONNX, the networks of other libraries."""

from __future__ import annotations

from .onnx_write import to_onnx

__all__ = ["to_onnx"]
