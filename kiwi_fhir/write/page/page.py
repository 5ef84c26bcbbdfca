"""The page: a head with the style, a section for each note, the list of notes last, so that notes can be streamed.

The page needs nothing from outside, and its content policy forbids the browser to fetch anything or to run any
script but its own. Without script all is readable: titles say what a span is, filters are plain CSS.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any

from kiwi_fhir.types import MENTION_LABELS, MODIFIER_LABELS, Document
from kiwi_fhir.write.page.cards import LABELS, Card, card_html, cards
from kiwi_fhir.write.page.markup import LETTERS, TAGS, draw, escape, markup


def page(results: Iterable[tuple[Document, Mapping[str, Any]]], title: str) -> Iterator[str]:
    """The whole page as pieces of HTML, one note (document and its FHIR bundle) at a time; written as UTF-8."""
    yield _head(title)
    totals: Counter[str] = Counter()
    entries = []
    for number, (document, bundle) in enumerate(results, 1):
        found = cards(bundle)
        clinical = sum(card.type in LABELS for card in found)
        totals.update(notes=1, mentions=len(document.mentions), resources=clinical)
        yield from _note(number, document, found)
        entries.append(
            f'<li><a href="#n{number}"><bdi>{escape(_name(document))}</bdi><small><bdi>{escape(document.note.id)}</bdi>'
            f"<span>{len(document.mentions)}</span></small></a></li>"
        )
    counts = "".join(f"<li><b>{totals[what]:,}</b> {what}</li>" for what in ("notes", "mentions", "resources"))
    yield f'</main>\n<nav aria-label="Notes" id="notes"><ul class="totals">{counts}</ul><ol>'
    yield from entries
    yield f"</ol></nav>\n<script>{_asset('page.js')}</script>\n</body></html>\n"


def _head(title: str) -> str:
    script = base64.b64encode(hashlib.sha256(_asset("page.js").encode()).digest()).decode()
    mentions = "".join(
        f'<label class="chip {label}"><input type="checkbox" id="f-{label}" checked>'
        f'<i class="letter {label}" data-t="{LETTERS[label]}"></i>{label}</label>'
        for label in MENTION_LABELS
    )
    modifiers = "".join(
        f'<label class="chip"><input type="checkbox" id="f-{label}" checked>'
        f'<b class="{label}" data-t="{TAGS[label]}"></b>{label.replace("_", " ")}</label>'
        for label in MODIFIER_LABELS
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"style-src 'unsafe-inline'; script-src 'sha256-{script}'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{_asset('page.css')}{_filters()}</style></head>\n<body>"
        '<a class="skip" href="#notes">List of notes</a>'
        f'<header class="top"><h1 dir="auto">{escape(title)}</h1>'
        f'<fieldset class="filters"><legend>Show</legend>{mentions}'
        f'<details><summary>Modifiers</summary><div class="menu">{modifiers}</div></details>'
        '<label class="chip"><input type="checkbox" id="f-mono">monospace</label></fieldset></header>\n<main>'
    )


def _filters() -> str:
    """A rule for each box of the filter: what it hides while it is not checked."""
    rules = []
    for label in MENTION_LABELS:
        off = f"body:has(#f-{label}:not(:checked))"
        rules.append(f"{off} .a-{label}{{--a:transparent;--al:transparent}}")
        rules.append(f"{off} .b-{label}{{--b:transparent;--bl:transparent}}")
        rules.append(f"{off} :is(.text .letter,.card).{label}{{display:none}}")
    for name in MODIFIER_LABELS:
        off = f"body:has(#f-{name}:not(:checked))"
        rules.append(f"{off} .x-{name}{{--x:transparent}}{off} .y-{name}{{--y:transparent}}")
        rules.append(f"{off} .tags .{name}{{display:none}}")
    return "".join(rules)


def _note(number: int, document: Document, found: list[Card]) -> Iterator[str]:
    note = document.note
    drawing = draw(document, (span for card in found for span in card.spans))
    links = ";".join(f"{mention} {modifier}" for mention, modifier in drawing.links)
    model = None if document.model is None else str(document.model)
    about = [note.id, *(part for part in (_time(note.time), _patient(note.patient_id), model) if part)]
    yield (
        f'\n<article id="n{number}" data-links="{links}"><header><h2 dir="auto">{escape(_name(document))}</h2>'
        f'<ul class="about">{"".join(f"<li><bdi>{escape(part)}</bdi></li>" for part in about)}</ul></header>'
        '<div class="text">'
    )
    yield from markup(note.text, drawing.items)
    yield "</div>"
    clinical = [card for card in found if card.spans or card.type in LABELS]
    rest = [card for card in found if not (card.spans or card.type in LABELS)]
    yield f'<section class="cards"><div class="column"><h3>Resources <span>{len(clinical)}</span></h3>'
    if clinical:
        yield "<ol>"
        yield from (card_html(card, [key for span in card.spans for key in drawing.keys_of(span)]) for card in clinical)
        yield "</ol>"
    else:
        yield '<p class="none">Nothing was found in this note.</p>'
    if rest:
        yield f'<details class="rest"><summary>About the run <span>{len(rest)}</span></summary><ol>'
        yield from (card_html(card, ()) for card in rest)
        yield "</ol></details>"
    yield "</div></section></article>"


def _name(document: Document) -> str:
    kind = document.note.type
    return kind.display if kind and kind.display else document.note.id


def _time(time: str | None) -> str | None:
    """To the minute, as the note's own clock showed it."""
    return time and time[:16].replace("T", " ")


def _patient(patient_id: str | None) -> str | None:
    return f"Patient {patient_id}" if patient_id else None


def _asset(name: str) -> str:
    return (files("kiwi_fhir.write.page") / name).read_text(encoding="utf-8")
