"""Precision, recall and F1 by type, with bootstrap intervals over notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiwi_fhir.errors import UsageError
from kiwi_fhir.evaluate.counts import LEVELS, MATCHES, TYPES, Level, Match, count_note, not_allowed
from kiwi_fhir.types import Document

#: The name of the row that sums the counts of all types of a level.
MICRO = "micro"
#: The share of the resampled scores that an interval holds; its ends are percentiles.
CONFIDENCE = 0.95

_CELLS = 4_000_000  # (sample, note) weights drawn at once: 32 MB


@dataclass(frozen=True, slots=True)
class Value:
    """A share from 0 to 1, or None where nothing could be counted (0/0), with the interval where one was drawn."""

    value: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The scores of one type, or of all types of a level (MICRO), at one way to match.

    precision = matched / predicted, recall = matched / gold, f1 = 2 matched / (gold + predicted).
    """

    level: Level
    match: Match
    type: str
    gold: int
    predicted: int
    matched: int
    precision: Value
    recall: Value
    f1: Value


@dataclass(frozen=True, slots=True)
class Report:
    """Scores of predicted documents against gold.

    `rows` stand by level, way to match, then MICRO and the types. `missing` names gold notes without a prediction:
    all they hold counts as missed. `dropped` counts links of gold and of predicted that ALLOWED_PAIRS does not have;
    they count nowhere. `samples` is 0 when no intervals were drawn.
    """

    rows: tuple[Row, ...]
    notes: int
    missing: tuple[str, ...]
    dropped: Mapping[str, int]
    samples: int
    seed: int

    def row(self, level: Level, match: Match, type_: str = MICRO) -> Row:
        """One row; KeyError when there is none of that name."""
        for row in self.rows:
            if (row.level, row.match, row.type) == (level, match, type_):
                return row
        raise KeyError((level, match, type_))

    def f1(self, level: Level, match: Match, type_: str = MICRO) -> float:
        """F1 as a plain number for comparing models: 0.0 where the row holds None."""
        return self.row(level, match, type_).f1.value or 0.0

    def to_json(self) -> dict[str, Any]:
        """The report as plain dicts, lists, strings and numbers, `scores` by level, way to match and type."""
        scores: dict[str, dict[str, dict[str, Any]]] = {level: {match: {} for match in MATCHES} for level in LEVELS}
        for row in self.rows:
            scores[row.level][row.match][row.type] = {
                "gold": row.gold,
                "predicted": row.predicted,
                "matched": row.matched,
                "precision": _plain(row.precision),
                "recall": _plain(row.recall),
                "f1": _plain(row.f1),
            }
        return {
            "bootstrap": {"samples": self.samples, "seed": self.seed, "confidence": CONFIDENCE, "unit": "note"},
            "links_left_out": dict(sorted(self.dropped.items())),
            "notes": self.notes,
            "notes_without_prediction": list(self.missing),
            "scores": scores,
        }


def score(gold: Sequence[Document], predicted: Sequence[Document], *, samples: int = 1000, seed: int = 0) -> Report:
    """Scores of `predicted` against `gold`, matched by note id.

    `samples` is the number of bootstrap resamples of the notes; 0 draws none, and of fewer than two notes there are
    no intervals. The same seed gives the same intervals.

    Raises UsageError when an id occurs twice and when a predicted note has no gold.
    """
    truths, guesses = _by_id(gold, "gold"), _by_id(predicted, "predicted")
    if extra := sorted(set(guesses) - set(truths)):
        raise UsageError(f"The predicted note {extra[0]} has no gold: compare the same notes ({len(extra)} have none).")
    counts = [count_note(document, guesses.get(name)) for name, document in truths.items()]
    table = np.stack(counts) if counts else np.zeros((0, sum(map(len, TYPES.values())), 4), dtype=np.int64)
    samples = samples if len(counts) > 1 else 0
    totals = _with_micro(table.sum(axis=0))
    drawn = _with_micro(_resample(table, samples, seed)) if samples else None
    return Report(
        rows=tuple(_rows(totals, drawn)),
        notes=len(truths),
        missing=tuple(sorted(set(truths) - set(guesses))),
        dropped={"gold": sum(map(not_allowed, gold)), "predicted": sum(map(not_allowed, predicted))},
        samples=samples,
        seed=seed,
    )


def _by_id(documents: Sequence[Document], what: str) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for document in documents:
        if document.note.id in found:
            raise UsageError(f"The {what} note {document.note.id} occurs twice: a note's id must be its own.")
        found[document.note.id] = document
    return found


def _resample(table: NDArray[np.int64], samples: int, seed: int) -> NDArray[np.float64]:
    """Sums of `samples` draws of as many notes as there are, shape (samples, types, 4), from (notes, types, 4)."""
    notes, types, columns = table.shape
    flat = table.reshape(notes, types * columns).astype(np.float64)
    generator = np.random.default_rng(seed)
    share = np.full(notes, 1 / notes)
    step = max(1, _CELLS // notes)
    # How often each note is drawn is multinomial, so a matrix product sums a whole block of samples.
    blocks = [
        generator.multinomial(notes, share, size=min(step, samples - first)) @ flat for first in range(0, samples, step)
    ]
    return np.concatenate(blocks).reshape(samples, types, columns)


def _with_micro(table: NDArray[Any]) -> NDArray[Any]:
    """(..., types, 4) with the sum of each level's types before them."""
    parts, first = [], 0
    for level in LEVELS:
        part = table[..., first : first + len(TYPES[level]), :]
        parts += [part.sum(axis=-2, keepdims=True), part]
        first += len(TYPES[level])
    return np.concatenate(parts, axis=-2)


def _rows(totals: NDArray[np.int64], drawn: NDArray[np.float64] | None) -> Iterator[Row]:
    first = 0
    for level in LEVELS:
        names = (MICRO, *TYPES[level])
        for column, match in enumerate(MATCHES, 2):
            for index, name in enumerate(names, first):
                gold, predicted, matched = (int(totals[index, at]) for at in (0, 1, column))
                shares = [(matched, predicted), (matched, gold), (2 * matched, gold + predicted)]
                intervals: list[tuple[float, float] | None] = [None] * 3
                if drawn is not None:
                    golds, guesses, matches = (drawn[:, index, at] for at in (0, 1, column))
                    below = (guesses, golds, golds + guesses)
                    above = (matches, matches, 2 * matches)
                    intervals = [_interval(top, bottom) for top, bottom in zip(above, below, strict=True)]
                precision, recall, f1 = (
                    Value(top / bottom, interval) if bottom else Value(None)
                    for (top, bottom), interval in zip(shares, intervals, strict=True)
                )
                yield Row(level, match, name, gold, predicted, matched, precision, recall, f1)
        first += len(names)


def _interval(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> tuple[float, float] | None:
    """The percentile interval over the samples in which the share exists."""
    counted = bottom > 0
    if not counted.any():
        return None
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(top[counted] / bottom[counted], [tail, 100 - tail])
    return float(low), float(high)


def _plain(value: Value) -> dict[str, Any]:
    return {"value": value.value, "interval": list(value.interval) if value.interval else None}
