"""Mapping files: found, read, checked, fingerprinted.

A table is a TOML file of `mappings/`. A file of the same name in a user's folder replaces the packaged one whole, so
what is in effect is always one file that can be read from top to bottom.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, Union

from kiwi_fhir.errors import MappingError

_HERE = Path(__file__).parent
_PART = r"(?:\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+)"
_KEYS = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(?P<open>\[\[?)\s*(?P<keys>{_KEYS})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*(?P<keys>{_KEYS})\s*=")
_AT_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)")

KeyPath: TypeAlias = tuple[str | int, ...]
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
    """The table `name` (`severity` for severity.toml), of `directory` if it holds one, else the packaged one.

    Raises MappingError naming file and line when the file is missing, is no TOML, or does not fit `schema`.
    """
    path = table_path(name, directory)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MappingError(f"The mapping file '{path}' does not exist.") from error
    except UnicodeDecodeError as error:
        raise MappingError(f"The mapping file '{path}' is not UTF-8: save it as UTF-8.") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = _AT_LINE.search(str(error))
        where = f"line {line[1]}" if line else f"line {len(text.rstrip().splitlines())}"
        raise MappingError(f"{path}, {where}: {_AT_LINE.sub('', str(error))}.") from error
    if schema is not None:
        for key_path, problem in _problems(table, schema, ()):
            _fail(path, text, key_path, problem)
    return table


def refuse(name: str, key: str, problem: str, directory: Path | None = None) -> NoReturn:
    """Raise MappingError about `key` (dotted: `mild.code`) of the table, as the schema check does, naming its line.

    For rules that a schema can't say: a word that stands in two places, a knob whose value is not supported yet.
    """
    path = table_path(name, directory)
    _fail(path, path.read_text(encoding="utf-8"), tuple(key.split(".")), problem)


def table_path(name: str, directory: Path | None = None) -> Path:
    """The file that is in effect for `name`; it need not exist."""
    own = directory / f"{name}.toml" if directory is not None else None
    return own if own is not None and own.is_file() else _packaged() / f"{name}.toml"


def fingerprint(directory: Path | None = None) -> str:
    """SHA-256 (hex) over the names and bytes of all mapping files in effect, so that runs can be compared.

    Raises MappingError for a file of `directory` that would replace no packaged one: it would be passed over silently.
    """
    names = sorted(path.stem for path in _packaged().glob("*.toml"))
    for own in sorted(directory.glob("*.toml")) if directory is not None else ():
        if own.stem not in names:
            raise MappingError(f"'{own}' replaces no mapping file; known are {', '.join(f'{n}.toml' for n in names)}.")
    digest = hashlib.sha256()
    for name in names:
        content = table_path(name, directory).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _packaged() -> Path:
    installed = _HERE / "mappings"  # in a wheel; a checkout has them beside the package
    return installed if installed.is_dir() else _HERE.parent / "mappings"


def _fail(path: Path, text: str, key_path: KeyPath, problem: str) -> NoReturn:
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key_path).lstrip(".")
    raise MappingError(f"{path}, line {_line_of(text, key_path)}: key '{name}': {problem}.")


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


def _line_of(text: str, wanted: KeyPath) -> int:
    """The line (from 1) of the key, or of the nearest key above it that stands on a line of its own."""
    found: dict[KeyPath, int] = {(): 1}
    prefix: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    inside = ""  # the mark of the multi-line string that the line is in
    for number, line in enumerate(text.splitlines(), start=1):
        if not inside:
            if header := _HEADER.match(line):
                prefix = _split(header["keys"])
                if header["open"] == "[[":
                    counts[prefix] = counts.get(prefix, -1) + 1
                    found.setdefault(prefix, number)
                    prefix = (*prefix, counts[prefix])
                found.setdefault(prefix, number)
            elif assignment := _ASSIGNMENT.match(line):
                found.setdefault(prefix + _split(assignment["keys"]), number)
        for mark in ('"""', "'''"):
            if inside in ("", mark) and line.count(mark) % 2:
                inside = "" if inside else mark
    for length in range(len(wanted), -1, -1):
        if wanted[:length] in found:
            return found[wanted[:length]]
    return 1


def _split(keys: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in re.findall(_PART, keys))
