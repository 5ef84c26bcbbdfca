"""The remote back end against a server that fails in every way, and against a real one."""

import asyncio
import logging
import pickle
import time

import pytest
from llm_servers import FaultyServer, free_port, llama_cpp, transformers_serve, write_tiny_gguf

from kiwi_fhir.clients import backoff
from kiwi_fhir.errors import Unavailable, UsageError
from kiwi_fhir.extract.generative import client as llama_client
from kiwi_fhir.extract.generative.copy_grammar import longest_answer
from kiwi_fhir.extract.generative.marking import AnswerRefused, Marked, Tags, Task
from kiwi_fhir.extract.generative.markup import mark
from kiwi_fhir.extract.generative.server import LlamaServer, most_tokens

TAGS = Tags()
SECRET = "sk-secret-of-the-tests"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(backoff, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(llama_client, "_GONE_SECONDS", 0.3)
    monkeypatch.setenv("KIWI_LLM_API_KEY", SECRET)


def task(number):
    return Task(f"prompt {number}", f"Zebra pain {number} and more", ("problem", "drug"))


def good(number):
    return mark(task(number).source, [("problem", 6, 10)], TAGS)


def say_good(handler, request, _):
    handler.say(good(number_of(request)))


def number_of(request):
    prompt = request.get("prompt") or request["messages"][0]["content"]
    return int(prompt.split()[1])


RIGHT = (Marked("problem", 6, 10),)
TASKS = [task(number) for number in range(40)]


def server_for(faulty, **options):
    return LlamaServer(faulty.url, **({"timeout": 5.0, "patience": 5.0, "parallel": 4} | options))


def reasons(answers):
    return [answer.reason if isinstance(answer, AnswerRefused) else "" for answer in answers]


def test_answers_come_in_order_within_the_bound():
    def slowly(handler, request, nth):
        time.sleep(0.002 * (number_of(request) % 5))
        say_good(handler, request, nth)

    with FaultyServer(slowly) as faulty:
        server = server_for(faulty)
        assert server.mark(TASKS) == [RIGHT] * 40
        assert server.mark([]) == []
        assert 1 < faulty.most_in_flight <= 4
        assert server.model == "tiny"
        counts = server.counts
        assert (counts.tasks, counts.requests, counts.retries) == (40, 41, 0)  # one for the list of models
        assert (counts.prompt_tokens, counts.completion_tokens) == (280, 200)
        assert 0 < counts.seconds < 10
        request = faulty.requests[0]
        assert set(request) == {"model", "prompt", "max_tokens", "temperature", "stream"}
        assert request["max_tokens"] == most_tokens(TASKS[0].source)
        assert (request["temperature"], request["stream"]) == (0, False)
        assert {headers["Authorization"] for headers in faulty.headers} == {f"Bearer {SECRET}"}


def test_chat():
    with FaultyServer(say_good) as faulty:
        server = LlamaServer(f"{faulty.url}/v1/", chat=True, model="tiny")
        assert server.mark(TASKS[:3]) == [RIGHT] * 3
        assert faulty.requests[0]["messages"][0]["role"] == "user"
        assert set(faulty.paths) == {"/v1/chat/completions"}


def test_a_storm_of_429_passes():
    def storm(handler, request, nth):
        if nth < 3:
            handler.json({"error": "slow down"}, 429, [("Retry-After", "0")])
        else:
            say_good(handler, request, nth)

    with FaultyServer(storm) as faulty:
        server = server_for(faulty)
        assert server.mark(TASKS) == [RIGHT] * 40
        assert server.counts.retries == 80


def test_retry_after_holds_everyone():
    times = []

    def once(handler, request, nth):
        times.append(time.monotonic())
        if len(times) == 1:
            handler.json({}, 429, [("Retry-After", "1")])
        else:
            say_good(handler, request, nth)

    with FaultyServer(once) as faulty:
        assert server_for(faulty, parallel=1).mark(TASKS[:3]) == [RIGHT] * 3
        assert times[1] - times[0] >= 1.0


def test_a_storm_without_end_is_refused():
    with FaultyServer(lambda handler, *_: handler.json({}, 429, [("Retry-After", "60")])) as faulty:
        server = server_for(faulty)
        assert reasons(server.mark(TASKS)) == ["server-busy"] * 40
        assert server.counts.refused == {"server-busy": 40}
        assert server.counts.requests == 41  # we would have to wait longer than we may


@pytest.mark.parametrize(
    ("fault", "reason", "tries"),
    [
        (lambda handler: handler.json({"error": "prompt: Zebra"}, 400), "http-400", 1),
        (lambda handler: handler.json({}, 404), "http-404", 1),
        (lambda handler: handler.json({}, 413), "http-413", 1),
        (lambda handler: handler.json({}, 422), "http-422", 1),
        (lambda handler: handler.json({}, 401), "http-401", 1),
        (lambda handler: handler.json({}, 302, [("Location", "/v1/models")]), "http-302", 1),
        (lambda handler: handler.json({}, 500), "server-error", 4),
        (lambda handler: handler.raw(b"<html>Zebra"), "no-answer", 1),
        (lambda handler: handler.raw(b"x", headers=[("Content-Encoding", "gzip")]), "no-answer", 1),
        (lambda handler: handler.json({"choices": []}), "no-answer", 1),
        (lambda handler: handler.json(["choices"]), "no-answer", 1),
        (lambda handler: handler.json({"choices": [{"text": None}]}), "no-answer", 1),
        (lambda handler: handler.json({"choices": {"text": "Zebra"}}), "no-answer", 1),
        (lambda handler: handler.json({"choices": [{"text": good(7)}], "usage": [1]}), "", 1),
        (lambda handler: handler.say("Zebra pain 7 and more, and so on", finish="length"), "cut-off", 1),
        (lambda handler: handler.say("Zebra pain 7"), "cut-off", 1),
        (lambda handler: handler.say("I am sorry, Zebra"), "other-text", 1),
        (lambda handler: handler.say(good(8)), "other-text", 1),
        (lambda handler: endless(handler), "answer-too-long", 1),
    ],
)
def test_one_bad_answer_costs_one_task(fault, reason, tries):
    def behave(handler, request, nth):
        if number_of(request) == 7:
            fault(handler)
        else:
            say_good(handler, request, nth)

    with FaultyServer(behave) as faulty:
        server = server_for(faulty)
        answers = server.mark(TASKS[:12])
        assert reasons(answers) == [""] * 7 + [reason] + [""] * 4
        assert faulty.tries["prompt 7"] == tries
        assert server.counts.refused == ({reason: 1} if reason else {})
        if reason:
            assert "Zebra" not in answers[7].message
            assert "prompt" not in answers[7].message


def endless(handler):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b'13\r\n{"choices":[{"text"\r\n')
    while True:
        handler.wfile.write(b"1000\r\n" + b"Zebra   " * 512 + b"\r\n")


@pytest.mark.parametrize("kind", ["reset", "half", "status"])
def test_lost_connections_are_tried_again(kind):
    def behave(handler, request, nth):
        if nth > 2:
            say_good(handler, request, nth)
        elif kind == "reset":
            handler.reset()
        elif kind == "status":
            handler.json({}, 503)
        else:
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b'{"choices"')
            handler.close_connection = True

    with FaultyServer(behave) as faulty:
        server = server_for(faulty)
        assert server.mark(TASKS) == [RIGHT] * 40
        assert server.counts.retries == 80


@pytest.mark.parametrize("kind", ["silent", "drip"])
def test_a_slow_answer_costs_one_task(kind):
    def behave(handler, request, nth):
        if number_of(request) != 7:
            say_good(handler, request, nth)
        elif kind == "silent":
            time.sleep(2.5)
        else:  # never silent for as long as the time-out
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            for _ in range(50):
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.05)

    with FaultyServer(behave) as faulty:
        server = server_for(faulty, timeout=1.0, patience=1.5)
        began = time.monotonic()
        assert reasons(server.mark(TASKS[:12])) == [""] * 7 + ["timed-out"] + [""] * 4
        assert time.monotonic() - began < 15
        assert faulty.tries["prompt 7"] == 2


def test_a_killed_server_ends_the_run_and_may_come_back():
    answered = []

    def behave(handler, request, nth):
        if len(answered) >= 10:
            handler.reset()
            return
        answered.append(number_of(request))
        say_good(handler, request, nth)

    port = free_port()
    with FaultyServer(behave, port=port) as faulty:
        server = server_for(faulty, patience=0.5)
        assert reasons(server.mark(TASKS[:10])) == [""] * 10
        faulty.kill()
        began = time.monotonic()
        many = [task(number) for number in range(500)]
        answers = server.mark(many)
        assert reasons(answers) == ["server-unavailable"] * 500
        assert time.monotonic() - began < 15  # not 500 times the patience
    with FaultyServer(say_good, port=port):
        time.sleep(0.35)
        assert server.mark(TASKS) == [RIGHT] * 40
    assert server.counts.refused == {"server-unavailable": 500}


def test_a_server_that_dies_while_it_is_asked():
    def behave(handler, request, nth):
        if len(faulty.requests) > 20:
            handler.reset()
        else:
            say_good(handler, request, nth)

    with FaultyServer(behave) as faulty:
        server = server_for(faulty, patience=0.3)
        answers = server.mark([task(number) for number in range(200)])
        assert answers.count(RIGHT) == 20
        assert reasons(answers).count("server-unavailable") == 180
        assert server.counts.refused == {"server-unavailable": 180}


def test_a_slow_window_beside_others_is_no_dead_server():
    def behave(handler, request, nth):
        if number_of(request) == 0:
            time.sleep(2.5)
            return
        time.sleep(0.05)
        say_good(handler, request, nth)

    with FaultyServer(behave) as faulty:
        answers = server_for(faulty, timeout=1.0, patience=1.5, parallel=2).mark(TASKS)
        assert reasons(answers) == ["timed-out"] + [""] * 39


def test_nothing_to_reach_at_the_start():
    server = LlamaServer(f"http://127.0.0.1:{free_port()}", patience=0.2)
    with pytest.raises(Unavailable, match=r"^http://127.0.0.1:\d+/v1 can't be reached: check the URL, and that the"):
        server.mark(TASKS)
    assert server.counts.tasks == 0


def test_a_server_that_starts_up_is_waited_for():
    with FaultyServer(say_good) as faulty:
        handler, tries = faulty._server.RequestHandlerClass, []

        def loading(self):
            tries.append(1)
            self.json({"data": faulty.models} if len(tries) > 2 else {}, 200 if len(tries) > 2 else 503)

        handler.do_GET = loading
        assert server_for(faulty).mark(TASKS[:2]) == [RIGHT] * 2


@pytest.mark.parametrize(
    ("status", "body", "model", "message"),
    [
        (401, b"{}", None, "refuses us .401.: check the key in KIWI_LLM_API_KEY"),
        (403, b"{}", None, "refuses us .403."),
        (301, b"{}", None, "redirects .301."),
        (200, b"<html>", None, "is no JSON"),
        (200, b"[]", None, "is no list"),
        (200, b'{"data": []}', None, "lists 0 models: name the one to use"),
        (200, b'{"data": [{"id": "a"}, {"id": "b"}]}', None, "lists 2 models"),
        (200, b'{"data": [{"id": "a"}, {"id": "b"}]}', "c", "has no model c: it lists a, b"),
        (404, b"{}", None, "lists 0 models"),
    ],
)
def test_what_no_run_can_use_is_said_at_the_start(status, body, model, message):
    with FaultyServer(say_good) as faulty:
        faulty._server.RequestHandlerClass.do_GET = lambda self: self.raw(body, status)
        with pytest.raises(UsageError, match=message) as caught:
            server_for(faulty, model=model).mark(TASKS)
        assert SECRET not in str(caught.value)
        assert not faulty.requests


def test_a_server_without_a_list_will_do():
    with FaultyServer(say_good) as faulty:
        faulty._server.RequestHandlerClass.do_GET = lambda self: self.raw(b"", 404)
        assert server_for(faulty, model="tgi").mark(TASKS[:2]) == [RIGHT] * 2


@pytest.mark.parametrize(
    ("owner", "constraint", "field"),
    [
        ("llamacpp", "auto", "grammar"),
        ("vllm", "auto", "structured_outputs"),
        ("local", "auto", None),
        ("vllm", "none", None),
        ("local", "llama.cpp", "grammar"),
    ],
)
def test_constraints(owner, constraint, field):
    with FaultyServer(say_good, models=[{"id": "tiny", "owned_by": owner}]) as faulty:
        assert server_for(faulty, constraint=constraint).mark(TASKS[:1]) == [RIGHT]
        request = faulty.requests[0]
        assert [name for name in ("grammar", "structured_outputs") if name in request] == ([field] if field else [])
        if field:
            grammar = request[field] if field == "grammar" else request[field]["grammar"]
            assert grammar.startswith("root ::= f0")
            assert request["max_tokens"] == longest_answer(TASKS[0].source, TASKS[0].labels, TAGS) + 1


@pytest.mark.parametrize(("context", "tokens"), [(300, 150), (100, most_tokens(TASKS[0].source)), (10_000, 167)])
def test_a_constrained_answer_leaves_room_for_the_prompt(context, tokens):
    models = [{"id": "other"}, {"id": "tiny", "owned_by": "vllm", "max_model_len": context}]
    with FaultyServer(say_good, models=models) as faulty:
        server_for(faulty, model="tiny", constraint="vllm").mark(TASKS[:1])
        assert faulty.requests[0]["max_tokens"] == tokens


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x/", "http://user:pw@x/", "http://x/?key=1", "http:///v1"]
)
def test_urls_that_can_not_work(url):
    with pytest.raises(UsageError, match="URL of a model server") as caught:
        LlamaServer(url)
    assert "pw" not in str(caught.value)


def test_the_key_goes_over_no_plain_line(monkeypatch):
    server = LlamaServer("http://models.example", patience=0.0)
    with pytest.raises(UsageError, match="over plain http"):
        server.check()
    monkeypatch.setenv("KIWI_LLM_API_KEY", "sk\nx")
    with pytest.raises(UsageError, match="KIWI_LLM_API_KEY holds what no key can"):
        server.check()


def test_nothing_leaks(caplog, capfd):
    caplog.set_level(logging.DEBUG)

    def behave(handler, request, nth):
        (say_good if nth > 1 else lambda handler, *_: handler.json({"error": request}, 500))(handler, request, nth)

    with FaultyServer(behave) as faulty:
        server = server_for(faulty)
        assert server.mark(TASKS[:4]) == [RIGHT] * 4
        again = pickle.loads(pickle.dumps(server))
        assert SECRET.encode() not in pickle.dumps(server)
        server._client._server._not_before = time.monotonic() + 1000
        assert pickle.loads(pickle.dumps(server))._client._server.pause() == 0.0
        assert again.mark(TASKS[4:6]) == [RIGHT] * 2
    said = caplog.text + "".join(capfd.readouterr())
    assert SECRET not in said
    assert "Zebra" not in said
    assert "prompt" not in said


def test_without_a_key_none_is_sent(monkeypatch):
    monkeypatch.delenv("KIWI_LLM_API_KEY")
    with FaultyServer(say_good) as faulty:
        assert server_for(faulty).mark(TASKS[:2]) == [RIGHT] * 2
        assert not any("Authorization" in headers for headers in faulty.headers)


def test_in_a_notebook_and_odd_texts():
    async def notebook():
        return server.mark([Task("prompt 1 \ud800", "x \ud800", ("drug",)), task(1)])

    with FaultyServer(say_good) as faulty:
        server = server_for(faulty)
        assert reasons(asyncio.run(notebook())) == ["not-unicode", ""]


#: Two texts that the tiny model below learns to mark, and one that it has never seen.
LEARNT = {
    "no pain, no chest pain": [("problem", 12, 22)],
    "BP < 90 & aspirin 81": [("test", 0, 2), ("drug", 10, 17)],
}
UNSEEN = "fever was denied by her"


def asked(source):
    return Task(f"{source}\n", source, ("problem", "test", "drug"))


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory):
    """A folder with a LLaMA of two narrow layers over bytes that has learnt LEARNT by heart."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    symbols = ["</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    spelled = Tokenizer(models.BPE(vocab={symbol: at for at, symbol in enumerate(symbols)}, merges=[]))
    spelled.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spelled.decoder = decoders.ByteLevel()
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    special = {"eos_token": "</s>", "pad_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=spelled, chat_template=template, **special)
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them wait for one another longer than this takes
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 0}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(symbols), max_position_embeddings=512, **shape, **ids))
    texts = [f"{source}\n{mark(source, spans, TAGS)}</s>" for source, spans in LEARNT.items()]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(200):
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.02:
            break
    torch.set_num_threads(threads)
    folder = tmp_path_factory.mktemp("llama")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_transformers_serve(tiny_llama):
    """Learnt texts are marked, others refused; then it is killed."""
    pytest.importorskip("openai", reason="transformers serve needs it")
    tasks = [asked(source) for source in [*LEARNT, UNSEEN, *LEARNT]]
    right = [tuple(Marked(*span) for span in spans) for spans in LEARNT.values()]
    with transformers_serve(tiny_llama) as (url, process):
        for chat in (False, True):
            server = LlamaServer(url, chat=chat, parallel=2)
            answers = server.mark(tasks)
            assert answers[:2] == answers[3:] == right
            assert isinstance(answers[2], AnswerRefused)
            assert server.counts.completion_tokens > sum(map(len, LEARNT))
            assert server.counts.retries == 0
        server = LlamaServer(url, patience=0.5)
        server.check()
        process.kill()
        process.wait()
        assert reasons(server.mark(tasks)) == ["server-unavailable"] * 5


def test_llama_cpp(tmp_path):
    """An untuned model under the grammar is never refused; without it, always. Speculation changes no answer."""
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    write_tiny_gguf(tmp_path / "tiny.gguf")
    sources = ["no pain, no chest pain", "BP < 90 & aspirin 81mg", 'a\r\n"e\u0301" 👩‍⚕️ \\ [**x**]', "x"]
    tasks = [Task(f"Mark the mentions.\n{source}\n", source, ("problem", "test")) for source in sources] * 3
    with llama_cpp(tmp_path / "tiny.gguf") as (url, _):
        free = LlamaServer(url, constraint="none", parallel=2)
        assert all(isinstance(answer, AnswerRefused) for answer in free.mark(tasks[:2]))
        server = LlamaServer(url, parallel=2)
        answers = server.mark(tasks)
        assert reasons(answers) == [""] * len(tasks)
        assert sum(map(len, answers)) > 3
        assert not server.counts.repairs
        assert reasons(LlamaServer(url, chat=True, parallel=2).mark(tasks[:4])) == [""] * 4
    with llama_cpp(tmp_path / "tiny.gguf", "ngram") as (url, _):
        assert LlamaServer(url, parallel=2).mark(tasks) == answers
