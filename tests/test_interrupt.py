"""Ctrl-C, kill, threads and forks while the machine works, each in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and fork are those of POSIX")
LATENCY = 0.2  # seconds between Ctrl-C and the return of fit

START = """
import os, signal, sys, threading, time, warnings
import numpy as np
import pynet as pn
from pynet import philox

rng = np.random.default_rng(0)
X = rng.normal(size=(20000, 64)).astype("f4")
y = np.argmax(X[:, :10], axis=1)

def make(hidden=256, seed=0, **options):
    layers = [pn.Input(64), pn.Dense(hidden, "tanh"), pn.Dense(hidden, "tanh"), pn.Dense(10, "softmax")]
    return pn.Trainer(pn.Sequential(layers, random_state=seed), "cross_entropy", metrics=["accuracy"], **options)

def check(trainer):
    assert np.isfinite(trainer.model.arena).all()

class Tell(pn.Callback):
    def on_slice_end(self, trainer, logs):
        print("slice", flush=True)
"""


class Child:
    """A Python process that runs START and `script`."""

    def __init__(self, script):
        command = [sys.executable, "-W", "error", "-c", START + script]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for(self, word):
        for line in self.process.stdout:
            if line.strip() == word:
                return
        pytest.fail(f"the child never said {word!r}: {self.process.communicate()[1]}")

    def finish(self):
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err


def run(script):
    code, out, err = Child(script).finish()
    assert code == 0, err
    return out


INTERRUPTED = """
trainer = make({hidden}, backend={backend!r})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    history = trainer.fit(X, y, epochs=10**6, batch_size={batch}, callbacks=[Tell()], verbose=0, {more})
returned = time.clock_gettime(time.CLOCK_MONOTONIC)
assert history is trainer.history and history.interrupted
assert f"step {{trainer.step}}" in str(caught[-1].message), caught[-1].message
check(trainer)
step, weights = trainer.step, trainer.model.arena.copy()

again = make({hidden}, backend={backend!r})      # "the weights of the last finished batch", not one more or less
batches = -(-len(X) // {batch})
for k in range(step):
    order = order if k % batches else philox.permutation(0, k // batches, len(X))
    rows = order[k % batches * {batch} :][:{batch}]
    again.train_on_batch(X[rows], y[rows])
assert step > 0 and np.array_equal(again.model.arena, weights), step
second = trainer.fit(X[:500], y[:500], epochs=trainer.epoch + 2, verbose=0)
assert not second.interrupted and trainer.step > step and len(second.history["loss"]) == trainer.epoch
check(trainer)
print("returned", returned)
"""


def interrupt(script, word, seconds):
    """Send SIGINT some time after the child's `word`; return how long it took to return, the best of three."""
    delays = []
    while not delays or (min(delays) >= LATENCY and len(delays) < 3):  # the machine may be busy with other things
        child = Child(script)
        child.wait_for(word)
        time.sleep(seconds)
        sent = time.clock_gettime(time.CLOCK_MONOTONIC)
        child.process.send_signal(signal.SIGINT)
        code, out, err = child.finish()
        assert code == 0, err
        delays.append(float(re.search(r"returned (\S+)", out)[1]) - sent)
    print(f"returned {1e3 * min(delays):.1f} ms after SIGINT")
    return min(delays)


@pytest.mark.parametrize(("backend", "hidden", "batch"), [("c", 256, 8), ("c", 512, 512), ("numpy", 64, 8)])
def test_ctrl_c_leaves_fit_at_once_with_history_and_weights(backend, hidden, batch):
    script = INTERRUPTED.format(backend=backend, hidden=hidden, batch=batch, more="")
    assert 0 < interrupt(script, "slice", 0.15) < LATENCY


def test_ctrl_c_during_validation():
    # One step an epoch, then 200 000 rows to validate: the signal arrives there.
    more = "validation_data=(np.tile(X, (10, 1)), np.tile(y, 10))"
    script = INTERRUPTED.format(backend="c", hidden=256, batch=20000, more=more)
    assert 0 < interrupt(script, "slice", 0.15) < LATENCY


def test_ctrl_c_in_predict_and_evaluate_is_an_ordinary_one():
    for call in ("trainer.evaluate(many, labels)", "trainer.model.predict(many)"):
        script = f"""
trainer = make(512)
many, labels = np.tile(X, (50, 1)), np.tile(y, 50)
print("ready", flush=True)
try:
    {call}
except KeyboardInterrupt:
    print("returned", time.clock_gettime(time.CLOCK_MONOTONIC))
trainer.fit(X[:500], y[:500], epochs=1, verbose=0)
check(trainer)
"""
        assert 0 < interrupt(script, "ready", 0.3) < LATENCY


def test_sigterm_kills():
    child = Child("make().fit(X, y, epochs=10**6, callbacks=[Tell()], verbose=0)")
    child.wait_for("slice")
    begun = time.monotonic()
    child.process.send_signal(signal.SIGTERM)
    assert child.finish()[0] == -signal.SIGTERM
    assert time.monotonic() - begun < 5


def test_signal_handlers_are_left_alone():
    run("""
before = signal.getsignal(signal.SIGINT)
seen = []
class Look(pn.Callback):
    def on_slice_end(self, trainer, logs):
        seen.append(signal.getsignal(signal.SIGINT) is before)
make(16).fit(X, y, epochs=1, callbacks=[Look()], verbose=0)
assert seen and all(seen) and signal.getsignal(signal.SIGINT) is before
""")


def test_another_thread_makes_progress_while_fit_runs():
    out = run("""
trainer = make(512)
stop, counts = [], [0]
def count():
    while not stop:
        counts[0] += 1
        time.sleep(0.0005)
class Watch(pn.Callback):
    seen = []
    def on_slice_end(self, trainer, logs):
        self.seen.append(counts[0])
threading.Thread(target=count).start()
trainer.fit(X, y, epochs=1, batch_size=256, callbacks=[Watch()], verbose=0)
trainer.fit(X, y, epochs=2, batch_size=256, callbacks=[Watch()], verbose=0)
stop.append(1)
steps = np.diff(Watch.seen)
print("counted", steps.tolist())
assert len(steps) >= 5 and np.median(steps) >= 10, steps
""")
    assert "counted" in out


def test_threads_that_fit_and_predict_at_the_same_time():
    run("""
alone = []
for seed in range(3):
    trainer = make(64, seed)
    trainer.fit(X[:4000], y[:4000], epochs=2, batch_size=128, verbose=0)
    alone.append(trainer.model.arena.tobytes())
shared = make(128, 7).model
expected, one = shared.predict(X), [shared.predict_one(row) for row in X[:200]]
twin = shared.predict(X[:300], backend="numpy")
found, wrong = {}, []
def fit(seed):
    trainer = make(64, seed, n_threads=2)
    trainer.fit(X[:4000], y[:4000], epochs=2, batch_size=128, verbose=0)
    found[seed] = trainer.model.arena.tobytes()
def predict():
    for _ in range(5):
        wrong.append(not np.array_equal(shared.predict(X), expected))
        wrong.append(not all(np.array_equal(shared.predict_one(row), y_) for row, y_ in zip(X, one)))
        wrong.append(not np.array_equal(shared.predict(X[:300], backend="numpy"), twin))
threads = [threading.Thread(target=fit, args=(s,)) for s in range(3)]
threads += [threading.Thread(target=predict) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert [found[s] for s in range(3)] == alone
assert len(wrong) == 45 and not any(wrong), wrong
""")


def test_one_trainer_in_two_threads_is_refused():
    run("""
trainer, errors = make(64), []
class Hold(pn.Callback):
    def on_epoch_end(self, t, epoch, logs):
        other = threading.Thread(target=attempt); other.start(); other.join()
def attempt():
    try:
        trainer.fit(X, y, verbose=0)
    except RuntimeError as error:
        errors.append(str(error))
trainer.fit(X[:100], y[:100], epochs=1, callbacks=[Hold()], verbose=0)
assert len(errors) == 1 and "fitting already" in errors[0], errors
trainer.fit(X[:100], y[:100], epochs=1, verbose=0)
""")


def test_fork_after_the_pool_was_used():
    run("""
pn.set_num_threads(4)
warnings.filterwarnings("ignore", category=DeprecationWarning)    # of Python 3.12, about fork with threads
trainer = make(512)
trainer.fit(X[:4000], y[:4000], epochs=1, batch_size=512, verbose=0)
start, expected = trainer.model.state_dict(), trainer.model.predict(X)
def work():
    assert np.array_equal(trainer.model.predict(X), expected)
    trainer.fit(X[:4000], y[:4000], epochs=1, batch_size=512, verbose=0)
    return trainer.model.arena.tobytes()
read, write = os.pipe()
for _ in range(3):
    child = os.fork()
    if child == 0:
        import hashlib
        try:
            os.write(write, hashlib.sha256(work()).hexdigest().encode())
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
import hashlib
mine = hashlib.sha256(work()).hexdigest()
digests = os.read(read, 1000).decode()
assert digests == 3 * mine, digests
""")


def test_fork_while_another_thread_predicts():
    run("""
warnings.filterwarnings("ignore", category=DeprecationWarning)
model = make(1024).model
expected, stop = model.predict_one(X[0]), threading.Event()
def keep_busy():
    while not stop.is_set():
        model.predict_one(X[0])
other = threading.Thread(target=keep_busy, daemon=True)
other.start()
for _ in range(30):
    child = os.fork()
    if child == 0:          # the copy of the machine says that it is running, but the thread is not here
        signal.alarm(20)
        os._exit(0 if np.array_equal(model.predict_one(X[0]), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set(), other.join()
""")


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_multiprocessing(method, tmp_path):
    script = tmp_path / "jobs.py"
    script.write_text(f"""
import multiprocessing, warnings
import numpy as np
import pynet as pn

X = np.random.default_rng(0).normal(size=(500, 8)).astype("f4")

def job(model):
    trainer = pn.Trainer(model, "mse")
    trainer.fit(X, X[:, :2], epochs=2, verbose=0)
    return model.arena.tobytes(), model.predict(X)

if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    model = pn.Sequential([pn.Input(8), pn.Dense(128, "relu"), pn.Dense(2)])
    model.predict(X)
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        results = pool.map(job, [model] * 4)      # a model travels as a pickle
    arena, predictions = job(model)
    assert all(a == arena and np.array_equal(p, predictions) for a, p in results)
""")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
