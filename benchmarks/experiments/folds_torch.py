"""The PyTorch side of folds.py: a plain loop, with what its users have for it.

The rows of an epoch are gathered once, batches are slices of them; fused AdamW; PyTorch's own initial weights.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from folds_systems import BATCH, CONSTANT, FALLING, TOL, Job, layers_drawn, log_uniform, score
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class Plain:
    """The rate stays; training ends when the validation score does, and the best epoch counts."""

    name, rates = "PyTorch", CONSTANT
    schedule = False

    def draw(self, rng) -> dict[str, Any]:
        """Draw the same layers as pynet, and AdamW's decay of the weights."""
        return layers_drawn(rng) | {"weight_decay": log_uniform(rng, 1e-4, 1e-1)}

    def module(self, config, features: int, outputs: int) -> nn.Sequential:
        """Return the net; with batch norm, dropout stands behind the last hidden layer only, as in pynet."""
        layers: list[nn.Module] = []
        for k, width in enumerate(config["widths"]):
            layers.append(nn.Linear(features, width))
            if config["batch_norm"]:
                layers.append(nn.BatchNorm1d(width))
            layers.append(ACTIVATIONS[config["activation"]]())
            if config["dropout"] and (not config["batch_norm"] or k == len(config["widths"]) - 1):
                layers.append(nn.Dropout(config["dropout"]))
            features = width
        return nn.Sequential(*layers, nn.Linear(features, outputs))

    def train(self, config, job: Job, X, y, validate=None):
        """Return the trained net, and (score, epoch) of the best epoch by `validate`, whose weights it then has."""
        torch.manual_seed(job.seed)
        X = torch.from_numpy(X)
        y = torch.from_numpy(y.astype(np.float32) if job.regression else y)
        net = self.module(config, X.shape[1], 1 if job.regression else int(y.max()) + 1)
        adam = torch.optim.AdamW(net.parameters(), config["rate"], weight_decay=config["weight_decay"], fused=True)
        squared, log_loss = nn.MSELoss(), nn.CrossEntropyLoss()
        best, best_epoch, weights, waited = -math.inf, 0, None, 0
        for epoch in range(job.epochs):
            if self.schedule:
                adam.param_groups[0]["lr"] = config["rate"] * (1 + math.cos(math.pi * epoch / job.epochs)) / 2
            net.train()
            order = torch.randperm(len(X))
            X_epoch, y_epoch = X[order], y[order]
            for at in range(0, len(X) - (len(X) % BATCH == 1), BATCH):  # one row has no variance
                adam.zero_grad()
                z = net(X_epoch[at : at + BATCH])
                t = y_epoch[at : at + BATCH]
                loss = squared(z[:, 0], t) if job.regression else log_loss(z, t)
                loss.backward()
                adam.step()
            if validate is None:
                continue
            value = validate(self.predictor(net, job))
            waited = waited + 1 if value < best + TOL else 0
            if value > best:
                best, best_epoch, weights = value, epoch + 1, copy.deepcopy(net.state_dict())
            if waited > job.patience:
                break
        if weights is not None:
            net.load_state_dict(weights)
        return net, best, best_epoch

    def predictor(self, net, job: Job):
        """Return a function that predicts numbers or classes of an array."""

        def predict(X):
            net.eval()
            with torch.inference_mode():
                z = net(torch.from_numpy(X))
            return (z[:, 0] if job.regression else z.argmax(dim=1)).numpy()

        return predict

    def search(self, config, job: Job, X, y, X_val, y_val) -> tuple[float, int]:
        """Return the score on the validation rows, and the epochs that `refit` shall run."""
        _, best, epoch = self.train(config, job, X, y, lambda predict: score(job, y_val, predict(X_val)))
        return best, epoch

    def refit(self, config, job: Job, X, y):
        """Return a function that predicts."""
        return self.predictor(self.train(config, job, X, y)[0], job)


class Cosine(Plain):
    """The same with the schedule that pynet's estimators have."""

    name, rates = "PyTorch, cosine", FALLING
    schedule = True
