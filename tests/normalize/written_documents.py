"""Documents of a test's own text: `write("no chest pain", ("problem", "chest pain", {"negation": "no"}))`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from kiwi_fhir.types import Document, Mention, MentionLabel, Modifier, ModifierLabel, Note, Span

Modifiers = Mapping[ModifierLabel, str | Sequence[str]]


def write(
    text: str,
    *mentions: tuple[MentionLabel, str, Modifiers],
    section: str | None = None,
    score: float | None = 1.0,
    **note: object,
) -> Document:
    """Each mention and modifier is found by its words: a mention behind the one before it, a modifier anywhere.

    The n-th of several equal modifiers of a mention is its n-th occurrence; `score` is that of all, `note` sets fields
    of the note.
    """
    found: list[Mention] = []
    start = 0
    for label, words, modifiers in mentions:
        at = _index(text, words, start)
        start = at + 1
        linked = [
            Modifier(kind, span, score)
            for kind, said in modifiers.items()
            for span in _spans(text, [said] if isinstance(said, str) else said)
        ]
        linked.sort(key=lambda modifier: (modifier.span, modifier.label))
        found.append(Mention(label, Span(at, at + len(words)), tuple(linked), score, section))
    fields = {"id": "n1", "patient_id": "p1", "encounter_id": "e1", "time": "2011-03-05", **note}
    return Document(Note(text=text, **fields), tuple(found))


def _index(text: str, words: str, start: int) -> int:
    """Where `words` stand by themselves behind `start` (the "P" of "PLAN: P 72" is the second), else anywhere."""
    found = re.compile(rf"(?<!\w){re.escape(words)}(?!\w)").search(text, start)
    return found.start() if found is not None else text.index(words, start)


def _spans(text: str, words: Sequence[str]) -> list[Span]:
    spans: list[Span] = []
    for said in words:
        at = text.index(said)
        while Span(at, at + len(said)) in spans:
            at = text.index(said, at + 1)
        spans.append(Span(at, at + len(said)))
    return spans
