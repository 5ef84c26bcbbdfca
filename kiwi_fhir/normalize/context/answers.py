"""Answers behind a label: "Fever: no", "[x] Cough", "-chills", "Hx of stroke? No."; each is of its own label only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.context.phrases import expanded
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.types import Mention, Span

_SIGNS = {"+": True, "-": False, "–": False, "−": False}
_TICKED = re.compile(r"[\[(]\s*[xXvV✓✔]\s*[\])]|[☑☒✓✔]")
_EMPTY = re.compile(r"[\[(][\s_]*[\])]|☐")


@dataclass(frozen=True, slots=True)
class Answers:
    """The words of [answers] in context.toml: an answer that begins with one of them, with nothing but marks behind."""

    yes: re.Pattern[str]
    no: re.Pattern[str]
    behind: re.Pattern[str]

    def read(self, text: str, structure: Structure, mention: Mention) -> tuple[bool, Span] | None:
        """Whether the answer to a mention's label says that it is there, and its span; None where none does."""
        found = structure.answer_at(mention.span.start)
        if found is None or mention.span.start >= found.label.end or mention.span.end <= found.label.start:
            # Several in one line: "tinnitus yes / vertigo no", "nausea - denied, cough - yes".
            match = self.behind.match(text, mention.span.end)
            return (match["no"] is None, Span(*match.span("words"))) if match is not None else None
        words = found.answer.of(text).strip()
        sign = words.strip("() \t")
        if sign in _SIGNS:
            return _SIGNS[sign], found.answer
        if _TICKED.fullmatch(words) or _EMPTY.fullmatch(words):
            return _TICKED.fullmatch(words) is not None, found.answer
        for value, pattern in ((True, self.yes), (False, self.no)):
            match = pattern.match(text, found.answer.start, found.answer.end)
            if match is not None:
                return value, Span(*match.span("words"))
        return None


def load_answers(table: Mapping[str, Iterable[str]]) -> Answers:
    """[answers] of context.toml."""

    def pattern(words: Iterable[str]) -> re.Pattern[str]:
        return re.compile(rf"\s*(?P<words>{any_of(expanded(words))})(?=\s*(?:[.,;:()/\n\[-]|$))")

    behind = r"(?:\s+|\s*[-–]\s+)(?P<words>(?P<no>no(?!\.\s*\d)|denied|none)(?=\s*(?:[.,;/)\n]|$))|yes\b)"
    return Answers(pattern(table["yes"]), pattern(table["no"]), re.compile(behind))
