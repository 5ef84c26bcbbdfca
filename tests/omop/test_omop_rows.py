"""NOTE_NLP and NOTE rows against the rules of the mapping."""

import dataclasses
from datetime import date, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omop_notes import HYPERTENSION, ICD, SNOMED, TEXT, fact, facts, maker, modifier, note

from kiwi_fhir.errors import NoteError, UsageError
from kiwi_fhir.normalize import Normalizer, load_linker
from kiwi_fhir.omop.concepts import standard
from kiwi_fhir.omop.ids import IdTable, NumberRule
from kiwi_fhir.omop.rows import term_modifiers
from kiwi_fhir.omop.tables import COLUMNS
from kiwi_fhir.omop.text import snippet
from kiwi_fhir.types import Coding, Document, Fact, Mention, Moment, Span, Term


def nlp(found, note_=None, **options):
    """The NOTE_NLP rows of facts, by column name."""
    note_ = note_ or note()
    rows = maker(**options).rows(Document(note_, ()), found).tables["note_nlp"]
    return [SimpleNamespace(**dict(zip(COLUMNS["note_nlp"], row, strict=True))) for row in rows]


def one(item, note_=None, **options):
    (row,) = nlp([item], note_, **options)
    return row


def test_a_row_says_where_what_and_by_whom():
    row = one(fact(codings=HYPERTENSION))
    assert (row.note_id, row.section_concept_id, row.offset, row.lexical_variant) == (7, 0, "0", "Hypertension")
    assert (row.note_nlp_concept_id, row.note_nlp_source_concept_id) == (320128, 35207668)
    assert row.nlp_system == "kiwi_fhir kiwi-test 1-abc (program 0)"
    assert (row.nlp_date, row.nlp_datetime) == (date(2026, 11, 23), datetime(2026, 11, 23, 23, 30))
    assert (row.term_exists, row.term_temporal) == ("Y", "present")
    assert row.snippet == TEXT


def test_without_a_concept_there_is_a_zero():
    row = one(fact())
    assert (row.note_nlp_concept_id, row.note_nlp_source_concept_id) == (0, 0)
    row = one(fact(codings=(Coding(ICD, "I10", "x"),)))
    assert (row.note_nlp_concept_id, row.note_nlp_source_concept_id) == (0, 0)


def test_a_code_that_is_not_standard_and_leads_nowhere_is_only_the_source():
    row = one(fact(codings=HYPERTENSION[:1]))
    assert (row.note_nlp_concept_id, row.note_nlp_source_concept_id) == (0, 35207668)


def test_only_what_the_vocabulary_calls_standard_is():
    retired = Coding(SNOMED, "112", "x", concept_id=4000002, domain="Condition")
    assert standard((retired, HYPERTENSION[1])) == [HYPERTENSION[1]]
    second = dataclasses.replace(HYPERTENSION[1], concept_id=5)
    assert standard((HYPERTENSION[0], HYPERTENSION[1], second)) == [HYPERTENSION[1], second]
    assert standard((dataclasses.replace(second, concept_id=2**31),)) == []


@pytest.mark.parametrize(
    ("says", "exists"),
    [
        ({}, "Y"),
        ({"assertion": "absent", "negated": True}, "N"),
        ({"assertion": "possible", "doubt": "possible", "negated": True}, "N"),
        ({"assertion": "associated_with_someone_else"}, "N"),
        ({"assertion": "conditional"}, "N"),
        ({"assertion": "hypothetical"}, "N"),
        ({"assertion": "possible", "doubt": "possible"}, "Y"),
    ],
)
def test_term_exists(says, exists):
    assert one(fact(**says)).term_exists == exists


def moment(kind="date", **says):
    return Moment(modifier("temporal", "fever"), "then", kind, **says)


@pytest.mark.parametrize(
    ("says", "temporal"),
    [
        ({"past": True}, "past"),
        ({"moments": (moment(date="2026-03-04"),)}, "past"),
        ({"moments": (moment(date="2026-03-05"),)}, "present"),
        ({"moments": (moment(date="2026-03"),)}, "present"),
        ({"moments": (moment(date="2026-02"),)}, "past"),
        ({"moments": (moment(date="2025"),)}, "past"),
        ({"moments": (moment("relative", resolved="2026-03-01"),)}, "past"),
        ({"moments": (moment("relative", resolved="2026-03-01", future=True),)}, "present"),
        ({"moments": (moment("relative"),)}, "present"),
    ],
)
def test_term_temporal(says, temporal):
    assert one(fact(**says)).term_temporal == temporal


def test_a_note_without_a_date_knows_no_past_dates():
    assert one(fact(moments=(moment(date="2001"),)), note(time=None)).term_temporal == "present"


def test_the_modifiers_have_a_fixed_order():
    text = "mild pain in the left knee since May, worse"
    pieces = (("temporal", "since May"), ("bodyloc", "left knee"), ("course", "worse"), ("severity", "mild"))
    item = fact("problem", "pain", text, modifiers=tuple(modifier(*piece, text) for piece in pieces), section="labs")
    assert term_modifiers(text, item) == (
        "negation=false,subject=patient,conditional=false,uncertain=false,history=false,section=labs,"
        "severity=mild,course=worse,bodyloc=left knee,temporal=since May"
    )


def test_the_five_keys_say_what_holds():
    mother = Term(modifier("subject", "fever"), "Mother")
    aunt = Term(modifier("subject", "fever"), "aunt")
    said = fact(assertion="associated_with_someone_else", relatives=(mother, aunt), doubt="unlikely", past=True)
    assert term_modifiers(TEXT, said).startswith(
        "negation=false,subject=mother;aunt,conditional=false,uncertain=unlikely,history=true"
    )
    assert "subject=family," in term_modifiers(TEXT, fact(assertion="associated_with_someone_else"))
    assert "conditional=hypothetical" in term_modifiers(TEXT, fact(assertion="hypothetical", negated=True))
    said = fact(plan="planned", interruption="stopped", allergy="substance")
    assert term_modifiers(TEXT, said).endswith("plan=planned,interruption=stopped,allergy=substance")


def test_what_separates_is_escaped():
    text = "pain 50%, [a=b]\n\tc"
    item = fact("problem", "pain", text, modifiers=(modifier("severity", "50%, [a=b]\n\tc", text),))
    assert term_modifiers(text, item).endswith(",severity=50%25%2C %5Ba%3Db%5D c")


def test_a_tail_that_is_too_long_is_left_out_whole():
    text = "pain " + "x" * 900 + " " + "y" * 900 + " " + "z" * 900 + " end"
    words = ("x" * 900, "y" * 900, "z" * 900, "end")
    item = fact("problem", "pain", text, modifiers=tuple(modifier("course", word, text) for word in words))
    found = term_modifiers(text, item)
    assert len(found) <= 2000
    assert found.endswith("course=" + "y" * 900)


@given(st.lists(st.text(max_size=700), max_size=6))
def test_modifiers_can_be_read_back(words):
    text = "\n".join(["pain", *words])
    start, found = 5, []
    for word in words:
        found.append(dataclasses.replace(modifier("course", "pain", text), span=Span(start, start + len(word))))
        start += len(word) + 1
    item = Fact(Mention("problem", Span(0, 4), tuple(found)), "pain")
    said = term_modifiers(text, item)
    pairs = [pair.split("=") for pair in said.split(",")]
    assert len(said) <= 2000
    assert all(len(pair) == 2 for pair in pairs)
    assert "\0" not in said
    said.encode()


def test_words_are_cut_at_a_code_point():
    text = "\U0001f600" * 300
    item = Fact(Mention("problem", Span(0, 300)), text)
    row = one(item, note(text=text))
    assert row.lexical_variant == row.snippet == "\U0001f600" * 250


@pytest.mark.parametrize(("start", "end"), [(0, 4), (500, 504), (996, 1000), (200, 900)])
def test_a_snippet_holds_its_mention(start, end):
    text = "".join(chr(97 + index % 26) for index in range(1000))
    found = snippet(text, start, end, 250)
    assert len(found) == 250
    assert text[start : min(end, start + 250)] in found
    assert snippet("a\nb", 0, 1, 250) == "a b"


def test_what_no_database_stores_is_replaced_and_nothing_moves():
    text = "pa\0in \ud800 here"
    item = Fact(Mention("problem", Span(0, 5)), "pa\0in")
    rows = maker(notes=True).rows(Document(note(text=text), ()), [item]).tables
    assert rows["note_nlp"][0][5] == "pa\ufffdin"
    assert rows["note"][0][7] == "pa\ufffdin \ufffd here"


def test_the_same_facts_give_the_same_ids_and_no_two_rows_share_one():
    rows = [row.note_nlp_id for row in nlp([*facts(), *facts()])]
    assert rows == [row.note_nlp_id for row in nlp([*facts(), *facts()])]
    assert len(set(rows)) == len(rows)
    assert all(0 < number < 2**63 for number in rows)
    other = [row.note_nlp_id for row in nlp([*facts(), *facts()], release="2-def")]
    assert not set(rows) & set(other)


def test_a_note_row():
    kind = Coding("http://loinc.org", "18842-5", "Discharge summary", concept_id=706391)
    made = maker(notes=True).rows(Document(note(type=kind), ()), [])
    row = dict(zip(COLUMNS["note"], made.tables["note"][0], strict=True))
    assert {key: value for key, value in row.items() if value is not None} == {
        "note_id": 7,
        "person_id": 3,
        "note_date": date(2026, 3, 5),
        "note_datetime": datetime(2026, 3, 5, 10, 20, 30),
        "note_type_concept_id": 32831,
        "note_class_concept_id": 706391,
        "note_title": "Discharge summary",
        "note_text": TEXT,
        "encoding_concept_id": 32678,
        "language_concept_id": 4180186,
        "note_source_value": "7",
    }


@pytest.mark.parametrize(
    ("note_", "tables", "reason"),
    [
        (note("a1"), {}, "unmapped-note"),
        (note("007"), {}, "unmapped-note"),
        (note(str(2**63)), {}, "unmapped-note"),
        (note(patient="p1"), {"notes": True}, "unmapped-person"),
        (note(patient=None), {"clinical": True}, "unmapped-person"),
        (note(time=None), {"notes": True}, "no-note-date"),
        (note(time="2026-03"), {"notes": True}, "no-note-date"),
    ],
)
def test_a_note_without_a_place_is_refused(note_, tables, reason):
    with pytest.raises(NoteError) as error:
        maker(**tables).rows(Document(note_, ()), [])
    assert error.value.reason == reason


def test_note_nlp_needs_no_person():
    assert maker().rows(Document(note(patient=None), ()), facts()).person_id is None


def test_visits_are_those_of_an_omop_source():
    assert NumberRule().of(note(encounter_id="9", source="omop")).visit_id == 9
    assert NumberRule().of(note(encounter_id="9", source="mimic-iii")).visit_id is None


def table(folder, text):
    path = folder / "ids.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_of_ids(tmp_path):
    ids = IdTable(table(tmp_path, "note,person_id,note_id,visit_occurrence_id,more\na1,3,70,,x\nb/2,,71,5,\n"))
    assert ids.of(note("a1")) == ids.of(note("a1", patient=None))
    assert (ids.of(note("a1")).note_id, ids.of(note("a1")).person_id, ids.of(note("a1")).visit_id) == (70, 3, None)
    assert (ids.of(note("b/2")).person_id, ids.of(note("b/2")).visit_id) == (None, 5)
    with pytest.raises(NoteError) as error:
        ids.of(note("7"))
    assert error.value.reason == "unmapped-note"
    assert len(ids.digest) == 64


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("note,note_id\n", "lacks the columns person_id"),
        ("", "lacks the columns note, note_id, person_id"),
        ("note,note_id,person_id\na,x,1\n", "line 2: it needs"),
        ("note,note_id,person_id\na,1,1\na,2,1\n", "line 3: the note or its note_id stands there twice"),
        ("note,note_id,person_id\na,1,1\nb,1,1\n", "line 3: the note or its note_id stands there twice"),
        ("note,note_id,person_id\na,1,p1\n", "line 2: person_id is no whole number"),
    ],
)
def test_a_wrong_table_of_ids(tmp_path, text, says):
    with pytest.raises(UsageError, match=says):
        IdTable(table(tmp_path, text))
    with pytest.raises(UsageError, match="can't be read"):
        IdTable(tmp_path / "none.csv")


def test_concepts_come_from_the_user_s_own_vocabulary(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "athena"
    folder.mkdir()
    concept = "concept_id\tconcept_name\tdomain_id\tvocabulary_id\tconcept_class_id\tstandard_concept\tconcept_code\t"
    lines = [
        concept + "valid_start_date\tvalid_end_date\tinvalid_reason",
        "320128\tEssential hypertension\tCondition\tSNOMED\tx\tS\t59621000\t19700101\t20991231\t",
        "35207668\tEssential (primary) hypertension\tCondition\tICD10CM\tx\t\tI10\t19700101\t20991231\t",
        "4000001\tFrosted wing\tCondition\tSNOMED\tx\tS\t111\t19700101\t20991231\t",
        "4000002\tOld frosted wing\tCondition\tSNOMED\tx\t\t112\t19700101\t20991231\tU",
    ]
    (folder / "CONCEPT.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    maps = "concept_id_1\tconcept_id_2\trelationship_id\tvalid_start_date\tvalid_end_date\tinvalid_reason\n"
    for one, other in ((35207668, 320128), (4000002, 4000001)):
        maps += f"{one}\t{other}\tMaps to\t19700101\t20991231\t\n"
    (folder / "CONCEPT_RELATIONSHIP.csv").write_text(maps, encoding="utf-8")
    linker, _ = load_linker(str(folder))
    text = "Hypertension. Frosted wing. Old frosted wing. Something rare."
    words = ("Hypertension", "Frosted wing", "Old frosted wing", "Something rare")
    mentions = tuple(Mention("problem", Span(text.index(word), text.index(word) + len(word))) for word in words)
    found = Normalizer(None, linker).facts(Document(note(text=text), mentions))
    assert [(row.note_nlp_concept_id, row.note_nlp_source_concept_id) for row in nlp(found, note(text=text))] == [
        (320128, 35207668),
        (4000001, 4000001),
        (4000001, 4000002),
        (0, 0),
    ]
