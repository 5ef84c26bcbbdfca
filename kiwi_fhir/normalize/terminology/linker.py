"""Mentions to codes: code table, then official names, then (opt-in) names with a slip put right.

Each step takes a phrase only as a whole. What a table calls uncoded or ambiguous gets no code at a later step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

from kiwi_fhir.normalize.terminology.codes import Ambiguous, CodeTable
from kiwi_fhir.normalize.terminology.index import Concept, Index
from kiwi_fhir.normalize.terminology.names import key, stands_for, without
from kiwi_fhir.normalize.terminology.rules import Rules
from kiwi_fhir.normalize.terminology.spelling import Speller
from kiwi_fhir.types import Coding, Document, Mention, MentionLabel, Modifier, ModifierLabel, Span

Codings = tuple[Coding, ...]
#: The fields of a _Phrase, as a key to what was answered before.
_Asked = tuple[MentionLabel, str, str, str, bool]

#: Modifiers at the edge of a mention that are no part of its name.
_EDGES: dict[MentionLabel, frozenset[ModifierLabel]] = {
    "problem": frozenset({"negation", "uncertain", "subject", "severity"}),
    "test": frozenset({"negation", "labvalue", "reference_range"}),
    "drug": frozenset({"negation", "strength", "dosage", "form", "route", "frequency", "duration"}),
    "treatment": frozenset({"negation"}),
}
_SHORT = r"\(\s*(?P<short>[A-Za-z][A-Za-z0-9/&-]{1,9})\s*\)"
_DEFINED_BEHIND = re.compile(rf"\s{{0,3}}{_SHORT}")
_DEFINED_INSIDE = re.compile(rf"(?P<long>.*\S)\s*{_SHORT}", re.DOTALL)
_UNSPECIFIED = re.compile(r"\bunspecified\b(?! (?:organism|cause|type|etiology))", re.IGNORECASE)
_MOST_KEPT = 100_000


class Linker(Protocol):
    """Links mentions to codes. Picklable; one instance serves any number of documents."""

    def codings(self, document: Document) -> list[Codings]:
        """The codings of each mention of `document`, in its order; none where it is not certain."""
        ...

    def of_test(self, coding: Coding) -> Codings:
        """A code of codes_test.toml with what the vocabulary knows of it; none where our tables do not count."""
        ...


class _Phrase(NamedTuple):
    """What is asked of a mention: its words, without the modifiers at its edges, and the body site said elsewhere."""

    label: MentionLabel
    words: str
    bare: str
    site: str
    joined: bool


class _Form(NamedTuple):
    """A key to look up, and what its words leave out: nothing, a side, or a place or degree."""

    key: str
    leaves_out: str = ""


class TermLinker:
    """The default linker: code tables, an index of names, and a speller."""

    def __init__(
        self,
        tables: Mapping[MentionLabel, CodeTable],
        rules: Rules,
        index: Index,
        *,
        fuzzy: bool = False,
    ) -> None:
        self._tables, self._rules, self._index, self._fuzzy = tables, rules, index, fuzzy
        self._speller = Speller(index, tables, rules) if fuzzy else None
        self._kept: dict[_Asked, Codings | Ambiguous] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickled, (self._tables, self._rules, self._index, self._fuzzy)

    def codings(self, document: Document) -> list[Codings]:
        """See `Linker`. An abbreviation that the note explains, "long form (LF)", means that throughout the note."""
        text = document.note.text
        own = _Note(text)
        defined = self._definitions(document, own) if "(" in text else {}
        found: list[Codings] = []
        for mention in document.mentions:
            known = defined.get((mention.label, mention.span.of(text))) if defined else None
            found.append(self._codings(_asked(text, mention), mention, own) if known is None else known)
        return found

    def of_test(self, coding: Coding) -> Codings:
        """See `Linker`."""
        return self._of_table(coding, "test", coding.method or "table")

    def _codings(self, asked: _Asked, mention: Mention, note: _Note) -> Codings:
        answer = self._kept.get(asked)
        if answer is None:
            answer = self._link(_Phrase(*asked))
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[asked] = answer
        if isinstance(answer, Ambiguous):
            return self._resolved(answer, mention, note)
        return answer

    def _definitions(self, document: Document, note: _Note) -> dict[tuple[MentionLabel, str], Codings]:
        """What the note's own abbreviations mean: the codings of their long forms, also none."""
        defined: dict[tuple[MentionLabel, str], Codings] = {}
        for mention in document.mentions:
            long = mention.span.of(note.text)
            if (inside := _defined_inside(long)) is not None:
                long, short = inside["long"], inside["short"]
            elif (behind := _DEFINED_BEHIND.match(note.text, mention.span.end)) and stands_for(behind["short"], long):
                short = behind["short"]
            else:
                continue
            asked = (mention.label, long, long, "", False)
            codings = tuple(
                item if item.method in ("fuzzy", "exact") else replace(item, method="abbreviation")
                for item in self._codings(asked, mention, note)
            )
            if defined.setdefault((mention.label, short), codings) != codings:
                defined[mention.label, short] = ()
        return defined

    def _link(self, phrase: _Phrase) -> Codings | Ambiguous:
        """The codings of a phrase, from the note's own words to ever fewer of them."""
        table = self._tables[phrase.label]
        tried: list[_Form] = []
        forms = self._forms(phrase, table)
        for form in forms:
            if form.key in table.uncoded:
                return ()
            if answer := self._exact(form, phrase.label, table):
                # An uncoded phrase with a filler ("acute pain") stays uncoded, whatever an official name says.
                if form.key in table.found or form.key in table.ambiguous:
                    return answer
                bare = (item.key for item in forms if item.leaves_out != "place")
                return answer if table.uncoded.isdisjoint(bare) else ()
            tried.append(form)
        for form in tried if self._speller is not None else ():
            if codings := self._corrected(form, phrase.label, table):
                return codings
        return ()

    def _forms(self, phrase: _Phrase, table: CodeTable) -> Iterator[_Form]:
        """The keys to look up, each once: whole ones, then without determiners, without fillers, without sides."""
        wholes = self._wholes(phrase)
        seen = {""}
        for form in wholes:
            if form.key not in seen:
                seen.add(form.key)
                yield form
        for form in wholes:
            words = form.key.split(" ")
            if words[0] not in self._rules.determiners and table.filler_starts.isdisjoint(words):
                continue
            cut = self._rules.undetermined(form.key)
            if cut not in seen:
                seen.add(cut)
                yield form._replace(key=cut)
            words = cut.split(" ")
            for fillers in table.fillers:
                less = without(cut, fillers)
                if less not in seen:
                    seen.add(less)
                    sided = not self._rules.sides.isdisjoint(set(words) - set(less.split(" ")))
                    yield form._replace(key=less, leaves_out=form.leaves_out or ("side" if sided else ""))

    def _wholes(self, phrase: _Phrase) -> list[_Form]:
        """The phrase with its place, where that is said elsewhere; the phrase; the phrase without its edges."""
        inside = _defined_inside(phrase.words)
        whole = key(phrase.words if inside is None else inside["long"])
        forms: list[_Form] = []
        leaves_out = ""
        if phrase.site and self._rules.sides.issuperset(phrase.site.split(" ")):
            leaves_out = "side"
        elif phrase.site:
            leaves_out = "place"
            forms = [_Form(f"{phrase.site} {whole}")]
            forms += [_Form(f"{whole} {joint} {phrase.site}") for joint in ("of", "in")]
            if phrase.joined:  # "pulmonary" right before "hypertension": another problem
                return forms
        forms.append(_Form(whole, leaves_out))
        if phrase.bare != phrase.words:
            forms.append(_Form(key(phrase.bare), leaves_out or "degree"))
        return forms

    def _exact(self, form: _Form, label: MentionLabel, table: CodeTable) -> Codings | Ambiguous:
        if (known := table.found.get(form.key)) is not None:
            code, method = known
            coding = table.codings[code]
            lacks = form.leaves_out and self._lacks(form, coding.display, label)
            return () if lacks else self._of_table(coding, label, method)
        if (several := table.ambiguous.get(form.key)) is not None:
            return several
        found = self._index.find(form.key, label)
        if not found:
            return ()
        if form.leaves_out and any(self._lacks(form, concept.display, label) for concept in found):
            return ()
        if label == "drug" and (drug := _in_table(found, table)) is not None:
            own = self._of_table(drug, label, "exact")
            return _unique([*own, *(other for concept in found for other in self._with_targets(concept, "exact"))])
        if len(found) == 1 and not found[0].leads:
            return (_coding(found[0], "exact"),)
        return _unique(coding for concept in found for coding in self._with_targets(concept, "exact"))

    def _corrected(self, form: _Form, label: MentionLabel, table: CodeTable) -> Codings:
        """The codings of the one correction that has any; none where corrections disagree."""
        assert self._speller is not None  # noqa: S101 (asked before)
        best: Codings = ()
        for phrase, score in self._speller.corrections(form.key, label):
            if phrase in table.uncoded:
                return ()
            answer = self._exact(form._replace(key=phrase), label, table)
            if isinstance(answer, Ambiguous):
                return ()
            if answer and best and answer[0].code != best[0].code:
                return ()
            if answer and not best:
                best = tuple(replace(item, method="fuzzy", score=score) for item in answer)
        return best

    def _lacks(self, form: _Form, display: str, label: MentionLabel) -> bool:
        """Whether a code says "unspecified" of what the note does say."""
        if "unspecified" not in display.lower():
            return False
        if form.leaves_out == "place":
            return _UNSPECIFIED.search(display) is not None
        if form.leaves_out == "degree":
            return "severity" in display
        before, _, behind = display.lower().rpartition("unspecified")
        return any(self._index.find(key(f"{before}{side}{behind}"), label) for side in ("left", "right"))

    def _of_table(self, coding: Coding, label: MentionLabel, method: str) -> Codings:
        """A table's coding, with what the index knows of its code; of a drug also the same drug in other systems."""
        own = replace(coding, method=method)
        concept = self._index.by_code(coding.system or "", coding.code or "")
        found = [own] if concept is None else self._with_targets(concept, method, own)
        if label == "drug":
            for other in self._index.find(key(coding.display), label):
                if other.system != coding.system:
                    found += self._with_targets(other, "exact")
        return _unique(found)

    def _with_targets(self, concept: Concept, method: str, own: Coding | None = None) -> list[Coding]:
        first = _coding(concept, method)
        if own is not None:  # the table's display stays
            first = replace(first, display=own.display)
        return [first, *(_coding(target, method) for target in self._index.targets(concept))]

    def _resolved(self, answer: Ambiguous, mention: Mention, note: _Note) -> Codings:
        """The candidate that the note names in full, else that of the section, else that of a number, else none."""
        label = mention.label
        named = [code for code, words in answer.long_forms.items() if any(note.holds(item) for item in words)]
        code = named[0] if len(named) == 1 else None
        if not named:
            code = answer.sections.get(mention.section or "")
            if code is None and any(_is_number(modifier, note.text) for modifier in mention.modifiers):
                code = answer.number
        return () if code is None else self._of_table(self._tables[label].codings[code], label, "abbreviation")


class _Note:
    """A note's text, and its key once somebody asks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._key: str | None = None

    def holds(self, phrase: str) -> bool:
        """Whether the note has the words of this key side by side."""
        if self._key is None:
            self._key = f" {key(self.text)} "
        return f" {phrase} " in self._key


def _is_number(modifier: Modifier, text: str) -> bool:
    """Whether a modifier is a number of two figures or more: one alone may be a grade ("2+")."""
    start = modifier.span.start
    return modifier.label == "labvalue" and text[start : start + 2].isdecimal() and modifier.span.end > start + 1


def _unpickled(tables: Mapping[MentionLabel, CodeTable], rules: Rules, index: Index, fuzzy: bool) -> TermLinker:
    return TermLinker(tables, rules, index, fuzzy=fuzzy)


def _in_table(found: Iterable[Concept], table: CodeTable) -> Coding | None:
    """The table's code of a drug that the index knows by another name ("Lasix": furosemide)."""
    known = (table.found.get(key(concept.display)) for concept in found)
    codes = {item[0] for item in known if item is not None and item[1] == "table"}
    return table.codings[codes.pop()] if len(codes) == 1 else None


def _coding(concept: Concept, method: str) -> Coding:
    return Coding(
        concept.system,
        concept.code,
        concept.display,
        method,
        concept_id=concept.concept_id,
        domain=concept.domain,
        standard=bool(concept.standard),
    )


def _unique(codings: Iterable[Coding]) -> Codings:
    return tuple({(item.system, item.code): item for item in reversed(tuple(codings))}.values())[::-1]


def _defined_inside(words: str) -> re.Match[str] | None:
    """Of "long form (LF)" the two."""
    found = _DEFINED_INSIDE.fullmatch(words) if words.endswith(")") else None
    return found if found is not None and stands_for(found["short"], found["long"]) else None


def _asked(text: str, mention: Mention) -> _Asked:
    """What is asked of a mention."""
    span, label = mention.span, mention.label
    start, end = span.start, span.end
    if not mention.modifiers:
        words = text[start:end]
        return label, words, words, "", False
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
    words = text[span.start : span.end]
    bare = words if start >= end else text[start:end]
    return label, words, bare, site, joined
