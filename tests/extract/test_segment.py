"""Words, sentences and sections: nothing lost, offsets right."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwi_fhir.errors import MappingError
from kiwi_fhir.extract.segment import section_headers, segment
from kiwi_fhir.tables import Mappings

NOTE = (
    "CHIEF COMPLAINT: Shortness of breath.\r\n"
    "\r\n"
    "Past Medical History:\r\n"
    "1. Type 2 diabetes, on metformin 500 mg b.i.d. with meals.\r\n"
    "2. Follow-up for the patient's COPD\r\n"
    "MEDICATIONS : lisinopril 2.5 mg daily. ALLERGIES: NKDA.\r\n"
    "The potassium was 5.1 on Dr. Lee's visit. It was not repeated.\r\n"
    "RANDOM CAPITAL LINE:\r\n"
    "nothing\r\n"
)


def words(text):
    return [text[start:end] for start, end in segment(text).words]


def sentences(text):
    cut = segment(text)
    bounds = [*cut.sentence_starts, len(cut.words)]
    return [text[cut.words[first][0] : cut.words[last - 1][1]] for first, last in pairwise(bounds)]


def test_words_keep_hyphens_apostrophes_and_decimals_and_split_the_rest():
    assert words("follow-up: patient's K+ 5.1, BP 120/80; x-ray (-) α₂µg") == [
        *["follow-up", ":", "patient's", "K", "+", "5.1", ",", "BP", "120", "/", "80", ";", "x-ray"],
        *["(", "-", ")", "α₂µg"],
    ]


@given(st.text())
def test_every_visible_character_lies_in_exactly_one_word(text):
    covered = [0] * len(text)
    for start, end in segment(text).words:
        for index in range(start, end):
            covered[index] += 1
    for character, count in zip(text, covered, strict=True):
        assert count <= 1
        if not character.isspace() and character >= " ":
            assert count == 1


@given(st.text(alphabet="Ab. :\n-1é"))
def test_starts_ascend_within_the_words(text):
    cut = segment(text)
    for starts in (cut.sentence_starts, sorted(cut.line_starts)):
        assert starts == sorted(set(starts))
        assert all(0 <= start < len(cut.words) for start in starts)
    assert not cut.words or cut.sentence_starts[0] == 0


def test_sentences_end_at_lines_and_full_stops_but_not_at_abbreviations():
    assert sentences(NOTE) == [
        "CHIEF COMPLAINT: Shortness of breath.",
        "Past Medical History:",
        "1. Type 2 diabetes, on metformin 500 mg b.i.d. with meals.",
        "2. Follow-up for the patient's COPD",
        "MEDICATIONS : lisinopril 2.5 mg daily.",
        "ALLERGIES: NKDA.",
        "The potassium was 5.1 on Dr. Lee's visit.",
        "It was not repeated.",
        "RANDOM CAPITAL LINE:",
        "nothing",
    ]


def test_a_wrapped_line_does_not_end_its_sentence():
    wrapped = "The patient is a 61-year-old man who was admitted with chest\npain and dyspnea on exertion. He left.\n"
    assert sentences(wrapped) == [
        "The patient is a 61-year-old man who was admitted with chest\npain and dyspnea on exertion.",
        "He left.",
    ]


@pytest.mark.parametrize(
    ("words_there", "kind"),
    [
        ("Shortness", "chief_complaint"),
        ("diabetes", "past_history"),
        ("lisinopril", "current_medications"),
        ("NKDA", "allergies"),
        ("nothing", None),
    ],
)
def test_sections(words_there, kind):
    assert segment(NOTE).section_at(NOTE.index(words_there)) == kind


def test_text_before_the_first_header_has_no_section():
    assert segment("Seen today.\nPLAN: rest").section_at(0) is None


def test_a_label_in_the_middle_of_prose_opens_no_section():
    text = "PLAN: rest.\nHe wrote allergies: none in the form. Pulse: 80.\n"
    assert segment(text).section_at(text.index("Pulse")) == "plan"


def test_a_header_is_no_mention_but_what_an_imaging_header_names_is():
    text = "Allergies: allergies to dust.\nCT scan: normal.\nMRI: normal.\n"
    cut = segment(text)
    assert cut.is_header(0, 9)
    assert not cut.is_header(11, 20)
    assert not cut.is_header(text.index("CT"), text.index("CT") + 7)


def test_empty_note():
    cut = segment("")
    assert (cut.words, cut.sentence_starts, cut.line_starts) == ([], [], frozenset())


def test_a_wrong_section_table_is_named(tmp_path):
    (tmp_path / "sections.toml").write_text("[plan]\nheaders = ['plan']\ncolour = 1\n")
    with pytest.raises(MappingError, match=r"sections\.toml.*plan"):
        section_headers(Mappings.read(tmp_path))


def test_a_site_can_replace_the_section_table(tmp_path):
    (tmp_path / "sections.toml").write_text("[labs]\nheaders = ['laborwerte']\n")
    assert segment("Laborwerte: K 4.0", Mappings.read(tmp_path)).section_at(14) == "labs"
