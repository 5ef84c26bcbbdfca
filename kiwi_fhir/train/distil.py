"""Teachers and their student: notes that nobody annotated, labelled by several models, teach one model what all know.

Each teacher leaves out a fold of the annotated notes, so that together they measure the recipe, too (cross-validation).
Their mean probabilities are the labels (Hinton et al. 2015, arXiv 1503.02531): where teachers disagree a label weighs
little, which is what a filter for agreement would be for. A model of another kind may be asked, too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from dataclasses import replace
from itertools import accumulate
from multiprocessing import get_context
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from kiwi_fhir.errors import KiwiError
from kiwi_fhir.evaluate import score
from kiwi_fhir.evaluate.calibration import Scored, scored_items
from kiwi_fhir.evaluate.counts import LEVELS, MATCHES, Level
from kiwi_fhir.extract.calibration import IDENTITY, Line, is_line, log_odds
from kiwi_fhir.extract.device import autocast, set_threads
from kiwi_fhir.extract.tagger.decode import decode, probable
from kiwi_fhir.extract.tagger.extractor import TaggerExtractor
from kiwi_fhir.extract.tagger.model import JointModel, collate, pair_features
from kiwi_fhir.extract.tagger.windows import Window, batches
from kiwi_fhir.train.checkpoint import Stages
from kiwi_fhir.train.examples import SoftExample
from kiwi_fhir.train.joint import Recipe, Report, extractor_of, fit_model, new_model
from kiwi_fhir.types import Document

#: What is tried in addition to the logits of "no span".
BALANCES = (0.0, 0.5, 1.0, 1.5)
_BATCH_PIECES = 2048
_ASKED = 16  # texts at a time


def folds(documents: Sequence[Document], count: int, seed: int) -> list[list[Document]]:
    """The documents dealt into `count` parts, by chance and alike in number."""
    order = list(documents)
    random.Random(seed).shuffle(order)
    return [order[first::count] for first in range(count)]


def ask(model: TaggerExtractor, texts: Sequence[str], report: Callable[[int, int], None]) -> dict[str, torch.Tensor]:
    """What a tagger of any architecture thinks of all spans of `texts`, see TaggerExtractor.probabilities."""
    mentions, modifiers = [], []
    for first in range(0, len(texts), _ASKED):
        of_mentions, of_modifiers = model.probabilities(texts[first : first + _ASKED])
        mentions.append(of_mentions)
        modifiers.append(of_modifiers)
        report(min(first + _ASKED, len(texts)), len(texts))
    return {"mentions": torch.cat(mentions), "modifiers": torch.cat(modifiers)}


def soften(
    teachers: Sequence[JointModel],
    windows: Sequence[Window],
    pad: int,
    device: torch.device,
    report: Callable[[int, int], None],
    asked: dict[str, torch.Tensor] | None = None,
) -> list[SoftExample]:
    """`windows` with the mean of the teachers' opinions, in the same order; `report(done, all)` after every batch.

    What another model was `asked` (see `ask`) about the windows' words, one after the other, has as much weight as all
    teachers together. The pairs are those of the spans that come out; their links are the teachers' opinion alone.
    """
    found: list[SoftExample | None] = [None] * len(windows)
    starts = [0, *accumulate(len(window.heads) for window in windows)]
    if asked is not None and len(asked["mentions"]) != starts[-1]:
        raise ValueError(f"{len(asked['mentions'])} words were asked about; the windows have {starts[-1]}.")
    done = 0
    for chosen in batches([len(window.pieces) for window in windows], _BATCH_PIECES):
        some = [windows[index] for index in chosen]
        other = None
        if asked is not None:
            mentions, modifiers = (
                pad_sequence([labels[starts[index] : starts[index + 1]].float() for index in chosen], batch_first=True)
                for labels in (asked["mentions"], asked["modifiers"])
            )
            other = mentions, modifiers
        with torch.inference_mode():
            labelled = _soften(teachers, some, pad, device, other)
        for index, example in zip(chosen, labelled, strict=True):
            found[index] = example
        done += len(chosen)
        report(done, len(windows))
    return [example for example in found if example is not None]


def _soften(
    teachers: Sequence[JointModel],
    windows: list[Window],
    pad: int,
    device: torch.device,
    other: tuple[torch.Tensor, torch.Tensor] | None,
) -> list[SoftExample]:
    batch = collate(windows, pad).to(device)
    with autocast(device):
        states = [teacher(batch).float() for teacher in teachers]
    tags = [teacher.heads.tags(state) for teacher, state in zip(teachers, states, strict=True)]
    mentions, modifiers = (
        torch.stack([probable(tag[kind], batch.word_mask) for tag in tags]).mean(0).cpu() for kind in (0, 1)
    )
    mask = batch.word_mask.cpu()
    if other is not None:
        mentions, modifiers = _joined(mentions, other[0]), _joined(modifiers, other[1])
    spans = [
        ([span for span, _ in of_mentions], [span for span, _ in of_modifiers])
        for of_mentions, of_modifiers in zip(
            decode(mentions.clamp(min=1e-9).log(), mask),
            decode(modifiers.clamp(min=1e-9).log(), mask),
            strict=True,
        )
    ]
    pairs = [
        [pair[2:] for pair in pair_features(*found, window.sentences)]
        for found, window in zip(spans, windows, strict=True)
    ]
    rows = [[row, *pair] for row, some in enumerate(pairs) for pair in some]
    linked: list[float] = []
    if rows:
        where = torch.tensor(rows, device=device)
        links = [teacher.heads.links(state, where) for teacher, state in zip(teachers, states, strict=True)]
        linked = torch.stack([logits.sigmoid() for logits in links]).mean(0).tolist()
    examples, first = [], 0
    for row, window in enumerate(windows):
        size, count = len(window.heads), len(pairs[row])
        examples.append(
            SoftExample(
                window,
                mentions[row, :size].to(torch.float16),
                modifiers[row, :size].to(torch.float16),
                pairs[row],
                linked[first : first + count],
            )
        )
        first += count
    return examples


def _joined(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The mean of probabilities; `own` of spans that the other model's windows cut, about which it says nothing."""
    return torch.where(other.sum(-1, keepdim=True) > 0, (own + other) / 2, own)


def teach(
    recipe: Recipe,
    parts: Sequence[Sequence[Document]],
    passages: Sequence[Document],
    start: dict[str, torch.Tensor],
    stages: Stages,
    device: torch.device,
    report: Report,
) -> list[JointModel]:
    """A teacher for each of `parts`, which learned from all the others.

    On a processor each core trains one at a time: twice as many threads for one model do not make it twice as fast.
    Raises KiwiError when the system ends one of their processes.
    """
    own = [replace(recipe, seed=recipe.seed + number) for number in range(len(parts))]
    missing = [number for number in range(len(parts)) if not stages.has(f"teacher {number + 1}")]
    workers = min(len(missing), torch.get_num_threads()) if device.type == "cpu" else 1
    with ProcessPoolExecutor(max(1, workers), get_context("spawn"), set_threads, (1,)) as pool:
        running = {}
        try:
            for number in missing:
                known = [document for part in parts if part is not parts[number] for document in part]
                job = pool.submit(fit_model, own[number], start, [*known, *passages], (), (), device)
                running[job] = f"teacher {number + 1}"
            for done, job in enumerate(as_completed(running), 1):
                _, metrics = stages.run(running[job], job.result)
                report("teachers", done, len(missing), metrics["epochs"][-1]["loss"])
        except BrokenProcessPool as error:
            raise KiwiError(
                "A teacher's process was ended from outside, most likely for want of memory: the same call goes on "
                f"after the teachers that are done; {max(1, workers)} trained side by side, with --threads 1 one does."
            ) from error
    return [new_model(each, stages.load(f"teacher {number + 1}")[0], device).eval() for number, each in enumerate(own)]


def lean(model: JointModel, balance: dict[Level, float]) -> None:
    """Add to the taggers' logits of "no span", in place: more of it is more precision and less recall."""
    for level, value in balance.items():
        head = {"mentions": model.heads.mention, "modifiers": model.heads.modifier}[level]
        head.length.data[:, 0] += value


def fit_line(scored: Sequence[Scored]) -> Line:
    """The line on the log-odds of scores that makes what was right of them most likely (with Platt's targets).

    IDENTITY where all are right, or none, or where surer ones are not righter: there is nothing to learn from.
    """
    right = torch.tensor([truth for _, truth in scored])
    many = int(right.sum()) if scored else 0
    few = len(scored) - many
    if not many or not few:
        return IDENTITY
    wanted = torch.where(right, (many + 1) / (many + 2), 1 / (few + 2)).double()
    odds = torch.tensor([log_odds(found) for found, _ in scored], dtype=torch.float64)
    line = torch.tensor(IDENTITY, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = nn.functional.binary_cross_entropy_with_logits(line[0] * odds + line[1], wanted)
        value.backward()
        return value

    optimizer.step(loss)
    slope, intercept = line.tolist()
    return (slope, intercept) if is_line((slope, intercept)) else IDENTITY


def learn_from_folds(
    teachers: Sequence[JointModel],
    parts: Sequence[Sequence[Document]],
    tokenizer: Any,
    recipe: Recipe,
    device: torch.device,
) -> dict[str, Any]:
    """What the folds say that a teacher did not see, as metrics.json keeps it.

    `balance`: for each tagger the step of BALANCES with the best exact F1. Passages mark modifiers more thoroughly than
    other annotators do, and a model that learned from both finds too many. `calibration`: the line of each tagger's
    scores; the student has none of its own, as it saw all folds. `cross_validation`: F1s with their intervals.
    """
    gold = [document for part in parts for document in part]

    def guesses(balance: dict[Level, float]) -> list[Document]:
        found: list[Document] = []
        for teacher, part in zip(teachers, parts, strict=True):
            leaning = deepcopy(teacher)
            lean(leaning, balance)
            found += extractor_of(leaning, tokenizer, recipe, device).predict([document.note for document in part])
        return found

    best: dict[Level, float] = {}
    for level in ("mentions", "modifiers"):
        f1 = {value: score(gold, guesses(best | {level: value}), samples=0).f1(level, "exact") for value in BALANCES}
        best[level] = max(f1, key=lambda value: f1[value])
    found = guesses(best)
    scored: dict[Level, list[Scored]] = {level: [] for level in best}
    for document, guess in zip(gold, found, strict=True):
        items = scored_items(document, guess)
        for level in best:
            scored[level] += items[level]
    return {
        "balance": best,
        "calibration": {level: fit_line(some) for level, some in scored.items()},
        "cross_validation": _figures(gold, found),
    }


def _figures(gold: Sequence[Document], guesses: Sequence[Document]) -> dict[str, Any]:
    """F1 of each level with its 95 % interval over notes, as metrics.json keeps it."""
    report = score(gold, guesses)
    rows = {f"{level} {match}": report.row(level, match).f1 for level in LEVELS for match in MATCHES}
    return {name: {"f1": value.value, "interval": value.interval} for name, value in rows.items()}
