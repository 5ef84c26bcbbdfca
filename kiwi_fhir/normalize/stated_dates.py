"""Dates right behind a mention that the model did not mark: "Appendectomy [**2140**]", "Cr 1.2 on [**2141-3-5**]".

Only what can be nothing but a date counts: a date that MIMIC shifted, three figures, or a year behind "in" or "since".
"""

from __future__ import annotations

import re
from dataclasses import replace

from kiwi_fhir.types import Document, Mention, Modifier, Span

_DATE = re.compile(
    r"[ \t]*[,(-]?[ \t]*(?:(?:was|were|is|first|last|diagnosed|done|performed|placed|found|seen|drawn|removed|repaired"
    r"|completed|noted|obtained|on|in|since|from|of|dated|as of)[ \t]+){0,4}"
    r"(?P<date>\[\*\*\d[\d/-]*\*\*\]|\d{1,2}/\d{1,2}/(?:\d{4}|\d\d)|\d{4}-\d{1,2}-\d{1,2}"
    r"|(?<=\bin )(?:19|20)\d\d|(?<=\bsince )(?:19|20)\d\d)(?![\d/*-])",
    re.IGNORECASE,
)


def with_stated_dates(document: Document) -> Document:
    """`document` with the dates that rules add to its mentions; the very same one where they add nothing."""
    text = document.note.text
    if not any(mark.isdigit() for mark in text):
        return document
    mentions = tuple(_dated(text, mention) for mention in document.mentions)
    return document if mentions == document.mentions else replace(document, mentions=mentions)


def _dated(text: str, mention: Mention) -> Mention:
    """A mention with the date behind it, or behind each of its results; those with a time behind them stay."""
    results = [held.span.end for held in mention.modifiers if held.label == "labvalue"]
    ends = results or [mention.span.end]
    if any(held.label == "temporal" and held.span.start >= mention.span.end for held in mention.modifiers):
        return mention
    found = [one for end in ends if end >= mention.span.end and (one := _DATE.match(text, end)) is not None]
    if not found:
        return mention
    added = (Modifier("temporal", Span(*one.span("date")), rule=True) for one in found)
    held = sorted({*mention.modifiers, *added}, key=lambda item: (item.span, item.label))
    return replace(mention, modifiers=tuple(held))
