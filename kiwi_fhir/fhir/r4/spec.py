"""The elements of FHIR R4 (4.0.1) that our resources are checked against: http://hl7.org/fhir/R4/resourcelist.html

One line per type: `name type`, `name!` required, `name*` repeats, `name[x]` a choice of the types after it, `=set` a
required binding or, of a Reference, `=Type,Type` what it may refer to. Types that are not here are not looked into.
"""

from __future__ import annotations

TYPES = """
Condition: identifier* Identifier; clinicalStatus CodeableConcept=condition-clinical;
  verificationStatus CodeableConcept=condition-ver-status; category* CodeableConcept; severity CodeableConcept;
  code CodeableConcept; bodySite* CodeableConcept; subject! Reference=Patient,Group; encounter Reference=Encounter;
  onset[x] dateTime|Age|Period|Range|string; abatement[x] dateTime|Age|Period|Range|string; recordedDate dateTime;
  recorder Reference=Practitioner,PractitionerRole,Patient,RelatedPerson;
  asserter Reference=Practitioner,PractitionerRole,Patient,RelatedPerson; stage* Condition.stage;
  evidence* Condition.evidence; note* Annotation
Condition.stage: summary CodeableConcept; assessment* Reference=ClinicalImpression,DiagnosticReport,Observation;
  type CodeableConcept
Condition.evidence: code* CodeableConcept; detail* Reference
Observation: identifier* Identifier;
  basedOn* Reference=CarePlan,DeviceRequest,ImmunizationRecommendation,MedicationRequest,NutritionOrder,ServiceRequest;
  partOf* Reference=MedicationAdministration,MedicationDispense,MedicationStatement,Procedure,Immunization,ImagingStudy;
  status! code=observation-status; category* CodeableConcept; code! CodeableConcept;
  subject Reference=Patient,Group,Device,Location; focus* Reference; encounter Reference=Encounter;
  effective[x] dateTime|Period|Timing|instant; issued instant;
  performer* Reference=Practitioner,PractitionerRole,Organization,CareTeam,Patient,RelatedPerson;
  value[x] Quantity|CodeableConcept|string|boolean|integer|Range|Ratio|SampledData|time|dateTime|Period;
  dataAbsentReason CodeableConcept; interpretation* CodeableConcept; note* Annotation; bodySite CodeableConcept;
  method CodeableConcept; specimen Reference=Specimen; device Reference=Device,DeviceMetric;
  referenceRange* Observation.referenceRange;
  hasMember* Reference=Observation,QuestionnaireResponse,MolecularSequence;
  derivedFrom* Reference=DocumentReference,ImagingStudy,Media,QuestionnaireResponse,Observation,MolecularSequence;
  component* Observation.component
Observation.referenceRange: low Quantity; high Quantity; type CodeableConcept; appliesTo* CodeableConcept; age Range;
  text string
Observation.component: code! CodeableConcept;
  value[x] Quantity|CodeableConcept|string|boolean|integer|Range|Ratio|SampledData|time|dateTime|Period;
  dataAbsentReason CodeableConcept; interpretation* CodeableConcept; referenceRange* Observation.referenceRange
MedicationStatement: identifier* Identifier; basedOn* Reference=MedicationRequest,CarePlan,ServiceRequest;
  partOf* Reference=MedicationAdministration,MedicationDispense,MedicationStatement,Procedure,Observation;
  status! code=medication-statement-status; statusReason* CodeableConcept; category CodeableConcept;
  medication[x]! CodeableConcept|Reference=Medication; subject! Reference=Patient,Group;
  context Reference=Encounter,EpisodeOfCare; effective[x] dateTime|Period; dateAsserted dateTime;
  informationSource Reference=Patient,Practitioner,PractitionerRole,RelatedPerson,Organization;
  derivedFrom* Reference; reasonCode* CodeableConcept;
  reasonReference* Reference=Condition,Observation,DiagnosticReport; note* Annotation; dosage* Dosage
MedicationRequest: identifier* Identifier; status! code=medicationrequest-status; statusReason CodeableConcept;
  intent! code=medicationrequest-intent; category* CodeableConcept; priority code=request-priority;
  doNotPerform boolean;
  reported[x] boolean|Reference=Patient,Practitioner,PractitionerRole,RelatedPerson,Organization;
  medication[x]! CodeableConcept|Reference=Medication; subject! Reference=Patient,Group;
  encounter Reference=Encounter; supportingInformation* Reference; authoredOn dateTime;
  requester Reference=Practitioner,PractitionerRole,Organization,Patient,RelatedPerson,Device;
  performer Reference=Practitioner,PractitionerRole,Organization,Patient,Device,RelatedPerson,CareTeam;
  performerType CodeableConcept; recorder Reference=Practitioner,PractitionerRole; reasonCode* CodeableConcept;
  reasonReference* Reference=Condition,Observation; instantiatesCanonical* canonical; instantiatesUri* uri;
  basedOn* Reference=CarePlan,MedicationRequest,ServiceRequest,ImmunizationRecommendation; groupIdentifier Identifier;
  courseOfTherapyType CodeableConcept; insurance* Reference=Coverage,ClaimResponse; note* Annotation;
  dosageInstruction* Dosage; dispenseRequest MedicationRequest.dispenseRequest;
  substitution MedicationRequest.substitution; priorPrescription Reference=MedicationRequest;
  detectedIssue* Reference=DetectedIssue; eventHistory* Reference=Provenance
MedicationRequest.dispenseRequest: initialFill MedicationRequest.dispenseRequest.initialFill;
  dispenseInterval Duration; validityPeriod Period; numberOfRepeatsAllowed unsignedInt; quantity Quantity;
  expectedSupplyDuration Duration; performer Reference=Organization
MedicationRequest.dispenseRequest.initialFill: quantity Quantity; duration Duration
MedicationRequest.substitution: allowed[x]! boolean|CodeableConcept; reason CodeableConcept
Procedure: identifier* Identifier; instantiatesCanonical* canonical; instantiatesUri* uri;
  basedOn* Reference=CarePlan,ServiceRequest; partOf* Reference=Procedure,Observation,MedicationAdministration;
  status! code=event-status; statusReason CodeableConcept; category CodeableConcept; code CodeableConcept;
  subject! Reference=Patient,Group; encounter Reference=Encounter; performed[x] dateTime|Period|string|Age|Range;
  recorder Reference=Patient,RelatedPerson,Practitioner,PractitionerRole;
  asserter Reference=Patient,RelatedPerson,Practitioner,PractitionerRole; performer* Procedure.performer;
  location Reference=Location; reasonCode* CodeableConcept;
  reasonReference* Reference=Condition,Observation,Procedure,DiagnosticReport,DocumentReference;
  bodySite* CodeableConcept; outcome CodeableConcept;
  report* Reference=DiagnosticReport,DocumentReference,Composition; complication* CodeableConcept;
  complicationDetail* Reference=Condition; followUp* CodeableConcept; note* Annotation;
  focalDevice* Procedure.focalDevice; usedReference* Reference=Device,Medication,Substance; usedCode* CodeableConcept
Procedure.performer: function CodeableConcept;
  actor! Reference=Practitioner,PractitionerRole,Organization,Patient,RelatedPerson,Device;
  onBehalfOf Reference=Organization
Procedure.focalDevice: action CodeableConcept; manipulated! Reference=Device
FamilyMemberHistory: identifier* Identifier; instantiatesCanonical* canonical; instantiatesUri* uri;
  status! code=history-status; dataAbsentReason CodeableConcept; patient! Reference=Patient; date dateTime;
  name string; relationship! CodeableConcept; sex CodeableConcept; born[x] Period|date|string;
  age[x] Age|Range|string; estimatedAge boolean; deceased[x] boolean|Age|Range|date|string;
  reasonCode* CodeableConcept;
  reasonReference* Reference=Condition,Observation,AllergyIntolerance,QuestionnaireResponse,DiagnosticReport,
  DocumentReference;
  note* Annotation; condition* FamilyMemberHistory.condition
FamilyMemberHistory.condition: code! CodeableConcept; outcome CodeableConcept; contributedToDeath boolean;
  onset[x] Age|Range|Period|string; note* Annotation
AllergyIntolerance: identifier* Identifier; clinicalStatus CodeableConcept=allergyintolerance-clinical;
  verificationStatus CodeableConcept=allergyintolerance-verification; type code=allergy-intolerance-type;
  category* code=allergy-intolerance-category; criticality code=allergy-intolerance-criticality; code CodeableConcept;
  patient! Reference=Patient; encounter Reference=Encounter; onset[x] dateTime|Age|Period|Range|string;
  recordedDate dateTime; recorder Reference=Practitioner,PractitionerRole,Patient,RelatedPerson;
  asserter Reference=Patient,RelatedPerson,Practitioner,PractitionerRole; lastOccurrence dateTime; note* Annotation;
  reaction* AllergyIntolerance.reaction
AllergyIntolerance.reaction: substance CodeableConcept; manifestation!* CodeableConcept; description string;
  onset dateTime; severity code=reaction-event-severity; exposureRoute CodeableConcept; note* Annotation
Provenance: target!* Reference; occurred[x] Period|dateTime; recorded! instant; policy* uri;
  location Reference=Location; reason* CodeableConcept; activity CodeableConcept; agent!* Provenance.agent;
  entity* Provenance.entity; signature* Signature
Provenance.agent: type CodeableConcept; role* CodeableConcept;
  who! Reference=Practitioner,PractitionerRole,RelatedPerson,Patient,Device,Organization;
  onBehalfOf Reference=Practitioner,PractitionerRole,RelatedPerson,Patient,Device,Organization
Provenance.entity: role! code=provenance-entity-role; what! Reference; agent* Provenance.agent
Device: identifier* Identifier; definition Reference=DeviceDefinition; udiCarrier* Device.udiCarrier;
  status code=device-status; statusReason* CodeableConcept; distinctIdentifier string; manufacturer string;
  manufactureDate dateTime; expirationDate dateTime; lotNumber string; serialNumber string;
  deviceName* Device.deviceName; modelNumber string; partNumber string; type CodeableConcept;
  specialization* Device.specialization; version* Device.version; property* Device.property;
  patient Reference=Patient; owner Reference=Organization; contact* ContactPoint; location Reference=Location;
  url uri; note* Annotation; safety* CodeableConcept; parent Reference=Device
Device.udiCarrier: deviceIdentifier string; issuer uri; jurisdiction uri; carrierAIDC base64Binary; carrierHRF string;
  entryType code=udi-entry-type
Device.deviceName: name! string; type! code=device-nametype
Device.specialization: systemType! CodeableConcept; version string
Device.version: type CodeableConcept; component Identifier; value! string
Device.property: type! CodeableConcept; valueQuantity* Quantity; valueCode* CodeableConcept
Medication: identifier* Identifier; code CodeableConcept; status code=medication-status;
  manufacturer Reference=Organization; form CodeableConcept; amount Ratio; ingredient* Medication.ingredient;
  batch Medication.batch
Medication.ingredient: item[x]! CodeableConcept|Reference=Substance,Medication; isActive boolean; strength Ratio
Medication.batch: lotNumber string; expirationDate dateTime
DocumentReference: masterIdentifier Identifier; identifier* Identifier; status! code=document-reference-status;
  docStatus code=composition-status; type CodeableConcept; category* CodeableConcept;
  subject Reference=Patient,Practitioner,Group,Device; date instant;
  author* Reference=Practitioner,PractitionerRole,Organization,Device,Patient,RelatedPerson;
  authenticator Reference=Practitioner,PractitionerRole,Organization; custodian Reference=Organization;
  relatesTo* DocumentReference.relatesTo; description string; securityLabel* CodeableConcept;
  content!* DocumentReference.content; context DocumentReference.context
DocumentReference.relatesTo: code! code=document-relationship-type; target! Reference=DocumentReference
DocumentReference.content: attachment! Attachment; format Coding
DocumentReference.context: encounter* Reference=Encounter,EpisodeOfCare; event* CodeableConcept; period Period;
  facilityType CodeableConcept; practiceSetting CodeableConcept; sourcePatientInfo Reference=Patient;
  related* Reference
Bundle: identifier Identifier; type! code=bundle-type; timestamp instant; total unsignedInt; link* Bundle.link;
  entry* Bundle.entry; signature Signature
Bundle.link: relation! string; url! uri
Bundle.entry: link* Bundle.link; fullUrl uri; resource AnyResource; search Bundle.entry.search;
  request Bundle.entry.request; response Bundle.entry.response
Bundle.entry.search: mode code=search-entry-mode; score decimal
Bundle.entry.request: method! code=http-verb; url! uri; ifNoneMatch string; ifModifiedSince instant; ifMatch string;
  ifNoneExist string
Bundle.entry.response: status! string; location uri; etag string; lastModified instant; outcome AnyResource
Meta: versionId id; lastUpdated instant; source uri; profile* canonical; security* Coding; tag* Coding
Identifier: use code=identifier-use; type CodeableConcept; system uri; value string; period Period;
  assigner Reference=Organization
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
Annotation: author[x] Reference=Practitioner,Patient,RelatedPerson,Organization|string; time dateTime; text! markdown
Narrative: status! code=narrative-status; div! xhtml
Attachment: contentType code; language code; data base64Binary; url url; size unsignedInt; hash base64Binary;
  title string; creation dateTime
"""

#: Resource types among TYPES; they also have the elements of DomainResource.
RESOURCES = frozenset(
    {
        "Condition",
        "Observation",
        "MedicationStatement",
        "MedicationRequest",
        "Procedure",
        "FamilyMemberHistory",
        "AllergyIntolerance",
        "Provenance",
        "Device",
        "DocumentReference",
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
    "allergy-intolerance-category": "food medication environment biologic",
    "allergy-intolerance-criticality": "low high unable-to-assess",
    "allergy-intolerance-type": "allergy intolerance",
    "allergyintolerance-clinical": "active inactive resolved",
    "allergyintolerance-verification": "unconfirmed confirmed refuted entered-in-error",
    "bundle-type": (
        "document message transaction transaction-response batch batch-response history searchset collection"
    ),
    "composition-status": "preliminary final amended entered-in-error",
    "condition-clinical": "active recurrence relapse inactive remission resolved",
    "condition-ver-status": "unconfirmed provisional differential confirmed refuted entered-in-error",
    "days-of-week": "mon tue wed thu fri sat sun",
    "device-nametype": "udi-label-name user-friendly-name patient-reported-name manufacturer-name model-name other",
    "device-status": "active inactive entered-in-error unknown",
    "document-reference-status": "current superseded entered-in-error",
    "document-relationship-type": "replaces transforms signs appends",
    "event-status": "preparation in-progress not-done on-hold stopped completed entered-in-error unknown",
    "event-timing": (
        "MORN MORN.early MORN.late NOON AFT AFT.early AFT.late EVE EVE.early EVE.late NIGHT PHS HS WAKE C CM CD CV "
        "AC ACM ACD ACV PC PCM PCD PCV"
    ),
    "history-status": "partial completed entered-in-error health-unknown",
    "http-verb": "GET HEAD POST PUT DELETE PATCH",
    "identifier-use": "usual official temp secondary old",
    "medicationrequest-intent": ("proposal plan order original-order reflex-order filler-order instance-order option"),
    "medicationrequest-status": "active on-hold cancelled completed entered-in-error stopped draft unknown",
    "medication-statement-status": "active completed entered-in-error intended stopped on-hold unknown not-taken",
    "medication-status": "active inactive entered-in-error",
    "narrative-status": "generated extensions additional empty",
    "observation-status": "registered preliminary final amended corrected cancelled entered-in-error unknown",
    "provenance-entity-role": "derivation revision quotation source removal",
    "reaction-event-severity": "mild moderate severe",
    "request-priority": "routine urgent asap stat",
    "search-entry-mode": "match include outcome",
    "quantity-comparator": "< <= >= >",
    "udi-entry-type": "barcode rfid manual card self-reported unknown",
    "units-of-time": "s min h d wk mo a",
}

#: The code systems of the value sets that bind a CodeableConcept.
SYSTEMS = {
    "allergyintolerance-clinical": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical",
    "allergyintolerance-verification": "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification",
    "condition-clinical": "http://terminology.hl7.org/CodeSystem/condition-clinical",
    "condition-ver-status": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
}
