"""Answers behind labels, boxes and signs; cells of tables with their heads."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiwi_fhir.documents.headings import load_headings
from kiwi_fhir.documents.structure import read_structure
from kiwi_fhir.tables import Mappings


def read(text):
    return read_structure(text, load_headings(Mappings.read()))


def answers(text):
    return [(found.label.of(text), found.answer.of(text)) for found in read(text).answers]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Chills: no\nWheeze: yes\n", [("Chills", "no"), ("Wheeze", "yes")]),
        ("Chills:none\nWheeze : present, mild\n", [("Chills", "none"), ("Wheeze", "present")]),
        ("Chills: denied, Wheeze: denied; Rash: yes", [("Chills", "denied"), ("Wheeze", "denied"), ("Rash", "yes")]),
        ("Chills: no Sore throat: yes Rash: no", [("Chills", "no"), ("Sore throat", "yes"), ("Rash", "no")]),
        ("Chills: denies. Wheeze: reports at night.", [("Chills", "denies"), ("Wheeze", "reports at night")]),
        ("- Chills: no\n2. Wheeze: yes\n* Rash: N", [("Chills", "no"), ("Wheeze", "yes"), ("Rash", "N")]),
        ("Night sweats, chills: no", [("Night sweats, chills", "no")]),
        ("He has the chills, rash: none", [("rash", "none")]),
        ("Wheeze/stridor: no", [("Wheeze/stridor", "no")]),
        ("Wheeze - none; rash – yes", [("Wheeze", "none"), ("rash", "yes")]),
        ("Any wheeze? No. History of gout? Yes. Rash?", [("Any wheeze", "No"), ("History of gout", "Yes")]),
        ("[ ] Chills  [x] Wheeze  [ ] Sore throat", [("Chills", "[ ]"), ("Wheeze", "[x]"), ("Sore throat", "[ ]")]),
        ("- [x] Chills\n- [ ] Wheeze\n", [("Chills", "[x]"), ("Wheeze", "[ ]")]),
        ("Chills [x]  Wheeze [ ]", [("Chills", "[x]"), ("Wheeze", "[ ]")]),
        ("Chills: [x]\nWheeze: [ ]", [("Chills", "[x]"), ("Wheeze", "[ ]")]),
        ("Chills: [ ] yes [x] no\nWheeze: (x) yes ( ) no", [("Chills", "no"), ("Wheeze", "yes")]),
        ("Chills: [ ] yes [ ] no", [("Chills", "[ ] yes [ ] no")]),
        ("☑ Chills ☐ Wheeze", [("Chills", "☑"), ("Wheeze", "☐")]),
        ("(+) chills, (-) wheeze", [("chills", "(+)"), ("wheeze", "(-)")]),
        ("+chills, -wheeze, -sore throat", [("chills", "+"), ("wheeze", "-"), ("sore throat", "-")]),
        ("+chills\n-wheeze\n\n-stop smoking", [("chills", "+"), ("wheeze", "-")]),
        ("ROS: -chills -wheeze", [("chills", "-"), ("wheeze", "-")]),
    ],
)
def test_answers(text, expected):
    assert answers(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "PMH:\n-gout\n-COPD\n",  # marks of a list
        "Follow-up: x-ray of 08:30",
        "ALLERGIES: none",  # a heading
        "Seen at 10:15.",
        "Chills:\n",
        "Plan: -stop smoking",
        "Is it gout?",
    ],
)
def test_what_is_no_answer(text):
    assert [(label, answer) for label, answer in answers(text) if label != "Follow-up"] == []


def test_label_and_answer_find_each_other():
    text = "Chills: no\nWheeze: yes"
    found = read(text)
    assert found.answer_at(2) is found.answer_at(9) is not None
    assert found.answer_at(text.index("yes")).label.of(text) == "Wheeze"
    assert read("He is well.").answer_at(2) is None


def cells(text):
    def words(span):
        return span.of(text) if span is not None else None

    return [(text[c.start : c.end], words(c.row_head), words(c.head)) for c in read(text).cells if c.row]


HEADED = [
    ("Urea", None, "Name"),
    ("31", "Urea", "Result"),
    ("H", "Urea", "Flag"),
    ("Iron", None, "Name"),
    ("14", "Iron", "Result"),
]


@pytest.mark.parametrize(
    "text",
    [
        "Name\tResult\tFlag\nUrea\t31\tH\nIron\t14\t\n",
        "| Name | Result | Flag |\n|---|:-:|---|\n| Urea | 31 | H |\n| Iron | 14 | |\n",
        "Name | Result | Flag\nUrea | 31 | H\nIron | 14\n",
        "Name     Result   Flag\nUrea     31       H\nIron     14\n",
        "Name,Result,Flag\nUrea,31,H\nIron,14,\n",
    ],
)
def test_a_line_of_heads(text):
    assert cells(text) == HEADED


def test_an_empty_cell_moves_nothing():
    text = "Name\tResult\tFlag\tUnit\nUrea\t31\t\tmg/dL\n"
    assert cells(text)[-1] == ("mg/dL", "Urea", "Unit")


def test_dates_head_columns():
    text = "            3/1     3/2\nUrea        31      28\nIron                14\n"
    assert cells(text) == [
        ("Urea", None, None),
        ("31", "Urea", "3/1"),
        ("28", "Urea", "3/2"),
        ("Iron", None, None),
        ("14", "Iron", "3/2"),
    ]


def test_a_first_line_with_values_heads_nothing():
    assert cells("Urea\t31\nIron\t14\n") == [("Iron", None, None), ("14", "Iron", None)]


@pytest.mark.parametrize("text", ["One line\tonly", "\tAspirin\n\tDigoxin\n", "Well, she said, no.\nWell, yes.", ""])
def test_what_is_no_table(text):
    assert read(text).cells == []


@given(st.text(alphabet="Ab1 :\n\t|,?+-()[]x.") | st.text())
def test_spans_lie_in_order_inside_the_text(text):
    found = read(text)
    for parts in (found.answers, found.cells):
        end = 0
        for part in parts:
            assert end <= part.start < part.end <= len(text)
            end = part.end
    for answer in found.answers:
        for span in (answer.label, answer.answer):
            assert answer.start <= span.start < span.end <= answer.end
        assert "\n" not in text[answer.start : answer.end]
        assert found.answer_at(answer.label.start) == found.answer_at(answer.answer.start) == answer


@pytest.mark.parametrize(
    "piece",
    ["a: b ", "a?", "[ ] ", "[x] a", "+a ", "-a ", "(+)", "a - ", "a,", "a\tb\n", "|", "a   ", "a,b,c\n", "- ", ":[ ]"],
)
def test_nothing_is_quadratic(piece):
    begun = time.process_time()
    read(piece * (100_000 // len(piece)))
    read(f"ROS: {piece * (100_000 // len(piece))}")
    assert time.process_time() - begun < 2
