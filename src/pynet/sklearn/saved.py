"""The network of an estimator as the bytes of a safetensors file: what a pickle holds of it."""

from __future__ import annotations

import os
import tempfile

from .. import files
from ..checkpoint import load
from .sparse import RowTrainer

__all__ = ["from_bytes", "to_bytes"]


def to_bytes(model, trainer) -> bytes:
    """Return a checkpoint of the trainer, or, without one, the file of the model.

    Raises
    ------
    ValueError
        The model holds Python functions or numbers that are not finite: no file can carry them.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.safetensors")
        if trainer is None:
            files.save_model(model, path)
        else:
            trainer.save_checkpoint(path)
        with open(path, "rb") as file:
            return file.read()


def from_bytes(data: bytes, loss):
    """Return (model, trainer or None) from what `to_bytes` returned; nothing in it is executed.

    Raises
    ------
    ValueError
        The bytes are damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.safetensors")
        with open(path, "wb") as file:
            file.write(data)
        if files.read_document(path)[0]["kind"] != "checkpoint":
            return files.load_model(path), None
        trainer = load(path, loss=loss, kind=RowTrainer)
        return trainer.model, trainer
