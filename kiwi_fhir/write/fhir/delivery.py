"""One try to bring a FHIR server to what a note's bundle says: look, compare, send what differs, check the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import httpx2

from kiwi_fhir.clients.fhir import FhirClient, issues_of, next_of, resource_of
from kiwi_fhir.documents.lines import to_json
from kiwi_fhir.errors import KiwiError
from kiwi_fhir.types import Failure
from kiwi_fhir.write.fhir import transaction as plan
from kiwi_fhir.write.fhir.transaction import Resource

_MINIMAL = {"Prefer": "return=minimal"}
_STRICT = {"Prefer": "handling=strict"}


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a note on the server: `resources` were written, by type; `removed` were outdated and deleted."""

    note_id: str
    state: Literal["written", "unchanged", "empty", "refused"]
    resources: Mapping[str, int] = field(default_factory=dict)
    removed: int = 0
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Parcel:
    """A note's bundle as one line of JSON."""

    note_id: str
    bundle: bytes


class NotAllowed(KiwiError):
    """The server answers 403 to a write."""


class Delivery:
    """One try to bring the server to what a note's bundle says. Every request may raise Unavailable."""

    def __init__(
        self,
        client: FhirClient,
        parcel: Parcel,
        bundle: Resource,
        *,
        by_tag: Collection[str] | None,
        replace: bool,
    ) -> None:
        """`by_tag` is for a server that gives the ids (see with_identifiers), None for one that takes ours."""
        self._client, self._parcel, self._replace, self._server_ids = client, parcel, replace, by_tag is not None
        bundle = plan.with_note(bundle)
        self._bundle = bundle if by_tag is None else plan.with_identifiers(bundle, by_tag)
        self.posted = False

    def run(self) -> Sent:
        """See the class. Raises Unavailable, NotAllowed, and KiwiError where the server can't do what is needed."""
        parcel, entries = self._parcel, plan.entries(self._bundle)
        if not entries and not self._replace:
            return Sent(parcel.note_id, "empty")
        stored = self._stored(entries)
        if self._server_ids and stored:
            ids = {name: plan.reference_to(resource) for name, resource in stored.items()}
            entries = [_by_known_id(entry, ids) for entry in entries]
        changed = [
            entry
            for entry in entries
            if (theirs := stored.get(entry["fullUrl"])) is None
            or not plan.is_same(entry["resource"], theirs, self._local)
        ]
        removed = self._outdated(stored) if self._replace else []
        if not changed and not removed:
            return Sent(parcel.note_id, "unchanged" if entries else "empty")
        content = to_json(plan.transaction(changed, removed))
        self.posted = True
        answer = self._client.send("POST", "", content=content, headers=_MINIMAL)
        return self._outcome(answer, changed, removed)

    def _local(self, reference: str) -> str:
        return reference.removeprefix(f"{self._client.base}/").partition("/_history/")[0]

    def _read(self, references: Sequence[str]) -> list[Resource | None]:
        """Resources by `Type/id`, in one request; None for each that is not there or not shown."""
        if not references:
            return []
        answer = self._client.send("POST", "", content=plan.reads(references))
        return plan.read_resources(_exact(answer), len(references))

    def _stored(self, entries: Sequence[Resource]) -> dict[str, Resource]:
        """What the server has of these entries, by fullUrl. Nothing where the note's Provenance is not there."""
        own = plan.of_type(self._bundle, "Provenance")
        name = next((entry["fullUrl"] for entry in entries if entry["resource"] is own), None)
        if own is None or name is None:
            return {} if self._server_ids else self._stored_by_id(entries)
        if not self._server_ids:
            found = self._client.send("GET", plan.reference_to(own))
            return self._stored_by_id(entries) if found.status_code == 200 else {}
        page = _exact(self._client.send("GET", f"Provenance?_tag={plan.uri(name)}"))
        found_one = plan.of_type(page or {}, "Provenance")
        if found_one is None or plan.name_of(found_one) != name:
            return {}
        held = self._read(list(plan.targets_of(found_one, self._local)))
        named = {plan.name_of(resource): resource for resource in (found_one, *held) if resource is not None}
        return {entry["fullUrl"]: named[entry["fullUrl"]] for entry in entries if entry["fullUrl"] in named}

    def _stored_by_id(self, entries: Sequence[Resource]) -> dict[str, Resource]:
        held = self._read([plan.reference_to(entry["resource"]) for entry in entries])
        return {entry["fullUrl"]: found for entry, found in zip(entries, held, strict=True) if found is not None}

    def _outdated(self, stored: Mapping[str, Resource]) -> list[str]:
        """What earlier runs wrote for this note and this one does not, as `Type/id`."""
        names = {entry["fullUrl"] for entry in plan.entries(self._bundle)}
        kept = {plan.reference_to(resource) for resource in stored.values()}
        if not self._server_ids:
            kept |= {plan.reference_to(entry["resource"]) for entry in plan.entries(self._bundle)}
        outdated: dict[str, None] = {}
        for provenance in self._provenances():
            targets = [item for item in plan.targets_of(provenance, self._local) if item not in kept]
            for target, resource in zip(targets, self._read(targets), strict=True):
                mine = resource is not None and plan.is_untouched(resource, provenance)
                if resource is not None and mine and plan.name_of(resource) not in names:
                    outdated[target] = None
            own = plan.reference_to(provenance)
            if own not in kept and plan.name_of(provenance) not in names:
                outdated[own] = None
        return list(outdated)

    def _provenances(self) -> list[Resource]:
        """Every Provenance of ours about this note."""
        found: list[Resource] = []
        path: str | None = plan.search_for(self._bundle)
        while path is not None:
            answer = self._client.send("GET", path, headers=_STRICT)
            page = _exact(answer)
            items = [entry.get("resource", {}) for entry in plan.entries(page or {})]
            items = [item for item in items if item.get("resourceType") == "Provenance"]
            # A server that leaves the tag out would have us read all that it holds.
            if page is None or not all(plan.is_about(item, self._bundle) for item in items):
                raise KiwiError(
                    f"{self._client.base} can't search Provenance by _tag ({answer.status_code}), "
                    "which --replace needs."
                )
            found += [item for item in items if plan.is_ours(item)]
            path = next_of(page)
        return found

    def _outcome(self, answer: httpx2.Response, changed: Sequence[Resource], removed: Sequence[str]) -> Sent:
        """Hold the server's answer against what was sent, entry by entry."""
        parcel, body = self._parcel, resource_of(answer)
        if answer.status_code == 403:
            raise NotAllowed(f"The server does not allow it{issues_of(body)}.")
        if not answer.is_success:
            message = f"The server answers {answer.status_code}{issues_of(body)}."
            return refused(parcel, f"http-{answer.status_code}", message)
        if body is None or body.get("resourceType") != "Bundle":
            return refused(parcel, "no-bundle", f"The server answers {answer.status_code} without a Bundle.")
        answers = plan.entries(body)
        if len(answers) != len(changed) + len(removed):
            message = f"The server answers with {len(answers)} entries to {len(changed) + len(removed)}."
            return refused(parcel, "answer-incomplete", message)
        failures, written = [], []
        asked: list[Resource | None] = [*([None] * len(removed)), *changed]
        for entry, reply in zip(asked, answers, strict=True):
            response = reply.get("response")
            status = str(response.get("status", "")) if isinstance(response, dict) else ""
            if status.startswith("2") or (entry is None and status[:3] in ("404", "410")):
                written += [] if entry is None else [entry]
                continue
            kind = "deletion" if entry is None else entry["resource"]["resourceType"]
            outcome = response.get("outcome") if isinstance(response, dict) else None
            message = f"The server answers {status[:3] or 'nothing'} to a {kind}{issues_of(outcome)}."
            failures.append(Failure(parcel.note_id, "write", f"entry-{status[:3] or 'unknown'}", message, kept=True))
        if failures and not written:
            failures = [Failure(item.note_id, item.stage, item.error, item.message) for item in failures]
            return Sent(parcel.note_id, "refused", failures=tuple(failures))
        return Sent(parcel.note_id, "written", kinds(written), len(removed), tuple(failures))


def _by_known_id(entry: Resource, ids: Mapping[str, str]) -> Resource:
    """An entry of with_identifiers with what the server has already called by the server's ids."""
    resource = plan.with_references(entry["resource"], ids)
    reference = ids.get(entry["fullUrl"])
    if reference is None:
        return {**entry, "resource": resource}
    resource["id"] = reference.rpartition("/")[2]
    return {**entry, "resource": resource, "request": {"method": "PUT", "url": reference}}


def kinds(entries: Iterable[Resource]) -> dict[str, int]:
    """How many there are of each type."""
    return dict(Counter(str(entry["resource"]["resourceType"]) for entry in entries))


def refused(parcel: Parcel, error: str, message: str) -> Sent:
    """A note that the server does not have."""
    return Sent(parcel.note_id, "refused", failures=(Failure(parcel.note_id, "write", error, message),))


def _exact(answer: httpx2.Response) -> Resource | None:
    """The JSON of an answer with decimals as they stand there."""
    try:
        return plan.parse(answer.content) if answer.is_success else None
    except ValueError:
        return None
