"""Passages of a note that a LLaMA is asked about: sentences, and windows of whole sentences, as character ranges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from kiwi_fhir.extract.segment import Segments
from kiwi_fhir.types import Span


def sentences(segments: Segments, limit: int) -> list[Span]:
    """The note's sentences from first to last word, in order; one longer than `limit` characters is cut at words."""
    found: list[Span] = []
    for first, last in pairwise([*segments.sentence_starts, len(segments.words)]):
        found.extend(_cut(segments.words[first:last], limit))
    return found


def _cut(words: list[tuple[int, int]], limit: int) -> Iterator[Span]:
    """Runs of words within `limit` characters; a longer word is cut wherever the limit falls."""
    start = end = -1
    for first, last in words:
        if start >= 0 and last - start > limit:
            yield Span(start, end)
            start = -1
        while last - first > limit:
            yield Span(first, first + limit)
            first += limit
        start, end = (first if start < 0 else start), last
    if start >= 0:
        yield Span(start, end)


def windows(parts: Iterable[Span], limit: int) -> list[Span]:
    """Neighbouring sentences joined while they stay within `limit` characters, each sentence in one window."""
    found: list[Span] = []
    for part in parts:
        if found and part.end - found[-1].start <= limit:
            found[-1] = Span(found[-1].start, part.end)
        else:
            found.append(part)
    return found
