"""How to wait for a server that is away or busy."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from kiwi_fhir.errors import Unavailable

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_TRIES_AT_500 = 4  # a fault in the server more often than a state of it


class Backoff:
    """Pauses between tries: doubled each time with full jitter, never shorter than the server asked for."""

    def __init__(self, patience: float, wait: Callable[[float], object] = time.sleep) -> None:
        """`patience` is how many seconds may pass in all; `wait` sleeps, and is true when waiting is of no use."""
        self._wait = wait
        self._ends = time.monotonic() + patience
        self._tries = 0

    def pause(self, error: Unavailable) -> float:
        """Seconds to sleep before the next try. Raises `error` when patience is at its end."""
        self._tries += 1
        pause = random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._tries))
        if error.retry_after is not None:
            pause = error.retry_after + random.uniform(0, _FIRST_PAUSE)
        at_end = time.monotonic() + pause > self._ends
        if at_end or (error.status == 500 and self._tries >= _TRIES_AT_500):
            raise error
        return pause

    def wait(self, error: Unavailable) -> None:
        """Sleep before the next try. Raises `error` when patience is at its end."""
        if self._wait(self.pause(error)):
            raise error


def is_untrusted(error: BaseException) -> bool:
    """Whether a connection failed over the server's certificate, which no further try will mend."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def retry_after(value: str | None) -> float | None:
    """Seconds, or a date: RFC 9110, 10.2.3. None for neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
