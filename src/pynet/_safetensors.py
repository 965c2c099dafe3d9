"""The safetensors container: named tensors and texts, read with suspicion and written atomically.

A file is an 8-byte little-endian length, a JSON header of that length and the raw tensors, end to end.
Nothing in a file is ever executed or resolved as a path, no number in it is believed before it has been compared
with the true length of the file, and nothing is returned unless all of it was valid.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import contextlib
import os

import numpy as np

__all__ = ["parse_json", "read", "write"]

MAX_HEADER = 1 << 22  # bytes
MAX_TENSORS = 4096
MAX_RANK = 2
MAX_DIM = 1 << 24
MAX_NAME = 256  # bytes of a tensor's name
MAX_DEPTH = 16  # nesting of JSON
ALIGNMENT = 64  # of the first tensor byte in the file

DTYPES = {
    code: np.dtype(text)
    for code, text in (
        ("F64", "<f8"), ("F32", "<f4"), ("F16", "<f2"), ("I64", "<i8"), ("U64", "<u8"), ("I32", "<i4"),
        ("U32", "<u4"), ("I16", "<i2"), ("U16", "<u2"), ("I8", "|i1"), ("U8", "|u1"), ("BOOL", "|b1"),
    )
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}
FOREIGN = {"BF16": np.dtype("V2"), "F8_E4M3": np.dtype("V1"), "F8_E5M2": np.dtype("V1")}  # NumPy has none of them
FOREIGN_RANK = 8


# ---- reading -----------------------------------------------------------------------------------


def read(path, check_finite: bool = True, foreign: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read every tensor of a safetensors file into memory of its own.

    Parameters
    ----------
    path : str or os.PathLike
    check_finite : bool, default True
        Refuse NaN and infinite values.
    foreign : bool, default False
        Take what other programs write as well: any names, up to 8 dimensions, empty ones, BF16 (returned as float32),
        and numbers of 8 bits (returned as void).

    Returns
    -------
    tensors : dict of name -> ndarray
        In the order of the bytes in the file.  Rank 0 to 2, native byte order, writable.
    metadata : dict of str -> str
        The header's ``__metadata__`` without the checksum, or {}.

    Raises
    ------
    OSError
        The file cannot be opened or read.
    ValueError
        The file is not a valid safetensors file, or is larger, deeper or stranger than pynet ever writes; the
        message names the file, what was found and what was expected.
    """
    path = os.fsdecode(path)
    with open(path, "rb") as file:
        try:
            return _read(file, check_finite, foreign)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _read(file, check_finite: bool, foreign: bool):
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    if len(start) < 8:
        raise ValueError(f"not a safetensors file: {size} bytes, expected at least 8")
    length = int.from_bytes(start, "little")
    if length > min(MAX_HEADER, size - 8):
        raise ValueError(
            f"not a safetensors file, or cut short: the header claims {length} bytes, "
            f"expected at most {min(MAX_HEADER, size - 8)} in a file of {size}"
        )
    text = file.read(length)
    if len(text) != length:
        raise ValueError("the file changed while it was read")
    if text[:1] != b"{":
        raise ValueError(f"not a safetensors file: the header starts with {text[:1]!r}, expected b'{{'")
    header = parse_json(text, "header")
    metadata = _checked_metadata(header.pop("__metadata__", {}))
    entries = _checked_entries(header, size - 8 - length, foreign)

    tensors = {}
    for name, dtype, shape in entries:
        array = np.empty(shape, dtype)
        if array.nbytes and file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
            raise ValueError("the file changed while it was read")
        if dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
            raise ValueError(f"tensor {name!r}: a BOOL is neither 0 nor 1")
        if dtype == FOREIGN["BF16"]:  # the upper half of a float32
            array = (array.view("<u2").astype(np.uint32) << 16).view(np.float32)
        tensors[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    expected = metadata.pop("crc32", None)
    if expected is not None and expected != checksum(tensors, metadata):
        raise ValueError(
            "the content does not match the checksum 'crc32' in the metadata: the file is damaged "
            "(a program that changes the tensors on purpose must drop that entry)"
        )
    if check_finite:
        for name, array in tensors.items():
            _check_finite(name, array)
    return tensors, metadata


def _check_finite(name: str, array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"tensor {name!r} has {int((~np.isfinite(array)).sum())} NaN or infinite values, expected none"
        )


def _checked_metadata(metadata) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ must be an object of texts")
    return metadata


def _checked_entries(header: dict, data_size: int, foreign: bool) -> list:
    """Return [(name, dtype, shape)] in file order: sizes exact, no hole, no overlap, all of the file covered."""
    dtypes, max_rank, least = (DTYPES | FOREIGN, FOREIGN_RANK, 0) if foreign else (DTYPES, MAX_RANK, 1)
    if len(header) > MAX_TENSORS:
        raise ValueError(f"{len(header)} tensors, expected at most {MAX_TENSORS}")
    entries = []
    for name, entry in header.items():
        if not foreign:
            check_name(name)
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"tensor {name!r}: expected an object with dtype, shape and data_offsets")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in dtypes:
            raise ValueError(f"tensor {name!r}: dtype {str(code)[:20]!r}, expected one of {', '.join(dtypes)}")
        if not isinstance(shape, list) or len(shape) > max_rank or not all(_is_count(n, MAX_DIM, least) for n in shape):
            expected = f"up to {max_rank} of {least}..{MAX_DIM}"
            raise ValueError(f"tensor {name!r}: shape {str(shape)[:60]}, expected {expected}")
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(n, data_size) for n in offsets):
            raise ValueError(f"tensor {name!r}: data_offsets {str(offsets)[:60]}, expected two of 0..{data_size}")
        size = dtypes[code].itemsize
        for n in shape:
            size *= n
        if offsets[1] - offsets[0] != size:
            raise ValueError(
                f"tensor {name!r}: data_offsets {offsets} hold {offsets[1] - offsets[0]} bytes, "
                f"expected {size} for {code} of shape {shape}"
            )
        entries.append((*offsets, name, dtypes[code], tuple(shape)))
    entries.sort()
    position = 0
    for begin, end, name, _, _ in entries:
        if begin != position:
            raise ValueError(f"tensor {name!r} starts at byte {begin}, expected {position}: no holes, no overlaps")
        position = end
    if position != data_size:
        raise ValueError(f"{data_size} bytes of tensors in the file, expected {position} from the header")
    return [entry[2:] for entry in entries]


def _is_count(value, high: int, low: int = 0) -> bool:
    return type(value) is int and low <= value <= high


def check_name(name: str) -> str:
    """Return `name` if it can name a tensor in a file: letters, digits and ``. _ -``, at most 256 bytes."""
    plain = name.isascii() and name.replace(".", "").replace("_", "").replace("-", "").isalnum()
    if not plain or len(name) > MAX_NAME:
        raise ValueError(f"tensor name {name[:60]!r}: expected 1..{MAX_NAME} of A-Z a-z 0-9 . _ -")
    return name


def parse_json(text: str | bytes, what: str):
    """Parse strict JSON: UTF-8, an object, no duplicate keys, finite numbers, bounded depth.  ValueError if not."""
    import json

    def unique(pairs):
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key occurs twice")
        return result

    def integer(digits):
        if len(digits) > 20:
            raise ValueError(f"the number {digits[:20]}... is too large")
        return int(digits)

    def real(digits):
        value = float(digits)
        if value - value != 0.0:
            raise ValueError(f"the number {digits[:20]} is not finite")
        return value

    def constant(word):
        raise ValueError(f"{word} is not a JSON number")

    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        result = json.loads(
            text, object_pairs_hook=unique, parse_int=integer, parse_float=real, parse_constant=constant
        )
        if not isinstance(result, dict):
            raise ValueError(f"it is a {type(result).__name__}, expected an object")
        _check_tree(result)
    except RecursionError:
        raise ValueError(f"the {what} is not valid: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"the {what} is not valid: {error}") from None
    return result


def _check_tree(root) -> None:
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
        below = []
        for node in level:
            children = [*node, *node.values()] if isinstance(node, dict) else node
            for child in children:
                if isinstance(child, str):
                    child.encode("utf-8")  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
                elif isinstance(child, (dict, list)):
                    below.append(child)
        level = below


# ---- writing -----------------------------------------------------------------------------------


def write(path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, all of it or nothing.

    The bytes go to a temporary file in the same directory, are flushed to the disk and then take the place of
    `path` in one step: whatever happens (a full disk, a crash, Ctrl-C), `path` holds the old file or the new one.

    Parameters
    ----------
    path : str or os.PathLike
    tensors : dict of name -> array
        Rank 0 to 2, no empty dimension, real numbers or bool.
    metadata : dict of str -> str, optional
        A checksum of names, shapes, values and metadata is added under "crc32".

    Raises
    ------
    OSError
        The file cannot be written; the message names `path`, nothing is left behind.
    ValueError, TypeError
        A tensor or a name that cannot stand in a file; nothing was touched.
    """
    write_atomically(path, parts(tensors, metadata))


def parts(tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> list:
    """Return the buffers that a file consists of, one behind the other; parameters and errors as of `write`."""
    import json

    arrays = {name: _writable_array(name, array) for name, array in tensors.items()}
    if len(arrays) > MAX_TENSORS:
        raise ValueError(f"{len(arrays)} tensors, at most {MAX_TENSORS} can be written")
    metadata = dict(metadata or {})
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str) or key == "crc32":
            raise TypeError(f"metadata {key!r}: expected a text under a text that is not 'crc32'")
    metadata["crc32"] = checksum(arrays, metadata)

    order = sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)  # stable; every tensor aligned to its size
    header: dict[str, dict] = {"__metadata__": metadata}
    position = 0
    for name in order:
        array = arrays[name]
        header[name] = {
            "dtype": CODES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        position += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise ValueError(f"the header takes {len(text)} bytes, at most {MAX_HEADER} can be written")
    return [len(text).to_bytes(8, "little"), text, *(_bytes(arrays[name]) for name in order)]


def _writable_array(name: str, array) -> np.ndarray:
    if not isinstance(name, str):
        raise TypeError(f"tensor name {name!r}: expected a text, got {type(name).__name__}")
    check_name(name)
    array = np.asarray(array)
    little = array.dtype.newbyteorder("<")
    if little not in CODES:
        raise TypeError(f"tensor {name!r}: dtype {array.dtype} cannot be written, expected one of {', '.join(DTYPES)}")
    if array.ndim > MAX_RANK or not all(1 <= n <= MAX_DIM for n in array.shape):
        raise ValueError(f"tensor {name!r}: shape {array.shape}, expected up to {MAX_RANK} of 1..{MAX_DIM}")
    return np.asarray(array, little, order="C")


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def checksum(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    """Return the CRC-32 of the content, 8 hex digits: against accidents, no protection against intent.

    It does not depend on the order or the layout of the file: sorted metadata, then sorted names with types and
    shapes as one JSON text, then the little-endian bytes of the tensors in that order.
    """
    import binascii
    import json

    names = sorted(tensors)
    codes = {name: CODES.get(tensors[name].dtype.newbyteorder("<")) for name in names}  # None: foreign
    table = [[name, codes[name], list(tensors[name].shape)] for name in names]
    crc = binascii.crc32(json.dumps([sorted(metadata.items()), table], separators=(",", ":")).encode())
    for name in names:
        array = tensors[name]
        crc = binascii.crc32(_bytes(array.astype(array.dtype.newbyteorder("<"), copy=False)), crc)
    return f"{crc:08x}"


def write_atomically(path, parts) -> None:
    """Write the buffers `parts` one after the other to `path`, or leave it as it was."""
    path = os.fsdecode(path)
    target = os.path.realpath(path)  # a link stays a link
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:40]}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    created = False
    try:
        if os.path.isdir(target):
            raise IsADirectoryError(21, "Is a directory")
        if os.path.exists(target) and not os.path.isfile(target):
            raise OSError(22, "Not a regular file")
        mode = os.stat(target).st_mode & 0o777 if os.path.exists(target) else 0o666
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        created = True
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        created = False
    except OSError as error:
        raise OSError(error.errno, f"cannot write the file: {error.strerror or error}", path) from error
    finally:
        if created:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    # From here the file is complete under its name; this only makes the name survive a power cut.
    if os.name != "nt":
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
