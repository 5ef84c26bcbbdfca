"""Data types and what every resource of a note shares: references, evidence, tags. Everything is a plain dict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kiwi_fhir.documents.lines import one_line, to_json
from kiwi_fhir.fhir.ids import uuid_of
from kiwi_fhir.fhir.r4.invariants import UCUM
from kiwi_fhir.fhir.r4.primitives import is_date_time, is_id
from kiwi_fhir.fhir.rules import Rules
from kiwi_fhir.types import Coding, Fact, Interval, Mention, Modifier, Moment, Note, Quantity, Term

Resource = dict[str, Any]

#: HL7's extension for text evidence: http://hl7.org/fhir/extensions/StructureDefinition-derivation-reference.html
DERIVATION = "http://hl7.org/fhir/StructureDefinition/derivation-reference"
INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"

#: Types that a note's `source` may refer to, and the identifiers of their notes.
_LITERAL = {"DocumentReference": "document-reference", "DiagnosticReport": "diagnostic-report"}
_LARGEST_INTEGER = 2**31 - 1  # of FHIR's integer
_SECONDS_MISSING = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d)((?:Z|[+-]\d\d:\d\d)?)")


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the resources of one note share; they hold the very same objects, which must not be changed.

    `time` is the note's, as far as it is a FHIR dateTime. `meta` says that a machine made the resource (AIAST), and
    which: its tag lets a rerun clean up. `document` refers to the DocumentReference, `identifier` is the note's.
    """

    note: Note
    rules: Rules
    time: str | None
    meta: Resource
    subject: Resource
    encounter: Resource | None
    document: Resource
    identifier: Resource

    def start(self, kind: str, fact: Fact, *says: str) -> Resource:
        """A resource with id, tags and evidence. `says` tells apart what one mention becomes several times."""
        mention = fact.mention
        span = mention.span
        place = (mention.label, str(span.start), str(span.end))
        return {
            "resourceType": kind,
            "id": self.id(kind, *place, fact.text, fact.assertion, *says),
            "meta": self.meta,
            "extension": self.evidence(mention),
        }

    def id(self, *parts: str) -> str:
        """The id of what `parts` say about the note."""
        return uuid_of(self.note.source, self.note.id, *parts)

    def code(self, fact: Fact) -> Resource:
        """The CodeableConcept of a mention: its words, and its codings with how each was found."""
        found = concept(fact.text, fact.codings)
        for item, written in zip(fact.codings, found.get("coding", ()), strict=True):
            if item.method is not None:
                written["extension"] = [self._link(item)]
        return found

    def _link(self, item: Coding) -> Resource:
        """How a mention was linked to a code; the score where the method has one, OMOP's concept where it is known."""
        parts: list[Resource] = [{"url": "method", "valueCode": item.method}]
        if item.score is not None:
            parts.append({"url": "score", "valueDecimal": item.score})
        if item.concept_id is not None and item.concept_id <= _LARGEST_INTEGER:
            parts.append({"url": "concept", "valueInteger": item.concept_id})
        return {"url": f"{self.rules.extensions}link", "extension": parts}

    def body_site(self, site: Term) -> Resource:
        """The CodeableConcept of a body site, its laterality as an extension: R4's bodySite has no place for it."""
        found = term(site)
        if site.laterality is not None:
            side: Resource = {"url": f"{self.rules.extensions}laterality"}
            side["valueCodeableConcept"] = {"coding": [coding(site.laterality)]}
            found = {"extension": [side], **found}
        return found

    def evidence(self, mention: Mention) -> list[Resource]:
        """First where a mention stands, then how sure the model is (where it says; or that a rule found it), then its
        modifiers."""
        span, base = mention.span, self.rules.extensions
        derivation: Resource = {
            "url": DERIVATION,
            "extension": [
                {"url": "reference", "valueReference": self.document},
                {"url": "path", "valueString": self.rules.source_path},
                {"url": "offset", "valueInteger": span.start},
                {"url": "length", "valueInteger": span.end - span.start},
            ],
        }
        found: list[Resource] = [derivation]
        if mention.rule:
            found.append({"url": f"{base}method", "valueCode": "rule"})
        elif mention.score is not None:
            found.append({"url": f"{base}confidence", "valueDecimal": round(mention.score, 4)})
        found.extend(self._modifier(modifier) for modifier in mention.modifiers)
        return found

    def _modifier(self, modifier: Modifier) -> Resource:
        """A modifier's words and place: also those that no element could take."""
        span = modifier.span
        parts: list[Resource] = [
            {"url": "label", "valueCode": modifier.label},
            {"url": "text", "valueString": one_line(self.note.text[span.start : span.end])},
            {"url": "offset", "valueInteger": span.start},
            {"url": "length", "valueInteger": span.end - span.start},
        ]
        if modifier.rule:
            parts.append({"url": "method", "valueCode": "rule"})
        elif modifier.score is not None:
            link = 1.0 if modifier.link is None else modifier.link
            parts.append({"url": "confidence", "valueDecimal": round(modifier.score * link, 4)})
        return {"url": f"{self.rules.extensions}modifier", "extension": parts}


def gather(evidence: Sequence[Sequence[Resource]], extensions: str) -> list[Resource]:
    """The evidence of several places as one: all places, how sure the surest is, then the rest, each once.

    That a rule found it is only said where a rule found all of it.
    """
    places: dict[bytes, Resource] = {}
    rest: dict[bytes, Resource] = {}
    scores: list[Resource] = []
    methods: list[Resource] = []
    for item in (item for part in evidence for item in part):
        if item["url"] == f"{extensions}confidence":
            scores.append(item)
        elif item["url"] == f"{extensions}method":
            methods.append(item)
        else:
            (places if item["url"] == DERIVATION else rest).setdefault(to_json(item), item)
    surest = [max(scores, key=lambda item: float(item["valueDecimal"]))] if scores else []
    return [*places.values(), *(methods[:1] if len(methods) == len(evidence) else surest), *rest.values()]


def sheet_of(note: Note, rules: Rules, *, tag: str) -> Sheet:
    """The sheet of a note; `tag` names model and version."""
    kind = _LITERAL.get(note.source.partition("/")[0]) or ("document-reference" if _is_whole(note.source) else None)
    system = f"{rules.identifiers}{kind or note.source}"
    identifier = {"system": system, "value": note.id}
    security = {
        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
        "code": "AIAST",
        "display": "Artificial Intelligence asserted",
    }
    patient, encounter = note.patient_id, note.encounter_id
    return Sheet(
        note=note,
        rules=rules,
        time=date_time(note.time),
        meta={"security": [security], "tag": [{"system": rules.tags, "code": tag}]},
        subject={"display": "Unknown patient"} if patient is None else _reference("Patient", patient, system),
        encounter=None if encounter is None else _reference("Encounter", encounter, system),
        document={"reference": note.source} if kind else {"type": "DocumentReference", "identifier": identifier},
        identifier=identifier,
    )


def _reference(kind: str, name: str, system: str) -> Resource:
    """A reference to a logical id or a whole reference; by identifier where `name` can be neither."""
    if _is_whole(name):
        return {"reference": name}
    if is_id(name):
        return {"reference": f"{kind}/{name}"}
    return {"type": kind, "identifier": {"system": f"{system}:{kind.lower()}", "value": name}}


def date_time(time: str | None) -> str | None:
    """`time` as a FHIR dateTime: seconds filled in, the time of day left out where no zone is known."""
    if time is None:
        return None
    if found := _SECONDS_MISSING.fullmatch(time):
        time = f"{found[1]}:00{found[2]}"
    if is_date_time(time):
        return time
    return time[:10] if is_date_time(time[:10]) else None


def coding(item: Coding) -> Resource:
    """A Coding."""
    found = {"system": item.system, "code": item.code, "display": item.display}
    return {key: value for key, value in found.items() if value}


def concept(text: str, codings: Iterable[Coding] = ()) -> Resource:
    """A CodeableConcept: the words always, codings where there are any."""
    found = [coding(item) for item in codings]
    return {"coding": found, "text": text} if found else {"text": text}


def coded(system: str, code: str, display: str | None = None) -> Resource:
    """A CodeableConcept of one code."""
    item = {"system": system, "code": code}
    if display is not None:
        item["display"] = display
    return {"coding": [item]}


def term(item: Term) -> Resource:
    """A CodeableConcept of a modifier's words."""
    return concept(item.text, () if item.coding is None else (item.coding,))


def quantity(item: Quantity) -> Resource:
    """A Quantity; the code is UCUM, and only there for a known unit."""
    found: Resource = {"value": item.value}
    if item.comparator is not None:
        found["comparator"] = item.comparator
    if item.unit is not None:
        found["unit"] = item.unit
    if item.code is not None:
        found["system"], found["code"] = UCUM, item.code
    return found


def interval(item: Interval) -> Resource:
    """A Range."""
    found = {}
    if item.low is not None:
        found["low"] = quantity(item.low)
    if item.high is not None:
        found["high"] = quantity(item.high)
    return found


def joined(terms: Sequence[Term]) -> Resource:
    """Several terms as one CodeableConcept: their words, and the code when all agree on one."""
    texts = list(dict.fromkeys(item.text for item in terms))
    codes = {item.coding for item in terms}
    shared = codes.pop() if len(codes) == 1 else None
    return concept("; ".join(texts), () if shared is None else (shared,))


def choose_time(moments: Iterable[Moment], *, resolve: bool) -> tuple[str, object] | None:
    """When, as the type and value of an element like effective[x]: a dateTime or a Period.

    A date counts when it is the only one and not after the note: of several it is not known which is meant.
    """
    relevant = [moment for moment in moments if moment.kind in ("date", "relative") and not moment.future]
    dates = {(moment.date, moment.until) for moment in relevant if moment.date is not None}
    if not dates and resolve:
        dates = {(moment.resolved, None) for moment in relevant if moment.resolved is not None}
    if len(dates) != 1:
        return None
    start, end = dates.pop()
    return ("DateTime", start) if end is None else ("Period", {"start": start, "end": end})


def choose_when(moments: Iterable[Moment], *, resolve: bool) -> tuple[str, object] | None:
    """The same of an element like onset[x]: a dateTime or a Period, else an age, else words.

    An age counts when it is the only one; otherwise all words stay together.
    """
    relevant = [moment for moment in moments if moment.kind in ("date", "relative", "age") and not moment.future]
    time = choose_time(relevant, resolve=resolve)
    if time is not None:
        return time
    ages = {moment.age for moment in relevant if moment.age is not None}
    if len(ages) == 1:
        age = ages.pop()
        return ("Range", interval(age)) if isinstance(age, Interval) else ("Age", quantity(age))
    return ("String", "; ".join(dict.fromkeys(moment.text for moment in relevant))) if relevant else None


def _is_whole(reference: str) -> bool:
    return reference.startswith(("http://", "https://", "urn:"))
