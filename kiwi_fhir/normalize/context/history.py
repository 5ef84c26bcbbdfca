"""What has ended and what has not: history that a disease outlasts, history behind a problem, "resolved" at its end.

Words of history and the section of past history make a problem inactive only where it can end. Which diseases last is
said by history.toml: a code in a history tells no more than that the disease is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.normalize.text.words import Phrases, plain
from kiwi_fhir.tables import ListOf, Mappings, Schema
from kiwi_fhir.types import Document, Fact, Mention, Modifier, ModifierLabel, Moment, Span

_SCHEMA: dict[str, Schema] = {
    "recorded": ListOf(str),
    "behind": ListOf(str),
    "within": ListOf(str),
    "opening": ListOf(str),
    "single": ListOf(str),
    "treated": ListOf(str),
    "now": ListOf(str),
    "then": ListOf(str),
    "lasting": {
        "system": str,
        "codes": ListOf(str),
        "but": ListOf(str),
        "words": ListOf(str),
        "always": ListOf(str),
        "ends": ListOf(str),
    },
}

#: Clinical statuses of course.toml that end a problem.
_ENDED = ("resolved", "remission")
_MARK = r"\s*(?:[,;:(\[–—]\s*|-+\s+|(?<=\s)-+\s*)?"
_PHRASE_ENDS = r"(?=\s*(?:[.,;)\]]|\n|$))"
_WITH = r"(?=\s*(?:[.,;)\]]|\n|$)|\s+(?:on|in|with|after|since|prior|at|following|without|spontaneously|during|upon)\b)"
_PAIR = re.compile(r"\s*(?:\band\b|&|/)\s*")
_LIST = re.compile(r"\s*(?:,|/|&|(?:,\s*)?\band\b)\s*")
_SEVERAL = re.compile(r"\b(?:have|were|are|all|both)\b")
_BEYOND = re.compile(r"[,;:\n]|\b(?:with|who|presents|presented)\b")
_REACH = 200  # characters; farther no "status post" reaches
_OF = r"(?=$|\s*[,;(/-]|\s+(?:type|stage|grade|class|with|without|of|on|in|since|for|due|nos|mellitus|[12i]+)\b)"


@dataclass(frozen=True, slots=True)
class History:
    """The words and codes of history.toml."""

    past_sections: frozenset[str]
    recorded: Phrases
    single: Phrases
    over: re.Pattern[str]
    behind: re.Pattern[str]
    afterwards: Phrases
    within: re.Pattern[str]
    opening: re.Pattern[str]
    treated: re.Pattern[str]
    system: str
    codes: tuple[str, ...]
    but: tuple[str, ...]
    words: re.Pattern[str]
    always: re.Pattern[str]
    ends: re.Pattern[str]
    now: re.Pattern[str]

    def mark(self, document: Document, text: str, structure: Structure) -> Document:
        """`document` with the words right behind problems that end them or make them history, as modifiers.

        `text` is that of the note in lower case. A problem that is denied keeps what it has.
        """
        mentions = list(document.mentions)
        for index, mention in enumerate(document.mentions):
            if mention.label != "problem":
                continue
            sentence = structure.sentence_at(mention.span.start)
            start, end = max(sentence.start, mention.span.start - _REACH), sentence.end
            if (found := self.opening.search(text, start, mention.span.start)) is not None:
                modifier = Modifier("temporal", Span(*found.span("words")), rule=True)
                for reached in _following(document.mentions, index, text):
                    mentions[reached] = _with(mentions[reached], modifier)
            if (found := self.over.match(text, mention.span.end, end)) is not None:
                label: ModifierLabel = "course"
            elif (found := self.behind.match(text, mention.span.end, end)) is not None:
                label = "temporal"
            else:
                continue
            modifier = Modifier(label, Span(*found.span("words")), rule=True)
            joint = _LIST if label == "course" and _SEVERAL.search(found[0]) else _PAIR
            for reached in _listed(document.mentions, index, text, joint):
                mentions[reached] = _with(mentions[reached], modifier)
        return document if mentions == list(document.mentions) else replace(document, mentions=tuple(mentions))

    def settle(self, text: str, facts: Sequence[Fact], structure: Structure) -> list[Fact]:
        """`facts` with the problems as past that are; `text` is that of the note in lower case."""
        found = list(facts)
        for index, fact in enumerate(facts):
            if fact.mention.label == "problem" and not fact.negated and not fact.relatives:
                past = self._is_past(text, facts, index, structure)
                if past != fact.past:
                    found[index] = replace(fact, past=past)
        return found

    def _is_past(self, text: str, facts: Sequence[Fact], index: int, structure: Structure) -> bool:
        fact = facts[index]
        span = fact.mention.span
        moments = [moment for moment in fact.moments if self._is_history(text, moment, span)]
        begins = self.within.match(text, span.start, span.end)
        listed = fact.mention.section in self.past_sections
        # What is past without any of these stands right behind "status post".
        direct = fact.past and not listed and not any(moment.kind == "past" for moment in fact.moments)
        stated = [text[moment.modifier.span.start : moment.modifier.span.end] for moment in moments]
        stated += [begins[0]] if begins is not None else []
        over = any(self.recorded.find(words) is None for words in stated)
        if direct or over or any(moment.modifier.span.start >= span.end for moment in moments):
            return True
        if not (listed or stated):
            return False
        sentence = structure.sentence_at(span.start)
        if not stated and self.now.search(text, max(sentence.start, span.start - _REACH), span.start) is not None:
            return False  # "PMH: He has back pain and swelling."
        return not (self._lasts(fact) or self._is_current(text, facts, index))

    def _is_history(self, text: str, moment: Moment, span: Span) -> bool:
        """Whether a time says that the problem at `span` is history, and not what stands between."""
        said = moment.modifier.span
        if moment.kind != "past":
            return said.start >= span.end and self.afterwards.find(text[said.start : said.end]) is not None
        if said.end > span.start or self.single.find(text[said.start : said.end]) is None:
            return True
        return span.start - said.end <= _REACH and _BEYOND.search(text, said.end, span.start) is None

    def _lasts(self, fact: Fact) -> bool:
        """Whether the problem is a disease that lasts, by its code, or without one by its words."""
        words = plain(fact.text)
        if self.ends.search(words) is not None:
            return False
        if self.always.search(words) is not None:
            return True
        codes = [coding.code or "" for coding in fact.codings if coding.system == self.system]
        if codes:
            return any(code.startswith(self.codes) and not code.startswith(self.but) for code in codes)
        return self.words.search(words) is not None

    def _is_current(self, text: str, facts: Sequence[Fact], index: int) -> bool:
        """Whether the note says that the problem is there now, or what is taken for it."""
        fact = facts[index]
        if any(moment.kind == "present" for moment in fact.moments):
            return True
        if index + 1 == len(facts) or facts[index + 1].mention.label != "drug":
            return False
        drug = facts[index + 1]
        between = self.treated.fullmatch(text, fact.mention.span.end, drug.mention.span.start)
        return between is not None and not (drug.negated or drug.past or drug.interruption)


def load_history(mappings: Mappings) -> History:
    """history.toml with the words of course.toml and temporal.toml. Raises MappingError."""
    table: dict[str, Any] = mappings.table("history", _SCHEMA)
    lasting = table["lasting"]
    course = mappings.table("course")
    over = [words for code in _ENDED for words in course["codes"].get(code, {}).get("words", ())]
    fillers = any_of([*course.get("fillers", ()), "all", "both"])
    return History(
        past_sections=frozenset(mappings.table("assertion")["sections"]["past"]),
        recorded=Phrases.of({"recorded": table["recorded"]}, mappings.table("temporal")["fillers"]),
        single=Phrases.of({"single": table["single"]}),
        over=re.compile(rf"{_MARK}(?:{fillers}\s+)*(?P<words>{_phrases(over)}){_WITH}"),
        behind=re.compile(rf"{_MARK}(?P<words>{_phrases(table['behind'])}){_PHRASE_ENDS}"),
        afterwards=Phrases.of({"behind": table["behind"]}),
        opening=re.compile(rf"(?<!family )(?P<words>{_phrases(table['opening'])})[\s:]+(?:an?\s+|the\s+)?$"),
        within=re.compile(_phrases(table["within"])),
        treated=re.compile(
            rf"\s*[,;(–-]?\s*{_phrases(table['treated'])}\s+(?:(?:her|his|home|daily|low-dose|oral)\s+)?"
        ),
        system=lasting["system"],
        codes=tuple(lasting["codes"]),
        but=tuple(lasting["but"]),
        words=re.compile(rf"{_phrases(lasting['words'])}{_OF}"),
        always=re.compile(_phrases(lasting["always"])),
        ends=re.compile(_phrases(lasting["ends"])),
        now=re.compile(
            rf"\b(?:he|she|they|patient|pt|also|still|currently|who)\s+{_phrases(table['now'])}"
            rf"(?:(?!{_phrases(table['then'])})[^.;:])*$"
        ),
    )


def _phrases(phrases: Sequence[str]) -> str:
    """Any of them, or nothing at all where there are none."""
    return any_of(phrase.lower() for phrase in phrases) if phrases else r"(?!)"


def _listed(mentions: Sequence[Mention], index: int, text: str, joint: re.Pattern[str]) -> Iterator[int]:
    """The index of a problem and of those that a list binds to it from before."""
    yield index
    while index and mentions[index - 1].label == "problem":
        before = mentions[index - 1].span
        if before.end > mentions[index].span.start or not joint.fullmatch(text, before.end, mentions[index].span.start):
            return
        index -= 1
        yield index


def _following(mentions: Sequence[Mention], index: int, text: str) -> Iterator[int]:
    """The index of a problem and of those that follow it in a list."""
    yield index
    while index + 1 < len(mentions) and mentions[index + 1].label == "problem":
        end, start = mentions[index].span.end, mentions[index + 1].span.start
        if end > start or not _LIST.fullmatch(text, end, start):
            return
        index += 1
        yield index


def _with(mention: Mention, modifier: Modifier) -> Mention:
    """The mention with a modifier, unless it is denied or holds such words."""
    for held in mention.modifiers:
        same = held.label == modifier.label and held.span.start < modifier.span.end
        if held.label == "negation" or (same and modifier.span.start < held.span.end):
            return mention
    modifiers = sorted((*mention.modifiers, modifier), key=lambda item: (item.span, item.label))
    return replace(mention, modifiers=tuple(modifiers))
