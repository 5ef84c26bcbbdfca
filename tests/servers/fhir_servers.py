"""A real FHIR server (sekmet) behind a proxy on loopback that makes faults on demand."""

import contextlib
import http.client
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

START_SECONDS = 60
_KINDS = ("transaction", "batch", "metadata", "token", "read", "any")
_KEPT = ("content-type", "location", "content-location", "retry-after")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Sekmet:
    """A server process with a database of its own; it calls itself by `base_url`, the proxy's."""

    def __init__(self, folder, base_url, settings=None):
        self.port = free_port()
        self.folder = Path(folder)
        own = {"simulator": {"enabled": False}, "log_inbound": False, **(settings or {})}
        (self.folder / "settings.yaml").write_text(json.dumps(own))  # JSON is YAML
        self._environment = {
            **os.environ,
            "SEKMET_BASE_URL": base_url,
            "SEKMET_DB": str(self.folder / "sekmet.db"),
            "SEKMET_CONFIG": str(self.folder / "settings.yaml"),
        }
        self._process = None

    def start(self, *, wait=True):
        command = [str(Path(sys.executable).with_name("sekmet")), "serve", "--host", "127.0.0.1"]
        with (self.folder / "sekmet.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)], cwd=self.folder, env=self._environment, stdout=log, stderr=log
            )
        if wait:
            self.wait()

    def wait(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/fhir/metadata")
                if connection.getresponse().status == 200:
                    return
            assert self._process.poll() is None, (self.folder / "sekmet.log").read_text()
            time.sleep(0.05)
        raise AssertionError((self.folder / "sekmet.log").read_text())

    def kill(self):
        self._process.kill()
        self._process.wait()


class Fault:
    """What goes wrong with a request: `status` and `headers`, or `how`.

    hang: no answer; reset: the connection is cut before the server sees the request, lost: after it; call: `edit()`
    is called, then reset; reject: the first entry is kept from the server, which seems to refuse it; edit: the answer
    becomes `edit(answer)`.
    """

    def __init__(self, how="status", status=503, headers=None, body=b"", seconds=3.0, edit=None):
        self.how, self.status, self.headers, self.body = how, status, headers or {}, body
        self.seconds, self.edit = seconds, edit


class Proxy:
    """Forwards to a port; the faults of `plan` hit the next requests of their kind, one each."""

    def __init__(self):
        self.target = None
        self.requests = []
        self.paths = []
        self._planned = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement
            wbufsize = -1

            def log_message(self, *_):
                pass

            def handle_one_request(self):
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def do_GET(self):
                proxy._serve(self)

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self._server.server_port}"
        self.base = f"{self.root}/fhir"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def plan(self, fault, *, times=1, on="transaction", after=0):
        """`on` is transaction, batch, metadata, token, read (any other GET), any, or else a part of the path.

        `after` lets some pass first.
        """
        with self._lock:
            self._planned += [(on, None)] * after + [(on, fault)] * times

    def clear(self):
        with self._lock:
            left, self._planned = len(self._planned), []
            self.requests, self.paths = [], []
        return left

    def kinds(self):
        return [kind for _, kind in self.requests]

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        kind = _kind(handler, body)
        with self._lock:
            self.requests.append((time.monotonic(), kind))
            self.paths.append(f"{handler.command} {handler.path}")
            found = next((item for item in self._planned if _is_for(item[0], kind, handler.path)), None)
            if found is not None:
                self._planned.remove(found)
        fault = found[1] if found else None
        if fault is None:
            return self._forward(handler, body)
        if fault.how == "status":
            return _answer(handler, fault.status, fault.body, fault.headers)
        if fault.how == "hang":
            time.sleep(fault.seconds)
            return _reset(handler)
        if fault.how == "call":
            fault.edit()
            return _reset(handler)
        if fault.how == "lost":
            self._ask(handler, body)
            return _reset(handler)
        if fault.how == "edit":
            status, answer, headers = self._ask(handler, body)
            return _answer(handler, status, json.dumps(fault.edit(json.loads(answer))).encode(), headers)
        if fault.how == "reject":
            return self._reject(handler, body, fault)
        return _reset(handler)

    def _reject(self, handler, body, fault):
        """Keep the first entry from the server, and say so in its place of the answer."""
        bundle = json.loads(body)
        left_out = bundle["entry"].pop(0)
        status, answer, headers = self._ask(handler, json.dumps(bundle).encode())
        outcome = {
            "resourceType": "OperationOutcome",
            "issue": [
                {
                    "severity": "error",
                    "code": "invalid",
                    "diagnostics": left_out["resource"]["code"]["text"],
                    "expression": ["Condition.code"],
                }
            ],
        }
        bundle = json.loads(answer)
        bundle["entry"].insert(0, {"response": {"status": f"{fault.status} Refused", "outcome": outcome}})
        return _answer(handler, status, json.dumps(bundle).encode(), headers)

    def _forward(self, handler, body):
        try:
            return _answer(handler, *self._ask(handler, body))
        except (OSError, http.client.HTTPException):
            return _reset(handler)

    def _ask(self, handler, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=60)
        headers = {key: value for key, value in handler.headers.items() if key.lower() not in ("host", "connection")}
        try:
            connection.request(handler.command, handler.path, body or None, {**headers, "Content-Length": len(body)})
            response = connection.getresponse()
            kept = {key: value for key, value in response.getheaders() if key.lower() in _KEPT}
            return response.status, response.read(), kept
        finally:
            connection.close()


def _kind(handler, body):
    if handler.command == "POST" and handler.path.rstrip("/") == "/fhir":
        return "transaction" if json.loads(body)["type"] == "transaction" else "batch"
    if "metadata" in handler.path:
        return "metadata"
    return "token" if "token" in handler.path else "read"


def _is_for(on, kind, path):
    return on in (kind, "any") or (on not in _KINDS and on in path)


def _answer(handler, status, body, headers):
    handler.send_response(status)
    for key, value in headers.items():
        handler.send_header(key, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()


def _reset(handler):
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


class Reader:
    """What a server holds, read and written without the program."""

    def __init__(self, port):
        self._base = f"http://127.0.0.1:{port}/fhir"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.token = None

    def get(self, path):
        request = urllib.request.Request(f"{self._base}/{path}", headers=self._headers())
        with self._opener.open(request, timeout=60) as answer:
            return json.load(answer)

    def write(self, resources):
        """Put resources on the server, all in one request."""
        entries = [
            {"resource": item, "request": {"method": "PUT", "url": f"{item['resourceType']}/{item['id']}"}}
            for item in resources
        ]
        body = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()
        headers = {"Content-Type": "application/fhir+json", **self._headers()}
        with self._opener.open(urllib.request.Request(self._base, body, headers), timeout=60) as answer:
            assert answer.status == 200

    def _headers(self):
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def all(self, kind, query=""):
        """All resources of a type, by id."""
        found, offset = {}, 0
        while True:
            page = self.get(f"{kind}?_count=500&_offset={offset}&{query}")
            entries = page.get("entry", ())
            found |= {entry["resource"]["id"]: entry["resource"] for entry in entries}
            offset += len(entries)
            if offset >= page["total"] or not entries:
                return found

    def versions(self):
        """How many versions of resources were ever written."""
        return self.get("_history?_count=1")["total"]


@contextlib.contextmanager
def running_server(folder, settings=None):
    """A server behind a proxy: `(proxy, sekmet, reader)`."""
    proxy = Proxy()
    sekmet = Sekmet(folder, proxy.base, settings)
    proxy.target = sekmet.port
    try:
        sekmet.start()
        yield proxy, sekmet, Reader(sekmet.port)
    finally:
        proxy.close()
        sekmet.kill()
