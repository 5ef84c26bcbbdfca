"""Results of tests, reference ranges and what a test's words say about it."""

from decimal import Decimal

import pytest

from kiwi_fhir.errors import MappingError
from kiwi_fhir.fhir.r4.ucum import is_ucum
from kiwi_fhir.normalize.laterality import load_lateralities
from kiwi_fhir.normalize.result.kinds import UNKNOWN, load_tests
from kiwi_fhir.normalize.result.quantity import load_units
from kiwi_fhir.normalize.result.ranges import judged, read_range
from kiwi_fhir.normalize.result.values import load_values
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import BloodPressure, Interval, LabValue, Modifier, Quantity, Ratio, Span

VALUES = load_values(Mappings.read(), load_units(Mappings.read()))
TESTS = load_tests(Mappings.read())
MODIFIER = Modifier("labvalue", Span(0, 1))


PRESSURE = TESTS.kind("blood pressure")


def read(text, kind=UNKNOWN):
    return VALUES.read(MODIFIER, text, kind)


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
    found = read("120/80", PRESSURE).value
    assert isinstance(found, BloodPressure)
    assert (found.systolic.value, found.diastolic.value) == (120, 80)
    assert (found.systolic.unit, found.systolic.code) == ("mmHg", "mm[Hg]")
    assert read("120 over 80 mm Hg", PRESSURE).value == found
    assert read("120/80").value is None
    for text in ("80/120", "20/30", "12/25", "500/300"):
        assert read(text, PRESSURE).value is None


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
    assert TESTS.kind(text).category == category


def test_findings_and_pressures():
    assert TESTS.kind("Kernig sign").finding
    assert not TESTS.kind("stress test").finding
    assert TESTS.kind("Her blood pressure").blood_pressure
    assert not TESTS.kind("visual acuity").blood_pressure


def test_digits_survive():
    assert str(read("1.20").value.value) == "1.20"
    assert read("1.20").value.value == Decimal("1.2")


def test_every_code_of_the_unit_table_is_ucum():
    table = Mappings.read().table("units")
    codes = [*table["measures"], *table["times"]]
    assert [code for code in codes if not is_ucum(code)] == []
    assert len(codes) >= 120


@pytest.mark.parametrize("code", [code for code in Mappings.read().table("units")["measures"] if len(code) > 1])
def test_every_code_of_the_unit_table_is_read_as_it_stands(code):
    found = read(f"12 {code}").value
    assert isinstance(found, Quantity)
    assert (found.value, found.unit, found.code) == (12, code, code)


def test_a_unit_under_two_codes_is_refused(tmp_path):
    (tmp_path / "overrides.toml").write_text('[units.measures]\n"mg" = { add = ["gm"] }\n')
    with pytest.raises(MappingError, match=r"line 2: key 'units\.measures\.mg.*': 'gm' stands under '(g|mg)' too"):
        load_units(Mappings.read(tmp_path))


@pytest.mark.parametrize("text", ["mM", "5 mm", "5 MM"])
def test_the_case_of_a_unit_counts_only_where_the_table_writes_it(text):
    unit = text.removeprefix("5 ")
    assert load_units(Mappings.read()).code(unit) == ("mmol/L" if unit == "mM" else "mm")


def test_a_result_is_judged_as_if_it_were_any_number_it_can_be():
    """Every judgement of a comparator or range holds for all numbers that it stands for."""
    numbers = [Decimal(number) / 2 for number in range(41)]
    for low, high in [(3, 8), (0, 8), (None, 8), (3, None)]:
        normal = Interval(*(None if end is None else Quantity(Decimal(end)) for end in (low, high)))
        for bound in range(21):
            for sign, holds in {
                "<": Decimal.__lt__,
                ">": Decimal.__gt__,
                "<=": Decimal.__le__,
                ">=": Decimal.__ge__,
            }.items():
                found = judged(LabValue(MODIFIER, "", Quantity(Decimal(bound), comparator=sign)), normal)
                one = {
                    judged(LabValue(MODIFIER, "", Quantity(number)), normal)
                    for number in numbers
                    if holds(number, Decimal(bound))
                }
                assert found is None or one <= {found, None}, (low, high, sign, bound)
            wide = Interval(Quantity(Decimal(bound)), Quantity(Decimal(bound + 2)))
            found = judged(LabValue(MODIFIER, "", wide), normal)
            one = {
                judged(LabValue(MODIFIER, "", Quantity(number)), normal)
                for number in numbers
                if bound <= number <= bound + 2
            }
            assert found is None or one <= {found, None}, (low, high, wide)


def test_words_and_pressures_are_not_judged():
    normal = read_range(VALUES.units, "3-8")
    assert judged(read("positive"), normal) is None
    assert judged(read("120/80", PRESSURE), normal) is None
    assert judged(read("1:40"), normal) is None


def test_a_site_may_take_words_from_the_lateralities(tmp_path):
    (tmp_path / "overrides.toml").write_text('[laterality.codes.419161000]\nwords = { remove = ["l"] }\n')
    assert load_lateralities(Mappings.read(tmp_path)).find("L knee") is None
    assert load_lateralities(Mappings.read(tmp_path)).find("left knee").display == "Unilateral left"
