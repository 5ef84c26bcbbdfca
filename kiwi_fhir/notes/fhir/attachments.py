"""What the url of an attachment names, fetched from a FHIR server and from other servers that the caller allows.

Credentials go to the FHIR server alone. What can't be fetched costs one note, unless nothing can be fetched any more.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import replace

import httpx2
import orjson

from kiwi_fhir.clients.fhir import JSON, READ_SCOPE, Elsewhere, FhirClient, origin_of
from kiwi_fhir.errors import KiwiError, NoteError, Unavailable
from kiwi_fhir.notes.note_resources import of_binary

#: Bytes of the largest attachment: no note is longer, and it is held in memory.
LARGEST = 64 << 20
_ACCEPT = {"Accept": f"{JSON}, */*;q=0.5"}  # of a Binary the resource, which says what the content is
_GONE = (404, 410)
_LOST_IN_A_ROW = 5


class Attachments:
    """Calls with a url, answers with content type and bytes; see `note_resources.Fetch`. For several threads.

    Relative urls count from the server's base.
    """

    def __init__(self, client: FhirClient, allow_host: Collection[str] = (), *, requests: int = 4) -> None:
        """`allow_host` are origins beside the server's own. Raises UsageError for one that is no URL."""
        self._client, self._requests = client, requests
        self._others: dict[str, FhirClient | None] = {origin_of(url): None for url in allow_host}
        self._lock = threading.Lock()
        self._lost_in_a_row = 0

    def __call__(self, url: str) -> tuple[str | None, bytes]:
        """Fetch. Raises NoteError, and Unavailable where the server is gone."""
        try:
            found = self._fetch(url)
        except Elsewhere as error:
            raise NoteError(
                "other-host", "The attachment is on another host than the server: allow it by --allow-host."
            ) from error
        with self._lock:
            self._lost_in_a_row = 0
        return found

    def client_for(self, url: str) -> tuple[FhirClient, str]:
        """The client that may ask for a url, and the url made whole. Raises Elsewhere for one that none may."""
        whole = self._whole(url)
        origin = origin_of(whole)
        if origin == origin_of(self._client.base):
            return self._client, whole
        with self._lock:
            if origin not in self._others:
                raise Elsewhere(f"{self._client.base} names a URL on another host ({httpx2.URL(whole).host}).", whole)
            other = self._others[origin]
            if other is None:
                ours = self._client.access
                anonymous = replace(
                    ours, token=None, token_file=None, user=None, password=None, client_id=None, key_file=None
                )
                other = FhirClient(origin, role="", scope=READ_SCOPE, requests=self._requests, access=anonymous)
                self._others[origin] = other
        return other, whole

    def close(self) -> None:
        """Let go of the connections to other servers."""
        for client in self._others.values():
            if client is not None:
                client.close()

    def _whole(self, url: str) -> str:
        try:
            found = httpx2.URL(f"{self._client.base}/").join(url)
        except httpx2.InvalidURL:
            found = None
        if found is None or found.scheme not in ("http", "https") or not found.host or found.userinfo:
            raise NoteError("bad-url", "The attachment's url is none that can be followed.")
        return str(found)

    def _fetch(self, url: str) -> tuple[str | None, bytes]:
        client, whole = self.client_for(url)
        backoff = client.backoff()
        while True:
            try:
                return self._once(client, whole)
            except Elsewhere as error:  # a redirect, as servers send to their store of files
                client, whole = self.client_for(error.url)
            except Unavailable as error:
                try:
                    backoff.wait(error)
                except Unavailable:
                    raise self._given_up(client, error) from error

    def _once(self, client: FhirClient, url: str) -> tuple[str | None, bytes]:
        pieces, size = [], 0
        with client.stream(url, _ACCEPT) as response:
            status, content_type = response.status_code, response.headers.get("Content-Type")
            if status in _GONE:
                raise NoteError("missing-binary", f"The server has no such attachment ({status}).")
            if status != 200:
                raise NoteError(f"http-{status}", f"The server answers {status} to the attachment's url.")
            for piece in response.iter_bytes():
                size += len(piece)
                if size > LARGEST:
                    raise NoteError("too-large", f"The attachment is larger than {LARGEST >> 20} MB.")
                pieces.append(piece)
        return _unwrapped(content_type, b"".join(pieces))

    def _given_up(self, client: FhirClient, error: Unavailable) -> KiwiError:
        """What it means that an attachment could not be had at any try: the note's own trouble, or the server's."""
        with self._lock:
            self._lost_in_a_row += 1
            lost = self._lost_in_a_row
        if lost >= _LOST_IN_A_ROW or not _answers(client):
            return error
        return NoteError(f"http-{error.status}" if error.status else "no-answer", f"{error}, at every try.")


def _answers(client: FhirClient) -> bool:
    """Whether the server is there at all, whatever it says."""
    try:
        client.send("GET", "metadata")
    except Unavailable:
        return False
    except KiwiError:
        return True
    return True


def _unwrapped(content_type: str | None, data: bytes) -> tuple[str | None, bytes]:
    """Of a Binary its content; all else as it is."""
    if "json" not in (content_type or ""):
        return content_type, data
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return content_type, data
    is_binary = isinstance(found, dict) and found.get("resourceType") == "Binary"
    return of_binary(found) if is_binary else (content_type, data)
