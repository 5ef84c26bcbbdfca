"""What tests.toml knows of a test by its name, and what that means for its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kiwi_fhir.normalize.text.kept import Kept
from kiwi_fhir.normalize.text.words import plain
from kiwi_fhir.tables import ListOf, Mappings, Schema

Category = Literal["laboratory", "vital-signs"]

_LISTS = ("vital-signs", "laboratory", "panels", "blood-pressure", "signed", "in-litres", "in-seconds")
_SCHEMA: dict[str, Schema] = {
    **{name: ListOf(str) for name in ("fillers", *_LISTS)},
    "findings": ListOf(str),
    "examined": ListOf(str),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a test; `name` is its words, compared as all phrases are.

    `panel`: a number is none of its results. `blood_pressure`: "120/80" is systolic over diastolic. `signed`: it may be
    below zero. `in_litres`: its "2.5 L" is litres. `in_seconds`: its "30s" may be seconds. `examined`: looked for by
    eye, hand or ear, so "2+" is only a grade. `finding`: its negation is its result.
    """

    name: str = ""
    category: Category | None = None
    panel: bool = False
    blood_pressure: bool = False
    signed: bool = False
    in_litres: bool = False
    in_seconds: bool = False
    examined: bool = False
    finding: bool = False


UNKNOWN = Kind()


@dataclass(frozen=True, slots=True)
class Tests:
    """tests.toml: `lists` holds its phrases by list, `findings` and `examined` single words."""

    lists: Mapping[str, frozenset[str]]
    fillers: frozenset[str]
    findings: frozenset[str]
    examined: frozenset[str]
    kept: Kept[str, Kind] = field(default_factory=Kept, compare=False, repr=False)

    def kind(self, text: str) -> Kind:
        """What is known of the test that `text` (any case) names."""
        return self.kept.get(text) or self.kept.keep(text, self._kind(text))

    def _kind(self, text: str) -> Kind:
        name = plain(text)
        words = name.split(" ")
        phrases = {name, " ".join(word for word in words if word not in self.fillers)}
        listed = {kind for kind, known in self.lists.items() if not phrases.isdisjoint(known)}
        return Kind(
            name=name,
            category="vital-signs" if "vital-signs" in listed else "laboratory" if "laboratory" in listed else None,
            panel="panels" in listed,
            blood_pressure="blood-pressure" in listed,
            signed="signed" in listed,
            in_litres="in-litres" in listed,
            in_seconds="in-seconds" in listed,
            examined=not self.examined.isdisjoint(words),
            finding=not self.findings.isdisjoint(words),
        )


def load_tests(mappings: Mappings) -> Tests:
    """tests.toml. Raises MappingError."""
    table = mappings.table("tests", _SCHEMA)
    return Tests(
        lists={name: frozenset(plain(phrase) for phrase in table[name]) for name in _LISTS},
        fillers=frozenset(table["fillers"]),
        findings=frozenset(table["findings"]),
        examined=frozenset(table["examined"]),
    )
