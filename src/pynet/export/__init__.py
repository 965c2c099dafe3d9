"""From pynet to elsewhere, and back: C files, ONNX, the networks of other libraries."""

from __future__ import annotations

from .c_export import to_c
from .from_torch import from_torch, to_torch
from .keras import from_keras
from .onnx_read import from_onnx
from .onnx_write import to_onnx
from .sklearn import from_sklearn, to_sklearn

__all__ = ["from_keras", "from_onnx", "from_sklearn", "from_torch", "to_c", "to_onnx", "to_sklearn", "to_torch"]
