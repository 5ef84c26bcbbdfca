"""Whose a dose, a schedule or a route is: the drug's of its own line and clause, whatever the model linked.

From a drug's name the words of a prescription are read one after another (sig.py), up to the next drug or the end of
the sentence or list item. What is read so is the drug's: the model's modifiers there, whichever drug they were linked
to, and those that it did not find. A link to a modifier behind another drug, or in another line, is refused.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from kiwi_fhir.documents.structure import Structure
from kiwi_fhir.normalize.drug.sig import Sigs, Token, marks_end
from kiwi_fhir.types import Document, Mention, Modifier, ModifierLabel, Span

DOSING: frozenset[ModifierLabel] = frozenset({"strength", "dosage", "duration", "form", "frequency", "route"})
_JOINT = re.compile(r"\s*(?:[,/&+]|,?\s*(?:and|or|and/or|with)\b)\s*(?:(?:the|his|her|some)\s+)?", re.IGNORECASE)
_OF = re.compile(r"\s*(?:of\s+)?(?:(?:the|his|her|a|an)\s+)?", re.IGNORECASE)
_DASH = re.compile(r"\s*[-–]\s*")
_AMOUNT = re.compile(r"(?P<n>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]+)")
_LETTER = re.compile(r"[^\W\d_]")
_OF_NEXT = re.compile(r"[^,;.\n]{0,25}\bof\s+(?:(?:the|his|her)\s+)?", re.IGNORECASE)
_BARE = re.compile(r"\s+(?:(?:of|the|oral|iv|po|im)\s+)*", re.IGNORECASE)
_APART = re.compile(r"[,;]|\band\b", re.IGNORECASE)
_WAY_BACK = 60  # characters before a drug in which its dose may stand
_AMOUNTS = {"strength", "dosage"}


@dataclass(slots=True)
class _Chain:
    """What is read behind a drug: its modifiers, all that was read, and where what was read in one go ends."""

    modifiers: list[Modifier]
    read: list[Span]
    end: int


class _Reader:
    """Reads the dosing of one document."""

    def __init__(self, sigs: Sigs, text: str, document: Document, structure: Structure) -> None:
        self.sigs, self.text, self.structure = sigs, text, structure
        self.mentions = [mention for mention in document.mentions if _is_named(mention, text)]
        self.drugs = [index for index, mention in enumerate(self.mentions) if mention.label == "drug"]
        held = {
            (modifier.span, modifier.label): modifier
            for modifiers in (*(mention.modifiers for mention in document.mentions), document.unlinked)
            for modifier in modifiers
            if modifier.label in DOSING
        }
        self.model = [held[key] for key in sorted(held)]
        self.starts = [modifier.span.start for modifier in self.model]
        self.places = [mention.span.start for mention in self.mentions]

    def read(self) -> list[Mention]:
        chains: list[_Chain] = []
        for place, index in enumerate(self.drugs):
            following = self.mentions[self.drugs[place + 1]] if place + 1 < len(self.drugs) else None
            chains.append(self._chain(self.mentions[index], following))
        taken = {(held.span, held.label): place for place, chain in enumerate(chains) for held in chain.modifiers}
        covered = [span for chain in chains for span in chain.read]
        found = list(self.mentions)
        for place, index in enumerate(self.drugs):
            mention, chain = self.mentions[index], chains[place]
            kept = [
                modifier
                for modifier in mention.modifiers
                if (modifier.label != "temporal" and modifier.label not in DOSING)
                or (modifier.label == "temporal" and not _is_read(modifier, chain.modifiers))
                or (
                    modifier.label in DOSING
                    and taken.get((modifier.span, modifier.label), place) == place
                    and (modifier in chain.modifiers or self._may_hold(place, modifier, chains, covered))
                )
            ]
            own = [held for held in chain.modifiers if held not in kept]
            labels = {held.label for held in (*kept, *own)}
            if _AMOUNTS.isdisjoint(labels) or "duration" not in labels:
                low = max(chains[place - 1].end if place else 0, self.mentions[index - 1].span.end if index else 0)
                own += self._before(mention, low, dosed=not _AMOUNTS.isdisjoint(labels))
            if own or len(kept) != len(mention.modifiers):
                held = sorted((*kept, *own), key=lambda modifier: (modifier.span, modifier.label))
                found[index] = replace(mention, modifiers=tuple(held))
        return found

    def _chain(self, drug: Mention, following: Mention | None) -> _Chain:
        """What is read behind a drug, on from its name and from each modifier that the model links to it."""
        at = end = drug.span.end
        limit = self.structure.sentence_at(drug.span.start).end
        if following is not None:
            limit = min(limit, following.span.start)
        ahead = [held.span.start for held in drug.modifiers if held.label in DOSING and at <= held.span.start < limit]
        jumps = iter(ahead)
        found: list[Modifier] = []
        spans: list[Span] = []
        unbroken, before = True, "drug"
        while at < limit:
            step = self._step(at, limit, first=at == drug.span.end, counted=before in ("strength", "dosage"))
            if step is None:
                jump = next((start for start in jumps if start >= at), None)
                if jump is None:
                    break
                at, unbroken, before = jump, False, ""
                continue
            span, read = step
            if following is not None and self._is_of_next(drug, following, at, span, read, bool(found)):
                break
            spans.append(span)
            if read is not None:
                found.append(read)
            at, before = span.end, read.label if read is not None else ""
            end = at if unbroken else end
        return _Chain(_measured_first(found), spans, end)

    def _step(self, at: int, limit: int, *, first: bool, counted: bool) -> tuple[Span, Modifier | None] | None:
        """The next words of a prescription: where they stand, and the modifier they are (None of what is dispensed)."""
        at = marks_end(self.text, at, limit)
        while at < limit:
            index = bisect_left(self.places, at)
            stop = min(limit, self.places[index]) if index < len(self.places) else limit
            token = self.sigs.token(self.text, at, stop, first=first, counted=counted)
            held = self._held(at, limit)
            if token is None and held is not None:
                return held.span, held
            if token is not None:
                if held is not None and not _contains(token.span, held.span):
                    return held.span, held  # the model read more
                if held is not None and held.span == token.span and not _is_misnamed(held, token):
                    return held.span, held
                return token.span, self._modifier(token)
            filler = self.sigs.fillers.match(self.text, at, limit)
            if filler is None:
                return None
            at = marks_end(self.text, filler.end(), limit)
        return None

    def _held(self, at: int, limit: int) -> Modifier | None:
        """The longest of the model's modifiers that stand at `at`."""
        index = bisect_right(self.starts, at)
        near = [held for held in self.model[max(0, index - 6) : index] if at < held.span.end <= limit]
        return max(near, key=lambda held: (held.span.end, -held.span.start), default=None)

    def _modifier(self, token: Token) -> Modifier | None:
        """A token as a modifier: the model's where it has one of this span and label."""
        if token.label is None:
            return None
        index = bisect_left(self.starts, token.span.start)
        for held in self.model[index : index + 4]:
            alike = held.label == token.label or {held.label, token.label} == _AMOUNTS
            same = held.span == token.span or (token.label == "route" and _contains(token.span, held.span))
            if alike and same:
                return held
        return Modifier(token.label, token.span, rule=True)

    def _is_of_next(
        self, drug: Mention, following: Mention, at: int, span: Span, held: Modifier | None, has_dose: bool
    ) -> bool:
        """Whether a dose stands before the next drug and is its own: ", 5 mg of oxycodone", "and 40 mg Lasix"."""
        text, name = self.text, following.span.start
        if _OF_NEXT.fullmatch(text, span.end, name):
            return True
        if not _BARE.fullmatch(text, span.end, name):
            return False
        apart = _APART.search(text, at, span.start) is not None
        linked_here = held is not None and held in drug.modifiers
        linked_there = held is not None and held in following.modifiers
        return (linked_there and not linked_here) or (apart and has_dose and not linked_here)

    def _may_hold(self, place: int, modifier: Modifier, chains: Sequence[_Chain], covered: Sequence[Span]) -> bool:
        """Whether a drug may hold a modifier of the model that was read with none.

        It stands before the drug or further behind it in its sentence, or in a sentence without a drug of its own; and
        no other drug lies between but in a list ("oral Bactrim and ciprofloxacin", "aspirin and Plavix daily").
        """
        drug = self.mentions[self.drugs[place]].span
        if any(span.start < modifier.span.end and modifier.span.start < span.end for span in covered):
            return False  # a part of what was read anew
        low, high = min(drug.start, modifier.span.start), max(drug.end, modifier.span.end)
        between = [other for other in self._near(place) if low <= self.mentions[other].span.start < high]
        between = [other for other in between if self.mentions[other].span != drug]
        sentence = self.structure.sentence_at(modifier.span.start)
        if not sentence.start <= drug.start < sentence.end:
            own = [
                other for other in self._near(place) if sentence.start <= self.mentions[other].span.start < sentence.end
            ]
            same_item = self.structure.item_at(drug.start) == self.structure.item_at(modifier.span.start)
            same_section = self.structure.section_at(drug.start) == self.structure.section_at(modifier.span.start)
            return not own and not between and same_item and same_section
        if not between:
            return True
        row = sorted((drug, *(self.mentions[other].span for other in between)))
        return all(_JOINT.fullmatch(self.text, left.end, right.start) for left, right in pairwise(row))

    def _near(self, place: int) -> list[int]:
        return self.drugs[max(0, place - 12) : place + 13]

    def _before(self, drug: Mention, low: int, *, dosed: bool) -> list[Modifier]:
        """The dose right before a drug ("10 units of regular insulin"), of a dosed one only a "10-day course of"."""
        text, name = self.text, drug.span.start
        low = max(low, self.structure.sentence_at(name).start, name - _WAY_BACK)
        for found in re.finditer(r"(?<![\w.])[\w.½¼¾]", text[low:name]):
            read: list[Modifier] = []
            at = low + found.start()
            while at < name:
                token = self.sigs.token(text, at, name, counted=bool(read))
                modifier = self._modifier(token) if token is not None else None
                if token is None or modifier is None:
                    break
                read.append(modifier)
                at = token.span.end
                if _OF.fullmatch(text, at, name):
                    labels = {held.label for held in read}
                    return read if labels == {"duration"} or (not dosed and not _AMOUNTS.isdisjoint(labels)) else []
                at = marks_end(text, at, name)
                if text[token.span.end : at].strip():
                    break
        return []


def complete(sigs: Sigs, document: Document, structure: Structure) -> Document:
    """`document` with each dosing modifier at the drug whose it is; linear in the text's length."""
    if not any(mention.label == "drug" for mention in document.mentions):
        return document
    found = tuple(_Reader(sigs, document.note.text, _ranged(document), structure).read())
    return document if found == document.mentions else replace(document, mentions=found)


def _ranged(document: Document) -> Document:
    """`document` with "5 mg - 10 mg" as one strength: two with a dash between, the second the larger, and no third."""
    text = document.note.text
    mentions = list(document.mentions)
    for index, mention in enumerate(mentions):
        doses = [held for held in mention.modifiers if held.label == "strength"] if mention.label == "drug" else []
        if len(doses) != 2 or not _DASH.fullmatch(text, doses[0].span.end, doses[1].span.start):
            continue
        low, high = (_AMOUNT.fullmatch(held.span.of(text)) for held in doses)
        if low and high and low["unit"].lower() == high["unit"].lower() and float(low["n"]) < float(high["n"]):
            whole = replace(doses[0], span=Span(doses[0].span.start, doses[1].span.end))
            kept = tuple(whole if held == doses[0] else held for held in mention.modifiers if held != doses[1])
            mentions[index] = replace(mention, modifiers=kept)
    return replace(document, mentions=tuple(mentions)) if mentions != list(document.mentions) else document


def _is_named(mention: Mention, text: str) -> bool:
    """Whether a mention is no bare number: "201-250" of a sliding scale is no drug."""
    return mention.label != "drug" or _LETTER.search(text, mention.span.start, mention.span.end) is not None


def _is_misnamed(held: Modifier, token: Token) -> bool:
    """Whether the model calls a frequency a form or a route; an inhaler is both of these, and stays what it is."""
    return token.label is None or (token.label == "frequency" and held.label in ("form", "route"))


def _is_read(modifier: Modifier, read: Sequence[Modifier]) -> bool:
    """Whether a time ("at bedtime") was read as a frequency."""
    return any(held.label == "frequency" and _contains(held.span, modifier.span) for held in read)


def _contains(outer: Span, inner: Span) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


def _measured_first(found: list[Modifier]) -> list[Modifier]:
    """`found` with "50,000 units, 1 capsule" as a strength and a dose."""
    for index, (first, second) in enumerate(pairwise(found)):
        counted = index + 2 < len(found) and found[index + 2].label == "form"
        if first.label == second.label == "dosage" and counted:
            found[index] = replace(first, label="strength")
    return found
