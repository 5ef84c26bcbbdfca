"""Dates at the stated precision, relative times, history."""

import re
from datetime import date

import pytest

from kiwi_fhir.normalize.dates import load_dates
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import Modifier, Span, day_of

DATES = load_dates(Mappings.read())
MODIFIER = Modifier("temporal", Span(0, 1))
NOTE_DAY = date(2011, 3, 5)


def read(text, note_day=NOTE_DAY):
    return DATES.read(MODIFIER, text, note_day)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2006", "2006"),
        ("in 2006.", "2006"),
        ("spring of 2007", "2007"),
        ("2006-03-14", "2006-03-14"),
        ("[**2006-3-14**]", "2006-03-14"),
        ("03/14/2006", "2006-03-14"),
        ("3-14-2006", "2006-03-14"),
        ("14/03/2006", "2006-03-14"),
        ("03/14/06", "2006-03-14"),
        ("03/14/87", "1987-03-14"),
        ("on March 14, 2006", "2006-03-14"),
        ("March 14th 2006", "2006-03-14"),
        ("14 March 2006", "2006-03-14"),
        ("14Mar2006", "2006-03-14"),
        ("March 2006", "2006-03"),
        ("March of 2006", "2006-03"),
        ("3/2006", "2006-03"),
        ("03/14/06 at 2:00 p.m.", "2006-03-14"),
        ("14Mar2006 09:43AM", "2006-03-14"),
        ("since 2006", "2006"),
    ],
)
def test_absolute_dates(text, expected):
    found = read(text)
    assert (found.kind, found.date, found.future) == ("date", expected, False)
    assert found.text == text


@pytest.mark.parametrize(
    "text",
    ["02/30/2006", "13/13/2006", "03/14", "1832", "the 80s", "about 2006", "before 2006", "06/11/04 until 07/13"],
)
def test_what_is_no_date_for_certain(text):
    assert (read(text).kind, read(text).date) == ("relative", None)


def test_two_figures_of_a_year_need_the_notes_date():
    assert read("03/14/06", None).date is None
    assert read("03/14/12").date == "2012-03-14"
    assert read("03/14/13").date is None  # 1913, or to come


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("between 1980 and 1995", "1980", "1995"),
        ("from 2004 to 2006", "2004", "2006"),
        ("2004-2006", "2004", "2006"),
        ("06/11/04 until 07/13/04", "2004-06-11", "2004-07-13"),
        ("from March 2004 through May 2004", "2004-03", "2004-05"),
        ("[**2010-3-1**] - [**2010-3-9**]", "2010-03-01", "2010-03-09"),
    ],
)
def test_periods(text, first, last):
    found = read(text)
    assert (found.kind, found.date, found.until, found.future) == ("date", first, last, False)


@pytest.mark.parametrize(
    "text",
    ["2006 to 2004", "2004 to 06/2006", "2004 and 2006", "between 2004 to 2006", "1983/84", "2004-05", "2010 - 2012"],
)
def test_what_is_no_period_that_is_over_stays_words(text):
    assert (read(text).kind, read(text).date) == ("relative", None)


def test_a_date_after_the_note_is_marked():
    assert read("03/06/2011").future
    assert not read("03/05/2011").future
    assert not read("2011").future
    assert read("2012").future
    assert not read("2012", None).future


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", "2011-03-05"),
        ("this morning", "2011-03-05"),
        ("yesterday", "2011-03-04"),
        ("3 days ago", "2011-03-02"),
        ("two weeks ago", "2011-02"),
        ("four months ago", "2010-11"),
        ("30 years ago", "1981"),
        ("last year", "2010"),
        ("one week prior", None),
        ("recently", None),
        ("several days ago", None),
        ("about 2 weeks ago", None),
    ],
)
def test_relative_times_count_back_no_more_precisely_than_said(text, expected):
    found = read(text)
    assert (found.kind, found.resolved) == ("relative", expected)
    assert read(text, None).resolved is None


def test_history_presence_and_denial():
    assert {read(text).kind for text in ("history of", "s/p", "prior", "previously", "in the past")} == {"past"}
    assert {read(text).kind for text in ("currently", "at this time", "no history of")} == {"present"}
    assert DATES.denies("no prior")
    assert not DATES.denies("prior")
    text = "He is status post a recent stroke."
    assert DATES.is_history(text, text.index("stroke"))
    assert not DATES.is_history("Stroke, status unknown", 8)


def test_day_first_is_a_choice(tmp_path):
    table = Mappings.read().path("temporal").read_text(encoding="utf-8")
    (tmp_path / "temporal.toml").write_text(re.sub("day_first = false", "day_first = true", table))
    assert load_dates(Mappings.read(tmp_path)).read(MODIFIER, "03/04/2006", NOTE_DAY).date == "2006-04-03"
    assert read("03/04/2006").date == "2006-03-04"


def test_day_of():
    assert day_of("2011-03-05T08:00:00") == NOTE_DAY
    assert [day_of(time) for time in (None, "2011", "2011-03", "2011-13-01")] == [None] * 4
