"""Mentions as whole names: a model may mark a part of one only, "Tylenol" of "Tylenol No. 3" or the last of "f/c/s".

A part alone would be another drug, test or problem. This runs before any rule reads what stands around a mention.
"""

from __future__ import annotations

import re
from dataclasses import replace

from kiwi_fhir.normalize.terminology import Linker
from kiwi_fhir.types import ALLOWED_PAIRS, Document, Mention, MentionLabel, Modifier, ModifierLabel, Span

#: Fevers, chills and sweats as "f/c/s"; _NO_PROBLEMS are other words with a slash.
_LETTERS = re.compile(r"(?<![\w/])[A-Za-z](?:/[A-Za-z]){1,5}(?![\w/])")
_NO_PROBLEMS = frozenset(
    ["a/o", "a/p", "a/w", "b/l", "c/o", "d/c", "h/o", "i/o", "n/a", "p/o", "p/w", "r/o", "s/p", "w/o", "w/u", "y/o"]
)
#: What else a drug may be, and the modifiers that only drugs have. (Of a test it is not known: "Factor V Leiden".)
_OTHERS: tuple[MentionLabel, ...] = ("treatment", "problem")
_MEASURES: frozenset[ModifierLabel] = frozenset(["strength", "dosage", "form", "route", "frequency", "duration"])
_CERTAIN = ("table", "abbreviation", "exact")
_LONGEST = 11
_NUMBER = re.compile(r"\d[\d.-]*")
# "R>L leg edema" is not "L leg edema"
_OTHER_SIDE = re.compile(r"(?<!\w)[RL] ?[>=<&+/] ?(?=[RL]\b)")


def whole(document: Document, linker: Linker | None) -> Document:
    """`document` with each mention as the whole name that it is a part of.

    Mentions of its kind that the name covers are left out; it takes their modifiers.
    """
    text = document.note.text
    found: list[Mention] = []
    grown = False
    for mention in document.mentions:
        last = found[-1] if found else None
        if grown and last is not None and last.label == mention.label and mention.span.end <= last.span.end:
            more = _grown(mention, last.span).modifiers
            modifiers = sorted({*last.modifiers, *more}, key=lambda item: (item.span, item.label))
            found[-1] = replace(last, modifiers=tuple(modifiers))
            continue
        span = _letters(text, mention.span) if mention.label == "problem" else mention.span
        if span == mention.span and linker is not None:
            span = linker.whole(text, mention)
        grown = span != mention.span and not any(
            _is_said(text, item.span, mention.span, span) for item in mention.modifiers
        )
        found.append(_grown(mention, span) if grown else mention)
    return replace(document, mentions=tuple(found))


def named(document: Document, linker: Linker | None) -> Document:
    """`document` with what is no drug as what it is: "hydroureter" as a problem, an operation as a treatment.

    Only a name that has no code as a drug, no dose, and a code as something else.
    """
    if linker is None:
        return document
    asked = [
        (index, replace(mention, label=label, modifiers=()))
        for index, mention in enumerate(document.mentions)
        if mention.label == "drug" and not any(held.label in _MEASURES for held in mention.modifiers)
        for label in (mention.label, *_OTHERS)
    ]
    if not asked:
        return document
    linked = linker.codings(replace(document, mentions=tuple(mention for _, mention in asked)))
    labels: dict[int, MentionLabel] = {}
    for (index, mention), codings in zip(asked, linked, strict=True):
        if codings and codings[0].method in _CERTAIN:
            labels.setdefault(index, mention.label)
    mentions = [
        replace(mention, label=label, modifiers=_allowed(mention, label))
        if (label := labels.get(index, mention.label)) != mention.label
        else mention
        for index, mention in enumerate(document.mentions)
    ]
    return replace(document, mentions=tuple(mentions))


def _allowed(mention: Mention, label: MentionLabel) -> tuple[Modifier, ...]:
    return tuple(held for held in mention.modifiers if held.label in ALLOWED_PAIRS[label])


def _is_said(text: str, modifier: Span, own: Span, grown: Span) -> bool:
    """Whether a modifier in the words that a name would take says more than its number ("sliding scale" of insulin)."""
    inside = own.end <= modifier.start < grown.end or grown.start <= modifier.start < own.start
    return inside and _NUMBER.fullmatch(text, modifier.start, modifier.end) is None


def _grown(mention: Mention, span: Span) -> Mention:
    """The mention as the name at `span`; a modifier of its new words ("3" of "Tylenol No. 3") was none."""
    own = mention.span
    kept = [
        item
        for item in mention.modifiers
        if not (span.start <= item.span.start and item.span.end <= span.end)
        or (own.start <= item.span.start and item.span.end <= own.end)
    ]
    return replace(mention, span=span, modifiers=tuple(kept))


def _letters(text: str, span: Span) -> Span:
    """The whole of letters and slashes that `span` is a part of, or of two sides."""
    if text[span.start : span.start + 2] in ("R ", "L "):
        for found in _OTHER_SIDE.finditer(text, max(0, span.start - 4), span.start + 1):
            if found.end() == span.start:
                return Span(found.start(), span.end)
    if span.end - span.start >= _LONGEST or "/" not in text[max(0, span.start - 1) : span.end + 1]:
        return span
    for found in _LETTERS.finditer(text, max(0, span.start - _LONGEST), span.end + _LONGEST):
        if found.start() <= span.start and span.end <= found.end() and found[0].lower() not in _NO_PROBLEMS:
            return Span(*found.span())
    return span
