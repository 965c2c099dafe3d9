"""Heads: what is wanted at each output of a model: a loss, its weight, metrics; and the targets that go with them."""

from __future__ import annotations

import numpy as np

from . import losses, metrics
from ._check import number, unknown
from .arrays import as_array
from .losses import LossSpec

__all__ = ["Head", "Heads", "check_weights", "output_names"]


class Head:
    """One output, resolved against its targets: what `plan.build` reads."""

    __slots__ = ("loss", "metrics", "weight")

    def __init__(self, loss: LossSpec, weight: float, metrics: list) -> None:
        self.loss, self.weight, self.metrics = loss, weight, metrics

    def key(self) -> tuple:
        """Return what two heads with the same plan have in common."""
        return (self.loss, self.weight, tuple(self.metrics))


def output_names(model) -> list[str]:
    """Return a name for each output: its layer's; for further outputs of the same layer with _2, _3 ... added."""
    result: list[str] = []
    for value in model.outputs:
        name, n = model.names[value.layer], 1
        while (unique := name if n == 1 else f"{name}_{n}") in result:
            n += 1
        result.append(unique)
    return result


class Heads:
    """The losses and metrics of a model, by output.

    Parameters
    ----------
    model : Model
    loss : loss; or, for several outputs, a list, or a dict by output name (outputs without a loss are left out)
    metrics : list of metrics for every output that has a loss, or a dict of such lists by output name
    loss_weights : list or dict of float >= 0, optional
        The loss is the sum of the outputs' losses times these; default 1.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came, and what was expected.
    """

    def __init__(self, model, loss, metrics_=(), loss_weights=None) -> None:
        self.model = model
        self.names = output_names(model)
        wanted = self._by_output("loss", loss, spread=True)
        self.losses = [None if spec is None else losses.get(spec) for spec in wanted]
        if not any(self.losses):
            raise ValueError("loss names no output: nothing to train")
        for made, value in zip(self.losses, model.outputs, strict=True):
            _refuse_hidden_activation(made, value)
        self.weights = [
            1.0 if w is None else number(f"loss_weights[{name!r}]", w, 0.0)
            for name, w in zip(self.names, self._by_output("loss_weights", loss_weights), strict=True)
        ]
        if isinstance(metrics_, str) or not hasattr(metrics_, "__iter__"):
            metrics_ = [metrics_]
        if isinstance(metrics_, dict):
            lists = self._by_output("metrics", metrics_)
            for name, entry, loss in zip(self.names, lists, self.losses, strict=True):
                if entry and loss is None:
                    raise ValueError(f"metrics names output {name!r}, which has no loss: there are no targets for it")
        else:
            lists = [list(metrics_) if spec else [] for spec in self.losses]
        self.metrics = [[metrics.get(m) for m in _as_list(entry)] for entry in lists]

    def _by_output(self, argument: str, spec, spread: bool = False) -> list:
        """Return one entry for each output, None where `spec` has none."""
        if isinstance(spec, dict) and not (argument == "loss" and "name" in spec):
            for name in spec:
                if name not in self.names:
                    raise unknown(f"output in {argument}", name, self.names)
            return [spec.get(name) for name in self.names]
        if isinstance(spec, (list, tuple)):
            if len(spec) != len(self.names):
                raise ValueError(
                    f"{argument} must have one entry for each of the outputs {self.names}, got {len(spec)}"
                )
            return list(spec)
        if spec is None or (len(self.names) > 1 and not spread):
            if spec is not None:
                raise TypeError(f"{argument} must be a list or a dict of the outputs {self.names}, got {spec!r}")
            return [None] * len(self.names)
        return [spec] * len(self.names)

    @property
    def external(self) -> bool:
        """Whether some loss is an object of the user's, which runs in Python."""
        return any(isinstance(loss, losses.External) for loss in self.losses)

    # ---- targets ----------------------------------------------------------------------------------------------------

    def targets(self, y, n_rows: int, name: str = "y") -> list[np.ndarray | None]:
        """Return the checked targets of each output, None for outputs without a loss."""
        if y is None:
            raise ValueError(f"{name} is missing: training and evaluation need targets")
        wanted = [n for n, loss in zip(self.names, self.losses, strict=True) if loss]
        if isinstance(y, dict):
            for key in y:
                if key not in wanted:
                    raise unknown(f"output in {name}", key, wanted)
            missing = [n for n in wanted if n not in y]
            if missing:
                raise ValueError(f"{name} has no targets for output {missing[0]!r}")
            given = y
        elif len(wanted) == 1:
            given = {wanted[0]: y}
        else:
            if not isinstance(y, (list, tuple)) or len(y) != len(wanted):
                raise ValueError(f"{name} must be a list or dict with targets for each of the outputs {wanted}")
            given = dict(zip(wanted, y, strict=True))
        result = []
        for output, loss, out in zip(self.names, self.losses, self.model.outputs, strict=True):
            label = name if len(wanted) == 1 else f"{name}[{output!r}]"
            result.append(
                loss.check_target(_flat(given[output], out.shape), out.width, n_rows, label) if loss else None
            )
        return result

    def resolve(self, targets: list) -> list[Head | None]:
        """Return the Head of each output, None where there is no loss."""
        result: list[Head | None] = []
        for loss, weight, wanted, out, t in zip(
            self.losses, self.weights, self.metrics, self.model.outputs, targets, strict=True
        ):
            if loss is None:
                result.append(None)
                continue
            spec = loss.resolve(out.activation, out.width, t)
            result.append(Head(spec, weight, [m.resolve(spec, out.activation, out.width, t) for m in wanted]))
        return result

    # ---- what is reported --------------------------------------------------------------------------------------------

    def log_names(self, heads: list) -> list[str]:
        """Return the keys of the logs, in order."""
        several = sum(h is not None for h in heads) > 1
        result = ["loss"]
        for name, head in zip(self.names, heads, strict=True):
            if head:
                result += [f"{name}_loss"] if several else []
                result += [f"{name}_{shown}" if several else shown for _, shown, _, _ in head.metrics]
        return result

    def logs(self, plan, sums: np.ndarray) -> dict[str, float]:
        """Return losses and metrics from the sums of a machine; nan where no row had weight."""
        several = sum(kind == "loss" for kind, *_ in plan.sum_slots) > 1
        total = sums[0] / sums[1] if sums[1] else float("nan")
        result = {"loss": 0.0}
        taken: dict[int, int] = {}
        for kind, i, shown, first, n in sorted(plan.sum_slots, key=lambda slot: (slot[1], slot[3])):
            part = sums[first : first + n]
            if kind == "loss":
                value = part[0] / part[1] if part[1] else float("nan")
                total += self.weights[i] * value
                if several:
                    result[f"{self.names[i]}_loss"] = float(value)
            else:
                metric = self.metrics[i][taken.get(i, 0)]
                taken[i] = taken.get(i, 0) + 1
                result[f"{self.names[i]}_{shown}" if several else shown] = metric.value(part)
        result["loss"] = float(total)
        return result


def _refuse_hidden_activation(loss, value) -> None:
    """Refuse a loss that would take for logits what a softmax or a sigmoid further down has made."""
    below = value
    while below.layer.hands_on:
        below = below.inputs[0]
    name = below.activation.name
    if loss and loss.takes_logits and below is not value and name in ("softmax", "sigmoid"):
        raise ValueError(
            f"loss {loss.name!r} would take the output of {value.layer!r} for logits, but {below.layer!r} has made "
            f"{name} of them already; put {value.layer!r} in front of it"
        )


def _flat(target, shape: tuple[int, ...]):
    """Return targets [N, steps, units] of a sequence as rows [N, steps * units]."""
    if len(shape) == 2 and np.shape(target)[1:] == shape:
        return np.reshape(target, (len(target), -1))
    return target


def _as_list(entry) -> list:
    if entry is None:
        return []
    return list(entry) if isinstance(entry, (list, tuple)) else [entry]


def check_weights(sample_weight, class_weight, targets: list, n_rows: int, heads: Heads) -> np.ndarray | None:
    """Return the weight of each row, float64 [N], or None if all are 1.

    Parameters
    ----------
    sample_weight : array-like [N] of finite numbers >= 0, not all 0, or None
    class_weight : dict {class number: weight >= 0}, "balanced" (N / (classes * count)), or None
        For one head with class numbers or one-hot rows; classes not mentioned have weight 1.
    targets : list
        Checked targets of each output, None without a loss.
    """
    weight = None
    if sample_weight is not None:
        weight = as_array("sample_weight", sample_weight)
        if weight.dtype.kind not in "biuf":
            raise TypeError(f"sample_weight must be real numbers, got dtype {weight.dtype}")
        weight = weight.astype(np.float64)
        if weight.shape != (n_rows,):
            raise ValueError(f"sample_weight must have shape ({n_rows},), one number for each row, got {weight.shape}")
        there = _seen(weight, heads)
        bad = ~(np.isfinite(there) & (weight >= 0))
        if bad.any():
            row = int(np.argmax(bad))
            dtype = f" in {there.dtype.name}" if np.isfinite(weight[row]) and weight[row] > 0 else ""
            raise ValueError(f"sample_weight must be finite{dtype} and >= 0, got {weight[row]} in row {row}")
        if not there.any():
            raise ValueError(f"sample_weight is 0 in every row{f' in {there.dtype.name}' if weight.any() else ''}")
    if class_weight is None:
        return weight
    widths = [out.width for out in heads.model.outputs]
    used = [(loss.name, t, w) for loss, t, w in zip(heads.losses, targets, widths, strict=True) if loss]
    name, target, width = used[0]
    if len(used) != 1 or (name != "cross_entropy" and (name != "binary_cross_entropy" or width != 1)):
        raise ValueError(
            "class_weight needs a single head with 'cross_entropy', or with 'binary_cross_entropy' and one output, "
            f"got {', '.join(f'{n!r} with {w} outputs' for n, _, w in used)}; use sample_weight"
        )
    labels = target.reshape(len(target)) if target.size == len(target) else np.argmax(target, axis=1)
    labels = np.rint(labels).astype(np.int64)
    classes = max(2, width)  # one output: two classes
    factors = np.ones(classes)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise unknown("class_weight", class_weight, ["balanced"])
        counts = np.bincount(labels, minlength=classes)
        factors = n_rows / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(class_weight, dict):
        for label, value in class_weight.items():
            if not isinstance(label, (int, np.integer)) or isinstance(label, bool) or label < 0:
                raise ValueError(f"class_weight: classes are numbers >= 0, got {label!r}")
            if label >= classes:
                raise ValueError(f"class_weight: there is no class {label}, the head has classes 0..{classes - 1}")
            factors[label] = number(f"class_weight[{label}]", value, 0.0)
    else:
        raise TypeError(f"class_weight must be a dict or 'balanced', got {type(class_weight).__name__}")
    weight = factors[labels] * (1.0 if weight is None else weight)
    there = _seen(weight, heads)
    if not there.any():
        raise ValueError("class_weight (times sample_weight) is 0 in every row")
    if not np.isfinite(there).all():
        raise ValueError(f"class_weight (times sample_weight) must be finite in {there.dtype.name}, got {weight.max()}")
    return weight


def _seen(weight: np.ndarray, heads: Heads) -> np.ndarray:
    """Return the weights as a machine has them."""
    with np.errstate(over="ignore", under="ignore"):
        return weight.astype(heads.model.dtype)
