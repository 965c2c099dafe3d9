"""The safetensors container: exact round trips, and files that are damaged or hostile."""

import json
import os

import numpy as np
import pytest
from tensors import assert_same, example

from pynet import _safetensors, files


def raw(header, data=b"", length=None) -> bytes:
    """A file with any header: a text, bytes, or something for json.dumps."""
    text = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


# ---- round trips -------------------------------------------------------------------------------


def test_round_trip(tmp_path):
    path = tmp_path / "a.safetensors"
    metadata = {"format": "pynet", "text": 'ä "quoted" \\ \n \u20ac \U0001f600', "": ""}
    files.write(path, example(), metadata)
    tensors, found = files.read(path)
    assert_same(tensors, example())
    assert found == metadata
    assert all(array.flags.writeable for array in tensors.values())
    start = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert start % 64 == 0
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_written_files_are_read_by_the_safetensors_package(tmp_path):
    other = pytest.importorskip("safetensors")
    package = pytest.importorskip("safetensors.numpy")
    path = str(tmp_path / "a.safetensors")
    files.write(path, example(), {"format": "pynet", "pynet": "{}"})
    assert_same(package.load_file(path), example())
    with other.safe_open(path, "numpy") as file:
        assert file.metadata()["pynet"] == "{}"


def test_files_of_the_safetensors_package_are_read(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    path = str(tmp_path / "a.safetensors")
    tensors = {name: np.asarray(array) for name, array in example().items()}
    package.save_file(tensors, path, {"note": "by another program"})
    found, metadata = files.read(path)
    assert_same(found, tensors)
    assert metadata == {"note": "by another program"}


def test_rewriting_with_another_program_keeps_the_checksum_valid(tmp_path):
    other, package = pytest.importorskip("safetensors"), pytest.importorskip("safetensors.numpy")
    path = str(tmp_path / "a.safetensors")
    files.write(path, example(), {"b": "2", "a": "1"})
    with other.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    tensors = package.load_file(path)
    package.save_file(dict(reversed(tensors.items())), path, metadata)
    assert_same(files.read(path)[0], example())

    tensors["bias"] = tensors["bias"] + 1.0
    package.save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match="crc32"):
        files.read(path)
    del metadata["crc32"]
    package.save_file(tensors, path, metadata)
    assert files.read(path)[0]["bias"][0] == 1.0


def test_layouts_of_memory_do_not_matter(tmp_path):
    path = tmp_path / "a.safetensors"
    base = np.arange(24.0).reshape(4, 6)
    tensors = {"fortran": np.asfortranarray(base), "strided": base[::-2, ::3], "big": base.astype(">f8")}
    files.write(path, tensors)
    found, _ = files.read(path)
    for name in tensors:
        assert np.array_equal(found[name], tensors[name])
        assert found[name].dtype == np.float64


def test_no_tensors_at_all(tmp_path):
    files.write(tmp_path / "a", {})
    assert files.read(tmp_path / "a") == ({}, {})


# ---- refused on the way out --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensors", "metadata", "error", "text"),
    [
        ({"a": np.zeros((2, 2, 2))}, None, ValueError, r"'a': shape \(2, 2, 2\)"),
        ({"a": np.zeros((2, 0))}, None, ValueError, r"'a': shape \(2, 0\)"),
        ({"a": np.zeros(2, complex)}, None, TypeError, "'a': dtype complex128"),
        ({"a": np.array(["x"])}, None, TypeError, "'a': dtype <U1"),
        ({"a": np.array([None])}, None, TypeError, "'a': dtype object"),
        ({"a b": np.zeros(2)}, None, ValueError, "tensor name 'a b'"),
        ({"": np.zeros(2)}, None, ValueError, "tensor name ''"),
        ({"a" * 257: np.zeros(2)}, None, ValueError, "tensor name"),
        ({"../a": np.zeros(2)}, None, ValueError, "tensor name"),
        ({"ä": np.zeros(2)}, None, ValueError, "tensor name"),
        ({3: np.zeros(2)}, None, TypeError, "tensor name 3"),
        ({f"t{k}": np.zeros(1) for k in range(4097)}, None, ValueError, "4097 tensors"),
        ({}, {"a": 3}, TypeError, "metadata 'a'"),
        ({}, {"crc32": "0"}, TypeError, "crc32"),
        ({}, {"a": "x" * (1 << 22)}, ValueError, "header takes"),
        ({}, {"a": "\ud800"}, ValueError, "surrogates"),
    ],
)
def test_refused_by_write(tmp_path, tensors, metadata, error, text):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(error, match=text):
        files.write(path, tensors, metadata)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


# ---- damaged files -----------------------------------------------------------------------------


def small(path) -> bytes:
    files.write(
        path, {"dense_1.kernel": np.arange(6.0).reshape(2, 3), "dense_1.bias": np.ones(3, np.float32)}, {"k": "v"}
    )
    return path.read_bytes()


def test_every_truncation_is_an_error(tmp_path):
    path = tmp_path / "a"
    content = small(path)
    for n in range(len(content)):
        path.write_bytes(content[:n])
        with pytest.raises(ValueError, match=r"a: "):
            files.read(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="expected"):
        files.read(path)


def read_or_error(path):
    """The content, or the error, which must be a ValueError that names the file."""
    try:
        return files.read(path)
    except ValueError as error:
        return error


def assert_noticed_or_harmless(result, path, expected) -> bool:
    """Only the name of the checksum's own entry may change without being noticed: the content is then the same."""
    if isinstance(result, ValueError):
        assert str(result).startswith(str(path))
        return True
    assert_same(result[0], expected[0])
    assert {**result[1], **expected[1]} == result[1]
    return False


def test_every_flipped_bit_is_an_error_or_harmless(tmp_path):
    path = tmp_path / "a"
    content = small(path)
    expected = files.read(path)
    noticed = 0
    for at in range(len(content)):
        for bit in range(8):
            broken = bytearray(content)
            broken[at] ^= 1 << bit
            path.write_bytes(broken)
            noticed += assert_noticed_or_harmless(read_or_error(path), path, expected)
    assert noticed >= 8 * (len(content) - len("crc32"))


def test_random_bytes(tmp_path):
    path = tmp_path / "a"
    content = small(path)
    expected = files.read(path)
    rng = np.random.default_rng(1)
    for _ in range(2000):
        broken = bytearray(content)
        for at in rng.integers(0, len(content), rng.integers(1, 20)):
            broken[at] = rng.integers(256)
        if b'"crc32"' not in broken:
            continue
        path.write_bytes(broken)
        assert_noticed_or_harmless(read_or_error(path), path, expected)


# ---- hostile headers ---------------------------------------------------------------------------

F32 = b"\0" * 8

HOSTILE = {
    "length huge": (raw({}, length=(1 << 63) - 1), "claims"),
    "length all ones": (raw({}, length=(1 << 64) - 1), "claims"),
    "length over the cap": (raw(b"{}" + b" " * (1 << 22)), "expected at most 4194304"),
    "length past the end": (raw({}, length=3), "claims 3"),
    "length zero": (raw(b"", length=0), "starts with"),
    "not an object": (raw([]), "starts with"),
    "leading space": (raw(b" {}"), "starts with"),
    "text after the header": (raw(b"{}x"), "not valid"),
    "cut JSON": (raw(b'{"a":'), "not valid"),
    "not UTF-8": (raw(b'{"\xff": 1}'), "not valid"),
    "lone surrogate": (raw(b'{"__metadata__": {"a": "\\ud800"}}'), "not valid"),
    "NUL": (raw(b"{}\0"), "not valid"),
    "deep lists": (raw(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "deep"),
    "deep objects": (raw(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "deep"),
    "rather deep": (raw(b'{"a":' * 17 + b"1" + b"}" * 17), "nested more than 16"),
    "duplicate tensor": (
        raw(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2), F32),
        "a key occurs twice",
    ),
    "duplicate inner key": (raw(b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', F32), "twice"),
    "duplicate metadata": (raw(b'{"__metadata__":{"a":"1","a":"2"}}'), "twice"),
    "metadata not texts": (raw({"__metadata__": {"a": 1}}), "object of texts"),
    "metadata a list": (raw({"__metadata__": []}), "object of texts"),
    "metadata null": (raw({"__metadata__": None}), "object of texts"),
    "entry a list": (raw({"a": []}), "'a': expected an object"),
    "entry null": (raw({"a": None}), "'a': expected an object"),
    "entry lacks shape": (raw({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, F32), "'a': expected an object"),
    "entry with more": (raw({"a": {**entry(), "x": 1}}, F32), "'a': expected an object"),
    "dtype unknown": (raw({"a": entry("F31")}, F32), "dtype 'F31'"),
    "dtype BF16": (raw({"a": entry("BF16", (4,))}, F32), "dtype 'BF16'"),
    "dtype a number": (raw({"a": entry(32)}, F32), "dtype '32'"),
    "dtype a list": (raw({"a": entry(["F32"])}, F32), "dtype"),
    "dtype too wide": (raw({"a": entry("F64")}, F32), "expected 16"),
    "rank 3": (raw({"a": entry(shape=(1, 1, 2))}, F32), "shape"),
    "dimension zero": (raw({"a": entry(shape=(0,), end=0)}), "shape"),
    "dimension negative": (raw({"a": entry(shape=(-2,))}, F32), "shape"),
    "two negative dimensions": (raw({"a": entry(shape=(-1, -2))}, F32), "shape"),
    "dimension float": (raw({"a": entry(shape=(2.0,))}, F32), "shape"),
    "dimension true": (raw({"a": entry(shape=(True, 2))}, F32), "shape"),
    "dimension text": (raw({"a": entry(shape=("2",))}, F32), "shape"),
    "dimension huge": (raw({"a": entry(shape=(1 << 25, 2))}, F32), "shape"),
    "product wraps 64 bits": (raw({"a": entry(shape=(1 << 24, 1 << 24), end=1 << 50)}, F32), "data_offsets"),
    "dimension of 60 digits": (
        raw(b'{"a":{"dtype":"F32","shape":[%b],"data_offsets":[0,8]}}' % (b"9" * 60), F32),
        "large",
    ),
    "number of 100000 digits": (raw(b'{"a":%b}' % (b"9" * 100_000)), "large"),
    "1e999": (raw(b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}', F32), "not finite"),
    "NaN": (raw(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', F32), "NaN is not"),
    "-Infinity": (raw(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[-Infinity,8]}}', F32), "Infinity is not"),
    "shape an object": (raw({"a": {**entry(), "shape": {"0": 2}}}, F32), "shape"),
    "shape null": (raw({"a": {**entry(), "shape": None}}, F32), "shape"),
    "offsets reversed": (raw({"a": entry(begin=8, end=0)}, F32), "expected 8"),
    "offsets negative": (raw({"a": entry(begin=-8, end=0)}, F32), "data_offsets"),
    "offsets past the end": (raw({"a": entry(begin=8, end=16)}, F32), "data_offsets"),
    "offsets of 2^63": (raw({"a": entry(begin=1 << 63, end=(1 << 63) + 8)}, F32), "data_offsets"),
    "offsets float": (raw({"a": entry(begin=0.0, end=8.0)}, F32), "data_offsets"),
    "three offsets": (raw({"a": {**entry(), "data_offsets": [0, 8, 8]}}, F32), "data_offsets"),
    "offsets null": (raw({"a": {**entry(), "data_offsets": None}}, F32), "data_offsets"),
    "overlap": (raw({"a": entry(), "b": entry(begin=4, end=12)}, F32 + b"\0" * 4), "no overlaps"),
    "the same bytes twice": (raw({"a": entry(), "b": entry()}, F32), "no overlaps"),
    "hole before": (raw({"a": entry(begin=4, end=12)}, F32 + b"\0" * 4), "no holes"),
    "hole between": (raw({"a": entry(), "b": entry(begin=12, end=20)}, b"\0" * 20), "no holes"),
    "bytes left over": (raw({"a": entry()}, F32 + b"PK\3\4"), "12 bytes of tensors"),
    "no tensors but bytes": (raw({}, F32), "8 bytes of tensors"),
    "name with a slash": (raw({"../../etc/passwd": entry()}, F32), "tensor name"),
    "name empty": (raw({"": entry()}, F32), "tensor name"),
    "name too long": (raw({"a" * 300: entry()}, F32), "tensor name"),
    "name with NUL": (raw({"a\0b": entry()}, F32), "tensor name"),
    "too many tensors": (
        raw({f"t{k}": entry(begin=8 * k, end=8 * k + 8) for k in range(4097)}, F32 * 4097),
        "4097 tensors",
    ),
    "bool is 2": (raw({"a": entry("BOOL", (2,), 0, 2)}, b"\1\2"), "neither 0 nor 1"),
    "value NaN": (raw({"a": entry()}, np.array([1, np.nan], np.float32).tobytes()), "'a' has 1 NaN or infinite"),
    "value infinite": (raw({"a": entry("F16", (4,))}, np.full(4, np.inf, np.float16).tobytes()), "has 4 NaN or inf"),
    "wrong checksum": (raw({"__metadata__": {"crc32": "00000000"}, "a": entry()}, F32), "crc32"),
    "empty file": (b"", "0 bytes"),
    "seven bytes": (b"\0" * 7, "7 bytes"),
    "a pickle": (b"\x80\x04\x95" + b"x" * 50, "not a safetensors file"),
    "a zip": (b"PK\3\4" + b"x" * 50, "not a safetensors file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(tmp_path, name):
    content, text = HOSTILE[name]
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=text) as caught:
        files.read(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 1000


def test_the_table_of_hostile_files_is_hostile_for_one_reason_only(tmp_path):
    """The functions above make a valid file where nothing is wrong."""
    path = tmp_path / "a"
    path.write_bytes(raw({"a": entry(), "b": entry(begin=8, end=16)}, F32 * 2))
    assert files.read(path)[0].keys() == {"a", "b"}


def test_values_may_be_left_unchecked(tmp_path):
    path = tmp_path / "a"
    files.write(path, {"a": np.array([np.nan, np.inf])})
    with pytest.raises(ValueError, match="2 NaN or infinite"):
        files.read(path)
    assert np.isnan(files.read(path, check_finite=False)[0]["a"][0])


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        files.read(tmp_path / "nowhere")
    with pytest.raises(OSError, match=str(tmp_path)):
        files.read(tmp_path)
    with pytest.raises(TypeError):
        files.read(3.0)


# ---- JSON --------------------------------------------------------------------------------------


def test_parse_json_keeps_numbers_exactly():
    values = {"seed": 2**64 - 1, "x": 0.1, "tiny": 5e-324, "list": [1, [2, {"a": None}]], "flag": True}
    assert _safetensors.parse_json(json.dumps(values), "text") == values
    with pytest.raises(ValueError, match="the text is not valid: it is a list"):
        _safetensors.parse_json("[]", "text")
