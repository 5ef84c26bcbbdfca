"""What a mapping file must look like, and what is wrong with one that does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, Union

from kiwi_fhir.tables.overrides import KeyPath

#: What a value must be: `str`, `int`, `bool` or `float`; OneOf, ListOf or MapOf; or a dict of the keys of a table,
#: where `key?` may be missing.
Schema: TypeAlias = Union[type, "OneOf", "ListOf", "MapOf", Mapping[str, "Schema"]]

_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a table"}


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these texts."""

    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list, each item of which fits `item`."""

    item: Schema


@dataclass(frozen=True, slots=True)
class MapOf:
    """A table with keys of the author's choice, each value of which fits `value`."""

    value: Schema


def problems(value: object, schema: Schema, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with `value`, in the file's order, as (path of the key, what is wrong and what is allowed)."""
    if isinstance(schema, OneOf):
        if value not in schema.allowed:
            yield path, f"{_show(value)} is not allowed; allowed are {', '.join(schema.allowed)}"
    elif isinstance(schema, ListOf):
        if not isinstance(value, list):
            yield path, f"is {_kind(value)}; it must be a list"
            return
        for index, item in enumerate(value):
            yield from problems(item, schema.item, (*path, index))
    elif isinstance(schema, type):
        fits = isinstance(value, (int, float) if schema is float else schema)
        if not fits or (isinstance(value, bool) and schema is not bool):
            yield path, f"is {_kind(value)}; it must be {_KINDS[schema]}"
    elif not isinstance(value, dict):
        yield path, f"is {_kind(value)}; it must be a table"
    elif isinstance(schema, MapOf):
        for key, item in value.items():
            yield from problems(item, schema.value, (*path, key))
    else:
        known = {key.removesuffix("?"): (item, key.endswith("?")) for key, item in schema.items()}
        for key, item in value.items():
            if key not in known:
                yield (*path, key), f"is unknown; known are {', '.join(known)}"
            else:
                yield from problems(item, known[key][0], (*path, key))
        for key, (_, optional) in known.items():
            if not optional and key not in value:
                yield (*path, key), "is missing"


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a date or time")


def _show(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else _kind(value)
