"""What the tests of training on several ranks share: nets and data, threads that are ranks, and the real mpiexec."""

import functools
import importlib.util
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import pynet as pn

PROGRAMS = Path(__file__).resolve().parent / "mpi"

# ---- what is trained -------------------------------------------------------------------------------------------------

ROWS, BATCH = 203, 20  # the last batch has 3 rows, fewer than 4 ranks


def data():
    """X, y and the weights of the rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, 6)).astype("f4")
    return X, (X[:, 0] > 0).astype(int) + (X[:, 1] > 0), rng.uniform(0.1, 2, ROWS)


def trainer(backend="c", dtype="float32", pruned=False, **more):
    """A trainer whose steps have all that could go wrong in parts: random numbers, penalties, a clip, masks."""
    layers = [
        pn.Input(6), pn.Dense(16, "relu", l2=1e-3, max_norm=2.0), pn.Dropout(0.3), pn.GaussianNoise(0.05),
        pn.LayerNorm(), pn.Dense(8, pn.activations.get("tanh"), l1=1e-4), pn.PReLU(), pn.Dense(3, "softmax"),
    ]  # fmt: skip
    model = pn.Sequential(layers, dtype=dtype, random_state=3)
    if pruned:
        pn.prune.magnitude(model, 0.5)
    options = {"metrics": ["accuracy"], "clip": pn.ClipNorm(1.0), "optimizer": pn.Adam(1e-2)} | more
    return pn.Trainer(model, "cross_entropy", backend=backend, **options)


def exchanging(exchange):
    """A trainer that exchanges gradients with other ranks by an "allreduce", in "shards", or in "shared" memory."""
    return trainer(clip=None) if exchange == "shared" else trainer()


def fit(made, epochs=3, **more):
    """Train it in ragged batches, with weights and a validation split."""
    X, y, weight = data()
    options = {"batch_size": BATCH, "sample_weight": weight, "validation_split": 0.2, "verbose": 0} | more
    return made.fit(X, y, epochs=epochs, **options)


def assert_close(made, other):
    """Weights and history are the same but for the order of additions."""
    tolerance = {"rtol": 0, "atol": 1e-5 if made.model.dtype == np.float32 else 1e-12}
    np.testing.assert_allclose(made.model.arena, other.model.arena, **tolerance)
    assert made.step == other.step
    assert list(made.history.history) == list(other.history.history)
    for name, values in made.history.history.items():
        np.testing.assert_allclose(values, other.history.history[name], **tolerance)


def assert_same_bits(made, other):
    assert np.array_equal(made.model.arena, other.model.arena)
    assert made.history.history == other.history.history


# ---- threads as ranks ------------------------------------------------------------------------------------------------


class Comm:
    """A communicator whose ranks are threads; any of them that waits in vain fails after a while."""

    PATIENCE = 20

    def __init__(self, shared, rank):
        self.shared, self.rank = shared, rank
        self.calls: list[str] = []

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return self.shared["size"]

    def Abort(self, code):
        self.shared["barrier"].abort()
        self.calls.append(f"Abort({code})")

    def allgather(self, thing):
        self.calls.append("allgather")
        return self._exchange(thing)

    def _exchange(self, thing):
        self.shared["slots"][self.rank] = thing
        self.shared["barrier"].wait(self.PATIENCE)
        every = list(self.shared["slots"])
        self.shared["barrier"].wait(self.PATIENCE)
        return every

    def Allreduce(self, sent, buffer):
        assert sent is None
        self.calls.append("Allreduce")
        np.asarray(buffer)[:] = functools.reduce(np.add, self._exchange(np.array(buffer)))

    def Bcast(self, buffer, root):
        buffer[:] = self._exchange(buffer.copy())[root]

    def Send(self, buffer, dest, tag):
        self.shared["mail"][self.rank, dest].put((tag, buffer.copy()))

    def Recv(self, buffer, source, tag):
        came, content = self.shared["mail"][source, self.rank].get(timeout=self.PATIENCE)
        assert came == tag
        buffer[:] = content


def on_ranks(size, work):
    """Run work(comm) on `size` threads; return what each of them returned, or raise what one of them raised."""
    shared = {"size": size, "slots": [None] * size, "barrier": threading.Barrier(size)}
    shared["mail"] = {(a, b): queue.Queue() for a in range(size) for b in range(size)}
    results: list = [None] * size
    errors: list[BaseException] = []

    def run(rank):
        try:
            results[rank] = work(Comm(shared, rank))
        except BaseException as error:
            errors.append(error)
            shared["barrier"].abort()  # nobody waits for it

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


# ---- what ends a fit on both of two ranks ----------------------------------------------------------------------------


def lose_the_loss(backend, **options):
    """Two trainers whose fit ended because a loss was not finite: in the fifth batch, in the rows of the second."""
    X, y, _ = data()
    X = X.copy()
    X[13] = 1e30
    order = [i for i in range(100) if i != 13] + [13]

    def make(backend):
        return pn.Trainer(pn.Sequential([pn.Input(6), pn.Dense(4), pn.Dense(1)]), "mse", backend=backend)

    def train(comm):
        made = make(backend)
        with pytest.raises(FloatingPointError, match=r"batch 4 \(step 4\)"):
            made.fit(X[order], y[order], batch_size=BATCH, shuffle=False, verbose=0, comm=comm, **options)
        assert not any("Abort" in call for call in comm.calls)
        return made

    made, other = on_ranks(2, train)
    assert_same_bits(made, other)
    again = make("c")
    again.fit(X[order][:80], y[order][:80], batch_size=BATCH, shuffle=False, verbose=0, epochs=1)
    np.testing.assert_allclose(made.model.arena, again.model.arena, atol=1e-6)
    return made, other


def fail_in_a_layer(backend):
    """Two trainers whose fit ended because a Python layer raised on the second rank."""
    here = threading.local()

    def forward(x):
        here.n = getattr(here, "n", 0) + 1
        if here.n == 3 and here.rank == 1:
            raise ZeroDivisionError("of mine")
        return x

    def train(comm):
        here.rank = comm.rank
        layer = pn.PythonLayer(forward, lambda x, y, dy: dy, 6)
        made = pn.Trainer(pn.Sequential([pn.Input(6), pn.Dense(6), layer, pn.Dense(3)]), "mse", backend=backend)
        X, _, _ = data()
        with pytest.raises((ZeroDivisionError, RuntimeError)) as caught:
            made.fit(X, X[:, :3], batch_size=BATCH, verbose=0, comm=comm)
        assert not any("Abort" in call for call in comm.calls)
        return type(caught.value), made

    (first, made), (second, other) = on_ranks(2, train)
    assert (first, second) == (RuntimeError, ZeroDivisionError)
    assert np.array_equal(made.model.arena, other.model.arena)
    return made, other


# ---- processes as ranks ----------------------------------------------------------------------------------------------

ENVIRONMENT = {
    "PYTHONPATH": str(PROGRAMS.parent),
    "PYTHONWARNINGS": "error",
    # Open MPI refuses more ranks than cores, and root, unless told otherwise (4 and 5 have different names for it)
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


@functools.cache
def launcher() -> str:
    """The mpiexec that belongs to mpi4py's library: that of this environment before any of the system; "": none."""
    if importlib.util.find_spec("mpi4py") is None:
        return ""
    # print would write in two pieces, and lines of two ranks could mix
    script = "import sys; from mpi4py import MPI; sys.stdout.write(f'of {MPI.COMM_WORLD.Get_size()};')"
    for path in (Path(sys.executable).parent / "mpiexec", shutil.which("mpiexec")):
        if path and Path(path).exists():
            code, out, err = _run([str(path), "-n", "2", sys.executable, "-c", script], 60)
            if out.count("of 2;") == 2:
                return str(path)
            assert out.count("of 1;") == 2, f"{path} ends with {code}: {out}{err}"  # of another MPI than mpi4py's
    return ""


def _run(command, seconds):
    """Run a command, which is ended if it takes too long, and its processes with it; a hang is a failure."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | ENVIRONMENT,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return None, out, err
    return process.returncode, out, err


def mpiexec(ranks, program, *arguments, seconds=90):
    """Run one of the programs in tests/mpi; return (exit code, out, err), code None if it had to be ended."""
    if not launcher():
        pytest.skip('no mpiexec that goes with mpi4py; on Linux both come with pip install ".[test]"')
    command = [launcher(), "-n", str(ranks), sys.executable, "-m", "mpi4py", str(PROGRAMS / program), *arguments]
    return _run(command, seconds)
