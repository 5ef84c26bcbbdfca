"""Which mapping files are in effect, and how a site's overrides are merged into the packaged ones.

`--mappings` names a packaged profile (`us-core`), a TOML file of overrides, or a folder: whole files that replace
packaged ones, and `overrides.toml`. An overrides file has one table per mapping file; `profile = "us-core"` at its top
builds on that profile. Tables are merged key by key, a value replaces a value, a list replaces a list or changes it:
`words = { add = ["marked"], remove = ["severely"] }`. Every value keeps the place it was written at.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from kiwi_fhir.errors import MappingError

KeyPath: TypeAlias = tuple[str | int, ...]

#: The overrides of a folder.
OVERRIDES = "overrides"
_PROFILE = "profile"
_HERE = Path(__file__).parents[1]
_PART = r"(?:\"[^\"]*\"|'[^']*'|[A-Za-z0-9_-]+)"
_KEYS = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(?P<open>\[\[?)\s*(?P<keys>{_KEYS})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*(?P<keys>{_KEYS})\s*=")
_AT_LINE = re.compile(r"\s*\(at line (\d+), column \d+\)")
_EDIT = frozenset({"add", "remove"})


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A file as it was read."""

    path: Path
    text: str
    table: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is written: the file and the key there."""

    file: TomlFile
    key: KeyPath

    def __truediv__(self, part: str | int) -> Place:
        return Place(self.file, (*self.key, part))

    @property
    def line(self) -> int:
        """The line (from 1) of the key, or of the nearest key above it that stands on a line of its own."""
        return line_of(self.file.text, self.key)

    def fail(self, problem: str) -> NoReturn:
        """Raise MappingError: file, line, key, problem."""
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.key).lstrip(".")
        raise MappingError(f"{self.file.path}, line {self.line}: key '{name}': {problem}.")


@dataclass(slots=True)
class Merged:
    """A mapping table with its overrides; `places` holds what they set, and () for the file that it began with."""

    table: dict[str, Any]
    places: dict[KeyPath, Place] = field(default_factory=dict)

    def place(self, key: KeyPath) -> Place:
        """Where the value of `key` is written, or the nearest key above it."""
        for length in range(len(key), -1, -1):
            if key[:length] in self.places:
                found = self.places[key[:length]]
                return Place(found.file, found.key + key[length:])
        raise KeyError(key)

    def changed(self, key: KeyPath) -> Place | None:
        """Where overrides changed `key`, or something in it; None where they did not. The last of several."""
        place = self.place(key)
        if place.file != self.places[()].file:
            return place
        inside = [self.places[other] for other in self.places if other[: len(key)] == key]
        return next((place for place in reversed(inside) if place.file != self.places[()].file), None)

    def changes(self) -> dict[KeyPath, Place]:
        """What overrides set: the keys, those of a new table as one, with the place that counts."""
        base = self.places[()].file
        own = {key: place for key, place in self.places.items() if place.file != base}
        return {key: own[key] for key in own if not any(key[:length] in own for length in range(len(key)))}

    def merge(self, change: Mapping[str, Any], place: Place, path: KeyPath = ()) -> None:
        """Merge `change`, which stands at `place`, into the table at `path`. Raises MappingError."""
        table: Any = self.table
        for part in path:
            table = table[part]
        for key, new in change.items():
            here, there, old = (*path, key), place / key, table.get(key)
            edits_list = isinstance(new, dict) and (isinstance(old, list) or (old is None and _is_edit(new)))
            if edits_list:
                table[key] = self._edited(old or [], new, here, there)
            elif isinstance(new, dict) and (old is None or isinstance(old, dict)):
                if old is None:
                    table[key], self.places[here] = {}, there
                self.merge(new, there, here)
            else:
                self._forget(here)
                table[key], self.places[here] = new, there

    def _edited(self, old: list[Any], edit: Mapping[str, Any], path: KeyPath, place: Place) -> list[Any]:
        """`old` without what `edit` removes, and with what it adds and was not there, at the end."""
        for key, items in edit.items():
            if key not in _EDIT:
                (place / key).fail(
                    "is unknown: a list is replaced by a list, or changed by { add = [...], remove = [...] }"
                )
            if not isinstance(items, list):
                (place / key).fail("must be a list")
        items = [(item, self.place((*path, index))) for index, item in enumerate(old)]
        for index, item in enumerate(edit.get("remove", ())):
            if all(item != other for other, _ in items):
                named = f"'{item}'" if isinstance(item, str) else "this"
                (place / "remove" / index).fail(f"{named} is not in the list, so it can't be removed")
            items = [(other, origin) for other, origin in items if other != item]
        for index, item in enumerate(edit.get("add", ())):
            if all(item != other for other, _ in items):
                items.append((item, place / "add" / index))
        self._forget(path)
        self.places[path] = place
        self.places.update({(*path, index): origin for index, (_, origin) in enumerate(items)})
        return [item for item, _ in items]

    def _forget(self, path: KeyPath) -> None:
        for other in [other for other in self.places if other[: len(path)] == path]:
            del self.places[other]


def merged(name: str, base: TomlFile, overrides: Iterable[TomlFile]) -> Merged:
    """The table `name` with everything that overrides it. Raises MappingError."""
    found = Merged(base.table, {(): Place(base, ())})
    for file in overrides:
        if name in file.table:
            found.merge(file.table[name], Place(file, (name,)))
    return found


def override_files(choice: Path | None) -> list[TomlFile]:
    """The overrides that `--mappings` names, in the order in which they count: the profile's, then the site's own.

    Raises MappingError for a choice that is no profile, file or folder, and for a table that no mapping file has.
    """
    if choice is None:
        return []
    if is_profile(choice):
        return [_read_overrides(_profile_path(choice.name))]
    path = choice / f"{OVERRIDES}.toml" if choice.is_dir() else choice
    if not path.is_file():
        if choice.is_dir():
            return []
        raise MappingError(
            f"'{choice}' is no profile ({', '.join(profiles())}), no file and no folder of mapping files."
        )
    own = _read_overrides(path, profile=True)
    profile = own.table.get(_PROFILE)
    return [own] if profile is None else [_read_overrides(_profile_path(profile)), own]


def profiles() -> list[str]:
    """The names of the packaged profiles, sorted."""
    return sorted(path.stem for path in (packaged() / "profiles").glob("*.toml"))


def is_profile(choice: Path) -> bool:
    """Whether `--mappings` names a packaged profile; of a folder of that name, write the full path."""
    return len(choice.parts) == 1 and choice.name in profiles()


def packaged() -> Path:
    """The folder of the packaged mapping files: in a wheel inside the package, in a checkout beside it."""
    installed = _HERE / "mappings"
    return installed if installed.is_dir() else _HERE.parent / "mappings"


def read_text(path: Path) -> str:
    """The text of a mapping file. Raises MappingError when it is missing or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MappingError(f"The mapping file '{path}' does not exist.") from error
    except UnicodeDecodeError as error:
        raise MappingError(f"The mapping file '{path}' is not UTF-8: save it as UTF-8.") from error


def parse(path: Path, text: str) -> TomlFile:
    """The TOML file at `path` that holds `text`. Raises MappingError naming file and line when it is no TOML."""
    try:
        return TomlFile(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        line = _AT_LINE.search(str(error))
        where = f"line {line[1]}" if line else f"line {len(text.rstrip().splitlines())}"
        raise MappingError(f"{path}, {where}: {_AT_LINE.sub('', str(error))}.") from error


def line_of(text: str, wanted: KeyPath) -> int:
    """The line (from 1) of a key in a TOML file, or of the nearest key above it that stands on a line of its own."""
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


def _is_edit(table: Mapping[str, Any]) -> bool:
    return bool(table) and table.keys() <= _EDIT


def _profile_path(name: str) -> Path:
    return packaged() / "profiles" / f"{name}.toml"


def _read_overrides(path: Path, *, profile: bool = False) -> TomlFile:
    """An overrides file whose top-level keys are names of mapping files (and `profile`, where it may have one)."""
    file = parse(path, read_text(path))
    names = sorted(table.stem for table in packaged().glob("*.toml"))
    for key, value in file.table.items():
        place = Place(file, (key,))
        if key == _PROFILE and profile:
            if value not in profiles():
                place.fail(f"is no packaged profile; there are {', '.join(profiles())}")
        elif key not in names:
            place.fail(f"is no mapping file; known are {', '.join([_PROFILE, *names] if profile else names)}")
        elif not isinstance(value, dict):
            place.fail("must be a table")
    return file
