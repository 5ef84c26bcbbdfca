"""A FHIR server as a source: the notes that searches find, or those of a Bulk Data export.

Each search, and each file of an export, is an input of its own that workers share. Who we are comes from the
environment (see fhir_auth.py), in each worker anew: a pickled source has the server's URL only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from kiwi_fhir.clients.fhir import READ_SCOPE, Elsewhere, FhirClient
from kiwi_fhir.config import Config
from kiwi_fhir.errors import InputError, KiwiError, NoteError, Unavailable, UsageError
from kiwi_fhir.notes.fhir import export as bulk
from kiwi_fhir.notes.fhir.attachments import Attachments
from kiwi_fhir.notes.fhir.search import Search, checked, pages, search_of
from kiwi_fhir.notes.note_resources import is_left_out, note_of
from kiwi_fhir.notes.parallel import in_order
from kiwi_fhir.notes.resources import Resource, resources, text_at
from kiwi_fhir.notes.source import failure
from kiwi_fhir.types import Failure, Note

_LEVEL = re.compile(r"system|Patient|Group/[A-Za-z0-9.-]{1,64}")
_BATCH = 50  # notes of an export whose attachments are fetched at a time


class FhirServerSource:
    """See the module, and Source. `held` is an export's job on the server, for a run that goes on with it."""

    kind = "fhir"

    def __init__(
        self,
        query: Sequence[str] = (),
        export: str | None = None,
        allow_host: Sequence[str] = (),
        *,
        parallel: int = 4,
    ) -> None:
        """`query` are searches (see `search_of`), all DocumentReferences by default; `export` is the level of one.

        `allow_host` are other servers that attachments may be on; `parallel` requests are made at a time.
        Raises UsageError.
        """
        if export is not None and not _LEVEL.fullmatch(export):
            raise UsageError(f"--export is 'system', 'Patient' or 'Group/ID', not '{export}'.")
        self.dropped = 0
        self.held: str | None = None
        self._searches = tuple(search_of(one) for one in query or ("",))
        self._export, self._allow_host, self._parallel = export, tuple(allow_host), parallel
        self._base = ""
        self._inputs: dict[str, Search | bulk.ExportFile] = {}

    def files(self, inputs: Sequence[str]) -> list[str]:
        """The searches, or the files of an export, which is waited for; see Source.files.

        Raises UsageError for a server that can't be read or does not take a query.
        """
        if len(inputs) != 1:
            raise UsageError("Name the base URL of one FHIR server as the input of fhir, and nothing else.")
        self._base = inputs[0]
        with self._server() as (client, attachments):
            self._base = client.base
            try:
                if self._export is None:
                    found: list[Search | bulk.ExportFile] = [checked(client, item) for item in self._searches]
                else:
                    found = list(self._exported(client, attachments, self._export))
            except Unavailable as error:
                raise UsageError(f"{error}: check the URL, and that the server runs.") from error
        ends = ".ndjson" if self._export is not None else ""
        self._inputs = {f"{item.type}.{number:05d}{ends}": item for number, item in enumerate(found)}
        return list(self._inputs)

    def read(self, path: str) -> Iterator[Note | Failure]:
        """The notes of a search in the order of their ids, or of a file in its order; see Source.read.

        A failure is named by the resource's id, else by PATH:NUMBER from 1. Raises InputError, after the last note,
        for a number of resources that is not the server's own, and Unavailable for a server that is gone.
        """
        item = self._inputs[path]
        with self._server() as (client, attachments):
            try:
                if isinstance(item, Search):
                    number = 0
                    for page in pages(client, item):
                        places = [f"{path}:{number + at}" for at in range(1, len(page) + 1)]
                        number += len(page)
                        yield from self._notes(list(zip(places, page, strict=True)), attachments)
                else:
                    yield from self._of_file(path, item, attachments)
            except Unavailable as error:
                raise Unavailable(
                    f"{error}: run again when the server is well (`run` goes on with --resume).", error.status
                ) from error

    def release(self) -> None:
        """Have the server delete the export. Whether it does is its own affair."""
        if self.held is not None:
            with suppress(KiwiError), self._server() as (client, _):
                client.send("DELETE", orjson.loads(self.held)["export"])
            self.held = None

    @contextmanager
    def _server(self) -> Iterator[tuple[FhirClient, Attachments]]:
        client = FhirClient(self._base, role="SOURCE", scope=READ_SCOPE, requests=self._parallel)
        try:
            attachments = Attachments(client, self._allow_host, requests=self._parallel)
            try:
                yield client, attachments
            finally:
                attachments.close()
        finally:
            client.close()

    def _exported(self, client: FhirClient, attachments: Attachments, level: str) -> Iterator[bulk.ExportFile]:
        """The files of the export that an earlier run left, or of a new one."""
        asked: dict[str, Any] = {
            "base": client.base,
            "level": level,
            "queries": [search.with_("") for search in self._searches],
        }
        earlier = orjson.loads(self.held) if self.held is not None else {}
        where = (
            str(earlier.get("export")) if earlier and earlier == {**asked, "export": earlier.get("export")} else None
        )
        manifest = bulk.finished(client, where) if where is not None else None
        if manifest is None:
            where = bulk.start(client, level, self._searches)
            self.held = orjson.dumps({**asked, "export": where}).decode()
            manifest = bulk.finished(client, where)
        if manifest is None:
            raise KiwiError(f"{client.base} does not know the export that it has just started.")
        for file in bulk.files_of(manifest, [search.type for search in self._searches]):
            try:
                attachments.client_for(file.url)
            except Elsewhere as error:
                raise UsageError(f"{error} Its export is there: allow it by --allow-host.") from error
            yield file

    def _of_file(self, path: str, item: bulk.ExportFile, attachments: Attachments) -> Iterator[Note | Failure]:
        files = bulk.Downloads({path: item}, attachments)
        if item.is_error:
            troubles = list(dict.fromkeys(bulk.troubles_in(files, path)))
            if troubles:
                raise InputError(
                    f"{self._base} could not export all ({'; '.join(troubles[:3])}): notes may be missing."
                )
            return
        number = 0
        batch: list[tuple[str, Resource]] = []
        for found in resources(files, path):
            number += 1
            if found.problem is not None:
                yield from self._notes(batch, attachments)
                batch = []
                yield failure(found.place, found.problem)
            elif found.resource["resourceType"] == item.type:
                batch.append((found.place, found.resource))
                if len(batch) == _BATCH:
                    yield from self._notes(batch, attachments)
                    batch = []
        yield from self._notes(batch, attachments)
        if item.count is not None and number != item.count:
            raise InputError(
                f"{self._base} says that its export has {item.count} of {item.type}, and gave {number}: "
                "run again (`run` goes on with --resume)."
            )

    def _notes(self, found: Sequence[tuple[str, Resource]], attachments: Attachments) -> Iterator[Note | Failure]:
        """The notes of some resources in order, their attachments fetched several at a time."""
        wanted = []
        for place, resource in found:
            if is_left_out(resource):
                self.dropped += 1
            else:
                wanted.append((place, resource))
        yield from in_order(partial(self._note, attachments), wanted, self._parallel)

    def _note(self, attachments: Attachments, item: tuple[str, Resource]) -> Note | Failure:
        place, resource = item
        try:
            note = note_of(resource, attachments, self.kind)
            patient, encounter = self._own(note.patient_id, "Patient"), self._own(note.encounter_id, "Encounter")
            return replace(note, patient_id=patient, encounter_id=encounter)
        except NoteError as error:
            return failure(text_at(resource, "id") or place, error)

    def _own(self, reference: str | None, kind: str) -> str | None:
        """A whole reference to a resource of this very server as its id, as if it were written relative."""
        start = f"{self._base}/{kind}/"
        return reference[len(start) :] if reference is not None and reference.startswith(start) else reference


def from_config(config: Config) -> FhirServerSource:
    """The source that a config asks for. Raises UsageError."""
    return FhirServerSource(
        config.notes.query, config.notes.export, config.notes.allow_host, parallel=config.fhir.parallel
    )
