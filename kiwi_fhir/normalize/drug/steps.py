"""Which of a drug's doses is the one that is taken: old ones, steps of a titration, largest doses and sliding scales.

What was taken before ("down from 40 mg") is no dose of today; what changes from day to day, or depends on a result,
stays words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from kiwi_fhir.normalize.text.numbers import NUMBER
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.tables import ListOf, Schema
from kiwi_fhir.types import Mention, Modifier, Span

#: The schema of [change] in dosing.toml.
CHANGE: dict[str, Schema] = dict.fromkeys(
    ("former", "former_beside", "changed", "to_come", "steps", "largest", "scales", "verbs"), ListOf(str)
)

_FILL = r"\s*(?:(?:a|an|the|his|her|dose|doses|dosage|of|at|about|approximately|total)\s+)*$"
_ARROW = re.compile(r"\s*(?:-{0,2}>|=>|→|⇒)\s*")
_TO = re.compile(r"(?:^|[\s,])(?:up |down )?to\s+$")
_FROM_TO = re.compile(rf"{NUMBER}\s?[a-z%]*\s+to\s+(?=\S)", re.IGNORECASE)
_FROM = re.compile(r"\bfrom\s+$")
_BY = re.compile(r"\bby\s+$")
_RANGE_OF_RESULTS = re.compile(
    r"\d{2,3}\s?(?:-|–|to)\s?\d{2,3}\s*[:=,]?\s*(?:give |use |take |→|->)?\s*\d+\s?u(?:nits?)?\b"
)
_BEHIND_SCALE = re.compile(r"[\s,(]*(?:(?:per|by|on|via|as|according to|with|a|the)\s+)*$")
_A_DAY = re.compile(r"\s?(?:/|\b(?:per|an?|in)\b)\s?(?:\d+\s?)?(?:days?|d|hours?|hrs?|h|weeks?)\b")
_AMOUNTS = frozenset({"strength", "dosage"})
_REACH = 60  # characters before a dose in which words say how it is meant
_LONGEST = 300  # characters of a quotation

_Meaning = Literal["now", "former", "step", "largest", "changed"]


@dataclass(slots=True)
class Said:
    """The modifiers that say how a drug is taken now; `steps` are words of what comes later, `largest` of limits."""

    now: list[Modifier] = field(default_factory=list)
    steps: list[Span] = field(default_factory=list)
    largest: list[Span] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Changes:
    """The phrases of [change] in dosing.toml."""

    former: re.Pattern[str]
    former_beside: re.Pattern[str]
    changed: re.Pattern[str]
    to_come: re.Pattern[str]
    steps: re.Pattern[str]
    largest: re.Pattern[str]
    scales: re.Pattern[str]
    verbs: re.Pattern[str]

    def sort(self, text: str, drug: Mention, modifiers: Sequence[Modifier], sentence: Span) -> Said:
        """The dosing modifiers of a drug (in text order) by what they say; `text` is in lower case.

        `sentence` is the drug's. A word of change is looked for only between a dose and what stands before it.
        """
        said = Said()
        if not modifiers:
            return said
        if self._is_scale(text, drug, modifiers, sentence):
            said.now = [held for held in modifiers if held.label in ("form", "route")]
            start = max(drug.span.end, min(held.span.start for held in modifiers) - _REACH)
            said.steps.append(_quoted(text, drug.span.end if start == drug.span.end else start, modifiers[-1].span.end))
            return said
        lead = text[sentence.start : drug.span.start]
        state: _Meaning = "now"
        bracket, start = False, 0
        for index, modifier in enumerate(modifiers):
            low = self._low(modifiers, index, drug, sentence)
            between = text[low : modifier.span.start]
            if state != "now" and _is_over(state, between, bracket=bracket):
                state = "now"
            if modifier.label in _AMOUNTS and state != "step":
                meaning, at = self._meaning(between, lead, said.now)
                if meaning == "changed":
                    said.now = [held for held in said.now if held.label == "form"]
                    meaning = "now"
                elif meaning == "former":
                    second = self._second(text, modifier, between, lead)
                    meaning = meaning if second is modifier else "now"
                    modifier = second
                elif meaning is None and state == "former" and _TO.search(between):
                    meaning = "now"
                if meaning is not None:
                    state, start, bracket = meaning, low + at, "(" in between
            if state == "now":
                said.now.append(modifier)
            elif state != "former":
                spans = said.steps if state == "step" else said.largest
                if spans and spans[-1].start == _quoted(text, start, modifier.span.end).start:
                    spans.pop()
                spans.append(_quoted(text, start, modifier.span.end))
        return said

    def _low(self, modifiers: Sequence[Modifier], index: int, drug: Mention, sentence: Span) -> int:
        """Where the words before a modifier begin: behind the modifier, or the drug, before it."""
        modifier = modifiers[index].span
        low = max(modifiers[index - 1].span.end if index else 0, modifier.start - _REACH)
        if drug.span.end <= modifier.start:
            return max(low, drug.span.end)
        return max(low, sentence.start) if modifier.start >= sentence.start else low

    def _meaning(self, between: str, lead: str, now: Sequence[Modifier]) -> tuple[_Meaning | None, int]:
        """What the words before a dose say of it, and where they begin in `between`; `lead` are those before the drug.

        "Increase to 20 mg" is the dose where no other stands before it, and a step of a titration behind one; but
        behind one that ends ("for 3 days, then decrease to") it is the next dose.
        """
        dosed = any(held.label in _AMOUNTS for held in now)
        if dosed and _ARROW.fullmatch(between):
            return "changed", 0
        found = self.steps.search(between)
        by = _BY.search(between)
        if by is not None:
            return "step", min(by.start(), found.start() if found is not None else by.start())
        if found is not None and dosed:
            return (None, 0) if any(held.label == "duration" for held in now[-2:]) else ("step", found.start())
        found = self.largest.search(between)
        if found is not None:
            return "largest", found.start()
        found = self.changed.search(between)
        if found is not None and dosed:
            to_come = self.to_come.search(between[: found.start()]) or self.to_come.search(lead)
            return "step" if to_come is not None else "changed", found.start()
        found = self.former.search(between)
        if found is None and (dosed or "(" in between):
            found = self.former_beside.search(between)
        return ("former", found.start()) if found is not None else (None, 0)

    def _second(self, text: str, modifier: Modifier, between: str, lead: str) -> Modifier:
        """Of "increased from 5 to 10 mg" the second dose, which is one span with the old one."""
        changes = self.verbs.search(between) or self.verbs.search(lead)
        found = _FROM_TO.match(text, modifier.span.start, modifier.span.end) if changes else None
        if found is None or not _FROM.search(between):
            return modifier
        return replace(modifier, span=Span(found.end(), modifier.span.end))

    def _is_scale(self, text: str, drug: Mention, modifiers: Sequence[Modifier], sentence: Span) -> bool:
        """Whether a dose goes by a result: "per sliding scale: 151-200 give 2 units"."""
        dosed = [held for held in modifiers if held.label in _AMOUNTS]
        if not dosed:
            return False
        first, last = dosed[0].span, dosed[-1].span
        low = max(sentence.start, drug.span.start - _REACH)
        if drug.span.end <= first.start and self.scales.search(text, drug.span.start, first.start):
            return True
        before = self.scales.search(text, low, drug.span.start)
        if before is not None and not text[before.end() : drug.span.start].strip():
            return True
        behind = self.scales.search(text, last.end, last.end + _REACH)
        if behind is not None and _BEHIND_SCALE.fullmatch(text, last.end, behind.start()):
            return True
        return len(_RANGE_OF_RESULTS.findall(text[low : last.end + 10])) > 1


def changes_of(table: Mapping[str, Iterable[str]]) -> Changes:
    """From the phrases of [change]."""

    def before(key: str) -> re.Pattern[str]:
        return re.compile(any_of(table[key]) + _FILL)

    return Changes(
        former=before("former"),
        former_beside=before("former_beside"),
        changed=before("changed"),
        to_come=re.compile(any_of(table["to_come"])),
        steps=re.compile(rf"{any_of(table['steps'])}(?:\s+[\w%]+){{0,5}}?\s+(?:by|to|until)\b{_FILL}"),
        largest=before("largest"),
        scales=re.compile(any_of(table["scales"])),
        verbs=re.compile(any_of(table["verbs"])),
    )


def words_of(table: Mapping[str, Iterable[str]]) -> Iterable[str]:
    """The phrases of [change] that stand between the doses of one drug."""
    return [phrase for key in ("former", "former_beside", "changed", "steps", "largest") for phrase in table[key]]


def _quoted(text: str, start: int, end: int) -> Span:
    """`[start, end)` without marks at its ends, and not too long to stand in a dosage."""
    while start < end and text[start] in " \n\t,;:(-":
        start += 1
    behind = _A_DAY.match(text, end)
    end = behind.end() if behind is not None else end
    return Span(start, min(end, start + _LONGEST))


def _is_over(state: _Meaning, between: str, *, bracket: bool) -> bool:
    """Whether what was said of the dose before does not hold any more behind `between`."""
    if bracket and ")" in between:
        return True
    return ";" in between or (state == "largest" and ("," in between or ")" in between))
