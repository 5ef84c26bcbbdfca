"""How a drug is taken: the modifiers of a drug, grouped into dosages and read.

A drug's modifiers are taken in text order; one that can't be said together with what a dosage already says (a second
strength, another frequency) begins the next dosage. So a taper is several dosages, and "q4h, p.r.n." is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kiwi_fhir.normalize.quantity import Units
from kiwi_fhir.normalize.timing import Frequencies, Frequency
from kiwi_fhir.normalize.words import Vocabulary, one_line
from kiwi_fhir.types import Dosage, Mention, Modifier, ModifierLabel, Span, Term

_DOSING: frozenset[ModifierLabel] = frozenset({"strength", "dosage", "duration", "frequency", "route"})
_NEXT_TO = re.compile(r"[\s,]{0,3}")


@dataclass(slots=True)
class _Group:
    """The modifiers of one dosage; `said` holds the words of each label that is said once."""

    modifiers: list[Modifier] = field(default_factory=list)
    said: dict[ModifierLabel, str] = field(default_factory=dict)
    frequency: Frequency | None = None
    routes: list[Term] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Dosages:
    """Reads the modifiers of a drug."""

    units: Units
    frequencies: Frequencies
    routes: Vocabulary

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
                route = self.routes.find(words)  # "IV" is no form
                if route is None:
                    forms.append(Term(modifier, words))
                else:
                    groups[-1].routes.append(Term(modifier, words, route))
                if route is not None or _follows(text, modifier, groups[-1]):
                    groups[-1].modifiers.append(modifier)  # "2 tablets": the words of the dose
            elif modifier.label in _DOSING or self._is_dosing(text, modifier, groups[-1]):
                if modifier.label == "temporal":
                    timed.add(modifier)
                self._add(groups, modifier, words)
        found = tuple(self._dosage(text, group, forms, reasons) for group in groups if group.modifiers)
        return found, tuple(forms), frozenset(timed)

    def _is_dosing(self, text: str, modifier: Modifier, group: _Group) -> bool:
        """Whether a `temporal` modifier that follows a dose at once is the time of day at which it is taken."""
        if modifier.label != "temporal" or not _follows(text, modifier, group):
            return False
        timing = self.frequencies.read(modifier.span.of(text)).timing
        return timing is not None and timing.frequency is not None

    def _add(self, groups: list[_Group], modifier: Modifier, words: str) -> None:
        group = groups[-1]
        if modifier.label in ("frequency", "temporal"):
            frequency = self.frequencies.read(words)
            together = frequency if group.frequency is None else _together(group.frequency, frequency)
            if together is None:
                group = _Group()
                groups.append(group)
            group.frequency = together or frequency
        elif modifier.label == "route":
            group.routes.append(Term(modifier, words, self.routes.find(words)))
        else:
            if group.said.get(modifier.label, words) != words:
                group = _Group()
                groups.append(group)
            group.said[modifier.label] = words
        group.modifiers.append(modifier)

    def _dosage(self, text: str, group: _Group, forms: list[Term], reasons: Mapping[Span, str]) -> Dosage:
        frequency = group.frequency or Frequency(None)
        amount, strength, duration = (group.said.get(label) for label in ("dosage", "strength", "duration"))
        position = next((modifier.span.end for modifier in group.modifiers if modifier.label == "dosage"), 0)
        reason = frequency.as_needed_for or next(
            (reasons[modifier.span] for modifier in group.modifiers if modifier.span in reasons), None
        )
        words = [one_line(modifier.span.of(text)) for modifier in group.modifiers]
        if reason is not None and frequency.as_needed_for is None:
            words.append(f"for {reason}")
        return Dosage(
            text=" ".join(words),
            amount=self.units.amount(amount, unit=self._form_unit(forms, position)) if amount else None,
            strength=(self.units.concentration(strength) or self.units.amount(strength)) if strength else None,
            timing=frequency.timing,
            as_needed=frequency.as_needed,
            as_needed_for=reason,
            duration=self.frequencies.duration(duration) if duration else None,
            routes=tuple(group.routes),
        )

    def _form_unit(self, forms: Iterable[Term], position: int) -> str | None:
        """What "1" counts: the form that stands next behind it, else the nearest one before."""
        nearest = sorted(forms, key=lambda form: (form.modifier.span.start < position, abs(_distance(form, position))))
        for form in nearest:
            words = form.text.lower().split()
            for words_of_unit in (" ".join(words), words[-1], words[0]):
                if words_of_unit in self.units.doses:
                    return words_of_unit
        return None


def _follows(text: str, modifier: Modifier, group: _Group) -> bool:
    """Whether only spaces or a comma lie between the group's last modifier and this one."""
    if not group.modifiers:
        return False
    return _NEXT_TO.fullmatch(text, group.modifiers[-1].span.end, modifier.span.start) is not None


def _distance(form: Term, position: int) -> int:
    return form.modifier.span.start - position


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
    )
