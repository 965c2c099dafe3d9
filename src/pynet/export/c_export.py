"""`to_c`: a network as one C file and its header."""

from __future__ import annotations

import contextlib
import os

from .. import _check
from .._safetensors import write_atomically
from ..layer_base import flag
from ..model import Model
from ..quantized_model import QuantizedModel
from ..tables.model import TableModel
from . import c_int8, c_source
from .c_fragments import renamed
from .c_table import test_rows
from .c_text import check_prefix
from .c_vectors import Vectors, check_rows

__all__ = ["to_c"]

SCRATCH = ("caller", "static")
OF_FLOATS = {"scratch": "caller", "math": True, "wide": True, "stream": False, "tests": 4, "samples": None}


def to_c(
    model,
    path,
    *,
    prefix: str | None = None,
    scratch: str = "caller",
    math: bool = True,
    wide: bool = True,
    stream: bool = False,
    tests: int = 4,
    samples=None,
) -> None:
    """Write a model as one C99 file and its header, for any C or C++ compiler.

    The file holds the frozen network, its scaling and the names of its classes as constants, and functions that need
    no memory but what they are given.  Compiled on a machine with IEEE arithmetic it agrees with `model.predict` as
    far as the tolerance goes that stands in the header; `net_selftest` tells whether it does.  Of an integer network
    (docs/integers.md) it agrees to the bit, on any machine.

    Parameters
    ----------
    model : Model, TableModel or QuantizedModel
        float32, or float64 (then all numbers are double); or integers, for which `path` and `prefix` are all there is
        to say: another value than the default of what follows is an error.
        Of a TableModel there are also a struct net_row of raw values and net_predict_row, which takes it.
    path : str or os.PathLike
        The C file, named .c; the header stands beside it, named .h.  Both are replaced if they exist.
    prefix : str, optional
        What all names begin with, in capitals those of macros: letters, digits and single underscores.  Default: the
        name of the file without .c.
    scratch : "caller" or "static"
        Where the working memory is.  "caller": the last argument of net_predict, NET_SCRATCH numbers; the function has
        no state.  "static": an array in the file; one call at a time.
    math : bool
        Whether math.h may be used.  False: the file has functions of its own and needs no library at all; their errors
        are some units in the last place (docs/c-export.md).
    wide : bool
        Whether layers of 32 outputs and more are laid out for compilers that make vectors of loops.  False: for small
        processors without vectors.
    stream : bool
        Of a network with LSTM layers.  True: instead of net_predict there is net_step, which takes one step of each
        sequence and gives what the network makes of the sequence so far; the states stand in an array of the caller's,
        NET_STATE numbers, zeros at the beginning of a sequence.  In front of the last LSTM all layers must work step by
        step.
    tests : int
        Rows that net_selftest computes, besides zeros and large numbers, 0 to 1000; 0: no self-test.  Default 4.
    samples : array-like as of `predict`, optional
        Rows of data to take them from; of a TableModel a table.  Default: random rows of mean 0 and deviation 1, behind
        the scaling of the inputs; of a table rows of values that it knows, none, and unknown ones.

    Raises
    ------
    TypeError, ValueError
        `model` is no network, a layer is written in Python, or needs a whole sequence where there is a stream; a
        parameter is not finite, a class is no text or number, no row can be a test row, or an argument is impossible;
        nothing was written.
    OSError
        A file cannot be written; both are as they were.

    Examples
    --------
    >>> pn.export.to_c(model, "net.c")  # and: cc -std=c99 -O2 main.c net.c -lm
    """
    path = os.fsdecode(path)
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    if suffix != ".c":
        raise ValueError(f"path must end in .c, got {path!r}")
    if not isinstance(model, (Model, TableModel, QuantizedModel)):
        raise TypeError(f"model must be a Model, a TableModel or a QuantizedModel, got {type(model).__name__}")
    if scratch not in SCRATCH:
        raise _check.unknown("scratch", scratch, SCRATCH)
    tests = _check.integer("tests", tests, 0, 1000)
    math, wide, stream = flag("math", math), flag("wide", wide), flag("stream", stream)
    prefix = check_prefix(stem if prefix is None else prefix)
    if isinstance(model, QuantizedModel):
        given = {"scratch": scratch, "math": math, "wide": wide, "stream": stream, "tests": tests, "samples": samples}
        for name, default in OF_FLOATS.items():
            if given[name] is not None and (default is None or given[name] != default):
                raise ValueError(f"{name} has no meaning for an integer network, leave it out")
        integers = c_int8.Writer(model, stem)
        header, source = (renamed(text, prefix) for text in (integers.header(), integers.source()))
    else:
        encoder = None
        if isinstance(model, TableModel):
            encoder, table, model = model.encoder, model, model.network
            if stream:
                raise ValueError("stream has no meaning for a table, whose rows are no sequences")
            samples = table.encode(test_rows(encoder, tests) if samples is None else samples)
        rows = None if samples is None else check_rows(model, samples)
        floats = c_source.Writer(model, stem, scratch == "static", math, wide, stream, encoder, tests)
        vectors = Vectors(model, tests, rows) if tests else None
        header, source = (renamed(text, prefix) for text in (floats.header(vectors), floats.source(vectors)))
        if floats.table:
            header, source = floats.table.named(header), floats.table.named(source)
    _write_both(os.path.join(folder, f"{stem}.h"), header.encode("ascii"), path, source.encode("ascii"))


def _write_both(header: str, head: bytes, source: str, body: bytes) -> None:
    """Write both files, or leave both as they were."""
    before = None
    with contextlib.suppress(FileNotFoundError, IsADirectoryError), open(header, "rb") as file:
        before = file.read()
    write_atomically(header, [head])
    try:
        write_atomically(source, [body])
    except BaseException:
        if before is None:
            os.unlink(header)
        else:
            write_atomically(header, [before])
        raise
