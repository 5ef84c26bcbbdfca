"""What is sent for a note: the entries that the server does not have yet, and the removal of what is outdated.

Pure functions over bundles and resources; fhir_server.py does the asking. JSON is read with its decimals as written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import orjson

Resource = dict[str, Any]

#: A UUID as an identifier: http://hl7.org/fhir/R4/datatypes.html#Identifier
URI_SYSTEM = "urn:ietf:rfc:3986"
#: The tag of a Provenance that names its note.
NOTE_SYSTEM = "urn:kiwi-fhir:note"
_AIAST = "AIAST"
_SERVER_META = ("versionId", "lastUpdated", "source")
_UNORDERED_META = ("tag", "security", "profile")  # a server may add to these, in any order


def parse(text: bytes) -> Resource:
    """A JSON object with decimals that keep their digits. Raises ValueError for what is none."""
    try:
        found = json.loads(text, parse_float=Decimal)
    except ValueError:  # its message quotes what it read
        found = None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def parse_bundle(text: bytes) -> Resource:
    """A bundle as BundleWriter makes them. Raises ValueError for another."""
    bundle = parse(text)
    if (bundle.get("resourceType"), bundle.get("type")) != ("Bundle", "transaction"):
        raise ValueError("it is no Bundle of type transaction")
    for entry in bundle.get("entry", ()):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(entry.get("fullUrl"), str):
            raise ValueError("an entry has no resource or no fullUrl")
        if entry.get("request") != {"method": "PUT", "url": reference_to(resource)}:
            raise ValueError("an entry is no PUT by the id of its resource")
    return bundle


def entries(bundle: Resource) -> list[Resource]:
    """The entries of a bundle that are objects."""
    found = bundle.get("entry")
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def of_type(bundle: Resource, kind: str) -> Resource | None:
    """The first resource of a type."""
    found = (entry.get("resource") for entry in entries(bundle))
    return next((item for item in found if isinstance(item, dict) and item.get("resourceType") == kind), None)


def reference_to(resource: Resource) -> str:
    """`Type/id`."""
    return f"{resource.get('resourceType')}/{resource.get('id')}"


def transaction(changed: Sequence[Resource], removed: Iterable[str]) -> Resource:
    """The transaction of some entries that also deletes `Type/id`s."""
    deleted = [{"request": {"method": "DELETE", "url": reference}} for reference in removed]
    return {"resourceType": "Bundle", "type": "transaction", "entry": [*deleted, *changed]}


def reads(references: Sequence[str]) -> bytes:
    """One request for several resources, by `Type/id`."""
    asked = [{"request": {"method": "GET", "url": reference}} for reference in references]
    return orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": asked})


def read_resources(answer: Resource | None, asked: int) -> list[Resource | None]:
    """The resources that a batch of reads found, in its order; None for each that is not there."""
    answers = entries(answer or {})
    if len(answers) != asked:
        return [None] * asked
    found = (entry.get("resource") for entry in answers)
    return [
        item if isinstance(item, dict) and item.get("resourceType") != "OperationOutcome" else None for item in found
    ]


def is_same(ours: Resource, theirs: Resource, local: Callable[[str], str]) -> bool:
    """Whether the server has what we would write, beside what a server sets itself (version, narrative, labels).

    `local` makes a reference relative, as servers may answer with absolute ones. A number is compared by value: a
    server that drops the last zero of 1.20 will do so again.
    """
    mine, found = _plain(ours), _plain(theirs)
    my_meta, found_meta = mine.pop("meta", {}), found.pop("meta", {})
    for key in _UNORDERED_META:
        held = found_meta.get(key, [])
        if not all(label in held for label in my_meta.get(key, [])):
            return False
    return _is_equal(mine, found, local)


def _plain(resource: Resource) -> Resource:
    copy = dict(resource)
    copy.pop("text", None)  # we write no narrative, a server may
    meta = copy.get("meta")
    if isinstance(meta, dict):
        copy["meta"] = {key: value for key, value in meta.items() if key not in _SERVER_META}
    return copy


def _is_equal(mine: object, theirs: object, local: Callable[[str], str]) -> bool:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(
            local(str(value)) == local(str(theirs[key])) if key == "reference" else _is_equal(value, theirs[key], local)
            for key, value in mine.items()
        )
    if isinstance(mine, list) and isinstance(theirs, list):
        return len(mine) == len(theirs) and all(map(_is_equal, mine, theirs, [local] * len(mine)))
    if isinstance(mine, bool) or isinstance(theirs, bool):
        return mine is theirs
    return mine == theirs


# Servers that give ids themselves.


def with_identifiers(bundle: Resource, by_tag: Collection[str] = ("Provenance",)) -> Resource:
    """The bundle for a server that gives ids itself: our id is an identifier, and the entry a conditional update by it.

    In the types of `by_tag` it is a tag: a Provenance has no identifier in R4, and not every server can search that of
    each type. References among the entries are by fullUrl, which the server replaces.
    """
    names = {reference_to(entry["resource"]): str(entry["fullUrl"]) for entry in entries(bundle)}
    changed = []
    for entry in entries(bundle):
        resource, name = dict(entry["resource"]), str(entry["fullUrl"])
        kind = resource["resourceType"]
        del resource["id"]
        if kind in by_tag:
            resource = _tagged(resource, {"system": URI_SYSTEM, "code": name})
        else:
            resource["identifier"] = [*resource.get("identifier", []), {"system": URI_SYSTEM, "value": name}]
        changed.append(
            {
                "fullUrl": name,
                "resource": with_references(resource, names),
                "request": {"method": "PUT", "url": f"{kind}?{'_tag' if kind in by_tag else 'identifier'}={uri(name)}"},
            }
        )
    return {**bundle, "entry": changed}


def uri(name: str) -> str:
    """The search parameter that finds what we call `name`."""
    return token(URI_SYSTEM, name)


def with_references(node: Any, names: Mapping[str, str]) -> Any:
    """A copy with the references of `names` replaced."""
    if isinstance(node, dict):
        return {
            key: names.get(value, value)
            if key == "reference" and isinstance(value, str)
            else with_references(value, names)
            for key, value in node.items()
        }
    return [with_references(item, names) for item in node] if isinstance(node, list) else node


def name_of(resource: Resource) -> str | None:
    """Our name of a resource that has an id of the server's; None for one that is not ours."""
    for item in (*resource.get("identifier", ()), *resource.get("meta", {}).get("tag", ())):
        if item.get("system") == URI_SYSTEM:
            value = item.get("value") or item.get("code")
            if isinstance(value, str):
                return value
    return None


# What an earlier run left.


def with_note(bundle: Resource) -> Resource:
    """The bundle with a tag on its Provenance that names the note, by the id of the note's bundle.

    Provenance can be searched by its source too, but servers don't find a source that is known by identifier only.
    """
    labelled = []
    for entry in entries(bundle):
        resource = entry["resource"]
        if resource["resourceType"] == "Provenance":
            tag = {"system": NOTE_SYSTEM, "code": str(bundle.get("id"))}
            entry = {**entry, "resource": _tagged(resource, tag)}
        labelled.append(entry)
    return {**bundle, "entry": labelled} if labelled else bundle


def _tagged(resource: Resource, tag: Resource) -> Resource:
    meta = resource.get("meta", {})
    return {**resource, "meta": {**meta, "tag": [*meta.get("tag", []), tag]}}


def search_for(bundle: Resource) -> str:
    """The search for every Provenance of a note."""
    return f"Provenance?_tag={token(NOTE_SYSTEM, str(bundle.get('id')))}&_count=50"


def is_about(provenance: Resource, bundle: Resource) -> bool:
    """Whether a Provenance is of the note: a server may leave out a parameter that it does not know."""
    tags = provenance.get("meta", {}).get("tag", ())
    return any((tag.get("system"), tag.get("code")) == (NOTE_SYSTEM, bundle.get("id")) for tag in tags)


def is_ours(provenance: Resource) -> bool:
    """Whether this program wrote a Provenance: its agent is the contained Device of that name."""
    devices = [item for item in provenance.get("contained", ()) if item.get("resourceType") == "Device"]
    return any(name.get("name") == "kiwi_fhir" for item in devices for name in item.get("deviceName", ()))


def targets_of(provenance: Resource, local: Callable[[str], str]) -> Iterator[str]:
    """The resources of a Provenance, as `Type/id`."""
    for target in provenance.get("target", ()):
        if isinstance(target.get("reference"), str):
            yield local(target["reference"])


def is_untouched(resource: Resource, provenance: Resource) -> bool:
    """Whether a resource still carries the labels of its Provenance: what a person has taken over is not removed."""
    meta = resource.get("meta", {})
    systems = {tag.get("system") for tag in provenance.get("meta", {}).get("tag", ())} - {URI_SYSTEM, NOTE_SYSTEM}
    labelled = any(label.get("code") == _AIAST for label in meta.get("security", ()))
    return labelled and any(tag.get("system") in systems for tag in meta.get("tag", ()))


def token(system: str, value: str) -> str:
    """`system|value` as a search parameter: http://hl7.org/fhir/R4/search.html#escaping"""
    return "%7C".join(quote(_escape(part), safe="") for part in (system, value))


def _escape(text: str) -> str:
    return "".join(f"\\{mark}" if mark in "\\,|$" else mark for mark in text)
