"""The results and normal ranges of a test, taken together."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kiwi_fhir.documents.lines import one_line
from kiwi_fhir.normalize.result.kinds import Kind, Tests
from kiwi_fhir.normalize.result.owners import Owned, Owners
from kiwi_fhir.normalize.result.quantity import Units
from kiwi_fhir.normalize.result.ranges import judged
from kiwi_fhir.normalize.result.rows import Rows
from kiwi_fhir.normalize.result.runs import Runs
from kiwi_fhir.normalize.result.tables import Columns
from kiwi_fhir.normalize.result.times import own_times
from kiwi_fhir.normalize.result.values import Values, is_cut, load_values
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import LabValue, Mention, Modifier, Moment, Ratio, ReferenceRange, Span

_AROUND = 24  # characters around a result in which "greater than", a unit and a flag fit
_SAYS_NORMAL = r"(?:normal|nl|ref(?:erence)?)\.?(?: (?:range|values?|limits?))?\s?(?:is|of|:)?\s?(?P<sign>[<>])?\s?"
_NORMAL_BEFORE = re.compile(rf"[(\[]\s?{_SAYS_NORMAL}\Z", re.IGNORECASE)
_RIGHT_BEHIND = re.compile(r"[ \t]*[,;]?[ \t]*\(?")
_GOES_ON = re.compile(r"\s*(?:-+>|=+>|→|⇒)\s*[<>~]?\d")
_DIGIT = re.compile(r"\d")
_NORMAL = re.compile(rf"[(\[]?{_SAYS_NORMAL}[\d.]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Results:
    """Reads the `labvalue` and `reference_range` modifiers of a test."""

    values: Values
    owners: Owners

    def read(
        self, text: str, mention: Mention, kind: Kind, owned: Owned
    ) -> tuple[tuple[LabValue, ...], tuple[ReferenceRange, ...], bool]:
        """The results and normal ranges of a mention in the note `text`, and whether a result is still to come.

        `owned` is what `owners` says of the note's mentions.

        A result that the note does not judge is judged by the range, where there is one.
        """
        values: list[LabValue] = []
        ranges: list[ReferenceRange] = []
        first: Modifier | None = None
        awaited = False
        for modifier in mention.modifiers:
            if modifier.label == "reference_range":
                ranges.append(self._range(text, modifier, _words(text, modifier)))
            elif modifier.label == "labvalue" and self.values.is_awaited(_words(text, modifier)):
                awaited = True
            elif modifier.label == "labvalue":
                first = first or modifier
                normal = self._as_range(text, modifier, first, kind)
                if normal is None:
                    values.append(self._value(text, modifier, kind, owned))
                else:
                    ranges.append(normal)
        if len(values) == 1 and _GOES_ON.match(text, values[0].modifier.span.end):
            values = []  # "4.1 --> 1.2": the old one, and the model did not see the new
        if len(values) > 1:
            values = _joined(text, values)
        if not ranges and len(values) == 1 and (inside := self.values.range_inside(values[0])):
            ranges.append(inside)
        if len(ranges) == 1:
            values = [self._judged(value, ranges[0]) for value in values]
        return tuple(values), tuple(ranges), awaited

    def dated(
        self,
        text: str,
        values: tuple[LabValue, ...],
        moments: Sequence[Moment],
        owned: Owned,
        read: Callable[[Span], Moment],
    ) -> tuple[LabValue, ...]:
        """`values` with the times of each; `moments` are those of the test, `read` reads a time."""
        return own_times(text, values, moments, owned.rows, self.values.earlier, read)

    def _value(self, text: str, modifier: Modifier, kind: Kind, owned: Owned) -> LabValue:
        start, end = modifier.span.start, modifier.span.end
        if modifier.span in owned.unsure:
            return LabValue(modifier, _words(text, modifier))
        before, behind = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
        value = self.values.read(modifier, _words(text, modifier), kind, before=before, behind=behind)
        row = owned.rows.get(modifier.span)
        return value if row is None else self.values.complete(value, text, row)

    def _range(self, text: str, modifier: Modifier, words: str) -> ReferenceRange:
        start, end = modifier.span.start, modifier.span.end
        if is_cut(text[max(0, start - 2) : start], text[end : end + 2]):
            return ReferenceRange(modifier, words)
        return self.values.reference_range(modifier, words)

    def _judged(self, value: LabValue, normal: ReferenceRange) -> LabValue:
        known = value.interpretation.code if value.interpretation is not None else None
        if known not in (None, "A") or normal.interval is None:
            return value
        code = judged(value, normal.interval)
        if known is not None and code not in ("H", "L"):  # the note's "*" may know more than its range
            return value
        return value if code is None else replace(value, interpretation=self.values.interpretation(code))

    def _as_range(self, text: str, modifier: Modifier, first: Modifier, kind: Kind) -> ReferenceRange | None:
        """The normal range that a `labvalue` modifier is: "133 (normal 135-145)", or a second one, "133 (135-145)".

        The corpus that the default model learned from has no reference ranges, so it takes them for values. Of a vital
        sign a range in brackets may be the lowest and highest of a day: "HR 80 (72-95)".
        """
        start, words = modifier.span.start, _words(text, modifier)
        before = text[max(0, start - _AROUND) : start]
        said = _NORMAL_BEFORE.search(before)
        opened = before[-2:].rstrip().endswith(("(", "[")) or words[:1] in ("(", "[")
        if said is not None or (opened and _NORMAL.match(words)):
            found = self._range(text, modifier, f"{(said and said['sign']) or ''}{words}")
            return replace(found, text=words)
        if not opened or modifier == first or kind.category == "vital-signs":
            return None
        found = self._range(text, modifier, words)
        two_ends = found.interval is not None and None not in (found.interval.low, found.interval.high)
        return found if two_ends else None


def _joined(text: str, values: Sequence[LabValue]) -> list[LabValue]:
    """A number takes the words right behind it: they judge it ("14.2, high") or add to it ("1:160, speckled")."""
    found: list[LabValue] = []
    for value in values:
        last = found[-1] if found else None
        if last is None or last.value is None or not _adds(text, last, value):
            found.append(value)
        elif value.interpretation is None:
            found[-1] = replace(last, remark=value.text)
        else:
            found[-1] = replace(last, interpretation=value.interpretation)
    return found


def _adds(text: str, number: LabValue, value: LabValue) -> bool:
    """Whether a value is only words about the number right before it."""
    gap = _RIGHT_BEHIND.fullmatch(text, number.modifier.span.end, value.modifier.span.start)
    if gap is None or value.value is not None or number.remark is not None or _DIGIT.search(value.text):
        return False
    if value.is_scale and not isinstance(number.value, Ratio):
        return False
    return value.interpretation is None or number.interpretation is None


def _words(text: str, modifier: Modifier) -> str:
    return one_line(modifier.span.of(text))


def load_results(mappings: Mappings, units: Units, tests: Tests) -> Results:
    """interpretations.toml. Raises MappingError."""
    values = load_values(mappings, units)
    rows = Rows(units, values.interpretations)
    return Results(values, Owners(Columns(tests.columns, rows), Runs(rows, tests), tests, values.qualified))
