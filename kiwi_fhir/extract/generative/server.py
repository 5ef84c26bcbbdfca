r"""LLaMA on an OpenAI-compatible server: vLLM, llama.cpp, TGI, `transformers serve`.

Each task is one request, `parallel` of them at a time; a task that gets no usable answer is refused and stops no
other. The answer is almost all copy, so let the server guess it from the prompt; what is answered stays the same:

    vllm serve MODEL --speculative-config \
        '{"method": "ngram", "num_speculative_tokens": 24, "prompt_lookup_min": 2, "prompt_lookup_max": 6}'
    llama-server -m MODEL.gguf --parallel 8 --spec-type ngram-simple \
        --spec-ngram-simple-size-n 4 --spec-ngram-simple-size-m 24

Both keep what prompts have in common in their cache. With a constraint the server lets the model write nothing but the
source and tags (see `copy_grammar`); without one, other text is repaired or refused (see `markup`).

An answer that never ends is cut off and refused. Without a constraint it may have `most_tokens(source)` tokens; with
one it ends by itself, and may have as many as the longest that the grammar allows, or as half the server's context
where the server says what that is. vLLM refuses (400) what does not fit beside the prompt.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import httpx2
import orjson

from kiwi_fhir.clients.server import Late
from kiwi_fhir.errors import NoteError, Unavailable, UsageError
from kiwi_fhir.extract.generative.client import KEY, LlamaClient
from kiwi_fhir.extract.generative.copy_grammar import copy_grammar, longest_answer
from kiwi_fhir.extract.generative.marking import Answer, AnswerRefused, Tags, Task
from kiwi_fhir.extract.generative.markup import reading

#: How a server is told the grammar. `auto`: as its list of models says whose it is, `none` where that is not known.
Constraint = Literal["auto", "none", "llama.cpp", "vllm"]
_OWNERS: dict[str, Constraint] = {"llamacpp": "llama.cpp", "vllm": "vllm"}

#: Seconds that a server may take to start up.
_START_SECONDS = 30.0
_LIST_BYTES = 1_000_000
_BUSY = frozenset({429, 503})

ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class Counts:
    """What was asked and answered; `seconds` is the time that `mark` took."""

    tasks: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    repairs: Counter[str] = field(default_factory=Counter)


def most_tokens(source: str) -> int:
    """Tokens that an answer may have: no tokeniser needs more than one a byte, and tags get as many again."""
    return 64 + 2 * len(source.encode("utf-8", "replace"))


class LlamaServer:
    """A Backend (see `marking`). Its state is small, and holds no key: it may be pickled and sent to workers."""

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        tags: Tags | None = None,
        chat: bool = False,
        constraint: Constraint = "auto",
        parallel: int = 16,
        timeout: float = 120.0,
        patience: float = 300.0,
    ) -> None:
        """Connect to nothing yet.

        `base_url` is with or without `/v1`; `model` is a name that the server lists (default: the only one). With
        `chat` the task's prompt becomes a user's message, which the server puts into the model's chat template; else
        the prompt is sent as it is. `timeout` (seconds) bounds one try, `patience` all tries of a task. A key is
        taken from KIWI_LLM_API_KEY. Raises UsageError for a URL that can't work.
        """
        self._client = LlamaClient(base_url, parallel=parallel, timeout=timeout, patience=patience)
        self._model, self._tags, self._chat, self._constraint = model, tags or Tags(), chat, constraint
        self._parallel, self._start_patience = parallel, min(_START_SECONDS, patience)
        self._is_checked = False
        self._context: int | None = None
        self.counts = Counts()

    @property
    def model(self) -> str:
        """The model's name, known after `check` at the latest."""
        return self._model or ""

    def check(self) -> None:
        """Ask the server which models it has; `mark` does so once.

        Raises Unavailable where nothing can be reached, UsageError for a server that won't have us or lacks the model.
        """
        _run(self._check())

    def mark(self, tasks: Sequence[Task]) -> list[Answer]:
        """One answer a task, in order. Raises what `check` raises, before anything was asked."""
        began = time.monotonic()
        if not self._is_checked:
            self.check()
        try:
            answers = _run(self._mark(tasks))
        finally:
            self.counts.requests, self.counts.retries = self._client.requests, self._client.retries
            self.counts.seconds += time.monotonic() - began
        self.counts.tasks += len(answers)
        self.counts.refused.update(answer.reason for answer in answers if isinstance(answer, AnswerRefused))
        return answers

    async def _check(self) -> None:
        base, patience = self._client.base, self._start_patience
        models: list[dict[str, Any]] = []
        try:
            async with self._client.connect() as http:
                models = _models(await self._client.ask(http, "models", None, limit=_LIST_BYTES, patience=patience))
        except NoteError as error:
            if error.reason in ("http-401", "http-403"):
                raise UsageError(f"{base} refuses us ({error.reason[5:]}): check the key in {KEY}.") from None
            if error.reason != "http-404":
                raise UsageError(f"{base} is no server of models: {error}") from None
        except Unavailable as error:
            raise Unavailable(f"{error}: check the URL, and that the server runs.") from None
        names = [model["id"] for model in models]
        if self._model is None and len(names) != 1:
            raise UsageError(f"{base} lists {len(names)} models: name the one to use.")
        if self._model is not None and names and self._model not in names:
            raise UsageError(f"{base} has no model {self._model}: it lists {', '.join(names[:5])}.")
        self._model = self._model or names[0]
        if self._constraint == "auto":
            owner = str(models[0].get("owned_by")) if models else ""
            self._constraint = _OWNERS.get(owner, "none")
        context = next((model.get("max_model_len") for model in models if model["id"] == self._model), None)
        self._context = context if isinstance(context, int) else None
        self._is_checked = True

    async def _mark(self, tasks: Sequence[Task]) -> list[Answer]:
        answers: list[Answer] = [AnswerRefused("not-asked", "The task was not asked.")] * len(tasks)
        todo = iter(enumerate(tasks))
        async with self._client.connect() as http:
            workers = range(min(self._parallel, len(tasks)))
            await asyncio.gather(*(self._work(http, todo, answers) for _ in workers))
        return answers

    async def _work(self, http: httpx2.AsyncClient, todo: Iterator[tuple[int, Task]], answers: list[Answer]) -> None:
        for index, task in todo:
            answers[index] = await self._answer(http, task)

    async def _answer(self, http: httpx2.AsyncClient, task: Task) -> Answer:
        tokens = self._tokens(task)
        try:
            content = orjson.dumps(self._request(task, tokens))
        except orjson.JSONEncodeError:  # half a surrogate pair
            return AnswerRefused("not-unicode", "The text holds what is no character.")
        path = "chat/completions" if self._chat else "completions"
        try:
            body = await self._client.ask(http, path, content, limit=65_536 + 32 * tokens)
        except NoteError as error:
            return AnswerRefused(error.reason, str(error))
        except Unavailable as error:
            return AnswerRefused(_reason(error), f"{error}.")
        return self._read(body, task)

    def _tokens(self, task: Task) -> int:
        usual = most_tokens(task.source)
        if self._constraint == "none":
            return usual
        longest = longest_answer(task.source, task.labels, self._tags) + 1  # and its end
        return longest if self._context is None else min(longest, max(usual, self._context // 2))

    def _request(self, task: Task, tokens: int) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self._model, "max_tokens": tokens, "temperature": 0, "stream": False}
        if self._chat:
            request["messages"] = [{"role": "user", "content": task.prompt}]
        else:
            request["prompt"] = task.prompt
        if self._constraint in ("llama.cpp", "vllm"):
            grammar = copy_grammar(task.source, task.labels, self._tags)
            request |= (
                {"grammar": grammar}
                if self._constraint == "llama.cpp"
                else {"structured_outputs": {"grammar": grammar}}
            )
        return request

    def _read(self, body: bytes, task: Task) -> Answer:
        try:
            answer = orjson.loads(body)
            choice = answer["choices"][0]
            text = choice["message"]["content"] if self._chat else choice["text"]
        except (orjson.JSONDecodeError, LookupError, TypeError):
            text = None
        if not isinstance(text, str):
            return AnswerRefused("no-answer", f"{self._client.base} answers with what is no completion.")
        self._count(answer.get("usage"))
        if choice.get("finish_reason") == "length":
            return AnswerRefused("cut-off", "The answer does not end where it should.")
        found = reading(text, task, self._tags)
        self.counts.repairs.update(found.repairs)
        return found.answer

    def _count(self, usage: object) -> None:
        for name in ("prompt_tokens", "completion_tokens"):
            tokens = usage.get(name) if isinstance(usage, dict) else None
            if isinstance(tokens, int):
                setattr(self.counts, name, getattr(self.counts, name) + tokens)


def _models(body: bytes) -> list[dict[str, Any]]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NoteError("no-answer", "its /v1/models is no JSON.") from None
    listed = found.get("data") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise NoteError("no-answer", "its /v1/models is no list.")
    return [model for model in listed if isinstance(model, dict) and isinstance(model.get("id"), str)]


def _reason(error: Unavailable) -> str:
    if error.status == 408 or isinstance(error, Late):
        return "timed-out"
    if error.status is None:
        return "server-unavailable"
    return "server-busy" if error.status in _BUSY else "server-error"


def _run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """`asyncio.run`, also where a loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
