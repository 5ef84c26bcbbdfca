"""The mentions of a document where they stand in its note: their sections, whole numbers, and no headings."""

from __future__ import annotations

import re
from dataclasses import replace

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.types import Document, Mention, Modifier, Span

# A number is whole with the point before it (".5"), its decimals, and the fraction behind it ("1½", "2 1/2").
_BEFORE = re.compile(r"(?:(?<![\w.])\.|(?<![\w.,])\d{1,3}(?:,\d{3})*\.)$")
_AFTER = re.compile(r"\.\d+|\s?[½¼¾]")
_HALF = re.compile(r"(?<![\d.,/-])[1-9] (?:1/2|1/4|3/4)(?![\d/])")
_FRACTIONS = frozenset("½¼¾")
_LONGEST = 16  # characters before a span that may belong to its number


def placed(document: Document, structure: Structure) -> Document:
    """`document` with each mention's section read off `structure`; before the first heading a mention keeps its own.

    Mentions that are nothing but a heading are left out, a mention that begins in a heading ("Meds - metformin")
    begins behind it, and a modifier that holds a part of a number (the "5 mg" of ".5 mg") holds all of it.
    """
    text = document.note.text
    mentions = [_placed(text, mention, structure) for mention in document.mentions]
    return replace(document, mentions=tuple(mention for mention in mentions if mention is not None))


def _placed(text: str, mention: Mention, structure: Structure) -> Mention | None:
    if mention.modifiers:
        whole = tuple(_whole(text, modifier) for modifier in mention.modifiers)
        mention = mention if whole == mention.modifiers else replace(mention, modifiers=whole)
    section = structure.section_at(mention.span.start)
    if section is None:
        return mention
    if structure.is_heading(mention.span):
        return None
    span, body = mention.span, section.body.start
    if section.kind not in (None, "imaging") and section.name.end < body and span.start < body < span.end:
        span = Span(body, span.end)
    if (span, section.kind) == (mention.span, mention.section):
        return mention
    return replace(mention, span=span, section=section.kind)


def _whole(text: str, modifier: Modifier) -> Modifier:
    start, end = modifier.span.start, modifier.span.end
    if text[start : start + 1].isdigit():
        before = _BEFORE.search(text[max(0, start - _LONGEST) : start])
        start -= len(before[0]) if before is not None else 0
    elif text[start : start + 1] in _FRACTIONS and text[start - 1 : start].isdigit():
        start -= 1
    if text[end - 1 : end].isdigit():
        after = _AFTER.match(text, end) or (_HALF.match(text, end - 1) if modifier.label == "dosage" else None)
        end = after.end() if after is not None else end
    return modifier if Span(start, end) == modifier.span else replace(modifier, span=Span(start, end))
