"""Frequencies, as-needed reasons and durations."""

from decimal import Decimal

import pytest

from kiwi_fhir.errors import MappingError
from kiwi_fhir.normalize.drug.timing import DAYS, EVENT_TIMINGS, UNITS_OF_TIME, load_frequencies
from kiwi_fhir.normalize.result.quantity import load_units
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Interval, Quantity, Timing

FREQUENCIES = load_frequencies(Mappings.read(), load_units(Mappings.read()))


def times(frequency, period, unit, **more):
    numbers = {name: Decimal(value) if name == "period_max" else value for name, value in more.items()}
    return Timing(frequency=frequency, period=Decimal(period), unit=unit, **numbers)


DAILY = times(1, 1, "d")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("daily", DAILY),
        ("q.d.", DAILY),
        ("once a day", DAILY),
        ("b.i.d.", times(2, 1, "d")),
        ("BID", times(2, 1, "d")),
        ("twice daily", times(2, 1, "d")),
        ("t.i.d.", times(3, 1, "d")),
        ("3 times a day", times(3, 1, "d")),
        ("5x/day", times(5, 1, "d")),
        ("q.i.d", times(4, 1, "d")),
        ("q6h", times(1, 6, "h")),
        ("q. 6 h.", times(1, 6, "h")),
        ("every 6 hours", times(1, 6, "h")),
        ("every six hours", times(1, 6, "h")),
        ("q4-6h", times(1, 4, "h", period_max=6)),
        ("q.4-6 h", times(1, 4, "h", period_max=6)),
        ("every four to six hours", times(1, 4, "h", period_max=6)),
        ("2-3 times daily", times(2, 1, "d", frequency_max=3)),
        ("every other day", times(1, 2, "d")),
        ("q.3.d.", times(1, 3, "d")),
        ("weekly", times(1, 1, "wk")),
        ("three times weekly", times(3, 1, "wk")),
        ("every eight weeks", times(1, 8, "wk")),
        ("monthly", times(1, 1, "mo")),
        ("q.h.s.", times(1, 1, "d", when=("HS",))),
        ("at bedtime", times(1, 1, "d", when=("HS",))),
        ("nightly", times(1, 1, "d", when=("NIGHT",))),
        ("qAM", times(1, 1, "d", when=("MORN",))),
        ("q.a.m.", times(1, 1, "d", when=("MORN",))),
        ("daily in the morning", times(1, 1, "d", when=("MORN",))),
        ("twice daily with meals", times(2, 1, "d", when=("C",))),
        ("before meals and at bedtime", Timing(when=("AC", "HS"))),
        ("every Monday, Wednesday and Friday", Timing(days=("mon", "wed", "fri"))),
        ("once", Timing(count=1)),
        ("take one daily", DAILY),
    ],
)
def test_frequencies(text, expected):
    assert FREQUENCIES.read(text).timing == expected


@pytest.mark.parametrize(
    "text",
    ["continuous", "an hour", "while awake", "twice daily at bedtime", "as directed", "q6", "q6-4h", "0 times a day"],
)
def test_what_is_not_understood_whole_is_no_frequency(text):
    found = FREQUENCIES.read(text)
    assert found.timing is None
    assert not found.read


@pytest.mark.parametrize(
    ("text", "timing", "reason"),
    [
        ("p.r.n.", None, None),
        ("as needed", None, None),
        ("q6h prn", times(1, 6, "h"), None),
        ("prn q6h", times(1, 6, "h"), None),
        ("prn pain", None, "pain"),
        ("q4h prn pain", times(1, 4, "h"), "pain"),
        ("b.i.d. as needed for nausea and vomiting", times(2, 1, "d"), "nausea and vomiting"),
        ("as needed if wheezing", None, "wheezing"),
    ],
)
def test_as_needed(text, timing, reason):
    found = FREQUENCIES.read(text)
    assert (found.timing, found.as_needed, found.as_needed_for) == (timing, True, reason)


@pytest.mark.parametrize(
    ("text", "value", "code"),
    [
        ("for 10 days", "10", "d"),
        ("x10 days", "10", "d"),
        ("x 2 weeks", "2", "wk"),
        ("for one month", "1", "mo"),
        ("for 4 more days", "4", "d"),
        ("1 year", "1", "a"),
    ],
)
def test_durations(text, value, code):
    found = FREQUENCIES.duration(text)
    assert isinstance(found, Quantity)
    assert (str(found.value), found.code) == (value, code)


def test_a_duration_may_be_a_range_or_not_understood():
    found = FREQUENCIES.duration("4 to 6 weeks")
    assert isinstance(found, Interval)
    assert (found.low.value, found.high.value, found.high.code) == (4, 6, "wk")
    for text in ("until seen", "indefinitely", "approximately one hour", "6 to 4 weeks", ".5 days", "over 5 days"):
        assert FREQUENCIES.duration(text) is None


def test_minutes_and_hours_need_a_word_that_says_what_they_are_of():
    assert FREQUENCIES.duration("one hour") is None
    assert FREQUENCIES.duration("24 hours", before="antibiotics for ").code == "h"
    assert FREQUENCIES.duration("one hour", before="infused over ") is None
    assert FREQUENCIES.given_over("one hour", before="infused over ").code == "h"
    assert FREQUENCIES.given_over("over 30 to 60 minutes").high.value == 60
    for text in ("one hour", "over 5 days", "over the weekend", "over .5 hours"):
        assert FREQUENCIES.given_over(text) is None


def test_a_count_is_of_doses():
    every_eight_hours, twice = FREQUENCIES.read("q8h").timing, FREQUENCIES.read("bid").timing
    assert FREQUENCIES.counted("x3", every_eight_hours).count == 3
    assert FREQUENCIES.counted("x 4 doses", twice).count == 4
    assert FREQUENCIES.counted("x3", None) == Timing(count=3)
    for text, timing in (("x3", twice), ("for 3", every_eight_hours), ("x 2.5", None), ("x 3 days", None)):
        assert FREQUENCIES.counted(text, timing) is None


def test_the_codes_are_those_of_the_resource_check():
    from kiwi_fhir.fhir.r4.spec import VALUE_SETS

    assert " ".join(UNITS_OF_TIME) == VALUE_SETS["units-of-time"]
    assert set(EVENT_TIMINGS) == set(VALUE_SETS["event-timing"].split())
    assert set(DAYS) == set(VALUE_SETS["days-of-week"].split())


def test_a_wrong_unit_or_event_is_refused(tmp_path):
    head = "as_needed = []\nfillers = []\n[per]\n[days]\n" + "".join(f"{day} = []\n" for day in DAYS)
    for wrong in ('unit = "day"', 'when = ["BEDTIME"]', "often = 2"):
        (tmp_path / "frequencies.toml").write_text(f"{head}[timings.a]\nwords = []\n{wrong}\n")
        with pytest.raises(MappingError, match=r"frequencies\.toml, line 14: key 'timings\.a\."):
            load_frequencies(Mappings.read(tmp_path), load_units(Mappings.read()))
