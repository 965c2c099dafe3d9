"""Models: a graph, its parameters in one arena, and prediction."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from . import _check, _core
from .advice import warn_of_variance_shift
from .arrays import as_inputs
from .config import config_of
from .graph import as_list, check_name, find_layer, name_layers, walk
from .layers import chain
from .philox import key_of
from .plan import Job, build
from .trained import Trained
from .weights import Weights

__all__ = ["Model", "Sequential"]

MAX_ENDS = 16  # inputs, and outputs, that a machine takes
SLICE_SECONDS = 0.05  # of a long prediction, between two looks at Ctrl-C


class Model(Trained):
    """A network: what computes `outputs` from `inputs`.

    Parameters
    ----------
    inputs : Input, or list of them
        Where rows enter, at most 16.
    outputs : value, or list of values
        What layers returned, at most 16.  Several of them are predicted and trained together.
    dtype : "float32" or "float64"
        Of parameters and of all arithmetic.
    random_state : int
        Seed of the initial weights, 0 to 2^64-1; the same seed gives the same bits on every machine.  Default 0.
    name : str, optional
        Letters, digits, underscores and hyphens.

    Attributes
    ----------
    inputs, outputs : list of Value
        Symbolic values; build further layers on them.
    layers : list of Layer
        In the order in which they were called.
    arena : array
        All parameters, in the layout of the machines; `parameters` returns them as plain matrices.
    metadata : dict
        JSON that files carry along: names of features or classes, notes.

    Raises
    ------
    TypeError, ValueError
        Something is not a value of a graph, an input is missing or unused, two layers have one name, or an
        initializer cannot serve a parameter.

    Notes
    -----
    Layers that belonged to another model bring their trained values along: they are copied once, at this moment.
    So ``pn.Model(inputs=model.inputs, outputs=model.get_layer("features").output)`` cuts a trained network.
    The two models share the records of the layers (`trainable` counts for both) but not the numbers.

    Examples
    --------
    >>> x = pn.Input(784)
    >>> h = pn.Dense(128, activation="relu")(x)
    >>> model = pn.Model(inputs=x, outputs=pn.Dense(10, activation="softmax")(h))
    """

    def __init__(self, inputs, outputs, dtype="float32", random_state: int = 0, name: str | None = None):
        key = key_of(random_state)
        self._wire(inputs, outputs, dtype, name)
        self.weights.start(key)
        self._adopt()

    def _wire(self, inputs, outputs, dtype, name) -> None:
        """Everything but the numbers."""
        self.inputs, self.outputs = as_list(inputs, "inputs"), as_list(outputs, "outputs")
        for what, values in (("inputs", self.inputs), ("outputs", self.outputs)):
            if len(values) > MAX_ENDS:
                raise ValueError(f"a model has at most {MAX_ENDS} {what}, got {len(values)}")
        self.name = check_name(name, "name of the model")
        self.dtype = _check.float_dtype(dtype)
        self.metadata: dict = {}
        self.nodes = walk(self.inputs, self.outputs)
        self.layers = list(dict.fromkeys(node.layer for node in self.nodes))
        self.names = name_layers(self.layers)
        for layer, own in self.names.items():
            if self.dtype.type(least := getattr(layer, "epsilon", 1.0)) == 0:  # then 0 / 0 where a variance is 0
                raise ValueError(f"layer {own!r}: epsilon {least:g} is 0 in {self.dtype}; take a larger one or float64")
        self.weights = Weights(self.layers, self.names, self.dtype)
        self.plan = build(self)
        warn_of_variance_shift(self.nodes)
        self._free: dict[str, list] = {}  # machines at rest, by backend
        self._one: Any = None  # the machine of predict_one

    def _adopt(self) -> None:
        """Name the layers; last of all, so that a refused model leaves them as they were."""
        for node in reversed(self.nodes):
            node.layer.belong(self.names[node.layer], node)

    @property
    def arena(self) -> np.ndarray:
        """All parameters, in panel layout, aligned; machines read and write it in place."""
        return self.weights.arena

    # ---- prediction -------------------------------------------------------------------------------------------------

    def predict(
        self,
        X,
        batch_size: int | None = None,
        out=None,
        *,
        backend: str = "c",
        mc_samples: int | None = None,
        return_std: bool = False,
        random_state: int = 0,
    ):
        """Compute the outputs for rows of data.

        Parameters
        ----------
        X : array-like [N, I]; for several inputs a list of them, or a dict by input name
            Real numbers of any dtype up to 64 bits; [N, steps, features] for an input of sequences.
        batch_size : int, optional
            Rows computed at a time.  Changes memory and speed, not the result.  Default: what fits the cache.
        out : array [N, O] of the model's dtype, C-contiguous, optional
            Where to write; for several outputs a list of them.
        backend : "c" or "numpy"
            The machine that computes.
        mc_samples : int, optional
            Monte Carlo dropout (Gal, Ghahramani 2016, arXiv:1506.02142): the mean of so many predictions with dropout,
            noise and random activations at work, batch norms frozen.  Default: one prediction without them.
        return_std : bool
            With mc_samples: return (mean, standard deviation over the samples).  Default False.
        random_state : int
            Seed of mc_samples, 0 to 2^64-1: the same seed gives the same samples, whatever batch_size is.

        Returns
        -------
        array [N, O] ([N, steps, O] of sequences), or a list of them for several outputs; with return_std a pair

        Raises
        ------
        TypeError, ValueError
            X or out does not fit the model; batch_size < 1; mc_samples < 1, or with nothing random in the model;
            return_std without mc_samples; an unknown backend.
        """
        if backend not in ("c", "numpy"):
            raise _check.unknown("backend", backend, ("c", "numpy"))
        if mc_samples is not None or return_std:
            from .sampling import predict_samples

            return predict_samples(self, X, mc_samples, return_std, random_state, batch_size, out, backend)
        inputs, n = as_inputs(self, X)
        outputs = self._destinations(out, n)
        if out is not None and any(np.may_share_memory(x, y) for x in inputs for y in outputs):
            raise ValueError("out must not overlap X: rows would be read after they were overwritten")
        if batch_size is None:
            rows = min(max((1 << 18) // self.plan.row_elems, 32), 1024) // 16 * 16
        else:
            rows = _check.integer("batch_size", batch_size, 1)
        if n:
            flat = [y.reshape(n, -1) for y in outputs]
            self._run(backend, Job(inputs=inputs, outputs=flat, rows=n, batch=min(rows, n)))
        return outputs if len(outputs) > 1 else outputs[0]

    __call__ = predict

    def predict_one(self, x, out=None):
        """Compute the outputs for one row, in about a microsecond for a small network.

        Parameters
        ----------
        x : array [I]; for several inputs a list of them, or a dict by input name
            Fastest when contiguous and of the model's dtype.
        out : array [O] of the model's dtype, optional
            Where to write; for several outputs a list of them.

        Returns
        -------
        array [O], or a list of them for several outputs
        """
        flat = all(len(value.shape) == 1 for value in (*self.inputs, *self.outputs))
        if len(self.inputs) == len(self.outputs) == 1 and flat and not isinstance(x, dict):
            self._one = self._one or _core.Machine(self.plan, self.arena, rows=1)
            if type(self).predict_one is Model.predict_one:
                self.predict_one = self._one.predict_one  # from now on without this detour
            return self._one.predict_one(x, out)
        if len(self.inputs) == 1 and not isinstance(x, dict):
            x = [x]
        pairs = x.items() if isinstance(x, dict) else enumerate(x)
        X = {key: np.asarray(row)[None] for key, row in pairs}
        if out is not None:
            out = [np.asarray(y)[None] for y in (out if isinstance(out, (list, tuple)) else [out])]
        arrays = list(X.values())
        Y = self.predict(X if isinstance(x, dict) else arrays if len(arrays) > 1 else arrays[0], out=out)
        return [y[0] for y in Y] if isinstance(Y, list) else Y[0]

    def _destinations(self, out, n: int) -> list[np.ndarray]:
        """Return the arrays to write to: new ones, or `out` if it fits."""
        shapes = [(n, *value.shape) for value in self.outputs]
        if out is None:
            return [np.empty(shape, self.dtype) for shape in shapes]
        outs = list(out) if isinstance(out, (list, tuple)) else [out]
        if len(outs) != len(shapes):
            raise ValueError(f"out must be {len(shapes)} arrays, one for each output, got {len(outs)}")
        for array, shape in zip(outs, shapes, strict=True):
            if not isinstance(array, np.ndarray):
                raise TypeError(f"out must be a NumPy array, got {type(array).__name__}")
            if array.shape != shape or array.dtype != self.dtype:
                got = f"{array.shape} of {array.dtype}"
                raise ValueError(f"out must have shape {shape} and dtype {self.dtype.name}, got {got}")
            if not (array.flags.c_contiguous and array.flags.writeable and array.flags.aligned):
                raise ValueError("out must be C-contiguous, aligned and writeable")
        if any(np.may_share_memory(a, b) for a, b in combinations(outs, 2)):
            raise ValueError("the arrays of out must not overlap each other")
        return outs

    def _run(self, backend: str, job: Job) -> None:
        """Run all batches of a job that predicts, on a machine that no other thread uses."""
        free = self._free.setdefault(backend, [])
        try:
            rows, machine = free.pop()
        except IndexError:
            rows, machine = 0, None
        if machine is None or rows < job.batch:
            rows, machine = job.batch, self._machine(backend, job.batch)
        self.run_batches(machine, job)
        free.append((rows, machine))

    @staticmethod
    def run_batches(machine, job: Job) -> None:
        """Run all batches of a job that predicts, in slices, for Ctrl-C.

        Parameters
        ----------
        machine : Machine
        job : Job
        """
        job.stages = _core.FORWARD | _core.OUTPUT
        batches, done = -(-job.rows // job.batch), 0
        while done < batches:
            done += machine.run(job, done, batches - done, SLICE_SECONDS)[0]

    def _machine(self, backend: str, rows: int, plan=None):
        """Return a new machine that predicts; `plan`: instead of the model's own."""
        plan = self.plan if plan is None else plan
        if backend == "c":
            return _core.Machine(plan, self.arena, rows=rows)
        from .reference import Machine

        return Machine(plan, self.arena, rows=rows)

    # ---- parameters -------------------------------------------------------------------------------------------------

    def get_layer(self, name: str):
        """Return the layer called `name`.

        Parameters
        ----------
        name : str

        Raises
        ------
        ValueError
            There is none; close matches are suggested.
        """
        return find_layer(self.names, name)

    def count_params(self) -> int:
        """Return the number of parameters, trainable or not."""
        return sum(weight.size for weight in self.weights)

    def parameters(self) -> dict[str, np.ndarray]:
        """Return copies of all parameters by name: "dense_1.kernel" [I, O], "dense_1.bias" [O], ..."""
        return self.weights.read()

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of everything that prediction depends on; the same as `parameters`."""
        return self.weights.read()

    def load_state_dict(self, state: dict) -> None:
        """Set all parameters.  Either all are set or, after an error, none.

        Parameters
        ----------
        state : dict of str -> array-like
            As `state_dict` returns it.

        Raises
        ------
        TypeError, ValueError
            A name is unknown or missing, a shape differs, a value is not a real, finite number.
        """
        self.weights.write(state)

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of all parameters, in the order of `parameters`."""
        return list(self.weights.read().values())

    def set_weights(self, arrays) -> None:
        """Set all parameters.  Either all are set or, after an error, none.

        Parameters
        ----------
        arrays : list of array-like
            In the order of `parameters`.

        Raises
        ------
        TypeError, ValueError
            It is no such list; as `load_state_dict`.
        """
        if not isinstance(arrays, (list, tuple)):
            raise TypeError(f"set_weights takes a list of arrays, got {type(arrays).__name__}")
        if len(arrays) != len(self.weights):
            raise ValueError(f"the model has {len(self.weights)} parameters, got {len(arrays)} arrays")
        self.weights.write({weight.name: array for weight, array in zip(self.weights, arrays, strict=True)})

    def initialize(self, random_state: int = 0) -> None:
        """Draw all parameters anew, as the constructor does; constants of Input stay.

        Parameters
        ----------
        random_state : int
            Seed, 0 to 2^64-1.
        """
        self.weights.draw(key_of(random_state))

    # ---- as text, as a file -----------------------------------------------------------------------------------------

    def summary(self, print_fn=print) -> None:
        """Print the layers, their widths and numbers of parameters.

        Parameters
        ----------
        print_fn : callable, default print
            Receives the text.
        """
        from .summary import summary_text

        print_fn(summary_text(self))

    def save(self, path) -> None:
        """Write the model to a safetensors file, atomically; ``pn.load`` reads it.

        Parameters
        ----------
        path : str or os.PathLike

        Raises
        ------
        OSError, TypeError, ValueError
            As files.save_model.
        """
        from .files import save_model

        save_model(self, path)

    def config(self) -> dict:
        """Return the graph as JSON-able data; `restore.model_from_config` makes a model of it."""
        return config_of(self)

    def __repr__(self) -> str:
        widths = [",".join(str(v.width) for v in values) for values in (self.inputs, self.outputs)]
        name = f" {self.name!r}" if self.name else ""
        return f"<{type(self).__name__}{name} {' -> '.join(widths)}, {self.count_params()} parameters>"

    def _repr_html_(self) -> str:
        from .rich import model_html

        return model_html(self)

    def __reduce__(self):
        from .compact_dense import compact_names
        from .restore import restore

        names = compact_names(self)
        model = self.expand() if names else self
        return restore, (self.config(), np.array(model.arena), self.metadata, model.weights.masks(), names)


class Sequential(Model):
    """A model whose layers stand one behind the other.

    Parameters
    ----------
    layers : list of Layer
        The first is pn.Input; a Residual counts as a layer.
    dtype, random_state, name
        As of Model.

    Raises
    ------
    TypeError, ValueError
        The first layer is no Input, or as Model.

    Examples
    --------
    >>> pn.Sequential([pn.Input(784), pn.Dense(128, activation="relu"), pn.Dense(10, activation="softmax")])
    """

    def __init__(self, layers, dtype="float32", random_state: int = 0, name: str | None = None):
        layers = list(layers)
        if not layers or not getattr(layers[0], "is_input", False):
            got = f"got {layers[0]!r} first" if layers else "got an empty list"
            raise ValueError(f"Sequential begins with the width of a row: put pn.Input(features) first ({got})")
        x = layers[0].output
        super().__init__(x, chain(x, layers[1:], "Sequential"), dtype, random_state, name)
