"""Checks of what the parameters of an estimator are, as fit begins."""

from __future__ import annotations

import math
from numbers import Integral

import numpy as np

from .. import _check

__all__ = ["SOLVERS", "check_parameters"]

SOLVERS = ("lbfgs", "sgd", "adam")
RATES = ("constant", "invscaling", "adaptive", "cosine")
FLAGS = ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping", "batch_norm")


def check_parameters(net) -> None:
    """Refuse parameters that can never be right.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter, what it is and what was expected.
    """
    for name, choices in (("solver", SOLVERS), ("learning_rate", RATES)):
        if getattr(net, name) not in choices:
            raise _check.unknown(name, getattr(net, name), choices)
    for name in FLAGS:
        if not isinstance(getattr(net, name), (bool, np.bool_)):
            raise TypeError(f"{name} must be True or False, got {getattr(net, name)!r}")
    for name in ("alpha", "power_t", "tol"):
        _check.number(name, getattr(net, name), 0.0)
    for name in ("learning_rate_init", "epsilon"):
        _check.number(name, getattr(net, name), 0.0, low_open=True)
    for name in ("momentum", "beta_1", "beta_2", "validation_fraction"):
        _check.fraction(name, getattr(net, name))
    for name in ("max_iter", "max_fun"):
        _check.integer(name, getattr(net, name), 1)
    if net.n_iter_no_change != math.inf:
        _check.integer("n_iter_no_change", net.n_iter_no_change, 1)
    if not (isinstance(net.batch_size, str) and net.batch_size == "auto"):
        _check.integer("batch_size", net.batch_size, 1)
    if not isinstance(net.verbose, (bool, np.bool_, Integral)):
        raise TypeError(f"verbose must be True, False or a number, got {net.verbose!r}")
