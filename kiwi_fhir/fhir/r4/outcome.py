"""Findings as a FHIR OperationOutcome: http://hl7.org/fhir/R4/operationoutcome.html"""

from __future__ import annotations

from typing import Any

from kiwi_fhir.fhir.r4.walk import Finding

#: Our rules -> http://hl7.org/fhir/R4/valueset-issue-type.html; the specification's own keys are its invariants.
_CODES = {
    "json": "structure",
    "structure": "structure",
    "required-code": "code-invalid",
    "code-system": "code-invalid",
    "code-syntax": "code-invalid",
    "ucum": "code-invalid",
    "syntax": "value",
    "reference": "value",
    "bundle": "business-rule",
}


def issue_of(finding: Finding, where: str) -> dict[str, Any]:
    """One issue: `where` is the file and line, `expression` the element in it. Holds no value, so no note text."""
    found: dict[str, Any] = {
        "severity": "warning" if finding.is_warning else "error",
        "code": _CODES.get(finding.rule, "invariant"),
        "details": {"text": finding.rule},
        "diagnostics": f"{where}: {finding.path} {finding.message}" if finding.path else f"{where}: {finding.message}",
    }
    if finding.path:
        found["expression"] = [finding.path]
    return found


def nothing_found(checked: int) -> dict[str, Any]:
    """The issue of an outcome without findings; it must have one."""
    return {"severity": "information", "code": "informational", "diagnostics": f"{checked} resources checked"}
