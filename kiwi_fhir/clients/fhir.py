"""Requests to one FHIR server, for the source and the sink: who we are, what is tried again, where we never go.

Nothing is sent to another origin than the server's, redirects included. Messages name the server and a status, never
a body: a server's words may quote a note.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
import orjson

from kiwi_fhir.clients.backoff import Backoff
from kiwi_fhir.clients.fhir_auth import Access, FhirAuth, access_from
from kiwi_fhir.clients.server import CONNECT_SECONDS, Server, checked_url, is_loopback
from kiwi_fhir.errors import KiwiError, Unavailable, UsageError

JSON = "application/fhir+json"
READ_SCOPE, WRITE_SCOPE = "system/*.read", "system/*.read system/*.write"

_REDIRECTS = 3
_LOG_IN = "log in by KIWI_FHIR_* of the environment"


class RequestRefused(KiwiError):
    """An answer that says no; `status` is its."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Elsewhere(KiwiError):
    """`url` is on another origin than the server, and is not followed."""

    def __init__(self, message: str, url: str) -> None:
        super().__init__(message)
        self.url = url


class FhirClient:
    """One server. Safe to use from several threads; `requests` connections at most."""

    def __init__(
        self, base_url: str, *, role: str, scope: str, requests: int = 4, access: Access | None = None
    ) -> None:
        """`role` is SOURCE or SINK (see `access_from`). Raises UsageError for a URL or settings that can't work."""
        self._base = _checked(base_url)
        self.base = str(self._base).rstrip("/")
        self.access = access = access_from(os.environ, role) if access is None else access
        if self._base.scheme == "http" and not (access.is_anonymous or access.insecure or is_loopback(self._base)):
            raise UsageError(
                f"{self.base} would get the credentials over plain http: use https (or KIWI_FHIR_INSECURE=1)."
            )
        self._server = Server(
            self.base,
            timeout=access.timeout,
            patience=access.patience,
            untrusted="name its authority in KIWI_FHIR_CA_FILE",
        )
        self._http = httpx2.Client(
            auth=None if access.is_anonymous else FhirAuth(access, self.base, scope=scope),
            verify=_tls(access),
            timeout=httpx2.Timeout(access.timeout, connect=min(CONNECT_SECONDS, access.timeout)),
            limits=httpx2.Limits(max_connections=requests, max_keepalive_connections=requests),
            headers={"Accept": JSON, "User-Agent": "kiwi-fhir"},
            follow_redirects=False,
        )
        self._stopped = threading.Event()

    def close(self) -> None:
        """Let go of connections; who waits for the server waits no more."""
        self._stopped.set()
        self._http.close()

    def url(self, path: str) -> httpx2.URL:
        """A path or a whole URL, on this server. Raises Elsewhere for a URL of another origin, KiwiError for none."""
        try:
            url = httpx2.URL(path if "://" in path.partition("?")[0] else f"{self.base}/{path}".rstrip("/"))
        except httpx2.InvalidURL as error:
            raise KiwiError(f"{self.base} names a URL that is none.") from error
        if _origin(url) != _origin(self._base):
            raise Elsewhere(f"{self.base} names a URL on another host ({url.host}): that is not followed.", str(url))
        return url

    def send(
        self, method: str, path: str, *, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """One try. Raises Unavailable for what may pass, KiwiError for a server that won't have us (401)."""
        with self._answer(method, path, content, headers) as response:
            self._read(response)
        self._server.check(response)
        return response

    def request(
        self, method: str, path: str, *, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """`send`, again and again while the server is away or busy. For requests that may arrive twice."""
        backoff = self.backoff()
        while True:
            try:
                return self.send(method, path, content=content, headers=headers)
            except Unavailable as error:
                backoff.wait(error)

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx2.Response]:
        """One try of a GET whose body is read piece by piece: `for piece in response.iter_bytes()`.

        What breaks while it is read is Unavailable too.
        """
        with self._answer("GET", path, None, headers) as response:
            self._server.check(response)
            try:
                yield response
            except httpx2.TransportError as error:
                raise self._server.broken(error) from None
            except httpx2.DecodingError:
                raise Unavailable(f"{self.base} answers with what can't be unpacked") from None

    def search(self, path: str, headers: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
        """The bundles of a search, page by page along `next`. Raises RequestRefused for an answer that is no bundle."""
        following: str | None = path
        while following is not None:
            response = self.request("GET", following, headers=headers)
            page = resource_of(response)
            if response.status_code != 200 or page is None or page.get("resourceType") != "Bundle":
                status = response.status_code
                raise RequestRefused(f"{self.base} answers a search with {status}{issues_of(page)}.", status)
            yield page
            following = next_of(page)

    def wait(self, seconds: float) -> bool:
        """Sleep; true when the client was closed meanwhile."""
        return self._stopped.wait(seconds)

    def backoff(self) -> Backoff:
        """How to wait for this server."""
        return self._server.backoff(self._stopped.wait)

    # One try, with redirects followed within the server.
    @contextmanager
    def _answer(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str] | None
    ) -> Iterator[httpx2.Response]:
        url, redirects = self.url(path), 0
        sent = dict(headers or {})
        if content is not None:
            sent.setdefault("Content-Type", JSON)
        while True:
            self._stopped.wait(self._server.pause())
            try:
                request = self._http.build_request(method, url, content=content, headers=sent)
                response = self._http.send(request, stream=True)
            except httpx2.TransportError as error:
                raise self._broken(error, request) from None
            try:
                if response.status_code == 401:
                    raise KiwiError(self._refused())
                if not response.has_redirect_location:
                    yield response
                    return
                redirects += 1
                url = self._redirected(method, url, response, redirects)
            finally:
                response.close()

    def _read(self, response: httpx2.Response) -> None:
        try:
            response.read()
        except httpx2.TransportError as error:
            raise self._server.broken(error) from None
        except httpx2.DecodingError as error:
            raise KiwiError(f"{self.base} answers with what can't be unpacked.") from error

    def _redirected(self, method: str, url: httpx2.URL, response: httpx2.Response, count: int) -> httpx2.URL:
        target = url.join(response.headers["Location"])
        upgraded = (target.scheme, target.host, target.port) == ("https", url.host, None) and _origin(url)[2] == 80
        if _origin(target) != _origin(url) and not upgraded:
            raise Elsewhere(
                f"{self.base} redirects to another host ({target.host}): that is not followed.", str(target)
            )
        if count > _REDIRECTS or (method != "GET" and response.status_code not in (307, 308)):
            raise KiwiError(f"{self.base} redirects: use the URL that it redirects to.")
        return target

    def _broken(self, error: httpx2.TransportError, request: httpx2.Request) -> KiwiError:
        """What a failed connection means: of the server, or of the one that its login asks for a token."""
        broken = self._server.broken(error)
        if isinstance(broken, Unavailable) and error.request is not request:
            return Unavailable("The token server can't be reached")
        return broken

    def _refused(self) -> str:
        if self.access.is_anonymous:
            return f"{self.base} wants to know who we are (401): set KIWI_FHIR_TOKEN or another way to log in."
        return f"{self.base} refuses our credentials (401): check what the environment gives as KIWI_FHIR_*."


def resource_of(response: httpx2.Response) -> dict[str, Any] | None:
    """The JSON object of an answer, None where it is none."""
    try:
        found = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def origin_of(url: str) -> str:
    """`https://host` of a URL, with the port where it is not the usual one. Raises UsageError for what is none."""
    return str(_checked(url.partition("?")[0].partition("#")[0]).copy_with(path="/")).rstrip("/")


def next_of(page: Mapping[str, Any]) -> str | None:
    """The URL of a bundle's next page."""
    links = (link.get("url") for link in dicts(page.get("link")) if link.get("relation") == "next")
    return next((url for url in links if isinstance(url, str)), None)


def dicts(value: object) -> list[dict[str, Any]]:
    """The objects of a JSON array; nothing where it is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def issues_of(outcome: object) -> str:
    """An OperationOutcome as ` (error invalid at Condition.code)`: codes and paths, as its texts may quote a note."""
    said = []
    for issue in dicts(outcome.get("issue")) if isinstance(outcome, dict) else ():
        places = issue.get("expression")
        place = places[0] if isinstance(places, list) and places else None
        words = " ".join(code for key in ("severity", "code") if (code := _code(issue.get(key))))
        said.append(words + (f" at {place}" if isinstance(place, str) and _is_path(place) else ""))
    said = [words for words in dict.fromkeys(said) if words]
    return f" ({'; '.join(said[:3])})" if said else ""


def _code(value: object) -> str:
    known = isinstance(value, str) and len(value) <= 40 and value.replace("-", "").isalpha() and value.isascii()
    return str(value) if known else ""


def _is_path(value: str) -> bool:
    return len(value) <= 120 and value.isascii() and all(mark.isalnum() or mark in "._[]()-" for mark in value)


def _checked(url: str) -> httpx2.URL:
    return checked_url(url, what="a server", log_in=_LOG_IN)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _tls(access: Access) -> ssl.SSLContext:
    if access.insecure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    context = httpx2.create_ssl_context()  # the certificates that the system trusts
    if access.ca_file is not None:
        try:
            context.load_verify_locations(access.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise UsageError("The file that KIWI_FHIR_CA_FILE names holds no certificates as PEM.") from error
    return context
