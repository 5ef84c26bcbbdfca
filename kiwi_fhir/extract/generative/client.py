"""Requests to one OpenAI-compatible server: what is tried again, and when a server counts as gone.

Tried again, with growing pauses and never sooner than the server asks: 429, 5xx, time-outs and lost connections.
Everything else an answer says comes again, however often one asks. A server that uses up the patience of a request
and has answered no other one in that time is gone: for a while nothing is sent to it and every request fails at once,
so that a run ends; then one request looks whether it is back, and the others wait for what it finds.

Messages name the server and a status, never what was sent or answered. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import os
import time

import httpx2

from kiwi_fhir.clients.server import CONNECT_SECONDS, Server, checked_url, is_loopback
from kiwi_fhir.errors import NoteError, Unavailable, UsageError

KEY = "KIWI_LLM_API_KEY"
INSECURE = "KIWI_LLM_INSECURE"

_GONE_SECONDS = 30.0
_LOOKING_SECONDS = 0.05


class LlamaClient:
    """One server. `requests` counts what was sent, `retries` how many of these were sent again."""

    def __init__(self, base_url: str, *, parallel: int, timeout: float, patience: float) -> None:
        """Connect to nothing yet; see LlamaServer. Raises UsageError for a URL that can't work."""
        self._url = checked_url(base_url, what="a model server", log_in=f"give a key as {KEY}")
        self.base = str(self._url).rstrip("/")
        if not self.base.endswith("/v1"):
            self.base += "/v1"
        self.requests = self.retries = 0
        self._server = Server(
            self.base, timeout=timeout, patience=patience, untrusted="have this machine trust its authority"
        )
        self._parallel = parallel
        self._gone_until = self._last_answer = 0.0
        self._is_looking = False

    def __getstate__(self) -> dict[str, object]:
        """What is known of the server's state is told in this process's own clock: a copy begins without it."""
        fresh = {"_gone_until": 0.0, "_last_answer": 0.0, "_is_looking": False}
        return {**self.__dict__, **fresh}

    def connect(self) -> httpx2.AsyncClient:
        """Connections for one event loop; the key is read from the environment and kept nowhere else.

        Raises UsageError for a key that can't be sent.
        """
        headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "kiwi-fhir"}
        key = os.environ.get(KEY, "").strip()
        if key:
            if not (key.isascii() and key.isprintable()):
                raise UsageError(f"{KEY} holds what no key can.")
            if self._url.scheme == "http" and not is_loopback(self._url) and os.environ.get(INSECURE) != "1":
                raise UsageError(f"{self.base} would get the key over plain http: use https (or {INSECURE}=1).")
            headers["Authorization"] = f"Bearer {key}"
        return httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(self._server.timeout, connect=min(CONNECT_SECONDS, self._server.timeout)),
            limits=httpx2.Limits(max_connections=self._parallel, max_keepalive_connections=self._parallel),
            follow_redirects=False,
        )

    async def ask(
        self, http: httpx2.AsyncClient, path: str, content: bytes | None, *, limit: int, patience: float | None = None
    ) -> bytes:
        """The body of the answer to a POST (a GET without `content`), of `limit` bytes at most.

        Raises NoteError for an answer that is none, Unavailable for a server that stays away or busy for `patience`
        seconds, and UsageError for a certificate that is not trusted.
        """
        began = time.monotonic()
        looking = await self._look()
        backoff = self._server.backoff(patience=0.0 if looking else patience)
        try:
            while True:
                await asyncio.sleep(self._server.pause())
                try:
                    return await self._send(http, path, content, limit)
                except Unavailable as error:
                    try:
                        pause = backoff.pause(error)
                    except Unavailable:
                        self._give_up(error, began)
                        raise
                self.retries += 1
                await asyncio.sleep(pause)
        finally:
            self._is_looking = self._is_looking and not looking

    async def _look(self) -> bool:
        """Whether this request is the one that looks if a server that was gone is back. Raises Unavailable."""
        while self._is_looking:
            await asyncio.sleep(_LOOKING_SECONDS)
        if self._gone_until == 0.0:
            return False
        if time.monotonic() < self._gone_until:
            raise Unavailable(f"{self.base} is gone")
        self._is_looking = True
        return True

    def _give_up(self, error: Unavailable, began: float) -> None:
        """A server is not gone that answers others, or that says that it is only busy."""
        if error.status in (429, 500) or self._last_answer >= began:
            return
        self._gone_until = time.monotonic() + _GONE_SECONDS

    def _answered(self) -> None:
        self._last_answer, self._gone_until = time.monotonic(), 0.0

    async def _send(self, http: httpx2.AsyncClient, path: str, content: bytes | None, limit: int) -> bytes:
        self.requests += 1
        method = "GET" if content is None else "POST"
        try:
            # A server that sends a byte now and then never runs into the time-outs of reading.
            async with (
                asyncio.timeout(self._server.timeout),
                http.stream(method, f"{self.base}/{path}", content=content) as response,
            ):
                self._check(response)
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > limit:
                        raise NoteError("answer-too-long", f"{self.base} answers without an end.")
                self._answered()
                return bytes(body)
        except httpx2.TransportError as error:
            raise self._server.broken(error) from None
        except TimeoutError:
            raise self._server.late() from None
        except httpx2.DecodingError:
            raise NoteError("no-answer", f"{self.base} answers with what can't be unpacked.") from None

    def _check(self, response: httpx2.Response) -> None:
        self._server.check(response)
        status = response.status_code
        if status != 200:
            self._answered()
        if 300 <= status < 400:
            raise NoteError(f"http-{status}", f"{self.base} redirects ({status}): that is not followed.")
        if status != 200:
            raise NoteError(f"http-{status}", f"{self.base} answers {status}.")
