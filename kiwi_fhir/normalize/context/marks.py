"""Which of a model's marks count: a mark may lie in words that say something else, or belong to another mention."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.context.cues import Found
from kiwi_fhir.normalize.context.reach import begins_clause, led_items
from kiwi_fhir.types import Mention, Modifier, ModifierLabel, Reason, Span

#: The marks that say whether something is true, and of whom.
JUDGED: frozenset[ModifierLabel] = frozenset({"negation", "uncertain", "condition"})


@dataclass(frozen=True, slots=True)
class Marks:
    """The phrases found in a text (lower case), in order, with what ends a mark's scope."""

    text: str
    structure: Structure
    found: Sequence[Found]
    starts: Sequence[int]
    breaks: re.Pattern[str]
    behind: re.Pattern[str]

    def judge(self, mention: Mention, start: int, mark: Modifier) -> tuple[Modifier | None, Reason | None]:
        """`mark` as it counts for `mention`, whose own words begin at `start`: the same, another, or none; and why."""
        if mark.label not in JUDGED:
            return mark, None
        owner = self._owner(mark.span)
        if owner is not None and not (owner.backward and mark.span.end <= start):  # "not treated with lithium"
            if owner.says != "cue":
                return None, Reason(owner.says, owner.span)
            labels = {cue.modifier for cue in owner.cues if mention.label in cue.mentions and cue.modifier is not None}
            if labels and mark.label not in labels:
                label = min(labels)
                return Modifier(label, owner.span, rule=True), Reason(owner.cues[0].rule, owner.span)
        if mark.span.end <= start:
            return self._before(mention, start, mark)
        if mark.span.start >= mention.span.end and mark.label == "negation":
            return self._behind(mention, mark)
        return mark, None

    def _owner(self, span: Span) -> Found | None:
        """The phrase that a mark is a part or the whole of."""
        index = bisect_right(self.starts, span.start) - 1
        if index < 0:
            return None
        found = self.found[index]
        return None if found.says == "unread" or found.span.end < span.end else found

    def _before(self, mention: Mention, start: int, mark: Modifier) -> tuple[Modifier | None, Reason | None]:
        sentence = self.structure.sentence_at(mark.span.start)
        if start >= sentence.end and not self._leads(sentence, start):
            return None, Reason("line", mark.span)
        found = self.breaks.search(self.text, mark.span.end, start)
        if found is not None:
            return None, Reason("scope", Span(*found.span()))
        if begins_clause(self.text, mark.span.end, mention.span):
            return None, Reason("scope", mark.span)
        index = bisect_left(self.starts, mark.span.end)
        while index < len(self.found) and self.starts[index] < start:
            other = self.found[index]
            if other.says == "stands" and not other.backward and mark.label == "negation":
                return None, Reason("scope", other.span)
            index += 1
        return mark, None

    def _behind(self, mention: Mention, mark: Modifier) -> tuple[Modifier | None, Reason | None]:
        """A negation behind its mention: it is one only where words that can stand there say so."""
        sentence = self.structure.sentence_at(mention.span.start)
        if mark.span.start >= sentence.end:
            return None, Reason("line", mark.span)
        if mention.label == "problem" and self.behind.fullmatch(self.text, *_ends(mark.span)):
            return None, Reason("scope", mark.span)
        return mark, None

    def _leads(self, sentence: Span, start: int) -> bool:
        """Whether `sentence` introduces the list that the mention at `start` is in: "She denies:"."""
        if not self.text[sentence.start : sentence.end].rstrip().endswith(":"):
            return False
        return any(item.start <= start < item.end for item in led_items(self.text, self.structure, sentence.end))


def _ends(span: Span) -> tuple[int, int]:
    return span.start, span.end
