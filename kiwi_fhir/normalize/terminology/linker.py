"""Mentions to codes: code table, then official names, then (opt-in) names with a slip put right.

Each step takes a phrase only as a whole. What a table calls uncoded or ambiguous gets no code at a later step. Then
what is whole in another way: a combination of drugs by its parts, a name that stands twice ("furosemide (Lasix)"), a
symptom without its course. It is long since the order of the steps, which decides, is seen only in one place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Protocol

from kiwi_fhir.normalize.terminology.codes import Ambiguous, CodeTable, as_written
from kiwi_fhir.normalize.terminology.index import Concept, Index
from kiwi_fhir.normalize.terminology.names import key, stands_for
from kiwi_fhir.normalize.terminology.phrases import DEFINED_BEHIND, Form, Phrase, asked, defined_inside, forms, whole
from kiwi_fhir.normalize.terminology.rules import Rules
from kiwi_fhir.normalize.terminology.spelling import Speller
from kiwi_fhir.types import Coding, Document, Mention, MentionLabel, Modifier, Span

Codings = tuple[Coding, ...]
# "atorvastatin (Lipitor)"; the parts of "losartan-HCTZ", "sacubitril / valsartan"
_TWICE = re.compile(r"(?P<one>[^()\[\]]*[^()\[\]\s])\s*[(\[]\s*(?P<other>[^()\[\]]*[^()\[\]\s])\s*[)\]]", re.DOTALL)
_JOINT = re.compile(r"\s*[/+]\s*|\s+-\s+|(?<=[A-Za-z])-(?=[A-Za-z])")
_MOST_PARTS, _LONGEST = 3, 120
_UNSPECIFIED = re.compile(r"\bunspecified\b(?! (?:organism|cause|type|etiology))", re.IGNORECASE)
_MOST_KEPT = 100_000


class Linker(Protocol):
    """Links mentions to codes. Picklable; one instance serves any number of documents."""

    def codings(self, document: Document) -> list[Codings]:
        """The codings of each mention of `document`, in its order; none where it is not certain."""
        ...

    def whole(self, text: str, mention: Mention) -> Span:
        """The span of the name that a mention is the beginning of; its own where it is whole."""
        ...

    def of_test(self, coding: Coding) -> Codings:
        """A code of codes_test.toml with what the vocabulary knows of it; none where our tables do not count."""
        ...


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
        self._kept: dict[Phrase, Codings | Ambiguous] = {}

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
            found.append(self._codings(asked(text, mention), mention, own) if known is None else known)
        return found

    def whole(self, text: str, mention: Mention) -> Span:
        """See `Linker`."""
        return whole(text, mention, self._tables[mention.label])

    def of_test(self, coding: Coding) -> Codings:
        """See `Linker`."""
        return self._of_table(coding, "test", coding.method or "table")

    def _codings(self, phrase: Phrase, mention: Mention, note: _Note) -> Codings:
        answer = self._kept.get(phrase)
        if answer is None:
            answer = self._link(phrase)
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[phrase] = answer
        if isinstance(answer, Ambiguous):
            return self._resolved(answer, mention, note)
        return answer

    def _definitions(self, document: Document, note: _Note) -> dict[tuple[MentionLabel, str], Codings]:
        """What the note's own abbreviations mean: the codings of their long forms, also none."""
        defined: dict[tuple[MentionLabel, str], Codings] = {}
        for mention in document.mentions:
            long = mention.span.of(note.text)
            if (inside := defined_inside(long)) is not None:
                long, short = inside["long"], inside["short"]
            elif (behind := DEFINED_BEHIND.match(note.text, mention.span.end)) and stands_for(behind["short"], long):
                short = behind["short"]
            else:
                continue
            codings = tuple(
                item if item.method in ("fuzzy", "exact") else replace(item, method="abbreviation")
                for item in self._codings(Phrase(mention.label, long, long), mention, note)
            )
            if defined.setdefault((mention.label, short), codings) != codings:
                defined[mention.label, short] = ()
        return defined

    def _link(self, phrase: Phrase) -> Codings | Ambiguous:
        """The codings of a phrase; an empty answer says that it has none at any step."""
        table = self._tables[phrase.label]
        if (code := table.written.get(as_written(phrase.words))) is not None:
            return self._of_table(table.codings[code], phrase.label, "table")
        answer = self._as_said(phrase, table)
        if answer is None and phrase.label == "drug":
            answer = self._combined(phrase, table)
        if answer is None:
            answer = self._said_twice(phrase)
        if answer is None and table.courses:
            answer = self._without_course(phrase, table)
        return () if answer is None else answer

    def _as_said(self, phrase: Phrase, table: CodeTable) -> Codings | Ambiguous | None:
        """From the note's own words to ever fewer of them. None where no step knows them."""
        tried: list[Form] = []
        every = forms(phrase, table, self._rules)
        for form in every:
            if form.key in table.uncoded:
                return ()
            if answer := self._exact(form, phrase.label, table):
                # An uncoded phrase with a filler ("acute pain") stays uncoded, whatever an official name says.
                if form.key in table.found or form.key in table.ambiguous:
                    return answer
                bare = (item.key for item in every if item.leaves_out != "place")
                return answer if table.uncoded.isdisjoint(bare) else ()
            tried.append(form)
        for form in tried if self._speller is not None else ():
            if codings := self._corrected(form, phrase.label, table):
                return codings
        return None

    def _combined(self, phrase: Phrase, table: CodeTable) -> Codings | None:
        """The code of a combination of drugs, whatever their order and names; never that of one of them."""
        parts = _JOINT.split(phrase.bare) if len(phrase.bare) < _LONGEST else []
        if not 1 < len(parts) <= _MOST_PARTS:
            return None
        code = self._combinations.get(frozenset(map(self._drug, parts)))
        return None if code is None else self._of_table(table.codings[code], "drug", "table")

    @cached_property
    def _combinations(self) -> dict[frozenset[str | None], str]:
        """The codes of the table's combinations by those of their drugs."""
        codings = self._tables["drug"].codings
        displays = {code: item.display.split(" / ") for code, item in codings.items() if " / " in item.display}
        known = {frozenset(map(self._drug, parts)): code for code, parts in displays.items()}
        return {drugs: code for drugs, code in known.items() if None not in drugs}

    def _drug(self, name: str) -> str | None:
        answer = self._as_said(Phrase("drug", name, name), self._tables["drug"])
        return answer[0].code if isinstance(answer, tuple) and answer else None

    def _said_twice(self, phrase: Phrase) -> Codings | None:
        """The codings of "furosemide (Lasix)" where both names have them."""
        twice = _TWICE.fullmatch(phrase.words) if len(phrase.words) < _LONGEST else None
        if twice is None:
            return None
        label = phrase.label
        one, other = (self._as_said(Phrase(label, words, words), self._tables[label]) for words in twice.groups())
        if not isinstance(one, tuple) or not isinstance(other, tuple) or not one or not other:
            return None
        return one if one[0].code == other[0].code else None

    def _without_course(self, phrase: Phrase, table: CodeTable) -> Codings | None:
        """The codings of a symptom whose name begins with its course ("intermittent chest pain")."""
        words = self._rules.undetermined(key(phrase.bare))
        course, _, rest = words.partition(" ")
        if course not in table.courses or not rest:
            return None
        answer = self._as_said(phrase._replace(words=rest, bare=rest), table)
        is_symptom = isinstance(answer, tuple) and all((item.code or "").startswith(table.symptoms) for item in answer)
        return answer if is_symptom and isinstance(answer, tuple) else None

    def _exact(self, form: Form, label: MentionLabel, table: CodeTable) -> Codings | Ambiguous:
        if (known := table.found.get(form.key)) is not None:
            code, method = known
            coding = table.codings[code]
            if form.leaves_out and self._lacks(form, coding.display, label):
                return self._sided(form, coding.display, label)
            return self._of_table(coding, label, method)
        if (several := table.ambiguous.get(form.key)) is not None:
            return several
        found = self._index.find(form.key, label)
        if not found:
            return ()
        if form.leaves_out and any(self._lacks(form, concept.display, label) for concept in found):
            return self._sided(form, found[0].display, label) if len(found) == 1 else ()
        if label == "drug" and (drug := _in_table(found, table)) is not None:
            own = self._of_table(drug, label, "exact")
            return _unique([*own, *(other for concept in found for other in self._with_targets(concept, "exact"))])
        if len(found) == 1 and not found[0].leads:
            return (_coding(found[0], "exact"),)
        return _unique(coding for concept in found for coding in self._with_targets(concept, "exact"))

    def _sided(self, form: Form, display: str, label: MentionLabel) -> Codings:
        """The code of the side that was said, in place of one that says "unspecified" of it."""
        before, _, behind = display.lower().rpartition("unspecified")
        if form.leaves_out != "side" or not form.side:
            return ()
        for name in (f"{before}{form.side}{behind}", f"{before}{form.side}"):
            found = self._index.find(key(name), label)
            if len(found) == 1:
                return _unique(self._with_targets(found[0], "exact"))
        return ()

    def _corrected(self, form: Form, label: MentionLabel, table: CodeTable) -> Codings:
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

    def _lacks(self, form: Form, display: str, label: MentionLabel) -> bool:
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
