"""How we show a FHIR server who we are: settings from the environment, tokens fetched and renewed.

SMART backend services: https://hl7.org/fhir/smart-app-launch/backend-services.html (signed JWT, RS384 or ES384).
Secrets are in no message and in no repr.
"""

from __future__ import annotations

import base64
import threading
import time
import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import orjson

from kiwi_fhir.clients.backoff import retry_after
from kiwi_fhir.clients.server import checked_url, is_busy, is_loopback
from kiwi_fhir.errors import KiwiError, Unavailable, UsageError

ResultT = TypeVar("ResultT")

_EARLY = 60.0  # a token is renewed this many seconds before it ends, so that it does not end on the way
_LIFETIME = 240  # of a signed JWT; the specification allows 300 seconds
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Access:
    """What the environment says about a server; see `access_from` for the names.

    `timeout` is how long one answer may take, `patience` how long a server that is away or busy is waited for, both
    in seconds.
    """

    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    key_file: str | None = None
    key_id: str | None = None
    token_url: str | None = None
    scope: str | None = None
    ca_file: str | None = None
    insecure: bool = False
    timeout: float = 60.0
    patience: float = 120.0

    @property
    def is_anonymous(self) -> bool:
        """Whether nothing says who we are."""
        return not (self.token or self.token_file or self.user or self.client_id)


def access_from(environment: Mapping[str, str], role: str = "") -> Access:
    """The settings of a server: `KIWI_FHIR_TOKEN` and so on.

    | name | what |
    |---|---|
    | TOKEN, TOKEN_FILE | a bearer token, or the file that holds it (read again when it is refused) |
    | USER, PASSWORD | basic authentication |
    | CLIENT_ID, CLIENT_SECRET | OAuth 2 client credentials |
    | CLIENT_ID, KEY_FILE, KEY_ID | SMART backend services: a private key (PEM), and its `kid` |
    | TOKEN_URL, SCOPE | where and for what tokens are; the server's smart-configuration says where, else |
    | CA_FILE | certificates to trust beside the system's |
    | INSECURE=1 | certificates are not verified, and secrets may go over plain http |
    | TIMEOUT, PATIENCE | seconds; see `Access` |

    PASSWORD and CLIENT_SECRET may be files too (PASSWORD_FILE). With `role` "SOURCE" or "SINK" the names begin with
    `KIWI_FHIR_SOURCE_` or `KIWI_FHIR_SINK_`; when any such name is set, none of the plain ones counts, so that no
    secret goes to the wrong server. Raises UsageError for what contradicts itself.
    """
    own = f"KIWI_FHIR_{role}_"
    prefix = (
        own if role and any(name.startswith(own) and value for name, value in environment.items()) else "KIWI_FHIR_"
    )

    def get(name: str) -> str | None:
        return environment.get(f"{prefix}{name}", "").strip() or None

    def secret(name: str) -> str | None:
        path = get(f"{name}_FILE")
        if path is None:
            return get(name)
        if get(name) is not None:
            raise UsageError(f"Set one of {prefix}{name} and {prefix}{name}_FILE, not both.")
        return read_secret(path, f"{prefix}{name}_FILE")

    def seconds(name: str, default: float) -> float:
        try:
            value = float(get(name) or default)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise UsageError(f"{prefix}{name} must be a number of seconds.")
        return value

    access = Access(
        token=get("TOKEN"),
        token_file=get("TOKEN_FILE"),
        user=get("USER"),
        password=secret("PASSWORD"),
        client_id=get("CLIENT_ID"),
        client_secret=secret("CLIENT_SECRET"),
        key_file=get("KEY_FILE"),
        key_id=get("KEY_ID"),
        token_url=get("TOKEN_URL"),
        scope=get("SCOPE"),
        ca_file=get("CA_FILE"),
        insecure=(get("INSECURE") or "").lower() in ("1", "true", "yes"),
        timeout=seconds("TIMEOUT", 60.0),
        patience=seconds("PATIENCE", 120.0),
    )
    ways = [name for name in ("TOKEN", "TOKEN_FILE", "USER", "CLIENT_ID") if get(name)]
    if len(ways) > 1:
        raise UsageError(f"Set one way to log in, not {' and '.join(prefix + name for name in ways)}.")
    if access.user and access.password is None:
        raise UsageError(f"{prefix}USER needs {prefix}PASSWORD or {prefix}PASSWORD_FILE.")
    if access.client_id and (access.client_secret is None) == (access.key_file is None):
        raise UsageError(f"{prefix}CLIENT_ID needs one of {prefix}CLIENT_SECRET and {prefix}KEY_FILE.")
    return access


def read_secret(path: str, name: str) -> str:
    """The one line that a file holds. Raises UsageError that names the variable."""
    try:
        found = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The file that {name} names can't be read.") from error
    if not found:
        raise UsageError(f"The file that {name} names is empty.")
    return found


#: Requests that have to be asked before the own one, each sent back with its answer; httpx's own way of logging in.
Flow = Generator[httpx2.Request, httpx2.Response, ResultT]


class FhirAuth(httpx2.Auth):
    """The `Authorization` header of requests to one server; safe to use from several threads."""

    def __init__(self, access: Access, base: str, *, scope: str) -> None:
        """`base` is the server's URL; `scope` is asked for where the settings name none.

        Raises UsageError for a key that can't be used.
        """
        self._access, self._base = access, base
        self._scope = access.scope or scope
        self._lock = threading.Lock()
        self._header: str | None = None
        self._ends = float("inf")
        self._token_url = access.token_url
        self._key: Any = None
        self._algorithm = ""
        if access.key_file is not None:
            self._key, self._algorithm = _load_key(access.key_file)

    def sync_auth_flow(self, request: httpx2.Request) -> Flow[None]:
        """A token is fetched or renewed when it is time, and once where it is refused (401).

        Raises KiwiError for a token server that won't have us, Unavailable for one that is busy.
        """
        header = yield from self._current(None)
        request.headers["Authorization"] = header
        response = yield request
        if response.status_code != 401 or not (self._access.token_file or self._access.client_id):
            return
        request.headers["Authorization"] = yield from self._current(header)
        if request.headers["Authorization"] != header:
            yield request

    def _current(self, refused: str | None) -> Flow[str]:
        """The header's value, another one than was refused where there is one."""
        with self._lock:  # one thread fetches a token, the others wait for it
            if self._header in (None, refused) or time.monotonic() >= self._ends:
                self._header = yield from self._make()
            return str(self._header)

    def _make(self) -> Flow[str]:
        access = self._access
        if access.token_file is not None:
            return f"Bearer {read_secret(access.token_file, 'KIWI_FHIR_TOKEN_FILE')}"
        if access.token is not None:
            return f"Bearer {access.token}"
        if access.user is not None:
            return _basic(access.user, access.password or "")
        return f"Bearer {(yield from self._fetch(str(access.client_id)))}"

    def _fetch(self, client_id: str) -> Flow[str]:
        if self._token_url is None:
            self._token_url = yield from self._discover()
        url = checked_url(self._token_url, what="the token server", log_in="set KIWI_FHIR_CLIENT_ID and its secret")
        if url.scheme == "http" and not (self._access.insecure or is_loopback(url)):
            raise UsageError("The URL for tokens must be https.")
        form = {"grant_type": "client_credentials", "scope": self._scope}
        headers = {"Accept": "application/json"}
        if self._key is not None:
            form |= {"client_assertion_type": _ASSERTION, "client_assertion": self._signed(client_id, self._token_url)}
        else:
            headers["Authorization"] = _basic(client_id, self._access.client_secret or "")
        status, answer = yield from _asked(httpx2.Request("POST", url, data=form, headers=headers))
        if status != 200:
            raise KiwiError(f"The token server refuses us ({status}): check KIWI_FHIR_CLIENT_ID and its secret.")
        token, seconds = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or not token:
            raise KiwiError("The token server's answer holds no access_token.")
        lifetime = float(seconds) if isinstance(seconds, (int, float)) and seconds > 0 else 300.0
        self._ends = time.monotonic() + max(lifetime - _EARLY, lifetime / 2)
        return token

    def _discover(self) -> Flow[str]:
        """Where tokens are: https://hl7.org/fhir/smart-app-launch/conformance.html"""
        url = f"{self._base}/.well-known/smart-configuration"
        status, found = yield from _asked(httpx2.Request("GET", url, headers={"Accept": "application/json"}))
        endpoint = found.get("token_endpoint") if status == 200 else None
        if not isinstance(endpoint, str):
            raise UsageError(f"{self._base} does not say where tokens are: set KIWI_FHIR_TOKEN_URL.")
        return endpoint

    def _signed(self, client_id: str, audience: str) -> str:
        import jwt

        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "exp": int(time.time()) + _LIFETIME,
            "jti": str(uuid.uuid4()),
        }
        headers = {"kid": self._access.key_id} if self._access.key_id else None
        return jwt.encode(claims, self._key, algorithm=self._algorithm, headers=headers)


def _asked(request: httpx2.Request) -> Flow[tuple[int, dict[str, Any]]]:
    """The status of the answer and the JSON object that it holds (empty where it holds none)."""
    response = yield request
    response.read()
    if is_busy(response.status_code):
        after = retry_after(response.headers.get("Retry-After"))
        raise Unavailable(f"The token server answers {response.status_code}", response.status_code, after)
    try:
        found = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        found = None
    return response.status_code, found if isinstance(found, dict) else {}


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _load_key(path: str) -> tuple[Any, str]:
    """A private key and the algorithm that the specification wants for it. Raises UsageError."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(Path(path).read_bytes(), password=None)
    except OSError as error:
        raise UsageError("The file that KIWI_FHIR_KEY_FILE names can't be read.") from error
    except (ValueError, TypeError) as error:
        raise UsageError(
            "The file that KIWI_FHIR_KEY_FILE names holds no private key as PEM without a password."
        ) from error
    if isinstance(key, RSAPrivateKey):
        return key, "RS384"
    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name == "secp384r1":
        return key, "ES384"
    raise UsageError("The key that KIWI_FHIR_KEY_FILE names must be RSA or on the curve P-384.")
