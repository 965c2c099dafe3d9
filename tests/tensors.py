"""Tensors to write, and how two sets of them are compared."""

import numpy as np

ALL_DTYPES = [np.float64, np.float32, np.float16, np.int64, np.uint64, np.int32, np.uint32, np.int16, np.uint16]
ALL_DTYPES += [np.int8, np.uint8, np.bool_]


def example():
    rng = np.random.default_rng(0)
    tensors = {
        f"layer_{k}.{np.dtype(dtype).name}": (rng.random((k + 1, 3)) * 100).astype(dtype)
        for k, dtype in enumerate(ALL_DTYPES)
    }
    return {**tensors, "bias": np.arange(5.0), "scalar": np.float32(2.5), "one-byte": np.array([7], np.uint8)}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        a, b = np.asarray(left[name]), np.asarray(right[name])
        assert a.dtype == b.dtype, name
        assert a.shape == b.shape, name
        assert a.tobytes() == b.tobytes(), name
