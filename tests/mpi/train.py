"""train.py FOLDER: fits on the ranks of MPI.COMM_WORLD; every rank leaves its weights and history in FOLDER."""

import sys
from pathlib import Path

import numpy as np
import ranks
from mpi4py import MPI

comm, folder = MPI.COMM_WORLD, Path(sys.argv[1])
for name, options, more in (("plain", {}, {}), ("shards", {}, {"shards": 4}), ("numpy", {"backend": "numpy"}, {}),
                            ("float64", {"dtype": "float64"}, {}), ("shared", {"clip": None}, {})):  # fmt: skip
    made = ranks.trainer(**options)
    ranks.fit(made, comm=comm, **more)
    history = {f"history {key}": np.array(values) for key, values in made.history.history.items()}
    np.savez(folder / f"{name}-{comm.size}-{comm.rank}.npz", arena=made.model.arena, step=made.step, **history)
