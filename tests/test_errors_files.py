"""Bad files, bad places and too little room: an error that names the file, and everything stays as it was."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import pynet as pn

X = np.random.default_rng(0).normal(size=(12, 4))
LABELS = np.arange(12) % 3
LOAD, RESUME = pn.load, pn.Trainer.resume


def make():
    layers = [pn.Input(4), pn.Dense(5, "tanh", name="body"), pn.Dense(3, "softmax", name="head")]
    return pn.Trainer(pn.Sequential(layers), "cross_entropy")


def resize(by):
    return lambda path: os.truncate(path, os.path.getsize(path) + by)


def put(offset, data):
    def spoil(path):
        content = bytearray(path.read_bytes())
        offset_ = offset % len(content)
        assert content[offset_ : offset_ + len(data)] != data
        content[offset_ : offset_ + len(data)] = data
        path.write_bytes(content)

    return spoil


def edit(change, tail=b""):
    """Rewrite the header: `change` gets it, and the JSON text of the model in it, as dicts."""

    def spoil(path):
        content = path.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        del header["__metadata__"]["crc32"]  # the checksum is against accidents
        document = json.loads(header["__metadata__"]["pynet"])
        change(header, document)
        header["__metadata__"]["pynet"] = json.dumps(document)
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:] + tail)

    return spoil


def entry(name, **values):
    return edit(lambda header, document: header[name].update(values))


def layer(number, **values):
    return edit(lambda header, document: document["model"]["layers"][number]["params"].update(values))


def huge_model(header, document):
    for row in document["model"]["layers"][1:]:
        row["params"]["units"] = 1 << 24


# label, what is done to a good checkpoint, who reads it, error, message
FILES = [
    ("empty", lambda path: path.write_bytes(b""), LOAD, ValueError, r"not a safetensors file: 0 bytes"),
    ("pickle", lambda path: path.write_bytes(b"\x80\x04" + bytes(99)), LOAD, ValueError, r"not a safetensors file"),
    ("cut in the header", lambda path: os.truncate(path, 100), LOAD, ValueError, r"cut short: the header claims \d+"),
    ("cut in the tensors", resize(-4), RESUME, ValueError, r"data_offsets .* expected two of 0..\d+"),
    ("longer", resize(1), LOAD, ValueError, r"\d+ bytes of tensors in the file, expected \d+ from the header"),
    ("a header of 2^63", put(0, b"\xff" * 7 + b"\x7f"), LOAD, ValueError, r"the header claims 9223372036854775807"),
    ("one byte changed", put(-9, b"\x55"), LOAD, ValueError, r"does not match the checksum 'crc32'"),
    ("no UTF-8", put(9, b"\xff\xff"), LOAD, ValueError, r"the header is not valid.*utf-8"),
    ("shape and size differ", entry("head.kernel", shape=[5, 9]), LOAD, ValueError, r"'head.kernel': data_offsets"),
    ("huge shape", entry("head.kernel", shape=[1 << 24] * 2), LOAD, ValueError, r"'head.kernel'.* hold 60 bytes, exp"),
    ("shape over 2^64", entry("head.kernel", shape=[1 << 63, 2]), LOAD, ValueError, r"'head.kernel': shape"),
    ("shape 0", entry("head.kernel", shape=[0, 3]), LOAD, ValueError, r"'head.kernel': shape \[0, 3\]"),
    ("negative shape", entry("head.kernel", shape=[-5, -3]), LOAD, ValueError, r"'head.kernel': shape \[-5, -3\]"),
    ("transposed", entry("head.kernel", shape=[3, 5]), LOAD, ValueError, r"'head.kernel' has shape \(5, 3\), got"),
    ("overlap", entry("head.kernel", data_offsets=[0, 60]), LOAD, ValueError, r"no holes, no overlaps"),
    ("outside", entry("head.kernel", data_offsets=[1 << 40, (1 << 40) + 60]), LOAD, ValueError, r"expected two of 0.."),
    ("dtype", entry("head.kernel", dtype="F8"), LOAD, ValueError, r"'head.kernel': dtype 'F8', expected one of"),
    ("tensor gone", edit(lambda h, d: h.update(a=h.pop("head.kernel"))), LOAD, ValueError, r"missing: 'head.kernel'"),
    ("activation", layer(1, activation={"name": "tahn"}), LOAD, ValueError, r"layers\[1\]: .*did you mean 'tanh'"),
    ("class", edit(lambda h, d: d["model"]["layers"][1].update({"class": "os.exit"})), LOAD, ValueError, r"'os.exit'"),
    ("huge model", edit(huge_model), LOAD, ValueError, r"too large|'body.kernel' has shape"),
    ("a wider layer", layer(1, units=6), LOAD, ValueError, r"'body.kernel' has shape \(4, 6\), got \(4, 5\)"),
    ("a loop", edit(lambda h, d: d["model"]["calls"][1].update(inputs=[1])), LOAD, ValueError, r"calls\[1\]"),
    ("future", edit(lambda h, d: d.update(format_version=9)), LOAD, ValueError, r"format_version 9, expected 1..1"),
    ("deep", edit(lambda h, d: d.update(metadata={"x": eval("[" * 40 + "]" * 40)})), LOAD, ValueError, r"nested"),
    ("only a model", lambda path: make().model.save(path), RESUME, ValueError, r"holds a model only"),
    ("missing", lambda path: path.unlink(), LOAD, FileNotFoundError, r"No such file"),
    ("a directory", lambda path: (path.unlink(), path.mkdir()), LOAD, IsADirectoryError, r"Is a directory"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "use", "error", "text"), [r[1:] for r in FILES], ids=[r[0] for r in FILES])
def test_reading(tmp_path, spoil, use, error, text):
    path = tmp_path / "some.net"
    make().save_checkpoint(path)
    assert use(path)
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error, match=text) as caught:
        use(path)
    assert "some.net" in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def nowhere(folder):
    return folder / "nowhere" / "some.net"


def a_directory(folder):
    (folder / "some.net").mkdir()
    return folder / "some.net"


def under_a_file(folder):
    (folder / "file").write_text("kept")
    return folder / "file" / "some.net"


@pytest.mark.parametrize("place", [nowhere, a_directory, under_a_file])
@pytest.mark.parametrize("call", ["save", "checkpoint", "callback"])
def test_places_that_cannot_be_written(tmp_path, place, call):
    path, trainer = place(tmp_path), make()
    before, weights = sorted(tmp_path.rglob("*")), trainer.model.arena.tobytes()
    saving = [pn.ModelCheckpoint(path)]
    write = {
        "save": lambda: trainer.model.save(path),
        "checkpoint": lambda: trainer.save_checkpoint(path),
        "callback": lambda: trainer.fit(X, LABELS, epochs=1, callbacks=saving, verbose=0),
    }[call]
    with pytest.raises(OSError, match=r"some\.net"):
        write()
    assert sorted(tmp_path.rglob("*")) == before
    assert (trainer.model.arena.tobytes() == weights) == (call != "callback")
    trainer.fit(X, LABELS, epochs=1, verbose=0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_that_is_full():
    # A device is not replaced by a file, whoever runs this.
    with pytest.raises(OSError, match="/dev/"):
        make().model.save("/dev/full/x")
    assert not os.path.isfile("/dev/full")


def limited(script, limit, amount, folder):
    """Run a script in a process with little room (-B: where files are cut short, so would be cached bytecode)."""
    start = f"""
import resource, signal
import numpy as np
import pynet as pn
from pathlib import Path
path = Path({str(folder / "some.net")!r})
layers = [pn.Input(64), pn.Dense(64), pn.Dense(64)]
X = np.random.default_rng(0).normal(size=(400, 64))
trainer = pn.Trainer(pn.Sequential(layers), "mse")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit():
    resource.setrlimit(resource.{limit}, ({amount}, {amount}))
def refused(call, error, *words):
    try:
        call()
    except error as caught:
        assert all(word in str(caught) for word in words), caught
        print("refused", caught)
    else:
        raise AssertionError("not refused")
"""
    command = [sys.executable, "-B", "-c", start + script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.name != "posix", reason="needs resource limits")
def test_a_disk_that_is_full(tmp_path):
    script = """
trainer.fit(X, X, epochs=1, verbose=0)
trainer.model.save(path)
good, weights = path.read_bytes(), trainer.model.arena.copy()
limit()
refused(lambda: trainer.model.save(path), OSError, "some.net", "cannot write")
refused(lambda: trainer.save_checkpoint(path), OSError, "some.net", "cannot write")
assert np.array_equal(trainer.model.arena, weights)
refused(lambda: trainer.fit(X, X, epochs=3, callbacks=[pn.ModelCheckpoint(path)], verbose=0), OSError, "some.net")
assert path.read_bytes() == good and [p.name for p in path.parent.iterdir()] == ["some.net"]
assert trainer.epoch == 2 and np.isfinite(trainer.model.arena).all()
trainer.fit(X, X, epochs=1, verbose=0)
assert np.array_equal(pn.load(path).arena, weights)
"""
    assert limited(script, "RLIMIT_FSIZE", 8192, tmp_path).count("refused") == 3


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_too_little_memory(tmp_path):
    script = """
trainer.fit(X, X, epochs=1, verbose=0)
weights = trainer.model.arena.copy()
wide = pn.Sequential([pn.Input(64), pn.Dense(8_000), pn.Dense(64)])
batch = {"batch_size": 200_000}
many = np.zeros((200_000, 64), np.uint8)
limit()
huge = lambda: pn.Sequential([pn.Input(2**16), pn.Dense(2**14)])
refused(huge, MemoryError)
refused(lambda: wide.predict(many, **batch), MemoryError, "200000 rows needs")
refused(lambda: pn.Trainer(wide, "mse").fit(many, many, **batch, verbose=0), MemoryError, "200000 rows needs")
assert wide.predict(many[:10]).shape == (10, 64)
assert np.array_equal(trainer.model.arena, weights)
trainer.fit(X, X, epochs=1, verbose=0)
"""
    assert limited(script, "RLIMIT_AS", 3 << 30, tmp_path).count("refused") == 3


def test_broadcast_monsters_are_counted_before_they_are_made():
    trainer = make()
    monster = np.broadcast_to(np.float32(1), (1 << 40, 4))
    before = trainer.model.arena.tobytes()
    with pytest.raises((MemoryError, ValueError), match=r"allocate|too big|too large|memory"):
        trainer.model.predict(monster)
    assert trainer.model.arena.tobytes() == before
