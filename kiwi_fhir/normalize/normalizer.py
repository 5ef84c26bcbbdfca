"""Mentions to facts: one fact per mention, in text order.

A pure function of the document and the mapping files: no clock, no state, no order but the text's.
It is long since the fact of each kind of mention is made here, from what all other modules of this folder read.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

from kiwi_fhir.documents.headings import load_headings
from kiwi_fhir.documents.lines import one_line
from kiwi_fhir.documents.placing import placed
from kiwi_fhir.documents.structure import Structure, read_structure
from kiwi_fhir.normalize.ages import About
from kiwi_fhir.normalize.context.allergies import load_allergies
from kiwi_fhir.normalize.context.arbiter import Ruling, load_arbiter
from kiwi_fhir.normalize.context.assertion import load_assertions, strongest
from kiwi_fhir.normalize.context.history import load_history
from kiwi_fhir.normalize.context.plans import load_plans
from kiwi_fhir.normalize.context.substances import load_substances
from kiwi_fhir.normalize.dates import load_dates
from kiwi_fhir.normalize.drug.dosage import load_dosages
from kiwi_fhir.normalize.drug.owners import complete
from kiwi_fhir.normalize.drug.timing import load_frequencies
from kiwi_fhir.normalize.laterality import load_lateralities
from kiwi_fhir.normalize.result.kinds import load_tests
from kiwi_fhir.normalize.result.owners import Owned
from kiwi_fhir.normalize.result.quantity import load_units
from kiwi_fhir.normalize.result.results import load_results
from kiwi_fhir.normalize.stated_dates import with_stated_dates
from kiwi_fhir.normalize.terminology import Linker
from kiwi_fhir.normalize.terminology.identity import name_of
from kiwi_fhir.normalize.terminology.properties import load_properties
from kiwi_fhir.normalize.terminology.rules import load_rules
from kiwi_fhir.normalize.text.language import load_languages
from kiwi_fhir.normalize.text.words import Vocabulary, load_vocabulary, lower
from kiwi_fhir.normalize.wholes import named, whole
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import (
    Assertion,
    Coding,
    Document,
    Fact,
    Mention,
    Modifier,
    ModifierLabel,
    Moment,
    Span,
    Term,
    day_of,
)

_AFTER_PRN = re.compile(r"[.,]?(?P<word>\s+(?:for|if)(?:\s+(?:the|any|his|her))?)?\s+", re.IGNORECASE)
_AND = re.compile(r"\s*(?:,|and|or|and/or|/)\s+(?:(?:and|or)\s+)?", re.IGNORECASE)
_ENDED_ON = re.compile(r"\s*(?:(?:on|in|by|as of|since)\s*)?", re.IGNORECASE)
_SIDE = re.compile(r"\s+(?:side|family)\b", re.IGNORECASE)
_BLOOD = re.compile(r"\b(?:Blood|Serum|Plasma|[Pp]lasma)\b")
_ENDS = frozenset({"resolved", "remission"})


class Normalizer:
    """Makes facts with the words of the mapping files. Picklable; one instance serves any number of documents."""

    def __init__(self, mappings: Mappings | None = None, linker: Linker | None = None) -> None:
        """Load and check the mapping files (the packaged ones by default). Raises MappingError.

        `linker` gives the facts their codings; without one they have none.
        """
        self._linker = linker
        mappings = mappings or Mappings.read()
        self._rules = load_rules(mappings)
        self._properties = None if linker is None else load_properties(mappings)
        units = load_units(mappings)
        self._languages = load_languages(mappings)
        self._headings = load_headings(mappings)
        self._assertions = load_assertions(mappings)
        self._arbiter = load_arbiter(mappings)
        self._history = load_history(mappings)
        self._allergies = load_allergies(mappings)
        self._substances = load_substances(mappings)
        self._plans = load_plans(mappings)
        self._dates = load_dates(mappings)
        self._tests = load_tests(mappings)
        self._results = load_results(mappings, units, self._tests)
        self._severities = load_vocabulary("severity", mappings)
        self._courses = load_vocabulary("course", mappings)
        self._lateralities = load_lateralities(mappings)
        self._frequencies = load_frequencies(mappings, units)
        self._dosages = load_dosages(mappings, units, self._frequencies)

    def language(self, text: str) -> str | None:
        """The language of a note that is not in English and of which nothing is stated; None of all others."""
        return self._languages.foreign(text)

    def facts(self, document: Document) -> list[Fact]:
        """One fact per mention of `document`, in its order, and one per statement that there are no allergies.

        A note that is not in English states nothing. A mention that is nothing but a heading makes no fact; where the
        text has sections, they are the mentions' own. A fact's mention holds the modifiers that count, those of rules
        among them.
        """
        text, note_date = document.note.text, day_of(document.note.time)
        if self.language(text) is not None:
            return []
        lowered, structure = lower(text), read_structure(text, self._headings)
        document = named(whole(placed(document, structure), self._linker), self._linker)
        document = replace(document, mentions=tuple(self._lateralities.site(text, item) for item in document.mentions))
        document = replace(document, mentions=tuple(self._tests.retold(text, item) for item in document.mentions))
        document = complete(self._dosages.sigs, document, structure)
        document = self._substances.apart(document, lowered, structure, self._linker)
        document = self._history.mark(document, lowered, structure)
        owned = self._results.owners.settle(text, lowered, document.mentions, structure)
        document = with_stated_dates(replace(document, mentions=owned.mentions))
        rulings = self._arbiter.rule(text, lowered, document.mentions, structure)
        document = replace(document, mentions=tuple(ruling.mention for ruling in rulings))
        reasons = self._reasons(document)
        facts: list[Fact] = []
        linked = self._linker.codings(document) if self._linker is not None else [()] * len(document.mentions)
        for ruling, codings in zip(rulings, linked, strict=True):
            mention = ruling.mention
            if mention.label == "problem":
                fact = self._problem(text, mention, codings, note_date)
            elif mention.label == "test":
                if mention.span in owned.fluids:
                    codings = tuple(coding for coding in codings if _BLOOD.search(coding.display) is None)
                fact = self._fitted(self._test(text, mention, codings, note_date, owned))
            elif mention.label == "drug":
                fact = self._drug(text, lowered, mention, codings, note_date, reasons, structure)
            else:
                fact = self._treatment(text, mention, codings, note_date, structure)
            facts.append(_ruled(fact, ruling))
        for index, fact in enumerate(facts):
            plan = self._plans.read(lowered, facts, index, structure) if fact.mention.label != "problem" else None
            if plan is not None:
                facts[index] = replace(fact, plan=plan)
        facts = self._history.settle(lowered, facts, structure)
        facts = self._allergies.resolve(text, lowered, structure, facts)
        return [replace(fact, name=name_of(fact, self._rules)) for fact in facts]

    def _fitted(self, fact: Fact) -> Fact:
        """A test with the code that its results can have, or none, and with the code's category."""
        if not fact.codings or self._properties is None or self._linker is None:
            return fact
        category = self._tests.kind(fact.text).category or self._properties.category(fact.codings) or fact.category
        if category != fact.category:
            fact = replace(fact, category=category)
        wrong = self._properties.misfit(fact)
        if wrong is None:
            return fact
        other = self._properties.other(wrong, fact)
        return replace(fact, codings=() if other is None else self._linker.of_test(other))

    def _problem(self, text: str, mention: Mention, codings: tuple[Coding, ...], note_date: date | None) -> Fact:
        rules = self._assertions
        family = mention.section in rules.family_sections
        relatives: list[Term] = []
        patient = False
        for modifier in _all(mention, "subject"):
            side = _SIDE.match(text, modifier.span.end)  # "mother's side" is not the mother
            words = _words(text, Span(modifier.span.start, side.end()) if side is not None else modifier.span)
            found = rules.relatives(modifier, words, family=family)
            relatives += found
            patient = patient or not found
        named = [relative for relative in relatives if relative.coding not in (None, rules.family)]
        relatives = named or relatives  # of "young" and "brothers" the brothers
        doubts = {rules.doubt(_words(text, modifier.span)) for modifier in _all(mention, "uncertain")}
        doubt = next((doubt for doubt in ("unlikely", "differential", "possible") if doubt in doubts), None)
        denied = any(self._dates.denies(_words(text, modifier.span)) for modifier in _all(mention, "temporal"))
        negated = denied or any(_all(mention, "negation"))
        conditions = {rules.condition(_words(text, modifier.span)) for modifier in _all(mention, "condition")}
        if negated and conditions == {"circumstance"}:  # "no dyspnea on exertion" says nothing of rest
            conditions.add("conditional")
        condition = next((value for value in ("hypothetical", "conditional") if value in conditions), None)
        courses = self._terms(text, mention, "course", self._courses)
        kin = bool(relatives) or (family and not patient)
        history = bool(_all(mention, "temporal")) and (
            mention.section in rules.past_sections or self._dates.is_history(text, mention.span.start)
        )
        about: About = "relative" if kin else "other" if history else "problem"
        moments = self._moments(text, mention, note_date, about=about)
        return Fact(
            mention=mention,
            text=_words(text, mention.span),
            assertion=strongest(
                relative=kin,
                condition=condition,
                doubt=doubt,
                negated=negated,
            ),
            codings=codings,
            negated=negated,
            doubt=doubt,
            past=self._is_past(text, mention, moments),
            relatives=tuple(relatives),
            severities=self._terms(text, mention, "severity", self._severities),
            courses=courses,
            body_sites=self._lateralities.add(self._terms(text, mention, "bodyloc", None)),
            moments=tuple(_with_end(text, moment, courses) for moment in moments),
        )

    def _test(
        self, text: str, mention: Mention, codings: tuple[Coding, ...], note_date: date | None, owned: Owned
    ) -> Fact:
        words = _words(text, mention.span)
        kind = self._tests.kind(words)
        values, ranges, awaited = self._results.read(text, mention, kind, owned)
        negations = [
            self._assertions.negation_kind(_words(text, modifier.span)) for modifier in _all(mention, "negation")
        ]
        negative = "negative" in negations or ("not-performed" not in negations and kind.finding)
        moments = self._moments(text, mention, note_date)
        if len(values) > 1 or any(value.modifier.span in owned.rows for value in values):
            values = self._results.dated(text, values, moments, owned, lambda span: self._time(text, span, note_date))
        return Fact(
            mention=mention,
            text=words,
            assertion=self._plain(mention, negated=bool(negations)),
            codings=codings,
            negated=bool(negations),
            past=_is_past(moments),
            moments=moments,
            values=values,
            reference_ranges=ranges,
            category=kind.category or ("vital-signs" if mention.section in self._assertions.vital_sections else None),
            negative_finding=bool(negations) and not values and negative,
            plan="planned" if awaited and not values and not negations else None,
        )

    def _drug(
        self,
        text: str,
        lowered: str,
        mention: Mention,
        codings: tuple[Coding, ...],
        note_date: date | None,
        reasons: dict[Span, str],
        structure: Structure,
    ) -> Fact:
        sentence = structure.sentence_at(mention.span.start)
        dosages, forms, timed = self._dosages.read(text, lowered, mention, sentence, reasons)
        moments = self._moments(text, mention, note_date, timed)
        fact = self._treatment(text, mention, codings, note_date, structure)
        return replace(fact, past=_is_past(moments), moments=moments, dosages=dosages, forms=forms)

    def _treatment(
        self, text: str, mention: Mention, codings: tuple[Coding, ...], note_date: date | None, structure: Structure
    ) -> Fact:
        rules = self._assertions
        kinds = [rules.negation_kind(_words(text, modifier.span)) for modifier in _all(mention, "negation")]
        interruption = next((kind for kind in kinds if kind == "stopped" or kind == "on-hold"), None)
        if interruption is None:
            interruption = rules.interruption(text, mention.span, structure)
        moments = self._moments(text, mention, note_date)
        return Fact(
            mention=mention,
            text=_words(text, mention.span),
            assertion=self._plain(mention, negated=bool(kinds)),
            codings=codings,
            negated=bool(kinds),
            past=self._is_past(text, mention, moments),
            interruption=interruption,
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
        self,
        text: str,
        mention: Mention,
        note_date: date | None,
        timed: frozenset[Modifier] = frozenset(),
        about: About = "other",
    ) -> tuple[Moment, ...]:
        moments = []
        for modifier in _all(mention, "temporal"):
            words, start = _words(text, modifier.span), modifier.span.start
            if modifier not in timed and not self._dates.is_blank(words):
                before = text[max(0, start - 60) : start]
                moments.append(self._dates.read(modifier, words, note_date, before=before, about=about))
        return tuple(moments)

    def _time(self, text: str, span: Span, note_date: date | None) -> Moment:
        """A time that no modifier marks."""
        return self._dates.read(Modifier("temporal", span, rule=True), _words(text, span), note_date)

    def _reasons(self, document: Document) -> dict[Span, str]:
        """What as-needed drugs are taken for where it is a problem behind the frequency ("prn for nausea and pain").

        Gives the words by the frequency's span.
        """
        text = document.note.text
        problems = {mention.span.start: mention for mention in document.mentions if mention.label == "problem"}
        reasons: dict[Span, str] = {}
        for mention in document.mentions:
            if mention.label != "drug" or not problems:
                continue
            for modifier in _all(mention, "frequency"):
                frequency = self._frequencies.read(modifier.span.of(text))
                gap = _AFTER_PRN.match(text, modifier.span.end)
                problem = problems.get(gap.end()) if gap is not None else None
                if not frequency.as_needed or frequency.as_needed_for or gap is None or problem is None:
                    continue
                # Without "for" a capital begins something else ("p.r.n. Hypertension is stable."), but for "PRN SOB".
                begins = text[problem.span.start].islower() or (
                    problem.span.of(text).isupper() and modifier.span.of(text) == "PRN" and gap[0][0] == " "
                )
                if not gap["word"] and ("\n" in gap[0] or not begins):
                    continue
                end = problem.span.end
                while problem is not None:
                    end = problem.span.end
                    joint = _AND.match(text, end)
                    problem = problems.get(joint.end()) if joint is not None else None
                reasons[modifier.span] = _words(text, Span(gap.end(), end))
        return reasons


def _ruled(fact: Fact, ruling: Ruling) -> Fact:
    """`fact` as the arbiter ruled on its mention."""
    assertion = fact.assertion
    if ruling.relative:
        assertion = "associated_with_someone_else"
    elif ruling.frame is not None and not ruling.there and assertion != "associated_with_someone_else":
        assertion = "conditional" if ruling.frame == "as-needed" else "hypothetical"
    if assertion == fact.assertion and not ruling.because:
        return fact
    return replace(fact, assertion=assertion, frame=ruling.frame, because=ruling.because)


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
