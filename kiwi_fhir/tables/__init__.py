"""Mapping files: read with their overrides, checked, fingerprinted.

A table is a TOML file of `mappings/`. What a site may put in its place or change in it stands in overrides.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, Union

from kiwi_fhir.errors import MappingError
from kiwi_fhir.tables.overrides import OVERRIDES, KeyPath, is_profile, merged, override_files, table_names, table_path

__all__ = ["ListOf", "MapOf", "OneOf", "Schema", "check_sections", "fingerprint", "load_table", "refuse", "table_path"]

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


def load_table(name: str, directory: Path | None = None, schema: Schema | None = None) -> dict[str, Any]:
    """The table `name` (`severity` for severity.toml) with the overrides of `directory`, the value of `--mappings`.

    Raises MappingError naming file, line and key (those of the override where the fault is there) when a file is
    missing, is no TOML, or what comes out does not fit `schema`.
    """
    found = merged(name, directory)
    if schema is not None:
        for key_path, problem in _problems(found.table, schema, ()):
            found.place(key_path).fail(problem)
    return found.table


def refuse(
    name: str, key: str | KeyPath, problem: str, directory: Path | None = None, *others: str | KeyPath
) -> NoReturn:
    """Raise MappingError about `key` (dotted: `mild.code`) of the table, as the schema check does, naming its line.

    For rules that a schema can't say: a word that stands in two places, a knob whose value is not supported yet. Of
    `key` and `others`, the keys that together are wrong, the one that an override changed is named.
    """
    found = merged(name, directory)
    paths = [_key_path(found.table, one) if isinstance(one, str) else one for one in (key, *others)]
    changed = (found.changed(path) for path in paths)
    (next((place for place in changed if place is not None), None) or found.place(paths[0])).fail(problem)


def check_sections(name: str, lists: Mapping[str, Sequence[str]], directory: Path | None = None) -> None:
    """Refuse a kind of section that sections.toml does not have; `lists` is kinds by the (dotted) key of their list."""
    known = load_table("sections", directory)
    for key, kinds in lists.items():
        for index, kind in enumerate(kinds):
            if kind not in known:
                problem = f"'{kind}' is no kind of section; known are {', '.join(known)}"
                refuse(name, (*key.split("."), index), problem, directory)


def fingerprint(directory: Path | None = None) -> str:
    """SHA-256 (hex) over the names and bytes of all mapping files in effect, so that runs can be compared.

    Raises MappingError for a file of `directory` that would replace no packaged one: it would be passed over silently.
    """
    names = table_names()
    folder = directory is not None and not is_profile(directory) and directory.is_dir()
    for own in sorted(directory.glob("*.toml")) if directory is not None and folder else ():
        if own.stem not in (*names, OVERRIDES):
            known = ", ".join(f"{name}.toml" for name in (*names, OVERRIDES))
            raise MappingError(f"'{own}' replaces no mapping file; known are {known}.")
    files = [(name, table_path(name, directory)) for name in names]
    files += [(OVERRIDES, file.path) for file in override_files(directory)]
    digest = hashlib.sha256()
    for name, path in files:
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _key_path(table: Mapping[str, Any], key: str) -> KeyPath:
    """A dotted key as its parts; the keys of `table` may hold dots themselves (`codes.E11.9`)."""
    if not key:
        return ()
    whole = (name for name in table if key == name or key.startswith(f"{name}."))
    name = max(whole, key=len, default=key.partition(".")[0])
    below = table.get(name)
    return (name, *_key_path(below if isinstance(below, dict) else {}, key[len(name) + 1 :]))


def _problems(value: object, schema: Schema, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with `value`, in the file's order, as (path of the key, what is wrong and what is allowed)."""
    if isinstance(schema, OneOf):
        if value not in schema.allowed:
            yield path, f"{_show(value)} is not allowed; allowed are {', '.join(schema.allowed)}"
    elif isinstance(schema, ListOf):
        if not isinstance(value, list):
            yield path, f"is {_kind(value)}; it must be a list"
            return
        for index, item in enumerate(value):
            yield from _problems(item, schema.item, (*path, index))
    elif isinstance(schema, type):
        fits = isinstance(value, (int, float) if schema is float else schema)
        if not fits or (isinstance(value, bool) and schema is not bool):
            yield path, f"is {_kind(value)}; it must be {_KINDS[schema]}"
    elif not isinstance(value, dict):
        yield path, f"is {_kind(value)}; it must be a table"
    elif isinstance(schema, MapOf):
        for key, item in value.items():
            yield from _problems(item, schema.value, (*path, key))
    else:
        known = {key.removesuffix("?"): (item, key.endswith("?")) for key, item in schema.items()}
        for key, item in value.items():
            if key not in known:
                yield (*path, key), f"is unknown; known are {', '.join(known)}"
            else:
                yield from _problems(item, known[key][0], (*path, key))
        for key, (_, optional) in known.items():
            if not optional and key not in value:
                yield (*path, key), "is missing"


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "a date or time")


def _show(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else _kind(value)
