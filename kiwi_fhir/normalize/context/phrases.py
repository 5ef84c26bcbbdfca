"""Phrases of a mapping file that stand for several: `{is|was} {|still }not seen`, with and without contraction."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CHOICE = re.compile(r"\{([^{}]*)\}")
_NOT = re.compile(r"\b(is|are|was|were|do|does|did|has|have|had|could|would|should|can) ?not\b")
_WILL_NOT = re.compile(r"\bwill not\b")
_VERBS = ("is", "are", "was", "were")


def expanded(phrases: Iterable[str]) -> list[str]:
    """All phrases that `phrases` stand for, in lower case with single spaces, each once.

    `{a|b}` is one of its parts, an empty part is none of them, and choices may lie inside each other. What begins with
    "not" is there with "is not" too, and what holds "does not", "cannot" or the like with its contractions ("doesn't",
    "doesnt").
    """
    found: dict[str, None] = {}
    for phrase in phrases:
        for choice in _choices(phrase.lower()):
            one = " ".join(choice.split())
            whole = [one, *(f"{verb} {one}" for verb in _VERBS)] if one.startswith("not ") or one == "not" else [one]
            found.update(dict.fromkeys(form for part in whole for form in (part, *_contractions(part))))
    return list(found)


def _choices(phrase: str) -> list[str]:
    choice = _CHOICE.search(phrase)
    if choice is None:
        return [phrase]
    start, end = choice.span()
    return [one for part in choice[1].split("|") for one in _choices(f"{phrase[:start]}{part}{phrase[end:]}")]


def _contractions(phrase: str) -> list[str]:
    if _NOT.search(phrase):
        forms = [_NOT.sub(r"\1n't", phrase), _NOT.sub(r"\1nt", phrase)]
        if "can" in phrase:
            forms = [form.replace("cann't", "can't").replace("cannt", "cant") for form in forms]
            forms += [phrase.replace("cannot", "can not"), phrase.replace("can not", "cannot")]
        return forms
    if _WILL_NOT.search(phrase):
        return [_WILL_NOT.sub("won't", phrase), _WILL_NOT.sub("wont", phrase)]
    return []
