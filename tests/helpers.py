"""What the tests of the two machines share: executors, training runs, comparisons, guard bands, differences.

test_helpers.py feeds each of them a wrong answer and sees it fail.
"""

import contextlib
import os
import platform
from collections import namedtuple

import numpy as np

from pynet import _core, reference
from pynet.plan import Job, build, padded, unpack

# ---- executors ---------------------------------------------------------------------------------------------------

Executor = namedtuple("Executor", "isa n_threads")  # isa "numpy": the NumPy machine

ISAS = [name for name, usable in _core.isas().items() if usable]
FMA_ISAS = [name for name in ISAS if name != "scalar"]  # these agree bit for bit
NUMPY = Executor("numpy", 1)
SEED = 0x9E3779B97F4A7C15  # of the random numbers of all machines that are run here
EVERYWHERE = [NUMPY, *(Executor(isa, 1) for isa in ISAS)]

X86_FLAGS = {"avx2": {"avx2", "fma"}, "avx512": {"avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl"}}


def cpu_flags() -> set:
    """The flags of this CPU as Linux states them; empty elsewhere."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    return set()


def expected_isas(architecture: str | None = None, flags: set | None = None) -> set:
    """The instruction sets that must be usable on a CPU."""
    architecture = (platform.machine() if architecture is None else architecture).lower()
    flags = cpu_flags() if flags is None else flags
    if architecture in ("x86_64", "amd64"):
        return {"scalar"} | {isa for isa, needed in X86_FLAGS.items() if needed <= flags}
    return {"scalar", "neon"} if architecture in ("aarch64", "arm64") else {"scalar"}


@contextlib.contextmanager
def forced_isa(isa: str):
    """Machines made inside use this instruction set."""
    before = os.environ.get("PYNET_ISA")
    os.environ["PYNET_ISA"] = isa
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYNET_ISA"]
        else:
            os.environ["PYNET_ISA"] = before


def make_machine(executor: Executor, plan, params, *, rows, grads=None, slots=(), keep=None):
    """A machine of the kind that `executor` names, and a look that it is."""
    make = reference.Machine if executor.isa == "numpy" else _core.Machine
    arenas = {"grads": grads, "slots": slots, "keep": keep}
    machine = make(plan, params, rows=rows, n_threads=executor.n_threads, isa=executor.isa, **arenas)
    assert (machine.isa, machine.n_threads) == executor
    return machine


# ---- arenas ------------------------------------------------------------------------------------------------------

GUARD = 16  # elements: keeps 64-byte alignment in both dtypes


class Guarded:
    """A zeroed aligned vector between two bands of NaN that nobody may touch."""

    def __init__(self, n: int, dtype):
        self._whole = _core.aligned(n + 2 * GUARD, np.dtype(dtype))
        self._whole[:] = np.nan
        self.inner = self._whole[GUARD:-GUARD]
        self.inner[:] = 0

    def check(self) -> None:
        for band in (self._whole[:GUARD], self._whole[-GUARD:]):
            assert np.isnan(band).all(), "a guard band was written to"


def padding(plan) -> np.ndarray:
    """Mask of the elements of an arena that belong to no parameter: padding of panels."""
    mask = np.ones(plan.param_elems, bool)
    for record in plan.params:
        rows, cols, offset = int(record["rows"]), int(record["cols"]), int(record["offset"])
        if record["flags"] & _core.TURNED:
            rows, cols = cols, rows
        panels = mask[offset : offset + rows * padded(cols)].reshape(-1, rows, _core.PANEL)
        for p in range(len(panels)):
            panels[p, :, : cols - p * _core.PANEL] = False
    return mask


def assert_padding_is_zero(plan, arena, what="arena") -> None:
    mask = padding(plan)
    assert mask.any(), "this plan has no padding to look at"
    assert not arena[mask].any(), f"padding of {what} is not zero: {arena[mask][arena[mask] != 0][:4]}"


# ---- training runs -----------------------------------------------------------------------------------------------


class Task:
    """A training run that every executor can do from the same start.

    Parameters
    ----------
    model, heads : of which the plan is built
    inputs, targets : lists of arrays [N, width]; batch k is their rows k * batch ...
    optimizer : pynet optimizer
    """

    def __init__(self, model, heads, inputs, targets, optimizer, *, batch: int, clips=(), weight=None):
        self.plan = build(model, heads)
        self.start, self.keep = np.array(model.arena), model.weights.keep
        self.inputs, self.targets, self.weight = inputs, targets, weight
        self.optimizer, self.batch, self.clips = optimizer, batch, list(clips)
        self.rows = len(inputs[0])

    def job(self, k: int, stages: int) -> Job:
        return Job(
            inputs=self.inputs, targets=self.targets, rows=self.rows, batch=self.batch, stages=stages, step=k,
            weight=self.weight, optimizer=self.optimizer.kind, hyper=self.optimizer.hyper, clips=self.clips,
            rate=self.optimizer.rates(k, 1), sums=np.zeros(self.plan.n_sums), seed=SEED,
        )  # fmt: skip

    def on(self, executor: Executor, steps: int, look=None) -> "Trained":
        """Do `steps` batches, a call each so that every loss is seen; look(machine, params, grads) before updates."""
        plan = self.plan
        arenas = [Guarded(plan.param_elems, plan.dtype) for _ in range(2 + self.optimizer.n_slots)]
        params, grads, *slots = (arena.inner for arena in arenas)
        params[:] = self.start
        machine = make_machine(executor, plan, params, rows=self.batch, grads=grads, slots=slots, keep=self.keep)
        down = _core.FORWARD | _core.LOSS | _core.BACKWARD
        sums = []
        for k in range(steps):
            job = self.job(k, down | (0 if look else _core.UPDATE))
            assert machine.run(job, k, 1) == (1, "ok")
            if look:
                look(machine, params, grads)
                assert machine.run(self.job(k, _core.UPDATE), k, 1) == (1, "ok")
            sums.append(job.sums)
        for arena in arenas:
            arena.check()
        return Trained(plan, np.array(sums), params, grads, slots)


class Trained:
    """What a run left behind.  `losses`: the total loss of every step."""

    def __init__(self, plan, sums, params, grads, slots):
        self.plan, self.sums, self.params, self.grads, self.slots = plan, sums, params, grads, slots
        self.losses = total_loss(plan, sums)

    def arrays(self) -> dict[str, np.ndarray]:
        """What machines must agree on: losses, each parameter, and all gradients and all slots together (a gradient
        may be the small difference of large terms, so its scale is that of its neighbours)."""
        result = {"losses": self.losses} | dict(zip(self.plan.param_names, self._matrices(self.params), strict=True))
        for name, arena in (("gradients", self.grads), *((f"slot {i}", s) for i, s in enumerate(self.slots))):
            result[name] = np.concatenate([matrix.reshape(-1) for matrix in self._matrices(arena)])
        return result

    def _matrices(self, arena) -> list[np.ndarray]:
        return [unpack(arena, record) for record in self.plan.params]


def total_loss(plan, sums):
    """The loss of each batch from the sums of a machine, [steps, n_sums] or [n_sums]."""
    total = sums[..., 0].copy()
    for op in plan.ops[plan.ops["kind"] == _core.OPS["loss"]]:
        weight = sums[..., op["at"] + 1]
        total += op["p"][1] * sums[..., op["at"]] / np.where(weight > 0, weight, 1)
    return total


# ---- comparisons -------------------------------------------------------------------------------------------------


def distance(actual, expected) -> float:
    """Largest |actual - expected|, as a share of the largest |expected|; inf where shapes or NaNs differ."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape or not np.isfinite(expected).all() or not np.isfinite(actual).all():
        return np.inf
    worst = np.abs(actual.astype(np.float64) - expected).max(initial=0)
    return 0.0 if worst == 0 else float(worst / max(np.abs(expected).max(), np.finfo(np.float64).tiny))


def assert_close(actual, expected, tolerance: float, what: str = "") -> None:
    """Every element within tolerance * (largest magnitude of the expected array)."""
    off = distance(actual, expected)
    assert off <= tolerance, f"{what}: off by {off:.2e} of the largest, allowed {tolerance:.0e}"


def assert_within(actual, expected, bound, what: str = "") -> None:
    """|actual - expected| <= bound, element by element, nothing NaN."""
    error = np.abs(np.asarray(actual, np.float64) - expected)
    bad = ~(error <= bound)
    assert error.shape == np.shape(actual), f"{what}: shapes {np.shape(actual)} and {np.shape(expected)}"
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        limit = np.broadcast_to(bound, error.shape)[at]
        raise AssertionError(f"{what}: {bad.sum()} of {bad.size} off, first at {at} by {error[at]:.3e} > {limit:.3e}")


def assert_same_bits(actual, expected, what: str = "") -> None:
    """Identical bits; -0 is not 0, and one NaN is not another."""
    actual, expected = np.ascontiguousarray(actual), np.ascontiguousarray(expected)
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), f"{what}: shape or dtype differs"
    differ = int((actual.reshape(-1).view("u1") != expected.reshape(-1).view("u1")).sum())
    assert not differ, f"{what}: {differ} bytes of {expected.nbytes} differ"


def assert_agree(results: dict, tolerance: float, what: str = "") -> None:
    """C within `tolerance` of NumPy, array by array; and all FMA instruction sets equal, bit by bit."""
    expected = results[NUMPY].arrays()
    others = [executor for executor in results if executor != NUMPY]
    assert others, "nothing to compare with"
    for executor in others:
        for name, array in results[executor].arrays().items():
            assert_close(array, expected[name], tolerance, f"{what} {executor}: {name}")
    fma = [executor for executor in others if executor.isa != "scalar"]
    for executor in fma[1:]:
        for name in ("sums", "params", "grads"):
            pair = (getattr(results[e], name) for e in (executor, fma[0]))
            assert_same_bits(*pair, f"{what} {executor} against {fma[0]}: {name}")


def assert_moved(trained: Trained, start, but=()) -> None:
    """Every trainable parameter differs from its start, by more than rounding; names in `but` may stand still."""
    moved = []
    for name, record in zip(trained.plan.param_names, trained.plan.params, strict=True):
        if record["flags"] & _core.TRAINABLE:
            moved.append(name)
            off = distance(unpack(trained.params, record), unpack(start, record))
            assert off > 1e-4 or name in but, f"{name} has not moved"
    assert set(moved) - set(but), "nothing was to move"
