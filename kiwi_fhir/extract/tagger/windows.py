"""Segments to windows: whole sentences as the encoder's pieces, and windows to length-sorted batches.

Invariant: the windows of a note cover each of its words once, in order; nothing is cut off. A sentence that is
longer than a window goes on in the next one, and the text between a word's pieces and its window's border is nothing
but white space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from kiwi_fhir.extract.segment import Segments

#: Shapes of a word; an uncased encoder sees none of them. Doubled by whether the word starts a line.
SHAPES = ("lower", "title", "upper", "digit", "mark", "mixed")
#: A word keeps at most this many pieces (a base64 blob is one word); the word itself stays covered.
MAX_WORD_PIECES = 24
_CACHE_WORDS = 50_000


@dataclass(frozen=True, slots=True)
class Window:
    """Words `first..first+len(heads)` of a note as encoder input.

    `pieces` are token ids with the encoder's special tokens; `heads[i]` and `tails[i]` are the indexes of the first
    and the last piece of word i, `shapes[i]` indexes SHAPES (plus len(SHAPES) at a line's start), `sentences[i]`
    counts sentences in the window.
    """

    first: int
    pieces: list[int]
    heads: list[int]
    tails: list[int]
    shapes: list[int]
    sentences: list[int]


class Windower:
    """Cuts segments into windows of at most `budget` pieces (special tokens included).

    `tokenizer` is a fast tokenizer of transformers. A line break inside a window becomes the tokenizer's separator
    token, where it has one, else its piece for a line break: lists and headers are laid out by lines, and no BERT
    tokenizer shows them. A LLaMA's word has its space in front where the text has one, as the LLaMA knows it.
    """

    def __init__(self, tokenizer: Any, budget: int) -> None:
        special = tokenizer("")["input_ids"] or _start(tokenizer)
        half = (len(special) + 1) // 2
        self._before, self._after = list(special[:half]), list(special[half:])
        self._line_break = _line_break(tokenizer)
        self._spaces = _shows_spaces(tokenizer)
        self._room = budget - len(special)
        self._tokenizer = tokenizer
        self._cache: dict[str, tuple[int, ...]] = {}

    def windows(self, text: str, segments: Segments) -> list[Window]:
        """The windows of one note, in order; none for a note without words."""
        words = [text[start:end] for start, end in segments.words]
        if not words:
            return []
        pieces = self._pieces(self._spaced(text, segments) if self._spaces else words)
        shapes = list(map(_shape, words))
        for index in segments.line_starts:
            shapes[index] += len(SHAPES)
        bounds = [*segments.sentence_starts, len(words)]
        costs = [len(piece) + (index in segments.line_starts) for index, piece in enumerate(pieces)]
        starts = frozenset(segments.sentence_starts)
        windows = []
        for first, last in _pack(bounds, costs, self._room):
            ids, heads, sentences = self._layout(pieces, segments.line_starts, starts, first, last)
            tails = [head + len(pieces[first + index]) - 1 for index, head in enumerate(heads)]
            windows.append(Window(first, ids, heads, tails, shapes[first:last], sentences))
        return windows

    def _layout(
        self,
        pieces: Sequence[tuple[int, ...]],
        line_starts: frozenset[int],
        sentence_starts: frozenset[int],
        first: int,
        last: int,
    ) -> tuple[list[int], list[int], list[int]]:
        """Of the words `first..last` the pieces with special tokens, where each word begins, and its sentence."""
        ids: list[int] = list(self._before)
        heads: list[int] = []
        sentences: list[int] = []
        sentence, line_break = 0, self._line_break
        for index in range(first, last):
            if index in line_starts and index > first and line_break is not None:
                ids.append(line_break)
            if index in sentence_starts and index > first:
                sentence += 1
            heads.append(len(ids))
            ids += pieces[index]
            sentences.append(sentence)
        ids += self._after
        return ids, heads, sentences

    def _spaced(self, text: str, segments: Segments) -> list[str]:
        """The words, one space in front of each that is not at a line's start and follows white space."""
        return [
            f" {text[start:end]}"
            if start and text[start - 1].isspace() and index not in segments.line_starts
            else text[start:end]
            for index, (start, end) in enumerate(segments.words)
        ]

    def _pieces(self, words: list[str]) -> list[tuple[int, ...]]:
        """Token ids of each word; words repeat so often that a cache halves the cost of tokenising."""
        cache = self._cache
        new = [word for word in dict.fromkeys(words) if word not in cache]
        if new:
            if len(cache) + len(new) > _CACHE_WORDS:
                cache.clear()
                new = list(dict.fromkeys(words))
            encoded = self._tokenizer([[word] for word in new], is_split_into_words=True, add_special_tokens=False)
            unknown = self._tokenizer.unk_token_id or 0
            for word, ids in zip(new, encoded["input_ids"], strict=True):
                cache[word] = tuple(ids[:MAX_WORD_PIECES]) or (unknown,)
        return [cache[word] for word in words]


def _start(tokenizer: Any) -> list[int]:
    """What stands in front of texts where the tokenizer puts nothing there.

    A LLaMA's words look at the first piece when they look at nothing (Xiao et al. 2023, arXiv 2309.17453), so that
    piece is better no word. Texts in its training began with that token, or were parted by the end token.
    """
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    return [piece for piece in known if piece is not None][:1]


def _line_break(tokenizer: Any) -> int | None:
    if tokenizer.sep_token_id is not None:
        return int(tokenizer.sep_token_id)
    pieces = tokenizer("\n", add_special_tokens=False)["input_ids"]
    return next((piece for piece in pieces[-1:] if tokenizer.decode([piece]) == "\n"), None)


def _shows_spaces(tokenizer: Any) -> bool:
    """Whether pieces differ by a space before them, and the tokenizer puts none there by itself."""
    bare, spaced = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", " a"))
    return bool(bare != spaced and tokenizer.convert_ids_to_tokens(bare) == ["a"])


def _pack(bounds: Sequence[int], costs: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Whole sentences (`bounds[i]..bounds[i+1]`) packed into runs that cost at most `room`."""
    first, cost = 0, 0
    for start, end in pairwise(bounds):
        sentence = sum(costs[start:end])
        if cost + sentence <= room:
            cost += sentence
            continue
        if start > first:
            yield first, start
        first, cost = start, sentence
        if sentence > room:
            cost = 0
            for word in range(start, end):
                if cost + costs[word] > room and word > first:
                    yield first, word
                    first, cost = word, 0
                cost += costs[word]
    if bounds[-1] > first:
        yield first, bounds[-1]


@lru_cache(maxsize=_CACHE_WORDS)
def _shape(word: str) -> int:
    if word.islower():
        return 0
    if word.isupper() and len(word) > 1:
        return 2
    if any(character.isdigit() for character in word):
        return 3
    if not word[0].isalnum():
        return 4
    return 1 if word[0].isupper() and (len(word) == 1 or word[1:].islower()) else 5


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indexes of windows in batches of at most `budget` padded tokens, longest first.

    Sorting by length keeps padding to a few per cent; longest first shows a lack of memory at once. A window that is
    alone over the budget makes a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
