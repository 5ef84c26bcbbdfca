"""What as-needed drugs are taken for: such a problem is awaited, and not there."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.context.phrases import expanded
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.types import Mention, Span

_JOINT = re.compile(r"\s*(?:[,/&;]|(?:,\s*)?(?:and/or|and|or)\b)\s*(?:[a-z'-]+\s+){0,2}")
_WORDS = r"(?:[\w'>=<.-]+\s+){0,3}?"
_ONE = r"(?:[\w'-]+\s+(?:(?:or|and)\s+)?)?"
_REACH = 60
_LONGEST_LIST = 20  # problems that one drug is taken for


@dataclass(frozen=True, slots=True)
class Awaited:
    """The words of [as_needed] in context.toml."""

    words: re.Pattern[str]
    lead: re.Pattern[str]
    bare: re.Pattern[str]
    behind: re.Pattern[str]

    def find(
        self, text: str, written: str, mentions: Sequence[Mention], structure: Structure
    ) -> Iterator[tuple[int, Span]]:
        """The indexes of problems that drugs are taken for as needed, with the words that say so.

        `text` is `written` in lower case. A problem stands behind them ("prn pain", "as needed for nausea"), or
        before ("for pain as needed").
        """
        starts = [mention.span.start for mention in mentions]
        for found in self.words.finditer(text):
            sentence = structure.sentence_at(found.start())
            reached = Span(*found.span())
            inside = bisect_left(starts, found.start())
            if inside < len(mentions) and starts[inside] == found.start() and mentions[inside].span.end > found.end():
                yield inside, reached  # "prn agitation" as one mention
                continue
            index = first = bisect_left(starts, found.end())
            pattern = self.lead
            at = found.end()
            while index < min(len(mentions), first + _LONGEST_LIST) and mentions[index].span.end <= sentence.end:
                mention = mentions[index]
                gap = pattern.fullmatch(text, at, mention.span.start)
                if mention.label != "problem" or gap is None:
                    break
                if pattern is self.lead and not gap["for"] and not _goes_on(written, found.end(), mention.span):
                    break
                yield index, reached
                at, pattern, index = mention.span.end, _JOINT, index + 1
            index = bisect_left(starts, found.start()) - 1
            while index >= 0 and mentions[index].span.start >= sentence.start and mentions[index].label == "problem":
                mention = mentions[index]
                if not self.bare.fullmatch(text, mention.span.end, found.start()):
                    break
                begin = index
                while (
                    begin > max(0, index - _LONGEST_LIST)
                    and mentions[begin - 1].label == "problem"
                    and _JOINT.fullmatch(text, mentions[begin - 1].span.end, mentions[begin].span.start)
                ):
                    begin -= 1
                if self.behind.search(
                    text, max(sentence.start, mentions[begin].span.start - _REACH), mentions[begin].span.start
                ):
                    yield from ((one, reached) for one in range(begin, index + 1))
                break


def load_awaited(table: Mapping[str, Iterable[str]]) -> Awaited:
    """[as_needed] of context.toml."""
    between = any_of(expanded(table["for"]))
    return Awaited(
        words=re.compile(any_of(expanded(table["words"]))),
        lead=re.compile(rf"[\s.,:)]*(?:(?P<for>{between})\s+{_WORDS}|{_ONE})"),
        bare=re.compile(r"[\s,(]*"),
        behind=re.compile(rf"{between}\s+{_WORDS}$"),
    )


def _goes_on(written: str, at: int, span: Span) -> bool:
    """Whether a problem without "for" belongs to the words before: "prn pain", "PRN SOB", not "p.r.n. Hypertension"."""
    gap = written[at : span.start]
    words = (gap + span.of(written)).lstrip(" .,:)")
    dotted = "." in written[at - 1 : span.start]  # "p.r.n. SOB is worse" may begin a sentence
    return "\n" not in gap and (words[:1].islower() or (span.of(written).isupper() and not dotted))
