"""Which mentions a cue reaches: those near it in its sentence and those listed with them, or all that follow there."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from kiwi_fhir.documents.structure import Item, Structure
from kiwi_fhir.normalize.context.cues import Cue, Found
from kiwi_fhir.types import Mention, Span

# Between two items of a list: "a, b", "a or any b", "a/b", "a, or b", "a such as b".
_JOINT = re.compile(r"\s*(?:[,/]|(?:,\s*)?(?:and/or|and|or|nor|&|such as)\b)\s*(?:[a-z'-]+\s+){0,2}")
# ... with an item or two between that no mention covers: "fever, weight loss, chills".
_SEPARATOR = re.compile(r"\s*(?:[,/]|\b(?:and/or|and|or|nor)\b)\s*")
_ITEM_WORDS = 4
# What follows an item that begins a clause of its own: "no fever, chest pain is worse".
_CLAUSE = re.compile(
    r"\s+(?:is|are|was|were|has|have|had|persists?|continues?|started|began|improved|resolved"
    r"|unchanged|stable|worse|improving|resolving)\b"
)
_COMMA = re.compile(r"\s*,\s*(?!(?:and|or|nor)\b)(?:[a-z'-]+\s+){0,2}")
_OWNED = re.compile(r",?\s+and\s+(?:his|her|their|the|my|this|these)\s")
_AND = re.compile(r"\s*(?:[/&]|(?:,\s*)?(?:and/or|and|or|nor)\b)")
_ARTICLE = re.compile(r"an?\s+")
_OR = re.compile(r"\b(?:or|nor|and/or)\s+(?:[a-z'-]+\s+){0,2}$")
_FIRST = re.compile(r"\w+")
_END = re.compile(r"\s*(?:[.,;)\n]|$)")
# Bounds that no real sentence reaches keep the time linear.
_NEAR, _LIST_GAP, _LONGEST_LIST = 90, 80, 60


@dataclass(frozen=True, slots=True)
class Reach:
    """The mentions of a text (lower case) and its structure. `starts` are where the mentions' own words begin."""

    text: str
    mentions: Sequence[Mention]
    starts: Sequence[int]
    structure: Structure

    def all(self, found: Sequence[Found]) -> list[list[list[int]]]:
        """The indexes of the mentions that each cue of each phrase reaches.

        What a later phrase reaches by the same cue is that one's, and so is what follows: the nearest cue counts, and a
        list of as many cues as mentions costs time in its length only.
        """
        taken: defaultdict[int, set[int]] = defaultdict(set)
        reached = []
        for phrase in reversed(found):
            here = []
            for cue in phrase.cues:
                indexes = list(self._of(cue, phrase.span, taken[id(cue)]))
                taken[id(cue)].update(indexes)
                here.append(indexes)
            reached.append(here)
        return reached[::-1]

    def _of(self, cue: Cue, span: Span, taken: Container[int]) -> Iterator[int]:
        """The indexes of the mentions that `cue` reaches from `span`, as far as the first of `taken`."""
        sentence = self.structure.sentence_at(span.start)
        if cue.initial and self.text[sentence.start : span.start].strip(" \t\n-*•#.,;:()0123456789"):
            return
        if cue.side != "before":
            yield from self._backward(cue, span, sentence.start)
            return
        at = span.end
        if cue.then is not None:
            found = cue.then.match(self.text, at, sentence.end)
            if found is None:
                return
            inside = bisect_left(self.starts, at)
            if inside == len(self.starts) or self.starts[inside] >= found.end():
                at = found.end()
        colon = self.text.startswith(":", at)
        yield from self._forward(cue, at + colon, self._closed(span, sentence), taken)
        if self.text[at : sentence.end].rstrip().endswith(":"):
            for item in led_items(self.text, self.structure, sentence.end):
                yield from self._forward(cue, item.body.start, item.end, taken)

    def _closed(self, span: Span, sentence: Span) -> int:
        """Where the sentence ends, or the brackets that a cue stands in: "58 % (goal over 70 %), the lowest was 48"."""
        opened = self.text.rfind("(", max(sentence.start, span.start - _NEAR), span.start)
        if opened < 0 or self.text.find(")", opened, span.start) >= 0:
            return sentence.end
        closed = self.text.find(")", span.end, sentence.end)
        return sentence.end if closed < 0 else closed

    def _forward(self, cue: Cue, start: int, end: int, taken: Container[int]) -> Iterator[int]:
        """The mentions behind `start` that a cue reaches, as far as `end`."""
        index, first = bisect_left(self.starts, start), True
        while index < len(self.mentions) and self.mentions[index].span.end <= end and index not in taken:
            mention = self.mentions[index]
            at = self.starts[index]
            word = _FIRST.match(self.text, at)
            if cue.ends.search(self.text, start, word.end() if word is not None else at):
                return
            if not cue.rest:
                near = self._is_near(start, at, cue.words) if first else self._is_listed(cue, start, mention.span)
                # What is spoken of only may be listed with others: "vaccinated against influenza and hepatitis B"; and
                # problems that are denied with treatments: "denies stroke, pacemaker, diabetes".
                denied = cue.modifier == "negation" and mention.label == "treatment" and not first
                if not near or (mention.label not in cue.mentions and cue.modifier is not None and not denied):
                    return
            else:
                denied = False
            if (denied or mention.label in cue.mentions) and not (
                cue.unless and cue.unless.search(self.text, start, mention.span.end)
            ):
                yield index
            first, start = False, mention.span.end
            index = self._next(index)

    def _backward(self, cue: Cue, span: Span, start: int) -> Iterator[int]:
        """The mentions before `span` that a cue reaches, back to `start`."""
        end, first = span.start, True
        if cue.side == "closing" and not _END.match(self.text, span.end):
            return
        index, anded = bisect_left(self.starts, end) - 1, False
        while index >= 0 and self.starts[index] >= start:
            mention = self.mentions[index]
            if first:
                words = 0 if cue.side == "closing" else cue.words
                near = self._is_near(mention.span.end, end, words)
                near = near and not cue.ends.search(self.text, mention.span.end, end)
            else:
                near = _JOINT.fullmatch(self.text, mention.span.end, end) is not None
                anded = anded or _AND.match(self.text, mention.span.end) is not None
                # "Consolidation, malignancy cannot be excluded": a comma alone binds no doubt.
                near = near and (anded or cue.modifier != "uncertain")
            if not near or mention.label not in cue.mentions:
                return
            yield index
            first, end = False, self.starts[index]
            index -= 1

    def _is_near(self, start: int, end: int, words: int) -> bool:
        """Whether at most `words` words and no mark that ends a cue lie between."""
        gap = self.text[start:end]
        return start <= end <= start + _NEAR and not any(mark in gap for mark in ";:(") and len(gap.split()) <= words

    def _is_listed(self, cue: Cue, start: int, span: Span) -> bool:
        """Whether the mention at `span` goes on with a list, and is no clause of its own behind a comma."""
        if _COMMA.fullmatch(self.text, start, span.start) and _CLAUSE.match(self.text, span.end):
            return False
        if begins_clause(self.text, start, span):
            return False
        if cue.modifier == "negation" and self._begins_anew(start, span):
            return False
        if _JOINT.fullmatch(self.text, start, span.start):
            return True
        if cue.modifier != "negation" or span.start - start > _LIST_GAP:
            return False
        # The words between are items that no mention covers: each is short, and separators stand between.
        parts = _SEPARATOR.split(self.text[start : span.start])
        return len(parts) > 1 and all(
            len(part.split()) <= _ITEM_WORDS and not any(mark in part for mark in ".;:()") for part in parts
        )

    def _begins_anew(self, start: int, span: Span) -> bool:
        """Whether the mention at `span` is the first with an article, and no "or" before it: "no leak, a blush"."""
        if not _ARTICLE.match(self.text, span.start) or _OR.search(self.text, start, span.start):
            return False
        index = bisect_left(self.starts, span.start) - 1
        first = self.starts[index] if index >= 0 else start
        return not (_ARTICLE.match(self.text, first) or re.search(r"\ban?\s+$", self.text[max(0, first - 5) : first]))

    def _next(self, index: int) -> int:
        """The next mention that does not overlap this one."""
        end = self.mentions[index].span.end
        index += 1
        while index < len(self.mentions) and self.mentions[index].span.start < end:
            index += 1
        return index


def begins_clause(text: str, start: int, span: Span) -> bool:
    """Whether the mention at `span` begins a clause of its own behind `start`: "... and his cough is worse"."""
    joint = text.rfind(" and ", max(0, start), span.start + 1)
    if joint < 0 and text.startswith(" and ", span.start - 5):
        joint = span.start - 5
    return joint >= 0 and _OWNED.match(text, joint) is not None and _CLAUSE.match(text, span.end) is not None


def led_items(text: str, structure: Structure, at: int) -> Iterator[Item]:
    """The items of the list that begins at `at`, where nothing but white space lies before and between them."""
    index = bisect_right(structure.items, at - 1, key=lambda item: item.start)
    while index < len(structure.items):
        item = structure.items[index]
        if text[at : item.start].strip():
            return
        yield item
        at, index = item.end, index + 1


def leading_line(text: str, structure: Structure, at: int) -> Span | None:
    """The words, without the colon, of the line over the list that the character at `at` is in: "Stop taking:"."""
    index = bisect_right(structure.items, at, key=lambda item: item.start) - 1
    if index < 0 or at >= structure.items[index].end:
        return None
    first = structure.items[index].start
    for item in reversed(structure.items[max(0, index - _LONGEST_LIST) : index]):
        if text[item.end : first].strip():
            break
        first = item.start
    start = structure.line_at(max(0, first - 1)).start
    words = text[start:first].rstrip()
    return Span(start, start + len(words) - 1) if words.endswith(":") and "\n" not in words else None
