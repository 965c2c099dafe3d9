"""Records: a name and a few parameters, which can be printed, compared, written to a file and read back."""

from __future__ import annotations

from ._check import suggest, unknown

__all__ = ["Record", "lookup"]


class Record:
    """Base of activations, initializers, losses, metrics, optimizers, schedules and clips.

    A subclass states its `name` (which reaches files: it is for ever), the `fields` of its constructor, and those
    among them that are `required`.
    """

    name: str = ""
    fields: tuple[str, ...] = ()
    required: tuple[str, ...] = ()

    def config(self) -> dict:
        """Return a JSON-able dict from which the module's ``get`` makes an equal record."""
        values = {field: getattr(self, field) for field in self.fields}
        return {"name": self.name} | {k: v.config() if isinstance(v, Record) else v for k, v in values.items()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{field}={getattr(self, field)!r}' for field in self.fields)})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(getattr(self, f) == getattr(other, f) for f in self.fields)

    def __hash__(self) -> int:
        return hash((type(self), tuple(getattr(self, field) for field in self.fields)))


def lookup(kind: str, spec, base: type[Record], table: dict, aliases: dict | None = None):
    """Return the record that `spec` means: a record itself, its class, its name, or what ``config()`` returned.

    Raises
    ------
    TypeError
        If `spec` is none of these.
    ValueError
        If the name or a parameter is unknown, or a required parameter is missing; the message holds `kind`.
    """
    if isinstance(spec, base):
        return spec
    if isinstance(spec, type) and issubclass(spec, base) and spec in table.values():
        return lookup(kind, spec.name, base, table)
    arguments = dict(spec) if isinstance(spec, dict) else {"name": spec}
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise TypeError(f"{kind} must be a name or an object of {base.__module__}, got {type(spec).__name__} {spec!r}")
    name = (aliases or {}).get(name, name)
    if name not in table:
        raise unknown(kind, name, [*table, *(aliases or ())])
    made = table[name]
    for field in arguments:
        if field not in made.fields:
            raise ValueError(f"{kind} {name!r} has no parameter {field!r}{suggest(field, made.fields)}")
    for field in made.required:
        if field not in arguments:
            raise ValueError(f"{kind} {name!r} needs its {field}: give {made.__name__}({field}=...)")
    return made(**arguments)
