"""terminology.toml: words of comparison, and what an OMOP vocabulary is to us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from kiwi_fhir.normalize.terminology.names import key
from kiwi_fhir.tables import ListOf, MapOf, Mappings, Schema
from kiwi_fhir.types import MENTION_LABELS, MentionLabel

_SCHEMA: dict[str, Schema] = {
    "determiners": ListOf(str),
    "sides": ListOf(str),
    "short_sides": MapOf(str),
    "qualifiers": ListOf(str),
    "opposites": ListOf(str),
    "endings": ListOf(str),
    "athena": {label: {"domains": ListOf(str), "vocabularies": ListOf(str)} for label in MENTION_LABELS},
    "systems": MapOf(str),
}
#: Ranks of an Athena name: domain, then standard or not, then vocabulary, then full name (0) or synonym (1).
_DOMAIN, _NOT_STANDARD, _VOCABULARY = 1000, 500, 2
_OTHER_VOCABULARY = 200


@dataclass(frozen=True, slots=True)
class Rules:
    """terminology.toml, checked. `ranks` gives a label's rank of each domain and of each vocabulary, 0 the best."""

    determiners: frozenset[str]
    sides: frozenset[str]
    short_sides: Mapping[str, str]
    qualifiers: frozenset[str]
    opposites: tuple[str, ...]
    endings: tuple[str, ...]
    ranks: Mapping[MentionLabel, tuple[Mapping[str, int], Mapping[str, int]]]
    systems: Mapping[str, str]

    def undetermined(self, words: str) -> str:
        """A key without the determiners before it; the key itself where nothing would be left."""
        start = 0
        while (end := words.find(" ", start)) > 0 and words[start:end] in self.determiners:
            start = end + 1
        return words[start:]

    def spelled_side(self, words: str) -> str:
        """A key with the side that it begins with written out ("r knee pain"); the l of "l spine" is none."""
        for short, side in self.short_sides.items():
            if words.startswith(f"{short} ") and not words.startswith(f"{short} spine"):
                return side + words[len(short) :]
        return words

    def system(self, vocabulary: str) -> str:
        """The URI of an OMOP vocabulary."""
        return self.systems.get(vocabulary) or f"urn:kiwi-fhir:vocabulary:{quote(vocabulary, safe='')}"

    def uses(self, domain: str, vocabulary: str, *, standard: bool) -> list[tuple[MentionLabel, int]]:
        """The mention labels that look for such a concept, each with the rank of its names."""
        return [
            (
                label,
                domains[domain] * _DOMAIN
                + (0 if standard else _NOT_STANDARD)
                + _VOCABULARY * vocabularies.get(vocabulary, _OTHER_VOCABULARY),
            )
            for label, (domains, vocabularies) in self.ranks.items()
            if domain in domains
        ]


def load_rules(mappings: Mappings) -> Rules:
    """terminology.toml. Raises MappingError naming file, line and key."""
    table = mappings.table("terminology", _SCHEMA)
    return Rules(
        determiners=frozenset(key(word) for word in table["determiners"]),
        sides=frozenset(key(word) for word in table["sides"]),
        short_sides={key(short): key(word) for short, word in table["short_sides"].items()},
        qualifiers=frozenset(key(word) for word in table["qualifiers"]),
        opposites=tuple(sorted(table["opposites"], key=lambda item: (-len(item), item))),
        endings=tuple(table["endings"]),
        ranks={
            label: (
                {name: rank for rank, name in enumerate(table["athena"][label]["domains"])},
                {name: rank for rank, name in enumerate(table["athena"][label]["vocabularies"])},
            )
            for label in MENTION_LABELS
        },
        systems=table["systems"],
    )
