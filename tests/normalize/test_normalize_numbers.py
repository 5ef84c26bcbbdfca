"""Numbers, units, doses and strengths: right, or left as text."""

from decimal import Decimal

import pytest

from kiwi_fhir.errors import MappingError
from kiwi_fhir.normalize.result.quantity import load_units
from kiwi_fhir.normalize.text.numbers import read_number
from kiwi_fhir.normalize.text.words import load_vocabulary, plain
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Interval, Quantity, Ratio

UNITS = load_units(Mappings.read())


def quantity(value, unit=None, code=None, comparator=None):
    return Quantity(Decimal(value), unit, code, comparator)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", "12"),
        ("1,200", "1200"),
        (".5", "0.5"),
        ("0.50", "0.50"),
        ("½", "0.5"),
        ("1/2", "0.5"),
        ("1 1/2", "1.5"),
        ("2½", "2.5"),
        ("Two", "2"),
        ("one and a half", "1.5"),
        ("half a", "0.5"),
        ("thirty", "30"),
    ],
)
def test_numbers(text, value):
    assert str(read_number(text)) == value


@pytest.mark.parametrize("text", ["", "1,5", "few", "12a", "1/3", "1.2.3", "three and", "several"])
def test_what_is_no_number(text):
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12.50", quantity("12.50")),
        ("-2.5", quantity("-2.5")),
        ("18,000", quantity("18000")),
        ("4.1 mmol/L", quantity("4.1", "mmol/L", "mmol/L")),
        ("4.1 MMOL/L", quantity("4.1", "MMOL/L", "mmol/L")),
        ("140 mEq/L", quantity("140", "mEq/L", "meq/L")),
        ("98 %", quantity("98", "%", "%")),
        ("98%", quantity("98", "%", "%")),
        ("104 degrees F", quantity("104", "degrees F", "[degF]")),
        ("72 beats per minute", quantity("72", "beats per minute", "/min")),
        ("120 mm Hg", quantity("120", "mm Hg", "mm[Hg]")),
        ("250 K/uL", quantity("250", "K/uL", "10*3/uL")),
        ("40 cells/field", quantity("40", "cells/field")),
        ("201 pounds", quantity("201", "pounds", "[lb_av]")),
    ],
)
def test_scalars_keep_digits_and_know_only_units_of_the_table(text, expected):
    found = UNITS.scalar(text)
    assert found == expected
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("text", ["20/30", "5/5", "2+", "70s", "3 regions", "80 and regular", "5 ft 2 in", "mg", ""])
def test_other_words_are_no_scalar(text):
    assert UNITS.scalar(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<5", quantity("5", comparator="<")),
        ("< 0.01 ng/mL", quantity("0.01", "ng/mL", "ng/mL", "<")),
        ("greater than 100", quantity("100", comparator=">")),
        ("at least 30 %", quantity("30", "%", "%", ">=")),
        ("≤ 4", quantity("4", comparator="<=")),
        ("less than two seconds", quantity("2", "seconds", "s", "<")),
    ],
)
def test_comparators(text, expected):
    assert UNITS.compared(text) == expected


@pytest.mark.parametrize("text", ["5", "more than usual", "greater than 80% accuracy", "overt", "about 5"])
def test_what_compares_nothing(text):
    assert UNITS.compared(text) is None


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("4-6", quantity("4"), quantity("6")),
        ("0.34 to 5.60", quantity("0.34"), quantity("5.60")),
        ("60-70 mmHg", quantity("60", "mmHg", "mm[Hg]"), quantity("70", "mmHg", "mm[Hg]")),
        ("45% to 49%", quantity("45", "%", "%"), quantity("49", "%", "%")),
        ("between 2 and 3", quantity("2"), quantity("3")),
        ("18 to 20 per minute", quantity("18", "per minute", "/min"), quantity("20", "per minute", "/min")),
    ],
)
def test_ranges(text, low, high):
    assert UNITS.interval(text) == Interval(low, high)


@pytest.mark.parametrize("text", ["6-4", "4 kg to 5 lbs", "120/80", "3", "2011-03", "4-"])
def test_what_is_no_range(text):
    assert UNITS.interval(text) is None


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("1 tablet", None, quantity("1", "tablet")),
        ("2 puffs", None, quantity("2", "puff")),
        ("one", "tablets", quantity("1", "tablet")),
        ("one to two", "tablet", Interval(quantity("1", "tablet"), quantity("2", "tablet"))),
        ("1-2 tabs", None, Interval(quantity("1", "tablet"), quantity("2", "tablet"))),
        ("1/2 tablet", None, quantity("0.5", "tablet")),
        ("one and a half", "tablet", quantity("1.5", "tablet")),
        ("25 mg", None, quantity("25", "mg", "mg")),
        ("0.50 mL", None, quantity("0.50", "mL", "mL")),
        ("30 units", None, quantity("30", "units")),
        ("400 IU", None, quantity("400", "IU", "[iU]")),
        ("6 mL an hour", None, quantity("6", "mL an hour", "mL/h")),
    ],
)
def test_amounts(text, unit, expected):
    assert UNITS.amount(text, unit=unit) == expected


@pytest.mark.parametrize(
    "text", ["40", "low dose", "sliding scale", "a sliding scale", "1L wide open", "one q.d.", "5/500 mg"]
)
def test_amounts_without_a_unit_or_with_more_words_stay_text(text):
    assert UNITS.amount(text) is None


def test_concentrations_are_in_a_volume_or_in_what_doses_are_counted_in():
    forty = Ratio(quantity("40", "mg", "mg"), quantity("0.4", "mL", "mL"))
    assert UNITS.concentration("40 mg in 0.4 mL") == forty
    assert UNITS.concentration("40 mg/0.4 mL") == forty
    assert UNITS.concentration("44 mcg/act") == Ratio(quantity("44", "mcg", "ug"), quantity("1", "actuation"))
    assert UNITS.concentration("100 units/mL") == Ratio(quantity("100", "units"), quantity("1", "mL", "mL"))
    for text in ("100/50 mcg", "40 mg", "5 mg/kg", "40 mg/day", "5 mg/kg/dose", "1-2 mg/mL", "108 (90 base) mcg/act"):
        assert UNITS.concentration(text) is None


def test_titres_are_one_to_something():
    assert UNITS.titre("1:40") == Ratio(quantity("1"), quantity("40"))
    assert UNITS.titre("12:08") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("P.O.", "po"),
        ("b.i.d .", "bid"),
        ("q. 6h p.r.n", "q6h prn"),
        ("q.h.s.", "qhs"),
        ("  Status   post ", "status post"),
        ("(normal).", "normal"),
        ("patient’s", "patient's"),
        ("4.5", "4.5"),
    ],
)
def test_plain(text, expected):
    assert plain(text) == expected


def test_a_word_under_two_codes_is_refused(tmp_path):
    (tmp_path / "severity.toml").write_text(
        'system = "s"\n[codes.1]\ndisplay = "One"\nwords = ["mild"]\n[codes.2]\ndisplay = "Two"\nwords = ["Mild"]\n'
    )
    with pytest.raises(MappingError, match=r"line 5: key 'codes\.2': 'Mild' stands under '1' too"):
        load_vocabulary("severity", Mappings.read(tmp_path))


def test_a_time_unit_that_fhir_lacks_is_refused(tmp_path):
    (tmp_path / "units.toml").write_text('[measures]\n[doses]\n[comparators]\n[times]\nday = ["day"]\n')
    with pytest.raises(MappingError, match=r"line 5: key 'times\.day': is unknown; known are s, min, h, d, wk, mo, a"):
        load_units(Mappings.read(tmp_path))
