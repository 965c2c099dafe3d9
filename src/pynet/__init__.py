"""pynet: small and medium neural networks, trained on a CPU at the speed of the machine.

>>> import pynet as pn
>>> model = pn.Sequential([pn.Input(64), pn.Dense(64, activation="relu"), pn.Dense(10, activation="softmax")])
>>> trainer = pn.Trainer(model, loss="cross_entropy", optimizer="adam", metrics=["accuracy"])
>>> trainer.fit(X, y, epochs=10)
>>> model.predict(X)
"""

from __future__ import annotations

import sys as _sys

from . import _check, _core, activations, initializers, losses, metrics, optimizers, schedules
from .callbacks import Callback, EarlyStopping, ModelCheckpoint
from .clip import ClipNorm, ClipValue, SignGradient
from .elementwise import Flatten, GradientClip, PReLU
from .escape import PythonLayer
from .layers import Activation, Add, Concat, Dense, Input, Residual
from .model import Model, Sequential
from .normalization import BatchNorm, InstanceNorm, LayerNorm
from .optimizers import LBFGS, SGD, Adagrad, Adam, AdamW, LevenbergMarquardt, RMSProp, Rprop
from .recurrent import LSTM
from .stochastic import Dropout, GaussianNoise
from .trainer import Trainer

__version__ = _core.version
if hasattr(_sys.modules.get("threadpoolctl"), "register"):  # 3.2 or newer
    from . import threadpool as threadpool

__all__ = [
    "LBFGS", "LSTM", "SGD", "Activation", "Adagrad", "Adam", "AdamW", "Add", "BatchNorm", "Callback", "ClipNorm",
    "ClipValue", "Concat", "Dense", "Dropout", "EarlyStopping", "Flatten", "GaussianNoise", "GradientClip", "Input",
    "InstanceNorm", "LayerNorm", "LevenbergMarquardt", "Model", "ModelCheckpoint", "PReLU", "PythonLayer", "RMSProp",
    "Residual", "Rprop", "Sequential", "SignGradient", "Trainer", "activations", "analysis", "cpu_info", "datasets",
    "export", "get_num_threads", "initializers", "load", "loggers", "logic", "losses", "metrics", "optimizers", "plot",
    "prune", "report", "schedules", "set_num_threads", "tabular",
]  # fmt: skip

# not needed to train: imported when used
LATER = ("analysis", "datasets", "export", "loggers", "logic", "plot", "prune", "report", "sklearn", "tabular")


def load(path):
    """Read a model from a file that save of Model, TableModel or QuantizedModel, or Trainer.save_checkpoint, wrote.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    Model, TableModel or QuantizedModel

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or is damaged; both name it.
    """
    from . import files

    return files.load(path)


def cpu_info() -> dict:
    """Return what pynet sees of this CPU.

    Returns
    -------
    dict
        isa: instruction set in use; isas: {built one: usable here}; cpus: those this process may use;
        threads: those that pynet uses.
    """
    return {
        "isa": _core.default_isa(),
        "isas": _core.isas(),
        "cpus": _core.available_cpus(),
        "threads": _core.get_num_threads(),
    }


def set_num_threads(n: int) -> None:
    """Set how many threads one fit or predict uses at most.  Results do not depend on it.

    Parameters
    ----------
    n : int, 1 to 255

    Raises
    ------
    TypeError, ValueError
        n is no such number.
    """
    _core.set_num_threads(_check.integer("n", n, 1, 255))


def get_num_threads() -> int:
    """Return how many threads one fit or predict uses at most."""
    return _core.get_num_threads()


def __getattr__(name: str):
    if name in LATER:
        from importlib import import_module

        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_check.suggest(name, __all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
