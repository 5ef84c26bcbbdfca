"""Which tokens may come next when a text is copied with tags put around spans of it.

A text is followed by what was written so far (`Place`s: usually one, several where the text itself looks like a tag,
and then the reading as text counts first). It works on bytes, so a token may hold the end of a tag and the text after
it, or a part of a character. An invariant that tests hold: whatever is chosen among `legal` tokens, the text comes out
whole, and every span begins and ends where a character does.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from kiwi_fhir.extract.generative.marking import Tags
from kiwi_fhir.extract.generative.vocabulary import Vocabulary

#: Kinds of places.
TEXT, OPENING, CLOSING = range(3)


class Opened(NamedTuple):
    """A span that was opened, in bytes of the source; `end` is -1 until it is closed. `before` is the one before it."""

    before: Opened | None
    label: str
    start: int
    end: int


class Place(NamedTuple):
    """Where one reading of the output stands: in the text, an opening tag or the closing tag (`kind`).

    `position` counts bytes of the source that were copied; `tag` is what was written of the tag.
    """

    kind: int
    position: int
    inside: bool
    tag: bytes
    spans: Opened | None


@dataclass(frozen=True, slots=True)
class Tagset:
    """The tags of a question as bytes."""

    labels: dict[bytes, str]
    close: bytes
    beginnings: frozenset[bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Derive the beginnings of the opening tags."""
        found = frozenset(tag[:end] for tag in self.labels for end in range(1, len(tag) + 1))
        object.__setattr__(self, "beginnings", found)

    @classmethod
    def of(cls, tags: Tags, labels: Sequence[str]) -> Tagset:
        """The tags of these classes."""
        return cls({tags.opening(label).encode(): label for label in labels}, tags.close.encode())


class Copy:
    """The copying of one source, which has no white space at its ends."""

    def __init__(self, source: str, tagset: Tagset, vocabulary: Vocabulary) -> None:
        self.source = source.encode()
        self._tags, self._vocabulary = tagset, vocabulary
        offsets = [0, *accumulate(len(mark.encode()) for mark in source)]
        #: How many characters stand before a byte where one begins, or the text ends.
        self.characters = {offset: index for index, offset in enumerate(offsets)}
        self._may_open, self._may_close = _borders(source, offsets)
        self._legal: dict[tuple[tuple[int, int, bool, bytes, int], ...], tuple[int, ...]] = {}
        self.start: tuple[Place, ...] = (Place(TEXT, 0, False, b"", None),)

    def follow(self, places: tuple[Place, ...], token: int) -> tuple[Place, ...]:
        """The places after a legal token."""
        for byte in self._vocabulary.pieces[token]:
            places = tuple(self._steps(places, byte))
        return places

    def is_done(self, places: tuple[Place, ...]) -> bool:
        """Whether all of the text is copied, so that nothing is left to choose."""
        return any(place.position == len(self.source) and place.kind != OPENING for place in places)

    def spans(self, places: tuple[Place, ...]) -> list[tuple[str, int, int]]:
        """(label, start, end) in characters of the source, of the first reading that is done; ascending."""
        end = len(self.source)
        opened = next(place.spans for place in places if place.position == end and place.kind != OPENING)
        found: list[tuple[str, int, int]] = []
        while opened is not None:
            last = end if opened.end < 0 else opened.end
            found.append((opened.label, self.characters[opened.start], self.characters[last]))
            opened = opened.before
        return found[::-1]

    def legal(self, places: tuple[Place, ...]) -> tuple[int, ...]:
        """The ids of all tokens that may come next, at least one while the copy is not done."""
        key = tuple((*place[:4], place.spans.start if place.spans else -1) for place in places)
        if key not in self._legal:
            self._legal[key] = tuple(self._search(places))
        return self._legal[key]

    def rest(self, places: tuple[Place, ...], size: int, guess: str) -> str:
        """What comes next if no further tag does: the rest of a tag, and `size` bytes of text at most.

        `guess` is the label of an opening tag that does not say its label yet. Empty inside a character.
        """
        place = places[0]
        position, tag = place.position, b""
        if position not in self.characters:
            return ""
        if place.kind == CLOSING:
            tag = self._tags.close[len(place.tag) :]
        elif place.kind == OPENING:
            fitting = {label: tag for tag, label in self._tags.labels.items() if tag.startswith(place.tag)}
            tag = fitting.get(guess, next(iter(fitting.values())))[len(place.tag) :]
        return tag.decode(errors="ignore") + self.source[position : position + size].decode(errors="ignore")

    def _search(self, places: tuple[Place, ...]) -> Iterator[int]:
        vocabulary = self._vocabulary
        stack = [(b"", places)]
        while stack:
            written, here = stack.pop()
            for byte in {byte for place in here for byte in self._bytes(place)}:
                longer = written + bytes((byte,))
                if longer not in vocabulary.beginnings:
                    continue
                there = tuple(self._steps(here, byte))
                if longer in vocabulary.ids:
                    yield vocabulary.ids[longer]
                stack.append((longer, there))

    def _bytes(self, place: Place) -> Iterator[int]:
        """The bytes that may come next."""
        position = place.position
        if place.kind == CLOSING:
            yield self._tags.close[len(place.tag)]
            return
        if place.kind == TEXT and position < len(self.source):
            yield self.source[position]
        if place.kind == TEXT and self._closes(place):
            yield self._tags.close[0]
        if place.kind == OPENING or self._opens(place):
            size = len(place.tag)
            for tag in self._tags.labels:
                if len(tag) > size and tag.startswith(place.tag):
                    yield tag[size]

    def _steps(self, places: tuple[Place, ...], byte: int) -> Iterator[Place]:
        for place in places:
            position = place.position
            if place.kind == TEXT and position < len(self.source) and self.source[position] == byte:
                yield place._replace(position=position + 1)
            if place.kind == OPENING or (place.kind == TEXT and self._opens(place)):
                yield from self._in_opening(place, place.tag + bytes((byte,)))
            elif place.kind == CLOSING or (place.kind == TEXT and self._closes(place)):
                tag = place.tag + bytes((byte,))
                if tag == self._tags.close and place.spans is not None:
                    closed = place.spans._replace(end=position)
                    yield Place(TEXT, position, False, b"", closed)
                elif self._tags.close.startswith(tag):
                    yield place._replace(kind=CLOSING, tag=tag)

    def _in_opening(self, place: Place, tag: bytes) -> Iterator[Place]:
        label = self._tags.labels.get(tag)
        if label is not None:
            opened = Opened(place.spans, label, place.position, -1)
            yield Place(TEXT, place.position, True, b"", opened)
        if tag in self._tags.beginnings and (label is None or self._goes_on(tag)):
            yield place._replace(kind=OPENING, tag=tag)

    def _goes_on(self, tag: bytes) -> bool:
        return any(other != tag and other.startswith(tag) for other in self._tags.labels)

    def _opens(self, place: Place) -> bool:
        return place.kind == TEXT and not place.inside and self._may_open[place.position]

    def _closes(self, place: Place) -> bool:
        opened = place.spans
        return place.inside and opened is not None and place.position > opened.start and self._may_close[place.position]


def _borders(source: str, offsets: Sequence[int]) -> tuple[list[bool], list[bool]]:
    """For every byte of the source and its end, whether a span may begin and whether it may end there.

    It may between characters where no word or number is cut and no mark is cut off from its letter; a span begins
    before and ends after what is no white space.
    """
    may_open = [False] * (offsets[-1] + 1)
    may_close = [False] * (offsets[-1] + 1)
    for index, offset in enumerate(offsets):
        before = source[index - 1] if index else " "
        after = source[index] if index < len(source) else " "
        if _joined(before, after):
            continue
        may_open[offset] = not after.isspace()
        may_close[offset] = not before.isspace()
    return may_open, may_close


def _joined(before: str, after: str) -> bool:
    both_letters = (before.isalpha() or _is_mark(before)) and after.isalpha()
    both_digits = before.isdecimal() and after.isdecimal()
    return both_letters or both_digits or _is_mark(after) or "\u200d" in (before, after)  # a zero-width joiner


def _is_mark(character: str) -> bool:
    """Whether it belongs to the character before it: combining marks, variation selectors."""
    return unicodedata.category(character).startswith("M")
