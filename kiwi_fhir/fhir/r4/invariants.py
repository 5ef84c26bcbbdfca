"""FHIR R4's invariants of the types that we write, by their keys: http://hl7.org/fhir/R4/conformance-rules.html

Each rule takes the element and gives what is wrong, or None. con-3, a warning of the specification, counts as an
error here: nothing that we write needs to break it. `code-system`, `code-syntax` and `ucum` are rules of ours, for what
the specification leaves to a terminology server. It is long since all rules that the one table names stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from kiwi_fhir.fhir.r4.systems import code_problem, system_problem
from kiwi_fhir.fhir.r4.ucum import is_ucum

UCUM = "http://unitsofmeasure.org"
_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_ALLERGY_VERIFICATION = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification"
_VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"

Element = Mapping[str, Any]
Rule = Callable[[Element], str | None]


def codes_of(concept: object, system: str | None = None) -> set[str]:
    """The codes of a CodeableConcept (or of a list of them), of `system` only where one is given."""
    if isinstance(concept, list):
        return set().union(*(codes_of(item, system) for item in concept))
    if not isinstance(concept, dict) or not isinstance(concept.get("coding"), list):
        return set()
    return {
        coding["code"]
        for coding in concept["coding"]
        if isinstance(coding, dict)
        and isinstance(coding.get("code"), str)
        and (system is None or coding.get("system") == system)
    }


def _has(element: Element, name: str) -> bool:
    """Whether the choice `name[x]` has a value."""
    length = len(name)
    for key in element:  # noqa: SIM110 (a generator costs three times as much, on every resource)
        if key[:length] == name and key[length : length + 1].isupper():
            return True
    return False


def _number(value: object) -> Decimal | None:
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return Decimal(str(value))
    return None


def _con_3(condition: Element) -> str | None:
    if "clinicalStatus" in condition or "problem-list-item" not in codes_of(condition.get("category")):
        return None
    if "entered-in-error" in codes_of(condition.get("verificationStatus"), _VERIFICATION):
        return None
    return "a problem-list-item needs a clinicalStatus"


def _con_4(condition: Element) -> str | None:
    if not _has(condition, "abatement"):
        return None
    ended = codes_of(condition.get("clinicalStatus"), _CLINICAL) & {"resolved", "remission", "inactive"}
    return None if ended else "an abatement needs clinicalStatus resolved, remission or inactive"


def _con_5(condition: Element) -> str | None:
    wrong = "clinicalStatus" in condition and "entered-in-error" in codes_of(
        condition.get("verificationStatus"), _VERIFICATION
    )
    return "entered-in-error must have no clinicalStatus" if wrong else None


def _ait_1(allergy: Element) -> str | None:
    if "clinicalStatus" in allergy or _is_error(allergy, _ALLERGY_VERIFICATION):
        return None
    return "an allergy needs a clinicalStatus unless it was entered in error"


def _ait_2(allergy: Element) -> str | None:
    wrong = "clinicalStatus" in allergy and _is_error(allergy, _ALLERGY_VERIFICATION)
    return "entered-in-error must have no clinicalStatus" if wrong else None


def _is_error(resource: Element, system: str) -> bool:
    return "entered-in-error" in codes_of(resource.get("verificationStatus"), system)


def _obs_3(element: Element) -> str | None:
    return None if {"low", "high", "text"} & element.keys() else "a reference range needs low, high or text"


def _obs_6(observation: Element) -> str | None:
    wrong = "dataAbsentReason" in observation and _has(observation, "value")
    return "dataAbsentReason and a value must not be together" if wrong else None


def _obs_7(observation: Element) -> str | None:
    if "component" not in observation or not _has(observation, "value"):
        return None
    own = _pairs(observation.get("code"))
    parts = observation["component"] if isinstance(observation["component"], list) else []
    wrong = any(own & _pairs(part.get("code")) for part in parts if isinstance(part, dict))
    return "a component repeats the code of the observation, which has a value" if wrong else None


def _pairs(concept: object) -> set[tuple[str, str]]:
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return {
        (str(coding.get("system")), str(coding.get("code")))
        for coding in (codings if isinstance(codings, list) else [])
        if isinstance(coding, dict)
    }


def _fhs_1(history: Element) -> str | None:
    return "age and born must not be together" if _has(history, "age") and _has(history, "born") else None


def _fhs_2(history: Element) -> str | None:
    return "estimatedAge needs an age" if "estimatedAge" in history and not _has(history, "age") else None


def _att_1(attachment: Element) -> str | None:
    return "data needs a contentType" if "data" in attachment and "contentType" not in attachment else None


def _system(element: Element) -> str | None:
    """How the URI of a code system is written."""
    system = element.get("system")
    return system_problem(system) if type(system) is str else None


def _code(coding: Element) -> str | None:
    """What a code of a known system looks like."""
    system, code = coding.get("system"), coding.get("code")
    return code_problem(system, code) if type(system) is str and type(code) is str else None


def _ucum(quantity: Element) -> str | None:
    code = quantity.get("code")
    right = type(code) is not str or quantity.get("system") != UCUM or is_ucum(code)
    return None if right else "the code is no UCUM unit"


def _qty_3(quantity: Element) -> str | None:
    return "a code needs a system" if "code" in quantity and "system" not in quantity else None


def _age_1(age: Element) -> str | None:
    value = _number(age.get("value"))
    right = ("code" in age or value is None) and age.get("system", UCUM) == UCUM and (value is None or value > 0)
    return None if right else "an age needs a UCUM code and a value above 0"


def _drt_1(duration: Element) -> str | None:
    right = "code" not in duration or (duration.get("system") == UCUM and "value" in duration)
    return None if right else "a duration's code needs the UCUM system and a value"


def _rng_2(element: Element) -> str | None:
    low, high = element.get("low"), element.get("high")
    if not isinstance(low, dict) or not isinstance(high, dict) or low.get("code") != high.get("code"):
        return None
    least, most = _number(low.get("value")), _number(high.get("value"))
    return "low is above high" if least is not None and most is not None and least > most else None


def _sqty_1(element: Element) -> str | None:
    """SimpleQuantity: the low and high of a range have no comparator."""
    sides = (element.get("low"), element.get("high"))
    wrong = any(isinstance(side, dict) and "comparator" in side for side in sides)
    return "low and high must have no comparator" if wrong else None


def _rat_1(ratio: Element) -> str | None:
    both = ("numerator" in ratio) == ("denominator" in ratio)
    right = both and ("numerator" in ratio or "extension" in ratio)
    return None if right else "a ratio needs a numerator and a denominator"


def _per_1(period: Element) -> str | None:
    start, end = period.get("start"), period.get("end")
    if not isinstance(start, str) or not isinstance(end, str):
        return None
    length = min(len(start), len(end), 10)  # as far as both are precise; times may be of two zones
    return "start is after end" if start[:length] > end[:length] else None


def _ext_1(extension: Element) -> str | None:
    right = ("extension" in extension) != any(key.startswith("value") for key in extension)
    return None if right else "an extension has either a value or extensions"


def _needs(name: str, other: str) -> Rule:
    def rule(element: Element) -> str | None:
        return f"{name} needs {other}" if name in element and other not in element else None

    return rule


def _not_negative(name: str) -> Rule:
    def rule(element: Element) -> str | None:
        value = _number(element.get(name))
        return f"{name} is below 0" if value is not None and value < 0 else None

    return rule


def _tim_9(repeat: Element) -> str | None:
    if "offset" not in repeat:
        return None
    when = repeat.get("when")
    right = isinstance(when, list) and when and not {"C", "CM", "CD", "CV"} & {str(code) for code in when}
    return None if right else "offset needs a when, and not C, CM, CD or CV"


def _tim_10(repeat: Element) -> str | None:
    return "timeOfDay and when must not be together" if {"timeOfDay", "when"} <= repeat.keys() else None


def _bdl_1(bundle: Element) -> str | None:
    wrong = "total" in bundle and bundle.get("type") not in ("searchset", "history")
    return "only a searchset or history has a total" if wrong else None


def _bdl_9(bundle: Element) -> str | None:
    identifier = bundle.get("identifier")
    right = isinstance(identifier, dict) and {"system", "value"} <= identifier.keys()
    wrong = bundle.get("type") == "document" and not right
    return "a document needs an identifier with system and value" if wrong else None


def _bdl_10(bundle: Element) -> str | None:
    wrong = bundle.get("type") == "document" and "timestamp" not in bundle
    return "a document needs a timestamp" if wrong else None


def _begins_with(kind: str, first: str) -> Rule:
    """bdl-11 and bdl-12."""

    def rule(bundle: Element) -> str | None:
        if bundle.get("type") != kind:
            return None
        entries = bundle.get("entry")
        entry = entries[0] if isinstance(entries, list) and entries else None
        resource = entry.get("resource") if isinstance(entry, dict) else None
        right = isinstance(resource, dict) and resource.get("resourceType") == first
        return None if right else f"the first resource of a {kind} must be a {first}"

    return rule


def _bdl_5(entry: Element) -> str | None:
    right = {"resource", "request", "response"} & entry.keys()
    return None if right else "an entry needs a resource, a request or a response"


def _bdl_8(entry: Element) -> str | None:
    wrong = "/_history/" in str(entry.get("fullUrl"))
    return "a fullUrl must not name a version" if wrong else None


_QUANTITY = (("qty-3", _qty_3), ("code-system", _system), ("ucum", _ucum))

#: Type -> (key, rule), in the order of the specification; then ours.
INVARIANTS: dict[str, tuple[tuple[str, Rule], ...]] = {
    "Condition": (("con-3", _con_3), ("con-4", _con_4), ("con-5", _con_5)),
    "AllergyIntolerance": (("ait-1", _ait_1), ("ait-2", _ait_2)),
    "Attachment": (("att-1", _att_1),),
    "Bundle": (
        ("bdl-1", _bdl_1),
        ("bdl-9", _bdl_9),
        ("bdl-10", _bdl_10),
        ("bdl-11", _begins_with("document", "Composition")),
        ("bdl-12", _begins_with("message", "MessageHeader")),
    ),
    "Bundle.entry": (("bdl-5", _bdl_5), ("bdl-8", _bdl_8)),
    "Coding": (("code-system", _system), ("code-syntax", _code)),
    "Observation": (("obs-6", _obs_6), ("obs-7", _obs_7)),
    "Observation.referenceRange": (("obs-3", _obs_3), ("rng-2", _rng_2), ("sqty-1", _sqty_1)),
    "FamilyMemberHistory": (("fhs-1", _fhs_1), ("fhs-2", _fhs_2)),
    "Quantity": _QUANTITY,
    "Age": (*_QUANTITY, ("age-1", _age_1)),
    "Duration": (*_QUANTITY, ("drt-1", _drt_1)),
    "Range": (("rng-2", _rng_2), ("sqty-1", _sqty_1)),
    "Ratio": (("rat-1", _rat_1),),
    "Period": (("per-1", _per_1),),
    "Extension": (("ext-1", _ext_1),),
    "Timing.repeat": (
        ("tim-1", _needs("duration", "durationUnit")),
        ("tim-2", _needs("period", "periodUnit")),
        ("tim-4", _not_negative("duration")),
        ("tim-5", _not_negative("period")),
        ("tim-6", _needs("periodMax", "period")),
        ("tim-7", _needs("durationMax", "duration")),
        ("tim-8", _needs("countMax", "count")),
        ("tim-9", _tim_9),
        ("tim-10", _tim_10),
    ),
}
