"""From pynet to elsewhere, and back: C files, ONNX, the networks of other libraries."""

from __future__ import annotations

from .onnx_read import from_onnx
from .onnx_write import to_onnx

__all__ = ["from_onnx", "to_onnx"]
