"""Mentions where they stand: sections, headings, whole numbers."""

import pytest

from kiwi_fhir.documents.headings import load_headings
from kiwi_fhir.documents.placing import placed
from kiwi_fhir.documents.structure import read_structure
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Document, Mention, Modifier, Note, Span


def place(text, *mentions):
    document = Document(Note("n", text), mentions, "test")
    return placed(document, read_structure(text, load_headings(Mappings.read()))).mentions


def span(text, words):
    return Span(text.index(words), text.index(words) + len(words))


def test_mentions_get_the_section_that_they_stand_in():
    text = "Seen for gout. Meds - digoxin; Allergies - latex"
    said = ("gout", "Meds - digoxin", "Allergies", "latex")
    found = place(text, *(Mention("drug", span(text, words), section="labs") for words in said))
    assert [(mention.span.of(text), mention.section) for mention in found] == [
        ("gout", "labs"),
        ("digoxin", "current_medications"),
        ("latex", "allergies"),
    ]


@pytest.mark.parametrize(
    ("text", "marked", "whole"),
    [
        ("Digoxin .125 mg", "125 mg", ".125 mg"),
        ("Lorazepam .5-1 mg", "5-1 mg", ".5-1 mg"),
        ("Troponin was 0.04", "04", "0.04"),
        ("Count 1,250.7", "7", "1,250.7"),
        ("Warfarin 2½ tablets", "2", "2½"),
        ("Warfarin 2½ tablets", "½ tablets", "2½ tablets"),
        ("Warfarin 2 ½ tablets", "2", "2 ½"),
        ("Warfarin 2 1/2 tablets", "2", "2 1/2"),
        ("Warfarin 12 1/2 tablets", "12", "12"),
        ("Temp 98.6", "98", "98.6"),
        ("Stable.5 mg of it", "5 mg", "5 mg"),
        ("Seen 12/5. 5 mg of it", "5 mg", "5 mg"),
    ],
)
def test_numbers_are_whole(text, marked, whole):
    at = text.index(marked)
    held = Modifier("dosage", Span(at, at + len(marked)))
    (mention,) = place(text, Mention("drug", Span(0, 4), (held,)))
    assert mention.modifiers[0].span.of(text) == whole
