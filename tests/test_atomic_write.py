"""Writing a file happens wholly or not at all."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from tensors import assert_same, example

from pynet import files


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
    command = [sys.executable, "-B", "-c", program, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [str(errno.EFBIG), "True"]
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="paths of 260 characters")
def test_names_as_long_as_they_may_be(tmp_path):
    for name in ("a" * 255, "é" * 127, "雪" * 85, "😀" * 63):  # 255 bytes at most
        files.write(tmp_path / name, {"a": np.zeros(1)})
        assert os.listdir(tmp_path) == [name]
        (tmp_path / name).unlink()


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
