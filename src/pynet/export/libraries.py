"""Other people's libraries: imported when they are used, never needed otherwise."""

from __future__ import annotations

from importlib import import_module

__all__ = ["library"]

INSTALL = {"onnx": 'pip install "pynet[onnx]"', "torch": "pip install torch", "sklearn": "pip install scikit-learn"}


def library(name: str):
    """Return a module of another library; if it is not there, an ImportError says how to get it."""
    try:
        return import_module(name)
    except ImportError as error:
        top = name.partition(".")[0]
        raise ImportError(f"this needs {top} ({error}): {INSTALL[top]}") from error
