"""mortal.py CHECKPOINT FOLDER SHARDS WAY: a long fit that the last rank does not survive; or, resumed, its end.

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

comm = MPI.COMM_WORLD
path, folder, shards, way = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) or None, sys.argv[4]


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
    np.savez(folder / f"{comm.rank}.npz", arena=made.model.arena, loss=made.history.history["loss"])
else:
    ranks.fit(ranks.trainer(), 5, comm=comm, shards=shards, callbacks=[pn.ModelCheckpoint(path), Die()])
