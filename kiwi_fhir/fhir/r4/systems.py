"""Code systems that we know: how their URIs are written, and what their codes look like.

The URIs are HL7's: http://hl7.org/fhir/R4/terminologies-systems.html. Systems that are not here are not looked into.
"""

from __future__ import annotations

import re
from functools import lru_cache

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD_10_PCS = "http://www.cms.gov/Medicare/Coding/ICD10"
_HL7 = "http://terminology.hl7.org/CodeSystem/"

#: URI -> the OID that other standards name the system by, and short names that are no URI.
_NAMES = {
    LOINC: "2.16.840.1.113883.6.1 LOINC LN",
    SNOMED: "2.16.840.1.113883.6.96 SNOMED SNOMED-CT SNOMEDCT SNOMEDCT_US SCT",
    RXNORM: "2.16.840.1.113883.6.88 RxNorm",
    ICD_10_CM: "2.16.840.1.113883.6.90 ICD-10-CM ICD10CM http://hl7.org/fhir/sid/icd10cm",
    ICD_10_PCS: "2.16.840.1.113883.6.4 ICD-10-PCS ICD10PCS http://hl7.org/fhir/sid/icd-10-pcs",
    "http://hl7.org/fhir/sid/icd-10": "2.16.840.1.113883.6.3 ICD-10 ICD10",
    "http://hl7.org/fhir/sid/icd-9-cm": "2.16.840.1.113883.6.103 2.16.840.1.113883.6.104 ICD-9-CM ICD9CM",
    "http://hl7.org/fhir/sid/ndc": "2.16.840.1.113883.6.69 NDC",
    "http://hl7.org/fhir/sid/cvx": "2.16.840.1.113883.12.292 CVX",
    "http://www.ama-assn.org/go/cpt": "2.16.840.1.113883.6.12 CPT CPT4",
    "http://unitsofmeasure.org": "2.16.840.1.113883.6.8 UCUM",
    "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl": "2.16.840.1.113883.3.26.1.1 NCIT NCI",
    "http://fdasis.nlm.nih.gov": "2.16.840.1.113883.4.9 UNII",
    "http://www.whocc.no/atc": "2.16.840.1.113883.6.73 ATC",
}

#: Codes by pattern.
_PATTERNS = {
    LOINC: (r"\d{1,7}-\d|L[AGLP]\d+-\d", "a LOINC code is digits, '-' and a check digit"),
    RXNORM: (r"[1-9]\d{0,8}", "an RxNorm code (RXCUI) is digits only"),
    ICD_10_CM: (r"[A-Z]\d[\dAB](?:\.[\dA-Z]{1,4})?", "an ICD-10-CM code is as I10 or E11.65, with its dot"),
    ICD_10_PCS: (r"[\dA-HJ-NP-Z]{7}", "an ICD-10-PCS code is 7 digits or capitals without I and O"),
    "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl": (r"C\d+", "a code of the NCI Thesaurus is C and digits"),
}

#: HL7's small code systems whose every code we know.
_CODES = {
    f"{_HL7}condition-category": "problem-list-item encounter-diagnosis",
    f"{_HL7}condition-clinical": "active recurrence relapse inactive remission resolved",
    f"{_HL7}condition-ver-status": "unconfirmed provisional differential confirmed refuted entered-in-error",
    f"{_HL7}allergyintolerance-clinical": "active inactive resolved",
    f"{_HL7}allergyintolerance-verification": "unconfirmed confirmed refuted entered-in-error",
    f"{_HL7}observation-category": (
        "social-history vital-signs imaging laboratory procedure survey exam therapy activity"
    ),
    f"{_HL7}data-absent-reason": (
        "unknown asked-unknown temp-unknown not-asked asked-declined masked not-applicable unsupported as-text error "
        "not-a-number negative-infinity positive-infinity not-performed not-permitted"
    ),
    f"{_HL7}provenance-participant-type": (
        "enterer performer author verifier legal attester informant custodian assembler composer"
    ),
}
_CODE_SETS = {system: frozenset(codes.split()) for system, codes in _CODES.items()}


def _plain(system: str) -> str:
    """A URI without what is written in different ways: scheme, `www.`, case, and a slash at the end."""
    return re.sub(r"^(?:https?://)?(?:www\.)?", "", system.strip().lower()).rstrip("/")


def _spellings() -> dict[str, str]:
    """What is met in place of a URI -> the URI."""
    found: dict[str, str] = {}
    for uri, names in _NAMES.items():
        for name in names.split():
            found[_plain(f"urn:oid:{name}" if name[0].isdigit() else name)] = uri
    for uri in (*_NAMES, *_CODES):
        found[_plain(uri)] = uri
    for uri in _CODES:  # as in STU3: http://hl7.org/fhir/condition-category
        found[f"hl7.org/fhir/{uri.rpartition('/')[2]}"] = uri
    return found


_SPELLINGS = _spellings()


@lru_cache(maxsize=4096)
def system_problem(system: str) -> str | None:
    """What is wrong with the URI of a code system; None where nothing is, or where we don't know the system."""
    uri = _SPELLINGS.get(_plain(system))
    if uri is not None:
        return None if uri == system else f"the code system is written {uri}"
    if re.match(r"https?://hl7\.org/fhir/v[23]/", system):  # STU3's
        return "code systems of HL7 v2 and v3 are written http://terminology.hl7.org/CodeSystem/v3-..."
    return None if ":" in system else "a code system is an absolute URI"


@lru_cache(maxsize=65536)
def code_problem(system: str, code: str) -> str | None:
    """What is wrong with a code of a system that we know. Says nothing of whether the system has the code."""
    known = _CODE_SETS.get(system)
    if known is not None:
        return None if code in known else f"must be one of {', '.join(sorted(known))}"
    if system in _PATTERNS:
        pattern, wanted = _PATTERNS[system]
        if re.fullmatch(pattern, code, re.ASCII) is None:
            return wanted
        wrong = system == LOINC and code[0].isdigit() and not _luhn(code.replace("-", ""))
        return "the check digit of the LOINC code is wrong" if wrong else None
    if (
        system == SNOMED and code.isascii() and code.isdigit() and not (6 <= len(code) <= 18 and _verhoeff(code))
    ):  # no expression
        return "the check digit of the SNOMED CT code is wrong"
    return None


def _luhn(digits: str) -> bool:
    """LOINC's check digit (mod 10): https://loinc.org/kb/users-guide/ (appendix C)."""
    total = sum(
        int(digit) if place % 2 == 0 else sum(divmod(2 * int(digit), 10)) for place, digit in enumerate(digits[::-1])
    )
    return total % 10 == 0


# The dihedral group D5 and its permutation: https://confluence.ihtsdotools.org/display/DOCRELFMT/5.6+Check-digit
_PRODUCT = (
    *("0123456789", "1234067895", "2340178956", "3401289567", "4012395678"),
    *("5987604321", "6598710432", "7659821043", "8765932104", "9876543210"),
)
_SHIFT = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)


def _verhoeff(digits: str) -> bool:
    check = 0
    for place, digit in enumerate(digits[::-1]):
        check = int(_PRODUCT[check][int(_SHIFT[place % 8][int(digit)])])
    return check == 0
