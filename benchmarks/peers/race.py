"""The race: training steps, whole epochs and one-row predictions of pynet and its peers, side by side.

python benchmarks/peers/race.py [--threads 1] [--only pynet,"JAX scan"] [--cases 784-128-10] [--rounds 9]
                                [--mnist FOLDER] [--json FILE] [--plot FILE] [--env FOLDER]

The first run makes an environment (build/peers) with the peers of requirements.txt and this checkout.  Each system is
a process of its own, on the same CPUs as the others; all but one wait.  Before a case is timed all must have computed
the losses of the first three steps alike.  The systems then take turns, some 0.2 s each, and the figures are medians
over the rounds.  The limit of a step is FLOPs / FMA peak + Adam's update, the longer of its bytes / bandwidth and its
exact square roots and divisions (../calibrate.py; the peak is measured in the same turns).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TRAINING = {
    "pynet": "with_pynet", "NumPy": "with_numpy", "PyTorch": "with_torch", "torch.compile": "with_torch",
    "JAX jit": "with_jax", "JAX scan": "with_jax", "scikit-learn": "with_sklearn",
}  # fmt: skip
PREDICTION = {
    "pynet": "with_pynet", "pynet out=": "with_pynet", "NumPy": "with_numpy", "PyTorch": "with_torch",
    "torch.compile": "with_torch", "JAX jit": "with_jax", "scikit-learn": "with_sklearn",
    "ONNX Runtime": "with_onnxruntime",
}  # fmt: skip
EPOCH = {
    "pynet": "with_pynet", "PyTorch": "with_torch", "torch.compile": "with_torch", "PyTorch DataLoader": "with_torch",
    "JAX scan": "with_jax",
}  # fmt: skip
TURN = 0.2  # seconds


def environment(folder: str) -> None:
    """Go on in the environment of the peers; make it first if it is not there."""
    python = os.path.join(folder, "bin", "python")
    if os.path.realpath(sys.prefix) == os.path.realpath(folder):
        return
    if not os.path.exists(python):
        print(f"making {folder} (some minutes, some gigabytes)", file=sys.stderr)
        venv.create(folder, with_pip=True)
        requirements = os.path.join(HERE, "requirements.txt")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", ROOT], check=True)
    os.execv(python, [python, os.path.abspath(__file__), *sys.argv[1:]])


class System:
    """A contestant and its process."""

    def __init__(self, name: str, module: str, threads: int):
        self.name, self.threads, self.alive = name, threads, True
        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
        env = {**os.environ, **dict.fromkeys(variables, str(threads)), "OMP_WAIT_POLICY": "passive"}
        env["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
        env.pop("PYNET_NUM_THREADS", None)
        command = [sys.executable, os.path.join(HERE, "worker.py"), module, name, str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        )

    def ask(self, **order) -> dict:
        """Send an order and return the answer; `alive` is False from the first error on."""
        try:
            print(json.dumps(order), file=self.process.stdin, flush=True)
            answer = json.loads(self.process.stdout.readline() or '{"error": "the process ended"}')
        except (BrokenPipeError, ValueError) as error:
            answer = {"error": str(error)}
        if "error" in answer:
            print(f"  {self.name}: {answer['error'][:300]}", file=sys.stderr)
            self.alive = False
        return answer

    def pace(self, order: str, most: int) -> int:
        """Return how many steps or calls make a turn."""
        n = 1
        while True:
            self.ask(**{order: n})  # some compile for every new n
            took = self.ask(**{order: n}).get("seconds", TURN)
            if took >= TURN or n >= most:
                return n
            n = min(most, max(2 * n, int(n * TURN / max(took, 1e-9))))


def turns(systems: list[System], order: str, rounds: int, each_round=lambda: None) -> dict[str, float]:
    """Return the median seconds of one step or call of each system."""
    paces = {s.name: s.pace(order, 100_000) for s in systems}
    found: dict[str, list[float]] = {s.name: [] for s in systems}
    for k in range(rounds):
        each_round()
        for s in systems[k % len(systems) :] + systems[: k % len(systems)]:
            n = paces[s.name]
            found[s.name].append(s.ask(**{order: n}).get("seconds", float("inf")) / n)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def alike(answers: dict[str, list[float]], what: str) -> None:
    """Stop the race unless all systems computed the same numbers."""
    reference = answers.get("NumPy") or next(iter(answers.values()))
    for name, values in answers.items():
        if len(values) != len(reference) or any(
            abs(a - b) > 2e-3 * max(abs(b), 1e-3) for a, b in zip(values, reference, strict=True)
        ):
            raise SystemExit(f"{what}: {name} computed {values}, the others {reference}")


def race_epochs(systems: list[System], rounds: int) -> dict[str, float]:
    """Return the median seconds of an epoch; after the first two, all must have learned equally well.

    Each shuffles in its own order, some in another each time: MNIST's validation losses then lie up to 13 % apart.
    """
    losses = {s.name: s.ask(epochs=2)["loss"] for s in systems}
    if max(losses.values()) > 1.25 * min(losses.values()):
        raise SystemExit(f"an epoch: validation losses {losses}")
    return turns(systems, "epochs", rounds)


def start(chosen, table: dict[str, str], order: dict) -> tuple[list[System], dict]:
    """Return the systems that can, and what they answered."""
    systems = [System(name, module, chosen.threads) for name, module in table.items() if name in chosen.only]
    answers = {s.name: s.ask(**order) for s in systems}
    for s in systems:
        if not s.alive:
            s.process.kill()
    return [s for s in systems if s.alive], answers


def finish(systems: list[System]) -> None:
    for s in systems:
        s.process.stdin.close()
        s.process.wait()


def line(name: str, batch: int, figures: dict[str, float], limit: float | None) -> dict:
    """Print a row of the table and return it for the JSON."""
    ours = figures.get("pynet", float("nan"))
    peers = {k: v for k, v in figures.items() if not k.startswith("pynet")}
    best = min(peers, key=peers.__getitem__) if peers else None
    shown = "  ".join(f"{k} {v * 1e6:.4g}" for k, v in figures.items())
    ahead = f"{peers[best] / ours:6.2f}x of {best}" if best else ""
    bound = f", {ours / limit:.2f} of the limit {limit * 1e6:.4g}" if limit else ""
    print(f"{name} @{batch}: {shown} us; {ahead}{bound}", flush=True)
    row = {"net": name, "batch": batch, "us": {k: v * 1e6 for k, v in figures.items()}, "best_peer": best}
    return row | ({"limit_us": limit * 1e6} if limit else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--only", help="systems, with commas between them", default=",".join({**TRAINING, **PREDICTION, **EPOCH})
    )
    parser.add_argument("--cases", help="part of the names of the nets", default="")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--mnist", help="with its four files: epochs of them as well")
    parser.add_argument("--json"), parser.add_argument("--plot")
    parser.add_argument("--env", default=os.path.join(ROOT, "build", "peers"))
    chosen = parser.parse_args()
    if chosen.mnist and not os.path.isdir(chosen.mnist):
        parser.error(f"--mnist: there is no folder {chosen.mnist}")
    environment(chosen.env)
    chosen.only = chosen.only.split(",")

    sys.path.insert(1, os.path.dirname(HERE))
    from calibrate import Limits, cpu_name
    from cases import EPOCH as EPOCH_NET
    from cases import PREDICTIONS, STEPS

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: chosen.threads])
    limits = Limits()
    print(f"{cpu_name()}, {chosen.threads} thread(s), FMA peak {limits.peak:.0f} GFLOP/s a core; us a step, medians\n")
    result: dict = {
        "cpu": cpu_name(),
        "threads": chosen.threads,
        "peak_gflops": limits.peak,
        "steps": [],
        "epoch": [],
        "predict": [],
    }

    def save() -> None:
        """Keep what there is, should a later part stop the race."""
        if chosen.json:
            with open(chosen.json, "w") as file:
                json.dump(result, file, indent=1)

    for i, net in enumerate(STEPS):
        if chosen.cases not in f"{net.name}@{net.batch}":
            continue
        row_bytes = 4 * (net.sizes[0] + net.sizes[-1]) * net.batch
        batches = int(min(max(4, 1e8 / row_bytes), 50_000, max(4, 2e10 / (6 * net.batch * net.weights))))
        systems, answers = start(chosen, TRAINING, {"train": i, "batches": batches})
        alike({s.name: answers[s.name]["losses"] for s in systems}, f"{net.name} @{net.batch}")
        bounds: list[float] = []

        def measure_limit(net=net, bounds=bounds):
            limits.peak = limits.measure_peak()
            bounds.append(limits.step_seconds(list(net.sizes), net.batch, chosen.threads))

        figures = turns(systems, "steps", chosen.rounds, measure_limit)
        finish(systems)
        result["steps"].append(line(net.name, net.batch, figures, statistics.median(bounds)))
        save()
    for folder in [None, chosen.mnist] if chosen.mnist else [None]:
        what = "MNIST epoch" if folder else "epoch"
        if chosen.cases not in f"{EPOCH_NET.name}@{what}":
            continue
        systems, _ = start(chosen, EPOCH, {"epoch": folder and os.path.abspath(folder)})
        row = line(f"{EPOCH_NET.name}, {what}", EPOCH_NET.batch, race_epochs(systems, chosen.rounds), None)
        result["epoch"].append(row | {"data": "MNIST" if folder else "random numbers"})
        finish(systems)
        save()
    for i, net in enumerate(PREDICTIONS):
        if chosen.cases not in f"{net.name}@predict":
            continue
        systems, answers = start(chosen, PREDICTION, {"predict": i})
        alike({s.name: answers[s.name]["values"] for s in systems}, f"prediction of {net.name}")
        result["predict"].append(line(net.name, 1, turns(systems, "calls", chosen.rounds), None))
        finish(systems)
        save()
    if chosen.plot:
        from plot import draw

        draw(result, chosen.plot)


if __name__ == "__main__":
    main()
