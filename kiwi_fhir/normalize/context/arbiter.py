"""What is said of each mention, and of whom: the model's marks and the rules' cues through one decision.

A mark of the model counts where it reaches the mention and its words say what it says; a cue of the rules gives a
mention only a modifier of a kind that it does not have then. An answer behind a label decides over both. What a rule
adds is marked (`Modifier.rule`), so that evidence never passes for the model's, and each decision has its reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.context.answers import Answers, load_answers
from kiwi_fhir.normalize.context.awaited import Awaited, load_awaited
from kiwi_fhir.normalize.context.cues import CONTEXT, FRAMES, Cue, Found, Phrases, load_phrases
from kiwi_fhir.normalize.context.marks import Marks
from kiwi_fhir.normalize.context.people import People, load_people
from kiwi_fhir.normalize.context.phrases import expanded
from kiwi_fhir.normalize.context.reach import Reach
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.tables import Mappings
from kiwi_fhir.types import ALLOWED_PAIRS, Mention, MentionLabel, Modifier, Reason, Span

#: Frames of what was looked for: a denial behind the mention says what was found.
_LOOKED_FOR = frozenset({"screening", "workup"})
_AND_SO_ON = re.compile(r"(?<=\w)\s*[,;/]|\b(?:and|or|nor)\b")
_EXCEPT_WHEN = re.compile(
    r",?\s+(?:except|other than|apart from|unless|but only|aside from)\s+(?:for\s+)?"
    r"(?:with|after|when|on|during|if|at|in the|while|following|before|upon)\b"
)
_OUT = re.compile(r"\b(?:ruled out|excluded)\b")
_UNABLE = re.compile(r"\b(?:cannot|can not|can't|cant|could not|couldn't|unable to|not able to)\b[^.;:\n]*$")
_APOSTROPHES = str.maketrans("’‘ʼ´`", "'''''")


@dataclass(frozen=True, slots=True)
class Ruling:
    """A mention with the modifiers that count, and why.

    `frame` is what speaks of it without stating it (`there`: it is there, and no resource), `relative` says that it is
    somebody else's.
    """

    mention: Mention
    because: tuple[Reason, ...] = ()
    frame: str | None = None
    relative: bool = False
    there: bool = False


@dataclass(slots=True)
class _Case:
    """What is gathered about a mention before it is ruled on."""

    mention: Mention
    held: list[Modifier]
    reasons: list[Reason]
    answer: bool | None = None
    frame: str | None = None
    relative: bool = False
    changed: bool = False

    def add(self, modifier: Modifier, rule: str) -> None:
        """Hold `modifier`, and why."""
        self.held.append(modifier)
        self.reasons.append(Reason(rule, modifier.span))
        self.changed = True


@dataclass(frozen=True, slots=True)
class Arbiter:
    """The rules of context.toml and frames.toml."""

    enabled: bool
    phrases: Phrases
    answers: Answers
    awaited: Awaited
    people: People
    breaks: re.Pattern[str]
    behind: re.Pattern[str]
    neutral: re.Pattern[str]
    opens: Mapping[MentionLabel, tuple[tuple[str, re.Pattern[str]], ...]]
    closes: Mapping[MentionLabel, tuple[tuple[str, re.Pattern[str]], ...]]
    headings: Mapping[str, tuple[str, frozenset[MentionLabel]]]
    there: frozenset[str]

    def rule(self, written: str, lowered: str, mentions: Sequence[Mention], structure: Structure) -> list[Ruling]:
        """One ruling for each of `mentions` of a note, in their order; `lowered` is its text in lower case."""
        text = lowered.translate(_APOSTROPHES)
        cases = [_Case(mention, list(mention.modifiers), []) for mention in mentions]
        starts = [mention.span.start for mention in mentions]
        if self.enabled and cases:
            found = [
                replace(phrase, says="pseudo", cues=()) if _is_twice_denied(text, phrase) else phrase
                for phrase in self.phrases.find(text, starts, [mention.span.end for mention in mentions])
            ]
            reach = Reach(text, mentions, self._own_words(text, cases, found, starts), structure)
            self._judge_marks(text, cases, reach, found)
            answered = self._read_answers(text, cases, structure)
            self._apply_cues(cases, reach, [phrase for phrase in found if phrase.span.start not in answered])
            self._frame_whole(text, cases, structure)
            for index, span in self.awaited.find(text, written, mentions, structure):
                cases[index].frame = cases[index].frame or "as-needed"
                cases[index].reasons.append(Reason("as-needed", span))
            for case in cases:
                _but_then(text, case)
                _ruled_out(text, case)
        mentions = [_held(case) for case in cases]
        for index, modifier in self.people.find(text, mentions, structure, everywhere=self.enabled):
            if "subject" in ALLOWED_PAIRS[mentions[index].label]:
                cases[index].add(modifier, "subject")
            else:
                cases[index].reasons.append(Reason("subject", modifier.span))
            cases[index].relative = True
        return [
            Ruling(_held(case), tuple(dict.fromkeys(case.reasons)), case.frame, case.relative, case.frame in self.there)
            for case in cases
        ]

    def _own_words(self, text: str, cases: list[_Case], found: Sequence[Found], starts: list[int]) -> list[int]:
        """Where each mention's own words begin: "change in edema" behind "no" is edema, "endorses cough" is cough."""
        begin = list(starts)
        at = 0
        for phrase in found:
            while at < len(cases) and cases[at].mention.span.end <= phrase.span.start:
                at += 1
            if at == len(cases):
                break
            span = cases[at].mention.span
            inside = span.start < phrase.span.end < span.end and phrase.says in ("unchanged", "stands", "cue")
            if not inside or (phrase.says == "unchanged" and self._is_neutral(text, span)):
                continue
            begin[at] = span.end - len(text[phrase.span.end : span.end].lstrip())
            if phrase.says != "cue":
                cases[at].mention = replace(cases[at].mention, span=Span(begin[at], span.end))
                cases[at].changed = True
        return begin

    def _judge_marks(self, text: str, cases: list[_Case], reach: Reach, found: Sequence[Found]) -> None:
        """Leave only the marks of the model that count."""
        marks = Marks(text, reach.structure, found, [phrase.span.start for phrase in found], self.breaks, self.behind)
        for index, case in enumerate(cases):
            kept = []
            for mark in case.held:
                counts, reason = marks.judge(case.mention, reach.starts[index], mark)
                if mark.label == "subject" and self.people.is_not_his(text, reach.mentions, index, mark):
                    counts, reason = None, Reason("line", mark.span)
                if reason is not None and reason.rule == "unchanged":
                    between = text[reason.span.end : reach.starts[index]]
                    if _AND_SO_ON.search(between.strip()) or self._is_neutral(text, case.mention.span):
                        counts, reason = mark, None
                if counts is not None:
                    kept.append(counts)
                if reason is not None:
                    case.reasons.append(reason)
            case.changed = case.changed or kept != case.held
            case.held = kept

    def _read_answers(self, text: str, cases: list[_Case], structure: Structure) -> set[int]:
        """Judge the mentions that are labels by their answers; gives where the answers start, which are no cues."""
        answered = set()
        for case in cases:
            answer = self.answers.read(text, structure, case.mention) if case.mention.label != "test" else None
            if answer is None:
                continue
            case.answer, span = answer
            answered.add(span.start)
            others = [mark for mark in case.held if mark.label != "negation"]
            case.changed, case.held = case.changed or others != case.held, others
            if case.answer:
                case.reasons.append(Reason("answer", span))
            else:
                case.add(Modifier("negation", span, rule=True), "answer")
        return answered

    def _apply_cues(self, cases: list[_Case], reach: Reach, found: Sequence[Found]) -> None:
        for phrase, reached in zip(found, reach.all(found), strict=True):
            if phrase.says == "unchanged":
                self._deny_change(cases, reach, phrase)
                continue
            for cue, indexes in zip(phrase.cues, reached, strict=True):
                for index in indexes:
                    case = cases[index]
                    if cue.modifier is None:
                        if case.frame is None:
                            case.frame = cue.rule
                            case.reasons.append(Reason(cue.rule, phrase.span))
                    elif case.answer is None and _lacks(case, cue):
                        case.add(Modifier(cue.modifier, phrase.span, rule=True), cue.rule)
        for case in cases:
            denials = [held.span for held in case.held if held.label == "negation"]
            if case.frame in _LOOKED_FOR and any(span.start >= case.mention.span.end for span in denials):
                case.frame = None

    def _deny_change(self, cases: list[_Case], reach: Reach, phrase: Found) -> None:
        """ "No change in vision": of what is no problem in itself, it is the change that is denied."""
        for index, start in enumerate(reach.starts):
            span = cases[index].mention.span
            runs_in = phrase.span.start < span.start < phrase.span.end <= span.end and start == span.start
            if runs_in and all(held.label != "negation" for held in cases[index].held):
                cases[index].add(Modifier("negation", Span(phrase.span.start, span.start), rule=True), "negation")

    def _frame_whole(self, text: str, cases: list[_Case], structure: Structure) -> None:
        """Mentions that are of a frame as they are ("fall risk"), or stand under a heading of one."""
        for case in cases:
            if case.frame is not None:
                continue
            span, label = case.mention.span, case.mention.label
            for patterns, side in ((self.opens, "match"), (self.closes, "fullmatch")):
                for name, pattern in patterns.get(label, ()):
                    if getattr(pattern, side)(text, span.start, span.end):
                        case.frame = case.frame or name
                        case.reasons.append(Reason(name, span))
            section = structure.section_at(span.start)
            if section is not None and case.frame is None:
                name, labels = self.headings.get(" ".join(section.name.of(text).split()), ("", frozenset()))
                if label in labels:
                    case.frame = name
                    case.reasons.append(Reason(name, section.name))

    def _is_neutral(self, text: str, span: Span) -> bool:
        return self.neutral.search(text, span.start, span.end) is not None


def _but_then(text: str, case: _Case) -> None:
    """ "No vomiting except after meals": then it is there."""
    found = _EXCEPT_WHEN.match(text, case.mention.span.end)
    if found is not None and any(held.label == "negation" for held in case.held):
        case.held = [held for held in case.held if held.label != "negation"]
        case.reasons.append(Reason("scope", Span(found.end() - len(found[0].lstrip(" ,")), found.end())))
        case.changed = True


def _ruled_out(text: str, case: _Case) -> None:
    """ "Suspected mastoiditis ruled out": what was doubted before is denied behind."""
    start, end = case.mention.span.start, case.mention.span.end
    denials = [held for held in case.held if held.label == "negation" and held.span.start >= end]
    if not any(_OUT.search(text, held.span.start, held.span.end) for held in denials):
        return
    kept = [held for held in case.held if held.label != "uncertain" or held.span.start > start]
    case.changed = case.changed or kept != case.held
    case.held = kept


def _is_twice_denied(text: str, phrase: Found) -> bool:
    """ "She cannot sit without pain": the pain is there."""
    at = phrase.span.start
    return text.startswith("without", at) and _UNABLE.search(text, max(0, at - 80), at) is not None


def load_arbiter(mappings: Mappings) -> Arbiter:
    """context.toml, frames.toml and relationships.toml. Raises MappingError."""
    table: dict[str, Any] = mappings.table("context", CONTEXT)
    frames: dict[str, Any] = mappings.table("frames", FRAMES)
    only_before = expanded(["{no|denies|denied|denying|without|not|negative for|no evidence of|never}"])

    def patterns(key: str, form: str) -> dict[MentionLabel, tuple[tuple[str, re.Pattern[str]], ...]]:
        found: dict[MentionLabel, tuple[tuple[str, re.Pattern[str]], ...]] = {}
        for name, frame in frames.items():
            if frame.get(key):
                pattern = re.compile(form.format(any_of(expanded(frame[key]))))
                for label in frame["mentions"]:
                    found[label] = (*found.get(label, ()), (name, pattern))
        return found

    headings: dict[str, tuple[str, frozenset[MentionLabel]]] = {}
    for name, frame in frames.items():
        headings.update(dict.fromkeys(expanded(frame.get("headings", ())), (name, frozenset(frame["mentions"]))))
    return Arbiter(
        enabled=table["enabled"],
        phrases=load_phrases(table, frames),
        answers=load_answers(table["answers"]),
        awaited=load_awaited(table["as_needed"]),
        people=load_people(table["subject"], mappings),
        breaks=re.compile(any_of(expanded(table["breaks"]))),
        behind=re.compile(any_of(only_before)),
        neutral=re.compile(rf"{any_of(expanded(table['stands']['neutral']))}\W*$"),
        opens=patterns("opens", r"{}\s"),
        closes=patterns("closes", r"(?:.*\W)?{}"),
        headings=headings,
        there=frozenset(name for name, frame in frames.items() if frame.get("there")),
    )


def _lacks(case: _Case, cue: Cue) -> bool:
    """Whether nothing says it yet. Of times only one before the mention counts: "history of stroke in 2006"."""
    return all(
        held.label != cue.modifier or (held.label == "temporal" and held.span.start > case.mention.span.start)
        for held in case.held
    )


def _held(case: _Case) -> Mention:
    """The mention with what it holds now; the very same one where nothing changed."""
    if not case.changed:
        return case.mention
    held = sorted(case.held, key=lambda modifier: (modifier.span, modifier.label))
    return replace(case.mention, modifiers=tuple(held))
