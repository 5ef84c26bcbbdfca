"""The cues of context.toml and frames.toml: what each phrase says, of which mentions, and where a text has one."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from kiwi_fhir.normalize.context.phrases import PhraseBook, expanded
from kiwi_fhir.normalize.text.trie import any_of
from kiwi_fhir.tables import ListOf, MapOf, OneOf, Schema
from kiwi_fhir.types import MentionLabel, ModifierLabel, Span

_MENTIONS = ListOf(OneOf(("problem", "treatment", "drug", "test")))
_CUES: dict[str, Schema] = {
    "modifier": OneOf(("negation", "uncertain", "condition", "temporal")),
    "mentions": _MENTIONS,
    "words": int,
    "ends": ListOf(str),
    "before": ListOf(str),
    "after": ListOf(str),
    "closing?": ListOf(str),
}
#: The tables of context.toml that give a mention a modifier.
KINDS = ("negation", "not_taken", "not_made", "uncertain", "condition", "history")
#: The schema of context.toml.
CONTEXT: dict[str, Schema] = {
    "enabled": bool,
    "ends": ListOf(str),
    "breaks": ListOf(str),
    "pseudo": ListOf(str),
    "unread": ListOf(str),
    **dict.fromkeys(KINDS, _CUES),
    "stands": {"before": ListOf(str), "after": ListOf(str), "unchanged": ListOf(str), "neutral": ListOf(str)},
    "as_needed": {"words": ListOf(str), "for": ListOf(str)},
    "answers": {"yes": ListOf(str), "no": ListOf(str)},
    "subject": dict.fromkeys(
        ("behind", "has", "family", "patient", "offspring", "persons", "between", "owned", "unowned", "reports"),
        ListOf(str),
    ),
}
#: The schema of frames.toml.
FRAMES: Schema = MapOf(
    {
        "mentions": _MENTIONS,
        "words?": int,
        "reach?": OneOf(("list", "rest")),
        "before?": ListOf(str),
        "after?": ListOf(str),
        "ends?": ListOf(str),
        "through?": ListOf(str),
        "unless?": ListOf(str),
        "opens?": ListOf(str),
        "closes?": ListOf(str),
        "headings?": ListOf(str),
        "there?": bool,
    }
)

Side = Literal["before", "after", "closing"]
_SIDES: tuple[Side, ...] = get_args(Side)
_WORDS = 3
_SYMPTOMS = frozenset({"fear of", "fears of"})  # what a problem's own name begins with
_OPENING_DENIALS = frozenset({"negative", "denies", "denied", "without"})


@dataclass(frozen=True, slots=True)
class Cue:
    """What a phrase says of mentions of `mentions`: a `modifier`, or that they stand in the frame `rule`.

    `side` is where the phrase stands: before the mention, after it, or after it and at the end of a clause. At most
    `words` words and no phrase of `ends` may lie between. `rest` reaches all that follows in the sentence. `then` is
    what has to follow the phrase, `initial` says that it begins a sentence or clause, and `unless` are words before or
    in a mention that take it out ("screening for his diabetes").
    """

    rule: str
    modifier: ModifierLabel | None
    mentions: frozenset[MentionLabel]
    words: int
    side: Side
    ends: re.Pattern[str]
    rest: bool = False
    then: re.Pattern[str] | None = None
    initial: bool = False
    unless: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A phrase in a text. `says` is `cue`, or what speaks against one.

    `stands` ("positive for"): what follows (or, `backward`, what precedes) is there; `unchanged` ("no change in"): what
    follows is; `pseudo`: it looks like a cue and is none; `unread`: so too, but the model's mark on it counts.
    """

    span: Span
    says: Literal["cue", "stands", "unchanged", "pseudo", "unread"]
    cues: tuple[Cue, ...] = ()
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Other:
    """What a phrase says that is no cue, and whether of what stands before it."""

    says: Literal["unread", "stands", "pseudo", "unchanged"]
    backward: bool = False


#: What counts of a phrase that stands in several lists; the last.
_WEIGHTS = ("unread", "stands", "pseudo", "unchanged")


@dataclass(frozen=True, slots=True)
class Phrases:
    """All phrases, and what each says."""

    book: PhraseBook[Cue | Other]

    def find(self, text: str, starts: Sequence[int], ends: Sequence[int]) -> Iterator[Found]:
        """The phrases of `text` (lower case) in order; `starts` and `ends` are those of its mentions.

        What lies inside a mention is none, but where the mention begins with it ("risk of falls"; of denials only what
        no problem's name begins with); what runs into a mention ends before it, but for `unchanged`, which shortens it.
        """
        at = 0
        while (match := self.book.search(text, at)) is not None:
            span, said = match
            at = span.end
            found = _found(span, said)
            behind = bisect_left(starts, span.end)
            if behind and ends[behind - 1] > span.start:
                index = behind - 1
                opens = starts[index] == span.start and span.end < ends[index] and _opens(text, found)
                if starts[index] <= span.start and span.end <= ends[index] and not opens:
                    continue
                if starts[index] > span.start and found.says != "unchanged":
                    span = Span(span.start, span.start + len(text[span.start : starts[index]].rstrip()))
                    said = self.book.read(text, span) if span.end > span.start else ()
                    if not said:
                        at = max(span.end, span.start + 1)
                        continue
                    at, found = span.end, _found(span, said)
            yield found


def _found(span: Span, said: Sequence[Cue | Other]) -> Found:
    others = [one for one in said if isinstance(one, Other)]
    if others:
        says = max((other.says for other in others), key=_WEIGHTS.index)
        return Found(span, says, backward=any(other.backward for other in others))
    return Found(span, "cue", tuple(one for one in said if isinstance(one, Cue)))


def _opens(text: str, found: Found) -> bool:
    """Whether a mention that begins with this phrase is of what follows it: not "no-reflow", "no energy"."""
    denies = any(cue.modifier == "negation" for cue in found.cues)
    words = found.span.of(text)
    if words in _SYMPTOMS:
        return False
    return text[found.span.end : found.span.end + 1].isspace() and (not denies or words in _OPENING_DENIALS)


def load_phrases(context: Mapping[str, Any], frames: Mapping[str, Any]) -> Phrases:
    """The phrases of context.toml and frames.toml."""
    phrases: list[tuple[str, Cue | Other]] = []

    def add(words: Sequence[str], cue: Cue) -> None:
        """With each phrase `cue`, as the phrase's own marks ("^", "...") change it."""
        for phrase in words:
            begin, _, rest = phrase.partition(" ... ")
            changed = replace(cue, initial=phrase.startswith("^"), then=_then(rest) if rest else None)
            phrases.append((begin.removeprefix("^"), changed))

    for kind in KINDS:
        rule = context[kind]
        ends = re.compile(any_of(expanded((*context["ends"], *rule["ends"]))))
        cue = Cue(kind, rule["modifier"], frozenset(rule["mentions"]), rule["words"], "before", ends)
        for side in _SIDES:
            add(rule.get(side, ()), replace(cue, side=side))
    for name, frame in frames.items():
        cue = Cue(
            name,
            None,
            frozenset(frame["mentions"]),
            frame.get("words", _WORDS),
            "before",
            re.compile(
                any_of(expanded((*_without(context["ends"], frame.get("through", ())), *frame.get("ends", ()))))
            ),
            rest=frame.get("reach") == "rest",
            unless=re.compile(any_of(expanded(frame["unless"]))) if frame.get("unless") else None,
        )
        add(frame.get("before", ()), cue)
        add(frame.get("after", ()), replace(cue, side="after", words=0, rest=False))
    stands = context["stands"]
    others = (
        (context["unread"], Other("unread")),
        (stands["before"], Other("stands")),
        (stands["after"], Other("stands", backward=True)),
        (context["pseudo"], Other("pseudo")),
        (stands["unchanged"], Other("unchanged")),
    )
    phrases += [(phrase, other) for words, other in others for phrase in words]
    return Phrases(PhraseBook(phrases))


def _without(words: Sequence[str], others: Sequence[str]) -> list[str]:
    return [word for word in words if word not in others]


def _then(phrase: str) -> re.Pattern[str]:
    """What has to follow a phrase within eight words."""
    return re.compile(rf"(?:\W+\w[\w'-]*){{0,8}}?\W+{any_of(expanded([phrase]))}")
