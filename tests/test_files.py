"""The safetensors container: exact round trips, hostile files, and writes that happen wholly or not at all."""

import errno
import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import pynet as pn
from pynet import _safetensors, files

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
        ({}, {"a": "x" * (1 << 20)}, ValueError, "header takes"),
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
    "length over the cap": (raw(b"{}" + b" " * (1 << 20)), "expected at most 1048576"),
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
    """The helpers above make a valid file where nothing is wrong."""
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


# ---- all or nothing ----------------------------------------------------------------------------


def no_space(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


class FullDisk:
    """A file on a disk that fills up after some bytes."""

    room = 100

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, part):
        part = memoryview(part).cast("B")
        if self.room < len(part):
            self.file.write(part[: self.room])
            no_space()
        self.room -= len(part)
        return self.file.write(part)


def break_fsync(patch):
    patch.setattr(os, "fsync", no_space)


def break_replace(patch):
    patch.setattr(os, "replace", no_space)


def break_open(patch):
    patch.setattr(os, "open", no_space)


def break_write(patch):
    fdopen = os.fdopen
    patch.setattr(os, "fdopen", lambda handle, mode: FullDisk(fdopen(handle, mode)))


@pytest.mark.parametrize("breaks", [break_fsync, break_replace, break_open, break_write])
@pytest.mark.parametrize("existing", [True, False])
def test_a_failing_write_changes_nothing(tmp_path, monkeypatch, breaks, existing):
    path = tmp_path / "a.safetensors"
    if existing:
        files.write(path, {"old": np.arange(3.0)})
    before = path.read_bytes() if existing else None
    with monkeypatch.context() as patch:
        breaks(patch)
        with pytest.raises(OSError, match=r"No space left on device.*a\.safetensors") as caught:
            files.write(path, example())
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == (["a.safetensors"] if existing else [])
    if existing:
        assert path.read_bytes() == before
    files.write(path, example())  # and the next one succeeds
    assert_same(files.read(path)[0], example())


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_an_interrupt_changes_nothing(tmp_path, monkeypatch, function):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, function, interrupt)
        with pytest.raises(KeyboardInterrupt):
            files.write(path, example())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")
def test_a_real_limit_of_the_system(tmp_path):
    program = (
        "import resource, sys, numpy as np\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))\n"
        "from pynet import _safetensors\n"
        "try: _safetensors.write(sys.argv[1], {'a': np.zeros(100000)})\n"
        "except OSError as error: print(error.errno, error.filename == sys.argv[1])\n"
    )
    path = tmp_path / "a"
    path.write_bytes(b"old")
    result = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert result.stdout.split() == [str(errno.EFBIG), "True"]
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_paths_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path, error in [
        (tmp_path / "missing" / "a", FileNotFoundError),
        (tmp_path / "file" / "a", NotADirectoryError),
        (tmp_path / "folder", IsADirectoryError),
    ]:
        with pytest.raises(error) as caught:
            files.write(path, {})
        assert str(path) in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert os.listdir(tmp_path / "folder") == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX links and modes")
def test_links_and_modes_stay(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"")
    target.chmod(0o600)
    link.symlink_to(target)
    files.write(link, {"a": np.zeros(1)})
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert files.read(target)[0].keys() == {"a"}


def test_the_directory_is_synced_but_not_required_to(tmp_path, monkeypatch):
    calls = []
    fsync = os.fsync

    def second_fails(handle):
        calls.append(handle)
        if len(calls) == 2:
            no_space()
        fsync(handle)

    monkeypatch.setattr(os, "fsync", second_fails)
    files.write(tmp_path / "a", {"a": np.zeros(1)})
    assert len(calls) == (1 if sys.platform == "win32" else 2)
    assert files.read(tmp_path / "a")[0].keys() == {"a"}


# ---- JSON --------------------------------------------------------------------------------------


def test_parse_json_keeps_numbers_exactly():
    values = {"seed": 2**64 - 1, "x": 0.1, "tiny": 5e-324, "list": [1, [2, {"a": None}]], "flag": True}
    assert _safetensors.parse_json(json.dumps(values), "text") == values
    with pytest.raises(ValueError, match="the text is not valid: it is a list"):
        _safetensors.parse_json("[]", "text")


# ---- models ------------------------------------------------------------------------------------


def network(dtype="float32", random_state=0):
    x = pn.Input(5, name="x", shift=np.arange(5.0), scale=0.5)
    h = pn.Dense(7, activation=pn.activations.LeakyReLU(0.2), l2=0.1)(x)
    h = pn.Add()([h, pn.Dense(7, activation="tanh", use_bias=False)(h)])
    main, aux = pn.Dense(3, activation="softmax", name="main")(h), pn.Dense(1, name="aux")(pn.Concat()([h, x]))
    return pn.Model(inputs=x, outputs=[main, aux], dtype=dtype, random_state=random_state)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_comes_back_bit_for_bit(tmp_path, dtype):
    model, path = network(dtype), tmp_path / "m.safetensors"
    model.metadata = {"classes": ["a", "ä"], "seed": 2**64 - 1, "nested": {"x": [1.5, None, True]}}
    model.save(path)
    again = pn.load(path)
    assert_same(again.state_dict(), model.state_dict())
    assert again.config() == model.config()
    assert again.metadata == model.metadata
    X = np.random.default_rng(0).normal(size=(9, 5))
    for left, right in zip(model.predict(X), again.predict(X), strict=True):
        assert left.tobytes() == right.tobytes()
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_weights_are_plain_matrices_for_other_programs(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    model = network()
    model.save(tmp_path / "m")
    assert_same(package.load_file(tmp_path / "m"), model.parameters())
    assert package.load_file(tmp_path / "m")["main.kernel"].shape == (7, 3)


def test_checkpoints_hold_more_and_are_models_too(tmp_path):
    model, path = network(), tmp_path / "c"
    state = {"epoch": 3, "rate": 0.1, "name": "x", "list": [1, 2]}
    tensors = {"optimizer.0.main.kernel": np.full((7, 3), np.inf), "callback.0.best": np.arange(4.0)}
    files.save_checkpoint(path, model, state, tensors)
    again, found, extra = files.load_checkpoint(path)
    assert found == state
    assert_same(extra, tensors)
    assert_same(again.state_dict(), model.state_dict())
    assert_same(pn.load(path).state_dict(), model.state_dict())
    model.save(path)
    with pytest.raises(ValueError, match="holds a model only, expected a checkpoint"):
        files.load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda model: model.arena.__setitem__(slice(None), np.nan), ValueError, "has NaN or infinite values"),
        (lambda model: setattr(model, "metadata", {"a": {1, 2}}), TypeError, "cannot be written as JSON"),
        (lambda model: setattr(model, "metadata", {"a": float("nan")}), ValueError, "cannot be written as JSON"),
        (lambda model: setattr(model, "metadata", {"a": 10**30}), ValueError, "too large"),
        (lambda model: setattr(model, "metadata", {"a": "x" * (1 << 20)}), ValueError, "header takes"),
    ],
)
def test_models_that_cannot_be_saved(tmp_path, change, error, text):
    model, path = network(), tmp_path / "m"
    path.write_bytes(b"old")
    change(model)
    with pytest.raises(error, match=text):
        model.save(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["m"]


def test_extra_tensors_must_not_hide_parameters(tmp_path):
    with pytest.raises(ValueError, match="has the name of a parameter"):
        files.save_model(network(), tmp_path / "m", {"main.bias": np.zeros(3)})


def change_document(path, edit, tensors=None) -> None:
    """Rewrite a model file with another JSON text, its checksum valid."""
    found, metadata = files.read(path)
    document = json.loads(metadata["pynet"])
    document = edit(document) or document
    text = document if isinstance(document, str) else json.dumps(document)
    files.write(path, {**found, **(tensors or {})}, {**metadata, "pynet": text})


def at(*keys, value):
    """An edit that sets one entry."""

    def edit(document):
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda document: "{", "not valid"),
        (lambda document: "[]", "expected an object"),
        (lambda document: "[" * 5000, "not valid"),
        (lambda document: "{}", "format_version None, expected 1"),
        (at("format_version", value=2), "format_version 2, expected 1..1"),
        (at("format_version", value=True), "format_version True"),
        (at("format_version", value="1"), "format_version '1'"),
        (at("kind", value="picture"), "kind 'picture'"),
        (at("kind", value=[]), "kind"),
        (at("metadata", value=[]), "'metadata' is list"),
        (at("model", value=None), "'model' is NoneType"),
        (at("model", value={}), "no entry"),
        (at("model", "format_version", value=9), "format_version 9"),
        (at("model", "dtype", value="float16"), "float16"),
        (at("model", "layers", value={}), "must be a list"),
        (at("model", "layers", 1, "class", value="Dence"), "did you mean 'Dense'"),
        (at("model", "layers", 1, "class", value="__import__"), "unknown class"),
        (at("model", "layers", 1, "params", "units", value=8), "values of one width"),
        (at("model", "layers", 1, "params", "units", value=0), "units"),
        (at("model", "layers", 1, "params", "units", value=-7), "units"),
        (at("model", "layers", 4, "params", "units", value=1 << 24), "'main.kernel' has shape"),
        (at("model", "layers", 1, "params", "units", value=1e3), "units"),
        (at("model", "layers", 1, "params", "unit", value=7), "unknown entry 'unit'"),
        (at("model", "layers", 1, "params", "activation", value="os.system"), "unknown activation"),
        (at("model", "layers", 1, "params", "activation", value={"name": "leaky_relu", "alpha": -1}), "alpha"),
        (at("model", "layers", 1, "name", value="../x"), "name"),
        (at("model", "layers", 1, "name", value="main"), "two layers are named 'main'"),
        (at("model", "layers", 1, "name", value="other"), "other.kernel"),
        (at("model", "calls", 1, "inputs", value=[5]), "inputs of calls"),
        (at("model", "calls", 1, "inputs", value=[-1]), "inputs of calls"),
        (at("model", "calls", 1, "layer", value=99), "layer of calls"),
        (at("model", "outputs", value=[]), "outputs"),
        (at("model", "inputs", value=[1]), "inputs"),
    ],
)
def test_hostile_descriptions(tmp_path, edit, text):
    path = tmp_path / "m"
    network().save(path)
    change_document(path, edit)
    with pytest.raises(ValueError, match=text) as caught:
        pn.load(path)
    assert str(caught.value).startswith(str(path))


def test_unknown_additions_are_left_alone(tmp_path):
    path = tmp_path / "m"
    network().save(path)
    change_document(path, at("future", value={"x": 1}))
    assert_same(pn.load(path).state_dict(), network().state_dict())


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({"main.bias": np.zeros(4, np.float32)}, r"'main.bias' has shape \(3,\), got \(4,\)"),
        ({"main.bias": np.zeros((1, 3), np.float32)}, "'main.bias' has shape"),
        ({"main.bias": np.full(3, np.nan, np.float32)}, "'main.bias' must be finite"),
        ({"main.bias": np.full(3, 1e300)}, "'main.bias' must be finite"),
        ({"main.bias": np.zeros(3, bool)}, "'main.bias' must be real numbers"),
        ({"more": np.zeros(3)}, "'more' is no parameter"),
    ],
)
def test_hostile_tensors(tmp_path, tensors, text):
    path = tmp_path / "m"
    network().save(path)
    change_document(path, lambda document: None, tensors)
    with pytest.raises(ValueError, match=text):
        pn.load(path)


def test_files_of_other_programs_are_not_models(tmp_path):
    files.write(tmp_path / "m", {"a": np.zeros(3)}, {"format": "pt"})
    with pytest.raises(ValueError, match="not of pynet"):
        pn.load(tmp_path / "m")


def test_a_description_alone_allocates_nothing(tmp_path):
    """A file of a few hundred bytes cannot claim gigabytes."""
    path = tmp_path / "m"
    pn.Sequential([pn.Input(3), pn.Dense(2)]).save(path)

    def widen(document):
        for layer in document["model"]["layers"]:
            key = "shape" if layer["class"] == "Input" else "units"
            layer["params"][key] = [30_000] if key == "shape" else 60_000

    change_document(path, widen)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="has shape"):
            pn.load(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
