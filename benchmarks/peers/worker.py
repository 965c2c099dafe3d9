"""One system of the race in a process of its own: it obeys lines of JSON on standard input.

{"train": i, "batches": n}   make case i of STEPS and answer {"losses": [three]}
{"steps": n}                 take n steps, answer {"seconds": of all}
{"epoch": FOLDER}            make the case EPOCH, of MNIST's four files there; null: of random numbers
{"epochs": n}                train n epochs of it, answer {"seconds": of all, "loss": of the validation data}
{"predict": i}               make case i of PREDICTIONS and answer {"values": [...]}
{"calls": n}                 predict n times, answer {"seconds": of all}
Whatever fails is answered {"error": text}.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time


def main() -> None:
    module, name, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what systems print does not mix with the answers

    from cases import EPOCH, PREDICTIONS, STEPS  # after the affinity: NumPy's BLAS counts CPUs when it is loaded

    system = importlib.import_module(module)
    contestant = row = None

    def obey(order: dict) -> dict:
        nonlocal contestant, row
        if "train" in order:
            contestant = None  # its memory first
            net = STEPS[order["train"]]
            contestant = system.TRAINING[name](net, *net.data(order["batches"]), threads)
            return {"losses": contestant.losses(3)}
        if "predict" in order:
            net = PREDICTIONS[order["predict"]]
            contestant, row = system.PREDICTION[name](net, threads), net.data(1)[0][0]
            return {"values": [float(v) for v in contestant(row).ravel()]}
        if "epoch" in order:
            contestant = system.EPOCH[name](EPOCH, *EPOCH.of_an_epoch(order["epoch"]), threads)
            return {"ready": True}
        begun = time.perf_counter()
        if "epochs" in order:
            loss = contestant.epochs(order["epochs"])
            return {"seconds": time.perf_counter() - begun, "loss": loss}
        if "steps" in order:
            contestant.steps(order["steps"])
        else:
            for _ in range(order["calls"]):
                contestant(row)
        return {"seconds": time.perf_counter() - begun}

    for line in sys.stdin:
        try:
            answer = obey(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
