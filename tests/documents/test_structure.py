"""Headings, sections, sentences and list items of a note, with offsets into its untouched text."""

import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwi_fhir.documents.headings import load_headings
from kiwi_fhir.documents.structure import read_structure
from kiwi_fhir.errors import MappingError
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Span


def read(text):
    return read_structure(text, load_headings(Mappings.read()))


def sections(text):
    """`(heading, kind, first words)` of each section."""
    return [(s.name.of(text), s.kind, " ".join(s.body.of(text).split())) for s in read(text).sections]


def sentences(text):
    found = read(text)
    return [found.sentence_at(start).of(text).strip() for start in found.sentences]


def items(text):
    return [(item.mark.of(text), item.number, item.body.of(text)) for item in read(text).items]


def test_headings_glued_to_the_sentence_before():
    assert sections("Looks fine.ALLERGIES: Latex.MEDICATIONS: Losartan 50 mg daily.") == [
        ("ALLERGIES", "allergies", "Latex."),
        ("MEDICATIONS", "current_medications", "Losartan 50 mg daily."),
    ]


@pytest.mark.parametrize("mark", [":", " -", " –", "-", " :"])
def test_headings_of_one_line(mark):
    text = f"PMH{mark} gout, COPD; FHx{mark} lupus (aunt); Allergies{mark} iodine; Meds{mark} colchicine 0.6 mg daily\n"
    assert sections(text) == [
        ("PMH", "past_history", "gout, COPD;"),
        ("FHx", "family_history", "lupus (aunt);"),
        ("Allergies", "allergies", "iodine;"),
        ("Meds", "current_medications", "colchicine 0.6 mg daily"),
    ]


@pytest.mark.parametrize(
    "written",
    [
        "## Plan\n",
        "**Plan**\n",
        "**Plan:**\n",
        "**Plan**:\n",
        "Plan\n",
        "PLAN:\n",
        "3. Plan:\n",
        "=== Plan ===\n",
        "[PLAN]\n",
    ],
)
def test_headings_of_markdown_and_lists(written):
    assert [kind for _, kind, _ in sections(f"{written}- rest\n")] == ["plan"]


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("DISCHARGE MEDICATIONS ON TRANSFER:", "discharge_medications"),
        ("Current Outpatient Medications:", "home_medications"),
        ("Medications at time of discharge:", "current_medications"),
        ("CURRENT MEDICINES :", "current_medications"),
        ("Medicines:", "current_medications"),
        ("MEDICINES AT HOME:", "home_medications"),
        ("DISCHARGE MEDICINES:", "discharge_medications"),
        ("MEDICATIONS DISCONTINUED AT ADMISSION:", "stopped_medications"),
        ("PREVIOUS MEDICATIONS:", "past_medications"),
        ("MEDICATIONS GIVEN IN CLINIC:", "past_medications"),
        ("INTERNAL MEDICINE SERVICE:", None),
        ("HOSPITAL SUMMARY:", "hospital_course"),
        ("PROCEDURES DURING THIS HOSPITALIZATION:", "procedures"),
        ("PROCEDURE(S) PERFORMED:", "procedures"),
        ("ALLERGIES TO MEDICATIONS AND FOODS:", "allergies"),
        ("MEDICATION ALLERGIES AND REACTIONS:", "allergies"),
        ("PAST MEDICAL HISTORY AND SURGERIES:", "past_history"),
        ("Assessment & Plan:", "assessment"),
        ("A/P:", "assessment"),
        ("CHEST PAIN:", None),
    ],
)
def test_a_heading_that_contains_a_known_one(written, kind):
    assert [found for _, found, _ in sections(f"{written}\n1. something\n")] == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "He wrote allergies: none in the form.",
        "BP 120/80. P: 72. T: 98.6.",
        "We met at 08:30 and spoke about all that had been left open in the\nplan\nof last week.",
        "Chest pain: none.",
    ],
)
def test_what_is_no_heading(text):
    assert sections(text) == []


def test_empty_sections_swallow_nothing():
    text = "PAST MEDICAL HISTORY:\nFAMILY HISTORY:\nALLERGIES: MEDICATIONS:\nDigoxin\n"
    assert sections(text) == [
        ("PAST MEDICAL HISTORY", "past_history", ""),
        ("FAMILY HISTORY", "family_history", ""),
        ("ALLERGIES", "allergies", ""),
        ("MEDICATIONS", "current_medications", "Digoxin"),
    ]


def test_parts_of_the_body_divide_a_review_of_systems_and_else_are_an_examination():
    text = "ROS: GENERAL: no fever. HEENT: no pain.\nVITALS: P 72\nHEENT: clear.\n"
    assert [kind for _, kind, _ in sections(text)] == [*["review_of_systems"] * 3, "vitals", "physical_exam"]


def test_the_text_before_the_first_heading_has_no_section():
    found = read("Seen today.\nPLAN: rest")
    assert found.section_at(0) is found.kind_at(0) is None
    assert found.kind_at(13) == "plan"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Lee came. He left.", ["Dr. Lee came.", "He left."]),
        ("Feels well.Denies cough.", ["Feels well.", "Denies cough."]),
        ("PLAN: rest.\nNo fever", ["PLAN: rest.", "No fever"]),
        (
            "Denies pain, shortness of\nbreath or\ncough. Takes 25\nmg daily.",
            ["Denies pain, shortness of\nbreath or\ncough.", "Takes 25\nmg daily."],
        ),
        ("cough\nfever\nchills", ["cough", "fever", "chills"]),
        ("- cough\n- fever", ["- cough", "- fever"]),
        (
            "Seen by Dr. Lee on 5.1. He is well.\n\n1. Gout\n2. Asthma, on albuterol 2.5 mg b.i.d. for years",
            [
                "Seen by Dr. Lee on 5.1.",
                "He is well.",
                "1. Gout",
                "2. Asthma, on albuterol 2.5 mg b.i.d. for years",
            ],
        ),
        (
            "The patient was seen in the clinic today and denies any\nchest pain or cough.\nGout",
            ["The patient was seen in the clinic today and denies any\nchest pain or cough.", "Gout"],
        ),
        ("Temp 98.6. BP 120/80", ["Temp 98.6.", "BP 120/80"]),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_items():
    assert items(
        "1.No effusion\n2) Small cyst\n   of the liver\n\nHe is well.\n- cough\n+chills\na. x\n-5 degrees\n"
    ) == [
        ("1.", 1, "No effusion"),
        ("2)", 2, "Small cyst\n   of the liver"),
        ("-", None, "cough"),
        ("+", None, "chills"),
        ("a.", None, "x"),
    ]


def test_numbers_that_count_on_inside_a_line_are_items():
    assert items("MEDS: 1. Digoxin 0.5 mg daily 2. Losartan 3) Iron, 2 tablets.\n4.Zinc 5.Aspirin 81 mg") == [
        ("1.", 1, "Digoxin 0.5 mg daily"),
        ("2.", 2, "Losartan"),
        ("3)", 3, "Iron, 2 tablets."),
        ("4.", 4, "Zinc"),
        ("5.", 5, "Aspirin 81 mg"),
    ]
    assert sentences("1. Gout 2. Asthma") == ["1. Gout", "2. Asthma"]
    assert items("Grade 1. He is well. See 3. Or not.") == []


def test_an_item_ends_where_the_text_goes_on_without_indent():
    text = "- cough\nHe left."
    found = read(text)
    assert found.item_at(3).body.of(text) == "cough"
    assert found.item_at(text.index("He")) is None


@given(st.text(alphabet="Ab. :\n-1é;*#\tPLAN\r()[]x+,?|") | st.text())
def test_spans_lie_in_order_inside_the_text(text):
    found = read(text)
    for starts in (found.lines, found.sentences):
        assert starts[0] == 0
        assert starts == sorted(set(starts))
        assert all(start < max(1, len(text)) for start in starts)
    for parts in (found.sections, found.items):
        end = 0
        for part in parts:
            assert end <= part.start <= part.body.start <= part.body.end <= part.end <= len(text)
            end = part.end
    for section in found.sections:
        assert section.start <= section.name.start < section.name.end <= section.body.start
    for offset in range(len(text)):
        for span in (found.line_at(offset), found.sentence_at(offset)):
            assert span.start <= offset < span.end


def test_it_can_be_pickled():
    found = read("PLAN: rest.\n- cough\n")
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    "piece",
    [
        "word ",
        "a: ",
        "ALLERGIES: ",
        "x. Y",
        "- ",
        " - x",
        "#",
        "1. ",
        "\n",
        "\t",
        "(",
        "a\n",
        "; Meds: ",
        "A",
        " ",
        "no,\n",
        "| x ",
        "**",
    ],
)
def test_nothing_is_quadratic(piece):
    begun = time.process_time()
    read(piece * (100_000 // len(piece)))
    assert time.process_time() - begun < 1


def test_a_section_may_end_by_its_own_words():
    text = "Sample Name: Gout\nDescription: A man with gout. ( Medical  transcription sample report ) S: He limps."
    text += "\nPlan: rest"
    found = read(text)
    kinds = [(section.kind, section.body.of(text).strip()) for section in found.sections]
    assert kinds == [
        ("sample_title", "Gout"),
        ("description", "A man with gout. ( Medical  transcription sample report"),
        (None, ") S: He limps."),
        ("plan", "rest"),
    ]
    assert found.kind_at(text.index("limps")) is None
    assert not found.is_heading(Span(text.index("He"), text.index("He") + 2))
    assert read("Description: a red patch.\nPlan: rest").kind_at(16) is None  # no sample's: a part of the note


def test_a_wrong_table_is_named(tmp_path):
    (tmp_path / "sections.toml").write_text("[plan]\nheaders = ['plan']\npart_of = ['nothing']\n")
    with pytest.raises(MappingError, match=r"sections\.toml.*nothing"):
        load_headings(Mappings.read(tmp_path))


def test_a_heading_is_no_mention_but_what_an_imaging_heading_names_is():
    text = "Allergies: allergies to dust.\nCT scan: normal.\nMRI: normal.\n"
    found = read(text)
    assert found.is_heading(Span(0, 9))
    assert not found.is_heading(Span(11, 20))
    assert not found.is_heading(Span(text.index("CT"), text.index("CT") + 7))


def test_a_site_can_replace_the_table(tmp_path):
    (tmp_path / "sections.toml").write_text("[labs]\nheaders = ['laborwerte']\n")
    assert read_structure("Laborwerte: K 4.0", load_headings(Mappings.read(tmp_path))).kind_at(14) == "labs"
