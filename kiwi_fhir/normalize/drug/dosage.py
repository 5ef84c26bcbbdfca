"""How a drug is taken: its modifiers, without those of old doses (steps.py), in groups (groups.py), as dosages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise

from kiwi_fhir.documents.lines import one_line
from kiwi_fhir.normalize.drug.groups import Group, Grouping
from kiwi_fhir.normalize.drug.owners import DOSING
from kiwi_fhir.normalize.drug.sig import Sigs, sigs_of
from kiwi_fhir.normalize.drug.steps import CHANGE, Changes, changes_of, words_of
from kiwi_fhir.normalize.drug.strength import Strength, Strengths, strengths_of
from kiwi_fhir.normalize.drug.timing import Frequencies, Frequency
from kiwi_fhir.normalize.result.quantity import Units
from kiwi_fhir.normalize.text.numbers import NUMBER, read_number
from kiwi_fhir.normalize.text.words import Phrases, load_vocabulary, plain
from kiwi_fhir.tables import ListOf, Mappings, Schema
from kiwi_fhir.types import Dosage, Interval, Mention, Modifier, Quantity, Ratio, Span, Term, Timing

_SCHEMA: dict[str, Schema] = {
    **dict.fromkeys(("combinations", "gases", "not_forms", "devices"), ListOf(str)),
    **dict.fromkeys(("once_daily", "fillers", "dispensed", "form_words"), ListOf(str)),
    "change": CHANGE,
}
_TWICE_SAID = re.compile(rf"(?P<first>{NUMBER})\s?\((?P<second>{NUMBER})\)\s?", re.IGNORECASE)  # "two (2) tablets"
_ALTERNATING = re.compile(r"\balternat|^[\s,]*or\s*$", re.IGNORECASE)  # "5 mg alternating with 7.5 mg", "5 mg or 10 mg"
_A_NUMBER = re.compile(rf"(?<!\w){NUMBER}(?!\w)", re.IGNORECASE)
_WAY_BACK = 12  # characters before a modifier that may say how it is meant: "infused over [one hour]"
_DILUTED = re.compile(r"\bin\b", re.IGNORECASE)
_LEAST_DILUTION = 25  # mL: "4.5 g in 250 mL" is a dose in its infusion, "40 mg in 0.4 mL" what a syringe holds
_FORM_WORD = re.compile(r"[\w½¼¾]+")
_SOLID = frozenset({"tablet", "capsule", "pill", "caplet", "softgel"})
_WEIGHTS = frozenset({"g", "mg", "ug", "meq", "[iU]"})
_ORAL, _EYE = "C38288", "C38287"
_IN_THE_EYE = frozenset({"drop", "drops", "gtt", "gtts", "ointment", "solution", "ophthalmic solution", "eye drops"})


@dataclass(frozen=True, slots=True)
class Dosages:
    """Reads the modifiers of a drug."""

    units: Units
    frequencies: Frequencies
    strengths: Strengths
    grouping: Grouping
    gases: frozenset[str]
    once_daily: frozenset[str]
    form_words: frozenset[str]
    changes: Changes
    sigs: Sigs

    def read(
        self, text: str, lowered: str, mention: Mention, sentence: Span, reasons: Mapping[Span, str]
    ) -> tuple[tuple[Dosage, ...], tuple[Term, ...], frozenset[Modifier]]:
        """The dosages of a drug, its forms, and the `temporal` modifiers that were dosing ("at bedtime").

        `text` is the note's, `lowered` in lower case, `sentence` the drug's; `reasons` gives the reason of an as-needed
        frequency that stands behind its span.
        """
        dosing = [held for held in mention.modifiers if held.label in DOSING or held.label == "temporal"]
        said = self.changes.sort(lowered, mention, dosing, sentence)
        grouped = self.grouping.read(text, said.now)
        drug, read, forms = mention.span.of(text), grouped.groups, grouped.forms
        in_words: set[int] = set()
        for index, (group, following) in enumerate(pairwise(read)):
            between = text[group.modifiers[-1].span.end : following.modifiers[0].span.start]
            if _ALTERNATING.search(between):
                in_words |= {index, index + 1}
        found = [
            _in_words(text, group) if index in in_words else self._dosage(text, drug, group, forms, reasons)
            for index, group in enumerate(read)
        ]
        for span in said.largest:
            place = sum(group.modifiers[0].span.start < span.start for group in read)
            if place:
                found[place - 1] = replace(found[place - 1], text=f"{found[place - 1].text}, {one_line(span.of(text))}")
        found += [Dosage(text=one_line(span.of(text))) for span in said.steps]
        return tuple(found), tuple(forms), frozenset(grouped.timed)

    def _dosage(self, text: str, drug: str, group: Group, forms: list[Term], reasons: Mapping[Span, str]) -> Dosage:
        frequency = group.frequency or Frequency(None)
        amount, frequency = self._amount(drug, group, forms, frequency)
        strength, frequency = self._strength(drug, group, frequency)
        routes, daily = self._read_od(text, group, forms, amount, strength)
        if daily and frequency.timing is None:
            frequency = replace(frequency, timing=self.frequencies.read("daily").timing)
        timing, duration, over = self._lasting(text, group, frequency)
        reason = frequency.as_needed_for or next(
            (reasons[modifier.span] for modifier in group.modifiers if modifier.span in reasons), None
        )
        words = [one_line(modifier.span.of(text)) for modifier in group.modifiers]
        if reason is not None and frequency.as_needed_for is None:
            words.append(f"for {reason}")
        held = strength.amount
        taken = amount.amount if isinstance(amount.amount, (Quantity, Interval)) else None
        if amount == Strength() and isinstance(held, Quantity):
            if _is_several(group) or self._is_unread(text, group, forms):
                held = Ratio(held, Quantity(Decimal(1)))  # "20 mg, two b.i.d.": 20 mg is not the dose
        elif amount == Strength() and isinstance(held, Ratio) and _is_diluted(group, held):
            taken, held = held.numerator, None
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
            routes=tuple(routes),
            strengths=strength.combined or amount.combined,
            given_over=over,
        )

    def _amount(self, drug: str, group: Group, forms: list[Term], frequency: Frequency) -> tuple[Strength, Frequency]:
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

    def _strength(self, drug: str, group: Group, frequency: Frequency) -> tuple[Strength, Frequency]:
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
        self, text: str, group: Group, frequency: Frequency
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

    def _read_od(
        self, text: str, group: Group, forms: Iterable[Term], amount: Strength, strength: Strength
    ) -> tuple[list[Term], bool]:
        """The routes without an "OD" that says once daily, and whether there is one; in doubt it is only words."""
        others = [route for route in group.routes if plain(route.text) not in self.once_daily]
        said = [held for held in group.modifiers if plain(held.span.of(text)) in self.once_daily]
        if not said:
            return others, False
        taken = [part.low if isinstance(part, Interval) else part for part in (amount.amount, strength.amount)]
        quantities = [part for part in taken if isinstance(part, Quantity)]
        words = {form.text.lower() for form in forms} | {part.unit or "" for part in quantities}
        codes = {route.coding.code for route in others if route.coding is not None}
        if _EYE in codes or not _IN_THE_EYE.isdisjoint(words):
            return group.routes, False
        if _ORAL in codes or not _SOLID.isdisjoint(word.rstrip("s") for word in words):
            return others, True
        if any(part.code in _WEIGHTS for part in quantities):
            return others, True
        return group.routes, False

    def _is_unread(self, text: str, group: Group, forms: Iterable[Term]) -> bool:
        """Whether words between a strength and its form were not read: "100 mcg, [some] tablets"."""
        modifier, _ = group.said.get("strength", (None, ""))
        if modifier is None:
            return False
        end = modifier.span.end
        starts = [form.modifier.span.start for form in forms if form.modifier.span.start >= end]
        if not starts or any(end <= held.span.start < min(starts) for held in group.modifiers):
            return False
        words = _FORM_WORD.findall(text[end : min(starts)].lower())
        return not self.form_words.issuperset(words)

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
    routes = load_vocabulary("routes", mappings)
    strengths = strengths_of(units, table["combinations"])
    return Dosages(
        units=units,
        frequencies=frequencies,
        strengths=strengths,
        grouping=Grouping(
            frequencies, routes, Phrases.of({"not": table["not_forms"]}), Phrases.of({"device": table["devices"]})
        ),
        gases=frozenset(plain(word) for word in table["gases"]),
        once_daily=frozenset(plain(word) for word in table["once_daily"]),
        form_words=frozenset(plain(word) for word in table["form_words"]),
        changes=changes_of(table["change"]),
        sigs=sigs_of(
            strengths, frequencies, routes, [*table["fillers"], *words_of(table["change"])], table["dispensed"]
        ),
    )


def _distance(form: Term, position: int) -> int:
    return form.modifier.span.start - position


def _in_words(text: str, group: Group) -> Dosage:
    """A dosage of which only the words are certain."""
    return Dosage(text=" ".join(one_line(modifier.span.of(text)) for modifier in group.modifiers))


def _said_once(found: re.Match[str]) -> str:
    """ "two (2) tablets" as "2 tablets"; as it is where the numbers differ, which no rule reads."""
    first, second = read_number(found["first"]), read_number(found["second"])
    return f"{found['first']} " if first is not None and first == second else found[0]


def _is_several(group: Group) -> bool:
    """Whether the words of the dose, which were not read, may count several of what the strength is of."""
    _, words = group.said.get("dosage", (None, ""))
    return any(read_number(number) != 1 for number in _A_NUMBER.findall(words))


def _is_measured(amount: Interval) -> bool:
    return amount.low is not None and amount.low.code is not None


def _is_diluted(group: Group, held: Ratio) -> bool:
    """Whether a strength is a dose in its infusion: "4.5 g in 250 mL"."""
    _, words = group.said.get("strength", (None, ""))
    volume = held.denominator.value * (1000 if held.denominator.code == "L" else 1)
    return _DILUTED.search(words) is not None and held.denominator.code in ("mL", "L") and volume >= _LEAST_DILUTION
