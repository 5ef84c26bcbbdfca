"""The mapping files in effect, read once: what every stage takes its rules from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from kiwi_fhir.errors import MappingError
from kiwi_fhir.tables.overrides import (
    OVERRIDES,
    KeyPath,
    Merged,
    TomlFile,
    is_profile,
    merged,
    override_files,
    packaged,
    parse,
    read_text,
)
from kiwi_fhir.tables.schema import Schema, problems


@dataclass(frozen=True, slots=True)
class Mappings:
    """The mapping files of a run, with a site's overrides; two are equal when the same text is in effect.

    All files are read by `read`, so that what a run was checked with is what it does: a pickled Mappings needs no file
    where it is loaded. A table is parsed when it is first asked for.
    """

    #: SHA-256 (hex) over the names and texts of all files in effect, so that runs can be compared.
    fingerprint: str
    #: The file that each table begins with, before overrides: its path and its text.
    files: Mapping[str, tuple[Path, str]] = field(repr=False, compare=False)
    #: In the order in which they count.
    overrides: tuple[TomlFile, ...] = field(repr=False, compare=False)
    _merged: dict[str, Merged] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Mappings, (self.fingerprint, self.files, self.overrides)

    @classmethod
    def read(cls, choice: str | Path | None = None) -> Mappings:
        """The packaged files, changed as `choice` says: a profile's name, a file of overrides, or a folder.

        Raises MappingError for a choice that is none of these, for a file that can't be read, for overrides that are
        no TOML or name no table, and for a file of a folder that would replace no packaged one: it would be passed
        over silently.
        """
        return _packaged(packaged()) if choice is None else _read(packaged(), Path(choice))

    @property
    def names(self) -> list[str]:
        """The names of the tables, sorted."""
        return list(self.files)

    def path(self, name: str) -> Path:
        """The file that the table `name` begins with, before overrides: the folder's, else the packaged one."""
        return self.files[name][0]

    def table(self, name: str, schema: Schema | None = None) -> dict[str, Any]:
        """The table `name` (`severity` for severity.toml) with its overrides. All callers share it: don't change it.

        Raises MappingError naming file, line and key (those of the override where the fault is there) when a file is
        no TOML, or what comes out does not fit `schema`.
        """
        found = self.merged(name)
        if schema is not None:
            for key_path, problem in problems(found.table, schema, ()):
                found.place(key_path).fail(problem)
        return found.table

    def merged(self, name: str) -> Merged:
        """The table `name` with the place that each of its values was written at. Raises MappingError."""
        found = self._merged.get(name)
        if found is None:
            path, text = self.files[name]
            found = self._merged[name] = merged(name, parse(path, text), self.overrides)
        return found

    def refuse(self, name: str, key: str | KeyPath, problem: str, *others: str | KeyPath) -> NoReturn:
        """Raise MappingError about `key` (dotted: `mild.code`) of the table, as the schema check does, with its line.

        For rules that a schema can't say: a word that stands in two places, a knob whose value is not supported yet. Of
        `key` and `others`, the keys that together are wrong, the one that an override changed is named.
        """
        found = self.merged(name)
        paths = [_key_path(found.table, one) if isinstance(one, str) else one for one in (key, *others)]
        changed = (found.changed(path) for path in paths)
        (next((place for place in changed if place is not None), None) or found.place(paths[0])).fail(problem)

    def check_sections(self, name: str, lists: Mapping[str, Sequence[str]]) -> None:
        """Refuse a kind of section that sections.toml does not have; `lists` is kinds by the (dotted) key of a list."""
        known = self.table("sections")
        for key, kinds in lists.items():
            for index, kind in enumerate(kinds):
                if kind not in known:
                    problem = f"'{kind}' is no kind of sections.toml; known are {', '.join(known)}"
                    self.refuse(name, (*key.split("."), index), problem)

    def check(self) -> None:
        """Parse every table, those that no stage has asked for too. Raises MappingError."""
        for name in self.files:
            self.merged(name)


@cache
def _packaged(folder: Path) -> Mappings:
    """The files that ship: they don't change while the program runs."""
    return _read(folder, None)


def _read(folder: Path, choice: Path | None) -> Mappings:
    files = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    overrides = tuple(override_files(choice))
    if choice is not None and not is_profile(choice) and choice.is_dir():
        for own in sorted(choice.glob("*.toml")):
            if own.stem not in files and own.stem != OVERRIDES:
                known = ", ".join(f"{name}.toml" for name in (*files, OVERRIDES))
                raise MappingError(f"'{own}' replaces no mapping file; known are {known}.")
            if own.stem in files:
                files[own.stem] = own
    texts = {name: (path, read_text(path)) for name, path in files.items()}
    digest = hashlib.sha256()
    for name, text in [
        *((name, text) for name, (_, text) in texts.items()),
        *((OVERRIDES, file.text) for file in overrides),
    ]:
        content = text.encode()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return Mappings(digest.hexdigest(), texts, overrides)


def _key_path(table: Mapping[str, Any], key: str) -> KeyPath:
    """A dotted key as its parts; the keys of `table` may hold dots themselves (`codes.E11.9`)."""
    if not key:
        return ()
    whole = (name for name in table if key == name or key.startswith(f"{name}."))
    name = max(whole, key=len, default=key.partition(".")[0])
    below = table.get(name)
    return (name, *_key_path(below if isinstance(below, dict) else {}, key[len(name) + 1 :]))
