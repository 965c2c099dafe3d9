"""What an estimator minimises: a loss of pynet's in the scale of scikit-learn's, and the targets in its terms.

scikit-learn takes half the squared error and adds up the outputs of a row, where pynet takes the mean over them.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from .. import activations, losses

__all__ = ["Objective", "classification", "regression"]


class Objective:
    """A loss, and what belongs to it.

    Attributes
    ----------
    loss : Loss
    weight : float
        What the loss is multiplied by, so that its gradient is scikit-learn's.
    activation : Activation
        Of the last layer.
    name : str
        `out_activation_`: "softmax", "logistic", "identity", "exp" or the name of another activation of pynet's.
    link : callable or None
        What turns the model's outputs into predictions.
    is_sum : bool
        Whether it is the sum over several outputs of what is reported as their mean, as there.
    """

    is_sum = False

    def __init__(self, loss, weight: float, activation, name: str, link=None) -> None:
        self.loss, self.weight, self.activation, self.name, self.link = loss, weight, activation, name, link

    @property
    def carries_weights(self) -> bool:
        """Whether the weights of the rows are a column of the targets."""
        return isinstance(getattr(self.loss, "user", None), LogLinkPoisson)


class LogLinkPoisson:
    """t log(t/y) - t + y with y = exp(z): half the Poisson deviance, summed over the outputs (McCullagh, Nelder 1989).

    The last column of the targets holds the weights of the rows.
    """

    name = "log_link_poisson"

    def value_and_gradient(self, z_bo, target):
        """Return the weighted mean of the loss and its gradient."""
        t_bo, w_b = target[:, :-1], target[:, -1]
        total = w_b.sum()
        share_b1 = (w_b / total if total else w_b)[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            y_bo = np.exp(z_bo)
            loss_bo = xlogy(t_bo, t_bo) - t_bo * z_bo - t_bo + y_bo
            return float((share_b1 * loss_bo).sum()), share_b1 * (y_bo - t_bo)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogLinkPoisson)

    def __hash__(self) -> int:
        return hash(LogLinkPoisson)


LOG_LINK = losses.get(LogLinkPoisson())


def _shown(activation) -> str:
    return "logistic" if activation.name == "sigmoid" else activation.name


def regression(loss, out_activation, outputs: int) -> Objective:
    """Return the objective of a regressor."""
    if isinstance(loss, str) and loss == "poisson":
        if out_activation is not None:
            raise ValueError(
                "loss='poisson' has the exponential as its last activation: out_activation must be None, got "
                f"{out_activation!r}; for another one use loss=pn.losses.Poisson()"
            )
        return Objective(LOG_LINK, 1.0, activations.get(None), "exp", np.exp)
    squared = isinstance(loss, str) and loss == "squared_error"
    made = losses.get("mse" if squared else loss)
    default = "softplus" if isinstance(made, losses.Poisson) else None
    activation = activations.get(default if out_activation is None else out_activation)
    objective = Objective(made, outputs / 2 if squared else 1.0, activation, _shown(activation))
    objective.is_sum = squared and outputs > 1
    return objective


def classification(loss, out_activation, outputs: int, exclusive: bool) -> Objective:
    """Return the objective of a classifier; `exclusive`: of more than two classes, a row has one."""
    usual = isinstance(loss, str) and loss in ("log_loss", "cross_entropy")
    made = losses.get(("cross_entropy" if exclusive else "binary_cross_entropy") if usual else loss)
    activation = activations.get(("softmax" if exclusive else "sigmoid") if out_activation is None else out_activation)
    weight = float(outputs) if usual and not exclusive else 1.0
    return Objective(made, weight, activation, _shown(activation))
