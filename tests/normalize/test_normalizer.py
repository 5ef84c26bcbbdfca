"""Documents to facts: assertion, course of time, dosages, and what stays as it is."""

import pickle
import time

import pytest
from written_documents import write

from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.types import ALLOWED_PAIRS, Document, Mention, Modifier, Note, Span

NORMALIZER = Normalizer()


def fact(text, mention, **how):
    (found,) = NORMALIZER.facts(write(text, mention, **how))
    return found


@pytest.mark.parametrize(
    ("text", "modifiers", "expected"),
    [
        ("He has asthma.", {}, ("present", None, False)),
        ("He has no asthma.", {"negation": "no"}, ("absent", None, True)),
        ("There is possible asthma.", {"uncertain": "possible"}, ("possible", "possible", False)),
        ("Rule out asthma.", {"uncertain": "Rule out"}, ("possible", "differential", False)),
        ("COPD vs asthma.", {"uncertain": "vs"}, ("possible", "differential", False)),
        ("Asthma is unlikely, asthma.", {"uncertain": "unlikely"}, ("possible", "unlikely", False)),
        ("No probable asthma.", {"negation": "No", "uncertain": "probable"}, ("possible", "possible", True)),
        ("Call if asthma returns.", {"condition": "if"}, ("hypothetical", None, False)),
        ("Should asthma occur, call.", {"condition": "Should"}, ("hypothetical", None, False)),
        ("Under anesthesia asthma.", {"condition": "Under anesthesia"}, ("conditional", None, False)),
        ("Only on exertion asthma.", {"condition": "on exertion"}, ("present", None, False)),
        ("No asthma on exertion.", {"negation": "No", "condition": "on exertion"}, ("conditional", None, True)),
        ("If possible asthma.", {"condition": "If", "uncertain": "possible"}, ("hypothetical", "possible", False)),
        ("Her mother has asthma.", {"subject": "mother"}, ("associated_with_someone_else", None, False)),
        (
            "No family history of asthma.",
            {"subject": "family", "negation": "No"},
            ("associated_with_someone_else", None, True),
        ),
        ("The patient has asthma.", {"subject": "The patient"}, ("present", None, False)),
        ("He has no history of asthma.", {"temporal": "no history of"}, ("absent", None, True)),
    ],
)
def test_assertion(text, modifiers, expected):
    found = fact(text, ("problem", "asthma", modifiers))
    assert (found.assertion, found.doubt, found.negated) == expected
    assert found.text == "asthma"


@pytest.mark.parametrize(
    ("said", "codes"),
    [
        ("mother", ["MTH"]),
        ("his brothers", ["BRO"]),
        ("the patient's sister", ["SIS"]),
        ("brother and sister", ["BRO", "SIS"]),
        ("father, mother and maternal aunt", ["FTH", "MTH", "MAUNT"]),
        ("maternal", ["FAMMEMB"]),
        ("his roommate", [None]),
    ],
)
def test_relatives(said, codes):
    found = fact(f"Asthma in {said}, asthma.", ("problem", "asthma", {"subject": said}))
    assert [relative.coding.code if relative.coding else None for relative in found.relatives] == codes
    assert {relative.text for relative in found.relatives} == {said}


def test_family_history_is_a_relatives_also_without_a_subject():
    found = fact("Asthma.", ("problem", "Asthma", {}), section="family_history")
    assert (found.assertion, found.relatives) == ("associated_with_someone_else", ())
    found = fact(
        "Great-aunt's niece: asthma.",
        ("problem", "asthma", {"subject": "Great-aunt's niece"}),
        section="family_history",
    )
    assert [relative.coding.code for relative in found.relatives] == ["FAMMEMB"]
    found = fact("Metformin.", ("drug", "Metformin", {}), section="family_history")
    assert found.assertion == "associated_with_someone_else"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("resolved", "resolved"),
        ("has completely resolved", "resolved"),
        ("recurrent", "recurrence"),
        ("relapsed", "relapse"),
        ("in remission", "remission"),
        ("chronic", "active"),
        ("nearly resolved", None),
        ("not improved at all", None),
        ("acute", None),
    ],
)
def test_course_counts_only_when_all_of_it_is_known(said, code):
    found = fact(f"Colitis {said}.", ("problem", "Colitis", {"course": said}))
    (course,) = found.courses
    assert (course.text, course.coding.code if course.coding else None) == (said, code)


def test_severity_and_body_sites():
    found = fact(
        "Very mild pain in the left knee and hip.",
        ("problem", "pain", {"severity": "Very mild", "bodyloc": ["left knee", "hip"]}),
    )
    assert [(term.text, term.coding.code) for term in found.severities] == [("Very mild", "255604002")]
    assert [(term.text, term.coding) for term in found.body_sites] == [("left knee", None), ("hip", None)]
    found = fact("Stage 4 pain.", ("problem", "pain", {"severity": "Stage 4"}))
    assert found.severities[0].coding is None


@pytest.mark.parametrize(
    ("text", "modifiers", "section", "past"),
    [
        ("Stroke.", {}, None, False),
        ("Stroke.", {}, "past_history", True),
        ("Prior Stroke.", {"temporal": "Prior"}, None, True),
        ("Current Stroke.", {"temporal": "Current"}, None, False),
        ("S/p Stroke.", {}, None, True),
        ("Stroke 2006.", {"temporal": "2006"}, None, False),
    ],
)
def test_history(text, modifiers, section, past):
    assert fact(text, ("problem", "Stroke", modifiers), section=section).past is past


def test_a_resolution_date_is_an_end():
    found = fact(
        "Fever resolved on 03/02/2011.", ("problem", "Fever", {"course": "resolved", "temporal": "03/02/2011"})
    )
    assert [(moment.date, moment.is_end) for moment in found.moments] == [("2011-03-02", True)]
    found = fact(
        "On 03/02/2011 fever, resolved.", ("problem", "fever", {"course": "resolved", "temporal": "03/02/2011"})
    )
    assert not found.moments[0].is_end


@pytest.mark.parametrize(
    ("text", "modifiers", "expected"),
    [
        ("She takes aspirin.", {}, (False, None)),
        ("She declines aspirin.", {"negation": "declines"}, (True, None)),
        ("No longer on aspirin.", {"negation": "No longer on"}, (True, "stopped")),
        ("We stopped her aspirin.", {}, (False, "stopped")),
        ("Her aspirin was discontinued.", {}, (False, "stopped")),
        ("Hold aspirin.", {}, (False, "on-hold")),
        ("Her aspirin has been held.", {}, (False, "on-hold")),
        ("Do not stop aspirin.", {}, (False, None)),
        ("If bleeding, stop aspirin.", {}, (False, None)),
        ("Stopped smoking; takes aspirin.", {}, (False, None)),
    ],
)
def test_interruption_of_drugs(text, modifiers, expected):
    found = fact(text, ("drug", "aspirin", modifiers))
    assert (found.negated, found.interruption) == expected


@pytest.mark.parametrize(
    ("text", "test", "modifiers", "negative"),
    [
        ("No Kernig sign.", "Kernig sign", {"negation": "No"}, True),
        ("No stress test.", "stress test", {"negation": "No"}, False),
        ("Negative for ketones.", "ketones", {"negation": "Negative for"}, True),
        ("Kernig sign not tested.", "Kernig sign", {"negation": "not tested"}, False),
    ],
)
def test_negated_tests_are_results_or_were_not_made(text, test, modifiers, negative):
    found = fact(text, ("test", test, modifiers))
    assert (found.negated, found.negative_finding) == (True, negative)


def test_no_change_denies_no_test():
    found = fact("No change, BUN 8.", ("test", "BUN", {"negation": "No", "labvalue": "8"}))
    assert (found.negated, [value.modifier.span.start for value in found.values]) == (False, [15])


def test_a_drugs_modifiers_become_one_dosage():
    found = fact(
        "Oxycodone 5 mg tablets one to two tablets p.o. q4-6h p.r.n. for 10 days",
        (
            "drug",
            "Oxycodone",
            {
                "strength": "5 mg",
                "form": ["tablets", "tablets"],
                "dosage": "one to two",
                "route": "p.o.",
                "frequency": ["q4-6h", "p.r.n."],
                "duration": "for 10 days",
            },
        ),
    )
    (dosage,) = found.dosages
    assert dosage.text == "5 mg tablets one to two tablets p.o. q4-6h p.r.n. for 10 days"
    assert (dosage.amount.low.value, dosage.amount.high.value, dosage.amount.low.unit) == (1, 2, "tablet")
    assert (dosage.strength.value, dosage.strength.code) == (5, "mg")
    assert (dosage.timing.period, dosage.timing.period_max, dosage.timing.unit) == (4, 6, "h")
    assert (dosage.as_needed, dosage.as_needed_for) == (True, None)
    assert (dosage.duration.value, dosage.duration.code) == (10, "d")
    assert [route.coding.code for route in dosage.routes] == ["C38288"]
    assert [form.text for form in found.forms] == ["tablets", "tablets"]


def test_a_taper_is_several_dosages():
    found = fact(
        "Prednisone 20 mg daily for 5 days, then 10 mg daily for 3 days",
        (
            "drug",
            "Prednisone",
            {
                "strength": ["20 mg", "10 mg"],
                "frequency": ["daily", "daily"],
                "duration": ["for 5 days", "for 3 days"],
            },
        ),
    )
    assert [(dosage.strength.value, dosage.duration.value) for dosage in found.dosages] == [(20, 5), (10, 3)]
    assert [dosage.text for dosage in found.dosages] == ["20 mg daily for 5 days", "10 mg daily for 3 days"]


def test_a_time_of_day_behind_a_dose_is_dosing_and_other_times_are_not():
    found = fact("Lantus 30 units at bedtime", ("drug", "Lantus", {"dosage": "30 units", "temporal": "at bedtime"}))
    assert (found.dosages[0].timing.when, found.moments) == (("HS",), ())
    found = fact("Lantus started on Monday", ("drug", "Lantus", {"temporal": "on Monday"}))
    assert (found.dosages, [moment.kind for moment in found.moments]) == ((), ["relative"])


def test_a_form_that_is_a_route_is_a_route():
    found = fact("Zofran IV", ("drug", "Zofran", {"form": "IV"}))
    assert (found.forms, found.dosages[0].routes[0].coding.code) == ((), "C38276")


@pytest.mark.parametrize(
    ("text", "problems", "reason"),
    [
        ("Tylenol p.r.n. pain", ["pain"], "pain"),
        ("Tylenol p.r.n. for pain", ["pain"], "pain"),
        ("Tylenol p.r.n. for nausea or pain", ["nausea", "pain"], "nausea or pain"),
        ("Tylenol p.r.n. Pain is worse.", ["Pain"], None),
        ("Tylenol p.r.n. SOB is worse.", ["SOB"], None),
        ("Tylenol p.r.n.\npain", ["pain"], None),
    ],
)
def test_the_problem_behind_as_needed_is_the_reason_and_not_there(text, problems, reason):
    document = write(text, ("drug", "Tylenol", {"frequency": "p.r.n."}), *(("problem", word, {}) for word in problems))
    drug, *others = NORMALIZER.facts(document)
    assert (drug.dosages[0].as_needed, drug.dosages[0].as_needed_for) == (True, reason)
    assert {other.assertion for other in others} == {"conditional" if reason else "present"}


def test_facts_keep_order_and_count_and_are_pure():
    document = write(
        "No fever. BP 120/80. Aspirin 81 mg daily. Appendectomy 2006.",
        ("problem", "fever", {"negation": "No"}),
        ("test", "BP", {"labvalue": "120/80"}),
        ("drug", "Aspirin", {"strength": "81 mg", "frequency": "daily"}),
        ("treatment", "Appendectomy", {"temporal": "2006"}),
    )
    facts = NORMALIZER.facts(document)
    assert tuple(fact.mention for fact in facts) == document.mentions
    assert pickle.loads(pickle.dumps(NORMALIZER)).facts(document) == facts
    assert Normalizer().facts(document) == facts
    assert pickle.loads(pickle.dumps(facts)) == facts


def test_words_come_on_one_line_without_control_characters():
    assert fact("chest\n  pain\x02", ("problem", "chest\n  pain\x02", {})).text == "chest pain"


def test_long_words_cost_no_time():
    for unit in ("1 ", "1,000", "every 4 ", "5 mg/", "q. 6 . ", "mother and ", "Monday, ", " " * 50):
        words = (unit * 2000)[:8000]
        for label, modifiers in ALLOWED_PAIRS.items():
            linked = tuple(Modifier(kind, Span(2, 2 + len(words))) for kind in sorted(modifiers))
            note = Note("n", f"X {words} 120/80, low", time="2011-01-01")
            started = time.process_time()
            NORMALIZER.facts(Document(note, (Mention(label, Span(0, 1), linked),)))
            assert time.process_time() - started < 0.3


def test_any_words_of_any_allowed_modifier_are_survived():
    texts = (
        "",
        " ",
        "...",
        "½",
        "[**",
        "q",
        "1/",
        "x",
        "–",
        "<",
        "1-",
        "9" * 400,
        "a.b.c.",
        "()",
        "+",
        "/",
        "mg",
        "\x00",
        "prn",
    )
    for words in texts:
        note = Note("n", f"X {words}")
        for label, modifiers in ALLOWED_PAIRS.items():
            linked = tuple(Modifier(kind, Span(2, 2 + len(words))) for kind in sorted(modifiers))
            (found,) = NORMALIZER.facts(Document(note, (Mention(label, Span(0, 1), linked),)))
            assert found.text == "X"


@pytest.mark.parametrize(
    ("text", "labvalues", "values", "ranges"),
    [
        ("Sodium 133 mmol/L (135-145).", ["133 mmol/L", "135-145"], ["133 mmol/L"], ["135-145"]),
        ("Sodium 133 [ 135 - 145 ].", ["133", "[ 135 - 145 ]"], ["133"], ["135 - 145"]),
        ("Sodium 133, then 135-145.", ["133", "135-145"], ["133", "135-145"], []),
        ("Sodium (135-145).", ["135-145"], ["135-145"], []),
        ("Sodium 133 (121 before).", ["133", "121"], ["133", "121"], []),
        ("Sodium 133 (normal 135-145).", ["133", "135-145"], ["133"], ["normal 135-145"]),
        ("Sodium 133 (normal <145).", ["133", "145"], ["133"], ["normal <145"]),
        ("Sodium 133 (normal<145).", ["133", "normal<145"], ["133"], ["normal<145"]),
        ("Sodium (normal 135-145).", ["135-145"], [], ["135-145"]),
        ("Sodium 133 (normal).", ["133", "normal"], ["133"], []),
    ],
)
def test_a_bracketed_range_beside_a_value_is_the_normal_range(text, labvalues, values, ranges):
    (fact,) = Normalizer().facts(write(text, ("test", "Sodium", {"labvalue": labvalues})))
    assert [value.text for value in fact.values] == values
    assert [found.text for found in fact.reference_ranges] == ranges


@pytest.mark.parametrize(
    ("text", "strengths", "texts"),
    [
        ("Oxycodone 5 mg - 10 mg q4h", ["5 mg", "10 mg"], ["5 mg - 10 mg q4h"]),
        ("Oxycodone 10 mg - 5 mg q4h", ["10 mg", "5 mg"], ["10 mg", "5 mg q4h"]),
        ("Oxycodone 5 mg - 10 g q4h", ["5 mg", "10 g"], ["5 mg", "10 g q4h"]),
        ("Oxycodone 5 mg - 10 mg - 15 mg q4h", ["5 mg", "10 mg", "15 mg"], ["5 mg", "10 mg", "15 mg q4h"]),
    ],
)
def test_two_strengths_with_a_dash_are_a_range(text, strengths, texts):
    found = fact(text, ("drug", "Oxycodone", {"strength": strengths, "frequency": "q4h"}))
    assert [dosage.text for dosage in found.dosages] == texts


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Ca 8.4 Mg 1.6", "test"),
        ("Ca: 8.4", "test"),
        ("Ca 500 mg daily", "drug"),
        ("Ca 500mg", "drug"),
        ("Ca daily", "drug"),
    ],
)
def test_a_short_name_before_a_bare_number_is_a_test(text, label):
    assert fact(text, ("drug", "Ca", {})).mention.label == label
