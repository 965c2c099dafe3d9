"""The four original files of MNIST as arrays."""

from __future__ import annotations

import gzip
import os

import numpy as np


def read_idx(path: str) -> np.ndarray:
    """Return the array of a gzipped IDX file of unsigned bytes (LeCun's format)."""
    with gzip.open(path) as file:
        data = file.read()
    if data[:3] != b"\0\0\x08":
        raise SystemExit(f"{path}: not an IDX file of unsigned bytes")
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def load(folder: str):
    """Return (X, y, X_test, y_test): uint8 [N, 784] as they are in the files, and class numbers."""
    parts = []
    for kind in ("train", "t10k"):
        images = read_idx(os.path.join(folder, f"{kind}-images-idx3-ubyte.gz"))
        parts += [images.reshape(len(images), -1), read_idx(os.path.join(folder, f"{kind}-labels-idx1-ubyte.gz"))]
    return parts
