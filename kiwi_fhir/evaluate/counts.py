"""What one note adds to the scores: how many gold, how many predicted, how many of them matched.

Exact means the same type and both boundaries. Relaxed means the same type and at least one common character, matched
one to one by a maximum matching, so that neither precision nor recall can pass 1.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kiwi_fhir.types import ALLOWED_PAIRS, MENTION_LABELS, MODIFIER_LABELS, Document, Span

Level = Literal["mentions", "modifiers", "links"]
Match = Literal["exact", "relaxed"]

LEVELS: tuple[Level, ...] = ("mentions", "modifiers", "links")
MATCHES: tuple[Match, ...] = ("exact", "relaxed")

#: The types of each level; a link's type is its two labels: `problem-bodyloc`.
TYPES: dict[Level, tuple[str, ...]] = {
    "mentions": MENTION_LABELS,
    "modifiers": MODIFIER_LABELS,
    "links": tuple(
        f"{mention}-{modifier}"
        for mention in MENTION_LABELS
        for modifier in MODIFIER_LABELS
        if modifier in ALLOWED_PAIRS[mention]
    ),
}


class Link(NamedTuple):
    """The spans of a mention and of a modifier that it holds."""

    mention: Span
    modifier: Span


def count_note(gold: Document, predicted: Document | None) -> NDArray[np.int64]:
    """The note's counts, shape (types of all LEVELS in order, 4): gold, predicted, exact and relaxed matches.

    Every level counts distinct items: a modifier once however many mentions hold it, also when none does, and a link
    with both its labels and spans. Links outside ALLOWED_PAIRS don't count (see not_allowed).
    """
    rows = []
    gold_spans, gold_links = spans_of(gold), links_of(gold)
    predicted_spans, predicted_links = (spans_of(predicted), links_of(predicted)) if predicted else ({}, {})
    for level in LEVELS:
        for name in TYPES[level]:
            if level == "links":
                truth, guess = gold_links.get(name, set()), predicted_links.get(name, set())
                rows.append((len(truth), len(guess), len(truth & guess), match_links(truth, guess)))
            else:
                true_spans, guessed_spans = gold_spans.get(name, set()), predicted_spans.get(name, set())
                relaxed = match_spans(true_spans, guessed_spans)
                rows.append((len(true_spans), len(guessed_spans), len(true_spans & guessed_spans), relaxed))
    return np.array(rows, dtype=np.int64)


def not_allowed(document: Document) -> int:
    """How many links of the document ALLOWED_PAIRS does not have."""
    return sum(
        held.label not in ALLOWED_PAIRS[mention.label] for mention in document.mentions for held in mention.modifiers
    )


def match_spans(gold: Iterable[Span], predicted: Iterable[Span]) -> int:
    """The size of a maximum one-to-one matching of overlapping spans."""
    found = sorted(predicted)
    most = longest(found)
    return len(maximum_matching([list(overlapping(span, found, most)) for span in gold]))


def match_links(gold: Iterable[Link], predicted: Iterable[Link]) -> int:
    """The size of a maximum one-to-one matching of links whose mentions overlap and whose modifiers overlap."""
    found = sorted(predicted)
    mentions = [link.mention for link in found]
    most = longest(mentions)
    neighbours = [
        [index for index in overlapping(link.mention, mentions, most) if overlap(link.modifier, found[index].modifier)]
        for link in gold
    ]
    return len(maximum_matching(neighbours))


def overlap(one: Span, other: Span) -> bool:
    """Whether the spans have a character in common."""
    return one.start < other.end and other.start < one.end


def maximum_matching(neighbours: Sequence[Sequence[int]]) -> dict[int, int]:
    """A maximum matching of a bipartite graph, left node to right: `neighbours[left]` lists the right nodes of `left`.

    Of several such matchings it is one in which early left nodes got early neighbours.

    One augmenting path per left node (Berge's lemma: without such a path a matching is maximum), searched breadth
    first; no recursion, so a note of any length will do.
    """
    left_of: dict[int, int] = {}
    right_of: dict[int, int] = {}
    for start in range(len(neighbours)):
        came_from: dict[int, int] = {}
        queue = [start]
        for left in queue:
            free = None
            for right in neighbours[left]:
                if right in came_from:
                    continue
                came_from[right] = left
                if right not in left_of:
                    free = right
                    break
                queue.append(left_of[right])
            if free is not None:
                _flip(free, start, came_from, left_of, right_of)
                break
    return right_of


def _flip(free: int, start: int, came_from: dict[int, int], left_of: dict[int, int], right_of: dict[int, int]) -> None:
    """Give every left node on the path from `start` to `free` the right node that follows it there."""
    right = free
    while True:
        left = came_from[right]
        before = right_of.get(left)
        left_of[right], right_of[left] = left, right
        if left == start or before is None:
            return
        right = before


def spans_of(document: Document) -> dict[str, set[Span]]:
    """The distinct spans of each label of a mention or modifier, linked or not."""
    found: defaultdict[str, set[Span]] = defaultdict(set)
    for mention in document.mentions:
        found[mention.label].add(mention.span)
        for held in mention.modifiers:
            found[held.label].add(held.span)
    for modifier in document.unlinked:
        found[modifier.label].add(modifier.span)
    return found


def links_of(document: Document) -> dict[str, set[Link]]:
    """The distinct links of each type, also of types that ALLOWED_PAIRS does not have."""
    found: defaultdict[str, set[Link]] = defaultdict(set)
    for mention in document.mentions:
        for held in mention.modifiers:
            found[f"{mention.label}-{held.label}"].add(Link(mention.span, held.span))
    return found


def longest(spans: Sequence[Span]) -> int:
    """The characters of the longest span; 0 where there is none."""
    return max((span.end - span.start for span in spans), default=0)


def overlapping(span: Span, found: Sequence[Span], most: int) -> Iterator[int]:
    """Indices of the spans of `found` (sorted, of at most `most` characters) that overlap `span`."""
    for index in range(bisect_left(found, Span(span.start - most, 0)), len(found)):
        if found[index].start >= span.end:
            return
        if overlap(span, found[index]):
            yield index
