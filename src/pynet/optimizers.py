"""Optimizers: the constants of an update rule. The rules themselves stand in reference_updates.py, on one page.

Those of second order have no rule of one step, but an algorithm: reference_lbfgs.py, reference_lm.py.

`weight_decay` adds ``weight_decay * p`` to the gradient; AdamW instead shrinks the parameters themselves.
"""

from __future__ import annotations

import numpy as np

from ._check import fraction, integer, number
from ._record import lookup
from .optimizer_base import Optimizer

__all__ = [
    "LBFGS", "SGD", "TABLE", "Adagrad", "Adam", "AdamW", "LevenbergMarquardt", "Optimizer", "RMSProp", "Rprop",
    "SecondOrder", "from_config", "get",
]  # fmt: skip


class SGD(Optimizer):
    """Gradient descent: ``p -= lr g``; with momentum ``v = momentum v + g; p -= lr v``.

    With `nesterov` (Sutskever et al. 2013) ``p -= lr (g + momentum v)``.

    Parameters
    ----------
    learning_rate : default 0.01
    momentum : float inside [0, 1), default 0 (Polyak 1964)
    nesterov : bool, default False; needs momentum > 0
    weight_decay : float >= 0, default 0

    Raises
    ------
    ValueError
        A constant out of its range (this holds for all optimizers); nesterov without momentum.
    """

    name = "sgd"
    fields = ("learning_rate", "momentum", "nesterov", "weight_decay")

    def __init__(self, learning_rate=0.01, momentum=0.0, nesterov: bool = False, weight_decay=0.0) -> None:
        super().__init__(learning_rate, weight_decay)
        self.momentum = fraction("momentum", momentum)
        self.nesterov = bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum > 0, got 0.0")

    @property
    def rule(self):
        return "nesterov" if self.nesterov else "momentum" if self.momentum else "sgd"

    def constants(self):
        return (self.momentum,)


class Adam(Optimizer):
    """Adam (Kingma, Ba 2015), with bias correction.

    Parameters
    ----------
    learning_rate : default 1e-3
    beta_1, beta_2 : float inside [0, 1), default 0.9 and 0.999
    epsilon : float > 0, default 1e-8
    weight_decay : float >= 0, default 0
    """

    name = "adam"
    fields = ("learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay")

    def __init__(self, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8, weight_decay=0.0) -> None:
        super().__init__(learning_rate, weight_decay)
        self.beta_1, self.beta_2 = fraction("beta_1", beta_1), fraction("beta_2", beta_2)
        self.epsilon = number("epsilon", epsilon, 0.0, low_open=True)

    def constants(self):
        return self.beta_1, self.beta_2, self.epsilon


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov, Hutter 2019): first ``p *= 1 - lr weight_decay``, then Adam.

    Parameters
    ----------
    learning_rate : default 1e-3
    beta_1, beta_2 : float inside [0, 1), default 0.9 and 0.999
    epsilon : float > 0, default 1e-8
    weight_decay : float >= 0, default 0.01
    """

    name = "adamw"

    def __init__(self, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8, weight_decay=0.01) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, weight_decay)


class RMSProp(Optimizer):
    """``v = rho v + (1 - rho) g^2; p -= lr g / (sqrt(v) + epsilon)`` (Tieleman, Hinton 2012).

    Parameters
    ----------
    learning_rate : default 1e-3
    rho : float inside [0, 1), default 0.9
    epsilon : float > 0, default 1e-8
    weight_decay : float >= 0, default 0
    """

    name = "rmsprop"
    fields = ("learning_rate", "rho", "epsilon", "weight_decay")

    def __init__(self, learning_rate=1e-3, rho=0.9, epsilon=1e-8, weight_decay=0.0) -> None:
        super().__init__(learning_rate, weight_decay)
        self.rho = fraction("rho", rho)
        self.epsilon = number("epsilon", epsilon, 0.0, low_open=True)

    def constants(self):
        return self.rho, 0.0, self.epsilon


class Adagrad(Optimizer):
    """``v += g^2; p -= lr g / (sqrt(v) + epsilon)`` (Duchi, Hazan, Singer 2011).

    Parameters
    ----------
    learning_rate : default 0.01
    epsilon : float > 0, default 1e-10
    weight_decay : float >= 0, default 0
    """

    name = "adagrad"
    fields = ("learning_rate", "epsilon", "weight_decay")

    def __init__(self, learning_rate=0.01, epsilon=1e-10, weight_decay=0.0) -> None:
        super().__init__(learning_rate, weight_decay)
        self.epsilon = number("epsilon", epsilon, 0.0, low_open=True)

    def constants(self):
        return 0.0, 0.0, self.epsilon


class Rprop(Optimizer):
    """Resilient backpropagation, the iRprop- of Igel, Huesken 2000 (Riedmiller, Braun 1993). For full batches.

    Each parameter has a step of its own, which grows while the sign of its gradient stays and shrinks when it turns.

    Parameters
    ----------
    learning_rate : default 0.01; the first step of every parameter
    eta_minus : float inside (0, 1), default 0.5
    eta_plus : float >= 1, default 1.2
    step_min, step_max : float > 0, default 1e-6 and 50
    """

    name = "rprop"
    fields = ("learning_rate", "eta_minus", "eta_plus", "step_min", "step_max")

    def __init__(self, learning_rate=0.01, eta_minus=0.5, eta_plus=1.2, step_min=1e-6, step_max=50.0) -> None:
        super().__init__(learning_rate)
        self.eta_minus = number("eta_minus", fraction("eta_minus", eta_minus), 0.0, low_open=True)
        self.eta_plus = number("eta_plus", eta_plus, 1.0)
        self.step_min = number("step_min", step_min, 0.0, low_open=True)
        self.step_max = number("step_max", step_max, self.step_min)

    def constants(self):
        return self.eta_minus, self.eta_plus, self.step_min, self.step_max


class SecondOrder(Optimizer):
    """Base of the searches for a minimum of the loss over all rows: an epoch is one iteration; second_order.py.

    They have no learning rate, and need a loss that is the same each time: no dropout, noise or batch statistics, no
    L1, max_norm or clipping.

    Parameters
    ----------
    gradient_tolerance, loss_tolerance : float >= 0
        The fit ends where no element of the gradient is larger, or where an epoch lowers the loss by no more than this
        share of it.
    max_evaluations : int
        Most evaluations of the loss in an epoch.
    """

    full_batch = True
    kind = n_slots = 0  # of the rules of one step; a search has none of them
    weight_decay = 0.0

    @property
    def learning_rate(self) -> None:
        """None: there is none, and setting one is refused."""

    @learning_rate.setter
    def learning_rate(self, value) -> None:
        raise ValueError(f"{type(self).__name__} has no learning rate")

    def __init__(self, gradient_tolerance, loss_tolerance, max_evaluations) -> None:
        self.gradient_tolerance = number("gradient_tolerance", gradient_tolerance, 0.0)
        self.loss_tolerance = number("loss_tolerance", loss_tolerance, 0.0)
        self.max_evaluations = integer("max_evaluations", max_evaluations, 1, 1 << 30)

    def rates(self, step: int, count: int) -> np.ndarray:
        raise ValueError(f"{type(self).__name__} works on all rows at once, by fit; it does no single steps")

    def settings(self) -> dict:
        """Return the numbers that the machines' searches take; see pn_search in csrc/pynet.h."""
        taken = {field: getattr(self, field) for field in self.fields}
        return taken | {"most_evaluations": taken.pop("max_evaluations")}


class LBFGS(SecondOrder):
    """L-BFGS (Nocedal 1980; Nocedal, Wright 2006, section 7.2) with the line search of Moré and Thuente (1994).

    For losses without kinks over all rows.  An epoch is one step, that meets the strong Wolfe conditions.

    Parameters
    ----------
    memory : int >= 1, default 10
        Pairs of steps and changes of the gradient from which the curvature is known.
    gradient_tolerance : float >= 0, default 1e-8
        The fit ends where no element of the gradient is larger.
    loss_tolerance : float >= 0, default 1e-12
        Or where an epoch lowers the loss by no more than this share of it.
    max_evaluations : int, default 20
        Most evaluations of loss and gradient in one line search.
    """

    name = "lbfgs"
    fields = ("memory", "gradient_tolerance", "loss_tolerance", "max_evaluations")

    def __init__(self, memory=10, gradient_tolerance=1e-8, loss_tolerance=1e-12, max_evaluations=20) -> None:
        super().__init__(gradient_tolerance, loss_tolerance, max_evaluations)
        self.memory = integer("memory", memory, 1, 1000)


class LevenbergMarquardt(SecondOrder):
    """Levenberg-Marquardt (Levenberg 1944, Marquardt 1963) for loss "mse", damped by the rule of Nielsen (1999).

    For nets of up to some thousand weights: the Jacobian's square is kept and decomposed, in float64.  An epoch is one
    Jacobian, and steps with ever more damping until one lowers the loss.

    Parameters
    ----------
    damping : float > 0, default 1e-3
        The first one, as a share of the largest element on the diagonal of J'J, which is a mean over the rows.
    damping_min, damping_max : float > 0, default 1e-15 and 1e10
        Bounds of what is added to that diagonal.  The fit ends where damping_max does not lower the loss.
    gradient_tolerance : float >= 0, default 1e-8
        The fit ends where no element of the gradient is larger.
    loss_tolerance : float >= 0, default 1e-12
        Or where an epoch lowers the loss by no more than this share of it.
    max_evaluations : int, default 20
        Most steps that an epoch tries.
    max_weights : int, default 5000
        More weights to train are refused: n of them need 16 n^2 bytes, and each epoch n^3 / 3 multiplications.
    """

    name = "levenberg_marquardt"
    fields = (
        "damping", "damping_min", "damping_max", "gradient_tolerance", "loss_tolerance", "max_evaluations",
        "max_weights",
    )  # fmt: skip

    def __init__(
        self,
        damping=1e-3,
        damping_min=1e-15,
        damping_max=1e10,
        gradient_tolerance=1e-8,
        loss_tolerance=1e-12,
        max_evaluations=20,
        max_weights=5000,
    ) -> None:
        super().__init__(gradient_tolerance, loss_tolerance, max_evaluations)
        self.damping = number("damping", damping, 0.0, low_open=True)
        self.damping_min = number("damping_min", damping_min, 0.0, low_open=True)
        self.damping_max = number("damping_max", damping_max, self.damping_min)
        self.max_weights = integer("max_weights", max_weights, 1, 1 << 20)


#: All optimizers, by name.
TABLE = {made.name: made for made in (SGD, Adam, AdamW, RMSProp, Adagrad, Rprop, LBFGS, LevenbergMarquardt)}


def get(spec) -> Optimizer:
    """Return the optimizer that `spec` means.

    Parameters
    ----------
    spec : str, Optimizer or dict
        A name, the thing itself, its config dict.

    Raises
    ------
    ValueError
        If the name is unknown (with a close match) or a parameter is impossible.
    TypeError
        If `spec` is something else.
    """
    return lookup("optimizer", spec, Optimizer, TABLE)


def from_config(config: dict, learning_rate=None) -> Optimizer:
    """Return the optimizer of a config dict.

    Parameters
    ----------
    config : dict
    learning_rate : as of an Optimizer, optional
        Instead of its own.

    Raises
    ------
    ValueError
        As `get`; and if its learning rate was a plain callable, which has to be given again.
    """
    return get(config if learning_rate is None else {**config, "learning_rate": learning_rate})
