"""Resources and bundles checked against FHIR R4: structure, required codes, syntax, invariants, references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from kiwi_fhir.fhir.r4.walk import Finding, Path, Report, type_of, walk_resource

__all__ = ["Finding", "check_bundle", "check_resource"]

#: The path of an entry, and the entry.
Row: TypeAlias = tuple[Path, Mapping[str, Any]]


def check_resource(resource: Mapping[str, Any], known: dict[int, Any] | None = None) -> list[Finding]:
    """What is wrong with a resource; empty when nothing is. Of types that spec.py does not have only the id is read.

    Resources that share objects (meta, references) are checked faster with one `known`, a dict that is empty at first:
    what was right is not looked into again. Nothing in them may change in between.
    """
    report = Report(known=known)
    walk_resource(resource, str(resource.get("resourceType", "Resource")), report)
    return report.findings


def check_bundle(bundle: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with a bundle and the resources in it.

    A transaction's entries must have a request that agrees with the resource; ids and fullUrls must be unique. A
    reference to a type that the bundle holds, and every urn:uuid target of a Provenance, must be in it; other urn:uuid
    references that are not are warnings. What a server gives back (searchset, history) may refer to anything.
    """
    report = Report()
    if bundle.get("resourceType") != "Bundle":
        report.add("Bundle.resourceType", "structure", "must be Bundle")
        return report.findings
    type_of("Bundle").check(bundle, "Bundle", report)
    kind, entries = bundle.get("type"), bundle.get("entry")
    found = [
        (("Bundle.entry", index), entry) for index, entry in enumerate(entries if isinstance(entries, list) else [])
    ]
    rows = [(path, entry) for path, entry in found if isinstance(entry, dict)]
    for path, entry in rows:
        _check_entry(kind, entry, path, report)
    if kind != "history":
        _check_unique(rows, report)
    if kind not in ("searchset", "history"):
        _check_targets(rows, report)
    return report.findings


def _check_entry(kind: object, entry: Mapping[str, Any], path: Path, report: Report) -> None:
    """bdl-2 to bdl-4, and a transaction's requests."""
    if "search" in entry and kind != "searchset":
        report.add((path, "search"), "bdl-2", "is only of a searchset")
    for name, rule, kinds in (
        ("request", "bdl-3", ("batch", "transaction", "history")),
        ("response", "bdl-4", ("batch-response", "transaction-response", "history")),
    ):
        if name in entry and kind not in kinds:
            report.add((path, name), rule, f"is only of {', '.join(kinds)}")
        elif name not in entry and kind in kinds:
            report.add((path, name), rule, "is missing")
    request = entry.get("request")
    if kind in ("transaction", "batch") and isinstance(request, dict):
        _check_request(entry, request, path, report)


def _check_request(entry: Mapping[str, Any], request: Mapping[str, Any], path: Path, report: Report) -> None:
    method, url, full_url = request.get("method"), request.get("url"), entry.get("fullUrl")
    if method not in ("PUT", "POST"):
        return
    resource = entry.get("resource")
    if not isinstance(resource, dict):
        report.add(path, "structure", "must have a resource")
        return
    kind, name = str(resource.get("resourceType")), _name(resource)
    if method == "POST":
        if url != kind:
            report.add((path, "request"), "bundle", "must be POST to the resource's type")
        return
    if url != name and not str(url).startswith(f"{kind}?"):
        report.add((path, "request"), "bundle", "must be PUT of the resource's Type/id")
    if not isinstance(full_url, str) or not (full_url.startswith("urn:uuid:") or full_url.endswith(f"/{name}")):
        report.add((path, "fullUrl"), "bundle", "must be a urn:uuid, or a URL that ends in Type/id")
    elif full_url.startswith("urn:uuid:") and full_url[9:] != name.partition("/")[2]:
        report.add((path, "fullUrl"), "bundle", "must agree with the resource's id")


def _name(resource: Mapping[str, Any]) -> str:
    return f"{resource.get('resourceType')}/{resource.get('id')}"


def _names(entry: Mapping[str, Any]) -> list[str]:
    """What the resource of an entry may be referred to by."""
    resource, full_url = entry.get("resource"), entry.get("fullUrl")
    found = [_name(resource)] if isinstance(resource, dict) and isinstance(resource.get("id"), str) else []
    return [*found, full_url] if isinstance(full_url, str) else found


def _check_unique(rows: Sequence[Row], report: Report) -> None:
    seen: set[str] = set()
    for path, entry in rows:
        names = _names(entry)
        if not seen.isdisjoint(names):
            report.add(path, "bdl-7", "repeats the id or fullUrl of an entry before it")
        seen.update(names)


def _check_targets(rows: Sequence[Row], report: Report) -> None:
    targets = {name for _, entry in rows for name in _names(entry)}
    types = {target.partition("/")[0] for target in targets if not target.startswith("urn:")}
    for path, entry in rows:
        resource = entry.get("resource")
        if not isinstance(resource, dict):
            continue
        aims = _references(resource.get("target")) if resource.get("resourceType") == "Provenance" else []
        for reference in _references(resource):
            reference = reference.partition("/_history/")[0]
            if reference in targets:
                continue
            if reference.startswith("urn:uuid:"):
                message = "refers to what is not in the bundle"
                report.add((path, "resource"), "reference", message, is_warning=reference not in aims)
            elif "#" not in reference and reference.partition("/")[0] in types:
                report.add((path, "resource"), "reference", "refers to what is not in the bundle")


def _references(value: object) -> list[str]:
    if isinstance(value, list):
        return [found for item in value for found in _references(item)]
    if not isinstance(value, dict):
        return []
    found = [found for item in value.values() for found in _references(item)]
    reference = value.get("reference")
    return [*found, reference] if isinstance(reference, str) else found
