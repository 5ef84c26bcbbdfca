"""Results of tests, reference ranges and what a test's words say about it."""

from decimal import Decimal

import pytest

from kiwi_fhir.normalize.quantity import load_units
from kiwi_fhir.normalize.values import load_tests, load_values
from kiwi_fhir.types import BloodPressure, Interval, Modifier, Quantity, Ratio, Span

VALUES = load_values(None, load_units(None))
TESTS = load_tests(None)
MODIFIER = Modifier("labvalue", Span(0, 1))


def read(text, *, blood_pressure=False):
    return VALUES.read(MODIFIER, text, blood_pressure=blood_pressure)


@pytest.mark.parametrize(
    ("text", "kind", "interpretation"),
    [
        ("4.10", Quantity, None),
        ("4.10 mmol/L.", Quantity, None),
        ("35.5, low", Quantity, "L"),
        ("12.3 (high)", Quantity, "H"),
        ("<5", Quantity, None),
        ("4-6", Interval, None),
        ("1:40", Ratio, None),
        ("negative", None, "NEG"),
        ("Positive", None, "POS"),
        ("2+", None, "POS"),
        ("nonreactive", None, "NR"),
        ("not detected", None, "ND"),
        ("within normal limits", None, "N"),
        ("normal", None, "N"),
        ("elevated", None, "H"),
        ("decreased", None, "L"),
    ],
)
def test_results(text, kind, interpretation):
    found = read(text)
    assert (type(found.value) if found.value is not None else None) is kind
    assert (found.interpretation.code if found.interpretation else None) == interpretation
    assert found.is_scale == (interpretation in ("NEG", "POS", "NR", "ND"))


@pytest.mark.parametrize(
    "text",
    ["clear", "O positive", "2+ bilaterally", "20/30", "5/5", "grossly intact", "5 ft 2 in", "70s", "12:08", "pending"],
)
def test_results_that_stay_words(text):
    found = read(text)
    assert (found.value, found.interpretation, found.is_scale, found.text) == (None, None, False, text)


def test_blood_pressure_only_of_a_blood_pressure_and_only_where_it_can_be_one():
    found = read("120/80", blood_pressure=True).value
    assert isinstance(found, BloodPressure)
    assert (found.systolic.value, found.diastolic.value) == (120, 80)
    assert (found.systolic.unit, found.systolic.code) == ("mmHg", "mm[Hg]")
    assert read("120 over 80 mm Hg", blood_pressure=True).value == found
    assert read("120/80").value is None
    for text in ("80/120", "20/30", "12/25", "500/300"):
        assert read(text, blood_pressure=True).value is None


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("0.5-1.2", "0.5", "1.2"),
        ("(0.5 to 1.2)", "0.5", "1.2"),
        ("normal being 0.34 to 5.60", "0.34", "5.60"),
        ("< 5", None, "5"),
        ("greater than 60", "60", None),
        ("12.0-16.0 g/dL", "12.0", "16.0"),
    ],
)
def test_reference_ranges(text, low, high):
    interval = VALUES.reference_range(MODIFIER, text).interval
    ends = [None if end is None else str(end.value) for end in (interval.low, interval.high)]
    assert ends == [low, high]
    assert all(end is None or end.comparator is None for end in (interval.low, interval.high))


def test_a_reference_range_that_is_not_understood_stays_words():
    found = VALUES.reference_range(MODIFIER, "age dependent")
    assert (found.text, found.interval) == ("age dependent", None)


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("Blood pressure", "vital-signs"),
        ("his O2 saturation", "vital-signs"),
        ("her hemoglobin", "laboratory"),
        ("white blood cell count", "laboratory"),
        ("a CT scan", None),
        ("sodium channel study", None),
    ],
)
def test_categories_only_of_known_tests(text, category):
    assert TESTS.category(text) == category


def test_findings_and_pressures():
    assert TESTS.is_finding("Kernig sign")
    assert not TESTS.is_finding("stress test")
    assert TESTS.is_blood_pressure("Her blood pressure")
    assert not TESTS.is_blood_pressure("visual acuity")


def test_digits_survive():
    assert str(read("1.20").value.value) == "1.20"
    assert read("1.20").value.value == Decimal("1.2")
