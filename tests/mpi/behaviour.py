"""behaviour.py FOLDER EXCHANGE: errors, Ctrl-C and checkpoints on two ranks; every rank tells in FOLDER what it saw."""

import json
import os
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import ranks
from mpi4py import MPI

import pynet as pn

comm, folder, exchange = MPI.COMM_WORLD, Path(sys.argv[1]), sys.argv[2]
seen = {}


class CtrlC(pn.Callback):
    def on_slice_end(self, trainer, logs):
        if trainer.step > 30:
            os.kill(os.getpid(), signal.SIGINT)


class Fail(pn.Callback):
    def on_epoch_end(self, trainer, epoch, logs):
        raise OSError("disk full")


def said(**more):
    try:
        ranks.fit(ranks.exchanging(exchange), comm=comm, **more)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


made = ranks.exchanging(exchange)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ranks.fit(made, comm=comm, epochs=100_000, callbacks=[CtrlC()] if comm.rank else [])
seen["ctrl-c"] = [made.history.interrupted, made.step, [str(w.message) for w in caught]]
seen["weights"] = float(made.model.arena.astype(float).sum())
seen["handler"] = signal.getsignal(signal.SIGINT) is signal.default_int_handler
seen["callback"] = said(callbacks=[] if comm.rank else [Fail()])
seen["weight"] = said(sample_weight=np.full(ranks.ROWS, 1.0 + comm.rank))
again = ranks.exchanging(exchange)
ranks.fit(again, comm=comm, callbacks=[pn.ModelCheckpoint(folder / f"{comm.rank}.safetensors")])
(folder / f"{comm.rank}.json").write_text(json.dumps(seen))
