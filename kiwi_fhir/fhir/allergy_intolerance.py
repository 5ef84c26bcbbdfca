"""What the patient is allergic to, or is not, as AllergyIntolerance: http://hl7.org/fhir/R4/allergyintolerance.html"""

from __future__ import annotations

from kiwi_fhir.fhir.elements import Resource, Sheet, coded
from kiwi_fhir.types import Fact

_CLINICAL = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
_VERIFICATION = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification"
_SEVERITIES = frozenset({"mild", "moderate", "severe"})


def allergy_intolerance(sheet: Sheet, fact: Fact) -> Resource:
    """The AllergyIntolerance of a substance, or of a statement that there are no allergies.

    "No known allergies" is a code that is true of the patient (active, confirmed), as in FHIR's own examples; a
    substance that is denied is refuted, and inactive, as ait-1 wants a clinicalStatus. `type` is only there where the
    note says intolerance: "allergies" in a note are often both.
    """
    rules = sheet.rules.allergy
    refuted = fact.negated and fact.allergy != "none"
    clinical = "inactive" if refuted else "active"
    if refuted:
        verification = "refuted"
    elif fact.allergy == "none":
        verification = "confirmed"
    else:
        verification = rules["possible"] if fact.doubt is not None else rules["present"]
    resource = sheet.start("AllergyIntolerance", fact)
    resource["clinicalStatus"] = coded(_CLINICAL, clinical, clinical.capitalize())
    resource["verificationStatus"] = coded(_VERIFICATION, verification, verification.capitalize())
    if fact.allergy == "intolerance":
        resource["type"] = "intolerance"
    if fact.allergy_category is not None:
        resource["category"] = [fact.allergy_category]
    resource["code"] = sheet.code(fact)
    resource["patient"] = sheet.subject
    if sheet.encounter is not None:
        resource["encounter"] = sheet.encounter
    if sheet.time is not None:
        resource["recordedDate"] = sheet.time
    if fact.reactions:
        resource["reaction"] = [_reaction(sheet, fact)]
    return resource


def _reaction(sheet: Sheet, fact: Fact) -> Resource:
    """What the substance did, as one event; its severity where all of it has one."""
    found: Resource = {
        "extension": [item for reaction in fact.reactions for item in sheet.evidence(reaction.mention)],
        "manifestation": [sheet.code(reaction) for reaction in fact.reactions],
    }
    said = {
        term.coding.display.lower() if term.coding is not None else ""
        for reaction in fact.reactions
        for term in reaction.severities
    }
    severity = said.pop() if len(said) == 1 else ""
    if severity in _SEVERITIES and all(reaction.severities for reaction in fact.reactions):
        found["severity"] = severity
    return found
