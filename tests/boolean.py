"""Boolean functions by their rows, and what a network says to them."""

import itertools

import numpy as np

FORMS = ("dnf", "cnf")


def rows(n):
    """The rows of a truth table, not by the code under test."""
    return list(itertools.product((0, 1), repeat=n))


def table(number, n):
    """The outputs of function `number` of n inputs."""
    return [number >> r & 1 for r in range(2**n)]


def answers(model, **options):
    n = model.inputs[0].width
    return model.predict(np.array(rows(n)), **options)[:, 0].tolist()
