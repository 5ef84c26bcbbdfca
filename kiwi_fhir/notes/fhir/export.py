"""Bulk Data: an export job of a FHIR server, from its start to its deletion (https://hl7.org/fhir/uv/bulkdata/).

The files are fetched one at a time to an unnamed file on disk, as a model takes longer over a file's notes than a
server keeps a connection open.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, cast
from urllib.parse import quote

import orjson

from kiwi_fhir.clients.backoff import retry_after
from kiwi_fhir.clients.fhir import FhirClient, dicts, issues_of, resource_of
from kiwi_fhir.errors import InputError, KiwiError, Unavailable, UsageError
from kiwi_fhir.notes.fhir.attachments import Attachments
from kiwi_fhir.notes.fhir.search import Search

SYSTEM = "system"
_NDJSON = "application/fhir+ndjson"
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # where the server does not say when to ask again
_LONGEST_RETRY_AFTER = 600.0
_GRAVE, _NOT_DONE = ("error", "fatal"), "not-supported"


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file of an export: what is in it, and how many resources, where the server says so."""

    url: str
    type: str
    count: int | None = None
    #: Whether it holds the OperationOutcomes of what could not be exported.
    is_error: bool = False


def start(client: FhirClient, level: str, searches: Sequence[Search]) -> str:
    """Start an export of what the searches would find, and give the URL that says how far it is.

    `level` is `system`, `Patient` or `Group/ID`. Raises UsageError for a server that makes none, Unavailable.
    """
    types = ",".join(dict.fromkeys(search.type for search in searches))
    filters = [f"{search.type}?{search.parameters}" for search in searches if search.parameters]
    parts = [f"_type={types}", f"_outputFormat={quote(_NDJSON)}"]
    parts += [f"_typeFilter={quote(item, safe='')}" for item in filters]
    # Without `strict` a server may leave filters out, and give notes that were not asked for.
    headers = {"Prefer": "respond-async, handling=strict" if filters else "respond-async"}
    path = "$export" if level == SYSTEM else f"{level}/$export"
    answer = client.send("GET", f"{path}?{'&'.join(parts)}", headers=headers)
    where = answer.headers.get("Content-Location")
    if answer.status_code != 202 or where is None:
        raise UsageError(
            f"{client.base} does not start an export ({answer.status_code}{issues_of(resource_of(answer))}): "
            "check --export and --query, or read without --export."
        )
    return str(where)


def finished(client: FhirClient, status_url: str) -> Mapping[str, Any] | None:
    """Wait for an export, and give its manifest; None where the server knows no such export (any more).

    A server may take hours, and says how long to wait. Raises KiwiError for an export that failed, Unavailable.
    """
    pause = _FIRST_PAUSE
    while True:
        answer = client.request("GET", status_url)
        if answer.status_code in (404, 410):
            return None
        if answer.status_code != 202:
            break
        asked = retry_after(answer.headers.get("Retry-After"))
        client.wait(pause if asked is None else min(asked, _LONGEST_RETRY_AFTER))
        pause = min(2 * pause, _LONGEST_PAUSE)
    manifest = resource_of(answer)
    if answer.status_code != 200 or manifest is None or not isinstance(manifest.get("output"), list):
        raise KiwiError(f"{client.base} could not finish the export ({answer.status_code}{issues_of(manifest)}).")
    return manifest


def files_of(manifest: Mapping[str, Any], types: Sequence[str]) -> list[ExportFile]:
    """The files with notes, and those with errors, in the manifest's order."""
    found = []
    for key in ("output", "error"):
        for item in dicts(manifest.get(key)):
            url, kind, count = item.get("url"), item.get("type"), item.get("count")
            if isinstance(url, str) and (key == "error" or kind in types):
                number = count if isinstance(count, int) else None
                found.append(ExportFile(url, str(kind), number, is_error=key == "error"))
    return found


class Downloads:
    """The files of an export as a file system (see `notes.files.Files`): opening one fetches it whole."""

    def __init__(self, files: Mapping[str, ExportFile], attachments: Attachments) -> None:
        """`attachments` says which servers may be asked."""
        self._files, self._attachments = files, attachments

    def match(self, pattern_or_path: str) -> list[str]:
        """See Files.match."""
        return [pattern_or_path] if pattern_or_path in self._files else []

    def open(self, path: str) -> BinaryIO:
        """See Files.open. Raises InputError for a file that the server does not give or the disk can't take.

        Raises Unavailable for a server that is gone.
        """
        try:
            return self._fetched(path)
        except OSError as error:
            raise InputError(
                f"The file {path} of the export can't be kept in {tempfile.gettempdir()} ({error.strerror}): "
                "set TMPDIR to a folder with room, and run again (`run` goes on with --resume)."
            ) from error

    def _fetched(self, path: str) -> BinaryIO:
        client, url = self._attachments.client_for(self._files[path].url)
        target: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        try:
            backoff = client.backoff()
            while True:
                try:
                    with client.stream(url, {"Accept": _NDJSON}) as response:
                        if response.status_code != 200:
                            raise InputError(
                                f"{client.base} does not give the file {path} of its export any more "
                                f"({response.status_code}): run again (`run` goes on with --resume)."
                            )
                        for piece in response.iter_bytes():
                            target.write(piece)
                    break
                except Unavailable as error:
                    backoff.wait(error)
                    target.seek(0)
                    target.truncate()
            target.seek(0)
        except BaseException:
            target.close()
            raise
        return cast(BinaryIO, target)


def troubles_in(files: Downloads, path: str) -> list[str]:
    """What the OperationOutcomes of a file say, by their codes.

    Warnings and informations are left out, but for a part of the request that the server did not do.
    """
    found = []
    with files.open(path) as lines:
        for line in lines:
            try:
                outcome = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            issues = dicts(outcome.get("issue")) if isinstance(outcome, dict) else []
            grave = [item for item in issues if item.get("severity") in _GRAVE or item.get("code") == _NOT_DONE]
            if grave:
                found.append(issues_of({"issue": grave}).strip(" ()"))
    return found
