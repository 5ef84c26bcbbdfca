"""Words, sentences and sections of a note, with offsets into the untouched text.

Invariant: every character that is not white space or a control lies in exactly one word, and words, sentences and
sections stand in text order. Nothing is normalised or dropped, so a span found on words is a span of the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from kiwi_fhir.documents.headings import load_headings
from kiwi_fhir.tables import Mappings

# A word keeps its inner hyphens and apostrophes (`follow-up`, `patient's`) and its decimals (`1.25`); every other
# mark stands alone. Of the 10,238 spans of the Kiwi study's MTSamples notes two have a border inside such a word.
_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+|(?<=\d)[.,]\d+)*|[^\w\s\x00-\x1f]|_+")

_SENTENCE_END = re.compile(r"[.?!][\"')\]]*(?=\s+[\"'(\[]?[A-Z0-9*#])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:dr|mr|mrs|ms|st|vs|no|approx|appt|pt|pts|dx|hx|e\.g|i\.e|etc|fig|inc|jr|sr|q|p\.o|i\.v|i\.m|b\.i\.d"
    r"|t\.i\.d|q\.i\.d|q\.d|q\.h\.s|p\.r\.n|a\.m|p\.m|mg|ml|cc|tab|cap|[a-z])|^\s*\(?\d{1,3})\.$",
    re.IGNORECASE,
)
_LIST_ITEM = re.compile(r"\s*(?:[-*•·>+#]|\(?\d{1,2}[.)]|[A-Za-z][.)]\s|_{2,})")
_HEADER = re.compile(r"[ \t]*(?P<name>[A-Za-z][A-Za-z0-9 \t/&,()'.+-]{0,70}?)[ \t]*(?P<colon>:|$)")
_WRAP_WIDTH = 50  # a line shorter than this was ended by its author, not by a line wrap


@dataclass(frozen=True, slots=True)
class Segments:
    """A note cut up: `words[i]` is `(start, end)`; `sentence_starts` and `line_starts` are indexes of words.

    `sections` holds `(start offset, end of the header's name, kind or None)` in text order; the text before the first
    has no section.
    """

    words: list[tuple[int, int]]
    sentence_starts: list[int]
    line_starts: frozenset[int]
    sections: list[tuple[int, int, str | None]]

    def section_at(self, offset: int) -> str | None:
        """The kind of the section that holds the character at `offset`."""
        section = self._section(offset)
        return section[2] if section else None

    def is_header(self, start: int, end: int) -> bool:
        """Whether `[start, end)` is nothing but a section's header, which the guideline (rule 3) does not annotate.

        The header of an imaging section names the test itself ("CT scan: normal").
        """
        section = self._section(start)
        return section is not None and end <= section[1] and section[2] not in (None, "imaging")

    def _section(self, offset: int) -> tuple[int, int, str | None] | None:
        index = bisect_right(self.sections, offset, key=lambda section: section[0]) - 1
        return self.sections[index] if index >= 0 else None


def segment(text: str, mappings: Mappings | None = None) -> Segments:
    """Cut `text` into words, sentences and sections; linear in its length.

    `mappings` are the packaged ones where none are given.
    """
    headers = section_headers(mappings or Mappings.read())
    words = [match.span() for match in _WORD.finditer(text)]
    breaks, sections = [0], []
    lines: list[int] = []
    start, previous = 0, ""
    for line in text.splitlines(keepends=True):
        lines.append(start)
        body = line.rstrip()
        if body:
            header = _header(body, headers, at_line_start=True)
            if header is not None:
                sections.append((start, start + header[0], header[1]))
            if header is not None or not _is_wrapped(previous, body):
                breaks.append(start)
            for match in _SENTENCE_END.finditer(body):
                if _ABBREVIATION.search(body[max(0, match.start() - 12) : match.start() + 1]):
                    continue
                breaks.append(start + match.end())
                inner = _header(body[match.end() :], headers, at_line_start=False)
                if inner is not None:
                    sections.append((start + match.end(), start + match.end() + inner[0], inner[1]))
        previous = body
        start += len(line)
    starts = [word[0] for word in words]
    return Segments(
        words=words,
        sentence_starts=_first_words(breaks, starts),
        line_starts=frozenset(_first_words(lines, starts)),
        sections=sections,
    )


def _first_words(offsets: list[int], starts: list[int]) -> list[int]:
    """The distinct indexes of the first words at or after `offsets` (both ascending)."""
    indexes = dict.fromkeys(bisect_left(starts, offset) for offset in offsets)
    indexes.pop(len(starts), None)
    return list(indexes)


def _is_wrapped(previous: str, line: str) -> bool:
    """Whether `line` goes on with the sentence of the line before it, as in text wrapped at 80 columns."""
    return (
        len(previous) >= _WRAP_WIDTH
        and previous[-1] not in ".:;?!"
        and not _LIST_ITEM.match(line)
        and not (line.isupper() or ":" in line[:40])
    )


def _header(line: str, headers: Mapping[str, str], *, at_line_start: bool) -> tuple[int, str | None] | None:
    """Where the header's name ends in `line`, and the kind of section; None where the line opens no section.

    A header that no table names ends a section only when it shouts: capitals, several words or a line of its own.
    Inside a line only capitals with a colon count.
    """
    match = _HEADER.match(line)
    if match is None:
        return None
    name = match["name"]
    shouts = name.isupper()
    if not at_line_start and not (shouts and match["colon"]):
        return None
    kind = headers.get(_normal(name))
    if kind is not None:
        return match.end("name"), kind
    alone = match.end() >= len(line)
    opens = shouts and match["colon"] and (alone or " " in name) and len(name) > 5
    return (match.end("name"), None) if opens else None


def _normal(header: str) -> str:
    """`header` in lower case, without parentheses' content or punctuation."""
    return " ".join(re.sub(r"[^a-z0-9 ]", "", re.sub(r"\(.*?\)", "", header.lower())).split())


def section_headers(mappings: Mappings) -> Mapping[str, str]:
    """Header (normalised) -> kind of section, from mappings/sections.toml. Raises MappingError for a wrong table."""
    return load_headings(mappings).kinds
