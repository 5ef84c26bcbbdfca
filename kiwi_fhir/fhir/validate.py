"""Resources and bundles checked against FHIR R4: structure, required codes, syntax, invariants, references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kiwi_fhir.fhir.primitives import is_id
from kiwi_fhir.fhir.walk import Finding, Path, Report, type_of, walk_resource

__all__ = ["Finding", "check_bundle", "check_resource"]


def check_resource(resource: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with a resource; empty when nothing is. Of types that spec.py does not have only the id is read."""
    report = Report()
    walk_resource(resource, str(resource.get("resourceType", "Resource")), report)
    return report.findings


def check_bundle(bundle: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with a bundle and the resources in it.

    A transaction's entries must have a fullUrl and a `PUT Type/id` that agree with the resource; ids and fullUrls must
    be unique. A reference to a type that the bundle holds, and every urn:uuid target of a Provenance, must be in it.
    """
    report = Report()
    if bundle.get("resourceType") != "Bundle":
        report.add("Bundle.resourceType", "structure", "must be Bundle")
        return report.findings
    kind = bundle.get("type")
    if kind not in ("transaction", "batch", "collection", "searchset", "history", "document", "message"):
        report.add("Bundle.type", "required-code", "must be a bundle type, such as transaction")
    if "id" in bundle and not is_id(bundle["id"]):
        report.add("Bundle.id", "syntax", "must be an id")
    if "identifier" in bundle:
        type_of("Identifier").check(bundle["identifier"], "Bundle.identifier", report)
    entries = bundle.get("entry", [])
    if not isinstance(entries, list) or ("entry" in bundle and not entries):
        report.add("Bundle.entry", "structure", "must be a list with at least one entry, or absent")
        return report.findings
    targets: set[str] = set()
    for index, entry in enumerate(entries):
        path: Path = ("Bundle.entry", index)
        if not isinstance(entry, dict) or not isinstance(entry.get("resource"), dict):
            report.add(path, "structure", "must have a resource")
            continue
        resource = entry["resource"]
        name = f"{resource.get('resourceType')}/{resource.get('id')}"
        full_url = entry.get("fullUrl")
        for target in (name, full_url):
            if isinstance(target, str):
                if target in targets:
                    report.add(path, "bdl-7", "repeats the id or fullUrl of an entry before it")
                targets.add(target)
        if kind == "transaction":
            _check_request(entry, name, path, report)
        walk_resource(resource, (path, "resource"), report)
    _check_targets(entries, targets, report)
    return report.findings


def _check_request(entry: Mapping[str, Any], name: str, path: Path, report: Report) -> None:
    full_url, request = entry.get("fullUrl"), entry.get("request")
    if not isinstance(full_url, str) or not (full_url.startswith("urn:uuid:") or full_url.endswith(f"/{name}")):
        report.add((path, "fullUrl"), "bundle", "must be a urn:uuid, or a URL that ends in Type/id")
    elif full_url.startswith("urn:uuid:") and full_url[9:] != name.partition("/")[2]:
        report.add((path, "fullUrl"), "bundle", "must agree with the resource's id")
    if not isinstance(request, dict):
        report.add((path, "request"), "bdl-3", "is missing")
    elif request.get("method") != "PUT" or request.get("url") != name:
        report.add((path, "request"), "bundle", "must be PUT of the resource's Type/id")


def _check_targets(entries: list[Any], targets: set[str], report: Report) -> None:
    types = {target.partition("/")[0] for target in targets if not target.startswith("urn:")}
    for index, entry in enumerate(entries):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict):
            continue
        aims = _references(resource.get("target")) if resource.get("resourceType") == "Provenance" else []
        for reference in _references(resource):
            own = "#" not in reference and reference.partition("/")[0] in types
            if (own or (reference in aims and reference.startswith("urn:uuid:"))) and reference not in targets:
                report.add((("Bundle.entry", index), "resource"), "reference", "refers to what is not in the bundle")


def _references(value: object) -> list[str]:
    if isinstance(value, list):
        return [found for item in value for found in _references(item)]
    if not isinstance(value, dict):
        return []
    found = [found for item in value.values() for found in _references(item)]
    reference = value.get("reference")
    return [*found, reference] if isinstance(reference, str) else found
