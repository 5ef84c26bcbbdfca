"""The sink `fhir=BASE_URL`: one transaction a note, safe to send again.

A note's entries are written together or not at all, so that its Provenance is there only when all is. Before a note
is sent, its Provenance is asked for: where it is there, only what differs is written, so that a rerun changes no
versions. After a connection that broke off the same look tells what the server has taken.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from queue import Empty, SimpleQueue

from kiwi_fhir.clients.fhir import WRITE_SCOPE, FhirClient, dicts, resource_of
from kiwi_fhir.clients.fhir_auth import Access
from kiwi_fhir.errors import KiwiError, Unavailable, UsageError
from kiwi_fhir.types import Failure, Result
from kiwi_fhir.write.fhir import transaction as plan
from kiwi_fhir.write.fhir.delivery import Delivery, NotAllowed, Parcel, Sent, kinds, refused
from kiwi_fhir.write.fhir.transaction import Resource

#: Types that every mapping writes; whether a server takes the others shows when there are any.
_NEEDED = ("Condition", "Observation", "Procedure", "Provenance")
_LOST_IN_A_ROW = 5


class FhirServer:
    """See the module. `replace` also removes what earlier runs wrote for the same note and this one does not.

    `server_ids` is for servers that give ids themselves: our ids become identifiers, the writes conditional updates.
    `parallel` notes are sent at a time.
    """

    def __init__(
        self,
        base_url: str,
        *,
        replace: bool = False,
        server_ids: bool = False,
        parallel: int = 4,
        access: Access | None = None,
    ) -> None:
        """Connect to nothing yet. Raises UsageError for a URL or settings of the environment that can't work."""
        self._client = FhirClient(base_url, role="SINK", scope=WRITE_SCOPE, requests=parallel, access=access)
        self._replace, self._server_ids = replace, server_ids
        self._parallel = parallel
        self._lock = threading.Lock()
        self._lost_in_a_row = 0
        self._accepted = False
        self._by_identifier: set[str] | None = None

    @property
    def base(self) -> str:
        """The server's URL."""
        return self._client.base

    def check(self) -> None:
        """Ask the server what it can do, and whether it lets us in. Raises UsageError for what no run can write to."""
        base = self.base
        try:
            statement = resource_of(self._client.send("GET", "metadata"))
            if statement is None or statement.get("resourceType") != "CapabilityStatement":
                raise UsageError(f"{base} is no FHIR server: its /metadata is no CapabilityStatement.")
            self._check_statement(statement)
            answer = self._client.send("GET", "Provenance?_count=1")
            if answer.status_code == 403:
                raise UsageError(f"{base} does not let us read Provenance (403): our credentials lack the right.")
        except Unavailable as error:
            raise UsageError(f"{error}: check the URL, and that the server runs.") from error
        except KiwiError as error:
            raise UsageError(str(error)) from error

    def _check_statement(self, statement: Resource) -> None:
        base, version = self.base, str(statement.get("fhirVersion"))
        if not version.startswith("4.0"):
            raise UsageError(f"{base} speaks FHIR {version[:20]}, not R4 (4.0).")
        server = _rest(statement)
        interactions = {item.get("code") for item in dicts(server.get("interaction"))}
        if "transaction" not in interactions:
            raise UsageError(f"{base} takes no transactions: a note could be written by half.")
        known = _types(server)
        missing = [kind for kind in _NEEDED if known and kind not in known]
        if missing:
            raise UsageError(f"{base} does not take {' and '.join(missing)}.")
        if not self._server_ids and any(known.get(kind, {}).get("updateCreate") is False for kind in _NEEDED):
            raise UsageError(f"{base} takes no ids from us: add --server-ids.")
        if self._server_ids and any(known.get(kind, {}).get("conditionalUpdate") is False for kind in _NEEDED):
            raise UsageError(f"{base} makes no conditional updates, which --server-ids needs.")

    def write(self, results: Sequence[Result]) -> list[Failure]:
        """Send the bundles of some notes; see Sink.write."""
        parcels = (Parcel(result.document.note.id, result.bundle) for result in results)
        return [failure for sent in self.send(parcels) for failure in sent.failures]

    def send(self, parcels: Iterable[Parcel]) -> list[Sent]:
        """Send bundles, several at a time, and say in their order what became of each.

        Bundles of one note go one after the other. Raises KiwiError where the server is gone or won't have us.
        """
        done: dict[int, Sent] = {}
        groups: dict[str, list[tuple[int, Parcel]]] = {}
        for index, parcel in enumerate(parcels):
            groups.setdefault(parcel.note_id, []).append((index, parcel))
        todo: SimpleQueue[list[tuple[int, Parcel]]] = SimpleQueue()
        for group in groups.values():
            todo.put(group)
        errors: list[Exception] = []
        stop = threading.Event()

        def work() -> None:
            try:
                while not stop.is_set():
                    for index, parcel in todo.get_nowait():
                        done[index] = self._persist(parcel)
            except Empty:
                pass
            except Exception as error:
                errors.append(error)
                stop.set()

        # Daemons, as a thread that waits for an answer can't be stopped: it must not hold up the end of the program.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(self._parallel, len(groups)))]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            stop.set()
        if errors:
            raise errors[0]
        return [done[index] for index in sorted(done)]

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _persist(self, parcel: Parcel) -> Sent:
        """Deliver a note, again while the server is away or busy; each time anew from a look at what it has."""
        try:
            bundle = plan.parse_bundle(parcel.bundle)
        except ValueError as error:
            return refused(parcel, "wrong-bundle", f"This is no bundle of kiwi-fhir: {error}.")
        backoff = self._client.backoff()
        tried, delivery = False, None
        while True:
            try:
                by_tag = self._types_by_tag(bundle) if self._server_ids else None
                delivery = Delivery(self._client, parcel, bundle, by_tag=by_tag, replace=self._replace)
                sent = delivery.run()
            except Unavailable as error:
                tried = tried or (delivery is not None and delivery.posted)
                try:
                    backoff.wait(error)
                except Unavailable:
                    return self._given_up(parcel, error)
                continue
            except NotAllowed as error:
                if not self._accepted:
                    raise KiwiError(
                        f"{self.base} does not let us write (403): our credentials lack the right to."
                    ) from error
                return refused(parcel, "http-403", str(error))
            with self._lock:
                self._lost_in_a_row = 0
                self._accepted = self._accepted or sent.state == "written"
            if tried and sent.state == "unchanged":  # an earlier try came through, but its answer did not
                return Sent(sent.note_id, "written", kinds(plan.entries(bundle)), sent.removed)
            return sent

    def _types_by_tag(self, bundle: Resource) -> set[str]:
        """The types in a bundle that the server can't search by identifier; it is asked once."""
        with self._lock:
            if self._by_identifier is None:
                known = _types(_rest(resource_of(self._client.send("GET", "metadata")) or {}))
                self._by_identifier = {kind for kind, one in known.items() if _can_search(one, "identifier")}
            able = self._by_identifier
        lacking = kinds(plan.entries(bundle)).keys() - able if able else set()  # one that lists none says nothing
        return {"Provenance", *lacking}

    def _given_up(self, parcel: Parcel, error: Unavailable) -> Sent:
        """A note that the server could not take, if it answers others; else the run is at its end."""
        with self._lock:
            self._lost_in_a_row += 1
            lost = self._lost_in_a_row
        if lost >= _LOST_IN_A_ROW or not self._is_alive():
            raise KiwiError(f"{error}: go on with --resume when the server is well again.") from error
        return refused(parcel, f"http-{error.status}" if error.status else "no-answer", f"{error}, at every try.")

    def _is_alive(self) -> bool:
        try:
            return self._client.send("GET", "metadata").status_code == 200
        except Unavailable:
            return False


def _rest(statement: Resource) -> Resource:
    """What a CapabilityStatement says about the server."""
    rest = dicts(statement.get("rest"))
    return next((item for item in rest if item.get("mode", "server") == "server"), {})


def _types(server: Resource) -> dict[str, Resource]:
    return {str(item.get("type")): item for item in dicts(server.get("resource"))}


def _can_search(one: Resource, name: str) -> bool:
    return any(item.get("name") == name for item in dicts(one.get("searchParam")))
