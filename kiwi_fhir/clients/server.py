"""One HTTP server: what its failures mean, and when it may be asked again. FHIR and model servers share it.

Messages name the server and a status, never what was sent or answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx2

from kiwi_fhir.clients.backoff import Backoff, is_untrusted, retry_after
from kiwi_fhir.errors import KiwiError, Unavailable, UsageError

#: How long a connection may take to come about, in seconds.
CONNECT_SECONDS = 10.0

_NOT_IMPLEMENTED = 501


class Late(Unavailable):
    """A server that did not answer in time."""


class Server:
    """What we know of a server. Its state is small and may be shared by threads; a copy for a process begins anew."""

    def __init__(self, base: str, *, timeout: float, patience: float, untrusted: str) -> None:
        """`timeout` bounds one try, `patience` all tries of a request (seconds).

        `untrusted` says what to do about a certificate that is not trusted.
        """
        self.base, self.timeout, self.patience = base, timeout, patience
        self._untrusted = untrusted
        self._not_before = 0.0

    def __getstate__(self) -> dict[str, object]:
        """Times are of this process's own clock."""
        return {**self.__dict__, "_not_before": 0.0}

    def check(self, response: httpx2.Response) -> None:
        """Raise Unavailable for the answer of a server that is busy or out of order; any other comes again."""
        status = response.status_code
        if not is_busy(status):
            return
        after = retry_after(response.headers.get("Retry-After"))
        if after is not None and after <= self.patience:
            self._not_before = max(self._not_before, time.monotonic() + after)
        raise Unavailable(f"{self.base} answers {status}", status, after)

    def pause(self) -> float:
        """Seconds for which the server has told any of us to wait."""
        return max(0.0, self._not_before - time.monotonic())

    def backoff(self, wait: Callable[[float], object] = time.sleep, patience: float | None = None) -> Backoff:
        """How to wait for this server while it is away or busy."""
        return Backoff(self.patience if patience is None else patience, wait)

    def broken(self, error: httpx2.TransportError) -> KiwiError:
        """What a failed connection means; a certificate that is not trusted does not pass."""
        if is_untrusted(error):
            return UsageError(f"The certificate of {self.base} is not trusted: {self._untrusted}.")
        if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
            return KiwiError(f"{self.base} can't be asked: {type(error).__name__}.")
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return Unavailable(f"{self.base} can't be reached")
        if isinstance(error, httpx2.TimeoutException):
            return self.late()
        return Unavailable(f"{self.base} breaks the connection off")

    def late(self) -> Late:
        """A try took longer than `timeout`."""
        return Late(f"{self.base} does not answer within {self.timeout:g} s")


def is_busy(status: int) -> bool:
    """Whether a server that answers with this status is away or busy. Other answers come again if asked again."""
    return status in (408, 429) or (status >= 500 and status != _NOT_IMPLEMENTED)


def checked_url(url: str, *, what: str, log_in: str) -> httpx2.URL:
    """The URL of `what` ("a server"). Raises UsageError for one that is none, or that holds more than where it is.

    `log_in` says how credentials are given instead.
    """
    try:
        found = httpx2.URL(url)
    except httpx2.InvalidURL:
        found = httpx2.URL("")
    if found.scheme not in ("http", "https") or not found.host:
        raise UsageError(f"The URL of {what} must begin with https:// or http:// and name a host.")
    if found.userinfo or found.query or found.fragment:
        raise UsageError(f"The URL of {what} holds no user, password or query: {log_in}.")
    return found


def is_loopback(url: httpx2.URL) -> bool:
    """Whether what is sent there stays on this machine."""
    return url.host in ("localhost", "127.0.0.1", "::1")
