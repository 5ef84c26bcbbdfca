"""Whether a note is in English, by the script of its letters and by its commonest words (language.toml)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kiwi_fhir.tables import ListOf, MapOf, Mappings, Schema

_SCHEMA: dict[str, Schema] = {"enabled": bool, "least": int, "times": int, "words": MapOf(ListOf(str))}
_READ = 6000  # characters; what a note is written in shows early
_WORD = re.compile(r"[^\W\d_]+")
_BEYOND_LATIN = re.compile(r"[^\W\d_\u0000-\u024f]")
_FEW = 10  # letters; as many Greek ones stand in an English note


@dataclass(frozen=True, slots=True)
class Languages:
    """The words of language.toml, by language."""

    enabled: bool
    least: int
    times: int
    english: frozenset[str]
    others: Mapping[str, frozenset[str]]

    def foreign(self, text: str) -> str | None:
        """The language of a note that is not in English ("spanish", "another script"); None where it is, or may be."""
        if not self.enabled:
            return None
        read = text[:_READ]
        words = _WORD.findall(read.lower())
        if not read.isascii():
            beyond = len(_BEYOND_LATIN.findall(read))
            if beyond > _FEW and 2 * beyond > sum(map(len, words)):
                return "another script"
        counted = {name: [word for word in words if word in own] for name, own in self.others.items()}
        name = max(counted, key=lambda name: len(counted[name]))
        found = counted[name]
        if len(found) < self.least or len(set(found)) < 2:
            return None
        return name if len(found) > self.times * sum(word in self.english for word in words) else None


def load_languages(mappings: Mappings) -> Languages:
    """The words of language.toml. Raises MappingError when the file does not fit or has no English or nothing else."""
    table = mappings.table("language", _SCHEMA)
    words = {name: frozenset(word.lower() for word in own) for name, own in table["words"].items()}
    if "english" not in words or len(words) < 2:
        mappings.refuse("language", "words", "'english' and one other language at least have to be there")
    english = words.pop("english")
    return Languages(table["enabled"], table["least"], table["times"], english, words)
