"""Rows of the clinical tables: only of facts that hold, only with standard concepts, in the table of the domain."""

from datetime import date
from decimal import Decimal
from types import SimpleNamespace

import pytest
from omop_notes import ASPIRIN, HYPERTENSION, SODIUM, SURGERY, TEXT, fact, facts, maker, modifier, note

from kiwi_fhir.omop.tables import CLINICAL, COLUMNS, LINKS
from kiwi_fhir.types import (
    BloodPressure,
    Coding,
    Document,
    Dosage,
    Interval,
    LabValue,
    Moment,
    Quantity,
    ReferenceRange,
    Term,
)

MARK = modifier("temporal", "fever")


def rows(found, note_=None):
    made = maker(clinical=True).rows(Document(note_ or note(), ()), found).tables
    return {
        name: [SimpleNamespace(**dict(zip(COLUMNS[name], row, strict=True))) for row in made[name]]
        for name in (*CLINICAL, LINKS)
    }


def test_each_domain_has_its_table():
    found = rows(facts())
    (condition,) = found["condition_occurrence"]
    assert (condition.person_id, condition.condition_concept_id, condition.condition_source_concept_id) == (
        3,
        320128,
        35207668,
    )
    assert (condition.condition_start_date, condition.condition_type_concept_id) == (date(2026, 3, 5), 32858)
    assert condition.condition_source_value == "Hypertension"
    (drug,) = found["drug_exposure"]
    assert (drug.drug_concept_id, drug.drug_type_concept_id) == (1112807, 32858)
    assert drug.drug_exposure_start_date == drug.drug_exposure_end_date == date(2026, 3, 5)
    (measured,) = found["measurement"]
    assert (measured.measurement_concept_id, measured.measurement_type_concept_id) == (3019550, 32858)
    assert (measured.value_as_number, measured.unit_source_value, measured.value_source_value) == (
        Decimal(140),
        "mmol/L",
        "140 mmol/L",
    )
    (procedure,) = found["procedure_occurrence"]
    assert (procedure.procedure_concept_id, procedure.procedure_type_concept_id) == (4198190, 32858)
    ids = {(link.table_name, link.row_id) for link in found[LINKS]}
    assert ids == {(name, vars(row)[COLUMNS[name][0]]) for name in CLINICAL for row in found[name]}


@pytest.mark.parametrize(
    "says",
    [
        {"assertion": "absent", "negated": True},
        {"assertion": "possible", "doubt": "possible"},
        {"assertion": "associated_with_someone_else"},
        {"assertion": "hypothetical"},
        {"assertion": "conditional"},
        {"past": True},
        {"allergy": "substance"},
        {"interruption": "stopped"},
        {"plan": "planned"},
        {"courses": (Term(MARK, "resolved", Coding("x", "resolved", "Resolved")),)},
        {"moments": (Moment(MARK, "2019", "date", date="2019"),)},
        {"moments": (Moment(MARK, "tomorrow", "relative", resolved="2026-03-06", future=True),)},
        {"moments": (Moment(MARK, "a", "date", date="2026-01-01"), Moment(MARK, "b", "date", date="2026-01-02"))},
    ],
)
def test_what_does_not_hold_has_no_row(says):
    for label, words, codings in (("problem", "Hypertension", HYPERTENSION), ("drug", "aspirin", ASPIRIN)):
        assert not any(rows([fact(label, words, codings=codings, **says)]).values())


def test_without_a_standard_concept_there_is_no_row():
    assert not any(rows([fact(), fact(codings=HYPERTENSION[:1])]).values())
    assert not any(
        rows([fact(codings=(Coding("x", "1", "y", concept_id=5, domain="Observation", standard=True),))]).values()
    )


def test_a_whole_date_of_its_own_comes_first():
    when = (Moment(MARK, "May 3", "relative", resolved="2026-01-02"),)
    (row,) = rows([fact("treatment", "appendectomy", codings=SURGERY, moments=when)])["procedure_occurrence"]
    assert row.procedure_date == date(2026, 1, 2)
    assert not any(rows([fact(codings=HYPERTENSION)], note(time=None)).values())


def test_what_is_said_twice_is_one_row():
    found = rows([*facts(), *facts()])
    assert [len(found[name]) for name in CLINICAL] == [1, 1, 1, 1]
    assert len(found[LINKS]) == 4


def measured(*values, **says):
    item = fact("test", "Sodium", codings=SODIUM, values=values, **says)
    return rows([item])["measurement"]


def value(of, text="x"):
    return LabValue(modifier("labvalue", "140"), text, of)


def test_measured_values():
    (row,) = measured(value(Quantity(Decimal("1.20"), "mg/dL", "mg/dL", "<"), "<1.20 mg/dL"))
    assert (str(row.value_as_number), row.operator_concept_id, row.unit_concept_id) == ("1.20", 4171756, 0)
    (row,) = measured()
    assert (row.value_as_number, row.value_source_value, row.unit_concept_id) == (None, None, None)
    (row,) = measured(value(None, "grossly normal " * 9))
    assert (row.value_as_number, len(row.value_source_value)) == (None, 50)
    (row,) = measured(LabValue(modifier("labvalue", "140"), "2+", is_scale=True))
    assert (row.value_as_number, row.value_as_concept_id, row.value_source_value) == (None, 0, "2+")
    (row,) = measured(value(Interval(Quantity(Decimal(1)), Quantity(Decimal(2)))))
    assert row.value_as_number is None


def test_a_reference_range_is_in_the_unit_of_the_value():
    def bounds(unit):
        interval = Interval(Quantity(Decimal(135), unit), Quantity(Decimal(145), unit))
        span = ReferenceRange(MARK, "135-145", interval)
        (row,) = measured(value(Quantity(Decimal(140), "mmol/L")), reference_ranges=(span,))
        return row.range_low, row.range_high

    assert bounds(None) == bounds("mmol/L") == (Decimal(135), Decimal(145))
    assert bounds("mg/dL") == (None, None)


def test_a_blood_pressure_is_two_rows():
    pressure = BloodPressure(Quantity(Decimal(120), "mmHg"), Interval(Quantity(Decimal(70)), Quantity(Decimal(80))))
    found = measured(value(pressure, "120/70s"))
    assert [(row.measurement_concept_id, row.value_as_number) for row in found] == [(3004249, 120), (3012888, None)]


def test_a_drug_with_its_dosage():
    route = Term(modifier("route", "fever"), "PO")
    dosage = Dosage("81 mg PO daily for 2 weeks", strength=Quantity(Decimal(81), "mg"), routes=(route,))
    weeks = Dosage(dosage.text, duration=Quantity(Decimal(2), "weeks", "wk"), routes=(route,), strength=dosage.strength)
    (row,) = rows([fact("drug", "aspirin", codings=ASPIRIN, dosages=(weeks,))])["drug_exposure"]
    assert (row.days_supply, row.drug_exposure_end_date) == (None, date(2026, 3, 18))
    assert (row.sig, row.route_source_value, row.route_concept_id, row.dose_unit_source_value) == (
        "81 mg PO daily for 2 weeks",
        "PO",
        0,
        "mg",
    )
    months = Dosage("x", duration=Quantity(Decimal(2), "months", "mo"))
    (row,) = rows([fact("drug", "aspirin", codings=ASPIRIN, dosages=(months,))])["drug_exposure"]
    assert (row.days_supply, row.drug_exposure_end_date) == (None, date(2026, 3, 5))


def test_two_standard_concepts_are_two_rows():
    other = Coding(HYPERTENSION[1].system, "9", "x", concept_id=99, domain="Condition", standard=True)
    found = rows([fact(codings=(*HYPERTENSION, other), text=TEXT)])["condition_occurrence"]
    assert [row.condition_concept_id for row in found] == [320128, 99]
