"""The joint model: one encoder pass per window, and three heads on its hidden states.

Two taggers (mentions, modifiers) score every span of up to MAX_WORDS words from the mean state of each word's first and
last piece and the word's shape. The linker scores (mention, modifier) pairs from the mean states of both spans and of
the words between them, with the pair's type and distance. Both taggers may cover the same word, so a modifier can lie
inside its mention.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kiwi_fhir.extract.tagger.windows import SHAPES, Window
from kiwi_fhir.types import ALLOWED_PAIRS, MENTION_LABELS, MODIFIER_LABELS

PAIR_TYPES: tuple[tuple[str, str], ...] = tuple(
    (mention, modifier)
    for mention in MENTION_LABELS
    for modifier in MODIFIER_LABELS
    if modifier in ALLOWED_PAIRS[mention]
)
_PAIR_INDEX = {pair: index for index, pair in enumerate(PAIR_TYPES)}
#: Lower bounds of the signed distance buckets, in words; 0 is an overlap.
_DISTANCES = (-40, -20, -10, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 11, 21, 41)
#: Words of the longest span that is scored; of 1,000 annotated mentions one is longer.
MAX_WORDS = 12
_NEIGHBOURS = 6
_SENTENCES = 4

#: A span in words of one window: (label index, first word, last word + 1).
WordSpan = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows as tensors: `pieces`, `mask` [B, T]; `heads`, `tails`, `shapes`, `word_mask` [B, W]."""

    pieces: Tensor
    mask: Tensor
    heads: Tensor
    tails: Tensor
    shapes: Tensor
    word_mask: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`."""
        return Batch(
            self.pieces.to(device),
            self.mask.to(device),
            self.heads.to(device),
            self.tails.to(device),
            self.shapes.to(device),
            self.word_mask.to(device),
        )


def collate(windows: list[Window], pad: int) -> Batch:
    """Windows padded to the longest one with the token id `pad`."""
    size = len(windows)
    longest = max(len(window.pieces) for window in windows)
    words = max(len(window.heads) for window in windows)
    pieces = torch.full((size, longest), pad, dtype=torch.long)
    mask = torch.zeros((size, longest), dtype=torch.bool)
    heads = torch.zeros((size, words), dtype=torch.long)
    tails = torch.zeros((size, words), dtype=torch.long)
    shapes = torch.zeros((size, words), dtype=torch.long)
    word_mask = torch.zeros((size, words), dtype=torch.bool)
    for row, window in enumerate(windows):
        pieces[row, : len(window.pieces)] = torch.tensor(window.pieces)
        mask[row, : len(window.pieces)] = True
        heads[row, : len(window.heads)] = torch.tensor(window.heads)
        tails[row, : len(window.heads)] = torch.tensor(window.tails)
        shapes[row, : len(window.heads)] = torch.tensor(window.shapes)
        word_mask[row, : len(window.heads)] = True
    return Batch(pieces, mask, heads, tails, shapes, word_mask)


class Tagger(nn.Module):
    """Scores all spans of up to MAX_WORDS words as one of `labels` kinds, or as none.

    Biaffine in the span's first and last word (Yu et al. 2020, arXiv 2005.07150), with the mean of its words' own
    scores and its length. A span is judged whole, so none is torn where its words are unsure of a border.
    """

    def __init__(self, size: int, labels: int, hidden: int = 72, dropout: float = 0.2) -> None:
        super().__init__()
        self.first = nn.Linear(size, hidden)
        self.last = nn.Linear(size, hidden)
        self.pair = nn.Parameter(torch.randn(1 + labels, hidden, hidden) * 0.5 / hidden)
        self.of_first = nn.Linear(hidden, 1 + labels, bias=False)
        self.of_last = nn.Linear(hidden, 1 + labels, bias=False)
        self.inside = nn.Linear(size, 1 + labels, bias=False)
        prior = torch.zeros(MAX_WORDS, 1 + labels)
        prior[:, 0] = math.log(49 * labels)  # of 100 spans 98 are none
        self.length = nn.Parameter(prior)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor) -> Tensor:
        """Word states [B, W, size] to logits [B, W, MAX_WORDS, 1 + labels] by first word and length; 0 is none."""
        first = self.dropout(nn.functional.gelu(self.first(words)))
        last = self.dropout(nn.functional.gelu(self.last(words)))
        halves = torch.einsum("bwh,khg->bwkg", first, self.pair)
        ends = _from_each(last)
        sums = nn.functional.pad(self.inside(words).cumsum(1), (0, 0, 1, MAX_WORDS - 1))
        inside = sums[:, 1:].unfold(1, MAX_WORDS, 1).transpose(2, 3) - sums[:, : words.shape[1], None]
        lengths = torch.arange(1, MAX_WORDS + 1, device=words.device).unsqueeze(-1)
        return (
            torch.einsum("bwkg,bwmg->bwmk", halves, ends)
            + self.of_first(first).unsqueeze(2)
            + _from_each(self.of_last(last))
            + inside / lengths
            + self.length
        )


def _from_each(words: Tensor) -> Tensor:
    """[B, W, H] to the MAX_WORDS words from each one on, [B, W, MAX_WORDS, H], zeros behind the last."""
    return nn.functional.pad(words, (0, 0, 0, MAX_WORDS - 1)).unfold(1, MAX_WORDS, 1).transpose(2, 3)


def whole(mask: Tensor) -> Tensor:
    """Which spans end inside their window: `mask` [B, W], true at words, to [B, W, MAX_WORDS]."""
    words = torch.arange(mask.shape[1], device=mask.device)
    ends = words.unsqueeze(-1) + torch.arange(1, MAX_WORDS + 1, device=mask.device)
    return ends <= mask.sum(1)[:, None, None]


class Heads(nn.Module):
    """The two taggers and the linker on word states of `hidden` numbers."""

    def __init__(self, hidden: int, shape_size: int = 24, link_size: int = 192, dropout: float = 0.1) -> None:
        super().__init__()
        self.shape = nn.Embedding(2 * len(SHAPES), shape_size)
        size = hidden + shape_size
        self.dropout = nn.Dropout(dropout)
        self.mention = Tagger(size, len(MENTION_LABELS))
        self.modifier = Tagger(size, len(MODIFIER_LABELS))
        self.link_mention = nn.Linear(size, link_size)
        self.link_modifier = nn.Linear(size, link_size, bias=False)
        self.link_between = nn.Linear(size, link_size, bias=False)
        self.link_pair = nn.Embedding(len(PAIR_TYPES), link_size)
        self.link_distance = nn.Embedding(len(_DISTANCES) + 1, link_size)
        self.link_neighbours = nn.Embedding(_NEIGHBOURS, link_size)
        self.link_rivals = nn.Embedding(_NEIGHBOURS, link_size)
        self.link_sentences = nn.Embedding(2 * _SENTENCES - 1, link_size)
        self.link = nn.Linear(link_size, 1)

    def words(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Piece states [B, T, H] to word states [B, W, H + shape]."""

        def states_at(pieces: Tensor) -> Tensor:
            index = pieces.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
            return hidden.gather(1, index).to(self.shape.weight.dtype)

        states = (states_at(batch.heads) + states_at(batch.tails)) / 2
        return self.dropout(torch.cat([states, self.shape(batch.shapes)], dim=-1))

    def tags(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Word states to the logits of mentions [B, W, MAX_WORDS, 5] and of modifiers [B, W, MAX_WORDS, 17]."""
        return self.mention(words), self.modifier(words)

    def links(self, words: Tensor, pairs: Tensor) -> Tensor:
        """Logits [P] of `pairs` [P, 12] as `pair_features` makes them, with the window's row in front."""
        sums = nn.functional.pad(words.cumsum(dim=1), (0, 0, 1, 0))
        row = pairs[:, 0]

        def means(layer: nn.Linear, start: Tensor, end: Tensor) -> Tensor:
            """What `layer` makes of the mean of each pair's words, once for all pairs that share them."""
            size = sums.shape[1]
            spans, of_pair = torch.unique((row * size + start) * size + end, return_inverse=True)
            at, first, last = spans // size**2, spans // size % size, spans % size
            return layer((sums[at, last] - sums[at, first]) / (last - first).clamp(min=1).unsqueeze(-1))[of_pair]

        mention = means(self.link_mention, pairs[:, 1], pairs[:, 2])
        modifier = means(self.link_modifier, pairs[:, 3], pairs[:, 4])
        state = (
            mention
            + modifier
            + mention * modifier
            + means(self.link_between, pairs[:, 5], pairs[:, 6])
            + self.link_pair(pairs[:, 7])
            + self.link_distance(pairs[:, 8])
            + self.link_neighbours(pairs[:, 9])
            + self.link_rivals(pairs[:, 10])
            + self.link_sentences(pairs[:, 11])
        )
        return self.link(self.dropout(nn.functional.gelu(state))).squeeze(-1)


class JointModel(nn.Module):
    """An encoder that transformers' AutoModel loads (or what is called like one), and the heads."""

    def __init__(self, encoder: Any, heads: Heads) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = heads

    def forward(self, batch: Batch) -> Tensor:
        """Word states [B, W, H + shape] of a batch: the one pass."""
        hidden = self.encoder(input_ids=batch.pieces, attention_mask=batch.mask.long()).last_hidden_state
        words: Tensor = self.heads.words(hidden, batch)
        return words


def pair_features(mentions: list[WordSpan], modifiers: list[WordSpan], sentences: list[int]) -> list[list[int]]:
    """The allowed pairs of one window.

    Each is `[mention index, modifier index]` followed by the eleven numbers that `Heads.links` reads after the row:
    both spans, the words between, type, distance, mentions and same-type modifiers between, sentences between.
    """
    mention_starts = sorted(start for _, start, _ in mentions)
    modifier_starts: dict[int, list[int]] = {}
    for label, start, _ in modifiers:
        modifier_starts.setdefault(label, []).append(start)
    for starts in modifier_starts.values():
        starts.sort()
    found: list[list[int]] = []
    for i, (mention_label, m_start, m_end) in enumerate(mentions):
        mention = MENTION_LABELS[mention_label]
        for j, (modifier_label, k_start, k_end) in enumerate(modifiers):
            modifier = MODIFIER_LABELS[modifier_label]
            if modifier not in ALLOWED_PAIRS[mention]:
                continue
            if k_start >= m_end:
                between, distance = (m_end, k_start), k_start - m_end + 1
            elif m_start >= k_end:
                between, distance = (k_end, m_start), -(m_start - k_end + 1)
            else:
                between, distance = (m_start, m_start), 0
            gap = sentences[k_start] - sentences[m_start]
            features = [
                _PAIR_INDEX[mention, modifier],
                bisect_right(_DISTANCES, distance),
                _count(mention_starts, *between),
                _count(modifier_starts[modifier_label], *between),
                max(1 - _SENTENCES, min(_SENTENCES - 1, gap)) + _SENTENCES - 1,
            ]
            found.append([i, j, m_start, m_end, k_start, k_end, *between, *features])
    return found


def _count(starts: list[int], start: int, end: int) -> int:
    return min(_NEIGHBOURS - 1, max(0, bisect_right(starts, end - 1) - bisect_right(starts, start - 1)))
