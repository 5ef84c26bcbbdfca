"""Words and sentences of a note as the model reads them, with offsets into the untouched text.

Invariant: every character that is not white space or a control lies in exactly one word, and words and sentences
stand in text order. Nothing is normalised or dropped, so a span found on words is a span of the text. The model was
trained on these sentences: the rules' own, documents/structure, may become finer without it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass

from kiwi_fhir.documents.headings import load_headings
from kiwi_fhir.documents.structure import ABBREVIATION, WRAP_WIDTH, Structure, read_structure
from kiwi_fhir.tables import Mappings

# A word keeps its inner hyphens and apostrophes (`follow-up`, `patient's`) and its decimals (`1.25`); every other
# mark stands alone. Of the 10,238 spans of the Kiwi study's MTSamples notes two have a border inside such a word.
_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+|(?<=\d)[.,]\d+)*|[^\w\s\x00-\x1f]|_+")

_SENTENCE_END = re.compile(r"[.?!][\"')\]]*(?=\s+[\"'(\[]?[A-Z0-9*#])")
_LIST_ITEM = re.compile(r"\s*(?:[-*•·>+#]|\(?\d{1,2}[.)]|[A-Za-z][.)]\s|_{2,})")


@dataclass(frozen=True, slots=True)
class Segments:
    """A note cut up: `words[i]` is `(start, end)`; `sentence_starts` and `line_starts` are indexes of words."""

    words: list[tuple[int, int]]
    sentence_starts: list[int]
    line_starts: frozenset[int]
    structure: Structure


def segment(text: str, mappings: Mappings | None = None) -> Segments:
    """Cut `text` into words and sentences, and read its structure; linear in its length.

    `mappings` are the packaged ones where none are given.
    """
    structure = read_structure(text, load_headings(mappings or Mappings.read()))
    headings = {section.start for section in structure.sections}
    words = [match.span() for match in _WORD.finditer(text)]
    breaks = [0]
    lines: list[int] = []
    start, previous = 0, ""
    for line in text.splitlines(keepends=True):
        lines.append(start)
        body = line.rstrip()
        if body:
            if start in headings or not _is_wrapped(previous, body):
                breaks.append(start)
            for match in _SENTENCE_END.finditer(body):
                if not ABBREVIATION.search(body[max(0, match.start() - 12) : match.start()]):
                    breaks.append(start + match.end())
        previous = body
        start += len(line)
    starts = [word[0] for word in words]
    return Segments(
        words=words,
        sentence_starts=_first_words(breaks, starts),
        line_starts=frozenset(_first_words(lines, starts)),
        structure=structure,
    )


def _first_words(offsets: list[int], starts: list[int]) -> list[int]:
    """The distinct indexes of the first words at or after `offsets` (both ascending)."""
    indexes = dict.fromkeys(bisect_left(starts, offset) for offset in offsets)
    indexes.pop(len(starts), None)
    return list(indexes)


def _is_wrapped(previous: str, line: str) -> bool:
    """Whether `line` goes on with the sentence of the line before it, as in text wrapped at 80 columns."""
    return (
        len(previous) >= WRAP_WIDTH
        and previous[-1] not in ".:;?!"
        and not _LIST_ITEM.match(line)
        and not (line.isupper() or ":" in line[:40])
    )
