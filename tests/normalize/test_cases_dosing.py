"""Doses, frequencies, routes, durations and times: what words become, from cases/dosing.toml and cases/dates.toml."""

from __future__ import annotations

import json
import re
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from kiwi_fhir.fhir import BundleWriter, ModelInfo, check_bundle, to_json
from kiwi_fhir.normalize import Normalizer
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import MENTION_LABELS, Document, Interval, Mention, Modifier, Note, Ratio, Span

HERE = Path(__file__).parent / "cases"
DOSING = tomllib.loads((HERE / "dosing.toml").read_text(encoding="utf-8"))
DATES = tomllib.loads((HERE / "dates.toml").read_text(encoding="utf-8"))
DAY = "2011-03-05"
MODEL = ModelInfo("kiwi-test", "1", "0")
RECORDED = "2026-01-31T00:00:00Z"
MARK = re.compile(r"\{(\w+) ([^}]*)\}")
NORMALIZER = Normalizer()
WRITER = BundleWriter(MODEL, recorded=RECORDED)


def document_of(line: str, time: str | None = DAY) -> Document:
    """The document of a marked-up line with one mention, which holds all its modifiers."""
    text, end, spans = "", 0, []
    for found in MARK.finditer(line):
        text += line[end : found.start()]
        spans.append((found[1], Span(len(text), len(text) + len(found[2]))))
        text += found[2]
        end = found.end()
    text += line[end:]
    ((label, place),) = [item for item in spans if item[0] in MENTION_LABELS]
    modifiers = tuple(Modifier(kind, span) for kind, span in spans if kind not in MENTION_LABELS)
    return Document(Note("n1", text, patient_id="p1", time=time), (Mention(label, place, modifiers),), "test")


def fact_of(line: str, normalizer: Normalizer = NORMALIZER, time: str | None = DAY):
    (fact,) = normalizer.facts(document_of(line, time))
    return fact


def amount(value) -> str:
    """A quantity, interval or ratio as the tables write it."""
    if isinstance(value, Ratio):
        return f"{amount(value.numerator)} / {amount(value.denominator)}"
    if isinstance(value, Interval):
        return f"{value.low.value}..{amount(value.high)}"
    code = f" = {value.code}" if value.code not in (None, value.unit) else ""
    return f"{value.value} {value.unit}{code}"


def how_often(dosage) -> str:
    """Timing, need and duration as the tables write them."""
    parts, timing = [], dosage.timing
    if timing is not None:
        if timing.frequency is not None:
            times = f"{timing.frequency}" + (f"..{timing.frequency_max}" if timing.frequency_max else "")
            period = f"{timing.period}" + (f"..{timing.period_max}" if timing.period_max else "")
            parts.append(f"{times} per {period} {timing.unit}")
        for word, codes in (("at", timing.when), ("on", timing.days)):
            if codes:
                parts.append(f"{word} {', '.join(codes)}")
        if timing.count is not None:
            parts.append(f"count {timing.count}")
    if dosage.as_needed:
        parts.append("prn" + (f": {dosage.as_needed_for}" if dosage.as_needed_for else ""))
    for word, value in (("for", dosage.duration), ("over", dosage.given_over)):
        if value is not None:
            code = value.high.code if isinstance(value, Interval) else value.code
            parts.append(f"{word} {amount(value).split(' ')[0]} {code}")
    return " ".join(parts)


def only(dosages):
    (dosage,) = dosages
    return dosage


def read_amount(words):
    dosage = only(fact_of(f"{{drug Drug}} {{dosage {words}}}").dosages)
    return amount(dosage.amount) if dosage.amount is not None else ""


def read_strength(words):
    dosage = only(fact_of(f"{{drug Drug}} {{strength {words}}}").dosages)
    if dosage.strengths:
        return " + ".join(map(amount, dosage.strengths))
    return amount(dosage.strength) if dosage.strength is not None else ""


def read_frequency(words):
    return how_often(only(fact_of(f"{{drug Drug}} {{frequency {words}}}").dosages))


def read_duration(words):
    return how_often(only(fact_of(f"{{drug Drug}} {{duration {words}}}").dosages))


def read_route(words):
    (route,) = only(fact_of(f"{{drug Drug}} {{route {words}}}").dosages).routes
    return route.coding.display.split(" ")[0] if route.coding is not None else ""


def read_form(words):
    return "; ".join(form.text for form in fact_of(f"{{drug Drug}} {{form {words}}}").forms)


def read_line(line):
    """Each dosage of the FHIR resource in words: what is a dose there, how often, which route."""
    document = document_of(line)
    (fact,) = NORMALIZER.facts(document)
    bundle, failures = WRITER.bundle(document, [fact])
    assert (failures, check_bundle(bundle)) == ([], [])
    found = []
    for dosage, written in zip(fact.dosages, bundle["entry"][0]["resource"]["dosage"], strict=True):
        parts = []
        for key in written.get("doseAndRate", [{}])[0]:
            value = dosage.amount if dosage.amount is not None else dosage.strength
            parts.append(f"{key[:4]} {amount(value)}")
        parts.append(how_often(dosage))
        parts.extend(route.coding.display.split(" ")[0] if route.coding else route.text for route in dosage.routes)
        found.append(", ".join(part for part in parts if part) or "text")
    return found


def when(moment) -> str:
    """A moment as the tables write it."""
    if moment.age is not None:
        return amount(moment.age).split(" ")[0] + f" {getattr(moment.age, 'high', moment.age).code}"
    if moment.kind in ("past", "present"):
        return moment.kind
    date = moment.date if moment.until is None else f"{moment.date}..{moment.until}"
    parts = [date, f"({moment.resolved})" if moment.resolved else None, "later" if moment.future else None]
    return " ".join(part for part in parts if part)


def read_time(words, *, label="problem", normalizer=NORMALIZER, time=DAY, before=""):
    moments = fact_of(f"{before}{{{label} Something}} {{temporal {words}}}", normalizer, time).moments
    return when(moments[0]) if moments else "none"


@pytest.fixture(scope="module")
def day_first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    table = Mappings.read().path("temporal").read_text(encoding="utf-8")
    (folder / "temporal.toml").write_text(table.replace("day_first = false", "day_first = true"), encoding="utf-8")
    return Normalizer(Mappings.read(folder))


READERS = {
    "amount": read_amount,
    "strength": read_strength,
    "frequency": read_frequency,
    "duration": read_duration,
    "route": read_route,
    "form": read_form,
    "lines": read_line,
    "date": read_time,
    "date_of_a_shifted_note": lambda words: read_time(words, time="2151-03-05"),
    "date_without_a_note": lambda words: read_time(words, time=None),
    "date_without_a_year": read_time,
    "relative": read_time,
    "of_a_treatment": lambda words: read_time(words, label="treatment"),
    "future": read_time,
    "history": read_time,
    "age": read_time,
    "age_of_a_relative": lambda words: read_time(words, before="{subject Mother} "),
}


def marked(table, name, words, known):
    """A case as a pytest parameter, marked where it is a known failure."""
    reason = known.get(f"{name}: {words}")
    marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
    return pytest.param(name, words, table[name][words], id=f"{name}-{words}", marks=marks)


def cases(table):
    """The word cases of a file."""
    return [
        marked(table, name, words, table["known_failures"])
        for name in table
        if name in READERS
        for words in table[name]
    ]


@pytest.mark.parametrize(("name", "words", "expected"), [*cases(DOSING), *cases(DATES)])
def test_words(name, words, expected):
    assert READERS[name](words) == expected


@pytest.mark.parametrize(("words", "expected"), DATES["date_day_first"].items())
def test_dates_with_the_day_first(day_first, words, expected):
    assert read_time(words, normalizer=day_first) == expected


def check(expected, found, path):
    """`expected` is in `found`: objects by the keys named, null for what must not be there, all else alike."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            if value is None:
                assert key not in found, f"{path}.{key}"
            else:
                assert key in found, f"{path}.{key}"
                check(value, found[key], f"{path}.{key}")
    elif isinstance(expected, list):
        assert len(expected) == len(found), path
        for index, (left, right) in enumerate(zip(expected, found, strict=True)):
            check(left, right, f"{path}[{index}]")
    else:
        assert expected == found, path


@pytest.fixture(scope="module")
def resolving(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    table = Mappings.read().path("fhir").read_text(encoding="utf-8")
    assert 'relative = "text"' in table
    (folder / "fhir.toml").write_text(table.replace('relative = "text"', 'relative = "resolve"'), encoding="utf-8")
    return BundleWriter(MODEL, recorded=RECORDED, mappings=Mappings.read(folder))


@pytest.mark.parametrize("case", [*DOSING["fhir"], *DATES["fhir"]], ids=lambda case: case["line"])
def test_lines_as_fhir(resolving, case):
    document = document_of(case["line"])
    writer = resolving if case.get("resolve") else WRITER
    bundle, failures = writer.bundle(document, NORMALIZER.facts(document))
    assert (failures, check_bundle(bundle)) == ([], [])
    resource = json.loads(to_json(bundle), parse_float=Decimal)["entry"][0]["resource"]
    expected = json.loads(case["json"], parse_float=Decimal)
    check(expected, resource, resource["resourceType"])
    for given, written in zip(expected.get("dosage", ()), resource.get("dosage", ()), strict=True):
        assert given == written


def test_whatever_is_read_is_valid_fhir():
    """Timing's invariants and bindings hold for every frequency and duration of the table, and for both together."""
    for frequency in DOSING["frequency"]:
        for duration in ("x 10 days", "x3", "over 30 minutes", "over 30-60 minutes", "until seen"):
            document = document_of(f"{{drug Drug}} {{strength 5 mg}} {{frequency {frequency}}} {{duration {duration}}}")
            bundle, failures = WRITER.bundle(document, NORMALIZER.facts(document))
            assert (failures, check_bundle(bundle)) == ([], []), (frequency, duration)


def test_a_known_failure_is_a_case_and_there_are_few():
    for table in (DOSING, DATES):
        every = {f"{name}: {words}" for name in table if name in READERS for words in table[name]}
        assert set(table["known_failures"]) <= every
        assert len(table["known_failures"]) <= 0.05 * len(every)
