"""What a mention is looked up by: its words, then ever fewer of them; and the name that it is a part of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from kiwi_fhir.normalize.terminology.codes import CodeTable
from kiwi_fhir.normalize.terminology.names import key, stands_for, without
from kiwi_fhir.normalize.terminology.rules import Rules
from kiwi_fhir.types import Mention, MentionLabel, ModifierLabel, Span

#: Modifiers at the edge of a mention that are no part of its name.
_EDGES: dict[MentionLabel, frozenset[ModifierLabel]] = {
    "problem": frozenset({"negation", "uncertain", "subject", "severity"}),
    "test": frozenset({"negation", "labvalue", "reference_range"}),
    "drug": frozenset({"negation", "strength", "dosage", "form", "route", "frequency", "duration"}),
    "treatment": frozenset({"negation"}),
}
# "3. gout", "#2 gout", "(1) gout"; "2+ edema", "1 to 2+ edema"
_NUMBER = re.compile(r"(?:#\s?\d{1,2}[.:)]?|\(?\d{1,2}[.)])\s*(?=[A-Za-z])|\d\s?(?:(?:-|to)\s?\d\s?)?\+\s+(?=[A-Za-z])")
_SHORT = r"\(\s*(?P<short>[A-Za-z][A-Za-z0-9/&-]{1,9})\s*\)"
DEFINED_BEHIND = re.compile(rf"\s{{0,3}}{_SHORT}")
_DEFINED_INSIDE = re.compile(rf"(?P<long>.*\S)\s*{_SHORT}", re.DOTALL)
# A word behind a mention, on its line: "Tylenol| No.| 3", "lisinopril|/HCTZ", "Diovan| HCT"
# (a bare number may be "3 times a day")
_NEXT = re.compile(
    r"[ \t]*(?:#[ \t]?\d{1,2}\b|no\.?[ \t]?\d{1,2}\b|\d{1,3}/\d{1,3}\b|[/+-]?[ \t]?[A-Za-z]+)", re.IGNORECASE
)
# "CA| 125", "hemoglobin| A1c"
_FIGURES = re.compile(r"[ \t-]*[A-Za-z]*\d[A-Za-z0-9]*(?:[.-]\d+)?(?!\w)")
_MOST_BEHIND = 3
# Behind ", Total" of "Bilirubin, Total 1.2": no word that goes on with another name ("calcium, total protein")
_BEHIND_COMMA = re.compile(r"[ \t]*,[ \t]*")
_NOT_GOING_ON = re.compile(
    r"(?![ \t]*(?!(?i:is|was|were|of|at|neg(?:ative)?|pos(?:itive)?|normal|trace|none|small|large)\b)[A-Za-z/])"
    r"(?!\s*\n\s*[a-z])"
)


class Phrase(NamedTuple):
    """What is asked of a mention: its words, without the modifiers at its edges, and the body site said elsewhere."""

    label: MentionLabel
    words: str
    bare: str
    site: str = ""
    joined: bool = False


class Form(NamedTuple):
    """A key to look up, and what its words leave out: nothing, a side (and which), or a place or degree."""

    key: str
    leaves_out: str = ""
    side: str = ""


def asked(text: str, mention: Mention) -> Phrase:
    """What is asked of a mention, without the number of a list or grade before it."""
    span, label = mention.span, mention.label
    start, end = span.start, span.end
    site, joined = "", False
    edges = _EDGES[label]
    inside: list[Span] = []
    for modifier in mention.modifiers:
        inner = modifier.span
        if inner.start >= span.start and inner.end <= span.end:
            if modifier.label in edges:
                inside.append(inner)
        elif modifier.label == "bodyloc":
            if site:  # several places: none of them alone is the place
                joined = True
            site = key(inner.of(text))
            joined = joined or (inner.end <= span.start and not text[inner.end : span.start].strip())
    for inner in inside:
        if inner.start == start and text[inner.end : inner.end + 1].isspace():
            start = inner.end + 1
    for inner in reversed(inside):
        if inner.end == end and text[inner.start - 1 : inner.start].isspace():
            end = inner.start - 1
    words = _unnumbered(text[span.start : span.end], label)
    bare = words if start >= end or not inside else _unnumbered(text[start:end], label)
    return Phrase(label, words, bare, site, joined)


def defined_inside(words: str) -> re.Match[str] | None:
    """Of "long form (LF)" the two."""
    found = _DEFINED_INSIDE.fullmatch(words) if words.endswith(")") else None
    return found if found is not None and stands_for(found["short"], found["long"]) else None


def forms(phrase: Phrase, table: CodeTable, rules: Rules) -> Iterator[Form]:
    """The keys to look up, each once: whole ones, then without determiners, without fillers, without sides."""
    wholes = _wholes(phrase, rules)
    seen = {""}
    for form in wholes:
        if form.key not in seen:
            seen.add(form.key)
            yield form
    for form in wholes:
        words = form.key.split(" ")
        if words[0] not in rules.determiners and table.filler_starts.isdisjoint(words):
            continue
        cut = rules.undetermined(form.key)
        if cut not in seen:
            seen.add(cut)
            yield form._replace(key=cut)
        words = cut.split(" ")
        for fillers in table.fillers:
            less = without(cut, fillers)
            if less not in seen:
                seen.add(less)
                sides = rules.sides.intersection(words).difference(less.split(" "))
                if sides:
                    yield form._replace(key=less, leaves_out=form.leaves_out or "side", side=_side(sides))
                else:
                    yield form._replace(key=less)


def _wholes(phrase: Phrase, rules: Rules) -> list[Form]:
    """The phrase with its place, where that is said elsewhere; the phrase; the phrase without its edges."""
    inside = defined_inside(phrase.words)
    whole = key(phrase.words if inside is None else inside["long"])
    forms: list[Form] = []
    leaves_out = side = ""
    if phrase.site and rules.sides.issuperset(phrase.site.split(" ")):
        leaves_out, side = "side", _side(set(phrase.site.split(" ")))
    elif phrase.site:
        leaves_out = "place"
        forms = [Form(f"{phrase.site} {whole}")]
        forms += [Form(f"{whole} {joint} {phrase.site}") for joint in ("of", "in")]
        if phrase.joined:  # "pulmonary" right before "hypertension": another problem
            return forms
    forms.append(Form(whole, leaves_out, side))
    if (spelled := rules.spelled_side(whole)) != whole and phrase.label != "drug":
        forms.append(Form(spelled, leaves_out, side))
    if phrase.words.count(",") == 1:  # "anemia, iron deficiency"
        before, _, behind = phrase.words.partition(",")
        if before.strip() and behind.strip():
            forms.append(Form(key(f"{behind} {before}"), leaves_out, side))
    if phrase.bare != phrase.words:
        bare = key(phrase.bare)
        forms.append(Form(bare if phrase.label == "drug" else rules.spelled_side(bare), leaves_out or "degree", side))
    return forms


def _side(sides: set[str] | frozenset[str]) -> str:
    """The one side that words say, as ICD-10-CM names it; "" where they say none for certain."""
    if len(sides) > 1:
        return "bilateral" if sides == {"left", "right"} else ""
    (side,) = sides
    return "bilateral" if side == "both" else side


def _unnumbered(words: str, label: MentionLabel) -> str:
    found = _NUMBER.match(words) if label == "problem" else None
    return words if found is None else words[found.end() :]


def whole(text: str, mention: Mention, table: CodeTable) -> Span:
    """The name that a mention begins ("Tylenol" of "Tylenol No. 3"), where the table has it."""
    span = mention.span
    if table.inverted is not None and (comma := _BEHIND_COMMA.match(text, span.end)) is not None:
        found = table.inverted.match(text, comma.end())
        if found is not None and _NOT_GOING_ON.match(text, found.end()) is not None:
            return Span(span.start, found.end())
    if not table.beginnings or key(span.of(text)) not in table.beginnings:
        return span
    longest, end = span, span.end
    behind = _NEXT if mention.label == "drug" else _FIGURES
    for _ in range(_MOST_BEHIND):
        word = behind.match(text, end)
        if word is None:
            break
        end = word.end()
        name = key(text[span.start : end])
        if name in table.found or name in table.uncoded:
            longest = Span(span.start, end)
        if name not in table.beginnings:
            break
    return longest
