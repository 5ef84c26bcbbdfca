"""A grammar for servers: an answer is the source, with tags that open before and close behind words of it.

It is GBNF, which llama.cpp's `grammar` and vLLM's `structured_outputs` (xgrammar, guidance) read. Two rules a word
say whether a tag is open there, so that the grammar grows with the source; a regular expression has no names for what
follows and would have to write it out for both. A word is a run of letters or of digits, or one other character; what
combines with a character stays with it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from kiwi_fhir.extract.generative.marking import Tags

_JOINERS = "\u200c\u200d\ufe0e\ufe0f"
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def copy_grammar(source: str, labels: Sequence[str], tags: Tags) -> str:
    """The grammar of every way to mark spans of `labels` in `source`, which has no white space at its ends.

    No span is empty, none begins or ends with white space, and tags never nest.
    """
    opening = " | ".join(_quoted(tags.opening(label)) for label in labels)
    rules = ["root ::= f0", f"open ::= {opening}", f"close ::= {_quoted(tags.close)}"]
    words = _words(source)
    last = len(words) - 1
    for at, (word, gap) in enumerate(words):
        # f: no tag is open before the word; t: one is open behind it.
        text, blank = _quoted(word), f"{_quoted(gap)} " if gap else ""
        if at == last:
            rules += [f"f{at} ::= {text} | open {text} t{at}", f"t{at} ::= close"]
            continue
        rules.append(f"f{at} ::= {text} {blank}f{at + 1} | open {text} t{at}")
        rules.append(f"t{at} ::= close {blank}f{at + 1} | {blank}{_quoted(words[at + 1][0])} t{at + 1}")
    return "\n".join(rules) + "\n"


def longest_answer(source: str, labels: Sequence[str], tags: Tags) -> int:
    """Bytes of the longest string of the grammar, in which each word is a span."""
    a_span = max(map(_bytes, map(tags.opening, labels))) + _bytes(tags.close)
    return _bytes(source) + len(_words(source)) * a_span


def _words(source: str) -> list[tuple[str, str]]:
    """Words, each with the white space behind it."""
    starts = [0]
    for at in range(1, len(source)):
        if _is_start(source[at - 1], source[at]):
            starts.append(at)
    words: list[tuple[str, str]] = []
    for start, end in pairwise([*starts, len(source)]):
        text = source[start:end]
        if text.isspace() and words:
            words[-1] = (words[-1][0], words[-1][1] + text)
        else:
            words.append((text, ""))
    return words


def _is_start(before: str, mark: str) -> bool:
    if mark in _JOINERS or before == "\u200d" or (unicodedata.category(mark)[0] == "M" and not before.isspace()):
        return False
    kind = _kind(mark)
    return kind == "other" or kind != _kind(before)


def _kind(mark: str) -> str:
    if mark.isspace():
        return "space"
    if mark.isdigit():
        return "digit"
    return "letter" if mark.isalpha() or unicodedata.category(mark)[0] == "M" else "other"


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _quoted(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(mark) or (mark if mark.isprintable() else _code(mark)) for mark in text) + '"'


def _code(mark: str) -> str:
    number = ord(mark)
    return f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
