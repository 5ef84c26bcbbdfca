"""Teachers and their student: notes that nobody annotated, labelled by several models, teach one model what all know.

Each teacher leaves out a fold of the annotated notes, so that together they measure the recipe, too (cross-validation).
Their mean probabilities are the labels (Hinton et al. 2015, arXiv 1503.02531): where teachers disagree a label weighs
little, which is what a filter for agreement would be for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kiwi_fhir.extract.decode import decode
from kiwi_fhir.extract.model import JointModel, collate, pair_features
from kiwi_fhir.extract.windows import Window, batches
from kiwi_fhir.types import Document

_BATCH_PIECES = 2048


@dataclass(frozen=True, slots=True)
class SoftExample:
    """A window with what teachers think: probabilities of the labels by word (fp16), pairs, and how likely each is."""

    window: Window
    mentions: Tensor
    modifiers: Tensor
    pairs: list[list[int]]
    linked: list[float]


def folds(documents: Sequence[Document], count: int, seed: int) -> list[list[Document]]:
    """The documents dealt into `count` parts, by chance and alike in number."""
    order = list(documents)
    random.Random(seed).shuffle(order)
    return [order[first::count] for first in range(count)]


def soften(
    teachers: Sequence[JointModel],
    windows: Sequence[Window],
    pad: int,
    device: torch.device,
    report: Callable[[int, int], None],
) -> list[SoftExample]:
    """`windows` with the mean of the teachers' opinions, in the same order; `report(done, all)` after every batch.

    The pairs are those of the spans that the teachers agree on by their mean.
    """
    found: list[SoftExample | None] = [None] * len(windows)
    done = 0
    for chosen in batches([len(window.pieces) for window in windows], _BATCH_PIECES):
        some = [windows[index] for index in chosen]
        with torch.inference_mode():
            labelled = _soften(teachers, some, pad, device)
        for index, example in zip(chosen, labelled, strict=True):
            found[index] = example
        done += len(chosen)
        report(done, len(windows))
    return [example for example in found if example is not None]


def _soften(teachers: Sequence[JointModel], windows: list[Window], pad: int, device: torch.device) -> list[SoftExample]:
    batch = collate(windows, pad).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        states = [teacher(batch).float() for teacher in teachers]
    tags = [teacher.heads.tags(state) for teacher, state in zip(teachers, states, strict=True)]
    mentions, modifiers = (
        torch.stack([tag[kind].float().softmax(-1) for tag in tags]).mean(0).cpu() for kind in (0, 1)
    )
    spans = [
        ([span for span, _ in some], [span for span, _ in others])
        for some, others in zip(
            decode(mentions.clamp(min=1e-9).log(), batch.word_mask),
            decode(modifiers.clamp(min=1e-9).log(), batch.word_mask),
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
