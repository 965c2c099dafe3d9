"""What is done with a network once it is there: its parts reused, pruned, made ready for devices.

The methods of Model that are doors to other modules; each is imported when it is used.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Trained"]


class Trained:
    """The part of Model that changes, cuts down or ships a network."""

    layers: list
    weights: Any
    arena: Any
    plan: Any

    # ---- norms, transfer --------------------------------------------------------------------------------------------

    def recalibrate(self, X, batch_size: int | None = None) -> None:
        """Set the running mean and variance of every BatchNorm to those over a whole data set, exactly.

        The statistics of a norm are those of its input in the frozen network (nothing random), the norms before it
        being recalibrated already.  Those of a norm that is called more than once are over the inputs of all its
        calls, with its old statistics where one call depends on another.

        Parameters
        ----------
        X : array-like [N, I], as of `predict`; N >= 2
        batch_size : int, optional
            Rows at a time.  Changes memory and speed only.

        Raises
        ------
        ValueError
            The model has no BatchNorm; X does not fit or has fewer than two rows.  The model stays as it was.
        """
        from .sampling import recalibrate

        recalibrate(self, X, batch_size)

    def load_weights(self, source, *, rename=None, strict: bool = False):
        """Set the parameters that have a namesake of their shape in a file, a dict or a model; see
        `pynet.transfer.load_weights`."""
        from .transfer import load_weights

        return load_weights(self, source, rename=rename, strict=strict)

    def freeze(self, up_to: str | None = None) -> None:
        """Set `trainable = False` on all layers, or on the layer called `up_to` and all that its values depend on.

        A frozen layer keeps the bits of its parameters in training, whatever the optimizer; a frozen BatchNorm uses
        its running statistics and keeps them.  What lies below all that trains costs no backward pass.
        """
        from .transfer import freeze

        freeze(self, up_to)

    def unfreeze(self) -> None:
        """Set `trainable = True` on all layers."""
        for layer in self.layers:
            layer.trainable = True

    def set_rate_factors(self, factors: dict) -> None:
        """Let parts of the model train at other rates: that of a layer is the optimizer's times its `rate_factor`.

        Parameters
        ----------
        factors : dict of str -> float >= 0
            By the name of a layer, or by the beginning of names and a star: ``{"*": 0.1, "head": 1}``.  Where several
            entries name a layer, the last counts; layers that none names stay as they are.  Holds from the next fit.
            Of Rprop it scales no more than the first step.

        Raises
        ------
        TypeError, ValueError
            No layer has such a name, or a factor is no finite number >= 0; no factor has changed.
        """
        from .transfer import set_rate_factors

        set_rate_factors(self, factors)

    # ---- pruned -----------------------------------------------------------------------------------------------------

    def compact(self, layers=None, batch_sizes=None):
        """Return a copy that holds of pruned Dense layers only what is left: smaller, and faster for many rows.

        It predicts the same bits.  It can be trained as it is: what is pruned does not exist in it.  To prune it
        further, `expand` it.

        Parameters
        ----------
        layers : list of str, or dict, optional
            Names of the layers; default: all pruned ones that become smaller and have no max_norm.  A dict gives each
            its form: "steps", the smaller one, for many rows, or "lanes", for few.
        batch_sizes : list of int, optional
            Only those layers that predict batches of each of these sizes no more slowly than in dense form, as measured
            now, on this machine; each in the form that gains most.  Default: all, in steps.

        Returns
        -------
        Model

        Raises
        ------
        TypeError, ValueError
            A layer is unknown, not pruned, no Dense, or has a max_norm; a form is unknown, or lanes are asked for and
            there are fewer than 17 inputs or more than 524288; a batch size is no positive integer.
        """
        from .compact_dense import compact

        return compact(self, layers, batch_sizes)

    def expand(self):
        """Return a copy in which no layer is in compact form: pruned weights are 0, under masks."""
        from .compact_dense import expanded

        return expanded(self)

    @property
    def nbytes(self) -> int:
        """Bytes that the parameters take in memory, with the places of compact layers and the masks of pruned ones."""
        masks = 0 if self.weights.keep is None else self.weights.keep.nbytes
        return self.arena.nbytes + self.plan.places.nbytes + self.plan.ends.nbytes + masks

    # ---- on devices -------------------------------------------------------------------------------------------------

    def footprint(self, dtype=None, sparse: bool | None = None, stream: bool = False):
        """Return what the network takes on a device, before anything is flashed.

        Parameters
        ----------
        dtype : "float32", "float64", "int8" or "int16", optional
            Of the numbers in the C file.  Default: the model's own.  "int8" and "int16": of the integer network that
            `quantize` would make with these activations; whatever the data is, if it is no whole numbers.
        sparse : bool, optional
            True: with pruned layers in compact form, as `compact` makes them; False: without.  Default: as the model
            is.
        stream : bool
            Whether sequences are computed step by step, as `to_c(..., stream=True)` has it.  Default False.

        Returns
        -------
        footprint.Footprint
            With flash, ram, ends and stack in bytes, and macs.

        Raises
        ------
        ValueError
            The dtype is unknown, or a layer cannot be written in C, or not as a stream.
        """
        from .footprint import footprint

        return footprint(self, dtype, sparse, stream)

    def quantize(self, X, activations: str = "int8", ranges: str = "mse"):
        """Make an integer network of this one: int8 weights, and not one float between input and output.

        Its predictions equal, to the bit, those of the C file that `pynet.export.to_c` writes of it.

        Parameters
        ----------
        X : array-like, as of `predict`
            Data that looks like what will come: the ranges of all values are found on it, on at most 8192 rows, evenly
            spaced.  Of an integer dtype that fits 8 bits, and an Input without scale and shift or with one number for
            each, shift whole: the inputs lose nothing, and later ones must be whole as well.
        activations : "int8" or "int16"
            Of the values between layers.  Outputs are int16 in both cases.
        ranges : "mse", "minmax" or "percentile"
            How int8 ranges are chosen: least squared error, all of the data, or 99.8 % of it.

        Returns
        -------
        QuantizedModel

        Raises
        ------
        TypeError, ValueError
            X does not fit, is empty or not finite; an unknown word; a layer that has no integer form, being
            written in Python, or whose numbers no integers can hold: the message names it.
        """
        from .quantize import quantize

        return quantize(self, X, activations, ranges)
