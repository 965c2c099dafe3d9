"""A graph as JSON and back.  What is read may come from anybody: every entry is checked, nothing is believed."""

from __future__ import annotations

from . import _check
from .graph import Value, check_name
from .kinds import KINDS
from .layer_base import Layer

__all__ = ["config_of", "expect_keys", "expect_list", "graph_from_config"]

FORMAT_VERSION = 1
MAX_LAYERS = 1024
MAX_CALLS = 4096


def config_of(model) -> dict:
    """Return the graph of a model.

    Returns
    -------
    dict
        format_version, name, dtype; layers: list of {class, name, params}, with its rate_factor where that is not 1;
        calls: list of {layer, inputs}, where inputs are numbers of earlier calls; inputs, outputs: numbers of calls.

    Raises
    ------
    ValueError
        The graph is larger than what `graph_from_config` takes.
    """
    most = (
        ("layers", len(model.layers), MAX_LAYERS),
        ("calls of layers", len(model.nodes), MAX_CALLS),
        ("inputs of one call", max(len(node.inputs) for node in model.nodes), MAX_CALLS),
    )
    for what, n, limit in most:
        if n > limit:
            raise ValueError(f"the model has {n} {what}, at most {limit} can be written or copied")
    layer_number = {layer: i for i, layer in enumerate(model.layers)}
    number = {node: i for i, node in enumerate(model.nodes)}
    return {
        "format_version": FORMAT_VERSION,
        "name": model.name,
        "dtype": model.dtype.name,
        "layers": [
            {
                "class": getattr(layer, "written_as", type(layer).__name__),
                "name": model.names[layer],
                "params": layer.config(),
            }
            | ({} if layer.rate_factor == 1 else {"rate_factor": float(layer.rate_factor)})
            for layer in model.layers
        ],
        "calls": [
            {"layer": layer_number[node.layer], "inputs": [number[v] for v in node.inputs]} for node in model.nodes
        ],
        "inputs": [number[v] for v in model.inputs],
        "outputs": [number[v] for v in model.outputs],
    }


def graph_from_config(config: dict) -> dict:
    """Return the arguments of Model (inputs, outputs, dtype, name) that `config_of` was made from.

    Raises
    ------
    ValueError
        Anything is missing, unknown, of the wrong kind or out of range.
    """
    keys = ("format_version", "name", "dtype", "layers", "calls", "inputs", "outputs")
    expect_keys("the graph", config, keys, required=keys)
    if config["format_version"] != FORMAT_VERSION or isinstance(config["format_version"], bool):
        raise ValueError(
            f"the graph has format_version {str(config['format_version'])[:20]}, expected {FORMAT_VERSION}"
        )
    try:
        name = check_name(config["name"], "name of the model")
    except TypeError as error:
        raise ValueError(str(error)) from None
    if config["dtype"] not in ("float32", "float64"):
        raise ValueError(f"dtype of the graph must be 'float32' or 'float64', got {str(config['dtype'])[:60]!r}")
    made = [_layer(i, row) for i, row in enumerate(expect_list("layers", config["layers"], 1, MAX_LAYERS))]
    _refuse_duplicates(made)
    values = _values(made, config["calls"])
    inputs, outputs = (
        [
            values[_number(f"{key}[{i}]", k, len(values))]
            for i, k in enumerate(expect_list(key, config[key], 1, MAX_CALLS))
        ]
        for key in ("inputs", "outputs")
    )
    _refuse_unused(values, outputs)
    return {"inputs": inputs, "outputs": outputs, "dtype": config["dtype"], "name": name}


def _layer(i: int, row) -> Layer:
    where = f"layers[{i}]"
    required = ("class", "name", "params")
    expect_keys(where, row, (*required, "rate_factor"), required)
    kind = KINDS.get(row["class"]) if isinstance(row["class"], str) else None
    if kind is None:
        raise _check.unknown(f"class of {where}:", str(row["class"])[:60], KINDS)
    expect_keys(f"params of {where}", row["params"], kind.options)
    name = row["name"]
    if not isinstance(name, str):
        raise ValueError(f"{where} has no name")
    try:
        layer = kind.from_config(dict(row["params"]), name=name)
        layer.rate_factor = _check.number("rate_factor", row.get("rate_factor", 1.0), 0.0)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from None
    stem, _, digits = name.rpartition("_")
    layer.name_is_automatic = stem == kind.kind and digits.isdigit()
    return layer


def _values(made: list, calls) -> list[Value]:
    """Call the layers again, in the order in which they were called."""
    values: list[Value] = []
    called = set()
    for i, row in enumerate(expect_list("calls", calls, 1, MAX_CALLS)):
        where = f"calls[{i}]"
        expect_keys(where, row, ("layer", "inputs"), required=("layer", "inputs"))
        layer = made[_number(f"layer of {where}", row["layer"], len(made))]
        reads = [
            values[_number(f"inputs of {where}", k, i)]
            for k in expect_list(f"inputs of {where}", row["inputs"], 0, MAX_CALLS)
        ]
        if layer.is_input and (reads or layer in called):
            raise ValueError(f"{where}: input {layer.name!r} takes no inputs and is called once")
        if not layer.is_input and len(reads) not in layer.n_inputs:
            takes = "one input" if len(layer.n_inputs) == 1 else "one or two inputs"
            raise ValueError(f"{where}: layer {layer.name!r} takes {takes}, got {len(reads)}")
        called.add(layer)
        try:
            if layer.is_input:
                values.append(layer.output)
            else:
                values.append(layer(reads if len(reads) > 1 else reads[0]))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from None
    for layer in made:
        if layer not in called:
            raise ValueError(f"layer {layer.name!r} is never called")
    return values


def _refuse_duplicates(made: list) -> None:
    seen = set()
    for layer in made:
        if layer.name in seen:
            raise ValueError(f"two layers are named {layer.name!r}")
        seen.add(layer.name)


def _refuse_unused(values: list[Value], outputs: list[Value]) -> None:
    read = {v for value in values for v in value.inputs} | set(outputs)
    for i, value in enumerate(values):
        if value not in read:
            raise ValueError(f"calls[{i}]: nothing reads the value of layer {value.layer.name!r}")


# ---- checks of JSON -------------------------------------------------------------------------------------------------


def expect_keys(where: str, entry, known, required=()) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} must be an object, got {type(entry).__name__}")
    for key in entry:
        if key not in known:
            shown = str(key)[:60]
            raise ValueError(f"{where} has an unknown entry {shown!r}{_check.suggest(shown, known)}")
    for key in required:
        if key not in entry:
            raise ValueError(f"{where} has no entry {key!r}")


def expect_list(where: str, entry, low: int, high: int) -> list:
    if not isinstance(entry, list):
        raise ValueError(f"{where} must be a list, got {type(entry).__name__}")
    if not low <= len(entry) <= high:
        raise ValueError(f"{where} must have {low} to {high} entries, got {len(entry)}")
    return entry


def _number(where: str, entry, count: int) -> int:
    if type(entry) is not int or not 0 <= entry < count:
        expected = f"a number in 0..{count - 1}" if count else "nothing, for nothing stands before it"
        raise ValueError(f"{where} must be {expected}, got {str(entry)[:20]}")
    return entry
