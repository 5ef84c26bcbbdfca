"""The elements of FHIR R4 (4.0.1) that our resources are checked against: http://hl7.org/fhir/R4/resourcelist.html

One line per type: `name type`, `name!` required, `name*` repeats, `name[x]` a choice of the types after it, `=set` a
required binding. Types that are not here are not looked into.
"""

from __future__ import annotations

TYPES = """
Condition: identifier* Identifier; clinicalStatus CodeableConcept=condition-clinical;
  verificationStatus CodeableConcept=condition-ver-status; category* CodeableConcept; severity CodeableConcept;
  code CodeableConcept; bodySite* CodeableConcept; subject! Reference; encounter Reference;
  onset[x] dateTime|Age|Period|Range|string; abatement[x] dateTime|Age|Period|Range|string; recordedDate dateTime;
  recorder Reference; asserter Reference; stage* Condition.stage; evidence* Condition.evidence; note* Annotation
Condition.stage: summary CodeableConcept; assessment* Reference; type CodeableConcept
Condition.evidence: code* CodeableConcept; detail* Reference
Observation: identifier* Identifier; basedOn* Reference; partOf* Reference; status! code=observation-status;
  category* CodeableConcept; code! CodeableConcept; subject Reference; focus* Reference; encounter Reference;
  effective[x] dateTime|Period|Timing|instant; issued instant; performer* Reference;
  value[x] Quantity|CodeableConcept|string|boolean|integer|Range|Ratio|SampledData|time|dateTime|Period;
  dataAbsentReason CodeableConcept; interpretation* CodeableConcept; note* Annotation; bodySite CodeableConcept;
  method CodeableConcept; specimen Reference; device Reference; referenceRange* Observation.referenceRange;
  hasMember* Reference; derivedFrom* Reference; component* Observation.component
Observation.referenceRange: low Quantity; high Quantity; type CodeableConcept; appliesTo* CodeableConcept; age Range;
  text string
Observation.component: code! CodeableConcept; dataAbsentReason CodeableConcept; interpretation* CodeableConcept;
  value[x] Quantity|CodeableConcept|string|boolean|integer|Range|Ratio|SampledData|time|dateTime|Period;
  referenceRange* Observation.referenceRange
MedicationStatement: identifier* Identifier; basedOn* Reference; partOf* Reference;
  status! code=medication-statement-status; statusReason* CodeableConcept; category CodeableConcept;
  medication[x]! CodeableConcept|Reference; subject! Reference; context Reference; effective[x] dateTime|Period;
  dateAsserted dateTime; informationSource Reference; derivedFrom* Reference; reasonCode* CodeableConcept;
  reasonReference* Reference; note* Annotation; dosage* Dosage
Procedure: identifier* Identifier; instantiatesCanonical* canonical; instantiatesUri* uri; basedOn* Reference;
  partOf* Reference; status! code=event-status; statusReason CodeableConcept; category CodeableConcept;
  code CodeableConcept; subject! Reference; encounter Reference; performed[x] dateTime|Period|string|Age|Range;
  recorder Reference; asserter Reference; performer* Procedure.performer; location Reference;
  reasonCode* CodeableConcept; reasonReference* Reference; bodySite* CodeableConcept; outcome CodeableConcept;
  report* Reference; complication* CodeableConcept; complicationDetail* Reference; followUp* CodeableConcept;
  note* Annotation; focalDevice* Procedure.focalDevice; usedReference* Reference; usedCode* CodeableConcept
Procedure.performer: function CodeableConcept; actor! Reference; onBehalfOf Reference
Procedure.focalDevice: action CodeableConcept; manipulated! Reference
FamilyMemberHistory: identifier* Identifier; instantiatesCanonical* canonical; instantiatesUri* uri;
  status! code=history-status; dataAbsentReason CodeableConcept; patient! Reference; date dateTime; name string;
  relationship! CodeableConcept; sex CodeableConcept; born[x] Period|date|string; age[x] Age|Range|string;
  estimatedAge boolean; deceased[x] boolean|Age|Range|date|string; reasonCode* CodeableConcept;
  reasonReference* Reference; note* Annotation; condition* FamilyMemberHistory.condition
FamilyMemberHistory.condition: code! CodeableConcept; outcome CodeableConcept; contributedToDeath boolean;
  onset[x] Age|Range|Period|string; note* Annotation
Provenance: target!* Reference; occurred[x] Period|dateTime; recorded! instant; policy* uri; location Reference;
  reason* CodeableConcept; activity CodeableConcept; agent!* Provenance.agent; entity* Provenance.entity;
  signature* Signature
Provenance.agent: type CodeableConcept; role* CodeableConcept; who! Reference; onBehalfOf Reference
Provenance.entity: role! code=provenance-entity-role; what! Reference; agent* Provenance.agent
Device: identifier* Identifier; definition Reference; udiCarrier* Device.udiCarrier; status code=device-status;
  statusReason* CodeableConcept; distinctIdentifier string; manufacturer string; manufactureDate dateTime;
  expirationDate dateTime; lotNumber string; serialNumber string; deviceName* Device.deviceName; modelNumber string;
  partNumber string; type CodeableConcept; specialization* Device.specialization; version* Device.version;
  property* Device.property; patient Reference; owner Reference; contact* ContactPoint; location Reference; url uri;
  note* Annotation; safety* CodeableConcept; parent Reference
Device.udiCarrier: deviceIdentifier string; issuer uri; jurisdiction uri; carrierAIDC base64Binary; carrierHRF string;
  entryType code=udi-entry-type
Device.deviceName: name! string; type! code=device-nametype
Device.specialization: systemType! CodeableConcept; version string
Device.version: type CodeableConcept; component Identifier; value! string
Device.property: type! CodeableConcept; valueQuantity* Quantity; valueCode* CodeableConcept
Medication: identifier* Identifier; code CodeableConcept; status code=medication-status; manufacturer Reference;
  form CodeableConcept; amount Ratio; ingredient* Medication.ingredient; batch Medication.batch
Medication.ingredient: item[x]! CodeableConcept|Reference; isActive boolean; strength Ratio
Medication.batch: lotNumber string; expirationDate dateTime
Meta: versionId id; lastUpdated instant; source uri; profile* canonical; security* Coding; tag* Coding
Identifier: use code=identifier-use; type CodeableConcept; system uri; value string; period Period;
  assigner Reference
Reference: reference string; type uri; identifier Identifier; display string
CodeableConcept: coding* Coding; text string
Coding: system uri; version string; code code; display string; userSelected boolean
Quantity: value decimal; comparator code=quantity-comparator; unit string; system uri; code code
Age: value decimal; comparator code=quantity-comparator; unit string; system uri; code code
Duration: value decimal; comparator code=quantity-comparator; unit string; system uri; code code
Range: low Quantity; high Quantity
Ratio: numerator Quantity; denominator Quantity
Period: start dateTime; end dateTime
Timing: event* dateTime; repeat Timing.repeat; code CodeableConcept
Timing.repeat: bounds[x] Duration|Range|Period; count positiveInt; countMax positiveInt; duration decimal;
  durationMax decimal; durationUnit code=units-of-time; frequency positiveInt; frequencyMax positiveInt;
  period decimal; periodMax decimal; periodUnit code=units-of-time; dayOfWeek* code=days-of-week; timeOfDay* time;
  when* code=event-timing; offset unsignedInt
Dosage: sequence integer; text string; additionalInstruction* CodeableConcept; patientInstruction string;
  timing Timing; asNeeded[x] boolean|CodeableConcept; site CodeableConcept; route CodeableConcept;
  method CodeableConcept; doseAndRate* Dosage.doseAndRate; maxDosePerPeriod Ratio; maxDosePerAdministration Quantity;
  maxDosePerLifetime Quantity
Dosage.doseAndRate: type CodeableConcept; dose[x] Range|Quantity; rate[x] Ratio|Range|Quantity
Annotation: author[x] Reference|string; time dateTime; text! markdown
Narrative: status! code=narrative-status; div! xhtml
"""

#: Resource types among TYPES; they also have the elements of DomainResource.
RESOURCES = frozenset(
    {
        "Condition",
        "Observation",
        "MedicationStatement",
        "Procedure",
        "FamilyMemberHistory",
        "Provenance",
        "Device",
        "Medication",
    }
)
RESOURCE_BASE = "id id; meta Meta; implicitRules uri; language code"
DOMAIN_BASE = (
    f"{RESOURCE_BASE}; text Narrative; contained* Resource; extension* Extension; modifierExtension* Extension"
)
ELEMENT_BASE = "id string; extension* Extension"
BACKBONE_BASE = f"{ELEMENT_BASE}; modifierExtension* Extension"

#: What Extension.value[x] may be in 4.0.1 (not CodeableReference, RatioRange or integer64 of later versions):
#: http://hl7.org/fhir/R4/datatypes.html#open
OPEN_TYPES = (
    "base64Binary boolean canonical code date dateTime decimal id instant integer markdown oid positiveInt string time "
    "unsignedInt uri url uuid Address Age Annotation Attachment CodeableConcept Coding ContactPoint Count Distance "
    "Duration HumanName Identifier Money Period Quantity Range Ratio Reference SampledData Signature Timing "
    "ContactDetail Contributor DataRequirement Expression ParameterDefinition RelatedArtifact TriggerDefinition "
    "UsageContext Dosage Meta"
)

#: The codes of the required bindings, by the last part of the value set's URL.
VALUE_SETS = {
    "condition-clinical": "active recurrence relapse inactive remission resolved",
    "condition-ver-status": "unconfirmed provisional differential confirmed refuted entered-in-error",
    "days-of-week": "mon tue wed thu fri sat sun",
    "device-nametype": "udi-label-name user-friendly-name patient-reported-name manufacturer-name model-name other",
    "device-status": "active inactive entered-in-error unknown",
    "event-status": "preparation in-progress not-done on-hold stopped completed entered-in-error unknown",
    "event-timing": (
        "MORN MORN.early MORN.late NOON AFT AFT.early AFT.late EVE EVE.early EVE.late NIGHT PHS HS WAKE C CM CD CV "
        "AC ACM ACD ACV PC PCM PCD PCV"
    ),
    "history-status": "partial completed entered-in-error health-unknown",
    "identifier-use": "usual official temp secondary old",
    "medication-statement-status": "active completed entered-in-error intended stopped on-hold unknown not-taken",
    "medication-status": "active inactive entered-in-error",
    "narrative-status": "generated extensions additional empty",
    "observation-status": "registered preliminary final amended corrected cancelled entered-in-error unknown",
    "provenance-entity-role": "derivation revision quotation source removal",
    "quantity-comparator": "< <= >= >",
    "udi-entry-type": "barcode rfid manual card self-reported unknown",
    "units-of-time": "s min h d wk mo a",
}

#: The code systems of the value sets that bind a CodeableConcept.
SYSTEMS = {
    "condition-clinical": "http://terminology.hl7.org/CodeSystem/condition-clinical",
    "condition-ver-status": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
}
