"""A sensor that hears whether a machine is well: an integer network, as one C file for a microcontroller.

The sensor gives 64 samples of vibration as bytes, -128 to 127.  The network says whether the machine runs well, is out
of balance or has a damaged bearing.  The signals are made by a formula; with records of yours, replace `record`.

    python examples/sensor_net/train.py
    cc -std=c99 -O2 -I. examples/sensor_net/main.c net.c -o sensor && ./sensor < windows.txt

The first command writes net.c, net.h and windows.txt (500 windows for the test, each with its class) and prints

    floats    95.4% of 500 windows right
    integers  95.6%
    needs     3146 bytes of flash, 48 of memory, 2611 multiplications a window

The second prints on the computer what it would print on the device:

    well       174
    unbalanced 163
    bearing    163
    478 of 500 right
"""

import numpy as np

import pynet as pn

CLASSES = ["well", "unbalanced", "bearing"]
SAMPLES = 64


def record(windows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return windows int8 [N, SAMPLES] and what was the matter [N]."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=windows)
    t = np.arange(SAMPLES) / SAMPLES + rng.random((windows, 1))
    turns = rng.uniform(2, 4, (windows, 1))  # of the shaft in a window
    signal = 12 * np.sin(2 * np.pi * turns * t) + rng.normal(0, 6, (windows, SAMPLES))
    signal += np.where(y == 1, rng.uniform(20, 60, windows), 0)[:, None] * np.sin(2 * np.pi * turns * t)
    knocks = (3.6 * turns * t) % 1  # of a ball that rolls over the damage, and rings on
    ringing = np.exp(-6 * knocks) * np.sin(2 * np.pi * 4 * knocks)
    signal += np.where(y == 2, rng.uniform(30, 80, windows), 0)[:, None] * ringing
    return np.clip(np.round(signal), -128, 127).astype(np.int8), y


X_train, y_train = record(12_000, seed=0)
X_test, y_test = record(500, seed=1)

model = pn.Sequential([
    pn.Input(SAMPLES, scale=1 / 32),
    pn.Dense(32, activation="relu"),
    pn.Dropout(0.1),
    pn.Dense(16, activation="relu"),
    pn.Dense(3, activation="softmax"),
])  # fmt: skip
model.metadata["classes"] = CLASSES
trainer = pn.Trainer(model, "cross_entropy", pn.Adam(2e-3), metrics=["accuracy"])
stop = pn.EarlyStopping(patience=15, restore_best_weights=True)
trainer.fit(X_train, y_train, epochs=200, validation_split=0.2, callbacks=[stop], verbose=0)

small = model.quantize(X_train)
pn.export.to_c(small, "net.c")
np.savetxt("windows.txt", np.column_stack([y_test, X_test]), fmt="%d")

right = np.mean(small.predict_integers(X_test).argmax(axis=1) == y_test)
need = small.footprint()
print(f"floats    {trainer.evaluate(X_test, y_test)['accuracy']:.1%} of {len(y_test)} windows right")
print(f"integers  {right:.1%}")
print(f"needs     {need.flash} bytes of flash, {need.ram} of memory, {need.macs} multiplications a window")
