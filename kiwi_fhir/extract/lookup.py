"""Drafts by lookup: what was marked before is probably marked again, here and in the texts that follow.

It only guesses; the model says whether it holds, so answers don't depend on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kiwi_fhir.extract.marking import Tags

_WORD = re.compile(r"[^\W_]+")
#: Phrases kept; then all are forgotten, as the oldest text is the least like the next.
_MOST = 20_000


class Lookup:
    """Phrases that were marked, by the word that they begin with, the longest first, each with its label."""

    def __init__(self, tags: Tags) -> None:
        self._tags = tags
        self._phrases: dict[str, dict[str, str]] = {}
        self._size = 0

    def add(self, marked: Iterable[tuple[str, str]]) -> None:
        """Remember (label, words) pairs; of one phrase the last label counts."""
        for label, words in marked:
            first = _WORD.match(words)
            if first is None:
                continue
            if self._size >= _MOST:
                self._phrases, self._size = {}, 0
            known = self._phrases.setdefault(first[0], {})
            if words not in known:
                self._size += 1
                known[words] = label
                self._phrases[first[0]] = dict(sorted(known.items(), key=lambda item: -len(item[0])))
            else:
                known[words] = label

    def mark(self, text: str) -> str:
        """`text` with tags around what was marked before."""
        parts, done = [], 0
        for word in _WORD.finditer(text):
            if word.start() < done:
                continue
            for phrase, label in self._phrases.get(word[0], {}).items():
                end = word.start() + len(phrase)
                if text.startswith(phrase, word.start()) and not text[end : end + 1].isalnum():
                    parts += [text[done : word.start()], self._tags.opening(label), phrase, self._tags.close]
                    done = end
                    break
        return "".join([*parts, text[done:]])

    def end(self, text: str) -> int | None:
        """Where a span ends that begins at the start of `text`, if one like it was marked before."""
        first = _WORD.match(text)
        for phrase in self._phrases.get(first[0], {}) if first else ():
            if text.startswith(phrase) and not text[len(phrase) : len(phrase) + 1].isalnum():
                return len(phrase)
        return None
