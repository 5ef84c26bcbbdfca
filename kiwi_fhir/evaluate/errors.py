"""What is wrong, item by item: every error with its class, its type and the style of its note.

The items are those of counts.py: the distinct mentions, modifiers and links of a note. An item that is exactly right
is no error. What is left is paired one to one, class by class in the order of CLASSES, each time by a maximum
matching, and what stays alone is missed or spurious. So for every level

    gold      = right + boundary + type + both + wrong + missed + missed_end
    predicted = right + boundary + type + both + wrong + spurious + spurious_end

and right + boundary is at most the number of relaxed matches, where an exact match may be given up for two others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import orjson

from kiwi_fhir.evaluate.counts import (
    LEVELS,
    TYPES,
    Level,
    links_of,
    longest,
    maximum_matching,
    overlap,
    overlapping,
    spans_of,
)
from kiwi_fhir.types import Document, Note, Span

Style = Literal["raw", "pre-tokenised"]
STYLES: tuple[Style, ...] = get_args(Style)

#: boundary: the type is right, the spans overlap. type: the spans are right. both: the spans overlap. wrong (links):
#: the modifier is found but given to another mention. missed and spurious: alone; of links only where both ends were
#: found, else they are missed_end and spurious_end.
Class = Literal["boundary", "type", "both", "wrong", "missed", "missed_end", "spurious", "spurious_end"]
CLASSES: tuple[Class, ...] = get_args(Class)

#: Characters of the note shown before and behind an error, and the most that are shown in all.
CONTEXT = 40
LONGEST_CONTEXT = 300

_MARK = re.compile(r"(?P<before>[^\r\n])[.,;:?!](?=\s|$)")


class Item(NamedTuple):
    """A mention or modifier with its span, or a link (`problem-negation`) with those of its mention and modifier."""

    type: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Error:
    """One error; `gold` is None where it is spurious, `predicted` where it is missed."""

    level: Level
    kind: Class
    note: Note
    style: Style
    gold: Item | None
    predicted: Item | None

    @property
    def type(self) -> str:
        """The type in gold, of what is spurious the predicted one."""
        item = self.gold or self.predicted
        return item.type if item else ""


@dataclass(frozen=True, slots=True)
class Analysis:
    """All errors, by note, level and place in the text; and what they are a share of.

    `notes` counts notes by style; `gold`, `predicted` and `right` (exact matches) count items by level and style.
    """

    errors: tuple[Error, ...]
    notes: Mapping[Style, int]
    gold: Mapping[tuple[Level, Style], int]
    predicted: Mapping[tuple[Level, Style], int]
    right: Mapping[tuple[Level, Style], int]


def note_style(text: str) -> Style:
    """`pre-tokenised` where half or more of the marks that end a word stand behind a blank, else `raw`.

    Marks are `. , ; : ? !` before white space or the end: "Normal ; negative" has one behind a blank, "Normal;
    negative" one that is not, and "2.5" none.
    """
    blanks = [found["before"].isspace() for found in _MARK.finditer(text)]
    return "pre-tokenised" if blanks and 2 * sum(blanks) >= len(blanks) else "raw"


def find_errors(gold: Sequence[Document], predicted: Sequence[Document]) -> Analysis:
    """The errors of `predicted` against `gold`, matched by note id; of a note without prediction all is missed.

    Neither may hold an id twice, and every predicted note has its gold, as evaluate.score checks.
    """
    guesses = {document.note.id: document for document in predicted}
    errors: list[Error] = []
    notes: Counter[Style] = Counter()
    golds, guessed, right = (Counter[tuple[Level, Style]]() for _ in range(3))
    for truth in sorted(gold, key=lambda document: document.note.id):
        guess = guesses.get(truth.note.id) or Document(truth.note, ())
        style = note_style(truth.note.text)
        notes[style] += 1
        for level in LEVELS:
            one, other = _items(truth, level), _items(guess, level)
            golds[level, style] += len(one)
            guessed[level, style] += len(other)
            right[level, style] += len(one & other)
            found = [
                Error(level, kind, truth.note, style, *pair)
                for kind, *pair in _classes(level, one - other, other - one, truth, guess)
            ]
            errors += sorted(found, key=_place)
    return Analysis(tuple(errors), notes, golds, guessed, right)


def error_lines(errors: Iterable[Error]) -> Iterator[bytes]:
    """One line of JSON for each error, with the words of the note around it."""
    for error in errors:
        row = {
            "class": error.kind,
            "context": _context(error),
            "gold": _shown(error.gold, error.note.text),
            "level": error.level,
            "note": error.note.id,
            "predicted": _shown(error.predicted, error.note.text),
            "style": error.style,
            "type": error.type,
        }
        yield orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _items(document: Document, level: Level) -> set[Item]:
    if level == "links":
        links = links_of(document)
        return {Item(name, tuple(link)) for name in TYPES[level] for link in links.get(name, ())}
    spans = spans_of(document)
    return {Item(name, (span,)) for name in TYPES[level] for span in spans.get(name, ())}


def _all_overlap(one: Item, other: Item) -> bool:
    return all(map(overlap, one.spans, other.spans))


def _same_modifier(one: Item, other: Item) -> bool:
    return _ends(one)[1][0] == _ends(other)[1][0] and overlap(one.spans[1], other.spans[1])


#: Each class of pairs, with the span that is looked at first: of a wrong link the modifier's.
_PAIRS: tuple[tuple[Class, int, Callable[[Item, Item], bool]], ...] = (
    ("boundary", 0, lambda one, other: one.type == other.type and _all_overlap(one, other)),
    ("type", 0, lambda one, other: one.spans == other.spans),
    ("both", 0, _all_overlap),
    ("wrong", 1, _same_modifier),
)


def _classes(
    level: Level, gold: set[Item], predicted: set[Item], truth: Document, guess: Document
) -> Iterator[tuple[Class, Item | None, Item | None]]:
    """What is wrong with the items that have no exact match: `(class, gold, predicted)`."""
    for kind, at, fits in _PAIRS:
        if kind == "wrong" and level != "links":
            continue
        pairs = _paired(gold, predicted, at, fits)
        for one, other in pairs:
            yield kind, one, other
        gold = gold - {one for one, _ in pairs}
        predicted = predicted - {other for _, other in pairs}
    true_spans, guessed_spans = spans_of(truth), spans_of(guess)
    for item in gold:
        yield "missed" if level != "links" or _has_ends(item, guessed_spans) else "missed_end", item, None
    for item in predicted:
        yield "spurious" if level != "links" or _has_ends(item, true_spans) else "spurious_end", None, item


def _paired(
    gold: set[Item], predicted: set[Item], at: int, fits: Callable[[Item, Item], bool]
) -> list[tuple[Item, Item]]:
    """As many pairs that fit as there can be, those with the most characters in common first."""
    left = sorted(gold, key=lambda item: (item.spans, item.type))
    right = sorted(predicted, key=lambda item: (item.spans[at], item))
    spans = [item.spans[at] for item in right]
    most = longest(spans)
    neighbours = []
    for item in left:
        fitting = [index for index in overlapping(item.spans[at], spans, most) if fits(item, right[index])]
        neighbours.append([index for _, index in sorted((-_common(item, right[index]), index) for index in fitting)])
    return [(left[one], right[other]) for one, other in sorted(maximum_matching(neighbours).items())]


def _common(one: Item, other: Item) -> int:
    return sum(max(0, min(a.end, b.end) - max(a.start, b.start)) for a, b in zip(one.spans, other.spans, strict=True))


def _ends(link: Item) -> tuple[tuple[str, Span], ...]:
    """The label and the span of each end; of a mention or modifier its own."""
    return tuple(zip(link.type.split("-"), link.spans, strict=True))


def _has_ends(link: Item, spans: Mapping[str, set[Span]]) -> bool:
    """Whether something of the same label overlaps each end."""
    return all(any(overlap(span, other) for other in spans.get(label, ())) for label, span in _ends(link))


def _place(error: Error) -> tuple[tuple[Span, ...], str, str, str]:
    item = error.gold or error.predicted
    return (item.spans if item else ()), error.type, error.kind, repr(error.predicted)


def _shown(item: Item | None, text: str) -> list[dict[str, Any]] | None:
    """Label, offsets and words of each end."""
    if item is None:
        return None
    return [
        {"label": label, "start": span.start, "end": span.end, "words": span.of(text)} for label, span in _ends(item)
    ]


def _context(error: Error) -> str:
    spans = [span for item in (error.gold, error.predicted) if item for span in item.spans]
    text = error.note.text
    shown = text[max(0, min(span.start for span in spans) - CONTEXT) : max(span.end for span in spans) + CONTEXT]
    if len(shown) <= LONGEST_CONTEXT:
        return shown
    half = LONGEST_CONTEXT // 2
    return f"{shown[:half]} … {shown[-half:]}"
