"""A policy in a real-time loop: swing a pendulum up and balance it, a thousand times a second.

The expert pumps energy into the swing (Astrom, Furuta 2000) and balances at the top by LQR.  A network imitates it, and
is asked in the states that its own actions lead to, round after round (DAgger: Ross, Gordon, Bagnell 2011).  Then the
network alone drives the pendulum in real time: every millisecond it reads the state, predicts one row, and acts.

    python examples/control_policy.py

prints (the times are those of a machine with other work to do and no real-time kernel: what misses deadlines there is
not the network, it is the process that waits for its turn)

    upright after 10 s  expert 100%, network 100% of 50
    the loop            5000 ticks of 1 ms, cos(theta) = 1.00 at the end
    read, predict       median 10.2 us, 99.9 % 59.0 us, worst 114.1 us
    deadlines           86 missed; the worst tick began 4273 us late
"""

import math
import time

import numpy as np

import pynet as pn

G, L, DT, LIMIT = 9.81, 1.0, 1e-3, 4.0  # of a mass of 1 kg; torque at most LIMIT N m, too little to lift it at once


def expert(theta, omega):
    """Torque for an angle (0: upright) and its velocity, arrays of any shape."""
    missing = G * L - (0.5 * (L * omega) ** 2 + G * L * np.cos(theta))
    pump = 2.0 * missing * np.sign(omega + 1e-9)
    angle = (theta + np.pi) % (2 * np.pi) - np.pi
    balance = -(20.1 * angle + 6.4 * omega)  # LQR for Q = diag(10, 1), R = 1
    return np.clip(np.where((np.abs(angle) < 0.4) & (np.abs(omega) < 2), balance, pump), -LIMIT, LIMIT)


def step(theta, omega, torque):
    """The pendulum, a time step later (semi-implicit Euler)."""
    omega = omega + DT * (G / L * np.sin(theta) + torque / L**2 - 0.05 * omega)
    return theta + DT * omega, omega


def features(theta, omega):
    return np.stack([np.cos(theta), np.sin(theta), omega], axis=-1)


def visit(act, starts: int, seconds: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """Let `act` drive many pendulums at once; return some of the states they go through."""
    theta, omega = rng.uniform(-np.pi, np.pi, starts), rng.uniform(-2, 2, starts)
    theta[: starts // 2], omega[: starts // 2] = np.pi + 0.01 * rng.normal(size=starts // 2), 0.0
    states = []
    for k in range(int(seconds / DT)):
        if k % 10 == 0:
            states.append((theta, omega))
            torque = act(theta, omega)
        theta, omega = step(theta, omega, torque)
    return tuple(np.concatenate(column) for column in zip(*states, strict=True))


model = pn.Sequential([pn.Input(3, scale=[1, 1, 1 / 4]), pn.Dense(32, "tanh"), pn.Dense(32, "tanh"), pn.Dense(1)])
trainer = pn.Trainer(model, "mse", pn.Adam(2e-3))


def policy(theta, omega):
    return np.clip(model.predict(features(theta, omega))[:, 0], -LIMIT, LIMIT)


rng = np.random.default_rng(0)
theta, omega = visit(expert, 30, 8.0, rng)
for _round in range(4):
    trainer.fit(features(theta, omega), expert(theta, omega)[:, None], epochs=10, batch_size=256, verbose=0)
    more = visit(policy, 30, 8.0, rng)
    theta, omega = (np.concatenate(pair) for pair in zip((theta, omega), more, strict=True))
trainer.fit(features(theta, omega), expert(theta, omega)[:, None], epochs=20, batch_size=256, verbose=0)


def upright(act, starts: int = 50) -> float:
    """Share of pendulums that stand still, upright, ten seconds after they hung down."""
    theta, omega = np.pi + 0.05 * np.random.default_rng(1).normal(size=starts), np.zeros(starts)
    for _ in range(int(10 / DT)):
        theta, omega = step(theta, omega, act(theta, omega))
    return float(np.mean((np.cos(theta) > 0.99) & (np.abs(omega) < 0.2)))


print(f"upright after 10 s  expert {upright(expert):.0%}, network {upright(policy):.0%} of 50")


# ---- the loop: everything that it needs is made beforehand ----------------------------------------------------------

x, torque = np.empty(3, np.float32), np.empty(1, np.float32)
model.predict_one(x, out=torque)  # the first call makes the machine
theta, omega, late, busy = math.pi + 0.05, 0.0, [], []
due = time.perf_counter()
for _tick in range(5000):
    due += DT
    time.sleep(max(due - time.perf_counter() - 2e-4, 0))
    while time.perf_counter() < due:  # the last of the wait awake: sleep wakes up too late
        pass
    begun = time.perf_counter()
    x[0], x[1], x[2] = math.cos(theta), math.sin(theta), omega
    model.predict_one(x, out=torque)
    done = time.perf_counter()
    late.append(begun - due)
    busy.append(done - begun)
    theta, omega = step(theta, omega, min(max(float(torque[0]), -LIMIT), LIMIT))

late, busy = 1e6 * np.array(late), 1e6 * np.array(busy)
print(f"the loop            {len(busy)} ticks of {1000 * DT:g} ms, cos(theta) = {math.cos(theta):.2f} at the end")
slow = np.percentile(busy, 99.9)
print(f"read, predict       median {np.median(busy):.1f} us, 99.9 % {slow:.1f} us, worst {busy.max():.1f} us")
print(f"deadlines           {np.sum(late + busy > 1e6 * DT)} missed; the worst tick began {late.max():.0f} us late")
