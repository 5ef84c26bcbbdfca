"""A note's text as HTML with its mentions and modifiers drawn in place.

Invariant: the text content of the markup is the note's text, character by character. Spans may lie inside each other
or cross, so the text is cut at every boundary, and each piece says which items cover it. What is drawn besides
(letters, tags) stands in attributes.
"""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from kiwi_fhir.types import MENTION_LABELS, Document, Mention, Modifier, Span

#: What is written at a mention's start: colour alone would not reach everybody.
LETTERS: dict[str, str] = dict(zip(MENTION_LABELS, ("P", "T", "D", "Tx"), strict=True))

#: What is written below a modifier's start: short, so that tags of neighbouring words don't collide.
TAGS: dict[str, str] = {
    "negation": "not",
    "uncertain": "unsure",
    "subject": "who",
    "condition": "if",
    "severity": "sev",
    "course": "course",
    "bodyloc": "site",
    "temporal": "time",
    "labvalue": "value",
    "reference_range": "range",
    "strength": "str",
    "dosage": "dose",
    "form": "form",
    "route": "via",
    "frequency": "freq",
    "duration": "dur",
}


@dataclass(frozen=True, slots=True)
class Item:
    """Something drawn in the text; `key` names it in the page, `title` says in words what it is.

    `evidence` is the span of a resource that no mention has: it is drawn only while its card is looked at.
    """

    key: str
    kind: Literal["mention", "modifier", "evidence"]
    label: str
    span: Span
    title: str = ""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """The items of a document and the `(mention, modifier)` keys that are linked."""

    items: tuple[Item, ...]
    links: tuple[tuple[str, str], ...]

    def keys_of(self, span: Span) -> list[str]:
        """The keys of the mentions with exactly this span, else of the other items with it and of mentions cut there.

        The program may read a mention as a longer or shorter name, which then begins or ends where it does.
        """
        found = [item for item in self.items if item.span == span]
        mentions = [item.key for item in found if item.kind == "mention"]
        inside = [item.key for item in self.items if item.kind == "mention" and _is_of_one(item.span, span)]
        return mentions or [*(item.key for item in found), *inside]


def draw(document: Document, evidence: Iterable[Span] = ()) -> Drawing:
    """What is to be drawn: mentions `m0`.., distinct modifiers `d0`.., and as `e0`.. evidence that is neither."""
    text = document.note.text
    held: dict[Modifier, list[tuple[str, Mention]]] = defaultdict(list)
    items = []
    for number, mention in enumerate(document.mentions):
        items.append(
            Item(
                f"m{number}",
                "mention",
                mention.label,
                mention.span,
                _mention_title(mention, text),
                any(modifier.label == "negation" for modifier in mention.modifiers),
            )
        )
        for modifier in mention.modifiers:
            held[Modifier(modifier.label, modifier.span)].append((f"m{number}", mention))
    for modifier in document.unlinked:
        held.setdefault(Modifier(modifier.label, modifier.span), [])
    links = []
    for number, (modifier, holders) in enumerate(sorted(held.items(), key=lambda pair: pair[0].span)):
        key = f"d{number}"
        title = f"{modifier.label}: {_words(modifier.span, text)}"
        title += "".join(f"\nof {mention.label}: {_words(mention.span, text)}" for _, mention in holders)
        items.append(Item(key, "modifier", modifier.label, modifier.span, title))
        links += [(holder, key) for holder, _ in holders]
    known = {item.span for item in items}
    inside = {span for span in evidence if span not in known and 0 <= span.start < span.end <= len(text)}
    items += [Item(f"e{number}", "evidence", "", span) for number, span in enumerate(sorted(inside))]
    return Drawing(tuple(items), tuple(links))


def _is_of_one(one: Span, other: Span) -> bool:
    return (one.start == other.start) != (one.end == other.end)


def markup(text: str, items: Sequence[Item]) -> Iterator[str]:
    """`text` with `items` drawn in it, as pieces of HTML."""
    for start, end, covering in _pieces(len(text), items):
        words = escape(text[start:end])
        yield (
            f"<span {_attributes(start, end, covering)}>{_marks(start, covering)}{words}</span>" if covering else words
        )


def escape(text: str) -> str:
    """`text` safe in HTML and in quoted attributes, coming back from a parser as it was.

    A parser would make LF of CR, so CR is written as a reference. NUL can't stand in HTML in any way: the replacement
    character stands for it.
    """
    return html.escape(text).replace("\r", "&#13;").replace("\0", "\ufffd")


def _pieces(length: int, items: Sequence[Item]) -> Iterator[tuple[int, int, list[Item]]]:
    """The text cut at all boundaries, each piece with the items that cover it, the longest first."""
    cuts = sorted({0, length, *(at for item in items for at in (item.span.start, item.span.end))})
    waiting = sorted(items, key=lambda item: item.span.start, reverse=True)
    open_items: list[Item] = []
    for start, end in pairwise(cuts):
        while waiting and waiting[-1].span.start == start:
            open_items.append(waiting.pop())
        open_items = [item for item in open_items if item.span.end > start]
        yield start, end, sorted(open_items, key=lambda item: (item.span.start - item.span.end, item.key))


def _attributes(start: int, end: int, covering: Sequence[Item]) -> str:
    """Class, keys and title of a piece: a-, b- are its outer and inner mention, x-, y- its outer and inner modifier."""
    mentions = [item for item in covering if item.kind == "mention"]
    modifiers = [item for item in covering if item.kind == "modifier"]
    classes = ["p"]
    for group, (outer, inner) in ((mentions, "ab"), (modifiers, "xy")):
        if group:
            classes.append(f"{outer}-{group[0].label}")
        if len(group) > 1:
            classes.append(f"{inner}-{group[-1].label}")
    classes += ["s"] * any(item.span.start == start for item in mentions)
    classes += ["e"] * any(item.span.end == end for item in mentions)
    classes += ["neg"] * (bool(mentions) and all(item.negated for item in mentions))
    written = f'class="{" ".join(classes)}" data-k="{" ".join(item.key for item in covering)}"'
    title = "\n".join(item.title for item in covering if item.title)
    if title:
        written += f' title="{escape(title)}"'
    if any(item.span.start == start for item in (*mentions, *modifiers)):
        written += ' tabindex="-1" role="button"'
    return written


def _marks(start: int, covering: Sequence[Item]) -> str:
    """Empty elements whose letters and tags the style sheet takes from their attributes."""
    begun = [item for item in covering if item.span.start == start]
    letters = "".join(
        f'<i class="letter {item.label}" data-t="{LETTERS[item.label]}"></i>'
        for item in begun
        if item.kind == "mention"
    )
    tags = "".join(
        f'<b class="{item.label}" data-t="{TAGS[item.label]}"></b>' for item in begun if item.kind == "modifier"
    )
    return letters + (f'<i class="tags">{tags}</i>' if tags else "")


def _mention_title(mention: Mention, text: str) -> str:
    lines = [f"{mention.label}: {_words(mention.span, text)}"]
    lines += [f"{modifier.label}: {_words(modifier.span, text)}" for modifier in mention.modifiers]
    return "\n  ".join(lines)


def _words(span: Span, text: str) -> str:
    return " ".join(span.of(text).split())
