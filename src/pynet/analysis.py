"""What happens inside a network on given data: gradients, variances and idle units, layer by layer.

Symmetries of the weights stand in symmetry.py, pictures of the loss in landscape.py, plots in analysis_plots.py; all of
them are reached from here, as ``pn.analysis``.  Every function works on a copy: the model it is given stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _check, activations
from .arrays import as_inputs, check_finite
from .landscape import LossPath, LossSurface, loss_along_path, loss_surface
from .layers import Activation, Add, Concat, Dense
from .opened import Flow, open_up, values
from .symmetry import Path, interpolate_units, permute_units, straight_path

__all__ = [
    "DeadUnits", "GradientFlow", "LossPath", "LossSurface", "Path", "VarianceFlow", "dead_units", "gradient_flow",
    "interpolate_units", "loss_along_path", "loss_surface", "permute_units", "straight_path", "variance_flow"
]  # fmt: skip

# ---- results --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """How much gradient reaches each layer; one entry for each call of a layer, K in all, Inputs not counted.

    Attributes
    ----------
    layers, activations : lists of str [K]
        Names of the layer and of its activation.
    depth : int array [K]
        Calls between the Inputs and this one on the longest way, itself included: 1, 2, ...
    weight_norms : float array [K]
        Frobenius norm of dL/dW over the matrices of the layer, L the mean loss of all rows, penalties left out;
        nan for a layer that has none or is frozen.
    value_norms : float array [K]
        Root mean square over the rows of |dl/dz|, l the loss of a row, z what a Dense computes before its activation,
        for every other layer its output; nan where no loss depends on it.
    bound : float array [K]
        What `value_norms` is at most if no kernel has a spectral norm above 1: from the outputs down, each activation
        lets through its largest slope (sigmoid: 0.25, so 0.25^d after d of them), and paths add up.  It begins again
        from what was measured below a layer that is none of Dense, Activation, Add, Concat.
    parameter_norms : dict
        {parameter name: norm of its gradient} of all trainable parameters.
    """

    layers: list[str]
    activations: list[str]
    depth: np.ndarray
    weight_norms: np.ndarray
    value_norms: np.ndarray
    bound: np.ndarray
    parameter_norms: dict[str, float]

    def plot(self, ax=None):
        """Draw it; see `analysis_plots.plot_gradient_flow`."""
        from .analysis_plots import plot_gradient_flow

        return plot_gradient_flow(self, ax)


@dataclass(frozen=True, eq=False)
class VarianceFlow:
    """Variances on the way up and down, measured and predicted; one entry for each call of a layer but the Inputs.

    Attributes
    ----------
    layers, depth
        As of GradientFlow.
    forward, forward_theory : float array [K]
        Variance, over rows and units, of z: what a Dense computes before its activation, for other layers the output.
    backward, backward_theory : float array [K]
        Mean square, over rows and units, of dl/dz, l the loss of a row.
    fan_in_variance, fan_out_variance : float array [K]
        I Var[W] and O Var[W] of a kernel [I,O], nan for layers without.  Signals keep their variance where these
        are 1 (linear and tanh-like layers: Glorot and Bengio 2010, eq. 10 and 11) or 2 (ReLU: He et al. 2015,
        eq. 10 and 14).
    """

    layers: list[str]
    depth: np.ndarray
    forward: np.ndarray
    forward_theory: np.ndarray
    backward: np.ndarray
    backward_theory: np.ndarray
    fan_in_variance: np.ndarray
    fan_out_variance: np.ndarray

    def plot(self, ax=None):
        """Draw it; see `analysis_plots.plot_variance_flow`."""
        from .analysis_plots import plot_variance_flow

        return plot_variance_flow(self, ax)


@dataclass(frozen=True, eq=False)
class DeadUnits:
    """Which units let no gradient through; one entry for each activation that can block one, K in all.

    Attributes
    ----------
    layers : list of str [K]
    activations : list of str [K]
    blocked : list of float arrays [O]
        For each unit the share of the rows on which it is blocked.
    """

    layers: list[str]
    activations: list[str]
    blocked: list[np.ndarray]

    @property
    def dead(self) -> list[np.ndarray]:
        """For each layer the numbers of its units that are blocked on every row, int arrays."""
        return [np.flatnonzero(share == 1) for share in self.blocked]

    @property
    def n_dead(self) -> np.ndarray:
        """Number of dead units of each layer, int [K]."""
        return np.array([len(units) for units in self.dead], int)

    @property
    def saturated(self) -> np.ndarray:
        """Share of the rows and units of a layer that are blocked, float [K]; of a ReLU these are simply not active."""
        return np.array([share.mean() for share in self.blocked])

    def plot(self, ax=None):
        """Draw it; see `analysis_plots.plot_dead_units`."""
        from .analysis_plots import plot_dead_units

        return plot_dead_units(self, ax)


# ---- public ---------------------------------------------------------------------------------------------------------


def gradient_flow(model, X, y, loss, *, loss_weights=None, training: bool = True) -> GradientFlow:
    """Measure how much gradient reaches each layer.

    Parameters
    ----------
    model : Model
        Any graph, of any depth.
    X, y, loss, loss_weights
        As of Trainer and its `gradients`.  All rows are one batch: some hundred are enough.
    training : bool
        True (default): as in training, with the statistics of these rows in batch norms, and dropout at work (its
        random numbers are not those of a certain step).  False: as in prediction.

    Returns
    -------
    GradientFlow

    Raises
    ------
    TypeError, ValueError
        As Trainer and its `gradients`.

    Notes
    -----
    dL/dz_l = (dL/dz_(l+1) W_(l+1)^T) f'(z_l), so with sigmoids, whose slope is at most 1/4, the gradient shrinks at
    least by 4 a layer unless weights grow: Hochreiter 1991; Bengio, Simard, Frasconi 1994.  Computed by the NumPy
    machine, in the model's dtype.
    """
    flow = Flow(model, X, y, loss, loss_weights, training)
    norms = {node: None if g is None else float(np.sqrt(np.mean(np.sum(g * g, axis=1)))) for node, g in flow.down()}
    bound = flow.walk_down(norms, _largest_factor)
    weights = flow.model.weights
    parameter_norms = {name: float(np.linalg.norm(g.astype(np.float64))) for name, g in flow.parameters.items()}
    squares: dict = {}
    for weight in weights:
        if len(weight.shape) == 2 and weight.name in parameter_norms:
            squares[weight.layer] = squares.get(weight.layer, 0.0) + parameter_norms[weight.name] ** 2
    return GradientFlow(
        layers=[call.name for call in flow.calls],
        activations=[call.activation.name for call in flow.calls],
        depth=np.array([call.depth for call in flow.calls]),
        weight_norms=np.sqrt([squares.get(call.inner.layer, np.nan) for call in flow.calls]),
        value_norms=flow.column(norms),
        bound=flow.column(bound),
        parameter_norms=parameter_norms,
    )


def variance_flow(model, X, y, loss, *, loss_weights=None, training: bool = True) -> VarianceFlow:
    """Measure the variance of values and gradients layer by layer, beside what the weights' variance predicts.

    Parameters
    ----------
    model, X, y, loss, loss_weights, training
        As of gradient_flow.

    Returns
    -------
    VarianceFlow

    Raises
    ------
    TypeError, ValueError
        As gradient_flow.

    Notes
    -----
    With z ~ N(m, v) in every layer, weights of mean 0, and all of them independent:

        forward     Var[z_l] = I_l Var[W_l] E[f(z_(l-1))^2] + E[b_l^2] - m_l^2,   m_l the mean of b_l
        backward    E[dz_l^2] = O_(l+1) Var[W_(l+1)] E[f'(z_l)^2] E[dz_(l+1)^2]

    For a linear f this is Glorot and Bengio 2010, eq. 5 and 6; for ReLU both expectations are half of what goes in,
    He et al. 2015 (arXiv:1502.01852), eq. 8 and 13; for any other f: Poole et al. 2016 (arXiv:1606.05340) and
    Schoenholz et al. 2017 (arXiv:1611.01232).  It begins with the input and, backward, with the gradient at the
    outputs, as measured, and again from what was measured at a layer that is none of Dense, Activation, Add, Concat.
    It holds for random weights; trained ones show by how much they left it.
    """
    flow = Flow(model, X, y, loss, loss_weights, training)
    moments = _predict_up(flow)
    measured = {node: None if v is None else float(v.var()) for node, v in flow.up()}
    squares = {node: None if g is None else float(np.mean(g * g)) for node, g in flow.down()}
    backward = flow.walk_down(squares, lambda reader, node: _variance_factor(flow, moments, reader, node))
    layers = [call.inner.layer for call in flow.calls]
    kernels = [flow.kernel(layer) if isinstance(layer, Dense) else None for layer in layers]
    return VarianceFlow(
        layers=[call.name for call in flow.calls],
        depth=np.array([call.depth for call in flow.calls]),
        forward=flow.column(measured),
        forward_theory=flow.column({node: q - m * m for node, (m, q) in moments.items()}),
        backward=flow.column(squares),
        backward_theory=flow.column(backward),
        fan_in_variance=np.array([np.nan if w is None else w.shape[0] * np.mean(w * w) for w in kernels]),
        fan_out_variance=np.array([np.nan if w is None else w.shape[1] * np.mean(w * w) for w in kernels]),
    )


def dead_units(model, X, *, slope: float = 0.05) -> DeadUnits:
    """Find units whose activation lets no gradient through, on any row.

    Parameters
    ----------
    model : Model
    X : array-like [N, I], or a list or dict of them
        Rows that stand for the data, at least one.
    slope : float in [0, 1)
        A unit counts as blocked on a row where the slope |f'(z)| is at most this share of the largest slope of f.

    Returns
    -------
    DeadUnits
        Of all calls of Dense and Activation, but for identity, softmax and activations written in Python, and for
        those whose slope is 0 everywhere (step, rectangular).

    Raises
    ------
    TypeError, ValueError
        X does not fit the model, is not finite or has no rows; `slope` is out of range.

    Notes
    -----
    One definition for both ailments: a ReLU is blocked where z <= 0, and one that never is active on the data cannot
    learn any more ("dying ReLU": Maas, Hannun, Ng 2013; Lu et al. 2019, arXiv:1903.06733); a sigmoid is blocked, with
    the default, where |z| > 4.36, a tanh where |z| > 2.18: saturated (Glorot and Bengio 2010, section 3).
    """
    slope = _check.fraction("slope", slope)
    opened, calls = open_up(model)
    inputs, rows = as_inputs(opened, X)
    if not rows:
        raise ValueError("X has no rows")
    for array in inputs:
        check_finite("X", array)
    curved = [call for call in calls if call.activation.name not in ("identity", "softmax", "function")]
    steepest = {call: _largest_slope(call.activation) for call in curved}
    blocking = [call for call in curved if steepest[call] > 0]
    counts = [np.zeros(call.node.width, np.int64) for call in blocking]
    needed = [call.node if call.activation.needs == "Y" else call.node.inputs[0] for call in blocking]
    for batch in values(opened, needed, inputs, rows):
        for call, count, v in zip(blocking, counts, batch, strict=True):
            with np.errstate(all="ignore"):
                count += (np.abs(call.activation.slope(v)) <= slope * steepest[call]).sum(axis=0)
    return DeadUnits(
        layers=[call.name for call in blocking],
        activations=[call.activation.name for call in blocking],
        blocked=[count / rows for count in counts],
    )


# ---- theory ---------------------------------------------------------------------------------------------------------

_T = np.linspace(-8.0, 8.0, 1600)  # no point at 0, where ReLU has no slope; symmetric, so that its halves are exact
_P = np.exp(-_T * _T / 2) / np.exp(-_T * _T / 2).sum()
_STEEP = np.geomspace(1e-9, 100.0, 20001)


def _largest_slope(activation) -> float:
    """Return the largest |f'|; of softmax the largest norm of its Jacobian diag(p) - p p^T, 1/2."""
    if activation.name == "softmax":
        return 0.5
    return float(np.abs(activations.derivative(activation, np.concatenate([-_STEEP, [0.0], _STEEP]))).max())


def _largest_factor(reader, node) -> float | None:
    """Return by how much `reader` lets a gradient grow at most, None if unknown; the norm of a kernel is taken as 1."""
    if isinstance(reader.layer, Activation):
        return _largest_slope(reader.activation) if reader.activation.fusable else None
    return 1.0 if isinstance(reader.layer, (Dense, Add, Concat)) else None


def _is_elementwise(layer) -> bool:
    """Whether it is an activation that does the same to every element, without drawing numbers."""
    activation = layer.applied_activation()
    return isinstance(layer, Activation) and not (activation.name == "softmax" or activation.random)


def _variance_factor(flow: Flow, moments: dict, reader, node) -> float | None:
    """Return E[dz_node^2] / E[dz_reader^2], None if unknown."""
    layer = reader.layer
    if isinstance(layer, Dense):
        kernel = flow.kernel(layer)
        return kernel.shape[1] * float(np.mean(kernel * kernel))
    if _is_elementwise(layer):
        mean, square = moments[node]
        z = mean + np.sqrt(max(square - mean * mean, 0.0)) * _T
        return float(_P @ activations.derivative(layer.activation, z) ** 2)
    return 1.0 if isinstance(layer, (Add, Concat)) else None


def _predict_up(flow: Flow) -> dict:
    """Return {node: (mean, mean square)} over rows and units, by theory."""
    result: dict = {}
    for node, value in flow.up():
        layer, reads = node.layer, [result[v] for v in node.inputs]
        if isinstance(layer, Dense):
            kernel, bias = flow.kernel(layer), flow.bias(layer)
            square = kernel.shape[0] * np.mean(kernel * kernel) * reads[0][1] + np.mean(bias * bias)
            result[node] = (bias.mean(), square)
        elif _is_elementwise(layer):
            mean, square = reads[0]
            y = activations.evaluate(layer.activation, mean + np.sqrt(max(square - mean * mean, 0.0)) * _T)
            result[node] = (_P @ y, _P @ (y * y))
        elif isinstance(layer, Add):
            mean = sum(m for m, _ in reads)
            result[node] = (mean, mean * mean + sum(q - m * m for m, q in reads))
        elif isinstance(layer, Concat):
            share = np.array([v.width for v in node.inputs]) / node.width
            result[node] = (share @ [m for m, _ in reads], share @ [q for _, q in reads])
        elif value is not None:
            result[node] = (value.mean(), np.mean(value * value))
        else:
            result[node] = (np.nan, np.nan)
    return result
