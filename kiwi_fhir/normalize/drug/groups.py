"""A drug's modifiers in groups, one for each dosage.

They are taken in text order; one that can't be said together with what a group already says (a second strength, another
frequency) begins the next group. So a taper is several dosages, and "q4h, p.r.n." is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from kiwi_fhir.documents.lines import one_line
from kiwi_fhir.normalize.drug.often import merged
from kiwi_fhir.normalize.drug.owners import DOSING
from kiwi_fhir.normalize.drug.timing import Frequencies, Frequency
from kiwi_fhir.normalize.text.words import Phrases, Vocabulary
from kiwi_fhir.types import Modifier, ModifierLabel, Span, Term

_NEXT_TO = re.compile(r"[\s,]{0,3}")
_AND = re.compile(r"[\s,]*(?:(?:and|&|or)\s+)?", re.IGNORECASE)
_DISPENSED = re.compile(r"#\s?\d+\s*")


@dataclass(slots=True)
class Group:
    """The modifiers of one dosage; `said` holds the words of each label that is said once, with their modifier."""

    modifiers: list[Modifier] = field(default_factory=list)
    said: dict[ModifierLabel, tuple[Modifier, str]] = field(default_factory=dict)
    frequency: Frequency | None = None
    routes: list[Term] = field(default_factory=list)


@dataclass(slots=True)
class Grouped:
    """The groups of a drug, its forms, and the `temporal` modifiers that are dosing ("at bedtime")."""

    groups: list[Group] = field(default_factory=lambda: [Group()])
    forms: list[Term] = field(default_factory=list)
    timed: set[Modifier] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Grouping:
    """Groups modifiers."""

    frequencies: Frequencies
    routes: Vocabulary
    not_forms: Phrases
    devices: Phrases

    def read(self, text: str, modifiers: Iterable[Modifier]) -> Grouped:
        """The groups of dosing and temporal modifiers, which stand in text order."""
        found = Grouped()
        for modifier in modifiers:
            words = one_line(modifier.span.of(text))
            if modifier.label == "form":
                self._add_form(text, found.groups[-1], found.forms, modifier, words)
            elif modifier.label in DOSING or self._is_dosing(text, modifier, found.groups[-1]):
                if modifier.label == "temporal":
                    found.timed.add(modifier)
                self._add(text, found.groups, modifier, words)
        found.groups = [group for group in found.groups if group.modifiers]
        return found

    def _add_form(self, text: str, group: Group, forms: list[Term], modifier: Modifier, words: str) -> None:
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

    def _is_dosing(self, text: str, modifier: Modifier, group: Group) -> bool:
        """Whether a `temporal` modifier that follows a dose at once is the time of day at which it is taken."""
        if modifier.label != "temporal" or not _follows(text, modifier, group):
            return False
        timing = self.frequencies.read(modifier.span.of(text)).timing
        return timing is not None and timing.frequency is not None

    def _joined(self, text: str, group: Group, modifier: Modifier, frequency: Frequency) -> Frequency | None:
        """The frequencies at a group's end as one with the next ("at 8 am, noon" and "4 pm"), or as words only."""
        first = modifier
        for held in reversed(group.modifiers):
            if held.label != "frequency":
                break
            first = held
        if first is modifier or group.frequency is None:
            return None
        joined = self.frequencies.read(Span(first.span.start, modifier.span.end).of(text))
        needed = joined.as_needed or frequency.as_needed or group.frequency.as_needed
        return joined if joined.timing is not None else Frequency(None, needed, read=False)

    def _add(self, text: str, groups: list[Group], modifier: Modifier, words: str) -> None:
        group = groups[-1]
        if modifier.label in ("frequency", "temporal"):
            frequency = self.frequencies.read(words)
            together = frequency if group.frequency is None else _together(group.frequency, frequency)
            if together is None and _AND.fullmatch(text, group.modifiers[-1].span.end, modifier.span.start):
                together = self._joined(text, group, modifier, frequency)
            if together is None:
                group = Group()
                groups.append(group)
            group.frequency = together or frequency
        elif modifier.label == "route":
            group.routes.append(Term(modifier, words, self.routes.find(words)))
        else:
            if modifier.label in group.said and group.said[modifier.label][1] != words:
                group = Group()
                groups.append(group)
            group.said.setdefault(modifier.label, (modifier, words))
        group.modifiers.append(modifier)


def _follows(text: str, modifier: Modifier, group: Group) -> bool:
    """Whether only spaces or a comma lie between the group's last modifier and this one."""
    if not group.modifiers:
        return False
    return _NEXT_TO.fullmatch(text, group.modifiers[-1].span.end, modifier.span.start) is not None


def _together(first: Frequency, second: Frequency) -> Frequency | None:
    """Both as one ("q4h" and "prn"), None where they differ."""
    if not (first.read and second.read):
        return None
    timing = first.timing or second.timing
    if first.timing is not None and second.timing is not None:
        timing = merged(first.timing, second.timing)
        if timing is None:
            return None
    return Frequency(
        timing,
        first.as_needed or second.as_needed,
        first.as_needed_for or second.as_needed_for,
        duration=first.duration or second.duration,
    )
