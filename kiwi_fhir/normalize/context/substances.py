"""Substances as mentions of their own: "a penicillin allergy" is one of penicillin, "ASA - GI upset" two mentions.

A model marks such words as one problem, and may miss a food or latex in a list of allergies. This runs behind the rules
of context.toml, so that an allergy that is a relative's stays a problem.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.terminology import Linker
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.normalize.text.words import plain
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Mention, MentionLabel, Span

_LEAD = re.compile(
    r"(?:(?:an?|the|his|her|their|any|known|severe|mild|documented|reported|possible|questionable|history|of|prior)\s+)*"
)
_ALLERGY = re.compile(r"(?P<list>.+?)[\s-]+(?:allergy|allergies|allergic)")
_TO = re.compile(r"(?:allergy|allergies|allergic(?:\s+reactions?)?|hypersensitivity|anaphylaxis)\s+to\s+(?P<list>.+)")
_SPLIT = re.compile(r"\s*(?:\s[–—-]+>?\s|[–—-]+>?\s|->|:|=)\s*")
# "amoxicillin-hives": as many names have such a dash, only before what has a code as a problem.
_GLUED = re.compile(r"(?<=\w)[–—-](?=[a-z])")
_LIST = re.compile(r"\s*(?:[,/&]|(?:,\s*)?\b(?:and|or)\b)\s*")
_NOT_A_NAME = frozenset({"seasonal", "seasonal allergies", "environmental allergies", "food", "foods"})
_MOST = 12  # names of one mention


@dataclass(frozen=True, slots=True)
class Substances:
    """The names of allergies.toml."""

    sections: frozenset[str]
    generic: frozenset[str]
    names: re.Pattern[str]
    drugs: re.Pattern[str]
    items: re.Pattern[str]
    unknown: re.Pattern[str]
    cues: re.Pattern[str]

    def apart(self, document: Document, text: str, structure: Structure, linker: Linker | None) -> Document:
        """`document` with each substance that is known as a mention of its own; `text` is in lower case."""
        wanted: dict[int, list[Mention]] = {}
        for index, mention in enumerate(document.mentions):
            if mention.label == "problem" and (parts := self._parts(mention, text)):
                wanted[index] = parts
        known = self._known(document, [part for parts in wanted.values() for part in parts], text, linker)
        found: list[Mention] = []
        for index, mention in enumerate(document.mentions):
            parts = wanted.get(index, [])
            named = [known.get(part.span) for part in parts]
            if parts and all(label is not None for label in named):
                found += [replace(part, label=label) for part, label in zip(parts, named, strict=True) if label]
            else:
                found.append(mention)
        more = self._missed(document, found, text, structure, linker)
        if more or len(found) > len(document.mentions) or wanted:
            return replace(document, mentions=tuple(sorted([*found, *more], key=lambda mention: mention.span)))
        return document

    def _parts(self, mention: Mention, text: str) -> list[Mention]:
        """The mentions that a problem may be, all of them substances or, behind a dash, the reaction."""
        if any(held.label == "subject" for held in mention.modifiers):
            return []
        start, end = mention.span.start, mention.span.end
        listed = mention.section in self.sections
        mark = (_SPLIT.search(text, start, end) or _GLUED.search(text, start, end)) if listed else None
        if mark is not None and start < mark.start() and mark.end() < end:
            return [_part(mention, start, mark.start()), _part(mention, mark.end(), end)]
        lead = _LEAD.match(text, start, end)
        start = lead.end() if lead is not None else start
        words = _ALLERGY.fullmatch(text, start, end) or _TO.fullmatch(text, start, end)
        if words is None:
            return []
        parts, at = [], words.start("list")
        for mark in _LIST.finditer(text, at, words.end("list")):
            parts.append(_part(mention, at, mark.start()))
            at = mark.end()
        parts.append(_part(mention, at, words.end("list")))
        return parts if len(parts) <= _MOST and all(part.span.start < part.span.end for part in parts) else []

    def _known(
        self, document: Document, parts: Sequence[Mention], text: str, linker: Linker | None
    ) -> dict[Span, MentionLabel]:
        """What the substances among `parts` are, by their spans, and the reactions behind a dash."""
        found: dict[Span, MentionLabel] = {}
        unknown: list[Mention] = []
        for part in parts:
            words = plain(text[part.span.start : part.span.end])
            if words in self.generic or words in _NOT_A_NAME:
                continue
            if self.names.fullmatch(words):
                found[part.span] = "drug" if self.drugs.fullmatch(words) else "problem"
            else:
                unknown.append(replace(part, label="drug"))
        if unknown and linker is not None:
            linked = linker.codings(replace(document, mentions=tuple(unknown)))
            found.update({part.span: "drug" for part, codings in zip(unknown, linked, strict=True) if codings})
        glued: list[Mention] = []
        for first, second in pairwise(parts):
            if first.span not in found or first.span.end > second.span.start:
                continue
            if _SPLIT.fullmatch(text, first.span.end, second.span.start):
                found.setdefault(second.span, "problem")
            elif text[first.span.end : second.span.start] in ("-", "–", "—"):
                glued.append(second)
        if glued and linker is not None:
            linked = linker.codings(replace(document, mentions=tuple(glued)))
            found.update({part.span: "problem" for part, codings in zip(glued, linked, strict=True) if codings})
        return found

    def _missed(
        self, document: Document, mentions: Sequence[Mention], text: str, structure: Structure, linker: Linker | None
    ) -> list[Mention]:
        """The substances that stand as items under allergies, or behind "allergic to", and in no mention."""
        found: dict[Span, Mention] = {}
        taken = sorted(mention.span for mention in mentions)
        starts = [span.start for span in taken]
        for start, end, kind in self._places(text, structure):
            for item in (self.unknown if kind is not None else self.items).finditer(text, start, end):
                span = Span(*item.span("name"))
                at = bisect_left(starts, span.end)
                if not at or taken[at - 1].end <= span.start:
                    found[span] = Mention("problem", span, section=kind or structure.kind_at(span.start), rule=True)
        known = self._known(document, list(found.values()), text, linker)
        return [replace(mention, label=known[span]) for span, mention in found.items() if span in known]

    def _places(self, text: str, structure: Structure) -> Iterator[tuple[int, int, str | None]]:
        """Where substances are listed: from, to, and the kind of a section of allergies."""
        for section in structure.sections:
            if section.kind in self.sections:
                yield section.name.end, section.body.end, section.kind
        end = 0
        for cue in self.cues.finditer(text):
            if cue.start() >= end:
                end = structure.sentence_at(cue.start()).end
                yield cue.start(), end, None


def load_substances(mappings: Mappings) -> Substances:
    """The names of allergies.toml, which load_allergies has checked."""
    table: dict[str, Any] = mappings.table("allergies")
    names = [words for kind in table["substances"].values() for words in kind]
    generic = frozenset(plain(words) for words in table["words"]["generic"])
    items = [words for words in names if plain(words) not in generic and words not in _NOT_A_NAME]
    besides = table["cues"]["except"]
    excepted = "".join(rf"|(?<=\b{re.escape(words)})" for words in besides)
    before = rf"(?:(?<=[,;:/\n(•*-])|(?<=\b(?:or|to))|(?<=\band)|(?<=\d\.){excepted})"
    none_but = rf"(?<!\w)(?:nkda|nka|allerg(?:y|ies))\b(?:\s+\w+){{0,4}}[\s,]*{any_of(besides)}"
    after = r"(?=[ \t]*(?:[,.;:(/=–—-]|\n|$|\d+\.)|\s+(?:and|or|allergy|allergies)\b)"
    return Substances(
        sections=frozenset(mappings.table("assertion")["sections"]["allergies"]),
        generic=generic,
        names=re.compile(any_of(names)),
        drugs=re.compile(any_of(table["substances"]["medication"])),
        items=re.compile(rf"{before}[ \t]*(?P<name>{any_of(items)}){after}"),
        unknown=re.compile(rf"{before}[ \t]*(?P<name>[a-z][\w'-]{{2,}}(?:[ /][a-z][\w'-]*){{0,2}}){after}"),
        cues=re.compile(rf"{any_of(words for words in table['cues']['allergy'] if ' ' in words)}|{none_but}"),
    )


def _part(mention: Mention, start: int, end: int) -> Mention:
    """A part of a mention with the modifiers that are not words of its own."""
    own = mention.span
    kept = tuple(
        held
        for held in mention.modifiers
        if held.label in ("negation", "uncertain", "condition")
        or not (own.start <= held.span.start and held.span.end <= own.end)
    )
    return replace(mention, span=Span(start, end), modifiers=kept)
