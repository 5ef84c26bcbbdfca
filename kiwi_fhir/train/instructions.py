"""Annotated documents to instruction examples: prompt and answer, for mentions and for each mention's modifiers."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kiwi_fhir.errors import ModelError
from kiwi_fhir.extract.generative.markup import mark
from kiwi_fhir.extract.generative.passages import sentences, windows
from kiwi_fhir.extract.generative.prompts import Templates, common_prefix, encode_prompt
from kiwi_fhir.extract.segment import segment
from kiwi_fhir.types import Document, Span

#: (label, start, end) on a note's text
_Labelled = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of a prompt with its answer: the answer begins at `answer` and ends with the end token.

    The first `shared` tokens are those of all prompts of the template.
    """

    tokens: list[int]
    shared: int
    answer: int


def instructions(
    documents: Iterable[Document], templates: Templates, shuffle: random.Random | None = None
) -> list[tuple[str, str]]:
    """(prompt, answer) of all windows and all mentions.

    With `shuffle` the windows of a note begin after a random number of sentences, so that they differ from epoch to
    epoch. A modifier outside its mention's sentence is not asked for, nor is a span that crosses a window's border.
    """
    found: list[tuple[str, str]] = []
    for document in documents:
        text = document.note.text
        parts = sentences(segment(text), templates.window)
        if not parts:
            continue
        offset = min(shuffle.randrange(4), len(parts)) if shuffle else 0
        mentions = [(mention.label, mention.span.start, mention.span.end) for mention in document.mentions]
        for window in [*windows(parts[:offset], templates.window), *windows(parts[offset:], templates.window)]:
            source, answer = _marked(text, window, mentions, templates)
            found.append((templates.ask_mentions(source), answer))
        starts = [part.start for part in parts]
        for mention in document.mentions:
            part = parts[max(0, bisect_right(starts, mention.span.start) - 1)]
            if mention.span.end > part.end:
                continue
            modifiers = [(held.label, held.span.start, held.span.end) for held in mention.modifiers]
            source, answer = _marked(text, part, modifiers, templates)
            start, end = mention.span.start - part.start, mention.span.end - part.start
            found.append((templates.ask_modifiers(mention.label, source, start, end), answer))
    return found


def _marked(text: str, part: Span, spans: Sequence[_Labelled], templates: Templates) -> tuple[str, str]:
    """The passage, and the passage with the spans inside it marked; of spans that overlap the first counts."""
    inside: list[_Labelled] = []
    for label, start, end in sorted(spans, key=lambda span: (span[1], span[2])):
        if part.start <= start and end <= part.end and not (inside and start < inside[-1][2] + part.start):
            inside.append((templates.class_of(label), start - part.start, end - part.start))
    source = text[part.start : part.end]
    return source, mark(source, inside, templates.tags)


def encode(pairs: Iterable[tuple[str, str]], tokenizer: Any, templates: Templates) -> list[Example]:
    """Token ids of prompts with their answers. Raises ModelError where a tokenizer merges prompt and answer."""
    beginnings = templates.beginnings(tokenizer)
    found = []
    for prompt, answer in pairs:
        head = encode_prompt(tokenizer, prompt, chat=templates.chat)
        whole = encode_prompt(tokenizer, prompt, chat=templates.chat, answer=answer)
        if whole[: len(head)] != head:
            raise ModelError(
                "The tokenizer merges the end of the prompt with the answer: end templates with a line end."
            )
        found.append(Example([*whole, tokenizer.eos_token_id], common_prefix(head, beginnings), len(head)))
    return found
