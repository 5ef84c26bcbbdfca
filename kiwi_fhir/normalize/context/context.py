"""Cues that a model missed: "no", "rule out", "if", "history of" and relatives, found by the rules of context.toml.

A rule looks no further than the sentence or list item, and gives a mention only a modifier of a kind that the model
did not give it. What it adds is marked (`Modifier.rule`), so that evidence never passes for the model's.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.context.family import Family, load_family
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.tables import ListOf, Mappings, OneOf, Schema
from kiwi_fhir.types import Document, Mention, MentionLabel, Modifier, ModifierLabel, Span

_CUES: dict[str, Schema] = {
    "modifier": OneOf(("negation", "uncertain", "condition", "temporal")),
    "mentions": ListOf(OneOf(("problem", "treatment", "drug", "test"))),
    "words": int,
    "ends": ListOf(str),
    "before": ListOf(str),
    "after": ListOf(str),
}
_KINDS = ("negation", "uncertain", "condition", "not_taken", "history")
_SCHEMA: dict[str, Schema] = {
    "enabled": bool,
    "ends": ListOf(str),
    "pseudo": ListOf(str),
    **dict.fromkeys(_KINDS, _CUES),
    "subject": {
        "behind": ListOf(str),
        "has": ListOf(str),
        "family": ListOf(str),
        "patient": ListOf(str),
        "between": ListOf(str),
    },
}

# Between two items of a list: "a, b", "a or any b", "a/b".
_JOINT = re.compile(r"\s*(?:[,/]|(?:,\s*)?(?:and/or|and|or|nor)\b)\s*(?:[a-z'-]+\s+){0,2}")
# What follows an item that begins a clause of its own: "no fever, chest pain is worse".
_CLAUSE = re.compile(r"\s+(?:is|are|was|were|has|have|had|persists?|continues?|started|began|improved|resolved)\b")
_COMMA = re.compile(r"\s*,\s*(?!(?:and|or|nor)\b)(?:[a-z'-]+\s+){0,2}")
_FIRST = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class _Cue:
    """What a phrase adds to a mention: to those behind it (`forward`) or before it."""

    modifier: ModifierLabel
    mentions: frozenset[MentionLabel]
    words: int
    forward: bool
    ends: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Context:
    """The rules of context.toml."""

    enabled: bool
    cues: Mapping[str, tuple[_Cue, ...]]
    pattern: re.Pattern[str]
    family: Family

    def complete(self, document: Document, text: str, structure: Structure) -> Document:
        """`document` with what the rules add to its mentions; the very same one where they add nothing.

        `text` is that of the note in lower case, `structure` its structure.
        """
        mentions = document.mentions
        if not mentions:
            return document
        added: dict[int, list[Modifier]] = {}
        for index, modifier in self.family.find(text, mentions, structure, everywhere=self.enabled):
            added.setdefault(index, []).append(modifier)
        if self.enabled:
            for index, modifier in self._find(text, mentions, structure):
                held = added.setdefault(index, [])
                if all(other.label != modifier.label for other in held):
                    held.append(modifier)
        if not added:
            return document
        completed = [_with(mention, added.get(index, ())) for index, mention in enumerate(mentions)]
        return replace(document, mentions=tuple(completed))

    def _find(self, text: str, mentions: Sequence[Mention], structure: Structure) -> Iterator[tuple[int, Modifier]]:
        """What the cues of a text add: the index of a mention and its new modifier."""
        starts = [mention.span.start for mention in mentions]
        for found in self.pattern.finditer(text):
            start, end = found.span()
            behind = bisect_left(starts, end)
            if behind and mentions[behind - 1].span.end > start:
                behind -= 1
                if starts[behind] <= start:
                    continue  # inside a mention
                end = start + len(text[start : starts[behind]].rstrip())  # "no change" before "change in vision"
            cues = self.cues.get(" ".join(text[start:end].split()), ())
            if not cues:
                continue
            sentence = structure.sentence_at(start)
            left, right = sentence.start, sentence.end
            for cue in cues:
                if cue.forward:
                    reached = self._forward(text, mentions, cue, behind, end, right)
                else:
                    reached = self._backward(text, mentions, cue, behind - 1, start, left)
                for index in reached:
                    if _lacks(mentions[index], cue):
                        yield index, Modifier(cue.modifier, Span(start, end), rule=True)

    def _forward(
        self, text: str, mentions: Sequence[Mention], cue: _Cue, index: int, start: int, end: int
    ) -> Iterator[int]:
        """The indexes of the mentions behind `start` that a cue reaches, as far as `end`."""
        first = True
        while index < len(mentions) and mentions[index].span.end <= end:
            span = mentions[index].span
            word = _FIRST.match(text, span.start)
            if cue.ends.search(text, start, word.end() if word is not None else span.start):
                return
            near = _is_near(text, start, span.start, cue.words) if first else _is_listed(text, start, span)
            if not near or mentions[index].label not in cue.mentions:
                return
            yield index
            first, start = False, span.end
            index = _next(mentions, index)

    def _backward(
        self, text: str, mentions: Sequence[Mention], cue: _Cue, index: int, end: int, start: int
    ) -> Iterator[int]:
        """The indexes of the mentions before `end` that a cue reaches, back to `start`."""
        first = True
        while index >= 0 and mentions[index].span.start >= start:
            span = mentions[index].span
            if first:
                near = _is_near(text, span.end, end, cue.words) and not cue.ends.search(text, span.end, end)
            else:
                near = _JOINT.fullmatch(text, span.end, end) is not None
            if not near or mentions[index].label not in cue.mentions:
                return
            yield index
            first, end = False, span.start
            index -= 1


def load_context(mappings: Mappings) -> Context:
    """context.toml. Raises MappingError."""
    table: dict[str, Any] = mappings.table("context", _SCHEMA)
    cues: dict[str, tuple[_Cue, ...]] = {}
    for kind in _KINDS:
        rule = table[kind]
        ends = re.compile(any_of(phrase.lower() for phrase in (*table["ends"], *rule["ends"])))
        for side in ("before", "after"):
            cue = _Cue(rule["modifier"], frozenset(rule["mentions"]), rule["words"], side == "before", ends)
            for phrase in rule[side]:
                key = " ".join(phrase.lower().split())
                cues[key] = (*cues.get(key, ()), cue)
    pseudo = [" ".join(phrase.lower().split()) for phrase in table["pseudo"]]
    for phrase in pseudo:
        cues.pop(phrase, None)
    return Context(
        enabled=table["enabled"],
        cues=cues,
        pattern=re.compile(any_of([*cues, *pseudo])),
        family=load_family(table["subject"], mappings),
    )


def _lacks(mention: Mention, cue: _Cue) -> bool:
    """Whether the model left it open. Of times only one before the mention counts: "history of stroke in 2006"."""
    return all(
        held.label != cue.modifier or (held.label == "temporal" and held.span.start > mention.span.start)
        for held in mention.modifiers
    )


def _with(mention: Mention, added: Sequence[Modifier]) -> Mention:
    if not added:
        return mention
    held = sorted((*mention.modifiers, *added), key=lambda modifier: (modifier.span, modifier.label))
    return replace(mention, modifiers=tuple(held))


def _is_near(text: str, start: int, end: int, words: int) -> bool:
    """Whether at most `words` words and no mark that ends a cue lie between."""
    gap = text[start:end]
    return start <= end <= start + 90 and not any(mark in gap for mark in ";:(") and len(gap.split()) <= words


def _is_listed(text: str, start: int, span: Span) -> bool:
    """Whether the mention at `span` goes on with a list, and is no clause of its own behind a comma."""
    if not _JOINT.fullmatch(text, start, span.start):
        return False
    return not (_COMMA.fullmatch(text, start, span.start) and _CLAUSE.match(text, span.end))


def _next(mentions: Sequence[Mention], index: int) -> int:
    """The next mention that does not overlap this one."""
    end = mentions[index].span.end
    index += 1
    while index < len(mentions) and mentions[index].span.start < end:
        index += 1
    return index
