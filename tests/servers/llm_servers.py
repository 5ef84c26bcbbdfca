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
import numpy as np


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
def running(arguments, folder, seconds=60):
    """A server that python runs with `arguments` and a port; gives its URL and its process."""
    port = free_port()
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = folder / "server.log"
    with log.open("w") as out:
        command = [sys.executable, *(str(argument).replace("PORT", str(port)) for argument in arguments)]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(seconds * 5):
                try:
                    if httpx2.get(f"{url}/v1/models", timeout=2).status_code == 200:
                        break
                except httpx2.TransportError:
                    if process.poll() is not None:
                        raise RuntimeError(log.read_text()[-2000:]) from None
                time.sleep(0.2)
            yield url, process
        finally:
            process.kill()
            process.wait()


def transformers_serve(folder):
    """transformers' own server with the model of `folder`."""
    start = "from transformers.cli.transformers import main; main()"
    return running(["-c", start, "serve", folder, "--host", "127.0.0.1", "--port", "PORT", "--device", "cpu"], folder)


LLAMA_CPP = """
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.hostnames = sys.argv[1], int(sys.argv[2]), ["127.0.0.1"]
params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.warmup = 8192, 2, 1, False
if sys.argv[3] == "ngram":
    params.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
    params.speculative.ngram_simple.size_n, params.speculative.ngram_simple.size_m = 4, 24
server = xllamacpp.Server(params)
threading.Event().wait()
"""


def llama_cpp(model, speculation="none"):
    """llama.cpp's server with a GGUF file."""
    return running(["-c", LLAMA_CPP, model, "PORT", speculation], model.parent)


def write_tiny_gguf(path, width=32, inner=64, blocks=2):
    """A LLaMA with random weights that has never learnt anything; some of its tokens merge text with parts of tags."""
    import gguf

    merged = ["▁p", "pa", "in", "▁<", '">', "pain", "</", "s>", "an", "▁an", "▁a", "n<"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127))]
    tokens += merged
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 4)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_scores([float(-at) for at in range(len(tokens))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(False)
    random = np.random.default_rng(0)
    shapes = {"token_embd": (len(tokens), width), "output": (len(tokens), width), "output_norm": (width,)}
    for block in range(blocks):
        squares = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (width, width))
        wide = {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
        norms = {"attn_norm": (width,), "ffn_norm": (width,)}
        shapes |= {f"blk.{block}.{name}": shape for name, shape in (squares | wide | norms).items()}
    for name, shape in shapes.items():
        weights = np.ones(shape) if len(shape) == 1 else random.standard_normal(shape) / 2
        writer.add_tensor(f"{name}.weight", weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
