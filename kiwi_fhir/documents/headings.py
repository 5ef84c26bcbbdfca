"""The headings of a note and the kinds of section that they open (mappings/sections.toml).

A heading is looked for where one can stand: at the start of a line (behind `#`, `**`, a bullet or a number), and inside
a line behind a mark that ends a sentence ("Feels well.ALLERGIES: Penicillin; Meds: aspirin"). A colon, a dash or the
end of the line ends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from kiwi_fhir.tables import ListOf, MapOf, Mappings, Schema
from kiwi_fhir.types import Span

_SCHEMA: Schema = MapOf(
    {
        "headers": ListOf(str),
        "within?": ListOf(str),
        "parts?": ListOf(str),
        "part_of?": ListOf(str),
        "until?": ListOf(str),
    }
)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9 \t/&,()'’.+-]*")
_SHOUTS = re.compile(r"[A-Z](?:[A-Z0-9 \t/&,()'’+-]|\.(?! )){5,}")
_LONGEST = 72  # characters of a heading
_MOST_WORDS = 8
# Words that a sentence has and a heading has not.
_SENTENCE = frozenset(["he", "she", "they", "we", "it", "i", "is", "are", "was", "were", "be", "been", "has", "had"])
_SENTENCE |= {"have", "will", "can", "may", "not", "if", "when", "which", "who"}
_LEAD = re.compile(r"(?:[ \t#>*_=~\[{•·+-]|\(?(?:\d{1,2}|[IVX]{1,4}|[A-Z])[.)](?=[ \t]))*")
_TRAIL = " \t*_]}#=~"
_MARK = re.compile(r"[:–—-]")
_BODY = re.compile(r"(?:[ \t*_:–—]|-(?![\w.]))*")  # a dash before a word is a sign or a list mark
_SEPARATORS = (".", ";", "!", "?", "|", "\t", ":", ",", "   ")
_CAPITALS = re.compile(r"(?<=[\w.)%] )[A-Z][A-Z /&'-]*[ \t*_]*$")
_WORD_START = re.compile(r"(?<![\w'-])[A-Z]")
_FEW = 3  # letters; "HPI:" may be a part of something else
_BRACKETS = re.compile(r"\(.*?\)")
_OTHER = re.compile(r"[^a-z0-9 ]")
_AND = re.compile(r"[/&+]")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading `[start, end)` with its marks, its `name` and the kind of section that it opens, if known."""

    start: int
    end: int
    name: Span
    kind: str | None


@dataclass(frozen=True, slots=True)
class Headings:
    """The headings of sections.toml: whole names, and words that decide wherever they stand in a heading.

    `parts` are names that stay in a section of one of the kinds `part_of` (HEENT in a review of systems). `until` finds
    the words that a section of its kind ends with.
    """

    kinds: Mapping[str, str]
    within: Mapping[str, str]
    parts: frozenset[str]
    part_of: frozenset[str]
    until: Mapping[str, re.Pattern[str]]

    def kind(self, name: str) -> str | None:
        """The kind of section that a whole heading of this name opens."""
        return self.kinds.get(heading_words(name)) or self.kinds.get(heading_words(_AND.sub("", name)))

    def kind_within(self, name: str) -> str | None:
        """The kind that the first words of a longer heading decide ("DISCHARGE MEDICATIONS ON TRANSFER")."""
        words = heading_words(name).split()
        if len(words) > _MOST_WORDS or not _SENTENCE.isdisjoint(words):
            return None
        for first in range(len(words)):
            for last in range(len(words), first, -1):
                kind = self.within.get(" ".join(words[first:last]))
                if kind is not None:
                    return kind
        return None

    def of_line(self, text: str, start: int, end: int, *, goes_on: bool, open_kind: str | None) -> list[Heading]:
        """The headings of the line `[start, end)` in order; `open_kind` is the section that it stands in.

        `goes_on` says that the line goes on with the sentence of the one before it.
        """
        lead = _LEAD.match(text, start, end)
        low = first = lead.end() if lead is not None else start
        found: list[Heading] = []
        dashed = False  # the last heading ends with a dash
        unmarked = True
        for mark in _MARK.finditer(text, first, end):
            at, dash = mark.start(), mark[0] != ":"
            if at < low or (dash and not text[at + 1 : at + 2].isspace()):
                continue
            unmarked = False
            opened = None
            if low == first and at - first <= _LONGEST:
                opened = self._at_start(text, first, at, end, dash=dash)
            opened = opened or self._inside(text, max(low, at - _LONGEST), at, low, led=bool(found), dash=dash)
            if opened is None and not dash:
                opened = self._shouted(text, max(low, at - _LONGEST), at)
            if opened is None:
                continue
            begin, kind = opened
            name = Span(begin, _name_end(text, at))
            body = _BODY.match(text, at, end)
            behind, low = low, body.end() if body is not None else at + 1
            if dashed and not dash and begin == behind:  # "RECOMMENDATIONS - TESTS:" is one heading
                last = found.pop()
                begin, name, kind = last.start, Span(last.name.start, name.end), last.kind
            elif self._is_part(name.of(text), open_kind):
                kind = open_kind
            found.append(Heading(start if begin == first else begin, low, name, kind))
            open_kind, dashed = kind, dash
        if unmarked and end - first <= _LONGEST:
            found.extend(self._whole(text, start, first, end, goes_on=goes_on, open_kind=open_kind))
        return found

    def _whole(
        self, text: str, start: int, first: int, end: int, *, goes_on: bool, open_kind: str | None
    ) -> Iterator[Heading]:
        """The heading that the whole line is, without a colon or dash behind it; its words begin at `first`."""
        name = text[first:end].rstrip(_TRAIL + "-")
        if not _NAME.fullmatch(name) or name[-1] in ".,'’" or (goes_on and name[0].islower()):
            return
        kind = self.kind(name) or (self.kind_within(name) if name.isupper() else None)
        if kind is not None and not (name[0].islower() and heading_words(name) in self.parts):
            kind = open_kind if self._is_part(name, open_kind) else kind
            yield Heading(start, end, Span(first, first + len(name)), kind)

    def _at_start(self, text: str, start: int, at: int, end: int, *, dash: bool) -> tuple[int, str | None] | None:
        """Where a heading at a line's start begins, and its kind."""
        name = text[start:at].rstrip(_TRAIL)
        if not _NAME.fullmatch(name):
            return None
        kind = self.kind(name)
        if kind is not None:
            return (start, kind) if not dash or len(name) > 1 else None
        shouts = name.isupper()
        if shouts or (name[0].isupper() and not dash):
            kind = self.kind_within(name)
            if kind is not None:
                return start, kind
        if dash or not _SHOUTS.fullmatch(name):
            return None
        # A heading that no table names ends a section only when it shouts: several words, or alone on its line.
        alone = not text[at + 1 : end].strip(_TRAIL + "\r\n:")
        return (start, None) if alone or " " in name else None

    def _inside(
        self, text: str, low: int, at: int, after: int, *, led: bool, dash: bool
    ) -> tuple[int, str | None] | None:
        """Where a heading inside a line begins, and its kind; `after` is where the last heading ended."""
        separator, mark = max((text.rfind(mark, low, at), mark) for mark in _SEPARATORS)
        if separator < 0:
            if low != after:
                return None
            separator, mark = low - 1, ";"  # right behind another heading
        start = separator + len(mark) if separator >= low else low
        while start < at and text[start] in " \t*_)]\"'":
            start += 1
        name = text[start:at].rstrip(_TRAIL)
        if not _NAME.fullmatch(name):
            return None
        kind = self.kind(name)
        if name.isupper() and len(name) > 1:
            kind = kind or self.kind_within(name)
            if kind is not None:
                return start, kind
            opens = _SHOUTS.fullmatch(name) and " " in name and mark not in ":," and not dash
            return (start, None) if opens else None
        stands = (mark in ";|" and led) or (name[0].isupper() and mark not in ":,")
        return (start, kind) if kind is not None and stands and len(name) > 1 else None

    def _shouted(self, text: str, low: int, at: int) -> tuple[int, str] | None:
        """Where a known heading in capitals begins that no mark separates: "on a regular basis ALLERGIES: ...".

        The longest name that ends at `at` counts.
        """
        run = _CAPITALS.search(text, low, at)
        for word in _WORD_START.finditer(text, run.start(), at) if run is not None else ():
            name = text[word.start() : at].rstrip(_TRAIL)
            kind = self.kind(name) if len(name) > _FEW else None
            if kind is not None:
                return word.start(), kind
        return None

    def _is_part(self, name: str, open_kind: str | None) -> bool:
        return open_kind in self.part_of and heading_words(name) in self.parts


def _name_end(text: str, at: int) -> int:
    while at and text[at - 1] in _TRAIL:
        at -= 1
    return at


@lru_cache(maxsize=4096)
def heading_words(name: str) -> str:
    """`name` in lower case, without what stands in brackets and without punctuation; `&` and `/` are "and"."""
    return " ".join(_OTHER.sub("", _AND.sub(" and ", _BRACKETS.sub("", name.lower()))).split())


def _any_of(endings: Sequence[str]) -> re.Pattern[str]:
    """A pattern of any of these words, however they are spaced; a line end is itself."""
    found = (r"\s+".join(map(re.escape, words.split())) or re.escape(words) for words in endings)
    return re.compile("|".join(found), re.IGNORECASE)


@lru_cache(maxsize=8)
def load_headings(mappings: Mappings) -> Headings:
    """sections.toml. Raises MappingError when the table is wrong or holds a heading twice."""
    table = mappings.table("sections", _SCHEMA)
    found: dict[str, dict[str, str]] = {"headers": {}, "within": {}}
    parts: set[str] = set()
    for kind, section in table.items():
        for key, into in (("headers", "headers"), ("parts", "headers"), ("within", "within")):
            for header in section.get(key, ()):
                name = heading_words(header)
                if name in found[into]:
                    mappings.refuse("sections", f"{kind}.{key}", f"'{name}' stands under '{found[into][name]}' too")
                found[into][name] = kind
        parts.update(map(heading_words, section.get("parts", ())))
    part_of = {f"{kind}.part_of": section["part_of"] for kind, section in table.items() if "part_of" in section}
    mappings.check_sections("sections", part_of)
    return Headings(
        kinds=found["headers"],
        within=found["within"],
        parts=frozenset(parts),
        part_of=frozenset(kind for kinds in part_of.values() for kind in kinds),
        until={kind: _any_of(section["until"]) for kind, section in table.items() if section.get("until")},
    )
