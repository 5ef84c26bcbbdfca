"""Mentions to facts: one fact per mention, in text order.

A pure function of the document and the mapping files: no clock, no state, no order but the text's.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

from kiwi_fhir.normalize.assertion import load_assertions, strongest
from kiwi_fhir.normalize.dates import day_of, load_dates
from kiwi_fhir.normalize.dosage import Dosages
from kiwi_fhir.normalize.quantity import load_units
from kiwi_fhir.normalize.timing import load_frequencies
from kiwi_fhir.normalize.values import load_tests, load_values
from kiwi_fhir.normalize.words import Vocabulary, load_vocabulary, one_line
from kiwi_fhir.types import Assertion, Document, Fact, Mention, Modifier, ModifierLabel, Moment, Span, Term

_AFTER_PRN = re.compile(r"[.,]?(?P<word>\s+(?:for|if)(?:\s+(?:the|any|his|her))?)?\s+", re.IGNORECASE)
_AND = re.compile(r"\s*(?:,|and|or|and/or|/)\s+(?:(?:and|or)\s+)?", re.IGNORECASE)
_ENDED_ON = re.compile(r"\s*(?:(?:on|in|by|as of|since)\s*)?", re.IGNORECASE)
_ENDS = frozenset({"resolved", "remission"})


class Normalizer:
    """Makes facts with the words of the mapping files. Picklable; one instance serves any number of documents."""

    def __init__(self, tables_directory: Path | None = None) -> None:
        """Load and check the mapping files (those of `tables_directory` first). Raises MappingError."""
        units = load_units(tables_directory)
        self._assertions = load_assertions(tables_directory)
        self._dates = load_dates(tables_directory)
        self._values = load_values(tables_directory, units)
        self._tests = load_tests(tables_directory)
        self._severities = load_vocabulary("severity", tables_directory)
        self._courses = load_vocabulary("course", tables_directory)
        self._frequencies = load_frequencies(tables_directory, units)
        self._dosages = Dosages(units, self._frequencies, load_vocabulary("routes", tables_directory))

    def facts(self, document: Document) -> list[Fact]:
        """One fact per mention of `document`, in its order."""
        text, note_date = document.note.text, day_of(document.note.time)
        reasons, awaited = self._reasons(document)
        facts: list[Fact] = []
        for mention in document.mentions:
            if mention.label == "problem":
                fact = self._problem(text, mention, note_date, awaited=mention.span in awaited)
            elif mention.label == "test":
                fact = self._test(text, mention, note_date)
            elif mention.label == "drug":
                fact = self._drug(text, mention, note_date, reasons)
            else:
                fact = self._treatment(text, mention, note_date)
            facts.append(fact)
        return facts

    def _problem(self, text: str, mention: Mention, note_date: date | None, *, awaited: bool) -> Fact:
        """`awaited` is a problem that a drug is taken as needed for."""
        rules = self._assertions
        family = mention.section in rules.family_sections
        relatives: list[Term] = []
        patient = False
        for modifier in _all(mention, "subject"):
            found = rules.relatives(modifier, _words(text, modifier.span), family=family)
            relatives += found
            patient = patient or not found
        doubts = {rules.doubt(_words(text, modifier.span)) for modifier in _all(mention, "uncertain")}
        doubt = next((doubt for doubt in ("unlikely", "differential", "possible") if doubt in doubts), None)
        conditions = {rules.condition(_words(text, modifier.span)) for modifier in _all(mention, "condition")}
        if awaited:
            conditions.add("conditional")
        condition = next((value for value in ("hypothetical", "conditional") if value in conditions), None)
        denied = any(self._dates.denies(_words(text, modifier.span)) for modifier in _all(mention, "temporal"))
        negated = denied or any(_all(mention, "negation"))
        courses = self._terms(text, mention, "course", self._courses)
        moments = self._moments(text, mention, note_date)
        return Fact(
            mention=mention,
            text=_words(text, mention.span),
            assertion=strongest(
                relative=bool(relatives) or (family and not patient),
                condition=condition,
                doubt=doubt,
                negated=negated,
            ),
            negated=negated,
            doubt=doubt,
            past=self._is_past(text, mention, moments),
            relatives=tuple(relatives),
            severities=self._terms(text, mention, "severity", self._severities),
            courses=courses,
            body_sites=self._terms(text, mention, "bodyloc", None),
            moments=tuple(_with_end(text, moment, courses) for moment in moments),
        )

    def _test(self, text: str, mention: Mention, note_date: date | None) -> Fact:
        words = _words(text, mention.span)
        pressure = self._tests.is_blood_pressure(words)
        measured = _all(mention, "labvalue")
        normal = [modifier for modifier in measured[1:] if self._is_range_beside_a_value(text, modifier)]
        values = tuple(
            self._values.read(modifier, _words(text, modifier.span), blood_pressure=pressure)
            for modifier in measured
            if modifier not in normal
        )
        ranges = tuple(
            self._values.reference_range(modifier, _words(text, modifier.span))
            for modifier in (*_all(mention, "reference_range"), *normal)
        )
        negations = [
            self._assertions.negation_kind(_words(text, modifier.span)) for modifier in _all(mention, "negation")
        ]
        negative = "negative" in negations or ("not-performed" not in negations and self._tests.is_finding(words))
        moments = self._moments(text, mention, note_date)
        return Fact(
            mention=mention,
            text=words,
            assertion=self._plain(mention, negated=bool(negations)),
            negated=bool(negations),
            past=_is_past(moments),
            moments=moments,
            values=values,
            reference_ranges=ranges,
            category=self._tests.category(words),
            negative_finding=bool(negations) and not values and negative,
        )

    def _is_range_beside_a_value(self, text: str, modifier: Modifier) -> bool:
        """Whether a test's second value is its normal range: "133 mmol/L (135-145)".

        The corpus that the default model learned from has no reference ranges, so it takes them for values.
        """
        start = modifier.span.start
        opened = text[max(0, start - 2) : start].rstrip().endswith(("(", "[")) or text[start] in "(["
        interval = self._values.reference_range(modifier, _words(text, modifier.span)).interval if opened else None
        return interval is not None and interval.low is not None and interval.high is not None

    def _drug(self, text: str, mention: Mention, note_date: date | None, reasons: dict[Span, str]) -> Fact:
        dosages, forms, timed = self._dosages.read(text, mention, reasons)
        moments = self._moments(text, mention, note_date, timed)
        fact = self._treatment(text, mention, note_date)
        return replace(fact, past=_is_past(moments), moments=moments, dosages=dosages, forms=forms)

    def _treatment(self, text: str, mention: Mention, note_date: date | None) -> Fact:
        rules = self._assertions
        kinds = [rules.negation_kind(_words(text, modifier.span)) for modifier in _all(mention, "negation")]
        interruption = next((kind for kind in kinds if kind == "stopped" or kind == "on-hold"), None)
        moments = self._moments(text, mention, note_date)
        return Fact(
            mention=mention,
            text=_words(text, mention.span),
            assertion=self._plain(mention, negated=bool(kinds)),
            negated=bool(kinds),
            past=self._is_past(text, mention, moments),
            interruption=rules.interruption(text, mention.span) if interruption is None else interruption,
            moments=moments,
        )

    def _is_past(self, text: str, mention: Mention, moments: tuple[Moment, ...]) -> bool:
        if mention.section in self._assertions.past_sections or _is_past(moments):
            return True
        return self._dates.is_history(text, mention.span.start)

    def _plain(self, mention: Mention, *, negated: bool) -> Assertion:
        """The assertion of a mention that allows no subject, condition or doubt; family history is a relative's."""
        return strongest(
            relative=mention.section in self._assertions.family_sections, condition=None, doubt=None, negated=negated
        )

    def _terms(
        self, text: str, mention: Mention, label: ModifierLabel, vocabulary: Vocabulary | None
    ) -> tuple[Term, ...]:
        terms = []
        for modifier in _all(mention, label):
            words = _words(text, modifier.span)
            terms.append(Term(modifier, words, vocabulary.find(words) if vocabulary is not None else None))
        return tuple(terms)

    def _moments(
        self, text: str, mention: Mention, note_date: date | None, timed: frozenset[Modifier] = frozenset()
    ) -> tuple[Moment, ...]:
        return tuple(
            self._dates.read(modifier, _words(text, modifier.span), note_date)
            for modifier in _all(mention, "temporal")
            if modifier not in timed
        )

    def _reasons(self, document: Document) -> tuple[dict[Span, str], set[Span]]:
        """What as-needed drugs are taken for where it is a problem behind the frequency ("prn for nausea and pain").

        Gives the words by the frequency's span, and the spans of the problems, which are awaited and not there.
        """
        text = document.note.text
        problems = {mention.span.start: mention for mention in document.mentions if mention.label == "problem"}
        reasons: dict[Span, str] = {}
        awaited: set[Span] = set()
        for mention in document.mentions:
            if mention.label != "drug" or not problems:
                continue
            for modifier in _all(mention, "frequency"):
                frequency = self._frequencies.read(modifier.span.of(text))
                gap = _AFTER_PRN.match(text, modifier.span.end)
                problem = problems.get(gap.end()) if gap is not None else None
                if not frequency.as_needed or frequency.as_needed_for or gap is None or problem is None:
                    continue
                # Without "for" a capital begins something else: "p.r.n. Hypertension is stable."
                if not gap["word"] and ("\n" in gap[0] or not text[problem.span.start].islower()):
                    continue
                end = problem.span.end
                while problem is not None:
                    awaited.add(problem.span)
                    end = problem.span.end
                    joint = _AND.match(text, end)
                    problem = problems.get(joint.end()) if joint is not None else None
                reasons[modifier.span] = _words(text, Span(gap.end(), end))
        return reasons, awaited


def _all(mention: Mention, label: ModifierLabel) -> list[Modifier]:
    if not mention.modifiers:
        return []
    return [modifier for modifier in mention.modifiers if modifier.label == label]


def _words(text: str, span: Span) -> str:
    return one_line(text[span.start : span.end])


def _is_past(moments: tuple[Moment, ...]) -> bool:
    return any(moment.kind == "past" for moment in moments)


def _with_end(text: str, moment: Moment, courses: tuple[Term, ...]) -> Moment:
    """`moment` with `is_end` where it follows a course that ends the problem ("resolved on May 3")."""
    start = moment.modifier.span.start
    for course in courses:
        end = course.modifier.span.end
        ends = course.coding is not None and course.coding.code in _ENDS
        if ends and end <= start and _ENDED_ON.fullmatch(text, end, start):
            return replace(moment, is_end=True)
    return moment
