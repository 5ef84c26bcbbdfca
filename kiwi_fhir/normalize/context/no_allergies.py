"""Statements that there are no allergies: "NKDA", "ALLERGIES: none", "latex allergy: none"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kiwi_fhir.documents.lines import one_line
from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Coding, Fact, Mention, Span

_WORD_BEFORE = re.compile(r"(?<![\w-])(?!(?:known|any|other|his|her|the|patient|pt)\s)(?P<word>[\w-]+)\s+$")


@dataclass(frozen=True, slots=True)
class NoAllergies:
    """The words of allergies.toml [none] and [header]."""

    codes: Mapping[str, Coding]
    none: re.Pattern[str]
    header: re.Pattern[str]
    headers: tuple[tuple[re.Pattern[str], Coding], ...]
    no_known: Coding

    def state(self, text: str, lowered: str, structure: Structure, facts: list[Fact]) -> list[Fact]:
        """Marks the mentions in statements of none; gives the facts of those without a mention."""
        extra: list[Fact] = []
        for span, coding in self._none(lowered, structure):
            words = one_line(span.of(text))
            inside = [i for i, fact in enumerate(facts) if _overlap(fact.mention.span, span)]
            says: dict[str, Any] = {"assertion": "absent", "negated": True, "codings": (coding,), "allergy": "none"}
            for number, index in enumerate(inside):
                facts[index] = replace(facts[index], **({"allergy": "other"} if number else {"text": words, **says}))
            if not inside:
                extra.append(Fact(Mention("problem", span, section="allergies", rule=True), words, **says))
        return extra

    def _none(self, lowered: str, structure: Structure) -> Iterator[tuple[Span, Coding]]:
        for found in self.none.finditer(lowered):
            start, end = found.span()
            if end <= structure.sentence_at(start).end:  # not the "denies" of one line and the "allergies" of the next
                yield Span(start, end), self.codes[" ".join(found[0].split())]
        for found in self.header.finditer(lowered):
            if (coding := self._no_known(lowered, found, structure)) is not None:
                yield Span(*found.span("none")), coding

    def _no_known(self, lowered: str, found: re.Match[str], structure: Structure) -> Coding | None:
        """What "none" behind a header says: of "latex allergy: none" nothing of other allergies."""
        start, words = found.start(), found["header"]
        section = structure.section_at(start)
        if section is None or section.name.start != start:
            line = structure.line_at(start).start
            before = _WORD_BEFORE.search(lowered, max(line, start - 40), start)
            words = f"{before['word']} {words}" if before is not None else words
        known = [coding for pattern, coding in self.headers if pattern.search(words)]
        return known[0] if known else self.no_known if words == found["header"] else None


def load_no_allergies(
    mappings: Mappings, table: Mapping[str, Any], sections: frozenset[str], besides: str
) -> NoAllergies:
    """[none] and [header] of allergies.toml, which is `table`. Raises MappingError.

    `sections` are the kinds of section that are of allergies; `besides` is a pattern of words that except something.
    """
    header = table["header"]
    for key, code in (("any", header["any"]), *((f"of.{code}", code) for code in header["of"])):
        if code not in table["none"]:
            mappings.refuse("allergies", f"header.{key}", "must be a code of [none]")
    codings = {code: Coding(table["system"], code, entry["display"]) for code, entry in table["none"].items()}
    codes = {" ".join(w.split()): codings[code] for code, entry in table["none"].items() for w in entry["words"]}
    kinds = mappings.table("sections")
    headers = [words for kind in sorted(sections) for words in kinds.get(kind, {}).get("headers", ())]
    return NoAllergies(
        codes=codes,
        none=re.compile(rf"{any_of(codes)}(?!\s+to\b)(?!,?\s+(?:{besides}|but\b))"),
        header=re.compile(
            rf"(?P<header>{any_of(headers or ['allergies'])})\s*[:\-]+\s*"
            r"(?:(?:the\s+)?(?:patient|he|she|pt)\s+)?(?:(?:has|have|is)\s+)?"
            rf"(?P<none>{any_of(header['none'])})[ \t]*(?=[.;,]|\n|$)"
        ),
        headers=tuple((re.compile(any_of(words)), codings[code]) for code, words in header["of"].items() if words),
        no_known=codings[header["any"]],
    )


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end
