"""Files that contradict themselves although their checksums are right: libpynet says what is wrong, and with what."""

import binascii
import subprocess

import numpy as np
import pytest

import pynet as pn
from pynet import files
from pynet._safetensors import read, write
from pynet.plan_text import plan_text


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Texts and tensors of a network with a whole kernel, one in bits, one in steps, one in nibbles, and sparse ops."""
    x = pn.Input(300, scale=np.ones(300))
    names = ("whole", "bits", "steps", "nibbles", "op_steps", "op_nibbles")
    h = [pn.Dense(2, name=name)(x) for name in names]
    model = pn.Model(x, pn.Concat()(h))
    rng = np.random.default_rng(0)
    masks = {f"{name}.kernel": rng.random((300, 2)) < share for name, share in (("bits", 0.6), ("steps", 0.02))}
    masks["nibbles.kernel"] = np.add.outer(np.arange(300), np.arange(2)) % 6 == 0
    masks |= {"op_steps.kernel": masks["steps.kernel"], "op_nibbles.kernel": masks["nibbles.kernel"]}
    pn.prune.set_masks(model, masks)
    model = model.compact(["op_steps", "op_nibbles"])
    path = tmp_path_factory.mktemp("saved") / "net.safetensors"
    files.save_model(model, path)
    tensors, texts = read(path)
    assert {name.rpartition(".")[2] for name in tensors} >= {"bits", "steps", "nibbles", "counts"}
    texts.pop("crc32", None)
    return model, texts, tensors


def said(build, path, tensors, texts, row):
    """Return what the example program says of a file with these tensors and texts, given a row of numbers."""
    write(path, tensors, texts)
    result = subprocess.run([str(build / "example_predict"), str(path)], input=row, capture_output=True, text=True)
    assert (result.returncode == 0) == (result.stderr == "")
    return result.stderr.strip().rpartition(f"{path.name}: ")[2]


@pytest.fixture
def told(saved, libpynet_build, tmp_path):
    """A function of changed tensors (None: gone) and a change of the plan's words: what C says of such a file."""
    model, texts, tensors = saved

    def told(change=None, words=None):
        changed = {name: array for name, array in (tensors | (change or {})).items() if array is not None}
        plan = plan_text(model.plan, changed)
        if words:
            text = words(plan[:-8])
            plan = f"{text}{binascii.crc32(text.encode()):08x}"
        return said(libpynet_build, tmp_path / "net.safetensors", changed, texts | {"pynet.plan": plan}, "1 " * 300)

    assert told() == ""
    return told


def value(array, at, number):
    """Return a copy with another element."""
    copy = array.copy()
    copy.reshape(-1)[at] = number
    return copy


def test_whole_parameters(told, saved):
    kernel = saved[2]["whole.kernel"]
    for changed, text in (
        (None, "is missing"),
        (kernel.T, "has another type or shape than the plan says"),
        (kernel[:-1], "has another type or shape than the plan says"),
        (kernel.astype(np.float64), "has another type or shape than the plan says"),
        (kernel.view(np.uint32), "has another type or shape than the plan says"),
        (value(kernel, 5, np.nan), "has NaN or infinite values"),
        (value(kernel, -1, np.inf), "has NaN or infinite values"),
    ):
        assert told({"whole.kernel": changed}) == f"parameter 'whole.kernel' {text}"
    assert told({"whole.bias": saved[2]["whole.bias"][None]}) == ""  # [1, 2] is as good as [2]


def test_bits(told, saved):
    values, bits = saved[2]["bits.kernel.values"], saved[2]["bits.kernel.bits"]
    for changed, text in (
        ({"values": values[:-1]}, "has fewer values than its bits say"),
        ({"values": np.append(values, values[:1])}, "has more values than its bits say"),
        ({"values": value(values, 3, -np.inf)}, "has NaN or infinite values"),
        ({"values": values.astype(np.float64)}, "has another type than the plan says"),
        ({"values": None}, "is missing"),
        ({"bits": bits[:-1]}, "has not one bit for each weight"),
        ({"bits": np.append(bits, bits[:1])}, "has not one bit for each weight"),
        ({"bits": bits.astype(np.uint32)}, "has not one bit for each weight"),
        ({"bits": None}, "is neither whole nor pruned"),
    ):
        change = {f"bits.kernel.{key}": array for key, array in changed.items()}
        assert told(change) == f"parameter 'bits.kernel' {text}"


@pytest.mark.parametrize("form", ["steps", "nibbles"])
def test_steps(told, saved, form):
    parts = {key: saved[2][f"{form}.kernel.{key}"] for key in ("values", "counts", form)}
    values, counts, steps = parts["values"], parts["counts"], parts[form]
    more = counts + np.array([0, 2], np.uint32)
    for changed, text in (
        ({"values": values[:-2]}, "has counts, values and steps that do not fit each other"),
        ({"counts": counts[:-1]}, "has counts, values and steps that do not fit each other"),
        ({"counts": counts.astype(np.float32)}, "has counts, values and steps that do not fit each other"),
        ({form: steps[:-1]}, "has counts, values and steps that do not fit each other"),
        ({form: steps.astype(np.uint32)}, "has counts, values and steps that do not fit each other"),
        ({form: None}, "is neither whole nor pruned"),
        ({"counts": None}, "is neither whole nor pruned"),
        ({"counts": more}, "has fewer values than its counts say"),
        ({"counts": value(counts, 1, 0)}, "has more values than its counts say"),
        ({form: value(steps, 0, 0)}, "has steps that lead outside of its inputs"),
        ({form: np.full_like(steps, 255)}, "has steps that lead outside of its inputs"),
        ({"values": value(values, 0, np.nan)}, "has NaN or infinite values"),
    ):
        change = {f"{form}.kernel.{key}": array for key, array in changed.items()}
        assert told(change) == f"parameter '{form}.kernel' {text}"
    if form == "steps":  # a byte of no distance is no place; of half a byte it fills up
        change = {"steps.kernel.steps": value(steps, 1, 0)}
        assert told(change) == "parameter 'steps.kernel' has steps that lead outside of its inputs"


@pytest.mark.parametrize("form", ["steps", "nibbles"])
def test_sparse_ops(told, saved, form):
    name = f"op_{form}.kernel"
    values, counts, steps = (saved[2][f"{name}.{key}"] for key in ("values", "counts", form))
    missing = "the places of a sparse op are missing or do not fit"
    for changed, text in (
        ({form: None}, missing),
        ({"counts": None}, missing),
        ({"counts": counts[:-1]}, missing),
        ({"counts": counts.astype(np.float32)}, missing),
        ({form: steps.astype(np.uint32)}, missing),
        ({form: np.full_like(steps, 255)}, "lies outside of 300 inputs"),
        ({form: value(steps, 0, 0)}, "lies outside of 300 inputs"),
        ({"counts": counts + np.uint32(2)}, "has shape 1 x"),
        ({"counts": np.array([counts.sum() + 6, 2**32 - 6], np.uint32)}, "descend"),
        ({"values": values[:-1]}, "has another type or shape than the plan says"),
        ({"values": value(values, 0, np.nan)}, "has NaN or infinite values"),
    ):
        assert text in told({f"{name}.{key}": array for key, array in changed.items()}), (changed.keys(), text)


def test_lanes(libpynet_build, tmp_path):
    """40 inputs: a step sees 32 of them, from the first, ninth or 17th on; 20 outputs of 32."""
    model = pn.Sequential([pn.Input(40), pn.Dense(20, name="d")])
    pn.prune.magnitude(model, 0.8)
    model = model.compact({"d": "lanes"})
    path, name = tmp_path / "net.safetensors", "d.kernel"
    files.save_model(model, path)
    tensors, texts = read(path)
    texts.pop("crc32", None)
    values, counts, lanes = (tensors[f"{name}.{key}"] for key in ("values", "counts", "lanes"))
    steps, first = int(counts.sum()), int(counts[0])  # of them those of panel 0
    nobody = 16 * first + 15  # in panel 1, output 31
    missing = "the places of a sparse op are missing or do not fit"
    uneven = "a sparse op in lanes has more or fewer places than its counts say"
    for changed, text in (
        ({}, ""),
        ({"lanes": None}, missing),
        ({"counts": None}, missing),
        ({"counts": np.repeat(counts, 5)}, missing),
        ({"counts": counts.astype(np.float32)}, missing),
        ({"lanes": lanes.astype(np.uint32)}, missing),
        ({"lanes": lanes[:-1]}, uneven),
        ({"lanes": np.append(lanes, lanes[:1])}, uneven),
        ({"lanes": np.full_like(lanes, 255)}, "step 0 lies outside of 40 inputs"),
        ({"lanes": value(lanes, steps * 16, 3)}, "step 0 lies outside of 40 inputs"),
        ({"lanes": value(lanes, steps * 16 + 2, 3)}, "step 2 lies outside of 40 inputs"),
        ({"lanes": value(lanes, 0, 33)}, "step 0 has a place outside of 40 inputs and 20 outputs"),
        (
            {"lanes": value(lanes, 16 * first + 4 * 5 + 3, 0)},
            f"step {first + 3} has a place outside of 40 inputs and 20 outputs",
        ),
        ({"counts": counts + np.uint32(4)}, uneven),
        ({"counts": counts + np.array([1, -1]).astype(np.uint32)}, f"{first + 1} steps up to panel 0, expected a mult"),
        ({"counts": counts + np.uint32(2**28)}, uneven),
        ({"values": values[:-16]}, "has another type or shape than the plan says"),
        ({"values": value(values, 0, np.nan)}, "has NaN or infinite values"),
        ({"values": value(values, nobody, 1)}, "values other than 0 that belong nowhere"),
        ({"values": value(values, nobody, -0.0)}, ""),
    ):
        change = tensors | {f"{name}.{key}": array for key, array in changed.items()}
        change = {key: array for key, array in change.items() if array is not None}
        plan = {"pynet.plan": plan_text(model.plan, change)}
        told = said(libpynet_build, path, change, texts | plan, "1 " * 40)
        assert text in told and bool(text) == bool(told), (changed.keys(), told)  # noqa: PT018


def test_plans(told, saved):
    """Words that are no plan, and plans of networks that cannot be."""
    plain = plan_text(saved[0].plan, saved[2])[:-8]
    ops = plain.index(" 1 0 16 - - 0 - ")  # the input
    no_plan = "the entry 'pynet.plan' of the metadata is not a plan"
    for words, text in (
        (lambda plan: plan.replace("1 float32", "2 float32", 1), "a plan of another version of the format"),
        (lambda plan: plan.replace("float32", "float16"), no_plan),
        (lambda plan: plan[:-10], no_plan),
        (lambda plan: plan + "7 ", no_plan),
        (lambda plan: plan.replace(" 300 ", "  300 ", 1), no_plan),
        (lambda plan: plan.replace(" 300 ", " 16777217 ", 1), no_plan),
        (lambda plan: plan.replace(" 300 ", " 4294967596 ", 1), no_plan),
        (lambda plan: plan.replace(" 300 ", " 18446744073709551916 ", 1), no_plan),
        (lambda plan: plan.replace(" 300 ", " 30a ", 1), no_plan),
        (lambda plan: "1 float32 2" + plan[11:], "the plan reads an input twice, or not at all"),
        (lambda plan: plan[:ops] + " 15" + plan[ops + 2 :], "an op that does not belong into a network that predicts"),
        (lambda plan: plan[:ops] + " 8" + plan[ops + 2 :], "an op that does not belong into a network that predicts"),
        (lambda plan: plan.replace("whole.kernel 300 2", "whole.kernel 16777216 16777216"), no_plan),
        (lambda plan: plan.replace("whole.kernel 300 2", "whole.kernel 16777216 16"), "more memory than such a file"),
        (lambda plan: plan.replace("whole.kernel 300 2", "whole.kernel 300 3"), "has another type or shape"),
        (lambda plan: plan.replace("whole.kernel", "whole.nothing"), "parameter 'whole.nothing' is missing"),
    ):
        assert text in told(words=words), text


def test_sums_of_widths(told):
    """Columns are numbers of 32 bits: 300 values of 2^24 columns are too many."""

    def many(plan):
        head, _, rest = plan.partition(" 8 300 ")  # 8 values, the input of 300
        assert rest
        return f"{head} 308 {'16777216 ' * 300}300 {rest}"

    assert told(words=many) == "the entry 'pynet.plan' of the metadata is not a plan"


def test_ends(told, saved):
    def inputs(plan):
        return plan.replace("1 float32 1 ", "1 float32 17 ", 1)

    def outputs(plan):
        return plan.replace(f" 1 {saved[0].plan.outputs[0]} ", " 17 " + f"{saved[0].plan.outputs[0]} " * 17)

    assert told(words=inputs) == told(words=outputs) == "more than 16 inputs or outputs"


def test_dropout(told, saved):
    """A dense op with a rate is a dropout: nothing that predicts."""
    op = " 2 0 20 0 - "

    def rate(plan):
        head, _, rest = plan.partition(op)
        words = rest.split(" ")
        words[9] = "3fe0000000000000"  # p2: 0.5
        return head + op + " ".join(words)

    assert told(words=rate) == "the plan has an op that does not belong into a network that predicts"


def test_tensors_of_many_parameters(libpynet_build, tmp_path):
    """A tensor belongs to one parameter: else a short file could keep its reader busy for minutes."""
    x = pn.Input(64)
    h = x
    for k in range(4):
        h = pn.Dense(64, use_bias=False, name=f"d{k}")(h)
    model = pn.Model(x, h)
    tensors = model.state_dict()
    words = plan_text(model.plan, tensors)[:-8].split(" ")
    first = words.index("d0.kernel")
    for k in range(1, 4):
        at = words.index(f"d{k}.kernel")
        words[at : at + 4] = words[first : first + 4]
    text = " ".join(words)
    plan = f"{text}{binascii.crc32(text.encode()):08x}"
    path = tmp_path / "net.safetensors"
    for names, expected in ((["d0.kernel"], "parameter 'd0.kernel' has tensors that other parameters have too"),
                            (list(tensors), "")):  # fmt: skip
        write(path, {name: tensors[name] for name in names}, {"pynet.plan": plan})
        command = [str(libpynet_build / "example_predict"), str(path)]
        told = subprocess.run(command, input="", capture_output=True, text=True).stderr
        assert told.strip().rpartition("net.safetensors: ")[2] == expected


def test_names_twice(saved, libpynet_build, tmp_path):
    model, texts, tensors = saved
    path = tmp_path / "net.safetensors"
    write(path, tensors, texts | {"pynet.plan": plan_text(model.plan, tensors)})
    whole = path.read_bytes()
    assert whole.count(b'"steps.bias":') == 1
    path.write_bytes(whole.replace(b'"steps.bias":', b'"whole.bias":'))
    command = [str(libpynet_build / "example_predict"), str(path)]
    told = subprocess.run(command, input="", capture_output=True, text=True).stderr
    assert "parameter 'whole.bias' is missing" in told


def test_much_pruned_columns_are_short_in_files(libpynet_build, tmp_path):
    """An arena 1500 times as large as the file, as pn.prune makes it."""
    model = pn.Sequential([pn.Input(100_000), pn.Dense(1)])
    pn.prune.set_masks(model, {"dense_1.kernel": (np.arange(100_000) % 250 == 0)[:, None]})
    model.save(tmp_path / "net.safetensors")
    command = [str(libpynet_build / "example_predict"), str(tmp_path / "net.safetensors")]
    done = subprocess.run(command, input="1 " * 100_000, capture_output=True, text=True)
    assert done.stderr == ""
    np.testing.assert_allclose(float(done.stdout), model.predict(np.ones((1, 100_000)))[0, 0], rtol=1e-6)
