"""Servers for tests of LLaMA back ends: one that does whatever a test says, and a real one."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2


class FaultyServer:
    """An OpenAI-compatible server on loopback; `behave(handler, request, nth)` answers the nth try of a prompt."""

    def __init__(self, behave, models=({"id": "tiny", "owned_by": "local"},), port=0):
        self.behave, self.models = behave, list(models)
        self.tries, self.requests, self.headers, self.paths = Counter(), [], [], []
        self.in_flight = self.most_in_flight = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.headers.append(dict(self.headers))
                self.json({"object": "list", "data": outer.models})

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = request.get("prompt") or request["messages"][0]["content"]
                with outer._lock:
                    outer.tries[prompt] += 1
                    outer.requests.append(request)
                    outer.headers.append(dict(self.headers))
                    outer.paths.append(self.path)
                    outer.in_flight += 1
                    outer.most_in_flight = max(outer.most_in_flight, outer.in_flight)
                    nth = outer.tries[prompt]
                try:
                    outer.behave(self, request, nth)
                except OSError:
                    self.close_connection = True
                finally:
                    with outer._lock:
                        outer.in_flight -= 1

            def json(self, value, status=200, headers=()):
                self.raw(json.dumps(value).encode(), status, headers)

            def raw(self, body, status=200, headers=()):
                self.send_response(status)
                for name, text in headers:
                    self.send_header(name, text)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def say(self, text, finish="stop"):
                is_chat = self.path.endswith("/chat/completions")
                part = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
                usage = {"prompt_tokens": 7, "completion_tokens": 5}
                self.json({"choices": [{"index": 0, "finish_reason": finish, **part}], "usage": usage})

            def reset(self):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_):  # connections that we reset ourselves
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def kill(self):
        """No connection is taken any more; those that there are, break at their next request."""
        self.behave = lambda handler, *_: handler.reset()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def transformers_serve(folder, seconds=60):
    """transformers' own server with the model of `folder`; gives its URL and its process."""
    port = free_port()
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = (folder / "serve.log").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(seconds * 5):
            try:
                if httpx2.get(f"{url}/v1/models", timeout=2).status_code == 200:
                    break
            except httpx2.TransportError:
                if process.poll() is not None:
                    raise RuntimeError((folder / "serve.log").read_text()[-2000:]) from None
                time.sleep(0.2)
        yield url, process
    finally:
        process.kill()
        process.wait()
        log.close()
