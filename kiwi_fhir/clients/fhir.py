"""Requests to one FHIR server, for the source and the sink: who we are, what is tried again, where we never go.

Nothing is sent to another origin than the server's, redirects included. Messages name the server and a status, never
a body: a server's words may quote a note.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
import orjson

from kiwi_fhir.clients.backoff import Backoff, is_untrusted, retry_after
from kiwi_fhir.clients.fhir_auth import Access, Authorization, access_from
from kiwi_fhir.errors import KiwiError, Unavailable, UsageError

JSON = "application/fhir+json"
#: What a server says that is away or busy. Other answers come again, however often one asks.
BUSY = frozenset({429, 500, 502, 503, 504})
READ_SCOPE, WRITE_SCOPE = "system/*.read", "system/*.read system/*.write"

_REDIRECTS = 3
_CONNECT_SECONDS = 10.0


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
        self.access = access_from(os.environ, role) if access is None else access
        if self._base.scheme == "http" and not (
            self.access.is_anonymous or self.access.insecure or _is_loopback(self._base)
        ):
            raise UsageError(
                f"{self.base} would get the credentials over plain http: use https (or KIWI_FHIR_INSECURE=1)."
            )
        self._http = httpx2.Client(
            verify=_tls(self.access),
            timeout=httpx2.Timeout(self.access.timeout, connect=min(_CONNECT_SECONDS, self.access.timeout)),
            limits=httpx2.Limits(max_connections=requests, max_keepalive_connections=requests),
            headers={"Accept": JSON, "User-Agent": "kiwi-fhir"},
            follow_redirects=False,
        )
        self._authorization = Authorization(self.access, self._discover, self._post_form, scope=scope)
        self._stopped = threading.Event()
        self._not_before = 0.0

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
        if response.status_code in BUSY:
            raise self._busy(response)
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
            if response.status_code in BUSY:
                raise self._busy(response)
            try:
                yield response
            except httpx2.TransportError as error:
                raise self._broken(error) from None
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
        return Backoff(self.access.patience, self._stopped.wait)

    # One try, with a token renewed and redirects followed within the server.
    @contextmanager
    def _answer(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str] | None
    ) -> Iterator[httpx2.Response]:
        url, renewed, redirects = self.url(path), False, 0
        sent = dict(headers or {})
        if content is not None:
            sent.setdefault("Content-Type", JSON)
        while True:
            self._hold()
            authorization = self._authorization.header()
            if authorization is not None:
                sent["Authorization"] = authorization
            try:
                response = self._http.send(
                    self._http.build_request(method, url, content=content, headers=sent), stream=True
                )
            except httpx2.TransportError as error:
                raise self._broken(error) from None
            try:
                if response.status_code == 401:
                    if renewed or not self._authorization.renew(authorization):
                        raise KiwiError(self._refused())
                    renewed = True
                elif response.has_redirect_location:
                    redirects += 1
                    url = self._redirected(method, url, response, redirects)
                else:
                    yield response
                    return
            finally:
                response.close()

    def _read(self, response: httpx2.Response) -> None:
        try:
            response.read()
        except httpx2.TransportError as error:
            raise self._broken(error) from None
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

    def _hold(self) -> None:
        """Wait while the server has told any of us to."""
        pause = self._not_before - time.monotonic()
        if pause > 0:
            self._stopped.wait(pause)

    def _busy(self, response: httpx2.Response) -> Unavailable:
        after = retry_after(response.headers.get("Retry-After"))
        if after is not None and after <= self.access.patience:
            self._not_before = max(self._not_before, time.monotonic() + after)
        return Unavailable(f"{self.base} answers {response.status_code}", response.status_code, after)

    def _broken(self, error: httpx2.TransportError) -> KiwiError:
        """What a failed connection means; a certificate that is not trusted does not pass."""
        if is_untrusted(error):
            return UsageError(
                f"The certificate of {self.base} is not trusted: name its authority in KIWI_FHIR_CA_FILE."
            )
        if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
            return KiwiError(f"{self.base} can't be asked: {type(error).__name__}.")
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return Unavailable(f"{self.base} can't be reached")
        if isinstance(error, httpx2.TimeoutException):
            return Unavailable(f"{self.base} does not answer within {self.access.timeout:g} s")
        return Unavailable(f"{self.base} breaks the connection off")

    def _refused(self) -> str:
        if self.access.is_anonymous:
            return f"{self.base} wants to know who we are (401): set KIWI_FHIR_TOKEN or another way to log in."
        return f"{self.base} refuses our credentials (401): check what the environment gives as KIWI_FHIR_*."

    def _discover(self) -> str:
        """Where tokens are: https://hl7.org/fhir/smart-app-launch/conformance.html"""
        path = f"{self.base}/.well-known/smart-configuration"
        found: Any = None
        try:
            response = self._http.get(path, headers={"Accept": "application/json"})
            found = orjson.loads(response.content) if response.status_code == 200 else None
        except httpx2.TransportError as error:
            raise self._broken(error) from None
        except orjson.JSONDecodeError:
            pass
        endpoint = found.get("token_endpoint") if isinstance(found, dict) else None
        if not isinstance(endpoint, str):
            raise UsageError(f"{self.base} does not say where tokens are: set KIWI_FHIR_TOKEN_URL.")
        return endpoint

    def _post_form(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
        target = _checked(url)
        if target.scheme == "http" and not (self.access.insecure or _is_loopback(target)):
            raise UsageError("The URL for tokens must be https.")
        backoff = self.backoff()
        while True:
            try:
                response = self._http.post(target, data=dict(form), headers={"Accept": "application/json", **headers})
                if response.status_code not in BUSY:
                    break
                raise Unavailable(
                    f"The token server answers {response.status_code}",
                    response.status_code,
                    retry_after(response.headers.get("Retry-After")),
                )
            except httpx2.TransportError as error:
                broken = self._broken(error)
                if not isinstance(broken, Unavailable):
                    raise broken from None
                backoff.wait(Unavailable("The token server can't be reached"))
            except Unavailable as error:
                backoff.wait(error)
        if response.status_code != 200:
            raise KiwiError(
                f"The token server refuses us ({response.status_code}): check KIWI_FHIR_CLIENT_ID and its secret."
            )
        return resource_of(response) or {}


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
    try:
        found = httpx2.URL(url)
    except httpx2.InvalidURL:
        found = httpx2.URL("")
    if found.scheme not in ("http", "https") or not found.host:
        raise UsageError("The URL of a server must begin with https:// or http:// and name a host.")
    if found.userinfo or found.query or found.fragment:
        raise UsageError(
            "The URL of a server holds no user, password or query: log in by KIWI_FHIR_* of the environment."
        )
    return found


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _is_loopback(url: httpx2.URL) -> bool:
    return url.host in ("localhost", "127.0.0.1", "::1")


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
