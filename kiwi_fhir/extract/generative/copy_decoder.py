"""Constrained greedy decoding of texts with tags, in few forward passes.

Of the tokens that go on with the text, or with a tag that may stand there, the most probable is written. As most of an
answer is the text itself, the rest of the text is fed as a draft: one pass says for all its tokens whether the model
would have written them, the first one that it would not is replaced, and the next draft goes on from there. That
changes no answer (but for rounding, where sums are added up in another order).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kiwi_fhir.extract.generative.copying import OPENING, Copy, Place, Tagset
from kiwi_fhir.extract.generative.marking import Marked, Task
from kiwi_fhir.extract.generative.prompts import Templates, common_prefix
from kiwi_fhir.extract.generative.ragged_cache import RaggedCache
from kiwi_fhir.extract.generative.vocabulary import Vocabulary

#: Tokens of a draft: the first one, and the bounds between which it grows when it holds and shrinks when it fails.
DRAFT = 24
DRAFT_LEAST, DRAFT_MOST = 8, 96
#: Drafted tokens of all rows in a pass. A processor works on each for as long as on any other, so that many rows get
#: short drafts; for a GPU they are next to free.
PASS_TOKENS = {"cpu": 64, "mps": 512, "cuda": 4096}
_SHORTEST = 4
#: Bytes of text from which a draft is cut, for each of its tokens: more than they have on average.
_TOKEN_BYTES = 8


@dataclass(slots=True)
class Counters:
    """What was done.

    `tasks` answered, forward `passes` (one over a batch counts once, and once for each row in `row_passes`), tokens
    `fed` (without padding) and `written`, `seconds`.
    """

    tasks: int = 0
    passes: int = 0
    row_passes: int = 0
    fed: int = 0
    written: int = 0
    seconds: float = 0.0


@dataclass(slots=True, eq=False)
class _Row:
    """One question while it is answered; `filled` tokens of it are in the cache, `waiting` are not yet fed."""

    task: int
    copy: Copy
    prompt: list[int]
    places: tuple[Place, ...]
    filled: int = 0
    waiting: list[int] = field(default_factory=list)
    draft: int = DRAFT
    #: Sums of log-probabilities of the tokens that hold tags, by span.
    doubts: dict[int, float] = field(default_factory=dict)
    #: That of the span before: what the next one is taken for in drafts.
    label: str = ""


class CopyDecoder:
    """Answers tasks with a causal model; `counters` says what it cost. `draft` False feeds token by token."""

    def __init__(
        self, model: Any, vocabulary: Vocabulary, templates: Templates, beginnings: list[list[int]], *, draft: bool
    ) -> None:
        """`beginnings` are the token ids that the prompts of each template begin with."""
        self._model, self._vocabulary, self._templates = model, vocabulary, templates
        self._draft, self._beginnings = draft, beginnings
        # Newer releases of transformers call it `cache`.
        known = inspect.signature(type(model.model).forward).parameters
        self._cache_name = "cache" if "cache" in known else "past_key_values"
        self._tagsets: dict[tuple[str, ...], Tagset] = {}
        self._heads: dict[tuple[int, ...], RaggedCache] = {}
        self.counters = Counters()

    def copy(self, tasks: Sequence[Task], prompts: Sequence[list[int]]) -> list[tuple[Marked, ...]]:
        """One answer a task, in order, all in one batch; `prompts` are the token ids of the tasks' prompts."""
        copies: dict[tuple[str, tuple[str, ...]], Copy] = {}
        rows = []
        for index, (task, prompt) in enumerate(zip(tasks, prompts, strict=True)):
            key = (task.source, task.labels)
            if key not in copies:  # one search for legal tokens serves all questions about a source
                source = self._vocabulary.writable(task.source)
                copies[key] = Copy(source, self._tagset(task.labels), self._vocabulary)
            copy = copies[key]
            rows.append(_Row(index, copy, prompt, copy.start, label=task.labels[0]))
        cache = RaggedCache(len(rows))
        self._share(rows, cache)
        answers: list[tuple[Marked, ...]] = [()] * len(tasks)
        while rows:
            longest = max(_SHORTEST, PASS_TOKENS[self._model.device.type] // len(rows))
            drafts = [self._next(row, min(row.draft, longest)) for row in rows]
            hidden = self._feed(rows, cache, [row.waiting + draft for row, draft in zip(rows, drafts, strict=True)])
            self._choose(rows, drafts, hidden)
            going = [index for index, row in enumerate(rows) if not row.copy.is_done(row.places)]
            for row in rows:
                if row.copy.is_done(row.places):
                    answers[row.task] = _spans(row)
            if len(going) < len(rows):
                rows = [rows[index] for index in going]
                if rows:
                    cache.keep(going)
        return answers

    def _tagset(self, labels: tuple[str, ...]) -> Tagset:
        if labels not in self._tagsets:
            self._tagsets[labels] = Tagset.of(self._templates.tags, labels)
        return self._tagsets[labels]

    def _share(self, rows: Sequence[_Row], cache: RaggedCache) -> None:
        """Fill the cache with what prompts have in common: a template's beginning, and what stands before a mark.

        The mark that stands last in a source has most of it before it: that prompt is fed whole, the others about the
        same source take over its beginning.
        """
        families: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        heads: dict[tuple[int, ...], list[int]] = {}
        for index, row in enumerate(rows):
            size = common_prefix(row.prompt[:-1], self._beginnings)
            head = tuple(row.prompt[:size])
            heads.setdefault(head, []).append(index)
            families.setdefault((row.copy.source.decode(), head), []).append(index)
            row.filled, row.waiting = size, row.prompt[size:]
        for head, members in heads.items():
            if head:
                cache.fill(members, self._head(head), len(head))
        leaders = []
        for members in families.values():
            if len(members) > 1:
                leader = max(members, key=lambda index: _shared(rows, index, members))
                leaders.append(leader)
        if not leaders:
            return
        chosen = [rows[index] for index in leaders]
        if any(len(row.waiting) > 1 for row in chosen):
            self._feed(chosen, cache, [row.waiting[:-1] for row in chosen], leaders)
        for row in chosen:
            row.filled, row.waiting = len(row.prompt) - 1, row.prompt[-1:]
        for members in families.values():
            first = next((index for index in members if index in leaders), None)
            for index in members:
                if first is not None and index != first:
                    size = common_prefix(rows[index].prompt[:-1], [rows[first].prompt[:-1]])
                    cache.copy(first, index, size)
                    rows[index].filled, rows[index].waiting = size, rows[index].prompt[size:]

    def _head(self, head: tuple[int, ...]) -> RaggedCache:
        """The keys and values of a template's beginning, computed once."""
        if head not in self._heads:
            cache = RaggedCache(1)
            self._forward(cache, [0], [0], [list(head)])
            self._heads[head] = cache
        return self._heads[head]

    def _next(self, row: _Row, size: int) -> list[int]:
        """At most `size` tokens that come next if the model opens and closes nothing."""
        found: list[int] = []
        if self._draft:
            text = row.copy.rest(row.places, size * _TOKEN_BYTES, row.label)
            found = self._vocabulary.split(text)[:size] if text else []
        # A draft has to be legal; where the tokenizer's own cut is not, any legal token says where the text goes on.
        places = row.places
        for index, token in enumerate(found):
            if row.copy.is_done(places) or token not in row.copy.legal(places):
                found = found[:index]
                break
            places = row.copy.follow(places, token)
        return found

    def _feed(
        self, rows: Sequence[_Row], cache: RaggedCache, tokens: Sequence[list[int]], at: Sequence[int] | None = None
    ) -> Tensor:
        return self._forward(cache, at or range(len(rows)), [row.filled for row in rows], tokens)

    def _forward(
        self, cache: RaggedCache, rows: Sequence[int], filled: Sequence[int], tokens: Sequence[list[int]]
    ) -> Tensor:
        """The last hidden states [rows, size, width] of `tokens`, behind what each row has in the cache."""
        size = max(map(len, tokens))
        mask = cache.place(list(rows), list(filled), size)
        padded = torch.tensor([[*row, *([0] * (size - len(row)))] for row in tokens])
        self.counters.passes += 1
        self.counters.row_passes += len(tokens)
        self.counters.fed += sum(map(len, tokens))
        hidden: Tensor = self._model.model(
            input_ids=padded.to(self._model.device),
            attention_mask=mask.to(self._model.device),
            position_ids=cache.positions.to(self._model.device),
            use_cache=True,
            **{self._cache_name: cache},
        ).last_hidden_state
        return hidden

    def _choose(self, rows: Sequence[_Row], drafts: Sequence[list[int]], hidden: Tensor) -> None:
        """Take over of each draft what the model would have written, and the token that it would write next."""
        asked: list[tuple[int, int, tuple[int, ...]]] = []
        stands: list[list[tuple[Place, ...]]] = []
        for index, (row, draft) in enumerate(zip(rows, drafts, strict=True)):
            places = [row.places]
            for token in draft:
                places.append(row.copy.follow(places[-1], token))
            stands.append(places)
            first = len(row.waiting) - 1
            for offset, here in enumerate(places):
                if not row.copy.is_done(here):
                    asked.append((index, first + offset, row.copy.legal(here)))
        chances = iter(self._chances(asked, hidden))
        for row, draft, places in zip(rows, drafts, stands, strict=True):
            found = [
                (legal, next(chances))
                for here in places
                if not row.copy.is_done(here)
                for legal in [row.copy.legal(here)]
            ]
            self._take(row, draft, places, found)

    def _take(
        self,
        row: _Row,
        draft: list[int],
        places: list[tuple[Place, ...]],
        found: list[tuple[tuple[int, ...], list[float]]],
    ) -> None:
        written: list[int] = []
        kept = 0
        for offset, (legal, chances) in enumerate(found):
            best = max(range(len(legal)), key=chances.__getitem__)
            token = legal[best]
            agreed = offset < len(draft) and token == draft[offset]
            there = places[offset + 1] if agreed else row.copy.follow(row.places, token)
            self._note(row, there, token, chances[best])
            row.places = there
            written.append(token)
            if not agreed:
                break
            kept += 1
        self.counters.written += len(written)
        row.filled += len(row.waiting) + kept
        row.waiting = written[kept:]
        if draft:
            row.draft = min(DRAFT_MOST, 2 * row.draft) if kept == len(draft) else max(DRAFT_LEAST, row.draft // 2)

    def _note(self, row: _Row, there: tuple[Place, ...], token: int, chance: float) -> None:
        """Remember the chance of a token that holds a part of a tag."""
        here, after = row.places[0], there[0]
        if len(self._vocabulary.pieces[token]) == after.position - here.position:
            return
        spans = after.spans or here.spans
        start = spans.start if spans else after.position
        if after.kind == OPENING:  # the span begins where the text stands
            start = after.position
        row.doubts[start] = row.doubts.get(start, 0.0) + math.log(max(chance, 1e-9))
        if spans and after.inside:
            row.label = spans.label

    def _chances(self, asked: Sequence[tuple[int, int, tuple[int, ...]]], hidden: Tensor) -> list[list[float]]:
        """For each (row, place, legal tokens) the probabilities of those tokens among themselves."""
        sizes = [len(legal) for _, _, legal in asked]
        device = hidden.device
        states = hidden[
            torch.tensor([row for row, _, _ in asked], device=device),
            torch.tensor([place for _, place, _ in asked], device=device),
        ]
        head = self._model.lm_head
        tokens = torch.tensor([token for _, _, legal in asked for token in legal], device=head.weight.device)
        # Only the few hundred tokens that are legal anywhere, not all of the vocabulary.
        unique, columns = torch.unique(tokens, return_inverse=True)
        logits = states.to(head.weight.device).float() @ head.weight[unique].float().T
        if head.bias is not None:
            logits = logits + head.bias[unique].float()
        rows = torch.repeat_interleave(torch.tensor(sizes)).to(logits.device)
        return [part.softmax(0).tolist() for part in logits[rows, columns].cpu().split(sizes)]


def _shared(rows: Sequence[_Row], index: int, members: Sequence[int]) -> int:
    """How many tokens the others would take over from this row's prompt."""
    return sum(common_prefix(rows[other].prompt, [rows[index].prompt]) for other in members if other != index)


def _spans(row: _Row) -> tuple[Marked, ...]:
    scores = {row.copy.characters[start]: math.exp(doubt) for start, doubt in row.doubts.items()}
    return tuple(
        Marked(label, start, end, round(scores.get(start, 1.0), 4)) for label, start, end in row.copy.spans(row.places)
    )
