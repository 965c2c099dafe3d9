"""Training steps and predictions of an LSTM against PyTorch's torch.nn.LSTM, one thread each.

python benchmarks/lstm.py [--json FILE] [--rounds 15]

One LSTM, softmax cross-entropy on its last state, Adam (PyTorch's fused one), float32.  Both are measured in turns in
one process, in seconds of processor time, so that other programs disturb little; the figures are medians.  First the
two are seen to compute the same from the same weights.  Needs torch: pip install ".[oracle]"
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import torch
from calibrate import cpu_name

import pynet as pn

CASES = [(29, 12, 64, 16), (48, 13, 128, 32), (28, 28, 128, 128), (100, 8, 32, 64), (100, 64, 256, 64)]
CLASSES = 10


class TorchLSTM(torch.nn.Module):
    """The same net in PyTorch."""

    def __init__(self, features: int, units: int):
        super().__init__()
        self.lstm = torch.nn.LSTM(features, units, batch_first=True)
        self.head = torch.nn.Linear(units, CLASSES)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Race:
    """One case: both nets with the same weights, and data for a step."""

    def __init__(self, steps: int, features: int, units: int, batch: int):
        rng = np.random.default_rng(0)
        self.batch, self.repeats = batch, max(2, int(3e9 / (24 * steps * batch * units * (units + features))))
        self.X = rng.normal(size=(batch, steps, features)).astype(np.float32)
        self.y = rng.integers(0, CLASSES, batch)
        x = pn.Input((steps, features))
        self.model = pn.Model(x, pn.Dense(CLASSES, "softmax")(pn.LSTM(units)(x)))
        self.trainer = pn.Trainer(self.model, "cross_entropy", pn.Adam(1e-4), n_threads=1)
        self.net = TorchLSTM(features, units)
        self.copy()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-4, fused=True)
        self.tensors = torch.as_tensor(self.X), torch.as_tensor(self.y)
        with torch.no_grad():
            expected = self.net(self.tensors[0]).softmax(dim=1).numpy()
        if not np.allclose(self.model.predict(self.X), expected, atol=1e-5):
            raise SystemExit("the two nets disagree")
        self.many = [np.concatenate([a] * self.repeats) for a in (self.X, self.y)]

    def copy(self) -> None:
        """Give PyTorch the weights: its gates stand in the same order, its second bias becomes 0."""
        w, r, b, kernel, bias = (torch.as_tensor(array) for array in self.model.get_weights())
        lstm, head = self.net.lstm, self.net.head
        pairs = [(lstm.weight_ih_l0, w.T), (lstm.weight_hh_l0, r.T), (lstm.bias_ih_l0, b), (lstm.bias_hh_l0, 0 * b),
                 (head.weight, kernel.T), (head.bias, bias)]  # fmt: skip
        with torch.no_grad():
            for tensor, values in pairs:
                tensor.copy_(values)

    def pynet_step(self) -> None:
        self.trainer.fit(*self.many, epochs=1, batch_size=self.batch, shuffle=False, verbose=0)

    def torch_step(self) -> None:
        for _ in range(self.repeats):
            self.optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self.net(self.tensors[0]), self.tensors[1]).backward()
            self.optimizer.step()

    def pynet_one(self) -> None:
        for _ in range(self.repeats):
            self.model.predict(self.X[:1])

    def torch_one(self) -> None:
        with torch.inference_mode():
            for _ in range(self.repeats):
                self.net(self.tensors[0][:1])


def measure(race: Race, rounds: int) -> dict:
    """Return the median microseconds of a step and of a prediction of one sequence."""
    kinds = ("pynet_step", "torch_step", "pynet_one", "torch_one")
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for k in range(rounds + 1):
        for kind in kinds:
            begun = time.process_time()
            getattr(race, kind)()
            if k:  # the first round warms up
                times[kind].append((time.process_time() - begun) / race.repeats * 1e6)
    return {f"{kind}_us": statistics.median(values) for kind, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pn.set_num_threads(1)
    print(f"{cpu_name()}, {pn.cpu_info()['isa']}, one thread, torch {torch.__version__}\n")
    print(f"{'steps x features, units, batch':32s} {'pynet':>9s} {'torch':>9s} {'ratio':>6s}   one sequence, ratio")
    rows = []
    for steps, features, units, batch in CASES:
        r = measure(Race(steps, features, units, batch), arguments.rounds)
        rows.append({"steps": steps, "features": features, "units": units, "batch": batch} | r)
        print(
            f"{f'{steps} x {features}, {units}, {batch}':32s} {r['pynet_step_us']:7.0f}us {r['torch_step_us']:7.0f}us "
            f"{r['torch_step_us'] / r['pynet_step_us']:6.2f}   {r['pynet_one_us']:5.0f}us {r['torch_one_us']:5.0f}us "
            f"{r['torch_one_us'] / r['pynet_one_us']:6.2f}",
            flush=True,
        )
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"cpu": cpu_name(), "isa": pn.cpu_info()["isa"], "torch": torch.__version__, "threads": 1,
                       "rows": rows}, file, indent=1)  # fmt: skip


if __name__ == "__main__":
    main()
