"""The cues of context.toml and frames.toml: what each phrase says, of which mentions, and where a text has one."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from kiwi_fhir.normalize.context.phrases import expanded
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
        "unless?": ListOf(str),
        "opens?": ListOf(str),
        "closes?": ListOf(str),
        "headings?": ListOf(str),
    }
)

Side = Literal["before", "after", "closing"]
_SIDES: tuple[Side, ...] = get_args(Side)
_WORDS = 3
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
class Phrases:
    """All phrases, and what each says."""

    pattern: re.Pattern[str]
    cues: Mapping[str, tuple[Cue, ...]]
    others: Mapping[str, Literal["stands", "unchanged", "pseudo", "unread"]]
    backward: frozenset[str]

    def find(self, text: str, starts: Sequence[int], ends: Sequence[int]) -> Iterator[Found]:
        """The phrases of `text` (lower case) in order; `starts` and `ends` are those of its mentions.

        What lies inside a mention is none, but where the mention begins with it ("risk of falls"; of denials only what
        no problem's name begins with); what runs into a mention ends before it, but for `unchanged`, which shortens it.
        """
        at = 0
        while (match := self.pattern.search(text, at)) is not None:
            start, end = match.span()
            at = end
            key = " ".join(match[0].split())
            behind = bisect_left(starts, end)
            if behind and ends[behind - 1] > start:
                index = behind - 1
                opens = starts[index] == start and end < ends[index] and self._opens(text, end, key)
                if starts[index] <= start and end <= ends[index] and not opens:
                    continue
                if starts[index] > start and self.others.get(key) != "unchanged":
                    end = start + len(text[start : starts[index]].rstrip())
                    key, at = " ".join(text[start:end].split()), end
                    if end <= start:
                        at = match.end()
                        continue
            if key in self.others:
                yield Found(Span(start, end), self.others[key], backward=key in self.backward)
            elif key in self.cues:
                yield Found(Span(start, end), "cue", self.cues[key])

    def _opens(self, text: str, end: int, key: str) -> bool:
        """Whether a mention that begins with `key` is of what follows at `end`: not "no-reflow", "no energy"."""
        denies = any(cue.modifier == "negation" for cue in self.cues.get(key, ()))
        return text[end : end + 1].isspace() and (not denies or key in _OPENING_DENIALS)


def load_phrases(context: Mapping[str, Any], frames: Mapping[str, Any]) -> Phrases:
    """The phrases of context.toml and frames.toml."""
    cues: dict[str, tuple[Cue, ...]] = {}

    def add(phrases: Sequence[str], cue: Cue) -> None:
        """With each phrase `cue`, as the phrase's own marks ("^", "...") change it."""
        for phrase in phrases:
            begin, _, rest = phrase.partition(" ... ")
            changed = replace(cue, initial=phrase.startswith("^"), then=_then(rest) if rest else None)
            for one in expanded([begin.removeprefix("^")]):
                cues[one] = (*cues.get(one, ()), changed)

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
            re.compile(any_of(expanded((*context["ends"], *frame.get("ends", ()))))),
            rest=frame.get("reach") == "rest",
            unless=re.compile(any_of(expanded(frame["unless"]))) if frame.get("unless") else None,
        )
        add(frame.get("before", ()), cue)
        add(frame.get("after", ()), replace(cue, side="after", words=0, rest=False))
    stands = context["stands"]
    backward = expanded(stands["after"])
    others: dict[str, Literal["stands", "unchanged", "pseudo", "unread"]] = {
        **dict.fromkeys(expanded(context["unread"]), "unread"),
        **dict.fromkeys((*expanded(stands["before"]), *backward), "stands"),
        **dict.fromkeys(expanded(context["pseudo"]), "pseudo"),
        **dict.fromkeys(expanded(stands["unchanged"]), "unchanged"),
    }
    for phrase in others:
        cues.pop(phrase, None)
    return Phrases(re.compile(any_of([*cues, *others])), cues, others, frozenset(backward))


def _then(phrase: str) -> re.Pattern[str]:
    """What has to follow a phrase within eight words."""
    return re.compile(rf"(?:\W+\w[\w'-]*){{0,8}}?\W+{any_of(expanded([phrase]))}")
