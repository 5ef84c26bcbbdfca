"""A LLaMA on this machine that copies texts with tags: constrained, as `llama_copy` says, or as it likes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from kiwi_fhir.extract.generative.copy_decoder import CopyDecoder, Counters
from kiwi_fhir.extract.generative.marking import Answer, Task
from kiwi_fhir.extract.generative.markup import read
from kiwi_fhir.extract.generative.prompts import Templates, encode_prompt
from kiwi_fhir.extract.generative.vocabulary import Vocabulary

#: Tokens of prompts and answers in a batch: what a processor works on without pause, or what a GPU holds.
BATCH_TOKENS = {"cpu": 6144, "mps": 16_384, "cuda": 131_072}


class LocalBackend:
    """Answers tasks with a causal model.

    `draft` False feeds token by token; `constrained` False lets the model write what it likes (transformers' greedy
    `generate`), and what it wrote is read beside the text.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        templates: Templates,
        *,
        batch_tokens: int | None = None,
        draft: bool = True,
        constrained: bool = True,
    ) -> None:
        self._model, self._tokenizer, self._templates = model, tokenizer, templates
        self._device = model.device
        self._vocabulary = Vocabulary(tokenizer)
        self._budget = batch_tokens or BATCH_TOKENS[self._device.type]
        self._constrained = constrained
        beginnings = templates.beginnings(tokenizer)
        self._decoder = CopyDecoder(model, self._vocabulary, templates, beginnings, draft=draft)

    @property
    def counters(self) -> Counters:
        """What all answers so far cost."""
        return self._decoder.counters

    def mark(self, tasks: Sequence[Task]) -> list[Answer]:
        """One answer a task, in order. A batch that does not fit into memory is halved."""
        started = time.monotonic()
        prompts = [encode_prompt(self._tokenizer, task.prompt, chat=self._templates.chat) for task in tasks]
        answers: list[Answer] = [()] * len(tasks)
        for batch in self._batches(tasks, prompts):
            for index, answer in zip(batch, self._answers(tasks, prompts, batch), strict=True):
                answers[index] = answer
        self.counters.tasks += len(tasks)
        self.counters.seconds += time.monotonic() - started
        return answers

    def _batches(self, tasks: Sequence[Task], prompts: Sequence[list[int]]) -> Iterator[list[int]]:
        """Indexes of tasks, those about one source together, longest first."""
        order = sorted(range(len(tasks)), key=lambda index: (-len(tasks[index].source), tasks[index].source, index))
        batch: list[int] = []
        longest = 0
        for index in order:
            size = len(prompts[index]) + len(tasks[index].source) // 3
            if batch and (len(batch) + 1) * max(longest, size) > self._budget:
                yield batch
                batch, longest = [], 0
            batch.append(index)
            longest = max(longest, size)
        if batch:
            yield batch

    def _answers(self, tasks: Sequence[Task], prompts: Sequence[list[int]], batch: list[int]) -> list[Answer]:
        chosen = [tasks[index] for index in batch], [prompts[index] for index in batch]
        try:
            with torch.inference_mode():
                if not self._constrained:
                    return self._generated(*chosen)
                return list(self._decoder.copy(*chosen))
        except (MemoryError, torch.OutOfMemoryError):
            if len(batch) == 1:
                raise
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(batch) // 2
        return self._answers(tasks, prompts, batch[:half]) + self._answers(tasks, prompts, batch[half:])

    def _generated(self, tasks: Sequence[Task], prompts: Sequence[list[int]]) -> list[Answer]:
        """What transformers' greedy `generate` writes, read beside the source."""
        tokenizer = self._tokenizer
        end = tokenizer.eos_token_id
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
        size = max(map(len, prompts))
        padded = torch.tensor([[pad] * (size - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (size - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        # A tag takes about eight tokens, and no text has more spans than words.
        longest = max(len(self._vocabulary.split(task.source)) for task in tasks)
        written = self._model.generate(
            input_ids=padded.to(self._device),
            attention_mask=mask.to(self._device),
            max_new_tokens=6 * longest + 64,
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=end,
        )[:, size:].tolist()
        answers = []
        for task, tokens in zip(tasks, written, strict=True):
            ended = end in tokens
            kept = tokens[: tokens.index(end)] if ended else tokens
            self.counters.written += len(kept) + ended
            self.counters.row_passes += len(kept) + ended
            raw = b"".join(self._vocabulary.pieces.get(token, b"") for token in kept)
            answers.append(read(raw.decode(errors="replace"), task, self._templates.tags))
        self.counters.passes += max(map(len, written))
        return answers
