"""mortal.py CHECKPOINT FOLDER EXCHANGE WAY: a long fit that the last rank does not survive; or, resumed, its end.

EXCHANGE: of gradients, "allreduce", "shards" (four of them) or "shared" (memory: a trainer that does not clip).
WAY: "kill" (it kills itself in the third epoch), "raise" (it fails outside of all that ranks agree on), or "resume".
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import ranks
from mpi4py import MPI

import pynet as pn
from pynet import _core

comm = MPI.COMM_WORLD
path, folder, exchange, way = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]


class Die(pn.Callback):
    def on_epoch_begin(self, trainer, epoch):
        if comm.rank == comm.size - 1 and epoch == 2:
            if way == "raise":
                trainer.model.weights.claim = None  # called in every slice
            else:
                os.kill(os.getpid(), signal.SIGKILL)


if way == "resume":
    made = pn.Trainer.resume(path)
    ranks.fit(made, None, batch_size=None, comm=comm, callbacks=[pn.ModelCheckpoint(path)])
    able = hasattr(os, "memfd_create") and comm.size <= _core.available_cpus()
    assert (made._shared is not None) == (exchange == "shared" and able)
    np.savez(folder / f"{comm.rank}.npz", arena=made.model.arena, loss=made.history.history["loss"])
else:
    made = ranks.exchanging(exchange)
    shards = 4 if exchange == "shards" else None
    ranks.fit(made, 5, comm=comm, shards=shards, callbacks=[pn.ModelCheckpoint(path), Die()])
