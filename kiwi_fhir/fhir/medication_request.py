"""A drug as a MedicationRequest that the note reports, as US Core has it: `drug.resource` in fhir.toml.

http://hl7.org/fhir/us/core/STU7/medication-list.html: a plan that is reported, without the order behind it.
"""

from __future__ import annotations

from kiwi_fhir.fhir.elements import Resource, Sheet
from kiwi_fhir.fhir.medication_statement import dosages, state
from kiwi_fhir.types import Fact


def medication_request(sheet: Sheet, fact: Fact) -> Resource | None:
    """The MedicationRequest of a drug; None of one that is not taken, which a request can't say.

    The product is a concept, never contained, so that servers find it by code; words of form and strength are in the
    dosage and in the evidence.
    """
    key = state(sheet.rules, fact)
    if key == "negated":
        return None
    resource = sheet.start("MedicationRequest", fact)
    resource["status"] = sheet.rules.medication_request[key]
    resource["intent"] = "plan"
    resource["reportedBoolean"] = True
    resource["medicationCodeableConcept"] = sheet.code(fact)
    resource["subject"] = sheet.subject
    if sheet.encounter is not None:
        resource["encounter"] = sheet.encounter
    if sheet.time is not None:
        resource["authoredOn"] = sheet.time
    if fact.dosages:
        resource["dosageInstruction"] = dosages(fact)
    return resource
