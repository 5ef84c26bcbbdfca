"""How a drug is taken: the modifiers of a drug, grouped into dosages and read.

A drug's modifiers are taken in text order; one that can't be said together with what a dosage already says (a second
strength, another frequency) begins the next dosage. So a taper is several dosages, and "q4h, p.r.n." is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

from kiwi_fhir.normalize.drug.strength import Strength, Strengths, strengths_of
from kiwi_fhir.normalize.drug.timing import Frequencies, Frequency
from kiwi_fhir.normalize.result.quantity import Units
from kiwi_fhir.normalize.text.numbers import NUMBER, read_number
from kiwi_fhir.normalize.text.words import Phrases, Vocabulary, load_vocabulary, one_line, plain
from kiwi_fhir.tables import ListOf, Mappings, Schema
from kiwi_fhir.types import Dosage, Interval, Mention, Modifier, ModifierLabel, Quantity, Ratio, Span, Term, Timing

_SCHEMA: dict[str, Schema] = dict.fromkeys(("combinations", "gases", "not_forms", "devices"), ListOf(str))
_DOSING: frozenset[ModifierLabel] = frozenset({"strength", "dosage", "duration", "frequency", "route"})
_NEXT_TO = re.compile(r"[\s,]{0,3}")
_TWICE_SAID = re.compile(rf"(?P<first>{NUMBER})\s?\((?P<second>{NUMBER})\)\s?", re.IGNORECASE)  # "two (2) tablets"
_FROM, _TO = re.compile(r"\bfrom\s+$", re.IGNORECASE), re.compile(r"[\s,]*\bto\s+$", re.IGNORECASE)
_ALTERNATING = re.compile(r"\balternat", re.IGNORECASE)  # "5 mg alternating with 7.5 mg"
_A_NUMBER = re.compile(rf"(?<!\w){NUMBER}(?!\w)", re.IGNORECASE)
_DISPENSED = re.compile(r"#\s?\d+\s*")
_WAY_BACK = 12  # characters before a modifier that may say how it is meant: "infused over [one hour]"
_SOLID = frozenset({"tablet", "capsule", "pill"})
_ORAL = "C38288"


@dataclass(slots=True)
class _Group:
    """The modifiers of one dosage; `said` holds the words of each label that is said once, with their modifier."""

    modifiers: list[Modifier] = field(default_factory=list)
    said: dict[ModifierLabel, tuple[Modifier, str]] = field(default_factory=dict)
    frequency: Frequency | None = None
    routes: list[Term] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Dosages:
    """Reads the modifiers of a drug."""

    units: Units
    frequencies: Frequencies
    routes: Vocabulary
    strengths: Strengths
    not_forms: Phrases
    devices: Phrases
    gases: frozenset[str]

    def read(
        self, text: str, mention: Mention, reasons: Mapping[Span, str]
    ) -> tuple[tuple[Dosage, ...], tuple[Term, ...], frozenset[Modifier]]:
        """The dosages of a drug, its forms, and the `temporal` modifiers that were dosing ("at bedtime").

        `text` is the note's; `reasons` gives the reason of an as-needed frequency that stands behind its span.
        """
        forms: list[Term] = []
        timed: set[Modifier] = set()
        groups = [_Group()]
        for modifier in mention.modifiers:
            words = one_line(modifier.span.of(text))
            if modifier.label == "form":
                self._add_form(text, groups[-1], forms, modifier, words)
            elif modifier.label in _DOSING or self._is_dosing(text, modifier, groups[-1]):
                if modifier.label == "temporal":
                    timed.add(modifier)
                self._add(text, groups, modifier, words)
        drug = mention.span.of(text)
        said = [group for group in groups if group.modifiers]
        in_words: set[int] = set()
        for index, (group, following) in enumerate(pairwise(said)):
            between = text[group.modifiers[-1].span.end : following.modifiers[0].span.start]
            if _ALTERNATING.search(between):
                in_words |= {index, index + 1}
            elif _is_former(text, group, between):
                in_words.add(index)
        found = tuple(
            _in_words(text, group) if index in in_words else self._dosage(text, drug, group, forms, reasons)
            for index, group in enumerate(said)
        )
        return found, tuple(forms), frozenset(timed)

    def _add_form(self, text: str, group: _Group, forms: list[Term], modifier: Modifier, words: str) -> None:
        route = self.routes.find(words)  # "IV" is no form
        form = _DISPENSED.sub("", words, count=1)  # "#30 pills" is how many were dispensed
        if route is not None:
            group.routes.append(Term(modifier, words, route))
            is_form = self.devices.find(words) is not None
        else:
            is_form = bool(form) and self.not_forms.find(form) is None
        if is_form:
            forms.append(Term(modifier, form))
        if not is_form or route is not None or _follows(text, modifier, group):
            group.modifiers.append(modifier)  # "2 tablets": the words of the dose

    def _is_dosing(self, text: str, modifier: Modifier, group: _Group) -> bool:
        """Whether a `temporal` modifier that follows a dose at once is the time of day at which it is taken."""
        if modifier.label != "temporal" or not _follows(text, modifier, group):
            return False
        timing = self.frequencies.read(modifier.span.of(text)).timing
        return timing is not None and timing.frequency is not None

    def _add(self, text: str, groups: list[_Group], modifier: Modifier, words: str) -> None:
        group = groups[-1]
        if modifier.label in ("frequency", "temporal"):
            frequency = self.frequencies.read(words)
            together = frequency if group.frequency is None else _together(group.frequency, frequency)
            if together is None and _follows(text, modifier, group) and group.modifiers[-1].label == "frequency":
                whole = Span(group.modifiers[-1].span.start, modifier.span.end)  # "b.i.d." "with meals"
                joined = self.frequencies.read(whole.of(text))
                together = joined if joined.timing is not None else None
            if together is None:
                group = _Group()
                groups.append(group)
            group.frequency = together or frequency
        elif modifier.label == "route":
            group.routes.append(Term(modifier, words, self.routes.find(words)))
        else:
            if modifier.label in group.said and group.said[modifier.label][1] != words:
                group = _Group()
                groups.append(group)
            group.said.setdefault(modifier.label, (modifier, words))
        group.modifiers.append(modifier)

    def _dosage(self, text: str, drug: str, group: _Group, forms: list[Term], reasons: Mapping[Span, str]) -> Dosage:
        frequency = group.frequency or Frequency(None)
        amount, frequency = self._amount(drug, group, forms, frequency)
        strength, frequency = self._strength(drug, group, frequency)
        timing, duration, over = self._lasting(text, group, frequency)
        reason = frequency.as_needed_for or next(
            (reasons[modifier.span] for modifier in group.modifiers if modifier.span in reasons), None
        )
        words = [one_line(modifier.span.of(text)) for modifier in group.modifiers]
        if reason is not None and frequency.as_needed_for is None:
            words.append(f"for {reason}")
        held = strength.amount
        if isinstance(held, Quantity) and amount == Strength() and _is_several(group):
            held = Ratio(held, Quantity(Decimal(1)))  # "20 mg, two b.i.d.": 20 mg is not the dose
        taken = amount.amount if isinstance(amount.amount, (Quantity, Interval)) else None
        if isinstance(taken, Quantity) and (taken.code == "%" or (taken.code == "L" and plain(drug) in self.gases)):
            taken = None  # a percentage is never a dose
        return Dosage(
            text=" ".join(words),
            amount=taken,
            strength=held,
            timing=timing,
            as_needed=frequency.as_needed,
            as_needed_for=reason,
            duration=duration,
            routes=tuple(_without_doubt(group.routes, taken, forms)),
            strengths=strength.combined or amount.combined,
            given_over=over,
        )

    def _amount(self, drug: str, group: _Group, forms: list[Term], frequency: Frequency) -> tuple[Strength, Frequency]:
        """What is taken each time; "one q.d." also says how often, "5/325 mg" is a strength."""
        modifier, words = group.said.get("dosage", (None, ""))
        if modifier is None:
            return Strength(), frequency
        unit = self._form_unit(forms, modifier.span.end)
        words = _TWICE_SAID.sub(_said_once, words, count=1)
        found = Strength(self.units.amount(words, unit=unit))
        if found.amount is None or (isinstance(found.amount, Interval) and _is_measured(found.amount)):
            found = self.strengths.read(words, drug)
        if found.amount is None and not found.combined and group.frequency is None:
            for head, often in self._split(words):
                amount = self.units.amount(head, unit=unit)
                if amount is not None or _A_NUMBER.fullmatch(head):
                    return Strength(amount), often
        return found, frequency

    def _strength(self, drug: str, group: _Group, frequency: Frequency) -> tuple[Strength, Frequency]:
        """What a unit of the product holds; "20 mg daily" also says how often."""
        _, words = group.said.get("strength", (None, ""))
        found = self.strengths.read(words, drug) if words else Strength()
        if words and found.amount is None and not found.combined and group.frequency is None:
            for head, often in self._split(words):
                found = self.strengths.read(head, drug)
                if found.amount is not None or found.combined:
                    return found, often
        return found, frequency

    def _split(self, words: str) -> Iterable[tuple[str, Frequency]]:
        """Words cut in two where what follows is a frequency."""
        parts = words.split(" ")
        if len(parts) <= 8:
            for cut in range(1, len(parts)):
                often = self.frequencies.read(" ".join(parts[cut:]))
                if often.read:
                    yield " ".join(parts[:cut]), often

    def _lasting(
        self, text: str, group: _Group, frequency: Frequency
    ) -> tuple[Timing | None, Quantity | Interval | None, Quantity | Interval | None]:
        """The timing (with the number of doses), how long it goes on, and how long each dose takes."""
        modifier, words = group.said.get("duration", (None, ""))
        if modifier is None:
            return frequency.timing, frequency.duration, None
        before = text[max(0, modifier.span.start - _WAY_BACK) : modifier.span.start]
        duration = self.frequencies.duration(words, before=before)
        over = self.frequencies.given_over(words, before=before)
        counted = self.frequencies.counted(words, frequency.timing)
        return counted or frequency.timing, duration or frequency.duration, over

    def _form_unit(self, forms: Iterable[Term], position: int) -> str | None:
        """What "1" counts: the form that stands next behind it, else the nearest one before."""
        nearest = sorted(forms, key=lambda form: (form.modifier.span.start < position, abs(_distance(form, position))))
        for form in nearest:
            words = form.text.lower().split()
            for words_of_unit in (" ".join(words), words[-1], words[0]):
                if words_of_unit in self.units.doses:
                    return words_of_unit
        return None


def load_dosages(mappings: Mappings, units: Units, frequencies: Frequencies) -> Dosages:
    """dosing.toml and routes.toml. Raises MappingError."""
    table = mappings.table("dosing", _SCHEMA)
    return Dosages(
        units=units,
        frequencies=frequencies,
        routes=load_vocabulary("routes", mappings),
        strengths=strengths_of(units, table["combinations"]),
        not_forms=Phrases.of({"not": table["not_forms"]}),
        devices=Phrases.of({"device": table["devices"]}),
        gases=frozenset(plain(word) for word in table["gases"]),
    )


def _follows(text: str, modifier: Modifier, group: _Group) -> bool:
    """Whether only spaces or a comma lie between the group's last modifier and this one."""
    if not group.modifiers:
        return False
    return _NEXT_TO.fullmatch(text, group.modifiers[-1].span.end, modifier.span.start) is not None


def _distance(form: Term, position: int) -> int:
    return form.modifier.span.start - position


def _in_words(text: str, group: _Group) -> Dosage:
    """A dosage of which only the words are certain."""
    return Dosage(text=" ".join(one_line(modifier.span.of(text)) for modifier in group.modifiers))


def _is_former(text: str, group: _Group, between: str) -> bool:
    """Whether the dose was left for the next one: "from 25 mg to 50 mg"."""
    start = group.modifiers[0].span.start
    return bool(_FROM.search(text[max(0, start - _WAY_BACK) : start]) and _TO.fullmatch(between))


def _said_once(found: re.Match[str]) -> str:
    """ "two (2) tablets" as "2 tablets"; as it is where the numbers differ, which no rule reads."""
    first, second = read_number(found["first"]), read_number(found["second"])
    return f"{found['first']} " if first is not None and first == second else found[0]


def _is_several(group: _Group) -> bool:
    """Whether the words of the dose, which were not read, may count several of what the strength is of."""
    _, words = group.said.get("dosage", (None, ""))
    return any(read_number(number) != 1 for number in _A_NUMBER.findall(words))


def _is_measured(amount: Interval) -> bool:
    return amount.low is not None and amount.low.code is not None


def _without_doubt(routes: list[Term], amount: Quantity | Interval | None, forms: list[Term]) -> Iterable[Term]:
    """The routes, "OD" without a code beside a tablet or p.o.: it is the right eye, or once daily."""
    counted = amount.low if isinstance(amount, Interval) else amount
    solid = counted is not None and counted.unit in _SOLID
    solid = solid or any(form.text.lower().rstrip("s") in _SOLID for form in forms)
    solid = solid or any(route.coding is not None and route.coding.code == _ORAL for route in routes)
    for route in routes:
        yield Term(route.modifier, route.text) if solid and plain(route.text) == "od" else route


def _together(first: Frequency, second: Frequency) -> Frequency | None:
    """Both as one ("q4h" and "prn"), None where they differ."""
    if not (first.read and second.read):
        return None
    if first.timing is not None and second.timing is not None and first.timing != second.timing:
        return None
    return Frequency(
        first.timing or second.timing,
        first.as_needed or second.as_needed,
        first.as_needed_for or second.as_needed_for,
        duration=first.duration or second.duration,
    )
