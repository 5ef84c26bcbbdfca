"""Whether scores mean what they say: reliability, and what is left when the unsure is left out.

A score of .8 means something when 8 of 10 items with such a score are right. Mentions and modifiers are right when
gold has the same label and span. A link's score is the linker's word on two given ends, so it is measured on links
whose ends are both right, and is right when gold has the link. What has no score does not count: what a
rule found, and all that a model found which states none.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kiwi_fhir.documents.min_score import at_least
from kiwi_fhir.evaluate.counts import LEVELS, MATCHES, Level
from kiwi_fhir.evaluate.scores import score
from kiwi_fhir.types import ALLOWED_PAIRS, Document, Mention, Modifier, Span

BINS = 10
#: The thresholds of the curve: steps of .05, and two near 1, where many scores of a model without calibration are.
THRESHOLDS: tuple[float, ...] = (*(step / 20 for step in range(20)), 0.98, 0.99)

#: (score, whether it is right)
Scored = tuple[float, bool]
_Key = tuple[str, Span]


@dataclass(frozen=True, slots=True)
class Bin:
    """The items with scores from `low` to `high`, exclusive (but 1 is in the last bin).

    `score` is their mean, `right` the share of them that is right; both are None where there are none.
    """

    low: float
    high: float
    count: int
    score: float | None
    right: float | None


@dataclass(frozen=True, slots=True)
class Reliability:
    """Scores beside shares, in `bins` of equal width.

    `error` is the expected calibration error, from 0 to 1: how far a bin's mean score and its share right are apart, as
    the mean over all items; None where there are none.
    """

    bins: tuple[Bin, ...]
    error: float | None

    @property
    def count(self) -> int:
        """All items."""
        return sum(one.count for one in self.bins)


def reliability(scored: Sequence[Scored], bins: int = BINS) -> Reliability:
    """The reliability of scores from 0 to 1."""
    scores = np.array([found for found, _ in scored], dtype=np.float64)
    right = np.array([truth for _, truth in scored], dtype=np.float64)
    # Rounded first: 0.3 * 10 is a little more than 3, other products are a little less than whole.
    places = np.minimum(np.floor(np.round(scores * bins, 9)).astype(np.int64), bins - 1)
    made, apart = [], 0.0
    for place in range(bins):
        here = places == place
        count = int(here.sum())
        mean, share = (float(scores[here].mean()), float(right[here].mean())) if count else (None, None)
        if mean is not None and share is not None:
            apart += count * abs(mean - share)
        made.append(Bin(place / bins, (place + 1) / bins, count, mean, share))
    return Reliability(tuple(made), apart / len(scored) if scored else None)


def scored_items(gold: Document, predicted: Document) -> dict[Level, list[Scored]]:
    """The scores of the note's distinct items, and whether each is right; see the module."""
    true_mentions, true_modifiers, true_links = (set(found) for found in _scores(gold, with_rules=True))
    mentions, modifiers, links = _scores(predicted, with_rules=False)
    whole = {key: found for key, found in links.items() if key[0] in true_mentions and key[1] in true_modifiers}
    return {
        "mentions": _scored(mentions, true_mentions),
        "modifiers": _scored(modifiers, true_modifiers),
        "links": _scored(whole, true_links),
    }


def _scored(scores: Mapping[Any, float | None], true: Container[Any]) -> list[Scored]:
    return [(found, key in true) for key, found in sorted(scores.items()) if found is not None]


def calibrate(gold: Sequence[Document], predicted: Sequence[Document]) -> dict[Level, Reliability]:
    """The reliability of each level's scores over all notes, matched by id; every predicted note has its gold."""
    truths = {document.note.id: document for document in gold}
    found: dict[Level, list[Scored]] = {level: [] for level in LEVELS}
    for document in predicted:
        for level, scored in scored_items(truths[document.note.id], document).items():
            found[level] += scored
    return {level: reliability(scored) for level, scored in found.items()}


def curve(
    gold: Sequence[Document], predicted: Sequence[Document], thresholds: Sequence[float] = THRESHOLDS
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each level as `--min-score` would have them, for each threshold (0 to 1)."""
    rows = []
    for threshold in thresholds:
        report = score(gold, [at_least(document, threshold) for document in predicted], samples=0)
        row: dict[str, Any] = {"min_score": threshold}
        for level in LEVELS:
            row[level] = {}
            for match in MATCHES:
                found = report.row(level, match)
                values = {"precision": found.precision, "recall": found.recall, "f1": found.f1}
                row[level][match] = {"predicted": found.predicted} | {key: one.value for key, one in values.items()}
        rows.append(row)
    return rows


def to_json(calibration: dict[Level, Reliability]) -> dict[str, Any]:
    """Count, expected calibration error and bins by level, plain."""
    return {
        level: {"bins": [asdict(one) for one in found.bins], "count": found.count, "ece": found.error}
        for level, found in calibration.items()
    }


def _scores(
    document: Document, *, with_rules: bool
) -> tuple[dict[_Key, float | None], dict[_Key, float | None], dict[tuple[_Key, _Key], float | None]]:
    """The highest score of each distinct mention, modifier and link that the guideline allows; None without one."""
    mentions: dict[_Key, float | None] = {}
    modifiers: dict[_Key, float | None] = {}
    links: dict[tuple[_Key, _Key], float | None] = {}

    def counts(found: Mention | Modifier) -> bool:
        return with_rules or not found.rule

    for mention in document.mentions:
        key = (mention.label, mention.span)
        if counts(mention):
            mentions[key] = _higher(mention.score, mentions.get(key))
        for held in filter(counts, mention.modifiers):
            other = (held.label, held.span)
            modifiers[other] = _higher(held.score, modifiers.get(other))
            if held.label in ALLOWED_PAIRS[mention.label]:
                links[key, other] = _higher(held.link, links.get((key, other)))
    for held in filter(counts, document.unlinked):
        other = (held.label, held.span)
        modifiers[other] = _higher(held.score, modifiers.get(other))
    return mentions, modifiers, links


def _higher(one: float | None, other: float | None) -> float | None:
    return max((score for score in (one, other) if score is not None), default=None)
