"""Annotated documents to training windows with spans and links."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor

from kiwi_fhir.extract.segment import Segments, segment
from kiwi_fhir.extract.tagger.model import WordSpan, pair_features
from kiwi_fhir.extract.tagger.windows import SHAPES, Window, Windower
from kiwi_fhir.types import MENTION_LABELS, MODIFIER_LABELS, Document, Span


@dataclass(frozen=True, slots=True)
class Example:
    """A window with its gold: spans, the pairs as `Heads.links` reads them, and which are links."""

    window: Window
    mentions: list[WordSpan]
    modifiers: list[WordSpan]
    pairs: list[list[int]]
    linked: list[bool]


@dataclass(frozen=True, slots=True)
class SoftExample:
    """A window with what teachers think: probabilities of spans (fp16, [W, MAX_WORDS, 1 + K]), pairs, their links'."""

    window: Window
    mentions: Tensor
    modifiers: Tensor
    pairs: list[list[int]]
    linked: list[float]


def examples(documents: Iterable[Document], windower: Windower, shuffle: random.Random | None = None) -> list[Example]:
    """Training windows of `documents`.

    With `shuffle` each note's first window ends after a random number of sentences, so that windows differ from
    epoch to epoch, and a tenth of the windows lose their word shapes (text in one case, lines joined).
    """
    found = []
    for document in documents:
        segments = segment(document.note.text)
        offset = shuffle.randrange(4) if shuffle else 0
        starts = segments.sentence_starts
        if 0 < offset < len(starts):
            cut = starts[offset]
            parts = [_part(segments, 0, cut), _part(segments, cut, len(segments.words))]
        else:
            parts = [segments]
        done = 0
        for part in parts:
            for window in windower.windows(document.note.text, part):
                shifted = replace(window, first=window.first + done)
                if shuffle and shuffle.random() < 0.1:
                    shifted = replace(shifted, shapes=[_plain(shape) for shape in shifted.shapes])
                found.append(_example(document, segments, shifted))
            done += len(part.words)
    return found


def _plain(shape: int) -> int:
    shape %= len(SHAPES)
    return shape if SHAPES[shape] in ("digit", "mark") else 0


def _part(segments: Segments, first: int, last: int) -> Segments:
    return Segments(
        words=segments.words[first:last],
        sentence_starts=[start - first for start in segments.sentence_starts if first <= start < last] or [0],
        line_starts=frozenset(start - first for start in segments.line_starts if first <= start < last),
        structure=segments.structure,
    )


def word_span(segments: Segments, span: Span) -> tuple[int, int]:
    """The words that `span` touches, as `[first, last)`; empty for a span without a word."""
    first = bisect_right(segments.words, span.start, key=lambda word: word[1])
    last = bisect_left(segments.words, span.end, key=lambda word: word[0])
    return first, max(first, last)


def _example(document: Document, segments: Segments, window: Window) -> Example:
    size = len(window.heads)

    def local(label: int, span: Span) -> WordSpan | None:
        first, last = word_span(segments, span)
        first, last = max(0, first - window.first), min(size, last - window.first)
        return (label, first, last) if first < last else None

    mentions: list[WordSpan] = []
    modifiers: dict[WordSpan, int] = {}
    links: set[tuple[int, int]] = set()
    for mention in document.mentions:
        found = local(MENTION_LABELS.index(mention.label), mention.span)
        for modifier in mention.modifiers:
            held = local(MODIFIER_LABELS.index(modifier.label), modifier.span)
            if held is not None:
                index = modifiers.setdefault(held, len(modifiers))
                if found is not None:
                    links.add((len(mentions), index))
        if found is not None:
            mentions.append(found)
    for modifier in document.unlinked:
        held = local(MODIFIER_LABELS.index(modifier.label), modifier.span)
        if held is not None:
            modifiers.setdefault(held, len(modifiers))
    pairs = pair_features(mentions, list(modifiers), window.sentences)
    return Example(
        window=window,
        mentions=mentions,
        modifiers=list(modifiers),
        pairs=[pair[2:] for pair in pairs],
        linked=[(pair[0], pair[1]) in links for pair in pairs],
    )
