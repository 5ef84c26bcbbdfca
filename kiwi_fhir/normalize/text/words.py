"""Phrases of a mapping file and how a note's words are compared with them.

A phrase counts only as a whole, so that an unknown word ("nearly resolved") is never overlooked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from kiwi_fhir.tables import ListOf, MapOf, Mappings, Schema
from kiwi_fhir.types import Coding

#: The schema of a file that gives codes of one system to words.
VOCABULARY: dict[str, Schema] = {
    "system": str,
    "fillers?": ListOf(str),
    "codes": MapOf({"display": str, "words": ListOf(str), "scale?": bool}),
}

_SPACES = re.compile(r"\s+")
_LETTER_DOTS = re.compile(r"\b[a-z](?:\.[a-z])+\b\.?")  # each of "b.i.d. p.r.n." by itself
_SPACED_DOT = re.compile(r"\b([a-z])\s?\.(?=\s?[a-z]\s?\.|[a-z]\b)\s?")  # b. i. d.
_WORD_DOT = re.compile(r"(?<=[a-z])\s?\.(?=\s|$|[,;:)])")
_Q_DOT = re.compile(r"\bq\s?\.?\s?(?=\d)")
_ENDS = ' .,;:!?()[]"*_'


@lru_cache(maxsize=1 << 14)
def plain(text: str) -> str:
    """`text` in lower case with single spaces, without the dots of abbreviations (`p.o.`, `q. 6h`) or edge marks."""
    text = _SPACES.sub(" ", text.lower().replace("’", "'").replace("–", "-"))
    if "." in text:
        text = _LETTER_DOTS.sub(lambda found: found[0].replace(".", ""), text)
        text = _WORD_DOT.sub("", _SPACED_DOT.sub(r"\1", text))
    if "q" in text:
        text = _Q_DOT.sub("q", text)
    return text.strip(_ENDS)


@dataclass(frozen=True, slots=True)
class Phrases:
    """Phrases that mean `T`; `fillers` are words that change no meaning. Lookups never fail: None is unknown."""

    meanings: Mapping[str, str]
    fillers: frozenset[str] = frozenset()

    @classmethod
    def of(cls, words: Mapping[str, Iterable[str]], fillers: Iterable[str] = ()) -> Phrases:
        """From meaning -> phrases."""
        return cls({plain(word): key for key, phrases in words.items() for word in phrases}, frozenset(fillers))

    def find(self, text: str) -> str | None:
        """What `text` (any case) means: as it is, else without fillers."""
        phrase = plain(text)
        found = self.meanings.get(phrase)
        if found is None and self.fillers:
            found = self.meanings.get(" ".join(word for word in phrase.split(" ") if word not in self.fillers))
        return found


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words to codes of one system; `scales` holds the codes that are values of a scale."""

    phrases: Phrases
    codings: Mapping[str, Coding]
    scales: frozenset[str]

    def find(self, text: str) -> Coding | None:
        """The code that `text` means, None where it is not known."""
        code = self.phrases.find(text)
        return self.codings[code] if code is not None else None


def load_vocabulary(name: str, mappings: Mappings, extra: Mapping[str, Schema] | None = None) -> Vocabulary:
    """The vocabulary of a mapping file; `extra` is the schema of further keys.

    Raises MappingError when the file does not fit, or gives two codes to one phrase.
    """
    table = mappings.table(name, {**VOCABULARY, **(extra or {})})
    meanings: dict[str, str] = {}
    for code, entry in table["codes"].items():
        for word in entry["words"]:
            other = meanings.setdefault(plain(word) or word, code)
            if other != code:
                problem = f"'{word}' stands under '{other}' too; keep one of them"
                mappings.refuse(name, f"codes.{code}", problem, f"codes.{other}")
    codings = {code: Coding(table["system"], code, entry["display"]) for code, entry in table["codes"].items()}
    scales = frozenset(code for code, entry in table["codes"].items() if entry.get("scale", False))
    return Vocabulary(Phrases(meanings, frozenset(table.get("fillers", ()))), codings, scales)


def lower(text: str) -> str:
    """`text` in lower case, offset for offset: the few characters whose lower case is longer stay as they are."""
    found = text.lower()
    return found if len(found) == len(text) else "".join(m if len(low := m.lower()) != 1 else low for m in text)
