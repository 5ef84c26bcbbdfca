"""Mentions as whole names: a model may mark a part of one only, "Tylenol" of "Tylenol No. 3" or the last of "f/c/s".

A part alone would be another drug, test or problem. This runs before any rule reads what stands around a mention.
"""

from __future__ import annotations

import re
from dataclasses import replace

from kiwi_fhir.normalize.terminology import Linker
from kiwi_fhir.types import Document, Mention, Span

#: Fevers, chills and sweats as "f/c/s"; _NO_PROBLEMS are other words with a slash.
_LETTERS = re.compile(r"(?<![\w/])[A-Za-z](?:/[A-Za-z]){1,5}(?![\w/])")
_NO_PROBLEMS = frozenset(
    ["a/o", "a/p", "a/w", "b/l", "c/o", "d/c", "h/o", "i/o", "n/a", "p/o", "p/w", "r/o", "s/p", "w/o", "w/u", "y/o"]
)
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
