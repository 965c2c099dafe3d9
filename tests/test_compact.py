"""The compact form of pruned layers: what is stored, in files and in memory; the same bits; data from anybody."""

import numpy as np
import pytest

import pynet as pn
from pynet import _core, compact
from pynet.compact import Compact
from pynet.lanes import Lanes
from pynet.plan import build

SHAPES = [(1, 1), (1, 7), (7, 1), (15, 16), (16, 17), (17, 3), (300, 5), (5, 300), (600, 2)]
SHARES = [0.0, 0.02, 0.2, 0.6, 1.0]


def some(shape, share, seed=0, dtype=np.float32):
    """A matrix and a mask that leaves about this share; a weight that is left may be 0."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < share
    matrix = np.where(mask, rng.normal(size=shape), 0).astype(dtype)
    if mask.any():
        matrix[tuple(np.argwhere(mask)[-1])] = 0
    return matrix, mask


# ---- the form ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_form_says_all_of_a_matrix(shape, share):
    matrix, mask = some(shape, share)
    for nibbles in (False, True):
        form = Compact._made(matrix, mask, nibbles)
        form.check("w")
        np.testing.assert_array_equal(form.matrix(), matrix)
        np.testing.assert_array_equal(form.mask(), mask)
        assert form.counts.sum() == len(form.values) >= max(mask.sum(), 1)
        assert form.places.nbytes == (len(form.values) // 2 if nibbles else len(form.values))
        assert not nibbles or not (form.counts % 2).any()
        i, o = form.where()
        assert (np.diff(o * shape[0] + i) > (-1 if nibbles else 0)).all()  # output by output, inputs ascending
    assert Compact.of(matrix, mask).nbytes == min(Compact._made(matrix, mask, n).nbytes for n in (False, True))


def test_the_form_by_hand():
    """Outputs 0: inputs 0 and 2; 1: nothing; 2: input 16, which is 17 steps away: 15 and 2."""
    matrix = np.zeros((17, 3), np.float32)
    matrix[0, 0], matrix[2, 0], matrix[16, 2] = 5, 6, 7
    form = Compact._made(matrix, matrix != 0, True)
    assert form.values.tolist() == [5, 6, 0, 7]
    assert form.counts.tolist() == [2, 0, 2]
    assert form.places.tolist() == [1 | 2 << 4, 15 | 2 << 4]
    matrix[2, 0] = 0  # then the number of nibbles of output 0 is odd
    form = Compact._made(matrix, matrix != 0, True)
    assert form.values.tolist() == [5, 0, 0, 7]
    assert form.counts.tolist() == [2, 0, 2]
    assert form.places.tolist() == [1, 15 | 2 << 4]
    np.testing.assert_array_equal(form.matrix(), matrix)
    matrix[2, 0] = 6
    form = Compact._made(matrix, matrix != 0, False)
    assert (form.values.tolist(), form.places.tolist(), form.counts.tolist()) == ([5, 6, 7], [1, 2, 17], [2, 0, 1])


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0] > 16] + [(32, 16), (49, 33)], ids=str)
def test_lanes_say_all_of_a_matrix(shape, share):
    matrix, mask = some(shape, share)
    form = Lanes.of(matrix, mask)
    form.check("w")
    np.testing.assert_array_equal(form.matrix(), matrix)
    np.testing.assert_array_equal(form.mask(), mask)
    assert form.n == len(form.values) == 16 * int(form.counts.sum()) >= 16
    assert form.places.nbytes == 17 * int(form.counts.sum())
    assert form.left().sum() == mask.sum()
    least = max(mask.sum(axis=0).max(), 1) if mask.any() else 1
    assert least <= form.longest_sum() <= 16 * -(-shape[0] // 16) + 1


def read_lanes(form):
    """Return of each two steps the first input that they see, and of each step the places of outputs 0, 1 and 2."""
    steps = form.n // 16
    places = form.places[: 16 * steps].reshape(-1, 16, 4).transpose(0, 2, 1).reshape(steps, 16)
    assert (places[:, 3:] == 32).all()
    return (8 * form.places[16 * steps :].view("<u2").astype(int)).tolist(), places[:, :3].tolist()


def test_lanes_by_hand():
    """Inputs 0 .. 47, seen from 0, 8 or 16 on; outputs 0: 1, 2, 3 and 33; 1: 46; 17: 20."""
    matrix = np.zeros((47, 18), np.float32)
    matrix[[1, 2, 3, 33], 0], matrix[46, 1], matrix[20, 17] = (5, 6, 7, 8), 9, 10
    form = Lanes.of(matrix, matrix != 0)
    assert form.counts.tolist() == [8, 4]
    none = [32, 32, 32]
    assert read_lanes(form) == (
        [0, 0, 16, 16, 16, 16],
        [[1, 32, 32], [2, 32, 32], [3, 32, 32], none, [17, 30, 32], none, none, none, [32, 4, 32], none, none, none],
    )
    values = form.values.reshape(-1, 16)
    assert values[[0, 1, 2, 4], 0].tolist() == [5, 6, 7, 8]
    assert values[[4, 8], 1].tolist() == [9, 10]
    assert np.count_nonzero(values) == 6


def test_lanes_far_away():
    """Beyond 256 times 8 inputs the second byte counts."""
    matrix = np.zeros((70_000, 1), np.float32)
    matrix[[3, 66_000]] = 1
    form = Lanes.of(matrix, matrix != 0)
    assert read_lanes(form) == ([0, 66_000], [[3, 32, 32], [32] * 3, [0, 32, 32], [32] * 3])
    assert [Lanes.fits((rows, 1)) for rows in (16, 17, 1 << 19, (1 << 19) + 1)] == [False, True, True, False]
    model = pn.Sequential([pn.Input(16), pn.Dense(4, name="c")])
    pn.prune.magnitude(model, 0.5)
    with pytest.raises(ValueError, match="layer 'c' has 16 inputs, expected 17 to 524288 for lanes"):
        model.compact({"c": "lanes"})


@pytest.mark.parametrize(("share", "least"), [(0.2, 4.0), (0.1, 7.0), (0.05, 12.0)])
def test_the_file_becomes_so_many_times_smaller(share, least, tmp_path):
    model = pn.Sequential([pn.Input(784), pn.Dense(300, "relu"), pn.Dense(100, "relu"), pn.Dense(10, "softmax")])
    model.save(tmp_path / "dense")
    pn.prune.magnitude(model, 1 - share)
    model.save(tmp_path / "pruned")
    assert (tmp_path / "dense").stat().st_size / (tmp_path / "pruned").stat().st_size >= least
    assert pn.load(tmp_path / "dense").nbytes / pn.load(tmp_path / "pruned").compact().nbytes >= least


# ---- data from anybody ---------------------------------------------------------------------------------------------

F, U, W = np.float32, np.uint8, np.uint32
GOOD = {"values": np.ones(3, F), "counts": np.array([2, 0, 1], W), "steps": np.array([1, 2, 3], U)}
HOSTILE = [
    ("no values", {"values": None}, "stands as 'w.counts', 'w.steps', expected values, counts and steps"),
    ("steps and nibbles", {"nibbles": np.zeros(2, U)}, "expected values, counts and steps or nibbles or lanes"),
    ("the whole besides", {"": np.zeros((4, 3), F)}, "expected values, counts and steps or nibbles or lanes"),
    ("fewer values", {"values": np.ones(2, F)}, r"must have 3 elements, as its counts say, got float32 \[2\]"),
    ("values of integers", {"values": np.ones(3, np.int32)}, "'w.values' must have 3 elements"),
    ("values 2-D", {"values": np.ones((3, 1), F)}, "'w.values' must have 3 elements"),
    ("fewer counts", {"counts": np.array([2, 1], W)}, r"'w.counts' must be uint32 \[3\], got uint32 \[2\]"),
    ("counts signed", {"counts": np.array([2, 0, 1], np.int32)}, "'w.counts' must be uint32"),
    ("counts overflow", {"counts": np.array([2**32 - 1, 0, 4], W)}, "'w.values' must have 4294967299 elements"),
    ("fewer steps", {"steps": np.array([1, 2], U)}, "'w.steps' must have 3 elements"),
    ("steps of 16 bits", {"steps": np.array([1, 2, 3], np.uint16)}, "'w.steps' must have 3 elements"),
    ("a step of 0", {"steps": np.array([1, 0, 3], U)}, "'w.steps' leads outside of the 4 inputs"),
    ("an odd number of nibbles", {"steps": None, "nibbles": np.array([17, 3], U)}, "'w.nibbles' must have 1 elements"),
    ("odd counts", {"values": np.ones(4, F), "counts": np.array([3, 0, 1], W), "steps": None,
                    "nibbles": np.array([17, 17], U)}, "'w.counts' has odd counts of nibbles"),
    ("nibbles before the first input", {"values": np.ones(2, F), "counts": np.array([2, 0, 0], W), "steps": None,
                                        "nibbles": np.array([16], U)}, "'w.nibbles' leads outside of the 4 inputs"),
    ("beyond the inputs", {"steps": np.array([1, 4, 3], U)}, "'w.steps' leads outside of the 4 inputs"),
]  # fmt: skip


LANES = {"values": np.zeros(64, F), "counts": np.array([4], W), "lanes": np.full(68, 32, U)}  # of [20, 3]
LANES["values"][:2], LANES["lanes"][[0, 4]], LANES["lanes"][64:] = 1, (19, 4), 0  # bytes 4 k belong to output k, step 0


def lane(k, value, **more):
    """The lanes above with another byte k."""
    return {"lanes": np.where(np.arange(68) == k, value, LANES["lanes"]).astype(U)} | more


HOSTILE_LANES = [
    ("steps and lanes", {"steps": np.zeros(16, U)}, "expected values, counts and steps or nibbles or lanes"),
    ("a count of each output", {"counts": np.array([1, 0, 0], W)},
     r"must be uint32 \[1\] beside lanes, got uint32 \[3\]"),
    ("counts signed", {"counts": np.array([1], np.int32)}, r"must be uint32 \[1\] beside lanes, got int32"),
    ("four steps more", {"counts": np.array([8], W)}, "'w.values' must have 128 elements"),
    ("half a block", {"counts": np.array([2], W)}, "'w.counts' must have multiples of 4 beside lanes"),
    ("fewer values", {"values": np.ones(63, F)}, "'w.values' must have 64 elements"),
    ("fewer lanes", {"lanes": np.ones(67, U)}, "'w.lanes' must have 68 elements"),
    ("lanes of 16 bits", {"lanes": LANES["lanes"].astype(np.uint16)}, "'w.lanes' must have 68 elements"),
    ("sees beyond the inputs", lane(64, 1), "'w.lanes' leads outside of the 20 inputs and 3 outputs"),
    ("later steps do", lane(66, 1), "'w.lanes' leads outside of the 20 inputs and 3 outputs"),
    ("far beyond", lane(65, 255), "'w.lanes' leads outside"),
    ("a place beyond the inputs", lane(0, 20), "'w.lanes' leads outside"),
    ("no place", lane(3, 33), "'w.lanes' leads outside"),
    ("an output beyond", lane(13, 3), "'w.lanes' leads outside"),
    ("a value that belongs nowhere", lane(4, 32), "'w.values' has values other than 0 that belong nowhere"),
    ("an input twice", lane(1, 19), "'w.lanes' has inputs of an output that do not ascend"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "text"), [h[1:] for h in HOSTILE_LANES], ids=[h[0] for h in HOSTILE_LANES])
def test_lanes_that_contradict_each_other_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        compact.decode("w", (20, 3), {f"w.{key}": value for key, value in (LANES | change).items()})
    matrix, mask = compact.decode("w", (20, 3), {f"w.{key}": value for key, value in LANES.items()})
    assert np.argwhere(mask).tolist() == np.argwhere(matrix).tolist() == [[4, 1], [19, 0]]
    with pytest.raises(ValueError, match=r"'w.lanes' leads outside of the 1 inputs|must be uint32"):
        compact.decode("w", (20,), {f"w.{key}": value for key, value in LANES.items()})


@pytest.mark.parametrize(("change", "text"), [h[1:] for h in HOSTILE], ids=[h[0] for h in HOSTILE])
def test_tensors_that_contradict_each_other_are_refused(change, text):
    tensors = {f"w.{key}" if key else "w": value for key, value in (GOOD | change).items() if value is not None}
    with pytest.raises(ValueError, match=text):
        compact.decode("w", (4, 3), tensors)


def test_the_good_ones_are_read():
    matrix, mask = compact.decode("w", (4, 3), {f"w.{key}": value for key, value in GOOD.items()})
    assert np.argwhere(mask).tolist() == np.argwhere(matrix).tolist() == [[0, 0], [2, 0], [2, 2]]
    assert compact.decode("w", (4, 3), {"w": matrix}) is None


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tensors_say_all_of_a_parameter(shape, share):
    matrix, mask = some(shape, share)
    for array, own in ((matrix, mask), (matrix[0], mask[0])):
        tensors = compact.encode("w", array, own)
        found = compact.decode("w", array.shape, tensors)
        np.testing.assert_array_equal(found[0], array)
        np.testing.assert_array_equal(found[1], own)
        assert all(t.size for t in tensors.values())  # what no file can hold
        if own.any():
            assert sum(t.nbytes for t in tensors.values()) <= array.nbytes + -(-array.size // 8)


def test_the_shortest_form_is_chosen():
    def kinds(share):
        return {name[2:] for name in compact.encode("w", *some((784, 300), share))}

    assert kinds(0.05) == {"values", "counts", "steps"}
    assert kinds(0.2) == {"values", "bits"}
    assert kinds(0.99) == {"values", "bits"}


def test_values_and_bits_must_agree():
    matrix, mask = some((30, 20), 0.3)
    tensors = compact.encode("w", matrix, mask)
    assert set(tensors) == {"w.values", "w.bits"}
    fewer = {"w.values": tensors["w.values"][:-1]}
    with pytest.raises(ValueError, match=r"'w.values' must be \d+ floats, as its bits say, got float32"):
        compact.decode("w", (30, 20), tensors | fewer)
    with pytest.raises(ValueError, match=r"'w.bits' must be uint8 \[75\], got uint8 \[76\]"):
        compact.decode("w", (30, 20), tensors | {"w.bits": np.zeros(76, np.uint8)})


def one_pruned_layer(form):
    """A model with 40 inputs and 5 outputs."""
    model = pn.Sequential([pn.Input(40), pn.Dense(5, name="d")])
    pn.prune.magnitude(model, 0.8)
    return model.compact({"d": form})


def sparse_op(plan):
    (sparse,) = np.flatnonzero(plan.ops["kind"] == _core.OPS["sparse"])
    return plan.ops[sparse]


def spoilt(model, **changes):
    """Its plan, with other places, ends, parameters or entries of the sparse op."""
    plan = build(model)
    for name in ("places", "ends", "ops", "params"):
        setattr(plan, name, getattr(plan, name).copy())
    for name, value in changes.items():
        if name in ("places", "ends"):
            setattr(plan, name, value(getattr(plan, name)))
        elif name == "cols":
            plan.params["cols"][0] += value
        else:
            sparse_op(plan)[name] = value
    return plan


def put(k, value):
    def change(array):
        array[k] = value
        return array

    return change


def test_the_plan_is_checked_before_it_runs():
    """What machines believe: no step leads outside, no end descends, no table is too short."""
    model = one_pruned_layer("steps")
    assert sparse_op(model.plan)["p"][2] in (4, 8)
    _core.check_plan(spoilt(model))
    for text, changes in {
        "lies outside of 40 inputs": {"places": put(0, 0xFF)},
        "value 0 lies outside": {"places": put(0, 0)},
        "ends of outputs 0 and 1 descend": {"ends": put(0, 2**31)},
        "but there are 4": {"ends": lambda ends: ends[:4]},
        "no values": {"ends": lambda ends: ends * 0},
        "has shape": {"cols": 1},
        "places": {"places": lambda places: places[:-1]},
        "places 7": {"at": 7},
        "places 4294967295": {"at": 2**32 - 1},
        "ends 4294967295": {"slot": 2**32 - 1},
        "steps of 5 bits": {"p": (0, 0, 5)},
        "unknown activation 63": {"act": 63},
    }.items():
        with pytest.raises(ValueError, match=text):
            _core.check_plan(spoilt(model, **changes))


def test_a_plan_in_lanes_is_checked_before_it_runs():
    """40 inputs stand in 48, so a step sees 0 .. 31, 8 .. 39 or 16 .. 47; 5 of 16 outputs are there."""
    model = one_pruned_layer("lanes")
    places, steps = model.plan.places, int(model.plan.ends[0])
    assert sparse_op(model.plan)["p"][2] == 16
    assert (len(places), len(model.plan.ends)) == (17 * steps, 1)
    assert places[-2] == 2  # the last steps see the last inputs
    _core.check_plan(spoilt(model))
    for text, changes in {
        "step 0 lies outside of 40 inputs": {"places": put(16 * steps, 3)},
        "step 2 lies outside of 40 inputs": {"places": put(16 * steps + 3, 1)},
        f"step {steps - 1} has a place outside of 40 inputs": {"places": put(16 * steps - 61, 24)},
        "step 0 has a place outside": {"places": put(0, 33)},
        "and 5 outputs": {"places": put(4 * 5 + 3, 0)},
        "op 1: w ": {"ends": put(0, steps - 4)},
        "values, the most is": {"ends": put(0, 1 << 21)},
        "no values": {"ends": put(0, 0)},
        "but there are 0": {"ends": lambda ends: ends[:0]},
        "overlaps": {"cols": 1},
        "places": {"places": lambda places: places[:-1]},
        "places 7": {"at": 7},
        "ends 4294967295": {"slot": 2**32 - 1},
        "steps of 17 bits": {"p": (0, 0, 17)},
    }.items():
        with pytest.raises(ValueError, match=text):
            _core.check_plan(spoilt(model, **changes))
